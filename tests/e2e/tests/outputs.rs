//! Standard output that nobody reads, and one that takes nothing: a command's work and its exit code are its own.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{fs::File, process::Stdio};

use rollcall_e2e::{
    Answer, House,
    house::{self, DISTRICT},
};
use rollcall_sandbox::SandboxConfig;

/// The writing end of a pipe whose reader has gone.
fn unread() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

fn full() -> Stdio {
    File::options().write(true).open("/dev/full").unwrap().into()
}

fn assert_no_panic(answer: &Answer) {
    assert!(!answer.stderr.contains("panic"), "{}: {}", answer.line, answer.stderr);
}

/// The command ends as it does where it is read, whatever becomes of what it prints.
async fn check(house: &House, args: &[&str], code: i32) {
    house.rollcall(args).await.expect_code(code);
    let (folder, settings) = (house.folder(), house.settings());
    assert_no_panic(&Answer::to(unread(), folder, args, &settings).await.expect_code(code));
    let failed = Answer::to(full(), folder, args, &settings).await.expect_code(1);
    assert!(failed.stderr.contains("the output could not be written"), "{}: {}", failed.line, failed.stderr);
    assert_no_panic(&failed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_is_gone_changes_no_exit_code_and_a_full_disk_is_an_error() {
    let config = SandboxConfig { students: 60, seed: 5, today: house::today(), ..SandboxConfig::default() };
    let mut house = House::embedded(config).await;
    let run = house.night().await.run;
    let student = house.students().await.remove(0).student_id;
    let show = ["students", "show", "--district", DISTRICT, &student];
    for (args, formats) in [
        (&["runs", "list"][..], &["table", "json", "csv"][..]),
        (&["runs", "show", &run], &["table", "json"]),
        (&["runs", "trace", &run], &["table", "html", "svg"]),
        (&show, &["table", "json", "csv"]),
        (&["district", "show", DISTRICT], &["table", "json"]),
        (&["key", "new"], &["table"]),
        (&["completions", "bash"], &["table"]),
        (&["man"], &["table"]),
    ] {
        for format in formats {
            check(&house, &[args, &["--format", format]].concat(), 0).await;
        }
    }
    // Half of the students are gone: held. And a SIS that refuses: failed.
    house.sis.set_night(3);
    check_run(&house, 3).await;
    house.district.client_secret = "another".to_owned();
    house.apply().await;
    check(&house, &["district", "test", DISTRICT], 1).await;
    check_run(&house, 1).await;
    house.close().await;
}

async fn check_run(house: &House, code: i32) {
    for format in ["table", "json"] {
        let args = ["run", DISTRICT, "--wait", "--format", format];
        let answer = Answer::to(unread(), house.folder(), &args, &house.settings()).await;
        assert_no_panic(&answer.expect_code(code));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demo_that_nobody_reads_goes_on_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["demo", "--students", "60"];
    assert_no_panic(&Answer::to(unread(), folder.path(), &args, &[]).await.expect_code(0));
    assert_no_panic(&Answer::to(full(), folder.path(), &args, &[]).await.expect_code(1));
}

/// Nobody could ever use it.
#[tokio::test(flavor = "multi_thread")]
async fn an_integration_whose_secret_nobody_saw_is_not_there() {
    let config = SandboxConfig { students: 60, seed: 5, today: house::today(), ..SandboxConfig::default() };
    let house = House::embedded(config).await;
    let add = ["integrations", "add", "--district", DISTRICT, "Plans"];
    for output in [unread(), full()] {
        let answer = Answer::to(output, house.folder(), &add, &house.settings()).await.expect_code(1);
        assert!(answer.stderr.contains("nobody would have seen the secret"), "{}", answer.stderr);
        assert_no_panic(&answer);
    }
    let list = ["integrations", "list", "--district", DISTRICT, "--format", "json"];
    assert_eq!(house.rollcall(&list).await.expect_code(0).json(), serde_json::json!([]));
    house.rollcall(&add).await.expect_code(0);
    house.close().await;
}

/// What is said beside the output may have lost its reader too: `rollcall … 2>&1 | head`.
#[tokio::test(flavor = "multi_thread")]
async fn errors_that_nobody_reads_are_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    // The shell's own status is that of the command, whose outputs go to a pipe that a program which has ended was to read.
    let line = format!(
        "mkfifo pipe; (: <pipe) & exec 3>pipe; wait; {} runs list >&3 2>&3; echo $?",
        rollcall_e2e::binary::rollcall().display()
    );
    let answer = Answer::of_shell(folder.path(), &line, &[]).await.expect_code(0);
    assert_eq!(answer.stdout.trim(), "1", "{}", answer.text());
}
