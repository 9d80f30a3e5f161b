//! Comparisons of flags that are not finished, and students some at a time: what both engines must do alike.

use rollcall_store::flag::{Flag, FlagState, Participation};
use uuid::Uuid;

use crate::{
    common::Fixture,
    documents::{document, house, save},
    flags::{flag, keep, participation},
    roster_support::*,
};

crate::on_both_engines! {
    students_come_some_at_a_time_with_all_that_is_theirs,
    a_comparison_is_kept_by_whoever_has_the_lease,
}

/// By document, by participation and by mark; the pieces are together what is read at once.
async fn students_come_some_at_a_time_with_all_that_is_theirs(f: Fixture) {
    let (store, district) = (&f.store, house(&f.store).await);
    applied(store, &district, 2, vec![added(student("10")), added(student("3"))]).await;
    for name in ["10", "2", "3"] {
        save(store, &district, &rollcall_store::document::NewDocument { student: id(name), ..document(name) }, 1).await;
    }
    let of = |number: u128, student: &str| Participation { student: id(student), ..participation(number) };
    let participations = [of(1, "1"), of(2, "2"), of(3, "2"), of(4, "é")];
    store.save_participations(&district, &participations, at(2)).await.unwrap();
    let flags: Vec<_> = participations
        .iter()
        .zip(1..)
        .map(|(one, number)| Flag { student: one.student.clone(), ..flag(number, FlagState::Wanted) })
        .collect();
    keep(store, &district, &flags, &[], at(2)).await;
    let whole = store.flag_facts(&district, None, None).await.unwrap();
    for most in [1, 2, 3, 100] {
        let (mut after, mut lasts, mut marked) = (None, Vec::new(), Vec::new());
        let (mut documents, mut found, mut stored, mut students) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        while let Some(piece) = store.flag_piece(&district, after.as_ref(), None, most).await.unwrap() {
            documents.extend(piece.facts.documents);
            found.extend(piece.facts.participations);
            stored.extend(piece.facts.flags);
            students.extend(piece.facts.students);
            marked.extend(piece.pending.into_iter().map(|one| one.student.0));
            lasts.push(piece.last.0.clone());
            after = Some(piece.last);
        }
        assert_eq!((&documents, &found, &stored), (&whole.documents, &whole.participations, &whole.flags), "{most}");
        assert_eq!(students, whole.students, "{most}");
        assert_eq!(marked, ["10", "2", "3"], "{most}");
        let expected: &[&str] = match most {
            1 => &["1", "10", "2", "3", "é"],
            2 => &["10", "3", "é"],
            3 => &["2", "é"],
            _ => &["é"],
        };
        assert_eq!(lasts, expected, "{most}");
    }
    let piece = store.flag_piece(&district, None, Some("Language Support"), 100).await.unwrap().unwrap();
    assert_eq!((piece.facts.flags, piece.facts.participations.len()), (Vec::new(), 4), "all flags are of another");
}

async fn a_comparison_is_kept_by_whoever_has_the_lease(f: Fixture) {
    let (store, district) = (&f.store, house(&f.store).await);
    let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let kept = async || store.comparison::<u32, Vec<String>>(&district).await.unwrap();
    let shown = |text: &str| vec![text.to_owned()];
    let unfinished = async || store.flag_work().await.unwrap().remove(0).unfinished;
    assert!(!store.keep_comparison(&district, one, &1, Some(&shown("a"))).await.unwrap());
    assert_eq!((kept().await, unfinished().await), (None, false));
    assert!(store.claim_flags(&district, one, at(0), at(60)).await.unwrap());
    assert!(store.keep_comparison(&district, one, &1, Some(&shown("a"))).await.unwrap());
    assert_eq!((kept().await, unfinished().await), (Some(Some((1, shown("a")))), true));
    assert!(store.keep_comparison(&district, one, &2, None::<&Vec<String>>).await.unwrap());
    assert_eq!(kept().await, Some(Some((2, shown("a")))), "what was shown stays");
    assert!(store.keep_comparison(&district, one, &3, Some(&shown("b"))).await.unwrap());
    assert_eq!(kept().await, Some(Some((3, shown("b")))));
    assert_eq!(store.comparison::<String, u32>(&district).await.unwrap(), Some(None), "as another version kept it");
    assert!(store.claim_flags(&district, two, at(60), at(120)).await.unwrap());
    assert!(!store.keep_comparison(&district, one, &4, Some(&shown("c"))).await.unwrap());
    assert!(!store.forget_comparison(&district, one).await.unwrap());
    assert_eq!(kept().await, Some(Some((3, shown("b")))), "whoever lost the lease changes nothing");
    assert!(store.forget_comparison(&district, two).await.unwrap());
    assert_eq!((kept().await, unfinished().await), (None, false));
}
