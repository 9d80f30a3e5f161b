//! Districts with two sources: a small one does not lose its students unseen beside a large one.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use rollcall_e2e::{House, house, roster::statuses};
use rollcall_sandbox::{Sandbox, SandboxConfig};

fn source(students: u32, seed: u64) -> SandboxConfig {
    SandboxConfig { students, seed, today: house::today(), change_percent: 0.0, ..SandboxConfig::default() }
}

/// The small source's SIS is told to show the app but some of its schools: half of its students, who are few of the district's.
/// Asked for by their ids, the others are gone.
async fn narrows(mut house: House) {
    let second = Sandbox::start(source(60, 5)).await.unwrap();
    house.district.add_source(&second.base_url(), second.client_id());
    house.apply().await;
    assert_eq!(house.night().await.state, "succeeded");
    let kept = statuses(&house.students().await);
    let attending = |of_second: bool| {
        let own = kept.iter().filter(|(id, _)| id.starts_with("b-") == of_second);
        own.filter(|(_, status)| ["ENROLLED", "PRE_ENROLLED"].contains(&status.as_str())).count() as u64
    };
    second.set_night(3);
    let held = house.night().await;
    assert_eq!((held.state.as_str(), held.removed > 9), ("held", true), "{held:#?}");
    assert!(held.removed * 10 <= attending(true) + attending(false), "within the limit of the run: {held:#?}");
    let said = format!("connection 2: removed {} of {} (", held.removed, attending(true));
    assert!(held.reason.as_deref().unwrap().starts_with(&said), "{held:#?}");
    assert_eq!(statuses(&house.students().await), kept, "a held run changes nothing");

    let plan = house.rollcall(&["run", house::DISTRICT, "--plan", "--wait", "--format", "json"]).await.expect_code(0);
    let preview = house.show(plan.json()[0]["run"].as_str().unwrap()).await;
    assert_eq!(preview.reason.as_deref(), Some("preview"));
    assert!(preview.why().contains(&said), "and a preview says so: {}", preview.why());

    house.rollcall(&["runs", "approve", &preview.run, "--wait"]).await.expect_code(0);
    let run = house.show(&preview.run).await;
    assert_eq!((run.state.as_str(), run.removed), ("succeeded", held.removed), "{run:#?}");
    run.check_counts();
    let now = statuses(&house.students().await);
    let changed: Vec<_> = kept.iter().filter(|(id, status)| now.get(*id) != Some(*status)).collect();
    assert!(changed.iter().all(|(id, _)| id.starts_with("b-") && now[*id] == "INACTIVE"), "{changed:?}");
    assert_eq!(changed.len() as u64, held.removed);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_source_that_shows_half_its_students_is_held_embedded() {
    narrows(House::embedded(source(400, 3)).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_source_that_shows_half_its_students_is_held_scaled_out() {
    let mut house = House::scaled_out(source(400, 3)).await;
    house.start_workers(1);
    narrows(house).await;
}
