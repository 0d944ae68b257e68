//! Rounds over stand-ins, run in this process: who is asked what, in which order, and what is left
//! out when there is no time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cachetscope::clock::{Clock, Timestamp};
use cachetscope::config::{self, Config, Env, Source};
use cachetscope::demo::Fault;
use cachetscope::http::Client;
use cachetscope::model::{Deployment, Flavour, Outcome, Request, Round, RoundId, Run, Suite};
use cachetscope::probe::Prober;

use crate::rig::{Home, Member, V2, V3};

const NAMES: [&str; 12] = [
    "ping",
    "status",
    "components",
    "component",
    "groups",
    "group",
    "incidents",
    "incident",
    "metrics",
    "metric",
    "schedules",
    "schedule",
];

/// Stand-ins of both generations, and the configuration that a daemon would have of them.
struct Stage {
    members: Vec<Member>,
    config: Config,
    prober: Prober,
    _home: Home,
}

impl Stage {
    async fn set(members: Vec<Member>, suites: &[(&str, &str)]) -> Self {
        let home = Home::new();
        home.fleet(&members);
        suites.iter().for_each(|(name, text)| home.write(name, text));
        let config = config::load(Source::Required(&home.path("probes")), &Env::default()).unwrap();
        let clock = Clock::system();
        Stage { members, config, prober: Prober::new(Client::new(clock.clone()), clock), _home: home }
    }

    /// Two of each generation, all on one host.
    async fn of_four() -> Self {
        let mut members = Vec::new();
        for (version, short) in [(V2, "2"), (V3, "3")] {
            for flavour in [Flavour::Mysql, Flavour::Postgresql] {
                members.push(Member::start(&format!("{short}-{flavour}"), version, flavour).await);
            }
        }
        Stage::set(members, &[]).await
    }

    fn suite(&self, name: &str) -> &Suite {
        self.config.suites.iter().find(|suite| suite.name == name).unwrap()
    }

    async fn round(&self, suite: &str, number: i64, deadline: Option<Duration>) -> Seen {
        let now = Clock::system().now();
        let id = RoundId::new("test", suite, Timestamp(number));
        let round =
            Arc::new(Round { id, suite: suite.to_owned(), scheduled: now, started: now, extra: false });
        let visits = Mutex::new(Vec::new());
        let progress = |deployment: &Deployment, request: &Request| {
            visits.lock().unwrap().push((request.name.clone(), deployment.name.clone()));
        };
        let suite = self.suite(suite);
        let runs = self.prober.round(&round, suite, &self.config.fleet, deadline, &progress).await;
        Seen { runs, visits: visits.into_inner().unwrap() }
    }
}

struct Seen {
    runs: Vec<Run>,
    /// Request and deployment, in the order in which they ended.
    visits: Vec<(String, String)>,
}

impl Seen {
    /// The order of the deployments for each request.
    fn orders(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut orders: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (request, deployment) in &self.visits {
            orders.entry(request).or_default().push(deployment);
        }
        orders
    }
}

#[tokio::test]
async fn a_request_is_asked_of_all_versions_before_the_next_one_is_asked_of_any() {
    let stage = Stage::of_four().await;
    let seen = stage.round("cachet", 1, None).await;
    let asked: Vec<&str> = seen.visits.iter().map(|(request, _)| request.as_str()).collect();
    let expected: Vec<&str> = NAMES.iter().flat_map(|name| [*name; 4]).collect();
    assert_eq!(asked, expected);
    for order in seen.orders().into_values() {
        assert_eq!(BTreeSet::from_iter(order).len(), 4);
    }
    let fleet: Vec<&str> = seen.runs.iter().map(|run| run.deployment.name.as_str()).collect();
    assert_eq!(fleet, ["2-mysql", "2-postgresql", "3-mysql", "3-postgresql"]);
    assert!(seen.runs.iter().all(|run| run.outcome == Outcome::Pass), "{:#?}", seen.runs);
}

#[tokio::test]
async fn the_order_is_another_in_each_round_and_the_same_for_the_same_round() {
    let stage = Stage::of_four().await;
    let (one, again) = (stage.round("cachet", 1, None).await, stage.round("cachet", 1, None).await);
    assert_eq!(one.visits, again.visits);
    let mut orders = BTreeSet::new();
    let mut firsts = BTreeSet::new();
    for number in 1..=5 {
        let seen = stage.round("cachet", number, None).await;
        firsts.extend(seen.orders().into_values().map(|order| order[0].to_owned()));
        orders.insert(seen.visits);
    }
    assert_eq!(orders.len(), 5, "each round has its own order");
    assert_eq!(firsts.len(), 4, "each deployment is first for some request");
    // Within a round the requests have orders of their own too.
    assert!(one.orders().into_values().collect::<BTreeSet<_>>().len() > 3);
}

