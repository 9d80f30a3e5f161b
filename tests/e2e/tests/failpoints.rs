//! Each role killed at each of its moments (`rollcall_e2e::points`): once in the first night that reaches it, started
//! again, and the roster ends as in a district that was never disturbed.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{collections::BTreeSet, time::Duration};

use rollcall_e2e::{
    House, Ledger, Pair, Role,
    house::{self, DISTRICT},
    pair::small,
    points::{self, ARMED, armed, todays},
    services::Servers,
    until, until_told,
};
use rollcall_sandbox::CampusFlag;

/// Longer than anything is waited for: a kill between a commit and its publish is noticed after 25 seconds, and there may
/// be several in a night.
const LIMIT: Duration = Duration::from_mins(10);

/// How long a moment that comes after the last visible effect is waited for.
pub(super) const AFTERWARDS: Duration = Duration::from_secs(15);

/// Longer than it takes until what is due and has no message is asked for again.
const ASKED_AGAIN: Duration = Duration::from_mins(2);

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
    if !points.is_empty() {
        // What was not reached here is not to kill anybody in the undisturbed night that follows.
        house.replace_worker(role);
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

/// Nights in a row that may reach none of what is left: where the last pages are as they were, the fetcher and not the classifier finds
/// that a run is pulled.
const IN_VAIN: u32 = 5;

/// Kills the role's only worker at these points, as many in a night as it reaches, until each had its turn.
async fn killed_at_each(role: Role, test: &str) {
    let ledger = Ledger::begin(test, &format!("kill -9 of a {} at each failpoint", role.word()));
    let mut pair = Pair::begin(Servers::shared(), 31, ledger).await;
    let (mut left, mut in_vain) = (todays(points::of(role), 5), 0);
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
        in_vain = if now.len() < before.len() { 0 } else { in_vain + 1 };
        assert!(in_vain < IN_VAIN, "no night reaches {now:?}");
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

/// Fails where what is reached and what is listed differ. The last of it may come a while after what it is about is seen: a
/// message that finds the district taken is done, and the reconciler asks again.
pub(super) async fn compare(what: &str, listed: Vec<String>, mut reached: impl FnMut() -> BTreeSet<String>) {
    let listed: BTreeSet<String> = listed.into_iter().collect();
    let start = std::time::Instant::now();
    let reached = loop {
        let reached = reached();
        if listed.is_subset(&reached) || start.elapsed() > ASKED_AGAIN {
            break reached;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let never: Vec<_> = listed.difference(&reached).collect();
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
    for role in Role::ALL {
        compare(role.word(), points::of(role), || reached(&house.worker(role).log())).await;
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
    let (mut house, everybody) = campus(&program(ANEW, "create-new")).await;
    let mut students = everybody[..3].to_vec();
    let role = Role::FlagSync;
    // What an undisturbed push reaches is what is listed.
    house.start_worker_with(role, &[(ARMED, "*=note")]);
    import(&house, ANEW, &students, 10).await;
    let pushed = async |house: &mut House, students: &[String], left: &mut BTreeSet<String>, days: u64| {
        let (start, mut kills, mut shown) = (std::time::Instant::now(), 0, None);
        // What comes after the last flag may kill as well, where a message found the district taken only when it is asked for again.
        while shown.is_none_or(|shown: std::time::Instant| !left.is_empty() && shown.elapsed() < ASKED_AGAIN) {
            if shown.is_none() && all_shown(house, students, days).await {
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
    pushed(&mut house, &students, &mut BTreeSet::new(), 10).await;
    compare("a push", points::of(role), || reached(&house.worker(role).log())).await;

    // A kill while the district is held leaves a lease of a minute.
    let mut left = todays(points::of(role), 3);
    for days in 11.. {
        let mut now: BTreeSet<String> = left.iter().take(8).cloned().collect();
        let before = now.clone();
        house.take_worker(role).kill();
        house.start_worker_with(role, &[(ARMED, &armed(&now))]);
        // Some flags are changed, and one is new.
        students.extend(everybody.get(students.len()).cloned());
        import(&house, ANEW, &students, days).await;
        house.rollcall(&["flags", "push", "--district", DISTRICT]).await.expect_code(0);
        ledger.faults(pushed(&mut house, &students, &mut now, days).await);
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
    // Participations may have been saved by then, by whoever looked at the documents before.
    let of_its_own = |point: &String| !point.starts_with("commit/save participations");
    let listed = [points::of(role), points::of_take_overs()].concat().into_iter().filter(of_its_own).collect();
    let mut log = || taken.house.worker(role).log();
    compare("a take-over", listed, || reached(&log()).into_iter().filter(of_its_own).collect()).await;
    taken.assert_taken_over(undisturbed).await;

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
