//! Fragments: the rows of a page, decoded and checked, in a compact binary form that is read in place.
//!
//! A page is a fixed head, then its rows, each a length and its cells in the order of the kind's columns; all of it zstd
//! compressed. No row is copied out: the planner keeps the bytes and reads a cell when it needs it. A row that an older
//! program wrote may end before its kind's last columns, which are null then. Behind its last column a row of which a text
//! was cleaned has one null more, by which it is found again.
//!
//! Neighbours: [`crate::decode`] writes, [`crate::load`] and [`crate::assemble`] read.
//!
//! Invariants: every row has a readable primary key; bytes that are no page are an error, never a panic.

pub mod cell;
pub mod kind;
pub mod lists;

pub use cell::Cell;
pub use kind::{Column, Form, KINDS, Kind, MOST_COLUMNS, column};

use chrono::NaiveDate;
use rollcall_proto::packed;

/// Version of the form. Raises when a kind's columns move; an older page is then decoded anew from its raw body.
const VERSION: u8 = 1;

/// No page is larger than this, decompressed.
const LARGEST: usize = 1 << 30;

/// Bit of [`Tally::seen`] that no column has: some row does not tell when it was changed, of a source that is asked by it.
pub const UNDATED: usize = 63;

/// Column of a kind whose ids are text.
const SOURCED_ID: &str = "sourcedId";

/// Bytes before the first row.
const HEAD: usize = 22;

/// Why bytes are no page of fragments.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FragmentError {
    /// Not zstd, or cut short.
    #[error("the page's fragments cannot be decompressed")]
    Compressed,
    /// Another version of this program wrote it.
    #[error("the page's fragments have version {0}, this program reads version {VERSION}; replay the run from collect")]
    Version(u8),
    /// The bytes are not of the form.
    #[error("the page's fragments are damaged at byte {0}")]
    Damaged(usize),
}

/// Builds a page.
#[derive(Debug)]
pub struct PageWriter {
    kind: Kind,
    bytes: Vec<u8>,
    row_start: usize,
    row_cleaned: bool,
    tally: Tally,
}

/// What a page tells beside its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Rows.
    pub rows: u32,
    /// Bit n: column n was there on some row, null or not. See also [`UNDATED`].
    pub seen: u64,
    /// Texts from which control characters were taken.
    pub cleaned: u32,
    /// Values that are there and cannot be read.
    pub unreadable: u32,
}

impl PageWriter {
    /// An empty page.
    pub fn new(kind: Kind) -> Self {
        let mut bytes = Vec::with_capacity(16 << 10);
        bytes.resize(HEAD, 0);
        Self { kind, bytes, row_start: HEAD, row_cleaned: false, tally: Tally::default() }
    }

    /// Appends a cell to the row at work.
    pub fn cell(&mut self, cell: Cell<'_>) {
        if cell == Cell::Unreadable {
            self.tally.unreadable += 1;
        }
        cell::write(&mut self.bytes, cell);
    }

    /// Notes that a column was there.
    pub const fn saw(&mut self, column: usize) {
        self.tally.seen |= 1 << column;
    }

    /// Notes that a text of the row at work had to be cleaned.
    pub const fn cleaned(&mut self) {
        self.tally.cleaned += 1;
        self.row_cleaned = true;
    }

    /// Ends the row at work.
    pub fn end_row(&mut self) {
        if std::mem::take(&mut self.row_cleaned) {
            cell::write(&mut self.bytes, Cell::Null);
        }
        let length = self.bytes.len() - self.row_start;
        let end = self.bytes.len();
        cell::write_varint(&mut self.bytes, length as u64);
        let prefix = self.bytes.len() - end;
        self.bytes[self.row_start..].rotate_right(prefix);
        self.row_start = self.bytes.len();
        self.tally.rows += 1;
    }

    /// Rows and findings so far.
    pub const fn tally(&self) -> Tally {
        self.tally
    }

    /// Digest of the rows: a page served twice has an equal one, though the rest of the answer differs.
    pub fn digest(&self) -> [u8; 16] {
        let rows = self.bytes.get(HEAD..self.row_start).unwrap_or_default();
        crate::fingerprint::digest(rows).0
    }

