//! The loop that runs rounds when they are due, and others for verdicts that wait; it hands what they saw
//! to the store, and then to the judge.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::extra::{Extra, Turn, Wanted, sharing};
use super::judging::Judging;
use crate::clock::{Clock, Timestamp};
use crate::compare::Seen;
use crate::config::Config;
use crate::http::Client;
use crate::model::{Deployment, Round, RoundId, Suite};
use crate::otlp::Resource;
use crate::probe::{Prober, Tick, Timetable, interval};
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
    judging: Judging,
    wanted: watch::Receiver<Wanted>,
    suites: watch::Sender<Arc<[Suite]>>,
    state: Arc<Mutex<State>>,
    under_way: TaskTracker,
    changed: Arc<Notify>,
}

#[derive(Default)]
struct State {
    timetable: Timetable,
    fleet: Arc<[Arc<Deployment>]>,
    /// By suite.
    extra: HashMap<String, Extra>,
    /// Whether suites and fleet were ever set.
    set: bool,
}

/// Says that a round has ended, however it did: a suite must not be thought to run for ever because
/// of one answer that some parser choked on.
struct UnderWay<'a> {
    rounds: &'a Rounds,
    round: &'a Round,
    began: Instant,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut state = self.rounds.state();
        let suite = &self.round.suite;
        let extra = state.extra.entry(suite.clone()).or_default();
        extra.took(self.began.elapsed());
        if self.round.extra {
            extra.running = false;
        } else {
            state.timetable.ended(suite);
        }
        drop(state);
        // An extra round may have waited for this.
        self.rounds.changed.notify_one();
    }
}

impl Rounds {
    pub fn new(store: Store, client: Client, clock: Clock, resource: Resource) -> Self {
        let judging = Judging::start(store.clone(), clock.clone(), resource.clone());
        let wanted = judging.wanted();
        let prober = Prober::new(client, clock.clone());
        Rounds {
            store,
            prober,
            clock,
            resource,
            judging,
            wanted,
            suites: watch::Sender::new(Arc::default()),
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
        let mut last = HashMap::new();
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
        self.suites.send_replace(config.suites.into());
        let fleet: Arc<[Arc<Deployment>]> = config.fleet.into();
        {
            let mut state = self.state();
            state.timetable.set(&suites, self.store.id(), now, |suite| last.get(suite).copied());
            state.fleet = fleet.clone();
            state.set = true;
        }
        self.changed.notify_one();
        self.judging.set(suites, fleet).await;
        Ok(())
    }

    /// All suites that are configured.
    pub fn suites(&self) -> watch::Receiver<Arc<[Suite]>> {
        self.suites.subscribe()
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
                let round = self.round_of(&suite, tick.scheduled, false);
                let under_way = self.clone().round(suite, state.fleet.clone(), round, tick.period);
                self.under_way.spawn(under_way);
            }
        }
        let extra = self.extra(&mut state, now);
        state.timetable.next_wake().into_iter().chain(extra).min()
    }

    /// Starts the rounds that verdicts wait for, as far as budgets and schedules allow; returns when to
    /// look again.
    fn extra(&self, state: &mut State, now: Timestamp) -> Option<Timestamp> {
        let mut next: Option<Timestamp> = None;
        let all = self.wanted.borrow();
        for (name, wanted) in all.iter() {
            let Some(suite) = state.timetable.suite(name).cloned() else { continue };
            let writes = suite.variants.iter().any(|variant| variant.requests.iter().any(|r| r.writes));
            if writes || state.timetable.is_running(name) {
                continue;
            }
            let fleet: Arc<[Arc<Deployment>]> =
                state.fleet.iter().filter(|d| wanted.contains_key(&d.name)).cloned().collect();
            let suites =
                state.timetable.suites().map(|(suite, period)| (suite.name.as_str(), (suite, period)));
            let apart = interval(&suite, &fleet, &suites.collect());
            let apart = apart.map(|apart| apart * sharing(&all, name));
            let tick = state.timetable.next_of(name);
            let extra = state.extra.entry(name.clone()).or_default();
            match extra.turn(now, apart, tick) {
                Turn::No => {}
                Turn::At(at) => next = Some(next.map_or(at, |next| next.min(at))),
                Turn::Now(room) => {
                    extra.began(now);
                    let round = self.round_of(&suite, now, true);
                    self.under_way.spawn(self.clone().round(suite, fleet, round, room));
                }
            }
        }
        next
    }

    fn round_of(&self, suite: &Suite, scheduled: Timestamp, extra: bool) -> Arc<Round> {
        let id = RoundId::new(self.store.id(), &suite.name, scheduled);
        Arc::new(Round { id, suite: suite.name.clone(), scheduled, started: self.clock.now(), extra })
    }

    #[tracing::instrument(name = "round", skip_all, fields(suite = suite.name, scheduled = %round.scheduled))]
    async fn round(self, suite: Suite, fleet: Arc<[Arc<Deployment>]>, round: Arc<Round>, period: Duration) {
        let _under_way = UnderWay { rounds: &self, round: &round, began: Instant::now() };
        let runs = self.prober.round(&round, &suite, &fleet, Some(period), &|_, _| {}).await;
        let seen = Seen::of(&runs);
        let mut kept = true;
        for run in runs {
            let deployment = run.deployment.name.clone();
            // Probing never waits for the store: what its queue cannot take is dropped, and counted.
            if let Err(error) = self.store.submit(facts_of(run, &self.resource, true)) {
                tracing::error!(%error, suite = suite.name, deployment, "a run is lost");
                kept = false;
            }
        }
        // Nothing is judged by what is not kept.
        if let Some(seen) = seen.filter(|_| kept) {
            self.judging.round(&suite.name, seen);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until stopped.
    pub async fn run(self, stop: CancellationToken) {
        let mut wanted = self.wanted.clone();
        loop {
            let now = self.clock.now();
            let next = self.tick(now);
            let wait = next.map_or(LOOK_EVERY, |next| next.since(self.clock.now()).min(LOOK_EVERY));
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.changed.notified() => {}
                Ok(()) = wanted.changed() => {}
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

    /// Returns when all rounds that have ended are judged, and the verdicts stored.
    pub async fn judged(&self) {
        self.judging.settle().await;
    }

    /// Returns when no round is under way any more; none may be started after.
    pub async fn ended(&self) {
        self.under_way.close();
        self.under_way.wait().await;
    }
}
