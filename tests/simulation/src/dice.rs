//! Every chance of a simulation: one stream of numbers, from the seed.

use std::sync::{Arc, Mutex, PoisonError};

/// See the module. Clones share the stream.
#[derive(Debug, Clone)]
pub(crate) struct Dice(Arc<Mutex<fastrand::Rng>>);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(fastrand::Rng::with_seed(seed))))
    }

    /// A number below `limit`; 0 where there is none.
    pub(crate) fn below(&self, limit: u64) -> u64 {
        if limit < 2 {
            return 0;
        }
        self.0.lock().unwrap_or_else(PoisonError::into_inner).u64(0..limit)
    }

    /// From `least` to `most`, both possible.
    pub(crate) fn between(&self, least: u64, most: u64) -> u64 {
        least + self.below(most - least + 1)
    }

    /// True in so many of a thousand cases. What cannot happen leaves the stream as it is.
    pub(crate) fn chance(&self, per_mille: u64) -> bool {
        per_mille > 0 && self.below(1_000) < per_mille
    }

    /// One of them, by its place.
    pub(crate) fn place<T>(&self, among: &[T]) -> usize {
        self.below(among.len() as u64) as usize
    }

    /// One of them.
    pub(crate) fn pick<T: Copy>(&self, among: &[T]) -> Option<T> {
        among.get(self.place(among)).copied()
    }
}
