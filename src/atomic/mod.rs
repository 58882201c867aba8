//! Whole-file replacement: readers see the old content or the new, never a mixture.
//!
//! # Which of these do I need?
//!
//! | you want to | use |
//! |---|---|
//! | replace a file by bytes in memory | [`write`](fn@write) |
//! | write much or in pieces, and decide at the end | [`AtomicFile::create`], then [`commit`](AtomicFile::commit) |
//! | choose mode, owner or time, or skip the sync | [`AtomicFile::builder`] |
//! | create a file only if none exists | [`AtomicFileBuilder::replace`] with [`Replace::No`] |
//! | change a file that other processes change too | [`update`], or [`try_update`] if the change can fail |
//! | read a file that is replaced in this way | plain `std::fs::read`: no lock is needed |
//! | append to a file that many processes append to | not this: [`RotatingFileWriter`](crate::RotatingFileWriter) |
//! ```
//! use logrotor::Wait;
//! use logrotor::atomic::{self, update};
//! # fn main() -> logrotor::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! let path = dir.path().join("hosts.txt");
//! atomic::write(&path, "alpha\n")?;
//! update(&path, Wait::Forever, |old| [old.unwrap_or_default(), b"beta\n"].concat())?;
//! assert_eq!(std::fs::read(&path).unwrap(), b"alpha\nbeta\n");
//! # Ok(()) }
//! ```
//!
//! # What is promised
//!
//! The bytes go to a temporary file in the same directory, which is renamed to the file's name once
//! it is complete.
//!
//! - **Atomicity**, always: a reader that opens the file gets all of the old content or all of the
//!   new, even if the writing process is killed at any instruction. If a step before the rename
//!   fails (no space, no permission), the old content stays and the temporary file is removed. A
//!   killed process leaves its temporary file, named `.<file>.<12 letters or digits>.tmp`.
//! - **Durability**, as [`SyncLevel`] chooses. By default the new content survives a loss of power
//!   once the call has returned `Ok`; until then the old content or the new survives. Without sync,
//!   a loss of power may leave an empty or torn file on some file systems. A crash of the process
//!   never does.
//!
//! If the last step, the sync of the directory, fails, the error is returned although the file has
//! been replaced. Readers see the new content, and may see the old content again after a loss of
//! power.
//!
//! # Limits
//!
//! - A replaced file is a new file: its other names (hard links) and open handles keep the old
//!   content. Mode and owner are kept. On Linux, access control lists, security labels and `user.*`
//!   attributes are kept too, as far as the process may read the old file and set them.
//! - The process needs the right to create files in the directory, and space for both contents.
//! - Only regular files are replaced: a directory, device or pipe is rejected.
//! - Of two replacements at the same time the later one wins, whole. [`update`] loses neither,
//!   among processes that use [`update`] or hold the same lock, with the
//!   [limits](crate::lock#limits) of locks.

mod builder;
mod file;
mod target;

pub use crate::fs::Replace;
pub use builder::AtomicFileBuilder;
pub use file::AtomicFile;
pub(crate) use target::Target;

use crate::error::Result;
use crate::lock::Wait;
use std::path::Path;

/// Replaces or creates the file at `path`, atomically and durably.
///
/// Equivalent to [`AtomicFile::create`], one write, and [`commit`](AtomicFile::commit).
///
/// # Errors
/// As [`AtomicFileBuilder::write`].
///
/// # Examples
/// ```
/// # fn main() -> logrotor::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("state.json");
/// logrotor::atomic::write(&path, r#"{"jobs": 3}"#)?;
/// # Ok(()) }
/// ```
pub fn write(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> Result<()> {
    AtomicFileBuilder::new().write(path, bytes)
}

/// Changes the file at `path` under a lock, so that no change by another process is lost.
///
/// Takes the exclusive lock [beside](crate::FileLock::beside) the file, waiting as `wait` allows.
/// Then it reads the file, calls `change` with the content (`None` if there is no file), and
/// replaces the file by the result. The lock file is `<path>.lock` with links resolved, so every
/// path to a file shares one lock, with the file's own permissions.
///
/// # Errors
/// As [`FileLock::lock`](crate::FileLock::lock) and [`AtomicFileBuilder::write`], and
/// [`ErrorKind::LockLost`](crate::ErrorKind::LockLost) if the lock file was removed meanwhile. The
/// old content stays.
///
/// # Examples
/// ```
/// use logrotor::{Wait, atomic::update};
/// # fn main() -> logrotor::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("counter");
/// for _ in 0..3 {
///     update(&path, Wait::Forever, |old| {
///         let count = old.and_then(|old| std::str::from_utf8(old).ok()?.parse().ok());
///         (count.unwrap_or(0_u64) + 1).to_string()
///     })?;
/// }
/// assert_eq!(std::fs::read(&path).unwrap(), b"3");
/// # Ok(()) }
/// ```
pub fn update<B: AsRef<[u8]>>(
    path: impl AsRef<Path>,
    wait: Wait,
    change: impl FnOnce(Option<&[u8]>) -> B,
) -> Result<()> {
    AtomicFileBuilder::new().update(path, wait, change)
}

/// Like [`update`], with a change that may fail. Then the file stays as it is, and the inner result
/// has the error of the change.
///
/// # Errors
/// As [`update`]. The old content stays, and the result of `change`, if it ran, is lost.
///
/// # Examples
/// ```
/// use logrotor::{Wait, atomic::try_update};
/// # fn main() -> logrotor::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("counter");
/// std::fs::write(&path, "no number").unwrap();
/// let done = try_update(&path, Wait::Forever, |old| {
///     let old = String::from_utf8_lossy(old.unwrap_or(b"0"));
///     old.parse::<u64>().map(|count| (count + 1).to_string())
/// })?;
/// assert!(done.is_err());
/// assert_eq!(std::fs::read(&path).unwrap(), b"no number");
/// # Ok(()) }
/// ```
pub fn try_update<B: AsRef<[u8]>, E>(
    path: impl AsRef<Path>,
    wait: Wait,
    change: impl FnOnce(Option<&[u8]>) -> Result<B, E>,
) -> Result<Result<(), E>> {
    AtomicFileBuilder::new().try_update(path, wait, change)
}

/// The data that is synced before a replacement is reported as done. Atomicity does not depend on
/// it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum SyncLevel {
    /// Nothing: the system writes when it likes. For content that can be recreated.
    None,
    /// The new content, before the file gets its name: after a loss of power the file is complete,
    /// but may be the old one.
    File,
    /// The content and then the name: after a loss of power it is the new one. The default.
    #[default]
    FileAndDirectory,
}

