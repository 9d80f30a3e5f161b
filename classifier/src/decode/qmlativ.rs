//! Skyward Qmlativ: `{"Paging": {…}, "Objects": [{…}, …]}`, rows flat.
//!
//! Rows are read straight into fragments: no value of a row outlives it, and only what serde cannot borrow (text with
//! escapes) is copied. Columns of an object come in the same order on every row, so a key is first compared with what
//! stood at its position on the row before.

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;

use super::{
    DecodeClass, DecodeError, Decoded,
    value::{Raw, Read, first_look, read},
};
use crate::fragment::{Cell, Column as _, Kind, PageWriter, column};

/// Column number of a key that is not kept.
const UNKNOWN: u8 = u8::MAX;

/// Decodes a page of rows of `kind`; `named` is the field that is kept as [`NamedDate`](column::EntryWithdrawal::NamedDate).
pub fn decode(kind: Kind, named: Option<&str>, body: &[u8]) -> Result<Decoded, DecodeError> {
    let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
    first_look(body)?;
    let mut reader = RowReader::new(kind, named);
    let mut json = serde_json::Deserializer::from_slice(body);
    let claimed_total = RootSeed { reader: &mut reader }
        .deserialize(&mut json)
        .and_then(|total| json.end().map(|()| total))
        .map_err(|error| reader.explain(&error))?;
    if !reader.found_objects {
        return Err(DecodeError::whole(DecodeClass::Shape));
    }
    let (tally, digest) = (reader.page.tally(), reader.page.digest());
    let fragments = reader.page.finish().map_err(|_| DecodeError::whole(DecodeClass::Compression))?;
    Ok(Decoded { fragments, tally, digest, claimed_total })
}

/// Reads rows of one kind into a page.
struct RowReader<'n> {
    kind: Kind,
    named: Option<&'n str>,
    page: PageWriter,
    /// Column number by position in the row before.
    order: Vec<u8>,
    found_objects: bool,
    keyless: bool,
}

impl<'n> RowReader<'n> {
    fn new(kind: Kind, named: Option<&'n str>) -> Self {
        Self { kind, named, page: PageWriter::new(kind), order: Vec::new(), found_objects: false, keyless: false }
    }

    fn explain(&self, error: &serde_json::Error) -> DecodeError {
        let class = match error.classify() {
            Category::Eof => DecodeClass::Truncated,
            _ if self.keyless => DecodeClass::RowWithoutKey,
            Category::Data => DecodeClass::Shape,
            Category::Syntax | Category::Io => DecodeClass::Syntax,
        };
        DecodeError { class, line: error.line(), column: error.column() }
    }

    /// The column of the key at `position` of a row.
    fn column(&mut self, position: usize, key: &str) -> u8 {
        let columns = self.kind.columns();
        if let Some(&column) = self.order.get(position)
            && columns.get(usize::from(column)).is_some_and(|spec| spec.name == key)
        {
            return column;
        }
        let is_named = self.named.is_some_and(|named| named.eq_ignore_ascii_case(key));
        let found = columns.iter().position(|spec| spec.name.eq_ignore_ascii_case(key));
        let found = found.or_else(|| is_named.then(|| column::EntryWithdrawal::NamedDate.place()));
        let column = found.map_or(UNKNOWN, |found| found as u8);
        if position >= self.order.len() {
            self.order.resize(position + 1, UNKNOWN);
        }
        self.order[position] = column;
        column
    }

