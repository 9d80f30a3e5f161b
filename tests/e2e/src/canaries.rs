//! What must be in no log, span, metric, header or message for people: names, dates of birth, addresses, secrets. Every
//! installation of the tests that closes in order has its logs searched for them; one test searches all the rest.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rollcall_sandbox::Sandbox;
use sqlx::{PgPool, SqlitePool, sqlite::SqliteConnectOptions};

/// Canaries that stand in a text, whatever stands beside them but a letter or a digit; beside what is digits and signs alone (a
/// date of birth, a telephone number), but a digit. Percent signs of addresses and line ends of quoted texts are read first.
pub fn search(place: &str, text: &str, canaries: &BTreeSet<String>) -> Vec<String> {
    let text = unquoted(text);
    let (words, numbers): (Vec<&String>, Vec<&String>) =
        canaries.iter().partition(|canary| canary.contains(char::is_alphabetic));
    let mut hits = standing(&text, &words, char::is_alphanumeric);
    hits.extend(standing(&text, &numbers, |letter| letter.is_ascii_digit()));
    let told = hits.into_iter().map(|(canary, at)| {
        let from = text[..at].rfind('\n').map_or(0, |end| end + 1);
        let line = text[from..].lines().next().unwrap_or_default();
        format!("{place}: {canary:?} in {}", line.chars().take(400).collect::<String>())
    });
    told.collect()
}

/// The first place of each canary in a text. Read once, however many there are: a canary is looked for where a piece of the text
/// is its own first piece, between what is not of a piece.
fn standing<'a>(text: &str, canaries: &[&'a String], of_piece: fn(char) -> bool) -> BTreeMap<&'a str, usize> {
    let mut by_piece: HashMap<&str, Vec<(usize, &'a str)>> = HashMap::new();
    for canary in canaries {
        let before = canary.find(of_piece).unwrap_or(canary.len());
        let piece = canary[before..].split(|letter| !of_piece(letter)).next().unwrap_or_default();
        by_piece.entry(piece).or_default().push((before, canary.as_str()));
    }
    by_piece.remove("");
    let mut found = BTreeMap::new();
    for piece in text.split(|letter| !of_piece(letter)).filter(|piece| !piece.is_empty()) {
        let Some(candidates) = by_piece.get(piece) else { continue };
        let start = piece.as_ptr().addr() - text.as_ptr().addr();
        for (before, canary) in candidates {
            let at = start.checked_sub(*before);
            let after = at.and_then(|at| text.get(at..)?.strip_prefix(canary));
            let ends = |after: &str| !(canary.ends_with(of_piece) && after.starts_with(of_piece));
            if let (Some(at), true) = (at, after.is_some_and(ends)) {
                found.entry(*canary).or_insert(at);
            }
        }
    }
    found
}

