//! Replays by a command that dies in the middle of it: of a run, from each of its stages, of messages and of students that were
//! parked. Each is whole or not there, and the roster ends as in a district that was never disturbed.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{collections::BTreeSet, time::Duration};

use rollcall_e2e::{
    House, Ledger, Pair, Role,
    house::DISTRICT,
    pair::{Twin, small},
    points::{self, ARMED, armed, todays},
    services::Servers,
    until, until_told,
    watch::{Watch, statuses_of},
};
use rollcall_proto::{
    bus::{
        Bus as _, Delivery, Subscription,
        amqp::{AmqpBus, AmqpConfig},
    },
    handler::Park,
    topology::Queue,
};
use rollcall_sandbox::{AuthQuirks, Quirks};

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_killed_half_way_is_whole_or_not_there() {
    let test = "a_replay_killed_half_way_is_whole_or_not_there";
    let mut ledger = Ledger::begin(test, "kill -9 half-way through `runs replay`");
    let mut house = House::on(Servers::shared(), small(35)).await;
    house.start_workers(1);
    assert_eq!(house.night().await.state, "succeeded");
    let twin = Twin::beside(&house, small(35)).await;
    twin.night(&house, 1).await;
    let undisturbed = twin.night(&house, 2).await;
    house.sis.set_night(2);
    let watch = Watch::begin(&house.services().database, DISTRICT, statuses_of(&house.sis, &[1, 2]));
    let beside = twin.begin(&house);
    let preview = house.rollcall(&["run", DISTRICT, "--plan", "--wait", "--format", "json"]).await.expect_code(0);
    let mut last = house.show(preview.json()[0]["run"].as_str().unwrap()).await;
    let hash = last.plan_hash.clone();
    // Nobody can be asked any more: what the store kept has to do.
    let gone = AuthQuirks { access_expired: true, ..AuthQuirks::default() };
    house.sis.set_quirks(Quirks { auth: gone, ..Quirks::default() });
    for point in points::of_replays() {
        let before = house.runs().await.len();
        let kill = armed(&[point.clone()].into());
        let killed = house.rollcall_with(&["runs", "replay", &last.run, "--from", "plan"], &[(ARMED, &kill)]).await;
        assert_eq!(points::killed_at(&killed.stderr).as_ref(), Some(&point), "{killed:#?}");
        ledger.faults(1);
        let is_there = house.runs().await.len() > before;
        assert_eq!(is_there, !point.starts_with("commit/replay a run/before"), "{point}: whole or not there");
        if !is_there {
            continue;
        }
        // Nobody asked for its plan, perhaps; the reconciler does.
        let made = house.runs().await[0]["run"].as_str().unwrap().to_owned();
        last = house.ended(&made).await;
        assert_eq!((last.state.as_str(), &last.plan_hash), ("held", &hash), "{point}: {last:#?}");
    }
    house.sis.set_quirks(Quirks::default());
    house.rollcall(&["runs", "approve", &last.run, "--wait"]).await.expect_code(0);
    ledger.run(test, &watch.end().await);
    beside.check(&house, test).await;
    house.check_roster().await;
    ledger.compare(test, &undisturbed, &house.facts().await);
    twin.end().await;
    house.close().await;
    ledger.end();
}

/// Nobody makes up for what is lost: the command alone brings a run to its end.
async fn without_reconcilers(seed: u64, test: &str, disturbance: &str) -> Pair {
    let ledger = Ledger::begin(test, disturbance);
    let alone = async |house: &mut House| {
        house.worker_settings = vec![("ROLLCALL_LOST_AFTER_SECONDS".to_owned(), "600".to_owned())];
    };
    Pair::begin_with(Servers::shared(), seed, ledger, alone).await
}

/// A command that dies at this moment.
async fn command_killed(house: &House, args: &[&str], point: &str) {
    let kill = armed(&[point.to_owned()].into());
    let killed = house.rollcall_with(args, &[(ARMED, &kill)]).await;
    assert_eq!(points::killed_at(&killed.stderr).as_deref(), Some(point), "{args:?}: {killed:#?}");
}

pub(super) async fn bus(house: &House) -> AmqpBus {
    AmqpBus::connect(AmqpConfig::new(house.services().amqp_url())).await.unwrap()
}

/// Takes so many of the district's messages out of a queue; those of others go back with what they came by.
async fn taken(house: &House, queue: Queue, number: usize) -> (Box<dyn Subscription>, Vec<Delivery>) {
    let mut subscription = bus(house).await.subscribe(queue, 500).await.unwrap();
    let mut own = Vec::new();
    while own.len() < number {
        let delivery = tokio::time::timeout(Duration::from_mins(1), subscription.next()).await.unwrap().unwrap();
        if delivery.message.as_ref().is_ok_and(|message| message.district.as_str() == DISTRICT) {
            own.push(delivery);
        }
    }
    (subscription, own)
}

/// Parks healthy messages, as a worker does that tried as often as it may while the database was away.
async fn park(house: &House, queue: Queue, number: usize) {
    let (mut subscription, own) = taken(house, queue, number).await;
    let why = Park { reason: "store-unavailable", detail: "the database was away".to_owned() };
    for delivery in own {
        subscription.park(&delivery, &why).await.unwrap();
    }
}

