//! A district's TOML file: read, checked as a whole, and split into configuration and secrets.
//!
//! Secrets are references (`{ env = "…" }`, `{ file = "…" }`), read once; a secret written out is taken only from a
//! file that nobody else may read.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::Path,
};

use anyhow::{Context as _, bail, ensure};
use rollcall_fetcher::session::is_header;
use rollcall_proto::id::DistrictId;
use rollcall_store::district::{Connection, ConnectionSecrets, District, OneRosterVersion, SisKind};
use secrecy::{ExposeSecret as _, SecretString};
use toml::{Table, Value};

use crate::config;

/// A district as applied.
pub(crate) struct DistrictFile {
    /// Its configuration.
    pub(crate) district: District,
    /// A set for each connection, in order.
    pub(crate) secrets: Vec<ConnectionSecrets>,
}

/// Reads and checks a file.
pub(crate) fn read(path: &Path, allow_private_addresses: bool) -> anyhow::Result<DistrictFile> {
    let text = std::fs::read_to_string(path)
        .with_context(|| unreadable(path, "docs/DISTRICT.md has every key of a district file"))?;
    parse(&text, path, allow_private_addresses).with_context(|| format!("in {}", path.display()))
}

/// What is to be said of a file that cannot be read, with where to learn what it is.
pub(crate) fn unreadable(path: &Path, learn: &str) -> String {
    let mend = if path.exists() { "it has to be a file that this user may read" } else { "check the path" };
    format!("reading {} ({mend}; {learn})", path.display())
}

/// Reads and checks a file's text. `path`: where it stands, for the files that it names and for who may read it.
pub(crate) fn parse(text: &str, path: &Path, allow_private_addresses: bool) -> anyhow::Result<DistrictFile> {
    let mut table: Table = toml::from_str(text).map_err(|error| syntax(&error, text))?;
    let inline_allowed = is_private(path);
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    let mut secrets = Vec::new();
    for connection in connections(&mut table)? {
        secrets.push(take_secrets(connection, folder, inline_allowed)?);
    }
    let district: District = Value::Table(table).try_into().map_err(|error| located(&error, text))?;
    check(&district, allow_private_addresses)?;
    secrets.iter().try_for_each(check_secret_headers)?;
    Ok(DistrictFile { district, secrets })
}

/// A syntax error with its line, without the line's content (it may hold a secret).
fn syntax(error: &toml::de::Error, text: &str) -> anyhow::Error {
    let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].lines().count().max(1));
    anyhow::anyhow!("line {line}: {}", error.message())
}

/// A structural error, with the key it is about and the line where that key stands; never the value, which may be a secret in
/// the wrong place.
fn located(error: &toml::de::Error, text: &str) -> anyhow::Error {
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
    if is_known {
        return message.to_owned();
    }
    let class = VALUES.iter().find(|(class, _)| message.starts_with(class)).map(|(_, words)| *words);
    match (class, message.rsplit_once(", expected ")) {
        (Some(class), Some((_, expected))) => format!("{class}, expected {expected}"),
        (Some(class), None) => class.to_owned(),
        (None, _) if key.ends_with("url") => "this is no URL".to_owned(),
        (None, _) => "its value cannot be read".to_owned(),
    }
}

/// How errors begin that repeat no value.
const OWN: [&str; 2] = ["a time of day is written", "a district id is"];

fn connections(table: &mut Table) -> anyhow::Result<Vec<&mut Table>> {
    let list = match table.get_mut("connection") {
        Some(Value::Array(list)) => list,
        Some(_) => bail!("a connection is written [[connection]], with two brackets"),
        None => bail!("there is no [[connection]]: where do the students come from?"),
    };
    list.iter_mut().map(|item| item.as_table_mut().context("a connection is written [[connection]]")).collect()
}

fn take_secrets(connection: &mut Table, folder: &Path, inline: bool) -> anyhow::Result<ConnectionSecrets> {
    let mut take = |key: &str| -> anyhow::Result<Option<SecretString>> {
        connection.remove(key).map(|value| resolve(key, &value, folder, inline)).transpose()
    };
    let client_secret = take("client_secret")?.context("a connection needs client_secret = { env = \"…\" }")?;
    let vendor_secret = take("vendor_secret")?;
    let mut map = |key: &str| -> anyhow::Result<BTreeMap<String, SecretString>> {
        let Some(value) = connection.remove(key) else { return Ok(BTreeMap::new()) };
        let table = value.as_table().with_context(|| format!("{key} is a table of names and secrets"))?;
        table.iter().map(|(name, value)| Ok((name.clone(), resolve(name, value, folder, inline)?))).collect()
    };
    let token_secret_parameters = map("token_secret_parameters")?;
    let secret_headers = map("secret_headers")?;
    Ok(ConnectionSecrets { client_secret, vendor_secret, token_secret_parameters, secret_headers })
}

