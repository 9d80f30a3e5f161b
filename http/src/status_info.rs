//! The error code in an answer's body, in every shape that OneRoster servers have been seen to send (wire page 1.5).
//!
//! For messages only: nothing is decided by a body. Only the standard's own codes are repeated, since a server may put
//! anything there. Pure.

use serde_json::Value;

/// Minor codes of 1.1 and 1.2.
const CODES: [&str; 16] = [
    "invalid_filter_field",
    "invalid_selection_field",
    "invalid_sort_field",
    "invalid_blank_selection_field",
    "invaliddata",
    "invalid_data",
    "invalid data",
    "unauthorisedrequest",
    "unauthorized",
    "forbidden",
    "server_busy",
    "unknownobject",
    "unknown object",
    "internal_server_error",
    "deletefailure",
    "linkfailure",
];

/// Largest body that is looked into.
const LARGEST: usize = 64 << 10;

/// The code, where the body holds one that the standard knows.
pub(crate) fn code(body: &[u8]) -> Option<&'static str> {
    if body.len() > LARGEST {
        return None;
    }
    let value: Value = serde_json::from_slice(body).ok()?;
    let info = inner(&value);
    let listed = info.pointer("/imsx_CodeMinor/imsx_codeMinorField/0/imsx_codeMinorFieldValue");
    let texts = [listed, info.get("imsx_codeMinor"), info.get("error"), info.get("code")];
    texts.into_iter().flatten().find_map(|text| known(text.as_str()?))
}

/// The object that tells, out of what it may be wrapped in.
fn inner(value: &Value) -> &Value {
    let wrapped = value.get("imsx_StatusInfo").or_else(|| value.get("statusInfo"));
    let listed = value.get("statusInfoSet").or_else(|| value.get("errors")).and_then(|list| list.get(0));
    wrapped.or(listed).unwrap_or(value)
}

fn known(text: &str) -> Option<&'static str> {
    CODES.into_iter().find(|code| code.eq_ignore_ascii_case(text.trim()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_code_is_found_in_every_shape() {
        let bare = r#"{"imsx_codeMajor":"failure","imsx_severity":"error","imsx_CodeMinor":{"imsx_codeMinorField":
            [{"imsx_codeMinorFieldName":"TargetEndSystem","imsx_codeMinorFieldValue":"unknownobject"}]}}"#;
        let cases = [
            (bare.to_owned(), Some("unknownobject")),
            (format!(r#"{{"imsx_StatusInfo":{bare}}}"#), Some("unknownobject")),
            (format!(r#"{{"statusInfoSet":[{bare}]}}"#), Some("unknownobject")),
            (format!(r#"{{"errors":[{bare}]}}"#), Some("unknownobject")),
            (r#"{"imsx_codeMinor":"invalid_data"}"#.to_owned(), Some("invalid_data")),
            (r#"{"error":"Forbidden"}"#.to_owned(), Some("forbidden")),
            (r#"{"error":"Ada Stone is unknown"}"#.to_owned(), None),
            (r#"{"errors":[]}"#.to_owned(), None),
            ("[]".to_owned(), None),
            ("<html>No Campus Application selected</html>".to_owned(), None),
            (String::new(), None),
        ];
        for (body, expected) in cases {
            assert_eq!(code(body.as_bytes()), expected, "{body}");
        }
    }

    proptest! {
        #[test]
        fn any_body_is_looked_into_without_harm(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = code(&body);
        }
    }
}
