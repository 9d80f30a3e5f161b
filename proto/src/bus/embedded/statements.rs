//! The SQL of the embedded bus, a function for each thing done. All of them run inside the writer's transaction, apart
//! from the counts and the listing of parked messages.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use sqlx::{QueryBuilder, Row as _, Sqlite, SqliteConnection, SqlitePool, sqlite::SqliteRow};
use uuid::Uuid;

use super::NewRow;
use crate::{
    bus::{Label, Parked, ParkedCopy, ParkedFilter},
    clock::{Clock as _, SystemClock},
    codec::{Encoding, Wire},
    handler::Park,
    id::RunId,
    topology::{DELIVERY_LIMIT, Queue},
};

type Done<T> = Result<T, sqlx::Error>;

/// Rows in one INSERT: beyond a few dozen the statement gets longer but not faster.
const ROWS_AT_ONCE: usize = 32;

pub(super) const COUNT_MESSAGES: &str = "SELECT queue, count(*) FROM messages GROUP BY queue";
pub(super) const COUNT_PARKED: &str = "SELECT queue, count(*) FROM parked GROUP BY queue";

/// Microseconds since 1970, as `due` and `parked_at` are kept.
pub(super) fn now_micros() -> i64 {
    SystemClock.now().timestamp_micros()
}

/// Where a message lies, and which it is: when it is gone, its place may be another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(super) seq: i64,
    pub(super) id: Uuid,
}

/// A claimed message.
#[derive(Debug)]
pub(super) struct Claimed {
    pub(super) place: Place,
    pub(super) attempt: u32,
    pub(super) label: Label,
    pub(super) wire: Wire,
    deliveries: u32,
}

impl Claimed {
    fn of(row: &SqliteRow) -> Done<Self> {
        let encoding: Option<String> = row.try_get("encoding")?;
        let body: Vec<u8> = row.try_get("body")?;
        let label = label(row)?;
        Ok(Self {
            place: Place { seq: row.try_get("seq")?, id: label.id },
            attempt: row.try_get("attempt")?,
            label,
            wire: Wire { bytes: body.into(), encoding: Encoding::parse(encoding.as_deref()) },
            deliveries: row.try_get("deliveries")?,
        })
    }
}

fn label(row: &SqliteRow) -> Done<Label> {
    Ok(Label {
        id: row.try_get("id")?,
        kind: row.try_get("kind")?,
        district: row.try_get::<String, _>("district")?.parse().ok(),
        run: Some(RunId(row.try_get::<Uuid, _>("run")?)),
    })
}

/// Stores messages, each in its district's next turn.
pub(super) async fn publish(connection: &mut SqliteConnection, rows: &[NewRow]) -> Done<()> {
    let mut seq = next_seq(connection).await?;
    let mut turns: HashMap<(Queue, &str), i64> = HashMap::new();
    for chunk in rows.chunks(ROWS_AT_ONCE) {
        let mut placed = Vec::with_capacity(chunk.len());
        for row in chunk {
            let key = (row.queue, row.district.as_str());
            let turn = match turns.get(&key) {
                Some(turn) => turn + 1,
                None => first_turn(connection, row.queue, &row.district).await?,
            };
            turns.insert(key, turn);
            placed.push((seq, turn, row));
            seq += 1;
        }
        insert(connection, &placed).await?;
    }
    Ok(())
}

async fn next_seq(connection: &mut SqliteConnection) -> Done<i64> {
    sqlx::query("SELECT coalesce(max(seq), 0) + 1 FROM messages").fetch_one(connection).await?.try_get(0)
}

/// Fair queueing: a district's next message comes after its own last one, but no earlier than where the queue now is. So
/// the ten messages of a small district stand among the first twenty of a huge one, and none waits for all of them.
async fn first_turn(connection: &mut SqliteConnection, queue: Queue, district: &str) -> Done<i64> {
    const SQL: &str = "SELECT max(
        coalesce((SELECT min(turn) FROM messages WHERE queue = ?1 AND state = 0), 0),
        coalesce((SELECT max(turn) + 1 FROM messages WHERE queue = ?1 AND district = ?2), 0))";
    sqlx::query(SQL).bind(queue.name()).bind(district).fetch_one(connection).await?.try_get(0)
}

