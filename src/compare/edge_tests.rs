//! What a comparison does where the fleet, the clock or the answers are not as one would wish.

use super::tests::{START, at, fleet, member, of, round};
use super::*;
use crate::model::{Flavour, Version};
use crate::verdict::CellRules;

/// A ladder of these after so many rounds in which all are alike, but for what `change` makes of them.
fn after(members: &[Member], rounds: u64, change: impl Fn(u64, &mut Seen)) -> Ladder {
    let mut ladder = fresh(members);
    for n in 0..rounds {
        let mut seen = round(members, n, |_, _| 1.0);
        change(n, &mut seen);
        ladder.take(&seen, None, at(n));
    }
    ladder
}

fn fresh(members: &[Member]) -> Ladder {
    Ladder::new("cachet", Settings::default(), members.to_vec(), Vec::new(), START)
}

/// What a deployment answers to the request `incidents`.
fn answer(seen: &mut Seen, deployment: &str, change: impl Fn(Answer) -> Answer) {
    let own = seen.visits.iter_mut().filter(|v| v.build.starts_with(&format!("{deployment}|")));
    own.filter(|v| v.request == "incidents").for_each(|v| v.visit.answer = change(v.visit.answer));
}

fn slower(by: f64) -> impl Fn(Answer) -> Answer {
    move |answer| match answer {
        Answer::Passed(time) => Answer::Passed(time.mul_f64(by)),
        other => other,
    }
}

fn mysql(name: &str, version: &str) -> Member {
    member(name, version, Flavour::Mysql, &["components", "incidents"])
}

/// Two versions on MySQL.
fn pair() -> [Member; 2] {
    [mysql("old", "2.4.1"), mysql("new", "3.0.0")]
}

/// (verdict, measure, rule) of `incidents` on `new`.
fn verdict(ladder: &mut Ladder) -> (Verdict, Measure, Rule) {
    let standings = ladder.standings(at(1_000));
    let found = of(&standings, "new", "incidents");
    (found.verdict, found.measure, found.rule)
}

fn against(members: &[Member], name: &str) -> Option<String> {
    let member = members.iter().find(|m| m.name == name).unwrap();
    predecessor(member, members).map(|m| m.name.clone())
}

#[test]
fn without_a_previous_version_there_is_no_baseline_and_nothing_is_asked_for() {
    let mut alone = after(&[mysql("new", "3.0.0")], 70, |_, _| {});
    assert_eq!(verdict(&mut alone), (Verdict::NoBaseline, Measure::Latency, Rule::NoBaseline));
    assert!(alone.wanted().is_empty());
}

#[test]
fn a_request_that_the_previous_version_lacks_has_no_baseline_and_the_others_have() {
    let members = [member("old", "2.4.1", Flavour::Mysql, &["components"]), mysql("new", "3.0.0")];
    let mut ladder = after(&members, 130, |_, _| {});
    let standings = ladder.standings(at(130));
    let lacking = of(&standings, "new", "incidents");
    assert_eq!((lacking.verdict, &lacking.against), (Verdict::NoBaseline, &None));
    let asked = of(&standings, "new", "components");
    assert_eq!(asked.verdict, Verdict::Unchanged);
    assert_eq!(asked.cells, 1, "what cannot be compared costs the others nothing");
}

#[test]
fn when_the_previous_version_retires_the_next_one_below_stands_for_it_afresh() {
    let members = [mysql("oldest", "2.3.18"), mysql("old", "2.4.1"), mysql("new", "3.0.0")];
    let slow = |_, seen: &mut Seen| answer(seen, "new", slower(1.3));
    let mut ladder = after(&members, 70, slow);
    assert_eq!(verdict(&mut ladder).0, Verdict::Regressed);
    let left = [members[0].clone(), members[2].clone()];
    let mut next = Ladder::new("cachet", Settings::default(), left.to_vec(), ladder.save(), at(70));
    assert_eq!(verdict(&mut next).0, Verdict::Insufficient, "nothing of the retired one is blamed on");
    let mut seen = round(&left, 70, |_, _| 1.0);
    slow(70, &mut seen);
    next.take(&seen, None, at(70));
    let standings = next.standings(at(70));
    assert_eq!(of(&standings, "new", "incidents").against.as_ref().unwrap().deployment, "oldest");

    let alone = [members[2].clone()];
    let mut none = Ladder::new("cachet", Settings::default(), alone.to_vec(), next.save(), at(71));
    assert_eq!(verdict(&mut none).0, Verdict::NoBaseline);
}

