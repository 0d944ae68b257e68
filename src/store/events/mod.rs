//! Facts from CI: written once by identity, with the telemetry that tells of them.
//!
//! Whether an event is new, and what it comes to with what was told before, is decided inside the
//! transaction, so that of two who send the same one exactly one adds spans and counts; the other is
//! told that it was there.

mod merge;
mod read;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::db::{Connection, Value, insert_many};
use super::facts::key;
use super::{Entry, Increment};
use crate::clock::{Timestamp, nanos};
use crate::model::{Case, Event};

/// What an event adds to the series, and what it sends.
#[derive(Clone, Debug, Default)]
pub struct Telemetry {
    pub increments: Vec<Increment>,
    pub outbox: Vec<Entry>,
}

/// An event as it is known from now on, and what was told of it before.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// With what other events of the same identity said.
    pub event: &'a Event,
    /// When it began; `None` where nobody knows.
    pub began: Option<Timestamp>,
    /// Its end was counted and logged; only its span is to be told anew.
    pub counted: bool,
    /// Its duration was observed.
    pub timed: bool,
}

impl<'a> Known<'a> {
    /// Nothing but what it says itself.
    fn alone(event: &'a Event) -> Self {
        Known { event, began: event.started, counted: false, timed: false }
    }
}

/// Says what is to be told of an event.
type Tell = Arc<dyn Fn(&Known) -> Telemetry + Send + Sync>;

/// One event with all that becomes true with it.
#[derive(Clone)]
pub struct EventFacts {
    event: Event,
    received: Timestamp,
    /// What is told of it if nothing more is known: made by whoever hands it in, so that the writer
    /// seldom has to.
    telemetry: Telemetry,
    tell: Tell,
    key: i64,
    content: Vec<u8>,
    /// Without test cases.
    body: String,
}

impl fmt::Debug for EventFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventFacts").field("key", &self.key).field("body", &self.body).finish_non_exhaustive()
    }
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// It was not there, and now it is.
    New,
    /// It completes what was known: a beginning by its end, or an end by its beginning.
    Completed,
    /// It takes the place of what was inferred.
    Corrected,
    /// It was there; `differs` when what was there says something else.
    Duplicate { differs: bool },
    /// It cannot be: with what was told before, it would have ended before it began. What was there
    /// stays.
    Contradicts { began: Timestamp, ended: Timestamp },
}

impl Recorded {
    /// Whether the store says something else than before.
    pub fn is_news(self) -> bool {
        matches!(self, Recorded::New | Recorded::Completed | Recorded::Corrected)
    }
}

impl EventFacts {
    /// `tell` is called again inside the transaction when more is known there than the event says.
    pub fn new(
        event: Event,
        received: Timestamp,
        tell: impl Fn(&Known) -> Telemetry + Send + Sync + 'static,
    ) -> Result<Self, serde_json::Error> {
        let content = Sha256::digest(serde_json::to_vec(&event)?)[..16].to_vec();
        let body = body_of(&event)?;
        let telemetry = tell(&Known::alone(&event));
        let key = event_key(&event);
        Ok(EventFacts { event, received, telemetry, tell: Arc::new(tell), key, content, body })
    }
}

/// The event as it is kept: its cases have rows of their own.
fn body_of(event: &Event) -> Result<String, serde_json::Error> {
    match &event.tests {
        Some(tests) => {
            let mut slim = event.clone();
            let counts = tests.counts();
            slim.tests = slim.tests.map(|tests| crate::model::Tests {
                cases: Vec::new(),
                counts: Some(counts),
                ..tests
            });
            serde_json::to_string(&slim)
        }
        None => serde_json::to_string(event),
    }
}

/// The key of an event's row.
pub fn event_key(event: &Event) -> i64 {
    let [source, pipeline, run, step] = event.identity();
    key(&["event", source, pipeline, run, &event.attempt.to_string(), step])
}

fn case_key(suite: &str, case: &Case) -> i64 {
    key(&["case", suite, &case.class, &case.name])
}

/// What the events of a transaction came to.
#[derive(Default)]
pub(super) struct Taken<'a> {
    /// In the order they were given.
    pub recorded: Vec<Recorded>,
    /// What belongs into the transaction with them.
    telemetry: Vec<Cow<'a, Telemetry>>,
}

