//! The store: the version in force, and how it is read, changed and reloaded.

use super::builder::PolicyStoreBuilder;
use super::engine::{Engine, Fingerprint, Parsed, debounce, is_about_content};
use super::stats::PolicyStats;
use super::unversioned::{is_unversioned, is_unwritable};
use super::update::Update;
use super::{Policy, Settings, Snapshot};
use crate::clock::{self, Stopwatch};
use crate::error::{Error, ErrorKind, Result};
use crate::lock::Wait;
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Settings that several processes share in one file; see the [module](super).
///
/// It is a handle: clones are cheap and share one state.
pub struct PolicyStore<T>(pub(super) Arc<StoreState<T>>);

pub(super) struct StoreState<T> {
    pub(super) engine: Engine<T>,
    pub(super) current: ArcSwap<Policy<T>>,
    /// Held while `current` is compared and replaced.
    publishing: Mutex<()>,
    /// Held while the file is looked at.
    watch: Mutex<Watch>,
}

#[derive(Debug, Default)]
struct Watch {
    /// The last file that was checked, if a change of it would show.
    fingerprint: Option<Fingerprint>,
    /// Since when there has been no file.
    missing: Option<Stopwatch>,
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
    pub(super) fn new(engine: Engine<T>, policy: Arc<Policy<T>>) -> Self {
        Self(Arc::new(StoreState {
            engine,
            current: ArcSwap::new(policy),
            publishing: Mutex::default(),
            watch: Mutex::default(),
        }))
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

    /// Returns the path of the policy: absolute, with a link in its last part not resolved.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.engine.files.path()
    }

    /// Returns the version in force in this process.
    ///
    /// It takes no lock and touches no file, so it never waits, even if another process updates the
    /// policy or dies. Versions only go up.
    ///
    /// The version is as new as the last [`reload`](Self::reload) or change. A log reloads the
    /// policy that it [follows](crate::LogBuilder::policy). Other programs call `reload`, for
    /// example once a second.
    #[inline]
    #[must_use]
    pub fn current(&self) -> Snapshot<T> {
        self.0.engine.counters.reads.increment();
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
        Update::new(self, self.0.engine.lock_timeout)
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
    pub fn reload(&self) -> Result<bool> {
        self.look(true)
    }

    /// As [`reload`](Self::reload), but leaves for the next call whatever would wait.
    pub(crate) fn poll(&self) -> Result<bool> {
        self.look(false)
    }

    fn look(&self, may_wait: bool) -> Result<bool> {
        let inner = &*self.0;
        let mut watch = inner.watch.lock();
        loop {
            let file = match inner.engine.files.resolve() {
                Ok(file) => file,
                Err(error) => return inner.engine.report(error),
            };
            let fingerprint = Fingerprint::of(file.entry);
            if watch.fingerprint == Some(fingerprint) {
                return Ok(false);
            }
            let known = inner.current.load_full();
            let parsed =
                file.read().and_then(|bytes| inner.engine.classify(&file, bytes.as_deref()));
            let settled = match &parsed {
                Ok(Parsed::Sealed(_)) => None,
                _ => debounce(file.entry, &mut watch.missing),
            };
            match settled {
                Some(_) if !may_wait => return Ok(false),
                Some(left) => clock::sleep(left),
                None => {
                    let outcome = parsed.and_then(|parsed| self.follow(parsed, &known, may_wait));
                    let keeps = !matches!(&outcome, Err(error) if !is_about_content(error));
                    watch.fingerprint = (keeps && fingerprint.is_reliable()).then_some(fingerprint);
                    return match outcome {
                        Err(error) if is_busy(&error, may_wait) => Ok(false),
                        Err(error) => inner.engine.report(error),
                        Ok((newer, Some(notice))) => inner.engine.report(notice).map(|_| newer),
                        Ok((newer, None)) => {
                            inner.engine.clear_problem();
                            Ok(newer)
                        }
                    };
                }
            }
        }
    }

    /// Puts a parsed version in force, if it is newer. Also returns the notice that it is in force
    /// without a version, if it is.
    fn follow(
        &self,
        parsed: Parsed<T>,
        known: &Arc<Policy<T>>,
        may_wait: bool,
    ) -> Result<(bool, Option<Error>)> {
        let engine = &self.0.engine;
        let newer = match parsed {
            Parsed::Sealed(found) => {
                if !is_unversioned(known) {
                    engine.in_order(&found, known)?;
                }
                self.publish(found)
            }
            // It is in force as it is.
            Parsed::Edit(edit) if is_unversioned(known) && edit.is(known.text()) => {
                return Ok((false, engine.problem().1));
            }
            Parsed::Edit(edit) => {
                let wait = if may_wait { Wait::AtMost(engine.lock_timeout) } else { Wait::Never };
                let known = Some(known).filter(|known| !is_unversioned(known));
                match engine.with_lock(wait, |locked| engine.base(locked, known)) {
                    Ok(accepted) => return Ok((self.publish(accepted), None)),
                    Err(error) if is_unwritable(&error) => {
                        let present = self.0.current.load_full();
                        let newer = self.publish(engine.unversioned(edit, Some(&present))?);
                        let notice = Error::policy_unversioned(self.path(), &error);
                        return Ok((newer, Some(notice)));
                    }
                    Err(error) => return Err(error),
                }
            }
        };
        if newer {
            engine.counters.reloads.increment();
        }
        Ok((newer, None))
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
        self.0.engine.problem().1
    }

    /// As [`problem`](Self::problem), with a number that distinguishes a new problem from the last
    /// one.
    pub(crate) fn numbered_problem(&self) -> (u64, Option<Error>) {
        self.0.engine.problem()
    }

    /// Reads and checks the file, even if it has not changed, and returns its version. Changes
    /// nothing on disk or in force.
    ///
    /// # Errors
    /// The problem with the file, as [`reload`](Self::reload) returns it, but every time.
    /// [`ErrorKind::PolicyConflict`] also for an edit by hand that is not accepted yet.
    pub fn verify(&self) -> Result<u64> {
        let engine = &self.0.engine;
        let file = engine.files.resolve()?;
        // Both before the file is read: another process may replace it with a newer version.
        let known = self.0.current.load_full();
        let kept = engine.newest_kept(&file, &file.list()?);
        let bytes = file.read()?;
        match engine.classify(&file, bytes.as_deref())? {
            Parsed::Sealed(found) => {
                for known in [Some(known), kept].iter().flatten() {
                    engine.in_order(&found, known)?;
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
        let engine = &self.0.engine;
        let known = self.0.current.load_full();
        let wait = Wait::AtMost(engine.lock_timeout);
        let (good, repaired) =
            engine.with_lock(wait, |locked| engine.restore(locked, Some(&known)))?;
        self.publish(good);
        engine.clear_problem();
        Ok(repaired)
    }

    /// Returns counts of what this store has done.
    #[must_use]
    pub fn stats(&self) -> PolicyStats {
        self.0.engine.counters.snapshot(self.problem())
    }
}

/// Whether a failure only means that the lock is held elsewhere, and the call was not to wait.
fn is_busy(error: &Error, may_wait: bool) -> bool {
    !may_wait && error.kind() == ErrorKind::LockTimeout
}
