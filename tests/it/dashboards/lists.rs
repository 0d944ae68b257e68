//! Files beside the dashboards: rules of Prometheus, and the list of panels that are rightly empty.

use std::collections::BTreeSet;

use super::files::model::Dashboard;
use super::files::{empty, rules};
use super::known::{Known, of_link};

/// Rules of Prometheus: each expression is one that can be answered.
pub fn of_rules(known: &Known, file: &rules::File) -> Vec<String> {
    let mut problems = Vec::new();
    let mut names = BTreeSet::new();
    for group in &file.groups {
        for rule in &group.rules {
            let name = rule.name();
            let (_, mut found) = known.check(&rule.expr);
            match (&rule.record, &rule.alert) {
                (Some(record), None) if record.split(':').count() != 3 => {
                    found.push("level:metric:operation expected".to_owned());
                }
                (None, Some(_)) => {
                    let severity = rule.labels.get("severity").map_or("", String::as_str);
                    if !["info", "warning", "critical"].contains(&severity) {
                        found.push(format!("severity `{severity}`: info, warning or critical expected"));
                    }
                    if !rule.annotations.contains_key("summary") {
                        found.push("no annotation `summary`".to_owned());
                    }
                    let url = rule.annotations.get("dashboard").map(String::as_str);
                    found.extend(
                        url.map_or(vec!["no annotation `dashboard`".to_owned()], |url| of_link(known, url)),
                    );
                }
                (Some(_), None) => {}
                _ => found.push("either `record` or `alert`".to_owned()),
            }
            if !names.insert(name) {
                found.push("another rule has the same name".to_owned());
            }
            problems.extend(found.into_iter().map(|problem| format!("rule `{name}`: {problem}")));
        }
    }
    problems
}

/// The list of empty panels names panels and queries there are, each once and with a reason.
pub fn of_empty(list: &[empty::Entry], dashboards: &[(String, Dashboard)]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut seen = BTreeSet::new();
    for entry in list {
        let (uid, title) = (&entry.dashboard, &entry.panel);
        let dashboard = dashboards.iter().find(|(_, dashboard)| dashboard.uid == *uid);
        let panel =
            dashboard.and_then(|(_, d)| d.panels.iter().find(|p| p.title == *title && p.kind.shows_data()));
        if panel.is_none() {
            problems.push(format!("there is no panel `{title}` on `{uid}`"));
        }
        if !seen.insert((uid, title, &entry.query)) {
            problems.push(format!("the panel `{title}` on `{uid}` is there twice"));
        }
        if let (Some(panel), Some(id)) = (panel, &entry.query)
            && !panel.targets.iter().any(|target| target.ref_id() == id.as_str())
        {
            problems.push(format!("the panel `{title}` on `{uid}` has no query {id}"));
        }
        if entry.because.trim().is_empty() {
            problems.push(format!("the panel `{title}` on `{uid}` has no reason"));
        }
    }
    problems
}
