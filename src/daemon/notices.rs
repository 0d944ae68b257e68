//! What a person should know, from several sides, as one list for the page.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

/// What a notice is about; in the order they are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    Configuration,
    Tokens,
}

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct Notices {
    lines: Arc<Mutex<BTreeMap<Subject, Vec<String>>>>,
    shown: watch::Sender<Vec<String>>,
}

impl Notices {
    /// With what sees them.
    pub fn new() -> (Self, watch::Receiver<Vec<String>>) {
        let (shown, seen) = watch::channel(Vec::new());
        (Notices { lines: Arc::default(), shown }, seen)
    }

    /// What is to be said of a subject from now on.
    pub fn set(&self, subject: Subject, lines: Vec<String>) {
        let mut all = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(subject, lines);
        self.shown.send_replace(all.values().flatten().cloned().collect());
    }
}
