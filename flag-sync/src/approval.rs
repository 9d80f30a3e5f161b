//! What people decide about take-overs: looked at as a plan, approved by the plan's digest.
//!
//! Role: one code for the command line and the JSON API. Neighbours: [`crate::cutover`] counts, [`crate::takeover`] does
//! what was approved.
//!
//! Invariants: what is approved is what was shown: what the caller says that was, or else what a person was shown last; of
//! several programs all are approved or none; nobody works on the district's flags meanwhile; the same approval again changes
//! nothing and answers alike.

use std::collections::BTreeSet;

use chrono::NaiveDate;
use rollcall_proto::id::DistrictId;
use rollcall_store::{
    district::{CutoverOption, District, Program},
    flag::{ApprovedTakeOver, Cutover, TakeOverPlan, TakeOverRefused, TakeOverState},
};
use uuid::Uuid;

use crate::{
    context::{Context, Work},
    cutover::{SHORT_LIST, Survey},
    error::FlagError,
    lease::Lease,
};

/// An outcome, or why there is none.
type Decided<T> = Result<Result<T, TakeOverRefused>, FlagError>;

/// What taking over would do, as Campus is now: of one program, or of all that take over existing flags.
pub async fn plan(context: &Context, district: &DistrictId, program: Option<&str>) -> Decided<Vec<TakeOverPlan>> {
    let file = context.store.district(district).await?;
    let chosen = match chosen(&file, program) {
        Ok(chosen) => chosen,
        Err(refused) => return Ok(Err(refused)),
    };
    let work = context.open_aside(district).await?;
    Ok(Ok(plans(&work, &chosen).await?))
}

/// A person was shown these plans: an approval that names none approves them, as long as they are the same.
pub async fn shown(context: &Context, district: &DistrictId, plans: &[TakeOverPlan]) -> Result<(), FlagError> {
    Ok(context.store.plans_shown(district, plans, context.clock.now()).await?)
}

/// Approves taking over. `looked_at`: digests of the plans that a person has seen, and nothing else is approved; where there
/// are none, of those that were [`shown`] last.
pub async fn approve(
    context: &Context,
    district: &DistrictId,
    program: Option<&str>,
    looked_at: &[String],
    actor: &str,
) -> Decided<Vec<ApprovedTakeOver>> {
    let file = context.store.district(district).await?;
    let chosen = match chosen(&file, program) {
        Ok(chosen) => chosen,
        Err(refused) => return Ok(Err(refused)),
    };
    if let Some(before) = approved_just_so(context, district, &chosen, looked_at).await? {
        return Ok(Ok(before));
    }
    let Some(lease) = Lease::reserve(context, district).await? else { return Ok(Err(TakeOverRefused::Busy)) };
    let work = Box::pin(approve_in_peace(context, (district, lease.holder), &chosen, looked_at, actor));
    let decided = lease.hold(work).await;
    lease.release().await?;
    decided.unwrap_or(Ok(Err(TakeOverRefused::Busy)))
}

async fn approve_in_peace(
    context: &Context,
    (district, holder): (&DistrictId, Uuid),
    chosen: &[(&Program, NaiveDate)],
    looked_at: &[String],
    actor: &str,
) -> Decided<Vec<ApprovedTakeOver>> {
    let work = context.open(district, holder).await?;
    let plans = plans(&work, chosen).await?;
    let shown = if looked_at.is_empty() { context.store.shown_plans(district).await? } else { Vec::new() };
    let seen = if looked_at.is_empty() { Seen::Shown(&shown) } else { Seen::Named(looked_at) };
    if let Some(refused) = plans.iter().find_map(|plan| refusal(plan, seen)) {
        return Ok(Err(refused));
    }
    if let Some(before) = context.store.approve_cutovers(district, &plans, actor, context.clock.now()).await? {
        return Ok(Err(TakeOverRefused::Approved(before)));
    }
    let approved = plans.into_iter().map(|plan| ApprovedTakeOver {
        to_end: plan.to_end.len(),
        program: plan.program,
        cutover: plan.cutover,
        hash: plan.hash,
        warnings: plan.warnings,
        again: false,
    });
    Ok(Ok(approved.collect()))
}

