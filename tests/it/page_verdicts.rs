//! Verdicts on the page: the table of deltas, the cards that they answer, and the evidence of one cell.

use cachetscope::compare::Standing;
use cachetscope::model::{Deployment, Flavour};
use cachetscope::otlp::names;
use cachetscope::store::{Change, DeploymentRow, Facts, Increment};
use cachetscope::verdict::{Disturbance, Measure, Rule, Verdict};
use reqwest::StatusCode;
use reqwest::header::ACCEPT;
use serde_json::{Value, json};

use crate::page::{serve, steady, words};
use crate::page_fleet::{Fleet, SUITE, Told, deployment};
use crate::page_judged::{crowded, judged, store};
use crate::rig::Home;

const COMPARED: &str = "/deployments/cachet-3.x-mariadb/compare/components";

/// So many comparisons of deployments with themselves are over.
pub async fn own(fleet: &Fleet, comparisons: u64, wrong: u64) {
    let count = |metric, count| Increment {
        metric,
        attributes: format!(r#"[["{}","{SUITE}"]]"#, names::SUITE),
        deployment: None,
        started: fleet.clock.now(),
        count,
        sum: 0.0,
        bucket: None,
        exemplar: None,
    };
    let increments =
        vec![count(names::AA_COMPARISONS.name, comparisons), count(names::AA_FALSE_VERDICTS.name, wrong)];
    fleet.store.commit(Facts { increments, ..Facts::default() }).await.unwrap();
}

/// The same numbers with another verdict.
fn with(standing: &Standing, verdict: Verdict, rule: Rule) -> Standing {
    let mut standing = Standing { verdict, rule, measure: Measure::Latency, ..standing.clone() };
    if verdict == Verdict::NoBaseline {
        (standing.against, standing.latency, standing.errors) = (None, None, None);
    }
    if let Some(judgement) = &mut standing.latency {
        (judgement.verdict, judgement.rule) = (verdict, rule);
        judgement.rounds_needed = match verdict {
            Verdict::Insufficient => 12,
            Verdict::Inconclusive => 40,
            _ => 0,
        };
        judgement.disturbance = (verdict == Verdict::Invalid).then_some(Disturbance::HostPressure);
    }
    standing
}

/// All the words, one after the other down the requests of the latest version on MariaDB.
async fn every_word(fleet: &Fleet) {
    let mut standings = judged(fleet).await;
    let words = [
        (Verdict::Unchanged, Rule::InsideRatioFloor),
        (Verdict::Regressed, Rule::Confirmed),
        (Verdict::Improved, Rule::Confirmed),
        (Verdict::Inconclusive, Rule::Undecided),
        (Verdict::Inconclusive, Rule::Confirming),
        (Verdict::Insufficient, Rule::TooFewPairs),
        (Verdict::NoBaseline, Rule::NoBaseline),
        (Verdict::Invalid, Rule::Disturbed),
    ];
    let latest = standings.iter_mut().filter(|s| s.version.starts_with('3') && s.db == Flavour::Mariadb);
    latest.zip(words).for_each(|(standing, (verdict, rule))| *standing = with(standing, verdict, rule));
    if let Some(failing) =
        standings.iter_mut().find(|s| s.version.starts_with('3') && s.db == Flavour::Sqlite)
    {
        (failing.verdict, failing.measure, failing.rule) =
            (Verdict::Regressed, Measure::Errors, Rule::Confirmed);
    }
    store(fleet, &standings).await;
}

/// What is told between two headings.
fn section<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let start = text.find(from).unwrap_or_else(|| panic!("no {from:?} in {text}"));
    let rest = &text[start..];
    &rest[..rest.find(to).unwrap_or(rest.len())]
}

#[tokio::test]
async fn every_verdict_is_told_with_symbol_word_and_numbers() {
    let fleet = Fleet::filled().await;
    every_word(&fleet).await;
    let served = serve(fleet).await;
    let page = served.get("/").await.body;
    let text = words(&page);
    let deltas = section(&text, "3.0.0-dev.202608221030 against 2.4.1", "what the words mean");
    steady().bind(|| insta::assert_snapshot!("deltas", deltas));
    let table = section(&page, "<table class=\"cards deltas\"", "</table>");
    assert_eq!(table.matches("class=\"broken\"").count(), 3, "only what regressed is coloured");
    assert!(page.contains("href=\"/deployments/cachet-3.x-mariadb/compare/components?suite=cachet\""));
    assert!(page.contains("href=\"#deltas\""), "the matrix leads to the deltas");
    assert!(
        page.contains("href=\"deployments/cachet-2.4-sqlite#requests\""),
        "and that of an older version to its deployment"
    );
}

