//! A policy that machines share: the protocol over a [`Backend`].
//!
//! | step of a change | if the process dies after it, or its answer is lost |
//! |---|---|
//! | once per store: [probe](probe) whether conditions are obeyed | nothing was changed |
//! | take the [update lock](lock) | others take it over after its time to live |
//! | load the version in force, change it, validate the result | nothing was changed |
//! | keep the version in force in the history, create-only | a copy of a committed version is there |
//! | [commit](commit): replace exactly the version that was loaded | the new version is in force, or not; its change id says which |
//! | keep the new version too; remove the oldest | the next change does |
//! | free the update lock | others take it over |
//!
//! Safety rests on the compare-and-swap alone. The lock spares work that would be in vain, and
//! names who is at it.

mod cache;
mod change;
mod commit;
mod follow;
mod lock;
#[cfg(test)]
#[allow(clippy::print_stdout, reason = "tests say what they tried")]
mod lost;
#[cfg(test)]
mod memory;
#[cfg(test)]
#[allow(clippy::print_stdout, reason = "tests say what they tried")]
mod orders;
mod probe;
#[cfg(test)]
#[allow(clippy::print_stdout, reason = "tests say what they drew at random")]
mod tests;

pub(crate) use cache::{PolicyCache, split as split_copy};
pub(crate) use change::ChangeRequest;

use super::author::Origin;
use super::backend::{Backend, Change, Loaded, Slot, Stop, Token};
use super::document::{self, Document, Metadata};
use super::judge::Judge;
use super::store::PolicyStore;
use super::{Policy, Settings};
use crate::clock::{self, Deadline, Stopwatch};
use crate::error::{Error, ErrorKind, Result};
use crate::lock::backoff::Backoff;
use crate::sys;
use lock::LockObserver;
use parking_lot::Mutex;
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The time spans of the protocol.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProtocolTiming {
    /// Between two looks at the version in force.
    pub(crate) interval: Duration,
    /// How long a change waits for the lock, for answers, and for certainty.
    pub(crate) timeout: Duration,
    /// How long an update lock lives whose holder does nothing.
    pub(crate) ttl: Duration,
    /// The first and the longest delay between two attempts.
    pub(crate) delays: (Duration, Duration),
}

impl Default for ProtocolTiming {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            // Longer than a lock lives, so that a change outlasts a holder that died.
            timeout: Duration::from_secs(30),
            ttl: Duration::from_secs(10),
            // The longest is short, so that a waiter meets a lock that others take again and
            // again in one of the moments in which it is free.
            delays: (Duration::from_millis(20), Duration::from_millis(200)),
        }
    }
}

impl ProtocolTiming {
    fn delays(&self) -> Backoff {
        let (first, longest) = self.delays;
        Backoff::between(first, longest, fastrand::u64(..))
    }

    /// Calls `ask` until it answers, it fails for good, or the deadline has passed.
    fn insist<R>(&self, until: Deadline, mut ask: impl FnMut() -> Result<R>) -> Result<R> {
        let (started, mut delays) = (Stopwatch::start(), self.delays());
        let mut attempts = 0;
        loop {
            attempts += 1;
            match ask() {
                Err(error) if error.kind() == ErrorKind::PolicyUnreachable => {
                    if !delays.pause(until) {
                        return Err(match attempts {
                            1 => error,
                            _ => error.policy_given_up(attempts, started.elapsed()),
                        });
                    }
                }
                done => return done,
            }
        }
    }
}

/// A policy in a backend. The version in force here is in the store.
pub(crate) struct SharedPolicy<T> {
    pub(crate) judge: Arc<Judge<T>>,
    backend: Arc<dyn Backend>,
    /// The process that has the connections. A process that was forked from it must not use them.
    process: u32,
    pub(crate) timing: ProtocolTiming,
    /// How many versions the history has at least, once there were so many.
    keep: usize,
    cache: Option<PolicyCache>,
    /// The state of the slot that was put in force last.
    seen: Mutex<Option<Token>>,
    /// Whether the backend is known to obey conditions.
    is_probed: Mutex<bool>,
    observer: LockObserver,
    /// Ends the thread that follows.
    stop: Arc<Stop>,
}

impl<T> Drop for SharedPolicy<T> {
    fn drop(&mut self) {
        // A forked child has no thread to stop.
        if self.process == std::process::id() {
            self.stop.set();
        }
    }
}

/// A version that was loaded, and the state of the slot that it was in.
struct Present<T> {
    policy: Arc<Policy<T>>,
    loaded: Loaded,
}

