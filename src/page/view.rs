//! The overview: everything `/` and `/api/v1/overview` show, made from one reading. Pure.

use std::collections::HashMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::answers::{Change, Factor, Question, largest_factor, largest_rise, questions};
use super::board::{FAILURES_MAX, Reading};
use super::ci::{DeployHistory, LoadHistory, TestHistory, UnderWay, under_way};
use super::deltas::DeltaTable;
use super::format::{Count, Time};
use super::health::Health;
use super::judged;
use super::matrix::{Matrix, OutcomeName, detail};
use super::requests::RequestTable;
use super::standing::is_broken;
use super::verdicts::OwnComparisons;
use crate::model::{ErrorType, Outcome, TraceId};
use crate::store::{DeploymentRow, FailureRow};

/// Groups of failures that are shown.
const FAILURE_GROUPS_MAX: usize = 12;

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Overview {
    /// When the store was read.
    pub at: Time,
    /// Which fleet this is.
    pub title: String,
    pub status: Status,
    pub questions: Vec<Question>,
    /// The number behind the third question.
    pub slow_database: Option<Factor>,
    /// An indication for the fourth question where there is no verdict yet.
    pub unpaired_rise: Option<Change>,
    pub matrix: Matrix,
    /// The latest version of each environment against the one before it, by its verdicts.
    pub deltas: Vec<DeltaTable>,
    /// The requests of the latest version of each environment.
    pub requests: RequestTable,
    /// What CI found, of the last 14 days.
    pub tests: TestHistory,
    /// What was deployed, of the last 400 days.
    pub deploys: DeployHistory,
    /// What load runs measured, of the last 400 days.
    pub loads: LoadHistory,
    /// What began within two days and has not told of an end, the longest first.
    pub under_way: Vec<UnderWay>,
    /// Newest first, equal ones together; of the last 24 hours.
    pub failures: Vec<FailureGroup>,
    /// How many samples that did not pass were read, if there may be more; else null.
    pub failures_cut: Option<Count>,
    pub health: Health,
    /// How far the verdicts can be trusted.
    pub own_comparisons: OwnComparisons,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Status {
    pub state: State,
    pub deployments: Count,
    /// Deployments that fail a check or are unreachable.
    pub broken: Count,
    /// Builds that left the fleet.
    pub retired: Count,
    /// When the last run of any deployment started.
    pub last_round: Option<Time>,
    pub last_delivery: Option<Time>,
    /// Since when the collector takes nothing.
    pub undelivered_since: Option<Time>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// No deployment is known.
    Empty,
    /// No round has taken place yet.
    Waiting,
    Live,
    /// Rounds no longer take place.
    Stalled,
    /// The store cannot be written.
    StoreTrouble,
}

/// Requests of one deployment that failed the same way, again and again.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct FailureGroup {
    pub last: Time,
    /// The first of those that were read.
    pub first: Time,
    pub times: Count,
    pub deployment: String,
    pub version: String,
    pub requests: Vec<String>,
    #[schema(value_type = OutcomeName)]
    pub outcome: Outcome,
    /// `error.type` of the last one.
    #[schema(value_type = Option<String>)]
    pub error: Option<ErrorType>,
    /// Of the last one: expected and found.
    pub detail: String,
    /// Trace of the last one's run.
    #[schema(value_type = Option<String>)]
    pub trace: Option<TraceId>,
}

impl Overview {
    pub fn new(reading: &Reading) -> Self {
        let ranked = |rank| reading.fleet.iter().filter(move |d| d.rank == rank);
        let latest = RequestTable::new(ranked(0), reading.samples_max);
        let previous = RequestTable::new(ranked(1).chain(&reading.gone), reading.samples_max);
        let matrix = Matrix::new(reading);
        let deltas = DeltaTable::all(&latest_versions(reading), &reading.verdicts.verdicts);
        let factor = judged::largest_factor(&deltas).or_else(|| largest_factor(&latest));
        let is_judged = deltas.iter().any(|table| !table.tally.judged().is_zero());
        let rise = largest_rise(&latest, &previous).filter(|_| !is_judged);
        let (at, history) = (Time(reading.at), &*reading.history);
        Overview {
            at,
            title: reading.title.clone(),
            status: status(reading, &matrix),
            questions: questions(&latest, &previous, factor.as_ref(), rise.as_ref(), &deltas, history, at),
            slow_database: factor,
            unpaired_rise: rise,
            matrix,
            deltas,
            requests: latest,
            tests: TestHistory::new(&history.suites),
            deploys: DeployHistory::new(&history.deploys),
            loads: LoadHistory::new(&history.loads),
            under_way: under_way(history, at),
            failures: groups(&reading.failures, &reading.known),
            failures_cut: (reading.failures.len() >= FAILURES_MAX as usize)
                .then(|| reading.failures.len().into()),
            health: reading.health.clone(),
            own_comparisons: reading.verdicts.own,
        }
    }
}

