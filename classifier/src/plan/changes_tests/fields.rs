//! Fields that are switched off or on in the middle of a week.

use super::*;

/// What `rows` of users and of demographics, told as changed, lead to.
fn told(stored: &Stored, people: &People, rows: [Vec<Value>; 2]) -> Result<NewPlan, String> {
    let facts = stored.clone().facts(people, Some(rows));
    match plan_or_ask(facts, &mut stored.clone()).unwrap() {
        Planned::Made(plan) => Ok(*plan),
        Planned::AskEverything(lacking) => Err(lacking.into_iter().map(|(_, why)| why).collect()),
    }
}

/// A night in the week on which a field is switched off: the rows told look emptied, be it a single one.
#[test]
fn a_field_that_no_changed_row_has_any_more_is_not_written_as_emptied() {
    let people = first_people();
    let mut stored = Stored::default();
    stored.night(&people, None).unwrap();
    let (guardian, other) = (user(&people, 100).unwrap(), user(&people, 102).unwrap());
    let (student, birth) = (user(&people, 0).unwrap(), demographics(&people, 0).unwrap());
    let emptied = |row: &Value, key: &str| vec![without(row.clone(), key)];
    let mut unlinked = student.clone();
    unlinked["agents"] = json!([]);
    for (users, others, name) in [
        (emptied(&guardian, "sms"), Vec::new(), "users.sms"),
        (emptied(&student, "givenName"), Vec::new(), "users.givenName"),
        (emptied(&student, "familyName"), Vec::new(), "users.familyName"),
        (vec![unlinked], Vec::new(), "users.agents"),
        (vec![without(student.clone(), "roles")], Vec::new(), "users/students"),
        (Vec::new(), emptied(&birth, "birthDate"), "demographics.birthDate"),
    ] {
        let why = told(&stored, &people, [users, others]).unwrap_err();
        assert!(why.contains("no changed row has any more") && why.contains(name), "{name}: {why}");
    }
    // A student's number proves nothing of guardians': what is shared may differ between them.
    let mut reached = student;
    reached["sms"] = json!("513");
    let why = told(&stored, &people, [vec![without(guardian.clone(), "sms"), reached], Vec::new()]).unwrap_err();
    assert_eq!(why, "no changed row has any more: users/guardians.sms");
    // One row that has it proves that it is still shown: then it was cleared in the SIS.
    let plan = told(&stored, &people, [vec![without(guardian, "sms"), other], Vec::new()]).unwrap();
    let record = testing::events(&plan).remove(0).record.unwrap();
    assert!(record.contacts[0].person.phones.is_empty(), "{record:?}");
}

/// Nobody can be asked for a replay: what looks emptied stays as it is stored.
#[test]
fn a_replay_keeps_what_looks_emptied() {
    let people = first_people();
    let mut stored = Stored::default();
    stored.night(&people, None).unwrap();
    let mut guardian = user(&people, 100).unwrap();
    guardian["familyName"] = json!("Ek");
    let rows = [vec![without(guardian, "sms")], vec![without(demographics(&people, 0).unwrap(), "birthDate")]];
    let mut facts = stored.clone().facts(&people, Some(rows));
    facts.run.replay_of = Some(RunId(uuid::Uuid::nil()));
    let Planned::Made(plan) = plan_or_ask(facts, &mut stored.clone()).unwrap() else { panic!("nobody is asked") };
    let said =
        |name: &str| plan.findings.iter().any(|found| found.code == "listing-empty" && found.message.contains(name));
    assert!(said("users.sms") && said("demographics.birthDate"), "{:?}", plan.findings);
    let record = testing::events(&plan).remove(0).record.unwrap();
    let contact = &record.contacts[0].person;
    assert_eq!((contact.last_name.as_deref(), contact.phones.len()), (Some("Ek"), 1), "{record:?}");
    assert!(record.birth_date.is_some(), "{record:?}");
}

/// What is switched off for good shows on a night of everything, whatever it is.
#[test]
fn a_field_that_nobody_has_any_more_stays_as_it_is_stored() {
    let people = first_people();
    let mut stored = Stored::default();
    stored.night(&people, None).unwrap();
    for (resource, key, name) in [
        (0, "familyName", "users.familyName"),
        (0, "givenName", "users.givenName"),
        (0, "agents", "users.agents"),
        (1, "birthDate", "demographics.birthDate"),
    ] {
        let mut facts = stored.clone().facts(&people, None);
        let listing = ListingNo(resource);
        let rows = if resource == 0 { everything(&people).0 } else { everything(&people).1 };
        let rows: Vec<Value> = rows.into_iter().map(|row| without(row, key)).collect();
        for page in facts.pulls[0].fragments.iter_mut().filter(|page| page.listing == listing) {
            let rows = rows.chunks(PAGE).nth(page.page.0 as usize - 1).unwrap();
            let body = json!({ RESOURCES[resource as usize]: rows }).to_string();
            page.fragments =
                decode(SisKind::OneRoster, RESOURCES[resource as usize], &[], body.as_bytes()).unwrap().fragments;
        }
        let plan = plan(facts, &mut stored.clone()).unwrap();
        assert!(matches!(plan.verdict, Verdict::Nothing), "{name}: {:?}", plan.counts);
        let said: Vec<&str> = plan.findings.iter().map(|found| found.message.split(':').next().unwrap()).collect();
        assert_eq!(said, [name]);
        assert_eq!(plan.baselines[0].1.base, None, "{name}: nothing is laid over it");
    }
}

/// What is switched on is told of those rows alone that happen to change.
#[test]
fn a_field_that_nobody_had_before_has_everything_asked_for() {
    let people = first_people();
    let mut stored = Stored::default();
    stored.night(&people, None).unwrap();
    let mut student = user(&people, 0).unwrap();
    student["email"] = json!("ada@students.example");
    let why = told(&stored, &people, [vec![student], Vec::new()]).unwrap_err();
    assert_eq!(why, "changed rows have what none had: users.email");
}
