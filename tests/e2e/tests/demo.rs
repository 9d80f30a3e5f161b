//! `rollcall demo`, the first thing a person tries.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::time::Duration;

use rollcall_e2e::{Answer, Process, until};

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
        "runs show",
    ];
    for part in parts {
        assert!(answer.stdout.contains(part), "{part} is missing in:\n{}", answer.stdout);
    }
    assert!(answer.stdout.lines().count() < 100, "it stays readable:\n{}", answer.stdout);
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert!(left.is_empty(), "the demo keeps nothing: {left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_demo_can_be_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("demo");
    let dir = dir.to_str().unwrap();
    Answer::of(folder.path(), &["demo", "--students", "120", "--dir", dir], &[]).await.expect_code(0);
    let list = |district: &'static str| ["--dir", dir, "runs", "list", "--district", district, "--format", "json"];
    for (district, expected) in [("demo-isd", &["held", "succeeded", "succeeded"][..]), ("campus-isd", &["succeeded"])]
    {
        let runs = Answer::of(folder.path(), &list(district), &[]).await.expect_code(0);
        let states: Vec<_> = runs.json().as_array().unwrap().iter().map(|run| run["state"].clone()).collect();
        assert_eq!(states, expected);
    }
}

/// With `--keep` the platform's page stays up: a person finds the flag there and clicks it.
#[tokio::test(flavor = "multi_thread")]
async fn a_kept_demo_stays_up_to_be_clicked_by_hand() {
    let folder = tempfile::tempdir().unwrap();
    let settings = [("TMPDIR".to_owned(), folder.path().to_string_lossy().into_owned())];
    let arguments = ["demo", "--students", "60", "--keep"];
    let mut demo = Process::attended("demo", folder.path(), &arguments, &settings);
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
    assert!(demo.enter(limit).await.success());
}
