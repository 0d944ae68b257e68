//! Where an event stands in its trace. All ids are hashed from identities, so an event that is told
//! twice is the same span, and a client knows the ids before the daemon does.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use super::Event;
use crate::model::{SpanId, TraceId};

/// A `traceparent` (W3C Trace Context, level 1): trace and span that something belongs under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceParent {
    pub trace: TraceId,
    pub span: SpanId,
}

impl FromStr for TraceParent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("expected `00-<32 hex digits>-<16 hex digits>-<2 hex digits>`, found `{text}`");
        let parts: Vec<&str> = text.trim().split('-').collect();
        let [version, trace, span, flags, ..] = parts.as_slice() else { return Err(wrong()) };
        // A later version may have more parts; this one may not, and `ff` is none.
        if version.len() != 2 || *version == "ff" || (*version == "00" && parts.len() > 4) || flags.len() != 2
        {
            return Err(wrong());
        }
        let (Some(trace), Some(span)) = (TraceId::from_hex(trace), SpanId::from_hex(span)) else {
            return Err(wrong());
        };
        if trace.0 == [0; 16] || span.0 == [0; 8] {
            return Err(wrong());
        }
        Ok(TraceParent { trace, span })
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-01", self.trace, self.span)
    }
}

impl Serialize for TraceParent {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TraceParent {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(D::Error::custom)
    }
}

impl Event {
    /// The trace it is part of: that of its `traceparent`, else that of its run.
    pub fn trace(&self) -> TraceId {
        self.traceparent.map_or_else(
            || TraceId::of_ci_run(&self.source, &self.pipeline, &self.run, self.attempt),
            |parent| parent.trace,
        )
    }

    /// Its own span.
    pub fn span(&self) -> SpanId {
        let [source, pipeline, run, step] = self.identity();
        SpanId::of_event(source, pipeline, run, self.attempt, step)
    }

    /// The span it is under: that of its `traceparent`, else, for a step, that of its run.
    pub fn parent(&self) -> Option<SpanId> {
        let of_run = || SpanId::of_event(&self.source, &self.pipeline, &self.run, self.attempt, "");
        match self.traceparent {
            Some(parent) => Some(parent.span),
            None => self.step.is_some().then(of_run),
        }
    }

    /// What is handed to whatever happens within this event.
    pub fn as_parent(&self) -> TraceParent {
        TraceParent { trace: self.trace(), span: self.span() }
    }
}
