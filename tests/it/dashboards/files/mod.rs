//! What stands in `grafana/`, read strictly, and what its queries say. Shared by the test that holds the
//! files against the rules (`tests/it/dashboards`) and the one that runs them (`tests/real/stack`).
//!
//! Nothing here judges more than form: a file that cannot be read, an expression that does not parse.

#![allow(dead_code, reason = "each of the two tests uses a part; fields are there to be checked by serde")]

pub mod empty;
pub mod model;
pub mod names;
pub mod options;
pub mod panel;
pub mod promql;
pub mod rules;
pub mod variables;

use std::fs;
use std::path::{Path, PathBuf};

use model::Dashboard;

/// A file of a folder in the project, in the order of names.
pub struct File {
    /// From the project's top, as messages name it.
    pub name: String,
    pub text: String,
}

/// The files of `grafana/` that are looked at, parsed.
pub struct Grafana {
    pub dashboards: Vec<(String, Dashboard)>,
    pub rules: Vec<(String, rules::File)>,
    pub empty: Vec<empty::Entry>,
}

pub fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Files with this ending right in this folder.
pub fn files(folder: &str, ending: &str) -> Vec<File> {
    let path = project().join(folder);
    let entries = fs::read_dir(&path).unwrap_or_else(|error| panic!("cannot read {folder}: {error}"));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == ending));
    paths.sort();
    let read = |path: PathBuf| File {
        name: format!("{folder}/{}", path.file_name().unwrap().to_string_lossy()),
        text: fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display())),
    };
    paths.into_iter().map(read).collect()
}

impl Grafana {
    /// Everything that can be read, and what is wrong with the rest.
    pub fn load() -> (Grafana, Vec<String>) {
        let mut grafana = Grafana { dashboards: Vec::new(), rules: Vec::new(), empty: Vec::new() };
        let mut problems = Vec::new();
        for file in files("grafana/dashboards", "json") {
            let (dashboard, found) = model::parse(&file.name, &file.text);
            problems.extend(found);
            grafana.dashboards.extend(dashboard.map(|dashboard| (file.name, dashboard)));
        }
        for file in files("grafana/rules", "yaml") {
            match rules::parse(&file.name, &file.text) {
                Ok(rules) => grafana.rules.push((file.name, rules)),
                Err(problem) => problems.push(problem),
            }
        }
        match empty::parse(&fs::read_to_string(project().join(empty::FILE)).unwrap_or_default()) {
            Ok(list) => grafana.empty = list,
            Err(problem) => problems.push(problem),
        }
        (grafana, problems)
    }
}
