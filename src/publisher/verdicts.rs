//! What comparisons have come to → gauges, and changed verdicts → spans and log records.
//!
//! A number is published only where the daemon stands behind it: no delta while there are too few pairs,
//! or while the measurement itself is disturbed.

use super::Gauge;
use crate::compare::{Standing, VerdictChange};
use crate::model::Deployment;
use crate::otlp::{
    Attributes, Encoded, Number, Resource, VerdictTold, deployment_attributes, encode_verdict, names,
};
use crate::store::{Entry, Increment, Lane};
use crate::verdict::{Judgement, Rule, Tally, Verdict};

/// What a comparison adds to the counters of comparisons with oneself. They are there at 0 from a
/// suite's first round on: a counter that appears with its first fault hides it.
pub fn increments_of(suite: &str, tally: Tally, started: crate::clock::Timestamp) -> Vec<Increment> {
    let counters =
        [(&names::AA_COMPARISONS, tally.comparisons), (&names::AA_FALSE_VERDICTS, tally.false_verdicts)];
    let increments = counters.into_iter().map(|(metric, count)| Increment {
        metric: metric.name,
        attributes: super::record::to_json(&vec![(names::SUITE.into(), suite.to_owned().into())]),
        deployment: None,
        started,
        count,
        sum: count as f64,
        bucket: None,
        exemplar: None,
    });
    increments.collect()
}

/// The telemetry that tells of changed verdicts on deployments of this fleet.
pub fn entries_of<'a>(
    changes: &[VerdictChange],
    deployment: impl Fn(&str) -> Option<&'a Deployment>,
    resource: &Resource,
) -> Vec<Entry> {
    let mut entries = Vec::new();
    for change in changes {
        let Some(deployment) = deployment(&change.standing.deployment) else { continue };
        let told = VerdictTold {
            build: &deployment.key(),
            suite: &change.standing.suite,
            request: &change.standing.request,
            at: change.at,
            verdict: change.standing.verdict.as_str(),
            words: change.standing.words(),
            is_bad: change.standing.verdict == Verdict::Regressed,
            origin: deployment.origin,
            attributes: change_attributes(change, deployment),
        };
        let signals = encode_verdict(&told, resource);
        let entry = |lane, encoded: Encoded| super::entry(lane, change.at, encoded, None);
        entries.push(entry(Lane::Traces, signals.traces));
        entries.extend(signals.logs.map(|logs| entry(Lane::Logs, logs)));
    }
    entries
}

fn change_attributes(change: &VerdictChange, deployment: &Deployment) -> Attributes {
    let standing = &change.standing;
    let mut attributes = deployment_attributes(deployment);
    attributes.push((names::SUITE.into(), standing.suite.clone().into()));
    attributes.push((names::REQUEST.into(), standing.request.clone().into()));
    attributes.push((names::VERDICT_VALUE.into(), standing.verdict.as_str().into()));
    attributes.push((names::VERDICT_BEFORE.into(), change.from.as_str().into()));
    attributes.push((names::VERDICT_MEASURE.into(), standing.measure.as_str().into()));
    attributes.push((names::VERDICT_RULE.into(), standing.rule.as_str().into()));
    if let Some(against) = &standing.against {
        attributes.push((names::BASELINE_VERSION.into(), against.version.clone().into()));
        attributes.push((names::BASELINE_DEPLOYMENT.into(), against.deployment.clone().into()));
    }
    if let Some(judgement) = standing.judgement() {
        let pairs = i64::try_from(judgement.assessment.pairs).unwrap_or(i64::MAX);
        attributes.push((names::VERDICT_PAIRS.into(), pairs.into()));
    }
    if let Some(ratio) = standing.latency.and_then(|latency| latency.assessment.ratio) {
        for (name, value) in [
            (names::VERDICT_RATIO, ratio.value),
            (names::VERDICT_LOW, ratio.low),
            (names::VERDICT_HIGH, ratio.high),
        ] {
            attributes.push((name.into(), (value - 1.0).into()));
        }
    }
    attributes
}

/// How each request stands, as gauges.
pub(super) fn gauges(standings: &[Standing]) -> Vec<Gauge> {
    let mut gauges = Vec::new();
    for standing in standings {
        let attributes: Attributes = vec![
            (names::TARGET_VERSION.into(), standing.version.clone().into()),
            (names::DEPLOYMENT.into(), standing.deployment.clone().into()),
            (names::ENVIRONMENT.into(), standing.environment.clone().into()),
            (names::DB.into(), standing.db.as_str().into()),
            (names::SUITE.into(), standing.suite.clone().into()),
            (names::REQUEST.into(), standing.request.clone().into()),
        ];
        for verdict in Verdict::ALL {
            let mut attributes = attributes.clone();
            attributes.push((names::VERDICT_VALUE.into(), verdict.as_str().into()));
            let holds = i64::from(standing.verdict == verdict);
            gauges.push(Gauge { metric: &names::VERDICT, attributes, value: holds.into() });
        }
        let mut add = |metric, value: Option<Number>| {
            gauges.extend(value.map(|value| Gauge { metric, attributes: attributes.clone(), value }));
        };
        let less_one = |value: f64| Number::from(value - 1.0);
        if let Some(judgement) = standing.latency.as_ref().filter(|judgement| is_stood_behind(judgement)) {
            let of = &judgement.assessment;
            add(&names::DELTA_RATIO, of.ratio.map(|r| less_one(r.value)));
            add(&names::DELTA_LOW, of.ratio.map(|r| less_one(r.low)));
            add(&names::DELTA_HIGH, of.ratio.map(|r| less_one(r.high)));
            add(&names::DELTA_SECONDS, of.seconds.map(|s| s.value.into()));
            add(&names::DELTA_PAIRS, i64::try_from(of.pairs).ok().map(Number::from));
        }
        if let Some(judgement) = standing.errors.as_ref().filter(|judgement| is_stood_behind(judgement)) {
            add(&names::DELTA_FAILURES, judgement.assessment.failure_rise.map(|rise| rise.value.into()));
        }
        let factor = standing.across.to_fastest.map(|factor| factor.ratio);
        add(&names::DB_FACTOR, factor.map(|f| f.value.into()));
        add(&names::DB_FACTOR_LOW, factor.map(|f| f.low.into()));
        add(&names::DB_FACTOR_HIGH, factor.map(|f| f.high.into()));
        let interaction = standing.across.interaction.map(|factor| factor.ratio);
        add(&names::DB_INTERACTION, interaction.map(|f| less_one(f.value)));
        add(&names::DB_INTERACTION_LOW, interaction.map(|f| less_one(f.low)));
        add(&names::DB_INTERACTION_HIGH, interaction.map(|f| less_one(f.high)));
    }
    gauges
}

fn is_stood_behind(judgement: &Judgement) -> bool {
    !matches!(judgement.rule, Rule::NoBaseline | Rule::Disturbed | Rule::TooFewPairs)
}
