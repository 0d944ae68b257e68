//! The rules for a dashboard.
//!
//! Those of Grafana's dashboard-linter are here under its names, but for these, which do not fit:
//! - `template-job-rule`, `template-instance-rule`, `target-job-rule`, `target-instance-rule`: facts about the fleet
//!   belong to a store and are the same whichever process sends them; `job` and `instance` say nothing a
//!   reader would choose by. Each dashboard has `environment` instead.
//! - `panel-datasource-rule` holds for Prometheus; there is one Tempo, named by its uid.
//! - `panel-units-rule`: a table may give its units column by column, and needs none for texts.

use std::collections::BTreeSet;
use std::time::Duration;

use super::fields::Columns;
use super::files::model::{
    Dashboard, DataSource, Panel, PanelKind, PrometheusTarget, Target, Texts, Variable, VariableKind,
};
use super::files::names::Series;
use super::files::promql;
use super::files::variables::{Values, substitute};
use super::known::{Known, of_link};
use super::looks::colours;

/// Counters whose totals mean something: the store keeps them, and they never begin anew.
const TOTALS: &[&str] = &["cachetscope_aa_comparisons_total", "cachetscope_aa_false_verdicts_total"];
/// In place of `$__rate_interval`: no hand writes it.
const RATE_INTERVAL: Duration = Duration::from_secs(67);
const UNITS: &[&str] = &[
    "none",
    "short",
    "string",
    "bool",
    "s",
    "ms",
    "ns",
    "dtdurations",
    "percent",
    "percentunit",
    "reqps",
    "ops",
    "cps",
    "bytes",
    "decbytes",
    "dateTimeAsIso",
    "dateTimeFromNow",
    "locale",
];
/// Grafana's own, besides those of the dashboard.
const BUILT_IN: &[(&str, &str)] = &[
    ("__rate_interval", "67s"),
    ("__interval", "30s"),
    ("__range", "24h"),
    ("__range_s", "86400"),
    ("__auto", ""),
];

/// Everything that is wrong with a dashboard.
pub fn dashboard(known: &Known, dashboard: &Dashboard) -> Vec<String> {
    let mut problems = of_the_whole(known, dashboard);
    problems.extend(layout(&dashboard.panels));
    let mut values: Values = BUILT_IN.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    for variable in &dashboard.templating.list {
        problems.extend(of_variable(known, variable, &values));
        values.insert(variable.name.clone(), "x".to_owned());
    }
    for annotation in &dashboard.annotations.list {
        let Some(expr) = &annotation.expr else { continue };
        let found = match substitute(expr, &values) {
            Ok(text) => known.check(&text).1,
            Err(problem) => vec![problem],
        };
        problems.extend(found.into_iter().map(|p| format!("annotation `{}`: {p}", annotation.name)));
    }
    for panel in &dashboard.panels {
        let found = of_panel(known, panel, &values);
        problems.extend(found.into_iter().map(|problem| format!("panel `{}`: {problem}", panel.title)));
    }
    problems
}

fn of_the_whole(known: &Known, dashboard: &Dashboard) -> Vec<String> {
    let mut problems = Vec::new();
    let mut hold = |holds: bool, problem: String| {
        if !holds {
            problems.push(problem);
        }
    };
    hold(
        !dashboard.editable,
        "uneditable-dashboard: `editable` is true; what comes from a file is changed in the file".to_owned(),
    );
    hold(
        dashboard.schema_version <= 42,
        format!(
            "schemaVersion {}: at most 42, for provisioning from files reads no newer model",
            dashboard.schema_version
        ),
    );
    hold(
        dashboard.uid.starts_with("cachetscope-"),
        format!("uid `{}`: cachetscope-… expected", dashboard.uid),
    );
    hold(
        !dashboard.title.is_empty() && !dashboard.description.is_empty(),
        "title and description".to_owned(),
    );
    let sources: Vec<&Variable> =
        dashboard.templating.list.iter().filter(|v| v.kind == VariableKind::Datasource).collect();
    let right = matches!(sources[..], [one] if one.name == "datasource"
        && one.query.as_ref().is_some_and(|q| q.text() == "prometheus")
        && one.label.as_ref().is_some_and(|label| !label.is_empty())
        && one.current.as_ref().is_some_and(|c| matches!(&c.value, Texts::One(uid) if uid == "prometheus")));
    hold(
        right,
        "template-datasource-rule: exactly one variable for the data source, called `datasource`, of type prometheus, with a label and prometheus as its default".to_owned(),
    );
    let links = dashboard.links.iter().filter_map(|link| link.url.as_deref());
    for problem in links.flat_map(|url| of_link(known, url)) {
        problems.push(format!("links: {problem}"));
    }
    problems
}

