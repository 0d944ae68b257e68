//! Wilcoxon's signed-rank test (Wilcoxon 1945): are differences centred at 0?
//!
//! Zeros are dropped, as Wilcoxon did. Without ties and with at most 50 differences the distribution
//! is exact; otherwise it is the normal approximation with corrections for ties and continuity. Both
//! are what `scipy.stats.wilcoxon` computes. Dependence between rounds enters as a factor on the
//! variance; an exact p-value is taken to its z for that and back.

use std::sync::OnceLock;

use super::differences::{Dependence, Differences};
use super::normal::{two_sided, upper_point};

/// Up to so many differences the distribution is exact.
pub const EXACT_MAX: usize = 50;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// All 2ⁿ signs counted.
    Exact,
    /// Normal approximation, corrected for ties and continuity.
    Normal,
}

/// What the test says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SignedRank {
    /// Differences that are not 0.
    pub used: usize,
    /// Sum of the ranks of positive differences.
    pub w_plus: f64,
    pub method: Method,
    /// Positive where positive differences prevail; after the correction for dependence.
    pub z: f64,
    /// Two-sided, in (0, 1].
    pub p: f64,
}

/// Tests whether `d` is symmetric about 0. Of no differences, or zeros alone, p is 1.
pub fn signed_rank(d: &Differences, dependence: Dependence) -> SignedRank {
    let sorted = d.sorted();
    let negative = &sorted[..sorted.partition_point(|x| *x < 0.0)];
    let positive = &sorted[sorted.partition_point(|x| *x <= 0.0)..];
    let n = negative.len() + positive.len();
    if n == 0 {
        return SignedRank { used: 0, w_plus: 0.0, method: Method::Exact, z: 0.0, p: 1.0 };
    }
    // Both ascend by size from 0 outwards; they are merged.
    let (mut below, mut above) = (negative.iter().rev().peekable(), positive.iter().peekable());
    let (mut w_plus, mut ties, mut at) = (0.0, 0.0, 0);
    while at < n {
        let size =
            below.peek().map_or(f64::INFINITY, |x| -**x).min(above.peek().map_or(f64::INFINITY, |x| **x));
        let (mut minus, mut plus) = (0, 0);
        while below.next_if(|x| -**x == size).is_some() {
            minus += 1;
        }
        while above.next_if(|x| **x == size).is_some() {
            plus += 1;
        }
        let same = minus + plus;
        let rank = at as f64 + (same as f64 + 1.0) / 2.0;
        w_plus += rank * plus as f64;
        ties += tie_term(same);
        at += same;
    }
    let size = n as f64;
    let middle = size * (size + 1.0) / 4.0;
    let sign = (w_plus - middle).signum();
    let inflated = dependence.inflation().sqrt();
    if ties == 0.0 && n <= EXACT_MAX {
        let p = exact_p(n, w_plus as usize);
        let z = sign * upper_point(p / 2.0) / inflated;
        let p = if dependence == Dependence::NONE { p } else { two_sided(z) };
        return SignedRank { used: n, w_plus, method: Method::Exact, z, p };
    }
    let variance = size * (size + 1.0) * (2.0 * size + 1.0) / 24.0 - ties / 48.0;
    let off = ((w_plus - middle).abs() - 0.5).max(0.0);
    let z = sign * off / variance.sqrt() / inflated;
    SignedRank { used: n, w_plus, method: Method::Normal, z, p: two_sided(z) }
}

/// What a group of `same` equal values takes from 48 times the variance.
pub(super) fn tie_term(same: usize) -> f64 {
    let t = same as f64;
    t * t * t - t
}

/// Two-sided p-value of a rank sum of n differences without ties: twice the smaller tail.
pub(super) fn exact_p(n: usize, w: usize) -> f64 {
    let tails = cumulative(n);
    let smaller = w.min(tails.len() - 1 - w);
    (2.0 * tails[smaller]).min(1.0)
}

/// Chance of a rank sum of at most w, for each w of 0 ..= n(n+1)/2, for n of at most [`EXACT_MAX`].
fn cumulative(n: usize) -> &'static [f64] {
    static TABLES: [OnceLock<Vec<f64>>; EXACT_MAX + 1] = [const { OnceLock::new() }; EXACT_MAX + 1];
    TABLES[n].get_or_init(|| {
        let mut chance = vec![0.0; n * (n + 1) / 2 + 1];
        chance[0] = 1.0;
        for rank in 1..=n {
            for w in (0..=rank * (rank + 1) / 2).rev() {
                let with = if w >= rank { chance[w - rank] } else { 0.0 };
                chance[w] = (chance[w] + with) / 2.0;
            }
        }
        let mut sum = 0.0;
        chance
            .iter()
            .map(|c| {
                sum += c;
                sum
            })
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(d: &[f64]) -> SignedRank {
        signed_rank(&Differences::new(d.to_vec()).unwrap(), Dependence::NONE)
    }

    #[test]
    fn small_cases_are_those_of_the_textbook() {
        // All of one sign: 2/2ⁿ.
        assert_eq!(test(&[1.0, 2.0, 3.0, 4.0, 5.0]).p, 2.0 / 32.0);
        // Ranks 1 to 4 with the smallest negative: W⁺ = 9, P(W ≤ 1) = 2/16.
        let one = test(&[-1.0, 2.0, 3.0, 4.0]);
        assert_eq!((one.w_plus, one.p, one.method), (9.0, 0.25, Method::Exact));
        // Balanced.
        assert_eq!(test(&[-1.0, 2.0, 3.0, -4.0]).p, 1.0);
        // Darwin's maize (Hollander and Wolfe): W⁺ = 96 of n = 15, p = 0.041.
        let maize = [6.1, -8.4, 1.0, 2.0, 0.7, 2.9, 3.5, 5.1, 1.8, 3.6, 7.0, 3.0, 9.3, 7.5, -6.0];
        let darwin = test(&maize);
        assert_eq!((darwin.w_plus, darwin.method), (96.0, Method::Exact));
        assert!((darwin.p - 0.0413).abs() < 1e-3, "{}", darwin.p);
    }

    #[test]
    fn nothing_and_zeros_alone_say_nothing() {
        assert_eq!(test(&[]).p, 1.0);
        let zeros = test(&[0.0, -0.0, 0.0]);
        assert_eq!((zeros.p, zeros.z, zeros.used), (1.0, 0.0, 0));
    }

    #[test]
    fn identical_differences_are_a_sign_test() {
        let all = test(&[0.1; 25]);
        assert_eq!(all.method, Method::Normal);
        assert!((all.z - (5.0 - 0.5 / (26.0 * 5.0 / 4.0))).abs() < 1e-9, "{}", all.z);
    }

    #[test]
    fn dependence_weakens_evidence_without_a_jump() {
        let d = Differences::new((1..=20).map(|i| f64::from(i) - 5.5).collect()).unwrap();
        let none = signed_rank(&d, Dependence::NONE);
        let hardly = signed_rank(&d, Dependence::from_rho(1e-9));
        let strongly = signed_rank(&d, Dependence::from_rho(0.5));
        assert!((none.p - hardly.p).abs() < 1e-6);
        assert!((none.z / strongly.z - 3_f64.sqrt()).abs() < 1e-9);
        assert!(strongly.p > none.p);
    }
}
