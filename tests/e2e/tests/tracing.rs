//! One night as a collector sees it, over processes, a retry and a restart; and that nothing of a child is in it.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read as _,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use rollcall_e2e::{
    House, Role, canaries,
    collector::{Collector, Seen, settings},
    house::{self, DISTRICT},
    svg, until,
};
use rollcall_proto::{
    clock::{Clock as _, SystemClock},
    codec::encode,
    id::{ConnectionNo, RunId},
    message::{Body, Discover, Message},
    trace::TraceContext,
};
use rollcall_sandbox::{Fault, FaultKind, Quirks, SandboxConfig};

use super::web::site;

fn district() -> SandboxConfig {
    SandboxConfig {
        students: 300,
        seed: 31,
        today: house::today(),
        contact_percent: 40,
        latency_ms: 10,
        ..SandboxConfig::default()
    }
}

/// Fails often enough in a row that the message itself has to be tried again.
fn passing_trouble(object: &str) -> Quirks {
    let fault = Fault { kind: FaultKind::Status(500), object: Some(object.to_owned()), page: Some(1), times: Some(4) };
    Quirks { faults: vec![fault], ..Quirks::default() }
}

async fn until_some_pages_are_in(house: &House) {
    until("some pages to be in", Duration::from_mins(1), || async {
        let pages: i64 =
            sqlx::query_scalar("SELECT count(*) FROM page").fetch_one(&house.services().database).await.unwrap();
        (pages >= 5).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_night_is_one_trace_over_processes_a_retry_and_a_restart() {
    let collector = Collector::start().await;
    let mut house = House::scaled_out(district()).await;
    house.sis.set_quirks(passing_trouble("StudentGuardian"));
    house.extra = collector.over_grpc();
    house.start_worker(Role::Fetcher);
    house.extra = collector.over_http();
    house.start_worker(Role::Classifier);
    house.start_worker(Role::Writer);
    let run = house.begin().await;
    until_some_pages_are_in(&house).await;
    house.relieve_worker(Role::Classifier).await;
    let ended = house.ended(&run).await;
    assert_eq!(ended.state, "succeeded", "{ended:#?}");
    house.stop_workers().await;
    let trace = run.replace('-', "");
    let spans = collector.trace(&trace);
    let tree = Tree::of(&spans);
    tree.is_whole(&run, &trace);
    tree.messages_are_told_by_the_conventions();
    tree.the_retry_is_told();
    tree.clients_are_told_by_the_conventions(&house);
    let services: BTreeSet<&str> = spans.iter().map(|span| span.service.as_str()).collect();
    for service in ["rollcall-cli", "rollcall-fetcher", "rollcall-classifier", "rollcall-writer"] {
        assert!(services.contains(service), "{service} among {services:?}");
    }
    let classifiers = spans.iter().filter(|span| span.service == "rollcall-classifier");
    let instances: BTreeSet<&str> = classifiers.map(|span| span.instance.as_str()).collect();
    assert_eq!(instances.len(), 2, "before and after the restart");
    let protocols: BTreeSet<&str> = spans.iter().map(|span| span.protocol).collect();
    assert_eq!(protocols, BTreeSet::from(["grpc", "http/protobuf"]));
    house.close().await;
}

struct Tree<'a> {
    spans: &'a [Seen],
    by_id: BTreeMap<&'a str, &'a Seen>,
}

impl<'a> Tree<'a> {
    fn of(spans: &'a [Seen]) -> Self {
        Self { spans, by_id: spans.iter().map(|span| (span.id.as_str(), span)).collect() }
    }

    fn parent(&self, span: &Seen) -> &'a Seen {
        self.by_id.get(span.parent.as_str()).unwrap_or_else(|| panic!("the parent is there: {span:#?}"))
    }

    fn operation(&self, operation: &str) -> Vec<&'a Seen> {
        self.spans.iter().filter(|span| span.get("messaging.operation.name") == operation).collect()
    }

    fn of_kind(&self, operation: &str, kind: &str) -> Vec<&'a Seen> {
        self.operation(operation).into_iter().filter(|span| span.get("rollcall.message.kind") == kind).collect()
    }

    /// One root, the run's; no span twice; every parent is there; run and district on all.
    fn is_whole(&self, run: &str, trace: &str) {
        assert_eq!(self.by_id.len(), self.spans.len(), "no id twice");
        let roots: Vec<&Seen> = self.spans.iter().filter(|span| span.parent.is_empty()).collect();
        assert_eq!(roots.len(), 1, "{:?}", roots.iter().map(|span| &span.name).collect::<Vec<_>>());
        let root = roots[0];
        assert_eq!((root.name.as_str(), root.id.as_str()), ("run", &trace[16..]));
        assert_eq!(root.get("rollcall.run.state"), "succeeded");
        for span in self.spans {
            assert_eq!(span.get("rollcall.run.id"), run, "{span:#?}");
            assert_eq!(span.get("rollcall.district.id"), DISTRICT, "{span:#?}");
            assert!(span.to >= span.from, "{span:#?}");
            if !span.parent.is_empty() {
                let parent = self.parent(span);
                assert!(span.from >= parent.from, "nothing begins before what it is a part of: {span:#?} {parent:#?}");
            }
        }
    }

    fn messages_are_told_by_the_conventions(&self) {
        // Every kind of message of a night was created, and processed by whom it concerns.
        for kind in ["fetch.connection", "fetch.page", "page.raw", "run.classify", "student.events", "run.applied"] {
            let created = [self.of_kind("create", kind), self.of_kind("send", kind)].concat();
            assert!(!created.is_empty(), "{kind} is created");
            for span in created {
                assert_eq!(span.kind, SpanKind::Producer, "{span:#?}");
            }
        }
        for span in self.operation("create") {
            assert_eq!(span.get("messaging.operation.type"), "create");
            let key = span.get("messaging.rabbitmq.destination.routing_key");
            assert!(key.ends_with(DISTRICT), "{span:#?}");
            assert_eq!(span.get("messaging.destination.name"), format!("rollcall:{key}"));
            assert!(span.name.ends_with(".{district}"), "{}", span.name);
        }
        // A batch is sent by a client, and links to what it sends.
        let batches: Vec<_> =
            self.operation("send").into_iter().filter(|span| span.has("messaging.batch.message_count")).collect();
        assert!(!batches.is_empty());
        for span in batches {
            assert_eq!(span.kind, SpanKind::Client);
            let linked = span
                .links
                .iter()
                .filter(|(_, id)| self.by_id.get(id.as_str()).is_some_and(|to| to.kind == SpanKind::Producer));
            assert_eq!(linked.count().to_string(), span.get("messaging.batch.message_count"), "{span:#?}");
        }
        let processed = self.operation("process");
        for span in &processed {
            assert_eq!((span.kind, span.get("messaging.operation.type")), (SpanKind::Consumer, "process"));
            assert_eq!(span.get("messaging.system"), "rabbitmq");
            assert!(span.has("server.address") && span.has("server.port"), "{span:#?}");
            let linked: Vec<_> = span.links.iter().map(|(_, id)| self.by_id[id.as_str()]).collect();
            assert!(linked.iter().all(|to| to.kind == SpanKind::Producer), "{span:#?}");
            if span.has("messaging.batch.message_count") {
                assert_eq!(linked.len().to_string(), span.get("messaging.batch.message_count"));
                assert_eq!(self.parent(span).name, "run", "a group hangs from its run");
            } else {
                assert_eq!(linked.len(), 1);
                assert_eq!(span.parent, linked[0].id, "one message hangs from its creation");
                assert_eq!(span.get("messaging.message.id"), linked[0].get("messaging.message.id"));
            }
        }
        let first = processed.iter().find(|span| span.get("rollcall.message.kind") == "fetch.connection").unwrap();
        assert_eq!(
            first.get("messaging.destination.name"),
            format!("rollcall:fetch.{DISTRICT}:rollcall.fetch"),
            "exchange, routing key, queue"
        );
        assert_eq!(first.name, "process rollcall:fetch.{district}:rollcall.fetch");
        let together: Vec<_> = processed.iter().filter(|span| span.has("messaging.batch.message_count")).collect();
        assert!(!together.is_empty(), "some are handled together");
        for span in together {
            // Of one district, over one exchange: pages and batches, unless one of them came back from a pause.
            let name = span.get("messaging.destination.name");
            let queue = name.rsplit(':').next().unwrap();
            let key = span.get("messaging.rabbitmq.destination.routing_key");
            let whole = key.ends_with(DISTRICT) && name == format!("rollcall:{key}:{queue}");
            assert!(whole || name == queue, "{span:#?}");
        }
        let by_key = |span: &&&Seen| span.get("messaging.destination.name").starts_with("rollcall:page.raw.");
        assert!(processed.iter().filter(|span| span.has("messaging.batch.message_count")).any(|span| by_key(&span)));
        let acks = self.operation("ack");
        assert!(!acks.is_empty());
        assert!(acks.iter().any(|span| span.has("messaging.batch.message_count")), "some are settled together");
        for span in [acks, self.operation("retry")].concat() {
            self.is_settled_by_the_conventions(span);
        }
    }

    /// A settle span tells which message it is about, as the `process` span does that it is a child of.
    fn is_settled_by_the_conventions(&self, span: &Seen) {
        assert_eq!((span.kind, span.get("messaging.operation.type")), (SpanKind::Client, "settle"));
        let process = self.parent(span);
        assert_eq!(process.get("messaging.operation.name"), "process", "{span:#?}");
        let told = |of: &'static str| (of, span.get(of).to_owned());
        let same = |of: &'static str| assert_eq!(told(of), (of, process.get(of).to_owned()), "{span:#?} {process:#?}");
        ["messaging.system", "server.address", "server.port"].into_iter().for_each(same);
        let operation = span.get("messaging.operation.name");
        let shown = if span.has("messaging.destination.template") { "template" } else { "name" };
        assert_eq!(span.name, format!("{operation} {}", span.get(&format!("messaging.destination.{shown}"))));
        if span.has("messaging.message.id") {
            assert!(!span.has("messaging.batch.message_count"), "{span:#?}");
            if process.has("messaging.message.id") {
                ["messaging.destination.name", "messaging.message.id", "messaging.message.conversation_id"]
                    .into_iter()
                    .for_each(same);
                ["messaging.rabbitmq.destination.routing_key", "messaging.rabbitmq.message.delivery_tag"]
                    .into_iter()
                    .for_each(same);
            }
        } else {
            let count: usize = span.get("messaging.batch.message_count").parse().unwrap();
            assert!(count > 1, "{span:#?}");
        }
    }

    /// One message, two attempts: both hang from its creation, the first says why.
    fn the_retry_is_told(&self) {
        let again: Vec<_> =
            self.operation("process").into_iter().filter(|span| span.get("rollcall.message.attempt") == "1").collect();
        assert!(!again.is_empty(), "something was tried again");
        for second in again {
            let siblings: Vec<_> = self.spans.iter().filter(|span| span.parent == second.parent).collect();
            let first = siblings.iter().find(|span| span.get("rollcall.message.attempt") == "0").unwrap();
            assert!(first.failed && first.has("error.type"), "{first:#?}");
            assert_eq!(first.get("rollcall.message.outcome"), "retried");
            let settled = self.operation("retry").into_iter().find(|span| span.parent == first.id).unwrap();
            assert_eq!(settled.get("messaging.destination.name"), first.get("messaging.destination.name"));
            // It came back by the default exchange: its queue is all there is to say of where from.
            assert_eq!(second.get("messaging.destination.name"), "rollcall.fetch");
        }
    }

    fn clients_are_told_by_the_conventions(&self, house: &House) {
        let asked: Vec<_> = self.spans.iter().filter(|span| span.has("http.request.method")).collect();
        assert!(asked.len() >= 10, "{}", asked.len());
        for span in &asked {
            assert_eq!(span.kind, SpanKind::Client);
            assert_eq!(span.name, span.get("http.request.method"));
            assert_eq!(span.get("server.address"), "127.0.0.1");
            assert!(span.get("url.full").ends_with("/REDACTED"), "{span:#?}");
            assert_eq!(self.parent(span).get("messaging.operation.name"), "process");
            let status: u16 = span.get("http.response.status_code").parse().unwrap();
            assert_eq!(span.failed, status >= 400, "{span:#?}");
            assert_eq!(span.get("error.type"), if status >= 400 { span.get("http.response.status_code") } else { "" });
        }
        assert!(asked.iter().any(|span| span.get("http.response.status_code") == "500"), "the trouble is seen");
        assert!(asked.iter().any(|span| span.get("rollcall.sis.operation") == "token"));
        let most = house.sis.stats().max_in_flight;
        assert!(most > 0);
        let queries: Vec<_> = self.spans.iter().filter(|span| span.has("db.system.name")).collect();
        assert!(queries.len() >= 20, "{}", queries.len());
        for span in &queries {
            assert_eq!((span.kind, span.get("db.system.name")), (SpanKind::Client, "postgresql"));
            assert!(span.has("db.operation.name") && span.has("db.query.summary") && span.has("db.namespace"));
            assert!(!span.has("db.query.text"));
        }
        let names: BTreeSet<&str> = queries.iter().map(|span| span.name.as_str()).collect();
        for name in ["INSERT page", "INSERT student", "COMMIT"] {
            assert!(names.contains(name), "{name} among {names:?}");
        }
    }
}

