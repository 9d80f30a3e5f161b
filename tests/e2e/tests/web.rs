//! The HTTP side as a person meets it: registered on the command line, hosted by `serve` and by `web`, a flag clicked.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::time::Duration;

use reqwest::{Client, StatusCode, header, redirect};
use rollcall_e2e::{Answer, House, Process, house::DISTRICT, until};
use rollcall_sandbox::{
    SandboxConfig,
    lti::{LtiPerson, LtiPlatform, LtiPlatformConfig, Manners},
};
use serde_json::{Value, json};
use url::Url;

const LIMIT: Duration = Duration::from_mins(1);

/// The site's address, once the process has told it.
pub(super) async fn site(process: &Process) -> Url {
    until("the HTTP side to listen", LIMIT, || {
        let log = process.log();
        let told = log.split("people reach it at ").nth(1).and_then(|rest| rest.split_whitespace().next());
        let url = told.and_then(|text| text.parse().ok());
        async move { url }
    })
    .await
}

pub(super) async fn platform(site: &Url) -> LtiPlatform {
    let at = |path: &str| site.join(&format!("lti/{DISTRICT}/{path}")).unwrap();
    LtiPlatform::start(LtiPlatformConfig {
        port: 0,
        client_id: "tool-1".to_owned(),
        deployment_id: "d1".to_owned(),
        tool_login_url: at("login"),
        tool_launch_url: at("launch"),
        user: LtiPerson {
            subject: "u1".to_owned(),
            sourced_id: "counselor-1".to_owned(),
            name: "Terry".to_owned(),
            roles: Vec::new(),
        },
        students: Vec::new(),
        extra_query: Vec::new(),
        manners: Manners::default(),
    })
    .await
    .unwrap()
}

pub(super) async fn register(house: &House, platform: &LtiPlatform) {
    register_with(house, platform, &[]).await.expect_code(0);
}

async fn register_with(house: &House, platform: &LtiPlatform, further: &[&str]) -> Answer {
    let (issuer, auth, jwks) = (platform.origin(), platform.auth_url(), platform.jwks_url());
    let args = [
        "lti",
        "register",
        "--district",
        DISTRICT,
        "--issuer",
        &issuer,
        "--client-id",
        "tool-1",
        "--deployment",
        "d1",
        "--auth-url",
        &auth,
        "--jwks-url",
        &jwks,
        "--student",
        "target_link_query:sid",
        "--program",
        "target_link_query:program",
    ];
    house.rollcall(&[&args[..], further].concat()).await
}

/// All hops of a click on a student's flag.
async fn click(site: &Url, platform: &LtiPlatform, student: &str) -> (StatusCode, String) {
    try_click(site, platform, student).await.unwrap()
}

/// The same, where the site may be gone in the middle of it.
pub(super) async fn try_click(
    site: &Url,
    platform: &LtiPlatform,
    student: &str,
) -> reqwest::Result<(StatusCode, String)> {
    let client = Client::builder().no_proxy().redirect(redirect::Policy::none()).build().unwrap();
    let at = |path: &str| site.join(&format!("lti/{DISTRICT}/{path}")).unwrap();
    let fields = platform.click(student, "Special Education");
    let login = client.post(at("login")).form(&fields).send().await?;
    assert_eq!(login.status(), StatusCode::FOUND);
    let cookie = login.headers()[header::SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
    let location: Url = login.headers()[header::LOCATION].to_str().unwrap().parse().unwrap();
    let form = platform.authenticate(location.query().unwrap()).unwrap();
    let launch = client.post(at("launch")).header(header::COOKIE, cookie).form(&form).send().await?;
    Ok((launch.status(), launch.text().await?))
}

/// A document of a district's student, handed in by a program that was let in for it.
pub(super) async fn hand_in(house: &House, site: &Url, district: &str, id: &str, student: &str) {
    let name = format!("Plans {id}");
    let added = house.rollcall(&["integrations", "add", "--district", district, &name, "--format", "json"]).await;
    let added = added.expect_code(0).json();
    let client = Client::builder().no_proxy().build().unwrap();
    let form = json!({
        "grant_type": "client_credentials",
        "client_id": added[0]["client_id"], "client_secret": added[0]["client_secret"],
    });
    let token: Value =
        client.post(site.join("oauth2/token").unwrap()).form(&form).send().await.unwrap().json().await.unwrap();
    let document = json!({
        "document_id": id, "student_id": student, "program": "Special Education", "kind": "IEP",
        "status": "completed", "start": "2026-09-01", "file": "JVBERi0xLjcKJSVFT0YK",
    });
    let request = client.post(site.join("api/v1/documents").unwrap()).json(&document);
    let request = request.bearer_auth(token["access_token"].as_str().unwrap()).header("Idempotency-Key", "k1");
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::CREATED, "{}", answer.text().await.unwrap());
}