#[test]
fn a_flavour_is_compared_with_the_greatest_lower_version_on_the_same_flavour() {
    let on = |name: &str, version: &str, db| member(name, version, db, &["components"]);
    let members = [
        on("2.3-pg", "2.3.18", Flavour::Postgresql),
        on("2.3-mysql", "2.3.18", Flavour::Mysql),
        on("2.4-mysql", "2.4.1", Flavour::Mysql),
        on("2.4-sqlite", "2.4.1", Flavour::Sqlite),
        on("3-mysql", "3.0.0", Flavour::Mysql),
        on("3-pg", "3.0.0", Flavour::Postgresql),
        on("3-maria", "3.0.0", Flavour::Mariadb),
    ];
    let against = |name| against(&members, name);
    assert_eq!(against("3-mysql").as_deref(), Some("2.4-mysql"));
    assert_eq!(against("3-pg").as_deref(), Some("2.3-pg"), "2.4 has none");
    assert_eq!(against("3-maria"), None, "MySQL is another flavour");
    assert_eq!(against("2.4-sqlite"), None);
}

#[test]
fn after_a_rollback_the_higher_version_is_still_judged_against_the_lower_and_it_is_said() {
    let mut members = pair();
    members[0].since = at(3);
    let mut ladder = after(&members, 70, |_, seen| answer(seen, "new", slower(1.3)));
    let standings = ladder.standings(at(70));
    let new = of(&standings, "new", "incidents");
    assert_eq!((new.verdict, new.version.as_str(), new.rolled_back), (Verdict::Regressed, "3.0.0", true));
    assert!(!of(&standings, "old", "incidents").rolled_back, "it is not known to have been another");

    let mut back = mysql("new", "2.4.2");
    back.rolled_back = true;
    let standings = after(&[members[0].clone(), back], 1, |_, _| {}).standings(at(1));
    assert!(of(&standings, "new", "incidents").rolled_back);
    let mut usual = pair();
    usual[1].since = at(3);
    assert!(!of(&after(&usual, 1, |_, _| {}).standings(at(1)), "new", "incidents").rolled_back);
}

#[test]
fn a_new_build_of_the_earlier_version_starts_the_comparison_afresh_too() {
    let mut members = pair();
    let mut ladder = after(&members, 70, |_, seen| answer(seen, "new", slower(1.3)));
    assert_eq!(verdict(&mut ladder).0, Verdict::Regressed);
    members[0].build.push_str("sha256:2");
    members[0].since = at(70);
    let mut next = Ladder::new("cachet", Settings::default(), members.to_vec(), ladder.save(), at(70));
    assert_eq!(verdict(&mut next), (Verdict::Insufficient, Measure::Latency, Rule::TooFewPairs));
    assert_eq!(next.wanted()["new"], 60);
}

#[test]
fn versions_that_are_no_semantic_ones_stand_where_they_are_put() {
    let mut members = [mysql("old", "2.4.1"), mysql("new", "3.0.0"), mysql("branch", "0.0.0")];
    members[2].version = Version::named("3.x", &Version::parse("3.0.0-dev.202608221030").unwrap());
    assert_eq!(against(&members, "branch").as_deref(), Some("old"));
    assert_eq!(against(&members, "new").as_deref(), Some("branch"));
    let standings = after(&members, 1, |_, _| {}).standings(at(1));
    assert_eq!(of(&standings, "branch", "incidents").version, "3.x");
}

