//! Steering from other processes: `/_control/…`, beside the SIS's own paths and without a token.

use axum::http::{Method, StatusCode};
use serde_json::json;
use url::form_urlencoded;

use crate::answer::Answer;
use crate::quirks::Quirks;
use crate::state::Shared;

/// Answers a control call; `path` is what follows `/_control/`.
pub(crate) fn answer(shared: &Shared, method: &Method, path: &str, query: &str, body: &[u8]) -> Answer {
    let segments: Vec<&str> = path.split('/').collect();
    match (method.as_str(), segments.as_slice()) {
        ("POST", ["night", night]) => set_night(shared, night),
        ("GET", ["night"]) => Answer::value(&json!({ "night": shared.night() })),
        ("POST", ["quirks"]) => set_quirks(shared, body),
        ("GET", ["quirks"]) => serialized(&*shared.quirks()),
        ("GET", ["stats"]) => shared.counters.with(|stats| serialized(stats)),
        ("GET", ["expected"]) => expected(shared, query),
        ("GET", ["config"]) => serialized(&shared.world.config),
        _ => Answer::error(StatusCode::NOT_FOUND, "no such control"),
    }
}

fn serialized(value: &impl serde::Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(body) => Answer::json(body),
        Err(_) => Answer::error(StatusCode::INTERNAL_SERVER_ERROR, "cannot be written as JSON"),
    }
}

fn set_night(shared: &Shared, night: &str) -> Answer {
    match night.parse() {
        Ok(night @ 1..) => {
            shared.set_night(night);
            Answer::value(&json!({ "night": night }))
        }
        _ => Answer::error(StatusCode::BAD_REQUEST, "nights count from 1"),
    }
}

fn set_quirks(shared: &Shared, body: &[u8]) -> Answer {
    match serde_json::from_slice::<Quirks>(body) {
        Ok(quirks) => {
            shared.set_quirks(quirks);
            serialized(&*shared.quirks())
        }
        Err(error) => Answer::error(StatusCode::BAD_REQUEST, &error.to_string()),
    }
}

/// `?night=N` for another night than tonight, `?students=true` for each student beside the counts.
fn expected(shared: &Shared, query: &str) -> Answer {
    let parameter = |name: &str| {
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    };
    let night = parameter("night").and_then(|night| night.parse().ok()).unwrap_or_else(|| shared.night());
    let quirks = shared.quirks();
    let view = shared.view_of(night, &quirks);
    let students = (parameter("students").as_deref() == Some("true")).then(|| view.expected_students());
    serialized(&json!({ "night": night, "counts": view.expected(), "students": students }))
}