fn resolve(key: &str, value: &Value, folder: &Path, inline: bool) -> anyhow::Result<SecretString> {
    let secret = match value {
        Value::String(text) if inline => SecretString::from(text.clone()),
        Value::String(_) => bail!(
            "{key} is written out, and others may read this file: write {{ env = \"NAME\" }} or {{ file = \"path\" }}, \
             or `chmod 600` the file"
        ),
        Value::Table(table) => reference(key, table, folder)?,
        _ => bail!("{key} is a secret: write {{ env = \"NAME\" }} or {{ file = \"path\" }}"),
    };
    ensure!(!secret.expose_secret().is_empty(), "{key} is empty");
    Ok(secret)
}

fn reference(key: &str, table: &Table, folder: &Path) -> anyhow::Result<SecretString> {
    let entry = |name: &str| table.get(name).and_then(Value::as_str);
    match (entry("env"), entry("file"), table.len()) {
        (Some(name), None, 1) => config::environment(name)
            .with_context(|| format!("{key} is in the environment variable {name}, which is not set")),
        (None, Some(file), 1) => {
            let path = folder.join(file);
            let text = std::fs::read_to_string(&path)
                .with_context(|| format!("{key} is in the file {}, which cannot be read", path.display()))?;
            Ok(SecretString::from(text.trim_end_matches(['\r', '\n']).to_owned()))
        }
        _ => bail!("{key}: write {{ env = \"NAME\" }} or {{ file = \"path\" }}, one of them"),
    }
}

#[cfg(unix)]
fn is_private(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).is_ok_and(|meta| meta.permissions().mode().trailing_zeros() >= 6)
}

#[cfg(not(unix))]
fn is_private(_path: &Path) -> bool {
    false
}

fn check(district: &District, allow_private_addresses: bool) -> anyhow::Result<()> {
    ensure!(district.id != DistrictId::installation(), "id: {} is kept for what belongs to no district", district.id);
    check_text("name", &district.name)?;
    ensure!(!district.connections.is_empty(), "there is no [[connection]]: where do the students come from?");
    for (index, connection) in district.connections.iter().enumerate() {
        check_connection(connection, allow_private_addresses)
            .with_context(|| format!("connection {} ({})", index + 1, connection.kind.as_str()))?;
    }
    check_prefixes(&district.connections)?;
    check_programs(district)?;
    check_percent("[hold] max_removed_percent", district.hold.max_removed_percent)?;
    check_percent("[hold] max_changed_percent", district.hold.max_changed_percent)
}

/// What people read back later, in terminals among others.
fn check_text(key: &str, text: &str) -> anyhow::Result<()> {
    ensure!(!text.trim().is_empty(), "{key} is empty");
    ensure!(text.chars().count() <= LONGEST_TEXT, "{key} is longer than {LONGEST_TEXT} characters");
    ensure!(!text.chars().any(char::is_control), "{key} holds a control character; remove it");
    Ok(())
}

/// Characters of a name, an id or a code.
const LONGEST_TEXT: usize = 200;

fn check_programs(district: &District) -> anyhow::Result<()> {
    for (index, program) in district.programs.iter().enumerate() {
        let name = &program.name;
        ensure!(
            !name.trim().is_empty() && name.trim() == name,
            "[[program]] name is empty, or begins or ends with a blank"
        );
        let twice = district.programs[..index].iter().any(|other| other.name == *name);
        ensure!(!twice, "[[program]] {name}: there are two of this name");
        if program.flags {
            ensure!(
                program.option.is_some(),
                "[[program]] {name}: flags need option = \"take-over\" or \"create-new\""
            );
            ensure!(program.cutover.is_some(), "[[program]] {name}: flags need cutover = YYYY-MM-DD, their first day");
        }
    }
    ensure!(
        !district.has_flags() || district.flag_connection().is_some(),
        "a [[program]] has flags = true: its flags need a connection of kind oneroster with vendor_key and vendor_secret"
    );
    Ok(())
}

