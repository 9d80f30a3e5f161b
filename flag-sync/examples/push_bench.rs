//! Measures how fast changed flags are pushed beside the configured rate, and how much memory that takes.
//!
//! ```text
//! cargo build --release --bin rollcall && \
//!     cargo run --release -p rollcall-flag-sync --example push_bench -- target/release/rollcall 10000 200
//! ```
//!
//! A sandbox Campus in this process; `rollcall serve` as a process of its own on an embedded directory, whose memory is
//! read from `/proc`. First every flag is new, then every one is changed, then a sync finds nothing to do. What is measured is
//! set beside what the rate allows in the very time from the first write to the last, so that it does not depend on the
//! machine. Ends with an error where a promise of docs/FLAGS.md is not kept.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use chrono::{DateTime, NaiveDate, Utc};
use rollcall_proto::{
    clock::{Clock as _, SystemClock},
    id::{ConnectionNo, DistrictId, StudentId},
    message::{Change, EVENTS_PER_MESSAGE, Fingerprint, StudentEvent, StudentEvents},
    roster::{Person, Rule, Status, Student},
};
use rollcall_sandbox::{Campus, CampusConfig, CampusStats};
use rollcall_store::{
    Store,
    district::{ConnectionSecrets, District},
    document::{Author, NewDocument, SaveMode},
    plan::{EncodedBatch, NewPlan, Verdict, encode_batch},
    run::{Counts, NewRun, Trigger},
    secret::Keyring,
};

const PROGRAM: &str = "Special Education";

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [binary, students, rate] = arguments.as_slice() else { bail!("BINARY STUDENTS REQUESTS-PER-SECOND") };
    let (students, rate): (usize, f64) = (students.parse()?, rate.parse()?);
    let dir = tempfile::tempdir()?;
    let store = Store::open_embedded(dir.path(), Keyring::open_or_create(&dir.path().join("key"))?).await?;
    let campus = Campus::start(CampusConfig { page_limit: 1_000, ..CampusConfig::default() }).await?;
    let district = district(&store, &campus).await?;
    roster(&store, &district, students).await?;
    println!("{students} students, {rate} requests a second allowed");
    for (name, ends) in [("new", None), ("changed", NaiveDate::from_ymd_opt(2027, 6, 30))] {
        documents(&store, &district, students, ends).await?;
        let before = campus.stats();
        let mut served = serve(binary, dir.path(), rate)?;
        let push = watch(&campus, before.writes + students as u64, &served).await?;
        settled(&store).await?;
        let calls = campus.stats().calls - before.calls;
        served.kill()?;
        served.wait()?;
        push.tell(name, rate, calls);
        push.judge(rate)?;
    }
    store.ask_for_flags(&district, "bench", now()).await?;
    let before = campus.stats();
    let mut served = serve(binary, dir.path(), rate)?;
    settled(&store).await?;
    let after = campus.stats();
    served.kill()?;
    served.wait()?;
    println!("unchanged: {} writes, {} reads", after.writes - before.writes, after.calls - before.calls);
    ensure!(after.writes == before.writes, "an unchanged night wrote");
    campus.shutdown().await;
    Ok(())
}

/// From the first write to the last.
struct Push {
    seconds: f64,
    flags: u64,
    /// Requests of all kinds meanwhile.
    requests: u64,
    /// Megabytes of the process at each tenth of the way.
    memory: Vec<u64>,
}

impl Push {
    /// Percent of what the rate allows in that time.
    fn share(&self, done: u64, rate: f64) -> f64 {
        100.0 * done as f64 / (self.seconds * rate)
    }

    fn tell(&self, name: &str, rate: f64, calls: u64) {
        let (flags, requests) = (self.share(self.flags, rate), self.share(self.requests, rate));
        println!(
            "{name}: {} flags in {:.1} s, {:.1} a second = {flags:.1} % of the rate; requests {requests:.1} % of it ({calls} in all)",
            self.flags,
            self.seconds,
            self.flags as f64 / self.seconds
        );
        let memory: Vec<_> = self.memory.iter().map(ToString::to_string).collect();
        println!("  memory at each tenth of the way: {} MB", memory.join(" "));
    }

    /// At least 95 % of the rate in flags, never more than the rate (and its burst) in requests, and memory that does not
    /// grow with the flags pushed.
    fn judge(&self, rate: f64) -> Result<()> {
        ensure!(self.share(self.flags, rate) >= 95.0, "slower than the rate allows");
        ensure!(self.share(self.requests, rate) <= 101.0, "faster than the rate");
        let (first, last) = (self.memory.first().context("no tenth")?, self.memory.last().context("no tenth")?);
        ensure!(*last <= first + first / 4, "memory grows from {first} to {last} MB");
        Ok(())
    }
}

fn now() -> DateTime<Utc> {
    SystemClock.now()
}

fn serve(binary: &str, dir: &Path, rate: f64) -> Result<Child> {
    let log = std::fs::File::options().create(true).append(true).open(dir.join("serve.log"))?;
    let child = Command::new(binary)
        .args(["serve", "--dir"])
        .arg(dir)
        .env("ROLLCALL_ALLOW_PRIVATE_ADDRESSES", "true")
        .env("ROLLCALL_FLAG_REQUESTS_PER_SECOND", format!("{rate:.0}"))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn();
    child.context("the rollcall binary cannot be started")
}

