//! What the sentences say, from histories made of events.

use std::time::Duration;

use super::questions::{deploying, tests, throughput};
use crate::clock::Timestamp;
use crate::history::{History, Reading};
use crate::model::{
    CaseStatus, CiResult, Counts, Deploy, DeployStep, Event, EventRow, Evidence, Flavour, Load, Quantile,
    ResultRow, Tests, Version,
};
use crate::page::format::Time;

const NOW: Timestamp = Timestamp(1_787_493_978_000_000_000);

fn row(key: i64, minutes_ago: u64, seconds: u64, fill: impl FnOnce(&mut Event)) -> EventRow {
    let finished = NOW.minus(Duration::from_secs(minutes_ago * 60));
    let started = finished.minus(Duration::from_secs(seconds));
    let mut event = Event::new("test", "cachet", &key.to_string());
    (event.started, event.finished) = (Some(started), Some(finished));
    event.result = Some(CiResult::Success);
    fill(&mut event);
    EventRow { key, started, received: finished, event }
}

fn test_run(key: i64, branch: &str, minutes_ago: u64, pass: u64, fail: u64) -> EventRow {
    row(key, minutes_ago, 38, |event| {
        event.branch = Some(branch.into());
        let counts = Some(Counts { pass, fail, ..Counts::default() });
        event.tests = Some(Tests { suite: "phpunit".into(), counts, ..Tests::default() });
        if fail > 0 {
            event.result = Some(CiResult::Failure);
        }
    })
}

fn of_tests(tests: Vec<EventRow>, doubtful: Vec<ResultRow>) -> History {
    History::of(Reading { tests, doubtful, ..Reading::default() })
}

fn said(history: &History) -> (String, String, bool) {
    let q = tests(&history.suites, Time(NOW));
    (q.answer, q.note, q.attention)
}

#[test]
fn a_suite_on_several_databases_names_the_one_that_is_spoken_of() {
    let on = |mut row: EventRow, db| {
        row.event.db = Some(db);
        row
    };
    let history = of_tests(
        vec![
            on(test_run(3, "3.x", 14, 969, 2), Flavour::Mysql),
            on(test_run(2, "3.x", 60, 971, 0), Flavour::Sqlite),
            on(test_run(1, "2.4", 90, 971, 0), Flavour::Sqlite),
        ],
        vec![],
    );
    let (answer, note, _) = said(&history);
    assert_eq!(answer, "2 of 971 fail on 3.x on mysql");
    assert!(note.ends_with("All 2 other branches and databases pass."), "{note}");
}

#[test]
fn what_fails_newly_is_named_and_other_branches_are_counted() {
    let result = |event: i64, status| ResultRow {
        event,
        case: 1,
        class: r"Tests\Feature\Api\ComponentTest".into(),
        name: "test_get".into(),
        status,
        mark: None,
        seconds: None,
        message: None,
    };
    let history = of_tests(
        vec![test_run(3, "3.x", 14, 969, 2), test_run(2, "2.4", 60, 800, 0), test_run(1, "3.x", 90, 971, 0)],
        vec![result(3, CaseStatus::Fail), result(1, CaseStatus::Pass)],
    );
    let (answer, note, attention) = said(&history);
    assert_eq!(answer, "2 of 971 fail on 3.x");
    assert_eq!(
        note,
        r"1 newly (Api\ComponentTest::test_get); run 3 of cachet/3.x 14 min ago, 38 s. The other one passes."
    );
    assert!(attention);
}

#[test]
fn a_small_suite_that_runs_all_the_time_does_not_hide_the_large_one() {
    let mut smoke = test_run(9, "2.4", 1, 18, 0);
    smoke.event.tests.as_mut().unwrap().suite = "smoke".into();
    let history =
        of_tests(vec![smoke, test_run(3, "3.x", 14, 969, 2), test_run(2, "2.4", 60, 800, 0)], vec![]);
    let (answer, note, _) = said(&history);
    assert_eq!(answer, "2 of 971 fail on 3.x");
    assert_eq!(
        note,
        "none flaky; phpunit in run 3 of cachet/3.x 14 min ago, 38 s. All 2 other suites and branches pass."
    );
}

#[test]
fn when_all_pass_it_is_said_of_how_many() {
    let (answer, note, attention) = said(&of_tests(vec![test_run(1, "3.x", 14, 971, 0)], vec![]));
    assert_eq!((answer.as_str(), attention), ("all 971 pass on 3.x", false));
    assert_eq!(note, "none flaky; run 1 of cachet/3.x 14 min ago, 38 s.");
    let (answer, ..) = said(&of_tests(vec![test_run(1, "3.x", 14, 0, 0)], vec![]));
    assert_eq!(answer, "no test was run on 3.x");
}

