//! A district's TOML file: read, checked as a whole, and split into configuration and secrets.
//!
//! Secrets are references (`{ env = "…" }`, `{ file = "…" }`), read once; a secret written out is taken only from a
//! file that nobody else may read.

// Said, since the fuzz targets take this file in by its path.
#[path = "district_file/checks.rs"]
mod checks;
#[path = "district_file/told.rs"]
mod told;

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context as _, bail, ensure};
use rollcall_proto::date;
use rollcall_store::district::{ConnectionSecrets, District};
use secrecy::{ExposeSecret as _, SecretString};
use toml::{Table, Value};

pub(crate) use self::checks::{check_place, other_campus, other_places};
use self::{
    checks::{check, check_secret_headers, check_vendor_pairs},
    told::{located, syntax},
};
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
    check_cutovers(&table)?;
    // Before what is missing: a key that nobody knows may be the missing one, misspelled.
    let district: District = Value::Table(table).try_into().map_err(|error| located(&error, text))?;
    check_client_secrets(&secrets)?;
    check(&district, allow_private_addresses)?;
    secrets.iter().try_for_each(check_secret_headers)?;
    check_vendor_pairs(&district, &secrets)?;
    Ok(DistrictFile { district, secrets })
}

fn connections(table: &mut Table) -> anyhow::Result<Vec<&mut Table>> {
    let list = match table.get_mut("connection") {
        Some(Value::Array(list)) => list,
        Some(_) => bail!("a connection is written [[connection]], with two brackets"),
        None => bail!("there is no [[connection]]: where do the students come from?"),
    };
    list.iter_mut().map(|item| item.as_table_mut().context("a connection is written [[connection]]")).collect()
}

/// That each cutover is a date written in full. Here, where its text still is: a year that was left short ends a district's flags.
fn check_cutovers(table: &Table) -> anyhow::Result<()> {
    for program in table.get("program").and_then(Value::as_array).into_iter().flatten() {
        let (cutover, name) = (program.get("cutover"), program.get("name").and_then(Value::as_str));
        if let Some(text) = cutover.and_then(date_text) {
            date::parse(&text).with_context(|| format!("[[program]] {}: cutover", name.unwrap_or_default()))?;
        }
    }
    Ok(())
}

/// A date of TOML's own, or one written as text.
fn date_text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned).or_else(|| value.as_datetime().map(ToString::to_string))
}

fn check_client_secrets(secrets: &[ConnectionSecrets]) -> anyhow::Result<()> {
    let without = secrets.iter().position(|secrets| secrets.client_secret.expose_secret().is_empty());
    if let Some(index) = without {
        bail!("connection {}: a connection needs client_secret = {{ env = \"…\" }}", index + 1);
    }
    Ok(())
}

