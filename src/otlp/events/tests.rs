//! What an event becomes: its trace, its attributes, its record; and that any event becomes something.

use std::collections::{BTreeMap, HashSet};

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use proptest::prelude::{ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, proptest};

use super::fixture::{BEGAN, after, any_event, case, deploy, event, hung, load, tests};
use super::*;
use crate::model::{CASES_MAX, CaseStatus, Counts, SpanId, Tests, TraceId};
use crate::otlp::fixture::resource;

fn encoded(event: &Event) -> EventSignals {
    encode_event(event, event.started.unwrap_or(BEGAN), &[], &resource())
}

fn decoded(signals: &EventSignals) -> Vec<Span> {
    let mut spans = Vec::new();
    for traces in &signals.traces {
        let request = ExportTraceServiceRequest::decode(traces.body.as_slice()).unwrap();
        let groups = request.resource_spans.into_iter().flat_map(|group| group.scope_spans);
        let of_request: Vec<Span> = groups.flat_map(|group| group.spans).collect();
        assert_eq!(of_request.len(), traces.items as usize);
        spans.extend(of_request);
    }
    spans
}

fn spans(event: &Event) -> Vec<Span> {
    decoded(&encoded(event))
}

fn log(event: &Event) -> LogRecord {
    let logs = encoded(event).logs.unwrap();
    assert_eq!(logs.items, 1);
    let mut request = ExportLogsServiceRequest::decode(logs.body.as_slice()).unwrap();
    request.resource_logs.remove(0).scope_logs.remove(0).log_records.remove(0)
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<&str, String> {
    let text = |a: &KeyValue| match a.value.clone().unwrap().value.unwrap() {
        Value::StringValue(text) => text,
        Value::IntValue(number) => format!("int {number}"),
        Value::DoubleValue(number) => format!("double {number}"),
        other => panic!("{other:?}"),
    };
    let texts: BTreeMap<_, _> = attributes.iter().map(|a| (a.key.as_str(), text(a))).collect();
    assert_eq!(texts.len(), attributes.len(), "a key occurs twice: {attributes:?}");
    texts
}

/// Seconds after [`BEGAN`] at which a span begins and ends.
fn seconds(span: &Span) -> (f64, f64) {
    let seconds = |nanos: u64| (nanos as i64 - BEGAN.0) as f64 / 1e9;
    (seconds(span.start_time_unix_nano), seconds(span.end_time_unix_nano))
}

#[test]
fn a_run_is_the_root_of_its_trace_and_its_steps_are_below_it() {
    let root = spans(&event(None, CiResult::Success)).remove(0);
    assert_eq!((root.name.as_str(), root.kind), ("RUN cachet/3.x", SpanKind::Server as i32));
    assert_eq!(root.trace_id, TraceId::of_ci_run("jenkins", "cachet/3.x", "1197", 1).0);
    assert_eq!(root.span_id, SpanId::of_event("jenkins", "cachet/3.x", "1197", 1, "").0);
    assert_eq!((root.parent_span_id.as_slice(), seconds(&root)), (&[][..], (0.0, 60.0)));
    assert_eq!((root.status.clone(), root.flags), (None, FLAGS));

    for (event, name) in [
        (event(Some("image"), CiResult::Success), "image"),
        (tests(), "tests pest"),
        (deploy(), "deploy"),
        (load(), "load status-page"),
    ] {
        let own = spans(&event).remove(0);
        assert_eq!((own.name.as_str(), own.kind), (name, SpanKind::Internal as i32));
        assert_eq!((&own.trace_id, &own.parent_span_id), (&root.trace_id, &root.span_id), "{name}");
        assert_eq!(own.span_id, event.span().0);
    }
    let mut again = event(None, CiResult::Success);
    again.attempt = 2;
    assert_ne!(spans(&again)[0].trace_id, root.trace_id, "another attempt is a trace of its own");
}

#[test]
fn cases_follow_each_other_where_they_fit_and_begin_together_where_they_do_not() {
    let event = tests();
    let all = spans(&event);
    let [own, cases @ ..] = all.as_slice() else { panic!("no span") };
    let told: Vec<_> = cases.iter().map(|span| (span.name.as_str(), seconds(span))).collect();
    assert_eq!(
        told,
        [
            ("ApiTest::lists", (0.0, 1.5)),
            ("ApiTest::creates", (1.5, 3.5)),
            ("ApiTest::deletes", (3.5, 4.0)),
            ("ApiTest::sorts", (4.0, 4.0)),
        ]
    );
    for span in cases {
        assert_eq!((&span.trace_id, &span.parent_span_id), (&own.trace_id, &own.span_id));
        assert_eq!((span.kind, span.flags), (SpanKind::Internal as i32, FLAGS));
    }
    let mut beside = event;
    beside.finished = Some(after(3));
    let told: Vec<_> = spans(&beside)[1..].iter().map(seconds).collect();
    assert_eq!(told, [(0.0, 1.5), (0.0, 2.0), (0.0, 0.5), (0.0, 0.0)]);
}

#[test]
fn a_name_that_occurs_twice_in_a_run_is_two_spans() {
    let mut event = tests();
    let twice = vec![case("same", CaseStatus::Pass, 1.0), case("same", CaseStatus::Fail, 1.0)];
    event.tests.as_mut().unwrap().cases = twice;
    let ids: HashSet<_> = spans(&event).into_iter().map(|span| span.span_id).collect();
    assert_eq!(ids.len(), 3);
}

#[test]
fn what_failed_is_an_error_with_its_message_as_an_exception_event() {
    let all = spans(&tests());
    let status = |n: usize| all[n].status.as_ref().map(|status| (status.code, status.message.as_str()));
    let error = StatusCode::Error as i32;
    assert_eq!(status(0), Some((error, "1 passed, 1 failed, 1 errors, 1 skipped")));
    assert_eq!((status(1), status(4)), (None, None));
    assert_eq!(status(2), Some((error, "creates: Failed asserting that 500 is identical to 200.")));
    assert!(all[1].events.is_empty() && all[4].events.is_empty());
    let [exception] = all[2].events.as_slice() else { panic!("{:?}", all[2].events) };
    assert_eq!((exception.name.as_str(), exception.time_unix_nano), ("exception", all[2].end_time_unix_nano));
    let attributes = texts(&exception.attributes);
    assert_eq!(attributes[names::EXCEPTION_TYPE], "fail");
    assert_eq!(
        attributes[names::EXCEPTION_MESSAGE],
        "creates: Failed asserting that 500 is identical to 200."
    );
    assert_eq!(texts(&all[3].events[0].attributes)[names::EXCEPTION_TYPE], "error");
}

#[test]
fn a_long_message_is_whole_in_the_exception_and_cut_in_the_status() {
    let mut event = tests();
    let long = "é".repeat(4_000);
    event.tests.as_mut().unwrap().cases[1].message = Some(long.clone());
    let span = &spans(&event)[2];
    assert_eq!(span.status.as_ref().unwrap().message.len(), 512);
    assert_eq!(texts(&span.events[0].attributes)[names::EXCEPTION_MESSAGE], long);
}

#[test]
fn steps_of_a_deployment_follow_each_other_or_begin_where_they_say() {
    let all = spans(&deploy());
    let told: Vec<_> = all.iter().map(|span| (span.name.as_str(), seconds(span))).collect();
    let expected =
        [("deploy", (0.0, 60.0)), ("pull", (0.0, 10.0)), ("migrate", (15.0, 35.0)), ("start", (35.0, 40.0))];
    assert_eq!(told, expected);
    assert!(all[1..].iter().all(|span| span.parent_span_id == all[0].span_id));
    let failed: Vec<_> = all.iter().map(|span| span.status.is_some()).collect();
    assert_eq!(failed, [true, false, true, false]);
    assert_eq!(texts(&all[2].attributes)[names::TASK_RESULT], "failure");
    assert!(!texts(&all[3].attributes).contains_key(names::TASK_RESULT), "nobody told");
}

#[test]
fn what_is_only_under_way_sends_nothing_yet() {
    let mut event = event(None, CiResult::Success);
    (event.finished, event.result) = (None, None);
    assert_eq!(encoded(&event), EventSignals::default());
}

#[test]
fn a_beginning_after_the_end_is_the_end() {
    let signals = encode_event(&tests(), after(3_600), &[], &resource());
    for span in decoded(&signals) {
        assert_eq!(seconds(&span).0, 60.0, "{}", span.name);
    }
}

#[test]
fn a_parent_from_elsewhere_is_remote_and_gives_the_trace() {
    let mut event = tests();
    event.traceparent = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse().unwrap());
    let all = spans(&event);
    let trace = TraceId::from_hex("0af7651916cd43dd8448eb211c80319c").unwrap();
    assert!(all.iter().all(|span| span.trace_id == trace.0));
    assert_eq!(all[0].parent_span_id, SpanId::from_hex("b7ad6b7169203331").unwrap().0);
    // OTLP: bit 8 says that bit 9 is meant, bit 9 that the parent is remote; bit 0 is `sampled`.
    assert_eq!((all[0].flags, all[1].flags), (0x301, 0x101));
    assert_eq!(all[1].parent_span_id, all[0].span_id);
    assert_eq!((log(&event).trace_id, log(&event).span_id), (trace.0.to_vec(), event.span().0.to_vec()));
}

