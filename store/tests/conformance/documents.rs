//! Documents, what they contain, and who may change what: what both engines must do alike.

use rollcall_proto::id::{ConnectionNo, DistrictId};
use rollcall_store::{
    Sealed, Store, StoreError,
    district::{ConnectionSecrets, District},
    document::{
        Author, DocumentFile, DocumentFilter, DocumentId, DocumentParts, DocumentRefused, DocumentStatus, NewDocument,
        SaveMode,
    },
};

use crate::{
    common::{Fixture, both, day, new_key, ring},
    roster_support::*,
};

crate::on_both_engines! {
    programs_are_the_common_ones_and_the_districts_own,
    a_document_reads_back_and_keeps_the_demographics_of_its_day,
    a_document_names_its_student_as_the_sis_spells_the_id,
    the_same_document_again_changes_nothing,
    a_document_moves_one_way_only,
    what_cannot_be_is_refused_with_a_reason,
    an_idempotency_key_answers_alike_and_is_for_one_request,
    making_and_replacing_are_two_requests,
    a_key_that_was_remembered_by_an_older_program_still_answers,
    the_newest_completed_document_is_found_with_its_file,
    contents_lie_sealed_and_are_sealed_anew,
    what_a_lost_key_sealed_is_stored_anew_or_given_up,
    what_an_old_key_seals_after_a_rotation_is_counted_and_found_by_the_next,
    a_change_of_completed_documents_marks_the_student,
}

pub(crate) const SPED: &str = "Special Education";

/// A district with flags for one program and the students 1 and 2.
pub(crate) async fn house(store: &Store) -> DistrictId {
    let district: District = serde_json::from_value(serde_json::json!({
        "id": "flags", "name": "Invented", "time_zone": "America/Chicago",
        "connection": [{"kind": "oneroster", "base_url": "https://sis.example/API", "client_id": "c"}],
        "program": [
            {"name": SPED, "flags": true, "option": "take-over", "cutover": "2026-08-15"},
            {"name": "Language Support"},
        ],
    }))
    .unwrap();
    store.apply_district(&district, &[ConnectionSecrets::default()], "test", at(0)).await.unwrap();
    applied(store, &district.id, 1, vec![added(student("1")), added(student("2"))]).await;
    district.id
}

pub(crate) fn document(name: &str) -> NewDocument {
    NewDocument {
        id: name.parse().unwrap(),
        student: id("1"),
        program: SPED.to_owned(),
        kind: "IEP".to_owned(),
        completed: true,
        starts_on: day("2026-08-20"),
        ends_on: Some(day("2027-08-19")),
        data: Some(serde_json::json!({"goal": "invented", "minutes": 30})),
        file: Some(file("one")),
    }
}

fn file(text: &str) -> DocumentFile {
    DocumentFile::check(format!("%PDF-1.7 {text}").into_bytes()).unwrap()
}

pub(crate) fn by(second: u32) -> Author<'static> {
    Author { actor: "sped-suite", key: None, at: at(second) }
}

pub(crate) async fn save(
    store: &Store,
    district: &DistrictId,
    new: &NewDocument,
    second: u32,
) -> rollcall_store::document::Saved {
    store.save_document(district, new, SaveMode::Upsert, by(second)).await.unwrap().unwrap()
}

async fn programs_are_the_common_ones_and_the_districts_own(f: Fixture) {
    let district = house(&f.store).await;
    let programs = f.store.programs(&district).await.unwrap();
    assert_eq!(programs, ["Advanced Learners", "K-4 Literacy", "Language Support", "Section 504", "Special Education"]);
}

