//! How many bytes of answers a process holds at once.
//!
//! Role: [`crate::net`] takes room as a body grows, the answer keeps it, and whoever has the answer lets it go with it.
//!
//! Invariants: what is read never waits for room while it holds some: it gives up what it has, waits for as much as an answer
//! may need, and is asked for again; so nobody waits for somebody who waits. What is kept beside what is read has room of its
//! own, and is never waited for. An answer larger than all the room there is passes alone.
//!
//! Deliberately absent: small answers. They are read at once, and as many as there are requests in flight.

use std::{sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// An answer of up to so many bytes takes no room.
pub const SMALL: usize = 512 << 10;

/// A byte of an answer takes so many: as it came, and packed or moved.
const EACH: usize = 2;

/// Room is counted in these.
const UNIT: usize = 1 << 10;

/// Room is waited for so long at most: a unit of work has 20 s, for the answer too.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// The room of a process. Clones share it.
#[derive(Debug, Clone)]
pub struct Room {
    reading: Arc<Semaphore>,
    /// All of it, in units.
    all: u32,
    keeping: Arc<Semaphore>,
}

impl Room {
    /// Room for so many bytes: two thirds for answers, the rest for what is kept of them.
    pub fn of(bytes: u64) -> Self {
        let units = u32::try_from(bytes / UNIT as u64).unwrap_or(u32::MAX).clamp(3, u32::MAX >> 4);
        let all = units / 3 * 2;
        let semaphore = |units: u32| Arc::new(Semaphore::new(units as usize));
        Self { reading: semaphore(all), all, keeping: semaphore(units - all) }
    }

    /// Room to keep so many bytes of answers for a while; none where there is too little now.
    pub fn keep(&self, bytes: usize) -> Option<Taken> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).ok()?;
        let permit = Arc::clone(&self.keeping).try_acquire_many_owned(units).ok()?;
        Some(Taken(Some(Arc::new(permit))))
    }

    /// Waits for as much as an answer of so many bytes may need. `None`: for too long.
    pub(super) async fn for_one(&self, bytes: u64) -> Option<Taking> {
        let units = units_of(usize::try_from(bytes).unwrap_or(usize::MAX)).min(self.all);
        let permit = Arc::clone(&self.reading).acquire_many_owned(units);
        let permit = tokio::time::timeout(LONGEST_WAIT, permit).await.ok()?.ok()?;
        Some(Taking { permit: Some(permit), alone: true })
    }

    /// Takes room for a body of so many bytes in all. False: there is too little now.
    pub(super) fn take(&self, taking: &mut Taking, bytes: usize) -> bool {
        let missing = units_of(bytes).saturating_sub(taking.units());
        if missing == 0 || taking.alone {
            return true;
        }
        let Ok(more) = Arc::clone(&self.reading).try_acquire_many_owned(missing) else { return false };
        match &mut taking.permit {
            Some(permit) => permit.merge(more),
            none => *none = Some(more),
        }
        true
    }
}

/// What a body of so many bytes takes.
fn units_of(bytes: usize) -> u32 {
    let counted = if bytes > SMALL { bytes.saturating_mul(EACH).div_ceil(UNIT) } else { 0 };
    u32::try_from(counted).unwrap_or(u32::MAX)
}

/// Room that a body takes while it is read.
#[derive(Debug, Default)]
pub(super) struct Taking {
    permit: Option<OwnedSemaphorePermit>,
    /// It has all that it may have.
    alone: bool,
}

impl Taking {
    /// The body has come to its end, with so many bytes: what it does not need is let go.
    pub(super) fn ended(mut self, bytes: usize) -> Taken {
        let spare = self.units().saturating_sub(units_of(bytes));
        if let Some(permit) = &mut self.permit {
            drop(permit.split(spare as usize));
        }
        Taken(self.permit.filter(|permit| permit.num_permits() > 0).map(Arc::new))
    }

    fn units(&self) -> u32 {
        self.permit.as_ref().map_or(0, |permit| u32::try_from(permit.num_permits()).unwrap_or(u32::MAX))
    }
}

/// Room that an answer takes, until the last clone is dropped; none for a small one.
#[derive(Debug, Clone, Default)]
pub struct Taken(Option<Arc<OwnedSemaphorePermit>>);

impl Taken {
    /// The answer is a large one: nothing else is to be asked for by whoever has it.
    pub const fn is_large(&self) -> bool {
        self.0.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[tokio::test]
    async fn room_is_taken_as_a_body_grows_and_let_go_with_it() {
        let room = Room::of(12 * MIB as u64);
        let mut one = Taking::default();
        assert!(room.take(&mut one, SMALL) && one.permit.is_none(), "a small one takes none");
        assert!(room.take(&mut one, 2 * MIB) && room.take(&mut one, 3 * MIB));
        let mut other = Taking::default();
        assert!(!room.take(&mut other, 2 * MIB), "6 of 8 MiB are taken");
        let taken = one.ended(2 * MIB);
        assert!(taken.is_large() && room.take(&mut other, 2 * MIB));
        drop((taken.clone(), other));
        assert!(!room.take(&mut Taking::default(), 4 * MIB), "a clone is still there");
        drop(taken);
        assert!(room.take(&mut Taking::default(), 4 * MIB));
    }

    #[tokio::test]
    async fn what_needs_more_than_all_passes_alone() {
        let room = Room::of(12 * MIB as u64);
        let mut alone = room.for_one(64 * MIB as u64).await.unwrap();
        assert!(room.take(&mut alone, 64 * MIB));
        assert!(!room.take(&mut Taking::default(), MIB));
        let taken = alone.ended(64 * MIB);
        let waits = room.for_one(MIB as u64);
        tokio::pin!(waits);
        assert!(futures_util::poll!(waits.as_mut()).is_pending());
        drop(taken);
        assert!(waits.await.is_some());
    }

    #[test]
    fn what_is_kept_has_room_of_its_own() {
        let room = Room::of(12 * MIB as u64);
        let kept = room.keep(3 * MIB).unwrap();
        assert!(room.keep(2 * MIB).is_none() && room.keep(MIB).is_some());
        drop(kept);
        assert!(room.keep(4 * MIB).is_some());
    }
}
