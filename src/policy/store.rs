//! The store: what is in force, how it is read, changed, and reloaded.

use super::builder::PolicyStoreBuilder;
use super::engine::{Engine, Fingerprint, Parsed, debounce, is_about_content};
use super::stats::PolicyStats;
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
    /// What was looked at last, if another file would be told from it.
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

    /// How a policy is opened, with a validator that says why a value cannot be in force. Every value
    /// passes it: those that are read as well as those to be written.
    ///
    /// # Examples
    /// ```
    /// use logrotor::policy::PolicyStore;
    /// use std::collections::BTreeMap;
    /// # fn main() -> logrotor::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// let builder = PolicyStore::builder(|limits: &BTreeMap<String, u32>| {
    ///     if limits.values().any(|limit| *limit == 0) { Err("a limit of 0 lets nobody in")? }
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

    /// Where the policy is: absolute, a link in the last place not resolved.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.engine.files.path()
    }

    /// What is in force in this process: one version, whole. Takes no lock and touches no file, so it
    /// never waits, whoever updates or dies meanwhile; versions only ever go up.
    ///
    /// It is as new as the last [`reload`](Self::reload) or change. A log does the reload for the policy
    /// it [obeys](crate::LogBuilder::policy); other programs call it when they like, such as once a second.
    #[inline]
    #[must_use]
    pub fn current(&self) -> Snapshot<T> {
        self.0.engine.counters.reads.increment();
        Snapshot(self.0.current.load())
    }

    /// The number of the version in force.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.0.current.load().version()
    }

    /// Changes the policy: takes the update lock, reads what is on disk now, has it changed, validates it,
    /// writes it as the next version, reads it back, and puts it in force here. Returns the new version.
    ///
    /// Nothing that another process has changed is lost by it. Comments that a hand has put in the body
    /// are: the settings are written anew.
    ///
    /// # Errors
    /// The file is what it was before, unless it says otherwise:
    /// - [`ErrorKind::LockTimeout`], with the holder named.
    /// - [`ErrorKind::PolicyInvalid`] if the validator refuses the outcome, or TOML cannot hold it; also
    ///   if the file holds an edit by hand that is refused, which is not written over.
    /// - [`ErrorKind::PolicyCorrupt`] if the file is damaged; [`repair`](Self::repair) helps. Also if what
    ///   was written reads back otherwise; then the old content was put back.
    /// - [`ErrorKind::LockLost`] if someone removed the lock file meanwhile.
    /// - [`ErrorKind::Io`] if the file system refuses, such as for a full disk. If it was the directory
    ///   that could not be synced, the new version is in place, and may not survive loss of power.
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

    /// As [`update`](Self::update), with a change that may fail: then the policy stays as it is, and its
    /// error is the inner result.
    ///
    /// # Errors
    /// As [`update`](Self::update).
    pub fn try_update<E>(
        &self,
        change: impl FnOnce(&mut T) -> Result<(), E>,
    ) -> Result<Result<Arc<Policy<T>>, E>> {
        self.begin_update().try_apply(change)
    }

    /// As [`update`](Self::update), if the policy is at `version`: for changes that were thought out on
    /// what one saw.
    ///
    /// # Errors
    /// [`ErrorKind::PolicyConflict`] if it is at another version on disk; it is in force here then, so
    /// look again. Else as [`update`](Self::update).
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

    /// A change with a comment, a condition or a timeout of its own.
    pub fn begin_update(&self) -> Update<'_, T> {
        Update::new(self, self.0.engine.lock_timeout)
    }

    /// Puts an older version in force again: a new version with its content.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] (not found) if it is not kept any more; [`ErrorKind::PolicyCorrupt`] if its copy is
    /// damaged. Else as [`update`](Self::update).
    pub fn rollback(&self, version: u64) -> Result<Arc<Policy<T>>> {
        self.begin_update().rollback(version)
    }

    // ------------------------------------------------------------ watching

    /// Looks at the file, and puts a newer version in force; `true` if there was one. Costs one `stat`
    /// if the file has not changed for 2 s.
    ///
    /// An edit by hand is given a version. A file that is damaged or refused is left alone for a tenth of
    /// a second first, as somebody may just be writing it; that long the call may take.
    ///
    /// # Errors
    /// What is wrong with the file: [`ErrorKind::PolicyCorrupt`], [`ErrorKind::PolicyInvalid`],
    /// [`ErrorKind::PolicyConflict`] (an edit of an old version), or [`ErrorKind::Io`]. Each once, until
    /// it changes; [`problem`](Self::problem) goes on telling it. What was in force stays so.
    pub fn reload(&self) -> Result<bool> {
        self.look(true)
    }

    /// As [`reload`](Self::reload), and leaves for the next time what would have to be waited for.
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
                        Ok(newer) => {
                            inner.engine.clear_problem();
                            Ok(newer)
                        }
                    };
                }
            }
        }
    }

    /// Puts in force what was seen, if it is newer than what is.
    fn follow(&self, parsed: Parsed<T>, known: &Arc<Policy<T>>, may_wait: bool) -> Result<bool> {
        let engine = &self.0.engine;
        match parsed {
            Parsed::Sealed(found) => {
                engine.in_order(&found, known)?;
                let newer = self.publish(found);
                if newer {
                    engine.counters.reloads.increment();
                }
                Ok(newer)
            }
            Parsed::Edit(_) => {
                let wait = if may_wait { Wait::AtMost(engine.lock_timeout) } else { Wait::Never };
                let accepted = engine.with_lock(wait, |locked| engine.base(locked, Some(known)))?;
                Ok(self.publish(accepted))
            }
        }
    }

    /// Puts a version in force here, unless a newer one is.
    pub(super) fn publish(&self, policy: Arc<Policy<T>>) -> bool {
        let _publishing = self.0.publishing.lock();
        let newer = policy.version() > self.0.current.load().version();
        if newer {
            self.0.current.store(policy);
        }
        newer
    }

    /// What is wrong with the file now, if something is: as it was last looked at.
    #[must_use]
    pub fn problem(&self) -> Option<Error> {
        self.0.engine.problem().1
    }

    /// As [`problem`](Self::problem), with a number that tells a new one from one told before.
    pub(crate) fn numbered_problem(&self) -> (u64, Option<Error>) {
        self.0.engine.problem()
    }

    /// Reads the file whatever its time stamp says, and returns the version in it. Changes nothing,
    /// neither on disk nor in force.
    ///
    /// # Errors
    /// What is wrong with it, as [`reload`](Self::reload) would say, each time.
    /// [`ErrorKind::PolicyConflict`] also for an edit by hand that waits to be accepted.
    pub fn verify(&self) -> Result<u64> {
        let engine = &self.0.engine;
        let file = engine.files.resolve()?;
        // Both before the file is read, which others may be replacing by a newer one.
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

    /// Makes the file hold the last good version again: the newest one of that in memory and those kept
    /// beside it. `true` if there was something to repair; what was found is then in
    /// `<policy>.damaged`. An edit by hand that can be accepted is.
    ///
    /// # Errors
    /// [`ErrorKind::PolicyCorrupt`] if nothing good is left. Else as [`update`](Self::update).
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

    /// What this store has done so far.
    #[must_use]
    pub fn stats(&self) -> PolicyStats {
        self.0.engine.counters.snapshot(self.problem())
    }
}

/// Whether a failure only says that somebody else is at work, who was not to be waited for.
fn is_busy(error: &Error, may_wait: bool) -> bool {
    !may_wait && error.kind() == ErrorKind::LockTimeout
}