/// A message of a version that is not invented yet, and what is none at all: handled and parked in the trace that the headers name.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_cannot_be_read_is_told_by_what_is_beside_it() {
    let collector = Collector::start().await;
    let mut house = House::scaled_out(district()).await;
    house.extra = collector.over_http();
    house.start_worker(Role::Fetcher);
    let run = RunId(uuid::Uuid::now_v7());
    let newer = Message::new(
        DISTRICT.parse().unwrap(),
        run,
        SystemClock.now(),
        Body::Discover(Discover { connection: ConnectionNo(1) }),
    );
    let mut bytes = encode(&newer).unwrap().to_vec();
    let at = bytes.windows(9).position(|window| window == b"\xa7version\x01").expect("an envelope's version");
    bytes[at + 8] = 99;
    let told = TraceContext::of_message(&newer);
    let properties = |id: uuid::Uuid, headers: serde_json::Value| {
        serde_json::json!({
            "type": "fetch.connection", "delivery_mode": 2, "content_type": "application/msgpack",
            "message_id": id.to_string(), "correlation_id": run.to_string(), "headers": headers,
        })
    };
    let beside = serde_json::json!({"traceparent": told.to_string(), "district": DISTRICT, "attempt": 0});
    let key = format!("fetch.{DISTRICT}");
    let newer = serde_json::json!({
        "routing_key": key, "properties": properties(newer.id, beside), "payload": STANDARD.encode(bytes),
    });
    house.services().republish(&newer).await;
    let id = newer["properties"]["message_id"].as_str().unwrap();
    let spans = collector.until("park", id).await;
    let [process, park] = ["process", "park"].map(|name| {
        spans
            .iter()
            .find(|span| span.get("messaging.operation.name") == name)
            .unwrap_or_else(|| panic!("{name}: {spans:#?}"))
    });
    assert_eq!((&process.trace, &process.parent), (&told.trace_id(), &told.span_id()));
    assert_eq!(process.links, [(told.trace_id(), told.span_id())]);
    assert_eq!(
        (process.kind, process.failed, process.get("error.type")),
        (SpanKind::Consumer, true, "unknown-version")
    );
    assert_eq!(process.get("rollcall.message.outcome"), "parked");
    assert_eq!((&park.trace, &park.parent, park.kind), (&process.trace, &process.id, SpanKind::Client));
    assert!(!park.failed, "parking went well: {park:#?}");
    for span in [process, park] {
        let operation = span.get("messaging.operation.name");
        assert_eq!(span.name, format!("{operation} rollcall:fetch.{{district}}:rollcall.fetch"));
        for (name, value) in [
            ("messaging.destination.name", format!("rollcall:{key}:rollcall.fetch")),
            ("messaging.rabbitmq.destination.routing_key", key.clone()),
            ("messaging.message.id", id.to_owned()),
            ("messaging.message.conversation_id", run.to_string()),
            ("rollcall.message.kind", "fetch.connection".to_owned()),
            ("rollcall.run.id", run.to_string()),
            ("rollcall.district.id", DISTRICT.to_owned()),
        ] {
            assert_eq!(span.get(name), value, "{name} of {span:#?}");
        }
    }
    assert_eq!((process.get("messaging.operation.type"), park.get("messaging.operation.type")), ("process", "settle"));

    // Nothing beside it but its own id: a trace of its own.
    let id = uuid::Uuid::now_v7();
    let nothing = serde_json::json!({"message_id": id.to_string(), "delivery_mode": 2});
    house.services().put("rollcall.fetch", &nothing, "no message").await;
    let spans = collector.until("park", &id.to_string()).await;
    let process = spans.iter().find(|span| span.get("messaging.operation.name") == "process").unwrap();
    assert_eq!((process.parent.as_str(), process.get("error.type")), ("", "undecodable"), "{process:#?}");
    assert!(!process.has("rollcall.run.id") && process.links.is_empty(), "{process:#?}");
    house.close().await;
}

