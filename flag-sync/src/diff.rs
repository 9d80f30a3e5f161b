//! What is to be done about a flag: the wish beside what is stored and what the SIS shows.
//!
//! Role: [`decide`] gives the flag as it is to be stored, due for a push or not, and what is to be noted. The same for
//! the nightly comparison, for one student's, and for reading back. Pure.
//!
//! Invariants: what the SIS shows as wished is never pushed again, and neither is what it refused for good; a flag that somebody edited is pushed again only when
//! there is something new to say or the district wants its flags restored; nothing is ever to be deleted.

use chrono::{DateTime, NaiveDate, Utc};
use rollcall_store::{
    district::OnDrift,
    flag::{Flag, FlagState, Participation, PushedFlag},
};
use uuid::Uuid;

use crate::desired::Wish;

/// A flag as the SIS shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActualFlag {
    /// The SIS's id.
    pub id: String,
    /// The student's id in the SIS.
    pub sis_id: String,
    /// The program's id in the SIS.
    pub program_sis_id: String,
    /// First day.
    pub starts_on: Option<NaiveDate>,
    /// Last day; none while open.
    pub ends_on: Option<NaiveDate>,
}

/// What the SIS shows of one flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen<'a> {
    /// It was not asked.
    NotAsked,
    /// No such flag, or one marked as deleted.
    Nothing,
    /// This.
    There(&'a ActualFlag),
}

/// A decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The flag as it is to be stored; `None`: there is nothing to store.
    pub flag: Option<Flag>,
    /// Somebody edited it in the SIS: how, for the ledger. Told once for each edit.
    pub drift: Option<String>,
}

/// Why a flag is pushed again after reading back: once. The second time it has failed.
const NOT_READ_BACK: &str = "not-read-back";

/// Decides. `id` is the flag's, `stored` what is known of it.
pub fn decide(
    id: Uuid,
    participation: &Participation,
    stored: Option<&Flag>,
    wish: Wish,
    seen: Seen<'_>,
    on_drift: OnDrift,
    now: DateTime<Utc>,
) -> Decision {
    let quiet = |flag| Decision { flag, drift: None };
    match wish {
        Wish::None => quiet(stored.map(withdrawn)),
        Wish::KeptBack { dates, state, reason } => {
            let kept = Flag { starts_on: dates.starts_on, ends_on: dates.ends_on, ..base(id, participation, stored) };
            quiet(Some(kept_back(kept, state, reason)))
        }
        Wish::Shown(target) => {
            let wanted = Flag {
                sis_id: Some(target.sis_id.clone()),
                starts_on: target.starts_on,
                ends_on: target.ends_on,
                ..base(id, participation, stored)
            };
            compare(wanted, target, seen, on_drift, now)
        }
    }
}

/// Decides about a flag that the SIS accepted, by what it shows now.
pub fn read_again(stored: &Flag, seen: Seen<'_>, now: DateTime<Utc>) -> Flag {
    let Some(target) = stored.pushed.clone() else { return stored.clone() };
    let decision = compare(stored.clone(), target, seen, OnDrift::Report, now);
    decision.flag.unwrap_or_else(|| stored.clone())
}

fn base(id: Uuid, participation: &Participation, stored: Option<&Flag>) -> Flag {
    stored.cloned().unwrap_or_else(|| Flag {
        id,
        participation: participation.id,
        student: participation.student.clone(),
        program: participation.program.clone(),
        sis_id: None,
        starts_on: participation.starts_on,
        ends_on: participation.ends_on,
        state: FlagState::Wanted,
        reason: None,
        due: false,
        why: None,
        pushed: None,
        verified_at: None,
        refused: None,
    })
}

/// Never pushed, and not wanted any more.
fn withdrawn(stored: &Flag) -> Flag {
    Flag { state: FlagState::Wanted, reason: Some("withdrawn".to_owned()), due: false, why: None, ..stored.clone() }
}

/// One that the SIS has as it should be stays as it is; any other is listed with the reason.
fn kept_back(flag: Flag, state: FlagState, reason: String) -> Flag {
    let settled = matches!(flag.state, FlagState::Pushed | FlagState::Accepted | FlagState::Drift);
    let as_wished =
        flag.pushed.as_ref().is_some_and(|pushed| pushed.starts_on == flag.starts_on && pushed.ends_on == flag.ends_on);
    if settled && as_wished {
        return Flag { due: false, ..flag };
    }
    Flag { state, reason: Some(reason), due: false, why: None, ..flag }
}

