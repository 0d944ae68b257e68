//! Test runs: a suite on a branch each, with what fails by name.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use askama::filters::HtmlSafe;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::link;
use crate::history::{self, SuiteHistory};
use crate::model::{CaseStatus, CiResult, Counts, Flavour, TraceId};
use crate::page::format::{Count, Percent, Secs, Time};

/// Suites and branches that are shown, those with the newest runs.
const SUITES_MAX: usize = 12;
/// Runs of each.
const RUNS_MAX: usize = 30;
/// Cases that each list names.
const CASES_MAX: usize = 20;

/// Test runs of the last 14 days.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TestHistory {
    /// Those with the newest runs, at most 12.
    pub suites: Vec<TestSuite>,
    /// How many there are in all.
    pub suites_known: Count,
}

/// One suite on one branch, on one database and in one environment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TestSuite {
    pub suite: String,
    /// Null where it is not known.
    pub branch: Option<String>,
    /// Null where a branch is known.
    pub version: Option<String>,
    /// Null where it was not told.
    #[schema(value_type = Option<String>, example = "mysql")]
    pub db: Option<Flavour>,
    /// Null where it was not told.
    pub environment: Option<String>,
    /// Newest first, at least one and at most 30.
    pub runs: Vec<TestRun>,
    pub runs_known: Count,
    pub newly_failing_count: Count,
    /// Fail in the last run, and passed or did not exist before; at most 20.
    pub newly_failing: Vec<FailingCase>,
    pub still_failing_count: Count,
    /// Fail in the last run and did the time before, the longest first; at most 20.
    pub still_failing: Vec<FailingCase>,
    pub fixed_count: Count,
    /// Pass in the last run, and failed the time before; at most 20.
    pub fixed: Vec<FailingCase>,
    pub flaky_count: Count,
    /// Passed and failed on the same commit within 14 days, on this database and on whatever branch; at
    /// most 20.
    pub flaky: Vec<FlakyCase>,
    /// Of the last run.
    pub slowest: Vec<SlowCase>,
    /// Medians of the last three runs against those before them: an indication.
    pub slower: Vec<SlowerCase>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TestRun {
    /// When it ended.
    pub at: Time,
    /// Null when its beginning is not known.
    pub seconds: Option<f64>,
    pub counts: Counts,
    /// Not all of it is known: it was ended, or its report is cut off.
    pub aborted: bool,
    pub result: Option<CiResult>,
    pub pipeline: String,
    pub run: String,
    pub commit: Option<String>,
    /// Where the CI shows it.
    pub url: Option<String>,
    #[schema(value_type = String)]
    pub trace: TraceId,
    /// Why it was ended.
    pub ended_for: Option<String>,
    /// The last test that had started when it was ended.
    pub last_test: Option<String>,
}

