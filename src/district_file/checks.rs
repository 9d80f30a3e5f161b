//! What a district's file has to fulfil beyond its form, each refusal with the key that it is about.
//!
//! Deliberately absent: what is stored of the district before, but for the [`Place`]s that its caller asks about.

use std::{collections::BTreeSet, net::IpAddr};

use anyhow::{Context as _, ensure};
use rollcall_fetcher::{session::is_header, urls::is_same_campus};
use rollcall_proto::id::DistrictId;
use rollcall_store::district::{Connection, ConnectionSecrets, District, OneRosterVersion, SisKind};
use secrecy::ExposeSecret as _;

/// Checks a district as a whole.
pub(super) fn check(district: &District, allow_private_addresses: bool) -> anyhow::Result<()> {
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
    check_vendor_keys(district)
}

/// Flags go to one Campus: a second one's would be taken for gone, and nobody would ever end them.
fn check_vendor_keys(district: &District) -> anyhow::Result<()> {
    let Some((first, of_flags)) = district.flag_connection() else { return Ok(()) };
    let is_other = |one: &Connection| one.vendor_key.is_some() && !is_same_campus(one, of_flags);
    let other = district.connections.iter().position(|one| one.kind == SisKind::OneRoster && is_other(one));
    ensure!(
        other.is_none(),
        "connections {} and {} have a vendor_key each and lead to two Campuses: flags go to one alone. Remove vendor_key and \
         vendor_secret from the one whose flags are not to be written. Two applications of one Campus count as two: have the \
         district give one application all the schools, and use it in both",
        first.0 + 1,
        other.unwrap_or_default() + 1
    );
    Ok(())
}

/// What is to be said where flags go to another Campus from now on. `pushed`: how many of ours the one before has.
pub(crate) fn other_campus(before: &District, after: &District, pushed: usize) -> Option<String> {
    let (_, old) = before.flag_connection()?;
    let (_, new) = after.flag_connection()?;
    (pushed > 0 && !is_same_campus(old, new)).then(|| {
        format!(
            "{}: flags go to another Campus from now on ({}, until now {}), and the one before has {pushed} flags of ours. If it is \
             the same one under a new address, all is well. If it is not, nobody ends these there any more: apply the file from \
             before, withdraw or end what they stand for, and change the address after `rollcall flags list` shows them ended",
            after.id, new.base_url, old.base_url
        )
    })
}

/// The vendor's key and secret go into one header. The secret of the file before does not serve: each apply puts a whole set of secrets
/// in place of the one before.
pub(super) fn check_vendor_pairs(district: &District, secrets: &[ConnectionSecrets]) -> anyhow::Result<()> {
    for (index, (connection, secrets)) in district.connections.iter().zip(secrets).enumerate() {
        let lacking = match (&connection.vendor_key, &secrets.vendor_secret) {
            (Some(_), None) => {
                "vendor_key without vendor_secret: add vendor_secret = { env = \"…\" }, or remove vendor_key"
            }
            (None, Some(_)) => "vendor_secret without vendor_key: add vendor_key, or remove vendor_secret",
            _ => continue,
        };
        anyhow::bail!("connection {} ({}) has {lacking}", index + 1, connection.kind.as_str());
    }
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

/// Which of two to remove: an older feed left beside OneRoster, or beside a newer version of it, else the one that is not wanted any
/// more.
fn overwriting(connections: &[Connection], first: usize, second: usize) -> String {
    let name = |index: usize| format!("{} ({})", index + 1, connections[index].kind.as_str());
    let is_oneroster = |index: usize| connections[index].kind == SisKind::OneRoster;
    let version = |index: usize| rollcall_fetcher::urls::version(&connections[index]);
    let remove = match (is_oneroster(first), is_oneroster(second)) {
        (true, false) => format!("remove connection {}, the feed from before OneRoster", name(second)),
        (false, true) => format!("remove connection {}, the feed from before OneRoster", name(first)),
        (true, true) if version(first) != version(second) => {
            let older = if version(first) == OneRosterVersion::V1p1 { first } else { second };
            format!("remove connection {}, the feed of OneRoster 1.1, which the one of 1.2 replaces", name(older))
        }
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

pub(super) fn check_secret_headers(secrets: &ConnectionSecrets) -> anyhow::Result<()> {
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
