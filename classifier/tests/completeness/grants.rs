//! What is granted no more, and what is again.

use rollcall_classifier::{
    completeness::{Completeness, judge_untold, next_baseline},
    untold::Untold,
};
use rollcall_proto::id::ListingNo;
use rollcall_store::{board::Progress, run::FindingWeight};

use crate::{PHONES, STUDENTS, codes, listing, night, page};

#[test]
fn a_grant_lost_after_torn_nights_is_seen() {
    const ENTITIES: &str = "District/Entity";
    let fields = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    // (rows of the entities, or that they could not be had) → whether the loss is seen
    for (rows, seen) in [(Some(2), true), (Some(0), true), (None, false)] {
        let mut night = night();
        night.drop_page(0, 2);
        night.board.listings.push(listing(ENTITIES, true, 1));
        night.discovery.granted.insert(ENTITIES.to_owned(), fields(&["EntityID", "SchoolYearIDCurrent"]));
        match rows {
            Some(rows) => night.pages.push(page(3, 1, rows)),
            None => night.board.listings[3].progress = Progress::Failed("status 503".to_owned()),
        }
        night.baseline = next_baseline(&night.judged(), &night.discovery, None);
        night.pages.push(page(0, 2, 10));
        night.pages.retain(|row| row.listing != ListingNo(3));
        night.pages.push(page(3, 1, 2));
        night.board.listings[3].progress = Progress::Fetched;
        night.discovery.granted.insert(ENTITIES.to_owned(), fields(&["EntityID"]));
        for turn in ["first", "second"] {
            let judged = night.judged();
            assert_eq!((codes(&judged).contains(&"grant-lost"), !judged.complete), (seen, seen), "{rows:?}, {turn}");
            night.baseline = next_baseline(&judged, &night.discovery, night.baseline.as_ref());
        }
    }
}

#[test]
fn a_field_no_longer_granted() {
    let mut night = night().second();
    night.discovery.granted.get_mut(STUDENTS).unwrap().retain(|field| field != "Grade");
    let judged = night.judged();
    assert!(judged.complete, "who may be taken out does not rest on it");
    assert_eq!(codes(&judged), ["grant-lost"]);
    assert_eq!(judged.findings[0].weight, FindingWeight::Partial);
    assert!(judged.findings[0].message.starts_with("Student/Student: no longer granted: Grade; "));
    assert_eq!(judged.lost_grants[STUDENTS], ["Grade"]);
    assert!(!judged.keeps_stored_rows(STUDENTS));
    assert_eq!(night.second().judged().findings, [], "said once, against the last run");
}

#[test]
fn the_current_year_no_longer_granted_is_said_once() {
    const ENTITIES: &str = "District/Entity";
    let fields = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    for (now, lost) in [
        (Some(&["EntityID", "Code"][..]), "SchoolYearIDCurrent"),
        (Some(&["EntityID"]), "SchoolYearIDCurrent, Code"),
        (None, "the whole object"),
    ] {
        let mut night = night();
        let granted = fields(&["EntityID", "SchoolYearIDCurrent", "Code"]);
        night.discovery.granted.insert(ENTITIES.to_owned(), granted);
        let mut night = night.second();
        match now {
            Some(now) => night.discovery.granted.insert(ENTITIES.to_owned(), fields(now)),
            None => night.discovery.granted.remove(ENTITIES),
        };
        let judged = night.judged();
        assert!(!judged.complete, "statuses rest on it");
        assert_eq!(codes(&judged), ["grant-lost"], "{:?}", judged.findings);
        let said = format!("District/Entity: no longer granted: {lost}; without SchoolYearIDCurrent ");
        assert!(judged.findings[0].message.starts_with(&said), "{:?}", judged.findings);
    }
}

#[test]
fn a_resource_no_longer_granted() {
    let mut night = night().second();
    night.discovery.granted.remove(PHONES);
    night.board.listings.pop();
    let judged = night.judged();
    assert_eq!(codes(&judged), ["grant-lost"]);
    assert!(judged.keeps_stored_rows(PHONES));
}

#[test]
fn a_resource_that_is_granted_again_and_empty_keeps_its_rows() {
    let mut night = night().second();
    let fields = night.discovery.granted.remove(PHONES).unwrap();
    let phones = night.board.listings.pop().unwrap();
    night.pages.retain(|page| page.listing != ListingNo(2));
    let mut night = night.second().second();
    night.discovery.granted.insert(PHONES.to_owned(), fields);
    night.board.listings.push(phones);
    night.empty(2);
    let judged = night.judged();
    assert_eq!(codes(&judged), ["listing-empty"]);
    assert!(judged.keeps_stored_rows(PHONES));
}

#[test]
fn a_grant_gained_says_nothing() {
    let mut night = night().second();
    night.discovery.granted.insert("Staff/Staff".to_owned(), vec!["StaffID".to_owned()]);
    assert_eq!(night.judged().findings, []);
}

#[test]
fn the_loss_of_the_current_year_may_be_accepted_until_it_is_granted_again() {
    const ENTITIES: &str = "District/Entity";
    const YEAR: &str = "District/Entity.SchoolYearIDCurrent";
    let fields = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    let whole = fields(&["EntityID", "SchoolYearIDCurrent"]);
    let mut night = night();
    night.discovery.granted.insert(ENTITIES.to_owned(), whole.clone());
    let mut night = night.second();
    night.discovery.granted.insert(ENTITIES.to_owned(), fields(&["EntityID"]));
    let mut night = night.second().second();
    let judged = night.judged();
    assert!(!judged.complete && judged.findings[0].message.ends_with(&format!("--accept-empty {YEAR}`")));
    night.accept(YEAR);
    let judged = night.judged();
    assert!(judged.complete);
    assert_eq!(judged.rows.get(YEAR), None, "no row tells it yet");
    assert_eq!(codes(&judged), ["grant-lost"], "what was granted on the last complete run is told once more");
    let mut night = night.second();
    assert_eq!((night.judged().complete, night.judged().findings), (true, Vec::new()), "and no more");
    night = night.second();
    assert!(night.baseline.as_ref().unwrap().accepted_empty.contains(YEAR));
    // Granted again, the acceptance is over.
    night.discovery.granted.insert(ENTITIES.to_owned(), whole);
    let mut night = night.second();
    let last = night.baseline.as_ref().unwrap();
    assert!(!last.accepted_empty.contains(YEAR));
    assert_eq!(last.rows.get(YEAR), Some(&1), "by which the store knows it");
    night.discovery.granted.insert(ENTITIES.to_owned(), fields(&["EntityID"]));
    assert!(!night.judged().complete);
}

#[test]
fn what_it_costs_that_no_row_carries_a_field_is_said() {
    for (resource, field, cost, complete) in [
        (
            "District/Entity",
            "SchoolYearIDCurrent",
            "entities are judged by one current year, and nobody is taken out",
            false,
        ),
        ("District/Entity", "Code", "stored values stay", true),
        ("Enrollment/EntryWithdrawal", "EndDate", "withdrawal dates are read from WithdrawalDate alone", true),
    ] {
        let lost = [(resource.to_owned(), [field.to_owned()].into())].into();
        let mut judged = Completeness { complete: true, essentials_whole: true, ..Completeness::default() };
        judge_untold(&mut judged, &Untold { lost, ..Untold::default() });
        let said = format!("{resource}.{field}: granted, and no row carries it any more; {cost}. ");
        assert!(judged.findings[0].message.starts_with(&said), "{:?}", judged.findings);
        assert_eq!((codes(&judged), judged.complete), (vec!["field-untold"], complete));
    }
}
