//! Halves of characters: `\ud83d` without the escape that completes it, of which no text can be made.
//!
//! A SIS writes one where a column cuts a name in the middle of a character. The parser refuses the whole page for it; so a page that
//! it refused is looked through for them, and each is put down as the control character that cells are cleaned of anyway.

use self::Half::{High, Low};

/// The escape that stands for a half, as long as any other.
const NUL: &[u8] = b"\\u0000";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Half {
    High,
    Low,
}

/// The body with a control character in place of each half of a character; `None` where it holds no half.
pub(super) fn replaced(body: &[u8]) -> Option<Vec<u8>> {
    let mut replaced: Option<Vec<u8>> = None;
    let mut at = 0;
    while let Some(next) = body.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == b'\\')) {
        at += next;
        at += match (half(body, at), half(body, at + NUL.len())) {
            (None, _) => 2,
            (Some(High), Some(Low)) => 2 * NUL.len(),
            (Some(_), _) => {
                let body = replaced.get_or_insert_with(|| body.to_vec());
                body[at..at + NUL.len()].copy_from_slice(NUL);
                NUL.len()
            }
        };
    }
    replaced
}

/// What the escape at `at` is half of a character by, if it is.
fn half(body: &[u8], at: usize) -> Option<Half> {
    let digits = body.get(at..)?.strip_prefix(b"\\u")?.get(..4)?;
    match u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()? {
        0xD800..=0xDBFF => Some(High),
        0xDC00..=0xDFFF => Some(Low),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use rollcall_store::district::SisKind;

    use super::*;
    use crate::{
        decode::{DecodeClass, decode},
        fragment::{Page, column},
    };

    #[test]
    fn a_half_is_replaced_and_nothing_else() {
        let cases: &[(&str, Option<&str>)] = &[
            (r"Anders\ud83d", Some(r"Anders\u0000")),
            (r"\uD83D\uD83Dx\udfff", Some(r"\u0000\u0000x\u0000")),
            (r"\ude00\ud83d", Some(r"\u0000\u0000")),
            (r"\ud83d\ud83d\ude00", Some(r"\u0000\ud83d\ude00")),
            (r"\ud83d\ude00 é \u00e9 \n", None),
            (r"a backslash: \\ud83d", None),
            (r"cut: \ud8", None),
            ("cut: \\", None),
        ];
        for (body, expected) in cases {
            let found = replaced(body.as_bytes()).map(|body| String::from_utf8(body).unwrap());
            assert_eq!(found.as_deref(), *expected, "{body}");
        }
    }

    /// One student's name, and not a page of five hundred.
    #[test]
    fn a_page_with_half_a_character_is_read() {
        let body = br#"{"Paging": {}, "Objects": [
            {"NameID": 1, "LastName": "Anders\ud83d"}, {"NameID": 2, "LastName": "\ud83d\ude00"}, {"NameID": 3, "LastName": "Ng"}]}"#;
        let decoded = decode(SisKind::SkywardQmlativ, "Demographics/Name", &[], body).unwrap();
        assert_eq!((decoded.tally.rows, decoded.tally.cleaned), (3, 1));
        let page = Page::open(&decoded.fragments).unwrap();
        let rows: Vec<_> = page.offsets().map(|at| page.row(at)).collect();
        let names: Vec<_> = rows.iter().map(|row| row.text(column::Name::LastName)).collect();
        assert_eq!(names, [Some("Anders"), Some("\u{1F600}"), Some("Ng")]);
        assert_eq!(rows.iter().map(|row| row.is_cleaned()).collect::<Vec<_>>(), [true, false, false]);
        let cut = &body[..body.len() - 4];
        let error = decode(SisKind::SkywardQmlativ, "Demographics/Name", &[], cut).unwrap_err();
        assert_eq!(error.class, DecodeClass::Truncated, "what else is wrong is said all the same");
    }

    proptest! {
        #[test]
        fn text_that_can_be_read_is_left_alone(text in ".{0,60}") {
            let escapes: Vec<String> = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
            prop_assert_eq!(replaced(escapes.concat().as_bytes()), None);
        }

        #[test]
        fn no_half_is_left(body in r"(\\u[dD][89a-fA-F][0-9]{2}|\\\\|[a-z]){0,12}") {
            let body = replaced(body.as_bytes()).unwrap_or_else(|| body.into_bytes());
            let quoted = [b"\"", body.as_slice(), b"\""].concat();
            prop_assert!(serde_json::from_slice::<String>(&quoted).is_ok());
        }
    }
}
