//! `rollcall doctor`: is this process set up to work? Each check says what to mend.

use std::{os::unix::fs::MetadataExt as _, path::Path, process::ExitCode};

use rollcall_proto::{private, topology::Queue};
use rollcall_store::ParkedStudents;
use serde_json::{Value, json};

use crate::{
    cli::Global,
    config::{Backend, Settings},
    context::Context,
    host::HostLock,
    output::Listing,
};

/// Outcomes so far.
struct Report {
    listing: Listing,
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
        self.listing.push(vec![json!(check), json!("fail"), json!(format!("{error:#}")), json!(mend)]);
    }
}

/// Checks and prints.
pub(crate) async fn doctor(global: &Global) -> anyhow::Result<ExitCode> {
    let mut report = Report { listing: Listing::new(&["check", "outcome", "detail", "mend"]), failed: false };
    examine(global, &mut report).await;
    report.listing.print(global.format)?;
    Ok(if report.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn examine(global: &Global, report: &mut Report) {
    let settings = match Settings::load(global) {
        Ok(settings) => settings,
        Err(error) => return report.fail("configuration", &error, "correct the file or variable that is named"),
    };
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
        Err(error) => return report.fail("key, store and bus", &error, "as the detail says"),
    };
    report.ok("key, store and bus", "opened");
    if let Some(dir) = context.dir() {
        check_directory(dir, report);
    }
    check_store(&context, report).await;
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
        Err(error) => report.fail("store", &error.into(), "start the database, or run `rollcall migrate`"),
    }
}

/// Students whose change the database refused, each parked alone.
async fn check_parked_students(context: &Context, report: &mut Report) {
    match context.store.parked_students(&ParkedStudents::default()).await {
        Ok(parked) if parked.is_empty() => {}
        Ok(parked) => {
            let mend = "rollcall queues parked write";
            report.warn("parked students", format!("{} whose change is not written", parked.len()), mend);
        }
        Err(error) => report.fail("parked students", &error.into(), "as the detail says"),
    }
}

async fn check_bus(context: &Context, report: &mut Report) {
    if let Err(error) = context.bus.check().await {
        return report.fail("bus", &error.into(), "start the broker and check ROLLCALL_AMQP_URL");
    }
    match context.bus.depths().await {
        Ok(depths) => {
            report.ok("bus", format!("reachable, {} queues", depths.len()));
            for depth in &depths {
                if depth.parked > 0 {
                    let mend = format!("rollcall queues parked {}", short(depth.queue));
                    report.warn("parked messages", format!("{} in {}", depth.parked, depth.queue.name()), &mend);
                }
                if depth.consumers == Some(0) {
                    report.warn(
                        "workers",
                        format!("nobody works on {}", depth.queue.name()),
                        "start `rollcall worker`",
                    );
                }
            }
        }
        Err(error) => report.fail("queues", &error.into(), "as the detail says"),
    }
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
            "start `rollcall serve --dir …`",
        ),
        Ok(None) => report.ok("host", "a process hosts this directory"),
        Err(error) => report.fail("host", &error, "check who owns the directory"),
    }
}

async fn check_districts(context: &Context, report: &mut Report) {
    match context.store.districts().await {
        Ok(ids) if ids.is_empty() => {
            report.warn("districts", "none", "write a district file and run `rollcall district apply FILE`");
        }
        Ok(ids) => {
            report.ok("districts", format!("{}", ids.len()));
            for id in ids {
                let Ok(runs) = context.store.runs(Some(&id), 1).await else { continue };
                if let Some(run) = runs.first().filter(|run| run.state == rollcall_store::run::RunState::Held) {
                    let mend = format!("rollcall runs show {}", run.id);
                    report.warn("held run", format!("{id}: {}", run.reason.clone().unwrap_or_default()), &mend);
                }
            }
        }
        Err(error) => report.fail("districts", &error.into(), "as the detail says"),
    }
}
