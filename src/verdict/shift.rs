//! The Hodges–Lehmann estimate of a shift, with intervals (Hodges and Lehmann 1963; Tukey 1949).
//!
//! It is the median of all n(n+1)/2 Walsh averages (d_i + d_j)/2, i ≤ j; an interval ends at two of
//! them, chosen so that it holds what the signed-rank test would not refuse. None of these averages is
//! kept: with `d` sorted, how many lie below a value is counted in O(n), so one order statistic costs
//! O(n log n) (Johnson and Mizoguchi 1978).

use super::differences::{Dependence, Differences};
use super::normal::upper_point;
use super::signed_rank::{EXACT_MAX, exact_p, tie_term};

/// An estimate with its interval, in the unit of the differences.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Interval {
    pub low: f64,
    pub value: f64,
    pub high: f64,
}

impl Interval {
    pub fn map(self, f: impl Fn(f64) -> f64) -> Self {
        Interval { low: f(self.low), value: f(self.value), high: f(self.high) }
    }

    /// Whether all of it lies closer to 0 than `margin`.
    pub fn within(self, margin: f64) -> bool {
        -margin < self.low && self.high < margin
    }
}

/// How far differences lie from 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shift {
    /// Covers the truth in 95 % of cases.
    pub at95: Interval,
    /// Covers it in 90 %: what two one-sided tests at 5 % need.
    pub at90: Interval,
}

/// Estimates the shift; `None` of no differences. With so few that no interval of that coverage
/// exists (below 6 for 95 %), the interval is the widest there is, and covers less.
///
/// Dependence widens the intervals about the estimate by the square root of its inflation.
pub fn shift(d: &Differences, dependence: Dependence) -> Option<Shift> {
    let [at95, at90] = intervals(d, dependence, [0.05, 0.10])?;
    Some(Shift { at95, at90 })
}

/// The estimate with its 95 % interval alone, which costs less.
pub(super) fn shift95(d: &Differences, dependence: Dependence) -> Option<Interval> {
    intervals(d, dependence, [0.05]).map(|[at95]| at95)
}

fn intervals<const N: usize>(
    d: &Differences,
    dependence: Dependence,
    alphas: [f64; N],
) -> Option<[Interval; N]> {
    if d.is_empty() {
        return None;
    }
    let sorted = d.sorted();
    let mut walsh = Walsh::of(sorted);
    let total = walsh.total();
    let value = walsh.median();
    let stretch = dependence.inflation().sqrt();
    Some(alphas.map(|alpha| {
        let below = refused_below(sorted, alpha);
        let (low, high) = (walsh.nth(below), walsh.nth(total - 1 - below));
        Interval { low: value - (value - low) * stretch, value, high: value + (high - value) * stretch }
    }))
}

/// How many Walsh averages lie below the interval: the first one that the test does not refuse to
/// have on its left decides.
fn refused_below(sorted: &[f64], alpha: f64) -> usize {
    let n = sorted.len();
    let groups = sorted.chunk_by(|a, b| a == b);
    let ties: f64 = groups.map(|g| tie_term(g.len())).sum();
    let total = n * (n + 1) / 2;
    let accepted = if ties == 0.0 && n <= EXACT_MAX {
        (0..=total / 2).find(|below| exact_p(n, *below) > alpha).unwrap_or(total / 2)
    } else {
        let size = n as f64;
        let variance = size * (size + 1.0) * (2.0 * size + 1.0) / 24.0 - ties / 48.0;
        let edge = total as f64 / 2.0 - 0.5 - upper_point(alpha / 2.0) * variance.sqrt();
        if edge < 0.0 { 0 } else { edge as usize + 1 }
    };
    // Between the averages of place j−1 and j (from 0) lie j below; the interval begins there.
    accepted.saturating_sub(1).min((total - 1) / 2)
}

/// The Walsh averages of sorted numbers, as sums of two.
struct Walsh<'a> {
    sorted: &'a [f64],
    /// Values with how many sums are at most that, ascending: each count narrows later searches.
    counted: Vec<(f64, usize)>,
}

impl<'a> Walsh<'a> {
    /// Counts first at eight places about those that will be asked for: the middle, and the ends of the
    /// intervals, which in numbers alike to normal ones lie 0.72 times as far from it as their ranks do.
    fn of(sorted: &'a [f64]) -> Self {
        let n = sorted.len() as f64;
        let (first, last) = (2.0 * sorted[0], 2.0 * sorted[sorted.len() - 1]);
        let far = 0.72 * 1.96 * (n * (n + 1.0) * (2.0 * n + 1.0) / 24.0).sqrt() / (n * (n + 1.0) / 2.0);
        let places = [-1.12, -0.93, -0.72, -0.25, 0.25, 0.72, 0.93, 1.12].map(|part| {
            let place = n * (0.5 + part * far).clamp(0.0, 1.0);
            2.0 * sorted[(place as usize).min(sorted.len() - 1)]
        });
        let mut walsh = Walsh { sorted, counted: Vec::with_capacity(64) };
        let [at_first] = walsh.counts([first]);
        walsh.counted.push((first, at_first));
        for (x, count) in places.into_iter().zip(walsh.counts(places)) {
            if walsh.counted.last().is_some_and(|(before, _)| *before < x) && x < last {
                walsh.counted.push((x, count));
            }
        }
        walsh.counted.push((last, walsh.total()));
        walsh
    }

    fn total(&self) -> usize {
        self.sorted.len() * (self.sorted.len() + 1) / 2
    }

