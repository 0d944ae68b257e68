//! The pairs of one cell: one request on one flavour, of a version and the one before it.
//!
//! A round visits both deployments within moments of each other. Here it becomes a pair, or is counted
//! as lost with its reason. Only the *first* recorded visit to a deployment in a round counts, since a
//! second one meets warm caches; the first rounds after a deployment are kept apart for the same reason.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::differences::{Dependence, Differences};
use super::mcnemar::PassFail;
use crate::clock::Timestamp;
use crate::model::{Floors, RoundId};

/// How a visit ended, as far as a comparison of versions cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Correct, also if slow: the time of the *first* attempt.
    Passed(Duration),
    /// A check failed, or no answer came in time.
    Failed,
    /// Says nothing about the version: a 429, or the budget was used up.
    Unusable,
}

/// One recorded visit to a deployment. What was skipped because of the deployment itself (after
/// `unreachable`, past the deadline) is no visit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visit {
    pub started: Timestamp,
    pub answer: Answer,
}

/// What holds for one cell; by suite and request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CellRules {
    /// What a failed visit counts as: the request's own time limit.
    pub timeout: Duration,
    /// Two visits further apart are no pair.
    pub pair_gap_max: Duration,
    /// Rounds after a deployment that are kept apart.
    pub warm_up_rounds: u32,
    /// Pairs of a window at most, and their age.
    pub pairs_max: usize,
    pub age_max: Duration,
    pub floors: Floors,
}

impl Default for CellRules {
    fn default() -> Self {
        CellRules {
            timeout: Duration::from_secs(5),
            pair_gap_max: Duration::from_secs(5),
            warm_up_rounds: 3,
            pairs_max: 640,
            age_max: Duration::from_hours(7 * 24),
            floors: Floors::default(),
        }
    }
}

/// What a round came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Taken {
    Pair,
    /// A pair of the first rounds after a deployment.
    WarmUp,
    /// The visits lie further apart than `pair_gap_max`.
    Apart,
    /// One side says nothing about its version.
    Unusable,
    /// Only one deployment was visited, or none.
    Missing,
}

/// Seconds, as `f32`: seven digits are finer than any clock behind them.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Paired {
    Times { later: f32, earlier: f32 },
    LaterFailed { earlier: f32 },
    EarlierFailed { later: f32 },
    BothFailed,
    Lost,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Entry {
    round: RoundId,
    at: Timestamp,
    paired: Paired,
}

/// The newest pairs of one cell, since the later of its two deployments. At most 32 bytes for each of
/// 640 pairs; read anew from the samples after a restart.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    rules: CellRules,
    entries: VecDeque<Entry>,
    usable: usize,
    warm_up: Vec<Entry>,
    warm_up_left: u32,
    /// Rounds that became no pair, over the whole life of the window.
    pub lost: Lost,
}

/// Rounds that became no pair, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    pub apart: u64,
    pub unusable: u64,
    pub missing: u64,
    /// Visits beyond the first of a round; their round may still be a pair.
    pub repeated: u64,
}

impl Window {
    /// Of a cell whose later deployment is new.
    pub fn new(rules: CellRules) -> Self {
        Window {
            rules,
            entries: VecDeque::new(),
            usable: 0,
            warm_up: Vec::new(),
            warm_up_left: rules.warm_up_rounds,
            lost: Lost::default(),
        }
    }

    /// Of a cell whose warm-up is older than what is about to be read.
    pub fn warmed_up(rules: CellRules) -> Self {
        Window { warm_up_left: 0, ..Window::new(rules) }
    }

    pub fn rules(&self) -> &CellRules {
        &self.rules
    }

    /// Takes one round in: its visits to the later and to the earlier deployment, in the order in
    /// which they were made. Rounds come in their order.
    pub fn take(&mut self, round: RoundId, later: &[Visit], earlier: &[Visit]) -> Taken {
        self.lost.repeated += (later.len().saturating_sub(1) + earlier.len().saturating_sub(1)) as u64;
        let (Some(v), Some(p)) = (later.first(), earlier.first()) else {
            self.lost.missing += 1;
            return Taken::Missing;
        };
        let apart = v.started.since(p.started).max(p.started.since(v.started));
        let (paired, taken) = if apart > self.rules.pair_gap_max {
            self.lost.apart += 1;
            (Paired::Lost, Taken::Apart)
        } else {
            let paired = pair(v.answer, p.answer, self.rules.timeout);
            let lost = paired == Paired::Lost;
            self.lost.unusable += u64::from(lost);
            (paired, if lost { Taken::Unusable } else { Taken::Pair })
        };
        let entry = Entry { round, at: v.started.max(p.started), paired };
        if self.warm_up_left > 0 {
            self.warm_up_left -= 1;
            self.warm_up.push(entry);
            return if taken == Taken::Pair { Taken::WarmUp } else { taken };
        }
        self.usable += usize::from(taken == Taken::Pair);
        self.entries.push_back(entry);
        while self.is_over(entry.at) {
            let oldest = self.entries.pop_front();
            self.usable -= usize::from(oldest.is_some_and(|e| e.paired != Paired::Lost));
        }
        taken
    }

    fn is_over(&self, now: Timestamp) -> bool {
        let aged = self.entries.front().is_some_and(|e| now.since(e.at) > self.rules.age_max);
        aged || self.usable > self.rules.pairs_max || self.entries.len() > 2 * self.rules.pairs_max
    }

    /// Pairs that can be judged.
    pub fn pairs(&self) -> usize {
        self.usable
    }

    /// Part of the rounds in the window that could not be used, in [0, 1]; 0 of none.
    pub fn unusable_part(&self) -> f64 {
        let all = self.entries.len();
        if all == 0 { 0.0 } else { (all - self.usable) as f64 / all as f64 }
    }

