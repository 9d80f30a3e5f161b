//! What was known of a student on the day when a document was made.

use rollcall_proto::{id::DistrictId, roster::Student};
use rollcall_store::{Store, StoreError, document::DocumentId};

/// As the document keeps it. `None` also where that cannot be read any more: a broken value keeps nobody from the document.
pub(crate) async fn demographics(
    store: &Store,
    district: &DistrictId,
    document: &DocumentId,
) -> Result<Option<Student>, StoreError> {
    match store.document_demographics(district, document).await {
        Err(error) if error.is_unreadable() => {
            // Its text has the place and class of what is wrong, and nothing of what is stored.
            let error = &error as &dyn std::error::Error;
            tracing::warn!(%district, document = document.as_str(), error, "a document is shown without its demographics");
            Ok(None)
        }
        read => read,
    }
}
