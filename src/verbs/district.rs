//! `rollcall district`.

mod certificate;
mod erase;

use std::{path::PathBuf, process::ExitCode};

use rollcall_fetcher::{
    error::SisError,
    probe::{Outcome, probe},
};
use rollcall_flag_sync::{FlagError, probe::programs};
use rollcall_proto::id::{ConnectionNo, DistrictId};
use rollcall_store::{Removed, StoreError};
use serde_json::{Value, json};

use super::flags::{asking, hurry, left_behind, stay_behind};
use crate::{
    cli::{DistrictVerb, Format},
    config,
    context::Context,
    district_file,
    output::{self, Listing, counted, flat, say},
};

/// Does what the verb says.
pub(crate) async fn dispatch(context: &Context, verb: DistrictVerb) -> anyhow::Result<ExitCode> {
    match verb {
        DistrictVerb::Apply { files } => apply(context, &files).await,
        DistrictVerb::List { removed: false } => list(context).await,
        DistrictVerb::List { removed: true } => list_removed(context).await,
        DistrictVerb::Show { id } => show(context, &id).await,
        DistrictVerb::Test { id } => test(context, &id).await,
        DistrictVerb::Remove { id } => remove(context, &id).await,
        DistrictVerb::Erase { id, confirm, certificate } => {
            erase::erase(context, &id, &confirm, certificate.as_deref()).await
        }
    }
}

