//! Verdicts in words, and tables of them. The made-up standings serve other tests as well.

use super::*;
use crate::clock::Timestamp;
use crate::compare::{Across, Against, Standing};
use crate::verdict::{Assessment, Disturbance, Factor, Interval, Judgement, Lost, PassFail};

fn interval(low: f64, value: f64, high: f64) -> Option<Interval> {
    Some(Interval { low, value, high })
}

fn judgement(measure: Measure, verdict: Verdict) -> Judgement {
    let rule = match verdict {
        Verdict::Improved | Verdict::Regressed => Rule::Confirmed,
        Verdict::Unchanged => Rule::InsideRatioFloor,
        Verdict::Inconclusive => Rule::Undecided,
        Verdict::Insufficient => Rule::TooFewPairs,
        Verdict::NoBaseline => Rule::NoBaseline,
        Verdict::Invalid => Rule::Disturbed,
    };
    let (ratio, seconds) = match verdict {
        Verdict::Regressed => (interval(1.09, 1.12, 1.15), interval(0.0014, 0.0019, 0.0024)),
        Verdict::Improved => (interval(0.87, 0.91, 0.95), interval(-0.0018, -0.0011, -0.0006)),
        Verdict::Unchanged => (interval(0.97, 1.01, 1.04), interval(-0.0004, 0.0001, 0.0005)),
        _ => (interval(0.99, 1.06, 1.13), interval(-0.0001, 0.0006, 0.0013)),
    };
    let errors = measure == Measure::Errors;
    Judgement {
        verdict,
        rule,
        disturbance: (verdict == Verdict::Invalid).then_some(Disturbance::HostPressure),
        rounds_needed: match verdict {
            Verdict::Insufficient => 12,
            Verdict::Inconclusive => 40,
            _ => 0,
        },
        assessment: Assessment {
            pairs: if verdict == Verdict::Insufficient { 8 } else { 60 },
            effective_pairs: 55.0,
            rho: 0.04,
            ratio: ratio.filter(|_| !errors),
            ratio90: ratio.filter(|_| !errors),
            seconds: seconds.filter(|_| !errors),
            seconds90: seconds.filter(|_| !errors),
            failure_rise: interval(0.03, 0.08, 0.14).filter(|_| errors),
            failure_rise90: interval(0.04, 0.08, 0.13).filter(|_| errors),
            pass_fail: PassFail { both_passed: 58, only_later_failed: 2, ..PassFail::default() },
            p: 0.000_03,
            z: 4.2,
        },
    }
}

/// On MySQL, against 2.4.1.
pub fn standing(request: &str, verdict: Verdict) -> Standing {
    let latency = judgement(Measure::Latency, verdict);
    let judged = verdict != Verdict::NoBaseline;
    Standing {
        suite: "cachet".into(),
        request: request.into(),
        deployment: "c3-mysql".into(),
        version: "3.0.0".into(),
        db: Flavour::Mysql,
        environment: "staging".into(),
        against: judged.then(|| Against { deployment: "c2-mysql".into(), version: "2.4.1".into() }),
        verdict,
        measure: Measure::Latency,
        rule: latency.rule,
        since: Timestamp(0),
        latency: judged.then_some(latency),
        errors: judged.then(|| judgement(Measure::Errors, Verdict::Unchanged)),
        cells: 48,
        floor_ratio: 0.05,
        floor_seconds: 0.001,
        pair_gap_seconds: 5.0,
        warm_up_ratio: judged.then_some(1.4),
        lost: Lost::default(),
        across: Across::default(),
        rolled_back: false,
    }
}

pub fn failing(request: &str) -> Standing {
    let errors = judgement(Measure::Errors, Verdict::Regressed);
    Standing {
        measure: Measure::Errors,
        errors: Some(errors),
        rule: errors.rule,
        verdict: Verdict::Regressed,
        ..standing(request, Verdict::Unchanged)
    }
}

pub fn on(db: Flavour, standing: Standing) -> Standing {
    Standing { db, deployment: format!("c3-{db}"), ..standing }
}

pub fn factor(low: f64, value: f64, high: f64) -> Option<Factor> {
    Some(Factor { ratio: Interval { low, value, high }, p: 0.001, rounds: 70 })
}

pub fn tables(standings: &[Standing]) -> Vec<DeltaTable> {
    DeltaTable::all(&[("staging".into(), "3.0.0".into())], standings)
}

