//! What events come to over time: tests that fail newly or flakily, deployments and load runs beside
//! the version before them, versions by the rounds that are stored. Page, report and gauges all tell what is
//! found here. All but `read`, `visits` and `versions` is pure.

mod deploys;
mod fleet;
mod loads;
mod read;
mod reported;
mod suites;
mod versions;
pub mod visits;
mod wholes;

use std::collections::HashSet;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::model::{EventRow, ResultRow};
pub use deploys::{Deployed, Previous as PreviousDeploy, StepTime};
pub use fleet::{Fleet, Registered, fleet, place};
pub use loads::{LatencyDelta, Loaded, Previous as PreviousLoad};
pub use reported::mismatch;
pub use suites::{CaseNote, Flaky, Scope, Slow, Slower, SuiteHistory, TestRun, head};
pub use versions::Chosen;

/// How far back test runs are looked at: a flaky case shows within this time, or is none.
pub const TESTS_WINDOW: Duration = Duration::from_secs(14 * 86_400);
/// How far back deployments and load runs are looked at.
pub const VERSIONS_WINDOW: Duration = Duration::from_secs(400 * 86_400);
/// Events of each kind that are looked at, the newest.
pub const EVENTS_MAX: u32 = 2_000;
/// Results of test cases that are looked at in all.
pub const RESULTS_MAX: usize = 200_000;
/// Runs of a suite on a branch whose times are compared.
const TIMED_RUNS_MAX: usize = 13;
/// Suites and branches whose times are compared, those with the newest runs.
const TIMED_SUITES_MAX: usize = 8;

/// What is read from the store, each list newest first.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// Runs of tests that have ended.
    pub tests: Vec<EventRow>,
    /// All results, within these runs, of cases that ever failed in them.
    pub doubtful: Vec<ResultRow>,
    /// All results of the runs that [`timed_runs`] names.
    pub timed: Vec<ResultRow>,
    pub deploys: Vec<EventRow>,
    pub loads: Vec<EventRow>,
    /// What told of a beginning and never of an end.
    pub under_way: Vec<EventRow>,
}

/// What is found.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// A suite on a branch (or version) and database each, the one with the newest run first.
    pub suites: Vec<SuiteHistory>,
    /// Newest first.
    pub deploys: Vec<Deployed>,
    /// Newest first.
    pub loads: Vec<Loaded>,
    /// Newest first.
    pub under_way: Vec<EventRow>,
}

impl History {
    pub fn of(reading: Reading) -> Self {
        History {
            suites: suites::suites(&reading.tests, &reading.doubtful, &reading.timed),
            deploys: deploys::compare(&reading.deploys),
            loads: loads::compare(&reading.loads),
            under_way: reading.under_way,
        }
    }
}

/// The runs whose results are needed in full: the newest of the suites with the newest runs.
pub fn timed_runs(tests: &[EventRow]) -> Vec<i64> {
    let mut scopes = Vec::new();
    let mut runs = Vec::new();
    for whole in wholes::wholes(tests) {
        let Some(scope) = Scope::of(&whole.row) else { continue };
        let place = scopes.iter().position(|(known, _)| *known == scope).unwrap_or_else(|| {
            scopes.push((scope, 0));
            scopes.len() - 1
        });
        let (_, count) = &mut scopes[place];
        if place < TIMED_SUITES_MAX && *count < TIMED_RUNS_MAX {
            *count += 1;
            runs.extend(whole.parts);
        }
    }
    runs
}

/// The first of each kind, in the order given.
fn first_of<T, K: std::hash::Hash + Eq>(items: impl Iterator<Item = T>, kind: impl Fn(&T) -> K) -> Vec<T> {
    let mut seen = HashSet::new();
    items.filter(|item| seen.insert(kind(item))).collect()
}

/// The one of the middle; the mean of the two of the middle where there are two.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    Some(if values.len().is_multiple_of(2) { (values[middle - 1] + upper) / 2.0 } else { upper })
}

/// When an event ended.
fn ended(row: &EventRow) -> Timestamp {
    row.event.finished.unwrap_or(row.started)
}

/// By how much `now` is more than `before`, as a ratio of it.
fn growth(now: f64, before: f64) -> Option<f64> {
    (before > 0.0 && before.is_finite() && now.is_finite()).then(|| now / before - 1.0)
}
