//! Beyond one cell: what a database has to do with it.
//!
//! Everything here is paired within rounds and estimated as one cell is. None of it blames anyone, so
//! none of it is corrected for how many are shown: the intervals are to be read one by one.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::differences::{Dependence, Differences};
use super::shift::{Interval, shift95};
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

/// How differently a version changed on the flavour of each cell: its V/P there over its V/P on the other
/// flavours, round by round. Above 1 it got slower here than elsewhere: 'regressed only on mysql'.
///
/// Each cell has its differences by round, as [`super::Pairs::by_round`] gives them. In the order given;
/// `None` where no round saw this flavour and another one.
pub fn interactions<F: PartialEq>(cells: &[(F, Vec<(RoundId, f64)>)]) -> Vec<Option<Factor>> {
    let mut flavours: Vec<&F> = Vec::new();
    let place = |flavour: &F, known: &[&F]| known.iter().position(|f| *f == flavour);
    for (flavour, _) in cells {
        if place(flavour, &flavours).is_none() {
            flavours.push(flavour);
        }
    }
    if flavours.len() < 2 {
        return vec![None; cells.len()];
    }
    let mut rounds = Rounds::default();
    let seen: Vec<Vec<usize>> = cells.iter().map(|(_, by_round)| rounds.places(by_round)).collect();
    // Of each round and flavour: the sum of its differences, and their count.
    let mut sums = vec![(0.0, 0.0); rounds.order.len() * flavours.len()];
    let width = flavours.len();
    let own: Vec<usize> = cells.iter().filter_map(|(flavour, _)| place(flavour, &flavours)).collect();
    for ((cell, seen), own) in cells.iter().zip(&seen).zip(&own) {
        for ((_, d), round) in cell.1.iter().zip(seen) {
            let sum = &mut sums[round * width + own];
            *sum = (sum.0 + d, sum.1 + 1.0);
        }
    }
    let mut found = Vec::with_capacity(cells.len());
    for (((_, by_round), seen), own) in cells.iter().zip(&seen).zip(&own) {
        let shared = by_round.iter().zip(seen).filter_map(|((_, d), round)| {
            let elsewhere = sums[round * width..][..width].iter().enumerate().filter(|(f, _)| f != own);
            let (sum, count) = elsewhere.fold((0.0, 0.0), |all, (_, sum)| (all.0 + sum.0, all.1 + sum.1));
            (count > 0.0).then(|| d - sum / count)
        });
        found.push(of(shared.collect()));
    }
    found
}

/// Rounds in the order in which they were first met.
#[derive(Default)]
struct Rounds {
    order: Vec<RoundId>,
    known: HashMap<RoundId, usize>,
}

impl Rounds {
    /// The place of each. Cells were mostly seen in the same rounds, so the next one is a good guess.
    fn places(&mut self, by_round: &[(RoundId, f64)]) -> Vec<usize> {
        let mut guess = 0;
        let place = |(round, _): &(RoundId, f64)| {
            if self.order.get(guess) != Some(round) {
                let new = self.order.len();
                guess = *self.known.entry(*round).or_insert(new);
                if guess == new {
                    self.order.push(*round);
                }
            }
            guess += 1;
            guess - 1
        };
        by_round.iter().map(place).collect()
    }
}

/// How much longer `a` takes than `b`, in seconds by round: a flavour than the fastest, a request than
/// the control request that touches no database. Both in the order of their rounds.
pub fn factor(a: &[(RoundId, f64)], b: &[(RoundId, f64)]) -> Option<Factor> {
    let mut rest = b;
    let shared = a.iter().filter_map(|(round, seconds)| {
        let at = rest.iter().position(|(other, _)| other == round)?;
        let other = rest[at].1;
        rest = &rest[at + 1..];
        Some((seconds / other).ln())
    });
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
    let ratio = shift95(&d, dependence)?.map(f64::exp);
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
        let [one, other] = others;
        let cells = [("mysql", here.clone()), ("sqlite", one), ("mariadb", other)];
        let all = interactions(&cells);
        let found = all[0].unwrap();
        assert!((found.ratio.value - 0.2_f64.exp()).abs() < 0.03, "{found:?}");
        assert!(found.ratio.low > 1.1 && found.p < 1e-6 && found.rounds == 62);
        let none = interactions(&cells[1..])[0].unwrap();
        assert!(none.ratio.low < 1.0 && none.ratio.high > 1.0 && none.rounds == 40);
        assert_eq!(interactions(&[("mysql", here.clone()), ("mysql", here)]), vec![None, None]);
        assert!(all[1].unwrap().ratio.value < 1.0 && all[1].unwrap().rounds == 62);
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
