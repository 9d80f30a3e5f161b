//! Each role killed at each of its moments (`rollcall_e2e::points`): once in the first night that reaches it, started
//! again, and the roster ends as in a district that was never disturbed.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rollcall_e2e::{
    House, Ledger, Pair, Role,
    house::{self, DISTRICT},
    pair::{Twin, small},
    points::{self, ARMED, armed, todays},
    services::Servers,
    until, until_told,
};
use rollcall_proto::{
    bus::{
        Bus as _, Delivery, Subscription,
        amqp::{AmqpBus, AmqpConfig},
    },
    handler::Park,
    topology::Queue,
};
use rollcall_sandbox::{AuthQuirks, CampusFlag, Quirks};

/// Longer than anything is waited for: a kill between a commit and its publish is noticed after 25 seconds, and there may
/// be several in a night.
const LIMIT: Duration = Duration::from_mins(10);

/// How long a moment that comes after the last visible effect is waited for.
const AFTERWARDS: Duration = Duration::from_secs(5);

/// Waits until the run has stopped; starts the role's worker again each time it is killed, with what is left of `points`.
pub(super) async fn through_kills(house: &mut House, role: Role, run: &str, points: &mut BTreeSet<String>) -> u64 {
    let sql = "SELECT state FROM run WHERE id = $1::uuid";
    let (mut kills, start, mut stopped) = (0, std::time::Instant::now(), None);
    // What comes after the run's end may kill as well.
    while stopped.is_none_or(|stopped: std::time::Instant| !points.is_empty() && stopped.elapsed() < AFTERWARDS) {
        assert!(start.elapsed() < LIMIT, "run {run} does not stop, {points:?} left");
        kills += relieve(house, role, points);
        let state: String = sqlx::query_scalar(sql).bind(run).fetch_one(&house.services().database).await.unwrap();
        if stopped.is_none() && !["queued", "running"].contains(&state.as_str()) {
            stopped = Some(std::time::Instant::now());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    kills
}

/// Where a worker has died at one of the moments, another takes its place, with what is left of them. How often.
pub(super) fn relieve(house: &mut House, role: Role, left: &mut BTreeSet<String>) -> u64 {
    if house.worker(role).is_running() {
        return 0;
    }
    let log = house.take_worker(role).log();
    let point = points::killed_at(&log).unwrap_or_else(|| panic!("the {role:?} died by itself:\n{log}"));
    assert!(left.remove(&point), "killed at {point}, which was not armed");
    house.start_worker_with(role, &[(ARMED, &armed(left))]);
    1
}

/// Kills the role's only worker at these points, as many in a night as it reaches, until each had its turn.
async fn killed_at_each(role: Role, test: &str) {
    let ledger = Ledger::begin(test, &format!("kill -9 of a {} at each failpoint", role.word()));
    let mut pair = Pair::begin(Servers::shared(), 31, ledger).await;
    let mut left = todays(points::of(role), 5);
    for night in 0.. {
        // With `--full`, few at a time: a message that was delivered twenty times is given up by the broker.
        let mut now: BTreeSet<String> = left.iter().take(8).cloned().collect();
        let before = now.clone();
        let mut kills = 0;
        let what = format!("night {night}, {before:?}");
        let arm = async |house: &mut House| {
            house.take_worker(role).kill();
            house.start_worker_with(role, &[(ARMED, &armed(&before))]);
        };
        let wait = async |house: &mut House, run: &str| kills = through_kills(house, role, run, &mut now).await;
        pair.disturbed_from(&what, &["succeeded"], arm, wait).await;
        pair.ledger.faults(kills);
        assert!(now.len() < before.len(), "no night reaches {now:?}");
        left.retain(|point| !before.contains(point) || now.contains(point));
        if left.is_empty() {
            break;
        }
        pair.house.replace_worker(role);
    }
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetcher_killed_at_each_failpoint_changes_nothing() {
    killed_at_each(Role::Fetcher, "a_fetcher_killed_at_each_failpoint_changes_nothing").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_classifier_killed_at_each_failpoint_changes_nothing() {
    killed_at_each(Role::Classifier, "a_classifier_killed_at_each_failpoint_changes_nothing").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_killed_at_each_failpoint_changes_nothing() {
    killed_at_each(Role::Writer, "a_writer_killed_at_each_failpoint_changes_nothing").await;
}

/// Points reached in the given logs, without the transactions that only read.
pub(super) fn reached(log: &str) -> BTreeSet<String> {
    points::reached(log).into_iter().filter(|point| !points::only_reads(point)).collect()
}

/// Fails where what was reached and what is listed differ.
pub(super) fn compare(what: &str, listed: Vec<String>, reached: &BTreeSet<String>) {
    let listed: BTreeSet<String> = listed.into_iter().collect();
    let never: Vec<_> = listed.difference(reached).collect();
    let now_and_then = |point: &str| points::NOW_AND_THEN.iter().any(|step| point.starts_with(step));
    let unlisted: Vec<_> = reached.difference(&listed).filter(|point| !now_and_then(point)).collect();
    assert!(never.is_empty() && unlisted.is_empty(), "{what}: never reached {never:#?}, not listed {unlisted:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_failpoints_is_what_a_night_reaches() {
    let mut house = House::on(Servers::shared(), small(31)).await;
    house.worker_settings = vec![(ARMED.to_owned(), "*=note".to_owned())];
    house.start_workers(1);
    // The last one changes nothing, which ends in another way.
    for night in [1, 2, 1, 1] {
        house.sis.set_night(night);
        assert_eq!(house.night().await.state, "succeeded");
    }
    // The last acknowledgement comes a little after the run has ended.
    let logs = until("the last message to be acknowledged", Duration::from_secs(20), || {
        let logs: BTreeMap<_, _> = Role::ALL.iter().map(|role| (role.word(), house.worker(*role).log())).collect();
        let is_over = logs["classifier"].contains("ack/rollcall.applied/after");
        async move { is_over.then_some(logs) }
    })
    .await;
    for role in Role::ALL {
        compare(role.word(), points::of(role), &reached(&logs[role.word()]));
    }
    house.close().await;
}

// --- flags -----------------------------------------------------------------------------------------------------------

/// A program in the district's file.
pub(super) fn program(name: &str, option: &str) -> String {
    let cutover = house::today() - chrono::Days::new(CUTOVER);
    format!("[[program]]\nname = {name:?}\nflags = true\noption = {option:?}\ncutover = {cutover}\n\n")
}

/// Days since programs went live.
const CUTOVER: u64 = 30;

/// A district on the sandbox's Campus with these programs, after a first night; some of its students.
pub(super) async fn campus(programs: &str) -> (House, Vec<String>) {
    let mut house = House::on(Servers::shared(), small(33)).await;
    let (key, secret) = house.sis.campus_vendor();
    std::fs::write(house.folder().join("vendor.secret"), secret).unwrap();
    programs.clone_into(&mut house.district.tables);
    let vendor = format!("vendor_key = {key:?}\nvendor_secret = {{ file = \"vendor.secret\" }}\n");
    "oneroster".clone_into(&mut house.district.kind);
    house.district.base_url = house.sis.campus_base_url();
    house.district.connection = format!("token_url = {:?}\n{vendor}", house.sis.campus_token_url());
    house.apply().await;
    house.start_workers(1);
    assert_eq!(house.night().await.state, "succeeded");
    let students = house.students().await.into_iter().filter(|row| row.status == "ENROLLED");
    let students = students.take(8).map(|row| row.student_id).collect();
    (house, students)
}

/// Hands documents in that begin so many days ago.
pub(super) async fn import(house: &House, program: &str, students: &[String], days: u64) {
    let begins = house::today() - chrono::Days::new(days);
    let rows = students.iter().map(|id| format!("{program}-{id},{id},{program},Plan,completed,{begins},,\n"));
    let csv: String =
        std::iter::once("document_id,student_id,program,kind,status,start,end,file\n".to_owned()).chain(rows).collect();
    let path = house.folder().join("documents.csv");
    std::fs::write(&path, csv).unwrap();
    house.rollcall(&["documents", "import", "--district", DISTRICT, &path.to_string_lossy()]).await.expect_code(0);
}

/// The program that begins anew.
pub(super) const ANEW: &str = "Special Education";

/// Whether Campus shows one flag for each, from that day on, and all are recorded as pushed.
pub(super) async fn all_shown(house: &House, students: &[String], days: u64) -> bool {
    let begins = house::today() - chrono::Days::new(days);
    let is_so = |flag: &CampusFlag| flag.begins == begins && flag.ends.is_none();
    let flags = house.sis.campus_flags();
    let sql = "SELECT count(*) FROM flag WHERE state = 'pushed' AND NOT due";
    let pushed: i64 = sqlx::query_scalar(sql).fetch_one(&house.services().database).await.unwrap();
    flags.iter().filter(|flag| is_so(flag)).count() == students.len() && pushed == students.len() as i64
}

#[tokio::test(flavor = "multi_thread")]
async fn flag_sync_killed_at_each_failpoint_pushes_each_flag_once() {
    let test = "flag_sync_killed_at_each_failpoint_pushes_each_flag_once";
    let mut ledger = Ledger::begin(test, "kill -9 of flag-sync at each failpoint, between Campus and its record too");
    let (mut house, students) = campus(&program(ANEW, "create-new")).await;
    let role = Role::FlagSync;
    // What an undisturbed push reaches is what is listed.
    house.start_worker_with(role, &[(ARMED, "*=note")]);
    import(&house, ANEW, &students, 10).await;
    let pushed = async |house: &mut House, left: &mut BTreeSet<String>, days: u64| {
        let (start, mut kills, mut shown) = (std::time::Instant::now(), 0, None);
        // What comes after the last flag may kill as well.
        while shown.is_none_or(|shown: std::time::Instant| !left.is_empty() && shown.elapsed() < AFTERWARDS) {
            if shown.is_none() && all_shown(house, &students, days).await {
                shown = Some(std::time::Instant::now());
            }
            assert!(start.elapsed() < LIMIT, "the flags are not pushed, {left:?} left");
            if !house.worker(role).is_running() {
                let log = house.take_worker(role).log();
                let point = points::killed_at(&log).unwrap_or_else(|| panic!("it died by itself:\n{log}"));
                assert!(left.remove(&point), "killed at {point}, which was not armed");
                kills += 1;
                house.start_worker_with(role, &[(ARMED, &armed(left))]);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        kills
    };
    pushed(&mut house, &mut BTreeSet::new(), 10).await;
    until("the last message to be acknowledged", Duration::from_secs(20), || {
        let is_over = house.worker(role).log().contains("ack/rollcall.flags/after");
        async move { is_over.then_some(()) }
    })
    .await;
    compare("a push", points::of(role), &reached(&house.worker(role).log()));

    // A kill while the district is held leaves a lease of a minute.
    let mut left = todays(points::of(role), 3);
    for days in 11.. {
        let mut now: BTreeSet<String> = left.iter().take(8).cloned().collect();
        let before = now.clone();
        house.take_worker(role).kill();
        house.start_worker_with(role, &[(ARMED, &armed(&now))]);
        import(&house, ANEW, &students, days).await;
        house.rollcall(&["flags", "push", "--district", DISTRICT]).await.expect_code(0);
        ledger.faults(pushed(&mut house, &mut now, days).await);
        let flags = house.sis.campus_flags();
        assert_eq!(flags.len(), students.len(), "none lost, none twice: {flags:#?}");
        assert!(now.len() < before.len(), "no push reaches {now:?}");
        left.retain(|point| !before.contains(point) || now.contains(point));
        if left.is_empty() {
            break;
        }
    }
    house.close().await;
    ledger.end();
}

// --- take-overs ------------------------------------------------------------------------------------------------------

/// A program to take over, with its id in the sandbox's Campus.
type Program = (&'static str, &'static str);

/// The moments of an approval, which is the command line's own work.
const OF_APPROVALS: [&str; 2] = ["commit/approve a take-over/before", "commit/approve a take-over/after"];

/// A district that takes programs over: every student has an old flag of each, the first half go on with a document.
struct TakenOver {
    house: House,
    students: Vec<String>,
    /// Flags that were typed into Campus since the approval, by id.
    typed_in: BTreeSet<String>,
}

impl TakenOver {
    async fn begin(programs: &[Program]) -> Self {
        let tables: String = programs.iter().map(|(name, _)| program(name, "take-over")).collect();
        let (house, students) = campus(&tables).await;
        let taken = Self { house, students, typed_in: BTreeSet::new() };
        for (name, id) in programs {
            for student in &taken.students {
                taken.type_in(&format!("old-{id}-{student}"), student, id);
            }
            import(&taken.house, name, taken.going_on(), 300).await;
        }
        taken
    }

    fn going_on(&self) -> &[String] {
        &self.students[..self.students.len() / 2]
    }

    fn type_in(&self, flag: &str, student: &str, program: &str) {
        self.house.sis.type_in_campus_flag(CampusFlag {
            id: flag.to_owned(),
            student: student.to_owned(),
            program: program.to_owned(),
            begins: house::today() - chrono::Days::new(400),
            ends: None,
            link: None,
            comment: None,
        });
    }

    /// Somebody types a flag into Campus that would have been taken over, had it been there at the approval.
    fn type_in_later(&mut self, program: &str) {
        let flag = format!("later-{}", self.typed_in.len());
        self.type_in(&flag, self.students.last().unwrap(), program);
        self.typed_in.insert(flag);
    }

    async fn count(&self, sql: &'static str, program: &str) -> i64 {
        sqlx::query_scalar(sql).bind(program).fetch_one(&self.house.services().database).await.unwrap()
    }

    async fn is_done(&self, program: &str) -> bool {
        let sql = "SELECT count(*) FROM cutover WHERE program = $1 AND done_at IS NOT NULL";
        self.count(sql, program).await == 1
    }

    /// A person looks at the plan: it is what an approval that names none approves.
    async fn shown(&self, program: &str) {
        let plan = ["flags", "plan", "--district", DISTRICT, "--program", program];
        self.house.rollcall(&plan).await.expect_code(0);
    }

    /// Approves with an armed command line, until that dies where it is to; whoever died before has the district for a
    /// while.
    async fn approval_killed(&self, program: &str, point: &str) {
        self.shown(program).await;
        let approve = ["flags", "approve", "--district", DISTRICT, "--program", program];
        let kill = armed(&[point.to_owned()].into());
        until_told("the approval to be killed", Duration::from_mins(2), || async {
            let answer = self.house.rollcall_with(&approve, &[(ARMED, &kill)]).await;
            let busy = answer.stderr.contains("is at work");
            assert!(busy || points::killed_at(&answer.stderr).as_deref() == Some(point), "{answer:#?}");
            (!busy).then_some(())
        })
        .await;
    }

    /// Nobody who goes on is without an open flag, at no time.
    fn assert_nobody_is_without(&self, program: &str) {
        let flags = self.house.sis.campus_flags().into_iter();
        let open = flags.filter(|flag| flag.program == program && flag.ends.is_none());
        let open: BTreeSet<_> = open.map(|flag| flag.student).collect();
        assert!(self.going_on().iter().all(|student| open.contains(student)), "somebody is without a flag: {open:?}");
    }

    /// What was approved has ended, once; whoever goes on has one new flag; what was typed in since is as it was.
    async fn assert_taken_over(&self, (name, id): Program) {
        let cutover = house::today() - chrono::Days::new(CUTOVER);
        let (mut old, mut new, mut later) = (0, BTreeSet::new(), BTreeSet::new());
        for flag in self.house.sis.campus_flags().into_iter().filter(|flag| flag.program == id) {
            if flag.id.starts_with("old-") {
                assert_eq!(flag.ends, cutover.pred_opt(), "{flag:?}");
                old += 1;
            } else if flag.id.starts_with("later-") {
                assert_eq!(flag.ends, None, "nobody approved the end of {flag:?}");
                later.insert(flag.id);
            } else {
                assert_eq!((flag.begins, flag.ends), (cutover, None), "{flag:?}");
                assert!(new.insert(flag.student.clone()), "two new ones: {flag:?}");
            }
        }
        assert_eq!((old, new.len()), (self.students.len(), self.going_on().len()), "none is lost");
        assert_eq!(later, self.typed_in, "all of them are there");
        let told = "SELECT count(*) FROM flag_ledger WHERE program = $1 AND action = 'take-over' AND answer = 'ended'";
        assert_eq!(self.count(told, name).await, self.students.len() as i64, "each is told once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_take_over_killed_at_each_failpoint_ends_what_was_approved() {
    let test = "a_take_over_killed_at_each_failpoint_ends_what_was_approved";
    let mut ledger = Ledger::begin(test, "kill -9 at each failpoint of a take-over, its approval included");
    let undisturbed: Program = ("Section 504", "102");
    let killed: Program = ("Advanced Learners", "103");
    let mut taken = TakenOver::begin(&[undisturbed, killed]).await;
    let role = Role::FlagSync;

    // What an undisturbed one reaches is what is listed.
    taken.house.start_worker_with(role, &[(ARMED, "*=note")]);
    taken.shown(undisturbed.0).await;
    let approve = ["flags", "approve", "--district", DISTRICT, "--program", undisturbed.0];
    taken.house.rollcall(&approve).await.expect_code(0);
    until("the first program to be taken over", Duration::from_mins(2), || async {
        taken.is_done(undisturbed.0).await.then_some(())
    })
    .await;
    until("what follows the last flag", Duration::from_secs(20), || {
        let log = taken.house.worker(role).log();
        let is_over =
            ["commit/finish a take-over/after", "ack/rollcall.flags/after"].iter().all(|one| log.contains(one));
        async move { is_over.then_some(()) }
    })
    .await;
    taken.assert_taken_over(undisturbed).await;
    // Participations may have been saved by then, by whoever looked at the documents before.
    let of_its_own = |point: &String| !point.starts_with("commit/save participations");
    let listed = [points::of(role), points::of_take_overs()].concat().into_iter().filter(of_its_own).collect();
    let reached = reached(&taken.house.worker(role).log()).into_iter().filter(of_its_own).collect();
    compare("a take-over", listed, &reached);

    let mut left = todays(points::of_take_overs(), 2);
    taken.house.take_worker(role).kill();
    for point in OF_APPROVALS {
        taken.approval_killed(killed.0, point).await;
        ledger.faults(1);
        let fixed = taken.count("SELECT count(*) FROM cutover_flag WHERE program = $1", killed.0).await;
        let expected = if point.ends_with("after") { taken.students.len() } else { 0 };
        assert_eq!(fixed, expected as i64, "{point}: whole or not there");
    }
    taken.type_in_later(killed.1);
    taken.house.start_worker_with(role, &[(ARMED, &armed(&left))]);
    let (start, mut done) = (std::time::Instant::now(), None);
    // What comes after the last flag may kill as well.
    while done.is_none_or(|done: std::time::Instant| !left.is_empty() && done.elapsed() < AFTERWARDS) {
        assert!(start.elapsed() < LIMIT, "the program is not taken over, {left:?} left");
        taken.assert_nobody_is_without(killed.1);
        if done.is_none() && taken.is_done(killed.0).await {
            done = Some(std::time::Instant::now());
        }
        if !taken.house.worker(role).is_running() {
            let log = taken.house.take_worker(role).log();
            let point = points::killed_at(&log).unwrap_or_else(|| panic!("it died by itself:\n{log}"));
            assert!(left.remove(&point), "killed at {point}, which was not armed");
            ledger.faults(1);
            taken.type_in_later(killed.1);
            taken.house.start_worker_with(role, &[(ARMED, &armed(&left))]);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(left.is_empty(), "no take-over reaches {left:?}");
    taken.assert_taken_over(killed).await;
    taken.house.close().await;
    ledger.end();
}

// --- replays ---------------------------------------------------------------------------------------------------------

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
    house.check_roster().await;
    ledger.compare(test, &undisturbed, &house.facts().await);
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

async fn bus(house: &House) -> AmqpBus {
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
