//! Registrations of platforms.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use rollcall_proto::id::DistrictId;
use url::Url;
use uuid::Uuid;

use super::{DeploymentTaken, Registration, RegistrationDetails, users::NO_TICKETS};
use crate::{
    Store, StoreError,
    audit::AuditEntry,
    districts::{district_id, json_unreadable, lock},
    sql::{Row, Tx, args},
    trail,
};

type Result<T> = std::result::Result<T, StoreError>;

const COLUMNS_BY_ISSUER: &str = "\
SELECT r.district, r.registration, r.issuer, r.client_id, r.auth_url, r.jwks_url, r.details, r.created_at
FROM lti_registration r JOIN district d ON d.district = r.district AND d.removed_at IS NULL
WHERE r.district = $1 AND (CAST($2 AS text) IS NULL OR r.issuer = $2) ORDER BY r.created_at, r.registration";

const REGISTER: &str = "\
INSERT INTO lti_registration (district, registration, issuer, client_id, details, auth_url, jwks_url, created_at, created_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (district, issuer, client_id) DO UPDATE SET
    details = excluded.details, auth_url = excluded.auth_url, jwks_url = excluded.jwks_url RETURNING registration";

impl Store {
    /// Registers a platform. The same issuer and client id again replaces what was said before and keeps the id, which
    /// is returned. A deployment belongs to one district. Tickets that the district's launches have got are good no more.
    pub async fn register_platform(
        &self,
        new: &Registration,
        actor: &str,
    ) -> Result<std::result::Result<Uuid, DeploymentTaken>> {
        let operation = "register an LTI platform";
        let details = serde_json::to_string(&new.details)
            .map_err(|error| json_unreadable("registration of an LTI platform", &error))?;
        let mut tx = self.begin(&new.district, operation).await?;
        lock(&mut tx, &new.district).await?;
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
        let row = tx.row(operation, REGISTER, values).await?;
        let id: Uuid = row.ok_or(StoreError::NoDistrict(new.district.clone()))?.get(0)?;
        if let Some(deployment) = take_deployments(&mut tx, new, id).await? {
            drop(tx);
            return self.holder_of(new, deployment).await.map(Err);
        }
        tx.execute(operation, NO_TICKETS, args![&new.district]).await?;
        let detail = format!("registration={id}");
        trail::write(&mut tx, &entry(&new.district, "lti.register", actor, detail, new.created_at)).await?;
        tx.commit(operation).await?;
        Ok(Ok(id))
    }

    /// Whose a deployment is that another district has.
    async fn holder_of(&self, new: &Registration, deployment: String) -> Result<DeploymentTaken> {
        let operation = "find whose an LTI deployment is";
        let mut tx = self.lookout(operation).await?;
        let sql = if tx.is_postgres() {
            "SELECT district, registration FROM lookout_lti_deployment($1, $2, $3)"
        } else {
            "SELECT district, registration FROM lti_deployment WHERE issuer = $1 AND client_id = $2 AND deployment = $3"
        };
        let row = tx.row(operation, sql, args![&new.issuer, &new.client_id, &deployment]).await?;
        tx.commit(operation).await?;
        // Taken back between the two looks: trying again goes well.
        let row = row.ok_or(StoreError::Refused { operation, class: "it was taken back just now".to_owned() })?;
        Ok(DeploymentTaken { deployment, district: district_id(&row, 0)?, registration: row.get(1)? })
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
        lock(&mut tx, district).await?;
        let delete = "DELETE FROM lti_registration WHERE district = $1 AND registration = $2";
        let there = tx.execute(operation, delete, args![district, id]).await? > 0;
        if there {
            tx.execute(operation, NO_TICKETS, args![district]).await?;
            trail::write(&mut tx, &entry(district, "lti.remove", actor, format!("registration={id}"), now)).await?;
        }
        tx.commit(operation).await?;
        Ok(there)
    }
}

/// Makes the deployments the registration's own, in place of those before. Returns one that another district has.
async fn take_deployments(tx: &mut Tx, new: &Registration, id: Uuid) -> Result<Option<String>> {
    let operation = "keep the deployments of an LTI platform";
    let forget = "DELETE FROM lti_deployment WHERE district = $1 AND registration = $2";
    tx.execute(operation, forget, args![&new.district, id]).await?;
    let take = "INSERT INTO lti_deployment (issuer, client_id, deployment, district, registration) \
                VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING";
    let named: BTreeSet<&String> = new.details.deployments.iter().collect();
    for deployment in named {
        let values = args![&new.issuer, &new.client_id, deployment, &new.district, id];
        if tx.execute(operation, take, values).await? == 0 {
            return Ok(Some(deployment.clone()));
        }
    }
    Ok(None)
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
    AuditEntry::new(district, at, actor, action, detail)
}
