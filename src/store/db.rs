//! One SQL text for SQLite and PostgreSQL.
//!
//! Placeholders are `$1` in both (long lists have a `?` for each value), and every column is a 64-bit integer, a double, a text or bytes
//! in both; sqlx's own `AnyPool` cannot do it (it fails to read a SQLite column declared BOOLEAN).
//! Nothing outside `store` sees this.

use std::path::Path;
use std::time::Duration;

use futures_util::TryStreamExt;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgPoolOptions, PgRow};
use sqlx::query::Query;
use sqlx::sqlite::{
    SqliteArguments, SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow,
    SqliteSynchronous,
};
use sqlx::{
    AssertSqlSafe, Connection as _, PgConnection, PgPool, Postgres, Row as _, SqlSafeStr, Sqlite, SqlitePool,
};

/// Four for reading, and the one that the writer task keeps.
const CONNECTIONS_MAX: u32 = 5;
/// How long a caller waits for a connection.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// How long a statement waits for another process's lock on a SQLite file. Only a foreign tool
/// takes one; the writer says so after this, and goes on trying.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub(super) enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

pub(super) enum Connection {
    Sqlite(PoolConnection<Sqlite>),
    Postgres(PoolConnection<Postgres>),
}

impl Pool {
    /// Durable on `COMMIT` (`synchronous=FULL`), readers never block the writer (WAL), and space of
    /// deleted rows can be handed back (`auto_vacuum`).
    pub async fn sqlite(path: &Path) -> Result<Self, sqlx::Error> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .auto_vacuum(SqliteAutoVacuum::Incremental)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(LOCK_WAIT_MAX)
            // What a statement of many rows would undo, should it fail: a page or two, not a file.
            .pragma("temp_store", "MEMORY")
            .pragma("journal_size_limit", "67108864")
            .pragma("cache_size", "-2000");
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(WAIT_MAX)
            .test_before_acquire(false)
            .connect_with(options)
            .await?;
        Ok(Pool::Sqlite(pool))
    }

    pub async fn postgres(url: &str) -> Result<Self, sqlx::Error> {
        // The pool goes on trying until its patience ends, and then tells of that instead of the cause.
        PgConnection::connect(url).await?.close().await?;
        let options = PgPoolOptions::new().max_connections(CONNECTIONS_MAX).acquire_timeout(WAIT_MAX);
        Ok(Pool::Postgres(options.connect(url).await?))
    }

    /// Brings the schema up to date. A store written by a newer program is an error.
    pub async fn migrate(&self) -> Result<(), sqlx::migrate::MigrateError> {
        let migration = |texts: [(&'static str, &'static str); 4]| {
            let migrations = texts.into_iter().zip(1..).map(|((name, sql), version)| {
                Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
            });
            Migrator::with_migrations(migrations.collect())
        };
        match self {
            Pool::Sqlite(pool) => {
                let initial = include_str!("migrations/sqlite/0001_initial.sql");
                let events = include_str!("migrations/sqlite/0002_events.sql");
                let waiting = include_str!("migrations/sqlite/0003_waiting.sql");
                let verdicts = include_str!("migrations/sqlite/0004_verdicts.sql");
                migration([
                    ("initial", initial),
                    ("events", events),
                    ("waiting", waiting),
                    ("verdicts", verdicts),
                ])
                .run(pool)
                .await
            }
            Pool::Postgres(pool) => {
                let initial = include_str!("migrations/postgres/0001_initial.sql");
                let events = include_str!("migrations/postgres/0002_events.sql");
                let waiting = include_str!("migrations/postgres/0003_waiting.sql");
                let verdicts = include_str!("migrations/postgres/0004_verdicts.sql");
                migration([
                    ("initial", initial),
                    ("events", events),
                    ("waiting", waiting),
                    ("verdicts", verdicts),
                ])
                .run(pool)
                .await
            }
        }
    }

    pub async fn acquire(&self) -> Result<Connection, sqlx::Error> {
        Ok(match self {
            Pool::Sqlite(pool) => Connection::Sqlite(pool.acquire().await?),
            Pool::Postgres(pool) => Connection::Postgres(pool.acquire().await?),
        })
    }

    pub async fn close(&self) {
        match self {
            Pool::Sqlite(pool) => pool.close().await,
            Pool::Postgres(pool) => pool.close().await,
        }
    }

    pub fn is_sqlite(&self) -> bool {
        matches!(self, Pool::Sqlite(_))
    }
}

