//! Listings that are empty: where they held rows, where nothing tells, and where a person accepted it.

use rollcall_classifier::completeness::next_baseline;
use rollcall_proto::id::ListingNo;
use rollcall_store::{
    board::Progress,
    run::{Baseline, FindingWeight},
};

use crate::{CODES, Night, PHONES, STUDENTS, assert_incomplete, codes, listing, night, page};

#[test]
fn an_essential_listing_empty_where_it_held_rows() {
    let mut night = night().second();
    night.empty(1);
    let name = "Enrollment/WithdrawalCode (entity 1, year 7)";
    assert_incomplete(&night, "listing-empty", &format!("{name}: empty, and held 5 rows before; "));
    assert!(night.judged().empty_essential.contains(name));
    assert!(night.judged().findings[0].message.ends_with(&format!("--accept-empty '{name}'`")));
}

#[test]
fn one_entity_or_year_empty_is_seen_though_others_hold_rows() {
    let mut night = night();
    let mut other = night.board.listings[1].clone();
    other.ask.entity = Some(2);
    night.board.listings.push(other);
    night.pages.push(page(3, 1, 8));
    let mut night = night.second();
    night.empty(3);
    let name = "Enrollment/WithdrawalCode (entity 2, year 7)";
    assert_incomplete(&night, "listing-empty", &format!("{name}: empty, and held 8 rows"));
    assert_eq!(night.judged().rows[CODES], 5);
}

#[test]
fn an_emptiness_is_accepted_by_listing_and_others_of_its_resource_are_not() {
    const ONE: &str = "Enrollment/WithdrawalCode (entity 1, year 7)";
    const OTHER: &str = "Enrollment/WithdrawalCode (entity 2, year 7)";
    let mut night = night();
    let mut other = night.board.listings[1].clone();
    other.ask.entity = Some(2);
    night.board.listings.push(other);
    night.pages.push(page(3, 1, 8));
    let mut night = night.second();
    night.empty(1);
    night.accept(ONE);
    assert!(night.judged().complete);
    night.empty(3);
    assert_incomplete(&night, "listing-empty", &format!("{OTHER}: empty, and held 8 rows"));
    night.accept(OTHER);
    assert!(night.judged().complete);
    // As a version before accepted.
    night.baseline.as_mut().unwrap().accepted_empty = [CODES.to_owned()].into();
    assert!(night.judged().complete);
}

#[test]
fn what_was_whole_by_itself_on_a_torn_night_is_remembered() {
    for empty in [0, 1, 2] {
        let mut night = night();
        night.board.listings.push(listing("Demographics/EmergencyContact", false, 1));
        night.board.listings[3].progress = Progress::Failed("status 404".to_owned());
        let judged = night.judged();
        assert!(!judged.complete);
        night.baseline = next_baseline(&judged, &night.discovery, None);
        night.stored = 24;
        night.board.listings.pop();
        assert_eq!(night.judged().findings, [], "a whole night after a torn one");
        night.empty(empty);
        let judged = night.judged();
        assert_eq!(codes(&judged), ["listing-empty"], "listing {empty}");
        assert_eq!(judged.complete, empty == 2, "listing {empty}");
        assert_eq!(judged.keeps_stored_rows(PHONES), empty == 2);
        // A second such night says it again.
        night.baseline = next_baseline(&judged, &night.discovery, night.baseline.as_ref());
        assert_eq!(night.judged().findings, judged.findings);
        night.accept(judged.findings[0].message.split_once(": ").unwrap().0);
        assert_eq!(night.judged().findings, [], "accepted");
        let night = night.second();
        assert!(night.baseline.as_ref().unwrap().is_of_complete());
    }
}

#[test]
fn what_was_never_whole_is_not_believed_to_be_empty_while_students_are_stored() {
    let name = "Enrollment/WithdrawalCode (entity 1, year 7)";
    let mut night = night();
    night.board.listings[1].progress = Progress::Failed("status 503".to_owned());
    night.pages.retain(|row| row.listing != ListingNo(1));
    let torn = next_baseline(&night.judged(), &night.discovery, None);
    night.board.listings[1].progress = Progress::Fetched;
    night.empty(1);
    for baseline in [None, torn, Some(Baseline::default())] {
        night.baseline = baseline;
        night.stored = 0;
        assert!(night.judged().complete, "nobody is stored who could be taken out");
        night.stored = 1;
        assert_incomplete(&night, "listing-empty", &format!("{name}: empty, though students are stored"));
        let judged = night.judged();
        let again = next_baseline(&judged, &night.discovery, night.baseline.as_ref());
        assert_eq!(again.as_ref().unwrap().rows.get(name), None, "and is not so the next night");
        let mut accepted = again.unwrap();
        accepted.accepted_empty.insert(name.to_owned());
        night.baseline = Some(accepted);
        assert!(night.judged().complete);
    }
    // Where a pull was complete, a listing that it does not know is a new one.
    let mut night = crate::night().second();
    night.stored = 1;
    night.baseline.as_mut().unwrap().rows.remove(name);
    night.empty(1);
    assert!(night.judged().complete);
}

