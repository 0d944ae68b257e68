//! Suites: what is asked of every deployment, and what must hold of the answer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jsonpath_rust::parser::model::JpQuery;
use regex::Regex;
use serde_json::Value;

use super::deployment::Deployment;
use super::schedule::Schedule;
use super::template::Template;
use super::version::{Version, VersionRange};

/// A name with one or more variants and one schedule.
#[derive(Clone, Debug)]
pub struct Suite {
    pub name: String,
    pub schedule: Schedule,
    /// The whole round is shifted by a fixed part of this, by hash, so that suites with the same
    /// schedule do not start in the same instant.
    pub jitter: Duration,
    /// Ranges of versions that do not overlap.
    pub variants: Vec<Arc<Variant>>,
    /// The names of the requests of all variants, in the order a round visits them.
    pub order: Vec<String>,
}

impl Suite {
    /// The variant that speaks to this version, if one does.
    pub fn variant_for(&self, version: &Version) -> Option<&Arc<Variant>> {
        self.variants.iter().find(|v| v.applies_to.contains(version))
    }
}

/// One file: the requests of a suite for a range of versions.
#[derive(Clone, Debug)]
pub struct Variant {
    pub file: String,
    pub applies_to: VersionRange,
    /// What the target allows one client.
    pub budget: Option<Budget>,
    /// Two visits of a round further apart than this are no pair.
    pub pair_gap_max: Duration,
    /// Names of environment variables that its templates may use as `{{NAME}}`, with their values.
    pub env: BTreeMap<String, super::Secret>,
    /// Path of the unrecorded request that wakes a deployment before its first visit, so that cold
    /// caches are not measured; `None` when the suite says `wake_up: false`.
    pub wake_up: Option<Template>,
    pub requests: Vec<Arc<Request>>,
}

/// What `pair_gap_max` is unless a suite says otherwise: a minute's weather is alike within it.
pub const PAIR_GAP_MAX: Duration = Duration::from_secs(5);

impl Variant {
    /// The requests that apply to this deployment, in order: its version within the request's own
    /// range, and writes only where they are allowed.
    pub fn requests_for<'a>(&'a self, deployment: &'a Deployment) -> impl Iterator<Item = &'a Arc<Request>> {
        self.requests
            .iter()
            .filter(|r| r.applies_to.contains(&deployment.version))
            .filter(|r| deployment.writes || !r.writes)
    }
}

/// What is too small to matter to anyone. Both must be passed before anything is blamed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Floors {
    /// Ratio less 1: 0.05 is 5 %. Downwards it is 1/1.05, so that the order of versions is irrelevant.
    pub ratio: f64,
    pub difference: Duration,
    /// Part of requests, for failure rates: rates that differ by less are `unchanged`.
    pub failure_rate: f64,
}

impl Default for Floors {
    fn default() -> Self {
        Floors { ratio: 0.05, difference: Duration::from_millis(1), failure_rate: 0.05 }
    }
}

/// So many requests within a sliding window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    pub requests: u32,
    pub per: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
}

impl Method {
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Patch => "PATCH",
            Method::Delete => "DELETE",
        }
    }
}

/// What is done with a 3xx answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redirects {
    /// The 3xx itself is judged.
    Keep,
    /// Follows at most this many, within the same scheme, host and port.
    Follow(u32),
}

/// One named request. The name is its identity across versions, since paths change between
/// generations of the API.
#[derive(Clone, Debug)]
pub struct Request {
    pub name: String,
    pub method: Method,
    /// Path and query below the deployment's URL.
    pub path: Template,
    pub headers: Vec<(String, Template)>,
    /// The body to send, already serialised but for its places.
    pub body: Option<Template>,
    pub applies_to: VersionRange,
    /// Changes something at the target: runs only where allowed, and is never retried.
    pub writes: bool,
    /// Sends credentials, so that excerpts of the answer are never kept.
    pub authenticated: bool,
    /// Runs even when an earlier request failed: it cleans up.
    pub always: bool,
    pub timeout: Duration,
    /// How often a failed request is tried again at most.
    pub retries: u32,
    /// Slower than this is `degraded`.
    pub degraded_after: Option<Duration>,
    pub redirects: Redirects,
    /// Bytes of the body that are read at most, before and after decompression.
    pub max_body: usize,
    pub checks: Vec<Check>,
    pub captures: Vec<Capture>,
    /// Touches no database: what other requests take above it is the database's, or nearly so.
    pub control: bool,
    /// Below these, a change of this request is not worth a word.
    pub floors: Floors,
}

