//! Puts the state of the fleet and of this process into the outbox, again and again.
//!
//! Cumulative series are read from the store, so a restart is no reset. What is true now (gauges)
//! is published anew each time and never queues up behind a backlog: an outage heals itself.

mod ci;
mod event;
mod record;
mod verdicts;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::clock::{Clock, Timestamp};
use crate::compare::read_standings;
use crate::discover::{Count, Counts};
use crate::exporter::Exporter;
use crate::history::History;
use crate::model::{Flavour, Version, median_tells};
use crate::otlp::names::{Kind, Metric};
use crate::otlp::{Attributes, Encoded, Exemplar, HistogramPoint, MetricBatch, Number, Resource, names};
use crate::store::{Change, DeploymentRow, Entry, Lane, LaneStatus, RunRow, Series, Store, StoreError};
pub use event::{Intake, facts_of_event, infer_runs};
pub use record::{facts_of, facts_of_tick};
pub use verdicts::{entries_of, increments_of};

/// Bytes of one encoded request of metrics, before compression.
const REQUEST_BYTES_MAX: usize = 512 * 1024;
/// The window of the medians that are published.
const MEDIAN_WINDOW: Duration = Duration::from_secs(3_600);
/// They are computed anew at each publication of so many: once a minute, and sooner where it is
/// published more often, as in the demo.
const MEDIAN_EVERY: u32 = 4;
/// Samples of one deployment that a median looks at most.
const MEDIAN_SAMPLES_MAX: u32 = 1_000;
/// How often the history of CI is read anew when nothing new came.
const HISTORY_EVERY: Duration = Duration::from_secs(600);
/// How long a retired build is still told of, with rank -1.
const RETIRED_FOR: Duration = Duration::from_secs(3_600);

pub struct Publisher {
    store: Store,
    exporter: Exporter,
    clock: Clock,
    /// Of facts about the fleet: carries the store's UUID.
    fleet: Resource,
    /// Of facts about this process.
    process: Resource,
    started: Timestamp,
    counts: Option<(Arc<Intake>, Arc<Counts>)>,
    thinned: u64,
    dropped: u64,
    /// Since how many publications they are as they are.
    medians: (u32, Medians),
    /// The gauges that were published last time.
    published: HashSet<LabelSet>,
    /// What the events of CI come to, as of which change of theirs, and when it was read.
    history: Option<(u64, Timestamp, History)>,
}

