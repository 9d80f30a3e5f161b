//! Errors in every shape seen on real servers.

use axum::http::StatusCode;
use serde_json::json;

use super::quirks::{ErrorShape, OneRosterQuirks};
use crate::answer::Answer;

/// What went wrong, as the standard's minor codes have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Minor {
    UnknownObject,
    InvalidFilterField,
    InvalidSelectionField,
    InvalidData,
    Forbidden,
}

impl Minor {
    const fn code(self) -> &'static str {
        match self {
            Self::UnknownObject => "unknownobject",
            Self::InvalidFilterField => "invalid_filter_field",
            Self::InvalidSelectionField => "invalid_selection_field",
            Self::InvalidData => "invaliddata",
            Self::Forbidden => "forbidden",
        }
    }
}

pub(super) fn answer(quirks: &OneRosterQuirks, status: StatusCode, minor: Minor) -> Answer {
    let code = minor.code();
    let bare = json!({
        "imsx_codeMajor": "failure",
        "imsx_severity": "error",
        "imsx_description": "the request cannot be served",
        "imsx_CodeMinor": {"imsx_codeMinorField": [
            {"imsx_codeMinorFieldName": "TargetEndSystem", "imsx_codeMinorFieldValue": code},
        ]},
    });
    let body = match quirks.errors {
        ErrorShape::Bare => bare,
        ErrorShape::Wrapped => json!({ "imsx_StatusInfo": bare }),
        ErrorShape::Flat => json!({"imsx_codeMajor": "failure", "imsx_severity": "error", "imsx_codeMinor": code}),
        ErrorShape::Set => json!({ "statusInfoSet": [bare] }),
        ErrorShape::Errors => json!({ "errors": [bare] }),
        ErrorShape::Message => json!({ "error": code }),
        ErrorShape::Html => return Answer::text(status, "text/html", "<html><body>Something went wrong</body></html>"),
    };
    Answer::with_status(status, &body)
}
