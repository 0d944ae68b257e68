//! `expect:` → checks.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use jsonschema::PatternOptions;

use super::problem::{At, Fault, Sink};
use super::reader::{Fields, entries, json, keep};
use super::surroundings::Surroundings;
use super::value::{self, expected};
use super::yaml::{Node, Value, quote};
use crate::model::{Check, Expected, JsonKind, StatusSet};

/// The checks of one request, and where its time limit stands.
#[derive(Default)]
pub(super) struct Checks {
    pub checks: Vec<Check>,
    pub time: Option<(Duration, At)>,
    /// The first check that needs a body.
    pub body_at: Option<At>,
}

/// Without `status`, any 2xx is expected.
pub(super) fn read(sink: &Sink, node: Option<Node>, around: &Surroundings<'_>) -> Checks {
    let mut out = Checks::default();
    let mut status = StatusSet(vec![(200, 299)]);
    let Some(mut fields) = node.and_then(|node| Fields::of(sink, node, "`expect`")) else {
        out.checks.push(Check::Status(status));
        return out;
    };
    if let Some((given, _)) = fields.get("status", value::statuses) {
        status = given;
    }
    out.checks.push(Check::Status(status));
    if let Some(node) = fields.take("headers") {
        read_headers(sink, node, &mut out.checks);
    }
    let body = fields.take("body");
    let json_paths = fields.take("json");
    let schema = fields.take("json_schema");
    out.body_at = [&body, &json_paths, &schema].into_iter().flatten().map(|node| node.at).min();
    if let Some(node) = body {
        read_body(sink, node, &mut out.checks);
    }
    if let Some(node) = json_paths {
        read_json(sink, node, &mut out.checks);
    }
    if let Some(schema) = schema {
        out.checks.extend(read_schema(sink, schema, around).map(Check::JsonSchema));
    }
    out.time = fields.get("time", value::duration);
    out.checks.extend(out.time.map(|(limit, _)| Check::ResponseTime(limit)));
    let days = fields.get("tls_days", value::integer(0..=3_650));
    out.checks.extend(days.and_then(|(days, _)| i64::try_from(days).ok()).map(Check::TlsDaysLeft));
    fields.finish();
    out
}

fn read_headers(sink: &Sink, node: Node, checks: &mut Vec<Check>) {
    for (key, node) in entries(sink, node).unwrap_or_default() {
        if HeaderName::from_bytes(key.name.as_bytes()).is_err() {
            sink.report(key.at, Fault::new(format!("{} is not the name of a header", quote(&key.name))));
            continue;
        }
        let expected = match &node.value {
            Value::Map(_) => read_words(sink, node, Subject::Header),
            _ => keep(sink, &node, header_equals).into_iter().collect(),
        };
        checks
            .extend(expected.into_iter().map(|expected| Check::Header { name: key.name.clone(), expected }));
    }
}

fn header_equals(node: &Node) -> Result<Expected, Fault> {
    let text = literal(node)?;
    Ok(Expected::Equals(text.into()))
}

fn read_body(sink: &Sink, node: Node, checks: &mut Vec<Check>) {
    let Some(mut fields) = Fields::of(sink, node, "`body`") else { return };
    let several = |node: Option<Node>| match node {
        Some(Node { value: Value::List(items), .. }) => items,
        other => other.into_iter().collect(),
    };
    for node in several(fields.take("contains")) {
        let contains = keep(sink, &node, |n| Ok(Expected::Contains(literal(n)?)));
        checks.extend(contains.map(Check::Body));
    }
    for node in several(fields.take("matches")) {
        checks.extend(keep(sink, &node, |n| Ok(Expected::Matches(value::regex(n)?))).map(Check::Body));
    }
    if let Some(node) = fields.take("size") {
        let size = read_bounds(sink, node, value::size);
        checks.extend(size.map(|(min, max)| Check::Body(Expected::Size { min, max })));
    }
    fields.finish();
}

fn read_json(sink: &Sink, node: Node, checks: &mut Vec<Check>) {
    for (key, node) in entries(sink, node).unwrap_or_default() {
        let query = sink.keep(key.at, value::json_path(&key.name));
        let expected = match &node.value {
            Value::Map(_) => read_words(sink, node, Subject::Json),
            _ => json_equals(sink, node).into_iter().collect(),
        };
        let Some(query) = query else { continue };
        checks.extend(expected.into_iter().map(|expected| Check::Json {
            path: key.name.clone(),
            query: query.clone(),
            expected,
        }));
    }
}

fn json_equals(sink: &Sink, node: Node) -> Option<Expected> {
    refuse_places(sink, &node);
    json(sink, node).map(Expected::Equals)
}

/// What a mapping of check words speaks about.
#[derive(Clone, Copy, PartialEq)]
enum Subject {
    /// A text: `equals`, `matches`, `contains`, `exists`.
    Header,
    /// Any value: also `type` and `count`.
    Json,
}

