//! Facts and their telemetry, and the one transaction that writes them.

use std::collections::{BTreeMap, HashSet};

use sha2::{Digest, Sha256};

use super::db::{Connection, Value, insert_many, query};
use super::events::{self, EventFacts, Recorded};
use super::verdicts::{self, VerdictsRow};
use crate::clock::{Timestamp, nanos};
use crate::model::{Deployment, Outcome, Phase, RoundId, Run, Sample, SpanId, TraceId};

/// What becomes true at once or not at all: runs, what they add to cumulative series, and the
/// encoded telemetry that tells of them.
#[derive(Debug, Default)]
pub struct Facts {
    pub runs: Vec<Run>,
    pub increments: Vec<Increment>,
    pub outbox: Vec<Entry>,
    /// Of these suites, in place of what is there.
    pub verdicts: Vec<VerdictsRow>,
}

/// An encoded OTLP request that waits for the collector.
#[derive(Clone, Debug)]
pub struct Entry {
    pub lane: Lane,
    pub created: Timestamp,
    /// Spans, log records or data points in it.
    pub items: u32,
    pub body: Vec<u8>,
    /// Metric snapshots that a later one supersedes: when they were taken.
    pub snapshot: Option<Timestamp>,
    /// Never dropped at the outbox's limit: it tells of what was acknowledged to CI.
    pub kept: bool,
}

/// A queue of its own within the outbox: one never waits behind another, and order holds within.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    Traces,
    Logs,
    /// Cumulative counters and histograms, whose history is worth replaying.
    Metrics,
    /// What is true now; an older snapshot that still waits is replaced.
    Gauges,
}

impl Lane {
    pub const ALL: [Lane; 4] = [Lane::Traces, Lane::Logs, Lane::Metrics, Lane::Gauges];

    pub fn as_str(self) -> &'static str {
        match self {
            Lane::Traces => "traces",
            Lane::Logs => "logs",
            Lane::Metrics => "metrics",
            Lane::Gauges => "gauges",
        }
    }

    pub fn from_text(text: &str) -> Option<Self> {
        Lane::ALL.into_iter().find(|lane| lane.as_str() == text)
    }
}

/// Something added to one cumulative series.
#[derive(Clone, Debug)]
pub struct Increment {
    pub metric: &'static str,
    /// A JSON array of `[name, value]` pairs in a fixed order: with the metric, the series' identity.
    pub attributes: String,
    /// The deployment the series belongs to, whose retirement ends it.
    pub deployment: Option<i64>,
    /// Where a series that is new starts.
    pub started: Timestamp,
    pub count: u64,
    pub sum: f64,
    /// For a histogram with bounds: which bucket.
    pub bucket: Option<u16>,
    pub exemplar: Option<Exemplar>,
}

/// The measurement that stands for its bucket.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    pub value: f64,
    pub at: Timestamp,
    pub trace: TraceId,
    pub span: SpanId,
}

/// The first 8 bytes of a SHA-256 as a key. At 50,000 keys the chance of any collision is 10⁻¹⁰.
pub(super) fn key(parts: &[&str]) -> i64 {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let mut first = [0; 8];
    first.copy_from_slice(&hash.finalize()[..8]);
    i64::from_le_bytes(first)
}

/// The key of a deployment's row: of all that identifies this build of it.
pub fn deployment_key(deployment: &Deployment) -> i64 {
    key(&["deployment", &deployment.key()])
}

pub(super) fn round_key(id: RoundId) -> i64 {
    i64::from_be_bytes(id.0)
}

pub(super) fn round_id(key: i64) -> RoundId {
    RoundId(key.to_be_bytes())
}

/// The value that `percent` of the sorted values do not exceed (nearest rank).
pub(super) fn percentile<T: Copy>(sorted: &[T], percent: usize) -> Option<T> {
    sorted.get((sorted.len() * percent).div_ceil(100).saturating_sub(1)).copied()
}

/// The median of the first attempts that got an answer; what a run's line on the page is drawn from.
fn run_latency(samples: &[Sample]) -> Option<i64> {
    let mut totals: Vec<i64> = samples
        .iter()
        .filter_map(|s| s.first())
        .filter(|a| a.status.is_some())
        .map(|a| nanos(a.phases.total()))
        .collect();
    totals.sort_unstable();
    percentile(&totals, 50)
}

/// Series whose names are in the database, so that they need not be written with every increment.
/// They are never deleted; a key that is missing here costs a statement and no more.
#[derive(Default)]
pub(super) struct KnownSeries(HashSet<i64>);

impl KnownSeries {
    /// Beyond this many it starts afresh.
    const MAX: usize = 100_000;

    /// To be called when the transaction that wrote them is committed.
    pub fn extend(&mut self, written: Vec<i64>) {
        if self.0.len() + written.len() > Self::MAX {
            self.0.clear();
        }
        self.0.extend(written);
    }
}

