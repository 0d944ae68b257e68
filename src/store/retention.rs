//! What is kept how long: raw samples, then hourly summaries, within a size; of CI the results of test
//! cases as long as raw samples, the events themselves as long as the summaries.
//!
//! Samples that are too old become one summary per deployment, request and hour. What CI told is as old
//! as its arrival, so that history which is imported late is not forgotten at once, nor told as new
//! again. Each call does a bounded amount of work, since it holds the writer.

use std::collections::BTreeMap;
use std::time::Duration;

use super::db::{Connection, Statement, for_keys, query};
use super::facts::percentile;
use crate::clock::Timestamp;

const HOUR_NS: i64 = 3_600_000_000_000;
/// Hours of one deployment that are summarised in one call at most.
const HOURS_PER_CALL_MAX: usize = 64;
/// Once so many samples are summarised, the rest is left for the next call: a tenth of a second.
const SAMPLES_PER_CALL: u64 = 20_000;
/// Test runs whose results are deleted in one call at most; each has up to 50,000 …
const TEST_RUNS_PER_CALL_MAX: usize = 256;
/// … and once so many results are deleted, the rest is left for the next call.
const RESULTS_PER_CALL: u64 = 20_000;
/// Events that are deleted in one call at most.
const EVENTS_PER_CALL_MAX: i64 = 1_000;
/// Pages that are handed back to the file system in one call at most: 16 MiB of 4 KiB pages.
const VACUUM_PAGES_MAX: i64 = 4_096;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Raw samples, runs and rounds, and results of test cases are kept this long.
    pub raw: Duration,
    /// Hourly summaries and events of CI are kept this long.
    pub hourly: Duration,
    /// Bytes of a SQLite store; beyond it the oldest samples are summarised early, and if that is not
    /// enough, the oldest results go early. A PostgreSQL
    /// store goes by age alone: deleting there does not shrink what the server reports.
    pub bytes_max: u64,
}

impl Default for Retention {
    fn default() -> Self {
        let day = Duration::from_secs(86_400);
        Retention { raw: 14 * day, hourly: 400 * day, bytes_max: 5 << 30 }
    }
}

/// Returns the number of samples that were summarised and of results that were deleted; call again
/// while there are any.
pub(super) async fn apply(
    connection: &mut Connection,
    sqlite: bool,
    retention: &Retention,
    now: Timestamp,
) -> Result<u64, sqlx::Error> {
    let cutoff = now.minus(retention.raw).0.div_euclid(HOUR_NS) * HOUR_NS;
    let too_large = sqlite && used_bytes(connection).await? > retention.bytes_max;
    // The current hour still grows, so it is never summarised.
    let cutoff = if too_large { now.0.div_euclid(HOUR_NS) * HOUR_NS } else { cutoff };

    let mut summarised = 0;
    for _ in 0..HOURS_PER_CALL_MAX {
        match oldest_hour(connection, cutoff).await? {
            Some((deployment, hour)) => summarised += summarise(connection, deployment, hour).await?,
            None => break,
        }
        if summarised >= SAMPLES_PER_CALL {
            break;
        }
        if too_large && used_bytes(connection).await? <= retention.bytes_max {
            break;
        }
    }

    if summarised > 0 {
        // The last of each suite stays: it tells which ticks were missed since.
        query(
            "DELETE FROM rounds WHERE scheduled_ns < $1 \
             AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.round_id = rounds.id) \
             AND EXISTS (SELECT 1 FROM rounds later WHERE later.suite = rounds.suite \
                         AND later.scheduled_ns > rounds.scheduled_ns)",
        )
        .bind(cutoff)
        .execute(connection)
        .await?;
    }
    let old = now.minus(retention.hourly).0;
    query("DELETE FROM hours WHERE hour_ns < $1").bind(old).execute(connection).await?;
    let mut forgotten = forget_results(connection, now.minus(retention.raw).0, None).await?;
    if too_large && summarised == 0 {
        forgotten += forget_results(connection, now.0, Some(retention.bytes_max)).await?;
    }
    // Those of which results are kept for longer wait for them.
    query(
        "DELETE FROM events WHERE id IN (SELECT id FROM events WHERE received_ns < $1 AND results = 0 \
         ORDER BY received_ns LIMIT $2)",
    )
    .bind(old)
    .bind(EVENTS_PER_CALL_MAX)
    .execute(connection)
    .await?;
    if sqlite {
        let sql = format!("PRAGMA incremental_vacuum({VACUUM_PAGES_MAX})");
        Statement::from_text(sql).fetch(connection).await?;
    }
    Ok(summarised + forgotten)
}

