//! One reading of the store for everyone who looks, however many they are.
//!
//! The cost of a reading is bounded: rows per deployment shrink as the fleet grows, and the next
//! reading waits ten times as long as the last one took (two seconds at least, thirty at most), so
//! that watching the page takes no more than a tenth of one core from the probes. What CI told is
//! read only when it changed (`past`).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt, TryStreamExt};
use tokio::sync::Mutex;

use super::health::Health;
use super::past::Past;
use super::standing::{WINDOW, standing};
use super::verdicts::Verdicts;
use super::view::Overview;
use crate::clock::{Clock, Timestamp};
use crate::history::History;
use crate::model::Version;
use crate::store::{DeploymentRow, FailureRow, RequestTimes, RunRow, SampleRow, Store, StoreError};

const FRESH_MIN: Duration = Duration::from_secs(2);
const FRESH_MAX: Duration = Duration::from_secs(30);
const FRESH_PER_COST: u32 = 10;
/// Runs, and samples, that one reading takes in all; each deployment gets its share, within bounds.
const ROWS_MAX: usize = 60_000;
const RUNS_EACH: (usize, usize) = (40, 240);
const SAMPLES_EACH: (usize, usize) = (60, 2_000);
/// Broken deployments whose very check is looked up; the others say it on their own page.
const REASONS_MAX: usize = 100;
/// Builds that are gone whose last hour is read.
const GONE_MAX: usize = 20;
/// Failures that are read, and how old they may be.
pub const FAILURES_MAX: u32 = 300;
pub const FAILURES_WINDOW: Duration = Duration::from_secs(24 * 3_600);
/// Queries under way at once; the store has four connections, one of them for its writer.
const QUERIES_MAX: usize = 2;

/// What the store says.
pub struct Reading {
    pub at: Timestamp,
    pub title: String,
    /// The living, newest version first.
    pub fleet: Vec<Probed>,
    /// Builds that left the fleet and are the newest below the latest version on their flavour, where none
    /// lives there: nothing can be paired with them, but their last hour is an indication.
    pub gone: Vec<Probed>,
    pub verdicts: Verdicts,
    /// Every build that was ever seen, to name those that failures speak of.
    pub known: Vec<DeploymentRow>,
    pub failures: Vec<FailureRow>,
    pub health: Health,
    pub history: Arc<History>,
    /// Runs, and samples, of one deployment that were read at most.
    pub runs_max: u32,
    pub samples_max: u32,
}

/// One deployment with its last runs.
pub struct Probed {
    pub row: DeploymentRow,
    /// 0 for the latest version of its environment, 1 for the one before it, and so on.
    pub rank: usize,
    /// Newest first.
    pub runs: Vec<RunRow>,
    /// The first sample that decided the outcome of the last run, when that is not a pass.
    pub reason: Option<SampleRow>,
    /// Within the last hour; only of the latest and the previous version.
    pub times: Vec<RequestTimes>,
}

pub struct Board {
    store: Store,
    clock: Clock,
    title: String,
    /// Held while reading: whoever comes meanwhile waits, and gets the same.
    cached: Mutex<Cache>,
}

struct Cache {
    overview: Option<Cached>,
    past: Past,
}

struct Cached {
    overview: Arc<Overview>,
    fresh_for: Duration,
}

impl Board {
    pub fn new(store: Store, clock: Clock, title: String) -> Self {
        let past = Past::new(store.clone());
        Board { store, clock, title, cached: Mutex::new(Cache { overview: None, past }) }
    }

    /// What is true now, or was some seconds ago.
    pub async fn overview(&self) -> Result<Arc<Overview>, StoreError> {
        let mut cache = self.cached.lock().await;
        let now = self.clock.now();
        if let Some(cached) = &cache.overview {
            let read_at = cached.overview.at.0;
            // A clock that stepped back must not keep an old reading alive.
            if read_at <= now && now.since(read_at) < cached.fresh_for {
                return Ok(cached.overview.clone());
            }
        }
        let started = Instant::now();
        let overview = Arc::new(Overview::new(&self.read(now, &mut cache.past).await?));
        let fresh_for = (started.elapsed() * FRESH_PER_COST).clamp(FRESH_MIN, FRESH_MAX);
        cache.overview = Some(Cached { overview: overview.clone(), fresh_for });
        Ok(overview)
    }

