//! What both engines must do alike for the HTTP side: registrations, logins, tickets, keys, people, the access log,
//! integrations.

use rollcall_proto::{
    id::{DistrictId, StudentId},
    message::StudentEvent,
    roster::{Person, Staff},
};
use rollcall_store::{
    ForgottenTrail, StoreError,
    district::{ConnectionSecrets, District},
    integrations::{Integration, TokenHolder},
    lti::{
        DeploymentTaken, Digest, LoginRequest, NewLogin, NewView, Place, Registration, RegistrationDetails,
        StaffAccess, StudentScope, ToolKey, UserAccess, ViewOutcome,
    },
    plan::Verdict,
};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::{
    common::{Fixture, later, new_key, now, ring},
    roster_support::{added, applied, change, changed, date, id, new_district, plan_of, run_at_plan, student},
};

crate::on_both_engines! {
    a_registration_reads_back_and_keeps_its_id,
    a_removed_district_has_no_registration,
    a_deployment_is_of_one_district,
    staff_who_left_are_not_found,
    staff_are_of_the_source_that_lists_them,
    staff_of_before_count_where_there_is_one_source,
    staff_stay_as_they_were_by_a_plan_of_before,
    staff_who_are_wanted_no_more_have_left,
    a_login_is_good_once_and_for_a_while,
    many_at_once_use_a_login_once,
    a_ticket_is_good_once_and_its_view_is_logged_with_it,
    the_access_log_goes_with_a_student_who_is_given_another_id,
    lists_of_students_follow_a_student_to_another_id,
    what_was_said_about_people_follows_them_to_another_id,
    lists_name_students_as_the_sis_spells_them,
    tenants_do_not_see_each_other,
    keys_lie_sealed_and_take_turns,
    a_rotated_sealing_key_opens_the_tools_keys,
    people_are_noted_and_forgotten,
    a_person_is_the_same_in_any_letter_case,
    integrations_come_and_go_with_their_tokens,
    what_has_expired_is_swept_away,
}

fn registration(district: &DistrictId, client: &str) -> Registration {
    Registration {
        district: district.clone(),
        id: Uuid::now_v7(),
        issuer: "https://sis.example".to_owned(),
        client_id: client.to_owned(),
        auth_url: "https://sis.example/auth?x=1".parse().unwrap(),
        jwks_url: "https://sis.example/jwks".parse().unwrap(),
        details: RegistrationDetails {
            deployments: vec!["d1".to_owned()],
            student: Place::Custom("student".to_owned()),
            program: Place::Fixed("Section 504".to_owned()),
            user: Place::LisPerson,
            staff: StaffAccess::Nothing,
            frame_origins: vec!["https://frame.example".to_owned()],
        },
        created_at: now(),
    }
}

fn login(registration: Uuid, state: &str) -> NewLogin {
    NewLogin {
        registration,
        state: Digest::of(state),
        browser: Digest::of("cookie"),
        nonce: "n".to_owned(),
        request: LoginRequest {
            iss: "https://sis.example".to_owned(),
            login_hint: "u\u{1F3EB}".to_owned(),
            target_link_uri: "https://plans.example/".to_owned(),
            lti_message_hint: None,
            client_id: Some("c".to_owned()),
            lti_deployment_id: None,
        },
        expires_at: later(10),
    }
}