impl Taken<'_> {
    pub fn increments(&self) -> impl Iterator<Item = &Increment> {
        self.telemetry.iter().flat_map(|telemetry| &telemetry.increments)
    }

    pub fn outbox(&self) -> impl Iterator<Item = &Entry> {
        self.telemetry.iter().flat_map(|telemetry| &telemetry.outbox)
    }
}

pub(super) async fn write<'a>(
    connection: &mut Connection,
    events: impl Iterator<Item = &'a EventFacts> + Clone,
) -> Result<Taken<'a>, sqlx::Error> {
    let mut inserted = HashSet::new();
    for statement in insert_many(
        "INSERT INTO events (id, kind, source, pipeline, run, attempt, step, commit_id, digest, started_ns, \
         finished_ns, received_ns, results, content, body)",
        events.clone().map(values),
        "ON CONFLICT (id) DO NOTHING RETURNING id",
    ) {
        for row in statement.fetch(connection).await? {
            inserted.insert(row.integer(0)?);
        }
    }
    let mut taken = Taken::default();
    let mut with_results: BTreeMap<i64, &EventFacts> = BTreeMap::new();
    for facts in events {
        // The first of one identity within the statement is the one that was inserted.
        let (recorded, telemetry) = if inserted.remove(&facts.key) {
            (Recorded::New, merge::first_told(connection, facts).await?)
        } else {
            let (recorded, telemetry) = merge::told_again(connection, facts).await?;
            (recorded, Cow::Owned(telemetry))
        };
        if recorded.is_news() && facts.event.tests.is_some() {
            with_results.insert(facts.key, facts);
        }
        taken.telemetry.push(telemetry);
        taken.recorded.push(recorded);
    }
    write_results(connection, &with_results.into_values().collect::<Vec<_>>()).await?;
    Ok(taken)
}

fn values(facts: &EventFacts) -> Vec<Value> {
    let event = &facts.event;
    let started = event.started.or(event.finished).unwrap_or(facts.received);
    vec![
        facts.key.into(),
        event.kind().as_str().into(),
        event.source.as_str().into(),
        event.pipeline.as_str().into(),
        event.run.as_str().into(),
        i64::from(event.attempt).into(),
        event.step.as_deref().unwrap_or("").into(),
        event.commit.as_deref().unwrap_or("").into(),
        event.digest.as_deref().unwrap_or("").into(),
        started.0.into(),
        event.finished.map(|at| at.0).into(),
        facts.received.0.into(),
        event.tests.as_ref().map_or(0, |tests| tests.cases.len() as i64).into(),
        facts.content.clone().into(),
        facts.body.as_str().into(),
    ]
}

async fn write_results(connection: &mut Connection, new: &[&EventFacts]) -> Result<(), sqlx::Error> {
    let runs = || new.iter().filter_map(|facts| Some((facts.key, facts.event.tests.as_ref()?)));
    let mut cases: HashMap<i64, (&str, &Case)> = HashMap::new();
    for (_, tests) in runs() {
        for case in &tests.cases {
            cases.insert(case_key(&tests.suite, case), (&tests.suite, case));
        }
    }
    if cases.is_empty() {
        return Ok(());
    }
    let rows = cases.into_iter().map(|(id, (suite, case))| {
        vec![id.into(), suite.into(), case.class.as_str().into(), case.name.as_str().into()]
    });
    for statement in
        insert_many("INSERT INTO test_cases (id, suite, class, name)", rows, "ON CONFLICT (id) DO NOTHING")
    {
        statement.execute(connection).await?;
    }
    let rows = runs().flat_map(|(event, tests)| {
        tests.cases.iter().zip(0_i64..).map(move |(case, place)| {
            let duration =
                case.seconds.map(|s| nanos(std::time::Duration::try_from_secs_f64(s).unwrap_or_default()));
            vec![
                event.into(),
                place.into(),
                case_key(&tests.suite, case).into(),
                case.status.as_str().into(),
                case.mark.map(|mark| mark.as_str()).into(),
                duration.into(),
                case.message.clone().into(),
            ]
        })
    });
    for statement in insert_many(
        "INSERT INTO test_results (event_id, place, case_id, status, mark, duration_ns, message)",
        rows,
        "ON CONFLICT (event_id, place) DO NOTHING",
    ) {
        statement.execute(connection).await?;
    }
    Ok(())
}
