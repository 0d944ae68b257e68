//! The harness itself: what is sent to the real collector is read back, also after a kill.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    self as metrics, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, span};
use prost::Message;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::parts::collector::{Collector, Kind, Measure, Received};

fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..Default::default() }
}

fn resource() -> Option<Resource> {
    let name = any_value::Value::StringValue("harness".to_owned());
    Some(Resource { attributes: vec![attribute("service.name", name)], ..Default::default() })
}

fn spans(first: u8, count: u8) -> ExportTraceServiceRequest {
    let spans = (first..first + count).map(|n| Span {
        trace_id: vec![n; 16],
        span_id: vec![n; 8],
        parent_span_id: vec![0xab; 8],
        name: format!("span {n}"),
        kind: 3,
        start_time_unix_nano: 1_795_428_000_000_000_000,
        end_time_unix_nano: 1_795_428_000_000_000_007,
        attributes: vec![
            attribute("http.response.status_code", any_value::Value::IntValue(200)),
            attribute("ratio", any_value::Value::DoubleValue(0.5)),
        ],
        events: vec![span::Event { time_unix_nano: 3, name: "wait".to_owned(), ..Default::default() }],
        ..Default::default()
    });
    let scope_spans = vec![ScopeSpans { spans: spans.collect(), ..Default::default() }];
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans { resource: resource(), scope_spans, ..Default::default() }],
    }
}

