//! The one task that writes: group commit, patience with a full or locked disk, and order.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};

use super::db::{Connection, Pool};
use super::events::{EventFacts, Recorded};
use super::facts::{self, Entry, Facts, KnownSeries, Written};
use super::lock::Lock;
use super::{DeploymentRow, Refused, Retention, StoreError, fleet, outbox, retention, series};
use crate::clock::{Clock, Timestamp};

/// Jobs in one transaction at most, so that none waits long for the others.
const GROUP_MAX: usize = 512;
/// How long the writer waits before it tries again what a full or locked disk refused.
const RETRY_EVERY: Duration = Duration::from_millis(500);

type Done<T> = oneshot::Sender<Result<T, StoreError>>;
/// What the writer will answer.
pub(super) type Pending<T> = oneshot::Receiver<Result<T, StoreError>>;

pub(super) enum Job {
    Facts(Facts, Option<Done<()>>),
    Events(Vec<EventFacts>, Done<Vec<Recorded>>),
    Change(Change, Done<u64>),
    Close(oneshot::Sender<()>),
}

impl Job {
    /// Whether something new waits in the outbox once this is done.
    fn fills_outbox(&self) -> bool {
        match self {
            Job::Facts(facts, _) => !facts.outbox.is_empty(),
            Job::Change(Change::Snapshot { entries, .. } | Change::Gauges(entries), _) => !entries.is_empty(),
            Job::Events(..) | Job::Change(Change::Retry(_), _) => true,
            Job::Change(..) | Job::Close(_) => false,
        }
    }
}

/// Everything that is written besides facts. Each is one transaction, or part of one.
#[derive(Debug)]
pub enum Change {
    /// The fleet as it is now: these live, all others are retired.
    Fleet { deployments: Vec<DeploymentRow>, at: Timestamp },
    /// What a deployment said of its version when it was asked.
    Reported { key: i64, version: String },
    /// A snapshot of cumulative series, with those whose first or last point is in it.
    /// Closed are given with the count they were read at: one that has grown since stays open.
    Snapshot { entries: Vec<Entry>, opened: Vec<i64>, closed: Vec<(i64, u64)>, at: Timestamp },
    /// Replaces the gauges that still wait.
    Gauges(Vec<Entry>),
    /// The collector accepted these rows of the outbox.
    Delivered(Vec<i64>),
    /// The collector refused parts of these rows for good; the rest of them it accepted.
    Refused { ids: Vec<i64>, parts: Vec<Refused> },
    /// Refused rows wait again: these, or all.
    Retry(Option<Vec<i64>>),
    /// Refused rows are deleted: these, or all.
    Drop(Option<Vec<i64>>),
    /// Superseded metric snapshots go, the more the older they are.
    Thin { now: Timestamp },
    /// The outbox shrinks to this many bytes, snapshots first.
    Limit { bytes_max: u64 },
    /// Old samples become hourly summaries, old summaries go, and the store shrinks to its size.
    Retain { retention: Retention, now: Timestamp },
}

/// How the writer fares; read at any time without waiting for it.
#[derive(Debug, Default)]
pub struct Health {
    trouble: Mutex<Option<(Timestamp, String)>>,
    dropped_runs: AtomicU64,
    commits: AtomicU64,
    commit_ns: AtomicU64,
}

impl Health {
    /// Since when the store cannot be written, and why; `None` while all is well.
    pub fn trouble(&self) -> Option<(Timestamp, String)> {
        self.trouble.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }

    /// Runs that were lost because the queue was full or the store refused them.
    pub fn dropped_runs(&self) -> u64 {
        self.dropped_runs.load(Ordering::Relaxed)
    }

    /// Transactions committed since the start, and how long they took in all.
    pub fn commits(&self) -> (u64, Duration) {
        let total = Duration::from_nanos(self.commit_ns.load(Ordering::Relaxed));
        (self.commits.load(Ordering::Relaxed), total)
    }

    pub(super) fn count_dropped(&self, runs: u64) {
        self.dropped_runs.fetch_add(runs, Ordering::Relaxed);
    }

    fn set(&self, now: Timestamp, error: Option<String>) {
        let mut trouble = self.trouble.lock().unwrap_or_else(|e| e.into_inner());
        match (trouble.as_mut(), error) {
            (None, Some(error)) => {
                tracing::error!(%error, "the store cannot be written; what arrives is held and tried again");
                *trouble = Some((now, error));
            }
            (Some((_, known)), Some(error)) => *known = error,
            (Some((since, _)), None) => {
                tracing::info!(%since, "the store can be written again");
                *trouble = None;
            }
            (None, None) => {}
        }
    }
}

