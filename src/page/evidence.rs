//! The evidence behind one cell: requests, last samples with their phases, trace ids.

use std::collections::HashMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::deltas::Delta;
use super::format::{Count, Ns, Time};
use super::matrix::{Deployment, OutcomeName, Reason, detail};
use super::sparkline::{Bar, Line, Point, Scale};
use super::standing::{WINDOW, standing};
use super::verdicts::Verdicts;
use crate::clock::Timestamp;
use crate::model::{Outcome, Phase, Phases, RoundId, TraceId};
use crate::store::{DeploymentRow, RequestTimes, RunRow, SampleRow, Store, StoreError};

const RUNS_MAX: u32 = 240;
/// Samples that medians are of, at most.
const SAMPLES_MAX: u32 = 5_000;
/// Samples that are listed, at most.
const LISTED_MAX: u32 = 60;

/// How the requests of one deployment fared within the last hour.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Requests {
    pub at: Time,
    pub deployment: Deployment,
    pub requests: Vec<Request>,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Request {
    pub request: String,
    pub samples: Count,
    /// Of these: failed or unreachable.
    pub failures: Count,
    /// Of the first attempts that were answered; null when none was.
    pub median_ns: Option<Ns>,
    pub p90_ns: Option<Ns>,
    /// Totals of the last answered first attempts, oldest first, at most 40.
    pub recent_ns: Vec<Ns>,
    /// How the last sample went.
    #[schema(value_type = OutcomeName)]
    pub last: Outcome,
}

impl From<RequestTimes> for Request {
    fn from(times: RequestTimes) -> Self {
        Request {
            request: times.request,
            samples: Count(times.samples.into()),
            failures: Count(times.failures.into()),
            median_ns: times.median_ns.map(Ns),
            p90_ns: times.p90_ns.map(Ns),
            recent_ns: times.recent_ns.into_iter().map(Ns).collect(),
            last: times.last,
        }
    }
}

/// A request's row on the page, with its line on a scale of its own.
pub struct RequestLine {
    pub request: Request,
    /// Against the version before; `None` until a round was judged.
    pub delta: Option<Delta>,
    points: Vec<Point>,
    scale: Scale,
}

impl RequestLine {
    fn new(request: Request, delta: Option<Delta>) -> Self {
        let points =
            request.recent_ns.iter().map(|ns| Point { median_ns: Some(*ns), broken: false }).collect();
        let scale = Scale::of(request.recent_ns.iter().map(|ns| ns.0));
        RequestLine { request, delta, points, scale }
    }

    pub fn line(&self) -> Line<'_> {
        Line { points: &self.points, scale: self.scale, of: "sample" }
    }
}

/// One sample as it is listed.
pub struct Listed {
    pub at: Time,
    pub request: String,
    pub outcome: Outcome,
    pub passed_on_retry: bool,
    pub status: Option<u16>,
    pub total: Option<Ns>,
    /// The longest phase, and its part of the whole in percent.
    pub mostly: Option<(Phase, u64)>,
    pub bar: Option<Bar>,
    pub detail: String,
    pub trace: Option<TraceId>,
}

pub struct Evidence {
    pub at: Time,
    pub deployment: Deployment,
    /// What the deployment's own line is drawn on.
    pub scale: Scale,
    pub requests: Vec<RequestLine>,
    /// What it is compared with.
    pub against: Option<String>,
    /// The request that the list is limited to.
    pub only: Option<String>,
    pub samples: Vec<Listed>,
}

/// The deployment of this name: the living one, else the build that was seen last.
pub async fn find(store: &Store, name: &str) -> Result<Option<DeploymentRow>, StoreError> {
    let known = store.deployments().await?;
    let named = known.into_iter().filter(|d| d.name == name);
    Ok(named.max_by_key(|d| d.retired.unwrap_or(Timestamp(i64::MAX))))
}

