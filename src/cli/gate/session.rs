//! Rounds until it is settled.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::super::serve::StopSignal;
use super::super::spool::Gathering;
use super::late::Late;
use super::live::Live;
use super::pace::{self, Pace};
use super::{Bench, Cell, Checks, Ended, Findings, Plan, WARM_UP_ROUNDS};
use crate::clock::{Clock, Timestamp};
use crate::compare::{Seen, Standing};
use crate::model::{Deployment, Outcome, Round, RoundId, Run, Suite};
use crate::probe::Prober;
use crate::verdict::Verdict;

/// Rounds in a row after which who cannot be reached is given up.
const UNREACHABLE_ROUNDS: u32 = 3;
/// How often all cells are judged anew without a reason, to see whether they are clear.
const LOOK_EVERY: u32 = 10;

/// Makes the rounds of a plan.
pub struct Session {
    plan: Plan,
    prober: Prober,
    clock: Clock,
    /// Rounds of two sessions never have the same id.
    origin: String,
    checks: Checks,
    /// Rounds in a row in which a deployment was unreachable, by name.
    silent: HashMap<String, u32>,
    late: Late,
    rounds: u32,
    scheduled: Timestamp,
}

/// What who watches is told between two rounds.
pub(super) struct View<'a> {
    pub standings: &'a [Standing],
    pub rounds: u32,
    pub planned: u32,
    /// Until the planned rounds are made.
    pub left: Duration,
    pub candidates: usize,
    /// Why the next round has to wait longer than usual.
    pub waits: Option<(String, Duration)>,
}

impl Session {
    pub fn new(plan: Plan, prober: Prober, clock: Clock, origin: String) -> Self {
        Session {
            plan,
            prober,
            clock,
            origin,
            checks: Checks::default(),
            silent: HashMap::new(),
            late: Late::default(),
            rounds: 0,
            scheduled: Timestamp(i64::MIN),
        }
    }

    /// Says how long it takes, makes rounds until it is settled, and hands over what they saw.
    pub async fn run(mut self, gathering: &mut Gathering, color: bool) -> anyhow::Result<Findings> {
        let mut stop = StopSignal::listen()?;
        let mut pace = Pace::of(&self.plan);
        let mut live = Live::new(color, &self.plan);
        if self.plan.compares() {
            live.say(&pace.announcement(&self.plan));
            for (later, earlier) in &self.plan.pairing.pairs {
                let told = |at: usize| {
                    let deployment = &self.plan.pairing.fleet[at];
                    format!("{} ({} on {})", deployment.name, deployment.version, deployment.db)
                };
                live.say(&format!("{} against {}", told(*later), told(*earlier)));
            }
        }
        let compared = self.plan.pairing.compared();
        let (started, deadline) = (Instant::now(), Instant::now() + self.plan.limits.time);
        let (mut standings, mut waiting) = (Vec::new(), u64::MAX);
        let ended = loop {
            let began = Instant::now();
            let prober = self.prober.clone();
            let (runs, changed, stopped) = {
                let mut round = std::pin::pin!(self.round(&compared));
                tokio::select! {
                    (runs, changed) = &mut round => (runs, changed, false),
                    () = stop.heard() => {
                        live.say("stopping: the requests under way end, and what is known so far is told");
                        prober.stop();
                        let (runs, changed) = round.await;
                        (runs, changed, true)
                    }
                }
            };
            let silent = self.silent(&runs);
            gathering.take(runs).await;
            pace.measured(began.elapsed());
            if stopped {
                break Ended::Stopped;
            }
            if let Some(silent) = silent {
                break Ended::Unreachable(silent);
            }
            let waited = std::mem::replace(&mut waiting, self.waiting());
            let look = waiting == 0 && (waited > 0 || changed || self.rounds.is_multiple_of(LOOK_EVERY));
            if look || changed || live.is_due() {
                standings = self.standings();
            }
            let late = look && self.late.waits(&standings);
            if let Some(ended) = self.ended(waiting, late, look.then_some(&standings)) {
                break ended;
            }
            let opens = pace::opens(&self.prober, &self.plan, &compared);
            let closed = opens.since(self.clock.now());
            let next = (began + pace.apart).max(Instant::now() + closed);
            let limiting = self.limiting(&compared, closed, pace.apart);
            if next >= deadline {
                break limiting.map_or(Ended::TimeUp, |(name, _)| Ended::Limited(name));
            }
            let planned = pace::planned(&self.plan);
            live.show(&View {
                standings: &standings,
                rounds: self.rounds,
                planned,
                left: pace.rounds(planned.saturating_sub(self.rounds)),
                candidates: self.candidates(),
                waits: limiting,
            });
            tokio::select! {
                () = tokio::time::sleep_until(next) => {}
                () = stop.heard() => break Ended::Stopped,
            }
        };
        live.finish();
        Ok(self.findings(ended, started.elapsed()))
    }

