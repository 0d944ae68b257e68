//! The evidence of one verdict: a request on a deployment against the same on the version before, with
//! every number the judgement used and the samples it rests on.
//!
//! The numbers are those that were stored with the verdict; the samples are read from the store and paired
//! once more, at most 700 of each side. Between the two a round may lie.

mod pairing;
mod plots;
mod spread;
mod words;

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

pub use pairing::Pair;
pub use plots::Rounds;
pub use spread::Spread;
pub use words::{Numbers, why};

use super::App;
use super::deltas::{Delta, path};
use super::evidence::find;
use super::format::{Count, Ns, Time};
use super::matrix::{OutcomeName, detail};
use super::problem::{Document, Problem};
use super::sparkline::Bar;
use super::verdicts::Verdicts;
use crate::clock::Timestamp;
use crate::compare::Standing;
use crate::model::{Outcome, Phase, Phases, RoundId, TraceId};
use crate::store::{DeploymentRow, RunRow, SampleRow, Store, StoreError};
use crate::verdict::CellRules;
use pairing::pairs;

/// Samples of one side that are read: 640 pairs, and what of their rounds was lost.
const SAMPLES_MAX: u32 = 700;
/// Runs of one side that are read to know its suites and traces.
const RUNS_MAX: u32 = 2_100;
/// Slowest samples of each side.
const SLOWEST_MAX: usize = 6;

/// One request on one deployment against the version before it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Comparison {
    pub at: Time,
    pub standing: Standing,
    /// The rule that decided, in words.
    pub why: String,
    pub later: Side,
    /// Null where there is no baseline.
    pub earlier: Option<Side>,
    /// Oldest first; at most 700. One of the first rounds after a deployment is not judged.
    pub pairs: Vec<Pair>,
    /// Of these pairs: the slowest of each side, slowest first.
    pub slowest: Vec<Slow>,
}

/// The samples of one version that entered the comparison.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Side {
    pub deployment: String,
    pub version: String,
    /// Those that passed; warm-up left out.
    pub samples: Count,
    pub failures: Count,
    pub median_ns: Option<Ns>,
    pub p90_ns: Option<Ns>,
    #[serde(skip)]
    times: Vec<u64>,
}

/// One sample with its phases.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Slow {
    pub at: Time,
    pub deployment: String,
    pub version: String,
    /// Of the version that is judged, not of the one before.
    pub later: bool,
    #[schema(value_type = OutcomeName)]
    pub outcome: Outcome,
    pub total_ns: Ns,
    /// dns, connect, tls, send, wait, receive.
    pub phases_ns: [Ns; 6],
    pub detail: String,
    #[schema(value_type = Option<String>)]
    pub trace: Option<TraceId>,
}

impl Slow {
    pub fn bar(&self, full: &Ns) -> Bar {
        Bar { phases: Phases(self.phases_ns.map(|ns| ns.0)), full_ns: full.0 }
    }

    /// The longest phase, and its part of the whole in percent.
    pub fn mostly(&self) -> Option<(Phase, u64)> {
        super::evidence::mostly(Phases(self.phases_ns.map(|ns| ns.0)))
    }
}

/// What is read of one deployment.
struct Read {
    row: DeploymentRow,
    /// Newest first; of the suite in question.
    samples: Vec<SampleRow>,
    traces: HashMap<RoundId, TraceId>,
}

impl Read {
    /// What a window may hold: of the last 7 days, the newest.
    async fn of(
        store: &Store,
        row: DeploymentRow,
        standing: &Standing,
        at: Timestamp,
    ) -> Result<Self, StoreError> {
        let since = at.minus(CellRules::default().age_max);
        let mut samples = store.samples(row.key, Some(&standing.request), since, SAMPLES_MAX).await?;
        let runs: Vec<RunRow> = store.runs(row.key, RUNS_MAX).await?;
        let runs = runs.into_iter().filter(|run| run.suite == standing.suite);
        let traces: HashMap<RoundId, Option<TraceId>> = runs.map(|run| (run.round, run.trace)).collect();
        samples.retain(|sample| traces.contains_key(&sample.round));
        let traces = traces.into_iter().filter_map(|(round, trace)| Some((round, trace?))).collect();
        Ok(Read { row, samples, traces })
    }

