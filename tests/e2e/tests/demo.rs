//! `rollcall demo`, the first thing a person tries.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use rollcall_e2e::Answer;

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_shows_three_nights_and_cleans_up() {
    let folder = tempfile::tempdir().unwrap();
    let settings = [("TMPDIR".to_owned(), folder.path().to_string_lossy().into_owned())];
    let answer = Answer::of(folder.path(), &["demo", "--students", "300"], &settings).await.expect_code(0);
    for part in ["First night", "Second night", "Third night", "ENROLLED", "INACTIVE", "GRADUATED", "held", "runs show"]
    {
        assert!(answer.stdout.contains(part), "{part} is missing in:\n{}", answer.stdout);
    }
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert!(left.is_empty(), "the demo keeps nothing: {left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_demo_can_be_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("demo");
    let dir = dir.to_str().unwrap();
    Answer::of(folder.path(), &["demo", "--students", "120", "--dir", dir], &[]).await.expect_code(0);
    let runs = Answer::of(folder.path(), &["--dir", dir, "runs", "list", "--format", "json"], &[]).await.expect_code(0);
    let states: Vec<_> = runs.json().as_array().unwrap().iter().map(|run| run["state"].clone()).collect();
    assert_eq!(states, ["held", "succeeded", "succeeded"]);
}
