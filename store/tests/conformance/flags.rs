//! Documents, participations, flags and take-overs: what both engines must do alike.

use rollcall_proto::{id::DistrictId, message::StudentEvent};
use rollcall_store::{
    Store,
    district::{ConnectionSecrets, District},
    document::{
        Author, DocumentFile, DocumentFilter, DocumentId, DocumentRefused, DocumentStatus, NewDocument, SaveMode,
    },
    flag::{
        CutoverFlag, Flag, FlagFilter, FlagState, LedgerEntry, Participation, PushedFlag, RefusedFlag, TakeOverPlan,
        TakeOverState,
    },
    lti::{NewView, Place, Registration, RegistrationDetails, StaffAccess, ViewOutcome},
    plan::Verdict,
};
use uuid::Uuid;

use crate::{
    common::{Fixture, day, new_key, ring},
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
    the_newest_completed_document_is_found_with_its_file,
    contents_lie_sealed_and_are_sealed_anew,
    a_change_of_completed_documents_marks_the_student,
    participations_and_flags_read_back,
    due_and_accepted_flags_are_found,
    flags_are_listed_by_pages_and_refusals_are_kept_until_somebody_asks,
    one_worker_at_a_time_has_a_districts_flags,
    a_program_that_was_asked_for_waits_until_it_was_compared,
    work_is_due_when_a_run_stopped_or_documents_changed,
    work_is_due_however_a_run_stopped,
    a_takeover_is_approved_once_and_ends_with_its_last_flag,
    a_student_is_the_same_under_ids_of_before,
    what_is_pending_moves_with_the_student,
    a_launch_and_the_access_log_know_earlier_ids,
}

const SPED: &str = "Special Education";

/// A district with flags for one program and the students 1 and 2.
async fn house(store: &Store) -> DistrictId {
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

fn document(name: &str) -> NewDocument {
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

fn by(second: u32) -> Author<'static> {
    Author { actor: "sped-suite", key: None, at: at(second) }
}

async fn save(store: &Store, district: &DistrictId, new: &NewDocument, second: u32) -> rollcall_store::document::Saved {
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
    assert_eq!(f.store.check_document(&district, &of(&capitals), SaveMode::Create).await.unwrap(), Ok(()));
    assert_eq!(save(&f.store, &district, &of(&capitals), 10).await.document.student, id(SMALL));
    assert!(!save(&f.store, &district, &of(SMALL), 11).await.changed, "the same student, whatever the letters");
    for spelled in [SMALL, &capitals] {
        let filter = DocumentFilter { student: Some(id(spelled)), ..DocumentFilter::default() };
        assert_eq!(f.store.documents(&district, &filter).await.unwrap().len(), 1, "{spelled}");
    }
    let other = NewDocument { id: "e".parse().unwrap(), ..of("0F6B1C2D-AB12-4CDE-8F00-0123456789AC") };
    let refused = f.store.check_document(&district, &other, SaveMode::Create).await.unwrap();
    assert_eq!(refused, Err(DocumentRefused::NoStudent));
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
    assert!(store.completed_documents(&district, None).await.unwrap().is_empty());
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
        assert_eq!(f.store.check_document(&district, &new, mode).await.unwrap(), Err(refused));
        assert_eq!(f.store.save_document(&district, &new, mode, by(20)).await.unwrap(), Err(refused));
    }
    assert_eq!(count(&f, &district, "document").await, 1);
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
    f.store.rotate_key(ring(&new), "test", at(20)).await.unwrap();
    let only_new = f.opened_with(&new).await;
    let key = "d".parse().unwrap();
    assert_eq!(only_new.document_file(&district, &key).await.unwrap(), marked.file);
    assert!(only_new.document_demographics(&district, &key).await.unwrap().is_some());
}