/// Digests of the plans that a person has seen.
#[derive(Debug, Clone, Copy)]
enum Seen<'a> {
    /// As the caller says.
    Named(&'a [String]),
    /// As we know.
    Shown(&'a [String]),
}

fn refusal(plan: &TakeOverPlan, seen: Seen<'_>) -> Option<TakeOverRefused> {
    let program = || plan.program.clone();
    if let Some(reason) = plan.warnings.iter().find(|text| text.starts_with("flag-")) {
        return Some(TakeOverRefused::Unready { program: program(), reason: reason.clone() });
    }
    if plan.state != TakeOverState::AwaitingApproval {
        return Some(TakeOverRefused::Approved(program()));
    }
    let now = || plan.hash.clone();
    match seen {
        Seen::Named(hashes) | Seen::Shown(hashes) if hashes.contains(&plan.hash) => None,
        Seen::Named(_) => Some(TakeOverRefused::PlanChanged { program: program(), now: now() }),
        Seen::Shown(_) => Some(TakeOverRefused::NotShown { program: program(), now: now() }),
    }
}

/// The answer to an approval that came before, whose answer was lost.
async fn approved_just_so(
    context: &Context,
    district: &DistrictId,
    chosen: &[(&Program, NaiveDate)],
    looked_at: &[String],
) -> Result<Option<Vec<ApprovedTakeOver>>, FlagError> {
    let before = context.store.cutovers(district).await?;
    let mut all = Vec::new();
    for (program, cutover) in chosen {
        let same = |one: &&Cutover| {
            let seen = one.plan_hash.as_ref().is_some_and(|hash| looked_at.contains(hash));
            one.program == program.name && one.cutover == *cutover && seen
        };
        let Some(one) = before.iter().find(same) else { return Ok(None) };
        let flags = context.store.cutover_flags(district, &program.name, false, i64::MAX).await?;
        all.push(ApprovedTakeOver {
            program: one.program.clone(),
            cutover: one.cutover,
            to_end: flags.len(),
            hash: one.plan_hash.clone().unwrap_or_default(),
            warnings: Vec::new(),
            again: true,
        });
    }
    Ok(Some(all))
}

/// The programs that take over existing flags, each with its first day.
fn chosen<'a>(district: &'a District, name: Option<&str>) -> Result<Vec<(&'a Program, NaiveDate)>, TakeOverRefused> {
    if let Some(name) = name
        && !district.programs.iter().any(|program| program.name == name)
    {
        return Err(TakeOverRefused::NoProgram(name.to_owned()));
    }
    let takes_over = |program: &&Program| program.flags && program.option == Some(CutoverOption::TakeOver);
    let wanted = |program: &&Program| name.is_none_or(|name| name == program.name);
    let chosen = district.programs.iter().filter(takes_over).filter(wanted);
    let dated = chosen.map(|program| {
        let cutover = program.cutover.ok_or_else(|| TakeOverRefused::NoCutover(program.name.clone()))?;
        Ok((program, cutover))
    });
    let chosen = dated.collect::<Result<Vec<_>, TakeOverRefused>>()?;
    match (chosen.is_empty(), name) {
        (false, _) => Ok(chosen),
        (true, Some(name)) => Err(TakeOverRefused::NotTakingOver(name.to_owned())),
        (true, None) => Err(TakeOverRefused::NothingToTakeOver),
    }
}

async fn plans(work: &Work, chosen: &[(&Program, NaiveDate)]) -> Result<Vec<TakeOverPlan>, FlagError> {
    let approved = work.store().cutovers(work.id()).await?;
    let programs = work.campus.programs().await?;
    let mut plans = Vec::new();
    for (program, cutover) in chosen {
        let survey = work.survey(program, &programs).await?;
        let before = approved.iter().find(|one| one.program == program.name && one.cutover == *cutover);
        plans.push(described(work.id(), program, *cutover, survey, before));
    }
    Ok(plans)
}

