//! One entry of `requests:` → a request, with the defaults of its suite applied.

use std::rc::Rc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::expect;
use super::problem::{At, Fault, Sink, one_of};
use super::reader::{Fields, entries, json, keep};
use super::surroundings::Surroundings;
use super::value;
use super::yaml::{Node, Value, quote};
use crate::model::{Capture, Floors, Method, Redirects, Request, Template, VersionRange};

const METHODS: [(&str, Method); 6] = [
    ("get", Method::Get),
    ("head", Method::Head),
    ("post", Method::Post),
    ("put", Method::Put),
    ("patch", Method::Patch),
    ("delete", Method::Delete),
];
/// More would only hide an outage behind waiting.
const RETRIES_MAX: u64 = 10;
/// They frame the message, and are the client's to set (RFC 9112).
const FRAMING_HEADERS: [&str; 4] = ["connection", "content-length", "transfer-encoding", "upgrade"];
const CREDENTIAL_HEADERS: [&str; 4] = ["authorization", "cookie", "proxy-authorization", "x-cachet-token"];

/// A header to send.
#[derive(Clone, Debug)]
pub(super) struct Header {
    pub name: String,
    pub value: Template,
}

/// A `{{name}}` in some text, to be judged when all captures are known.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub at: At,
    pub label: Rc<str>,
    pub name: String,
}

/// What requests of a suite share.
#[derive(Clone, Debug)]
pub(super) struct Defaults {
    pub timeout: Duration,
    pub retries: u32,
    pub degraded_after: Option<Duration>,
    pub headers: Vec<Header>,
    pub max_body: u64,
    pub redirects: Redirects,
    pub floors: Floors,
    /// Sent with requests that write or say `auth: true`.
    pub auth: Vec<Header>,
    /// Names whose values are secret, besides `token`.
    pub secrets: Vec<String>,
}

/// What could be read of a request. The parts that other requests depend on are there even when
/// the request as a whole is not sound, so that one error does not cause others.
pub(super) struct Entry {
    pub name: Option<(String, At)>,
    pub applies_to: VersionRange,
    pub places: Vec<Place>,
    pub captures: Vec<(String, At)>,
    pub request: Option<Request>,
}