async fn a_document_reads_back_and_keeps_the_demographics_of_its_day(f: Fixture) {
    let district = house(&f.store).await;
    let saved = save(&f.store, &district, &document("d"), 10).await;
    assert!(saved.created && saved.changed && saved.flags_due);
    let key: DocumentId = "d".parse().unwrap();
    let kept = f.store.document(&district, &key).await.unwrap().unwrap();
    assert_eq!(kept, saved.document);
    assert_eq!((kept.version, kept.status, kept.completed_at), (1, DocumentStatus::Completed, Some(at(10))));
    assert_eq!(f.store.document_data(&district, &key).await.unwrap(), document("d").data);
    assert_eq!(f.store.document_file(&district, &key).await.unwrap(), document("d").file);
    let before = f.store.document_demographics(&district, &key).await.unwrap().unwrap();
    assert_eq!(before.grade.as_deref(), Some("05"));
    let mut older = student("1");
    older.grade = Some("06".to_owned());
    applied(&f.store, &district, 2, vec![changed(older)]).await;
    save(&f.store, &district, &NewDocument { kind: "IEP, amended".to_owned(), ..document("d") }, 20).await;
    assert_eq!(f.store.document_demographics(&district, &key).await.unwrap(), Some(before));
}

/// Campus shows UUIDs in either letter case; they are kept in small letters.
async fn a_document_names_its_student_as_the_sis_spells_the_id(f: Fixture) {
    const SMALL: &str = "0f6b1c2d-ab12-4cde-8f00-0123456789ab";
    let district = house(&f.store).await;
    applied(&f.store, &district, 2, vec![added(student(SMALL))]).await;
    let capitals = SMALL.to_uppercase();
    let of = |spelled: &str| NewDocument { student: id(spelled), ..document("d") };
    assert_eq!(f.store.check_document(&district, &(&of(&capitals)).into(), SaveMode::Create).await.unwrap(), []);
    assert_eq!(save(&f.store, &district, &of(&capitals), 10).await.document.student, id(SMALL));
    assert!(!save(&f.store, &district, &of(SMALL), 11).await.changed, "the same student, whatever the letters");
    for spelled in [SMALL, &capitals] {
        let filter = DocumentFilter { student: Some(id(spelled)), ..DocumentFilter::default() };
        assert_eq!(f.store.documents(&district, &filter).await.unwrap().len(), 1, "{spelled}");
    }
    let other = NewDocument { id: "e".parse().unwrap(), ..of("0F6B1C2D-AB12-4CDE-8F00-0123456789AC") };
    let refused = f.store.check_document(&district, &(&other).into(), SaveMode::Create).await.unwrap();
    assert_eq!(refused, [DocumentRefused::NoStudent]);
}

async fn the_same_document_again_changes_nothing(f: Fixture) {
    let district = house(&f.store).await;
    save(&f.store, &district, &document("d"), 10).await;
    let again = save(&f.store, &district, &document("d"), 11).await;
    assert!(!again.created && !again.changed && !again.flags_due);
    assert_eq!(count(&f, &district, "document_version").await, 1);
    let moved = save(&f.store, &district, &NewDocument { starts_on: day("2026-08-21"), ..document("d") }, 12).await;
    assert!(moved.changed && moved.flags_due);
    assert_eq!(moved.document.version, 2);
    let renamed =
        NewDocument { kind: "ETR".to_owned(), starts_on: day("2026-08-21"), file: None, data: None, ..document("d") };
    assert!(!save(&f.store, &district, &renamed, 13).await.flags_due, "dates and status are as before");
    let key = "d".parse().unwrap();
    assert_eq!(f.store.document_file(&district, &key).await.unwrap(), document("d").file, "what is not given stays");
}

