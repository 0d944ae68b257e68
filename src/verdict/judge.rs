//! One cell's verdict: the numbers of a window, and the ordered rules that turn them into a word.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::differences::{Dependence, Differences};
use super::mcnemar::PassFail;
use super::pairs::{Pairs, Window};
use super::shift::{Interval, shift};
use super::signed_rank::signed_rank;
use crate::model::Floors;

/// What a comparison came to, in the words of every surface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Improved,
    Unchanged,
    Regressed,
    Inconclusive,
    Insufficient,
    NoBaseline,
    Invalid,
}

impl Verdict {
    pub const ALL: [Verdict; 7] = [
        Verdict::Improved,
        Verdict::Unchanged,
        Verdict::Regressed,
        Verdict::Inconclusive,
        Verdict::Insufficient,
        Verdict::NoBaseline,
        Verdict::Invalid,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Improved => "improved",
            Verdict::Unchanged => "unchanged",
            Verdict::Regressed => "regressed",
            Verdict::Inconclusive => "inconclusive",
            Verdict::Insufficient => "insufficient",
            Verdict::NoBaseline => "no_baseline",
            Verdict::Invalid => "invalid",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What of a request is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    Latency,
    /// How often it fails. A rise is shown as `regressed (errors)`.
    Errors,
}

impl Measure {
    pub fn as_str(self) -> &'static str {
        match self {
            Measure::Latency => "latency",
            Measure::Errors => "errors",
        }
    }
}

/// Which way a difference goes, seen from the later version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    Slower,
    Faster,
}

impl Direction {
    /// Of a signed number: positive is slower, or failing more often.
    pub(super) fn of(z: f64) -> Self {
        if z >= 0.0 { Direction::Slower } else { Direction::Faster }
    }
}

/// The rule that decided, in the order in which they are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// There is no earlier version to compare with.
    NoBaseline,
    /// The measurement itself was disturbed.
    Disturbed,
    /// Too few pairs, or too few that are independent.
    TooFewPairs,
    /// Significant in a confirmation batch, and beyond the floors of relevance.
    Confirmed,
    /// Found in a screening; fresh pairs are being gathered.
    Confirming,
    /// The 90 % interval lies inside the floor of the ratio (of the failure rate, for errors).
    InsideRatioFloor,
    /// The 90 % interval lies inside the floor of the difference.
    InsideDifferenceFloor,
    /// Neither shown to differ nor shown to be the same.
    Undecided,
}

impl Rule {
    pub fn as_str(self) -> &'static str {
        match self {
            Rule::NoBaseline => "no_baseline",
            Rule::Disturbed => "disturbed",
            Rule::TooFewPairs => "too_few_pairs",
            Rule::Confirmed => "confirmed",
            Rule::Confirming => "confirming",
            Rule::InsideRatioFloor => "inside_ratio_floor",
            Rule::InsideDifferenceFloor => "inside_difference_floor",
            Rule::Undecided => "undecided",
        }
    }
}

/// What no version of the product can have caused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disturbance {
    /// The null request to the daemon's own responder was slow.
    Loopback,
    /// Everything on the host waited for memory or for the disk (pressure stall information).
    HostPressure,
    /// More than 20 % of the window's rounds could not be used.
    UnusablePairs,
}

/// Part of unusable rounds above which nothing is judged.
pub const UNUSABLE_MAX: f64 = 0.2;
/// Part of failures on one side above which no milliseconds are quoted.
pub const FAILED_MAX: f64 = 0.1;
/// Independent pairs that a judgement needs.
pub const EFFECTIVE_MIN: f64 = 20.0;

/// The smallest number of pairs whose signed-rank test can be significant after correction: 2/2ⁿ ≤
/// alpha/cells. 12 for 60 cells at 0.05, 15 for 500.
pub fn pairs_floor(cells: usize, alpha: f64) -> usize {
    let n = (2.0 * cells.max(1) as f64 / alpha).log2().ceil();
    if n.is_finite() { n.max(1.0) as usize } else { usize::MAX }
}

