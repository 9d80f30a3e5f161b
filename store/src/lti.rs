//! What LTI launches rest on: registrations, logins under way, tickets, the tool's keys, and who may see what.
//!
//! Role: keeps and finds. Neighbours: `web` decides; the command line registers.
//!
//! Invariants: a login's state and a ticket are good once, by one atomic statement, however many processes serve; what
//! a browser holds lies here as a digest only; private keys lie sealed.
//!
//! Deliberately absent: any judgement of a token, and any decision about who may see what.

mod keys;
mod logins;
mod namer;
mod registrations;
mod source;
pub(crate) mod staff;
mod users;
mod views;

use std::{fmt, str::FromStr};

pub(crate) use keys::reseal;
pub use namer::Namer;
pub use source::NoSource;
pub(crate) use users::{follow, follow_people};

use chrono::{DateTime, Utc};
use rollcall_proto::id::{ConnectionNo, DistrictId, StudentId};
use serde::{Deserialize, Serialize};
use url::Url;
use uuid::Uuid;
use zeroize::Zeroizing;

/// Where a district's platform posts launches; with `?flag=ID`, what a flag links to. Flags are pushed with it and launches
/// are measured against it, so it stands in one place.
pub fn launch_url(public_url: &Url, district: &DistrictId) -> Url {
    let mut url = public_url.clone();
    url.set_path(&format!("{}/lti/{district}/launch", public_url.path().trim_end_matches('/')));
    url
}

/// A platform that may launch the tool for a district. Source: LTI 1.3 Core, 3.1.3 (registration and deployments).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// Whose.
    pub district: DistrictId,
    /// Its id.
    pub id: Uuid,
    /// The platform's `iss`, compared exactly.
    pub issuer: String,
    /// The client id that the platform gave the tool.
    pub client_id: String,
    /// Where logins are sent on to.
    pub auth_url: Url,
    /// Where the platform's public keys are.
    pub jwks_url: Url,
    /// What else was configured.
    pub details: RegistrationDetails,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// A deployment that belongs to another district: a launch of it would be a launch for two tenants.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("deployment {deployment} of this issuer and client is registered for another district")]
pub struct DeploymentTaken {
    /// Which one.
    pub deployment: String,
    /// Whose it is. For operators only: no district learns of another.
    pub district: DistrictId,
    /// The registration that holds it.
    pub registration: Uuid,
}

/// What a registration says beyond the platform's addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistrationDetails {
    /// Deployment ids, compared exactly; at least one.
    pub deployments: Vec<String>,
    /// Where a launch names the student.
    pub student: Place,
    /// Where it names the program.
    pub program: Place,
    /// Where it names the person who clicked.
    pub user: Place,
    /// Position of the connection whose ids launches speak of; see [`Self::source`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<ConnectionNo>,
    /// What staff of the roster may see without being added.
    pub staff: StaffAccess,
    /// Origins that may frame the viewer, beside the auth URL's own.
    #[serde(default)]
    pub frame_origins: Vec<String>,
}

/// Where in a verified launch a value stands. Written as on the command line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Place {
    /// `flag`: what the flag stands for whose id is the query parameter `flag` of the target link, as flag-sync pushes it.
    Flag,
    /// `custom:NAME`: a value of the custom claim.
    Custom(String),
    /// `resource_link`: the resource link's id.
    ResourceLink,
    /// `context`: the context's id.
    Context,
    /// `target_link_query:NAME`: a query parameter of the target link's claim.
    TargetLinkQuery(String),
    /// `lis.person_sourcedid`: of the lis claim; names the person who clicked.
    LisPerson,
    /// `sub`: the platform's own id of the person.
    Subject,
    /// `email`: off unless chosen; an address can change hands.
    Email,
    /// `fixed:VALUE`: the same for every launch.
    Fixed(String),
}

/// A text that names no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a place in a launch; places are flag, custom:NAME, target_link_query:NAME, resource_link, context, \
     lis.person_sourcedid, sub, email and fixed:VALUE"
)]
pub struct NoPlace;

impl Place {
    /// Whether a person who is named there is named by the SIS's own id, as the roster has it.
    pub const fn is_sis_id(&self) -> bool {
        matches!(self, Self::LisPerson | Self::Custom(_))
    }
}

impl FromStr for Place {
    type Err = NoPlace;