async fn a_document_moves_one_way_only(f: Fixture) {
    let district = house(&f.store).await;
    let (store, key) = (&f.store, "d".parse::<DocumentId>().unwrap());
    let draft = NewDocument { completed: false, ..document("d") };
    assert!(!save(store, &district, &draft, 10).await.flags_due);
    let done = store.complete_document(&district, &key, by(11)).await.unwrap().unwrap();
    assert!(done.flags_due && done.document.completed_at == Some(at(11)));
    let again = store.complete_document(&district, &key, by(12)).await.unwrap().unwrap();
    assert!(!again.changed && again.document.completed_at == Some(at(11)));
    let back = store.save_document(&district, &draft, SaveMode::Replace, by(13)).await.unwrap();
    assert_eq!(back, Err(DocumentRefused::Completed));
    assert!(store.withdraw_document(&district, &key, by(14)).await.unwrap().unwrap().flags_due);
    for refused in [
        store.complete_document(&district, &key, by(15)).await.unwrap(),
        store.save_document(&district, &document("d"), SaveMode::Upsert, by(15)).await.unwrap(),
    ] {
        assert_eq!(refused, Err(DocumentRefused::Withdrawn));
    }
    assert_eq!(store.document(&district, &key).await.unwrap().unwrap().version, 3);
    assert!(store.flag_facts(&district, None, None).await.unwrap().documents.is_empty());
}

async fn what_cannot_be_is_refused_with_a_reason(f: Fixture) {
    let district = house(&f.store).await;
    save(&f.store, &district, &document("there"), 10).await;
    let new = document("new");
    let cases = [
        (NewDocument { student: id("nobody"), ..new.clone() }, SaveMode::Create, DocumentRefused::NoStudent),
        (NewDocument { program: "Chess".to_owned(), ..new.clone() }, SaveMode::Create, DocumentRefused::NoProgram),
        (
            NewDocument { ends_on: Some(day("2026-08-19")), ..new.clone() },
            SaveMode::Create,
            DocumentRefused::DatesReversed,
        ),
        (
            NewDocument { data: Some("x".repeat(1 << 20).into()), ..new.clone() },
            SaveMode::Create,
            DocumentRefused::DataTooLarge,
        ),
        (new, SaveMode::Replace, DocumentRefused::Missing),
        (document("there"), SaveMode::Create, DocumentRefused::Exists),
        (NewDocument { student: id("2"), ..document("there") }, SaveMode::Upsert, DocumentRefused::OtherOwner),
    ];
    for (new, mode, refused) in cases {
        assert_eq!(f.store.check_document(&district, &(&new).into(), mode).await.unwrap(), [refused]);
        assert_eq!(f.store.save_document(&district, &new, mode, by(20)).await.unwrap(), Err(refused));
    }
    assert_eq!(count(&f, &district, "document").await, 1);
    let (nobody, there) = (id("nobody"), document("there").id);
    let all = DocumentParts {
        student: Some(&nobody),
        program: Some("Chess"),
        starts_on: Some(day("2026-08-20")),
        ends_on: Some(day("2026-08-19")),
        ..DocumentParts::default()
    };
    let refused = f.store.check_document(&district, &all, SaveMode::Upsert).await.unwrap();
    assert_eq!(refused, [DocumentRefused::DatesReversed, DocumentRefused::NoProgram, DocumentRefused::NoStudent]);
    let of_another = DocumentParts { id: Some(&there), ..all };
    let refused = f.store.check_document(&district, &of_another, SaveMode::Upsert).await.unwrap();
    assert_eq!(refused, [DocumentRefused::DatesReversed, DocumentRefused::OtherOwner]);
    let unread = f.store.check_document(&district, &DocumentParts::default(), SaveMode::Upsert).await.unwrap();
    assert_eq!(unread, []);
}

