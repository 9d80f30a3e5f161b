//! Why a SIS could not be asked. Every error names the thing; [`SisError::mend`] says what to do about it.
//!
//! No variant carries a student fact or a secret: hosts, resources, page numbers, status codes and positions only.

use std::time::Duration;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SisError {
    /// Not https, and private addresses are not allowed.
    #[error("{host} is to be reached over plain http")]
    PlainHttp {
        /// The host.
        host: String,
    },
    /// A loopback, link-local, private or otherwise reserved address.
    #[error("{host} is, or resolves to, an address that is not public")]
    ForbiddenAddress {
        /// The host.
        host: String,
    },
    /// A configured URL, header or parameter cannot be sent.
    #[error("the request to {host} cannot be built: {detail}")]
    Invalid {
        /// The host.
        host: String,
        /// What is wrong with it; no value.
        detail: &'static str,
    },
    /// The name does not resolve.
    #[error("the name {host} does not resolve")]
    Dns {
        /// The host.
        host: String,
    },
    /// No connection.
    #[error("{host} cannot be connected to")]
    Connect {
        /// The host.
        host: String,
    },
    /// The certificate is not trusted, has expired, or names another host.
    #[error("{host} shows a certificate that is not trusted for it ({detail})")]
    Certificate {
        /// The host.
        host: String,
        /// What the TLS library says.
        detail: String,
    },
    /// No answer in time.
    #[error("{host} did not answer in time")]
    Timeout {
        /// The host.
        host: String,
    },
    /// The answer broke off.
    #[error("the answer of {host} broke off")]
    Interrupted {
        /// The host.
        host: String,
    },
    /// The answer is larger than admitted.
    #[error("the answer of {host} is larger than {limit} bytes")]
    TooLarge {
        /// The host.
        host: String,
        /// The limit.
        limit: u64,
    },
    /// The answer is large, and there is no room for it beside others that are in hand.
    #[error("there is no room for the answer of {host} beside those in hand")]
    NoRoom {
        /// The host.
        host: String,
    },
    /// Too many failures in a row: nobody asks until the circuit closes.
    #[error("{host} failed several times in a row, so it is left alone for a while")]
    CircuitOpen {
        /// The host.
        host: String,
        /// Not before this long.
        after: Duration,
    },
    /// 429, or 503 with a time to come back.
    #[error("{host} asks to come back later (status {status})")]
    Busy {
        /// The host.
        host: String,
        /// HTTP status.
        status: u16,
        /// Not before this long.
        after: Duration,
    },
    /// The token endpoint refuses the client.
    #[error("the token endpoint of {host} refuses this client (status {status}, error {code})")]
    TokenRefused {
        /// The host.
        host: String,
        /// HTTP status.
        status: u16,
        /// OAuth error code, or `none`.
        code: String,
    },
    /// The token endpoint's answer holds no token.
    #[error("the token endpoint of {host} answered with status {status} and something that is no token")]
    TokenUnreadable {
        /// The host.
        host: String,
        /// HTTP status.
        status: u16,
    },
    /// The token ran out again before it could be used.
    #[error("a fresh token had expired when {what} was asked for")]
    TokenExpired {
        /// What was asked for.
        what: String,
    },
    /// 401 or 403 with a fresh token.
    #[error("{what} is refused (status {status})")]
    AccessRefused {
        /// What was asked for.
        what: String,
        /// HTTP status.
        status: u16,
    },
    /// Any other status than 200.
    #[error("{what} was answered with status {status}")]
    Status {
        /// What was asked for.
        what: String,
        /// HTTP status.
        status: u16,
    },
    /// HTML or other text with status 200.
    #[error("{what} was answered with something that is not JSON (content type {content_type})")]
    NotJson {
        /// What was asked for.
        what: String,
        /// Content type of the answer.
        content_type: String,
    },
    /// JSON that breaks off, or without the parts that a page has.
    #[error("the answer to {what} cannot be read: {problem} at line {line}, column {column}")]
    Unreadable {
        /// What was asked for.
        what: String,
        /// Class of the problem.
        problem: &'static str,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// `Paging.Next` leads to another origin than the configured one.
    #[error("the next page of {what} is said to be at another origin than the base URL")]
    NextElsewhere {
        /// What was asked for.
        what: String,
    },
    /// What the status rests on is not granted.
    #[error("not granted, and the status rests on it: {}", missing.join(", "))]
    NotGranted {
        /// Fields, as `Module/Object.Field`.
        missing: Vec<String>,
    },
    /// The SIS is slow, and time is up for now: the other questions follow in another turn. Nobody's failure.
    #[error("it answers slowly: {answered} of the questions are answered, and the others follow")]
    Unfinished {
        /// Questions answered so far.
        answered: usize,
    },
    /// The unit of work was over before the answer was there: a token, its turn, room or other answers were waited for first.
    /// Nobody's failure.
    #[error(
        "there was no time left for {what}: a token, its turn, room for the answer or other answers were waited for too long"
    )]
    OutOfTime {
        /// What was asked for.
        what: String,
    },
    /// The SIS does not tell which school year is current.
    #[error("{host} names no current school year for the configured entities")]
    NoSchoolYear {
        /// The host.
        host: String,
    },
    /// A table that cannot be empty has no row, in any entity that was asked.
    #[error("{what} is granted, and has no row in any of the configured entities")]
    EmptyTable {
        /// What was asked for.
        what: String,
    },
    /// A kind of SIS that this version cannot pull from.
    #[error("this version cannot pull from a connection of kind {kind}")]
    Unsupported {
        /// The kind.
        kind: &'static str,
    },
}

