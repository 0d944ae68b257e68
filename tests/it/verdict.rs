//! The arithmetic of verdicts: against SciPy, and by what must hold for any data.
//!
//! `tests/data/verdict-scipy.json` is written by `scripts/scipy-reference.py`. p-values agree to 10⁻⁹,
//! estimates and intervals to 10⁻⁹ of their scale.

use cachetscope::verdict::{
    Dependence, Differences, EXACT_MAX, Lag1, Method, PassFail, Shift, shift, signed_rank,
};
use proptest::prelude::*;
use serde::Deserialize;

#[derive(Deserialize)]
struct Reference {
    scipy: String,
    sets: Vec<Set>,
    mcnemar: Vec<Table>,
}

#[derive(Deserialize)]
struct Set {
    name: String,
    d: Vec<f64>,
    method: String,
    p: f64,
    estimate: f64,
    interval95: [f64; 2],
    interval90: [f64; 2],
}

#[derive(Deserialize)]
struct Table {
    only_later: u64,
    only_earlier: u64,
    p: f64,
}

fn reference() -> Reference {
    serde_json::from_str(include_str!("../data/verdict-scipy.json")).unwrap()
}

fn numbers(d: &[f64]) -> Differences {
    Differences::new(d.to_vec()).unwrap()
}

#[test]
fn tests_estimates_and_intervals_agree_with_scipy() {
    let reference = reference();
    assert!(reference.sets.len() >= 25, "of SciPy {}", reference.scipy);
    for set in reference.sets {
        let d = numbers(&set.d);
        let test = signed_rank(&d, Dependence::NONE);
        let method = if test.method == Method::Exact { "exact" } else { "asymptotic" };
        assert_eq!(method, set.method, "{}", set.name);
        assert!((test.p - set.p).abs() < 1e-9, "{}: p {} and {}", set.name, test.p, set.p);
        let Shift { at95, at90 } = shift(&d, Dependence::NONE).unwrap();
        for (what, ours, theirs) in [
            ("estimate", at95.value, set.estimate),
            ("low95", at95.low, set.interval95[0]),
            ("high95", at95.high, set.interval95[1]),
            ("low90", at90.low, set.interval90[0]),
            ("high90", at90.high, set.interval90[1]),
        ] {
            assert!((ours - theirs).abs() < 1e-9, "{}: {what} {ours} and {theirs}", set.name);
        }
    }
}

#[test]
fn paired_failures_agree_with_scipy() {
    for Table { only_later, only_earlier, p } in reference().mcnemar {
        let table = PassFail {
            both_passed: 7,
            only_later_failed: only_later,
            only_earlier_failed: only_earlier,
            both_failed: 1,
        };
        assert!((table.p() / p - 1.0).abs() < 1e-9, "{only_later}, {only_earlier}: {} and {p}", table.p());
    }
}

/// Differences with ties and zeros (multiples of 1/8) or without.
fn differences() -> impl Strategy<Value = Vec<f64>> {
    let fine = prop::collection::vec(-2.0..2.0_f64, 1..150);
    let coarse = prop::collection::vec((-8..8_i32).prop_map(|x| f64::from(x) / 8.0), 1..150);
    prop_oneof![fine, coarse]
}

fn dependences() -> impl Strategy<Value = Dependence> {
    (0.0..0.95_f64).prop_map(Dependence::from_rho)
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * (1.0 + a.abs().max(b.abs()))
}