/// What [`write`] did.
pub(super) enum Written {
    /// Everything; these series were not known before, and this became of the events, in order.
    All { new_series: Vec<i64>, recorded: Vec<Recorded> },
    /// So many runs were there already, and the caller rolls back.
    KnownRuns(u64),
}

/// Writes everything in the transaction that is open.
pub(super) async fn write(
    connection: &mut Connection,
    batch: &[&Facts],
    events: &[&EventFacts],
    known: &KnownSeries,
) -> Result<Written, sqlx::Error> {
    let known_runs = write_runs(connection, batch).await?;
    if known_runs > 0 {
        return Ok(Written::KnownRuns(known_runs));
    }
    write_samples(connection, batch).await?;
    let taken = events::write(connection, events.iter().copied()).await?;
    for row in batch.iter().flat_map(|f| &f.verdicts) {
        verdicts::write(connection, row).await?;
    }
    let increments = batch.iter().flat_map(|f| &f.increments).chain(taken.increments());
    let new_series = write_series(connection, increments, known).await?;
    write_outbox(connection, batch.iter().flat_map(|f| &f.outbox).chain(taken.outbox())).await?;
    Ok(Written::All { new_series, recorded: taken.recorded })
}

/// Returns how many of the runs were there already.
async fn write_runs(connection: &mut Connection, batch: &[&Facts]) -> Result<u64, sqlx::Error> {
    let runs = || batch.iter().flat_map(|f| &f.runs);
    let rounds: BTreeMap<i64, _> = runs().map(|r| (round_key(r.round.id), &r.round)).collect();
    let rows = rounds.into_iter().map(|(key, round)| {
        vec![key.into(), round.suite.clone().into(), round.scheduled.0.into(), round.started.0.into()]
    });
    for statement in insert_many(
        "INSERT INTO rounds (id, suite, scheduled_ns, started_ns)",
        rows,
        "ON CONFLICT (id) DO NOTHING",
    ) {
        statement.execute(connection).await?;
    }

    let mut inserted = 0;
    let rows = runs().map(|run| {
        vec![
            round_key(run.round.id).into(),
            deployment_key(&run.deployment).into(),
            run.round.suite.clone().into(),
            run.started.0.into(),
            nanos(run.duration).into(),
            run.outcome.as_str().into(),
            run_latency(&run.samples).into(),
            run.trace.0.to_vec().into(),
            i64::from(run.round.extra).into(),
        ]
    });
    for statement in insert_many(
        "INSERT INTO runs (round_id, deployment_id, suite, started_ns, duration_ns, outcome, latency_ns, trace_id, \
         extra)",
        rows,
        "ON CONFLICT (round_id, deployment_id) DO NOTHING",
    ) {
        inserted += statement.execute(connection).await?;
    }
    Ok((runs().count() as u64).saturating_sub(inserted))
}

async fn write_samples(connection: &mut Connection, batch: &[&Facts]) -> Result<(), sqlx::Error> {
    let runs = batch.iter().flat_map(|f| &f.runs);
    let rows = runs.flat_map(|run| {
        let (round, deployment) = (round_key(run.round.id), deployment_key(&run.deployment));
        run.samples.iter().zip(0_u32..).map(move |(sample, place)| {
            let (first, last) = (sample.first(), sample.last());
            let phase =
                |phase: Phase| -> Value { first.map(|attempt| nanos(attempt.phases.get(phase))).into() };
            vec![
                deployment.into(),
                first.map_or(run.started, |a| a.started).0.into(),
                round.into(),
                place.into(),
                sample.request.name.clone().into(),
                sample.outcome.as_str().into(),
                i64::try_from(sample.attempts.len()).unwrap_or(i64::MAX).into(),
                first.and_then(|a| a.status).into(),
                first.and_then(|a| a.error).map(|e| e.as_str()).into(),
                last.and_then(|a| a.error).map(|e| e.as_str()).into(),
                phase(Phase::Dns),
                phase(Phase::Connect),
                phase(Phase::Tls),
                phase(Phase::Send),
                phase(Phase::Wait),
                phase(Phase::Receive),
                first.map(|a| nanos(a.phases.total())).into(),
                sample.detail.clone().into(),
            ]
        })
    });
    for statement in insert_many(
        "INSERT INTO samples (deployment_id, started_ns, round_id, place, request, outcome, attempts, status, \
         first_error, error, dns_ns, connect_ns, tls_ns, send_ns, wait_ns, receive_ns, total_ns, detail)",
        rows,
        "",
    ) {
        statement.execute(connection).await?;
    }
    Ok(())
}

