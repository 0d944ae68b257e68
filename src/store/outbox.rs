//! The outbox: encoded OTLP requests that the collector has not accepted yet.
//!
//! Rows of one lane leave in the order of their ids. What the collector refuses for good is kept
//! aside, listed and counted, until a person retries or drops it.

use std::sync::Mutex;

use super::db::{Connection, Row, for_keys, query};
use super::{Entry, Lane, Store, StoreError};
use crate::clock::Timestamp;

const MINUTE_NS: i64 = 60_000_000_000;
/// Snapshots older than this are thinned to one a minute …
const THIN_TO_MINUTE_AFTER_NS: i64 = 10 * MINUTE_NS;
/// … and beyond this to one in ten minutes.
const THIN_TO_TEN_AFTER_NS: i64 = 120 * MINUTE_NS;

/// A row that waits.
#[derive(Clone, Debug)]
pub struct Waiting {
    pub id: i64,
    pub created: Timestamp,
    pub items: u64,
    pub body: Vec<u8>,
    pub kept: bool,
}

/// Something the collector refused for good, and its words.
#[derive(Clone, Debug)]
pub struct Refused {
    /// 0 for what is not in the store yet.
    pub id: i64,
    pub entry: Entry,
    pub reason: String,
}

/// What waits in a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneStatus {
    pub lane: Lane,
    pub rows: u64,
    pub items: u64,
    pub bytes: u64,
    /// When the oldest of them was made.
    pub oldest: Option<Timestamp>,
    /// Items refused for good, and kept aside.
    pub refused: u64,
    /// When the collector last accepted something, since this process started.
    pub delivered: Option<Timestamp>,
    /// Since when the collector does not take it, and why; `None` while all is well.
    pub trouble: Option<(Timestamp, String)>,
}

/// How delivery fares, as the exporter last noted it; by lane.
#[derive(Debug, Default)]
pub(super) struct Deliveries(Mutex<[Delivery; Lane::ALL.len()]>);

#[derive(Clone, Debug, Default)]
struct Delivery {
    last: Option<Timestamp>,
    trouble: Option<(Timestamp, String)>,
}

/// Runs a statement that ends in a key over all these keys; the number of rows touched.
async fn touch(connection: &mut Connection, sql: &'static str, ids: &[i64]) -> Result<u64, sqlx::Error> {
    let mut touched = 0;
    for statement in for_keys(sql, &[], ids) {
        touched += statement.execute(connection).await?;
    }
    Ok(touched)
}

pub(super) async fn delete(connection: &mut Connection, ids: &[i64]) -> Result<u64, sqlx::Error> {
    touch(connection, "DELETE FROM outbox WHERE id", ids).await
}

pub(super) async fn delete_waiting_gauges(connection: &mut Connection) -> Result<u64, sqlx::Error> {
    query("DELETE FROM outbox WHERE lane = 'gauges' AND refused IS NULL").execute(connection).await
}

