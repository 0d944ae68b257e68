//! The dashboards and rules in `grafana/`, held against their rules. Only form and names are judged here;
//! that each query is answered by real parts is shown in `tests/real/stack`.

mod fields;
mod files;
mod known;
mod lint;
mod lists;
mod looks;
mod mutants;

use files::Grafana;
use files::model::Dashboard;
use known::Known;

/// Everything that is wrong with what was read.
fn problems_of(grafana: &Grafana) -> Vec<String> {
    let known = Known::new(&grafana.dashboards, &grafana.rules);
    let mut problems = Vec::new();
    for (file, rules) in &grafana.rules {
        problems.extend(lists::of_rules(&known, rules).into_iter().map(|p| format!("{file}, {p}")));
    }
    for (file, dashboard) in &grafana.dashboards {
        problems.extend(lint::dashboard(&known, dashboard).into_iter().map(|p| format!("{file}, {p}")));
    }
    let list = lists::of_empty(&grafana.empty, &grafana.dashboards);
    problems.extend(list.into_iter().map(|p| format!("{}, {p}", files::empty::FILE)));
    let uids: Vec<&str> =
        grafana.dashboards.iter().map(|(_, d): &(String, Dashboard)| d.uid.as_str()).collect();
    for (n, uid) in uids.iter().enumerate() {
        if uids[..n].contains(uid) {
            problems.push(format!("two dashboards have the uid `{uid}`"));
        }
    }
    problems
}

#[test]
fn every_dashboard_and_rule_keeps_the_rules() {
    let (grafana, mut problems) = Grafana::load();
    problems.extend(problems_of(&grafana));
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
    let uids: Vec<&str> = grafana.dashboards.iter().map(|(_, dashboard)| dashboard.uid.as_str()).collect();
    let expected = ["overview", "tests", "deployments", "databases", "versions", "throughput", "pipeline"];
    assert_eq!(uids, expected.map(|name| format!("cachetscope-{name}")));
}
