//! What is to be done about a flag: the wish beside what is stored and what the SIS shows.
//!
//! Role: [`decide`] gives the flag as it is to be stored, due for a push or not, and what is to be noted. The same for
//! the nightly comparison, for one student's, and for reading back. Pure.
//!
//! Invariants: what the SIS shows as wished is never pushed again, and neither is what it refused for good; a flag that
//! somebody edited is pushed again only when there is something new to say of its student or the district wants its flags
//! restored, and the edit is told before it is written over, also one that is only seen by then; another launch link alone overrules no edit; what the SIS took and
//! shows no more was deleted, also before anybody had read it back; nothing is ever to be deleted.

use chrono::{DateTime, NaiveDate, Utc};
use rollcall_store::{
    district::OnDrift,
    flag::{Flag, FlagState, Participation, PushedFlag},
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::desired::Wish;

/// A flag as the SIS shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    /// A day is there that cannot be read: it is not open for that, nor without a beginning.
    pub is_undated: bool,
    /// Where a click on it leads.
    pub link: ShownLink,
}

/// Where a click on a flag leads, as the SIS shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ShownLink {
    /// It shows the links of no flags.
    NotTold,
    /// Nowhere.
    Nothing,
    /// There.
    To(String),
}

impl From<Option<String>> for ShownLink {
    fn from(link: Option<String>) -> Self {
        link.map_or(Self::Nothing, Self::To)
    }
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

/// When a decision is taken.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// The moment.
    pub now: DateTime<Utc>,
    /// The district's date.
    pub today: NaiveDate,
}

/// A decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The flag as it is to be stored; `None`: there is nothing to store.
    pub flag: Option<Flag>,
    /// Somebody edited it in the SIS: how, for the ledger. Told once for each edit.
    pub drift: Option<String>,
}

impl Decision {
    /// For a student who does not attend and whose flag the SIS does not show: it is not made anew, whatever else is decided.
    #[must_use]
    pub fn not_made(self) -> Self {
        let kept = |flag: Flag| {
            let reason = flag.reason.clone().or_else(|| Some(NOT_ENROLLED.to_owned()));
            if flag.due { Flag { due: false, why: None, reason, ..flag } } else { flag }
        };
        Self { flag: self.flag.map(kept), ..self }
    }
}

/// Why a student who does not attend gets no new flag.
pub(crate) const NOT_ENROLLED: &str = "not-enrolled";

/// Why a flag is pushed again after reading back: once, where the SIS shows it otherwise, or where it does not show it and the
/// district wants its flags restored. The second time it has failed.
pub(crate) const NOT_READ_BACK: &str = "not-read-back";

/// What somebody did to a flag that the SIS shows no more.
pub(crate) const DELETED: &str = "deleted";

/// Decides. `id` is the flag's, `stored` what is known of it.
pub fn decide(
    id: Uuid,
    participation: &Participation,
    stored: Option<&Flag>,
    wish: Wish,
    seen: Seen<'_>,
    on_drift: OnDrift,
    at: Moment,
) -> Decision {
    let quiet = |flag| Decision { flag, drift: None };
    match wish {
        Wish::None => quiet(stored.map(withdrawn)),
        Wish::KeptBack { dates, sis_id, state, reason } => {
            let base = base(id, participation, stored);
            // One that was pushed goes on under the id that it has there.
            let sis_id = sis_id.filter(|_| base.pushed.is_none()).or_else(|| base.sis_id.clone());
            let kept = Flag { sis_id, starts_on: dates.starts_on, ends_on: dates.ends_on, ..base };
            quiet(Some(kept_back(kept, state, reason)))
        }
        Wish::Shown(target) => {
            let wanted = Flag {
                sis_id: Some(target.sis_id.clone()),
                starts_on: target.starts_on,
                ends_on: target.ends_on,
                ..base(id, participation, stored)
            };
            compare(wanted, target, seen, on_drift, at)
        }
    }
}