/// The history never shrinks below this: it is where a process looks whose answer was lost.
const LEAST_KEPT: usize = 10;

impl<T: Settings> SharedPolicy<T> {
    pub(crate) fn new(
        judge: Arc<Judge<T>>,
        backend: Arc<dyn Backend>,
        timing: ProtocolTiming,
        keep: usize,
        cache: Option<PolicyCache>,
    ) -> Self {
        Self {
            judge,
            backend,
            process: std::process::id(),
            timing,
            keep: keep.max(LEAST_KEPT),
            cache,
            seen: Mutex::default(),
            is_probed: Mutex::default(),
            observer: LockObserver::default(),
            stop: Arc::default(),
        }
    }

    fn url(&self) -> &str {
        self.backend.url()
    }

    /// Reads of the backend until it answers, or the deadline has passed. All reads that a caller
    /// waits for are made by it.
    fn ask<R>(&self, until: Deadline, read: impl Fn(&dyn Backend) -> Result<R>) -> Result<R> {
        let backend = self.backend()?;
        self.timing.insist(until, || read(backend))
    }

    /// Fails in a forked child: its requests and those of the parent would mix.
    fn backend(&self) -> Result<&dyn Backend> {
        if self.process == std::process::id() {
            return Ok(&*self.backend);
        }
        Err(Error::policy_of_parent(&self.judge.path))
    }

    /// The deadline of a call that only reads.
    fn deadline(&self) -> Deadline {
        Deadline::after(self.timing.timeout)
    }

    // ------------------------------------------------------------ opening

    /// Returns the first version of a store, and the problem if it is not the one in the backend.
    /// With a copy on this machine, it asks only once.
    pub(crate) fn start(&self, initial: Option<&T>) -> Result<(Arc<Policy<T>>, Option<Error>)> {
        let cached = self.cached();
        let until = match &cached {
            Some(_) => Deadline::after(Duration::ZERO),
            None => self.deadline(),
        };
        let found = self.first(initial, until);
        let found = found.and_then(|found| match &cached {
            Some(cached) => self.judge.in_order(&found, cached).map(|()| found),
            None => Ok(found),
        });
        match found {
            Ok(found) => {
                self.save(&found);
                Ok((found, None))
            }
            Err(error) if error.kind() == ErrorKind::PolicyUnconditional => Err(error),
            Err(error) => {
                let kept = || match is_damage(&error) {
                    true => self.newest_kept(until).ok().flatten(),
                    false => None,
                };
                match cached.or_else(kept) {
                    Some(good) => Ok((good, Some(error))),
                    None => Err(error),
                }
            }
        }
    }

    /// Loads the version in force, or creates the first one.
    fn first(&self, initial: Option<&T>, until: Deadline) -> Result<Arc<Policy<T>>> {
        if let Some(loaded) = self.ask(until, |it| it.load(Slot::Current))? {
            return self.parse(&loaded.bytes);
        }
        let newest = self.ask(until, |it| it.kept_versions())?.last().copied();
        match (initial, newest) {
            (Some(initial), None) => self.create(initial),
            (_, Some(version)) => Err(self.is_missing(version)),
            (None, None) => Err(Error::policy_missing(&self.judge.path)),
        }
    }

    fn is_missing(&self, newest: u64) -> Error {
        let why = format!("it is missing, and its history has versions up to {newest}");
        Error::policy_corrupt(&self.judge.path, why)
    }

    /// The copy of this machine.
    fn cached(&self) -> Option<Arc<Policy<T>>> {
        let text = self.cache.as_ref()?.load()?;
        self.parse(text.as_bytes()).ok()
    }

    fn save(&self, policy: &Policy<T>) {
        let Some(cache) = &self.cache else { return };
        if cache.save(policy.version(), policy.text()).is_err() {
            self.judge.counters.unkept.increment();
        }
    }

    // ------------------------------------------------------------ reading

    fn parse(&self, bytes: &[u8]) -> Result<Arc<Policy<T>>> {
        self.judge.parse(bytes).map(Arc::new)
    }

    /// Loads the version in force, for a change. It is not older than any that is known.
    fn present(&self, known: &Policy<T>, until: Deadline) -> Result<Present<T>> {
        let newest = self.ask(until, |it| it.kept_versions())?.last().copied();
        let Some(loaded) = self.ask(until, |it| it.load(Slot::Current))? else {
            return Err(self.is_missing(newest.unwrap_or(known.version())));
        };
        let policy = self.parse(&loaded.bytes)?;
        self.judge.in_order(&policy, known)?;
        if let Some(newest) = newest.filter(|newest| *newest > policy.version()) {
            return Err(Error::policy_went_back(&self.judge.path, newest, policy.version()));
        }
        Ok(Present { policy, loaded })
    }

