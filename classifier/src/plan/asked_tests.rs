//! What was not asked for, or nothing measures, takes nobody out: years that discovery missed, entities taken out of the file, a
//! year that has begun without an enrollment. What is rightly asked no more is no matter.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use rollcall_proto::{id::StudentId, roster::Status};
use rollcall_store::{
    board::{Ask, Progress},
    run::FindingWeight,
};
use serde_json::{Value, json};

use super::*;
use crate::testing::{self, ENTITY_YEAR, Roster, SPELL, STUDENT, Sis, WITHDRAWAL_CODE};

const YEARLY: [&str; 6] =
    [SPELL, ENTITY_YEAR, WITHDRAWAL_CODE, "Enrollment/EntryCode", "Enrollment/School", "Enrollment/Homeroom"];
/// An entity that lists those of all others.
const DISTRICT: i64 = 1;
const SUPPORTING: [&str; 2] = ["Enrollment/School", "Enrollment/Homeroom"];

/// A pull that asks each entity for each year, as the fetcher does.
fn asked(sis: &Sis, entities: &[i64], years: &[i64]) -> PlanFacts {
    let mut facts = Sis { rows: std::collections::BTreeMap::new(), ..Sis::empty() }.facts();
    for (resource, rows) in &sis.rows {
        let yearly = YEARLY.contains(resource);
        let years: Vec<Option<i64>> = if yearly { years.iter().copied().map(Some).collect() } else { vec![None] };
        for (entity, year) in entities.iter().flat_map(|entity| years.iter().map(move |year| (*entity, *year))) {
            let is_own = |row: &&Value| {
                let of_entity = match *resource {
                    _ if entity == DISTRICT => true,
                    STUDENT => attends_at(sis, &row["StudentID"], entity),
                    SPELL | ENTITY_YEAR => row["EntityID"] == json!(entity),
                    _ => true,
                };
                of_entity && (row["SchoolYearID"].is_null() || !yearly || row["SchoolYearID"] == json!(year))
            };
            let rows: Vec<Value> = rows.iter().filter(is_own).cloned().collect();
            let essential = !SUPPORTING.contains(resource)
                && (yearly || [STUDENT, "District/SchoolYear", "District/Entity"].contains(resource));
            let school_year = year.map(|year| year.to_string());
            let ask = Ask { entity: Some(entity), school_year, essential, ..testing::ask(resource) };
            testing::add_listing(&mut facts, ask, &rows);
        }
    }
    facts
}

fn attends_at(sis: &Sis, student: &Value, entity: i64) -> bool {
    sis.rows[SPELL].iter().any(|row| row["StudentID"] == *student && row["EntityID"] == json!(entity))
}

fn codes(plan: &NewPlan) -> Vec<&str> {
    plan.findings.iter().map(|finding| finding.code.as_str()).collect()
}

fn said<'p>(plan: &'p NewPlan, code: &str) -> &'p Finding {
    let found = plan.findings.iter().find(|finding| finding.code == code);
    found.unwrap_or_else(|| panic!("no {code}: {:?}", plan.findings))
}

/// Those whom a plan would take out.
fn leaving(plan: &NewPlan) -> Vec<String> {
    let Verdict::Recheck(bytes) = &plan.verdict else { return Vec::new() };
    Candidates::decode(bytes).unwrap().students.into_iter().map(|(_, id)| id.0).collect()
}

fn stored(facts: PlanFacts) -> Roster {
    let mut roster = Roster::default();
    let plan = roster.plan(facts);
    assert_eq!(codes(&plan), Vec::<&str>::new(), "a sound first night");
    roster.apply(&plan);
    roster
}

/// Current years of entities, as kept for who asks after the run.
fn kept_years(plan: &NewPlan) -> Vec<(&str, i32)> {
    plan.baselines[0].1.current_years.iter().map(|(entity, year)| (entity.as_str(), *year)).collect()
}