async fn an_idempotency_key_answers_alike_and_is_for_one_request(f: Fixture) {
    let district = house(&f.store).await;
    let keyed = |key| Author { key: Some(key), ..by(10) };
    let (store, new) = (&f.store, document("d"));
    let first = store.save_document(&district, &new, SaveMode::Create, keyed("k1")).await.unwrap().unwrap();
    let again = store.save_document(&district, &new, SaveMode::Create, keyed("k1")).await.unwrap().unwrap();
    assert_eq!((first.created, again.created, again.changed), (true, true, false));
    assert_eq!(again.document, first.document);
    let other = NewDocument { kind: "ETR".to_owned(), ..document("d") };
    let reused = store.save_document(&district, &other, SaveMode::Replace, keyed("k1")).await.unwrap();
    assert_eq!(reused, Err(DocumentRefused::KeyReused));
    let key = "d".parse().unwrap();
    assert!(store.withdraw_document(&district, &key, keyed("k2")).await.unwrap().unwrap().changed);
    assert!(!store.withdraw_document(&district, &key, keyed("k2")).await.unwrap().unwrap().changed);
    let late = store.save_document(&district, &new, SaveMode::Create, keyed("k1")).await.unwrap().unwrap();
    assert_eq!((late.created, late.document), (true, first.document), "the first answer, whatever happened since");
    let other_actor = Author { actor: "another", key: Some("k1"), at: at(12) };
    let by_another = store.save_document(&district, &new, SaveMode::Create, other_actor).await.unwrap();
    assert_eq!(by_another, Err(DocumentRefused::Exists), "keys are an integration's own");
}

/// What was made is replaced by one key, and made again, as it were, by the key that it was made by.
async fn making_and_replacing_are_two_requests(f: Fixture) {
    let district = house(&f.store).await;
    let keyed = |key| Author { key: Some(key), ..by(10) };
    let (store, new) = (&f.store, document("d"));
    let other = NewDocument { kind: "ETR".to_owned(), ..document("d") };
    store.save_document(&district, &new, SaveMode::Create, keyed("k")).await.unwrap().unwrap();
    assert!(store.save_document(&district, &other, SaveMode::Replace, keyed("l")).await.unwrap().unwrap().changed);
    let back = store.save_document(&district, &new, SaveMode::Replace, keyed("k")).await.unwrap();
    assert_eq!(back, Err(DocumentRefused::KeyReused), "not the first answer, with nothing replaced");
    assert_eq!(store.document(&district, &new.id).await.unwrap().unwrap().kind, "ETR");
    let again = store.save_document(&district, &other, SaveMode::Replace, keyed("l")).await.unwrap().unwrap();
    assert_eq!((again.changed, again.document.kind.as_str()), (false, "ETR"));
    let upserted = store.save_document(&district, &other, SaveMode::Upsert, keyed("l")).await.unwrap();
    assert_eq!(upserted, Err(DocumentRefused::KeyReused));
    assert!(store.save_document(&district, &new, SaveMode::Replace, keyed("m")).await.unwrap().unwrap().changed);
}

async fn a_key_that_was_remembered_by_an_older_program_still_answers(f: Fixture) {
    let district = house(&f.store).await;
    let keyed = Author { key: Some("k"), ..by(10) };
    let new = document("d");
    let first = f.store.save_document(&district, &new, SaveMode::Create, keyed).await.unwrap().unwrap();
    alter(&f, "UPDATE document_request SET digest = (SELECT digest FROM document WHERE document_id = 'd')").await;
    let again = f.store.save_document(&district, &new, SaveMode::Create, keyed).await.unwrap().unwrap();
    assert_eq!((again.created, again.document), (true, first.document));
    let other = NewDocument { kind: "ETR".to_owned(), ..document("d") };
    let refused = f.store.save_document(&district, &other, SaveMode::Create, keyed).await.unwrap();
    assert_eq!(refused, Err(DocumentRefused::KeyReused));
}

