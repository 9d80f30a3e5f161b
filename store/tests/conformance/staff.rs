//! The roster's staff, as far as they may see something: what both engines must do alike.

use rollcall_proto::{
    id::{ConnectionNo, DistrictId, StudentId},
    roster::{Person, Staff},
};
use rollcall_store::{
    district::{ConnectionSecrets, District},
    plan::Verdict,
    run::NewRun,
};

use crate::{
    common::{Fixture, later, manual, now},
    roster_support::{added, applied, at_plan, change, date, plan_of, run_at_plan, student},
};

crate::on_both_engines! {
    staff_who_left_are_not_found,
    staff_are_of_the_source_that_lists_them,
    staff_leave_a_source_that_tells_and_stay_in_another,
    staff_of_before_count_where_there_is_one_source,
    staff_stay_as_they_were_by_a_plan_of_before,
    who_is_not_listed_is_nobody_elses_whom_a_listing_with_gaps_names,
    staff_who_are_wanted_no_more_have_left,
    staff_who_left_see_nothing_while_a_plan_is_held,
}

/// A district's first connection.
pub(crate) const FIRST: ConnectionNo = ConnectionNo(0);

/// The fixture's district with a connection for each prefix, which wants these staff.
pub(crate) async fn sources(f: &Fixture, staff: &str, prefixes: &[&str]) -> DistrictId {
    let connection = |prefix: &&str| {
        serde_json::json!({"kind": "oneroster", "base_url": "https://sis.example/API", "client_id": "c",
            "id_prefix": prefix, "staff": staff})
    };
    let connections: Vec<_> = prefixes.iter().map(connection).collect();
    let json = serde_json::json!({"id": "a", "name": "A", "time_zone": "America/Chicago", "connection": connections});
    let district: District = serde_json::from_value(json).unwrap();
    let secrets = vec![ConnectionSecrets::default(); prefixes.len()];
    f.store.apply_district(&district, &secrets, "test", now()).await.unwrap();
    district.id
}

/// A run that lists these staff.
pub(crate) async fn lists_staff(f: &Fixture, district: &DistrictId, seq: u32, staff: Vec<Staff>) {
    let run = run_at_plan(&f.store, district, seq).await;
    let mut plan = plan_of(&f.store, district, Verdict::Nothing, &[]).await;
    plan.staff = staff;
    plan.staff_whole = true;
    assert!(f.store.save_plan(district, run.id, &plan, later(seq.into())).await.unwrap());
}

