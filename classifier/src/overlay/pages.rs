//! What is kept of people whose whole page of OneRoster lacks a value that other pages have.
//!
//! Role: the narrower half of [`super`]: a value is kept only where the row has none, and only for the people of such a page.
//! Whoever keeps one is noted: a page on which nobody ever had a value is no loss, and how many lose one is what tells a field
//! that was switched off from people who have theirs no more.

use std::collections::{BTreeMap, BTreeSet};

use rollcall_proto::roster::{Contact, ContactKind, Person, Staff, Student};

use crate::assemble::oneroster::{EMAIL, Facet, Facets, Group, PHONE, SMS, Value};

/// Who kept stored values of which kind, by the SIS's ids: a guardian of three students is one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept(BTreeMap<Facet, BTreeSet<String>>);

impl Kept {
    /// How many people kept one, by kind.
    pub fn counts(&self) -> impl Iterator<Item = (Facet, i64)> + '_ {
        self.0.iter().map(|(facet, people)| (*facet, people.len() as i64))
    }

    fn note(&mut self, facet: Facet, who: &str) {
        let people = self.0.entry(facet).or_default();
        if !people.contains(who) {
            people.insert(who.to_owned());
        }
    }
}

/// A person, by the SIS's id, and what their whole pages lack.
#[derive(Debug, Clone, Copy, Default)]
pub struct Lacking<'a> {
    /// Who.
    pub who: &'a str,
    /// What.
    pub facets: Facets,
}

/// A student's own values, links to guardians, and these guardians' values.
pub(super) fn fill(
    record: &mut Student,
    stored: &Student,
    own: Lacking<'_>,
    lacking: &dyn Fn(&str) -> Facets,
    kept: &mut Kept,
) {
    let mut keeper = Keeper { group: Group::Students, lacking: own, kept };
    keeper.value(Value::Identifier, &mut record.local_id, stored.local_id.as_ref());
    keeper.value(Value::StateId, &mut record.state_id, stored.state_id.as_ref());
    keeper.value(Value::Grade, &mut record.grade, stored.grade.as_ref());
    keeper.person(&mut record.person, &stored.person);
    keeper.group = Group::Described;
    keeper.value(Value::BirthDate, &mut record.birth_date, stored.birth_date.as_ref());
    keeper.value(Value::Sex, &mut record.gender, stored.gender.as_ref());
    links(record, stored, own, lacking, kept);
    contacts(record, stored, lacking, kept);
}

/// A member of staff's values.
pub(super) fn fill_staff(member: &mut Staff, stored: &Staff, own: Lacking<'_>, kept: &mut Kept) {
    let mut keeper = Keeper { group: Group::Staff, lacking: own, kept };
    keeper.value(Value::Identifier, &mut member.number, stored.number.as_ref());
    keeper.person(&mut member.person, &stored.person);
}

/// Guardians who are linked no more, from the side of whoever's page lacks links.
fn links(record: &mut Student, stored: &Student, own: Lacking<'_>, lacking: &dyn Fn(&str) -> Facets, kept: &mut Kept) {
    let (by_student, by_guardian) =
        (Facet::Of(Group::Students, Value::Agents), Facet::Of(Group::Guardians, Value::Agents));
    for contact in stored.contacts.iter().filter(|contact| contact.kind == ContactKind::Guardian) {
        let (why, who) = if own.facets.contains(by_student) {
            (by_student, own.who)
        } else if lacking(&contact.id).contains(by_guardian) {
            (by_guardian, contact.id.as_str())
        } else {
            continue;
        };
        if !record.contacts.iter().any(|shown| same(shown, contact)) {
            record.contacts.push(contact.clone());
            kept.note(why, who);
        }
    }
}

fn contacts(record: &mut Student, stored: &Student, lacking: &dyn Fn(&str) -> Facets, kept: &mut Kept) {
    for contact in record.contacts.iter_mut().filter(|contact| contact.kind == ContactKind::Guardian) {
        if let Some(stored) = stored.contacts.iter().find(|stored| same(contact, stored)) {
            let lacking = Lacking { who: &contact.id, facets: lacking(&contact.id) };
            Keeper { group: Group::Guardians, lacking, kept }.person(&mut contact.person, &stored.person);
        }
    }
}

fn same(a: &Contact, b: &Contact) -> bool {
    a.kind == b.kind && a.id == b.id
}