fn check_percent(key: &str, percent: f64) -> anyhow::Result<()> {
    ensure!((0.0..=100.0).contains(&percent), "{key} is a percentage from 0 to 100");
    Ok(())
}

/// Two sources whose ids could be mistaken for each other would overwrite each other's students. One source may have no
/// prefix at all.
fn check_prefixes(connections: &[Connection]) -> anyhow::Result<()> {
    let prefix = |index: usize| connections[index].id_prefix.as_deref().unwrap_or_default();
    for second in 0..connections.len() {
        for first in 0..second {
            let (one, other) = (prefix(first), prefix(second));
            ensure!(one != other, "{}", overwriting(connections, first, second));
            let apart = one.is_empty() || other.is_empty() || !(one.starts_with(other) || other.starts_with(one));
            ensure!(
                apart,
                "connections {} and {}: id_prefix {one:?} and id_prefix {other:?} begin alike, so that a student of one \
                 could be taken for a student of the other: change one of them so that neither begins the other",
                first + 1,
                second + 1
            );
        }
    }
    Ok(())
}

/// A connection that has another `id_prefix` than before, or is new.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Its position.
    pub(crate) connection: u16,
    /// The prefix in the file before, where there was a connection in this place.
    pub(crate) before: Option<String>,
    /// The prefix in the new one.
    pub(crate) now: String,
}

/// Places of which it has to be seen whether the students who are stored there are still their own: a student's source is known
/// by the place of its connection.
pub(crate) fn other_places(before: &District, after: &District) -> Vec<Place> {
    let prefix = |connection: &Connection| connection.id_prefix.clone().unwrap_or_default();
    let place = |(connection, now): (u16, &Connection)| {
        let before = before.connections.get(usize::from(connection)).map(prefix);
        Place { connection, before, now: prefix(now) }
    };
    let places = (0..).zip(&after.connections).map(place);
    places.filter(|place| place.before.as_ref() != Some(&place.now)).collect()
}

/// Refuses it where students who attend would be taken for another source's.
pub(crate) fn check_place(place: &Place, strangers: i64) -> anyhow::Result<()> {
    let Place { connection, before, now } = place;
    let before = before.as_ref().map_or_else(String::new, |before| format!(" (until now {before:?})"));
    ensure!(
        strangers == 0,
        "connection {} has id_prefix {now:?}{before}, and {strangers} students who attend are stored there under other ids: they \
         would be taken for another source's. Leave the connections in their order and their prefixes as they are, and put new \
         connections behind them. One that is not wanted any more stays until its SIS has withdrawn its students; the last one \
         may be removed",
        connection + 1
    );
    Ok(())
}

/// Which of two to remove: an older feed left beside OneRoster, else the one that is not wanted any more.
fn overwriting(connections: &[Connection], first: usize, second: usize) -> String {
    let name = |index: usize| format!("{} ({})", index + 1, connections[index].kind.as_str());
    let is_oneroster = |index: usize| connections[index].kind == SisKind::OneRoster;
    let remove = match (is_oneroster(first), is_oneroster(second)) {
        (true, false) => format!("remove connection {}, the feed from before OneRoster", name(second)),
        (false, true) => format!("remove connection {}, the feed from before OneRoster", name(first)),
        _ => "remove the one that is not wanted any more".to_owned(),
    };
    format!(
        "connections {} and {} would overwrite each other's students: {remove}, or, where they serve different schools, \
         give one of them an id_prefix of its own",
        name(first),
        name(second)
    )
}

