//! The ladder: what is found, what goes on over a restart, what starts afresh.

use super::*;
use crate::compare::Visited;
use crate::model::{Flavour, Version};
use crate::verdict::CellRules;

pub(super) const START: Timestamp = Timestamp(1_790_000_000_000_000_000);

pub(super) fn member(name: &str, version: &str, db: Flavour, requests: &[&str]) -> Member {
    Member {
        build: format!("{name}|{version}|{db}|production|"),
        name: name.to_owned(),
        version: Version::parse(version).unwrap(),
        db,
        environment: "production".to_owned(),
        since: START,
        requests: requests.iter().map(|r| ((*r).to_owned(), CellRules::default())).collect(),
        control: None,
        rolled_back: false,
    }
}

pub(super) fn at(n: u64) -> Timestamp {
    START.plus(Duration::from_secs(30 * (n + 1)))
}

/// The `n`-th round over all members; `factor` of each request on each member.
pub(super) fn round(members: &[Member], n: u64, factor: impl Fn(&Member, &str) -> f64) -> Seen {
    let round = RoundId::new("test", "cachet", at(n));
    let mut visits = Vec::new();
    for member in members {
        for (request, _) in &member.requests {
            let noise = round.hash_of(&[&member.build, request]) % 2_001;
            let seconds = 0.02 * (0.95 + noise as f64 / 20_000.0) * factor(member, request);
            let visit = Visit { started: at(n), answer: Answer::Passed(Duration::from_secs_f64(seconds)) };
            visits.push(Visited { build: member.build.clone(), request: request.clone(), visit });
        }
    }
    Seen { round, scheduled: at(n), visits }
}

pub(super) fn fleet() -> Vec<Member> {
    let requests = ["components", "incidents"];
    let mut members = Vec::new();
    for (version, generation) in [("2.4.1", "old"), ("3.0.0", "new")] {
        for db in [Flavour::Mysql, Flavour::Sqlite] {
            members.push(member(&format!("{generation}-{db}"), version, db, &requests));
        }
    }
    members
}

fn slow_on_mysql(member: &Member, request: &str) -> f64 {
    let slow = member.name == "new-mysql" && request == "incidents";
    if slow { 1.25 } else { 1.0 }
}

pub(super) fn of<'a>(standings: &'a [Standing], deployment: &str, request: &str) -> &'a Standing {
    standings.iter().find(|s| s.deployment == deployment && s.request == request).unwrap()
}

#[test]
fn a_regression_on_one_database_is_found_there_and_nowhere_else() {
    let members = fleet();
    let mut ladder = Ladder::new("cachet", Settings::default(), members.clone(), Vec::new(), START);
    let mut changes = Vec::new();
    for n in 0..70 {
        changes.extend(ladder.take(&round(&members, n, slow_on_mysql), None, at(n)).0);
    }
    let standings = ladder.standings(at(70));
    assert_eq!(standings.len(), 8);
    let slow = of(&standings, "new-mysql", "incidents");
    assert_eq!(
        (slow.verdict, slow.measure, slow.rule),
        (Verdict::Regressed, Measure::Latency, Rule::Confirmed)
    );
    assert_eq!(slow.against.as_ref().unwrap().deployment, "old-mysql");
    let ratio = slow.latency.unwrap().assessment.ratio.unwrap();
    assert!((ratio.value - 1.25).abs() < 0.02 && ratio.low > 1.2, "{ratio:?}");
    assert!(slow.across.interaction.unwrap().ratio.low > 1.15);
    // Warm-up takes three rounds, the first confirmation 60 pairs.
    assert_eq!(slow.since, at(62));
    let told: Vec<_> = changes.iter().filter(|c| c.standing.verdict == Verdict::Regressed).collect();
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].at, told[0].standing.deployment.as_str()), (at(62), "new-mysql"));
    for standing in standings.iter().filter(|s| s.deployment != "new-mysql" || s.request != "incidents") {
        assert_ne!(standing.verdict, Verdict::Regressed, "{standing:?}");
    }
    let old = of(&standings, "old-sqlite", "components");
    assert_eq!((old.verdict, old.rule, old.latency), (Verdict::NoBaseline, Rule::NoBaseline, None));
    assert!(ladder.wanted().is_empty());
}

#[test]
fn a_verdict_is_as_old_after_a_disturbance_as_it_was_before() {
    let members = fleet();
    let mut ladder = Ladder::new("cachet", Settings::default(), members.clone(), Vec::new(), START);
    let mut found = Vec::new();
    for n in 0..76 {
        let host = (70..73).contains(&n).then_some(Disturbance::HostPressure);
        let (changes, _) = ladder.take(&round(&members, n, slow_on_mysql), host, at(n));
        assert!(n < 70 || changes.is_empty(), "a disturbance is no change of a verdict");
        let standings = ladder.standings(at(n));
        let standing = of(&standings, "new-mysql", "incidents");
        found.push((standing.verdict, standing.since));
    }
    assert_eq!(found[69], (Verdict::Regressed, at(62)));
    assert_eq!(found[72], (Verdict::Invalid, at(70)));
    assert_eq!(found[73..], [(Verdict::Regressed, at(62)); 3]);
}

