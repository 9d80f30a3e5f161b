use super::*;

fn flag(name: &str, outcome: Option<&str>) -> CutoverFlag {
    CutoverFlag {
        flag: name.to_owned(),
        sis_id: "G".to_owned(),
        program_sis_id: None,
        student: None,
        goes_on: false,
        done_at: None,
        outcome: outcome.map(str::to_owned),
        failing: None,
    }
}

#[test]
fn those_that_wait_take_turns_behind_the_others() {
    let waits = ["c", "d", "e"];
    let mut first = BTreeSet::new();
    for second in 0..3 {
        let mut open = vec![
            flag("f", Some(SIS_ERROR)),
            flag("c", Some("waits-for-new")),
            flag("a", None),
            flag("d", Some(UNCLEAR)),
            flag("e", Some("422")),
            flag("b", None),
        ];
        in_turn(&mut open, DateTime::UNIX_EPOCH + chrono::TimeDelta::seconds(second));
        let order: Vec<_> = open.iter().map(|flag| flag.flag.as_str()).collect();
        assert_eq!(order[..3], ["a", "b", "f"], "{order:?}");
        assert_eq!(order[3..].iter().copied().collect::<BTreeSet<_>>(), waits.into());
        first.insert(order[3].to_owned());
    }
    assert_eq!(first, waits.map(str::to_owned).into(), "each has its turn");
    in_turn(&mut [], DateTime::UNIX_EPOCH);
}
