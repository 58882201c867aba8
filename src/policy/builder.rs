//! Opening a policy.

use super::backend::{self, Address, Backend};
use super::engine::Engine;
use super::files::PolicyFiles;
use super::judge::{Judge, Validator};
use super::name::cache_beside;
use super::shared::{PolicyCache, ProtocolTiming, SharedPolicy, split_copy};
use super::store::{PolicySource, PolicyStore};
use super::watch::FileSource;
use super::{Policy, Settings};
use crate::atomic::SyncLevel;
use crate::error::Result;
use crate::fs;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Configures and opens a [`PolicyStore`].
///
/// [`PolicyStore::builder`] returns it.
#[must_use = "nothing is opened before `open`"]
pub struct PolicyStoreBuilder<T> {
    validate: Validator<T>,
    keep: usize,
    lock_timeout: Option<Duration>,
    sync: SyncLevel,
    mode: Option<u32>,
    interval: Duration,
    lock_ttl: Duration,
    cache: Option<PathBuf>,
}

impl<T> Clone for PolicyStoreBuilder<T> {
    fn clone(&self) -> Self {
        Self { validate: Arc::clone(&self.validate), cache: self.cache.clone(), ..*self }
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
            lock_timeout: None,
            sync: SyncLevel::default(),
            mode: None,
            interval: ProtocolTiming::default().interval,
            lock_ttl: ProtocolTiming::default().ttl,
            cache: None,
        }
    }

    /// Sets how many versions are kept beside the file, including the current one. Default: 20.
    /// Minimum: 1; 10 if machines share the policy.
    pub fn keep(mut self, versions: usize) -> Self {
        self.keep = versions.max(1);
        self
    }

    /// Sets how long a change waits for another process that is changing the policy. Default: 5 s
    /// for a file; 30 s if machines share the policy, which covers the network too.
    ///
    /// If machines share the policy, opening it and calls that only read ask again for so long,
    /// too, while answers are lost. With a copy in the [`cache`](Self::cache), opening asks once.
    ///
    /// A timeout shorter than [`lock_ttl`](Self::lock_ttl) may end before the lock of a process
    /// that died is free.
    pub fn lock_timeout(mut self, timeout: Duration) -> Self {
        self.lock_timeout = Some(timeout);
        self
    }

    /// Sets how long the update lock of a policy that machines share stays taken after its holder
    /// died. Default: 10 s. Minimum: 100 ms. Ignored for a file, whose lock the system frees.
    ///
    /// Another process takes the lock over once it has seen it unchanged for so long by its own
    /// clock. The clocks of machines are never compared. If the holder was only paused, its change
    /// is refused ([`ErrorKind::PolicyConflict`](crate::ErrorKind::PolicyConflict)).
    pub fn lock_ttl(mut self, ttl: Duration) -> Self {
        self.lock_ttl = ttl.max(Duration::from_millis(100));
        self
    }

    /// Sets how often a policy that machines share is looked at. Default: 10 s. Minimum: 100 ms.
    /// Ignored for a file.
    ///
    /// A thread of its own does it, with one conditional request if nothing has changed.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval.max(Duration::from_millis(100));
        self
    }

    /// Sets the file for the last good copy of a policy that machines share, beside a log:
    /// `<log>.policy.cache`. See [`cache`](Self::cache).
    pub fn cache_beside(self, log: impl AsRef<Path>) -> Self {
        self.cache(cache_beside(log.as_ref()))
    }

    /// Sets the file for the last good copy of a policy that machines share. Default: none. Ignored
    /// for a file.
    ///
    /// If the policy cannot be reached when it is opened, the version of this file is in force, and
    /// [`PolicyStore::problem`] returns the problem. Every new version is saved to it. Processes of
    /// one machine may share it. It also remembers the version that this machine has seen, so that
    /// an older one is not taken over after a restart.
    pub fn cache(mut self, path: impl Into<PathBuf>) -> Self {
        self.cache = Some(path.into());
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

    /// Opens the policy at `path`, or at a URL that machines share.
    ///
    /// | URL | feature |
    /// |---|---|
    /// | `s3://bucket/prefix/app.policy`, `gs://..`, `az://..` | `archive` |
    /// | `etcd://host:2379/app.policy`, `etcds://..` | `etcd` |
    /// | `postgres://user@host/database/app.policy` | `postgres` |
    /// | `file:///path` | none: the same as the path |
    ///
    /// Credentials come from the environment, as for an `Archive`, or from the URL for etcd and
    /// PostgreSQL. No message shows them.
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
    /// - [`ErrorKind::PolicyUnreachable`](crate::ErrorKind::PolicyUnreachable) or
    ///   [`ErrorKind::PolicyDenied`](crate::ErrorKind::PolicyDenied): the system behind the URL
    ///   does not answer within the [timeout](Self::lock_timeout) or rejects the credentials, and
    ///   there is no copy in the [`cache`](Self::cache).
    /// - [`ErrorKind::InvalidConfig`](crate::ErrorKind::InvalidConfig): the URL is invalid, or of a
    ///   system that this build lacks.
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

    /// Returns the copy in a [`cache`](Self::cache) and the URL of its policy, and sends nothing.
    /// `None` if there is none that is whole and valid.
    #[must_use]
    pub fn cached(&self) -> Option<(Arc<Policy<T>>, String)> {
        let bytes = fs::read_whole(self.cache.as_ref()?).ok()??;
        let (url, document) = split_copy(std::str::from_utf8(&bytes).ok()?)?;
        let judge = Judge::new(url.into(), Arc::clone(&self.validate));
        let policy = Arc::new(judge.parse(document.as_bytes()).ok()?);
        Some((policy, url.to_owned()))
    }

    fn start(&self, path: &Path, initial: Option<T>) -> Result<PolicyStore<T>> {
        match path.to_str().map(Address::of) {
            Some(Address::Url(url)) => self.start_shared(backend::open(url)?, initial.as_ref()),
            Some(Address::Path(path)) => self.start_file(path.as_ref(), initial),
            None => self.start_file(path, initial),
        }
    }

    fn start_file(&self, path: &Path, initial: Option<T>) -> Result<PolicyStore<T>> {
        let files = PolicyFiles::new(path, self.keep, self.sync, self.mode)?;
        let judge = Judge::new(files.path().to_owned(), Arc::clone(&self.validate));
        let judge = Arc::new(judge);
        let timeout = self.lock_timeout.unwrap_or(Duration::from_secs(5));
        let engine = Engine::new(files, Arc::clone(&judge), timeout);
        let (policy, problem) = engine.start(initial)?;
        if let Some(error) = problem {
            // Kept for `problem`; opening it has succeeded.
            let _ = judge.report(error);
        }
        Ok(PolicyStore::new(judge, PolicySource::File(FileSource::new(engine)), policy))
    }

    fn start_shared(
        &self,
        backend: Arc<dyn Backend>,
        initial: Option<&T>,
    ) -> Result<PolicyStore<T>> {
        let (interval, ttl) = (self.interval, self.lock_ttl);
        let mut timing = ProtocolTiming { interval, ttl, ..ProtocolTiming::default() };
        timing.timeout = self.lock_timeout.unwrap_or(timing.timeout);
        self.start_with(backend, timing, initial)
    }

    /// Opens a policy in a backend, and starts its thread.
    pub(super) fn start_with(
        &self,
        backend: Arc<dyn Backend>,
        timing: ProtocolTiming,
        initial: Option<&T>,
    ) -> Result<PolicyStore<T>> {
        let cache = match &self.cache {
            Some(path) => Some(PolicyCache::new(path.clone(), backend.url(), self.mode)?),
            None => None,
        };
        let judge = Judge::new(backend.url().into(), Arc::clone(&self.validate));
        let judge = Arc::new(judge);
        let shared = SharedPolicy::new(Arc::clone(&judge), backend, timing, self.keep, cache);
        let (policy, problem) = shared.start(initial)?;
        if let Some(error) = problem {
            let _ = judge.report(error);
        }
        let store = PolicyStore::new(judge, PolicySource::Shared(shared), policy);
        if let PolicySource::Shared(shared) = &store.0.source {
            store.follow_shared(shared)?;
        }
        Ok(store)
    }
}