/// A text without what writes some letters as others: `%27` of addresses, and `\n`, `\r`, `\t` of quoted texts, whose letter would
/// stand beside the next word.
fn unquoted(text: &str) -> String {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let bytes = text.as_bytes();
    let (mut plain, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(byte) = bytes.get(at) {
        let (written, long) = match (byte, bytes.get(at + 1)) {
            (b'\\', Some(b'n' | b'r' | b't')) => (b' ', 2),
            (b'%', high) => match (digit(high), digit(bytes.get(at + 2))) {
                (Some(high), Some(low)) => (u8::try_from(high * 16 + low).unwrap_or_default(), 3),
                _ => (b'%', 1),
            },
            _ => (*byte, 1),
        };
        plain.push(written);
        at += long;
    }
    String::from_utf8_lossy(&plain).into_owned()
}

/// Secrets that stand in a text, wherever: as they are, as in a form, and as in a Basic header.
pub fn search_secrets(place: &str, text: &str, secrets: &BTreeSet<String>) -> Vec<String> {
    let encoded = |secret: &String| url::form_urlencoded::byte_serialize(secret.as_bytes()).collect::<String>();
    let stands = |secret: &&String| text.contains(secret.as_str()) || text.contains(&encoded(secret));
    // The secret itself is not repeated: the report is a log too.
    secrets.iter().filter(stands).map(|secret| format!("{place}: a secret of {} letters", secret.len())).collect()
}

/// Neither facts nor secrets stand in any of these texts, which are by place.
///
/// # Panics
/// When one does, with its place.
pub fn assert_untold<'a>(
    texts: impl IntoIterator<Item = &'a (String, String)>,
    facts: &BTreeSet<String>,
    secrets: &BTreeSet<String>,
) {
    let search =
        |(place, text): &(String, String)| [search(place, text, facts), search_secrets(place, text, secrets)].concat();
    let told: Vec<String> = texts.into_iter().flat_map(search).collect();
    assert!(told.is_empty(), "what must not come out: {}", told.join("\n"));
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

/// What the store knows of students, contacts and staff, as far as it [tells] of anybody: names, addresses, telephone numbers, and
/// dates of birth.
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
    const PERSON: [&str; 6] = ["first_name", "last_name", "middle_name", "addresses", "phones", "emails"];
    let mut facts = BTreeSet::new();
    for (table, more) in [("student", &["birth_date"][..]), ("contact", &[]), ("staff", &[])] {
        for column in PERSON.iter().chain(more) {
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
    facts.retain(|fact| tells(fact));
    facts
}

/// Whether a fact tells of somebody wherever it stands. One or two plain letters, and a number that is no longer than a port or a
/// count of bytes (of a house, a ZIP code), stand in any text.
pub fn tells(fact: &str) -> bool {
    let digits = fact.chars().filter(char::is_ascii_digit).count();
    let letters = fact.chars().filter(|letter| letter.is_alphabetic()).count();
    !fact.is_ascii() || letters >= 3 || (letters == 0 && digits >= 8)
}

/// Texts of a person's lists. Ids, and the SIS's words for kinds and places larger than a town, are nobody's.
fn strings(value: &serde_json::Value, into: &mut BTreeSet<String>) {
    const OF_NOBODY: [&str; 4] = ["id", "kind", "state", "country"];
    match value {
        serde_json::Value::String(text) => drop(into.insert(text.clone())),
        serde_json::Value::Array(list) => list.iter().for_each(|value| strings(value, into)),
        serde_json::Value::Object(map) => {
            let told = map.iter().filter(|(key, _)| !OF_NOBODY.contains(&key.as_str()));
            told.for_each(|(_, value)| strings(value, into));
        }
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
    fn a_fact_is_found_beside_anything_but_a_letter_or_a_digit() {
        for (fact, text, stands) in [
            ("Garcia", "refused 'Garcia'", true),
            ("Garcia", "the name is Garcia.", true),
            ("Garcia", "GET /students/Garcia/x", true),
            ("Garcia", "Garcia", true),
            ("Garcia", "last_name=Garcia-Lopez", true),
            ("Garcia", r#"{"message":"(\"Garcia\")"}"#, true),
            ("Garcia", r#"{"message":"name:\nGarcia\tx"}"#, true),
            ("Garcia", "/search?name=%27Garcia%27", true),
            ("Garcia", "Garcias", false),
            ("Garcia", "XGarcia", false),
            ("Garcia", "Garcia7", false),
            ("Garcia", "Garciá", false),
            ("Garcia", "Garcias, and Garcia", true),
            ("D'Andre", "no D'Andre here", true),
            ("Mary Ann", "name=Mary%20Ann&x", true),
            ("Mary Ann", "Mary Anne", false),
            ("(St.) Clair", "x (St.) Clair.", true),
            ("Bąk", "für Bąk:", true),
            ("小雨", "student 小雨 left", true),
            ("12 Old Depot St", "at 12 Old Depot St, TX", true),
            ("12 Old Depot St", "at 112 Old Depot St, TX", false),
            ("2009-03-04", "2009-03-04T00:00:00", true),
            ("2009-03-04", "D2009-03-04", true),
            ("2009-03-04", "12009-03-04", false),
            ("2009-03-04", "2009-03-041", false),
            ("(512) 555-0123", "tel(512) 555-0123x", true),
            ("5125550123", "n5125550123n", true),
            ("5125550123", "51255501234", false),
        ] {
            let found = search("log", text, &BTreeSet::from([fact.to_owned()]));
            assert_eq!(found.len(), usize::from(stands), "{fact} in {text}: {found:?}");
        }
    }

    #[test]
    fn a_hit_is_told_with_its_own_line() {
        let found = search("log", "Garcias\nof Garcia:\nend", &BTreeSet::from(["Garcia".to_owned()]));
        assert_eq!(found, [r#"log: "Garcia" in of Garcia:"#]);
    }

    #[test]
    fn what_could_be_anything_is_no_fact() {
        let told = ["Ada", "王", "Bąk", "A. Lee", "2009-03-04", "5125550123", "12 Old Depot St"];
        assert!(told.iter().all(|fact| tells(fact)), "{told:?}");
        let untold = ["A", "Al", "TX", "78001", "150012", "1", ""];
        assert!(!untold.iter().any(|fact| tells(fact)), "{untold:?}");
        let mut facts = BTreeSet::new();
        let address = serde_json::json!([{"id": "X-150012", "line1": "Pecan St", "state": "Texas", "kind": "Home", "city": null}]);
        strings(&address, &mut facts);
        assert_eq!(facts, BTreeSet::from(["Pecan St".to_owned()]));
    }

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
