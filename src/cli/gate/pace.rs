//! How long it takes: rounds as far apart as the tightest budget wants them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::{FIRST_PAIRS, Plan, WARM_UP_ROUNDS};
use crate::model::{Budget, Deployment, Suite};
use crate::probe;

/// What a request is taken to last before any has been made: what a Cachet usually takes.
const REQUEST: Duration = Duration::from_millis(20);

/// What can be told before the first request.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// From the start of a round to that of the next, at least.
    pub apart: Duration,
    /// Requests of one round to the deployment that is asked most of what it allows.
    asked: u32,
    budget: Option<Budget>,
    /// How long a round takes by itself, by guess.
    round: Duration,
}

impl Pace {
    pub fn of(plan: &Plan) -> Self {
        let fleet = plan.pairing.compared();
        let suites: Vec<&Suite> = plan.benches.iter().map(|bench| &bench.narrow).collect();
        let alone = HashMap::new();
        let apart =
            suites.iter().filter_map(|suite| probe::interval(suite, &fleet, &alone)).sum::<Duration>();
        // Two names of one place share what it allows.
        let place = |deployment: &Deployment| {
            (deployment.url.host_str().map(str::to_owned), deployment.url.port_or_known_default())
        };
        let twins = fleet.iter().map(|one| fleet.iter().filter(|other| place(one) == place(other)).count());
        let apart = apart * u32::try_from(twins.max().unwrap_or(1)).unwrap_or(1);
        let loads = |deployment: &Deployment| {
            suites.iter().filter_map(|suite| probe::load(suite, deployment)).collect::<Vec<_>>()
        };
        let total = |loads: &[(u32, Budget)]| loads.iter().map(|(asked, _)| asked).sum::<u32>();
        let seconds = |loads: &[(u32, Budget)]| {
            loads
                .iter()
                .map(|(n, b)| f64::from(*n) * b.per.as_secs_f64() / f64::from(b.requests))
                .sum::<f64>()
        };
        let tightest = fleet
            .iter()
            .map(|d| loads(d))
            .max_by(|a, b| seconds(a).total_cmp(&seconds(b)))
            .unwrap_or_default();
        // Deployments of one group are visited one after the other.
        let mut groups: HashMap<&str, u32> = HashMap::new();
        for deployment in &fleet {
            *groups.entry(&deployment.host_group).or_default() += total(&loads(deployment));
        }
        Pace {
            apart,
            asked: total(&tightest),
            budget: tightest.first().map(|(_, budget)| *budget),
            round: REQUEST * groups.values().max().copied().unwrap_or(0),
        }
    }

    /// How long so many rounds take.
    pub fn rounds(&self, rounds: u32) -> Duration {
        self.apart.max(self.round) * rounds.saturating_sub(1) + self.round
    }

    /// The same, once it is known how long a round takes.
    pub fn measured(&mut self, round: Duration) {
        self.round = round;
    }

    /// One sentence before the first request.
    pub fn announcement(&self, plan: &Plan) -> String {
        let rounds = planned(plan);
        let requests = |n: u32| if n == 1 { "request" } else { "requests" };
        let budget = self.budget.map_or_else(String::new, |budget| format!(" at {}", rate(budget)));
        let takes = rounded(self.rounds(rounds));
        let at_most = humantime::format_duration(plan.limits.time);
        let least = if plan.limits.until_clear { " at least" } else { "" };
        let mut words = format!(
            "{rounds} {}{least} (the first {WARM_UP_ROUNDS} to warm up) of {} {}{budget} take about {takes}, at \
             most {at_most}",
            if rounds == 1 { "round" } else { "rounds" },
            self.asked,
            requests(self.asked)
        );
        if self.rounds(rounds) > plan.limits.time {
            words.push_str(
                "\nthat is too short for a verdict: narrow it with --gate-requests, or give it longer with \
                 --gate-timeout",
            );
        }
        let confirmed = WARM_UP_ROUNDS + FIRST_PAIRS;
        if rounds < confirmed {
            words.push_str(&format!(
                "\nso few can confirm nothing: that takes {confirmed}, which --rounds-max does not allow"
            ));
        }
        words
    }
}

/// Rounds until the first confirmation.
pub fn planned(plan: &Plan) -> u32 {
    let first = WARM_UP_ROUNDS + FIRST_PAIRS;
    plan.limits.rounds.map_or(first, |most| most.min(first))
}

fn rate(budget: Budget) -> String {
    let per = match budget.per.as_secs() {
        1 => "s".to_owned(),
        60 => "min".to_owned(),
        3_600 => "h".to_owned(),
        _ => humantime::format_duration(budget.per).to_string(),
    };
    format!("{}/{per}", budget.requests)
}

/// As a person says it: whole seconds, and whole minutes from an hour on.
pub fn rounded(time: Duration) -> String {
    let unit = if time >= Duration::from_hours(1) { 60 } else { 1 };
    let seconds = (time.as_secs_f64() / unit as f64).round() as u64 * unit;
    humantime::format_duration(Duration::from_secs(seconds.max(1))).to_string()
}

/// A deployment list, for who only needs the tightest.
pub fn opens(prober: &probe::Prober, plan: &Plan, fleet: &[Arc<Deployment>]) -> crate::clock::Timestamp {
    let suites: Vec<&Suite> = plan.benches.iter().map(|bench| &bench.narrow).collect();
    prober.opens(&suites, fleet)
}
