//! The command line: flags, dispatch, exit codes.
//!
//! stdout is for results and stderr for words. Every setting is a flag with an environment
//! variable; there is no third file format.

mod check;
mod ci;
mod compare;
mod demo;
mod gate;
mod manager;
mod misc;
mod one_shot;
mod outbox;
mod output;
mod probe;
mod reconcile;
mod report;
mod serve;
mod spool;

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::clock::Clock;
use crate::config::{Config, Env, Problems, Source};
use crate::http;
use crate::store::{Location, Store, StoreError};

/// Exit codes of the one-shots (ARCHITECTURE.md, "Exit codes"). When several apply, the first of
/// usage, unreachable, failed, regressed, undecided, undelivered.
pub(crate) mod exit {
    pub const OK: u8 = 0;
    pub const FAILED: u8 = 1;
    pub const USAGE: u8 = 2;
    pub const UNREACHABLE: u8 = 3;
    pub const REGRESSED: u8 = 4;
    pub const UNDECIDED: u8 = 5;
    pub const UNDELIVERED: u8 = 6;
    /// Of `run`, whose other codes are those of the command that it wraps.
    pub const RUN_USAGE: u8 = 125;
}

/// Probes every deployed Cachet version on every database, keeps what it saw, and exports it over
/// OTLP.
#[derive(Debug, Parser)]
#[command(name = "cachetscope", version, max_term_width = 100, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Options of all commands", next_display_order = 100)]
pub(crate) struct Global {
    /// Folder with fleet.yaml and suites [default: probes]
    #[arg(long, global = true, env = "CACHETSCOPE_CONFIG", value_name = "DIR")]
    config: Option<PathBuf>,
    /// Folder for the embedded store [default: $STATE_DIRECTORY, else the XDG state folder]
    #[arg(long, global = true, env = "CACHETSCOPE_STATE_DIR", value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Store of the daemon: a file or a postgres:// URL [default: cachetscope.db in the state folder]
    #[arg(long, global = true, env = "CACHETSCOPE_DATABASE", value_name = "URL", hide_env_values = true)]
    database: Option<String>,
    /// Whether to use colours
    #[arg(long, global = true, env = "CACHETSCOPE_COLOR", value_name = "WHEN", default_value = "auto")]
    color: When,
    /// What to log to stderr: error, warn, info, debug, trace, or directives such as
    /// cachetscope::probe=debug
    #[arg(long, global = true, env = "CACHETSCOPE_LOG", value_name = "LEVEL")]
    log: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum When {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The daemon: scheduled rounds, page and API, export
    Serve(serve::Serve),
    /// Everything in one process with stand-in deployments, for a look
    Demo(demo::Demo),
    /// One round now; the exit code says how it went
    Probe(probe::Probe),
    /// Two running deployments beside each other, until it is clear which requests differ
    Compare(compare::Compare),
    /// The five questions and what is known of them, as text, Markdown or JSON
    Report(report::Report),
    /// Wrap a command of CI: it is timed, watched and reported, and exits as it exits
    #[command(after_help = RUN_HELP)]
    Run(ci::Run),
    /// Hand in what happened: tests, a deployment, a load run, a whole pipeline
    Record(ci::Record),
    /// Deliver what `run` and `record` could not
    Flush(ci::Flush),
    /// Validate suites and fleet offline; request budgets and number of series
    Check(check::Check),
    /// Look after telemetry that the collector refused
    Outbox(outbox::Outbox),
    /// Compare with what a CI server keeps, and import what is missing
    Reconcile(reconcile::Reconcile),
    /// Ask a running daemon whether it is well
    Healthcheck(misc::Healthcheck),
    /// Print shell completions
    Completions(misc::Completions),
    /// Print the manual page
    Man,
}

const RUN_HELP: &str = "\
The exit code is the command's own, 128+n if signal n ended it, 124 when it was ended for a \
time-out or for silence, 126 or 127 when it could not be started, 125 when this command line is \
wrong. With --require-delivery it is 6 when the command succeeded and the event was not delivered.";

/// Runs the command that the process was given.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let code = if error.use_stderr() { usage_code() } else { exit::OK };
            // Nothing is left to tell if stdout or stderr is closed.
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let env = Env::process();
    match run(cli, env) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            match error.downcast_ref::<Problems>() {
                // Each line starts with its place, as compilers have it, so that editors can jump there.
                Some(problems) => eprintln!("{problems}"),
                None => eprintln!("error: {error:#}"),
            }
            ExitCode::from(exit::USAGE)
        }
    }
}

