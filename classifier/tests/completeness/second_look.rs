//! The second look, which is judged apart.

use rollcall_classifier::completeness::{Confirmation, recheck_confirms};
use rollcall_proto::id::{ConnectionNo, ListingNo};
use rollcall_store::board::Progress;

use crate::{CODES, Night, STUDENTS, listing, night, page};

/// A night with a second look: two recheck listings behind the pull's own three.
fn with_recheck() -> Night {
    let mut night = night();
    night.board.recheck_from = Some(3);
    night.board.listings.extend([listing(STUDENTS, true, 1), listing(CODES, true, 1)]);
    night.pages.extend([page(3, 1, 2), page(4, 1, 0)]);
    night
}

fn confirms(night: &Night, listing: u32) -> Confirmation {
    recheck_confirms(ConnectionNo(0), &night.board, &night.pages, ListingNo(listing))
}

#[test]
fn the_second_look_is_judged_apart() {
    let mut night = with_recheck();
    night.page(3, 1).error = Some("syntax error at line 1, column 1".to_owned());
    night.board.listings[4].progress = Progress::Failed("status 500".to_owned());
    assert!(night.judged().complete, "the pull itself is sound");
    assert_eq!(night.judged().rows[STUDENTS], 24, "and counts no row twice");
    let said = "Student/Student: page 1 could not be read (syntax error at line 1, column 1)";
    assert_eq!(confirms(&night, 3), Confirmation::NotConfirmed(said.to_owned()));
    assert!(matches!(confirms(&night, 4), Confirmation::NotConfirmed(_)));
    assert!(matches!(confirms(&night, 5), Confirmation::NotConfirmed(_)));
}

#[test]
fn a_sound_second_look_confirms_even_when_empty() {
    let night = with_recheck();
    assert_eq!(confirms(&night, 3), Confirmation::Confirmed);
    assert_eq!(confirms(&night, 4), Confirmation::Confirmed);
}

#[test]
fn in_the_second_look_404_is_gone_and_nothing_else_is() {
    let mut night = with_recheck();
    night.page(3, 1).status = 404;
    night.page(3, 1).rows = 0;
    assert_eq!(confirms(&night, 3), Confirmation::Confirmed);
    for status in [400, 403, 410, 500, 503] {
        night.page(3, 1).status = status;
        assert!(matches!(confirms(&night, 3), Confirmation::NotConfirmed(_)), "{status}");
    }
    night.drop_page(3, 1);
    assert!(matches!(confirms(&night, 3), Confirmation::NotConfirmed(_)));
}
