//! From a request to an answer of the model Campus, or to what comes in its place. Grammar: wire/oneroster-campus.md 2.2 and 2.5.

use reqwest::{Method, Request};
use rollcall_http::{error::SisError, net::Reply};
use serde_json::{Value, json};

use super::{
    campus::{Server, text},
    weather::Filters,
};
use crate::{
    answers::{Answered, failed, reply, throttled},
    dice::Dice,
};

/// What `x-vendor-authorization` must carry.
pub(crate) const VENDOR: (&str, &str) = ("vendor", "vendor-secret");

/// What is asked for.
enum Asked {
    Programs,
    List,
    One(String),
    Write(String, Value),
    Nothing,
}

/// Field and value of a filter.
type Filter = Option<(String, String)>;

/// An error as the standard words it.
fn failure(status: u16) -> Reply {
    reply(status, r#"{"imsx_codeMajor":"failure","imsx_severity":"error"}"#)
}

fn parameter(request: &Request, name: &str) -> Option<String> {
    request.url().query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

fn number(request: &Request, name: &str) -> Option<usize> {
    parameter(request, name)?.parse().ok()
}

fn filter(request: &Request) -> Filter {
    let filter = parameter(request, "filter")?;
    let (field, value) = filter.split_once('=')?;
    Some((field.to_owned(), value.trim_matches('\'').to_owned()))
}

fn asked(request: &Request) -> Asked {
    let path = request.url().path();
    let Some((_, rest)) = path.split_once("/gradebook/v1p2/") else { return Asked::Nothing };
    match (request.method(), rest.split_once('/')) {
        (&Method::GET, None) if rest == "programs" => Asked::Programs,
        (&Method::GET, None) if rest == "programParticipations" => Asked::List,
        (&Method::GET, Some(("programParticipations", id))) => Asked::One(id.to_owned()),
        (&Method::PUT, Some(("programParticipations", id))) => {
            let body = request.body().and_then(reqwest::Body::as_bytes).unwrap_or_default();
            let body: Value = serde_json::from_slice(body).unwrap_or_default();
            Asked::Write(id.to_owned(), body["programParticipation"].clone())
        }
        _ => Asked::Nothing,
    }
}

/// A list is asked for.
pub(super) fn is_list(request: &Request) -> bool {
    matches!(asked(request), Asked::List | Asked::Programs)
}

/// Only where it cannot be one student's list.
fn may_lie(request: &Request) -> bool {
    match filter(request) {
        Some((field, _)) => field != "student.sourcedId",
        None => matches!(asked(request), Asked::Programs),
    }
}

impl Server {
    /// Answers a request as the weather has it.
    pub(super) fn answer(&mut self, host: &str, request: &Request, dice: &Dice) -> Answered {
        if let Some(trouble) = self.trouble(host, dice) {
            return trouble;
        }
        if request.url().path().ends_with("/oauth2/token") {
            let token = format!("token-{}", dice.below(u64::MAX));
            self.tokens.insert(token.clone());
            let body = json!({"access_token": token, "token_type": "Bearer", "expires_in": 3_600});
            return Ok(reply(200, body.to_string()));
        }
        if self.refuses(request, dice) {
            return Ok(failure(401));
        }
        match asked(request) {
            Asked::Programs => Ok(self.list("programs", self.program_rows(), request, dice)),
            Asked::List => Ok(self.participations(request, dice)),
            Asked::One(id) => Ok(self.one(&id, dice)),
            Asked::Write(id, row) => self.take(host, &id, &row, dice),
            Asked::Nothing => {
                let wrong = format!("{} {} is no part of the contract", request.method(), request.url().path());
                self.wrong.push((wrong, Default::default()));
                Ok(failure(404))
            }
        }
    }

    /// What comes in place of any answer.
    fn trouble(&self, host: &str, dice: &Dice) -> Option<Answered> {
        let weather = self.weather;
        if weather.down || weather.writes_left == Some(0) {
            return Some(Err(SisError::Connect { host: host.to_owned() }));
        }
        if dice.chance(weather.throttled) {
            let retry_after = [None, Some("1"), Some("40"), Some("soon")][dice.below(4) as usize].map(str::to_owned);
            return Some(Ok(throttled(retry_after, dice)));
        }
        dice.chance(weather.failing).then(|| failed(host, dice))
    }

    /// A token that is not known or no longer good, or another vendor.
    fn refuses(&mut self, request: &Request, dice: &Dice) -> bool {
        let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let bearer = header("authorization").strip_prefix("Bearer ").unwrap_or_default();
        if dice.chance(self.weather.expiring) {
            self.tokens.remove(bearer);
        }
        !self.tokens.contains(bearer) || header("x-vendor-authorization") != format!("{}:{}", VENDOR.0, VENDOR.1)
    }

    fn program_rows(&self) -> Vec<Value> {
        let row = |program: &super::campus::Program| {
            json!({
                "sourcedId": program.id, "status": "active", "title": program.name,
                "metadata": {"active": "true", "specialEd": "true"},
            })
        };
        self.programs.iter().map(row).collect()
    }

    fn shown(&self, row: &Value) -> Value {
        let mut row = row.clone();
        if self.dialect.capitals
            && let Some(id) = row["sourcedId"].as_str()
        {
            row["sourcedId"] = Value::from(id.to_ascii_uppercase());
        }
        row
    }

    fn one(&self, id: &str, dice: &Dice) -> Reply {
        if let Some(status) = self.dialect.refuses_one {
            return failure(status);
        }
        if dice.chance(self.weather.garbled) {
            return reply(200, "<html>Down for maintenance</html>");
        }
        match self.rows.get(&id.to_ascii_lowercase()) {
            Some(row) => reply(200, json!({"programParticipation": self.shown(row)}).to_string()),
            None => failure(404),
        }
    }

    fn participations(&self, request: &Request, dice: &Dice) -> Reply {
        let filter = filter(request);
        if filter.is_some() && self.dialect.filters == Filters::Refused {
            return failure(400);
        }
        let filter = filter.filter(|_| self.dialect.filters == Filters::Honoured);
        let is_wanted = |row: &&Value| match &filter {
            Some((field, value)) => {
                let path: Vec<&str> = field.split('.').collect();
                text(row, &path).eq_ignore_ascii_case(value)
            }
            None => true,
        };
        let rows = self.rows.values().filter(is_wanted).map(|row| self.shown(row)).collect();
        self.list("programParticipations", rows, request, dice)
    }

    /// A page of a list, as the weather has it.
    fn list(&self, envelope: &str, mut rows: Vec<Value>, request: &Request, dice: &Dice) -> Reply {
        let lies = may_lie(request);
        if dice.chance(self.weather.garbled) {
            match dice.below(3) {
                0 => return reply(200, "<html>Down for maintenance</html>"),
                1 => return reply(200, format!("{{\"{envelope}\":[{{\"sourcedId\":\"1")),
                _ if lies => return reply(200, json!({envelope: []}).to_string()),
                _ => {}
            }
        }
        rows.sort_by_key(|row| text(row, &["sourcedId"]).to_owned());
        let total = rows.len();
        let offset = number(request, "offset").unwrap_or_default();
        let back = if lies && dice.chance(self.weather.repeating) { self.dialect.page } else { 0 };
        let size = number(request, "limit").unwrap_or(100).clamp(1, self.dialect.page);
        let mut page: Vec<Value> = rows.into_iter().skip(offset.saturating_sub(back)).take(size).collect();
        if lies && !page.is_empty() && dice.chance(self.weather.moving) {
            let place = dice.place(&page);
            if dice.chance(700) { drop(page.remove(place)) } else { page.insert(place, page[place].clone()) }
        }
        let total_count = self.dialect.totals.then(|| total.to_string());
        Reply { total_count, ..reply(200, json!({envelope: page}).to_string()) }
    }

    /// A write.
    fn take(&mut self, host: &str, id: &str, row: &Value, dice: &Dice) -> Answered {
        if dice.chance(self.weather.refusing) {
            return Ok(failure([403, 404, 409, 422][dice.below(4) as usize]));
        }
        if dice.chance(self.weather.forgotten) {
            self.forgot(id, row);
            return Ok(reply(200, ""));
        }
        let written = self.write(id, row);
        if let Some(left) = &mut self.weather.writes_left {
            *left = left.saturating_sub(u64::from(written.is_ok()));
        }
        let answer = match written {
            Ok(true) => reply(201, ""),
            Ok(false) => reply(200, ""),
            Err(status) => failure(status),
        };
        if !dice.chance(self.weather.unheard) {
            return Ok(answer);
        }
        self.unheard += 1;
        match dice.below(3) {
            0 => Err(SisError::Interrupted { host: host.to_owned() }),
            1 => Err(SisError::Timeout { host: host.to_owned() }),
            _ => Ok(reply(500, "{}")),
        }
    }
}
