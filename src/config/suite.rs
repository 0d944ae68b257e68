//! One suite file → one variant, and what it says about its suite.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::problem::{At, Fault, Sink, nearest};
use super::reader::{Fields, elements, keep};
use super::request::{self, Defaults, Entry, Place};
use super::surroundings::Surroundings;
use super::value;
use super::yaml::{Node, Value};
use crate::clock::Timestamp;
use crate::model::{
    Floors, Method, PAIR_GAP_MAX, Redirects, Request, Schedule, Secret, Template, Variant, VersionRange,
};

const TIMEOUT: Duration = Duration::from_secs(5);
const RETRIES: u32 = 1;
const RETRIES_MAX: u64 = 10;
const BODY_BYTES: u64 = 1 << 20;
/// A round visits each of them on each deployment.
const REQUESTS_MAX: usize = 200;

/// A sound variant, and the parts of it that all variants of a suite must share.
#[derive(Debug)]
pub(super) struct SuiteFile {
    pub suite: String,
    pub suite_at: At,
    pub applies_at: At,
    pub schedule: Schedule,
    pub schedule_at: At,
    pub jitter: Duration,
    pub jitter_at: Option<At>,
    pub variant: Variant,
}

/// What a file is, even when it is not sound: a broken file still takes the place of the shipped
/// one, so that nothing else runs than what was meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub suite: String,
    pub applies_to: String,
}

pub(super) fn read(
    sink: &Sink,
    node: Node,
    around: &Surroundings<'_>,
) -> (Option<Identity>, Option<SuiteFile>) {
    if matches!(node.value, Value::Null) {
        sink.report(node.at, Fault::new("the file is empty").hint("a suite starts with `suite: NAME`"));
        return (None, None);
    }
    let Some(mut fields) = Fields::of(sink, node, "the suite") else { return (None, None) };
    let at = fields.at;
    let suite = fields.need("suite", value::name);
    if let Some((name, _)) = &suite {
        fields.call(format!("suite `{name}`"));
    }
    let applies_to = fields.get("applies_to", value::range).unwrap_or((VersionRange::any(), at));
    let identity = suite.clone().map(|(suite, _)| Identity { suite, applies_to: applies_to.0.to_string() });

    let schedule = fields.need("schedule", value::schedule);
    let jitter = fields.get("jitter", value::duration_or_none);
    if let (Some((jitter, at)), Some((schedule, _))) = (&jitter, &schedule) {
        judge_jitter(sink, *at, *jitter, schedule);
    }
    let budget = fields.get("budget", value::budget).map(|(budget, _)| budget);
    let pair_gap_max = fields.get("pair_gap_max", value::duration);
    let env = read_env(sink, fields.take("env"), around);
    let mut places = Vec::new();
    let auth =
        fields.take("auth").map(|node| request::read_headers(sink, node, &mut places)).unwrap_or_default();
    for header in auth.iter().filter(|header| header.value.places().next().is_none()) {
        sink.report(at, request::written_secret(&header.name));
    }
    let mut defaults = read_defaults(sink, fields.take("defaults"), &mut places);
    defaults.auth = auth;
    defaults.secrets = env.keys().cloned().collect();
    let wake_up = fields.take("wake_up");
    let requests = fields.need_node("requests");
    let requests_at = requests.as_ref().map_or(at, |node| node.at);
    let is_empty = requests.as_ref().is_some_and(|node| match &node.value {
        Value::List(items) => items.is_empty(),
        value => matches!(value, Value::Null),
    });
    let nodes = elements(sink, requests);
    fields.finish();

    if nodes.len() > REQUESTS_MAX {
        let fault = format!("expected at most {REQUESTS_MAX} requests, found {}", nodes.len());
        sink.report(requests_at, Fault::new(fault));
    }
    let entries: Vec<Entry> =
        nodes.into_iter().filter_map(|node| request::read(sink, node, &defaults, around)).collect();
    if is_empty {
        sink.report(requests_at, Fault::new("expected at least one request"));
    }
    judge_names(sink, &entries);
    judge_control(sink, &entries);
    for entry in entries.iter().filter(|entry| !entry.applies_to.overlaps(&applies_to.0)) {
        if let Some((name, at)) = &entry.name {
            let fault = format!(
                "request `{name}` never runs: its `{}` lies outside of the suite's `{}`",
                entry.applies_to, applies_to.0
            );
            sink.note(*at, Fault::new(fault));
        }
    }
    judge_places(sink, &places, &entries, &defaults.secrets);
    let requests: Vec<Arc<Request>> =
        entries.into_iter().filter_map(|entry| entry.request).map(Arc::new).collect();
    let wake_up = read_wake_up(sink, wake_up, &requests, &defaults.secrets);

    let file = suite.zip(schedule).map(|((suite, suite_at), (schedule, schedule_at))| SuiteFile {
        suite,
        suite_at,
        applies_at: applies_to.1,
        schedule,
        schedule_at,
        jitter: jitter.map_or(Duration::ZERO, |(jitter, _)| jitter),
        jitter_at: jitter.map(|(_, at)| at),
        variant: Variant {
            file: sink.file.clone(),
            applies_to: applies_to.0,
            budget,
            pair_gap_max: pair_gap_max.map_or(PAIR_GAP_MAX, |(gap, _)| gap),
            env,
            wake_up,
            requests,
        },
    });
    (identity, file)
}

