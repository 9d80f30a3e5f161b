//! Findings of a run: counted, not repeated.

use rollcall_proto::id::{DistrictId, RunId};

use crate::{
    Store, StoreError,
    run::{Finding, FindingWeight},
    sql::{Row, Tx, args},
};

type Result<T> = std::result::Result<T, StoreError>;

const ADD: &str = "\
INSERT INTO finding (district, run, planned, digest, weight, code, message, count)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (district, run, planned, digest) DO UPDATE SET
    count = finding.count + excluded.count,
    weight = CASE WHEN excluded.weight = 'partial' THEN 'partial' ELSE finding.weight END";

impl Store {
    /// Adds a finding to a run; one with the same code and message is counted.
    pub async fn add_finding(&self, district: &DistrictId, run: RunId, finding: &Finding) -> Result<()> {
        let operation = "add a finding";
        let mut tx = self.begin(district, operation).await?;
        add(&mut tx, district, run, finding).await?;
        tx.commit(operation).await
    }
}

/// Adds a finding that somebody else than the planner made.
pub(crate) async fn add(tx: &mut Tx, district: &DistrictId, run: RunId, finding: &Finding) -> Result<()> {
    write(tx, district, run, Origin::Pull, finding).await
}

/// Puts the planner's findings in the place of those it made when it planned the run before.
pub(crate) async fn replace_planned(
    tx: &mut Tx,
    district: &DistrictId,
    run: RunId,
    findings: &[Finding],
) -> Result<()> {
    let sql = "DELETE FROM finding WHERE district = $1 AND run = $2 AND planned";
    tx.execute("replace the plan's findings", sql, args![district, run]).await?;
    for finding in findings {
        write(tx, district, run, Origin::Plan, finding).await?;
    }
    Ok(())
}

/// All of a run, in order of appearance.
pub(crate) async fn of_run(tx: &mut Tx, district: &DistrictId, run: RunId) -> Result<Vec<Finding>> {
    let sql = "SELECT weight, code, message, count FROM finding WHERE district = $1 AND run = $2 \
               ORDER BY planned, position";
    tx.rows("read a run's findings", sql, args![district, run]).await?.iter().map(finding).collect()
}

enum Origin {
    Pull,
    Plan,
}

async fn write(tx: &mut Tx, district: &DistrictId, run: RunId, origin: Origin, finding: &Finding) -> Result<()> {
    let values = args![
        district,
        run,
        matches!(origin, Origin::Plan),
        digest(finding),
        weight_text(finding.weight),
        &finding.code,
        &finding.message,
        finding.count,
    ];
    tx.execute("add a finding", ADD, values).await.map(drop)
}

fn digest(finding: &Finding) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(finding.code.as_bytes()).update(&[0]).update(finding.message.as_bytes());
    hasher.finalize().as_bytes()[..16].to_vec()
}

const fn weight_text(weight: FindingWeight) -> &'static str {
    match weight {
        FindingWeight::Warning => "warning",
        FindingWeight::Partial => "partial",
    }
}

fn finding(row: &Row) -> Result<Finding> {
    let weight = match row.get::<String>(0)?.as_str() {
        "partial" => FindingWeight::Partial,
        _ => FindingWeight::Warning,
    };
    Ok(Finding { weight, code: row.get(1)?, message: row.get(2)?, count: row.get(3)? })
}
