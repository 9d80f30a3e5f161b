//! Districts: configuration, secrets, schedules.
//!
//! Secrets lie sealed, a value per connection; the configuration holds none. Removing a district is a mark.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveTime, Utc};
use rollcall_proto::id::{ConnectionNo, DistrictId, RunId};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    ScheduledDistrict, Store, StoreError,
    audit::AuditEntry,
    district::{ConnectionSecrets, District},
    documents,
    flag_work::{self, Programs},
    lti, runs,
    secret::Keyring,
    sql::{Row, Tx, args},
    trail,
};

type Result<T> = std::result::Result<T, StoreError>;

const APPLY: &str = "\
INSERT INTO district (district, name, config, time_zone, schedule_at, schedule_weekends, schedule_enabled,
                      schedule_since, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8, $8)
ON CONFLICT (district) DO UPDATE SET
    name = excluded.name, config = excluded.config, time_zone = excluded.time_zone, schedule_at = excluded.schedule_at,
    schedule_weekends = excluded.schedule_weekends, schedule_enabled = excluded.schedule_enabled,
    -- A schedule that was off catches nothing up.
    schedule_since = CASE WHEN district.removed_at IS NULL AND district.schedule_enabled
                          THEN district.schedule_since ELSE excluded.schedule_since END,
    updated_at = excluded.updated_at, removed_at = NULL";

const SCHEDULES_PG: &str = "SELECT district, time_zone, at, weekends, last_scheduled, since FROM lookout_schedules()";
const SCHEDULES_LITE: &str = "\
SELECT district, time_zone, schedule_at, schedule_weekends, last_scheduled, schedule_since
FROM district WHERE schedule_enabled AND removed_at IS NULL ORDER BY district";

/// What became of the runs of a district that was removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// Those that were cancelled.
    pub cancelled: Vec<RunId>,
    /// How many are being written, and end when that is done.
    pub written: i64,
}

impl Store {
    /// Inserts or replaces a district's configuration and its secrets (one set per connection, in order).
    pub async fn apply_district(
        &self,
        district: &District,
        secrets: &[ConnectionSecrets],
        actor: &str,
        now: DateTime<Utc>,
    ) -> Result<()> {
        let operation = "apply a district";
        if secrets.len() != district.connections.len() {
            let class = "not as many sets of secrets as connections".to_owned();
            return Err(StoreError::Refused { operation, class });
        }
        let sealed = self.seal_all(&district.id, secrets)?;
        let mut tx = self.begin(&district.id, operation).await?;
        let before = before(&mut tx, &district.id, operation).await?;
        lti::staff::unwanted_left(&mut tx, before.as_ref(), district, now).await?;
        let programs = programs_beside(before.as_ref(), district);
        write_district(&mut tx, district, now).await?;
        write_secrets(&mut tx, &district.id, sealed, now).await?;
        let own = district.programs.iter().map(|program| &program.name);
        documents::keep_programs(&mut tx, &district.id, own, now).await?;
        flag_work::enable(&mut tx, &district.id, district.has_flags(), programs).await?;
        let detail = format!("connections={}", secrets.len());
        trail::write(&mut tx, &entry(&district.id, "district.apply", actor, detail, now)).await?;
        tx.commit(operation).await
    }

    /// Those that have not been removed, by id.
    pub async fn districts(&self) -> Result<Vec<DistrictId>> {
        let all = self.all_districts().await?;
        Ok(all.into_iter().filter(|(_, removed)| !removed).map(|(id, _)| id).collect())
    }

    /// A district's configuration; also that of a removed one, whose roster stays.
    pub async fn district(&self, id: &DistrictId) -> Result<District> {
        let operation = "read a district";
        let mut tx = self.read(id, operation).await?;
        let config = config(&mut tx, id, operation).await?;
        tx.commit(operation).await?;
        config.ok_or_else(|| StoreError::NoDistrict(id.clone()))
    }

    /// When a district was removed. `None`: it was not, or there is none.
    pub async fn removed_at(&self, id: &DistrictId) -> Result<Option<DateTime<Utc>>> {
        let operation = "look for a removed district";
        let mut tx = self.read(id, operation).await?;
        let row = tx.row(operation, "SELECT removed_at FROM district WHERE district = $1", args![id]).await?;
        tx.commit(operation).await?;
        row.map_or(Ok(None), |row| row.get(0))
    }

    /// Those that have been removed, by id.
    pub async fn removed_districts(&self) -> Result<Vec<DistrictId>> {
        let all = self.all_districts().await?;
        Ok(all.into_iter().filter(|(_, removed)| *removed).map(|(id, _)| id).collect())
    }

