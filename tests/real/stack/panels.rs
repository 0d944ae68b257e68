//! The queries of panels as Grafana would send them, and what must be in their answers.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Stack, now};
use crate::dashboards::model::{Dashboard, Panel, Target, Variable, VariableKind};
use crate::dashboards::variables::{self, Values, substitute};
use crate::dashboards::{names, promql};
use crate::parts::prometheus::Series;

/// A viewer looks at the last five minutes: points in every 15 s, which is what is scraped and published.
const RANGE_SECONDS: f64 = 300.0;
const STEP_SECONDS: u32 = 15;
/// Four times that (Grafana's documentation of `$__rate_interval`).
const RATE_INTERVAL: &str = "1m";

/// One query, ready to be sent.
pub struct Query {
    pub dashboard: String,
    pub panel: String,
    pub id: String,
    pub text: String,
    kind: Kind,
}

enum Kind {
    Prometheus {
        instant: bool,
        exemplars: bool,
        labels: BTreeSet<String>,
    },
    /// Back to so many seconds ago.
    Tempo {
        seconds: u64,
        limit: u32,
        selected: BTreeSet<String>,
    },
}

impl Query {
    pub fn is_traceql(&self) -> bool {
        matches!(self.kind, Kind::Tempo { .. })
    }

    pub fn place(&self) -> String {
        format!("{}, `{}`, {}", self.dashboard, self.panel, self.id)
    }
}

/// What came back.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Empty,
    /// Data without this label or attribute, which the panel shows.
    Lacks(String),
    /// Values, as a reader compares them.
    Data(Vec<String>),
}

/// Every query of a dashboard, with the variables that it has when it is opened; and those variables'
/// own queries, which must be answered too. The error names what was not.
pub async fn queries(stack: &Stack, dashboard: &Dashboard) -> Result<Vec<Query>, String> {
    let (mut prometheus, mut tempo) = (Values::new(), Values::new());
    for (name, value) in [("__rate_interval", RATE_INTERVAL), ("__interval", "15s"), ("__auto", "")] {
        prometheus.insert(name.to_owned(), value.to_owned());
    }
    set_range(&mut prometheus, &dashboard.time.from);
    for variable in &dashboard.templating.list {
        let found = choices(stack, variable, &prometheus).await;
        let chosen =
            found.map_err(|error| format!("{}, variable `{}`: {error}", dashboard.uid, variable.name))?;
        let all = variable.include_all;
        let (for_prometheus, for_tempo) = match (&variable.all_value, all) {
            (Some(value), true) => (value.clone(), value.clone()),
            (None, true) => (variables::joined(&chosen), chosen.join("|")),
            _ => (chosen[0].clone(), chosen[0].clone()),
        };
        prometheus.insert(variable.name.clone(), for_prometheus);
        tempo.insert(variable.name.clone(), for_tempo);
    }
    let mut queries = Vec::new();
    for panel in &dashboard.panels {
        let back =
            panel.time_from.as_deref().unwrap_or_else(|| dashboard.time.from.trim_start_matches("now-"));
        let mut values = prometheus.clone();
        set_range(&mut values, back);
        for target in &panel.targets {
            queries.push(query(dashboard, panel, target, &values, &tempo, back)?);
        }
    }
    Ok(queries)
}

fn set_range(values: &mut Values, back: &str) {
    let back = back.trim_start_matches("now-");
    values.insert("__range".to_owned(), back.to_owned());
    values.insert("__range_s".to_owned(), seconds(back).to_string());
}

fn seconds(range: &str) -> u64 {
    humantime::parse_duration(range).unwrap_or_else(|error| panic!("range {range}: {error}")).as_secs()
}

/// What can be chosen, the first by itself.
async fn choices(stack: &Stack, variable: &Variable, values: &Values) -> Result<Vec<String>, String> {
    if variable.kind == VariableKind::Datasource {
        return Ok(vec!["prometheus".to_owned()]);
    }
    let query = substitute(variable.query.as_ref().map_or("", |query| query.text()), values)?;
    let (selector, label) = promql::label_values(&query)?;
    let mut found = stack.prometheus.label_values(&label, selector.as_deref()).await?;
    if let Some(pattern) = variable.regex.as_deref().filter(|pattern| !pattern.is_empty()) {
        let pattern = regex::Regex::new(pattern.trim_matches('/')).map_err(|error| error.to_string())?;
        found.retain(|value| pattern.is_match(value));
    }
    if found.is_empty() { Err(format!("{query} has no answer")) } else { Ok(found) }
}

