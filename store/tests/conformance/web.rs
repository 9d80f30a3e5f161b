//! What both engines must do alike for the HTTP side: registrations, logins, tickets, keys, people, the access log,
//! integrations.

use rollcall_proto::id::{ConnectionNo, DistrictId, StudentId};
use rollcall_store::{
    ForgottenTrail, StoreError,
    district::{ConnectionSecrets, District},
    integrations::{Integration, TokenHolder},
    lti::{
        DeploymentTaken, Digest, LoginRequest, Namer, NewLogin, NewView, Place, Registration, RegistrationDetails,
        Shown, StaffAccess, StudentScope, ToolKey, UserAccess, ViewOutcome,
    },
};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::{
    common::{Fixture, both, later, new_key, now, ring},
    people,
    roster_support::count,
};

/// More than any of these tests begins.
const MOST: u32 = 100;

crate::on_both_engines! {
    a_registration_reads_back_and_keeps_its_id,
    a_removed_district_has_no_registration,
    registrations_of_before_are_of_the_source_that_is_clear,
    a_deployment_is_of_one_district,
    a_login_is_good_once_and_for_a_while,
    many_at_once_use_a_login_once,
    so_many_logins_are_open_and_the_oldest_make_room,
    what_a_platform_sent_is_kept_while_a_login_is_open,
    a_ticket_is_good_once_and_its_view_is_logged_with_it,
    a_look_that_comes_after_the_erasure_of_its_district_is_not_logged,
    tenants_do_not_see_each_other,
    keys_lie_sealed_and_take_turns,
    a_rotated_sealing_key_opens_the_tools_keys,
    a_tools_key_that_was_given_up_with_a_lost_key_counts_for_nothing,
    integrations_come_and_go_with_their_tokens,
    what_has_expired_is_swept_away,
}

/// A look for a document where there is none.
pub(crate) fn look_in_vain<'a>(student: &'a StudentId, registration: &'a Registration) -> NewView<'a> {
    NewView {
        at: now(),
        student_id: student,
        program: "Section 504",
        user_id: "T1",
        registration,
        outcome: ViewOutcome::NoDocument,
        shown: None,
    }
}

