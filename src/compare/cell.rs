//! One request on one deployment against the same on its predecessor.

use std::collections::VecDeque;

use crate::model::RoundId;
use crate::verdict::{CellRules, Disturbance, Judgement, Measure, Rule, Verdict, Window};

/// Rounds whose times are kept to compare databases with each other: two hours of a round each 30 s.
const TIMES_MAX: usize = 240;

/// A cell of a comparison.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    pub window: Window,
    /// They cost something, so they are kept until something new can have changed them.
    pub judged: Option<Judged>,
}

/// The judgements of a cell, with what they are as of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Judged {
    pub newest: Option<RoundId>,
    /// How many cells share the chance of a false verdict.
    pub cells: usize,
    pub host: Option<Disturbance>,
    pub latency: Judgement,
    pub errors: Judgement,
}

impl Cell {
    /// `fresh` where the younger of its two builds is new, so that warm-up is still to come.
    pub fn new(rules: CellRules, fresh: bool) -> Self {
        let window = if fresh { Window::new(rules) } else { Window::warmed_up(rules) };
        Cell { window, judged: None }
    }

    /// Its judgements, if nothing can have changed them.
    pub fn known(&self, cells: usize, host: Option<Disturbance>) -> Option<Judged> {
        let as_of = (self.window.newest(), cells, host);
        self.judged.filter(|judged| (judged.newest, judged.cells, judged.host) == as_of)
    }
}

/// The newest times of one request on one deployment, in seconds, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Times(VecDeque<(RoundId, f32)>);

impl Times {
    pub fn take(&mut self, round: RoundId, seconds: f32) {
        self.0.push_back((round, seconds));
        if self.0.len() > TIMES_MAX {
            self.0.pop_front();
        }
    }

    pub fn all(&self) -> Vec<(RoundId, f64)> {
        self.0.iter().map(|(round, seconds)| (*round, f64::from(*seconds))).collect()
    }
}

/// The verdict of both measures together. What is confirmed outweighs what is not, a regression an
/// improvement, and of two regressions that of errors is named.
pub(super) fn together(latency: &Judgement, errors: &Judgement) -> (Verdict, Measure, Rule) {
    let of = |judgement: &Judgement, measure| (judgement.verdict, measure, judgement.rule);
    if errors.verdict == Verdict::Regressed {
        return of(errors, Measure::Errors);
    }
    // A request that only ever fails has no times to compare; its failures may still be judged.
    let settled = |j: &Judgement| matches!(j.verdict, Verdict::Regressed | Verdict::Improved);
    let no_times = latency.verdict == Verdict::Insufficient && latency.assessment.pairs == 0;
    let silent = no_times && errors.assessment.pairs > 0;
    if settled(latency) || !(errors.verdict == Verdict::Improved || silent) {
        return of(latency, Measure::Latency);
    }
    of(errors, Measure::Errors)
}
