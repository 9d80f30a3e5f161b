//! What a replay leaves in the audit trail, before it does it: a command that is killed has left word.
//!
//! A message whose district nobody can read is noted as the installation's own.

use std::collections::BTreeMap;

use rollcall_proto::{
    bus::Parked,
    id::{DistrictId, RunId},
    topology::Queue,
};
use rollcall_store::audit::AuditEntry;

use super::selection::Found;
use crate::{config, context::Context};

const ACTION: &str = "parked.replay";

/// What the command is about to do, to each district.
pub(super) async fn announce(context: &Context, queue: Queue, found: &Found) -> anyhow::Result<()> {
    let mut counts: BTreeMap<DistrictId, (usize, usize)> = BTreeMap::new();
    for message in &found.messages {
        counts.entry(whose(message)).or_default().0 += 1;
    }
    for student in &found.students {
        counts.entry(student.district.clone()).or_default().1 += 1;
    }
    let detail = |(messages, students)| format!("begins: {} messages={messages} students={students}", queue.name());
    let entries = counts.iter().map(|(district, counts)| entry(context, district, detail(*counts)));
    Ok(context.store.audit_all(&entries.collect::<Vec<_>>()).await?)
}

/// That these messages go back to work, one by one.
pub(super) async fn note(context: &Context, messages: &[Parked]) -> anyhow::Result<()> {
    let entries = messages.iter().map(|message| {
        let detail = format!("message {} of {}, reason {}", message.id, message.queue.name(), message.reason);
        entry(context, &whose(message), detail).of(message.run)
    });
    Ok(context.store.audit_all(&entries.collect::<Vec<_>>()).await?)
}

/// That so many students of a run were written after all.
pub(super) async fn note_students(
    context: &Context,
    district: &DistrictId,
    run: RunId,
    students: usize,
) -> anyhow::Result<()> {
    context.audit(district, Some(run), ACTION, format!("students={students}")).await
}

fn whose(message: &Parked) -> DistrictId {
    message.district.clone().unwrap_or_else(DistrictId::installation)
}

fn entry(context: &Context, district: &DistrictId, detail: String) -> AuditEntry {
    AuditEntry::new(district, context.clock.now(), config::actor(), ACTION, detail)
}
