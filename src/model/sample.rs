//! What a probe saw: rounds, runs, samples, attempts.
//!
//! A failed probe is data, never a Rust error.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::deployment::Deployment;
use super::ids::{RoundId, SpanId, TraceId};
use super::suite::Request;
use crate::clock::Timestamp;

/// Medians of fewer samples than this answer no question yet.
pub const SAMPLES_MIN: u64 = 10;

/// Whether a median of so many samples may stand for a request: there are enough of them, and not
/// more than a tenth failed, since an error page is quick.
pub const fn median_tells(samples: u64, failures: u64) -> bool {
    samples >= SAMPLES_MIN && failures * 10 <= samples
}

/// How a sample, a run or a round went; ordered from best to worst, so the outcome of a whole is
/// the maximum of its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Every check held.
    Pass,
    /// Correct, but slower than its own limit.
    Degraded,
    /// Not asked, or not answered for a reason that says nothing about this deployment: its detail
    /// tells which (after `unreachable`, past the deadline, over the budget, rate limited).
    Skipped,
    /// A check failed.
    Fail,
    /// No HTTP answer could be had.
    Unreachable,
}

impl Outcome {
    pub const ALL: [Outcome; 5] =
        [Outcome::Pass, Outcome::Degraded, Outcome::Skipped, Outcome::Fail, Outcome::Unreachable];

    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Pass => "pass",
            Outcome::Degraded => "degraded",
            Outcome::Skipped => "skipped",
            Outcome::Fail => "fail",
            Outcome::Unreachable => "unreachable",
        }
    }
}

/// Why an attempt did not pass, as a low-cardinality value of `error.type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorType {
    /// The name could not be resolved.
    Dns,
    /// The connection was refused, or no route led there.
    Connect,
    /// The TLS handshake or the certificate failed.
    Tls,
    /// Nothing, or not everything, came within the time limit.
    Timeout,
    /// The peer closed or reset the connection before the answer was complete.
    Reset,
    /// What came back is not HTTP, or broke its rules (RFC 9110, RFC 9112).
    Protocol,
    /// More redirects than allowed, or one that cannot be followed.
    Redirect,
    /// The body is larger than the cap, and a check needed all of it.
    BodyTooLarge,
    /// 429, or the budget would have been exceeded. Not a failure of the version.
    RateLimited,
    /// A check did not hold.
    Check,
    /// A capture matched nothing.
    Capture,
}

impl ErrorType {
    pub const ALL: [ErrorType; 11] = [
        ErrorType::Dns,
        ErrorType::Connect,
        ErrorType::Tls,
        ErrorType::Timeout,
        ErrorType::Reset,
        ErrorType::Protocol,
        ErrorType::Redirect,
        ErrorType::BodyTooLarge,
        ErrorType::RateLimited,
        ErrorType::Check,
        ErrorType::Capture,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            ErrorType::Dns => "dns",
            ErrorType::Connect => "connect",
            ErrorType::Tls => "tls",
            ErrorType::Timeout => "timeout",
            ErrorType::Reset => "reset",
            ErrorType::Protocol => "protocol",
            ErrorType::Redirect => "redirect",
            ErrorType::BodyTooLarge => "body_too_large",
            ErrorType::RateLimited => "rate_limited",
            ErrorType::Check => "check",
            ErrorType::Capture => "capture",
        }
    }

    /// Whether this says that no HTTP answer could be had, so that asking on is pointless.
    pub fn is_unreachable(self) -> bool {
        use ErrorType::{Connect, Dns, Protocol, Reset, Timeout, Tls};
        matches!(self, Dns | Connect | Tls | Timeout | Reset | Protocol)
    }
}

/// Text in the store and on the wire for an enumeration with `ALL` and `as_str`.
macro_rules! as_text {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
        impl FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                let known = $name::ALL.into_iter().find(|v| v.as_str() == text);
                known.ok_or_else(|| format!(concat!("unknown ", stringify!($name), " `{}`"), text))
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(self.as_str())
            }
        }
    };
}
as_text!(Outcome);
as_text!(ErrorType);
as_text!(Phase);

/// A stretch of one HTTP attempt. They follow each other without a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Name resolution; zero where the URL holds an address.
    Dns,
    /// TCP handshake.
    Connect,
    /// TLS handshake; zero for plain HTTP.
    Tls,
    /// From the first byte written to the last one handed to the kernel.
    Send,
    /// From there to the first byte of the answer: the server's own time, and one round trip.
    Wait,
    /// From there to the end of the body.
    Receive,
}