fn accept(roster: &mut Roster, name: &str) {
    roster.baseline.as_mut().unwrap().accepted_empty.insert(name.to_owned());
}

/// Three of this year; and one whose enrollment is of the year before, and in force until December.
fn late() -> Sis {
    let mut sis = Sis::with_students(4);
    let spell = sis.row(SPELL, 4);
    (spell["SchoolYearID"], spell["SchoolID"]) = (json!(8), json!(80));
    (spell["StartDate"], spell["EndDate"]) = (json!("2024-08-13"), json!("2025-12-15"));
    sis.row(ENTITY_YEAR, 4)["SchoolYearID"] = json!(8);
    sis
}

#[test]
fn a_year_that_the_pull_shows_and_that_was_not_asked_for_takes_nobody_out() {
    let sis = late();
    let whole = stored(asked(&sis, &[41], &[8, 9]));
    assert_eq!(whole.students[&StudentId("4".to_owned())].0.status, Status::Enrolled);
    // With a measure and without.
    for baseline in [whole.baseline.clone(), None] {
        let mut roster = Roster { baseline, ..whole.clone() };
        for night in 0..2 {
            let plan = roster.plan(asked(&sis, &[41], &[9]));
            assert_eq!((codes(&plan), &plan.verdict), (vec!["year-not-asked"], &Verdict::Nothing), "night {night}");
            let said = said(&plan, "year-not-asked");
            assert!(said.message.starts_with("District/SchoolYear 8 (ending 2025): "), "{}", said.message);
            assert_eq!(said.weight, FindingWeight::Partial);
            roster.apply(&plan);
        }
        let plan = roster.plan(asked(&sis, &[41], &[8, 9]));
        assert_eq!((codes(&plan), &plan.verdict), (Vec::new(), &Verdict::Nothing));
    }
    let last = whole.baseline.as_ref().unwrap();
    let torn = whole.plan(asked(&sis, &[41], &[9])).baselines.remove(0).1;
    let name = "Enrollment/EntryWithdrawal (entity 41, year 8)";
    assert_eq!((torn.rows[name], last.rows[name]), (1, 1), "it stays the measure");
}

/// What is judged of a pull that lacked nothing so far, and is asked about one entity.
fn judged_asked(sis: &Sis, years: &[i64], judged: Completeness, attends: &dyn Fn(i64) -> bool) -> Completeness {
    let pull = asked(sis, &[41], years).pulls.remove(0);
    let board = pull.board.as_ref().unwrap();
    let looks = Looks::open(pull.fragments, board).unwrap();
    let asked = Asked {
        board,
        source: &looks.first,
        tables: &Tables::of(&looks.first, &std::collections::BTreeMap::new()),
        baseline: None,
        admitted: rollcall_store::district::SchoolYears::Current,
        withdrawal: WithdrawalColumn::EndDate,
        attends,
    };
    let mut judged = Completeness { complete: true, essentials_whole: true, ..judged };
    completeness::judge_asked(&mut judged, asked);
    judged
}

/// A year that was not asked for lacks all that has a listing for each year; a table that is not whole tells of no year.
#[test]
fn what_tables_show_is_said_where_they_are_whole() {
    let texts = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<String>>();
    // (listings with a defect, empty ones, whether a year is missed, whether current years are kept)
    let cases: [(&[&str], &[&str], bool, bool); 6] = [
        (&[], &[], true, true),
        (&["District/SchoolYear"], &[], false, false),
        (&["District/Entity"], &[], false, false),
        (&[], &["District/Entity (entity 41)"], false, false),
        (&[SPELL], &[], true, false),
        (&[], &["Enrollment/EntryWithdrawal (entity 41, year 9)"], true, false),
    ];
    for (torn, empty, missed, kept) in cases {
        let before = Completeness { torn: texts(torn), empty_essential: texts(empty), ..Completeness::default() };
        let judged = judged_asked(&late(), &[9], before, &|_| false);
        let codes: Vec<&str> = judged.findings.iter().map(|finding| finding.code.as_str()).collect();
        assert_eq!(codes, if missed { vec!["year-not-asked"] } else { vec![] }, "{torn:?}, {empty:?}");
        assert_eq!(judged.failed_supporting, texts(if missed { &SUPPORTING } else { &[] }), "{torn:?}, {empty:?}");
        assert_eq!((judged.complete, judged.current_years.len()), (!missed, usize::from(kept)), "{torn:?}, {empty:?}");
    }
}

