//! A past of CI in a real store: what the tests of page and `report` show. Nothing in it is drawn by
//! lot, so every run shows the same.

use std::time::Duration;

use cachetscope::clock::Timestamp;
use cachetscope::model::{
    Case, CaseStatus, CiResult, Counts, Deploy, DeployStep, Event, Evidence, Flavour, Load, Quantile, Task,
    Tests, Version,
};
use cachetscope::store::EventFacts;

use crate::page_fleet::Fleet;

const MINUTE: u64 = 60;
const HOUR: u64 = 3_600;
const DAY: u64 = 86_400;
/// Cases of the suite that are listed one by one.
const CASES: [(&str, &str); 12] = [
    (r"Tests\Unit\Models\ComponentTest", "it_belongs_to_a_group"),
    (r"Tests\Unit\Models\IncidentTest", "it_has_updates"),
    (r"Tests\Unit\Actions\CreateIncidentTest", "it_creates_an_incident"),
    (r"Tests\Feature\Api\ComponentTest", "it_lists_components"),
    (r"Tests\Feature\Api\ComponentTest", "it_filters_by_status"),
    (r"Tests\Feature\Api\IncidentTest", "it_sorts_incidents_by_id"),
    (r"Tests\Feature\Api\IncidentTest", "it_hides_what_is_not_visible"),
    (r"Tests\Feature\Api\MetricPointTest", "it_respects_the_threshold"),
    (r"Tests\Feature\Api\ScheduleTest", "it_lists_upcoming_schedules"),
    (r"Tests\Feature\StatusPageTest", "it_renders_with_many_components"),
    (r"Tests\Architecture\SecurityTest", "it_uses_no_debugging_functions"),
    (r"Tests\Feature\Filament\MetricResourceTest", "it_can_list_metrics"),
];
/// Of the latest run on 3.x, all that there are.
const TOTAL: u64 = 971;

/// Where the status of a case differs from a pass: f fails, e breaks, s is skipped.
fn status(letter: u8) -> CaseStatus {
    match letter {
        b'f' => CaseStatus::Fail,
        b'e' => CaseStatus::Error,
        b's' => CaseStatus::Skip,
        _ => CaseStatus::Pass,
    }
}

/// A fleet with a past of CI.
pub async fn told(fleet: &Fleet) {
    let now = fleet.clock.now();
    let mut events = Vec::new();
    // Runs so many ago, and the case that did not pass, with its letter.
    let bad = [
        (0, 4, b'f'),
        (0, 5, b'f'),
        (1, 5, b'f'),
        (2, 5, b'f'),
        (1, 8, b'f'),
        (6, 8, b'f'),
        (9, 7, b'e'),
        (17, 3, b'f'),
        (18, 3, b'f'),
    ];
    for back in 0..26_u64 {
        let wrong: Vec<(usize, u8)> = bad.iter().filter(|b| b.0 == back).map(|b| (b.1, b.2)).collect();
        // Runs 1 and 2 are of one commit: what fails in one of them only is flaky.
        let commit = format!("{:07x}c0ffee", 0x51f_3a90 + if back == 2 { 1 } else { back });
        let mut event = run(now, "phpunit", "3.x", 512 - back, 14 * MINUTE + back * 7 * HOUR, 38);
        event.commit = Some(commit);
        event.tests = Some(tests(TOTAL - back, &wrong, back < 3));
        event.result = Some(if wrong.is_empty() { CiResult::Success } else { CiResult::Failure });
        events.push(event);
    }
    for back in 0..9_u64 {
        let mut event = run(now, "phpunit", "2.4", 400 - back, 3 * HOUR + back * 20 * HOUR, 61);
        event.tests = Some(tests(804, &[], false));
        event.commit = Some(format!("{:07x}decade", 0x2b1_77c0 + back));
        events.push(event);
    }
    let mut hung = run(now, "phpunit", "metrics-at-scale", 486, 2 * HOUR, 352);
    hung.tests = Some(Tests {
        counts: Some(Counts { pass: 311, ..Counts::default() }),
        aborted: true,
        ..tests(311, &[], false)
    });
    hung.result = Some(CiResult::Timeout);
    hung.evidence = Some(Evidence {
        reason: "silent for 5 min".into(),
        last_test: Some(r"Tests\Feature\Api\MetricPointTest::it_aggregates_a_year".into()),
        ..Evidence::default()
    });
    events.push(hung);
    events.extend(deployments(now));
    events.extend(loads(now));
    for (suite, branch, number, ago, task) in
        [("phpunit", "3.x", 513, 90, Task::Test), ("phpunit", "2.4", 401, 3 * HOUR + 10 * MINUTE, Task::Test)]
    {
        let mut event = run(now, suite, branch, number, ago, 0);
        event.task = Some(task);
        (event.finished, event.result) = (None, None);
        event.started = Some(now.minus(Duration::from_secs(ago)));
        events.push(event);
    }
    tell(fleet, events).await;
}