/// Posts an OTLP request over a connection of its own; the status of the answer, if one came.
async fn post(collector: &Collector, path: &str, body: &[u8]) -> Option<u16> {
    let address = collector.http_url().trim_start_matches("http://").to_owned();
    let mut stream = tokio::net::TcpStream::connect(&address).await.ok()?;
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/x-protobuf\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.ok()?;
    stream.write_all(body).await.ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    String::from_utf8_lossy(&answer).split(' ').nth(1)?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_real_collector_accepts_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut collector = Collector::start(dir.path()).await;
    assert_eq!(post(&collector, "/v1/traces", &spans(1, 2).encode_to_vec()).await, Some(200));

    let record = LogRecord {
        time_unix_nano: 5,
        severity_number: 9,
        body: Some(AnyValue { value: Some(any_value::Value::StringValue("said".to_owned())) }),
        trace_id: vec![1; 16],
        span_id: vec![1; 8],
        event_name: "harness.said".to_owned(),
        ..Default::default()
    };
    let scope_logs = vec![ScopeLogs { log_records: vec![record], ..Default::default() }];
    let logs = ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs { resource: resource(), scope_logs, ..Default::default() }],
    };
    assert_eq!(post(&collector, "/v1/logs", &logs.encode_to_vec()).await, Some(200));

    let histogram = HistogramDataPoint {
        start_time_unix_nano: 1,
        time_unix_nano: 2,
        count: 3,
        sum: Some(0.75),
        explicit_bounds: vec![0.1, 1.0],
        bucket_counts: vec![1, 2, 0],
        exemplars: vec![metrics::Exemplar {
            time_unix_nano: 2,
            span_id: vec![1; 8],
            trace_id: vec![1; 16],
            value: Some(metrics::exemplar::Value::AsDouble(0.25)),
            ..Default::default()
        }],
        ..Default::default()
    };
    let end = NumberDataPoint { time_unix_nano: 9, flags: 1, ..Default::default() };
    let metric = |name: &str, unit: &str, data| Metric {
        name: name.to_owned(),
        unit: unit.to_owned(),
        data: Some(data),
        ..Default::default()
    };
    let sent = vec![
        metric(
            "h",
            "s",
            metrics::metric::Data::Histogram(Histogram {
                data_points: vec![histogram],
                aggregation_temporality: 2,
            }),
        ),
        metric("g", "", metrics::metric::Data::Gauge(metrics::Gauge { data_points: vec![end] })),
    ];
    let scope_metrics = vec![ScopeMetrics { metrics: sent, ..Default::default() }];
    let request = ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics { resource: resource(), scope_metrics, ..Default::default() }],
    };
    assert_eq!(post(&collector, "/v1/metrics", &request.encode_to_vec()).await, Some(200));

    let received = collector.received();
    let [one, two] = &received.spans[..] else { panic!("two spans, not {:?}", received.spans) };
    assert_eq!((one.trace.as_str(), one.id.as_str()), (&*"01".repeat(16), &*"01".repeat(8)));
    assert_eq!((two.name.as_str(), two.parent.as_str(), two.kind), ("span 2", &*"ab".repeat(8), 3));
    assert_eq!((one.start, one.end), (1_795_428_000_000_000_000, 1_795_428_000_000_000_007));
    assert_eq!(one.attributes["http.response.status_code"], json!(200));
    assert_eq!(one.attributes["ratio"], json!(0.5));
    assert_eq!(one.resource["service.name"], json!("harness"));
    assert_eq!((one.events[0].name.as_str(), one.events[0].time), ("wait", 3));
    let log = &received.logs[0];
    assert_eq!((log.time, log.severity, &log.body), (5, 9, &json!("said")));
    assert_eq!((log.event_name.as_str(), log.trace.as_str()), ("harness.said", &*"01".repeat(16)));
    let [h, g] = &received.points[..] else { panic!("two points, not {:?}", received.points) };
    assert_eq!((h.kind, h.unit.as_str(), h.start, h.time), (Kind::Histogram { cumulative: true }, "s", 1, 2));
    let counted = Measure::Histogram { count: 3, sum: 0.75, bounds: vec![0.1, 1.0], counts: vec![1, 2, 0] };
    assert_eq!(h.measure, counted);
    assert_eq!((h.exemplars[0].value, h.exemplars[0].trace.as_str()), (0.25, &*"01".repeat(16)));
    assert_eq!((g.kind, g.is_end(), h.is_end()), (Kind::Gauge, true, false));
    collector.stop().await;
    assert!(!collector.is_running());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_before_a_kill_is_read_back_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut collector = Collector::start(dir.path()).await;
    for n in 0..3_u8 {
        for k in 0..10 {
            let body = spans(10 * n + k, 1).encode_to_vec();
            assert_eq!(post(&collector, "/v1/traces", &body).await, Some(200));
        }
        collector.kill();
        assert_eq!(post(&collector, "/v1/traces", &[]).await, None, "nobody answers");
        collector.restart(&[]).await;
    }
    let mut client = TraceServiceClient::connect(collector.grpc_url()).await.unwrap();
    client.export(spans(30, 1)).await.unwrap();

    let names: Vec<_> = collector.received().spans.into_iter().map(|s| s.name).collect();
    assert_eq!(names, (0..=30).map(|n| format!("span {n}")).collect::<Vec<_>>());
    assert_eq!(collector.out_dirs().len(), 4, "a folder for each start");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_override_changes_what_the_collector_does() {
    let dir = tempfile::tempdir().unwrap();
    let limit = "yaml:receivers::otlp::protocols::http::max_request_body_size: 100";
    let collector = Collector::start_with(dir.path(), &[limit]).await;
    let answer = post(&collector, "/v1/traces", &spans(0, 20).encode_to_vec()).await;
    assert!(matches!(answer, Some(400..)), "{answer:?}");
    assert_eq!(collector.received().spans, []);
}

#[test]
fn a_torn_last_line_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let line = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"whole"}]}]}]}"#;
    let torn = &line[..40];
    std::fs::write(dir.path().join("traces.json"), format!("{line}\n{torn}")).unwrap();
    let received = Received::read(&[dir.path()]);
    assert_eq!(received.spans.len(), 1);
    assert_eq!(received.spans[0].name, "whole");
    assert_eq!(received.spans[0].start, Duration::ZERO.as_nanos() as u64);
}
