//! Configuration: YAML files and the environment → suites and a fleet that are known to be sound.
//!
//! A capability: it knows the model and nothing of what uses it. Either everything is sound, or
//! all problems come back at once and nothing is applied. Relative paths inside the files start
//! from the directory of the files. The environment is read in [`Env::process`] and nowhere else.
//!
//! Deliberately absent: a second file format, includes, and settings of the daemon itself (those
//! are flags).

pub mod ci;
mod compose;
pub mod discover;
mod env;
mod expect;
mod fleet;
mod hosts;
mod problem;
mod reader;
mod request;
mod suite;
mod surroundings;
mod tokens;
mod value;
mod yaml;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use env::Env;
pub use hosts::Hosts;
pub use problem::{Problem, Problems};
pub use tokens::{Tokens, tokens};
pub use value::parse_size;

use crate::model::{Deployment, Suite};
use fleet::FleetFile;
use problem::{Fault, Sink};
use suite::{Identity, SuiteFile};
use surroundings::Surroundings;

/// Before the name of a shipped file, in messages and in `Variant::file`.
const EMBEDDED: &str = "embedded:";

/// The suites that are part of the binary.
const SHIPPED: [(&str, &str); 4] = [
    ("cachet-v2.yaml", include_str!("../../probes/cachet-v2.yaml")),
    ("cachet-v2-writes.yaml", include_str!("../../probes/cachet-v2-writes.yaml")),
    ("cachet-v3.yaml", include_str!("../../probes/cachet-v3.yaml")),
    ("cachet-v3-writes.yaml", include_str!("../../probes/cachet-v3-writes.yaml")),
];

/// What is probed, how, and where that was read.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// By name.
    pub suites: Vec<Suite>,
    /// In the order of `fleet.yaml`.
    pub fleet: Vec<Arc<Deployment>>,
    /// From where deploy events may bring more into the fleet.
    pub allow_hosts: Hosts,
    /// Where more of it is discovered.
    pub sources: Vec<discover::Source>,
    /// What works, but may not be meant.
    pub notes: Vec<Problem>,
    /// All files that were read, and the directory itself: a change of any of them may change the
    /// configuration.
    pub files: Vec<PathBuf>,
}

/// Where the configuration comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source<'a> {
    /// Only the shipped suites, and no fleet.
    Shipped,
    /// A directory that may be missing, which is the same as [`Source::Shipped`].
    Optional(&'a Path),
    /// A directory that somebody named, so it has to be there.
    Required(&'a Path),
}

/// A deployment given by flags. The texts are as they were typed.
#[derive(Clone, Copy, Debug, Default)]
pub struct AdHoc<'a> {
    pub url: &'a str,
    pub version: &'a str,
    /// The place of a version that is only a name.
    pub order: Option<&'a str>,
    pub db: &'a str,
    /// Host and port of the URL when absent.
    pub name: Option<&'a str>,
    pub environment: Option<&'a str>,
    /// Name of the environment variable that holds the token.
    pub token_env: Option<&'a str>,
    /// Path of the file that holds the token.
    pub token_file: Option<&'a str>,
    pub writes: bool,
    pub ca: Option<&'a str>,
    pub insecure: bool,
}

/// The deployment that the flags describe, by the rules of `fleet.yaml`; a problem's `file` is the
/// flag it is about.
pub fn ad_hoc(given: &AdHoc<'_>, env: &Env) -> Result<Deployment, Problems> {
    fleet::read_ad_hoc(given, env)
}

