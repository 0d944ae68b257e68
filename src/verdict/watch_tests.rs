//! When the machine looks, what makes it blame, and what survives a restart.

use std::time::Duration;

use super::*;
use crate::clock::Timestamp;
use crate::model::RoundId;
use crate::verdict::{Answer, CellRules, Visit};

/// Two requests, each on a deployment of its own: `steady`, and `slow` with a factor by round.
struct Rig {
    watch: Watch,
    windows: [Window; 2],
    round: u64,
}

impl Rig {
    fn new() -> Self {
        let window = || Window::warmed_up(CellRules::default());
        Rig { watch: Watch::new(Settings::default()), windows: [window(), window()], round: 0 }
    }

    fn touched(&self) -> [Touched<'_>; 2] {
        let [slow, steady] = &self.windows;
        [
            Touched { request: "slow", deployment: "v-sqlite", window: slow, host: None },
            Touched { request: "steady", deployment: "v-mysql", window: steady, host: None },
        ]
    }

    fn step(&mut self, factor: f64) -> Vec<Change> {
        self.step_with(|ms| Answer::Passed(Duration::from_secs_f64(ms * factor / 1e3)))
    }

    fn step_with(&mut self, answer: impl Fn(f64) -> Answer) -> Vec<Change> {
        self.round += 1;
        let n = self.round;
        let at = Timestamp(0).plus(Duration::from_secs(60 * n));
        let id = RoundId::new("t", "s", at);
        // Up to 10 % more than 40 ms, in no order.
        let ms = |k: &str| 40.0 + (id.hash_of(&[k]) % 1_001) as f64 / 250.0;
        let plain = |ms: f64| Answer::Passed(Duration::from_secs_f64(ms / 1e3));
        let visit = |answer| [Visit { started: at, answer }];
        self.windows[0].take(id, &visit(answer(ms("a"))), &visit(plain(ms("b"))));
        self.windows[1].take(id, &visit(plain(ms("c"))), &visit(plain(ms("d"))));
        let mut watch = std::mem::replace(&mut self.watch, Watch::new(Settings::default()));
        let changes = watch.round(&self.touched());
        self.watch = watch;
        changes
    }

    fn judged(&self, measure: Measure) -> Judgement {
        self.watch.judgement(&self.touched()[0], measure).unwrap()
    }
}

#[test]
fn a_regression_is_screened_then_confirmed_and_only_then_told() {
    let mut rig = Rig::new();
    for round in 1..=60 {
        let told: Vec<_> = rig.step(1.2).into_iter().filter(|c| c.to == Verdict::Regressed).collect();
        assert_eq!(told.is_empty(), round < 60, "round {round}: {told:?}");
        if (20..60).contains(&round) {
            assert_eq!(rig.watch.wanted()[0].1, 60 - round as u64);
        }
        if (40..60).contains(&round) {
            let now = rig.judged(Measure::Latency);
            assert_eq!((now.verdict, now.rule), (Verdict::Inconclusive, Rule::Confirming));
            assert_eq!(now.rounds_needed, 60 - round);
        }
    }
    let now = rig.judged(Measure::Latency);
    assert_eq!((now.verdict, now.rule, now.rounds_needed), (Verdict::Regressed, Rule::Confirmed, 0));
    assert!(rig.watch.wanted().is_empty());
    assert_eq!(rig.watch.cells(), 2, "errors that cannot be significant cost nothing");
}

#[test]
fn before_the_first_look_it_is_insufficient_and_says_how_long() {
    let mut rig = Rig::new();
    rig.step(1.0);
    let now = rig.judged(Measure::Latency);
    assert_eq!((now.verdict, now.rule), (Verdict::Insufficient, Rule::TooFewPairs));
    assert_eq!(now.rounds_needed, 19);
}

/// Times that depend on the ones before make few independent pairs: after 60 there may be too few.
#[test]
fn what_a_look_confirmed_is_told_as_soon_as_there_are_enough_pairs() {
    let mut rig = Rig::new();
    let mut told = Vec::new();
    // Six rounds of one weather, six of another.
    let weather = |n: u64| 1.0 + 0.4 * ((n / 6) % 2) as f64;
    for n in 0..120 {
        let changes = rig.step(3.0 * weather(n)).into_iter();
        let of_times = changes.filter(|c| c.key.request == "slow" && c.key.measure == Measure::Latency);
        told.extend(of_times.map(|change| (n + 1, change.to)));
    }
    let [(at, Verdict::Regressed)] = told[..] else { panic!("{told:?}") };
    assert!(60 < at && at < 120, "not at a look, and before the next one: {told:?}");
}

