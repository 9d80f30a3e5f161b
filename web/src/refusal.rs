//! Why a launch came to nothing: a class for the log, and the same page for everybody.

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use rollcall_proto::id::DistrictId;
use rollcall_store::StoreError;

use crate::{pages, random};

/// Why. The words are reason codes of `docs/runbooks/reasons.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// No such district, or one without any registration.
    UnknownPlatform,
    /// Several registrations have this issuer, and no client id says which.
    AmbiguousPlatform,
    /// A field is missing, doubled, too long, or the form is of another type.
    Malformed,
    /// The deployment is not one of the registration's.
    Deployment,
    /// The target link leads elsewhere, or is not the one the login began with.
    TargetLink,
    /// The platform answered with an error.
    PlatformError,
    /// No login has this state: never begun, expired or used.
    State,
    /// The login was begun in another browser, or the browser kept no cookie.
    Browser,
    /// The token is not of the form that is accepted: size, segments, encoding, header, duplicate keys, depth.
    TokenForm,
    /// The token's algorithm is not RS256.
    Algorithm,
    /// The platform's key set has no such key, or cannot be fetched.
    Key,
    /// The signature is wrong.
    Signature,
    /// Issued by somebody else.
    Issuer,
    /// Meant for somebody else.
    Audience,
    /// Expired, from the future, too old, or without times.
    Time,
    /// The nonce is not this login's.
    Nonce,
    /// A claim of the launch is missing or wrong.
    Claims,
    /// The launch names no student, program or person where the registration says they are.
    Unnamed,
    /// Nobody can tell of which of the district's sources the ids in the launch are.
    Source,
    /// The student is not in the roster.
    Student,
    /// The person may not see the student's documents, or may no longer: something else was said meanwhile.
    Access,
    /// The ticket has been used or has expired, or the document is not any more what was shown with it.
    Ticket,
    /// The store or the operating system failed.
    Unavailable,
}

impl Refusal {
    /// The reason code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::UnknownPlatform => "lti-unknown-platform",
            Self::AmbiguousPlatform => "lti-ambiguous-platform",
            Self::Malformed => "lti-malformed",
            Self::Deployment => "lti-deployment",
            Self::TargetLink => "lti-target-link",
            Self::PlatformError => "lti-platform-error",
            Self::State => "lti-state",
            Self::Browser => "lti-browser",
            Self::TokenForm => "lti-token-form",
            Self::Algorithm => "lti-algorithm",
            Self::Key => "lti-key",
            Self::Signature => "lti-signature",
            Self::Issuer => "lti-issuer",
            Self::Audience => "lti-audience",
            Self::Time => "lti-time",
            Self::Nonce => "lti-nonce",
            Self::Claims => "lti-claims",
            Self::Unnamed => "lti-unnamed",
            Self::Source => "lti-source",
            Self::Student => "lti-student",
            Self::Access => "lti-access",
            Self::Ticket => "lti-ticket",
            Self::Unavailable => "lti-unavailable",
        }
    }

    const fn status(self) -> StatusCode {
        match self {
            Self::Student | Self::Access => StatusCode::FORBIDDEN,
            Self::Ticket => StatusCode::GONE,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// Logs the class, and answers with the page that tells nothing but a number to ask about.
    pub(crate) fn answer(self, district: Option<&DistrictId>, frame_ancestors: &[String]) -> Response {
        let correlation = random::correlation();
        let district = district.map_or("-", DistrictId::as_str);
        tracing::warn!(district, reason = self.code(), correlation, "a launch was refused");
        let page = match self {
            Self::Student | Self::Access => pages::no_access(&correlation, frame_ancestors),
            Self::Unavailable => pages::unavailable(&correlation, frame_ancestors),
            _ => pages::refused(&correlation, frame_ancestors),
        };
        (self.status(), page).into_response()
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        if matches!(error, StoreError::NoDistrict(_)) {
            return Self::UnknownPlatform;
        }
        tracing::error!(error = &error as &dyn std::error::Error, "the store failed during a launch");
        Self::Unavailable
    }
}

impl From<random::NoRandomness> for Refusal {
    fn from(error: random::NoRandomness) -> Self {
        tracing::error!(%error, "a launch cannot be made safe");
        Self::Unavailable
    }
}