#[test]
fn what_a_database_has_to_do_with_it_takes_some_rounds() {
    let members = fleet();
    let mut ladder = Ladder::new("cachet", Settings::default(), members.clone(), Vec::new(), START);
    let mut known = Vec::new();
    for n in 0..20 {
        ladder.take(&round(&members, n, slow_on_mysql), None, at(n));
        let standings = ladder.standings(at(n));
        let across = of(&standings, "new-mysql", "incidents").across.clone();
        known.push((across.to_fastest.is_some(), across.fastest.is_some(), across.interaction.is_some()));
    }
    let first = |of: &dyn Fn(&(bool, bool, bool)) -> bool| known.iter().position(of);
    // Changes are known of pairs only, and those come after warm-up.
    assert_eq!([first(&|k| k.0), first(&|k| k.1), first(&|k| k.2)], [Some(9), Some(9), Some(12)]);
}

#[test]
fn a_ladder_that_is_saved_and_replayed_goes_on_as_if_nothing_had_been() {
    let members = fleet();
    let rounds: Vec<Seen> = (0..130).map(|n| round(&members, n, slow_on_mysql)).collect();
    let new = |saved, now| Ladder::new("cachet", Settings::default(), members.clone(), saved, now);
    let mut whole = new(Vec::new(), START);
    let mut broken = new(Vec::new(), START);
    for (n, seen) in (0..).zip(&rounds) {
        whole.take(seen, None, at(n));
        if n == 50 || n == 90 {
            let saved = serde_json::to_string(&broken.save()).unwrap();
            broken = new(serde_json::from_str(&saved).unwrap(), at(n));
            // The newest round before the break was stored, but no longer judged.
            for earlier in &rounds[..=n as usize] {
                broken.replay(earlier);
            }
        } else {
            broken.take(seen, None, at(n));
        }
    }
    assert_eq!(whole.save(), broken.save());
    assert_eq!(whole.standings(at(200)), broken.standings(at(200)));
}

#[test]
fn a_new_build_starts_afresh_and_leaves_the_others_alone() {
    let mut members = fleet();
    let mut ladder = Ladder::new("cachet", Settings::default(), members.clone(), Vec::new(), START);
    for n in 0..70 {
        ladder.take(&round(&members, n, slow_on_mysql), None, at(n));
    }
    let rebuilt = members.iter().position(|m| m.name == "new-mysql").unwrap();
    members[rebuilt].build.push_str("sha256:2");
    members[rebuilt].since = at(70);
    let mut next = Ladder::new("cachet", Settings::default(), members.clone(), ladder.save(), at(70));
    for n in 0..70 {
        next.replay(&round(&fleet(), n, slow_on_mysql));
    }
    let standings = next.standings(at(70));
    let fresh = of(&standings, "new-mysql", "incidents");
    assert_eq!((fresh.verdict, fresh.rule), (Verdict::Insufficient, Rule::TooFewPairs));
    assert_eq!(fresh.latency.unwrap().assessment.pairs, 0);
    assert!(of(&standings, "new-sqlite", "incidents").latency.unwrap().assessment.pairs >= 60);
    let wanted = next.wanted();
    assert_eq!(wanted.keys().collect::<Vec<_>>(), ["new-mysql", "old-mysql"]);
    assert_eq!(wanted["new-mysql"], 60);
}

#[test]
fn chosen_pairs_may_be_of_one_version_of_two_flavours_or_the_other_way_round() {
    let mut members = fleet();
    members.push(member("twin", "3.0.0", Flavour::Mysql, &["components", "incidents"]));
    let place = |name: &str| members.iter().position(|m| m.name == name).unwrap();
    let pairs = [
        (place("new-mysql"), place("twin")),
        (place("old-mysql"), place("new-sqlite")),
        (place("new-sqlite"), place("old-sqlite")),
    ];
    let mut ladder = Ladder::of_pairs("cachet", Settings::default(), members.clone(), &pairs, START);
    for n in 0..63 {
        ladder.take(&round(&members, n, slow_on_mysql), None, at(n));
    }
    assert!(ladder.wanted().is_empty() && ladder.candidates() == 0);
    let standings = ladder.standings(at(63));
    let found = |deployment: &str, request: &str| {
        let standing = of(&standings, deployment, request);
        (standing.against.as_ref().map(|a| a.deployment.as_str()), standing.verdict, standing.cells)
    };
    // Six cells in one family, and none of errors.
    assert_eq!(found("new-mysql", "incidents"), (Some("twin"), Verdict::Regressed, 6));
    assert_eq!(found("new-mysql", "components"), (Some("twin"), Verdict::Unchanged, 6));
    assert_eq!(found("old-mysql", "incidents"), (Some("new-sqlite"), Verdict::Unchanged, 6));
    assert_eq!(found("new-sqlite", "incidents"), (Some("old-sqlite"), Verdict::Unchanged, 6));
    assert_eq!(of(&standings, "twin", "incidents").verdict, Verdict::NoBaseline);
}

