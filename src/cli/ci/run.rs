//! `run`: wraps a command of CI, and tells the daemon how it went.
//!
//! The command comes first: its output, its exit code and its time are its own. It is not held up by a
//! daemon that is away, and what cannot be told is a warning.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::super::{Global, block_on, exit};
use super::files::{self, Stamp};
use super::{ContextArgs, DaemonArgs, SubjectArgs, events, say, steps, tell, warn};
use crate::client::{Client, Delivery};
use crate::clock::{Clock, Timestamp};
use crate::config::Env;
use crate::config::ci::Context;
use crate::model::{CiResult, Deploy, Event, Evidence, Secret, Task, Tests, Version};
use crate::wrap;

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// What the command is for
    #[arg(long, value_name = "TASK")]
    step: Step,
    /// JUnit XML that the command writes: files that match and change while it runs (repeatable)
    #[arg(long, value_name = "GLOB")]
    junit: Vec<String>,
    /// What the suite is called from run to run, also when no report is written [default: --name, else
    /// the command's name]
    #[arg(long, value_name = "NAME")]
    suite: Option<String>,
    #[command(flatten)]
    subject: SubjectArgs,
    /// Where the deployment answers: with it, it joins the fleet
    #[arg(long, value_name = "URL")]
    deploy_url: Option<url::Url>,
    /// File to which the command writes the steps of the deployment, as lines of NAME TIME; it finds the
    /// path in $CACHETSCOPE_STEPS [default: a temporary file]
    #[arg(long, value_name = "FILE")]
    steps_file: Option<PathBuf>,
    /// End the command after this time; 0s: never
    #[arg(long, env = "CACHETSCOPE_TIMEOUT", value_name = "TIME", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
    /// End the command when it says nothing for this long, and show what it was doing; 0s: never
    #[arg(long, env = "CACHETSCOPE_STALL_TIMEOUT", value_name = "TIME", value_parser = humantime::parse_duration)]
    stall_timeout: Option<Duration>,
    /// How long the command may take to end by itself before it is killed
    #[arg(long, env = "CACHETSCOPE_GRACE", value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    grace: Duration,
    /// Lines of output that are reported when the command fails or is ended
    #[arg(long, env = "CACHETSCOPE_TAIL", value_name = "LINES", default_value_t = 20)]
    tail: usize,
    /// Exit with 6 when the command succeeded and the daemon does not have the event
    #[arg(long)]
    require_delivery: bool,
    #[command(flatten)]
    daemon: DaemonArgs,
    #[command(flatten)]
    context: ContextArgs,
    /// The command with its arguments, after `--`
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Step {
    Test,
    Build,
    Deploy,
    Push,
}

impl Step {
    fn task(self) -> Task {
        match self {
            Step::Test => Task::Test,
            Step::Build => Task::Build,
            Step::Deploy => Task::Deploy,
            Step::Push => Task::Push,
        }
    }
}

/// Who is told, and about what.
struct Teller {
    client: Arc<Client>,
    secret: Option<Secret>,
    /// The event as it begins.
    event: Event,
    context: Context,
}

/// What was there before the command began.
struct Before {
    reports: BTreeMap<PathBuf, Stamp>,
    steps: Option<Steps>,
}

/// Where a deployment's steps are written.
struct Steps {
    path: PathBuf,
    length: u64,
    /// Removes the file with the last of us.
    _temporary: Option<tempfile::TempPath>,
}

impl Run {
    /// The command's own code; 125 when it was not even tried.
    pub fn run(self, global: &Global, env: &Env) -> u8 {
        self.execute(global, env).unwrap_or_else(|error| {
            eprintln!("error: {error:#}");
            exit::RUN_USAGE
        })
    }

