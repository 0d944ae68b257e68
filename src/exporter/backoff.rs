//! How long to wait before a delivery is tried again.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const MAX: Duration = Duration::from_secs(30);

/// The wait before retry number `retry` (counted from 0): capped exponential backoff with full
/// jitter, so anything from 0 to 100 ms · 2^`retry`, and never more than 30 s (AWS Architecture Blog,
/// 'Exponential Backoff And Jitter'). Drawn by hash: the same seed and retry give the same wait;
/// daemons take different seeds so that they do not come back at once.
pub fn delay(seed: u64, retry: u32) -> Duration {
    let ceiling = FIRST.saturating_mul(1_u32.checked_shl(retry).unwrap_or(u32::MAX)).min(MAX);
    let fraction = hash(seed ^ hash(u64::from(retry))) as f64 / u64::MAX as f64;
    ceiling.mul_f64(fraction)
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood, 2014).
fn hash(x: u64) -> u64 {
    let x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_cap_and_never_beyond() {
        for retry in 0..100 {
            let ceiling = 0.1 * 2_f64.powi(retry as i32);
            let longest = (0..1_000).map(|seed| delay(seed, retry)).max().unwrap();
            assert!(longest.as_secs_f64() <= ceiling.min(30.0), "{retry}: {longest:?}");
            assert!(longest.as_secs_f64() > 0.9 * ceiling.min(30.0), "{retry}: {longest:?}");
        }
    }

    #[test]
    fn jitter_is_full_and_even() {
        let waits: Vec<f64> = (0..10_000).map(|seed| delay(seed, 20).as_secs_f64()).collect();
        let mean = waits.iter().sum::<f64>() / waits.len() as f64;
        assert!((14.5..15.5).contains(&mean), "mean {mean}");
        assert!(waits.iter().any(|w| *w < 0.1));
    }

    #[test]
    fn the_same_seed_gives_the_same_waits() {
        assert_eq!(delay(7, 3), delay(7, 3));
        assert_ne!(delay(7, 3), delay(8, 3));
        assert_ne!(delay(7, 18), delay(7, 19));
    }
}