/// Decides about a flag that the SIS accepted, by what it shows now.
pub fn read_again(stored: &Flag, seen: Seen<'_>, on_drift: OnDrift, at: Moment) -> Decision {
    match stored.pushed.clone() {
        Some(target) => compare(stored.clone(), target, seen, on_drift, at),
        None => Decision { flag: Some(stored.clone()), drift: None },
    }
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
        failing: None,
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

fn compare(wanted: Flag, target: PushedFlag, seen: Seen<'_>, on_drift: OnDrift, at: Moment) -> Decision {
    let as_wished = match seen {
        Seen::There(actual) => differences(&target, accepted_link(&wanted), actual).is_empty(),
        Seen::Nothing | Seen::NotAsked => false,
    };
    let edit = edit(&wanted, seen);
    let told = edit.clone().filter(|edit| !is_known(&wanted, edit));
    let quiet = |flag| Decision { flag: Some(flag), drift: None };
    match &wanted.pushed {
        _ if as_wished => quiet(read_back(wanted, target, at.now)),
        _ if is_refused(&wanted, &target) => quiet(refused(wanted)),
        Some(pushed) if same(pushed, &target) => settled(wanted, seen, edit, on_drift),
        Some(pushed) if same_but_for_link(pushed, &target) && edit.is_some() => settled(wanted, seen, edit, on_drift),
        // Nobody clicks on what is over.
        Some(pushed) if same_but_for_link(pushed, &target) && is_over(&wanted, &target, at.today) => quiet(wanted),
        Some(pushed) if same_but_for_link(pushed, &target) => quiet(due(wanted, "launch-link")),
        Some(pushed) => {
            // A program that was made anew under another id was not asked for by the old one.
            let drift = told.filter(|_| pushed.program_sis_id.eq_ignore_ascii_case(&target.program_sis_id));
            Decision { flag: Some(due(wanted, "participation-changed")), drift }
        }
        None => quiet(due(wanted, "participation")),
    }
}

/// It was read back before, and has ended.
fn is_over(wanted: &Flag, target: &PushedFlag, today: NaiveDate) -> bool {
    wanted.verified_at.is_some() && target.ends_on.is_some_and(|end| end < today)
}

/// What somebody did in the SIS since the flag was last read there as it had been pushed, or since the SIS took it. One that
/// was not read back and is there otherwise may be the SIS's own doing.
fn edit(wanted: &Flag, seen: Seen<'_>) -> Option<String> {
    let was_taken = matches!(wanted.state, FlagState::Accepted | FlagState::Drift);
    let was_there = wanted.verified_at.is_some() || (was_taken && seen == Seen::Nothing);
    let pushed = wanted.pushed.as_ref().filter(|_| was_there)?;
    match seen {
        Seen::NotAsked => None,
        Seen::Nothing => Some(DELETED.to_owned()),
        Seen::There(actual) => edited(&differences(pushed, accepted_link(wanted), actual)),
    }
}

/// How an edit is told.
fn edited(differences: &[&str]) -> Option<String> {
    (!differences.is_empty()).then(|| format!("edited {}", differences.join(" ")))
}

/// What somebody did in the SIS to a flag that is about to be written, for the ledger: what is there is neither what was pushed nor what is
/// to be. One that was not read back may be there otherwise by the SIS's own doing.
pub fn written_over(flag: &Flag, target: &PushedFlag, actual: Option<&ActualFlag>) -> Option<String> {
    let pushed = flag.pushed.as_ref().filter(|_| flag.why.as_deref() != Some(NOT_READ_BACK))?;
    let of = |pushed: &PushedFlag, actual| differences(pushed, accepted_link(flag), actual);
    let edit = match actual {
        Some(actual) if of(target, actual).is_empty() => None,
        Some(actual) => edited(&of(pushed, actual)),
        // A program that was made anew under another id has none of the old one's.
        None => pushed.program_sis_id.eq_ignore_ascii_case(&target.program_sis_id).then(|| DELETED.to_owned()),
    };
    edit.filter(|edit| !is_known(flag, edit))
}

/// It was told before.
fn is_known(wanted: &Flag, edit: &str) -> bool {
    wanted.state == FlagState::Drift && wanted.reason.as_deref() == Some(edit)
}

fn accepted_link(flag: &Flag) -> Option<&str> {
    flag.pushed.as_ref()?.link.as_deref()
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
fn settled(wanted: Flag, seen: Seen<'_>, edit: Option<String>, on_drift: OnDrift) -> Decision {
    let quiet = |flag| Decision { flag: Some(flag), drift: None };
    let Some(edit) = edit else {
        return quiet(if seen == Seen::NotAsked { wanted } else { not_read_back(wanted) });
    };
    let known = is_known(&wanted, &edit);
    let restore = on_drift == OnDrift::Restore;
    let is_unread = wanted.state == FlagState::Accepted;
    if restore && is_unread && wanted.why.as_deref() == Some(NOT_READ_BACK) {
        // It would go on for ever.
        return quiet(not_read_back(wanted));
    }
    let why = if is_unread { NOT_READ_BACK } else { "restore" };
    let flag = Flag {
        state: FlagState::Drift,
        reason: Some(edit.clone()),
        due: restore,
        why: restore.then(|| why.to_owned()),
        ..wanted
    };
    Decision { flag: Some(flag), drift: (!known).then_some(edit) }
}

/// Accepted, and the SIS does not show it so: once more, then it has failed.
fn not_read_back(wanted: Flag) -> Flag {
    let accepted_again = wanted.state == FlagState::Accepted && wanted.why.as_deref() == Some(NOT_READ_BACK);
    if accepted_again || wanted.reason.as_deref() == Some(NOT_READ_BACK) {
        return Flag {
            state: FlagState::Failed,
            reason: Some(NOT_READ_BACK.to_owned()),
            due: false,
            why: None,
            ..wanted
        };
    }
    due(wanted, NOT_READ_BACK)
}

/// Names of what differs; no values. Ids of the SIS are compared without regard to case (wire/oneroster-campus.md 2.3).
/// `accepted`: the link that the SIS took last, which is all there is to go by where it shows none.
fn differences(target: &PushedFlag, accepted: Option<&str>, actual: &ActualFlag) -> Vec<&'static str> {
    let link = target.link.as_deref();
    let other_link = match &actual.link {
        ShownLink::To(shown) if accepted == link => link.is_some_and(|link| !leads_there(link, shown)),
        ShownLink::To(shown) => link.is_some_and(|link| link != shown),
        ShownLink::NotTold | ShownLink::Nothing => link.is_some() && accepted != link,
    };
    let all = [
        ("student", !actual.sis_id.eq_ignore_ascii_case(&target.sis_id)),
        ("program", !actual.program_sis_id.eq_ignore_ascii_case(&target.program_sis_id)),
        ("start", actual.starts_on != Some(target.starts_on)),
        ("end", actual.ends_on != target.ends_on),
        ("link", other_link),
    ];
    all.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}

/// Whether a link is shown that was taken as `link`: how Campus spells one, and whether it shows any, is not written down, so
/// the flag's id in it is enough.
fn leads_there(link: &str, shown: &str) -> bool {
    let flag = link.split_once("flag=").map(|(_, flag)| flag.split('&').next().unwrap_or(flag).to_ascii_lowercase());
    link == shown || flag.is_some_and(|flag| shown.to_ascii_lowercase().contains(&flag))
}

/// Nothing is to be said.
pub(crate) fn same(pushed: &PushedFlag, target: &PushedFlag) -> bool {
    same_but_for_link(pushed, target) && (target.link.is_none() || pushed.link == target.link)
}

/// Nothing but another link is to be said.
pub(crate) fn same_but_for_link(pushed: &PushedFlag, target: &PushedFlag) -> bool {
    pushed.starts_on == target.starts_on
        && pushed.ends_on == target.ends_on
        && pushed.sis_id.eq_ignore_ascii_case(&target.sis_id)
        && pushed.program_sis_id.eq_ignore_ascii_case(&target.program_sis_id)
}

/// How a flag came to stand as it is wished by a look at the SIS alone, for the ledger: action and why. `None`: it stood so
/// before, but for a link that is only known by now.
pub fn seen_as_wished(before: Option<&Flag>, flag: &Flag) -> Option<(&'static str, &'static str)> {
    let pushed = flag.pushed.as_ref().filter(|_| flag.state == FlagState::Pushed)?;
    let was_sent = before.and_then(|before| before.pushed.as_ref()).is_some_and(|sent| same_but_for_link(sent, pushed));
    match before.map(|before| before.state) {
        Some(FlagState::Pushed) if was_sent => None,
        Some(FlagState::Accepted) if was_sent => Some(("read-back", "accepted before")),
        Some(FlagState::Drift) if was_sent => Some(("found", "the SIS shows it again as it was pushed")),
        _ => Some(("found", "the SIS has it: an answer was lost, or somebody was before us")),
    }
}

#[cfg(test)]
mod tests;
