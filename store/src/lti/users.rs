//! Whom an administrator gave or denied sight, and what the roster knows of a person and a student.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

use chrono::{DateTime, NaiveDate, Utc};
use rollcall_proto::{
    id::{ConnectionNo, DistrictId, RunId, StudentId},
    roster::Status,
};

use super::{LtiUser, Namer, StudentScope, Subject, UserAccess, registrations::entry};
use crate::{
    Store, StoreError, baselines,
    district::{Connection, District, SchoolYears, StatusPolicy, WithdrawalDateIs},
    districts::{json_unreadable, lock},
    plan::PersonMoved,
    rekeyed,
    run::Baseline,
    sql::{Row, Tx, args},
    trail,
};

type Result<T> = std::result::Result<T, StoreError>;

/// All spellings of a person; of one whose id has but one, that alone.
const DELETE_USER: &str =
    "DELETE FROM lti_user WHERE district = $1 AND platform = $3 AND (user_id = $2 OR (NOT $4 AND lower(user_id) = $2))";

/// Each was given by what was said before.
pub(super) const NO_TICKETS: &str = "DELETE FROM lti_ticket WHERE district = $1";

/// A person's id or address as it is kept: platforms spell the same one in either letter case. Lowered here, since the
/// engines' own `lower` differ beyond ASCII.
pub(super) fn canonical(user_id: &str) -> String {
    user_id.trim().to_lowercase()
}

/// The same of a person whom `namer` names: of some ids another case is another person's.
fn kept(namer: &Namer, user_id: &str) -> String {
    if namer.is_case_sensitive() { user_id.trim().to_owned() } else { canonical(user_id) }
}

/// The person, for the audit trail.
fn told(user_id: &str, platform: &str) -> String {
    if platform.is_empty() { format!("user={user_id}") } else { format!("user={user_id} of={platform}") }
}

/// Orders what was said from the strictest on.
const fn breadth(access: &UserAccess) -> (u8, bool) {
    let students = match &access.students {
        StudentScope::Nobody => 0,
        StudentScope::Students(_) => 1,
        StudentScope::Schools(_) => 2,
        StudentScope::Everybody => 3,
    };
    (students, access.programs.is_empty())
}

impl Store {
    /// Says what a person may see whom `namer` names so; replaces what was said of the same one before. Tickets that the district's
    /// launches have got are good no more.
    pub async fn put_lti_user(
        &self,
        district: &DistrictId,
        (namer, user_id): (&Namer, &str),
        access: &UserAccess,
        actor: &str,
        now: DateTime<Utc>,
    ) -> Result<()> {
        let operation = "keep an LTI user";
        let (platform, user_id) = (namer.text(), &kept(namer, user_id));
        let mut tx = self.begin(district, operation).await?;
        lock(&mut tx, district).await?;
        let access = named_by_roster(&mut tx, district, access).await?;
        let text = serde_json::to_string(&access).map_err(|error| json_unreadable("LTI user", &error))?;
        let values = args![district, user_id, &platform, namer.is_case_sensitive()];
        tx.execute(operation, DELETE_USER, values).await?;
        let sql = "INSERT INTO lti_user (district, platform, user_id, access, created_at, created_by) \
                   VALUES ($1, $2, $3, $4, $5, $6)";
        tx.execute(operation, sql, args![district, &platform, user_id, text, now, actor]).await?;
        tx.execute(operation, NO_TICKETS, args![district]).await?;
        let detail = told(user_id, &platform);
        trail::write(&mut tx, &entry(district, "lti.user.add", actor, detail, now)).await?;
        tx.commit(operation).await
    }

    /// Takes back what was said about a person whom `namer` names so; the roster's word counts again. Returns whether anything
    /// was said.
    pub async fn remove_lti_user(
        &self,
        district: &DistrictId,
        (namer, user_id): (&Namer, &str),
        actor: &str,
        now: DateTime<Utc>,
    ) -> Result<bool> {
        let operation = "remove an LTI user";
        let (platform, user_id) = (namer.text(), &kept(namer, user_id));
        let mut tx = self.begin(district, operation).await?;
        lock(&mut tx, district).await?;
        let values = args![district, user_id, &platform, namer.is_case_sensitive()];
        let there = tx.execute(operation, DELETE_USER, values).await? > 0;
        if there {
            tx.execute(operation, NO_TICKETS, args![district]).await?;
            let detail = told(user_id, &platform);
            trail::write(&mut tx, &entry(district, "lti.user.remove", actor, detail, now)).await?;
        }
        tx.commit(operation).await?;
        Ok(there)
    }