/// Only what the API would take.
async fn tell(fleet: &Fleet, events: Vec<Event>) {
    for event in &events {
        assert_eq!(event.check(fleet.clock.now()), [], "{event:?}");
    }
    record(fleet, events).await;
}

/// Whatever they say: an older daemon may have let more pass. Without their telemetry, whose size is
/// nothing to the page.
pub async fn record(fleet: &Fleet, events: Vec<Event>) {
    let now = fleet.clock.now();
    let facts = events.into_iter().map(|event| EventFacts::new(event, now, |_| Default::default()).unwrap());
    fleet.store.record(facts.collect()).await.unwrap();
}

/// One of each kind, with this text wherever an event has room for one.
pub async fn hostile(fleet: &Fleet, text: &str, url: &str) {
    let now = fleet.clock.now();
    let mut events = Vec::new();
    for n in 0..5_u64 {
        let mut event = run(now, text, text, 900 + n, 5 * MINUTE, 20);
        event.run = format!("{text}{n}");
        (event.pipeline, event.url) = (text.to_owned(), Some(url.to_owned()));
        (event.commit, event.digest) = (Some(text.to_owned()), Some(text.to_owned()));
        (event.deployment, event.environment) = (Some(text.to_owned()), Some(text.to_owned()));
        (event.version, event.db) = (Version::parse("9.9.9"), Some(Flavour::Mysql));
        let failing = Case {
            class: text.to_owned(),
            name: text.to_owned(),
            status: CaseStatus::Fail,
            seconds: Some(1.0),
            message: Some(text.to_owned()),
            mark: None,
        };
        match n {
            0 => {
                let listed = Tests { suite: text.to_owned(), cases: vec![failing], ..Tests::default() };
                event.tests = Some(listed);
                event.evidence = Some(Evidence {
                    reason: text.to_owned(),
                    last_test: Some(text.to_owned()),
                    ..Evidence::default()
                });
                event.result = Some(CiResult::Timeout);
            }
            1 => {
                let step = DeployStep {
                    name: text.to_owned(),
                    seconds: 3.0,
                    offset_seconds: None,
                    result: Some(CiResult::Failure),
                };
                event.deploy = Some(Deploy { steps: vec![step], ..Deploy::default() });
                event.result = Some(CiResult::Failure);
            }
            2 => {
                event.load = Some(Load {
                    plan: text.to_owned(),
                    tool: text.to_owned(),
                    seconds: 1.0,
                    requests: 1,
                    throughput: 1.0,
                    remarks: vec![text.to_owned()],
                    ..Load::default()
                });
            }
            3 => (event.finished, event.result) = (None, None),
            _ => {
                (event.finished, event.result) = (None, None);
                event.name = Some(text.to_owned());
                event.step = None;
            }
        }
        events.push(event);
    }
    record(fleet, events).await;
}

