//! What a Campus calls its paths, envelopes and fields. The true names are not public (wire/oneroster-campus.md 2.5), so a test may
//! choose others than the usual ones.

use serde_json::{Map, Value};

/// See the module. A field with dots lies in nested objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CampusNames {
    /// Path of the programs, after the base URL.
    pub programs_path: String,
    /// Path of the participations.
    pub participations_path: String,
    /// Header of the vendor pair, in lower case.
    pub vendor_header: String,
    /// Envelope of a list of programs.
    pub programs: String,
    /// Envelope of a list of participations.
    pub participations: String,
    /// Envelope of one participation.
    pub participation: String,
    /// The status of what is there.
    pub active: String,
    /// Field to filter by student.
    pub student_filter: String,
    /// Field to filter by program.
    pub program_filter: String,
    /// Fields of other names: the usual one, and the other.
    pub fields: Vec<(String, String)>,
}

impl Default for CampusNames {
    fn default() -> Self {
        let text = str::to_owned;
        Self {
            programs_path: text("gradebook/v1p2/programs"),
            participations_path: text("gradebook/v1p2/programParticipations"),
            vendor_header: text("x-vendor-authorization"),
            programs: text("programs"),
            participations: text("programParticipations"),
            participation: text("programParticipation"),
            active: text("active"),
            student_filter: text("student.sourcedId"),
            program_filter: text("program.sourcedId"),
            fields: Vec::new(),
        }
    }
}

impl CampusNames {
    /// A row of usual names, as it is shown.
    pub(super) fn shown(&self, mut row: Value) -> Value {
        if let Some(status) = row.get_mut("status") {
            *status = Value::from(self.active.as_str());
        }
        for (usual, other) in &self.fields {
            rename(&mut row, usual, other);
        }
        row
    }

    /// One participation as it was sent, by usual names; null where there is none.
    pub(super) fn sent(&self, mut body: Value) -> Value {
        let mut row = body.get_mut(&self.participation).map(Value::take).unwrap_or_default();
        for (usual, other) in &self.fields {
            rename(&mut row, other, usual);
        }
        row
    }

    /// The field that a filter names, by its usual name.
    pub(super) fn filtered(&self, field: &str) -> Option<&'static str> {
        if field == self.student_filter {
            return Some("student.sourcedId");
        }
        (field == self.program_filter).then_some("program.sourcedId")
    }
}

fn rename(row: &mut Value, from: &str, to: &str) {
    if let Some(value) = take(row, from) {
        put(row, to, value);
    }
}

fn take(row: &mut Value, path: &str) -> Option<Value> {
    match path.split_once('.') {
        Some((first, rest)) => take(row.get_mut(first)?, rest),
        None => row.as_object_mut()?.remove(path),
    }
}

fn put(row: &mut Value, path: &str, value: Value) {
    let Some(object) = row.as_object_mut() else { return };
    match path.split_once('.') {
        Some((first, rest)) => {
            let inner = object.entry(first).or_insert_with(|| Value::Object(Map::new()));
            put(inner, rest, value);
        }
        None => _ = object.insert(path.to_owned(), value),
    }
}
