//! Applying a batch of events: roster, history and counters in one transaction.
//!
//! Neighbours: [`change`] decides which rows an event means, [`rows`] and [`bulk`] write them, [`settle`] accounts for
//! the batch, [`parked`] keeps what the database refused.
//!
//! Invariants: a batch is settled once, however often it is delivered; an older run never overwrites a newer; a
//! student that the database refuses is parked alone, and the rest of the batch goes through.
//!
//! A batch is tried in up to three ways, each a transaction of its own, the cheapest first: plain inserts where all
//! students are new; comparison with the stored rows; and the same in ever smaller halves, until the refused student
//! stands alone. So the first night pays neither for reading nor for savepoints.
//!
//! A batch that fails in all of these ways, and goes on failing, is settled in the way of [`alone`].
//!
//! Batches that wait together go in one transaction, by the cheaper of the first two ways for each; where that fails, the
//! caller tries them one by one.

mod alone;
pub(crate) mod bulk;
pub(crate) mod change;
mod parked;
mod postgres;
mod rekey;
pub(crate) mod rows;
mod settle;
mod sqlite;

use chrono::{DateTime, SubsecRound, Utc};
use rollcall_proto::{
    id::{DistrictId, RunId, StudentId},
    message::{Change, StudentEvent, StudentEvents},
};

pub use self::parked::{ParkedStudent, ParkedStudents, ReplayRefused, Replayed};
use self::{
    alone::Blame,
    bulk::OnConflict,
    change::{Decision, Writes},
    settle::{Head, Tally},
};
use crate::{
    Store, StoreError,
    plan::BatchOutcome,
    roster::{
        load::{self, Intent},
        stored::Stored,
    },
    sql::{Tx, args},
};

type Result<T> = std::result::Result<T, StoreError>;

/// What a statement is for, in errors.
const OPERATION: &str = "apply a batch";

/// Reason code of an event without a record for a student who is not stored.
const NOT_STORED: &str = "student-not-stored";

/// Reason code of an event that the database refused.
const REFUSED: &str = "database-refused";

/// How a batch is tried; see the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Insert,
    Compare,
    Halve,
}

impl Store {
    /// Applies a batch in one transaction: roster, history, counters. A student the database refuses is parked alone.
    pub async fn apply_batch(
        &self,
        district: &DistrictId,
        run: RunId,
        events: &StudentEvents,
        now: DateTime<Utc>,
    ) -> Result<BatchOutcome> {
        let batch = Batch::new(district, run, events, now);
        for way in [Way::Insert, Way::Compare] {
            if way == Way::Insert && !batch.is_all_new() {
                continue;
            }
            match batch.attempt(self, way).await {
                Err(error) if concerns_rows(&error) => {}
                done => return done,
            }
        }
        batch.attempt(self, Way::Halve).await
    }

    /// Applies batches of one run in one transaction: all of them, or none. The outcome is that of all together.
    ///
    /// # Errors
    /// Also where the database refuses a student, whom only [`Store::apply_batch`] parks.
    pub async fn apply_batches(
        &self,
        district: &DistrictId,
        run: RunId,
        messages: &[&StudentEvents],
        now: DateTime<Utc>,
    ) -> Result<BatchOutcome> {
        let mut batches: Vec<_> = messages.iter().map(|events| Batch::new(district, run, events, now)).collect();
        // Two writers that got the same batches lock them in the same order.
        batches.sort_by_key(|batch| batch.message.batch);
        // Delivered twice, and both times at hand.
        batches.dedup_by_key(|batch| batch.message.batch);
        let mut tx = self.begin(district, OPERATION).await?;
        let (mut new, mut known) = (Vec::new(), Vec::new());
        for batch in &batches {
            let Some(head) = Head::lock(&mut tx, batch).await? else { continue };
            if batch.is_all_new() { new.push((batch, head)) } else { known.push((batch, head)) }
        }
        let mut settled = settle::Settled::default();
        insert(&mut tx, &new).await?;
        for (batch, head) in new {
            settled.add(&mut tx, batch, &head, Tally::applied(batch.events.len())).await?;
        }
        for (batch, head) in known {
            let tally = compare(&mut tx, district, &head, batch.now, &batch.events).await?;
            settled.add(&mut tx, batch, &head, tally).await?;
        }
        let outcome = settled.count(&mut tx, district, run, now).await?;
        tx.commit(OPERATION).await?;
        Ok(outcome)
    }
}