    /// Whether the slot has another state than the one that was seen last. A problem with its
    /// content is found again each time. It asks once: the next look is soon.
    fn look(&self, known: &Policy<T>) -> Result<Option<Arc<Policy<T>>>> {
        let (backend, mut seen) = (self.backend()?, self.seen.lock());
        let change = match &*seen {
            Some(token) => backend.load_if_changed(Slot::Current, token)?,
            None => backend.load(Slot::Current)?.map_or(Change::Missing, Change::Other),
        };
        match change {
            Change::Same => Ok(None),
            Change::Missing => Err(self.is_missing(known.version())),
            Change::Other(loaded) => {
                let policy = self.parse(&loaded.bytes)?;
                self.judge.in_order(&policy, known)?;
                *seen = Some(loaded.token);
                Ok(Some(policy))
            }
        }
    }

    /// The version in force, read again and compared with all that is known.
    pub(crate) fn verify(&self, known: &Policy<T>) -> Result<u64> {
        Ok(self.present(known, self.deadline())?.policy.version())
    }

    // ------------------------------------------------------------ history

    /// A text of the history.
    pub(crate) fn kept(&self, version: u64, until: Deadline) -> Result<Option<Vec<u8>>> {
        self.ask(until, |it| it.kept(version))
    }

    pub(crate) fn kept_versions(&self) -> Result<Vec<u64>> {
        self.ask(self.deadline(), |it| it.kept_versions())
    }

    /// The name of a version in the history, for messages.
    pub(crate) fn version_path(&self, version: u64) -> PathBuf {
        PathBuf::from(format!("{}/history/{version}", self.url()))
    }

    /// The newest version in the history that is whole and valid.
    fn newest_kept(&self, until: Deadline) -> Result<Option<Arc<Policy<T>>>> {
        for version in self.ask(until, |it| it.kept_versions())?.into_iter().rev() {
            let kept = self.ask(until, |it| it.kept(version))?;
            let good = kept.and_then(|bytes| self.parse(&bytes).ok());
            if let Some(good) = good.filter(|good| good.version() == version) {
                return Ok(Some(good));
            }
        }
        Ok(None)
    }
}

impl<T: Settings> PolicyStore<T> {
    /// Looks at a shared policy, and puts a newer version in force. Returns whether there was one.
    pub(super) fn look_at_shared(&self, shared: &SharedPolicy<T>) -> Result<bool> {
        // Before the look: another thread may put a newer version in force meanwhile.
        let known = self.0.current.load_full();
        match shared.look(&known) {
            Err(error) => shared.judge.report(error),
            Ok(found) => {
                shared.judge.clear_problem();
                let newer = found.is_some_and(|found| self.put_in_force(shared, &found));
                if newer {
                    shared.judge.counters.reloads.increment();
                }
                Ok(newer)
            }
        }
    }

    /// Puts a version in force here, unless a newer one is, and caches it.
    fn put_in_force(&self, shared: &SharedPolicy<T>, policy: &Arc<Policy<T>>) -> bool {
        let newer = self.publish(Arc::clone(policy));
        if newer {
            shared.save(policy);
        }
        newer
    }
}

/// A problem of the content, for which the history may help.
fn is_damage(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::PolicyCorrupt | ErrorKind::PolicyInvalid)
}

/// The version and the change id of a document, if it is whole.
fn identity(bytes: &[u8]) -> Option<(u64, Option<String>)> {
    match document::parse(bytes) {
        Document::Sealed { metadata, .. } => Some((metadata.version, metadata.change)),
        _ => None,
    }
}

/// The metadata of a new version, with a change id.
fn new_metadata<T: Settings>(
    judge: &Judge<T>,
    version: u64,
    origin: Origin,
    comment: Option<String>,
) -> Result<Metadata> {
    Ok(Metadata { change: Some(random_id()), ..judge.metadata(version, origin, comment)? })
}

/// A number that no other process has: 128 bits in hexadecimal. `RandomState` has a seed of the
/// system's. A forked child has that of its parent, but another number.
fn random_id() -> String {
    let (pid, host) = (std::process::id(), sys::host_name());
    let now = clock::Clock::system().now().micros();
    let part = || RandomState::new().hash_one((pid, &host, now));
    format!("{:016x}{:016x}", part(), part())
}
