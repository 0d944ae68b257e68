//! Events for tests: one of each kind by hand, and any by strategy.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::clock::Timestamp;
use crate::model::{
    Action, Case, CaseStatus, CiResult, Counts, Deploy, DeployStep, Event, Evidence, Flavour, Load, Mark,
    Process, Quantile, SpanId, Task, Tests, TraceId, TraceParent, Usage, Version,
};

/// When the events below began: 2025-11-23T04:00:00Z.
pub(crate) const BEGAN: Timestamp = Timestamp(1_763_870_400_000_000_000);

/// So many seconds after [`BEGAN`].
pub(crate) fn after(seconds: i64) -> Timestamp {
    Timestamp(BEGAN.0 + seconds * 1_000_000_000)
}

/// A run as a whole, or a step of it, that took a minute.
pub(crate) fn event(step: Option<&str>, result: CiResult) -> Event {
    let mut event = Event::new("jenkins", "cachet/3.x", "1197");
    event.step = step.map(str::to_owned);
    (event.started, event.finished) = (Some(BEGAN), Some(after(60)));
    event.result = Some(result);
    event.branch = Some("3.x".to_owned());
    event.commit = Some("8f3c2a".to_owned());
    event.repository = Some("https://github.com/cachethq/core".to_owned());
    event.url = Some("http://jenkins.example/job/3.x/1197/".to_owned());
    event.worker = Some("agent-1".to_owned());
    event
}

pub(crate) fn case(name: &str, status: CaseStatus, seconds: f64) -> Case {
    let message = status.is_bad().then(|| format!("{name}: Failed asserting that 500 is identical to 200."));
    Case {
        class: "ApiTest".to_owned(),
        name: name.to_owned(),
        status,
        seconds: Some(seconds),
        message,
        mark: None,
    }
}

/// Four cases that follow each other within the minute: one passes, one fails, one breaks, one is
/// skipped.
pub(crate) fn tests() -> Event {
    let mut event = event(Some("unit"), CiResult::Failure);
    let mut cases = vec![
        case("lists", CaseStatus::Pass, 1.5),
        case("creates", CaseStatus::Fail, 2.0),
        case("deletes", CaseStatus::Error, 0.5),
        case("sorts", CaseStatus::Skip, 0.0),
    ];
    cases[0].mark = Some(Mark::Risky);
    event.tests = Some(Tests { suite: "pest".to_owned(), cases, ..Tests::default() });
    event.usage = Some(Usage {
        exit_code: Some(2),
        cpu_seconds: Some(41.5),
        memory_peak_bytes: Some(1 << 28),
        ..Usage::default()
    });
    event
}

/// What is put somewhere.
fn about(event: &mut Event) {
    event.version = Version::parse("3.0.0");
    event.db = Some(Flavour::Mariadb);
    event.environment = Some("staging".to_owned());
    event.deployment = Some("cachet-3".to_owned());
    event.digest = Some("sha256:abc".to_owned());
}

/// Pull, migrate with an offset, start; the second failed.
pub(crate) fn deploy() -> Event {
    let mut event = event(Some("deploy-1"), CiResult::Failure);
    about(&mut event);
    let step = |name: &str, seconds, offset_seconds, result| DeployStep {
        name: name.to_owned(),
        seconds,
        offset_seconds,
        result,
    };
    let steps = vec![
        step("pull", 10.0, None, Some(CiResult::Success)),
        step("migrate", 20.0, Some(15.0), Some(CiResult::Failure)),
        step("start", 5.0, None, None),
    ];
    event.deploy = Some(Deploy { steps, ..Deploy::default() });
    event
}

pub(crate) fn load() -> Event {
    let mut event = event(Some("load"), CiResult::Success);
    about(&mut event);
    event.load = Some(Load {
        plan: "status-page".to_owned(),
        tool: "oha".to_owned(),
        seconds: 30.0,
        requests: 3_000,
        errors: 12,
        throughput: 100.0,
        offered: Some(120.0),
        concurrency: Some(8),
        latency: vec![Quantile { quantile: 0.5, seconds: 0.08 }, Quantile { quantile: 0.99, seconds: 0.2 }],
        statuses: [(200, 2_988), (429, 12)].into(),
        ..Load::default()
    });
    event
}

