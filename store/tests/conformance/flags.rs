//! Participations, flags and take-overs: what both engines must do alike.

use chrono::{DateTime, Utc};
use rollcall_proto::id::DistrictId;
use rollcall_store::{
    Store,
    document::NewDocument,
    flag::{
        CutoverFlag, Failing, Flag, FlagFilter, FlagState, LedgerEntry, Participation, PushedFlag, RefusedFlag,
        TakeOverPlan, TakeOverState,
    },
    plan::Verdict,
};
use uuid::Uuid;

use crate::{
    common::{Fixture, day},
    documents::{SPED, document, house, save},
    roster_support::*,
};

crate::on_both_engines! {
    participations_and_flags_read_back,
    many_at_once_are_kept_each_as_it_is,
    due_and_accepted_flags_are_found,
    flags_are_listed_by_pages_and_refusals_are_kept_until_somebody_asks,
    one_worker_at_a_time_has_a_districts_flags,
    what_somebody_found_who_has_lost_the_district_is_not_kept,
    a_removed_districts_flags_are_nobodys_until_it_comes_back,
    a_program_that_was_asked_for_waits_until_it_was_compared,
    who_asked_for_flags_is_in_the_audit_trail,
    work_is_due_when_a_run_stopped_or_documents_changed,
    work_is_due_however_a_run_stopped,
    a_takeover_is_approved_once_and_ends_with_its_last_flag,
    students_with_documents_from_before_are_counted,
    a_flag_that_the_sis_fails_at_has_its_turn,
    flags_are_found_by_the_ids_that_the_sis_has_for_people,
}