pub(super) fn read(sink: &Sink, node: Node, defaults: &Defaults, around: &Surroundings<'_>) -> Option<Entry> {
    let mut fields = Fields::of(sink, node, "the request")?;
    let at = fields.at;
    let name = fields.need("name", value::name);
    if let Some((name, _)) = &name {
        fields.call(format!("request `{name}`"));
    }
    let mut places = Vec::new();
    let target = read_target(sink, &mut fields, &mut places);
    let (own_headers, body) = {
        let headers = fields.take("headers").map(|n| read_headers(sink, n, &mut places)).unwrap_or_default();
        (headers, read_body(sink, &mut fields, &mut places))
    };
    let applies_to =
        fields.get("applies_to", value::range).map_or_else(VersionRange::any, |(range, _)| range);
    let writes = fields.get("writes", value::boolean).is_some_and(|(b, _)| b);
    let auth = fields.get("auth", value::boolean);
    let always = fields.get("always", value::boolean).is_some_and(|(b, _)| b);
    let timeout = fields.get("timeout", value::duration);
    let retries = fields.get("retries", value::integer(0..=RETRIES_MAX));
    let degraded_after = fields.get("degraded_after", value::duration);
    let redirects = fields.get("redirects", value::redirects);
    let max_body = fields.get("max_body", value::size);
    let control = fields.get("control", value::boolean).is_some_and(|(b, _)| b);
    let floors = read_floors(sink, fields.take("floors"), defaults.floors);
    let expect = expect::read(sink, fields.take("expect"), around);
    let captures = fields.take("capture").map(|n| read_captures(sink, n)).unwrap_or_default();
    let capture_names = captures.iter().map(|(capture, at)| (capture.name.clone(), *at)).collect();
    fields.finish();

    if let Some((method, _, at)) = &target {
        let changes = !matches!(method, Method::Get | Method::Head);
        if changes && !writes {
            let fault = Fault::new(format!(
                "a {} changes something, but the request does not say so",
                method.as_str()
            ));
            sink.report(
                *at,
                fault.hint("add `writes: true`: then it runs only where the fleet says `writes: allowed`"),
            );
        }
        if *method == Method::Head && (expect.body_at.is_some() || !captures.is_empty()) {
            let body_at = expect.body_at.or(captures.first().map(|(_, at)| *at)).unwrap_or(*at);
            sink.report(body_at, Fault::new("the answer to a HEAD has no body to check or capture from"));
        }
        if let (false, Some((_, at))) = (changes, &body) {
            sink.report(*at, Fault::new(format!("a {} has no body", method.as_str())));
        }
    }
    if let (true, Some((n, at))) = (writes, &retries)
        && *n > 0
    {
        sink.report(
            *at,
            Fault::new("a request that writes is never retried: it might write twice")
                .hint("leave `retries` out"),
        );
    }
    let uses_token = places.iter().any(|place| place.name == "token");
    let sends_auth = writes || auth.is_some_and(|(b, _)| b);
    if sends_auth && defaults.auth.is_empty() && !uses_token {
        let what = if writes { "writes" } else { "says `auth: true`" };
        let fault = Fault::new(format!("the request {what}, but the suite has no `auth:` headers to send"));
        sink.report(at, fault.hint("add `auth: { X-Cachet-Token: \"{{token}}\" }` (2.x) or `auth: { Authorization: \"Bearer {{token}}\" }` (3.x) to the suite"));
    }
    let limit = timeout.map_or(defaults.timeout, |(d, _)| d);
    let slow = degraded_after.map(|(d, _)| d).or(defaults.degraded_after);
    // What the defaults say about each other is reported there, once.
    let judged_here = timeout.or(degraded_after).map(|(_, at)| at);
    if let (Some(slow), Some(at)) = (slow, judged_here)
        && slow > limit
    {
        sink.report(at, above_timeout("degraded_after", slow, limit));
    }
    if let Some((time, at)) = expect.time
        && time > limit
    {
        sink.report(at, above_timeout("time", time, limit));
    }

    let mut headers = defaults.headers.clone();
    if sends_auth {
        override_with(&mut headers, &defaults.auth);
    }
    if let Some(((_, Some(content_type)), _)) = &body {
        override_with(&mut headers, std::slice::from_ref(content_type));
    }
    override_with(&mut headers, &own_headers);
    let body = body.map(|((template, _), _)| template);
    let is_secret = |name: &str| name == "token" || defaults.secrets.iter().any(|s| s == name);
    let authenticated = sends_auth
        || places.iter().any(|place| is_secret(&place.name))
        || headers.iter().any(|header| header.value.places().any(is_secret));

    let request = name.clone().zip(target).map(|((name, _), (method, path, _))| Request {
        name,
        method,
        path,
        headers: headers.into_iter().map(|header| (header.name, header.value)).collect(),
        body,
        applies_to: applies_to.clone(),
        writes,
        authenticated,
        always,
        timeout: limit,
        retries: match retries {
            _ if writes => 0,
            Some((n, _)) => u32::try_from(n).unwrap_or(0),
            None => defaults.retries,
        },
        degraded_after: slow,
        redirects: redirects.map_or(defaults.redirects, |(r, _)| r),
        max_body: usize::try_from(max_body.map_or(defaults.max_body, |(n, _)| n)).unwrap_or(usize::MAX),
        checks: expect.checks,
        captures: captures.into_iter().map(|(capture, _)| capture).collect(),
        control,
        floors,
    });
    Some(Entry { name, applies_to, places, captures: capture_names, request })
}

/// What is too small to matter, where it differs from what holds otherwise.
pub(super) fn read_floors(sink: &Sink, node: Option<Node>, otherwise: Floors) -> Floors {
    let mut floors = otherwise;
    let Some(mut fields) = node.and_then(|node| Fields::of(sink, node, "`floors`")) else { return floors };
    if let Some((ratio, _)) = fields.get("ratio", value::percent) {
        floors.ratio = ratio;
    }
    if let Some((difference, _)) = fields.get("difference", value::duration_or_none) {
        floors.difference = difference;
    }
    if let Some((rate, _)) = fields.get("failures", value::percent) {
        floors.failure_rate = rate;
    }
    fields.finish();
    floors
}

pub(super) fn above_timeout(key: &str, found: Duration, limit: Duration) -> Fault {
    let (found, limit) = (humantime::format_duration(found), humantime::format_duration(limit));
    Fault::new(format!("`{key}` {found} is above the `timeout` {limit}, so it can never matter"))
}

/// Exactly one of the method keys, with its path.
fn read_target(
    sink: &Sink,
    fields: &mut Fields<'_>,
    places: &mut Vec<Place>,
) -> Option<(Method, Template, At)> {
    let at = fields.at;
    let mut given: Vec<(Method, Node)> =
        METHODS.iter().filter_map(|(key, method)| Some((*method, fields.take(key)?))).collect();
    if given.len() != 1 {
        let keys = METHODS.map(|(key, _)| key);
        let found = match given.len() {
            0 => "none".to_owned(),
            _ => given.iter().map(|(_, node)| format!("`{}`", node.label)).collect::<Vec<_>>().join(" and "),
        };
        sink.report(at, Fault::new(format!("expected exactly {}, found {found}", one_of(&keys))));
        return None;
    }
    let (method, node) = given.pop()?;
    let path = keep(sink, &node, value::path)?;
    places.extend(places_of(&path, &node));
    Some((method, path, node.at))
}

/// The names a text needs, with the place of the text.
pub(super) fn places_of(template: &Template, node: &Node) -> Vec<Place> {
    template
        .places()
        .map(|name| Place { at: node.at, label: node.label.clone(), name: name.to_owned() })
        .collect()
}