/// All files are read and checked before the first is taken in.
async fn apply(context: &Context, files: &[PathBuf]) -> anyhow::Result<ExitCode> {
    let read = |path: &PathBuf| district_file::read(path, context.settings.allow_private_addresses);
    let districts = files.iter().map(read).collect::<anyhow::Result<Vec<_>>>()?;
    let (mut warned, mut due) = (Vec::new(), Vec::new());
    for file in &districts {
        let id = &file.district.id;
        match context.store.district(&file.district.id).await {
            Ok(before) => {
                let same = before.programs == file.district.programs && before.flags == file.district.flags;
                due.extend((!same || context.store.removed_at(id).await?.is_some()).then_some(id));
                for place in district_file::other_places(&before, &file.district) {
                    let was = place.before.as_deref();
                    let strangers = context.store.strangers_at(id, place.connection, was, &place.now).await?;
                    district_file::check_place(&place, strangers)?;
                }
                let flags = context.store.flags(&file.district.id, None, None).await?;
                let pushed = flags.iter().filter(|flag| flag.pushed.is_some()).count();
                warned.extend(district_file::other_campus(&before, &file.district, pushed));
                let today = context.clock.now().with_timezone(&file.district.time_zone).date_naive();
                let left = left_behind(&file.district, &flags, today).into_iter();
                warned.extend(left.map(|(name, flags)| format!("{}: {}", file.district.id, stay_behind(name, flags))));
            }
            Err(StoreError::NoDistrict(_)) => due.push(id),
            Err(error) => return Err(error.into()),
        }
    }
    for file in &districts {
        let (district, secrets) = (&file.district, &file.secrets);
        context.store.apply_district(district, secrets, &config::actor(), context.clock.now()).await?;
        if due.contains(&&district.id) {
            hurry(context, &district.id, None).await?;
        }
        let next = context.again.command(&format!("district test {}", district.id));
        eprintln!("{} is in; next: {next}", district.id);
    }
    for warning in warned {
        eprintln!("rollcall: warning: {warning}");
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(context: &Context) -> anyhow::Result<ExitCode> {
    let mut listing = Listing::new(&["district", "name", "time_zone", "connections", "schedule", "last_run", "state"]);
    for id in context.store.districts().await? {
        let district = context.store.district(&id).await?;
        let last = context.store.runs(Some(&id), 1).await?.into_iter().next();
        listing.push(vec![
            json!(id),
            json!(district.name),
            json!(district.time_zone.name()),
            json!(district.connections.iter().map(|connection| connection.kind.as_str()).collect::<Vec<_>>()),
            json!(schedule(&district.schedule)),
            json!(last.as_ref().map(|run| run.created_at)),
            json!(last.as_ref().map(|run| run.state)),
        ]);
    }
    listing.print(context.format)?;
    Ok(ExitCode::SUCCESS)
}

async fn list_removed(context: &Context) -> anyhow::Result<ExitCode> {
    let mut listing = Listing::new(&["district", "name", "removed_at"]);
    for id in context.store.removed_districts().await? {
        let (district, at) = (context.store.district(&id).await?, context.store.removed_at(&id).await?);
        listing.push(vec![json!(id), json!(district.name), json!(at)]);
    }
    listing.print(context.format)?;
    Ok(ExitCode::SUCCESS)
}

/// Of a removed district there are no runs; says since when, and what can be done.
pub(super) async fn ensure_not_removed(context: &Context, id: &DistrictId) -> anyhow::Result<()> {
    let Some(at) = context.store.removed_at(id).await? else { return Ok(()) };
    let erase = context.again.command(&format!("district erase {id} --confirm {id}"));
    anyhow::bail!(
        "district {id} was removed on {}; `rollcall district apply FILE` brings it back, `{erase}` deletes what is kept of it",
        at.date_naive()
    )
}

fn schedule(schedule: &rollcall_store::district::Schedule) -> String {
    match (schedule.enabled, schedule.weekends) {
        (false, _) => "off".to_owned(),
        (true, true) => format!("{} daily", schedule.at.format("%H:%M")),
        (true, false) => format!("{} Mon-Fri", schedule.at.format("%H:%M")),
    }
}

async fn show(context: &Context, id: &DistrictId) -> anyhow::Result<ExitCode> {
    let district = context.store.district(id).await?;
    match context.format {
        Format::Table => output::print(toml::to_string_pretty(&district)?.as_bytes())?,
        Format::Json => say!("{}", serde_json::to_string_pretty(&[&district])?)?,
        other @ (Format::Csv | Format::Html | Format::Svg) => flat(&serde_json::to_value(&district)?).print(other)?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn test(context: &Context, id: &DistrictId) -> anyhow::Result<ExitCode> {
    let district = context.store.district(id).await?;
    let mut listing = Listing::new(&["connection", "step", "outcome", "detail", "mend"]);
    let mut failed = false;
    for (index, connection) in district.connections.iter().enumerate() {
        let secrets = context.store.secrets(id, ConnectionNo(index as u16)).await?;
        let allow = context.settings.allow_private_addresses;
        let mut stopped = false;
        for step in probe(&district, connection, secrets, allow, &*context.clock).await {
            stopped |= step.outcome == Outcome::Fail;
            failed |= step.outcome == Outcome::Fail;
            let mend = step.mend.map_or(Value::Null, Value::from);
            listing.push(vec![
                json!(index + 1),
                json!(step.name),
                json!(step.outcome.as_str()),
                json!(step.detail),
                mend,
            ]);
        }
        let is_flagged = district.programs.iter().any(|program| program.flags);
        let of_flags = district.flag_connection().filter(|(number, _)| is_flagged && usize::from(number.0) == index);
        // What a connection without a token would say was said.
        if of_flags.is_some() && !stopped {
            for (step, detail, problem) in flag_steps(context, id).await? {
                failed |= problem.is_some();
                let outcome = if problem.is_some() { Outcome::Fail } else { Outcome::Ok };
                listing.push(vec![
                    json!(index + 1),
                    json!(step),
                    json!(outcome.as_str()),
                    json!(detail),
                    json!(problem),
                ]);
            }
        }
    }
    listing.print(context.format)?;
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What a sync of flags would ask first: each step, what was found, and what to do where something is wrong.
async fn flag_steps(
    context: &Context,
    district: &DistrictId,
) -> anyhow::Result<Vec<(String, String, Option<&'static str>)>> {
    let probed = match programs(&asking(context)?, district).await {
        Ok(probed) => probed,
        Err(FlagError::Sis(error)) => {
            let mend = match error {
                SisError::AccessRefused { .. } => VENDOR_PAIR,
                _ => error.mend(),
            };
            return Ok(vec![("programs".to_owned(), error.to_string(), Some(mend))]);
        }
        Err(FlagError::Configuration(problem)) => {
            return Ok(vec![("programs".to_owned(), problem.to_owned(), Some("apply the district's file with it"))]);
        }
        Err(error) => return Err(error.into()),
    };
    let shown = counted(probed.shown, "program is shown", "programs are shown");
    let mut steps = vec![("programs".to_owned(), shown, None)];
    for (name, problem) in probed.programs {
        let mend = problem.as_ref().map(|_| PROGRAM);
        steps.push((format!("program {name}"), problem.unwrap_or_else(|| "active, Special Ed".to_owned()), mend));
    }
    Ok(steps)
}

/// What to do where Campus refuses the programs.
const VENDOR_PAIR: &str = "check vendor_key and vendor_secret in the district's file, and ask the district whether the connection's Grade Book \
                           function is enabled";
/// What to do where a program's flags could not be written.
const PROGRAM: &str =
    "ask the district for one flag of exactly this name in Campus: Active, Flagged, Special Ed checked";

async fn remove(context: &Context, id: &DistrictId) -> anyhow::Result<ExitCode> {
    let Removed { cancelled, written } =
        context.store.remove_district(id, &config::actor(), context.clock.now()).await?;
    for run in cancelled {
        eprintln!("run {run} is cancelled");
    }
    if written > 0 {
        eprintln!("{written} of its runs are being written, and end when that is done");
    }
    eprintln!("{id} gets no more runs; its roster and history stay. `rollcall district apply` brings it back.");
    Ok(ExitCode::SUCCESS)
}