async fn insert(connection: &mut SqliteConnection, placed: &[(i64, i64, &NewRow)]) -> Done<()> {
    let mut messages: QueryBuilder<Sqlite> = QueryBuilder::new(
        "INSERT INTO messages (seq, queue, id, district, run, kind, traceparent, encoding, attempt, turn) ",
    );
    messages.push_values(placed, |mut values, (seq, turn, row)| {
        values.push_bind(*seq).push_bind(row.queue.name()).push_bind(row.id).push_bind(&row.district);
        values.push_bind(row.run).push_bind(row.kind).push_bind(&row.traceparent);
        values.push_bind(row.wire.encoding.name()).push_bind(row.attempt).push_bind(*turn);
    });
    messages.build().execute(&mut *connection).await?;
    let mut bodies: QueryBuilder<Sqlite> = QueryBuilder::new("INSERT INTO bodies (seq, body) ");
    bodies.push_values(placed, |mut values, (seq, _, row)| {
        values.push_bind(*seq).push_bind(&row.wire.bytes[..]);
    });
    bodies.build().execute(connection).await?;
    Ok(())
}

/// Makes ready what was put off until now, and what was leased to somebody who is gone.
async fn promote(connection: &mut SqliteConnection) -> Done<()> {
    const SQL: &str = "UPDATE messages SET state = 0, lease = 0 WHERE state <> 0 AND due <= ?1";
    sqlx::query(SQL).bind(now_micros()).execute(connection).await?;
    Ok(())
}

/// Leases up to `limit` ready messages, and parks those that have been delivered too often without being settled.
pub(super) async fn claim(
    connection: &mut SqliteConnection,
    queue: Queue,
    limit: u16,
    lease: i64,
    until: i64,
) -> Done<Vec<Claimed>> {
    const SELECT: &str = "SELECT m.*, b.body FROM messages m JOIN bodies b ON b.seq = m.seq
        WHERE m.queue = ?1 AND m.state = 0 ORDER BY m.turn, m.seq LIMIT ?2";
    const LEASE: &str = "UPDATE messages SET state = 2, lease = ?1, due = ?2, deliveries = deliveries + 1
        WHERE seq IN (SELECT value FROM json_each(?3))";
    promote(connection).await?;
    let rows = sqlx::query(SELECT).bind(queue.name()).bind(limit).fetch_all(&mut *connection).await?;
    let rows = rows.iter().map(Claimed::of).collect::<Done<Vec<_>>>()?;
    if rows.is_empty() {
        return Ok(rows);
    }
    sqlx::query(LEASE)
        .bind(lease)
        .bind(until)
        .bind(json(rows.iter().map(|row| row.place.seq)))
        .execute(&mut *connection)
        .await?;
    let (poison, sound): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.deliveries > DELIVERY_LIMIT);
    for row in poison {
        let detail = format!("delivered {} times and never settled", row.deliveries);
        park(connection, row.place, lease, &Park { reason: "delivery-limit", detail }).await?;
    }
    Ok(sound)
}

fn json(seqs: impl Iterator<Item = i64>) -> String {
    let list: Vec<String> = seqs.map(|seq| seq.to_string()).collect();
    format!("[{}]", list.join(","))
}

/// Removes a message that is done.
pub(super) async fn ack(connection: &mut SqliteConnection, place: Place, lease: i64) -> Done<()> {
    const SQL: &str = "DELETE FROM messages WHERE seq = ?1 AND id = ?2 AND lease = ?3";
    sqlx::query(SQL).bind(place.seq).bind(place.id).bind(lease).execute(connection).await?;
    Ok(())
}

/// Puts a message off.
pub(super) async fn retry(
    connection: &mut SqliteConnection,
    place: Place,
    lease: i64,
    due: i64,
    failed: bool,
) -> Done<()> {
    const SQL: &str = "UPDATE messages SET state = 1, lease = 0, due = ?4, attempt = attempt + ?5, deliveries = 0
        WHERE seq = ?1 AND id = ?2 AND lease = ?3";
    let update = sqlx::query(SQL).bind(place.seq).bind(place.id).bind(lease).bind(due).bind(i64::from(failed));
    update.execute(connection).await?;
    Ok(())
}

/// Keeps a message aside.
pub(super) async fn park(connection: &mut SqliteConnection, place: Place, lease: i64, park: &Park) -> Done<()> {
    const SQL: &str = "INSERT INTO parked
        (queue, id, district, run, kind, traceparent, encoding, reason, detail, parked_at, body)
        SELECT m.queue, m.id, m.district, m.run, m.kind, m.traceparent, m.encoding, ?4, ?5, ?6, b.body
        FROM messages m JOIN bodies b ON b.seq = m.seq WHERE m.seq = ?1 AND m.id = ?2 AND m.lease = ?3";
    let insert = sqlx::query(SQL).bind(place.seq).bind(place.id).bind(lease);
    let insert = insert.bind(park.reason).bind(&park.detail).bind(now_micros());
    insert.execute(&mut *connection).await?;
    ack(connection, place, lease).await
}

