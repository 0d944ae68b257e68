//! The rules for a dashboard.
//!
//! Those of Grafana's dashboard-linter are here under its names, but for these, which do not fit:
//! - `template-job-rule`, `template-instance-rule`, `target-job-rule`, `target-instance-rule`: facts about the fleet
//!   belong to a store and are the same whichever process sends them; `job` and `instance` say nothing a
//!   reader would choose by. Each dashboard has `environment` instead.
//! - `panel-datasource-rule` holds for Prometheus; there is one Tempo, named by its uid.
//! - `panel-units-rule`: a table may give its units column by column, and needs none for texts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use promql_parser::parser::Expr;
use regex::Regex;

use super::fields::Columns;
use super::files::model::{
    Color, ColorMode, Dashboard, DataSource, Mapping, Panel, PanelKind, PrometheusTarget, Target, Texts,
    Variable, VariableKind, read,
};
use super::files::names::Series;
use super::files::promql::{self, Selector};
use super::files::variables::{Values, substitute};
use super::files::{empty, names, rules};

/// What queries may ask for.
pub struct Known {
    series: BTreeMap<String, Series>,
    labels: BTreeSet<String>,
    /// Labels of what recording rules make, by their names.
    recorded: BTreeMap<String, BTreeSet<String>>,
    /// Variables of each dashboard, by its uid.
    dashboards: BTreeMap<String, BTreeSet<String>>,
}

