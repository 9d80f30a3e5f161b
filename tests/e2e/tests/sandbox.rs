//! `rollcall sandbox`: the district files that it prints, used as printed.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::time::Duration;

use rollcall_e2e::{Answer, Process, until};

/// What the sandbox has said, once it has said everything.
async fn told(sandbox: &Process) -> String {
    until("the sandbox to say how to use it", Duration::from_mins(1), || {
        let log = sandbox.log();
        async move { log.contains("Ctrl-C ends it.").then_some(log) }
    })
    .await
}

/// The files between what is said about them, each with the district's id.
fn files(told: &str) -> Vec<(String, String)> {
    let printed = told.split("for it:\n").nth(1).and_then(|rest| rest.split("\nIts secrets").next()).expect("files");
    let starts: Vec<usize> = printed.match_indices("id = \"").map(|(at, _)| at).collect();
    let starts = starts.into_iter().filter(|at| printed[..*at].ends_with('\n')).collect::<Vec<_>>();
    let ends = starts.iter().skip(1).copied().chain([printed.len()]);
    let files = starts.iter().zip(ends).map(|(from, to)| &printed[*from..to]);
    files.map(|file| (file.split('"').nth(1).unwrap().to_owned(), file.to_owned())).collect()
}

/// What is to be exported before the files are used.
fn exported(told: &str) -> Vec<(String, String)> {
    let line = told.lines().find_map(|line| line.trim().strip_prefix("export ")).expect("what to export");
    let settings = line.split_whitespace().map(|word| word.split_once('=').expect("NAME=value"));
    settings.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_night_runs_by_each_file_that_is_printed() {
    let versions = &["version = \"1.2\"", "version = \"1.1\""][..];
    for (sis, parts) in
        [("qmlativ", &["kind = \"skyward-qmlativ\""][..]), ("oneroster", versions), ("skyward-oneroster", versions)]
    {
        let folder = tempfile::tempdir().unwrap();
        let args = ["sandbox", "--sis", sis, "--port", "0", "--students", "40"];
        let sandbox = Process::start("sandbox", folder.path(), &args, &[]);
        let told = told(&sandbox).await;
        let files = files(&told);
        assert_eq!(files.len(), parts.len(), "{told}");
        let dir = folder.path().join("data").to_string_lossy().into_owned();
        let settings: Vec<_> = exported(&told).into_iter().chain([("ROLLCALL_DIR".to_owned(), dir)]).collect();
        for ((id, file), part) in files.into_iter().zip(parts) {
            assert!(file.contains(part), "{part}: {file}");
            let path = folder.path().join(format!("{id}.toml"));
            std::fs::write(&path, file).unwrap();
            let rollcall = async |args: &[&str]| Answer::of(folder.path(), args, &settings).await.expect_code(0);
            rollcall(&["district", "apply", path.to_str().unwrap()]).await;
            rollcall(&["run", &id, "--wait"]).await;
            let runs = rollcall(&["runs", "list", "--district", &id, "--format", "json"]).await.json();
            let [run] = runs.as_array().expect("a list").as_slice() else { panic!("one night: {runs:#}") };
            assert!(run["state"] == "succeeded" && run["added"].as_u64() > Some(30), "{run:#}");
        }
    }
}
