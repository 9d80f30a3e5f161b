//! What the decoders make of a page is settled as long as [`READING`] is: an unchanged page is not decoded again.
#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;

use rollcall_store::{READING, district::SisKind};
use serde_json::{Map, Value, json};

use super::decode;
use crate::fragment::{Form, Kind};

/// Changes with every change of what is read out of the same bytes.
const SETTLED: (u32, &str) = (5, "46fe17196da6c0e3");

/// Values that servers have been seen to send, and some that nobody should.
fn odd(form: Form) -> Vec<Value> {
    match form {
        Form::Number => vec![json!(7), json!("7"), json!(" 7 "), json!(7.5), json!("x"), json!(-1), Value::Null],
        Form::Text => vec![json!("a"), json!(" \u{0}b\t"), json!(12), json!(true), json!(""), json!([1]), Value::Null],
        Form::Flag => vec![json!(true), json!("False"), json!("y"), json!(1), json!(0), json!("maybe"), Value::Null],
        Form::Date => vec![
            json!("2025-08-14T00:00:00"),
            json!("2025-08-14"),
            json!("8/14/2025"),
            json!("2025-02-30"),
            json!("soon"),
            json!(20_250_814),
            Value::Null,
        ],
    }
}

/// A page of a Qmlativ object: each row has one odd value in each column behind the two that tell whose it is.
fn qmlativ(kind: Kind) -> Value {
    let rows = (0..7).map(|number| {
        let columns = kind.columns().iter().enumerate();
        let cells = columns.map(|(place, spec)| {
            let value = if place < 2 && spec.form == Form::Number {
                json!(number + 1)
            } else {
                odd(spec.form)[(number as usize + place) % 7].clone()
            };
            (spec.name.to_owned(), value)
        });
        Value::Object(cells.collect::<Map<_, _>>())
    });
    json!({"Paging": {"Next": null, "TotalCount": 7}, "Objects": rows.collect::<Vec<_>>()})
}

fn oneroster(kind: Kind) -> Value {
    let odd = json!({
        "sourcedId": "0F6B-A", "status": "tobedeleted", "identifier": 123, "givenName": "Ada\u{0}", "familyName": " Nu ",
        "grades": ["09", "10"], "email": "a@example.org", "phone": "", "sms": "512", "name": "One", "type": "school",
        "roles": [{"roleType": "primary", "role": "student", "org": {"sourcedId": "S1"}, "beginDate": "2026-08-20"},
                  {"role": "guardian", "org": "S2", "endDate": "soon"}, null],
        "agents": [{"sourcedId": "G1"}, {"sourcedId": " G2 "}, {}, 7],
        "userIds": [{"type": "stateID", "identifier": "AB1"}, {"type": "x"}],
        "birthDate": "2014-03-01", "sex": "female", "metadata": {"ic": {"legacySourceId": "S77"}},
    });
    let entries: Map<String, Value> = (0..40).map(|number| (format!("own{number:02}"), json!(number))).collect();
    let many = json!({"sourcedId": "many", "role": "student", "metadata": entries});
    let plain = json!({"sourcedId": 7, "role": "student", "orgs": [{"sourcedId": "1"}], "birthDate": "never"});
    json!({ kind.resource(): [odd, plain, many] })
}

#[test]
fn what_the_decoders_make_of_a_page_is_settled() {
    let mut hasher = blake3::Hasher::new();
    for kind in Kind::ALL {
        let of_oneroster = matches!(kind, Kind::User | Kind::Org | Kind::Demographics);
        let (sis, page) = if of_oneroster {
            (SisKind::OneRoster, oneroster(*kind))
        } else {
            (SisKind::SkywardQmlativ, qmlativ(*kind))
        };
        let decoded = decode(sis, kind.resource(), &[], page.to_string().as_bytes());
        let mut told = String::new();
        match decoded {
            Ok(decoded) => {
                hasher.update(&zstd::stream::decode_all(decoded.fragments.as_slice()).unwrap());
                hasher.update(&decoded.digest);
                write!(told, "{:?} {:?}", decoded.tally, decoded.claimed_total).unwrap();
            }
            Err(error) => write!(told, "{error}").unwrap(),
        }
        hasher.update(told.as_bytes());
    }
    let made = hasher.finalize().to_hex();
    assert_eq!(
        (READING, &made[..16]),
        SETTLED,
        "the same bytes are read differently: raise rollcall_store::READING, or unchanged pages stay as they were read"
    );
}
