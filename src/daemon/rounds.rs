//! The loop that runs rounds when they are due, and hands what they saw to the store.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::{Clock, Timestamp};
use crate::config::Config;
use crate::http::Client;
use crate::model::{Deployment, Round, RoundId, Suite};
use crate::otlp::Resource;
use crate::probe::{Prober, Tick, Timetable};
use crate::publisher::{facts_of, facts_of_tick};
use crate::store::{Change, DeploymentRow, Store, StoreError};

/// The clock may be set forward: look at it this often at least.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Cheap to clone.
#[derive(Clone)]
pub struct Rounds {
    store: Store,
    prober: Prober,
    clock: Clock,
    resource: Resource,
    state: Arc<Mutex<State>>,
    under_way: TaskTracker,
    changed: Arc<Notify>,
}

#[derive(Default)]
struct State {
    timetable: Timetable,
    fleet: Arc<[Arc<Deployment>]>,
    /// Whether suites and fleet were ever set.
    set: bool,
}

/// Says that a round has ended, however it did: a suite must not be thought to run for ever because
/// of one answer that some parser choked on.
struct UnderWay<'a>(&'a Rounds, &'a str);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.state().timetable.ended(self.1);
    }
}

impl Rounds {
    pub fn new(store: Store, client: Client, clock: Clock, resource: Resource) -> Self {
        let prober = Prober::new(client, clock.clone());
        Rounds {
            store,
            prober,
            clock,
            resource,
            state: Arc::default(),
            under_way: TaskTracker::new(),
            changed: Arc::default(),
        }
    }

    /// Takes over suites and fleet; rounds that are under way end as they began.
    pub async fn set(&self, config: Config) -> Result<(), StoreError> {
        let now = self.clock.now();
        let deployments = config.fleet.iter().map(|d| DeploymentRow::from(d.as_ref())).collect();
        self.store.change(Change::Fleet { deployments, at: now }).await?;
        // Rounds were missed while no daemon ran, not while a suite had nothing to do here.
        let mut last = std::collections::HashMap::new();
        let first = !self.state().set;
        for suite in config.suites.iter().filter(|_| first) {
            if let Some(scheduled) = self.store.last_round(&suite.name).await? {
                last.insert(suite.name.clone(), scheduled);
            }
        }
        let spoken_to = |suite: &&Suite| {
            config.fleet.iter().any(|deployment| {
                let variant = suite.variant_for(&deployment.version);
                variant.is_some_and(|variant| variant.requests_for(deployment).next().is_some())
            })
        };
        let suites: Vec<Suite> = config.suites.iter().filter(spoken_to).cloned().collect();
        let mut state = self.state();
        state.timetable.set(&suites, self.store.id(), now, |suite| last.get(suite).copied());
        state.fleet = config.fleet.into();
        state.set = true;
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Starts what is due; returns when to look again.
    pub fn tick(&self, now: Timestamp) -> Option<Timestamp> {
        let mut state = self.state();
        for tick in state.timetable.due(now) {
            if tick.missed > 0 {
                tracing::warn!(suite = tick.suite, missed = tick.missed, "scheduled rounds were missed");
            }
            if self.store.submit(facts_of_tick(&tick)).is_err() {
                tracing::error!(suite = tick.suite, "the store's queue is full; a tick went uncounted");
            }
            if tick.overlaps {
                tracing::warn!(suite = tick.suite, "the round before has not ended; this one is skipped");
                continue;
            }
            if let Some(suite) = state.timetable.suite(&tick.suite).cloned() {
                self.under_way.spawn(self.clone().round(suite, state.fleet.clone(), tick));
            }
        }
        state.timetable.next_wake()
    }

    #[tracing::instrument(name = "round", skip_all, fields(suite = suite.name, scheduled = %tick.scheduled))]
    async fn round(self, suite: Suite, fleet: Arc<[Arc<Deployment>]>, tick: Tick) {
        let _under_way = UnderWay(&self, &suite.name);
        let round = Arc::new(Round {
            id: RoundId::new(self.store.id(), &suite.name, tick.scheduled),
            suite: suite.name.clone(),
            scheduled: tick.scheduled,
            started: self.clock.now(),
        });
        let runs = self.prober.round(&round, &suite, &fleet, Some(tick.period), &|_, _| {}).await;
        for run in runs {
            let deployment = run.deployment.name.clone();
            // Probing never waits for the store: what its queue cannot take is dropped, and counted.
            if let Err(error) = self.store.submit(facts_of(run, &self.resource, true)) {
                tracing::error!(%error, suite = suite.name, deployment, "a run is lost");
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until stopped.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            let now = self.clock.now();
            let next = self.tick(now);
            let wait = next.map_or(LOOK_EVERY, |next| next.since(self.clock.now()).min(LOOK_EVERY));
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.changed.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Whether no round is under way.
    pub fn is_idle(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Rounds that are under way skip what they have not asked yet.
    pub fn cut_short(&self) {
        self.prober.stop();
    }

    /// Rounds that are under way will not be kept; they count as missed.
    pub fn give_up(&self) {
        let now = self.clock.now();
        for suite in self.state().timetable.running() {
            tracing::warn!(suite, "a request was still under way at the stop; the round is given up");
            let tick = Tick {
                suite: suite.to_owned(),
                scheduled: now,
                period: Duration::ZERO,
                overlaps: false,
                late: false,
                missed: 1,
            };
            if self.store.submit(facts_of_tick(&tick)).is_err() {
                tracing::error!(suite, "the store's queue is full; a missed round went uncounted");
            }
        }
    }

    /// Returns when no round is under way any more; none may be started after.
    pub async fn ended(&self) {
        self.under_way.close();
        self.under_way.wait().await;
    }
}
