//! What a person is told to type next, and where nothing moves although a command was obeyed.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::time::Duration;

use rollcall_e2e::{
    Answer, House, Proxy, Role, RunRow,
    house::{self, DISTRICT},
    proxy::Weather,
    until, until_told,
};
use rollcall_sandbox::{PagingQuirks, Quirks, SandboxConfig};
use url::Url;

fn sis() -> SandboxConfig {
    SandboxConfig { students: 60, seed: 5, today: house::today(), ..SandboxConfig::default() }
}

const NO_RUN: &str = "00000000-0000-7000-8000-000000000000";

/// A district with a roster, and a run of it that waits for a person.
async fn held() -> (House, String) {
    let house = House::embedded(sis()).await;
    assert_eq!(house.night().await.state, "succeeded");
    house.sis.set_night(3);
    let held = house.night().await;
    assert_eq!(held.state, "held", "{held:#?}");
    (house, held.run)
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_hosts_the_directory_a_command_that_was_obeyed_says_so() {
    let (house, held) = held().await;
    let hint = |answer: &Answer| {
        let says = answer.stderr.contains("no process hosts") && answer.stderr.contains("rollcall serve --dir ");
        (says, answer.text())
    };
    let approved = house.rollcall(&["runs", "approve", &held]).await.expect_code(0);
    assert!(hint(&approved).0, "{}", hint(&approved).1);
    let again = house.rollcall(&["runs", "replay", &house.begin().await, "--from", "fetch"]).await.expect_code(0);
    assert!(hint(&again).0, "{}", hint(&again).1);
    // Where somebody does, nothing needs to be said.
    let mut server = house.start("serve", &["serve"]);
    until_told("the server to host", Duration::from_mins(1), || async {
        let doctor = house.rollcall(&["doctor"]).await;
        doctor.stdout.contains("a process hosts this directory").then_some(())
    })
    .await;
    let run = house.rollcall(&["run", DISTRICT]).await.expect_code(0);
    assert!(!hint(&run).0, "{}", hint(&run).1);
    server.terminate(Duration::from_secs(30)).await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_to_type_next_name_the_directory_and_the_file_again() {
    let (house, held) = held().await;
    let settings: Vec<_> = house.settings().into_iter().filter(|(name, _)| name != "ROLLCALL_DIR").collect();
    std::fs::write(house.folder().join("mine.toml"), "").unwrap();
    let with = ["--dir", "data", "--config", "mine.toml"];
    let told = async |args: &[&str], code| {
        let answer = Answer::of(house.folder(), &[&with, args].concat(), &settings).await.expect_code(code);
        answer.text()
    };
    let repeated = |words: &str| format!("rollcall --dir data --config mine.toml {words}");
    let text = told(&["runs", "show", &held], 0).await;
    for verb in ["plan", "approve", "discard"] {
        assert!(text.contains(&repeated(&format!("runs {verb} {held}"))), "{text}");
    }
    let text = told(&["runs", "show", NO_RUN], 1).await;
    assert!(text.contains(&format!("`{}`", repeated("runs list"))), "{text}");
    let file = house.folder().join(format!("{DISTRICT}.toml"));
    let text = told(&["district", "apply", file.to_str().unwrap()], 0).await;
    assert!(text.contains(&repeated(&format!("district test {DISTRICT}"))), "{text}");
    // Pasted as it stands, it works on the same store.
    let text = told(&["doctor", "--format", "json"], 0).await;
    assert!(text.contains(&repeated(&format!("runs show {held}"))) && text.contains(&repeated("serve")), "{text}");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_found_is_told_once_with_commands_that_can_be_typed_as_they_stand() {
    let house = House::embedded(sis()).await;
    assert_eq!(house.night().await.state, "succeeded");
    let paging = PagingQuirks { empty: vec!["WithdrawalCode".to_owned()], ..PagingQuirks::default() };
    house.sis.set_quirks(Quirks { paging, ..Quirks::default() });
    let settings: Vec<_> = house.settings().into_iter().filter(|(name, _)| name != "ROLLCALL_DIR").collect();
    let answer = async |args: &[&str]| {
        Answer::of(house.folder(), &[&["--dir", "data"], args].concat(), &settings).await.expect_code(0)
    };
    let waited = answer(&["run", DISTRICT, "--wait"]).await.stdout;
    let runs: Vec<serde_json::Value> = answer(&["runs", "list", "--limit", "1", "--format", "json"]).await.read();
    let (run, state) = (runs[0]["run"].as_str().unwrap(), runs[0]["state"].as_str().unwrap());
    assert_eq!(state, "partial", "{waited}");
    let shown = answer(&["runs", "show", run]).await.stdout;
    let typed = format!("`rollcall --dir data runs approve {run} --accept-empty ");
    for told in [&waited, &shown] {
        let finding =
            told.lines().find(|line| line.contains("partial: listing-empty: ")).unwrap_or_else(|| panic!("{told}"));
        assert!(finding.contains(&typed) && !told.contains(" RUN "), "{told}");
        let message = finding.split_once("listing-empty: ").unwrap().1;
        assert_eq!(told.matches(message).count(), 1, "{told}");
        assert!(told.lines().any(|line| line == "  partial"), "{told}");
    }
    let page = answer(&["runs", "trace", run, "--format", "html"]).await.stdout;
    assert!(page.contains(&format!("rollcall --dir data runs approve {run}")), "{page}");
    // As stored, for programs.
    let stored: Vec<RunRow> = answer(&["runs", "show", run, "--format", "json"]).await.read();
    assert!(stored[0].reason.as_ref().unwrap().contains("`rollcall runs approve RUN --accept-empty "), "{stored:#?}");
    assert!(stored[0].findings.iter().any(|finding| finding.message.contains(" RUN ")), "{stored:#?}");
    let csv = answer(&["runs", "show", run, "--format", "csv"]).await.stdout;
    assert!(csv.contains("`rollcall runs approve RUN "), "{csv}");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_was_mistyped_is_not_made() {
    let folder = tempfile::tempdir().unwrap();
    for args in [
        &["runs", "list"][..],
        &["--dir", "elsewhere", "runs", "show", NO_RUN],
        &["doctor"],
        &["district", "list"],
        &["students", "list", "--district", "a"],
        &["run", "a"],
        &["queues", "list"],
        &["reconcile", "--check"],
        &["flags", "list", "--district", "a"],
        &["worker", "fetcher"],
        &["migrate"],
    ] {
        let answer = Answer::of(folder.path(), args, &[]).await.expect_code(1);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "{}", answer.line);
        let dir = if args[0] == "--dir" { "elsewhere" } else { "data" };
        let told = format!("there is no store in {dir}");
        assert!(args[0] == "worker" || answer.text().contains(&told), "{}: {}", answer.line, answer.text());
    }
    Answer::of(folder.path(), &["--dir", "wanted", "migrate"], &[]).await.expect_code(0);
    assert!(folder.path().join("wanted/store.db").exists());
    std::fs::write(folder.path().join("afile"), "").unwrap();
    for verb in [&["doctor"][..], &["runs", "list"], &["migrate"]] {
        let answer = Answer::of(folder.path(), &[&["--dir", "afile"][..], verb].concat(), &[]).await.expect_code(1);
        assert!(answer.text().contains("afile is a file"), "{}: {}", answer.line, answer.text());
    }
    // A directory without a store is none: nothing is strewn over somebody's files.
    std::fs::create_dir(folder.path().join("home")).unwrap();
    Answer::of(folder.path(), &["--dir", "home", "runs", "list"], &[]).await.expect_code(1);
    assert_eq!(std::fs::read_dir(folder.path().join("home")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_another_took_the_place_of_names_it() {
    let (house, held) = held().await;
    let later = (house::today() + chrono::Days::new(3)).to_string();
    let looked = house.rollcall(&["run", DISTRICT, "--plan", "--as-of", &later, "--wait"]).await.expect_code(0);
    let warned = looked.stderr.contains(&held) && looked.stderr.contains(&format!("runs approve {held}"));
    assert!(warned, "what will be thrown away is named before: {}", looked.stderr);
    let by = house.show(&held).await.reason.unwrap().trim_start_matches("superseded-by ").to_owned();
    let refused = house.rollcall(&["runs", "approve", &held]).await.expect_code(1);
    assert!(refused.stderr.contains(&by) && refused.stderr.contains("--as-of"), "{}", refused.stderr);
    // The next one may be approved, and is named in its place.
    let next = house.night().await;
    assert_eq!(next.state, "held", "{next:#?}");
    let refused = house.rollcall(&["runs", "approve", &held]).await.expect_code(1);
    assert!(
        refused.stderr.contains(&format!("run {} has planned since; approve that one", next.run)),
        "{}",
        refused.stderr
    );
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_run_hears_that_nobody_works_and_rides_over_an_outage() {
    let mut house = House::scaled_out(sis()).await;
    let url = Url::parse(&house.services().database_url()).unwrap();
    let proxy = Proxy::to(&url).await;
    house.extra = vec![("ROLLCALL_DATABASE_URL".to_owned(), proxy.url(&url))];
    let mut waits = house.start("waits", &["run", DISTRICT, "--wait"]);
    house.extra.clear();
    let said = async |what: &str| {
        until(what, Duration::from_mins(2), || async { waits.log().contains(what).then_some(()) }).await;
    };
    said("nobody works on rollcall.fetch").await;
    assert!(waits.log().contains("start `rollcall worker fetcher`"), "{}", waits.log());
    proxy.set(Weather::Closed);
    said("waiting until it answers again").await;
    proxy.set(Weather::Clear);
    said("it answers again\n").await;
    for role in Role::ALL {
        house.start_worker(role);
    }
    let status = waits.ended(Duration::from_mins(3)).await;
    assert!(status.success(), "{}", waits.log());
    assert!(waits.log().contains("succeeded"), "{}", waits.log());
    house.close().await;
}

/// The SIS was asked by its own id.
#[tokio::test(flavor = "multi_thread")]
async fn the_trace_of_a_student_with_a_prefix_shows_the_second_look() {
    let mut house = House::embedded(sis()).await;
    house.district.connection = "id_prefix = \"S-\"\n".to_owned();
    house.apply().await;
    assert_eq!(house.night().await.state, "succeeded");
    house.sis.set_night(3);
    let run = house.night().await.run;
    house.rollcall(&["runs", "approve", &run, "--wait"]).await.expect_code(0);
    let plan = house.rollcall(&["runs", "plan", &run, "--format", "json"]).await.expect_code(0).json();
    let out = plan.as_array().unwrap().iter().find(|line| line["from"] == "ENROLLED" && line["to"] == "INACTIVE");
    let student = out.expect("somebody leaves on the third night")["student_id"].as_str().unwrap().to_owned();
    assert!(student.starts_with("S-"), "{student}");
    let trace = house.rollcall(&["runs", "trace", &run, "--student", &student]).await.expect_code(0);
    assert!(trace.stdout.contains("asked for again: "), "{}", trace.stdout);
    house.close().await;
}
