//! What makes an event one that can be kept: limits, and no contradictions.

use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use super::Event;
use super::limits::{CASES_MAX, LIST_MAX, NAME_MAX, URL_MAX};
use crate::clock::Timestamp;

/// How far a client's clock may be ahead of the daemon's.
const AHEAD_MAX: Duration = Duration::from_secs(300);
/// 2000-01-01: before it nothing was ever deployed, and a clock that says so is not set.
const EARLIEST: Timestamp = Timestamp(946_684_800_000_000_000);
/// Nothing takes longer than a year.
const SECONDS_MAX: f64 = 366.0 * 86_400.0;

/// One thing that is wrong with an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Refusal {
    /// Path of the field within the event, such as `tests.cases[3].status`.
    pub field: String,
    /// What was found, what was expected, and what to do.
    pub message: String,
}

/// Collects what is wrong.
struct Checker {
    refusals: Vec<Refusal>,
}

impl Checker {
    fn refuse(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.refusals.push(Refusal { field: field.into(), message: message.into() });
    }

    fn name(&mut self, field: &str, text: &str) {
        if text.trim().is_empty() {
            self.refuse(field, "is empty; expected a name");
        } else if text.len() > NAME_MAX {
            self.refuse(field, format!("has {} bytes; expected at most {NAME_MAX}", text.len()));
        } else if text.chars().any(char::is_control) {
            self.refuse(field, "holds a control character; expected plain text");
        }
    }

    fn optional(&mut self, field: &str, text: Option<&String>) {
        if let Some(text) = text {
            self.name(field, text);
        }
    }

    fn url(&mut self, field: &str, text: Option<&String>) {
        let Some(text) = text else { return };
        let words = "expected an http(s) URL";
        match url::Url::parse(text) {
            _ if text.len() > URL_MAX => {
                self.refuse(field, format!("has {} bytes; expected at most {URL_MAX}", text.len()));
            }
            Ok(url) if !matches!(url.scheme(), "http" | "https") => {
                self.refuse(field, format!("has the scheme `{}`; {words}", url.scheme()));
            }
            Ok(url) if !url.username().is_empty() || url.password().is_some() => {
                self.refuse(field, "holds credentials; leave them out, or they are shown to everyone");
            }
            Ok(_) => {}
            Err(error) => self.refuse(field, format!("is no URL ({error}); {words}")),
        }
    }

    fn number(&mut self, field: &str, value: f64, max: f64) {
        if !(0.0..=max).contains(&value) {
            self.refuse(field, format!("is {value:?}; expected 0 to {max}"));
        }
    }

    fn seconds(&mut self, field: &str, value: Option<f64>) {
        if let Some(value) = value {
            self.number(field, value, SECONDS_MAX);
        }
    }

    fn list(&mut self, field: &str, length: usize, max: usize) {
        if length > max {
            self.refuse(field, format!("has {length} entries; expected at most {max}"));
        }
    }

    fn time(&mut self, field: &str, at: Option<Timestamp>, now: Timestamp) {
        let Some(at) = at else { return };
        if at < EARLIEST {
            self.refuse(field, format!("is {at}, before the year 2000; is the clock of that machine set?"));
        } else if at > now.plus(AHEAD_MAX) {
            let ahead = humantime::format_duration(Duration::from_secs(at.since(now).as_secs()));
            let words =
                format!("is {at}, {ahead} ahead of the daemon's clock; set the clock of that machine");
            self.refuse(field, words);
        }
    }
}