/// The file to replace if the path names a symbolic link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Links {
    /// The file that the link leads to, which is created if need be. The link stays. The default.
    #[default]
    Follow,
    /// The link itself.
    Replace,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs;
    use std::io::{self, Write};
    use std::time::SystemTime;

    fn content(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn dropped_without_commit_nothing_changes_and_nothing_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        std::fs::write(&path, "old").unwrap();
        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(b"new").unwrap();
        assert_eq!(content(&path), "old");
        drop(file);
        assert_eq!(content(&path), "old");
        assert_eq!(fs::names(dir.path()).unwrap(), ["a"]);
    }

    #[test]
    fn commit_replaces_whole_and_leaves_no_temporary() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        for (bytes, sync) in [
            ("one", SyncLevel::None),
            ("two, longer", SyncLevel::File),
            ("3", SyncLevel::FileAndDirectory),
        ] {
            AtomicFile::builder().sync(sync).write(&path, bytes).unwrap();
            assert_eq!(content(&path), bytes);
            assert_eq!(fs::names(dir.path()).unwrap(), ["a"]);
        }
    }

    #[test]
    fn replace_no_keeps_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let builder = AtomicFile::builder().replace(Replace::No);
        builder.write(&path, "first").unwrap();
        let error = builder.write(&path, "second").unwrap_err();
        assert_eq!(error.io_kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(error.path(), Some(path.as_path()));
        assert_eq!(content(&path), "first");
        assert_eq!(fs::names(dir.path()).unwrap(), ["a"]);
    }

    #[test]
    fn directory_and_missing_directory_are_named_in_the_error() {
        let dir = tempfile::tempdir().unwrap();
        let error = write(dir.path(), "x").unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::NotAFile);
        let missing = dir.path().join("none");
        let error = write(missing.join("a"), "x").unwrap_err();
        assert!(error.is_not_found());
        let cause = format!("there is no directory `{}`", missing.display());
        assert!(error.to_string().ends_with(&cause), "{error}");
    }

    #[test]
    fn file_like_another_gets_its_time() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (dir.path().join("old"), dir.path().join("new"));
        let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
        AtomicFile::builder().modified(time).write(&old, "x").unwrap();
        let entry = fs::stat(&old).unwrap().unwrap();
        assert_eq!(entry.modified, time);
        AtomicFile::builder().like(&entry).write(&new, "y").unwrap();
        let like = fs::stat(&new).unwrap().unwrap();
        assert_eq!((like.modified, like.access), (time, entry.access));
    }

    #[test]
    fn failing_change_leaves_the_file_and_frees_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let failed = try_update(&path, Wait::Never, |old| match old {
            None => Err("nothing there"),
            Some(old) => Ok(old.to_vec()),
        });
        assert_eq!(failed.unwrap(), Err("nothing there"));
        assert_eq!(fs::names(dir.path()).unwrap(), Vec::<String>::new());
        update(&path, Wait::Never, |_| "made").unwrap();
        assert_eq!(content(&path), "made");
    }

    #[test]
    fn update_whose_lock_file_is_removed_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        write(&path, "old").unwrap();
        let error = update(&path, Wait::Never, |_| {
            std::fs::remove_file(dir.path().join("a.lock")).unwrap();
            "new"
        });
        assert_eq!(error.unwrap_err().kind(), crate::ErrorKind::LockLost);
        assert_eq!(content(&path), "old");
        assert_eq!(fs::names(dir.path()).unwrap(), ["a"]);
    }
}
