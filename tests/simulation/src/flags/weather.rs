//! What goes wrong at a Campus, and how one Campus differs from another.
//!
//! Honest about one thing: whoever asks for one student's flags is not told of fewer than there are. A Campus that denies a flag by
//! its id *and* among its student's has said twice that it is gone, and nobody could tell.

use crate::dice::Dice;

/// How often something goes wrong, per mille of requests, and what stays wrong for the night.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct CampusWeather {
    /// 500, 502, 503 without a time, a broken connection, a time-out, no connection.
    pub(crate) failing: u64,
    /// 429 and 503 with a time to come back, or without.
    pub(crate) throttled: u64,
    /// The token is no longer good.
    pub(crate) expiring: u64,
    /// HTML with 200, truncated JSON, an empty list with 200.
    pub(crate) garbled: u64,
    /// A row is skipped, or served twice, at a page's border; per page.
    pub(crate) moving: u64,
    /// A page is served again.
    pub(crate) repeating: u64,
    /// An answer comes late.
    pub(crate) slow: u64,
    /// A write is taken, and its answer is lost: a broken connection, a time-out, a 500.
    pub(crate) unheard: u64,
    /// A write is answered as if it were taken, and is not.
    pub(crate) forgotten: u64,
    /// A write is refused: 403, 404, 409, 422.
    pub(crate) refusing: u64,
    /// After so many writes nothing is answered: half of a batch is accepted.
    pub(crate) writes_left: Option<u64>,
    /// Nothing is answered all night.
    pub(crate) down: bool,
}

impl CampusWeather {
    /// A night's weather: a third of the nights are fair.
    pub(crate) fn of_night(dice: &Dice) -> Self {
        let fair = Self::default();
        match dice.below(100) {
            0..30 => fair,
            30..45 => Self { failing: 30, throttled: 30, expiring: 30, slow: 60, ..fair },
            45..53 => Self { failing: 250, throttled: 60, expiring: 60, slow: 60, ..fair },
            53..65 => Self { unheard: 300, slow: 40, ..fair },
            65..70 => Self { forgotten: 250, ..fair },
            70..75 => Self { refusing: 200, ..fair },
            75..81 => Self { garbled: 80, ..fair },
            81..87 => Self { moving: 300, repeating: 30, ..fair },
            87..94 => Self { writes_left: Some(dice.below(6)), ..fair },
            _ => Self { down: true, ..fair },
        }
    }
}

/// What a Campus does with a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filters {
    /// It filters.
    Honoured,
    /// It answers with all.
    Ignored,
    /// 400.
    Refused,
}

/// What is not written down of a Campus (wire/oneroster-campus.md 2.5), and stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dialect {
    pub(crate) filters: Filters,
    /// A single flag can be asked for; the status in its place where not.
    pub(crate) refuses_one: Option<u16>,
    /// Lists say how many rows there are.
    pub(crate) totals: bool,
    /// Rows of a page, whatever is asked for.
    pub(crate) page: usize,
    /// Ids are shown in capitals.
    pub(crate) capitals: bool,
}

impl Dialect {
    pub(crate) fn of(dice: &Dice) -> Self {
        let filters = match dice.below(6) {
            0 => Filters::Ignored,
            1 => Filters::Refused,
            _ => Filters::Honoured,
        };
        let refuses_one = [None, None, Some(404), Some(405)][dice.below(4) as usize];
        let page = if dice.chance(500) { dice.between(2, 7) as usize } else { 1_000 };
        Self { filters, refuses_one, totals: dice.chance(500), page, capitals: dice.chance(300) }
    }
}