async fn a_registration_reads_back_and_keeps_its_id(f: Fixture) {
    let district = f.district("a").await;
    let first = registration(&district, "c1");
    assert_eq!(f.store.register_platform(&first, "test").await.unwrap(), Ok(first.id));
    let again = Registration { jwks_url: "https://sis.example/keys".parse().unwrap(), ..registration(&district, "c1") };
    assert_eq!(f.store.register_platform(&again, "test").await.unwrap(), Ok(first.id));
    f.store.register_platform(&registration(&district, "c2"), "test").await.unwrap().unwrap();
    let all = f.store.registrations(&district).await.unwrap();
    assert_eq!(all[0], Registration { jwks_url: again.jwks_url.clone(), ..first.clone() });
    assert_eq!(all.len(), 2);
    assert_eq!(f.store.registrations_of(&district, "https://sis.example/").await.unwrap(), []);
    assert_eq!(f.store.registrations_of(&district, "https://sis.example").await.unwrap().len(), 2);
    assert!(f.store.remove_registration(&district, first.id, "test", later(1)).await.unwrap());
    assert!(!f.store.remove_registration(&district, first.id, "test", later(1)).await.unwrap());
    assert!(f.store.registration(&district, first.id).await.unwrap().is_none());
    let nowhere = registration(&"nowhere".parse().unwrap(), "c1");
    assert!(matches!(f.store.register_platform(&nowhere, "test").await, Err(StoreError::NoDistrict(_))));
}

async fn a_deployment_is_of_one_district(f: Fixture) {
    let (a, b) = (f.district("a").await, f.district("b").await);
    let first = registration(&a, "c1");
    f.store.register_platform(&first, "test").await.unwrap().unwrap();
    let with = |district: &DistrictId, client: &str, deployments: &[&str]| {
        let mut new = registration(district, client);
        new.details.deployments = deployments.iter().map(ToString::to_string).collect();
        new
    };
    let taken = DeploymentTaken { deployment: "d1".to_owned(), district: a.clone(), registration: first.id };
    let second = with(&b, "c1", &["d0", "d1"]);
    assert_eq!(f.store.register_platform(&second, "test").await.unwrap(), Err(taken));
    assert_eq!(f.store.registrations(&b).await.unwrap(), [], "nothing of it is kept");
    f.store.register_platform(&with(&b, "c1", &["d0", "d0", "d2"]), "test").await.unwrap().unwrap();
    f.store.register_platform(&with(&b, "c2", &["d1"]), "test").await.unwrap().unwrap();
    // Said anew without it, or taken away, it is free.
    f.store.register_platform(&with(&a, "c1", &["d3"]), "test").await.unwrap().unwrap();
    f.store.register_platform(&with(&b, "c1", &["d1"]), "test").await.unwrap().unwrap();
    assert!(f.store.register_platform(&first, "test").await.unwrap().is_err());
    let held = f.store.registrations(&b).await.unwrap().into_iter().find(|one| one.client_id == "c1").unwrap();
    assert!(f.store.remove_registration(&b, held.id, "test", later(1)).await.unwrap());
    f.store.register_platform(&first, "test").await.unwrap().unwrap();
}