/// How long an answer waits before it looks for room once more.
const NO_ROOM: Duration = Duration::from_secs(5);

/// How long an answer waits that there was no time for.
const NO_TIME: Duration = Duration::from_secs(5);

/// What to do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// It may go well later.
    Again,
    /// The SIS names a time to come back: nobody's failure.
    Wait(Duration),
    /// A person has to mend something.
    GiveUp,
}

impl SisError {
    /// The unit of work was over, which is no word on the SIS.
    pub const fn is_out_of_time(&self) -> bool {
        matches!(self, Self::OutOfTime { .. })
    }

    /// What to do about it.
    pub const fn remedy(&self) -> Remedy {
        match self {
            Self::Dns { .. }
            | Self::Connect { .. }
            | Self::Timeout { .. }
            | Self::Interrupted { .. }
            | Self::CircuitOpen { .. }
            | Self::TokenUnreadable { .. }
            | Self::TokenExpired { .. }
            | Self::NotJson { .. }
            | Self::Unreadable { .. }
            | Self::EmptyTable { .. } => Remedy::Again,
            Self::Status { status, .. } if is_transient(*status) => Remedy::Again,
            Self::Busy { after, .. } => Remedy::Wait(*after),
            Self::NoRoom { .. } => Remedy::Wait(NO_ROOM),
            Self::Unfinished { .. } => Remedy::Wait(Duration::ZERO),
            Self::OutOfTime { .. } => Remedy::Wait(NO_TIME),
            _ => Remedy::GiveUp,
        }
    }

