//! `record`: hands in what has happened already. Calling it twice with the same content changes
//! nothing.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::Value;

use super::super::{Global, block_on, exit};
use super::say::{self, Output};
use super::times::TimeArgs;
use super::{ContextArgs, DaemonArgs, SubjectArgs, events, files, is_undelivered, moment, steps, tell, warn};
use crate::clock::{Clock, Timestamp};
use crate::config::Env;
use crate::config::ci::Context;
use crate::load::Tool;
use crate::model::{Action, CiResult, Deploy, DeployStep, Event, Tests};

/// Bytes of what a load tool printed, and of a file of events.
const LOAD_BYTES_MAX: u64 = 64 << 20;
const EVENTS_BYTES_MAX: u64 = 64 << 20;
/// Events that are printed one by one.
const LINES_MAX: usize = 20;

#[derive(Debug, Args)]
pub(crate) struct Record {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// A run of tests, from JUnit XML
    Tests(RecordTests),
    /// A deployment, or the end of one
    Deploy(RecordDeploy),
    /// A load run, from the output of ab, wrk, hey, oha or k6
    Load(RecordLoad),
    /// The run of the pipeline as a whole, when it is over
    Pipeline(RecordPipeline),
    /// Events as the API takes them
    Event(RecordEvent),
}

#[derive(Debug, Args)]
struct Common {
    /// What to print on stdout
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output: Output,
    /// Exit with 6 unless the daemon has committed it
    #[arg(long)]
    require_delivery: bool,
    #[command(flatten)]
    daemon: DaemonArgs,
}

#[derive(Debug, Args)]
struct RecordTests {
    /// Files or patterns; - for stdin
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,
    /// What the suite is called from run to run [default: as the report says]
    #[arg(long, value_name = "NAME")]
    suite: Option<String>,
    /// success, failure, error, timeout, cancellation or skip [default: as the tests tell]
    #[arg(long, value_name = "RESULT", value_parser = moment::result)]
    result: Option<CiResult>,
    #[command(flatten)]
    time: TimeArgs,
    #[command(flatten)]
    subject: SubjectArgs,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    context: ContextArgs,
}

#[derive(Debug, Args)]
struct RecordDeploy {
    /// Where the deployment answers: with it, it joins the fleet
    #[arg(long, visible_alias = "url", value_name = "URL")]
    deploy_url: Option<url::Url>,
    /// A part of it with its time, such as migrate=40s (repeatable, in order)
    #[arg(long, value_name = "NAME=TIME", value_parser = steps::flag)]
    step: Vec<DeployStep>,
    /// It is gone, and leaves the fleet
    #[arg(long)]
    remove: bool,
    /// success, failure, error, timeout, cancellation or skip
    #[arg(long, value_name = "RESULT", default_value = "success", value_parser = moment::result)]
    result: CiResult,
    #[command(flatten)]
    time: TimeArgs,
    #[command(flatten)]
    subject: SubjectArgs,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    context: ContextArgs,
}

#[derive(Debug, Args)]
struct RecordLoad {
    /// What the tool printed; - for stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// What the load is called from run to run
    #[arg(long, value_name = "NAME")]
    plan: String,
    /// ab, wrk, hey, oha or k6 [default: as the output looks]
    #[arg(long, value_name = "TOOL")]
    tool: Option<String>,
    /// success, failure, error, timeout, cancellation or skip
    #[arg(long, value_name = "RESULT", default_value = "success", value_parser = moment::result)]
    result: CiResult,
    #[command(flatten)]
    time: TimeArgs,
    #[command(flatten)]
    subject: SubjectArgs,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    context: ContextArgs,
}

#[derive(Debug, Args)]
struct RecordPipeline {
    /// success, failure, error, timeout, cancellation or skip, or the CI's own word for it
    #[arg(long, value_name = "RESULT", value_parser = moment::result)]
    result: CiResult,
    /// What people call the run
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    time: TimeArgs,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    context: ContextArgs,
}

#[derive(Debug, Args)]
struct RecordEvent {
    /// JSON: an event, a list of them, or {"events": [...]}; - for stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    common: Common,
}

