//! Who calls: the integration that a token belongs to.

use axum::{
    extract::FromRequestParts,
    http::{header, request::Parts},
};
use rollcall_proto::id::DistrictId;
use rollcall_store::{
    integrations::{Scope, Scopes},
    lti::Digest,
};

use super::problem::Problem;
use crate::server::App;

/// An integration with a token that is good.
pub(super) struct Caller {
    /// The district it belongs to: all that it can see.
    pub(super) district: DistrictId,
    /// Its name in histories and the audit trail.
    pub(super) actor: String,
    /// What its token may do.
    scopes: Scopes,
}

impl Caller {
    /// Refuses what the token is not for.
    pub(super) fn may(&self, scope: Scope) -> Result<(), Problem> {
        if self.scopes.0.contains(&scope) { Ok(()) } else { Err(Problem::scope_missing(scope)) }
    }
}

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let value = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = value.and_then(|value| value.split_once(' '));
        let token = token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim());
        let token = token.ok_or_else(Problem::unauthorized)?;
        let district = token.split_once('.').and_then(|(district, _)| district.parse::<DistrictId>().ok());
        let district = district.ok_or_else(Problem::unauthorized)?;
        let holder = app.store.token_holder(&district, Digest::of(token), app.clock.now()).await?;
        let holder = holder.ok_or_else(Problem::unauthorized)?;
        Ok(Self { district, actor: format!("integration:{}", holder.integration), scopes: holder.scopes })
    }
}