#[test]
fn pre_releases_come_before_their_release_and_branches_at_one_place_not_before_each_other() {
    let pre = ["3.0.0-dev.202608221030", "3.0.0-rc.1", "3.0.0", "v3.0.1"];
    let members: Vec<Member> = pre.iter().map(|v| mysql(v, v)).collect();
    assert_eq!(against(&members, pre[0]), None);
    for pair in pre.windows(2) {
        assert_eq!(against(&members, pair[1]).as_deref(), Some(pair[0]));
    }
    let place = Version::parse("3.0.0-dev.202608221030").unwrap();
    let mut branches = [mysql("a", "2.4.1"), mysql("b", "0.0.0"), mysql("c", "0.0.0")];
    branches[1].version = Version::named("feature", &place);
    branches[2].version = Version::named("main", &place);
    assert_eq!(["b", "c"].map(|name| against(&branches, name)), [Some("a".to_owned()), Some("a".to_owned())]);
    let builds = [mysql("a", "2.4.1+first"), mysql("b", "2.4.1+second")];
    assert_eq!(against(&builds, "b"), None, "build metadata is no order");
}

/// The rounds of a clock that is moved after the 20th.
fn with_a_step(mut moved: impl FnMut(Timestamp) -> Timestamp) -> Ladder {
    let members = pair();
    let mut ladder = fresh(&members);
    for n in 0..70 {
        let mut seen = round(&members, n, |_, _| 1.0);
        answer(&mut seen, "new", slower(1.3));
        if n > 20 {
            seen.scheduled = moved(seen.scheduled);
            seen.visits.iter_mut().for_each(|v| v.visit.started = moved(v.visit.started));
        }
        let now = seen.scheduled;
        ladder.take(&seen, None, now);
    }
    ladder
}

#[test]
fn rounds_are_judged_also_when_the_clock_was_set_back_or_forward() {
    for days in [1, 365] {
        let step = Duration::from_hours(24 * days);
        assert_eq!(verdict(&mut with_a_step(|at| at.minus(step))).0, Verdict::Regressed, "back {days} d");
    }
    assert_eq!(verdict(&mut with_a_step(|at| at.plus(Duration::from_hours(1)))).0, Verdict::Regressed);
    // What is a week old by the new clock has left the window, and is judged no more.
    let mut far = with_a_step(|at| at.plus(Duration::from_hours(24 * 8)));
    let standings = far.standings(at(70));
    assert_eq!(of(&standings, "new", "incidents").latency.unwrap().assessment.pairs, 49);
}

#[test]
fn after_a_clock_was_set_back_a_restart_neither_repeats_nor_stops_judging() {
    let members = pair();
    let mut rounds: Vec<Seen> = (0..130).map(|n| round(&members, n, |_, _| 1.0)).collect();
    for seen in &mut rounds[20..] {
        seen.scheduled = seen.scheduled.minus(Duration::from_secs(300));
        answer(seen, "new", slower(1.3));
    }
    let mut ladder = fresh(&members);
    rounds[..50].iter().for_each(|seen| drop(ladder.take(seen, None, seen.scheduled)));
    let mut again =
        Ladder::new("cachet", Settings::default(), members.to_vec(), ladder.save(), rounds[50].scheduled);
    let mut stored = rounds[..50].to_vec();
    stored.sort_by_key(|seen| seen.scheduled);
    assert!(stored.iter().all(|seen| again.replay(seen).is_empty()));
    let told: Vec<_> =
        rounds[50..].iter().flat_map(|seen| again.take(seen, None, seen.scheduled).0).collect();
    assert!(told.iter().any(|c| c.standing.verdict == Verdict::Regressed), "{told:?}");
}

#[test]
fn a_clock_that_steps_within_a_round_loses_its_pair_and_no_more() {
    let mut ladder = after(&pair(), 130, |n, seen| {
        if n == 50 {
            let late = seen.visits.iter_mut().filter(|v| v.build.starts_with("new|"));
            late.for_each(|v| v.visit.started = v.visit.started.minus(Duration::from_secs(3_600)));
        }
    });
    let standings = ladder.standings(at(130));
    let found = of(&standings, "new", "incidents");
    assert_eq!((found.verdict, found.lost.apart), (Verdict::Unchanged, 1));
    assert_eq!(found.latency.unwrap().assessment.pairs, 126, "130 less three of warm-up and this one");
}