impl Record {
    pub fn run(self, global: &Global, env: &Env) -> anyhow::Result<u8> {
        let clock = Clock::system();
        let (events, common) = match self.what {
            What::Tests(tests) => (vec![tests.event(env, &clock)?], tests.common),
            What::Deploy(deploy) => (vec![deploy.event(env, &clock)?], deploy.common),
            What::Load(load) => (vec![load.event(env, &clock)?], load.common),
            What::Pipeline(pipeline) => (vec![pipeline.event(env, &clock)?], pipeline.common),
            What::Event(event) => (event.events()?, event.common),
        };
        check(&events, clock.now())?;
        let (client, _) = common.daemon.client(global, env, clock)?;
        block_on(async {
            let telemetry = crate::telemetry::start(global.log.as_deref().or(Some("warn")), false, None)?;
            let report = client.deliver(&events).await;
            let code = match is_undelivered(&report.delivery, common.require_delivery) {
                true => exit::UNDELIVERED,
                false => exit::OK,
            };
            match common.output {
                Output::Json => super::super::print(&say::document(&events, &report, code))?,
                Output::Text => {
                    let mut lines: Vec<String> =
                        events.iter().take(LINES_MAX).map(|e| format!("recorded {}", say::line(e))).collect();
                    if let [line] = lines.as_mut_slice() {
                        line.push_str(&format!(" → {}", report.delivery));
                    } else {
                        lines.push(format!("{} events → {}", events.len(), report.delivery));
                    }
                    super::super::print(&(lines.join("\n") + "\n"))?;
                }
            }
            tell(&report);
            telemetry.shut_down().await;
            Ok(code)
        })
    }
}

