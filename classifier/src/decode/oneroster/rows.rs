//! The objects of OneRoster as rows of fragments.

use chrono::DateTime;
use serde::Deserialize;

use super::loose::{Loose, LooseList, Scalars, Texts};
use crate::{
    decode::value::{Raw, Read, read},
    fragment::{Cell, Form, PageWriter, UNDATED, lists::Packer},
    sourced_id::{canonical, lookup_key},
};

/// Key of a user's metadata under which Campus tells the id of 1.1, without its letter.
const LEGACY_ID: &str = "ic.legacySourceId";

/// Metadata kept of a user, among which a district may have the state's id: more is no key but a document.
const MOST_METADATA: usize = 256;

/// An object that is written as a row.
pub(super) trait Record<'de>: Deserialize<'de> {
    /// Writes the cells in the order of the kind's columns; false where the row has no readable id.
    fn write(&self, page: &mut PageWriter) -> bool;
}

/// See the wire page, 1.3; 1.1 has `role` and `orgs` in place of `roles`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the standard's own names")]
pub(super) struct User<'a> {
    #[serde(borrow)]
    sourced_id: Raw<'a>,
    #[serde(borrow)]
    status: Raw<'a>,
    #[serde(borrow)]
    date_last_modified: Raw<'a>,
    #[serde(borrow)]
    identifier: Raw<'a>,
    #[serde(borrow)]
    given_name: Raw<'a>,
    #[serde(borrow)]
    middle_name: Raw<'a>,
    #[serde(borrow)]
    family_name: Raw<'a>,
    #[serde(borrow)]
    email: Raw<'a>,
    #[serde(borrow)]
    phone: Raw<'a>,
    #[serde(borrow)]
    sms: Raw<'a>,
    #[serde(borrow)]
    grades: Texts<'a>,
    #[serde(borrow)]
    roles: LooseList<Role<'a>>,
    #[serde(borrow)]
    role: Raw<'a>,
    #[serde(borrow)]
    orgs: LooseList<Reference<'a>>,
    #[serde(borrow)]
    agents: LooseList<Reference<'a>>,
    #[serde(borrow)]
    user_ids: LooseList<UserId<'a>>,
    #[serde(borrow)]
    metadata: Scalars<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the standard's own names")]
struct Role<'a> {
    #[serde(borrow)]
    role_type: Raw<'a>,
    #[serde(borrow)]
    role: Raw<'a>,
    #[serde(borrow)]
    org: Loose<Reference<'a>>,
    #[serde(borrow)]
    begin_date: Raw<'a>,
    #[serde(borrow)]
    end_date: Raw<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Reference<'a> {
    #[serde(borrow)]
    sourced_id: Raw<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct UserId<'a> {
    #[serde(borrow, rename = "type")]
    kind: Raw<'a>,
    #[serde(borrow)]
    identifier: Raw<'a>,
}

/// A school, or the district.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Org<'a> {
    #[serde(borrow)]
    sourced_id: Raw<'a>,
    #[serde(borrow)]
    status: Raw<'a>,
    #[serde(borrow)]
    name: Raw<'a>,
    #[serde(borrow, rename = "type")]
    kind: Raw<'a>,
    #[serde(borrow)]
    identifier: Raw<'a>,
}

/// A user's demographics, as far as they are kept.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Demographics<'a> {
    #[serde(borrow)]
    sourced_id: Raw<'a>,
    #[serde(borrow)]
    status: Raw<'a>,
    #[serde(borrow)]
    date_last_modified: Raw<'a>,
    #[serde(borrow)]
    birth_date: Raw<'a>,
    #[serde(borrow)]
    sex: Raw<'a>,
}

impl<'de> Record<'de> for User<'de> {
    fn write(&self, page: &mut PageWriter) -> bool {
        let mut cells = Cells { page, place: 0 };
        if !cells.key(&self.sourced_id) {
            return false;
        }
        for raw in [&self.status, &self.identifier, &self.given_name, &self.middle_name, &self.family_name] {
            cells.put(raw, Form::Text);
        }
        for raw in [&self.email, &self.phone, &self.sms] {
            cells.put(raw, Form::Text);
        }
        cells.put(self.grades.0.first().unwrap_or(&Raw::Absent), Form::Text);
        cells.packed(&self.packed_roles());
        cells.packed(&self.packed_agents());
        cells.packed(&self.packed_ids());
        let legacy = self.metadata.0.iter().find(|(name, _)| name == LEGACY_ID).map(|(_, value)| value);
        cells.put(legacy.unwrap_or(&Raw::Absent), Form::Text);
        cells.packed(&self.packed_metadata());
        cells.dated(&self.date_last_modified);
        true
    }
}