fn layout(panels: &[Panel]) -> Vec<String> {
    let mut problems = Vec::new();
    for (n, panel) in panels.iter().enumerate() {
        let (at, title) = (panel.grid_pos, &panel.title);
        if at.w == 0 || at.h == 0 || at.x + at.w > 24 {
            problems.push(format!("panel `{title}`: gridPos {at:?} does not lie within 24 columns"));
        }
        for other in &panels[..n] {
            let with = other.grid_pos;
            if other.id == panel.id {
                problems
                    .push(format!("panels `{}` and `{title}` have the same id {}", other.title, panel.id));
            }
            let across = at.x < with.x + with.w && with.x < at.x + at.w;
            let down = at.y < with.y + with.h && with.y < at.y + at.h;
            if across && down {
                problems.push(format!("panels `{}` and `{title}` lie upon each other", other.title));
            }
            if panel.kind.shows_data() && other.title == panel.title {
                problems.push(format!("two panels are called `{title}`"));
            }
        }
    }
    problems
}

fn of_variable(known: &Known, variable: &Variable, before: &Values) -> Vec<String> {
    let mut problems = Vec::new();
    if variable.kind == VariableKind::Query {
        let query = variable.query.as_ref().map_or("", |query| query.text());
        match substitute(query, before).and_then(|query| promql::label_values(&query)) {
            Ok((selector, label)) => {
                if let Some(selector) = selector {
                    problems.extend(known.check(&selector).1);
                }
                if !known.labels.contains(&label) {
                    problems.push(format!("no series has a label `{label}`"));
                }
            }
            Err(problem) => problems.push(problem),
        }
        if variable.refresh != Some(2) {
            problems.push("template-on-time-change-reload-rule: `refresh` is not 2".to_owned());
        }
        if !variable.datasource.as_ref().is_some_and(is_prometheus) {
            problems.push("its data source is not ${datasource}".to_owned());
        }
    }
    let name = &variable.name;
    problems.into_iter().map(|p| format!("template-label-promql-rule: variable `{name}`: {p}")).collect()
}

fn is_prometheus(source: &DataSource) -> bool {
    source.kind == "prometheus" && source.uid == "${datasource}"
}

fn is_tempo(source: &DataSource) -> bool {
    source.kind == "tempo" && source.uid == "tempo"
}

