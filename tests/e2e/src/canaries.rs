//! What must be in no log, span, metric, header or message for people: names, dates of birth, addresses, secrets. Every
//! installation of the tests that closes in order has its logs searched for them; one test searches all the rest.

use std::{collections::BTreeSet, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rollcall_sandbox::Sandbox;
use sqlx::{PgPool, SqlitePool, sqlite::SqliteConnectOptions};

/// Canaries that stand in a text: as whole words, or anywhere where they are more than one.
pub fn search(place: &str, text: &str, canaries: &BTreeSet<String>) -> Vec<String> {
    let between = |letter: char| !letter.is_alphanumeric() && !"-'@.+/".contains(letter);
    let words: BTreeSet<&str> = text.split(between).collect();
    let is_word = |canary: &str| !canary.contains(between);
    let hits = canaries.iter().filter(|canary| {
        if is_word(canary) { words.contains(canary.as_str()) } else { text.contains(canary.as_str()) }
    });
    hits.map(|canary| {
        let line = text.lines().find(|line| line.contains(canary.as_str())).unwrap_or_default();
        format!("{place}: {canary:?} in {}", line.chars().take(400).collect::<String>())
    })
    .collect()
}

/// Secrets that stand in a text, wherever: as they are, as in a form, and as in a Basic header.
pub fn search_secrets(place: &str, text: &str, secrets: &BTreeSet<String>) -> Vec<String> {
    let encoded = |secret: &String| url::form_urlencoded::byte_serialize(secret.as_bytes()).collect::<String>();
    let stands = |secret: &&String| text.contains(secret.as_str()) || text.contains(&encoded(secret));
    // The secret itself is not repeated: the report is a log too.
    secrets.iter().filter(stands).map(|secret| format!("{place}: a secret of {} letters", secret.len())).collect()
}

/// Lines of a log that name a run and another trace than its own: the id of a run's trace is the run's.
pub fn of_another_trace(place: &str, log: &str) -> Vec<String> {
    let wrong = |line: &&str| {
        let Ok(fields) = serde_json::from_str::<serde_json::Value>(line) else { return false };
        let run = fields["run"].as_str().and_then(|run| uuid::Uuid::try_parse(run).ok());
        run.is_some_and(|run| fields["trace_id"] != run.simple().to_string())
    };
    let lines = log.lines().filter(|line| line.contains("\"run\":\"")).filter(wrong);
    lines
        .map(|line| format!("{place}: another run's trace in {}", line.chars().take(400).collect::<String>()))
        .collect()
}

/// What the store knows of anybody: words of five letters and more, and dates of birth.
///
/// # Panics
/// When the database does not answer.
pub async fn facts(database: &PgPool) -> BTreeSet<String> {
    facts_by(async |sql| {
        sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_all(database).await.expect("the roster can be read")
    })
    .await
}

/// As [`facts`], of an embedded installation.
///
/// # Panics
/// When its file cannot be read.
pub async fn facts_in(file: &Path) -> BTreeSet<String> {
    if !file.exists() {
        return BTreeSet::new();
    }
    let database = SqlitePool::connect_with(SqliteConnectOptions::new().filename(file).read_only(true)).await;
    let database = database.expect("the store can be opened");
    let facts = facts_by(async |sql| {
        sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_all(&database).await.expect("the roster can be read")
    })
    .await;
    database.close().await;
    facts
}

async fn facts_by(read: impl AsyncFn(String) -> Vec<String>) -> BTreeSet<String> {
    let mut facts = BTreeSet::new();
    for (table, columns) in [
        ("student", ["first_name", "last_name", "middle_name", "birth_date", "phones", "emails"]),
        ("contact", ["first_name", "last_name", "middle_name", "addresses", "phones", "emails"]),
    ] {
        for column in columns {
            let sql = format!("SELECT DISTINCT CAST({column} AS text) FROM {table} WHERE {column} IS NOT NULL");
            for value in read(sql).await {
                match serde_json::from_str::<serde_json::Value>(&value) {
                    Ok(listed @ (serde_json::Value::Array(_) | serde_json::Value::Object(_))) => {
                        strings(&listed, &mut facts);
                    }
                    _ => drop(facts.insert(value)),
                }
            }
        }
    }
    // A word of few letters stands in any text.
    facts.retain(|fact| fact.chars().count() >= 5);
    facts
}

fn strings(value: &serde_json::Value, into: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::String(text) => drop(into.insert(text.clone())),
        serde_json::Value::Array(list) => list.iter().for_each(|value| strings(value, into)),
        serde_json::Value::Object(map) => map.values().for_each(|value| strings(value, into)),
        _ => {}
    }
}

/// The key, and the passwords of the broker's and the database's URLs.
///
/// # Panics
/// When a URL is none.
pub fn secrets(settings: &[(String, String)]) -> Vec<String> {
    let mut secrets = Vec::new();
    for (name, value) in settings {
        match name.as_str() {
            "ROLLCALL_KEY" => secrets.push(value.clone()),
            "ROLLCALL_AMQP_URL" | "ROLLCALL_DATABASE_URL" => {
                let url: url::Url = value.parse().expect("a URL");
                // The tests' own broker has a password that is a word like any other.
                secrets.extend(url.password().filter(|password| password.len() >= 8).map(str::to_owned));
                secrets.push(value.clone());
            }
            _ => {}
        }
    }
    secrets
}

/// What the SIS and its Campus are asked with: secrets, Basic headers of them, and every token given so far.
pub fn sis_secrets(sis: &Sandbox, client_id: &str, client_secret: &str) -> Vec<String> {
    let (vendor_key, vendor_secret) = sis.campus_vendor();
    let pairs = [(client_id, client_secret), (client_id, sis.client_secret()), (vendor_key, vendor_secret)];
    let basic = pairs.map(|(id, secret)| STANDARD.encode(format!("{id}:{secret}")));
    let plain = pairs.map(|(_, secret)| secret.to_owned());
    let mut secrets = [&plain[..], &basic[..], &sis.issued_tokens()].concat();
    // A test may give a secret that is a word like any other.
    secrets.retain(|secret| secret.len() >= 8);
    secrets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_a_run_is_of_its_trace() {
        let run = "0193a5b0-0000-7000-8000-0000000000aa";
        let line = |trace: &str| format!(r#"{{"message":"x","run":"{run}","trace_id":"{trace}"}}"#);
        let own = line("0193a5b00000700080000000000000aa");
        assert_eq!(of_another_trace("log", &format!("text\n{own}\n{{\"message\":\"y\"}}")), [] as [String; 0]);
        let none = format!(r#"{{"message":"x","run":"{run}"}}"#);
        assert_eq!(of_another_trace("log", &format!("{}\n{none}", line("0193a5b00000700080000000000000bb"))).len(), 2);
    }

    #[test]
    fn a_secret_is_found_in_any_form_and_in_the_midst_of_a_word() {
        let secrets = BTreeSet::from(["canary/5+a".to_owned()]);
        for text in ["secret=canary/5+a", "xcanary/5+ay", "client_secret=canary%2F5%2Ba&scope="] {
            assert_eq!(search_secrets("log", text, &secrets).len(), 1, "{text}");
        }
        assert_eq!(search_secrets("log", "canary/5", &secrets), [] as [String; 0]);
    }
}
