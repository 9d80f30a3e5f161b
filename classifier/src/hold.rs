//! Whether a plan waits for a person: it takes out or changes too many, or the district wants to see it first.
//!
//! Role: pure arithmetic over a plan's counts and the district's limits. Neighbours: the planner asks before the second
//! look and again after it. Invariants: exact at the limit (whole numbers only); a first run with nothing stored is
//! never held for what it changes; a small connection does not lose its students unseen beside a large one. Deliberately
//! absent: what a held run does next (the store and the command line).

use std::fmt;

use rollcall_proto::id::ConnectionNo;
use rollcall_store::district::HoldPolicy;

/// The roster before the plan, in students.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Before {
    /// All that are stored, whatever their status.
    pub stored: u64,
    /// Those of them who are ENROLLED or PRE_ENROLLED.
    pub attending: u64,
}

/// What the plan does to stored students.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Changes {
    /// Leave ENROLLED or PRE_ENROLLED for INACTIVE, or ENROLLED for PRE_ENROLLED; missing ones among them.
    pub removed: u64,
    /// Differ from what is stored in any other way.
    pub changed: u64,
}

/// What a plan takes out of one connection, in students.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Whose: the connection under which they are stored.
    pub connection: ConnectionNo,
    /// Its stored students who are ENROLLED or PRE_ENROLLED: one at least.
    pub attending: u64,
    /// Those of them who are removed.
    pub removed: u64,
}

/// Whether the run was asked to stop at its plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stop {
    /// `rollcall run --plan`.
    AtPlan,
    /// Nobody asked.
    #[default]
    Never,
}

/// Why a plan waits. `Display` is the text that people read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum HoldReason {
    /// The district or the command wants to see the plan first.
    Preview,
    /// Takes out more than `max_removed_percent`.
    Removed(Excess),
    /// Takes more than `max_removed_percent` out of one of several connections.
    RemovedOf(ConnectionNo, Excess),
    /// Changes more than `max_changed_percent`.
    Changed(Excess),
    /// The SIS has given its people other ids: so many students, ENROLLED or PRE_ENROLLED ones among them, move to theirs.
    Rekeyed(u64),
    /// Most ENROLLED or PRE_ENROLLED students of a source are listed no more, and others come whom nobody knows: people
    /// under other ids that nothing links to the stored ones.
    Unlinked {
        /// So many are listed no more,
        lost: u64,
        /// and so many come.
        new: u64,
    },
}

/// A part that is above its limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Excess {
    /// So many students,
    pub part: u64,
    /// of so many,
    pub whole: u64,
    /// where so many percent are admitted.
    pub limit_percent: f64,
}

/// A percent in the unit that limits are compared in: a millionth. So `0.1` means a tenth and not the nearest double.
const PER_PERCENT: u32 = 1_000_000;

/// Students taken out of one connection that are none too many, whatever their percentage: where a source has twenty, three who
/// leave are no sign of anything.
const MOST_OF_ANY: u64 = 9;

/// Why the plan must wait; nothing where it may go on.
pub fn judge(before: Before, changes: Changes, policy: &HoldPolicy, stop: Stop) -> Vec<HoldReason> {
    let mut reasons = Vec::new();
    if policy.preview || stop == Stop::AtPlan {
        reasons.push(HoldReason::Preview);
    }
    reasons.extend(judge_limits(before, changes, policy));
    reasons
}

/// The limits alone: what decides whether the plan is held before its second look.
pub fn judge_limits(before: Before, changes: Changes, policy: &HoldPolicy) -> Vec<HoldReason> {
    if before.stored == 0 {
        return Vec::new();
    }
    let removals = Excess { part: changes.removed, whole: before.attending, limit_percent: policy.max_removed_percent };
    let others = Excess { part: changes.changed, whole: before.stored, limit_percent: policy.max_changed_percent };
    let removed = removals.is_above().then_some(HoldReason::Removed(removals));
    removed.into_iter().chain(others.is_above().then_some(HoldReason::Changed(others))).collect()
}

