//! Districts with flags in the store: their files, their roster, and runs that stop.

use chrono::{DateTime, Utc};
use rollcall_proto::id::DistrictId;
use rollcall_store::{
    district::{ConnectionSecrets, District},
    run::{NewRun, Trigger},
};
use serde_json::json;

use super::{answer::VENDOR, campus::Program};
use crate::house::House;

const ACTOR: &str = "simulation";

impl House {
    /// A district's file and its students, all of whom attend.
    pub(super) async fn open_flags(
        &self,
        id: &DistrictId,
        host: &str,
        programs: &[Program],
        students: &[String],
        now: DateTime<Utc>,
    ) -> anyhow::Result<()> {
        let secrets = ConnectionSecrets {
            client_secret: "secret".into(),
            vendor_secret: Some(VENDOR.1.into()),
            ..ConnectionSecrets::default()
        };
        self.store.apply_district(&file(id, host, programs)?, &[secrets], ACTOR, now).await?;
        for student in students {
            sqlx::query(
                "INSERT INTO student (district, student_id, connection, status, status_since, run_seq, run, status_run, \
                 fingerprint, rule, evidence, name_id, phones, emails, addresses, sis_id) VALUES ($1, $2, 0, 'ENROLLED', \
                 '2026-08-12', 1, x'00000000000000000000000000000000', x'00000000000000000000000000000000', \
                 x'00000000000000000000000000000000', '1', '[]', $2, '[]', '[]', '[]', $2)",
            )
            .bind(id.as_str())
            .bind(student)
            .execute(&self.sql)
            .await?;
        }
        Ok(())
    }

    /// A student comes or leaves, as a run would have it.
    pub(super) async fn attends(&self, id: &DistrictId, student: &str, attends: bool) -> anyhow::Result<()> {
        let status = if attends { "ENROLLED" } else { "INACTIVE" };
        sqlx::query("UPDATE student SET status = $3 WHERE district = $1 AND student_id = $2")
            .bind(id.as_str())
            .bind(student)
            .bind(status)
            .execute(&self.sql)
            .await?;
        Ok(())
    }

    /// A run of the district stops.
    pub(super) async fn stop_a_run(&self, id: &DistrictId, now: DateTime<Utc>) -> anyhow::Result<()> {
        let run = NewRun {
            district: id.clone(),
            trigger: Trigger::Manual,
            as_of: now.date_naive(),
            plan_only: false,
            as_of_given: false,
            everything: false,
            requested_by: ACTOR.to_owned(),
        };
        if let Some(run) = self.store.create_run(&run, now).await? {
            self.store.cancel_run(id, run.id, ACTOR, now).await?;
        }
        Ok(())
    }
}

fn file(id: &DistrictId, host: &str, programs: &[Program]) -> anyhow::Result<District> {
    let program = |program: &Program| {
        json!({
            "name": program.name, "flags": true, "cutover": program.cutover,
            "option": if program.take_over { "take-over" } else { "create-new" },
            "on_drift": if program.restore { "restore" } else { "report" },
        })
    };
    let programs: Vec<_> = programs.iter().map(program).collect();
    Ok(serde_json::from_value(json!({
        "id": id.as_str(), "name": id.as_str(), "time_zone": "UTC",
        "connection": [{
            "kind": "oneroster", "base_url": format!("https://{host}/campus/api/oneroster/v1p2/rollcall/ims/oneroster"),
            "token_url": format!("https://{host}/campus/oauth2/token?appName=rollcall"), "client_id": "rollcall",
            "vendor_key": VENDOR.0,
        }],
        "schedule": {"enabled": false},
        "program": programs,
    }))?)
}