pub(crate) fn registration(district: &DistrictId, client: &str) -> Registration {
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
            connection: Some(ConnectionNo(3)),
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

async fn a_removed_district_has_no_registration(f: Fixture) {
    let district = f.district("a").await;
    f.store.register_platform(&registration(&district, "c1"), "test").await.unwrap().unwrap();
    f.store.remove_district(&district, "test", later(1)).await.unwrap();
    assert_eq!(f.store.registrations(&district).await.unwrap(), []);
}

/// As a version before stored them: the migration says of which connection's ids they speak, where nobody could mean another.
async fn registrations_of_before_are_of_the_source_that_is_clear(f: Fixture) {
    let connection = |vendor_key: Option<&str>| {
        serde_json::json!({"kind": "oneroster", "base_url": "https://sis.example/API", "client_id": "c",
            "vendor_key": vendor_key})
    };
    let (plain, flags) = (connection(None), connection(Some("k")));
    let cases = [
        ("a", vec![plain.clone()], Place::Subject, Some(ConnectionNo(0))),
        ("b", vec![plain.clone(), plain.clone()], Place::Flag, None),
        ("c", vec![plain.clone(), flags.clone(), flags.clone()], Place::Flag, Some(ConnectionNo(1))),
        ("d", vec![plain.clone(), flags.clone()], Place::Context, None),
    ];
    let stored = |id: &str, student: &Place, client: &str, named| {
        let mut new = registration(&id.parse().unwrap(), client);
        new.details.deployments = vec![id.to_owned()];
        (new.details.student, new.details.connection) = (student.clone(), named);
        new
    };
    for (id, connections, student, _) in &cases {
        let secrets = vec![ConnectionSecrets::default(); connections.len()];
        let json =
            serde_json::json!({"id": id, "name": "A", "time_zone": "America/Chicago", "connection": connections});
        let district: District = serde_json::from_value(json).unwrap();
        f.store.apply_district(&district, &secrets, "test", now()).await.unwrap();
        for new in [stored(id, student, "before", None), stored(id, student, "named", Some(ConnectionNo(7)))] {
            f.store.register_platform(&new, "test").await.unwrap().unwrap();
        }
    }
    people::before(&f, "57, 59").await;
    f.migrate_again().await;
    for (id, connections, _, expected) in cases {
        let of = f.store.registrations(&id.parse().unwrap()).await.unwrap();
        let found: Vec<_> = of.iter().map(|one| (one.client_id.as_str(), one.details.connection)).collect();
        assert_eq!(found, [("before", expected), ("named", Some(ConnectionNo(7)))], "{id}: {connections:?}");
    }
}

async fn a_login_is_good_once_and_for_a_while(f: Fixture) {
    let district = f.district("a").await;
    let new = login(Uuid::now_v7(), "s1");
    assert_eq!(f.store.begin_login(&district, &new, MOST, now()).await.unwrap(), 0);
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
    assert_eq!(f.store.begin_login(&district, &new, MOST, now()).await.unwrap(), 0);
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

async fn so_many_logins_are_open_and_the_oldest_make_room(f: Fixture) {
    let (a, b) = (f.district("a").await, f.district("b").await);
    let begins = async |district: &DistrictId, state: &str, minutes: i64| {
        let new = NewLogin { expires_at: later(minutes + 10), ..login(Uuid::now_v7(), state) };
        f.store.begin_login(district, &new, 3, later(minutes)).await.unwrap()
    };
    let open =
        async |state: &str, minutes: i64| f.store.login(&a, Digest::of(state), later(minutes)).await.unwrap().is_some();
    for (state, minutes) in [("s1", 0), ("s2", 1), ("s3", 2)] {
        assert_eq!(begins(&a, state, minutes).await, 0, "{state}");
    }
    assert_eq!(begins(&a, "s4", 3).await, 1);
    assert!(!open("s1", 3).await && open("s2", 3).await && open("s4", 3).await, "the oldest made room");
    assert_eq!(begins(&b, "s4", 3).await, 0, "another district's are its own");
    assert!(f.store.use_login(&a, Digest::of("s3"), later(4)).await.unwrap());
    assert_eq!(begins(&a, "s5", 4).await, 0, "one came back");
    assert_eq!(begins(&a, "s6", 11).await, 0, "another is over");
    assert!(open("s4", 11).await && open("s5", 11).await && open("s6", 11).await);
    // More at once, as from a version that let more be open.
    let new = NewLogin { expires_at: later(21), ..login(Uuid::now_v7(), "s7") };
    assert_eq!(f.store.begin_login(&a, &new, 1, later(11)).await.unwrap(), 3);
    assert!(open("s7", 11).await && !open("s6", 11).await);
}

async fn what_a_platform_sent_is_kept_while_a_login_is_open(f: Fixture) {
    let district = f.district("a").await;
    for state in ["s1", "s2", "s3"] {
        let minutes = if state == "s3" { 5 } else { 0 };
        let new = NewLogin { expires_at: later(minutes + 10), ..login(Uuid::now_v7(), state) };
        assert_eq!(f.store.begin_login(&district, &new, MOST, later(minutes)).await.unwrap(), 0);
    }
    let kept = || count(&f, &district, "(SELECT * FROM lti_login WHERE request <> '') AS kept");
    assert_eq!(kept().await, 3);
    assert!(f.store.use_login(&district, Digest::of("s1"), later(6)).await.unwrap());
    assert_eq!(kept().await, 2, "used");
    f.store.sweep_web(&district, later(9)).await.unwrap();
    assert_eq!(kept().await, 2);
    f.store.sweep_web(&district, later(10)).await.unwrap();
    assert_eq!(kept().await, 1, "expired");
    assert!(f.store.login(&district, Digest::of("s3"), later(10)).await.unwrap().is_some());
    assert_eq!(count(&f, &district, "lti_login").await, 3, "the states are remembered");
}

async fn a_look_that_comes_after_the_erasure_of_its_district_is_not_logged(f: Fixture) {
    let district = f.district("a").await;
    let registration = registration(&district, "c1");
    let student = StudentId("S1".to_owned());
    let view = look_in_vain(&student, &registration);
    f.store.log_view(&view).await.unwrap();
    f.store.remove_district(&district, "test", now()).await.unwrap();
    f.store.erase_district(&district, "test", now()).await.unwrap().unwrap();
    let late = f.store.log_view(&view).await;
    assert!(matches!(&late, Err(StoreError::NoDistrict(gone)) if *gone == district), "{late:?}");
    assert!(f.store.document_views(&district, None, 10).await.unwrap().is_empty());
}

async fn a_ticket_is_good_once_and_its_view_is_logged_with_it(f: Fixture) {
    let district = f.district("a").await;
    let registration = registration(&district, "c1");
    let (student, other) = (StudentId("S1".to_owned()), StudentId("S2".to_owned()));
    let view = |student, outcome, shown| NewView { outcome, shown, ..look_in_vain(student, &registration) };
    let ticket = Digest::of("t");
    let shown = |ticket| Some(Shown { document_id: "D1", version: 3, ticket, expires_at: later(1) });
    f.store.log_view(&view(&student, ViewOutcome::Shown, shown(ticket))).await.unwrap();
    f.store.log_view(&view(&other, ViewOutcome::Refused, None)).await.unwrap();
    f.store.log_view(&view(&student, ViewOutcome::NoDocument, None)).await.unwrap();
    assert!(f.store.use_ticket(&district, ticket, later(1)).await.unwrap().is_none());
    let used = f.store.use_ticket(&district, ticket, now()).await.unwrap().unwrap();
    assert_eq!((used.document_id.as_str(), used.version, used.registration), ("D1", Some(3), registration.id));
    assert!(f.store.use_ticket(&district, ticket, now()).await.unwrap().is_none());
    let nobody = UserAccess { students: StudentScope::Nobody, programs: Vec::new() };
    let (said, person) = (Digest::of("said"), (&Namer::Unclear, "T1"));
    for taken_back in [false, true] {
        f.store.log_view(&view(&student, ViewOutcome::Shown, shown(said))).await.unwrap();
        if taken_back {
            assert!(f.store.remove_lti_user(&district, person, "ann", now()).await.unwrap());
        } else {
            f.store.put_lti_user(&district, person, &nobody, "ann", now()).await.unwrap();
        }
        assert!(f.store.use_ticket(&district, said, now()).await.unwrap().is_none(), "taken back: {taken_back}");
    }
    // What is said of the platform counts as well.
    let mut platform = registration.clone();
    platform.id = f.store.register_platform(&registration, "ann").await.unwrap().unwrap();
    for removed in [false, true] {
        let view = NewView { registration: &platform, ..view(&student, ViewOutcome::Shown, shown(said)) };
        f.store.log_view(&view).await.unwrap();
        if removed {
            assert!(f.store.remove_registration(&district, platform.id, "ann", now()).await.unwrap());
        } else {
            f.store.register_platform(&platform, "ann").await.unwrap().unwrap();
        }
        assert!(f.store.use_ticket(&district, said, now()).await.unwrap().is_none(), "removed: {removed}");
    }
    let outcomes = |views: Vec<rollcall_store::lti::View>| -> Vec<(String, Option<String>)> {
        views.into_iter().map(|view| (view.outcome, view.document_id)).collect()
    };
    let all = f.store.document_views(&district, None, 10).await.unwrap();
    let look = ("shown", Some("D1"));
    let expected = [look, look, look, look, ("no-document", None), ("refused", None), look];
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

async fn tenants_do_not_see_each_other(f: Fixture) {
    let (a, b) = (f.district("a").await, f.district("b").await);
    let new = login(Uuid::now_v7(), "s1");
    assert_eq!(f.store.begin_login(&a, &new, MOST, now()).await.unwrap(), 0);
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
    f.opened_with(&both(&new, &f.key)).await.rotate_key(&ring(&new), "test", later(1)).await.unwrap();
    let store = f.opened_with(&new).await;
    assert_eq!(store.signing_tool_key(&district, later(1)).await.unwrap().unwrap().kid, "k1");
}

/// One that nobody can open is not published, and does not stand in the way of the next.
async fn a_tools_key_that_was_given_up_with_a_lost_key_counts_for_nothing(f: Fixture) {
    let district = f.district("a").await;
    f.store.add_tool_key(&district, &key("k1", 0), later(60), "test", now()).await.unwrap();
    let found = f.opened_with(&new_key()).await;
    assert!(found.signing_tool_key(&district, later(1)).await.is_err());
    let lost = found.lost().await.unwrap();
    assert!(lost.iter().any(|lost| lost.kind == "keys of the LTI tool" && lost.count == 1), "{lost:?}");
    assert_eq!(found.forget_key(&lost[0].key, "test", later(1)).await.unwrap(), 2);
    assert_eq!(found.signing_tool_key(&district, later(1)).await.unwrap().map(|key| key.kid), None);
    assert!(found.published_tool_keys(&district, later(1)).await.unwrap().is_empty());
    found.add_tool_key(&district, &key("k2", 2), later(60), "test", later(2)).await.unwrap();
    assert_eq!(found.signing_tool_key(&district, later(2)).await.unwrap().unwrap().kid, "k2");
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
    assert_eq!(f.store.begin_login(&district, &login(Uuid::now_v7(), "s1"), MOST, now()).await.unwrap(), 0);
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