async fn a_change_of_completed_documents_marks_the_student(f: Fixture) {
    let district = house(&f.store).await;
    save(&f.store, &district, &document("d"), 10).await;
    let taken = f.store.pending_students(&district, 10).await.unwrap();
    assert_eq!(taken, [(id("1"), at(10))]);
    f.store.complete_document(&district, &"d".parse().unwrap(), by(11)).await.unwrap().unwrap();
    f.store.withdraw_document(&district, &"d".parse().unwrap(), by(12)).await.unwrap().unwrap();
    f.store.settle_pending(&district, &taken).await.unwrap();
    let left = f.store.pending_students(&district, 10).await.unwrap();
    assert_eq!(left, [(id("1"), at(12))], "a mark set since stays");
    f.store.settle_pending(&district, &left).await.unwrap();
    assert!(f.store.pending_students(&district, 10).await.unwrap().is_empty());
}

fn participation(number: u128) -> Participation {
    Participation {
        id: Uuid::from_u128(number),
        student: id("1"),
        program: SPED.to_owned(),
        starts_on: day("2026-08-20"),
        ends_on: None,
        void_on: None,
        documents: vec!["d".to_owned(), "ü \"x\"".to_owned()],
    }
}

fn flag(number: u128, state: FlagState) -> Flag {
    Flag {
        id: Uuid::from_u128(number + 1_000),
        participation: Uuid::from_u128(number),
        student: id("1"),
        program: SPED.to_owned(),
        sis_id: Some("GUID-1".to_owned()),
        starts_on: day("2026-08-20"),
        ends_on: None,
        state,
        reason: None,
        due: state == FlagState::Wanted,
        why: Some("participation".to_owned()),
        pushed: None,
        verified_at: None,
        refused: None,
    }
}

fn line(flag: &Flag) -> LedgerEntry {
    LedgerEntry {
        at: at(30),
        actor: "flag-sync".to_owned(),
        flag: flag.id.to_string(),
        student: Some(flag.student.clone()),
        program: flag.program.clone(),
        action: "put".to_owned(),
        why: "participation".to_owned(),
        starts_on: Some(flag.starts_on),
        ends_on: flag.ends_on,
        answer: "201".to_owned(),
    }
}

async fn participations_and_flags_read_back(f: Fixture) {
    let district = house(&f.store).await;
    let mut one = participation(1);
    f.store.save_participations(&district, &[one.clone(), participation(2)], at(10)).await.unwrap();
    (one.ends_on, one.void_on) = (Some(day("2027-01-01")), Some(day("2026-12-01")));
    f.store.save_participations(&district, std::slice::from_ref(&one), at(11)).await.unwrap();
    assert_eq!(f.store.participations(&district, Some(&id("1"))).await.unwrap(), [one, participation(2)]);
    assert!(f.store.participations(&district, Some(&id("2"))).await.unwrap().is_empty());
    let students = f.store.flag_students(&district, None).await.unwrap();
    assert_eq!(students.iter().map(|one| one.student.0.as_str()).collect::<Vec<_>>(), ["1"]);

    let mut first = flag(1, FlagState::Wanted);
    f.store.save_flags(&district, std::slice::from_ref(&first), &[], at(10)).await.unwrap();
    (first.state, first.due, first.ends_on) = (FlagState::Accepted, false, Some(day("2027-01-01")));
    first.pushed = Some(PushedFlag {
        starts_on: first.starts_on,
        ends_on: first.ends_on,
        sis_id: "GUID-1".to_owned(),
        program_sis_id: "P".to_owned(),
        link: Some("https://rollcall.example/lti/flags/launch?flag=1".to_owned()),
    });
    f.store.save_flags(&district, std::slice::from_ref(&first), &[line(&first)], at(30)).await.unwrap();
    assert_eq!(f.store.flags(&district, None, Some(SPED)).await.unwrap(), [first.clone()]);
    assert_eq!(f.store.flag(&district, first.id).await.unwrap(), Some(first.clone()));
    assert!(f.store.flags(&district, None, Some("Section 504")).await.unwrap().is_empty());
    assert_eq!(f.store.flag_ledger(&district, None, 10).await.unwrap(), [line(&first)]);
    assert_eq!(f.store.flag_ledger(&district, Some(&first.id.to_string()), 10).await.unwrap().len(), 1);
}