/// The latest version of each environment, by its name.
fn latest_versions(reading: &Reading) -> Vec<(String, String)> {
    let latest = reading.fleet.iter().filter(|d| d.rank == 0);
    let mut versions: Vec<(String, String)> =
        latest.map(|d| (d.row.environment.clone(), d.row.version.to_string())).collect();
    versions.sort();
    versions.dedup();
    versions
}

fn status(reading: &Reading, matrix: &Matrix) -> Status {
    let last_round = matrix.deployments().filter_map(|d| d.last_round).max();
    let state = if reading.health.store.trouble.is_some() {
        State::StoreTrouble
    } else if reading.fleet.is_empty() {
        State::Empty
    } else if last_round.is_none() {
        State::Waiting
    } else if matrix.deployments().filter(|d| d.last_round.is_some()).all(|d| d.overdue) {
        State::Stalled
    } else {
        State::Live
    };
    Status {
        state,
        deployments: reading.fleet.len().into(),
        broken: matrix.deployments().filter(|d| d.is_broken()).count().into(),
        retired: reading.known.iter().filter(|d| d.retired.is_some()).count().into(),
        last_round,
        last_delivery: reading.health.last_delivery(),
        undelivered_since: reading.health.undelivered().map(|trouble| trouble.since),
    }
}

/// Failures of the same request on the same deployment for the same reason, together.
fn groups(failures: &[FailureRow], known: &[DeploymentRow]) -> Vec<FailureGroup> {
    let names: HashMap<i64, &DeploymentRow> = known.iter().map(|d| (d.key, d)).collect();
    let mut position = HashMap::new();
    let mut groups: Vec<FailureGroup> = Vec::new();
    for failure in failures.iter().filter(|f| is_broken(f.sample.outcome)) {
        let sample = &failure.sample;
        let at = Time(sample.started);
        let same = (sample.deployment, &sample.request, sample.outcome, sample.error);
        let index = *position.entry(same).or_insert(groups.len());
        if let Some(group) = groups.get_mut(index) {
            group.times.0 += 1;
            group.first = group.first.min(at);
            continue;
        }
        let deployment = names.get(&sample.deployment);
        groups.push(FailureGroup {
            last: at,
            first: at,
            times: Count(1),
            deployment: deployment.map_or_else(|| "(forgotten)".into(), |d| d.name.clone()),
            version: deployment.map(|d| d.version.to_string()).unwrap_or_default(),
            requests: vec![sample.request.clone()],
            outcome: sample.outcome,
            error: sample.error,
            detail: detail(sample),
            trace: failure.trace,
        });
    }
    let mut groups = merge(groups);
    groups.truncate(FAILURE_GROUPS_MAX);
    groups
}

/// Requests that fail in the same words on the same deployment are one failure.
fn merge(groups: Vec<FailureGroup>) -> Vec<FailureGroup> {
    let mut merged: Vec<FailureGroup> = Vec::new();
    for group in groups {
        let same = |other: &&mut FailureGroup| {
            (&other.deployment, &other.version, other.outcome, other.error, &other.detail)
                == (&group.deployment, &group.version, group.outcome, group.error, &group.detail)
        };
        match merged.iter_mut().find(same) {
            Some(other) => {
                other.times.0 += group.times.0;
                other.first = other.first.min(group.first);
                other.requests.extend(group.requests);
            }
            None => merged.push(group),
        }
    }
    merged
}
