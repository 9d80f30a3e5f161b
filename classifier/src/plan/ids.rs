//! Students whom their SIS has given other ids.
//!
//! Invariant: a plan in which somebody moves to another id waits for a person; a move is never a mass removal and a mass add.

use std::collections::{BTreeMap, BTreeSet};

use rollcall_proto::id::{ConnectionNo, StudentId};
use rollcall_store::{plan::PersonMoved, run::PullState};

use super::{PlanFacts, is_oneroster};
use crate::{
    assemble::oneroster::{self, Rekeyed, Unlinked},
    diff,
    hold::HoldReason,
    load::Looks,
};

/// Students under other ids than they are stored by: such a plan always waits for a person.
#[derive(Debug, Clone, Copy)]
pub(super) struct Renamed {
    /// Who move to theirs.
    pub(super) moved: u64,
    /// Whom nothing links.
    pub(super) unlinked: Unlinked,
}

impl Renamed {
    pub(super) fn reasons(self) -> impl Iterator<Item = HoldReason> {
        let moved = (self.moved > 0).then_some(HoldReason::Rekeyed(self.moved));
        let Unlinked { lost, new } = self.unlinked;
        moved.into_iter().chain((lost > 0).then_some(HoldReason::Unlinked { lost, new }))
    }
}

/// People of whom an administrator has said something and whose SIS has given them another id. Who could be two is nobody.
pub(super) fn people_moved(facts: &PlanFacts, looks: &[Looks]) -> Vec<PersonMoved> {
    let mut moved: BTreeMap<(Option<ConnectionNo>, String), BTreeSet<String>> = BTreeMap::new();
    for (pull, looks) in facts.pulls.iter().zip(looks).filter(|(pull, _)| is_oneroster(facts, pull)) {
        let number = pull.pull.connection;
        let prefix = facts.district.connections[usize::from(number.0)].prefix();
        for of in [Some(number), None] {
            let said = said_of(facts, of, prefix);
            for (old, new) in oneroster::people_moved(&looks.first, prefix, &said) {
                moved.entry((of, old)).or_default().insert(new);
            }
        }
    }
    let one = |((of, old), mut new): (_, BTreeSet<String>)| {
        let new = new.pop_first().filter(|_| new.is_empty())?;
        Some(PersonMoved { of, old, new })
    };
    moved.into_iter().filter_map(one).collect()
}

/// Of whom something was said, as far as they are a connection's. Where nobody noted whose they are, and there are several
/// connections: those whose id has its prefix, and no other's where it has none.
pub(super) fn said_of(facts: &PlanFacts, of: Option<ConnectionNo>, prefix: &str) -> Vec<String> {
    let connections = &facts.district.connections;
    let prefixes = connections.iter().filter_map(|connection| connection.id_prefix.as_deref()).map(str::to_lowercase);
    let longer: Vec<String> = prefixes.filter(|other| other.len() > prefix.len()).collect();
    let own = |id: &str| {
        of.is_some()
            || connections.len() == 1
            || (id.starts_with(&prefix.to_lowercase()) && !longer.iter().any(|other| id.starts_with(other)))
    };
    facts.said_of.iter().filter(|one| one.of == of && own(&one.id)).map(|one| one.id.clone()).collect()
}

/// Finds the students whose SIS has given them other ids. What is stored of them then stands under the new ones.
pub(super) fn rekey(facts: &mut PlanFacts, looks: &[Looks]) -> Rekeyed {
    let mut all = Rekeyed::new();
    for (pull, looks) in facts.pulls.iter().zip(looks).filter(|(pull, _)| is_oneroster(facts, pull)) {
        let number = pull.pull.connection.0;
        let prefix = facts.district.connections[usize::from(number)].id_prefix.as_deref().unwrap_or_default();
        all.extend(oneroster::rekeyed(&looks.first, number, prefix, &facts.stored));
    }
    if all.is_empty() {
        return all;
    }
    let new_of: BTreeMap<&StudentId, &StudentId> = all.iter().map(|(new, old)| (old, new)).collect();
    let rename = |id: &mut StudentId| {
        if let Some(new) = new_of.get(id) {
            id.clone_from(new);
        }
    };
    facts.stored.iter_mut().for_each(|student| rename(&mut student.id));
    facts.stored.sort_by(diff::by_id);
    for remembered in facts.pulls.iter_mut().map(|pull| &mut pull.remembered) {
        for stored in remembered.iter_mut() {
            rename(&mut stored.student);
        }
        remembered.sort_by(|a, b| (&a.student, &a.enrollment.id).cmp(&(&b.student, &b.enrollment.id)));
    }
    all
}

/// Attending students whom no id links to what their source lists now.
pub(super) fn unlinked(facts: &PlanFacts, looks: &[Looks]) -> Unlinked {
    let pulls = facts.pulls.iter().zip(looks).filter(|(pull, _)| is_oneroster(facts, pull));
    let whole = pulls.filter(|(pull, _)| pull.board.is_some() && pull.pull.state != PullState::Failed);
    let of_each = whole.map(|(pull, looks)| {
        let number = pull.pull.connection.0;
        let prefix = facts.district.connections[usize::from(number)].id_prefix.as_deref().unwrap_or_default();
        oneroster::unlinked(&looks.first, number, prefix, &facts.stored)
    });
    of_each.fold(Unlinked::default(), Unlinked::with)
}
