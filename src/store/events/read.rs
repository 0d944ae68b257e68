//! Facts from CI, read again.

use std::collections::HashSet;

use super::super::db::{Row, Statement, Value, for_keys, query};
use super::super::{Store, StoreError};
use super::{EventFacts, Recorded};
use crate::clock::Timestamp;
use crate::model::{CaseStatus, Event, EventKind, EventRow, Mark, ResultRow};

const EVENT_COLUMNS: &str = "id, started_ns, received_ns, body";

/// `None` for what a newer program wrote.
fn event(row: &Row) -> Result<Option<EventRow>, sqlx::Error> {
    let Ok(event) = serde_json::from_str::<Event>(&row.text(3)?) else { return Ok(None) };
    Ok(Some(EventRow {
        key: row.integer(0)?,
        started: Timestamp(row.integer(1)?),
        received: Timestamp(row.integer(2)?),
        event,
    }))
}

const RESULT_COLUMNS: &str =
    "r.event_id, r.case_id, c.class, c.name, r.status, r.mark, r.duration_ns, r.message";

fn result(row: &Row) -> Result<Option<ResultRow>, sqlx::Error> {
    let Some(status) = CaseStatus::from_text(&row.text(4)?) else { return Ok(None) };
    Ok(Some(ResultRow {
        event: row.integer(0)?,
        case: row.integer(1)?,
        class: row.text(2)?,
        name: row.text(3)?,
        status,
        mark: row.text_or_null(5)?.and_then(|mark| Mark::from_text(&mark)),
        seconds: row.integer_or_null(6)?.map(|ns| ns as f64 / 1e9),
        message: row.text_or_null(7)?,
    }))
}

impl Store {
    /// Returns when the events are durable, and what became of each. Refuses at once when the
    /// writer's queue is full.
    pub async fn record(&self, events: Vec<EventFacts>) -> Result<Vec<Recorded>, StoreError> {
        let recorded = self.hand_in(events)?.await.map_err(|_| StoreError::Closed)??;
        if recorded.iter().any(|recorded| recorded.is_news()) {
            self.events_changed.send_modify(|changes| *changes += 1);
        }
        Ok(recorded)
    }

    /// Changes whenever an event was taken in.
    pub fn events_changed(&self) -> tokio::sync::watch::Receiver<u64> {
        self.events_changed.subscribe()
    }

    /// Events of a kind that started at or after `since`, newest first, at most `limit`.
    pub async fn events(
        &self,
        kind: EventKind,
        since: Timestamp,
        limit: u32,
    ) -> Result<Vec<EventRow>, StoreError> {
        let sql = format!(
            "SELECT {EVENT_COLUMNS} FROM events WHERE kind = $1 AND started_ns >= $2 \
             ORDER BY started_ns DESC, id LIMIT $3"
        );
        let values = vec![kind.as_str().into(), since.0.into(), limit.into()];
        self.events_where(sql, values).await
    }

    /// Events that told of a beginning and never of an end, newest first, at most `limit`.
    pub async fn events_under_way(&self, since: Timestamp, limit: u32) -> Result<Vec<EventRow>, StoreError> {
        let sql = format!(
            "SELECT {EVENT_COLUMNS} FROM events WHERE finished_ns IS NULL AND started_ns >= $1 \
             ORDER BY started_ns DESC, id LIMIT $2"
        );
        self.events_where(sql, vec![since.0.into(), limit.into()]).await
    }

    /// The newest event of another kind than deployment that made this image.
    pub async fn event_of_image(&self, digest: &str) -> Result<Option<EventRow>, StoreError> {
        let sql = format!(
            "SELECT {EVENT_COLUMNS} FROM events WHERE digest = $1 AND digest <> '' \
             AND kind IN ('step', 'pipeline') AND finished_ns IS NOT NULL ORDER BY started_ns DESC LIMIT 1"
        );
        Ok(self.events_where(sql, vec![digest.into()]).await?.into_iter().next())
    }