impl Connection {
    /// Takes SQLite's write lock at once: a transaction that reads first and writes later would
    /// fail when another writer came in between.
    pub async fn begin(&mut self) -> Result<(), sqlx::Error> {
        let sql = match self {
            Connection::Sqlite(_) => "BEGIN IMMEDIATE",
            Connection::Postgres(_) => "BEGIN",
        };
        query(sql).execute(self).await.map(drop)
    }

    pub async fn commit(&mut self) -> Result<(), sqlx::Error> {
        query("COMMIT").execute(self).await.map(drop)
    }

    /// Best effort: after some errors (disk full) SQLite has rolled back by itself.
    pub async fn rollback(&mut self) {
        if let Err(error) = query("ROLLBACK").execute(self).await {
            tracing::debug!(%error, "nothing to roll back");
        }
    }
}

/// A value of one of the four kinds, or its null.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Integer(Option<i64>),
    Real(Option<f64>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
}

macro_rules! value_from {
    ($($from:ty => $kind:ident),*) => { $(
        impl From<$from> for Value {
            fn from(v: $from) -> Self {
                Value::$kind(Some(v.into()))
            }
        }
        impl From<Option<$from>> for Value {
            fn from(v: Option<$from>) -> Self {
                Value::$kind(v.map(Into::into))
            }
        }
    )* };
}
value_from!(i64 => Integer, u32 => Integer, u16 => Integer, f64 => Real, Vec<u8> => Bytes);

/// PostgreSQL has no texts with zero bytes, and targets may answer with them.
fn without_zero_bytes(text: String) -> String {
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text }
}

macro_rules! value_from_text {
    ($($from:ty),*) => { $(
        impl From<$from> for Value {
            fn from(v: $from) -> Self {
                Value::Text(Some(without_zero_bytes(v.into())))
            }
        }
        impl From<Option<$from>> for Value {
            fn from(v: Option<$from>) -> Self {
                Value::Text(v.map(|v| without_zero_bytes(v.into())))
            }
        }
    )* };
}
value_from_text!(String, &str);

/// A statement with its values.
pub(super) struct Statement {
    sql: std::borrow::Cow<'static, str>,
    values: Vec<Value>,
}

pub(super) fn query(sql: &'static str) -> Statement {
    Statement { sql: sql.into(), values: Vec::new() }
}

/// Rows or keys of one statement. Few different ones, so that prepared statements are reused.
const LENGTHS: [usize; 3] = [64, 8, 1];

/// `prefix IN (…)` over many keys; the prefix's own places are `?` and come first, with the values
/// `first`.
pub(super) fn for_keys(prefix: &'static str, first: &[Value], mut keys: &[i64]) -> Vec<Statement> {
    let mut statements = Vec::new();
    for length in LENGTHS {
        while let Some((chunk, rest)) = keys.split_at_checked(length) {
            let sql = format!("{prefix} IN ({})", places(length));
            let values = first.iter().cloned().chain(chunk.iter().map(|key| Value::from(*key)));
            statements.push(Statement { sql: sql.into(), values: values.collect() });
            keys = rest;
        }
    }
    statements
}

/// `?, ?, …`: SQLite looks a named place up among all names of the statement, so that a thousand of
/// them cost a million steps.
fn places(count: usize) -> String {
    vec!["?"; count].join(", ")
}

/// PostgreSQL knows places by number only.
fn numbered(sql: &str) -> String {
    let mut numbered = String::with_capacity(sql.len() * 3);
    for (place, part) in sql.split('?').enumerate() {
        if place > 0 {
            numbered.push('$');
            numbered.push_str(&place.to_string());
        }
        numbered.push_str(part);
    }
    numbered
}

