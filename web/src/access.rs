//! Who may see which student's documents. Pure: facts in, a decision out.
//!
//! An administrator's word on a person counts before the roster's. A role in the token can only take away: a launch by
//! someone whose every known role is a student's or a parent's sees nothing, and no role gives anything.

use rollcall_store::lti::{LtiUser, StaffAccess, StaffMember, StudentScope, Subject, UserAccess};

/// What a decision rests on.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// What an administrator said about the person.
    pub user: Option<&'a LtiUser>,
    /// The person in the roster's staff.
    pub staff: Option<&'a StaffMember>,
    /// What the registration lets staff see.
    pub staff_access: StaffAccess,
    /// The roles that the token claims.
    pub roles: &'a [&'a str],
    /// The student.
    pub student: &'a Subject,
    /// The program.
    pub program: &'a str,
}

/// Whether the person may see the student's documents of the program.
pub fn may_see(facts: &Facts<'_>) -> bool {
    if narrowed_away(facts.roles) {
        return false;
    }
    match facts.user {
        Some(user) => added_may_see(&user.access, facts),
        None => facts.staff_access == StaffAccess::OwnSchools && facts.staff.is_some_and(|staff| shares(staff, facts)),
    }
}

fn added_may_see(access: &UserAccess, facts: &Facts<'_>) -> bool {
    let program = access.programs.is_empty() || access.programs.iter().any(|program| program == facts.program);
    let student = match &access.students {
        StudentScope::Nobody => false,
        StudentScope::Everybody => true,
        StudentScope::Schools(schools) => facts.student.schools.iter().any(|school| schools.contains(school)),
        StudentScope::Students(students) => {
            let mut ids = std::iter::once(&facts.student.student_id).chain(&facts.student.earlier_ids);
            ids.any(|id| students.contains(&id.0))
        }
    };
    program && student
}

/// Entities of another source are other places, whatever they are called.
fn shares(staff: &StaffMember, facts: &Facts<'_>) -> bool {
    staff.connection == facts.student.connection
        && facts.student.entities.iter().any(|entity| staff.entities.contains(entity))
}

/// Roles of those who are looked after, or look from outside (LTI 1.3 Core, appendix A.2: context and institution).
const OUTSIDERS: [&str; 12] = [
    "http://purl.imsglobal.org/vocab/lis/v2/membership#Learner",
    "http://purl.imsglobal.org/vocab/lis/v2/membership#Mentor",
    "http://purl.imsglobal.org/vocab/lis/v2/institution/person#Student",
    "http://purl.imsglobal.org/vocab/lis/v2/institution/person#Learner",
    "http://purl.imsglobal.org/vocab/lis/v2/institution/person#Mentor",
    "http://purl.imsglobal.org/vocab/lis/v2/institution/person#Observer",
    "http://purl.imsglobal.org/vocab/lis/v2/institution/person#ProspectiveStudent",
    "http://purl.imsglobal.org/vocab/lis/v2/institution/person#Guest",
    "http://purl.imsglobal.org/vocab/lis/v2/institution/person#Alumni",
    "http://purl.imsglobal.org/vocab/lis/v2/institution/person#None",
    "http://purl.imsglobal.org/vocab/lis/v2/institution/person#Other",
    "http://purl.imsglobal.org/vocab/lis/v2/system/person#None",
];

/// Roles of those who work with students (same source).
const WORKERS: [&str; 9] = [
    "http://purl.imsglobal.org/vocab/lis/v2/membership#Instructor",
    "http://purl.imsglobal.org/vocab/lis/v2/membership#Administrator",
    "http://purl.imsglobal.org/vocab/lis/v2/membership#Manager",
    "http://purl.imsglobal.org/vocab/lis/v2/membership#Officer",
    "http://purl.imsglobal.org/vocab/lis/v2/institution/person#Instructor",
    "http://purl.imsglobal.org/vocab/lis/v2/institution/person#Administrator",
    "http://purl.imsglobal.org/vocab/lis/v2/institution/person#Faculty",
    "http://purl.imsglobal.org/vocab/lis/v2/institution/person#Staff",
    "http://purl.imsglobal.org/vocab/lis/v2/system/person#Administrator",
];

/// Context roles by their names alone, which older platforms send (same source, A.2.3).
const OUTSIDERS_SHORT: [&str; 2] = ["Learner", "Mentor"];
const WORKERS_SHORT: [&str; 4] = ["Instructor", "Administrator", "Manager", "Officer"];
/// Where the sub-roles of a learner and a mentor begin: `…/Learner#GuestLearner`. A student who helps to teach is none of [`WORKERS`].
const OUTSIDERS_SUB: [&str; 2] = [
    "http://purl.imsglobal.org/vocab/lis/v2/membership/Learner#",
    "http://purl.imsglobal.org/vocab/lis/v2/membership/Mentor#",
];

