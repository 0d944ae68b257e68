//! Writes the events of one run of a pipeline, one step after the other.

use std::time::Duration;

use super::cases::{Suite, Title, Twists};
use super::dice::Dice;
use super::story::{self, Release};
use super::{Told, digest};
use crate::clock::Timestamp;
use crate::model::{
    Action, CiResult, Deploy, DeployStep, Event, Flavour, Load, Quantile, Task, TraceParent, Usage, Version,
};

/// What a run is, apart from what it does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub pipeline: &'static str,
    pub number: u32,
    pub attempt: u32,
    pub branch: &'static str,
    /// What the story calls the commit.
    pub commit: &'static str,
}

/// Where something runs.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub name: String,
    pub db: Flavour,
    pub environment: &'static str,
}

/// How a deployment went.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fate {
    Success,
    /// Its step `migrate` failed, and nothing was started.
    MigrationFailed,
}

pub(super) struct Scribe {
    dice: Dice,
    run: Run,
    began: Timestamp,
    now: Timestamp,
    worst: CiResult,
    told: Vec<Told>,
}

impl Run {
    /// An event of this run: the whole, or a step.
    pub fn event(&self, step: Option<&str>) -> Event {
        let mut event = Event::new("jenkins", self.pipeline, &self.number.to_string());
        event.attempt = self.attempt;
        event.step = step.map(str::to_owned);
        event.branch = Some(self.branch.to_owned());
        event.commit = Some(super::commit(self.commit));
        event.repository = Some("https://github.com/cachethq/cachet".to_owned());
        let job = self.pipeline.replace('/', "/job/");
        event.url = Some(format!("http://jenkins.example/job/{job}/{}/", self.number));
        event
    }

    fn id(&self) -> String {
        format!("{} {} {}", self.pipeline, self.number, self.attempt)
    }
}

impl Scribe {
    pub fn new(dice: Dice, run: Run, began: Timestamp) -> Self {
        // A moment passes until an agent has checked the sources out.
        let now = began.plus(Duration::from_secs_f64(3.0 * dice.around_one(0.2, "checkout", &run.id())));
        Scribe { dice, run, began, now, worst: CiResult::Success, told: Vec::new() }
    }

    /// A step from now on; moves on to its end.
    fn step(&mut self, name: &str, seconds: f64, result: CiResult) -> Event {
        let mut event = self.run.event(Some(name));
        event.worker = Some(format!("agent-{}", 1 + self.run.number % 3));
        event.started = Some(self.now);
        self.now = self.now.plus(Duration::from_secs_f64(seconds));
        event.finished = Some(self.now);
        event.result = Some(result);
        if result.is_bad() {
            self.worst = result;
        }
        // Between two steps.
        self.now = self.now.plus(Duration::from_millis(700));
        event
    }

    fn tell(&mut self, event: Event, links: Vec<TraceParent>) {
        self.told.push(Told { event, links });
    }

    /// A run of tests that was not ended from outside.
    pub fn tests(&mut self, suite: &Suite, twists: Twists) {
        let id = self.run.id();
        let tests = suite.run(self.dice, &id, twists);
        let busy: f64 = tests.cases.iter().filter_map(|case| case.seconds).sum();
        let seconds = busy + 2.4 * self.dice.around_one(0.1, "boot", &id);
        let bad = tests.counts().bad() > 0;
        let result = if bad { CiResult::Failure } else { CiResult::Success };
        let mut event = self.step("tests", seconds, result);
        event.name = Some(format!("{} tests", suite.name));
        event.usage = Some(Usage {
            exit_code: Some(i32::from(bad)),
            signal: None,
            cpu_seconds: Some((busy * 82.0).round() / 100.0),
            memory_peak_bytes: Some((168.0 * self.dice.around_one(0.04, "memory", &id)) as u64 * (1 << 20)),
            output_bytes: Some(4_096 + 64 * tests.cases.len() as u64),
        });
        event.tests = Some(tests);
        self.tell(event, Vec::new());
    }

    /// A run of tests that fell silent and was ended after so long.
    pub fn hanging_tests(&mut self, suite: &Suite, before: Title, silent: Duration) {
        let id = self.run.id();
        let twists = Twists { ended_before: Some(before), ..Twists::default() };
        let tests = suite.run(self.dice, &id, twists);
        let busy: f64 = tests.cases.iter().filter_map(|case| case.seconds).sum();
        let seconds = busy + 2.4 + silent.as_secs_f64();
        let mut event = self.step("tests", seconds, CiResult::Timeout);
        event.name = Some(format!("{} tests", suite.name));
        event.usage = Some(Usage {
            exit_code: None,
            signal: Some(9),
            cpu_seconds: Some((busy + 0.98 * silent.as_secs_f64()).round()),
            memory_peak_bytes: Some(1_911 << 20),
            output_bytes: Some(9_713),
        });
        event.evidence = Some(story::why_it_hung(before, silent, &tests));
        event.tests = Some(tests);
        self.tell(event, Vec::new());
    }

    /// An image is made, in about so many seconds; what is deployed later leads to it.
    pub fn image(&mut self, release: &Release, seconds: f64) {
        let id = self.run.id();
        let seconds = seconds * self.dice.around_one(0.12, "image", &id);
        let mut event = self.step("image", seconds, CiResult::Success);
        event.task = Some(Task::Build);
        event.version = Version::parse(release.version);
        event.digest = Some(digest(release.version, release.build));
        self.tell(event, Vec::new());
    }

