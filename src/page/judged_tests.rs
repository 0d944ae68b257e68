//! The third and the fourth question, by made-up verdicts.

use super::*;
use crate::compare::{Across, Standing};
use crate::model::Flavour::{Mysql, Sqlite};
use crate::page::deltas::tests::{factor, failing, on, standing, tables};
use crate::verdict::Tally as Own;

const NOW: Time = Time(crate::clock::Timestamp(300_000_000_000));

fn told(standings: &[Standing]) -> (String, String) {
    let question = slower(&tables(standings), NOW).unwrap();
    (question.answer, question.note)
}

#[test]
fn one_regression_is_named_with_its_size_and_certainty() {
    let here = Standing {
        across: Across { interaction: factor(1.06, 1.11, 1.16), ..Across::default() },
        ..standing("incidents", Verdict::Regressed)
    };
    let standings = [here, on(Sqlite, standing("incidents", Verdict::Unchanged))];
    let (answer, note) = told(&standings);
    assert_eq!(answer, "incidents is 12 % slower on mysql");
    assert_eq!(
        note,
        "+9 to +15 %, +1.9 ms, 60 pairs against 2.4.1, confirmed 5 min ago. Only on mysql. 1 of 2 cells unchanged."
    );
    let question = slower(&tables(&standings), NOW).unwrap();
    assert!(question.attention && question.answered);
    assert_eq!(question.evidence.unwrap(), "/deployments/c3-mysql/compare/incidents?suite=cachet");
}

#[test]
fn failures_come_first_and_others_are_named() {
    let standings = [
        standing("incidents", Verdict::Regressed),
        failing("status"),
        on(Sqlite, standing("incidents", Verdict::Regressed)),
        standing("ping", Verdict::Regressed),
    ];
    let (answer, note) = told(&standings);
    assert_eq!(answer, "status fails more often on mysql");
    assert_eq!(
        note,
        "+8 points of its requests (+3 to +14), 60 pairs against 2.4.1, confirmed 5 min ago. Also incidents on \
         sqlite (+12 %), incidents on mysql (+12 %) and 1 more. 0 of 4 cells unchanged."
    );
}

#[test]
fn no_regression_says_how_much_is_known() {
    let confirming = Standing { rule: Rule::Confirming, ..standing("c", Verdict::Inconclusive) };
    let standings = [
        standing("a", Verdict::Unchanged),
        standing("b", Verdict::Improved),
        confirming,
        standing("d", Verdict::Insufficient),
        standing("e", Verdict::Invalid),
        standing("f", Verdict::NoBaseline),
    ];
    let (answer, note) = told(&standings);
    assert_eq!(answer, "no regression confirmed");
    assert_eq!(
        note,
        "1 of 5 cells unchanged, 2 not decided yet (1 being confirmed), about 12 rounds to go, 1 not measurable \
         (this host was short of memory or IO). Improved: b on mysql (−9 %)."
    );
    let (answer, note) = told(&[standing("a", Verdict::Insufficient)]);
    assert_eq!(answer, "nothing is decided yet");
    assert_eq!(note, "0 of 1 cell unchanged, 1 not decided yet, about 12 rounds to go.");
    let (_, note) = told(&[standing("a", Verdict::Inconclusive)]);
    assert_eq!(note, "0 of 1 cell unchanged, 1 not decided yet, looked at again within 40 rounds.");
    assert_eq!(slower(&tables(&[standing("a", Verdict::NoBaseline)]), NOW), None);
    assert_eq!(slower(&[], NOW), None);
}

#[test]
fn a_slow_database_is_told_by_a_factor_with_its_interval() {
    let across = |db, to_fastest, to_control| Standing {
        across: Across { to_fastest, fastest: Some(Sqlite), to_control, interaction: None },
        ..on(db, standing("incidents", Verdict::Unchanged))
    };
    let tables = tables(&[
        across(Sqlite, factor(1.0, 1.0, 1.0), None),
        across(Mysql, factor(1.51, 1.58, 1.66), factor(3.8, 4.0, 4.2)),
    ]);
    let question = slow_database(&largest_factor(&tables).unwrap(), &tables).unwrap();
    assert_eq!(question.answer, "incidents on mysql");
    assert_eq!(
        question.note,
        "1.6× the fastest, sqlite (1.51 to 1.66×, 70 rounds). 75 % of its time there (74 to 76 %) is above the \
         control request's."
    );
    let small = [across(Mysql, factor(0.98, 1.02, 1.06), None)];
    let tables = super::super::deltas::tests::tables(&small);
    let question = slow_database(&largest_factor(&tables).unwrap(), &tables).unwrap();
    assert_eq!(question.answer, "none stands out");
    assert_eq!(question.note, "The largest factor is 1.02× (0.98 to 1.06×, 70 rounds): incidents on mysql.");
}

#[test]
fn false_verdicts_are_never_told_as_a_bare_ratio() {
    let told = |comparisons, false_verdicts| own_words(&Own { comparisons, false_verdicts }.into());
    let alarming = |comparisons, false_verdicts| {
        crate::page::OwnComparisons::from(Own { comparisons, false_verdicts }).is_alarming()
    };
    assert!(!alarming(0, 0) && !alarming(40, 1) && alarming(40, 8));
    assert_eq!(
        told(0, 0),
        "no comparison of a version with itself is over yet; each takes 240 pairs of rounds"
    );
    assert_eq!(
        told(12, 0),
        "0 of 12 comparisons of a version with itself found a difference; the truth lies below 24 % (95 %)"
    );
    assert_eq!(
        told(40, 1),
        "1 of 40 comparisons of a version with itself found a difference; the truth lies between 0.4 % and 13 % (95 %)"
    );
}
