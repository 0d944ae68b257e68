//! Whether an answer is what was expected, in words: expected and found.

use jsonpath_rust::parser::model::JpQuery;
use jsonpath_rust::query::js_path_process;
use serde_json::Value;

use super::mask::Mask;
use crate::http::Exchange;
use crate::model::{Check, ErrorType, Expected, JsonKind, Outcome, Request};

/// Characters of a found value or a body that a detail shows at most.
const EXCERPT_CHARS_MAX: usize = 160;
/// Checks that a detail lists at most.
const LISTED_MAX: usize = 5;

/// What became of one attempt.
#[derive(Debug, PartialEq)]
pub(super) struct Judgement {
    pub outcome: Outcome,
    pub error: Option<ErrorType>,
    /// Not yet masked.
    pub detail: String,
}

/// Judges one exchange by the request's checks. Captures are judged elsewhere.
pub(super) fn judge(request: &Request, exchange: &Exchange, mask: &Mask) -> Judgement {
    if let Some(failure) = &exchange.error {
        let outcome = if failure.kind.is_unreachable() { Outcome::Unreachable } else { Outcome::Fail };
        return Judgement { outcome, error: Some(failure.kind), detail: failure.detail.clone() };
    }
    let Some(status) = exchange.status else {
        return Judgement {
            outcome: Outcome::Unreachable,
            error: Some(ErrorType::Protocol),
            detail: "no answer".to_owned(),
        };
    };
    let is_expected = request.checks.iter().all(|check| match check {
        Check::Status(set) => set.contains(status),
        _ => true,
    });
    if status == 429 && !is_expected {
        return Judgement {
            outcome: Outcome::Skipped,
            error: Some(ErrorType::RateLimited),
            detail: format!("rate_limited: the target answered 429{}", retry_after_words(exchange)),
        };
    }

    let judge = Judge { request, exchange, mask };
    let mut failed: Vec<String> = Vec::new();
    let mut error = ErrorType::Check;
    let mut json = None;
    for check in &request.checks {
        let words = match check {
            Check::Status(set) if set.contains(status) => continue,
            Check::Status(set) => Some(format!("status: expected {set}, found {status}")),
            Check::ResponseTime(limit) if exchange.phases.total() <= *limit => continue,
            Check::ResponseTime(limit) => {
                Some(format!("time: expected at most {limit:?}, took {:.1?}", exchange.phases.total()))
            }
            Check::TlsDaysLeft(min) => certificate(exchange.tls_days_left, *min),
            // Another status comes with another body, and its failures are not news.
            _ if !is_expected => continue,
            Check::Header { name, expected } => judge.header(name, expected),
            Check::Body(expected) => judge.body(expected),
            Check::Json { .. } | Check::JsonSchema(_) if exchange.truncated => {
                error = ErrorType::BodyTooLarge;
                Some(format!("body: expected at most {} bytes, found more", request.max_body))
            }
            Check::Json { .. } | Check::JsonSchema(_) => match json.get_or_insert_with(|| parse(exchange)) {
                Ok(json) => judge.json(check, json),
                Err(error) => Some(format!("body: expected JSON, found {}", judge.no_json(error))),
            },
        };
        failed.extend(words.filter(|words| !failed.contains(words)));
    }

    if failed.is_empty() {
        return Judgement { outcome: Outcome::Pass, error: None, detail: String::new() };
    }
    let more = failed.len().saturating_sub(LISTED_MAX);
    failed.truncate(LISTED_MAX);
    if more > 0 {
        failed.push(format!("and {more} more"));
    }
    // What came instead is the quickest hint at why.
    if !is_expected && !request.authenticated && !exchange.body.is_empty() {
        failed.push(format!("body: {}", judge.excerpt(&String::from_utf8_lossy(&exchange.body))));
    }
    Judgement { outcome: Outcome::Fail, error: Some(error), detail: failed.join("; ") }
}

fn retry_after_words(exchange: &Exchange) -> String {
    match exchange.headers.get(http::header::RETRY_AFTER).and_then(|v| v.to_str().ok()) {
        Some(text) if text.bytes().all(|b| b.is_ascii_digit()) => format!(", to be asked again in {text} s"),
        Some(text) => format!(", to be asked again at {}", one_line(text)),
        None => String::new(),
    }
}

