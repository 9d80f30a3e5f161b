//! The key for secrets at rest, changed by the steps of docs/OPERATIONS.md.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use rollcall_e2e::{
    Answer, House,
    house::{self, DISTRICT},
};
use rollcall_sandbox::SandboxConfig;

/// Runs the command line with these keys.
async fn under(house: &House, keys: &str, args: &[&str]) -> Answer {
    house.rollcall_with(args, &[("ROLLCALL_KEY", keys)]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_rotated_and_the_old_one_alone_opens_nothing_any_more() {
    let config = SandboxConfig { students: 60, seed: 5, today: house::today(), ..SandboxConfig::default() };
    let house = House::embedded(config).await;
    let night = house.night().await;
    assert_eq!(night.state, "succeeded");
    let file = house.folder().join("data").join("key");
    let old = std::fs::read_to_string(&file).unwrap().trim().to_owned();
    let new = house.rollcall(&["key", "new"]).await.expect_code(0).stdout.trim().to_owned();
    let (before, after) = (format!("{old},{new}"), format!("{new},{old}"));
    let test = ["district", "test", DISTRICT];

    // Every process knows both, and still seals with the old one; then all seal with the new one.
    for keys in [&before, &after] {
        under(&house, keys, &test).await.expect_code(0);
    }
    let doctor = async |keys: &str| under(&house, keys, &["doctor"]).await.expect_code(0).stdout;
    assert!(doctor(&after).await.contains("1 secrets and documents are sealed with an older key"));
    let new_file = house.folder().join("new.key");
    std::fs::write(&new_file, &new).unwrap();
    let rotate = ["key", "rotate", "--new-key-file", new_file.to_str().unwrap()];
    let rotated = under(&house, &after, &rotate).await.expect_code(0);
    assert!(rotated.stderr.contains("1 secrets and documents are sealed anew"), "{}", rotated.stderr);
    assert!(rotated.stderr.contains("`new,old`"), "what to do next: {}", rotated.stderr);
    let again = under(&house, &after, &rotate).await.expect_code(0);
    assert!(again.stderr.contains("0 secrets and documents are sealed anew"), "{}", again.stderr);
    let told = doctor(&after).await;
    assert!(
        !told.contains("secrets and documents are sealed") && told.contains("raw pages are sealed with an older key"),
        "{told}"
    );

    for (what, keys) in [("not started anew yet", &before), ("as it shall be", &after), ("the new one alone", &new)] {
        let answer = under(&house, keys, &test).await;
        assert_eq!(answer.code, 0, "{what}: {}", answer.text());
    }
    // Raw pages of the night before lie under the old key.
    let replay = ["runs", "replay", &night.run, "--from", "collect", "--wait"];
    under(&house, &after, &replay).await.expect_code(0);

    // The file holds the old one alone.
    for refused in [house.rollcall(&test).await, under(&house, &old, &test).await] {
        let refused = refused.expect_code(1);
        assert!(refused.stderr.contains("not among those given"), "{}", refused.stderr);
        assert!(refused.stderr.contains("add that key to ROLLCALL_KEY"), "the mend: {}", refused.stderr);
        assert!(!refused.text().contains(&old), "no key is repeated");
    }
    std::fs::write(&file, &after).unwrap();
    house.rollcall(&test).await.expect_code(0);
    house.close().await;
}

/// As docs/OPERATIONS.md has it, typed line by line; and first as somebody does who reads the last line alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_stores_own_key_is_rotated_by_the_lines_of_the_manual_and_in_no_other_order() {
    let house =
        House::embedded(SandboxConfig { students: 20, today: house::today(), ..SandboxConfig::default() }).await;
    let manual = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/OPERATIONS.md")).unwrap();
    let (_, steps) = manual.split_once("An embedded store that made its own key").unwrap();
    let steps = steps.split("```").nth(1).unwrap().trim().lines();
    let new = house.rollcall(&["key", "new"]).await.expect_code(0).stdout;
    std::fs::write(house.folder().join("new.key"), new).unwrap();
    let rotate = ["key", "rotate", "--new-key-file", "new.key"];
    let test = ["district", "test", DISTRICT];

    let refused = house.rollcall(&rotate).await.expect_code(1);
    for part in ["is not among the keys given", "data/key", "`old,new`", "`new,old`"] {
        assert!(refused.text().contains(part), "{part}: {}", refused.text());
    }
    house.rollcall(&test).await.expect_code(0);

    let mut done = 0;
    for step in steps {
        let (line, _) = step.split_once('#').unwrap_or((step, ""));
        if line.starts_with("rollcall key rotate") {
            let rotated = house.rollcall(&rotate).await.expect_code(0);
            assert!(rotated.stderr.contains("1 secrets and documents are sealed anew"), "{}", rotated.stderr);
        } else {
            // The new key is there by now.
            let line = line.replace("rollcall key new >new.key", "true");
            let sh =
                std::process::Command::new("sh").args(["-ec", &line]).current_dir(house.folder()).status().unwrap();
            assert!(sh.success(), "{line}");
        }
        house.rollcall(&test).await.expect_code(0);
        done += 1;
    }
    assert_eq!(done, 5);
    assert!(
        house.rollcall(&["doctor"]).await.expect_code(0).stdout.contains("everything is sealed with the newest key")
    );
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_opens_nothing_is_told_at_once_and_no_other_takes_the_place_of_one_that_is_gone() {
    let config = SandboxConfig { students: 60, seed: 5, today: house::today(), ..SandboxConfig::default() };
    let house = House::embedded(config).await;
    let of = |answer: &Answer, check: &str| {
        let rows = answer.json();
        rows.as_array().unwrap().iter().find(|row| row["check"] == check).cloned().unwrap_or_default()
    };
    let doctor = ["doctor", "--format", "json"];
    assert_eq!(of(&house.rollcall(&doctor).await.expect_code(0), "secrets")["outcome"], "ok");

    let other = house.rollcall(&["key", "new"]).await.expect_code(0).stdout.trim().to_owned();
    let told = of(&under(&house, &other, &doctor).await.expect_code(1), "secrets");
    assert_eq!(told["outcome"], "fail", "{told}");
    let detail = told["detail"].as_str().unwrap();
    let names = [DISTRICT, "not among those given", "of ROLLCALL_KEY"].iter().all(|part| detail.contains(part));
    assert!(names && !detail.contains(&other), "which key was tried, and from where: {detail}");
    let run = under(&house, &other, &["run", DISTRICT, "--wait"]).await.expect_code(1);
    assert!(run.stdout.contains("not among those given") && run.stdout.contains("of ROLLCALL_KEY"), "{}", run.text());

    let file = house.folder().join("data").join("key");
    let aside = house.folder().join("aside");
    std::fs::rename(&file, &aside).unwrap();
    for args in [&doctor[..], &["runs", "list"], &["migrate"]] {
        let answer = house.rollcall(args).await.expect_code(1);
        assert!(answer.text().contains("data/key is gone"), "{}", answer.text());
        assert!(!file.exists(), "{}: no other key is made", answer.line);
    }
    // One of the wrong file is told by the file.
    std::fs::write(&file, &other).unwrap();
    let told = of(&house.rollcall(&doctor).await.expect_code(1), "secrets");
    assert!(told["detail"].as_str().unwrap().contains("data/key"), "{told}");
    std::fs::rename(&aside, &file).unwrap();
    assert_eq!(of(&house.rollcall(&doctor).await.expect_code(0), "secrets")["outcome"], "ok");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_lost_key_sealed_is_given_up_by_its_name_and_everything_is_whole_again() {
    let house =
        House::embedded(SandboxConfig { students: 20, today: house::today(), ..SandboxConfig::default() }).await;
    let new = house.rollcall(&["key", "new"]).await.expect_code(0).stdout;
    std::fs::write(house.folder().join("data").join("key"), new).unwrap();
    let told = house.rollcall(&["doctor"]).await.expect_code(1).stdout;
    let (_, after) = told.split_once("not among those given (named ").unwrap();
    let name: String = after.chars().take_while(char::is_ascii_hexdigit).collect();
    assert!(told.contains("rollcall key forget"), "{told}");

    let listed = house.rollcall(&["key", "forget", &name]).await.expect_code(1);
    assert!(listed.stdout.contains(DISTRICT) && listed.stdout.contains("secrets of connections"), "{}", listed.text());
    assert!(listed.stderr.contains("nothing was given up") && listed.stderr.contains("--yes"), "{}", listed.stderr);
    let done = house.rollcall(&["key", "forget", &name, "--yes"]).await.expect_code(0);
    assert!(done.stderr.contains("1 values that were sealed"), "{}", done.stderr);
    let left = house.rollcall(&["doctor"]).await.expect_code(1).stdout;
    assert!(
        left.contains("was given up with a lost key") && !left.contains("secrets and documents are sealed"),
        "{left}"
    );
    house.apply().await;
    house.rollcall(&["doctor"]).await.expect_code(0);
    house.rollcall(&["district", "test", DISTRICT]).await.expect_code(0);
    house.close().await;
}
