//! `rollcall doctor`: is this process set up to work? Each check says what to mend.

use std::{collections::BTreeSet, os::unix::fs::MetadataExt as _, path::Path, process::ExitCode};

use rollcall_proto::{
    chain::chain,
    id::{ConnectionNo, DistrictId},
    private,
    topology::Queue,
};
use rollcall_store::ParkedStudents;
use serde_json::{Value, json};

use super::patience::worker;
use crate::{
    again::Again,
    cli::Global,
    config::{Backend, Settings},
    context::{self, Context},
    host::HostLock,
    output::{Listing, counted},
};

/// Outcomes so far.
struct Report {
    listing: Listing,
    again: Again,
    embedded: bool,
    failed: bool,
}

impl Report {
    fn ok(&mut self, check: &str, detail: impl Into<String>) {
        self.listing.push(vec![json!(check), json!("ok"), json!(detail.into()), Value::Null]);
    }

    fn warn(&mut self, check: &str, detail: impl Into<String>, mend: &str) {
        self.listing.push(vec![json!(check), json!("warn"), json!(detail.into()), json!(mend)]);
    }

    fn fail(&mut self, check: &str, error: &anyhow::Error, mend: &str) {
        self.failed = true;
        let detail = self.again.text(&chain(error.as_ref()));
        self.listing.push(vec![json!(check), json!("fail"), json!(detail), json!(self.again.text(mend))]);
    }

    /// A failure whose mend is told by what it is.
    fn trouble(&mut self, check: &str, error: &anyhow::Error) {
        let mend = context::mend(error).filter(|_| !self.embedded);
        self.fail(check, error, mend.unwrap_or("as the detail says"));
    }
}

