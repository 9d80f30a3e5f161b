//! Addresses of a OneRoster connection, from what the district has copied (wire page 1.1, 2.1; skyward.md C). Pure.
//!
//! People paste the base URL with or without the service behind it and with slashes at will; so it is cut back to what
//! stands for the server, and the service is put behind it again.

use rollcall_store::district::{Connection, OneRosterProfile, OneRosterVersion};
use url::Url;

/// Parameter of a Campus token URL.
const APP_NAME: &str = "appName";

/// The version: as configured, else as the base URL has it, else 1.2.
pub fn version(connection: &Connection) -> OneRosterVersion {
    connection.version.or_else(|| version_in(&connection.base_url)).unwrap_or(OneRosterVersion::V1p2)
}

/// What is wrong with the connection's addresses, in words for the person who wrote them.
pub fn check(connection: &Connection) -> Result<(), &'static str> {
    if let (Some(wanted), Some(found)) = (connection.version, version_in(&connection.base_url))
        && wanted != found
    {
        return Err("base_url is of another version than `version` says: copy the base URL of that version");
    }
    if token(connection).is_none() {
        return Err("token_url is missing: copy it from the SIS, which shows it beside the base URL");
    }
    if profile(connection) == OneRosterProfile::Campus && !names_application(connection) {
        return Err(
            "neither token_url nor base_url names the Campus application: copy the token URL with its ?appName=…, or \
             set app_name",
        );
    }
    Ok(())
}

/// Base URL of the rostering service, without a slash at its end.
pub fn service(connection: &Connection) -> Url {
    let (mut path, tail) = split(connection);
    let version = version(connection);
    let rest: &[&str] = match (version, profile(connection), tail.first().map(String::as_str)) {
        (OneRosterVersion::V1p1, ..) => &["v1p1"],
        // Skyward serves 1.2 without naming the service.
        (OneRosterVersion::V1p2, OneRosterProfile::Skyward, None) | (OneRosterVersion::V1p2, _, Some("v1p2")) => {
            &["v1p2"]
        }
        (OneRosterVersion::V1p2, ..) => &["rostering", "v1p2"],
    };
    path.extend(rest.iter().map(|segment| (*segment).to_owned()));
    with_path(&connection.base_url, &path)
}

/// Base URL of the server's services (`…/ims/oneroster`), without a slash at its end: what partner interfaces stand below.
pub fn server(connection: &Connection) -> Url {
    let (path, _) = split(connection);
    with_path(&connection.base_url, &path)
}

/// The token URL. Campus: with the application's name, and without empty segments, as it refuses a slash at the end (401), which
/// another server may need. `None`: it is not configured, and cannot be told.
pub(crate) fn token(connection: &Connection) -> Option<Url> {
    let mut url = match &connection.token_url {
        Some(url) => url.clone(),
        None if profile(connection) == OneRosterProfile::Skyward => beside_ims(connection),
        None => return None,
    };
    if profile(connection) == OneRosterProfile::Campus {
        let path = segments(&url);
        set_path(&mut url, &path);
    }
    let named = url.query_pairs().any(|(name, value)| name == APP_NAME && !value.is_empty());
    if profile(connection) == OneRosterProfile::Campus
        && !named
        && let Some(name) = application(connection)
    {
        url.query_pairs_mut().append_pair(APP_NAME, &name);
    }
    Some(url)
}

/// The profile, Campus where none is said.
pub fn profile(connection: &Connection) -> OneRosterProfile {
    connection.profile.unwrap_or_default()
}

/// Whether both lead to one Campus: the same server, and on it the same application, whatever of it was copied behind that. Several
/// connections to one Campus may each be limited to some of its schools (wire page 2.3); who is behind an id is the same person in
/// all of them. Two applications of one server count as two Campuses.
pub fn is_same_campus(one: &Connection, other: &Connection) -> bool {
    let place = |of: &Connection| {
        let root = segments(&of.base_url).into_iter().take_while(|segment| !BEHIND_ROOT.contains(&segment.as_str()));
        (of.kind, profile(of), of.base_url.origin(), root.collect::<Vec<_>>(), application_named(of))
    };
    place(one) == place(other)
}

/// Segments of a Campus base URL that stand behind the one that names the installation.
const BEHIND_ROOT: [&str; 3] = ["api", "oneroster", "ims"];

/// The application's name, wherever it stands.
fn application_named(connection: &Connection) -> Option<String> {
    let in_token_url = || {
        let url = connection.token_url.as_ref()?;
        url.query_pairs().find(|(name, value)| name == APP_NAME && !value.is_empty()).map(|(_, name)| name.into_owned())
    };
    application(connection).or_else(in_token_url).map(|name| name.to_lowercase())
}

fn names_application(connection: &Connection) -> bool {
    token(connection).is_some_and(|url| url.query_pairs().any(|(name, value)| name == APP_NAME && !value.is_empty()))
}

