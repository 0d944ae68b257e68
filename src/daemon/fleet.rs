//! The fleet in force: made anew from file, discovery and events whenever one of them changes.
//!
//! Events are read from the store each time, so they come to the same after a restart; sources of
//! discovery are asked anew. Rounds hear of the fleet only when it differs.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;

use super::Rounds;
use super::members::{Members, join};
use super::notices::{Notices, Subject};
use crate::clock::Timestamp;
use crate::config::Config;
use crate::discover::Discover;
use crate::history;
use crate::model::{Deployment, EventKind};
use crate::store::{Store, StoreError};

/// Deploy events that are looked at: what only older ones registered is forgotten.
const EVENTS_MAX: u32 = 5_000;
/// Between two looks at least: events may come by the hundred a second.
const GAP: Duration = Duration::from_secs(1);
/// How long the first fleet waits for the sources of discovery: what they tell would otherwise be
/// retired at each start.
const FIRST_LOOK: Duration = Duration::from_secs(5);

/// Cheap to clone.
#[derive(Clone)]
pub struct Fleet {
    store: Store,
    rounds: Rounds,
    discover: Discover,
    state: Arc<Mutex<State>>,
    notices: Notices,
    deployments: Arc<watch::Sender<Vec<Arc<Deployment>>>>,
}

#[derive(Default)]
struct State {
    /// As the files have it.
    config: Config,
    members: Members,
    /// Why the files as they are now are not in force.
    refused: Vec<String>,
}

impl Fleet {
    pub(super) fn new(store: Store, rounds: Rounds, discover: Discover, notices: Notices) -> Self {
        Fleet { store, rounds, discover, state: Arc::default(), notices, deployments: Arc::default() }
    }

    /// Who is probed, now.
    pub fn deployments(&self) -> watch::Receiver<Vec<Arc<Deployment>>> {
        self.deployments.subscribe()
    }

    /// Takes over what the files say.
    pub async fn set(&self, config: Config) -> Result<(), StoreError> {
        let mut state = self.state.lock().await;
        self.discover.set(&config.sources);
        self.discover.asked_once(FIRST_LOOK).await;
        let members = self.join(&config).await?;
        self.rounds.set(in_force(&config, &members)).await?;
        *state = State { config, members, refused: Vec::new() };
        self.tell(&state);
        Ok(())
    }

    /// The files were not taken over, for these reasons.
    pub async fn refuse(&self, reasons: Vec<String>) {
        let mut state = self.state.lock().await;
        state.refused = reasons;
        self.tell(&state);
    }

    /// Takes over what was discovered, and what events say.
    async fn refresh(&self) -> Result<(), StoreError> {
        let mut state = self.state.lock().await;
        let members = self.join(&state.config).await?;
        if members == state.members {
            return Ok(());
        }
        if members.deployments != state.members.deployments {
            self.rounds.set(in_force(&state.config, &members)).await?;
            log(&state.members.deployments, &members.deployments);
        }
        state.members = members;
        self.tell(&state);
        Ok(())
    }

    async fn join(&self, config: &Config) -> Result<Members, StoreError> {
        let deploys = self.store.events(EventKind::Deploy, Timestamp(i64::MIN), EVENTS_MAX).await?;
        let found = self.discover.found().borrow().clone();
        Ok(join(config, &found, &history::fleet(&deploys)))
    }

    fn tell(&self, state: &State) {
        let notices = state.refused.iter().chain(&state.members.notices).cloned().collect();
        self.notices.set(Subject::Configuration, notices);
        self.deployments.send_if_modified(|known| {
            let differs = *known != state.members.deployments;
            known.clone_from(&state.members.deployments);
            differs
        });
    }

    /// Until stopped.
    pub async fn run(self, stop: CancellationToken) {
        let mut events = self.store.events_changed();
        let mut found = self.discover.found();
        // Something may have come between the first look and this.
        events.mark_changed();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                changed = events.changed() => if changed.is_err() { return },
                changed = found.changed() => if changed.is_err() { return },
            }
            events.mark_unchanged();
            found.mark_unchanged();
            if let Err(error) = self.refresh().await {
                tracing::error!(%error, "failed to look for deployments; it is tried again");
                events.mark_changed();
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(GAP) => {}
            }
        }
    }
}

fn in_force(config: &Config, members: &Members) -> Config {
    Config { fleet: members.deployments.clone(), ..config.clone() }
}

fn log(before: &[Arc<Deployment>], after: &[Arc<Deployment>]) {
    let is_in = |all: &[Arc<Deployment>], one: &Deployment| all.iter().any(|d| d.key() == one.key());
    for joined in after.iter().filter(|d| !is_in(before, d)) {
        let Deployment { name, version, db, url, .. } = joined.as_ref();
        tracing::info!(deployment = name, %version, %db, %url, "a deployment joined the fleet");
    }
    for left in before.iter().filter(|d| !is_in(after, d)) {
        let Deployment { name, version, db, .. } = left.as_ref();
        tracing::info!(deployment = name, %version, %db, "a deployment left the fleet");
    }
}
