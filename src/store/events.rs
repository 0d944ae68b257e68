//! Facts from CI: written once by identity, with the telemetry that tells of them.
//!
//! Whether an event is new is decided inside the transaction, so that of two who send the same one
//! exactly one adds spans and counts; the other is told that it was there.

use std::collections::{HashMap, HashSet};

use sha2::{Digest, Sha256};

use super::db::{Connection, Row, Value, for_keys, insert_many, query};
use super::facts::key;
use super::{Entry, Increment, Store, StoreError};
use crate::clock::{Timestamp, nanos};
use crate::model::{Case, CaseStatus, Event, EventKind, EventRow, Mark, ResultRow};

/// One event with all that becomes true with it.
#[derive(Clone, Debug)]
pub struct EventFacts {
    event: Event,
    received: Timestamp,
    increments: Vec<Increment>,
    outbox: Vec<Entry>,
    key: i64,
    content: Vec<u8>,
    /// Without test cases.
    body: String,
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// It was not there, and now it is.
    New,
    /// It completes what was known to be under way.
    Completed,
    /// It takes the place of what was inferred, whose span was sent: the fact is right from now on.
    Corrected,
    /// It was there; `differs` when what was there says something else.
    Duplicate { differs: bool },
}

impl EventFacts {
    pub fn new(
        event: Event,
        received: Timestamp,
        increments: Vec<Increment>,
        outbox: Vec<Entry>,
    ) -> Result<Self, serde_json::Error> {
        let content = Sha256::digest(serde_json::to_vec(&event)?)[..16].to_vec();
        let body = body_of(&event)?;
        Ok(EventFacts { key: event_key(&event), event, received, increments, outbox, content, body })
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
    /// Those whose increments and telemetry belong into the transaction.
    pub new: Vec<&'a EventFacts>,
}

impl<'a> Taken<'a> {
    pub fn increments(&self) -> impl Iterator<Item = &'a Increment> {
        self.new.iter().flat_map(|facts| &facts.increments)
    }

