//! Messages as they were once written must be readable for ever: `tests/golden/<kind>.<version>[.<variant>].msgpack`.
//!
//! A file, once committed, is never changed. For a new kind, version or variant add it to `expected`, run
//! `ROLLCALL_GOLDEN=write cargo test -p rollcall-proto --test golden`, look at the new file, and commit it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unreachable_pub, dead_code)]

mod samples;

use std::{collections::BTreeSet, fs, path::PathBuf};

use rollcall_proto::{
    codec::{Kind, decode, encode},
    message::{Body, FlagSync, Message},
};
use uuid::Uuid;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// What each file holds.
fn expected() -> Vec<(String, Message)> {
    // In the order in which they came to be: their ids count them.
    let of_flags = |message: &Message| matches!(message.body, Body::FlagSync(_) | Body::FlagPush(_));
    let (flags, first): (Vec<_>, Vec<_>) = samples::one_of_each().into_iter().partition(of_flags);
    let mut all: Vec<(String, Message)> = first.into_iter().map(named).collect();
    let mut stored = samples::page(bytes::Bytes::new());
    if let Body::Page(page) = &mut stored.body {
        (page.body, page.content_type) = (None, None);
    }
    all.push(("page.raw.1.stored.msgpack".to_owned(), stored));
    let mut gone = samples::students(1);
    if let Body::Students(students) = &mut gone.body {
        students.events[0].record = None;
        students.events[0].from = None;
    }
    gone.attempt = 3;
    all.push(("student.events.1.gone.msgpack".to_owned(), gone));
    all.extend(flags.into_iter().map(named));
    all.push(("student.events.1.rekeyed.msgpack".to_owned(), samples::rekeyed(2)));
    all.push(("page.raw.1.told.msgpack".to_owned(), samples::told()));
    let mut of_program = all[0].1.clone();
    of_program.body = Body::FlagSync(FlagSync { student: None, program: Some("Section 504".to_owned()) });
    all.push(("flag.sync.1.program.msgpack".to_owned(), of_program));
    for (number, (_, message)) in (1_u128..).zip(&mut all) {
        message.id = Uuid::from_u128(0x0193_a5b0_0000_7000_8000_0000_0000_0100 + number);
        message.cause = (number % 2 == 0).then(|| Uuid::from_u128(number));
    }
    all
}

fn named(message: Message) -> (String, Message) {
    let kind = Kind::of(&message.body);
    let variant = match &message.body {
        Body::Plan(plan) if plan.large => ".large",
        Body::FlagSync(sync) if sync.student.is_some() => ".student",
        _ => "",
    };
    (format!("{}.{}{variant}.msgpack", kind.as_str(), kind.version()), message)
}

#[test]
fn what_was_written_is_read_as_it_was_meant() {
    #[expect(clippy::disallowed_methods, reason = "how a developer asks for a new sample")]
    let write = std::env::var_os("ROLLCALL_GOLDEN").is_some();
    for (name, message) in expected() {
        let path = folder().join(&name);
        if write && !path.exists() {
            fs::write(&path, encode(&message).unwrap()).unwrap();
        }
        let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{name}: {error}; see the head of this test"));
        assert_eq!(decode(&bytes).as_ref(), Ok(&message), "{name}");
        assert_eq!(decode(&encode(&message).unwrap()).as_ref(), Ok(&message), "{name}, written again");
    }
}

#[test]
fn every_file_is_checked_and_every_kind_has_one() {
    let known: BTreeSet<String> = expected().into_iter().map(|(name, _)| name).collect();
    let there: BTreeSet<String> =
        fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(there, known);
    for kind in Kind::ALL {
        for version in 1..=kind.version() {
            let name = format!("{}.{version}.", kind.as_str());
            assert!(there.iter().any(|file| file.starts_with(&name)), "no sample of {name}");
        }
    }
}
