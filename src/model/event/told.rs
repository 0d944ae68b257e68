//! Events as they are told again: read from the store.

use super::{CaseStatus, Event, Mark};
use crate::clock::Timestamp;

/// An event with what the store knows besides. Its test cases are [`ResultRow`]s.
#[derive(Clone, Debug, PartialEq)]
pub struct EventRow {
    pub key: i64,
    /// When it began: as was told, of a run also as its steps tell; where nobody did, when it ended.
    pub started: Timestamp,
    pub received: Timestamp,
    pub event: Event,
}

impl EventRow {
    /// How long it took; `None` while it is under way, or when its beginning is not known.
    pub fn seconds(&self) -> Option<f64> {
        let finished = self.event.finished?;
        // Nobody told, and nothing that belongs to it did.
        if self.event.started.is_none() && self.started >= finished {
            return None;
        }
        Some(finished.since(self.started).as_secs_f64())
    }
}

/// How one case of a test run went.
#[derive(Clone, Debug, PartialEq)]
pub struct ResultRow {
    /// The test run.
    pub event: i64,
    /// The case: the same from run to run.
    pub case: i64,
    pub class: String,
    pub name: String,
    pub status: CaseStatus,
    pub mark: Option<Mark>,
    pub seconds: Option<f64>,
    pub message: Option<String>,
}

impl ResultRow {
    /// Class and name, as people and runners write it.
    pub fn title(&self) -> String {
        if self.class.is_empty() { self.name.clone() } else { format!("{}::{}", self.class, self.name) }
    }
}
