//! A fleet with a past, in a real store: what the page's tests show. Nothing in it is drawn by lot,
//! so every run shows the same.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use cachetscope::clock::{Clock, Timestamp};
use cachetscope::compare::Seen;
use cachetscope::config;
use cachetscope::model::{
    Attempt, Deployment, ErrorType, Flavour, Floors, Method, Outcome, Phases, Redirects, Request, Round,
    RoundId, Run, Sample, Suite, Template, Tls, Version, VersionRange,
};
use cachetscope::otlp::names;
use cachetscope::page;
use cachetscope::store::{Change, DeploymentRow, Entry, Facts, Increment, Lane, Location, Refused, Store};
use tokio::sync::watch;

pub const SUITE: &str = "cachet";
const PERIOD: Duration = Duration::from_secs(30);
pub const REQUESTS: [&str; 8] =
    ["component", "components", "groups", "incidents", "metrics", "ping", "schedules", "status"];
/// Mean milliseconds of each request, SQLite, the oldest version.
const BASE_MS: [f64; 8] = [7.1, 8.8, 8.1, 9.2, 8.4, 3.2, 7.7, 6.3];

pub struct Fleet {
    pub store: Store,
    pub clock: Clock,
    pub deployments: Vec<Arc<Deployment>>,
    requests: Vec<Arc<Request>>,
    /// Every round, for comparisons of versions.
    pub seen: Mutex<Vec<Seen>>,
    _dir: tempfile::TempDir,
}

pub fn deployment(name: &str, version: &str, db: Flavour) -> Deployment {
    Deployment {
        name: name.into(),
        version: Version::parse(version).unwrap(),
        db,
        environment: "staging".into(),
        url: "http://127.0.0.1:8101/".parse().unwrap(),
        token: None,
        writes: false,
        host_group: "127.0.0.1".into(),
        tls: Tls::default(),
        resolver: None,
        keep_alive: false,
        digest: None,
        commit: None,
        origin: None,
    }
}

fn request(name: &str) -> Request {
    Request {
        name: name.into(),
        method: Method::Get,
        path: Template::parse("/api/x").unwrap(),
        headers: Vec::new(),
        body: None,
        applies_to: VersionRange::any(),
        writes: false,
        authenticated: false,
        always: false,
        timeout: Duration::from_secs(5),
        retries: 0,
        degraded_after: None,
        redirects: Redirects::Keep,
        max_body: 1 << 20,
        checks: Vec::new(),
        captures: Vec::new(),
        control: false,
        floors: Floors::default(),
    }
}

impl Fleet {
    /// A store without anything in it.
    pub async fn empty() -> Fleet {
        let dir = tempfile::tempdir().unwrap();
        // 2026-08-23 14:06:18 UTC
        let clock = Clock::manual(Timestamp(1_787_493_978_000_000_000));
        let store = Store::open(&Location::File(dir.path().join("page.db")), &clock).await.unwrap();
        let requests = REQUESTS.map(|name| Arc::new(request(name))).to_vec();
        Fleet { store, clock, deployments: Vec::new(), requests, seen: Mutex::default(), _dir: dir }
    }

    /// Three versions on three databases after half an hour of rounds. One is degraded, one has
    /// failed a check for a while, and one no longer answers.
    pub async fn filled() -> Fleet {
        let mut fleet = Fleet::empty().await;
        let versions = [("3.0.0-dev.202608221030", "3.x"), ("2.4.1", "2.4"), ("2.3.18", "2.3")];
        let flavours = [Flavour::Sqlite, Flavour::Mariadb, Flavour::Postgresql];
        for (version, short) in versions {
            for db in flavours {
                fleet.deployments.push(deployment(&format!("cachet-{short}-{db}"), version, db).into());
            }
        }
        fleet.live().await;
        fleet.rounds(70, usual).await;
        fleet.telemetry().await;
        fleet
    }

    /// Makes the deployments known.
    pub async fn live(&self) {
        let deployments = self.deployments.iter().map(|d| DeploymentRow::from(&**d)).collect();
        self.store.change(Change::Fleet { deployments, at: self.clock.now() }).await.unwrap();
    }

    /// So many rounds up to some seconds ago. `how` tells the time and the outcome of one request:
    /// of a deployment, in the round that is so many before the last.
    pub async fn rounds(&self, count: u64, how: impl Fn(&Deployment, &str, u64, f64) -> Told) {
        for back in (0..count).rev() {
            let scheduled = self.clock.now().minus(PERIOD * back as u32 + Duration::from_secs(6));
            let id = RoundId::new("test", SUITE, scheduled);
            let round =
                Arc::new(Round { id, suite: SUITE.into(), scheduled, started: scheduled, extra: false });
            let runs: Vec<Run> = self.deployments.iter().map(|d| self.run(&round, d, back, &how)).collect();
            self.seen.lock().unwrap().extend(Seen::of(&runs));
            self.store.commit(Facts { runs, ..Facts::default() }).await.unwrap();
        }
    }

