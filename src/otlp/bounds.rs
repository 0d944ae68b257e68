//! Buckets of the latency histograms.
//!
//! The bounds decide the schema of what the store aggregates: a cumulative series keeps its bounds
//! for as long as it lives.

/// Upper bounds in seconds, from 1 ms to 10 s: the E6 series of preferred numbers (IEC 60063), six
/// steps a decade, so a bucket is about 1.5 times the one before it.
pub const BOUNDS_SECONDS: [f64; 25] = [
    0.001, 0.0015, 0.0022, 0.0033, 0.0047, 0.0068, 0.01, 0.015, 0.022, 0.033, 0.047, 0.068, 0.1, 0.15, 0.22,
    0.33, 0.47, 0.68, 1.0, 1.5, 2.2, 3.3, 4.7, 6.8, 10.0,
];

/// Upper bounds in seconds of how long runs of pipelines take, from a second to six hours: steps
/// that people think in. The conventions advise none.
pub const BOUNDS_RUN_SECONDS: [f64; 16] = [
    1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 180.0, 300.0, 600.0, 900.0, 1_200.0, 1_800.0, 3_600.0, 7_200.0,
    14_400.0, 21_600.0,
];

/// Number of counts of a latency histogram: one for each bound, and one for what is above them all.
pub const BUCKETS: usize = BOUNDS_SECONDS.len() + 1;

/// The bucket of a value: bounds are inclusive (OTLP `HistogramDataPoint.explicit_bounds`), and the
/// last bucket, as many as there are bounds, has no upper bound.
pub fn bucket_of(bounds: &[f64], value: f64) -> usize {
    bounds.partition_point(|bound| *bound < value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_rise_by_about_the_same_factor() {
        for pair in BOUNDS_SECONDS.windows(2) {
            let factor = pair[1] / pair[0];
            assert!((1.4..1.6).contains(&factor), "{pair:?} is a factor of {factor}");
        }
    }

    #[test]
    fn a_bound_belongs_to_the_bucket_below_it() {
        assert_eq!(bucket_of(&BOUNDS_SECONDS, 0.0), 0);
        assert_eq!(bucket_of(&BOUNDS_SECONDS, 0.001), 0);
        assert_eq!(bucket_of(&BOUNDS_SECONDS, 0.001_000_1), 1);
        assert_eq!(bucket_of(&BOUNDS_SECONDS, 10.0), 24);
        assert_eq!(bucket_of(&BOUNDS_SECONDS, 10.001), BUCKETS - 1);
        assert_eq!(bucket_of(&BOUNDS_SECONDS, f64::INFINITY), BUCKETS - 1);
    }
}
