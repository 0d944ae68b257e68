//! One version beside itself on other databases. It costs as much as judging, so it is kept until a round
//! has visited one of the version's deployments.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::cell::Times;
use super::member::Member;
use super::standing::Across;
use crate::model::{Flavour, RoundId, SAMPLES_MIN};
use crate::verdict::{self, Factor};

/// By deployment and request, of one version in one environment.
pub(super) type Group = HashMap<(String, String), Across>;

/// The differences of one cell to the version before, by round.
pub(super) type Changes = Vec<(RoundId, f64)>;

/// Of a few rounds there is no interval that covers 95 %, and the one of a single round looks certain.
fn known(factor: Option<Factor>) -> Option<Factor> {
    factor.filter(|factor| factor.rounds as u64 >= SAMPLES_MIN)
}

/// `times` by build and request; `changes` of a deployment and a request, where it has a baseline.
pub(super) fn group<'a>(
    beside: &[&'a Member],
    times: &HashMap<String, BTreeMap<String, Times>>,
    changes: impl Fn(&str, &str) -> Option<Changes>,
) -> Group {
    let seconds = |member: &Member, request: &str| {
        times.get(&member.build).and_then(|t| t.get(request)).map(Times::all).unwrap_or_default()
    };
    let controls: Vec<Changes> = beside
        .iter()
        .map(|m| m.control.as_deref().map(|control| seconds(m, control)).unwrap_or_default())
        .collect();
    let requests: BTreeSet<&'a str> =
        beside.iter().flat_map(|m| m.requests.iter().map(|(name, _)| name.as_str())).collect();
    let mut group = Group::new();
    for request in requests {
        let asked: Vec<(&Member, &Changes)> = beside
            .iter()
            .zip(&controls)
            .filter(|(m, _)| m.rules(request).is_some())
            .map(|(m, control)| (*m, control))
            .collect();
        let all: Vec<Changes> = asked.iter().map(|(m, _)| seconds(m, request)).collect();
        let several = asked.iter().any(|(m, _)| m.db != asked[0].0.db);
        let factors = if several { verdict::factors_to_fastest(&all) } else { vec![None; all.len()] };
        let factors: Vec<Option<Factor>> = factors.into_iter().map(known).collect();
        let is_one = |f: &Option<Factor>| f.is_some_and(|f| f.ratio.low == 1.0 && f.ratio.high == 1.0);
        let fastest = factors.iter().position(is_one).map(|at| asked[at].0.db);
        let cells: Vec<(Flavour, Changes)> =
            asked.iter().map(|(m, _)| (m.db, changes(&m.name, request).unwrap_or_default())).collect();
        let interactions = verdict::interactions(&cells);
        for (at, (member, control)) in asked.iter().enumerate() {
            let is_control = member.control.as_deref() == Some(request);
            let across = Across {
                to_fastest: factors[at],
                fastest: fastest.filter(|_| factors[at].is_some()),
                to_control: if is_control { None } else { known(verdict::factor(&all[at], control)) },
                interaction: known(interactions[at]),
            };
            group.insert((member.name.clone(), request.to_owned()), across);
        }
    }
    group
}