/// The task that writes.
pub(super) struct Writer {
    pub pool: Pool,
    pub clock: Clock,
    pub health: Arc<Health>,
    pub outbox_changed: watch::Sender<()>,
    /// Released after the last write: other handles may be gone long before.
    pub lock: Option<Lock>,
    /// Kept from group to group, so that readers never make the writer wait, and its prepared
    /// statements stay warm; given up when a transaction fails.
    pub connection: Option<Connection>,
    pub known_series: KnownSeries,
}

impl Writer {
    /// Runs until [`Job::Close`] or until every handle is gone, writes what waits, and closes the
    /// database.
    pub async fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        let mut closing = Vec::new();
        while let Some(first) = queue.recv().await {
            let mut group = Vec::new();
            let mut next = Some(first);
            while let Some(job) = next {
                match job {
                    Job::Close(done) => {
                        queue.close();
                        closing.push(done);
                    }
                    job => group.push(job),
                }
                next = if group.len() < GROUP_MAX { queue.try_recv().ok() } else { None };
            }
            self.commit_patiently(group, &queue).await;
        }
        self.connection = None;
        self.pool.close().await;
        drop(self.lock);
        for done in closing {
            // The one who asked may have stopped listening.
            let _ = done.send(());
        }
    }

    /// Commits the group, however long the disk refuses, as long as any handle lives. What fails
    /// for a reason of its own is tried alone, so that it takes nothing else with it.
    async fn commit_patiently(&mut self, mut group: Vec<Job>, queue: &mpsc::Receiver<Job>) {
        while !group.is_empty() {
            let started = Instant::now();
            match self.commit(&group).await {
                Ok(applied) => {
                    self.health.commits.fetch_add(1, Ordering::Relaxed);
                    let elapsed = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
                    self.health.commit_ns.fetch_add(elapsed, Ordering::Relaxed);
                    self.health.set(self.clock.now(), None);
                    if group.iter().any(Job::fills_outbox) {
                        self.outbox_changed.send_replace(());
                    }
                    for (job, applied) in group.drain(..).zip(applied) {
                        answer(job, Ok(applied));
                    }
                }
                Err(Failed::Database(error)) if is_transient(&error) && queue.sender_strong_count() > 0 => {
                    self.health.set(self.clock.now(), Some(explain(&error)));
                    tokio::time::sleep(RETRY_EVERY).await;
                }
                Err(failed) if group.len() > 1 => {
                    tracing::debug!(?failed, jobs = group.len(), "a group failed; each job is tried alone");
                    for job in group.drain(..) {
                        Box::pin(self.commit_patiently(vec![job], queue)).await;
                    }
                }
                Err(Failed::KnownRuns { known, runs }) if known == runs => {
                    answer_all(&mut group, || Ok(Applied::Touched(0)));
                }
                Err(Failed::KnownRuns { known, runs }) => {
                    self.refuse(&mut group, || StoreError::PartlyKnown { known, runs });
                }
                Err(Failed::Database(error)) => {
                    let text = error.to_string();
                    self.refuse(&mut group, || StoreError::Database(sqlx::Error::Protocol(text.clone())));
                }
            }
        }
    }

    /// Counts the runs that nobody waits for, and tells the others.
    fn refuse(&self, group: &mut Vec<Job>, error: impl Fn() -> StoreError) {
        for job in group.iter() {
            if let Job::Facts(facts, None) = job {
                self.health.count_dropped(facts.runs.len() as u64);
                tracing::error!(error = %error(), runs = facts.runs.len(), "the store refused runs");
            }
        }
        answer_all(group, || Err(error()));
    }

    /// One transaction for all jobs; what came of each.
    async fn commit(&mut self, group: &[Job]) -> Result<Vec<Applied>, Failed> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.pool.acquire().await?,
        };
        connection.begin().await?;
        match apply(&mut connection, &self.pool, &self.known_series, group).await {
            Ok((applied, new_series)) => {
                if let Err(error) = connection.commit().await {
                    connection.rollback().await;
                    return Err(error.into());
                }
                self.known_series.extend(new_series);
                self.connection = Some(connection);
                Ok(applied)
            }
            Err(failed) => {
                connection.rollback().await;
                Err(failed)
            }
        }
    }
}

/// What came of a job.
enum Applied {
    Touched(u64),
    Recorded(Vec<Recorded>),
}

fn answer_all(group: &mut Vec<Job>, result: impl Fn() -> Result<Applied, StoreError>) {
    for job in group.drain(..) {
        answer(job, result());
    }
}

/// Whoever asked may have stopped listening; the work is done all the same.
fn answer(job: Job, result: Result<Applied, StoreError>) {
    match job {
        Job::Facts(_, Some(done)) => drop(done.send(result.map(drop))),
        Job::Change(_, done) => drop(done.send(result.map(|applied| match applied {
            Applied::Touched(touched) => touched,
            Applied::Recorded(_) => 0,
        }))),
        Job::Events(_, done) => drop(done.send(result.map(|applied| match applied {
            Applied::Recorded(recorded) => recorded,
            Applied::Touched(_) => Vec::new(),
        }))),
        Job::Facts(_, None) | Job::Close(_) => {}
    }
}

