//! The end of a district: everything kept of it is erased, and nothing else.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use rollcall_e2e::{
    House,
    house::{self, DISTRICT},
};
use rollcall_sandbox::SandboxConfig;

fn sis() -> SandboxConfig {
    SandboxConfig { students: 120, seed: 41, today: house::today(), ..SandboxConfig::default() }
}

/// Rows by table, of every table that belongs to districts.
async fn rows(house: &House) -> Vec<(String, i64)> {
    let database = &house.services().database;
    let sql = "SELECT table_name::text FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)
               WHERE column_name = 'district' AND table_schema = 'public' AND table_type = 'BASE TABLE' ORDER BY 1";
    let tables: Vec<String> = sqlx::query_scalar(sql).fetch_all(database).await.unwrap();
    let mut rows = Vec::new();
    for table in tables {
        let sql = format!("SELECT count(*) FROM {table} WHERE district = '{DISTRICT}'");
        rows.push((table, sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(database).await.unwrap()));
    }
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_district_leaves_a_certificate_and_one_entry_of_the_audit_trail() {
    let mut house = House::scaled_out(sis()).await;
    house.start_workers(1);
    assert_eq!(house.night().await.state, "succeeded");
    let students = house.students().await.len();
    let certificate = house.folder().join("certificate.json");
    let certificate = certificate.to_string_lossy();
    let erase = ["district", "erase", DISTRICT, "--confirm", DISTRICT, "--certificate", &certificate];

    let served = house.rollcall(&erase).await.expect_code(1);
    assert!(served.stderr.contains("district remove"), "{}", served.stderr);
    house.rollcall(&["district", "remove", DISTRICT]).await.expect_code(0);
    let other = house.rollcall(&["district", "erase", DISTRICT, "--confirm", "another"]).await.expect_code(1);
    assert!(other.stderr.contains("--confirm"), "{}", other.stderr);
    assert_eq!(house.students().await.len(), students, "nothing was erased by what was refused");

    // A first try that was refused has left no file in the way.
    let erased = house.rollcall(&erase).await.expect_code(0).json();
    assert_eq!(erased["rows"]["student"].as_u64(), Some(students as u64));
    assert!(erased["rows"]["history"].as_u64() > Some(0) && erased["rows"]["page"].as_u64() > Some(0), "{erased}");
    let written: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&*certificate).unwrap()).unwrap();
    assert_eq!(written, erased);
    let left: Vec<_> = rows(&house).await.into_iter().filter(|(_, rows)| *rows > 0).collect();
    assert_eq!(left, [("audit".to_owned(), 1)]);
    let gone = house.rollcall(&["district", "erase", DISTRICT, "--confirm", DISTRICT]).await.expect_code(1);
    assert!(gone.stderr.contains("there is no district"), "{}", gone.stderr);

    house.apply().await;
    assert_eq!(house.night().await.state, "succeeded", "it may come again, from nothing");
    house.check_roster().await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_embedded_district_is_erased_too() {
    let house = House::embedded(sis()).await;
    assert_eq!(house.night().await.state, "succeeded");
    let students = house.students().await.len() as u64;
    house.rollcall(&["district", "remove", DISTRICT]).await.expect_code(0);
    let erased = house.rollcall(&["district", "erase", DISTRICT, "--confirm", DISTRICT]).await.expect_code(0).json();
    assert_eq!(erased["rows"]["student"].as_u64(), Some(students));
    house.rollcall(&["students", "list", "--district", DISTRICT]).await.expect_code(1);
    house.apply().await;
    assert_eq!(house.night().await.state, "succeeded", "it may come again, from nothing");
    house.close().await;
}
