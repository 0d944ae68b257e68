//! What a one-shot saw: committed to the spool, then delivered as far as the collector lets it.
//!
//! Commits come first, so whatever happens to the delivery, nothing is lost. The spool is held only
//! for that long, and one-shots wait for each other.

use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context;
use futures_util::future::try_join_all;

use super::output::Delivery;
use super::{Global, open_shared};
use crate::clock::Clock;
use crate::config::Env;
use crate::exporter::{Exporter, Settings, Transport};
use crate::model::Run;
use crate::otlp::Resource;
use crate::publisher::facts_of;
use crate::store::{Change, Location, Retention, Store, StoreError};

/// How long to wait for another one-shot that is delivering.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the disk may take. A store goes on trying for ever when it is full; a pipeline must not.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(20);
/// Telemetry that waits at most; beyond it the oldest goes, with a warning.
const BYTES_MAX: u64 = 256 << 20;

/// Where one-shots keep what is not delivered yet.
pub(super) fn location(global: &Global, env: &Env) -> anyhow::Result<Location> {
    Ok(Location::File(global.state_dir(env)?.join("probe.db")))
}

pub(super) struct Spool {
    pub location: Location,
    pub settings: Settings,
    pub resource: Resource,
    pub clock: Clock,
    /// How long to try to deliver.
    pub timeout: Duration,
}

/// Runs of many rounds: committed now and then, so that neither memory nor the time that the spool is held
/// grows with them, and delivered at the end.
pub(super) struct Gathering {
    spool: Spool,
    waiting: Vec<Run>,
    /// Tried to commit when so many wait.
    commit_at: usize,
    dropped: usize,
}

/// Runs that are committed together.
const BATCH: usize = 256;
/// Runs that wait at most while the spool cannot be used.
const WAITING_MAX: usize = 4_096;
/// How long rounds may be held up by another one-shot that is delivering.
const BATCH_PATIENCE: Duration = Duration::from_secs(1);

impl Gathering {
    pub fn new(spool: Spool) -> Self {
        Gathering { spool, waiting: Vec::new(), commit_at: BATCH, dropped: 0 }
    }

    pub async fn take(&mut self, runs: Vec<Run>) {
        self.waiting.extend(runs);
        if self.waiting.len() < self.commit_at {
            return;
        }
        match self.spool.keep(&self.waiting, &self.spool.location, BATCH_PATIENCE).await {
            Ok(store) => {
                store.close().await;
                self.waiting.clear();
                self.commit_at = BATCH;
            }
            // They are held until the next try, and delivered past it if need be.
            Err(error) => {
                tracing::debug!("the spool cannot be used now: {error:#}");
                let over = self.waiting.len().saturating_sub(WAITING_MAX);
                self.waiting.drain(..over);
                self.dropped += over;
                self.commit_at = (self.waiting.len() + BATCH).min(WAITING_MAX + BATCH);
            }
        }
    }

    pub async fn deliver(self) -> Delivery {
        let delivery = self.spool.take(&self.waiting).await;
        match self.dropped {
            0 => delivery,
            dropped => Delivery::Lost {
                reason: format!(
                    "{dropped} runs, since the spool could not be used; of the others {delivery}"
                ),
            },
        }
    }
}

impl Spool {
    /// Where the spool cannot be used, a throw-away one carries the telemetry to the collector.
    pub async fn take(self, runs: &[Run]) -> Delivery {
        let unkept = match self.keep(runs, &self.location, PATIENCE).await {
            Ok(store) => return self.deliver(store).await.unwrap_or_else(lost),
            Err(error) => error,
        };
        let passed = async {
            let folder = tempfile::tempdir()?;
            let store = self.keep(runs, &Location::File(folder.path().join("probe.db")), PATIENCE).await?;
            self.deliver(store).await
        };
        match passed.await {
            Ok(delivered @ Delivery::Delivered { .. }) => {
                tracing::warn!("the spool cannot be used, so this was delivered past it: {unkept:#}");
                delivered
            }
            Ok(Delivery::Spooled { reason, .. }) => {
                Delivery::Lost { reason: format!("{unkept:#}; {reason}") }
            }
            Ok(lost) => lost,
            Err(_) => lost(unkept),
        }
    }

    async fn keep(&self, runs: &[Run], location: &Location, patience: Duration) -> anyhow::Result<Store> {
        let store = open_shared(location, &self.clock, patience).await?;
        let commits = runs.iter().map(|run| store.commit(facts_of(run.clone(), &self.resource, false)));
        match tokio::time::timeout(COMMIT_TIMEOUT, try_join_all(commits)).await {
            Ok(Ok(_)) => Ok(store),
            Ok(Err(error)) => {
                store.close().await;
                Err(error.into())
            }
            Err(_) => {
                let trouble =
                    store.health().trouble().map_or_else(String::new, |(_, words)| format!(": {words}"));
                anyhow::bail!("{location} could not be written within {COMMIT_TIMEOUT:?}{trouble}")
            }
        }
    }

    /// Everything that waits, also from earlier calls.
    async fn deliver(&self, store: Store) -> anyhow::Result<Delivery> {
        let transport = Transport::new(self.settings.clone(), self.clock.clone())?;
        let exporter = Exporter::new(store.clone(), transport, self.clock.clone());
        // At the deadline what is under way is given up; it stays in the spool.
        let delivery = match tokio::time::timeout(self.timeout, exporter.drain()).await {
            Ok(true) => {
                let counters = exporter.counters();
                Delivery::Delivered {
                    items: counters.sent.load(Ordering::Relaxed),
                    refused: counters.refused.load(Ordering::Relaxed)
                        + counters.rejected.load(Ordering::Relaxed),
                    place: exporter.place().to_owned(),
                }
            }
            _ => spooled(&store).await?,
        };
        if let Err(error) = self.tidy(&store).await {
            tracing::warn!(%error, "failed to tidy the spool");
        }
        store.close().await;
        Ok(delivery)
    }

    async fn tidy(&self, store: &Store) -> Result<(), StoreError> {
        let dropped = store.change(Change::Limit { bytes_max: BYTES_MAX }).await?;
        if dropped > 0 {
            tracing::warn!(items = dropped, "the spool is at its limit; the oldest telemetry was dropped");
        }
        let now = self.clock.now();
        store.change(Change::Retain { retention: Retention::default(), now }).await.map(drop)
    }
}

async fn spooled(store: &Store) -> anyhow::Result<Delivery> {
    let status = store.outbox_status().await.context("the spool")?;
    let items = status.iter().map(|lane| lane.items).sum();
    let reason = status
        .into_iter()
        .find_map(|lane| lane.trouble)
        .map_or_else(|| "it did not finish in time".to_owned(), |(_, reason)| reason);
    Ok(Delivery::Spooled { items, file: store.location().to_string(), reason })
}

fn lost(error: anyhow::Error) -> Delivery {
    Delivery::Lost { reason: format!("{error:#}") }
}
