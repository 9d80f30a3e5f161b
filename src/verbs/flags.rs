//! `rollcall flags`.

use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use rollcall_flag_sync::{self as flag_sync, Survey};
use rollcall_proto::{id::DistrictId, message::Message};
use rollcall_store::{
    district::{CutoverOption, District, Program},
    flag::Flag,
};
use serde_json::json;

use crate::{
    cli::{FlagsOf, FlagsVerb},
    config,
    context::Context,
    host::flag_sync_config,
    output::Listing,
};

/// Columns of the listing, as docs and other programs rely on them.
const COLUMNS: [&str; 7] = ["student_id", "sis_id", "program", "start", "end", "state", "reason"];

/// Does what the verb says.
pub(crate) async fn dispatch(context: &Context, verb: FlagsVerb) -> anyhow::Result<ExitCode> {
    match verb {
        FlagsVerb::List(of) => list(context, &of).await,
        FlagsVerb::Plan(of) => plan(context, &of).await,
        FlagsVerb::Approve(of) => approve(context, &of).await,
        FlagsVerb::Push(of) => push(context, &of).await,
        FlagsVerb::Ledger { district, flag, limit } => ledger(context, &district, flag.as_deref(), limit).await,
    }
}

async fn list(context: &Context, of: &FlagsOf) -> anyhow::Result<ExitCode> {
    let district = context.store.district(&of.district).await?;
    let today = context.clock.now().with_timezone(&district.time_zone).date_naive();
    let mut listing = Listing::new(&COLUMNS);
    for flag in context.store.flags(&of.district, None, of.program.as_deref()).await? {
        if is_shown(&flag) {
            listing.push(cells(&flag, today));
        }
    }
    listing.print(context.format)?;
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
        json!(flag.reason),
    ]
}

/// The programs that take over existing flags.
fn taking_over<'a>(district: &'a District, of: &FlagsOf) -> anyhow::Result<Vec<&'a Program>> {
    if let Some(name) = &of.program {
        let program = district.programs.iter().find(|program| program.name == *name);
        let program = program.with_context(|| format!("the district's file names no [[program]] {name}"))?;
        ensure!(
            program.option == Some(CutoverOption::TakeOver),
            "[[program]] {name} does not take over existing flags (option = \"take-over\")"
        );
    }
    let wanted = |program: &&Program| of.program.as_ref().is_none_or(|name| *name == program.name);
    let all =
        district.programs.iter().filter(|program| program.flags && program.option == Some(CutoverOption::TakeOver));
    let chosen: Vec<_> = all.filter(wanted).collect();
    ensure!(!chosen.is_empty(), "no [[program]] with flags = true takes over existing flags (option = \"take-over\")");
    Ok(chosen)
}

async fn surveys<'a>(
    context: &Context,
    district: &'a District,
    of: &FlagsOf,
) -> anyhow::Result<Vec<(&'a Program, Survey)>> {
    let (bus, store, clock) = (context.bus.clone(), context.store.clone(), context.clock.clone());
    let asking = flag_sync::Context::new(flag_sync_config(&context.settings), bus, store, clock)?;
    let mut surveys = Vec::new();
    for program in taking_over(district, of)? {
        let survey = flag_sync::survey(&asking, &of.district, &program.name).await;
        surveys.push((program, survey.with_context(|| format!("asking Campus about {}", program.name))?));
    }
    Ok(surveys)
}

async fn plan(context: &Context, of: &FlagsOf) -> anyhow::Result<ExitCode> {
    let district = context.store.district(&of.district).await?;
    let approved = context.store.cutovers(&of.district).await?;
    let mut listing = Listing::new(&["program", "cutover", "to_end", "without_new", "state", "warnings"]);
    for (program, survey) in surveys(context, &district, of).await? {
        let state = match approved.iter().find(|one| one.program == program.name) {
            Some(one) if one.done_at.is_some() => "done",
            Some(_) => "approved",
            None => "awaiting-approval",
        };
        listing.push(vec![
            json!(program.name),
            json!(program.cutover),
            json!(survey.to_end.len()),
            json!(survey.without_new),
            json!(state),
            json!(survey.warnings),
        ]);
    }
    listing.print(context.format)?;
    eprintln!("nothing was changed; `rollcall flags approve` fixes the flags to end, and no others are ever ended");
    Ok(ExitCode::SUCCESS)
}

async fn approve(context: &Context, of: &FlagsOf) -> anyhow::Result<ExitCode> {
    let district = context.store.district(&of.district).await?;
    for (program, survey) in surveys(context, &district, of).await? {
        let Some(cutover) = program.cutover else { bail!("[[program]] {} has no cutover", program.name) };
        if let Some(broken) = survey.warnings.iter().find(|text| text.starts_with("flag-")) {
            bail!("{} cannot be taken over: {broken}", program.name);
        }
        tell(&program.name, &survey);
        let (store, now) = (&context.store, context.clock.now());
        let flags = &survey.to_end;
        let approved =
            store.approve_cutover(&of.district, &program.name, cutover, flags, &config::actor(), now).await?;
        if approved {
            let last = cutover.pred_opt().unwrap_or(cutover);
            eprintln!("{}: {} existing flags will end on {last}", program.name, flags.len());
        } else {
            eprintln!(
                "{}: was approved before; it stays as it was then (another cutover can be approved while no flag is ended)",
                program.name
            );
        }
    }
    ask(context, &of.district).await
}

/// What `flags plan` shows, of what is approved.
fn tell(program: &str, survey: &Survey) {
    eprintln!("{program}: to_end {}, without_new {}", survey.to_end.len(), survey.without_new);
    for warning in &survey.warnings {
        eprintln!("{program}: warning: {warning}");
    }
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
        eprintln!("all programs of the district are compared and pushed, {name} among them");
    }
    ask(context, &of.district).await
}

/// Has a whole sync made now, by whoever hosts flag-sync.
async fn ask(context: &Context, district: &DistrictId) -> anyhow::Result<ExitCode> {
    context.store.ask_for_flags(district).await?;
    context.bus.publish(&[Message::flag_sync(district.clone(), None, context.clock.now())]).await?;
    eprintln!("flag-sync was asked; `rollcall flags list --district {district}` shows how far it is");
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