/// The whole way on this installation, whose HTTP side runs in `process`.
async fn a_document_is_handed_in_and_shown(house: &House, process: &Process) {
    let site = site(process).await;
    let platform = platform(&site).await;
    register(house, &platform).await;
    let student = house.students().await[0].student_id.clone();
    hand_in(house, &site, DISTRICT, "IEP-1", &student).await;

    let (status, _) = click(&site, &platform, &student).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "nobody knows this person yet");
    house.rollcall(&["lti", "users", "add", "--district", DISTRICT, "counselor-1", "--everybody"]).await.expect_code(0);
    let (status, page) = click(&site, &platform, &student).await;
    assert_eq!(status, StatusCode::OK, "{page}");
    assert!(page.contains("id=\"document\""), "{page}");

    let views = ["documents", "views", "--district", DISTRICT, "--student", &student, "--format", "json"];
    let views = house.rollcall(&views).await.expect_code(0).json();
    let outcomes: Vec<_> = views.as_array().unwrap().iter().map(|view| view["outcome"].clone()).collect();
    assert_eq!(outcomes, ["shown", "refused"]);
    assert_eq!(views[0]["user"], json!("counselor-1"));
    let log = process.log();
    assert!(!log.contains("sid=") && !log.contains("eyJ"), "neither links nor tokens in the log: {log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn serve_hosts_the_http_side_of_a_directory() {
    let house = House::embedded(SandboxConfig { students: 60, ..SandboxConfig::default() }).await;
    house.rollcall(&["run", DISTRICT, "--wait"]).await.expect_code(0);
    let mut serve = house.start("serve", &["serve", "--listen", "127.0.0.1:0"]);
    a_document_is_handed_in_and_shown(&house, &serve).await;
    assert!(serve.terminate(LIMIT).await.success());
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn web_serves_beside_the_workers_when_scaled_out() {
    let mut house = House::scaled_out(SandboxConfig { students: 60, ..SandboxConfig::default() }).await;
    house.start_workers(1);
    house.rollcall(&["run", DISTRICT, "--wait"]).await.expect_code(0);
    let mut web = house.start("web", &["web", "--listen", "127.0.0.1:0"]);
    a_document_is_handed_in_and_shown(&house, &web).await;
    assert!(web.terminate(LIMIT).await.success());
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_says_what_is_wrong_and_what_to_do() {
    let house = House::embedded(SandboxConfig { students: 60, ..SandboxConfig::default() }).await;
    let platform = platform(&"http://localhost:9/".parse().unwrap()).await;
    register(&house, &platform).await;
    let listed = house.rollcall(&["lti", "list", "--district", DISTRICT, "--format", "json"]).await.expect_code(0);
    let registration = listed.json()[0]["registration"].as_str().unwrap().to_owned();
    assert_eq!(listed.json()[0]["student"], json!("target_link_query:sid"));
    let cases: [(&[&str], i32, &str); 7] = [
        (&["lti", "users", "add", "--district", DISTRICT, "u"], 1, "--everybody"),
        (&["lti", "users", "remove", "--district", DISTRICT, "u"], 1, "lti users list"),
        (&["lti", "remove", "--district", DISTRICT, "00000000-0000-4000-8000-000000000000"], 1, "lti list"),
        (&["lti", "list", "--district", "nowhere"], 1, "district list"),
        (&["integrations", "remove", "--district", DISTRICT, "x"], 1, "integrations list"),
        (&["lti", "keys", "rotate", "--district", DISTRICT], 0, "signs in an hour"),
        (&["lti", "remove", "--district", DISTRICT, &registration], 0, "cannot launch"),
    ];
    for (args, code, word) in cases {
        let answer = house.rollcall(args).await.expect_code(code);
        assert!(answer.stderr.contains(word), "{}: {}", answer.line, answer.stderr);
    }
    let keys =
        house.rollcall(&["lti", "keys", "list", "--district", DISTRICT, "--format", "json"]).await.expect_code(0);
    assert_eq!(keys.json().as_array().unwrap().len(), 2);
    house.close().await;
}

/// What is typed wrongly is told: programs, which there are, are refused; schools and students may come with the next roster.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_typed_wrongly_of_a_platform_or_a_person_is_told() {
    let mut house = House::embedded(SandboxConfig { students: 60, ..SandboxConfig::default() }).await;
    assert_eq!(house.night().await.state, "succeeded");
    let platform = platform(&"http://localhost:9/".parse().unwrap()).await;
    let listed = ["lti", "list", "--district", DISTRICT, "--format", "json"];
    let misspelled = ["--program", "fixed:Special (new) Education"];
    let (issuer, auth, jwks) = (platform.origin(), platform.auth_url(), platform.jwks_url());
    let line = ["lti", "register", "--district", DISTRICT, "--issuer", &issuer, "--client-id", "tool-1"];
    let line = [&line[..], &["--deployment", "d1", "--auth-url", &auth, "--jwks-url", &jwks]].concat();
    let told = house.rollcall(&[&line[..], &misspelled].concat()).await.expect_code(1).stderr;
    assert!(told.contains("Special (new) Education") && told.contains("Section 504, Special Education"), "{told}");
    // A public URL that no site can have: nothing is registered, and what is registered is listed all the same.
    house.extra = vec![("ROLLCALL_PUBLIC_URL".to_owned(), "https://u@plans.example".to_owned())];
    let told = house.rollcall(&line).await.expect_code(1).stderr;
    assert!(told.contains("the public URL is an address and a path only"), "{told}");
    assert_eq!(house.rollcall(&listed).await.expect_code(0).json(), json!([]), "nothing was written");
    house.extra.clear();
    house.rollcall(&[&line[..], &["--program", "fixed:Special Education"]].concat()).await.expect_code(0);
    house.extra = vec![("ROLLCALL_PUBLIC_URL".to_owned(), "https://u@plans.example".to_owned())];
    let answer = house.rollcall(&listed).await.expect_code(0);
    assert!(answer.stderr.contains("the URLs to enter at the platforms are not known"), "{}", answer.stderr);
    assert_eq!((&answer.json()[0]["client_id"], &answer.json()[0]["login_url"]), (&json!("tool-1"), &Value::Null));
    house.extra.clear();

    let add = async |words: &[&str]| {
        house.rollcall(&[&["lti", "users", "add", "--district", DISTRICT, "y"], words].concat()).await
    };
    let told = add(&["--everybody", "--program", "Special (new) Education"]).await.expect_code(1).stderr;
    assert!(told.contains("Special (new) Education") && told.contains("Section 504, Special Education"), "{told}");
    let users = ["lti", "users", "list", "--district", DISTRICT, "--format", "json"];
    assert_eq!(house.rollcall(&users).await.expect_code(0).json(), json!([]), "nothing was noted");
    let rows =
        house.rollcall(&["students", "list", "--district", DISTRICT, "--format", "json"]).await.expect_code(0).json();
    let student = rows.as_array().unwrap().iter().find(|row| row["school"].is_string()).unwrap();
    let (known, school) = (student["student_id"].as_str().unwrap(), student["school"].as_str().unwrap());
    let told = add(&["--school", "999-none", "--school", school]).await.expect_code(0).stderr;
    assert!(told.contains("no school 999-none in the roster yet"), "{told}");
    assert_eq!(told.matches("in the roster yet").count(), 1, "{told}");
    let told = add(&["--student", "nobody", "--student", known]).await.expect_code(0).stderr;
    assert!(told.contains("no student nobody in the roster yet"), "{told}");
    assert_eq!(told.matches("in the roster yet").count(), 1, "{told}");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_says_of_which_source_its_ids_are() {
    let mut house = House::embedded(SandboxConfig { students: 60, ..SandboxConfig::default() }).await;
    let platform = platform(&"http://localhost:9/".parse().unwrap()).await;
    let listed = async |house: &House| {
        let answer = house.rollcall(&["lti", "list", "--district", DISTRICT, "--format", "json"]).await.expect_code(0);
        (answer.json()[0]["connection"].clone(), answer.stderr)
    };
    let refuses = async |house: &House, further: &[&str], words: &[&str]| {
        let answer = register_with(house, &platform, further).await.expect_code(1);
        assert!(words.iter().all(|word| answer.stderr.contains(word)), "{further:?}: {}", answer.stderr);
    };
    let usage = register_with(&house, &platform, &["--user", "fixed:u"]).await.expect_code(2).stderr;
    assert!(usage.contains("--user") && usage.contains("lis.person_sourcedid, sub, custom:NAME and email"), "{usage}");
    register(&house, &platform).await;
    assert_eq!(listed(&house).await.0, json!(1));

    let base_url = house.district.base_url.clone();
    house.district.add_source(&base_url, "c");
    house.apply().await;
    assert_eq!(listed(&house).await.0, json!(1), "another source changes nothing for what is registered");
    refuses(&house, &[], &["--connection NUMBER", "1 (skyward-qmlativ, ", "2 (skyward-qmlativ, "]).await;
    refuses(&house, &["--connection", "3"], &["connection 3, which the district's file does not have"]).await;
    let told = register_with(&house, &platform, &["--connection", "2"]).await.expect_code(0).stderr;
    assert!(told.contains("ids of connection 2 (skyward-qmlativ"), "{told}");
    assert_eq!(listed(&house).await.0, json!(2));

    house.district.tables.clear();
    house.apply().await;
    let (connection, told) = listed(&house).await;
    assert_eq!(connection, Value::Null);
    assert!(told.contains("nobody is let in until it is registered again"), "{told}");
    let doctor = house.rollcall(&["doctor", "--format", "json"]).await;
    let checks = doctor.json();
    let found = checks.as_array().unwrap().iter().find(|check| check["check"] == "platform").unwrap();
    assert!(found["mend"].as_str().unwrap().contains("--connection"), "{found}");
    house.close().await;
}

/// Equal ids of two platforms are two people: which one is meant is asked for, and never guessed.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_of_a_person_is_said_of_one_platforms() {
    let house = House::embedded(SandboxConfig { students: 60, ..SandboxConfig::default() }).await;
    let site: Url = "http://localhost:9/".parse().unwrap();
    let (first, second) = (platform(&site).await, platform(&site).await);
    let users =
        async |verb: &[&str]| house.rollcall(&[&["lti", "users"], verb, &["--district", DISTRICT]].concat()).await;
    let listed = async || users(&["list", "--format", "json"]).await.expect_code(0).json();
    let refused = users(&["add", "7", "--everybody"]).await.expect_code(1).stderr;
    assert!(refused.contains("has no platform yet") && refused.contains("--connection NUMBER"), "{refused}");

    register(&house, &first).await;
    users(&["add", "7", "--everybody"]).await.expect_code(0);
    let of_connection = listed().await;
    assert_eq!((&of_connection[0]["registration"], &of_connection[0]["connection"]), (&Value::Null, &json!(1)));

    register_with(&house, &second, &["--user", "sub"]).await.expect_code(0);
    let all = house.rollcall(&["lti", "list", "--district", DISTRICT, "--format", "json"]).await.expect_code(0).json();
    let second_id = all[1]["registration"].as_str().unwrap();
    for verb in [&["add", "7", "--nobody"][..], &["remove", "7"]] {
        let refused = users(verb).await.expect_code(1).stderr;
        assert!(refused.contains("several platforms") && refused.contains("--registration ID"), "{refused}");
        assert!(refused.contains(second_id) && refused.contains(&first.origin()), "{refused}");
    }
    let nowhere = "00000000-0000-4000-8000-000000000000";
    let refused = users(&["add", "7", "--nobody", "--registration", nowhere]).await.expect_code(1).stderr;
    assert!(refused.contains("has no registration 0000") && refused.contains(second_id), "{refused}");
    let refused = users(&["add", "7", "--nobody", "--connection", "2"]).await.expect_code(1).stderr;
    assert!(refused.contains("has no connection 2"), "{refused}");
    users(&["add", "7", "--nobody", "--registration", second_id, "--connection", "1"]).await.expect_code(2);

    users(&["add", "7", "--nobody", "--registration", second_id]).await.expect_code(0);
    let rows = listed().await;
    let seen: Vec<_> =
        rows.as_array().unwrap().iter().map(|row| (&row["connection"], &row["registration"], &row["sees"])).collect();
    let (everybody, nobody) = (json!("everybody"), json!("nobody"));
    assert_eq!(seen, [(&json!(1), &Value::Null, &everybody), (&Value::Null, &json!(second_id), &nobody)]);
    users(&["remove", "7", "--unclear"]).await.expect_code(1);

    // Whom a platform named that is gone may be anybody.
    house.rollcall(&["lti", "remove", "--district", DISTRICT, second_id]).await.expect_code(0);
    let told = users(&["list"]).await.expect_code(0).stderr;
    assert!(told.contains("of 1 of them nobody knows whose id it is"), "{told}");
    let doctor = house.rollcall(&["doctor", "--format", "json"]).await.json();
    let found = doctor.as_array().unwrap().iter().any(|check| check["check"] == "platform users");
    assert!(found, "{doctor}");
    let told = users(&["add", "7", "--everybody"]).await.expect_code(0).stderr;
    assert!(told.contains("still takes away") && told.contains("--unclear"), "{told}");
    users(&["remove", "7", "--unclear"]).await.expect_code(0);
    users(&["remove", "7", "--connection", "1"]).await.expect_code(0);
    assert_eq!(listed().await, json!([]));
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sandbox_has_a_platform_with_flags_to_click_on() {
    // In no installation: what it prints are its secrets, to be copied.
    let folder = tempfile::tempdir().unwrap();
    let args = ["sandbox", "--port", "0", "--lti-site", "http://localhost:9/"];
    let sandbox = Process::start("sandbox", folder.path(), &args, &[]);
    let page = until("the sandbox's platform", LIMIT, || {
        let log = sandbox.log();
        let told = log.split("LTI platform is at ").nth(1).and_then(|rest| rest.split(';').next().map(str::to_owned));
        async move { told }
    })
    .await;
    assert!(sandbox.log().contains("rollcall lti register --district sandbox-isd"));
    let html = reqwest::get(page).await.unwrap().text().await.unwrap();
    assert!(html.contains("/flag?student=") && html.contains("Section 504"), "{html}");
}
