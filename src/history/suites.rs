//! Test runs beside those before them.
//!
//! A case *fails newly* when it fails in the last run of its suite on a branch and passed the last
//! time before that (or never ran). It is *flaky* when it passed and failed on the same commit within
//! 14 days, on one database, or passed only when its runner ran it again; five passes in a row clear it.
//! Both rules look at all runs by the time they began, so it does not matter in which order they were
//! told of.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::wholes::{by_run, wholes};
use super::{first_of, growth, median};
use crate::clock::Timestamp;
use crate::model::{CaseStatus, CiResult, Counts, EventRow, Flavour, Mark, ResultRow, TraceParent};

/// So many passes in a row, and a case counts as mended.
const PASSES_CLEAR: usize = 5;
/// Cases that each list of slow ones holds.
const SLOW_MAX: usize = 10;
/// Of the runs whose times are compared, so many are the newer ones.
const NEWER_RUNS: usize = 3;
/// The least number of older runs that a comparison takes.
const OLDER_RUNS_MIN: usize = 5;
/// A case grows slower when its median rose by this ratio, and by this many seconds.
const SLOWER_RATIO: f64 = 0.5;
const SLOWER_SECONDS: f64 = 0.05;

/// What is compared from run to run: one suite on one branch, or of one version where no branch is
/// known; apart by database and environment, since a test may well pass on one of them and not on
/// another.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope {
    pub suite: String,
    /// `None` where it is not known.
    pub branch: Option<String>,
    /// Only where no branch is known.
    pub version: Option<String>,
    /// The database that the tests ran on, where it was told.
    pub db: Option<Flavour>,
    /// Where it was told.
    pub environment: Option<String>,
}

/// A suite over all its branches, on one database and in one environment: where a case of it is the
/// same case.
type Place<'a> = (&'a str, Option<Flavour>, Option<&'a str>);

impl Scope {
    pub(super) fn of(row: &EventRow) -> Option<Scope> {
        let event = &row.event;
        let branch = event.branch.clone();
        let version = if branch.is_none() { event.version.as_ref().map(ToString::to_string) } else { None };
        let suite = event.tests.as_ref()?.suite.clone();
        Some(Scope { suite, branch, version, db: event.db, environment: event.environment.clone() })
    }

    fn place(&self) -> Place<'_> {
        (&self.suite, self.db, self.environment.as_deref())
    }

    /// The branch, or the version, or that neither is known; with database and environment, where
    /// these are: `3.x on mysql in staging`.
    pub fn head(&self) -> String {
        head(self.branch.as_deref().or(self.version.as_deref()), self.db, self.environment.as_deref())
    }
}

/// In words.
pub fn head(of: Option<&str>, db: Option<Flavour>, environment: Option<&str>) -> String {
    let on = db.map(|db| format!(" on {db}")).unwrap_or_default();
    let within = environment.map(|name| format!(" in {name}")).unwrap_or_default();
    format!("{}{on}{within}", of.unwrap_or("(no branch)"))
}

