//! `reconcile jenkins`: builds there, builds here, and what is missing is told.
//!
//! Whatever CI told while nobody listened is still in the CI server. Telling it again is safe: a run
//! is known by job, build and attempt.

mod asking;
mod builds;
mod daemon;
mod jenkins;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use url::{Host, Url};

use super::output::{lines, plain_table};
use super::{block_on, exit};
use crate::clock::Clock;
use crate::config::Env;
use crate::model::{Event, Secret};
use asking::Stop;
use daemon::Daemon;
use jenkins::Jenkins;

/// Refused runs and missing numbers that the table lists; JSON has them all.
const SHOWN_MAX: usize = 20;
/// Bytes of a token file at most.
const TOKEN_BYTES_MAX: u64 = 64 * 1024;

#[derive(Debug, Args)]
pub(super) struct Reconcile {
    #[command(subcommand)]
    source: Source,
}

#[derive(Debug, Subcommand)]
enum Source {
    /// With the builds that a Jenkins server keeps
    Jenkins(JenkinsArgs),
}

#[derive(Debug, Args)]
struct JenkinsArgs {
    /// Address of the Jenkins server, with its path
    #[arg(long, env = "CACHETSCOPE_JENKINS_URL", value_name = "URL", hide_env_values = true)]
    url: String,
    /// Only this job or folder, as JOB_NAME has it: folder/job/branch; may be given several times
    #[arg(long, value_name = "JOB")]
    job: Vec<String>,
    /// Builds that began within this time
    #[arg(long, value_name = "TIME", default_value = "30d", value_parser = humantime::parse_duration)]
    since: Duration,
    /// User whose API token is in $CACHETSCOPE_JENKINS_TOKEN
    #[arg(long, env = "CACHETSCOPE_JENKINS_USER", value_name = "NAME")]
    user: Option<String>,
    /// File with the API token, instead of $CACHETSCOPE_JENKINS_TOKEN
    #[arg(long, env = "CACHETSCOPE_JENKINS_TOKEN_FILE", value_name = "FILE")]
    jenkins_token_file: Option<PathBuf>,
    /// Say what is missing, and import nothing; exits 1 when something is
    #[arg(long)]
    dry_run: bool,
    /// What to print
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    output: Output,
    /// Address of the daemon
    #[arg(
        long,
        env = "CACHETSCOPE_DAEMON",
        value_name = "URL",
        default_value = "http://127.0.0.1:8787",
        hide_env_values = true
    )]
    daemon: String,
    /// File with the token for the daemon, instead of $CACHETSCOPE_TOKEN
    #[arg(long, env = "CACHETSCOPE_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
}

/// What a flag gives as an address. It is not repeated in full: it may hold what it must not.
fn address(flag: &str, text: &str) -> anyhow::Result<Url> {
    let url: Url =
        text.parse().with_context(|| format!("{flag}: expected such as https://ci.example/jenkins"))?;
    anyhow::ensure!(
        matches!(url.scheme(), "http" | "https"),
        "{flag}: expected http or https, found `{}`",
        url.scheme()
    );
    anyhow::ensure!(
        url.username().is_empty() && url.password().is_none(),
        "{flag}: credentials do not belong in an address; put the token into a file or a variable"
    );
    anyhow::ensure!(
        url.query().is_none() && url.fragment().is_none(),
        "{flag}: expected an address without query or fragment"
    );
    Ok(url)
}

/// What was found and done.
#[derive(Debug, Default, Serialize)]
struct Report {
    jenkins: String,
    daemon: String,
    /// RFC 3339.
    since: String,
    dry_run: bool,
    jobs: Vec<JobReport>,
    /// Runs that the daemon will never take, and why.
    refused: Vec<RefusedRun>,
    /// What was not looked at because of a limit.
    left_out: Vec<String>,
    /// Why it ended early, if it did.
    error: Option<String>,
}

