//! The schedule of maintenance: when a pass is due, and what one pass leaves for the next.

use super::MaintenanceConfig;
use super::excess::files_per_backup;
use super::knowledge::{Knowledge, LastPass, Occasion, Scope};
use super::pass::Pass;
use crate::clock::{Clock, Timestamp};
use crate::error::Result;
use crate::fs::{self, Unleased};
use crate::lock::Wait;
use crate::retry::Retry;
use crate::segment::note::NewestBackup;
use crate::segment::{Backup, DirectorySnapshot, Location, rotation_lock};
use crate::stats::Journal;
use parking_lot::Mutex;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Maintains the backups of one log.
pub(crate) struct Maintainer {
    pub(super) settings: Mutex<MaintenanceConfig>,
    pub(super) clock: Clock,
    pub(super) journal: Arc<Journal>,
    /// Whether the observer gets an event for each backup that is left. A worker's own maintainer
    /// tries again each second, and reports nothing.
    pub(super) reports_deferrals: bool,
    /// Whether the settings have changed, or backups were archived, since the last pass.
    has_news: AtomicBool,
    /// Held during a pass, so that the thread and `close` do not both work.
    state: Mutex<PassState>,
}

#[derive(Debug)]
struct PassState {
    /// Whether backups were deferred because a process has them open, or settings have changed.
    deferred: bool,
    retry: Retry,
    /// The time at which the oldest backup reaches its maximum age.
    next_expiry: Option<Timestamp>,
    knowledge: Knowledge,
}

/// The result of a pass.
pub(crate) struct PassOutcome {
    /// The time of the newest backup when the directory was looked at, if it was.
    pub(crate) newest: NewestBackup,
}

impl Maintainer {
    pub(crate) fn new(settings: MaintenanceConfig, clock: Clock, journal: Arc<Journal>) -> Self {
        let state = PassState {
            deferred: false,
            retry: Retry::default(),
            next_expiry: None,
            knowledge: Knowledge::new(clock.now()),
        };
        let (settings, state) = (Mutex::new(settings), Mutex::new(state));
        let has_news = AtomicBool::new(false);
        Self { settings, clock, journal, reports_deferrals: false, has_news, state }
    }

    /// Replaces the settings from the next step of a running pass on. The naming stays.
    #[cfg(feature = "policy")]
    pub(crate) fn apply(&self, settings: MaintenanceConfig) {
        let mut present = self.settings.lock();
        *present = MaintenanceConfig { naming: present.naming, ..settings };
        self.call_for_pass();
    }

    /// Has the next check call for a pass, whichever worker rotated.
    #[cfg(any(feature = "archive", feature = "policy"))]
    pub(crate) fn call_for_pass(&self) {
        self.has_news.store(true, Ordering::Release);
    }

    pub(super) fn settings(&self) -> MaintenanceConfig {
        *self.settings.lock()
    }

    /// Returns whether to make a pass now. `notified` means that there may be new backups. Without
    /// new ones of this worker a pass is due if the settings have changed, backups were archived or
    /// deferred, the last pass failed, a backup reached its maximum age, the disk has too little
    /// free space, another worker may have left a pass undone, or it is time to look at the whole
    /// of a crowded directory.
    pub(crate) fn is_due(&self, location: &Location, notified: bool) -> bool {
        self.is_due_in(&mut self.state.lock(), location, notified)
    }

    /// The same, without a notification, for a caller that must not wait for a pass.
    pub(crate) fn may_be_due(&self, location: &Location) -> bool {
        let state = self.state.try_lock();
        state.is_some_and(|mut state| self.is_due_in(&mut state, location, false))
    }

    fn is_due_in(&self, state: &mut PassState, location: &Location, notified: bool) -> bool {
        let rotations = self.journal.counters.rotations.get();
        let notified = notified
            && state.knowledge.is_for_us(location, rotations).unwrap_or_else(|error| {
                self.journal.failed(error);
                true
            });
        // Until a pass is made.
        state.deferred |= self.has_news.swap(false, Ordering::Acquire);
        if !state.retry.is_due() {
            state.deferred |= notified;
            return false;
        }
        let expired = || state.next_expiry.is_some_and(|expiry| expiry <= self.clock.now());
        let lacks_space = || {
            let min = self.settings().retention.min_free_space;
            let free = || fs::free_space(location.dir()).ok().flatten();
            min.is_some_and(|min| free().is_some_and(|free| free < min))
        };
        let is_undone = state.deferred || state.retry.is_failing();
        notified || is_undone || state.knowledge.is_due() || expired() || lacks_space()
    }