    /// All of a district, by id.
    pub async fn lti_users(&self, district: &DistrictId) -> Result<Vec<LtiUser>> {
        let operation = "list the LTI users";
        let mut tx = self.read(district, operation).await?;
        let sql = "SELECT user_id, access, created_at, created_by, platform FROM lti_user WHERE district = $1 \
                   ORDER BY user_id, platform";
        let rows = tx.rows(operation, sql, args![district]).await?;
        tx.commit(operation).await?;
        rows.iter().map(user).collect()
    }

    /// What an administrator said about whoever is named so, by whichever namer, in whatever letter case. Of several spellings of
    /// one person, which older versions kept apart, the strictest counts; where another case may be another person, each is there.
    pub async fn lti_users_called(&self, district: &DistrictId, user_id: &str) -> Result<Vec<LtiUser>> {
        let operation = "find an LTI user";
        let mut tx = self.read(district, operation).await?;
        let sql = "SELECT user_id, access, created_at, created_by, platform FROM lti_user \
                   WHERE district = $1 AND (user_id IN ($2, $3) OR lower(user_id) = $2) ORDER BY platform, user_id";
        let rows = tx.rows(operation, sql, args![district, canonical(user_id), user_id.trim()]).await?;
        tx.commit(operation).await?;
        let mut users = rows.iter().map(user).collect::<Result<Vec<LtiUser>>>()?;
        users.sort_by_key(|user| (user.namer.text(), breadth(&user.access)));
        users.dedup_by(|next, strictest| next.namer == strictest.namer && !next.namer.is_case_sensitive());
        Ok(users)
    }

    /// The student whom a launch names by the id that the SIS behind the connection `source` has for them, with or without that
    /// connection's prefix, a UUID in whatever letter case, and where they are enrolled on `today` or later. Two students of that
    /// name are nobody, and so is another source's.
    pub async fn subject(
        &self,
        district: &DistrictId,
        source: ConnectionNo,
        id: &str,
        today: NaiveDate,
    ) -> Result<Option<Subject>> {
        let operation = "find the student of a launch";
        let mut tx = self.read(district, operation).await?;
        let Some(config) = crate::districts::config(&mut tx, district, operation).await? else { return Ok(None) };
        let Some(own) = config.connection(source).map(Connection::prefix) else { return Ok(None) };
        let mut found: Option<StudentId> = None;
        for prefix in BTreeSet::from(["", own]) {
            let Some(student) = student_named(&mut tx, district, source, prefix, id).await? else { continue };
            match &found {
                Some(other) if *other != student => return Ok(None),
                _ => found = Some(student),
            }
        }
        let Some(student_id) = found else { return Ok(None) };
        let found = subject(&mut tx, &config, student_id, today).await?;
        tx.commit(operation).await?;
        Ok(Some(found))
    }

    /// The student with this very id of the roster, or who once had it, and where they are enrolled on `today` or later.
    pub async fn subject_with_id(
        &self,
        district: &DistrictId,
        student_id: &StudentId,
        today: NaiveDate,
    ) -> Result<Option<Subject>> {
        let operation = "find the student of a launch";
        let mut tx = self.read(district, operation).await?;
        let Some(config) = crate::districts::config(&mut tx, district, operation).await? else { return Ok(None) };
        let student_id = rekeyed::today(&mut tx, district, student_id).await?;
        let sql = "SELECT student_id FROM student WHERE district = $1 AND student_id = $2";
        if tx.row(operation, sql, args![district, &student_id]).await?.is_none() {
            return Ok(None);
        }
        let found = subject(&mut tx, &config, student_id, today).await?;
        tx.commit(operation).await?;
        Ok(Some(found))
    }
}