/// A collector that is not there, and one that never answers: the night is as any other, and a counter tells.
#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_down_or_hangs_costs_a_counter() {
    let mut house = House::scaled_out(district()).await;
    let hanging = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    house.extra = settings("http/protobuf", format!("http://{free}"));
    house.start_worker(Role::Fetcher);
    house.start_worker(Role::Writer);
    house.extra = settings("grpc", format!("http://{}", hanging.local_addr().unwrap()));
    let classifier = house.start("classifier", &["worker", "classifier", "--listen", "127.0.0.1:0"]);
    let address = listening(&classifier).await;
    house.extra = Vec::new();
    let run = house.night().await;
    assert_eq!(run.state, "succeeded", "{run:#?}");
    let failed = until("spans to be given up", Duration::from_mins(1), || async {
        let metrics = reqwest::get(format!("http://{address}/metrics")).await.ok()?.text().await.ok()?;
        let of = |outcome: &str| {
            let labels = format!("outcome=\"{outcome}\"");
            let line = metrics
                .lines()
                .find(|line| line.starts_with("rollcall_telemetry_spans_total") && line.contains(&labels))?;
            line.rsplit(' ').next()?.parse::<f64>().ok()
        };
        let lost = of("failed")? + of("dropped")?;
        (lost > 0.0 && of("exported")? == 0.0).then_some(lost)
    })
    .await;
    assert!(failed > 0.0);
    house.check_roster().await;
    house.close().await;
}

