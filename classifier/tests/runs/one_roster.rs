//! Second looks at OneRoster, which knows students by texts of its own.

use rollcall_proto::roster::Status;
use rollcall_store::{district::District, run::RunState};
use serde_json::{Value, json};

use crate::night::{Night, Sis};

/// As the SIS spells it; Rollcall keeps a UUID in small letters.
const ADA: &str = "0F6B1C2D-AB12-4CDE-8F00-0123456789AB";
const ADA_KEPT: &str = "x-0f6b1c2d-ab12-4cde-8f00-0123456789ab";

fn district() -> District {
    serde_json::from_value(json!({
        "id": "elm", "name": "Elm", "time_zone": "America/Chicago",
        "connection": [
            {"kind": "oneroster", "base_url": "https://example.org/ims/oneroster", "client_id": "c", "id_prefix": "x-"},
        ],
        "hold": {"max_removed_percent": 50.0},
    }))
    .unwrap()
}

fn student(id: &str) -> Value {
    let role = json!({"roleType": "primary", "role": "student", "org": {"sourcedId": "S1"}, "beginDate": "2025-08-13"});
    json!({"sourcedId": id, "givenName": "Ada", "familyName": "Li", "identifier": id, "grades": ["09"], "roles": [role]})
}

fn sis(students: &[&str]) -> Sis {
    let school = json!({"sourcedId": "S1", "name": "Oak", "type": "school", "identifier": "041"});
    Sis::from([
        ("orgs", vec![school]),
        ("demographics", students.iter().map(|id| json!({"sourcedId": id, "sex": "female"})).collect()),
        ("users", students.iter().map(|id| student(id)).collect()),
    ])
}

/// A server may tell `A` from `a`. Asked for the spelling that Rollcall keeps, it would deny a student who is there.
#[tokio::test]
async fn students_are_asked_for_as_their_sis_spells_them() {
    let mut night = Night::of(&district()).await;
    let (whole, torn) = (sis(&[ADA, "b-2", "b-3"]), sis(&["b-2", "b-3"]));
    let first = night.night(&whole).await;
    assert_eq!((first.state, first.counts.added), (RunState::Succeeded, 3), "{first:?}");
    assert_eq!(night.status_of(ADA_KEPT).await, Some(Status::Enrolled));

    night.second = Some(whole);
    let second = night.night(&torn).await;
    assert_eq!((second.counts.removed, second.counts.skipped, night.fetched_again), (0, 1, 1), "{second:?}");
    assert_eq!(night.status_of(ADA_KEPT).await, Some(Status::Enrolled), "the listing was torn, and she is there");

    night.second = None;
    let third = night.night(&torn).await;
    assert_eq!((third.state, third.counts.removed), (RunState::Succeeded, 1), "{third:?}");
    assert_eq!(night.status_of(ADA_KEPT).await, Some(Status::Inactive));
}

/// A row that has no key, of any listing.
const SPOILED: &str =
    r#"{"users": [{"sourcedId": null}], "demographics": [{"sourcedId": null}], "orgs": [{"sourcedId": null}]}"#;

/// The one page of a listing cannot be read: nothing of it is called empty, and what is stored stays.
#[tokio::test]
async fn a_page_that_cannot_be_read_is_not_called_empty() {
    for resource in ["users", "demographics", "orgs"] {
        let mut night = Night::of(&district()).await;
        let whole = sis(&[ADA, "b-2", "b-3"]);
        night.night(&whole).await;
        night.broken.insert(resource, SPOILED);
        let torn = night.night(&whole).await;
        let said: Vec<&str> = torn.findings.iter().map(|finding| finding.code.as_str()).collect();
        assert_eq!((torn.state, said), (RunState::Partial, vec!["page-undecoded"]), "{torn:?}");
        assert_eq!((torn.counts.changed, torn.counts.removed), (0, 0));
        let refused = night.accept(&torn, resource).await.unwrap_err();
        assert!(refused.to_string().contains("no listing was"), "{refused}");
        night.broken.clear();
        let again = night.night(&whole).await;
        assert_eq!((again.state, again.counts.unchanged), (RunState::Succeeded, 3), "{again:?}");
    }
}
