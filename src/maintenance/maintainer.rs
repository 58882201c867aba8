//! When a pass over the backups is due, and what one pass leaves for the next.

use super::MaintenanceConfig;
use super::pass::Pass;
use crate::clock::{Clock, Timestamp};
use crate::error::Result;
use crate::fs::{self, Unleased};
use crate::lock::Wait;
use crate::retry::Retry;
use crate::segment::name::Naming;
use crate::segment::{Backup, Location, Snapshot, rotation_lock};
use crate::stats::Journal;
use parking_lot::Mutex;
use std::path::Path;
use std::sync::Arc;

/// Looks after the backups of one log.
pub(crate) struct Maintainer {
    pub(super) settings: Mutex<MaintenanceConfig>,
    pub(super) clock: Clock,
    pub(super) journal: Arc<Journal>,
    /// Held during a pass, so that the thread and `close` do not both work.
    state: Mutex<PassState>,
}

#[derive(Debug, Default)]
struct PassState {
    /// Whether backups were left for later because someone has them open.
    deferred: bool,
    retry: Retry,
    /// When the oldest backup will be too old.
    next_expiry: Option<Timestamp>,
}

/// What a pass found out.
pub(crate) struct PassOutcome {
    /// The newest backup's time, at the moment of the snapshot.
    pub(crate) newest: Option<Timestamp>,
}

impl Maintainer {
    pub(crate) fn new(settings: MaintenanceConfig, clock: Clock, journal: Arc<Journal>) -> Self {
        Self { settings: Mutex::new(settings), clock, journal, state: Mutex::default() }
    }

    /// Goes on with other settings, from the next step of a pass that is under way. The naming stays.
    #[cfg(feature = "policy")]
    pub(crate) fn apply(&self, settings: MaintenanceConfig) {
        let mut present = self.settings.lock();
        *present = MaintenanceConfig { naming: present.naming, ..settings };
    }

    pub(super) fn settings(&self) -> MaintenanceConfig {
        *self.settings.lock()
    }

    /// Whether to make a pass now. `notified` says that there may be new backups; without them, there is
    /// work if some was deferred or has failed, a backup is too old by now, or the disk is too full.
    pub(crate) fn is_due(&self, location: &Location, notified: bool) -> bool {
        let mut state = self.state.lock();
        if !state.retry.is_due() {
            state.deferred |= notified;
            return false;
        }
        let expired = || state.next_expiry.is_some_and(|expiry| expiry <= self.clock.now());
        let lacks_space = || {
            let min = self.settings().retention.min_free_space;
            min.is_some_and(|min| fs::free_space(location.dir()).is_ok_and(|free| free < min))
        };
        notified || state.deferred || state.retry.is_failing() || expired() || lacks_space()
    }

    /// Does all the work that can be done now. `go_on` is asked between steps.
    ///
    /// # Errors
    /// The first failure; what does not depend on it is done all the same.
    pub(crate) fn pass(
        &self,
        location: &Location,
        go_on: &dyn Fn() -> bool,
    ) -> Result<PassOutcome> {
        let mut state = self.state.lock();
        let mut pass = Pass { maintainer: self, location, go_on, deferred: false, failure: None };
        let snapshot = pass.run();
        let failure = pass.failure.take();
        state.deferred = pass.deferred;
        state.next_expiry = self.next_expiry(snapshot.as_ref());
        match failure {
            None => {
                state.retry.succeeded();
                Ok(PassOutcome { newest: snapshot.and_then(|snapshot| snapshot.newest()) })
            }
            Some(error) => {
                state.retry.failed();
                Err(error)
            }
        }
    }

    /// Whether backups are packed.
    pub(crate) fn compresses(&self) -> bool {
        self.settings().encoding.is_some()
    }

    /// The backups, oldest first, and how many of the oldest have to go.
    pub(crate) fn plan(&self, location: &Location) -> Result<(Vec<Backup>, usize)> {
        let mut snapshot = Snapshot::read(location, self.settings().naming)?;
        // A pass begins by removing what no process is writing.
        let is_dead = |path: &Path| matches!(fs::open_unleased(path), Ok(Unleased::Ours(_)));
        snapshot.temporaries.retain(|(path, _)| !is_dead(path));
        let pass =
            Pass { maintainer: self, location, go_on: &|| true, deferred: false, failure: None };
        let excess = pass.excess(&snapshot)?;
        Ok((snapshot.backups, excess))
    }

    fn next_expiry(&self, snapshot: Option<&Snapshot>) -> Option<Timestamp> {
        let age = self.settings().retention.max_backup_age?;
        let now = self.clock.now();
        let expiry = |backup: &Backup| backup.rotated_at_by(now).plus(age);
        // What is too old already and still there is deferred; it needs no alarm.
        snapshot?.backups.iter().map(expiry).filter(|expiry| *expiry > now).min()
    }

    /// Runs `work` while no backup changes its name: with [`Naming::Number`] under the rotation lock.
    pub(super) fn with_stable_names<T>(
        &self,
        location: &Location,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let MaintenanceConfig { naming, lock_mode, lock_timeout, .. } = self.settings();
        if naming == Naming::Timestamp {
            return work();
        }
        // A lock object of its own: that of the writer may be in use by a log call of this process.
        let lock = rotation_lock::open(location, lock_mode)?;
        let guard = lock.exclusive(Wait::AtMost(lock_timeout))?;
        let done = work();
        if let Err(error) = guard.unlock() {
            self.journal.failed(error);
        }
        done
    }
}
