//! What a run and a tick of the schedule come to in the store: facts, increments, telemetry.

use crate::model::{Deployment, Outcome, Phase, Run};
use crate::otlp::names::Metric;
use crate::otlp::{
    Attributes, BOUNDS_SECONDS, Resource, Value, bucket_of, deployment_attributes, encode_run, names,
    server_address,
};
use crate::probe::Tick;
use crate::store::{Entry, Exemplar, Facts, Increment, Lane, deployment_key};

/// Everything that becomes true with a run.
///
/// With `series`, the run is also added to the cumulative series; a one-shot's store is thrown away
/// or lies idle between calls, and series of an instance that is never published again only
/// mislead, so it leaves them out.
pub fn facts_of(run: Run, resource: &Resource, series: bool) -> Facts {
    let signals = encode_run(&run, resource);
    let mut outbox = vec![entry(Lane::Traces, &run, signals.traces)];
    outbox.extend(signals.logs.map(|logs| entry(Lane::Logs, &run, logs)));
    let increments = if series { increments_of(&run) } else { Vec::new() };
    Facts { runs: vec![run], increments, outbox, ..Facts::default() }
}

fn entry(lane: Lane, run: &Run, encoded: crate::otlp::Encoded) -> Entry {
    Entry {
        lane,
        created: run.started.plus(run.duration),
        items: encoded.items,
        body: encoded.body,
        snapshot: None,
        kept: false,
    }
}

fn increments_of(run: &Run) -> Vec<Increment> {
    let deployment = &run.deployment;
    let key = deployment_key(deployment);
    let common = deployment_attributes(deployment);
    let add = |metric: &'static Metric, attributes: Attributes, sum: f64| Increment {
        metric: metric.name,
        attributes: to_json(&attributes),
        deployment: Some(key),
        started: run.started,
        count: 1,
        sum,
        bucket: None,
        exemplar: None,
    };

    let mut increments = Vec::new();
    let mut attributes = common.clone();
    attributes.push((names::SUITE.into(), run.round.suite.clone().into()));
    attributes.push((names::OUTCOME.into(), run.outcome.as_str().into()));
    increments.push(add(&names::PROBE_RUNS, attributes, 1.0));

    for sample in &run.samples {
        for attempt in &sample.attempts {
            let seconds = attempt.phases.total().as_secs_f64();
            let mut attributes = common.clone();
            attributes.push((names::REQUEST.into(), sample.request.name.clone().into()));
            attributes.extend(http_attributes(deployment, sample, attempt));
            increments.push(Increment {
                bucket: u16::try_from(bucket_of(&BOUNDS_SECONDS, seconds)).ok(),
                exemplar: Some(Exemplar {
                    value: seconds,
                    at: attempt.started.plus(attempt.phases.total()),
                    trace: run.trace,
                    span: attempt.span,
                }),
                ..add(&names::REQUEST_DURATION, attributes, seconds)
            });
            for phase in Phase::ALL {
                let time = attempt.phases.get(phase);
                if time.is_zero() {
                    continue;
                }
                let mut attributes = common.clone();
                attributes.push((names::REQUEST.into(), sample.request.name.clone().into()));
                attributes.push((names::PHASE.into(), phase.as_str().into()));
                increments.push(add(&names::PHASE_DURATION, attributes, time.as_secs_f64()));
            }
        }
    }
    increments
}

fn http_attributes(
    deployment: &Deployment,
    sample: &crate::model::Sample,
    attempt: &crate::model::Attempt,
) -> Attributes {
    let mut attributes: Attributes = vec![
        (names::METHOD.into(), sample.request.method.as_str().into()),
        (names::SERVER_ADDRESS.into(), server_address(&deployment.url).into()),
        (
            names::SERVER_PORT.into(),
            i64::from(deployment.url.port_or_known_default().unwrap_or_default()).into(),
        ),
        (names::URL_TEMPLATE.into(), sample.request.path.to_string().into()),
        (names::SYNTHETIC_TYPE.into(), names::SYNTHETIC_TEST.into()),
    ];
    if let Some(status) = attempt.status {
        attributes.push((names::STATUS.into(), i64::from(status).into()));
    }
    if let Some(error) = attempt.error {
        attributes.push((names::ERROR_TYPE.into(), error.as_str().into()));
    }
    attributes
}

/// What a tick of the schedule adds to the counters of rounds. Each counter of a suite is there
/// from its first tick on, at 0: a counter that appears with its first trouble hides it.
pub fn facts_of_tick(tick: &Tick) -> Facts {
    let counters = [
        (&names::ROUNDS_MISSED, tick.missed),
        (&names::ROUNDS_LATE, u64::from(tick.late && !tick.overlaps)),
        (&names::ROUNDS_OVERLAPPING, u64::from(tick.overlaps)),
    ];
    let increments = counters.into_iter().map(|(metric, count)| Increment {
        metric: metric.name,
        attributes: to_json(&vec![(names::SUITE.into(), tick.suite.clone().into())]),
        deployment: None,
        started: tick.scheduled,
        count,
        sum: count as f64,
        bucket: None,
        exemplar: None,
    });
    Facts { increments: increments.collect(), ..Facts::default() }
}

/// Whether a run speaks well of its deployment; `None` when it says nothing about it, such as after
/// a 429.
pub(super) fn is_up(outcome: Outcome) -> Option<bool> {
    match outcome {
        Outcome::Pass | Outcome::Degraded => Some(true),
        Outcome::Fail | Outcome::Unreachable => Some(false),
        Outcome::Skipped => None,
    }
}

/// As the store keeps them: a JSON array of pairs, in the order given. Written straight away, since
/// each sample comes to several of them.
pub(super) fn to_json(attributes: &Attributes) -> String {
    #[derive(serde::Serialize)]
    #[serde(untagged)]
    enum Json<'a> {
        Text(&'a str),
        Int(i64),
        Float(f64),
        Bool(bool),
    }
    let pairs = attributes.iter().map(|(key, value)| {
        let value = match value {
            Value::Text(text) => Json::Text(text),
            Value::Int(number) => Json::Int(*number),
            Value::Float(number) => Json::Float(*number),
            Value::Bool(truth) => Json::Bool(*truth),
        };
        (key.as_ref(), value)
    });
    serde_json::to_string(&pairs.collect::<Vec<(&str, Json)>>()).expect("strings and numbers are JSON")
}

/// The inverse; `None` for what a newer program may have written.
pub(super) fn from_json(text: &str) -> Option<Attributes> {
    let pairs: Vec<(String, serde_json::Value)> = serde_json::from_str(text).ok()?;
    pairs
        .into_iter()
        .map(|(key, value)| {
            let value = match value {
                serde_json::Value::String(text) => Value::from(text),
                serde_json::Value::Bool(truth) => truth.into(),
                serde_json::Value::Number(number) => match number.as_i64() {
                    Some(number) => number.into(),
                    None => number.as_f64()?.into(),
                },
                _ => return None,
            };
            Some((key.into(), value))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_go_through_the_store_unchanged() {
        let attributes: Attributes = vec![
            ("a".into(), "text \"quoted\" é".into()),
            ("b".into(), 200_i64.into()),
            ("c".into(), 0.5.into()),
            ("d".into(), true.into()),
        ];
        assert_eq!(from_json(&to_json(&attributes)), Some(attributes));
        assert_eq!(from_json("{}"), None);
        assert_eq!(from_json(r#"[["a", null]]"#), None);
    }
}
