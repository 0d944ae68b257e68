//! What CI told over time, kept between readings: it may take up to a second to read, so it is read
//! again only when an event was taken in, and now and then because time alone changes it.
//!
//! It is read beside the rest of the page. Where an older one is known, the page waits for a newer
//! one only a moment, and shows it the next time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::clock::Timestamp;
use crate::history::History;
use crate::store::{Store, StoreError};

/// After this it is read again though nothing was taken in: windows move on.
const OLD: Duration = Duration::from_secs(600);
/// The next reading waits so many times as long as the last one took: events may come all the time.
const PAUSE_PER_COST: u32 = 10;
/// How long a page waits for a newer one.
const PATIENCE: Duration = Duration::from_millis(400);

pub struct Past {
    store: Store,
    changes: watch::Receiver<u64>,
    known: Option<Known>,
    reading: Option<JoinHandle<Result<Known, StoreError>>>,
}

struct Known {
    history: Arc<History>,
    /// How many changes there had been when it was begun to be read.
    changes: u64,
    at: Timestamp,
    cost: Duration,
}

impl Past {
    pub fn new(store: Store) -> Self {
        Past { changes: store.events_changed(), store, known: None, reading: None }
    }

    /// Waits until all that was told before this call is known.
    pub async fn catch_up(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let changes = *self.changes.borrow();
        loop {
            if self.known.as_ref().is_some_and(|known| known.changes >= changes) {
                return Ok(());
            }
            let reading =
                self.reading.get_or_insert_with(|| read(self.store.clone(), *self.changes.borrow(), now));
            let read = reading.await;
            self.reading = None;
            self.known = Some(read.map_err(|_| StoreError::Closed)??);
        }
    }

    /// Begins to read when that is due.
    pub fn renew(&mut self, now: Timestamp) {
        let changes = *self.changes.borrow();
        let due = self.known.as_ref().is_none_or(|known| {
            let age = now.since(known.at);
            // A clock that stepped back must not keep an old reading alive.
            let changed = known.changes != changes && age >= known.cost * PAUSE_PER_COST;
            changed || age >= OLD || now < known.at
        });
        if !due || self.reading.is_some() {
            return;
        }
        self.reading = Some(read(self.store.clone(), changes, now));
    }

    /// The newest that is known. The first time it waits, however long reading takes.
    pub async fn history(&mut self) -> Result<Arc<History>, StoreError> {
        if let Some(reading) = &mut self.reading {
            let read = match &self.known {
                Some(_) => tokio::time::timeout(PATIENCE, reading).await.ok(),
                None => Some(reading.await),
            };
            if let Some(read) = read {
                self.reading = None;
                self.known = Some(read.map_err(|_| StoreError::Closed)??);
            }
        }
        self.known.as_ref().map(|known| known.history.clone()).ok_or(StoreError::Closed)
    }
}

fn read(store: Store, changes: u64, now: Timestamp) -> JoinHandle<Result<Known, StoreError>> {
    tokio::spawn(async move {
        let started = Instant::now();
        let history = Arc::new(History::read(&store, now).await?);
        Ok(Known { history, changes, at: now, cost: started.elapsed() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::model::Event;
    use crate::store::{EventFacts, Location};

    #[tokio::test]
    async fn it_is_read_again_when_something_was_told_or_time_went_by() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::manual(Timestamp(1_787_493_978_000_000_000));
        let store = Store::open(&Location::File(dir.path().join("past.db")), &clock).await.unwrap();
        let mut past = Past::new(store.clone());
        let mut read = async |seconds: u64| {
            clock.advance(Duration::from_secs(seconds));
            past.renew(clock.now());
            past.history().await.unwrap()
        };
        let first = read(0).await;
        assert!(Arc::ptr_eq(&first, &read(60).await), "nothing was told");
        let mut event = Event::new("test", "cachet", "1");
        event.started = Some(clock.now());
        store
            .record(vec![EventFacts::new(event, clock.now(), |_| Default::default()).unwrap()])
            .await
            .unwrap();
        let second = read(60).await;
        assert_eq!((first.under_way.len(), second.under_way.len()), (0, 1));
        assert!(Arc::ptr_eq(&second, &read(599).await));
        assert!(!Arc::ptr_eq(&second, &read(1).await), "ten minutes went by");
    }
}
