//! What real `OneRoster` servers do differently. Each is off by default.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Quirks of `OneRoster`. Those of `crate::PagingQuirks` that have a meaning here hold too: `empty`, `total_off_by`,
/// `max_page_size` (silently), `stable_order`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct OneRosterQuirks {
    /// No `X-Total-Count`.
    pub no_total: bool,
    /// No `Link`.
    pub no_link: bool,
    /// `Link` leads to another host, which no client may follow.
    pub foreign_link: bool,
    /// How booleans are written. Skyward's 1.1 writes real ones.
    pub booleans: Booleans,
    /// Shape of an error's body.
    pub errors: ErrorShape,
    /// What a blank `filter=` does.
    pub blank_filter: BlankFilter,
    /// Guardians are not shared: no such users, and every `agents` empty.
    pub no_guardians: bool,
    /// Guardians are linked from their own side, by `agents` of the guardian.
    pub back_links: bool,
    /// The scope for demographics is missing: 403.
    pub no_demographics: bool,
    /// The district has flipped the active year: roles of the year to come, and none of the one before.
    pub next_year: bool,
    /// 1.2 does not tell the ids of 1.1.
    pub no_legacy_ids: bool,
    /// Ids come in capitals.
    pub capital_ids: bool,
    /// E-mail addresses and telephone numbers are not shared: the keys are missing.
    pub no_contact_data: bool,
    /// E-mail addresses and telephone numbers are switched off while users are listed: from this row of a listing on, counted
    /// from 0, the keys are missing.
    pub contact_data_until_row: Option<usize>,
    /// Skyward's: pages come with a total and with links, which nobody has seen there.
    pub skyward_counts: bool,
    /// Skyward's: filters by any field, where only one by `status` is known to be served.
    pub skyward_filters: bool,
    /// Those who are gone are listed as `tobedeleted` instead of being left out.
    pub to_be_deleted: bool,
    /// Half of those who are gone are left out all the same.
    pub silent_half: bool,
    /// What a filter by `dateLastModified` does.
    pub change_filter: ChangeFilter,
    /// Users do not tell their `dateLastModified`.
    pub undated_rows: bool,
    /// Rows are stamped with a clock, or a zone, so many hours behind.
    pub stamps_behind_hours: u8,
    /// Each night's changes are stamped half an hour before the pull of the night before, which did not show them yet: the
    /// latest that a server can show a change after it was made. Night 5 is then the day after the district's own date.
    pub days_pass: bool,
    /// What it takes for now in `Date`; the machine's time where not said.
    pub clock: Option<DateTime<Utc>>,
    /// An answer breaks off before this row of its listing, counted from 0, whatever was asked for; what is asked for from there on
    /// is told.
    pub breaks_at_row: Option<usize>,
    /// And what is asked for from there on is not told either, where it begins at that very row.
    pub gap_at_break: bool,
    /// The night that comes while users are being listed: as soon as a second page of them is asked for.
    pub turns_to: Option<u32>,
}

/// How booleans are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Booleans {
    /// `"true"`, as the standard has it.
    #[default]
    Strings,
    /// `true`, as some servers of 1.1 write.
    Json,
}

/// Shape of an error's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorShape {
    /// The bare object, as the standard has it.
    #[default]
    Bare,
    /// Inside `imsx_StatusInfo`.
    Wrapped,
    /// `imsx_codeMinor` as a flat text.
    Flat,
    /// A list in `statusInfoSet` (1.1).
    Set,
    /// A list in `errors` (1.1).
    Errors,
    /// `{"error": "…"}`.
    Message,
    /// A web page.
    Html,
}

/// What a filter by `dateLastModified` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeFilter {
    /// What the standard says.
    #[default]
    Heeded,
    /// As if it were not there.
    Ignored,
    /// 400, as for an unknown field.
    Refused,
    /// Heeded, and `X-Total-Count` counts all rows.
    Miscounted,
    /// Nothing is ever shown.
    Empty,
    /// 500: the server falls over it.
    Failing,
    /// 500 from the second page on.
    FailingLater,
    /// `{}`.
    Bare,
}

/// What a blank `filter=` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BlankFilter {
    /// As if it were not there.
    #[default]
    Tolerated,
    /// 400.
    Refused,
}
