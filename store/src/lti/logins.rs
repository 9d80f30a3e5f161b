//! Logins under way and tickets: good once, soon, and swept away afterwards.

use chrono::{DateTime, TimeDelta, Utc};
use rollcall_proto::id::DistrictId;

use super::{Digest, Login, NewLogin, Ticket};
use crate::{
    Store, StoreError,
    districts::json_unreadable,
    sql::{Row, args},
};

type Result<T> = std::result::Result<T, StoreError>;

/// How long a used or expired login is remembered: longer than any token made for it is good (an hour, and a leeway).
const REMEMBERED: TimeDelta = TimeDelta::hours(2);

/// All open logins but the newest.
const MAKE_ROOM: &str = "\
DELETE FROM lti_login WHERE district = $1 AND state_digest IN
    (SELECT state_digest FROM lti_login WHERE district = $1 AND expires_at > $2 AND used_at IS NULL
     ORDER BY created_at DESC, state_digest LIMIT 1000000 OFFSET $3)";

impl Store {
    /// Notes a login. Where `most` of the district are open, the oldest make room, since nobody has to be anybody to begin one,
    /// and each holds what the platform sent. Returns how many did. Those that begin at the same moment do not see each other.
    pub async fn begin_login(
        &self,
        district: &DistrictId,
        login: &NewLogin,
        most: u32,
        now: DateTime<Utc>,
    ) -> Result<u64> {
        let operation = "note an LTI login";
        let request = serde_json::to_string(&login.request).map_err(|error| json_unreadable("LTI login", &error))?;
        let mut tx = self.begin(district, operation).await?;
        let crowded_out = tx.execute(operation, MAKE_ROOM, args![district, now, i64::from(most) - 1]).await?;
        let sql = "INSERT INTO lti_login (district, state_digest, registration, nonce, browser_digest, request, \
                   created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
        let (state, browser): (Vec<u8>, Vec<u8>) = (login.state.into(), login.browser.into());
        let (registration, nonce) = (login.registration, &login.nonce);
        let values = args![district, state, registration, nonce, browser, request, now, login.expires_at];
        tx.execute(operation, sql, values).await?;
        tx.commit(operation).await?;
        Ok(crowded_out)
    }

    /// The login of a state that is neither used nor expired.
    pub async fn login(&self, district: &DistrictId, state: Digest, now: DateTime<Utc>) -> Result<Option<Login>> {
        let operation = "find an LTI login";
        let mut tx = self.read(district, operation).await?;
        let sql = "SELECT registration, browser_digest, nonce, request FROM lti_login \
                   WHERE district = $1 AND state_digest = $2 AND used_at IS NULL AND expires_at > $3";
        let row = tx.row(operation, sql, args![district, Vec::from(state), now]).await?;
        tx.commit(operation).await?;
        row.as_ref().map(login).transpose()
    }

    /// Uses a login up: from here on nothing but its state is remembered. False: somebody else has, or it has expired.
    pub async fn use_login(&self, district: &DistrictId, state: Digest, now: DateTime<Utc>) -> Result<bool> {
        let operation = "use an LTI login";
        let mut tx = self.begin(district, operation).await?;
        let sql = "UPDATE lti_login SET used_at = $3, request = '' \
                   WHERE district = $1 AND state_digest = $2 AND used_at IS NULL AND expires_at > $3";
        let used = tx.execute(operation, sql, args![district, Vec::from(state), now]).await? == 1;
        tx.commit(operation).await?;
        Ok(used)
    }

    /// Uses a ticket up.
    pub async fn use_ticket(
        &self,
        district: &DistrictId,
        ticket: Digest,
        now: DateTime<Utc>,
    ) -> Result<Option<Ticket>> {
        let operation = "use a document's ticket";
        let mut tx = self.begin(district, operation).await?;
        let sql = "DELETE FROM lti_ticket WHERE district = $1 AND ticket_digest = $2 AND expires_at > $3 \
                   RETURNING registration, document_id, version";
        let row = tx.row(operation, sql, args![district, Vec::from(ticket), now]).await?;
        tx.commit(operation).await?;
        row.map(|row| Ok(Ticket { registration: row.get(0)?, document_id: row.get(1)?, version: row.get(2)? }))
            .transpose()
    }

    /// Forgets logins, tickets, keys and tokens whose time is over. Returns how many. What a platform sent with a login that
    /// has expired is forgotten before the login itself.
    pub async fn sweep_web(&self, district: &DistrictId, now: DateTime<Utc>) -> Result<u64> {
        let operation = "forget what has expired on the HTTP side";
        let mut tx = self.begin(district, operation).await?;
        let sql = "UPDATE lti_login SET request = '' WHERE district = $1 AND expires_at <= $2 AND request <> ''";
        tx.execute(operation, sql, args![district, now]).await?;
        let mut swept = 0;
        for (sql, before) in [
            ("DELETE FROM lti_login WHERE district = $1 AND expires_at < $2", now - REMEMBERED),
            ("DELETE FROM lti_ticket WHERE district = $1 AND expires_at < $2", now),
            ("DELETE FROM lti_key WHERE district = $1 AND retires_at < $2", now),
            ("DELETE FROM integration_token WHERE district = $1 AND expires_at < $2", now),
        ] {
            swept += tx.execute(operation, sql, args![district, before]).await?;
        }
        tx.commit(operation).await?;
        Ok(swept)
    }
}

fn login(row: &Row) -> Result<Login> {
    let browser: Vec<u8> = row.get(1)?;
    let request: String = row.get(3)?;
    let corrupt = |_| StoreError::Corrupt { what: "digest of a cookie", detail: "not 32 bytes".to_owned() };
    Ok(Login {
        registration: row.get(0)?,
        browser: browser.try_into().map(Digest).map_err(corrupt)?,
        nonce: row.get(2)?,
        request: serde_json::from_str(&request).map_err(|error| json_unreadable("LTI login", &error))?,
    })
}