async fn listening(process: &rollcall_e2e::Process) -> String {
    until("the process to say where it listens", Duration::from_secs(30), || async {
        let log = process.log();
        let (_, after) = log.split_once("metrics and health are served on ")?;
        after.lines().next().map(str::to_owned)
    })
    .await
}

/// Names, birth dates, phones, e-mails and addresses of everybody in the district, its secrets and tokens: none of it in
/// what comes out of a night with trouble in it.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_child_and_no_secret_comes_out_of_a_night_with_trouble() {
    const PLANTED: &str = "Zebedee-Canary-Quillfeather";
    // A fetcher, a classifier and a writer; this district has no flags.
    const PANICS_AT: [&str; 3] =
        ["commit/save what discovery found/before", "commit/store pages/before", "commit/apply a batch/before"];
    let collector = Collector::start().await;
    let config = SandboxConfig { client_secret: "canary/secret+5a1e".to_owned(), ..district() };
    let mut house = House::scaled_out(config).await;
    house.extra = collector.over_http();
    house.extra.push(("ROLLCALL_LOG".to_owned(), "debug".to_owned()));
    // Each panics once over its work, and says whom over.
    let panics = PANICS_AT.map(|moment| format!("{moment}=1*panic({PLANTED})"));
    house.extra.push(("ROLLCALL_FAILPOINTS".to_owned(), panics.join(";")));
    let mut processes = Vec::new();
    for role in ["fetcher", "classifier", "writer", "flag-sync"] {
        processes.push(house.start(role, &["-vv", "worker", role, "--listen", "127.0.0.1:0"]));
    }
    house.services().listen_in("spy").await;
    // A database that refuses a student names the row's values in its error. A page with a guardian that does not decode,
    // a message that is none, and a SIS in trouble.
    let story = house.sis.expected_students(1).into_iter().find(|(_, story)| story.status == "ENROLLED").unwrap();
    let refused = story.0.to_string();
    let refuse = format!("ALTER TABLE student ADD CONSTRAINT unlucky CHECK (student_id <> '{refused}')");
    sqlx::query(sqlx::AssertSqlSafe(refuse)).execute(&house.services().database).await.unwrap();
    let properties = serde_json::json!({"type": "page.raw", "delivery_mode": 2, "content_type": "application/msgpack"});
    house.services().put("rollcall.collect", &properties, &format!("{{\"LastName\": \"{PLANTED}\"}}")).await;
    let mut quirks = passing_trouble("StudentGuardian");
    quirks.faults.push(Fault {
        kind: FaultKind::TruncatedJson,
        object: Some("Student".to_owned()),
        page: Some(1),
        times: Some(2),
    });
    house.sis.set_quirks(quirks);
    let answer = house.rollcall(&["-vv", "run", DISTRICT, "--wait", "--format", "json"]).await;
    let rows: Vec<serde_json::Value> = answer.read();
    let run = house.show(rows[0]["run"].as_str().unwrap()).await;
    assert_eq!((run.state.as_str(), run.parked), ("partial", 1), "{run:#?}");

    let mut shown = vec![("the command line".to_owned(), answer.stderr)];
    for (name, args) in [
        ("runs show", vec!["runs", "show", run.run.as_str(), "--format", "json"]),
        ("runs trace", vec!["runs", "trace", run.run.as_str(), "--all"]),
        ("runs trace html", vec!["runs", "trace", run.run.as_str(), "--all", "--format", "html"]),
        ("runs trace svg", vec!["runs", "trace", run.run.as_str(), "--all", "--format", "svg"]),
        ("runs trace of a student", vec!["runs", "trace", run.run.as_str(), "--student", refused.as_str()]),
        ("queues parked", vec!["queues", "parked"]),
    ] {
        let answer = house.rollcall(&args).await.expect_code(0);
        shown.push((name.to_owned(), answer.text()));
    }
    let text_of = |name: &str| shown.iter().find(|(of, _)| of == name).map(|(_, text)| text.as_str()).unwrap();
    let told = text_of("runs trace of a student");
    for part in [format!("student {refused}"), "planned".to_owned(), "parked".to_owned()] {
        assert!(told.contains(&part), "what became of one student is told: {told}");
    }
    let page = text_of("runs trace html");
    for outside in ["<script", "<link", "src=", "url(", "@import"] {
        assert!(!page.contains(outside), "the page needs nothing beside itself: {outside}");
    }
    // What it says on standard error comes after it.
    let picture = text_of("runs trace svg").split_inclusive("</svg>").next().unwrap();
    svg::check(picture).unwrap_or_else(|wrong| panic!("{wrong}: {picture}"));
    assert!(picture.contains("batch 0") && picture.contains("class=\"bad\""), "{picture}");
    for (number, process) in processes.iter().enumerate() {
        let address = listening(process).await;
        let metrics = reqwest::get(format!("http://{address}/metrics")).await.unwrap().text().await.unwrap();
        assert!(metrics.contains("rollcall_messages_total"), "{metrics}");
        if number < PANICS_AT.len() {
            let has_panicked = |line: &str| line.starts_with("rollcall_message_panics_total") && line.ends_with(" 1");
            assert!(metrics.lines().any(has_panicked), "{metrics}");
            assert!(process.log().contains("panicked at"), "it tells where");
        }
        shown.push((format!("metrics {number}"), metrics));
    }
    let headers = house.services().headers("spy", 5_000).await;
    assert!(headers.len() > 20, "the spy has heard the night: {}", headers.len());
    shown.push(("headers".to_owned(), serde_json::to_string(&headers).unwrap()));
    let parked = house.services().headers("rollcall.collect.parked", 100).await;
    assert!(!parked.is_empty(), "the message that is none is parked");
    shown.push(("parked headers".to_owned(), serde_json::to_string(&parked).unwrap()));
    for process in &mut processes {
        assert!(process.terminate(Duration::from_secs(40)).await.success());
    }
    shown.extend(house.logs());
    let spans = collector.spans();
    assert!(spans.len() > 100, "{}", spans.len());
    shown.push(("spans".to_owned(), spans.iter().map(|span| span.text.clone() + "\n").collect()));

    let mut planted = canaries::facts(&house.services().database).await;
    assert!(planted.len() > 500, "{}", planted.len());
    planted.extend([PLANTED.to_owned(), "Bearer ".to_owned()]);
    let secrets = house.secrets();
    assert!(house.sis.issued_tokens().iter().all(|token| secrets.contains(token)), "tokens are secrets");
    assert!(secrets.contains("canary/secret+5a1e"), "the SIS's too");
    // The search finds what it should: the roster itself is full of them.
    let roster = house.rollcall(&["students", "list", "--district", DISTRICT]).await.expect_code(0).stdout;
    assert!(canaries::search("roster", &roster, &planted).len() > 100);
    let search = |(place, text): &(String, String)| {
        [canaries::search(place, text, &planted), canaries::search_secrets(place, text, &secrets)].concat()
    };
    let found: Vec<String> = shown.iter().flat_map(search).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
    house.close().await;
}

