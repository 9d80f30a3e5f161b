use super::*;

#[test]
fn what_leaving_is() {
    use Status::{Enrolled, Graduated, Inactive, PreEnrolled};
    for (from, to, gone, change) in [
        (Enrolled, Inactive, true, Change::Removed),
        (PreEnrolled, Inactive, true, Change::Removed),
        (Enrolled, PreEnrolled, true, Change::Removed),
        (Enrolled, Graduated, true, Change::Changed),
        (PreEnrolled, Graduated, true, Change::Changed),
        (PreEnrolled, Enrolled, false, Change::Changed),
        (Enrolled, Enrolled, false, Change::Changed),
        (Inactive, Enrolled, false, Change::Changed),
        (Graduated, Inactive, false, Change::Changed),
        (Inactive, Graduated, false, Change::Changed),
    ] {
        assert_eq!((leaves(from, to), change_of(from, to)), (gone, change), "{from:?} to {to:?}");
    }
}

#[test]
fn an_incomplete_pull_moves_nobody_out_of_attendance() {
    for from in Status::ALL {
        for to in Status::ALL {
            let out = from != to && (!to.is_attending() || (from, to) == (Status::Enrolled, Status::PreEnrolled));
            assert_eq!(may_not(from, to), out, "{from:?} to {to:?}");
        }
    }
}

#[test]
fn new_students_are_looked_at_again_where_they_are_few() {
    let someone = || (0, StudentId("1".to_owned()));
    for (listed, doubtful, looked_at) in [(0, 100, 100), (10_099, 101, 0), (10_199, 101, 101), (30_000, 301, 0)] {
        let mut found = Differences { doubtful: (0..doubtful).map(|_| someone()).collect(), ..Differences::default() };
        found.counts.listed = listed;
        assert_eq!(found.with_doubtful().candidates.len(), looked_at, "{doubtful} of {listed}");
    }
}