#[test]
fn what_a_torn_night_did_not_count_stays_counted_and_accepted() {
    let mut night = night().second();
    night.empty(1);
    night.accept(CODES);
    let mut night = night.second();
    night.empty(2);
    night.drop_page(0, 2);
    let judged = night.judged();
    let last = night.baseline.clone().unwrap();
    let kept = next_baseline(&judged, &night.discovery, Some(&last)).unwrap();
    assert!(kept.is_of_complete());
    assert_eq!(kept.rows[STUDENTS], 24, "of three pages two came in");
    assert_eq!((kept.rows[CODES], kept.rows[PHONES]), (0, 11));
    assert_eq!(kept.accepted_empty, last.accepted_empty);
    assert_eq!(kept.carried, [PHONES.to_owned()].into());
    assert_eq!((kept.base, kept.granted), (last.base, last.granted));
}

#[test]
fn an_accepted_emptiness_is_complete_until_rows_are_back() {
    let mut night = night().second();
    night.empty(1);
    night.accept(CODES);
    assert!(night.judged().complete);
    let mut night = night.second();
    assert!(night.baseline.as_ref().unwrap().accepted_empty.contains(CODES));
    assert!(night.judged().complete, "and stays accepted");
    *night.page(1, 1) = page(1, 1, 5);
    let mut night = night.second();
    assert!(night.baseline.as_ref().unwrap().accepted_empty.is_empty());
    night.empty(1);
    assert_incomplete(&night, "listing-empty", "Enrollment/WithdrawalCode (entity 1, year 7): empty");
}

#[test]
fn an_empty_supporting_listing_keeps_its_rows_and_bars_no_removal() {
    let mut night = night().second();
    night.empty(2);
    let judged = night.judged();
    assert!(judged.complete);
    assert_eq!(codes(&judged), ["listing-empty"]);
    assert_eq!(judged.findings[0].weight, FindingWeight::Partial);
    assert!(judged.keeps_stored_rows(PHONES));
    assert!(!judged.keeps_stored_rows(STUDENTS));
}

#[test]
fn an_empty_supporting_listing_is_not_forgotten_the_next_night() {
    let mut night = night().second();
    night.empty(2);
    let mut night = night.second().second();
    assert_eq!(night.baseline.as_ref().unwrap().carried, [PHONES.to_owned()].into());
    assert!(night.judged().keeps_stored_rows(PHONES), "a second empty night must not end every phone");
    night.accept(PHONES);
    assert!(!night.judged().keeps_stored_rows(PHONES));
    assert_eq!(night.judged().findings, []);
    let night = night.second();
    assert_eq!(night.baseline.as_ref().unwrap().rows[PHONES], 0);
    assert!(!night.judged().keeps_stored_rows(PHONES));
}

#[test]
fn what_was_always_empty_may_stay_so() {
    let mut night = night();
    night.empty(1);
    night.empty(2);
    assert!(night.judged().complete);
    assert!(night.second().judged().complete);
}

#[test]
fn a_listing_that_failed_is_not_called_empty() {
    let mut night = night().second();
    night.pages.retain(|row| row.listing != ListingNo(1));
    night.board.listings[1].progress = Progress::Failed("status 503".to_owned());
    assert_eq!(codes(&night.judged()), ["listing-failed"]);
}

#[test]
fn a_listing_with_a_defect_is_not_called_empty() {
    /// What is wrong with a listing without a row.
    type Spoil = fn(&mut Night, u32);
    let defects: [(&str, Spoil); 4] = [
        ("page-undecoded", |night, no| night.page(no, 1).error = Some("not the answer that was asked for".to_owned())),
        ("page-refused", |night, no| night.page(no, 1).status = 500),
        ("page-missing", |night, no| night.drop_page(no, 1)),
        ("total-disagrees", |night, no| night.page(no, 1).claimed_total = Some(5)),
    ];
    for (code, spoil) in defects {
        // Students, a year's codes, phones: what statuses rest on, and what not.
        for no in 0..3 {
            // After a complete night, and after none, with students stored.
            for measured in [true, false] {
                let mut night = if measured { night().second() } else { night() };
                night.stored = 24;
                night.empty(no);
                spoil(&mut night, no);
                let judged = night.judged();
                assert_eq!((codes(&judged), judged.complete), (vec![code], false), "listing {no}");
                assert_eq!((judged.keeps_stored_rows(PHONES), judged.essentials_whole), (no == 2, no == 2));
                // The measure stays, so that an emptiness is told the next night.
                let last = night.baseline.clone();
                night.baseline = next_baseline(&judged, &night.discovery, last.as_ref());
                night.empty(no);
                let told = if measured || no < 2 { vec!["listing-empty"] } else { Vec::new() };
                assert_eq!(codes(&night.judged()), told, "listing {no}, the night after {code}");
            }
        }
    }
}

/// Of several listings of what no status rests on, one that could not be read may hold rows.
#[test]
fn a_resource_of_which_a_listing_has_a_defect_is_not_called_empty() {
    let mut night = night();
    let mut other = night.board.listings[2].clone();
    (other.ask.entity, other.last_page) = (Some(2), Some(1));
    night.board.listings.push(other);
    night.pages.push(page(3, 1, 3));
    let mut night = night.second();
    night.empty(2);
    night.empty(3);
    assert_eq!(codes(&night.judged()), ["listing-empty"]);
    night.page(3, 1).error = Some("not the answer that was asked for".to_owned());
    assert_eq!(codes(&night.judged()), ["page-undecoded"]);
    assert!(night.judged().keeps_stored_rows(PHONES));
}