#[test]
fn a_round_that_was_read_from_the_store_and_waits_in_a_queue_counts_once() {
    let members = pair();
    let mut ladder = fresh(&members);
    let rounds: Vec<Seen> = (0..40).map(|n| round(&members, n, |_, _| 1.0)).collect();
    rounds.iter().for_each(|seen| drop(ladder.replay(seen)));
    let saved = ladder.save();
    rounds[30..].iter().for_each(|seen| drop(ladder.take(seen, None, at(40))));
    assert_eq!(ladder.save(), saved);
    let standings = ladder.standings(at(40));
    assert_eq!(of(&standings, "new", "incidents").latency.unwrap().assessment.pairs, 37);
}

#[test]
fn the_rounds_of_warm_up_are_told_apart_and_blame_nobody() {
    let mut ladder = after(&pair(), 130, |n, seen| {
        if n < 3 {
            answer(seen, "new", slower(4.0));
        }
    });
    let standings = ladder.standings(at(130));
    let found = of(&standings, "new", "incidents");
    assert_eq!(found.verdict, Verdict::Unchanged);
    assert!((found.warm_up_ratio.unwrap() - 4.0).abs() < 0.6, "{:?}", found.warm_up_ratio);
    assert!((found.latency.unwrap().assessment.ratio.unwrap().value - 1.0).abs() < 0.02);
}

#[test]
fn rate_limits_are_no_failures_and_too_many_make_it_invalid() {
    let limited = |every: u64| {
        move |n: u64, seen: &mut Seen| {
            if n.is_multiple_of(every) {
                answer(seen, "new", |_| Answer::Unusable);
            }
        }
    };
    let mut few = after(&pair(), 200, limited(6));
    let standings = few.standings(at(200));
    let found = of(&standings, "new", "incidents");
    assert_eq!(found.verdict, Verdict::Unchanged);
    assert_eq!(found.errors.unwrap().assessment.pass_fail.failures(), (0, 0));
    assert_eq!(found.lost.unusable, 34);
    let mut many = after(&pair(), 200, limited(4));
    assert_eq!(verdict(&mut many), (Verdict::Invalid, Measure::Latency, Rule::Disturbed));
}

#[test]
fn a_request_that_always_fails_regresses_by_errors_unless_it_always_did() {
    let mut broken = after(&pair(), 70, |_, seen| answer(seen, "new", |_| Answer::Failed));
    assert_eq!(verdict(&mut broken), (Verdict::Regressed, Measure::Errors, Rule::Confirmed));
    let standings = broken.standings(at(70));
    let latency = of(&standings, "new", "incidents").latency.unwrap();
    assert_eq!(latency.assessment.seconds, None, "no milliseconds of what never answered");
    let mut ever = after(&pair(), 130, |_, seen| {
        answer(seen, "new", |_| Answer::Failed);
        answer(seen, "old", |_| Answer::Failed);
    });
    let found = verdict(&mut ever);
    assert_eq!((found.0, found.1), (Verdict::Unchanged, Measure::Errors));
    let mut mended = after(&pair(), 70, |_, seen| answer(seen, "old", |_| Answer::Failed));
    assert_eq!(verdict(&mut mended).0, Verdict::Improved);
}

/// Whether the n-th round is one of so many in a hundred, in no order.
fn one_of(n: u64, percent: u64) -> bool {
    RoundId::new("test", "fails", at(n)).hash_of(&[]) % 100 < percent
}

#[test]
fn more_failures_at_equal_times_regress_by_errors_alone() {
    let mut ladder = after(&pair(), 250, |n, seen| {
        if one_of(n, 9) {
            answer(seen, "new", |_| Answer::Failed);
        }
    });
    assert_eq!(verdict(&mut ladder), (Verdict::Regressed, Measure::Errors, Rule::Confirmed));
    let standings = ladder.standings(at(250));
    let found = of(&standings, "new", "incidents");
    let (latency, errors) = (found.latency.unwrap(), found.errors.unwrap());
    assert!(!matches!(latency.verdict, Verdict::Regressed | Verdict::Improved), "{latency:?}");
    assert!(errors.assessment.failure_rise.unwrap().value > 0.05);
    assert_eq!(of(&standings, "new", "components").verdict, Verdict::Unchanged);
}