async fn the_newest_completed_document_is_found_with_its_file(f: Fixture) {
    let district = house(&f.store).await;
    for (name, starts, completed) in
        [("a", "2025-08-20", true), ("b", "2026-08-20", true), ("c", "2026-09-20", false), ("e", "2026-08-20", true)]
    {
        let new = NewDocument { starts_on: day(starts), completed, file: Some(file(name)), ..document(name) };
        save(&f.store, &district, &new, 10).await;
    }
    f.store.withdraw_document(&district, &"e".parse().unwrap(), by(11)).await.unwrap().unwrap();
    let newest = f.store.newest_completed_document(&district, &id("1"), SPED).await.unwrap().unwrap();
    assert_eq!(newest.id.as_str(), "b");
    assert_eq!(f.store.document_file(&district, &newest.id).await.unwrap(), Some(file("b")));
    assert!(f.store.newest_completed_document(&district, &id("2"), SPED).await.unwrap().is_none());
    let drafts = DocumentFilter { status: Some(DocumentStatus::Draft), ..DocumentFilter::default() };
    let listed = f.store.documents(&district, &drafts).await.unwrap();
    assert_eq!(listed.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), ["c"]);
    let page = DocumentFilter { after: Some("a".parse().unwrap()), limit: Some(2), ..DocumentFilter::default() };
    let listed = f.store.documents(&district, &page).await.unwrap();
    assert_eq!(listed.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), ["b", "c"]);
}

async fn contents_lie_sealed_and_are_sealed_anew(f: Fixture) {
    let district = house(&f.store).await;
    let marked = NewDocument { file: Some(file("S3CRETMARK")), ..document("d") };
    save(&f.store, &district, &marked, 10).await;
    if let Some(dir) = f.dir() {
        for found in std::fs::read_dir(dir).unwrap() {
            let bytes = std::fs::read(found.unwrap().path()).unwrap();
            assert!(!bytes.windows(10).any(|window| window == b"S3CRETMARK"));
        }
    }
    let new = new_key();
    f.opened_with(&both(&new, &f.key)).await.rotate_key(&ring(&new), "test", at(20)).await.unwrap();
    let only_new = f.opened_with(&new).await;
    let key = "d".parse().unwrap();
    assert_eq!(only_new.document_file(&district, &key).await.unwrap(), marked.file);
    assert!(only_new.document_demographics(&district, &key).await.unwrap().is_some());
}

/// A document whose content nobody can open is stored anew, though it is the same; and what a lost key sealed is given up, and nothing
/// else.
async fn what_a_lost_key_sealed_is_stored_anew_or_given_up(f: Fixture) {
    let district = house(&f.store).await;
    let (again, gone) = (document("again"), document("gone"));
    for new in [&again, &gone] {
        save(&f.store, &district, new, 10).await;
    }
    let own = new_key();
    let found = f.opened_with(&own).await;
    assert!(save(&found, &district, &again, 11).await.changed, "what is stored does not open");
    assert!(!save(&found, &district, &again, 12).await.changed);
    assert_eq!(found.document_file(&district, &again.id).await.unwrap(), again.file);
    assert!(!save(&f.opened_with(&f.key).await, &district, &gone, 12).await.changed, "with its key it is as before");

    let lost = found.lost().await.unwrap();
    let key = lost[0].key.clone();
    let told: Vec<_> = lost.iter().map(|lost| (lost.kind, lost.count)).collect();
    assert_eq!(told, [("secrets of connections", 1), ("contents of documents", 6)]);
    for (store, name) in [(&f.store, key.as_str()), (&found, "deadbee"), (&found, "not a name")] {
        assert!(matches!(store.forget_key(name, "test", at(13)).await, Err(StoreError::Key(_))), "{name}");
    }
    assert_eq!(found.forget_key("00000000", "test", at(13)).await.unwrap(), 0);
    assert_eq!(found.lost().await.unwrap(), lost);
    assert_eq!(f.store.document_file(&district, &gone.id).await.unwrap(), gone.file, "nothing was given up");

    assert_eq!(found.forget_key(&key, "test", at(14)).await.unwrap(), 7);
    assert_eq!((found.lost().await.unwrap(), found.sealed().await.unwrap().0.lost), (vec![], 0));
    assert_eq!(found.document_file(&district, &gone.id).await.unwrap(), None);
    assert_eq!(found.document_data(&district, &gone.id).await.unwrap(), None);
    assert_eq!(found.document_demographics(&district, &gone.id).await.unwrap(), None);
    assert_eq!(found.document(&district, &gone.id).await.unwrap().unwrap().file, None);
    assert_eq!(found.document_file(&district, &again.id).await.unwrap(), again.file);
    assert!(matches!(found.secrets(&district, ConnectionNo(0)).await, Err(StoreError::Key(_))));
    let trail = f.store.audit_trail(&district, 1).await.unwrap();
    let detail = format!("key={key} secrets=1 tool-keys=0 contents=6");
    assert_eq!((trail[0].action.as_str(), &trail[0].detail), ("key.forget", &detail));

    // Brought back, and whole.
    assert!(save(&found, &district, &gone, 15).await.changed);
    assert_eq!(found.document_file(&district, &gone.id).await.unwrap(), gone.file);
    let next = new_key();
    let rotator = f.opened_with(&both(&next, &own)).await;
    assert_eq!(rotator.rotate_key(&ring(&next), "test", at(16)).await.unwrap(), 4);
}

