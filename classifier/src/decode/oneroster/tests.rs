#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::fragment::{Page, Row, column::Demographics as D, column::Org as O, column::User as U, lists};

fn page(kind: Kind, body: &Value) -> Page {
    Page::open(&decode(kind, body.to_string().as_bytes()).unwrap().fragments).unwrap()
}

fn user(row: &Value) -> Page {
    page(Kind::User, &json!({"users": [row]}))
}

fn first(page: &Page) -> Row<'_> {
    page.row(page.offsets().next().unwrap())
}

fn roles(row: &Value) -> Vec<String> {
    let page = user(row);
    lists::records::<6>(first(&page).text(U::Roles)).map(|role| role.join("|")).collect()
}

fn class(kind: Kind, body: &str) -> DecodeClass {
    decode(kind, body.as_bytes()).unwrap_err().class
}

#[test]
fn a_user_of_either_version_is_read_into_the_same_columns() {
    let of_12 = json!({"sourcedId": "U1", "roles": [
        {"roleType": "primary", "role": "student", "org": {"sourcedId": "S1"}, "beginDate": "2026-08-20"},
        {"roleType": "secondary", "role": "student", "org": {"sourcedId": "S2"}, "beginDate": "2026-08-20",
         "endDate": "2026-10-01"},
        {"roleType": "primary", "role": "student", "org": {"sourcedId": "S1"}, "beginDate": "2026-08-20"},
        {"role": "ext:proctor.x", "org": "S1", "beginDate": "soon"},
        {"roleType": "primary"}, "student", null,
    ]});
    assert_eq!(
        roles(&of_12),
        [
            "S1@2026-08-20|student|p|S1|2026-08-20|",
            "S2@2026-08-20|student|s|S2|2026-08-20|2026-10-01",
            "S1@2026-08-20#2|student|p|S1|2026-08-20|",
            "@|ext:proctor.x|p||?|",
        ]
    );
    let of_11 = json!({"sourcedId": "s1", "role": "student", "orgs": [{"sourcedId": "1"}, {"sourcedId": "2"}]});
    assert_eq!(roles(&of_11), ["1@|student|p|1||", "2@|student|s|2||"]);
    assert_eq!(roles(&json!({"sourcedId": "s1", "role": "guardian"})), ["@|guardian|p|||"]);
    assert_eq!(
        roles(&json!({"sourcedId": "s1", "roles": {"role": "student"}})),
        ["@|student|p|||"],
        "an object for a list"
    );
    assert_eq!(roles(&json!({"sourcedId": "s1", "roles": "student"})), [""; 0]);
    assert_eq!(roles(&json!({"sourcedId": "s1"})), [""; 0]);
}

#[test]
fn ids_are_kept_in_one_spelling_and_as_given() {
    let given = "0F6B1C2D-AB12-4CDE-8F00-0123456789AB";
    let page = user(&json!({"sourcedId": given, "agents": [{"sourcedId": given}, {"sourcedId": " G2 "}, {}, 7]}));
    let row = first(&page);
    let small = given.to_lowercase();
    assert_eq!((row.text(U::SourcedId), row.text(U::AsGiven)), (Some(small.as_str()), Some(given)));
    assert_eq!(row.key(), crate::sourced_id::lookup_key(&small));
    let agents: Vec<_> = lists::records::<1>(row.text(U::Agents)).map(|[agent]| agent).collect();
    assert_eq!(agents, [small.as_str(), "G2"]);
    let plain = user(&json!({"sourcedId": 123}));
    assert_eq!((first(&plain).text(U::SourcedId), first(&plain).text(U::AsGiven)), (Some("123"), None));
}

