//! Students and people whom the SIS gives other ids: what both engines must do alike.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
};

use rollcall_proto::{
    id::{ConnectionNo, DistrictId},
    message::StudentEvent,
    roster::Staff,
};
use rollcall_store::{
    Store,
    document::{Author, DocumentFilter, DocumentRefused, NewDocument, SaveMode},
    flag::FlagState,
    lti::{
        Namer, NewView, Place, Registration, RegistrationDetails, StaffAccess, StudentScope, UserAccess, ViewOutcome,
    },
    plan::{PersonMoved, SpokenOf, Verdict},
};
use uuid::Uuid;

use crate::{
    common::{Fixture, later, now},
    documents::{SPED, by, document, house, save},
    flags::{flag, keep, participation},
    people::sis,
    roster_support::*,
    staff::{FIRST, lists_staff, member, sources},
    web::{look_in_vain, registration},
};

crate::on_both_engines! {
    a_student_is_the_same_under_ids_of_before,
    what_is_pending_moves_with_the_student,
    what_flags_follow_from_is_of_one_moment,
    what_was_worked_out_for_an_earlier_id_is_kept_under_todays,
    a_launch_and_the_access_log_know_earlier_ids,
    the_access_log_goes_with_a_student_who_is_given_another_id,
    lists_of_students_follow_a_student_to_another_id,
    what_was_said_about_people_follows_them_to_another_id,
    lists_name_students_as_the_sis_spells_them,
}

/// The SIS gives student 1 another id.
async fn rekey(store: &Store, district: &DistrictId, on: u32, old: &str, new: &str) {
    let mut record = student("1");
    record.id = id(new);
    applied(store, district, on, vec![StudentEvent { rekeyed_from: Some(id(old)), ..changed(record) }]).await;
}

async fn a_student_is_the_same_under_ids_of_before(f: Fixture) {
    let (store, district) = (&f.store, house(&f.store).await);
    let keyed = |key, second| Author { key: Some(key), ..by(second) };
    let first = store.save_document(&district, &document("d"), SaveMode::Create, keyed("k", 10)).await.unwrap();
    assert!(first.unwrap().created);
    rekey(store, &district, 2, "1", "b-1").await;
    rekey(store, &district, 3, "b-1", "c-1").await;
    // An integration that knows nothing of it: the same request, by its key and by its content, and under each id.
    for (number, named) in [(20, "1"), (21, "b-1"), (22, "c-1")] {
        let same = NewDocument { student: id(named), ..document("d") };
        assert_eq!(store.check_document(&district, &(&same).into(), SaveMode::Upsert).await.unwrap(), []);
        // By its key it gets the answer of then; by its content, the document of today.
        for (mode, author, student) in
            [(SaveMode::Create, keyed("k", number), "1"), (SaveMode::Upsert, by(number), "c-1")]
        {
            let again = store.save_document(&district, &same, mode, author).await.unwrap().unwrap();
            assert!(!again.changed && !again.flags_due && again.document.student == id(student), "{named}: {again:?}");
        }
        let new = NewDocument { student: id(named), ..document(&format!("new-{named}")) };
        assert_eq!(store.check_document(&district, &(&new).into(), SaveMode::Create).await.unwrap(), []);
        let made = save(store, &district, &new, number).await;
        assert!(made.created && made.document.student == id("c-1"), "{named}");
        let demographics = store.document_demographics(&district, &new.id).await.unwrap().unwrap();
        assert_eq!(demographics.id, id("c-1"), "copied from the student of today");
        let replaced = NewDocument { kind: format!("by {named}"), ..new };
        assert!(save(store, &district, &replaced, number + 10).await.changed, "{named}");
    }
    for named in ["1", "b-1", "c-1"] {
        let filter = DocumentFilter { student: Some(id(named)), ..DocumentFilter::default() };
        assert_eq!(store.documents(&district, &filter).await.unwrap().len(), 4, "{named}");
        let newest = store.newest_completed_document(&district, &id(named), SPED).await.unwrap().unwrap();
        assert_eq!(newest.student, id("c-1"), "{named}");
        assert_eq!(store.flag_facts(&district, Some(&id(named)), None).await.unwrap().documents.len(), 4, "{named}");
    }
    let stranger = NewDocument { student: id("nobody"), ..document("x") };
    let refused = store.check_document(&district, &(&stranger).into(), SaveMode::Create).await.unwrap();
    assert_eq!(refused, [DocumentRefused::NoStudent]);
}

