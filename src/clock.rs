//! Wall-clock time, the only place that reads it.
//!
//! Every fact carries a [`Timestamp`] that came from a [`Clock`], so tests can hold time still and a
//! simulation can replay it. Durations that are measured (the phases of a request) use
//! `std::time::Instant` where they are measured: it is monotonic, and steps of the wall clock must
//! not bend a latency.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

/// Nanoseconds since the Unix epoch, UTC. Covers the years 1677 to 2262.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The same instant for the `chrono` and `cron` crates.
    pub fn to_utc(self) -> DateTime<Utc> {
        DateTime::from_timestamp_nanos(self.0)
    }

    /// From a calendar time; saturates outside the range of `i64` nanoseconds.
    pub fn from_utc(t: DateTime<Utc>) -> Self {
        let saturated = if t.timestamp() < 0 { i64::MIN } else { i64::MAX };
        Timestamp(t.timestamp_nanos_opt().unwrap_or(saturated))
    }

    /// For OTLP, whose times are unsigned; before 1970 becomes 0.
    pub fn unix_nanos(self) -> u64 {
        u64::try_from(self.0).unwrap_or(0)
    }

    /// How long after `earlier` this is; zero when the clock stepped back in between.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_nanos(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    pub fn plus(self, d: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(nanos(d)))
    }

    pub fn minus(self, d: Duration) -> Timestamp {
        Timestamp(self.0.saturating_sub(nanos(d)))
    }
}

/// RFC 3339 in UTC with milliseconds: `2026-11-23T04:05:06.789Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_utc().to_rfc3339_opts(SecondsFormat::Millis, true))
    }
}

/// A duration in whole nanoseconds, as the store and OTLP keep it; saturates after 292 years.
pub fn nanos(d: Duration) -> i64 {
    i64::try_from(d.as_nanos()).unwrap_or(i64::MAX)
}

/// Where the time comes from: the system, or a test's hand.
#[derive(Clone, Debug, Default)]
pub struct Clock(Option<Arc<AtomicI64>>);

impl Clock {
    pub fn system() -> Self {
        Clock(None)
    }

    /// Stands at `start` until [`Clock::advance`] moves it.
    pub fn manual(start: Timestamp) -> Self {
        Clock(Some(Arc::new(AtomicI64::new(start.0))))
    }

    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Some(t) => Timestamp(t.load(Ordering::SeqCst)),
            // The one reading of the wall clock; clippy.toml bans it elsewhere.
            #[allow(clippy::disallowed_methods)]
            None => Timestamp::from_utc(Utc::now()),
        }
    }

    /// Moves a manual clock on. A system clock moves by itself, so there this does nothing.
    pub fn advance(&self, d: Duration) {
        if let Some(t) = &self.0 {
            t.fetch_add(nanos(d), Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_by_hand() {
        let clock = Clock::manual(Timestamp(0));
        assert_eq!(clock.now().to_string(), "1970-01-01T00:00:00.000Z");
        clock.advance(Duration::from_millis(1_500));
        assert_eq!(clock.now(), Timestamp(1_500_000_000));
    }

    #[test]
    fn a_clock_that_stepped_back_gives_no_negative_duration() {
        assert_eq!(Timestamp(5).since(Timestamp(9)), Duration::ZERO);
    }
}