#[test]
fn values_are_read_as_servers_spell_them() {
    let page = user(&json!({
        "sourcedId": "U1", "status": "active", "enabledUser": "true", "identifier": 123_456, "givenName": "Ada\u{0}",
        "middleName": null, "familyName": "  Núñez ", "grades": ["09", "10"], "phone": "", "sms": "512",
        "userIds": [{"type": "stateID", "identifier": "AB1"}, {"type": "x"}, "y"],
        "metadata": {"ic.legacySourceId": 77, "nested": {"a": 1}, "ssid": "9"},
    }));
    let row = first(&page);
    assert_eq!(row.text(U::Identifier), Some("123456"));
    assert_eq!(
        (row.text(U::GivenName), row.text(U::MiddleName), row.text(U::FamilyName)),
        (Some("Ada"), None, Some("Núñez"))
    );
    assert_eq!((row.text(U::Grade), row.text(U::Phone), row.text(U::Sms)), (Some("09"), None, Some("512")));
    assert_eq!(row.text(U::LegacyId), Some("77"));
    let pairs = |cell| lists::records::<2>(cell).map(|pair| pair.join("=")).collect::<Vec<_>>();
    assert_eq!(pairs(row.text(U::UserIds)), ["stateID=AB1"]);
    assert_eq!(pairs(row.text(U::Metadata)), ["ic.legacySourceId=77", "ssid=9"]);
    let many: serde_json::Map<String, Value> =
        (0..200).map(|number| (format!("own{number:03}"), json!(number))).collect();
    let many = user(&json!({"sourcedId": "U2", "metadata": many}));
    assert_eq!(pairs(first(&many).text(U::Metadata)).last().map(String::as_str), Some("own199=199"));
    assert_eq!(page.tally.cleaned, 1);
    let alone = user(&json!({"sourcedId": "U", "grades": "KG"}));
    assert_eq!(first(&alone).text(U::Grade), Some("KG"));
}

#[test]
fn orgs_and_demographics_are_read() {
    let orgs =
        page(Kind::Org, &json!({"orgs": [{"sourcedId": "S1", "name": "Oak", "type": "school", "identifier": "041"}]}));
    let row = first(&orgs);
    assert_eq!(
        (row.text(O::Name), row.text(O::Type), row.text(O::Identifier)),
        (Some("Oak"), Some("school"), Some("041"))
    );
    let body =
        json!({"demographics": [{"sourcedId": "U1", "birthDate": "2014-02-03", "sex": "female", "asian": "true"}]});
    let demographics = page(Kind::Demographics, &body);
    let row = first(&demographics);
    assert_eq!(
        (row.date(D::BirthDate).unwrap().to_string(), row.text(D::Sex)),
        ("2014-02-03".to_owned(), Some("female"))
    );
}

#[test]
fn an_answer_may_be_one_object() {
    assert_eq!(page(Kind::User, &json!({"user": {"sourcedId": "U1"}})).tally.rows, 1);
    assert_eq!(page(Kind::Demographics, &json!({"demographics": {"sourcedId": "U1"}})).tally.rows, 1);
    assert_eq!(page(Kind::User, &json!({"warnings": ["x"], "USERS": []})).tally.rows, 0);
}

#[test]
fn what_is_no_page_says_why() {
    for (body, expected) in [
        ("", DecodeClass::Empty),
        ("<html>", DecodeClass::Html),
        (r#"{"users":[{"sourcedId":"a"}"#, DecodeClass::Truncated),
        (r#"{"users":[{"givenName":"a"}]}"#, DecodeClass::RowWithoutKey),
        (r#"{"users":[{"sourcedId":null}]}"#, DecodeClass::RowWithoutKey),
        (r#"{"users":[7]}"#, DecodeClass::Shape),
        (r#"{"users":7}"#, DecodeClass::Shape),
        (r#"{"imsx_codeMajor":"failure"}"#, DecodeClass::Shape),
        (r#"{"users":[],"user":{}}"#, DecodeClass::Shape),
        (r#"{"users" []}"#, DecodeClass::Syntax),
    ] {
        assert_eq!(class(Kind::User, body), expected, "{body}");
    }
    assert_eq!(class(Kind::Student, "{}"), DecodeClass::UnknownResource);
}

#[test]
fn an_error_never_says_what_stands_there() {
    let error =
        decode(Kind::User, br#"{"users":[{"sourcedId":"a","roles":[{"role":"Zebra"}]},{"givenName":"Zebra"}]}"#);
    assert!(!error.unwrap_err().to_string().contains("Zebra"));
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
        Just(json!("2026-08-20")),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("sourcedId|role|roles|org|orgs|agents|grades|type|identifier|x", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_bytes_end_in_a_page_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for kind in [Kind::User, Kind::Org, Kind::Demographics] {
            let _ = decode(kind, &bytes);
        }
    }

    #[test]
    fn any_user_with_an_id_is_a_row(fields in prop::collection::btree_map(
        "status|role|roles|orgs|agents|grades|userIds|metadata|email|givenName", value(), 0..6,
    )) {
        let mut row: serde_json::Map<String, Value> = fields.into_iter().collect();
        row.insert("sourcedId".to_owned(), json!("U1"));
        let page = user(&Value::Object(row));
        prop_assert_eq!(page.tally.rows, 1);
        let row = first(&page);
        for place in 0..Kind::User.columns().len() {
            let _ = row.cell_at(place);
        }
    }
}
