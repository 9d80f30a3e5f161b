//! What goes wrong at a SIS, and how often.
//!
//! Honest about one thing: an answer to a second look may fail, but it does not lie. A SIS that leaves an enrolled student
//! out of a listing *and* denies the student when asked by id has said twice that the student is gone, and nobody could
//! tell. (A great many at once are held all the same: [`SisWeather::most_missing`].)

use crate::dice::Dice;

/// How often something goes wrong, per mille of requests, and what stays wrong for the night.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SisWeather {
    /// 500, 502, 503 without a time, a broken connection, a time-out, no connection.
    pub(crate) failing: u64,
    /// 429 and 503 with every form of `Retry-After`.
    pub(crate) throttled: u64,
    /// The token is no longer good.
    pub(crate) expiring: u64,
    /// HTML with 200, truncated JSON, an empty list with 200.
    pub(crate) garbled: u64,
    /// A row is skipped, or served twice, at a page's border; per page.
    pub(crate) moving: u64,
    /// A listing ends before its end; per page.
    pub(crate) torn: u64,
    /// The page before is served again; per page.
    pub(crate) repeating: u64,
    /// An answer comes late.
    pub(crate) slow: u64,
    /// Most students are missing from every answer, the second look's included.
    pub(crate) most_missing: bool,
    /// Nothing is answered all night.
    pub(crate) down: bool,
    /// Listings carry a total.
    pub(crate) totals: bool,
}

impl SisWeather {
    /// A night's weather: half of the nights are fair.
    pub(crate) fn of_night(dice: &Dice) -> Self {
        let fair = Self { totals: dice.chance(300), ..Self::default() };
        match dice.below(100) {
            0..40 => fair,
            40..55 => Self { failing: 40, throttled: 40, expiring: 30, slow: 60, ..fair },
            55..65 => Self { failing: 250, throttled: 100, expiring: 100, slow: 100, ..fair },
            65..75 => Self { garbled: 40, ..fair },
            75..87 => Self { moving: 400, ..fair },
            87..91 => Self { torn: 100, repeating: 60, ..fair },
            91..97 => Self { most_missing: true, ..fair },
            _ => Self { down: true, ..fair },
        }
    }
}
