//! Qmlativ: fields that the metadata grants and no row of their listing carries.
//!
//! A value that is not there comes as a null under its key (wire/skyward.md A2), so a key that no row carries has not been told at
//! all: read as null, the values of a whole district would be ended in one night. Such a field is unknown, as one that is not
//! granted any more is: stored values stay, and the run names it, night after night, until some row carries it again or a
//! person accepts that there are no values (`--accept-empty`).
//!
//! Role: says which fields these are, and takes them out of what discovery found, so that nothing else tells them from fields
//! that are not granted. Neighbours: [`crate::plan`] asks first of all, [`crate::completeness`] judges what comes of it.
//!
//! Deliberately absent: a field that was on no row of any complete pull, for nothing stored came from it, and single pages that
//! lack what others carry, but for the withdrawal date that the district's file names. OneRoster has facets for this, since its servers leave keys out of single rows.

use std::collections::{BTreeMap, BTreeSet};

use rollcall_store::{
    district::Connection,
    run::{Baseline, Discovery},
};

use crate::{
    fragment::{Column as _, Kind, column},
    load::Source,
};

/// What the rows of a pull do not carry, by resource.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Untold {
    /// Fields that were told on some complete pull before.
    pub lost: BTreeMap<String, BTreeSet<String>>,
    /// Fields that never were, and withdrawal dates that a person accepted as empty: of two such dates the other one is read, and
    /// that it is missing is never to be read as "not withdrawn".
    pub never: BTreeMap<String, BTreeSet<String>>,
    /// Names of fields that a person accepted as empty, and that still are.
    pub accepted: BTreeSet<String>,
    /// Some withdrawal date was told on a complete pull before.
    pub dates_before: bool,
}

/// Enrollments.
const SPELLS: &str = Kind::EntryWithdrawal.resource();

/// The two columns that a withdrawal date may come from, the usual one first.
const DATES: [&str; 2] = ["EndDate", "WithdrawalDate"];

/// Fields that a status rests on, as for grants; withdrawal dates are judged apart, since there are two.
const ESSENTIAL: [(&str, &[&str]); 3] = [
    (SPELLS, &["StudentID", "EntityID", "SchoolYearID", "StartDate", "WithdrawalCodeID"]),
    (Kind::Student.resource(), &["NameID"]),
    (Kind::WithdrawalCode.resource(), &["Code", "SchoolYearID"]),
];

/// A field as findings and `--accept-empty` name it.
pub fn field_name(resource: &str, field: &str) -> String {
    format!("{resource}.{field}")
}

/// Whether this is the name of a field of Qmlativ's, whose resources are a module and an object. Values of OneRoster are named in
/// the same way (`users.email`), and counted.
pub fn is_field(name: &str) -> bool {
    let named = name.split_once('.').filter(|(resource, _)| resource.contains('/'));
    let named = named.and_then(|(resource, field)| Some((Kind::of_resource(resource)?, field)));
    named.is_some_and(|(kind, field)| kind.place_of(field).is_some())
}

/// Whether rows carried the field of this name by the last complete pull.
pub fn was_granted(last: &Baseline, name: &str) -> bool {
    name.split_once('.').is_some_and(|(resource, field)| was_told(last, resource, field))
}

impl Untold {
    /// From what is granted, the rows that came in, and what was told before.
    pub fn of(discovery: &Discovery, source: &Source, last: Option<&Baseline>) -> Self {
        let dates_before = last.is_some_and(|last| DATES.iter().any(|field| was_told(last, SPELLS, field)));
        let mut untold = Self { dates_before, ..Self::default() };
        for kind in Kind::ALL {
            let resource = kind.resource();
            // An empty listing is judged as such.
            let (Some(granted), Some(seen)) = (discovery.granted.get(resource), seen(source, *kind)) else { continue };
            for field in granted.iter().filter(|field| !carries(*kind, seen, field)) {
                untold.note(resource, field, last);
            }
        }
        untold
    }

    fn note(&mut self, resource: &str, field: &str, last: Option<&Baseline>) {
        let name = field_name(resource, field);
        let accepted = last.is_some_and(|last| last.accepted_empty.contains(&name));
        if accepted {
            self.accepted.insert(name);
            if other_date(resource, field).is_none() {
                return;
            }
        }
        let known = !accepted && last.is_some_and(|last| was_told(last, resource, field));
        let fields = if known { &mut self.lost } else { &mut self.never };
        fields.entry(resource.to_owned()).or_default().insert(field.to_owned());
    }

