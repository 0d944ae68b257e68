//! The four outputs of one comparison with a bit of everything, from made-up rounds.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::cli::gate::{Checks, Pairing};
use crate::clock::Timestamp;
use crate::compare::{Ladder, Member, Seen, Visited};
use crate::config::{Env, Source};
use crate::model::{Flavour, Outcome, RoundId, Version};
use crate::otlp::fixture;
use crate::verdict::{Answer, CellRules, Settings, Visit};

const START: Timestamp = Timestamp(1_790_000_000_000_000_000);
const REQUESTS: [&str; 4] = ["ping", "components", "incidents", "metrics"];

fn deployment(name: &str, version: &str, db: Flavour) -> Arc<Deployment> {
    let mut deployment = fixture::deployment("http://127.0.0.1:8101");
    let one = Arc::make_mut(&mut deployment);
    (one.name, one.db) = (name.to_owned(), db);
    one.version = Version::parse(version).unwrap();
    deployment
}

/// Components take half as long again on MariaDB, and incidents fail there now and then; metrics are
/// noisy, and quicker on SQLite.
fn answer(deployment: &Deployment, request: &str, seed: u64) -> Answer {
    let noise = (seed % 2_001) as f64 / 2_000.0 - 0.5;
    let (new, mariadb) = (deployment.name.starts_with("new"), deployment.db == Flavour::Mariadb);
    if new && mariadb && request == "incidents" && seed.is_multiple_of(3) {
        return Answer::Failed;
    }
    let (factor, spread) = match (request, new, mariadb) {
        ("components", true, true) => (1.5, 0.1),
        ("metrics", true, false) => (0.7, 0.2),
        ("metrics", true, true) => (1.04, 1.2),
        _ => (1.0, 0.1),
    };
    Answer::Passed(Duration::from_secs_f64(0.02 * factor * (1.0 + spread * noise)))
}

fn findings(rounds: u64) -> Findings {
    let (old, new) = ("2.4.1", "3.0.0-rc.1");
    let fleet = vec![
        deployment("new-mariadb", new, Flavour::Mariadb),
        deployment("new-sqlite", new, Flavour::Sqlite),
        deployment("new-mysql", new, Flavour::Mysql),
        deployment("old-mariadb", old, Flavour::Mariadb),
        deployment("old-sqlite", old, Flavour::Sqlite),
    ];
    let pairs = vec![(0, 3), (1, 4)];
    let member = |deployment: &Arc<Deployment>| {
        let mut requests = REQUESTS.to_vec();
        if deployment.name.starts_with("new") {
            requests.push("maintenance");
        }
        Member {
            build: deployment.key(),
            name: deployment.name.clone(),
            version: deployment.version.clone(),
            db: deployment.db,
            environment: deployment.environment.clone(),
            since: START,
            requests: requests.iter().map(|r| ((*r).to_owned(), CellRules::default())).collect(),
            control: None,
            rolled_back: false,
        }
    };
    let members = fleet.iter().map(member).collect();
    let mut ladder = Ladder::of_pairs("cachet", Settings::default(), members, &pairs, START);
    for n in 0..rounds {
        let at = START.plus(Duration::from_secs(n));
        let round = RoundId::new("test", "cachet", at);
        let visits = fleet.iter().flat_map(|deployment| {
            REQUESTS.iter().map(move |request| {
                let answer = answer(deployment, request, round.hash_of(&[&deployment.name, request]));
                let visit = Visit { started: at, answer };
                Visited { build: deployment.key(), request: (*request).to_owned(), visit }
            })
        });
        let seen = Seen { round, scheduled: at, visits: visits.collect() };
        ladder.take(&seen, None, at);
    }
    let mut standings = ladder.standings(START);
    standings.retain(|standing| standing.deployment.starts_with("new"));
    let mut checks = Checks::default();
    let suite = crate::config::load(Source::Shipped, &Env::default()).unwrap().suites.remove(0);
    let mut run = fixture::run("http://127.0.0.1:8101", &[("incidents", "/", Outcome::Fail, 2)]);
    run.deployment = fleet[0].clone();
    checks.take(&[run.clone()], (0, &suite), |_| 0, true);
    run.samples[0].detail = "found `<b>` | @team".to_owned();
    checks.take(&[run], (0, &suite), |_| 3, true);
    Findings {
        ended: if rounds >= 63 { Ended::Regressed } else { Ended::TimeUp },
        pairing: Pairing { fleet, judged: 3, pairs },
        suites: vec!["cachet".to_owned()],
        cells: standings
            .into_iter()
            .map(|standing| Cell { medians: standing.against.is_some().then_some((0.0301, 0.02)), standing })
            .collect(),
        checks,
        rounds: u32::try_from(rounds).unwrap(),
        took: Duration::from_secs(184),
        until_clear: false,
    }
}

