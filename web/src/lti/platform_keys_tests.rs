//! Reading key sets. Fetching and caching are tested over HTTP, with the rest of a launch.

use serde_json::{Value, json};

use super::*;

/// 2,048 bits, as far as the form goes.
fn modulus(bytes: usize) -> String {
    let mut modulus = vec![0xC1_u8; bytes];
    modulus[bytes - 1] = 1;
    URL_SAFE_NO_PAD.encode(modulus)
}

fn key(kid: &str) -> Value {
    json!({ "kty": "RSA", "kid": kid, "n": modulus(256), "e": "AQAB" })
}

fn names(set: &Value) -> Vec<String> {
    let keys = read(set.to_string().as_bytes(), DateTime::UNIX_EPOCH).unwrap();
    let mut names: Vec<_> = keys.into_keys().collect();
    names.sort();
    names
}

#[test]
fn platforms_differ_in_the_optional_members() {
    let mut full = key("full");
    full["use"] = json!("sig");
    full["alg"] = json!("RS256");
    full["key_ops"] = json!(["verify"]);
    full["x5t"] = json!("ignored");
    assert_eq!(names(&json!({ "keys": [key("bare"), full], "extra": 1 })), ["bare", "full"]);
}

#[test]
fn keys_that_cannot_have_signed_a_token_are_passed_over() {
    let with = |name: &str, value: Value| {
        let mut key = key(name);
        key[name] = value;
        key
    };
    let mut short = key("short");
    short["n"] = json!(modulus(255));
    let set = json!({ "keys": [
        with("kty", json!("EC")),
        with("kty", json!("oct")),
        with("use", json!("enc")),
        with("alg", json!("HS256")),
        with("alg", json!("RS512")),
        with("key_ops", json!(["sign"])),
        with("n", json!("not base64 +/=")),
        with("kid", Value::Null),
        short,
        "no object",
    ] });
    assert_eq!(names(&set), Vec::<String>::new());
}

#[test]
fn what_is_no_key_set_is_refused() {
    let many: Vec<Value> = (0..51).map(|n| key(&n.to_string())).collect();
    for text in ["", "[]", "{}", r#"{"keys": {}}"#, "<html>", &json!({ "keys": many }).to_string()] {
        assert!(matches!(read(text.as_bytes(), DateTime::UNIX_EPOCH), Err(FetchError::Form)), "{text:.40}");
    }
}

#[test]
fn a_set_is_good_as_long_as_the_platform_says_within_bounds() {
    let cases = [
        (None, GOOD_FOR),
        (Some("no-store"), GOOD_FOR),
        (Some("public, max-age=7200"), TimeDelta::hours(2)),
        (Some("max-age=0"), GOOD_AT_LEAST),
        (Some("max-age=99999999"), GOOD_AT_MOST),
        (Some("max-age=many"), GOOD_FOR),
    ];
    for (header, expected) in cases {
        assert_eq!(good_for(header), expected, "{header:?}");
    }
}
