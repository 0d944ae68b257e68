//! Ten versions on five flavours, and rounds of them, the same each time.

use std::sync::Arc;
use std::time::Duration;

use cachetscope::clock::Timestamp;
use cachetscope::compare::{Ladder, Member, Seen, Visited};
use cachetscope::model::{
    Attempt, Deployment, Flavour, Floors, Method, Outcome, Phases, Redirects, Request, Round, RoundId, Run,
    Sample, Template, Tls, Version, VersionRange,
};
use cachetscope::verdict::{Answer, CellRules, Settings, Visit};

pub const SUITE: &str = "bench";
const VERSIONS: u64 = 10;
const START: Timestamp = Timestamp(1_790_000_000_000_000_000);

pub struct Fleet {
    deployments: Vec<Arc<Deployment>>,
    requests: Vec<Arc<Request>>,
}

impl Fleet {
    pub fn new(requests: usize) -> Self {
        let on = |(nth, db): (u64, Flavour)| {
            Arc::new(Deployment {
                name: format!("v{nth}-{db}"),
                version: Version::parse(&format!("3.{nth}.0")).unwrap_or_else(|| unreachable!("a version")),
                db,
                environment: "production".to_owned(),
                url: "http://127.0.0.1:1".parse().unwrap_or_else(|_| unreachable!("a URL")),
                token: None,
                writes: false,
                host_group: "a".to_owned(),
                tls: Tls::default(),
                resolver: None,
                keep_alive: false,
                digest: None,
                commit: None,
                origin: None,
            })
        };
        let places = (0..VERSIONS).flat_map(|nth| Flavour::ALL.map(|db| (nth, db)));
        let request = |n| {
            Arc::new(Request {
                name: format!("request-{n:03}"),
                method: Method::Get,
                path: Template::parse("/").unwrap_or_else(|_| unreachable!("a path")),
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
                control: n == 0,
                floors: Floors::default(),
            })
        };
        Fleet { deployments: places.map(on).collect(), requests: (0..requests).map(request).collect() }
    }

    pub fn told(&self) -> String {
        format!(
            "{} requests on {} flavours in {VERSIONS} versions: {} cells, each judged by time and by failures",
            self.requests.len(),
            Flavour::ALL.len(),
            self.cells()
        )
    }

    /// The lowest version has none before it.
    pub fn cells(&self) -> usize {
        self.requests.len() * (self.deployments.len() - Flavour::ALL.len())
    }

    pub fn samples_of_a_round(&self) -> u64 {
        (self.requests.len() * self.deployments.len()) as u64
    }

    pub fn deployments(&self) -> &[Arc<Deployment>] {
        &self.deployments
    }

    pub fn at(&self, n: u64) -> Timestamp {
        START.plus(Duration::from_secs(30 * (n + 1)))
    }

    pub fn members(&self) -> Vec<Member> {
        let requests: Vec<_> = self.requests.iter().map(|r| (r.name.clone(), CellRules::default())).collect();
        let member = |d: &Arc<Deployment>| Member {
            build: d.key(),
            name: d.name.clone(),
            version: d.version.clone(),
            db: d.db,
            environment: d.environment.clone(),
            since: START,
            requests: requests.clone(),
            control: self.requests.first().map(|r| r.name.clone()),
            rolled_back: false,
        };
        self.deployments.iter().map(member).collect()
    }

    pub fn ladder(&self) -> Ladder {
        Ladder::new(SUITE, Settings::default(), self.members(), Vec::new(), START)
    }

    pub fn everyone(&self) -> &[Arc<Deployment>] {
        &self.deployments
    }

    /// The two highest versions on one flavour: as in rounds that are made for a candidate.
    pub fn one_pair(&self) -> Vec<Arc<Deployment>> {
        let of = self.deployments.iter().rev().filter(|d| d.db == Flavour::Mysql);
        of.take(2).cloned().collect()
    }

    fn id(&self, n: u64) -> RoundId {
        RoundId::new("bench", SUITE, self.at(n))
    }

    pub fn round(&self, n: u64, of: impl AsRef<[Arc<Deployment>]>) -> Seen {
        let id = self.id(n);
        let mut visits = Vec::new();
        for deployment in of.as_ref() {
            let build = deployment.key();
            let mut noise = Noise(id.hash_of(&[&build]));
            visits.extend(self.requests.iter().map(|request| Visited {
                build: build.clone(),
                request: request.name.clone(),
                visit: Visit {
                    started: self.at(n),
                    answer: Answer::Passed(Duration::from_nanos(noise.next())),
                },
            }));
        }
        Seen { round: id, scheduled: self.at(n), visits }
    }

    /// The same round as what a probe makes of it.
    pub fn runs(&self, n: u64) -> Vec<Run> {
        let (id, at) = (self.id(n), self.at(n));
        let round = Round { id, suite: SUITE.to_owned(), scheduled: at, started: at, extra: false };
        let round = Arc::new(round);
        let run = |deployment: &Arc<Deployment>| {
            let build = deployment.key();
            let trace = id.trace(&build);
            let mut noise = Noise(id.hash_of(&[&build]));
            let sample = |request: &Arc<Request>| {
                let attempt = Attempt {
                    started: at,
                    phases: Phases([0, 200_000, 0, 50_000, noise.next() - 250_000, 0]),
                    span: trace.attempt_span(&request.name, 0),
                    status: Some(200),
                    error: None,
                    protocol: Some("1.1"),
                    body_bytes: 1_234,
                    peer: None,
                    redirects: 0,
                    tls_days_left: None,
                };
                Sample {
                    request: request.clone(),
                    outcome: Outcome::Pass,
                    attempts: vec![attempt],
                    detail: String::new(),
                }
            };
            Run {
                round: round.clone(),
                deployment: deployment.clone(),
                trace,
                started: at,
                duration: Duration::from_secs(2),
                outcome: Outcome::Pass,
                samples: self.requests.iter().map(sample).collect(),
            }
        };
        self.deployments.iter().map(run).collect()
    }
}

/// Nanoseconds about 20 ms, with a few stalls (SplitMix64; Steele, Lea and Flood 2014).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let z = z ^ (z >> 31);
        let spread = (0..4).map(|k| (z >> (16 * k)) & 0xffff).sum::<u64>() * 20;
        18_000_000 + spread + if z.is_multiple_of(50) { 15_000_000 } else { 0 }
    }
}
