//! Files that a job leaves behind: found by patterns, told from those of an earlier job, and read with
//! a limit.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context;

use crate::clock::Timestamp;

/// Files that the patterns of one call may match.
const FILES_MAX: usize = 10_000;
/// Bytes of a digest file at most.
const DIGEST_BYTES_MAX: u64 = 4 * 1024;

/// What changes when a file is written again. The time alone may stand still within one tick of the
/// file system's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
    inode: u64,
}

/// Everything that the patterns match now.
pub(super) fn matching(patterns: &[String]) -> anyhow::Result<BTreeMap<PathBuf, Stamp>> {
    let mut found = BTreeMap::new();
    for pattern in patterns {
        let paths = glob::glob(pattern).with_context(|| format!("`{pattern}` is no pattern for files"))?;
        for path in paths.filter_map(Result::ok) {
            let Ok(file) = fs::metadata(&path) else { continue };
            if file.is_file() {
                let stamp = Stamp { modified: file.modified().ok(), bytes: file.len(), inode: file.ino() };
                found.insert(path, stamp);
            }
            anyhow::ensure!(
                found.len() <= FILES_MAX,
                "`{pattern}` matches more than {FILES_MAX} files; expected the reports of one run"
            );
        }
    }
    Ok(found)
}

/// The files of a command line: each as it is named, or as a pattern where there is no such file. `-`
/// is stdin.
pub(super) fn named(arguments: &[String]) -> anyhow::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for argument in arguments {
        if argument == "-" || Path::new(argument).exists() {
            paths.push(PathBuf::from(argument));
            continue;
        }
        let found = matching(std::slice::from_ref(argument))?;
        anyhow::ensure!(!found.is_empty(), "there is no file `{argument}`, and none that matches it");
        paths.extend(found.into_keys());
    }
    Ok(paths)
}

/// A file, or stdin for `-`, with its name.
pub(super) fn open(path: &Path) -> anyhow::Result<(String, Box<dyn BufRead>)> {
    if path == Path::new("-") {
        return Ok(("stdin".to_owned(), Box::new(BufReader::new(io::stdin()))));
    }
    let name = path.display().to_string();
    let file = File::open(path).with_context(|| format!("failed to open {name}"))?;
    Ok((name, Box::new(BufReader::with_capacity(1 << 16, file))))
}

/// A whole file, or stdin, of so many bytes at most.
pub(super) fn whole(path: &Path, max: u64) -> anyhow::Result<Vec<u8>> {
    let (name, reader) = open(path)?;
    let mut bytes = Vec::new();
    reader.take(max + 1).read_to_end(&mut bytes).with_context(|| format!("failed to read {name}"))?;
    anyhow::ensure!(bytes.len() as u64 <= max, "{name} is too large: expected at most {max} bytes");
    Ok(bytes)
}

pub(super) fn text(path: &Path, max: u64) -> anyhow::Result<String> {
    String::from_utf8(whole(path, max)?).with_context(|| format!("{} is not UTF-8", path.display()))
}

/// A digest as it was given, or read from `@FILE` (`docker build --iidfile`).
pub(super) fn digest(given: &str) -> anyhow::Result<String> {
    let Some(path) = given.strip_prefix('@') else { return Ok(given.trim().to_owned()) };
    let text = text(Path::new(path), DIGEST_BYTES_MAX).context("--digest")?;
    let digest = text.trim();
    anyhow::ensure!(!digest.is_empty(), "--digest: {path} is empty");
    Ok(digest.to_owned())
}

/// When the newest of these was written; `None` for stdin.
pub(super) fn written(paths: &[PathBuf]) -> Option<Timestamp> {
    let time = |path: &PathBuf| fs::metadata(path).and_then(|file| file.modified()).ok();
    let newest = paths.iter().filter_map(time).max()?;
    let since = newest.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(Timestamp(crate::clock::nanos(since)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_find_files_in_folders_and_names_go_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        fs::create_dir_all(at("a/b")).unwrap();
        for name in ["a/1.xml", "a/b/2.xml", "a/b/note.txt", "a/[odd].xml"] {
            fs::write(at(name), "x").unwrap();
        }
        assert_eq!(matching(&[at("a/**/*.xml")]).unwrap().len(), 3);
        assert_eq!(named(&[at("a/[odd].xml"), at("a/b/*")]).unwrap().len(), 3);
        let error = named(&[at("*.xml")]).unwrap_err().to_string();
        assert!(error.starts_with("there is no file `"), "{error}");
        assert!(matching(&["a***b".to_owned()]).unwrap_err().to_string().contains("no pattern"));
    }

    #[test]
    fn a_file_that_is_written_again_is_another_and_one_that_rests_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let pattern = [folder.path().join("*").display().to_string()];
        let path = folder.path().join("r.xml");
        fs::write(&path, "one").unwrap();
        let before = matching(&pattern).unwrap();
        assert_eq!(matching(&pattern).unwrap(), before);
        // With the same length and the same time.
        let time = path.metadata().unwrap().modified().unwrap();
        fs::write(folder.path().join("new"), "two").unwrap();
        fs::rename(folder.path().join("new"), &path).unwrap();
        File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        assert_ne!(matching(&pattern).unwrap(), before);
    }

    #[test]
    fn a_digest_comes_from_the_flag_or_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("iid");
        fs::write(&path, "sha256:abc\n").unwrap();
        assert_eq!(digest("sha256:def").unwrap(), "sha256:def");
        assert_eq!(digest(&format!("@{}", path.display())).unwrap(), "sha256:abc");
        assert!(digest("@/nowhere").is_err());
        fs::write(&path, " ").unwrap();
        assert!(digest(&format!("@{}", path.display())).unwrap_err().to_string().ends_with("is empty"));
    }
}