/// One suite on one branch and database.
#[derive(Clone, Debug, PartialEq)]
pub struct SuiteHistory {
    pub scope: Scope,
    /// Newest first.
    pub runs: Vec<TestRun>,
    /// Fail in the last run, and passed or did not exist before.
    pub newly_failing: Vec<CaseNote>,
    /// Fail in the last run, and did the time before; those that fail the longest first.
    pub still_failing: Vec<CaseNote>,
    /// Pass in the last run, and failed the time before.
    pub fixed: Vec<CaseNote>,
    /// Of this suite, on this database and in this environment, on whatever branch it shows.
    pub flaky: Vec<Flaky>,
    /// Of the last run.
    pub slowest: Vec<Slow>,
    pub slower: Vec<Slower>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct TestRun {
    pub key: i64,
    pub at: Timestamp,
    pub seconds: Option<f64>,
    pub counts: Counts,
    /// Not all of it is known: it was ended, or its report is cut off.
    pub aborted: bool,
    pub result: Option<CiResult>,
    pub pipeline: String,
    pub run: String,
    pub commit: Option<String>,
    pub url: Option<String>,
    pub place: TraceParent,
    /// Why it was ended, and the last test that had started.
    pub ended_for: Option<String>,
    pub last_test: Option<String>,
}

impl TestRun {
    /// It came to its end, and nothing in it failed. A run that hung has no failed case and has not
    /// succeeded.
    pub fn succeeded(&self) -> bool {
        !self.aborted && !self.result.is_some_and(CiResult::is_bad) && self.counts.bad() == 0
    }
}

/// A case that failed.
#[derive(Clone, Debug, PartialEq)]
pub struct CaseNote {
    pub case: i64,
    pub title: String,
    pub status: CaseStatus,
    /// Since when it fails without a pass in between; for a fixed one, when it failed first.
    pub since: Timestamp,
    /// How many runs in a row.
    pub runs: usize,
    /// The commit it failed on first.
    pub commit: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Flaky {
    pub case: i64,
    pub title: String,
    /// The last time it was seen to be so.
    pub at: Timestamp,
    /// The commit on which it both passed and failed; `None` when its runner says so itself.
    pub commit: Option<String>,
    /// Within 14 days, on all branches.
    pub passes: usize,
    pub failures: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Slow {
    pub title: String,
    pub seconds: f64,
}

/// A case whose time grew: medians of the last runs and of those before them.
#[derive(Clone, Debug, PartialEq)]
pub struct Slower {
    pub title: String,
    pub before_seconds: f64,
    pub seconds: f64,
    /// 0.5 is half as long again.
    pub ratio: f64,
}

impl SuiteHistory {
    pub fn last(&self) -> &TestRun {
        // It is made from at least one run.
        &self.runs[0]
    }
}

pub(super) fn suites(tests: &[EventRow], doubtful: &[ResultRow], timed: &[ResultRow]) -> Vec<SuiteHistory> {
    let wholes = wholes(tests);
    let (doubtful, timed) = (by_run(doubtful, &wholes), by_run(timed, &wholes));
    let runs: Vec<(Scope, &EventRow)> =
        wholes.iter().filter_map(|whole| Some((Scope::of(&whole.row)?, &whole.row))).collect();
    let mut flaky: HashMap<Place, Vec<Flaky>> = HashMap::new();
    for (scope, _) in &runs {
        flaky.entry(scope.place()).or_insert_with(|| {
            let here = runs.iter().filter(|(other, _)| other.place() == scope.place());
            flaky_of(here.map(|(_, row)| *row), &doubtful)
        });
    }
    first_of(runs.iter().map(|(scope, _)| scope), |scope| *scope)
        .into_iter()
        .map(|scope| {
            let rows: Vec<&EventRow> =
                runs.iter().filter(|(other, _)| other == scope).map(|(_, row)| *row).collect();
            let [newly_failing, still_failing, fixed] = changes(&rows, &doubtful);
            SuiteHistory {
                runs: rows.iter().map(|row| test_run(row)).collect(),
                newly_failing,
                still_failing,
                fixed,
                flaky: flaky.get(&scope.place()).cloned().unwrap_or_default(),
                slowest: slowest(rows[0], &timed),
                slower: slower(&rows, &timed),
                scope: scope.clone(),
            }
        })
        .collect()
}

fn test_run(row: &EventRow) -> TestRun {
    let event = &row.event;
    TestRun {
        key: row.key,
        at: super::ended(row),
        seconds: row.seconds(),
        counts: event.tests.as_ref().map(|tests| tests.counts()).unwrap_or_default(),
        aborted: event.tests.as_ref().is_some_and(|tests| tests.aborted),
        result: event.result,
        pipeline: event.pipeline.clone(),
        run: event.run.clone(),
        commit: event.commit.clone(),
        url: event.url.clone(),
        place: event.as_parent(),
        ended_for: event.evidence.as_ref().map(|evidence| evidence.reason.clone()),
        last_test: event.evidence.as_ref().and_then(|evidence| evidence.last_test.clone()),
    }
}

/// Newly failing, still failing, fixed; `rows` newest first.
fn changes(rows: &[&EventRow], doubtful: &HashMap<i64, Vec<ResultRow>>) -> [Vec<CaseNote>; 3] {
    let mut past: BTreeMap<i64, Vec<(&EventRow, &ResultRow)>> = BTreeMap::new();
    for row in rows {
        for result in doubtful.get(&row.key).into_iter().flatten() {
            // What was skipped says nothing about the case.
            if result.status != CaseStatus::Skip {
                past.entry(result.case).or_default().push((row, result));
            }
        }
    }
    let [mut new, mut still, mut fixed] = [const { Vec::new() }; 3];
    for (case, results) in past {
        let Some((newest, last)) = results.first().filter(|(row, _)| row.key == rows[0].key) else {
            continue;
        };
        let before = &results[1..];
        let streak = |results: &[(&EventRow, &ResultRow)]| {
            results.iter().take_while(|(_, result)| result.status.is_bad()).count()
        };
        let note = |first: &EventRow, runs: usize| CaseNote {
            case,
            title: last.title(),
            status: last.status,
            since: first.started,
            runs,
            commit: first.event.commit.clone(),
        };
        match (last.status.is_bad(), streak(before)) {
            (true, 0) => new.push(note(newest, 1)),
            (true, more) => still.push(note(before[more - 1].0, more + 1)),
            (false, more) if more > 0 => fixed.push(note(before[more - 1].0, more)),
            (false, _) => {}
        }
    }
    still.sort_by_key(|note| note.since);
    new.sort_by(|a, b| a.title.cmp(&b.title));
    fixed.sort_by(|a, b| a.title.cmp(&b.title));
    [new, still, fixed]
}

fn flaky_of<'a>(
    rows: impl Iterator<Item = &'a EventRow>,
    doubtful: &HashMap<i64, Vec<ResultRow>>,
) -> Vec<Flaky> {
    let mut past: BTreeMap<i64, Vec<(&EventRow, &ResultRow)>> = BTreeMap::new();
    for row in rows {
        for result in doubtful.get(&row.key).into_iter().flatten() {
            if result.status != CaseStatus::Skip {
                past.entry(result.case).or_default().push((row, result));
            }
        }
    }
    past.into_iter().filter_map(|(case, results)| judge(case, &results)).collect()
}

/// `results` of one case on all branches, newest first.
fn judge(case: i64, results: &[(&EventRow, &ResultRow)]) -> Option<Flaky> {
    let clean = |(_, result): &&(&EventRow, &ResultRow)| {
        result.status == CaseStatus::Pass && result.mark != Some(Mark::Rerun)
    };
    if results.iter().take_while(clean).count() >= PASSES_CLEAR {
        return None;
    }
    let commits = |wanted: fn(&ResultRow) -> bool| -> HashSet<&str> {
        let of = results.iter().filter(|(_, result)| wanted(result));
        of.filter_map(|(row, _)| row.event.commit.as_deref()).collect()
    };
    let passed = commits(|result| result.status == CaseStatus::Pass);
    let failed = commits(|result| result.status.is_bad());
    // The newest run that shows it: one on a commit of both kinds, or one passed on a rerun.
    let (row, result) = results.iter().find(|(row, result)| {
        let commit = row.event.commit.as_deref();
        result.mark == Some(Mark::Rerun)
            || commit.is_some_and(|commit| passed.contains(commit) && failed.contains(commit))
    })?;
    let commit = row.event.commit.clone().filter(|_| result.mark != Some(Mark::Rerun));
    Some(Flaky {
        case,
        title: result.title(),
        at: row.started,
        commit,
        passes: results.iter().filter(|(_, result)| result.status == CaseStatus::Pass).count(),
        failures: results.iter().filter(|(_, result)| result.status.is_bad()).count(),
    })
}

fn slowest(row: &EventRow, timed: &HashMap<i64, Vec<ResultRow>>) -> Vec<Slow> {
    let results = timed.get(&row.key).into_iter().flatten();
    let mut slow: Vec<Slow> =
        results.filter_map(|r| Some(Slow { title: r.title(), seconds: r.seconds? })).collect();
    slow.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    slow.truncate(SLOW_MAX);
    slow
}

/// Cases whose time grew from the older of the runs to the newer ones. An indication: runs of CI are
/// not paired, and their machines differ.
fn slower(rows: &[&EventRow], timed: &HashMap<i64, Vec<ResultRow>>) -> Vec<Slower> {
    let runs: Vec<&Vec<ResultRow>> = rows.iter().filter_map(|row| timed.get(&row.key)).collect();
    if runs.len() < NEWER_RUNS + OLDER_RUNS_MIN {
        return Vec::new();
    }
    let (newer, older) = runs.split_at(NEWER_RUNS);
    let times = |runs: &[&Vec<ResultRow>]| {
        let mut times: HashMap<i64, (String, Vec<f64>)> = HashMap::new();
        for result in runs.iter().flat_map(|run| run.iter()).filter(|r| r.status == CaseStatus::Pass) {
            if let Some(seconds) = result.seconds {
                times.entry(result.case).or_insert_with(|| (result.title(), Vec::new())).1.push(seconds);
            }
        }
        times
    };
    let before = times(older);
    let mut slower: Vec<Slower> = times(newer)
        .into_iter()
        .filter_map(|(case, (title, now))| {
            let (_, then) = before.get(&case)?;
            if now.len() < NEWER_RUNS || then.len() < OLDER_RUNS_MIN {
                return None;
            }
            let (seconds, before_seconds) = (median(now)?, median(then.clone())?);
            let ratio = growth(seconds, before_seconds)?;
            let grew = ratio >= SLOWER_RATIO && seconds - before_seconds >= SLOWER_SECONDS;
            grew.then_some(Slower { title, before_seconds, seconds, ratio })
        })
        .collect();
    slower.sort_by(|a, b| (b.seconds - b.before_seconds).total_cmp(&(a.seconds - a.before_seconds)));
    slower.truncate(SLOW_MAX);
    slower
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Event, Tests};