/// Gives a subscription's leases back. What it never handed out was not delivered.
pub(super) async fn release(connection: &mut SqliteConnection, lease: i64, unseen: &[Place]) -> Done<()> {
    const UNSEEN: &str = "UPDATE messages SET deliveries = deliveries - 1
        WHERE lease = ?1 AND state = 2 AND seq IN (SELECT value FROM json_each(?2))";
    const FREE: &str = "UPDATE messages SET state = 0, lease = 0 WHERE lease = ?1 AND state = 2";
    sqlx::query(UNSEEN).bind(lease).bind(json(unseen.iter().map(|place| place.seq))).execute(&mut *connection).await?;
    sqlx::query(FREE).bind(lease).execute(connection).await?;
    Ok(())
}

/// Renews a subscription's leases.
pub(super) async fn extend(connection: &mut SqliteConnection, lease: i64, until: i64) -> Done<()> {
    const SQL: &str = "UPDATE messages SET due = ?2 WHERE lease = ?1 AND state = 2";
    sqlx::query(SQL).bind(lease).bind(until).execute(connection).await?;
    Ok(())
}

/// Frees every lease.
pub(super) async fn recover(connection: &mut SqliteConnection) -> Done<u64> {
    let done = sqlx::query("UPDATE messages SET state = 0, lease = 0 WHERE state = 2").execute(connection).await?;
    Ok(done.rows_affected())
}

/// Empties a queue.
pub(super) async fn purge(connection: &mut SqliteConnection, queue: Queue) -> Done<u64> {
    let done = sqlx::query("DELETE FROM messages WHERE queue = ?1 AND state <> 2").bind(queue.name());
    Ok(done.execute(connection).await?.rows_affected())
}

/// Throws away what waits for a district, with whomever it is.
pub(super) async fn forget(connection: &mut SqliteConnection, district: &str) -> Done<u64> {
    let done = sqlx::query("DELETE FROM messages WHERE district = ?1").bind(district).execute(connection).await?;
    Ok(done.rows_affected())
}

/// Writes the file anew without what was ever deleted from it, and empties the log beside it. Outside a transaction.
pub(super) async fn scrub(connection: &mut SqliteConnection) -> Done<()> {
    sqlx::raw_sql("VACUUM").execute(&mut *connection).await?;
    let row = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(connection).await?;
    match row.try_get::<i64, _>(0)? {
        0 => Ok(()),
        _ => Err(sqlx::Error::Io(std::io::Error::other("another process reads what was there before"))),
    }
}

/// What a replay has put back to work.
#[derive(Debug, Default)]
pub(super) struct Replayed {
    pub(super) messages: Vec<Parked>,
    /// Other copies of them, which were parked then.
    pub(super) left: BTreeSet<ParkedCopy>,
}

/// Puts parked messages back to work.
pub(super) async fn replay(connection: &mut SqliteConnection, queue: Queue, filter: &ParkedFilter) -> Done<Replayed> {
    let found = find_parked(connection, queue, filter).await?;
    for (parked_seq, parked) in &found {
        let district = parked.district.as_ref().map_or("", |district| district.as_str());
        let turn = first_turn(connection, queue, district).await?;
        unpark(connection, *parked_seq, turn).await?;
    }
    let ids = found.iter().map(|(_, parked)| parked.id).collect();
    let copies = ParkedFilter { ids: Some(ids), ..ParkedFilter::default() };
    let left = find_parked(connection, queue, &copies).await?;
    Ok(Replayed {
        messages: found.into_iter().map(|(_, parked)| parked).collect(),
        left: left.iter().map(|(_, parked)| parked.copy()).collect(),
    })
}

/// Throws parked messages away.
pub(super) async fn discard(
    connection: &mut SqliteConnection,
    queue: Queue,
    filter: &ParkedFilter,
) -> Done<Vec<Parked>> {
    let found = find_parked(connection, queue, filter).await?;
    sqlx::query("DELETE FROM parked WHERE seq IN (SELECT value FROM json_each(?1))")
        .bind(json(found.iter().map(|(seq, _)| *seq)))
        .execute(connection)
        .await?;
    Ok(found.into_iter().map(|(_, parked)| parked).collect())
}

async fn unpark(connection: &mut SqliteConnection, parked_seq: i64, turn: i64) -> Done<()> {
    const MESSAGE: &str = "INSERT INTO messages
        (seq, queue, id, district, run, kind, traceparent, encoding, attempt, turn)
        SELECT ?2, queue, id, district, run, kind, traceparent, encoding, 0, ?3 FROM parked WHERE seq = ?1";
    const BODY: &str = "INSERT INTO bodies (seq, body) SELECT ?2, body FROM parked WHERE seq = ?1";
    let seq = next_seq(connection).await?;
    sqlx::query(MESSAGE).bind(parked_seq).bind(seq).bind(turn).execute(&mut *connection).await?;
    sqlx::query(BODY).bind(parked_seq).bind(seq).execute(&mut *connection).await?;
    sqlx::query("DELETE FROM parked WHERE seq = ?1").bind(parked_seq).execute(connection).await?;
    Ok(())
}