#[test]
fn a_timeout_counts_as_the_time_it_took_and_what_was_not_asked_after_it_is_missing() {
    // The last request of a round is not asked after a timeout of one before.
    let mut ladder = after(&pair(), 250, |n, seen| {
        if one_of(n, 4) {
            seen.visits.retain(|v| !v.build.starts_with("new|") || v.request == "incidents");
            answer(seen, "new", |_| Answer::Failed);
        }
    });
    let standings = ladder.standings(at(250));
    let timed_out = of(&standings, "new", "incidents");
    let assessment = timed_out.latency.unwrap().assessment;
    assert!(assessment.pass_fail.only_later_failed > 3 && assessment.seconds.is_some());
    assert_eq!(assessment.pairs as u64, assessment.pass_fail.pairs());
    let unasked = of(&standings, "new", "components");
    assert_eq!((unasked.verdict, unasked.lost.unusable), (Verdict::Unchanged, 0));
    assert!(unasked.lost.missing >= assessment.pass_fail.only_later_failed);
    assert_eq!(unasked.errors.unwrap().assessment.pass_fail.failures(), (0, 0));
}

#[test]
fn identical_times_are_judged_like_any_others() {
    let fixed = |later: u64| {
        move |_, seen: &mut Seen| {
            answer(seen, "new", |_| Answer::Passed(Duration::from_millis(later)));
            answer(seen, "old", |_| Answer::Passed(Duration::from_millis(40)));
        }
    };
    assert_eq!(verdict(&mut after(&pair(), 70, fixed(40))).0, Verdict::Unchanged);
    assert_eq!(verdict(&mut after(&pair(), 70, fixed(44))).0, Verdict::Regressed);
    assert_eq!(verdict(&mut after(&pair(), 70, fixed(36))).0, Verdict::Improved);
    assert_eq!(verdict(&mut after(&pair(), 70, fixed(41))).0, Verdict::Unchanged, "below the floors");
}

#[test]
fn two_deployments_of_one_version_and_flavour_are_judged_each_on_its_own() {
    let members =
        [mysql("old-b", "2.4.1"), mysql("old-a", "2.4.1"), mysql("new", "3.0.0"), { mysql("twin", "3.0.0") }];
    let mut ladder = after(&members, 70, |_, seen| answer(seen, "twin", slower(1.3)));
    let standings = ladder.standings(at(70));
    let (new, twin) = (of(&standings, "new", "incidents"), of(&standings, "twin", "incidents"));
    assert_eq!(twin.verdict, Verdict::Regressed);
    assert_ne!(new.verdict, Verdict::Regressed);
    for found in [new, twin] {
        assert_eq!(found.against.as_ref().unwrap().deployment, "old-a", "the first by name");
        assert_eq!((found.cells, found.across.to_fastest), (4, None), "no other flavour to hold it against");
    }
    assert_eq!(of(&standings, "old-b", "incidents").verdict, Verdict::NoBaseline);
}

#[test]
fn staging_is_not_compared_with_production() {
    let mut members = fleet();
    for name in ["staged-old", "staged-new"] {
        let version = if name == "staged-old" { "2.4.1" } else { "3.1.0" };
        let mut staged = mysql(name, version);
        staged.environment = "staging".to_owned();
        staged.build = format!("{name}|{version}|mysql|staging|");
        members.push(staged);
    }
    assert_eq!(against(&members, "staged-new").as_deref(), Some("staged-old"));
    assert_eq!(against(&members, "new-mysql").as_deref(), Some("old-mysql"));
    let mut ladder = after(&members, 70, |_, seen| answer(seen, "staged-new", slower(1.3)));
    let standings = ladder.standings(at(70));
    assert_eq!(of(&standings, "staged-new", "incidents").verdict, Verdict::Regressed);
    assert_eq!(of(&standings, "staged-new", "incidents").cells, 2);
    assert_ne!(of(&standings, "new-mysql", "incidents").verdict, Verdict::Regressed);
    assert_eq!(against(&members[4..], "staged-old"), None);
}

#[test]
fn floors_are_those_of_the_request() {
    let mut members = pair();
    for member in &mut members {
        let wide = CellRules {
            floors: crate::model::Floors { ratio: 0.5, ..Default::default() },
            ..CellRules::default()
        };
        member.requests[1].1 = wide;
    }
    let mut ladder = after(&members, 70, |_, seen| answer(seen, "new", slower(1.3)));
    assert_eq!(verdict(&mut ladder).0, Verdict::Unchanged);
}