    /// A run of suite `unit`: branch, commit, and each case's status by a letter (`.` not run).
    fn history(runs: &[(&str, &str, &str)]) -> SuiteHistory {
        let mut rows = Vec::new();
        let mut results = Vec::new();
        for (n, (branch, commit, letters)) in runs.iter().enumerate() {
            let at = Timestamp((n as i64 + 1) * 3_600_000_000_000);
            let mut event = Event::new("test", "p", &n.to_string());
            event.branch = Some((*branch).to_owned());
            event.commit = Some((*commit).to_owned());
            (event.started, event.finished) = (Some(at), Some(at));
            event.result = Some(CiResult::Success);
            event.tests = Some(Tests { suite: "unit".to_owned(), ..Tests::default() });
            let key = n as i64;
            for (case, letter) in letters.chars().enumerate() {
                let (status, mark) = match letter {
                    'p' => (CaseStatus::Pass, None),
                    'f' => (CaseStatus::Fail, None),
                    's' => (CaseStatus::Skip, None),
                    'r' => (CaseStatus::Pass, Some(Mark::Rerun)),
                    _ => continue,
                };
                results.push(ResultRow {
                    event: key,
                    case: case as i64,
                    class: String::new(),
                    name: format!("case{case}"),
                    status,
                    mark,
                    seconds: None,
                    message: None,
                });
            }
            rows.push(EventRow { key, started: at, received: at, event });
        }
        rows.reverse();
        suites(&rows, &results, &[]).remove(0)
    }