#[tokio::test]
async fn evidence_reads_well() {
    let served = serve(crate::page::with_a_past().await).await;
    let answer = served.get(COMPARED).await;
    assert_eq!(answer.status, StatusCode::OK);
    steady().bind(|| insta::assert_snapshot!("evidence", words(&answer.body)));
    assert_eq!(answer.body.matches("<svg class=\"plot spread\"").count(), 1);
    assert_eq!(answer.body.matches("<svg class=\"plot rounds\"").count(), 1);
    assert_eq!(answer.body.matches("class=\"phases\"").count(), 12);
    assert!(!answer.body.contains("NaN"));

    let mut json = served.get(&format!("/api/v1{COMPARED}?suite=cachet")).await.json();
    let pairs = json["pairs"].as_array_mut().unwrap();
    assert_eq!(pairs.len(), 70);
    assert_eq!(pairs.iter().filter(|pair| pair["warm_up"] == true).count(), 3);
    pairs.truncate(1);
    json["slowest"].as_array_mut().unwrap().truncate(1);
    steady().bind(|| {
        insta::assert_snapshot!("api_comparison", crate::page::pretty(&json));
    });
}

/// The pairs of the page are those that were judged.
#[tokio::test]
async fn the_page_pairs_as_the_judgement_does() {
    let fleet = Fleet::filled().await;
    let standings = judged(&fleet).await;
    let served = serve(fleet).await;
    for standing in standings.iter().filter(|s| s.against.is_some()) {
        let path = format!("/api/v1/deployments/{}/compare/{}", standing.deployment, standing.request);
        let json = served.get(&path).await.json();
        let pairs: Vec<&Value> =
            json["pairs"].as_array().unwrap().iter().filter(|pair| pair["warm_up"] == false).collect();
        let pass_fail = standing.latency.unwrap().assessment.pass_fail;
        let failed = |side: &str| pairs.iter().filter(|pair| pair[side].is_null()).count() as u64;
        assert_eq!(
            (pairs.len() as u64, (failed("later_ns"), failed("earlier_ns"))),
            (pass_fail.pairs(), pass_fail.failures()),
            "{path}"
        );
    }
}

#[tokio::test]
async fn what_was_not_judged_says_why() {
    let mut fleet = Fleet::filled().await;
    let standings = judged(&fleet).await;
    let hostile = "\"><script>alert(1)</script>/{{7*7}}";
    let mut told: Vec<Standing> =
        standings
            .iter()
            .map(|s| {
                if s.request == "ping" {
                    Standing { request: hostile.into(), ..s.clone() }
                } else {
                    s.clone()
                }
            })
            .collect();
    if let Some(s) = told.iter_mut().find(|s| s.deployment == "cachet-3.x-sqlite" && s.request == "status") {
        *s = with(s, Verdict::Insufficient, Rule::TooFewPairs);
    }
    store(&fleet, &told).await;
    // A build without a sample.
    fleet.deployments.push(deployment("fresh", "4.0.0", Flavour::Sqlite).into());
    fleet.live().await;
    let served = serve(fleet).await;

    let none = words(&served.get("/deployments/cachet-2.3-sqlite/compare/status").await.body);
    assert!(none.contains("– no baseline"), "{none}");
    assert!(
        none.contains("No earlier version lives on sqlite in staging, so there is nothing to pair it with.")
    );
    assert!(none.contains("There is nothing to pair it with."), "{none}");
    let few = words(&served.get("/deployments/cachet-3.x-sqlite/compare/status").await.body);
    assert!(few.contains("… insufficient\n12 rounds missing, 67 pairs so far"), "{few}");

    // The request's name is nobody's sample, and no markup.
    let escaped = "%22%3E%3Cscript%3Ealert%281%29%3C%2Fscript%3E%2F%7B%7B7%2A7%7D%7D";
    let path = format!("/deployments/cachet-3.x-sqlite/compare/{escaped}");
    let empty = served.get(&path).await;
    assert_eq!(empty.status, StatusCode::OK);
    assert!(
        !empty.body.contains("<script>") && empty.body.contains("&#60;script&#62;alert(1)"),
        "{}",
        empty.body
    );
    let text = words(&empty.body);
    for words in ["No sample of it is kept.", "No pair is kept.", "No sample is kept that was paired."] {
        assert!(text.contains(words), "{words} in {text}");
    }
    let page = served.get("/").await.body;
    assert!(!page.contains("<script>"));

    for path in ["/deployments/fresh/compare/ping", "/deployments/nobody/compare/ping"] {
        for path in [path.to_owned(), format!("/api/v1{path}")] {
            let answer = served.get(&path).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
            assert_eq!(answer.json()["status"], 404);
        }
    }
    let other_suite = format!("{COMPARED}?suite=other");
    let answer =
        crate::page::send(reqwest::Client::new().get(served.url(&other_suite)).header(ACCEPT, "text/html"));
    let answer = answer.await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert!(words(&answer.body).contains("no comparison of `components` on `cachet-3.x-mariadb` is known"));
}