async fn what_is_pending_moves_with_the_student(f: Fixture) {
    let (store, district) = (&f.store, house(&f.store).await);
    save(store, &district, &document("d"), 10).await;
    save(store, &district, &NewDocument { student: id("2"), ..document("e") }, 11).await;
    rekey(store, &district, 2, "1", "b-1").await;
    let pending = store.pending_students(&district, 10).await.unwrap();
    let told: Vec<_> = pending.iter().map(|one| (one.student.clone(), one.since)).collect();
    assert_eq!(told, [(id("b-1"), at(10)), (id("2"), at(11))]);
    store.settle_pending(&district, &pending).await.unwrap();
    assert!(store.pending_students(&district, 10).await.unwrap().is_empty());
}

/// A student goes to another id and back while others read: documents, participations, flags and the student are all under
/// the one id, or all under the other.
async fn what_flags_follow_from_is_of_one_moment(f: Fixture) {
    let (store, district) = (&f.store, house(&f.store).await);
    save(store, &district, &document("d"), 10).await;
    store.save_participations(&district, &[participation(1)], at(10)).await.unwrap();
    keep(store, &district, &[flag(1, FlagState::Wanted)], &[], at(10)).await;
    let done = AtomicBool::new(false);
    let moves = async {
        for (number, (old, new)) in [("1", "b-1"), ("b-1", "1")].into_iter().cycle().take(24).enumerate() {
            rekey(store, &district, u32::try_from(number).unwrap() + 2, old, new).await;
        }
        done.store(true, Ordering::Relaxed);
    };
    let reads = async {
        let mut seen = BTreeSet::new();
        while !done.load(Ordering::Relaxed) {
            for student in [None, Some(id("1"))] {
                let facts = store.flag_facts(&district, student.as_ref(), None).await.unwrap();
                let under = [&facts.documents[0].student, &facts.participations[0].student, &facts.flags[0].student];
                assert!(under.iter().all(|one| **one == facts.students[0].student), "{facts:#?}");
                seen.insert(facts.students[0].student.clone());
            }
        }
        seen
    };
    let (seen, ()) = tokio::join!(reads, moves);
    assert_eq!(seen.len(), 2, "nothing was read under way");
}

/// What was read before a move is decided after it.
async fn what_was_worked_out_for_an_earlier_id_is_kept_under_todays(f: Fixture) {
    let (store, district) = (&f.store, house(&f.store).await);
    save(store, &district, &document("d"), 10).await;
    rekey(store, &district, 2, "1", "b-1").await;
    store.save_participations(&district, &[participation(1)], at(10)).await.unwrap();
    keep(store, &district, &[flag(1, FlagState::Wanted)], &[], at(10)).await;
    for named in ["1", "b-1"] {
        let facts = store.flag_facts(&district, Some(&id(named)), None).await.unwrap();
        let under = [&facts.documents[0].student, &facts.participations[0].student, &facts.flags[0].student];
        assert_eq!(under, [&id("b-1"); 3], "{named}");
        assert_eq!(store.flag_students(&district, Some(&id(named))).await.unwrap(), facts.students);
    }
}