#[test]
fn codes_of_a_year_are_not_its_enrollments() {
    let sis = late();
    let roster = stored(asked(&sis, &[41], &[8, 9]));
    let mut facts = asked(&sis, &[41], &[8, 9]);
    let listings = &mut facts.pulls[0].board.as_mut().unwrap().listings;
    let of_year = |ask: &Ask| ask.resource == SPELL && ask.school_year.as_deref() == Some("8");
    listings.iter_mut().find(|listing| of_year(&listing.ask)).unwrap().ask.school_year = None;
    assert_eq!(codes(&roster.plan(facts)), ["year-not-asked"]);
}

#[test]
fn the_next_year_is_missed_where_it_counts() {
    let sis = late();
    let roster = stored(asked(&sis, &[41], &[8, 9]));
    let both = |years: &[i64]| {
        let mut facts = asked(&sis, &[41], years);
        facts.district.status.school_years = rollcall_store::district::SchoolYears::CurrentAndNext;
        roster.plan(facts)
    };
    assert_eq!(codes(&both(&[8, 9])), ["year-not-asked"]);
    assert_eq!(codes(&both(&[8, 9, 10])), Vec::<&str>::new());
}

/// Moves the entity on to the year 10, and gives its students enrollments of it.
fn turn(sis: &mut Sis, students: &[i64]) {
    sis.row("District/Entity", 41)["SchoolYearIDCurrent"] = json!(10);
    for id in students {
        sis.add(
            SPELL,
            json!({"EntryWithdrawalID": 100 + id, "StudentID": id, "EntityID": 41, "SchoolYearID": 10, "SchoolID": 100,
                "StartDate": "2025-10-13", "EndDate": null, "WithdrawalCodeID": null, "EntryCodeID": 1, "IsDefaultEntity": true}),
        );
    }
}

#[test]
fn years_that_have_passed_are_asked_no_more_and_nobody_minds() {
    let mut sis = late();
    sis.withdraw(4, "2025-09-15", 82);
    // One that was closed long ago, and stands in its last year for ever.
    for (id, year) in [(1, 2018), (2, 2019)] {
        sis.add("District/SchoolYear", json!({"SchoolYearID": id, "NumericYear": year}));
        sis.add(WITHDRAWAL_CODE, json!({"WithdrawalCodeID": id * 10 + 1, "Code": "01", "SchoolYearID": id}));
        sis.add("Enrollment/EntryCode", json!({"EntryCodeID": 100 + id, "Code": "E", "SchoolYearID": id}));
    }
    sis.add("District/Entity", json!({"EntityID": 77, "Code": "077", "SchoolYearIDCurrent": 2}));
    let mut roster = stored(asked(&sis, &[41], &[1, 2, 8, 9]));
    turn(&mut sis, &[1, 2, 3]);
    let forgetful = {
        let mut sis = sis.clone();
        sis.rows.get_mut("District/SchoolYear").unwrap().retain(|row| row["SchoolYearID"] != json!(8));
        sis
    };
    for sis in [&sis, &forgetful] {
        let plan = roster.plan(asked(sis, &[41], &[1, 2, 9, 10]));
        assert!(plan.findings.iter().all(|finding| finding.weight == FindingWeight::Warning), "{:?}", plan.findings);
        assert!(leaving(&plan).is_empty());
    }
    let plan = roster.plan(asked(&sis, &[41], &[1, 2, 9, 10]));
    roster.apply(&plan);
    let last = roster.baseline.as_ref().unwrap();
    assert!(!last.rows.contains_key("Enrollment/EntryWithdrawal (entity 41, year 8)"));
    assert!(last.is_of_complete());
}