#[test]
fn a_round_judges_only_the_cells_that_it_touched() {
    let members = fleet();
    let mut ladder = Ladder::new("cachet", Settings::default(), members.clone(), Vec::new(), START);
    let stale = |ladder: &Ladder| -> Vec<String> {
        let rungs = ladder.comparisons.values().flat_map(|c| {
            let cells = c.watch.cells();
            c.rungs.iter().map(move |(name, rung)| (name, rung, cells))
        });
        rungs
            .flat_map(|(name, rung, cells)| {
                let stale = rung.cells.iter().filter(move |(_, cell)| cell.known(cells, None).is_none());
                stale.map(move |(request, _)| format!("{name} {request}"))
            })
            .collect()
    };
    for n in 0..30 {
        ladder.take(&round(&members, n, |_, _| 1.0), None, at(n));
    }
    assert_eq!(stale(&ladder).len(), 4);
    let before = ladder.standings(at(30));
    assert!(stale(&ladder).is_empty() && ladder.across.len() == 2);
    // A round of one pair, as it is made for a candidate.
    let pair: Vec<Member> = members.iter().filter(|m| m.db == Flavour::Mysql).cloned().collect();
    ladder.take(&round(&pair, 30, |_, _| 1.0), None, at(30));
    assert_eq!(stale(&ladder), ["new-mysql components", "new-mysql incidents"]);
    let after = ladder.standings(at(31));
    let same = before.iter().zip(&after).filter(|(b, a)| b.latency == a.latency).count();
    assert_eq!(same, 6, "two of sqlite, and four without a baseline");
    // One of another suite's deployments touches nothing.
    let others = [member("elsewhere", "3.0.0", Flavour::Mysql, &["components"])];
    ladder.take(&round(&others, 32, |_, _| 1.0), None, at(32));
    assert!(stale(&ladder).is_empty() && ladder.across.len() == 2);
}

#[test]
fn who_was_not_there_for_a_while_goes_on_where_it_was() {
    let members = fleet();
    let rounds: Vec<Seen> = (0..75).map(|n| round(&members, n, slow_on_mysql)).collect();
    let new = |members: &[Member], saved: String, now| {
        let saved = serde_json::from_str(&saved).unwrap();
        Ladder::new("cachet", Settings::default(), members.to_vec(), saved, now)
    };
    let save = |ladder: &Ladder| serde_json::to_string(&ladder.save()).unwrap();
    let mut whole = new(&members, "[]".to_owned(), START);
    rounds[..70].iter().for_each(|seen| drop(whole.take(seen, None, seen.scheduled)));
    let missed: Vec<Member> = members.iter().filter(|m| m.name != "new-mysql").cloned().collect();
    // One of them is missing, or everybody is, as when a source does not answer right after a restart.
    for left in [&missed[..], &[]] {
        let mut during = new(left, save(&whole), at(70));
        let seen = round(left, 70, slow_on_mysql);
        rounds[..70].iter().for_each(|seen| drop(during.replay(seen)));
        during.take(&seen, None, at(70));
        let mut back = new(&members, save(&during), at(71));
        assert_eq!(back.save().len(), 1);
        let told: Vec<_> = rounds[..70].iter().chain([&seen]).flat_map(|seen| back.replay(seen)).collect();
        assert!(told.is_empty(), "it was told before: {told:?}");
        let standings = back.standings(at(71));
        let found = of(&standings, "new-mysql", "incidents");
        assert_eq!((found.verdict, found.since), (Verdict::Regressed, at(62)));
        assert_eq!(found.cells, 4);
    }
    // In the end it is forgotten.
    let during = new(&missed, save(&whole), at(70));
    let later = at(70).plus(Duration::from_hours(7));
    let forgotten = new(&missed, save(&during), later);
    assert!(!save(&forgotten).contains("new-mysql"));
    assert_eq!(save(&new(&[], save(&whole), later)), "[]");
}

#[test]
fn who_lived_beside_each_other_before_being_compared_is_judged_by_their_stored_rounds() {
    let mut members = fleet();
    members.push(member("oldest-mysql", "2.3.18", Flavour::Mysql, &["components", "incidents"]));
    let mut ladder = Ladder::new("cachet", Settings::default(), members.clone(), Vec::new(), START);
    let rounds: Vec<Seen> = (0..70).map(|n| round(&members, n, slow_on_mysql)).collect();
    rounds.iter().for_each(|seen| drop(ladder.take(seen, None, seen.scheduled)));
    // What it was compared with retires.
    members.retain(|m| m.name != "old-mysql");
    let mut next = Ladder::new("cachet", Settings::default(), members, ladder.save(), at(70));
    let told: Vec<_> = rounds.iter().flat_map(|seen| next.replay(seen)).collect();
    let standings = next.standings(at(70));
    let found = of(&standings, "new-mysql", "incidents");
    assert_eq!(found.against.as_ref().map(|a| a.deployment.as_str()), Some("oldest-mysql"));
    assert_eq!((found.verdict, found.since), (Verdict::Regressed, at(62)));
    assert!(told.iter().all(|change| change.standing.deployment == "new-mysql"), "the others go on");
}