impl Phase {
    pub const ALL: [Phase; 6] =
        [Phase::Dns, Phase::Connect, Phase::Tls, Phase::Send, Phase::Wait, Phase::Receive];

    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Dns => "dns",
            Phase::Connect => "connect",
            Phase::Tls => "tls",
            Phase::Send => "send",
            Phase::Wait => "wait",
            Phase::Receive => "receive",
        }
    }
}

/// Nanoseconds spent in each phase, in the order of [`Phase::ALL`]. Their sum is the total, exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Phases(pub [u64; 6]);

impl Phases {
    pub fn get(&self, phase: Phase) -> Duration {
        Duration::from_nanos(self.0[phase as usize])
    }

    pub fn total(&self) -> Duration {
        Duration::from_nanos(self.0.iter().sum())
    }
}

/// One HTTP exchange (with the redirects it followed).
#[derive(Clone, Debug)]
pub struct Attempt {
    pub started: Timestamp,
    pub phases: Phases,
    pub span: SpanId,
    /// None when no answer came.
    pub status: Option<u16>,
    pub error: Option<ErrorType>,
    /// `1.0` or `1.1`, when an answer came.
    pub protocol: Option<&'static str>,
    /// Body bytes as they came over the wire.
    pub body_bytes: u64,
    /// Address that was spoken to.
    pub peer: Option<std::net::SocketAddr>,
    pub redirects: u32,
    /// Days until the first certificate of the chain expires; negative when it has.
    pub tls_days_left: Option<i64>,
}

/// One request of one run.
#[derive(Clone, Debug)]
pub struct Sample {
    pub request: Arc<Request>,
    pub outcome: Outcome,
    /// One for each time it was tried; none when it was skipped before being asked.
    pub attempts: Vec<Attempt>,
    /// What did not hold: expected and found, with secrets masked. Empty for a pass.
    pub detail: String,
}

impl Sample {
    /// The time that is compared between versions: the first attempt's, since a retry meets warm
    /// caches.
    pub fn first(&self) -> Option<&Attempt> {
        self.attempts.first()
    }

    pub fn last(&self) -> Option<&Attempt> {
        self.attempts.last()
    }

    /// A pass that needed a second try says so.
    pub fn passed_on_retry(&self) -> bool {
        self.attempts.len() > 1 && matches!(self.outcome, Outcome::Pass | Outcome::Degraded)
    }
}

/// One tick of a suite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    pub id: RoundId,
    pub suite: String,
    pub scheduled: Timestamp,
    pub started: Timestamp,
    /// Made besides the schedule, since a verdict waits for it.
    pub extra: bool,
}

/// One suite on one deployment in one round.
#[derive(Clone, Debug)]
pub struct Run {
    pub round: Arc<Round>,
    pub deployment: Arc<Deployment>,
    pub trace: TraceId,
    pub started: Timestamp,
    pub duration: Duration,
    pub outcome: Outcome,
    pub samples: Vec<Sample>,
}

impl Run {
    /// The worst of the samples; skipped when there is none.
    pub fn outcome_of(samples: &[Sample]) -> Outcome {
        samples.iter().map(|s| s.outcome).max().unwrap_or(Outcome::Skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outcome_of_a_whole_is_the_worst_of_its_parts() {
        assert!(Outcome::Pass < Outcome::Degraded && Outcome::Fail < Outcome::Unreachable);
        assert_eq!(Run::outcome_of(&[]), Outcome::Skipped);
    }

    #[test]
    fn texts_go_both_ways() {
        for outcome in Outcome::ALL {
            assert_eq!(outcome.as_str().parse(), Ok(outcome));
        }
        for error in ErrorType::ALL {
            assert_eq!(error.as_str().parse(), Ok(error));
        }
        assert!("fine".parse::<Outcome>().is_err());
    }

    #[test]
    fn phases_sum_to_the_total() {
        let phases = Phases([1, 2, 3, 4, 5, 6]);
        assert_eq!(phases.total(), Duration::from_nanos(21));
        assert_eq!(phases.get(Phase::Wait), Duration::from_nanos(5));
    }
}
