//! The audit trail, and chores that one caller in an interval has.

use chrono::TimeDelta;
use rollcall_proto::id::{DistrictId, RunId};
use rollcall_store::{
    ForgottenTrail,
    audit::{AuditEntry, RETENTION},
};

use crate::common::{Fixture, later, now};

crate::on_both_engines! {
    the_audit_trail_is_newest_first,
    what_belongs_to_no_district_is_noted_and_kept_as_long,
    what_is_noted_once_is_noted_once_however_many_ask,
    a_chore_is_one_callers_in_an_interval,
    a_chore_that_did_not_succeed_is_given_back,
    the_audit_trail_is_kept_for_a_year_whoever_asks,
}

/// The database goes by its own clock: hence dates that are long past, or far off, whenever this runs.
async fn the_audit_trail_is_kept_for_a_year_whoever_asks(f: Fixture) {
    let (a, b) = (f.district("a").await, f.district("b").await);
    let in_year = |year: u32| format!("{year}-03-01T00:00:00Z").parse().unwrap();
    for (district, year) in [(&a, 2001), (&a, 2002), (&b, 2002), (&a, 2003), (&a, 2999)] {
        let entry = AuditEntry::new(district, in_year(year), "ann", "run.approve", year.to_string());
        f.store.audit(&entry).await.unwrap();
    }
    let years = async |district| -> Vec<String> {
        let trail = f.store.audit_trail(district, 10).await.unwrap();
        trail.into_iter().filter(|entry| entry.action == "run.approve").map(|entry| entry.detail).collect()
    };
    f.store.forget_trail(in_year(3000), now()).await.expect_err("the last year is not given up");
    assert_eq!(years(&a).await, ["2999", "2003", "2002", "2001"]);

    let forgotten = f.store.forget_trail(in_year(2003), now()).await.unwrap();
    assert_eq!(forgotten, ForgottenTrail { entries: 3, views: 0 });
    assert_eq!((years(&a).await, years(&b).await), (vec!["2999".to_owned(), "2003".to_owned()], vec![]));
    let told = f.store.audit_trail(&a, 1).await.unwrap().remove(0);
    assert_eq!((told.actor.as_str(), told.action.as_str(), told.at), ("retention", "audit.expired", now()));
    assert_eq!(told.detail, "entries=2 views=0 before=2003-03-01");
    assert_eq!(f.store.forget_trail(in_year(2003), now()).await.unwrap(), ForgottenTrail::default());
    assert_eq!(f.store.audit_trail(&a, 1).await.unwrap(), [told], "nothing was deleted, and nothing said");
}

async fn what_belongs_to_no_district_is_noted_and_kept_as_long(f: Fixture) {
    let (a, nobodys) = (f.district("a").await, DistrictId::installation());
    let entry = |district, detail: &str, year: u32| {
        let at = format!("{year}-03-01T00:00:00Z").parse().unwrap();
        AuditEntry::new(district, at, "ann", "parked.replay", detail)
    };
    let entries = [entry(&nobodys, "one", 2001), entry(&a, "two", 2999), entry(&nobodys, "three", 2999)];
    f.store.audit_all(&entries).await.unwrap();
    f.store.audit_all(&[]).await.unwrap();
    let [one, two, three] = entries;
    assert_eq!(f.store.audit_trail(&nobodys, 10).await.unwrap(), [three.clone(), one]);
    assert_eq!(f.store.audit_trail(&a, 1).await.unwrap(), [two]);
    let forgotten = f.store.forget_trail("2003-01-01T00:00:00Z".parse().unwrap(), now()).await.unwrap();
    assert_eq!(forgotten.entries, 1);
    let left = f.store.audit_trail(&nobodys, 10).await.unwrap();
    assert_eq!((left.len(), &left[1]), (2, &three), "and a word on what was deleted");
}

async fn the_audit_trail_is_newest_first(f: Fixture) {
    let (a, b) = (f.district("a").await, f.district("b").await);
    let entry = |action: &str, minutes| AuditEntry::new(&a, later(minutes), "ann", action, "");
    f.store.audit(&entry("one", 1)).await.unwrap();
    f.store.audit(&entry("two", 2)).await.unwrap();
    assert_eq!(f.store.audit_trail(&a, 2).await.unwrap(), [entry("two", 2), entry("one", 1)]);
    assert_eq!(f.store.audit_trail(&a, 10).await.unwrap().len(), 3);
    assert_eq!(f.store.audit_trail(&b, 10).await.unwrap().len(), 1);
}

