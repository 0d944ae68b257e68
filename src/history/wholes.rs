//! Test runs that are told in parts: shards, or case by case, as CDEvents do. Parts of one run of a
//! suite that name the same whole are one run, in whichever order they came.

use std::collections::{BTreeMap, HashMap};

use super::suites::Scope;
use crate::model::{CaseStatus, CiResult, Counts, EventRow, Mark, ResultRow};

/// A test run, of one part or of several.
pub(super) struct Whole {
    pub row: EventRow,
    /// Keys of the events that it consists of.
    pub parts: Vec<i64>,
}

/// `tests` newest first, and so is what comes of them.
pub(super) fn wholes(tests: &[EventRow]) -> Vec<Whole> {
    let mut wholes = Vec::with_capacity(tests.len());
    let mut parted: BTreeMap<_, Vec<&EventRow>> = BTreeMap::new();
    for row in tests {
        let of = row.event.tests.as_ref().and_then(|tests| tests.part_of.as_deref());
        match (of, Scope::of(row)) {
            (Some(of), Some(scope)) => {
                let [source, pipeline, run, _] = row.event.identity();
                let whole = (source, pipeline, run, row.event.attempt, of, scope);
                parted.entry(whole).or_default().push(row);
            }
            _ => wholes.push(Whole { row: row.clone(), parts: vec![row.key] }),
        }
    }
    wholes.extend(parted.into_values().map(|parts| joined(&parts)));
    wholes.sort_by_key(|whole| (std::cmp::Reverse(whole.row.started), whole.row.key));
    wholes
}

/// Of at least one part.
fn joined(parts: &[&EventRow]) -> Whole {
    let mut parts = parts.to_vec();
    // Whatever came first, the same one stands for all.
    parts.sort_by_key(|part| part.key);
    let mut row = parts[0].clone();
    let (mut counts, mut aborted) = (Counts::default(), false);
    for part in &parts {
        row.event.complete_from(&part.event);
        if let Some(tests) = &part.event.tests {
            counts.join(&tests.counts());
            aborted |= tests.aborted;
        }
    }
    if let Some(tests) = &mut row.event.tests {
        (tests.counts, tests.aborted) = (Some(counts), aborted);
    }
    row.event.finished = parts.iter().filter_map(|part| part.event.finished).max();
    row.event.result = CiResult::worst(parts.iter().filter_map(|part| part.event.result));
    // It began with the first part whose beginning is known, unless an end is known from before.
    let first = parts.iter().map(|part| part.started).min();
    let told = parts.iter().filter(|part| part.event.started.is_some()).map(|part| part.started).min();
    row.event.started = told.filter(|told| Some(*told) == first);
    row.started = row.event.started.or(row.event.finished).unwrap_or(row.started);
    Whole { row, parts: parts.iter().map(|part| part.key).collect() }
}

/// Results by test run, each case once: a name that occurs twice in a run is one case, and its worst
/// result counts.
pub(super) fn by_run(results: &[ResultRow], wholes: &[Whole]) -> HashMap<i64, Vec<ResultRow>> {
    let whole_of: HashMap<i64, i64> =
        wholes.iter().flat_map(|whole| whole.parts.iter().map(|part| (*part, whole.row.key))).collect();
    let mut runs: HashMap<i64, Vec<ResultRow>> = HashMap::new();
    let mut places: HashMap<(i64, i64), usize> = HashMap::new();
    for result in results {
        let Some(run) = whole_of.get(&result.event) else { continue };
        let of_run = runs.entry(*run).or_default();
        let place = *places.entry((*run, result.case)).or_insert(of_run.len());
        match of_run.get_mut(place) {
            Some(known) if badness(result) <= badness(known) => {}
            Some(known) => *known = ResultRow { event: *run, ..result.clone() },
            None => of_run.push(ResultRow { event: *run, ..result.clone() }),
        }
    }
    runs
}

