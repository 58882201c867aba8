//! Whole-file replacement: readers see the old content or the new, never anything between.
//!
//! # Which of these do I need?
//!
//! | you want to | use |
//! |---|---|
//! | replace a file by bytes at hand | [`write`](fn@write) |
//! | write much, or bit by bit, and decide at the end | [`AtomicFile::create`], then [`commit`](AtomicFile::commit) |
//! | choose mode, owner, time, or go without sync | [`AtomicFile::builder`] |
//! | make a file only if there is none | [`AtomicFileBuilder::replace`] with [`Replace::No`] |
//! | change a file that other processes change too | [`update`], or [`try_update`] if the change can fail |
//! | read a file that is replaced in this way | plain `std::fs::read`: no lock is needed |
//! | append to a file that many processes append to | not this: [`RotatingFileWriter`](crate::RotatingFileWriter) |
//!
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
//! The bytes go to a temporary file in the same directory, which takes the file's name when it is
//! whole.
//!
//! - **Atomicity**, always: whoever opens the file at any moment gets all of the old content or all
//!   of the new, also if the writing process is killed at any instruction. When anything fails
//!   before that step (no space, no permission), the old content stands and no temporary is left. A
//!   killed process leaves one, named `.<file>.<12 letters or digits>.tmp`.
//! - **Durability**, as [`SyncLevel`] says: by default, once the call has returned `Ok` the new
//!   content survives loss of power, and before that the old content or the new does. Without sync
//!   a power failure may leave an empty or torn file, on some file systems; a crash of the process
//!   never does.
//!
//! If the last step, the sync of the directory, fails, the error is returned although the file has
//! been replaced: readers see the new content, and whether it survives loss of power is unknown.
//!
//! # Limits
//!
//! - A replaced file is a new file: other names of the old one (hard links) and handles open on it
//!   keep the old content. Mode and owner are kept, access control lists and extended attributes
//!   are not.
//! - The process needs the right to create files in the directory, and space for both contents.
//! - Regular files only: a directory, device or pipe is refused.
//! - Two replacements at once: the later wins, whole. Only [`update`] loses neither, among those
//!   that use [`update`] or hold the same lock, with the [limits](crate::lock#limits) that locks
//!   have.

pub use crate::fs::Replace;

use crate::error::{Error, Result};
use crate::fs::{self, Access, Entry, EntryKind, Temp};
use crate::lock::{FileLock, Wait};
use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// How many links are followed before they are taken for a circle, as the kernel does.
const MAX_LINKS: usize = 40;

/// What a new file's permissions are before the umask.
const NEW_FILE: u32 = 0o666;

/// Nobody else, until the file has the permissions and the owner that it shall have.
const PRIVATE: u32 = 0o600;

/// Replaces or creates the file at `path`, atomically and durably.
///
/// As [`AtomicFile::create`], one write, and [`commit`](AtomicFile::commit).
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
/// Takes the exclusive lock [beside](FileLock::beside) the file, reads it, calls `change` with the
/// content (`None` if there is no file), and replaces the file by what it returns. Waits for the
/// lock as `wait` says. The lock file is `<path>.lock`, with links resolved, so that all names of a
/// file have one lock, and those may open it who may open the file.
///
/// # Errors
/// As [`FileLock::lock`] and [`AtomicFileBuilder::write`]; and
/// [`ErrorKind::LockLost`](crate::ErrorKind::LockLost) if someone removed the lock file meanwhile.
/// The old content stands.
///
/// # Examples
/// ```
/// use logrotor::{Wait, atomic::update};
/// # fn main() -> logrotor::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("counter");
/// for _ in 0..3 {
///     update(&path, Wait::Forever, |old| {
///         let count: u64 = old.and_then(|old| std::str::from_utf8(old).ok()?.parse().ok()).unwrap_or(0);
///         (count + 1).to_string()
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

/// As [`update`], with a change that may fail: then the file stays as it is, and its error is the
/// inner result.
///
/// # Errors
/// As [`update`]. Then the inner result is lost, if there was one, and the old content stands.
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

/// What is made certain before a replacement is reported as done. Atomicity does not depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SyncLevel {
    /// Nothing: the system writes when it likes. For content that can be made again.
    None,
    /// The new content is on the device before the name is given to it: after loss of power the
    /// file is whole, but may be the old one.
    File,
    /// The name as well: after loss of power it is the new one.
    #[default]
    FileAndDirectory,
}

/// What to do where the path names a symbolic link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Links {
    /// Replace the file that it leads to, or make that file; the link stays.
    #[default]
    Follow,
    /// Replace the link itself.
    Replace,
}