    /// What is true now, with all that was told before this call.
    pub async fn fresh(&self) -> Result<Arc<Overview>, StoreError> {
        let mut cache = self.cached.lock().await;
        cache.overview = None;
        cache.past.catch_up(self.clock.now()).await?;
        drop(cache);
        self.overview().await
    }

    /// Forgets what was read, since it was just changed.
    pub async fn forget(&self) {
        self.cached.lock().await.overview = None;
    }

    async fn read(&self, at: Timestamp, past: &mut Past) -> Result<Reading, StoreError> {
        // Read beside all the rest.
        past.renew(at);
        let known = self.store.deployments().await?;
        let living: Vec<DeploymentRow> = known.iter().filter(|d| d.retired.is_none()).cloned().collect();
        let runs_max = share(living.len(), RUNS_EACH);
        let ranks = ranks(&living);
        let mut fleet: Vec<Probed> = stream::iter(living.into_iter().zip(ranks))
            .map(async |(row, rank)| {
                let runs = self.store.runs(row.key, runs_max).await?;
                Ok::<_, StoreError>(Probed { row, rank, runs, reason: None, times: Vec::new() })
            })
            .buffered(QUERIES_MAX)
            .try_collect()
            .await?;
        self.read_reasons(&mut fleet, at).await?;
        let samples_max = self.read_times(&mut fleet, at).await?;
        let mut gone = Vec::new();
        for row in gone_before(&fleet, &known).into_iter().take(GONE_MAX) {
            let since = row.retired.unwrap_or(at).minus(WINDOW);
            let times = self.store.request_times(row.key, since, samples_max).await?;
            gone.push(Probed { row: row.clone(), rank: 1, runs: Vec::new(), reason: None, times });
        }

        let mut suites: Vec<String> = fleet.iter().flat_map(|d| &d.runs).map(|r| r.suite.clone()).collect();
        suites.sort_unstable();
        suites.dedup();
        Ok(Reading {
            at,
            title: self.title.clone(),
            failures: self.store.failures(at.minus(FAILURES_WINDOW), FAILURES_MAX).await?,
            health: Health::read(&self.store, &suites).await?,
            history: past.history().await?,
            verdicts: Verdicts::read(&self.store).await?,
            gone,
            fleet,
            known,
            runs_max,
            samples_max,
        })
    }

    async fn read_reasons(&self, fleet: &mut [Probed], at: Timestamp) -> Result<(), StoreError> {
        let mut left = REASONS_MAX;
        for probed in fleet {
            if left == 0 {
                break;
            }
            let standing = standing(&probed.runs, at);
            if let (Some(round), Some(outcome)) = (standing.decisive, standing.outcome) {
                left -= 1;
                let samples = self.store.run_samples(probed.row.key, round).await?;
                probed.reason = samples.into_iter().find(|sample| sample.outcome == outcome);
            }
        }
        Ok(())
    }

    /// Request by request, of the latest version and the one before.
    async fn read_times(&self, fleet: &mut [Probed], at: Timestamp) -> Result<u32, StoreError> {
        let samples_max = share(fleet.iter().filter(|d| d.rank <= 1).count(), SAMPLES_EACH);
        for probed in fleet.iter_mut().filter(|d| d.rank <= 1) {
            probed.times = self.store.request_times(probed.row.key, at.minus(WINDOW), samples_max).await?;
        }
        Ok(samples_max)
    }
}

