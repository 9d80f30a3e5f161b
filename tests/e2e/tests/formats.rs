//! Every listing as a table for people, as one JSON document and as CSV, with the columns that other programs rely on.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use rollcall_e2e::{
    House,
    house::{self, DISTRICT},
};
use rollcall_sandbox::SandboxConfig;
use serde_json::Value;

use crate::flags::campus;

const RUN: &str = "run,district,as_of,trigger,state,added,changed,removed,unchanged,skipped,started,ended,reason";
const PARKED: &str = "message,queue,kind,reason,district,run,parked_at,detail,student_id";

/// A document rather than a listing: as CSV it is rows of key and value.
const DOCUMENT: &str = "key,value";

fn district(students: u32) -> SandboxConfig {
    SandboxConfig { students, seed: 5, today: house::today(), ..SandboxConfig::default() }
}

/// The listing in each format; its records, without the header.
async fn check(house: &House, args: &[&str], code: i32, header: &str) -> Vec<csv::StringRecord> {
    let json = house.rollcall(&[args, &["--format", "json"]].concat()).await.expect_code(code).json();
    let objects = json.as_array().unwrap_or_else(|| panic!("{args:?} is no array: {json}"));
    let table = house.rollcall(&[&["--format", "table"], args].concat()).await.expect_code(code).stdout;
    assert!(!table.trim().is_empty(), "{args:?}");
    let text = house.rollcall(&[args, &["--format", "csv"]].concat()).await.expect_code(code).stdout;
    assert_eq!(text.lines().next(), Some(header), "{args:?}");
    // Read strictly: a line with more or fewer fields than the header is an error.
    let records: Vec<_> = csv::Reader::from_reader(text.as_bytes()).records().collect::<Result<_, _>>().unwrap();
    if header != DOCUMENT {
        let columns: Vec<&str> = header.split(',').collect();
        let has_all = |object: &Value| columns.iter().all(|column| object.get(column).is_some());
        assert!(objects.iter().all(has_all), "{args:?}: an array of objects with {header}: {json}");
        assert_eq!(records.len(), objects.len(), "{args:?}: as many rows as objects");
    }
    records
}

/// The value of a key.
fn of<'a>(records: &'a [csv::StringRecord], key: &str) -> Option<&'a str> {
    records.iter().find(|record| &record[0] == key).map(|record| &record[1])
}

#[tokio::test(flavor = "multi_thread")]
async fn every_listing_comes_as_table_json_and_csv() {
    let house = House::embedded(district(120)).await;
    let run = house.night().await;
    let someone = house.students().await.remove(0);
    let id = someone.student_id.as_str();
    for (args, header) in [
        (&["district", "list"][..], "district,name,time_zone,connections,schedule,last_run,state"),
        (&["district", "test", DISTRICT], "connection,step,outcome,detail,mend"),
        (&["runs", "list"], RUN),
        (&["runs", "show", &run.run], RUN),
        (&["runs", "plan", &run.run], "student_id,change,from,to,rule,enrollments"),
        (&["runs", "plan", &run.run, "--skipped"], "student_id,reason,detail"),
        (&["runs", "trace", &run.run], "depth,name,from,to,seconds,note"),
        (&["queues", "list"], "queue,waiting,parked,consumers"),
        (&["queues", "parked"], PARKED),
        (&["queues", "parked", "--by", "reason"], "reason,parked,oldest,newest"),
        (&["queues", "replay", "write", "--dry-run"], PARKED),
        (&["doctor"], "check,outcome,detail,mend"),
        (&["reconcile", "--check"], "disagreement,queue,district,run,since,detail"),
    ] {
        check(&house, args, 0, header).await;
    }
    let columns = "student_id,local_id,state_id,last_name,first_name,grade,school,status,status_since,run";
    let listed = check(&house, &["students", "list", "--district", DISTRICT], 0, columns).await;
    assert_eq!(listed.len(), house.students().await.len());

    let shown = check(&house, &["district", "show", DISTRICT], 0, DOCUMENT).await;
    assert_eq!((of(&shown, "id"), of(&shown, "connection.1.lanes")), (Some(DISTRICT), Some("4")), "{shown:?}");
    let shown = check(&house, &["students", "show", "--district", DISTRICT, id], 0, DOCUMENT).await;
    assert_eq!(of(&shown, "student_id"), Some(id), "{shown:?}");
    assert_eq!(of(&shown, "history.1.to"), Some(someone.status.as_str()), "{shown:?}");

    check(&house, &["run", DISTRICT], 0, RUN).await;
    check(&house, &["run", DISTRICT, "--plan"], 0, RUN).await;
    house.close().await;
}

