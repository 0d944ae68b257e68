//! The JSON document: every sample with its phases, for programs.

use serde_json::{Value, json};

use super::{Delivery, Report};
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

fn delivery(delivery: &Delivery) -> Value {
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
        "duration_ms": run.duration.as_secs_f64() * 1e3,
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
                .map(|phase| (phase.to_string(), (attempt.phases.get(phase).as_secs_f64() * 1e3).into()))
                .collect();
            json!({
                "started": attempt.started.to_string(),
                "span_id": attempt.span,
                "status": attempt.status,
                "error": attempt.error,
                "total_ms": attempt.phases.total().as_secs_f64() * 1e3,
                "phases_ms": phases,
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