async fn lose(house: &House, queue: Queue, number: usize) {
    let (mut subscription, own) = taken(house, queue, number).await;
    subscription.ack_all(own).await.unwrap();
}

/// Puts what is parked back to work, by commands that die in the midst of it and one that does not. How often one died.
async fn replayed_through_kills(house: &House, queue: Queue, number: usize) -> u64 {
    let parked = async || -> BTreeSet<String> {
        let listed =
            house.rollcall(&["queues", "parked", queue.word(), "--format", "json"]).await.expect_code(0).json();
        listed.as_array().unwrap().iter().map(|row| row["message"].as_str().unwrap().to_owned()).collect()
    };
    let ids = until_told("all of them to be parked", Duration::from_secs(30), || async {
        let ids = parked().await;
        (ids.len() == number).then_some(ids)
    })
    .await;
    let points = points::of_parked_replays(queue.name());
    for point in &points {
        command_killed(house, &["queues", "replay", queue.word()], point).await;
        // One of them is at work beside, where the command died after it had published it.
        until_told("what the command held to be parked again", Duration::from_secs(30), || async {
            (parked().await == ids).then_some(())
        })
        .await;
    }
    house.rollcall(&["queues", "replay", queue.word(), "--wait"]).await.expect_code(0);
    assert_eq!(parked().await, BTreeSet::new());
    points.len() as u64
}

async fn number(house: &House, sql: &'static str, run: &str) -> i64 {
    sqlx::query_scalar(sql).bind(run).fetch_one(&house.services().database).await.unwrap()
}

/// Waits until all that a run's plan changes lies in the writer's queue: how many messages.
async fn released(house: &House, run: &str) -> usize {
    until("all its events to be published", Duration::from_mins(1), || async {
        let sql = "SELECT count(*) FROM run r JOIN plan_batch b ON b.district = r.district AND b.run = r.id \
                   WHERE r.id = $1::uuid AND r.stage = 'release' AND b.published_at IS NOT NULL AND NOT EXISTS \
                   (SELECT 1 FROM plan_batch p WHERE p.run = r.id AND p.published_at IS NULL)";
        usize::try_from(number(house, sql, run).await).ok().filter(|batches| *batches > 0)
    })
    .await
}

/// Pages and students' changes of an open run, put back to work by a command that dies in the middle of it: a message is whole,
/// and counts once, though one is at work and parked at the same time.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_of_parked_messages_killed_half_way_loses_none() {
    let test = "a_replay_of_parked_messages_killed_half_way_loses_none";
    let mut pair = without_reconcilers(36, test, "kill -9 half-way through `queues replay`").await;
    let mut faults = 0;
    let nobody_takes_them = async |house: &mut House| {
        for role in [Role::Classifier, Role::Writer] {
            house.take_worker(role).kill();
        }
    };
    pair.disturbed_from("parked pages and events", &["succeeded"], nobody_takes_them, async |house, run| {
        park(house, Queue::Collect, 5).await;
        house.start_worker(Role::Classifier);
        faults += replayed_through_kills(house, Queue::Collect, 5).await;
        let batches = released(house, run).await;
        park(house, Queue::Write, batches).await;
        house.start_worker(Role::Writer);
        faults += replayed_through_kills(house, Queue::Write, batches).await;
    })
    .await;
    pair.ledger.faults(faults);
    pair.end().await;
}

/// Students whom the database refused, tried again by a command that dies in the middle of it: each is written once, and the
/// run's counts say so at any moment.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_of_parked_students_killed_half_way_writes_each_once() {
    let test = "a_replay_of_parked_students_killed_half_way_writes_each_once";
    let ledger = Ledger::begin(test, "kill -9 half-way through `queues replay write` of parked students");
    let mut pair = Pair::begin(Servers::shared(), 38, ledger).await;
    let mut faults = 0;
    // Whatever the next run writes of the district's students.
    let refuse = async |house: &mut House| {
        let last = "SELECT max(seq) FROM run WHERE district = $1";
        let last = number(house, last, DISTRICT).await;
        let add = format!(
            "ALTER TABLE student ADD CONSTRAINT unlucky CHECK (district <> '{DISTRICT}' OR run_seq <= {last}) NOT VALID"
        );
        sqlx::query(sqlx::AssertSqlSafe(add)).execute(&house.services().database).await.unwrap();
    };
    pair.disturbed_from("parked students", &["succeeded"], refuse, async |house, run| {
        let ended = house.ended(run).await;
        assert_eq!((ended.state.as_str(), ended.applied), ("partial", 0), "{ended:#?}");
        assert!(ended.parked > 12, "more than two steps of them: {ended:#?}");
        let drop = "ALTER TABLE student DROP CONSTRAINT unlucky";
        sqlx::query(drop).execute(&house.services().database).await.unwrap();
        let mut written = 0;
        for point in points::of_student_replays() {
            command_killed(house, &["queues", "replay", "write", "--run", run], &point).await;
            faults += 1;
            written += u64::from(point == "commit/replay parked events/after");
            let now = house.show(run).await;
            assert_eq!((now.applied, now.parked), (written, ended.parked - written), "{point}: whole or not there");
            now.check_counts();
            let listed = house.rollcall(&["queues", "parked", "write", "--format", "json"]).await.expect_code(0).json();
            assert_eq!(listed.as_array().unwrap().len() as u64, now.parked, "{point}");
        }
        house.rollcall(&["queues", "replay", "write", "--run", run]).await.expect_code(0);
        let corrected = house.show(run).await;
        assert_eq!((corrected.state.as_str(), corrected.applied, corrected.parked), ("succeeded", ended.parked, 0));
        house.check_roster().await;
    })
    .await;
    pair.ledger.faults(faults);
    pair.end().await;
}

