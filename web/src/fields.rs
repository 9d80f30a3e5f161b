//! Form and query fields, each at most once.
//!
//! A field that comes twice is refused: two readers of the same request might each believe another one.

use std::collections::BTreeMap;

use url::form_urlencoded;

/// Most fields read; no request of ours has more than a dozen.
const MOST: usize = 64;

/// The fields of a form or query.
#[derive(Debug, Default)]
pub(crate) struct Fields(BTreeMap<String, String>);

/// Why fields are not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FieldsRefused {
    /// One comes twice.
    Duplicate,
    /// Too many.
    TooMany,
}

impl Fields {
    /// Reads `application/x-www-form-urlencoded` text.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, FieldsRefused> {
        let mut fields = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(text) {
            if fields.len() == MOST {
                return Err(FieldsRefused::TooMany);
            }
            if fields.insert(name.into_owned(), value.into_owned()).is_some() {
                return Err(FieldsRefused::Duplicate);
            }
        }
        Ok(Self(fields))
    }

    /// A field that is there and not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_comes_once() {
        let fields = Fields::parse(b"a=1&b=%20x+y&c=").unwrap();
        assert_eq!((fields.get("a"), fields.get("b"), fields.get("c")), (Some("1"), Some(" x y"), None));
        assert_eq!(Fields::parse(b"a=1&b=2&a=1").err(), Some(FieldsRefused::Duplicate));
        assert_eq!(Fields::parse(b"a=1&%61=1").err(), Some(FieldsRefused::Duplicate));
        let many = (0..65).map(|n| format!("f{n}=x")).collect::<Vec<_>>().join("&");
        assert_eq!(Fields::parse(many.as_bytes()).err(), Some(FieldsRefused::TooMany));
    }
}
