//! `rollcall demo`, the first thing a person tries. What it shows is a person's to read; what it logs and measures tells nothing of the
//! students that it invents.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{collections::BTreeSet, path::Path, time::Duration};

use rollcall_e2e::{Answer, Process, binary, canaries, overheard::Overheard, until};
use rollcall_sandbox::{Sandbox, SandboxConfig};

/// What must be in no log of a demo that has kept this directory: facts of its store, and its secrets.
struct Canaries {
    facts: BTreeSet<String>,
    secrets: BTreeSet<String>,
}

impl Canaries {
    async fn of(dir: &Path) -> Self {
        let facts = canaries::facts_in(&dir.join("store.db")).await;
        assert!(facts.len() > 100, "the roster has facts: {}", facts.len());
        let key = std::fs::read_to_string(dir.join("key")).unwrap().trim().to_owned();
        // All sandboxes have the same ones.
        let sis = Sandbox::start(SandboxConfig { students: 1, ..SandboxConfig::default() }).await.unwrap();
        let mut secrets = canaries::sis_secrets(&sis, sis.client_id(), sis.client_secret());
        secrets.push(key);
        sis.shutdown().await;
        Self { facts, secrets: secrets.into_iter().collect() }
    }

    fn assert_untold(&self, place: &str, text: &str) {
        canaries::assert_untold([&(place.to_owned(), text.to_owned())], &self.facts, &self.secrets);
    }
}

/// What is to be typed next, in the order told.
fn commands(told: &str) -> Vec<String> {
    let program = binary::rollcall().to_string_lossy();
    told.lines().map(str::trim).filter(|line| line.starts_with(&*program)).map(str::to_owned).collect()
}

/// A line's words, without what differs from day to day and with the size of the district: numbers, ids, addresses, bars,
/// statuses, rules, names, and where the program lies.
fn shape(line: &str) -> String {
    if line.contains(" by demo, run ") {
        return "a line of a history".to_owned();
    }
    if line.contains(" -> ") && line.contains("(rule ") {
        return "a change".to_owned();
    }
    let line = line.split_once("and sees \"").and_then(|(_, seen)| seen.split_once(':')).map_or(line, |(_, rest)| rest);
    line.split_whitespace().filter_map(word).collect::<Vec<_>>().join(" ")
}

/// A word, if it is the same every day.
fn word(word: &str) -> Option<String> {
    if word.ends_with("/rollcall") {
        return Some("rollcall".to_owned());
    }
    let is_bar = word.chars().all(|letter| "█·".contains(letter));
    let is_status = ["ENROLLED", "PRE_ENROLLED", "GRADUATED", "INACTIVE"].contains(&word);
    let differs = is_bar || is_status || word.chars().any(|letter| letter.is_ascii_digit());
    (!differs).then(|| word.replace("pages", "page"))
}

/// The number before a word of a line that begins so.
fn number(lines: &[&str], begin: &str, word: &str) -> u64 {
    let line = lines.iter().find(|line| line.trim_start().starts_with(begin)).unwrap_or_else(|| panic!("no {begin}"));
    let before = line.split(word).next().and_then(|text| text.split_whitespace().last());
    before.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no number before {word} in {line}"))
}

/// Students in the roster that is shown next: the sum over all statuses.
fn in_roster(lines: &[&str]) -> u64 {
    let from = lines.iter().position(|line| line.trim() == "the roster now:").expect("a roster is shown");
    let rows = &lines[from + 1..from + 5];
    let statuses: Vec<_> = rows.iter().filter_map(|row| row.split_whitespace().next()).collect();
    assert_eq!(statuses.len(), 4, "{rows:?}");
    rows.iter().map(|row| row.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()).sum()
}

