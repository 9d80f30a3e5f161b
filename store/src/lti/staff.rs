//! The roster's staff, as far as they may see something.
//!
//! Platforms name a person by the SIS's own id, without the prefix by which the sources of a district are kept apart: a
//! registration says of which source its ids are, and nobody else's are looked at.
//!
//! Invariant: whoever is found is listed by that connection, which wants staff. Who was stored before connections were noted
//! counts where there is but one, and not beside the person's own row that has been noted since; when such a row is written, the
//! one of before has left. A listing with gaps leaves some rows as before: such a one is in nobody's way, and nobody takes the
//! place of the person, by another letter case or by the same address.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use rollcall_proto::{
    id::{ConnectionNo, DistrictId},
    roster::Staff,
};

use super::{LtiUser, Namer, StaffMember, users::canonical};
use crate::{
    Store, StoreError,
    district::{Connection, District, StaffScope},
    districts,
    plan::SpokenOf,
    roster::load::read_json,
    sql::{Row, Tx, args},
};

type Result<T> = std::result::Result<T, StoreError>;

const OPERATION: &str = "find a member of staff";

const BY_ID: (&str, &str) = (
    "SELECT staff_id, CAST(entities AS text), connection, left_at IS NULL FROM staff \
     WHERE district = $1 AND staff_id = ANY($2)",
    "SELECT staff_id, CAST(entities AS text), connection, left_at IS NULL FROM staff \
     WHERE district = $1 AND staff_id IN (SELECT value FROM json_each($2))",
);
const BY_EMAIL: (&str, &str) = (
    "SELECT staff_id, CAST(entities AS text), connection, left_at IS NULL FROM staff s WHERE district = $1 AND EXISTS \
     (SELECT 1 FROM jsonb_array_elements(s.emails) e WHERE lower(e ->> 'address') = $2)",
    "SELECT staff_id, CAST(entities AS text), connection, left_at IS NULL FROM staff s WHERE district = $1 AND EXISTS \
     (SELECT 1 FROM json_each(s.emails) e WHERE lower(e.value ->> '$.address') = $2)",
);

impl Store {
    /// A member of the staff that the connection `source` lists and who has not left, by the SIS's id, with or without the
    /// connection's prefix. Letter case does not matter where nobody has the id as it was given: platforms spell the same one
    /// either way.
    pub async fn staff_by_id(
        &self,
        district: &DistrictId,
        source: ConnectionNo,
        id: &str,
    ) -> Result<Option<StaffMember>> {
        let mut tx = self.read(district, OPERATION).await?;
        let Some(config) = districts::config(&mut tx, district, OPERATION).await? else { return Ok(None) };
        let Some(wanted) = Wanted::of(&config, source) else { return Ok(None) };
        let spellings = Spellings::of(id);
        let ids: BTreeSet<String> = ["", wanted.prefix].iter().flat_map(|prefix| spellings.after(prefix)).collect();
        let sql = if tx.is_postgres() { BY_ID.0 } else { BY_ID.1 };
        let rows = tx.rows(OPERATION, sql, args![district, ids.into_iter().collect::<Vec<String>>()]).await?;
        tx.commit(OPERATION).await?;
        let mut found = wanted.rows(&rows)?;
        let rank = |one: &Found| spellings.rank(one, wanted.prefix);
        // Whoever has the very id decides, also by having left: another spelling may be another person.
        let best = found.iter().filter_map(rank).min();
        found.retain(|one| best.is_some() && rank(one) == best && one.is_here && wanted.counts(one));
        found.sort_by(|a, b| (!a.is_noted, &a.member.staff_id).cmp(&(!b.is_noted, &b.member.staff_id)));
        Ok(found.into_iter().next().map(|one| one.member))
    }