/// Keeps what a person's pages lack, and notes who kept it.
struct Keeper<'a> {
    group: Group,
    lacking: Lacking<'a>,
    kept: &'a mut Kept,
}

impl Keeper<'_> {
    fn lacks(&self, value: Value) -> bool {
        self.lacking.facets.contains(Facet::Of(self.group, value))
    }

    fn note(&mut self, value: Value) {
        self.kept.note(Facet::Of(self.group, value), self.lacking.who);
    }

    fn value<T: Clone>(&mut self, value: Value, new: &mut Option<T>, stored: Option<&T>) {
        if new.is_none() && stored.is_some() && self.lacks(value) {
            *new = stored.cloned();
            self.note(value);
        }
    }

    fn person(&mut self, person: &mut Person, stored: &Person) {
        self.value(Value::GivenName, &mut person.first_name, stored.first_name.as_ref());
        self.value(Value::MiddleName, &mut person.middle_name, stored.middle_name.as_ref());
        self.value(Value::FamilyName, &mut person.last_name, stored.last_name.as_ref());
        for value in [Value::Email, Value::Phone, Value::Sms] {
            if self.lacks(value) && keep_reach(value, person, stored) {
                self.note(value);
            }
        }
    }
}

/// Keeps a user's address, or one of the two numbers, where there is none now. False: there was none either.
pub(super) fn keep_reach(value: Value, person: &mut Person, stored: &Person) -> bool {
    match value {
        Value::Email => keep_items(&mut person.emails, &stored.emails, |email| email.id == EMAIL),
        Value::Phone => keep_items(&mut person.phones, &stored.phones, |phone| phone.id == PHONE),
        Value::Sms => keep_items(&mut person.phones, &stored.phones, |phone| phone.id == SMS),
        _ => false,
    }
}

fn keep_items<T: Clone>(items: &mut Vec<T>, stored: &[T], is_it: impl Fn(&T) -> bool) -> bool {
    let kept = stored.iter().find(|item| is_it(item)).filter(|_| !items.iter().any(&is_it));
    items.extend(kept.cloned());
    kept.is_some()
}

#[cfg(test)]
mod tests {
    use rollcall_proto::roster::{Email, Phone};

    use super::*;

    fn all_of(group: Group) -> Facets {
        Facets::that(|facet| matches!(facet, Facet::Of(of, _) if of == group))
    }

    fn none(_: &str) -> Facets {
        Facets::default()
    }

    fn person(tag: &str) -> Person {
        let phone = |id: &str| Phone { id: id.to_owned(), number: tag.to_owned(), ..Phone::default() };
        Person {
            first_name: Some(tag.to_owned()),
            middle_name: Some(tag.to_owned()),
            last_name: Some(tag.to_owned()),
            phones: vec![phone(PHONE), phone(SMS)],
            emails: vec![Email { id: EMAIL.to_owned(), address: tag.to_owned(), ..Email::default() }],
            ..Person::default()
        }
    }

    fn guardian(id: &str, person: Person) -> Contact {
        Contact {
            id: id.to_owned(),
            kind: ContactKind::Guardian,
            rank: None,
            relationship: None,
            custodial: None,
            may_pick_up: None,
            person,
        }
    }

    fn student(tag: Option<&str>, contacts: Vec<Contact>) -> Student {
        let text = tag.map(str::to_owned);
        Student {
            id: rollcall_proto::id::StudentId("1".to_owned()),
            connection: 0,
            sis_id: None,
            local_id: text.clone(),
            state_id: text.clone(),
            person: tag.map(person).unwrap_or_default(),
            birth_date: tag.and(chrono::NaiveDate::from_ymd_opt(2014, 2, 3)),
            gender: text.clone(),
            grade: text,
            school: None,
            graduation_year: None,
            homeroom: None,
            contacts,
            enrollments: Vec::new(),
        }
    }

    /// Who is filled, and what that keeps.
    fn filled(
        record: &mut Student,
        stored: &Student,
        facets: Facets,
        lacking: &dyn Fn(&str) -> Facets,
    ) -> Vec<(Facet, i64)> {
        let mut kept = Kept::default();
        fill(record, stored, Lacking { who: "S1", facets }, lacking, &mut kept);
        kept.counts().collect()
    }

