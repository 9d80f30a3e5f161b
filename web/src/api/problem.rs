//! Problem details (RFC 9457).

use std::borrow::Cow;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use rollcall_store::{
    StoreError,
    document::{DocumentRefused, FileRefused},
    flag::TakeOverRefused,
    integrations::Scope,
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{random, take_overs::TakeOverError};

/// An error's answer.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ProblemBody {
    /// A URN that names the kind of problem: `urn:rollcall:problem:` and the code.
    r#type: String,
    /// The kind in words.
    title: String,
    /// HTTP status.
    status: u16,
    /// What to do about this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// Reason code, as docs/runbooks/reasons.md lists it.
    code: Cow<'static, str>,
    /// A number to ask about.
    instance: String,
}

/// What went wrong.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    code: Cow<'static, str>,
    title: String,
    detail: Option<String>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, code: &'static str, title: impl Into<String>) -> Self {
        Self { status, code: code.into(), title: title.into(), detail: None }
    }

    pub(super) fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    pub(super) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "request-malformed", "the request cannot be read").detail(detail)
    }

    pub(super) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "token-invalid", "the access token is missing, unknown or expired")
            .detail("get one from /oauth2/token by client credentials")
    }

    pub(super) fn scope_missing(scope: Scope) -> Self {
        Self::new(StatusCode::FORBIDDEN, "scope-missing", "the access token is not for this")
            .detail(format!("it needs the scope {}, and the integration must have been given it", scope.as_str()))
    }

    pub(super) fn no_such_route() -> Self {
        Self::new(StatusCode::NOT_FOUND, "request-malformed", "there is nothing of this name")
            .detail("/api/v1/openapi.json names what there is")
    }

    pub(super) fn no_such_method() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "request-malformed", "there is no such method here")
            .detail("the header Allow names those that there are")
    }
}

impl From<DocumentRefused> for Problem {
    fn from(refused: DocumentRefused) -> Self {
        let status = match refused {
            DocumentRefused::Missing => StatusCode::NOT_FOUND,
            DocumentRefused::Exists
            | DocumentRefused::Withdrawn
            | DocumentRefused::Completed
            | DocumentRefused::OtherOwner => StatusCode::CONFLICT,
            DocumentRefused::DataTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self::new(status, refused.code(), refused.to_string())
    }
}

impl From<TakeOverError> for Problem {
    fn from(error: TakeOverError) -> Self {
        match error {
            TakeOverError::Refused(refused) => refused.into(),
            TakeOverError::Away(problem) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "campus-unavailable", "Campus cannot be asked right now")
                    .detail(problem)
            }
            TakeOverError::Store(error) => error.into(),
        }
    }
}

impl From<TakeOverRefused> for Problem {
    fn from(refused: TakeOverRefused) -> Self {
        let status = match refused {
            TakeOverRefused::PlanChanged { .. }
            | TakeOverRefused::NotShown { .. }
            | TakeOverRefused::Approved(_)
            | TakeOverRefused::Busy => StatusCode::CONFLICT,
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self { status, code: refused.code().to_owned().into(), title: refused.to_string(), detail: None }
    }
}

impl From<FileRefused> for Problem {
    fn from(refused: FileRefused) -> Self {
        let status = match refused {
            FileRefused::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            FileRefused::UnknownType => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self::new(status, refused.code(), refused.to_string())
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        tracing::error!(error = &error as &dyn std::error::Error, "the store failed under a request of the API");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "store-unavailable", "the documents cannot be reached right now")
            .detail("try again with the same idempotency key")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let instance = format!("urn:rollcall:request:{}", random::correlation());
        tracing::info!(code = &*self.code, status = self.status.as_u16(), instance, "a request of the API was refused");
        let body = ProblemBody {
            r#type: format!("urn:rollcall:problem:{}", self.code),
            title: self.title,
            status: self.status.as_u16(),
            detail: self.detail,
            code: self.code,
            instance,
        };
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"rollcall\""));
        }
        response
    }
}
