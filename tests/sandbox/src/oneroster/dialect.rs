//! Whose `OneRoster`, and which version of it: what hangs on that is asked here.
//!
//! Campus is built from wire/oneroster-campus.md 2. Of Skyward's `OneRoster` less is known (wire/skyward.md C): paths, the token
//! endpoint, names of collections and fields, the ids of students, guardians and entities, that guardians name their
//! students, and that teachers are at the district first. The rest is assumed, in the way that asks most of a client, and
//! docs/ONEROSTER.md says which is which.

use super::quirks::{Booleans, OneRosterQuirks};

/// Versions served, each with its own shapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Version {
    V11,
    V12,
}

/// Whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Vendor {
    Campus,
    Skyward,
}

/// A vendor's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Dialect {
    pub(crate) vendor: Vendor,
    pub(crate) version: Version,
}

impl Vendor {
    /// What stands before each of its paths.
    pub(super) const fn root(self) -> &'static str {
        match self {
            Self::Campus => super::ROOT,
            Self::Skyward => crate::http::BASE,
        }
    }

    /// A path below the root, as version and what follows it.
    pub(super) fn split(self, path: &str) -> Option<(Version, &str)> {
        let (of_12, of_11) = match self {
            Self::Campus => (super::ROSTERING, super::BASE_11),
            Self::Skyward => (super::SKYWARD_BASE, super::SKYWARD_BASE_11),
        };
        let below = |base: &str, version| Some((version, path.strip_prefix(base)?.strip_prefix('/')?));
        below(of_12, Version::V12).or_else(|| below(of_11, Version::V11))
    }
}

impl Dialect {
    pub(crate) const fn new(vendor: Vendor, version: Version) -> Self {
        Self { vendor, version }
    }

    pub(super) const fn is_skyward(self) -> bool {
        matches!(self.vendor, Vendor::Skyward)
    }

    /// Whether pages come with a total and with links. Nobody has seen either at Skyward.
    pub(super) const fn counts(self, quirks: &OneRosterQuirks) -> bool {
        !self.is_skyward() || quirks.skyward_counts
    }

    /// Whether a filter by this field is known. At Skyward others than `status` "may not all be supported".
    pub(super) fn filters_by(self, field: &str, quirks: &OneRosterQuirks) -> bool {
        !self.is_skyward() || quirks.skyward_filters || field == "status"
    }

    /// How booleans are written: Skyward's of 1.1 are said to come in either way.
    pub(super) const fn booleans(self, quirks: &OneRosterQuirks) -> Booleans {
        match (self.vendor, self.version) {
            (Vendor::Skyward, Version::V11) => Booleans::Json,
            _ => quirks.booleans,
        }
    }

    /// Whether guardians name their students, rather than the other way round.
    pub(super) const fn links_from_guardians(self, quirks: &OneRosterQuirks) -> bool {
        self.is_skyward() || quirks.back_links
    }

    /// Whether 1.2 tells the ids of 1.1. Skyward's are the same in both.
    pub(super) const fn tells_legacy_ids(self, quirks: &OneRosterQuirks) -> bool {
        !self.is_skyward() && matches!(self.version, Version::V12) && !quirks.no_legacy_ids
    }
}
