//! What there is to ask for and to lead to: metrics, labels, recording rules, dashboards.

use std::collections::{BTreeMap, BTreeSet};

use promql_parser::parser::Expr;
use regex::Regex;

use super::files::model::Dashboard;
use super::files::names::{self, Series};
use super::files::promql::{self, Selector};
use super::files::rules;

/// What queries may ask for.
pub struct Known {
    series: BTreeMap<String, Series>,
    pub labels: BTreeSet<String>,
    /// Labels of what recording rules make, by their names.
    recorded: BTreeMap<String, BTreeSet<String>>,
    /// Variables of each dashboard, by its uid.
    dashboards: BTreeMap<String, BTreeSet<String>>,
}

impl Known {
    pub fn new(dashboards: &[(String, Dashboard)], rules: &[(String, rules::File)]) -> Known {
        let variables =
            |dashboard: &Dashboard| dashboard.templating.list.iter().map(|v| v.name.clone()).collect();
        let mut known = Known {
            series: names::all_series(),
            labels: names::labels(),
            recorded: BTreeMap::new(),
            dashboards: dashboards.iter().map(|(_, d)| (d.uid.clone(), variables(d))).collect(),
        };
        // A rule may build on those before it.
        for rule in rules.iter().flat_map(|(_, file)| &file.groups).flat_map(|group| &group.rules) {
            if let (Some(record), Ok(expr)) = (&rule.record, promql::parse(&rule.expr)) {
                let labels = known.labels_of(&expr).into_iter().chain(rule.labels.keys().cloned()).collect();
                known.recorded.insert(record.clone(), labels);
            }
        }
        known
    }

    /// Labels that the answer to an expression can have.
    pub fn labels_of(&self, expr: &Expr) -> BTreeSet<String> {
        promql::labels(expr, &|name| self.recorded.get(name).unwrap_or(&self.labels).clone())
    }

    /// What is wrong with an expression that has no variables any more.
    pub fn check(&self, text: &str) -> (Option<Expr>, Vec<String>) {
        let expr = match promql::parse(text) {
            Ok(expr) => expr,
            Err(error) => return (None, vec![format!("target-promql-rule: {error} in {text}")]),
        };
        let mut problems = Vec::new();
        for selector in promql::selectors(&expr) {
            if let Err(problem) = self.series_of(&selector) {
                problems.push(problem);
            }
            let labels = self.recorded.get(&selector.name).unwrap_or(&self.labels);
            for label in selector.matched.iter().filter(|label| !labels.contains(*label)) {
                problems.push(format!("no series of `{}` has a label `{label}`", selector.name));
            }
        }
        for label in promql::named_labels(&expr).difference(&self.labels) {
            problems.push(format!("no series has a label `{label}`, which `{text}` names"));
        }
        (Some(expr), problems)
    }

    /// What a selection gives.
    pub fn series_of(&self, selector: &Selector) -> Result<Series, String> {
        if let Some(pattern) = &selector.pattern {
            let pattern = Regex::new(&format!("^(?:{pattern})$")).map_err(|error| error.to_string())?;
            let foreign = pattern.as_str().contains("otelcol_") || pattern.as_str().contains("prometheus_");
            return match foreign || self.series.keys().any(|name| pattern.is_match(name)) {
                true => Ok(Series::Either),
                false => Err(format!("no metric has a name like `{pattern}`")),
            };
        }
        if self.recorded.contains_key(&selector.name) {
            return Ok(Series::Either);
        }
        let ours = self.series.get(&selector.name).copied();
        ours.or_else(|| names::foreign(&selector.name)).ok_or_else(|| {
            format!(
                "nothing is called `{}`: not in otlp::names, not promised, and no recording rule",
                selector.name
            )
        })
    }
}

/// `/d/…` leads to a dashboard there is, and sets variables that it has.
pub fn of_link(known: &Known, url: &str) -> Vec<String> {
    let Some(rest) = url.strip_prefix("/d/") else {
        let right = ["/explore?", "https://", "http://", "${__"].iter().any(|start| url.starts_with(start));
        return if right {
            Vec::new()
        } else {
            vec![format!("a link leads to {url}: /d/…, /explore?… or a URL expected")]
        };
    };
    let (uid, query) = rest.split_once('?').unwrap_or((rest, ""));
    let uid = uid.split('/').next().unwrap_or_default();
    let Some(variables) = known.dashboards.get(uid) else {
        return vec![format!("a link leads to the dashboard `{uid}`, which does not exist")];
    };
    let set = query.split('&').filter_map(|pair| pair.strip_prefix("var-")?.split('=').next());
    let passed =
        query.split("${").skip(1).filter_map(|rest| rest.split_once(":queryparam}").map(|(name, _)| name));
    let unknown = set.chain(passed).filter(|name| !variables.contains(*name) && !name.contains('}'));
    unknown.map(|name| format!("a link sets `{name}`, which the dashboard `{uid}` does not have")).collect()
}
