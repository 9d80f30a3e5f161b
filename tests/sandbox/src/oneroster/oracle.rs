//! What a run over `OneRoster` 1.2 must come to, at either vendor: by the roles served, read here by a handful of lines that know nothing
//! of the client's rules. `OneRoster` has no codes, so nobody is told to have graduated, and no earlier years.

use std::collections::BTreeMap;

use super::roster::{Role, roles};
use super::{Dialect, Vendor, Version, ids};
use crate::catalog::people::Person;
use crate::world::{ExpectedStudent, View};

/// Every student known by now who was ever listed, by `sourcedId`.
pub(crate) fn expected(view: &View<'_>, vendor: Vendor) -> BTreeMap<String, ExpectedStudent> {
    (0..view.students()).filter_map(|index| student(view, vendor, index)).collect()
}

fn student(view: &View<'_>, vendor: Vendor, index: u32) -> Option<(String, ExpectedStudent)> {
    let state = view.state(index)?;
    let held = roles(view, index, &state);
    if held.is_empty() {
        return None;
    }
    let status = match (status(view, &held), state.gone) {
        ("ENROLLED" | "PRE_ENROLLED", true) => "INACTIVE",
        (status, _) => status,
    };
    let change = state.last_change.map(|(_, change)| change);
    let id = ids::person(view, Dialect::new(vendor, Version::V12), &Person::Student(index, state));
    Some((id, ExpectedStudent { status, scenario: state.scenario, listed: !state.gone, change }))
}

fn status(view: &View<'_>, held: &[Role]) -> &'static str {
    let today = view.world.today();
    let over = |role: &&Role| role.end.is_some_and(|end| end <= today);
    let ahead = |role: &&Role| role.begin > today;
    let (past, future) = (held.iter().filter(over).count(), held.iter().filter(ahead).count());
    match (past, future) {
        (past, future) if past + future < held.len() => "ENROLLED",
        (0, _) => "PRE_ENROLLED",
        (_, 1..) => "ENROLLED",
        _ => "INACTIVE",
    }
}
