//! The limit: the same rows, written by a loop that does nothing else.

use std::path::Path;
use std::time::{Duration, Instant};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Row};

use cachetscope::clock::Clock;
use cachetscope::store::{Location, Store};

/// Rows of events in one statement at most; the store's own number is of this size too.
const ROWS_MAX: usize = 128;

const COLUMNS: &str = "id, kind, source, pipeline, run, attempt, step, commit_id, digest, started_ns, finished_ns, \
                       received_ns, content, body";

pub struct Rows {
    events: Vec<EventRow>,
    /// Bytes of spans and of log records that the events left in the outbox.
    outbox: [(&'static str, u64); 2],
}

struct EventRow {
    id: i64,
    texts: [String; 4],
    attempt: i64,
    more: [String; 3],
    times: [i64; 3],
    content: Vec<u8>,
    body: String,
}

impl Rows {
    pub fn events(&self) -> u64 {
        self.events.len() as u64
    }
}

/// As the store opens its files.
async fn open(file: &Path) -> anyhow::Result<SqliteConnection> {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("journal_size_limit", "67108864")
        .pragma("cache_size", "-2000");
    Ok(options.connect().await?)
}

pub async fn read(file: &Path) -> anyhow::Result<Rows> {
    let mut connection = open(file).await?;
    let sql = format!("SELECT {COLUMNS} FROM events ORDER BY received_ns");
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(&mut connection).await?;
    let events = rows
        .into_iter()
        .map(|row| {
            Ok(EventRow {
                id: row.try_get(0)?,
                texts: [row.try_get(1)?, row.try_get(2)?, row.try_get(3)?, row.try_get(4)?],
                attempt: row.try_get(5)?,
                more: [row.try_get(6)?, row.try_get(7)?, row.try_get(8)?],
                times: [row.try_get(9)?, row.try_get(10)?, row.try_get(11)?],
                content: row.try_get(12)?,
                body: row.try_get(13)?,
            })
        })
        .collect::<Result<Vec<EventRow>, sqlx::Error>>()?;
    let mut outbox = [("traces", 0), ("logs", 0)];
    for (lane, bytes) in &mut outbox {
        let row = sqlx::query("SELECT COALESCE(SUM(bytes), 0) FROM outbox WHERE kept = 1 AND lane = $1")
            .bind(*lane)
            .fetch_one(&mut connection)
            .await?;
        *bytes = u64::try_from(row.try_get::<i64, _>(0)?)?;
    }
    connection.close().await?;
    Ok(Rows { events, outbox })
}

/// How long it took to write all of it in so many transactions.
pub async fn write(rows: &Rows, transactions: u64, dir: &Path) -> anyhow::Result<Duration> {
    std::fs::create_dir_all(dir)?;
    let file = dir.join("bare.db");
    let store = Store::open(&Location::File(file.clone()), &Clock::system()).await?;
    store.close().await;
    let mut connection = open(&file).await?;
    let transactions = transactions.max(1);
    let group = rows.events.len().div_ceil(usize::try_from(transactions)?).max(1);
    let bodies: Vec<(&str, Vec<u8>)> = rows
        .outbox
        .iter()
        .map(|(lane, bytes)| (*lane, vec![7; usize::try_from(bytes / transactions).unwrap_or(0)]))
        .collect();
    sqlx::query("INSERT INTO series (id, metric, attributes, started_ns) VALUES (1, 'm', '[]', 0)")
        .execute(&mut connection)
        .await?;
    sqlx::query("INSERT INTO totals (series_id, count, sum) VALUES (1, 0, 0)")
        .execute(&mut connection)
        .await?;

    let started = Instant::now();
    for events in rows.events.chunks(group) {
        sqlx::query("BEGIN IMMEDIATE").execute(&mut connection).await?;
        for part in events.chunks(ROWS_MAX) {
            insert(&mut connection, part).await?;
        }
        sqlx::query("UPDATE totals SET count = count + $1, sum = sum + $1 WHERE series_id = 1")
            .bind(events.len() as i64)
            .execute(&mut connection)
            .await?;
        for (lane, body) in &bodies {
            for part in body.chunks(256 * 1024) {
                sqlx::query(
                    "INSERT INTO outbox (lane, created_ns, items, bytes, body, kept) VALUES ($1, $2, $3, $4, $5, 1)",
                )
                .bind(*lane)
                .bind(events[0].times[2])
                .bind(events.len() as i64)
                .bind(part.len() as i64)
                .bind(part)
                .execute(&mut connection)
                .await?;
            }
        }
        sqlx::query("COMMIT").execute(&mut connection).await?;
    }
    let took = started.elapsed();
    connection.close().await?;
    Ok(took)
}

async fn insert(connection: &mut SqliteConnection, rows: &[EventRow]) -> anyhow::Result<()> {
    let places = format!("({})", vec!["?"; 14].join(", "));
    let sql = format!("INSERT INTO events ({COLUMNS}) VALUES {}", vec![places; rows.len()].join(", "));
    let mut query = sqlx::query(sqlx::AssertSqlSafe(sql));
    for row in rows {
        query = query.bind(row.id);
        for text in &row.texts {
            query = query.bind(text);
        }
        query = query.bind(row.attempt);
        for text in &row.more {
            query = query.bind(text);
        }
        for time in row.times {
            query = query.bind(time);
        }
        query = query.bind(&row.content).bind(&row.body);
    }
    query.execute(connection).await?;
    Ok(())
}
