//! What stands below an answer: tables without a look of their own, which text and Markdown draw.

use super::{Answers, Topic, versions};
use crate::page::ci::{Deployed, FailingCase, LoadRun, TestRun, near, short_id};
use crate::page::format::Time;

/// Cases of one list of one suite that are named.
const CASES_MAX: usize = 10;
/// Deployments that are listed.
const DEPLOYS_MAX: usize = 12;

/// How a cell stands out; its words say the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Plain,
    Good,
    Warn,
    Bad,
    Quiet,
}

pub struct Cell {
    pub text: String,
    pub tone: Tone,
    /// A name that a machine gave.
    pub code: bool,
}

pub struct Grid {
    pub header: Vec<&'static str>,
    /// Columns whose numbers stand below each other.
    pub numbers: Vec<usize>,
    pub rows: Vec<Vec<Cell>>,
    /// What there is besides.
    pub more: Option<String>,
}

pub fn plain(text: impl ToString) -> Cell {
    toned(text, Tone::Plain)
}

pub fn quiet(text: impl ToString) -> Cell {
    toned(text, Tone::Quiet)
}

pub fn code(text: impl ToString) -> Cell {
    Cell { code: true, ..plain(text) }
}

/// Control characters, which a terminal would obey, are not passed on.
pub fn toned(text: impl ToString, tone: Tone) -> Cell {
    Cell { text: tame(&text.to_string()), tone, code: false }
}

pub fn tame(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn or_none(text: Option<impl ToString>) -> String {
    text.map_or_else(|| "–".to_owned(), |text| text.to_string())
}

pub fn grids(answers: &Answers, topic: Topic) -> Vec<Grid> {
    let grids = match topic {
        Topic::Tests => vec![suites(answers), cases(answers), slower(answers), under_way(answers)],
        Topic::Deploys => vec![deploys(answers)],
        Topic::Databases => vec![versions::factors(answers)],
        Topic::Versions => vec![versions::deltas(answers)],
        Topic::Loads => vec![loads(answers), remarks(answers)],
    };
    grids.into_iter().filter(|grid| !grid.rows.is_empty()).collect()
}

fn run_tone(run: &TestRun) -> Tone {
    if run.is_bad() { Tone::Bad } else { Tone::Good }
}

fn symbol(word: &str) -> &'static str {
    match word {
        "pass" => "●",
        "fail" => "✕",
        "skipped" => "○",
        _ => "◆",
    }
}

fn suites(answers: &Answers) -> Grid {
    let tests = &answers.tests;
    let rows = tests.suites.iter().filter_map(|suite| {
        let run = suite.last()?;
        let result = format!("{} {}", symbol(run.symbol()), run.headline());
        Some(vec![
            code(suite.head()),
            plain(&suite.suite),
            toned(result, run_tone(run)),
            quiet(run.rest()),
            plain(suite.newly_failing_count),
            plain(suite.still_failing_count),
            plain(suite.fixed_count),
            plain(suite.flaky_count),
            plain(or_none(run.took())),
            plain(format!("{} {}", run.pipeline, run.run)),
            quiet(ago(run.at, answers.at)),
        ])
    });
    Grid {
        header: vec![
            "branch", "suite", "last run", "", "new", "still", "fixed", "flaky", "took", "run", "ended",
        ],
        numbers: vec![4, 5, 6, 7, 8],
        rows: rows.collect(),
        more: (tests.more() > 0)
            .then(|| format!("{} more suites and branches had no newer run", tests.more())),
    }
}

fn ago(at: Time, now: Time) -> String {
    format!("{} ago", at.age(&now))
}

fn on_commit(commit: Option<&String>) -> String {
    commit.map(|id| format!(", commit {}", short_id(id))).unwrap_or_default()
}

/// What fails, is flaky or was mended, by name.
fn cases(answers: &Answers) -> Grid {
    let now = answers.at;
    let mut rows = Vec::new();
    let mut unnamed = 0;
    for suite in &answers.tests.suites {
        let head = suite.head();
        let mut list = |word: &'static str, tone, cases: &[FailingCase], count: u64, flaky: bool| {
            for case in cases.iter().take(CASES_MAX) {
                let runs = if flaky { String::new() } else { format!("in {}, ", case.runs.of("run")) };
                let detail =
                    format!("{runs}first {}{}", ago(case.since, now), on_commit(case.commit.as_ref()));
                rows.push(vec![toned(word, tone), code(near(&case.case)), code(&head), quiet(detail)]);
            }
            unnamed += count - cases.len().min(CASES_MAX) as u64;
        };
        list("new", Tone::Bad, &suite.newly_failing, suite.newly_failing_count.0, false);
        list("still", Tone::Bad, &suite.still_failing, suite.still_failing_count.0, false);
        list("fixed", Tone::Good, &suite.fixed, suite.fixed_count.0, false);
        if !answers.tests.tells_flaky(suite) {
            continue;
        }
        for case in suite.flaky.iter().take(CASES_MAX) {
            let all = case.passes.0 + case.failures.0;
            let by = if case.commit.is_none() { ", says its runner" } else { "" };
            let detail = format!(
                "{} of {all} failed, last {}{by}{}",
                case.failures,
                ago(case.at, now),
                on_commit(case.commit.as_ref())
            );
            rows.push(vec![toned("flaky", Tone::Warn), code(near(&case.case)), plain(""), quiet(detail)]);
        }
        unnamed += suite.flaky_count.0 - suite.flaky.len().min(CASES_MAX) as u64;
    }
    Grid {
        header: vec!["", "test", "branch", ""],
        numbers: vec![],
        rows,
        more: (unnamed > 0).then(|| format!("and {unnamed} more")),
    }
}