/// Headers to send.
pub(super) fn read_headers(sink: &Sink, node: Node, places: &mut Vec<Place>) -> Vec<Header> {
    let mut headers = Vec::new();
    for (key, node) in entries(sink, node).unwrap_or_default() {
        let lower = key.name.to_ascii_lowercase();
        if HeaderName::from_bytes(lower.as_bytes()).is_err() {
            sink.report(key.at, Fault::new(format!("{} is not the name of a header", quote(&key.name))));
            continue;
        }
        if FRAMING_HEADERS.contains(&lower.as_str()) {
            sink.report(key.at, Fault::new(format!("header `{}` is the client's to set", key.name)));
            continue;
        }
        let Some(template) = keep(sink, &node, header_value) else { continue };
        if CREDENTIAL_HEADERS.contains(&lower.as_str()) && template.places().next().is_none() {
            sink.report(node.at, written_secret(&key.name));
            continue;
        }
        places.extend(places_of(&template, &node));
        headers.push(Header { name: key.name, value: template });
    }
    headers
}

/// The value is not repeated: it may be the secret.
pub(super) fn written_secret(header: &str) -> Fault {
    Fault::new(format!("header `{header}` carries a credential, which is never written in a suite"))
        .hint("use `{{token}}`, which each deployment of the fleet brings")
}

fn header_value(node: &Node) -> Result<Template, Fault> {
    let template = value::template(node)?;
    match HeaderValue::from_str(&template.to_string()) {
        Ok(_) => Ok(template),
        Err(_) => Err(Fault::new("a header holds no line breaks or control characters")),
    }
}

fn override_with(headers: &mut Vec<Header>, stronger: &[Header]) {
    for header in stronger {
        headers.retain(|h| !h.name.eq_ignore_ascii_case(&header.name));
        headers.push(header.clone());
    }
}

/// The body and, for `json`, the content type that goes with it.
type Body = (Template, Option<Header>);

fn read_body(sink: &Sink, fields: &mut Fields<'_>, places: &mut Vec<Place>) -> Option<(Body, At)> {
    let json_node = fields.take("json");
    let text_node = fields.take("body");
    if let (Some(_), Some(text)) = (&json_node, &text_node) {
        sink.report(text.at, Fault::new("expected one of `json` and `body`, found both"));
        return None;
    }
    if let Some(node) = text_node {
        let template = keep(sink, &node, value::template)?;
        places.extend(places_of(&template, &node));
        return Some(((template, None), node.at));
    }
    let node = json_node?;
    let at = node.at;
    let sound = read_json_places(sink, &node, places);
    let value = json(sink, node)?;
    if !sound {
        return None;
    }
    let template =
        Template::parse(&value.to_string()).map_err(|error| Fault::new(format!("`json`: {error}")));
    let content_type = Template::parse("application/json")
        .ok()
        .map(|value| Header { name: "Content-Type".to_owned(), value });
    Some(((sink.keep(at, template)?, content_type), at))
}

/// The places in all texts of a JSON body, each where it stands; false when one is broken.
fn read_json_places(sink: &Sink, node: &Node, places: &mut Vec<Place>) -> bool {
    match &node.value {
        Value::Text(_) => match keep(sink, node, value::template) {
            Some(template) => {
                places.extend(places_of(&template, node));
                true
            }
            None => false,
        },
        // Not `all`, which would stop at the first.
        Value::List(items) => {
            items.iter().map(|item| read_json_places(sink, item, places)).filter(|sound| !sound).count() == 0
        }
        Value::Map(entries) => {
            let values = entries.iter().map(|(_, value)| value);
            values.map(|value| read_json_places(sink, value, places)).filter(|sound| !sound).count() == 0
        }
        _ => true,
    }
}

fn read_captures(sink: &Sink, node: Node) -> Vec<(Capture, At)> {
    let mut captures = Vec::new();
    for (key, node) in entries(sink, node).unwrap_or_default() {
        let name = sink.keep(key.at, value::plain_name(&key.name));
        let label = node.label.clone();
        let (path, optional) = match node.value {
            Value::Map(_) => {
                let Some(mut fields) = Fields::of(sink, node, format!("capture `{label}`")) else { continue };
                let path = fields.need("path", read_path);
                let optional = fields.get("optional", value::boolean).is_some_and(|(b, _)| b);
                fields.finish();
                (path.map(|(path, _)| path), optional)
            }
            _ => (keep(sink, &node, read_path), false),
        };
        if let (Some(name), Some((path, query))) = (name, path) {
            captures.push((Capture { name, path, query, optional }, key.at));
        }
    }
    captures
}

fn read_path(node: &Node) -> Result<(String, jsonpath_rust::parser::model::JpQuery), Fault> {
    let text = value::text(node)?;
    Ok((text.to_owned(), value::json_path(text)?))
}
