//! Files in Prometheus's file SD format, looked at for changes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::Look;
use super::web::one_line;
use crate::config::discover::targets::{self, Targets};
use crate::config::discover::{self as settings, FilePattern};

/// Files of one source at most.
const FILES_MAX: usize = 200;

pub(super) struct FileSd {
    settings: settings::FileSd,
    files: BTreeMap<PathBuf, File>,
}

/// What a file says, and when that was read.
struct File {
    mark: Mark,
    /// As it was when it was sound.
    targets: Option<Targets>,
    /// Why it is not sound now.
    failure: Option<String>,
}

/// What tells that a file changed, without reading it.
type Mark = Option<(u64, Option<SystemTime>)>;

impl FileSd {
    pub fn new(settings: &settings::FileSd) -> Self {
        FileSd { settings: settings.clone(), files: BTreeMap::new() }
    }

    pub fn refresh(&self) -> Duration {
        self.settings.refresh
    }

    /// On a thread of its own: a mounted volume may take its time.
    pub async fn look(&mut self) -> Look {
        let settings = self.settings.clone();
        let files = std::mem::take(&mut self.files);
        let read = tokio::task::spawn_blocking(move || read(&settings, files)).await;
        let (files, notices) = read.unwrap_or_default();
        self.files = files;
        let mut look = Look { notices, ..Look::default() };
        for (path, file) in &self.files {
            let called = path.display();
            if let Some(targets) = &file.targets {
                look.deployments.extend(targets.deployments.iter().cloned());
            }
            match (&file.failure, &file.targets) {
                (Some(why), Some(_)) => {
                    look.notices.push(format!("{called}: {why}; what it said before stays in force"));
                }
                (Some(why), None) => look.notices.push(format!("{called}: {why}")),
                (None, Some(targets)) => {
                    let words =
                        targets.problems.iter().map(|problem| format!("{called}: {}", one_line(problem)));
                    look.notices.extend(words);
                }
                (None, None) => {}
            }
        }
        look.failures = self.files.values().filter(|file| file.failure.is_some()).count() as u64;
        look
    }
}

/// The files as they are now, given what was known of them; and what is wrong with the patterns.
fn read(
    settings: &settings::FileSd,
    mut known: BTreeMap<PathBuf, File>,
) -> (BTreeMap<PathBuf, File>, Vec<String>) {
    let mut notices = Vec::new();
    let mut files = BTreeMap::new();
    for path in settings.patterns.iter().flat_map(FilePattern::files) {
        if files.len() >= FILES_MAX {
            notices.push(format!("there are more than {FILES_MAX} files; the rest is not read"));
            break;
        }
        let before = known.remove(&path);
        // Before the reading, so that a change in between is seen.
        let mark = std::fs::metadata(&path).ok().map(|m| (m.len(), m.modified().ok()));
        let file = match before {
            Some(file) if file.mark == mark && mark.is_some() => file,
            before => again(&path, mark, before.and_then(|file| file.targets), &settings.label_prefix),
        };
        files.insert(path, file);
    }
    (files, notices)
}

fn again(path: &Path, mark: Mark, before: Option<Targets>, prefix: &str) -> File {
    match targets::of_file(path, &path.display().to_string(), prefix) {
        Ok(targets) => File { mark, targets: Some(targets), failure: None },
        Err(problems) => {
            let why = problems.iter().map(one_line).collect::<Vec<_>>().join("; ");
            File { mark, targets: before, failure: Some(why) }
        }
    }
}
