//! What the store remembers of enrollments that a source no longer shows: for sources that serve only their active year.

use chrono::NaiveDate;
use rollcall_proto::id::{ConnectionNo, DistrictId, StudentId};

use crate::{
    Store, StoreError,
    roster::{StoredEnrollment, load::read_enrollment},
    sql::{Row, args},
};

/// What a statement is for, in errors.
const OPERATION: &str = "read stored enrollments";

impl Store {
    /// Every stored enrollment of a connection's students, sorted by student and enrollment id: those the last pull
    /// showed, and of the others those that ended, or were last shown, on `since` or later.
    pub async fn stored_enrollments(
        &self,
        district: &DistrictId,
        connection: ConnectionNo,
        since: NaiveDate,
    ) -> Result<Vec<StoredEnrollment>, StoreError> {
        let mut tx = self.read(district, OPERATION).await?;
        let sql = "SELECT e.student_id, e.enrollment_id, e.entity, e.school, e.school_year, e.entry_date, \
                   e.withdrawal_date, e.entry_code, e.withdrawal_code, e.default_entity, e.no_show, \
                   coalesce(e.unlisted_since, s.missing_since) \
                   FROM enrollment AS e JOIN student AS s ON s.district = e.district AND s.student_id = e.student_id \
                   WHERE e.district = $1 AND s.connection = $2 \
                   AND (e.listed OR coalesce(e.withdrawal_date, e.unlisted_since) >= $3)";
        let mut stored = Vec::new();
        let take = |row: Row| {
            stored.push(read(&row)?);
            Ok(())
        };
        tx.each(OPERATION, sql, args![district, connection, since], take).await?;
        stored.sort_by(|a: &StoredEnrollment, b| (&a.student, &a.enrollment.id).cmp(&(&b.student, &b.enrollment.id)));
        Ok(stored)
    }
}

fn read(row: &Row) -> Result<StoredEnrollment, StoreError> {
    Ok(StoredEnrollment {
        student: StudentId(row.get(0)?),
        enrollment: read_enrollment(row)?,
        unlisted_since: row.get(11)?,
    })
}
