//! What is kept beside a document, for whoever looks at it: its structured data, and what was known of the student on the day when
//! it was made. `None` also where that cannot be read any more: a broken value keeps nobody from the document.

use rollcall_proto::{id::DistrictId, roster::Student};
use rollcall_store::{Store, StoreError, document::DocumentId};
use serde_json::Value;

/// The structured data that was handed in last.
pub(crate) async fn data(
    store: &Store,
    district: &DistrictId,
    document: &DocumentId,
) -> Result<Option<Value>, StoreError> {
    readable(store.document_data(district, document).await, "structured data", district, document)
}

/// The student as the document keeps them.
pub(crate) async fn demographics(
    store: &Store,
    district: &DistrictId,
    document: &DocumentId,
) -> Result<Option<Student>, StoreError> {
    readable(store.document_demographics(district, document).await, "demographics", district, document)
}

fn readable<T>(
    read: Result<Option<T>, StoreError>,
    lacking: &str,
    district: &DistrictId,
    document: &DocumentId,
) -> Result<Option<T>, StoreError> {
    match read {
        Err(error) if error.is_unreadable() => {
            // Its text has the place and class of what is wrong, and nothing of what is stored.
            let error = &error as &dyn std::error::Error;
            tracing::warn!(%district, document = document.as_str(), error, "a document is shown without its {lacking}");
            Ok(None)
        }
        read => read,
    }
}