impl Event {
    /// Everything that is wrong with it, in the order of its fields; none for an event that can be
    /// kept. Texts that are merely too long are cut instead (see [`Event::trim`]).
    pub fn check(&self, now: Timestamp) -> Vec<Refusal> {
        let mut c = Checker { refusals: Vec::new() };
        c.name("source", &self.source);
        c.name("pipeline", &self.pipeline);
        c.name("run", &self.run);
        c.optional("step", self.step.as_ref());
        c.optional("name", self.name.as_ref());
        c.optional("branch", self.branch.as_ref());
        c.optional("commit", self.commit.as_ref());
        c.optional("worker", self.worker.as_ref());
        c.optional("environment", self.environment.as_ref());
        c.optional("deployment", self.deployment.as_ref());
        c.optional("digest", self.digest.as_ref());
        c.url("repository", self.repository.as_ref());
        c.url("url", self.url.as_ref());
        c.time("started", self.started, now);
        c.time("finished", self.finished, now);
        self.check_shape(&mut c);
        self.check_tests(&mut c);
        self.check_deploy(&mut c);
        self.check_load(&mut c);
        c.refusals
    }

    fn check_shape(&self, c: &mut Checker) {
        if self.attempt == 0 {
            c.refuse("attempt", "is 0; attempts are counted from 1");
        }
        match (self.started, self.finished) {
            (None, None) => c.refuse("started", "is missing; expected `started`, `finished` or both"),
            (Some(started), Some(finished)) if finished < started => {
                c.refuse("finished", format!("is {finished}, before `started`, which is {started}"));
            }
            _ => {}
        }
        match (self.finished, self.result) {
            (Some(_), None) => c.refuse(
                "result",
                "is missing; with `finished` it is one of success, failure, error, timeout, cancellation, skip",
            ),
            (None, Some(_)) => c.refuse("finished", "is missing; a `result` comes with it"),
            _ => {}
        }
        if self.inferred {
            c.refuse("inferred", "is not for senders; leave it out");
        }
        let sections = [
            ("tests", self.tests.is_some()),
            ("deploy", self.deploy.is_some()),
            ("load", self.load.is_some()),
        ];
        let given: Vec<&str> = sections.iter().filter(|(_, there)| *there).map(|(name, _)| *name).collect();
        if let [_, second, ..] = given.as_slice() {
            c.refuse(*second, format!("is one too many; an event has one of {}", given.join(", ")));
        }
        if let [one] = given.as_slice()
            && self.step.is_none()
        {
            c.refuse("step", format!("is missing; an event with `{one}` is a step of its run"));
        }
        if let Some(usage) = &self.usage {
            c.number("usage.cpu_seconds", usage.cpu_seconds.unwrap_or(0.0), 1e12);
        }
    }

    fn check_tests(&self, c: &mut Checker) {
        let Some(tests) = &self.tests else { return };
        c.name("tests.suite", &tests.suite);
        c.optional("tests.part_of", tests.part_of.as_ref());
        c.list("tests.cases", tests.cases.len(), CASES_MAX);
        if tests.counts().total() < tests.cases.len() as u64 {
            c.refuse("tests.counts", "count fewer cases than are listed");
        }
        for (i, case) in tests.cases.iter().enumerate() {
            // The first wrong ones tell enough.
            if c.refusals.len() > 20 {
                return;
            }
            if case.name.is_empty() {
                c.refuse(format!("tests.cases[{i}].name"), "is empty; expected a name");
            }
            c.seconds(&format!("tests.cases[{i}].seconds"), case.seconds);
        }
    }

    fn check_deploy(&self, c: &mut Checker) {
        let Some(deploy) = &self.deploy else { return };
        c.url("deploy.url", deploy.url.as_ref().map(ToString::to_string).as_ref());
        c.list("deploy.steps", deploy.steps.len(), LIST_MAX);
        if deploy.action.is_deploy() {
            if self.version.is_none() {
                c.refuse("version", "is missing; a deployment needs the version that was deployed");
            }
            if self.db.is_none() {
                c.refuse("db", "is missing; a deployment needs the database it runs on");
            }
        } else if self.deployment.is_none() && (self.version.is_none() || self.db.is_none()) {
            c.refuse(
                "deployment",
                "is missing; expected the name of what was removed, or its version and db",
            );
        }
        for (i, step) in deploy.steps.iter().take(LIST_MAX).enumerate() {
            c.name(&format!("deploy.steps[{i}].name"), &step.name);
            c.seconds(&format!("deploy.steps[{i}].seconds"), Some(step.seconds));
            c.seconds(&format!("deploy.steps[{i}].offset_seconds"), step.offset_seconds);
        }
    }

