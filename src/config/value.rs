//! One value of the configuration: from what is written to the type that is meant.
//!
//! Each function says what it found and what it expected, and nothing else: the caller knows the
//! key and the place.

use std::ops::RangeInclusive;
use std::time::Duration;

use jsonpath_rust::parser::model::JpQuery;
use jsonpath_rust::parser::parse_json_path;
use regex::Regex;

use super::problem::{Fault, nearest};
use super::yaml::{Node, Value, quote};
use crate::model::{Budget, Redirects, Schedule, StatusSet, Template, VersionRange};

/// Names are metric labels, parts of series keys, and arguments on a command line.
const NAME_CHARS_MAX: usize = 100;
/// RFC 9535 needs no more for what an API answers; it bounds the time a malicious one can take.
const JSON_PATH_BYTES_MAX: usize = 300;
/// Beyond this nobody waits, and a round would hang.
const DURATION_MAX: Duration = Duration::from_secs(3_600);
/// A body is held in memory while it is checked.
const BODY_BYTES_MAX: u64 = 64 << 20;

type Read<T> = Result<T, Fault>;

pub(super) fn expected(what: &str, node: &Node) -> Fault {
    Fault::new(format!("expected {what}, found {}", node.found()))
}

/// A text; a number or a boolean has to be quoted to be one.
pub(super) fn text(node: &Node) -> Read<&str> {
    match &node.value {
        Value::Text(text) => Ok(text),
        Value::Number(..) | Value::Bool(_) => Err(expected("text", node).hint("put it in quotes")),
        _ => Err(expected("text", node)),
    }
}

/// A text, or a number as it is written (`2.10`, which as a number would be 2.1).
pub(super) fn written(node: &Node) -> Read<&str> {
    match &node.value {
        Value::Number(_, written) => Ok(written),
        _ => text(node),
    }
}

pub(super) fn boolean(node: &Node) -> Read<bool> {
    match &node.value {
        Value::Bool(b) => Ok(*b),
        Value::Text(text) if text == "true" || text == "false" => {
            Err(Fault::new("expected `true` or `false`, found a text").hint("take the quotes away"))
        }
        _ => Err(expected("`true` or `false`", node)),
    }
}

pub(super) fn integer(range: RangeInclusive<u64>) -> impl Fn(&Node) -> Read<u64> {
    move |node| match &node.value {
        Value::Number(n, _) if n.as_u64().is_some_and(|n| range.contains(&n)) => Ok(n.as_u64().unwrap_or(0)),
        _ if *range.end() == u64::MAX => {
            Err(expected(&format!("a whole number from {}", range.start()), node))
        }
        _ => Err(expected(&format!("a whole number from {} to {}", range.start(), range.end()), node)),
    }
}

/// Letters, digits, `.`, `_` and `-`, starting with a letter or a digit.
pub(super) fn name(node: &Node) -> Read<String> {
    plain_name(written(node)?)
}

pub(super) fn plain_name(text: &str) -> Read<String> {
    let plain = text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        && text.len() <= NAME_CHARS_MAX;
    if plain {
        return Ok(text.to_owned());
    }
    Err(Fault::new(format!(
        "expected a name of at most {NAME_CHARS_MAX} letters, digits, `.`, `_` or `-`, found {}",
        quote(text)
    )))
}

/// The name of an environment variable (POSIX: letters, digits and `_`, no digit first).
pub(super) fn variable(node: &Node) -> Read<String> {
    let text = text(node)?;
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if plain { Ok(text.to_owned()) } else { Err(expected("the name of an environment variable", node)) }
}