async fn staff_are_of_the_source_that_lists_them(f: Fixture) {
    let district = sources(&f, "active", &["a-", "b-"]).await;
    let of = |connection, id: &str| Staff { connection: Some(connection), ..member(id) };
    let staff = vec![of(0, "a-1"), of(0, "a-2"), of(1, "b-1"), of(1, "b-3")];
    lists_staff(&f, &district, 1, staff.clone()).await;
    assert_eq!(f.store.staff_records(&district).await.unwrap(), staff);
    let found = async |source, id: &str| {
        let member = f.store.staff_by_id(&district, ConnectionNo(source), id).await.unwrap();
        member.map(|member| (member.staff_id, member.connection))
    };
    let (a, b) = (|id: &str| Some((format!("a-{id}"), 0)), |id: &str| Some((format!("b-{id}"), 1)));
    assert_eq!((found(0, "2").await, found(1, "2").await), (a("2"), None), "as the platform names the person");
    assert_eq!((found(0, "3").await, found(1, "3").await), (None, b("3")));
    assert_eq!((found(0, "b-1").await, found(1, "b-1").await), (None, b("1")));
    assert_eq!((found(0, "1").await, found(1, "1").await), (a("1"), b("1")), "two people of two sources");
    assert_eq!(found(2, "1").await, None);
    let by_email = async |source| f.store.staff_by_email(&district, ConnectionNo(source), "b-1@example.org").await;
    assert_eq!(by_email(0).await.unwrap(), None);
    let member = by_email(1).await.unwrap().unwrap();
    assert_eq!((member.connection, member.entities), (1, vec!["1".to_owned()]));
    lists_staff(&f, &district, 2, vec![of(0, "a-2"), of(1, "b-1")]).await;
    assert_eq!(
        (found(0, "1").await, found(1, "1").await),
        (None, b("1")),
        "who left may still be known to the platform"
    );
    // Students of both at entity 1 and a school of code 101.
    let of = |connection, id: &str| rollcall_proto::roster::Student { connection, ..student(id) };
    applied(&f.store, &district, 3, vec![added(of(0, "a-S1")), added(of(1, "b-S2"))]).await;
    let today = date(2);
    for (named, connection, school) in [("S1", 0, "a-101"), ("S2", 1, "b-101"), ("b-S2", 1, "b-101")] {
        let subject = f.store.subject(&district, ConnectionNo(connection), named, today).await.unwrap().unwrap();
        assert_eq!(subject.connection, connection, "{named}");
        assert!(subject.schools.iter().all(|code| code == school) && !subject.schools.is_empty(), "{subject:?}");
    }
    for (connection, before, prefix, strangers) in [
        (0, Some("b-"), "a-", 0),
        (0, Some("a-"), "b-", 1),
        (0, Some("a-"), "", 1),
        (0, Some("c-"), "", 0),
        (1, None, "b-", 0),
        (1, None, "c-", 1),
        (1, None, "", 0),
        (2, None, "c-", 0),
    ] {
        let found = f.store.strangers_at(&district, connection, before, prefix).await.unwrap();
        assert_eq!(found, strangers, "{connection} {before:?} {prefix:?}");
    }
    let alone = sources(&f, "active", &["a-"]).await;
    let subject = f.store.subject_with_id(&alone, &StudentId("b-S2".to_owned()), today).await.unwrap().unwrap();
    assert_eq!(subject.schools, [""; 0], "of a source that the file has no more, and 101 is another's");
    let subject = f.store.subject(&alone, FIRST, "S1", today).await.unwrap().unwrap();
    assert!(["101", "a-101"].iter().all(|code| subject.schools.iter().any(|school| school == code)), "{subject:?}");
}

async fn staff_leave_a_source_that_tells_and_stay_in_another(f: Fixture) {
    let district = sources(&f, "active", &["a-", "b-"]).await;
    let of = |connection, id: &str| Staff { connection: Some(connection), ..member(id) };
    lists_staff(&f, &district, 1, vec![of(0, "a-1"), of(0, "a-2"), of(1, "b-1"), of(1, "b-2")]).await;
    let plan_with = async |seq: u32, staff: Vec<Staff>, whole: Vec<u16>| {
        let run = run_at_plan(&f.store, &district, seq).await;
        let mut plan = plan_of(&f.store, &district, Verdict::Nothing, &[]).await;
        (plan.staff, plan.staff_whole_of) = (staff, whole);
        assert!(f.store.save_plan(&district, run.id, &plan, later(seq.into())).await.unwrap());
        f.store.staff_ids(&district).await.unwrap()
    };
    assert_eq!(plan_with(2, vec![of(0, "a-1"), of(1, "b-1")], vec![0]).await, ["a-1", "b-1", "b-2"]);
    assert_eq!(plan_with(3, vec![of(0, "a-1")], vec![0, 1]).await, ["a-1", "b-1", "b-2"], "one that lists nobody");
    assert_eq!(plan_with(4, vec![of(1, "b-2")], Vec::new()).await, ["a-1", "b-1", "b-2"]);
    assert_eq!(plan_with(5, vec![of(0, "a-1"), of(1, "b-2")], vec![0, 1]).await, ["a-1", "b-2"]);
}