/// More of everything than is shown.
pub async fn long(fleet: &Fleet) {
    let now = fleet.clock.now();
    let mut events = Vec::new();
    for n in 0..400 {
        let mut event = run(now, "phpunit", &format!("branch-{:02}", n % 40), n, n * HOUR / 2, 38);
        event.source = "long".into();
        event.tests = Some(tests(TOTAL, &[0, 1, 2, 3, 4, 5, 6, 7].map(|case| (case, b'f')), false));
        event.result = Some(CiResult::Failure);
        events.push(event);
    }
    for n in 0..300 {
        let steps = [("pull", 14.0), ("migrate", n as f64 / 10.0)];
        let version = format!("2.4.{}", n % 50);
        let mut event = deployment(now, &version, Flavour::Mysql, n, n * DAY, &steps, CiResult::Success);
        event.source = "long".into();
        events.push(event);
        let mut event = run(now, "load", "3.x", n, n * DAY, 30);
        event.source = "long".into();
        (event.version, event.db) = (Version::parse(&version), Some(Flavour::Mysql));
        event.load = Some(Load {
            plan: format!("plan-{}", n % 30),
            tool: "hey".into(),
            seconds: 30.0,
            requests: 900,
            throughput: 30.0,
            ..Load::default()
        });
        events.push(event);
    }
    tell(fleet, events).await;
}

fn run(now: Timestamp, suite: &str, branch: &str, number: u64, ago: u64, seconds: u64) -> Event {
    let finished = now.minus(Duration::from_secs(ago));
    let mut event = Event::new("jenkins", "cachet", &number.to_string());
    event.step = Some(suite.to_owned());
    event.branch = Some(branch.to_owned());
    event.url = Some(format!("https://ci.example/job/cachet/{number}/"));
    event.finished = Some(finished);
    event.started = Some(finished.minus(Duration::from_secs(seconds)));
    event.result = Some(CiResult::Success);
    event
}

fn tests(total: u64, wrong: &[(usize, u8)], slow: bool) -> Tests {
    let case = |(place, (class, name)): (usize, &(&str, &str))| {
        let letter = wrong.iter().find(|w| w.0 == place).map_or(b'p', |w| w.1);
        let seconds = if place == 9 && slow { 2.9 } else { 0.031 * (place + 1) as f64 };
        Case {
            class: (*class).to_owned(),
            name: (*name).to_owned(),
            status: status(letter),
            seconds: Some(seconds),
            message: None,
            mark: None,
        }
    };
    let count = |letters: &[u8]| wrong.iter().filter(|w| letters.contains(&w.1)).count() as u64;
    let (fail, error) = (count(b"f"), count(b"e"));
    Tests {
        suite: "phpunit".into(),
        part_of: None,
        cases: CASES.iter().enumerate().map(case).collect(),
        counts: Some(Counts { pass: total - fail - error - 4, fail, error, skip: 4 }),
        aborted: false,
        remarks: Vec::new(),
    }
}

/// Three versions on three databases; the latest failed on one at first, and was built twice.
fn deployments(now: Timestamp) -> Vec<Event> {
    let flavours = [Flavour::Sqlite, Flavour::Mariadb, Flavour::Postgresql];
    let mut events = Vec::new();
    let mut number = 60;
    for (version, days, pull, migrate) in
        [("2.3.18", 61, 14.0, 9.0), ("2.4.1", 33, 15.5, 11.0), ("3.0.0-dev.202608221030", 1, 24.0, 26.0)]
    {
        for (i, db) in flavours.into_iter().enumerate() {
            number += 1;
            let factor = 1.0 + 0.35 * i as f64;
            let steps = [
                ("checkout", 3.2),
                ("pull", pull),
                ("migrate", migrate * factor),
                ("start", 6.4),
                ("verify", 4.1 + 0.3 * i as f64),
            ];
            let ago = days * DAY - (2 - i as u64) * 400 - 2 * HOUR;
            events.push(deployment(now, version, db, number, ago, &steps, CiResult::Success));
        }
    }
    let steps = [("checkout", 3.1), ("pull", 23.4), ("migrate", 12.0)];
    let version = "3.0.0-dev.202608221030";
    let mut failed =
        deployment(now, version, Flavour::Postgresql, 166, DAY + HOUR, &steps, CiResult::Failure);
    failed.deploy.as_mut().unwrap().steps[2].result = Some(CiResult::Failure);
    events.push(failed);
    let steps = [("checkout", 3.3), ("pull", 25.0), ("migrate", 27.1), ("start", 6.6), ("verify", 4.2)];
    let mut rebuilt = deployment(now, version, Flavour::Sqlite, 71, 55 * MINUTE, &steps, CiResult::Success);
    rebuilt.digest = Some(format!("sha256:{}", "7d04e1b2".repeat(8)));
    events.push(rebuilt);
    events
}