/// Some role is an outsider's and none a worker's. Roles that nobody knows are legal and say nothing.
fn narrowed_away(roles: &[&str]) -> bool {
    let is_sub = |role: &str| OUTSIDERS_SUB.iter().any(|start| role.starts_with(start));
    let is_outsider = |role: &&str| OUTSIDERS.contains(role) || OUTSIDERS_SHORT.contains(role) || is_sub(role);
    let is_worker = |role: &&str| WORKERS.contains(role) || WORKERS_SHORT.contains(role);
    roles.iter().any(is_outsider) && !roles.iter().any(is_worker)
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use proptest::prelude::*;
    use rollcall_proto::id::StudentId;
    use rollcall_store::lti::Namer;

    use super::*;

    fn student() -> Subject {
        let all = |texts: [&str; 2]| texts.map(str::to_owned).to_vec();
        Subject {
            student_id: StudentId("S1".to_owned()),
            earlier_ids: vec![StudentId("s9".to_owned())],
            connection: 0,
            schools: all(["010", "020"]),
            entities: all(["1", "2"]),
        }
    }

    fn user(students: StudentScope, programs: &[&str]) -> LtiUser {
        let programs = programs.iter().map(ToString::to_string).collect();
        LtiUser {
            namer: Namer::Unclear,
            user_id: "u".to_owned(),
            access: UserAccess { students, programs },
            created_at: DateTime::UNIX_EPOCH,
            created_by: "test".to_owned(),
        }
    }

    fn staff(entities: &[&str]) -> StaffMember {
        let entities = entities.iter().map(ToString::to_string).collect();
        StaffMember { staff_id: "u".to_owned(), connection: 0, entities }
    }

    fn sees(user: Option<&LtiUser>, staff: Option<&StaffMember>, staff_access: StaffAccess, roles: &[&str]) -> bool {
        may_see(&Facts { user, staff, staff_access, roles, student: &student(), program: "Section 504" })
    }

    #[test]
    fn an_added_person_sees_what_was_said() {
        let list = |text: &str| vec![text.to_owned()];
        let cases = [
            (StudentScope::Everybody, &[][..], true),
            (StudentScope::Everybody, &["Section 504"], true),
            (StudentScope::Everybody, &["Special Education"], false),
            (StudentScope::Schools(list("020")), &[], true),
            (StudentScope::Schools(list("030")), &[], false),
            (StudentScope::Schools(Vec::new()), &[], false),
            (StudentScope::Students(list("S1")), &["Section 504"], true),
            (StudentScope::Students(list("S2")), &[], false),
            (StudentScope::Students(list("s9")), &[], true),
            (StudentScope::Nobody, &[], false),
        ];
        for (scope, programs, expected) in cases {
            let user = user(scope.clone(), programs);
            let seen = sees(Some(&user), Some(&staff(&["1"])), StaffAccess::OwnSchools, &[]);
            assert_eq!(seen, expected, "{scope:?} {programs:?}");
        }
    }

    #[test]
    fn staff_see_students_enrolled_where_they_work() {
        assert!(sees(None, Some(&staff(&["2", "3"])), StaffAccess::OwnSchools, &[]));
        assert!(!sees(None, Some(&staff(&["3"])), StaffAccess::OwnSchools, &[]));
        assert!(!sees(None, Some(&staff(&[])), StaffAccess::OwnSchools, &[]));
        assert!(!sees(None, Some(&staff(&["2"])), StaffAccess::Nothing, &[]));
        assert!(!sees(None, None, StaffAccess::OwnSchools, &[WORKERS[0]]));
    }

    #[test]
    fn staff_of_another_source_see_nobody_where_its_entities_have_the_same_ids() {
        let other = StaffMember { connection: 1, ..staff(&["1", "2"]) };
        assert!(!sees(None, Some(&other), StaffAccess::OwnSchools, &[]));
    }

    #[test]
    fn a_role_takes_away_and_gives_nothing() {
        let member = staff(&["1"]);
        let with = |roles: &[&str]| sees(None, Some(&member), StaffAccess::OwnSchools, roles);
        assert!(with(&[]) && with(&["urn:unknown"]) && with(&[WORKERS[0], OUTSIDERS[0]]));
        assert!(!with(&[OUTSIDERS[0]]) && !with(&["urn:unknown", OUTSIDERS[1]]));
        // Sub-roles, and names without their address.
        let sub_role = |name: &str| format!("http://purl.imsglobal.org/vocab/lis/v2/membership/{name}");
        let (pupil, aide) = (sub_role("Learner#NonCreditLearner"), sub_role("Instructor#TeachingAssistant"));
        assert!(
            !with(&[&pupil]) && !with(&[&pupil, &aide]) && !with(&["Mentor"]) && !with(&["Learner", "urn:unknown"])
        );
        assert!(with(&[&aide]) && with(&[&pupil, WORKERS[0]]) && with(&["Learner", "Instructor"]));
    }

    proptest! {
        #[test]
        fn no_roles_ever_widen(
            scope in prop_oneof![
                Just(StudentScope::Nobody),
                Just(StudentScope::Everybody),
                Just(StudentScope::Schools(vec!["030".to_owned()])),
            ],
            added in any::<bool>(),
            entities in proptest::collection::vec("[1-4]", 0..3),
            roles in proptest::collection::vec(proptest::sample::select([&OUTSIDERS[..], &WORKERS[..]].concat()), 0..5),
        ) {
            let user = user(scope, &[]);
            let entities: Vec<&str> = entities.iter().map(String::as_str).collect();
            let (user, member) = (added.then_some(&user), staff(&entities));
            let with = sees(user, Some(&member), StaffAccess::OwnSchools, &roles);
            let without = sees(user, Some(&member), StaffAccess::OwnSchools, &[]);
            prop_assert!(without || !with);
        }
    }
}