fn compare(wanted: Flag, target: PushedFlag, seen: Seen<'_>, on_drift: OnDrift, now: DateTime<Utc>) -> Decision {
    let as_wished = match seen {
        Seen::There(actual) => differences(&target, actual).is_empty(),
        Seen::Nothing | Seen::NotAsked => false,
    };
    let flag = match &wanted.pushed {
        _ if as_wished => read_back(wanted, target, now),
        _ if is_refused(&wanted, &target) => refused(wanted),
        Some(pushed) if same(pushed, &target) => return settled(wanted, &target, seen, on_drift),
        Some(_) => due(wanted, "participation-changed"),
        None => due(wanted, "participation"),
    };
    Decision { flag: Some(flag), drift: None }
}

/// The SIS refused this very flag for good.
fn is_refused(wanted: &Flag, target: &PushedFlag) -> bool {
    wanted.refused.as_ref().is_some_and(|refused| same(&refused.sent, target))
}

/// It stays set aside, until something else is wanted or a person asks.
fn refused(wanted: Flag) -> Flag {
    let reason = wanted.refused.as_ref().map(|refused| format!("campus-{}", refused.status));
    Flag { state: FlagState::Failed, reason, due: false, why: None, ..wanted }
}

fn read_back(wanted: Flag, target: PushedFlag, now: DateTime<Utc>) -> Flag {
    let before = wanted.verified_at.filter(|_| wanted.pushed.as_ref() == Some(&target));
    Flag {
        state: FlagState::Pushed,
        reason: None,
        due: false,
        why: None,
        pushed: Some(target),
        verified_at: Some(before.unwrap_or(now)),
        refused: None,
        ..wanted
    }
}

/// From here on what the SIS shows is not known: an answer may be lost, so what was read back before counts no more.
fn due(wanted: Flag, why: &str) -> Flag {
    let why = Some(why.to_owned());
    Flag { state: FlagState::Wanted, reason: None, due: true, why, verified_at: None, refused: None, ..wanted }
}

/// Nothing new to say, and the SIS shows it otherwise or not at all.
fn settled(wanted: Flag, target: &PushedFlag, seen: Seen<'_>, on_drift: OnDrift) -> Decision {
    let edit = match seen {
        Seen::NotAsked => return Decision { flag: Some(wanted), drift: None },
        Seen::Nothing => "deleted".to_owned(),
        Seen::There(actual) => format!("edited {}", differences(target, actual).join(" ")),
    };
    if wanted.verified_at.is_none() {
        let accepted_again = wanted.state == FlagState::Accepted && wanted.why.as_deref() == Some(NOT_READ_BACK);
        let again = accepted_again || wanted.reason.as_deref() == Some(NOT_READ_BACK);
        let flag = if again {
            Flag { state: FlagState::Failed, reason: Some(NOT_READ_BACK.to_owned()), due: false, why: None, ..wanted }
        } else {
            due(wanted, NOT_READ_BACK)
        };
        return Decision { flag: Some(flag), drift: None };
    }
    let known = wanted.state == FlagState::Drift && wanted.reason.as_deref() == Some(&edit);
    let restore = on_drift == OnDrift::Restore;
    let flag = Flag {
        state: FlagState::Drift,
        reason: Some(edit.clone()),
        due: restore,
        why: restore.then(|| "restore".to_owned()),
        ..wanted
    };
    Decision { flag: Some(flag), drift: (!known).then_some(edit) }
}

/// Names of what differs; no values. Ids of the SIS are compared without regard to case (wire/oneroster-campus.md 2.3).
fn differences(target: &PushedFlag, actual: &ActualFlag) -> Vec<&'static str> {
    let all = [
        ("student", !actual.sis_id.eq_ignore_ascii_case(&target.sis_id)),
        ("program", !actual.program_sis_id.eq_ignore_ascii_case(&target.program_sis_id)),
        ("start", actual.starts_on != Some(target.starts_on)),
        ("end", actual.ends_on != target.ends_on),
    ];
    all.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}

fn same(pushed: &PushedFlag, target: &PushedFlag) -> bool {
    pushed.starts_on == target.starts_on
        && pushed.ends_on == target.ends_on
        && pushed.sis_id.eq_ignore_ascii_case(&target.sis_id)
        && pushed.program_sis_id.eq_ignore_ascii_case(&target.program_sis_id)
}

#[cfg(test)]
mod tests;
