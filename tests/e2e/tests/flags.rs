//! Flags of a district on Infinite Campus, from its roster to its programs: what documents say is what Campus shows.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::time::Duration;

use chrono::{Days, NaiveDate};
use rollcall_e2e::{House, Process, canaries, collector::Collector, house::DISTRICT, until};
use rollcall_sandbox::{CampusFlag, SandboxConfig};
use serde_json::{Value, json};
use url::Url;

/// Longer than a sync of a few flags takes, a reconciler's turn included.
const LIMIT: Duration = Duration::from_mins(2);

fn today() -> NaiveDate {
    rollcall_e2e::house::today()
}

fn ago(days: u64) -> NaiveDate {
    today() - Days::new(days)
}

/// Where people reach the site, which is another place than where it listens.
const PUBLIC_URL: &str = "https://plans.example.org";

/// Where a click on a flag leads.
fn launch_link(flag: &CampusFlag) -> String {
    format!("{PUBLIC_URL}/lti/{DISTRICT}/launch?flag={}", flag.id)
}

fn config() -> SandboxConfig {
    SandboxConfig { students: 60, today: today(), ..SandboxConfig::default() }
}

/// Points the district at the sandbox's Campus with two programs: one begins anew, one takes over what is there.
pub(super) async fn campus(house: &mut House) {
    let (key, secret) = house.sis.campus_vendor();
    std::fs::write(house.folder().join("vendor.secret"), secret).unwrap();
    let vendor = format!("vendor_key = {key:?}\nvendor_secret = {{ file = \"vendor.secret\" }}\n");
    let program = |name: &str, option: &str| {
        format!("[[program]]\nname = {name:?}\nflags = true\noption = {option:?}\ncutover = {}\n\n", ago(30))
    };
    house.district.tables = program("Special Education", "create-new") + &program("Section 504", "take-over");
    "oneroster".clone_into(&mut house.district.kind);
    house.district.base_url = house.sis.campus_base_url();
    house.district.connection = format!("token_url = {:?}\n{vendor}", house.sis.campus_token_url());
    house.apply().await;
}

/// Hands a completed document in.
async fn import(house: &House, id: &str, student: &str, program: &str, (start, end): (NaiveDate, Option<NaiveDate>)) {
    let end = end.map_or_else(String::new, |end| end.to_string());
    let csv = format!(
        "document_id,student_id,program,kind,status,start,end,file\n{id},{student},{program},Plan,completed,{start},{end},\n"
    );
    let path = house.folder().join("documents.csv");
    std::fs::write(&path, csv).unwrap();
    let path = path.to_string_lossy();
    house.rollcall(&["documents", "import", "--district", DISTRICT, &path]).await.expect_code(0);
}

async fn listed(house: &House) -> Vec<Value> {
    house.rollcall(&["flags", "list", "--district", DISTRICT, "--format", "json"]).await.expect_code(0).read()
}

/// Waits for the one flag of a student that admits.
async fn shown(house: &House, what: &str, student: &str, admits: impl Fn(&CampusFlag) -> bool) -> CampusFlag {
    until(what, LIMIT, || async {
        let flags = house.sis.campus_flags().into_iter();
        flags.filter(|flag| flag.student.eq_ignore_ascii_case(student)).find(|flag| admits(flag))
    })
    .await
}

/// When the two old flags end.
type Ends<'a> = &'a dyn Fn() -> (Option<NaiveDate>, Option<NaiveDate>);