    /// Puts a build somewhere.
    pub fn deploy(&mut self, place: &Place, release: &Release, fate: Fate) {
        let id = format!("{} {}", self.run.id(), place.name);
        let mut steps = Vec::new();
        for (name, median) in story::deploy_steps(release.version, place.db) {
            let failed = fate == Fate::MigrationFailed && name == "migrate";
            let seconds = median * self.dice.around_one(0.08, name, &id);
            let result = if failed { CiResult::Failure } else { CiResult::Success };
            let seconds = (seconds * 1e3).round() / 1e3;
            steps.push(DeployStep { name: name.into(), seconds, offset_seconds: None, result: Some(result) });
            if failed {
                break;
            }
        }
        let seconds = steps.iter().map(|step| step.seconds).sum::<f64>() + 0.4;
        let result = if fate == Fate::Success { CiResult::Success } else { CiResult::Failure };
        let mut event = self.step(&deploy_step(&place.name), seconds, result);
        about(&mut event, place, release);
        // The commit is that of the image, whatever this run was begun for.
        event.commit = Some(super::commit(release.commit));
        event.deploy = Some(Deploy { steps, ..Deploy::default() });
        let image = story::built_by(release).as_parent();
        let links = if image.trace == event.trace() { Vec::new() } else { vec![image] };
        self.tell(event, links);
    }

    /// Takes a deployment away.
    pub fn remove(&mut self, place: &Place, release: &Release) {
        let seconds = 1.8 * self.dice.around_one(0.2, "remove", &place.name);
        let mut event = self.step(&format!("remove-{}", place.name), seconds, CiResult::Success);
        about(&mut event, place, release);
        event.deploy = Some(Deploy { action: Action::Remove, ..Deploy::default() });
        self.tell(event, Vec::new());
    }

    /// Load for half a minute; `throughput` is the median of what is answered in a second.
    pub fn load(&mut self, place: &Place, release: &Release, throughput: f64, limited: bool) {
        let id = format!("{} {}", self.run.id(), place.name);
        let mut event = self.step(&format!("load-{}", place.name), LOAD_SECONDS, CiResult::Success);
        about(&mut event, place, release);
        event.load = Some(if limited { limited_load() } else { load(self.dice, &id, throughput) });
        self.tell(event, Vec::new());
    }

    /// What was told, with the run as a whole behind its steps.
    pub fn end(mut self) -> Vec<Told> {
        let mut event = self.run.event(None);
        (event.started, event.finished) = (Some(self.began), Some(self.now));
        event.result = Some(if self.worst == CiResult::Timeout { CiResult::Failure } else { self.worst });
        self.tell(event, Vec::new());
        self.told
    }
}

/// The step that deploys somewhere; what leads to a deployment is known by it.
pub(super) fn deploy_step(place: &str) -> String {
    format!("deploy-{place}")
}

fn about(event: &mut Event, place: &Place, release: &Release) {
    event.version = Version::parse(release.version);
    event.db = Some(place.db);
    event.environment = Some(place.environment.to_owned());
    event.deployment = Some(place.name.clone());
    event.digest = Some(digest(release.version, release.build));
}

const CONCURRENCY: u32 = 8;
const LOAD_SECONDS: f64 = 30.0;

fn load(dice: Dice, id: &str, throughput: f64) -> Load {
    let throughput = (throughput * dice.around_one(0.02, "throughput", id) * 100.0).round() / 100.0;
    let requests = (throughput * LOAD_SECONDS) as u64;
    let mean = f64::from(CONCURRENCY) / throughput;
    // Shape of the tail as that of the stand-ins: a little skewed, one in forty about twice as long.
    let shape = [(0.5, 0.96), (0.9, 1.14), (0.95, 1.22), (0.99, 1.93), (0.999, 2.4)];
    let latency = shape.map(|(quantile, ratio)| {
        let seconds = mean * ratio * dice.around_one(0.02, &quantile.to_string(), id);
        Quantile { quantile, seconds: (seconds * 1e6).round() / 1e6 }
    });
    Load {
        plan: "status-page".to_owned(),
        tool: "oha".to_owned(),
        seconds: LOAD_SECONDS,
        requests,
        throughput,
        concurrency: Some(CONCURRENCY),
        latency: latency.to_vec(),
        latency_mean_seconds: Some((mean * 1e6).round() / 1e6),
        statuses: [(200, requests)].into(),
        ..Load::default()
    }
}

/// Somebody forgot to lift the API's limit of 300 requests a minute.
fn limited_load() -> Load {
    let (answered, limited) = (300, 7_518);
    Load {
        plan: "status-page".to_owned(),
        tool: "oha".to_owned(),
        seconds: LOAD_SECONDS,
        requests: answered + limited,
        errors: limited,
        throughput: 260.6,
        concurrency: Some(CONCURRENCY),
        latency: vec![
            Quantile { quantile: 0.5, seconds: 0.0296 },
            Quantile { quantile: 0.95, seconds: 0.0411 },
            Quantile { quantile: 0.99, seconds: 0.1032 },
        ],
        latency_mean_seconds: Some(0.0307),
        statuses: [(200, answered), (429, limited)].into(),
        ..Load::default()
    }
}