/// Deletes the results of test runs that were told before `cutoff`, the oldest first, and the cases of
/// which no run is left; with `bytes_max` only until the store is no larger. Returns how many results.
async fn forget_results(
    connection: &mut Connection,
    cutoff: i64,
    bytes_max: Option<u64>,
) -> Result<u64, sqlx::Error> {
    let mut deleted = 0;
    for _ in 0..TEST_RUNS_PER_CALL_MAX {
        if let Some(max) = bytes_max
            && used_bytes(connection).await? <= max
        {
            break;
        }
        let rows = query(
            "SELECT id FROM events WHERE results > 0 AND received_ns < $1 ORDER BY received_ns, id LIMIT 1",
        )
        .bind(cutoff)
        .fetch(connection)
        .await?;
        let Some(row) = rows.first() else { break };
        let event = row.integer(0)?;
        let mut cases = Vec::new();
        query("SELECT DISTINCT case_id FROM test_results WHERE event_id = $1")
            .bind(event)
            .fetch_each(connection, |row| {
                cases.push(row.integer(0)?);
                Ok(())
            })
            .await?;
        deleted +=
            query("DELETE FROM test_results WHERE event_id = $1").bind(event).execute(connection).await?;
        query("UPDATE events SET results = 0 WHERE id = $1").bind(event).execute(connection).await?;
        let unused = "DELETE FROM test_cases WHERE NOT EXISTS \
                      (SELECT 1 FROM test_results WHERE case_id = test_cases.id) AND id";
        for statement in for_keys(unused, &[], &cases) {
            statement.execute(connection).await?;
        }
        if deleted >= RESULTS_PER_CALL {
            break;
        }
    }
    Ok(deleted)
}

async fn used_bytes(connection: &mut Connection) -> Result<u64, sqlx::Error> {
    let mut number = async |sql| -> Result<i64, sqlx::Error> {
        query(sql).fetch(connection).await?.first().map_or(Ok(0), |row| row.integer(0))
    };
    let pages = number("PRAGMA page_count").await? - number("PRAGMA freelist_count").await?;
    let size = number("PRAGMA page_size").await?;
    Ok(u64::try_from(pages * size).unwrap_or(0))
}

/// The deployment with the oldest run before `cutoff`, and the hour of that run.
async fn oldest_hour(connection: &mut Connection, cutoff: i64) -> Result<Option<(i64, i64)>, sqlx::Error> {
    let rows = query(
        "SELECT d.id, (SELECT MIN(r.started_ns) FROM runs r WHERE r.deployment_id = d.id) AS oldest \
         FROM deployments d ORDER BY oldest",
    )
    .fetch(connection)
    .await?;
    for row in rows {
        if let Some(oldest) = row.integer_or_null(1)?.filter(|oldest| *oldest < cutoff) {
            return Ok(Some((row.integer(0)?, oldest.div_euclid(HOUR_NS) * HOUR_NS)));
        }
    }
    Ok(None)
}

/// One request on one deployment: all that was asked, and the times of the first attempts that were
/// answered.
#[derive(Default)]
struct Hour {
    samples: i64,
    failures: i64,
    times: Vec<i64>,
}

async fn summarise(connection: &mut Connection, deployment: i64, hour: i64) -> Result<u64, sqlx::Error> {
    let mut requests: BTreeMap<String, Hour> = BTreeMap::new();
    query(
        "SELECT request, outcome, status, total_ns FROM samples \
         WHERE deployment_id = $1 AND started_ns < $2 AND outcome <> 'skipped'",
    )
    .bind(deployment)
    .bind(hour + HOUR_NS)
    .fetch_each(connection, |row| {
        let hour = requests.entry(row.text(0)?).or_default();
        hour.samples += 1;
        let outcome = row.text(1)?;
        hour.failures += i64::from(outcome == "fail" || outcome == "unreachable");
        if row.integer_or_null(2)?.is_some() {
            hour.times.extend(row.integer_or_null(3)?);
        }
        Ok(())
    })
    .await?;
    for (request, Hour { samples, failures, mut times }) in requests {
        times.sort_unstable();
        // Samples that come late (the disk was full) are counted, and widen the range; quantiles
        // cannot be put together, so those of the first summary stand.
        query(
            "INSERT INTO hours (deployment_id, request, hour_ns, samples, failures, min_ns, p50_ns, p90_ns, p99_ns, max_ns) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
             ON CONFLICT (deployment_id, request, hour_ns) DO UPDATE SET \
             samples = hours.samples + excluded.samples, failures = hours.failures + excluded.failures, \
             min_ns = CASE WHEN excluded.min_ns < hours.min_ns THEN excluded.min_ns \
                      ELSE COALESCE(hours.min_ns, excluded.min_ns) END, \
             p50_ns = COALESCE(hours.p50_ns, excluded.p50_ns), \
             p90_ns = COALESCE(hours.p90_ns, excluded.p90_ns), \
             p99_ns = COALESCE(hours.p99_ns, excluded.p99_ns), \
             max_ns = CASE WHEN excluded.max_ns > hours.max_ns THEN excluded.max_ns \
                      ELSE COALESCE(hours.max_ns, excluded.max_ns) END",
        )
        .bind(deployment)
        .bind(request)
        .bind(hour)
        .bind(samples)
        .bind(failures)
        .bind(times.first().copied())
        .bind(percentile(&times, 50))
        .bind(percentile(&times, 90))
        .bind(percentile(&times, 99))
        .bind(times.last().copied())
        .execute(connection)
        .await?;
    }
    let deleted = query("DELETE FROM samples WHERE deployment_id = $1 AND started_ns < $2")
        .bind(deployment)
        .bind(hour + HOUR_NS)
        .execute(connection)
        .await?;
    query("DELETE FROM runs WHERE deployment_id = $1 AND started_ns < $2")
        .bind(deployment)
        .bind(hour + HOUR_NS)
        .execute(connection)
        .await?;
    Ok(deleted)
}
