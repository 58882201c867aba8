//! Opening a policy.

use super::Settings;
use super::engine::{Engine, Validator};
use super::files::PolicyFiles;
use super::store::PolicyStore;
use crate::atomic::SyncLevel;
use crate::error::Result;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Configures and opens a [`PolicyStore`].
///
/// [`PolicyStore::builder`] returns it.
#[must_use = "nothing is opened before `open`"]
pub struct PolicyStoreBuilder<T> {
    validate: Validator<T>,
    keep: usize,
    lock_timeout: Duration,
    sync: SyncLevel,
    mode: Option<u32>,
}

impl<T> Clone for PolicyStoreBuilder<T> {
    fn clone(&self) -> Self {
        Self { validate: Arc::clone(&self.validate), ..*self }
    }
}

impl<T> fmt::Debug for PolicyStoreBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolicyStoreBuilder")
            .field("keep", &self.keep)
            .field("lock_timeout", &self.lock_timeout)
            .finish_non_exhaustive()
    }
}

impl<T: Settings> PolicyStoreBuilder<T> {
    pub(super) fn new(validate: Validator<T>) -> Self {
        Self {
            validate,
            keep: 20,
            lock_timeout: Duration::from_secs(5),
            sync: SyncLevel::default(),
            mode: None,
        }
    }

    /// Sets how many versions are kept beside the file, including the current one. Default: 20.
    /// Minimum: 1.
    pub fn keep(mut self, versions: usize) -> Self {
        self.keep = versions.max(1);
        self
    }

    /// Sets how long a change waits for another process that is changing the policy. Default: 5 s.
    pub fn lock_timeout(mut self, timeout: Duration) -> Self {
        self.lock_timeout = timeout;
        self
    }

    /// Sets what is on disk once a change has returned. Default: [`SyncLevel::FileAndDirectory`].
    pub fn sync(mut self, level: SyncLevel) -> Self {
        self.sync = level;
        self
    }

    /// Sets the permission bits of the file and of the kept versions. Default: those of the file,
    /// and `0o666` less the umask for a new one. Ignored on Windows.
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = Some(mode);
        self
    }

    /// Opens the policy at `path`.
    ///
    /// If the file is damaged or missing and a good version is kept beside it, that version is in
    /// force, and [`PolicyStore::problem`] returns the problem.
    ///
    /// # Errors
    /// - [`ErrorKind::Io`](crate::ErrorKind::Io): the policy does not exist, or the file system
    ///   failed.
    /// - [`ErrorKind::PolicyCorrupt`](crate::ErrorKind::PolicyCorrupt) or
    ///   [`ErrorKind::PolicyInvalid`](crate::ErrorKind::PolicyInvalid): the file is damaged or its
    ///   settings are rejected, and no good version is kept.
    /// - [`ErrorKind::LockTimeout`](crate::ErrorKind::LockTimeout): the file has an edit by hand,
    ///   and the lock to give it a version is held elsewhere.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<PolicyStore<T>> {
        self.start(path.as_ref(), None)
    }

    /// Opens the policy at `path`, or creates it with `initial` as version 1.
    ///
    /// # Errors
    /// As [`open`](Self::open), and as [`PolicyStore::update`] for creating it.
    pub fn open_or_create(
        &self,
        path: impl AsRef<Path>,
        initial: impl FnOnce() -> T,
    ) -> Result<PolicyStore<T>> {
        self.start(path.as_ref(), Some(initial()))
    }

    fn start(&self, path: &Path, initial: Option<T>) -> Result<PolicyStore<T>> {
        let files = PolicyFiles::new(path, self.keep, self.sync, self.mode)?;
        let engine = Engine::new(files, Arc::clone(&self.validate), self.lock_timeout);
        let (policy, problem) = engine.start(initial)?;
        if let Some(error) = problem {
            // Kept for `problem`; opening it has succeeded.
            let _ = engine.report(error);
        }
        Ok(PolicyStore::new(engine, policy))
    }
}
