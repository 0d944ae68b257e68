//! What is true of tests, deployments and load runs now, as gauges. They are published again and
//! again from the store, so 'latest' and 'delta' never depend on what the collector missed.

use super::Gauge;
use crate::clock::Timestamp;
use crate::history::{Deployed, History, Loaded, SuiteHistory};
use crate::model::{CaseStatus, Flavour, Version};
use crate::otlp::names::Metric;
use crate::otlp::{Attributes, Number, names};

/// Suites on branches that are published at most, those with the newest runs: branches come and go,
/// and each is some ten series.
const SUITES_MAX: usize = 200;
/// Deployments, and load runs, that are published at most, the newest.
const VERSIONS_MAX: usize = 200;

pub(super) fn gauges(history: &History) -> Vec<Gauge> {
    let mut gauges = Gauges(Vec::new());
    history.suites.iter().take(SUITES_MAX).for_each(|suite| gauges.suite(suite));
    let last = history.deploys.iter().filter(|deployed| deployed.is_last);
    last.take(VERSIONS_MAX).for_each(|deployed| gauges.deployed(deployed));
    let last = history.loads.iter().filter(|loaded| loaded.is_last);
    last.take(VERSIONS_MAX).for_each(|loaded| gauges.loaded(loaded));
    gauges.0
}

struct Gauges(Vec<Gauge>);

impl Gauges {
    fn add(&mut self, metric: &'static Metric, attributes: &Attributes, value: impl Into<Number>) {
        self.0.push(Gauge { metric, attributes: attributes.clone(), value: value.into() });
    }

    fn maybe(&mut self, metric: &'static Metric, attributes: &Attributes, value: Option<f64>) {
        if let Some(value) = value {
            self.add(metric, attributes, value);
        }
    }

    fn suite(&mut self, suite: &SuiteHistory) {
        let last = suite.last();
        let scope = &suite.scope;
        let mut attributes: Attributes = vec![(names::TEST_SUITE.into(), scope.suite.clone().into())];
        attributes.extend(scope.branch.clone().map(|branch| (names::BRANCH.into(), branch.into())));
        attributes
            .extend(scope.version.clone().map(|version| (names::TARGET_VERSION.into(), version.into())));
        attributes.extend(scope.environment.clone().map(|name| (names::ENVIRONMENT.into(), name.into())));
        attributes.extend(scope.db.map(|db| (names::DB.into(), db.as_str().into())));
        let mut cases = |status: &'static str, count: u64| {
            let mut attributes = attributes.clone();
            attributes.push((names::TEST_STATUS.into(), status.into()));
            self.add(&names::TEST_CASES, &attributes, i64::try_from(count).unwrap_or(i64::MAX));
        };
        for status in CaseStatus::ALL {
            cases(status.as_str(), last.counts.get(status));
        }
        cases(names::STATUS_FLAKY, suite.flaky.len() as u64);
        cases(names::STATUS_NEW_FAILURE, suite.newly_failing.len() as u64);
        self.maybe(&names::TEST_RUN_DURATION, &attributes, last.seconds);
        self.add(&names::TEST_RUN_TIMESTAMP, &attributes, unix_seconds(last.at));
        self.add(&names::TEST_RUN_SUCCESS, &attributes, i64::from(last.succeeded()));
    }

    fn deployed(&mut self, deployed: &Deployed) {
        let attributes = labels(&deployed.version, &deployed.deployment, &deployed.environment, deployed.db);
        self.maybe(&names::DEPLOYMENT_DURATION, &attributes, deployed.seconds);
        self.maybe(&names::DEPLOYMENT_DELTA, &attributes, deployed.delta_seconds());
        self.maybe(&names::DEPLOYMENT_DELTA_RATIO, &attributes, deployed.delta_ratio());
        self.add(&names::DEPLOYMENT_TIMESTAMP, &attributes, unix_seconds(deployed.at));
        self.add(&names::DEPLOYMENT_SUCCESS, &attributes, i64::from(deployed.succeeded()));
        // A step that is taken twice is one series.
        let steps = deployed.seconds_by_step();
        for (name, seconds) in steps {
            let mut attributes = attributes.clone();
            attributes.push((names::STEP.into(), name.into()));
            self.add(&names::DEPLOYMENT_STEP, &attributes, seconds);
        }
    }

    fn loaded(&mut self, loaded: &Loaded) {
        let mut attributes = labels(&loaded.version, &loaded.deployment, &loaded.environment, loaded.db);
        attributes.push((names::LOAD.into(), loaded.load.plan.clone().into()));
        let load = &loaded.load;
        self.add(&names::LOAD_ERROR_RATIO, &attributes, load.error_ratio());
        self.add(&names::LOAD_TIMESTAMP, &attributes, unix_seconds(loaded.at));
        if loaded.failure().is_some() {
            // How fast errors come is no throughput.
            return;
        }
        self.add(&names::LOAD_THROUGHPUT, &attributes, load.throughput);
        self.maybe(&names::LOAD_OFFERED, &attributes, load.offered);
        self.maybe(&names::LOAD_THROUGHPUT_DELTA, &attributes, loaded.throughput_delta());
        let at = |quantile: f64| {
            let mut attributes = attributes.clone();
            attributes.push((names::QUANTILE.into(), quantile.to_string().into()));
            attributes
        };
        for quantile in &load.latency {
            self.add(&names::LOAD_LATENCY, &at(quantile.quantile), quantile.seconds);
        }
        for delta in loaded.latency_deltas() {
            self.add(&names::LOAD_LATENCY_DELTA, &at(delta.quantile), delta.ratio);
        }
    }
}

