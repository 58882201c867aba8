//! The public lock.

use super::file::{FileMode, Held, LockFile};
use super::gate::{self, Gate};
use super::guard::Claim;
use super::{LockGuard, LockMode, Wait, backoff, owner};
use crate::clock::{Deadline, Stopwatch};
use crate::error::{Error, ErrorKind, Result};
use crate::fs;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// The suffix of a lock file, after the name of the file it protects.
pub(super) const SUFFIX: &str = ".lock";

/// The default permissions of a lock file: its owner only.
const DEFAULT_MODE: u32 = 0o600;

/// A lock shared by all processes that name the same lock file.
///
/// The [module](crate::lock) says which lock to use when, what is promised, and the limits.
/// Creating a value touches no file. One value holds the lock at most once. Threads may share it,
/// but threads that shall wait for each other need a value each.
#[derive(Debug)]
pub struct FileLock {
    pub(super) file: LockFile,
    /// Whether writers that wait long go ahead of later readers.
    is_fair: bool,
    /// Whether a guard of this value exists, or a thread is about to get one.
    pub(super) in_use: AtomicBool,
}

impl FileLock {
    /// Creates a lock whose lock file is `path` itself. No file is created before the first
    /// acquisition.
    ///
    /// A relative path is resolved at every step, so do not change the working directory while the
    /// lock is held.
    ///
    /// # Errors
    /// [`ErrorKind::NotAFile`] if the path ends in no file name (`/`, `..`).
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        file_name(&path)?;
        let mode = FileMode::LessUmask(DEFAULT_MODE);
        let file = LockFile { path, mode, make_dirs: false, keep: false };
        Ok(Self { file, is_fair: true, in_use: AtomicBool::new(false) })
    }

    /// Creates a lock for the file at `path`, with the lock file `<path>.lock` beside it.
    ///
    /// # Errors
    /// As [`open`](FileLock::open).
    pub fn beside(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let mut name = file_name(path)?.to_owned();
        name.push(SUFFIX);
        Self::open(path.with_file_name(name))
    }

    /// Creates a lock for the file at `path`, with its lock file in a directory for lock files.
    ///
    /// The first acquisition creates the directory and its parents. The lock file's name consists
    /// of the file's name, a hash of the absolute path of the file's directory, and `.lock`. So
    /// files of one name in different directories have different locks.
    ///
    /// # Errors
    /// As [`open`](FileLock::open), and [`ErrorKind::Io`] if the directory of `path` (not the lock
    /// directory) does not exist.
    pub fn in_dir(lock_dir: impl AsRef<Path>, path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let mut name = file_name(path)?.to_owned();
        let dir = fs::canonical(fs::parent(path))?;
        name.push(format!(".{:016x}{SUFFIX}", fnv1a(dir.as_os_str().as_encoded_bytes())));
        let mut lock = Self::open(lock_dir.as_ref().join(name))?;
        lock.file.make_dirs = true;
        Ok(lock)
    }

    /// Sets the exact permissions of the lock file, whatever the umask. Default: 0o600 less the
    /// umask.
    ///
    /// Users who share a lock need at least read permission. No effect on Windows.
    #[must_use]
    pub fn mode(mut self, mode: u32) -> Self {
        self.file.mode = FileMode::Exact(mode);
        self
    }

    /// Sets the permissions of a new lock file, less the umask.
    pub(crate) fn mode_less_umask(mut self, mode: u32) -> Self {
        self.file.mode = FileMode::LessUmask(mode);
        self
    }

    /// For a lock that is only ever taken exclusively: no gate is created, as there are no readers
    /// that a waiting writer must keep out.
    pub(crate) fn without_gate(mut self) -> Self {
        self.is_fair = false;
        self
    }

    /// Sets whether the lock file stays after a release. Default: it is removed.
    ///
    /// A kept file saves a file creation and removal per acquisition, about nine tenths of the time
    /// of an uncontended one. It also serves processes that may not create files in its directory.
    #[must_use]
    pub fn keep_file(mut self, keep: bool) -> Self {
        self.file.keep = keep;
        self
    }

    /// The path of the lock file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.file.path
    }

    /// Takes the lock, waiting as `wait` allows. Dropping the guard releases it.
    ///
    /// # Errors
    /// - [`ErrorKind::LockTimeout`] if another holder kept it. The message has the time waited and,
    ///   as a hint, the last owner's pid and whether that process runs.
    /// - [`ErrorKind::AlreadyLocked`] at once if this value holds the lock, or waits for it in
    ///   another thread.
    /// - [`ErrorKind::LockUnsupported`] if the file system has no locks.
    /// - [`ErrorKind::NotAFile`] if the path names a link, a directory or a device.
    /// - [`ErrorKind::Io`] for any other failure, at once: a missing directory, no permission.
    pub fn lock(&self, mode: LockMode, wait: Wait) -> Result<LockGuard<'_>> {
        let claim = self.claim(mode)?;
        let waited = Stopwatch::start();
        let until = wait.deadline();
        let held = match mode {
            LockMode::Shared => self.take_shared(until)?,
            LockMode::Exclusive => self.take_exclusive(until)?,
        };
        match held {
            Some(held) => Ok(LockGuard { held: Some(held), taker: std::process::id(), claim }),
            None => Err(self.timed_out(mode, wait, waited)),
        }
    }

    /// Takes the lock for this holder alone: [`lock`](FileLock::lock) with [`LockMode::Exclusive`].
    ///
    /// # Errors
    /// As [`lock`](FileLock::lock).
    ///
    /// # Examples
    /// ```
    /// use logrotor::{ErrorKind, FileLock, Wait};
    /// use std::time::Duration;
    /// # fn main() -> logrotor::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// let path = dir.path().join("app.lock");
    /// let (mine, other) = (FileLock::open(&path)?, FileLock::open(&path)?);
    /// let guard = mine.exclusive(Wait::Never)?;
    /// let refused = other.exclusive(Wait::AtMost(Duration::from_millis(20))).unwrap_err();
    /// assert_eq!(refused.kind(), ErrorKind::LockTimeout);
    /// guard.unlock()?;
    /// assert!(!path.exists());
    /// # Ok(()) }
    /// ```
    pub fn exclusive(&self, wait: Wait) -> Result<LockGuard<'_>> {
        self.lock(LockMode::Exclusive, wait)
    }

    /// Takes the lock together with other shared holders: [`lock`](FileLock::lock) with
    /// [`LockMode::Shared`].
    ///
    /// # Errors
    /// As [`lock`](FileLock::lock).
    pub fn shared(&self, wait: Wait) -> Result<LockGuard<'_>> {
        self.lock(LockMode::Shared, wait)
    }

    /// Calls `read` under a shared lock beside the file at `path`: no other process changes the
    /// file meanwhile.
    ///
    /// Waits without limit for the lock, and returns the result of `read`. If `read` returns a
    /// [`Result`], the outer result is that of the lock.
    ///
    /// # Errors
    /// As [`FileLock::lock`]. Then `read` was not called.
    ///
    /// # Examples
    /// ```
    /// use logrotor::FileLock;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// let path = dir.path().join("settings.toml");
    /// FileLock::with_exclusive(&path, || std::fs::write(&path, "a = 1"))??;
    /// let text = FileLock::with_shared(&path, || std::fs::read_to_string(&path))??;
    /// assert_eq!(text, "a = 1");
    /// # Ok(()) }
    /// ```
    pub fn with_shared<T>(path: impl AsRef<Path>, read: impl FnOnce() -> T) -> Result<T> {
        Self::with_lock(path.as_ref(), LockMode::Shared, read)
    }

    /// Calls `change` under an exclusive lock beside the file at `path`: no other process reads or
    /// changes the file meanwhile.
    ///
    /// Otherwise like [`with_shared`](FileLock::with_shared).
    ///
    /// # Errors
    /// As [`FileLock::lock`]. Then `change` was not called.
    pub fn with_exclusive<T>(path: impl AsRef<Path>, change: impl FnOnce() -> T) -> Result<T> {
        Self::with_lock(path.as_ref(), LockMode::Exclusive, change)
    }

    fn with_lock<T>(path: &Path, mode: LockMode, work: impl FnOnce() -> T) -> Result<T> {
        let lock = Self::beside(path)?;
        // Released by drop: a failing release must not lose the result of the closure.
        let _guard = lock.lock(mode, Wait::Forever)?;
        Ok(work())
    }

    fn claim(&self, mode: LockMode) -> Result<Claim<'_>> {
        if self.in_use.swap(true, Ordering::Acquire) {
            return Err(Error::already_locked(mode, &self.file.path));
        }
        Ok(Claim(self))
    }

    fn take_shared(&self, until: Deadline) -> Result<Option<Held>> {
        // A gate that cannot be opened or locked is skipped: it decides the order, not the
        // exclusion.
        if !Gate::of(&self.file).pass(until).unwrap_or(true) {
            return Ok(None);
        }
        self.file.take(LockMode::Shared, until)
    }

    fn take_exclusive(&self, until: Deadline) -> Result<Option<Held>> {
        if !self.is_fair {
            return self.file.take(LockMode::Exclusive, until);
        }
        let soon = Deadline::after(gate::PATIENCE).min(until);
        let held = self.file.take(LockMode::Exclusive, soon)?;
        if held.is_some() || until.left().is_none() {
            return Ok(held);
        }
        self.take_behind_gate(until)
    }

    fn take_behind_gate(&self, until: Deadline) -> Result<Option<Held>> {
        let gate = Gate::of(&self.file);
        let mut closed = None;
        // Without a gate there is less fairness, but the same exclusion.
        let held = if until.is_never() {
            closed = gate.close().ok();
            self.file.wait(LockMode::Exclusive).map(Some)
        } else {
            backoff::poll(until, || {
                closed = closed.take().or_else(|| gate.try_close().unwrap_or(None));
                self.file.attempt(LockMode::Exclusive)
            })
        };
        if let Some(closed) = closed {
            // If this fails the gate is open all the same, as its handle closes.
            let _ = gate.open(&closed);
        }
        held
    }

    fn timed_out(&self, mode: LockMode, wait: Wait, waited: Stopwatch) -> Error {
        let waited = (wait != Wait::Never).then(|| waited.elapsed());
        let owner = self.file.owner().map(owner::Owner::hint);
        Error::lock_timeout(mode, &self.file.path, waited, owner)
    }
}