/// The application's name: as configured, or as the base URL holds it (`…/oneroster/v1p2/{appName}/ims/oneroster`).
fn application(connection: &Connection) -> Option<String> {
    if connection.app_name.is_some() {
        return connection.app_name.clone();
    }
    let segments = segments(&connection.base_url);
    let named = segments
        .windows(4)
        .find(|four| four[0] == "oneroster" && is_version(&four[1]) && four[3] == "ims" && !four[2].is_empty());
    named.map(|four| four[2].clone())
}

fn is_version(segment: &str) -> bool {
    matches!(segment, "v1p1" | "v1p2")
}

fn version_in(url: &Url) -> Option<OneRosterVersion> {
    let segments = segments(url);
    let last = segments.iter().rev().find(|segment| is_version(segment))?;
    Some(if last == "v1p1" { OneRosterVersion::V1p1 } else { OneRosterVersion::V1p2 })
}

fn segments(url: &Url) -> Vec<String> {
    url.path_segments().into_iter().flatten().filter(|segment| !segment.is_empty()).map(str::to_owned).collect()
}

/// The path through `ims/oneroster`, and what the district has copied behind it.
fn split(connection: &Connection) -> (Vec<String>, Vec<String>) {
    let mut path = segments(&connection.base_url);
    let found = path.windows(2).rposition(|two| two[0] == "ims" && two[1] == "oneroster");
    if let Some(at) = found {
        let tail = path.split_off(at + 2);
        return (path, tail);
    }
    extend_to_ims(connection, &mut path);
    (path, Vec::new())
}

/// A base URL that ends before `ims/oneroster`: at the server, or at the Campus application.
fn extend_to_ims(connection: &Connection, path: &mut Vec<String>) {
    if let (OneRosterProfile::Campus, Some(name)) = (profile(connection), &connection.app_name)
        && !path.iter().any(|segment| segment == "oneroster")
    {
        if path.last().is_some_and(|last| last == "api") {
            path.pop();
        }
        let version = if version(connection) == OneRosterVersion::V1p1 { "v1p1" } else { "v1p2" };
        path.extend(["api", "oneroster", version, name].map(str::to_owned));
    }
    path.extend(["ims", "oneroster"].map(str::to_owned));
}

/// Skyward: `oauth/token` beside `ims`.
fn beside_ims(connection: &Connection) -> Url {
    let (mut path, _) = split(connection);
    path.truncate(path.len().saturating_sub(2));
    path.extend(["oauth", "token"].map(str::to_owned));
    with_path(&connection.base_url, &path)
}

fn with_path(base: &Url, path: &[String]) -> Url {
    let mut url = base.clone();
    url.set_query(None);
    url.set_fragment(None);
    set_path(&mut url, path);
    url
}

