//! What is not delivered yet: a folder with one file for each event, gzipped JSON, named so that
//! names sort by time.
//!
//! A file is there wholly or not at all: it is written beside, synced, renamed, and the folder synced.
//! For this user alone (0600 in 0700). Bounded by [`FILES_MAX`] and [`SPOOL_BYTES_MAX`]; at the limit
//! the newest is turned away with words, for the older ones were promised to be kept. Processes share
//! it without waiting for each other: the lock is taken only to deliver. What the daemon refuses for
//! good is moved to `refused/`, with its words.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::model::Event;

/// Events that wait at most.
pub const FILES_MAX: usize = 10_000;
/// Bytes that wait at most, as they are on the disk.
pub const SPOOL_BYTES_MAX: u64 = 256 << 20;
/// Refused events that are kept at most; then the oldest goes.
const REFUSED_MAX: usize = 100;
/// Of one event, as plain JSON.
const EVENT_BYTES_MAX: u64 = 256 << 20;
/// What a process that died left half written is removed after this.
const SWEPT_AFTER: Duration = Duration::from_secs(3_600);
const SUFFIX: &str = ".json.gz";

/// Why something could not be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    #[error("the spool {} is full: {files} events wait ({} MiB); see why with `cachetscope flush`", folder.display(), bytes >> 20)]
    Full { folder: PathBuf, files: usize, bytes: u64 },
    #[error("failed to {what} {}: {source}", path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    #[error("{} is damaged: {problem}", path.display())]
    Damaged { path: PathBuf, problem: String },
}

/// Of one file in the spool. Sorts by time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name(String);

impl Name {
    fn new(at: Timestamp) -> Self {
        // Two processes may hand in at the same nanosecond, in containers even with the same id.
        Name(format!("{:020}-{}{SUFFIX}", at.unix_nanos(), &uuid::Uuid::new_v4().simple().to_string()[..12]))
    }

    fn read(text: &str) -> Option<Self> {
        let stem = text.strip_suffix(SUFFIX)?;
        time_of(stem).map(|_| Name(text.to_owned()))
    }

    fn at(&self) -> Timestamp {
        time_of(&self.0).unwrap_or_default()
    }
}

fn time_of(name: &str) -> Option<Timestamp> {
    name.split_once('-')?.0.parse().ok().map(Timestamp)
}

/// One event that waits.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    pub at: Timestamp,
    /// As it is on the disk.
    pub bytes: u64,
    /// Absent when the file cannot be read.
    pub event: Option<Event>,
}

/// One event that the daemon refused for good.
#[derive(Clone, Debug, PartialEq)]
pub struct SetAside {
    pub at: Timestamp,
    pub reason: String,
    pub event: Option<Event>,
    pub path: PathBuf,
}