/// A case that fails, or did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FailingCase {
    pub case: String,
    pub status: CaseStatus,
    /// When it failed first, with no pass since.
    pub since: Time,
    /// How many runs in a row.
    pub runs: Count,
    /// The commit it failed on first.
    pub commit: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FlakyCase {
    pub case: String,
    /// The last time it was seen to be so.
    pub at: Time,
    /// The commit on which it both passed and failed; null when its runner says so itself.
    pub commit: Option<String>,
    /// Within 14 days, on all branches.
    pub passes: Count,
    pub failures: Count,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SlowCase {
    pub case: String,
    pub seconds: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SlowerCase {
    pub case: String,
    pub before_seconds: f64,
    pub seconds: f64,
    /// 0.5 is half as long again.
    pub ratio: f64,
}

impl TestHistory {
    pub fn new(suites: &[SuiteHistory]) -> Self {
        TestHistory {
            suites: suites.iter().take(SUITES_MAX).map(TestSuite::new).collect(),
            suites_known: suites.len().into(),
        }
    }

    /// Whether it is the first of its suite on its database: flaky cases are the same for all its
    /// branches, and told once.
    pub fn tells_flaky(&self, suite: &TestSuite) -> bool {
        let place = |of: &TestSuite| (of.suite.clone(), of.db, of.environment.clone());
        let first = self.suites.iter().find(|other| place(other) == place(suite));
        first.is_some_and(|first| first.head() == suite.head())
    }

    pub fn more(&self) -> usize {
        usize::try_from(self.suites_known.0).unwrap_or(usize::MAX).saturating_sub(self.suites.len())
    }
}

impl TestSuite {
    fn new(history: &SuiteHistory) -> Self {
        let cases = |notes: &[history::CaseNote]| -> (Count, Vec<FailingCase>) {
            (notes.len().into(), notes.iter().take(CASES_MAX).map(FailingCase::new).collect())
        };
        let (newly_failing_count, newly_failing) = cases(&history.newly_failing);
        let (still_failing_count, still_failing) = cases(&history.still_failing);
        let (fixed_count, fixed) = cases(&history.fixed);
        TestSuite {
            suite: history.scope.suite.clone(),
            branch: history.scope.branch.clone(),
            version: history.scope.version.clone(),
            db: history.scope.db,
            environment: history.scope.environment.clone(),
            runs: history.runs.iter().take(RUNS_MAX).map(TestRun::new).collect(),
            runs_known: history.runs.len().into(),
            newly_failing_count,
            newly_failing,
            still_failing_count,
            still_failing,
            fixed_count,
            fixed,
            flaky_count: history.flaky.len().into(),
            flaky: history.flaky.iter().take(CASES_MAX).map(FlakyCase::new).collect(),
            slowest: history
                .slowest
                .iter()
                .map(|slow| SlowCase { case: slow.title.clone(), seconds: slow.seconds })
                .collect(),
            slower: history
                .slower
                .iter()
                .map(|slower| SlowerCase {
                    case: slower.title.clone(),
                    before_seconds: slower.before_seconds,
                    seconds: slower.seconds,
                    ratio: slower.ratio,
                })
                .collect(),
        }
    }

    /// The branch, or the version, or that neither is known; with database and environment.
    pub fn head(&self) -> String {
        let of = self.branch.as_deref().or(self.version.as_deref());
        history::head(of, self.db, self.environment.as_deref())
    }

    /// The same from reading to reading, for what a person has opened on the page.
    pub fn id(&self) -> String {
        let mut hash = DefaultHasher::new();
        (&self.suite, self.head()).hash(&mut hash);
        format!("{:x}", hash.finish())
    }

    pub fn last(&self) -> Option<&TestRun> {
        self.runs.first()
    }

    /// Whether no case fails or did the time before.
    pub fn is_quiet(&self) -> bool {
        [&self.newly_failing, &self.still_failing, &self.fixed].iter().all(|list| list.is_empty())
    }

    pub fn strip(&self) -> Strip<'_> {
        Strip { runs: &self.runs }
    }
}

impl TestRun {
    pub(super) fn new(run: &history::TestRun) -> Self {
        TestRun {
            at: Time(run.at),
            seconds: run.seconds,
            counts: run.counts,
            aborted: run.aborted,
            result: run.result,
            pipeline: run.pipeline.clone(),
            run: run.run.clone(),
            commit: run.commit.clone(),
            url: link(run.url.as_ref()),
            trace: run.place.trace,
            ended_for: run.ended_for.clone(),
            last_test: run.last_test.clone(),
        }
    }

    /// Whether it did not come to its end.
    pub fn is_cut_short(&self) -> bool {
        self.aborted
            || matches!(self.result, Some(CiResult::Timeout | CiResult::Cancellation | CiResult::Error))
    }

    pub fn is_bad(&self) -> bool {
        self.counts.bad() > 0 || self.is_cut_short() || self.result.is_some_and(CiResult::is_bad)
    }

    /// In one or two words.
    pub fn word(&self) -> &'static str {
        match self.result {
            Some(CiResult::Timeout) => "timed out",
            Some(CiResult::Cancellation) => "cancelled",
            _ if self.aborted => "aborted",
            Some(CiResult::Error) => "broke",
            _ if self.is_bad() => "fail",
            _ => "pass",
        }
    }

    /// The symbol that goes with the word.
    pub fn symbol(&self) -> &'static str {
        match self.word() {
            "pass" => "pass",
            "fail" => "fail",
            _ => "unreachable",
        }
    }

    /// How it went in a word or a number: `2 fail`, `971 pass`, `timed out`.
    pub fn headline(&self) -> String {
        match self.word() {
            "pass" => format!("{} pass", Count(self.counts.pass)),
            "fail" if self.counts.bad() > 0 => format!("{} fail", Count(self.counts.bad())),
            word => word.to_owned(),
        }
    }

    /// What the headline does not say: `965 pass, 4 skipped`; what is none is left out.
    pub fn rest(&self) -> String {
        let Counts { pass, skip, .. } = self.counts;
        let (word, bad) = (self.word(), self.counts.bad());
        let parts = [(pass, "pass", word != "pass"), (bad, "fail", word != "fail"), (skip, "skipped", true)];
        let parts = parts.iter().filter(|(n, _, told)| *told && *n > 0);
        parts.map(|(n, what, _)| format!("{} {what}", Count(*n))).collect::<Vec<_>>().join(", ")
    }

    pub fn took(&self) -> Option<Secs> {
        self.seconds.map(Secs)
    }
}

