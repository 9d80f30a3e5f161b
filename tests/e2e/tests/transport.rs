//! How servers on other machines are reached, and whom a process believes.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use rollcall_e2e::{cli::Answer, private::PrivateServers};

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
