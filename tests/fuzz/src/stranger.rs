//! What strangers and people write. The first byte says of what kind the rest is: an LTI login, launch, token or key set, a
//! `Retry-After`, a document over the JSON API, a file or a sheet of them, a district's file.

use std::path::Path;

use chrono::{DateTime, Utc};
use rollcall_http::limits::{LONGEST_WAIT, retry_after};
use rollcall_store::{
    document::DocumentFile,
    lti::{LoginRequest, Place, Registration, RegistrationDetails, StaffAccess},
};
use rollcall_web::{
    fuzzing,
    lti::{
        claims::{Expected, Launch},
        id_token::Unverified,
    },
};

#[allow(dead_code, unused_imports, reason = "of the program's own file, what is not read here")]
#[path = "../../../src/district_file.rs"]
mod district_file;
#[allow(dead_code, reason = "of the program's own file, what is not read here")]
#[path = "../../../src/verbs/documents/sheet.rs"]
mod sheet;

/// The target of this name: panics where its promise is broken.
pub fn stranger(bytes: &[u8]) {
    let Some((choice, rest)) = bytes.split_first() else { return };
    let text = std::str::from_utf8(rest).ok();
    match choice % 10 {
        0 => drop(text.map(Unverified::parse)),
        1 => claims(rest),
        2 => drop(fuzzing::login(rest)),
        3 => drop(fuzzing::holds_token(rest)),
        4 => drop(fuzzing::keys(rest, now())),
        5 => {
            assert!(retry_after(text, now()).is_none_or(|wait| wait <= LONGEST_WAIT));
            assert!((60..=86_400).contains(&fuzzing::seconds_kept(text)));
        }
        6 => drop(fuzzing::is_document(rest)),
        7 => drop(DocumentFile::check(rest.to_vec())),
        8 => rows(rest),
        _ => drop(text.map(district)),
    }
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).expect("a moment")
}

/// The claims of a token whose signature is good: what a platform of the district's own may have got wrong.
fn claims(bytes: &[u8]) {
    let Ok(claims) = serde_json::from_slice(bytes) else { return };
    let url = |text: &str| text.parse().expect("a URL");
    let registration = Registration {
        id: uuid::Uuid::nil(),
        district: "d".parse().expect("an id"),
        issuer: "i".to_owned(),
        client_id: "c".to_owned(),
        auth_url: url("https://p.example/auth"),
        jwks_url: url("https://p.example/keys"),
        details: RegistrationDetails {
            deployments: vec!["d".to_owned()],
            student: Place::ResourceLink,
            program: Place::Flag,
            user: Place::Subject,
            connection: None,
            staff: StaffAccess::Nothing,
            frame_origins: Vec::new(),
        },
        created_at: now(),
    };
    let request = LoginRequest {
        iss: "i".to_owned(),
        login_hint: "h".to_owned(),
        target_link_uri: "https://t.example/?flag=1".to_owned(),
        lti_message_hint: None,
        client_id: None,
        lti_deployment_id: None,
    };
    let expected = Expected { registration: &registration, request: &request, nonce: "n", now: now() };
    let Ok(launch) = Launch::judge(claims, &expected) else { return };
    let _ = launch.roles();
    for place in [Place::ResourceLink, Place::Flag, Place::Subject, Place::Context, Place::LisPerson, Place::Email] {
        assert!(launch.value(&place).is_none_or(|value| !value.is_empty() && value.len() <= 255));
    }
}

/// Every row is taken or told.
fn rows(bytes: &[u8]) {
    if let Ok((rows, bad)) = sheet::read(bytes, Path::new("folder")) {
        assert!(rows.iter().all(|row| row.line > 0) && bad.iter().all(|bad| !bad.code.is_empty()));
    }
}

/// A district that is taken can be written down and read again.
fn district(text: &str) {
    // References to files are followed, and there are files that never end.
    if text.contains("file") {
        return;
    }
    let Ok(file) = district_file::parse(text, Path::new("nowhere/district.toml"), false) else { return };
    let written = toml::to_string(&file.district).expect("a district can be written");
    let again = toml::from_str::<rollcall_store::district::District>(&written).expect("and read back");
    assert!(again == file.district, "what was written reads as another");
}
