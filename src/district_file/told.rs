//! What is told of a district's file that has not its form: where, and what was expected. Never a value, which may be a secret.

/// A syntax error with its line, without the line's content (it may hold a secret).
pub(super) fn syntax(error: &toml::de::Error, text: &str) -> anyhow::Error {
    let line = error.span().map_or(1, |span| 1 + text.bytes().take(span.start).filter(|byte| *byte == b'\n').count());
    match error.message() {
        "duplicate key" => anyhow::anyhow!("line {line}: {}", twice(error, text)),
        message => anyhow::anyhow!("line {line}: {message}"),
    }
}

/// A key that stands twice, by its name; whatever looks like more than a bare key is not repeated.
fn twice(error: &toml::de::Error, text: &str) -> String {
    let is_of_key = |letter: char| letter.is_ascii_alphanumeric() || "_-".contains(letter);
    let key = error.span().and_then(|span| text.get(span)).filter(|key| key.chars().all(is_of_key));
    match key {
        Some(key @ ("id" | "name" | "time_zone" | "hold" | "status" | "flags" | "schedule")) => {
            format!("the key {key} stands there twice; a file is of one district, so write another for another")
        }
        Some(key) => format!("the key {key} stands there twice"),
        None => "a key stands there twice".to_owned(),
    }
}

/// A structural error, with the key it is about and the line where that key stands; never the value, which may be a secret in
/// the wrong place.
pub(super) fn located(error: &toml::de::Error, text: &str) -> anyhow::Error {
    let message = error.message();
    let shown = error.to_string();
    let path = shown.lines().find_map(|line| line.strip_prefix("in `")?.strip_suffix('`')).unwrap_or_default();
    let named = path.rsplit('.').next().filter(|key| !key.is_empty());
    let key = if message.starts_with("unknown field") { message.split('`').nth(1) } else { named };
    let line = key.and_then(|key| text.lines().position(|line| line.trim_start().starts_with(key)));
    let place = line.map_or_else(String::new, |line| format!("line {}: ", line + 1));
    let message = class(message, named.unwrap_or_default());
    match named {
        Some(_) => anyhow::anyhow!("{place}{path}: {message}"),
        None => anyhow::anyhow!("{place}{message}"),
    }
}

/// What an error says, without the value it is about. serde's own begin with a class, and end with what was expected; those of
/// our own types ([`OWN`]) repeat nothing. Of any other, what it says is not known.
fn class(message: &str, key: &str) -> String {
    const KEYS: [&str; 3] = ["unknown field `", "missing field `", "duplicate field `"];
    const VALUES: [(&str, &str); 4] = [
        ("invalid type: ", "of another type"),
        ("invalid value: ", "not a value that is taken"),
        ("invalid length ", "of another length"),
        ("unknown variant `", "not one of those there are"),
    ];
    let is_known =
        KEYS.iter().any(|class| message.starts_with(class)) || OWN.iter().any(|own| message.starts_with(own));
    if message.starts_with(KEYS[0]) && message.contains("`client_id`") {
        return format!("{message}, {SECRETS}");
    }
    if is_known {
        return message.to_owned();
    }
    let class = VALUES.iter().find(|(class, _)| message.starts_with(class)).map(|(_, words)| *words);
    match (class, message.rsplit_once(", expected ")) {
        (Some(class), Some((_, expected))) => format!("{class}, expected {}", in_words(expected)),
        (Some(class), None) => class.to_owned(),
        (None, _) if key == "time_zone" => {
            "this is no time zone, expected its IANA name, such as America/Chicago".to_owned()
        }
        (None, _) if key.ends_with("url") => "this is no URL".to_owned(),
        (None, _) => "its value cannot be read".to_owned(),
    }
}

/// What serde expects, as one who writes TOML calls it.
fn in_words(expected: &str) -> &str {
    match expected {
        "f64" => "a number, such as 10",
        "u8" | "u16" | "u32" | "u64" | "usize" | "i64" => "a whole number, such as 10",
        "a boolean" => "true or false",
        "a sequence" => "a list, such as [\"01\"]",
        "a string" => "a text in quotes",
        other => other,
    }
}

/// Keys of a connection that are taken out of it before its others are read.
const SECRETS: &str = "`client_secret`, `vendor_secret`, `token_secret_parameters`, `secret_headers`";

/// How errors begin that repeat no value.
const OWN: [&str; 2] = ["a time of day is written", "a district id is"];