/// A round that is shifted by its whole period would meet the next one.
fn judge_jitter(sink: &Sink, at: At, jitter: Duration, schedule: &Schedule) {
    // Any Monday serves: an irregular schedule is judged by one of its periods.
    let some_tick = schedule.next_after(Timestamp(0)).unwrap_or_default();
    let period = schedule.period_at(some_tick);
    if jitter * 2 > period {
        let (jitter, period) = (humantime::format_duration(jitter), humantime::format_duration(period));
        let fault = format!("`jitter`: {jitter} is more than half of the period of {period}");
        sink.report(at, Fault::new(fault));
    }
}

/// The variables a suite declares, with their values.
fn read_env(sink: &Sink, node: Option<Node>, around: &Surroundings<'_>) -> BTreeMap<String, Secret> {
    let mut env = BTreeMap::new();
    for node in elements(sink, node) {
        let Some(name) = keep(sink, &node, value::variable) else { continue };
        if name == "round" || name == "token" {
            sink.report(
                node.at,
                Fault::new(format!("`{{{{{name}}}}}` already has a meaning; expected another variable")),
            );
        } else if let Some(found) = around.env.get(&name) {
            env.insert(name, Secret::new(found));
        } else {
            let fault = Fault::new(format!("environment variable `{name}` is not set, or empty"));
            sink.report(node.at, fault.hint(format!("export {name}, or take it out of `env:`")));
            // Known all the same, so that its uses are not reported as well.
            env.insert(name, Secret::new(""));
        }
    }
    env
}

fn read_defaults(sink: &Sink, node: Option<Node>, places: &mut Vec<Place>) -> Defaults {
    let mut defaults = Defaults {
        timeout: TIMEOUT,
        retries: RETRIES,
        degraded_after: None,
        headers: Vec::new(),
        max_body: BODY_BYTES,
        redirects: Redirects::Keep,
        floors: Floors::default(),
        auth: Vec::new(),
        secrets: Vec::new(),
    };
    let Some(mut fields) = node.and_then(|node| Fields::of(sink, node, "`defaults`")) else {
        return defaults;
    };
    if let Some((timeout, _)) = fields.get("timeout", value::duration) {
        defaults.timeout = timeout;
    }
    if let Some((retries, _)) = fields.get("retries", value::integer(0..=RETRIES_MAX)) {
        defaults.retries = u32::try_from(retries).unwrap_or(RETRIES);
    }
    if let Some((slow, at)) = fields.get("degraded_after", value::duration) {
        defaults.degraded_after = Some(slow);
        if slow > defaults.timeout {
            sink.report(at, request::above_timeout("degraded_after", slow, defaults.timeout));
        }
    }
    if let Some(node) = fields.take("headers") {
        defaults.headers = request::read_headers(sink, node, places);
    }
    if let Some((bytes, _)) = fields.get("max_body", value::size) {
        defaults.max_body = bytes;
    }
    if let Some((redirects, _)) = fields.get("redirects", value::redirects) {
        defaults.redirects = redirects;
    }
    defaults.floors = request::read_floors(sink, fields.take("floors"), defaults.floors);
    fields.finish();
    defaults
}

