//! The HTTP side killed at each of its moments (`rollcall_e2e::points`). Whoever gets no answer asks again: a program with the
//! same idempotency key, a person by one more click; and all is as though nothing had been.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{collections::BTreeSet, time::Duration};

use reqwest::{Client, RequestBuilder, StatusCode};
use rollcall_e2e::{
    House, Ledger, Process, Role,
    house::{self, DISTRICT},
    points::{self, ARMED, armed, todays},
    until,
};
use rollcall_sandbox::CampusFlag;
use serde_json::{Value, json};
use url::Url;

use super::{
    failpoints::{ANEW, all_shown, campus, compare, program, reached},
    web::{platform, register, site, try_click},
};

/// A lease that a killed process held runs out after a minute; a message that it did not send is missed after 25 seconds.
const LIMIT: Duration = Duration::from_mins(5);

/// Days since the documents begin.
const DAYS: u64 = 10;

/// Programs that take over what is in Campus, and their ids there: one is not disturbed.
const UNDISTURBED: (&str, &str) = ("Advanced Learners", "103");
const KILLED: (&str, &str) = ("Section 504", "102");

/// Where approvals come to.
const OF_APPROVALS: [&str; 2] = ["commit/reserve a district's flags/", "commit/approve a take-over/"];

/// Where clicks come to.
const OF_CLICKS: [&str; 3] =
    ["commit/note an LTI login/", "commit/use an LTI login/", "commit/log a look at a document/"];

/// A site that is killed and started again, and who asks it.
struct Asked<'a> {
    house: &'a House,
    web: Process,
    site: Url,
    started: usize,
    /// Where the process is to die, once each.
    armed: BTreeSet<String>,
    kills: u64,
    /// Documents that were shown.
    shown: usize,
    client: Client,
    credentials: Value,
    token: String,
}

impl<'a> Asked<'a> {
    /// Its process notes what it reaches.
    async fn begin(house: &'a House) -> Self {
        let add = ["integrations", "add", "--district", DISTRICT, "--format", "json", "Plans"];
        let scopes = ["--scope", "documents", "--scope", "flags.read", "--scope", "flags.write"];
        let added = house.rollcall(&[&add[..], &scopes].concat()).await.expect_code(0).json();
        let credentials = json!({
            "grant_type": "client_credentials",
            "client_id": added[0]["client_id"], "client_secret": added[0]["client_secret"],
        });
        let web = start(house, 0, "*=note");
        let site = site(&web).await;
        let client = Client::builder().no_proxy().build().unwrap();
        let (armed, token) = (BTreeSet::new(), String::new());
        Self { house, web, site, started: 1, armed, kills: 0, shown: 0, client, credentials, token }
    }

    async fn restart(&mut self) {
        self.web.kill();
        self.web = start(self.house, self.started, &armed(&self.armed));
        self.started += 1;
        self.site = site(&self.web).await;
    }

    async fn arm(&mut self, points: impl IntoIterator<Item = String>) {
        self.armed = points.into_iter().collect();
        self.restart().await;
    }

    /// No answer came: it has died where it was to, and another is started.
    async fn died(&mut self) {
        let web = &self.web;
        let point = until("the process to say where it died", LIMIT, || async { points::killed_at(&web.log()) }).await;
        assert!(self.armed.remove(&point), "killed at {point}, which was not armed");
        self.kills += 1;
        self.restart().await;
    }

    /// Asks until there is an answer.
    async fn ask(&mut self, request: impl Fn(&Client, &Url) -> RequestBuilder) -> (StatusCode, Value) {
        loop {
            let request = request(&self.client, &self.site);
            let answer = async {
                let answer = request.send().await?;
                reqwest::Result::Ok((answer.status(), answer.text().await?))
            };
            match answer.await {
                Ok((status, text)) => return (status, serde_json::from_str(&text).unwrap_or_default()),
                Err(_) => self.died().await,
            }
        }
    }

    async fn get(&mut self, path: &str) -> (StatusCode, Value) {
        let token = self.token.clone();
        self.ask(|client, site| client.get(site.join(&format!("api/v1/{path}")).unwrap()).bearer_auth(&token)).await
    }

    async fn post(&mut self, path: &str, key: &str, body: &Value) -> (StatusCode, Value) {
        let token = self.token.clone();
        let request = |client: &Client, site: &Url| {
            let request = client.post(site.join(&format!("api/v1/{path}")).unwrap()).bearer_auth(&token);
            request.header("Idempotency-Key", key).json(body)
        };
        self.ask(request).await
    }

    async fn take_token(&mut self) {
        let credentials = self.credentials.clone();
        let (status, token) =
            self.ask(|client, site| client.post(site.join("oauth2/token").unwrap()).form(&credentials)).await;
        assert_eq!(status, StatusCode::OK, "{token}");
        token["access_token"].as_str().unwrap().clone_into(&mut self.token);
    }

    /// A draft, which is completed, and flags pushed. Each is answered as the first time, and done once.
    async fn hand_in(&mut self, id: &str, student: &str) {
        self.take_token().await;
        let document = json!({
            "document_id": id, "student_id": student, "program": ANEW, "kind": "IEP", "status": "draft",
            "start": house::today() - chrono::Days::new(DAYS),
        });
        let (status, made) = self.post("documents", &format!("{id} made"), &document).await;
        assert_eq!((status, &made["version"]), (StatusCode::CREATED, &json!(1)), "{id}: {made}");
        let (path, key) = (format!("documents/{id}/complete"), format!("{id} completed"));
        let (status, completed) = self.post(&path, &key, &json!({})).await;
        assert_eq!((status, &completed["version"]), (StatusCode::OK, &json!(2)), "{id}: {completed}");
        let (status, answer) = self.post("flags/push", "", &json!({})).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
        let (_, kept) = self.get(&format!("documents/{id}")).await;
        assert_eq!((&kept["version"], &kept["status"]), (&json!(2), &json!("completed")), "{id}: {kept}");
    }

