//! A against A: how often this engine errs on the real fleet, measured without one more request.
//!
//! Two rounds of one deployment, one right after the other, form a pair of equals; a hash says which
//! counts as the later. The pairs go through [`Watch`] as those of two versions would, over all cells of
//! the deployment, in disjoint stretches: each stretch is one comparison whose truth is known.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::judge::Verdict;
use super::normal::wilson;
use super::pairs::{CellRules, Visit, Window};
use super::watch::{Settings, Touched, Watch};
use crate::model::RoundId;

/// Pairs of one stretch: up to and with the third confirmation.
pub const STRETCH_PAIRS: u64 = 240;

/// What A/A comparisons came to. Counters: they only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Stretches that are over, each over all cells of a deployment.
    pub comparisons: u64,
    /// Of these, with any cell `regressed` or `improved` at any time.
    pub false_verdicts: u64,
}

impl Tally {
    /// Between which chances the truth lies with 95 % (Wilson 1927): never to be shown without.
    pub fn interval(self) -> (f64, f64) {
        wilson(self.false_verdicts, self.comparisons, 0.95)
    }

    pub fn add(&mut self, other: Tally) {
        self.comparisons += other.comparisons;
        self.false_verdicts += other.false_verdicts;
    }
}

/// One request of a deployment, with its first recorded visit of a round.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    pub request: &'a str,
    pub visit: Visit,
    pub rules: &'a CellRules,
}

/// The A/A comparisons of one deployment.
#[derive(Clone, Debug)]
pub struct SelfComparison {
    deployment: String,
    settings: Settings,
    watch: Watch,
    windows: BTreeMap<String, Window>,
    before: BTreeMap<String, Visit>,
    pairs: u64,
    erred: bool,
}

impl SelfComparison {
    pub fn new(deployment: &str, settings: Settings) -> Self {
        SelfComparison {
            deployment: deployment.to_owned(),
            settings,
            watch: Watch::new(settings),
            windows: BTreeMap::new(),
            before: BTreeMap::new(),
            pairs: 0,
            erred: false,
        }
    }

    /// Takes in a round after the deployment's warm-up; returns what has come to its end with it. Of two
    /// rounds that follow each other one pair is made, and no round is used twice. The two may lie a
    /// period apart, so `pair_gap_max` does not apply.
    pub fn round(&mut self, round: RoundId, seen: &[Seen<'_>]) -> Tally {
        let visits = seen.iter().map(|s| (s.request.to_owned(), s.visit));
        if self.before.is_empty() {
            self.before = visits.collect();
            return Tally::default();
        }
        let before = std::mem::take(&mut self.before);
        let swapped = round.hash_of(&["aa"]) % 2 == 1;
        for s in seen {
            let Some(mut first) = before.get(s.request).copied() else { continue };
            first.started = s.visit.started;
            let window =
                self.windows.entry(s.request.to_owned()).or_insert_with(|| Window::warmed_up(*s.rules));
            let (later, earlier) = if swapped { (first, s.visit) } else { (s.visit, first) };
            window.take(round, &[later], &[earlier]);
        }
        let touched: Vec<Touched<'_>> = self
            .windows
            .iter()
            .map(|(request, window)| Touched { request, deployment: &self.deployment, window, host: None })
            .collect();
        let changes = self.watch.round(&touched);
        self.erred |= changes.iter().any(|c| matches!(c.to, Verdict::Regressed | Verdict::Improved));
        self.pairs += 1;
        if self.pairs < STRETCH_PAIRS {
            return Tally::default();
        }
        let over = Tally { comparisons: 1, false_verdicts: u64::from(self.erred) };
        let deployment = std::mem::take(&mut self.deployment);
        *self = SelfComparison::new(&deployment, self.settings);
        over
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Timestamp;
    use crate::model::Floors;
    use crate::verdict::Answer;

    #[test]
    fn a_stretch_of_equals_is_one_comparison_without_a_verdict() {
        let rules = CellRules::default();
        let mut own = SelfComparison::new("sqlite", Settings::default());
        let mut tally = Tally::default();
        for n in 0..(4 * STRETCH_PAIRS + 2) {
            let at = Timestamp(0).plus(Duration::from_secs(60 * n));
            let took = Duration::from_micros(20_000 + (n * 7_919) % 4_001);
            let visit = Visit { started: at, answer: Answer::Passed(took) };
            let round = RoundId::new("t", "s", at);
            tally.add(own.round(round, &[Seen { request: "components", visit, rules: &rules }]));
        }
        assert_eq!(tally, Tally { comparisons: 2, false_verdicts: 0 });
        let (low, high) = tally.interval();
        assert!(low == 0.0 && high > 0.6, "two comparisons prove little: {high}");
    }

    #[test]
    fn an_engine_that_errs_is_counted() {
        // Times that swing by a half, and settings that believe anything.
        let reckless =
            Settings { alpha: 1e9, fresh_p: 1.0, screen_p: 1.0, screen_ratio: 0.0, ..Settings::default() };
        let rules = CellRules { floors: Floors { ratio: 0.0, ..Floors::default() }, ..CellRules::default() };
        let mut own = SelfComparison::new("sqlite", reckless);
        let mut tally = Tally::default();
        for n in 0..(20 * STRETCH_PAIRS) {
            let at = Timestamp(0).plus(Duration::from_secs(60 * n));
            let round = RoundId::new("t", "s", at);
            let took = Duration::from_micros(20_000 + round.hash_of(&["swing"]) % 10_000);
            let visit = Visit { started: at, answer: Answer::Passed(took) };
            tally.add(own.round(round, &[Seen { request: "components", visit, rules: &rules }]));
        }
        assert_eq!(tally.comparisons, 10);
        assert!(tally.false_verdicts > 0);
    }
}
