//! From a request to an answer, or to what comes in its place. Grammar: wire facts of Qmlativ, parts A and B.

use std::collections::BTreeSet;

use reqwest::{Method, Request};
use rollcall_http::{error::SisError, net::Reply};
use serde_json::{Map, Value, json};

use super::{Server, rows::Table};
use crate::{
    answers::{Answered, failed, reply, throttled},
    dice::Dice,
};

fn json_reply(value: &Value) -> Reply {
    reply(200, value.to_string())
}

/// Segments after the root: entity, module, object, page, size.
fn segments(request: &Request) -> Vec<&str> {
    request.url().path_segments().into_iter().flatten().skip_while(|segment| *segment != "Custom").skip(1).collect()
}

/// Whether a page of a listing is asked for.
pub(super) fn is_page(request: &Request) -> bool {
    request.method() == Method::POST && segments(request).len() == 5
}

/// A page asked for.
struct Asked {
    table: &'static Table,
    page: usize,
    size: usize,
    condition: Value,
    /// The SIS is asked for certain students.
    second_look: bool,
}

impl Asked {
    fn read(request: &Request) -> Option<Self> {
        let segments = segments(request);
        let [_, module, object, page, size] = segments.as_slice() else { return None };
        let body: Value = serde_json::from_slice(request.body()?.as_bytes()?).ok()?;
        let condition = body["SearchCondition"].clone();
        let second_look = condition.to_string().contains("\"List\"");
        let (page, size) = (page.parse().ok()?, size.parse().ok()?);
        Some(Self { table: Table::find(module, object)?, page, size, condition, second_look })
    }
}

/// Whether a row is meant by a search condition.
fn admits(condition: &Value, row: &Value) -> bool {
    if let Some(group) = condition.get("SearchConditionGroup") {
        return group["Conditions"].as_array().is_some_and(|all| all.iter().all(|one| admits(one, row)));
    }
    let condition = &condition["LongSearchCondition"];
    let field = condition["FieldName"].as_str().unwrap_or_default();
    match condition["ConditionType"].as_str() {
        Some("List") => condition["List"].as_array().is_some_and(|list| list.contains(&row[field])),
        Some("Equal") => row[field] == condition["Value"],
        _ => true,
    }
}

impl Server {
    /// Answers a request as the weather has it.
    pub(super) fn answer(&mut self, host: &str, request: &Request, dice: &Dice) -> Answered {
        if let Some(trouble) = self.trouble(host, dice) {
            return trouble;
        }
        if request.url().path().ends_with("/oauth/token") {
            return Ok(self.token(dice));
        }
        if let Some(refusal) = self.refuse(request, dice) {
            return Ok(refusal);
        }
        match segments(request).as_slice() {
            ["GetSystemMetadata"] => Ok(json_reply(&json!({
                "System": {"Districts": [{"Name": host, "SchoolYearCurrent": {"SchoolYearID": 12, "NumericYear": 2027}}]}
            }))),
            [_, module, object] => Ok(Table::find(module, object).map_or_else(not_found, fields)),
            _ => Ok(Asked::read(request).map_or_else(not_found, |asked| self.page(&asked, dice))),
        }
    }

    /// What comes in place of any answer.
    fn trouble(&self, host: &str, dice: &Dice) -> Option<Answered> {
        let weather = self.weather;
        if weather.down {
            return Some(Err(SisError::Connect { host: host.to_owned() }));
        }
        if dice.chance(weather.throttled) {
            let retry_after = match dice.below(4) {
                0 => None,
                1 => Some("1".to_owned()),
                2 => Some(dice.between(5, 400).to_string()),
                _ => Some("soon".to_owned()),
            };
            return Some(Ok(throttled(retry_after, dice)));
        }
        dice.chance(weather.failing).then(|| failed(host, dice))
    }

    fn token(&mut self, dice: &Dice) -> Reply {
        let token = format!("token-{}", dice.below(u64::MAX));
        self.tokens.insert(token.clone());
        json_reply(&json!({"access_token": token, "token_type": "bearer", "expires_in": 3_600}))
    }

    /// A token that is not known, or no longer good: with several lanes, at any page.
    fn refuse(&mut self, request: &Request, dice: &Dice) -> Option<Reply> {
        let bearer = request.headers().get("authorization")?.to_str().ok()?.strip_prefix("Bearer ")?;
        if dice.chance(self.weather.expiring) {
            self.tokens.remove(bearer);
        }
        (!self.tokens.contains(bearer)).then(|| reply(403, r#"{"Message":"Token has expired"}"#))
    }

    fn page(&self, asked: &Asked, dice: &Dice) -> Reply {
        if let Some(garbled) = self.garbled(asked, dice) {
            return garbled;
        }
        let weather = self.weather;
        let rows = self.rows(asked);
        let pages = rows.len().div_ceil(asked.size).max(1);
        let lies = !asked.second_look;
        let last = asked.page >= pages || (lies && dice.chance(weather.torn));
        let back = lies && asked.page > 1 && dice.chance(weather.repeating);
        let from = (asked.page - 1 - usize::from(back)) * asked.size;
        let mut shown: Vec<Value> = rows.iter().skip(from).take(asked.size).cloned().collect();
        if lies && dice.chance(weather.moving) {
            move_rows(&mut shown, dice);
        }
        let next = format!("/Custom/1/{}/{}/{}", asked.table.resource, asked.page + 1, asked.size);
        let mut paging = Map::from_iter([("Next".to_owned(), if last { Value::Null } else { next.into() })]);
        if weather.totals {
            paging.insert("TotalCount".to_owned(), rows.len().into());
        }
        json_reply(&json!({"Paging": paging, "Objects": shown}))
    }

    fn rows(&self, asked: &Asked) -> Vec<Value> {
        let Some(rows) = self.tables.get(asked.table.resource) else { return Vec::new() };
        let there = |row: &&Value| {
            !asked.table.of_students || row["StudentID"].as_i64().is_none_or(|id| !self.missing.contains(&id))
        };
        rows.iter().filter(there).filter(|row| admits(&asked.condition, row)).cloned().collect()
    }

    /// What is no page, with status 200.
    fn garbled(&self, asked: &Asked, dice: &Dice) -> Option<Reply> {
        if !dice.chance(self.weather.garbled) {
            return None;
        }
        let empty = r#"{"Paging":{"Next":null},"Objects":[]}"#;
        match dice.below(3) {
            0 => Some(reply(200, "<html>Down for maintenance</html>")),
            1 => Some(reply(200, r#"{"Paging":{"Next":null},"Objects":[{"StudentID":1"#)),
            _ if asked.second_look => None,
            _ => Some(reply(200, empty)),
        }
    }
}

/// Rows moved while the listing was paged: some are skipped, or come twice.
fn move_rows(rows: &mut Vec<Value>, dice: &Dice) {
    for _ in 0..dice.between(1, 3) {
        if rows.is_empty() {
            return;
        }
        let place = dice.place(rows);
        if dice.chance(700) {
            rows.remove(place);
        } else {
            rows.insert(place, rows[place].clone());
        }
    }
}

fn fields(table: &Table) -> Reply {
    let fields: BTreeSet<&str> = table.columns.iter().copied().collect();
    let described = fields.into_iter().map(|name| (name.to_owned(), json!({"DataType": "Text"})));
    json_reply(&Value::Object(described.collect()))
}

fn not_found() -> Reply {
    reply(404, "{}")
}