/// A person looks at the plan, and approves what was shown.
async fn approved_on_the_command_line(house: &House, ends: Ends<'_>) {
    let unseen = house.rollcall(&["flags", "approve", "--district", DISTRICT]).await.expect_code(1);
    assert!(unseen.stderr.contains("nobody was shown") && unseen.stderr.contains("flags plan"), "{}", unseen.stderr);
    let plan = ["flags", "plan", "--district", DISTRICT, "--program", "Section 504", "--format", "json"];
    let plan: Vec<Value> = house.rollcall(&plan).await.expect_code(0).read();
    assert_eq!((&plan[0]["to_end"], &plan[0]["without_new"]), (&json!(2), &json!(1)), "{plan:#?}");
    let approve =
        |hash: &'static str| ["flags", "approve", "--district", DISTRICT, "--program", "Section 504", "--plan", hash];
    let other = house.rollcall(&approve("0123456789abcdef")).await.expect_code(1);
    assert!(other.stderr.contains("look at it again"), "{}", other.stderr);
    assert_eq!(ends(), (None, None), "nothing ends before the approval");
    let hash: &'static str = plan[0]["plan_hash"].as_str().unwrap().to_owned().leak();
    // What was shown is what is approved where no plan is named.
    let approved = house.rollcall(&["flags", "approve", "--district", DISTRICT]).await.expect_code(0);
    assert!(approved.stderr.contains(hash), "{}", approved.stderr);
    house.rollcall(&approve(hash)).await.expect_code(0);
    house.rollcall(&["flags", "push", "--district", DISTRICT, "--program", "Section 504"]).await.expect_code(0);
}

