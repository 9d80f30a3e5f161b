//! What a district's roster says in the end, keyed by content: without run ids and times.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use chrono::NaiveDate;
use rollcall_proto::{id::DistrictId, roster::Status};
use rollcall_store::{Store, roster::StudentFilter};

use crate::sis::truth::Truth;

/// A student: status, and a digest of record and status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fact {
    pub(crate) status: Status,
    pub(crate) digest: String,
    /// What the digest is of.
    text: String,
}

/// A district's students.
pub(crate) type Facts = BTreeMap<i64, Fact>;

/// Reads them.
pub(crate) async fn read(store: &Store, district: &DistrictId) -> anyhow::Result<Facts> {
    let mut facts = Facts::new();
    for row in store.students(district, &StudentFilter::default()).await? {
        let id = row.student_id.to_string();
        let detail =
            store.student(district, &id).await?.with_context(|| format!("student {id} is listed and not found"))?;
        // What the status rests on is told as of the night that changed the student last, which may be another one here and
        // there: a day that passes can let one more enrollment count and change nothing else (seed 1168).
        let known = |enrollment: &String| detail.record.enrollments.iter().any(|of| of.id == *enrollment);
        ensure!(detail.evidence.iter().all(known), "student {id} rests on {:?}, not stored", detail.evidence);
        let said = (&detail.record, detail.row.status);
        let text = serde_json::to_string(&said)?;
        let digest = blake3::hash(text.as_bytes()).to_hex().to_string();
        facts.insert(id.parse()?, Fact { status: detail.row.status, digest, text });
    }
    Ok(facts)
}

/// Every student whom the SIS lists is stored, and has the status that the oracle says.
pub(crate) fn agree_with_truth(district: &str, facts: &Facts, truth: &Truth, today: NaiveDate) -> anyhow::Result<()> {
    for (id, pupil) in truth.listed() {
        let (told, right) = (facts.get(&id).map(|fact| fact.status), pupil.status(today));
        ensure!(told == Some(right), "{district}, student {id}: {told:?}, and it is {right:?}");
    }
    for (id, fact) in facts {
        let listed = truth.pupils.get(id).is_some_and(|pupil| pupil.listed);
        let gone = matches!(fact.status, Status::Inactive | Status::Graduated);
        ensure!(listed || gone, "{district}, student {id}: {:?}, and the SIS does not list the student", fact.status);
    }
    Ok(())
}

/// Whom the SIS lists is stored exactly as in the district that was never disturbed. Whom it lists no more may have gone
/// before anything was seen of the last changes, or of the student at all: there the statuses are what counts, and
/// [`agree_with_truth`] has looked at them.
pub(crate) fn agree(district: &str, facts: &Facts, undisturbed: &Facts, truth: &Truth) -> anyhow::Result<()> {
    for (id, _) in truth.listed() {
        let (Some(told), Some(right)) = (facts.get(&id), undisturbed.get(&id)) else {
            anyhow::bail!("{district}, student {id} is not stored")
        };
        ensure!(
            told.digest == right.digest,
            "{district}, student {id} differs from a district never disturbed:\n{}\n{}",
            told.text,
            right.text
        );
    }
    Ok(())
}
