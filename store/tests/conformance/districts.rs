//! Districts as they are applied, their secrets and schedules; and what is not there.

use rollcall_proto::id::{ConnectionNo, ListingNo, PageNo, RunId};
use rollcall_store::{
    Store, StoreError,
    district::ConnectionSecrets,
    run::{RunState, Stage},
};
use secrecy::ExposeSecret as _;

use crate::{
    common::{Fixture, both, day, district, later, manual, new_key, now, page, ring, scheduled},
    support::{FIRST, secrets},
};

crate::on_both_engines! {
    a_district_reads_back_as_it_was_applied,
    a_removed_district_runs_no_more_and_can_come_back,
    a_removed_districts_runs_are_cancelled_and_their_pages_age_out,
    secrets_read_back_and_lie_sealed,
    as_many_secrets_as_connections,
    another_key_opens_nothing_and_says_what_to_do,
    a_rotated_key_opens_every_secret,
    nothing_is_sealed_anew_by_who_does_not_seal_with_the_new_key,
    schedules_are_those_that_are_on,
    a_schedule_that_was_off_catches_nothing_up,
    several_processes_open_one_store,
    what_is_not_there_is_named,
}

async fn a_district_reads_back_as_it_was_applied(f: Fixture) {
    let mut wanted = district("lone-star");
    f.store.apply_district(&wanted, &[ConnectionSecrets::default()], "test", now()).await.unwrap();
    assert_eq!(f.store.district(&wanted.id).await.unwrap(), wanted);
    "Ümläut \"ISD\" 🏫".clone_into(&mut wanted.name);
    wanted.connections[0].page_size = 10_000;
    f.store.apply_district(&wanted, &[ConnectionSecrets::default()], "test", later(1)).await.unwrap();
    assert_eq!(f.store.district(&wanted.id).await.unwrap(), wanted);
    f.district("alamo").await;
    let ids: Vec<String> = f.store.districts().await.unwrap().into_iter().map(String::from).collect();
    assert_eq!(ids, ["alamo", "lone-star"]);
    f.store.check().await.unwrap();
}

async fn a_removed_district_runs_no_more_and_can_come_back(f: Fixture) {
    let id = f.district("a").await;
    f.store.remove_district(&id, "test", later(1)).await.unwrap();
    assert!(f.store.districts().await.unwrap().is_empty());
    assert!(f.store.schedules().await.unwrap().is_empty());
    assert!(matches!(f.store.create_run(&manual(&id), now()).await, Err(StoreError::NoDistrict(_))));
    assert_eq!(f.store.district(&id).await.unwrap().id, id);
    f.district("a").await;
    assert_eq!(f.store.districts().await.unwrap(), std::slice::from_ref(&id));
    assert!(f.store.create_run(&manual(&id), now()).await.unwrap().is_some());
}

async fn a_removed_districts_runs_are_cancelled_and_their_pages_age_out(f: Fixture) {
    let (id, other) = (f.district("a").await, f.district("b").await);
    let run = f.store.create_run(&manual(&id), now()).await.unwrap().unwrap().id;
    let others = f.store.create_run(&manual(&other), now()).await.unwrap().unwrap().id;
    f.store.save_page(&id, run, &page(0, 1)).await.unwrap();
    let removed = f.store.remove_district(&id, "ana", later(1)).await.unwrap();
    assert_eq!((removed.cancelled.as_slice(), removed.written), ([run].as_slice(), 0));
    let cancelled = f.store.run(&id, run).await.unwrap();
    assert_eq!((cancelled.state, cancelled.stage), (RunState::Cancelled, Stage::Closed));
    assert_eq!(cancelled.reason.as_deref(), Some("the district was removed by ana"));
    assert_eq!(cancelled.ended_at, Some(later(1)));
    assert_eq!(f.store.run(&other, others).await.unwrap().state, RunState::Queued);
    let trail = f.store.audit_trail(&id, 2).await.unwrap();
    let told: Vec<_> = trail.iter().map(|entry| (entry.action.as_str(), entry.run)).collect();
    assert_eq!(told, [("district.remove", None), ("run.cancel", Some(run))]);
    // Said again, it has nothing left to cancel.
    assert_eq!(f.store.remove_district(&id, "ana", later(2)).await.unwrap().cancelled, []);
    assert_eq!(f.store.forget_pages(later(3)).await.unwrap(), 1);
}

