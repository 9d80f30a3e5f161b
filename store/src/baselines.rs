//! Baselines: what the last complete pull of a connection held.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use rollcall_proto::id::{ConnectionNo, DistrictId, RunId};

use crate::{
    Store, StoreError,
    audit::AuditEntry,
    districts::{self, json_unreadable},
    planning,
    run::{Baseline, Emptiness, HeldSince},
    sql::{Tx, args},
    trail,
};

type Result<T> = std::result::Result<T, StoreError>;

const ACCEPT: &str = "accept an empty listing";

const KEEP: &str = "\
INSERT INTO baseline (district, connection, baseline, updated_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (district, connection) DO UPDATE SET baseline = excluded.baseline, updated_at = excluded.updated_at";

impl Store {
    /// What the last complete pull of a connection held.
    pub async fn baseline(&self, district: &DistrictId, connection: ConnectionNo) -> Result<Option<Baseline>> {
        let operation = "read a baseline";
        let mut tx = self.read(district, operation).await?;
        let baseline = read(&mut tx, district, connection).await?;
        tx.commit(operation).await?;
        Ok(baseline)
    }

    /// What a run's plan says that its pulls held, by connection; nothing where it has no plan, or its plan has aged out.
    pub async fn planned_baselines(&self, district: &DistrictId, run: RunId) -> Result<Vec<(u16, Baseline)>> {
        let operation = "read what a run found";
        let mut tx = self.read(district, operation).await?;
        let planned = planning::kept_baselines(&mut tx, district, run).await?;
        tx.commit(operation).await?;
        Ok(planned)
    }

    /// Accepts that listings are empty, as a run found them, each until it holds rows again: all of them, or none where a newer
    /// run has found rows in one.
    pub async fn accept_empty(
        &self,
        (district, run): (&DistrictId, RunId),
        emptinesses: &[Emptiness<'_>],
        actor: &str,
        now: DateTime<Utc>,
    ) -> Result<std::result::Result<(), HeldSince>> {
        let mut tx = self.begin(district, ACCEPT).await?;
        districts::lock(&mut tx, district).await?;
        if let Some(held) = held_since(&mut tx, (district, run), emptinesses).await? {
            return Ok(Err(held));
        }
        let planned = planning::kept_baselines(&mut tx, district, run).await?;
        for Emptiness { connection, name, rows_of } in emptinesses {
            let stored = read(&mut tx, district, *connection).await?;
            let mut baseline = stored.unwrap_or_else(Baseline::of_none_complete);
            baseline.accepted_empty.insert((*name).to_owned());
            let own = planned.iter().find(|(number, _)| *number == connection.0).map(|(_, own)| &own.kept_keys);
            if let Some((table, kept)) = rows_of.and_then(|table| own?.get_key_value(table)) {
                baseline.kept_keys.insert(table.clone(), kept.clone());
            }
            write(&mut tx, district, *connection, &baseline, now).await?;
            let detail = format!("connection={connection} resource={name}");
            trail::write(&mut tx, &AuditEntry::new(district, now, actor, "baseline.accept-empty", detail)).await?;
        }
        tx.commit(ACCEPT).await?;
        Ok(Ok(()))
    }
}

/// The first of the listings in which a newer run has found rows, with the first such run: what was accepted would have been
/// over with it. What a run counted is known for as long as its plan is kept.
async fn held_since(
    tx: &mut Tx,
    (district, run): (&DistrictId, RunId),
    emptinesses: &[Emptiness<'_>],
) -> Result<Option<HeldSince>> {
    let newer = planning::baselines_since(tx, district, run).await?;
    let holds = |baselines: &[(u16, Baseline)], of: &Emptiness<'_>| {
        baselines.iter().any(|(number, baseline)| *number == of.connection.0 && baseline.ends_emptiness(of.name))
    };
    Ok(newer.iter().find_map(|(run, baselines)| {
        let held = emptinesses.iter().find(|of| holds(baselines, of))?;
        Some(HeldSince { resource: held.name.to_owned(), run: *run })
    }))
}

/// Keeps a pull's baseline.
pub(crate) async fn keep(
    tx: &mut Tx,
    district: &DistrictId,
    connection: ConnectionNo,
    baseline: &Baseline,
    now: DateTime<Utc>,
) -> Result<()> {
    let stored = read(tx, district, connection).await?.unwrap_or_default();
    write(tx, district, connection, &baseline.accepting(stored.accepted_empty), now).await
}

impl Baseline {
    /// As it is kept. What a person accepted meanwhile (`stored`) stays accepted, unless rows are back, or the field; of kinds of
    /// values that whole pages lacked there are rows elsewhere, and the plan, made before the person spoke, did not go by it.
    #[must_use]
    pub fn accepting(&self, stored: BTreeSet<String>) -> Self {
        Self { accepted_empty: still_accepted(self, stored), ..self.clone() }
    }