fn described(
    district: &DistrictId,
    program: &Program,
    cutover: NaiveDate,
    survey: Survey,
    before: Option<&Cutover>,
) -> TakeOverPlan {
    let state = match before {
        Some(one) if one.done_at.is_some() => TakeOverState::Done,
        Some(_) => TakeOverState::Approved,
        None => TakeOverState::AwaitingApproval,
    };
    let hash = digest(district, &program.name, cutover, &survey);
    let Survey { to_end, without_new, warnings } = survey;
    TakeOverPlan { program: program.name.clone(), cutover, to_end, without_new, warnings, state, hash }
}

/// What of a warning a person approves. How many rows a list lacks is another number with each edit in Campus, where totals count more
/// than what was asked for.
fn lasting(warning: &str) -> &str {
    if warning.starts_with(SHORT_LIST) { SHORT_LIST } else { warning }
}

/// Digest of what a person is shown, and of each flag behind the numbers; the order in which Campus lists them does not
/// matter.
fn digest(district: &DistrictId, program: &str, cutover: NaiveDate, survey: &Survey) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut add = |part: &str| {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    };
    add(district.as_str());
    add(program);
    add(&cutover.to_string());
    add(&survey.without_new.to_string());
    survey.warnings.iter().for_each(|warning| add(lasting(warning)));
    let flags: BTreeSet<_> = survey.to_end.iter().map(|flag| (&flag.flag, &flag.sis_id)).collect();
    add(&flags.len().to_string());
    for (flag, student) in flags {
        add(flag);
        add(student);
    }
    hasher.finalize().to_hex()[..32].to_owned()
}

#[cfg(test)]
mod tests {
    use rollcall_store::flag::CutoverFlag;

    use super::*;

    fn survey(flags: &[&str], without_new: usize) -> Survey {
        let to_end = flags.iter().map(|flag| CutoverFlag {
            flag: (*flag).to_owned(),
            sis_id: "G".to_owned(),
            program_sis_id: None,
            student: None,
            goes_on: false,
            done_at: None,
            outcome: None,
            failing: None,
        });
        Survey { to_end: to_end.collect(), without_new, warnings: Vec::new() }
    }

    fn district() -> District {
        let program = |name: &str, flags: bool, option: &str, cutover: Option<&str>| serde_json::json!({"name": name, "flags": flags, "option": option, "cutover": cutover});
        serde_json::from_value(serde_json::json!({
            "id": "d", "name": "D", "time_zone": "America/Chicago",
            "connection": [{"kind": "oneroster", "base_url": "https://example.org/API", "client_id": "c"}],
            "program": [
                program("A", true, "take-over", Some("2026-08-15")),
                program("off", false, "take-over", Some("2026-08-15")),
                program("new", true, "create-new", Some("2026-08-15")),
                program("B", true, "take-over", Some("2026-09-01")),
            ],
        }))
        .unwrap()
    }

    #[test]
    fn programs_are_chosen_that_take_over_and_have_a_day() {
        let chosen = |district: &District, name: Option<&str>| {
            let chosen = chosen(district, name)?;
            Ok(chosen.into_iter().map(|(program, day)| format!("{} {day}", program.name)).collect::<Vec<_>>())
        };
        let mut district = district();
        let (a, b) = ("A 2026-08-15".to_owned(), "B 2026-09-01".to_owned());
        assert_eq!(chosen(&district, None), Ok(vec![a, b.clone()]));
        assert_eq!(chosen(&district, Some("B")), Ok(vec![b]));
        assert_eq!(chosen(&district, Some("C")), Err(TakeOverRefused::NoProgram("C".to_owned())));
        for name in ["off", "new"] {
            assert_eq!(chosen(&district, Some(name)), Err(TakeOverRefused::NotTakingOver(name.to_owned())));
        }
        district.programs[3].cutover = None;
        assert_eq!(chosen(&district, None), Err(TakeOverRefused::NoCutover("B".to_owned())));
        district.programs.retain(|program| ["off", "new"].contains(&program.name.as_str()));
        assert_eq!(chosen(&district, None), Err(TakeOverRefused::NothingToTakeOver));
    }