#[test]
fn a_year_that_no_table_shows_any_more_is_missed_until_a_person_lets_it_go() {
    let mut sis = late();
    let mut roster = stored(asked(&sis, &[41], &[8, 9]));
    // One that held nothing is not missed, nor one of an entity that was let go.
    let spells = |entity: i64, year: i64| format!("{SPELL} (entity {entity}, year {year})");
    roster.baseline.as_mut().unwrap().rows.extend([(spells(41, 7), 0), (spells(42, 8), 2)]);
    accept(&mut roster, "entity 42");
    sis.rows.get_mut("District/SchoolYear").unwrap().retain(|row| row["SchoolYearID"] != json!(8));
    let plan = roster.plan(asked(&sis, &[41], &[9]));
    let name = "Enrollment/EntryWithdrawal (entity 41, year 8)";
    assert_eq!((codes(&plan), &plan.verdict), (vec!["listing-not-asked"], &Verdict::Nothing));
    let message = &said(&plan, "listing-not-asked").message;
    assert!(message.starts_with(&format!("{name}: held 1 rows, ")), "{message}");
    assert!(message.ends_with(&format!("--accept-empty '{name}'`")), "{message}");
    roster.apply(&plan);
    accept(&mut roster, name);
    let plan = roster.plan(asked(&sis, &[41], &[9]));
    assert_eq!((codes(&plan), leaving(&plan)), (Vec::new(), vec!["4".to_owned()]));
}

/// Two entities, with two students each.
fn two_entities() -> Sis {
    let mut sis = Sis::with_students(4);
    sis.add("District/Entity", json!({"EntityID": 42, "Code": "042", "SchoolYearIDCurrent": 9}));
    for id in 3..=4 {
        sis.row(SPELL, id)["EntityID"] = json!(42);
        sis.row(ENTITY_YEAR, id)["EntityID"] = json!(42);
    }
    sis
}

#[test]
fn an_entity_taken_out_of_the_file_takes_nobody_with_it_until_a_person_says_so() {
    let sis = two_entities();
    let mut roster = stored(asked(&sis, &[41, 42], &[8, 9]));
    for _ in 0..2 {
        let plan = roster.plan(asked(&sis, &[41], &[8, 9]));
        assert_eq!((codes(&plan), &plan.verdict), (vec!["entity-removed"], &Verdict::Nothing));
        let said = said(&plan, "entity-removed");
        assert!(said.message.starts_with("entity 42: ") && said.message.ends_with("--accept-empty 'entity 42'`"));
        assert_eq!(said.weight, FindingWeight::Partial);
        roster.apply(&plan);
    }
    let kept = roster.clone();
    accept(&mut roster, "entity 42");
    let plan = roster.plan(asked(&sis, &[41], &[8, 9]));
    assert_eq!((codes(&plan), leaving(&plan)), (Vec::new(), ["3", "4"].map(str::to_owned).to_vec()));
    roster.apply(&plan);
    let last = roster.baseline.as_ref().unwrap();
    assert!(last.accepted_empty.contains("entity 42") && last.rows.keys().all(|name| !name.contains("entity 42")));
    // Back, what was accepted is over: the store goes by its rows.
    let plan = roster.plan(asked(&sis, &[41, 42], &[8, 9]));
    assert_eq!(plan.baselines[0].1.rows.get("entity 42"), Some(&1));
    roster.apply(&plan);
    assert!(!roster.baseline.as_ref().unwrap().accepted_empty.contains("entity 42"));
    assert_eq!(codes(&roster.plan(asked(&sis, &[41], &[8, 9]))), ["entity-removed"]);
    // Put back without a word, it is as before.
    let plan = kept.plan(asked(&sis, &[41, 42], &[8, 9]));
    assert_eq!((codes(&plan), &plan.verdict), (Vec::new(), &Verdict::Nothing));
}

