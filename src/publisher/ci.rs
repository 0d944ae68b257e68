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
        self.add(&names::LOAD_THROUGHPUT, &attributes, load.throughput);
        self.maybe(&names::LOAD_OFFERED, &attributes, load.offered);
        self.add(&names::LOAD_ERROR_RATIO, &attributes, load.error_ratio());
        self.add(&names::LOAD_TIMESTAMP, &attributes, unix_seconds(loaded.at));
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
