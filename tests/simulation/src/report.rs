//! What a simulation went through.

use std::{fmt, iter::Sum};

use crate::bus::BusCounts;

/// What befell the processes, and what people did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Processes killed between two turns.
    pub killed: u64,
    /// Processes dead before an effect: a commit, a publish, an acknowledgement.
    pub died: u64,
    /// Times that the broker was away.
    pub outages: u64,
    /// Times that the broker lost everything.
    pub wiped: u64,
    /// Clocks of processes that stepped.
    pub stepped: u64,
    /// Held plans approved.
    pub approved: u64,
    /// Held plans thrown away.
    pub discarded: u64,
    /// Runs started by hand.
    pub by_hand: u64,
    /// Runs cancelled.
    pub cancelled: u64,
    /// Runs replayed.
    pub replayed: u64,
    /// Parked messages replayed.
    pub unparked: u64,
    /// Times that what must always hold was looked at.
    pub looks: u64,
}

/// What befell messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Messages {
    /// Delivered.
    pub delivered: u64,
    /// Stored once more than published.
    pub doubled: u64,
    /// Publishes that failed, wholly or in part.
    pub refused: u64,
    /// Lost with the broker's data.
    pub lost: u64,
    /// Delivered and not settled, so that they came again; retries among them.
    pub again: u64,
}

impl From<BusCounts> for Messages {
    fn from(counts: BusCounts) -> Self {
        let BusCounts { delivered, doubled, refused, lost, again } = counts;
        Self { delivered, doubled, refused, lost, again }
    }
}

/// What befell flags.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FlagCounts {
    /// Documents made, corrected, completed and withdrawn.
    pub documents: u64,
    /// Writes that Campus took.
    pub written: u64,
    /// Of these, writes whose answer was lost.
    pub unheard: u64,
    /// Flags edited by hand.
    pub edited: u64,
    /// Take-overs approved.
    pub approved: u64,
}

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Nights lived through, each district's counted.
    pub district_nights: u64,
    /// Processes and people.
    pub counts: Counts,
    /// Messages.
    pub messages: Messages,
    /// Flags.
    pub flags: FlagCounts,
    /// Digest of everything that was decided, in order: equal seeds, equal traces.
    pub trace: String,
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { district_nights, counts: c, messages: m, flags: f, .. } = self;
        write!(
            out,
            "{district_nights} nights, {} looks; processes killed {}, died before an effect {}; broker away {}, wiped {}; clocks stepped {}; \
             messages delivered {}, doubled {}, refused {}, lost {}, again {}; approved {}, discarded {}, by hand {}, \
             cancelled {}, replayed {}, unparked {}; documents {}, flags written {}, unheard {}, edited by hand {}, take-overs {}",
            c.looks,
            c.killed,
            c.died,
            c.outages,
            c.wiped,
            c.stepped,
            m.delivered,
            m.doubled,
            m.refused,
            m.lost,
            m.again,
            c.approved,
            c.discarded,
            c.by_hand,
            c.cancelled,
            c.replayed,
            c.unparked,
            f.documents,
            f.written,
            f.unheard,
            f.edited,
            f.approved
        )
    }
}

impl Sum for Report {
    fn sum<I: Iterator<Item = Self>>(reports: I) -> Self {
        reports.fold(Self::default(), |sum, one| Self {
            district_nights: sum.district_nights + one.district_nights,
            counts: sum.counts + one.counts,
            messages: sum.messages + one.messages,
            flags: sum.flags + one.flags,
            trace: String::new(),
        })
    }
}

impl std::ops::Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            killed: self.killed + other.killed,
            died: self.died + other.died,
            outages: self.outages + other.outages,
            wiped: self.wiped + other.wiped,
            stepped: self.stepped + other.stepped,
            approved: self.approved + other.approved,
            discarded: self.discarded + other.discarded,
            by_hand: self.by_hand + other.by_hand,
            cancelled: self.cancelled + other.cancelled,
            replayed: self.replayed + other.replayed,
            unparked: self.unparked + other.unparked,
            looks: self.looks + other.looks,
        }
    }
}

impl std::ops::Add for Messages {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            delivered: self.delivered + other.delivered,
            doubled: self.doubled + other.doubled,
            refused: self.refused + other.refused,
            lost: self.lost + other.lost,
            again: self.again + other.again,
        }
    }
}

impl std::ops::Add for FlagCounts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            documents: self.documents + other.documents,
            written: self.written + other.written,
            unheard: self.unheard + other.unheard,
            edited: self.edited + other.edited,
            approved: self.approved + other.approved,
        }
    }
}
