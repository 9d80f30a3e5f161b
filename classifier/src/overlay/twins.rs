//! Values that come from one of several columns, of which some are lost.
//!
//! Role: the stored value stays as soon as the column that it may have come from is lost, even where another one still tells
//! something. Neighbour: [`super`] applies it, value by value.

use rollcall_proto::roster::{Address, Student};

use super::{Unknown, keep};
use crate::fragment::{
    Column,
    column::{Address as A, EntryWithdrawal as W, Street},
};

/// What is known of the two columns that a value may come from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Twin {
    first_lost: bool,
    second_lost: bool,
    /// The pull tells neither.
    untold: bool,
}

impl Twin {
    /// The first column is lost also where its row cannot be found.
    pub(super) fn or_first_lost(self, lost: bool) -> Self {
        Self { first_lost: self.first_lost || lost, ..self }
    }

    /// Keeps the stored value where it may have come from a column that is lost. What the other one says is no news then: it
    /// says the same in other words (`F`, `Female`), and of everybody at once.
    pub(super) fn keep<T: Clone>(self, value: &mut Option<T>, stored: Option<&T>) {
        let instead = self.first_lost && stored.is_some();
        let gone = (self.first_lost || self.second_lost) && value.is_none();
        if self.untold || instead || gone {
            *value = stored.cloned();
        }
    }
}

/// Whether the new ZIP code is the stored one without its add-on.
pub(super) fn is_without_add_on(new: Option<&String>, stored: Option<&String>) -> bool {
    let (Some(new), Some(stored)) = (new, stored) else { return false };
    stored.strip_prefix(new.as_str()).is_some_and(|add_on| add_on.starts_with('-'))
}

impl Unknown {
    /// The first line, of an address whose other parts are filled: as the SIS formats it, or made of its parts, a post box, or
    /// free text.
    pub(super) fn fill_street(&self, address: &mut Address, stored: &Address) {
        let ways: [&[bool]; 5] = [
            &[self.is_lost(A::StreetLineWithUnit)],
            &[self.is_lost(A::StreetLine)],
            &[
                self.is_lost(A::StreetId),
                self.is_lost(A::StreetNumber),
                self.is_lost(A::UnitNumber),
                self.is_lost(Street::FormattedStreet),
                self.is_lost(Street::NameWithDirection),
                self.is_lost(Street::Name),
            ],
            &[self.is_lost(A::PoBox)],
            &[self.is_lost(A::Freeform)],
        ];
        let told = [A::StreetLineWithUnit, A::StreetLine, A::StreetId, A::PoBox, A::Freeform];
        let first_told = told.iter().position(|column| !self.is(*column));
        let is_lost = |way: &&[bool]| way.contains(&true);
        // Up to the first way that is told now, one that is lost may have given what is stored, in other words.
        let in_other_words = ways[..first_told.map_or(ways.len(), |first| first + 1)].iter().any(is_lost);
        // Somebody who has moved meanwhile is not to be given the street of before in the place of now.
        let rest = |address: &Address| (address.city.clone(), address.state.clone(), address.zip.clone());
        let instead = in_other_words && stored.line1.is_some() && rest(address) == rest(stored);
        let gone = address.line1.is_none() && ways.iter().any(is_lost);
        keep(first_told.is_none() || instead || gone, &mut address.line1, &stored.line1);
    }

    /// A value that comes from one of two columns: from the `first` where it is there.
    pub(super) fn of_two<A: Column, B: Column>(&self, first: A, second: B) -> Twin {
        let untold = self.is(first) && self.is(second);
        Twin { first_lost: self.is_lost(first), second_lost: self.is_lost(second), untold }
    }

    /// Where enrollments name their school no more, what is told is the default one of their entity. The stored school of
    /// the enrollment that the student's comes from; of one that is new nothing else is known.
    pub(super) fn school_of_same(&self, record: &Student, stored: &Student) -> Option<String> {
        if !self.is_lost(W::SchoolId) {
            return None;
        }
        let told = record.enrollments.iter().filter(|enrollment| enrollment.school == record.school);
        let deciding = told.max_by(|a, b| (a.entry_date, &a.id).cmp(&(b.entry_date, &b.id)))?;
        let before = stored.enrollments.iter().find(|enrollment| enrollment.id == deciding.id)?;
        before.school.clone()
    }
}