    /// The page, compressed.
    pub fn finish(mut self) -> std::io::Result<Vec<u8>> {
        self.bytes.truncate(self.row_start);
        let head = &mut self.bytes[..HEAD];
        head[0] = VERSION;
        head[1] = self.kind as u8;
        head[2..10].copy_from_slice(&self.tally.seen.to_le_bytes());
        head[10..14].copy_from_slice(&self.tally.rows.to_le_bytes());
        head[14..18].copy_from_slice(&self.tally.cleaned.to_le_bytes());
        head[18..22].copy_from_slice(&self.tally.unreadable.to_le_bytes());
        packed::compress(&self.bytes)
    }
}

/// A page, ready to be read in place.
#[derive(Debug, Clone)]
pub struct Page {
    /// What its rows are.
    pub kind: Kind,
    /// Rows and findings.
    pub tally: Tally,
    bytes: Box<[u8]>,
}

impl Page {
    /// Opens what [`PageWriter::finish`] made, and checks that its rows are where they should be.
    pub fn open(compressed: &[u8]) -> Result<Self, FragmentError> {
        let bytes = packed::decompress(compressed, LARGEST).map_err(|_| FragmentError::Compressed)?.into_boxed_slice();
        let head = bytes.get(..HEAD).ok_or(FragmentError::Damaged(0))?;
        if head[0] != VERSION {
            return Err(FragmentError::Version(head[0]));
        }
        let kind = Kind::from_number(head[1]).ok_or(FragmentError::Damaged(1))?;
        let tally = Tally {
            seen: u64::from_le_bytes(array(head, 2)?),
            rows: u32::from_le_bytes(array(head, 10)?),
            cleaned: u32::from_le_bytes(array(head, 14)?),
            unreadable: u32::from_le_bytes(array(head, 18)?),
        };
        let page = Self { kind, tally, bytes };
        page.check()?;
        Ok(page)
    }

    fn check(&self) -> Result<(), FragmentError> {
        let mut end = HEAD;
        let mut rows = 0;
        while end < self.bytes.len() {
            let (length, start) = cell::read_varint(&self.bytes, end).ok_or(FragmentError::Damaged(end))?;
            let next = usize::try_from(length).ok().and_then(|length| start.checked_add(length));
            end = next.filter(|next| *next <= self.bytes.len()).ok_or(FragmentError::Damaged(end))?;
            rows += 1;
        }
        if rows == self.tally.rows { Ok(()) } else { Err(FragmentError::Damaged(end)) }
    }

    /// Where each row begins, with its length.
    pub fn offsets(&self) -> impl Iterator<Item = u32> + '_ {
        let mut at = HEAD;
        std::iter::from_fn(move || {
            let begins = at;
            let (length, start) = cell::read_varint(&self.bytes, begins)?;
            at = start + length as usize;
            Some(begins as u32)
        })
    }

    /// The row that begins at `offset`.
    pub fn row(&self, offset: u32) -> Row<'_> {
        let row = cell::read_varint(&self.bytes, offset as usize)
            .and_then(|(length, start)| self.bytes.get(start..)?.get(..usize::try_from(length).ok()?));
        Row { kind: self.kind, bytes: row.unwrap_or_default() }
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], FragmentError> {
    bytes.get(at..at + N).and_then(|slice| slice.try_into().ok()).ok_or(FragmentError::Damaged(at))
}

/// A row in place.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    kind: Kind,
    bytes: &'a [u8],
}

