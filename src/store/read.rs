//! What pages and reports ask of the store. Each call is bounded by a window and a limit.

use super::db::{Row, Statement, Value, query};
use super::facts::{outcome, percentile, round_id, round_key};
use super::{Store, StoreError};
use crate::clock::Timestamp;
use crate::model::{ErrorType, Outcome, Phases, RoundId, TraceId};

/// One suite on one deployment in one round, without its samples.
#[derive(Clone, Debug, PartialEq)]
pub struct RunRow {
    pub deployment: i64,
    pub round: RoundId,
    pub suite: String,
    pub started: Timestamp,
    pub duration_ns: u64,
    pub outcome: Outcome,
    /// Median of the first attempts that were answered.
    pub latency_ns: Option<u64>,
    pub trace: Option<TraceId>,
    /// Of a round that was made besides the schedule.
    pub extra: bool,
}

/// One request of one run.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleRow {
    pub deployment: i64,
    pub started: Timestamp,
    pub round: RoundId,
    pub request: String,
    pub outcome: Outcome,
    pub attempts: u32,
    /// Of the first attempt.
    pub status: Option<u16>,
    /// Of the last attempt.
    pub error: Option<ErrorType>,
    /// Of the first attempt; `None` when it was never sent.
    pub phases: Option<Phases>,
    pub detail: String,
}

impl SampleRow {
    pub fn passed_on_retry(&self) -> bool {
        self.attempts > 1 && matches!(self.outcome, Outcome::Pass | Outcome::Degraded)
    }
}

/// A sample that did not pass, with the trace it is part of.
#[derive(Clone, Debug, PartialEq)]
pub struct FailureRow {
    pub sample: SampleRow,
    pub trace: Option<TraceId>,
}

/// How one request fared on one deployment within a window.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestTimes {
    pub request: String,
    /// Samples that were asked.
    pub samples: u32,
    /// Of these: failed or unreachable.
    pub failures: u32,
    /// Of the first attempts that were answered; `None` when none was.
    pub median_ns: Option<u64>,
    pub p90_ns: Option<u64>,
    /// Totals of the last answered first attempts, oldest first, at most 40.
    pub recent_ns: Vec<u64>,
    /// How the last sample went.
    pub last: Outcome,
}

/// Totals that [`RequestTimes::recent_ns`] holds at most.
const RECENT_MAX: usize = 40;

/// Samples of a run are looked for this much before and after it: the wall clock, which dates them,
/// may have been set while it ran.
const CLOCK_STEP_NS: i64 = 60_000_000_000;

const SAMPLE_COLUMNS: &str = "s.deployment_id, s.started_ns, s.round_id, s.request, s.outcome, s.attempts, s.status, \
     s.error, s.dns_ns, s.connect_ns, s.tls_ns, s.send_ns, s.wait_ns, s.receive_ns, s.detail";

fn sample(row: &Row) -> Result<SampleRow, sqlx::Error> {
    let mut phases = [0; 6];
    let mut measured = true;
    for (i, phase) in phases.iter_mut().enumerate() {
        match row.integer_or_null(8 + i)? {
            Some(ns) => *phase = unsigned(ns),
            None => measured = false,
        }
    }
    Ok(SampleRow {
        deployment: row.integer(0)?,
        started: Timestamp(row.integer(1)?),
        round: round_id(row.integer(2)?),
        request: row.text(3)?,
        outcome: outcome(&row.text(4)?),
        attempts: u32::try_from(row.integer(5)?).unwrap_or(0),
        status: row.integer_or_null(6)?.and_then(|s| u16::try_from(s).ok()),
        error: row.text_or_null(7)?.and_then(|e| e.parse().ok()),
        phases: measured.then_some(Phases(phases)),
        detail: row.text(14)?,
    })
}