async fn staff_of_before_count_where_there_is_one_source(f: Fixture) {
    let district = sources(&f, "active", &["a-"]).await;
    let before = |id: &str| Staff { connection: None, ..member(id) };
    lists_staff(&f, &district, 1, vec![before("1"), before("2")]).await;
    let found = async |id: &str| f.store.staff_by_id(&district, FIRST, id).await.unwrap().map(|member| member.staff_id);
    assert_eq!(found("1").await.as_deref(), Some("1"));
    sources(&f, "active", &["a-", "b-"]).await;
    assert_eq!(found("1").await, None, "nobody knows of which");
    sources(&f, "active", &["a-"]).await;
    let run = run_at_plan(&f.store, &district, 2).await;
    let mut plan = plan_of(&f.store, &district, Verdict::Nothing, &[]).await;
    plan.staff = vec![member("a-1")];
    assert!(f.store.save_plan(&district, run.id, &plan, later(2)).await.unwrap());
    assert_eq!(found("1").await.as_deref(), Some("a-1"));
    assert_eq!(found("2").await.as_deref(), Some("2"));
    let run = run_at_plan(&f.store, &district, 3).await;
    let mut plan = plan_of(&f.store, &district, Verdict::Nothing, &[]).await;
    plan.staff_gone = vec!["a-1".to_owned()];
    assert!(f.store.save_plan(&district, run.id, &plan, later(3)).await.unwrap());
    assert_eq!(found("1").await, None, "the row of before does not outlive the person's own");
}

/// A run that a version before has planned, and this one or that one releases: it knows of no connections and no prefixes.
async fn staff_stay_as_they_were_by_a_plan_of_before(f: Fixture) {
    let district = sources(&f, "active", &["", "b-"]).await;
    let of = |connection, id: &str| Staff { connection: Some(connection), ..member(id) };
    let before = |id: &str| Staff { connection: None, ..member(id) };
    let noted = vec![of(1, "b-2"), of(0, "t1")];
    lists_staff(&f, &district, 1, noted.clone()).await;
    lists_staff(&f, &district, 2, vec![before("2"), before("t1"), before("t3")]).await;
    assert_eq!(f.store.staff_records(&district).await.unwrap(), noted);
    let found = async |id: &str| f.store.staff_by_id(&district, FIRST, id).await.unwrap().map(|member| member.staff_id);
    assert_eq!((found("t1").await.as_deref(), found("2").await), (Some("t1"), None));

    sources(&f, "active", &["a-"]).await;
    lists_staff(&f, &district, 3, vec![of(0, "a-7")]).await;
    let as_left = "UPDATE staff SET left_at = '2026-11-01T00:00:00+00:00' WHERE district = $1 AND staff_id = 'a-7'";
    change(&f, &district, as_left).await;
    let plain = "INSERT INTO staff (district, staff_id, name_id, phones, emails, addresses, teacher, entities, run) \
                 SELECT district, '7', name_id, phones, emails, addresses, teacher, entities, run FROM staff \
                 WHERE district = $1 AND staff_id = 'a-7'";
    change(&f, &district, plain).await;
    assert_eq!(found("7").await.as_deref(), Some("7"));
    assert!(f.store.staff_by_email(&district, FIRST, "a-7@example.org").await.unwrap().is_some());
    lists_staff(&f, &district, 4, vec![of(0, "a-7"), of(0, "a-8")]).await;
    assert_eq!(found("7").await.as_deref(), Some("a-7"));
    assert!(f.store.staff_by_email(&district, FIRST, "a-7@example.org").await.unwrap().is_some());
}

