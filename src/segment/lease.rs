//! The segment lease: no process may compress or remove a leased segment.
//!
//! A worker leases the segment it writes to. Maintenance takes a finished segment exclusively, and
//! is refused while any worker may still append to it. So a worker that has not noticed a rotation
//! keeps writing to what is now a backup, and its records are found there.

use super::Location;
use crate::clock::{Deadline, sleep};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{self, Access, Entry, EntryKind, FileId, Temp};
use crate::sys;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A segment that is open for appending, leased until this and all clones are dropped.
#[derive(Debug, Clone)]
pub(crate) struct Lease {
    /// Shared with the thread that syncs it. The lease lasts until the last clone is dropped.
    pub(crate) file: Arc<File>,
    /// The state of the file when it was opened. Only `id` and `born` stay true.
    pub(crate) entry: Entry,
}

impl Lease {
    pub(crate) fn id(&self) -> FileId {
        self.entry.id
    }

    /// Returns the present owner, group and mode, even of a file that has no name any more. If the
    /// server of a network or FUSE file system has forgotten that file, they are those of the time
    /// when it was opened.
    pub(crate) fn present_access(&self, location: &Location) -> Result<Access> {
        let present = fs::fstat_if_any(&self.file, location.path())?;
        Ok(present.unwrap_or(self.entry).access)
    }

    /// Opens and leases the active segment; `None` if it does not exist.
    ///
    /// # Errors
    /// - [`ErrorKind::NotAFile`] if something else has the log's path.
    /// - [`ErrorKind::LockUnsupported`] if the file system has no locks.
    /// - [`ErrorKind::LockTimeout`] if another program keeps the file locked for longer than
    ///   `timeout`.
    pub(crate) fn active(location: &Location, timeout: Duration) -> Result<Option<Self>> {
        let deadline = Deadline::after(timeout);
        loop {
            match Self::attempt(location)? {
                Attempt::Leased(lease) => return Ok(Some(lease)),
                Attempt::Missing => return Ok(None),
                // It was rotated between `open` and now; the next attempt finds its successor.
                Attempt::Moved if deadline.left().is_some() => sleep(RETRY),
                Attempt::Moved => return Err(refused(location)),
            }
        }
    }

    /// Leases the file at the log's path once, if it still has that path afterwards.
    fn attempt(location: &Location) -> Result<Attempt> {
        let path = location.path();
        match fs::stat(path)? {
            None => return Ok(Attempt::Missing),
            Some(entry) if entry.kind != EntryKind::File => {
                return Err(Error::not_a_file("use as a log", path, entry.kind));
            }
            Some(_) => {}
        }
        let file = match fs::open_append(path) {
            Ok(Some(file)) => file,
            Ok(None) => return Ok(Attempt::Missing),
            Err(error) if error.io_error().is_some_and(sys::is_lease_refused) => {
                return Ok(Attempt::Moved);
            }
            Err(error) => return Err(error),
        };
        if !fs::try_lease(&file, path)? {
            return Ok(Attempt::Moved);
        }
        // Invariant: a lease taken while the path still named the file holds for all its life as a
        // backup. Taken later, it may be on a file that maintenance has already compressed and
        // removed.
        let Some(entry) = fs::fstat_if_any(&file, path)? else { return Ok(Attempt::Moved) };
        if !fs::is_at(path, entry.id)? {
            return Ok(Attempt::Moved);
        }
        Ok(Attempt::Leased(Self { file: Arc::new(file), entry }))
    }

    /// Gives a new segment, which was leased from the start, its name.
    pub(crate) fn fresh(temp: Temp, location: &Location) -> Result<Self> {
        let entry = fs::fstat(temp.file(), temp.path())?;
        let file = temp.persist(location.path(), fs::Replace::No)?;
        Ok(Self { file: Arc::new(file), entry })
    }

    /// Exchanges a new segment, which was leased from the start, with the file at the log's path.
    /// Returns the path that names that file now.
    ///
    /// # Errors
    /// Nothing was changed, and the new segment is returned.
    #[allow(clippy::result_large_err, reason = "the segment is not lost")]
    pub(crate) fn exchanged(
        temp: Temp,
        location: &Location,
    ) -> Result<(Self, PathBuf), (Temp, Error)> {
        let entry = match fs::fstat(temp.file(), temp.path()) {
            Ok(entry) => entry,
            Err(error) => return Err((temp, error)),
        };
        let (file, old) = temp.exchange(location.path())?;
        Ok((Self { file: Arc::new(file), entry }, old))
    }
}

/// The result of one attempt to lease the active segment.
enum Attempt {
    Leased(Lease),
    Missing,
    Moved,
}

const RETRY: Duration = Duration::from_micros(200);

fn refused(location: &Location) -> Error {
    let why = "another program keeps an exclusive lock on it";
    Error::refused(ErrorKind::LockTimeout, "lease", location.path(), why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::Unleased;

    fn log(dir: &tempfile::TempDir) -> Location {
        let location = Location::resolve(&dir.path().join("app.log")).unwrap();
        std::fs::write(location.path(), "line\n").unwrap();
        location
    }

    #[test]
    fn leased_segment_cannot_be_taken_until_every_lease_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let location = log(&dir);
        let leases = [0, 1].map(|_| Lease::active(&location, Duration::ZERO).unwrap().unwrap());
        let backup = dir.path().join("app.log.1");
        std::fs::rename(location.path(), &backup).unwrap();
        for lease in leases {
            assert!(matches!(fs::open_unleased(&backup).unwrap(), Unleased::Leased));
            drop(lease);
        }
        assert!(matches!(fs::open_unleased(&backup).unwrap(), Unleased::Ours(_)));
    }

    #[test]
    fn segment_that_is_taken_is_not_taken_twice() {
        let dir = tempfile::tempdir().unwrap();
        let location = log(&dir);
        let Unleased::Ours(taken) = fs::open_unleased(location.path()).unwrap() else {
            unreachable!("no other process has it")
        };
        assert!(matches!(fs::open_unleased(location.path()).unwrap(), Unleased::Leased));
        drop(taken);
        assert!(matches!(fs::open_unleased(location.path()).unwrap(), Unleased::Ours(_)));
    }

    #[test]
    fn missing_log_is_none_and_a_directory_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let location = Location::resolve(&dir.path().join("app.log")).unwrap();
        assert!(Lease::active(&location, Duration::ZERO).unwrap().is_none());
        std::fs::create_dir(location.path()).unwrap();
        let error = Lease::active(&location, Duration::ZERO).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotAFile);
    }

    #[test]
    fn segment_that_maintenance_holds_is_not_leased() {
        let dir = tempfile::tempdir().unwrap();
        let location = log(&dir);
        let Unleased::Ours(taken) = fs::open_unleased(location.path()).unwrap() else {
            unreachable!("no other process has it")
        };
        let error = Lease::active(&location, Duration::ZERO).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LockTimeout);
        drop(taken);
        assert!(Lease::active(&location, Duration::ZERO).unwrap().is_some());
    }
}