    fn check_load(&self, c: &mut Checker) {
        let Some(load) = &self.load else { return };
        c.name("load.plan", &load.plan);
        c.name("load.tool", &load.tool);
        c.seconds("load.seconds", Some(load.seconds));
        c.number("load.throughput", load.throughput, 1e12);
        c.number("load.offered", load.offered.unwrap_or(0.0), 1e12);
        c.seconds("load.latency_mean_seconds", load.latency_mean_seconds);
        c.list("load.latency", load.latency.len(), LIST_MAX);
        c.list("load.statuses", load.statuses.len(), LIST_MAX);
        for (i, quantile) in load.latency.iter().take(LIST_MAX).enumerate() {
            c.number(&format!("load.latency[{i}].quantile"), quantile.quantile, 1.0);
            c.seconds(&format!("load.latency[{i}].seconds"), Some(quantile.seconds));
        }
        if self.version.is_none() {
            c.refuse("version", "is missing; a load run needs the version it was put on");
        }
        if self.db.is_none() {
            c.refuse("db", "is missing; a load run needs the database it ran on");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_763_870_400_000_000_000);

    fn read(json: &str) -> Event {
        serde_json::from_str(json).unwrap()
    }

    fn told(json: &str) -> Vec<String> {
        read(json).check(NOW).into_iter().map(|r| format!("{} {}", r.field, r.message)).collect()
    }

    #[test]
    fn a_whole_event_is_fine() {
        let json = r#"{"source": "jenkins", "pipeline": "cachet/3.x", "run": "412", "step": "unit",
            "started": "2025-11-23T03:00:00Z", "finished": "2025-11-23T05:00:38.5+01:00", "result": "failure",
            "tests": {"suite": "unit", "cases": [{"name": "a", "status": "fail", "seconds": 0.1}]}}"#;
        let event = read(json);
        assert_eq!(event.check(NOW), []);
        assert_eq!(event.finished.unwrap().since(event.started.unwrap()).as_millis(), 3_638_500);
        let again = serde_json::to_string(&event).unwrap();
        assert_eq!(read(&again), event);
    }

    #[test]
    fn every_contradiction_is_named_with_its_field() {
        let json = r#"{"source": "", "pipeline": "p", "run": "a\u0000b", "attempt": 0,
            "started": "2025-11-23T05:00:00Z", "finished": "2025-11-23T04:00:00Z", "url": "ftp://x/",
            "repository": "https://me:secret@git.example/r", "tests": {"suite": "s"}, "load": {"plan": "l",
            "tool": "t", "seconds": -1, "requests": 1, "throughput": 1e300}}"#;
        insta::assert_snapshot!(told(json).join("\n"));
    }

    #[test]
    fn times_that_cannot_be_are_refused() {
        let event = |started: &str| {
            told(&format!(r#"{{"source": "s", "pipeline": "p", "run": "1", "started": "{started}"}}"#))
        };
        assert_eq!(event("2025-11-23T04:04:59Z"), [""; 0], "a clock may be five minutes ahead");
        let ahead = event("2025-11-23T05:00:00Z");
        assert!(ahead[0].contains("1h ahead of the daemon's clock"), "{ahead:?}");
        let old = event("1970-01-01T00:00:00Z");
        assert!(old[0].contains("before the year 2000"), "{old:?}");
        let wrong = serde_json::from_str::<Event>(
            r#"{"source": "s", "pipeline": "p", "run": "1", "started": "9999-12-31T00:00:00Z"}"#,
        );
        assert!(wrong.unwrap_err().to_string().contains("outside of the years 1677 to 2262"));
    }
}