    fn execute(self, global: &Global, env: &Env) -> anyhow::Result<u8> {
        let clock = Clock::system();
        let context = self.context.detect(env, &clock);
        let commit = context.as_ref().ok().and_then(|context| context.commit.as_deref());
        let version = self.subject.version(commit)?;
        let is_deploy = self.step == Step::Deploy;
        anyhow::ensure!(
            !is_deploy || (version.is_some() && self.subject.db.is_some()),
            "--step deploy needs the version and the database that are deployed: --version and --db"
        );
        anyhow::ensure!(
            self.junit.is_empty() || self.step == Step::Test,
            "--junit goes with --step test: reports of tests are what a test step leaves behind"
        );
        anyhow::ensure!(
            is_deploy || (self.deploy_url.is_none() && self.steps_file.is_none()),
            "--deploy-url and --steps-file go with --step deploy: only a deployment has them"
        );
        if self.suite.is_some() && self.junit.is_empty() {
            warn("--suite without --junit: no report is read, so no test is recorded");
        }
        let before = Before { reports: files::matching(&self.junit)?, steps: self.steps() };
        let teller = context.and_then(|context| {
            let (client, secret) = self.daemon.client(global, env, clock.clone())?;
            let event = self.begun(&context, version, clock.now());
            Ok(Teller { client: Arc::new(client), secret, event, context })
        });
        let teller = teller.map_err(|error| warn(&format!("this is not recorded: {error:#}"))).ok();
        block_on(async {
            let telemetry = crate::telemetry::start(global.log.as_deref().or(Some("warn")), false, None)?;
            let code = self.wrap(teller, before, env.secrets().collect(), &clock).await;
            telemetry.shut_down().await;
            Ok(code)
        })
    }

    /// Only a deployment has steps.
    fn steps(&self) -> Option<Steps> {
        if self.step != Step::Deploy {
            return None;
        }
        if let Some(path) = &self.steps_file {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            return Some(Steps { length: steps::length(&path), path, _temporary: None });
        }
        match tempfile::Builder::new().prefix("cachetscope-steps-").tempfile() {
            Ok(file) => {
                let temporary = file.into_temp_path();
                Some(Steps { path: temporary.to_path_buf(), length: 0, _temporary: Some(temporary) })
            }
            Err(error) => {
                warn(&format!("the steps of the deployment are not recorded: {error}"));
                None
            }
        }
    }

    /// What is told at the beginning; the end has the same identity.
    fn begun(&self, context: &Context, version: Option<Version>, started: Timestamp) -> Event {
        let program = self.command.first().map(Path::new).and_then(Path::file_name);
        let program =
            program.map_or_else(|| "command".to_owned(), |name| name.to_string_lossy().into_owned());
        let name = self.subject.name.clone().unwrap_or_else(|| {
            self.subject.named(self.suite.as_deref().unwrap_or(&program), version.as_ref())
        });
        let task = self.step.task();
        let step = self.subject.step_id.clone();
        Event {
            step: Some(step.unwrap_or_else(|| events::step_by_time(context, task, &name, started))),
            name: Some(name),
            task: Some(task),
            started: Some(started),
            version,
            db: self.subject.db,
            environment: self.subject.environment.clone(),
            deployment: self.subject.deployment.clone(),
            ..context.event()
        }
    }

    async fn wrap(self, teller: Option<Teller>, before: Before, secrets: Vec<Secret>, clock: &Clock) -> u8 {
        let mut variables = Vec::new();
        if let Some(Teller { context, event, .. }) = &teller {
            context.notes.iter().for_each(|note| eprintln!("cachetscope: {note}"));
            variables = context.variables();
            variables.push(("TRACEPARENT".to_owned(), event.as_parent().to_string().into()));
            variables.push(("CACHETSCOPE_DAEMON".to_owned(), self.daemon.daemon.as_str().into()));
        }
        if let Some(steps) = &before.steps {
            variables.push(("CACHETSCOPE_STEPS".to_owned(), steps.path.clone().into()));
        }
        let notice = teller.as_ref().map(|teller| {
            let (client, event) = (teller.client.clone(), teller.event.clone());
            tokio::spawn(async move { client.notify(&event).await })
        });
        let command = wrap::Command {
            argv: self.command.clone(),
            env: variables,
            timeout: self.timeout.filter(|time| !time.is_zero()),
            stall_timeout: self.stall_timeout.filter(|time| !time.is_zero()),
            grace: self.grace,
            secrets: teller.iter().filter_map(|teller| teller.secret.clone()).chain(secrets).collect(),
        };
        let ended = wrap::run(command, clock).await;
        // A word that has not arrived would come after the end, and say less.
        notice.inspect(|notice| notice.abort());
        let code = match &ended {
            Ok(ended) => ended.exit_code(),
            Err(error) => {
                eprintln!("cachetscope: {error}");
                error.exit_code()
            }
        };
        let delivery = match teller {
            Some(Teller { client, event, .. }) => {
                let event = self.completed(event, ended, &before, clock);
                let report = client.deliver(std::slice::from_ref(&event)).await;
                tell(&report);
                eprintln!("cachetscope: {} → {}", say::line(&event), report.delivery);
                Some(report.delivery)
            }
            None => None,
        };
        let undelivered = self.require_delivery && !matches!(delivery, Some(Delivery::Delivered { .. }));
        if code == exit::OK && undelivered { exit::UNDELIVERED } else { code }
    }

