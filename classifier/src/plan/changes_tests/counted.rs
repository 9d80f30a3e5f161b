//! What the source counts beside what is laid together: whoever goes without a word is noticed.

use super::*;

#[test]
fn who_goes_without_a_word_has_everything_asked_for() {
    let mut people = first_people();
    let mut stored = Stored::default();
    stored.night(&people, None).unwrap();
    people.remove(&1);
    let lacking = stored.clone().night(&people, Some([Vec::new(), Vec::new()])).unwrap_err();
    assert!(lacking[0].1.contains("counts 11 users") && lacking[0].1.contains("12"), "{lacking:?}");
}

#[test]
fn what_failed_or_is_looked_at_again_is_not_counted() {
    let mut people = first_people();
    let mut stored = Stored::default();
    stored.night(&people, None).unwrap();
    people.remove(&1);
    let mut facts = stored.facts(&people, Some([Vec::new(), Vec::new()]));
    let looks = open(&mut facts.pulls).unwrap();
    assert_eq!(lacking(&facts, &looks).len(), 1);
    facts.pulls[0].pull.state = PullState::Failed;
    assert_eq!(lacking(&facts, &looks), [], "a run with another connection would wait for it in vain");
    facts.pulls[0].pull.state = PullState::Fetched;
    assert!(facts.pulls[0].board.as_mut().unwrap().add_recheck(Vec::new()));
    assert_eq!(lacking(&facts, &looks), []);
}

/// One goes with a word, and one without: a count that is right by chance is none where those marked as deleted are counted.
#[test]
fn who_goes_without_a_word_is_not_made_up_for_by_one_marked_as_deleted() {
    let mut people = first_people();
    let mut stored = Stored::default();
    stored.night(&people, None).unwrap();
    people.remove(&1);
    let deleted = {
        befall(&mut people, 3, Event::Gone);
        user(&people, 3).unwrap()
    };
    let asked = |counted: Option<bool>, ever: Option<i64>| {
        let mut facts = stored.clone().facts(&people, Some([vec![deleted.clone()], Vec::new()]));
        let discovery = facts.pulls[0].pull.discovery.as_mut().unwrap();
        // Twelve were there; of them one is marked, and one is not listed.
        discovery.totals.insert("users".to_owned(), 11);
        discovery.totals.remove("demographics");
        discovery.ever = ever.map(|ever| ("users".to_owned(), ever)).into_iter().collect();
        let remembered = &mut facts.pulls[0].baseline.as_mut().unwrap().counts_deleted;
        *remembered = counted.map(|counted| ("users".to_owned(), counted)).into_iter().collect();
        matches!(plan_or_ask(facts, &mut stored.clone()).unwrap(), Planned::AskEverything(_))
    };
    assert_eq!([Some(true), None, Some(false)].map(|counted| asked(counted, None)), [true, true, false]);
    // The filter that admits all tells it tonight: of as many as without it, those marked as deleted are some.
    assert_eq!([11, 12].map(|ever| asked(None, Some(ever))), [true, false]);
}

/// Whether the source's totals count those marked as deleted is told by its listings, and kept.
#[test]
fn what_a_source_counts_is_learnt() {
    let mut people = first_people();
    let mut stored = Stored::default();
    stored.night(&people, None).unwrap();
    befall(&mut people, 3, Event::Gone);
    let deleted = user(&people, 3).unwrap();
    let learnt = |facts: PlanFacts| plan(facts, &mut stored.clone()).unwrap().baselines[0].1.counts_deleted.clone();
    let users = |counted: bool| BTreeMap::from([("users".to_owned(), counted)]);
    assert_eq!(learnt(stored.clone().facts(&people, None)), BTreeMap::new(), "none is shown");
    let changes_of = |rows: Vec<Value>| stored.clone().facts(&people, Some([rows, Vec::new()]));
    let changes = || changes_of(vec![deleted.clone()]);
    let totalling = |mut facts: PlanFacts, total: i64| {
        facts.pulls[0].pull.discovery.as_mut().unwrap().totals.insert("users".to_owned(), total);
        facts
    };
    assert_eq!(learnt(totalling(changes_of(Vec::new()), 12)), BTreeMap::new(), "none is marked");
    assert_eq!(learnt(totalling(changes(), 11)), users(false), "the total that fits");
    assert_eq!(learnt(totalling(changes(), 12)), users(true));

    let mut listed = stored.clone().facts(&people, None);
    let rows = json!({"users": [deleted]}).to_string();
    listed.pulls[0].fragments.iter_mut().filter(|page| page.listing.0 == 0 && page.page.0 == 1).for_each(|page| {
        page.fragments = decode(SisKind::OneRoster, "users", &[], rows.as_bytes()).unwrap().fragments;
    });
    assert_eq!(learnt(listed), users(true), "one of everything is marked");
    // Everything was asked for after changes had told of one, and does not show it.
    let aside = set_aside(changes(), &people);
    assert_eq!(learnt(aside), users(false));
    let mut kept = stored.clone().facts(&people, None);
    kept.pulls[0].baseline.as_mut().unwrap().counts_deleted = users(true);
    assert_eq!(learnt(kept), users(true), "until something else is told");
}