/// The limit of removals for each connection by itself. `shares` are of those that have students; where there is but one, it is
/// the run's.
pub fn judge_shares(shares: &[Share], policy: &HoldPolicy) -> Vec<HoldReason> {
    if shares.len() < 2 {
        return Vec::new();
    }
    let many = shares.iter().filter(|share| share.removed > MOST_OF_ANY);
    let excess = |share: &Share| {
        let limit_percent = policy.max_removed_percent;
        (share.connection, Excess { part: share.removed, whole: share.attending, limit_percent })
    };
    let above = many.map(excess).filter(|(_, excess)| excess.is_above());
    above.map(|(connection, excess)| HoldReason::RemovedOf(connection, excess)).collect()
}

/// The reasons as a run's `reason`, joined by `; `. A preview's is `preview`, whatever else would hold it: [`beside_preview`] says
/// that.
pub fn join(reasons: &[HoldReason]) -> String {
    let preview = reasons.iter().position(|reason| *reason == HoldReason::Preview);
    text(preview.map_or(reasons, |at| &reasons[at..=at]))
}

/// What would hold a preview if it were none; nothing where nothing would, or where it is none.
pub fn beside_preview(reasons: &[HoldReason]) -> Option<String> {
    let others: Vec<HoldReason> = reasons.iter().copied().filter(|reason| *reason != HoldReason::Preview).collect();
    (others.len() < reasons.len() && !others.is_empty()).then(|| text(&others))
}

fn text(reasons: &[HoldReason]) -> String {
    reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl Excess {
    /// Strictly above the limit.
    fn is_above(&self) -> bool {
        u128::from(self.part) * 100 * u128::from(PER_PERCENT) > self.limit() * u128::from(self.whole)
    }

    /// Negative and no-number limits become 0, which holds everything: the safe side.
    fn limit(&self) -> u128 {
        (self.limit_percent * f64::from(PER_PERCENT)).round() as u128
    }

    /// The part in percent, with as many decimals (at least one) as it takes to show that it is above the limit.
    fn percent(&self) -> String {
        let exact = |scale: u128| {
            let whole = u128::from(self.whole).max(1);
            (u128::from(self.part) * 100 * scale + whole / 2) / whole
        };
        let mut scale = 10;
        while self.is_above() && exact(scale) * u128::from(PER_PERCENT) <= self.limit() * scale {
            scale *= 10;
        }
        let decimals = scale.ilog10() as usize;
        format!("{}.{:0decimals$}", exact(scale) / scale, exact(scale) % scale)
    }
}

impl HoldReason {
    /// Reason code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Preview => "preview",
            Self::Removed(_) | Self::RemovedOf(..) => "removed-above-limit",
            Self::Changed(_) => "changed-above-limit",
            Self::Rekeyed(_) => "students-rekeyed",
            Self::Unlinked { .. } => "students-unlinked",
        }
    }
}

impl fmt::Display for HoldReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, excess) = match self {
            Self::Preview => return f.write_str("preview"),
            Self::Rekeyed(students) => {
                return write!(
                    f,
                    "students-rekeyed: the SIS has given its people other ids, and {students} students move to theirs"
                );
            }
            Self::Unlinked { lost, new } => {
                return write!(
                    f,
                    "students-unlinked: {lost} students would be taken out and {new} added, most likely the same people \
                     under other ids; nothing links them"
                );
            }
            Self::RemovedOf(connection, excess) => {
                write!(f, "connection {connection}: ")?;
                ("removed", excess)
            }
            Self::Removed(excess) => ("removed", excess),
            Self::Changed(excess) => ("changed", excess),
        };
        let Excess { part, whole, .. } = excess;
        // As it was compared.
        let limit = excess.limit() as f64 / f64::from(PER_PERCENT);
        write!(f, "{what} {part} of {whole} ({} %) is above the limit of {limit} %", excess.percent())
    }
}
