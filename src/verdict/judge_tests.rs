//! The ordered rules, and the numbers that they ask.

use std::time::Duration;

use super::*;
use crate::clock::Timestamp;
use crate::model::RoundId;
use crate::verdict::{Answer, CellRules, Visit};

/// A window of so many pairs; microseconds of the later and the earlier version, or a failure.
fn window(pairs: i64, times: impl Fn(i64) -> [Option<u64>; 2]) -> Window {
    let mut window = Window::warmed_up(CellRules::default());
    for n in 0..pairs {
        let at = Timestamp(0).plus(Duration::from_secs(n as u64));
        let [v, p] = times(n).map(|us| Visit {
            started: at,
            answer: us.map_or(Answer::Failed, |us| Answer::Passed(Duration::from_micros(us))),
        });
        window.take(RoundId::new("t", "s", at), &[v], &[p]);
    }
    window
}

/// Up to 10 % more, in no order.
fn noisy(us: u64, n: i64) -> Option<u64> {
    let draw = RoundId::new("t", "noise", Timestamp(n)).hash_of(&[]) % 1_001;
    Some(us + us * draw / 10_000)
}

fn latency(window: &Window) -> Assessment {
    Assessment::of(Measure::Latency, window.all())
}

fn rule(assessment: &Assessment, standing: Standing) -> (Verdict, Rule) {
    decide(assessment, &Floors::default(), standing)
}

const SCATTERED: [i64; 12] = [1, 9, 13, 22, 27, 40, 41, 50, 58, 63, 70, 77];
const SLOWER: Standing = Standing { confirmed: Some(Direction::Slower), confirming: false };
const FASTER: Standing = Standing { confirmed: Some(Direction::Faster), confirming: false };
const NOTHING: Standing = Standing { confirmed: None, confirming: false };

#[test]
fn sample_floors_are_those_promised() {
    assert_eq!((pairs_floor(60, 0.05), pairs_floor(500, 0.05)), (12, 15));
    assert_eq!((pairs_floor(0, 0.05), pairs_floor(1, 4.0)), (6, 1));
}

#[test]
fn a_confirmed_difference_is_named_by_its_direction() {
    let slower = latency(&window(60, |n| [noisy(44_000, n), noisy(40_000, n + 500)]));
    assert_eq!(rule(&slower, SLOWER), (Verdict::Regressed, Rule::Confirmed));
    let faster = latency(&window(60, |n| [noisy(40_000, n), noisy(44_000, n + 500)]));
    assert_eq!(rule(&faster, FASTER), (Verdict::Improved, Rule::Confirmed));
    assert!((slower.ratio.unwrap().value - 1.1).abs() < 0.015);
    assert!((slower.seconds.unwrap().value - 0.0042).abs() < 0.0006, "{slower:?}");
    assert_eq!(
        rule(&slower, NOTHING),
        (Verdict::Inconclusive, Rule::Undecided),
        "nothing but a confirmation blames"
    );
}

#[test]
fn both_floors_must_be_passed() {
    // +10 %, but half a millisecond.
    let small = latency(&window(200, |n| [noisy(5_500, n), noisy(5_000, n + 500)]));
    assert_eq!(rule(&small, SLOWER), (Verdict::Unchanged, Rule::InsideDifferenceFloor));
    // 4 ms, but 2 %.
    let part = latency(&window(200, |n| [noisy(204_000, n), noisy(200_000, n + 500)]));
    assert_eq!(rule(&part, SLOWER), (Verdict::Unchanged, Rule::InsideRatioFloor));
}

#[test]
fn a_candidate_waits() {
    let equal = latency(&window(60, |n| [noisy(40_000, n), noisy(40_000, n + 500)]));
    let standing = Standing { confirmed: None, confirming: true };
    assert_eq!(rule(&equal, standing), (Verdict::Inconclusive, Rule::Confirming));
}

#[test]
fn identical_samples_are_unchanged() {
    let same = latency(&window(30, |_| [Some(40_000), Some(40_000)]));
    assert_eq!((same.p, same.rho, same.pairs_missing(60, 0.05)), (1.0, 0.0, 0));
    assert_eq!(rule(&same, NOTHING), (Verdict::Unchanged, Rule::InsideRatioFloor));
    assert_eq!(same.ratio.unwrap(), Interval { low: 1.0, value: 1.0, high: 1.0 });
}

