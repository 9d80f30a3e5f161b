//! Rows, and what can be read from them.

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::{Decode, Postgres, Row as _, Sqlite, Type, postgres::PgRow, sqlite::SqliteRow};
use uuid::Uuid;

use crate::StoreError;

/// A row of an answer.
pub(crate) enum Row {
    Pg(PgRow),
    Lite(SqliteRow),
}

impl Row {
    /// The value of the column `index`, from 0.
    pub(crate) fn get<T: Column>(&self, index: usize) -> Result<T, StoreError> {
        T::read(self, index).map_err(|_| StoreError::Corrupt {
            what: "column",
            detail: format!("column {index} of an answer is not {}", T::NAME),
        })
    }
}

/// A type that a column can be read as.
pub(crate) trait Column: Sized {
    const NAME: &'static str;
    fn read(row: &Row, index: usize) -> Result<Self, sqlx::Error>;
}

fn native<T>(row: &Row, index: usize) -> Result<T, sqlx::Error>
where
    T: for<'r> Decode<'r, Postgres> + Type<Postgres> + for<'r> Decode<'r, Sqlite> + Type<Sqlite>,
{
    match row {
        Row::Pg(row) => row.try_get(index),
        Row::Lite(row) => row.try_get(index),
    }
}

macro_rules! column {
    ($($type:ty, $name:literal;)*) => {$(
        impl Column for $type {
            const NAME: &'static str = $name;
            fn read(row: &Row, index: usize) -> Result<Self, sqlx::Error> {
                native(row, index)
            }
        }
        impl Column for Option<$type> {
            const NAME: &'static str = $name;
            fn read(row: &Row, index: usize) -> Result<Self, sqlx::Error> {
                native(row, index)
            }
        }
    )*};
}

column! {
    i64, "an integer";
    String, "text";
    Vec<u8>, "bytes";
    bool, "true or false";
    NaiveDate, "a date";
    DateTime<Utc>, "a time";
    f64, "a number";
    Uuid, "a UUID";
}

/// Of PostgreSQL alone.
impl Column for Vec<String> {
    const NAME: &'static str = "a list of texts";
    fn read(row: &Row, index: usize) -> Result<Self, sqlx::Error> {
        match row {
            Row::Pg(row) => row.try_get(index),
            Row::Lite(_) => Err(sqlx::Error::Decode("SQLite has no lists".into())),
        }
    }
}

macro_rules! narrow {
    ($($type:ty),*) => {$(
        impl Column for $type {
            const NAME: &'static str = concat!("an integer of type ", stringify!($type));
            fn read(row: &Row, index: usize) -> Result<Self, sqlx::Error> {
                narrow(native::<i64>(row, index)?)
            }
        }
        impl Column for Option<$type> {
            const NAME: &'static str = concat!("an integer of type ", stringify!($type));
            fn read(row: &Row, index: usize) -> Result<Self, sqlx::Error> {
                native::<Option<i64>>(row, index)?.map(narrow).transpose()
            }
        }
    )*};
}

narrow!(i32, u32, u16);

fn narrow<T: TryFrom<i64>>(value: i64) -> Result<T, sqlx::Error> {
    T::try_from(value).map_err(|_| sqlx::Error::Decode("out of range".into()))
}
