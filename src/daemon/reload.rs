//! Reads suites and fleet anew when their files change, or on SIGHUP.
//!
//! A configuration with problems changes nothing: the old one stays, and the page and the log say
//! what is wrong.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use tokio::signal::unix::Signal;
use tokio_util::sync::CancellationToken;

use super::Fleet;
use crate::config::{self, Config, Env, Source};

/// Files are looked at this often. Looking is cheap, and unlike kernel notifications it also sees
/// what changes behind a mounted volume's symbolic links.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(2);

pub struct Reloader {
    /// `None` for the default folder, which may be missing.
    dir: Option<PathBuf>,
    env: Env,
    seen: Vec<Mark>,
    files: Vec<PathBuf>,
}

/// What tells that a file changed, without reading it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mark {
    file: PathBuf,
    state: Option<(u64, Option<SystemTime>)>,
}

/// At the files, and at all that lies in those that are folders: a file that was broken when it came
/// is not among those of the configuration in force, and must be seen when it is mended.
pub(super) fn look(files: &[PathBuf]) -> Vec<Mark> {
    let within = files.iter().filter_map(|file| std::fs::read_dir(file).ok()).flatten().flatten();
    let mut all: Vec<PathBuf> = files.iter().cloned().chain(within.map(|entry| entry.path())).collect();
    all.sort();
    all.dedup();
    let mark = |file: PathBuf| {
        let metadata = std::fs::metadata(&file).ok();
        Mark { file, state: metadata.map(|m| (m.len(), m.modified().ok())) }
    };
    all.into_iter().map(mark).collect()
}

impl Reloader {
    /// `config` is what is in force, read from the folder just before.
    pub fn new(dir: Option<PathBuf>, env: Env, config: &Config) -> Self {
        let seen = look(&config.files);
        Reloader { dir, env, seen, files: config.files.clone() }
    }

    /// Until stopped.
    pub async fn run(mut self, mut hangup: Signal, fleet: Fleet, stop: CancellationToken) {
        loop {
            let forced = tokio::select! {
                () = stop.cancelled() => return,
                _ = hangup.recv() => true,
                () = tokio::time::sleep(LOOK_EVERY) => false,
            };
            let seen = look(&self.files);
            if !forced && seen == self.seen {
                continue;
            }
            self.seen = seen;
            let problems = self.reload(&fleet).await;
            if !problems.is_empty() {
                fleet.refuse(problems).await;
            }
        }
    }

    /// Takes the new configuration over, or says in lines why not.
    async fn reload(&mut self, fleet: &Fleet) -> Vec<String> {
        let source = match &self.dir {
            Some(dir) => Source::Required(dir),
            None => Source::Optional(std::path::Path::new("probes")),
        };
        let config = match config::load(source, &self.env) {
            Ok(config) => config,
            Err(problems) => {
                tracing::error!(%problems, "the configuration was not reloaded; the one before stays in force");
                let intro = "The configuration was not reloaded; the one before stays in force.".to_owned();
                return std::iter::once(intro).chain(problems.iter().map(ToString::to_string)).collect();
            }
        };
        self.files.clone_from(&config.files);
        self.seen = look(&self.files);
        let (suites, deployments) = (config.suites.len(), config.fleet.len());
        match fleet.set(config).await {
            Ok(()) => {
                tracing::info!(suites, deployments, "the configuration was reloaded");
                Vec::new()
            }
            Err(error) => {
                tracing::error!(%error, "the configuration was not reloaded");
                vec![format!("The configuration was not reloaded: {error}")]
            }
        }
    }
}