    fn from_str(text: &str) -> Result<Self, NoPlace> {
        let named = |name: &str| (!name.is_empty()).then(|| name.to_owned()).ok_or(NoPlace);
        match text.split_once(':') {
            Some(("custom", name)) => named(name).map(Self::Custom),
            Some(("target_link_query", name)) => named(name).map(Self::TargetLinkQuery),
            Some(("fixed", value)) => named(value).map(Self::Fixed),
            Some(_) => Err(NoPlace),
            None => match text {
                "flag" => Ok(Self::Flag),
                "resource_link" => Ok(Self::ResourceLink),
                "context" => Ok(Self::Context),
                "lis.person_sourcedid" => Ok(Self::LisPerson),
                "sub" => Ok(Self::Subject),
                "email" => Ok(Self::Email),
                _ => Err(NoPlace),
            },
        }
    }
}

impl TryFrom<String> for Place {
    type Error = NoPlace;

    fn try_from(text: String) -> Result<Self, NoPlace> {
        text.parse()
    }
}

impl From<Place> for String {
    fn from(place: Place) -> Self {
        place.to_string()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Custom(name) => write!(f, "custom:{name}"),
            Self::TargetLinkQuery(name) => write!(f, "target_link_query:{name}"),
            Self::Fixed(value) => write!(f, "fixed:{value}"),
            Self::Flag => f.write_str("flag"),
            Self::ResourceLink => f.write_str("resource_link"),
            Self::Context => f.write_str("context"),
            Self::LisPerson => f.write_str("lis.person_sourcedid"),
            Self::Subject => f.write_str("sub"),
            Self::Email => f.write_str("email"),
        }
    }
}

/// What staff of the roster may see without being added by an administrator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StaffAccess {
    /// Nothing.
    Nothing,
    /// Students enrolled where they work.
    OwnSchools,
}

impl StaffAccess {
    /// As the command line spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::OwnSchools => "own-schools",
        }
    }
}

/// A login that begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewLogin {
    /// With which registration.
    pub registration: Uuid,
    /// Digest of the state.
    pub state: Digest,
    /// Digest of the browser's cookie.
    pub browser: Digest,
    /// What the token must carry.
    pub nonce: String,
    /// What the platform sent.
    pub request: LoginRequest,
    /// No longer good from here on.
    pub expires_at: DateTime<Utc>,
}

/// What the platform sent to begin a login, kept so that it can begin again in a tab of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginRequest {
    /// `iss`.
    pub iss: String,
    /// `login_hint`, opaque.
    pub login_hint: String,
    /// `target_link_uri`.
    pub target_link_uri: String,
    /// `lti_message_hint`, opaque.
    pub lti_message_hint: Option<String>,
    /// `client_id`.
    pub client_id: Option<String>,
    /// `lti_deployment_id`.
    pub lti_deployment_id: Option<String>,
}

/// A login under way, as its state finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// With which registration.
    pub registration: Uuid,
    /// Digest of the browser's cookie.
    pub browser: Digest,
    /// What the token must carry.
    pub nonce: String,
    /// What the platform sent.
    pub request: LoginRequest,
}

/// BLAKE3 of a random value that somebody else holds: enough to find it again, useless to whoever reads the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Of a value.
    pub fn of(value: &str) -> Self {
        Self(*blake3::hash(value.as_bytes()).as_bytes())
    }
}

impl From<Digest> for Vec<u8> {
    fn from(digest: Digest) -> Self {
        digest.0.to_vec()
    }
}

/// The right to fetch a document once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// With which registration it was got.
    pub registration: Uuid,
    /// Which document.
    pub document_id: String,
    /// In which version; none is known of a ticket that a program before noted.
    pub version: Option<i64>,
}

/// A document that is shown.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    /// Its id.
    pub document_id: &'a str,
    /// In which version.
    pub version: i64,
    /// Digest of the ticket for its file.
    pub ticket: Digest,
    /// When the ticket ends.
    pub expires_at: DateTime<Utc>,
}

/// One of the tool's keys.
pub struct ToolKey {
    /// RFC 7638 thumbprint.
    pub kid: String,
    /// The public part, a JSON Web Key as published.
    pub public_key: String,
    /// PKCS #8.
    pub private_key: Zeroizing<Vec<u8>>,
    /// Signs from here on.
    pub signs_from: DateTime<Utc>,
}