#[tokio::test]
async fn each_deployment_is_woken_once_without_a_sample_before_its_first() {
    let stage = Stage::of_four().await;
    let seen = stage.round("cachet", 1, None).await;
    for (member, run) in stage.members.iter().zip(&seen.runs) {
        let requests = member.stand_in.requests();
        let attempts: usize = run.samples.iter().map(|sample| sample.attempts.len()).sum();
        assert_eq!(requests.len(), attempts + 1, "{}", member.name);
        let untraced: Vec<usize> =
            (0..requests.len()).filter(|i| requests[*i].traceparent.is_none()).collect();
        assert_eq!(untraced, [0], "{}", member.name);
        assert!(requests[0].path.ends_with("/ping"), "{}", requests[0].path);
    }
    let first_sample = stage.members.iter().map(|m| m.stand_in.requests()[1].at).min().unwrap();
    assert!(stage.members.iter().all(|m| m.stand_in.requests()[0].at < first_sample));
}

#[tokio::test]
async fn deployments_of_one_host_are_visited_one_at_a_time_also_by_different_suites() {
    const TAKES: Duration = Duration::from_millis(25);
    let mut members = Vec::new();
    for (name, group) in [("a1", "a"), ("a2", "a"), ("b", "b")] {
        let member = Member::start(name, V3, Flavour::Mysql).await.with(format!("host_group: {group}"));
        member.stand_in.set_fault("/", Fault::Delay(TAKES));
        members.push(member);
    }
    let other = "suite: other\nschedule: '@hourly'\nrequests:\n\
                 - { name: p1, get: /api/ping }\n- { name: p2, get: /api/ping }\n- { name: p3, get: /api/ping }\n";
    let stage = Stage::set(members, &[("probes/other.yaml", other)]).await;
    let (cachet, other) = tokio::join!(stage.round("cachet", 1, None), stage.round("other", 1, None));
    assert_eq!((cachet.runs.len(), other.runs.len()), (3, 3));

    let mut on_a: Vec<Instant> =
        stage.members[..2].iter().flat_map(|m| m.stand_in.requests()).map(|seen| seen.at).collect();
    on_a.sort();
    assert_eq!(on_a.len(), 2 * (13 + 4));
    let closest = on_a.windows(2).map(|pair| pair[1] - pair[0]).min().unwrap();
    // Half of it, since timers and the notes of when a request came are a little off.
    assert!(closest >= TAKES / 2, "two visits within {closest:?}, and each takes {TAKES:?}");
    // The other host has not waited for that: it was visited while a visit was under way here.
    let on_b: Vec<Instant> = stage.members[2].stand_in.requests().iter().map(|seen| seen.at).collect();
    let apart = |a: Instant, b: Instant| a.max(b) - a.min(b);
    assert!(on_b.iter().any(|b| on_a.iter().any(|a| apart(*a, *b) < TAKES)), "{on_a:?} {on_b:?}");
}

#[tokio::test]
async fn what_the_deadline_leaves_no_time_for_is_skipped() {
    let stage = Stage::of_four().await;
    let seen = stage.round("cachet", 1, Some(Duration::ZERO)).await;
    assert!(stage.members.iter().all(|member| member.asked().is_empty()), "not even woken");
    for run in &seen.runs {
        assert_eq!((run.outcome, run.samples.len()), (Outcome::Skipped, 12));
        assert!(run.samples.iter().all(|s| s.detail == "the round's deadline passed before"));
    }

    // Half a second is enough for four wake-ups and some requests, which then are slow.
    for member in &stage.members {
        member.stand_in.set_fault("/api", Fault::Delay(Duration::from_millis(40)));
    }
    let seen = stage.round("cachet", 2, Some(Duration::from_millis(500))).await;
    let outcomes =
        |outcome| seen.runs.iter().flat_map(|r| &r.samples).filter(|s| s.outcome == outcome).count();
    let (passed, skipped) = (outcomes(Outcome::Pass), outcomes(Outcome::Skipped));
    assert_eq!(passed + skipped, 48);
    assert!(passed >= 1 && skipped >= 24, "{passed} passed, {skipped} were skipped");
    assert!(seen.runs.iter().all(|run| run.outcome == Outcome::Skipped));
}

