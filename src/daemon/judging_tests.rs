//! Judging over a real store: what a fleet's changes and a restart make of what is kept.

use super::*;
use crate::clock::Timestamp;
use crate::compare::{Standing, read_standings};
use crate::config::{Env, Source};
use crate::model::{Attempt, ErrorType, Outcome, Phases, Round, RoundId, Run, Sample, Version};
use crate::otlp::fixture;
use crate::store::{Change, DeploymentRow, Location};

const START: Timestamp = Timestamp(1_790_000_000_000_000_000);
const OLD: &str = "3.0.0-dev.202601010000";
const NEW: &str = "3.0.0-dev.202602020000";

struct Rig {
    store: Store,
    clock: Clock,
    suite: Suite,
    rounds: u64,
    _folder: tempfile::TempDir,
}

/// How a request was answered: its outcome, with the error and the milliseconds of each attempt.
type Told = (Outcome, &'static [(Option<ErrorType>, u64)], &'static str);

impl Rig {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::manual(START);
        let store = Store::open(&Location::File(folder.path().join("store.db")), &clock).await.unwrap();
        let suites = crate::config::load(Source::Shipped, &Env::default()).unwrap().suites;
        let suite = suites.into_iter().find(|s| s.name == "cachet").unwrap();
        Rig { store, clock, suite, rounds: 0, _folder: folder }
    }

    /// Makes this the fleet, as `Rounds::set` does, and gives a judge that has taken it over.
    async fn judging(&self, fleet: &[Arc<Deployment>]) -> Judging {
        let deployments = fleet.iter().map(|d| DeploymentRow::from(d.as_ref())).collect();
        self.store.change(Change::Fleet { deployments, at: self.clock.now() }).await.unwrap();
        let judging = Judging::start(self.store.clone(), self.clock.clone(), fixture::resource());
        judging.set(vec![self.suite.clone()], fleet.into()).await;
        judging.settle().await;
        judging
    }

    /// One round; `told` of the fleet's place and the request's.
    fn round(&mut self, fleet: &[Arc<Deployment>], told: impl Fn(usize, usize) -> Told) -> Vec<Run> {
        self.rounds += 1;
        self.clock.advance(Duration::from_secs(30));
        let now = self.clock.now();
        let id = RoundId::new(self.store.id(), &self.suite.name, now);
        let round = Round { id, suite: self.suite.name.clone(), scheduled: now, started: now, extra: false };
        let round = Arc::new(round);
        let run = |(place, deployment): (usize, &Arc<Deployment>)| {
            let trace = id.trace(&deployment.key());
            let variant = self.suite.variant_for(&deployment.version).unwrap();
            let samples: Vec<Sample> = (0..)
                .zip(variant.requests_for(deployment))
                .map(|(nth, request)| {
                    let (outcome, attempts, detail) = told(place, nth);
                    let noise = id.hash_of(&[&deployment.key(), &request.name]) % 2_000_000;
                    let attempts = (0..).zip(attempts).map(|(n, (error, ms))| Attempt {
                        started: now,
                        phases: Phases([0, 0, 0, 0, ms * 1_000_000 + noise, 0]),
                        span: trace.attempt_span(&request.name, n),
                        status: Some(200),
                        error: *error,
                        protocol: Some("1.1"),
                        body_bytes: 0,
                        peer: None,
                        redirects: 0,
                        tls_days_left: None,
                    });
                    let attempts = attempts.collect();
                    Sample { request: request.clone(), outcome, attempts, detail: detail.to_owned() }
                })
                .collect();
            Run {
                round: round.clone(),
                deployment: deployment.clone(),
                trace,
                started: now,
                duration: Duration::from_secs(1),
                outcome: Run::outcome_of(&samples),
                samples,
            }
        };
        fleet.iter().enumerate().map(run).collect()
    }

    /// Rounds that are kept and judged, in which the first request of the last deployment takes longer.
    async fn rounds(&mut self, judging: &Judging, fleet: &[Arc<Deployment>], count: u64) {
        let slow = fleet.len() - 1;
        for _ in 0..count {
            let runs = self.round(fleet, |place, nth| {
                let times: &[_] = if (place, nth) == (slow, 0) { &[(None, 60)] } else { &[(None, 40)] };
                (Outcome::Pass, times, "")
            });
            let seen = Seen::of(&runs).unwrap();
            self.store.commit(Facts { runs, ..Facts::default() }).await.unwrap();
            judging.round("cachet", seen);
        }
        judging.settle().await;
    }

    /// How the first request stands on a deployment.
    async fn standing(&self, deployment: &str) -> Standing {
        let rows = self.store.verdicts().await.unwrap();
        let standings = read_standings(&rows.iter().find(|r| r.suite == "cachet").unwrap().standings);
        standings.into_iter().find(|s| s.deployment == deployment).unwrap()
    }
}

fn deployment(name: &str, version: &str, digest: Option<&str>) -> Arc<Deployment> {
    let own = fixture::deployment("http://127.0.0.1:1");
    Arc::new(Deployment {
        name: name.to_owned(),
        version: Version::parse(version).unwrap(),
        digest: digest.map(str::to_owned),
        ..Deployment::clone(&own)
    })
}

