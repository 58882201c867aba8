//! The store: the version in force, and how it is read, changed and reloaded.

use super::builder::PolicyStoreBuilder;
use super::engine::Parsed;
use super::judge::Judge;
use super::shared::SharedPolicy;
use super::stats::PolicyStats;
use super::unversioned::is_unversioned;
use super::update::Update;
use super::watch::FileSource;
use super::{Policy, Settings, Snapshot};
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::error::{Error, Result};
use crate::lock::Wait;
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Settings that several processes share in one file; see the [module](super).
///
/// It is a handle: clones are cheap and share one state.
pub struct PolicyStore<T>(pub(super) Arc<StoreState<T>>);

pub(super) struct StoreState<T> {
    pub(super) judge: Arc<Judge<T>>,
    pub(super) source: PolicySource<T>,
    pub(super) current: ArcSwap<Policy<T>>,
    /// Held while `current` is compared and replaced.
    publishing: Mutex<()>,
}

/// Where a policy is.
pub(super) enum PolicySource<T> {
    File(FileSource<T>),
    Shared(SharedPolicy<T>),
}

impl<T> Clone for PolicyStore<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Settings> fmt::Debug for PolicyStore<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolicyStore")
            .field("path", &self.path())
            .field("version", &self.version())
            .finish_non_exhaustive()
    }
}

impl<T: Settings> PolicyStore<T> {
    pub(super) fn new(
        judge: Arc<Judge<T>>,
        source: PolicySource<T>,
        policy: Arc<Policy<T>>,
    ) -> Self {
        let (current, publishing) = (ArcSwap::new(policy), Mutex::default());
        Self(Arc::new(StoreState { judge, source, current, publishing }))
    }

    /// Returns a builder for a policy, with a validator that returns why a value cannot be in
    /// force.
    ///
    /// Every value passes the validator: those that are read and those that are written.
    ///
    /// # Examples
    /// ```
    /// use logrotor::policy::PolicyStore;
    /// use std::collections::BTreeMap;
    /// # fn main() -> logrotor::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// let builder = PolicyStore::builder(|limits: &BTreeMap<String, u32>| {
    ///     if limits.values().any(|limit| *limit == 0) { Err("a limit of 0 shuts all out")? }
    ///     Ok(())
    /// });
    /// let store = builder.keep(50).open_or_create(dir.path().join("limits.toml"), BTreeMap::new)?;
    /// store.update(|limits| { limits.insert("guests".into(), 10); })?;
    /// let error = store.update(|limits| { limits.insert("staff".into(), 0); }).unwrap_err();
    /// assert_eq!(error.kind(), logrotor::ErrorKind::PolicyInvalid);
    /// assert_eq!(store.current()["guests"], 10);
    /// # Ok(()) }
    /// ```
    pub fn builder<V>(validate: V) -> PolicyStoreBuilder<T>
    where
        V: Fn(&T) -> Result<(), Box<dyn std::error::Error + Send + Sync>> + Send + Sync + 'static,
    {
        PolicyStoreBuilder::new(Arc::new(validate))
    }

    /// Opens the policy at `path` with the default [`builder`](Self::builder).
    ///
    /// # Errors
    /// As [`PolicyStoreBuilder::open`].
    pub fn open<V>(path: impl AsRef<Path>, validate: V) -> Result<Self>
    where
        V: Fn(&T) -> Result<(), Box<dyn std::error::Error + Send + Sync>> + Send + Sync + 'static,
    {
        Self::builder(validate).open(path)
    }

