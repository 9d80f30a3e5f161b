//! Integrations: making them, and their secrets.

use argon2::{Argon2, PasswordHasher as _, PasswordVerifier as _, password_hash::phc::PasswordHash};
use chrono::{DateTime, Utc};
use rollcall_proto::id::DistrictId;
use rollcall_store::{
    Store, StoreError,
    document::is_name,
    integrations::{Integration, Scopes},
};
use secrecy::{ExposeSecret as _, SecretString};

use crate::random;

/// An integration that was made. The secret is shown once.
#[derive(Debug)]
pub struct Added {
    /// The integration's id.
    pub id: String,
    /// The OAuth client id.
    pub client_id: String,
    /// The OAuth client secret.
    pub client_secret: SecretString,
}

/// Why an integration was not made.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// No randomness, or no memory to hash with.
    #[error("a secret could not be made")]
    Secret,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Adds an integration to a district.
pub async fn add(
    store: &Store,
    district: &DistrictId,
    name: &str,
    scopes: Scopes,
    actor: &str,
    now: DateTime<Utc>,
) -> Result<Added, AddError> {
    let id = uuid::Uuid::new_v4().simple().to_string()[..12].to_owned();
    let client_secret = SecretString::from(random::token().map_err(|_| AddError::Secret)?);
    let to_hash = client_secret.clone();
    let secret_hash = tokio::task::spawn_blocking(move || hash(&to_hash)).await.map_err(|_| AddError::Secret)??;
    let new = Integration {
        id: id.clone(),
        name: name.to_owned(),
        scopes,
        secret_hash,
        created_at: now,
        created_by: actor.to_owned(),
    };
    store.add_integration(district, &new).await?;
    Ok(Added { client_id: client_id(district, &id), id, client_secret })
}

/// The OAuth client id: it names its district, under whose rows the integration is found.
pub fn client_id(district: &DistrictId, integration: &str) -> String {
    format!("{district}.{integration}")
}

/// District and integration of a client id.
pub(super) fn parse_client_id(client_id: &str) -> Option<(DistrictId, &str)> {
    let (district, integration) = client_id.split_once('.').filter(|(_, id)| is_name(id))?;
    Some((district.parse().ok()?, integration))
}

fn hash(secret: &SecretString) -> Result<String, AddError> {
    let hash: PasswordHash =
        Argon2::default().hash_password(secret.expose_secret().as_bytes()).map_err(|_| AddError::Secret)?;
    Ok(hash.to_string())
}

/// Whether a secret is the one that was hashed. Takes some tens of milliseconds, whoever asks: an unknown client's
/// secret is measured against a hash of nothing.
pub(super) fn verify(secret: &SecretString, hash: Option<&str>) -> bool {
    let stored = hash.unwrap_or(NOBODY);
    let right = Argon2::default().verify_password(secret.expose_secret().as_bytes(), stored).is_ok();
    right && hash.is_some()
}

/// The hash of a random value that nobody kept, with the parameters that we hash with.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$cm9sbGNhbGwtbm9ib2R5$Uo0Ty/dNBTN2JwO0DP0e3lQY5PKS0oG1rUHNL9OSxEc";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_known_by_its_hash() {
        let secret = SecretString::from(random::token().unwrap());
        let hash = hash(&secret).unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "NOBODY must cost as much");
        assert!(verify(&secret, Some(&hash)));
        assert!(!verify(&SecretString::from("wrong"), Some(&hash)));
        assert!(!verify(&secret, None));
        assert!(PasswordHash::new(NOBODY).is_ok());
    }

    #[test]
    fn a_client_id_names_its_district() {
        let district = "lone-star".parse().unwrap();
        assert_eq!(parse_client_id(&client_id(&district, "ab12")), Some((district, "ab12")));
        for text in ["", "lone-star", ".", "UPPER.ab", "a/b.c", "lone-star.\0"] {
            assert!(parse_client_id(text).is_none(), "{text}");
        }
    }
}