fn run(row: &Row) -> Result<RunRow, sqlx::Error> {
    Ok(RunRow {
        deployment: row.integer(0)?,
        round: round_id(row.integer(1)?),
        suite: row.text(2)?,
        started: Timestamp(row.integer(3)?),
        duration_ns: unsigned(row.integer(4)?),
        outcome: outcome(&row.text(5)?),
        latency_ns: row.integer_or_null(6)?.map(unsigned),
        trace: TraceId::from_slice(&row.bytes(7)?),
        extra: row.integer(8)? != 0,
    })
}

fn unsigned(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

impl Store {
    /// The last runs of a deployment, newest first.
    pub async fn runs(&self, deployment: i64, limit: u32) -> Result<Vec<RunRow>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let mut runs = Vec::new();
        query(
            "SELECT deployment_id, round_id, suite, started_ns, duration_ns, outcome, latency_ns, trace_id, \
             extra FROM runs WHERE deployment_id = $1 ORDER BY started_ns DESC LIMIT $2",
        )
        .bind(deployment)
        .bind(limit)
        .fetch_each(&mut connection, |row| {
            runs.push(run(&row)?);
            Ok(())
        })
        .await?;
        Ok(runs)
    }

    /// The last run of every living deployment that has one.
    pub async fn last_runs(&self) -> Result<Vec<RunRow>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let rows = query(
            "SELECT r.deployment_id, r.round_id, r.suite, r.started_ns, r.duration_ns, r.outcome, r.latency_ns, \
             r.trace_id, r.extra FROM deployments d JOIN runs r ON r.deployment_id = d.id AND r.started_ns = \
             (SELECT MAX(l.started_ns) FROM runs l WHERE l.deployment_id = d.id) WHERE d.retired_ns IS NULL",
        )
        .fetch(&mut connection)
        .await?;
        Ok(rows.iter().map(run).collect::<Result<_, _>>()?)
    }

    /// The samples of one run, in the order they were taken.
    pub async fn run_samples(&self, deployment: i64, round: RoundId) -> Result<Vec<SampleRow>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let started =
            query("SELECT started_ns, duration_ns FROM runs WHERE round_id = $1 AND deployment_id = $2")
                .bind(round_key(round))
                .bind(deployment)
                .fetch(&mut connection)
                .await?;
        // One reader never holds two connections: enough of them would wait for each other.
        drop(connection);
        let Some(run) = started.first() else { return Ok(Vec::new()) };
        let (started, duration) = (run.integer(0)?, run.integer(1)?);
        let from = started.saturating_sub(CLOCK_STEP_NS);
        let to = started.saturating_add(duration).saturating_add(CLOCK_STEP_NS);
        self.samples_where(
            "s.deployment_id = $1 AND s.started_ns >= $2 AND s.started_ns <= $3 AND s.round_id = $4 \
             ORDER BY s.place",
            vec![deployment.into(), from.into(), to.into(), round_key(round).into()],
        )
        .await
    }

    /// Samples of one deployment (of one request, where given) taken at or after `since`, newest
    /// first.
    pub async fn samples(
        &self,
        deployment: i64,
        request: Option<&str>,
        since: Timestamp,
        limit: u32,
    ) -> Result<Vec<SampleRow>, StoreError> {
        match request {
            Some(request) => {
                self.samples_where(
                    "s.deployment_id = $1 AND s.started_ns >= $2 AND s.request = $3 \
                     ORDER BY s.started_ns DESC LIMIT $4",
                    vec![deployment.into(), since.0.into(), request.into(), limit.into()],
                )
                .await
            }
            None => {
                self.samples_where(
                    "s.deployment_id = $1 AND s.started_ns >= $2 ORDER BY s.started_ns DESC LIMIT $3",
                    vec![deployment.into(), since.0.into(), limit.into()],
                )
                .await
            }
        }
    }

    async fn samples_where(&self, condition: &str, values: Vec<Value>) -> Result<Vec<SampleRow>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let sql = format!("SELECT {SAMPLE_COLUMNS} FROM samples s WHERE {condition}");
        let statement = values.into_iter().fold(Statement::from_text(sql), |s, v| s.bind(v));
        let mut samples = Vec::new();
        statement
            .fetch_each(&mut connection, |row| {
                samples.push(sample(&row)?);
                Ok(())
            })
            .await?;
        Ok(samples)
    }

    /// The last samples that did not pass, newest first.
    pub async fn failures(&self, since: Timestamp, limit: u32) -> Result<Vec<FailureRow>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let sql = format!(
            "SELECT {SAMPLE_COLUMNS}, r.trace_id FROM samples s \
             LEFT JOIN runs r ON r.round_id = s.round_id AND r.deployment_id = s.deployment_id \
             WHERE s.outcome NOT IN ('pass', 'skipped') AND s.started_ns >= $1 \
             ORDER BY s.started_ns DESC LIMIT $2"
        );
        let rows = Statement::from_text(sql).bind(since.0).bind(limit).fetch(&mut connection).await?;
        let failures = rows.iter().map(|row| {
            let trace = row.bytes_or_null(15)?.and_then(|b| TraceId::from_slice(&b));
            Ok(FailureRow { sample: sample(row)?, trace })
        });
        Ok(failures.collect::<Result<_, sqlx::Error>>()?)
    }

    /// How each request fared on a deployment over its last samples, at most `limit` of all
    /// requests together, none older than `since`; by name.
    pub async fn request_times(
        &self,
        deployment: i64,
        since: Timestamp,
        limit: u32,
    ) -> Result<Vec<RequestTimes>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let mut requests: std::collections::BTreeMap<String, (RequestTimes, Vec<u64>)> = Default::default();
        query(
            "SELECT request, outcome, status, total_ns FROM samples \
             WHERE deployment_id = $1 AND started_ns >= $2 ORDER BY started_ns DESC LIMIT $3",
        )
        .bind(deployment)
        .bind(since.0)
        .bind(limit)
        .fetch_each(&mut connection, |row| {
            let outcome = outcome(&row.text(1)?);
            let request = row.text(0)?;
            let (times, totals) = requests.entry(request).or_insert_with_key(|request| {
                let times = RequestTimes {
                    request: request.clone(),
                    samples: 0,
                    failures: 0,
                    median_ns: None,
                    p90_ns: None,
                    recent_ns: Vec::new(),
                    last: outcome,
                };
                (times, Vec::new())
            });
            if outcome == Outcome::Skipped {
                return Ok(());
            }
            times.samples += 1;
            times.failures += u32::from(matches!(outcome, Outcome::Fail | Outcome::Unreachable));
            if row.integer_or_null(2)?.is_some() {
                totals.extend(row.integer_or_null(3)?.map(unsigned));
            }
            Ok(())
        })
        .await?;
        Ok(requests
            .into_values()
            .map(|(mut times, mut totals)| {
                times.recent_ns = totals.iter().take(RECENT_MAX).rev().copied().collect();
                totals.sort_unstable();
                (times.median_ns, times.p90_ns) = (percentile(&totals, 50), percentile(&totals, 90));
                times
            })
            .collect())
    }

    /// The last tick of a suite that became a round.
    pub async fn last_round(&self, suite: &str) -> Result<Option<Timestamp>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let rows =
            query("SELECT scheduled_ns FROM rounds WHERE suite = $1 ORDER BY scheduled_ns DESC LIMIT 1")
                .bind(suite)
                .fetch(&mut connection)
                .await?;
        Ok(rows.first().map(|row| row.integer(0)).transpose()?.map(Timestamp))
    }

    /// Bytes the database takes on disk.
    pub async fn size_bytes(&self) -> Result<u64, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let sql = if self.pool.is_sqlite() {
            "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
        } else {
            "SELECT pg_database_size(current_database())"
        };
        let rows = query(sql).fetch(&mut connection).await?;
        Ok(rows.first().map_or(Ok(0), |row| row.integer(0)).map(unsigned)?)
    }
}
