//! The samples of both sides, paired by round as the judgement pairs them: pure.

use std::collections::HashMap;
use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::compare::{Standing, visit_of};
use crate::model::{ErrorType, RoundId};
use crate::page::format::{Ns, Time};
use crate::store::SampleRow;
use crate::verdict::{Answer, CellRules};

/// Both visits of one round.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Pair {
    pub at: Time,
    #[serde(skip)]
    pub round: RoundId,
    /// Time of the first attempt; null where it failed.
    pub later_ns: Option<Ns>,
    pub earlier_ns: Option<Ns>,
    /// ln of the later's time less ln of the earlier's; null where one failed.
    pub log_ratio: Option<f64>,
    /// Of the first rounds after the deployment, which are not judged.
    pub warm_up: bool,
}

/// What a sample says about its version, by its first attempt.
fn visit(sample: &SampleRow) -> Option<(Timestamp, Answer)> {
    let limited = sample.detail.starts_with(ErrorType::RateLimited.as_str());
    // There is a second attempt only where the first one failed.
    let error = sample.error.or((sample.attempts > 1).then_some(ErrorType::Check));
    let first = sample.phases.map(|phases| (error, Duration::from_nanos(phases.0.iter().sum())));
    let visit = visit_of(sample.started, sample.outcome, first, limited)?;
    Some((visit.started, visit.answer))
}

/// The first visit of each round; expects the newest sample first.
fn by_round(samples: &[SampleRow]) -> HashMap<RoundId, (Timestamp, Answer)> {
    samples.iter().filter_map(|sample| Some((sample.round, visit(sample)?))).collect()
}

/// Oldest first. Rounds that became no pair are counted in the standing, and are not among these.
pub fn pairs(later: &[SampleRow], earlier: &[SampleRow], standing: &Standing) -> Vec<Pair> {
    let rules = CellRules::default();
    let gap_max = Duration::try_from_secs_f64(standing.pair_gap_seconds).unwrap_or(rules.pair_gap_max);
    let earlier = by_round(earlier);
    let mut pairs: Vec<Pair> = by_round(later)
        .into_iter()
        .filter_map(|(round, (at, own))| {
            let (other_at, other) = *earlier.get(&round)?;
            if at.since(other_at).max(other_at.since(at)) > gap_max {
                return None;
            }
            let time = |answer| match answer {
                Answer::Passed(time) => Some(Some(Ns(u64::try_from(time.as_nanos()).ok()?))),
                Answer::Failed => Some(None),
                Answer::Unusable => None,
            };
            let (later_ns, earlier_ns) = (time(own)?, time(other)?);
            let log_ratio = later_ns.zip(earlier_ns).map(|(v, p)| ln(v) - ln(p));
            Some(Pair { at: Time(at.max(other_at)), round, later_ns, earlier_ns, log_ratio, warm_up: false })
        })
        .collect();
    pairs.sort_by_key(|pair| (pair.at, pair.round));
    let judged = standing
        .latency
        .as_ref()
        .map_or(0, |j| usize::try_from(j.assessment.pass_fail.pairs()).unwrap_or(usize::MAX));
    let warm_up = match standing.warm_up_ratio {
        Some(_) => pairs.len().saturating_sub(judged).min(rules.warm_up_rounds as usize),
        None => 0,
    };
    pairs.iter_mut().take(warm_up).for_each(|pair| pair.warm_up = true);
    // What left the window is no longer judged.
    pairs.drain(..pairs.len().saturating_sub(rules.pairs_max + warm_up));
    pairs
}

#[expect(clippy::cast_precision_loss, reason = "exact below 104 days")]
fn ln(ns: Ns) -> f64 {
    (ns.0.max(1) as f64).ln()
}