    /// Fields that statuses rest on and that were told before. A withdrawal date of which the other one is told is none: that one
    /// is read instead, unless the district names the one to read. Where neither is, it does not matter which of them was: nobody
    /// would have withdrawn.
    pub fn fatal(&self, connection: &Connection, discovery: &Discovery) -> Vec<String> {
        let essential =
            ESSENTIAL.iter().flat_map(|(resource, fields)| fields.iter().map(move |field| (*resource, *field)));
        let lost = essential.filter(|(resource, field)| has(&self.lost, resource, field));
        let mut fatal: Vec<String> = lost.map(|(resource, field)| field_name(resource, field)).collect();
        let named = connection.withdrawal_date_field.as_deref();
        let granted = discovery.granted.get(SPELLS).map(Vec::as_slice).unwrap_or_default();
        let dates = named.map_or(DATES.to_vec(), |field| vec![field]);
        let as_granted = |field: &str| granted.iter().find(|own| own.eq_ignore_ascii_case(field)).map(String::as_str);
        let dates: Vec<&str> = dates.into_iter().filter_map(as_granted).collect();
        let told = |field: &&str| !has(&self.lost, SPELLS, field) && !has(&self.never, SPELLS, field);
        if !dates.iter().any(told) {
            let lost = dates.iter().find(|field| has(&self.lost, SPELLS, field));
            let lost = lost.or_else(|| dates.first().filter(|_| self.dates_before));
            fatal.extend(lost.map(|field| field_name(SPELLS, field)));
        }
        fatal
    }

    /// Takes the fields out of what is granted.
    pub fn refuse(&self, discovery: &mut Discovery) {
        for (resource, fields) in self.lost.iter().chain(&self.never) {
            if let Some(granted) = discovery.granted.get_mut(resource) {
                granted.retain(|field| !fields.contains(field));
            }
            discovery.refused.entry(resource.clone()).or_default().extend(fields.iter().cloned());
        }
    }
}

/// The other one of the two withdrawal dates, of one of them.
pub fn other_date(resource: &str, field: &str) -> Option<&'static str> {
    let [end, withdrawal] = DATES;
    let other = [(end, withdrawal), (withdrawal, end)].into_iter().find(|(own, _)| resource == SPELLS && *own == field);
    other.map(|(_, other)| other)
}

fn has(fields: &BTreeMap<String, BTreeSet<String>>, resource: &str, field: &str) -> bool {
    fields.get(resource).is_some_and(|fields| fields.contains(field))
}

/// Columns that rows of a kind carry. The named withdrawal date has to be on each page: a page that a version before has read, which did
/// not keep it, reads as if nobody on it had withdrawn.
fn seen(source: &Source, kind: Kind) -> Option<u64> {
    let named = if kind == Kind::EntryWithdrawal { 1 << column::EntryWithdrawal::NamedDate.place() } else { 0 };
    Some(source.seen(kind)? & !named | source.seen_on_each_page(kind)? & named)
}

/// A field that is not kept is not missed.
fn carries(kind: Kind, seen: u64, field: &str) -> bool {
    kind.place_of(field).is_none_or(|place| seen >> place & 1 == 1)
}

