//! `asyncapi.yaml` says what the code does: same kinds and versions, same routing keys, same fields, same values.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unreachable_pub, dead_code)]

mod samples;

use std::collections::{BTreeMap, BTreeSet};

use rollcall_proto::{
    codec::{FIELDS, Kind, decode, encode},
    message::{Body, Change, EVENTS_PER_MESSAGE, FlagSync, Message},
    roster::{ContactKind, Rule, Status},
    topology::{EXCHANGE, Queue, queue_of, routing_key},
};
use serde::Serialize;
use serde_json::Value;

fn document() -> Value {
    serde_saphyr::from_str(include_str!("../asyncapi.yaml")).expect("YAML")
}

/// Follows `$ref`s of the document itself.
fn resolve<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value.get("$ref").and_then(Value::as_str) {
        Some(path) => {
            document.pointer(path.strip_prefix('#').unwrap()).unwrap_or_else(|| panic!("{path} is not there"))
        }
        None => value,
    }
}

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().expect("a map").keys().map(String::as_str).collect()
}

fn texts(value: &Value) -> BTreeSet<&str> {
    value.as_array().expect("a list").iter().map(|text| text.as_str().expect("a text")).collect()
}

/// The sample of a kind with every field there.
fn sample(kind: Kind) -> Message {
    let plain = samples::one_of_each().into_iter().find(|message| Kind::of(&message.body) == kind).unwrap();
    match plain.body {
        Body::Students(_) => samples::rekeyed(1),
        Body::Page(_) => samples::told(),
        Body::FlagSync(sync) => {
            let program = Some("Section 504".to_owned());
            Message { body: Body::FlagSync(FlagSync { program, ..sync }), ..plain }
        }
        _ => plain,
    }
}

#[test]
fn it_names_every_kind_in_its_version() {
    let document = document();
    assert_eq!(document["asyncapi"], "3.0.0");
    let messages = document["components"]["messages"].as_object().unwrap();
    let described: BTreeMap<&str, u64> = messages
        .values()
        .map(|message| {
            let own = &message["payload"]["allOf"][1]["properties"];
            assert_eq!(message["name"], own["kind"]["const"]);
            (message["name"].as_str().unwrap(), own["version"]["const"].as_u64().unwrap())
        })
        .collect();
    let known: BTreeMap<&str, u64> = Kind::ALL.iter().map(|kind| (kind.as_str(), kind.version().into())).collect();
    assert_eq!(described, known);
}

#[test]
fn each_message_travels_on_the_channel_that_describes_it() {
    let document = document();
    let channels = document["channels"].as_object().unwrap();
    let mut met = BTreeSet::new();
    for message in samples::one_of_each() {
        let key = routing_key(&message).replace(message.district.as_str(), "{district}");
        let key = match &message.body {
            Body::Students(_) => key.replace("enrolled", "{status}"),
            _ => key,
        };
        let (name, channel) = channels.iter().find(|(_, channel)| channel["address"] == key.as_str()).expect(&key);
        let kinds = channel["messages"].as_object().unwrap().values().map(|one| &resolve(&document, one)["name"]);
        assert!(kinds.into_iter().any(|kind| kind == Kind::of(&message.body).as_str()), "{key}");
        let queue = queue_of(&message.body).name();
        assert!(channel["description"].as_str().unwrap().contains(&format!("Queue {queue}.")), "{key}: {queue}");
        assert_eq!(channel["bindings"]["amqp"]["exchange"]["name"], EXCHANGE);
        met.insert(name.as_str());
    }
    assert_eq!(met, keys(&document["channels"]), "a channel that nothing travels on");
    let words = texts(&document["channels"]["students"]["parameters"]["status"]["enum"]);
    assert_eq!(words, Status::ALL.map(Status::routing_word).into());
}

#[test]
fn every_channel_is_received_from_and_every_queue_is_met() {
    let document = document();
    let operations = document["operations"].as_object().unwrap();
    let received: BTreeSet<&str> =
        operations.values().map(|one| one["channel"]["$ref"].as_str().unwrap().rsplit('/').next().unwrap()).collect();
    assert_eq!(received, keys(&document["channels"]));
    for queue in Queue::ALL {
        let needle = format!("Queue {}.", queue.name());
        let mut channels = document["channels"].as_object().unwrap().values();
        assert!(channels.any(|channel| channel["description"].as_str().unwrap().contains(&needle)), "{needle}");
    }
}

#[test]
fn the_envelope_has_these_fields_and_needs_those() {
    let document = document();
    let schema = &document["components"]["schemas"]["envelope"];
    assert_eq!(keys(&schema["properties"]), FIELDS.into());
    let message = sample(Kind::Students);
    assert_eq!(tree(&message).names(), FIELDS.into());
    check_required(&message, &[], schema);
}

#[test]
fn the_bodies_have_these_fields_and_need_those() {
    let document = document();
    for kind in Kind::ALL {
        let message = sample(kind);
        let messages = document["components"]["messages"].as_object().unwrap();
        let described = messages.values().find(|one| one["name"] == kind.as_str()).unwrap();
        let schema = resolve(&document, &described["payload"]["allOf"][1]["properties"]["body"]);
        check(&document, &message, &mut vec!["body".to_owned()], schema);
    }
}