    fn run(
        &self,
        round: &Arc<Round>,
        deployment: &Arc<Deployment>,
        back: u64,
        how: impl Fn(&Deployment, &str, u64, f64) -> Told,
    ) -> Run {
        let trace = round.id.trace(&deployment.key());
        let mut gone = false;
        let samples: Vec<Sample> = self
            .requests
            .iter()
            .enumerate()
            .map(|(i, request)| {
                // Between -1 and 1, most often near 0, the same in every run of the tests.
                let hash = round.id.hash_of(&[&deployment.name, &request.name]);
                let noise = (hash % 1_000) as f64 / 1_000.0 + (hash / 1_000 % 1_000) as f64 / 1_000.0 - 1.0;
                let told = how(deployment, &request.name, back, BASE_MS[i] * (1.0 + 0.3 * noise));
                if gone {
                    return Sample {
                        request: request.clone(),
                        outcome: Outcome::Skipped,
                        attempts: Vec::new(),
                        detail: "skipped after unreachable".into(),
                    };
                }
                gone = told.outcome == Outcome::Unreachable;
                let ns = (told.ms * 1e6) as u64;
                let answered = told.outcome != Outcome::Unreachable;
                let part = |percent: u64| ns * percent / 100;
                let phases = if answered {
                    Phases([0, part(4), 0, part(2), ns - part(4) - part(2) - part(9), part(9)])
                } else {
                    Phases([0, ns, 0, 0, 0, 0])
                };
                let attempt = Attempt {
                    started: round.started.plus(Duration::from_millis(40 * i as u64)),
                    phases,
                    span: trace.attempt_span(&request.name, 0),
                    status: answered.then_some(200),
                    error: told.error,
                    protocol: answered.then_some("1.1"),
                    body_bytes: 512,
                    peer: None,
                    redirects: 0,
                    tls_days_left: None,
                };
                Sample {
                    request: request.clone(),
                    outcome: told.outcome,
                    attempts: vec![attempt],
                    detail: told.detail.into(),
                }
            })
            .collect();
        Run {
            round: round.clone(),
            deployment: deployment.clone(),
            trace,
            started: round.started,
            duration: Duration::from_millis(40 * REQUESTS.len() as u64),
            outcome: Run::outcome_of(&samples),
            samples,
        }
    }

    /// A little that waits for the collector, something it refused, and rounds that went wrong.
    pub async fn telemetry(&self) {
        let now = self.clock.now();
        let entry = |lane, seconds: u64, items| Entry {
            lane,
            created: now.minus(Duration::from_secs(seconds)),
            items,
            body: vec![7; 40 * items as usize],
            snapshot: None,
            kept: false,
        };
        let count = |metric, count| Increment {
            metric,
            attributes: format!(r#"[["{}","{SUITE}"]]"#, names::SUITE),
            deployment: None,
            started: now,
            count,
            sum: 0.0,
            bucket: None,
            exemplar: None,
        };
        let facts = Facts {
            increments: vec![
                count(names::ROUNDS_MISSED.name, 0),
                count(names::ROUNDS_LATE.name, 2),
                count(names::ROUNDS_OVERLAPPING.name, 1),
            ],
            outbox: vec![entry(Lane::Traces, 4, 81), entry(Lane::Metrics, 9, 640)],
            ..Facts::default()
        };
        self.store.commit(facts).await.unwrap();
        for lane in Lane::ALL {
            self.store.note_delivery(lane, now.minus(Duration::from_secs(4)));
        }
    }

    /// The collector refused a part for good.
    pub async fn refuse(&self, reason: &str) {
        let entry = Entry {
            lane: Lane::Logs,
            created: self.clock.now().minus(Duration::from_secs(90)),
            items: 3,
            body: vec![1, 2, 3],
            snapshot: None,
            kept: false,
        };
        let parts = vec![Refused { id: 0, entry, reason: reason.into() }];
        self.store.change(Change::Refused { ids: Vec::new(), parts }).await.unwrap();
    }

    /// What serves it, and the notices it shows.
    pub fn router(&self, title: &str) -> (axum::Router, watch::Sender<Vec<String>>) {
        let (sender, notices) = watch::channel(Vec::new());
        let state = page::State {
            store: self.store.clone(),
            clock: self.clock.clone(),
            notices,
            title: title.into(),
            suites: watch::channel(shipped().into()).1,
            document: cachetscope::ingest::openapi(),
        };
        (page::router(state), sender)
    }
}

/// The suites that are part of the program.
fn shipped() -> Vec<Suite> {
    config::load(config::Source::Shipped, &config::Env::default()).unwrap().suites
}

/// How one request went.
pub struct Told {
    pub ms: f64,
    pub outcome: Outcome,
    pub error: Option<ErrorType>,
    pub detail: &'static str,
}

impl Told {
    pub fn pass(ms: f64) -> Told {
        Told { ms, outcome: Outcome::Pass, error: None, detail: "" }
    }
}

/// PostgreSQL is slower everywhere and most of all for incidents; components got slower on MariaDB
/// with the latest version.
pub fn usual(d: &Deployment, request: &str, back: u64, ms: f64) -> Told {
    let latest = d.version.as_str().starts_with('3');
    let ms = ms
        * match (d.db, request) {
            (_, "ping") | (Flavour::Sqlite, _) => 1.0,
            (Flavour::Mariadb, "components") if latest => 1.32,
            (Flavour::Mariadb, _) => 1.08,
            (_, "incidents") if latest => 1.71,
            _ => 1.45,
        };
    match (d.name.as_str(), request) {
        ("cachet-2.3-mariadb", _) if back < 9 => Told {
            ms: 0.21,
            outcome: Outcome::Unreachable,
            error: Some(ErrorType::Connect),
            detail: "connection to 127.0.0.1:8101 refused (os error 111)",
        },
        ("cachet-2.4-postgresql", "incidents") if back < 3 || (31..35).contains(&back) => Told {
            ms,
            outcome: Outcome::Fail,
            error: Some(ErrorType::Check),
            detail: "$.data[0].visible: expected 1, found true",
        },
        ("cachet-3.x-postgresql", "incidents") if back.is_multiple_of(8) => {
            Told { ms: 512.4, outcome: Outcome::Degraded, error: None, detail: "512 ms, limit 500 ms" }
        }
        _ => Told::pass(ms),
    }
}
