//! Load runs: a plan on a flavour each, its versions over each other.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::link;
use crate::history;
use crate::model::{Flavour, Quantile, TraceId};
use crate::page::ci::curve::Curve;
use crate::page::format::{Count, Percent, Rate, Secs, Share, Time};

/// Plans and flavours that are shown, those with the newest runs.
const PLANS_MAX: usize = 12;
/// Versions of each, the latest.
const VERSIONS_MAX: usize = 4;
/// Quantiles of one run that are told.
const QUANTILES_MAX: usize = 20;

/// Load runs of the last 400 days.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LoadHistory {
    /// Those with the newest runs, at most 12.
    pub plans: Vec<LoadPlan>,
    /// How many there are in all.
    pub plans_known: Count,
}

/// One plan on one flavour in one environment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LoadPlan {
    pub plan: String,
    #[schema(value_type = String, example = "mysql")]
    pub db: Flavour,
    pub environment: String,
    /// The newest run of each version that did not fail, latest version first, at most 4; then what
    /// failed since, at most 4. At least one.
    pub runs: Vec<LoadRun>,
}

/// One load run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LoadRun {
    pub deployment: String,
    pub version: String,
    pub at: Time,
    pub tool: String,
    /// Completed requests per second.
    pub throughput: f64,
    /// Requests per second that were asked for; null where the tool sends as fast as answers come.
    pub offered: Option<f64>,
    /// Requests under way at once.
    pub concurrency: Option<u32>,
    /// How long load was put on.
    pub seconds: f64,
    pub requests: Count,
    pub errors: Count,
    /// Of the requests that were made, how many failed; 0 to 1.
    pub error_ratio: f64,
    /// Answers 429: with these it measured the target's rate limit.
    pub rate_limited: Count,
    /// Response times, by rising quantile; at most 20.
    pub latency: Vec<Quantile>,
    /// The version just before it; null when none was measured with this plan there.
    pub previous: Option<LoadBefore>,
    /// Throughput against the version before: 0.1 is a tenth more. Null where the two do not compare.
    pub throughput_delta: Option<f64>,
    /// Response time at the 95th percentile against the version before.
    pub p95_delta: Option<f64>,
    /// Why its figures say nothing about the version.
    pub failure: Option<String>,
    /// Why the two do not compare.
    pub hindrance: Option<String>,
    /// What one must know to read the figures.
    pub remarks: Vec<String>,
    pub pipeline: String,
    pub run: String,
    /// Where the CI shows it.
    pub url: Option<String>,
    #[schema(value_type = String)]
    pub trace: TraceId,
}

/// The run that another is compared with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LoadBefore {
    pub version: String,
    pub at: Time,
    pub throughput: f64,
    pub latency: Vec<Quantile>,
}

impl LoadHistory {
    pub fn new(loads: &[history::Loaded]) -> Self {
        let mut groups: Vec<Vec<&history::Loaded>> = Vec::new();
        for run in loads {
            let same = |other: &history::Loaded| {
                (&other.load.plan, other.db, &other.environment) == (&run.load.plan, run.db, &run.environment)
            };
            match groups.iter_mut().find(|group| same(group[0])) {
                // Of each version the newest one, and where that failed the newest that did not besides.
                Some(group)
                    if group.iter().any(|other| {
                        other.version == run.version && (other.failure().is_none() || run.failure().is_some())
                    }) => {}
                Some(group) => group.push(run),
                None => groups.push(vec![run]),
            }
        }
        let plans_known = groups.len().into();
        groups.truncate(PLANS_MAX);
        LoadHistory { plans: groups.into_iter().map(LoadPlan::new).collect(), plans_known }
    }
}

impl LoadPlan {
    /// From at least one run; of each version the newest that failed and the newest that did not.
    fn new(mut runs: Vec<&history::Loaded>) -> Self {
        runs.sort_by(|a, b| b.version.cmp(&a.version));
        let (failed, good): (Vec<_>, Vec<_>) = runs.iter().partition(|run| run.failure().is_some());
        let shown = good.into_iter().take(VERSIONS_MAX).chain(failed.into_iter().take(VERSIONS_MAX));
        LoadPlan {
            plan: runs[0].load.plan.clone(),
            db: runs[0].db,
            environment: runs[0].environment.clone(),
            runs: shown.map(LoadRun::new).collect(),
        }
    }

    /// The latest version over the one it is compared with.
    pub fn curve(&self) -> Option<Curve<'_>> {
        let latest = self.runs.first()?;
        let before = latest.previous.as_ref().map(|p| p.latency.as_slice());
        Curve::new(&latest.latency, before.unwrap_or_default())
    }
}

impl LoadRun {
    pub(super) fn new(run: &history::Loaded) -> Self {
        let load = &run.load;
        let quantiles =
            |load: &crate::model::Load| load.latency.iter().take(QUANTILES_MAX).copied().collect();
        let p95 = run.latency_deltas().into_iter().find(|delta| (delta.quantile - 0.95).abs() < 1e-9);
        LoadRun {
            deployment: run.deployment.clone(),
            version: run.version.to_string(),
            at: Time(run.at),
            tool: load.tool.clone(),
            throughput: load.throughput,
            offered: load.offered,
            concurrency: load.concurrency,
            seconds: load.seconds,
            requests: Count(load.requests),
            errors: Count(load.errors),
            error_ratio: load.error_ratio(),
            rate_limited: Count(load.rate_limited()),
            latency: quantiles(load),
            previous: run.previous.as_ref().map(|p| LoadBefore {
                version: p.version.to_string(),
                at: Time(p.at),
                throughput: p.load.throughput,
                latency: quantiles(&p.load),
            }),
            throughput_delta: run.throughput_delta(),
            p95_delta: p95.map(|delta| delta.ratio),
            failure: run.failure(),
            hindrance: run.hindrance(),
            remarks: load.remarks.clone(),
            pipeline: run.pipeline.clone(),
            run: run.run.clone(),
            url: link(run.url.as_ref()),
            trace: run.place.trace,
        }
    }

    pub fn rate(&self) -> Rate {
        Rate(self.throughput)
    }

    pub fn offered(&self) -> Option<Rate> {
        self.offered.map(Rate)
    }

    /// The response time at a quantile, or that the tool did not tell.
    pub fn at_quantile(&self, quantile: f64) -> Option<Secs> {
        let found = self.latency.iter().find(|q| (q.quantile - quantile).abs() < 1e-9);
        found.map(|q| Secs(q.seconds))
    }

    pub fn p50(&self) -> Option<Secs> {
        self.at_quantile(0.5)
    }

    pub fn p95(&self) -> Option<Secs> {
        self.at_quantile(0.95)
    }

    pub fn p99(&self) -> Option<Secs> {
        self.at_quantile(0.99)
    }

    pub fn failed(&self) -> Share {
        Share(self.error_ratio)
    }

    pub fn growth(&self) -> Option<Percent> {
        self.throughput_delta.map(Percent)
    }

    pub fn p95_growth(&self) -> Option<Percent> {
        self.p95_delta.map(Percent)
    }

    /// How it was made: `oha, 64 at once, for 30 s`.
    pub fn manner(&self) -> String {
        let at_once = self.concurrency.map(|n| format!(", {} at once", Count(n.into()))).unwrap_or_default();
        format!("{}{at_once}, for {}", self.tool, Secs(self.seconds))
    }
}
