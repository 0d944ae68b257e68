//! Which version somebody means. Cachet 3 has no tags, so people name its branch; a build of a branch
//! has its place among versions by the time of its commit.

use std::path::Path;

use super::git::WorkTree;
use crate::model::Version;

/// No version could be made of what was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    #[error(
        "`{text}` is no version; expected one such as 2.4.1, or 3.x for the commit that is checked out here"
    )]
    NoVersion { text: String },
    #[error(
        "`{text}` is a branch, whose builds are told apart by the time of their commit, and {missing}; write \
         {major}.0.0-dev.YYYYMMDDhhmm with the UTC time of the commit"
    )]
    NoCommit { text: String, major: u64, missing: String },
}

/// Reads `v2.4.1` as [`Version::parse`] does. `3.x`, `3.x-dev` and `dev-main` become
/// `3.0.0-dev.<UTC yyyymmddhhmm of the commit>`, with the time from the work tree at `dir`; of the
/// commit that is checked out there unless another is named.
pub fn version(text: &str, commit: Option<&str>, dir: &Path) -> Result<Version, VersionError> {
    if let Some(version) = Version::parse(text) {
        return Ok(version);
    }
    let text = text.trim();
    let Some(major) = branch_of(text) else {
        return Err(VersionError::NoVersion { text: text.to_owned() });
    };
    let missing = |missing: String| VersionError::NoCommit { text: text.to_owned(), major, missing };
    let tree = WorkTree::at(dir).ok_or_else(|| missing("there is no git work tree here".to_owned()))?;
    let at = tree.time_of(commit).ok_or_else(|| {
        missing(format!("the git work tree here does not hold commit {}", commit.unwrap_or("HEAD")))
    })?;
    let place = at.to_utc().format("%Y%m%d%H%M");
    Version::parse(&format!("{major}.0.0-dev.{place}")).ok_or_else(|| missing(format!("{place} is no time")))
}

/// The major version that a branch leads to. The product code of Cachet 3 is on `main` of its core,
/// which is required as `dev-main`.
fn branch_of(text: &str) -> Option<u64> {
    if matches!(text, "dev-main" | "main") {
        return Some(3);
    }
    let plain = text.strip_prefix(['v', 'V']).unwrap_or(text);
    let plain = plain.strip_suffix("-dev").unwrap_or(plain);
    plain.strip_suffix(".x")?.parse().ok()
}
