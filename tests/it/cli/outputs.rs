//! `probe --once` on nine deployments: every output, and the exit code, as the fleet gets better.

use std::time::Duration;

use cachetscope::demo::Fault;
use cachetscope::model::Flavour;
use serde_json::{Value, json};

use crate::rig::{Home, Member, Ran, V2, V3, shipped};

const V3_BEFORE: &str = "3.0.0-dev.202508181200";

/// Three versions on three databases each, with the shipped suite, in which Cachet 3 is degraded
/// when `status` takes more than a second.
async fn nine() -> (Home, Vec<Member>) {
    let home = Home::new();
    let limit = ("    get: /api/status\n", "    get: /api/status\n    degraded_after: 1s\n");
    home.write("probes/cachet-v3.yaml", &shipped("cachet-v3.yaml", &[limit]));
    let mut fleet = Vec::new();
    for (short, version) in [("2.4", V2), ("3.0-202508", V3_BEFORE), ("3.0-202608", V3)] {
        for flavour in [Flavour::Sqlite, Flavour::Mariadb, Flavour::Postgresql] {
            fleet.push(Member::start(&format!("cachet-{short}-{flavour}"), version, flavour).await);
        }
    }
    home.fleet(&fleet);
    (home, fleet)
}

/// One fails a check, one is unreachable, one is degraded.
async fn in_trouble(fleet: &mut [Member]) {
    fleet[1].stand_in.set_fault("/api/v1/incidents", Fault::Status(500));
    fleet[5].stand_in.refuse().await;
    fleet[7].stand_in.set_fault("/api/status", Fault::Delay(Duration::from_millis(1_200)));
}

async fn once(home: &Home, arguments: &[&str]) -> Ran {
    home.run(["probe", "--once"].iter().chain(arguments)).await
}

#[tokio::test]
async fn every_output_tells_of_the_three_in_trouble_and_the_exit_code_of_the_worst() {
    let (home, mut fleet) = nine().await;
    in_trouble(&mut fleet).await;
    let (table, json, junit, markdown) = tokio::join!(
        once(&home, &[]),
        once(&home, &["--output", "json"]),
        once(&home, &["--output", "junit"]),
        once(&home, &["--output", "markdown"]),
    );
    let (table, json) = (table.expect(3), json.expect(3));
    let (junit, markdown) = (junit.expect(3), markdown.expect(3));
    insta::with_settings!({ filters => FILTERS.to_vec() }, {
        insta::assert_snapshot!("table", table.stdout);
        insta::assert_snapshot!("junit", junit.stdout);
        insta::assert_snapshot!("markdown", markdown.stdout);
        insta::assert_snapshot!("json", compact(json.json()));
    });
    read_by_another_parser(&home, &junit.stdout).await;
}

#[tokio::test]
async fn the_exit_code_is_that_of_the_worst_that_is_left() {
    let (home, mut fleet) = nine().await;
    in_trouble(&mut fleet).await;
    fleet[5].stand_in.accept().await.unwrap();
    let (failing, others): (Vec<String>, Vec<String>) = (
        fleet.iter().map(|m| m.name.clone()).collect(),
        fleet.iter().map(|m| m.name.clone()).filter(|name| *name != fleet[1].name).collect(),
    );
    let others: Vec<&str> = others.iter().map(String::as_str).collect();
    let strict: Vec<&str> = others.iter().copied().chain(["--fail-on", "degraded"]).collect();
    let all: Vec<&str> = failing.iter().map(String::as_str).collect();
    let (all, lenient, strict) = tokio::join!(once(&home, &all), once(&home, &others), once(&home, &strict));
    assert!(all.expect(1).stdout.contains("9 runs: 1 fail, 1 degraded, 7 pass"));
    assert!(lenient.expect(0).stdout.contains("8 runs: 1 degraded, 7 pass"));
    assert!(strict.expect(1).stdout.contains("8 runs: 1 degraded, 7 pass"));
}

