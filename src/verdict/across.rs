//! Beyond one cell: what a database has to do with it.
//!
//! Everything here is paired within rounds and estimated as one cell is. None of it blames anyone, so
//! none of it is corrected for how many are shown: the intervals are to be read one by one.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::differences::{Dependence, Differences};
use super::shift::{Interval, shift};
use super::signed_rank::signed_rank;
use crate::model::RoundId;

/// A ratio over rounds that both sides share.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Factor {
    /// With its 95 % interval.
    pub ratio: Interval,
    /// Two-sided, that the ratio is 1.
    pub p: f64,
    /// Rounds in which both were seen.
    pub rounds: usize,
}

/// How differently a version changed on one flavour: its V/P there over its V/P on the others, round by
/// round. Above 1 it got slower here than elsewhere: 'regressed only on mysql'.
///
/// Each slice holds a cell's differences by round, as [`super::Pairs::by_round`] gives them. `None`
/// where no round saw this flavour and another one.
pub fn interaction(here: &[(RoundId, f64)], others: &[Vec<(RoundId, f64)>]) -> Option<Factor> {
    let mut elsewhere: HashMap<RoundId, (f64, f64)> = HashMap::new();
    for (round, d) in others.iter().flatten() {
        let entry = elsewhere.entry(*round).or_default();
        *entry = (entry.0 + d, entry.1 + 1.0);
    }
    let shared = here.iter().filter_map(|(round, d)| {
        let (sum, count) = elsewhere.get(round)?;
        Some(d - sum / count)
    });
    of(shared.collect())
}

/// How much longer `a` takes than `b`, in seconds by round: a flavour than the fastest, a request than
/// the control request that touches no database.
pub fn factor(a: &[(RoundId, f64)], b: &[(RoundId, f64)]) -> Option<Factor> {
    let b: HashMap<RoundId, f64> = b.iter().copied().collect();
    let shared = a.iter().filter_map(|(round, seconds)| Some(seconds.ln() - b.get(round)?.ln()));
    of(shared.filter(|d| d.is_finite()).collect())
}

/// Each flavour's factor to the fastest one, by the median over its own rounds; the fastest itself is
/// exactly 1. In the order given. `None` for a flavour that shares no round with the fastest.
pub fn factors_to_fastest(flavours: &[Vec<(RoundId, f64)>]) -> Vec<Option<Factor>> {
    let median = |samples: &Vec<(RoundId, f64)>| {
        let mut seconds: Vec<f64> = samples.iter().map(|(_, s)| *s).collect();
        let middle = seconds.len() / 2;
        (!seconds.is_empty()).then(|| *seconds.select_nth_unstable_by(middle, f64::total_cmp).1)
    };
    let medians = flavours.iter().map(median).enumerate();
    let fastest = medians.filter_map(|(at, m)| Some((at, m?))).min_by(|a, b| a.1.total_cmp(&b.1));
    let Some((fastest, _)) = fastest else { return vec![None; flavours.len()] };
    flavours.iter().map(|samples| factor(samples, &flavours[fastest])).collect()
}

fn of(logs: Vec<f64>) -> Option<Factor> {
    let d = Differences::new(logs).ok()?;
    let dependence = Dependence::of(&d);
    let ratio = shift(&d, dependence)?.at95.map(f64::exp);
    Some(Factor { ratio, p: signed_rank(&d, dependence).p, rounds: d.len() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    fn series(n: i64, value: impl Fn(i64) -> f64) -> Vec<(RoundId, f64)> {
        (0..n).map(|i| (RoundId::new("t", "s", Timestamp(i)), value(i))).collect()
    }

    /// ± 5 %, in no order.
    fn noise(i: i64) -> f64 {
        (RoundId::new("t", "noise", Timestamp(i)).hash_of(&[]) % 1_001) as f64 / 10_000.0 - 0.05
    }

    #[test]
    fn a_regression_on_one_flavour_alone_stands_out() {
        let here = series(62, |i| 0.2 + noise(i));
        let others = [series(62, |i| noise(i + 700)), series(40, |i| noise(i + 300))];
        let found = interaction(&here, &others).unwrap();
        assert!((found.ratio.value - 0.2_f64.exp()).abs() < 0.03, "{found:?}");
        assert!(found.ratio.low > 1.1 && found.p < 1e-6 && found.rounds == 62);
        let none = interaction(&others[0], &[others[1].clone()]).unwrap();
        assert!(none.ratio.low < 1.0 && none.ratio.high > 1.0 && none.rounds == 40);
        assert_eq!(interaction(&here, &[]), None);
    }

    #[test]
    fn flavours_are_held_against_the_fastest() {
        let flavours = [
            series(60, |i| 0.030 * noise(i).exp()),
            series(60, |i| 0.020 * noise(i + 500).exp()),
            Vec::new(),
        ];
        let found = factors_to_fastest(&flavours);
        assert!((found[0].unwrap().ratio.value - 1.5).abs() < 0.02);
        assert_eq!(found[1].unwrap().ratio, Interval { low: 1.0, value: 1.0, high: 1.0 });
        assert_eq!(found[2], None);
        assert_eq!(factors_to_fastest(&[Vec::new()]), vec![None]);
        assert_eq!(factors_to_fastest(&[]), vec![]);
    }

    #[test]
    fn impossible_times_are_left_out() {
        let a = series(30, |i| if i == 3 { 0.0 } else { 0.02 });
        let b = series(30, |i| if i == 4 { f64::NAN } else { 0.01 });
        assert_eq!(factor(&a, &b).unwrap().rounds, 28);
    }
}