fn query(
    dashboard: &Dashboard,
    panel: &Panel,
    target: &Target,
    prometheus: &Values,
    tempo: &Values,
    back: &str,
) -> Result<Query, String> {
    let (id, text, kind) = match target {
        Target::Prometheus(target) => {
            let legend = target.legend_format.iter().flat_map(|legend| promql::legend_labels(legend));
            let labels = legend.chain(columns(panel)).collect();
            let exemplars = target.exemplar == Some(true);
            let kind = Kind::Prometheus { instant: target.instant, exemplars, labels };
            (&target.ref_id, substitute(&target.expr, prometheus)?, kind)
        }
        Target::Tempo(target) => {
            let selected = target.query.split_once("select(").map_or("", |(_, rest)| rest);
            let selected = selected.split(')').next().unwrap_or_default().split(',');
            let selected =
                selected.filter_map(|field| field.trim().split_once('.').map(|(_, name)| name.to_owned()));
            let kind = Kind::Tempo {
                seconds: seconds(back),
                limit: target.limit.unwrap_or(20),
                selected: selected.collect(),
            };
            (&target.ref_id, substitute(&target.query, tempo)?, kind)
        }
        Target::Loki(_) => {
            return Err(format!("{}, `{}`: Loki is not asked here", dashboard.uid, panel.title));
        }
    };
    let (dashboard, panel, id) = (dashboard.uid.clone(), panel.title.clone(), id.clone());
    Ok(Query { dashboard, panel, id, text, kind })
}

/// Labels that transformations ask for by name.
fn columns(panel: &Panel) -> BTreeSet<String> {
    fn texts(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::String(text) => drop(found.insert(text.clone())),
            Value::Array(list) => list.iter().for_each(|value| texts(value, found)),
            Value::Object(map) => {
                found.extend(map.keys().cloned());
                map.values().for_each(|value| texts(value, found));
            }
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    panel.transformations.iter().for_each(|transformation| texts(&transformation.options, &mut found));
    let known = names::labels();
    found.retain(|name| known.contains(name) && name.contains('_'));
    found
}

/// Asks. The error says what is wrong with the query or its answer.
pub async fn ask(stack: &Stack, query: &Query) -> Result<Answer, String> {
    match &query.kind {
        Kind::Prometheus { instant, exemplars, labels } => {
            let end = now();
            let at_once = stack.prometheus.query(&query.text, None).await?;
            let over_time =
                stack.prometheus.query_range(&query.text, end - RANGE_SECONDS, end, STEP_SECONDS).await?;
            let shown = if *instant { at_once } else { over_time };
            if shown.is_empty() {
                return Ok(Answer::Empty);
            }
            let expr = promql::parse(&query.text)?;
            let possible = promql::labels(&expr, &|_| names::labels());
            let there: BTreeSet<&String> = shown.iter().flat_map(|series| series.labels.keys()).collect();
            if let Some(label) =
                labels.iter().find(|label| possible.contains(*label) && !there.contains(label))
            {
                return Ok(Answer::Lacks(format!("no series has the label `{label}`; there are {there:?}")));
            }
            if *exemplars {
                let traces = stack.prometheus.exemplar_traces(&query.text, end - RANGE_SECONDS, end).await?;
                if traces.is_empty() {
                    return Ok(Answer::Empty);
                }
            }
            Ok(Answer::Data(shown.iter().map(value).collect()))
        }
        Kind::Tempo { seconds, limit, selected } => {
            let end = now() as u64;
            let spans = stack.tempo.search(&query.text, end - seconds, end, *limit).await?;
            if spans.is_empty() {
                return Ok(Answer::Empty);
            }
            let there: BTreeSet<&String> = spans.iter().flat_map(|span| span.keys()).collect();
            match selected.iter().find(|name| !there.contains(name)) {
                Some(name) => Ok(Answer::Lacks(format!("no span has `{name}`; there are {there:?}"))),
                None => Ok(Answer::Data(vec![format!("{} spans", spans.len())])),
            }
        }
    }
}

/// What a panel shows now, of one instant, in the order of its labels.
pub async fn values(stack: &Stack, query: &Query) -> Vec<String> {
    let mut found: Vec<String> =
        stack.prometheus.query(&query.text, None).await.unwrap().iter().map(value).collect();
    found.sort();
    found
}

/// The last value with what tells it from its neighbours.
fn value(series: &Series) -> String {
    let labels: Vec<&str> =
        series.labels.iter().filter(|(name, _)| *name != "__name__").map(|(_, v)| v.as_str()).collect();
    let last = series.points.last().map_or(f64::NAN, |(_, value)| *value);
    format!("{} {last:.4}", labels.join(" "))
}