/// Each night tells what came in, what was planned, and how long its stages took; rosters, changes and history agree.
fn check_nights(told: &str) {
    let lines: Vec<&str> = told.lines().collect();
    let begins =
        |title: &str| lines.iter().position(|line| line.starts_with(title)).unwrap_or_else(|| panic!("{title}"));
    let (first, second) = (begins("First night"), begins("Second night"));
    let (third, traced) = (begins("Third night"), begins("The first night, traced"));
    let nights = [&lines[first..second], &lines[second..third], &lines[third..traced]];
    for night in nights {
        let listed = number(night, "came in: ", " students listed");
        assert!(
            number(night, "came in: ", " pages") > 10 && number(night, "came in: ", " rows") > listed,
            "{night:#?}"
        );
    }
    for night in &nights[..2] {
        let took = night.iter().find(|line| line.starts_with("  took ")).expect("how long it took");
        assert_eq!(shape(took), "took s in all: pull s, plan s, write s", "{took}");
    }
    let added = nights.map(|night| number(night, "planned: ", " added"));
    assert_eq!(in_roster(nights[0]), added[0], "all of the first night are in the roster");
    assert_eq!(in_roster(nights[2]), added[0] + added[1], "nobody is deleted, and the third night wrote nothing");
    let changed = nights[1].iter().filter(|line| line.contains(" -> ") && line.contains("(rule ")).count();
    assert!((1..=5).contains(&changed), "statuses that changed: {:#?}", nights[1]);
    let history = nights[1].iter().skip_while(|line| !line.contains("the history of student ")).skip(1);
    let history: Vec<_> = history.filter(|line| line.contains(" by demo, run ")).collect();
    assert!(history.len() >= 2, "added on the first night, changed on the second: {:#?}", nights[1]);
    let tree = &lines[traced + 1..begins("The whole circle")];
    for part in ["run ", "  pull ", "connection 1 ", "Student/Student ", "  plan ", "  write "] {
        assert!(tree.iter().any(|line| line.contains(part) && line.contains(" s ")), "{part}: {tree:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_shows_three_nights_and_the_whole_circle_and_cleans_up() {
    let folder = tempfile::tempdir().unwrap();
    let settings = [("TMPDIR".to_owned(), folder.path().to_string_lossy().into_owned())];
    let answer = Answer::of(folder.path(), &["demo", "--students", "300"], &settings).await.expect_code(0);
    let parts = [
        "First night",
        "Second night",
        "Third night",
        "ENROLLED",
        "INACTIVE",
        "GRADUATED",
        "held",
        "The whole circle",
        "a roster comes in over OneRoster 1.2",
        "a plan document completes: IEP of student",
        "the flag appears in Campus after",
        "/lti/campus-isd/launch?flag=",
        "POST /lti/campus-isd/login 302 > GET /auth 200 > POST /lti/campus-isd/launch 200",
        "with \"Individualized Education Program\" in it",
        "the access log has it: sandbox-counselor shown",
        "GRADUATED",
    ];
    for part in parts {
        assert!(answer.stdout.contains(part), "{part} is missing in:\n{}", answer.stdout);
    }
    assert!(answer.stdout.lines().count() < 100, "it stays readable:\n{}", answer.stdout);
    check_nights(&answer.stdout);
    check_readme(&answer.stdout);
    let progress = |begin: &str| answer.stderr.lines().filter(|line| line.starts_with(begin)).count();
    assert!(progress("pull") >= 4 && progress("write: ") >= 2, "progress of four runs: {}", answer.stderr);
    let next = commands(&answer.stdout);
    let keep = format!("{} demo --students 300 --keep --dir ", binary::rollcall().display());
    assert!(next[0].starts_with(&keep), "nothing is kept, so how to keep it comes first: {next:#?}");
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert!(left.is_empty(), "the demo keeps nothing: {left:?}");
    // One that is kept has the same students.
    let dir = folder.path().join("kept");
    let kept = ["demo", "--students", "300", "--dir", dir.to_str().unwrap()];
    Answer::of(folder.path(), &kept, &settings).await.expect_code(0);
    Canaries::of(&dir).await.assert_untold("standard error", &answer.stderr);
}

/// README.md shows what the demo prints; a line with an ellipsis alone stands for lines that it leaves out.
fn check_readme(told: &str) {
    let page = std::fs::read_to_string(binary::workspace().join("README.md")).unwrap();
    let block = page.split("## What the demo shows\n\n```\n").nth(1).and_then(|rest| rest.split("```").next());
    let shown: Vec<&str> = block.expect("README.md shows the demo").lines().collect();
    let told: Vec<String> = told.lines().map(shape).collect();
    let mut from = 0;
    for part in shown.split(|line| line.trim() == "…") {
        let part: Vec<String> = part.iter().map(|line| shape(line)).collect();
        let found = told[from..].windows(part.len()).position(|lines| lines == part);
        from += found.unwrap_or_else(|| panic!("README.md shows {part:#?}, and the demo has\n{:#?}", &told[from..]));
        from += part.len();
    }
    assert_eq!(from, told.len(), "its end is shown too");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_demo_can_be_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("demo");
    let dir = path.to_str().unwrap();
    let overheard = Overheard::start().await;
    let args = ["-v", "demo", "--students", "120", "--dir", dir];
    let Answer { stdout: told, stderr: log, .. } =
        Answer::of(folder.path(), &args, &overheard.settings()).await.expect_code(0);
    let canaries = Canaries::of(&path).await;
    assert!(log.lines().count() > 20 && overheard.count() > 100, "{} spans, and a log: {log}", overheard.count());
    canaries.assert_untold("standard error", &log);
    overheard.texts().iter().for_each(|(place, text)| canaries.assert_untold(place, text));
    let list = |district: &'static str| ["--dir", dir, "runs", "list", "--district", district, "--format", "json"];
    for (district, expected) in [("demo-isd", &["held", "succeeded", "succeeded"][..]), ("campus-isd", &["succeeded"])]
    {
        let runs = Answer::of(folder.path(), &list(district), &[]).await.expect_code(0);
        let states: Vec<_> = runs.json().as_array().unwrap().iter().map(|run| run["state"].clone()).collect();
        assert_eq!(states, expected);
    }
    // As pasted, remarks and all.
    let next = commands(&told);
    let parts = ["held: ", "student_id", "write ", "GRADUATED", "Special Education"];
    assert_eq!(next.len(), parts.len(), "{next:#?}");
    for (line, part) in next.iter().zip(parts) {
        let answer = Answer::of_shell(folder.path(), line, &[]).await.expect_code(0);
        assert!(answer.stdout.contains(part), "{line}: {}", answer.stdout);
        canaries.assert_untold(line, &answer.stderr);
    }
}

/// What a demo that kept nothing says to type next keeps it: the platform's page stays up, and a person finds the flag there
/// and clicks it.
#[tokio::test(flavor = "multi_thread")]
async fn a_kept_demo_stays_up_to_be_clicked_by_hand() {
    let folder = tempfile::tempdir().unwrap();
    let settings = [("TMPDIR".to_owned(), folder.path().to_string_lossy().into_owned())];
    let told = Answer::of(folder.path(), &["demo", "--students", "60"], &settings).await.expect_code(0).stdout;
    let next = commands(&told);
    let (keep, looks) = next.split_first().expect("it says what to type next");
    let errors = folder.path().join("demo.errors");
    let keep_apart = format!("{keep} 2>{}", errors.display());
    let mut demo = Process::attended("demo", folder.path(), &keep_apart, &settings);
    let limit = Duration::from_mins(2);
    let page = until("the demo to say where to click", limit, || {
        let log = demo.log();
        let told =
            log.split("by hand, open ").nth(1).and_then(|rest| rest.split_whitespace().next().map(str::to_owned));
        async move { told }
    })
    .await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let students = client.get(&page).send().await.unwrap().text().await.unwrap();
    let href = students.split("href=\"/flag?").nth(1).and_then(|rest| rest.split('"').next()).expect("a flag");
    let click = format!("{page}flag?{}", href.replace("&amp;", "&"));
    let login = client.get(click).send().await.unwrap().text().await.unwrap();
    assert!(login.contains("/lti/campus-isd/login") && login.contains("launch?flag="), "{login}");
    assert!(demo.is_running());
    for line in looks {
        let answer = Answer::of_shell(folder.path(), line, &settings).await.expect_code(0);
        assert!(answer.stdout.lines().count() > 3, "{line}: {}", answer.stdout);
    }
    assert!(demo.enter(limit).await.success());
    Answer::of_shell(folder.path(), &looks[0], &settings).await.expect_code(0);
    let dir = keep.split("--dir ").nth(1).and_then(|rest| rest.split_whitespace().next()).expect("where it is kept");
    let log = std::fs::read_to_string(&errors).unwrap();
    assert!(log.contains("pull"), "progress at least: {log}");
    Canaries::of(Path::new(dir.trim_matches('\''))).await.assert_untold("standard error", &log);
}