fn assert_secrets(found: &ConnectionSecrets) {
    assert_eq!(found.client_secret.expose_secret(), "client-s3cret");
    assert_eq!(found.vendor_secret.as_ref().unwrap().expose_secret(), "vendor-s3cret");
    assert_eq!(found.token_secret_parameters["third"].expose_secret(), "third-s3cret");
    assert_eq!(found.secret_headers["x-key"].expose_secret(), "header-s3cret");
}

async fn secrets_read_back_and_lie_sealed(f: Fixture) {
    let district = district("a");
    f.store.apply_district(&district, &[secrets()], "test", now()).await.unwrap();
    assert_secrets(&f.store.secrets(&district.id, FIRST).await.unwrap());
    assert_secrets(&f.again().await.secrets(&district.id, FIRST).await.unwrap());
    assert!(f.store.secrets(&district.id, ConnectionNo(1)).await.is_err());
    if let Some(dir) = f.dir() {
        for file in std::fs::read_dir(dir).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            assert!(!bytes.windows(6).any(|window| window == b"s3cret"));
        }
    }
}

async fn as_many_secrets_as_connections(f: Fixture) {
    let applied = f.store.apply_district(&district("a"), &[], "test", now()).await;
    assert!(matches!(applied, Err(StoreError::Refused { .. })));
    assert!(f.store.districts().await.unwrap().is_empty());
}

async fn another_key_opens_nothing_and_says_what_to_do(f: Fixture) {
    let id = f.district("a").await;
    let run = f.run(&id).await.id;
    f.store.save_page(&id, run, &page(0, 1)).await.unwrap();
    let stranger = f.opened_with(&new_key()).await;
    let error = stranger.secrets(&id, FIRST).await.err().unwrap();
    let StoreError::Key(text) = &error else { panic!("{error}") };
    assert!(text.contains("add that key to ROLLCALL_KEY"), "{text}");
    assert!(
        text.contains("not among those given (") && text.contains(", of ROLLCALL_KEY)"),
        "which, from where: {text}"
    );
    let raw = stranger.raw_page(&id, run, FIRST, ListingNo(0), PageNo(1)).await;
    assert!(matches!(raw, Err(StoreError::Key(_))));
}

async fn a_rotated_key_opens_every_secret(f: Fixture) {
    for id in ["a", "b"] {
        f.store.apply_district(&district(id), &[secrets()], "test", now()).await.unwrap();
    }
    let (a, new) = (district("a").id, new_key());
    let run = f.run(&a).await.id;
    f.store.save_page(&a, run, &page(0, 1)).await.unwrap();
    f.store.remove_district(&district("b").id, "test", now()).await.unwrap();
    let rotator = f.opened_with(&both(&new, &f.key)).await;
    assert_eq!(rotator.rotate_key(&ring(&new), "test", later(1)).await.unwrap(), 2);
    for store in [rotator.clone(), f.opened_with(&new).await] {
        assert_secrets(&store.secrets(&a, FIRST).await.unwrap());
        assert_secrets(&store.secrets(&district("b").id, FIRST).await.unwrap());
    }
    assert!(matches!(f.again().await.secrets(&a, FIRST).await, Err(StoreError::Key(_))));
    // Raw pages stay under the key they were sealed with.
    assert!(rotator.raw_page(&a, run, FIRST, ListingNo(0), PageNo(1)).await.unwrap().is_some());
    let trail = f.store.audit_trail(&a, 1).await.unwrap();
    assert_eq!((trail[0].action.as_str(), trail[0].detail.as_str()), ("key.rotate", "secrets=1 documents=0"));
}