#[test]
fn links_lead_to_what_it_follows_from() {
    let image = event(Some("image"), CiResult::Success).as_parent();
    let own = decoded(&encode_event(&deploy(), BEGAN, &[image], &resource())).remove(0);
    let [link] = own.links.as_slice() else { panic!("{:?}", own.links) };
    assert_eq!((link.trace_id.as_slice(), link.span_id.as_slice()), (&image.trace.0[..], &image.span.0[..]));
}

#[test]
fn what_a_command_did_when_it_was_ended_is_with_its_span_and_its_record() {
    let own = spans(&hung()).remove(0);
    let words = "silent for 5m; the last test that had started is ApiTest::lists";
    assert_eq!(own.status.as_ref().unwrap().message, words);
    let [evidence] = own.events.as_slice() else { panic!("{:?}", own.events) };
    assert_eq!(
        (evidence.name.as_str(), evidence.time_unix_nano),
        ("cachetscope.evidence", own.end_time_unix_nano)
    );
    insta::assert_debug_snapshot!("evidence", texts(&evidence.attributes));
    let Some(Value::StringValue(body)) = log(&hung()).body.unwrap().value else { panic!("no text") };
    insta::assert_snapshot!("evidence_record", body);
}

#[test]
fn the_record_tells_the_event_in_words() {
    let told = |event: &Event| {
        let record = log(event);
        assert_eq!(
            (record.event_name.as_str(), record.time_unix_nano),
            ("cachetscope.event", after(60).unix_nanos())
        );
        match record.body.unwrap().value.unwrap() {
            Value::StringValue(text) => format!("{} {text}", record.severity_text),
            other => panic!("{other:?}"),
        }
    };
    let mut passed = tests();
    passed.result = Some(CiResult::Success);
    passed.tests.as_mut().unwrap().cases.truncate(1);
    let events = [
        event(None, CiResult::Success),
        event(None, CiResult::Cancellation),
        event(Some("image"), CiResult::Skip),
        tests(),
        passed,
        deploy(),
        load(),
    ];
    insta::assert_snapshot!("records", events.iter().map(told).collect::<Vec<_>>().join("\n"));
}

