//! Whether an answer is what was expected, in words: expected and found.

use jsonpath_rust::query::js_path_process;
use serde_json::Value;

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
pub(super) fn judge(request: &Request, exchange: &Exchange) -> Judgement {
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
    if status == 429 && !expects_status(request, 429) {
        return Judgement {
            outcome: Outcome::Skipped,
            error: Some(ErrorType::RateLimited),
            detail: format!("rate_limited: the target answered 429{}", retry_after_words(exchange)),
        };
    }

    let needs_json = request.checks.iter().any(|c| matches!(c, Check::Json { .. } | Check::JsonSchema(_)));
    let json: Result<Option<Value>, String> = if needs_json { parse(exchange).map(Some) } else { Ok(None) };
    let mut failed: Vec<String> = Vec::new();
    let mut too_large = false;
    for check in &request.checks {
        let found = match check {
            Check::Status(set) if set.contains(status) => Ok(()),
            Check::Status(set) => Err(format!("status: expected {set}, found {status}")),
            Check::Header { name, expected } => header(exchange, name, expected),
            Check::Body(expected) => body(exchange, expected),
            Check::Json { .. } | Check::JsonSchema(_) if exchange.truncated => {
                too_large = true;
                Err(format!("body: expected at most {} bytes, found more", request.max_body))
            }
            Check::Json { path, query, expected } => match &json {
                Ok(Some(json)) => json_path(json, path, query, expected),
                Ok(None) => Ok(()),
                Err(why) => Err(format!("body: expected JSON, found {why}")),
            },
            Check::JsonSchema(schema) => match &json {
                Ok(Some(json)) => match schema.validate(json) {
                    Ok(()) => Ok(()),
                    Err(error) => Err(format!(
                        "schema: at `{}`: {}",
                        error.instance_path(),
                        excerpt(&error.to_string())
                    )),
                },
                Ok(None) => Ok(()),
                Err(why) => Err(format!("body: expected JSON, found {why}")),
            },
            Check::ResponseTime(limit) if exchange.phases.total() <= *limit => Ok(()),
            Check::ResponseTime(limit) => {
                Err(format!("time: expected at most {limit:?}, took {:.1?}", exchange.phases.total()))
            }
            Check::TlsDaysLeft(min) => match exchange.tls_days_left {
                Some(days) if days >= *min => Ok(()),
                Some(days) => Err(format!("certificate: expected at least {min} days left, found {days}")),
                None => Err("certificate: expected one, found a connection without TLS".to_owned()),
            },
        };
        if let Err(words) = found
            && !failed.contains(&words)
        {
            failed.push(words);
        }
    }

    if failed.is_empty() {
        return Judgement { outcome: Outcome::Pass, error: None, detail: String::new() };
    }
    // What came instead is the quickest hint at why; never where credentials were sent.
    let explains = !expects_status(request, status) && !request.authenticated && !exchange.body.is_empty();
    let body_words = explains.then(|| format!("body: {}", excerpt(&String::from_utf8_lossy(&exchange.body))));
    let more = failed.len().saturating_sub(LISTED_MAX);
    failed.truncate(LISTED_MAX);
    if more > 0 {
        failed.push(format!("and {more} more"));
    }
    failed.extend(body_words);
    let error = if too_large { ErrorType::BodyTooLarge } else { ErrorType::Check };
    Judgement { outcome: Outcome::Fail, error: Some(error), detail: failed.join("; ") }
}

fn expects_status(request: &Request, status: u16) -> bool {
    request.checks.iter().all(|check| match check {
        Check::Status(set) => set.contains(status),
        _ => true,
    })
}

fn retry_after_words(exchange: &Exchange) -> String {
    match exchange.headers.get(http::header::RETRY_AFTER).and_then(|v| v.to_str().ok()) {
        Some(text) if text.bytes().all(|b| b.is_ascii_digit()) => format!(", to be asked again in {text} s"),
        Some(text) => format!(", to be asked again at {}", excerpt(text)),
        None => String::new(),
    }
}

/// The body as JSON (RFC 8259), or what it is instead.
pub(super) fn parse(exchange: &Exchange) -> Result<Value, String> {
    if exchange.body.is_empty() {
        return Err("an empty body".to_owned());
    }
    serde_json::from_slice(&exchange.body).map_err(|error| {
        let text = String::from_utf8_lossy(&exchange.body);
        format!("`{}` ({error})", excerpt(&text))
    })
}

fn header(exchange: &Exchange, name: &str, expected: &Expected) -> Result<(), String> {
    let found: Vec<String> = exchange
        .headers
        .get_all(name)
        .iter()
        .map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned())
        .collect();
    let words = |wanted: String| {
        let found = match found.as_slice() {
            [] => "none".to_owned(),
            values => format!("`{}`", excerpt(&values.join(", "))),
        };
        Err(format!("header {name}: expected {wanted}, found {found}"))
    };
    let holds = match expected {
        Expected::Exists(wanted) => found.is_empty() != *wanted,
        Expected::Equals(value) => found.iter().any(|f| *f == text_of(value)),
        Expected::Matches(regex) => found.iter().any(|f| regex.is_match(f)),
        Expected::Contains(part) => found.iter().any(|f| f.contains(part.as_str())),
        Expected::Type(_) | Expected::Count { .. } | Expected::Size { .. } => false,
    };
    if holds { Ok(()) } else { words(describe(expected)) }
}