fn check_connection(connection: &Connection, allow_private_addresses: bool) -> anyhow::Result<()> {
    ensure!(
        connection.kind != SisKind::SkywardSms2,
        "kind = \"{}\" cannot be pulled by this version; it pulls skyward-qmlativ and oneroster",
        connection.kind.as_str()
    );
    ensure!((1..=10_000).contains(&connection.page_size), "page_size is from 1 to 10000");
    ensure!((1..=31).contains(&connection.full_every_days), "full_every_days is from 1 to 31");
    ensure!((1..=32).contains(&connection.lanes), "lanes is from 1 to 32");
    ensure!(!connection.entities.is_empty(), "entities is empty; 1 is the district-wide one");
    ensure!(connection.entities.iter().all(|entity| *entity > 0), "entities are numbers from 1 on");
    check_text("client_id", &connection.client_id)?;
    connection.withdrawal_date_field.as_deref().map_or(Ok(()), check_withdrawal_date_field)?;
    let once: BTreeSet<_> = connection.entities.iter().collect();
    ensure!(once.len() == connection.entities.len(), "entities names one twice");
    connection.id_prefix.as_ref().map_or(Ok(()), |prefix| check_text("id_prefix", prefix))?;
    connection.headers.iter().try_for_each(|(name, value)| check_header("headers", name, value))?;
    check_url("base_url", &connection.base_url, allow_private_addresses)?;
    ensure!(connection.base_url.query().is_none(), "base_url holds a query; remove it");
    if let Some(url) = &connection.token_url {
        check_url("token_url", url, allow_private_addresses)?;
        let admitted = connection.kind == SisKind::OneRoster || url.query().is_none();
        ensure!(admitted, "token_url holds a query; remove it");
    }
    if connection.kind == SisKind::OneRoster {
        rollcall_fetcher::urls::check(connection).map_err(|problem| anyhow::anyhow!(problem))?;
        let has_flags = rollcall_fetcher::urls::version(connection) == OneRosterVersion::V1p2;
        ensure!(
            connection.vendor_key.is_none() || has_flags,
            "vendor_key is for programs and flags, which Campus has in OneRoster 1.2 only: copy the base URL of version 1.2, \
             or remove vendor_key"
        );
    }
    Ok(())
}

/// A field of enrollments, as their metadata names it. One that holds something else is no withdrawal date.
fn check_withdrawal_date_field(field: &str) -> anyhow::Result<()> {
    let key = "withdrawal_date_field";
    check_text(key, field)?;
    let is_name = |text: &str| text.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
    ensure!(
        is_name(field),
        "{key} is the name of one field of EntryWithdrawal, of letters and digits: {field:?} is none"
    );
    let is = |other: &&str| field.eq_ignore_ascii_case(other);
    ensure!(!NO_WITHDRAWAL_DATES.iter().any(is), "{key}: {field} holds no withdrawal date");
    Ok(())
}

/// Fields of enrollments that are read as something else.
const NO_WITHDRAWAL_DATES: [&str; 10] = [
    "EntryWithdrawalID",
    "StudentID",
    "EntityID",
    "SchoolYearID",
    "SchoolID",
    "StartDate",
    "EntryCodeID",
    "WithdrawalCodeID",
    "IsDefaultEntity",
    "IsNoShow",
];

fn check_header(key: &str, name: &str, value: &str) -> anyhow::Result<()> {
    ensure!(is_header(name, value), "{key}: {name:?} or its value is no header that can be sent");
    Ok(())
}

fn check_secret_headers(secrets: &ConnectionSecrets) -> anyhow::Result<()> {
    let mut headers = secrets.secret_headers.iter();
    headers.try_for_each(|(name, value)| check_header("secret_headers", name, value.expose_secret()))
}