impl<'a> Row<'a> {
    /// The cell at a place; null where the row was written before there was such a column.
    pub fn cell_at(self, place: usize) -> Cell<'a> {
        let mut at = 0;
        for _ in 0..place {
            match cell::skip(self.bytes, at) {
                Some(next) => at = next,
                None if at == self.bytes.len() => return Cell::Null,
                None => return Cell::Unreadable,
            }
        }
        if at == self.bytes.len() {
            return Cell::Null;
        }
        cell::read(self.bytes, at).map_or(Cell::Unreadable, |(cell, _)| cell)
    }

    /// A column's value.
    pub fn cell<C: Column>(self, column: C) -> Cell<'a> {
        debug_assert_eq!(self.kind, C::KIND, "a column of another kind");
        self.cell_at(column.place())
    }

    /// The primary key.
    pub fn key(self) -> i64 {
        match self.cell_at(0) {
            Cell::Number(key) => key,
            _ => 0,
        }
    }

    /// All cells at once. Cheaper than one by one where more than a few of them are wanted.
    pub fn read(self) -> Cells<'a> {
        let (mut cells, mut at) = ([Cell::Unreadable; MOST_COLUMNS], Some(0));
        for cell in &mut cells[..self.kind.columns().len()] {
            let Some(here) = at else { break };
            if here == self.bytes.len() {
                *cell = Cell::Null;
                continue;
            }
            match cell::read(self.bytes, here) {
                Some((value, next)) => (*cell, at) = (value, Some(next)),
                None => at = cell::skip(self.bytes, here),
            }
        }
        Cells { kind: self.kind, cells }
    }

    /// Whether control characters were taken from a text of it.
    pub fn is_cleaned(self) -> bool {
        let columns = self.kind.columns().len();
        let end = (0..columns).try_fold(0, |at, _| cell::skip(self.bytes, at));
        end.is_some_and(|end| end < self.bytes.len())
    }

    /// The first column that holds something of no use.
    pub fn unreadable(self) -> Option<&'static str> {
        let mut places = 0..self.kind.columns().len();
        let place = places.find(|place| self.cell_at(*place) == Cell::Unreadable)?;
        Some(self.kind.columns()[place].name)
    }

    /// The row as its source names it: `NameID 12`. An id, and no fact.
    pub fn name(self) -> String {
        let columns = self.kind.columns();
        match self.text_at(1).filter(|_| columns[0].form == Form::Number && columns[1].name == SOURCED_ID) {
            Some(id) => format!("{SOURCED_ID} {id}"),
            None => format!("{} {}", columns[0].name, self.key()),
        }
    }

    /// The text at a place, where there is one.
    pub fn text_at(self, place: usize) -> Option<&'a str> {
        self.cell_at(place).text()
    }

    /// A column's text, where it has one.
    pub fn text<C: Column>(self, column: C) -> Option<&'a str> {
        self.cell(column).text()
    }

    /// A column's number, where it has one.
    pub fn number<C: Column>(self, column: C) -> Option<i64> {
        self.cell(column).number()
    }

    /// A column's flag, where it has one.
    pub fn flag<C: Column>(self, column: C) -> Option<bool> {
        self.cell(column).flag()
    }

    /// A column's date, where it has one that can be read.
    pub fn date<C: Column>(self, column: C) -> Option<NaiveDate> {
        self.cell(column).date()
    }

    /// Whether two rows of a kind hold the same values.
    pub fn same(self, other: Self) -> bool {
        (0..self.kind.columns().len()).all(|place| self.cell_at(place) == other.cell_at(place))
    }
}

/// A row's cells, read all at once.
#[derive(Debug, Clone, Copy)]
pub struct Cells<'a> {
    kind: Kind,
    cells: [Cell<'a>; MOST_COLUMNS],
}