/// Rows of before connections were noted stay as they are by a listing with gaps. Nobody who was listed takes their place.
async fn who_is_not_listed_is_nobody_elses_whom_a_listing_with_gaps_names(f: Fixture) {
    let district = sources(&f, "active", &[""]).await;
    let before = |id: &str| Staff { connection: None, ..member(id) };
    let with_gaps = async |seq: u32, staff: Vec<Staff>| {
        let run = run_at_plan(&f.store, &district, seq).await;
        let mut plan = plan_of(&f.store, &district, Verdict::Nothing, &[]).await;
        plan.staff = staff;
        assert!(f.store.save_plan(&district, run.id, &plan, later(seq.into())).await.unwrap());
    };
    let mut shares = before("s2");
    shares.person = member("s1").person;
    lists_staff(&f, &district, 1, vec![before("T7"), before("s1"), shares]).await;
    with_gaps(2, vec![member("t7"), member("s1")]).await;
    let found = async |id: &str| f.store.staff_by_id(&district, FIRST, id).await.unwrap().map(|member| member.staff_id);
    let by_email = async || f.store.staff_by_email(&district, FIRST, "s1@example.org").await.unwrap();
    assert_eq!((found("T7").await.as_deref(), found("t7").await.as_deref()), (Some("T7"), Some("t7")));
    assert_eq!(by_email().await, None, "two people have the address");
    sources(&f, "active", &["", "b-"]).await;
    assert_eq!((found("T7").await, found("t7").await.as_deref()), (None, Some("t7")), "nobody knows of which");
    assert_eq!(by_email().await, None);
    sources(&f, "active", &[""]).await;
    lists_staff(&f, &district, 3, vec![member("t7"), member("s1")]).await;
    assert_eq!(
        (found("T7").await, found("t7").await.as_deref()),
        (None, Some("t7")),
        "who left is not let in as another"
    );
    assert_eq!(by_email().await.unwrap().staff_id, "s1");
    let small = "7c0d1e9f-0000-4000-8000-0000000000f1";
    lists_staff(&f, &district, 4, vec![member(small)]).await;
    assert_eq!(found(&small.to_uppercase()).await.as_deref(), Some(small));
    lists_staff(&f, &district, 5, vec![member(&small.to_uppercase())]).await;
    assert_eq!(found(small).await, Some(small.to_uppercase()), "a UUID is the same in either case");
}

async fn staff_who_are_wanted_no_more_have_left(f: Fixture) {
    let district = sources(&f, "active", &["", "b-"]).await;
    let of = |connection, id: &str| Staff { connection: Some(connection), ..member(id) };
    let staff = vec![of(1, "b-2"), of(0, "t1")];
    lists_staff(&f, &district, 1, staff.clone()).await;
    let found = async || {
        let by_id = f.store.staff_by_id(&district, FIRST, "T1").await.unwrap().is_some();
        let by_email = f.store.staff_by_email(&district, FIRST, "t1@example.org").await.unwrap().is_some();
        assert_eq!(by_id, by_email);
        by_id
    };
    assert!(found().await);
    sources(&f, "none", &["", "b-"]).await;
    assert!(!found().await);
    assert_eq!(f.store.staff_ids(&district).await.unwrap(), [""; 0]);
    lists_staff(&f, &district, 2, Vec::new()).await;
    sources(&f, "active", &["", "b-"]).await;
    assert!(!found().await, "what was listed once is no word on who is wanted now");
    lists_staff(&f, &district, 3, staff).await;
    assert!(found().await);
    lists_staff(&f, &district, 4, Vec::new()).await;
    assert!(found().await, "an empty listing proves nothing where staff are wanted");
}

async fn staff_who_left_are_not_found(f: Fixture) {
    let district = sources(&f, "active", &[""]).await;
    let night = async |seq: u32, ids: &[&str], whole| {
        let run = run_at_plan(&f.store, &district, seq).await;
        let mut plan = plan_of(&f.store, &district, Verdict::Nothing, &[]).await;
        plan.staff = ids.iter().map(|id| member(id)).collect();
        plan.staff_whole = whole;
        assert!(f.store.save_plan(&district, run.id, &plan, later(seq.into())).await.unwrap());
    };
    let found = async |id: &str| {
        let by_id = f.store.staff_by_id(&district, FIRST, id).await.unwrap().is_some();
        let by_email = f.store.staff_by_email(&district, FIRST, &format!("{id}@example.org")).await.unwrap().is_some();
        assert_eq!(by_id, by_email, "{id}");
        by_id
    };
    night(1, &["t1", "t2"], true).await;
    assert!(found("t1").await && found("t2").await);
    night(2, &["t1"], false).await;
    assert!(found("t2").await, "a listing with gaps proves nothing");
    night(3, &[], true).await;
    assert!(found("t1").await && found("t2").await, "neither does an empty one");
    night(4, &["t1"], true).await;
    assert!(found("t1").await && !found("t2").await);
    night(5, &["t1", "t2"], false).await;
    assert!(found("t2").await, "who is listed again is back");
    assert_eq!(f.store.staff_ids(&district).await.unwrap(), ["t1", "t2"]);
    let run = run_at_plan(&f.store, &district, 6).await;
    let mut plan = plan_of(&f.store, &district, Verdict::Nothing, &[]).await;
    plan.staff_gone = vec!["t2".to_owned()];
    assert!(f.store.save_plan(&district, run.id, &plan, later(6)).await.unwrap());
    assert!(found("t1").await && !found("t2").await, "who is told to have left has");
    assert_eq!(f.store.staff_ids(&district).await.unwrap(), ["t1"]);
}