fn deployment(
    now: Timestamp,
    version: &str,
    db: Flavour,
    number: u64,
    ago: u64,
    steps: &[(&str, f64)],
    result: CiResult,
) -> Event {
    let mut after = 0.0;
    let steps: Vec<DeployStep> = steps
        .iter()
        .map(|&(name, seconds)| {
            let offset = after;
            after += seconds + 0.6;
            DeployStep { name: name.into(), seconds, offset_seconds: Some(offset), result: None }
        })
        .collect();
    let mut event = run(now, "deploy", "3.x", number, ago, 0);
    event.pipeline = "cachet-deploy".into();
    event.started = Some(event.finished.unwrap().minus(Duration::from_secs_f64(after)));
    event.result = Some(result);
    event.version = Version::parse(version);
    event.db = Some(db);
    event.environment = Some("staging".into());
    let short = version.split('.').take(2).collect::<Vec<_>>().join(".");
    event.deployment = Some(format!("cachet-{}-{db}", short.replace("3.0", "3.x")));
    event.commit = Some(format!("{:07x}facade", 0x9a0_11d0 + number));
    event.digest = Some(format!("sha256:{}", "3f9c2a17".repeat(8)));
    event.deploy = Some(Deploy { steps, ..Deploy::default() });
    event
}

fn loads(now: Timestamp) -> Vec<Event> {
    let mut events = Vec::new();
    for (n, (plan, db, version, days, throughput, p50)) in [
        ("components-list", Flavour::Mariadb, "2.3.18", 60, 470.4, 0.052),
        ("components-list", Flavour::Mariadb, "2.4.1", 32, 453.9, 0.055),
        ("components-list", Flavour::Mariadb, "3.0.0-dev.202608221030", 1, 412.3, 0.061),
        ("components-list", Flavour::Postgresql, "2.4.1", 32, 401.0, 0.063),
        ("components-list", Flavour::Postgresql, "3.0.0-dev.202608221030", 1, 1_803.0, 0.009),
    ]
    .into_iter()
    .enumerate()
    {
        let mut event = run(now, "load", "3.x", 30 + n as u64, days * DAY - HOUR - n as u64, 30);
        event.pipeline = "cachet-load".into();
        (event.version, event.db) = (Version::parse(version), Some(db));
        event.environment = Some("staging".into());
        let tail = if version.starts_with('3') { 1.25 } else { 1.0 };
        let latency = [(0.5, 1.0), (0.75, 1.3), (0.9, 1.8 * tail), (0.95, 2.35 * tail), (0.99, 4.1 * tail)];
        let requests = (throughput * 30.0) as u64;
        let mut load = Load {
            plan: plan.into(),
            tool: "oha".into(),
            seconds: 30.0,
            requests,
            errors: if n == 2 { 7 } else { 0 },
            throughput,
            offered: (n == 2).then_some(450.0),
            concurrency: Some(32),
            latency: latency.map(|(quantile, by)| Quantile { quantile, seconds: p50 * by }).to_vec(),
            ..Load::default()
        };
        if n == 4 {
            load.statuses.insert(200, 300);
            load.statuses.insert(429, requests - 300);
        }
        event.load = Some(load);
        events.push(event);
    }
    events
}