/// A gauge and whom it is about, in little memory: the metric's name, and the attributes as JSON.
type LabelSet = (&'static str, String);

struct Gauge {
    metric: &'static Metric,
    attributes: Attributes,
    value: Number,
}

/// By deployment: request and seconds.
type Medians = HashMap<i64, Vec<(String, f64)>>;

impl Publisher {
    pub fn new(store: Store, exporter: Exporter, clock: Clock, fleet: Resource, process: Resource) -> Self {
        let started = clock.now();
        Publisher {
            store,
            exporter,
            clock,
            fleet,
            process,
            started,
            counts: None,
            thinned: 0,
            dropped: 0,
            medians: (0, Medians::new()),
            published: HashSet::new(),
            history: None,
        }
    }

    /// Publishes these counts too, from now on.
    pub fn counting(mut self, intake: Arc<Intake>, discovered: Arc<Counts>) -> Self {
        self.counts = Some((intake, discovered));
        self
    }

    /// Data points thinned out of a backlog, and items dropped at the outbox's limit.
    pub fn count_loss(&mut self, thinned: u64, dropped: u64) {
        self.thinned += thinned;
        self.dropped += dropped;
    }

    /// Gives runs of CI a span of their own of which only steps were told. Returns how many.
    pub async fn infer_runs(&self) -> Result<usize, StoreError> {
        infer_runs(&self.store, self.clock.now(), &self.fleet).await
    }

    /// One snapshot of everything.
    #[tracing::instrument(name = "publish", skip_all)]
    pub async fn tick(&mut self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let mut gauges = self.gauges(now).await?;
        gauges.extend(ci::gauges(self.history(now).await?));
        for row in self.store.standings().await? {
            gauges.extend(verdicts::gauges(&read_standings(&row)));
        }
        let ended = self.ended(&gauges);
        self.snapshot(now, ended).await?;
        let mut batch = MetricBatch::new(&self.fleet, REQUEST_BYTES_MAX);
        for Gauge { metric, attributes, value } in gauges {
            batch.gauge(metric, attributes, now, value);
        }
        let encoded = batch.finish().into_iter().chain(self.own_gauges(now).await?);
        let entries = encoded.map(|encoded| entry(Lane::Gauges, now, encoded, None)).collect();
        self.store.change(Change::Gauges(entries)).await.map(drop)
    }

    /// The cumulative series. First and last points, also of gauges, go first and are never thinned.
    async fn snapshot(&mut self, now: Timestamp, ended: Vec<LabelSet>) -> Result<(), StoreError> {
        // A value and the end of its series at one time would be two values of one time.
        let end = now.plus(Duration::from_millis(1));
        let mut ends = MetricBatch::new(&self.fleet, REQUEST_BYTES_MAX);
        let mut points = MetricBatch::new(&self.fleet, REQUEST_BYTES_MAX);
        let (mut opened, mut closed) = (Vec::new(), Vec::new());
        let add = |series: Series| {
            // What a newer program wrote is left to it.
            let Some((metric, attributes)) = read_labels(&series.metric, &series.attributes) else { return };
            if !series.opened {
                ends.zero(metric, attributes.clone(), series.started);
                opened.push(series.key);
            }
            if series.retired {
                push(&mut ends, metric, attributes.clone(), &series, now);
                ends.ended(metric, attributes, series.started, end);
                closed.push((series.key, series.count));
            } else {
                push(&mut points, metric, attributes, &series, now);
            }
        };
        self.store.each_series(add).await?;
        for (metric, attributes) in ended {
            if let Some((metric, attributes)) = read_labels(metric, &attributes) {
                ends.ended(metric, attributes, now, end);
            }
        }
        let ends = ends.finish().into_iter().map(|encoded| entry(Lane::Metrics, now, encoded, None));
        let points = points.finish().into_iter().map(|encoded| entry(Lane::Metrics, now, encoded, Some(now)));
        let entries = ends.chain(points).collect();
        self.store.change(Change::Snapshot { entries, opened, closed, at: now }).await.map(drop)
    }

    /// What was published last time and is not now. Only this process's own memory: what ended while
    /// no daemon ran lingers for Prometheus's five minutes.
    fn ended(&mut self, gauges: &[Gauge]) -> Vec<LabelSet> {
        let published =
            gauges.iter().map(|gauge| (gauge.metric.name, record::to_json(&gauge.attributes))).collect();
        let before = std::mem::replace(&mut self.published, published);
        before.into_iter().filter(|set| !self.published.contains(set)).collect()
    }

    /// What is true of the fleet now.
    async fn gauges(&mut self, now: Timestamp) -> Result<Vec<Gauge>, StoreError> {
        let deployments = self.store.deployments().await?;
        self.medians.0 += 1;
        if self.medians.0 >= MEDIAN_EVERY || self.medians.1.is_empty() {
            self.medians = (0, self.medians_at(now, &deployments).await?);
        }
        let last: HashMap<i64, RunRow> =
            self.store.last_runs().await?.into_iter().map(|run| (run.deployment, run)).collect();
        let ranks = ranks(&deployments);
        let mut gauges = Vec::new();
        let mut add = |metric, attributes: &Attributes, value: Number| {
            gauges.push(Gauge { metric, attributes: attributes.clone(), value });
        };
        // A new build of a deployment takes over its labels.
        let living: HashSet<_> = deployments.iter().filter(|d| d.retired.is_none()).map(labels).collect();
        for deployment in &deployments {
            let attributes = row_attributes(deployment);
            if let Some(retired) = deployment.retired {
                if now.since(retired) < RETIRED_FOR && !living.contains(&labels(deployment)) {
                    add(&names::TARGET_RANK, &attributes, (-1_i64).into());
                }
                continue;
            }
            add(&names::TARGET_RANK, &attributes, ranks[&deployment.key].into());
            if let Some(run) = last.get(&deployment.key) {
                if let Some(up) = record::is_up(run.outcome) {
                    add(&names::PROBE_UP, &attributes, i64::from(up).into());
                }
                let ended = run.started.plus(Duration::from_nanos(run.duration_ns));
                add(&names::PROBE_LAST, &attributes, (ended.0 as f64 / 1e9).into());
            }
            for (request, seconds) in self.medians.1.get(&deployment.key).into_iter().flatten() {
                let mut attributes = attributes.clone();
                attributes.push((names::REQUEST.into(), request.clone().into()));
                add(&names::REQUEST_MEDIAN, &attributes, (*seconds).into());
            }
            let mut attributes = attributes;
            if !deployment.digest.is_empty() {
                attributes.push((names::IMAGE_DIGEST.into(), deployment.digest.clone().into()));
            }
            if !deployment.reported.is_empty() {
                attributes.push((names::REPORTED_VERSION.into(), deployment.reported.clone().into()));
            }
            add(&names::TARGET_INFO, &attributes, 1_i64.into());
        }
        Ok(gauges)
    }

    /// Read anew when there are new events, and now and then, since time passes.
    async fn history(&mut self, now: Timestamp) -> Result<&History, StoreError> {
        let changes = *self.store.events_changed().borrow();
        let known =
            self.history.take().filter(|(of, at, _)| *of == changes && now.since(*at) < HISTORY_EVERY);
        let fresh = match known {
            Some(known) => known,
            None => (changes, now, History::read(&self.store, now).await?),
        };
        Ok(&self.history.insert(fresh).2)
    }

    async fn medians_at(&self, now: Timestamp, deployments: &[DeploymentRow]) -> Result<Medians, StoreError> {
        let mut medians = Medians::new();
        for deployment in deployments.iter().filter(|d| d.retired.is_none()) {
            let since = now.minus(MEDIAN_WINDOW);
            let times = self.store.request_times(deployment.key, since, MEDIAN_SAMPLES_MAX).await?;
            let tells = times.into_iter().filter(|t| median_tells(t.samples.into(), t.failures.into()));
            let seconds = tells.filter_map(|t| Some((t.request, t.median_ns? as f64 / 1e9)));
            let seconds: Vec<_> = seconds.collect();
            if !seconds.is_empty() {
                medians.insert(deployment.key, seconds);
            }
        }
        Ok(medians)
    }

    /// About this process and its outbox.
    async fn own_gauges(&self, now: Timestamp) -> Result<Vec<Encoded>, StoreError> {
        let mut batch = MetricBatch::new(&self.process, REQUEST_BYTES_MAX);
        for status in self.store.outbox_status().await? {
            let attributes: Attributes = vec![(names::LANE.into(), status.lane.as_str().into())];
            batch.gauge(&names::OUTBOX_SIZE, attributes.clone(), now, integer(status.items));
            batch.gauge(&names::OUTBOX_AGE, attributes.clone(), now, age(&status, now).as_secs_f64());
            batch.gauge(&names::OUTBOX_DEAD, attributes, now, integer(status.refused));
        }
        let counters = self.exporter.counters();
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let (commits, commit_time) = self.store.health().commits();
        for (metric, value) in [
            (&names::EXPORT_SENT, count(&counters.sent)),
            (&names::EXPORT_REJECTED, count(&counters.rejected)),
            (&names::EXPORT_REFUSED, count(&counters.refused)),
            (&names::EXPORT_RETRIES, count(&counters.retries)),
            (&names::OUTBOX_THINNED, self.thinned),
            (&names::OUTBOX_DROPPED, self.dropped),
            (&names::RUNS_DROPPED, self.store.health().dropped_runs()),
        ] {
            batch.counter(metric, Attributes::new(), self.started, now, integer(value));
        }
        if let Some((intake, discovered)) = &self.counts {
            // Each from 0 on: a counter that is first seen at 1 has no increase.
            let rejected = intake.rejected.iter().map(|(status, count)| {
                let attributes = vec![(names::STATUS.into(), i64::from(*status).into())];
                (&names::EVENTS_REJECTED, attributes, count)
            });
            let plain = [
                (&names::EVENTS_DUPLICATE, Attributes::new(), &intake.duplicates),
                (&names::EVENTS_REFUSED, Attributes::new(), &intake.refused),
            ];
            for (metric, attributes, counter) in plain.into_iter().chain(rejected) {
                batch.counter(metric, attributes, self.started, now, integer(count(counter)));
            }
            for (kind, Count { targets, failures }) in discovered.get() {
                let attributes: Attributes = vec![(names::DISCOVER_KIND.into(), kind.into())];
                batch.gauge(&names::DISCOVER_TARGETS, attributes.clone(), now, integer(targets));
                batch.counter(&names::DISCOVER_FAILURES, attributes, self.started, now, integer(failures));
            }
        }
        let point = HistogramPoint {
            start: self.started,
            time: now,
            sum: commit_time.as_secs_f64(),
            count: commits,
            ..HistogramPoint::default()
        };
        batch.histogram(&names::COMMIT_DURATION, Attributes::new(), point);
        Ok(batch.finish())
    }
}

fn read_labels(metric: &str, attributes: &str) -> Option<(&'static Metric, Attributes)> {
    let metric = names::ALL_METRICS.iter().find(|m| m.name == metric)?;
    Some((metric, record::from_json(attributes)?))
}

fn entry(lane: Lane, created: Timestamp, encoded: Encoded, snapshot: Option<Timestamp>) -> Entry {
    Entry { lane, created, items: encoded.items, body: encoded.body, snapshot, kept: false }
}

fn integer(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn age(status: &LaneStatus, now: Timestamp) -> Duration {
    status.oldest.map_or(Duration::ZERO, |oldest| now.since(oldest))
}

fn push(
    batch: &mut MetricBatch,
    metric: &'static Metric,
    attributes: Attributes,
    series: &Series,
    now: Timestamp,
) {
    if metric.kind == Kind::Counter {
        batch.counter(metric, attributes, series.started, now, integer(series.count));
        return;
    }
    let mut point = HistogramPoint {
        start: series.started,
        time: now,
        sum: series.sum,
        count: series.count,
        ..HistogramPoint::default()
    };
    if let Kind::Histogram(bounds) = metric.kind
        && !bounds.is_empty()
    {
        point.buckets = vec![0; bounds.len() + 1];
        for bucket in &series.buckets {
            if let Some(count) = point.buckets.get_mut(bucket.index) {
                *count = bucket.count;
            }
            point.exemplars.extend(bucket.exemplar.as_ref().map(|exemplar| Exemplar {
                time: exemplar.at,
                value: exemplar.value,
                trace: exemplar.trace,
                span: exemplar.span,
            }));
        }
    }
    batch.histogram(metric, attributes, point);
}

/// The same labels as [`crate::otlp::deployment_attributes`], from the store's row.
fn row_attributes(deployment: &DeploymentRow) -> Attributes {
    vec![
        (names::TARGET_VERSION.into(), deployment.version.to_string().into()),
        (names::DEPLOYMENT.into(), deployment.name.clone().into()),
        (names::ENVIRONMENT.into(), deployment.environment.clone().into()),
        (names::DB.into(), deployment.db.as_str().into()),
    ]
}

/// What tells one deployment's series from another's; the digest does not.
fn labels(deployment: &DeploymentRow) -> (&str, &Version, Flavour, &str) {
    (&deployment.name, &deployment.version, deployment.db, &deployment.environment)
}

/// 0 for the latest version that lives in its environment, 1 for the one before it, and so on; -1
/// for what is retired.
fn ranks(deployments: &[DeploymentRow]) -> HashMap<i64, i64> {
    let mut living: BTreeMap<&str, Vec<&Version>> = BTreeMap::new();
    for deployment in deployments.iter().filter(|d| d.retired.is_none()) {
        living.entry(&deployment.environment).or_default().push(&deployment.version);
    }
    for versions in living.values_mut() {
        versions.sort();
        versions.dedup();
        versions.reverse();
    }
    let rank = |d: &DeploymentRow| {
        let position = living.get(d.environment.as_str())?.iter().position(|v| **v == d.version)?;
        d.retired.is_none().then_some(position as i64)
    };
    deployments.iter().map(|d| (d.key, rank(d).unwrap_or(-1))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(key: i64, version: &str, environment: &str, retired: Option<Timestamp>) -> DeploymentRow {
        DeploymentRow {
            key,
            name: format!("d{key}"),
            version: Version::parse(version).unwrap(),
            db: Flavour::Sqlite,
            environment: environment.to_owned(),
            digest: String::new(),
            url: String::new(),
            reported: String::new(),
            retired,
        }
    }

    #[test]
    fn rank_is_the_place_of_a_version_within_its_environment() {
        let ranks = ranks(&[
            deployment(1, "2.4.1", "production", None),
            deployment(2, "3.0.0-dev.1", "production", None),
            deployment(3, "3.0.0-dev.1", "production", None),
            deployment(4, "2.4.1", "staging", None),
            deployment(5, "3.1.0", "production", Some(Timestamp(1))),
        ]);
        assert_eq!((ranks[&1], ranks[&2], ranks[&3], ranks[&4], ranks[&5]), (1, 0, 0, 0, -1));
    }
}
