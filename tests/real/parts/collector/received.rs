//! What a collector's `file` exporter wrote, as plain values (OTLP/JSON, opentelemetry-proto 1.x).
//!
//! A line is a request. The last line of a file may be torn by a kill: its request was never
//! accepted, so it is left out. Any other line that does not parse fails the test.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

/// Attribute values as JSON: text, integers, doubles, booleans, arrays, objects.
pub type Attributes = BTreeMap<String, Value>;

/// Everything that arrived, each signal in the order of arrival, duplicates included.
#[derive(Clone, Debug, Default)]
pub struct Received {
    pub spans: Vec<Span>,
    pub logs: Vec<LogRecord>,
    pub points: Vec<Point>,
}

/// Ids are lower-case hexadecimal, times nanoseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    pub trace: String,
    pub id: String,
    /// Empty for a root span.
    pub parent: String,
    pub name: String,
    /// `SpanKind` as in the protocol: 1 internal, 2 server, 3 client.
    pub kind: i64,
    pub start: u64,
    pub end: u64,
    pub attributes: Attributes,
    pub resource: Attributes,
    pub scope: String,
    pub events: Vec<Event>,
    /// Trace and span of each.
    pub links: Vec<(String, String)>,
    /// `Status.code`: 0 unset, 1 ok, 2 error.
    pub status: i64,
    pub status_message: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub name: String,
    pub time: u64,
    pub attributes: Attributes,
}

#[derive(Clone, Debug, PartialEq)]
pub struct LogRecord {
    pub time: u64,
    pub observed: u64,
    pub severity: i64,
    pub body: Value,
    pub event_name: String,
    pub attributes: Attributes,
    pub resource: Attributes,
    pub trace: String,
    pub span: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Gauge,
    Sum { monotonic: bool, cumulative: bool },
    Histogram { cumulative: bool },
}

/// One data point of one metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    pub metric: String,
    pub unit: String,
    pub description: String,
    pub kind: Kind,
    pub attributes: Attributes,
    pub resource: Attributes,
    pub start: u64,
    pub time: u64,
    pub measure: Measure,
    pub exemplars: Vec<Exemplar>,
    /// Bit 0 says that no value was recorded: the series ends.
    pub flags: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Measure {
    Number(f64),
    Histogram { count: u64, sum: f64, bounds: Vec<f64>, counts: Vec<u64> },
}

#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    pub value: f64,
    pub time: u64,
    pub trace: String,
    pub span: String,
}

impl Point {
    /// Whether this marks the end of its series.
    pub fn is_end(&self) -> bool {
        self.flags & 1 == 1
    }
}

impl Received {
    /// Reads the folders of all starts, oldest first.
    pub fn read(out_dirs: &[impl AsRef<Path>]) -> Self {
        let mut received = Received::default();
        for dir in out_dirs {
            let dir = dir.as_ref();
            for request in requests(&dir.join("traces.json")) {
                received.read_spans(&request);
            }
            for request in requests(&dir.join("logs.json")) {
                received.read_logs(&request);
            }
            for request in requests(&dir.join("metrics.json")) {
                received.read_points(&request);
            }
        }
        received
    }

    fn read_spans(&mut self, request: &Value) {
        for (resource, scope, scoped) in scopes(request, "resourceSpans", "scopeSpans") {
            for span in list(scoped, "spans") {
                let event = |event: &Value| Event {
                    name: text(event, "name"),
                    time: number(event, "timeUnixNano"),
                    attributes: attributes(event),
                };
                let status = &span["status"];
                self.spans.push(Span {
                    trace: text(span, "traceId"),
                    id: text(span, "spanId"),
                    parent: text(span, "parentSpanId"),
                    name: text(span, "name"),
                    kind: span["kind"].as_i64().unwrap_or(0),
                    start: number(span, "startTimeUnixNano"),
                    end: number(span, "endTimeUnixNano"),
                    attributes: attributes(span),
                    resource: resource.clone(),
                    scope: scope.clone(),
                    events: list(span, "events").map(event).collect(),
                    links: list(span, "links")
                        .map(|link| (text(link, "traceId"), text(link, "spanId")))
                        .collect(),
                    status: status["code"].as_i64().unwrap_or(0),
                    status_message: text(status, "message"),
                });
            }
        }
    }

    fn read_logs(&mut self, request: &Value) {
        for (resource, _, scoped) in scopes(request, "resourceLogs", "scopeLogs") {
            for record in list(scoped, "logRecords") {
                self.logs.push(LogRecord {
                    time: number(record, "timeUnixNano"),
                    observed: number(record, "observedTimeUnixNano"),
                    severity: record["severityNumber"].as_i64().unwrap_or(0),
                    body: any_value(&record["body"]),
                    event_name: text(record, "eventName"),
                    attributes: attributes(record),
                    resource: resource.clone(),
                    trace: text(record, "traceId"),
                    span: text(record, "spanId"),
                });
            }
        }
    }

