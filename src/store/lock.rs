//! One process for one SQLite store, by an advisory lock that the kernel drops with the process.
//!
//! What is made here is for this user alone: the store holds what targets answered.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::StoreError;

/// Holds `FILE.lock` until dropped; the file names the process for whoever finds it taken.
pub(super) struct Lock(#[allow(dead_code)] File);

impl Lock {
    pub fn take(store: &Path) -> Result<Self, StoreError> {
        let mut name = store.as_os_str().to_owned();
        name.push(".lock");
        let path = PathBuf::from(name);
        let failed = |source| StoreError::Folder { path: path.clone(), source };
        if let Some(folder) = store.parent().filter(|p| !p.as_os_str().is_empty()) {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .map_err(|source| StoreError::Folder { path: folder.to_owned(), source })?;
        }
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // What it says is a courtesy; the lock itself is what counts.
                let _ = file.read_to_string(&mut holder);
                let holder = match holder.trim() {
                    "" => String::new(),
                    pid => format!(" (pid {pid})"),
                };
                return Err(StoreError::InUse { path: store.to_owned(), holder });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        file.set_len(0).and_then(|()| file.rewind()).map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        // SQLite would leave the mode to the umask; its -wal and -shm take the mode of the database.
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(store) {
            Err(source) if source.kind() != ErrorKind::AlreadyExists => {
                Err(StoreError::Folder { path: store.to_owned(), source })
            }
            _ => Ok(Lock(file)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use crate::clock::Clock;
    use crate::store::{Location, Store};

    #[tokio::test]
    async fn nobody_else_can_read_what_is_made_for_a_store() {
        let given = tempfile::tempdir().unwrap();
        std::fs::set_permissions(given.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let made = given.path().join("state/cachetscope");
        let location = Location::File(made.join("a.db"));
        let store = Store::open(&location, &Clock::system()).await.unwrap();
        let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&made), mode(made.parent().unwrap()), mode(given.path())), (0o700, 0o700, 0o755));
        let mut files: Vec<(String, u32)> = std::fs::read_dir(&made)
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.file_name().into_string().unwrap(), mode(&entry.path())))
            .collect();
        files.sort();
        let expected = ["a.db", "a.db-shm", "a.db-wal", "a.db.lock"].map(|name| (name.to_owned(), 0o600));
        assert_eq!(files, expected);
        store.close().await;
    }
}
