//! Events into the store: one commit for all of a request, and the answer only after it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::App;
use super::answer::{Named, RefusedEvent, Taken};
use super::auth::Bearer;
use super::body::Weight;
use super::identity::Identity;
use super::parse::Judged;
use super::problem::Problem;
use crate::clock::Timestamp;
use crate::model::{Event, EventKind, Refusal, Scope, TraceParent};
use crate::publisher::facts_of_event;
use crate::store::{EventFacts, Recorded};

/// How long a request waits for its commit.
const COMMIT_WITHIN: Duration = Duration::from_secs(10);

/// Work that may take a while goes to a thread that may block.
pub(super) async fn apart<T: Send + 'static>(
    heavy: bool,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    if !heavy {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(broke_off)
}

/// The thread that read a request ended early: it panicked, whatever the request was.
pub(super) fn broke_off(error: tokio::task::JoinError) -> Problem {
    tracing::error!(%error, "the reading of a request ended early");
    Problem::Internal
}

/// Records what can be kept, and says what became of each. `weight` is held until the commit, even
/// when nobody waits for it any more.
pub(super) async fn take(
    app: &Arc<App>,
    judged: Vec<Judged>,
    bearer: &Bearer,
    weight: Weight,
    heavy: bool,
) -> Result<Taken, Problem> {
    let mut taken = Taken::default();
    let mut valid = Vec::new();
    let mut forbidden = None;
    for (index, judged) in judged {
        match judged {
            Ok(event) => match bearer.lacks(Scope::of(event.kind())) {
                None => valid.push((index, event)),
                Some(words) => {
                    let problems = vec![Refusal { field: String::new(), message: words.clone() }];
                    forbidden = Some(words);
                    taken.refused.push(RefusedEvent { index, identity: Identity::from(&event), problems });
                }
            },
            Err(refused) => taken.refused.push(*refused),
        }
    }
    match forbidden {
        Some(words) if valid.is_empty() => return Err(Problem::Forbidden(format!("this {words}"))),
        _ => {}
    }
    app.intake.refused.fetch_add(taken.refused.len() as u64, Ordering::Relaxed);
    if valid.is_empty() {
        return Ok(taken);
    }
    let named: Vec<Named> =
        valid.iter().map(|(index, event)| Named { index: *index, identity: Identity::from(event) }).collect();
    let known = look_up(app, valid.into_iter().map(|(_, event)| event).collect()).await?;
    let (received, resource) = (app.clock.now(), app.resource.clone());
    let facts: Vec<EventFacts> = apart(heavy, move || {
        known
            .into_iter()
            .map(|(event, links)| facts_of_event(event, received, &links, &resource))
            .collect::<Result<_, _>>()
    })
    .await?
    .map_err(|error| {
        tracing::error!(%error, "an event could not be written as JSON");
        Problem::Internal
    })?;
    for (named, recorded) in named.into_iter().zip(record(app, facts, weight).await?) {
        match recorded {
            Recorded::New | Recorded::Completed | Recorded::Corrected => taken.accepted += 1,
            Recorded::Duplicate { differs } => {
                taken.duplicates += 1;
                taken.differing.extend(differs.then_some(named));
            }
            Recorded::Contradicts { began, ended } => {
                app.intake.refused.fetch_add(1, Ordering::Relaxed);
                let Named { index, identity } = named;
                taken.refused.push(RefusedEvent {
                    index,
                    identity,
                    problems: vec![contradiction(began, ended)],
                });
            }
        }
    }
    app.intake.duplicates.fetch_add(taken.duplicates, Ordering::Relaxed);
    Ok(taken)
}

fn contradiction(began: Timestamp, ended: Timestamp) -> Refusal {
    let message = format!(
        "is {ended}, before its beginning, which is told to be {began}; set the clocks of the machines that \
         tell them, or tell both in one event"
    );
    Refusal { field: "finished".to_owned(), message }
}

/// What made the image that a deployment runs.
async fn look_up(app: &App, events: Vec<Event>) -> Result<Vec<(Event, Vec<TraceParent>)>, Problem> {
    let mut known = Vec::with_capacity(events.len());
    for event in events {
        let digest = event.digest.as_deref().filter(|_| event.kind() == EventKind::Deploy);
        let mut links = Vec::new();
        if let Some(digest) = digest
            && let Some(image) = app.store.event_of_image(digest).await?
            && image.event.trace() != event.trace()
        {
            links.push(image.event.as_parent());
        }
        known.push((event, links));
    }
    Ok(known)
}

/// Goes on when the client has gone, so that the commit is told of inside, and the memory is paid for
/// until then.
async fn record(app: &App, facts: Vec<EventFacts>, weight: Weight) -> Result<Vec<Recorded>, Problem> {
    let store = app.store.clone();
    let recording = tokio::spawn(async move {
        let recorded = store.record(facts).await;
        drop(weight);
        recorded
    });
    match tokio::time::timeout(COMMIT_WITHIN, recording).await {
        Ok(Ok(recorded)) => Ok(recorded?),
        Ok(Err(error)) => {
            tracing::error!(%error, "the recording of events ended early");
            Err(Problem::Busy("the events may not have been kept; send them again".into(), 1))
        }
        Err(_) => Err(Problem::Busy(
            format!(
                "the events were not on the disk within {} s; they may still get there, and sending them again \
                 is safe",
                COMMIT_WITHIN.as_secs()
            ),
            10,
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_fault_of_ours_is_not_the_senders() {
        let read =
            async |heavy, work: fn() -> u8| apart(heavy, work).await.map_err(|problem| problem.status());
        assert_eq!(read(true, || 1).await, Ok(1));
        assert_eq!(read(true, || panic!("a fault")).await.map_err(|status| status.as_u16()), Err(500));
    }
}
