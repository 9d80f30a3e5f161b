//! What the same bytes cost when nothing but the unavoidable is done with them. Each floor is the best of three.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Instant,
};

use anyhow::{Context as _, ensure};
use futures_util::{TryStreamExt as _, future::try_join_all};
use reqwest::Client;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};

use crate::{
    messages,
    recorder::Asked,
    stage::{DISTRICT, Stage},
};

/// Seconds of each floor, and how much went through it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Floors {
    /// Downloading every page, and nothing else.
    pub(crate) download: f64,
    /// Downloading every page and decoding it into a JSON tree.
    pub(crate) decode: f64,
    /// Pages asked for.
    pub(crate) pages: usize,
    /// Bytes of their bodies.
    pub(crate) page_bytes: u64,
    /// COPY of the final rows of the roster into empty tables with the same keys.
    pub(crate) copy: f64,
    /// Those rows.
    pub(crate) rows: u64,
    /// The same of its history, in the same transaction.
    pub(crate) copy_history: f64,
    /// Those rows.
    pub(crate) history_rows: u64,
    /// Confirmed publish and consume of the same messages.
    pub(crate) broker: f64,
    /// Messages.
    pub(crate) messages: usize,
    /// Bytes of their bodies.
    pub(crate) message_bytes: u64,
    /// Reading back every student's fingerprint.
    pub(crate) fingerprints: f64,
}

impl Floors {
    /// What a first night stands on.
    pub(crate) fn first(&self) -> f64 {
        self.first_without_history() + self.copy_history
    }

    /// [`Floors::first`] of a night that kept no history.
    pub(crate) fn first_without_history(&self) -> f64 {
        self.decode + self.copy + self.broker
    }

    /// What an unchanged night stands on.
    pub(crate) fn unchanged(&self) -> f64 {
        self.decode + self.fingerprints
    }
}

/// Tables of the roster, whose rows a first night cannot but write.
const ROSTER: [&str; 5] = ["student", "contact", "enrollment", "school", "staff"];

/// And who was given which status when, by which run and rule: a row for each student.
const HISTORY: [&str; 1] = ["history"];

const TRIES: usize = 3;