    fn titles(notes: &[CaseNote]) -> Vec<(&str, usize)> {
        notes.iter().map(|note| (note.title.as_str(), note.runs)).collect()
    }

    #[test]
    fn a_run_that_was_ended_has_not_succeeded_though_no_case_failed() {
        let passed = history(&[("3.x", "a", "pp")]).runs.remove(0);
        let ended = |result| TestRun { result: Some(result), ..passed.clone() };
        assert!(passed.succeeded() && ended(CiResult::Skip).succeeded());
        assert!(!ended(CiResult::Timeout).succeeded() && !ended(CiResult::Cancellation).succeeded());
        assert!(!TestRun { aborted: true, ..passed.clone() }.succeeded());
        let failed = Counts { fail: 1, ..passed.counts };
        assert!(!TestRun { counts: failed, ..passed.clone() }.succeeded(), "its tool exits 0 all the same");
    }

    #[test]
    fn a_case_fails_newly_once_then_still_then_it_is_fixed() {
        let new = history(&[("3.x", "a", "pp"), ("3.x", "b", "fp")]);
        assert_eq!((titles(&new.newly_failing), titles(&new.still_failing)), (vec![("case0", 1)], vec![]));
        let still = history(&[("3.x", "a", "pp"), ("3.x", "b", "fp"), ("3.x", "c", "fp")]);
        assert_eq!(
            (titles(&still.newly_failing), titles(&still.still_failing)),
            (vec![], vec![("case0", 2)])
        );
        assert_eq!(still.still_failing[0].commit.as_deref(), Some("b"));
        let fixed = history(&[("3.x", "a", "pp"), ("3.x", "b", "fp"), ("3.x", "c", "pp")]);
        assert_eq!((titles(&fixed.fixed), fixed.newly_failing.len()), (vec![("case0", 1)], 0));
    }