    /// A member of the staff that the connection `source` lists and who has not left, by an e-mail address that no other such
    /// member has, nor one of whom nobody knows which connection lists them.
    pub async fn staff_by_email(
        &self,
        district: &DistrictId,
        source: ConnectionNo,
        address: &str,
    ) -> Result<Option<StaffMember>> {
        let mut tx = self.read(district, OPERATION).await?;
        let Some(config) = districts::config(&mut tx, district, OPERATION).await? else { return Ok(None) };
        let Some(wanted) = Wanted::of(&config, source) else { return Ok(None) };
        let sql = if tx.is_postgres() { BY_EMAIL.0 } else { BY_EMAIL.1 };
        let rows = tx.rows(OPERATION, sql, args![district, canonical(address)]).await?;
        tx.commit(OPERATION).await?;
        let mut found = wanted.rows(&rows)?;
        found.retain(|one| one.is_here);
        let noted: BTreeSet<String> =
            found.iter().filter(|one| one.is_noted).map(|one| one.member.staff_id.clone()).collect();
        found.retain(|one| one.is_noted || !noted.contains(&format!("{}{}", wanted.prefix, one.member.staff_id)));
        Ok(found.pop().filter(|one| found.is_empty() && wanted.counts(one)).map(|one| one.member))
    }
}

impl Store {
    /// The people, by ids in small letters, of whom an administrator has said something and who are staff of the roster by that id,
    /// or were: if their SIS gives them others, it is them all the same. Numbers of a platform's own are none of a SIS's.
    pub async fn staff_spoken_of(&self, district: &DistrictId) -> Result<Vec<SpokenOf>> {
        let operation = "list the staff of whom something was said";
        let users = self.lti_users(district).await?;
        let said: BTreeSet<SpokenOf> = users.iter().filter_map(spoken_of).collect();
        if said.is_empty() {
            return Ok(Vec::new());
        }
        let mut tx = self.read(district, operation).await?;
        let Some(config) = districts::config(&mut tx, district, operation).await? else { return Ok(Vec::new()) };
        let ids: BTreeSet<String> = said.iter().flat_map(|one| spelled(&config, one)).collect();
        let sql = if tx.is_postgres() { BY_ID.0 } else { BY_ID.1 };
        let rows = tx.rows(operation, sql, args![district, ids.into_iter().collect::<Vec<String>>()]).await?;
        tx.commit(operation).await?;
        let mut stored: BTreeMap<String, Vec<Option<u16>>> = BTreeMap::new();
        for row in &rows {
            stored.entry(row.get::<String>(0)?.to_lowercase()).or_default().push(row.get(2)?);
        }
        let is_of =
            |of: Option<ConnectionNo>, noted: &Option<u16>| of.zip(*noted).is_none_or(|(of, noted)| of.0 == noted);
        let is_staff = |one: &SpokenOf| {
            let mut found = spelled(&config, one).into_iter().filter_map(|id| stored.get(&id.to_lowercase())).flatten();
            found.any(|noted| is_of(one.of, noted))
        };
        Ok(said.into_iter().filter(is_staff).collect())
    }
}

/// A person of a SIS of whom something was said.
fn spoken_of(user: &LtiUser) -> Option<SpokenOf> {
    let of = match user.namer {
        Namer::Source(number) => Some(number),
        Namer::Unclear => None,
        Namer::Platform { .. } => return None,
    };
    Some(SpokenOf { of, id: canonical(&user.user_id) })
}

/// How the roster may spell the person's id. Of several sources, an id without a prefix may be anybody's.
fn spelled(config: &District, one: &SpokenOf) -> BTreeSet<String> {
    let alone = (config.connections.len() == 1).then_some(ConnectionNo(0));
    let own = one.of.or(alone).and_then(|number| config.connection(number)).map(Connection::prefix);
    let prefixes = own.into_iter().chain([""]);
    prefixes.flat_map(|prefix| Spellings::of(&one.id).after(prefix)).collect()
}

/// Whom a connection of `district` lists that wants no staff, or wanted none `before`, has left: what was listed last would
/// let in for ever, and again when staff are wanted once more. The next run brings back whom it lists.
pub(crate) async fn unwanted_left(
    tx: &mut Tx,
    before: Option<&District>,
    district: &District,
    now: DateTime<Utc>,
) -> Result<()> {
    let unnoted = district.connections.len() == 1;
    let sql = "UPDATE staff SET left_at = $4 WHERE district = $1 AND left_at IS NULL \
               AND (connection = $2 OR (connection IS NULL AND $3))";
    for (number, connection) in (0_u16..).zip(&district.connections) {
        let before = before.and_then(|before| before.connections.get(usize::from(number)));
        if [Some(connection), before].into_iter().flatten().any(|one| one.staff == StaffScope::None) {
            tx.execute("apply a district", sql, args![&district.id, number, unnoted, now]).await?;
        }
    }
    Ok(())
}

