//! What both models answer with, whatever was asked.

use rollcall_http::{error::SisError, net::Reply};

use crate::dice::Dice;

/// An answer, or what comes in its place.
pub(crate) type Answered = Result<Reply, SisError>;

pub(crate) fn reply(status: u16, body: impl Into<bytes::Bytes>) -> Reply {
    Reply {
        status,
        content_type: Some("application/json; charset=utf-8".to_owned()),
        retry_after: None,
        date: None,
        total_count: None,
        link: None,
        cache_control: None,
        body: body.into(),
        room: rollcall_http::net::room::Taken::default(),
    }
}

/// Too many requests, or too much to do.
pub(crate) fn throttled(retry_after: Option<String>, dice: &Dice) -> Reply {
    let status = if dice.chance(700) { 429 } else { 503 };
    Reply { retry_after, ..reply(status, "{}") }
}

/// One of the ways in which a server fails.
pub(crate) fn failed(host: &str, dice: &Dice) -> Answered {
    let host = host.to_owned();
    match dice.below(6) {
        0 => Ok(reply(500, "{}")),
        1 => Ok(reply(502, "<html>bad gateway</html>")),
        2 => Ok(reply(503, "{}")),
        3 => Err(SisError::Interrupted { host }),
        4 => Err(SisError::Timeout { host }),
        _ => Err(SisError::Connect { host }),
    }
}