/// The name is the identity of a request, so it occurs once; two requests that may both run do not
/// capture the same name.
fn judge_names(sink: &Sink, entries: &[Entry]) {
    let mut lines: HashMap<&str, u32> = HashMap::new();
    for (name, at) in entries.iter().filter_map(|entry| entry.name.as_ref()) {
        match lines.get(name.as_str()) {
            Some(line) => {
                let fault = Fault::new(format!("request `{name}` occurs twice; first in line {line}"));
                sink.report(*at, fault.hint("the name is its identity across versions; give it another"));
            }
            None => drop(lines.insert(name, at.line)),
        }
    }
    for (index, entry) in entries.iter().enumerate() {
        for (capture, at) in &entry.captures {
            let earlier = entries[..index].iter().filter(|e| e.applies_to.overlaps(&entry.applies_to));
            let taken = earlier.flat_map(|e| &e.captures).find(|(name, _)| name == capture);
            if let Some((_, first)) = taken {
                let fault = format!("capture `{capture}` is already taken in line {}", first.line);
                sink.report(*at, Fault::new(fault));
            }
            if capture == "round" || capture == "token" {
                sink.report(
                    *at,
                    Fault::new(format!("`{{{{{capture}}}}}` already has a meaning; expected another name")),
                );
            }
        }
    }
}

/// There is one request to compare with, or none.
fn judge_control(sink: &Sink, entries: &[Entry]) {
    let is_control = |entry: &&Entry| entry.request.as_ref().is_some_and(|request| request.control);
    let controls: Vec<&Entry> = entries.iter().filter(is_control).collect();
    for (index, entry) in controls.iter().enumerate() {
        let earlier = controls[..index].iter().find(|other| other.applies_to.overlaps(&entry.applies_to));
        if let (Some((first, _)), Some((name, at))) = (earlier.and_then(|e| e.name.as_ref()), &entry.name) {
            let fault = Fault::new(format!("request `{name}` says `control: true`, and so does `{first}`"));
            sink.report(*at, fault.hint("leave it with the one that surely touches no database"));
        }
    }
}

/// Every `{{name}}` has a value by the time it is needed.
fn judge_places(sink: &Sink, shared: &[Place], entries: &[Entry], variables: &[String]) {
    let always: Vec<&str> =
        ["round", "token"].into_iter().chain(variables.iter().map(String::as_str)).collect();
    for place in shared.iter().filter(|place| !always.contains(&place.name.as_str())) {
        let fault = Fault::new(format!(
            "`{}`: `{{{{{}}}}}` is neither `round`, `token` nor a variable of `env:`",
            place.label, place.name
        ));
        sink.report(place.at, with_near_name(fault, &place.name, &always));
    }
    let mut known = always;
    for (index, entry) in entries.iter().enumerate() {
        for place in entry.places.iter().filter(|place| !known.contains(&place.name.as_str())) {
            let fault = Fault::new(format!(
                "`{}`: `{{{{{}}}}}` is neither `round`, `token`, a variable of `env:` nor a capture of an earlier request",
                place.label, place.name
            ));
            let later = entries[index..]
                .iter()
                .find(|e| e.captures.iter().any(|(name, _)| *name == place.name))
                .and_then(|e| e.name.as_ref());
            sink.report(
                place.at,
                match later {
                    Some((name, _)) => fault.hint(format!("request `{name}` captures it, which is too late")),
                    None => with_near_name(fault, &place.name, &known),
                },
            );
        }
        known.extend(entry.captures.iter().map(|(name, _)| name.as_str()));
    }
}

fn with_near_name(fault: Fault, found: &str, known: &[&str]) -> Fault {
    match nearest(found, known) {
        Some(name) => fault.hint(format!("did you mean `{{{{{name}}}}}`?")),
        None => fault,
    }
}

/// `false`, a path, or by default the path of the first GET that every version understands.
fn read_wake_up(
    sink: &Sink,
    node: Option<Node>,
    requests: &[Arc<Request>],
    variables: &[String],
) -> Option<Template> {
    let is_ready =
        |template: &Template| template.places().all(|p| p == "round" || variables.iter().any(|v| v == p));
    let Some(node) = node else {
        let gets = || requests.iter().filter(|r| r.method == Method::Get && is_ready(&r.path));
        return gets()
            .find(|r| r.applies_to == VersionRange::any())
            .or(gets().next())
            .map(|r| r.path.clone());
    };
    match node.value {
        Value::Bool(false) => None,
        Value::Text(_) => {
            let path = keep(sink, &node, value::path)?;
            if !is_ready(&path) {
                let fault = Fault::new(
                    "`wake_up`: nothing is captured before it; expected a path without captures or `{{token}}`",
                );
                sink.report(node.at, fault);
            }
            Some(path)
        }
        _ => {
            let fault = value::expected("`false` or a path", &node);
            sink.report(node.at, Fault { message: format!("`wake_up`: {}", fault.message), hint: None });
            None
        }
    }
}
