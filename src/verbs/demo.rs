//! `rollcall demo`: three nights of an invented district, and a plan document's way from its completion to a click on the
//! flag in the SIS, in one process, with nothing installed.

mod browser;
mod circle;

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use chrono::{DateTime, TimeDelta, Utc};
use rollcall_fetcher::launch;
use rollcall_proto::{
    clock::{Clock, SystemClock},
    id::DistrictId,
    roster::Status,
};
use rollcall_sandbox::{Sandbox as Sis, SandboxConfig};
use rollcall_store::{
    district::ConnectionSecrets,
    run::{NewRun, Run, RunState, Trigger},
};

use self::circle::Circle;
use super::{run, sandbox, students, trace};
use crate::{
    again::quoted,
    cli::{Demo, Global},
    config::{Backend, Settings},
    context::Context,
    output::say,
};

const DISTRICT: &str = "demo-isd";

/// Who does everything here, for the audit trail.
const ACTOR: &str = "demo";

/// The machine's clock, some nights ahead: the demo does not wait until tomorrow.
#[derive(Debug, Default)]
struct NightClock(AtomicI64);

impl NightClock {
    fn next_night(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Clock for NightClock {
    fn now(&self) -> DateTime<Utc> {
        SystemClock.now() + TimeDelta::days(self.0.load(Ordering::Relaxed))
    }
}

/// Where the demo works: a directory of its own that goes away, unless the person named or keeps one.
struct Place {
    dir: PathBuf,
    keep: bool,
}

impl Place {
    fn new(global: &Global, args: &Demo) -> anyhow::Result<Self> {
        if let Some(dir) = &global.dir {
            ensure!(
                !dir.join("store.db").exists(),
                "{} holds a store already; the demo wants a directory of its own",
                dir.display()
            );
            return Ok(Self { dir: dir.clone(), keep: true });
        }
        let dir = std::env::temp_dir().join(format!("rollcall-demo-{}", uuid::Uuid::now_v7().simple()));
        Ok(Self { dir, keep: args.keep })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.keep {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

/// See the module.
pub(crate) async fn demo(global: &Global, args: &Demo) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    let place = Place::new(global, args)?;
    let clock = Arc::new(NightClock::default());
    let sis = Sis::start(SandboxConfig {
        students: args.students,
        contact_percent: 100,
        today: clock.now().with_timezone(&chrono_tz::America::Chicago).date_naive(),
        ..SandboxConfig::default()
    })
    .await?;
    let settings = Settings {
        backend: Backend::Embedded(place.dir.clone()),
        key: None,
        key_file: None,
        allow_private_addresses: true,
        database_connections: 1,
        public_url: None,
        lost_after: Duration::from_mins(1),
        fetch_bodies: u64::from(crate::config::FETCH_BODIES_MIB) << 20,
        keep_pages: Duration::from_hours(7 * 24),
        keep_plans: Duration::from_hours(90 * 24),
        keep_parked: Duration::from_hours(90 * 24),
        keep_audit: Duration::from_hours(2_557 * 24),
        flag_requests_per_second: crate::config::FLAG_REQUESTS_PER_SECOND,
        campus: rollcall_flag_sync::partner::PartnerInterface::default(),
    };
    let context = Context::make_with(global, settings, Arc::clone(&clock) as _).await?;
    let secrets = ConnectionSecrets { client_secret: sis.client_secret().into(), ..ConnectionSecrets::default() };
    let district = apply(&context, &sandbox::district_file(DISTRICT, &sis), secrets).await?;
    say!("A stand-in Skyward Qmlativ with {} invented students is up; nothing leaves this machine.", args.students)?;

    let first = night(&context, &district, "First night: everything is new").await?;
    roster(&context, &district).await?;
    sis.set_night(2);
    clock.next_night();
    let second = night(&context, &district, "Second night: the SIS has moved on").await?;
    changes(&context, &district, &second).await?;
    sis.set_night(3);
    clock.next_night();
    let third = night(&context, &district, "Third night: the SIS loses half of its students").await?;
    ensure!(third.state == RunState::Held, "the third night was not held but {}", third.state.as_str());
    say!("  Nobody was touched: the roster is as the second night left it.")?;
    roster(&context, &district).await?;
    say!("\nThe first night, traced:\n{}", trace::text(&context, &first).await?)?;
    sis.set_night(2);
    let circle = Circle::start(&context, &sis).await?;
    circle.show().await?;
    closing(&place, args, &second, &third, began)?;
    if args.keep {
        circle.stay().await?;
    }
    circle.stop().await;
    sis.shutdown().await;
    Ok(ExitCode::SUCCESS)
}

/// Applies a district of the sandbox; its file names secrets, which are given here.
async fn apply(context: &Context, file: &str, secrets: ConnectionSecrets) -> anyhow::Result<DistrictId> {
    let mut table: toml::Table = file.parse().context("the demo's district file")?;
    if let Some(connections) = table.get_mut("connection").and_then(toml::Value::as_array_mut) {
        connections.iter_mut().filter_map(toml::Value::as_table_mut).for_each(|connection| {
            connection.remove("client_secret");
            connection.remove("vendor_secret");
        });
    }
    let district: rollcall_store::district::District = toml::Value::Table(table).try_into()?;
    context.store.apply_district(&district, &[secrets], ACTOR, context.clock.now()).await?;
    Ok(district.id)
}

async fn night(context: &Context, district: &DistrictId, title: &str) -> anyhow::Result<Run> {
    say!("\n{title}")?;
    let began = Instant::now();
    let ended = launched(context, district).await?;
    tell(context, &ended).await?;
    say!("  took {:.2} s in all: {}", began.elapsed().as_secs_f64(), stages(&ended))?;
    Ok(ended)
}

/// A run, to its end.
async fn launched(context: &Context, district: &DistrictId) -> anyhow::Result<Run> {
    let now = context.clock.now();
    let new = NewRun {
        district: district.clone(),
        trigger: Trigger::Manual,
        as_of: now.with_timezone(&chrono_tz::America::Chicago).date_naive(),
        plan_only: false,
        as_of_given: false,
        everything: false,
        requested_by: ACTOR.to_owned(),
    };
    let made =
        launch(&context.store, &context.bus, &new, &*context.clock).await?.context("the demo's run was not made")?;
    let ended = run::wait(context, district, made.id).await?;
    ensure!(ended.state != RunState::Failed, "the run failed: {}", ended.reason.clone().unwrap_or_default());
    Ok(ended)
}

async fn tell(context: &Context, run: &Run) -> anyhow::Result<()> {
    let pages = context.store.pages(&run.district, run.id).await?;
    let rows: i64 = pages.iter().map(|page| page.rows).sum();
    say!(
        "  came in: {} pages, {rows} rows, {} students listed, {} missing",
        pages.len(),
        run.counts.listed,
        run.counts.missing
    )?;
    say!(
        "  planned: {} added, {} changed, {} removed, {} unchanged, {} skipped",
        run.counts.added,
        run.counts.changed,
        run.counts.removed,
        run.counts.unchanged,
        run.counts.skipped
    )?;
    let reason = run.reason.as_ref().map(|reason| format!(": {}", context.again.text_of(run.id, reason)));
    say!("  {}{}", run.state.as_str(), reason.unwrap_or_default())
}

/// How long each stage took.
fn stages(run: &Run) -> String {
    let marks = [
        ("pull", run.started_at, run.pulled_at),
        ("plan", run.pulled_at, run.planned_at),
        ("write", run.released_at, run.ended_at),
    ];
    let stage = |(name, from, to): (&str, Option<DateTime<Utc>>, Option<DateTime<Utc>>)| {
        Some(format!("{name} {:.2} s", (to? - from?).num_milliseconds() as f64 / 1000.0))
    };
    marks.into_iter().filter_map(stage).collect::<Vec<_>>().join(", ")
}

async fn roster(context: &Context, district: &DistrictId) -> anyhow::Result<()> {
    let counts = context.store.status_counts(district).await?;
    let most = counts.iter().map(|(_, count)| *count).max().unwrap_or(1).max(1);
    say!("  the roster now:")?;
    for status in Status::ALL {
        let count = counts.iter().find(|(of, _)| *of == status).map_or(0, |(_, count)| *count);
        say!("    {:<13}{count:>8}  {}", status.as_str(), "█".repeat((count * 40 / most) as usize))?;
    }
    Ok(())
}

/// A few of the second night's changes, and one student's history.
async fn changes(context: &Context, district: &DistrictId, run: &Run) -> anyhow::Result<()> {
    let lines = context.store.plan_lines(district, run.id).await?;
    let told = lines.iter().filter(|line| line.from.is_some_and(|from| from != line.to));
    say!("  some whose status changed:")?;
    for line in told.clone().take(5) {
        let from = line.from.map_or("-", Status::as_str);
        say!("    {:>8}  {from} -> {} (rule {})", line.student_id.0, line.to.as_str(), line.rule.as_str())?;
    }
    if let Some(line) = told.clone().next() {
        say!("  the history of student {}:", line.student_id)?;
        for row in context.store.history(district, &line.student_id).await? {
            say!("    {}", students::history_line(&row))?;
        }
    }
    Ok(())
}

/// What to type next. Each line can be pasted, remark and all, where the demo was started.
fn closing(place: &Place, args: &Demo, second: &Run, third: &Run, began: Instant) -> anyhow::Result<()> {
    let (program, dir) = (program(), quoted(&place.dir.to_string_lossy()));
    let seconds = began.elapsed().as_secs_f64();
    let at = format!("  {program} --dir {dir}");
    if place.keep {
        say!("\nDone in {seconds:.1} s, and all of it is kept. To look around, type next:")?;
        say!("{at} runs show {}  # why the third night is held", third.id)?;
        say!("{at} runs plan {}  # what it would have changed", third.id)?;
        say!("{at} runs trace {}  # the second night as a tree", second.id)?;
    } else {
        say!("\nDone in {seconds:.1} s, and nothing of it is kept. To keep it, type next:")?;
        say!("  {program} demo --students {} --keep --dir {dir}", args.students)?;
        say!("To look around then, while it stays up or afterwards:")?;
        say!("{at} runs list")?;
    }
    say!("{at} students list --district {DISTRICT} --status GRADUATED")?;
    say!("{at} flags ledger --district {}  # what Campus was sent, and why", circle::DISTRICT)
}

/// How this program was called, for a shell: its bare name where that was enough, else its path.
fn program() -> String {
    let called = std::env::args_os().next();
    called.map_or_else(|| "rollcall".to_owned(), |called| quoted(&called.to_string_lossy()))
}