/// In the order of a JUnit report's reader; one that passed only when it was run again is no mere pass.
fn badness(result: &ResultRow) -> (u8, bool) {
    let status = match result.status {
        CaseStatus::Pass => 0,
        CaseStatus::Skip => 1,
        CaseStatus::Fail => 2,
        CaseStatus::Error => 3,
    };
    (status, result.mark == Some(Mark::Rerun))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::history::suites::{SuiteHistory, suites};
    use crate::model::{Event, Flavour, Tests};

    /// What of a test run is told, as the store would tell it again.
    struct Run(EventRow, Vec<ResultRow>);

    /// One that took a minute, so many hours after the epoch, with each case's status by a letter.
    fn run(key: i64, hour: i64, cases: &[(&str, char)]) -> Run {
        let at = Timestamp(hour * 3_600_000_000_000);
        let ended = at.plus(std::time::Duration::from_secs(60));
        let mut event = Event::new("test", "p", &hour.to_string());
        (event.branch, event.commit) = (Some("3.x".to_owned()), Some("a".to_owned()));
        (event.started, event.finished, event.result) = (Some(at), Some(ended), Some(CiResult::Success));
        let mut counts = Counts::default();
        let results = cases.iter().map(|(name, letter)| {
            let (status, mark) = match letter {
                'p' => (CaseStatus::Pass, None),
                'f' => (CaseStatus::Fail, None),
                'r' => (CaseStatus::Pass, Some(Mark::Rerun)),
                other => panic!("no status: {other}"),
            };
            counts.add(status);
            let case = name.bytes().map(i64::from).sum();
            let name = (*name).to_owned();
            ResultRow {
                event: key,
                case,
                class: String::new(),
                name,
                status,
                mark,
                seconds: None,
                message: None,
            }
        });
        let results = results.collect();
        event.tests = Some(Tests { suite: "unit".to_owned(), counts: Some(counts), ..Tests::default() });
        Run(EventRow { key, started: at, received: at, event }, results)
    }

    impl Run {
        fn on(mut self, db: Flavour) -> Run {
            self.0.event.db = Some(db);
            self
        }

        fn part_of(mut self, whole: &str, result: CiResult) -> Run {
            self.0.event.result = Some(result);
            self.0.event.tests.as_mut().unwrap().part_of = Some(whole.to_owned());
            self
        }
    }

    fn judged(runs: &[Run]) -> Vec<SuiteHistory> {
        let mut rows: Vec<EventRow> = runs.iter().map(|run| run.0.clone()).collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.started));
        let results: Vec<ResultRow> = runs.iter().flat_map(|run| run.1.clone()).collect();
        suites(&rows, &results, &results)
    }

    #[test]
    fn what_passes_on_one_database_and_fails_on_another_is_not_flaky() {
        let on = |key, hour, letter, db| run(key, hour, &[("a", letter)]).on(db);
        let (mysql, postgres) = (Flavour::Mysql, Flavour::Postgresql);
        let apart = judged(&[on(1, 1, 'p', mysql), on(2, 2, 'f', postgres), on(3, 3, 'p', mysql)]);
        let heads: Vec<_> = apart.iter().map(|suite| suite.scope.head()).collect();
        assert_eq!(heads, ["3.x on mysql", "3.x on postgresql"]);
        assert!(apart.iter().all(|suite| suite.flaky.is_empty() && suite.fixed.is_empty()), "{apart:?}");
        assert_eq!(apart[1].newly_failing.len(), 1);

        let within = judged(&[on(1, 1, 'p', mysql), on(2, 2, 'f', postgres), on(3, 3, 'f', mysql)]);
        assert_eq!(within.iter().map(|suite| suite.flaky.len()).collect::<Vec<_>>(), [1, 0]);
        let mut staging = on(3, 3, 'f', mysql);
        staging.0.event.environment = Some("staging".to_owned());
        let places = judged(&[on(1, 1, 'p', mysql), staging]);
        assert_eq!(places[0].scope.head(), "3.x on mysql in staging");
        assert!(places.iter().all(|suite| suite.flaky.is_empty()), "{places:?}");
    }

    #[test]
    fn a_name_that_comes_twice_in_a_run_is_one_case_with_its_worst_result() {
        let twice = |key, hour| run(key, hour, &[("a", 'p'), ("a", 'f'), ("b", 'p')]);
        let still = judged(&[twice(1, 1), twice(2, 2)]).remove(0);
        assert_eq!((still.newly_failing.len(), still.still_failing.len()), (0, 1));
        assert_eq!(still.still_failing[0].runs, 2);
        assert_eq!(still.flaky, [], "it never passed");
        let rerun = judged(&[run(1, 1, &[("a", 'r'), ("a", 'p')])]).remove(0);
        assert_eq!((rerun.flaky.len(), rerun.flaky[0].passes), (1, 1));
    }

    #[test]
    fn parts_of_a_run_are_one_run_whatever_their_order() {
        let part = |key, name, letter, result| run(key, 2, &[(name, letter)]).part_of("suite-run", result);
        let parts = || {
            let mut late = part(11, "b", 'f', CiResult::Failure);
            late.0.started = late.0.started.plus(std::time::Duration::from_secs(60));
            late.0.event.started = Some(late.0.started);
            late.0.event.finished = Some(late.0.started.plus(std::time::Duration::from_secs(60)));
            vec![run(1, 1, &[("a", 'p'), ("b", 'p')]), part(12, "a", 'p', CiResult::Success), late]
        };
        let mut told = parts();
        told.reverse();
        let [one, other] = [judged(&parts()), judged(&told)];
        assert_eq!(one, other);
        let suite = &one[0];
        assert_eq!(suite.runs.len(), 2);
        let last = suite.last();
        assert_eq!((last.counts.pass, last.counts.fail, last.seconds), (1, 1, Some(120.0)));
        assert_eq!(last.result, Some(CiResult::Failure));
        assert_eq!(suite.newly_failing.iter().map(|note| note.title.as_str()).collect::<Vec<_>>(), ["b"]);

        // Of another attempt, or another whole, they are none.
        let mut again = parts();
        again[2].0.event.attempt = 2;
        assert_eq!(judged(&again)[0].runs.len(), 3);
        let mut unknown = parts();
        unknown[1].0.event.started = None;
        unknown[1].0.started = unknown[1].0.started.plus(std::time::Duration::from_secs(59));
        unknown[1].0.event.finished = Some(unknown[1].0.started);
        assert_eq!(judged(&unknown)[0].last().seconds, None, "its first part tells of no beginning");
        let rows: Vec<EventRow> = parts().into_iter().map(|run| run.0).rev().collect();
        assert_eq!(crate::history::timed_runs(&rows), [11, 12, 1]);
    }

    #[test]
    fn the_worst_of_a_run_is_no_matter_of_order() {
        let row = |status| ResultRow {
            event: 1,
            case: 1,
            class: String::new(),
            name: "a".to_owned(),
            status,
            mark: None,
            seconds: None,
            message: None,
        };
        let whole = run(1, 1, &[]);
        let wholes = wholes(&[whole.0]);
        let mut all = CaseStatus::ALL.map(row).to_vec();
        for _ in 0..all.len() {
            all.rotate_left(1);
            assert_eq!(by_run(&all, &wholes)[&1], [row(CaseStatus::Error)]);
        }
    }
}