#[test]
fn attributes_of_each_kind() {
    let mut image = event(Some("image"), CiResult::Success);
    image.task = Some(crate::model::Task::Build);
    image.name = Some("the image".to_owned());
    for (name, event) in [
        ("pipeline", event(None, CiResult::Failure)),
        ("step", image),
        ("tests", tests()),
        ("deploy", deploy()),
        ("load", load()),
    ] {
        let all = spans(&event);
        let mut told: Vec<_> = all.iter().map(|span| (span.name.as_str(), texts(&span.attributes))).collect();
        let record = log(&event);
        told.push(("(record)", texts(&record.attributes)));
        insta::assert_debug_snapshot!(name, told);
    }
}

#[test]
fn a_suite_that_was_ended_or_cut_off_says_so() {
    let status = |result, aborted| {
        let mut event = tests();
        event.result = Some(result);
        event.tests.as_mut().unwrap().aborted = aborted;
        texts(&spans(&event)[0].attributes)[names::TEST_SUITE_STATUS].clone()
    };
    assert_eq!(status(CiResult::Timeout, true), "timed_out");
    assert_eq!(status(CiResult::Failure, true), "aborted");
    assert_eq!(status(CiResult::Failure, false), "failure");
    assert_eq!(status(CiResult::Success, false), "success");
    assert_eq!(status(CiResult::Skip, false), "skipped");
}

