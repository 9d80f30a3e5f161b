//! A district's configuration, as its TOML file spells it and as the store keeps it (without secrets).

use std::collections::BTreeMap;

use chrono::NaiveTime;
use chrono_tz::Tz;
use rollcall_proto::id::{ConnectionNo, DistrictId};
use serde::{Deserialize, Serialize};

/// A district's file. Unknown keys are errors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct District {
    /// Its id.
    pub id: DistrictId,
    /// Its name, for people.
    pub name: String,
    /// Its IANA time zone: "today" is the district's local date.
    pub time_zone: Tz,
    /// Where its students come from; at least one.
    #[serde(default, rename = "connection")]
    pub connections: Vec<Connection>,
    /// When the nightly run starts.
    #[serde(default)]
    pub schedule: Schedule,
    /// How statuses are decided.
    #[serde(default)]
    pub status: StatusPolicy,
    /// When a plan waits for a person.
    #[serde(default)]
    pub hold: HoldPolicy,
    /// Special programs of the district's own, and those whose flags go back to the SIS.
    #[serde(default, rename = "program", skip_serializing_if = "Vec::is_empty")]
    pub programs: Vec<Program>,
    /// What holds for the flags of all programs.
    #[serde(default, skip_serializing_if = "FlagPolicy::is_default")]
    pub flags: FlagPolicy,
}

impl Connection {
    /// Which SIS it leads to: a digest of kind, URLs and `id_prefix`. Access, page size and all else may change, and the same
    /// students come of it.
    pub fn origin(&self) -> String {
        let url = |url: &url::Url| url.as_str().trim_end_matches('/').to_owned();
        let token_url = self.token_url.as_ref().map(url);
        let parts = [Some(self.kind.as_str().to_owned()), Some(url(&self.base_url)), token_url, self.id_prefix.clone()];
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            // None and empty differ, and no two neighbours run into each other.
            let length = part.as_ref().map_or(u64::MAX, |part| part.len() as u64);
            hasher.update(&length.to_le_bytes()).update(part.unwrap_or_default().as_bytes());
        }
        hasher.finalize().to_hex()[..32].to_owned()
    }
}

impl District {
    /// Whether flags of any program go back to the SIS.
    pub fn has_flags(&self) -> bool {
        self.flags.enabled && self.programs.iter().any(|program| program.flags)
    }

    /// The connection that flags go through: the first `OneRoster` one with a vendor key.
    pub fn flag_connection(&self) -> Option<(ConnectionNo, &Connection)> {
        let mut numbered = (0_u16..).map(ConnectionNo).zip(&self.connections);
        numbered.find(|(_, one)| one.kind == SisKind::OneRoster && one.vendor_key.is_some())
    }

    /// A connection by its place in the file.
    pub fn connection(&self, number: ConnectionNo) -> Option<&Connection> {
        self.connections.get(usize::from(number.0))
    }
}

/// Which kind of SIS a connection speaks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SisKind {
    /// Skyward Qmlativ, Generic or Custom API.
    SkywardQmlativ,
    /// Skyward SMS 2.0.
    SkywardSms2,
    /// OneRoster 1.1 or 1.2 over REST.
    #[serde(rename = "oneroster")]
    OneRoster,
}

impl SisKind {
    /// The kind as the district file spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SkywardQmlativ => "skyward-qmlativ",
            Self::SkywardSms2 => "skyward-sms2",
            Self::OneRoster => "oneroster",
        }
    }
}

/// A connection to a SIS. Secrets are not here: see [`ConnectionSecrets`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connection {
    /// Which SIS.
    pub kind: SisKind,
    /// Base URL, as the district copies it.
    pub base_url: url::Url,
    /// Token URL, where it cannot be derived from the base URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_url: Option<url::Url>,
    /// OAuth client id, or consumer key.
    pub client_id: String,
    /// Rows asked for in one page, 1 to 10,000.
    #[serde(default = "default_page_size")]
    pub page_size: u32,
    /// Most requests at once, 1 to 32.
    #[serde(default = "default_lanes")]
    pub lanes: u16,
    /// Qmlativ: first path segment.
    #[serde(default)]
    pub root: QmlativRoot,
    /// Qmlativ: entities to ask; 1 is the district-wide one.
    #[serde(default = "default_entities")]
    pub entities: Vec<i64>,
    /// Qmlativ: how requested columns are spelled in the query.
    #[serde(default)]
    pub search_fields: SearchFieldsEncoding,
    /// Qmlativ: which field holds the withdrawal date, where the default must not be taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawal_date_field: Option<String>,
    /// Which staff to pull.
    #[serde(default)]
    pub staff: StaffScope,
    /// Where the client's credentials go in the token request.
    #[serde(default)]
    pub credentials: CredentialPlacement,
    /// OAuth scopes, space separated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// Further form parameters of the token request.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub token_parameters: BTreeMap<String, String>,
    /// Further headers of the token request and of every request.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Put before every student id of this connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_prefix: Option<String>,
    /// OneRoster: 1.1 or 1.2; where it is not said, as the base URL has it, else 1.2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<OneRosterVersion>,
    /// OneRoster: whose server it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<OneRosterProfile>,
    /// OneRoster at Campus: the application's name, where neither URL holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_name: Option<String>,
    /// OneRoster: which of a user's ids is the state's: a type among `userIds`, or `metadata.NAME`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_id_from: Option<String>,
    /// OneRoster: every so many days everything is asked for, and what has changed on the others; 1 to 31.
    #[serde(default = "default_full_every_days", skip_serializing_if = "is_default_full_every_days")]
    pub full_every_days: u32,
    /// Campus programs: x-vendor-authorization key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vendor_key: Option<String>,
}

