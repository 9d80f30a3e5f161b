//! Changes that came with less than they should: everything is asked for.

use super::*;

/// Changes on several pages, of which the last ones came after a field was switched off.
fn told_on_pages(stored: &Stored, people: &People, pages: &[Vec<Value>]) -> PlanFacts {
    let mut facts = stored.clone().facts(people, Some([pages[0].clone(), Vec::new()]));
    let pull = &mut facts.pulls[0];
    let board = pull.board.as_mut().unwrap();
    let changes = board.listings.iter().position(|listing| listing.ask.since.is_some()).unwrap();
    board.listings[changes].last_page = Some(pages.len() as u32);
    for (number, rows) in (1_u32..).zip(pages).skip(1) {
        let place = (ListingNo(changes as u32), PageNo(number));
        let (row, fragments) = testing::collected(SisKind::OneRoster, "users", place, &json!({ "users": rows }));
        facts.pages.push(row);
        facts.pulls[0].fragments.push(fragments);
    }
    facts
}

#[test]
fn a_field_that_no_changed_row_of_a_page_has_any_more_has_everything_asked_for() {
    let people = first_people();
    let mut stored = Stored::default();
    stored.night(&people, None).unwrap();
    let shown = vec![user(&people, 100).unwrap(), user(&people, 102).unwrap()];
    let lost = vec![without(user(&people, 104).unwrap(), "sms"), user(&people, 0).unwrap()];
    for pages in [vec![shown.clone(), lost.clone()], vec![lost.clone(), shown.clone()]] {
        let asked = plan_or_ask(told_on_pages(&stored, &people, &pages), &mut stored.clone()).unwrap();
        let Planned::AskEverything(lacking) = asked else { panic!("everything is asked for") };
        assert_eq!(lacking[0].1, "no changed row of a page has any more: users/guardians.sms");
        // Nobody can be asked for a replay, and one person may have been the only one.
        let mut facts = told_on_pages(&stored, &people, &pages);
        facts.run.replay_of = Some(RunId(uuid::Uuid::nil()));
        let plan = plan(facts, &mut stored.clone()).unwrap();
        assert_eq!((plan.counts.changed, plan.findings), (1, vec![]));
    }
    // Who has one beside it shows that it was cleared; pages of people who had none show nothing.
    let beside = [shown.clone(), vec![lost[0].clone(), user(&people, 106).unwrap()]];
    let students = [shown, vec![user(&people, 0).unwrap()]];
    for pages in [beside, students] {
        assert!(matches!(
            plan_or_ask(told_on_pages(&stored, &people, &pages), &mut stored.clone()).unwrap(),
            Planned::Made(_)
        ));
    }
}

/// That somebody had one on the night before does not show that it is still told.
#[test]
fn what_a_page_of_changes_lacks_shows_beside_other_pages_of_that_night() {
    let people = first_people();
    let mut stored = Stored::default();
    stored.night(&people, None).unwrap();
    let [student, guardian] = [1, 100].map(|number| vec![user(&people, number).unwrap()]);
    for (pages, lacks) in [(vec![student.clone()], false), (vec![student, guardian], true)] {
        let PlanFacts { district, mut pulls, .. } = told_on_pages(&stored, &people, &pages);
        let PullIn { board, fragments, .. } = pulls.remove(0);
        let looks = Looks::open(fragments, &board.unwrap()).unwrap();
        let contents = Contents::of(&looks.first, Reads::of(&district.connections[0]));
        assert_eq!(!contents.lacking.is_empty(), lacks, "{} pages", pages.len());
    }
}

/// A page of changes that cannot be had, or a listing of them, is no reason to give the night up: everything can be asked for.
#[test]
fn changes_that_could_not_be_had_have_everything_asked_for() {
    let people = first_people();
    let mut stored = Stored::default();
    stored.night(&people, None).unwrap();
    let changes = || stored.clone().facts(&people, Some([Vec::new(), Vec::new()]));
    let asked = |facts: PlanFacts| match plan_or_ask(facts, &mut stored.clone()).unwrap() {
        Planned::Made(_) => String::new(),
        Planned::AskEverything(lacking) => lacking[0].1.clone(),
    };
    assert_eq!(asked(changes()), "");
    let listing_of = |facts: &PlanFacts, resource: &str| {
        let listings = &facts.pulls[0].board.as_ref().unwrap().listings;
        listings.iter().position(|listing| listing.ask.since.is_some() && listing.ask.resource == resource).unwrap()
    };
    for resource in RESOURCES {
        let mut failed = changes();
        let number = listing_of(&failed, resource);
        let board = failed.pulls[0].board.as_mut().unwrap();
        board.listings[number].progress = Progress::Failed("page 2: server-error".to_owned());
        let why = asked(failed);
        assert!(why.starts_with(&format!("changes of {resource}: could not be fetched (page 2")), "{why}");
        let mut refused = changes();
        refused.pages.iter_mut().find(|page| page.listing.0 as usize == number).unwrap().status = 500;
        assert!(asked(refused).contains("HTTP 500"));
        let mut missing = changes();
        missing.pages.retain(|page| page.listing.0 as usize != number);
        assert!(asked(missing).contains("page 1 did not come in"));
        // All of them are there, whatever the source says of how many there are.
        let mut odd = changes();
        odd.pages.iter_mut().find(|page| page.listing.0 as usize == number).unwrap().claimed_total = Some(7);
        assert_eq!(asked(odd), "");
    }
    // Nobody is asked for a replay, and once everything was asked for, changes do not matter any more.
    let mut replay = changes();
    replay.run.replay_of = Some(RunId(uuid::Uuid::nil()));
    replay.pulls[0].board.as_mut().unwrap().listings[2].progress = Progress::Failed("gone".to_owned());
    assert_eq!(asked(replay), "");
    let mut aside = changes();
    aside.pulls[0].board.as_mut().unwrap().listings[2].progress = Progress::Failed("gone".to_owned());
    let plan = plan(set_aside(aside, &people), &mut stored.clone()).unwrap();
    assert!(plan.findings.is_empty(), "{:?}", plan.findings);
}