/// A wrapped command that fell silent and was ended.
pub(crate) fn hung() -> Event {
    let mut event = event(Some("unit"), CiResult::Timeout);
    event.task = Some(Task::Test);
    event.evidence = Some(Evidence {
        reason: "silent for 5m".to_owned(),
        last_test: Some("ApiTest::lists".to_owned()),
        last_output: vec!["RUN ApiTest".to_owned(), "lists".to_owned()],
        processes: vec![
            Process {
                pid: 7,
                command: "sh -c pest".to_owned(),
                state: "sleeping".to_owned(),
                ..Process::default()
            },
            Process {
                pid: 8,
                parent: Some(7),
                command: "php pest".to_owned(),
                state: "running".to_owned(),
                waits_for: Some("futex".to_owned()),
                cpu_seconds: Some(312.0),
                memory_bytes: Some(1_874 << 20),
                memory_growth_bytes: Some(1_688 << 20),
                ..Process::default()
            },
        ],
    });
    event
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-zA-Z0-9 :/._-]{1,20}", "\\PC{0,12}"]
}

fn version() -> impl Strategy<Value = Version> {
    (0..9_u64, 0..9_u64, any::<bool>()).prop_map(|(major, minor, dev)| {
        let tail = if dev { "-dev.202608221030" } else { "" };
        Version::parse(&format!("{major}.{minor}.0{tail}")).unwrap()
    })
}

fn any_case(number: BoxedStrategy<f64>) -> impl Strategy<Value = Case> {
    let mark = option::of(prop::sample::select(Mark::ALL.to_vec()));
    let status = prop::sample::select(CaseStatus::ALL.to_vec());
    ("[A-C]{0,2}", "[a-c]{1,2}", status, option::of(number), option::of("\\PC{0,2000}"), mark).prop_map(
        |(class, name, status, seconds, message, mark)| Case { class, name, status, seconds, message, mark },
    )
}

fn any_tests(number: BoxedStrategy<f64>) -> impl Strategy<Value = Tests> {
    let counts = option::of((0..9_u64, 0..9_u64).prop_map(|(pass, fail)| Counts {
        pass: 40 + pass,
        fail,
        ..Counts::default()
    }));
    (text(), vec(any_case(number), 0..20), counts, any::<bool>(), vec(text(), 0..3)).prop_map(
        |(suite, cases, counts, aborted, remarks)| Tests {
            suite,
            part_of: None,
            cases,
            counts,
            aborted,
            remarks,
        },
    )
}

fn any_deploy(number: BoxedStrategy<f64>) -> impl Strategy<Value = Deploy> {
    let result = option::of(prop::sample::select(CiResult::ALL.to_vec()));
    let step = ("[a-c]{1,2}", number.clone(), option::of(number), result).prop_map(
        |(name, seconds, offset_seconds, result)| DeployStep { name, seconds, offset_seconds, result },
    );
    let url =
        option::of("http://[a-z]{1,9}\\.example(:8080)?/[a-z]{0,4}".prop_map(|url| url.parse().unwrap()));
    (any::<bool>(), url, vec(step, 0..9)).prop_map(|(gone, url, steps)| Deploy {
        action: if gone { Action::Remove } else { Action::Deploy },
        url,
        steps,
    })
}