/// Lets the lists of students that administrators made follow students to the ids that their SIS has given them: each of
/// `old` that has moved counts as its `new`.
pub(crate) async fn follow(tx: &mut Tx, district: &DistrictId, old: &[String], new: &[String]) -> Result<()> {
    let operation = "let lists of students follow a move";
    let sql = "SELECT user_id, access, platform FROM lti_user WHERE district = $1 ORDER BY user_id, platform";
    let mut lists = Vec::new();
    for row in tx.rows(operation, sql, args![district]).await? {
        // What cannot be read lets nobody see anything, and is no reason to leave students where they were.
        let Ok(access) = serde_json::from_str::<UserAccess>(&row.get::<String>(1)?) else { continue };
        if let StudentScope::Students(ids) = &access.students
            && ids.iter().any(|id| old.contains(id))
        {
            lists.push((row.get::<String>(0)?, row.get::<String>(2)?, access));
        }
    }
    if lists.is_empty() {
        return Ok(());
    }
    let mut moved = BTreeMap::new();
    for (old, new) in old.iter().zip(new) {
        let today = rekeyed::today(tx, district, &StudentId(old.clone())).await?;
        if today.0 == *new {
            moved.insert(old.as_str(), new);
        }
    }
    for (user_id, platform, mut access) in lists {
        if !renamed(&mut access, &moved) {
            continue;
        }
        let text = serde_json::to_string(&access).map_err(|error| json_unreadable("LTI user", &error))?;
        let sql = "UPDATE lti_user SET access = $4 WHERE district = $1 AND platform = $2 AND user_id = $3";
        tx.execute(operation, sql, args![district, platform, user_id, text]).await?;
    }
    Ok(())
}

/// Lets what an administrator said about people follow them to the ids that their SIS has given them; of several spellings the
/// strictest. What was said of a new id already is newer and stays. People whom a platform names by its own numbers stay.
pub(crate) async fn follow_people(
    tx: &mut Tx,
    district: &DistrictId,
    run: RunId,
    moved: &[PersonMoved],
    now: DateTime<Utc>,
) -> Result<()> {
    let operation = "let what was said about people follow a move";
    let said = "SELECT user_id, access, created_at, created_by, platform FROM lti_user \
                WHERE district = $1 AND platform = $3 AND (user_id = $2 OR lower(user_id) = $2) ORDER BY user_id";
    for PersonMoved { of, old, new } in moved {
        let platform = of.map_or(Namer::Unclear, Namer::Source).text();
        let (old, new) = (canonical(old), canonical(new));
        if tx.row(operation, said, args![district, &new, &platform]).await?.is_some() {
            continue;
        }
        let rows = tx.rows(operation, said, args![district, &old, &platform]).await?;
        let users = rows.iter().map(user).collect::<Result<Vec<LtiUser>>>()?;
        let Some(strictest) = users.into_iter().min_by_key(|user| breadth(&user.access)) else { continue };
        let sql = "UPDATE lti_user SET user_id = $4 WHERE district = $1 AND platform = $2 AND user_id = $3";
        tx.execute(operation, sql, args![district, &platform, strictest.user_id, &new]).await?;
        // Other spellings would follow later, when nothing is said of the new id any more.
        let rest = "DELETE FROM lti_user WHERE district = $1 AND platform = $2 AND lower(user_id) = $3";
        tx.execute(operation, rest, args![district, &platform, &old]).await?;
        let detail = format!("{} now={new}", told(&old, &platform));
        trail::write(tx, &entry(district, "lti.user.move", &format!("run {run}"), detail, now)).await?;
    }
    Ok(())
}

/// Puts today's ids in place of those of before, each once. False: none of them has moved.
fn renamed(access: &mut UserAccess, moved: &BTreeMap<&str, &String>) -> bool {
    let StudentScope::Students(ids) = &mut access.students else { return false };
    let before = ids.clone();
    for id in ids.iter_mut() {
        if let Some(new) = moved.get(id.as_str()) {
            id.clone_from(new);
        }
    }
    let mut seen = BTreeSet::new();
    ids.retain(|id| seen.insert(id.clone()));
    *ids != before
}

/// The students of a list as the roster spells them.
async fn named_by_roster(tx: &mut Tx, district: &DistrictId, access: &UserAccess) -> Result<UserAccess> {
    let mut access = access.clone();
    if let StudentScope::Students(students) = &mut access.students {
        for student in students {
            *student = rekeyed::meant(tx, district, &StudentId(student.clone())).await?.0;
        }
    }
    Ok(access)
}