    /// The newest round, usable or not.
    pub fn newest(&self) -> Option<RoundId> {
        self.entries.back().map(|e| e.round)
    }

    /// All pairs of the window.
    pub fn all(&self) -> Pairs<'_> {
        Pairs { window: self, from: 0, count: usize::MAX }
    }

    /// The pairs after `round`; all, where that round is not (or no more) among them.
    pub fn after(&self, round: Option<RoundId>) -> Pairs<'_> {
        let at = round.and_then(|round| self.entries.iter().rposition(|e| e.round == round));
        Pairs { window: self, from: at.map_or(0, |at| at + 1), count: usize::MAX }
    }

    /// Ratio of the warm-up rounds: the median of t_V / t_P; `None` where none could be compared.
    pub fn warm_up_ratio(&self) -> Option<f64> {
        let mut d: Vec<f64> = self.warm_up.iter().filter_map(|e| self.difference(e.paired)).collect();
        d.sort_unstable_by(f64::total_cmp);
        let middle = d.len() / 2;
        let (low, high) = (d.get(d.len().saturating_sub(1) / 2)?, d.get(middle)?);
        Some(((low + high) / 2.0).exp())
    }

    /// ln t_V − ln t_P. A failed visit counts as the timeout, and never as a faster one.
    fn difference(&self, paired: Paired) -> Option<f64> {
        let timeout = self.rules.timeout.as_secs_f64();
        let (later, earlier) = match paired {
            Paired::Times { later, earlier } => (f64::from(later), f64::from(earlier)),
            Paired::LaterFailed { earlier } => (timeout.max(f64::from(earlier)), f64::from(earlier)),
            Paired::EarlierFailed { later } => (f64::from(later), timeout.max(f64::from(later))),
            Paired::BothFailed | Paired::Lost => return None,
        };
        Some((later / earlier).ln())
    }
}

fn pair(later: Answer, earlier: Answer, timeout: Duration) -> Paired {
    // A logarithm needs a time above 0; a nanosecond is the finest that anyone measures.
    let seconds = |d: Duration| d.clamp(Duration::from_nanos(1), timeout.max(d)).as_secs_f32();
    match (later, earlier) {
        (Answer::Unusable, _) | (_, Answer::Unusable) => Paired::Lost,
        (Answer::Failed, Answer::Failed) => Paired::BothFailed,
        (Answer::Failed, Answer::Passed(earlier)) => Paired::LaterFailed { earlier: seconds(earlier) },
        (Answer::Passed(later), Answer::Failed) => Paired::EarlierFailed { later: seconds(later) },
        (Answer::Passed(later), Answer::Passed(earlier)) => {
            Paired::Times { later: seconds(later), earlier: seconds(earlier) }
        }
    }
}

/// Some pairs of a window, in their order.
#[derive(Clone, Copy, Debug)]
pub struct Pairs<'a> {
    window: &'a Window,
    from: usize,
    count: usize,
}

impl<'a> Pairs<'a> {
    /// The first `count` of these.
    pub fn first(self, count: usize) -> Self {
        Pairs { count, ..self }
    }

    fn usable(self) -> impl Iterator<Item = Entry> + 'a {
        let rest = self.window.entries.range(self.from.min(self.window.entries.len())..);
        rest.filter(|e| e.paired != Paired::Lost).copied().take(self.count)
    }

    pub fn count(self) -> usize {
        self.usable().count()
    }

    /// d_i = ln t_V,i − ln t_P,i with a failed visit as the timeout; a pair that failed on both sides
    /// says nothing about time.
    pub fn differences(self) -> Differences {
        let d = self.usable().filter_map(|e| self.window.difference(e.paired)).collect();
        Differences::new(d).unwrap_or_default()
    }

    /// The round of each pair with its difference: what pairs cells with each other.
    pub fn by_round(self) -> Vec<(RoundId, f64)> {
        self.usable().filter_map(|e| Some((e.round, self.window.difference(e.paired)?))).collect()
    }

    /// Of each pair: 1 where only the later version failed, −1 where only the earlier, else 0.
    pub fn failures(self) -> Differences {
        let d = self.usable().map(|e| match e.paired {
            Paired::LaterFailed { .. } => 1.0,
            Paired::EarlierFailed { .. } => -1.0,
            _ => 0.0,
        });
        Differences::new(d.collect()).unwrap_or_default()
    }

    /// How much failures depend on each other: as an outage's do.
    pub(super) fn dependence_of_failures(self) -> Dependence {
        let all = self.pass_fail();
        if all.only_later_failed + all.only_earlier_failed == 0 {
            return Dependence::NONE;
        }
        Dependence::of_failures(&self.failures())
    }

    pub fn pass_fail(self) -> PassFail {
        let mut all = PassFail::default();
        for entry in self.usable() {
            match entry.paired {
                Paired::Times { .. } => all.both_passed += 1,
                Paired::LaterFailed { .. } => all.only_later_failed += 1,
                Paired::EarlierFailed { .. } => all.only_earlier_failed += 1,
                Paired::BothFailed => all.both_failed += 1,
                Paired::Lost => {}
            }
        }
        all
    }

    /// Median of the earlier version's times in seconds, of visits that passed.
    pub fn earlier_median(self) -> Option<f64> {
        let mut times: Vec<f32> = self
            .usable()
            .filter_map(|e| match e.paired {
                Paired::Times { earlier, .. } | Paired::LaterFailed { earlier } => Some(earlier),
                _ => None,
            })
            .collect();
        let middle = times.len() / 2;
        (!times.is_empty()).then(|| f64::from(*times.select_nth_unstable_by(middle, f32::total_cmp).1))
    }
}

#[cfg(test)]
#[path = "pairs_tests.rs"]
mod tests;