/// The place of each one's version within its environment; expects the newest version first.
fn ranks(living: &[DeploymentRow]) -> Vec<usize> {
    let mut versions: HashMap<&str, Vec<&Version>> = HashMap::new();
    let mut ranks = Vec::with_capacity(living.len());
    for DeploymentRow { environment, version, .. } in living {
        let known = versions.entry(environment).or_default();
        if known.last() != Some(&version) {
            known.push(version);
        }
        ranks.push(known.len() - 1);
    }
    ranks
}

/// For each flavour on which the latest version of an environment has no living one below it: the build
/// of the greatest version below that was there.
fn gone_before<'a>(fleet: &[Probed], known: &'a [DeploymentRow]) -> Vec<&'a DeploymentRow> {
    let beside = |a: &DeploymentRow, b: &DeploymentRow| a.environment == b.environment && a.db == b.db;
    let mut found: Vec<&DeploymentRow> = Vec::new();
    for Probed { row, .. } in fleet.iter().filter(|d| d.rank == 0) {
        let lives = |below: &&Probed| beside(&below.row, row) && below.row.version < row.version;
        if fleet.iter().any(|d| lives(&d)) {
            continue;
        }
        let below = known.iter().filter(|d| d.retired.is_some() && beside(d, row) && d.version < row.version);
        let newest = below.max_by(|a, b| a.version.cmp(&b.version).then(a.retired.cmp(&b.retired)));
        found.extend(newest.filter(|n| found.iter().all(|f| f.key != n.key)));
    }
    found
}

/// What each of so many may read, within bounds.
fn share(deployments: usize, (least, most): (usize, usize)) -> u32 {
    u32::try_from((ROWS_MAX / deployments.max(1)).clamp(least, most)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_version_is_the_latest_of_its_environment() {
        let row = |version: &str, environment: &str| DeploymentRow {
            key: 0,
            name: String::new(),
            version: Version::parse(version).unwrap(),
            db: crate::model::Flavour::Sqlite,
            environment: environment.into(),
            digest: String::new(),
            url: String::new(),
            reported: String::new(),
            retired: None,
        };
        let fleet = [
            row("3.0.0", "staging"),
            row("3.0.0", "staging"),
            row("2.4.1", "production"),
            row("2.4.1", "staging"),
            row("2.3.18", "production"),
        ];
        assert_eq!(ranks(&fleet), [0, 0, 0, 1, 1]);
    }

    #[test]
    fn what_is_gone_stands_in_only_where_nothing_lives() {
        use crate::model::Flavour::{Mysql, Sqlite};
        let row = |key, version: &str, db, retired: Option<i64>| DeploymentRow {
            key,
            name: format!("d{key}"),
            version: Version::parse(version).unwrap(),
            db,
            environment: "staging".into(),
            digest: String::new(),
            url: String::new(),
            reported: String::new(),
            retired: retired.map(Timestamp),
        };
        let known = [
            row(1, "3.0.0", Sqlite, None),
            row(2, "3.0.0", Mysql, None),
            row(3, "2.4.1", Mysql, None),
            row(4, "2.4.1", Sqlite, Some(5)),
            row(5, "2.4.1", Sqlite, Some(9)),
            row(6, "2.3.0", Sqlite, Some(99)),
            row(7, "2.3.0", Mysql, Some(99)),
            row(8, "3.1.0", Sqlite, Some(99)),
        ];
        let probed = |row: &DeploymentRow, rank| Probed {
            row: row.clone(),
            rank,
            runs: Vec::new(),
            reason: None,
            times: Vec::new(),
        };
        let fleet = [probed(&known[0], 0), probed(&known[1], 0), probed(&known[2], 1)];
        let keys: Vec<i64> = gone_before(&fleet, &known).iter().map(|d| d.key).collect();
        assert_eq!(keys, [5]);
    }

    #[test]
    fn a_larger_fleet_reads_less_of_each() {
        assert_eq!((share(0, RUNS_EACH), share(9, RUNS_EACH)), (240, 240));
        assert_eq!((share(1_000, RUNS_EACH), share(5_000, SAMPLES_EACH)), (60, 60));
    }
}
