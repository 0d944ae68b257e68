//! A panel of the dashboard model: its queries, and how its fields look.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::model::{DataSource, Link, read};
use super::options;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PanelKind {
    Stat,
    Timeseries,
    Bargauge,
    Gauge,
    Table,
    Text,
    Row,
}

impl PanelKind {
    pub fn shows_data(self) -> bool {
        !matches!(self, PanelKind::Text | PanelKind::Row)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Panel {
    pub id: u32,
    #[serde(rename = "type")]
    pub kind: PanelKind,
    #[serde(default)]
    pub title: String,
    #[serde(default)]
    pub description: String,
    pub grid_pos: GridPos,
    pub datasource: Option<DataSource>,
    #[serde(default, rename = "targets")]
    raw_targets: Vec<Value>,
    #[serde(skip)]
    pub targets: Vec<Target>,
    #[serde(default)]
    pub field_config: FieldConfig,
    #[serde(default)]
    pub options: Value,
    #[serde(default)]
    pub transformations: Vec<Transformation>,
    #[serde(default)]
    pub links: Vec<Link>,
    pub interval: Option<String>,
    pub max_data_points: Option<u32>,
    pub plugin_version: Option<String>,
    pub transparent: Option<bool>,
    pub time_from: Option<String>,
    pub time_shift: Option<String>,
    pub hide_time_override: Option<bool>,
    pub repeat: Option<String>,
    pub repeat_direction: Option<RepeatDirection>,
    pub max_per_row: Option<u8>,
    // Of rows:
    pub collapsed: Option<bool>,
    #[serde(rename = "panels")]
    pub inner: Option<Vec<Value>>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RepeatDirection {
    H,
    V,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GridPos {
    pub x: u32,
    pub y: u32,
    pub w: u32,
    pub h: u32,
}

#[derive(Debug)]
pub enum Target {
    Prometheus(PrometheusTarget),
    Tempo(TempoTarget),
    Loki(LokiTarget),
}

impl Target {
    pub fn ref_id(&self) -> &str {
        match self {
            Target::Prometheus(target) => &target.ref_id,
            Target::Tempo(target) => &target.ref_id,
            Target::Loki(target) => &target.ref_id,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PrometheusTarget {
    pub ref_id: String,
    pub datasource: DataSource,
    pub expr: String,
    pub legend_format: Option<String>,
    #[serde(default)]
    pub instant: bool,
    #[serde(default)]
    pub range: bool,
    pub format: Option<Format>,
    pub interval: Option<String>,
    pub interval_factor: Option<u32>,
    pub exemplar: Option<bool>,
    pub hide: Option<bool>,
    pub editor_mode: Option<EditorMode>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    TimeSeries,
    Table,
    Heatmap,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EditorMode {
    Code,
    Builder,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct TempoTarget {
    pub ref_id: String,
    pub datasource: DataSource,
    pub query_type: TempoQuery,
    pub query: String,
    pub table_type: Option<TableKind>,
    pub limit: Option<u32>,
    pub spss: Option<u32>,
    pub hide: Option<bool>,
    #[serde(default)]
    pub filters: Vec<Value>,
}

/// Searches by TraceQL, and nothing else.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TempoQuery {
    Traceql,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TableKind {
    Traces,
    Spans,
    Raw,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct LokiTarget {
    pub ref_id: String,
    pub datasource: DataSource,
    pub expr: String,
    pub query_type: Option<String>,
    pub legend_format: Option<String>,
    pub max_lines: Option<u32>,
    pub editor_mode: Option<EditorMode>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldConfig {
    pub defaults: FieldDefaults,
    #[serde(default)]
    pub overrides: Vec<Override>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct FieldDefaults {
    pub unit: Option<String>,
    pub decimals: Option<u8>,
    pub min: Option<f64>,
    pub max: Option<f64>,
    pub no_value: Option<String>,
    pub display_name: Option<String>,
    pub color: Option<Color>,
    #[serde(default)]
    pub mappings: Vec<Mapping>,
    pub thresholds: Option<Thresholds>,
    #[serde(default)]
    pub links: Vec<DataLink>,
    #[serde(default)]
    pub custom: Value,
    pub filterable: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Color {
    pub mode: ColorMode,
    pub fixed_color: Option<String>,
    pub series_by: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ColorMode {
    Fixed,
    Shades,
    Thresholds,
    PaletteClassic,
    PaletteClassicByName,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thresholds {
    pub mode: ThresholdsMode,
    pub steps: Vec<Step>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ThresholdsMode {
    Absolute,
    Percentage,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    pub color: String,
    /// Null for the first.
    pub value: Option<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", content = "options", rename_all = "lowercase", deny_unknown_fields)]
pub enum Mapping {
    Value(BTreeMap<String, Mapped>),
    Range(MappedRange),
    Regex(MappedPattern),
    Special(MappedSpecial),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mapped {
    pub text: Option<String>,
    pub color: Option<String>,
    pub icon: Option<String>,
    pub index: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MappedRange {
    pub from: Option<f64>,
    pub to: Option<f64>,
    pub result: Mapped,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MappedPattern {
    pub pattern: String,
    pub result: Mapped,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MappedSpecial {
    #[serde(rename = "match")]
    pub matches: String,
    pub result: Mapped,
}

impl Mapping {
    /// Each result, and the key that leads to it where it is one value.
    pub fn results(&self) -> Vec<(Option<&str>, &Mapped)> {
        match self {
            Mapping::Value(values) => {
                values.iter().map(|(key, mapped)| (Some(key.as_str()), mapped)).collect()
            }
            Mapping::Range(range) => vec![(None, &range.result)],
            Mapping::Regex(regex) => vec![(None, &regex.result)],
            Mapping::Special(special) => vec![(None, &special.result)],
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Override {
    pub matcher: Matcher,
    pub properties: Vec<Property>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Matcher {
    pub id: MatcherKind,
    pub options: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum MatcherKind {
    #[serde(rename = "byName")]
    Name,
    #[serde(rename = "byRegexp")]
    Pattern,
    #[serde(rename = "byType")]
    Type,
    #[serde(rename = "byFrameRefID")]
    Target,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Property {
    pub id: String,
    pub value: Value,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct DataLink {
    pub title: String,
    pub url: String,
    pub target_blank: Option<bool>,
    pub one_click: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transformation {
    pub id: String,
    #[serde(default)]
    pub options: Value,
    pub filter: Option<Matcher>,
    pub disabled: Option<bool>,
}

/// A panel with its targets, each part in the form that its type asks for.
pub fn parse(value: &Value) -> Result<Panel, String> {
    let mut panel: Panel = read(value)?;
    for (n, raw) in std::mem::take(&mut panel.raw_targets).iter().enumerate() {
        panel.targets.push(target(raw).map_err(|problem| format!("targets[{n}].{problem}"))?);
    }
    options::check(&panel)?;
    Ok(panel)
}

fn target(raw: &Value) -> Result<Target, String> {
    match raw["datasource"]["type"].as_str() {
        Some("prometheus") => read(raw).map(Target::Prometheus),
        Some("tempo") => read(raw).map(Target::Tempo),
        Some("loki") => read(raw).map(Target::Loki),
        _ => Err(format!(
            "datasource.type: {} found, prometheus, tempo or loki expected: each target names its own",
            raw["datasource"]["type"]
        )),
    }
}
