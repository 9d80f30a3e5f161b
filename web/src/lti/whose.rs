//! By which ids an administrator may have spoken of the person who clicked. Pure.
//!
//! An administrator says who sees what by the id that the platform shows, or by the roster's, which has the source's prefix before
//! it. A number that another source's person has is no word on this one: it may still take away, and never gives.

use std::collections::BTreeSet;

use rollcall_proto::id::ConnectionNo;
use rollcall_store::{
    district::{Connection, District},
    lti::{Registration, StaffMember},
};

/// Ids, in small letters.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Words {
    /// The person's alone.
    pub(super) certain: BTreeSet<String>,
    /// Somebody else may be meant by them.
    pub(super) doubtful: BTreeSet<String>,
}

/// The ids of a person whom a launch names `id`, of the connection `source`.
pub(super) fn words(
    (district, registrations): (&District, &[Registration]),
    registration: &Registration,
    source: ConnectionNo,
    id: &str,
    staff: Option<&StaffMember>,
) -> Words {
    let mut words = Words { certain: BTreeSet::new(), doubtful: BTreeSet::new() };
    words.certain.extend(staff.map(|member| member.staff_id.to_lowercase()));
    let named = id.trim().to_lowercase();
    if !registration.details.user.is_sis_id() {
        words.certain.insert(named);
        return words;
    }
    let own = district.connection(source).map(Connection::prefix).unwrap_or_default().to_lowercase();
    if !own.is_empty() {
        words.certain.insert(format!("{own}{named}"));
    }
    let speakers = registrations.iter().filter(|other| other.details.user.is_sis_id());
    let others_speak = speakers.filter_map(|other| other.details.source(district).ok()).any(|other| other != source);
    let whose = longest_prefix(district, &named);
    let is_own = if whose.is_empty() { is_bare_clear(district, &own, others_speak) } else { whose == own };
    if is_own || words.certain.contains(&named) {
        words.certain.insert(named);
    } else {
        words.doubtful.insert(named);
    }
    words
}

/// The prefix of a connection by which an id reads as that connection's; the longest.
fn longest_prefix(district: &District, id: &str) -> String {
    let prefixes = district.connections.iter().map(|connection| connection.prefix().to_lowercase());
    prefixes.filter(|prefix| id.starts_with(prefix.as_str())).max_by_key(String::len).unwrap_or_default()
}

/// Whether an id without any prefix is of the connection with the prefix `own`: it has none itself, or no other connection has
/// none and no other platform names people by another's ids.
fn is_bare_clear(district: &District, own: &str, others_speak: bool) -> bool {
    let somebody_has_none = district.connections.iter().any(|connection| connection.prefix().is_empty());
    own.is_empty() || (!somebody_has_none && !others_speak)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn district(prefixes: &[&str]) -> District {
        let connection = |prefix: &&str| json!({"kind": "oneroster", "base_url": "https://sis.example/API", "client_id": "c", "id_prefix": prefix});
        let connections: Vec<Value> = prefixes.iter().map(connection).collect();
        let json = json!({"id": "a", "name": "A", "time_zone": "America/Chicago", "connection": connections});
        serde_json::from_value(json).unwrap()
    }

    fn registration(user: &str, connection: u16) -> Registration {
        let details = json!({"deployments": ["d"], "student": "flag", "program": "flag", "user": user,
            "staff": "own-schools", "connection": connection});
        Registration {
            district: "a".parse().unwrap(),
            id: uuid::Uuid::nil(),
            issuer: "https://sis.example".to_owned(),
            client_id: "c".to_owned(),
            auth_url: "https://sis.example/auth".parse().unwrap(),
            jwks_url: "https://sis.example/jwks".parse().unwrap(),
            details: serde_json::from_value(details).unwrap(),
            created_at: chrono::DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_number_of_another_source_is_no_word_that_gives() {
        // Prefixes, platforms (where they name people, of which connection), the launch (platform, id), certain, doubtful.
        type Case<'a> = (&'a [&'a str], &'a [(&'a str, u16)], (usize, &'a str), &'a [&'a str], &'a [&'a str]);
        let lis = "lis.person_sourcedid";
        let cases: [Case<'_>; 11] = [
            (&[""], &[(lis, 0)], (0, "T7 "), &["t7"], &[]),
            (&["A-"], &[(lis, 0)], (0, "7"), &["7", "a-7"], &[]),
            (&["a-"], &[(lis, 0)], (0, "A-7"), &["a-7", "a-a-7"], &[]),
            (&["", "b-"], &[(lis, 0)], (0, "7"), &["7"], &[]),
            (&["", "b-"], &[(lis, 0)], (0, "b-7"), &[], &["b-7"]),
            (&["", "b-"], &[(lis, 1)], (0, "7"), &["b-7"], &["7"]),
            (&["", "b-"], &[(lis, 1)], (0, "b-7"), &["b-7", "b-b-7"], &[]),
            (&["a-", "b-"], &[(lis, 1)], (0, "7"), &["7", "b-7"], &[]),
            (&["a-", "b-"], &[(lis, 1), ("custom:u", 0)], (0, "7"), &["b-7"], &["7"]),
            (&["a-", "b-"], &[(lis, 1), ("sub", 0)], (0, "7"), &["7", "b-7"], &[]),
            (&["a-", "b-"], &[(lis, 1), ("sub", 0)], (1, "7"), &["7"], &[]),
        ];
        for (prefixes, platforms, (number, id), certain, doubtful) in cases {
            let all: Vec<Registration> = platforms.iter().map(|(user, of)| registration(user, *of)).collect();
            let of = all[number].details.connection.unwrap();
            let found = words((&district(prefixes), &all), &all[number], of, id, None);
            let set = |ids: &[&str]| ids.iter().map(ToString::to_string).collect::<BTreeSet<String>>();
            assert_eq!(
                found,
                Words { certain: set(certain), doubtful: set(doubtful) },
                "{prefixes:?} {platforms:?} {id}"
            );
        }
    }

    #[test]
    fn whom_the_roster_has_by_the_id_is_meant_by_it() {
        let all = [registration("lis.person_sourcedid", 0)];
        let staff = StaffMember { staff_id: "B7".to_owned(), connection: 0, entities: Vec::new() };
        let found = words((&district(&["", "b"]), &all), &all[0], ConnectionNo(0), "b7", Some(&staff));
        assert_eq!((found.certain.len(), found.doubtful.len()), (1, 0));
    }
}
