//! What no ordinary night reaches, killed at each of its moments: the schedule, the second look, a person's decision, looking
//! after old data, a reconciler's help.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rollcall_e2e::{
    House, Ledger, Pair, Role, binary,
    house::{self, DISTRICT},
    pair::{Twin, as_if_asked_by_hand, small, until_pages_are_in},
    points::{self, ARMED, Turn, armed, in_turn, todays},
    roster::Facts,
    services::Servers,
    until,
};
use rollcall_proto::{bus::Bus as _, codec::Kind, topology::Queue};

use super::{
    failpoints::{self, AFTERWARDS, campus, import, program, relieve, through_kills},
    replays_killed::bus,
};

/// Longer than it takes to notice what a kill has swallowed, some times in a row.
const LIMIT: Duration = Duration::from_mins(10);

/// Armed from now on, in place of what worked before.
fn arm(house: &mut House, role: Role, points: &str) {
    house.take_worker(role).kill();
    house.start_worker_with(role, &[(ARMED, points)]);
}

async fn execute(house: &House, sql: &'static str) {
    sqlx::query(sql).bind(DISTRICT).execute(&house.services().database).await.unwrap();
}

async fn count(house: &House, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).bind(DISTRICT).fetch_one(&house.services().database).await.unwrap()
}

async fn text(house: &House, sql: &'static str) -> Option<String> {
    sqlx::query_scalar(sql).bind(DISTRICT).fetch_optional(&house.services().database).await.unwrap()
}

// --- the schedule ----------------------------------------------------------------------------------------------------

/// Tonight's run, by the schedule.
const SCHEDULED: &str =
    "SELECT id::text FROM run WHERE district = $1 AND trigger = 'scheduled' AND as_of > current_date - 50";

