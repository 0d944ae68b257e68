//! What is told of one thing in parts: a beginning and an end, a run and its steps, what was inferred
//! and what is true. In whichever order they come, the fact is the same.

use std::borrow::Cow;

use super::super::db::{Connection, query};
use super::{EventFacts, Known, Recorded, Telemetry, body_of};
use crate::clock::Timestamp;
use crate::model::{Event, EventKind};

/// What an event sends that was just inserted: a run that tells of its end only began with the first
/// of its steps, as far as these are known.
pub(super) async fn first_told<'a>(
    connection: &mut Connection,
    facts: &'a EventFacts,
) -> Result<Cow<'a, Telemetry>, sqlx::Error> {
    let event = &facts.event;
    if event.started.is_some() {
        return Ok(Cow::Borrowed(&facts.telemetry));
    }
    let Some(began) = first_step(connection, event).await? else {
        return Ok(Cow::Borrowed(&facts.telemetry));
    };
    query("UPDATE events SET started_ns = $1 WHERE id = $2")
        .bind(began.0)
        .bind(facts.key)
        .execute(connection)
        .await?;
    let known = Known { began: Some(began), ..Known::alone(event) };
    Ok(Cow::Owned((facts.tell)(&known)))
}

/// When the first step of a run began that has ended; `None` for what is no run, and where no beginning
/// is known.
async fn first_step(connection: &mut Connection, event: &Event) -> Result<Option<Timestamp>, sqlx::Error> {
    let (EventKind::Pipeline, Some(finished)) = (event.kind(), event.finished) else { return Ok(None) };
    // Where only the end of a step is known, its row has that for a beginning.
    let rows = query(
        "SELECT MIN(started_ns) FROM events WHERE source = $1 AND pipeline = $2 AND run = $3 AND attempt = $4 \
         AND step <> '' AND started_ns <= $5 AND body LIKE '%\"started\":%'",
    )
    .bind(event.source.as_str())
    .bind(event.pipeline.as_str())
    .bind(event.run.as_str())
    .bind(i64::from(event.attempt))
    .bind(finished.0)
    .fetch(connection)
    .await?;
    Ok(rows.first().map(|row| row.integer_or_null(0)).transpose()?.flatten().map(Timestamp))
}

/// How what is told goes together with what is known.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// It takes the place of what was inferred.
    Corrects,
    /// It is the end of what was under way.
    Ends,
    /// It is the beginning of what has ended.
    Begins,
}

impl Way {
    fn of(known: &Event, told: &Event) -> Option<Way> {
        match (known.finished, told.finished) {
            // Whatever is told goes before what is inferred.
            _ if told.inferred => None,
            _ if known.inferred => Some(Way::Corrects),
            (None, Some(_)) => Some(Way::Ends),
            (Some(_), None) => Some(Way::Begins),
            _ => None,
        }
    }

    /// Both as one.
    fn join(self, known: &Event, told: &Event) -> Event {
        let mut event = if self == Way::Begins { known.clone() } else { told.clone() };
        match self {
            Way::Corrects => {}
            Way::Ends => event.complete_from(known),
            Way::Begins => {
                event.complete_from(told);
                // The span that was sent has its place.
                event.traceparent = known.traceparent;
            }
        }
        event
    }
}

/// Something of this identity is known. It is completed by what is new: a beginning by its end, an end
/// that came first by its beginning; and what was inferred gives way to what is told.
pub(super) async fn told_again(
    connection: &mut Connection,
    facts: &EventFacts,
) -> Result<(Recorded, Telemetry), sqlx::Error> {
    let rows = query("SELECT started_ns, received_ns, results, content, body FROM events WHERE id = $1")
        .bind(facts.key)
        .fetch(connection)
        .await?;
    let Some(row) = rows.first() else { return Err(sqlx::Error::RowNotFound) };
    let row_began = Timestamp(row.integer(0)?);
    let (mut received, mut results, mut content) = (row.integer(1)?, row.integer(2)?, row.bytes(3)?);
    let told = &facts.event;
    let nothing = |recorded| Ok((recorded, Telemetry::default()));
    let duplicate = Recorded::Duplicate { differs: content != facts.content };
    // What a newer program wrote is left to it.
    let Ok(known) = serde_json::from_str::<Event>(&row.text(4)?) else { return nothing(duplicate) };
    let Some(way) = Way::of(&known, told) else { return nothing(duplicate) };
    let event = way.join(&known, told);
    if way == Way::Begins && event == known {
        return nothing(Recorded::Duplicate { differs: told.started != known.started });
    }
    if let (Some(began), Some(ended)) = (event.started, event.finished)
        && ended < began
    {
        return nothing(Recorded::Contradicts { began, ended });
    }

    let began = match way {
        Way::Begins if known.started.is_some() => Some(row_began),
        Way::Corrects | Way::Ends if told.started.is_some() => told.started,
        _ => event.started.into_iter().chain(first_step(connection, &event).await?).min(),
    };
    if way != Way::Begins {
        (received, content) = (facts.received.0, facts.content.clone());
        if let Some(tests) = &told.tests {
            if results > 0 {
                query("DELETE FROM test_results WHERE event_id = $1")
                    .bind(facts.key)
                    .execute(connection)
                    .await?;
            }
            results = i64::try_from(tests.cases.len()).unwrap_or(i64::MAX);
        }
    }
    query(
        "UPDATE events SET kind = $1, commit_id = $2, digest = $3, started_ns = $4, finished_ns = $5, \
         received_ns = $6, results = $7, content = $8, body = $9 WHERE id = $10",
    )
    .bind(event.kind().as_str())
    .bind(event.commit.as_deref().unwrap_or(""))
    .bind(event.digest.as_deref().unwrap_or(""))
    .bind(began.or(event.finished).unwrap_or(row_began).0)
    .bind(event.finished.map(|at| at.0))
    .bind(received)
    .bind(results)
    .bind(content)
    .bind(body_of(&event).map_err(|error| sqlx::Error::Decode(error.into()))?)
    .bind(facts.key)
    .execute(connection)
    .await?;
    let counted = way == Way::Begins;
    let timed = counted && (known.started.is_some() || Some(row_began) < known.finished);
    let telemetry = (facts.tell)(&Known { event: &event, began, counted, timed });
    Ok((if way == Way::Corrects { Recorded::Corrected } else { Recorded::Completed }, telemetry))
}
