//! Changing a shared policy.

use super::commit::{Commit, Next, commit, keep};
use super::lock::{LockRequest, UpdateGuard};
use super::probe::probe;
use super::{Present, SharedPolicy, identity, new_metadata};
use crate::clock::Deadline;
use crate::error::{Error, Result};
use crate::policy::author::Origin;
use crate::policy::backend::{Loaded, Slot};
use crate::policy::document::{self, Metadata};
use crate::policy::store::PolicyStore;
use crate::policy::{Policy, Settings};
use std::sync::Arc;

/// A change, without its content.
pub(crate) struct ChangeRequest {
    pub(crate) origin: Origin,
    pub(crate) comment: Option<String>,
    pub(crate) expected: Option<u64>,
    pub(crate) until: Deadline,
}

impl<T: Settings> SharedPolicy<T> {
    /// Creates the first version, unless another process does.
    pub(super) fn create(&self, initial: &T) -> Result<Arc<Policy<T>>> {
        let until = self.deadline();
        self.probe_once(until)?;
        let _guard = self.lock(None, until)?;
        let metadata = new_metadata(&self.judge, 0, Origin::Creation, None)?;
        let policy = self.seal(metadata, &self.judge.body(initial)?)?;
        match self.commit(None, &policy, until)? {
            Commit::Made => Ok(policy),
            Commit::Overtaken(_) => {
                let there = self.ask(until, |it| it.load(Slot::Current))?;
                let there = there.ok_or_else(|| Error::policy_missing(&self.judge.path))?;
                self.parse(&there.bytes)
            }
        }
    }

    /// Makes sure, once, that the backend obeys conditions.
    fn probe_once(&self, until: Deadline) -> Result<()> {
        let mut is_probed = self.is_probed.lock();
        if !*is_probed {
            self.ask(until, probe)?;
            *is_probed = true;
        }
        Ok(())
    }

    fn lock(&self, note: Option<&str>, until: Deadline) -> Result<UpdateGuard<'_>> {
        let (backend, observer, timing) = (self.backend()?, &self.observer, &self.timing);
        let request = LockRequest { backend, observer, timing, note };
        request.take(until, || self.judge.counters.lock_waits.increment())
    }

    fn seal(&self, metadata: Metadata, body: &str) -> Result<Arc<Policy<T>>> {
        self.judge.seal(metadata, body, &self.judge.path).map(Arc::new)
    }

    /// Puts a version in force in place of the one that was loaded. Afterwards, keeps it, and
    /// removes the oldest of the history.
    fn commit(
        &self,
        present: Option<&Loaded>,
        policy: &Policy<T>,
        until: Deadline,
    ) -> Result<Commit> {
        let (version, text) = (policy.version(), policy.text());
        let change = policy.metadata().change.as_deref().unwrap_or_default();
        let next = Next { version, change, text };
        let done = commit(self.backend()?, present, &next, until, &self.timing)?;
        if done == Commit::Made && self.file(version, text).is_err() {
            // The version is in force nevertheless, and the next change keeps it.
            self.judge.counters.unkept.increment();
        }
        Ok(done)
    }

    /// Keeps a committed version, and removes the oldest beyond the number to keep.
    fn file(&self, version: u64, text: &str) -> Result<()> {
        let backend = self.backend()?;
        keep(backend, version, text.as_bytes())?;
        let versions = backend.kept_versions()?;
        let surplus = versions.len().saturating_sub(self.keep);
        versions[..surplus].iter().try_for_each(|version| backend.discard(*version))
    }
}

impl<T: Settings> PolicyStore<T> {
    /// Writes the next version of a shared policy. `body` returns its body, given the version
    /// before.
    pub(in crate::policy) fn change_shared<E>(
        &self,
        shared: &SharedPolicy<T>,
        request: ChangeRequest,
        body: impl FnOnce(&Policy<T>) -> Result<Result<String, E>>,
    ) -> Result<Result<Arc<Policy<T>>, E>> {
        let until = request.until;
        let judge = &shared.judge;
        shared.probe_once(until)?;
        let _guard = shared.lock(request.comment.as_deref(), until)?;
        let known = self.0.current.load_full();
        let Present { policy: base, loaded } = shared.present(&known, until)?;
        // Known from now on, whether or not the change succeeds.
        self.put_in_force(shared, &base);
        let body = match judge.body_after(&base, request.expected, body)? {
            Ok(body) => body,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let refused = |_: &Error| judge.counters.refused.increment();
        let metadata = new_metadata(judge, base.version(), request.origin, request.comment)?;
        let policy = shared.seal(metadata, &body).inspect_err(refused)?;
        shared.ask(until, |it| keep(it, base.version(), &loaded.bytes))?;
        match shared.commit(Some(&loaded), &policy, until)? {
            Commit::Made => {
                judge.counters.updates.increment();
                self.put_in_force(shared, &policy);
                judge.clear_problem();
                Ok(Ok(policy))
            }
            Commit::Overtaken(version) => {
                let _ = self.look_at_shared(shared);
                Err(judge.conflict(base.version(), version))
            }
        }
    }

    /// Publishes the last good version again, if the one in the backend is damaged, missing, or
    /// older than a known one. It gets a number above all that are known.
    pub(in crate::policy) fn repair_shared(&self, shared: &SharedPolicy<T>) -> Result<bool> {
        let until = shared.deadline();
        let judge = &shared.judge;
        shared.probe_once(until)?;
        let _guard = shared.lock(Some("repair"), until)?;
        let known = self.0.current.load_full();
        match shared.present(&known, until) {
            Ok(present) => {
                self.put_in_force(shared, &present.policy);
                judge.clear_problem();
                return Ok(false);
            }
            Err(error) if super::is_damage(&error) => {}
            Err(error) => return Err(error),
        }
        let there = shared.ask(until, |it| it.load(Slot::Current))?;
        let kept = shared.newest_kept(until)?;
        let good = kept.filter(|kept| kept.version() > known.version()).unwrap_or(known);
        let seen = there.as_ref().and_then(|there| identity(&there.bytes)).map(|(seen, _)| seen);
        let newest = shared.ask(until, |it| it.kept_versions())?.last().copied();
        let last = [seen, newest].into_iter().flatten().fold(good.version(), u64::max);
        let origin = Origin::Rollback(good.version());
        let metadata = new_metadata(judge, last, origin, Some("repair".to_owned()))?;
        let policy = shared.seal(metadata, document::without_marks(good.text()))?;
        match shared.commit(there.as_ref(), &policy, until)? {
            Commit::Made => {
                self.put_in_force(shared, &policy);
                judge.counters.repairs.increment();
                judge.clear_problem();
                Ok(true)
            }
            Commit::Overtaken(version) => {
                Err(Error::policy_conflict(&judge.path, good.version(), version))
            }
        }
    }
}