/// The run of the district that was made last.
async fn newest(house: &House) -> String {
    let sql = "SELECT id::text FROM run WHERE district = $1 ORDER BY seq DESC LIMIT 1";
    sqlx::query_scalar(sql).bind(DISTRICT).fetch_one(&house.services().database).await.unwrap()
}

/// A killed command has left a run, perhaps, and nobody at work on it: this goes on, from there. The run that is the last one then.
async fn brought_to_its_end(house: &House, before: &str, from: &str) -> String {
    let made = newest(house).await;
    if made == before {
        return made;
    }
    // Where the command had sent word of it before it died, the run may be further, so that this is refused, or at its end, so that
    // it is repeated.
    house.rollcall(&["runs", "replay", &made, "--from", from]).await;
    let last = newest(house).await;
    for run in [&made, &last] {
        let ended = house.ended(run).await;
        assert_eq!((ended.state.as_str(), ended.events()), ("succeeded", 0), "{ended:#?}");
    }
    last
}

/// A stage of an open run starts again out of what the store kept, by a command that dies in the middle of it.
async fn stages_of_an_open_run(pair: &mut Pair, points: impl Fn(&str) -> Vec<String>) {
    let (fetch, release) = (points("fetch of an open run"), points("release"));
    let faults = (fetch.len() + release.len()) as u64;
    let nobody_works = async |house: &mut House| {
        for role in [Role::Fetcher, Role::Writer] {
            house.take_worker(role).kill();
        }
    };
    pair.disturbed_from("fetch, release", &["succeeded"], nobody_works, async |house, run| {
        let replay = async |house: &House, from: &str, points: Vec<String>| {
            for point in points {
                command_killed(house, &["runs", "replay", run, "--from", from], &point).await;
            }
            house.rollcall(&["runs", "replay", run, "--from", from]).await.expect_code(0);
        };
        lose(house, Queue::Fetch, 1).await;
        replay(house, "fetch", fetch).await;
        house.start_worker(Role::Fetcher);
        let batches = released(house, run).await;
        lose(house, Queue::Write, batches).await;
        replay(house, "release", release).await;
        house.start_worker(Role::Writer);
    })
    .await;
    pair.ledger.faults(faults);
}

/// A run that has ended is repeated, by a command that dies in the middle of it: there is another run then, whole, or none.
async fn stages_of_an_ended_run(pair: &mut Pair, points: impl Fn(&str) -> Vec<String>) {
    let mut faults = 0;
    pair.disturbed("fetch, collect, plan", &["succeeded"], async |house, run| {
        assert_eq!(house.ended(run).await.state, "succeeded");
        let mut last = run.to_owned();
        for (stage, from, then) in [("fetch of an ended run", "fetch", "fetch"), ("collect", "collect", "plan")] {
            for point in points(stage) {
                command_killed(house, &["runs", "replay", &last, "--from", from], &point).await;
                let made = newest(house).await != last;
                let is_late = !point.ends_with("/before") || point.starts_with("publish/");
                assert_eq!(made, is_late && !point.starts_with("commit/write"), "{stage}, {point}: whole or not there");
                last = brought_to_its_end(house, &last, then).await;
                faults += 1;
            }
        }
        for point in points("plan of an open run") {
            command_killed(house, &["runs", "replay", &last, "--from", "collect"], "commit/replay a run/after").await;
            let made = newest(house).await;
            command_killed(house, &["runs", "replay", &made, "--from", "plan"], &point).await;
            last = brought_to_its_end(house, &last, "plan").await;
            faults += 2;
        }
    })
    .await;
    pair.ledger.faults(faults);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_from_each_stage_killed_half_way_ends_as_undisturbed() {
    let test = "a_replay_from_each_stage_killed_half_way_ends_as_undisturbed";
    let chosen = todays(points::of_replays_from(), 4);
    let of = |stage: &str| -> Vec<String> {
        let own = chosen.iter().filter_map(|point| point.split_once(": ").filter(|(of, _)| *of == stage));
        own.map(|(_, point)| point.to_owned()).collect()
    };
    let mut pair = without_reconcilers(39, test, "kill -9 half-way through `runs replay` from each stage").await;
    stages_of_an_open_run(&mut pair, of).await;
    stages_of_an_ended_run(&mut pair, of).await;
    pair.end().await;
}
