//! Reads from the store what [`History::of`] judges.

use super::{EVENTS_MAX, History, RESULTS_MAX, Reading, TESTS_WINDOW, VERSIONS_WINDOW, timed_runs};
use crate::clock::Timestamp;
use crate::model::EventKind;
use crate::store::{Store, StoreError};

/// How long something may be under way before it counts as forgotten.
const UNDER_WAY_WINDOW: std::time::Duration = std::time::Duration::from_secs(2 * 86_400);
/// What is under way, at most so many.
const UNDER_WAY_MAX: u32 = 50;

impl History {
    /// As it stands at `now`. It costs up to a second with a full store: ask again only when
    /// [`Store::events_changed`] says so.
    pub async fn read(store: &Store, now: Timestamp) -> Result<History, StoreError> {
        let ended = |mut rows: Vec<crate::model::EventRow>| {
            rows.retain(|row| row.event.finished.is_some());
            rows
        };
        let tests = ended(store.events(EventKind::Tests, now.minus(TESTS_WINDOW), EVENTS_MAX).await?);
        let keys: Vec<i64> = tests.iter().map(|row| row.key).collect();
        let versions = now.minus(VERSIONS_WINDOW);
        let reading = Reading {
            doubtful: store.doubtful_results(&keys, RESULTS_MAX).await?,
            timed: store.test_results(&timed_runs(&tests), RESULTS_MAX).await?,
            tests,
            deploys: ended(store.events(EventKind::Deploy, versions, EVENTS_MAX).await?),
            loads: ended(store.events(EventKind::Load, versions, EVENTS_MAX).await?),
            under_way: store.events_under_way(now.minus(UNDER_WAY_WINDOW), UNDER_WAY_MAX).await?,
        };
        Ok(History::of(reading))
    }
}
