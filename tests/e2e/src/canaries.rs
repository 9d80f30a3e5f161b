//! What must be in no log, span, metric, header or message for people: names, dates of birth, addresses, secrets. Every
//! installation of the tests that closes in order has its logs searched for them; one test searches all the rest.

use std::collections::BTreeSet;

use sqlx::PgPool;

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

/// What the store knows of anybody: words of five letters and more, and dates of birth.
///
/// # Panics
/// When the database does not answer.
pub async fn facts(database: &PgPool) -> BTreeSet<String> {
    let mut facts = BTreeSet::new();
    for (table, columns) in [
        ("student", ["first_name", "last_name", "middle_name", "birth_date::text", "phones::text", "emails::text"]),
        ("contact", ["first_name", "last_name", "middle_name", "addresses::text", "phones::text", "emails::text"]),
    ] {
        for column in columns {
            let sql = format!("SELECT DISTINCT {column} FROM {table} WHERE {column} IS NOT NULL");
            let values: Vec<String> =
                sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_all(database).await.expect("the roster can be read");
            for value in values {
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