async fn read_standing(
    store: &Store,
    row: &DeploymentRow,
    at: Timestamp,
) -> Result<(Deployment, Vec<RunRow>), StoreError> {
    let runs = store.runs(row.key, RUNS_MAX).await?;
    let standing = standing(&runs, at);
    let mut reason = None;
    if let Some(round) = standing.decisive {
        let samples = store.run_samples(row.key, round).await?;
        let sample = samples.into_iter().find(|sample| Some(sample.outcome) == standing.outcome);
        reason = sample.map(|sample| Reason::new(&sample, trace_of(&runs, round)));
    }
    Ok((Deployment::new(row, standing, reason), runs))
}

fn trace_of(runs: &[RunRow], round: RoundId) -> Option<TraceId> {
    runs.iter().find(|run| run.round == round)?.trace
}

impl Requests {
    /// `None`: no deployment has this name.
    pub async fn read(store: &Store, name: &str, at: Timestamp) -> Result<Option<Self>, StoreError> {
        let Some(row) = find(store, name).await? else { return Ok(None) };
        let (deployment, _) = read_standing(store, &row, at).await?;
        let times = store.request_times(row.key, at.minus(WINDOW), SAMPLES_MAX).await?;
        let requests = times.into_iter().map(Request::from).collect();
        Ok(Some(Requests { at: Time(at), deployment, requests }))
    }
}

impl Evidence {
    /// `None`: no deployment has this name.
    pub async fn read(
        store: &Store,
        name: &str,
        only: Option<String>,
        at: Timestamp,
    ) -> Result<Option<Self>, StoreError> {
        let Some(row) = find(store, name).await? else { return Ok(None) };
        let (deployment, runs) = read_standing(store, &row, at).await?;
        let times = store.request_times(row.key, at.minus(WINDOW), SAMPLES_MAX).await?;
        let samples = store.samples(row.key, only.as_deref(), Timestamp(i64::MIN), LISTED_MAX).await?;
        let mut deltas: HashMap<String, Delta> = HashMap::new();
        if row.retired.is_none() {
            let verdicts = Verdicts::read(store).await?.verdicts;
            let own = verdicts.iter().filter(|s| s.deployment == row.name);
            // Of two suites with one name for a request, the first speaks.
            for standing in own {
                deltas.entry(standing.request.clone()).or_insert_with(|| Delta::of(standing));
            }
        }
        let against = deltas.values().find_map(|delta| delta.against_version.clone());
        let scale = Scale::of(deployment.rounds.iter().filter_map(|p| p.median_ns).map(|ns| ns.0));
        Ok(Some(Evidence {
            at: Time(at),
            deployment,
            scale,
            requests: times
                .into_iter()
                .map(|times| {
                    let delta = deltas.remove(&times.request);
                    RequestLine::new(Request::from(times), delta)
                })
                .collect(),
            against,
            only,
            samples: list(samples, &runs),
        }))
    }
}

/// The bars share a scale that one outlier does not spoil: the 95th percentile is three quarters.
fn list(samples: Vec<SampleRow>, runs: &[RunRow]) -> Vec<Listed> {
    let traces: HashMap<RoundId, TraceId> = runs.iter().filter_map(|r| Some((r.round, r.trace?))).collect();
    let mut totals: Vec<u64> = samples.iter().filter_map(|s| s.phases).map(|p| p.0.iter().sum()).collect();
    totals.sort_unstable();
    let usual = totals.get(totals.len().saturating_sub(1) * 95 / 100).copied().unwrap_or(0);
    let full_ns = usual.saturating_mul(4) / 3;
    let listed = samples.into_iter().map(|sample| Listed {
        at: Time(sample.started),
        outcome: sample.outcome,
        passed_on_retry: sample.passed_on_retry(),
        status: sample.status,
        total: sample.phases.map(|p| Ns(p.0.iter().sum())),
        mostly: sample.phases.and_then(mostly),
        bar: sample.phases.map(|phases| Bar { phases, full_ns }),
        detail: detail(&sample),
        trace: traces.get(&sample.round).copied(),
        request: sample.request,
    });
    listed.collect()
}

pub fn mostly(phases: Phases) -> Option<(Phase, u64)> {
    let total: u64 = phases.0.iter().sum();
    let longest = Phase::ALL.into_iter().max_by_key(|phase| phases.get(*phase))?;
    let part = phases.0[longest as usize].saturating_mul(100).checked_div(total)?;
    Some((longest, part))
}
