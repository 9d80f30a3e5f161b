//! What a night of changes builds upon, what is set aside, and who of the staff has left.

use super::*;

/// Its values would come back in those rows alone that happen to change, and all the others would lose theirs.
#[test]
fn nothing_is_laid_over_a_night_on_which_a_field_was_emptied() {
    let people = first_people();
    let mut stored = Stored::default();
    stored.night(&people, None).unwrap();
    let base = |emails: i64| {
        let mut facts = stored.clone().facts(&people, None);
        facts.pulls[0].baseline.get_or_insert_default().rows.insert("users.email".to_owned(), emails);
        plan(facts, &mut stored.clone()).unwrap().baselines[0].1.base.clone()
    };
    assert!(base(0).is_some(), "nobody ever had one");
    assert_eq!(base(7), None);
}

/// Who is new may have none, and nobody is bothered; but of changes alone, nobody would see those that slipped for days.
#[test]
fn nothing_is_laid_over_a_night_on_which_somebody_new_has_no_demographics() {
    let people = first_people();
    let mut stored = Stored::default();
    let mut facts = stored.facts(&people, None);
    let [users, demographics] = &stored.kept;
    let body = json!({ "demographics": &demographics[0][1..] }).to_string();
    let decoded = decode(SisKind::OneRoster, "demographics", &[], body.as_bytes()).unwrap();
    facts.pulls[0].fragments[users.len()].fragments = decoded.fragments;
    let plan = plan(facts, &mut stored).unwrap();
    assert_eq!((plan.findings.len(), plan.baselines[0].1.base.as_ref()), (0, None), "{:?}", plan.findings);
}

#[test]
fn what_the_next_night_builds_upon() {
    let people = first_people();
    let mut stored = Stored::default();
    let base_of = |facts: PlanFacts, stored: &mut Stored| plan(facts, stored).unwrap().baselines[0].1.base.clone();
    let full = base_of(stored.clone().facts(&people, None), &mut stored).unwrap();
    assert_eq!((full.run, full.full_on), (testing::run().id, testing::today()));
    stored.night(&people, None).unwrap();

    let day = NaiveDate::from_ymd_opt(2025, 10, 30).unwrap();
    let changes = |scope_day: NaiveDate| {
        let mut facts = stored.clone().facts(&people, Some([Vec::new(), Vec::new()]));
        if let PullScope::Changes(changes) = &mut facts.pulls[0].pull.discovery.as_mut().unwrap().scope {
            changes.full_on = scope_day;
        }
        facts
    };
    let next = base_of(changes(day), &mut stored.clone()).unwrap();
    assert_eq!(next.full_on, day, "the week goes on");
    assert_eq!((full.before, next.before), (None, Some(DateTime::UNIX_EPOCH)), "when the night before began");
    let mut undated = changes(day);
    let row = json!({"users": [{"sourcedId": "u1", "dateLastModified": "yesterday"}]}).to_string();
    let decoded = decode(SisKind::OneRoster, "users", &[], row.as_bytes()).unwrap();
    undated.pulls[0].fragments[1].fragments = decoded.fragments;
    assert_eq!(base_of(undated, &mut stored.clone()), None, "a row that no filter would tell");
    let replay = |mut facts: PlanFacts| {
        facts.run.replay_of = Some(RunId(uuid::Uuid::nil()));
        facts
    };
    assert_eq!(base_of(replay(changes(day)), &mut stored.clone()), None, "nothing is built upon a replay");
    let mut unable = stored.clone().facts(&people, None);
    unable.pulls[0].pull.discovery.as_mut().unwrap().scope = PullScope::Always;
    assert_eq!(base_of(unable, &mut stored.clone()), None);
}

/// Everything was asked for after all: what was set aside is not looked at.
#[test]
fn what_is_set_aside_does_not_count() {
    let mut people = first_people();
    let mut stored = Stored::default();
    stored.night(&people, None).unwrap();
    people.remove(&1);
    let facts = set_aside(stored.clone().facts(&people, Some([Vec::new(), Vec::new()])), &people);
    let Planned::Made(plan) = plan_or_ask(facts, &mut stored).unwrap() else { panic!("it is everything now") };
    assert_eq!((plan.counts.listed, plan.counts.missing, plan.counts.removed), (7, 1, 1), "{:?}", plan.counts);
    assert!(plan.findings.is_empty(), "{:?}", plan.findings);
}

/// A night of changes is no whole listing of staff: who is absent stays, who is told to have left has.
#[test]
fn staff_leave_by_a_row_of_theirs_or_on_a_night_of_everything() {
    let people = first_people();
    let mut stored = Stored::default();
    stored.night(&people, None).unwrap();
    let teacher = |id: &str, status: &str, role: &str| {
        let roles = json!([{"role": role, "org": {"sourcedId": "S1"}}]);
        json!({"sourcedId": id, "status": status, "familyName": "Ek", "roles": roles})
    };
    let here = ["t1", "t2", "t3"].map(|id| teacher(id, "active", "teacher"));
    stored.kept[0].push(here.to_vec());
    let told = vec![teacher("t2", "tobedeleted", "teacher"), teacher("t3", "active", "guardian")];
    let night = |changed: Option<[Vec<Value>; 2]>, torn: bool| {
        let mut facts = stored.clone().facts(&people, changed);
        if torn {
            let listings = &mut facts.pulls[0].board.as_mut().unwrap().listings;
            listings.last_mut().unwrap().progress = Progress::Failed("status 503".to_owned());
        }
        facts.district.connections[0].staff = rollcall_store::district::StaffScope::Active;
        facts.staff = ["t1", "t2", "t3", "t4"].map(str::to_owned).to_vec();
        facts.pulls[0].pull.discovery.as_mut().unwrap().totals.clear();
        plan(facts, &mut stored.clone()).unwrap()
    };
    let by_changes = night(Some([told.clone(), Vec::new()]), false);
    let listed: Vec<&str> = by_changes.staff.iter().map(|member| member.id.as_str()).collect();
    assert_eq!((listed, by_changes.staff_whole), (vec!["t1"], false));
    assert_eq!(by_changes.staff_gone, ["t2", "t3"], "t4 is absent, which proves nothing");
    let by_everything = night(None, false);
    assert!(by_everything.staff_whole && by_everything.staff_gone.is_empty());
    let torn = night(Some([told, Vec::new()]), true);
    assert_eq!((torn.staff_whole, torn.staff_gone.len()), (false, 0), "a pull that is not proved complete ends nobody");
}