    pub fn outbox(&self) -> impl Iterator<Item = &'a Entry> {
        self.new.iter().flat_map(|facts| &facts.outbox)
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
    for facts in events {
        // The first of one identity within the statement is the one that was inserted.
        let recorded =
            if inserted.remove(&facts.key) { Recorded::New } else { merge(connection, facts).await? };
        if recorded == Recorded::New || (recorded == Recorded::Completed && facts.event.finished.is_some()) {
            taken.new.push(facts);
        }
        taken.recorded.push(recorded);
    }
    write_results(connection, &taken.new).await?;
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

/// What is known of this identity is completed by what is new: a beginning by its end, and an end
/// that came first by its beginning.
async fn merge(connection: &mut Connection, facts: &EventFacts) -> Result<Recorded, sqlx::Error> {
    let rows = query("SELECT finished_ns, content, body FROM events WHERE id = $1")
        .bind(facts.key)
        .fetch(connection)
        .await?;
    let Some(row) = rows.first() else { return Err(sqlx::Error::RowNotFound) };
    let known_finish = row.integer_or_null(0)?;
    let same = row.bytes(1)? == facts.content;
    let known: Option<Event> = serde_json::from_str(&row.text(2)?).ok();
    let inferred = known.as_ref().is_some_and(|known| known.inferred) && !facts.event.inferred;
    if (known_finish.is_none() || inferred) && facts.event.finished.is_some() {
        let [id, kind, _, _, _, _, _, commit, digest, started, finished, received, results, content, body] =
            <[Value; 15]>::try_from(values(facts)).map_err(|_| sqlx::Error::RowNotFound)?;
        // Its beginning may be known from before only.
        let started = if facts.event.started.is_some() { started } else { Value::Integer(None) };
        query(
            "UPDATE events SET kind = $1, commit_id = $2, digest = $3, started_ns = COALESCE($4, started_ns), \
             finished_ns = $5, received_ns = $6, results = $7, content = $8, body = $9 WHERE id = $10",
        )
        .bind(kind)
        .bind(commit)
        .bind(digest)
        .bind(started)
        .bind(finished)
        .bind(received)
        .bind(results)
        .bind(content)
        .bind(body)
        .bind(id)
        .execute(connection)
        .await?;
        return Ok(if inferred { Recorded::Corrected } else { Recorded::Completed });
    }
    if let (Some(_), Some(started), Some(mut known)) = (known_finish, facts.event.started, known)
        && facts.event.finished.is_none()
    {
        if known.started.is_some() {
            return Ok(Recorded::Duplicate { differs: known.started != Some(started) });
        }
        known.started = Some(started);
        let body = body_of(&known).map_err(|error| sqlx::Error::Decode(error.into()))?;
        query("UPDATE events SET started_ns = $1, body = $2 WHERE id = $3")
            .bind(started.0)
            .bind(body)
            .bind(facts.key)
            .execute(connection)
            .await?;
        return Ok(Recorded::Completed);
    }
    Ok(Recorded::Duplicate { differs: !same })
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

const EVENT_COLUMNS: &str = "id, started_ns, received_ns, body";

/// `None` for what a newer program wrote.
fn event(row: &Row) -> Result<Option<EventRow>, sqlx::Error> {
    let Ok(event) = serde_json::from_str::<Event>(&row.text(3)?) else { return Ok(None) };
    Ok(Some(EventRow {
        key: row.integer(0)?,
        started: Timestamp(row.integer(1)?),
        received: Timestamp(row.integer(2)?),
        event,
    }))
}

const RESULT_COLUMNS: &str =
    "r.event_id, r.case_id, c.class, c.name, r.status, r.mark, r.duration_ns, r.message";

fn result(row: &Row) -> Result<Option<ResultRow>, sqlx::Error> {
    let Some(status) = CaseStatus::from_text(&row.text(4)?) else { return Ok(None) };
    Ok(Some(ResultRow {
        event: row.integer(0)?,
        case: row.integer(1)?,
        class: row.text(2)?,
        name: row.text(3)?,
        status,
        mark: row.text_or_null(5)?.and_then(|mark| Mark::from_text(&mark)),
        seconds: row.integer_or_null(6)?.map(|ns| ns as f64 / 1e9),
        message: row.text_or_null(7)?,
    }))
}

impl Store {
    /// Returns when the events are durable, and what became of each. Refuses at once when the
    /// writer's queue is full.
    pub async fn record(&self, events: Vec<EventFacts>) -> Result<Vec<Recorded>, StoreError> {
        let recorded = self.hand_in(events)?.await.map_err(|_| StoreError::Closed)??;
        if recorded.iter().any(|recorded| !matches!(recorded, Recorded::Duplicate { .. })) {
            self.events_changed.send_modify(|changes| *changes += 1);
        }
        Ok(recorded)
    }

    /// Changes whenever an event was taken in.
    pub fn events_changed(&self) -> tokio::sync::watch::Receiver<u64> {
        self.events_changed.subscribe()
    }

    /// When the event of this identity began, if that was told before.
    pub async fn began(&self, event: &Event) -> Result<Option<Timestamp>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let rows = query("SELECT started_ns FROM events WHERE id = $1 AND finished_ns IS NULL")
            .bind(event_key(event))
            .fetch(&mut connection)
            .await?;
        Ok(rows.first().map(|row| row.integer(0)).transpose()?.map(Timestamp))
    }

    /// Events of a kind that started at or after `since`, newest first, at most `limit`.
    pub async fn events(
        &self,
        kind: EventKind,
        since: Timestamp,
        limit: u32,
    ) -> Result<Vec<EventRow>, StoreError> {
        let sql = format!(
            "SELECT {EVENT_COLUMNS} FROM events WHERE kind = $1 AND started_ns >= $2 \
             ORDER BY started_ns DESC, id LIMIT $3"
        );
        let values = vec![kind.as_str().into(), since.0.into(), limit.into()];
        self.events_where(sql, values).await
    }

    /// Events that told of a beginning and never of an end, newest first, at most `limit`.
    pub async fn events_under_way(&self, since: Timestamp, limit: u32) -> Result<Vec<EventRow>, StoreError> {
        let sql = format!(
            "SELECT {EVENT_COLUMNS} FROM events WHERE finished_ns IS NULL AND started_ns >= $1 \
             ORDER BY started_ns DESC, id LIMIT $2"
        );
        self.events_where(sql, vec![since.0.into(), limit.into()]).await
    }

    /// The newest event of another kind than deployment that made this image.
    pub async fn event_of_image(&self, digest: &str) -> Result<Option<EventRow>, StoreError> {
        let sql = format!(
            "SELECT {EVENT_COLUMNS} FROM events WHERE digest = $1 AND digest <> '' \
             AND kind IN ('step', 'pipeline') AND finished_ns IS NOT NULL ORDER BY started_ns DESC LIMIT 1"
        );
        Ok(self.events_where(sql, vec![digest.into()]).await?.into_iter().next())
    }

    /// The runs of a pipeline that are known as a whole: run and attempt.
    pub async fn known_runs(&self, source: &str, pipeline: &str) -> Result<Vec<(String, u32)>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let mut runs = Vec::new();
        query(
            "SELECT run, attempt FROM events WHERE source = $1 AND pipeline = $2 AND kind = 'pipeline' \
             AND finished_ns IS NOT NULL AND body NOT LIKE '%\"inferred\":true%' ORDER BY started_ns",
        )
        .bind(source)
        .bind(pipeline)
        .fetch_each(&mut connection, |row| {
            runs.push((row.text(0)?, u32::try_from(row.integer(1)?).unwrap_or(u32::MAX)));
            Ok(())
        })
        .await?;
        Ok(runs)
    }