/// Held while one process delivers; the kernel drops it with the process.
pub(super) struct Lock(#[allow(dead_code)] File);

pub(super) struct Spool {
    folder: PathBuf,
}

impl Spool {
    pub fn at(folder: &Path) -> Self {
        Spool { folder: folder.to_owned() }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Keeps all or none.
    pub fn keep(&self, bodies: &[Vec<u8>], now: Timestamp) -> Result<Vec<Name>, SpoolError> {
        self.make(&self.folder)?;
        let (files, bytes) = self.size()?;
        if files + bodies.len() > FILES_MAX || bytes >= SPOOL_BYTES_MAX {
            return Err(SpoolError::Full { folder: self.folder.clone(), files, bytes });
        }
        let mut kept = Vec::new();
        let written = bodies.iter().enumerate().try_for_each(|(place, body)| {
            // Those of one call stay in their order.
            let name = Name::new(Timestamp(now.0.saturating_add(place as i64)));
            kept.push(name.clone());
            self.write(&self.folder, &name, body)
        });
        match written.and_then(|()| self.sync(&self.folder)) {
            Ok(()) => Ok(kept),
            Err(error) => {
                kept.iter().for_each(|name| self.remove(name));
                Err(error)
            }
        }
    }

    /// Alone with what waits, or `None` while another process is.
    pub fn lock(&self) -> Result<Option<Lock>, SpoolError> {
        self.make(&self.folder)?;
        let path = self.folder.join("lock");
        let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = opened.map_err(failed("open", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(failed("lock", &path)(source)),
        }
    }

    /// What waits, oldest first.
    pub fn names(&self) -> Result<Vec<Name>, SpoolError> {
        let mut names: Vec<Name> = list(&self.folder)?.iter().filter_map(|name| Name::read(name)).collect();
        names.sort();
        Ok(names)
    }

    pub fn count(&self) -> u64 {
        self.names().map_or(0, |names| names.len() as u64)
    }

    pub fn waits(&self, name: &Name) -> bool {
        self.folder.join(&name.0).exists()
    }

    /// The JSON of one event; `None` when it is gone.
    pub fn read(&self, name: &Name) -> Result<Option<Vec<u8>>, SpoolError> {
        unzip(&self.folder.join(&name.0))
    }

    pub fn remove(&self, name: &Name) {
        // What cannot be removed is sent again, which is no harm.
        let _ = fs::remove_file(self.folder.join(&name.0));
    }

    /// Moves one event out of the way, with what the daemon said about it.
    pub fn set_aside(&self, name: &Name, reason: &str, now: Timestamp) {
        let refused = self.folder.join("refused");
        let event: Option<Value> =
            self.read(name).ok().flatten().and_then(|b| serde_json::from_slice(&b).ok());
        let document = json!({ "refused": now.to_string(), "reason": reason, "event": event });
        let kept = self
            .make(&refused)
            .and_then(|()| match event {
                Some(_) => self.write(&refused, name, document.to_string().as_bytes()),
                None => fs::rename(self.folder.join(&name.0), refused.join(&name.0))
                    .map_err(failed("move", &refused)),
            })
            .and_then(|()| self.sync(&refused));
        match kept {
            Ok(()) => self.remove(name),
            Err(error) => tracing::warn!(%error, "a refused event stays in the spool"),
        }
        let Ok(mut names) = list(&refused) else { return };
        names.sort();
        for name in names.iter().rev().skip(REFUSED_MAX) {
            tracing::warn!(name, "the oldest refused event was removed, for {REFUSED_MAX} are kept");
            let _ = fs::remove_file(refused.join(name));
        }
    }

    /// The words for one event that was set aside.
    pub fn set_aside_for(&self, name: &Name) -> Option<String> {
        let body = unzip(&self.folder.join("refused").join(&name.0)).ok()??;
        let document: Value = serde_json::from_slice(&body).ok()?;
        Some(document["reason"].as_str()?.to_owned())
    }

    pub fn kept(&self) -> Result<Vec<Kept>, SpoolError> {
        let kept = |name: Name| {
            let bytes = fs::metadata(self.folder.join(&name.0)).map_or(0, |file| file.len());
            let body = self.read(&name).ok().flatten();
            Kept { at: name.at(), bytes, event: body.and_then(|body| serde_json::from_slice(&body).ok()) }
        };
        Ok(self.names()?.into_iter().map(kept).collect())
    }

    pub fn refused(&self) -> Result<Vec<SetAside>, SpoolError> {
        let folder = self.folder.join("refused");
        let mut names: Vec<Name> = list(&folder)?.iter().filter_map(|name| Name::read(name)).collect();
        names.sort();
        let read = |name: Name| {
            let path = folder.join(&name.0);
            let body = unzip(&path).ok().flatten();
            let mut document: Value =
                body.and_then(|body| serde_json::from_slice(&body).ok()).unwrap_or_default();
            let event = serde_json::from_value(document["event"].take()).ok();
            let reason = document["reason"].as_str().unwrap_or("the file cannot be read").to_owned();
            SetAside { at: name.at(), reason, event, path }
        };
        Ok(names.into_iter().map(read).collect())
    }

    /// Removes what processes left half written that died an hour ago and more.
    pub fn sweep(&self, now: Timestamp) {
        for name in list(&self.folder).unwrap_or_default() {
            let half = name.strip_prefix('.').and_then(time_of);
            if half.is_some_and(|at| at.plus(SWEPT_AFTER) < now) {
                let _ = fs::remove_file(self.folder.join(name));
            }
        }
    }

    fn size(&self) -> Result<(usize, u64), SpoolError> {
        let names = self.names()?;
        let bytes = names.iter().map(|name| fs::metadata(self.folder.join(&name.0)).map_or(0, |m| m.len()));
        Ok((names.len(), bytes.sum()))
    }

    fn make(&self, folder: &Path) -> Result<(), SpoolError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(failed("make the folder", folder))
    }

    fn write(&self, folder: &Path, name: &Name, body: &[u8]) -> Result<(), SpoolError> {
        let (half, whole) = (folder.join(format!(".{}", name.0)), folder.join(&name.0));
        let written =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&half).and_then(|file| {
                let mut gzip = GzEncoder::new(file, Compression::fast());
                gzip.write_all(body)?;
                gzip.finish()?.sync_all()?;
                fs::rename(&half, &whole)
            });
        written.map_err(|error| {
            let _ = fs::remove_file(&half);
            failed("write", &whole)(error)
        })
    }

    /// A rename is lasting only when its folder is synced.
    fn sync(&self, folder: &Path) -> Result<(), SpoolError> {
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("sync", folder))
    }
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SpoolError + use<> {
    let path = path.to_owned();
    move |source| SpoolError::Io { what, path, source }
}

/// The names in a folder; none where there is no such folder.
fn list(folder: &Path) -> Result<Vec<String>, SpoolError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed("read", folder))?,
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.collect())
}

