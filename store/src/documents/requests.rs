//! Requests of integrations, by their idempotency keys.
//!
//! Invariant: the first answer to a key is kept in the transaction of the change, and given again to the same request;
//! another request with that key is refused.

use rollcall_proto::id::DistrictId;
use serde::{Deserialize, Serialize};

use super::reading::{document_id, find};
use crate::{
    StoreError,
    districts::json_unreadable,
    document::{Author, Document, Saved},
    sql::{Tx, args},
};

type Result<T> = std::result::Result<T, StoreError>;

/// What becomes of a request by its idempotency key.
pub(super) enum Replay {
    /// The key is new.
    Fresh,
    /// The same request came before, and was answered so.
    Same(Saved),
    /// The key was used for another request.
    Other,
}

/// The first answer to a request.
#[derive(Serialize, Deserialize)]
struct First {
    created: bool,
    document: Document,
}

/// Looks for an earlier request with the author's key. It is the same one under each of the `digests`.
pub(super) async fn replayed(
    tx: &mut Tx,
    district: &DistrictId,
    author: Author<'_>,
    digests: &[Vec<u8>],
) -> Result<Replay> {
    let Some(key) = author.key else { return Ok(Replay::Fresh) };
    let sql = "SELECT digest, document_id, answer FROM document_request \
               WHERE district = $1 AND actor = $2 AND key = $3";
    let row = tx.row("look for an earlier request", sql, args![district, author.actor, key]).await?;
    let Some(row) = row else { return Ok(Replay::Fresh) };
    if !digests.contains(&row.get::<Vec<u8>>(0)?) {
        return Ok(Replay::Other);
    }
    let first = if let Some(text) = row.get::<Option<String>>(2)? {
        Some(serde_json::from_str(&text).map_err(|error| json_unreadable("answer to a request", &error))?)
    } else {
        // Answered before answers were kept.
        let found = find(tx, district, &document_id(&row, 1)?).await?;
        found.map(|stored| First { created: false, document: stored.document })
    };
    Ok(first.map_or(Replay::Fresh, |First { created, document }| {
        Replay::Same(Saved { document, created, changed: false, flags_due: false })
    }))
}

/// Keeps the answer to a request.
pub(super) async fn remember(
    tx: &mut Tx,
    district: &DistrictId,
    author: Author<'_>,
    digest: &[u8],
    saved: &Saved,
) -> Result<()> {
    let Some(key) = author.key else { return Ok(()) };
    let first = First { created: saved.created, document: saved.document.clone() };
    let answer = serde_json::to_string(&first).map_err(|error| json_unreadable("answer to a request", &error))?;
    let sql = "INSERT INTO document_request (district, actor, key, digest, document_id, at, answer) \
               VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING";
    let values = args![district, author.actor, key, digest, saved.document.id.as_str(), author.at, answer];
    tx.execute("keep an idempotency key", sql, values).await.map(drop)
}