#[test]
fn the_longest_list_of_cases_becomes_requests_of_at_most_500_spans() {
    let mut event = event(Some("unit"), CiResult::Success);
    let cases = (0..CASES_MAX).map(|n| case(&format!("case {n}"), CaseStatus::Pass, 0.001)).collect();
    // Beyond those that are listed, a million are only counted.
    let counts = Some(Counts { pass: 1_000_000, ..Counts::default() });
    event.tests = Some(Tests { suite: "pest".to_owned(), cases, counts, ..Tests::default() });
    let signals = encoded(&event);
    assert_eq!(signals.traces.len(), 101);
    assert!(signals.traces.iter().all(|request| request.items <= 500));
    let all = decoded(&signals);
    let ids: HashSet<_> = all.iter().map(|span| span.span_id.clone()).collect();
    assert_eq!((all.len(), ids.len()), (CASES_MAX + 1, CASES_MAX + 1));
    assert_eq!(texts(&all[0].attributes)[names::TESTS_PASSED], "int 1000000");
    assert_eq!(seconds(all.last().unwrap()), (49.999, 50.0));
}

#[test]
fn every_attribute_sent_is_in_the_names_module() {
    for event in [event(None, CiResult::Failure), tests(), deploy(), load(), hung()] {
        let spans = spans(&event);
        let record = log(&event);
        let of_spans =
            spans.iter().flat_map(|s| s.attributes.iter().chain(s.events.iter().flat_map(|e| &e.attributes)));
        for attribute in of_spans.chain(&record.attributes) {
            assert!(names::ALL_ATTRIBUTES.contains(&attribute.key.as_str()), "{}", attribute.key);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_event_is_a_span_and_one_for_each_part(event in any_event(any::<f64>().boxed())) {
        let signals = encoded(&event);
        prop_assert_eq!(&signals, &encoded(&event));
        if event.finished.is_none() || event.result.is_none() {
            prop_assert_eq!(signals, EventSignals::default());
            return Ok(());
        }
        let parts = match (&event.tests, &event.deploy) {
            (Some(tests), _) => tests.cases.len(),
            (None, Some(deploy)) => deploy.steps.len(),
            (None, None) => 0,
        };
        let spans = decoded(&signals);
        prop_assert_eq!(spans.len(), 1 + parts);
        let ids: HashSet<_> = spans.iter().map(|span| &span.span_id).collect();
        prop_assert_eq!(ids.len(), spans.len());
        for span in &spans {
            prop_assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
            texts(&span.attributes);
        }
        prop_assert_eq!(log(&event).span_id, event.span().0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn an_event_is_the_same_after_a_journey_as_json(event in any_event((0.0..4e9_f64).boxed())) {
        let json = serde_json::to_string(&event).unwrap();
        let back: Event = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(&back, &event);
        prop_assert_eq!(serde_json::to_string(&back).unwrap(), json);
    }
}