async fn due_and_accepted_flags_are_found(f: Fixture) {
    let district = house(&f.store).await;
    let flags = [flag(1, FlagState::Wanted), flag(2, FlagState::Accepted), flag(3, FlagState::Pushed)];
    f.store.save_flags(&district, &flags, &[], at(10)).await.unwrap();
    assert_eq!(f.store.due_flags(&district, 10).await.unwrap(), [flags[0].clone()]);
    assert_eq!(f.store.accepted_flags(&district, 10).await.unwrap(), [flags[1].clone()]);
}

async fn flags_are_listed_by_pages_and_refusals_are_kept_until_somebody_asks(f: Fixture) {
    let district = house(&f.store).await;
    let sent = PushedFlag {
        starts_on: day("2026-08-20"),
        ends_on: None,
        sis_id: "GUID-1".to_owned(),
        program_sis_id: "P".to_owned(),
        link: None,
    };
    let refused = Flag { refused: Some(RefusedFlag { status: 422, sent }), ..flag(2, FlagState::Failed) };
    let withdrawn = Flag { reason: Some("withdrawn".to_owned()), ..flag(3, FlagState::Wanted) };
    let all = [flag(1, FlagState::Wanted), refused, withdrawn, flag(4, FlagState::Pushed)];
    f.store.save_flags(&district, &all, &[], at(10)).await.unwrap();
    let page = |after, limit| FlagFilter { after, limit, ..FlagFilter::default() };
    let first = f.store.flags_page(&district, &page(None, 2)).await.unwrap();
    assert_eq!(first, all[..2]);
    let rest = f.store.flags_page(&district, &page(Some(first[1].id), 10)).await.unwrap();
    assert_eq!(rest, all[3..], "one that was never pushed and is not wanted any more is nobody's business");
    let nobody = FlagFilter { student: Some(id("2")), limit: 10, ..FlagFilter::default() };
    assert!(f.store.flags_page(&district, &nobody).await.unwrap().is_empty());
    f.store.ask_for_flags(&district).await.unwrap();
    let asked = f.store.flag(&district, all[1].id).await.unwrap().unwrap();
    assert_eq!(asked, Flag { refused: None, ..all[1].clone() });
}

async fn one_worker_at_a_time_has_a_districts_flags(f: Fixture) {
    let district = house(&f.store).await;
    let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let store = &f.store;
    assert!(store.claim_flags(&district, one, at(0), at(60)).await.unwrap());
    assert!(!store.claim_flags(&district, two, at(59), at(119)).await.unwrap());
    assert!(store.renew_flags(&district, one, at(110)).await.unwrap());
    assert!(!store.reserve_flags(&district, two, at(109), at(169)).await.unwrap());
    assert!(store.claim_flags(&district, two, at(110), at(170)).await.unwrap(), "a dead worker's lease runs out");
    store.release_flags(&district, one).await.unwrap();
    assert!(!store.claim_flags(&district, one, at(111), at(170)).await.unwrap(), "another's lease is not given back");
    assert!(!store.renew_flags(&district, one, at(170)).await.unwrap(), "nor renewed");
    store.release_flags(&district, two).await.unwrap();
    assert_eq!(store.flags_unreachable(&district, "away").await.unwrap(), 1);
    assert_eq!(store.flags_unreachable(&district, "away").await.unwrap(), 2);
    store.retry_flags_at(&district, at(200)).await.unwrap();
    assert!(store.reserve_flags(&district, two, at(190), at(195)).await.unwrap(), "a person's decision needs no SIS");
    store.release_flags(&district, two).await.unwrap();
    assert!(!store.claim_flags(&district, one, at(199), at(260)).await.unwrap());
    assert!(store.claim_flags(&district, one, at(200), at(260)).await.unwrap());
    store.flags_reachable(&district).await.unwrap();
    assert_eq!(store.flags_problem(&district).await.unwrap(), None);
}