/// The numbers of some pairs, without a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Assessment {
    /// Pairs that entered.
    pub pairs: usize,
    /// How many independent ones they are worth: n(1−ρ)/(1+ρ).
    pub effective_pairs: f64,
    /// Lag-1 autocorrelation, 0 to 0.9.
    pub rho: f64,
    /// t_V / t_P, with its 95 % interval. `None` for errors, and without pairs.
    pub ratio: Option<Interval>,
    /// The same with its 90 % interval, on which `unchanged` rests.
    pub ratio90: Option<Interval>,
    /// Seconds: the median of the earlier version times (ratio − 1). Withheld where more than 10 % of
    /// one side's visits failed.
    pub seconds: Option<Interval>,
    pub seconds90: Option<Interval>,
    /// Failure rate of the later version less the earlier one's, with its 95 % and its 90 % interval.
    pub failure_rise: Option<Interval>,
    pub failure_rise90: Option<Interval>,
    pub pass_fail: PassFail,
    /// Two-sided, of this measure alone, uncorrected for how many cells there are.
    pub p: f64,
    /// Positive where the later version is slower, or fails more often.
    pub z: f64,
}

impl Assessment {
    /// The numbers of one cell, with their dependence as these pairs alone tell it.
    pub fn of(measure: Measure, pairs: Pairs<'_>) -> Self {
        let dependence = match measure {
            Measure::Latency => Dependence::of(&pairs.differences()),
            Measure::Errors => pairs.dependence_of_failures(),
        };
        Self::with(measure, pairs, dependence)
    }

    /// The same where more is known about their dependence.
    pub fn with(measure: Measure, pairs: Pairs<'_>, dependence: Dependence) -> Self {
        match measure {
            Measure::Latency => Self::of_latency(pairs, &pairs.differences(), dependence),
            Measure::Errors => Self::of_errors(pairs, dependence),
        }
    }

    /// With the differences of these pairs.
    pub(super) fn of_latency(pairs: Pairs<'_>, d: &Differences, dependence: Dependence) -> Self {
        let pass_fail = pairs.pass_fail();
        let test = signed_rank(d, dependence);
        let logs = shift(d, dependence);
        let ratio = logs.map(|s| s.at95.map(f64::exp));
        let ratio90 = logs.map(|s| s.at90.map(f64::exp));
        let (later, earlier) = pass_fail.failures();
        let told = later.max(earlier) as f64 <= FAILED_MAX * pass_fail.pairs() as f64;
        let earlier_median = pairs.earlier_median();
        let seconds = |ratio: Option<Interval>| {
            let median = earlier_median.filter(|_| told)?;
            Some(ratio?.map(|r| median * (r - 1.0)))
        };
        Assessment {
            pairs: d.len(),
            effective_pairs: dependence.effective(d.len()),
            rho: dependence.rho(),
            ratio,
            ratio90,
            seconds: seconds(ratio),
            seconds90: seconds(ratio90),
            failure_rise: None,
            failure_rise90: None,
            pass_fail,
            p: test.p,
            z: test.z,
        }
    }

    /// McNemar's p, weakened where failures come in spells, as an outage's do.
    fn of_errors(pairs: Pairs<'_>, dependence: Dependence) -> Self {
        let pass_fail = pairs.pass_fail();
        let count = pass_fail.pairs() as usize;
        let z = pass_fail.z() / dependence.inflation().sqrt();
        let p = if dependence == Dependence::NONE { pass_fail.p() } else { super::normal::two_sided(z) };
        let widened = |coverage| {
            let stretch = dependence.inflation().sqrt();
            pass_fail.rise(coverage).map(|i| Interval {
                low: (i.value - (i.value - i.low) * stretch).max(-1.0),
                value: i.value,
                high: (i.value + (i.high - i.value) * stretch).min(1.0),
            })
        };
        Assessment {
            pairs: count,
            effective_pairs: dependence.effective(count),
            rho: dependence.rho(),
            ratio: None,
            ratio90: None,
            seconds: None,
            seconds90: None,
            failure_rise: widened(0.95),
            failure_rise90: widened(0.90),
            pass_fail,
            p,
            z,
        }
    }