    /// One round of each suite: of everything the first time, then of what is compared. Whether it changed
    /// a verdict.
    async fn round(&mut self, compared: &[Arc<Deployment>]) -> (Vec<Run>, bool) {
        let first = self.rounds == 0;
        let (mut all, mut changed) = (Vec::new(), false);
        let fleet = if first { self.plan.pairing.fleet.clone() } else { compared.to_vec() };
        let place: HashMap<String, usize> =
            self.plan.pairing.fleet.iter().enumerate().map(|(at, d)| (d.name.clone(), at)).collect();
        for (at, bench) in self.plan.benches.iter_mut().enumerate() {
            let Bench { suite, narrow, ladder } = bench;
            let suite: &Suite = if first { suite } else { narrow };
            if suite.order.is_empty() {
                continue;
            }
            // Identities and the order of rounds rest on it, whatever the clock does.
            let now = self.clock.now().max(self.scheduled.plus(Duration::from_nanos(1)));
            self.scheduled = now;
            let id = RoundId::new(&self.origin, &suite.name, now);
            let round = Round { id, suite: suite.name.clone(), scheduled: now, started: now, extra: !first };
            let runs = self.prober.round(&Arc::new(round), suite, &fleet, None, &|_, _| {}).await;
            let warm = self.rounds >= WARM_UP_ROUNDS;
            self.checks.take(&runs, (at, &bench.suite), |name| place.get(name).copied().unwrap_or(0), warm);
            // One that was cut short says nothing about what it did not ask.
            if let Some(seen) = Seen::of(&runs).filter(|_| !self.prober.is_stopped()) {
                changed |= !ladder.take(&seen, None, now).0.is_empty();
            }
            all.extend(runs);
        }
        self.rounds += 1;
        (all, changed)
    }

    /// Who was unreachable for too many rounds in a row.
    fn silent(&mut self, runs: &[Run]) -> Option<String> {
        // Whoever answers one of several suites is there.
        let mut asked: BTreeMap<&str, bool> = BTreeMap::new();
        for run in runs {
            let unreachable = run.outcome == Outcome::Unreachable;
            *asked.entry(&run.deployment.name).or_insert(true) &= unreachable;
        }
        let mut silent = None;
        for (name, unreachable) in asked {
            let rounds = self.silent.entry(name.to_owned()).or_default();
            *rounds = if unreachable { *rounds + 1 } else { 0 };
            if *rounds >= UNREACHABLE_ROUNDS {
                silent.get_or_insert_with(|| name.to_owned());
            }
        }
        silent
    }

    /// Rounds that are still wanted for candidates, or for the first confirmation.
    fn waiting(&self) -> u64 {
        let wanted = self.plan.benches.iter().flat_map(|bench| bench.ladder.wanted().into_values());
        wanted.max().unwrap_or(0)
    }

    fn candidates(&self) -> usize {
        self.plan.benches.iter().map(|bench| bench.ladder.candidates()).sum()
    }

