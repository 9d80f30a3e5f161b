//! `rollcall flags`.

use std::{collections::BTreeMap, process::ExitCode};

use anyhow::{Context as _, ensure};
use rollcall_flag_sync as flag_sync;
use rollcall_proto::{
    id::{DistrictId, StudentId},
    message::Message,
};
use rollcall_store::{
    district::District,
    flag::{Flag, NO_PUBLIC_URL, OpenOldFlags, TakeOverPlan, TakeOverState},
};
use serde_json::json;

use super::run;
use crate::{
    again::quoted,
    cli::{FlagsOf, FlagsVerb},
    config,
    context::Context,
    host::flag_sync_config,
    output::{Listing, counted},
};

/// Columns of the listing, as docs and other programs rely on them.
const COLUMNS: [&str; 7] = ["student_id", "sis_id", "program", "start", "end", "state", "reason"];

/// Does what the verb says.
pub(crate) async fn dispatch(context: &Context, verb: FlagsVerb) -> anyhow::Result<ExitCode> {
    match verb {
        FlagsVerb::List(of) => list(context, &of).await,
        FlagsVerb::Plan(of) => plan(context, &of).await,
        FlagsVerb::Approve { of, plan } => approve(context, &of, &plan).await,
        FlagsVerb::Push(of) => push(context, &of).await,
        FlagsVerb::Ledger { district, flag, limit } => ledger(context, &district, flag.as_deref(), limit).await,
    }
}

