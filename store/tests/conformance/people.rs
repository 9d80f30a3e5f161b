//! What an administrator said about people, and whose ids theirs are: what both engines must do alike.

use rollcall_proto::id::ConnectionNo;
use rollcall_store::{
    district::{ConnectionSecrets, District},
    lti::{Namer, Place, StudentScope, UserAccess},
};
use uuid::Uuid;

use crate::{
    common::{Fixture, later, now},
    roster_support::{alter, change},
    staff::FIRST,
    web::registration,
};

crate::on_both_engines! {
    people_are_noted_and_forgotten,
    people_of_two_platforms_are_two,
    a_person_is_the_same_in_any_letter_case,
    people_of_subs_that_differ_by_case_are_two,
    people_of_before_are_of_the_platform_that_is_clear,
}

/// The SIS behind the first connection.
pub(crate) const fn sis() -> Namer {
    Namer::Source(FIRST)
}

async fn people_are_noted_and_forgotten(f: Fixture) {
    let district = f.district("a").await;
    let access = |students| UserAccess { students, programs: vec!["Section 504".to_owned()] };
    let schools = StudentScope::Schools(vec!["010".to_owned()]);
    let put = async |students, actor, at| {
        f.store.put_lti_user(&district, (&sis(), "T1"), &access(students), actor, at).await.unwrap();
    };
    put(StudentScope::Everybody, "test", now()).await;
    put(schools.clone(), "other", later(1)).await;
    let [user] = &f.store.lti_users_called(&district, "T1").await.unwrap()[..] else { panic!("one") };
    assert_eq!((&user.access, user.created_by.as_str()), (&access(schools), "other"));
    assert!(f.store.lti_users_called(&district, "T2").await.unwrap().is_empty());
    assert_eq!(f.store.lti_users(&district).await.unwrap().len(), 1);
    assert!(f.store.remove_lti_user(&district, (&sis(), "T1"), "test", later(2)).await.unwrap());
    assert!(!f.store.remove_lti_user(&district, (&sis(), "T1"), "test", later(2)).await.unwrap());
    let trail = f.store.audit_trail(&district, 10).await.unwrap();
    let actions: Vec<_> = trail.iter().map(|entry| entry.action.as_str()).collect();
    assert_eq!(actions, ["lti.user.remove", "lti.user.add", "lti.user.add", "district.apply"]);
    assert_eq!(trail[0].detail, "user=t1 of=connection 0");
    // An empty roster knows nobody.
    let today = now().date_naive();
    assert!(f.store.staff_by_id(&district, FIRST, "T1").await.unwrap().is_none());
    assert!(f.store.staff_by_email(&district, FIRST, "t@example.org").await.unwrap().is_none());
    assert!(f.store.subject(&district, FIRST, "S1", today).await.unwrap().is_none());
}

async fn people_of_two_platforms_are_two(f: Fixture) {
    let (district, elsewhere) = (f.district("a").await, f.district("b").await);
    let platform = |place| Namer::Platform { registration: Uuid::from_u128(7), place };
    let other = Namer::Platform { registration: Uuid::from_u128(8), place: Place::Subject };
    let (number, address) = (platform(Place::Subject), platform(Place::Email));
    let all = [sis(), Namer::Source(ConnectionNo(1)), number.clone(), other.clone(), address, Namer::Unclear];
    let list =
        |number: usize| UserAccess { students: StudentScope::Students(vec![number.to_string()]), programs: Vec::new() };
    for (index, namer) in all.iter().enumerate() {
        f.store.put_lti_user(&district, (namer, "7"), &list(index), "test", now()).await.unwrap();
    }
    f.store.put_lti_user(&elsewhere, (&number, "7"), &list(9), "test", now()).await.unwrap();
    let said = async || {
        let users = f.store.lti_users_called(&district, "7").await.unwrap();
        users.into_iter().map(|user| (user.namer, user.access)).collect::<Vec<_>>()
    };
    let found = said().await;
    assert_eq!(found.len(), all.len());
    for (index, namer) in all.iter().enumerate() {
        assert!(found.contains(&(namer.clone(), list(index))), "{namer:?}: {found:?}");
    }
    assert_eq!(f.store.lti_users(&district).await.unwrap().len(), all.len());
    f.store.put_lti_user(&district, (&number, "7"), &list(5), "test", later(1)).await.unwrap();
    assert!(f.store.remove_lti_user(&district, (&other, "7"), "test", later(1)).await.unwrap());
    let found = said().await;
    assert_eq!(found.len(), all.len() - 1);
    assert!(found.contains(&(number.clone(), list(5))) && found.contains(&(sis(), list(0))), "{found:?}");
    assert_eq!(f.store.lti_users_called(&elsewhere, "7").await.unwrap()[0].access, list(9));
}

