//! How many of what is parked go back to work next, and when.
//!
//! One, then ten, then steps of [`STEP`]; with a rate, never more than that in a step, and one step a second. Messages and
//! students each begin with one: that the one kind goes through says nothing of the other.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::cli::ReplayArgs;

/// Sizes of the first steps.
const CANARIES: &[usize] = &[1, 10];

/// Size of a step after them: what can still be parked again before anybody notices.
const STEP: usize = 500;

/// See the module.
pub(super) struct Steps {
    canaries: &'static [usize],
    /// Those to come.
    left: &'static [usize],
    step: usize,
    /// From the beginning of one step to that of the next, at least.
    gap: Duration,
    not_before: Option<Instant>,
}

impl Steps {
    /// All to come.
    pub(super) fn new(how: &ReplayArgs) -> Self {
        let canaries: &'static [usize] = if how.at_once { &[] } else { CANARIES };
        let step = how.rate.map_or(STEP, |rate| STEP.min(rate as usize));
        let gap = how.rate.map_or(Duration::ZERO, |_| Duration::from_secs(1));
        Self { canaries, left: canaries, step, gap, not_before: None }
    }

    /// From the first one on, at the pace so far: for things of another kind.
    pub(super) fn begin_again(&mut self) {
        self.left = self.canaries;
    }

    /// The size of the next one, when its time has come.
    pub(super) async fn next(&mut self) -> usize {
        let (moment, size) = self.deal(Instant::now());
        sleep_until(moment).await;
        size
    }

    /// When the next one begins, and its size. A step that took long is no reason to hurry afterwards.
    fn deal(&mut self, now: Instant) -> (Instant, usize) {
        let moment = self.not_before.map_or(now, |earliest| earliest.max(now));
        self.not_before = Some(moment + self.gap);
        let Some((canary, left)) = self.left.split_first() else { return (moment, self.step) };
        self.left = left;
        (moment, self.step.min(*canary))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::FirstArgs;

    fn how(at_once: bool, rate: Option<u32>) -> ReplayArgs {
        let (first, patience) = (FirstArgs { limit: None, dry_run: false, yes: true }, Duration::from_secs(1));
        ReplayArgs { first, at_once, rate, patience, wait: false }
    }

    /// The first steps, each taking so many milliseconds: milliseconds from the start, and size.
    fn begun(how: &ReplayArgs, took: [u64; 5]) -> [(u128, usize); 5] {
        let (mut steps, start) = (Steps::new(how), Instant::now());
        let mut now = start;
        took.map(|took| {
            let (moment, size) = steps.deal(now);
            now = moment + Duration::from_millis(took);
            ((moment - start).as_millis(), size)
        })
    }

    #[test]
    fn one_then_ten_then_many_as_soon_as_the_one_before_is_over() {
        let steps = begun(&how(false, None), [30, 200, 0, 0, 0]);
        assert_eq!(steps, [(0, 1), (30, 10), (230, STEP), (230, STEP), (230, STEP)]);
        assert_eq!(begun(&how(true, None), [0; 5]), [(0, STEP); 5]);
    }

    #[test]
    fn no_more_than_the_rate_goes_back_in_any_second() {
        let paced = begun(&how(false, Some(5)), [20; 5]);
        assert_eq!(paced, [(0, 1), (1_000, 5), (2_000, 5), (3_000, 5), (4_000, 5)]);
        let fast = begun(&how(true, Some(700)), [20; 5]);
        assert_eq!(fast.map(|(_, size)| size), [STEP; 5]);
        for rate in [1, 3, 10, 499] {
            // Of all kinds of steps, a long one among them: what it missed is not made up for.
            let steps = begun(&how(false, Some(rate)), [0, 700, 10_000, 5, 999]);
            for (from, _) in steps {
                let within = steps.iter().filter(|(moment, _)| (from..from + 1_000).contains(moment));
                let put_back: usize = within.map(|(_, size)| size).sum();
                assert!(put_back <= rate as usize, "{put_back} in the second from {from} ms on");
            }
        }
    }

    #[test]
    fn another_kind_begins_with_one_at_the_same_pace() {
        let (mut steps, start) = (Steps::new(&how(false, Some(20))), Instant::now());
        let sizes = [(); 3].map(|()| steps.deal(start).1);
        steps.begin_again();
        let (moment, size) = steps.deal(start);
        assert_eq!((sizes, size, moment - start), ([1, 10, 20], 1, Duration::from_secs(3)));
    }

    #[tokio::test]
    async fn a_step_waits_until_its_time_has_come() {
        let mut steps = Steps::new(&how(true, Some(1)));
        steps.next().await;
        let begun = Instant::now();
        steps.next().await;
        assert!(begun.elapsed() > Duration::from_millis(900), "{:?}", begun.elapsed());
    }
}
