//! Registrations of platforms.

use chrono::{DateTime, Utc};
use rollcall_proto::id::DistrictId;
use url::Url;
use uuid::Uuid;

use super::{Registration, RegistrationDetails};
use crate::{
    Store, StoreError,
    audit::AuditEntry,
    districts::{district_id, json_unreadable, lock},
    sql::{Row, args},
    trail,
};

type Result<T> = std::result::Result<T, StoreError>;

const COLUMNS_BY_ISSUER: &str = "\
SELECT r.district, r.registration, r.issuer, r.client_id, r.auth_url, r.jwks_url, r.details, r.created_at
FROM lti_registration r JOIN district d ON d.district = r.district AND d.removed_at IS NULL
WHERE r.district = $1 AND (CAST($2 AS text) IS NULL OR r.issuer = $2) ORDER BY r.created_at, r.registration";

impl Store {
    /// Registers a platform. The same issuer and client id again replaces what was said before and keeps the id, which
    /// is returned.
    pub async fn register_platform(&self, new: &Registration, actor: &str) -> Result<Uuid> {
        let operation = "register an LTI platform";
        let details = serde_json::to_string(&new.details)
            .map_err(|error| json_unreadable("registration of an LTI platform", &error))?;
        let mut tx = self.begin(&new.district, operation).await?;
        lock(&mut tx, &new.district).await?;
        let sql = "INSERT INTO lti_registration (district, registration, issuer, client_id, details, auth_url, jwks_url, \
                   created_at, created_by) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) \
                   ON CONFLICT (district, issuer, client_id) DO UPDATE SET details = excluded.details, \
                   auth_url = excluded.auth_url, jwks_url = excluded.jwks_url RETURNING registration";
        let values = args![
            &new.district,
            new.id,
            &new.issuer,
            &new.client_id,
            details,
            new.auth_url.as_str(),
            new.jwks_url.as_str(),
            new.created_at,
            actor,
        ];
        let row = tx.row(operation, sql, values).await?;
        let id: Uuid = row.ok_or(StoreError::NoDistrict(new.district.clone()))?.get(0)?;
        let detail = format!("registration={id}");
        trail::write(&mut tx, &entry(&new.district, "lti.register", actor, detail, new.created_at)).await?;
        tx.commit(operation).await?;
        Ok(id)
    }

    /// All of a district, oldest first; none of a removed one.
    pub async fn registrations(&self, district: &DistrictId) -> Result<Vec<Registration>> {
        self.read_registrations(district, None).await
    }

    /// Those of an issuer, compared exactly.
    pub async fn registrations_of(&self, district: &DistrictId, issuer: &str) -> Result<Vec<Registration>> {
        self.read_registrations(district, Some(issuer)).await
    }

    async fn read_registrations(&self, district: &DistrictId, issuer: Option<&str>) -> Result<Vec<Registration>> {
        let operation = "read the LTI registrations";
        let mut tx = self.read(district, operation).await?;
        let rows = tx.rows(operation, COLUMNS_BY_ISSUER, args![district, issuer]).await?;
        tx.commit(operation).await?;
        rows.iter().map(registration).collect()
    }

    /// One, if it is still there.
    pub async fn registration(&self, district: &DistrictId, id: Uuid) -> Result<Option<Registration>> {
        Ok(self.registrations(district).await?.into_iter().find(|registration| registration.id == id))
    }

    /// Takes a registration away; logins under way with it end too. Returns whether it was there.
    pub async fn remove_registration(
        &self,
        district: &DistrictId,
        id: Uuid,
        actor: &str,
        now: DateTime<Utc>,
    ) -> Result<bool> {
        let operation = "remove an LTI registration";
        let mut tx = self.begin(district, operation).await?;
        let delete = "DELETE FROM lti_registration WHERE district = $1 AND registration = $2";
        let there = tx.execute(operation, delete, args![district, id]).await? > 0;
        if there {
            trail::write(&mut tx, &entry(district, "lti.remove", actor, format!("registration={id}"), now)).await?;
        }
        tx.commit(operation).await?;
        Ok(there)
    }
}

fn registration(row: &Row) -> Result<Registration> {
    let details: String = row.get(6)?;
    Ok(Registration {
        district: district_id(row, 0)?,
        id: row.get(1)?,
        issuer: row.get(2)?,
        client_id: row.get(3)?,
        auth_url: url(row, 4)?,
        jwks_url: url(row, 5)?,
        details: serde_json::from_str::<RegistrationDetails>(&details)
            .map_err(|error| json_unreadable("registration of an LTI platform", &error))?,
        created_at: row.get(7)?,
    })
}

fn url(row: &Row, column: usize) -> Result<Url> {
    let corrupt = |_| StoreError::Corrupt { what: "URL of an LTI platform", detail: "not a URL".to_owned() };
    Url::parse(&row.get::<String>(column)?).map_err(corrupt)
}

/// An entry of the audit trail about LTI.
pub(super) fn entry(district: &DistrictId, action: &str, actor: &str, detail: String, at: DateTime<Utc>) -> AuditEntry {
    AuditEntry { at, actor: actor.to_owned(), action: action.to_owned(), run: None, detail, district: district.clone() }
}