/// Every installation on servers is listened to, and searched when it closes: that hears what it should. The district's own id
/// stands in all of it.
#[tokio::test(flavor = "multi_thread")]
async fn what_workers_tell_beside_their_logs_is_listened_to() {
    let mut house = House::scaled_out(SandboxConfig { students: 60, ..district() }).await;
    house.start_worker(Role::Fetcher);
    house.start_worker(Role::Classifier);
    // Two that the test starts itself.
    let mut writer = house.start("writer", &["worker", "writer"]);
    let mut web = house.start("web", &["web", "--listen", "127.0.0.1:0"]);
    site(&web).await;
    assert_eq!(house.night().await.state, "succeeded");
    house.stop_workers().await;
    for process in [&mut writer, &mut web] {
        assert!(process.terminate(Duration::from_secs(30)).await.success());
    }
    house.rollcall(&["runs", "list", "--district", "nowhere-isd"]).await.expect_code(1);
    for (file, words) in [
        ("writer.metrics.log", "rollcall_messages_total"),
        ("web.metrics.log", "rollcall_build_info"),
        ("commands.log", "nowhere-isd"),
    ] {
        let log = house.logs().into_iter().find(|(place, _)| place.ends_with(file)).map(|(_, text)| text);
        assert!(log.as_ref().is_some_and(|log| log.contains(words)), "{file}: {log:?}");
    }
    let told = house.told().await;
    let spans = &told.iter().find(|(of, _)| of == "spans").unwrap().1;
    for service in ["rollcall-fetcher", "rollcall-writer", "rollcall-cli"] {
        assert!(spans.lines().any(|text| text == service), "{service} sends spans: {spans}");
    }
    let planted = BTreeSet::from([DISTRICT.to_owned()]);
    for place in ["spans", "metrics of fetcher-0", "headers of messages"] {
        let text = told.iter().find(|(of, _)| of == place).map(|(_, text)| text.as_str()).unwrap();
        assert_eq!(canaries::search_secrets(place, text, &planted).len(), 1, "{place}: {text}");
    }
    let metrics = told.iter().find(|(of, _)| of == "metrics of classifier-1").map(|(_, text)| text.as_str()).unwrap();
    assert!(metrics.contains("rollcall_messages_total"), "{metrics}");
    house.close().await;
}