async fn nothing_is_sealed_anew_by_who_does_not_seal_with_the_new_key(f: Fixture) {
    f.store.apply_district(&district("a"), &[secrets()], "test", now()).await.unwrap();
    let (a, new) = (district("a").id, new_key());
    for (store, found) in
        [(f.store.clone(), "is not among"), (f.opened_with(&both(&f.key, &new)).await, "is not the first among")]
    {
        let error = store.rotate_key(&ring(&new), "test", later(1)).await.unwrap_err();
        let StoreError::Key(text) = &error else { panic!("{error}") };
        let steps = ["`old,new`", "`new,old`", "nothing was sealed anew"].iter().all(|part| text.contains(part));
        assert!(text.contains(found) && steps, "{text}");
        assert_secrets(&f.again().await.secrets(&a, FIRST).await.unwrap());
    }
    assert_ne!(f.store.audit_trail(&a, 1).await.unwrap()[0].action, "key.rotate");
}

async fn schedules_are_those_that_are_on(f: Fixture) {
    let mut off = district("off");
    off.schedule.enabled = false;
    f.store.apply_district(&off, &[ConnectionSecrets::default()], "test", now()).await.unwrap();
    let id = f.district("on").await;
    f.store.create_run(&scheduled(&id, "2026-10-04"), now()).await.unwrap().unwrap();
    let schedules = f.store.schedules().await.unwrap();
    assert_eq!(schedules.len(), 1);
    assert_eq!(schedules[0].district, id);
    assert_eq!(schedules[0].time_zone, chrono_tz::America::Chicago);
    assert_eq!(schedules[0].at, "02:00:00".parse().unwrap());
    assert!(schedules[0].weekends);
    assert_eq!(schedules[0].last_scheduled, Some(day("2026-10-04")));
    assert_eq!(schedules[0].since, now());
}

async fn a_schedule_that_was_off_catches_nothing_up(f: Fixture) {
    let mut changed = district("a");
    let since = async |store: &Store| store.schedules().await.unwrap()[0].since;
    f.district("a").await;
    f.store.apply_district(&changed, &[ConnectionSecrets::default()], "test", later(1)).await.unwrap();
    assert_eq!(since(&f.store).await, now());
    changed.schedule.enabled = false;
    f.store.apply_district(&changed, &[ConnectionSecrets::default()], "test", later(2)).await.unwrap();
    changed.schedule.enabled = true;
    f.store.apply_district(&changed, &[ConnectionSecrets::default()], "test", later(3)).await.unwrap();
    assert_eq!(since(&f.store).await, later(3));
    f.store.remove_district(&changed.id, "test", later(4)).await.unwrap();
    f.store.apply_district(&changed, &[ConnectionSecrets::default()], "test", later(5)).await.unwrap();
    assert_eq!(since(&f.store).await, later(5));
}

async fn several_processes_open_one_store(f: Fixture) {
    let id = f.district("a").await;
    let (one, two, three, four) = tokio::join!(f.again(), f.again(), f.again(), f.again());
    for store in [one, two, three, four] {
        assert_eq!(store.districts().await.unwrap(), std::slice::from_ref(&id));
        store.check().await.unwrap();
    }
}

async fn what_is_not_there_is_named(f: Fixture) {
    let (id, run) = ("nobody".parse().unwrap(), RunId(uuid::Uuid::from_u128(1)));
    assert!(matches!(f.store.district(&id).await, Err(StoreError::NoDistrict(_))));
    assert!(matches!(f.store.roster_version(&id).await, Err(StoreError::NoDistrict(_))));
    assert!(matches!(f.store.remove_district(&id, "test", now()).await, Err(StoreError::NoDistrict(_))));
    assert!(matches!(f.store.run(&id, run).await, Err(StoreError::NoRun(_))));
    assert!(matches!(f.store.district_of(run).await, Err(StoreError::NoRun(_))));
    assert!(f.store.save_page(&id, run, &page(0, 1)).await.is_err());
}