async fn what_is_noted_once_is_noted_once_however_many_ask(f: Fixture) {
    let (a, b) = (f.district("a").await, f.district("b").await);
    let entry = |district, minutes, number: i64| {
        let detail = format!("message {number}");
        AuditEntry::new(district, later(minutes), RETENTION, "parked.expired", detail)
    };
    let all = |minutes| -> Vec<AuditEntry> {
        [&a, &b].iter().flat_map(|district| (0..20).map(move |number| entry(district, minutes, number))).collect()
    };
    let asking: Vec<_> = (0..4)
        .map(|minutes| {
            let (store, entries) = (f.store.clone(), all(minutes));
            tokio::spawn(async move { store.audit_once(&entries).await.unwrap() })
        })
        .collect();
    let mut added = 0;
    for asked in asking {
        added += asked.await.unwrap();
    }
    assert_eq!(added, 40);
    let run = Some(RunId(uuid::Uuid::from_u128(1)));
    let others = [
        entry(&a, 9, 7).of(run),
        entry(&a, 9, 20),
        entry(&a, 9, 20),
        AuditEntry { action: "other".to_owned(), ..entry(&a, 9, 7) },
    ];
    assert_eq!(
        f.store.audit_once(&[all(9), others.to_vec()].concat()).await.unwrap(),
        3,
        "another run, number, action"
    );
    assert_eq!(f.store.audit_once(&[]).await.unwrap(), 0);
    for (district, expected) in [(&a, 22), (&b, 20)] {
        let trail = f.store.audit_trail(district, 100).await.unwrap();
        assert_eq!(trail.iter().filter(|entry| entry.action == "parked.expired").count(), expected);
    }
}

async fn a_chore_is_one_callers_in_an_interval(f: Fixture) {
    let every = TimeDelta::minutes(60);
    for (minutes, expected) in [(0, 1), (30, 0), (59, 0), (60, 1), (119, 0), (120, 1)] {
        let asking: Vec<_> = (0..4)
            .map(|_| {
                let store = f.store.clone();
                tokio::spawn(async move { store.claim_chore("sweep", every, later(minutes)).await.unwrap() })
            })
            .collect();
        let mut claimed = 0;
        for asked in asking {
            claimed += u32::from(asked.await.unwrap());
        }
        assert_eq!(claimed, expected, "after {minutes} minutes");
    }
    assert!(f.store.claim_chore("dust", every, later(121)).await.unwrap(), "another chore");
    // Whose clock was a day ahead keeps nobody from it for a day.
    assert!(f.store.claim_chore("sweep", every, later(1_440)).await.unwrap());
    assert!(f.store.claim_chore("sweep", every, later(180)).await.unwrap());
    assert!(!f.store.claim_chore("sweep", every, later(121)).await.unwrap(), "a little ahead is no fault");
}

async fn a_chore_that_did_not_succeed_is_given_back(f: Fixture) {
    let every = TimeDelta::minutes(60);
    assert!(f.store.claim_chore("sweep", every, later(0)).await.unwrap());
    f.store.give_chore_back("sweep", later(1)).await.unwrap();
    assert!(!f.store.claim_chore("sweep", every, later(2)).await.unwrap(), "that claim was not theirs");
    f.store.give_chore_back("sweep", later(0)).await.unwrap();
    assert!(f.store.claim_chore("sweep", every, later(3)).await.unwrap());
    // Never done: since it was first tried, whoever tried since.
    let done = async || f.store.chores_done().await.unwrap().get("sweep").copied();
    assert_eq!(done().await, Some(later(0)));
    f.store.chore_done("sweep", later(4)).await.unwrap();
    assert!(f.store.claim_chore("sweep", every, later(70)).await.unwrap());
    assert_eq!(done().await, Some(later(4)));
    f.store.chore_done("sweep", later(71)).await.unwrap();
    f.store.give_chore_back("sweep", later(70)).await.unwrap();
    assert_eq!(done().await, Some(later(71)));
    assert_eq!(f.store.chores_done().await.unwrap().len(), 1);
}