/// 2, but 125 for `run`, where 2 may be the wrapped command's own.
fn usage_code() -> u8 {
    let matches = Cli::command().ignore_errors(true).try_get_matches();
    match matches.ok().as_ref().and_then(|matches| matches.subcommand_name()) {
        Some("run") => exit::RUN_USAGE,
        _ => exit::USAGE,
    }
}

/// Writes a result to stdout. A reader that has gone away (`| head`) has seen what it wanted.
fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(anyhow::Error::from(error).context("failed to write to stdout"))
        }
        _ => Ok(()),
    }
}

fn run(cli: Cli, env: Env) -> anyhow::Result<u8> {
    let Cli { global, command } = cli;
    match command {
        Command::Serve(command) => command.run(&global, env),
        Command::Demo(command) => command.run(&global, env),
        Command::Probe(command) => command.run(&global, env),
        Command::Compare(command) => command.run(&global, env),
        Command::Report(command) => command.run(&global, &env),
        Command::Run(command) => Ok(command.run(&global, &env)),
        Command::Record(command) => command.run(&global, &env),
        Command::Flush(command) => command.run(&global, &env),
        Command::Check(command) => command.run(&global, &env),
        Command::Outbox(command) => command.run(&global, &env),
        Command::Reconcile(command) => command.run(&env),
        Command::Healthcheck(command) => command.run(),
        Command::Completions(command) => command.run(),
        Command::Man => misc::man(),
    }
}

impl Global {
    /// Whether a stream gets colours: as asked, else where a person looks and `NO_COLOR`
    /// (no-color.org) does not forbid it.
    fn colored(&self, env: &Env, stream: &impl IsTerminal) -> bool {
        match self.color {
            When::Always => true,
            When::Never => false,
            When::Auto => stream.is_terminal() && env.get("NO_COLOR").is_none(),
        }
    }

    /// The folder for the embedded store.
    fn state_dir(&self, env: &Env) -> anyhow::Result<PathBuf> {
        if let Some(dir) = &self.state_dir {
            return Ok(dir.clone());
        }
        if let Some(dirs) = env.get("STATE_DIRECTORY") {
            // systemd.exec(5): several folders are separated by colons.
            return Ok(dirs.split(':').next().unwrap_or(dirs).into());
        }
        if let Some(dir) = env.get("XDG_STATE_HOME") {
            return Ok(PathBuf::from(dir).join("cachetscope"));
        }
        let home = env.get("HOME").ok_or_else(|| {
            anyhow::anyhow!("no folder for the store: HOME is not set; name one with --state-dir")
        })?;
        Ok(PathBuf::from(home).join(".local/state/cachetscope"))
    }

    /// The daemon's store.
    fn location(&self, env: &Env) -> anyhow::Result<Location> {
        match &self.database {
            Some(text) => Ok(Location::parse(text)?),
            None => Ok(Location::File(crate::store::default_file(&self.state_dir(env)?))),
        }
    }

    /// Suites and fleet, with every problem at once.
    fn load(&self, env: &Env) -> anyhow::Result<Config> {
        Ok(crate::config::load(self.source(), env)?)
    }

    /// A folder that was named has to be there; the default one may be missing.
    fn source(&self) -> Source<'_> {
        match &self.config {
            Some(dir) => Source::Required(dir),
            None => Source::Optional(Path::new("probes")),
        }
    }
}

/// Runs a command on a small runtime: probing is bound by the network, and threads cost memory.
/// For asking what is at this address.
fn http_client(url: &url::Url) -> anyhow::Result<reqwest::Client> {
    let client = http::ordinary(http::roots_for(url))?.build();
    client.context("failed to make an HTTP client")
}

fn block_on(command: impl Future<Output = anyhow::Result<u8>>) -> anyhow::Result<u8> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let code = runtime.block_on(command);
    // A name that is still being looked up must not keep the process.
    runtime.shutdown_background();
    code
}

/// Opens a store that other one-shots of this user may hold for a moment.
async fn open_shared(location: &Location, clock: &Clock, patience: Duration) -> Result<Store, StoreError> {
    let started = Instant::now();
    loop {
        match Store::open(location, clock).await {
            Err(StoreError::InUse { .. }) if started.elapsed() < patience => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            result => return result,
        }
    }
}