    /// Looks at a take-over and approves it, again while whoever died has the district.
    async fn approve(&mut self, program: &str) {
        self.take_token().await;
        let (start, path) = (std::time::Instant::now(), format!("flags/plan?program={}", program.replace(' ', "%20")));
        loop {
            let (status, plan) = self.get(&path).await;
            assert_eq!(status, StatusCode::OK, "{plan}");
            let approval = json!({"program": program, "plan_hash": plan[0]["plan_hash"]});
            let (status, approved) = self.post("flags/approve", "", &approval).await;
            if status == StatusCode::OK {
                return assert_eq!(approved["to_end"], json!(1), "{approved}");
            }
            assert_eq!((status, &approved["code"]), (StatusCode::CONFLICT, &json!("flags-busy")), "{approved}");
            assert!(start.elapsed() < LIMIT, "the district stays busy");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// A person clicks on a student's flag until the document is shown.
    async fn click(&mut self, student: &str) {
        loop {
            let platform = platform(&self.site).await;
            register(self.house, &platform).await;
            match try_click(&self.site, &platform, student).await {
                Ok((status, page)) => {
                    assert_eq!(status, StatusCode::OK, "{page}");
                    self.shown += 1;
                    return;
                }
                Err(_) => self.died().await,
            }
        }
    }

    /// Every look is in the access log, also one that nobody came to see.
    async fn check_views(&self) {
        let views = ["documents", "views", "--district", DISTRICT, "--format", "json"];
        let views: Vec<Value> = self.house.rollcall(&views).await.expect_code(0).read();
        let shown = views.iter().filter(|view| view["outcome"] == "shown").count();
        assert!(shown >= self.shown, "{shown} are in the access log, {} were shown", self.shown);
    }
}

fn start(house: &House, number: usize, points: &str) -> Process {
    let settings = [house.settings(), vec![(ARMED.to_owned(), points.to_owned())]].concat();
    Process::start(&format!("web-{number}"), house.folder(), &["web", "--listen", "127.0.0.1:0"], &settings)
}

/// Old flags of the programs that are taken over, which end by the approval.
fn type_in(house: &House, student: &str) {
    for (_, program) in [UNDISTURBED, KILLED] {
        house.sis.type_in_campus_flag(CampusFlag {
            id: format!("old-{program}"),
            student: student.to_owned(),
            program: program.to_owned(),
            begins: house::today() - chrono::Days::new(400),
            ends: None,
            link: None,
            comment: None,
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_http_side_killed_at_each_failpoint_does_once_what_it_is_asked() {
    let test = "the_http_side_killed_at_each_failpoint_does_once_what_it_is_asked";
    let mut ledger = Ledger::begin(test, "kill -9 of the HTTP side at each failpoint");
    let programs = [program(ANEW, "create-new"), program(UNDISTURBED.0, "take-over"), program(KILLED.0, "take-over")];
    let (mut house, students) = campus(&programs.concat()).await;
    house.start_worker(Role::FlagSync);
    type_in(&house, &students[0]);
    let add = ["lti", "users", "add", "--district", DISTRICT, "counselor-1", "--everybody", "--connection", "1"];
    house.rollcall(&add).await.expect_code(0);

    // What the whole way reaches undisturbed is what is listed. Whose flags they are to work on, flag-sync is killed over.
    let mut asked = Asked::begin(&house).await;
    asked.hand_in("D-0", &students[0]).await;
    asked.click(&students[0]).await;
    asked.approve(UNDISTURBED.0).await;
    let of_flag_sync = points::of(Role::FlagSync);
    let of_its_own = |point: &String| !of_flag_sync.contains(point);
    let reached = || reached(&asked.web.log()).into_iter().filter(of_its_own).collect();
    compare("the HTTP side", points::of_web(), reached).await;

    let (of_approvals, others): (BTreeSet<_>, BTreeSet<_>) =
        todays(points::of_web(), 3).into_iter().partition(|point| OF_APPROVALS.iter().any(|of| point.starts_with(of)));
    asked.arm(of_approvals).await;
    asked.approve(KILLED.0).await;
    assert!(asked.armed.is_empty(), "no approval reaches {:?}", asked.armed);
    let mut handed_in = BTreeSet::from([students[0].clone()]);
    for (number, point) in others.into_iter().enumerate() {
        let student = &students[(number + 1) % students.len()];
        let is_of_clicks = OF_CLICKS.iter().any(|of| point.starts_with(of));
        asked.arm([point]).await;
        if is_of_clicks {
            asked.click(&students[0]).await;
        } else {
            asked.hand_in(&format!("D-{}", number + 1), student).await;
            handed_in.insert(student.clone());
        }
        assert!(asked.armed.is_empty(), "nothing that was asked reaches {:?}", asked.armed);
    }
    asked.check_views().await;
    ledger.faults(asked.kills);
    drop(asked);

    let handed_in: Vec<String> = handed_in.into_iter().collect();
    until("each flag to be shown, and the old ones to end", LIMIT, || async {
        let old =
            house.sis.campus_flags().into_iter().filter(|flag| flag.id.starts_with("old-") && flag.ends.is_some());
        (old.count() == 2 && all_shown(&house, &handed_in, DAYS).await).then_some(())
    })
    .await;
    let flags = house.sis.campus_flags();
    assert_eq!(flags.len(), handed_in.len() + 2, "none lost, none twice: {flags:#?}");
    house.close().await;
    ledger.end();
}