    /// The secrets of a connection.
    pub async fn secrets(&self, id: &DistrictId, connection: ConnectionNo) -> Result<ConnectionSecrets> {
        let operation = "read a connection's secrets";
        let mut tx = self.read(id, operation).await?;
        let sql = "SELECT secrets FROM connection WHERE district = $1 AND connection = $2";
        let row = tx.row(operation, sql, args![id, connection]).await?;
        tx.commit(operation).await?;
        let sealed: Vec<u8> = row.ok_or_else(|| StoreError::NoDistrict(id.clone()))?.get(0)?;
        open(self.keyring(), id, connection, &sealed)
    }

    /// Digest of a connection's secrets, by which another process sees that it has the same ones. Without the key of the store it tells
    /// nothing of them.
    pub fn secrets_digest(&self, id: &DistrictId, secrets: &ConnectionSecrets) -> Result<[u8; 16]> {
        Ok(self.page_digester(id).of_other("secrets", &plain(secrets)?))
    }

    /// Students who attend, stored as a connection's, whose ids do not go with the prefix that it is to have: they are of a source
    /// that had the place before, with prefix `before`. What a place without either prefix holds cannot be told.
    pub async fn strangers_at(
        &self,
        id: &DistrictId,
        connection: u16,
        before: Option<&str>,
        prefix: &str,
    ) -> Result<i64> {
        let operation = "count the students of a connection";
        let sql = "SELECT count(*) FROM student WHERE district = $1 AND connection = $2 \
                   AND status IN ('ENROLLED', 'PRE_ENROLLED') AND substr(student_id, 1, CAST($4 AS integer)) = $3";
        let mut tx = self.read(id, operation).await?;
        let mut beginning = async |with: &str| {
            let length = with.chars().count() as i64;
            let row = tx.row(operation, sql, args![id, connection, with, length]).await?;
            row.map_or(Ok(0), |row| row.get::<i64>(0))
        };
        let strangers = match (before, prefix) {
            (None, "") => 0,
            (Some(before), "") => beginning(before).await?,
            (_, prefix) => beginning("").await? - beginning(prefix).await?,
        };
        tx.commit(operation).await?;
        Ok(strangers)
    }

    /// No more runs, and no more flags; the roster stays. `apply_district` brings it back. Ends every run of it that writes nothing
    /// yet, a held one too; what is being written comes to its end.
    pub async fn remove_district(&self, id: &DistrictId, actor: &str, now: DateTime<Utc>) -> Result<Removed> {
        let operation = "remove a district";
        let mut tx = self.begin(id, operation).await?;
        let sql = "UPDATE district SET removed_at = coalesce(removed_at, $2), updated_at = $2 WHERE district = $1";
        if tx.execute(operation, sql, args![id, now]).await? == 0 {
            return Err(StoreError::NoDistrict(id.clone()));
        }
        flag_work::disable(&mut tx, id).await?;
        let cancelled = runs::cancel_all(&mut tx, id, actor, now).await?;
        let sql = "SELECT count(*) FROM run WHERE district = $1 AND ended_at IS NULL";
        let written = tx.row(operation, sql, args![id]).await?.map_or(Ok(0), |row| row.get::<i64>(0))?;
        let detail = format!("cancelled={}", cancelled.len());
        trail::write(&mut tx, &entry(id, "district.remove", actor, detail, now)).await?;
        tx.commit(operation).await?;
        for run in &cancelled {
            self.tell_if_ended(id, *run).await;
        }
        Ok(Removed { cancelled, written })
    }

    /// The schedules that are on.
    pub async fn schedules(&self) -> Result<Vec<ScheduledDistrict>> {
        let operation = "read the schedules";
        let mut tx = self.lookout(operation).await?;
        let sql = if tx.is_postgres() { SCHEDULES_PG } else { SCHEDULES_LITE };
        let rows = tx.rows(operation, sql, args![]).await?;
        tx.commit(operation).await?;
        rows.iter().map(scheduled).collect()
    }

    /// Every district there ever was, and whether it has been removed.
    pub(crate) async fn all_districts(&self) -> Result<Vec<(DistrictId, bool)>> {
        let operation = "list the districts";
        let mut tx = self.lookout(operation).await?;
        let sql = if tx.is_postgres() {
            "SELECT district, removed FROM lookout_districts()"
        } else {
            "SELECT district, removed_at IS NOT NULL FROM district ORDER BY district"
        };
        let rows = tx.rows(operation, sql, args![]).await?;
        tx.commit(operation).await?;
        rows.iter().map(|row| Ok((district_id(row, 0)?, row.get(1)?))).collect()
    }