async fn a_person_is_the_same_in_any_letter_case(f: Fixture) {
    let district = f.district("a").await;
    let access = |students| UserAccess { students, programs: Vec::new() };
    let put = async |user: &str, students| {
        f.store.put_lti_user(&district, (&sis(), user), &access(students), "test", now()).await.unwrap();
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
            let users = f.store.lti_users_called(&district, spelled).await.unwrap();
            let seen: Vec<_> = users.into_iter().map(|user| user.access.students).collect();
            assert_eq!(seen, [StudentScope::Nobody], "{spelled}");
        }
        assert_eq!(f.store.lti_users(&district).await.unwrap().len(), 1, "{said}");
        assert!(f.store.remove_lti_user(&district, (&sis(), said), "test", now()).await.unwrap());
        assert!(f.store.lti_users_called(&district, launched).await.unwrap().is_empty());
    }
}

/// Each is found by either spelling, for what it takes away, and is said and taken back alone.
async fn people_of_subs_that_differ_by_case_are_two(f: Fixture) {
    let district = f.district("a").await;
    let platform = Namer::Platform { registration: Uuid::from_u128(7), place: Place::Subject };
    let put = async |user: &str, students| {
        let access = UserAccess { students, programs: Vec::new() };
        f.store.put_lti_user(&district, (&platform, user), &access, "test", now()).await.unwrap();
    };
    let said = async |user: &str| {
        let users = f.store.lti_users_called(&district, user).await.unwrap().into_iter();
        users.map(|user| (user.user_id, user.access.students)).collect::<Vec<_>>()
    };
    put(" aB7 ", StudentScope::Everybody).await;
    put("ab7", StudentScope::Nobody).await;
    put("ÖX", StudentScope::Nobody).await;
    let both = [("ab7".to_owned(), StudentScope::Nobody), ("aB7".to_owned(), StudentScope::Everybody)];
    for spelled in ["ab7", "aB7", "AB7"] {
        assert_eq!(said(spelled).await, both, "{spelled}");
    }
    assert_eq!(said("ÖX").await, [("ÖX".to_owned(), StudentScope::Nobody)]);
    assert!(!f.store.remove_lti_user(&district, (&platform, "AB7"), "test", now()).await.unwrap());
    assert!(f.store.remove_lti_user(&district, (&platform, "ab7"), "test", now()).await.unwrap());
    assert_eq!(said("ab7").await, both[1..]);
}

/// A district: its name, prefixes, platforms (number, where they name people, of which connection), ids of people and whose they are.
type Case = (&'static str, &'static [&'static str], Vec<(u128, Place, u16)>, Vec<(&'static str, Namer)>);

fn cases() -> Vec<Case> {
    let sub = |number| Namer::Platform { registration: Uuid::from_u128(number), place: Place::Subject };
    let email = |number| Namer::Platform { registration: Uuid::from_u128(number), place: Place::Email };
    let source = |number| Namer::Source(ConnectionNo(number));
    let unclear = Namer::Unclear;
    let lis = Place::LisPerson;
    vec![
        ("none", &[""], vec![], vec![("t1", unclear.clone())]),
        ("one", &["A-"], vec![(1, lis.clone(), 0)], vec![("t1", source(0)), ("A-t1", source(0)), ("T1@x", source(0))]),
        ("sub", &["", "b-"], vec![(2, Place::Subject, 1)], vec![("t1", sub(2)), ("b-t1", sub(2))]),
        (
            "mail",
            &["", "b-"],
            vec![(3, Place::Email, 1)],
            vec![("t@x", email(3)), ("b-t1", source(1)), ("t1", unclear.clone())],
        ),
        ("first", &["", "b-"], vec![(4, lis.clone(), 0)], vec![("t1", source(0)), ("b-t1", unclear.clone())]),
        ("second", &["", "b-"], vec![(5, lis.clone(), 1)], vec![("t1", unclear.clone()), ("B-t1", source(1))]),
        (
            "apart",
            &["a-", "b-", "b-c-"],
            vec![(6, lis.clone(), 1)],
            vec![("t1", source(1)), ("a-t1", unclear.clone()), ("b-t1", source(1)), ("b-c-t1", unclear.clone())],
        ),
        (
            "alike",
            &["", ""],
            vec![(7, lis.clone(), 1), (8, Place::Custom("u".to_owned()), 1)],
            vec![("t1", unclear.clone())],
        ),
        ("same", &[""], vec![(9, lis.clone(), 0), (10, Place::Custom("u".to_owned()), 0)], vec![("t1", source(0))]),
        ("two", &[""], vec![(11, lis.clone(), 0), (12, Place::Subject, 0)], vec![("t1", unclear.clone())]),
        ("subs", &[""], vec![(13, Place::Subject, 0), (14, Place::Subject, 0)], vec![("t1", unclear.clone())]),
    ]
}

