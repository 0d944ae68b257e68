//! Identities that are hashed, never drawn: the same fact always has the same id.
//!
//! A span that is sent twice is therefore the same span, whoever sends it and after whatever crash
//! (ARCHITECTURE.md, invariant 3). Hashes are truncated SHA-256: at 10⁹ rounds the chance of one
//! collision of 64-bit round ids is about 3 %, of 128-bit trace ids below 10⁻²⁰.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::clock::Timestamp;

/// Hashes the parts with their lengths, so that ("ab","c") and ("a","bc") differ.
fn digest<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let full = hash.finalize();
    let mut out = [0; N];
    out.copy_from_slice(&full[..N]);
    out
}

macro_rules! hex_id {
    ($name:ident, $bytes:literal) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
            }
        }

        impl $name {
            /// From exactly the bytes the store keeps; `None` for any other length.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map($name)
            }

            /// From lower- or upper-case hexadecimal of exactly the right length.
            pub fn from_hex(text: &str) -> Option<Self> {
                let mut out = [0; $bytes];
                if text.len() != 2 * $bytes || !text.is_ascii() {
                    return None;
                }
                for (i, byte) in out.iter_mut().enumerate() {
                    *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()?;
                }
                Some($name(out))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = String::deserialize(d)?;
                Self::from_hex(&text).ok_or_else(|| {
                    serde::de::Error::custom(format!(
                        "expected {} hexadecimal digits, found `{text}`",
                        2 * $bytes
                    ))
                })
            }
        }
    };
}

/// One tick of one suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoundId(pub [u8; 8]);
hex_id!(RoundId, 8);

/// The trace of one run (W3C Trace Context: 16 bytes, not all zero).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId(pub [u8; 16]);
hex_id!(TraceId, 16);

/// One span of a trace (W3C Trace Context: 8 bytes, not all zero).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId(pub [u8; 8]);
hex_id!(SpanId, 8);

impl RoundId {
    /// `origin` is the store's UUID (or a one-shot's own), so two stores never share a round.
    pub fn new(origin: &str, suite: &str, scheduled: Timestamp) -> Self {
        RoundId(digest(&[b"round", origin.as_bytes(), suite.as_bytes(), &scheduled.0.to_le_bytes()]))
    }

    /// A number that is the same for the same round and words: the seed of the visiting order.
    pub fn hash_of(&self, words: &[&str]) -> u64 {
        let mut parts: Vec<&[u8]> = vec![b"order", &self.0];
        parts.extend(words.iter().map(|w| w.as_bytes()));
        u64::from_le_bytes(digest(&parts))
    }

    /// The trace of the run of this round on one deployment.
    pub fn trace(&self, deployment_key: &str) -> TraceId {
        TraceId(digest(&[b"run", &self.0, deployment_key.as_bytes()]))
    }
}

impl TraceId {
    /// The trace of one attempt at a run of a CI pipeline.
    pub fn of_ci_run(source: &str, pipeline: &str, run: &str, attempt: u32) -> Self {
        let parts = [b"ci", source.as_bytes(), pipeline.as_bytes(), run.as_bytes(), &attempt.to_le_bytes()];
        TraceId(digest(&parts))
    }

    /// The trace of a verdict on a build that no event told of.
    pub fn of_verdict(build: &str, suite: &str, request: &str, at: Timestamp) -> Self {
        let (build, suite, request) = (build.as_bytes(), suite.as_bytes(), request.as_bytes());
        TraceId(digest(&[b"verdict", build, suite, request, &at.0.to_le_bytes()]))
    }

    /// The run's own span.
    pub fn root_span(&self) -> SpanId {
        SpanId(digest(&[b"root", &self.0]))
    }

    /// The span of one attempt (counted from 0) of a named request.
    pub fn attempt_span(&self, request: &str, attempt: u32) -> SpanId {
        SpanId(digest(&[b"attempt", &self.0, request.as_bytes(), &attempt.to_le_bytes()]))
    }
}

impl SpanId {
    /// The span of an event; of the run as a whole where the step is empty.
    pub fn of_event(source: &str, pipeline: &str, run: &str, attempt: u32, step: &str) -> Self {
        let (source, pipeline, run) = (source.as_bytes(), pipeline.as_bytes(), run.as_bytes());
        SpanId(digest(&[b"event", source, pipeline, run, &attempt.to_le_bytes(), step.as_bytes()]))
    }

    /// The span of a verdict that a request on a build came to at that time.
    pub fn of_verdict(build: &str, suite: &str, request: &str, at: Timestamp) -> Self {
        let (build, suite, request) = (build.as_bytes(), suite.as_bytes(), request.as_bytes());
        SpanId(digest(&[b"verdict", build, suite, request, &at.0.to_le_bytes()]))
    }

    /// The span of a part of this one: a test case, a step of a deployment. `place` tells parts of
    /// one name apart.
    pub fn part(&self, name: &str, place: u32) -> Self {
        SpanId(digest(&[b"part", &self.0, name.as_bytes(), &place.to_le_bytes()]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_fact_has_the_same_id_and_another_has_another() {
        let round = RoundId::new("store", "cachet", Timestamp(1));
        assert_eq!(round, RoundId::new("store", "cachet", Timestamp(1)));
        assert_ne!(round, RoundId::new("store", "cachet", Timestamp(2)));
        assert_ne!(round, RoundId::new("storec", "achet", Timestamp(1)));
        let trace = round.trace("cachet-3|3.0.0|sqlite|staging");
        assert_ne!(trace.attempt_span("ping", 0), trace.attempt_span("ping", 1));
        assert_ne!(trace.attempt_span("ping", 0), trace.root_span());
    }

    #[test]
    fn hexadecimal_goes_both_ways() {
        let trace = RoundId::new("s", "q", Timestamp(3)).trace("d");
        assert_eq!(TraceId::from_hex(&trace.to_string()), Some(trace));
        assert_eq!(SpanId::from_hex("é2345678901234"), None);
        assert_eq!(SpanId::from_hex("12"), None);
    }
}