impl Connection {
    /// What stands before its ids in the roster; mostly nothing.
    pub fn prefix(&self) -> &str {
        self.id_prefix.as_deref().unwrap_or_default()
    }
}

/// Once a week.
const FULL_EVERY_DAYS: u32 = 7;

const fn default_full_every_days() -> u32 {
    FULL_EVERY_DAYS
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's `skip_serializing_if` passes a reference")]
const fn is_default_full_every_days(days: &u32) -> bool {
    *days == FULL_EVERY_DAYS
}

const fn default_page_size() -> u32 {
    500
}

const fn default_lanes() -> u16 {
    4
}

fn default_entities() -> Vec<i64> {
    vec![1]
}

/// OneRoster's versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OneRosterVersion {
    /// One role a user, without dates.
    #[serde(rename = "1.1")]
    V1p1,
    /// Roles with dates.
    #[serde(rename = "1.2")]
    V1p2,
}

/// Whose OneRoster server it is: where they differ beyond the standard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OneRosterProfile {
    /// Infinite Campus.
    #[default]
    Campus,
    /// Skyward, beside its own API.
    Skyward,
    /// Any other.
    Plain,
}

/// Qmlativ: first path segment after the base URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum QmlativRoot {
    /// Integration Access.
    #[default]
    Custom,
    /// API User.
    Generic,
}

/// Qmlativ: `searchFields=A&searchFields=B`, or `searchFields[0]=A&searchFields[1]=B`. Real servers take both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SearchFieldsEncoding {
    /// `searchFields[0]=A`.
    #[default]
    Indexed,
    /// `searchFields=A`.
    Repeated,
}

/// Which staff to pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StaffScope {
    /// None.
    #[default]
    None,
    /// All that are active.
    Active,
    /// Teachers only.
    Teachers,
}

/// Where client id and secret go in the token request (wire/skyward.md A1 lists who used which).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CredentialPlacement {
    /// `Authorization: Basic` with both parts as they stand, form body, POST.
    #[default]
    Basic,
    /// In the form body, POST.
    Form,
    /// `Authorization: Basic` with both parts URL-encoded, parameters in the query, GET.
    BasicGet,
}

/// When the nightly run starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Local time of day, `HH:MM`.
    #[serde(default = "default_at", with = "hour_minute")]
    pub at: NaiveTime,
    /// Also on Saturday and Sunday.
    #[serde(default = "yes")]
    pub weekends: bool,
    /// Off for a district that is run by hand only.
    #[serde(default = "yes")]
    pub enabled: bool,
}

impl Default for Schedule {
    fn default() -> Self {
        Self { at: default_at(), weekends: true, enabled: true }
    }
}

fn default_at() -> NaiveTime {
    NaiveTime::from_hms_opt(2, 0, 0).unwrap_or_default()
}

const fn yes() -> bool {
    true
}

mod hour_minute {
    use chrono::NaiveTime;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's `with` passes a reference")]
    pub(super) fn serialize<S: Serializer>(at: &NaiveTime, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&at.format("%H:%M").to_string())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NaiveTime, D::Error> {
        let text = String::deserialize(deserializer)?;
        NaiveTime::parse_from_str(&text, "%H:%M")
            .map_err(|_| D::Error::custom("a time of day is written \"HH:MM\", from \"00:00\" to \"23:59\""))
    }
}