/// Parked messages that the filter admits, oldest first, with the row of each.
pub(super) async fn find_parked(
    connection: &mut SqliteConnection,
    queue: Queue,
    filter: &ParkedFilter,
) -> Done<Vec<(i64, Parked)>> {
    const SQL: &str = "SELECT seq, id, district, run, kind, reason, detail, parked_at FROM parked
        WHERE queue = ?1 ORDER BY seq";
    let rows = sqlx::query(SQL).bind(queue.name()).fetch_all(connection).await?;
    let all = rows.iter().map(|row| parked(queue, row)).collect::<Done<Vec<_>>>()?;
    let admitted = all.into_iter().filter(|(_, parked)| filter.admits(parked));
    Ok(admitted.take(filter.limit.unwrap_or(usize::MAX)).collect())
}

fn parked(queue: Queue, row: &SqliteRow) -> Done<(i64, Parked)> {
    let Label { id, kind, district, run } = label(row)?;
    let (reason, detail, parked_at) = (row.try_get("reason")?, row.try_get("detail")?, parked_at(row)?);
    Ok((row.try_get("seq")?, Parked { id, queue, kind, reason, detail, district, run, parked_at }))
}

/// Where messages are. Those in neither set are done.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// In their queue, ready, put off, or with a consumer: how many of each.
    pub(super) waiting: BTreeMap<Uuid, usize>,
    /// Kept aside.
    pub(super) parked: BTreeSet<ParkedCopy>,
}

/// Looks for messages by id.
pub(super) async fn places(readers: &SqlitePool, queue: Queue, of: &BTreeMap<Uuid, usize>) -> Done<Places> {
    const WAITING: &str = "SELECT id FROM messages WHERE queue = ?1";
    const PARKED: &str = "SELECT id, parked_at FROM parked WHERE queue = ?1";
    // One snapshot: a message on its way from one table to the other is in one of them.
    let mut snapshot = readers.begin().await?;
    let mut places = Places::default();
    for row in sqlx::query(WAITING).bind(queue.name()).fetch_all(&mut *snapshot).await? {
        let id: Uuid = row.try_get(0)?;
        if of.contains_key(&id) {
            *places.waiting.entry(id).or_default() += 1;
        }
    }
    for row in sqlx::query(PARKED).bind(queue.name()).fetch_all(&mut *snapshot).await? {
        let copy = ParkedCopy { id: row.try_get(0)?, parked_at: parked_at(&row)? };
        if of.contains_key(&copy.id) {
            places.parked.insert(copy);
        }
    }
    Ok(places)
}

fn parked_at(row: &SqliteRow) -> Done<DateTime<Utc>> {
    Ok(DateTime::from_timestamp_micros(row.try_get("parked_at")?).unwrap_or_default())
}

/// Whether a claim would find something. Only looks, so that an idle process takes no write lock.
pub(super) async fn anything_to_claim(readers: &SqlitePool, queue: Queue) -> Done<bool> {
    const SQL: &str = "SELECT EXISTS (SELECT 1 FROM messages WHERE queue = ?1 AND state = 0)
        OR EXISTS (SELECT 1 FROM messages WHERE state <> 0 AND due <= ?2)";
    let row = sqlx::query(SQL).bind(queue.name()).bind(now_micros()).fetch_one(readers).await?;
    row.try_get::<bool, _>(0)
}

/// When the oldest message of each queue was made: its id says so.
pub(super) async fn oldest(readers: &SqlitePool) -> Done<Vec<(Queue, DateTime<Utc>)>> {
    let rows = sqlx::query("SELECT queue, min(id) FROM messages GROUP BY queue").fetch_all(readers).await?;
    let mut oldest = Vec::with_capacity(rows.len());
    for row in &rows {
        let made = row.try_get::<Uuid, _>(1)?.get_timestamp().map(|made| made.to_unix());
        let made = made.and_then(|(seconds, nanos)| DateTime::from_timestamp(i64::try_from(seconds).ok()?, nanos));
        oldest.extend(Queue::parse(&row.try_get::<String, _>(0)?).zip(made));
    }
    Ok(oldest)
}

/// Rows by queue.
pub(super) async fn counts(readers: &SqlitePool, sql: &'static str) -> Done<BTreeMap<String, u64>> {
    let rows = sqlx::query(sql).fetch_all(readers).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get::<i64, _>(1)?.unsigned_abs()))).collect()
}
