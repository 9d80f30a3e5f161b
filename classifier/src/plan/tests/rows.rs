//! What rows are odd about, and whom that leaves out.

use rollcall_store::run::FindingWeight;
use serde_json::json;

use crate::{
    status::NO_ENROLLMENT_IN_WINDOW,
    testing::{NAME, PHONE, Roster, SPELL, STUDENT, Sis, add_page_behind, events},
};

#[test]
fn what_is_odd_about_a_student_is_said_of_the_unchanged_too() {
    let mut sis = Sis::with_students(2);
    sis.row(SPELL, 1)["EndDate"] = json!("2026-05-20");
    sis.row(SPELL, 1)["WithdrawalDate"] = json!("2026-05-21");
    let roster = Roster::of(&sis);
    for (changed, unchanged) in [(0, 2), (1, 1)] {
        let plan = roster.plan(sis.facts());
        assert_eq!((plan.counts.changed, plan.counts.unchanged), (changed, unchanged));
        let said: Vec<_> = plan.findings.iter().map(|finding| (finding.code.as_str(), finding.count)).collect();
        assert_eq!(said, [("withdrawal-dates-differ", 1)]);
        sis.row(NAME, 2)["LastName"] = json!("Lopez");
    }
}

/// However many of them are on a page.
#[test]
fn rows_with_odd_values_are_named_five_at_most_with_the_mend() {
    let mut sis = Sis::with_students(9);
    sis.row(NAME, 4)["LastName"] = json!("Lo\u{0}pez");
    sis.row(NAME, 4)["FirstName"] = json!("An\u{0}na");
    for id in 3..=9 {
        sis.row(NAME, id * 2)["BirthDate"] = json!("soon");
    }
    sis.row(PHONE, 2)["Rank"] = json!("first");
    let odd = ["control-characters", "value-unreadable"];
    for page_size in [1, 3, 1000] {
        sis.page_size = page_size;
        let plan = Roster::default().plan(sis.facts());
        assert_eq!(plan.counts.added, 9, "what is odd is left out, and nobody with it");
        let said = plan.findings.iter().filter(|finding| odd.contains(&finding.code.as_str()));
        let said: Vec<_> = said.map(|finding| (finding.message.as_str(), finding.count)).collect();
        assert_eq!(
            said,
            [
                (
                    "Demographics/Name: texts from which control characters were taken; correct it in the SIS: NameID 4",
                    2
                ),
                (
                    "Demographics/Name: values that are no date, number or flag, and were left out; correct it in the SIS: \
                     BirthDate of NameID 6, BirthDate of NameID 8, BirthDate of NameID 10, BirthDate of NameID 12, BirthDate \
                     of NameID 14 and others",
                    7
                ),
                (
                    "Demographics/NamePhone: values that are no date, number or flag, and were left out; correct it in the \
                     SIS: Rank of NamePhoneID 2",
                    1
                ),
            ],
            "{page_size} rows on a page"
        );
    }
}

/// Pages are asked for before it is known where their listing ends.
#[test]
fn rows_beyond_the_end_of_their_listing_count_for_nothing() {
    let sis = Sis::with_students(2);
    let roster = Roster::of(&sis);
    let mut facts = sis.facts();
    let mut row = sis.rows[NAME][0].clone();
    row["LastName"] = json!("Lopez");
    add_page_behind(&mut facts, NAME, &[row]);
    let plan = roster.plan(facts);
    assert_eq!((plan.counts.changed, plan.counts.unchanged), (0, 2));
}

#[test]
fn an_unresolved_code_withholds_its_student_alone() {
    let mut sis = Sis::with_students(3);
    let roster = Roster::of(&sis);
    // 82 is a code of the year before: in this year's table it is nothing.
    sis.withdraw(1, "2025-10-01", 82);
    sis.row(SPELL, 3)["EndDate"] = json!("soon");
    let plan = roster.plan(sis.facts());
    let reasons: Vec<_> = plan.skips.iter().map(|skip| (skip.student_id.0.as_str(), skip.reason.as_str())).collect();
    assert_eq!(reasons, [("1", "code-unresolved"), ("3", "date-unreadable")]);
    assert_eq!((plan.counts.skipped, plan.counts.unchanged), (2, 1));
    let said = plan.findings.iter().find(|finding| finding.code == "students-withheld").unwrap();
    assert_eq!(
        said.message,
        "left as they are stored (new ones are not added), see `rollcall runs plan RUN --skipped` for each (student 1: code-unresolved, enrollment 1: \
         its withdrawal code is not in the code table of its school year; correct it in the SIS): students 1, 3"
    );
}

#[test]
fn who_never_attended_within_the_window_is_skipped_and_not_partial() {
    let mut sis = Sis::with_students(1);
    sis.enroll(2);
    sis.withdraw(2, "2020-05-20", 92);
    sis.row(SPELL, 2)["StartDate"] = json!("2019-08-20");
    let plan = Roster::default().plan(sis.facts());
    assert_eq!((plan.counts.added, plan.counts.skipped), (1, 1));
    assert_eq!(plan.skips[0].reason, NO_ENROLLMENT_IN_WINDOW);
    assert!(plan.findings.iter().all(|finding| finding.weight == FindingWeight::Warning), "{:?}", plan.findings);
}

/// Rows in the same words on two pages are no mistake of the SIS's: what comes while they are listed moves them.
#[test]
fn a_student_told_of_twice_is_listed_once() {
    let mut sis = Sis::with_students(4);
    sis.page_size = 8;
    let rows = sis.rows.get_mut(STUDENT).unwrap();
    let mut other = rows[1].clone();
    other["StudentNumber"] = json!("later");
    rows.extend([rows[0].clone(), other]);
    // The second page begins with a third row of the first student, and the only other one of the last.
    let moved = [rows[2].clone(), rows[2].clone(), rows[0].clone(), rows[3].clone()];
    rows.extend(moved);
    let plan = Roster::default().plan(sis.facts());
    assert_eq!((plan.counts.listed, plan.counts.added), (4, 4));
    let said = |code: &str| {
        let findings: Vec<_> = plan.findings.iter().filter(|finding| finding.code == code).collect();
        assert!(findings.iter().all(|finding| finding.weight == FindingWeight::Warning));
        findings.iter().map(|finding| (finding.message.clone(), finding.count)).collect::<Vec<_>>()
    };
    let differing =
        "listed twice with differing facts, the later page counts; merge or delete one in the SIS: students 2";
    assert_eq!(said("duplicate-student"), [(differing.to_owned(), 1)]);
    let repeated = "listed twice on one page with the same facts, and counted once; merge or delete one in the SIS, if there \
                    are two: students 1, 3";
    assert_eq!(said("student-repeated"), [(repeated.to_owned(), 2)]);
    assert_eq!(events(&plan)[1].record.as_ref().unwrap().local_id.as_deref(), Some("later"));
}