impl fmt::Debug for ToolKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ToolKey").field("kid", &self.kid).field("signs_from", &self.signs_from).finish_non_exhaustive()
    }
}

/// A tool key without its private part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicToolKey {
    /// Its id.
    pub kid: String,
    /// A JSON Web Key.
    pub public_key: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Signs from here on.
    pub signs_from: DateTime<Utc>,
    /// Published until here.
    pub retires_at: Option<DateTime<Utc>>,
}

/// What an administrator decided about a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LtiUser {
    /// Who gives the id.
    pub namer: Namer,
    /// The person's id.
    pub user_id: String,
    /// What they may see.
    pub access: UserAccess,
    /// When it was decided.
    pub created_at: DateTime<Utc>,
    /// By whom.
    pub created_by: String,
}

/// What a person may see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserAccess {
    /// Whose documents.
    pub students: StudentScope,
    /// Of these programs only; empty: of any.
    #[serde(default)]
    pub programs: Vec<String>,
}

/// Whose documents a person may see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StudentScope {
    /// Nobody's, whatever the roster says.
    Nobody,
    /// Those enrolled in these schools (codes).
    Schools(Vec<String>),
    /// These students.
    Students(Vec<String>),
    /// All of the district.
    Everybody,
}

/// A member of the roster's staff, as far as access goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaffMember {
    /// The roster's id.
    pub staff_id: String,
    /// Position of the connection that lists the person.
    pub connection: u16,
    /// Ids of the entities where active.
    pub entities: Vec<String>,
}

/// A student, as far as access goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Who.
    pub student_id: StudentId,
    /// Ids that the student once had: an administrator's list may still name one.
    pub earlier_ids: Vec<StudentId>,
    /// Position of the connection that lists the student.
    pub connection: u16,
    /// Codes of the schools with an enrollment that is open or still to come, after the connection's prefix.
    pub schools: Vec<String>,
    /// Ids of the entities with such an enrollment.
    pub entities: Vec<String>,
}

/// How a look at a student's document ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ViewOutcome {
    /// It was shown.
    Shown,
    /// There is none.
    NoDocument,
    /// The person may not see it.
    Refused,
}

impl ViewOutcome {
    /// As it is stored and listed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shown => "shown",
            Self::NoDocument => "no-document",
            Self::Refused => "refused",
        }
    }
}

/// A line of the access log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// When.
    pub at: DateTime<Utc>,
    /// Whose document.
    pub student_id: StudentId,
    /// Of which program.
    pub program: String,
    /// Which, if one was shown.
    pub document_id: Option<String>,
    /// Who looked, as the platform names them.
    pub user_id: String,
    /// Through which platform.
    pub issuer: String,
    /// What came of it: `shown`, `no-document` or `refused`.
    pub outcome: String,
}

/// A look that has been decided.
#[derive(Debug, Clone)]
pub struct NewView<'a> {
    /// When.
    pub at: DateTime<Utc>,
    /// Whose document.
    pub student_id: &'a StudentId,
    /// Of which program.
    pub program: &'a str,
    /// Who looks.
    pub user_id: &'a str,
    /// Through which registration.
    pub registration: &'a Registration,
    /// What comes of it.
    pub outcome: ViewOutcome,
    /// The document shown.
    pub shown: Option<Shown<'a>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_district_has_a_launch_url_below_the_sites() {
        let district = "lone-star".parse().unwrap();
        for site in ["https://plans.example", "https://plans.example/"] {
            let url = launch_url(&site.parse().unwrap(), &district);
            assert_eq!(url.as_str(), "https://plans.example/lti/lone-star/launch");
        }
        let url = launch_url(&"https://plans.example/rollcall/".parse().unwrap(), &district);
        assert_eq!(url.as_str(), "https://plans.example/rollcall/lti/lone-star/launch");
    }

    #[test]
    fn places_read_back_as_they_are_written() {
        let all = [
            "flag",
            "custom:student_sourced_id",
            "target_link_query:sid",
            "fixed:Special Education",
            "resource_link",
            "context",
            "lis.person_sourcedid",
            "sub",
            "email",
        ];
        for text in all {
            assert_eq!(text.parse::<Place>().unwrap().to_string(), text);
        }
        for text in ["", "custom", "custom:", "name", "fixed:", "header:x", "SUB"] {
            assert_eq!(text.parse::<Place>(), Err(NoPlace), "{text}");
        }
    }
}
