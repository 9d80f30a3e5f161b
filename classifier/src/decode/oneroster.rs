//! OneRoster 1.1 and 1.2: `{"users": [{…}, …]}`, or a single object; rows hold lists of roles, agents and ids.
//!
//! Both versions are written into the same columns: the one role of 1.1 and its orgs become roles without dates. Lenient
//! where servers have been seen to differ (wire page 1.3 to 1.7): booleans and numbers as text, an object where a list
//! belongs, a list that is missing, keys that nobody knows. A row without a `sourcedId` makes the page undecodable.

mod loose;
mod rows;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;

use self::rows::{Demographics, Org, Record, User};
use super::{DecodeClass, DecodeError, Decoded, value::first_look};
use crate::fragment::{Kind, PageWriter};

/// Decodes a page of rows of `kind`. An answer with one object (the second look's) is a page of one row.
pub fn decode(kind: Kind, body: &[u8]) -> Result<Decoded, DecodeError> {
    match kind {
        Kind::User => Reader::<User<'_>>::read(kind, &["users", "user"], body),
        Kind::Org => Reader::<Org<'_>>::read(kind, &["orgs", "org"], body),
        Kind::Demographics => Reader::<Demographics<'_>>::read(kind, &["demographics", "demographic"], body),
        _ => Err(DecodeError::whole(DecodeClass::UnknownResource)),
    }
}

/// Reads rows of one type into a page.
struct Reader<R> {
    page: PageWriter,
    envelope: &'static [&'static str],
    found: bool,
    keyless: bool,
    row: std::marker::PhantomData<R>,
}

impl<'de, R: Record<'de>> Reader<R> {
    fn read(kind: Kind, envelope: &'static [&'static str], body: &'de [u8]) -> Result<Decoded, DecodeError> {
        let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
        first_look(body)?;
        let page = PageWriter::new(kind);
        let mut reader = Self { page, envelope, found: false, keyless: false, row: std::marker::PhantomData };
        let mut json = serde_json::Deserializer::from_slice(body);
        let read = Root { reader: &mut reader }.deserialize(&mut json).and_then(|()| json.end());
        read.map_err(|error| reader.explain(&error))?;
        if !reader.found {
            return Err(DecodeError::whole(DecodeClass::Shape));
        }
        let (tally, digest) = (reader.page.tally(), reader.page.digest());
        let fragments = reader.page.finish().map_err(|_| DecodeError::whole(DecodeClass::Compression))?;
        Ok(Decoded { fragments, tally, digest, claimed_total: None })
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

    fn take<E: serde::de::Error>(&mut self, row: &R) -> Result<(), E> {
        if row.write(&mut self.page) {
            self.page.end_row();
            return Ok(());
        }
        self.keyless = true;
        Err(E::custom("a row without a key"))
    }
}

/// The answer as a whole.
struct Root<'r, R> {
    reader: &'r mut Reader<R>,
}

impl<'de, R: Record<'de>> DeserializeSeed<'de> for Root<'_, R> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, R: Record<'de>> Visitor<'de> for Root<'_, R> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object that holds rows")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            if !self.reader.envelope.iter().any(|name| name.eq_ignore_ascii_case(&key)) {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            if self.reader.found {
                return Err(A::Error::custom("a second listing"));
            }
            map.next_value_seed(Rows { reader: &mut *self.reader })?;
            self.reader.found = true;
        }
        Ok(())
    }
}

/// The rows, or one.
struct Rows<'r, R> {
    reader: &'r mut Reader<R>,
}

impl<'de, R: Record<'de>> DeserializeSeed<'de> for Rows<'_, R> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, R: Record<'de>> Visitor<'de> for Rows<'_, R> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("rows")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(row) = seq.next_element::<R>()? {
            self.reader.take(&row)?;
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        let row = R::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
        self.reader.take(&row)
    }
}

#[cfg(test)]
mod tests;
