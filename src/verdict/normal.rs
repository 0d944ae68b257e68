//! The normal distribution and the binomial's score interval: what the tests of this module need, no
//! more.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

/// Chance that a standard normal variable exceeds `z`, with a relative error below 10⁻¹¹.
///
/// Series for erf (Abramowitz and Stegun 7.1.6) near the middle, continued fraction for erfc (7.1.14)
/// in the tail, so that small p-values keep their digits.
pub fn upper_tail(z: f64) -> f64 {
    if z < 0.0 {
        return 1.0 - upper_tail(-z);
    }
    let x = z * FRAC_1_SQRT_2;
    if x < 2.5 {
        let (mut term, mut sum, mut n) = (x, x, 0.0);
        while term > sum * 1e-17 {
            n += 1.0;
            term *= 2.0 * x * x / (2.0 * n + 1.0);
            sum += term;
        }
        0.5 - sum * (-x * x).exp() / PI.sqrt()
    } else {
        let fraction = (1..=60).rev().fold(x, |below, k| x + f64::from(k) / 2.0 / below);
        (-x * x).exp() / (2.0 * PI.sqrt() * fraction)
    }
}

/// Chance of a value at least as far from 0 as `z`, on either side.
pub fn two_sided(z: f64) -> f64 {
    (2.0 * upper_tail(z.abs())).min(1.0)
}

/// The z that a standard normal variable exceeds with chance `p`, for p in (0, 0.5]; 0 above.
///
/// Abramowitz and Stegun 26.2.23, then Newton's steps to full precision.
pub fn upper_point(p: f64) -> f64 {
    if p >= 0.5 {
        return 0.0;
    }
    let p = p.max(f64::MIN_POSITIVE);
    let t = (-2.0 * p.ln()).sqrt();
    let rough = t
        - (2.515517 + t * (0.802853 + t * 0.010328)) / (1.0 + t * (1.432788 + t * (0.189269 + t * 0.001308)));
    (0..4).fold(rough, |z, _| {
        let density = (-z * z / 2.0).exp() / (2.0 * PI).sqrt();
        z + (upper_tail(z) - p) / density
    })
}

/// Wilson's score interval for `hits` of `trials` (Wilson 1927): a part of 1, with the given chance of
/// covering the truth. Of no trials at all it is all of [0, 1].
pub fn wilson(hits: u64, trials: u64, coverage: f64) -> (f64, f64) {
    if trials == 0 {
        return (0.0, 1.0);
    }
    let (n, part) = (trials as f64, hits as f64 / trials as f64);
    let z = upper_point((1.0 - coverage) / 2.0);
    let middle = part + z * z / (2.0 * n);
    let half = z * (part * (1.0 - part) / n + z * z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + z * z / n;
    let low = if hits == 0 { 0.0 } else { (middle - half) / scale };
    let high = if hits == trials { 1.0 } else { (middle + half) / scale };
    (low, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_are_those_of_the_tables() {
        // Twelve digits of `scipy.stats.norm.sf`.
        for (z, p) in [
            (0.0, 0.5),
            (1.0, 0.158655253931),
            (1.959963984540, 0.025),
            (3.0, 1.34989803163e-3),
            (3.6, 1.59108590157e-4),
            (6.0, 9.86587645038e-10),
            (20.0, 2.75362411861e-89),
        ] {
            assert!((upper_tail(z) / p - 1.0).abs() < 1e-10, "{z}: {}", upper_tail(z));
            assert!((upper_tail(-z) - (1.0 - p)).abs() < 1e-12);
            assert!((upper_point(p) - z).abs() < 1e-9, "{p}: {}", upper_point(p));
        }
    }

    #[test]
    fn both_branches_meet() {
        let seam = 2.5 / FRAC_1_SQRT_2;
        assert!((upper_tail(seam - 1e-12) / upper_tail(seam + 1e-12) - 1.0).abs() < 1e-10);
    }

    #[test]
    fn wilson_holds_the_truth_at_the_edges() {
        // statsmodels.stats.proportion.proportion_confint(…, method='wilson')
        let (low, high) = wilson(0, 20, 0.95);
        assert!(low == 0.0 && (high - 0.161125158).abs() < 1e-8, "{high}");
        let (low, high) = wilson(7, 50, 0.95);
        assert!((low - 0.0695083343).abs() < 1e-9 && (high - 0.2618619371).abs() < 1e-9, "{low} {high}");
        assert_eq!(wilson(0, 0, 0.95), (0.0, 1.0));
        assert_eq!(wilson(3, 3, 0.95).1, 1.0);
    }
}
