//! Lists, searches and get-one calls: from a call to the bytes of its answer.
//!
//! Which rows a listing has is worked out once and kept (four bytes a row) for its later pages; the rows themselves are
//! made anew for each page.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::Arc;

use crate::catalog::{Object, Scope};
use crate::edits::Rows;
use crate::paging::{self, PageCall};
use crate::quirks::{Quirks, YearContext};
use crate::render::{self, Columns};
use crate::search::{Operand, Search};
use crate::world::STUDENT_BASE;

/// Rows kept over all selections before the oldest are dropped.
const MOST_KEPT: usize = 8_000_000;

/// The selections in use, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Selections {
    kept: VecDeque<(String, Arc<Vec<u32>>)>,
}

impl Selections {
    /// The selection of this key, worked out if it is not there.
    pub(crate) fn get(&mut self, key: String, make: impl FnOnce() -> Vec<u32>) -> Arc<Vec<u32>> {
        if let Some((_, slots)) = self.kept.iter().find(|(kept, _)| *kept == key) {
            return Arc::clone(slots);
        }
        let slots = Arc::new(make());
        self.kept.push_back((key, Arc::clone(&slots)));
        while self.kept.len() > 1 && self.kept.iter().map(|(_, slots)| slots.len() + 1_000).sum::<usize>() > MOST_KEPT {
            self.kept.pop_front();
        }
        slots
    }

    /// Forgets all: the night, the quirks or the edits changed.
    pub(crate) fn clear(&mut self) {
        self.kept.clear();
    }
}

/// What a call asks of the rows.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) entity: i64,
    /// `SchoolYearID` in the query.
    pub(crate) year: Option<i64>,
    pub(crate) search: Search,
    pub(crate) columns: Columns,
}

impl Call {
    /// The rows this call may see.
    pub(crate) fn scope(&self, object: &dyn Object, current_year: i64, quirks: &Quirks) -> Scope {
        let given = self.year.or(self.search.year);
        let by_default = (!self.search.names_year).then_some(current_year);
        let year = match quirks.paging.year_context {
            YearContext::Current => given.or(by_default),
            YearContext::WhenGiven => given,
            YearContext::Ignored => None,
        };
        // A condition on the year says more exactly what the context says roughly.
        let year = year.filter(|_| object.is_yearly() && !self.search.names_year);
        Scope { entity: self.entity, year }
    }

    /// Tells selections apart.
    pub(crate) fn key(&self, object: &dyn Object, scope: Scope) -> String {
        format!("{}|{}|{:?}|{}", object.name(), scope.entity, scope.year, self.search.text)
    }
}

/// The rows of a call, in order.
pub(crate) fn select(rows: &Rows<'_>, scope: Scope, search: &Search) -> Vec<u32> {
    let mut slots = rows.select(scope, search.filter.as_ref());
    match search.sort.as_slice() {
        [] | [(0, false)] => {}
        [(0, true)] => slots.reverse(),
        sort => sort_by_fields(rows, sort, &mut slots),
    }
    slots
}

fn sort_by_fields(rows: &Rows<'_>, sort: &[(usize, bool)], slots: &mut [u32]) {
    let key = |slot: u32, field: usize| -> Option<Operand> { Operand::of(&rows.value(slot, field)) };
    // The last field first: the sort is stable.
    for &(field, descending) in sort.iter().rev() {
        if descending {
            // Not a sort and a reversal: that would turn around what the later fields have put in order.
            slots.sort_by_cached_key(|&slot| Reverse(key(slot, field)));
        } else {
            slots.sort_by_cached_key(|&slot| key(slot, field));
        }
    }
}

/// Where a page of an unsorted listing begins: the order is another one with every request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Order {
    turned_by: usize,
}

impl Order {
    pub(crate) const SORTED: Self = Self { turned_by: 0 };

    /// As the SIS may do where no order is asked for.
    pub(crate) fn arbitrary(request: u64) -> Self {
        Self { turned_by: 1 + (request as usize % 997) * 7 }
    }

    fn slot(self, slots: &[u32], place: usize) -> u32 {
        slots[(place + self.turned_by) % slots.len()]
    }
}

/// The body of a page.
pub(crate) fn page(rows: &Rows<'_>, call: &Call, at: &PageCall<'_>, slots: &[u32], order: Order) -> Vec<u8> {
    let quirks = rows.view.quirks;
    let window = paging::window(at, slots.len(), &quirks.paging);
    let mut out = Vec::with_capacity(256 + window.rows.len() * 220);
    out.extend_from_slice(b"{\"Paging\":{");
    if window.has_next_key {
        let next = serde_json::Value::from(window.next);
        out.extend_from_slice(format!("\"Next\":{next}").as_bytes());
    }
    if let Some(key) = &quirks.paging.total_key {
        let total = slots.len() as i64 + quirks.paging.total_off_by;
        let comma = if window.has_next_key { "," } else { "" };
        out.extend_from_slice(format!("{comma}{}:{total}", serde_json::Value::from(key.as_str())).as_bytes());
    }
    out.extend_from_slice(b"},\"Objects\":[");
    for place in window.rows {
        write_row(&mut out, rows, order.slot(slots, place), &call.columns);
    }
    if out.last() == Some(&b',') {
        out.pop();
    }
    out.extend_from_slice(b"]}");
    out
}

/// A row and a comma; the student marked as a duplicate comes twice.
fn write_row(out: &mut Vec<u8>, rows: &Rows<'_>, slot: u32, columns: &Columns) {
    render::row(out, rows, slot, columns);
    out.push(b',');
    let duplicate = rows.view.quirks.data.duplicate_student;
    if rows.object.name() == "Student" && duplicate == Some(STUDENT_BASE + i64::from(slot)) {
        render::row(out, rows, slot, columns);
        out.push(b',');
    }
}

/// The slot of the row with this key, among slots in key order.
pub(crate) fn find(rows: &Rows<'_>, slots: &[u32], key: i64) -> Option<u32> {
    let place = slots.partition_point(|&slot| rows.key(slot).is_some_and(|own| own < key));
    slots.get(place).copied().filter(|&slot| rows.key(slot) == Some(key))
}

/// Whether a required field would be left empty by a create call.
pub(crate) fn missing_field(
    object: &dyn Object,
    given: &serde_json::Map<String, serde_json::Value>,
) -> Option<&'static str> {
    let required = (1..object.field_count()).map(|field| object.info(field)).filter(|info| info.required);
    let is_missing = |name: &str| given.get(name).is_none_or(serde_json::Value::is_null);
    required.map(|info| info.name).find(|name| is_missing(name))
}