#[test]
fn a_run_that_was_ended_says_why_and_at_which_test() {
    let mut hung = test_run(1, "3.x", 5, 311, 0);
    hung.event.result = Some(CiResult::Timeout);
    hung.event.tests.as_mut().unwrap().aborted = true;
    hung.event.evidence = Some(Evidence {
        reason: "silent for 5 min".into(),
        last_test: Some("ATest::test_b".into()),
        ..Evidence::default()
    });
    let (answer, note, attention) = said(&of_tests(vec![hung.clone()], vec![]));
    assert_eq!((answer.as_str(), attention), ("timed out on 3.x", true));
    assert_eq!(
        note,
        "silent for 5 min, last test ATest::test_b, 311 pass until then; run 1 of cachet/3.x 5 min ago, 38 s."
    );
    hung.event.result = Some(CiResult::Failure);
    hung.event.evidence = None;
    let (answer, note, _) = said(&of_tests(vec![hung], vec![]));
    assert_eq!(answer, "aborted on 3.x");
    assert!(note.starts_with("its report is cut off, 311 pass until then;"), "{note}");
}

fn deploy(key: i64, minutes_ago: u64, version: &str, seconds: u64) -> EventRow {
    row(key, minutes_ago, seconds, |event| {
        (event.version, event.db) = (Version::parse(version), Some(Flavour::Mysql));
        event.deployment = Some("one".into());
        let step = |name: &str, seconds| DeployStep {
            name: name.into(),
            seconds,
            offset_seconds: None,
            result: None,
        };
        let steps = vec![step("pull", 10.0), step("migrate", seconds as f64 - 10.0)];
        event.deploy = Some(Deploy { steps, ..Deploy::default() });
    })
}

fn deployed(deploys: Vec<EventRow>) -> (String, String, bool) {
    let history = History::of(Reading { deploys, ..Reading::default() });
    let q = deploying(&history.deploys, Time(NOW));
    (q.answer, q.note, q.attention)
}

#[test]
fn the_latest_version_is_compared_with_the_one_before() {
    let (answer, note, attention) = deployed(vec![deploy(2, 50, "3.0.0", 93), deploy(1, 900, "2.4.1", 80)]);
    assert_eq!((answer.as_str(), attention), ("93 s for 3.0.0 on mysql", false));
    assert_eq!(
        note,
        "13 s (+16 %) longer than 2.4.1; migrate grew most (+13 s). Indicative: one deployment each, 50 min ago."
    );
    let (_, faster, _) = deployed(vec![deploy(2, 50, "3.0.0", 70), deploy(1, 900, "2.4.1", 80)]);
    assert!(faster.starts_with("10 s (−12 %) shorter than 2.4.1. Indicative"), "{faster}");
    let (_, alone, _) = deployed(vec![deploy(1, 900, "2.4.1", 80)]);
    assert_eq!(alone, "15 h ago. There is no version before it on mysql to compare with.");
}

#[test]
fn where_it_grew_most_is_told_besides() {
    let on = |mut row: EventRow, db| {
        (row.event.db, row.event.deployment) = (Some(db), Some(format!("on-{db}")));
        row
    };
    let (answer, note, _) = deployed(vec![
        deploy(4, 10, "3.0.0", 82),
        on(deploy(3, 20, "3.0.0", 120), Flavour::Mariadb),
        deploy(2, 900, "2.4.1", 80),
        on(deploy(1, 910, "2.4.1", 80), Flavour::Mariadb),
    ]);
    assert_eq!(answer, "82 s for 3.0.0 on mysql");
    assert!(note.ends_with("10 min ago. It grew most on mariadb: 2 min 0 s (+50 %)."), "{note}");
}

#[test]
fn a_failure_is_said_first_and_a_rollback_too() {
    let mut failed = deploy(2, 50, "3.0.0", 41);
    failed.event.result = Some(CiResult::Failure);
    failed.event.deploy.as_mut().unwrap().steps[1].result = Some(CiResult::Failure);
    let (answer, note, attention) = deployed(vec![failed, deploy(1, 900, "2.4.1", 80)]);
    assert_eq!((answer.as_str(), attention), ("failed for 3.0.0 on mysql", true));
    assert_eq!(note, "50 min ago at migrate after 41 s. No deployment of it succeeded so far.");

    let (answer, note, attention) = deployed(vec![deploy(2, 5, "2.4.1", 20), deploy(1, 50, "3.0.0", 93)]);
    assert_eq!((answer.as_str(), attention), ("93 s for 3.0.0 on mysql", false));
    assert!(note.ends_with(" Rolled back to 2.4.1 on mysql, 5 min ago."), "{note}");
}

