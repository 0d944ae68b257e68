//! What a configuration file may refer to: the environment, and other files beside it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Env;
use super::problem::Fault;

/// Of any file that is read: suites have some kilobytes, schemas and bundles of certificates some
/// hundred.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The environment, the directory that relative paths start from, and what was read so far.
#[derive(Debug)]
pub(super) struct Surroundings<'a> {
    pub env: &'a Env,
    dir: &'a Path,
    files: RefCell<BTreeSet<PathBuf>>,
}

impl<'a> Surroundings<'a> {
    pub fn new(env: &'a Env, dir: &'a Path) -> Self {
        Surroundings { env, dir, files: RefCell::default() }
    }

    pub fn resolve(&self, path: &str) -> PathBuf {
        self.dir.join(path)
    }

    /// The text of a regular file; refuses what would block, is too large or is not UTF-8.
    pub fn read(&self, path: &Path) -> Result<String, Fault> {
        self.files.borrow_mut().insert(path.to_owned());
        let unreadable = |error: io::Error| Fault::new(format!("cannot be read: {error}"));
        let metadata = fs::metadata(path).map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(Fault::new("cannot be read: expected a regular file"));
        }
        if metadata.len() > FILE_BYTES_MAX {
            return Err(Fault::new(format!(
                "is too large: expected at most {FILE_BYTES_MAX} bytes, found {}",
                metadata.len()
            )));
        }
        let bytes = fs::read(path).map_err(unreadable)?;
        String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            Fault::new(format!("is not UTF-8: the first broken byte is at offset {at}"))
        })
    }

    /// Everything that was read or looked for.
    pub fn into_files(self) -> Vec<PathBuf> {
        self.files.into_inner().into_iter().collect()
    }
}