#[test]
fn too_few_pairs_say_how_many_are_missing() {
    let few = latency(&window(7, |n| [noisy(40_000, n), noisy(40_000, n + 500)]));
    assert!(few.pairs_missing(60, 0.05) >= 13);
    let none = latency(&window(0, |_| [None, None]));
    assert_eq!((none.pairs_missing(60, 0.05), none.ratio, none.p), (20, None, 1.0));
    let trend = latency(&window(100, |n| [Some(40_000 + 100 * n as u64), Some(40_000)]));
    assert_eq!((trend.rho, trend.pairs_missing(60, 0.05)), (0.9, 280));
}

#[test]
fn milliseconds_are_withheld_above_a_tenth_of_failures() {
    let one_in =
        |k: i64| window(60, move |n| [if n % k == 0 { None } else { noisy(40_000, n) }, noisy(40_000, n)]);
    assert!(latency(&one_in(10)).seconds.is_some());
    let failing = latency(&one_in(9));
    assert!(failing.seconds.is_none() && failing.ratio.is_some());
}

#[test]
fn all_samples_failing_says_nothing_about_time() {
    let dead = window(60, |_| [None, None]);
    let found = latency(&dead);
    assert_eq!((found.pairs, found.ratio, found.seconds), (0, None, None));
    let errors = Assessment::of(Measure::Errors, dead.all());
    assert_eq!((errors.pairs, errors.p, errors.pass_fail.both_failed), (60, 1.0, 60));
    assert_eq!(errors.failure_rise.unwrap().value, 0.0);
}

#[test]
fn more_failures_at_equal_times_regress_by_errors() {
    let failing = window(60, |n| [if (n * 7) % 4 == 0 { None } else { noisy(40_000, n) }, noisy(40_000, n)]);
    let errors = Assessment::of(Measure::Errors, failing.all());
    assert!(errors.p < 1e-3 && errors.z > 3.0, "{errors:?}");
    assert_eq!(rule(&errors, SLOWER), (Verdict::Regressed, Rule::Confirmed));
    assert_eq!(rule(&errors, FASTER).0, Verdict::Inconclusive, "confirmed one way is not blamed the other");
}

#[test]
fn never_failing_is_unchanged_once_there_are_enough_pairs() {
    let fine = |pairs| Assessment::of(Measure::Errors, window(pairs, |n| [noisy(40_000, n); 2]).all());
    assert_eq!(rule(&fine(20), NOTHING).0, Verdict::Inconclusive);
    assert_eq!(rule(&fine(120), NOTHING), (Verdict::Unchanged, Rule::InsideRatioFloor));
}

#[test]
fn failures_in_one_spell_weigh_less_than_scattered_ones() {
    let spell = window(80, |n| [if n < 12 { None } else { noisy(40_000, n) }, noisy(40_000, n)]);
    let scattered =
        window(80, |n| [if SCATTERED.contains(&n) { None } else { noisy(40_000, n) }, noisy(40_000, n)]);
    let p = |w: &Window| Assessment::of(Measure::Errors, w.all()).p;
    assert!(p(&scattered) < 1e-3 && p(&spell) > 0.1, "{} {}", p(&scattered), p(&spell));
}

#[test]
fn only_what_no_version_causes_is_a_disturbance() {
    let mut w = window(10, |n| [noisy(40_000, n); 2]);
    assert_eq!(disturbance(&w, None), None);
    assert_eq!(disturbance(&w, Some(Disturbance::Loopback)), Some(Disturbance::Loopback));
    for n in 0..3 {
        let visit = Visit { started: Timestamp(n), answer: Answer::Unusable };
        w.take(RoundId::new("t", "u", Timestamp(n)), &[visit], &[visit]);
    }
    assert_eq!(disturbance(&w, None), Some(Disturbance::UnusablePairs));
}

#[test]
fn words_are_those_of_every_surface() {
    let words: Vec<_> = Verdict::ALL.iter().map(|v| serde_json::to_value(v).unwrap()).collect();
    assert_eq!(words, Verdict::ALL.map(|v| v.as_str()));
}
