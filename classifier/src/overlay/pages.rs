//! What is kept of people whose whole page of OneRoster lacks a value that other pages have.
//!
//! Role: the narrower half of [`super`]: a value is kept only where the row has none, and only for the people of such a page.
//! Each function says what it kept: a page on which nobody ever had a value is no loss.

use rollcall_proto::roster::{Contact, ContactKind, Person, Staff, Student};

use crate::assemble::oneroster::{EMAIL, Facet, Facets, Group, PHONE, SMS, Value};

/// A student's own values, links to guardians, and these guardians' values.
pub(super) fn fill(record: &mut Student, stored: &Student, own: Facets, lacking: &dyn Fn(&str) -> Facets) -> Facets {
    let mut kept = Keeper::of(Group::Students, own);
    kept.value(Value::Identifier, &mut record.local_id, stored.local_id.as_ref());
    kept.value(Value::StateId, &mut record.state_id, stored.state_id.as_ref());
    kept.value(Value::Grade, &mut record.grade, stored.grade.as_ref());
    kept.person(&mut record.person, &stored.person);
    let mut described = Keeper::of(Group::Described, own);
    described.value(Value::BirthDate, &mut record.birth_date, stored.birth_date.as_ref());
    described.value(Value::Sex, &mut record.gender, stored.gender.as_ref());
    let links = links(record, stored, own, lacking);
    [described.kept, links, contacts(record, stored, lacking)].into_iter().fold(kept.kept, Facets::with)
}

/// A member of staff's values.
pub(super) fn fill_staff(member: &mut Staff, stored: &Staff, own: Facets) -> Facets {
    let mut kept = Keeper::of(Group::Staff, own);
    kept.value(Value::Identifier, &mut member.number, stored.number.as_ref());
    kept.person(&mut member.person, &stored.person);
    kept.kept
}

/// Guardians who are linked no more, from the side of whoever's page lacks links.
fn links(record: &mut Student, stored: &Student, own: Facets, lacking: &dyn Fn(&str) -> Facets) -> Facets {
    let (by_student, by_guardian) =
        (Facet::Of(Group::Students, Value::Agents), Facet::Of(Group::Guardians, Value::Agents));
    let mut kept = Facets::default();
    for contact in stored.contacts.iter().filter(|contact| contact.kind == ContactKind::Guardian) {
        let why = if own.contains(by_student) {
            by_student
        } else if lacking(&contact.id).contains(by_guardian) {
            by_guardian
        } else {
            continue;
        };
        if !record.contacts.iter().any(|shown| same(shown, contact)) {
            record.contacts.push(contact.clone());
            kept.insert(why);
        }
    }
    kept
}

fn contacts(record: &mut Student, stored: &Student, lacking: &dyn Fn(&str) -> Facets) -> Facets {
    let mut all = Facets::default();
    for contact in record.contacts.iter_mut().filter(|contact| contact.kind == ContactKind::Guardian) {
        if let Some(stored) = stored.contacts.iter().find(|stored| same(contact, stored)) {
            let mut kept = Keeper::of(Group::Guardians, lacking(&contact.id));
            kept.person(&mut contact.person, &stored.person);
            all = all.with(kept.kept);
        }
    }
    all
}

fn same(a: &Contact, b: &Contact) -> bool {
    a.kind == b.kind && a.id == b.id
}

/// Keeps what a person's pages lack, and notes what that was.
struct Keeper {
    group: Group,
    lacking: Facets,
    kept: Facets,
}

impl Keeper {
    fn of(group: Group, lacking: Facets) -> Self {
        Self { group, lacking, kept: Facets::default() }
    }

    fn lacks(&self, value: Value) -> bool {
        self.lacking.contains(Facet::Of(self.group, value))
    }

    fn note(&mut self, value: Value) {
        self.kept.insert(Facet::Of(self.group, value));
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

    #[test]
    fn what_a_page_lacks_is_kept_and_told() {
        let stored = student(Some("old"), Vec::new());
        let own = all_of(Group::Students).with(all_of(Group::Described));
        let mut record = student(None, Vec::new());
        let kept = fill(&mut record, &stored, own, &none);
        assert_eq!(record, stored);
        assert_eq!(kept, own.without([Facet::Of(Group::Students, Value::Agents)].into_iter().collect()));
        // What the row has is not touched, nor what the page does not lack.
        let mut record = student(Some("new"), Vec::new());
        assert!(fill(&mut record, &stored, own, &none).is_empty());
        assert_eq!(record, student(Some("new"), Vec::new()));
        let mut record = student(None, Vec::new());
        assert!(fill(&mut record, &stored, Facets::default(), &none).is_empty());
        assert_eq!(record, student(None, Vec::new()));
        // Nobody ever had one.
        assert!(fill(&mut student(None, Vec::new()), &student(None, Vec::new()), own, &none).is_empty());
    }

    #[test]
    fn links_are_kept_from_the_side_whose_page_lacks_them() {
        let agents = |group| [Facet::Of(group, Value::Agents)].into_iter().collect::<Facets>();
        let stored = student(None, vec![guardian("G1", person("old")), guardian("G2", person("old"))]);
        let shown = || student(None, vec![guardian("G2", person("new"))]);
        let mut record = shown();
        assert_eq!(fill(&mut record, &stored, agents(Group::Students), &none), agents(Group::Students));
        assert_eq!(record.contacts, [guardian("G2", person("new")), guardian("G1", person("old"))]);
        let mut record = shown();
        let of_guardian = |id: &str| if id == "G1" { agents(Group::Guardians) } else { Facets::default() };
        assert_eq!(fill(&mut record, &stored, Facets::default(), &of_guardian), agents(Group::Guardians));
        assert_eq!(record.contacts.len(), 2);
        let mut record = shown();
        assert!(fill(&mut record, &stored, Facets::default(), &none).is_empty());
        assert_eq!(record.contacts.len(), 1);
    }

    #[test]
    fn guardians_keep_what_their_own_page_lacks() {
        let stored = student(None, vec![guardian("G1", person("old")), guardian("G2", person("old"))]);
        let mut record = student(None, vec![guardian("G1", Person::default()), guardian("G2", Person::default())]);
        let of_guardian = |id: &str| if id == "G1" { all_of(Group::Guardians) } else { Facets::default() };
        let kept = fill(&mut record, &stored, Facets::default(), &of_guardian);
        assert_eq!((&record.contacts[0].person, &record.contacts[1].person), (&person("old"), &Person::default()));
        assert!(kept.contains(Facet::Of(Group::Guardians, Value::Sms)) && kept.iter().count() == 6, "{kept:?}");
    }

    #[test]
    fn staff_keep_what_their_page_lacks() {
        let stored = Staff { number: Some("7".to_owned()), person: person("old"), ..Staff::default() };
        let mut member = Staff::default();
        let kept = fill_staff(&mut member, &stored, all_of(Group::Staff));
        assert_eq!((member, kept), (stored, all_of(Group::Staff)));
    }
}