/// Builds of one job that began since then.
#[derive(Debug, Serialize)]
struct JobReport {
    job: String,
    /// Those that have ended.
    there: u64,
    /// Of these, those that the daemon knows.
    here: u64,
    /// The numbers of the others, oldest first.
    missing: Vec<u64>,
    imported: u64,
    /// Not compared: their end is not known.
    running: u64,
    #[serde(skip)]
    events: Vec<Event>,
}

#[derive(Debug, Serialize)]
struct RefusedRun {
    job: String,
    run: String,
    reason: String,
}

impl Reconcile {
    pub fn run(self, env: &Env) -> anyhow::Result<u8> {
        let Source::Jenkins(args) = self.source;
        args.run(env)
    }
}

impl JenkinsArgs {
    fn run(self, env: &Env) -> anyhow::Result<u8> {
        let (url, daemon) = (address("--url", &self.url)?, address("--daemon", &self.daemon)?);
        let token = secret(self.jenkins_token_file.as_deref(), env.get("CACHETSCOPE_JENKINS_TOKEN"))?;
        match (&self.user, &token) {
            (Some(_), None) => anyhow::bail!(
                "--user without an API token; put it into CACHETSCOPE_JENKINS_TOKEN or a file (--jenkins-token-file)"
            ),
            (None, Some(_)) => anyhow::bail!("an API token without its user; name the user with --user"),
            _ => {}
        }
        let daemon_token = secret(self.token_file.as_deref(), env.get("CACHETSCOPE_TOKEN"))?;
        for (url, given) in [(&url, &token), (&daemon, &daemon_token)] {
            if given.is_some() && url.scheme() == "http" && !is_loopback(url) {
                eprintln!("note: the token travels unencrypted to {url}; use https");
            }
        }
        let jenkins = Jenkins { http: super::http_client(&url)?, url, user: self.user, token };
        let daemon = Daemon { http: super::http_client(&daemon)?, url: daemon, token: daemon_token };
        let since = Clock::system().now().minus(self.since);
        let mut report = Report {
            jenkins: jenkins.place(),
            daemon: daemon.place(),
            since: since.to_string(),
            dry_run: self.dry_run,
            ..Report::default()
        };
        block_on(async {
            let done = async {
                let found = jenkins.jobs(&self.job).await?;
                report.left_out.extend(found.left_out);
                for job in found.items {
                    compare(&jenkins, &daemon, &job, since, &mut report).await?;
                }
                if !self.dry_run { import(&daemon, &mut report).await } else { Ok(()) }
            };
            let stopped: Option<Stop> = done.await.err();
            report.error = stopped.as_ref().map(ToString::to_string);
            let text = match self.output {
                Output::Table => report.table(),
                Output::Json => format!("{}\n", serde_json::to_string_pretty(&report)?),
            };
            super::print(&text)?;
            Ok(match stopped {
                Some(stop) => {
                    eprintln!("error: {}", plain(&stop.words));
                    stop.code
                }
                None if report.is_complete() => exit::OK,
                None => exit::FAILED,
            })
        })
    }
}

async fn compare(
    jenkins: &Jenkins,
    daemon: &Daemon,
    job: &builds::Job,
    since: crate::clock::Timestamp,
    report: &mut Report,
) -> Result<(), Stop> {
    let mut found = jenkins.builds(job, since).await?;
    report.left_out.append(&mut found.left_out);
    if found.items.is_empty() {
        return Ok(());
    }
    let known = daemon.known(&job.name()).await?;
    let running = found.items.iter().filter(|build| build.runs()).count() as u64;
    let ended: Vec<_> = found.items.iter().rev().filter(|build| !build.runs()).collect();
    let missing: Vec<_> = ended.iter().filter(|build| !known.contains(&build.number.to_string())).collect();
    report.jobs.push(JobReport {
        job: job.name(),
        there: ended.len() as u64,
        here: (ended.len() - missing.len()) as u64,
        missing: missing.iter().map(|build| build.number).collect(),
        imported: 0,
        running,
        events: missing.iter().filter_map(|build| build.event(job)).collect(),
    });
    Ok(())
}