/// An approval may be weeks away, and gives what it gives then.
async fn staff_who_left_see_nothing_while_a_plan_is_held(f: Fixture) {
    let district = sources(&f, "active", &["a-", "b-"]).await;
    let of = |connection: u16, ids: &[u32]| -> Vec<Staff> {
        let name = if connection == 0 { "a" } else { "b" };
        ids.iter().map(|id| Staff { connection: Some(connection), ..member(&format!("{name}-{id}")) }).collect()
    };
    lists_staff(&f, &district, 1, [of(0, &[1, 2, 3, 4]), of(1, &[1, 2, 3])].concat()).await;
    let held = async |seq: u32, listed: Vec<Staff>, whole: &[u16], gone: &[&str]| {
        let run = run_at_plan(&f.store, &district, seq).await;
        let mut plan = plan_of(&f.store, &district, Verdict::Hold("preview".to_owned()), &[]).await;
        (plan.staff, plan.staff_whole_of) = (listed, whole.to_vec());
        plan.staff_gone = gone.iter().map(ToString::to_string).collect();
        assert!(f.store.save_plan(&district, run.id, &plan, later(seq.into())).await.unwrap());
        (run.id, f.store.staff_ids(&district).await.unwrap().join(" "))
    };
    let all = "a-1 a-2 a-3 a-4 b-1 b-2 b-3";
    let (_, there) = held(2, of(0, &[1, 2, 3]), &[], &[]).await;
    assert_eq!(there, all, "a listing with gaps proves nothing");
    let (_, there) = held(3, [of(0, &[1, 2, 3, 4]), of(1, &[1, 2])].concat(), &[0, 1], &[]).await;
    assert_eq!(there, all, "more than a quarter of a source: that waits for a person");
    let (run, there) = held(4, [of(0, &[1, 2, 3, 5]), of(1, &[1, 2])].concat(), &[0, 1], &[]).await;
    assert_eq!(there, "a-1 a-2 a-3 b-1 b-2 b-3", "a quarter has left; whoever is new is not there yet");
    f.store.approve(&district, run, "principal", later(5)).await.unwrap().unwrap();
    assert_eq!(f.store.staff_ids(&district).await.unwrap().join(" "), "a-1 a-2 a-3 a-5 b-1 b-2");
    let look = NewRun { plan_only: true, ..manual(&district) };
    let run = at_plan(&f.store, &look).await;
    let mut plan = plan_of(&f.store, &district, Verdict::Hold("preview".to_owned()), &[]).await;
    (plan.staff, plan.staff_whole) = (of(0, &[1, 2, 3]), true);
    assert!(f.store.save_plan(&district, run.id, &plan, later(5)).await.unwrap());
    let there = f.store.staff_ids(&district).await.unwrap().join(" ");
    assert_eq!(there, "a-1 a-2 a-3 a-5 b-1 b-2", "whoever only looks at a plan takes nothing away");
    let (_, there) = held(6, of(0, &[1, 2, 3, 4, 5]), &[], &["b-2"]).await;
    assert_eq!(there, "a-1 a-2 a-3 a-5 b-1", "who is told to have left has, and who is back waits");
}

pub(crate) fn member(id: &str) -> Staff {
    let email = serde_json::json!({"id": "1", "rank": 1, "kind": null, "address": format!("{id}@example.org")});
    let person =
        Person { name_id: id.to_owned(), emails: vec![serde_json::from_value(email).unwrap()], ..Person::default() };
    Staff {
        id: id.to_owned(),
        connection: Some(0),
        number: None,
        person,
        teacher: true,
        entities: vec!["1".to_owned()],
    }
}