    fn read_points(&mut self, request: &Value) {
        for (resource, _, scoped) in scopes(request, "resourceMetrics", "scopeMetrics") {
            for metric in list(scoped, "metrics") {
                let cumulative = |data: &Value| data["aggregationTemporality"].as_i64() == Some(2);
                let (kind, data) = if let Some(data) = metric.get("gauge") {
                    (Kind::Gauge, data)
                } else if let Some(data) = metric.get("sum") {
                    let monotonic = data["isMonotonic"].as_bool().unwrap_or(false);
                    (Kind::Sum { monotonic, cumulative: cumulative(data) }, data)
                } else if let Some(data) = metric.get("histogram") {
                    (Kind::Histogram { cumulative: cumulative(data) }, data)
                } else {
                    panic!("a metric of a kind that nothing here sends: {metric}");
                };
                for point in list(data, "dataPoints") {
                    self.points.push(Point {
                        metric: text(metric, "name"),
                        unit: text(metric, "unit"),
                        description: text(metric, "description"),
                        kind,
                        attributes: attributes(point),
                        resource: resource.clone(),
                        start: number(point, "startTimeUnixNano"),
                        time: number(point, "timeUnixNano"),
                        measure: measure(kind, point),
                        exemplars: list(point, "exemplars").map(exemplar).collect(),
                        flags: number(point, "flags"),
                    });
                }
            }
        }
    }
}

/// The complete lines of a file; none when nothing of this signal came.
fn requests(file: &Path) -> Vec<Value> {
    let bytes = match std::fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => panic!("failed to read {}: {error}", file.display()),
    };
    let complete = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |end| end + 1);
    let lines = bytes[..complete].split(|b| *b == b'\n').filter(|line| !line.is_empty());
    let parse = |line: &[u8]| {
        serde_json::from_slice(line)
            .unwrap_or_else(|e| panic!("{}: {e} in {}", file.display(), String::from_utf8_lossy(line)))
    };
    lines.map(parse).collect()
}

/// Resource attributes, name of the scope, and the scope's object, for each scope of a request.
fn scopes<'a>(
    request: &'a Value,
    resources: &'a str,
    scopes: &'a str,
) -> impl Iterator<Item = (Attributes, String, &'a Value)> {
    list(request, resources).flat_map(move |resource| {
        let all = attributes(&resource["resource"]);
        list(resource, scopes).map(move |scoped| (all.clone(), text(&scoped["scope"], "name"), scoped))
    })
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value.get(key).and_then(Value::as_array).map_or(&[][..], Vec::as_slice).iter()
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

/// 64-bit integers are texts in OTLP/JSON; smaller ones are numbers.
fn unsigned(value: &Value) -> u64 {
    match value {
        Value::Null => 0,
        Value::String(digits) => digits.parse().unwrap_or_else(|_| panic!("`{digits}` is no number")),
        other => other.as_u64().unwrap_or_else(|| panic!("`{other}` is no unsigned number")),
    }
}

fn number(value: &Value, key: &str) -> u64 {
    unsigned(&value[key])
}

/// `Infinity` and `NaN` are texts in OTLP/JSON.
fn double(value: &Value) -> f64 {
    match value {
        Value::Null => 0.0,
        Value::String(digits) => digits.parse().unwrap_or_else(|_| panic!("`{digits}` is no number")),
        other => other.as_f64().unwrap_or_else(|| panic!("`{other}` is no number")),
    }
}

fn attributes(value: &Value) -> Attributes {
    let pair = |attribute: &Value| (text(attribute, "key"), any_value(&attribute["value"]));
    list(value, "attributes").map(pair).collect()
}

/// `AnyValue` as the JSON it means.
fn any_value(value: &Value) -> Value {
    let Some((kind, inner)) = value.as_object().and_then(|o| o.iter().next()) else { return Value::Null };
    match kind.as_str() {
        "intValue" => match inner {
            Value::String(digits) => digits.parse::<i64>().expect("an integer").into(),
            other => other.clone(),
        },
        "doubleValue" => double(inner).into(),
        "arrayValue" => list(inner, "values").map(any_value).collect(),
        "kvlistValue" => {
            list(inner, "values").map(|pair| (text(pair, "key"), any_value(&pair["value"]))).collect()
        }
        _ => inner.clone(),
    }
}

fn measure(kind: Kind, point: &Value) -> Measure {
    if let Kind::Histogram { .. } = kind {
        return Measure::Histogram {
            count: number(point, "count"),
            sum: double(&point["sum"]),
            bounds: list(point, "explicitBounds").map(double).collect(),
            counts: list(point, "bucketCounts").map(unsigned).collect(),
        };
    }
    let integer = &point["asInt"];
    Measure::Number(if integer.is_null() { double(&point["asDouble"]) } else { double(integer) })
}

fn exemplar(value: &Value) -> Exemplar {
    let integer = &value["asInt"];
    Exemplar {
        value: if integer.is_null() { double(&value["asDouble"]) } else { double(integer) },
        time: number(value, "timeUnixNano"),
        trace: text(value, "traceId"),
        span: text(value, "spanId"),
    }
}
