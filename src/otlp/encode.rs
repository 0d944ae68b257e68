//! One run as telemetry: a trace of it, and a log record for whatever did not pass.

use bytes::Bytes;
use prost::Message;

use super::resource::Resource;
use super::{Encoded, envelope, logs, spans};
use crate::model::Run;

/// What one run sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signals {
    pub traces: Encoded,
    /// None when every sample passed or was skipped.
    pub logs: Option<Encoded>,
}

/// Never fails, and gives the same bytes for the same run.
pub fn encode_run(run: &Run, resource: &Resource) -> Signals {
    let labels = spans::run_labels(run);
    let traces = request(resource, &spans::spans(run, &labels));
    let records = logs::records(run, &labels);
    let logs = (!records.is_empty()).then(|| request(resource, &records));
    Signals { traces, logs }
}

pub(super) fn request<M: Message>(resource: &Resource, items: &[M]) -> Encoded {
    let encoded: Vec<Bytes> = items.iter().map(|item| item.encode_to_vec().into()).collect();
    Encoded { items: u32::try_from(items.len()).unwrap_or(u32::MAX), body: envelope::wrap(resource, encoded) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::common::v1::KeyValue;
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    use opentelemetry_proto::tonic::trace::v1::Span;
    use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
    use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
    use proptest::prelude::*;

    use super::super::fixture::{any_run, resource, run};
    use super::super::names;
    use super::*;
    use crate::model::Outcome;

    fn spans(run: &Run) -> Vec<Span> {
        let body = encode_run(run, &resource()).traces.body;
        let mut request = ExportTraceServiceRequest::decode(body.as_slice()).unwrap();
        request.resource_spans.remove(0).scope_spans.remove(0).spans
    }

    fn texts(attributes: &[KeyValue]) -> BTreeMap<&str, String> {
        let text = |a: &KeyValue| match a.value.clone().unwrap().value.unwrap() {
            Value::StringValue(text) => text,
            Value::IntValue(number) => number.to_string(),
            Value::DoubleValue(number) => number.to_string(),
            Value::BoolValue(truth) => truth.to_string(),
            other => panic!("{other:?}"),
        };
        let texts: BTreeMap<_, _> = attributes.iter().map(|a| (a.key.as_str(), text(a))).collect();
        assert_eq!(texts.len(), attributes.len(), "a key occurs twice");
        texts
    }

    #[test]
    fn a_retried_request_is_a_trace_with_a_span_for_each_attempt() {
        let run = run("http://[::1]:8101/status/", &[("one", "/api/incidents/{{id}}?q=1", Outcome::Pass, 2)]);
        let spans = spans(&run);
        let [root, first, second] = spans.as_slice() else { panic!("{} spans", spans.len()) };

        assert_eq!((root.name.as_str(), root.kind), ("probe cachet", SpanKind::Internal as i32));
        assert_eq!(root.parent_span_id, b"");
        assert_eq!(root.end_time_unix_nano - root.start_time_unix_nano, 120_000_000);
        assert_eq!(root.status, None);
        assert_eq!(texts(&root.attributes)[names::IMAGE_DIGEST], "sha256:abc");

        for (span, id) in [(first, 0), (second, 1)] {
            assert_eq!(span.name, "GET /api/incidents/{id}?q=1");
            assert_eq!(span.kind, SpanKind::Client as i32);
            assert_eq!(span.trace_id, run.trace.0);
            assert_eq!(span.span_id, run.trace.attempt_span("one", id).0);
            assert_eq!(span.parent_span_id, run.trace.root_span().0);
            assert_eq!(span.end_time_unix_nano - span.start_time_unix_nano, 5_000_000);
        }
        assert_eq!(first.status.as_ref().unwrap().code, StatusCode::Error as i32);
        assert_eq!(second.status, None);
        assert_eq!(texts(&first.attributes)[names::ERROR_TYPE], "check");
        insta::assert_debug_snapshot!(texts(&second.attributes), @r#"
        {
            "cachetscope.deployment.name": "cachet-3-mysql",
            "cachetscope.outcome": "pass",
            "cachetscope.passed_on_retry": "true",
            "cachetscope.request.name": "one",
            "cachetscope.suite.name": "cachet",
            "cachetscope.target.version": "3.0.0-dev.202608221030",
            "db.system.name": "mysql",
            "deployment.environment.name": "staging",
            "http.request.method": "GET",
            "http.request.resend_count": "1",
            "http.response.body.size": "1234",
            "http.response.status_code": "200",
            "network.peer.address": "::1",
            "network.peer.port": "8101",
            "network.protocol.version": "1.1",
            "server.address": "::1",
            "server.port": "8101",
            "url.full": "http://[::1]:8101/status/api/incidents/{id}?q=1",
            "url.template": "/api/incidents/{id}?q=1",
            "user_agent.synthetic.type": "test",
        }
        "#);
    }

    #[test]
    fn phases_that_took_time_are_events_at_their_beginning() {
        let run = run("http://127.0.0.1:8101", &[("ping", "/api/ping", Outcome::Pass, 1)]);
        let span = &spans(&run)[1];
        let events: Vec<_> = span
            .events
            .iter()
            .map(|e| {
                let at = e.time_unix_nano - span.start_time_unix_nano;
                (e.name.as_str(), at, texts(&e.attributes)[names::EVENT_DURATION].clone())
            })
            .collect();
        assert_eq!(
            events,
            [
                ("cachetscope.phase.connect", 0, "0.0002".to_owned()),
                ("cachetscope.phase.send", 200_000, "0.00005".to_owned()),
                ("cachetscope.phase.wait", 250_000, "0.004".to_owned()),
                ("cachetscope.phase.receive", 4_250_000, "0.00075".to_owned()),
            ]
        );
    }

    #[test]
    fn what_did_not_pass_is_logged_with_its_trace() {
        let run = run(
            "http://127.0.0.1:8101",
            &[
                ("ping", "/api/ping", Outcome::Pass, 1),
                ("slow", "/api/slow", Outcome::Degraded, 1),
                ("bad", "/api/bad", Outcome::Fail, 2),
                ("gone", "/api/gone", Outcome::Unreachable, 0),
                ("never", "/api/never", Outcome::Skipped, 0),
            ],
        );
        let logs = encode_run(&run, &resource()).logs.unwrap();
        assert_eq!(logs.items, 3);
        let request = ExportLogsServiceRequest::decode(logs.body.as_slice()).unwrap();
        let records = &request.resource_logs[0].scope_logs[0].log_records;
        let told: Vec<_> = records
            .iter()
            .map(|r| match r.body.clone().unwrap().value.unwrap() {
                Value::StringValue(text) => format!("{} {text}", r.severity_text),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(
            told,
            [
                "WARN slow on cachet-3-mysql: degraded: status: expected 200, found 500",
                "ERROR bad on cachet-3-mysql: fail: status: expected 200, found 500",
                "ERROR gone on cachet-3-mysql: unreachable: status: expected 200, found 500",
            ]
        );
        assert_eq!(records[1].span_id, run.trace.attempt_span("bad", 1).0);
        assert_eq!(records[2].span_id, run.trace.root_span().0);
        assert!(records.iter().all(|r| r.trace_id == run.trace.0));
        assert_eq!(spans(&run)[0].status.as_ref().unwrap().message, "unreachable");
    }

    #[test]
    fn a_run_that_passed_logs_nothing() {
        let run = run("http://127.0.0.1:8101", &[("ping", "/api/ping", Outcome::Pass, 1)]);
        assert_eq!(encode_run(&run, &resource()).logs, None);
    }

    #[test]
    fn every_attribute_sent_is_in_the_names_module() {
        let run =
            run("http://127.0.0.1:8101", &[("a", "/a", Outcome::Fail, 2), ("b", "/b", Outcome::Pass, 2)]);
        let known = |attributes: &[KeyValue]| {
            for attribute in attributes {
                assert!(names::ALL_ATTRIBUTES.contains(&attribute.key.as_str()), "{}", attribute.key);
            }
        };
        for span in spans(&run) {
            known(&span.attributes);
            span.events.iter().for_each(|event| known(&event.attributes));
        }
        let logs = encode_run(&run, &resource()).logs.unwrap();
        let request = ExportLogsServiceRequest::decode(logs.body.as_slice()).unwrap();
        known(&request.resource_logs[0].resource.as_ref().unwrap().attributes);
        known(&request.resource_logs[0].scope_logs[0].log_records[0].attributes);
    }

    proptest! {
        #[test]
        fn requests_concatenated_are_one_request(a in any_run(), b in any_run()) {
            let (a, b) = (encode_run(&a, &resource()), encode_run(&b, &resource()));
            let decode = |body: &[u8]| ExportTraceServiceRequest::decode(body).unwrap().resource_spans;
            let both = [a.traces.body.as_slice(), &b.traces.body].concat();
            prop_assert_eq!(decode(&both), [decode(&a.traces.body), decode(&b.traces.body)].concat());
        }

        #[test]
        fn the_same_run_is_the_same_bytes_and_counts_its_spans(run in any_run()) {
            let signals = encode_run(&run, &resource());
            prop_assert_eq!(&signals, &encode_run(&run, &resource()));
            let attempts: usize = run.samples.iter().map(|s| s.attempts.len()).sum();
            prop_assert_eq!(signals.traces.items as usize, 1 + attempts);
            prop_assert_eq!(spans(&run).len(), 1 + attempts);
        }
    }
}