    /// How many sums are at most each `x`. One walk from both ends, without a branch that depends on the
    /// numbers, so that several go on beside each other.
    fn counts<const K: usize>(&self, x: [f64; K]) -> [usize; K] {
        let d = self.sorted;
        let (mut begin, mut end, mut count) = ([0; K], [d.len(); K], [0; K]);
        // Each step brings the ends one closer.
        for _ in 0..d.len() {
            for k in 0..K {
                let over = usize::from(d[begin[k]] + d[end[k] - 1] > x[k]);
                count[k] += (1 - over) * (end[k] - begin[k]);
                end[k] -= over;
                begin[k] += 1 - over;
            }
        }
        count
    }

    fn median(&mut self) -> f64 {
        let total = self.total();
        let place = (total - 1) / 2;
        let (low, next) = self.nth_and_next(place);
        if total % 2 == 1 { low } else { (low + next.unwrap_or_else(|| self.nth(place + 1))) / 2.0 }
    }

    /// The average at `place` of the ascending order, from 0.
    fn nth(&mut self, place: usize) -> f64 {
        self.nth_and_next(place).0
    }

    /// The same with the one after it, where that was found on the way.
    fn nth_and_next(&mut self, place: usize) -> (f64, Option<f64>) {
        let at = self.counted.partition_point(|(_, count)| *count <= place);
        if at == 0 {
            return (self.counted[0].0 / 2.0, None);
        }
        let ((mut low, mut below), (mut high, mut upto)) = (self.counted[at - 1], self.counted[at]);
        let mut insert = at;
        let mut halving = false;
        while upto - below > 2 * self.sorted.len() {
            // Where the density is even, interpolation is there at once; where it was not, halving helps.
            let before = upto - below;
            let part = (place - below) as f64 / (upto - below) as f64;
            let middle = low + (high - low) * if halving { 0.5 } else { part.clamp(0.05, 0.95) };
            if middle <= low || middle >= high {
                if low + (high - low) / 2.0 > low && low + (high - low) / 2.0 < high {
                    halving = true;
                    continue;
                }
                // No number between: all that is left equals `high`.
                return (high / 2.0, None);
            }
            let [count] = self.counts([middle]);
            self.counted.insert(insert, (middle, count));
            if count <= place {
                (low, below) = (middle, count);
                insert += 1;
            } else {
                (high, upto) = (middle, count);
            }
            halving = !halving && upto - below > before / 3;
        }
        let mut left = self.between(low, high);
        let (_, found, after) = left.select_nth_unstable_by(place - below, f64::total_cmp);
        (*found / 2.0, after.iter().copied().min_by(f64::total_cmp).map(|next| next / 2.0))
    }

    /// The sums above `low` and up to `high`.
    fn between(&self, low: f64, high: f64) -> Vec<f64> {
        let d = self.sorted;
        let mut found = Vec::with_capacity(2 * d.len());
        let (mut from, mut to) = (d.len(), d.len());
        for (i, a) in d.iter().enumerate() {
            while to > i && a + d[to - 1] > high {
                to -= 1;
            }
            while from > i && a + d[from - 1] > low {
                from -= 1;
            }
            if to <= i {
                break;
            }
            found.extend(d[from.max(i)..to].iter().map(|b| a + b));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(d: &[f64]) -> Differences {
        Differences::new(d.to_vec()).unwrap()
    }

    #[test]
    fn known_cases() {
        assert_eq!(shift(&numbers(&[]), Dependence::NONE), None);
        let one = shift(&numbers(&[3.0]), Dependence::NONE).unwrap();
        assert_eq!(one.at95, Interval { low: 3.0, value: 3.0, high: 3.0 });
        // Walsh averages 1, 1.5, 2, 2, 2.5, 3 … of {1, 2, 3}: the median is 2.
        assert_eq!(shift(&numbers(&[1.0, 3.0, 2.0]), Dependence::NONE).unwrap().at95.value, 2.0);
        let same = shift(&numbers(&[0.25; 640]), Dependence::from_rho(0.5)).unwrap();
        assert_eq!(same.at95, Interval { low: 0.25, value: 0.25, high: 0.25 });
        assert_eq!(same.at90, same.at95);
        let zeros = shift(&numbers(&[0.0; 30]), Dependence::NONE).unwrap();
        assert!(zeros.at90.within(0.01));
    }

    #[test]
    fn order_statistics_are_those_of_all_averages_listed() {
        let mut state = 5_u64;
        let mut draw = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) as f64 / f64::from(1_u32 << 31)
        };
        for n in [1_usize, 2, 3, 7, 20, 51, 130] {
            for grain in [0.0, 0.25] {
                let coarse = |x: f64| if grain > 0.0 { (x / grain).round() * grain } else { x };
                let mut d: Vec<f64> = (0..n).map(|_| coarse((draw() - 0.5) / (draw() + 0.01))).collect();
                d.sort_unstable_by(f64::total_cmp);
                let mut all: Vec<f64> = (0..n)
                    .flat_map(|i| d[i..].iter().map(|b| (d[i] + b) / 2.0).collect::<Vec<_>>())
                    .collect();
                all.sort_unstable_by(f64::total_cmp);
                let mut walsh = Walsh::of(&d);
                assert_eq!(walsh.total(), all.len());
                for place in (0..all.len()).step_by(1 + all.len() / 97) {
                    assert_eq!(walsh.nth(place), all[place], "n {n}, grain {grain}, place {place}");
                }
            }
        }
    }

    #[test]
    fn dependence_widens_by_the_square_root_of_the_inflation() {
        let d = numbers(&(0..60).map(|i| f64::from((i * 37) % 60) / 60.0).collect::<Vec<_>>());
        let narrow = shift(&d, Dependence::NONE).unwrap().at95;
        let wide = shift(&d, Dependence::from_rho(0.6)).unwrap().at95;
        assert_eq!(narrow.value, wide.value);
        assert!(((wide.high - wide.value) / (narrow.high - narrow.value) - 2.0).abs() < 1e-9);
    }
}