/// How statuses are decided, see docs/STATUS.md.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatusPolicy {
    /// Withdrawal codes of course enrollments at another campus.
    #[serde(default = "default_ignored")]
    pub ignore_withdrawal_codes: Vec<String>,
    /// Withdrawal codes that mean graduated.
    #[serde(default = "default_graduated")]
    pub graduated_withdrawal_codes: Vec<String>,
    /// What a withdrawal date of Skyward's is; OneRoster's are always exclusive: see [`StatusPolicy::for_kind`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawal_date_is: Option<WithdrawalDateIs>,
    /// Which school years' upcoming enrollments count.
    #[serde(default)]
    pub school_years: SchoolYears,
}

impl Default for StatusPolicy {
    fn default() -> Self {
        Self {
            ignore_withdrawal_codes: default_ignored(),
            graduated_withdrawal_codes: default_graduated(),
            withdrawal_date_is: None,
            school_years: SchoolYears::default(),
        }
    }
}

impl StatusPolicy {
    /// The policy for a kind of SIS. What a withdrawal date is differs from district to district at Skyward; OneRoster's end
    /// dates are exclusive by the standard, whatever is said of the others.
    #[must_use]
    pub fn for_kind(&self, kind: SisKind) -> Self {
        let date = match kind {
            SisKind::OneRoster => WithdrawalDateIs::FirstDayNotEnrolled,
            SisKind::SkywardQmlativ | SisKind::SkywardSms2 => self.withdrawal_date_is.unwrap_or_default(),
        };
        Self { withdrawal_date_is: Some(date), ..self.clone() }
    }
}

fn default_ignored() -> Vec<String> {
    vec!["CECS".to_owned()]
}

fn default_graduated() -> Vec<String> {
    vec!["01".to_owned()]
}

/// What a withdrawal date is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WithdrawalDateIs {
    /// In force through it.
    #[default]
    LastDayEnrolled,
    /// In force up to, not including, it.
    FirstDayNotEnrolled,
}

/// Which school years' upcoming enrollments count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SchoolYears {
    /// The current one.
    #[default]
    Current,
    /// The current and the next one.
    CurrentAndNext,
}

/// When a plan waits for a person.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoldPolicy {
    /// Every plan waits.
    #[serde(default)]
    pub preview: bool,
    /// More removals than this percentage of those ENROLLED or PRE_ENROLLED before; 0 to 100.
    #[serde(default = "default_max_removed")]
    pub max_removed_percent: f64,
    /// More other changes than this percentage of all stored students; 0 to 100.
    #[serde(default = "default_max_changed")]
    pub max_changed_percent: f64,
}

impl Default for HoldPolicy {
    fn default() -> Self {
        Self { preview: false, max_removed_percent: default_max_removed(), max_changed_percent: default_max_changed() }
    }
}

const fn default_max_removed() -> f64 {
    10.0
}

const fn default_max_changed() -> f64 {
    75.0
}

/// A special program: a district's own, or one whose flags go back to the SIS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// Name, exactly as the SIS spells it.
    pub name: String,
    /// Whether flags are written: the program's kill switch.
    #[serde(default)]
    pub flags: bool,
    /// What happens to flags that are there already. Needed for flags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub option: Option<CutoverOption>,
    /// First day on which Rollcall's flags rule. Needed for flags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cutover: Option<chrono::NaiveDate>,
    /// What happens when somebody edited a flag by hand.
    #[serde(default)]
    pub on_drift: OnDrift,
}

/// What happens to flags that are there already when a program goes live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CutoverOption {
    /// They are ended, once, after approval, on the day before the cutover.
    TakeOver,
    /// They are not touched.
    CreateNew,
}

/// What happens when somebody edited one of our flags in the SIS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnDrift {
    /// It is listed.
    #[default]
    Report,
    /// It is written again as it should be.
    Restore,
}

/// What holds for the flags of all programs of a district.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlagPolicy {
    /// The district's kill switch: off, nothing is written for any program.
    #[serde(default = "yes")]
    pub enabled: bool,
}

impl FlagPolicy {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for FlagPolicy {
    fn default() -> Self {
        Self { enabled: true }
    }
}

/// A connection's secrets. Kept encrypted; does not print.
#[derive(Clone, Default)]
pub struct ConnectionSecrets {
    /// OAuth client secret.
    pub client_secret: secrecy::SecretString,
    /// Campus programs: the vendor's secret.
    pub vendor_secret: Option<secrecy::SecretString>,
    /// Qmlativ: the vendor's hidden third value, by the name of the form parameter that carries it.
    pub token_secret_parameters: BTreeMap<String, secrecy::SecretString>,
    /// Secret header values, by header name.
    pub secret_headers: BTreeMap<String, secrecy::SecretString>,
}