async fn import(daemon: &Daemon, report: &mut Report) -> Result<(), Stop> {
    for job in &mut report.jobs {
        let events = std::mem::take(&mut job.events);
        if events.is_empty() {
            continue;
        }
        let told = daemon.tell(&events).await?;
        job.imported = told.taken;
        report.refused.extend(told.refused.into_iter().map(|(place, reason)| RefusedRun {
            job: job.job.clone(),
            run: events.get(place).map(|event| event.run.clone()).unwrap_or_default(),
            reason,
        }));
        if let Some(reason) = told.stopped {
            return Err(Stop::new(exit::UNDELIVERED, reason));
        }
    }
    Ok(())
}

impl Report {
    fn missing(&self) -> u64 {
        self.jobs.iter().map(|job| job.missing.len() as u64).sum()
    }

    fn imported(&self) -> u64 {
        self.jobs.iter().map(|job| job.imported).sum()
    }

    /// Whether everything that is there is here now.
    fn is_complete(&self) -> bool {
        self.missing() == self.imported() && self.left_out.is_empty()
    }

    fn table(&self) -> String {
        let mut out = String::new();
        if !self.jobs.is_empty() {
            let mut table = plain_table(&["job", "there", "here", "missing", "imported", ""], &[1, 2, 3, 4]);
            for job in &self.jobs {
                let numbers: Vec<String> =
                    job.missing.iter().take(SHOWN_MAX).map(|n| format!("#{n}")).collect();
                let more = job.missing.len().saturating_sub(SHOWN_MAX);
                let mut note = numbers.join(" ");
                if more > 0 {
                    note.push_str(&format!(" and {more} more"));
                }
                if job.running > 0 {
                    let space = if note.is_empty() { "" } else { "; " };
                    note.push_str(&format!("{space}{} running", job.running));
                }
                table.add_row([
                    plain(&job.job),
                    job.there.to_string(),
                    job.here.to_string(),
                    job.missing.len().to_string(),
                    job.imported.to_string(),
                    note,
                ]);
            }
            out.push_str(&lines(&table));
            out.push('\n');
        }
        for refused in self.refused.iter().take(SHOWN_MAX) {
            out.push_str(&format!(
                "refused: {} #{}: {}\n",
                plain(&refused.job),
                refused.run,
                plain(&refused.reason)
            ));
        }
        for words in &self.left_out {
            out.push_str(&format!("left out: {}\n", plain(words)));
        }
        let there: u64 = self.jobs.iter().map(|job| job.there).sum();
        let here: u64 = self.jobs.iter().map(|job| job.here).sum();
        let done = match self.missing() {
            0 if self.jobs.is_empty() && self.error.is_some() => "not compared".to_owned(),
            0 => "nothing is missing".to_owned(),
            missing if self.dry_run => format!("{missing} missing, not imported (--dry-run)"),
            missing => format!("{missing} missing, {} imported", self.imported()),
        };
        let end = if self.error.is_some() { "; ended early" } else { "" };
        out.push_str(&format!("builds since {}: {there} there, {here} here, {done}{end}\n", self.since));
        out
    }
}

/// Names come from elsewhere: nothing in them may move a terminal's cursor.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn secret(file: Option<&Path>, value: Option<&str>) -> anyhow::Result<Option<Secret>> {
    use std::io::Read;
    let Some(path) = file else { return Ok(value.map(Secret::new)) };
    let failed = || format!("failed to read the token file {}", path.display());
    let mut text = String::new();
    let file = std::fs::File::open(path).with_context(failed)?;
    file.take(TOKEN_BYTES_MAX).read_to_string(&mut text).with_context(failed)?;
    anyhow::ensure!(!text.trim().is_empty(), "the token file {} is empty", path.display());
    Ok(Some(Secret::new(&text)))
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}