fn check_url(key: &str, url: &url::Url, allow_private_addresses: bool) -> anyhow::Result<()> {
    ensure!(url.username().is_empty() && url.password().is_none(), "{key} holds a user name or password; remove it");
    ensure!(url.fragment().is_none(), "{key} holds a fragment; remove it");
    ensure!(matches!(url.scheme(), "http" | "https") && url.has_host(), "{key} is not an http(s) address");
    if allow_private_addresses {
        return Ok(());
    }
    ensure!(
        url.scheme() == "https",
        "{key} is plain http, which would send students' records in the open: use https (or start the process with \
         ROLLCALL_ALLOW_PRIVATE_ADDRESSES=true to try things out)"
    );
    let literal: Option<IpAddr> = match url.host() {
        Some(url::Host::Ipv4(ip)) => Some(ip.into()),
        Some(url::Host::Ipv6(ip)) => Some(ip.into()),
        _ => None,
    };
    ensure!(
        literal.is_none_or(rollcall_fetcher::net::is_public),
        "{key} is a loopback, link-local or private address, which a district may not be reached at (start the process \
         with ROLLCALL_ALLOW_PRIVATE_ADDRESSES=true to try things out)"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
id = "lone-star-isd"
name = "Lone Star ISD"
time_zone = "America/Chicago"

[[connection]]
kind = "skyward-qmlativ"
base_url = "https://lonestar.example.com/LoneStarAPI"
client_id = "rollcall"
client_secret = "invented"

[hold]
max_removed_percent = 5
"#;

    /// Parses `text` as a file that only its owner can read.
    fn private(text: &str) -> anyhow::Result<DistrictFile> {
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), text)?;
        read(file.path(), false)
    }

    #[test]
    fn a_file_that_cannot_be_read_is_told_with_what_to_look_at() {
        let folder = tempfile::tempdir().unwrap();
        let told = |path: &Path| format!("{:#}", read(path, false).err().unwrap());
        let absent = told(&folder.path().join("absent.toml"));
        assert!(absent.contains("absent.toml (check the path; docs/DISTRICT.md"), "{absent}");
        let is_folder = told(folder.path());
        assert!(is_folder.contains("has to be a file"), "{is_folder}");
    }

    fn error(text: &str) -> String {
        format!("{:#}", private(text).err().unwrap())
    }

    #[test]
    fn a_good_file_is_taken_with_defaults() {
        let file = private(GOOD).unwrap();
        assert_eq!(file.district.connections[0].page_size, 500);
        assert_eq!(file.district.connections[0].lanes, 4);
        assert!((file.district.hold.max_removed_percent - 5.0).abs() < f64::EPSILON);
        assert_eq!(file.district.status.graduated_withdrawal_codes, ["01"]);
        assert_eq!(file.secrets.len(), 1);
    }

    #[test]
    fn a_named_withdrawal_date_is_one_field_that_may_hold_one() {
        let with =
            |field: &str| GOOD.replace("client_secret", &format!("withdrawal_date_field = {field:?}\nclient_secret"));
        for good in ["LastDayTX", "EndDate", "withdrawaldate"] {
            assert!(private(&with(good)).is_ok(), "{good}");
        }
        for bad in ["", " ", "Last Day", "Student.LastDay", "EndDate ", "startdate", "IsNoShow"] {
            let told = error(&with(bad));
            assert!(told.contains("connection 1") && told.contains("withdrawal_date_field"), "{bad}: {told}");
        }
    }

    /// Position, prefix before, prefix now.
    type Told<'a> = &'a [(u16, Option<&'a str>, &'a str)];

    #[test]
    fn places_that_have_another_prefix_are_looked_at() {
        let of = |prefixes: &[&str]| {
            let mut district = private(GOOD).unwrap().district;
            let connection = district.connections.remove(0);
            let with = |prefix: &&str| Connection {
                id_prefix: Some((*prefix).to_owned()).filter(|prefix| !prefix.is_empty()),
                ..connection.clone()
            };
            district.connections = prefixes.iter().map(with).collect();
            district
        };
        let cases: [(&[&str], &[&str], Told<'_>); 7] = [
            (&["A-", "B-"], &["A-", "B-"], &[]),
            (&["A-", "B-"], &["A-"], &[]),
            (&["A-", "B-"], &["B-"], &[(0, Some("A-"), "B-")]),
            (&["A-", "B-"], &["B-", "A-"], &[(0, Some("A-"), "B-"), (1, Some("B-"), "A-")]),
            (&[""], &["B-", ""], &[(0, Some(""), "B-"), (1, None, "")]),
            (&["A-"], &["A-", "B-"], &[(1, None, "B-")]),
            (&["A-", "B-"], &["A-", ""], &[(1, Some("B-"), "")]),
        ];
        for (before, after, expected) in cases {
            let place = |(connection, before, now): &(u16, Option<&str>, &str)| Place {
                connection: *connection,
                before: before.map(str::to_owned),
                now: (*now).to_owned(),
            };
            let expected: Vec<Place> = expected.iter().map(place).collect();
            assert_eq!(other_places(&of(before), &of(after)), expected, "{before:?} {after:?}");
            assert!(expected.iter().all(|place| check_place(place, 0).is_ok()));
        }
        let moved = Place { connection: 0, before: Some("A-".to_owned()), now: "B-".to_owned() };
        let refused = check_place(&moved, 7).unwrap_err().to_string();
        assert!(
            refused.starts_with("connection 1 has id_prefix \"B-\" (until now \"A-\"), and 7 students"),
            "{refused}"
        );
    }

    #[test]
    fn nobody_takes_the_id_of_what_belongs_to_no_district() {
        let text = error(&GOOD.replace("lone-star-isd", DistrictId::installation().as_str()));
        assert!(text.contains("rollcall-installation is kept"), "{text}");
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let text = error(&GOOD.replace("client_id", "clientid"));
        assert!(text.contains("clientid") && text.contains("line 9"), "{text}");
    }

    #[test]
    fn a_bad_time_zone_or_status_key_is_named() {
        assert!(error(&GOOD.replace("America/Chicago", "Central")).contains("time_zone"));
        assert!(error(&format!("{GOOD}\n[status]\ngraduated_codes = []\n")).contains("graduated_codes"));
    }

    #[test]
    fn plain_http_and_private_addresses_are_refused() {
        for base in ["http://lonestar.example.com", "https://127.0.0.1", "https://10.1.2.3", "https://[::1]"] {
            let text = error(&GOOD.replace("https://lonestar.example.com", base));
            assert!(text.contains("base_url"), "{base}: {text}");
        }
    }

    #[test]
    fn a_second_source_without_a_prefix_is_refused() {
        let second = GOOD[GOOD.find("[[connection]]").unwrap()..GOOD.find("[hold]").unwrap()].to_owned();
        let text = error(&GOOD.replace("[hold]", &format!("{second}\n[hold]")));
        assert!(text.contains("overwrite each other's students"), "{text}");
    }

    const CAMPUS: &str = r#"
[[connection]]
kind = "oneroster"
base_url = "https://lonestar.example.com/campus/api/oneroster/v1p2/roll/ims/oneroster/"
token_url = "https://lonestar.example.com/campus/oauth2/token?appName=roll"
client_id = "InfiniteCampus_(roll)"
client_secret = "invented"

"#;

    fn campus(replace: &str, by: &str) -> String {
        let first = &GOOD[..GOOD.find("[[connection]]").unwrap()];
        format!("{first}{}", CAMPUS.replace(replace, by))
    }

    #[test]
    fn a_oneroster_connection_is_taken_as_it_was_copied() {
        assert_eq!(private(&campus("", "")).unwrap().district.connections[0].kind, SisKind::OneRoster);
        let text = error(&campus("?appName=roll", "").replace("/v1p2/roll/", "/"));
        assert!(text.contains("app_name"), "{text}");
        let text = error(&campus("token_url", "# token_url"));
        assert!(text.contains("token_url is missing"), "{text}");
        let text = error(&campus("client_id", "version = \"2.0\"\nclient_id"));
        assert!(text.contains("version") && text.contains("1.2"), "{text}");
        let text = error(&campus("client_id", "version = \"1.1\"\nclient_id"));
        assert!(text.contains("another version"), "{text}");
        let vendor = campus("client_id", "vendor_key = \"key\"\nvendor_secret = \"invented\"\nclient_id");
        let text = error(&vendor.replace("v1p2", "v1p1"));
        assert!(text.contains("vendor_key") && text.contains("1.2 only"), "{text}");
    }

    #[test]
    fn an_older_feed_left_beside_oneroster_is_named() {
        let text = error(&GOOD.replace("[hold]", &format!("{CAMPUS}[hold]")));
        assert!(text.contains("remove connection 1 (skyward-qmlativ), the feed from before OneRoster"), "{text}");
        let prefixed = CAMPUS.replace("client_id", "id_prefix = \"C-\"\nclient_id");
        assert!(private(&GOOD.replace("[hold]", &format!("{prefixed}[hold]"))).is_ok());
    }

    #[test]
    fn a_prefix_that_begins_another_is_refused() {
        let with = |first: &str, second: &str| {
            let first = GOOD.replace("client_id", &format!("{first}\nclient_id"));
            let second = CAMPUS.replace("client_id", &format!("{second}\nclient_id"));
            first.replace("[hold]", &format!("{second}[hold]"))
        };
        let (short, long) = ("id_prefix = \"S\"", "id_prefix = \"S-\"");
        for (first, second) in [(short, long), (long, short)] {
            let text = error(&with(first, second));
            assert!(text.contains("id_prefix \"S\"") && text.contains("id_prefix \"S-\""), "{text}");
            assert!(text.contains("connections 1 and 2"), "{text}");
        }
        assert!(private(&with(short, "id_prefix = \"C\"")).is_ok());
        assert!(private(&with("", long)).is_ok() && private(&with(long, "")).is_ok());
    }

    #[test]
    fn a_secret_written_out_in_a_readable_file_is_refused_and_not_repeated() {
        use std::os::unix::fs::PermissionsExt as _;
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), GOOD).unwrap();
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
        let text = format!("{:#}", read(file.path(), false).err().unwrap());
        assert!(text.contains("chmod 600") && !text.contains("invented"), "{text}");
    }
}