/// `prefix VALUES (?, …), (…) suffix` over many rows of the same width, in as few statements as
/// the databases' limits allow.
pub(super) fn insert_many(
    prefix: &str,
    rows: impl IntoIterator<Item = Vec<Value>>,
    suffix: &str,
) -> Vec<Statement> {
    let mut rows: std::collections::VecDeque<Vec<Value>> = rows.into_iter().collect();
    let mut statements = Vec::new();
    for length in LENGTHS {
        while rows.len() >= length {
            let chunk: Vec<Vec<Value>> = rows.drain(..length).collect();
            let row = format!("({})", places(chunk[0].len()));
            let sql = format!("{prefix} VALUES {} {suffix}", vec![row.as_str(); length].join(", "));
            statements.push(Statement { sql: sql.into(), values: chunk.into_iter().flatten().collect() });
        }
    }
    statements
}

impl Statement {
    /// For texts put together from constants; values always go through `bind`.
    pub fn from_text(sql: String) -> Self {
        Statement { sql: sql.into(), values: Vec::new() }
    }

    pub fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Number of rows touched.
    pub async fn execute(self, connection: &mut Connection) -> Result<u64, sqlx::Error> {
        Ok(match connection {
            Connection::Sqlite(c) => self.sqlite().execute(&mut **c).await?.rows_affected(),
            Connection::Postgres(c) => self.postgres().execute(&mut **c).await?.rows_affected(),
        })
    }

    pub async fn fetch(self, connection: &mut Connection) -> Result<Vec<Row>, sqlx::Error> {
        Ok(match connection {
            Connection::Sqlite(c) => {
                self.sqlite().fetch_all(&mut **c).await?.into_iter().map(Row::Sqlite).collect()
            }
            Connection::Postgres(c) => {
                self.postgres().fetch_all(&mut **c).await?.into_iter().map(Row::Postgres).collect()
            }
        })
    }

    /// Hands over each row as it comes, so that only what the caller makes of them is held.
    pub async fn fetch_each(
        self,
        connection: &mut Connection,
        mut each: impl FnMut(Row) -> Result<(), sqlx::Error>,
    ) -> Result<(), sqlx::Error> {
        match connection {
            Connection::Sqlite(c) => {
                let mut rows = self.sqlite().fetch(&mut **c);
                while let Some(row) = rows.try_next().await? {
                    each(Row::Sqlite(row))?;
                }
            }
            Connection::Postgres(c) => {
                let mut rows = self.postgres().fetch(&mut **c);
                while let Some(row) = rows.try_next().await? {
                    each(Row::Postgres(row))?;
                }
            }
        }
        Ok(())
    }

    fn sqlite(self) -> Query<'static, Sqlite, SqliteArguments> {
        let query = sqlx::query(AssertSqlSafe(self.sql));
        self.values.into_iter().fold(query, |query, value| match value {
            Value::Integer(v) => query.bind(v),
            Value::Real(v) => query.bind(v),
            Value::Text(v) => query.bind(v),
            Value::Bytes(v) => query.bind(v),
        })
    }

    fn postgres(self) -> Query<'static, Postgres, PgArguments> {
        let sql = if self.sql.contains('?') { numbered(&self.sql).into() } else { self.sql };
        let query = sqlx::query(AssertSqlSafe(sql));
        self.values.into_iter().fold(query, |query, value| match value {
            Value::Integer(v) => query.bind(v),
            Value::Real(v) => query.bind(v),
            Value::Text(v) => query.bind(v),
            Value::Bytes(v) => query.bind(v),
        })
    }
}

/// A row of either database; columns by position, from 0.
pub(super) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

macro_rules! column {
    ($name:ident, $type:ty) => {
        pub fn $name(&self, column: usize) -> Result<$type, sqlx::Error> {
            match self {
                Row::Sqlite(row) => row.try_get(column),
                Row::Postgres(row) => row.try_get(column),
            }
        }
    };
}

impl Row {
    column!(integer, i64);
    column!(integer_or_null, Option<i64>);
    column!(real, f64);
    column!(real_or_null, Option<f64>);
    column!(text, String);
    column!(text_or_null, Option<String>);
    column!(bytes, Vec<u8>);
    column!(bytes_or_null, Option<Vec<u8>>);
}