/// How a file is replaced; [`AtomicFile::builder`] makes one.
///
/// # Examples
/// ```
/// use logrotor::atomic::{AtomicFile, SyncLevel};
/// # fn main() -> logrotor::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("cache");
/// AtomicFile::builder().mode(0o640).sync(SyncLevel::None).write(&path, "can be made again")?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until it opens, writes or updates a file"]
pub struct AtomicFileBuilder {
    mode: Option<u32>,
    owner: Option<(u32, u32)>,
    like: Option<Access>,
    modified: Option<SystemTime>,
    replace: Replace,
    links: Links,
    sync: SyncLevel,
}

impl AtomicFileBuilder {
    fn new() -> Self {
        Self {
            mode: None,
            owner: None,
            like: None,
            modified: None,
            replace: Replace::Yes,
            links: Links::default(),
            sync: SyncLevel::default(),
        }
    }

    /// Exact permissions, whatever the umask. Default: those of the file replaced; for a new file
    /// 0o666, less the umask. No effect on Windows.
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = Some(mode);
        self
    }

    /// Owner and group, by number; fails if the process may not give them. No effect on Windows.
    ///
    /// Default: those of the file replaced, as far as the process may. If it may not keep the
    /// group, the new group may do what everybody may, and no more; set-user and set-group bits are
    /// not kept for another user or group.
    pub fn owner(mut self, uid: u32, gid: u32) -> Self {
        self.owner = Some((uid, gid));
        self
    }

    /// The time of the last change. Default: that of the last write.
    pub fn modified(mut self, time: SystemTime) -> Self {
        self.modified = Some(time);
        self
    }

    /// Whether a file of that name may be replaced; default [`Replace::Yes`]. On file systems that
    /// cannot do it in one step, [`Replace::No`] looks just before it renames.
    pub fn replace(mut self, replace: Replace) -> Self {
        self.replace = replace;
        self
    }

    /// What to do where the path names a symbolic link; default [`Links::Follow`].
    pub fn links(mut self, links: Links) -> Self {
        self.links = links;
        self
    }

    /// What is made certain before success is reported; default [`SyncLevel::FileAndDirectory`].
    pub fn sync(mut self, level: SyncLevel) -> Self {
        self.sync = level;
        self
    }

    /// Mode, owner and time as another file has them, owner and mode as far as the process may.
    pub(crate) fn like(mut self, other: &Entry) -> Self {
        self.like = Some(other.access);
        self.modified(other.modified)
    }

    /// Starts a replacement of the file at `path`, which is not touched before
    /// [`commit`](AtomicFile::commit).
    ///
    /// # Errors
    /// [`ErrorKind::NotAFile`](crate::ErrorKind::NotAFile) if the path names a directory or a
    /// device; [`ErrorKind::Io`](crate::ErrorKind::Io) if no file can be made in its directory.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<AtomicFile> {
        let target = Target::of(path.as_ref(), self.links)?;
        let access = self.like.or(target.entry.map(|entry| entry.access));
        let is_private = access.is_some() || self.mode.is_some() || self.owner.is_some();
        let mode = if is_private { PRIVATE } else { NEW_FILE };
        let temp = Temp::beside(&target.path, mode).map_err(|error| target.explain(error))?;
        Ok(AtomicFile { temp, target: target.path, access, builder: self.clone() })
    }

    /// Replaces or creates the file at `path`: [`open`](AtomicFileBuilder::open), one write,
    /// [`commit`](AtomicFile::commit).
    ///
    /// # Errors
    /// As those. The old content stands, unless it was the directory that could not be synced.
    pub fn write(&self, path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> Result<()> {
        let file = self.open(path)?;
        file.append_all(bytes.as_ref())?;
        file.commit()
    }

    /// [`update`] with the choices of this builder.
    ///
    /// # Errors
    /// As [`update`].
    pub fn update<B: AsRef<[u8]>>(
        &self,
        path: impl AsRef<Path>,
        wait: Wait,
        change: impl FnOnce(Option<&[u8]>) -> B,
    ) -> Result<()> {
        let done = self.try_update(path, wait, |old| Ok::<_, Infallible>(change(old)))?;
        let Ok(()) = done;
        Ok(())
    }

    /// [`try_update`] with the choices of this builder.
    ///
    /// # Errors
    /// As [`try_update`].
    pub fn try_update<B: AsRef<[u8]>, E>(
        &self,
        path: impl AsRef<Path>,
        wait: Wait,
        change: impl FnOnce(Option<&[u8]>) -> Result<B, E>,
    ) -> Result<Result<(), E>> {
        let target = Target::of(path.as_ref(), self.links)?;
        let lock = target.lock()?;
        let guard = lock.exclusive(wait)?;
        let new = match change(fs::read_whole(&target.path)?.as_deref()) {
            Ok(new) => new,
            Err(error) => return Ok(Err(error)),
        };
        let file = self.open(&target.path)?;
        file.append_all(new.as_ref())?;
        // If the lock file was removed by hand, another process may have read what we have read.
        guard.verify()?;
        file.commit()?;
        Ok(Ok(()))
    }
}