    /// `standings`: as of this round, where they were looked at; `late`: whether 60 pairs were not enough for
    /// one of them.
    fn ended(&self, waiting: u64, late: bool, standings: Option<&Vec<Standing>>) -> Option<Ended> {
        if !self.plan.compares() {
            return Some(Ended::NothingToCompare);
        }
        if let Some(standings) = standings {
            let regressed = standings.iter().any(|standing| standing.verdict == Verdict::Regressed);
            if regressed && self.plan.limits.until_regressed && self.candidates() == 0 {
                return Some(Ended::Regressed);
            }
            let clear = || standings.iter().all(super::findings::is_clear);
            // A candidate waits also where disturbed rounds put its confirmation off.
            let enough = if self.plan.limits.until_clear { clear() } else { self.candidates() == 0 && !late };
            if waiting == 0 && enough {
                return Some(if regressed { Ended::Regressed } else { Ended::Settled });
            }
        }
        self.plan.limits.rounds.filter(|most| self.rounds >= *most).map(|_| Ended::RoundsUp)
    }

    /// The deployment that holds the next round up, with for how long.
    fn limiting(
        &self,
        compared: &[Arc<Deployment>],
        closed: Duration,
        apart: Duration,
    ) -> Option<(String, Duration)> {
        if closed <= apart {
            return None;
        }
        let opens = |one: &Arc<Deployment>| pace::opens(&self.prober, &self.plan, std::slice::from_ref(one));
        compared.iter().max_by_key(|one| opens(one)).map(|one| (one.name.clone(), closed))
    }

    /// Of judged deployments.
    fn standings(&mut self) -> Vec<Standing> {
        let now = self.clock.now();
        let all: Vec<Standing> =
            self.plan.benches.iter_mut().flat_map(|bench| bench.ladder.standings(now)).collect();
        let place = |standing: &Standing| self.place(&standing.deployment);
        let mut judged: Vec<Standing> = all
            .into_iter()
            .filter(|standing| place(standing).is_some_and(|at| at < self.plan.pairing.judged))
            .filter(|standing| !self.is_never_asked(standing))
            .collect();
        judged.sort_by_key(place);
        judged
    }

    fn place(&self, deployment: &str) -> Option<usize> {
        self.plan.pairing.fleet.iter().position(|d| d.name == deployment)
    }

    /// Whether there was nothing to read for it on either side.
    fn is_never_asked(&self, standing: &Standing) -> bool {
        let suite = self.plan.benches.iter().position(|bench| bench.suite.name == standing.suite);
        let idle = |deployment: &str| {
            let check = self
                .place(deployment)
                .zip(suite)
                .and_then(|(at, suite)| self.checks.of(at, suite, &standing.request));
            check.is_some_and(|check| check.asked == 0 && check.withheld == 0)
        };
        let against = standing.against.as_ref();
        self.rounds > 0 && idle(&standing.deployment) && against.is_none_or(|a| idle(&a.deployment))
    }

    fn findings(mut self, ended: Ended, took: Duration) -> Findings {
        let standings = self.standings();
        let median = |deployment: &str, standing: &Standing| {
            let suite = self.plan.benches.iter().position(|bench| bench.suite.name == standing.suite)?;
            self.checks.of(self.place(deployment)?, suite, &standing.request)?.median()
        };
        let cells = standings
            .into_iter()
            .map(|standing| {
                let later = median(&standing.deployment, &standing);
                let earlier = standing.against.as_ref().and_then(|a| median(&a.deployment, &standing));
                Cell { medians: later.zip(earlier), standing }
            })
            .collect();
        Findings {
            ended,
            suites: self.plan.benches.iter().map(|bench| bench.suite.name.clone()).collect(),
            until_clear: self.plan.limits.until_clear,
            pairing: self.plan.pairing,
            cells,
            checks: self.checks,
            rounds: self.rounds,
            took,
        }
    }
}
