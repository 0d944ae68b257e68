//! What an event of CI comes to in the store: the fact, increments, telemetry.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::record::to_json;
use crate::clock::Timestamp;
use crate::model::{CiResult, Event, EventKind, EventRow, TraceParent};
use crate::otlp::{Attributes, BOUNDS_RUN_SECONDS, Encoded, Resource, bucket_of, encode_event, names};
use crate::store::{Entry, EventFacts, Exemplar, Increment, Known, Lane, Store, StoreError, Telemetry};

/// How the taking in of events fares, beside those that became facts; published as counters.
#[derive(Debug, Default)]
pub struct Intake {
    pub duplicates: AtomicU64,
    /// Events that were refused because of what they say.
    pub refused: AtomicU64,
    /// Requests that were turned away, by HTTP status.
    pub rejected: [(u16, AtomicU64); 10],
}

impl Intake {
    pub fn new() -> Self {
        let statuses = [400, 401, 403, 405, 408, 413, 415, 429, 500, 503];
        Intake { rejected: statuses.map(|status| (status, AtomicU64::new(0))), ..Intake::default() }
    }

    /// Counts a request that was turned away; a status that has no count of its own is a 400.
    pub fn reject(&self, status: u16) {
        let of = self.rejected.iter().find(|(known, _)| *known == status);
        let (_, count) = of.unwrap_or(&self.rejected[0]);
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// Everything that becomes true with an event. What it sends is decided with what the store knows
/// besides; `links` lead to what it follows from.
pub fn facts_of_event(
    event: Event,
    received: Timestamp,
    links: &[TraceParent],
    resource: &Resource,
) -> Result<EventFacts, serde_json::Error> {
    let (links, resource) = (links.to_vec(), resource.clone());
    EventFacts::new(event, received, move |known| telemetry(known, received, &links, &resource))
}

/// A run that is inferred sends its span and nothing else: it may yet be told how it really went, and
/// what was counted or logged cannot be taken back. The span of an event whose beginning comes late is
/// sent again, under the same id.
fn telemetry(known: &Known, received: Timestamp, links: &[TraceParent], resource: &Resource) -> Telemetry {
    let Known { event, began, counted, .. } = *known;
    let started = began.or(event.finished).unwrap_or(received);
    let signals = encode_event(event, started, links, resource);
    // In the order of arrival: history that is imported late must not look like a backlog.
    let entry = |lane, Encoded { items, body }| Entry {
        lane,
        created: received,
        items,
        body,
        snapshot: None,
        kept: true,
    };
    let mut outbox: Vec<Entry> =
        signals.traces.into_iter().map(|traces| entry(Lane::Traces, traces)).collect();
    let is_news = !counted && !event.inferred;
    outbox.extend(signals.logs.filter(|_| is_news).map(|logs| entry(Lane::Logs, logs)));
    let (Some(finished), Some(result)) = (event.finished, event.result) else { return Telemetry::default() };
    let count = is_news.then(|| count(event, received));
    let seconds = began.filter(|_| !known.timed && !event.inferred).map(|began| finished.since(began));
    let duration = seconds.and_then(|took| duration(event, took.as_secs_f64(), finished, result, received));
    Telemetry { increments: count.into_iter().chain(duration).collect(), outbox }
}

/// How long nothing must be heard of a run before its extent is inferred, and how far back to look.
const QUIET: Duration = Duration::from_secs(3_600);
const HEADLESS_WINDOW: Duration = Duration::from_secs(2 * 86_400);
const HEADLESS_MAX: u32 = 100;

/// Gives runs a span of their own of which only steps were told, so that no trace lacks its root: from
/// the first beginning to the last end, with the worst result. Returns how many.
pub async fn infer_runs(store: &Store, now: Timestamp, resource: &Resource) -> Result<usize, StoreError> {
    let runs = store.headless_runs(now.minus(HEADLESS_WINDOW), now.minus(QUIET), HEADLESS_MAX).await?;
    let inferred = runs.iter().filter_map(|steps| inferred_run(steps));
    let facts: Vec<EventFacts> =
        inferred.filter_map(|event| facts_of_event(event, now, &[], resource).ok()).collect();
    let count = facts.len();
    if count > 0 {
        store.record(facts).await?;
    }
    Ok(count)
}

/// `steps` of one attempt, all of which have ended.
fn inferred_run(steps: &[EventRow]) -> Option<Event> {
    let first = &steps.first()?.event;
    let mut run = Event::new(&first.source, &first.pipeline, &first.run);
    run.attempt = first.attempt;
    run.inferred = true;
    run.started = steps.iter().map(|step| step.started).min();
    run.finished = steps.iter().filter_map(|step| step.event.finished).max();
    run.result = CiResult::worst(steps.iter().filter_map(|step| step.event.result));
    let text = |of: fn(&Event) -> &Option<String>| steps.iter().find_map(|step| of(&step.event).clone());
    run.branch = text(|event| &event.branch);
    run.commit = text(|event| &event.commit);
    run.repository = text(|event| &event.repository);
    run.url = text(|event| &event.url);
    Some(run)
}

fn count(event: &Event, received: Timestamp) -> Increment {
    let kind: Attributes = vec![(names::EVENT_KIND.into(), event.kind().as_str().into())];
    Increment {
        metric: names::EVENTS_RECEIVED.name,
        attributes: to_json(&kind),
        deployment: None,
        started: received,
        count: 1,
        sum: 1.0,
        bucket: None,
        exemplar: None,
    }
}

/// Of a run as a whole.
fn duration(
    event: &Event,
    seconds: f64,
    finished: Timestamp,
    result: CiResult,
    received: Timestamp,
) -> Option<Increment> {
    if event.kind() != EventKind::Pipeline {
        return None;
    }
    let attributes: Attributes = vec![
        (names::PIPELINE.into(), event.pipeline.clone().into()),
        // The conventions ask for it; the other states (pending, finalizing) are not told to us.
        (names::PIPELINE_STATE.into(), "executing".into()),
        (names::PIPELINE_RESULT.into(), result.as_str().into()),
    ];
    Some(Increment {
        metric: names::PIPELINE_DURATION.name,
        attributes: to_json(&attributes),
        deployment: None,
        // The series is published from now on, whenever the run was.
        started: received,
        count: 1,
        sum: seconds,
        bucket: u16::try_from(bucket_of(&BOUNDS_RUN_SECONDS, seconds)).ok(),
        exemplar: Some(Exemplar { value: seconds, at: finished, trace: event.trace(), span: event.span() }),
    })
}