#[tokio::test]
async fn rounds_read_from_the_store_are_those_that_were_seen() {
    let mut rig = Rig::new().await;
    let fleet = [deployment("old", OLD, None), deployment("new", NEW, None)];
    let _judging = rig.judging(&fleet).await;
    let limited = ErrorType::RateLimited.as_str();
    let told: [Told; 8] = [
        (Outcome::Pass, &[(None, 40)], ""),
        (Outcome::Degraded, &[(None, 900)], "slow"),
        // What a retry mended failed the first time.
        (Outcome::Pass, &[(Some(ErrorType::Timeout), 5_000), (None, 30)], ""),
        (Outcome::Fail, &[(Some(ErrorType::Check), 40)], "status: expected 200, found 500"),
        (Outcome::Unreachable, &[(Some(ErrorType::Timeout), 5_000)], "timeout"),
        (Outcome::Skipped, &[(Some(ErrorType::RateLimited), 3)], limited),
        (Outcome::Skipped, &[], limited),
        (Outcome::Skipped, &[], "after unreachable"),
    ];
    let mut seen = Vec::new();
    for shift in 0..8 {
        let runs = rig.round(&fleet, |place, nth| told[(place * 3 + nth + shift) % told.len()]);
        seen.push(Seen::of(&runs).unwrap());
        rig.store.commit(Facts { runs, ..Facts::default() }).await.unwrap();
    }
    let builds = fleet.iter().map(|d| (deployment_key(d), d.key())).collect();
    let mut stored = visits::seen(&rig.store, &builds, "cachet", START).await.unwrap();
    for round in seen.iter_mut().chain(&mut stored) {
        round.visits.sort_by(|a, b| (&a.build, &a.request).cmp(&(&b.build, &b.request)));
    }
    assert_eq!(stored, seen);
    assert!(visits::seen(&rig.store, &builds, "another", START).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_restart_goes_on_a_new_digest_starts_afresh_and_a_retired_version_is_no_baseline() {
    let mut rig = Rig::new().await;
    let mut fleet = vec![deployment("old", OLD, None), deployment("new", NEW, None)];
    let judging = rig.judging(&fleet).await;
    rig.rounds(&judging, &fleet, 40).await;
    assert_ne!(rig.standing("new").await.verdict, Verdict::Regressed);
    drop(judging);

    let judging = rig.judging(&fleet).await;
    rig.rounds(&judging, &fleet, 30).await;
    let found = rig.standing("new").await;
    assert_eq!((found.verdict, found.latency.unwrap().assessment.pairs), (Verdict::Regressed, 67));
    let all = read_standings(&rig.store.verdicts().await.unwrap()[0].standings);
    let regressed = all.iter().filter(|s| s.verdict == Verdict::Regressed).count();
    assert_eq!((regressed, found.rolled_back), (1, false));

    fleet[1] = deployment("new", NEW, Some("sha256:2"));
    let judging = rig.judging(&fleet).await;
    let found = rig.standing("new").await;
    assert_eq!((found.verdict, found.latency.unwrap().assessment.pairs), (Verdict::Insufficient, 0));
    assert!(judging.wanted().borrow()["cachet"].contains_key("new"));

    let _judging = rig.judging(&fleet[1..]).await;
    let found = rig.standing("new").await;
    assert_eq!((found.verdict, found.against, found.latency), (Verdict::NoBaseline, None, None));
}

#[tokio::test]
async fn a_verdict_outlives_a_restart_before_which_nobody_is_discovered() {
    let mut rig = Rig::new().await;
    let fleet = [deployment("old", OLD, None), deployment("new", NEW, None)];
    let judging = rig.judging(&fleet).await;
    rig.rounds(&judging, &fleet, 70).await;
    let before = rig.standing("new").await;
    assert_eq!(before.verdict, Verdict::Regressed);
    drop(judging);

    let judging = rig.judging(&[]).await;
    judging.set(Vec::new(), Arc::new([])).await;
    judging.settle().await;
    assert_eq!(rig.store.standings().await.unwrap(), ["[]"]);
    judging.set(vec![rig.suite.clone()], fleet.to_vec().into()).await;
    judging.settle().await;
    let after = rig.standing("new").await;
    assert_eq!((after.verdict, after.since), (Verdict::Regressed, before.since));
}

#[tokio::test]
async fn a_rollback_is_said_also_to_a_build_that_lived_before_and_ends_with_the_next_version() {
    let mut rig = Rig::new().await;
    let old = deployment("old", OLD, None);
    let run_of = |versions: &[&str]| versions.iter().map(|v| deployment("new", v, None)).collect::<Vec<_>>();
    let (lower, higher) = ("3.0.0-dev.202601020000", NEW);
    // The build of the lower version lives, makes way for the higher one, and comes back.
    for (version, rolled_back) in
        [(lower, false), (higher, false), (lower, true), ("3.0.0-dev.202601030000", false)]
    {
        let fleet = [vec![old.clone()], run_of(&[version])].concat();
        rig.clock.advance(Duration::from_secs(60));
        let judging = rig.judging(&fleet).await;
        rig.rounds(&judging, &fleet, 2).await;
        let found = rig.standing("new").await;
        assert_eq!((found.version.as_str(), found.rolled_back), (version, rolled_back));
        assert_eq!(found.against.unwrap().version, OLD);
    }
}

#[tokio::test]
async fn a_fleet_that_changes_while_rounds_wait_counts_none_of_them_twice() {
    let mut rig = Rig::new().await;
    let fleet = [deployment("old", OLD, None), deployment("new", NEW, None)];
    let judging = rig.judging(&fleet).await;
    let mut waiting = Vec::new();
    for _ in 0..20 {
        let runs = rig.round(&fleet, |_, _| (Outcome::Pass, &[(None, 40)], ""));
        waiting.push(Seen::of(&runs).unwrap());
        rig.store.commit(Facts { runs, ..Facts::default() }).await.unwrap();
    }
    // It reads from the store what it is then told of.
    judging.set(vec![rig.suite.clone()], fleet.to_vec().into()).await;
    waiting.into_iter().for_each(|seen| judging.round("cachet", seen));
    judging.settle().await;
    assert_eq!(rig.standing("new").await.latency.unwrap().assessment.pairs, 17);
}
