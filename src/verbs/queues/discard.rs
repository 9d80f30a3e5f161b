//! `rollcall queues discard`: parked messages thrown away.
//!
//! For what no replay mends: a text that nobody can read, messages of a run or district that is not there any more. Only
//! copies that were listed as parked are touched, each after its entry in the audit trail (`trail`); a command that is killed
//! half-way is called again. Parked students stay: the store keeps them, and they age out.

use std::process::ExitCode;

use rollcall_proto::{
    bus::{Parked, ParkedFilter},
    topology::Queue,
};

use super::{
    Words, not_now, print,
    replay::not_to_be_had,
    selection::{Found, Selection},
    trail,
};
use crate::{cli::DiscardArgs, context::Context};

/// Noted, and then thrown away, together.
const TOGETHER: usize = 500;

/// See the module. Exit code 1 where something was left.
pub(super) async fn discard(
    context: &Context,
    queue: Queue,
    selection: &Selection,
    how: &DiscardArgs,
) -> anyhow::Result<ExitCode> {
    let found = selection.find_messages(context, queue).await?;
    selection.check(&found)?;
    let messages = found.messages.len();
    let words = Words {
        would: format!("{messages} messages would be thrown away"),
        question: format!("Throw {messages} messages away, for good?"),
        nothing: "nothing was thrown away",
    };
    if let Some(code) = not_now(context, &found, &how.first, &words)? {
        return Ok(code);
    }
    trail::announce(context, trail::DISCARD, queue, &found).await?;
    let mut gone = Vec::with_capacity(messages);
    for now in found.messages.chunks(TOGETHER) {
        trail::note(context, trail::DISCARD, now).await?;
        let copies = Some(now.iter().map(Parked::copy).collect());
        let filter = ParkedFilter { copies, limit: Some(now.len()), ..selection.messages.clone() };
        gone.extend(context.bus.discard(queue, &filter).await?);
    }
    eprintln!("{} messages were thrown away", gone.len());
    let left = not_to_be_had(messages - gone.len());
    if let Some(left) = &left {
        eprintln!("{left}");
    }
    print(context, &Found { messages: gone, students: Vec::new() })?;
    Ok(if left.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