/// Measures all floors on the rows and messages that a first night has left.
pub(crate) async fn measure(lanes: u16, stage: &Stage, origin: &str, asked: &[Asked]) -> anyhow::Result<Floors> {
    let mut best = [f64::INFINITY; 6];
    let (mut page_bytes, mut rows, mut history_rows) = (0, 0, 0);
    let mut database = PgConnection::connect_with(&stage.services.database.connect_options()).await?;
    let messages = messages::of_first_night(&mut database).await?;
    let roster = export(&mut database, &ROSTER).await?;
    let history = export(&mut database, &HISTORY).await?;
    for _ in 0..TRIES {
        let (seconds, bytes) = download(lanes, origin, asked, Decode::No).await?;
        page_bytes = bytes;
        let (decoded, _) = download(lanes, origin, asked, Decode::Yes).await?;
        let [(copied, of_roster), (kept, of_history)] = copy(&mut database, &roster, &history).await?;
        (rows, history_rows) = (of_roster, of_history);
        let carried = messages::carry(&stage.services.amqp_url(), &messages).await?;
        let read = fingerprints(&mut database).await?;
        let tried = [seconds, decoded, copied, kept, carried, read];
        best.iter_mut().zip(tried).for_each(|(best, tried)| *best = best.min(tried));
    }
    let [download, decode, copy, copy_history, broker, fingerprints] = best;
    let message_bytes = messages.iter().map(|message| message.len() as u64).sum();
    let (pages, messages) = (asked.len(), messages.len());
    Ok(Floors {
        download,
        decode,
        pages,
        page_bytes,
        copy,
        rows,
        copy_history,
        history_rows,
        broker,
        messages,
        message_bytes,
        fingerprints,
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decode {
    Yes,
    No,
}

/// Asks for every page again, as many at once as the connection has lanes. Seconds, and bytes of the bodies.
async fn download(lanes: u16, origin: &str, asked: &[Asked], decode: Decode) -> anyhow::Result<(f64, u64)> {
    let client = Client::new();
    let asked: Arc<[Asked]> = asked.into();
    let (next, bytes) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicU64::new(0)));
    let start = Instant::now();
    let walks = (0..lanes).map(|_| {
        let (client, asked, next, bytes) = (client.clone(), Arc::clone(&asked), Arc::clone(&next), Arc::clone(&bytes));
        let origin = origin.to_owned();
        tokio::spawn(async move {
            while let Some(page) = asked.get(next.fetch_add(1, Ordering::Relaxed)) {
                let body = page.again(&client, &origin).send().await?.error_for_status()?.bytes().await?;
                bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
                if decode == Decode::Yes {
                    std::hint::black_box(serde_json::from_slice::<serde_json::Value>(&body)?);
                }
            }
            anyhow::Ok(())
        })
    });
    for walked in try_join_all(walks).await? {
        walked?;
    }
    Ok((start.elapsed().as_secs_f64(), bytes.load(Ordering::Relaxed)))
}

/// The final rows of a table, as COPY writes them.
struct Table {
    name: &'static str,
    rows: Vec<u8>,
}

async fn export(database: &mut PgConnection, names: &[&'static str]) -> anyhow::Result<Vec<Table>> {
    let mut tables = Vec::new();
    for name in names {
        let sql = format!("COPY {name} TO STDOUT");
        let stream = database.copy_out_raw(&sql).await?;
        let rows = stream.try_fold(Vec::new(), |mut all, part| async move {
            all.extend_from_slice(&part);
            Ok(all)
        });
        tables.push(Table { name, rows: rows.await? });
    }
    Ok(tables)
}

/// COPY into empty tables with the same columns and primary keys, all in one transaction, whose end is the roster's. Seconds and
/// rows of the roster, and of its history.
async fn copy(database: &mut PgConnection, roster: &[Table], history: &[Table]) -> anyhow::Result<[(f64, u64); 2]> {
    sqlx::raw_sql("DROP SCHEMA IF EXISTS floor CASCADE; CREATE SCHEMA floor").execute(&mut *database).await?;
    for table in roster.iter().chain(history) {
        let create =
            format!("CREATE TABLE floor.{0} (LIKE public.{0} INCLUDING DEFAULTS INCLUDING INDEXES)", table.name);
        sqlx::query(AssertSqlSafe(create)).execute(&mut *database).await?;
    }
    sqlx::query("BEGIN").execute(&mut *database).await?;
    let start = Instant::now();
    let history_rows = copy_in(database, history).await?;
    let of_history = start.elapsed().as_secs_f64();
    let rows = copy_in(database, roster).await?;
    sqlx::query("COMMIT").execute(&mut *database).await?;
    let of_roster = start.elapsed().as_secs_f64() - of_history;
    sqlx::query("DROP SCHEMA floor CASCADE").execute(&mut *database).await?;
    Ok([(of_roster, rows), (of_history, history_rows)])
}

async fn copy_in(database: &mut PgConnection, tables: &[Table]) -> anyhow::Result<u64> {
    let mut rows = 0;
    for table in tables {
        let mut into = database.copy_in_raw(&format!("COPY floor.{} FROM STDIN", table.name)).await?;
        into.send(table.rows.as_slice()).await?;
        rows += into.finish().await?;
    }
    Ok(rows)
}

async fn fingerprints(database: &mut PgConnection) -> anyhow::Result<f64> {
    let start = Instant::now();
    let query = sqlx::query("SELECT student_id, fingerprint FROM student WHERE district = $1").bind(DISTRICT);
    let mut stream = query.fetch(&mut *database);
    let mut bytes = 0;
    while let Some(row) = stream.try_next().await.context("fingerprints")? {
        bytes += row.get_unchecked::<&[u8], _>(1).len();
    }
    ensure!(bytes > 0, "the first night has left no fingerprints");
    Ok(start.elapsed().as_secs_f64())
}
