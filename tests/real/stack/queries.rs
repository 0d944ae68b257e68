//! Every query of every panel and rule, asked of what the demo has fed.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use cachetscope::otlp::names::ALL_METRICS;

use super::Stack;
use super::panels::{Answer, Query, ask, queries};
use crate::dashboards::rules::Rule;
use crate::dashboards::{Grafana, empty, names, promql};
use crate::parts::process::Process;

/// So long the demo has to fill every panel; a confirmed regression takes 63 rounds.
const PATIENCE: Duration = Duration::from_secs(420);
/// Sent only in cases that the demo has not: load told by a tool that asks for a rate, discovery.
const NOT_IN_THE_DEMO: &[&str] = &[
    "cachetscope_load_offered_per_second",
    "cachetscope_discover_targets",
    "cachetscope_discover_failures_total",
];
/// What a daemon has to measure for longer than this test waits: comparisons of deployments with themselves.
const LATER: &[&str] =
    &["cachetscope:aa_false_verdicts:ratio_low", "cachetscope:aa_false_verdicts:ratio_high"];
/// Series that exist only after a first failure.
const ONLY_IN_TROUBLE: &[&str] = &["otelcol_exporter_send_failed", "otelcol_exporter_enqueue_failed"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_query_of_every_panel_and_rule_is_answered() {
    let (grafana, problems) = Grafana::load();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    let began = Instant::now();
    let dir = tempfile::tempdir().unwrap();
    let stack = Stack::start(dir.path()).await;
    let up = began.elapsed();
    let mut demo = Command::new(env!("CARGO_BIN_EXE_cachetscope"));
    demo.args(["demo", "--listen", "127.0.0.1:0"])
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", stack.endpoint())
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
    let _demo = Process::start("demo", dir.path(), &mut demo);

    let filled = Filled::wait(&stack, &grafana).await;
    let mut wrong = filled.wrong;
    wrong.extend(names_differ(&stack).await);
    wrong.extend(rules_without_data(&stack, &grafana).await);
    println!(
        "stack: up in {:.0} s, every panel filled {:.0} s later",
        up.as_secs_f64(),
        (began.elapsed() - up).as_secs_f64()
    );
    println!(
        "dashboards: {}, panels: {}, queries: {} ({} of traces), with data: {}, rightly empty: {}",
        grafana.dashboards.len(),
        filled.panels,
        filled.queries,
        filled.traces,
        filled.with_data,
        filled.empty.len(),
    );
    for (place, because) in &filled.empty {
        println!("  empty: {place}: {because}");
    }
    assert!(
        wrong.is_empty(),
        "{} of the queries are not answered as they should:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// What came of all queries of panels.
#[derive(Default)]
struct Filled {
    panels: usize,
    queries: usize,
    traces: usize,
    with_data: usize,
    /// Place and reason.
    empty: Vec<(String, String)>,
    wrong: Vec<String>,
}

impl Filled {
    /// Asks until all is as it should be, or patience ends.
    async fn wait(stack: &Stack, grafana: &Grafana) -> Filled {
        let began = Instant::now();
        let mut all: Vec<Query> = Vec::new();
        let mut answered = BTreeSet::new();
        let mut last = String::new();
        loop {
            let mut wrong = Vec::new();
            all.clear();
            for (_, dashboard) in &grafana.dashboards {
                match queries(stack, dashboard).await {
                    Ok(found) => all.extend(found),
                    Err(problem) => wrong.push(problem),
                }
            }
            for query in &all {
                let place = query.place();
                // What must be filled is asked until it is; the rest at the end, once.
                if answered.contains(&place) || listed(grafana, query).is_some() {
                    continue;
                }
                match ask(stack, query).await {
                    Ok(Answer::Data(_)) => {
                        last.clone_from(&place);
                        answered.insert(place);
                    }
                    Ok(Answer::Empty) => wrong.push(format!("{place}: no data: {}", query.text)),
                    Ok(Answer::Lacks(problem)) | Err(problem) => {
                        wrong.push(format!("{place}: {problem}: {}", query.text))
                    }
                }
            }
            if wrong.is_empty() || began.elapsed() > PATIENCE {
                println!("the last to be filled, after {:.0} s: {last}", began.elapsed().as_secs_f64());
                return Filled::judge(stack, grafana, all, answered.len(), wrong).await;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    async fn judge(
        stack: &Stack,
        grafana: &Grafana,
        all: Vec<Query>,
        answered: usize,
        wrong: Vec<String>,
    ) -> Filled {
        let panels: BTreeSet<_> = all.iter().map(|query| (&query.dashboard, &query.panel)).collect();
        let traces = all.iter().filter(|query| query.is_traceql()).count();
        let mut filled = Filled {
            panels: panels.len(),
            queries: all.len(),
            traces,
            with_data: answered,
            wrong,
            ..Filled::default()
        };
        for query in &all {
            let Some(entry) = listed(grafana, query) else { continue };
            match ask(stack, query).await {
                Ok(Answer::Empty) => filled.empty.push((query.place(), entry.because.clone())),
                // It may lack labels that others would have.
                Ok(_) if entry.may => filled.with_data += 1,
                Ok(answer) => filled.wrong.push(format!(
                    "{}: {answer:?} came, and {} says that it is empty: {}",
                    query.place(),
                    empty::FILE,
                    entry.because
                )),
                Err(problem) => filled.wrong.push(format!("{}: {problem}: {}", query.place(), query.text)),
            }
        }
        filled
    }
}

fn listed<'a>(grafana: &'a Grafana, query: &Query) -> Option<&'a empty::Entry> {
    empty::entry(&grafana.empty, &query.dashboard, &query.panel, &query.id)
}

/// What Prometheus calls our metrics is what `names` says that it does, and the demo sends all of them.
async fn names_differ(stack: &Stack) -> Vec<String> {
    let there = stack.prometheus.label_values("__name__", None).await.unwrap();
    let ours = |name: &String| {
        let start = name.split('_').next().unwrap_or_default();
        ["cachetscope", "http", "cicd"].contains(&start) && !name.contains(':')
    };
    let there: BTreeSet<String> = there.into_iter().filter(ours).collect();
    let named: BTreeSet<String> = ALL_METRICS
        .iter()
        .flat_map(|metric| names::series(metric.name, metric.unit, metric.kind))
        .map(|(name, _)| name)
        .filter(|name| !NOT_IN_THE_DEMO.contains(&name.as_str()))
        .collect();
    let unknown =
        there.difference(&named).map(|name| format!("Prometheus has `{name}`, which `names` does not know"));
    let missing = named.difference(&there).map(|name| format!("`{name}` is not in Prometheus"));
    unknown.chain(missing).collect()
}

/// Recording rules have answers, and what alerts look at is there.
async fn rules_without_data(stack: &Stack, grafana: &Grafana) -> Vec<String> {
    let mut wrong = Vec::new();
    for rule in stack.prometheus.rules().await.unwrap() {
        if rule["health"] != "ok" {
            wrong.push(format!("rule {}: {}, {}", rule["name"], rule["health"], rule["lastError"]));
        }
    }
    let promised: BTreeSet<String> = names::promised_series().collect();
    let mut rules: Vec<&Rule> =
        grafana.rules.iter().flat_map(|(_, file)| &file.groups).flat_map(|group| &group.rules).collect();
    // Alerts look at what is recorded.
    rules.sort_by_key(|rule| rule.alert.is_some());
    // What is recorded from what is promised is empty, too.
    let mut empty = promised;
    let mut queries = 0;
    for rule in &rules {
        let selectors = promql::selectors(&promql::parse(&rule.expr).unwrap());
        if let Some(record) = &rule.record {
            let of_promised = LATER.contains(&record.as_str())
                || selectors.iter().any(|selector| empty.contains(&selector.name));
            queries += 1;
            let found = stack.prometheus.query(record, None).await.unwrap();
            match (found.is_empty(), of_promised) {
                (false, _) => {}
                (true, true) => drop(empty.insert(record.clone())),
                (true, false) => wrong.push(format!("recording rule `{record}` has no answer")),
            }
        }
        if rule.alert.is_some() {
            for selector in selectors.iter().filter(|selector| !empty.contains(&selector.name)) {
                let trouble = ONLY_IN_TROUBLE.iter().any(|start| selector.text.contains(start));
                // The conditions of a matcher may hold only in trouble; the series must be there without.
                let text =
                    if selector.name.is_empty() { selector.text.clone() } else { selector.name.clone() };
                queries += 1;
                let found =
                    stack.prometheus.query(&format!("last_over_time({text}[5m])"), None).await.unwrap();
                if found.is_empty() && !trouble {
                    wrong.push(format!("alert `{}` looks at `{text}`, which is not there", rule.name()));
                }
            }
        }
    }
    println!("rules: {}, queries: {queries}", rules.len());
    wrong
}