    /// Does the work that can be done now, with compression or without. `go_on` is called
    /// between steps.
    ///
    /// # Errors
    /// The first failure. Work that does not depend on it is done all the same.
    pub(crate) fn pass(
        &self,
        location: &Location,
        occasion: Occasion,
        compresses: bool,
        go_on: &dyn Fn() -> bool,
    ) -> Result<PassOutcome> {
        let mut state = self.state.lock();
        let scope = self.scope(&mut state, location, occasion);
        let scope = scope.inspect_err(|error| {
            self.journal.failed(error.clone());
            state.retry.failed();
        })?;
        let (names, look) = match scope {
            Scope::Nothing(until) => {
                state.next_expiry = Some(until);
                return Ok(PassOutcome { newest: NewestBackup::Unknown });
            }
            Scope::Known(names) => (Some(names), None),
            Scope::Everything(look) => (None, look),
        };
        let mut pass = Pass::new(self, location, compresses, go_on);
        pass.is_crowded = names.is_some() || look.is_some();
        pass.names = names;
        let snapshot = pass.run();
        let (failure, listed_for) = (pass.failure.take(), pass.listed_for);
        state.deferred = pass.deferred;
        state.next_expiry = self.next_expiry(snapshot.as_ref());
        if let Some(error) = failure {
            state.retry.failed();
            return Err(error);
        }
        state.retry.succeeded();
        // Rotations kept the rotation lock busy, and nothing was learned.
        let Some(snapshot) = snapshot else {
            return Ok(PassOutcome { newest: NewestBackup::Unknown });
        };
        state.knowledge.learn(&snapshot);
        if let Some(look) = look {
            let until = state.next_expiry.unwrap_or(Timestamp::MAX);
            let is_complete = !state.deferred && snapshot.has_no_remains();
            let settings = self.settings();
            let complete = is_complete.then_some((&settings, until));
            let noted = state.knowledge.end_look(&look, location, listed_for, complete);
            noted.unwrap_or_else(|error| self.journal.failed(error));
        }
        Ok(PassOutcome { newest: NewestBackup::Known(snapshot.newest()) })
    }

    fn scope(
        &self,
        state: &mut PassState,
        location: &Location,
        occasion: Occasion,
    ) -> Result<Scope> {
        if occasion == Occasion::ByHand {
            return Ok(Scope::Everything(None));
        }
        let last = match state {
            _ if state.retry.is_failing() => LastPass::Failed,
            _ if state.deferred => LastPass::Deferred,
            _ => LastPass::Complete,
        };
        state.knowledge.scope(location, &self.settings(), self.clock.now(), occasion, last)
    }

    /// Whether backups are compressed.
    pub(crate) fn compresses(&self) -> bool {
        self.settings().encoding.is_some()
    }

    /// Returns how many of the listed files, which come oldest first, are compressed if they are
    /// uncompressed.
    pub(crate) fn compressible(&self, listed: &[Backup]) -> usize {
        if !self.compresses() {
            return 0;
        }
        let backups = files_per_backup(listed);
        let older = backups.len().saturating_sub(self.settings().keep_uncompressed);
        backups[..older].iter().map(|files| files.len()).sum()
    }

    /// Returns the backups, oldest first, and how many of the oldest are beyond the limits.
    pub(crate) fn plan(&self, location: &Location) -> Result<(Vec<Backup>, usize)> {
        let active = fs::stat(location.path())?.map(|active| active.id);
        let snapshot = DirectorySnapshot::read(location, self.settings().naming)?;
        let mut snapshot = snapshot.without(active);
        // A pass begins with the removal of temporary files that no process writes.
        let is_dead = |path: &Path| matches!(fs::open_unleased(path), Ok(Unleased::Ours(_)));
        snapshot.temporaries.retain(|(path, _)| !is_dead(path));
        let excess = Pass::new(self, location, false, &|| true).excess(&snapshot)?;
        Ok((snapshot.backups, excess))
    }

    fn next_expiry(&self, snapshot: Option<&DirectorySnapshot>) -> Option<Timestamp> {
        let age = self.settings().retention.max_backup_age?;
        let now = self.clock.now();
        let expiry = |backup: &Backup| backup.rotated_at_by(now).plus(age);
        // An expired backup that still exists is deferred; it needs no timer.
        snapshot?.backups.iter().map(expiry).filter(|expiry| *expiry > now).min()
    }

    /// Runs `work` while no backup changes its name: under the rotation lock with
    /// [`Naming::Number`](crate::Naming::Number).
    pub(super) fn with_stable_names<T>(
        &self,
        location: &Location,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let MaintenanceConfig { naming, lock_timeout, .. } = self.settings();
        if naming.is_by_time() {
            return work();
        }
        self.with_rotation_lock(location, Wait::AtMost(lock_timeout), work)
    }

    /// Runs `work` under the rotation lock.
    pub(super) fn with_rotation_lock<T>(
        &self,
        location: &Location,
        wait: Wait,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        // A lock object of its own: a log call of this process may be using the writer's.
        let lock = rotation_lock::open(location, self.settings().lock_mode)?;
        let guard = lock.exclusive(wait)?;
        let done = work();
        if let Err(error) = guard.unlock() {
            self.journal.failed(error);
        }
        done
    }
}

#[cfg(all(test, any(feature = "archive", feature = "policy")))]
mod tests {
    use super::*;
    use crate::maintenance::{Encoding, Retention};
    use crate::segment::name::Naming;
    use std::time::Duration;

    /// Pruning would wait for the next look at the directory otherwise.
    #[test]
    fn call_for_a_pass_makes_one_due_until_it_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let location = Location::resolve(&dir.path().join("app.log")).unwrap();
        let settings = MaintenanceConfig {
            naming: Naming::Timestamp,
            encoding: None::<Encoding>,
            keep_uncompressed: 0,
            duty: crate::ledger::Duty::default(),
            retention: Retention::default(),
            max_size: 1,
            lock_mode: None,
            lock_timeout: Duration::from_secs(60),
        };
        let journal = Arc::new(Journal::new(None));
        let maintainer = Maintainer::new(settings, Clock::system(), journal);
        let pass = || maintainer.pass(&location, Occasion::ByHand, true, &|| true).map(drop);
        pass().unwrap();
        maintainer.call_for_pass();
        for _ in 0..2 {
            assert!(maintainer.is_due(&location, false), "also at the second look");
        }
        pass().unwrap();
        assert!(!maintainer.state.lock().deferred);
    }
}