/// The schedule makes tonight's run, which a fetcher dies over: its id.
async fn made_by_the_schedule(house: &mut House, left: &mut BTreeSet<String>, kills: &mut u64) -> String {
    house.take_worker(Role::Fetcher).kill();
    "at = \"00:00\"\nweekends = true".clone_into(&mut house.district.schedule);
    house.apply().await;
    // The schedule counts from when the district was taken in; this one has been there for long, and tonight's run is to come.
    execute(house, "UPDATE run SET as_of = as_of - 100 WHERE district = $1 AND trigger = 'scheduled'").await;
    let due =
        "UPDATE district SET schedule_since = now() - interval '3 days', last_scheduled = NULL WHERE district = $1";
    execute(house, due).await;
    house.start_worker_with(Role::Fetcher, &[(ARMED, &armed(left))]);
    let start = std::time::Instant::now();
    loop {
        *kills += relieve(house, Role::Fetcher, left);
        if let Some(run) = text(house, SCHEDULED).await {
            return run;
        }
        assert!(start.elapsed() < LIMIT, "no run is made");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduler_killed_at_each_failpoint_makes_each_run_once() {
    let test = "a_scheduler_killed_at_each_failpoint_makes_each_run_once";
    let Some(points) = in_turn(Turn::Schedules) else { return };
    let ledger = Ledger::begin(test, "kill -9 of a scheduler that makes a run, at each failpoint");
    let mut pair = Pair::begin(Servers::shared(), 37, ledger).await;
    for point in points {
        let (mut left, mut kills) = (BTreeSet::from([point.clone()]), 0);
        let mut later = 0;
        let begin = async |house: &mut House| {
            let run = made_by_the_schedule(house, &mut left, &mut kills).await;
            // What comes after the run is made may be where it is to die.
            later = through_kills(house, Role::Fetcher, &run, &mut left).await;
            as_if_asked_by_hand(house).await;
            run
        };
        pair.disturbed_run(&point, &["succeeded"], begin, async |_, _| {}).await;
        assert_eq!(kills + later, 1, "no schedule reaches {point}");
        pair.ledger.faults(1);
        let more = "SELECT count(*) - count(DISTINCT as_of) FROM run \
                    WHERE district = $1 AND trigger = 'scheduled' AND as_of > current_date - 50";
        assert_eq!(count(&pair.house, more).await, 0, "{point}: one run for each local date");
        pair.house.district.schedule = "enabled = false".to_owned();
        pair.house.apply().await;
        pair.house.replace_worker(Role::Fetcher);
    }
    pair.end().await;
}

// --- more to release -------------------------------------------------------------------------------------------------

/// A writer asks for more where what was released is written, and more waits: so it is while the classifier stands still between
/// publishing and noting it, and a batch is kept from the writer.
#[tokio::test(flavor = "multi_thread")]
async fn a_writer_killed_where_it_asks_for_more_loses_nothing() {
    let test = "a_writer_killed_where_it_asks_for_more_loses_nothing";
    let ledger = Ledger::begin(test, "kill -9 of a writer that asks for more to be released");
    let mut pair = Pair::begin(Servers::shared(), 38, ledger).await;
    for point in todays(points::of_more_to_release(), 1) {
        let (mut left, mut kills) = (BTreeSet::from([point.clone()]), 0);
        let armed_at = armed(&left);
        let prepare = async |house: &mut House| {
            arm(house, Role::Classifier, "publish/student.events/after=pause");
            house.take_worker(Role::Writer).kill();
        };
        let killed = async |house: &mut House, run: &str| {
            let mut subscription = bus(house).await.subscribe(Queue::Write, 1).await.unwrap();
            let kept = tokio::time::timeout(LIMIT, subscription.next()).await.unwrap().unwrap();
            let batches = "SELECT count(*) FROM plan_batch WHERE run = $1::uuid";
            let batches: i64 =
                sqlx::query_scalar(batches).bind(run).fetch_one(&house.services().database).await.unwrap();
            assert!(batches > 1, "one is kept from the writer, and another is not");
            house.start_worker_with(Role::Writer, &[(ARMED, &armed_at)]);
            let writer = house.worker(Role::Writer);
            until("the writer to die", LIMIT, || std::future::ready((!writer.is_running()).then_some(()))).await;
            drop((kept, subscription));
            house.replace_worker(Role::Classifier);
            kills = through_kills(house, Role::Writer, run, &mut left).await;
        };
        pair.disturbed_from(&point, &["succeeded"], prepare, killed).await;
        assert_eq!(kills, 1, "no writer reaches {point}");
        pair.ledger.faults(kills);
        pair.house.replace_worker(Role::Writer);
    }
    pair.end().await;
}

// --- the second look -------------------------------------------------------------------------------------------------

/// Two roles and where they are to die.
type Armed = [(Role, BTreeSet<String>); 2];

/// A run that has just begun its second look: nobody works on it, and what was asked for lies in the queue.
async fn at_its_second_look(house: &mut House) -> String {
    // Pulled, and not planned: nothing of the first look is left to fetch.
    arm(house, Role::Classifier, "commit/claim a run for planning/before=pause");
    let run = house.begin().await;
    let stage = "SELECT stage FROM run WHERE id = $1::uuid";
    until("the run to be pulled", LIMIT, || async {
        let stage: String = sqlx::query_scalar(stage).bind(&run).fetch_one(&house.services().database).await.unwrap();
        (stage == "plan").then_some(())
    })
    .await;
    until("the classifier to come to planning it", LIMIT, || async {
        let sql = "SELECT count(*) FROM page WHERE district = $1 AND collected_at IS NULL";
        (count(house, sql).await == 0).then_some(())
    })
    .await;
    house.take_worker(Role::Fetcher).kill();
    arm(house, Role::Classifier, "publish/fetch.page/after=kill");
    let classifier = house.worker(Role::Classifier);
    until("the second look to begin", LIMIT, || {
        let is_over = !classifier.is_running();
        async move { is_over.then_some(()) }
    })
    .await;
    assert!(
        points::killed_at(&house.take_worker(Role::Classifier).log()).is_some(),
        "it is killed where it asks again"
    );
    run
}

/// A second look that is killed at these moments, few at a time.
async fn second_look(pair: &mut Pair, before: &[String]) {
    let of = |role| points::of_second_looks(role).into_iter().filter(|point| before.contains(point)).collect();
    let mut left: Armed = [Role::Fetcher, Role::Classifier].map(|role| (role, of(role)));
    let mut kills = 0;
    let begin = async |house: &mut House| {
        let run = at_its_second_look(house).await;
        for (role, points) in &left {
            house.start_worker_with(*role, &[(ARMED, &armed(points))]);
        }
        run
    };
    let mut restart = left.clone();
    let disturb = async |house: &mut House, run: &str| {
        let (start, mut stopped) = (std::time::Instant::now(), None);
        let is_left = |armed: &Armed| armed.iter().any(|(_, points)| !points.is_empty());
        // What comes after the run's end may kill as well.
        while stopped.is_none_or(|stopped: std::time::Instant| is_left(&restart) && stopped.elapsed() < AFTERWARDS) {
            assert!(start.elapsed() < LIMIT, "run {run} does not stop, {restart:?} left");
            for (role, points) in &mut restart {
                kills += relieve(house, *role, points);
            }
            let state = house.services().run_state(run).await.unwrap();
            if stopped.is_none() && ["succeeded", "partial", "held", "failed"].contains(&state.as_str()) {
                stopped = Some(std::time::Instant::now());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    pair.disturbed_run(&format!("{before:?}"), &["succeeded"], begin, disturb).await;
    left = restart;
    assert!(left.iter().all(|(_, points)| points.is_empty()), "no second look reaches {left:?}");
    assert_eq!(kills, before.len() as u64);
    pair.ledger.faults(kills);
    for role in [Role::Fetcher, Role::Classifier] {
        pair.house.replace_worker(role);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_look_killed_at_each_failpoint_takes_out_whom_it_should() {
    let test = "a_second_look_killed_at_each_failpoint_takes_out_whom_it_should";
    let Some(points) = in_turn(Turn::SecondLooks) else { return };
    let points: Vec<String> = points.into_iter().collect();
    let ledger = Ledger::begin(test, "kill -9 at each failpoint of a second look");
    let mut pair = Pair::begin(Servers::shared(), 38, ledger).await;
    for few in points.chunks(6) {
        second_look(&mut pair, few).await;
    }
    pair.end().await;
}

// --- decisions -------------------------------------------------------------------------------------------------------

/// A plan that waits for a person.
async fn held(house: &mut House) -> String {
    let answer = house.rollcall(&["run", DISTRICT, "--plan", "--wait", "--format", "json"]).await.expect_code(0);
    answer.json()[0]["run"].as_str().unwrap().to_owned()
}

/// What a person says of a run dies where it is to, and is said again where nothing came of it.
async fn decided(house: &mut House, run: &str, verb: &str, point: &str) {
    let before = house.services().run_state(run).await.unwrap();
    let kill = armed(&[point.to_owned()].into());
    let killed = house.rollcall_with(&["runs", verb, run], &[(ARMED, &kill)]).await;
    assert_eq!(points::killed_at(&killed.stderr).as_deref(), Some(point), "{killed:#?}");
    let sql = "SELECT count(*) FROM audit WHERE run = $1::uuid AND action = $2";
    let taken: i64 = sqlx::query_scalar(sql)
        .bind(run)
        .bind(format!("run.{verb}"))
        .fetch_one(&house.services().database)
        .await
        .unwrap();
    let is_before = point.starts_with("commit/") && point.ends_with("/before");
    assert_eq!(taken, i64::from(!is_before), "{point}: whole or not there");
    if is_before {
        assert!(verb == "cancel" || house.services().run_state(run).await.unwrap() == before);
        house.rollcall(&["runs", verb, run]).await.expect_code(0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_killed_at_each_failpoint_is_taken_once() {
    let test = "a_decision_killed_at_each_failpoint_is_taken_once";
    let Some(points) = in_turn(Turn::Decisions) else { return };
    let ledger = Ledger::begin(test, "kill -9 of an approval, a discarding and a cancelling at each failpoint");
    let mut pair = Pair::begin(Servers::shared(), 39, ledger).await;
    for point in points {
        if point.contains("cancel") {
            let begin = async |house: &mut House| house.begin().await;
            pair.disturbed_run(&point, &["cancelled"], begin, async |house, run| {
                until_pages_are_in(house, run, 2).await;
                decided(house, run, "cancel", &point).await;
            })
            .await;
        } else {
            let (verb, state) =
                if point.contains("discard") { ("discard", "discarded") } else { ("approve", "succeeded") };
            let decide = async |house: &mut House, run: &str| decided(house, run, verb, &point).await;
            pair.disturbed_run(&point, &[state], held, decide).await;
        }
        pair.ledger.faults(1);
    }
    pair.end().await;
}

// --- old data --------------------------------------------------------------------------------------------------------

/// What has been kept long enough, of each kind.
async fn age(house: &House) -> String {
    execute(house, "UPDATE run SET ended_at = ended_at - interval '400 days' WHERE district = $1").await;
    execute(house, "UPDATE audit SET at = at - interval '4000 days' WHERE district = $1").await;
    let parked = "INSERT INTO parked_event (district, run, batch, position, run_seq, student_id, reason, detail, event, at) \
                  SELECT district, id, 0, place, seq, 'S' || place, 'database-refused', '', '', now() - interval '300 days' \
                  FROM run, generate_series(1, 3) place WHERE district = $1";
    execute(house, parked).await;
    let (id, properties) = house::parked_a_year_ago(DISTRICT);
    house.services().put("rollcall.collect.parked", &properties, "old").await;
    id
}

const AGED: &str = "\
SELECT (SELECT count(*) FROM page WHERE district = $1) + (SELECT count(*) FROM plan_batch WHERE district = $1)
     + (SELECT count(*) FROM parked_event WHERE district = $1)
     + (SELECT count(*) FROM audit WHERE district = $1 AND at < now() - interval '3000 days')";

const TOLD: &str = "SELECT count(*) FROM audit WHERE district = $1 AND action = 'parked.expired'";

/// An hour, or a day, goes by: whoever starts next looks after old data.
async fn time_goes_by(house: &House) {
    sqlx::query("DELETE FROM chore").execute(&house.services().database).await.unwrap();
}

/// A classifier looks after old data until it dies or is done. Where it died.
async fn tidied(house: &mut House, left: &BTreeSet<String>) -> Option<String> {
    time_goes_by(house).await;
    arm(house, Role::Classifier, &armed(left));
    let worker = house.worker(Role::Classifier);
    let is_over = until("old data to be looked after", LIMIT, || {
        let (runs, log) = (worker.is_running(), worker.log());
        let done = log.contains("\"what\":\"parked messages\"") || points::killed_at(&log).is_some() && !runs;
        async move { done.then_some(points::killed_at(&log)) }
    });
    is_over.await
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_after_old_data_killed_at_each_failpoint_forgets_it_once_and_nothing_else() {
    let test = "looking_after_old_data_killed_at_each_failpoint_forgets_it_once_and_nothing_else";
    let mut ledger = Ledger::begin(test, "kill -9 of whoever forgets what was kept long enough, at each failpoint");
    let mut house = House::on(Servers::shared(), small(40)).await;
    house.start_workers(1);
    assert_eq!(house.night().await.state, "succeeded");
    let twin = Twin::beside(&house, small(40)).await;
    let undisturbed: Facts = twin.night(&house, 1).await;
    let message = age(&house).await;
    let entries = "SELECT count(*) FROM audit WHERE district = $1 AND at < now() - interval '3000 days'";
    let (aged, entries) = (count(&house, AGED).await, count(&house, entries).await);
    assert!(aged > 10 && entries > 0, "there is something to forget: {aged}");
    let mut left = todays(points::of_old_data(), 4);
    while !left.is_empty() {
        let point = tidied(&mut house, &left).await.unwrap_or_else(|| panic!("nobody reaches {left:?}"));
        assert!(left.remove(&point), "killed at {point}, which was not armed");
        ledger.faults(1);
    }
    assert_eq!(tidied(&mut house, &left).await, None);
    assert_eq!((count(&house, AGED).await, count(&house, TOLD).await), (0, 4), "all is gone, and each told once");
    let told: String = text(&house, "SELECT string_agg(detail, ' ') FROM audit WHERE district = $1").await.unwrap();
    assert!(told.contains(&message), "{told}");
    assert_eq!(told.matches(&format!("entries={entries} ")).count(), 1, "{told}");
    ledger.compare(test, &undisturbed, &house.facts().await);

    let undisturbed = twin.night(&house, 2).await;
    house.sis.set_night(2);
    let night = house.night().await;
    assert_eq!(night.state, "succeeded", "{night:#?}");
    house.check_roster().await;
    ledger.compare("the night after", &undisturbed, &house.facts().await);
    house.close().await;
    ledger.end();
}

// --- reconcilers -----------------------------------------------------------------------------------------------------

/// Whoever finds out that messages were lost dies over it.
#[tokio::test(flavor = "multi_thread")]
async fn a_reconciler_killed_at_each_failpoint_still_helps() {
    let test = "a_reconciler_killed_at_each_failpoint_still_helps";
    let Some(points) = in_turn(Turn::Reconcilers) else { return };
    let ledger = Ledger::begin(test, "kill -9 of a reconciler that makes up for purged queues, at each failpoint");
    let mut pair = Pair::begin(Servers::shared(), 43, ledger).await;
    for point in points {
        let mut left = BTreeSet::from([point.clone()]);
        let mut kills = 0;
        pair.disturbed(&point, &["succeeded"], async |house, run| {
            until_pages_are_in(house, run, 2).await;
            arm(house, Role::Fetcher, &armed(&left));
            house.services().purge_queues().await;
            kills = through_kills(house, Role::Fetcher, run, &mut left).await;
        })
        .await;
        assert_eq!(kills, 1, "nobody reaches {point}");
        pair.ledger.faults(kills);
        pair.house.replace_worker(Role::Fetcher);
    }
    pair.end().await;
}

/// A program's flags are asked for by a person, and no message says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_reconciler_of_flags_killed_at_each_failpoint_has_each_pushed_once() {
    let test = "a_reconciler_of_flags_killed_at_each_failpoint_has_each_pushed_once";
    let Some(mut left) = in_turn(Turn::FlagReconcilers) else { return };
    let mut ledger = Ledger::begin(test, "kill -9 of flag-sync that finds what nobody asked for, at each failpoint");
    let (mut house, students) = campus(&program(failpoints::ANEW, "create-new")).await;
    let (role, mut days) = (Role::FlagSync, 10);
    house.start_worker_with(role, &[(ARMED, &armed(&left))]);
    loop {
        import(&house, failpoints::ANEW, &students, days).await;
        let asks = "UPDATE flag_program SET asked_at = now() WHERE district = $1";
        execute(&house, asks).await;
        house.services().purge_queues().await;
        let (start, mut shown) = (std::time::Instant::now(), false);
        while !shown {
            assert!(start.elapsed() < LIMIT, "the flags are not pushed, {left:?} left");
            ledger.faults(relieve(&mut house, role, &mut left));
            let asked = "SELECT count(*) FROM flag_program WHERE district = $1 AND asked_at IS NOT NULL";
            shown = failpoints::all_shown(&house, &students, days).await && count(&house, asked).await == 0;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let flags = house.sis.campus_flags();
        assert_eq!(flags.len(), students.len(), "none lost, none twice: {flags:#?}");
        if left.is_empty() {
            break;
        }
        days += 1;
        assert!(days < 16, "no reconciler reaches {left:?}");
    }
    house.close().await;
    ledger.end();
}

// --- the lists -------------------------------------------------------------------------------------------------------

/// All source of a crate, but for erasures: those are killed at each commit that one is seen to reach.
fn sources(krate: &str) -> Vec<String> {
    let mut folders = vec![binary::workspace().join(krate).join("src")];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") && !path.ends_with("erasure.rs") {
                sources.push(std::fs::read_to_string(path).unwrap());
            }
        }
    }
    sources
}

/// What an argument is named by.
#[derive(Debug)]
enum Named {
    /// This text.
    Text(String),
    /// Whoever calls the function with this name.
    Caller(String),
}

/// What `argument` stands for at the end of `before`, which is the beginning of `source`.
fn named(source: &str, before: &str, argument: &str) -> Option<Named> {
    let text = |rest: &str| Some(Named::Text(rest.split('"').next()?.to_owned()));
    if let Some(rest) = argument.strip_prefix('"') {
        return text(rest);
    }
    let after = |text: &str, what: &str| text.rfind(what).map(|at| (at, at + what.len()));
    if let Some((_, end)) = after(source, &format!("const {argument}: &str = \"")) {
        return text(&source[end..]);
    }
    let bound = after(before, &format!("let {argument} = \""));
    match (bound, after(before, &format!("{argument}: &'static str"))) {
        (bound, Some((parameter, _))) if bound.is_none_or(|(at, _)| at < parameter) => {
            let function = &before[before[..parameter].rfind("fn ")? + "fn ".len()..];
            Some(Named::Caller(function.split(['(', '<']).next()?.to_owned()))
        }
        (Some((_, end)), _) => text(&before[end..]),
        _ => None,
    }
}

/// What the store's code commits, by name: also where a function is told the name by its callers.
fn committed() -> BTreeSet<String> {
    let sources = sources("store");
    let (mut names, mut done) = (BTreeSet::new(), BTreeSet::new());
    let mut calls = vec!["tx.commit(".to_owned()];
    while let Some(call) = calls.pop() {
        if !done.insert(call.clone()) {
            continue;
        }
        for (source, at) in
            sources.iter().flat_map(|source| source.match_indices(&call).map(move |(at, _)| (source, at)))
        {
            let argument = source[at + call.len()..].trim_start();
            let argument =
                if argument.starts_with('"') { argument } else { argument.split([',', ')']).next().unwrap() };
            match named(source, &source[..at], argument) {
                Some(Named::Text(name)) => drop(names.insert(name)),
                Some(Named::Caller(function)) => calls.push(format!("self.{function}(")),
                None => assert_eq!(argument, "", "a commit whose name cannot be found: {call}{argument}"),
            }
        }
    }
    names
}

/// Every failpoint that the code has.
fn of_the_code() -> BTreeSet<String> {
    let commits = committed().into_iter().map(|name| format!("commit/{name}"));
    let kinds = Kind::ALL.iter().map(|kind| format!("publish/{}", kind.as_str()));
    let queues = Queue::ALL.iter().map(|queue| format!("ack/{}", queue.name()));
    let rows = ["flag", "old flag"].map(|row| format!("campus/{row}"));
    commits.chain(kinds).chain(queues).chain(rows).collect()
}

#[test]
fn every_failpoint_of_the_code_is_killed_at_or_named() {
    let (killed, code) = (points::killed(), of_the_code());
    assert!(code.len() > 120, "the code is read: {code:#?}");
    let named: BTreeMap<_, _> = points::NAMED.iter().copied().collect();
    let is_known = |point: &str| killed.contains(point) || named.contains_key(point) || points::only_reads(point);
    let unknown: Vec<_> = code.iter().filter(|point| !is_known(point)).collect();
    assert!(unknown.is_empty(), "killed at by no test, and not named in points.rs: {unknown:#?}");
    let listed = killed.iter().chain(named.keys()).filter(|point| !point.starts_with("replay/"));
    let gone: Vec<_> = listed.filter(|point| !code.contains(**point)).collect();
    assert!(gone.is_empty(), "listed, and no code has it: {gone:#?}");
    let both: Vec<_> = named.keys().filter(|point| killed.contains(*point)).collect();
    assert!(both.is_empty(), "killed at, and named as if it were not: {both:#?}");
    let known = |point: &&&str| killed.contains(*point) || named.contains_key(*point);
    let neither: Vec<_> = points::NOW_AND_THEN.iter().filter(|point| !known(point)).collect();
    assert!(neither.is_empty(), "reached now and then, and neither killed at nor named: {neither:#?}");
}
