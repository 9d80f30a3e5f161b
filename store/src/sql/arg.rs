//! Typed arguments: a NULL knows its type, so that PostgreSQL never has to guess one.

use chrono::{DateTime, NaiveDate, SubsecRound, Utc};
use rollcall_proto::id::{ConnectionNo, DistrictId, ListingNo, PageNo, RunId, StudentId};
use sqlx::{Arguments, Database, Encode, Postgres, Sqlite, Type, postgres::PgArguments, sqlite::SqliteArguments};
use uuid::Uuid;

/// A value bound to a placeholder.
///
/// The array variants are PostgreSQL arrays, for `unnest($1, $2, …)`. On SQLite they are bound as the text of a JSON
/// array, for `json_each($1)`: blobs as hexadecimal text (read with `unhex`), dates and times as SQLite stores them.
#[derive(Debug, Clone)]
pub(crate) enum Arg {
    Int(Option<i64>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
    Bool(Option<bool>),
    Date(Option<NaiveDate>),
    Time(Option<DateTime<Utc>>),
    Real(Option<f64>),
    Uuid(Option<Uuid>),
    Texts(Vec<Option<String>>),
    Ints(Vec<Option<i64>>),
    Dates(Vec<Option<NaiveDate>>),
    Bools(Vec<Option<bool>>),
    Blobs(Vec<Option<Vec<u8>>>),
    Times(Vec<Option<DateTime<Utc>>>),
}

/// `args![a, b, …]`: the arguments of a statement, in the order of its placeholders.
macro_rules! args {
    ($($value:expr),* $(,)?) => { vec![$($crate::sql::Arg::from($value)),*] };
}
pub(crate) use args;

macro_rules! from {
    ($($type:ty => $variant:ident, |$value:ident| $convert:expr;)*) => {$(
        impl From<$type> for Arg {
            fn from($value: $type) -> Self {
                Self::$variant(Some($convert))
            }
        }
        impl From<Option<$type>> for Arg {
            fn from(value: Option<$type>) -> Self {
                Self::$variant(value.map(|$value| $convert))
            }
        }
    )*};
}

from! {
    i64 => Int, |value| value;
    i32 => Int, |value| i64::from(value);
    u32 => Int, |value| i64::from(value);
    u16 => Int, |value| i64::from(value);
    ConnectionNo => Int, |value| i64::from(value.0);
    ListingNo => Int, |value| i64::from(value.0);
    PageNo => Int, |value| i64::from(value.0);
    &str => Text, |value| value.to_owned();
    String => Text, |value| value;
    &String => Text, |value| value.clone();
    &DistrictId => Text, |value| value.as_str().to_owned();
    &StudentId => Text, |value| value.0.clone();
    Vec<u8> => Bytes, |value| value;
    &[u8] => Bytes, |value| value.to_vec();
    bool => Bool, |value| value;
    NaiveDate => Date, |value| value;
    DateTime<Utc> => Time, |value| micros(value);
    f64 => Real, |value| value;
    Uuid => Uuid, |value| value;
    RunId => Uuid, |value| value.0;
}

macro_rules! from_array {
    ($($type:ty => $variant:ident;)*) => {$(
        impl From<Vec<Option<$type>>> for Arg {
            fn from(values: Vec<Option<$type>>) -> Self {
                Self::$variant(values)
            }
        }
        impl From<Vec<$type>> for Arg {
            fn from(values: Vec<$type>) -> Self {
                Self::$variant(values.into_iter().map(Some).collect())
            }
        }
    )*};
}

from_array! {
    String => Texts;
    i64 => Ints;
    NaiveDate => Dates;
    bool => Bools;
    Vec<u8> => Blobs;
}

impl From<Vec<Option<DateTime<Utc>>>> for Arg {
    fn from(values: Vec<Option<DateTime<Utc>>>) -> Self {
        Self::Times(values.into_iter().map(|value| value.map(micros)).collect())
    }
}

/// PostgreSQL keeps microseconds; SQLite is given no more, so that a time reads back the same from both.
fn micros(time: DateTime<Utc>) -> DateTime<Utc> {
    time.trunc_subsecs(6)
}

type Encoding = Result<(), sqlx::error::BoxDynError>;

/// Arguments in PostgreSQL's form.
pub(super) fn to_postgres(args: Vec<Arg>) -> Result<PgArguments, sqlx::Error> {
    let mut bound = PgArguments::default();
    for arg in args {
        add_postgres(&mut bound, arg).map_err(sqlx::Error::Encode)?;
    }
    Ok(bound)
}

fn add_postgres(bound: &mut PgArguments, arg: Arg) -> Encoding {
    match arg {
        Arg::Texts(values) => bound.add(values),
        Arg::Ints(values) => bound.add(values),
        Arg::Dates(values) => bound.add(values),
        Arg::Bools(values) => bound.add(values),
        Arg::Blobs(values) => bound.add(values),
        Arg::Times(values) => bound.add(values),
        scalar => add_scalar::<Postgres, _>(bound, scalar),
    }
}

/// Arguments in SQLite's form.
pub(super) fn to_sqlite(args: Vec<Arg>) -> Result<SqliteArguments, sqlx::Error> {
    let mut bound = SqliteArguments::default();
    for arg in args {
        add_sqlite(&mut bound, arg).map_err(sqlx::Error::Encode)?;
    }
    Ok(bound)
}

fn add_sqlite(bound: &mut SqliteArguments, arg: Arg) -> Encoding {
    match arg {
        Arg::Texts(values) => bound.add(serde_json::to_string(&values)?),
        Arg::Ints(values) => bound.add(serde_json::to_string(&values)?),
        Arg::Dates(values) => bound.add(serde_json::to_string(&values)?),
        Arg::Bools(values) => bound.add(serde_json::to_string(&values)?),
        Arg::Blobs(values) => bound.add(json(values, |value| hex(&value))?),
        Arg::Times(values) => bound.add(json(values, |value| sqlite_time(&value))?),
        scalar => add_scalar::<Sqlite, _>(bound, scalar),
    }
}

fn add_scalar<DB, A>(bound: &mut A, arg: Arg) -> Encoding
where
    DB: Database,
    A: Arguments<Database = DB>,
    for<'q> Option<i64>: Encode<'q, DB> + Type<DB>,
    for<'q> Option<String>: Encode<'q, DB> + Type<DB>,
    for<'q> Option<Vec<u8>>: Encode<'q, DB> + Type<DB>,
    for<'q> Option<bool>: Encode<'q, DB> + Type<DB>,
    for<'q> Option<NaiveDate>: Encode<'q, DB> + Type<DB>,
    for<'q> Option<DateTime<Utc>>: Encode<'q, DB> + Type<DB>,
    for<'q> Option<f64>: Encode<'q, DB> + Type<DB>,
    for<'q> Option<Uuid>: Encode<'q, DB> + Type<DB>,
{
    match arg {
        Arg::Int(value) => bound.add(value),
        Arg::Text(value) => bound.add(value),
        Arg::Bytes(value) => bound.add(value),
        Arg::Bool(value) => bound.add(value),
        Arg::Date(value) => bound.add(value),
        Arg::Time(value) => bound.add(value),
        Arg::Real(value) => bound.add(value),
        Arg::Uuid(value) => bound.add(value),
        _ => Err("an array is bound by its engine".into()),
    }
}

fn json<T>(values: Vec<Option<T>>, text: impl Fn(T) -> String) -> serde_json::Result<String> {
    let texts: Vec<_> = values.into_iter().map(|value| value.map(&text)).collect();
    serde_json::to_string(&texts)
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// As sqlx stores a time in SQLite.
fn sqlite_time(time: &DateTime<Utc>) -> String {
    time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, false)
}
