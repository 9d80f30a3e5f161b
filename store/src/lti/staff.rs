//! The roster's staff, as far as they may see something.
//!
//! Platforms name a person by the SIS's own id, without the prefix by which the sources of a district are kept apart: what
//! two sources' people are both called finds nobody.
//!
//! Invariant: whoever is found is listed by a connection of today's that wants staff. Who was stored before connections were
//! noted counts where there is but one, and not beside a row that has been noted since; when such a row is written, the one of
//! before has left.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use rollcall_proto::{id::DistrictId, roster::Staff};

use super::{StaffMember, users::canonical};
use crate::{
    Store, StoreError,
    district::{Connection, District, StaffScope},
    districts,
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
    /// A member of the roster's staff who has not left, by the SIS's id, with or without the prefix of its connection. Letter
    /// case does not matter: platforms spell the same UUID either way. Two of that name, of two connections, are nobody.
    pub async fn staff_by_id(&self, district: &DistrictId, id: &str) -> Result<Option<StaffMember>> {
        let mut tx = self.read(district, OPERATION).await?;
        let Some(config) = districts::config(&mut tx, district, OPERATION).await? else { return Ok(None) };
        let spellings = Spellings::of(id);
        let prefixes = config.connections.iter().map(prefix).chain([""]);
        let ids: BTreeSet<String> = prefixes.flat_map(|prefix| spellings.after(prefix)).collect();
        let sql = if tx.is_postgres() { BY_ID.0 } else { BY_ID.1 };
        let rows = tx.rows(OPERATION, sql, args![district, ids.into_iter().collect::<Vec<String>>()]).await?;
        tx.commit(OPERATION).await?;
        let mut found = counted(&config, &rows)?;
        found.retain(|one| spellings.rank(one, &config).is_some());
        found.sort_by_key(|one| (spellings.rank(one, &config), one.member.staff_id.clone()));
        let connections: BTreeSet<u16> = found.iter().map(|one| one.member.connection).collect();
        Ok((connections.len() == 1).then(|| found.into_iter().find(|one| one.is_here)).flatten().map(|one| one.member))
    }

    /// A member of the roster's staff who has not left, by an e-mail address that no other such member has.
    pub async fn staff_by_email(&self, district: &DistrictId, address: &str) -> Result<Option<StaffMember>> {
        let mut tx = self.read(district, OPERATION).await?;
        let Some(config) = districts::config(&mut tx, district, OPERATION).await? else { return Ok(None) };
        let sql = if tx.is_postgres() { BY_EMAIL.0 } else { BY_EMAIL.1 };
        let rows = tx.rows(OPERATION, sql, args![district, canonical(address)]).await?;
        tx.commit(OPERATION).await?;
        let mut found = counted(&config, &rows)?;
        found.retain(|one| one.is_here);
        Ok(found.pop().filter(|_| found.is_empty()).map(|one| one.member))
    }
}

impl Store {
    /// Ids, in small letters, of the people of whom an administrator has said something and who are staff of the roster by that
    /// id, or were: if their SIS gives them others, it is them all the same.
    pub async fn staff_spoken_of(&self, district: &DistrictId) -> Result<Vec<String>> {
        let operation = "list the staff of whom something was said";
        let said: BTreeSet<String> =
            self.lti_users(district).await?.iter().map(|user| canonical(&user.user_id)).collect();
        if said.is_empty() {
            return Ok(Vec::new());
        }
        let mut tx = self.read(district, operation).await?;
        let Some(config) = districts::config(&mut tx, district, operation).await? else { return Ok(Vec::new()) };
        // Of several sources, an id without a prefix may be anybody's.
        let known = config.connections.iter().filter(|_| config.connections.len() == 1);
        let spelled = |id: &str| -> BTreeSet<String> {
            let prefixes = known.clone().map(prefix).chain([""]);
            prefixes.flat_map(|prefix| Spellings::of(id).after(prefix)).chain([id.to_owned()]).collect()
        };
        let ids: Vec<String> = said.iter().flat_map(|id| spelled(id)).collect();
        let rows = tx.rows(operation, if tx.is_postgres() { BY_ID.0 } else { BY_ID.1 }, args![district, ids]).await?;
        tx.commit(operation).await?;
        let stored = rows.iter().map(|row| row.get::<String>(0)).collect::<Result<BTreeSet<String>>>()?;
        let stored: BTreeSet<String> = stored.iter().map(|id| id.to_lowercase()).collect();
        let is_staff = |id: &String| spelled(id).iter().any(|spelled| stored.contains(&spelled.to_lowercase()));
        Ok(said.into_iter().filter(is_staff).collect())
    }
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
        let prefix = config.connections.get(usize::from(member.connection?)).map(prefix)?;
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

/// A row that counts.
struct Found {
    member: StaffMember,
    /// Stored since connections are noted.
    is_noted: bool,
    /// Has not left.
    is_here: bool,
}

/// The rows of connections that want staff, without those that a noted one has taken the place of.
fn counted(config: &District, rows: &[Row]) -> Result<Vec<Found>> {
    let mut all = Vec::new();
    for row in rows {
        let noted: Option<u16> = row.get(2)?;
        let connection = noted.or((config.connections.len() == 1).then_some(0));
        let wanted = |number: &u16| {
            let connection = config.connections.get(usize::from(*number));
            connection.is_some_and(|connection| connection.staff != StaffScope::None)
        };
        let Some(connection) = connection.filter(wanted) else { continue };
        let member = StaffMember { staff_id: row.get(0)?, connection, entities: read_json(row, 1)? };
        all.push(Found { member, is_noted: noted.is_some(), is_here: row.get(3)? });
    }
    // Else a version before is at work, which has them leave under the prefix and lists them without it.
    if all.iter().any(|one| one.is_noted && one.is_here) {
        all.retain(|one| one.is_noted);
    }
    Ok(all)
}

fn prefix(connection: &Connection) -> &str {
    connection.id_prefix.as_deref().unwrap_or_default()
}

/// An id in the letter cases that it may be stored in, as given first.
struct Spellings([String; 3]);

impl Spellings {
    fn of(id: &str) -> Self {
        Self([id.to_owned(), id.to_lowercase(), id.to_uppercase()])
    }

    fn after(&self, prefix: &str) -> [String; 3] {
        self.0.each_ref().map(|id| format!("{prefix}{id}"))
    }

    /// Place of the spelling by which the person is called so, by the SIS or in the roster: a prefix is one before the people of
    /// its own connection alone. `None`: is not.
    fn rank(&self, found: &Found, config: &District) -> Option<usize> {
        let id = found.member.staff_id.as_str();
        let own = config.connections.get(usize::from(found.member.connection)).map(prefix).unwrap_or_default();
        let bare = id.strip_prefix(own).filter(|_| found.is_noted);
        self.0.iter().position(|spelled| bare == Some(spelled) || id == spelled)
    }
}