/// One of a few words.
pub(super) fn word<'a, T: Copy>(words: &'a [(&'a str, T)]) -> impl Fn(&Node) -> Read<T> + 'a {
    move |node| {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let wrong = || -> Fault {
            Fault::new(format!("expected one of {}, found {}", known.join(", "), node.found()))
        };
        let Value::Text(text) = &node.value else { return Err(wrong()) };
        words.iter().find(|(word, _)| word == text).map(|(_, value)| *value).ok_or_else(|| {
            match nearest(text, &known) {
                Some(word) => wrong().hint(format!("did you mean `{word}`?")),
                None => wrong(),
            }
        })
    }
}

/// A duration as humantime reads it, longer than nothing and at most an hour.
pub(super) fn duration(node: &Node) -> Read<Duration> {
    const EXAMPLE: &str = "a duration such as `500ms`, `5s` or `2m 30s`";
    let Value::Text(text) = &node.value else {
        return Err(expected(EXAMPLE, node).hint("write the unit, such as `5s`"));
    };
    match humantime::parse_duration(text) {
        Ok(d) if d.is_zero() || d > DURATION_MAX => Err(expected("a duration above 0 and at most 1h", node)),
        Ok(d) => Ok(d),
        Err(_) => Err(expected(EXAMPLE, node)),
    }
}

/// Zero is a duration too where it switches something off.
pub(super) fn duration_or_none(node: &Node) -> Read<Duration> {
    match &node.value {
        Value::Text(text) if humantime::parse_duration(text).is_ok_and(|d| d.is_zero()) => Ok(Duration::ZERO),
        _ => duration(node),
    }
}

/// A part above 0 and below 1, as it is said: `5%` or `2.5%`.
pub(super) fn percent(node: &Node) -> Read<f64> {
    let wrong = || expected("a part such as `5%`, above 0% and below 100%", node);
    let Value::Text(text) = &node.value else { return Err(wrong().hint("write the sign, such as `5%`")) };
    let number = text.trim().strip_suffix('%').and_then(|number| number.trim_end().parse::<f64>().ok());
    number
        .filter(|percent| *percent > 0.0 && *percent < 100.0)
        .map(|percent| percent / 100.0)
        .ok_or_else(wrong)
}

/// Bytes: a whole number, or one with `B`, `kB`, `KiB`, `MB`, `MiB`, `GB` or `GiB` (IEC 80000-13).
pub(super) fn size(node: &Node) -> Read<u64> {
    let wrong = || expected("a size such as `65536`, `512KiB` or `1MiB`, at most 64MiB", node);
    let text = written(node).map_err(|_| wrong())?;
    bytes(text).filter(|bytes| *bytes <= BODY_BYTES_MAX).ok_or_else(wrong)
}

/// A size as it is written in files and flags.
fn bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim() {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "KiB" => 1 << 10,
        "MB" => 1_000_000,
        "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// The same for a flag.
pub fn parse_size(text: &str) -> Result<u64, String> {
    bytes(text).ok_or_else(|| format!("expected a size such as `512MiB` or `5GiB`, found `{text}`"))
}

/// `300/min`: requests within a second, minute or hour.
pub(super) fn budget(node: &Node) -> Read<Budget> {
    let wrong = || expected("requests per time such as `300/min`, `5/s` or `1000/h`", node);
    let Value::Text(text) = &node.value else { return Err(wrong()) };
    let Some((number, unit)) = text.split_once('/') else { return Err(wrong()) };
    let seconds = match unit.trim() {
        "s" | "sec" | "second" => 1,
        "m" | "min" | "minute" => 60,
        "h" | "hour" => 3_600,
        _ => return Err(wrong()),
    };
    match number.trim().parse::<u32>() {
        Ok(requests) if requests > 0 => Ok(Budget { requests, per: Duration::from_secs(seconds) }),
        _ => Err(wrong()),
    }
}

pub(super) fn schedule(node: &Node) -> Read<Schedule> {
    let text = text(node)?;
    Schedule::parse(text).map_err(|error| Fault::new(format!("{}: {}", quote(text), last_line(&error))))
}

pub(super) fn range(node: &Node) -> Read<VersionRange> {
    VersionRange::parse(written(node)?).map_err(Fault::new)
}

pub(super) fn regex(node: &Node) -> Read<Regex> {
    let text = text(node)?;
    Regex::new(text).map_err(|error| {
        let error = last_line(&error);
        let reason = error.trim_start_matches("error: ");
        Fault::new(format!("{} is not a regular expression: {reason}", quote(text)))
    })
}

/// A JSON path (RFC 9535).
pub(super) fn json_path(text: &str) -> Read<JpQuery> {
    let wrong = |reason: &str| {
        Fault::new(format!("{} is not a JSON path: {reason}", quote(text)))
            .hint("such as `$.data[0].id` (RFC 9535)")
    };
    if text.len() > JSON_PATH_BYTES_MAX {
        return Err(wrong(&format!("it is longer than {JSON_PATH_BYTES_MAX} bytes")));
    }
    if !text.starts_with('$') {
        return Err(wrong("it does not start with `$`"));
    }
    parse_json_path(text).map_err(|error| wrong(last_line(&error).trim_start_matches("= ")))
}

pub(super) fn template(node: &Node) -> Read<Template> {
    Template::parse(written(node)?).map_err(|error| Fault::new(error.to_string()))
}

/// Path and query below the deployment's URL.
pub(super) fn path(node: &Node) -> Read<Template> {
    let text = text(node)?;
    if !text.starts_with('/') || text.starts_with("//") {
        let fault = expected("a path that starts with `/`", node);
        return Err(fault.hint("scheme, host and port are the deployment's"));
    }
    let template = template(node)?;
    // A place may be written with spaces inside its braces; the text around it may not have any.
    let shown = template.to_string();
    if shown.contains(|c: char| c.is_whitespace() || c.is_control() || c == '#') {
        return Err(expected("a path without spaces or `#`", node).hint("percent-encode them"));
    }
    Ok(template)
}

pub(super) fn redirects(node: &Node) -> Read<Redirects> {
    const FOLLOW_MAX: u64 = 20;
    match &node.value {
        Value::Text(text) if text == "keep" => Ok(Redirects::Keep),
        _ => match integer(1..=FOLLOW_MAX)(node) {
            Ok(n) => Ok(Redirects::Follow(u32::try_from(n).unwrap_or(u32::MAX))),
            Err(_) => Err(expected(&format!("`keep` or how many to follow, from 1 to {FOLLOW_MAX}"), node)),
        },
    }
}

/// `200`, `2xx`, `200-204`, or a list of these.
pub(super) fn statuses(node: &Node) -> Read<StatusSet> {
    match &node.value {
        Value::List(items) if !items.is_empty() => {
            items.iter().map(status).collect::<Read<_>>().map(StatusSet)
        }
        _ => Ok(StatusSet(vec![status(node)?])),
    }
}

fn status(node: &Node) -> Read<(u16, u16)> {
    let wrong = || expected("a status from 100 to 599 such as `200`, `2xx` or `[200, 204]`", node);
    let text = written(node).map_err(|_| wrong())?;
    let one = |text: &str| text.parse::<u16>().ok().filter(|s| text.len() == 3 && (100..=599).contains(s));
    if let Some(class) = text.strip_suffix("xx").and_then(|c| c.parse::<u16>().ok()) {
        return if (1..=5).contains(&class) { Ok((class * 100, class * 100 + 99)) } else { Err(wrong()) };
    }
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    match (one(low), one(high)) {
        (Some(low), Some(high)) if low <= high => Ok((low, high)),
        _ => Err(wrong()),
    }
}

/// What a parser says at last, after it has drawn the text and a caret below it.
fn last_line(error: &impl ToString) -> String {
    let error = error.to_string();
    error.lines().last().unwrap_or_default().trim().to_owned()
}

/// The words of another crate, on one line.
pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::super::yaml::parse;
    use super::*;

    fn node(text: &str) -> Node {
        parse("f", text).unwrap()
    }

    #[track_caller]
    fn refuses<T: std::fmt::Debug>(read: impl Fn(&Node) -> Read<T>, text: &str, message: &str) {
        assert_eq!(read(&node(text)).unwrap_err().message, message);
    }

    #[test]
    fn sizes_and_budgets_have_units() {
        assert_eq!(size(&node("1MiB")), Ok(1 << 20));
        assert_eq!(size(&node("64 kB")), Ok(64_000));
        assert_eq!(size(&node("512")), Ok(512));
        let wrong = "expected a size such as `65536`, `512KiB` or `1MiB`, at most 64MiB, found ";
        for text in ["1GiB", "65MiB", "-1", "MiB", "99999999999999999999MiB"] {
            refuses(size, text, &format!("{wrong}`{text}`"));
        }
        let per = |s| Duration::from_secs(s);
        assert_eq!(budget(&node("300/min")), Ok(Budget { requests: 300, per: per(60) }));
        assert_eq!(budget(&node("5 / s")), Ok(Budget { requests: 5, per: per(1) }));
        assert_eq!(budget(&node("1000/h")), Ok(Budget { requests: 1_000, per: per(3_600) }));
        for text in ["300", "0/min", "300/day", "-1/s"] {
            let wrong = "expected requests per time such as `300/min`, `5/s` or `1000/h`";
            refuses(budget, text, &format!("{wrong}, found `{text}`"));
        }
    }

    #[test]
    fn statuses_are_numbers_classes_and_lists() {
        let shown = |text| statuses(&node(text)).unwrap().to_string();
        assert_eq!(shown("200"), "200");
        assert_eq!(shown("2xx"), "2xx");
        assert_eq!(shown("[200, 204, 3xx, 410-414]"), "200, 204, 3xx, 410-414");
        for text in ["99", "600", "6xx", "0xx", "204-200", "ok", "+20"] {
            let wrong = "expected a status from 100 to 599 such as `200`, `2xx` or `[200, 204]`, found";
            refuses(statuses, text, &format!("{wrong} `{text}`"));
        }
        assert!(statuses(&node("[]")).is_err());
    }

    #[test]
    fn a_hostile_json_path_takes_no_time() {
        for path in [
            "$[?".to_owned() + &"(".repeat(290),
            "$[?".to_owned() + &"!(@.a".repeat(50),
            "$".to_owned() + &"[?@".repeat(90),
        ] {
            let started = std::time::Instant::now();
            assert!(json_path(&path).is_err());
            assert!(started.elapsed() < Duration::from_secs(2), "{path}");
        }
    }

    #[test]
    fn reasons_are_on_one_line() {
        refuses(regex, "'a['", "`a[` is not a regular expression: unclosed character class");
        refuses(|n| json_path(text(n)?), "$.data[", "`$.data[` is not a JSON path: expected selector");
        refuses(schedule, "61 * * * *", "`61 * * * *`: Minutes must be less than 59. ('61' specified.)");
    }
}
