//! What a pull could not tell of schools stays as it is stored, as of students.

use rollcall_proto::roster::School;

use super::{Unknown, keep};
use crate::fragment::column::{GradeLevel, School as S};

impl Unknown {
    /// As [`Unknown::fill`], of a school. (A name that is not told stays whatever the reason: whoever writes it sees to that.)
    pub fn fill_school(&self, school: &mut School, stored: &School) {
        keep(self.is(S::StateAssignedId), &mut school.state_id, &stored.state_id);
        keep(self.is(S::PhoneNumber), &mut school.phone, &stored.phone);
        let no_level = self.is(GradeLevel::GradeLevelId) || self.is(GradeLevel::Code);
        keep(no_level || self.is(S::GradeLevelIdLow), &mut school.grade_low, &stored.grade_low);
        keep(no_level || self.is(S::GradeLevelIdHigh), &mut school.grade_high, &stored.grade_high);
    }
}