/// The file that a path stands for.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) path: PathBuf,
    /// Of a regular file that is there.
    pub(crate) entry: Option<Entry>,
}

impl Target {
    pub(crate) fn of(path: &Path, links: Links) -> Result<Self> {
        let mut path = path.to_owned();
        for _ in 0..MAX_LINKS {
            let Some(there) = fs::stat(&path)? else { return Ok(Self { path, entry: None }) };
            match there.kind {
                EntryKind::File => return Ok(Self { path, entry: Some(there) }),
                EntryKind::Link if links == Links::Replace => {
                    return Ok(Self { path, entry: None });
                }
                EntryKind::Link => path = fs::parent(&path).join(fs::read_link(&path)?),
                kind => return Err(Error::not_a_file("replace", &path, kind)),
            }
        }
        Err(Error::too_many_links("replace", &path))
    }

    /// The lock for changing it, open to those who may open the file.
    pub(crate) fn lock(&self) -> Result<FileLock> {
        let lock = FileLock::beside(&self.path)?;
        Ok(match self.entry {
            Some(entry) => lock.mode((entry.access.mode & NEW_FILE) | PRIVATE),
            None => lock,
        })
    }

    /// A failure to make the temporary, told as one to replace the file.
    fn explain(&self, error: Error) -> Error {
        if error.is_not_found() {
            return Error::no_directory("replace", &self.path, fs::parent(&self.path));
        }
        error.during("create a temporary file beside", &self.path)
    }
}

/// A file that takes the place of another when it is whole.
///
/// Write to it (it is not buffered: wrap small writes in a [`std::io::BufWriter`]), then
/// [`commit`](AtomicFile::commit). Dropped without that, nothing has changed and nothing is left.
///
/// # Examples
/// ```
/// use logrotor::atomic::AtomicFile;
/// use std::io::{BufWriter, Write};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("primes.txt");
/// let mut out = BufWriter::new(AtomicFile::create(&path)?);
/// for prime in [2, 3, 5, 7] {
///     writeln!(out, "{prime}")?;
/// }
/// out.into_inner()?.commit()?;
/// assert_eq!(std::fs::read(&path)?, b"2\n3\n5\n7\n");
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "nothing is replaced before `commit`"]
pub struct AtomicFile {
    temp: Temp,
    target: PathBuf,
    /// To be kept from the file replaced, or from the one this shall be like.
    access: Option<Access>,
    builder: AtomicFileBuilder,
}

impl AtomicFile {
    /// Starts a replacement with the default [`AtomicFileBuilder`].
    ///
    /// # Errors
    /// As [`AtomicFileBuilder::open`].
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        AtomicFileBuilder::new().open(path)
    }

    /// A builder with the defaults.
    pub fn builder() -> AtomicFileBuilder {
        AtomicFileBuilder::new()
    }

    /// The file that will be replaced, links resolved.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.target
    }

    /// Puts the file in its place.
    ///
    /// # Errors
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) if a step fails: owner, mode, time, sync, rename;
    /// the old content stands and the temporary is removed. If it was the directory that could not
    /// be synced afterwards, the new content is in place.
    pub fn commit(self) -> Result<()> {
        self.seal()?;
        let target = self.target.clone();
        self.place(&target)
    }

    /// Makes the file whole but for its name: owner, mode, time, and its content on the device.
    pub(crate) fn seal(&self) -> Result<()> {
        let (file, path) = (self.temp.file(), &self.target);
        match self.builder.owner {
            Some((uid, gid)) => {
                fs::set_owner(file, Access { mode: 0, uid, gid }, path)?;
                self.temp.set_mode(self.builder.mode, self.access)?;
            }
            None => self.temp.set_access(self.access, self.builder.mode)?,
        }
        if let Some(time) = self.builder.modified {
            fs::set_modified(file, time, path)?;
        }
        match self.builder.sync {
            SyncLevel::None => Ok(()),
            SyncLevel::File | SyncLevel::FileAndDirectory => fs::sync_all(file, path),
        }
    }

    /// Gives a sealed file its name, which may be another by now than it was opened for.
    pub(crate) fn place(self, target: &Path) -> Result<()> {
        let persisted = self.temp.persist(target, self.builder.replace);
        persisted.map_err(|error| error.during("replace", target))?;
        match self.builder.sync {
            SyncLevel::FileAndDirectory => fs::sync_dir(fs::parent(target)),
            SyncLevel::None | SyncLevel::File => Ok(()),
        }
    }

    /// The file as it is being written.
    pub(crate) fn file(&self) -> &File {
        self.temp.file()
    }

    fn append_all(&self, bytes: &[u8]) -> Result<()> {
        fs::write_all(self.temp.file(), bytes, &self.target)
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(fs::write(self.temp.file(), bytes, &self.target)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
