//! What a verified token claims: judged in a fixed order, then read as a launch.

use chrono::{DateTime, Utc};
use rollcall_store::lti::{LoginRequest, Place, Registration};
use serde_json::{Map, Value};
use url::Url;

use crate::refusal::Refusal;

/// How far two clocks may differ, in seconds.
const LEEWAY: i64 = 60;
/// How old a token may be, in seconds.
const OLDEST: i64 = 600;
/// Most characters of an id.
const ID_LIMIT: usize = 255;

macro_rules! claim {
    ($name:literal) => {
        concat!("https://purl.imsglobal.org/spec/lti/claim/", $name)
    };
}

/// What a token is measured against: all of it from the registration and the login, nothing from the token.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The registration that the state names.
    pub registration: &'a Registration,
    /// What the login began with.
    pub request: &'a LoginRequest,
    /// The login's nonce.
    pub nonce: &'a str,
    /// Now.
    pub now: DateTime<Utc>,
}

/// A launch that can be believed.
#[derive(Debug, Clone)]
pub struct Launch {
    claims: Map<String, Value>,
    target_link: Url,
}

impl Launch {
    /// Judges the claims: issuer, audience, times, nonce, deployment, target link, and what a launch must have.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn judge(claims: Map<String, Value>, expected: &Expected<'_>) -> Result<Self, Refusal> {
        let registration = expected.registration;
        if text(&claims, "iss") != Some(registration.issuer.as_str()) {
            return Err(Refusal::Issuer);
        }
        audience(&claims, &registration.client_id)?;
        times(&claims, expected.now.timestamp())?;
        if text(&claims, "nonce") != Some(expected.nonce) {
            return Err(Refusal::Nonce);
        }
        message(&claims)?;
        deployment(&claims, expected)?;
        let target_link = target_link(&claims, expected)?;
        Ok(Self { claims, target_link })
    }

    /// The value at a place; at [`Place::Flag`], the flag's id. A variable that the platform did not fill in (`$…`) counts as absent.
    pub fn value(&self, place: &Place) -> Option<String> {
        let found = match place {
            Place::Custom(name) => self.within(claim!("custom"), name),
            Place::ResourceLink => self.within(claim!("resource_link"), "id"),
            Place::Context => self.within(claim!("context"), "id"),
            Place::LisPerson => self.within(claim!("lis"), "person_sourcedid"),
            Place::Subject => text(&self.claims, "sub").map(str::to_owned),
            Place::Email => text(&self.claims, "email").map(str::to_owned),
            Place::Fixed(value) => Some(value.clone()),
            Place::TargetLinkQuery(name) => self.query(name),
            Place::Flag => self.query("flag"),
        };
        found.filter(|value| {
            !value.is_empty() && !value.starts_with('$') && value.len() <= ID_LIMIT && !value.contains('\0')
        })
    }

    /// The roles, as URIs.
    pub fn roles(&self) -> Vec<&str> {
        let roles = self.claims.get(claim!("roles")).and_then(Value::as_array);
        roles.map(|roles| roles.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
    }

    fn within(&self, claim: &str, name: &str) -> Option<String> {
        self.claims.get(claim)?.as_object()?.get(name)?.as_str().map(str::to_owned)
    }

    /// A query parameter of the target link, if it is there once.
    fn query(&self, name: &str) -> Option<String> {
        let mut values = self.target_link.query_pairs().filter(|(key, _)| key == name);
        let value = values.next()?.1.into_owned();
        values.next().is_none().then_some(value)
    }
}

fn text<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    claims.get(name)?.as_str()
}

/// A string or a list; ours must be in it, and nobody whom we do not know.
fn audience(claims: &Map<String, Value>, client_id: &str) -> Result<(), Refusal> {
    let ours = match claims.get("aud") {
        Some(Value::String(one)) => one == client_id,
        Some(Value::Array(all)) => !all.is_empty() && all.iter().all(|one| one.as_str() == Some(client_id)),
        _ => false,
    };
    let azp_fits = match claims.get("azp") {
        // A list of several, all ours, is odd enough to need the claim.
        None => claims.get("aud").and_then(Value::as_array).is_none_or(|all| all.len() == 1),
        Some(azp) => azp.as_str() == Some(client_id),
    };
    if ours && azp_fits { Ok(()) } else { Err(Refusal::Audience) }
}

/// Whole numbers only. A life of an hour is common; the issue must be recent.
fn times(claims: &Map<String, Value>, now: i64) -> Result<(), Refusal> {
    let whole = |name: &str| claims.get(name).and_then(Value::as_i64);
    let (Some(expires), Some(issued)) = (whole("exp"), whole("iat")) else { return Err(Refusal::Time) };
    let begun = match claims.get("nbf") {
        None => true,
        Some(from) => from.as_i64().is_some_and(|from| from <= now.saturating_add(LEEWAY)),
    };
    let recent = issued <= now.saturating_add(LEEWAY) && issued >= now.saturating_sub(OLDEST);
    let alive = expires > now.saturating_sub(LEEWAY);
    if begun && recent && alive { Ok(()) } else { Err(Refusal::Time) }
}

/// What every resource link launch has.
fn message(claims: &Map<String, Value>) -> Result<(), Refusal> {
    let is_launch = text(claims, claim!("message_type")) == Some("LtiResourceLinkRequest")
        && text(claims, claim!("version")) == Some("1.3.0");
    let link = claims.get(claim!("resource_link")).and_then(|link| link.get("id")).and_then(Value::as_str);
    let has_link = link.is_some_and(|id| !id.is_empty() && id.len() <= ID_LIMIT);
    // An anonymous launch, which has no subject, cannot be allowed to see anything.
    let has_subject = text(claims, "sub").is_some_and(|sub| !sub.is_empty() && sub.len() <= ID_LIMIT);
    let has_roles = claims.get(claim!("roles")).is_some_and(Value::is_array);
    if is_launch && has_link && has_subject && has_roles { Ok(()) } else { Err(Refusal::Claims) }
}

fn deployment(claims: &Map<String, Value>, expected: &Expected<'_>) -> Result<(), Refusal> {
    let deployment = text(claims, claim!("deployment_id")).ok_or(Refusal::Deployment)?;
    let known = expected.registration.details.deployments.iter().any(|known| known == deployment);
    let same = expected.request.lti_deployment_id.as_deref().is_none_or(|begun| begun == deployment);
    if known && same { Ok(()) } else { Err(Refusal::Deployment) }
}

/// The very text that the login began with, which was judged then.
fn target_link(claims: &Map<String, Value>, expected: &Expected<'_>) -> Result<Url, Refusal> {
    let link = text(claims, claim!("target_link_uri")).ok_or(Refusal::TargetLink)?;
    if link != expected.request.target_link_uri {
        return Err(Refusal::TargetLink);
    }
    Url::parse(link).map_err(|_| Refusal::TargetLink)
}

#[cfg(test)]
#[path = "claims_tests.rs"]
mod tests;