impl<'a> Cells<'a> {
    /// A column's value.
    pub fn cell<C: Column>(&self, column: C) -> Cell<'a> {
        debug_assert_eq!(self.kind, C::KIND, "a column of another kind");
        self.cells[column.place()]
    }

    /// The primary key.
    pub fn key(&self) -> i64 {
        self.cells[0].number().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn page(rows: &[(i64, Option<&str>)]) -> Vec<u8> {
        let mut writer = PageWriter::new(Kind::State);
        for (key, code) in rows {
            writer.cell(Cell::Number(*key));
            writer.saw(0);
            writer.cell(code.map_or(Cell::Null, Cell::Text));
            writer.end_row();
        }
        writer.finish().unwrap()
    }

    #[test]
    fn rows_are_read_in_place() {
        let long = "x".repeat(300);
        let page = Page::open(&page(&[(1, Some("TX")), (-7, None), (i64::MAX, Some(&long))])).unwrap();
        assert_eq!(page.kind, Kind::State);
        assert_eq!(page.tally, Tally { rows: 3, seen: 1, cleaned: 0, unreadable: 0 });
        let rows: Vec<_> = page.offsets().map(|at| page.row(at)).collect();
        assert_eq!(rows.iter().map(|row| row.key()).collect::<Vec<_>>(), [1, -7, i64::MAX]);
        let codes: Vec<_> = rows.iter().map(|row| row.text(column::State::Code)).collect();
        assert_eq!(codes, [Some("TX"), None, Some(long.as_str())]);
        assert!(rows[0].same(rows[0]) && !rows[0].same(rows[1]));
    }

    /// Golden bytes: a page that an earlier build of this version wrote can be read.
    #[test]
    fn the_form_of_a_page_is_settled() {
        let plain = [
            &[1_u8, 9][..],
            &3_u64.to_le_bytes(),
            &2_u32.to_le_bytes(),
            &0_u32.to_le_bytes(),
            &1_u32.to_le_bytes(),
            &[5, 4, 88, 9, b'T', b'X'],
            &[3, 4, 2, 1],
        ]
        .concat();
        let page = Page::open(&zstd::bulk::compress(&plain, 1).unwrap()).unwrap();
        let rows: Vec<_> = page.offsets().map(|at| page.row(at)).collect();
        assert_eq!(rows.len(), 2);
        assert_eq!((rows[0].key(), rows[0].text(column::State::Code)), (44, Some("TX")));
        assert_eq!((rows[1].key(), rows[1].cell(column::State::Code)), (1, Cell::Unreadable));
    }

    #[test]
    fn a_row_of_which_a_text_was_cleaned_is_found_again() {
        let mut writer = PageWriter::new(Kind::State);
        for (key, cleaned) in [(1, false), (2, true), (3, false)] {
            writer.cell(Cell::Number(key));
            writer.cell(Cell::Text("TX"));
            if cleaned {
                writer.cleaned();
            }
            writer.end_row();
        }
        let page = Page::open(&writer.finish().unwrap()).unwrap();
        let rows: Vec<_> = page.offsets().map(|at| page.row(at)).collect();
        assert_eq!(rows.iter().map(|row| row.is_cleaned()).collect::<Vec<_>>(), [false, true, false]);
        assert!(rows.iter().all(|row| row.text(column::State::Code) == Some("TX")));
        assert_eq!((rows[1].name().as_str(), rows[1].unreadable()), ("StateID 2", None));
    }

    /// A kind's columns may have become more since a page was written.
    #[test]
    fn a_row_of_before_has_nothing_in_later_columns() {
        let mut writer = PageWriter::new(Kind::State);
        for key in [1, 2] {
            writer.cell(Cell::Number(key));
            writer.end_row();
        }
        let page = Page::open(&writer.finish().unwrap()).unwrap();
        for (at, key) in page.offsets().zip([1, 2]) {
            let row = page.row(at);
            assert_eq!(
                (row.key(), row.cell(column::State::Code)),
                (key, Cell::Null),
                "not what the next row begins with"
            );
            assert_eq!(row.read().cell(column::State::Code), Cell::Null);
        }
    }

    #[test]
    fn another_version_is_named() {
        let mut plain = zstd::stream::decode_all(&page(&[(1, None)])[..]).unwrap();
        plain[0] = 9;
        assert_eq!(Page::open(&zstd::bulk::compress(&plain, 1).unwrap()).unwrap_err(), FragmentError::Version(9));
    }

    proptest! {
        #[test]
        fn damage_is_an_error_or_a_page(cut in 0_usize..60, flip in 0_usize..60, bit in 0_u8..8) {
            let mut plain = zstd::stream::decode_all(&page(&[(1, Some("TX")), (2, Some("OK")), (3, None)])[..]).unwrap();
            let cut = cut.min(plain.len());
            plain.truncate(plain.len() - cut);
            if let Some(byte) = plain.get_mut(flip) {
                *byte ^= 1 << bit;
            }
            if let Ok(page) = Page::open(&zstd::bulk::compress(&plain, 1).unwrap()) {
                for at in page.offsets() {
                    let row = page.row(at);
                    let cells = row.read();
                    for place in 0..Kind::State.columns().len() {
                        prop_assert!(page.kind != Kind::State || cells.cells[place] == row.cell_at(place));
                    }
                }
            }
        }
    }
}