    fn seal_all(&self, id: &DistrictId, secrets: &[ConnectionSecrets]) -> Result<Vec<Vec<u8>>> {
        let keys = self.keyring();
        let numbered = (0_u16..).map(ConnectionNo).zip(secrets);
        numbered.map(|(connection, secrets)| seal(keys, id, connection, secrets)).collect()
    }
}

/// What is stored of a district that has not been removed.
async fn before(tx: &mut Tx, id: &DistrictId, operation: &'static str) -> Result<Option<District>> {
    let sql = "SELECT config FROM district WHERE district = $1 AND removed_at IS NULL";
    let row = tx.row(operation, sql, args![id]).await?;
    row.map(|row| parse(&row.get::<String>(0)?)).transpose()
}

/// Whether the file says of programs and flags what is stored. Of a removed district nothing was done.
fn programs_beside(before: Option<&District>, district: &District) -> Programs {
    let same = before.is_some_and(|before| before.programs == district.programs && before.flags == district.flags);
    if same { Programs::AsBefore } else { Programs::Changed }
}

async fn write_district(tx: &mut Tx, district: &District, now: DateTime<Utc>) -> Result<()> {
    let config = serde_json::to_string(district).map_err(|_| unreadable("configuration of a district", "not JSON"))?;
    let schedule = &district.schedule;
    let values = args![
        &district.id,
        &district.name,
        config,
        district.time_zone.name(),
        schedule.at.format("%H:%M").to_string(),
        schedule.weekends,
        schedule.enabled,
        now,
    ];
    tx.execute("apply a district", APPLY, values).await.map(drop)
}

async fn write_secrets(tx: &mut Tx, id: &DistrictId, sealed: Vec<Vec<u8>>, now: DateTime<Utc>) -> Result<()> {
    let operation = "keep a connection's secrets";
    tx.execute(operation, "DELETE FROM connection WHERE district = $1", args![id]).await?;
    let insert = "INSERT INTO connection (district, connection, secrets, updated_at) VALUES ($1, $2, $3, $4)";
    for (connection, sealed) in (0_u16..).zip(sealed) {
        tx.execute(operation, insert, args![id, connection, sealed, now]).await?;
    }
    Ok(())
}

/// A district's configuration, if there is one.
pub(crate) async fn config(tx: &mut Tx, id: &DistrictId, operation: &'static str) -> Result<Option<District>> {
    let row = tx.row(operation, "SELECT config FROM district WHERE district = $1", args![id]).await?;
    row.map(|row| parse(&row.get::<String>(0)?)).transpose()
}

/// Locks a district's row until the transaction ends: for what is to happen one at a time in a district.
pub(crate) async fn lock(tx: &mut Tx, district: &DistrictId) -> Result<()> {
    // SQLite has one writer at a time as it is.
    let sql = if tx.is_postgres() {
        "SELECT 1::bigint FROM district WHERE district = $1 FOR UPDATE"
    } else {
        "SELECT 1 FROM district WHERE district = $1"
    };
    let row = tx.row("lock a district", sql, args![district]).await?;
    row.map(drop).ok_or_else(|| StoreError::NoDistrict(district.clone()))
}

/// Sees to it that a district is there until the transaction ends: for what must not come in after it is erased, and may wait for
/// nothing else.
pub(crate) async fn hold(tx: &mut Tx, district: &DistrictId) -> Result<()> {
    let sql = if tx.is_postgres() {
        "SELECT 1::bigint FROM district WHERE district = $1 FOR KEY SHARE"
    } else {
        "SELECT 1 FROM district WHERE district = $1"
    };
    let row = tx.row("hold a district", sql, args![district]).await?;
    row.map(drop).ok_or_else(|| StoreError::NoDistrict(district.clone()))
}

/// Reads a stored configuration.
pub(crate) fn parse(config: &str) -> Result<District> {
    serde_json::from_str(config).map_err(|error| json_unreadable("configuration of a district", &error))
}

/// What is wrong with stored JSON; serde's own text may repeat values.
pub(crate) fn json_unreadable(what: &'static str, error: &serde_json::Error) -> StoreError {
    let detail = format!("{:?} at line {}, column {}", error.classify(), error.line(), error.column());
    StoreError::Corrupt { what, detail }
}

fn unreadable(what: &'static str, detail: &str) -> StoreError {
    StoreError::Corrupt { what, detail: detail.to_owned() }
}

pub(crate) fn district_id(row: &Row, index: usize) -> Result<DistrictId> {
    DistrictId::try_from(row.get::<String>(index)?).map_err(|_| unreadable("district id", "not of its form"))
}