async fn student_named(
    tx: &mut Tx,
    district: &DistrictId,
    source: ConnectionNo,
    prefix: &str,
    id: &str,
) -> Result<Option<StudentId>> {
    let operation = "find the student of a launch";
    let sql = "SELECT student_id FROM student WHERE district = $1 AND student_id IN ($2, $3, $4) AND connection = $5 \
               ORDER BY student_id <> $2, student_id LIMIT 1";
    let spellings = spellings(id).map(|id| format!("{prefix}{id}"));
    let [own, small, capital] = spellings.clone();
    let row = tx.row(operation, sql, args![district, own, small, capital, source]).await?;
    if let Some(row) = row {
        return row.get(0).map(|id| Some(StudentId(id)));
    }
    for spelling in spellings.map(StudentId) {
        let student = rekeyed::today(tx, district, &spelling).await?;
        let sql = "SELECT 1 FROM student WHERE district = $1 AND student_id = $2 AND connection = $3";
        if student != spelling && tx.row(operation, sql, args![district, &student, source]).await?.is_some() {
            return Ok(Some(student));
        }
    }
    Ok(None)
}

/// An id as it is given, in small and in capital letters. Of an id that is no UUID another case is another id, and may be another
/// child's.
fn spellings(id: &str) -> [String; 3] {
    let is_uuid = id.len() == uuid::fmt::Hyphenated::LENGTH && uuid::Uuid::try_parse(id).is_ok();
    if is_uuid { [id.to_owned(), id.to_lowercase(), id.to_uppercase()] } else { [id; 3].map(str::to_owned) }
}

async fn subject(tx: &mut Tx, config: &District, student_id: StudentId, today: NaiveDate) -> Result<Subject> {
    let earlier_ids = rekeyed::earlier(tx, &config.id, &student_id).await?;
    let nowhere = Subject { student_id, earlier_ids, connection: 0, schools: Vec::new(), entities: Vec::new() };
    places(tx, config, nowhere, today).await
}

/// Puts schools and entities to a student. One whom the source lists no more is nowhere, whatever the enrollments last said, and so
/// is one whom no enrollment, current or future, keeps: only these are ENROLLED or PRE_ENROLLED.
async fn places(tx: &mut Tx, config: &District, nowhere: Subject, today: NaiveDate) -> Result<Subject> {
    let operation = "find the schools of a student";
    let sql = "SELECT connection FROM student WHERE district = $1 AND student_id = $2 AND missing_since IS NULL \
               AND status IN ($3, $4)";
    let attending = [Status::Enrolled, Status::PreEnrolled].map(Status::as_str);
    let values = args![&config.id, &nowhere.student_id, attending[0], attending[1]];
    let Some(row) = tx.row(operation, sql, values).await? else { return Ok(nowhere) };
    let mut subject = Subject { connection: row.get(0)?, ..nowhere };
    let sql = "SELECT school, entity, school_year, entry_date, withdrawal_date, withdrawal_code, no_show FROM enrollment \
               WHERE district = $1 AND student_id = $2 AND listed";
    let rows = tx.rows(operation, sql, args![&config.id, &subject.student_id]).await?;
    let stays = rows.iter().map(stay).collect::<Result<Vec<Stay>>>()?;
    let last = baselines::read(tx, &config.id, ConnectionNo(subject.connection)).await?;
    let calendar = Calendar { today, years: &last.unwrap_or_default() };
    for (school, entity) in whereabouts(&stays, &policy_of(config, subject.connection), &calendar) {
        subject.schools.extend(school.into_iter().flat_map(|code| called(config, subject.connection, code.to_owned())));
        subject.entities.push(entity.to_owned());
    }
    Ok(subject)
}

/// An enrollment, as far as it tells where a student is.
struct Stay {
    school: Option<String>,
    entity: String,
    school_year: Option<i32>,
    entry: Option<NaiveDate>,
    end: Option<NaiveDate>,
    code: Option<String>,
    no_show: bool,
}

fn stay(row: &Row) -> Result<Stay> {
    Ok(Stay {
        school: row.get(0)?,
        entity: row.get(1)?,
        school_year: row.get(2)?,
        entry: row.get(3)?,
        end: row.get(4)?,
        code: row.get(5)?,
        no_show: row.get(6)?,
    })
}