#[test]
fn an_entity_that_had_no_students_may_come_and_go() {
    let mut sis = two_entities();
    let roster = stored(asked(&sis, &[41, 42, 99], &[8, 9]));
    let plan = roster.plan(asked(&sis, &[41, 42], &[8, 9]));
    assert_eq!((codes(&plan), &plan.verdict), (Vec::new(), &Verdict::Nothing));
    sis.add("District/Entity", json!({"EntityID": 43, "Code": "043", "SchoolYearIDCurrent": 9}));
    assert_eq!(codes(&roster.plan(asked(&sis, &[41, 42, 99, 43], &[8, 9]))), Vec::<&str>::new());
}

#[test]
fn entities_current_years_are_kept_as_each_of_them_tells() {
    let mut sis = two_entities();
    let mut roster = stored(asked(&sis, &[41, 42], &[8, 9]));
    assert_eq!(kept_years(&roster.plan(asked(&sis, &[41, 42], &[8, 9]))), [("41", 2026), ("42", 2026)]);
    turn(&mut sis, &[1]);
    let plan = roster.plan(asked(&sis, &[41, 42], &[8, 9, 10]));
    assert_eq!(kept_years(&plan), [("41", 2027), ("42", 2026)]);
    roster.apply(&plan);
    // A pull without whole enrollments says nothing of what is stored of them.
    sis.row("District/Entity", 42)["SchoolYearIDCurrent"] = json!(10);
    let mut facts = asked(&sis, &[41, 42], &[8, 9, 10]);
    let listings = &mut facts.pulls[0].board.as_mut().unwrap().listings;
    let spells = listings.iter_mut().find(|listing| listing.ask.resource == SPELL).unwrap();
    spells.progress = Progress::Failed("status 404".to_owned());
    assert_eq!(kept_years(&roster.plan(facts)), [("41", 2027), ("42", 2026)]);
}

#[test]
fn a_year_that_begins_without_an_enrollment_takes_nobody_out_until_a_person_says_so() {
    let mut sis = Sis::with_students(3);
    let mut roster = stored(asked(&sis, &[41], &[8, 9]));
    turn(&mut sis, &[]);
    let name = "Enrollment/EntryWithdrawal (entity 41, year 10)";
    let pull = |sis: &Sis| asked(sis, &[41], &[9, 10]);
    for _ in 0..2 {
        let plan = roster.plan(pull(&sis));
        let message = &said(&plan, "year-empty").message;
        assert!(message.starts_with(&format!("{name}: ")) && message.contains(" 3 students "), "{message}");
        assert!(message.ends_with(&format!("--accept-empty '{name}'`")), "{message}");
        assert_eq!((&plan.verdict, plan.counts.removed), (&Verdict::Nothing, 0));
        assert_eq!(kept_years(&plan), [("41", 2026)], "who attends does by enrollments of the year before");
        roster.apply(&plan);
    }
    let mut accepted = roster.clone();
    accept(&mut accepted, name);
    let plan = accepted.plan(pull(&sis));
    assert_eq!((leaving(&plan).len(), kept_years(&plan)), (3, vec![("41", 2027)]));
    // One is there, and so the others are not: the rules say so, and the limits look after it.
    let mut begun = sis.clone();
    turn(&mut begun, &[1]);
    let plan = roster.plan(pull(&begun));
    assert!(!codes(&plan).contains(&"year-empty"));
    assert_eq!(leaving(&plan), ["2", "3"]);
    // Who does not attend is not behind.
    for (attending, said) in [(3, Some(" 3 students ")), (2, Some(" 2 students ")), (0, None)] {
        let judged = judged_asked(&sis, &[9, 10], Completeness::default(), &|id| id <= attending);
        assert_eq!(judged.findings.len(), usize::from(said.is_some()), "{:?}", judged.findings);
        assert!(said.is_none_or(|said| judged.findings[0].message.contains(said)), "{:?}", judged.findings);
    }
    let apart: [fn(&mut StoredStudent); 2] =
        [|student| student.status = Status::Inactive, |student| student.connection = 1];
    for set_apart in apart {
        let mut less = roster.clone();
        set_apart(&mut less.students.get_mut(&StudentId("3".to_owned())).unwrap().0);
        let plan = less.plan(pull(&sis));
        assert!(said(&plan, "year-empty").message.contains(" 2 students "), "{:?}", plan.findings);
    }
    // Of a year whose listing could not be read nobody knows that it is empty.
    for (torn, said) in [(name, false), ("Enrollment/EntryWithdrawal (entity 42, year 10)", true)] {
        let before = Completeness { torn: [torn.to_owned()].into(), ..Completeness::default() };
        let judged = judged_asked(&sis, &[9, 10], before, &|_| true);
        assert_eq!(judged.findings.len(), usize::from(said), "{torn}: {:?}", judged.findings);
    }
    // Who was withdrawn has left, or is there until then, whatever begins.
    let mut over = sis;
    (1..=2).for_each(|id| over.withdraw(id, "2025-11-01", 92));
    over.withdraw(3, "2025-12-01", 92);
    let plan = roster.plan(pull(&over));
    assert_eq!((codes(&plan), leaving(&plan)), (Vec::new(), ["1", "2"].map(str::to_owned).to_vec()));
}