/// What differs from run to run.
const FILTERS: [(&str, &str); 10] = [
    (r"127\.0\.0\.1:\d+", "127.0.0.1:PORT"),
    (r"\b[0-9a-f]{32}\b", "TRACE"),
    (r"[0-9a-f]{8}-[0-9a-f-]{27}", "UUID"),
    (r"\d{4}-\d\d-\d\dT[0-9:.]+(Z|\+00:00)", "TIME"),
    (r#"time="[0-9.]+""#, r#"time="SECONDS""#),
    (r"took \d\.\d+ ?s", "took N s"),
    (r"after \d+\.\d ms", "after N ms"),
    // Columns are as wide as their numbers, and any request may be the slowest.
    (r" +\d+\.\d ms( {2}[a-z]+| \([a-z]+\))?", "  N ms"),
    (r" +(–|median|slowest)", "  $1"),
    (r"\d+ items wait,", "N items wait,"),
];

/// The document with what differs from run to run named instead of shown, and with its passes in
/// short. The phases have to sum to the total.
fn compact(mut document: Value) -> String {
    for run in document["runs"].as_array_mut().unwrap() {
        for key in ["round", "started", "trace_id", "url"] {
            assert!(run[key].is_string(), "{run}");
            run[key] = json!(format!("<{key}>"));
        }
        assert!(run["duration_ns"].is_u64());
        run["duration_ns"] = json!("<ns>");
        let passed = run["outcome"] == "pass";
        for request in run["requests"].as_array_mut().unwrap() {
            for attempt in request["attempts"].as_array_mut().unwrap() {
                let phases = attempt["phases_ns"].as_object().unwrap();
                assert_eq!(phases.len(), 6);
                let sum: u64 = phases.values().map(|v| v.as_u64().unwrap()).sum();
                assert_eq!(Some(sum), attempt["total_ns"].as_u64(), "{attempt}");
                attempt["phases_ns"] = json!("<six, which sum to the total>");
                for key in ["started", "span_id", "total_ns"] {
                    assert!(!attempt[key].is_null());
                    attempt[key] = json!(format!("<{key}>"));
                }
            }
            if request["outcome"] == "pass" || request["detail"].as_str().unwrap().starts_with("skipped") {
                *request = json!(format!("{}: {}", request["name"].as_str().unwrap(), request["outcome"]));
            }
        }
        if passed {
            run["requests"] = json!(run["requests"].as_array().unwrap().len());
        }
    }
    document["delivery"]["file"] = json!("<file>");
    document["delivery"]["items"] = json!("<items>");
    format!("{document:#}")
}

/// Python's parser (expat) accepts the document, and counts in it what it says of itself.
async fn read_by_another_parser(home: &Home, junit: &str) {
    const READ: &str = "
import json, sys, xml.etree.ElementTree as tree
root = tree.parse(sys.argv[1]).getroot()
assert root.tag == 'testsuites', root.tag
suites = root.findall('testsuite')
for suite in suites:
    cases = suite.findall('testcase')
    assert int(suite.get('tests')) == len(cases)
    for attribute, tag in [('failures', 'failure'), ('errors', 'error')]:
        assert int(suite.get(attribute)) == len(suite.findall('testcase/' + tag)), suite.attrib
    assert all(float(case.get('time', 0)) >= 0 for case in cases)
count = lambda tag: len(root.findall('testsuite/testcase/' + tag))
print(json.dumps([len(suites), int(root.get('tests')), count('failure'), count('error'), count('skipped')]))
";
    home.write("junit.xml", junit);
    let mut python = tokio::process::Command::new("python3");
    python.args(["-c", READ]).arg(home.path("junit.xml"));
    let read = crate::rig::finish(&mut python).await.expect(0);
    // 9 deployments, 12 requests each; the list of incidents fails, so the single read is skipped;
    // where nothing is reached, the first is an error and the other 11 are skipped.
    assert_eq!(read.json(), json!([9, 108, 1, 1, 12]), "{}", read.stderr);
}