/// What lies beside the roster: documents, flags, and who may do what.
#[tokio::test(flavor = "multi_thread")]
async fn every_listing_of_documents_and_flags_comes_as_table_json_and_csv() {
    let mut house = House::embedded(district(60)).await;
    campus(&mut house).await;
    assert_eq!(house.night().await.state, "succeeded");
    let student = house.students().await.remove(0).student_id;
    let of_district = |words: &[&'static str]| [words, &["--district", DISTRICT]].concat();

    let register = [
        &of_district(&["lti", "register"])[..],
        &["--issuer", "http://127.0.0.1", "--client-id", "tool", "--deployment", "1"],
        &["--auth-url", "http://127.0.0.1/auth", "--jwks-url", "http://127.0.0.1/jwks"],
    ];
    house.rollcall(&register.concat()).await.expect_code(0);
    house
        .rollcall(&[&of_district(&["lti", "users", "add"])[..], &["someone", "--everybody"]].concat())
        .await
        .expect_code(0);
    let sheet = |student: &str| {
        let header = "document_id,student_id,program,kind,status,start,end,file";
        let path = house.folder().join(format!("{student}.csv"));
        std::fs::write(&path, format!("{header}\nd1,{student},Special Education,Plan,draft,2026-01-01,,\n")).unwrap();
        path.to_string_lossy().into_owned()
    };
    let (good, bad) = (sheet(&student), sheet("nobody"));
    house.rollcall(&[&of_district(&["documents", "import"])[..], &[good.as_str()]].concat()).await.expect_code(0);

    let registration = "registration,issuer,client_id,deployments,auth_url,jwks_url,student,program,user,connection,staff,login_url,\
                        launch_url,tool_jwks_url";
    let document = "document_id,student_id,program,kind,status,start,end,file,version,updated";
    let view = "at,student_id,program,document_id,user,platform,outcome";
    let ledger = "at,actor,flag,student_id,program,action,why,start,end,answer";
    for (words, header, least) in [
        (&["lti", "list"][..], registration, 1),
        (&["lti", "keys", "list"], "kid,created_at,signs_from,published_until", 1),
        (&["lti", "users", "list"], "user,registration,connection,sees,of,programs,created_at,created_by", 1),
        (&["integrations", "add", "Plans"], "client_id,client_secret", 1),
        (&["integrations", "list"], "integration,name,client_id,scopes,created_at,created_by", 1),
        (&["documents", "list"], document, 1),
        (&["documents", "views"], view, 0),
        (&["flags", "list"], "student_id,sis_id,program,start,end,state,reason", 0),
        (&["flags", "plan"], "program,cutover,to_end,without_new,state,warnings,plan_hash", 1),
        (&["flags", "ledger"], ledger, 0),
    ] {
        let records = check(&house, &of_district(words), 0, header).await;
        assert!(records.len() >= least, "{words:?}: {records:?}");
    }
    let refused = [&of_district(&["documents", "import"])[..], &[bad.as_str()]].concat();
    assert_eq!(check(&house, &refused, 1, "line,column,code,problem").await.len(), 1);
    house.close().await;
}