async fn what_an_old_key_seals_after_a_rotation_is_counted_and_found_by_the_next(f: Fixture) {
    let district = house(&f.store).await;
    save(&f.store, &district, &document("before"), 10).await;
    let (old, new) = (&f.store, new_key());
    let (lasting, pages) = old.sealed().await.unwrap();
    assert_eq!((lasting.older, lasting.lost, pages), (0, 0, Sealed::default()));
    let rotator = f.opened_with(&both(&new, &f.key)).await;
    let rotate = async |minutes| rotator.rotate_key(&ring(&new), "test", at(minutes)).await.unwrap();
    assert_eq!(rotate(20).await, lasting.newest);
    assert_eq!(rotate(21).await, 0, "there is nothing left to do");
    let rest = document("after");
    save(old, &district, &rest, 22).await;
    let left = 3;
    let counted = |newest, older, lost| Sealed { newest, older, lost };
    assert_eq!(rotator.sealed().await.unwrap().0, counted(lasting.newest, left, 0));
    let only_new = f.opened_with(&new).await;
    assert_eq!(only_new.sealed().await.unwrap().0, counted(lasting.newest, 0, left));
    assert!(only_new.document_file(&district, &rest.id).await.is_err());
    assert_eq!(rotate(23).await, left);
    assert_eq!(only_new.document_file(&district, &rest.id).await.unwrap(), rest.file);
    assert_eq!(only_new.sealed().await.unwrap().0, counted(lasting.newest + left, 0, 0));
}

async fn a_change_of_completed_documents_marks_the_student(f: Fixture) {
    let district = house(&f.store).await;
    save(&f.store, &district, &document("d"), 10).await;
    let pending = async || {
        let pending = f.store.pending_students(&district, 10).await.unwrap();
        (pending.iter().map(|one| (one.student.clone(), one.since)).collect::<Vec<_>>(), pending)
    };
    let (of, taken) = pending().await;
    assert_eq!(of, [(id("1"), at(10))]);
    f.store.complete_document(&district, &"d".parse().unwrap(), by(11)).await.unwrap().unwrap();
    f.store.withdraw_document(&district, &"d".parse().unwrap(), by(12)).await.unwrap().unwrap();
    f.store.settle_pending(&district, &taken).await.unwrap();
    let (of, left) = pending().await;
    assert_eq!(of, [(id("1"), at(12))], "a mark set since stays");
    // So does one that was set by a clock that is behind.
    save(&f.store, &district, &document("e"), 11).await;
    f.store.settle_pending(&district, &left).await.unwrap();
    let (of, left) = pending().await;
    assert_eq!(of, [(id("1"), at(12))], "the change of the clock that is behind");
    f.store.settle_pending(&district, &left).await.unwrap();
    assert!(f.store.pending_students(&district, 10).await.unwrap().is_empty());
}