    /// The event with its end.
    fn completed(
        &self,
        begun: Event,
        ended: Result<wrap::Ended, wrap::StartError>,
        before: &Before,
        clock: &Clock,
    ) -> Event {
        let mut event = Event { finished: Some(clock.now()), ..begun };
        if let Some(given) = &self.subject.digest {
            match files::digest(given) {
                Ok(digest) => event.digest = Some(digest),
                Err(error) => warn(&format!("{error:#}")),
            }
        }
        if !self.junit.is_empty() {
            event.tests = Some(self.tests(event.title(), &before.reports));
        }
        if self.step == Step::Deploy {
            let mut deploy = Deploy { url: self.deploy_url.clone(), ..Deploy::default() };
            if let Some(Steps { path, length, .. }) = &before.steps {
                let (steps, warnings) = steps::written(path, *length);
                warnings.iter().for_each(|words| warn(words));
                deploy.steps = steps;
            }
            event.deploy = Some(deploy);
        }
        match ended {
            Ok(ended) => {
                let result = events::result(&ended, event.tests.as_ref());
                event.finished = Some(ended.started.plus(ended.duration)).max(event.started);
                event.result = Some(result);
                if let Some(tests) = event.tests.as_mut().filter(|_| ended.ended_for.is_some()) {
                    tests.aborted = true;
                }
                event.evidence = self.evidence(&ended, result, &event);
                event.usage = Some(ended.usage);
            }
            Err(error) => {
                event.result = Some(CiResult::Error);
                event.evidence = Some(Evidence { reason: error.to_string(), ..Evidence::default() });
            }
        }
        event.trim();
        event
    }

    /// Why it was ended, or the last it said before it failed; failed tests speak for themselves.
    fn evidence(&self, ended: &wrap::Ended, result: CiResult, event: &Event) -> Option<Evidence> {
        let mut evidence = ended.evidence.clone();
        let is_told = event.tests.as_ref().is_some_and(|tests| tests.counts().bad() > 0);
        if evidence.is_none() && result.is_bad() && !is_told && self.tail > 0 {
            let reason = format!("it ended with {}", ended.exit_code());
            evidence =
                Some(Evidence { reason, last_output: ended.last_output.clone(), ..Evidence::default() });
        }
        let mut evidence = evidence?;
        let surplus = evidence.last_output.len().saturating_sub(self.tail);
        evidence.last_output.drain(..surplus);
        Some(evidence)
    }

    /// What the reports say that were written while the command ran.
    fn tests(&self, title: &str, before: &BTreeMap<PathBuf, Stamp>) -> Tests {
        // Not as a report says: where there is none, its suite must be known all the same.
        let suite = self.suite.as_deref().unwrap_or(title);
        let nothing = |remark: String| {
            warn(&remark);
            Tests { suite: suite.to_owned(), aborted: true, remarks: vec![remark], ..Tests::default() }
        };
        let patterns = self.junit.join(", ");
        let now = match files::matching(&self.junit) {
            Ok(now) => now,
            Err(error) => return nothing(format!("{error:#}")),
        };
        let (new, old): (Vec<_>, Vec<_>) =
            now.into_iter().partition(|(path, stamp)| before.get(path) != Some(stamp));
        if !old.is_empty() {
            let named: Vec<String> = old.iter().take(3).map(|(path, _)| path.display().to_string()).collect();
            let more = if old.len() > named.len() { ", …" } else { "" };
            warn(&format!(
                "{} of the reports did not change while the command ran and are left out: {}{more}",
                old.len(),
                named.join(", ")
            ));
        }
        if new.is_empty() {
            return nothing(format!("the command wrote no report that matches {patterns}"));
        }
        let mut reports = Vec::new();
        for (path, _) in &new {
            match files::open(path) {
                Ok(report) => reports.push(report),
                Err(error) => warn(&format!("{error:#}")),
            }
        }
        match crate::junit::gather(Some(suite), reports) {
            Ok((tests, _)) => {
                tests.remarks.iter().for_each(|remark| warn(remark));
                tests
            }
            Err(error) => nothing(error.to_string()),
        }
    }
}
