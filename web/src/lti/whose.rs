//! What an administrator said of the person who clicked, and of nobody else. Pure.
//!
//! An administrator says who sees what by the id that the platform shows, or by the roster's, which has the source's prefix before
//! it, and whose id it is. An equal id of another platform's or source's person is no word on this one. Where nobody noted whose it is,
//! or nobody is named so any more, a word may still take away, and never gives; nor does one on a `sub` in another letter case.

use rollcall_proto::id::ConnectionNo;
use rollcall_store::{
    district::{Connection, District},
    lti::{LtiUser, Namer, Registration, StaffMember},
};

/// Ids of a person, and who gives them; in small letters where case does not matter.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Names(Vec<(Namer, String)>);

/// What was said of a person.
#[derive(Debug, Default)]
pub(super) struct Words {
    /// Of the person for sure.
    pub(super) certain: Vec<LtiUser>,
    /// Somebody else may be meant.
    pub(super) doubtful: Vec<LtiUser>,
}

impl Names {
    /// Of the person whom a launch of the registration names `id`, whose ids are of the connection `source`.
    pub(super) fn of(
        district: &District,
        registration: &Registration,
        source: ConnectionNo,
        id: &str,
        staff: Option<&StaffMember>,
    ) -> Self {
        let by_source = |id: String| (Namer::Source(source), id);
        let launched = id.trim().to_lowercase();
        let mut names = Vec::new();
        if let Some(member) = staff {
            names.push(by_source(member.staff_id.to_lowercase()));
        }
        if registration.details.user.is_sis_id() {
            let prefix = district.connection(source).map(Connection::prefix).unwrap_or_default().to_lowercase();
            names.extend([by_source(format!("{prefix}{launched}")), by_source(launched)]);
        } else {
            let said_by = Namer::Platform { registration: registration.id, place: registration.details.user.clone() };
            let launched = if said_by.is_case_sensitive() { id.trim().to_owned() } else { launched };
            names.push((said_by, launched));
        }
        Self(names)
    }