/// The fixture's district with a connection for each prefix, which wants these staff.
async fn sources(f: &Fixture, staff: &str, prefixes: &[&str]) -> DistrictId {
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
async fn lists_staff(f: &Fixture, district: &DistrictId, seq: u32, staff: Vec<Staff>) {
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
    let found = async |id: &str| {
        let member = f.store.staff_by_id(&district, id).await.unwrap();
        member.map(|member| (member.staff_id, member.connection))
    };
    assert_eq!(found("2").await, Some(("a-2".to_owned(), 0)), "as the platform names the person");
    assert_eq!(found("3").await, Some(("b-3".to_owned(), 1)));
    assert_eq!(found("b-1").await, Some(("b-1".to_owned(), 1)));
    assert_eq!(found("1").await, None, "two people of two sources");
    let by_email = f.store.staff_by_email(&district, "b-1@example.org").await.unwrap().unwrap();
    assert_eq!((by_email.connection, by_email.entities), (1, vec!["1".to_owned()]));
    lists_staff(&f, &district, 2, vec![of(0, "a-2"), of(1, "b-1")]).await;
    assert_eq!(found("1").await, None, "who left may still be known to the other platform");
    // Students of both at entity 1 and a school of code 101.
    let of = |connection, id: &str| rollcall_proto::roster::Student { connection, ..student(id) };
    applied(&f.store, &district, 3, vec![added(of(0, "a-S1")), added(of(1, "b-S2"))]).await;
    let today = date(2);
    for (named, connection, school) in [("S1", 0, "a-101"), ("S2", 1, "b-101"), ("b-S2", 1, "b-101")] {
        let subject = f.store.subject(&district, named, today).await.unwrap().unwrap();
        assert_eq!(subject.connection, connection, "{named}");
        assert!(subject.schools.iter().all(|code| code == school) && !subject.schools.is_empty(), "{subject:?}");
    }
    let alone = sources(&f, "active", &["a-"]).await;
    let subject = f.store.subject(&alone, "S1", today).await.unwrap().unwrap();
    assert!(["101", "a-101"].iter().all(|code| subject.schools.iter().any(|school| school == code)), "{subject:?}");
}

async fn staff_of_before_count_where_there_is_one_source(f: Fixture) {
    let district = sources(&f, "active", &["a-"]).await;
    let before = |id: &str| Staff { connection: None, ..member(id) };
    lists_staff(&f, &district, 1, vec![before("1"), before("2")]).await;
    let found = async |id: &str| f.store.staff_by_id(&district, id).await.unwrap().map(|member| member.staff_id);
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
    let found = async |id: &str| f.store.staff_by_id(&district, id).await.unwrap().map(|member| member.staff_id);
    assert_eq!((found("t1").await.as_deref(), found("2").await.as_deref()), (Some("t1"), Some("b-2")));

    sources(&f, "active", &["a-"]).await;
    lists_staff(&f, &district, 3, vec![of(0, "a-7")]).await;
    let as_left = "UPDATE staff SET left_at = '2026-11-01T00:00:00+00:00' WHERE district = $1 AND staff_id = 'a-7'";
    change(&f, &district, as_left).await;
    let plain = "INSERT INTO staff (district, staff_id, name_id, phones, emails, addresses, teacher, entities, run) \
                 SELECT district, '7', name_id, phones, emails, addresses, teacher, entities, run FROM staff \
                 WHERE district = $1 AND staff_id = 'a-7'";
    change(&f, &district, plain).await;
    assert_eq!(found("7").await.as_deref(), Some("7"));
    assert!(f.store.staff_by_email(&district, "a-7@example.org").await.unwrap().is_some());
    lists_staff(&f, &district, 4, vec![of(0, "a-7"), of(0, "a-8")]).await;
    assert_eq!(found("7").await.as_deref(), Some("a-7"));
    assert!(f.store.staff_by_email(&district, "a-7@example.org").await.unwrap().is_some());
}

async fn staff_who_are_wanted_no_more_have_left(f: Fixture) {
    let district = sources(&f, "active", &["", "b-"]).await;
    let of = |connection, id: &str| Staff { connection: Some(connection), ..member(id) };
    let staff = vec![of(1, "b-2"), of(0, "t1")];
    lists_staff(&f, &district, 1, staff.clone()).await;
    let found = async || {
        let by_id = f.store.staff_by_id(&district, "T1").await.unwrap().is_some();
        let by_email = f.store.staff_by_email(&district, "t1@example.org").await.unwrap().is_some();
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
        let by_id = f.store.staff_by_id(&district, id).await.unwrap().is_some();
        let by_email = f.store.staff_by_email(&district, &format!("{id}@example.org")).await.unwrap().is_some();
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

fn member(id: &str) -> Staff {
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

async fn a_removed_district_has_no_registration(f: Fixture) {
    let district = f.district("a").await;
    f.store.register_platform(&registration(&district, "c1"), "test").await.unwrap().unwrap();
    f.store.remove_district(&district, "test", later(1)).await.unwrap();
    assert_eq!(f.store.registrations(&district).await.unwrap(), []);
}

async fn a_login_is_good_once_and_for_a_while(f: Fixture) {
    let district = f.district("a").await;
    let new = login(Uuid::now_v7(), "s1");
    f.store.begin_login(&district, &new, now()).await.unwrap();
    let found = f.store.login(&district, new.state, later(9)).await.unwrap().unwrap();
    assert_eq!((found.request, found.nonce, found.browser), (new.request.clone(), "n".to_owned(), new.browser));
    assert!(f.store.login(&district, new.state, later(10)).await.unwrap().is_none());
    assert!(!f.store.use_login(&district, new.state, later(10)).await.unwrap());
    assert!(f.store.use_login(&district, new.state, later(9)).await.unwrap());
    assert!(!f.store.use_login(&district, new.state, later(9)).await.unwrap());
    assert!(f.store.login(&district, new.state, later(9)).await.unwrap().is_none());
}

async fn many_at_once_use_a_login_once(f: Fixture) {
    let district = f.district("a").await;
    let new = login(Uuid::now_v7(), "s1");
    f.store.begin_login(&district, &new, now()).await.unwrap();
    let tries = (0..8).map(|_| {
        let (store, district, state) = (f.store.clone(), district.clone(), new.state);
        tokio::spawn(async move { store.use_login(&district, state, later(1)).await.unwrap() })
    });
    let mut used = 0;
    for one in tries.collect::<Vec<_>>() {
        used += usize::from(one.await.unwrap());
    }
    assert_eq!(used, 1);
}

async fn a_ticket_is_good_once_and_its_view_is_logged_with_it(f: Fixture) {
    let district = f.district("a").await;
    let registration = registration(&district, "c1");
    let (student, other) = (StudentId("S1".to_owned()), StudentId("S2".to_owned()));
    let view = |student, outcome, shown| NewView {
        at: now(),
        student_id: student,
        program: "Section 504",
        user_id: "T1",
        registration: &registration,
        outcome,
        shown,
    };
    let ticket = Digest::of("t");
    f.store.log_view(&view(&student, ViewOutcome::Shown, Some(("D1", ticket, later(1))))).await.unwrap();
    f.store.log_view(&view(&other, ViewOutcome::Refused, None)).await.unwrap();
    f.store.log_view(&view(&student, ViewOutcome::NoDocument, None)).await.unwrap();
    assert!(f.store.use_ticket(&district, ticket, later(1)).await.unwrap().is_none());
    let used = f.store.use_ticket(&district, ticket, now()).await.unwrap().unwrap();
    assert_eq!((used.document_id.as_str(), used.registration), ("D1", registration.id));
    assert!(f.store.use_ticket(&district, ticket, now()).await.unwrap().is_none());
    let outcomes = |views: Vec<rollcall_store::lti::View>| -> Vec<(String, Option<String>)> {
        views.into_iter().map(|view| (view.outcome, view.document_id)).collect()
    };
    let all = f.store.document_views(&district, None, 10).await.unwrap();
    let expected = [("no-document", None), ("refused", None), ("shown", Some("D1"))];
    let expected = expected.map(|(outcome, id)| (outcome.to_owned(), id.map(str::to_owned)));
    assert_eq!(outcomes(all), expected);
    let one = f.store.document_views(&district, Some(&student), 1).await.unwrap();
    assert_eq!(outcomes(one), expected[..1]);

    // The database goes by its own clock: a date long past, whenever this runs.
    let long_ago =
        NewView { at: "2001-03-01T00:00:00Z".parse().unwrap(), ..view(&student, ViewOutcome::Refused, None) };
    f.store.log_view(&long_ago).await.unwrap();
    let until = "2002-03-01T00:00:00Z".parse().unwrap();
    assert_eq!(f.store.forget_trail(until, now()).await.unwrap(), ForgottenTrail { entries: 0, views: 1 });
    assert_eq!(outcomes(f.store.document_views(&district, None, 10).await.unwrap()), expected);
}

async fn the_access_log_goes_with_a_student_who_is_given_another_id(f: Fixture) {
    let district = new_district(&f.store, "a").await;
    let registration = registration(&district, "c1");
    applied(&f.store, &district, 1, vec![added(student("old")), added(student("other"))]).await;
    let look = async |student: &str| {
        let view = NewView {
            at: now(),
            student_id: &id(student),
            program: "Section 504",
            user_id: "T1",
            registration: &registration,
            outcome: ViewOutcome::NoDocument,
            shown: None,
        };
        f.store.log_view(&view).await.unwrap();
    };
    look("old").await;
    look("other").await;
    let renamed = StudentEvent { rekeyed_from: Some(id("old")), ..changed(student("new")) };
    applied(&f.store, &district, 2, vec![renamed]).await;
    look("new").await;
    let views = f.store.document_views(&district, Some(&id("new")), 10).await.unwrap();
    let of: Vec<_> = views.iter().map(|view| view.student_id.0.as_str()).collect();
    assert_eq!(of, ["new", "old"], "what was logged is not edited, and is found");
}

async fn lists_of_students_follow_a_student_to_another_id(f: Fixture) {
    let (district, elsewhere) = (new_district(&f.store, "a").await, new_district(&f.store, "b").await);
    for own in [&district, &elsewhere] {
        applied(&f.store, own, 1, vec![added(student("old")), added(student("other"))]).await;
    }
    let list = |ids: &[&str]| UserAccess {
        students: StudentScope::Students(ids.iter().map(ToString::to_string).collect()),
        programs: vec!["Section 504".to_owned()],
    };
    let put = async |own: &DistrictId, user: &str, ids: &[&str]| {
        f.store.put_lti_user(own, user, &list(ids), "ann", now()).await.unwrap();
    };
    put(&district, "t1", &["other", "old"]).await;
    put(&district, "t2", &["new", "old"]).await;
    put(&district, "t3", &["other"]).await;
    put(&elsewhere, "t1", &["old"]).await;
    let move_to = async |run: u32, old: &str, new: &str| {
        let renamed = StudentEvent { rekeyed_from: Some(id(old)), ..changed(student(new)) };
        applied(&f.store, &district, run, vec![renamed]).await;
    };
    move_to(2, "old", "new").await;
    let listed = async |own: &DistrictId| {
        let users = f.store.lti_users(own).await.unwrap();
        users.into_iter().map(|user| (user.access, user.created_by)).collect::<Vec<_>>()
    };
    let by_ann = |lists: &[&[&str]]| lists.iter().map(|ids| (list(ids), "ann".to_owned())).collect::<Vec<_>>();
    assert_eq!(listed(&district).await, by_ann(&[&["other", "new"], &["new"], &["other"]]));
    assert_eq!(listed(&elsewhere).await, by_ann(&[&["old"]]), "another district's student stays");
    move_to(3, "new", "newest").await;
    assert_eq!(listed(&district).await, by_ann(&[&["other", "newest"], &["newest"], &["other"]]));
}

async fn what_was_said_about_people_follows_them_to_another_id(f: Fixture) {
    let district = sources(&f, "active", &["", "b-"]).await;
    let of = |connection, id: &str| Staff { connection: Some(connection), ..member(id) };
    lists_staff(&f, &district, 1, vec![of(1, "b-t9"), of(0, "t1"), of(0, "t3")]).await;
    let put = async |user: &str, students| {
        let access = UserAccess { students, programs: Vec::new() };
        f.store.put_lti_user(&district, user, &access, "ann", now()).await.unwrap();
    };
    for user in ["T1", "t2", "t3", "t9"] {
        put(user, StudentScope::Nobody).await;
    }
    put("u3", StudentScope::Everybody).await;
    assert_eq!(f.store.staff_spoken_of(&district).await.unwrap(), ["t1", "t3"], "t2 is no staff, t9 of another source");
    for seq in [2, 3] {
        let run = run_at_plan(&f.store, &district, seq).await;
        let mut plan = plan_of(&f.store, &district, Verdict::Nothing, &[]).await;
        let pair = |old: &str, new: &str| (old.to_owned(), new.to_owned());
        plan.people_moved = vec![pair("t1", "U1"), pair("t3", "u3")];
        assert!(f.store.save_plan(&district, run.id, &plan, later(seq.into())).await.unwrap());
    }
    let said = async |user: &str| f.store.lti_user(&district, user).await.unwrap().map(|user| user.access.students);
    assert_eq!(said("t1").await, None);
    for user in ["u1", "U1", "t2", "t3", "t9"] {
        assert_eq!(said(user).await, Some(StudentScope::Nobody), "{user}");
    }
    assert_eq!(said("u3").await, Some(StudentScope::Everybody), "what was said of the new id is newer");
    assert_eq!(f.store.lti_user(&district, "u1").await.unwrap().unwrap().created_by, "ann");
    let trail = f.store.audit_trail(&district, 20).await.unwrap();
    let moves: Vec<_> = trail.iter().filter(|entry| entry.action == "lti.user.move").collect();
    assert_eq!(moves.iter().map(|entry| entry.detail.as_str()).collect::<Vec<_>>(), ["user=t1 now=u1"]);
}

async fn lists_name_students_as_the_sis_spells_them(f: Fixture) {
    const SMALL: &str = "0f6b1c2d-ab12-4cde-8f00-0123456789ab";
    let district = sources(&f, "none", &["", "b-"]).await;
    applied(&f.store, &district, 1, vec![added(student(SMALL)), added(student("b-S2")), added(student("S3"))]).await;
    let said: Vec<String> =
        [SMALL.to_uppercase(), "S2".to_owned(), "b-S2".to_owned(), "s3".to_owned(), "nobody".to_owned()].into();
    let access = UserAccess { students: StudentScope::Students(said), programs: Vec::new() };
    f.store.put_lti_user(&district, "t1", &access, "ann", now()).await.unwrap();
    let kept = f.store.lti_user(&district, "t1").await.unwrap().unwrap().access.students;
    let expected = [SMALL, "S2", "b-S2", "s3", "nobody"].map(str::to_owned);
    assert_eq!(
        kept,
        StudentScope::Students(expected.into()),
        "S2 may be a child of the other source who is not in yet"
    );
    for spelled in [SMALL.to_owned(), SMALL.to_uppercase(), format!(" {} ", SMALL.to_uppercase())] {
        let found = f.store.student(&district, &spelled).await.unwrap().unwrap();
        assert_eq!(found.record.id.0, SMALL, "{spelled}");
    }
    assert!(f.store.student(&district, "nobody").await.unwrap().is_none());
    // With one source there is nobody else's.
    let alone = sources(&f, "none", &["b-"]).await;
    let access = UserAccess { students: StudentScope::Students(vec!["S2".to_owned()]), programs: Vec::new() };
    f.store.put_lti_user(&alone, "t2", &access, "ann", now()).await.unwrap();
    let kept = f.store.lti_user(&alone, "t2").await.unwrap().unwrap().access.students;
    assert_eq!(kept, StudentScope::Students(vec!["b-S2".to_owned()]));
}

async fn tenants_do_not_see_each_other(f: Fixture) {
    let (a, b) = (f.district("a").await, f.district("b").await);
    let new = login(Uuid::now_v7(), "s1");
    f.store.begin_login(&a, &new, now()).await.unwrap();
    f.store.register_platform(&registration(&a, "c1"), "test").await.unwrap().unwrap();
    f.store.add_integration(&a, &integration("i1")).await.unwrap();
    f.store.add_token(&a, &held_by("i1"), Digest::of("t"), later(10)).await.unwrap();
    assert!(f.store.login(&b, new.state, now()).await.unwrap().is_none());
    assert!(!f.store.use_login(&b, new.state, now()).await.unwrap());
    assert_eq!(f.store.registrations(&b).await.unwrap(), []);
    assert_eq!(f.store.integrations(&b).await.unwrap(), []);
    assert!(f.store.token_holder(&b, Digest::of("t"), now()).await.unwrap().is_none());
    assert!(f.store.token_holder(&a, Digest::of("t"), now()).await.unwrap().is_some());
}

fn key(kid: &str, minutes: i64) -> ToolKey {
    ToolKey {
        kid: kid.to_owned(),
        public_key: format!("{{\"kid\":\"{kid}\"}}"),
        private_key: Zeroizing::new(b"pr1vate part".to_vec()),
        signs_from: later(minutes),
    }
}

async fn keys_lie_sealed_and_take_turns(f: Fixture) {
    let district = f.district("a").await;
    f.store.add_tool_key(&district, &key("k1", 0), now(), "test", now()).await.unwrap();
    f.store.add_tool_key(&district, &key("k2", 60), later(120), "test", later(1)).await.unwrap();
    let published = |minutes| f.store.published_tool_keys(&district, later(minutes));
    let kids = |keys: Vec<rollcall_store::lti::PublicToolKey>| -> Vec<String> {
        keys.into_iter().map(|key| key.kid).collect()
    };
    assert_eq!(kids(published(119).await.unwrap()), ["k1", "k2"]);
    assert_eq!(kids(published(120).await.unwrap()), ["k2"]);
    for (minutes, expected) in [(0, "k1"), (59, "k1"), (60, "k2")] {
        let signing = f.store.signing_tool_key(&district, later(minutes)).await.unwrap().unwrap();
        assert_eq!((signing.kid.as_str(), signing.private_key.as_slice()), (expected, &b"pr1vate part"[..]));
        assert!(!format!("{signing:?}").contains("pr1vate"));
    }
    if let Some(dir) = f.dir() {
        for file in std::fs::read_dir(dir).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            assert!(!bytes.windows(7).any(|window| window == b"pr1vate"));
        }
    }
}

async fn a_rotated_sealing_key_opens_the_tools_keys(f: Fixture) {
    let district = f.district("a").await;
    f.store.add_tool_key(&district, &key("k1", 0), now(), "test", now()).await.unwrap();
    let new = new_key();
    f.store.rotate_key(ring(&new), "test", later(1)).await.unwrap();
    let store = f.opened_with(&new).await;
    assert_eq!(store.signing_tool_key(&district, later(1)).await.unwrap().unwrap().kid, "k1");
}

async fn people_are_noted_and_forgotten(f: Fixture) {
    let district = f.district("a").await;
    let access = |students| UserAccess { students, programs: vec!["Section 504".to_owned()] };
    let schools = StudentScope::Schools(vec!["010".to_owned()]);
    f.store.put_lti_user(&district, "T1", &access(StudentScope::Everybody), "test", now()).await.unwrap();
    f.store.put_lti_user(&district, "T1", &access(schools.clone()), "other", later(1)).await.unwrap();
    let user = f.store.lti_user(&district, "T1").await.unwrap().unwrap();
    assert_eq!((user.access, user.created_by.as_str()), (access(schools), "other"));
    assert!(f.store.lti_user(&district, "T2").await.unwrap().is_none());
    assert_eq!(f.store.lti_users(&district).await.unwrap().len(), 1);
    assert!(f.store.remove_lti_user(&district, "T1", "test", later(2)).await.unwrap());
    assert!(!f.store.remove_lti_user(&district, "T1", "test", later(2)).await.unwrap());
    let actions: Vec<_> = f.store.audit_trail(&district, 10).await.unwrap();
    let actions: Vec<_> = actions.iter().map(|entry| entry.action.as_str()).collect();
    assert_eq!(actions, ["lti.user.remove", "lti.user.add", "lti.user.add", "district.apply"]);
    // An empty roster knows nobody.
    let today = now().date_naive();
    assert!(f.store.staff_by_id(&district, "T1").await.unwrap().is_none());
    assert!(f.store.staff_by_email(&district, "t@example.org").await.unwrap().is_none());
    assert!(f.store.subject(&district, "S1", today).await.unwrap().is_none());
}

async fn a_person_is_the_same_in_any_letter_case(f: Fixture) {
    let district = f.district("a").await;
    let access = |students| UserAccess { students, programs: Vec::new() };
    let put = async |user: &str, students| {
        f.store.put_lti_user(&district, user, &access(students), "test", now()).await.unwrap();
    };
    for (said, launched) in [
        ("7C0D-F1", "7c0d-f1"),
        ("7c0d-f2", "7C0D-F2"),
        ("T.Ömer@Example.org", "t.öMER@example.ORG"),
        (" t3@example.org", "T3@example.org"),
    ] {
        put(said, StudentScope::Everybody).await;
        put(launched, StudentScope::Nobody).await;
        for spelled in [said, launched] {
            let user = f.store.lti_user(&district, spelled).await.unwrap().unwrap();
            assert_eq!(user.access.students, StudentScope::Nobody, "{spelled}");
        }
        assert_eq!(f.store.lti_users(&district).await.unwrap().len(), 1, "{said}");
        assert!(f.store.remove_lti_user(&district, said, "test", now()).await.unwrap());
        assert!(f.store.lti_user(&district, launched).await.unwrap().is_none());
    }
}

fn integration(id: &str) -> Integration {
    Integration {
        id: id.to_owned(),
        name: "Plans".to_owned(),
        scopes: "documents flags.read".parse().unwrap(),
        secret_hash: "$argon2id$".to_owned(),
        created_at: now(),
        created_by: "test".to_owned(),
    }
}

fn held_by(integration: &str) -> TokenHolder {
    TokenHolder { integration: integration.to_owned(), scopes: "flags.read".parse().unwrap() }
}

async fn integrations_come_and_go_with_their_tokens(f: Fixture) {
    let district = f.district("a").await;
    f.store.add_integration(&district, &integration("i1")).await.unwrap();
    assert_eq!(f.store.integration(&district, "i1").await.unwrap(), Some(integration("i1")));
    f.store.add_token(&district, &held_by("i1"), Digest::of("t"), later(15)).await.unwrap();
    assert!(f.store.add_token(&district, &held_by("nobody"), Digest::of("u"), later(15)).await.is_err());
    let holder = |minutes| f.store.token_holder(&district, Digest::of("t"), later(minutes));
    assert_eq!(holder(14).await.unwrap(), Some(held_by("i1")));
    assert_eq!(holder(15).await.unwrap(), None);
    assert!(f.store.remove_integration(&district, "i1", "test", later(1)).await.unwrap());
    assert_eq!(holder(1).await.unwrap(), None);
    assert!(!f.store.remove_integration(&district, "i1", "test", later(1)).await.unwrap());
}

async fn what_has_expired_is_swept_away(f: Fixture) {
    let district = f.district("a").await;
    f.store.begin_login(&district, &login(Uuid::now_v7(), "s1"), now()).await.unwrap();
    f.store.add_integration(&district, &integration("i1")).await.unwrap();
    f.store.add_token(&district, &held_by("i1"), Digest::of("t"), later(15)).await.unwrap();
    f.store.add_tool_key(&district, &key("k1", 0), now(), "test", now()).await.unwrap();
    f.store.add_tool_key(&district, &key("k2", 60), later(120), "test", now()).await.unwrap();
    assert_eq!(f.store.sweep_web(&district, later(15)).await.unwrap(), 0);
    assert_eq!(f.store.sweep_web(&district, later(16)).await.unwrap(), 1, "the token");
    assert_eq!(f.store.sweep_web(&district, later(130)).await.unwrap(), 1, "the key that retired");
    assert_eq!(f.store.sweep_web(&district, later(131)).await.unwrap(), 1, "the login, two hours after it expired");
    assert_eq!(f.store.sweep_web(&district, later(500)).await.unwrap(), 0);
}
