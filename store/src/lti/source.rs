//! Which source's ids a platform speaks of: numbers of two sources are different people.

use rollcall_proto::id::ConnectionNo;

use super::{Place, RegistrationDetails};
use crate::district::District;

/// Nobody can tell of which connection the ids in a platform's launches are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoSource {
    /// Several could be meant.
    #[error("the district has several connections, and the registration does not say whose ids its launches speak of")]
    Unclear,
    /// The one that was named is not there.
    #[error("the registration speaks of ids of connection {}, which the district's file does not have", .0.0 + 1)]
    Gone(ConnectionNo),
}

impl RegistrationDetails {
    /// The connection whose ids launches speak of. Where none was named: the only one, or the one that flags go through, if
    /// launches name flags.
    ///
    /// # Errors
    /// Nobody can tell: nobody is let in then.
    pub fn source(&self, district: &District) -> Result<ConnectionNo, NoSource> {
        if let Some(named) = self.connection {
            return district.connection(named).map(|_| named).ok_or(NoSource::Gone(named));
        }
        if district.connections.len() == 1 {
            return Ok(ConnectionNo(0));
        }
        let by_flag = [&self.student, &self.program].contains(&&Place::Flag);
        let of_flags = district.flag_connection().filter(|_| by_flag);
        of_flags.map(|(number, _)| number).ok_or(NoSource::Unclear)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn district(connections: &[Value]) -> District {
        let json = json!({"id": "a", "name": "A", "time_zone": "America/Chicago", "connection": connections});
        serde_json::from_value(json).unwrap()
    }

    fn connection(vendor_key: Option<&str>) -> Value {
        json!({"kind": "oneroster", "base_url": "https://sis.example/API", "client_id": "c", "vendor_key": vendor_key})
    }

    fn details(student: &str, connection: Option<u16>) -> RegistrationDetails {
        let json = json!({"deployments": ["d"], "student": student, "program": "fixed:P", "user": "sub",
            "staff": "own-schools", "connection": connection});
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_registration_speaks_of_one_source_or_of_none() {
        let (plain, flags) = (connection(None), connection(Some("k")));
        let one = district(std::slice::from_ref(&plain));
        let two = district(&[plain.clone(), plain.clone()]);
        let with_flags = district(&[plain, flags]);
        let gone = |number| Err(NoSource::Gone(ConnectionNo(number)));
        let cases = [
            (&one, "custom:s", None, Ok(ConnectionNo(0))),
            (&one, "custom:s", Some(1), gone(1)),
            (&two, "flag", None, Err(NoSource::Unclear)),
            (&two, "flag", Some(1), Ok(ConnectionNo(1))),
            (&two, "flag", Some(2), gone(2)),
            (&with_flags, "flag", None, Ok(ConnectionNo(1))),
            (&with_flags, "flag", Some(0), Ok(ConnectionNo(0))),
            (&with_flags, "custom:s", None, Err(NoSource::Unclear)),
        ];
        for (district, student, named, expected) in cases {
            assert_eq!(details(student, named).source(district), expected, "{student} {named:?}");
        }
    }

    #[test]
    fn registrations_of_before_read_as_if_none_was_named() {
        let before = r#"{"deployments":["d"],"student":"flag","program":"flag","user":"sub","staff":"nothing"}"#;
        let read: RegistrationDetails = serde_json::from_str(before).unwrap();
        assert_eq!(read.connection, None);
        assert!(!serde_json::to_string(&read).unwrap().contains("connection"));
    }
}