    /// The ids, each once.
    pub(super) fn ids(&self) -> Vec<&str> {
        let mut ids: Vec<&str> = self.0.iter().map(|(_, id)| id.as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// What was said of the person, among what was said of whoever has the id.
    pub(super) fn sort(
        &self,
        (district, registrations): (&District, &[Registration]),
        id: &str,
        said: Vec<LtiUser>,
        words: &mut Words,
    ) {
        for user in said {
            let is_spelled_so = !user.namer.is_case_sensitive() || user.user_id == id;
            let is_own = self.0.iter().any(|(namer, own)| own == id && *namer == user.namer);
            if is_own && is_spelled_so {
                words.certain.push(user);
            } else if is_own || !user.namer.is_known(district, registrations) {
                words.doubtful.push(user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rollcall_store::lti::{Place, StudentScope, UserAccess};
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;

    fn district(prefixes: &[&str]) -> District {
        let connection = |prefix: &&str| json!({"kind": "oneroster", "base_url": "https://sis.example/API", "client_id": "c", "id_prefix": prefix});
        let connections: Vec<Value> = prefixes.iter().map(connection).collect();
        let json = json!({"id": "a", "name": "A", "time_zone": "America/Chicago", "connection": connections});
        serde_json::from_value(json).unwrap()
    }

    fn registration(number: u128, user: &str, connection: u16) -> Registration {
        let details = json!({"deployments": ["d"], "student": "flag", "program": "flag", "user": user,
            "staff": "own-schools", "connection": connection});
        Registration {
            district: "a".parse().unwrap(),
            id: Uuid::from_u128(number),
            issuer: "https://sis.example".to_owned(),
            client_id: "c".to_owned(),
            auth_url: "https://sis.example/auth".parse().unwrap(),
            jwks_url: "https://sis.example/jwks".parse().unwrap(),
            details: serde_json::from_value(details).unwrap(),
            created_at: chrono::DateTime::UNIX_EPOCH,
        }
    }

    fn source(number: u16) -> Namer {
        Namer::Source(ConnectionNo(number))
    }

    fn platform(number: u128, place: Place) -> Namer {
        Namer::Platform { registration: Uuid::from_u128(number), place }
    }

    #[test]
    fn a_person_is_named_by_one_source_or_by_one_platform() {
        // Prefixes, where the platform names people, of which connection, the launch's id, names.
        type Case<'a> = (&'a [&'a str], &'a str, u16, &'a str, Vec<(Namer, &'a str)>);
        let lis = "lis.person_sourcedid";
        let cases: [Case<'_>; 6] = [
            (&[""], lis, 0, "T7 ", vec![(source(0), "t7"), (source(0), "t7")]),
            (&["A-"], "custom:u", 0, "7", vec![(source(0), "a-7"), (source(0), "7")]),
            (&["", "B-"], lis, 1, "7", vec![(source(1), "b-7"), (source(1), "7")]),
            (&["", "b-"], lis, 0, "b-7", vec![(source(0), "b-7"), (source(0), "b-7")]),
            (&["a-"], "sub", 0, "aB7 ", vec![(platform(1, Place::Subject), "aB7")]),
            (&["a-"], "email", 0, "T@x.example", vec![(platform(1, Place::Email), "t@x.example")]),
        ];
        for (prefixes, user, of, id, expected) in cases {
            let names = Names::of(&district(prefixes), &registration(1, user, of), ConnectionNo(of), id, None);
            let expected = expected.into_iter().map(|(namer, id)| (namer, id.to_owned())).collect();
            assert_eq!(names, Names(expected), "{prefixes:?} {user} {id}");
        }
    }

    #[test]
    fn whom_the_roster_has_by_an_address_has_the_rosters_id_too() {
        let staff = StaffMember { staff_id: "B7".to_owned(), connection: 1, entities: Vec::new() };
        let platform_of = registration(1, "email", 1);
        let names = Names::of(&district(&["", "b"]), &platform_of, ConnectionNo(1), "t@x.example", Some(&staff));
        let address = (platform(1, Place::Email), "t@x.example".to_owned());
        assert_eq!(names, Names(vec![(source(1), "b7".to_owned()), address]));
        assert_eq!(names.ids(), ["b7", "t@x.example"]);
    }

    #[test]
    fn a_word_on_an_equal_id_of_another_is_none_and_one_on_nobodys_only_takes_away() {
        let all = [registration(1, "sub", 0), registration(2, "lis.person_sourcedid", 0), registration(3, "sub", 1)];
        let district = district(&["", "b-"]);
        let said = |namer| LtiUser {
            namer,
            user_id: "7".to_owned(),
            access: UserAccess { students: StudentScope::Everybody, programs: Vec::new() },
            created_at: chrono::DateTime::UNIX_EPOCH,
            created_by: "test".to_owned(),
        };
        // Registration, who gave the id that something was said of: certain, doubtful.
        let cases = [
            (0, platform(1, Place::Subject), (1, 0)),
            (0, platform(3, Place::Subject), (0, 0)),
            (0, source(0), (0, 0)),
            (1, source(0), (1, 0)),
            (1, source(1), (0, 0)),
            (1, platform(1, Place::Subject), (0, 0)),
            // Noted nowhere; of a platform that is gone, or names people elsewhere now; of a connection that is gone.
            (0, Namer::Unclear, (0, 1)),
            (1, platform(9, Place::Subject), (0, 1)),
            (0, platform(1, Place::Email), (0, 1)),
            (1, source(2), (0, 1)),
        ];
        for (number, namer, expected) in cases {
            let registration = &all[number];
            let of = registration.details.connection.unwrap();
            let mut words = Words::default();
            let names = Names::of(&district, registration, of, "7", None);
            names.sort((&district, &all), "7", vec![said(namer.clone())], &mut words);
            assert_eq!((words.certain.len(), words.doubtful.len()), expected, "{number} {namer:?}");
        }
    }

    /// Another `sub`, and perhaps another person's: it gives nothing, and what it takes away it takes away. Addresses are one person's in
    /// either case.
    #[test]
    fn a_word_on_a_sub_in_another_letter_case_only_takes_away() {
        let district = district(&[""]);
        for (place, said, expected) in
            [("sub", "aB7", (1, 0)), ("sub", "ab7", (0, 1)), ("sub", "AB7", (0, 1)), ("email", "ab7", (1, 0))]
        {
            let registration = registration(1, place, 0);
            let names = Names::of(&district, &registration, ConnectionNo(0), "aB7", None);
            let user = LtiUser {
                namer: platform(1, place.parse().unwrap()),
                user_id: said.to_owned(),
                access: UserAccess { students: StudentScope::Everybody, programs: Vec::new() },
                created_at: chrono::DateTime::UNIX_EPOCH,
                created_by: "test".to_owned(),
            };
            let mut words = Words::default();
            for id in names.ids() {
                names.sort((&district, std::slice::from_ref(&registration)), id, vec![user.clone()], &mut words);
            }
            assert_eq!((words.certain.len(), words.doubtful.len()), expected, "{place} {said}");
        }
    }
}
