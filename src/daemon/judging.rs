//! The loop that judges: rounds in, verdicts into the store, and who needs rounds at once.
//!
//! It runs beside the rounds and never holds them up: what it does not get to in time, it reads from the
//! store later. Judging itself is work for a thread of its own. A verdict that changed is stored at once,
//! in one transaction with the telemetry that tells of it; numbers that only moved, every 15 s.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::extra::Wanted;
use crate::clock::Clock;
use crate::compare::{Ladder, Member, Saved, Seen, VerdictChange};
use crate::history::visits;
use crate::model::{Deployment, Suite};
use crate::otlp::Resource;
use crate::probe::watch_host;
use crate::publisher::{entries_of, increments_of};
use crate::store::{Facts, Store, StoreError, VerdictsRow, deployment_key};
use crate::verdict::{CellRules, Disturbance, Settings, Tally, Verdict};

/// Rounds that wait to be judged at most.
const WAITING_MAX: usize = 256;
/// How often numbers that moved are stored.
const SAVE_EVERY: Duration = Duration::from_secs(15);

enum Message {
    Fleet(Vec<Suite>, Arc<[Arc<Deployment>]>),
    Round(String, Seen),
    /// Everything before it is judged and stored.
    Settle(oneshot::Sender<()>),
}

/// A handle to the loop; cheap to clone.
#[derive(Clone)]
pub struct Judging {
    messages: mpsc::Sender<Message>,
    /// A round was not taken; the store has it.
    behind: Arc<AtomicBool>,
    wanted: watch::Receiver<Wanted>,
}

impl Judging {
    /// Starts the loop, which ends with its last handle.
    pub fn start(store: Store, clock: Clock, resource: Resource) -> Self {
        let (messages, inbox) = mpsc::channel(WAITING_MAX);
        let (telling, wanted) = watch::channel(Wanted::new());
        let behind = Arc::new(AtomicBool::new(false));
        let judge = Judge {
            store,
            clock,
            resource,
            suites: Vec::new(),
            fleet: Arc::new([]),
            benches: HashMap::new(),
            behind: behind.clone(),
            host: watch_host(),
            wanted: telling,
        };
        tokio::spawn(judge.run(inbox));
        Judging { messages, behind, wanted }
    }

    /// Who is compared from now on.
    pub async fn set(&self, suites: Vec<Suite>, fleet: Arc<[Arc<Deployment>]>) {
        let _ = self.messages.send(Message::Fleet(suites, fleet)).await;
    }

    /// A round has ended, and the store has taken it.
    pub fn round(&self, suite: &str, seen: Seen) {
        if self.messages.try_send(Message::Round(suite.to_owned(), seen)).is_err() {
            self.behind.store(true, Ordering::Relaxed);
        }
    }

    /// For whom verdicts wait.
    pub fn wanted(&self) -> watch::Receiver<Wanted> {
        self.wanted.clone()
    }

    /// Returns when all that was said before is judged and stored.
    pub async fn settle(&self) {
        let (done, settled) = oneshot::channel();
        if self.messages.send(Message::Settle(done)).await.is_ok() {
            let _ = settled.await;
        }
    }
}

struct Judge {
    store: Store,
    clock: Clock,
    resource: Resource,
    suites: Vec<Suite>,
    fleet: Arc<[Arc<Deployment>]>,
    /// By suite.
    benches: HashMap<String, Bench>,
    behind: Arc<AtomicBool>,
    host: watch::Receiver<Option<Disturbance>>,
    wanted: watch::Sender<Wanted>,
}

/// One suite's ladder, with what of it is not stored yet.
struct Bench {
    ladder: Ladder,
    saved: Option<Instant>,
    changes: Vec<VerdictChange>,
    tally: Tally,
    dirty: bool,
}

impl Bench {
    fn is_due(&self) -> bool {
        let waited = self.saved.is_none_or(|at| at.elapsed() >= SAVE_EVERY);
        self.dirty && (waited || !self.changes.is_empty())
    }
}