/// A client's secret that is not there is empty, which none that is there may be.
fn take_secrets(connection: &mut Table, folder: &Path, inline: bool) -> anyhow::Result<ConnectionSecrets> {
    let mut take = |key: &str| -> anyhow::Result<Option<SecretString>> {
        connection.remove(key).map(|value| resolve(key, &value, folder, inline)).transpose()
    };
    let client_secret = take("client_secret")?.unwrap_or_else(|| SecretString::from(""));
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

#[cfg(test)]
mod tests {
    use rollcall_proto::id::DistrictId;
    use rollcall_store::district::{Connection, SisKind};

    use super::{checks::Place, *};

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
    fn a_secret_under_a_misspelled_key_is_not_called_missing_alone() {
        for (key, line) in [("client_secrt", 10), ("clientSecret", 10), ("secret", 10)] {
            let text = error(&GOOD.replace("client_secret", key));
            assert!(
                text.contains(&format!("line {line}: ")) && text.contains(&format!("unknown field `{key}`")),
                "{text}"
            );
            assert!(text.contains("`client_secret`") && !text.contains("invented"), "{text}");
        }
        let missing = error(&GOOD.replace("client_secret = \"invented\"\n", ""));
        assert!(missing.contains("connection 1: a connection needs client_secret"), "{missing}");
        let second = GOOD.replace(
            "[hold]",
            "[[connection]]\nkind = \"oneroster\"\nclient_id = \"x\"\nbase_url = \"https://a.example.com\"\n\n[hold]",
        );
        assert!(error(&second).contains("connection 2: a connection needs client_secret"), "{}", error(&second));
    }

    #[test]
    fn a_bad_time_zone_or_status_key_is_named() {
        assert!(error(&GOOD.replace("America/Chicago", "Central")).contains("time_zone"));
        assert!(error(&format!("{GOOD}\n[status]\ngraduated_codes = []\n")).contains("graduated_codes"));
    }

    #[test]
    fn what_is_expected_is_told() {
        let zone = error(&GOOD.replace("America/Chicago", "Central"));
        assert!(zone.contains("line 4: time_zone") && zone.contains("IANA name, such as America/Chicago"), "{zone}");
        let unknown = error(&GOOD.replace("client_id", "clientid"));
        for key in ["client_id", "client_secret", "vendor_secret", "token_secret_parameters", "secret_headers"] {
            assert!(unknown.contains(&format!("`{key}`")), "{key}: {unknown}");
        }
        let percent = error(&GOOD.replace("max_removed_percent = 5", "max_removed_percent = \"10%\""));
        assert!(percent.contains("max_removed_percent: of another type, expected a number"), "{percent}");
        let two = error(&format!("{}\n{GOOD}", &GOOD[..GOOD.find("[[connection]]").unwrap()]));
        assert!(two.contains("line 8: the key id stands there twice; a file is of one district"), "{two}");
        let in_connection = error(&GOOD.replace("client_secret", "client_id"));
        assert!(in_connection.contains("the key client_id stands there twice") && !in_connection.contains("invented"));
    }

    #[test]
    fn a_cutover_is_a_date_written_in_full() {
        let with = |cutover: &str| format!("{GOOD}\n[[program]]\nname = \"Section 504\"\ncutover = {cutover}\n");
        for good in ["2026-09-01", "\"2026-09-01\""] {
            assert!(private(&with(good)).is_ok(), "{good}");
        }
        for bad in
            ["\"26-09-01\"", "0026-09-01", "\"2026-9-1\"", "\" 2026-09-01\"", "2026-09-01T00:00:00", "2200-01-01"]
        {
            let told = error(&with(bad));
            assert!(told.contains("Section 504: cutover: a date is written YYYY-MM-DD"), "{bad}: {told}");
        }
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
    fn half_a_vendor_pair_is_refused_with_what_to_add() {
        let text = error(&campus("client_id", "vendor_key = \"key\"\nclient_id"));
        assert!(text.contains("connection 1 (oneroster)") && text.contains("add vendor_secret"), "{text}");
        let text = error(&campus("client_id", "vendor_secret = \"invented\"\nclient_id"));
        assert!(text.contains("add vendor_key"), "{text}");
    }

    #[test]
    fn two_campuses_with_a_vendor_each_are_refused() {
        let vendor = |prefix: &str| {
            format!("vendor_key = \"k\"\nvendor_secret = \"invented\"\nid_prefix = \"{prefix}\"\nclient_id")
        };
        let (first, second) = (campus("client_id", &vendor("a-")), CAMPUS.replace("client_id", &vendor("b-")));
        assert!(private(&format!("{first}{second}")).is_ok(), "two of one Campus, each limited to its schools");
        for other in [second.replace("lonestar.", "other."), second.replace("roll", "third")] {
            let text = error(&format!("{first}{other}"));
            assert!(text.contains("connections 1 and 2") && text.contains("Remove vendor_key"), "{text}");
            let without = other.replace("vendor_key = \"k\"\nvendor_secret = \"invented\"\n", "");
            assert!(private(&format!("{first}{without}")).is_ok());
        }
    }

    #[test]
    fn another_campus_for_flags_that_are_there_is_told_with_their_number() {
        let vendor = campus("client_id", "vendor_key = \"k\"\nvendor_secret = \"invented\"\nclient_id");
        let read = |text: &str| private(text).unwrap().district;
        let (before, other) = (read(&vendor), read(&vendor.replace("lonestar.example", "moved.example")));
        let told = other_campus(&before, &other, 7).unwrap();
        assert!(told.contains("has 7 flags of ours") && told.contains("https://moved.example"), "{told}");
        assert_eq!(other_campus(&before, &other, 0), None);
        let same = read(&vendor.replace("ims/oneroster/", "ims/oneroster/rostering/v1p2"));
        assert_eq!(other_campus(&before, &same, 7), None);
    }

    #[test]
    fn an_older_feed_left_beside_oneroster_is_named() {
        let text = error(&GOOD.replace("[hold]", &format!("{CAMPUS}[hold]")));
        assert!(text.contains("remove connection 1 (skyward-qmlativ), the feed from before OneRoster"), "{text}");
        let prefixed = CAMPUS.replace("client_id", "id_prefix = \"C-\"\nclient_id");
        assert!(private(&GOOD.replace("[hold]", &format!("{prefixed}[hold]"))).is_ok());
    }

    #[test]
    fn of_two_feeds_of_oneroster_the_one_of_the_older_version_is_named() {
        let told = |first, second| error(&format!("{}{}", campus("v1p2", first), CAMPUS.replace("v1p2", second)));
        for (text, number) in [(told("v1p1", "v1p2"), 1), (told("v1p2", "v1p1"), 2)] {
            let older = format!("remove connection {number} (oneroster), the feed of OneRoster 1.1");
            assert!(text.contains(&older), "{text}");
        }
        let alike = told("v1p2", "v1p2");
        assert!(alike.contains("remove the one that is not wanted any more"), "{alike}");
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