pub(super) async fn bury(connection: &mut Connection, parts: &[Refused]) -> Result<u64, sqlx::Error> {
    let mut items = 0;
    for part in parts {
        items += u64::from(part.entry.items);
        query(
            "INSERT INTO outbox (lane, created_ns, items, bytes, body, refused, kept) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(part.entry.lane.as_str())
        .bind(part.entry.created.0)
        .bind(part.entry.items)
        .bind(i64::try_from(part.entry.body.len()).unwrap_or(i64::MAX))
        .bind(part.entry.body.clone())
        .bind(part.reason.as_str())
        .bind(i64::from(part.entry.kept))
        .execute(connection)
        .await?;
    }
    Ok(items)
}

pub(super) async fn retry(connection: &mut Connection, ids: Option<&[i64]>) -> Result<u64, sqlx::Error> {
    match ids {
        Some(ids) => {
            touch(connection, "UPDATE outbox SET refused = NULL WHERE refused IS NOT NULL AND id", ids).await
        }
        None => query("UPDATE outbox SET refused = NULL WHERE refused IS NOT NULL").execute(connection).await,
    }
}

pub(super) async fn drop_refused(
    connection: &mut Connection,
    ids: Option<&[i64]>,
) -> Result<u64, sqlx::Error> {
    match ids {
        Some(ids) => touch(connection, "DELETE FROM outbox WHERE refused IS NOT NULL AND id", ids).await,
        None => query("DELETE FROM outbox WHERE refused IS NOT NULL").execute(connection).await,
    }
}

/// Of the snapshots of one minute (beyond two hours: of ten minutes) the last stays. Returns the
/// number of data points that went.
pub(super) async fn thin(connection: &mut Connection, now: Timestamp) -> Result<u64, sqlx::Error> {
    let mut items = 0;
    for (slot, before, after) in [
        (MINUTE_NS, now.0 - THIN_TO_MINUTE_AFTER_NS, now.0 - THIN_TO_TEN_AFTER_NS),
        (10 * MINUTE_NS, now.0 - THIN_TO_TEN_AFTER_NS, i64::MIN),
    ] {
        let snapshots = query(
            "SELECT snapshot_ns, CAST(SUM(items) AS BIGINT) FROM outbox \
             WHERE snapshot_ns < $1 AND snapshot_ns >= $2 GROUP BY snapshot_ns ORDER BY snapshot_ns",
        )
        .bind(before)
        .bind(after)
        .fetch(connection)
        .await?;
        for pair in snapshots.windows(2) {
            let (this, next) = (pair[0].integer(0)?, pair[1].integer(0)?);
            if this.div_euclid(slot) == next.div_euclid(slot) {
                items += u64::try_from(pair[0].integer(1)?).unwrap_or(0);
                query("DELETE FROM outbox WHERE snapshot_ns = $1").bind(this).execute(connection).await?;
            }
        }
    }
    Ok(items)
}

/// Rows that are looked at in one go, where something must leave.
const CANDIDATES_MAX: usize = 1_000;

/// Deletes the oldest until the rest fits: superseded snapshots first, then refused metrics, then
/// spans and log records of probes. Those of events stay. Returns the number of items that went.
pub(super) async fn limit(connection: &mut Connection, bytes_max: u64) -> Result<u64, sqlx::Error> {
    let mut excess = -i64::try_from(bytes_max).unwrap_or(i64::MAX);
    for sql in [
        "SELECT CAST(COALESCE(SUM(bytes), 0) AS BIGINT) FROM outbox WHERE refused IS NULL",
        "SELECT CAST(COALESCE(SUM(bytes), 0) AS BIGINT) FROM outbox WHERE refused IS NOT NULL",
    ] {
        excess += query(sql).fetch(connection).await?.first().map_or(Ok(0), |row| row.integer(0))?;
    }
    let candidates = [
        "SELECT id, bytes, items FROM outbox \
         WHERE snapshot_ns < (SELECT MAX(snapshot_ns) FROM outbox WHERE snapshot_ns IS NOT NULL) \
         ORDER BY snapshot_ns, id LIMIT $1",
        "SELECT id, bytes, items FROM outbox WHERE refused IS NOT NULL AND lane IN ('metrics', 'gauges') \
         ORDER BY id LIMIT $1",
        "SELECT id, bytes, items FROM outbox WHERE kept = 0 AND lane IN ('logs', 'traces') ORDER BY id LIMIT $1",
    ];
    let mut items = 0;
    for sql in candidates {
        while excess > 0 {
            let rows = query(sql).bind(CANDIDATES_MAX as i64).fetch(connection).await?;
            let mut ids = Vec::new();
            for row in &rows {
                if excess <= 0 {
                    break;
                }
                ids.push(row.integer(0)?);
                excess -= row.integer(1)?;
                items += u64::try_from(row.integer(2)?).unwrap_or(0);
            }
            delete(connection, &ids).await?;
            if rows.len() < CANDIDATES_MAX {
                break;
            }
        }
    }
    Ok(items)
}

impl Store {
    /// The collector accepted something of this lane. Returns since when it had not.
    pub fn note_delivery(&self, lane: Lane, at: Timestamp) -> Option<Timestamp> {
        let mut deliveries = self.deliveries.0.lock().unwrap_or_else(|e| e.into_inner());
        let now = Delivery { last: Some(at), trouble: None };
        std::mem::replace(&mut deliveries[lane as usize], now).trouble.map(|(since, _)| since)
    }

    /// The collector did not take it; `reason` is shown until it does. Returns whether this is news.
    pub fn note_trouble(&self, lane: Lane, at: Timestamp, reason: &str) -> bool {
        let mut deliveries = self.deliveries.0.lock().unwrap_or_else(|e| e.into_inner());
        let trouble = &mut deliveries[lane as usize].trouble;
        let before = trouble.take();
        let since = before.as_ref().map_or(at, |(since, _)| *since);
        *trouble = Some((since, reason.to_owned()));
        before.is_none()
    }

    /// The next rows of a lane in order, at most 256 and about `bytes_max` in all, and at least one
    /// where any waits.
    pub async fn outbox_next(&self, lane: Lane, bytes_max: usize) -> Result<Vec<Waiting>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let sizes =
            query("SELECT id, bytes FROM outbox WHERE lane = $1 AND refused IS NULL ORDER BY id LIMIT 256")
                .bind(lane.as_str())
                .fetch(&mut connection)
                .await?;
        let mut bytes = 0;
        let mut last = None;
        for row in sizes {
            bytes += usize::try_from(row.integer(1)?).unwrap_or(0);
            if last.is_some() && bytes > bytes_max {
                break;
            }
            last = Some(row.integer(0)?);
        }
        let Some(last) = last else { return Ok(Vec::new()) };
        let mut waiting = Vec::new();
        query(
            "SELECT id, created_ns, items, body, kept FROM outbox \
             WHERE lane = $1 AND refused IS NULL AND id <= $2 ORDER BY id",
        )
        .bind(lane.as_str())
        .bind(last)
        .fetch_each(&mut connection, |row| {
            waiting.push(Waiting {
                id: row.integer(0)?,
                created: Timestamp(row.integer(1)?),
                items: u64::try_from(row.integer(2)?).unwrap_or(0),
                body: row.bytes(3)?,
                kept: row.integer(4)? != 0,
            });
            Ok(())
        })
        .await?;
        Ok(waiting)
    }

    /// Every lane, in the order of [`Lane::ALL`].
    pub async fn outbox_status(&self) -> Result<Vec<LaneStatus>, StoreError> {
        let deliveries = self.deliveries.0.lock().unwrap_or_else(|e| e.into_inner()).clone();
        let mut lanes: Vec<LaneStatus> = Lane::ALL
            .into_iter()
            .zip(deliveries)
            .map(|(lane, delivery)| LaneStatus {
                lane,
                rows: 0,
                items: 0,
                bytes: 0,
                oldest: None,
                refused: 0,
                delivered: delivery.last,
                trouble: delivery.trouble,
            })
            .collect();
        let mut connection = self.pool.acquire().await?;
        let number = |row: &Row, column| row.integer(column).map(|n| u64::try_from(n).unwrap_or(0));
        query(
            "SELECT lane, COUNT(*), CAST(SUM(items) AS BIGINT), CAST(SUM(bytes) AS BIGINT), MIN(created_ns) \
             FROM outbox WHERE refused IS NULL GROUP BY lane",
        )
        .fetch_each(&mut connection, |row| {
            if let Some(lane) = Lane::from_text(&row.text(0)?) {
                let status = &mut lanes[lane as usize];
                (status.rows, status.items) = (number(&row, 1)?, number(&row, 2)?);
                (status.bytes, status.oldest) = (number(&row, 3)?, Some(Timestamp(row.integer(4)?)));
            }
            Ok(())
        })
        .await?;
        query("SELECT lane, CAST(SUM(items) AS BIGINT) FROM outbox WHERE refused IS NOT NULL GROUP BY lane")
            .fetch_each(&mut connection, |row| {
                if let Some(lane) = Lane::from_text(&row.text(0)?) {
                    lanes[lane as usize].refused = number(&row, 1)?;
                }
                Ok(())
            })
            .await?;
        Ok(lanes)
    }

    /// What was refused for good, oldest first, at most `limit`.
    pub async fn outbox_refused(&self, limit: u32) -> Result<Vec<Refused>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let rows = query(
            "SELECT id, lane, created_ns, items, body, refused, kept FROM outbox WHERE refused IS NOT NULL \
             ORDER BY id LIMIT $1",
        )
        .bind(limit)
        .fetch(&mut connection)
        .await?;
        let mut refused = Vec::with_capacity(rows.len());
        for row in rows {
            let Some(lane) = Lane::from_text(&row.text(1)?) else { continue };
            let entry = Entry {
                lane,
                created: Timestamp(row.integer(2)?),
                items: u32::try_from(row.integer(3)?).unwrap_or(u32::MAX),
                body: row.bytes(4)?,
                snapshot: None,
                kept: row.integer(6)? != 0,
            };
            refused.push(Refused { id: row.integer(0)?, entry, reason: row.text(5)? });
        }
        Ok(refused)
    }
}