    /// Writes a row; false when nothing tells whose it is.
    fn write(&mut self, values: &[Raw<'_>]) -> bool {
        let mut attributed = true;
        for (place, (raw, spec)) in values.iter().zip(self.kind.columns()).enumerate() {
            if !matches!(raw, Raw::Absent) {
                self.page.saw(place);
            }
            let key = place == 0 || (place == self.kind.lookup() && self.kind.must_be_attributed());
            attributed &= self.write_cell(&read(raw, spec.form)) || !key;
        }
        self.page.end_row();
        attributed
    }

    /// Writes a cell; false when it holds no usable value.
    fn write_cell(&mut self, value: &Read<'_>) -> bool {
        let cell = match value {
            Read::Cell(cell) => *cell,
            Read::Made(text) => Cell::Text(text),
            Read::Cleaned(text) => {
                self.page.cleaned();
                Cell::Text(text)
            }
        };
        self.page.cell(cell);
        !matches!(cell, Cell::Null | Cell::Unreadable)
    }
}

/// The answer as a whole; its value is the claimed total.
struct RootSeed<'r, 'n> {
    reader: &'r mut RowReader<'n>,
}

impl<'de> DeserializeSeed<'de> for RootSeed<'_, '_> {
    type Value = Option<i64>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<i64>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for RootSeed<'_, '_> {
    type Value = Option<i64>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object with Objects")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Option<i64>, A::Error> {
        let mut total = None;
        while let Some(key) = map.next_key::<RootKey>()? {
            match key {
                RootKey::Objects if self.reader.found_objects => {
                    return Err(A::Error::custom("a second listing"));
                }
                RootKey::Objects => {
                    map.next_value_seed(RowsSeed { reader: &mut *self.reader })?;
                    self.reader.found_objects = true;
                }
                RootKey::Paging => total = map.next_value::<Paging>()?.0,
                RootKey::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(total)
    }
}

#[derive(serde::Deserialize)]
#[serde(field_identifier)]
enum RootKey {
    #[serde(alias = "objects")]
    Objects,
    #[serde(alias = "paging")]
    Paging,
    #[serde(other)]
    Other,
}

/// The total of `Paging`, where one is given. Its name is not public: any whole number under a name with "total" in it,
/// pages excepted, is taken for it; one below zero says nothing, as to the fetcher.
struct Paging(Option<i64>);

impl<'de> serde::Deserialize<'de> for Paging {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PagingVisitor)
    }
}

struct PagingVisitor;

impl<'de> Visitor<'de> for PagingVisitor {
    type Value = Paging;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object or null")
    }

    fn visit_unit<E>(self) -> Result<Paging, E> {
        Ok(Paging(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Paging, A::Error> {
        let mut total = None;
        while let Some((key, value)) = map.next_entry::<String, Raw<'de>>()? {
            let key = key.to_ascii_lowercase();
            if let Raw::Number(number @ 0..) = value
                && key.contains("total")
                && !key.contains("page")
            {
                total = Some(number);
            }
        }
        Ok(Paging(total))
    }
}

struct RowsSeed<'r, 'n> {
    reader: &'r mut RowReader<'n>,
}

impl<'de> DeserializeSeed<'de> for RowsSeed<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for RowsSeed<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array of rows")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let mut values = vec![Raw::Absent; self.reader.kind.columns().len()];
        while seq.next_element_seed(RowSeed { reader: &mut *self.reader, values: &mut values })?.is_some() {
            if !self.reader.write(&values) {
                self.reader.keyless = true;
                return Err(A::Error::custom("a row without a key"));
            }
        }
        Ok(())
    }
}

struct RowSeed<'r, 'n, 'de> {
    reader: &'r mut RowReader<'n>,
    values: &'r mut [Raw<'de>],
}

impl<'de> DeserializeSeed<'de> for RowSeed<'_, '_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.values.fill(Raw::Absent);
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for RowSeed<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a row")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut position = 0;
        while let Some(column) = map.next_key_seed(KeySeed { reader: &mut *self.reader, position })? {
            match self.values.get_mut(usize::from(column)) {
                Some(value) => *value = map.next_value()?,
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            position += 1;
        }
        Ok(())
    }
}

/// A row's key, as the number of its column.
struct KeySeed<'r, 'n> {
    reader: &'r mut RowReader<'n>,
    position: usize,
}

impl<'de> DeserializeSeed<'de> for KeySeed<'_, '_> {
    type Value = u8;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<u8, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed<'_, '_> {
    type Value = u8;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a column's name")
    }

    fn visit_str<E>(self, key: &str) -> Result<u8, E> {
        Ok(self.reader.column(self.position, key))
    }
}

#[cfg(test)]
mod tests;