fn delivery() -> Delivery {
    Delivery::Delivered { items: 1_638, refused: 0, place: "http://collector:4318".to_owned() }
}

fn rendered(findings: &Findings, gate: Option<Gate>, format: Format) -> String {
    let delivery = delivery();
    let exit_code = findings.exit_code(gate, false);
    Report { findings, gate, delivery: &delivery, exit_code }.render(format, false, None)
}

#[test]
fn what_regressed_is_told_with_its_numbers() {
    let findings = findings(63);
    for (name, format) in [("table", Format::Table), ("junit", Format::Junit), ("markdown", Format::Markdown)]
    {
        insta::assert_snapshot!(format!("gate_{name}"), rendered(&findings, Some(Gate::Lenient), format));
    }
    let json: serde_json::Value =
        serde_json::from_str(&rendered(&findings, Some(Gate::Lenient), Format::Json)).unwrap();
    assert_eq!(json["cells"].as_array().unwrap().len(), 15);
    assert_eq!((&json["verdict"], &json["gate"]), (&"regressed".into(), &"lenient".into()));
    // A failing check comes first; without it the regression counts.
    assert_eq!((&json["exit_code"], &json["checks"][0]["failed"]), (&1.into(), &1.into()));
}

#[test]
fn a_narrow_terminal_is_told_less_on_each_line() {
    let findings = findings(63);
    let report = Report { findings: &findings, gate: None, delivery: &delivery(), exit_code: 0 };
    let widest = |width| {
        let table = report.render(Format::Table, true, Some(width));
        let table = table.split("\n\n").next().unwrap().to_owned();
        table.lines().map(console::measure_text_width).max().unwrap()
    };
    assert_eq!([200, 160, 140, 120, 80].map(widest), [173, 157, 131, 108, 75]);
}

#[test]
fn what_could_not_be_decided_is_told_with_what_is_missing() {
    let mut findings = findings(12);
    findings.checks = Checks::default();
    for (name, format) in [("markdown", Format::Markdown), ("table", Format::Table)] {
        insta::assert_snapshot!(
            format!("undecided_{name}"),
            rendered(&findings, Some(Gate::Lenient), format)
        );
    }
    assert_eq!(findings.exit_code(Some(Gate::Lenient), false), 0);
    assert_eq!(findings.exit_code(Some(Gate::Strict), false), 5);
    findings.ended = Ended::Stopped;
    assert_eq!(findings.exit_code(Some(Gate::Lenient), false), 5, "nobody has seen it pass");
    assert_eq!(findings.exit_code(None, false), 0);
}

#[test]
fn the_exit_code_is_that_of_what_weighs_most() {
    let mut all = findings(63);
    assert_eq!(all.exit_code(Some(Gate::Lenient), false), 1);
    all.checks = Checks::default();
    assert_eq!(all.exit_code(Some(Gate::Lenient), false), 4);
    assert_eq!(all.exit_code(None, false), 0);
    all.ended = Ended::Unreachable("old-sqlite".to_owned());
    assert_eq!(all.exit_code(Some(Gate::Lenient), false), 3);
}
