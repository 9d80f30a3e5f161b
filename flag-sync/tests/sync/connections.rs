//! A district of several connections: flags go through one of them, and only its students have an id there.

use rollcall_proto::roster::Student;
use rollcall_store::{
    district::{ConnectionSecrets, District},
    flag::FlagState,
};

use crate::{
    common::{Fixture, day},
    house::{ANOTHER_SIS, House, file, program},
    on_both_engines,
    roster_support::{added, applied, changed, student},
};

on_both_engines! {
    students_of_another_sis_have_no_id_in_campus,
    students_of_every_connection_to_the_campus_have_their_flags,
    the_id_that_is_sent_is_the_one_without_the_connections_prefix,
}

/// Another SIS's school first, then Campus, each with a prefix of its own.
async fn two_connections(f: Fixture) -> House {
    let house = House::create_new(f).await;
    let mut both = file(&house.campus, &program("create-new"));
    let campus = &mut both.connections[0];
    campus.id_prefix = Some("camp-".to_owned());
    let mut other = campus.clone();
    other.base_url = "https://sis.example/campus/api/oneroster/v1p2/rollcall/ims/oneroster".parse().unwrap();
    (other.id_prefix, other.vendor_key) = (Some("north-".to_owned()), None);
    both.connections.insert(0, other);
    apply(&house, &both).await;
    // Both have somebody of the same id, and it is in different people's names.
    let of = |connection, prefix: &str, sis_id: &str| Student {
        connection,
        sis_id: Some(sis_id.to_owned()),
        ..student(&format!("{prefix}{sis_id}"))
    };
    let everybody = [of(0, "north-", "41"), of(1, "camp-", "41"), of(0, "north-", "42")];
    applied(house.store(), &house.district, 2, everybody.map(added).into()).await;
    house
}

async fn apply(house: &House, file: &District) {
    let secrets = || ConnectionSecrets {
        client_secret: house.campus.config().client_secret.clone().into(),
        vendor_secret: Some(house.campus.config().vendor_secret.as_str().into()),
        ..ConnectionSecrets::default()
    };
    let secrets = [secrets(), secrets()];
    house
        .store()
        .apply_district(file, &secrets, "test", rollcall_proto::clock::Clock::now(&house.clock))
        .await
        .unwrap();
}

async fn students_of_another_sis_have_no_id_in_campus(f: Fixture) {
    let house = two_connections(f).await;
    house.complete("n41", "north-41", "2026-08-20", None).await;
    house.complete("n42", "north-42", "2026-08-20", None).await;
    // One by one, and all together.
    house.settle().await;
    house.night().await;
    assert_eq!(house.shown(), [].into(), "not even for the one whose id somebody else has in Campus");
    let unknown = ("no-sis-id", Some(ANOTHER_SIS.to_owned()));
    let states = house.states().await;
    assert_eq!(states, ["north-41", "north-42"].map(|student| (student.to_owned(), unknown.clone())).into());
    house.complete("c41", "camp-41", "2026-08-21", None).await;
    house.settle().await;
    assert_eq!(house.shown(), [("41".to_owned(), (day("2026-08-21"), None))].into());
    assert_eq!(house.states().await["north-41"], unknown);
    // Who comes in over the connection of the flags has one.
    let moved = Student { connection: 1, sis_id: Some("42".to_owned()), ..student("north-42") };
    applied(house.store(), &house.district, 3, vec![changed(moved)]).await;
    house.unasked_night().await;
    assert_eq!(house.shown()["42"], (day("2026-08-20"), None));
}

/// Each is limited to some of its schools, and the vendor pair stands at one of them.
async fn students_of_every_connection_to_the_campus_have_their_flags(f: Fixture) {
    let house = two_connections(f).await;
    let mut both = house.store().district(&house.district).await.unwrap();
    let copied = format!("{}/rostering/v1p2/", house.campus.base_url());
    both.connections[0].base_url = copied.parse().unwrap();
    apply(&house, &both).await;
    house.complete("n42", "north-42", "2026-08-20", None).await;
    house.complete("c41", "camp-41", "2026-08-21", None).await;
    house.settle().await;
    let shown = [("41".to_owned(), (day("2026-08-21"), None)), ("42".to_owned(), (day("2026-08-20"), None))];
    assert_eq!(house.shown(), shown.into());
    house.night().await;
    assert_eq!(house.states().await["north-42"], ("pushed", None));
}

async fn the_id_that_is_sent_is_the_one_without_the_connections_prefix(f: Fixture) {
    let house = two_connections(f).await;
    house.complete("c41", "camp-41", "2026-08-20", None).await;
    house.settle().await;
    house.night().await;
    let flag = house.flags().await.remove(0);
    assert_eq!(
        (flag.student.0.as_str(), flag.sis_id.as_deref(), flag.state),
        ("camp-41", Some("41"), FlagState::Pushed)
    );
    assert_eq!(house.flag_of("41").program, "101");
    house.withdraw("c41").await;
    house.settle().await;
    assert_eq!(house.shown(), [("41".to_owned(), (day("2026-08-20"), Some(day("2026-08-31"))))].into());
    assert_eq!(house.campus.stats().writes, 2);
}
