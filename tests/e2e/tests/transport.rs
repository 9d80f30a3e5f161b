//! How servers on other machines are reached, and whom a process believes.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::time::Duration;

use rollcall_e2e::{House, Role, cli::Answer, pair::small, private::PrivateServers, until};

use super::{
    broker::ask_for_flags,
    failpoints::{ANEW, import, program},
    web::site,
};

const KEY: &str = "dGhlIHRlc3RzJyBvd24ga2V5LCAzMiBieXRlcyBsbmc=";

async fn migrate(folder: &std::path::Path, database: &str, amqp: &str) -> Answer {
    let setting = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let settings =
        [setting("ROLLCALL_DATABASE_URL", database), setting("ROLLCALL_AMQP_URL", amqp), setting("ROLLCALL_KEY", KEY)];
    Answer::of(folder, &["migrate"], &settings).await
}

#[tokio::test]
async fn another_machine_is_not_spoken_to_in_the_clear() {
    let folder = tempfile::tempdir().unwrap();
    let home = "amqp://rollcall:pw@127.0.0.1:1/";
    for (database, amqp, word) in [
        ("postgres://rollcall:secret@db.example.org/rollcall", home, "sslmode=verify-full"),
        ("postgres://rollcall@127.0.0.1:1/x", "amqp://rollcall:secret@broker.example.org/", "amqps://"),
        ("postgres://rollcall@127.0.0.1:1/x", "amqps://guest:secret@broker.example.org/", "guest"),
    ] {
        let refused = migrate(folder.path(), database, amqp).await.expect_code(1);
        assert!(refused.stderr.contains(word) && !refused.stderr.contains("secret"), "{}", refused.stderr);
    }
}

#[tokio::test]
async fn a_database_must_prove_who_it_is() {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (_servers, port) =
        PrivateServers::start_tls_database(&certified.cert.pem(), &certified.signing_key.serialize_pem());
    let folder = tempfile::tempdir().unwrap();
    let (right, wrong) = (folder.path().join("right.pem"), folder.path().join("wrong.pem"));
    std::fs::write(&right, certified.cert.pem()).unwrap();
    std::fs::write(&wrong, rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem()).unwrap();
    let url = |host: &str, root: &std::path::Path| {
        let root = root.display();
        format!("postgres://rollcall_admin@{host}:{port}/postgres?sslmode=verify-full&sslrootcert={root}")
    };
    let amqp = "amqp://rollcall:pw@127.0.0.1:1/";
    migrate(folder.path(), &url("localhost", &right), amqp).await.expect_code(0);
    for (what, url) in [("another authority", url("localhost", &wrong)), ("another name", url("127.0.0.1", &right))] {
        let refused = migrate(folder.path(), &url, amqp).await.expect_code(1);
        assert!(refused.stderr.to_lowercase().contains("certificate"), "{what}: {}", refused.stderr);
    }
}

/// Workers of every role and the site, a night and a flag: nobody says a word in the clear, to either server.
#[tokio::test(flavor = "multi_thread")]
async fn a_night_of_all_processes_over_tls_to_both_servers() {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (servers, [broker_port, database_port]) =
        PrivateServers::start_tls(&certified.cert.pem(), &certified.signing_key.serialize_pem());
    let mut addresses = servers.servers();
    addresses.database.set_port(Some(database_port)).unwrap();
    let mut house = House::on(addresses, small(61)).await;
    let authority = house.folder().join("authority.pem");
    std::fs::write(&authority, certified.cert.pem()).unwrap();
    let database = url::Url::parse(&house.services().database_url()).unwrap();
    let mut amqp = url::Url::parse(&house.services().amqp_url()).unwrap();
    amqp.set_host(Some("localhost")).unwrap();
    amqp.set_port(Some(broker_port)).unwrap();
    let amqps = amqp.as_str().replacen("amqp:", "amqps:", 1);
    let (user, path, authority) = (database.username(), database.path(), authority.to_string_lossy().into_owned());
    let verified =
        format!("postgres://{user}@localhost:{database_port}{path}?sslmode=verify-full&sslrootcert={authority}");
    for (name, value) in
        [("ROLLCALL_AMQP_URL", amqps), ("ROLLCALL_AMQP_CA_FILE", authority), ("ROLLCALL_DATABASE_URL", verified)]
    {
        house.extra.push((name.to_owned(), value));
    }
    let (key, secret) = house.sis.campus_vendor();
    std::fs::write(house.folder().join("vendor.secret"), secret).unwrap();
    "oneroster".clone_into(&mut house.district.kind);
    let vendor = format!("vendor_key = {key:?}\nvendor_secret = {{ file = \"vendor.secret\" }}\n");
    house.district.base_url = house.sis.campus_base_url();
    house.district.connection = format!("token_url = {:?}\n{vendor}", house.sis.campus_token_url());
    house.district.tables = program(ANEW, "create-new");
    house.apply().await;
    house.start_workers(1);
    house.start_worker(Role::FlagSync);
    let mut web = house.start("web", &["web", "--listen", "127.0.0.1:0"]);
    let site = site(&web).await;
    let run = house.night().await;
    assert_eq!(run.state, "succeeded", "{run:#?}");
    assert!(run.added > 0, "{run:#?}");
    let students = house.students().await;
    let student = &students.iter().find(|student| student.status == "ENROLLED").unwrap().student_id;
    import(&house, ANEW, std::slice::from_ref(student), 10).await;
    ask_for_flags(&house, &site).await;
    let limit = Duration::from_mins(1);
    until("the flag to be shown", limit, || async { (house.sis.campus_flags().len() == 1).then_some(()) }).await;
    // Each worker has one connection that publishes and one that consumes; the site has no queue.
    until("the broker to list the connections of all", limit, || async {
        (house.services().broker_connections().await.0 > 2 * (Role::ALL.len() + 1)).then_some(())
    })
    .await;
    let (all, over_tls) = house.services().broker_connections().await;
    assert_eq!(over_tls, all, "connections to the broker");
    let (all, over_tls) = house.services().database_connections().await;
    assert!(all >= 5 && over_tls == all, "{over_tls} of {all} connections to the database");
    assert!(web.terminate(limit).await.success());
    house.stop_workers().await;
    house.close().await;
}