/// Watches until so many writes are done.
async fn watch(campus: &Campus, until: u64, process: &Child) -> Result<Push> {
    let (before, start) = (campus.stats().writes, Instant::now());
    let mut first: Option<(Instant, CampusStats)> = None;
    let mut memory = Vec::new();
    loop {
        let now = campus.stats();
        let (begun, at_first) = match first {
            Some(first) => first,
            None if now.writes > before => *first.insert((Instant::now(), now)),
            None => (start, now),
        };
        if (now.writes - before) * 10 >= (until - before) * (memory.len() as u64 + 1) {
            memory.push(resident(process.id())? / 1_024);
        }
        if now.writes >= until {
            let (flags, requests) = (now.writes - at_first.writes, now.calls - at_first.calls);
            return Ok(Push { seconds: begun.elapsed().as_secs_f64(), flags, requests, memory });
        }
        ensure!(start.elapsed() < Duration::from_hours(1), "not done after an hour: {} of {until}", now.writes);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Kilobytes in memory.
fn resident(process: u32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// Waits until nothing is owed.
async fn settled(store: &Store) -> Result<()> {
    let start = Instant::now();
    loop {
        let work = store.flag_work().await?.pop().context("flags are switched on")?;
        let is_synced = work.synced_at.is_some() && work.synced_at > work.stopped_at;
        if is_synced && !work.unfinished && work.pending_since.is_none() {
            return Ok(());
        }
        ensure!(start.elapsed() < Duration::from_mins(10), "it does not settle: {work:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn district(store: &Store, campus: &Campus) -> Result<DistrictId> {
    let config = campus.config();
    let file: District = serde_json::from_value(serde_json::json!({
        "id": "bench", "name": "Bench", "time_zone": "America/Chicago", "schedule": {"enabled": false},
        "connection": [{
            "kind": "oneroster", "base_url": campus.base_url(), "token_url": campus.token_url(),
            "client_id": config.client_id, "vendor_key": config.vendor_key,
        }],
        "program": [{"name": PROGRAM, "flags": true, "option": "create-new", "cutover": "2026-08-15"}],
    }))?;
    let secrets = ConnectionSecrets {
        client_secret: config.client_secret.clone().into(),
        vendor_secret: Some(config.vendor_secret.clone().into()),
        ..ConnectionSecrets::default()
    };
    store.apply_district(&file, &[secrets], "bench", now()).await?;
    Ok(file.id)
}

async fn documents(store: &Store, district: &DistrictId, students: usize, ends_on: Option<NaiveDate>) -> Result<()> {
    for number in 0..students {
        let new = NewDocument {
            id: format!("d{number}").parse()?,
            student: StudentId(number.to_string()),
            program: PROGRAM.to_owned(),
            kind: "IEP".to_owned(),
            completed: true,
            starts_on: NaiveDate::from_ymd_opt(2026, 8, 20).context("a date")?,
            ends_on,
            data: None,
            file: None,
        };
        let author = Author { actor: "bench", key: None, at: now() };
        store.save_document(district, &new, SaveMode::Upsert, author).await??;
    }
    Ok(())
}

/// A run that adds all students, closed.
async fn roster(store: &Store, district: &DistrictId, students: usize) -> Result<()> {
    let new = NewRun {
        district: district.clone(),
        trigger: Trigger::Manual,
        as_of: now().date_naive(),
        plan_only: false,
        as_of_given: false,
        everything: false,
        requested_by: "bench".to_owned(),
    };
    let run = store.create_run(&new, now()).await?.context("a run")?;
    store.start_run(district, run.id, now()).await?;
    store.fail_pull(district, run.id, ConnectionNo(0), "not pulled").await?;
    store.pulled(district, run.id, now()).await?;
    let events: Vec<_> = (0..students).map(added).collect();
    let batches: Vec<StudentEvents> = events
        .chunks(EVENTS_PER_MESSAGE)
        .zip(0..)
        .map(|(events, batch)| StudentEvents {
            batch,
            run_seq: run.seq,
            status: Status::Enrolled,
            events: events.to_vec(),
        })
        .collect();
    store.save_plan(district, run.id, &plan(&batches, students as i64)?, now()).await?;
    for batch in &batches {
        store.apply_batch(district, run.id, batch, now()).await?;
    }
    store.close_run(district, run.id, now()).await?.context("the run is not settled")?;
    Ok(())
}

fn plan(batches: &[StudentEvents], added: i64) -> Result<NewPlan> {
    let encode = |batch: &StudentEvents| {
        let events = batch.events.len() as u32;
        Ok(EncodedBatch { batch: batch.batch, status: batch.status, events, bytes: encode_batch(batch)? })
    };
    Ok(NewPlan {
        counts: Counts { listed: added, added, ..Counts::default() },
        batches: batches.iter().map(encode).collect::<Result<_>>()?,
        ..NewPlan::empty(Verdict::Release)
    })
}

fn added(number: usize) -> StudentEvent {
    let id = StudentId(number.to_string());
    let record = Student {
        id: id.clone(),
        connection: 0,
        sis_id: Some(number.to_string()),
        local_id: None,
        state_id: None,
        person: Person { name_id: number.to_string(), ..Person::default() },
        birth_date: None,
        gender: None,
        grade: None,
        school: None,
        graduation_year: None,
        homeroom: None,
        contacts: Vec::new(),
        enrollments: Vec::new(),
    };
    StudentEvent {
        student_id: id,
        change: Change::Added,
        from: None,
        to: Status::Enrolled,
        rule: Rule::Current,
        enrollments: Vec::new(),
        fingerprint: Fingerprint([1; 16]),
        record: Some(Box::new(record)),
        rekeyed_from: None,
    }
}
