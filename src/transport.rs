//! How the servers are reached: nothing leaves the machine in the clear.
//!
//! Role: judges the two URLs before anything connects. Neighbours: `config` reads them, RabbitMQ's and PostgreSQL's clients
//! check the certificates. Invariant: no error repeats a URL, which holds a password.

use anyhow::{Context as _, bail, ensure};
use rollcall_store::{Store, is_this_machine};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

/// A server's URL, and what it is called where it stands: a variable of the environment, or a key of the file.
#[derive(Clone, Copy)]
pub(crate) struct Named<'a> {
    pub(crate) url: &'a SecretString,
    pub(crate) name: &'a str,
}

/// Refuses a URL that leads to another machine without TLS, unless `allow_plaintext`, and RabbitMQ's user `guest` anywhere
/// but at home.
pub(crate) fn check(database: Named<'_>, amqp: Named<'_>, allow_plaintext: bool) -> anyhow::Result<()> {
    let url = Url::parse(amqp.url.expose_secret()).ok();
    let url = url.with_context(|| format!("{} is not of the form amqps://user:password@host:port/vhost", amqp.name))?;
    check_broker(&url, amqp.name, allow_plaintext)?;
    let private = Store::is_private(database.url).with_context(|| format!("reading {}", database.name))?;
    ensure!(
        private || allow_plaintext,
        "{} leads to another machine without sslmode=verify-full: add it (and sslrootcert=FILE with the certificates to trust), or \
         set ROLLCALL_ALLOW_PLAINTEXT=true where the network itself is encrypted",
        database.name
    );
    Ok(())
}

fn check_broker(url: &Url, name: &str, allow_plaintext: bool) -> anyhow::Result<()> {
    if url.host_str().is_none_or(is_this_machine) {
        return Ok(());
    }
    ensure!(
        !matches!(url.username(), "" | "guest"),
        "{name} leads to another machine as `guest`, whose password everybody knows: make a user for Rollcall"
    );
    if url.scheme() != "amqps" && !allow_plaintext {
        bail!(
            "{name} leads to another machine without TLS: write amqps:// (ROLLCALL_AMQP_CA_FILE names the certificates to trust), \
             or set ROLLCALL_ALLOW_PLAINTEXT=true where the network itself is encrypted"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME_DATABASE: &str = "postgres://rollcall@localhost/rollcall";
    const HOME_BROKER: &str = "amqp://guest:guest@127.0.0.1:5672/%2f";

    #[test]
    fn the_broker_on_another_machine_is_reached_over_tls_and_not_as_guest() {
        for (url, refused) in [
            (HOME_BROKER, None),
            ("amqp://guest:guest@localhost", None),
            ("amqp://guest@[::1]:5672", None),
            ("amqps://rollcall:pw@broker.example.org/rollcall", None),
            ("amqp://rollcall:pw@broker.example.org/rollcall", Some("amqps://")),
            ("amqp://rollcall:pw@10.0.0.7/rollcall", Some("amqps://")),
            ("amqps://guest:guest@broker.example.org", Some("guest")),
            ("amqps://broker.example.org", Some("guest")),
            ("amqp://rollcall:pw@127.0.0.1.example.org", Some("amqps://")),
            ("no url", Some("the broker's URL is not")),
        ] {
            judge(url, checked(HOME_DATABASE, url, false), refused);
        }
        assert!(checked(HOME_DATABASE, "amqp://rollcall:pw@rabbitmq", true).is_ok());
        judge("guest", checked(HOME_DATABASE, "amqp://guest:pw@rabbitmq", true), Some("guest"));
    }

    #[test]
    fn the_database_on_another_machine_proves_who_it_is() {
        for (url, refused) in [
            (HOME_DATABASE, None),
            ("postgres://rollcall@127.0.0.1:5433/rollcall", None),
            ("postgres://rollcall@localhost/rollcall?host=/run/postgresql", None),
            ("postgres://rollcall@localhost/rollcall?host=/tmp/x/socket", None),
            ("postgres://rollcall@%2Frun%2Fpostgresql/rollcall", None),
            ("postgres://rollcall:pw@db.example.org/rollcall?sslmode=verify-full", None),
            ("postgres://rollcall:pw@db.example.org/rollcall?sslmode=require", Some("verify-full")),
            ("postgres://rollcall:pw@db.example.org/rollcall", Some("verify-full")),
            ("postgres://rollcall:pw@localhost/rollcall?host=db.example.org", Some("verify-full")),
            ("no url", Some("reading the database's URL")),
        ] {
            judge(url, checked(url, HOME_BROKER, false), refused);
        }
        assert!(checked("postgres://rollcall:pw@postgres/rollcall", HOME_BROKER, true).is_ok());
    }

    fn checked(database: &str, amqp: &str, allow_plaintext: bool) -> anyhow::Result<()> {
        let (database, amqp) = (SecretString::from(database), SecretString::from(amqp));
        let database = Named { url: &database, name: "the database's URL" };
        check(database, Named { url: &amqp, name: "the broker's URL" }, allow_plaintext)
    }

    fn judge(url: &str, outcome: anyhow::Result<()>, refused: Option<&str>) {
        match (outcome, refused) {
            (Ok(()), None) => {}
            (Err(error), Some(word)) => {
                let text = format!("{error:#}");
                assert!(text.contains(word) && !text.contains("pw@"), "{url}: {text}");
            }
            (outcome, _) => panic!("{url}: {outcome:?}"),
        }
    }
}