fn read_words(sink: &Sink, node: Node, subject: Subject) -> Vec<Expected> {
    let (at, what) = (node.at, format!("`{}`", node.label));
    let empty = matches!(&node.value, Value::Map(entries) if entries.is_empty());
    let Some(mut fields) = Fields::of(sink, node, what) else { return Vec::new() };
    if empty {
        sink.report(at, Fault::new("expected a check such as `exists: true`, found an empty mapping"));
    }
    let mut out = Vec::new();
    if subject == Subject::Json {
        out.extend(fields.take("equals").and_then(|node| json_equals(sink, node)));
        let kinds = JsonKind::ALL.map(|kind| (kind.as_str(), kind));
        out.extend(fields.get("type", value::word(&kinds)).map(|(kind, _)| Expected::Type(kind)));
        let count =
            fields.take("count").and_then(|node| read_bounds(sink, node, value::integer(0..=u64::MAX)));
        out.extend(count.map(|(min, max)| Expected::Count { min, max }));
    } else {
        out.extend(fields.get("equals", header_equals).map(|(expected, _)| expected));
    }
    out.extend(fields.get("matches", value::regex).map(|(regex, _)| Expected::Matches(regex)));
    out.extend(fields.get("contains", literal).map(|(text, _)| Expected::Contains(text)));
    out.extend(fields.get("exists", value::boolean).map(|(exists, _)| Expected::Exists(exists)));
    fields.finish();
    out
}

/// A number that it must be, or `{ min, max }` of which one may be left out.
fn read_bounds(sink: &Sink, node: Node, read: impl Fn(&Node) -> Result<u64, Fault>) -> Option<(u64, u64)> {
    if !matches!(node.value, Value::Map(_)) {
        return keep(sink, &node, read).map(|n| (n, n));
    }
    let (at, label) = (node.at, node.label.clone());
    let mut fields = Fields::of(sink, node, format!("`{label}`"))?;
    let given = fields.has("min") || fields.has("max");
    let min = fields.get("min", &read).map_or(0, |(n, _)| n);
    let max = fields.get("max", &read).map_or(u64::MAX, |(n, _)| n);
    fields.finish();
    if !given {
        sink.report(at, Fault::new(format!("`{label}`: expected `min`, `max` or both")));
        return None;
    }
    if min > max {
        sink.report(at, Fault::new(format!("`{label}`: `min` {min} is above `max` {max}")));
        return None;
    }
    Some((min, max))
}

/// A text that is compared as it is.
fn literal(node: &Node) -> Result<String, Fault> {
    let text = value::written(node)?;
    if text.contains("{{") { Err(place_in_expectation(text)) } else { Ok(text.to_owned()) }
}

fn place_in_expectation(text: &str) -> Fault {
    Fault::new(format!(
        "{} has a `{{{{…}}}}` place, but expectations are compared as they are written",
        quote(text)
    ))
    .hint("use `matches` for the part that is known")
}

fn refuse_places(sink: &Sink, node: &Node) {
    match &node.value {
        Value::Text(text) if text.contains("{{") => sink.report(node.at, place_in_expectation(text)),
        Value::List(items) => items.iter().for_each(|item| refuse_places(sink, item)),
        Value::Map(entries) => entries.iter().for_each(|(_, value)| refuse_places(sink, value)),
        _ => {}
    }
}

/// A mapping is the schema; a text names a file that holds it, as JSON or YAML.
fn read_schema(sink: &Sink, node: Node, around: &Surroundings<'_>) -> Option<Arc<jsonschema::Validator>> {
    let at = node.at;
    let schema = match &node.value {
        Value::Text(path) => {
            let text = sink.keep(
                at,
                around.read(&around.resolve(path)).map_err(|fault| {
                    Fault::new(format!("`json_schema`: file {} {}", quote(path), fault.message))
                }),
            )?;
            // JSON is YAML too, and this way a broken file has a line.
            let parsed = super::yaml::parse(path, &text).map_err(|problem| Fault::new(problem.to_string()));
            json(sink, sink.keep(at, parsed)?)?
        }
        Value::Map(_) => json(sink, node)?,
        _ => {
            sink.report(
                at,
                Fault {
                    message: format!(
                        "`json_schema`: {}",
                        expected("a JSON Schema or the name of a file", &node).message
                    ),
                    hint: None,
                },
            );
            return None;
        }
    };
    // Patterns that take exponential time, and references to other hosts, have no place here.
    let built = jsonschema::options().with_pattern_options(PatternOptions::regex()).offline().build(&schema);
    let validator = built.map_err(|error| {
        let place = error.instance_path().to_string();
        let place = if place.is_empty() { String::new() } else { format!(" at `{place}`") };
        let error = value::one_line(&error.to_string());
        Fault::new(format!("`json_schema` is not a JSON Schema{place}: {error}"))
    });
    sink.keep(at, validator).map(Arc::new)
}