fn body(exchange: &Exchange, expected: &Expected) -> Result<(), String> {
    let text = || String::from_utf8_lossy(&exchange.body);
    let (holds, found) = match expected {
        Expected::Contains(part) => (text().contains(part.as_str()), None),
        Expected::Matches(regex) => (regex.is_match(&text()), None),
        Expected::Equals(value) => (text() == text_of(value), None),
        Expected::Size { min, max } => {
            let size = exchange.body.len() as u64;
            let beyond = exchange.truncated && *max != u64::MAX;
            let found =
                if exchange.truncated { format!("more than {size} bytes") } else { format!("{size} bytes") };
            ((*min..=*max).contains(&size) && !beyond, Some(found))
        }
        Expected::Exists(wanted) => (exchange.body.is_empty() != *wanted, None),
        Expected::Type(_) | Expected::Count { .. } => (false, None),
    };
    if holds {
        return Ok(());
    }
    let found = found.unwrap_or_else(|| format!("`{}`", excerpt(&text())));
    Err(format!("body: expected {}, found {found}", describe(expected)))
}

fn json_path(
    json: &Value,
    path: &str,
    query: &jsonpath_rust::parser::model::JpQuery,
    expected: &Expected,
) -> Result<(), String> {
    let found: Vec<&Value> = match js_path_process(query, json) {
        Ok(found) => found.into_iter().map(|f| f.val()).collect(),
        Err(error) => return Err(format!("{path}: {error}")),
    };
    let fails = |what: String| Err(format!("{path}: expected {}, found {what}", describe(expected)));
    match expected {
        Expected::Exists(wanted) => {
            return if found.is_empty() != *wanted { Ok(()) } else { fails(listing(&found)) };
        }
        Expected::Count { min, max } => {
            let count = match found.as_slice() {
                [Value::Array(elements)] => elements.len(),
                values => values.len(),
            };
            return if (*min..=*max).contains(&(count as u64)) { Ok(()) } else { fails(count.to_string()) };
        }
        _ if found.is_empty() => return fails("nothing".to_owned()),
        _ => {}
    }
    for value in found {
        let holds = match expected {
            Expected::Equals(wanted) => equal(wanted, value),
            Expected::Matches(regex) => regex.is_match(&text_of(value)),
            Expected::Contains(part) => match value {
                Value::Array(elements) => elements.iter().any(|e| text_of(e) == *part),
                value => text_of(value).contains(part.as_str()),
            },
            Expected::Type(kind) => kind.admits(value),
            Expected::Size { .. } | Expected::Exists(_) | Expected::Count { .. } => false,
        };
        if !holds {
            return match expected {
                Expected::Type(_) => fails(format!("{} ({})", JsonKind::of(value).as_str(), shown(value))),
                _ => fails(shown(value)),
            };
        }
    }
    Ok(())
}

/// Numbers are equal by value: 1 and 1.0 are one number in JSON.
fn equal(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

fn describe(expected: &Expected) -> String {
    match expected {
        Expected::Equals(value) => shown(value),
        Expected::Matches(regex) => format!("a match of `{regex}`"),
        Expected::Contains(part) => format!("to contain `{}`", excerpt(part)),
        Expected::Type(kind) => kind.as_str().to_owned(),
        Expected::Count { min, max } => format!("a count of {}", range(*min, *max)),
        Expected::Size { min, max } => format!("{} bytes", range(*min, *max)),
        Expected::Exists(true) => "something".to_owned(),
        Expected::Exists(false) => "nothing".to_owned(),
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

fn listing(values: &[&Value]) -> String {
    match values {
        [] => "nothing".to_owned(),
        [one] => shown(one),
        [first, ..] => format!("{} values, first {}", values.len(), shown(first)),
    }
}

/// JSON as it is written, so that `1` and `"1"` look different.
fn shown(value: &Value) -> String {
    excerpt(&value.to_string())
}

/// A text without quotes; anything else as JSON.
fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

/// One line of at most [`EXCERPT_CHARS_MAX`] characters, without control characters.
fn excerpt(text: &str) -> String {
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut short: String = line.chars().filter(|c| !c.is_control()).take(EXCERPT_CHARS_MAX).collect();
    if line.chars().nth(EXCERPT_CHARS_MAX).is_some() {
        short.push('…');
    }
    short
}

/// What a capture takes out of an answer: the one value the path selects, as text.
pub(super) fn capture(json: &Value, query: &jsonpath_rust::parser::model::JpQuery) -> Option<String> {
    let found = js_path_process(query, json).ok()?;
    match found.first()?.clone().val() {
        Value::Null | Value::Array(_) | Value::Object(_) => None,
        value => Some(text_of(value)),
    }
}