#[tokio::test]
async fn each_environment_has_its_own_table() {
    let mut fleet = Fleet::empty().await;
    for (name, version, environment) in [
        ("s3", "3.0.0", "staging"),
        ("s2", "2.4.1", "staging"),
        ("p2", "2.4.1", "production"),
        ("p1", "2.3.18", "production"),
    ] {
        let deployment =
            Deployment { environment: environment.into(), ..deployment(name, version, Flavour::Mysql) };
        fleet.deployments.push(deployment.into());
    }
    fleet.live().await;
    fleet.rounds(70, |d, _, _, ms| Told::pass(if d.name == "p2" { ms * 3.0 } else { ms })).await;
    judged(&fleet).await;
    let served = serve(fleet).await;
    let text = words(&served.get("/").await.body);
    assert!(text.contains("takes 3.1× as long on mysql in production"), "{text}");
    let deltas = section(&text, "Against the version before", "what the words mean");
    assert!(deltas.contains("production | 2.4.1 | against 2.3.18 | ▲ 8 regressed"), "{deltas}");
    assert!(deltas.contains("staging 3.0.0 against 2.4.1"), "{deltas}");
}

/// The usual way to deploy: the new version takes the place of the old one.
#[tokio::test]
async fn a_retired_version_is_an_indication_and_no_baseline() {
    let mut fleet = Fleet::empty().await;
    fleet.deployments.push(deployment("cachet", "2.4.1", Flavour::Mysql).into());
    fleet.live().await;
    fleet.rounds(20, |_, _, _, ms| Told::pass(ms)).await;
    fleet.deployments = vec![deployment("cachet", "3.0.0", Flavour::Mysql).into()];
    let deployments = fleet.deployments.iter().map(|d| DeploymentRow::from(&**d)).collect();
    fleet.store.change(Change::Fleet { deployments, at: fleet.clock.now() }).await.unwrap();
    fleet.clock.advance(std::time::Duration::from_secs(900));
    fleet.rounds(20, |_, _, _, ms| Told::pass(ms * 1.5)).await;
    judged(&fleet).await;
    let served = serve(fleet).await;
    let text = words(&served.get("/").await.body);
    assert!(text.contains("nothing is judged yet"), "{text}");
    assert!(text.contains("against 2.4.1 (retired, so there are no pairs), 20 and 20 samples"), "{text}");
    assert!(text.contains("– no baseline: no version below 3.0.0 lives on the same database."), "{text}");
    let overview = served.get("/api/v1/overview").await.json();
    assert_eq!(overview["unpaired_rise"]["previous_retired"], true);
}

#[tokio::test]
async fn a_crowd_stays_readable_and_its_page_small() {
    let fleet = Fleet::filled().await;
    crowded(&fleet).await;
    own(&fleet, 12, 0).await;
    let served = serve(fleet).await;
    let page = served.get("/").await.body;
    assert!(page.len() < 400_000, "{} bytes", page.len());
    let overview = served.get("/api/v1/overview").await.json();
    let table = &overview["deltas"][0];
    assert_eq!(table["rows"].as_array().unwrap().len(), 30);
    assert_eq!(table["columns"].as_array().unwrap().len(), 5);
    let text = words(&page);
    assert!(
        text.contains(
            "0 of 12 comparisons of a version with itself found a difference; the truth lies below 24 % (95 %)"
        ),
        "{text}"
    );
    assert_eq!(overview["own_comparisons"]["comparisons"], json!(12));
}

#[tokio::test]
async fn the_report_says_the_same_sentences() {
    let fleet = Fleet::filled().await;
    every_word(&fleet).await;
    let served = serve(fleet).await;
    let overview = served.get("/api/v1/overview").await.json();
    let daemon = served.url("/");
    let report = ["report", "--daemon", &daemon, "--output", "json"];
    let said = Home::new().run(report).await.expect(0).json();
    for question in [2, 3] {
        assert_eq!(said["questions"][question], overview["questions"][question]);
    }
    assert!(said["questions"][3]["answer"].as_str().unwrap().contains("fails more often on sqlite"));
}