/// Where the source does not count, nobody is taken out for being absent from changes.
#[test]
fn nobody_is_taken_out_by_absence_from_changes() {
    let people = first_people();
    let mut stored = Stored::default();
    stored.night(&people, None).unwrap();
    // As if the night that is built upon had lost a student's row.
    for pages in &mut stored.kept {
        for rows in pages.iter_mut() {
            rows.retain(|row| row["sourcedId"] != "u1");
        }
    }
    let mut facts = stored.clone().facts(&people, Some([Vec::new(), Vec::new()]));
    facts.pulls[0].pull.discovery.as_mut().unwrap().totals.clear();
    let plan = plan(facts, &mut stored).unwrap();
    assert_eq!((plan.counts.missing, plan.counts.removed, plan.counts.unchanged), (1, 0, 8), "{:?}", plan.counts);
    assert!(matches!(plan.verdict, Verdict::Nothing), "{:?}", plan.verdict);
}

/// Who comes into sight without having been changed is told by no filter.
#[test]
fn people_of_whom_no_row_tells_have_everything_asked_for() {
    let people = first_people();
    let mut stored = Stored::default();
    stored.night(&people, None).unwrap();
    let told_over = |stored: &Stored, users: Vec<Value>, others: Vec<Value>| {
        let rows = [users, others];
        let mut facts = stored.clone().facts(&people, Some(rows));
        facts.pulls[0].pull.discovery.as_mut().unwrap().totals.clear();
        match plan_or_ask(facts, &mut stored.clone()).unwrap() {
            Planned::Made(_) => String::new(),
            Planned::AskEverything(lacking) => lacking[0].1.clone(),
        }
    };
    let told = |users, others| told_over(&stored, users, others);
    let new = |id: u32| {
        let mut row = user(&people, 1).unwrap();
        row["sourcedId"] = json!(format!("u{id}"));
        row
    };
    let described = |id: u32| {
        let mut row = demographics(&people, 1).unwrap();
        row["sourcedId"] = json!(format!("u{id}"));
        row
    };
    assert_eq!(told(vec![new(20)], vec![described(20)]), "");
    assert!(told(vec![new(20)], Vec::new()).contains("demographics of a new student"));
    let mut named = user(&people, 0).unwrap();
    named["agents"] = json!([{"sourcedId": "u100"}, {"sourcedId": "u199"}]);
    assert!(told(vec![named.clone()], Vec::new()).contains("a guardian is named"));
    let mut guardian = user(&people, 100).unwrap();
    guardian["sourcedId"] = json!("u199");
    assert_eq!(told(vec![named, guardian], Vec::new()), "");
    // Whoever is marked as deleted is nobody's guardian any more, but a student names this one.
    let deleted = |id: u32| {
        let mut row = user(&people, 100).unwrap();
        (row["sourcedId"], row["status"]) = (json!(format!("u{id}")), json!("tobedeleted"));
        row
    };
    assert_eq!(told(vec![deleted(199)], Vec::new()), "");
    assert!(told(vec![deleted(100)], Vec::new()).contains("names somebody who is marked as deleted"));
    // Demographics say something where most students have them: five of eight, and not four.
    let describing = |mut left: usize| {
        let mut fewer = stored.clone();
        for rows in &mut fewer.kept[1] {
            rows.truncate(left);
            left -= rows.len();
        }
        fewer
    };
    assert_eq!(told_over(&describing(4), vec![new(20)], Vec::new()), "");
    assert!(told_over(&describing(5), vec![new(20)], Vec::new()).contains("demographics of a new student"));
    // Where no guardian is shown at all, one more who is named and not shown is nothing new.
    let mut without_guardians = stored.clone();
    for rows in &mut without_guardians.kept[0] {
        rows.retain(|row| row["sourcedId"].as_str().unwrap().len() < 4);
    }
    let mut naming = user(&people, 0).unwrap();
    naming["agents"] = json!([{"sourcedId": "u100"}, {"sourcedId": "u199"}]);
    assert_eq!(told_over(&without_guardians, vec![naming], Vec::new()), "");
    // Half as many as there were may be new; more are the same under other ids, most likely.
    let half = 20..24;
    assert_eq!(told(half.clone().map(new).collect(), half.map(described).collect()), "");
    // A source that gives everybody other ids shows the old ones no more, and no row says so.
    let all = 20..25;
    let why = told(all.clone().map(new).collect(), all.map(described).collect());
    assert!(why.contains("half as many new students"), "{why}");
}
