//! One round: every deployment of a suite, request by request, within moments of each other.
//!
//! Samples of one round are paired: for each request name, all deployments are visited before the
//! next name begins, in an order shuffled by a hash of the round's id, so that no version or
//! flavour is always first. Before the first name each deployment gets one unrecorded wake-up
//! request. Deployments of one host group are visited one at a time, also across suites; groups go
//! on beside each other.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::budget::Budgets;
use super::pace::load;
use super::visit::{Limits, Visitor};
use crate::clock::{Clock, Timestamp};
use crate::http::Client;
use crate::model::{Budget, Deployment, Request, Round, Run, Suite};

/// Visits that are under way at once in one round at most. More would measure this machine's queue
/// instead of the targets.
const VISITS_MAX: usize = 64;

/// What rounds share: the client, the budgets of the targets, and the turn of each host group.
#[derive(Clone)]
pub struct Prober {
    client: Client,
    clock: Clock,
    budgets: Arc<Budgets>,
    turns: Arc<Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>>,
    stopped: CancellationToken,
}

/// Told after each sample, for a person who watches.
pub type Progress<'a> = &'a (dyn Fn(&Deployment, &Request) + Sync);

impl Prober {
    pub fn new(client: Client, clock: Clock) -> Self {
        Prober {
            client,
            clock,
            budgets: Arc::default(),
            turns: Arc::default(),
            stopped: CancellationToken::new(),
        }
    }

    /// From now on, rounds that are under way skip what they have not asked yet, but for clean-up.
    pub fn stop(&self) {
        self.stopped.cancel();
    }

    pub fn is_stopped(&self) -> bool {
        self.stopped.is_cancelled()
    }

    /// From when on a round of these suites may begin without being cut short by what a target allows.
    pub fn opens(&self, suites: &[&Suite], fleet: &[Arc<Deployment>]) -> Timestamp {
        let now = self.clock.now();
        let of = |deployment: &Arc<Deployment>| {
            let loads = suites.iter().filter_map(|suite| {
                let budget = suite.variant_for(&deployment.version)?.budget;
                Some((load(suite, deployment)?.0, budget))
            });
            let loads: Vec<_> = loads.collect();
            let asked = loads.iter().map(|(asked, _)| asked).sum();
            let tightest = loads.iter().filter_map(|(_, budget)| *budget).min_by(|a, b| {
                let rate = |b: &Budget| f64::from(b.requests) / b.per.as_secs_f64();
                rate(a).total_cmp(&rate(b))
            });
            self.budgets.opens(&deployment.name, asked, tightest, now)
        };
        fleet.iter().map(of).max().unwrap_or(now)
    }

    /// Visits every deployment that some variant of the suite speaks to. What is not asked before
    /// `deadline` (from now) is skipped. The runs come in the order of the fleet.
    pub async fn round(
        &self,
        round: &Arc<Round>,
        suite: &Suite,
        fleet: &[Arc<Deployment>],
        deadline: Option<Duration>,
        progress: Progress<'_>,
    ) -> Vec<Run> {
        let deadline = deadline.map(|d| Instant::now() + d);
        let mut visitors: Vec<Visitor> = fleet
            .iter()
            .filter_map(|deployment| {
                let variant = suite.variant_for(&deployment.version)?;
                variant.requests_for(deployment).next()?;
                Some(Visitor::new(round, deployment, variant, &self.client, &self.clock))
            })
            .collect();

        self.visit_all(round, "wake-up", visitors.iter_mut().map(|v| (v, None)), deadline, progress).await;
        for name in &suite.order {
            let asked = visitors.iter_mut().filter_map(|visitor| {
                let request =
                    visitor.variant.requests_for(&visitor.deployment).find(|r| r.name == *name)?.clone();
                Some((visitor, Some(request)))
            });
            self.visit_all(round, name, asked, deadline, progress).await;
        }
        visitors.into_iter().filter_map(|visitor| visitor.into_run(round)).collect()
    }

    /// One stage: each visitor once; `None` stands for the wake-up.
    async fn visit_all<'a>(
        &self,
        round: &Round,
        stage: &str,
        visits: impl Iterator<Item = (&'a mut Visitor, Option<Arc<Request>>)>,
        deadline: Option<Instant>,
        progress: Progress<'_>,
    ) {
        let mut shuffled: Vec<_> =
            visits.map(|visit| (round.id.hash_of(&[stage, &visit.0.deployment.name]), visit)).collect();
        shuffled.sort_by_key(|(hash, _)| *hash);
        let limits = Limits { budgets: &self.budgets, deadline, stopped: &self.stopped };
        let mut groups: BTreeMap<(usize, String), Vec<_>> = BTreeMap::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        for (place, (_, visit)) in shuffled.into_iter().enumerate() {
            let group = visit.0.deployment.host_group.clone();
            let first = *places.entry(group.clone()).or_insert(place);
            groups.entry((first, group)).or_default().push(visit);
        }
        futures_util::stream::iter(groups)
            .for_each_concurrent(VISITS_MAX, |((_, group), visits)| async move {
                let turn = self.turn(&group);
                for (visitor, request) in visits {
                    // One at a time also across suites whose rounds overlap.
                    let _turn = turn.lock().await;
                    match request {
                        Some(request) => {
                            visitor.ask(&request, limits).await;
                            progress(&visitor.deployment, &request);
                        }
                        None => visitor.wake_up(limits).await,
                    }
                }
            })
            .await;
    }

    fn turn(&self, group: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(|e| e.into_inner());
        turns.entry(group.to_owned()).or_default().clone()
    }
}