/// The search is part of closing: a test that leaves it out fails.
#[tokio::test(flavor = "multi_thread")]
#[should_panic(expected = "an installation is closed, so that it is searched")]
async fn an_installation_that_is_not_closed_fails_its_test() {
    drop(House::embedded(SandboxConfig { students: 10, ..district() }).await);
}

/// As docs/THREATS.md says of the broker's disk.
#[tokio::test(flavor = "multi_thread")]
async fn what_lies_on_the_broker_names_children_and_no_secret() {
    let mut house = House::scaled_out(SandboxConfig { students: 60, ..district() }).await;
    house.services().tap().await;
    house.start_workers(1);
    assert_eq!(house.night().await.state, "succeeded");
    let messages = house.services().tapped().await;
    let mut lies = String::new();
    for message in &messages {
        unpack(&STANDARD.decode(message["payload"].as_str().unwrap()).unwrap(), &mut lies);
        lies += &message.to_string();
    }
    let facts = canaries::facts(&house.services().database).await;
    let told = canaries::search("the broker", &lies, &facts);
    assert!(told.len() > 50, "the messages can be read: {} facts in {} of them", told.len(), messages.len());
    let secrets = house.secrets();
    assert!(secrets.len() > 4, "{}", secrets.len());
    assert_eq!(canaries::search_secrets("the broker", &lies, &secrets), [] as [String; 0]);
    house.close().await;
}

/// Bytes as text, and what is packed in them by zstd, however deep.
fn unpack(bytes: &[u8], into: &mut String) {
    const FRAME: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
    *into += &String::from_utf8_lossy(bytes);
    into.push('\n');
    for at in bytes.windows(FRAME.len()).enumerate().filter(|(_, window)| *window == FRAME).map(|(at, _)| at) {
        let mut plain = Vec::new();
        let frame = zstd::Decoder::new(&bytes[at..]).unwrap().single_frame().read_to_end(&mut plain);
        if frame.is_ok() {
            unpack(&plain, into);
        }
    }
}
