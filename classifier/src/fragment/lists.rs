//! Lists within one cell, for sources whose rows hold lists: records parted by U+001E, fields by U+001F.
//!
//! Readers take slices of the cell, so that nothing is copied. Values are without control characters, since these are
//! taken out wherever text is read; a writer takes them out once more.

/// Between records.
const RECORD: char = '\u{1e}';
/// Between fields of a record.
const FIELD: char = '\u{1f}';

/// Writes a list.
#[derive(Debug, Default)]
pub struct Packer(String);

impl Packer {
    /// Appends a record.
    pub fn record(&mut self, fields: &[&str]) {
        if !self.0.is_empty() {
            self.0.push(RECORD);
        }
        for (number, field) in fields.iter().enumerate() {
            if number > 0 {
                self.0.push(FIELD);
            }
            self.0.extend(field.chars().filter(|letter| !letter.is_control()));
        }
    }

    /// The cell's text; `None` where there is no record, or a single blank one.
    pub fn text(&self) -> Option<&str> {
        (!self.0.is_empty()).then_some(self.0.as_str())
    }
}

/// Reads a list: each record as its fields, missing ones blank.
pub fn records<const N: usize>(text: Option<&str>) -> impl Iterator<Item = [&str; N]> {
    text.into_iter().flat_map(|text| text.split(RECORD)).map(|record| {
        let mut fields = record.split(FIELD);
        std::array::from_fn(|_| fields.next().unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_packed_is_read(lists in prop::collection::vec(("[^\\p{Cc}]{1,9}", "[^\\p{Cc}]{0,9}"), 0..5)) {
            let mut packer = Packer::default();
            for (one, other) in &lists {
                packer.record(&[one, other]);
            }
            let read: Vec<(String, String)> =
                records::<2>(packer.text()).map(|[one, other]| (one.to_owned(), other.to_owned())).collect();
            prop_assert_eq!(read, lists);
        }

        #[test]
        fn control_characters_cannot_forge_a_field(value in "\\PC{0,4}[\\x1e\\x1f]\\PC{0,4}") {
            let mut packer = Packer::default();
            packer.record(&["id", &value]);
            let read: Vec<[&str; 3]> = records::<3>(packer.text()).collect();
            prop_assert_eq!(read.len(), 1);
            prop_assert_eq!(read[0][2], "");
        }
    }
}
