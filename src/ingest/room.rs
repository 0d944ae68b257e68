//! Whether anything can be taken in at all: what is accepted must be kept, and delivered one day.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::problem::Problem;
use crate::store::Store;

/// How long a look at the outbox holds.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What the last look at the outbox said.
#[derive(Default)]
pub(super) struct Room(Mutex<Option<(Instant, u64)>>);

impl Room {
    /// Refuses while the store cannot be written, or undelivered telemetry of events fills the outbox.
    pub async fn check(&self, store: &Store, bytes_max: u64) -> Result<(), Problem> {
        if let Some((since, _)) = store.health().trouble() {
            let words = format!("the store cannot be written since {since}; /readyz says why; send it again");
            return Err(Problem::Busy(words, 5));
        }
        let kept = match self.last() {
            Some(kept) => kept,
            None => {
                let kept = store.kept_bytes().await?;
                *self.0.lock().unwrap_or_else(|e| e.into_inner()) = Some((Instant::now(), kept));
                kept
            }
        };
        if kept >= bytes_max {
            let words = format!(
                "{kept} bytes of what events tell wait for the collector, and the limit is {bytes_max} \
                 (--outbox-max); mend the way to the collector, or raise it"
            );
            return Err(Problem::Busy(words, 30));
        }
        Ok(())
    }

    /// What was seen, while that holds; whoever finds it too old looks for all others too.
    fn last(&self) -> Option<u64> {
        let mut seen = self.0.lock().unwrap_or_else(|e| e.into_inner());
        let (at, kept) = seen.as_mut()?;
        if at.elapsed() >= LOOK_EVERY {
            *at = Instant::now();
            return None;
        }
        Some(*kept)
    }
}
