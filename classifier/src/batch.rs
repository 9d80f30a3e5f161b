//! Events into batches of one status, encoded as they fill, and the digest of the plan they make.
//!
//! Batches are encoded on a thread of their own, while the walk over the students goes on. Where nothing changes there is
//! no batch, and no thread.
//!
//! Invariant: at most a batch of each status, and a few on their way to that thread, are in memory unencoded, so that a
//! first night of a million students does not need a million records at once.

use std::{
    panic,
    sync::mpsc::{self, SyncSender},
    thread::{self, JoinHandle},
};

use rollcall_proto::{
    message::{EVENTS_PER_MESSAGE, Fingerprint, StudentEvent, StudentEvents},
    roster::Status,
};
use rollcall_store::{
    StoreError,
    plan::{EncodedBatch, encode_batch},
};

use crate::fingerprint::first_half;

/// See the module.
#[derive(Debug)]
pub struct Batcher {
    run_seq: i64,
    open: [Vec<StudentEvent>; 4],
    /// Batches closed so far.
    closed: u32,
    encoder: Option<Encoder>,
    hasher: blake3::Hasher,
}

/// Batches closed and not yet with the thread, at most: what the walk reads ahead, so that it need not wait for them.
const ON_THE_WAY: usize = 8;

/// The thread that encodes batches, in the order in which they were closed.
#[derive(Debug)]
struct Encoder {
    to: SyncSender<StudentEvents>,
    thread: JoinHandle<Result<Vec<EncodedBatch>, StoreError>>,
}

impl Encoder {
    fn start() -> Self {
        let (to, from) = mpsc::sync_channel::<StudentEvents>(ON_THE_WAY);
        let thread = thread::spawn(move || from.into_iter().map(|message| encode(&message)).collect());
        Self { to, thread }
    }

    fn finish(self) -> Result<Vec<EncodedBatch>, StoreError> {
        drop(self.to);
        self.thread.join().unwrap_or_else(|cause| panic::resume_unwind(cause))
    }
}

fn encode(message: &StudentEvents) -> Result<EncodedBatch, StoreError> {
    let (batch, status, events) = (message.batch, message.status, message.events.len() as u32);
    Ok(EncodedBatch { batch, status, events, bytes: encode_batch(message)? })
}

impl Batcher {
    /// For a plan of the run with this number.
    pub fn new(run_seq: i64) -> Self {
        let open = [const { Vec::new() }; 4];
        Self { run_seq, open, closed: 0, encoder: None, hasher: blake3::Hasher::new() }
    }

    /// Adds an event. Events come in the order of student ids.
    pub fn add(&mut self, event: StudentEvent) -> Result<(), StoreError> {
        hash_event(&mut self.hasher, &event);
        let status = event.to;
        let slot = &mut self.open[slot_of(status)];
        slot.push(event);
        if slot.len() == EVENTS_PER_MESSAGE { self.close(status) } else { Ok(()) }
    }

    fn close(&mut self, status: Status) -> Result<(), StoreError> {
        let events = std::mem::take(&mut self.open[slot_of(status)]);
        if events.is_empty() {
            return Ok(());
        }
        let message = StudentEvents { batch: self.closed, run_seq: self.run_seq, status, events };
        self.closed += 1;
        let encoder = self.encoder.take().unwrap_or_else(Encoder::start);
        if encoder.to.send(message).is_err() {
            // The thread has met with an error, and ended.
            return encoder.finish().map(drop);
        }
        self.encoder = Some(encoder);
        Ok(())
    }

    /// The batches, and the digest over their events: no run, no time, no number of the run in it.
    pub fn finish(mut self) -> Result<(Vec<EncodedBatch>, Fingerprint), StoreError> {
        for status in Status::ALL {
            self.close(status)?;
        }
        let batches = self.encoder.map(Encoder::finish).transpose()?.unwrap_or_default();
        Ok((batches, first_half(&self.hasher.finalize())))
    }
}

const fn slot_of(status: Status) -> usize {
    match status {
        Status::Enrolled => 0,
        Status::PreEnrolled => 1,
        Status::Graduated => 2,
        Status::Inactive => 3,
    }
}

fn hash_event(hasher: &mut blake3::Hasher, event: &StudentEvent) {
    let from = event.from.map_or("", Status::as_str);
    for part in [&event.student_id.0, event.change.as_str(), from, event.to.as_str(), event.rule.as_str()] {
        hash_text(hasher, part);
    }
    hasher.update(&(event.enrollments.len() as u64).to_le_bytes());
    for enrollment in &event.enrollments {
        hash_text(hasher, enrollment);
    }
    hasher.update(&event.fingerprint.0);
    if let Some(old) = &event.rekeyed_from {
        hash_text(hasher, &old.0);
    }
}

fn hash_text(hasher: &mut blake3::Hasher, text: &str) {
    hasher.update(&(text.len() as u64).to_le_bytes());
    hasher.update(text.as_bytes());
}