fn set_path(url: &mut Url, path: &[String]) {
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.clear().extend(path);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn connection(base: &str, extra: &Value) -> Connection {
        let mut text = json!({"kind": "oneroster", "base_url": base, "client_id": "k"});
        text.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        serde_json::from_value(text).unwrap()
    }

    #[test]
    fn a_base_url_is_taken_as_it_was_copied() {
        let campus = "https://d.infinitecampus.example/campus/api/oneroster/v1p2/roll/ims/oneroster";
        let legacy = "https://d.infinitecampus.example/campus/api/ims/oneroster";
        let skyward = "https://s.example/LoneAPI/ims/oneroster";
        let rostering = |base: &str| format!("{base}/rostering/v1p2");
        let cases = [
            (campus.to_owned(), json!({}), rostering(campus)),
            (format!("{campus}/"), json!({}), rostering(campus)),
            (format!("{campus}/rostering"), json!({}), rostering(campus)),
            (format!("{campus}/rostering/v1p2"), json!({}), rostering(campus)),
            (format!("{campus}//rostering/v1p2///"), json!({"version": "1.2"}), rostering(campus)),
            (format!("{campus}/gradebook/v1p2"), json!({}), rostering(campus)),
            (format!("{legacy}/rostering/v1p2"), json!({}), rostering(legacy)),
            (format!("{legacy}/v1p1"), json!({}), format!("{legacy}/v1p1")),
            (legacy.to_owned(), json!({"version": "1.1"}), format!("{legacy}/v1p1")),
            (
                "https://d.example/campus".to_owned(),
                json!({"app_name": "roll"}),
                "https://d.example/campus/api/oneroster/v1p2/roll/ims/oneroster/rostering/v1p2".to_owned(),
            ),
            (
                "https://d.example/campus/api/oneroster/v1p1/roll".to_owned(),
                json!({}),
                "https://d.example/campus/api/oneroster/v1p1/roll/ims/oneroster/v1p1".to_owned(),
            ),
            (format!("{skyward}/v1p2"), json!({"profile": "skyward"}), format!("{skyward}/v1p2")),
            ("https://s.example/LoneAPI".to_owned(), json!({"profile": "skyward"}), format!("{skyward}/v1p2")),
            (format!("{skyward}/v1p1/"), json!({"profile": "skyward"}), format!("{skyward}/v1p1")),
            ("https://p.example".to_owned(), json!({"profile": "plain"}), rostering("https://p.example/ims/oneroster")),
            (
                "https://p.example/ims/oneroster/v1p2".to_owned(),
                json!({"profile": "plain"}),
                "https://p.example/ims/oneroster/v1p2".to_owned(),
            ),
        ];
        for (base, extra, expected) in cases {
            let copied = connection(&base, &extra);
            assert_eq!(service(&copied).as_str(), expected, "{base} {extra}");
            let services = expected.split("/ims/oneroster").next().unwrap_or_default();
            assert_eq!(server(&copied).as_str(), format!("{services}/ims/oneroster"), "{base} {extra}");
        }
    }

    #[test]
    fn a_campus_token_url_names_the_application() {
        let base = "https://d.example/campus/api/oneroster/v1p2/roll/ims/oneroster";
        let read = |base: &str, extra: &Value| token(&connection(base, extra)).map(|url| url.to_string());
        let copied = "https://d.example/campus/oauth2/token?appName=other";
        assert_eq!(read(base, &json!({"token_url": copied})).as_deref(), Some(copied));
        let nameless = json!({"token_url": "https://d.example/campus/oauth2/token"});
        assert_eq!(read(base, &nameless).as_deref(), Some("https://d.example/campus/oauth2/token?appName=roll"));
        for slashes in ["/oauth2/token/", "//oauth2/token//"] {
            let url = |query: &str| json!({"token_url": format!("https://d.example/campus{slashes}{query}")});
            assert_eq!(read(base, &url("?appName=other")).as_deref(), Some(copied), "{slashes}");
            assert_eq!(
                read(base, &url("")).as_deref(),
                Some("https://d.example/campus/oauth2/token?appName=roll"),
                "{slashes}"
            );
        }
        assert_eq!(read(base, &json!({})), None, "never derived");
        let plain = json!({"profile": "plain", "token_url": "https://p.example/token"});
        assert_eq!(read("https://p.example", &plain).as_deref(), Some("https://p.example/token"));
        let plain = json!({"profile": "plain", "token_url": "https://p.example/token/"});
        let kept = read("https://p.example", &plain);
        assert_eq!(kept.as_deref(), Some("https://p.example/token/"), "another server may need the slash");
        let skyward = read("https://s.example/LoneAPI/ims/oneroster/v1p2", &json!({"profile": "skyward"}));
        assert_eq!(skyward.as_deref(), Some("https://s.example/LoneAPI/oauth/token"));
    }

    #[test]
    fn connections_lead_to_one_campus_whatever_was_copied() {
        let named = json!({"token_url": "https://d.example/campus/oauth2/token?appName=roll"});
        let first = connection("https://d.example/campus/api/oneroster/v1p2/roll/ims/oneroster", &named);
        let is_same = |base: &str, extra: &Value| {
            let other = connection(base, extra);
            assert_eq!(is_same_campus(&first, &other), is_same_campus(&other, &first), "{base} {extra}");
            is_same_campus(&first, &other)
        };
        for (base, extra) in [
            (
                "https://d.example/campus/api/oneroster/v1p2/roll/ims/oneroster/rostering/v1p2/",
                json!({"id_prefix": "b-"}),
            ),
            ("https://d.example:443/campus/api/oneroster/v1p1/Roll/ims/oneroster/v1p1", json!({})),
            ("https://d.example/campus/api/ims/oneroster/rostering/v1p2", named.clone()),
            ("https://d.example/campus", json!({"app_name": "roll"})),
        ] {
            assert!(is_same(base, &extra), "{base} {extra}");
        }
        for (base, extra) in [
            ("https://e.example/campus/api/oneroster/v1p2/roll/ims/oneroster", json!({})),
            ("https://d.example:8443/campus/api/oneroster/v1p2/roll/ims/oneroster", json!({})),
            ("https://d.example/other/api/oneroster/v1p2/roll/ims/oneroster", json!({})),
            ("https://d.example/campus/api/oneroster/v1p2/third/ims/oneroster", json!({})),
            ("https://d.example/campus/api/oneroster/v1p2/roll/ims/oneroster", json!({"profile": "skyward"})),
            ("https://d.example/campus/api/oneroster/v1p2/roll/ims/oneroster", json!({"kind": "skyward-qmlativ"})),
        ] {
            assert!(!is_same(base, &extra), "{base} {extra}");
        }
    }

    #[test]
    fn what_cannot_work_is_said_before_the_first_night() {
        let base = "https://d.example/campus/api/ims/oneroster";
        let word = |extra: &Value| check(&connection(base, extra)).err().unwrap_or("fine");
        assert!(word(&json!({})).contains("token_url is missing"));
        let nameless = json!({"token_url": "https://d.example/campus/oauth2/token"});
        assert!(word(&nameless).contains("app_name"));
        let named = json!({"token_url": "https://d.example/campus/oauth2/token", "app_name": "roll"});
        assert_eq!(word(&named), "fine");
        let other = connection(
            &format!("{base}/v1p1"),
            &json!({"version": "1.2", "token_url": "https://d.example/t?appName=x"}),
        );
        assert!(check(&other).unwrap_err().contains("another version"));
    }
}
