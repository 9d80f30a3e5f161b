//! What a replay, or a throwing away, leaves in the audit trail, before it does it: a command that is killed has left word.
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

/// Messages go back to work.
pub(super) const REPLAY: &str = "parked.replay";

/// Messages are thrown away.
pub(super) const DISCARD: &str = "parked.discard";

/// What the command is about to do, to each district.
pub(super) async fn announce(context: &Context, action: &str, queue: Queue, found: &Found) -> anyhow::Result<()> {
    let mut counts: BTreeMap<DistrictId, (usize, usize)> = BTreeMap::new();
    for message in &found.messages {
        counts.entry(whose(message)).or_default().0 += 1;
    }
    for student in &found.students {
        counts.entry(student.district.clone()).or_default().1 += 1;
    }
    let detail = |(messages, students)| format!("begins: {} messages={messages} students={students}", queue.name());
    let entries = counts.iter().map(|(district, counts)| entry(context, action, district, detail(*counts)));
    Ok(context.store.audit_all(&entries.collect::<Vec<_>>()).await?)
}

/// That this is done with these messages, one by one.
pub(super) async fn note(context: &Context, action: &str, messages: &[Parked]) -> anyhow::Result<()> {
    let entries = messages.iter().map(|message| {
        let detail = format!("message {} of {}, reason {}", message.id, message.queue.name(), message.reason);
        entry(context, action, &whose(message), detail).of(message.run)
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
    context.audit(district, Some(run), REPLAY, format!("students={students}")).await
}

fn whose(message: &Parked) -> DistrictId {
    message.district.clone().unwrap_or_else(DistrictId::installation)
}

fn entry(context: &Context, action: &str, district: &DistrictId, detail: String) -> AuditEntry {
    AuditEntry::new(district, context.clock.now(), config::actor(), action, detail)
}
