//! The JSON document of a comparison, for programs: each cell as `/api/v1/verdicts` has it.

use serde_json::{Value, json};

use super::Report;
use crate::cli::gate::{Gate, WARM_UP_ROUNDS};
use crate::clock::nanos;
use crate::model::Deployment;

pub(super) fn render(report: &Report) -> String {
    let findings = report.findings;
    let gate = report.gate.map(|gate| match gate {
        Gate::Lenient => "lenient",
        Gate::Strict => "strict",
    });
    let cells: Vec<Value> = findings
        .cells
        .iter()
        .map(|cell| {
            let mut value = json!(cell.standing);
            value["median_seconds"] = cell
                .medians
                .map_or(Value::Null, |(later, earlier)| json!({ "later": later, "earlier": earlier }));
            value
        })
        .collect();
    let document = json!({
        "verdict": findings.whole().as_str(),
        "gate": gate,
        "exit_code": report.exit_code,
        "ended": findings.ended.as_str(),
        "rounds": findings.rounds,
        "warm_up_rounds": findings.rounds.min(WARM_UP_ROUNDS),
        "duration_ns": nanos(findings.took),
        "suites": findings.suites,
        "delivery": super::super::json::delivery(report.delivery),
        "pairs": report.pairs().map(|(later, earlier)| json!({
            "later": deployment(later),
            "earlier": earlier.map(deployment),
        })).collect::<Vec<_>>(),
        "cells": cells,
        "checks": findings.checks.all().map(|(at, suite, request, check)| json!({
            "deployment": findings.pairing.fleet[at].name,
            "judged": at < findings.pairing.judged,
            "suite": findings.suites.get(suite),
            "request": request,
            "asked": check.asked,
            "degraded": check.degraded,
            "failed": check.failed,
            "unreachable": check.unreachable,
            "withheld": check.withheld,
            "detail": check.detail,
            "trace_id": check.trace,
        })).collect::<Vec<_>>(),
    });
    format!("{document:#}\n")
}

fn deployment(deployment: &Deployment) -> Value {
    json!({
        "name": deployment.name,
        "version": deployment.version,
        "db": deployment.db,
        "environment": deployment.environment,
        "url": deployment.url.as_str(),
        "insecure": deployment.tls.insecure,
    })
}
