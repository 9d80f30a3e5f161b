//! Measures how fast changed flags are pushed beside the configured rate, and how much memory that takes.
//!
//! ```text
//! cargo build --release --bin rollcall && \
//!     cargo run --release -p rollcall-flag-sync --example push_bench -- target/release/rollcall 10000 200
//! ```
//!
//! A sandbox Campus in this process; `rollcall serve` as a process of its own on an embedded directory, whose memory is
//! read from `/proc`. First every flag is new, then every one is changed, then a sync finds nothing to do.

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
use rollcall_sandbox::{Campus, CampusConfig};
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
        let (seconds, memory) = watch(&campus, before.writes + students as u64, &served).await?;
        settled(&store).await?;
        let calls = campus.stats().calls - before.calls;
        served.kill()?;
        served.wait()?;
        let pushed = students as f64 / seconds;
        let share = 100.0 * pushed / rate;
        println!("{name}: {seconds:.1} s, {pushed:.1} flags/s = {share:.1} % of the rate ({calls} requests in all)");
        println!("  memory while pushing: {} MB", memory.join(" "));
    }
    store.ask_for_flags(&district).await?;
    let before = campus.stats();
    let mut served = serve(binary, dir.path(), rate)?;
    settled(&store).await?;
    let after = campus.stats();
    served.kill()?;
    served.wait()?;
    println!("unchanged: {} writes, {} reads", after.writes - before.writes, after.calls - before.calls);
    campus.shutdown().await;
    Ok(())
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

/// Seconds from the first write to the last, and the process's memory at each tenth of the way.
async fn watch(campus: &Campus, until: u64, process: &Child) -> Result<(f64, Vec<String>)> {
    let (first, start) = (campus.stats().writes, Instant::now());
    let (mut begun, mut memory): (Option<Instant>, Vec<String>) = (None, Vec::new());
    loop {
        let writes = campus.stats().writes;
        if writes > first && begun.is_none() {
            begun = Some(Instant::now());
        }
        if (writes - first) * 10 >= (until - first) * (memory.len() as u64 + 1) {
            memory.push((resident(process.id())? / 1_024).to_string());
        }
        if writes >= until {
            return Ok((begun.unwrap_or(start).elapsed().as_secs_f64(), memory));
        }
        ensure!(start.elapsed() < Duration::from_hours(1), "not done after an hour: {writes} of {until}");
        tokio::time::sleep(Duration::from_millis(20)).await;
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
        verdict: Verdict::Release,
        counts: Counts { listed: added, added, ..Counts::default() },
        hash: Fingerprint::default(),
        roster_version: 0,
        recheck_on_approval: None,
        batches: batches.iter().map(encode).collect::<Result<_>>()?,
        skips: Vec::new(),
        findings: Vec::new(),
        baselines: Vec::new(),
        schools: Vec::new(),
        staff: Vec::new(),
        staff_whole: false,
        staff_gone: Vec::new(),
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