#[tokio::test]
async fn a_target_that_hangs_or_is_gone_costs_the_others_nothing_but_its_timeout() {
    let mut members = Vec::new();
    for (name, group) in [("hangs", "a"), ("gone", "b"), ("well", "c")] {
        members.push(Member::start(name, V3, Flavour::Mysql).await.with(format!("host_group: {group}")));
    }
    members[0].stand_in.set_fault("/", Fault::Hang);
    members[1].stand_in.refuse().await;
    let suite = crate::rig::shipped("cachet-v3.yaml", &[("timeout: 5s", "timeout: 400ms")]);
    let stage = Stage::set(members, &[("probes/cachet-v3.yaml", &suite)]).await;
    let started = Instant::now();
    let seen = stage.round("cachet", 1, None).await;
    let elapsed = started.elapsed();
    let outcomes: Vec<Outcome> = seen.runs.iter().map(|run| run.outcome).collect();
    assert_eq!(outcomes, [Outcome::Unreachable, Outcome::Unreachable, Outcome::Pass]);
    let errors: Vec<_> =
        seen.runs.iter().map(|run| run.samples[0].last().and_then(|a| a.error).map(|e| e.as_str())).collect();
    assert_eq!(errors, [Some("timeout"), Some("connect"), None]);
    // A timeout is not tried again, a refusal is.
    assert_eq!(seen.runs.iter().map(|run| run.samples[0].attempts.len()).collect::<Vec<_>>(), [1, 2, 1]);
    for run in &seen.runs[..2] {
        assert!(run.samples[1..].iter().all(|s| s.detail == "after `ping` was unreachable"));
    }
    assert!(elapsed >= Duration::from_millis(800), "the wake-up and the first request: {elapsed:?}");
}

#[tokio::test]
async fn what_does_not_hold_is_told_as_expected_and_found() {
    let member = Member::start("wrong", V3, Flavour::Mysql).await;
    let body = r#"{"data":{"id":"7","name":"A","tags":[1,2,3],"open":true,"none":null}}"#;
    member.stand_in.set_fault("/json", Fault::Body(body.into()));
    member.stand_in.set_fault("/text", Fault::Body("<html>\u{1b}[31m not \n\n  JSON</html>".into()));
    member.stand_in.set_fault("/broken", Fault::Body(vec![b'"', 0xff, 0xfe, b'"'].into()));
    member.stand_in.set_fault("/empty", Fault::Body("".into()));
    member.stand_in.set_fault("/long", Fault::Body(format!("[{}1]", "1,".repeat(100_000)).into()));
    member.stand_in.set_fault("/slow", Fault::Delay(Duration::from_millis(60)));
    member.stand_in.set_fault("/slow", Fault::Body("{}".into()));
    let expectations = [
        ("/json", "json: { '$.data.id': 7 }"),
        ("/json", "json: { '$.data.id': { type: integer } }"),
        ("/json", "json: { '$.data.name': { matches: '^B' } }"),
        ("/json", "json: { '$.data.tags': { count: 2 } }"),
        ("/json", "json: { '$.data.tags': { count: { min: 4 } } }"),
        ("/json", "json: { '$.data.tags': { contains: '4' } }"),
        ("/json", "json: { '$.data.tags[*]': { type: string } }"),
        ("/json", "json: { '$.data.missing': x }"),
        ("/json", "json: { '$.data.missing': { exists: true } }"),
        ("/json", "json: { '$.data.open': { exists: false } }"),
        ("/json", "json: { '$.data.none': { type: boolean } }"),
        ("/json", "json_schema: { type: object, required: [meta] }"),
        ("/json", "json_schema: { properties: { data: { properties: { id: { type: integer } } } } }"),
        ("/json", "status: [201, 3xx]"),
        ("/json", "headers: { Server: nginx, X-Nothing: { exists: true } }"),
        ("/json", "body: { contains: nowhere }"),
        ("/json", "body: { size: { max: 10 } }"),
        ("/text", "json: { '$': 1 }"),
        ("/broken", "json: { '$': 1 }"),
        ("/empty", "json: { '$': 1 }"),
        ("/long", "json: { '$': { type: array } }"),
        ("/slow", "time: 50ms"),
        ("/nowhere", "json: { '$.data': 1 }"),
        ("/json", "tls_days: 14"),
    ];
    let mut suite = "suite: wrong\nschedule: '@hourly'\nwake_up: false\n\
                     defaults: { retries: 0, max_body: 64KiB }\nrequests:\n"
        .to_owned();
    for (number, (path, expected)) in expectations.iter().enumerate() {
        suite.push_str(&format!("- name: r{number}\n  get: {path}\n  expect: {{ {expected} }}\n"));
    }
    let stage = Stage::set(vec![member], &[("probes/wrong.yaml", &suite)]).await;
    let seen = stage.round("wrong", 1, None).await;
    let samples = &seen.runs[0].samples;
    let told: String = samples
        .iter()
        .zip(expectations)
        .map(|(sample, (path, expected))| {
            format!("{path} {expected}\n    {} {}\n", sample.outcome, sample.detail)
        })
        .collect();
    insta::with_settings!({ filters => vec![(r"took \d+\.\dms", "took N ms")] }, {
        insta::assert_snapshot!(told);
    });
    assert!(samples.iter().all(|sample| sample.outcome == Outcome::Fail));
}
