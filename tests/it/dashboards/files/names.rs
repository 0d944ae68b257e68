//! Names as Prometheus has them: OTLP's, after `translation_strategy: UnderscoreEscapingWithSuffixes`.
//! That the translation is Prometheus's own is shown by `tests/real/stack`, which compares it with what a
//! real one made of all our metrics.

use std::collections::{BTreeMap, BTreeSet};

use cachetscope::otlp::names::{ALL_ATTRIBUTES, ALL_METRICS, Kind};

/// Metrics that are promised and not sent yet, with unit and kind; dashboards may be made from them already,
/// if `grafana/empty.yaml` says so.
pub const PROMISED: &[(&str, &str, Kind)] = &[
    ("cachetscope.load.throughput.delta.low", "", Kind::Gauge),
    ("cachetscope.load.throughput.delta.high", "", Kind::Gauge),
    ("cachetscope.load.latency.delta.low", "", Kind::Gauge),
    ("cachetscope.load.latency.delta.high", "", Kind::Gauge),
];

/// Metrics of the collector and of Prometheus itself.
const FOREIGN: &[&str] = &["otelcol_", "prometheus_", "process_", "go_", "scrape_"];
const FOREIGN_NAMES: &[&str] = &["up", "ALERTS", "ALERTS_FOR_STATE", "target_info"];

/// Labels that Prometheus gives, and those of the collector's and its own metrics that we ask for.
const PLAIN_LABELS: &[&str] = &["job", "instance", "le", "__name__"];
const FOREIGN_LABELS: &[&str] = &[
    "exporter",
    "receiver",
    "processor",
    "data_type",
    "transport",
    "version",
    "alertname",
    "alertstate",
    "severity",
    "reason",
    "rule_group",
    "scrape_job",
    "handler",
    "code",
    "type",
];

/// All series of ours, sent or promised, by name.
pub fn all_series() -> BTreeMap<String, Series> {
    let sent = ALL_METRICS.iter().map(|m| (m.name, m.unit, m.kind)).chain(PROMISED.iter().copied());
    sent.flat_map(|(name, unit, kind)| series(name, unit, kind)).collect()
}

/// Names of the series of what is only promised.
pub fn promised_series() -> impl Iterator<Item = String> {
    PROMISED.iter().flat_map(|(name, unit, kind)| series(name, unit, *kind)).map(|(name, _)| name)
}

/// Every label that a series of ours can have.
pub fn labels() -> BTreeSet<String> {
    let attributes = ALL_ATTRIBUTES.iter().map(|name| label(name));
    attributes.chain(PLAIN_LABELS.iter().chain(FOREIGN_LABELS).map(|&name| name.to_owned())).collect()
}

/// An attribute's name as a label's.
pub fn label(attribute: &str) -> String {
    attribute.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

/// What a series counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Series {
    Gauge,
    /// Only its growth means anything: counters, and all parts of histograms.
    Cumulative,
    /// Its name does not tell.
    Either,
}

/// Names of this metric's series in Prometheus.
pub fn series(name: &str, unit: &str, kind: Kind) -> Vec<(String, Series)> {
    let base = translate(name, unit, kind == Kind::Counter);
    match kind {
        Kind::Gauge => vec![(base, Series::Gauge)],
        Kind::Counter => vec![(base, Series::Cumulative)],
        // Without bounds there is still the bucket +Inf.
        Kind::Histogram(_) => {
            ["bucket", "sum", "count"].map(|part| (format!("{base}_{part}"), Series::Cumulative)).to_vec()
        }
    }
}

/// Of the collector and of Prometheus itself: what this name of a series is, if there can be one.
pub fn foreign(name: &str) -> Option<Series> {
    if FOREIGN_NAMES.contains(&name) {
        return Some(Series::Gauge);
    }
    let cumulative = ["_total", "_bucket", "_sum", "_count"].iter().any(|ending| name.ends_with(ending));
    let foreign = FOREIGN.iter().any(|start| name.starts_with(start));
    foreign.then_some(if cumulative { Series::Cumulative } else { Series::Either })
}

/// Prometheus's rule (`otlptranslator`): words joined by underscores; the unit's name after them, unless
/// it is one of them; `_total` after a counter; `_ratio` after a gauge of unit `1`. Units in braces have
/// no name.
fn translate(name: &str, unit: &str, counter: bool) -> String {
    let mut words: Vec<&str> = name.split(|c: char| !c.is_ascii_alphanumeric() && c != ':').collect();
    words.retain(|word| !word.is_empty());
    let (main, per) = unit.split_once('/').unwrap_or((unit, ""));
    let main = match main {
        "s" => "seconds",
        "ms" => "milliseconds",
        "By" => "bytes",
        "" | "1" => "",
        other if other.starts_with('{') => "",
        other => panic!("unit `{other}` of {name}: add its name in Prometheus here"),
    };
    let per = match per {
        "s" => "per_second",
        "" => "",
        other => panic!("unit `{other}` of {name}: add its name in Prometheus here"),
    };
    for suffix in [main, per] {
        if !suffix.is_empty() && !words.contains(&suffix) {
            words.push(suffix);
        }
    }
    let last = match (counter, unit) {
        (true, _) => "total",
        (false, "1") => "ratio",
        _ => return words.join("_"),
    };
    words.retain(|word| *word != last);
    words.push(last);
    words.join("_")
}

#[test]
fn names_are_translated_as_prometheus_does() {
    let gauge = |name, unit| translate(name, unit, false);
    assert_eq!(gauge("cachetscope.request.median", "s"), "cachetscope_request_median_seconds");
    assert_eq!(gauge("cachetscope.load.throughput", "{request}/s"), "cachetscope_load_throughput_per_second");
    assert_eq!(gauge("a.delta.seconds", "s"), "a_delta_seconds", "the unit is there already");
    assert_eq!(gauge("a.share", "1"), "a_share_ratio");
    assert_eq!(gauge("a.ratio.of", "1"), "a_of_ratio", "it moves to the end");
    assert_eq!(gauge("a.delta.ratio", ""), "a_delta_ratio");
    assert_eq!(gauge("a.size", "{item}"), "a_size");
    assert_eq!(gauge("a.rate", "By/s"), "a_rate_bytes_per_second");
    assert_eq!(gauge("a.size", "By"), "a_size_bytes");
    assert_eq!(translate("cachetscope.probe.runs", "{run}", true), "cachetscope_probe_runs_total");
    assert_eq!(translate("a.total.of", "", true), "a_of_total");
    let all: Vec<String> = series("http.client.request.duration", "s", Kind::Histogram(&[]))
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    let base = "http_client_request_duration_seconds";
    assert_eq!(all, ["bucket", "sum", "count"].map(|part| format!("{base}_{part}")));
    assert_eq!(foreign("otelcol_exporter_queue_size"), Some(Series::Either));
    assert_eq!(foreign("otelcol_exporter_sent_spans_total"), Some(Series::Cumulative));
    assert_eq!(foreign("node_load1"), None);
    let all = all_series();
    assert_eq!(all.get("cachetscope_verdict"), Some(&Series::Gauge));
    assert_eq!(all.get("cachetscope_probe_runs_total"), Some(&Series::Cumulative));
    assert_eq!(all.get("cachetscope_request_median"), None, "the unit is missing");
    assert_eq!(label("deployment.environment.name"), "deployment_environment_name");
}