fn of_panel(known: &Known, panel: &Panel, values: &Values) -> Vec<String> {
    let mut problems = Vec::new();
    let mut hold = |holds: bool, problem: String| {
        if !holds {
            problems.push(problem);
        }
    };
    if !panel.kind.shows_data() {
        hold(panel.targets.is_empty(), "a text or a row asks for nothing".to_owned());
        hold(panel.kind == PanelKind::Text || !panel.title.is_empty(), "a row has a title".to_owned());
        return problems;
    }
    let defaults = &panel.field_config.defaults;
    hold(
        !panel.title.is_empty() && !panel.description.is_empty(),
        "panel-title-description-rule: title or description is missing".to_owned(),
    );
    hold(!panel.targets.is_empty(), "panel-no-targets-rule: it asks for nothing".to_owned());
    hold(
        panel.datasource.as_ref().is_some_and(|source| is_prometheus(source) || is_tempo(source)),
        "panel-datasource-rule: neither ${datasource} nor tempo".to_owned(),
    );
    hold(
        defaults.no_value.as_ref().is_some_and(|text| !text.is_empty()),
        "no `noValue`: what an empty panel says".to_owned(),
    );
    let overrides = || panel.field_config.overrides.iter().flat_map(|o| &o.properties);
    let column_units = overrides().filter(|p| p.id == "unit").filter_map(|p| p.value.as_str());
    let units: Vec<&str> = defaults.unit.as_deref().into_iter().chain(column_units).collect();
    for unit in &units {
        let own = ["suffix:", "prefix:", "time:"].iter().any(|start| unit.starts_with(start));
        hold(own || UNITS.contains(unit), format!("panel-units-rule: unknown unit `{unit}`"));
    }
    let has_unit = !units.is_empty();
    let maps = !defaults.mappings.is_empty() || overrides().any(|p| p.id == "mappings");

    problems.extend(colours(panel));
    for link in &panel.links {
        problems.extend(link.url.iter().flat_map(|url| of_link(known, url)));
    }
    let more = overrides().filter(|p| p.id == "links").flat_map(|p| p.value.as_array().into_iter().flatten());
    let more = more.filter_map(|link| link["url"].as_str());
    for url in defaults.links.iter().map(|link| link.url.as_str()).chain(more) {
        problems.extend(of_link(known, url));
    }

    let mut columns = Columns::default();
    let mut ids = BTreeSet::new();
    for target in &panel.targets {
        let (id, found) = match target {
            Target::Prometheus(target) => (&target.ref_id, of_target(known, target, values, &mut columns)),
            Target::Tempo(target) => {
                columns.open();
                let query = substitute(&target.query, values);
                let wrong =
                    (!is_tempo(&target.datasource)).then(|| "its data source is not tempo".to_owned());
                (&target.ref_id, query.err().into_iter().chain(wrong).collect())
            }
            Target::Loki(target) => {
                (&target.ref_id, vec!["no panel asks Loki: it runs in one profile only".to_owned()])
            }
        };
        if !ids.insert(id) {
            problems.push(format!("two targets are called {id}"));
        }
        problems.extend(found.into_iter().map(|problem| format!("target {id}: {problem}")));
    }
    problems.extend(columns.follow(panel));
    if !has_unit && !maps && columns.shows_numbers() {
        problems.push("panel-units-rule: no unit, and no mapping instead".to_owned());
    }
    problems
}

fn of_target(
    known: &Known,
    target: &PrometheusTarget,
    values: &Values,
    columns: &mut Columns,
) -> Vec<String> {
    let mut problems = Vec::new();
    if !is_prometheus(&target.datasource) {
        problems.push("its data source is not ${datasource}".to_owned());
    }
    let text = match substitute(&target.expr, values) {
        Ok(text) => text,
        Err(problem) => return vec![problem],
    };
    let (expr, found) = known.check(&text);
    problems.extend(found);
    let Some(expr) = expr else { return problems };
    for selector in promql::selectors(&expr) {
        let function = selector.function.as_deref().unwrap_or_default();
        if matches!(function, "rate" | "irate") && selector.range != Some(RATE_INTERVAL) {
            problems.push(format!(
                "target-rate-interval-rule: the range of {function}({}) is not $__rate_interval",
                selector.text
            ));
        }
        let grows =
            matches!(function, "rate" | "irate" | "increase" | "resets" | "changes" | "timestamp" | "absent");
        let total = TOTALS.contains(&selector.name.as_str());
        if known.series_of(&selector) == Ok(Series::Cumulative) && !grows && !total {
            problems.push(format!(
                "target-counter-agg-rule: `{}` only ever grows; ask for its rate or increase",
                selector.name
            ));
        }
        if known.series_of(&selector) == Ok(Series::Gauge)
            && matches!(function, "rate" | "irate" | "increase")
        {
            problems.push(format!("`{}` is a gauge and has no {function}", selector.name));
        }
    }
    let labels = known.labels_of(&expr);
    for label in target.legend_format.iter().flat_map(|legend| promql::legend_labels(legend)) {
        if !labels.contains(&label) {
            problems.push(format!("the legend shows `{{{{{label}}}}}`, which the answer does not have"));
        }
    }
    columns.add(target, labels);
    problems
}
