//! Identities of steps, and what the end of a command means.

use sha2::{Digest, Sha256};

use crate::clock::Timestamp;
use crate::config::ci::Context;
use crate::model::{CiResult, Event, Task, Tests, truncate};
use crate::wrap::{Ended, EndedFor};

/// Bytes that a name and a job give to an identity.
const PART_MAX: usize = 200;

/// Of a wrapped command: the same command in the same run is another step when it is run again.
pub(super) fn step_by_time(context: &Context, task: Task, name: &str, started: Timestamp) -> String {
    format!("{}@{}", place(context, task.as_str(), name), started.0 / 1_000_000)
}

/// Of what is recorded: the same content is the same step, so calling twice changes nothing. `event`
/// holds no time that was taken from the clock.
pub(super) fn step_by_content(
    context: &Context,
    task: &str,
    name: &str,
    event: &Event,
    seconds: Option<f64>,
) -> String {
    // Where it was called from is not what it says.
    let content = Event { step: None, worker: None, url: None, traceparent: None, ..event.clone() };
    let bytes = serde_json::to_vec(&(content, seconds)).unwrap_or_default();
    let hash: String = Sha256::digest(&bytes).iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    format!("{}#{hash}", place(context, task, name))
}

/// Jobs of one run may do the same at the same time.
fn place(context: &Context, task: &str, name: &str) -> String {
    let mut name = name.to_owned();
    truncate(&mut name, PART_MAX);
    match context.job.clone() {
        Some(mut job) => {
            truncate(&mut job, PART_MAX);
            format!("{job}/{task}/{name}")
        }
        None => format!("{task}/{name}"),
    }
}

/// What the end of a command means. Failed tests make a failure of any run; a test command that failed
/// without one could not be carried through.
pub(super) fn result(ended: &Ended, tests: Option<&Tests>) -> CiResult {
    let failed = tests.is_some_and(|tests| tests.counts().bad() > 0);
    let cut_off = tests.is_some_and(|tests| tests.aborted);
    match (ended.ended_for, ended.exit_code()) {
        (Some(EndedFor::Stall | EndedFor::Timeout), _) => CiResult::Timeout,
        (Some(EndedFor::Signal(_)), _) => CiResult::Cancellation,
        // A report that is missing or broken off says nothing good.
        (None, 0) if !failed && !cut_off => CiResult::Success,
        (None, _) if failed || tests.is_none() => CiResult::Failure,
        (None, _) => CiResult::Error,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Env;
    use crate::config::ci::Overrides;

    fn context(job: Option<&str>) -> Context {
        let given = Overrides {
            source: Some("s".to_owned()),
            pipeline: Some("p".to_owned()),
            run: Some("1".to_owned()),
            ..Overrides::default()
        };
        let found =
            Context::detect(&Env::default(), &given, std::path::Path::new("/"), Timestamp(0)).unwrap();
        Context { job: job.map(str::to_owned), ..found }
    }

    #[test]
    fn a_recorded_step_is_the_same_when_it_says_the_same_from_anywhere() {
        let here = context(None);
        let event = Event { finished: Some(Timestamp(5)), ..here.event() };
        let step = step_by_content(&here, "test", "unit", &event, None);
        let elsewhere = Event { worker: Some("w".to_owned()), ..event.clone() };
        assert_eq!(step_by_content(&here, "test", "unit", &elsewhere, None), step);
        assert_ne!(step_by_content(&here, "test", "unit", &event, Some(93.0)), step);
        let other = Event { finished: Some(Timestamp(6)), ..event };
        assert_ne!(step_by_content(&here, "test", "unit", &other, None), step);
        assert!(step.starts_with("test/unit#") && step.len() == "test/unit#".len() + 12, "{step}");
    }

    #[test]
    fn a_wrapped_step_is_another_at_another_time_and_in_another_job() {
        let (a, b) = (context(None), context(Some("unit 1/3#7")));
        let at = Timestamp(1_795_000_000_123_456_789);
        assert_eq!(step_by_time(&a, Task::Test, "phpunit", at), "test/phpunit@1795000000123");
        assert_eq!(step_by_time(&b, Task::Test, "phpunit", at), "unit 1/3#7/test/phpunit@1795000000123");
        let later = at.plus(Duration::from_millis(1));
        assert_ne!(
            step_by_time(&a, Task::Test, "phpunit", later),
            step_by_time(&a, Task::Test, "phpunit", at)
        );
        let long = step_by_time(&b, Task::Test, &"é".repeat(900), at);
        assert!(long.len() <= 512 && long.ends_with("@1795000000123"), "{long}");
    }
}