    #[test]
    fn nothing_is_approved_but_a_plan_that_awaits_it_and_was_seen() {
        let program = &district().programs[0];
        let day = "2026-08-15".parse().unwrap();
        let approved = |done| Cutover {
            program: "A".to_owned(),
            cutover: day,
            approved_by: "ada".to_owned(),
            approved_at: chrono::DateTime::UNIX_EPOCH,
            plan_hash: None,
            done_at: done,
        };
        let described =
            |survey, before: Option<&Cutover>| described(&"d".parse().unwrap(), program, day, survey, before);
        let plain = described(survey(&["a"], 0), None);
        assert_eq!(
            (plain.program.as_str(), plain.to_end.len(), plain.state),
            ("A", 1, TakeOverState::AwaitingApproval)
        );
        let (own, other) = ([plain.hash.clone()], ["0".to_owned()]);
        let name = || "A".to_owned();
        for seen in [Seen::Named(&own), Seen::Shown(&own)] {
            assert_eq!(refusal(&plain, seen), None);
            for (done, state) in
                [(None, TakeOverState::Approved), (Some(chrono::DateTime::UNIX_EPOCH), TakeOverState::Done)]
            {
                let before = described(survey(&["a"], 0), Some(&approved(done)));
                assert_eq!((before.state, refusal(&before, seen)), (state, Some(TakeOverRefused::Approved(name()))));
            }
        }
        let now = || plain.hash.clone();
        let changed = TakeOverRefused::PlanChanged { program: name(), now: now() };
        assert_eq!(refusal(&plain, Seen::Named(&other)), Some(changed));
        let unseen = TakeOverRefused::NotShown { program: name(), now: now() };
        assert_eq!(refusal(&plain, Seen::Shown(&other)), Some(unseen));
        for (warning, unready) in [("flag-not-found: no such program", true), ("high-share: most of them", false)] {
            let warned = described(Survey { warnings: vec![warning.to_owned()], ..survey(&["a"], 0) }, None);
            let refused = refusal(&warned, Seen::Named(std::slice::from_ref(&warned.hash)));
            let reason = warning.to_owned();
            assert_eq!(refused, unready.then(|| TakeOverRefused::Unready { program: name(), reason }));
        }
    }

    #[test]
    fn a_digest_changes_with_whatever_was_shown() {
        let (district, day) = ("d".parse().unwrap(), "2026-08-15".parse().unwrap());
        let of = |survey: &Survey| digest(&district, "P", day, survey);
        let first = of(&survey(&["a", "b"], 1));
        assert_eq!(first, of(&survey(&["b", "a"], 1)), "order does not matter");
        assert_eq!(first.len(), 32);
        for other in [
            of(&survey(&["a"], 1)),
            of(&survey(&["a", "c"], 1)),
            of(&survey(&["a", "b"], 2)),
            of(&Survey { warnings: vec!["high-share".to_owned()], ..survey(&["a", "b"], 1) }),
            digest(&district, "Q", day, &survey(&["a", "b"], 1)),
            digest(&district, "P", "2026-08-16".parse().unwrap(), &survey(&["a", "b"], 1)),
            digest(&"e".parse().unwrap(), "P", day, &survey(&["a", "b"], 1)),
        ] {
            assert_ne!(first, other);
        }
        let warned = |warning: String| of(&Survey { warnings: vec![warning], ..survey(&["a", "b"], 1) });
        assert_ne!(warned("undated: 1 flags".to_owned()), warned("undated: 2 flags".to_owned()));
        let lacks = |rows: u32| warned(format!("{SHORT_LIST}: {rows} fewer"));
        assert_ne!(lacks(3), first);
        assert_eq!(lacks(3), lacks(4), "Campus counts edits that are none of the plan's");
    }
}
