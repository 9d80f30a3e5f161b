//! The access log: written with the ticket that lets the document out, never edited.

use rollcall_proto::id::{DistrictId, StudentId};

use super::{NewView, Shown, View};
use crate::{
    Store, StoreError, districts, rekeyed,
    sql::{Row, args},
};

type Result<T> = std::result::Result<T, StoreError>;

impl Store {
    /// Logs a look, and makes the ticket for what is shown, in one transaction: nothing is shown that is not logged, nor of a
    /// district that was erased meanwhile.
    pub async fn log_view(&self, view: &NewView<'_>) -> Result<()> {
        let operation = "log a look at a document";
        let district = &view.registration.district;
        let mut tx = self.begin(district, operation).await?;
        districts::hold(&mut tx, district).await?;
        let sql = "INSERT INTO document_view (district, at, student_id, program, document_id, user_id, issuer, outcome) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
        let document = view.shown.map(|shown| shown.document_id);
        let values = args![
            district,
            view.at,
            view.student_id,
            view.program,
            document,
            view.user_id,
            &view.registration.issuer,
            view.outcome.as_str(),
        ];
        tx.execute(operation, sql, values).await?;
        if let Some(Shown { document_id, version, ticket, expires_at }) = view.shown {
            let sql = "INSERT INTO lti_ticket (district, ticket_digest, registration, document_id, expires_at, version) \
                       VALUES ($1, $2, $3, $4, $5, $6)";
            let values = args![district, Vec::from(ticket), view.registration.id, document_id, expires_at, version];
            tx.execute(operation, sql, values).await?;
        }
        tx.commit(operation).await
    }

    /// The access log, newest first: of one student, under whatever id, or of all.
    pub async fn document_views(
        &self,
        district: &DistrictId,
        student: Option<&StudentId>,
        limit: i64,
    ) -> Result<Vec<View>> {
        let operation = "read the access log of documents";
        let mut tx = self.read(district, operation).await?;
        let sql = "SELECT at, student_id, program, document_id, user_id, issuer, outcome FROM document_view \
                   WHERE district = $1 AND (CAST($2 AS text) IS NULL OR student_id = $2 OR student_id IN \
                   (SELECT old_id FROM student_rekey WHERE district = $1 AND new_id = $2)) ORDER BY id DESC LIMIT $3";
        let student = rekeyed::meant_of(&mut tx, district, student).await?.map(|student| student.0);
        let rows = tx.rows(operation, sql, args![district, student, limit]).await?;
        tx.commit(operation).await?;
        rows.iter().map(view).collect()
    }
}

fn view(row: &Row) -> Result<View> {
    Ok(View {
        at: row.get(0)?,
        student_id: StudentId(row.get(1)?),
        program: row.get(2)?,
        document_id: row.get(3)?,
        user_id: row.get(4)?,
        issuer: row.get(5)?,
        outcome: row.get(6)?,
    })
}