async fn a_launch_and_the_access_log_know_earlier_ids(f: Fixture) {
    let (store, district) = (&f.store, house(&f.store).await);
    let registration = Registration {
        district: district.clone(),
        id: Uuid::from_u128(1),
        issuer: "https://campus.example".to_owned(),
        client_id: "c".to_owned(),
        auth_url: "https://campus.example/auth".parse().unwrap(),
        jwks_url: "https://campus.example/keys".parse().unwrap(),
        details: RegistrationDetails {
            deployments: vec!["1".to_owned()],
            student: Place::Flag,
            program: Place::Flag,
            user: Place::LisPerson,
            connection: None,
            staff: StaffAccess::Nothing,
            frame_origins: Vec::new(),
        },
        created_at: at(0),
    };
    store.register_platform(&registration, "test").await.unwrap().unwrap();
    let look = async |student: &str, second| {
        let student = id(student);
        let view = NewView {
            at: at(second),
            student_id: &student,
            program: SPED,
            user_id: "T1",
            registration: &registration,
            outcome: ViewOutcome::Refused,
            shown: None,
        };
        store.log_view(&view).await.unwrap();
    };
    look("1", 1).await;
    rekey(store, &district, 2, "1", "b-1").await;
    look("b-1", 2).await;
    look("2", 3).await;
    for named in ["1", "b-1"] {
        let views = store.document_views(&district, Some(&id(named)), 10).await.unwrap();
        assert_eq!(views.iter().map(|view| view.at).collect::<Vec<_>>(), [at(2), at(1)], "{named}");
        let (today, named) = (date(2), id(named));
        let subject = store.subject_with_id(&district, &named, today).await.unwrap().unwrap();
        assert_eq!((subject.student_id, subject.earlier_ids), (id("b-1"), vec![id("1")]));
        let subject = store.subject(&district, FIRST, &named.0, today).await.unwrap().unwrap();
        assert_eq!(subject.student_id, id("b-1"));
    }
}

async fn the_access_log_goes_with_a_student_who_is_given_another_id(f: Fixture) {
    let district = new_district(&f.store, "a").await;
    let registration = registration(&district, "c1");
    applied(&f.store, &district, 1, vec![added(student("old")), added(student("other"))]).await;
    let look = async |student: &str| {
        f.store.log_view(&look_in_vain(&id(student), &registration)).await.unwrap();
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
        f.store.put_lti_user(own, (&sis(), user), &list(ids), "ann", now()).await.unwrap();
    };
    put(&district, "t1", &["other", "old"]).await;
    put(&district, "t2", &["new", "old"]).await;
    put(&district, "t3", &["other"]).await;
    // Of two people with one id, and of one whom nobody knows.
    f.store.put_lti_user(&district, (&Namer::Unclear, "t1"), &list(&["old"]), "ann", now()).await.unwrap();
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
    assert_eq!(listed(&district).await, by_ann(&[&["new"], &["other", "new"], &["new"], &["other"]]));
    assert_eq!(listed(&elsewhere).await, by_ann(&[&["old"]]), "another district's student stays");
    move_to(3, "new", "newest").await;
    assert_eq!(listed(&district).await, by_ann(&[&["newest"], &["other", "newest"], &["newest"], &["other"]]));
}