    #[test]
    fn a_case_that_never_ran_before_fails_newly_and_a_skip_says_nothing() {
        assert_eq!(titles(&history(&[("3.x", "a", "p."), ("3.x", "b", "pf")]).newly_failing), [("case1", 1)]);
        let skipped = history(&[("3.x", "a", "f"), ("3.x", "b", "s"), ("3.x", "c", "f")]);
        assert_eq!(titles(&skipped.still_failing), [("case0", 2)]);
        let skips_now = history(&[("3.x", "a", "f"), ("3.x", "b", "s")]);
        assert!(skips_now.fixed.is_empty() && skips_now.still_failing.is_empty());
    }

    #[test]
    fn another_branch_does_not_make_a_failure_old() {
        let history = history(&[("2.4", "a", "f"), ("3.x", "b", "p"), ("2.4", "c", "f"), ("3.x", "d", "f")]);
        assert_eq!(history.scope.head(), "3.x");
        assert_eq!(titles(&history.newly_failing), [("case0", 1)]);
    }

    #[test]
    fn pass_and_failure_on_one_commit_is_flaky_until_five_passes() {
        let flaky = history(&[("3.x", "a", "p"), ("3.x", "a", "f"), ("3.x", "b", "p")]);
        let [found] = flaky.flaky.as_slice() else { panic!("{:?}", flaky.flaky) };
        assert_eq!((found.commit.as_deref(), found.passes, found.failures), (Some("a"), 2, 1));
        let passes = [("3.x", "c", "p"); 5];
        let before = [("3.x", "a", "p"), ("3.x", "a", "f")];
        assert_eq!(history(&[&before[..], &passes[..4]].concat()).flaky.len(), 1);
        assert_eq!(history(&[&before[..], &passes[..]].concat()).flaky, []);
    }

    #[test]
    fn failing_on_one_commit_and_passing_on_another_is_not_flaky() {
        assert_eq!(history(&[("3.x", "a", "p"), ("3.x", "b", "f"), ("3.x", "c", "p")]).flaky, []);
    }

    #[test]
    fn a_pass_after_a_rerun_is_flaky_by_the_runners_own_account() {
        let history = history(&[("3.x", "a", "p"), ("3.x", "b", "r")]);
        assert_eq!(history.flaky.len(), 1);
        assert_eq!(history.flaky[0].commit, None);
    }

    #[test]
    fn a_case_grows_slower_when_its_median_rises_by_half() {
        let result = |event: i64, seconds: f64| ResultRow {
            event,
            case: 1,
            class: String::new(),
            name: "a".to_owned(),
            status: CaseStatus::Pass,
            mark: None,
            seconds: Some(seconds),
            message: None,
        };
        let base = history(&[("3.x", "a", "p"); 8]);
        let rows: Vec<EventRow> = base
            .runs
            .iter()
            .map(|run| {
                let event = Event::new("test", "p", &run.run);
                EventRow { key: run.key, started: run.at, received: run.at, event }
            })
            .collect();
        let rows: Vec<&EventRow> = rows.iter().collect();
        let timed = |newer: f64| {
            let times = rows.iter().enumerate().map(|(n, row)| (row.key, if n < 3 { newer } else { 0.2 }));
            times.map(|(key, seconds)| (key, vec![result(key, seconds)])).collect()
        };
        assert_eq!(slower(&rows, &timed(0.28)), []);
        let [grown] = slower(&rows, &timed(0.4)).try_into().unwrap();
        assert!((grown.ratio - 1.0).abs() < 1e-9, "{grown:?}");
        assert_eq!(slower(&rows[..7], &timed(0.4)), [], "too few runs");
    }
}