    /// One person each.
    fn one_each(facets: Facets) -> Vec<(Facet, i64)> {
        let mut each: Vec<(Facet, i64)> = facets.iter().map(|facet| (facet, 1)).collect();
        each.sort();
        each
    }

    #[test]
    fn what_a_page_lacks_is_kept_and_told() {
        let stored = student(Some("old"), Vec::new());
        let own = all_of(Group::Students).with(all_of(Group::Described));
        let mut record = student(None, Vec::new());
        let kept = filled(&mut record, &stored, own, &none);
        assert_eq!(record, stored);
        assert_eq!(kept, one_each(own.without([Facet::Of(Group::Students, Value::Agents)].into_iter().collect())));
        // What the row has is not touched, nor what the page does not lack.
        let mut record = student(Some("new"), Vec::new());
        assert_eq!(filled(&mut record, &stored, own, &none), []);
        assert_eq!(record, student(Some("new"), Vec::new()));
        let mut record = student(None, Vec::new());
        assert_eq!(filled(&mut record, &stored, Facets::default(), &none), []);
        assert_eq!(record, student(None, Vec::new()));
        // Nobody ever had one.
        assert_eq!(filled(&mut student(None, Vec::new()), &student(None, Vec::new()), own, &none), []);
    }

    #[test]
    fn links_are_kept_from_the_side_whose_page_lacks_them() {
        let agents = |group| [Facet::Of(group, Value::Agents)].into_iter().collect::<Facets>();
        let stored = student(None, vec![guardian("G1", person("old")), guardian("G2", person("old"))]);
        let shown = || student(None, vec![guardian("G2", person("new"))]);
        let mut record = shown();
        assert_eq!(filled(&mut record, &stored, agents(Group::Students), &none), one_each(agents(Group::Students)));
        assert_eq!(record.contacts, [guardian("G2", person("new")), guardian("G1", person("old"))]);
        let mut record = shown();
        let of_guardian = |id: &str| if id == "G1" { agents(Group::Guardians) } else { Facets::default() };
        let kept = filled(&mut record, &stored, Facets::default(), &of_guardian);
        assert_eq!(kept, one_each(agents(Group::Guardians)));
        assert_eq!(record.contacts.len(), 2);
        let mut record = shown();
        assert_eq!(filled(&mut record, &stored, Facets::default(), &none), []);
        assert_eq!(record.contacts.len(), 1);
    }

    #[test]
    fn guardians_keep_what_their_own_page_lacks() {
        let stored = student(None, vec![guardian("G1", person("old")), guardian("G2", person("old"))]);
        let mut record = student(None, vec![guardian("G1", Person::default()), guardian("G2", Person::default())]);
        let of_guardian = |id: &str| if id == "G1" { all_of(Group::Guardians) } else { Facets::default() };
        let kept = filled(&mut record, &stored, Facets::default(), &of_guardian);
        assert_eq!((&record.contacts[0].person, &record.contacts[1].person), (&person("old"), &Person::default()));
        assert!(kept.contains(&(Facet::Of(Group::Guardians, Value::Sms), 1)) && kept.len() == 6, "{kept:?}");
    }

    /// Siblings have the same guardian, whose number is one person's.
    #[test]
    fn a_guardian_of_several_students_is_one_person() {
        let mut kept = Kept::default();
        let phone = Facet::Of(Group::Guardians, Value::Phone);
        for (guardians, people) in [(vec!["G1"], 1), (vec!["G1"], 1), (vec!["G1", "G2"], 2)] {
            let of = |person: &dyn Fn() -> Person| guardians.iter().map(|id| guardian(id, person())).collect();
            let stored = student(None, of(&|| person("old")));
            let mut record = student(None, of(&Person::default));
            fill(&mut record, &stored, Lacking::default(), &|_| all_of(Group::Guardians), &mut kept);
            assert_eq!(kept.counts().find(|(facet, _)| *facet == phone), Some((phone, people)));
        }
    }

    #[test]
    fn staff_keep_what_their_page_lacks() {
        let stored = Staff { number: Some("7".to_owned()), person: person("old"), ..Staff::default() };
        let mut member = Staff::default();
        let mut kept = Kept::default();
        fill_staff(&mut member, &stored, Lacking { who: "T1", facets: all_of(Group::Staff) }, &mut kept);
        assert_eq!((member, kept.counts().collect()), (stored, one_each(all_of(Group::Staff))));
    }
}