proptest! {
    /// Which version is called the later one decides the sign, and nothing else.
    #[test]
    fn swapping_the_versions_swaps_the_answer(d in differences()) {
        let (d, swapped) = (numbers(&d), numbers(&d.iter().map(|x| -x).collect::<Vec<_>>()));
        let (own, other) = (Dependence::of(&d), Dependence::of(&swapped));
        prop_assert!(near(own.rho(), other.rho()));
        let (a, b) = (signed_rank(&d, own), signed_rank(&swapped, own));
        prop_assert!(near(a.p, b.p) && near(a.z, -b.z));
        let (a, b) = (shift(&d, own).unwrap(), shift(&swapped, own).unwrap());
        prop_assert!(near(a.at95.value, -b.at95.value));
        prop_assert!(near(a.at95.low, -b.at95.high) && near(a.at90.high, -b.at90.low));
    }

    /// Seconds or milliseconds, a fast host or a slow one: a ratio has no unit.
    #[test]
    fn scaling_scales(d in differences(), power in -6..6_i32, dependence in dependences()) {
        let factor = 2_f64.powi(power);
        let (d, scaled) = (numbers(&d), numbers(&d.iter().map(|x| x * factor).collect::<Vec<_>>()));
        prop_assert_eq!(signed_rank(&d, dependence), signed_rank(&scaled, dependence));
        let (a, b) = (shift(&d, dependence).unwrap().at95, shift(&scaled, dependence).unwrap().at95);
        prop_assert!(near(a.value * factor, b.value) && near(a.low * factor, b.low));
    }

    /// Moving all differences moves estimate and interval by as much.
    #[test]
    fn moving_moves(d in differences(), by in -8..8_i32, dependence in dependences()) {
        let by = f64::from(by);
        let moved = numbers(&d.iter().map(|x| x + by).collect::<Vec<_>>());
        let (a, b) = (shift(&numbers(&d), dependence).unwrap(), shift(&moved, dependence).unwrap());
        prop_assert!(near(a.at95.value + by, b.at95.value) && near(a.at95.high + by, b.at95.high));
    }

    /// Where rounds do not depend on each other, their order says nothing.
    #[test]
    fn order_is_irrelevant_to_independent_pairs(d in differences(), by in 0..150_usize) {
        let mut other = d.clone();
        other.rotate_left(by % d.len());
        other.reverse();
        let (d, other) = (numbers(&d), numbers(&other));
        prop_assert_eq!(signed_rank(&d, Dependence::NONE), signed_rank(&other, Dependence::NONE));
        prop_assert_eq!(shift(&d, Dependence::NONE), shift(&other, Dependence::NONE));
    }

    /// More dependence never strengthens evidence nor narrows an interval; 95 % holds 90 %.
    #[test]
    fn dependence_only_weakens(d in differences(), less in 0.0..0.9_f64, more in 0.0..0.9_f64) {
        let (less, more) = (less.min(more), less.max(more));
        let d = numbers(&d);
        let [weak, strong] = [more, less].map(|rho| signed_rank(&d, Dependence::from_rho(rho)));
        prop_assert!(weak.p >= strong.p - 1e-12 && (0.0..=1.0).contains(&weak.p));
        let [wide, narrow] = [more, less].map(|rho| shift(&d, Dependence::from_rho(rho)).unwrap());
        prop_assert!(wide.at95.low <= narrow.at95.low && wide.at95.high >= narrow.at95.high);
        prop_assert!(wide.at95.low <= wide.at90.low && wide.at95.high >= wide.at90.high);
        prop_assert!(narrow.at90.low <= narrow.at90.value && narrow.at90.value <= narrow.at90.high);
    }

    /// Nothing that a caller can hand over makes it panic or answer with no number.
    #[test]
    fn whatever_is_accepted_is_answered(d in prop::collection::vec(any::<f64>(), 0..60)) {
        let Ok(d) = Differences::new(d) else { return Ok(()) };
        let dependence = Dependence::of(&d);
        prop_assert!((0.0..=0.9).contains(&dependence.rho()));
        let found = signed_rank(&d, dependence);
        prop_assert!((0.0..=1.0).contains(&found.p) && found.z.is_finite());
        prop_assert_eq!(shift(&d, dependence).is_none(), d.is_empty());
    }

    /// A cell is drawn to its family, never past it, and never by more than its own standard error.
    #[test]
    fn a_family_draws_within_bounds(own in -0.5..1.0_f64, family in -0.2..0.9_f64, pairs in 5..640_usize) {
        let drawn = Dependence::within_family(Lag1 { rho: own, pairs }, family).rho();
        let clipped = |rho: f64| Dependence::from_rho(rho).rho();
        prop_assert!(drawn >= clipped(own.min(family)) - 1e-12);
        prop_assert!(drawn <= clipped(own.max(family)) + 1e-12);
        prop_assert!(drawn >= clipped(own - (pairs as f64).powf(-0.5)) - 1e-12);
    }

    /// Paired failures: swapping the versions mirrors, pairs that agree change no p.
    #[test]
    fn failures_are_symmetric(b in 0..200_u64, c in 0..200_u64, passed in 0..500_u64, failed in 0..500_u64) {
        let table = |b, c, passed, failed| PassFail {
            both_passed: passed, only_later_failed: b, only_earlier_failed: c, both_failed: failed,
        };
        let (one, other) = (table(b, c, passed, failed), table(c, b, passed, failed));
        prop_assert_eq!(one.p(), other.p());
        prop_assert_eq!(one.p(), table(b, c, 0, 0).p());
        if let (Some(one), Some(other)) = (one.rise(0.95), other.rise(0.95)) {
            prop_assert!(near(one.value, -other.value) && near(one.low, -other.high));
            prop_assert!(-1.0 <= one.low && one.low <= one.value && one.value <= one.high && one.high <= 1.0);
        }
    }
}

#[test]
fn below_the_limit_the_distribution_is_exact() {
    for n in [1, EXACT_MAX, EXACT_MAX + 1] {
        let d: Vec<f64> = (1..=n).map(|i| i as f64).collect();
        let found = signed_rank(&numbers(&d), Dependence::NONE);
        assert_eq!(found.method == Method::Exact, n <= EXACT_MAX, "{n}");
    }
}