/// An event with its place in the message.
#[derive(Clone, Copy)]
struct Placed<'a> {
    position: usize,
    event: &'a StudentEvent,
}

/// A batch to be applied.
struct Batch<'a> {
    district: &'a DistrictId,
    run: RunId,
    message: &'a StudentEvents,
    now: DateTime<Utc>,
    /// By student id, so that two writers lock rows in the same order.
    events: Vec<Placed<'a>>,
}

impl<'a> Batch<'a> {
    fn new(district: &'a DistrictId, run: RunId, message: &'a StudentEvents, now: DateTime<Utc>) -> Self {
        let placed = |(position, event)| Placed { position, event };
        let mut events: Vec<_> = message.events.iter().enumerate().map(placed).collect();
        events.sort_by(|a, b| a.event.student_id.cmp(&b.event.student_id));
        Self { district, run, message, now: now.trunc_subsecs(6), events }
    }

    fn is_all_new(&self) -> bool {
        self.message.events.iter().all(|event| event.change == Change::Added && event.record.is_some())
    }

    async fn attempt(&self, store: &Store, way: Way) -> Result<BatchOutcome> {
        let mut tx = store.begin(self.district, OPERATION).await?;
        let Some(head) = Head::lock(&mut tx, self).await? else {
            return Ok(BatchOutcome { already_settled: true, ..BatchOutcome::default() });
        };
        let locked = [(self, head)];
        let [(_, head)] = &locked;
        let tally = match way {
            Way::Insert => {
                insert(&mut tx, &locked).await?;
                Tally::applied(self.events.len())
            }
            Way::Compare => compare(&mut tx, self.district, head, self.now, &self.events).await?,
            Way::Halve => self.halve(&mut tx, head, &self.events, of_rows).await?,
        };
        self.settle(tx, head, tally).await
    }

    /// Accounts for what became of the batch, and makes all of it last.
    async fn settle(&self, mut tx: Tx, head: &Head, tally: Tally<'a>) -> Result<BatchOutcome> {
        let mut settled = settle::Settled::default();
        settled.add(&mut tx, self, head, tally).await?;
        let outcome = settled.count(&mut tx, self.district, self.run, self.now).await?;
        tx.commit(OPERATION).await?;
        Ok(outcome)
    }

    /// Compares and writes in ever smaller parts, until what is refused stands alone. `blame` says what of it is parked, or gives
    /// back the error that ends the attempt.
    async fn halve(
        &self,
        tx: &mut Tx,
        head: &Head,
        events: &[Placed<'a>],
        blame: fn(StoreError) -> Result<Blame>,
    ) -> Result<Tally<'a>> {
        let mut tally = Tally::default();
        let mut waiting = vec![events];
        while let Some(part) = waiting.pop() {
            let error = match compare_in_savepoint(tx, self.district, head, self.now, part).await {
                Ok(done) => {
                    tally.add(done);
                    continue;
                }
                Err(error) => error,
            };
            let blame = blame(error)?;
            match part {
                [one] => tally.park(*one, blame.reason, &blame.detail),
                part => {
                    let (left, right) = part.split_at(part.len() / 2);
                    waiting.extend([right, left]);
                }
            }
        }
        Ok(tally)
    }
}