/// Reads and judges everything.
///
/// The shipped suites are the base. A file of the directory takes the place of a shipped one that
/// has its name, or its `suite` and `applies_to`. `fleet.yaml` is the fleet; every other `*.yaml`
/// or `*.yml` is a suite; files whose names start with a dot are left alone.
pub fn load(source: Source<'_>, env: &Env) -> Result<Config, Problems> {
    let dir = match source {
        Source::Shipped => None,
        Source::Optional(dir) if !dir.exists() => None,
        Source::Optional(dir) | Source::Required(dir) => Some(dir),
    };
    let around = Surroundings::new(env, dir.unwrap_or(Path::new("")));
    let mut sinks: Vec<Sink> = Vec::new();
    let mut fleet = FleetFile::default();
    let mut suites: Vec<(SuiteFile, Sink)> = Vec::new();
    let mut names: BTreeSet<String> = BTreeSet::new();
    let mut identities: Vec<Identity> = Vec::new();

    if let Some(dir) = dir {
        let sink = Sink::new(dir.display().to_string());
        let is_fleet = |name: &str| name == "fleet.yaml" || name == "fleet.yml";
        let files = sink.keep(None, yaml_files(dir));
        match files.as_deref().map(|files| (files.len(), files.iter().filter(|name| is_fleet(name)).count()))
        {
            Some((0, _)) => {
                let fault =
                    Fault::new("holds no configuration: expected fleet.yaml and, if wanted, suites (*.yaml)");
                match source {
                    Source::Required(_) => sink.report(None, fault),
                    _ => sink.note(None, fault),
                }
            }
            Some((_, 0)) => sink.note(None, Fault::new("holds no fleet.yaml, so there is nothing to probe")),
            Some((_, 2)) => {
                sink.report(None, Fault::new("holds fleet.yaml and fleet.yml: expected one of them"));
            }
            _ => {}
        }
        sinks.push(sink);
        for name in files.into_iter().flatten() {
            let path = dir.join(&name);
            let sink = Sink::new(path.display().to_string());
            let text = sink.keep(None, around.read(&path));
            let node = text
                .and_then(|text| yaml::parse(&sink.file, &text).map_err(|problem| sink.add(problem)).ok());
            if is_fleet(&name) {
                if let Some(node) = node {
                    fleet = fleet::read(&sink, node, &around);
                }
                sinks.push(sink);
                continue;
            }
            let (identity, file) = node.map_or((None, None), |node| suite::read(&sink, node, &around));
            identities.extend(identity);
            match file {
                Some(file) => suites.push((file, sink)),
                None => sinks.push(sink),
            }
            names.insert(name);
        }
    }
    for (name, text) in SHIPPED.iter().filter(|(name, _)| !names.contains(*name)) {
        let sink = Sink::new(format!("{EMBEDDED}{name}"));
        let node = yaml::parse(&sink.file, text).map_err(|problem| sink.add(problem)).ok();
        let (identity, file) = node.map_or((None, None), |node| suite::read(&sink, node, &around));
        match file {
            Some(_) if identity.is_some_and(|identity| identities.contains(&identity)) => {}
            Some(file) => suites.push((file, sink)),
            None => sinks.push(sink),
        }
    }
    // Shipped files first, so that a disagreement is reported in the file that can be changed.
    suites.sort_by_key(|(_, sink)| (!sink.file.starts_with(EMBEDDED), sink.file.clone()));
    let (suites, used) = compose::compose(suites);
    sinks.extend(used);
    note_strangers(&sinks, &fleet.deployments, &suites);

    let (mut problems, mut notes) = (Vec::new(), Vec::new());
    for (of_file, notes_of_file) in sinks.into_iter().map(Sink::into_parts) {
        problems.extend(of_file);
        notes.extend(notes_of_file);
    }
    if let Some(problems) = Problems::of(problems) {
        return Err(problems);
    }
    notes.sort();
    let files = dir.into_iter().map(Path::to_owned).chain(around.into_files()).collect();
    let FleetFile { deployments, allow_hosts, sources } = fleet;
    let fleet = deployments.into_iter().map(|(_, deployment)| Arc::new(deployment)).collect();
    Ok(Config { suites, fleet, allow_hosts, sources, notes, files })
}

/// Notes deployments that no suite speaks to.
fn note_strangers(sinks: &[Sink], fleet: &[(problem::At, Deployment)], suites: &[Suite]) {
    let is_fleet = |sink: &&Sink| Path::new(&sink.file).file_stem().is_some_and(|stem| stem == "fleet");
    let Some(sink) = sinks.iter().find(is_fleet) else { return };
    for (at, deployment) in fleet {
        if !suites.iter().any(|suite| suite.variant_for(&deployment.version).is_some()) {
            let fault = format!(
                "no suite has a variant for version {} of deployment `{}`: it is not probed",
                deployment.version, deployment.name
            );
            sink.note(*at, Fault::new(fault));
        }
    }
}

/// The names of the YAML files of a directory, sorted.
fn yaml_files(dir: &Path) -> Result<Vec<String>, Fault> {
    let unreadable = |error: io::Error| {
        Fault::new(format!("cannot be read: {error}\nexpected a directory with fleet.yaml and suites"))
    };
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && (name.ends_with(".yaml") || name.ends_with(".yml")) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests;
