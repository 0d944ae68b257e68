//! JUnit XML of a comparison: one test suite for each judged deployment, one test case for each request.
//!
//! A regression is a `failure`, and so is a check that does not hold; what is unreachable is an `error`.
//! What is not clear is `skipped`; for a strict gate an `error`.

use quick_junit::{NonSuccessKind, Report as Document, TestCase, TestCaseStatus, TestSuite};

use super::{Report, medians, went};
use crate::cli::gate::{Cell, Check, Gate};
use crate::cli::output::verdict;
use crate::model::Deployment;
use crate::verdict::{Measure, Verdict};

pub(super) fn render(report: &Report) -> String {
    let mut document = Document::new("cachetscope");
    document.add_test_suites(report.pairs().enumerate().map(|(at, pair)| suite(report, at, pair)));
    match document.to_string() {
        Ok(xml) => xml + "\n",
        // Writing to a string has no way to fail but a malformed document, which the types rule out.
        Err(error) => format!("<!-- {error} -->\n"),
    }
}

fn suite(report: &Report, at: usize, (judged, earlier): (&Deployment, Option<&Deployment>)) -> TestSuite {
    let findings = report.findings;
    let mut suite = TestSuite::new(format!("verdicts.{}", judged.name));
    suite.set_time(findings.took);
    let mut properties = vec![
        ("version", judged.version.to_string()),
        ("db", judged.db.to_string()),
        ("environment", judged.environment.clone()),
        ("rounds", findings.rounds.to_string()),
    ];
    if let Some(earlier) = earlier {
        properties.push(("baseline", earlier.name.clone()));
        properties.push(("baseline.version", earlier.version.to_string()));
    }
    for (name, value) in &properties {
        suite.add_property((*name, value.as_str()));
    }
    let of_this = findings.cells.iter().filter(|cell| cell.standing.deployment == judged.name);
    suite.add_test_cases(of_this.map(|cell| {
        let place = findings.suites.iter().position(|name| *name == cell.standing.suite);
        let check = place.and_then(|place| findings.checks.of(at, place, &cell.standing.request));
        case(report, cell, check)
    }));
    suite
}

fn case(report: &Report, cell: &Cell, check: Option<&Check>) -> TestCase {
    let standing = &cell.standing;
    let told = |kind, kind_name: &str, message: String| {
        let mut status = TestCaseStatus::non_success(kind);
        status.set_message(message).set_type(kind_name);
        status
    };
    let skipped = |message: String| {
        let mut status = TestCaseStatus::skipped();
        status.set_message(message);
        status
    };
    let status = match (check, standing.verdict) {
        (Some(check), _) if check.is_unreachable() => told(NonSuccessKind::Error, "unreachable", went(check)),
        (Some(check), _) if check.is_failing() => told(NonSuccessKind::Failure, "check", went(check)),
        (_, Verdict::Regressed) => told(NonSuccessKind::Failure, "regressed", numbers(cell)),
        (_, Verdict::NoBaseline) => skipped(verdict::why(standing)),
        _ if cell.is_clear() => TestCaseStatus::success(),
        _ if report.gate == Some(Gate::Strict) => told(
            NonSuccessKind::Error,
            "undecided",
            format!("{}: {}", verdict::words(standing), verdict::why(standing)),
        ),
        _ => skipped(format!("{}: {}", verdict::words(standing), verdict::why(standing))),
    };
    let mut case = TestCase::new(standing.request.as_str(), status);
    case.set_classname(format!("{}.{}", standing.suite, standing.deployment));
    if let Some((later, _)) = cell.medians {
        case.set_time(std::time::Duration::from_secs_f64(later));
    }
    if cell.is_compared() {
        case.set_system_out(numbers(cell));
    }
    case
}

/// Everything about a cell in one line.
fn numbers(cell: &Cell) -> String {
    let standing = &cell.standing;
    let against = standing.against.as_ref().map(|a| format!("against {} {}", a.deployment, a.version));
    let parts = [
        Some(verdict::words(standing).to_owned()),
        against,
        verdict::ratio(standing).map(|ratio| format!("{ratio} times its time")),
        verdict::difference(standing),
        medians(cell).filter(|_| standing.measure == Measure::Latency).map(|told| format!("median {told}")),
        Some(format!("{} pairs", verdict::pairs(standing))),
        verdict::p(standing),
        Some(verdict::why(standing)),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}