    /// Whether what this pull found ends an acceptance of that name: rows are back, other than of an earlier pull, or the field.
    fn ends_emptiness(&self, name: &str) -> bool {
        let rows = self.rows.get(name).is_some_and(|rows| *rows > 0) && !self.carried.contains(name);
        (rows && !self.thinned.contains_key(name)) || self.tells_field(name)
    }
}

fn still_accepted(baseline: &Baseline, stored: BTreeSet<String>) -> BTreeSet<String> {
    let accepted = stored.into_iter().chain(baseline.accepted_empty.iter().cloned());
    accepted.filter(|name| !baseline.ends_emptiness(name)).collect()
}

pub(crate) async fn read(tx: &mut Tx, district: &DistrictId, connection: ConnectionNo) -> Result<Option<Baseline>> {
    let sql = "SELECT baseline FROM baseline WHERE district = $1 AND connection = $2";
    let row = tx.row("read a baseline", sql, args![district, connection]).await?;
    let parse = |text: String| serde_json::from_str(&text).map_err(|error| json_unreadable("baseline", &error));
    row.map(|row| parse(row.get(0)?)).transpose()
}

async fn write(
    tx: &mut Tx,
    district: &DistrictId,
    connection: ConnectionNo,
    baseline: &Baseline,
    now: DateTime<Utc>,
) -> Result<()> {
    let text = serde_json::to_string(baseline).map_err(|error| json_unreadable("baseline", &error))?;
    tx.execute("keep a baseline", KEEP, args![district, connection, text, now]).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(resources: &[&str]) -> BTreeSet<String> {
        resources.iter().map(|resource| (*resource).to_owned()).collect()
    }

    #[test]
    fn an_accepted_emptiness_lasts_until_rows_are_back() {
        let rows = [("empty", 0), ("back", 3), ("pages", 3), ("carried", 3)];
        let rows = rows.map(|(name, rows)| (name.to_owned(), rows)).into();
        let thinned = [("pages".to_owned(), 4)].into();
        let carried = set(&["carried"]);
        let baseline = Baseline { rows, thinned, carried, accepted_empty: set(&["planned"]), ..Baseline::default() };
        let accepted = still_accepted(&baseline, set(&["empty", "back", "pages", "not-pulled", "carried"]));
        assert_eq!(accepted, set(&["carried", "empty", "not-pulled", "pages", "planned"]));
    }

    /// Of a field no rows are counted: what the baseline grants, and neither misses nor accepts as empty, was told.
    #[test]
    fn an_accepted_field_lasts_until_a_row_carries_it() {
        type Change = fn(&mut Baseline);
        const FIELD: &str = "Demographics/Name.BirthDate";
        let (name, field) = FIELD.split_once('.').unwrap_or_default();
        let told = || Baseline {
            rows: [(name.to_owned(), 3)].into(),
            granted: [(name.to_owned(), vec!["NameID".to_owned(), field.to_owned()])].into(),
            ..Baseline::default()
        };
        // What makes the field not told → whether the acceptance lasts.
        let cases: [(Change, bool); 6] = [
            (|_| {}, false),
            (|baseline| baseline.accepted_empty = set(&[FIELD]), true),
            // A person accepted it while the run that missed it was planned.
            (|baseline| baseline.lost = [("Demographics/Name".to_owned(), set(&["BirthDate"]))].into(), true),
            (|baseline| baseline.granted.clear(), true),
            (|baseline| baseline.rows = [("Demographics/Name".to_owned(), 0)].into(), true),
            (|baseline| baseline.carried = set(&["Demographics/Name"]), true),
        ];
        for (number, (change, lasts)) in cases.into_iter().enumerate() {
            let mut baseline = told();
            change(&mut baseline);
            assert_eq!(still_accepted(&baseline, set(&[FIELD])).contains(FIELD), lasts, "case {number}");
        }
        assert_eq!(still_accepted(&told(), set(&["users/students.email"])).len(), 1, "no field of Qmlativ's");
    }
}