    /// Steps of runs of which nobody told as a whole, that have no trace from elsewhere, and of which
    /// nothing was heard since `quiet`: of at most `limit` such runs, none older than `since`.
    pub async fn headless_runs(
        &self,
        since: Timestamp,
        quiet: Timestamp,
        limit: u32,
    ) -> Result<Vec<Vec<EventRow>>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let rows = query(
            "SELECT source, pipeline, run, attempt FROM events WHERE received_ns >= $1 \
             GROUP BY source, pipeline, run, attempt \
             HAVING MAX(received_ns) < $2 AND COUNT(finished_ns) = COUNT(*) \
             AND SUM(CASE WHEN kind = 'pipeline' OR body LIKE '%\"traceparent\":%' THEN 1 ELSE 0 END) = 0 \
             LIMIT $3",
        )
        .bind(since.0)
        .bind(quiet.0)
        .bind(limit)
        .fetch(&mut connection)
        .await?;
        // One reader never holds two connections: enough of them would wait for each other.
        drop(connection);
        let mut runs = Vec::with_capacity(rows.len());
        for row in rows {
            let sql = format!(
                "SELECT {EVENT_COLUMNS} FROM events WHERE source = $1 AND pipeline = $2 AND run = $3 \
                 AND attempt = $4 ORDER BY started_ns, id LIMIT 1000"
            );
            let values =
                vec![row.text(0)?.into(), row.text(1)?.into(), row.text(2)?.into(), row.integer(3)?.into()];
            runs.push(self.events_where(sql, values).await?);
        }
        Ok(runs)
    }

    async fn events_where(&self, sql: String, values: Vec<Value>) -> Result<Vec<EventRow>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let mut events = Vec::new();
        let statement = values.into_iter().fold(super::db::Statement::from_text(sql), |s, v| s.bind(v));
        statement
            .fetch_each(&mut connection, |row| {
                events.extend(event(&row)?);
                Ok(())
            })
            .await?;
        Ok(events)
    }

    /// How the cases of these test runs went, in the order they ran; at most `limit` in all.
    pub async fn test_results(&self, events: &[i64], limit: usize) -> Result<Vec<ResultRow>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let mut results = Vec::new();
        let sql = format!(
            "SELECT {RESULT_COLUMNS} FROM test_results r JOIN test_cases c ON c.id = r.case_id \
             WHERE r.event_id = $1 ORDER BY r.place LIMIT $2"
        );
        for id in events {
            let left = i64::try_from(limit.saturating_sub(results.len())).unwrap_or(i64::MAX);
            let statement = super::db::Statement::from_text(sql.clone()).bind(*id).bind(left);
            statement
                .fetch_each(&mut connection, |row| {
                    results.extend(result(&row)?);
                    Ok(())
                })
                .await?;
        }
        Ok(results)
    }

    /// All results, within these test runs, of cases that failed (or passed after a rerun) in any of
    /// them; at most `limit`. Only these can be flaky.
    pub async fn doubtful_results(&self, events: &[i64], limit: usize) -> Result<Vec<ResultRow>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let mut cases = HashSet::new();
        let bad = "SELECT DISTINCT case_id FROM test_results \
                   WHERE (status IN ('fail', 'error') OR mark = 'rerun') AND event_id";
        for statement in for_keys(bad, &[], events) {
            for row in statement.fetch(&mut connection).await? {
                cases.insert(row.integer(0)?);
            }
        }
        let wanted: HashSet<i64> = events.iter().copied().collect();
        let mut cases: Vec<i64> = cases.into_iter().collect();
        cases.sort_unstable();
        let mut results = Vec::new();
        let all = "SELECT r.event_id, r.case_id, c.class, c.name, r.status, r.mark, r.duration_ns, NULL \
                   FROM test_results r JOIN test_cases c ON c.id = r.case_id WHERE r.case_id";
        for statement in for_keys(all, &[], &cases) {
            if results.len() >= limit {
                break;
            }
            statement
                .fetch_each(&mut connection, |row| {
                    results.extend(result(&row)?.filter(|result| wanted.contains(&result.event)));
                    Ok(())
                })
                .await?;
        }
        results.truncate(limit);
        Ok(results)
    }

    /// Bytes of undelivered telemetry that the outbox's limit never takes.
    pub async fn kept_bytes(&self) -> Result<u64, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let rows = query("SELECT CAST(COALESCE(SUM(bytes), 0) AS BIGINT) FROM outbox WHERE kept = 1")
            .fetch(&mut connection)
            .await?;
        Ok(rows.first().map_or(Ok(0), |row| row.integer(0)).map(|n| u64::try_from(n).unwrap_or(0))?)
    }
}