    /// The runs of a pipeline that are known as a whole: run and attempt.
    pub async fn known_runs(&self, source: &str, pipeline: &str) -> Result<Vec<(String, u32)>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let mut runs = Vec::new();
        query(
            "SELECT run, attempt FROM events WHERE source = $1 AND pipeline = $2 AND kind = 'pipeline' \
             AND finished_ns IS NOT NULL AND body NOT LIKE '%\"inferred\":true%' ORDER BY started_ns",
        )
        .bind(source)
        .bind(pipeline)
        .fetch_each(&mut connection, |row| {
            runs.push((row.text(0)?, u32::try_from(row.integer(1)?).unwrap_or(u32::MAX)));
            Ok(())
        })
        .await?;
        Ok(runs)
    }

    /// Steps of runs of which nobody told as a whole, and of which nothing was heard since `quiet`: of at
    /// most `limit` such runs, none older than `since`. A run whose steps all name the span they belong
    /// under has no place for one of its own.
    pub async fn headless_runs(
        &self,
        since: Timestamp,
        quiet: Timestamp,
        limit: u32,
    ) -> Result<Vec<Vec<EventRow>>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let rows = query(
            "SELECT source, pipeline, run, attempt FROM events WHERE received_ns >= $1 \
             GROUP BY source, pipeline, run, attempt \
             HAVING MAX(received_ns) < $2 AND COUNT(finished_ns) = COUNT(*) \
             AND SUM(CASE WHEN step = '' THEN 1 ELSE 0 END) = 0 \
             AND SUM(CASE WHEN body LIKE '%\"traceparent\":%' THEN 0 ELSE 1 END) > 0 \
             LIMIT $3",
        )
        .bind(since.0)
        .bind(quiet.0)
        .bind(limit)
        .fetch(&mut connection)
        .await?;
        // One reader never holds two connections: enough of them would wait for each other.
        drop(connection);
        let mut runs = Vec::with_capacity(rows.len());
        for row in rows {
            let sql = format!(
                "SELECT {EVENT_COLUMNS} FROM events WHERE source = $1 AND pipeline = $2 AND run = $3 \
                 AND attempt = $4 ORDER BY started_ns, id LIMIT 1000"
            );
            let values =
                vec![row.text(0)?.into(), row.text(1)?.into(), row.text(2)?.into(), row.integer(3)?.into()];
            runs.push(self.events_where(sql, values).await?);
        }
        Ok(runs)
    }

    async fn events_where(&self, sql: String, values: Vec<Value>) -> Result<Vec<EventRow>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let mut events = Vec::new();
        let statement = values.into_iter().fold(Statement::from_text(sql), |s, v| s.bind(v));
        statement
            .fetch_each(&mut connection, |row| {
                events.extend(event(&row)?);
                Ok(())
            })
            .await?;
        Ok(events)
    }

    /// How the cases of these test runs went, in the order they ran; at most `limit` in all.
    pub async fn test_results(&self, events: &[i64], limit: usize) -> Result<Vec<ResultRow>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let mut results = Vec::new();
        let sql = format!(
            "SELECT {RESULT_COLUMNS} FROM test_results r JOIN test_cases c ON c.id = r.case_id \
             WHERE r.event_id = $1 ORDER BY r.place LIMIT $2"
        );
        for id in events {
            let left = i64::try_from(limit.saturating_sub(results.len())).unwrap_or(i64::MAX);
            let statement = Statement::from_text(sql.clone()).bind(*id).bind(left);
            statement
                .fetch_each(&mut connection, |row| {
                    results.extend(result(&row)?);
                    Ok(())
                })
                .await?;
        }
        Ok(results)
    }

    /// All results, within these test runs, of cases that failed (or passed after a rerun) in any of
    /// them; at most `limit`. Only these can be flaky.
    pub async fn doubtful_results(&self, events: &[i64], limit: usize) -> Result<Vec<ResultRow>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let mut cases = HashSet::new();
        let bad = "SELECT DISTINCT case_id FROM test_results \
                   WHERE (status IN ('fail', 'error') OR mark = 'rerun') AND event_id";
        for statement in for_keys(bad, &[], events) {
            for row in statement.fetch(&mut connection).await? {
                cases.insert(row.integer(0)?);
            }
        }
        let wanted: HashSet<i64> = events.iter().copied().collect();
        let mut cases: Vec<i64> = cases.into_iter().collect();
        cases.sort_unstable();
        let mut results = Vec::new();
        let all = "SELECT r.event_id, r.case_id, c.class, c.name, r.status, r.mark, r.duration_ns, NULL \
                   FROM test_results r JOIN test_cases c ON c.id = r.case_id WHERE r.case_id";
        for statement in for_keys(all, &[], &cases) {
            if results.len() >= limit {
                break;
            }
            statement
                .fetch_each(&mut connection, |row| {
                    results.extend(result(&row)?.filter(|result| wanted.contains(&result.event)));
                    Ok(())
                })
                .await?;
        }
        results.truncate(limit);
        Ok(results)
    }

    /// Bytes of telemetry that the outbox's limit never takes and that waits for the collector. What the
    /// collector refused for good does not: no way to it that is mended would make room.
    pub async fn kept_bytes(&self) -> Result<u64, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let rows = query(
            "SELECT CAST(COALESCE(SUM(bytes), 0) AS BIGINT) FROM outbox WHERE kept = 1 AND refused IS NULL",
        )
        .fetch(&mut connection)
        .await?;
        Ok(rows.first().map_or(Ok(0), |row| row.integer(0)).map(|n| u64::try_from(n).unwrap_or(0))?)
    }
}
