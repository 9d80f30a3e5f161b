//! flag-sync as processes: two workers over RabbitMQ and PostgreSQL that are killed (SIGKILL) at random moments, and the
//! command line beside them. Students are put into the store directly: what brings them in is tested elsewhere.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

#[path = "../../store/tests/common/mod.rs"]
mod common;
#[path = "../../store/tests/roster_support/mod.rs"]
mod roster_support;

use std::{collections::BTreeSet, fmt::Write as _, time::Duration};

use rollcall_e2e::{
    Answer, Process, canaries, house,
    overheard::Overheard,
    services::{Servers, Services},
    until,
};
use rollcall_proto::{id::DistrictId, roster::Student};
use rollcall_sandbox::{Campus, CampusConfig, CampusFlag};
use rollcall_store::{
    Store,
    district::{ConnectionSecrets, District},
};
use roster_support::{added, applied, at, student};
use secrecy::SecretString;

const STUDENTS: usize = 300;
const LIMIT: Duration = Duration::from_mins(3);

/// A scaled-out installation.
struct House {
    services: Services,
    campus: Campus,
    store: Store,
    district: DistrictId,
    folder: tempfile::TempDir,
    settings: Vec<(String, String)>,
    overheard: Overheard,
}

fn setting(settings: &[(String, String)], name: &str) -> SecretString {
    settings.iter().find(|(key, _)| key == name).expect("a setting").1.clone().into()
}

impl House {
    async fn new() -> Self {
        let services = Services::on(Servers::shared()).await;
        let mut settings = services.settings();
        settings.push(("ROLLCALL_LOST_AFTER_SECONDS".to_owned(), "25".to_owned()));
        settings.push(("ROLLCALL_FLAG_REQUESTS_PER_SECOND".to_owned(), "100".to_owned()));
        let overheard = Overheard::start().await;
        settings.extend(overheard.settings());
        let folder = house::folder();
        Answer::of(folder.path(), &["migrate"], &settings).await.expect_code(0);
        let key = common::ring(&setting(&settings, "ROLLCALL_KEY"));
        let store = Store::connect(&setting(&settings, "ROLLCALL_DATABASE_URL"), key, 4).await.unwrap();
        let campus = Campus::start(CampusConfig::default()).await.unwrap();
        let district = seed(&store, &campus).await;
        Self { services, campus, store, district, folder, settings, overheard }
    }

    /// Ends all of it; what came out of it tells nothing of a student, and no secret.
    async fn close(self) {
        let mut told = house::logs_in(self.folder.path());
        assert!(told.iter().any(|(_, log)| !log.is_empty()), "commands and workers say something");
        told.extend(self.overheard.texts());
        let headers = self.services.overheard().await.iter().map(|row| row.to_string() + "\n").collect();
        told.push(("headers of messages".to_owned(), headers));
        let facts = canaries::facts(&self.services.database).await;
        assert!(facts.len() > STUDENTS, "each has a name: {}", facts.len());
        let config = self.campus.config();
        let mut secrets = canaries::secrets(&self.settings);
        secrets.extend([config.client_secret.clone(), config.vendor_secret.clone()]);
        canaries::assert_untold(&told, &facts, &BTreeSet::from_iter(secrets));
        self.campus.shutdown().await;
        drop(self.store);
        self.services.close().await;
    }

    async fn rollcall(&self, args: &[&str]) -> Answer {
        let district = ["--district", self.district.as_str()];
        Answer::of(self.folder.path(), &[args, &district].concat(), &self.settings).await
    }

    fn worker(&self, name: &str) -> Process {
        let args = ["-v", "worker", "flag-sync", "--listen", "127.0.0.1:0"];
        Process::start(name, self.folder.path(), &args, &self.settings)
    }

    /// A document for each student, completed, ended where wanted.
    async fn import(&self, end: &str) {
        let mut text = "document_id,student_id,program,kind,status,start,end,file\n".to_owned();
        for number in 0..STUDENTS {
            writeln!(text, "d{number},{number},Special Education,IEP,completed,2026-08-20,{end},plan.pdf").unwrap();
        }
        std::fs::write(self.folder.path().join("plan.pdf"), "%PDF-1.7 invented").unwrap();
        let file = self.folder.path().join("documents.csv");
        std::fs::write(&file, text).unwrap();
        self.rollcall(&["documents", "import", file.to_str().unwrap()]).await.expect_code(0);
    }