fn scheduled(row: &Row) -> Result<ScheduledDistrict> {
    let zone: String = row.get(1)?;
    let at: String = row.get(2)?;
    Ok(ScheduledDistrict {
        district: district_id(row, 0)?,
        time_zone: zone.parse().map_err(|_| unreadable("time zone", "not an IANA name that this program knows"))?,
        at: NaiveTime::parse_from_str(&at, "%H:%M").map_err(|_| unreadable("time of day", "not HH:MM"))?,
        weekends: row.get(3)?,
        last_scheduled: row.get(4)?,
        since: row.get(5)?,
    })
}

fn entry(id: &DistrictId, action: &str, actor: &str, detail: String, at: DateTime<Utc>) -> AuditEntry {
    AuditEntry::new(id, at, actor, action, detail)
}

/// What a connection's secrets are bound to, besides the district.
fn field(connection: ConnectionNo) -> String {
    format!("connection/{}/secrets", connection.0)
}

/// Seals the secrets of a district's connections anew, where another key than the newest sealed them. Returns how many.
pub(crate) async fn reseal(tx: &mut Tx, keys: &Keyring, id: &DistrictId, now: DateTime<Utc>) -> Result<u64> {
    let operation = "seal secrets anew";
    let select = if tx.is_postgres() {
        "SELECT connection, secrets FROM connection WHERE district = $1 ORDER BY connection FOR UPDATE"
    } else {
        "SELECT connection, secrets FROM connection WHERE district = $1 ORDER BY connection"
    };
    let mut count = 0;
    for row in tx.rows(operation, select, args![id]).await? {
        let (connection, sealed) = (ConnectionNo(row.get(0)?), row.get::<Vec<u8>>(1)?);
        let Some(sealed) = keys.reseal(id, &field(connection), &sealed)? else { continue };
        let update = "UPDATE connection SET secrets = $3, updated_at = $4 WHERE district = $1 AND connection = $2";
        count += tx.execute(operation, update, args![id, connection, sealed, now]).await?;
    }
    Ok(count)
}

/// The form in which secrets are sealed.
#[derive(Serialize, Deserialize)]
pub(crate) struct PlainSecrets {
    client_secret: Zeroizing<String>,
    vendor_secret: Option<Zeroizing<String>>,
    token_secret_parameters: BTreeMap<String, Zeroizing<String>>,
    secret_headers: BTreeMap<String, Zeroizing<String>>,
}

fn seal(keys: &Keyring, id: &DistrictId, connection: ConnectionNo, secrets: &ConnectionSecrets) -> Result<Vec<u8>> {
    keys.seal(id, &field(connection), &plain(secrets)?)
}

fn plain(secrets: &ConnectionSecrets) -> Result<Zeroizing<Vec<u8>>> {
    let exposed = |secret: &SecretString| Zeroizing::new(secret.expose_secret().to_owned());
    let all = |secrets: &BTreeMap<String, SecretString>| {
        secrets.iter().map(|(name, secret)| (name.clone(), exposed(secret))).collect()
    };
    let plain = PlainSecrets {
        client_secret: exposed(&secrets.client_secret),
        vendor_secret: secrets.vendor_secret.as_ref().map(exposed),
        token_secret_parameters: all(&secrets.token_secret_parameters),
        secret_headers: all(&secrets.secret_headers),
    };
    rmp_serde::to_vec_named(&plain).map(Zeroizing::new).map_err(StoreError::encode)
}

fn open(keys: &Keyring, id: &DistrictId, connection: ConnectionNo, sealed: &[u8]) -> Result<ConnectionSecrets> {
    let bytes = keys.open(id, &field(connection), sealed)?;
    let plain: PlainSecrets = rmp_serde::from_slice(&bytes).map_err(StoreError::decode)?;
    let hidden = |secret: Zeroizing<String>| SecretString::from(secret.as_str().to_owned());
    let all = |secrets: BTreeMap<String, Zeroizing<String>>| {
        secrets.into_iter().map(|(name, secret)| (name, hidden(secret))).collect()
    };
    Ok(ConnectionSecrets {
        client_secret: hidden(plain.client_secret),
        vendor_secret: plain.vendor_secret.map(hidden),
        token_secret_parameters: all(plain.token_secret_parameters),
        secret_headers: all(plain.secret_headers),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Secrets that lie sealed in stores are bound to it.
    #[test]
    fn what_secrets_are_bound_to_stays() {
        assert_eq!(field(ConnectionNo(0)), "connection/0/secrets");
    }
}