#[test]
fn every_verdict_has_its_symbol_its_word_and_what_it_rests_on() {
    let mut told: Vec<String> = Verdict::ALL
        .into_iter()
        .map(|verdict| standing("a", verdict))
        .chain([failing("a")])
        .map(|standing| {
            let delta = Delta::of(&standing);
            let change = delta.change().unwrap_or_default();
            format!("{} {} | {change} | {}", delta.symbol(), delta.label(), delta.detail())
        })
        .collect();
    let confirming = Standing { rule: Rule::Confirming, ..standing("a", Verdict::Inconclusive) };
    told.push(Delta::of(&confirming).label().to_owned());
    let expected = [
        "▼ improved | −9 % | −13 to −5 %, −1.1 ms, 60 pairs",
        "= unchanged | +1 % | −3 to +4 %, +0.10 ms, 60 pairs",
        "▲ regressed | +12 % | +9 to +15 %, +1.9 ms, 60 pairs",
        "? inconclusive | +6 % | −1 to +13 %, +0.60 ms, 60 pairs",
        "… insufficient |  | 12 rounds missing, 8 pairs so far",
        "– no baseline |  | ",
        "! invalid |  | this host was short of memory or IO, 60 pairs",
        "▲ regressed (errors) | +8 points | failures +3 to +14 points, 60 pairs",
        "inconclusive (confirming)",
    ];
    assert_eq!(told, expected);
}

#[test]
fn what_regressed_comes_first_and_the_rest_keeps_the_order_of_its_suite() {
    let standings = [
        standing("ping", Verdict::Unchanged),
        standing("components", Verdict::Inconclusive),
        on(Flavour::Sqlite, standing("incidents", Verdict::Regressed)),
        standing("incidents", Verdict::Unchanged),
        Standing { version: "2.4.1".into(), ..standing("old", Verdict::Regressed) },
    ];
    let tables = tables(&standings);
    let table = &tables[0];
    let names: Vec<&str> = table.rows.iter().map(|row| row.request.as_str()).collect();
    assert_eq!(names, ["incidents", "ping", "components"]);
    assert_eq!(table.columns.iter().map(|c| c.db).collect::<Vec<_>>(), [Flavour::Sqlite, Flavour::Mysql]);
    assert!(table.rows[1].cells[0].is_none(), "ping is not asked on SQLite");
    assert_eq!(table.against, ["2.4.1"]);
    assert_eq!((table.tally.judged(), table.tally.undecided()), (Count(4), Count(1)));
    let parts: Vec<String> = table.tally.parts().into_iter().map(|(_, s, w)| format!("{s} {w}")).collect();
    assert_eq!(parts, ["▲ 1 regressed", "? 1 inconclusive", "= 2 unchanged"]);
}

#[test]
fn a_cell_shows_the_worst_of_its_deployments() {
    let twin = |verdict, name: &str| Standing { deployment: name.into(), ..standing("a", verdict) };
    let standings =
        [twin(Verdict::Unchanged, "one"), twin(Verdict::Regressed, "two"), twin(Verdict::Regressed, "three")];
    let tables = tables(&standings);
    let delta = tables[0].rows[0].cells[0].as_ref().unwrap();
    assert_eq!((delta.deployment.as_str(), delta.deployments), ("two", Count(3)));
    assert_eq!(delta.path(), "/deployments/two/compare/a?suite=cachet");
    assert_eq!(path("a/b", "<x>?&", "s"), "/deployments/a%2Fb/compare/%3Cx%3E%3F%26?suite=s");
}

#[test]
fn a_deployment_is_as_bad_as_its_worst_request() {
    let told = |verdicts: &[Verdict]| {
        let standings: Vec<Standing> = verdicts.iter().map(|v| standing("a", *v)).collect();
        let worst = Worst::by_deployment(&standings).remove("c3-mysql").unwrap();
        format!("{} {}", worst.symbol(), worst.words())
    };
    use Verdict::{Improved, Inconclusive, Insufficient, NoBaseline, Regressed, Unchanged};
    assert_eq!(told(&[Unchanged, Regressed, Inconclusive]), "▲ 1 of 3 regressed");
    assert_eq!(told(&[Unchanged, Inconclusive, Inconclusive]), "? 2 of 3 inconclusive");
    assert_eq!(told(&[Unchanged, Improved]), "▼ 1 of 2 improved");
    assert_eq!(told(&[Unchanged, Unchanged]), "= all 2 unchanged");
    assert_eq!(told(&[Insufficient, Insufficient]), "… all 2 insufficient");
    assert_eq!(told(&[NoBaseline, NoBaseline]), "– no baseline");
    assert_eq!(told(&[NoBaseline, Unchanged]), "= 1 of 2 unchanged");
}
