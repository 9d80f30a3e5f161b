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
