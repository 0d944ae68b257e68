//! McNemar's exact test on paired pass and fail (McNemar 1947): does one of two fail more often?

use super::normal::upper_point;
use super::shift::Interval;

/// What became of the pairs in which both were asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PassFail {
    pub both_passed: u64,
    /// The later version failed where the earlier passed.
    pub only_later_failed: u64,
    pub only_earlier_failed: u64,
    pub both_failed: u64,
}

impl PassFail {
    pub fn pairs(&self) -> u64 {
        self.both_passed + self.only_later_failed + self.only_earlier_failed + self.both_failed
    }

    /// Failures of the later and of the earlier version.
    pub fn failures(&self) -> (u64, u64) {
        (self.only_later_failed + self.both_failed, self.only_earlier_failed + self.both_failed)
    }

    /// Two-sided p-value, exact: twice the binomial tail at ½ over the pairs that differ. 1 where none
    /// does.
    pub fn p(&self) -> f64 {
        let n = self.only_later_failed + self.only_earlier_failed;
        let fewer = self.only_later_failed.min(self.only_earlier_failed);
        let (mut ln, mut tail) = (-(n as f64) * std::f64::consts::LN_2, 0.0);
        for i in 0..=fewer {
            tail += f64::exp(ln);
            ln += ((n - i) as f64 / (i + 1) as f64).ln();
        }
        (2.0 * tail).min(1.0)
    }

    /// Failure rate of the later version less that of the earlier, in [−1, 1], with a score interval of
    /// the given coverage (Newcombe 1998, method 10). `None` of no pairs.
    pub fn rise(&self, coverage: f64) -> Option<Interval> {
        let n = self.pairs();
        if n == 0 {
            return None;
        }
        let (later, earlier) = self.failures();
        let part = |x: u64| x as f64 / n as f64;
        let (p1, p2) = (part(later), part(earlier));
        let ((l1, u1), (l2, u2)) = (super::wilson(later, n, coverage), super::wilson(earlier, n, coverage));
        let [a, b, c, d] =
            [self.both_failed, self.only_later_failed, self.only_earlier_failed, self.both_passed]
                .map(|x| x as f64);
        let margins = (a + b) * (c + d) * (a + c) * (b + d);
        let excess = a * d - b * c;
        let corrected = if excess > 0.0 { (excess - n as f64 / 2.0).max(0.0) } else { excess };
        let phi = if margins > 0.0 { corrected / margins.sqrt() } else { 0.0 };
        let half = |x: f64, y: f64| (x * x - 2.0 * phi * x * y + y * y).max(0.0).sqrt();
        let value = p1 - p2;
        let low = value - half(p1 - l1, u2 - p2);
        let high = value + half(u1 - p1, p2 - l2);
        Some(Interval { low: low.max(-1.0), value, high: high.min(1.0) })
    }

    /// Positive where the later version fails more often: the z that `p` stands for.
    pub fn z(&self) -> f64 {
        let sign = if self.only_later_failed >= self.only_earlier_failed { 1.0 } else { -1.0 };
        sign * upper_point(self.p() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(b: u64, c: u64) -> PassFail {
        PassFail { both_passed: 50, only_later_failed: b, only_earlier_failed: c, both_failed: 3 }
    }

    #[test]
    fn known_cases() {
        assert_eq!(table(0, 0).p(), 1.0);
        assert!((table(6, 0).p() - 0.03125).abs() < 1e-12);
        assert!((table(0, 6).p() - 0.03125).abs() < 1e-12);
        assert_eq!(table(4, 4).p(), 1.0);
        assert!(table(700, 600).p() < 0.01 && table(9_000, 0).p() == 0.0);
        assert!(table(6, 0).z() > 2.0 && table(0, 6).z() < -2.0 && table(4, 4).z() == 0.0);
    }

    #[test]
    fn the_interval_is_newcombes() {
        // Newcombe 1998, table II: 36, 12, 2 and 0 of 50: method 10 gives 0.0569 to 0.3404.
        let example =
            PassFail { both_failed: 36, only_later_failed: 12, only_earlier_failed: 2, both_passed: 0 };
        let rise = example.rise(0.95).unwrap();
        assert!((rise.value - 0.2).abs() < 1e-12);
        assert!((rise.low - 0.0569).abs() < 5e-4 && (rise.high - 0.3404).abs() < 5e-4, "{rise:?}");
        assert_eq!(PassFail::default().rise(0.95), None);
        let never = PassFail { both_passed: 60, ..PassFail::default() }.rise(0.9).unwrap();
        assert!(never.within(0.07) && !never.within(0.04), "{never:?}");
    }
}