/// Schools and entities of the enrollments that the rules of status count as current or future, as far as the record tells: none
/// with an ignored code, none that was over before it began, no no-show, and none of a school year that `calendar` leaves out.
fn whereabouts<'s>(
    stays: &'s [Stay],
    policy: &StatusPolicy,
    calendar: &Calendar<'_>,
) -> BTreeSet<(Option<&'s str>, &'s str)> {
    let is_last_day = policy.withdrawal_date_is == Some(WithdrawalDateIs::LastDayEnrolled);
    let is_over = |end: NaiveDate, on: NaiveDate| if is_last_day { end < on } else { end <= on };
    let ignored = |stay: &Stay| stay.code.as_deref().is_some_and(|code| is_ignored(policy, code));
    let was_never = |stay: &Stay| stay.entry.zip(stay.end).is_some_and(|(entry, end)| is_over(end, entry));
    let counted: Vec<&Stay> = stays.iter().filter(|stay| !ignored(stay) && !was_never(stay)).collect();
    let has_left = |stay: &Stay| stay.end.is_some_and(|end| is_over(end, calendar.today));
    let newest = counted.iter().filter(|stay| calendar.has_begun(stay)).filter_map(|stay| stay.school_year).max();
    let admits = |stay: &Stay| calendar.admits(stay, policy.school_years, newest);
    let there = counted.into_iter().filter(|stay| !stay.no_show && !has_left(stay) && admits(stay));
    there.map(|stay| (stay.school.as_deref(), stay.entity.as_str())).collect()
}

/// What tells whether an enrollment's school year counts.
struct Calendar<'a> {
    today: NaiveDate,
    /// Each entity's current year, as the last run that was whole found it; entities flip years one by one.
    years: &'a Baseline,
}

impl Calendar<'_> {
    fn has_begun(&self, stay: &Stay) -> bool {
        stay.entry.is_none_or(|entry| entry <= self.today)
    }

    /// As the classifier places an enrollment that is not over: one of its entity's current year, one of an earlier year that is in
    /// force and has an end, and where next year's count, one of it that has not begun. Where the entity's current year is not known,
    /// nobody closed what is of a year before the `newest` that has begun for the student.
    fn admits(&self, stay: &Stay, admitted: SchoolYears, newest: Option<i32>) -> bool {
        let Some(year) = stay.school_year else { return true };
        let Some(current) = self.years.current_year(&stay.entity) else {
            return stay.end.is_some() || Some(year) >= newest;
        };
        let is_next = year == current.saturating_add(1) && admitted == SchoolYears::CurrentAndNext;
        match year.cmp(&current) {
            Ordering::Less => stay.end.is_some() && self.has_begun(stay),
            Ordering::Equal => true,
            Ordering::Greater => is_next && !self.has_begun(stay),
        }
    }
}

/// Of a course at another campus, as the classifier compares codes.
fn is_ignored(policy: &StatusPolicy, code: &str) -> bool {
    let code = code.trim().to_lowercase();
    !code.is_empty() && policy.ignore_withdrawal_codes.iter().any(|ignored| ignored.trim().to_lowercase() == code)
}

/// How a connection's enrollments are read. One that the file has no more is read strictly.
fn policy_of(config: &District, connection: u16) -> StatusPolicy {
    let connection = config.connection(ConnectionNo(connection));
    connection.map_or_else(|| config.status.clone(), |connection| config.status.for_kind(connection.kind))
}

/// What an administrator may call a school of a connection: schools of two sources may have one code, so that it stands after
/// the prefix like students' ids. Where there is one source, its own code means it too. A source that the file has no more has no
/// schools that anybody could mean.
fn called(config: &District, connection: u16, code: String) -> Vec<String> {
    let Some(source) = config.connections.get(usize::from(connection)) else { return Vec::new() };
    let prefix = source.prefix();
    if prefix.is_empty() {
        return vec![code];
    }
    let with_prefix = format!("{prefix}{code}");
    if config.connections.len() == 1 { vec![code, with_prefix] } else { vec![with_prefix] }
}

fn user(row: &Row) -> Result<LtiUser> {
    let access: String = row.get(1)?;
    Ok(LtiUser {
        namer: Namer::read(&row.get::<String>(4)?),
        user_id: row.get(0)?,
        access: serde_json::from_str(&access).map_err(|error| json_unreadable("LTI user", &error))?,
        created_at: row.get(2)?,
        created_by: row.get(3)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strictest_word_comes_first() {
        let access = |students, programs: &[&str]| UserAccess {
            students,
            programs: programs.iter().map(ToString::to_string).collect(),
        };
        let ordered = [
            access(StudentScope::Nobody, &[]),
            access(StudentScope::Students(vec!["S1".to_owned()]), &[]),
            access(StudentScope::Schools(vec!["010".to_owned()]), &[]),
            access(StudentScope::Everybody, &["Section 504"]),
            access(StudentScope::Everybody, &[]),
        ];
        assert!(ordered.is_sorted_by(|a, b| breadth(a) < breadth(b)));
    }
}