async fn list(context: &Context, of: &FlagsOf) -> anyhow::Result<ExitCode> {
    let district = context.store.district(&of.district).await?;
    let today = context.clock.now().with_timezone(&district.time_zone).date_naive();
    let (mut listing, mut unlinked) = (Listing::new(&COLUMNS), 0);
    let flags = context.store.flags(&of.district, None, of.program.as_deref()).await?;
    if let Some(name) = &of.program {
        // One that the file no longer names is shown while there are flags of it.
        let is_named = district.programs.iter().any(|program| program.name == *name);
        ensure!(
            is_named || !flags.is_empty(),
            "the district's file has no [[program]] {name}, and there are no flags of it"
        );
    }
    for flag in flags.iter().filter(|flag| is_shown(flag)) {
        unlinked += usize::from(flag.reason.as_deref() == Some(NO_PUBLIC_URL));
        listing.push(cells(flag, today));
    }
    listing.print(context.format)?;
    for (program, flags) in left_behind(&district, &flags, today) {
        eprintln!("rollcall: {}", stay_behind(program, flags));
    }
    if unlinked > 0 {
        let unlinked = counted(unlinked, "flag has", "flags have");
        eprintln!("rollcall: {unlinked} no launch link: set ROLLCALL_PUBLIC_URL for flag-sync");
    }
    for open in context.store.open_old_flags(&of.district).await? {
        if of.program.as_ref().is_none_or(|name| *name == open.program) {
            let ledger = context.again.command(&format!("flags ledger --district {}", of.district));
            eprintln!("rollcall: {}", stay_open(&open, &ledger));
        }
    }
    if let Some(problem) = context.store.flags_problem(&of.district).await? {
        eprintln!("rollcall: flags wait: {problem}");
    }
    for program in context.store.flag_programs(&of.district).await? {
        if let Some(problem) =
            program.problem.filter(|_| of.program.as_ref().is_none_or(|name| *name == program.program))
        {
            eprintln!("rollcall: the flags of {} fail: {problem}", program.program);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// How many flags of ours go on in Campus, by program, though the district's file names the program no more.
pub(super) fn left_behind<'a>(
    district: &District,
    flags: &'a [Flag],
    today: chrono::NaiveDate,
) -> BTreeMap<&'a str, usize> {
    let is_named = |flag: &Flag| district.programs.iter().any(|program| program.name == flag.program);
    let goes_on =
        |flag: &Flag| flag.pushed.as_ref().is_some_and(|pushed| pushed.ends_on.is_none_or(|end| end >= today));
    let mut left = BTreeMap::new();
    for flag in flags.iter().filter(|flag| goes_on(flag) && !is_named(flag)) {
        *left.entry(flag.program.as_str()).or_default() += 1;
    }
    left
}

/// What is to be said of these, and what to do.
pub(super) fn stay_behind(program: &str, flags: usize) -> String {
    let go_on = counted(flags, "flag", "flags");
    let (go, them) = if flags == 1 { ("goes", "it") } else { ("go", "them") };
    format!(
        "{go_on} of {program} {go} on in Campus, and the district's file has no [[program]] {program} any more: nobody ends {them} there, \
         and a program of another name gets new ones beside {them}. Put it back into the file, and apply that; docs/FLAGS.md says how to rename \
         a program"
    )
}

/// How many of the flags that a take-over is to end it leaves open, and why. `ledger`: the command that names them.
fn stay_open(open: &OpenOldFlags, ledger: &str) -> String {
    let OpenOldFlags { program, outcome, flags } = open;
    match flags {
        1 => format!("1 existing flag of {program} that is to end stays open: {outcome}; `{ledger}` names it"),
        _ => format!("{flags} existing flags of {program} that are to end stay open: {outcome}; `{ledger}` names them"),
    }
}

/// One that was never pushed and is not wanted any more is nobody's business.
fn is_shown(flag: &Flag) -> bool {
    flag.pushed.is_some() || flag.reason.as_deref() != Some("withdrawn")
}

fn cells(flag: &Flag, today: chrono::NaiveDate) -> Vec<serde_json::Value> {
    vec![
        json!(flag.student),
        json!(flag.sis_id),
        json!(flag.program),
        json!(flag.starts_on),
        json!(flag.ends_on),
        json!(flag.shown_state(today)),
        json!(flag.shown_reason()),
    ]
}

/// What asks the districts' Campuses.
pub(super) fn asking(context: &Context) -> anyhow::Result<flag_sync::Context> {
    let (bus, store, clock) = (context.bus.clone(), context.store.clone(), context.clock.clone());
    Ok(flag_sync::Context::new(flag_sync_config(&context.settings), bus, store, clock)?)
}

async fn plan(context: &Context, of: &FlagsOf) -> anyhow::Result<ExitCode> {
    let columns = ["program", "cutover", "to_end", "without_new", "state", "warnings", "plan_hash"];
    let mut listing = Listing::new(&columns);
    let asking = asking(context)?;
    let plans = flag_sync::plan_take_overs(&asking, &of.district, of.program.as_deref()).await;
    let plans = plans.context("asking Campus about its flags")??;
    for plan in &plans {
        listing.push(vec![
            json!(plan.program),
            json!(plan.cutover),
            json!(plan.to_end.len()),
            json!(plan.without_new),
            json!(plan.state.as_str()),
            json!(plan.warnings),
            json!(plan.hash),
        ]);
    }
    listing.print(context.format)?;
    flag_sync::take_overs_shown(&asking, &of.district, &plans).await?;
    match approval(of, &plans) {
        Some(words) => eprintln!(
            "nothing was changed; `{}` fixes the flags to end, and no others are ever ended",
            context.again.command(&words)
        ),
        None => eprintln!("nothing was changed, and nothing waits for approval"),
    }
    Ok(ExitCode::SUCCESS)
}

/// The words that approve what waits for it, if anything does.
fn approval(of: &FlagsOf, plans: &[TakeOverPlan]) -> Option<String> {
    let waits = |plan: &&TakeOverPlan| plan.state == TakeOverState::AwaitingApproval;
    let hashes: String = plans.iter().filter(waits).flat_map(|plan| [" --plan ", &plan.hash]).collect();
    let program = of.program.as_ref().map(|name| format!(" --program {}", quoted(name))).unwrap_or_default();
    (!hashes.is_empty()).then(|| format!("flags approve --district {}{program}{hashes}", of.district))
}

async fn approve(context: &Context, of: &FlagsOf, looked_at: &[String]) -> anyhow::Result<ExitCode> {
    let (asking, actor) = (asking(context)?, config::actor());
    let approved = flag_sync::approve(&asking, &of.district, of.program.as_deref(), looked_at, &actor).await;
    for one in approved.context("asking Campus about its flags")?? {
        for warning in &one.warnings {
            eprintln!("{}: warning: {warning}", one.program);
        }
        let last = one.cutover.pred_opt().unwrap_or(one.cutover);
        let to_end = counted(one.to_end, "existing flag", "existing flags");
        eprintln!("{}: {to_end} will end on {last} (plan {})", one.program, one.hash);
    }
    ask(context, &of.district).await
}

async fn push(context: &Context, of: &FlagsOf) -> anyhow::Result<ExitCode> {
    let district = context.store.district(&of.district).await?;
    ensure!(
        district.has_flags(),
        "no flags are switched on: the district's file needs a [[program]] with flags = true, and not [flags] enabled = false"
    );
    if let Some(name) = &of.program {
        let named = district.programs.iter().any(|program| program.name == *name && program.flags);
        ensure!(named, "the district's file has no [[program]] {name} with flags = true");
        let now = context.clock.now();
        let message = Message::program_flag_sync(of.district.clone(), name.clone(), now);
        context.store.ask_for_program_flags(&of.district, name, &config::actor(), now).await?;
        context.bus.publish(&[message]).await?;
        return asked(context, &of.district);
    }
    ask(context, &of.district).await
}

/// Has the flags of a student, or all, looked at now, where the district has any: false where not. The store remembers what is due, so
/// nothing is lost where this fails.
pub(super) async fn hurry(
    context: &Context,
    district: &DistrictId,
    student: Option<StudentId>,
) -> anyhow::Result<bool> {
    if !context.store.district(district).await?.has_flags() {
        return Ok(false);
    }
    let message = Message::flag_sync(district.clone(), student, context.clock.now());
    if let Err(error) = context.bus.publish(&[message]).await {
        tracing::warn!(%error, "flag-sync could not be told; it will find out");
    }
    Ok(true)
}

/// Has a whole sync made now, by whoever hosts flag-sync.
async fn ask(context: &Context, district: &DistrictId) -> anyhow::Result<ExitCode> {
    let now = context.clock.now();
    context.store.ask_for_flags(district, &config::actor(), now).await?;
    context.bus.publish(&[Message::flag_sync(district.clone(), None, now)]).await?;
    asked(context, district)
}

fn asked(context: &Context, district: &DistrictId) -> anyhow::Result<ExitCode> {
    let list = context.again.command(&format!("flags list --district {district}"));
    eprintln!("flag-sync was asked; `{list}` shows how far it is");
    run::hint_host(context)?;
    Ok(ExitCode::SUCCESS)
}

async fn ledger(context: &Context, district: &DistrictId, flag: Option<&str>, limit: i64) -> anyhow::Result<ExitCode> {
    context.store.district(district).await?;
    let mut listing =
        Listing::new(&["at", "actor", "flag", "student_id", "program", "action", "why", "start", "end", "answer"]);
    for line in context.store.flag_ledger(district, flag, limit).await? {
        listing.push(vec![
            json!(line.at),
            json!(line.actor),
            json!(line.flag),
            json!(line.student),
            json!(line.program),
            json!(line.action),
            json!(line.why),
            json!(line.starts_on),
            json!(line.ends_on),
            json!(line.answer),
        ]);
    }
    listing.print(context.format)?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use rollcall_store::flag::{FlagState, PushedFlag};

    use super::*;
    use crate::cli::{Cli, Verb};

    fn plan(program: &str, state: TakeOverState, hash: &str) -> TakeOverPlan {
        TakeOverPlan {
            program: program.to_owned(),
            cutover: chrono::NaiveDate::from_ymd_opt(2026, 8, 15).unwrap(),
            to_end: Vec::new(),
            without_new: 0,
            warnings: Vec::new(),
            state,
            hash: hash.to_owned(),
        }
    }

    #[test]
    fn what_a_take_over_leaves_open_is_told_with_why() {
        let one = OpenOldFlags { program: "P".to_owned(), outcome: "waits-for-new".to_owned(), flags: 1 };
        let told = stay_open(&one, "rollcall flags ledger --district d");
        assert!(
            told.starts_with("1 existing flag of P that is to end stays open") && told.ends_with("names it"),
            "{told}"
        );
        let open = OpenOldFlags { program: "P".to_owned(), outcome: "waits-for-new".to_owned(), flags: 2 };
        let told = stay_open(&open, "rollcall flags ledger --district d");
        assert_eq!(
            told,
            "2 existing flags of P that are to end stay open: waits-for-new; `rollcall flags ledger --district d` names them"
        );
    }

    #[test]
    fn flags_of_a_program_that_the_file_no_longer_names_are_counted() {
        let day = |text: &str| text.parse::<chrono::NaiveDate>().unwrap();
        let district: District = serde_json::from_value(json!({
            "id": "d", "name": "D", "time_zone": "America/Chicago", "connection": [], "program": [{"name": "named"}],
        }))
        .unwrap();
        let flag = |program: &str, pushed: bool, ends_on: Option<&str>| {
            let pushed = pushed.then(|| PushedFlag {
                starts_on: day("2026-08-15"),
                ends_on: ends_on.map(day),
                sis_id: "1".to_owned(),
                program_sis_id: "101".to_owned(),
                link: None,
            });
            Flag {
                id: uuid::Uuid::nil(),
                participation: uuid::Uuid::nil(),
                student: StudentId("1".to_owned()),
                program: program.to_owned(),
                sis_id: None,
                starts_on: day("2026-08-15"),
                ends_on: None,
                state: FlagState::Wanted,
                reason: None,
                due: false,
                why: None,
                pushed,
                verified_at: None,
                refused: None,
                failing: None,
            }
        };
        let flags = [
            flag("named", true, None),
            flag("former", true, None),
            flag("former", true, Some("2026-09-01")),
            flag("former", true, Some("2026-08-31")),
            flag("former", false, None),
            flag("over", true, Some("2026-08-31")),
        ];
        let left = left_behind(&district, &flags, day("2026-09-01"));
        assert_eq!(left, BTreeMap::from([("former", 2)]));
        let told = stay_behind("former", 2);
        assert!(
            told.starts_with("2 flags of former go on in Campus") && told.contains("Put it back into the file"),
            "{told}"
        );
        let told = stay_behind("former", 1);
        assert!(
            told.starts_with("1 flag of former goes on in Campus") && told.contains("nobody ends it there"),
            "{told}"
        );
    }

    #[test]
    fn what_approves_a_plan_can_be_typed_as_it_stands() {
        let of = FlagsOf { district: "lone-star".parse().unwrap(), program: None };
        let plans = [
            plan("A", TakeOverState::AwaitingApproval, "h1"),
            plan("B", TakeOverState::Done, "h2"),
            plan("C", TakeOverState::AwaitingApproval, "h3"),
        ];
        let words = approval(&of, &plans).unwrap();
        assert_eq!(words, "flags approve --district lone-star --plan h1 --plan h3");
        let typed = Cli::try_parse_from(format!("rollcall {words}").split(' ')).unwrap();
        assert!(matches!(typed.verb, Verb::Flags(FlagsVerb::Approve { plan, .. }) if plan == ["h1", "h3"]));
        let of = FlagsOf { program: Some("Special Education".to_owned()), ..of };
        let words = approval(&of, &plans[..1]).unwrap();
        assert!(words.contains(" --program 'Special Education' --plan h1"), "{words}");
        assert_eq!(approval(&of, &plans[1..2]), None);
    }
}
