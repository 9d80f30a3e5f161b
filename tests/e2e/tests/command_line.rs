//! The command line as people and scripts meet it: exit codes, formats, help, and what they mistype.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use rollcall_e2e::{
    Answer, House,
    house::{self, DISTRICT},
};
use rollcall_sandbox::SandboxConfig;

fn district() -> SandboxConfig {
    SandboxConfig { students: 120, seed: 5, today: house::today(), ..SandboxConfig::default() }
}

const NO_RUN: &str = "00000000-0000-7000-8000-000000000000";

/// Runs `rollcall` in an empty folder.
async fn bare(args: &[&str]) -> Answer {
    let folder = tempfile::tempdir().unwrap();
    Answer::of(folder.path(), args, &[]).await
}

/// Pages and pictures are for one command alone.
#[tokio::test(flavor = "multi_thread")]
async fn help_offers_the_formats_that_a_command_prints() {
    for verb in [&["runs", "list"][..], &["students", "list"], &["doctor"], &["runs", "trace"]] {
        let help = bare(&[verb, &["--help"]].concat()).await.expect_code(0).stdout;
        assert!(help.contains("csv") && help.contains("html") == verb.contains(&"trace"), "{verb:?}: {help}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_understood_is_usage_and_says_what_is_expected() {
    for (args, named) in [
        (&["frobnicate"][..], "frobnicate"),
        (&["run"], "ID"),
        (&["run", "Lone Star"], "a-z"),
        (&["run", "../../etc/passwd"], "a-z"),
        (&["run", ""], "a-z"),
        (&["run", "a", "--as-of", "2026-02-30"], "YYYY-MM-DD"),
        (&["run", "a", "--plan", "--as-of=-262143-01-01"], "1900"),
        (&["sandbox", "--today", "9999-12-31"], "2199"),
        (&["run", "a", "--as-of", "2026-02-03"], "--plan"),
        (&["runs", "show", "latest"], "latest"),
        (&["runs", "replay", NO_RUN], "--from"),
        (&["runs", "replay", NO_RUN, "--from", "dawn"], "collect"),
        (&["runs", "list", "--limit", "0"], "--limit"),
        (&["students", "list"], "--district"),
        (&["students", "list", "--district", "a", "--limit=-3"], "--limit"),
        (&["students", "list", "--district", "a", "--limit", "0"], "--limit"),
        (&["students", "list", "--district", "a", "--status", "ABSENT"], "PRE_ENROLLED"),
        (&["queues", "replay", "everything"], "collect"),
        (&["queues", "replay", "write", "--limit", "0"], "--limit"),
        (&["worker", "janitor"], "fetcher"),
        (&["worker", "fetcher", "--concurrency", "0"], "--concurrency"),
        (&["sandbox", "--students", "0"], "--students"),
        (&["sandbox", "--students", "4000000000"], "--students"),
        (&["demo", "--students", "3"], "--students"),
        (&["doctor", "--format", "yaml"], "json"),
        (&["run", "a", "--wait", "--format", "html"], "runs trace"),
        (&["run", "a", "--wait", "--format", "svg"], "runs trace"),
        (&["district", "apply"], "FILES"),
    ] {
        let answer = bare(args).await.expect_code(2);
        assert!(answer.stderr.contains(named), "{}: {named} is not named: {}", answer.line, answer.stderr);
        assert!(answer.stdout.is_empty(), "{}: {}", answer.line, answer.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_fails_and_is_named_with_the_mend() {
    let house = House::embedded(district()).await;
    let missing = house.folder().join("no-such.toml");
    let missing = missing.to_str().unwrap();
    for (args, named) in [
        (&["run", "nobody"][..], "rollcall district list"),
        (&["district", "show", "nobody"], "nobody"),
        (&["district", "test", "nobody"], "nobody"),
        (&["district", "remove", "nobody"], "nobody"),
        (&["students", "list", "--district", "nobody"], "nobody"),
        (&["students", "show", "--district", DISTRICT, "nobody"], "students list"),
        (&["runs", "show", NO_RUN], "rollcall runs list"),
        (&["runs", "list", "--district", "nobody"], "rollcall district list"),
        (&["runs", "plan", NO_RUN], NO_RUN),
        (&["runs", "trace", NO_RUN], NO_RUN),
        (&["runs", "approve", NO_RUN], NO_RUN),
        (&["runs", "discard", NO_RUN], NO_RUN),
        (&["runs", "cancel", NO_RUN], NO_RUN),
        (&["runs", "replay", NO_RUN, "--from", "plan"], NO_RUN),
        (&["queues", "parked", "--run", NO_RUN], NO_RUN),
        (&["queues", "parked", "--district", "nobody"], "nobody"),
        (&["queues", "replay", "write", "--district", "nobody"], "nobody"),
        (&["district", "apply", missing], "no-such.toml"),
        (&["district", "apply", "/"], "/"),
        (&["--config", missing, "doctor"], "no-such.toml"),
        (&["key", "rotate", "--new-key-file", missing], "no-such.toml"),
        (&["worker", "fetcher"], "deploy/local up"),
    ] {
        let answer = house.rollcall(args).await.expect_code(1);
        assert!(answer.text().contains(named), "{}: {named} is not named: {}", answer.line, answer.text());
        assert!(!answer.text().contains("panicked"), "{}", answer.text());
    }
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_cannot_be_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rollcall.toml");
    for (text, named) in [
        ("dirr = 'x'\n", "dirr"),
        ("dir = 7\n", "dir"),
        ("lost_after_seconds = 3\n", "ROLLCALL_LOST_AFTER_SECONDS"),
        ("keep_pages_days = 0\n", "keep_pages_days"),
        ("keep_plans_days = 1\n", "ROLLCALL_KEEP_PLANS_DAYS"),
        ("keep_parked_days = 1\n", "ROLLCALL_KEEP_PARKED_DAYS"),
        ("keep_parked_days = 30\nkeep_pages_days = 60\n", "no shorter than raw pages"),
        ("keep_audit_days = 365\n", "ROLLCALL_KEEP_AUDIT_DAYS"),
        ("database_url = 'postgres://u:hunter2@127.0.0.1/x'\n", "ROLLCALL_AMQP_URL"),
        ("dir = 'x'\ndir = 'y'\n", "rollcall.toml"),
        ("public_url = 'https://u:hunter2@ho st/x'\n", "public_url"),
        ("allow_plaintext = 'hunter2'\n", "allow_plaintext"),
        ("key = 'hunter2'\nkey = 'hunter3'\n", "rollcall.toml"),
    ] {
        std::fs::write(&file, text).unwrap();
        let answer = Answer::of(folder.path(), &["runs", "list"], &[]).await.expect_code(1);
        assert!(answer.stderr.contains(named), "{text}: {}", answer.stderr);
        assert!(!answer.text().contains("hunter2"), "no secret is repeated: {}", answer.text());
    }
    std::fs::remove_file(&file).unwrap();
    for (name, value) in [
        ("ROLLCALL_LOST_AFTER_SECONDS", "soon"),
        ("ROLLCALL_KEEP_PAGES_DAYS", "-1"),
        ("ROLLCALL_ALLOW_PRIVATE_ADDRESSES", "perhaps"),
        ("ROLLCALL_KEY", "hunter2"),
        ("ROLLCALL_PUBLIC_URL", "https://u:hunter2@ho st/x"),
    ] {
        let settings = [(name.to_owned(), value.to_owned())];
        let answer = Answer::of(folder.path(), &["runs", "list"], &settings).await.expect_code(1);
        let key = name.trim_start_matches("ROLLCALL_");
        assert!(answer.stderr.to_uppercase().contains(key), "{name}: {}", answer.stderr);
        assert!(!answer.stderr.contains("rollcall.toml: "), "no file is blamed for it: {}", answer.stderr);
        assert!(!answer.text().contains("hunter2"), "{}", answer.text());
    }
    // A directory in the environment counts before servers in the file, which nobody is asked for.
    std::fs::write(&file, "database_url = 'postgres://u@127.0.0.1:1/x'\namqp_url = 'amqp://127.0.0.1:1'\n").unwrap();
    Answer::of(folder.path(), &["runs", "list"], &[]).await.expect_code(1);
    let dir = [("ROLLCALL_DIR".to_owned(), folder.path().join("data").to_string_lossy().into_owned())];
    let answer = Answer::of(folder.path(), &["--format", "json", "runs", "list"], &dir).await.expect_code(1);
    assert!(answer.stderr.contains("there is no store in"), "{}", answer.stderr);
    std::fs::remove_file(&file).unwrap();
    // A file that is not there.
    let answer = Answer::of(folder.path(), &["--config", "nowhere.toml", "runs", "list"], &[]).await.expect_code(1);
    let said = ["nowhere.toml", "No such file"].iter().all(|part| answer.stderr.contains(part));
    assert!(said, "{}", answer.stderr);
    // A file where a directory is wanted.
    std::fs::write(folder.path().join("flat"), "").unwrap();
    let answer = Answer::of(folder.path(), &["--dir", "flat", "runs", "list"], &[]).await.expect_code(1);
    assert!(answer.stderr.contains("flat"), "{}", answer.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_student_is_shown_by_any_of_the_ids_that_people_know() {
    let house = House::embedded(district()).await;
    house.night().await;
    let rows = house.rollcall(&["students", "list", "--district", DISTRICT, "--format", "json"]).await.json();
    let row = rows.as_array().unwrap().iter().find(|row| row["state_id"].is_string()).unwrap();
    for key in ["student_id", "local_id", "state_id"] {
        let id = row[key].as_str().unwrap();
        let shown = house.rollcall(&["students", "show", "--district", DISTRICT, id, "--format", "json"]).await;
        assert_eq!(shown.expect_code(0).json()[0]["student_id"], row["student_id"], "{key}");
    }
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_waited_for_shows_its_progress_in_plain_lines() {
    let house = House::embedded(district()).await;
    let answer = house.rollcall(&["run", DISTRICT, "--wait", "--format", "json"]).await.expect_code(0);
    assert!(answer.json().is_array(), "nothing but the document stands on standard output");
    let told = |what: &str| answer.stderr.lines().any(|line| line.starts_with(what));
    assert!(told("pull") && told("write: "), "{}", answer.stderr);
    let last = answer.stderr.lines().rfind(|line| line.starts_with("write: ")).unwrap_or_default();
    let added = answer.json()[0]["added"].to_string();
    assert_eq!(last, format!("write: {added} of {added} students"));
    assert!(!answer.stderr.contains('\u{1b}'), "no control sequences where there is no terminal");
    house.close().await;
}

/// The writer is held up, so that there is something to see.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_waited_for_on_a_terminal_shows_bars() {
    let mut house = House::embedded(district()).await;
    house.extra.push(("ROLLCALL_FAILPOINTS".to_owned(), "commit/apply a batch/before=1*sleep(1500)->off".to_owned()));
    let answer = house.on_terminal(&["run", DISTRICT, "--wait"]).await.expect_code(0);
    let drawn: Vec<&str> = answer.stdout.split(['\r', '\n']).collect();
    let bar = drawn.iter().find(|line| line.contains("write") && line.contains("] 0/")).copied().unwrap_or_default();
    assert!(bar.contains('[') && bar.contains(" students ("), "no bar in {:?}", answer.stdout);
    assert!(answer.stdout.contains('\u{1b}'), "it is drawn over itself");
    assert!(!drawn.iter().any(|line| line.starts_with("write: ")), "no plain lines beside it: {:?}", answer.stdout);
    let summary = answer.stdout.contains("succeeded") && answer.stdout.contains("unchanged 0");
    assert!(summary, "what came of it stays: {:?}", answer.stdout);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_says_what_to_mend() {
    let house = House::embedded(district()).await;
    let well = house.rollcall(&["doctor", "--format", "json"]).await.expect_code(0).json();
    let of = |check: &str| well.as_array().unwrap().iter().find(|row| row["check"] == check).cloned();
    assert_eq!(of("store").unwrap()["outcome"], "ok");
    assert_eq!(of("bus").unwrap()["outcome"], "ok");
    assert!(of("host").unwrap()["mend"].as_str().unwrap().contains("rollcall serve"), "nobody hosts it");

    let mut settings = house.settings();
    settings.push(("ROLLCALL_KEY_FILE".to_owned(), "/dev/null".to_owned()));
    let ill = Answer::of(house.folder(), &["doctor"], &settings).await.expect_code(1);
    assert!(ill.stdout.contains("fail") && ill.stdout.contains("/dev/null"), "{}", ill.stdout);

    let away = [
        ("ROLLCALL_DATABASE_URL".to_owned(), "postgres://u:hunter2@127.0.0.1:1/x".to_owned()),
        ("ROLLCALL_AMQP_URL".to_owned(), "amqp://u:hunter2@127.0.0.1:1/x".to_owned()),
        ("ROLLCALL_KEY".to_owned(), bare(&["key", "new"]).await.expect_code(0).stdout.trim().to_owned()),
    ];
    let list = Answer::of(house.folder(), &["runs", "list"], &away).await.expect_code(1);
    let mended = |text: &str| text.contains("ROLLCALL_DATABASE_URL") && text.contains("deploy/local up");
    assert!(mended(&list.stderr), "{}", list.stderr);
    let ill = Answer::of(house.folder(), &["doctor", "--format", "json"], &away).await.expect_code(1);
    assert!(ill.json().as_array().unwrap().iter().any(|row| row["outcome"] == "fail"), "{}", ill.stdout);
    let mends = ill.json().as_array().unwrap().iter().any(|row| mended(row["mend"].as_str().unwrap_or_default()));
    assert!(mends, "{}", ill.stdout);
    assert!(!ill.text().contains("hunter2"), "no password is repeated: {}", ill.text());
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn completions_and_the_manual_know_every_verb() {
    let verbs = ["demo", "serve", "worker", "migrate", "doctor", "sandbox", "district", "runs", "queues", "students"];
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = bare(&["completions", shell]).await.expect_code(0).stdout;
        assert!(verbs.iter().all(|verb| script.contains(verb)), "{shell}");
        assert!(script.contains("accept-empty"), "{shell}: options of verbs within verbs");
        let values =
            ["table json csv html svg", "table json csv"].map(|values| script.contains(&format!("\"{values}\"")));
        assert!(shell != "bash" || values == [true, true], "{shell}: the formats of one verb, and those of the others");
    }
    let manual = bare(&["man"]).await.expect_code(0).stdout;
    assert!(manual.contains(".TH rollcall 1"), "{manual}");
    assert!(verbs.iter().all(|verb| manual.contains(verb)), "{manual}");
    assert!(manual.contains("accept\\-empty"), "options of verbs within verbs");
    assert!(manual.contains("3 held"), "the exit codes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_district_of_several_entities_is_the_same_district() {
    let mut house = House::embedded(district()).await;
    assert_eq!(house.night().await.state, "succeeded");
    let before = house.students().await;
    // 1 lists everybody, 201 some of them once more.
    house.district.connection = "entities = [1, 201]\n".to_owned();
    house.apply().await;
    let run = house.night().await;
    assert_eq!((run.state.as_str(), run.removed, run.added), ("succeeded", 0, 0), "{run:#?}");
    assert_eq!(house.students().await, before);
    house.check_roster().await;
    house.close().await;
}

/// Files that a person, an editor or an enemy may hand over.
#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_district_file_is_refused_in_words() {
    let house = House::embedded(district()).await;
    let good = house.district.text();
    let path = house.folder().join("hostile.toml");
    let file = path.to_str().unwrap();
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("not UTF-8", vec![0xff, 0xfe, 0x00], "hostile.toml"),
        ("empty", Vec::new(), "connection"),
        ("a NUL", good.replace("Test ISD", "Test\0ISD").into_bytes(), "line 2"),
        ("an id that is a path", good.replace("\"test-isd\"", "\"../evil\"").into_bytes(), "id"),
        ("an id with a quote", good.replace("\"test-isd\"", "\"a';--\"").into_bytes(), "id"),
        ("a control character in the name", good.replace("Test ISD", "Test\\u001b[2J").into_bytes(), "name"),
        ("a zone that is none", good.replace("America/Chicago", "Mars/Olympus").into_bytes(), "time_zone"),
        ("no lanes", good.replace("lanes = 4", "lanes = 0").into_bytes(), "lanes"),
        ("too many lanes", good.replace("lanes = 4", "lanes = 70000").into_bytes(), "lanes"),
        ("a page size of nothing", good.replace("page_size = 100", "page_size = 0").into_bytes(), "page_size"),
        ("a negative page size", good.replace("page_size = 100", "page_size = -5").into_bytes(), "page_size"),
        ("a scheme that is none", good.replace("http://127", "file://127").into_bytes(), "base_url"),
        (
            "a password in what is no address",
            good.replace("http://127.0.0.1", "http://u:hunter2@ho st").into_bytes(),
            "base_url",
        ),
        (
            "a secret that is a number",
            good.replace("[[connection]]", "[[connection]]\ntoken_parameters = { pin = 8008135 }").into_bytes(),
            "token_parameters",
        ),
        ("a secret in place of a kind", good.replace("skyward-qmlativ", "hunter2").into_bytes(), "expected"),
        ("a password in the address", good.replace("http://", "http://u:hunter2@").into_bytes(), "base_url"),
        ("an hour that is none", good.replace("[schedule]", "[schedule]\nat = \"25:00\"").into_bytes(), "at"),
        (
            "a percentage that is no number",
            format!("{good}[hold]\nmax_removed_percent = nan\n").into_bytes(),
            "max_removed_percent",
        ),
        (
            "a percentage below nothing",
            format!("{good}[hold]\nmax_changed_percent = -1\n").into_bytes(),
            "max_changed_percent",
        ),
        ("a kind that is none", good.replace("skyward-qmlativ", "abacus").into_bytes(), "kind"),
        ("a kind of a later version", good.replace("skyward-qmlativ", "skyward-sms2").into_bytes(), "skyward-qmlativ"),
        ("a OneRoster without its token URL", good.replace("skyward-qmlativ", "oneroster").into_bytes(), "token_url"),
        (
            "a secret from nowhere",
            good.replace("{ file = \"test-isd.secret\" }", "{ env = \"NO_SUCH\" }").into_bytes(),
            "NO_SUCH",
        ),
        ("a secret from two places", good.replace("{ file", "{ env = \"X\", file").into_bytes(), "client_secret"),
        ("a secret that is a folder", good.replace("test-isd.secret", "/").into_bytes(), "client_secret"),
        (
            "a header that splits",
            format!("{}headers = {{ \"X\\r\\nEvil\" = \"1\" }}\n", good.split("[schedule]").next().unwrap())
                .into_bytes(),
            "header",
        ),
        ("no entity", format!("{}entities = []\n", good.split("[schedule]").next().unwrap()).into_bytes(), "entities"),
        (
            "an entity below nothing",
            format!("{}entities = [-1]\n", good.split("[schedule]").next().unwrap()).into_bytes(),
            "entities",
        ),
        (
            "deep nesting",
            format!("{good}x = {}{}\n", "[".repeat(5_000), "]".repeat(5_000)).into_bytes(),
            "hostile.toml",
        ),
    ];
    for (what, bytes, named) in cases {
        assert_ne!(bytes, good.as_bytes(), "{what}: the case changes something");
        std::fs::write(&path, bytes).unwrap();
        let answer = house.rollcall(&["district", "apply", file]).await;
        assert_eq!(answer.code, 1, "{what}: {answer:#?}");
        assert!(answer.stderr.contains(named), "{what}: {named} is not named: {}", answer.stderr);
        assert!(!answer.text().contains("hunter2") && !answer.text().contains("panicked"), "{what}: {}", answer.text());
        assert!(!answer.text().contains("8008135"), "{what}: {}", answer.text());
        assert!(!answer.stderr.contains('\u{1b}'), "{what}: nothing steers the terminal");
    }
    let districts = house.rollcall(&["district", "list", "--format", "json"]).await.json();
    assert_eq!(districts.as_array().unwrap().len(), 1, "no hostile file was taken in: {districts}");
    house.close().await;
}
