//! Rounds besides the schedule, for verdicts that wait: for whom, and when.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Timestamp;

/// By suite: the deployments that need rounds, with how many.
pub type Wanted = BTreeMap<String, BTreeMap<String, u64>>;

/// An extra round begins only if it would end so long before the next scheduled one.
const SPARE: Duration = Duration::from_millis(250);

/// How long a suite's first round is taken to need. It ends when the next scheduled one begins, whatever it
/// really needs.
const TAKES: Duration = Duration::from_secs(2);

/// How many suites want extra rounds of a deployment of this one, itself among them: they share what its
/// budget leaves.
pub fn sharing(wanted: &Wanted, suite: &str) -> u32 {
    let Some(own) = wanted.get(suite) else { return 1 };
    let sharing = wanted.values().filter(|other| other.keys().any(|deployment| own.contains_key(deployment)));
    u32::try_from(sharing.count()).unwrap_or(u32::MAX)
}

/// How the extra rounds of one suite go.
#[derive(Debug, Default)]
pub struct Extra {
    pub running: bool,
    last: Option<Timestamp>,
    /// How long its newest round took, of either kind.
    took: Option<Duration>,
}

/// Whether an extra round may begin.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn {
    /// It has so long.
    Now(Duration),
    /// Not before then.
    At(Timestamp),
    /// Not as things are; a round's end may change it.
    No,
}

impl Extra {
    pub fn began(&mut self, now: Timestamp) {
        self.running = true;
        self.last = Some(now);
    }

    pub fn took(&mut self, time: Duration) {
        self.took = Some(time);
    }

    /// `interval` is from start to start; `next` the next scheduled round, which must find nothing under
    /// way.
    pub fn turn(&self, now: Timestamp, interval: Option<Duration>, next: Option<Timestamp>) -> Turn {
        let (false, Some(interval)) = (self.running, interval) else { return Turn::No };
        let took = self.took.unwrap_or(TAKES);
        let earliest = self.last.map_or(now, |last| last.plus(interval));
        // A clock that was set back must not hold them up for long.
        if earliest > now && earliest.since(now) <= interval {
            return Turn::At(earliest);
        }
        let room = next.map_or(Duration::from_secs(3_600), |next| next.since(now));
        if room < took * 5 / 4 + SPARE { Turn::No } else { Turn::Now(room) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::config::{Env, Source};
    use crate::probe::interval;

    #[test]
    fn extra_rounds_leave_the_scheduled_ones_their_place() {
        let at = |ms: i64| Timestamp(ms * 1_000_000);
        let mut extra = Extra::default();
        let second = Some(Duration::from_secs(1));
        assert_eq!(
            extra.turn(at(0), second, Some(at(30_000))),
            Turn::Now(Duration::from_secs(30)),
            "how long a round takes is not known, and a fresh version does not wait to be judged"
        );
        assert_eq!(extra.turn(at(28_000), second, Some(at(30_000))), Turn::No, "but there must be some room");
        extra.took(Duration::from_secs(2));
        assert_eq!(extra.turn(at(0), second, Some(at(30_000))), Turn::Now(Duration::from_secs(30)));
        assert_eq!(extra.turn(at(0), None, Some(at(30_000))), Turn::No);
        assert_eq!(extra.turn(at(28_000), second, Some(at(30_000))), Turn::No);
        extra.began(at(0));
        assert_eq!(extra.turn(at(5_000), second, Some(at(30_000))), Turn::No, "one at a time");
        extra.running = false;
        assert_eq!(extra.turn(at(500), second, Some(at(30_000))), Turn::At(at(1_000)));
        assert_eq!(extra.turn(at(1_000), second, None), Turn::Now(Duration::from_secs(3_600)));
        assert!(matches!(extra.turn(at(-9_000), second, None), Turn::Now(_)), "the clock was set back");
    }

    #[test]
    fn all_rounds_together_stay_within_the_budget() {
        let suites = crate::config::load(Source::Shipped, &Env::default()).unwrap().suites;
        let suite = suites.iter().find(|s| s.name == "cachet").unwrap();
        let fleet: Vec<_> = [crate::otlp::fixture::deployment("http://127.0.0.1:1")].into();
        let variant = suite.variant_for(&fleet[0].version).unwrap();
        let (asked, budget) = (variant.requests_for(&fleet[0]).count() as f64 + 1.0, variant.budget.unwrap());
        let allowed = f64::from(budget.requests) / budget.per.as_secs_f64();
        let with = |period: u64| {
            let all = HashMap::from([(suite.name.as_str(), (suite, Duration::from_secs(period)))]);
            interval(suite, &fleet, &all)
        };
        let apart = with(30).unwrap().as_secs_f64();
        let used = asked / apart + asked / 30.0;
        assert!((used - 0.9 * allowed).abs() < 1e-6, "{used} of {allowed} a second");
        assert_eq!(with(1), None, "the schedule alone uses it up");
    }

    #[test]
    fn suites_that_wait_for_the_same_deployment_share_its_budget() {
        let of = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), 60)).collect();
        let wanted: Wanted = [("a", of(&["new", "old"])), ("b", of(&["new"])), ("c", of(&["other"]))]
            .map(|(suite, deployments)| (suite.to_owned(), deployments))
            .into();
        assert_eq!(["a", "b", "c", "d"].map(|suite| sharing(&wanted, suite)), [2, 2, 1, 1]);
    }
}