/// All students are new: plain inserts of all batches together, which the database refuses should one be there after all.
async fn insert(tx: &mut Tx, batches: &[(&Batch<'_>, Head)]) -> Result<()> {
    let Some((first, head)) = batches.first() else { return Ok(()) };
    let mut writes = Writes::default();
    for placed in batches.iter().flat_map(|(batch, _)| &batch.events) {
        writes.take(placed.event, None, &head.run);
    }
    for bulk in rows::all(first.district, &head.run, &head.actor, first.now, &writes)? {
        bulk.write(tx, OnConflict::Refuse, OPERATION).await?;
    }
    Ok(())
}

/// Reads what is stored, and writes what differs.
async fn compare<'a>(
    tx: &mut Tx,
    district: &DistrictId,
    head: &Head,
    now: DateTime<Utc>,
    events: &[Placed<'a>],
) -> Result<Tally<'a>> {
    rekey::rekey(tx, district, head, now, events).await?;
    let ids_of = |placed: &Placed<'a>| [Some(&placed.event.student_id), placed.event.rekeyed_from.as_ref()];
    let ids: Vec<&StudentId> = events.iter().flat_map(ids_of).flatten().collect();
    let stored = load::load(tx, district, &ids, Intent::Change).await?;
    let mut tally = Tally::default();
    let mut writes = Writes::default();
    for placed in events {
        // A newer run has written the student under the old id: nobody is there twice.
        let has_stayed = placed.event.rekeyed_from.as_ref().is_some_and(|old| find(&stored, old).is_some());
        if has_stayed {
            tally.superseded += 1;
            continue;
        }
        match writes.take(placed.event, find(&stored, &placed.event.student_id), &head.run) {
            Decision::Applied => tally.applied += 1,
            Decision::Superseded => tally.superseded += 1,
            Decision::NotStored => tally.park(*placed, NOT_STORED, "the event carries no record"),
        }
    }
    write(tx, district, head, now, &writes).await?;
    Ok(tally)
}

async fn write(tx: &mut Tx, district: &DistrictId, head: &Head, now: DateTime<Utc>, writes: &Writes<'_>) -> Result<()> {
    let [students, contacts, enrollments, history] = rows::all(district, &head.run, &head.actor, now, writes)?;
    let written = students.write(tx, OnConflict::ReplaceOlder, OPERATION).await?;
    if written != students.rows as u64 {
        return Err(overtaken());
    }
    contacts.write(tx, OnConflict::Replace, OPERATION).await?;
    enrollments.write(tx, OnConflict::Replace, OPERATION).await?;
    history.write(tx, OnConflict::Keep, OPERATION).await?;
    Ok(())
}

/// A newer run added the same students between our look and our write. Passes: the next try sees them.
fn overtaken() -> StoreError {
    let source = sqlx::Error::Protocol("a newer run wrote the same students at the same moment".to_owned());
    StoreError::Unavailable { operation: OPERATION, source }
}

/// [`compare`], undone if it fails.
async fn compare_in_savepoint<'a>(
    tx: &mut Tx,
    district: &DistrictId,
    head: &Head,
    now: DateTime<Utc>,
    events: &[Placed<'a>],
) -> Result<Tally<'a>> {
    tx.execute(OPERATION, "SAVEPOINT part", args![]).await?;
    let done = compare(tx, district, head, now, events).await;
    if done.is_err() {
        tx.execute(OPERATION, "ROLLBACK TO SAVEPOINT part", args![]).await?;
    }
    tx.execute(OPERATION, "RELEASE SAVEPOINT part", args![]).await?;
    done
}

fn find<'a>(stored: &'a [Stored], id: &StudentId) -> Option<&'a Stored> {
    stored.binary_search_by(|student| student.record.id.cmp(id)).ok().map(|index| &stored[index])
}

/// Whether the database refused because of what the rows hold, so that fewer rows may go through. Anything else (no
/// privilege, no such table) would refuse every student alike, and parks nobody.
///
/// PostgreSQL: cardinality violation, data exception, integrity constraint, program limit. SQLite: too big, constraint,
/// mismatch.
fn concerns_rows(error: &StoreError) -> bool {
    let StoreError::Refused { class, .. } = error else {
        return false;
    };
    if class.len() == 5 {
        return ["21", "22", "23", "54"].iter().any(|rows| class.starts_with(rows));
    }
    class.parse::<i64>().is_ok_and(|code| [18, 19, 20].contains(&(code & 0xff)))
}

/// What is parked of what the database refuses at the first try.
fn of_rows(error: StoreError) -> Result<Blame> {
    if concerns_rows(&error) { Blame::of(error) } else { Err(error) }
}

fn class_of(error: &StoreError) -> String {
    match error {
        StoreError::Refused { class, .. } => format!("code {class}"),
        _ => String::new(),
    }
}
