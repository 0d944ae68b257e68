//! The part of Grafana's classic dashboard model (13.2, `@grafana/schema`) that our dashboards use.
//!
//! Fields and values that are not here are refused: Grafana ignores what it does not know, so a typing
//! error would be seen by nobody.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::panel;
pub use super::panel::*;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Dashboard {
    /// Null: a number would be that of another Grafana's database.
    pub id: (),
    pub uid: String,
    pub title: String,
    pub description: String,
    pub tags: Vec<String>,
    pub editable: bool,
    pub schema_version: u32,
    pub version: Option<u32>,
    pub graph_tooltip: Option<u8>,
    pub refresh: Option<String>,
    pub time: TimeRange,
    pub timezone: Option<String>,
    pub week_start: Option<String>,
    pub fiscal_year_start_month: Option<u8>,
    pub live_now: Option<bool>,
    pub preload: Option<bool>,
    pub timepicker: Option<TimePicker>,
    #[serde(default)]
    pub links: Vec<Link>,
    #[serde(default)]
    pub annotations: Annotations,
    pub templating: Templating,
    #[serde(rename = "panels")]
    raw_panels: Vec<Value>,
    /// Also those inside of collapsed rows.
    #[serde(skip)]
    pub panels: Vec<Panel>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimeRange {
    pub from: String,
    pub to: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimePicker {
    pub hidden: Option<bool>,
    #[serde(rename = "nowDelay")]
    pub now_delay: Option<String>,
    pub refresh_intervals: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Annotations {
    pub list: Vec<Annotation>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Annotation {
    pub name: String,
    pub datasource: DataSource,
    pub enable: bool,
    pub hide: Option<bool>,
    pub icon_color: String,
    pub built_in: Option<u8>,
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub filter: Option<AnnotationFilter>,
    pub target: Option<Value>,
    // Of Prometheus:
    pub expr: Option<String>,
    pub step: Option<String>,
    pub title_format: Option<String>,
    pub text_format: Option<String>,
    pub tag_keys: Option<String>,
    pub use_value_for_time: Option<Flag>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnnotationFilter {
    pub exclude: Option<bool>,
    pub ids: Vec<u32>,
}

/// Grafana writes this one as text, and takes both.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Flag {
    Bool(bool),
    Text(String),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Templating {
    pub list: Vec<Variable>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VariableKind {
    Query,
    Datasource,
    Custom,
    Constant,
    Interval,
    Textbox,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Variable {
    #[serde(rename = "type")]
    pub kind: VariableKind,
    pub name: String,
    pub label: Option<String>,
    pub description: Option<String>,
    pub datasource: Option<DataSource>,
    pub query: Option<VariableQuery>,
    pub definition: Option<String>,
    pub regex: Option<String>,
    pub refresh: Option<u8>,
    pub sort: Option<u8>,
    pub hide: Option<u8>,
    #[serde(default)]
    pub multi: bool,
    #[serde(default)]
    pub include_all: bool,
    pub all_value: Option<String>,
    pub allow_custom_value: Option<bool>,
    pub skip_url_sync: Option<bool>,
    pub current: Option<VariableOption>,
    #[serde(default)]
    pub options: Vec<VariableOption>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum VariableQuery {
    Text(String),
    Prometheus(PrometheusVariableQuery),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PrometheusVariableQuery {
    pub query: String,
    pub ref_id: String,
    pub qry_type: Option<u8>,
}

impl VariableQuery {
    pub fn text(&self) -> &str {
        match self {
            VariableQuery::Text(text) => text,
            VariableQuery::Prometheus(query) => &query.query,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VariableOption {
    pub text: Texts,
    pub value: Texts,
    pub selected: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Texts {
    One(String),
    Many(Vec<String>),
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSource {
    #[serde(rename = "type")]
    pub kind: String,
    pub uid: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Link {
    pub title: String,
    #[serde(rename = "type")]
    pub kind: Option<LinkKind>,
    pub url: Option<String>,
    pub icon: Option<String>,
    pub tooltip: Option<String>,
    #[serde(default)]
    pub tags: Vec<String>,
    pub as_dropdown: Option<bool>,
    pub include_vars: Option<bool>,
    pub keep_time: Option<bool>,
    pub target_blank: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkKind {
    Link,
    Dashboards,
}

/// As a type of ours; the error says where in `value`.
pub fn read<T: DeserializeOwned>(value: &Value) -> Result<T, String> {
    serde_path_to_error::deserialize(value).map_err(|error| match error.path().to_string() {
        path if path == "." => error.into_inner().to_string(),
        path => format!("{path}: {}", error.into_inner()),
    })
}

/// A dashboard, unless its outermost form is wrong, with the panels that could be read; and what is wrong.
pub fn parse(file: &str, text: &str) -> (Option<Dashboard>, Vec<String>) {
    let value = match serde_json::from_str::<Value>(text) {
        Ok(value) => value,
        Err(error) => return (None, vec![format!("{file}: {error}")]),
    };
    let mut dashboard: Dashboard = match read(&value) {
        Ok(dashboard) => dashboard,
        Err(problem) => return (None, vec![format!("{file}: {problem}")]),
    };
    let mut problems = Vec::new();
    let mut raw = std::mem::take(&mut dashboard.raw_panels);
    raw.reverse();
    while let Some(value) = raw.pop() {
        match panel::parse(&value) {
            Ok(mut panel) => {
                raw.extend(panel.inner.take().unwrap_or_default().into_iter().rev());
                dashboard.panels.push(panel);
            }
            Err(problem) => {
                let title = value["title"].as_str().map_or_else(|| value["id"].to_string(), str::to_owned);
                problems.push(format!("{file}, panel `{title}`: {problem}"));
            }
        }
    }
    (Some(dashboard), problems)
}
