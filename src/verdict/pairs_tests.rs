//! What becomes of a round, and what is counted.

use super::*;

fn round(n: i64) -> RoundId {
    RoundId::new("test", "suite", Timestamp(n))
}

fn visit(at_ms: u64, answer: Answer) -> Visit {
    Visit { started: Timestamp(0).plus(Duration::from_millis(at_ms)), answer }
}

fn passed(at_ms: u64, ms: u64) -> Visit {
    visit(at_ms, Answer::Passed(Duration::from_millis(ms)))
}

fn window() -> Window {
    Window::warmed_up(CellRules::default())
}

#[test]
fn only_the_first_visit_of_a_round_counts() {
    let mut w = window();
    let second = passed(100, 5);
    assert_eq!(w.take(round(1), &[passed(0, 20), second], &[passed(50, 10)]), Taken::Pair);
    assert!((w.all().differences().as_slice()[0] - 2_f64.ln()).abs() < 1e-6);
    assert_eq!(w.lost.repeated, 1);
}

#[test]
fn visits_too_far_apart_are_dropped_and_counted_whichever_came_first() {
    let mut w = window();
    assert_eq!(w.take(round(1), &[passed(0, 20)], &[passed(5_001, 10)]), Taken::Apart);
    assert_eq!(w.take(round(2), &[passed(5_001, 20)], &[passed(0, 10)]), Taken::Apart);
    assert_eq!(w.take(round(3), &[passed(5_000, 20)], &[passed(0, 10)]), Taken::Pair);
    assert_eq!((w.lost.apart, w.pairs()), (2, 1));
    assert!((w.unusable_part() - 2.0 / 3.0).abs() < 1e-12);
}

#[test]
fn a_missing_deployment_is_no_unusable_pair() {
    let mut w = window();
    assert_eq!(w.take(round(1), &[passed(0, 20)], &[]), Taken::Missing);
    assert_eq!((w.lost.missing, w.unusable_part()), (1, 0.0));
}

#[test]
fn a_429_makes_the_pair_unusable_and_is_no_failure() {
    let mut w = window();
    assert_eq!(w.take(round(1), &[visit(0, Answer::Unusable)], &[passed(0, 9)]), Taken::Unusable);
    assert_eq!(w.all().pass_fail(), PassFail::default());
    assert_eq!((w.unusable_part(), w.pairs()), (1.0, 0));
}

#[test]
fn a_failure_counts_as_the_timeout_on_its_side() {
    let mut w = window();
    w.take(round(1), &[visit(0, Answer::Failed)], &[passed(0, 5)]);
    w.take(round(2), &[passed(0, 5)], &[visit(0, Answer::Failed)]);
    w.take(round(3), &[visit(0, Answer::Failed)], &[visit(0, Answer::Failed)]);
    w.take(round(4), &[visit(0, Answer::Failed)], &[passed(0, 9_000)]);
    let d = w.all().differences();
    assert_eq!(d.len(), 3, "of two failures no time can be told");
    assert!((d.as_slice()[0] - 1_000_f64.ln()).abs() < 1e-6);
    assert!((d.as_slice()[1] + 1_000_f64.ln()).abs() < 1e-6);
    assert_eq!(d.as_slice()[2], 0.0, "a failure is never the faster one");
    assert_eq!(w.all().failures().as_slice(), [1.0, -1.0, 0.0, 1.0]);
    let all = w.all().pass_fail();
    assert_eq!((all.only_later_failed, all.only_earlier_failed, all.both_failed), (2, 1, 1));
}

#[test]
fn warm_up_rounds_are_kept_apart_with_their_own_number() {
    let mut w = Window::new(CellRules::default());
    for (n, ms) in [(1, 40), (2, 20), (3, 80)] {
        assert_eq!(w.take(round(n), &[passed(0, ms)], &[passed(0, 10)]), Taken::WarmUp);
    }
    assert_eq!(w.take(round(4), &[passed(0, 10)], &[passed(0, 10)]), Taken::Pair);
    assert_eq!((w.pairs(), w.all().differences().as_slice()), (1, &[0.0][..]));
    assert!((w.warm_up_ratio().unwrap() - 4.0).abs() < 1e-5);
    assert_eq!(window().warm_up_ratio(), None);
}

#[test]
fn a_window_holds_so_many_pairs_and_no_older_ones() {
    let mut w = Window::warmed_up(CellRules { pairs_max: 10, ..CellRules::default() });
    for n in 0..25 {
        w.take(round(n as i64), &[passed(n, 20 + n)], &[passed(n, 10)]);
    }
    assert_eq!(w.pairs(), 10);
    assert_eq!((w.after(Some(round(20))).count(), w.after(Some(round(20))).first(2).count()), (4, 2));
    assert_eq!(w.after(Some(round(3))).count(), 10, "a round long gone: all are newer");
    assert_eq!((w.after(w.newest()).count(), w.after(None).count()), (0, 10));
    let eight_days = 8 * 24 * 3_600_000;
    w.take(round(99), &[passed(eight_days, 20)], &[passed(eight_days, 10)]);
    assert_eq!(w.pairs(), 1);
}

#[test]
fn lost_rounds_do_not_pile_up() {
    let mut w = Window::warmed_up(CellRules { pairs_max: 10, ..CellRules::default() });
    for n in 0..100 {
        w.take(round(n), &[visit(0, Answer::Unusable)], &[passed(0, 9)]);
    }
    assert_eq!(w.entries.len(), 20);
}

#[test]
fn a_clock_that_steps_back_loses_nothing() {
    let mut w = window();
    w.take(round(1), &[passed(9_000_000, 20)], &[passed(9_000_000, 10)]);
    w.take(round(2), &[passed(0, 20)], &[passed(0, 10)]);
    assert_eq!((w.pairs(), w.after(Some(round(1))).count()), (2, 1));
}

#[test]
fn a_time_of_zero_is_still_a_number() {
    let mut w = window();
    w.take(round(1), &[visit(0, Answer::Passed(Duration::ZERO))], &[passed(0, 1)]);
    assert!(w.all().differences().as_slice()[0] < -13.0);
}