async fn what_was_said_about_people_follows_them_to_another_id(f: Fixture) {
    let district = sources(&f, "active", &["", "b-"]).await;
    let of = |connection, id: &str| Staff { connection: Some(connection), ..member(id) };
    lists_staff(&f, &district, 1, vec![of(1, "b-t9"), of(0, "t1"), of(0, "t3"), of(1, "b-t1")]).await;
    let (second, nobody) = (Namer::Source(ConnectionNo(1)), StudentScope::Nobody);
    let number = Namer::Platform { registration: Uuid::from_u128(7), place: Place::Subject };
    let put = async |namer: &Namer, user: &str, students: &StudentScope| {
        let access = UserAccess { students: students.clone(), programs: Vec::new() };
        f.store.put_lti_user(&district, (namer, user), &access, "ann", now()).await.unwrap();
    };
    for user in ["T1", "t2", "t3", "t9"] {
        put(&sis(), user, &nobody).await;
    }
    for (namer, user) in
        [(&second, "t1"), (&second, "t9"), (&number, "t1"), (&Namer::Unclear, "t1"), (&Namer::Unclear, "t9")]
    {
        put(namer, user, &nobody).await;
    }
    put(&sis(), "u3", &StudentScope::Everybody).await;
    let spoken = |of: Option<u16>, id: &str| SpokenOf { of: of.map(ConnectionNo), id: id.to_owned() };
    assert_eq!(
        f.store.staff_spoken_of(&district).await.unwrap(),
        [
            spoken(None, "t1"),
            spoken(Some(0), "t1"),
            spoken(Some(0), "t3"),
            spoken(Some(1), "t1"),
            spoken(Some(1), "t9")
        ],
        "t2 is no staff, t9 of the other source, and a platform's number is no id of staff"
    );
    for seq in [2, 3] {
        let run = run_at_plan(&f.store, &district, seq).await;
        let mut plan = plan_of(&f.store, &district, Verdict::Nothing, &[]).await;
        let moved = |of: Option<u16>, old: &str, new: &str| PersonMoved {
            of: of.map(ConnectionNo),
            old: old.to_owned(),
            new: new.to_owned(),
        };
        plan.people_moved = vec![moved(Some(0), "t1", "U1"), moved(Some(0), "t3", "u3"), moved(None, "t1", "n1")];
        assert!(f.store.save_plan(&district, run.id, &plan, later(seq.into())).await.unwrap());
    }
    let said = async |user: &str| {
        let users = f.store.lti_users_called(&district, user).await.unwrap();
        users.into_iter().map(|user| (user.namer, user.access.students)).collect::<Vec<_>>()
    };
    let first = |scope: &StudentScope| vec![(sis(), scope.clone())];
    assert_eq!(said("t1").await, [(second.clone(), nobody.clone()), (number, nobody.clone())], "others stay");
    for user in ["u1", "U1", "t2", "t3"] {
        assert_eq!(said(user).await, first(&nobody), "{user}");
    }
    assert_eq!(said("n1").await, [(Namer::Unclear, nobody.clone())]);
    assert_eq!(said("t9").await.len(), 3);
    assert_eq!(said("u3").await, first(&StudentScope::Everybody), "what was said of the new id is newer");
    assert_eq!(f.store.lti_users_called(&district, "u1").await.unwrap()[0].created_by, "ann");
    let trail = f.store.audit_trail(&district, 20).await.unwrap();
    let moves: Vec<_> = trail.iter().filter(|entry| entry.action == "lti.user.move").collect();
    let moves: BTreeSet<_> = moves.iter().map(|entry| entry.detail.as_str()).collect();
    assert_eq!(moves, BTreeSet::from(["user=t1 now=n1", "user=t1 of=connection 0 now=u1"]));
}

async fn lists_name_students_as_the_sis_spells_them(f: Fixture) {
    const SMALL: &str = "0f6b1c2d-ab12-4cde-8f00-0123456789ab";
    let district = sources(&f, "none", &["", "b-"]).await;
    applied(&f.store, &district, 1, vec![added(student(SMALL)), added(student("b-S2")), added(student("S3"))]).await;
    let said: Vec<String> =
        [SMALL.to_uppercase(), "S2".to_owned(), "b-S2".to_owned(), "s3".to_owned(), "nobody".to_owned()].into();
    let access = UserAccess { students: StudentScope::Students(said), programs: Vec::new() };
    f.store.put_lti_user(&district, (&sis(), "t1"), &access, "ann", now()).await.unwrap();
    let kept = f.store.lti_users_called(&district, "t1").await.unwrap().remove(0).access.students;
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
    f.store.put_lti_user(&alone, (&sis(), "t2"), &access, "ann", now()).await.unwrap();
    let kept = f.store.lti_users_called(&alone, "t2").await.unwrap().remove(0).access.students;
    assert_eq!(kept, StudentScope::Students(vec!["b-S2".to_owned()]));
}