    /// How many more pairs are needed before anything can be said.
    pub(super) fn pairs_missing(&self, cells: usize, alpha: f64) -> usize {
        let inflation = (1.0 + self.rho) / (1.0 - self.rho);
        let needed = (EFFECTIVE_MIN * inflation - 1e-9).ceil() as usize;
        needed.max(pairs_floor(cells, alpha)).saturating_sub(self.pairs)
    }

    /// Whether the estimate is large enough to matter, in the direction. Any confirmed rise of failures
    /// is.
    pub(super) fn is_beyond(&self, floors: &Floors, direction: Direction) -> bool {
        let sign = if direction == Direction::Slower { 1.0 } else { -1.0 };
        if let Some(rise) = self.failure_rise {
            return rise.value * sign > 0.0;
        }
        let ratio = self.ratio.is_some_and(|r| r.value.ln() * sign >= floors.ratio.ln_1p());
        // Milliseconds that are withheld because of failures cannot hold a regression back.
        let enough = |s: Interval| s.value * sign >= floors.difference.as_secs_f64();
        ratio && self.seconds.is_none_or(enough)
    }

    /// The floor that the 90 % interval lies wholly inside: two one-sided tests at 5 % (Schuirmann
    /// 1987).
    pub(super) fn equivalent(&self, floors: &Floors) -> Option<Rule> {
        if let Some(rise) = self.failure_rise90 {
            return rise.within(floors.failure_rate).then_some(Rule::InsideRatioFloor);
        }
        if self.ratio90.is_some_and(|r| r.map(f64::ln).within(floors.ratio.ln_1p())) {
            return Some(Rule::InsideRatioFloor);
        }
        let inside = self.seconds90.is_some_and(|s| s.within(floors.difference.as_secs_f64()));
        inside.then_some(Rule::InsideDifferenceFloor)
    }
}

/// What is already settled about a cell when it is judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Which way a confirmation batch found it to differ.
    pub confirmed: Option<Direction>,
    /// It waits in a batch.
    pub confirming: bool,
}

/// Rules 4 to 6, for a cell of which enough is known.
pub fn decide(assessment: &Assessment, floors: &Floors, standing: Standing) -> (Verdict, Rule) {
    if let Some(direction) = standing.confirmed.filter(|d| assessment.is_beyond(floors, *d)) {
        let verdict = match direction {
            Direction::Slower => Verdict::Regressed,
            Direction::Faster => Verdict::Improved,
        };
        return (verdict, Rule::Confirmed);
    }
    if standing.confirming {
        return (Verdict::Inconclusive, Rule::Confirming);
    }
    match assessment.equivalent(floors) {
        Some(rule) => (Verdict::Unchanged, rule),
        None => (Verdict::Inconclusive, Rule::Undecided),
    }
}

/// What is wrong with the measurement itself, by the window and by what the caller saw of the host.
pub fn disturbance(window: &Window, host: Option<Disturbance>) -> Option<Disturbance> {
    host.or_else(|| (window.unusable_part() > UNUSABLE_MAX).then_some(Disturbance::UnusablePairs))
}

/// A verdict with every number that led to it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    pub verdict: Verdict,
    pub rule: Rule,
    pub disturbance: Option<Disturbance>,
    /// Pairs until there can be another verdict; 0 where only time can bring one.
    pub rounds_needed: usize,
    pub assessment: Assessment,
}

impl Judgement {
    /// Of a cell that no round has touched since its comparison began.
    pub fn none(measure: Measure, window: &Window) -> Self {
        Judgement {
            verdict: Verdict::Insufficient,
            rule: Rule::TooFewPairs,
            disturbance: None,
            rounds_needed: EFFECTIVE_MIN as usize,
            assessment: Assessment::of(measure, window.all()),
        }
    }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
