//! JUnit XML: one test suite for each run, one test case for each request.
//!
//! A check that failed is a `failure`, an unreachable target an `error`, as CI servers tell them
//! apart. A degraded request is a pass that says so in `system-out`.

use quick_junit::{NonSuccessKind, Report as Document, TestCase, TestCaseStatus, TestSuite};

use crate::model::{Outcome, Run, Sample};

pub(super) fn render(runs: &[Run]) -> String {
    let mut document = Document::new("cachetscope");
    document.add_test_suites(runs.iter().map(suite));
    match document.to_string() {
        Ok(xml) => xml + "\n",
        // Writing to a string has no way to fail but a malformed document, which the types rule out.
        Err(error) => format!("<!-- {error} -->\n"),
    }
}

fn suite(run: &Run) -> TestSuite {
    let mut suite = TestSuite::new(format!("{}.{}", run.round.suite, run.deployment.name));
    suite.set_timestamp(run.started.to_utc().fixed_offset()).set_time(run.duration);
    for (name, value) in [
        ("version", run.deployment.version.to_string()),
        ("db", run.deployment.db.to_string()),
        ("environment", run.deployment.environment.clone()),
        ("trace_id", run.trace.to_string()),
    ] {
        suite.add_property((name, value.as_str()));
    }
    if run.deployment.tls.insecure {
        suite.add_property(("insecure", "true"));
    }
    suite.add_test_cases(run.samples.iter().map(|sample| case(run, sample)));
    suite
}

fn case(run: &Run, sample: &Sample) -> TestCase {
    let kind = |kind, sample: &Sample| {
        let mut status = TestCaseStatus::non_success(kind);
        status.set_message(sample.detail.as_str());
        if let Some(error) = sample.last().and_then(|attempt| attempt.error) {
            status.set_type(error.as_str());
        }
        status
    };
    let status = match sample.outcome {
        Outcome::Pass | Outcome::Degraded => TestCaseStatus::success(),
        Outcome::Fail => kind(NonSuccessKind::Failure, sample),
        Outcome::Unreachable => kind(NonSuccessKind::Error, sample),
        Outcome::Skipped => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(sample.detail.as_str());
            status
        }
    };
    let mut case = TestCase::new(sample.request.name.as_str(), status);
    case.set_classname(format!("{}.{}", run.round.suite, run.deployment.name));
    if let Some(first) = sample.first() {
        case.set_time(first.phases.total());
    }
    if sample.outcome == Outcome::Degraded {
        case.set_system_out(format!("degraded: {}", sample.detail));
    } else if sample.passed_on_retry() {
        case.set_system_out(format!("passed on retry {}", sample.attempts.len() - 1));
    }
    case
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otlp::fixture;

    #[test]
    fn what_xml_cannot_hold_is_left_out() {
        let mut run = fixture::run("http://127.0.0.1:8101", &[("ping", "/", Outcome::Fail, 1)]);
        "a\u{0}b\u{8} <c> & \"d\" ]]>".clone_into(&mut run.samples[0].detail);
        let xml = render(&[run]);
        assert!(xml.contains("message=\"ab &lt;c&gt; &amp; &quot;d&quot; ]]&gt;\""), "{xml}");
        assert!(!xml.contains(['\u{0}', '\u{8}']));
    }
}
