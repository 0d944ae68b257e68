//! Paired differences in the order of their rounds, and how much each depends on the one before.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Finite numbers, in the order in which they were measured. For latencies: d = ln t_V − ln t_P.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Differences {
    d: Vec<f64>,
    /// Sorted once: dependence, test and estimate all need it.
    sorted: Vec<f64>,
}

/// A number that cannot be ranked.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
#[error("difference {index} is {value}, where a finite number is expected")]
pub struct NotFinite {
    /// From 0.
    pub index: usize,
    pub value: f64,
}

impl Differences {
    /// Refuses NaN and infinities, so that whatever follows can rank and subtract without asking.
    pub fn new(d: Vec<f64>) -> Result<Self, NotFinite> {
        // Half of the largest number: sums of two must be finite as well.
        match d.iter().position(|x| x.is_nan() || x.abs() > f64::MAX / 2.0) {
            Some(index) => Err(NotFinite { index, value: d[index] }),
            None => {
                let mut sorted = d.clone();
                sorted.sort_unstable_by(f64::total_cmp);
                Ok(Differences { d, sorted })
            }
        }
    }

    pub fn as_slice(&self) -> &[f64] {
        &self.d
    }

    pub fn len(&self) -> usize {
        self.d.len()
    }

    pub fn is_empty(&self) -> bool {
        self.d.is_empty()
    }

    /// Ascending.
    pub(super) fn sorted(&self) -> &[f64] {
        &self.sorted
    }
}

/// What some differences say about their dependence, before any caution is applied.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lag1 {
    /// May lie outside [−1, 1] a little, for it is corrected for bias.
    pub rho: f64,
    pub pairs: usize,
}

impl Lag1 {
    /// Part of the values at each end that is pulled in: one stall must not look like a trend.
    const WINSORISED: f64 = 0.05;

    /// Lag-1 autocorrelation of the winsorised differences, corrected for its bias
    /// (the mean of r is ρ − (1 + 3ρ)/n: Marriott and Pope 1954, Kendall 1954). `None` of fewer than 5, or where
    /// all are one value.
    pub fn of(d: &Differences) -> Option<Self> {
        Self::with_ends_pulled_in(d, (d.len() as f64 * Self::WINSORISED) as usize)
    }

    fn with_ends_pulled_in(d: &Differences, cut: usize) -> Option<Self> {
        let pairs = d.len();
        if pairs < 5 || d.as_slice().iter().all(|x| *x == d.as_slice()[0]) {
            return None;
        }
        let sorted = d.sorted();
        let (low, high) = (sorted[cut], sorted[pairs - 1 - cut]);
        let d: Vec<f64> = d.as_slice().iter().map(|x| x.clamp(low, high)).collect();
        let n = pairs as f64;
        let mean = d.iter().sum::<f64>() / n;
        let spread: f64 = d.iter().map(|x| (x - mean).powi(2)).sum();
        if spread <= n * (low.abs().max(high.abs()) * 1e-12).powi(2) {
            return None;
        }
        let r = d.windows(2).map(|w| (w[0] - mean) * (w[1] - mean)).sum::<f64>() / spread;
        Some(Lag1 { rho: (n * r + 1.0) / (n - 3.0), pairs })
    }
}

/// How much each difference is taken to depend on the one before it: ρ, clipped to [0, 0.9].
///
/// Negative dependence is not used: it would narrow intervals on the word of a noisy estimate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dependence {
    rho: f64,
}

impl Dependence {
    /// Of differences that are known to be independent.
    pub const NONE: Dependence = Dependence { rho: 0.0 };
    const RHO_MAX: f64 = 0.9;
    /// Standard deviation of ρ between the cells of one comparison.
    const CELLS_DIFFER: f64 = 0.1;

    /// From these differences alone; independent where nothing can be told.
    pub fn of(d: &Differences) -> Self {
        Lag1::of(d).map_or(Self::NONE, |own| Self::from_rho(own.rho))
    }

    /// The same without winsorising: of failures, which are rare and would be pulled in.
    pub fn of_failures(d: &Differences) -> Self {
        Lag1::with_ends_pulled_in(d, 0).map_or(Self::NONE, |own| Self::from_rho(own.rho))
    }

    /// From these differences and what all cells of the comparison say together: from 60 pairs alone,
    /// independent noise would be taken for dependent, or the reverse, by ± 0.13.
    ///
    /// Each cell's own estimate is drawn to the family's as if cells differed by 0.1 (on real Cachet
    /// deployments it is less), but by no more than its own standard error, so that a cell that differs
    /// from its family is believed (Efron and Morris 1972, limited translation).
    pub fn within_family(own: Lag1, family_rho: f64) -> Self {
        let noise = 1.0 / own.pairs.max(1) as f64;
        let weight = Self::CELLS_DIFFER.powi(2) / (Self::CELLS_DIFFER.powi(2) + noise);
        let drawn = family_rho + weight * (own.rho - family_rho);
        Self::from_rho(drawn.max(own.rho - noise.sqrt()))
    }

    /// From a known autocorrelation, clipped to [0, 0.9]; NaN counts as 0.
    pub fn from_rho(rho: f64) -> Self {
        Dependence { rho: if rho.is_nan() { 0.0 } else { rho.clamp(0.0, Self::RHO_MAX) } }
    }

    /// In [0, 0.9].
    pub fn rho(self) -> f64 {
        self.rho
    }

    /// By how much the variance of a mean exceeds that of independent values: (1 + ρ)/(1 − ρ), 1 to 19
    /// (the variance of an AR(1) mean; Bayley and Hammersley 1946).
    pub fn inflation(self) -> f64 {
        (1.0 + self.rho) / (1.0 - self.rho)
    }

    /// How many independent pairs `n` of these are worth.
    pub fn effective(self, n: usize) -> f64 {
        n as f64 / self.inflation()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_ranked_is_refused() {
        let refused = Differences::new(vec![0.0, f64::NAN]).unwrap_err();
        assert_eq!(refused.index, 1);
        assert!(Differences::new(vec![f64::INFINITY]).is_err());
        assert!(Differences::new(vec![f64::MAX]).is_err());
        assert_eq!(
            Differences::new(vec![f64::NEG_INFINITY]).unwrap_err().to_string(),
            "difference 0 is -inf, where a finite number is expected"
        );
    }

    #[test]
    fn a_trend_depends_and_a_constant_does_not() {
        let trend = Differences::new((0..100).map(f64::from).collect()).unwrap();
        assert_eq!(Dependence::of(&trend).rho(), 0.9);
        assert!((Dependence::of(&trend).inflation() - 19.0).abs() < 1e-9);
        let constant = Differences::new(vec![0.1; 100]).unwrap();
        assert_eq!(Dependence::of(&constant), Dependence::NONE);
        let saw = Differences::new((0..100).map(|i| f64::from(i % 2)).collect()).unwrap();
        assert_eq!(Dependence::of(&saw), Dependence::NONE);
        assert_eq!(Dependence::from_rho(f64::NAN), Dependence::NONE);
    }

    #[test]
    fn one_outlier_is_no_trend() {
        let mut d: Vec<f64> = (0..40).map(|i| if i % 2 == 0 { 0.1 } else { -0.1 }).collect();
        d[7] = 50.0;
        assert_eq!(Dependence::of(&Differences::new(d).unwrap()).rho(), 0.0);
    }
}