impl Judge {
    async fn run(mut self, mut inbox: mpsc::Receiver<Message>) {
        let mut looks = tokio::time::interval(SAVE_EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            let message = tokio::select! {
                message = inbox.recv() => message,
                _ = looks.tick() => {
                    self.save(Bench::is_due).await;
                    continue;
                }
            };
            match message {
                None => return,
                Some(Message::Fleet(suites, fleet)) => {
                    (self.suites, self.fleet) = (suites, fleet);
                    self.load().await;
                }
                Some(Message::Round(suite, seen)) => {
                    if self.behind.swap(false, Ordering::Relaxed) {
                        tracing::warn!("judging fell behind the rounds; they are read from the store");
                        self.load().await;
                    } else {
                        self.judge(&suite, seen).await;
                    }
                }
                Some(Message::Settle(done)) => {
                    self.save(|bench| bench.dirty).await;
                    let _ = done.send(());
                    continue;
                }
            }
            self.save(Bench::is_due).await;
            self.tell();
        }
    }

    /// Makes every ladder anew from what is stored.
    async fn load(&mut self) {
        self.save(|bench| bench.dirty).await;
        match self.read().await {
            Ok(benches) => {
                self.clear(&benches).await;
                let mut before = std::mem::replace(&mut self.benches, benches);
                for (suite, bench) in &mut self.benches {
                    if let Some(before) = before.remove(suite) {
                        bench.ladder.inherit(before.ladder);
                        // What the store did not take just now.
                        bench.tally.add(before.tally);
                    }
                }
            }
            Err(error) => {
                tracing::error!(%error, "failed to read what versions are compared by; it is tried again");
                self.behind.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Suites that are no longer there have no standings, and their rows say so. Their state stays, for
    /// they may be back soon: right after a restart nobody may have been discovered yet.
    async fn clear(&self, benches: &HashMap<String, Bench>) {
        let Ok(rows) = self.store.verdicts().await else { return };
        let gone = rows.into_iter().filter(|row| !benches.contains_key(&row.suite) && row.standings != "[]");
        let none = |row: VerdictsRow| VerdictsRow { at: self.clock.now(), standings: "[]".to_owned(), ..row };
        let verdicts: Vec<VerdictsRow> = gone.map(none).collect();
        if !verdicts.is_empty()
            && let Err(error) = self.store.commit(Facts { verdicts, ..Facts::default() }).await
        {
            tracing::error!(%error, "failed to clear the verdicts of suites that are gone");
        }
    }

    async fn read(&self) -> Result<HashMap<String, Bench>, StoreError> {
        // What rounds handed over may still wait for the writer.
        self.store.settle().await?;
        let started = Instant::now();
        let now = self.clock.now();
        let since = now.minus(CellRules::default().age_max);
        let first_seen = self.store.first_seen().await?;
        let builds_ever = self.store.deployments().await?;
        let mut saved: HashMap<String, Vec<Saved>> = HashMap::new();
        for row in self.store.verdicts().await? {
            // What a newer program wrote starts afresh.
            saved.insert(row.suite, serde_json::from_str(&row.state).unwrap_or_default());
        }
        let mut benches = HashMap::new();
        for suite in &self.suites {
            let keys: HashMap<String, i64> =
                self.fleet.iter().map(|d| (d.key(), deployment_key(d))).collect();
            let member = |deployment: &Arc<Deployment>| {
                let seen = first_seen.get(&keys[&deployment.key()]).copied().unwrap_or(now);
                let rolled_back = visits::rolled_back(deployment, &builds_ever);
                Some(Member { rolled_back, ..Member::new(deployment, suite, seen)? })
            };
            let members: Vec<Member> = self.fleet.iter().filter_map(member).collect();
            let builds: HashMap<i64, String> =
                members.iter().map(|m| (keys[&m.build], m.build.clone())).collect();
            let rounds = visits::seen(&self.store, &builds, &suite.name, since).await?;
            let saved = saved.remove(&suite.name).unwrap_or_default();
            let name = suite.name.clone();
            let judged = tokio::task::spawn_blocking(move || {
                let mut ladder = Ladder::new(&name, Settings::default(), members, saved, now);
                let changes: Vec<VerdictChange> =
                    rounds.iter().flat_map(|seen| ladder.replay(seen)).collect();
                (ladder, changes, rounds.len())
            });
            let Ok((ladder, changes, rounds)) = judged.await else { continue };
            tracing::debug!(suite = suite.name, rounds, took = ?started.elapsed(), "comparisons are loaded");
            let bench = Bench { ladder, saved: None, changes, tally: Tally::default(), dirty: true };
            benches.insert(suite.name.clone(), bench);
        }
        Ok(benches)
    }

    async fn judge(&mut self, suite: &str, seen: Seen) {
        let Some(mut bench) = self.benches.remove(suite) else { return };
        let (now, host) = (self.clock.now(), *self.host.borrow());
        let judged = tokio::task::spawn_blocking(move || {
            let (changes, tally) = bench.ladder.take(&seen, host, now);
            bench.changes.extend(changes);
            bench.tally.add(tally);
            bench.dirty = true;
            bench
        });
        match judged.await {
            Ok(bench) => {
                log(&bench.changes);
                self.benches.insert(suite.to_owned(), bench);
            }
            Err(error) => {
                tracing::error!(%error, suite, "judging a round failed; comparisons are read from the store");
                self.behind.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Stores what is due.
    async fn save(&mut self, is_due: impl Fn(&Bench) -> bool) {
        let due: Vec<String> =
            self.benches.iter().filter(|(_, bench)| is_due(bench)).map(|(suite, _)| suite.clone()).collect();
        for suite in due {
            let Some(mut bench) = self.benches.remove(&suite) else { continue };
            let now = self.clock.now();
            let judged = tokio::task::spawn_blocking(move || {
                let standings = bench.ladder.standings(now);
                let state = serde_json::to_string(&bench.ladder.save());
                let standings = serde_json::to_string(&standings);
                (bench, state.ok().zip(standings.ok()))
            });
            let Ok((mut bench, Some((state, standings)))) = judged.await else {
                tracing::error!(suite, "judging failed; comparisons are read from the store");
                self.behind.store(true, Ordering::Relaxed);
                continue;
            };
            let deployment = |name: &str| self.fleet.iter().find(|d| d.name == name).map(AsRef::as_ref);
            let facts = Facts {
                verdicts: vec![VerdictsRow { suite: suite.clone(), at: now, state, standings }],
                increments: increments_of(&suite, bench.tally, now),
                outbox: entries_of(&bench.changes, deployment, &self.resource),
                ..Facts::default()
            };
            match self.store.commit(facts).await {
                Ok(()) => {
                    (bench.changes, bench.tally) = (Vec::new(), Tally::default());
                    (bench.saved, bench.dirty) = (Some(Instant::now()), false);
                }
                Err(error) => tracing::error!(%error, suite, "failed to store verdicts; it is tried again"),
            }
            self.benches.insert(suite, bench);
        }
    }

    fn tell(&self) {
        let wanted: Wanted = self
            .benches
            .iter()
            .map(|(suite, bench)| (suite.clone(), bench.ladder.wanted()))
            .filter(|(_, deployments)| !deployments.is_empty())
            .collect();
        self.wanted.send_if_modified(|known| {
            let differs = *known != wanted;
            *known = wanted;
            differs
        });
    }
}

/// What a person should hear of at once.
fn log(changes: &[VerdictChange]) {
    for VerdictChange { from, standing, .. } in changes {
        let settled = |v: Verdict| matches!(v, Verdict::Regressed | Verdict::Improved);
        if !settled(*from) && !settled(standing.verdict) {
            continue;
        }
        let ratio = standing.latency.and_then(|j| j.assessment.ratio).map(|r| r.value);
        tracing::info!(
            request = standing.request,
            deployment = standing.deployment,
            version = standing.version,
            db = %standing.db,
            %from,
            to = %standing.verdict,
            ratio,
            "a verdict changed"
        );
    }
}

#[cfg(test)]
#[path = "judging_tests.rs"]
mod tests;