impl FailingCase {
    fn new(note: &history::CaseNote) -> Self {
        FailingCase {
            case: note.title.clone(),
            status: note.status,
            since: Time(note.since),
            runs: note.runs.into(),
            commit: note.commit.clone(),
        }
    }
}

impl FlakyCase {
    fn new(flaky: &history::Flaky) -> Self {
        FlakyCase {
            case: flaky.title.clone(),
            at: Time(flaky.at),
            commit: flaky.commit.clone(),
            passes: flaky.passes.into(),
            failures: flaky.failures.into(),
        }
    }
}

impl SlowCase {
    pub fn took(&self) -> Secs {
        Secs(self.seconds)
    }
}

impl SlowerCase {
    pub fn before(&self) -> Secs {
        Secs(self.before_seconds)
    }

    pub fn now(&self) -> Secs {
        Secs(self.seconds)
    }

    pub fn growth(&self) -> Percent {
        Percent(self.ratio)
    }
}

const STEP: f64 = 10.0;
const BAR: f64 = 7.0;
const HEIGHT: f64 = 46.0;
/// A single failure among thousands has to be seen.
const BAD_MIN: f64 = 6.0;

/// The last runs as bars, the newest on the right: as high as they have cases, with the failed ones
/// on top. A run that was cut short is an outline.
pub struct Strip<'a> {
    runs: &'a [TestRun],
}

impl HtmlSafe for Strip<'_> {}
impl fmt::Display for Strip<'_> {
    #[expect(clippy::cast_precision_loss, reason = "pixels")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = STEP * RUNS_MAX as f64;
        let bad = self.runs.iter().filter(|run| run.is_bad()).count();
        write!(
            f,
            "<svg class=\"strip\" role=\"img\" viewBox=\"0 0 {width} {HEIGHT}\" width=\"{width}\" \
             height=\"{HEIGHT}\"><title>last {}, {bad} of them not passed</title>\
             <path class=\"floor\" d=\"M0 {1}H{width}\"/>",
            Count::from(self.runs.len()).of("run"),
            HEIGHT - 0.5
        )?;
        let most = self.runs.iter().map(|run| run.counts.total()).max().unwrap_or(0).max(1) as f64;
        for (back, run) in self.runs.iter().enumerate() {
            let x = width - STEP * (back + 1) as f64 + (STEP - BAR) / 2.0;
            let (total, bad) = (run.counts.total() as f64, run.counts.bad() as f64);
            let height = ((HEIGHT - 2.0) * total / most).max(3.0);
            let red = if bad > 0.0 { (height * bad / total).max(BAD_MIN).min(height) } else { 0.0 };
            let top = HEIGHT - 1.0 - height;
            let kind = if run.is_cut_short() { "cut" } else { "good" };
            let mut rect = |class: &str, y: f64, height: f64| {
                write!(
                    f,
                    "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{BAR}\" height=\"{height:.1}\"/>"
                )
            };
            if height - red >= 1.0 {
                rect(
                    kind,
                    top + red + f64::from(u8::from(red > 0.0)),
                    height - red - f64::from(u8::from(red > 0.0)),
                )?;
            }
            if red > 0.0 {
                rect("red", top, red)?;
            }
            if run.is_cut_short() {
                write!(f, "<path class=\"mark\" d=\"M{:.1} {:.1}h{BAR}\"/>", x, (top - 2.0).max(1.0))?;
            }
        }
        f.write_str("</svg>")
    }
}
