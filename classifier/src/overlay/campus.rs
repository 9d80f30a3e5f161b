//! Which enrollment decides school, grade and homeroom, where that was told on incomplete evidence.
//!
//! Role: the rules choose one of those that a status rests on by the flag of the default entity, the entry date and the id
//! ([`crate::status`]). Where the flags are not told, or the enrollment at home is on a page that could not be had, another one
//! seems to decide. Here it is chosen again, from the enrollments as they are filled. Neighbours: [`super`] calls it for a pull
//! that lacks something, [`crate::missing`] for a row that is on no page.
//!
//! Invariant: the status stays as it is decided; only a place that is stored comes back.

use std::cmp::Ordering;

use rollcall_proto::roster::{Enrollment, Student};

use crate::status::compare_ids;

/// The enrollments that a pull showed, and the one of them that decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deciding {
    shown: Vec<String>,
    told: Option<String>,
}

impl Deciding {
    /// As the pull tells it, by the enrollments that the status rests on (`evidence`). To be taken before anything is filled.
    pub fn told(record: &Student, evidence: &[String]) -> Self {
        let rests_on = record.enrollments.iter().filter(|own| evidence.contains(&own.id));
        let told = rests_on.max_by(|a, b| decides_before(a, b)).map(|own| own.id.clone());
        Self { shown: record.enrollments.iter().map(|own| own.id.clone()).collect(), told }
    }

    /// Chooses again, of a record whose enrollments are filled; one that was not shown counts where it gave the stored school, and
    /// was not over before the one that was told began. Whether the stored place stays because of it.
    pub fn decide_again(&self, record: &mut Student, stored: &Student, evidence: &[String]) -> bool {
        let Some(told) = self.told.as_ref().and_then(|id| by_id(&record.enrollments, id)) else { return false };
        let home = home(stored).filter(|home| !self.shown.contains(&home.id) && !was_over(home, told));
        let counts = |own: &&Enrollment| evidence.contains(&own.id) || home.is_some_and(|home| home.id == own.id);
        let deciding = record.enrollments.iter().filter(counts).max_by(|a, b| decides_before(a, b));
        let Some(deciding) = deciding.filter(|deciding| deciding.id != told.id) else { return false };
        let Some(was) = by_id(&stored.enrollments, &deciding.id) else { return false };
        record.school.clone_from(&deciding.school);
        if was.school == stored.school {
            record.grade.clone_from(&stored.grade);
            record.homeroom.clone_from(&stored.homeroom);
        }
        true
    }
}

/// The enrollment that gave the stored school.
fn home(stored: &Student) -> Option<&Enrollment> {
    let there = stored.enrollments.iter().filter(|own| own.school == stored.school);
    there.max_by(|a, b| decides_before(a, b))
}

fn was_over(home: &Enrollment, told: &Enrollment) -> bool {
    home.withdrawal_date.zip(told.entry_date).is_some_and(|(over, begins)| over < begins)
}

fn by_id<'e>(enrollments: &'e [Enrollment], id: &str) -> Option<&'e Enrollment> {
    enrollments.iter().find(|own| own.id == id)
}

/// As the rules order those that a status rests on.
fn decides_before(a: &Enrollment, b: &Enrollment) -> Ordering {
    let entity = a.default_entity.cmp(&b.default_entity);
    entity.then(a.entry_date.cmp(&b.entry_date)).then_with(|| compare_ids(&a.id, &b.id))
}