/// Marked with the question; what is asked while an earlier question is answered stays.
async fn a_program_that_was_asked_for_waits_until_it_was_compared(f: Fixture) {
    let district = house(&f.store).await;
    let asked_at = || async { f.store.flag_work().await.unwrap().pop().unwrap().program_asked_at };
    assert_eq!(asked_at().await, None);
    f.store.ask_for_program_flags(&district, "Section 504", at(10)).await.unwrap();
    f.store.ask_for_program_flags(&district, "Special Education", at(11)).await.unwrap();
    assert_eq!(asked_at().await, Some(at(10)));
    let taken = f.store.asked_programs(&district).await.unwrap();
    assert_eq!(taken, [("Section 504".to_owned(), at(10)), ("Special Education".to_owned(), at(11))]);
    f.store.ask_for_program_flags(&district, "Special Education", at(12)).await.unwrap();
    f.store.settle_programs(&district, &taken).await.unwrap();
    assert_eq!(f.store.asked_programs(&district).await.unwrap(), [("Special Education".to_owned(), at(12))]);
    assert_eq!(asked_at().await, Some(at(12)));
}

async fn work_is_due_when_a_run_stopped_or_documents_changed(f: Fixture) {
    let district = house(&f.store).await;
    f.district("no-flags").await;
    let work = || async { f.store.flag_work().await.unwrap().pop().unwrap() };
    let first = work().await;
    assert_eq!((first.district.as_str(), first.synced_at), ("flags", None));
    assert_eq!(first.stopped_at, Some(at(3)), "a run ended");
    f.store.flags_synced(&district, at(100)).await.unwrap();
    f.store.flags_synced(&district, at(50)).await.unwrap();
    assert_eq!(work().await.synced_at, Some(at(100)), "an older sync overtakes nothing");
    let run = run_at_plan(&f.store, &district, 2).await;
    let plan = plan_of(&f.store, &district, Verdict::Hold("preview".to_owned()), &[]).await;
    assert!(f.store.save_plan(&district, run.id, &plan, at(120)).await.unwrap());
    assert_eq!(work().await.stopped_at, Some(at(120)), "a run is held");
    save(&f.store, &district, &document("d"), 130).await;
    assert_eq!(work().await.pending_since, Some(at(130)));
    assert!(!work().await.unfinished);
    f.store.save_flags(&district, &[flag(1, FlagState::Accepted)], &[], at(10)).await.unwrap();
    assert!(work().await.unfinished);
    assert!(f.store.claim_flag_ask(&district, at(140), at(150)).await.unwrap());
    assert!(!f.store.claim_flag_ask(&district, at(149), at(151)).await.unwrap());
}

async fn work_is_due_however_a_run_stopped(f: Fixture) {
    let district = house(&f.store).await;
    let (store, hold) = (&f.store, || Verdict::Hold("preview".to_owned()));
    let stopped_at = async || store.flag_work().await.unwrap()[0].stopped_at.unwrap();
    let run = run_at_plan(store, &district, 2).await;
    assert_eq!(stopped_at().await, at(3), "one that goes on is none");
    store.fail_run(&district, run.id, "refused", at(10)).await.unwrap();
    assert_eq!(stopped_at().await, at(10), "failed");
    let run = run_at_plan(store, &district, 3).await;
    assert!(store.cancel_run(&district, run.id, "ops", at(20)).await.unwrap());
    assert_eq!(stopped_at().await, at(20), "cancelled");
    let run = run_at_plan(store, &district, 4).await;
    let plan = plan_of(store, &district, hold(), &[]).await;
    assert!(store.save_plan(&district, run.id, &plan, at(30)).await.unwrap());
    assert_eq!(stopped_at().await, at(30), "held");
    assert!(store.discard(&district, run.id, "ops", "not today", at(40)).await.unwrap());
    assert_eq!(stopped_at().await, at(40), "discarded");
}