pub(crate) fn participation(number: u128) -> Participation {
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

/// Stores flags, as a worker does.
pub(crate) async fn keep(
    store: &Store,
    district: &DistrictId,
    flags: &[Flag],
    lines: &[LedgerEntry],
    now: DateTime<Utc>,
) {
    let worker = Uuid::now_v7();
    assert!(store.reserve_flags(district, worker, now, now).await.unwrap());
    assert!(store.save_flags(district, worker, flags, lines, now).await.unwrap());
    store.release_flags(district, worker).await.unwrap();
}

pub(crate) fn flag(number: u128, state: FlagState) -> Flag {
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
        failing: None,
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
    let of = async |student: &str| f.store.flag_facts(&district, Some(&id(student)), None).await.unwrap();
    assert_eq!(of("1").await.participations, [one, participation(2)]);
    assert!(of("2").await.participations.is_empty());
    let students = f.store.flag_students(&district, None).await.unwrap();
    assert_eq!(students.iter().map(|one| one.student.0.as_str()).collect::<Vec<_>>(), ["1"]);

    let mut first = flag(1, FlagState::Wanted);
    keep(&f.store, &district, std::slice::from_ref(&first), &[], at(10)).await;
    (first.state, first.due, first.ends_on) = (FlagState::Accepted, false, Some(day("2027-01-01")));
    first.pushed = Some(PushedFlag {
        starts_on: first.starts_on,
        ends_on: first.ends_on,
        sis_id: "GUID-1".to_owned(),
        program_sis_id: "P".to_owned(),
        link: Some("https://rollcall.example/lti/flags/launch?flag=1".to_owned()),
    });
    keep(&f.store, &district, std::slice::from_ref(&first), &[line(&first)], at(30)).await;
    assert_eq!(f.store.flags(&district, None, Some(SPED)).await.unwrap(), [first.clone()]);
    assert_eq!(f.store.flag(&district, first.id).await.unwrap(), Some(first.clone()));
    assert!(f.store.flags(&district, None, Some("Section 504")).await.unwrap().is_empty());
    assert_eq!(f.store.flag_ledger(&district, None, 10).await.unwrap(), [line(&first)]);
    assert_eq!(f.store.flag_ledger(&district, Some(&first.id.to_string()), 10).await.unwrap().len(), 1);
}

/// As many as are written by statements of every size.
async fn many_at_once_are_kept_each_as_it_is(f: Fixture) {
    let (store, district) = (&f.store, house(&f.store).await);
    let ends = |number: u128, odd: u128| {
        (number % 2 == odd).then(|| day("2027-01-01") + chrono::Days::new(u64::try_from(number).unwrap()))
    };
    for (odd, minute) in [(1, 10), (0, 11)] {
        let participations: Vec<_> =
            (1..=73).map(|number| Participation { ends_on: ends(number, odd), ..participation(number) }).collect();
        let flags: Vec<_> = (1..=73)
            .map(|number| {
                let state = if number % 3 == odd { FlagState::Accepted } else { FlagState::Wanted };
                Flag { ends_on: ends(number, odd), why: Some(format!("why {number}")), ..flag(number, state) }
            })
            .collect();
        store.save_participations(&district, &participations, at(minute)).await.unwrap();
        keep(store, &district, &flags, &[], at(minute)).await;
        let facts = store.flag_facts(&district, None, None).await.unwrap();
        assert_eq!((facts.participations, facts.flags), (participations, flags));
    }
}

async fn due_and_accepted_flags_are_found(f: Fixture) {
    let district = house(&f.store).await;
    let flags = [flag(1, FlagState::Wanted), flag(2, FlagState::Accepted), flag(3, FlagState::Pushed)];
    keep(&f.store, &district, &flags, &[], at(10)).await;
    assert_eq!(f.store.due_flags(&district, at(40), 10).await.unwrap(), [flags[0].clone()]);
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
    keep(&f.store, &district, &all, &[], at(10)).await;
    let page = |after, limit| FlagFilter { after, limit, ..FlagFilter::default() };
    let first = f.store.flags_page(&district, &page(None, 2)).await.unwrap();
    assert_eq!(first, all[..2]);
    let rest = f.store.flags_page(&district, &page(Some(first[1].id), 10)).await.unwrap();
    assert_eq!(rest, all[3..], "one that was never pushed and is not wanted any more is nobody's business");
    let nobody = FlagFilter { student: Some(id("2")), limit: 10, ..FlagFilter::default() };
    assert!(f.store.flags_page(&district, &nobody).await.unwrap().is_empty());
    f.store.ask_for_flags(&district, "ana", at(99)).await.unwrap();
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

async fn what_somebody_found_who_has_lost_the_district_is_not_kept(f: Fixture) {
    let (store, district) = (&f.store, house(&f.store).await);
    let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
    assert!(store.claim_flags(&district, one, at(0), at(60)).await.unwrap());
    let stored = flag(1, FlagState::Pushed);
    let save = async |worker| {
        let (flags, lines) = (std::slice::from_ref(&stored), &[line(&stored)]);
        store.save_flags(&district, worker, flags, lines, at(60)).await.unwrap()
    };
    let held = async |worker| store.holds_flags(&district, worker).await.unwrap();
    assert!(save(one).await && held(one).await, "a lease that ran out is nobody else's before it is taken");
    assert!(store.claim_flags(&district, two, at(60), at(120)).await.unwrap());
    assert!(!save(one).await && !held(one).await);
    assert!(save(two).await && held(two).await);
    assert_eq!(store.flag_ledger(&district, None, 10).await.unwrap().len(), 2);

    // What the SIS took all the same is known, and the student is compared again.
    let sent = PushedFlag {
        starts_on: day("2026-08-21"),
        ends_on: Some(day("2027-01-01")),
        sis_id: "GUID-1".to_owned(),
        program_sis_id: "P".to_owned(),
        link: None,
    };
    store.flag_overtook(&district, stored.id, &sent, &LedgerEntry { at: at(70), ..line(&stored) }).await.unwrap();
    let found = store.flag(&district, stored.id).await.unwrap().unwrap();
    assert_eq!(found, Flag { pushed: Some(sent), ..stored.clone() });
    let pending = store.pending_students(&district, 10).await.unwrap();
    assert_eq!(pending.iter().map(|one| (&one.student, one.since)).collect::<Vec<_>>(), [(&stored.student, at(70))]);
    assert_eq!(store.flag_ledger(&district, None, 10).await.unwrap().len(), 3);
}

async fn a_removed_districts_flags_are_nobodys_until_it_comes_back(f: Fixture) {
    let (store, district) = (&f.store, house(&f.store).await);
    let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
    assert!(store.claim_flags(&district, one, at(0), at(60)).await.unwrap());
    store.remove_district(&district, "ana", at(1)).await.unwrap();
    assert!(!store.renew_flags(&district, one, at(70)).await.unwrap(), "whoever has them in hand stops");
    store.release_flags(&district, one).await.unwrap();
    store.ask_for_flags(&district, "ana", at(99)).await.unwrap();
    assert!(!store.claim_flags(&district, two, at(100), at(160)).await.unwrap(), "whatever asks for them");
    assert_eq!(house(store).await, district, "applied again");
    assert!(store.claim_flags(&district, two, at(101), at(161)).await.unwrap());
}

/// Marked with the question; what is asked while an earlier question is answered stays.
async fn a_program_that_was_asked_for_waits_until_it_was_compared(f: Fixture) {
    let district = house(&f.store).await;
    let asked_at = || async { f.store.flag_work().await.unwrap().pop().unwrap().program_asked_at };
    assert_eq!(asked_at().await, None);
    f.store.ask_for_program_flags(&district, "Section 504", "ana", at(10)).await.unwrap();
    f.store.ask_for_program_flags(&district, "Special Education", "ana", at(11)).await.unwrap();
    assert_eq!(asked_at().await, Some(at(10)));
    let asked = async || {
        let asked = f.store.asked_programs(&district).await.unwrap();
        (asked.iter().map(|one| (one.program.clone(), one.asked_at)).collect::<Vec<_>>(), asked)
    };
    let (names, mut taken) = asked().await;
    assert_eq!(names, [("Section 504".to_owned(), at(10)), ("Special Education".to_owned(), at(11))]);
    // Asked again while the first request is answered, by one whose clock is ahead, behind, or stands still.
    for now in [12, 9, 9] {
        f.store.ask_for_program_flags(&district, "Special Education", "ana", at(now)).await.unwrap();
        f.store.settle_programs(&district, &taken).await.unwrap();
        let left = asked().await;
        assert_eq!(left.0, [("Special Education".to_owned(), at(now))]);
        assert_eq!(asked_at().await, Some(at(now)));
        taken = left.1;
    }
    f.store.settle_programs(&district, &taken).await.unwrap();
    assert_eq!(asked_at().await, None);
}

async fn who_asked_for_flags_is_in_the_audit_trail(f: Fixture) {
    let district = house(&f.store).await;
    f.store.ask_for_flags(&district, "ana", at(10)).await.unwrap();
    f.store.ask_for_program_flags(&district, SPED, "ben", at(11)).await.unwrap();
    let trail = f.store.audit_trail(&district, 2).await.unwrap().into_iter();
    let told: Vec<_> = trail.map(|entry| (entry.at, entry.actor, entry.action, entry.detail)).collect();
    let entry =
        |second, actor: &str, detail: &str| (at(second), actor.to_owned(), "flags.push".to_owned(), detail.to_owned());
    assert_eq!(told, [entry(11, "ben", "program=Special Education"), entry(10, "ana", "programs=all")]);
}

async fn work_is_due_when_a_run_stopped_or_documents_changed(f: Fixture) {
    let district = house(&f.store).await;
    f.district("no-flags").await;
    let work = || async { f.store.flag_work().await.unwrap().pop().unwrap() };
    let first = work().await;
    assert_eq!((first.district.as_str(), first.synced_at), ("flags", None));
    assert_eq!(first.stopped_at, Some(at(3)), "a run ended");
    let before = f.store.flags_asked(&district).await.unwrap();
    f.store.ask_for_flags(&district, "ana", at(99)).await.unwrap();
    f.store.flags_synced(&district, at(100), before).await.unwrap();
    assert_eq!(work().await.synced_at, None, "what was asked for since is not settled");
    let asked = f.store.flags_asked(&district).await.unwrap();
    f.store.flags_synced(&district, at(100), asked).await.unwrap();
    f.store.flags_synced(&district, at(50), asked).await.unwrap();
    assert_eq!(work().await.synced_at, Some(at(100)), "an older sync overtakes nothing");
    let run = run_at_plan(&f.store, &district, 2).await;
    let plan = plan_of(&f.store, &district, Verdict::Hold("preview".to_owned()), &[]).await;
    assert!(f.store.save_plan(&district, run.id, &plan, at(120)).await.unwrap());
    assert_eq!(work().await.stopped_at, Some(at(120)), "a run is held");
    save(&f.store, &district, &document("d"), 130).await;
    assert_eq!(work().await.pending_since, Some(at(130)));
    assert!(!work().await.unfinished);
    keep(&f.store, &district, &[flag(1, FlagState::Accepted)], &[], at(10)).await;
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
        program_sis_id: (name == "a").then(|| "P".to_owned()),
        student: (name == "a").then(|| id("1")),
        goes_on: name == "a",
        done_at: None,
        outcome: None,
        failing: None,
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
    let (worker, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
    assert!(store.claim_flags(&district, worker, at(15), at(75)).await.unwrap());
    assert!(
        !store.cutover_flag_done(&district, other, &old("a"), &done("a")).await.unwrap(),
        "another has the district"
    );
    assert_eq!(open().await.unwrap(), [old("a"), old("b")]);
    assert!(store.cutover_flag_done(&district, worker, &old("a"), &done("a")).await.unwrap());
    assert_eq!(open().await.unwrap(), [old("b")]);
    assert!(!store.finish_cutover(&district, SPED, at(20)).await.unwrap());
    assert!(store.cutover_flag_done(&district, worker, &old("b"), &done("b")).await.unwrap());
    assert!(store.cutover_flag_done(&district, worker, &old("b"), &done("b")).await.unwrap());
    assert!(store.finish_cutover(&district, SPED, at(21)).await.unwrap());
    assert_eq!(store.cutovers(&district).await.unwrap()[0].done_at, Some(at(21)));
    let all = store.cutover_flags(&district, SPED, false, 10).await.unwrap();
    assert!(all.iter().all(|one| one.outcome.as_deref() == Some("ended")));
    // Two approvals, two outcomes.
    assert_eq!(store.flag_ledger(&district, None, 10).await.unwrap().len(), 4);
}

/// Those of before the district came, completed, of the program: each student once.
async fn students_with_documents_from_before_are_counted(f: Fixture) {
    let district = house(&f.store).await;
    applied(&f.store, &district, 2, ["3", "4", "5"].map(|id| added(student(id))).to_vec()).await;
    let loaded = async || f.store.flag_history(&district, SPED).await.unwrap();
    assert_eq!(loaded().await, (at(0), 0));
    let first = at(0).date_naive();
    let before = first.pred_opt().unwrap();
    let documents = [
        ("a", "1", SPED, true, before),
        ("b", "1", SPED, true, before),
        ("c", "2", SPED, true, first),
        ("d", "3", SPED, false, before),
        ("e", "4", "Language Support", true, before),
        ("f", "5", SPED, true, before),
    ];
    for (name, student, program, completed, starts_on) in documents {
        let (student, program) = (id(student), program.to_owned());
        let new = NewDocument { student, program, completed, starts_on, ..document(name) };
        save(&f.store, &district, &new, 1).await;
    }
    assert_eq!(loaded().await, (at(0), 2));
}

/// It has a turn of its own, after the others, until it is not to be pushed any more or a person asks.
async fn a_flag_that_the_sis_fails_at_has_its_turn(f: Fixture) {
    let (store, district) = (&f.store, house(&f.store).await);
    store.save_participations(&district, &[participation(1), participation(2)], at(1)).await.unwrap();
    let (one, two) = (flag(1, FlagState::Wanted), flag(2, FlagState::Wanted));
    keep(store, &district, &[one.clone(), two.clone()], &[], at(2)).await;
    let failing = Failing { failures: 2, retry_at: at(50), answer: "500".to_owned() };
    store.flag_fails(&district, one.id, &failing).await.unwrap();
    let failed = Flag { failing: Some(failing), ..one.clone() };
    let due = async |now| store.due_flags(&district, at(now), 10).await.unwrap();
    let owed = async || {
        let work = store.flag_work().await.unwrap().remove(0);
        (work.unfinished, work.failing_due_at)
    };
    assert_eq!(due(49).await, std::slice::from_ref(&two));
    assert_eq!(due(50).await, [two.clone(), failed.clone()], "after the others");
    assert_eq!(owed().await, (true, Some(at(50))));
    keep(store, &district, &[Flag { due: false, ..two.clone() }], &[], at(3)).await;
    assert_eq!(owed().await, (false, Some(at(50))), "nobody is busy with it before its turn");
    // Compared meanwhile, it waits all the same.
    keep(store, &district, std::slice::from_ref(&one), &[], at(4)).await;
    assert_eq!(due(50).await, std::slice::from_ref(&failed));
    assert_eq!(failed.shown_state(day("2026-08-20")), "failed");
    assert_eq!(failed.shown_reason().as_deref(), Some("campus-500 Campus does not take this flag"));
    store.ask_for_program_flags(&district, "Language Support", "test", at(5)).await.unwrap();
    assert_eq!(due(49).await, []);
    store.ask_for_flags(&district, "test", at(5)).await.unwrap();
    assert_eq!(due(5).await, std::slice::from_ref(&one), "a person asks");
    let tried = Failing { failures: 0, retry_at: at(6), answer: String::new() };
    store.flag_fails(&district, one.id, &tried).await.unwrap();
    assert_eq!(due(6).await[0].shown_state(day("2026-08-20")), "wanted", "it was tried while the SIS was away");
    let set_aside = Flag { due: false, ..one.clone() };
    keep(store, &district, std::slice::from_ref(&set_aside), &[], at(7)).await;
    assert_eq!(store.flag(&district, one.id).await.unwrap(), Some(set_aside));
    assert_eq!(owed().await, (false, None));
}

async fn flags_are_found_by_the_ids_that_the_sis_has_for_people(f: Fixture) {
    let (store, district) = (&f.store, house(&f.store).await);
    let pushed = |sis_id: &str| PushedFlag {
        starts_on: day("2026-08-20"),
        ends_on: None,
        sis_id: sis_id.to_owned(),
        program_sis_id: "101".to_owned(),
        link: None,
    };
    let named = |number, sis_id: &str| Flag { sis_id: Some(sis_id.to_owned()), ..flag(number, FlagState::Wanted) };
    let flags = [
        named(1, "Guid-1"),
        named(2, "GUID-1"),
        Flag { pushed: Some(pushed("guid-1")), ..named(3, "guid-2") },
        Flag { sis_id: None, ..named(4, "") },
        named(5, "GUID-11"),
        Flag { pushed: Some(pushed("Guid-1")), ..named(6, "Guid-1") },
    ];
    keep(store, &district, &flags, &[], at(1)).await;
    let found = async |sis_id: &str| {
        let found = store.flags_of_persons(&district, &[sis_id.to_owned()]).await.unwrap();
        let mut found: Vec<_> = found.iter().map(|flag| flag.participation.as_u128()).collect();
        found.sort_unstable();
        found
    };
    assert_eq!(found("Guid-1").await, [1, 2, 3, 6]);
    assert_eq!(found("GUID-1").await, [2, 3], "spelled otherwise by letters of both kinds");
    assert_eq!(found("guid-2").await, [3]);
    assert_eq!(found("3").await, [0; 0]);
    assert_eq!(store.flags_of_persons(&district, &[]).await.unwrap(), []);
}
