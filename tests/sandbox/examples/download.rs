//! Downloads every listing of a sandbox and prints how long it took: the sandbox's own speed, not a client's.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Instant;

use rollcall_sandbox::{Sandbox, SandboxConfig};
use serde_json::{Value, json};

/// Module, object, fields as a nightly pull asks for them.
const LISTINGS: [(&str, &str, &str); 17] = [
    ("Student", "Student", "StudentID,NameID,StudentNumber,FirstName,LastName,Grade,GradYear,CalculatedStudentStateID"),
    ("Demographics", "Name", "NameID,FirstName,MiddleName,LastName,BirthDate,Gender,GenderCode"),
    ("Demographics", "NamePhone", "NamePhoneID,NameID,Rank,PhoneTypeID,PhoneNumber,Extension,IsConfidential"),
    ("Demographics", "NameEmail", "NameEmailID,NameID,Rank,EmailTypeID,EmailAddress"),
    ("Demographics", "NameAddress", "NameAddressID,NameID,AddressID,IsPhysical,IsMailing"),
    ("Demographics", "Address", "AddressID,StreetNumber,StreetID,SecondaryUnitNumber,ZipID,FullAddress"),
    ("Demographics", "Street", "StreetID,Name,ZipID"),
    ("Demographics", "Zip", "ZipID,ZipCode,City,StateID"),
    ("Demographics", "EmergencyContact", "EmergencyContactID,NameID,NameIDEmergencyContact,Rank,RelationshipID"),
    ("Family", "StudentGuardian", "StudentGuardianID,StudentID,NameIDGuardian,RelationshipID,IsCustodialGuardian,Rank"),
    ("Enrollment", "StudentEntityYear", "StudentEntityYearID,StudentID,EntityID,SchoolYearID,IsActive,HomeroomID"),
    (
        "Enrollment",
        "EntryWithdrawal",
        "EntryWithdrawalID,StudentID,EntityID,SchoolYearID,SchoolID,StartDate,EndDate,WithdrawalCodeID,IsNoShow",
    ),
    ("Enrollment", "WithdrawalCode", "WithdrawalCodeID,Code,Description,SchoolYearID"),
    ("Enrollment", "EntryCode", "EntryCodeID,Code,Description,SchoolYearID"),
    ("Enrollment", "School", "SchoolID,Code,Name,SchoolYearID"),
    ("Enrollment", "Homeroom", "HomeroomID,Code,EntityID,StaffID"),
    ("Staff", "Staff", "StaffID,NameID,StaffNumber"),
];

#[derive(Default)]
struct Totals {
    rows: usize,
    pages: usize,
    bytes: usize,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let students = std::env::args().nth(1).map_or(50_000, |count| count.parse().expect("students, a number"));
    let sandbox = Sandbox::start(SandboxConfig { students, ..SandboxConfig::default() }).await.unwrap();
    let client = reqwest::Client::new();
    let token = token(&client, &sandbox).await;
    let (begin, mut all) = (Instant::now(), Totals::default());
    for (module, object, fields) in LISTINGS {
        let begin = Instant::now();
        let totals = download(&client, &sandbox, &token, module, object, fields).await;
        println!(
            "{object:20} {:8} rows {:5} pages {:10} bytes {:?}",
            totals.rows,
            totals.pages,
            totals.bytes,
            begin.elapsed()
        );
        all.rows += totals.rows;
        all.pages += totals.pages;
        all.bytes += totals.bytes;
    }
    println!("{:20} {:8} rows {:5} pages {:10} bytes {:?}", "all", all.rows, all.pages, all.bytes, begin.elapsed());
    sandbox.shutdown().await;
}

async fn token(client: &reqwest::Client, sandbox: &Sandbox) -> String {
    let url = format!("{}/oauth/token", sandbox.base_url());
    let call = client.post(url).basic_auth(sandbox.client_id(), Some(sandbox.client_secret()));
    let answer = call.form(&[("grant_type", "client_credentials")]).send().await.unwrap();
    let answer: Value = answer.error_for_status().unwrap().json().await.unwrap();
    answer["access_token"].as_str().expect("a token").to_owned()
}

/// Reads the bytes, and looks for no more than the next page and the number of rows.
async fn download(
    client: &reqwest::Client,
    sandbox: &Sandbox,
    token: &str,
    module: &str,
    object: &str,
    fields: &str,
) -> Totals {
    let (mut totals, mut page) = (Totals::default(), 1);
    let key = fields.split(',').next().unwrap_or_default();
    let body = json!({
        "SearchCondition": { "LongSearchCondition": { "FieldName": key, "ConditionType": "NotNull" } },
        "SearchSort": [{ "FieldName": key, "Descending": false }],
    });
    let query: Vec<(&str, &str)> = fields.split(',').map(|field| ("searchFields", field)).collect();
    loop {
        let url = format!("{}/Custom/1/{module}/{object}/{page}/500", sandbox.base_url());
        let call = client.post(url).query(&query).bearer_auth(token).json(&body);
        let bytes = call.send().await.unwrap().error_for_status().unwrap().bytes().await.unwrap();
        totals.pages += 1;
        totals.bytes += bytes.len();
        totals.rows += bytes.windows(2).filter(|pair| *pair == b"{\"").count() - 2;
        if bytes.starts_with(b"{\"Paging\":{\"Next\":null") {
            return totals;
        }
        page += 1;
    }
}