/// Statuses that are expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusSet(pub Vec<(u16, u16)>);

impl StatusSet {
    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|(low, high)| (*low..=*high).contains(&status))
    }
}

/// `200`, `2xx` or `200, 204`.
impl std::fmt::Display for StatusSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, (low, high)) in self.0.iter().enumerate() {
            let separator = if i == 0 { "" } else { ", " };
            match (low, high) {
                (l, h) if l == h => write!(f, "{separator}{l}")?,
                (l, h) if l % 100 == 0 && *h == l + 99 => write!(f, "{separator}{}xx", l / 100)?,
                (l, h) => write!(f, "{separator}{l}-{h}")?,
            }
        }
        Ok(())
    }
}

/// Something that must hold of an answer.
#[derive(Clone, Debug)]
pub enum Check {
    Status(StatusSet),
    /// The header is there, and its value is as expected.
    Header {
        name: String,
        expected: Expected,
    },
    Body(Expected),
    /// Every value that the path (RFC 9535) selects is as expected, and it selects at least one.
    Json {
        path: String,
        query: JpQuery,
        expected: Expected,
    },
    /// The whole body is valid by this JSON Schema.
    JsonSchema(Arc<jsonschema::Validator>),
    /// The total of the phases; beyond it the request fails (`degraded_after` only warns).
    ResponseTime(Duration),
    /// The first certificate of the chain lives this much longer.
    TlsDaysLeft(i64),
}

/// What a value must be.
#[derive(Clone, Debug)]
pub enum Expected {
    Equals(Value),
    Matches(Regex),
    Contains(String),
    Type(JsonKind),
    /// Number of values selected by a JSON path; for one selected array, of its elements.
    Count {
        min: u64,
        max: u64,
    },
    Exists(bool),
    /// Bytes of the body.
    Size {
        min: u64,
        max: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonKind {
    Null,
    Boolean,
    Integer,
    Number,
    String,
    Array,
    Object,
}

impl JsonKind {
    pub const ALL: [JsonKind; 7] = [
        JsonKind::Null,
        JsonKind::Boolean,
        JsonKind::Integer,
        JsonKind::Number,
        JsonKind::String,
        JsonKind::Array,
        JsonKind::Object,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            JsonKind::Null => "null",
            JsonKind::Boolean => "boolean",
            JsonKind::Integer => "integer",
            JsonKind::Number => "number",
            JsonKind::String => "string",
            JsonKind::Array => "array",
            JsonKind::Object => "object",
        }
    }

    /// The narrowest kind of a value.
    pub fn of(value: &Value) -> Self {
        match value {
            Value::Null => JsonKind::Null,
            Value::Bool(_) => JsonKind::Boolean,
            Value::Number(n) if n.is_f64() => JsonKind::Number,
            Value::Number(_) => JsonKind::Integer,
            Value::String(_) => JsonKind::String,
            Value::Array(_) => JsonKind::Array,
            Value::Object(_) => JsonKind::Object,
        }
    }

    /// An integer is a number too.
    pub fn admits(self, value: &Value) -> bool {
        let kind = JsonKind::of(value);
        kind == self || (self == JsonKind::Number && kind == JsonKind::Integer)
    }
}

/// A value taken out of an answer for later requests of the same run.
#[derive(Clone, Debug)]
pub struct Capture {
    pub name: String,
    pub path: String,
    pub query: JpQuery,
    /// When it matches nothing: the requests that need it are skipped; otherwise this request fails.
    pub optional: bool,
}
