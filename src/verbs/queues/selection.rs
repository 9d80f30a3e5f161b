//! Which parked messages and students are meant, and finding them.

use chrono::TimeDelta;
use rollcall_proto::{
    bus::{Parked, ParkedFilter},
    topology::Queue,
};
use rollcall_store::{ParkedStudent, ParkedStudents};

use crate::{cli::ParkedArgs, context::Context};

/// What a person asked for, checked.
#[derive(Debug, Clone)]
pub(super) struct Selection {
    /// Of messages.
    pub(super) messages: ParkedFilter,
    /// Of students; without a limit of their own, since messages use it up first.
    pub(super) students: ParkedStudents,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Whole messages.
    pub(super) messages: Vec<Parked>,
    /// Single students.
    pub(super) students: Vec<ParkedStudent>,
}

impl Selection {
    /// A district or run that is not there must not look like one with nothing parked.
    pub(super) async fn new(context: &Context, which: ParkedArgs, limit: Option<u32>) -> anyhow::Result<Self> {
        if let Some(district) = &which.district {
            context.store.district(district).await?;
        }
        let mut of_students = which.district.clone();
        if let Some(run) = which.run {
            let district = context.store.district_of(run).await?;
            of_students.get_or_insert(district);
        }
        let now = context.clock.now();
        let ago = |age| now - TimeDelta::from_std(age).unwrap_or(TimeDelta::MAX);
        let (before, since) = (which.older_than.map(ago), which.newer_than.map(ago));
        let (run, reason) = (which.run, which.reason);
        let students =
            ParkedStudents { district: of_students, run, reason: reason.clone(), before, since, limit: None };
        let limit = limit.map(|limit| limit as usize);
        let messages =
            ParkedFilter { district: which.district, run, reason, before, since, limit, ..ParkedFilter::default() };
        Ok(Self { messages, students })
    }

    /// Everything meant of one queue, messages first.
    pub(super) async fn find(&self, context: &Context, queue: Queue) -> anyhow::Result<Found> {
        let messages = context.bus.parked(queue, &self.messages).await?;
        if queue != Queue::Write {
            return Ok(Found { messages, students: Vec::new() });
        }
        let limit = self.messages.limit.map(|limit| limit.saturating_sub(messages.len()) as i64);
        let wanted = ParkedStudents { limit, ..self.students.clone() };
        Ok(Found { messages, students: context.store.parked_students(&wanted).await? })
    }
}

impl Found {
    /// Adds another queue's.
    pub(super) fn extend(&mut self, other: Self) {
        self.messages.extend(other.messages);
        self.students.extend(other.students);
    }

    /// Nothing at all.
    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.students.is_empty()
    }
}
