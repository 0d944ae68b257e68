//! What the checks said while versions were compared: counts over all rounds, and what failed last.
//!
//! One failure among sixty rounds says little about a version, and the comparison judges the rate of
//! failures itself. So a request counts as failing if more than a tenth of its samples did: the first of
//! one round, the seventh of sixty.

use std::collections::{BTreeMap, VecDeque};

use crate::model::{ErrorType, Outcome, Run, Suite, TraceId};
use crate::probe::NOTHING_THERE;

/// Times that are kept of each request on each deployment: as many as pairs.
const TIMES_MAX: usize = 640;

/// How one request went on one deployment.
#[derive(Clone, Debug, Default)]
pub struct Check {
    pub asked: u64,
    pub degraded: u64,
    /// A check did not hold, on the last attempt.
    pub failed: u64,
    pub unreachable: u64,
    /// Not asked, or refused with 429, for a reason that says nothing about the version.
    pub withheld: u64,
    /// What was wrong last, and where.
    pub detail: String,
    pub trace: Option<TraceId>,
    /// Seconds of the newest passes, of rounds that are judged.
    times: VecDeque<f32>,
}

impl Check {
    /// Whether more than a tenth of what was asked ended so.
    fn is_often(&self, count: u64) -> bool {
        count > 0 && count * 10 > self.asked
    }

    pub fn is_unreachable(&self) -> bool {
        self.is_often(self.unreachable)
    }

    /// Also where it could never be asked: a pipeline must not go green on it.
    pub fn is_failing(&self) -> bool {
        self.is_often(self.failed) || (self.asked == 0 && self.withheld > 0)
    }

    pub fn is_degraded(&self) -> bool {
        self.is_often(self.degraded)
    }

    /// Whether a person should look at it.
    pub fn is_remarkable(&self) -> bool {
        self.failed + self.unreachable + self.degraded + self.withheld > 0
    }

    /// Median of the times in seconds.
    pub fn median(&self) -> Option<f64> {
        let mut times: Vec<f32> = self.times.iter().copied().collect();
        let middle = times.len() / 2;
        (!times.is_empty()).then(|| f64::from(*times.select_nth_unstable_by(middle, f32::total_cmp).1))
    }
}

/// By deployment (by its place), suite and request (by their places in the order of asking).
#[derive(Clone, Debug, Default)]
pub struct Checks(BTreeMap<(usize, usize, usize), (String, Check)>);

impl Checks {
    /// Takes in the runs of one round of one suite. `warm`: its times are compared.
    pub fn take(&mut self, runs: &[Run], suite: (usize, &Suite), place: impl Fn(&str) -> usize, warm: bool) {
        for run in runs {
            let deployment = place(&run.deployment.name);
            for sample in &run.samples {
                let order = suite.1.order.iter().position(|name| *name == sample.request.name);
                let key = (deployment, suite.0, order.unwrap_or(usize::MAX));
                let named = || (sample.request.name.clone(), Check::default());
                let check = &mut self.0.entry(key).or_insert_with(named).1;
                let limited = sample.first().is_some_and(|a| a.error == Some(ErrorType::RateLimited));
                if limited || sample.attempts.is_empty() {
                    // What follows an unreachable request is not asked either, and that one is counted.
                    check.withheld += u64::from(limited || sample.detail != NOTHING_THERE);
                    if check.asked == 0 {
                        check.detail.clone_from(&sample.detail);
                    }
                    continue;
                }
                check.asked += 1;
                match sample.outcome {
                    Outcome::Fail => check.failed += 1,
                    Outcome::Unreachable => check.unreachable += 1,
                    Outcome::Degraded => check.degraded += 1,
                    Outcome::Pass | Outcome::Skipped => {}
                }
                if sample.outcome > Outcome::Pass {
                    check.detail.clone_from(&sample.detail);
                    check.trace = Some(run.trace);
                }
                let first = sample.first().filter(|first| first.error.is_none() && warm);
                if let Some(first) = first {
                    check.times.push_back(first.phases.total().as_secs_f32());
                    if check.times.len() > TIMES_MAX {
                        check.times.pop_front();
                    }
                }
            }
        }
    }

    /// (place of the deployment, place of the suite, request, how it went)
    pub fn all(&self) -> impl Iterator<Item = (usize, usize, &str, &Check)> {
        self.0
            .iter()
            .map(|((deployment, suite, _), (name, check))| (*deployment, *suite, name.as_str(), check))
    }

    pub fn of(&self, deployment: usize, suite: usize, request: &str) -> Option<&Check> {
        let wanted = |(at, of, name, _): &(usize, usize, &str, &Check)| {
            (*at, *of, *name) == (deployment, suite, request)
        };
        self.all().find(wanted).map(|(.., check)| check)
    }
}