impl User<'_> {
    /// Id, role, `p` for primary, org, first day, first day not any more. Roles have no ids of their own: org and first
    /// day make one, so that a role that ends stays the same role.
    fn packed_roles(&self) -> Packer {
        let mut packer = Packer::default();
        let mut ids: Vec<String> = Vec::new();
        for (role, primary, org, begin, end) in self.all_roles() {
            let plain = format!("{org}@{}", if begin == UNREADABLE { "" } else { begin.as_str() });
            let same = ids.iter().filter(|id| **id == plain).count();
            let id = if same == 0 { plain.clone() } else { format!("{plain}#{}", same + 1) };
            ids.push(plain);
            packer.record(&[&id, &role, if primary { "p" } else { "s" }, &org, &begin, &end]);
        }
        packer
    }

    fn all_roles(&self) -> Vec<(String, bool, String, String, String)> {
        if self.roles.0.is_empty() {
            return self.roles_of_one();
        }
        let own = self.roles.0.iter().filter_map(|role| {
            let primary = !text(&role.role_type).is_some_and(|kind| kind.eq_ignore_ascii_case("secondary"));
            let org = role.org.0.as_ref().and_then(|org| id(&org.sourced_id)).unwrap_or_default();
            Some((text(&role.role)?, primary, org, date(&role.begin_date), date(&role.end_date)))
        });
        own.collect()
    }

    /// 1.1: one role at each of the orgs, without dates.
    fn roles_of_one(&self) -> Vec<(String, bool, String, String, String)> {
        let Some(role) = text(&self.role) else { return Vec::new() };
        let mut orgs: Vec<String> = self.orgs.0.iter().filter_map(|org| id(&org.sourced_id)).collect();
        if orgs.is_empty() {
            orgs.push(String::new());
        }
        let one = |(number, org)| (role.clone(), number == 0, org, String::new(), String::new());
        orgs.into_iter().enumerate().map(one).collect()
    }

    fn packed_agents(&self) -> Packer {
        let mut packer = Packer::default();
        self.agents.0.iter().filter_map(|agent| id(&agent.sourced_id)).for_each(|id| packer.record(&[&id]));
        packer
    }

    fn packed_ids(&self) -> Packer {
        let mut packer = Packer::default();
        for UserId { kind, identifier } in &self.user_ids.0 {
            if let (Some(kind), Some(identifier)) = (text(kind), text(identifier)) {
                packer.record(&[&kind, &identifier]);
            }
        }
        packer
    }

    fn packed_metadata(&self) -> Packer {
        let mut packer = Packer::default();
        for (name, value) in self.metadata.0.iter().take(MOST_METADATA) {
            if let Some(value) = text(value) {
                packer.record(&[name, &value]);
            }
        }
        packer
    }
}

impl<'de> Record<'de> for Org<'de> {
    fn write(&self, page: &mut PageWriter) -> bool {
        let mut cells = Cells { page, place: 0 };
        if !cells.key(&self.sourced_id) {
            return false;
        }
        for raw in [&self.status, &self.name, &self.kind, &self.identifier] {
            cells.put(raw, Form::Text);
        }
        true
    }
}

impl<'de> Record<'de> for Demographics<'de> {
    fn write(&self, page: &mut PageWriter) -> bool {
        let mut cells = Cells { page, place: 0 };
        if !cells.key(&self.sourced_id) {
            return false;
        }
        cells.put(&self.status, Form::Text);
        cells.put(&self.birth_date, Form::Date);
        cells.put(&self.sex, Form::Text);
        cells.dated(&self.date_last_modified);
        true
    }
}

/// Stands for a date that is there and is none.
const UNREADABLE: &str = "?";

fn text(raw: &Raw<'_>) -> Option<String> {
    match read(raw, Form::Text) {
        Read::Cell(Cell::Text(text)) => Some(text.to_owned()),
        Read::Made(text) | Read::Cleaned(text) => Some(text),
        Read::Cell(_) => None,
    }
}

fn id(raw: &Raw<'_>) -> Option<String> {
    text(raw).map(|id| canonical(&id).into_owned())
}

fn date(raw: &Raw<'_>) -> String {
    match read(raw, Form::Date) {
        Read::Cell(Cell::Date(date)) => date.to_string(),
        Read::Cell(Cell::Null) => String::new(),
        _ => UNREADABLE.to_owned(),
    }
}

/// Writes a row's cells one after another.
struct Cells<'p> {
    page: &'p mut PageWriter,
    place: usize,
}

impl Cells<'_> {
    /// The number to look up by, the id, and its spelling where that is another.
    fn key(&mut self, raw: &Raw<'_>) -> bool {
        let Some(given) = text(raw) else { return false };
        let id = canonical(&given);
        let as_given = if id == given { Cell::Null } else { Cell::Text(&given) };
        for cell in [Cell::Number(lookup_key(&id)), Cell::Text(&id), as_given] {
            self.page.saw(self.place);
            self.page.cell(cell);
            self.place += 1;
        }
        true
    }

    fn put(&mut self, raw: &Raw<'_>, form: Form) {
        if !matches!(raw, Raw::Absent) {
            self.page.saw(self.place);
        }
        self.place += 1;
        match read(raw, form) {
            Read::Cell(cell) => self.page.cell(cell),
            Read::Made(text) => self.page.cell(Cell::Text(&text)),
            Read::Cleaned(text) => {
                self.page.cleaned();
                self.page.cell(Cell::Text(&text));
            }
        }
    }

    /// Notes a row that does not tell when it was changed; the time itself is nobody's business here.
    fn dated(&mut self, raw: &Raw<'_>) {
        let dated = text(raw).is_some_and(|time| DateTime::parse_from_rfc3339(time.trim()).is_ok());
        if !dated {
            self.page.saw(UNDATED);
        }
    }

    fn packed(&mut self, packer: &Packer) {
        self.place += 1;
        self.page.cell(packer.text().map_or(Cell::Null, Cell::Text));
    }
}