/// Compares the fields of the map at `path` with its schema, and goes down into every map that has one.
fn check(document: &Value, message: &Message, path: &mut Vec<String>, schema: &Value) {
    assert_eq!(tree(message).at(path).names(), keys(&schema["properties"]), "{path:?}");
    check_required(message, path, schema);
    for (name, property) in schema["properties"].as_object().unwrap() {
        let property = resolve(document, property);
        let (inner, step) = match (&property["oneOf"], &property["items"]) {
            (Value::Array(choices), _) => (resolve(document, &choices[0]), None),
            (_, items) if !items.is_null() => (resolve(document, items), Some("0".to_owned())),
            _ => (property, None),
        };
        if inner["properties"].is_object() {
            let depth = path.len();
            path.push(name.clone());
            path.extend(step);
            check(document, message, path, inner);
            path.truncate(depth);
        }
    }
}

/// A required field is one without which the message cannot be read; any other may be left out.
fn check_required(message: &Message, path: &[String], schema: &Value) {
    let required = schema.get("required").map(texts).unwrap_or_default();
    for name in keys(&schema["properties"]) {
        let mut tree = tree(message);
        tree.at(path).remove(name);
        let readable = decode(&rmp_serde::to_vec_named(&tree).unwrap()).is_ok();
        assert_eq!(!readable, required.contains(name), "{path:?} {name}");
    }
}

/// A message taken apart, with its bytes still bytes, so that it can be put together again without one field.
#[derive(Clone)]
enum Tree {
    Map(Vec<(String, Tree)>),
    List(Vec<Tree>),
    Leaf(Leaf),
}

#[derive(Clone, Serialize)]
#[serde(untagged)]
enum Leaf {
    Nil(()),
    Flag(bool),
    Whole(u64),
    Negative(i64),
    Text(String),
    Bytes(#[serde(with = "serde_bytes")] Vec<u8>),
}

impl Tree {
    fn at(&mut self, path: &[String]) -> &mut Self {
        let Some((first, rest)) = path.split_first() else { return self };
        let below = match self {
            Self::Map(fields) => fields.iter_mut().find(|(name, _)| name == first).map(|(_, below)| below),
            Self::List(items) => items.get_mut(first.parse::<usize>().unwrap()),
            Self::Leaf(_) => None,
        };
        below.unwrap().at(rest)
    }

    fn names(&self) -> BTreeSet<&str> {
        let Self::Map(fields) = self else { panic!("no map") };
        fields.iter().map(|(name, _)| name.as_str()).collect()
    }

    fn remove(&mut self, field: &str) {
        let Self::Map(fields) = self else { panic!("no map") };
        fields.retain(|(name, _)| name != field);
    }
}

impl Serialize for Tree {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Map(fields) => serializer.collect_map(fields.iter().map(|(name, value)| (name, value))),
            Self::List(items) => serializer.collect_seq(items),
            Self::Leaf(leaf) => leaf.serialize(serializer),
        }
    }
}

impl<'de> serde::Deserialize<'de> for Tree {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> serde::de::Visitor<'de> for Any {
            type Value = Tree;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("anything that a message holds")
            }

            fn visit_unit<E>(self) -> Result<Tree, E> {
                Ok(Tree::Leaf(Leaf::Nil(())))
            }

            fn visit_bool<E>(self, flag: bool) -> Result<Tree, E> {
                Ok(Tree::Leaf(Leaf::Flag(flag)))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Tree, E> {
                Ok(Tree::Leaf(Leaf::Whole(number)))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Tree, E> {
                Ok(Tree::Leaf(Leaf::Negative(number)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Tree, E> {
                Ok(Tree::Leaf(Leaf::Text(text.to_owned())))
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Tree, E> {
                Ok(Tree::Leaf(Leaf::Bytes(bytes.to_vec())))
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(Tree::List(list))
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut entries: A) -> Result<Tree, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = entries.next_entry()? {
                    fields.push(field);
                }
                Ok(Tree::Map(fields))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

fn tree(message: &Message) -> Tree {
    rmp_serde::from_slice(&encode(message).unwrap()).unwrap()
}

#[test]
fn the_listed_values_are_the_codes() {
    let document = document();
    let schemas = &document["components"]["schemas"];
    let spelled = |value: &Value| value.as_str().unwrap().to_owned();
    let words = |listed: &Value| listed.as_array().unwrap().iter().map(spelled).collect::<Vec<_>>();
    assert_eq!(words(&schemas["status"]["enum"]), Status::ALL.map(Status::as_str));
    let event = &schemas["event"]["properties"];
    let changes = [Change::Added, Change::Changed, Change::Removed];
    assert_eq!(words(&event["change"]["enum"]), changes.map(Change::as_str));
    let rules = ["1", "2", "3", "4", "5", "6", "missing-from-source"].map(|text| Rule::parse(text).unwrap());
    assert_eq!(words(&event["rule"]["enum"]), rules.map(|rule| spelled(&serde_json::to_value(rule).unwrap())));
    let kinds = [ContactKind::Guardian, ContactKind::Emergency];
    assert_eq!(words(&schemas["contact"]["properties"]["kind"]["enum"]), kinds.map(ContactKind::as_str));
    assert_eq!(schemas["students"]["properties"]["events"]["maxItems"], EVENTS_PER_MESSAGE);
}