/// Everything that the daemon would refuse, before anything is kept.
fn check(events: &[Event], now: Timestamp) -> anyhow::Result<()> {
    let mut wrong = Vec::new();
    for (place, event) in events.iter().enumerate() {
        let of = if events.len() > 1 { format!("events[{place}].") } else { String::new() };
        wrong.extend(event.check(now).iter().map(|one| format!("{of}{} {}", one.field, one.message)));
    }
    anyhow::ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// Gives an event its identity, and then its time, which may be taken from the clock.
fn completed(
    context: &Context,
    event: Event,
    task: &str,
    subject: &SubjectArgs,
    time: &TimeArgs,
    span: (Option<Timestamp>, Timestamp),
) -> Event {
    let told = Event { started: time.started, finished: time.finished, ..event };
    let name = told.title().to_owned();
    let made = || events::step_by_content(context, task, &name, &told, time.seconds);
    let step = Some(subject.step_id.clone().unwrap_or_else(made));
    let mut event = Event { step, started: span.0, finished: Some(span.1), ..told };
    event.trim();
    event
}

impl SubjectArgs {
    /// An event about this, called `name` unless it was given another one.
    fn event(&self, context: &Context, name: &str) -> anyhow::Result<Event> {
        let version = self.version(context.commit.as_deref())?;
        Ok(Event {
            name: Some(self.name.clone().unwrap_or_else(|| self.named(name, version.as_ref()))),
            version,
            db: self.db,
            environment: self.environment.clone(),
            deployment: self.deployment.clone(),
            digest: self.digest.as_deref().map(files::digest).transpose()?,
            ..context.event()
        })
    }
}

/// The run, with what there is to know about it told.
fn detect(context: &ContextArgs, env: &Env, clock: &Clock) -> anyhow::Result<Context> {
    let context = context.detect(env, clock)?;
    context.notes.iter().for_each(|note| eprintln!("cachetscope: {note}"));
    Ok(context)
}

impl RecordTests {
    fn event(&self, env: &Env, clock: &Clock) -> anyhow::Result<Event> {
        let context = detect(&self.context, env, clock)?;
        let paths = files::named(&self.files)?;
        let reports = paths.iter().map(|path| files::open(path)).collect::<anyhow::Result<Vec<_>>>()?;
        let (tests, gathered) = crate::junit::gather(self.suite.as_deref(), reports)?;
        tests.remarks.iter().for_each(|remark| warn(remark));
        anyhow::ensure!(
            !tests.suite.trim().is_empty(),
            "the report does not say what the suite is called; name it with --suite"
        );
        let now = clock.now();
        let end = files::written(&paths).unwrap_or(now).min(now);
        let span = self.time.span((gathered.started, gathered.seconds), end, now)?;
        let event = self.subject.event(&context, &tests.suite)?;
        let result = self.result.unwrap_or_else(|| result_of(&tests));
        let event = Event { result: Some(result), tests: Some(tests), ..event };
        Ok(completed(&context, event, "test", &self.subject, &self.time, span))
    }
}

/// What tests that nobody judged come to.
fn result_of(tests: &Tests) -> CiResult {
    match (tests.counts().bad(), tests.aborted) {
        (0, false) => CiResult::Success,
        (0, true) => CiResult::Error,
        _ => CiResult::Failure,
    }
}

impl RecordDeploy {
    fn event(&self, env: &Env, clock: &Clock) -> anyhow::Result<Event> {
        let context = detect(&self.context, env, clock)?;
        let now = clock.now();
        let sum = || (!self.step.is_empty()).then(|| self.step.iter().map(|step| step.seconds).sum());
        let span = self.time.span((None, sum()), now, now)?;
        let (action, name) = match self.remove {
            true => (Action::Remove, "remove"),
            false => (Action::Deploy, "deploy"),
        };
        let mut event = self.subject.event(&context, self.subject.deployment.as_deref().unwrap_or(name))?;
        if self.subject.name.is_none() && self.subject.deployment.is_none() {
            event.name = event.deployment_name().or(event.name);
        }
        let deploy = Deploy { action, url: self.deploy_url.clone(), steps: self.step.clone() };
        let event = Event { result: Some(self.result), deploy: Some(deploy), ..event };
        Ok(completed(&context, event, name, &self.subject, &self.time, span))
    }
}

impl RecordLoad {
    fn event(&self, env: &Env, clock: &Clock) -> anyhow::Result<Event> {
        let context = detect(&self.context, env, clock)?;
        let tool = self.tool.as_deref().map(str::parse::<Tool>).transpose();
        let tool = tool.map_err(|error| anyhow::anyhow!("--tool: {error}"))?;
        let text = files::whole(&self.file, LOAD_BYTES_MAX)?;
        let mut load = crate::load::read(tool, &text).with_context(|| self.file.display().to_string())?;
        load.plan.clone_from(&self.plan);
        let now = clock.now();
        let end = files::written(std::slice::from_ref(&self.file)).unwrap_or(now).min(now);
        let span = self.time.span((None, Some(load.seconds)), end, now)?;
        let event = self.subject.event(&context, &self.plan)?;
        let event = Event { result: Some(self.result), load: Some(load), ..event };
        Ok(completed(&context, event, "load", &self.subject, &self.time, span))
    }
}

impl RecordPipeline {
    fn event(&self, env: &Env, clock: &Clock) -> anyhow::Result<Event> {
        let context = detect(&self.context, env, clock)?;
        let now = clock.now();
        let (started, finished) = self.time.span((None, None), now, now)?;
        Ok(Event {
            name: self.name.clone(),
            started,
            finished: Some(finished),
            result: Some(self.result),
            ..context.event()
        })
    }
}

impl RecordEvent {
    fn events(&self) -> anyhow::Result<Vec<Event>> {
        let name = self.file.display();
        let bytes = files::whole(&self.file, EVENTS_BYTES_MAX)?;
        let document: Value = serde_json::from_slice(&bytes).with_context(|| format!("{name} is no JSON"))?;
        let values = match document {
            Value::Array(values) => values,
            Value::Object(mut object) => match object.remove("events") {
                Some(Value::Array(values)) if object.is_empty() => values,
                Some(_) => anyhow::bail!("{name}: expected `events` to be a list, and nothing beside it"),
                None => vec![Value::Object(object)],
            },
            _ => anyhow::bail!("{name}: expected an event, a list of them, or an object with `events`"),
        };
        anyhow::ensure!(!values.is_empty(), "{name} holds no event");
        let (mut events, mut wrong) = (Vec::new(), Vec::new());
        for (place, value) in values.into_iter().enumerate() {
            match serde_path_to_error::deserialize::<_, Event>(value) {
                Ok(event) => events.push(event),
                Err(error) => {
                    let field = match error.path().to_string() {
                        path if path == "." => String::new(),
                        path => format!(".{path}"),
                    };
                    wrong.push(format!("{name}: events[{place}]{field}: {}", error.inner()));
                }
            }
        }
        anyhow::ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        Ok(events)
    }
}
