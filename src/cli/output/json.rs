//! The JSON document: every sample with its phases, for programs. Durations are whole nanoseconds,
//! so that the phases sum to the total exactly.

use serde_json::{Value, json};

use super::{Delivery, Report};
use crate::clock::nanos;
use crate::model::{Phase, Run, Sample};

pub(super) fn render(report: &Report) -> String {
    let outcome = report.runs.iter().map(|run| run.outcome).max();
    let document = json!({
        "outcome": outcome,
        "exit_code": report.exit_code,
        "delivery": delivery(report.delivery),
        "runs": report.runs.iter().map(run).collect::<Vec<_>>(),
    });
    format!("{document:#}\n")
}

pub(super) fn delivery(delivery: &Delivery) -> Value {
    match delivery {
        Delivery::Delivered { items, refused, place } => {
            json!({ "state": "delivered", "items": items, "refused": refused, "to": place })
        }
        Delivery::Spooled { items, file, reason } => {
            json!({ "state": "spooled", "items": items, "file": file, "reason": reason })
        }
        Delivery::Lost { reason } => json!({ "state": "lost", "reason": reason }),
    }
}

fn run(run: &Run) -> Value {
    json!({
        "suite": run.round.suite,
        "round": run.round.id,
        "deployment": run.deployment.name,
        "version": run.deployment.version,
        "db": run.deployment.db,
        "environment": run.deployment.environment,
        "url": run.deployment.url.as_str(),
        "insecure": run.deployment.tls.insecure,
        "outcome": run.outcome,
        "started": run.started.to_string(),
        "duration_ns": nanos(run.duration),
        "trace_id": run.trace,
        "requests": run.samples.iter().map(sample).collect::<Vec<_>>(),
    })
}

fn sample(sample: &Sample) -> Value {
    let attempts: Vec<Value> = sample
        .attempts
        .iter()
        .map(|attempt| {
            let phases: serde_json::Map<String, Value> = Phase::ALL
                .into_iter()
                .map(|phase| (phase.to_string(), nanos(attempt.phases.get(phase)).into()))
                .collect();
            json!({
                "started": attempt.started.to_string(),
                "span_id": attempt.span,
                "status": attempt.status,
                "error": attempt.error,
                "total_ns": nanos(attempt.phases.total()),
                "phases_ns": phases,
                "redirects": attempt.redirects,
                "tls_days_left": attempt.tls_days_left,
            })
        })
        .collect();
    json!({
        "name": sample.request.name,
        "outcome": sample.outcome,
        "passed_on_retry": sample.passed_on_retry(),
        "detail": sample.detail,
        "attempts": attempts,
    })
}