fn was_told(last: &Baseline, resource: &str, field: &str) -> bool {
    let granted = last.granted.get(resource).is_some_and(|fields| fields.iter().any(|own| own == field));
    granted || has(&last.lost, resource, field)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use rollcall_store::district::SisKind;
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        load::Looks,
        testing::{NAME, SPELL, Sis},
    };

    fn looks(sis: &Sis) -> Looks {
        let pull = sis.facts().pulls.remove(0);
        Looks::open(pull.fragments, pull.board.as_ref().unwrap()).unwrap()
    }

    fn granted(fields: &[(&str, &[&str])]) -> BTreeMap<String, Vec<String>> {
        let texts = |fields: &[&str]| fields.iter().map(|field| (*field).to_owned()).collect();
        fields.iter().map(|(resource, fields)| ((*resource).to_owned(), texts(fields))).collect()
    }

    fn names(fields: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
        let of = |(resource, fields): (&String, &BTreeSet<String>)| {
            fields.iter().map(|field| field_name(resource, field)).collect::<Vec<_>>()
        };
        fields.iter().flat_map(of).collect()
    }

    #[test]
    fn a_field_is_untold_that_no_row_of_its_listing_carries() {
        let sis = Sis::with_students(3);
        let fields: [(&str, &[&str]); 3] = [
            (NAME, &["NameID", "BirthDate", "GenderCode", "Whatever"]),
            (SPELL, &["EndDate", "IsNoShow"]),
            // Not listed at all.
            ("Staff/Staff", &["StaffNumber"]),
        ];
        let discovery = Discovery { granted: granted(&fields), ..Discovery::default() };
        let of = |last: Option<&Baseline>| Untold::of(&discovery, &looks(&sis).first, last);
        let all = ["Demographics/Name.GenderCode", "Enrollment/EntryWithdrawal.IsNoShow"];
        assert_eq!((names(&of(None).never), names(&of(None).lost)), (all.map(str::to_owned).to_vec(), Vec::new()));
        let one = &[(NAME, &["GenderCode"][..])];
        let lost = |untold: &Untold| names(&untold.lost);
        let told = Baseline { granted: granted(one), ..Baseline::default() };
        assert_eq!(lost(&of(Some(&told))), all[..1]);
        let before = BTreeMap::from([(NAME.to_owned(), BTreeSet::from(["GenderCode".to_owned()]))]);
        assert_eq!(
            lost(&of(Some(&Baseline { lost: before, ..Baseline::default() }))),
            all[..1],
            "lost before, granted again"
        );
        let accepted = Baseline { accepted_empty: BTreeSet::from([all[0].to_owned()]), ..told.clone() };
        let untold = of(Some(&accepted));
        assert_eq!((lost(&untold), names(&untold.never)), (Vec::new(), vec![all[1].to_owned()]));
        assert_eq!(untold.accepted, BTreeSet::from([all[0].to_owned()]));
        let mut poorer = discovery.clone();
        of(Some(&told)).refuse(&mut poorer);
        assert_eq!(
            (&*poorer.granted[NAME], &*poorer.refused[NAME]),
            (&["NameID", "BirthDate", "Whatever"].map(str::to_owned)[..], &["GenderCode".to_owned()][..])
        );
        assert_eq!(poorer.granted[SPELL], ["EndDate"]);
    }

    #[test]
    fn what_a_status_rests_on_is_fatal_and_one_of_two_dates_is_not() {
        // (granted, lost, never told, named by the district, fatal)
        type Case<'c> = (&'c [&'c str], &'c [&'c str], &'c [&'c str], Option<&'c str>, &'c [&'c str]);
        let dates: &[&str] = &["EndDate", "WithdrawalDate"];
        let cases: [Case<'_>; 10] = [
            (dates, &[], &[], None, &[]),
            (dates, &[], dates, None, &[]),
            (dates, &["EndDate"], &[], None, &[]),
            (dates, &["WithdrawalDate"], &[], None, &[]),
            (dates, dates, &[], None, &["EndDate"]),
            (dates, &["EndDate"], &["WithdrawalDate"], None, &["EndDate"]),
            (&["EndDate"], &["EndDate"], &[], None, &["EndDate"]),
            (dates, &["WithdrawalDate"], &[], Some("WithdrawalDate"), &["WithdrawalDate"]),
            (dates, &["EndDate"], &[], Some("WithdrawalDate"), &[]),
            (dates, &["StartDate", "IsNoShow"], &[], None, &["StartDate"]),
        ];
        for (number, (given, lost, never, named, expected)) in cases.into_iter().enumerate() {
            let mut connection: Value =
                json!({"kind": SisKind::SkywardQmlativ.as_str(), "base_url": "https://x.example", "client_id": "c"});
            connection["withdrawal_date_field"] = json!(named);
            let connection: Connection = serde_json::from_value(connection).unwrap();
            let discovery = Discovery { granted: granted(&[(SPELL, given)]), ..Discovery::default() };
            let set = |fields: &[&str]| {
                BTreeMap::from([(SPELL.to_owned(), fields.iter().map(|field| (*field).to_owned()).collect())])
            };
            let untold = Untold { lost: set(lost), never: set(never), ..Untold::default() };
            let expected: Vec<String> = expected.iter().map(|field| field_name(SPELL, field)).collect();
            assert_eq!(untold.fatal(&connection, &discovery), expected, "case {number}");
        }
    }

    #[test]
    fn fields_are_told_from_listings_by_their_names() {
        assert!(is_field("Demographics/Name.BirthDate"));
        for other in ["Demographics/Name", "Demographics/Name.Whatever", "users.email", "users/students.email", "a.b"] {
            assert!(!is_field(other), "{other}");
        }
        let other = [(SPELL, "EndDate"), (SPELL, "WithdrawalDate"), (SPELL, "IsNoShow"), (NAME, "EndDate")];
        let other = other.map(|(resource, field)| other_date(resource, field));
        assert_eq!(other, [Some("WithdrawalDate"), Some("EndDate"), None, None]);
        let last = Baseline { granted: granted(&[(NAME, &["BirthDate"])]), ..Baseline::default() };
        assert!(was_granted(&last, "Demographics/Name.BirthDate") && !was_granted(&last, "Demographics/Name.Gender"));
    }
}