#[test]
fn who_goes_on_elsewhere_does_not_keep_a_closed_entity_open() {
    let mut sis = two_entities();
    let roster = stored(asked(&sis, &[41, 42], &[8, 9]));
    // Both move on; 42 has no students any more, for they all went to 41.
    turn(&mut sis, &[1, 2, 3, 4]);
    sis.row("District/Entity", 42)["SchoolYearIDCurrent"] = json!(10);
    let plan = roster.plan(asked(&sis, &[41, 42], &[9, 10]));
    assert!(plan.findings.iter().all(|finding| finding.weight == FindingWeight::Warning), "{:?}", plan.findings);
}

#[test]
fn who_cannot_be_judged_waits_for_an_entity_or_a_year_that_is_named() {
    let mut sis = two_entities();
    let roster = stored(asked(&sis, &[DISTRICT], &[8, 9]));
    sis.rows.get_mut("District/Entity").unwrap().retain(|row| row["EntityID"] != json!(42));
    let mut strange = sis.row(SPELL, 2).clone();
    strange["SchoolYearID"] = json!(12);
    let mut facts = asked(&sis, &[DISTRICT], &[8, 9]);
    // Of a year that nobody asked for, and that the SIS tells of all the same.
    testing::add_listing(&mut facts, Ask { entity: Some(DISTRICT), ..testing::ask(SPELL) }, &[strange]);
    let plan = roster.plan(facts);
    let unknown = said(&plan, "entity-unknown");
    assert!(unknown.message.starts_with("entity 42: District/Entity does not show it"), "{}", unknown.message);
    assert_eq!((unknown.count, unknown.weight), (2, FindingWeight::Partial));
    let year = said(&plan, "year-unknown");
    assert!(year.message.starts_with("school year 12: ") && year.count == 1, "{year:?}");
    let withheld = &said(&plan, "students-withheld").message;
    assert!(withheld.contains("name the entity or the year") && !withheld.contains("correct it"), "{withheld}");
    // Shown, and without a current year that there is.
    sis.add("District/Entity", json!({"EntityID": 42, "Code": "042", "SchoolYearIDCurrent": null}));
    let plan = roster.plan(asked(&sis, &[DISTRICT], &[8, 9]));
    assert!(said(&plan, "entity-unknown").message.contains("names no current school year"));
    // Asked itself, the table of years says which one is its own.
    assert_eq!(codes(&roster.plan(asked(&sis, &[DISTRICT, 42], &[8, 9]))), Vec::<&str>::new());
}