fn load(key: i64, minutes_ago: u64, version: &str, throughput: f64, limited: u64) -> EventRow {
    row(key, minutes_ago, 30, |event| {
        (event.version, event.db) = (Version::parse(version), Some(Flavour::Mysql));
        let mut load = Load {
            plan: "home".into(),
            tool: "oha".into(),
            requests: 1_000,
            throughput,
            latency: vec![Quantile { quantile: 0.95, seconds: 0.18 * 412.0 / throughput }],
            ..Load::default()
        };
        if limited > 0 {
            load.statuses.insert(429, limited);
        }
        event.load = Some(load);
    })
}

fn carried(loads: Vec<EventRow>) -> (String, String) {
    let history = History::of(Reading { loads, ..Reading::default() });
    let q = throughput(&history.loads, Time(NOW));
    (q.answer, q.note)
}

#[test]
fn where_throughput_fell_most_is_told_besides() {
    let on = |mut row: EventRow| {
        row.event.db = Some(Flavour::Sqlite);
        row
    };
    let (answer, note) = carried(vec![
        load(4, 50, "3.0.0", 450.0, 0),
        on(load(3, 60, "3.0.0", 300.0, 0)),
        load(2, 900, "2.4.1", 454.0, 0),
        on(load(1, 910, "2.4.1", 400.0, 0)),
    ]);
    assert_eq!(answer, "450 requests/s for 3.0.0 on mysql");
    assert!(note.ends_with(" Indicative: one run each. It lost most on sqlite, plan home: −25 %."), "{note}");
}

#[test]
fn throughput_is_told_with_its_certainty_or_why_it_is_not_compared() {
    let before = || load(1, 900, "2.4.1", 454.0, 0);
    let (answer, note) = carried(vec![load(2, 50, "3.0.0", 412.0, 0), before()]);
    assert_eq!(answer, "412 requests/s for 3.0.0 on mysql");
    assert_eq!(
        note,
        "−9 % against 2.4.1, p95 180 ms (+10 %), no errors; plan home, 50 min ago. Indicative: one run each."
    );
    let (_, note) = carried(vec![load(2, 50, "3.0.0", 412.0, 7), before()]);
    assert_eq!(
        note,
        "p95 180 ms, no errors; plan home, 50 min ago. Not compared: this run got 7 answers 429: it measured \
         the rate limit, not the version."
    );
    let (answer, _) =
        carried(vec![load(3, 50, "3.0.0", 9_999.0, 7), load(2, 60, "3.0.0", 412.0, 0), before()]);
    assert_eq!(answer, "412 requests/s for 3.0.0 on mysql", "one that measured the version is preferred");
    let (_, note) = carried(vec![load(2, 50, "3.0.0", 412.0, 7)]);
    assert!(
        note.ends_with("ago. 7 answers were 429: it measured the rate limit, not the version."),
        "{note}"
    );
    let (_, note) = carried(vec![load(2, 50, "3.0.0", 412.0, 0)]);
    assert!(note.ends_with("ago. No version before it was measured with this plan."), "{note}");
}

#[test]
fn a_load_run_that_failed_is_no_headline_and_said() {
    let failed = |mut row: EventRow| {
        row.event.result = Some(CiResult::Failure);
        row
    };
    let asked = |loads: Vec<EventRow>| {
        let history = History::of(Reading { loads, ..Reading::default() });
        let q = throughput(&history.loads, Time(NOW));
        (q.answer, q.note, q.attention)
    };
    let good = || load(1, 900, "3.0.0", 412.0, 0);
    let (answer, note, attention) = asked(vec![failed(load(2, 50, "3.0.0", 9_999.0, 0)), good()]);
    assert_eq!((answer.as_str(), attention), ("412 requests/s for 3.0.0 on mysql", true));
    let end = " On mysql, plan home, 50 min ago, this run failed: it ended with failure.";
    assert!(note.ends_with(end), "{note}");
    let (answer, note, attention) = asked(vec![failed(load(2, 50, "3.1.0", 9_999.0, 0)), good()]);
    assert_eq!((answer.as_str(), attention), ("no load run of 3.1.0 succeeded", true));
    assert_eq!(note, "plan home on mysql, 50 min ago: this run failed: it ended with failure.");
    let (_, _, attention) = asked(vec![load(3, 20, "3.0.0", 400.0, 0), failed(load(2, 50, "3.0.0", 1.0, 0))]);
    assert!(!attention, "it was made good");
}