/// The same labels as those of probes of that deployment.
fn labels(version: &Version, deployment: &str, environment: &str, db: Flavour) -> Attributes {
    vec![
        (names::TARGET_VERSION.into(), version.to_string().into()),
        (names::DEPLOYMENT.into(), deployment.to_owned().into()),
        (names::ENVIRONMENT.into(), environment.to_owned().into()),
        (names::DB.into(), db.as_str().into()),
    ]
}

fn unix_seconds(at: Timestamp) -> f64 {
    at.0 as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Reading;
    use crate::model::{CiResult, Counts, Event, EventRow, ResultRow};
    use crate::otlp::Value;
    use crate::otlp::fixture::events::{after, deploy, load, tests};

    /// An event that began so many seconds after the beginning, and took a minute.
    fn row(key: i64, began: i64, mut event: Event) -> EventRow {
        event.run = key.to_string();
        (event.started, event.finished) = (Some(after(began)), Some(after(began + 60)));
        EventRow { key, started: after(began), received: after(began), event }
    }

    fn result(event: i64, name: &str, status: CaseStatus) -> ResultRow {
        ResultRow {
            event,
            case: name.len() as i64,
            class: String::new(),
            name: name.to_owned(),
            status,
            mark: None,
            seconds: None,
            message: None,
        }
    }

    /// Two runs of tests on one commit, of which the second fails newly; two versions deployed and
    /// under load, the newer one slower.
    fn reading() -> Reading {
        let mut passed = tests();
        passed.tests.as_mut().unwrap().counts = Some(Counts { pass: 4, ..Counts::default() });
        let older = |mut event: Event| {
            event.version = Version::parse("2.4.1");
            event.deployment = Some("cachet-2".to_owned());
            event.digest = Some("sha256:old".to_owned());
            event.result = Some(CiResult::Success);
            event
        };
        let mut old_deploy = row(3, 0, older(deploy()));
        old_deploy.event.finished = Some(after(48));
        let mut old_load = older(load());
        let mut new_load = load();
        for (load, throughput, slowest) in [(&mut old_load, 125.0, 0.16), (&mut new_load, 100.0, 0.2)] {
            let load = load.load.as_mut().unwrap();
            load.statuses.clear();
            load.throughput = throughput;
            load.latency[1].seconds = slowest;
        }
        Reading {
            tests: vec![row(2, 600, tests()), row(1, 0, passed)],
            doubtful: vec![result(2, "creates", CaseStatus::Fail), result(1, "creates", CaseStatus::Pass)],
            deploys: vec![row(4, 700, deploy()), old_deploy],
            loads: vec![row(6, 900, new_load), row(5, 100, old_load)],
            ..Reading::default()
        }
    }

    fn told(gauges: &[Gauge]) -> String {
        let line = |gauge: &Gauge| {
            let labels = gauge.attributes.iter().map(|(name, value)| match value {
                Value::Text(text) => format!("{name}={text}"),
                other => panic!("a label that is no text: {other:?}"),
            });
            let labels = labels.collect::<Vec<_>>().join(" ");
            let value = match gauge.value {
                Number::Int(n) => n.to_string(),
                Number::Float(n) => format!("{n:.3}"),
            };
            format!("{} {value} {labels}", gauge.metric.name)
        };
        gauges.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_small_history_as_gauges() {
        insta::assert_snapshot!("gauges", told(&gauges(&History::of(reading()))));
    }

    #[test]
    fn a_suite_on_several_databases_is_a_series_on_each() {
        let mut reading = reading();
        reading.tests[0].event.db = Some(Flavour::Mysql);
        reading.tests[1].event.db = Some(Flavour::Postgresql);
        reading.tests[1].event.environment = Some("staging".to_owned());
        let told = told(&gauges(&History::of(reading)));
        let runs: Vec<&str> =
            told.lines().filter(|line| line.starts_with(names::TEST_RUN_TIMESTAMP.name)).collect();
        let [mysql, postgres] = runs.as_slice() else { panic!("two series, not {runs:?}") };
        assert!(mysql.ends_with("db.system.name=mysql") && !mysql.contains("environment"), "{mysql}");
        let both = "deployment.environment.name=staging db.system.name=postgresql";
        assert!(postgres.ends_with(both), "{postgres}");
    }

    #[test]
    fn nothing_known_is_no_gauge() {
        assert!(gauges(&History::default()).is_empty());
    }

    #[test]
    fn a_series_is_published_once_however_often_something_ran() {
        let mut reading = reading();
        let again = |row: &EventRow, key: i64| {
            let mut row = EventRow { key, ..row.clone() };
            row.event.run = key.to_string();
            row.event.started = Some(after(2_000 + key));
            row.event.finished = Some(after(2_060 + key));
            row
        };
        reading.deploys.insert(0, again(&reading.deploys[0], 10));
        reading.loads.insert(0, again(&reading.loads[0], 11));
        let gauges = gauges(&History::of(reading));
        let distinct: std::collections::HashSet<_> =
            gauges.iter().map(|g| (g.metric.name, format!("{:?}", g.attributes))).collect();
        assert_eq!(distinct.len(), gauges.len(), "{}", told(&gauges));
    }

    #[test]
    fn branches_and_versions_are_bounded() {
        let mut reading = Reading::default();
        for n in 0..300 {
            let mut event = tests();
            event.branch = Some(format!("branch-{n}"));
            reading.tests.insert(0, row(n, 100 * n, event));
            let mut event = deploy();
            event.deployment = Some(format!("cachet-{n}"));
            reading.deploys.insert(0, row(1_000 + n, 100 * n, event));
        }
        let gauges = gauges(&History::of(reading));
        let of = |metric: &Metric| gauges.iter().filter(|g| g.metric.name == metric.name).collect::<Vec<_>>();
        assert_eq!(of(&names::TEST_RUN_TIMESTAMP).len(), SUITES_MAX);
        assert_eq!(of(&names::DEPLOYMENT_SUCCESS).len(), VERSIONS_MAX);
        let newest = (names::BRANCH.into(), "branch-299".to_owned().into());
        assert!(
            of(&names::TEST_RUN_TIMESTAMP)[0].attributes.contains(&newest),
            "the newest are those that stay"
        );
    }
}
