//! How one deployment stands, from its last runs: pure.

use std::collections::BTreeMap;
use std::time::Duration;

use super::format::{Count, Ns, Time};
use super::sparkline::{Point, ROUNDS_MAX};
use crate::clock::Timestamp;
use crate::model::{Outcome, RoundId};
use crate::store::RunRow;

/// Medians are over rounds of at most this long ago.
pub const WINDOW: Duration = Duration::from_secs(3_600);
/// A suite with one run so far has no known period; it is overdue after this.
const PERIOD_UNKNOWN: Duration = Duration::from_secs(3_600);
/// Grace before a round counts as overdue.
const GRACE: Duration = Duration::from_secs(15);

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Standing {
    /// The worst of the last runs of all suites that still run; `None` before the first.
    pub outcome: Option<Outcome>,
    /// Since when it is not a pass.
    pub since: Option<Time>,
    /// Whether it may have been so for longer than what was read.
    pub since_at_least: bool,
    pub last_round: Option<Time>,
    /// Several rounds did not take place: what is said is old.
    pub overdue: bool,
    /// Median of the rounds of the last hour.
    pub median_ns: Option<Ns>,
    /// How many rounds that median is of.
    pub median_rounds: Count,
    /// The last rounds, oldest first.
    pub points: Vec<Point>,
    /// The round that tells why it is not a pass.
    pub decisive: Option<RoundId>,
}

/// From the last runs of one deployment, newest first.
pub fn standing(runs: &[RunRow], now: Timestamp) -> Standing {
    let mut suites: BTreeMap<&str, Vec<&RunRow>> = BTreeMap::new();
    for run in runs {
        suites.entry(&run.suite).or_default().push(run);
    }
    let all_overdue = suites.values().all(|runs| is_overdue(runs, now));
    // A suite that is no longer run must not colour a deployment for ever.
    suites.retain(|_, runs| all_overdue || !is_overdue(runs, now));

    let Some(worst) = suites.values().max_by_key(|runs| runs[0].outcome) else { return Standing::default() };
    let Some(main) = suites.values().max_by_key(|runs| runs.len()) else { return Standing::default() };
    let outcome = worst[0].outcome;
    let alike = if is_broken(outcome) { is_broken } else { |o: Outcome| o != Outcome::Pass };
    let stretch = worst.iter().take_while(|run| alike(run.outcome)).count();
    let recent = || main.iter().filter(|run| now.since(run.started) <= WINDOW);
    let mut medians: Vec<u64> = recent().filter_map(|run| run.latency_ns).collect();
    medians.sort_unstable();
    Standing {
        outcome: Some(outcome),
        since: stretch.checked_sub(1).map(|first| Time(worst[first].started)),
        since_at_least: stretch == worst.len(),
        last_round: suites.values().map(|runs| Time(runs[0].started)).max(),
        overdue: all_overdue,
        median_ns: medians.get(medians.len().saturating_sub(1) / 2).copied().map(Ns),
        median_rounds: medians.len().into(),
        points: main.iter().take(ROUNDS_MAX).rev().map(|run| point(run)).collect(),
        decisive: (outcome != Outcome::Pass).then_some(worst[0].round),
    }
}

pub fn is_broken(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Fail | Outcome::Unreachable)
}

fn point(run: &RunRow) -> Point {
    Point { median_ns: run.latency_ns.map(Ns), broken: is_broken(run.outcome) }
}

/// Whether at least two rounds of a suite did not come, judged by the usual gap between its rounds.
fn is_overdue(runs: &[&RunRow], now: Timestamp) -> bool {
    // Extra rounds follow each other closely, and then cease.
    let scheduled: Vec<&&RunRow> = runs.iter().filter(|run| !run.extra).collect();
    let mut gaps: Vec<Duration> =
        scheduled.windows(2).map(|pair| pair[0].started.since(pair[1].started)).collect();
    gaps.sort_unstable();
    let period = gaps.get(gaps.len() / 2).copied().unwrap_or(PERIOD_UNKNOWN);
    runs.first().is_some_and(|last| now.since(last.started) > period * 3 + GRACE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(10_000_000_000_000);

    /// Runs of a suite every `period` seconds, newest first, the last one period ago.
    fn runs(suite: &str, period: u64, outcomes: &[Outcome]) -> Vec<RunRow> {
        let run = |(i, &outcome): (usize, &Outcome)| RunRow {
            deployment: 1,
            round: RoundId([i as u8; 8]),
            suite: suite.into(),
            started: NOW.minus(Duration::from_secs(period * (i as u64 + 1))),
            duration_ns: 1,
            outcome,
            latency_ns: (outcome != Outcome::Unreachable).then_some(10_000_000 + i as u64),
            trace: None,
            extra: false,
        };
        outcomes.iter().enumerate().map(run).collect()
    }

    use Outcome::{Degraded, Fail, Pass, Unreachable};

    #[test]
    fn a_break_is_dated_from_its_first_round() {
        let standing = standing(&runs("cachet", 30, &[Unreachable, Fail, Pass, Fail]), NOW);
        assert_eq!(standing.outcome, Some(Unreachable));
        assert_eq!(standing.since, Some(Time(NOW.minus(Duration::from_secs(60)))));
        assert!(!standing.since_at_least);
        assert_eq!(standing.decisive, Some(RoundId([0; 8])));
        assert_eq!(standing.median_rounds, Count(3));
        assert_eq!(standing.points.iter().map(|p| p.broken).collect::<Vec<_>>(), [true, false, true, true]);
    }

    #[test]
    fn a_break_without_a_known_beginning_says_so() {
        assert!(standing(&runs("cachet", 30, &[Fail, Fail]), NOW).since_at_least);
        assert_eq!(standing(&runs("cachet", 30, &[Pass]), NOW).since, None);
        assert!(!standing(&runs("cachet", 30, &[Degraded, Pass]), NOW).since_at_least);
    }

    #[test]
    fn the_worst_suite_decides_and_the_most_frequent_one_is_drawn() {
        let mut all = runs("cachet", 30, &[Pass; 20]);
        all.extend(runs("cachet-writes", 3_600, &[Fail]));
        let standing = standing(&all, NOW);
        assert_eq!(standing.outcome, Some(Fail));
        assert_eq!(standing.points.len(), 20);
    }

    #[test]
    fn a_suite_that_no_longer_runs_is_left_out() {
        let mut all = runs("cachet", 30, &[Pass; 5]);
        let mut old = runs("old", 30, &[Fail, Fail]);
        old.iter_mut().for_each(|run| run.started = run.started.minus(Duration::from_secs(600)));
        all.extend(old.clone());
        assert_eq!(standing(&all, NOW).outcome, Some(Pass));
        let standing = standing(&old, NOW);
        assert!(standing.overdue);
        assert_eq!(standing.outcome, Some(Fail));
    }

    #[test]
    fn extra_rounds_do_not_set_the_pace() {
        let mut all = runs("cachet", 30, &[Pass; 5]);
        let mut hurried = runs("cachet", 1, &[Pass; 20]);
        for run in &mut hurried {
            run.started = run.started.minus(Duration::from_secs(40));
            run.extra = true;
        }
        all.extend(hurried);
        all.sort_by_key(|run| std::cmp::Reverse(run.started));
        assert!(!standing(&all, NOW.plus(Duration::from_secs(28))).overdue);
    }

    #[test]
    fn nothing_yet_is_no_outcome() {
        assert_eq!(standing(&[], NOW), Standing::default());
    }
}