/// The rows, stored before connections were noted, of people who are written under their connection's prefix now: one by the
/// plain id would outlive the person's own.
pub(crate) async fn unprefixed_left<'a>(
    tx: &mut Tx,
    district: &DistrictId,
    noted: impl Iterator<Item = &'a &'a Staff>,
    now: DateTime<Utc>,
) -> Result<()> {
    let operation = "release a plan";
    let Some(config) = districts::config(tx, district, operation).await? else { return Ok(()) };
    let plain = noted.filter_map(|member| {
        let prefix = config.connections.get(usize::from(member.connection?)).map(Connection::prefix)?;
        member.id.strip_prefix(prefix).filter(|_| !prefix.is_empty()).map(str::to_owned)
    });
    let plain: Vec<String> = plain.collect();
    if plain.is_empty() {
        return Ok(());
    }
    let pg = "UPDATE staff SET left_at = $3 WHERE district = $1 AND left_at IS NULL AND connection IS NULL \
              AND staff_id = ANY($2)";
    let lite = "UPDATE staff SET left_at = $3 WHERE district = $1 AND left_at IS NULL AND connection IS NULL \
                AND staff_id IN (SELECT value FROM json_each($2))";
    tx.execute(operation, if tx.is_postgres() { pg } else { lite }, args![district, plain, now]).await.map(drop)
}

/// A row.
struct Found {
    member: StaffMember,
    /// Stored since connections are noted.
    is_noted: bool,
    /// Has not left.
    is_here: bool,
}

/// The connection whose staff are looked for, which wants staff.
struct Wanted<'a> {
    number: u16,
    prefix: &'a str,
    /// It is the district's only one.
    is_alone: bool,
}

impl<'a> Wanted<'a> {
    fn of(config: &'a District, source: ConnectionNo) -> Option<Self> {
        let connection = config.connection(source).filter(|connection| connection.staff != StaffScope::None)?;
        Some(Self { number: source.0, prefix: connection.prefix(), is_alone: config.connections.len() == 1 })
    }

    /// Those that are the connection's, and those of whom nobody noted whose they are.
    fn rows(&self, rows: &[Row]) -> Result<Vec<Found>> {
        let mut all = Vec::new();
        for row in rows {
            let noted: Option<u16> = row.get(2)?;
            if noted.is_some_and(|noted| noted != self.number) {
                continue;
            }
            let member = StaffMember { staff_id: row.get(0)?, connection: self.number, entities: read_json(row, 1)? };
            all.push(Found { member, is_noted: noted.is_some(), is_here: row.get(3)? });
        }
        Ok(all)
    }

    /// Whether the person is the connection's for sure.
    const fn counts(&self, found: &Found) -> bool {
        found.is_noted || self.is_alone
    }
}

/// An id in the letter cases that it may be stored in, as given first.
struct Spellings {
    all: [String; 3],
    /// A UUID is the same one in either case.
    is_uuid: bool,
}

impl Spellings {
    fn of(id: &str) -> Self {
        let all = [id.to_owned(), id.to_lowercase(), id.to_uppercase()];
        Self { all, is_uuid: uuid::Uuid::try_parse(id).is_ok() }
    }

    fn after(&self, prefix: &str) -> [String; 3] {
        self.all.each_ref().map(|id| format!("{prefix}{id}"))
    }

    /// Place of the spelling by which the person is called so, by the SIS or in the roster. `None`: is not.
    fn rank(&self, found: &Found, prefix: &str) -> Option<usize> {
        let id = found.member.staff_id.as_str();
        let bare = id.strip_prefix(prefix).filter(|_| found.is_noted);
        let place = self.all.iter().position(|spelled| bare == Some(spelled) || id == spelled)?;
        Some(if self.is_uuid { 0 } else { place })
    }
}