/// As a version before stored them: the migration says whose ids they are, where nobody else can be meant.
async fn people_of_before_are_of_the_platform_that_is_clear(f: Fixture) {
    let cases = cases();
    let access = UserAccess { students: StudentScope::Everybody, programs: Vec::new() };
    for (name, prefixes, platforms, _) in &cases {
        let connections: Vec<_> = prefixes.iter().map(|prefix| {
            serde_json::json!({"kind": "oneroster", "base_url": "https://sis.example/API", "client_id": "c", "id_prefix": prefix})
        }).collect();
        let json =
            serde_json::json!({"id": name, "name": "A", "time_zone": "America/Chicago", "connection": connections});
        let district: District = serde_json::from_value(json).unwrap();
        let secrets = vec![ConnectionSecrets::default(); prefixes.len()];
        f.store.apply_district(&district, &secrets, "test", now()).await.unwrap();
        for (number, user, connection) in platforms {
            let mut new = registration(&district.id, &number.to_string());
            new.id = Uuid::from_u128(*number);
            (new.details.user, new.details.connection) = (user.clone(), Some(ConnectionNo(*connection)));
            f.store.register_platform(&new, "test").await.unwrap().unwrap();
        }
    }
    before(&f, "59").await;
    let text = serde_json::to_string(&access).unwrap();
    for (name, _, _, people) in &cases {
        for (user, _) in people {
            let sql = format!(
                "INSERT INTO lti_user (district, user_id, access, created_at, created_by) \
                 VALUES ($1, '{user}', '{text}', '2026-09-01T00:00:00+00:00', 'ann')"
            );
            change(&f, &name.parse().unwrap(), &sql).await;
        }
    }
    f.migrate_again().await;
    for (name, _, _, people) in cases {
        let stored = f.store.lti_users(&name.parse().unwrap()).await.unwrap();
        assert_eq!(stored.len(), people.len(), "{name}");
        for (user, namer) in people {
            let found: Vec<_> = stored.iter().filter(|one| one.user_id == user).collect();
            assert_eq!(found.len(), 1, "{name} {user}");
            assert_eq!((&found[0].namer, &found[0].access), (&namer, &access), "{name} {user}");
            assert_eq!(found[0].created_by, "ann");
        }
    }
}

/// The table as it was before it was noted whose ids people's are, and these migrations not made.
pub(crate) async fn before(f: &Fixture, versions: &str) {
    let table = if f.dir().is_some() {
        "DROP TABLE lti_user; CREATE TABLE lti_user (district text NOT NULL REFERENCES district, user_id text NOT NULL, \
         access text NOT NULL, created_at text NOT NULL, created_by text NOT NULL, PRIMARY KEY (district, user_id)) \
         STRICT, WITHOUT ROWID"
    } else {
        "ALTER TABLE lti_user DROP COLUMN platform, ADD PRIMARY KEY (district, user_id)"
    };
    // The last ones are undone too: a store whose newest migration was made is taken for whole.
    let last = "ALTER TABLE cutover_flag DROP COLUMN goes_on; ALTER TABLE run DROP COLUMN plan_attempts; \
                ALTER TABLE flag_pending DROP COLUMN failures; ALTER TABLE flag_pending DROP COLUMN retry_at; \
                ALTER TABLE cutover_flag DROP COLUMN program_sis_id; ALTER TABLE pull DROP COLUMN learned; \
                DROP TABLE flag_comparison; ALTER TABLE lti_ticket DROP COLUMN version; DROP INDEX flag_turn; \
                ALTER TABLE flag DROP COLUMN failures; ALTER TABLE flag DROP COLUMN retry_at; \
                ALTER TABLE flag DROP COLUMN failed_with; ALTER TABLE cutover_flag DROP COLUMN failures; \
                ALTER TABLE cutover_flag DROP COLUMN retry_at; CREATE INDEX flag_due ON flag (district) WHERE due; \
                ALTER TABLE pull DROP COLUMN asks_since; ALTER TABLE pull DROP COLUMN waits_since; \
                DROP INDEX flag_person; DROP INDEX flag_pushed_person";
    let lookout = if f.dir().is_some() {
        ""
    } else {
        "DROP FUNCTION lookout_pending_flags(); DROP FUNCTION lookout_comparisons(); DROP FUNCTION lookout_unfinished_flags();"
    };
    let versions = format!("{versions}, 60, 61, 62, 63, 64, 65, 66, 67, 68, 69");
    alter(f, &format!("{table}; {lookout} {last}; DELETE FROM _sqlx_migrations WHERE version IN ({versions})")).await;
}