fn unzip(path: &Path) -> Result<Option<Vec<u8>>, SpoolError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file.map_err(failed("open", path))?,
    };
    let mut body = Vec::new();
    match GzDecoder::new(file).take(EVENT_BYTES_MAX).read_to_end(&mut body) {
        Ok(_) if body.first() == Some(&b'{') => Ok(Some(body)),
        Ok(_) => Err(SpoolError::Damaged { path: path.to_owned(), problem: "it is no JSON".to_owned() }),
        Err(error) => Err(SpoolError::Damaged { path: path.to_owned(), problem: error.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn spool() -> (tempfile::TempDir, Spool) {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::at(&folder.path().join("state/spool"));
        (folder, spool)
    }

    #[test]
    fn what_is_kept_is_there_oldest_first_and_for_this_user_alone() {
        let (_folder, spool) = spool();
        assert_eq!((spool.count(), spool.names().unwrap()), (0, vec![]));
        let late = spool.keep(&[b"{2}".to_vec()], Timestamp(1_795_000_000_000_000_000)).unwrap();
        let early = spool.keep(&[b"{1}".to_vec()], Timestamp(999)).unwrap();
        assert_eq!(spool.names().unwrap(), [early[0].clone(), late[0].clone()]);
        assert_eq!(spool.read(&late[0]).unwrap().unwrap(), b"{2}");
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(spool.folder()), 0o700);
        assert_eq!(mode(&spool.folder().join(&late[0].0)), 0o600);
        spool.remove(&early[0]);
        assert_eq!((spool.waits(&early[0]), spool.read(&early[0]).unwrap()), (false, None));
    }

    #[test]
    fn one_process_delivers_at_a_time() {
        let (_folder, spool) = spool();
        let lock = spool.lock().unwrap().unwrap();
        assert!(spool.lock().unwrap().is_none());
        drop(lock);
        assert!(spool.lock().unwrap().is_some());
    }

    #[test]
    fn at_its_limit_the_newest_is_turned_away_with_words() {
        let (_folder, spool) = spool();
        spool.make(&spool.folder).unwrap();
        for n in 0..FILES_MAX {
            File::create(spool.folder().join(format!("{n:020}-x{SUFFIX}"))).unwrap();
        }
        let error = spool.keep(&[b"{}".to_vec()], Timestamp(1)).unwrap_err().to_string();
        assert!(
            error.contains("is full: 10000 events wait") && error.contains("`cachetscope flush`"),
            "{error}"
        );
        let first = spool.names().unwrap()[0].clone();
        spool.remove(&first);
        spool.keep(&[b"{}".to_vec()], Timestamp(1)).unwrap();
    }

    #[test]
    fn many_bytes_are_a_limit_too() {
        let (_folder, spool) = spool();
        spool.make(&spool.folder).unwrap();
        let big = File::create(spool.folder().join(format!("{:020}-x{SUFFIX}", 1))).unwrap();
        // Sparse: it takes no room on the disk.
        big.set_len(SPOOL_BYTES_MAX).unwrap();
        let error = spool.keep(&[b"{}".to_vec()], Timestamp(2)).unwrap_err().to_string();
        assert!(error.contains("1 events wait (256 MiB)"), "{error}");
    }

    #[test]
    fn what_a_dead_process_left_half_written_is_swept_and_never_sent() {
        let (_folder, spool) = spool();
        spool.make(&spool.folder).unwrap();
        let half = spool.folder().join(format!(".{:020}-x{SUFFIX}", 5));
        File::create(&half).unwrap();
        spool.sweep(Timestamp(5));
        assert!(half.exists() && spool.count() == 0);
        spool.sweep(Timestamp(6).plus(SWEPT_AFTER));
        assert!(!half.exists());
    }

    #[test]
    fn what_is_set_aside_keeps_the_words_and_is_bounded() {
        let (_folder, spool) = spool();
        let event = serde_json::to_vec(&Event::new("s", "p", "r")).unwrap();
        for n in 0..(REFUSED_MAX as i64 + 3) {
            let name = spool.keep(std::slice::from_ref(&event), Timestamp(n)).unwrap().remove(0);
            spool.set_aside(&name, &format!("too early: {n}"), Timestamp(n));
            assert_eq!(spool.set_aside_for(&name).unwrap(), format!("too early: {n}"));
        }
        let refused = spool.refused().unwrap();
        assert_eq!((refused.len(), spool.count()), (REFUSED_MAX, 0));
        assert_eq!((refused[0].reason.as_str(), refused[0].at), ("too early: 3", Timestamp(3)));
        assert_eq!(refused[0].event.as_ref().unwrap().pipeline, "p");
    }

    #[test]
    fn a_damaged_file_is_told_with_its_path() {
        let (_folder, spool) = spool();
        let name = spool.keep(&[b"{}".to_vec()], Timestamp(1)).unwrap().remove(0);
        let path = spool.folder().join(&name.0);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 5]).unwrap();
        let error = spool.read(&name).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{} is damaged: ", path.display())), "{error}");
        assert_eq!(spool.kept().unwrap()[0].event, None);
    }
}