#[test]
fn a_bad_hour_after_the_deployment_is_not_blamed() {
    let mut rig = Rig::new();
    for round in 0..60 {
        for change in rig.step(if round < 20 { 3.0 } else { 1.0 }) {
            assert_ne!(change.to, Verdict::Regressed);
        }
    }
}

#[test]
fn equal_versions_become_unchanged() {
    let mut rig = Rig::new();
    (0..120).for_each(|_| drop(rig.step(1.0)));
    assert_eq!(rig.judged(Measure::Latency).verdict, Verdict::Unchanged);
    assert_eq!(rig.judged(Measure::Errors).verdict, Verdict::Unchanged);
}

#[test]
fn between_looks_the_verdict_stands_and_the_estimate_moves() {
    let mut rig = Rig::new();
    (0..60).for_each(|_| drop(rig.step(1.2)));
    let before = rig.judged(Measure::Latency);
    (0..19).for_each(|_| assert!(rig.step(0.5).is_empty()));
    let after = rig.judged(Measure::Latency);
    assert_eq!(after.verdict, Verdict::Regressed);
    assert!(after.assessment.ratio.unwrap().value < before.assessment.ratio.unwrap().value);
}

#[test]
fn failures_are_confirmed_like_times() {
    let mut rig = Rig::new();
    let mut told = None;
    for round in 1..=120 {
        let fails = (round * 7) % 3 == 0;
        let changes = rig.step_with(|ms| {
            if fails { Answer::Failed } else { Answer::Passed(Duration::from_secs_f64(ms / 1e3)) }
        });
        let errors =
            changes.into_iter().find(|c| c.key.measure == Measure::Errors && c.to == Verdict::Regressed);
        told = told.or(errors.map(|_| round));
    }
    assert!(told.is_some_and(|round| round >= 60), "{told:?}");
}

#[test]
fn a_restart_continues_where_it_was() {
    let mut whole = Rig::new();
    let mut parted = Rig::new();
    for round in 0..130 {
        let changes = whole.step(1.12);
        let stored = serde_json::to_string(&parted.watch).unwrap();
        parted.watch = serde_json::from_str(&stored).unwrap();
        assert_eq!(parted.step(1.12), changes, "round {round}");
    }
    assert_eq!(whole.watch, parted.watch);
    assert_eq!(whole.judged(Measure::Latency).verdict, Verdict::Regressed);
}

#[test]
fn a_round_that_was_seen_changes_nothing() {
    let mut rig = Rig::new();
    (0..25).for_each(|_| drop(rig.step(1.2)));
    let before = rig.watch.clone();
    let mut again = before.clone();
    assert!(again.round(&rig.touched()).is_empty());
    assert_eq!(again, before);
}

#[test]
fn a_disturbed_host_puts_the_look_off_and_says_invalid() {
    let mut rig = Rig::new();
    (0..19).for_each(|_| drop(rig.step(1.2)));
    let mut watch = rig.watch.clone();
    rig.step(1.2);
    let mut touched = rig.touched();
    touched[0].host = Some(Disturbance::HostPressure);
    watch.round(&touched);
    assert!(watch.wanted().is_empty(), "no candidate from a disturbed hour");
    let judged = watch.judgement(&touched[0], Measure::Latency).unwrap();
    assert_eq!((judged.verdict, judged.rule), (Verdict::Invalid, Rule::Disturbed));
    assert_eq!(judged.disturbance, Some(Disturbance::HostPressure));
}

#[test]
fn a_new_build_starts_afresh_and_leaves_other_deployments_alone() {
    let mut rig = Rig::new();
    (0..60).for_each(|_| drop(rig.step(1.2)));
    let steady = rig.watch.judgement(&rig.touched()[1], Measure::Latency).unwrap();
    rig.watch.forget("v-sqlite");
    assert_eq!(rig.watch.judgement(&rig.touched()[0], Measure::Latency), None);
    assert_eq!(rig.watch.cells(), 1);
    let kept = rig.watch.judgement(&rig.touched()[1], Measure::Latency).unwrap();
    assert_eq!(kept.verdict, steady.verdict);
    rig.windows[0] = Window::new(CellRules::default());
    (0..22).for_each(|_| drop(rig.step(1.2)));
    assert_eq!(rig.judged(Measure::Latency).verdict, Verdict::Insufficient, "three of them warm up");
}