    /// Flags as the command line lists them: how many in each state.
    async fn states(&self) -> std::collections::BTreeMap<String, usize> {
        let rows: Vec<serde_json::Value> =
            self.rollcall(&["flags", "list", "--format", "json"]).await.expect_code(0).read();
        let mut states = std::collections::BTreeMap::new();
        for row in rows {
            *states.entry(row["state"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        states
    }

    async fn until_all(&self, state: &str) {
        until(&format!("all flags to be {state}"), LIMIT, || async {
            let states = self.states().await;
            (states.len() == 1 && states.get(state) == Some(&STUDENTS)).then_some(())
        })
        .await;
    }

    fn shown(&self) -> Vec<CampusFlag> {
        let flags = self.campus.flags();
        let students: BTreeSet<_> = flags.iter().map(|flag| flag.student.clone()).collect();
        assert_eq!((students.len(), flags.len()), (STUDENTS, STUDENTS), "each has one, and none has two");
        flags
    }
}

/// A student whose id Campus knows.
fn in_campus(number: usize) -> Student {
    let id = number.to_string();
    Student { sis_id: Some(id.clone()), ..student(&id) }
}

async fn seed(store: &Store, campus: &Campus) -> DistrictId {
    let config = campus.config();
    let file: District = serde_json::from_value(serde_json::json!({
        "id": "flags", "name": "Invented", "time_zone": "America/Chicago",
        "connection": [{
            "kind": "oneroster", "base_url": campus.base_url(), "token_url": campus.token_url(),
            "client_id": config.client_id, "vendor_key": config.vendor_key,
        }],
        "program": [
            {"name": "Special Education", "flags": true, "option": "create-new", "cutover": "2026-08-15"},
        ],
    }))
    .unwrap();
    let secrets = ConnectionSecrets {
        client_secret: config.client_secret.clone().into(),
        vendor_secret: Some(config.vendor_secret.clone().into()),
        ..ConnectionSecrets::default()
    };
    store.apply_district(&file, &[secrets], "test", at(0)).await.unwrap();
    let all = (0..STUDENTS).map(|number| added(in_campus(number))).collect();
    applied(store, &file.id, 1, all).await;
    file.id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_that_are_killed_at_random_moments_lose_and_double_no_flag() {
    let house = House::new().await;
    let mut workers = vec![house.worker("flag-sync-0"), house.worker("flag-sync-1")];
    house.import("").await;
    for kill in 0..3 {
        let so_far = house.campus.stats().writes;
        let enough = so_far + 10 + 7 * kill;
        until("some flags to be pushed, or all", LIMIT, || async {
            (house.campus.stats().writes >= enough || house.campus.flags().len() == STUDENTS).then_some(())
        })
        .await;
        let at = usize::try_from(kill).unwrap() % 2;
        workers[at].kill();
        workers[at] = house.worker(&format!("flag-sync-{}", kill + 2));
    }
    house.until_all("pushed").await;
    assert!(house.shown().iter().all(|flag| flag.ends.is_none()));
    // What follows is a change of each, with the broker emptied meanwhile: no message matters.
    house.import("2026-08-31").await;
    house.services.purge_queues().await;
    house.until_all("ended").await;
    assert!(house.shown().iter().all(|flag| flag.ends.is_some()));
    let writes = house.campus.stats().writes;
    house.rollcall(&["flags", "push"]).await.expect_code(0);
    until("the sync that was asked for", LIMIT, || async {
        house.store.flags_synced_at(&house.district).await.unwrap()
    })
    .await;
    assert_eq!(house.campus.stats().writes, writes, "an unchanged night sends no write");
    for worker in &workers {
        house.overheard.ask(worker.name(), &worker.log()).await;
    }
    drop(workers);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_takes_all_or_nothing_and_names_what_is_bad() {
    let house = House::new().await;
    let file = house.folder.path().join("bad.csv");
    let rows = "document_id,student_id,program,kind,status,start,end,file\n\
                d1,1,Special Education,IEP,completed,2026-08-20,,\n\
                d2,nobody,Special Education,IEP,completed,2026-08-20,,\n\
                d3,2,Chess Club,IEP,completed,2026-08-20,,missing.pdf\n";
    std::fs::write(&file, rows).unwrap();
    let answer =
        house.rollcall(&["documents", "import", file.to_str().unwrap(), "--format", "json"]).await.expect_code(1);
    let bad: Vec<serde_json::Value> = answer.read();
    let told: Vec<_> =
        bad.iter().map(|bad| (bad["line"].as_u64(), bad["column"].as_str(), bad["code"].as_str())).collect();
    assert_eq!(
        told,
        [
            (Some(3), Some("student_id"), Some("student-unknown")),
            (Some(4), Some("program"), Some("program-unknown")),
            (Some(4), Some("file"), Some("file-unreadable"))
        ]
    );
    assert!(answer.stderr.contains("nothing was taken in"), "{}", answer.stderr);
    let listed: Vec<serde_json::Value> =
        house.rollcall(&["documents", "list", "--format", "json"]).await.expect_code(0).read();
    assert_eq!(listed.len(), 0);
    std::fs::write(&file, rows.lines().take(2).collect::<Vec<_>>().join("\n")).unwrap();
    let answer = house.rollcall(&["documents", "import", file.to_str().unwrap()]).await.expect_code(0);
    assert!(answer.stderr.contains("1 document: 1 new, 0 changed, 0 as before"), "{}", answer.stderr);
    let answer = house.rollcall(&["documents", "import", file.to_str().unwrap()]).await.expect_code(0);
    assert!(answer.stderr.contains("1 document: 0 new, 0 changed, 1 as before"), "{}", answer.stderr);
    house.close().await;
}