    fn slowest(&self, rounds: &HashMap<RoundId, bool>, later: bool) -> Vec<Slow> {
        let judged = self.samples.iter().filter(|s| rounds.get(&s.round) == Some(&false));
        let mut slowest: Vec<(u64, &SampleRow, Phases)> =
            judged.filter_map(|s| s.phases.map(|phases| (phases.0.iter().sum(), s, phases))).collect();
        slowest.sort_by_key(|(total, ..)| std::cmp::Reverse(*total));
        let slow = slowest.into_iter().take(SLOWEST_MAX).map(|(total, sample, phases)| Slow {
            at: Time(sample.started),
            deployment: self.row.name.clone(),
            version: self.row.version.to_string(),
            later,
            outcome: sample.outcome,
            total_ns: Ns(total),
            phases_ns: phases.0.map(Ns),
            detail: detail(sample),
            trace: self.traces.get(&sample.round).copied(),
        });
        slow.collect()
    }
}

impl Side {
    fn new(deployment: &str, version: &str, mut times: Vec<u64>, failures: usize) -> Self {
        times.sort_unstable();
        let at = |percent: usize| times.get(times.len().saturating_sub(1) * percent / 100).copied().map(Ns);
        Side {
            deployment: deployment.to_owned(),
            version: version.to_owned(),
            samples: times.len().into(),
            failures: failures.into(),
            median_ns: at(50),
            p90_ns: at(90),
            times,
        }
    }

    fn of_pairs(deployment: &str, version: &str, pairs: &[Pair], time: impl Fn(&Pair) -> Option<Ns>) -> Self {
        let judged = || pairs.iter().filter(|pair| !pair.warm_up);
        let times: Vec<u64> = judged().filter_map(|pair| time(pair).map(|ns| ns.0)).collect();
        let failures = judged().count() - times.len();
        Side::new(deployment, version, times, failures)
    }
}

impl Comparison {
    pub async fn read(
        store: &Store,
        deployment: &str,
        request: &str,
        suite: Option<&str>,
        at: Timestamp,
    ) -> Result<Self, Problem> {
        let Some(row) = find(store, deployment).await? else { return Err(super::api::unknown(deployment)) };
        let is = |s: &Standing| {
            s.deployment == deployment && s.request == request && suite.is_none_or(|suite| s.suite == suite)
        };
        let standing = Verdicts::read(store).await?.verdicts.into_iter().find(is);
        let Some(standing) =
            standing.filter(|s| row.retired.is_none() && s.version == row.version.to_string())
        else {
            return Err(Problem::NotFound(format!(
                "no comparison of `{request}` on `{deployment}` is known: the first round after a deployment \
                 begins one; /api/v1/verdicts lists those that there are"
            )));
        };
        let later = Read::of(store, row, &standing, at).await?;
        let mut earlier = None;
        if let Some(against) = &standing.against
            && let Some(row) = find(store, &against.deployment).await?
            && row.version.to_string() == against.version
        {
            earlier = Some(Read::of(store, row, &standing, at).await?);
        }
        Ok(Comparison::new(standing, &later, earlier.as_ref(), at))
    }