/// Counters whose totals mean something: the store keeps them, and they never begin anew.
const TOTALS: &[&str] = &["cachetscope_aa_comparisons_total", "cachetscope_aa_false_verdicts_total"];
/// In place of `$__rate_interval`: no hand writes it.
const RATE_INTERVAL: Duration = Duration::from_secs(67);
/// Words with their texts and colours, the same on every dashboard and on the daemon's page.
const WORDS: &[(&str, &str, &str)] = &[
    ("regressed", "▲ regressed", "#b93524"),
    ("improved", "▼ improved", "#3a7d5c"),
    ("unchanged", "= unchanged", "#65696e"),
    ("inconclusive", "? inconclusive", "#8e9196"),
    ("insufficient", "… insufficient", "#8e9196"),
    ("no_baseline", "– no baseline", "#8e9196"),
    ("invalid", "! invalid", "#9a6a12"),
    ("pass", "● pass", "#3a7d5c"),
    ("degraded", "■ degraded", "#9a6a12"),
    ("fail", "✕ fail", "#b93524"),
    ("unreachable", "✕ unreachable", "#b93524"),
    ("skipped", "– skipped", "#8e9196"),
    ("success", "● success", "#3a7d5c"),
    ("failure", "✕ failure", "#b93524"),
    ("error", "✕ error", "#b93524"),
    ("timeout", "✕ timeout", "#b93524"),
    ("cancellation", "– cancellation", "#8e9196"),
    ("skip", "– skip", "#8e9196"),
];
const VERDICTS: usize = 7;
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

    fn labels_of(&self, expr: &Expr) -> BTreeSet<String> {
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

    fn series_of(&self, selector: &Selector) -> Result<Series, String> {
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

/// What a word looks like, and that nothing but words has a colour of judgement.
fn colours(panel: &Panel) -> Vec<String> {
    let mut problems = Vec::new();
    let overrides = panel.field_config.overrides.iter().flat_map(|o| &o.properties);
    let mut mappings: Vec<&Mapping> = panel.field_config.defaults.mappings.iter().collect();
    let set: Vec<Vec<Mapping>> =
        overrides.clone().filter(|p| p.id == "mappings").filter_map(|p| read(&p.value).ok()).collect();
    mappings.extend(set.iter().flatten());
    let judging = ["#b93524", "#3a7d5c", "#9a6a12", "red", "green", "orange", "yellow"];
    let judges = |color: &str| judging.iter().any(|word| color.contains(word));
    let compares = panel.targets.iter().any(|target| match target {
        Target::Prometheus(target) => target.expr.contains("delta") && !target.expr.contains("verdict"),
        _ => false,
    });
    for mapping in mappings {
        let mut verdicts = 0;
        for (key, mapped) in mapping.results() {
            let word = WORDS.iter().enumerate().find(|(_, (word, _, _))| Some(*word) == key);
            let (text, color) =
                (mapped.text.as_deref().unwrap_or_default(), mapped.color.as_deref().unwrap_or_default());
            if let Some((n, (word, right, right_color))) = word {
                verdicts += usize::from(n < VERDICTS);
                if text != *right || !is_color(color, right_color) {
                    problems.push(format!(
                        "`{word}` looks like `{text}` {color}; everywhere it is `{right}` {right_color}"
                    ));
                }
            } else if let Some((_, _, right)) = WORDS.iter().find(|(_, shown, _)| *shown == text)
                && !is_color(color, right)
            {
                problems.push(format!("`{text}` is {color}; everywhere it is {right}"));
            }
            let of_word = word.is_some();
            if compares && !of_word && judges(color) && !matches!(mapping, Mapping::Value(_)) {
                problems.push(format!("a difference gets the colour {color}: only a verdict may"));
            }
        }
        if verdicts != 0 && verdicts != VERDICTS {
            problems.push(format!("a mapping of verdicts knows {verdicts} of {VERDICTS}"));
        }
    }
    for rule in &panel.field_config.overrides {
        let Some((word, text, color)) = WORDS.iter().find(|(word, _, _)| rule.matcher.options == *word)
        else {
            continue;
        };
        let set = |id: &str| rule.properties.iter().find(|p| p.id == id).map(|p| &p.value);
        let found = (set("displayName"), set("color").map(|value| &value["fixedColor"]));
        if found.0.is_some_and(|shown| shown != text) || found.1.is_some_and(|shown| shown != color) {
            problems
                .push(format!("the series `{word}` looks like {found:?}; everywhere it is `{text}` {color}"));
        }
    }
    let defaults = &panel.field_config.defaults;
    let colors = overrides.clone().filter(|p| p.id == "color").filter_map(|p| read::<Color>(&p.value).ok());
    let modes: Vec<ColorMode> = defaults.color.iter().map(|c| c.mode).chain(colors.map(|c| c.mode)).collect();
    let steps = defaults.thresholds.iter().flat_map(|t| &t.steps);
    if compares && modes.contains(&ColorMode::Thresholds) && steps.into_iter().any(|step| judges(&step.color))
    {
        problems.push("a difference is coloured by thresholds: only a verdict may colour it".to_owned());
    }
    if defaults.color.is_none() && panel.kind != PanelKind::Text {
        // Grafana's default is thresholds, green then red from 80 on.
        problems.push("no `color`: Grafana would colour by thresholds of its own".to_owned());
    }
    problems
}

/// Whether this is the colour, be it transparent (`rgba(…)`), as behind a text.
fn is_color(found: &str, right: &str) -> bool {
    let parts = found.strip_prefix("rgba(").and_then(|rest| rest.strip_suffix(')'));
    let Some(parts) = parts else { return found == right };
    let mut hex = String::from("#");
    for part in parts.split(',').take(3) {
        hex += &part.trim().parse::<u8>().map(|part| format!("{part:02x}")).unwrap_or_default();
    }
    hex == right
}

/// `/d/…` leads to a dashboard there is, and sets variables that it has.
fn of_link(known: &Known, url: &str) -> Vec<String> {
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

/// The list of empty panels names panels there are, each once and with a reason.
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
        if !seen.insert((uid, title)) {
            problems.push(format!("the panel `{title}` on `{uid}` is there twice"));
        }
        if entry.because.trim().is_empty() {
            problems.push(format!("the panel `{title}` on `{uid}` has no reason"));
        }
    }
    problems
}
