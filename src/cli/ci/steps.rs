//! The steps of a deployment: from flags (`migrate=40s`), and from the file that a wrapped command
//! writes to.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use crate::model::DeployStep;

use super::moment::seconds;

/// Steps of one deployment at most.
const STEPS_MAX: usize = 1_000;
/// Bytes of the file at most.
const BYTES_MAX: u64 = 1 << 20;

/// `NAME=TIME`
pub(super) fn flag(text: &str) -> Result<DeployStep, String> {
    match text.rsplit_once('=') {
        Some((name, time)) if !name.trim().is_empty() => Ok(step(name.trim(), seconds(time)?)),
        _ => Err(format!("expected NAME=TIME such as migrate=40s, found `{text}`")),
    }
}

fn step(name: &str, seconds: f64) -> DeployStep {
    DeployStep { name: name.to_owned(), seconds, offset_seconds: None, result: None }
}

/// Bytes that are in the file now: what an earlier run left there is none of ours.
pub(super) fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |file| file.len())
}

/// What was written to the file since it had `before` bytes: a line for each step, `NAME TIME` or an
/// object of the API. Lines that are neither are left out with a word each; so is what is beyond the
/// limits.
pub(super) fn written(path: &Path, before: u64) -> (Vec<DeployStep>, Vec<String>) {
    let mut warnings = Vec::new();
    let text = match read(path, before) {
        Ok(text) => text,
        Err(error) => {
            warnings.push(format!("failed to read the steps from {}: {error}", path.display()));
            return (Vec::new(), warnings);
        }
    };
    let mut steps = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if steps.len() == STEPS_MAX {
            warnings
                .push(format!("{} holds more than {STEPS_MAX} steps; the rest is left out", path.display()));
            break;
        }
        let read = match line.starts_with('{') {
            true => serde_json::from_str(line).map_err(|error| error.to_string()),
            false => match line.rsplit_once(char::is_whitespace) {
                Some((name, time)) => seconds(time).map(|seconds| step(name.trim(), seconds)),
                None => Err("there is no time in it".to_owned()),
            },
        };
        match read {
            Ok(step) => steps.push(step),
            Err(problem) => warnings.push(format!(
                "a line of {} is left out: expected `NAME TIME` or an object with name and seconds, found \
                 `{line}`: {problem}",
                path.display()
            )),
        }
    }
    (steps, warnings)
}

fn read(path: &Path, before: u64) -> std::io::Result<String> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(String::new()),
        file => file?,
    };
    // A file that became shorter was begun anew.
    let skipped = if file.metadata()?.len() < before { 0 } else { before };
    file.seek(SeekFrom::Start(skipped))?;
    let mut bytes = Vec::new();
    file.take(BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_names_with_times() {
        assert_eq!(flag("migrate=40s"), Ok(step("migrate", 40.0)));
        assert_eq!(flag("a=b=1.5"), Ok(step("a=b", 1.5)));
        for wrong in ["migrate", "=4", "migrate=soon"] {
            assert!(flag(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_file_holds_what_this_run_wrote() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("steps");
        assert_eq!(written(&path, 0), (vec![], vec![]));
        fs::write(&path, "old 1\n").unwrap();
        let before = length(&path);
        let new = "old 1\n# a remark\npull image 12.5\n\n{\"name\":\"migrate\",\"seconds\":40,\"result\":\"failure\"}\nwhat\nx y\n";
        fs::write(&path, new).unwrap();
        let (steps, warnings) = written(&path, before);
        assert_eq!(steps[0], step("pull image", 12.5));
        assert_eq!((steps.len(), steps[1].name.as_str()), (2, "migrate"));
        assert_eq!(warnings.len(), 2);
        assert!(warnings[0].ends_with("found `what`: there is no time in it"), "{warnings:?}");
        fs::write(&path, "a 1").unwrap();
        assert_eq!(written(&path, before).0, [step("a", 1.0)]);
    }
}