/// The same by a program, over the JSON API.
async fn approved_over_http(house: &House, site: &Url, ends: Ends<'_>) {
    let add =
        ["integrations", "add", "--district", DISTRICT, "--scope", "flags.read", "--scope", "flags.write", "Flags"];
    let added = house.rollcall(&[&add[..], &["--format", "json"]].concat()).await.expect_code(0).json();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let form = json!({
        "grant_type": "client_credentials",
        "client_id": added[0]["client_id"], "client_secret": added[0]["client_secret"],
    });
    let token = client.post(site.join("oauth2/token").unwrap()).form(&form).send().await.unwrap();
    let token: Value = token.json().await.unwrap();
    let token = token["access_token"].as_str().unwrap();
    let at = |path: &str| site.join(&format!("api/v1/flags{path}")).unwrap();
    let plan = client.get(at("/plan?program=Section%20504")).bearer_auth(token).send().await.unwrap();
    let plan: Value = plan.json().await.unwrap();
    assert_eq!((&plan[0]["to_end"], &plan[0]["without_new"]), (&json!(2), &json!(1)), "{plan:#?}");
    let approve = async |hash: &Value| {
        let body = json!({ "program": "Section 504", "plan_hash": hash });
        let answer = client.post(at("/approve")).bearer_auth(token).json(&body).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    let (status, refused) = approve(&json!("0123456789abcdef")).await;
    assert_eq!((status, &refused["code"]), (409, &json!("plan-changed")), "{refused:#?}");
    assert_eq!(ends(), (None, None), "nothing ends before the approval");
    let (status, approved) = approve(&plan[0]["plan_hash"]).await;
    assert_eq!((status, &approved["to_end"]), (200, &json!(2)), "{approved:#?}");
    let pushed = client.post(at("/push")).bearer_auth(token).send().await.unwrap();
    assert_eq!(pushed.status().as_u16(), 202);
    until("the program's flags to be listed", LIMIT, || async {
        let listed = client.get(at("")).bearer_auth(token).send().await.unwrap();
        let listed: Vec<Value> = listed.json().await.unwrap();
        listed.iter().any(|flag| flag["program"] == "Section 504").then_some(())
    })
    .await;
}

/// A first night, then documents: the flag appears, ends with its document, and an unchanged night writes nothing.
async fn the_whole_way(house: &House, site: Option<&Url>) {
    assert_eq!(house.night().await.state, "succeeded");
    let students = house.students().await;
    let attending: Vec<&str> =
        students.iter().filter(|row| row.status == "ENROLLED").map(|row| row.student_id.as_str()).collect();
    let (first, second, third) = (attending[0], attending[1], attending[2]);

    import(house, "IEP-1", first, "Special Education", (ago(10), None)).await;
    let flag = shown(house, "the flag to appear in Campus", first, |flag| flag.begins == ago(10)).await;
    assert_eq!(flag.ends, None);
    assert_eq!(flag.link, Some(launch_link(&flag)));
    let sis_id = house.sis.campus_flags()[0].student.clone();
    until("the flag to be read back", LIMIT, || async {
        let rows = listed(house).await;
        let row = rows.into_iter().find(|row| row["student_id"] == first)?;
        (row["state"] == "pushed").then(|| assert_eq!(row["sis_id"], sis_id.as_str()))
    })
    .await;

    let csv = house.rollcall(&["flags", "list", "--district", DISTRICT, "--format", "csv"]).await.expect_code(0).stdout;
    assert_eq!(csv.lines().next(), Some("student_id,sis_id,program,start,end,state,reason"));

    import(house, "IEP-1", first, "Special Education", (ago(10), Some(ago(1)))).await;
    let ended = shown(house, "the flag to end with its document", first, |flag| flag.ends == Some(ago(1))).await;
    assert_eq!(ended.id, flag.id, "the same flag, ended; none deleted, none doubled");

    // A take-over: one student goes on with a new flag, another's just ends; both only after a person's approval.
    for (id, student) in [("old-1", second), ("old-2", third)] {
        house.sis.type_in_campus_flag(CampusFlag {
            id: id.to_owned(),
            student: student.to_owned(),
            program: "102".to_owned(),
            begins: ago(400),
            ends: None,
            link: None,
            comment: None,
        });
    }
    import(house, "504-1", second, "Section 504", (ago(300), None)).await;
    let old = |id: &str| house.sis.campus_flags().into_iter().find(|flag| flag.id == id).unwrap();
    match site {
        None => approved_on_the_command_line(house, &|| (old("old-1").ends, old("old-2").ends)).await,
        Some(site) => approved_over_http(house, site, &|| (old("old-1").ends, old("old-2").ends)).await,
    }
    let last = ago(31);
    shown(house, "the old flag of the first to end", second, |flag| flag.id == "old-1" && flag.ends == Some(last))
        .await;
    shown(house, "the old flag of the second to end", third, |flag| flag.id == "old-2" && flag.ends == Some(last))
        .await;
    let new = |flag: &CampusFlag| flag.id != "old-1" && flag.program == "102";
    let taken = shown(house, "the new flag", second, new).await;
    assert_eq!((taken.begins, taken.ends), (ago(30), None), "from the cutover on");
    assert_eq!(taken.link, Some(launch_link(&taken)));
    assert_eq!(house.sis.campus_flags().len(), 4, "{:#?}", house.sis.campus_flags());

    let before = house.sis.campus_flags();
    assert_eq!(house.night().await.state, "succeeded");
    assert_eq!(house.sis.campus_flags(), before, "an unchanged night changes no flag");
}

/// The file calls a program by another name, while a flag of the former goes on.
async fn a_program_that_was_renamed_is_told(house: &mut House) {
    let named = house.district.tables.clone();
    house.district.tables = named.replace("Section 504", "504 plans");
    let told =
        "1 flag of Section 504 goes on in Campus, and the district's file has no [[program]] Section 504 any more";
    let applied = house.apply().await.stderr;
    assert!(applied.contains(&format!("warning: {DISTRICT}: {told}")), "{applied}");
    assert!(!applied.contains("Special Education"), "{applied}");
    let listed = house.rollcall(&["flags", "list", "--district", DISTRICT]).await.expect_code(0).stderr;
    assert!(listed.contains(told), "{listed}");
    house.district.tables = named;
    let applied = house.apply().await.stderr;
    assert!(!applied.contains("warning"), "{applied}");
}

/// How many messages wait for flag-sync.
async fn asked(house: &House) -> u64 {
    let queues = house.rollcall(&["queues", "list", "--format", "json"]).await.expect_code(0).json();
    let flags = queues.as_array().unwrap().iter().find(|row| row["queue"] == "rollcall.flags").cloned();
    flags.unwrap()["waiting"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_about_flags_is_told_at_once_and_in_words() {
    let mut house = House::embedded(config()).await;
    assert_eq!(asked(&house).await, 0, "the district has no flags");
    campus(&mut house).await;
    assert_eq!(asked(&house).await, 1);
    house.apply().await;
    assert_eq!(asked(&house).await, 1, "nothing is new");
    house.district.tables = house.district.tables.replacen("create-new", "take-over", 1);
    house.apply().await;
    assert_eq!(asked(&house).await, 2);
    assert_eq!(house.night().await.state, "succeeded");

    let students = house.students().await;
    let student = &students.iter().find(|row| row.status == "ENROLLED").unwrap().student_id;
    let csv = |kind: &str, row: &str| {
        let path = house.folder().join(format!("{kind}.csv"));
        std::fs::write(&path, format!("document_id,student_id,program,kind,status,start,end,file\n{row}\n")).unwrap();
        path.to_string_lossy().into_owned()
    };
    let import = async |path: &str, code| {
        house.rollcall(&["documents", "import", "--district", DISTRICT, path]).await.expect_code(code).stderr
    };
    let bad = csv("bad", &format!("IEP-1,{student},Chess,Plan,completed,{},,", ago(10)));
    let told = import(&bad, 1).await;
    assert!(told.contains("1 cell is bad; correct it and import"), "{told}");
    let good = csv("good", &format!("IEP-1,{student},Section 504,Plan,completed,{},,", ago(10)));
    let told = import(&good, 0).await;
    assert!(told.contains("1 document: 1 new") && told.contains("no process hosts"), "{told}");
    let told = import(&good, 0).await;
    assert!(told.contains("1 as before") && !told.contains("no process hosts"), "nothing waits: {told}");

    let list = ["flags", "list", "--district", DISTRICT, "--program"];
    house.rollcall(&[&list[..], &["Section 504"]].concat()).await.expect_code(0);
    let told = house.rollcall(&[&list[..], &["Nonesuch"]].concat()).await.expect_code(1).stderr;
    assert!(told.contains("no [[program]] Nonesuch"), "{told}");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_of_the_connection_asks_campus_for_the_programs() {
    let mut house = House::embedded(config()).await;
    campus(&mut house).await;
    let steps = async |house: &House, code| {
        let answer = house.rollcall(&["district", "test", DISTRICT, "--format", "json"]).await.expect_code(code).json();
        let rows = answer.as_array().unwrap().clone().into_iter();
        let of_programs = rows.filter(|row| row["step"].as_str().unwrap().starts_with("program"));
        of_programs
            .map(|row| (row["step"].to_string(), row["outcome"].to_string(), row.to_string()))
            .collect::<Vec<_>>()
    };
    let is = |(step, outcome, _): &(String, String, String)| format!("{step} {outcome}").replace('"', "");
    let good = steps(&house, 0).await;
    let all = ["programs ok", "program Special Education ok", "program Section 504 ok"];
    assert_eq!(good.iter().map(is).collect::<Vec<_>>(), all, "{good:?}");

    house.district.tables = house.district.tables.replace("Section 504", "section 504");
    house.apply().await;
    let poor = steps(&house, 1).await;
    assert_eq!(is(&poor[2]), "program section 504 fail", "{poor:?}");
    assert!(poor[2].2.contains("flag-missing") && poor[2].2.contains("Special Ed checked"), "{poor:?}");

    std::fs::write(house.folder().join("vendor.secret"), "another").unwrap();
    house.apply().await;
    let refused = steps(&house, 1).await;
    assert_eq!(refused.iter().map(is).collect::<Vec<_>>(), ["programs fail"], "{refused:?}");
    assert!(refused[0].2.contains("check vendor_key and vendor_secret"), "{refused:?}");

    house.district.tables = house.district.tables.replace("flags = true", "flags = false");
    house.apply().await;
    assert!(steps(&house, 0).await.is_empty(), "no flags, no question");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_follow_documents_in_one_process() {
    let mut house = House::embedded(config()).await;
    campus(&mut house).await;
    house.extra.push(("ROLLCALL_PUBLIC_URL".to_owned(), PUBLIC_URL.to_owned()));
    let host: Process = house.start("serve", &["-v", "serve", "--listen", "127.0.0.1:0"]);
    let site = until("the HTTP side to listen", LIMIT, || {
        let log = host.log();
        let told = log.split("listening for HTTP on ").nth(1).and_then(|rest| rest.split(';').next());
        let url: Option<Url> = told.and_then(|address| format!("http://{address}").parse().ok());
        async move { url }
    })
    .await;
    the_whole_way(&house, Some(&site)).await;
    a_program_that_was_renamed_is_told(&mut house).await;
    drop(host);
    house.close().await;
}

/// Logs are searched where the house is closed; here what else comes out of flags and the site: spans, metrics, headers.
#[tokio::test(flavor = "multi_thread")]
async fn flags_follow_documents_scaled_out_and_nothing_of_a_child_comes_out() {
    let collector = Collector::start().await;
    let mut house = House::scaled_out(config()).await;
    campus(&mut house).await;
    house.extra.push(("ROLLCALL_PUBLIC_URL".to_owned(), PUBLIC_URL.to_owned()));
    house.start_workers(1);
    house.services().listen_in("spy").await;
    house.extra.extend(collector.over_http());
    let mut flag_sync = house.start("flag-sync", &["-v", "worker", "flag-sync", "--listen", "127.0.0.1:0"]);
    let mut web = house.start("web", &["-v", "web", "--listen", "127.0.0.1:0"]);
    the_whole_way(&house, None).await;
    let site = told(&web, "listening for HTTP on ").await;
    let own = asked_over_http(&house, &format!("http://{site}").parse().unwrap()).await;

    let mut shown = Vec::new();
    for (name, address) in [("flag-sync", told(&flag_sync, "metrics and health are served on ").await), ("web", site)] {
        let metrics = reqwest::get(format!("http://{address}/metrics")).await.unwrap().text().await.unwrap();
        assert!(metrics.contains("rollcall_build_info"), "{metrics}");
        shown.push((format!("metrics of {name}"), metrics));
    }
    let headers = house.services().headers("spy", 5_000).await;
    let of_flags = headers.iter().filter(|row| row["routing_key"].as_str().is_some_and(|key| key.starts_with("flag.")));
    assert!(of_flags.count() > 0, "flags were asked for");
    shown.push(("headers".to_owned(), serde_json::to_string(&headers).unwrap()));
    for process in [&mut flag_sync, &mut web] {
        assert!(process.terminate(LIMIT).await.success());
    }
    let spans = collector.spans();
    assert!(spans.len() > 10, "{}", spans.len());
    shown.push(("spans".to_owned(), spans.iter().map(|span| span.text.clone() + "\n").collect()));
    shown.extend(house.logs());

    let facts = canaries::facts(&house.services().database).await;
    let mut secrets = house.secrets();
    assert!(secrets.contains(house.sis.campus_vendor().1), "the vendor's is one of them");
    secrets.extend(own);
    let search = |(place, text): &(String, String)| {
        [canaries::search(place, text, &facts), canaries::search_secrets(place, text, &secrets)].concat()
    };
    let found: Vec<String> = shown.iter().flat_map(search).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
    house.close().await;
}

async fn told(process: &Process, before: &str) -> String {
    until("the process to say where it listens", LIMIT, || async {
        let log = process.log();
        let (_, after) = log.split_once(before)?;
        after.split([';', '\n']).next().map(|address| address.trim().to_owned())
    })
    .await
}

/// A program of the district lists its flags. Returns the secret and the token that it had for it.
async fn asked_over_http(house: &House, site: &Url) -> [String; 2] {
    let add = ["integrations", "add", "--district", DISTRICT, "--scope", "flags.read", "Lists", "--format", "json"];
    let added = house.rollcall(&add).await.expect_code(0).json();
    let secret = added[0]["client_secret"].as_str().unwrap().to_owned();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let form = json!({
        "grant_type": "client_credentials", "client_id": added[0]["client_id"], "client_secret": secret,
    });
    let token = client.post(site.join("oauth2/token").unwrap()).form(&form).send().await.unwrap();
    let token = token.json::<Value>().await.unwrap()["access_token"].as_str().unwrap().to_owned();
    let flags = client.get(site.join("api/v1/flags").unwrap()).bearer_auth(&token).send().await.unwrap();
    assert!(flags.json::<Vec<Value>>().await.unwrap().len() > 1);
    [secret, token]
}