    /// Reason code, listed in `docs/runbooks/reasons.md`.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::PlainHttp { .. } | Self::ForbiddenAddress { .. } => "address-refused",
            Self::Invalid { .. } => "request-invalid",
            Self::Dns { .. } => "name-not-found",
            Self::Connect { .. } | Self::CircuitOpen { .. } => "host-unreachable",
            Self::Certificate { .. } => "certificate-untrusted",
            Self::Timeout { .. } | Self::Interrupted { .. } => "no-answer",
            Self::TooLarge { .. } => "answer-too-large",
            Self::NoRoom { .. } => "no-room",
            Self::Busy { .. } => "sis-busy",
            Self::Unfinished { .. } | Self::OutOfTime { .. } => "sis-slow",
            Self::TokenRefused { .. } => "token-refused",
            Self::TokenUnreadable { .. } | Self::TokenExpired { .. } => "token-unusable",
            Self::AccessRefused { .. } => "access-refused",
            Self::Status { .. } => "sis-error",
            Self::NotJson { .. } => "not-json",
            Self::Unreadable { .. } => "answer-unreadable",
            Self::NextElsewhere { .. } => "next-elsewhere",
            Self::NotGranted { .. } => "not-granted",
            Self::NoSchoolYear { .. } => "no-school-year",
            Self::EmptyTable { .. } => "table-empty",
            Self::Unsupported { .. } => "kind-unsupported",
        }
    }

    /// What a person can do.
    pub const fn mend(&self) -> &'static str {
        match self {
            Self::PlainHttp { .. } => "write base_url and token_url with https://",
            Self::ForbiddenAddress { .. } => {
                "set base_url and token_url to the SIS's public name (to try things out on a private address, start the \
                 process with ROLLCALL_ALLOW_PRIVATE_ADDRESSES=true)"
            }
            Self::Invalid { .. } => "check base_url, token_url, headers and token_parameters in the district's file",
            Self::Dns { .. } => "check the host name in base_url and token_url, and this machine's name server",
            Self::Connect { .. } | Self::CircuitOpen { .. } => {
                "check that the SIS is up and that a firewall lets this machine reach it"
            }
            Self::Certificate { .. } => {
                "ask the district to renew or complete the certificate, or correct the host name in base_url"
            }
            Self::Timeout { .. } => "lower page_size, or ask the district whether the SIS is overloaded",
            Self::Interrupted { .. } => "run again; if it stays, ask the district about a proxy in between",
            Self::TooLarge { .. } => "lower page_size",
            Self::NoRoom { .. } => "lower page_size, or raise ROLLCALL_FETCH_BODIES_MIB and the process's memory",
            Self::Busy { .. } => "lower lanes, or move the schedule to a quieter hour",
            Self::Unfinished { .. } => "nothing, it goes on by itself; with more lanes it takes less time",
            Self::OutOfTime { .. } => {
                "lower page_size, or ask the district whether the SIS or its token endpoint is overloaded"
            }
            Self::TokenRefused { status: 404, .. } => {
                "check token_url and base_url, from which it is derived (Infinite Campus: with the app name as the district gave it)"
            }
            Self::TokenRefused { .. } => {
                "check client_id and client_secret, and the app name where base_url or token_url has one; and ask the district \
                 whether the access is active and not expired"
            }
            Self::TokenUnreadable { status, .. } if is_transient(*status) => {
                "run again; if it stays, ask the district whether the SIS's token endpoint is up"
            }
            Self::TokenUnreadable { status, .. } if is_redirect(*status) => MOVED,
            Self::TokenUnreadable { .. } => "check token_url (and base_url, from which it is derived)",
            Self::TokenExpired { .. } => "run again; if it stays, ask the district how long tokens live",
            Self::AccessRefused { .. } => {
                "ask the district to grant it, and whether the access is active and not expired; check base_url, and with Qmlativ \
                 root (Custom or Generic)"
            }
            Self::Status { status, .. } if *status == 404 => {
                "check base_url in the district's file, and with Qmlativ root (Custom or Generic) and entities"
            }
            Self::Status { status, .. } if is_redirect(*status) => MOVED,
            Self::Status { .. } => "run again; if it stays, ask the district to look at the SIS's log",
            Self::NotJson { .. } => {
                "base_url is likely wrong (it ends in API, not STS), or the SIS shows a maintenance page"
            }
            Self::Unreadable { .. } => "run again; if it stays, lower page_size or ask about a proxy in between",
            Self::NextElsewhere { .. } => "correct base_url to the origin that the SIS really uses",
            Self::NotGranted { .. } => "ask the district to grant these fields to the integration access",
            Self::NoSchoolYear { .. } => "check entities in the district's file",
            Self::EmptyTable { .. } => {
                "run again; if it stays, check entities in the district's file, and ask the district whether the integration access \
                 may read the rows of it"
            }
            Self::Unsupported { .. } => "use a connection of kind skyward-qmlativ",
        }
    }

    /// The error and its mend, in one line.
    pub fn explain(&self) -> String {
        format!("{}: {self}; {}", self.code(), self.mend())
    }
}

/// What to do where the SIS sends the client elsewhere: no redirect is followed, since a token goes with every request.
const MOVED: &str = "set base_url and token_url to where the SIS is now (an answer that leads elsewhere is not followed; it may also \
                     be a page to sign in at)";

const fn is_redirect(status: u16) -> bool {
    status >= 300 && status < 400
}

/// Whether a status may be gone with the next try.
pub const fn is_transient(status: u16) -> bool {
    status == 408 || status == 425 || status == 429 || status >= 500
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A wrong address is not blamed on the secret.
    #[test]
    fn what_to_do_fits_what_was_refused() {
        let token = |status| {
            let error = SisError::TokenRefused { host: "sis.example".to_owned(), status, code: "none".to_owned() };
            error.mend()
        };
        assert!(token(404).contains("token_url") && !token(404).contains("client_secret"));
        assert!(token(401).contains("client_secret") && token(400).contains("app name"));
        let page = SisError::Status { what: "orgs page 1".to_owned(), status: 404 }.mend();
        assert!(page.starts_with("check base_url") && page.contains("with Qmlativ root"));
    }
}