    /// Returns the path of the policy: absolute, with a link in its last part not resolved. For a
    /// policy that machines share, that is its URL.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.judge.path
    }

    /// Returns the version in force in this process.
    ///
    /// It takes no lock and touches no file, so it never waits, even if another process updates the
    /// policy or dies. Versions only go up.
    ///
    /// A policy that machines share is looked at by a thread, once per
    /// [`interval`](PolicyStoreBuilder::interval). Otherwise the version is as new as the last
    /// [`reload`](Self::reload) or change. A log reloads the
    /// policy that it [follows](crate::LogBuilder::policy). Other programs call `reload`, for
    /// example once a second.
    #[inline]
    #[must_use]
    pub fn current(&self) -> Snapshot<T> {
        self.0.judge.counters.reads.increment();
        Snapshot(self.0.current.load())
    }

    /// Returns the number of the version in force.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.0.current.load().version()
    }

    /// Changes the policy, and returns the new version.
    ///
    /// It takes the update lock, reads the file, applies `change`, validates the result, writes it
    /// as the next version, reads that back, and puts it in force here. Changes by other processes
    /// are kept. Comments in the body are not: the settings are written again.
    ///
    /// # Errors
    /// The file keeps its content, unless stated otherwise:
    /// - [`ErrorKind::LockTimeout`]: the lock is held elsewhere; the message names the holder.
    /// - [`ErrorKind::PolicyInvalid`]: the validator rejects the result, or TOML cannot hold it.
    ///   Also if the file has an invalid edit by hand, which is not overwritten.
    /// - [`ErrorKind::PolicyCorrupt`]: the file is damaged; see [`repair`](Self::repair). Also if
    ///   the written text reads back differently; then the old content is restored.
    /// - [`ErrorKind::LockLost`]: the lock file was removed meanwhile.
    /// - [`ErrorKind::PolicyConflict`]: only if machines share the policy. Another process
    ///   took the update lock over, and its change was made first. Nothing was changed.
    /// - [`ErrorKind::PolicyUnsettled`]: only if machines share the policy. The change was
    ///   sent, and no answer says whether it was made.
    /// - [`ErrorKind::PolicyUnreachable`], [`ErrorKind::PolicyDenied`],
    ///   [`ErrorKind::PolicyUnconditional`]: only if machines share the policy. Nothing was
    ///   changed.
    /// - [`ErrorKind::Io`]: the file system failed, for example because the disk is full. If
    ///   syncing the directory failed, the new version is in place, and may not survive a power
    ///   cut.
    ///
    /// # Examples
    /// ```
    /// use logrotor::{Config, policy};
    /// # fn main() -> logrotor::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let log = dir.path().join("app.log");
    /// let store = Config::policy().open_or_create(policy::path_beside(&log), Config::default)?;
    /// store.update(|config| config.max_backups = Some(7))?;
    /// assert_eq!((store.version(), store.current().max_backups), (2, Some(7)));
    /// # Ok(()) }
    /// ```
    pub fn update(&self, change: impl FnOnce(&mut T)) -> Result<Arc<Policy<T>>> {
        self.begin_update().apply(change)
    }

    /// As [`update`](Self::update), with a change that may fail.
    ///
    /// If it fails, the policy keeps its version, and the inner result is the error.
    ///
    /// # Errors
    /// As [`update`](Self::update).
    pub fn try_update<E>(
        &self,
        change: impl FnOnce(&mut T) -> Result<(), E>,
    ) -> Result<Result<Arc<Policy<T>>, E>> {
        self.begin_update().try_apply(change)
    }

    /// As [`update`](Self::update), if the policy is at `version`: for a change that depends on
    /// values read before.
    ///
    /// # Errors
    /// [`ErrorKind::PolicyConflict`] if the file has another version, which is then in force here.
    /// Otherwise as [`update`](Self::update).
    ///
    /// # Examples
    /// ```
    /// # use logrotor::{Config, ErrorKind};
    /// # fn main() -> logrotor::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = Config::policy().open_or_create(dir.path().join("p.toml"), Config::default)?;
    /// let seen = store.current();
    /// store.update(|config| config.max_size *= 2)?;
    /// let error = store.update_if(seen.version(), |config| config.max_size *= 2).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::PolicyConflict);
    /// # Ok(()) }
    /// ```
    pub fn update_if(&self, version: u64, change: impl FnOnce(&mut T)) -> Result<Arc<Policy<T>>> {
        self.begin_update().if_version(version).apply(change)
    }

    /// Returns an update to which a comment, a condition or a timeout can be added.
    pub fn begin_update(&self) -> Update<'_, T> {
        Update::new(self, self.timeout())
    }

    /// How long a call waits for other processes, or for a system that does not answer.
    pub(super) fn timeout(&self) -> Duration {
        match &self.0.source {
            PolicySource::File(file) => file.engine.lock_timeout,
            PolicySource::Shared(shared) => shared.timing.timeout,
        }
    }

    /// Puts an older version in force again, as a new version with its content.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] (not found) if it is not kept, [`ErrorKind::PolicyCorrupt`] if its copy is
    /// damaged. Otherwise as [`update`](Self::update).
    pub fn rollback(&self, version: u64) -> Result<Arc<Policy<T>>> {
        self.begin_update().rollback(version)
    }

    // ------------------------------------------------------------ watching

    /// Reads the file if it has changed, and puts a newer version in force. Returns whether there
    /// was one.
    ///
    /// It costs one `stat` if the file has not changed for 2 s. An edit by hand gets a version. A
    /// damaged or rejected file may still be written, so the call waits up to 100 ms for it to
    /// settle.
    ///
    /// # Errors
    /// The problem with the file: [`ErrorKind::PolicyCorrupt`], [`ErrorKind::PolicyInvalid`],
    /// [`ErrorKind::PolicyConflict`] (an edit of an old version), or [`ErrorKind::Io`]. Each
    /// problem is returned once, until the file changes; [`problem`](Self::problem) continues to
    /// return it. The version in force stays.
    ///
    /// A policy that machines share is asked for once, and may also be
    /// [`ErrorKind::PolicyUnreachable`] or [`ErrorKind::PolicyDenied`].
    pub fn reload(&self) -> Result<bool> {
        self.look(true)
    }

    /// As [`reload`](Self::reload) for a file. A policy that machines share is followed by a
    /// thread, and a log that is opened does not wait for the network.
    pub(crate) fn catch_up(&self) -> Result<bool> {
        match &self.0.source {
            PolicySource::File(file) => self.look_at_file(file, true),
            PolicySource::Shared(_) => Ok(false),
        }
    }

    /// As [`reload`](Self::reload), but leaves for the next call whatever would wait.
    pub(crate) fn poll(&self) -> Result<bool> {
        self.look(false)
    }

    fn look(&self, may_wait: bool) -> Result<bool> {
        match &self.0.source {
            PolicySource::File(file) => self.look_at_file(file, may_wait),
            PolicySource::Shared(shared) if may_wait => self.look_at_shared(shared),
            // A thread follows it.
            PolicySource::Shared(_) => Ok(false),
        }
    }

    /// Puts a version in force here, unless a newer one is. The file takes the place of one whose
    /// number counts in this process alone.
    pub(super) fn publish(&self, policy: Arc<Policy<T>>) -> bool {
        let _publishing = self.0.publishing.lock();
        let present = self.0.current.load();
        let newer = policy.version() > present.version()
            || (is_unversioned(&present) && !is_unversioned(&policy));
        if newer {
            self.0.current.store(policy);
        }
        newer
    }

    /// Returns the problem with the file, as of the last check.
    #[must_use]
    pub fn problem(&self) -> Option<Error> {
        self.0.judge.problem().1
    }

    /// As [`problem`](Self::problem), with a number that distinguishes a new problem from the last
    /// one.
    pub(crate) fn numbered_problem(&self) -> (u64, Option<Error>) {
        self.0.judge.problem()
    }

    /// Reads and checks the file, even if it has not changed, and returns its version. Changes
    /// nothing on disk or in force.
    ///
    /// # Errors
    /// The problem with the file, as [`reload`](Self::reload) returns it, but every time.
    /// [`ErrorKind::PolicyConflict`] also for an edit by hand that is not accepted yet.
    ///
    /// For a policy that machines share, [`ErrorKind::PolicyUnreachable`] if there is no answer
    /// within the [timeout](PolicyStoreBuilder::lock_timeout).
    pub fn verify(&self) -> Result<u64> {
        // Before it is read: another process may replace it with a newer version.
        let known = self.0.current.load_full();
        let engine = match &self.0.source {
            PolicySource::File(file) => &file.engine,
            PolicySource::Shared(shared) => return shared.verify(&known),
        };
        let file = engine.files.resolve()?;
        let kept = engine.newest_kept(&file, &file.list()?);
        let bytes = file.read()?;
        match engine.classify(&file, bytes.as_deref())? {
            Parsed::Sealed(found) => {
                for known in [Some(known), kept].iter().flatten() {
                    engine.judge.in_order(&found, known)?;
                }
                Ok(found.version())
            }
            Parsed::Edit(_) => Err(Error::policy_edit_waits(file.path())),
        }
    }

    /// Restores the last good version in the file. Returns whether a repair was needed.
    ///
    /// The last good version is the newest of those in memory and those kept beside the file. The
    /// damaged content goes to `<policy>.damaged`. A valid edit by hand is accepted instead.
    ///
    /// # Errors
    /// [`ErrorKind::PolicyCorrupt`] if no good version is left. Otherwise as
    /// [`update`](Self::update).
    pub fn repair(&self) -> Result<bool> {
        let engine = match &self.0.source {
            PolicySource::File(file) => &file.engine,
            PolicySource::Shared(shared) => return self.repair_shared(shared),
        };
        let known = self.0.current.load_full();
        let wait = Wait::AtMost(engine.lock_timeout);
        let (good, repaired) =
            engine.with_lock(wait, |locked| engine.restore(locked, Some(&known)))?;
        self.publish(good);
        engine.judge.clear_problem();
        Ok(repaired)
    }

    /// Returns counts of what this store has done.
    #[must_use]
    pub fn stats(&self) -> PolicyStats {
        self.0.judge.counters.snapshot(self.problem())
    }
}
