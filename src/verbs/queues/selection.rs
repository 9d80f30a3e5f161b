//! Which parked messages and students are meant, and finding them.

use anyhow::bail;
use chrono::TimeDelta;
use rollcall_proto::{
    bus::{Parked, ParkedFilter},
    topology::Queue,
};
use rollcall_store::{ParkedStudent, ParkedStudents, StoreError};

use crate::{cli::ParkedArgs, context::Context};

/// What a person asked for, checked.
#[derive(Debug, Clone)]
pub(super) struct Selection {
    /// Of messages.
    pub(super) messages: ParkedFilter,
    /// Of students; without a limit of their own, since messages use it up first.
    pub(super) students: ParkedStudents,
    /// That the store does not know the district or run that was named.
    unknown: Option<String>,
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
    /// A district or run need not be there any more: messages of it may be.
    pub(super) async fn new(context: &Context, which: ParkedArgs, limit: Option<u32>) -> anyhow::Result<Self> {
        let (mut of_students, mut unknown) = (which.district.clone(), None);
        if let Some(district) = &which.district
            && let Err(error) = context.store.district(district).await
        {
            unknown = Some(only_unknown(error)?);
        }
        if let Some(run) = which.run {
            match context.store.district_of(run).await {
                Ok(district) => drop(of_students.get_or_insert(district)),
                Err(error) => unknown = Some(only_unknown(error)?),
            }
        }
        let now = context.clock.now();
        let ago = |age| now - TimeDelta::from_std(age).unwrap_or(TimeDelta::MAX);
        let (before, since) = (which.older_than.map(ago), which.newer_than.map(ago));
        let (run, reason) = (which.run, which.reason);
        let students =
            ParkedStudents { district: of_students, run, reason: reason.clone(), before, since, limit: None };
        let limit = limit.map(|limit| limit as usize);
        let ids = (!which.message.is_empty()).then(|| which.message.into_iter().collect());
        let district = which.district;
        let messages = ParkedFilter { ids, district, run, reason, before, since, limit, ..ParkedFilter::default() };
        Ok(Self { messages, students, unknown })
    }

    /// A district or run that is not there must not look like one with nothing parked.
    pub(super) fn check(&self, found: &Found) -> anyhow::Result<()> {
        match &self.unknown {
            Some(unknown) if found.is_empty() => bail!("{unknown}"),
            _ => Ok(()),
        }
    }

    /// Whole messages meant of one queue.
    pub(super) async fn find_messages(&self, context: &Context, queue: Queue) -> anyhow::Result<Found> {
        Ok(Found { messages: context.bus.parked(queue, &self.messages).await?, students: Vec::new() })
    }

    /// Everything meant of one queue, messages first.
    pub(super) async fn find(&self, context: &Context, queue: Queue) -> anyhow::Result<Found> {
        let Found { messages, students } = self.find_messages(context, queue).await?;
        // A student has no message id.
        if queue != Queue::Write || self.messages.ids.is_some() {
            return Ok(Found { messages, students });
        }
        let limit = self.messages.limit.map(|limit| limit.saturating_sub(messages.len()) as i64);
        let wanted = ParkedStudents { limit, ..self.students.clone() };
        Ok(Found { messages, students: context.store.parked_students(&wanted).await? })
    }
}

/// What the store says of a district or run that it does not know; any other error is one.
fn only_unknown(error: StoreError) -> Result<String, StoreError> {
    if error.is_unknown() { Ok(error.to_string()) } else { Err(error) }
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