fn slower(answers: &Answers) -> Grid {
    let slower = answers.tests.suites.iter().flat_map(|suite| suite.slower.iter().map(move |s| (suite, s)));
    let row = |(suite, s): (&crate::page::ci::TestSuite, &crate::page::ci::SlowerCase)| {
        vec![
            plain("slower"),
            code(near(&s.case)),
            code(suite.head()),
            plain(format!("{} → {}", s.before(), s.now())),
            plain(s.growth()),
            quiet("medians, indicative"),
        ]
    };
    Grid {
        header: vec!["", "test", "branch", "last three runs", "", ""],
        numbers: vec![4],
        rows: slower.take(CASES_MAX).map(row).collect(),
        more: None,
    }
}

fn under_way(answers: &Answers) -> Grid {
    let rows = answers.under_way.iter().take(CASES_MAX).map(|one| {
        let (mark, tone) = if one.overdue { ("! much too long", Tone::Warn) } else { ("…", Tone::Plain) };
        vec![
            toned(mark, tone),
            plain(&one.what),
            plain(one.of()),
            plain(one.lasts()),
            quiet(or_none(one.usual())),
        ]
    });
    Grid {
        header: vec!["under way", "what", "of", "so far", "usually"],
        numbers: vec![3, 4],
        rows: rows.collect(),
        more: answers
            .under_way
            .len()
            .checked_sub(CASES_MAX)
            .filter(|n| *n > 0)
            .map(|n| format!("and {n} more")),
    }
}

fn deploys(answers: &Answers) -> Grid {
    let all = &answers.deploys;
    let several = all.several_environments();
    let rows = all.deployments.iter().take(DEPLOYS_MAX).map(|d| {
        let tone = if d.succeeded() { Tone::Good } else { Tone::Bad };
        let place = if several { format!("{} {}", d.db, d.environment) } else { d.db.to_string() };
        vec![
            quiet(ago(d.at, answers.at)),
            code(&d.version),
            plain(place),
            toned(format!("{} {}", symbol(d.symbol()), d.word()), tone),
            plain(or_none(d.took())),
            plain(or_none(d.delta().filter(|_| d.succeeded()))),
            quiet(or_none(d.previous_version.as_ref())),
            plain(remark(d)),
        ]
    });
    let left = all.known.0.saturating_sub(DEPLOYS_MAX as u64);
    Grid {
        header: vec!["ended", "version", "database", "", "took", "change", "against", ""],
        numbers: vec![4, 5],
        rows: rows.collect(),
        more: (left > 0).then(|| format!("and {left} before these")),
    }
}

/// What is to be known of a deployment besides its time.
fn remark(d: &Deployed) -> String {
    let mut parts = Vec::new();
    if let Some(step) = d.failed_step() {
        parts.push(format!("failed at {}", step.name));
    }
    if let Some(from) = &d.rolled_back_from {
        parts.push(format!("rolled back from {from}"));
    }
    if d.is_rebuild {
        parts.push("another build".to_owned());
    }
    let grown = d.steps.iter().filter_map(|step| Some((step, step.delta()?)));
    let grown = grown.max_by(|a, b| a.1.0.total_cmp(&b.1.0));
    if let Some((step, delta)) = grown.filter(|(_, delta)| d.succeeded() && delta.0 > 0.0) {
        parts.push(format!("{} {delta}", step.name));
    }
    parts.join(", ")
}

fn loads(answers: &Answers) -> Grid {
    let runs = answers.loads.plans.iter().flat_map(|plan| plan.runs.iter().map(move |run| (plan, run)));
    let rows = runs.map(|(plan, run)| {
        let limited = !run.rate_limited.is_zero();
        let offered = run.offered().map(|offered| format!(" of {offered}")).unwrap_or_default();
        vec![
            code(&plan.plan),
            plain(plan.db),
            code(&run.version),
            plain(format!("{}{offered}", run.rate())),
            plain(against(run)),
            plain(or_none(run.p50())),
            plain(or_none(run.p95())),
            plain(or_none(run.p99())),
            toned(run.failed(), if run.errors.is_zero() { Tone::Plain } else { Tone::Bad }),
            toned(run.rate_limited, if limited { Tone::Warn } else { Tone::Plain }),
            quiet(ago(run.at, answers.at)),
        ]
    });
    Grid {
        header: vec![
            "plan",
            "database",
            "version",
            "requests/s",
            "change",
            "p50",
            "p95",
            "p99",
            "failed",
            "429",
            "ended",
        ],
        numbers: vec![3, 4, 5, 6, 7, 8, 9],
        rows: rows.collect(),
        more: None,
    }
}

fn against(run: &LoadRun) -> String {
    or_none(run.growth())
}

/// Why runs do not compare.
fn remarks(answers: &Answers) -> Grid {
    let plans = answers.loads.plans.iter();
    let runs = plans.flat_map(|plan| {
        let told = plan.runs.iter().enumerate().filter(|(place, run)| *place == 0 || run.failure.is_some());
        told.map(move |(_, run)| (plan, run))
    });
    let rows = runs.filter_map(|(plan, run)| {
        let why = run.hindrance.as_ref()?;
        let why = format!("{}: {why}", run.version);
        Some(vec![toned("!", Tone::Warn), code(&plan.plan), plain(plan.db), plain(why)])
    });
    Grid {
        header: vec!["", "plan", "database", "not compared, since"],
        numbers: vec![],
        rows: rows.collect(),
        more: None,
    }
}