/// Checks and prints.
pub(crate) async fn doctor(global: &Global) -> anyhow::Result<ExitCode> {
    let listing = Listing::new(&["check", "outcome", "detail", "mend"]);
    let mut report = Report { listing, again: Again::of(global), embedded: false, failed: false };
    examine(global, &mut report).await;
    report.listing.print(global.format)?;
    Ok(if report.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn examine(global: &Global, report: &mut Report) {
    let settings = match Settings::load(global) {
        Ok(settings) => settings,
        Err(error) => return report.fail("configuration", &error, "correct the file or variable that is named"),
    };
    report.embedded = matches!(settings.backend, Backend::Embedded(_));
    report.ok("configuration", mode(&settings));
    if settings.allow_private_addresses {
        report.warn(
            "addresses",
            "plain http and private addresses are allowed",
            "unset ROLLCALL_ALLOW_PRIVATE_ADDRESSES unless you are trying things out",
        );
    }
    let context = match Context::open(global).await {
        Ok(context) => context,
        Err(error) => return report.trouble("key, store and bus", &error),
    };
    report.ok("key, store and bus", "opened");
    if let Some(dir) = context.dir() {
        check_directory(dir, report);
    }
    check_store(&context, report).await;
    check_secrets(&context, report).await;
    check_keys(&context, report).await;
    check_parked_students(&context, report).await;
    check_bus(&context, report).await;
    check_host(&context, report);
    check_districts(&context, report).await;
}

fn mode(settings: &Settings) -> String {
    match &settings.backend {
        Backend::Embedded(dir) => format!("embedded, in {}", dir.display()),
        Backend::ScaledOut { .. } => "scaled out over RabbitMQ and PostgreSQL".to_owned(),
    }
}

/// What could not be made private when it was opened.
fn check_directory(dir: &Path, report: &mut Report) {
    const OTHERS: u32 = 0o007;
    const GROUP_AND_OTHERS: u32 = 0o077;
    let is_open = |path: &Path, to: u32| path.metadata().is_ok_and(|metadata| metadata.mode() & to != 0);
    let files = ["store.db", "bus.db"].map(|name| private::database_files(&dir.join(name))).concat();
    let open: Vec<_> = files.iter().filter(|path| is_open(path, GROUP_AND_OTHERS)).collect();
    for path in &open {
        let mend = format!("as its owner: chmod 600 {}", path.display());
        report.warn("files", format!("{} holds student records and is open to others", path.display()), &mend);
    }
    if is_open(dir, OTHERS) {
        let mend = format!("chmod 700 {}, or give --dir a directory of its own", dir.display());
        report.warn("directory", format!("{} is open to others, and not Rollcall's alone", dir.display()), &mend);
    } else if open.is_empty() {
        report.ok("directory", "its owner's alone");
    }
}

async fn check_store(context: &Context, report: &mut Report) {
    match context.store.check().await {
        Ok(()) => report.ok("store", "reachable, schema as needed"),
        Err(error) => {
            let error = anyhow::Error::from(error);
            let mend = context::mend(&error).filter(|_| !report.embedded);
            report.fail("store", &error, mend.unwrap_or("start the database, or run `rollcall migrate`"));
        }
    }
}

/// The key is the one that the secrets of every connection were sealed with.
async fn check_secrets(context: &Context, report: &mut Report) {
    let ids = match context.store.districts().await {
        Ok(ids) => ids,
        Err(error) => return report.trouble("secrets", &error.into()),
    };
    let (mut opened, mut closed) = (0, 0);
    for id in ids {
        let Ok(district) = context.store.district(&id).await else { continue };
        for number in (0_u16..).take(district.connections.len()) {
            match context.store.secrets(&id, ConnectionNo(number)).await {
                Ok(_) => opened += 1,
                Err(error) => {
                    closed += 1;
                    let error = anyhow::Error::from(error).context(format!("{id}, connection {}", number + 1));
                    report.trouble("secrets", &error);
                }
            }
        }
    }
    if opened > 0 && closed == 0 {
        let opened = counted(opened, "connection", "connections");
        report.ok("secrets", format!("those of {opened} open with the key"));
    }
}

/// Under which keys what is sealed lies: while something does under an older one, that is still needed.
async fn check_keys(context: &Context, report: &mut Report) {
    let (lasting, pages) = match context.store.sealed().await {
        Ok(sealed) => sealed,
        Err(error) => return report.trouble("keys", &error.into()),
    };
    let no_key = "are sealed with a key that is not among those given";
    let add = "add that key to ROLLCALL_KEY, or the key file, after the newest one";
    if lasting.lost > 0 {
        let names: BTreeSet<_> = match context.store.lost().await {
            Ok(lost) => lost.into_iter().map(|lost| lost.key).collect(),
            Err(error) => return report.trouble("keys", &error.into()),
        };
        let names = names.into_iter().collect::<Vec<_>>().join(", ");
        let told = anyhow::anyhow!("{} secrets and documents {no_key} (named {names})", lasting.lost);
        let mend = format!("{add}; if it is lost, see docs/OPERATIONS.md, When a key is lost (`rollcall key forget`)");
        report.fail("keys", &told, &mend);
    }
    if pages.lost > 0 {
        report.warn(
            "keys",
            format!("{} raw pages {no_key}; until they age out their runs cannot be replayed", pages.lost),
            add,
        );
    }
    if lasting.older > 0 {
        let mend = "once every process seals with the newest key: rollcall key rotate --new-key-file FILE (which holds the newest)";
        report.warn("keys", format!("{} secrets and documents are sealed with an older key", lasting.older), mend);
    }
    if pages.older > 0 {
        report.ok(
            "keys",
            format!("{} raw pages are sealed with an older key: keep it until they have aged out", pages.older),
        );
    } else if lasting.lost + lasting.older + pages.lost == 0 && lasting.newest > 0 {
        report.ok("keys", "everything is sealed with the newest key");
    }
}

/// Students whose change the database refused, each parked alone.
async fn check_parked_students(context: &Context, report: &mut Report) {
    match context.store.parked_students(&ParkedStudents::default()).await {
        Ok(parked) if parked.is_empty() => {}
        Ok(parked) => {
            let mend = context.again.command("queues parked write");
            report.warn("parked students", format!("{} whose change is not written", parked.len()), &mend);
        }
        Err(error) => report.trouble("parked students", &error.into()),
    }
}

async fn check_bus(context: &Context, report: &mut Report) {
    if let Err(error) = context.bus.check().await {
        return report.fail("bus", &error.into(), "start the broker and check ROLLCALL_AMQP_URL (amqp_url)");
    }
    match context.bus.depths().await {
        Ok(depths) => {
            report.ok("bus", format!("reachable, {} queues", depths.len()));
            for depth in &depths {
                if depth.parked > 0 {
                    let mend = context.again.command(&format!("queues parked {}", short(depth.queue)));
                    report.warn("parked messages", format!("{} in {}", depth.parked, depth.queue.name()), &mend);
                }
                if depth.consumers == Some(0) {
                    report.warn(
                        "workers",
                        format!("nobody works on {}", depth.queue.name()),
                        &start_worker(&context.again, depth.queue),
                    );
                }
            }
        }
        Err(error) => report.trouble("queues", &error.into()),
    }
}

/// What starts a worker of a queue.
fn start_worker(again: &Again, queue: Queue) -> String {
    format!("start `{}`", again.command(&format!("worker {}", worker(queue))))
}

fn short(queue: Queue) -> &'static str {
    queue.name().trim_start_matches("rollcall.")
}

fn check_host(context: &Context, report: &mut Report) {
    let Some(dir) = context.dir() else { return };
    match HostLock::take(dir) {
        Ok(Some(_)) => report.warn(
            "host",
            "no process hosts this directory, so no scheduled run starts",
            &format!("start `{}`", context.serve()),
        ),
        Ok(None) => report.ok("host", "a process hosts this directory"),
        Err(error) => report.fail("host", &error, "check who owns the directory"),
    }
}

async fn check_districts(context: &Context, report: &mut Report) {
    match context.store.districts().await {
        Ok(ids) if ids.is_empty() => {
            let mend = context.again.text("write a district file and run `rollcall district apply FILE`");
            report.warn("districts", "none", &mend);
        }
        Ok(ids) => {
            report.ok("districts", format!("{}", ids.len()));
            for id in ids {
                check_platforms(context, &id, report).await;
                let Ok(runs) = context.store.runs(Some(&id), 1).await else { continue };
                if let Some(run) = runs.first().filter(|run| run.state == rollcall_store::run::RunState::Held) {
                    let mend = context.again.command(&format!("runs show {}", run.id));
                    report.warn("held run", format!("{id}: {}", run.reason.clone().unwrap_or_default()), &mend);
                }
            }
        }
        Err(error) => report.trouble("districts", &error.into()),
    }
}

/// Platforms whose launches nobody can read, because several sources may be meant.
async fn check_platforms(context: &Context, id: &DistrictId, report: &mut Report) {
    let Ok(registrations) = context.store.registrations(id).await else { return };
    let Ok(district) = context.store.district(id).await else { return };
    let Ok(users) = context.store.lti_users(id).await else { return };
    let unclear = users.iter().filter(|user| !user.namer.is_known(&district, &registrations)).count();
    if unclear > 0 {
        let told = format!("{id}: of {unclear} of the people who were added nobody knows whose ids theirs are");
        report.warn("platform users", told, "rollcall lti users add … --registration ID");
    }
    for registration in registrations {
        if let Err(unclear) = registration.details.source(&district) {
            let mend = "rollcall lti register … --connection NUMBER";
            report.warn("platform", format!("{id}: {}: {unclear}", registration.id), mend);
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Verb};

    #[test]
    fn what_starts_a_worker_can_be_typed_as_it_stands() {
        for queue in Queue::ALL {
            let told = start_worker(&Again::default(), queue);
            let line = told.strip_prefix("start `").unwrap().strip_suffix('`').unwrap();
            let typed = Cli::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{line}: {error}"));
            assert!(matches!(typed.verb, Verb::Worker(_)), "{line}");
        }
    }
}