/// Adds up what falls on the same series first: fewer rows to touch, and PostgreSQL refuses to
/// touch one row twice in a statement.
async fn write_series(
    connection: &mut Connection,
    increments: impl Iterator<Item = &Increment>,
    known: &KnownSeries,
) -> Result<Vec<i64>, sqlx::Error> {
    struct Sum<'a> {
        first: &'a Increment,
        count: i64,
        sum: f64,
    }
    // In the order of their keys: writers that lock rows in one order cannot deadlock.
    let mut sums: BTreeMap<i64, Sum> = BTreeMap::new();
    let mut buckets: BTreeMap<(i64, u16), (i64, Option<&Exemplar>)> = BTreeMap::new();
    for increment in increments {
        let series = key(&["series", increment.metric, &increment.attributes]);
        let count = i64::try_from(increment.count).unwrap_or(i64::MAX);
        let sum = sums.entry(series).or_insert(Sum { first: increment, count: 0, sum: 0.0 });
        sum.count += count;
        sum.sum += increment.sum;
        if let Some(bucket) = increment.bucket {
            let entry = buckets.entry((series, bucket)).or_default();
            entry.0 += count;
            entry.1 = increment.exemplar.as_ref().or(entry.1);
        }
    }

    let new: Vec<i64> = sums.keys().copied().filter(|id| !known.0.contains(id)).collect();
    let rows = new.iter().map(|id| {
        let first = sums[id].first;
        vec![(*id).into(), first.metric.into(), first.attributes.as_str().into(), first.started.0.into()]
    });
    for statement in insert_many(
        "INSERT INTO series (id, metric, attributes, started_ns)",
        rows,
        "ON CONFLICT (id) DO NOTHING",
    ) {
        statement.execute(connection).await?;
    }

    // A new build of a deployment takes its series over.
    let rows = sums
        .into_iter()
        .map(|(id, sum)| vec![id.into(), sum.first.deployment.into(), sum.count.into(), sum.sum.into()]);
    for statement in insert_many(
        "INSERT INTO totals (series_id, deployment_id, count, sum)",
        rows,
        "ON CONFLICT (series_id) DO UPDATE SET count = totals.count + excluded.count, \
         sum = totals.sum + excluded.sum, deployment_id = excluded.deployment_id, closed_ns = NULL",
    ) {
        statement.execute(connection).await?;
    }

    let rows = buckets.into_iter().map(|((series, bucket), (count, exemplar))| {
        vec![
            series.into(),
            bucket.into(),
            count.into(),
            exemplar.map(|e| e.value).into(),
            exemplar.map(|e| e.at.0).into(),
            exemplar.map(|e| e.trace.0.to_vec()).into(),
            exemplar.map(|e| e.span.0.to_vec()).into(),
        ]
    });
    for statement in insert_many(
        "INSERT INTO buckets (series_id, bucket, count, exemplar_value, exemplar_ns, exemplar_trace, exemplar_span)",
        rows,
        "ON CONFLICT (series_id, bucket) DO UPDATE SET count = buckets.count + excluded.count, \
         exemplar_value = COALESCE(excluded.exemplar_value, buckets.exemplar_value), \
         exemplar_ns = COALESCE(excluded.exemplar_ns, buckets.exemplar_ns), \
         exemplar_trace = COALESCE(excluded.exemplar_trace, buckets.exemplar_trace), \
         exemplar_span = COALESCE(excluded.exemplar_span, buckets.exemplar_span)",
    ) {
        statement.execute(connection).await?;
    }
    Ok(new)
}

/// Rows of at most this many bytes, each one or more entries of a lane: the bodies of two encoded
/// OTLP requests of one signal, one after the other, are the encoding of both together.
const ROW_BYTES_MAX: usize = 256 * 1024;

pub(super) async fn write_outbox(
    connection: &mut Connection,
    entries: impl Iterator<Item = &Entry>,
) -> Result<(), sqlx::Error> {
    let mut rows: Vec<Entry> = Vec::new();
    for entry in entries {
        let open = rows
            .iter_mut()
            .rfind(|row| (row.lane, row.snapshot, row.kept) == (entry.lane, entry.snapshot, entry.kept));
        match open {
            Some(row) if row.body.len() + entry.body.len() <= ROW_BYTES_MAX => {
                row.items += entry.items;
                row.body.extend_from_slice(&entry.body);
            }
            _ => rows.push(entry.clone()),
        }
    }
    for row in rows {
        query(
            "INSERT INTO outbox (lane, created_ns, items, bytes, body, snapshot_ns, kept) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(row.lane.as_str())
        .bind(row.created.0)
        .bind(row.items)
        .bind(i64::try_from(row.body.len()).unwrap_or(i64::MAX))
        .bind(row.body)
        .bind(row.snapshot.map(|t| t.0))
        .bind(i64::from(row.kept))
        .execute(connection)
        .await?;
    }
    Ok(())
}

/// What the store says an outcome is; an unknown text (from a newer program) counts as skipped.
pub(super) fn outcome(text: &str) -> Outcome {
    text.parse().unwrap_or(Outcome::Skipped)
}