/// The body as JSON (RFC 8259).
pub(super) fn parse(exchange: &Exchange) -> serde_json::Result<Value> {
    serde_json::from_slice(&exchange.body)
}

fn certificate(days_left: Option<i64>, min: i64) -> Option<String> {
    match days_left {
        Some(days) if days >= min => None,
        Some(days) => Some(format!("certificate: expected at least {min} days left, found {days}")),
        None => Some("certificate: expected one, found a connection without TLS".to_owned()),
    }
}

/// Puts what does not hold into words; each check says nothing when it holds. What a target says to
/// somebody with credentials is not repeated, and secrets are masked before a text is cut.
struct Judge<'a> {
    request: &'a Request,
    exchange: &'a Exchange,
    mask: &'a Mask,
}

impl Judge<'_> {
    fn header(&self, name: &str, expected: &Expected) -> Option<String> {
        let values = self.exchange.headers.get_all(name).iter();
        let found: Vec<_> = values.map(|v| String::from_utf8_lossy(v.as_bytes())).collect();
        let holds = match expected {
            Expected::Exists(wanted) => found.is_empty() != *wanted,
            Expected::Equals(value) => found.iter().any(|f| *f == text_of(value)),
            Expected::Matches(regex) => found.iter().any(|f| regex.is_match(f)),
            Expected::Contains(part) => found.iter().any(|f| f.contains(part.as_str())),
            Expected::Type(_) | Expected::Count { .. } | Expected::Size { .. } => false,
        };
        let shown = || match found.as_slice() {
            [] => "none".to_owned(),
            values => self.text(&values.join(", ")),
        };
        (!holds).then(|| format!("header {name}: expected {}, found {}", self.describe(expected), shown()))
    }

    fn body(&self, expected: &Expected) -> Option<String> {
        let Exchange { body, truncated, .. } = self.exchange;
        let text = || String::from_utf8_lossy(body);
        let holds = match expected {
            Expected::Contains(part) => text().contains(part.as_str()),
            Expected::Matches(regex) => regex.is_match(&text()),
            Expected::Equals(value) => text() == text_of(value),
            Expected::Size { min, max } => {
                (*min..=*max).contains(&(body.len() as u64)) && !(*truncated && *max != u64::MAX)
            }
            Expected::Exists(wanted) => body.is_empty() != *wanted,
            Expected::Type(_) | Expected::Count { .. } => false,
        };
        let shown = || match expected {
            Expected::Size { .. } if *truncated => format!("more than {} bytes", body.len()),
            Expected::Size { .. } => format!("{} bytes", body.len()),
            _ => self.text(&text()),
        };
        (!holds).then(|| format!("body: expected {}, found {}", self.describe(expected), shown()))
    }

    fn json(&self, check: &Check, json: &Value) -> Option<String> {
        match check {
            Check::Json { path, query, expected } => self.json_path(json, path, query, expected),
            Check::JsonSchema(schema) => {
                let error = schema.validate(json).err()?;
                let place = match error.instance_path().as_str() {
                    "" => "the top".to_owned(),
                    path => format!("`{path}`"),
                };
                let words = match self.request.authenticated {
                    true => error.masked().to_string(),
                    false => error.to_string(),
                };
                Some(format!("schema: at {place}: {}", self.excerpt(&words)))
            }
            _ => None,
        }
    }

    fn json_path(&self, json: &Value, path: &str, query: &JpQuery, expected: &Expected) -> Option<String> {
        let fails =
            |found: String| Some(format!("{path}: expected {}, found {found}", self.describe(expected)));
        let found: Vec<&Value> = match js_path_process(query, json) {
            Ok(found) => found.into_iter().map(|f| f.val()).collect(),
            Err(error) => return Some(format!("{path}: {error}")),
        };
        match expected {
            Expected::Exists(wanted) if found.is_empty() == *wanted => return fails(self.listing(&found)),
            Expected::Exists(_) => return None,
            Expected::Count { min, max } => {
                let count = match found.as_slice() {
                    [Value::Array(elements)] => elements.len(),
                    values => values.len(),
                };
                return if (*min..=*max).contains(&(count as u64)) { None } else { fails(count.to_string()) };
            }
            _ if found.is_empty() => return fails("nothing".to_owned()),
            _ => {}
        }
        let holds = |value: &&Value| match expected {
            Expected::Equals(wanted) => equal(wanted, value),
            Expected::Matches(regex) => regex.is_match(&text_of(value)),
            Expected::Contains(part) => match value {
                Value::Array(elements) => elements.iter().any(|e| text_of(e) == *part),
                value => text_of(value).contains(part.as_str()),
            },
            Expected::Type(kind) => kind.admits(value),
            Expected::Size { .. } | Expected::Exists(_) | Expected::Count { .. } => false,
        };
        let value = found.into_iter().find(|value| !holds(value))?;
        match expected {
            Expected::Type(_) if !self.request.authenticated => {
                fails(format!("{} ({})", JsonKind::of(value).as_str(), self.value(value)))
            }
            _ => fails(self.value(value)),
        }
    }

    fn listing(&self, values: &[&Value]) -> String {
        match values {
            [] => "nothing".to_owned(),
            [one] => self.value(one),
            [first, ..] => format!("{} values, first {}", values.len(), self.value(first)),
        }
    }

    /// JSON as it is written, so that `1` and `"1"` look different.
    fn value(&self, value: &Value) -> String {
        match (self.request.authenticated, value) {
            (true, Value::String(_) | Value::Array(_) | Value::Object(_)) => {
                format!("another {}", JsonKind::of(value).as_str())
            }
            _ => self.excerpt(&value.to_string()),
        }
    }

    fn text(&self, text: &str) -> String {
        match self.request.authenticated {
            true => format!("another text of {} characters", text.chars().count()),
            false => format!("`{}`", self.excerpt(text)),
        }
    }

    fn no_json(&self, error: &serde_json::Error) -> String {
        match self.exchange.body.as_ref() {
            [] => "an empty body".to_owned(),
            body => format!("{} ({error})", self.text(&String::from_utf8_lossy(body))),
        }
    }

    /// What was wanted stands in the suite, but may have been put there from the environment.
    fn describe(&self, expected: &Expected) -> String {
        match expected {
            Expected::Equals(value) => self.excerpt(&value.to_string()),
            Expected::Matches(regex) => format!("a match of `{regex}`"),
            Expected::Contains(part) => format!("to contain `{}`", self.excerpt(part)),
            Expected::Type(kind) => kind.as_str().to_owned(),
            Expected::Count { min, max } => format!("a count of {}", range(*min, *max)),
            Expected::Size { min, max } => format!("{} bytes", range(*min, *max)),
            Expected::Exists(true) => "something".to_owned(),
            Expected::Exists(false) => "nothing".to_owned(),
        }
    }

    /// One line of at most [`EXCERPT_CHARS_MAX`] characters. A mask that came after the cut would miss
    /// a secret that was cut in two.
    fn excerpt(&self, text: &str) -> String {
        one_line(&self.mask.apply(text))
    }
}

/// Numbers are equal by value: 1 and 1.0 are one number in JSON.
fn equal(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

fn range(min: u64, max: u64) -> String {
    match (min, max) {
        (min, max) if min == max => min.to_string(),
        (0, max) => format!("at most {max}"),
        (min, u64::MAX) => format!("at least {min}"),
        (min, max) => format!("{min} to {max}"),
    }
}

/// A text without quotes; anything else as JSON.
fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

/// One line of at most [`EXCERPT_CHARS_MAX`] characters, without control characters.
fn one_line(text: &str) -> String {
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut short: String = line.chars().filter(|c| !c.is_control()).take(EXCERPT_CHARS_MAX).collect();
    if line.chars().nth(EXCERPT_CHARS_MAX).is_some() {
        short.push('…');
    }
    short
}

/// What a capture takes out of an answer: the one value the path selects, as text.
pub(super) fn capture(json: &Value, query: &JpQuery) -> Option<String> {
    let found = js_path_process(query, json).ok()?;
    match found.first()?.clone().val() {
        Value::Null | Value::Array(_) | Value::Object(_) => None,
        value => Some(text_of(value)),
    }
}
