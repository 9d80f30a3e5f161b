//! Flags end as they are wished, whatever was lost on the way.

use proptest::prelude::*;

use super::*;

/// A SIS of one flag, its worker, and what may go wrong between them.
#[derive(Debug, Clone, Copy)]
enum Step {
    Wish(Option<i64>),
    /// Compare, and push what is due.
    Sync {
        answer_lost: bool,
        crash: bool,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let wish = proptest::option::of(20_i64..25).prop_map(Step::Wish);
    let sync = (any::<bool>(), any::<bool>()).prop_map(|(answer_lost, crash)| Step::Sync { answer_lost, crash });
    proptest::collection::vec(prop_oneof![wish, sync], 0..12)
}

proptest! {
    #[test]
    fn the_sis_ends_as_wished_whatever_was_lost_on_the_way(steps in steps()) {
        let (mut stored, mut sis, mut wanted): (Option<Flag>, Option<ActualFlag>, _) = (None, None, None);
        let calm = Step::Sync { answer_lost: false, crash: false };
        for step in steps.into_iter().chain([calm, calm]) {
            let Step::Sync { answer_lost, crash } = step else {
                if let Step::Wish(ends) = step { wanted = ends }
                continue;
            };
            let seen = sis.as_ref().map_or(Seen::Nothing, Seen::There);
            let flag = run(stored.as_ref(), wish(wanted), seen, OnDrift::Report).flag.unwrap();
            // What is decided is stored before anything is sent.
            stored = Some(flag.clone());
            if flag.due && !crash {
                sis = Some(shown(&target(wanted)));
                if !answer_lost {
                    stored = Some(accepted(&flag, &target(wanted)));
                }
            }
        }
        prop_assert_eq!(sis.unwrap().ends_on, wanted.map(day));
        let stored = stored.unwrap();
        prop_assert_eq!(stored.state, FlagState::Pushed);
        prop_assert!(!stored.due);
    }
}
