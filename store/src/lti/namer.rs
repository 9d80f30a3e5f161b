//! Who gives people their ids: equal ids of two platforms, or of two sources, are different people.

use std::str::FromStr;

use rollcall_proto::id::ConnectionNo;
use uuid::Uuid;

use super::{NoSource, Place, Registration};
use crate::district::District;

/// Who gives a person the id by which an administrator or a launch speaks of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Namer {
    /// The SIS behind a connection: its ids stand in the roster, and platforms that speak of its people say them.
    Source(ConnectionNo),
    /// A platform, by a number or an address of its own.
    Platform {
        /// Which one.
        registration: Uuid,
        /// Where its launches say it: `sub` or `email`.
        place: Place,
    },
    /// Nobody noted it, and several could be meant.
    Unclear,
}

impl Namer {
    /// Whether two of its ids that differ by letter case alone may be two people's: `sub` is compared as it is written (OpenID Connect
    /// Core, 2).
    pub const fn is_case_sensitive(&self) -> bool {
        matches!(self, Self::Platform { place: Place::Subject, .. })
    }

    /// As it is stored; nothing where it is unclear.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Source(number) => format!("connection {}", number.0),
            Self::Platform { registration, place } => format!("{place} {}", registration.simple()),
            Self::Unclear => String::new(),
        }
    }

    /// What cannot be read is nobody's.
    pub(super) fn read(text: &str) -> Self {
        let Some((kind, of)) = text.split_once(' ') else { return Self::Unclear };
        let source = || of.parse().ok().map(|number| Self::Source(ConnectionNo(number)));
        let platform = || {
            let (registration, place) = (of.parse().ok()?, Place::from_str(kind).ok()?);
            Some(Self::Platform { registration, place })
        };
        let found = if kind == "connection" { source() } else { platform() };
        found.unwrap_or(Self::Unclear)
    }

    /// Whether anybody is named so today: the file has the connection, or the platform is registered and still names people there.
    pub fn is_known(&self, district: &District, registrations: &[Registration]) -> bool {
        match self {
            Self::Source(number) => district.connection(*number).is_some(),
            Self::Platform { registration, place } => {
                registrations.iter().any(|one| one.id == *registration && one.details.user == *place)
            }
            Self::Unclear => false,
        }
    }
}

impl Registration {
    /// Who gives the id by which a launch names the person who clicked.
    ///
    /// # Errors
    /// It is a source's, and nobody can tell which one's.
    pub fn namer(&self, district: &District) -> Result<Namer, NoSource> {
        if self.details.user.is_sis_id() {
            return self.details.source(district).map(Namer::Source);
        }
        Ok(Namer::Platform { registration: self.id, place: self.details.user.clone() })
    }

    /// Who gives the id by which an administrator speaks of a person of this platform: beside an address the roster's id will do.
    ///
    /// # Errors
    /// It is a source's, and nobody can tell which one's.
    pub fn namer_of(&self, district: &District, user_id: &str) -> Result<Namer, NoSource> {
        if self.details.user == Place::Email && !user_id.contains('@') {
            return self.details.source(district).map(Namer::Source);
        }
        self.namer(district)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namer_reads_as_it_was_written() {
        let registration = Uuid::from_u128(7);
        let platform = |place| Namer::Platform { registration, place };
        let all = [Namer::Source(ConnectionNo(12)), platform(Place::Subject), platform(Place::Email), Namer::Unclear];
        for namer in all {
            assert_eq!(Namer::read(&namer.text()), namer, "{}", namer.text());
        }
        // As the migration writes it.
        assert_eq!(platform(Place::Subject).text(), "sub 00000000000000000000000000000007");
        assert_eq!(Namer::Source(ConnectionNo(0)).text(), "connection 0");
    }

    #[test]
    fn what_cannot_be_read_is_nobodys() {
        for text in ["connection", "connection x", "sub 7", "else 00000000000000000000000000000007", "connection 70000"]
        {
            assert_eq!(Namer::read(text), Namer::Unclear, "{text}");
        }
    }
}
