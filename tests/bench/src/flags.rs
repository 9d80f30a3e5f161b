//! How long a comparison of all of a district's flags takes, over all its messages.
//!
//! Twice: the first, which stores every flag, and one that finds all as they were. It is measured from the moment at which the
//! facts are read until the comparison is noted as done, by the database's clock. The stand-in Campus shows none of them, so that
//! what Campus takes is not in it: a request for every 500 flags, and no more than ten a second.

use std::time::Duration;

use anyhow::ensure;
use rollcall_e2e::{
    House, Role,
    house::{self, DISTRICT},
    until,
};
use rollcall_sandbox::SandboxConfig;

use crate::{Format, Ground};

/// What is measured.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// Numbers of flags
    #[arg(long, value_delimiter = ',', default_value = "50000,200000")]
    flags: Vec<i64>,
}

/// Longest comparison that is waited for.
const LIMIT: Duration = Duration::from_mins(30);

/// So many students like one who is there.
const STUDENTS: &str = "
INSERT INTO student SELECT (jsonb_populate_record(one, jsonb_build_object('student_id', 'X' || n, 'sis_id', 'X' || n))).*
FROM (SELECT s FROM student s WHERE district = $1 AND status = 'ENROLLED' LIMIT 1) found (one), generate_series(1, $2) n";

/// A document of each.
const DOCUMENTS: &str = "
INSERT INTO document (district, document_id, student_id, program, kind, status, starts_on, version, digest, created_at,
                      created_by, updated_at, completed_at)
SELECT $1, 'D' || n, 'X' || n, 'Special Education', 'IEP', 'completed', current_date - 10, 1, '', now(), 'bench', now(), now()
FROM generate_series(1, $2) n";

/// One number of flags.
struct Measured {
    flags: i64,
    /// Seconds of the comparison that stores all of them.
    first: f64,
    /// Seconds of one that finds nothing to do.
    again: f64,
}

/// Measures, and prints what came out.
pub(crate) async fn measure(args: &Args, ground: &Ground) -> anyhow::Result<()> {
    let mut all = Vec::new();
    for flags in &args.flags {
        all.push(one(*flags, ground).await?);
    }
    if ground.format == Format::Markdown {
        println!("| flags | first comparison, s | one that changes nothing, s |\n|--:|--:|--:|");
    }
    for Measured { flags, first, again } in &all {
        match ground.format {
            Format::Text => println!("{flags} flags: compared first in {first:.1} s, again in {again:.1} s"),
            Format::Markdown => println!("| {flags} | {first:.1} | {again:.1} |"),
        }
    }
    Ok(())
}

async fn one(flags: i64, ground: &Ground) -> anyhow::Result<Measured> {
    let config = SandboxConfig { students: 100, seed: 5, today: house::today(), ..SandboxConfig::default() };
    let mut house = House::on(ground.servers.clone(), config).await;
    let (key, secret) = house.sis.campus_vendor();
    let vendor = format!("vendor_key = {key:?}\nvendor_secret = {{ file = \"vendor.secret\" }}\n");
    std::fs::write(house.folder().join("vendor.secret"), secret)?;
    let cutover = house::today() - chrono::Days::new(30);
    house.district.tables = format!(
        "[[program]]\nname = \"Special Education\"\nflags = true\noption = \"create-new\"\ncutover = {cutover}\n\n"
    );
    "oneroster".clone_into(&mut house.district.kind);
    house.district.base_url = house.sis.campus_base_url();
    house.district.connection = format!("token_url = {:?}\n{vendor}", house.sis.campus_token_url());
    house.apply().await;
    house.start_workers(1);
    ensure!(house.night().await.state == "succeeded", "the district has no students");
    house.stop_workers().await;
    for sql in [STUDENTS, DOCUMENTS] {
        sqlx::query(sql).bind(DISTRICT).bind(flags).execute(&house.services().database).await?;
    }
    sqlx::query("ANALYZE").execute(&house.services().database).await?;
    let first = compared(&mut house).await?;
    let stored: i64 = sqlx::query_scalar("SELECT count(*) FROM flag").fetch_one(&house.services().database).await?;
    ensure!(stored == flags, "{stored} flags were stored");
    let again = compared(&mut house).await?;
    house.close().await;
    Ok(Measured { flags, first, again })
}

/// Seconds of one comparison. Nobody is at work before it or after it, and no message but the one that asks for it is there.
async fn compared(house: &mut House) -> anyhow::Result<f64> {
    let database = house.services().database.clone();
    house.services().purge_queues().await;
    sqlx::query("UPDATE flag_sync SET synced_at = NULL, lease = NULL, lease_until = NULL").execute(&database).await?;
    house.rollcall(&["flags", "push", "--district", DISTRICT]).await.expect_code(0);
    house.start_worker(Role::FlagSync);
    let took = until("all flags to be compared", LIMIT, || async {
        let sql = "SELECT extract(epoch FROM clock_timestamp() - synced_at)::float8 FROM flag_sync WHERE synced_at IS NOT NULL";
        sqlx::query_scalar(sql).fetch_optional(&database).await.ok().flatten()
    })
    .await;
    house.take_worker(Role::FlagSync).kill();
    Ok(took)
}