async fn a_takeover_is_approved_once_and_ends_with_its_last_flag(f: Fixture) {
    let district = house(&f.store).await;
    let old = |name: &str| CutoverFlag {
        flag: name.to_owned(),
        sis_id: "G".to_owned(),
        student: (name == "a").then(|| id("1")),
        done_at: None,
        outcome: None,
    };
    let (store, cutover) = (&f.store, day("2026-08-15"));
    let plan = |to_end: Vec<CutoverFlag>| TakeOverPlan {
        program: SPED.to_owned(),
        cutover,
        to_end,
        without_new: 0,
        warnings: Vec::new(),
        state: TakeOverState::AwaitingApproval,
        hash: "digest".to_owned(),
    };
    let first = plan(vec![old("a"), old("b")]);
    assert_eq!(store.approve_cutovers(&district, std::slice::from_ref(&first), "ops", at(10)).await.unwrap(), None);
    let other = TakeOverPlan { program: "Section 504".to_owned(), ..plan(vec![old("d")]) };
    let both = [other.clone(), plan(vec![old("c")])];
    let refused = store.approve_cutovers(&district, &both, "ops", at(11)).await.unwrap();
    assert_eq!(refused.as_deref(), Some(SPED));
    assert_eq!(store.cutovers(&district).await.unwrap().len(), 1, "all or none");
    assert!(store.shown_plans(&district).await.unwrap().is_empty());
    store.plans_shown(&district, &[other, first], at(12)).await.unwrap();
    assert_eq!(store.shown_plans(&district).await.unwrap(), ["digest", "digest"]);
    assert_eq!(store.cutovers(&district).await.unwrap()[0].plan_hash.as_deref(), Some("digest"));
    let open = || store.cutover_flags(&district, SPED, true, 10);
    assert_eq!(open().await.unwrap(), [old("a"), old("b")]);
    let done = |name: &str| LedgerEntry {
        flag: name.to_owned(),
        action: "take-over".to_owned(),
        answer: "ended".to_owned(),
        ..line(&flag(1, FlagState::Wanted))
    };
    store.cutover_flag_done(&district, &old("a"), &done("a")).await.unwrap();
    assert_eq!(open().await.unwrap(), [old("b")]);
    assert!(!store.finish_cutover(&district, SPED, at(20)).await.unwrap());
    store.cutover_flag_done(&district, &old("b"), &done("b")).await.unwrap();
    store.cutover_flag_done(&district, &old("b"), &done("b")).await.unwrap();
    assert!(store.finish_cutover(&district, SPED, at(21)).await.unwrap());
    assert_eq!(store.cutovers(&district).await.unwrap()[0].done_at, Some(at(21)));
    let all = store.cutover_flags(&district, SPED, false, 10).await.unwrap();
    assert!(all.iter().all(|one| one.outcome.as_deref() == Some("ended")));
    // Two approvals, two outcomes.
    assert_eq!(store.flag_ledger(&district, None, 10).await.unwrap().len(), 4);
    let (since, earliest) = store.flag_history(&district, SPED).await.unwrap();
    assert_eq!((since, earliest), (at(0), None));
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
        store.check_document(&district, &same, SaveMode::Upsert).await.unwrap().unwrap();
        // By its key it gets the answer of then; by its content, the document of today.
        for (author, student) in [(keyed("k", number), "1"), (by(number), "c-1")] {
            let again = store.save_document(&district, &same, SaveMode::Upsert, author).await.unwrap().unwrap();
            assert!(!again.changed && !again.flags_due && again.document.student == id(student), "{named}: {again:?}");
        }
        let new = NewDocument { student: id(named), ..document(&format!("new-{named}")) };
        store.check_document(&district, &new, SaveMode::Create).await.unwrap().unwrap();
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
        assert_eq!(store.completed_documents(&district, Some(&id(named))).await.unwrap().len(), 4, "{named}");
    }
    let stranger = NewDocument { student: id("nobody"), ..document("x") };
    let refused = store.check_document(&district, &stranger, SaveMode::Create).await.unwrap();
    assert_eq!(refused, Err(DocumentRefused::NoStudent));
}

async fn what_is_pending_moves_with_the_student(f: Fixture) {
    let (store, district) = (&f.store, house(&f.store).await);
    save(store, &district, &document("d"), 10).await;
    save(store, &district, &NewDocument { student: id("2"), ..document("e") }, 11).await;
    rekey(store, &district, 2, "1", "b-1").await;
    let pending = store.pending_students(&district, 10).await.unwrap();
    assert_eq!(pending, [(id("b-1"), at(10)), (id("2"), at(11))]);
    store.settle_pending(&district, &pending).await.unwrap();
    assert!(store.pending_students(&district, 10).await.unwrap().is_empty());
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
        let subject = store.subject(&district, &named.0.to_uppercase(), today).await.unwrap().unwrap();
        assert_eq!(subject.student_id, id("b-1"));
    }
}