    fn new(standing: Standing, later: &Read, earlier: Option<&Read>, at: Timestamp) -> Self {
        let paired = earlier.map(|earlier| pairs(&later.samples, &earlier.samples, &standing));
        let pairs = paired.unwrap_or_default();
        let rounds: HashMap<RoundId, bool> = pairs.iter().map(|pair| (pair.round, pair.warm_up)).collect();
        let mut slowest = later.slowest(&rounds, true);
        let (Standing { deployment, version, .. }, against) = (&standing, &standing.against);
        let (own, before) = match (earlier, against) {
            (Some(earlier), Some(against)) => {
                slowest.extend(earlier.slowest(&rounds, false));
                let own = Side::of_pairs(deployment, version, &pairs, |pair| pair.later_ns);
                let before =
                    Side::of_pairs(&against.deployment, &against.version, &pairs, |pair| pair.earlier_ns);
                (own, Some(before))
            }
            _ => {
                // Nothing to pair with: all that is read.
                let passed = |s: &&SampleRow| matches!(s.outcome, Outcome::Pass | Outcome::Degraded);
                let all = later.samples.iter().filter(|s| s.outcome != Outcome::Skipped).count();
                let times: Vec<u64> = later
                    .samples
                    .iter()
                    .filter(passed)
                    .filter_map(|s| s.phases.map(|p| p.0.iter().sum()))
                    .collect();
                let failures = all.saturating_sub(times.len());
                (Side::new(deployment, version, times, failures), None)
            }
        };
        Comparison {
            at: Time(at),
            why: words::why(&standing),
            later: own,
            earlier: before,
            pairs,
            slowest,
            standing,
        }
    }

    /// As the tables show it.
    pub fn delta(&self) -> Delta {
        Delta::of(&self.standing)
    }

    /// Where it is as JSON.
    pub fn json(&self) -> String {
        let Standing { deployment, request, suite, .. } = &self.standing;
        format!("/api/v1{}", path(deployment, request, suite))
    }

    /// What the bars of the slowest share.
    pub fn full(&self) -> Ns {
        self.slowest.iter().map(|slow| slow.total_ns).max().unwrap_or(Ns(0))
    }

    pub fn numbers(&self) -> Numbers<'_> {
        Numbers(&self.standing)
    }

    /// The times of both on one scale; `None` without samples.
    pub fn spread(&self) -> Option<Spread<'_>> {
        let earlier = self.earlier.as_ref().map(|side| side.times.as_slice());
        Spread::new(&self.later.times, earlier.unwrap_or_default())
    }

    /// The pairs in the order of their rounds; `None` without any.
    pub fn rounds(&self) -> Option<Rounds<'_>> {
        Rounds::new(&self.pairs, &self.standing, self.earlier.as_ref()?.median_ns)
    }

    /// `3 h`: over what time the pairs were made.
    pub fn lasted(&self) -> Option<String> {
        let (first, last) = (self.pairs.first()?, self.pairs.last()?);
        Some(first.at.age(&last.at).to_string())
    }

    pub fn warm_up(&self) -> usize {
        self.pairs.iter().filter(|pair| pair.warm_up).count()
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ComparisonQuery {
    /// Where two suites have a request of this name.
    pub suite: Option<String>,
}

/// One request on one deployment against the version before it: its verdict with every number that led to
/// it, the pairs it rests on, and the slowest samples of both versions.
#[utoipa::path(get, path = "/api/v1/deployments/{name}/compare/{request}",
    params(("name" = String, Path), ("request" = String, Path), ComparisonQuery), responses(
    (status = 200, body = Comparison),
    (status = 400, body = Document, content_type = "application/problem+json"),
    (status = 404, body = Document, content_type = "application/problem+json"),
    (status = 503, body = Document, content_type = "application/problem+json")))]
pub async fn serve(
    State(app): State<Arc<App>>,
    Path((name, request)): Path<(String, String)>,
    query: Result<Query<ComparisonQuery>, QueryRejection>,
) -> Result<Json<Comparison>, Problem> {
    let Query(query) = query.map_err(|e| Problem::BadRequest(e.body_text()))?;
    let now = app.clock.now();
    Comparison::read(&app.store, &name, &request, query.suite.as_deref(), now).await.map(Json)
}
