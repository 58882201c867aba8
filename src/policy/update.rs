//! Changing a policy.

use super::author::Origin;
use super::document;
use super::engine::Engine;
use super::shared::ChangeRequest;
use super::store::{PolicySource, PolicyStore};
use super::{Policy, Settings};
use crate::clock::Deadline;
use crate::diagnostic;
use crate::error::{Error, ErrorKind, Result};
use crate::lock::Wait;
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A change of a policy that is being prepared; see [`PolicyStore::begin_update`].
///
/// # Examples
/// ```
/// # use logrotor::Config;
/// # fn main() -> logrotor::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let store = Config::policy().open_or_create(dir.path().join("p.toml"), Config::default)?;
/// store.begin_update().comment("the disk is small").apply(|config| config.max_backups = Some(3))?;
/// assert_eq!(store.current().metadata().comment(), Some("the disk is small"));
/// # Ok(()) }
/// ```
#[must_use = "a change does nothing until it is applied"]
pub struct Update<'a, T> {
    store: &'a PolicyStore<T>,
    comment: Option<String>,
    expected: Option<u64>,
    timeout: Duration,
}

impl<T> fmt::Debug for Update<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Update").field("comment", &self.comment).finish_non_exhaustive()
    }
}

impl<'a, T: Settings> Update<'a, T> {
    pub(super) fn new(store: &'a PolicyStore<T>, timeout: Duration) -> Self {
        Self { store, comment: None, expected: None, timeout }
    }

    /// Sets the comment in the header. Line breaks become spaces. Default: none.
    pub fn comment(mut self, comment: &str) -> Self {
        self.comment = document::comment(comment);
        self
    }

    /// Makes the change fail with [`ErrorKind::PolicyConflict`] unless the policy is at this
    /// version.
    pub fn if_version(mut self, version: u64) -> Self {
        self.expected = Some(version);
        self
    }

    /// Sets how long to wait for another process that is changing the policy. Default: that of the
    /// store.
    pub fn lock_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Applies `change`, as [`PolicyStore::update`] does.
    ///
    /// # Errors
    /// As [`PolicyStore::update`] and [`PolicyStore::update_if`].
    pub fn apply(self, change: impl FnOnce(&mut T)) -> Result<Arc<Policy<T>>> {
        let done = self.try_apply(|value| {
            change(value);
            Ok::<_, Infallible>(())
        })?;
        let Ok(policy) = done;
        Ok(policy)
    }

    /// Applies a change that may fail, as [`PolicyStore::try_update`] does.
    ///
    /// # Errors
    /// As [`PolicyStore::update`] and [`PolicyStore::update_if`].
    pub fn try_apply<E>(
        self,
        change: impl FnOnce(&mut T) -> Result<(), E>,
    ) -> Result<Result<Arc<Policy<T>>, E>> {
        let judge = Arc::clone(&self.store.0.judge);
        let until = self.deadline();
        self.make(until, Origin::Update, |base| {
            let mut value = diagnostic::read_toml(&base.text)
                .map_err(|diagnostic| Error::policy_invalid(&judge.path, diagnostic.why))?;
            match change(&mut value) {
                Ok(()) => Ok(Ok(judge.body(&value)?)),
                Err(error) => Ok(Err(error)),
            }
        })
    }

    /// Puts a text in force unchanged, with its comments. Header lines and a byte order mark at its
    /// top are omitted.
    ///
    /// # Errors
    /// As [`PolicyStore::update`]. Problems of the text are reported with their line.
    pub fn import(self, text: &str) -> Result<Arc<Policy<T>>> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let until = self.deadline();
        let done = self.make(until, Origin::Import, |_| {
            Ok(Ok::<_, Infallible>(document::without_marks(text).to_owned()))
        })?;
        let Ok(policy) = done;
        Ok(policy)
    }

    /// Puts an older version in force again, as [`PolicyStore::rollback`] does.
    ///
    /// # Errors
    /// As [`PolicyStore::rollback`].
    pub fn rollback(self, version: u64) -> Result<Arc<Policy<T>>> {
        let until = self.deadline();
        let text = self.store.text_of(version, until)?;
        let done = self.make(until, Origin::Rollback(version), |_| {
            Ok(Ok::<_, Infallible>(document::without_marks(&text).to_owned()))
        })?;
        let Ok(policy) = done;
        Ok(policy)
    }

    fn deadline(&self) -> Deadline {
        Deadline::after(self.timeout)
    }

    /// Writes the next version. `body` returns its body, given the version before. `until` is for
    /// a policy that machines share.
    fn make<E>(
        self,
        until: Deadline,
        origin: Origin,
        body: impl FnOnce(&Policy<T>) -> Result<Result<String, E>>,
    ) -> Result<Result<Arc<Policy<T>>, E>> {
        match &self.store.0.source {
            PolicySource::File(file) => self.make_in_file(&file.engine, origin, body),
            PolicySource::Shared(shared) => {
                let Self { store, comment, expected, .. } = self;
                let request = ChangeRequest { origin, comment, expected, until };
                store.change_shared(shared, request, body)
            }
        }
    }

    fn make_in_file<E>(
        self,
        engine: &Engine<T>,
        origin: Origin,
        body: impl FnOnce(&Policy<T>) -> Result<Result<String, E>>,
    ) -> Result<Result<Arc<Policy<T>>, E>> {
        let Self { store, comment, expected, timeout } = self;
        let judge = &engine.judge;
        let done = engine.with_lock(Wait::AtMost(timeout), |locked| {
            let known = store.0.current.load_full();
            let base = engine.base(locked, Some(&known))?;
            // Known from now on, whether or not the change succeeds.
            store.publish(Arc::clone(&base));
            let body = match judge.body_after(&base, expected, body)? {
                Ok(body) => body,
                Err(refusal) => return Ok(Err(refusal)),
            };
            let metadata = judge.metadata(base.version(), origin, comment)?;
            let written =
                engine.write(locked, Some(base.text.as_bytes()), Some(&base), metadata, &body);
            if written.as_ref().is_err_and(|error| error.kind() == ErrorKind::PolicyInvalid) {
                judge.counters.refused.increment();
            }
            let policy = written?;
            judge.counters.updates.increment();
            Ok(Ok(policy))
        });
        match &done {
            Ok(Ok(policy)) => {
                store.publish(Arc::clone(policy));
                judge.clear_problem();
            }
            Ok(Err(_)) => {}
            // If the directory could not be synced, the new version is in place.
            Err(error) if error.kind() == ErrorKind::Io => drop(store.poll()),
            Err(_) => {}
        }
        done
    }
}