fn file_name(path: &Path) -> Result<&OsStr> {
    let why = "it does not end in a file name";
    path.file_name().ok_or_else(|| Error::refused(ErrorKind::NotAFile, "lock", path, why))
}

/// Source: the 64-bit FNV-1a hash, by Fowler, Noll and Vo (public domain).
fn fnv1a(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Duration;

    const SOON: Wait = Wait::AtMost(Duration::from_millis(30));

    fn lock_in(dir: &tempfile::TempDir) -> FileLock {
        FileLock::open(dir.path().join("a.lock")).unwrap()
    }

    fn names(dir: &tempfile::TempDir) -> Vec<String> {
        fs::names(dir.path()).unwrap()
    }

    #[test]
    fn first_holder_creates_and_last_holder_removes_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let lock = lock_in(&dir);
        assert_eq!(names(&dir), Vec::<String>::new());
        let guard = lock.exclusive(Wait::Never).unwrap();
        assert_eq!(names(&dir), ["a.lock"]);
        drop(guard);
        assert_eq!(names(&dir), Vec::<String>::new());
    }

    #[test]
    fn same_value_asked_again_is_an_error_and_free_after_release() {
        let dir = tempfile::tempdir().unwrap();
        let lock = lock_in(&dir);
        for mode in [LockMode::Shared, LockMode::Exclusive] {
            let guard = lock.lock(mode, Wait::Forever).unwrap();
            let again = lock.lock(mode, Wait::Forever).unwrap_err();
            assert_eq!(again.kind(), ErrorKind::AlreadyLocked);
            guard.unlock().unwrap();
            lock.lock(mode, Wait::Never).unwrap().unlock().unwrap();
        }
    }

    #[test]
    fn failed_acquisition_leaves_the_value_free() {
        let dir = tempfile::tempdir().unwrap();
        let (mine, other) = (lock_in(&dir), lock_in(&dir));
        let guard = other.exclusive(Wait::Never).unwrap();
        assert_eq!(mine.exclusive(SOON).unwrap_err().kind(), ErrorKind::LockTimeout);
        drop(guard);
        mine.exclusive(Wait::Never).unwrap().unlock().unwrap();
    }

    #[test]
    fn two_values_in_one_process_exclude_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let (mine, other) = (lock_in(&dir), lock_in(&dir));
        let guard = mine.exclusive(Wait::Never).unwrap();
        for mode in [LockMode::Shared, LockMode::Exclusive] {
            for wait in [Wait::Never, SOON] {
                let error = other.lock(mode, wait).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::LockTimeout);
                assert!(error.to_string().contains(", this process)"), "{error}");
            }
        }
        guard.unlock().unwrap();
        other.exclusive(Wait::Never).unwrap().unlock().unwrap();
    }

    #[test]
    fn shared_holders_share_and_the_last_one_out_removes_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b, writer) = (lock_in(&dir), lock_in(&dir), lock_in(&dir));
        let (first, last) = (a.shared(Wait::Never).unwrap(), b.shared(Wait::Never).unwrap());
        assert_eq!(writer.exclusive(Wait::Never).unwrap_err().kind(), ErrorKind::LockTimeout);
        first.unlock().unwrap();
        assert_eq!(names(&dir), ["a.lock"]);
        assert_eq!(writer.exclusive(Wait::Never).unwrap_err().kind(), ErrorKind::LockTimeout);
        last.unlock().unwrap();
        assert_eq!(names(&dir), Vec::<String>::new());
    }

    #[test]
    fn kept_file_stays_and_names_the_last_owner() {
        let dir = tempfile::tempdir().unwrap();
        let lock = lock_in(&dir).keep_file(true);
        for _ in 0..3 {
            lock.exclusive(Wait::Never).unwrap().unlock().unwrap();
        }
        assert_eq!(names(&dir), ["a.lock"]);
        assert_eq!(lock.file.owner(), Some(owner::Owner::this()));
    }

    #[test]
    fn lock_released_by_a_panic_is_free() {
        let dir = tempfile::tempdir().unwrap();
        let lock = Arc::new(lock_in(&dir));
        let panicking = Arc::clone(&lock);
        let thread = std::thread::spawn(move || {
            let _guard = panicking.exclusive(Wait::Never).unwrap();
            panic!("expected by this test");
        });
        assert!(thread.join().is_err());
        lock.exclusive(Wait::Never).unwrap().unlock().unwrap();
    }

    #[test]
    fn unlock_reports_a_removed_file_and_keeps_the_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let (mine, other) = (lock_in(&dir), lock_in(&dir));
        for mode in [LockMode::Shared, LockMode::Exclusive] {
            let guard = mine.lock(mode, Wait::Never).unwrap();
            std::fs::remove_file(mine.path()).unwrap();
            assert_eq!(guard.verify().unwrap_err().kind(), ErrorKind::LockLost);
            let second = other.exclusive(Wait::Never).unwrap();
            assert_eq!(guard.unlock().unwrap_err().kind(), ErrorKind::LockLost);
            assert_eq!(names(&dir), ["a.lock"]);
            second.unlock().unwrap();
        }
    }

    #[test]
    fn file_with_other_content_is_never_written_or_removed() {
        let dir = tempfile::tempdir().unwrap();
        let (lock, other) = (lock_in(&dir), lock_in(&dir));
        std::fs::write(lock.path(), "precious").unwrap();
        for mode in [LockMode::Shared, LockMode::Exclusive] {
            let guard = lock.lock(mode, Wait::Never).unwrap();
            assert!(other.exclusive(Wait::Never).is_err());
            guard.unlock().unwrap();
            assert_eq!(std::fs::read(lock.path()).unwrap(), b"precious");
        }
    }

    #[test]
    fn missing_directory_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("none").join("a.lock");
        let error = FileLock::open(&path).unwrap().exclusive(Wait::Forever).unwrap_err();
        assert!(error.is_not_found());
        let missing = dir.path().join("none");
        let expected = format!("there is no directory `{}`", missing.display());
        assert!(error.to_string().ends_with(&expected), "{error}");
    }

    #[test]
    fn path_that_is_a_directory_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let error = FileLock::open(dir.path()).unwrap().exclusive(Wait::Never).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotAFile);
        assert!(error.to_string().ends_with("it is a directory"), "{error}");
        assert_eq!(FileLock::open("..").unwrap_err().kind(), ErrorKind::NotAFile);
    }

    #[test]
    fn sidecar_and_lock_directory_name_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let sidecar = FileLock::beside(dir.path().join("a.db")).unwrap();
        assert_eq!(sidecar.path(), dir.path().join("a.db.lock"));

        let locks = dir.path().join("run").join("locks");
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        std::fs::create_dir(&a).unwrap();
        std::fs::create_dir(&b).unwrap();
        let of = |dir: &Path| FileLock::in_dir(&locks, dir.join("x.db")).unwrap();
        assert_ne!(of(&a).path(), of(&b).path());
        assert_eq!(of(&a).path(), of(&a.join("..").join("a")).path());
        assert!(!locks.exists());
        let lock = of(&a);
        let guard = lock.exclusive(Wait::Never).unwrap();
        assert!(of(&a).exclusive(Wait::Never).is_err());
        of(&b).exclusive(Wait::Never).unwrap().unlock().unwrap();
        guard.unlock().unwrap();
        assert_eq!(fs::names(&locks).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn hash_is_fnv1a() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"foobar"), 0x85944171f73967e8);
    }
}