#[derive(Debug)]
enum Failed {
    /// So many of the group's runs are in the store already.
    KnownRuns {
        known: u64,
        runs: u64,
    },
    Database(sqlx::Error),
}

impl From<sqlx::Error> for Failed {
    fn from(error: sqlx::Error) -> Self {
        Failed::Database(error)
    }
}

/// What came of each job, and the series that were written for the first time.
async fn apply(
    connection: &mut Connection,
    pool: &Pool,
    known_series: &KnownSeries,
    group: &[Job],
) -> Result<(Vec<Applied>, Vec<i64>), Failed> {
    let batch: Vec<&Facts> = group
        .iter()
        .filter_map(|job| match job {
            Job::Facts(facts, _) => Some(facts),
            _ => None,
        })
        .collect();
    let events: Vec<&EventFacts> = group
        .iter()
        .flat_map(|job| match job {
            Job::Events(events, _) => events.as_slice(),
            _ => &[],
        })
        .collect();
    let mut series = Vec::new();
    let mut recorded = Vec::new().into_iter();
    if !batch.is_empty() || !events.is_empty() {
        match facts::write(connection, &batch, &events, known_series).await? {
            Written::All { new_series, recorded: all } => {
                series = new_series;
                recorded = all.into_iter();
            }
            Written::KnownRuns(known) => {
                let runs = batch.iter().map(|facts| facts.runs.len() as u64).sum();
                return Err(Failed::KnownRuns { known, runs });
            }
        }
    }
    let mut applied = Vec::with_capacity(group.len());
    for job in group {
        applied.push(match job {
            Job::Change(change, _) => Applied::Touched(change.apply(connection, pool).await?),
            Job::Events(events, _) => Applied::Recorded(recorded.by_ref().take(events.len()).collect()),
            Job::Facts(..) | Job::Close(_) => Applied::Touched(0),
        });
    }
    Ok((applied, series))
}

impl Change {
    async fn apply(&self, connection: &mut Connection, pool: &Pool) -> Result<u64, sqlx::Error> {
        match self {
            Change::Fleet { deployments, at } => fleet::replace(connection, deployments, *at).await,
            Change::Reported { key, version } => fleet::report(connection, *key, version).await,
            Change::Snapshot { entries, opened, closed, at } => {
                facts::write_outbox(connection, entries.iter()).await?;
                series::mark(connection, opened, closed, *at).await
            }
            Change::Gauges(entries) => {
                let replaced = outbox::delete_waiting_gauges(connection).await?;
                facts::write_outbox(connection, entries.iter()).await?;
                Ok(replaced)
            }
            Change::Delivered(ids) => outbox::delete(connection, ids).await,
            Change::Refused { ids, parts } => {
                outbox::delete(connection, ids).await?;
                outbox::bury(connection, parts).await
            }
            Change::Retry(ids) => outbox::retry(connection, ids.as_deref()).await,
            Change::Drop(ids) => outbox::drop_refused(connection, ids.as_deref()).await,
            Change::Thin { now } => outbox::thin(connection, *now).await,
            Change::Limit { bytes_max } => outbox::limit(connection, *bytes_max).await,
            Change::Retain { retention, now } => {
                retention::apply(connection, pool.is_sqlite(), retention, *now).await
            }
        }
    }
}

/// Whether waiting may help: the disk is full or fails, someone holds a lock, the server is away.
fn is_transient(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::Tls(_) => true,
        sqlx::Error::Database(error) => {
            let code = error.code().unwrap_or_default().into_owned();
            match code.parse::<u32>() {
                // SQLite's extended codes hold the primary one in their low byte:
                // BUSY, LOCKED, READONLY, IOERR, FULL, CANTOPEN.
                Ok(sqlite) if code.len() < 5 => [5, 6, 8, 10, 13, 14].contains(&(sqlite & 0xff)),
                // PostgreSQL: connection exception, read-only transaction (a standby took over),
                // authorization, no such database, rollback (deadlock), insufficient resources, not
                // in the state required, operator intervention, system error.
                _ => ["08", "25006", "28", "3D", "40", "53", "55", "57", "58"]
                    .iter()
                    .any(|class| code.starts_with(class)),
            }
        }
        _ => false,
    }
}

/// In words that say what to do.
fn explain(error: &sqlx::Error) -> String {
    let text = error.to_string();
    if text.contains("full") { format!("{text}; free some space, and it goes on by itself") } else { text }
}