fn any_load(number: BoxedStrategy<f64>) -> impl Strategy<Value = Load> {
    let latency = vec((number.clone(), number.clone()), 0..4).prop_map(|latency| {
        latency.into_iter().map(|(quantile, seconds)| Quantile { quantile, seconds }).collect::<Vec<_>>()
    });
    let counts = (any::<u64>(), any::<u64>(), option::of(any::<u32>()));
    let statuses = prop::collection::btree_map(any::<u16>(), any::<u64>(), 0..4);
    (text(), text(), [number.clone(), number.clone()], option::of(number), counts, latency, statuses)
        .prop_map(
            |(
                plan,
                tool,
                [seconds, throughput],
                offered,
                (requests, errors, concurrency),
                latency,
                statuses,
            )| {
                let latency_mean_seconds = offered;
                let remarks = vec![plan.clone()];
                Load {
                    plan,
                    tool,
                    seconds,
                    requests,
                    errors,
                    throughput,
                    offered,
                    concurrency,
                    latency,
                    latency_mean_seconds,
                    statuses,
                    remarks,
                }
            },
        )
}

fn any_evidence(number: BoxedStrategy<f64>) -> impl Strategy<Value = Evidence> {
    let numbers = (option::of(number), option::of(any::<u64>()), option::of(any::<i64>()));
    let process = (any::<i32>(), text(), text(), option::of(text()), numbers).prop_map(
        |(pid, command, state, waits_for, (cpu_seconds, memory_bytes, memory_growth_bytes))| Process {
            pid,
            parent: Some(pid),
            command,
            state,
            waits_for,
            cpu_seconds,
            memory_bytes,
            memory_growth_bytes,
            threads: None,
            open: vec!["/dev/null".to_owned()],
        },
    );
    (text(), option::of(text()), vec(text(), 0..4), vec(process, 0..4)).prop_map(
        |(reason, last_test, last_output, processes)| Evidence { reason, last_test, last_output, processes },
    )
}

/// Any event whose figures are of `number`: also such as [`Event::check`] would refuse.
pub(crate) fn any_event(number: BoxedStrategy<f64>) -> impl Strategy<Value = Event> {
    let identity = (text(), text(), text(), any::<u32>(), option::of(text()), option::of(text()));
    let result = option::of(prop::sample::select(CiResult::ALL.to_vec()));
    let times = (option::of(any::<i64>()), option::of(any::<i64>()), result);
    let parent =
        option::of((any::<[u8; 16]>(), any::<[u8; 8]>()).prop_filter_map("zero", |(trace, span)| {
            let zero = trace == [0; 16] || span == [0; 8];
            (!zero).then_some(TraceParent { trace: TraceId(trace), span: SpanId(span) })
        }));
    let texts = vec(option::of(text()), 8);
    let task = prop::sample::select(vec![None, Some(Task::Build), Some(Task::Test), Some(Task::Push)]);
    let flavour = option::of(prop::sample::select(Flavour::ALL.to_vec()));
    let sections = (
        option::of(any_tests(number.clone())),
        option::of(any_deploy(number.clone())),
        option::of(any_load(number.clone())),
        option::of(any_evidence(number.clone())),
        option::of((option::of(any::<i32>()), option::of(number), option::of(any::<u64>()))),
    );
    (identity, times, parent, texts, (task, option::of(version()), flavour), sections).prop_map(
        |(identity, times, traceparent, texts, (task, version, db), sections)| {
            let (source, pipeline, run, attempt, step, name) = identity;
            let (started, finished, result) = times;
            let (tests, deploy, load, evidence, usage) = sections;
            let mut texts = texts.into_iter();
            let mut text = || texts.next().flatten();
            Event {
                source,
                pipeline,
                run,
                attempt,
                step,
                name,
                task,
                started: started.map(Timestamp),
                finished: finished.map(Timestamp),
                result,
                traceparent,
                branch: text(),
                commit: text(),
                repository: text(),
                url: text(),
                worker: text(),
                version,
                db,
                environment: text(),
                deployment: text(),
                digest: text(),
                inferred: false,
                tests,
                deploy,
                load,
                usage: usage.map(|(exit_code, cpu_seconds, memory_peak_bytes)| Usage {
                    exit_code,
                    signal: exit_code,
                    cpu_seconds,
                    memory_peak_bytes,
                    output_bytes: memory_peak_bytes,
                }),
                evidence,
            }
        },
    )
}
