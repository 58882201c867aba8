//! The rotation protocol: how workers agree on the active segment without communicating.
//!
//! Workers create and rename segments only while they hold the rotation lock `<log>.lock`. A worker
//! that gets the lock checks again before it acts, because another worker may have rotated
//! meanwhile. The steps:
//!
//! | step | if the worker dies after it |
//! |---|---|
//! | take the lock | the kernel frees it; the file left behind is harmless |
//! | check again: gone → create; another file → adopt; not due → leave | nothing was changed |
//! | create the next segment under a temporary name | maintenance removes it |
//! | give the active segment its backup name, as a second name | the next worker removes that |
//! | exchange the next segment with the log's path | maintenance removes the temporary name |
//! | remove the temporary name, which is the old segment's now | done |
//! | remove the lock file, unlock | done |
//!
//! The next segment is created before the old one gets another name. So a full disk or a missing
//! right is found while there is nothing to undo, and the segment has its mode, owner and header
//! before any process sees it.
//!
//! File systems without links or without an exchange have two renames instead:
//!
//! | step | if the worker dies after it |
//! |---|---|
//! | rename the active segment to its backup name | the path is missing: the next worker creates it |
//! | give the next segment the log's path | done |

mod backup;
mod exchange;
pub(crate) mod period;
mod segments;
pub(crate) mod trigger;

pub(crate) use crate::segment::note::NewestBackup;
pub use period::{Period, Zone};
pub(crate) use segments::{HeaderFn, SegmentSettings};

use crate::clock::{Clock, Timestamp};
use crate::error::{ErrorKind, Result};
use crate::fs::{self, Entry, Temp};
use crate::lock::LockGuard;
use crate::segment::Location;
use crate::segment::lease::Lease;
use crate::stats::{Counters, Journal};
use exchange::Exchanged;
use segments::Segments;
use std::io::ErrorKind::AlreadyExists;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use trigger::{Trigger, Window, started_by_name};

/// The active segment as one worker has it open.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) lease: Lease,
    /// How records are appended to it.
    pub(crate) append_mode: fs::AppendMode,
    /// Its size when last learned. Other workers may have appended since.
    pub(crate) size: u64,
    /// The length of the header at its start.
    pub(crate) header_len: u64,
    pub(crate) started: Timestamp,
    /// How far this worker's clock is ahead of the clock that `started` is by, as last learned.
    pub(crate) lead: Duration,
    /// The time of the newest backup when this segment became active.
    pub(crate) newest_backup: NewestBackup,
}

impl Active {
    /// Whether it contains no record.
    pub(crate) fn is_empty(&self) -> bool {
        self.size <= self.header_len
    }

    /// Takes over the file's size. A smaller size than before is counted in `counters`: another
    /// program has truncated the file, and the header is gone as well.
    pub(crate) fn learn_size(&mut self, size: u64, counters: &Counters) {
        if size < self.size {
            self.header_len = 0;
            counters.truncations.increment();
        }
        self.size = size;
    }

    /// Replaces this segment by `next`. Returns the lease on the segment that was left.
    fn switch_to(&mut self, next: Self) -> Lease {
        let lead = self.lead;
        std::mem::replace(self, Self { lead, ..next }).lease
    }

    /// Returns the time during which it may stay active, by this worker's clock.
    pub(crate) fn window(&self, trigger: &Trigger) -> Window {
        trigger.window(self.started).by_clock_ahead(self.lead)
    }

    /// Returns its start by this worker's clock.
    pub(crate) fn started_here(&self) -> Timestamp {
        self.started.plus(self.lead)
    }

    /// Starts its time again, at `now` by this worker's clock.
    pub(crate) fn restart(&mut self, now: Timestamp) {
        self.started = now.minus(self.lead);
    }
}

/// A change of the active segment.
#[derive(Debug)]
pub(crate) struct Switch {
    /// The segment that was active before. It is the same file if only the handle is new.
    pub(crate) left: Lease,
    pub(crate) cause: SwitchCause,
}

/// The reason for a [`Switch`].
#[derive(Debug)]
pub(crate) enum SwitchCause {
    /// This worker rotated: the backup, and its size.
    Rotated { backup: PathBuf, bytes: u64 },
    /// Another worker or program created the segment.
    Adopted,
    /// The path was missing, and this worker created the segment.
    Created,
}

/// Opens, adopts and rotates the segments of one log, and owns the active one.
pub(crate) struct Rotator {
    segments: Segments,
    active: Active,
}

impl Rotator {
    /// Opens the active segment, or creates it. Waits at most `timeout` for the rotation lock.
    pub(crate) fn open(
        log: &Path,
        settings: SegmentSettings,
        clock: Clock,
        journal: Arc<Journal>,
        timeout: Duration,
    ) -> Result<Self> {
        let mut segments = Segments::new(log, settings, clock, journal)?;
        let (active, _) = segments.open(None, timeout)?;
        Ok(Self { segments, active })
    }

    pub(crate) fn location(&self) -> &Arc<Location> {
        self.segments.location()
    }

    /// The network file system that the log is on. `None` for a local one.
    pub(crate) fn network(&self) -> &Result<Option<String>> {
        self.segments.network()
    }

    #[inline]
    pub(crate) fn active(&self) -> &Active {
        &self.active
    }

    #[inline]
    pub(crate) fn active_mut(&mut self) -> &mut Active {
        &mut self.active
    }

    /// Sets the mode of new segments and of the lock file.
    ///
    /// # Errors
    /// The lock file cannot be used; then nothing has changed.
    #[cfg(feature = "policy")]
    pub(crate) fn set_mode(&mut self, mode: Option<u32>) -> Result<()> {
        self.segments.set_mode(mode)
    }

    /// Looks at the file that the user's path leads to now. It is another one than the active
    /// segment after another worker's rotation, or if a link in the path was changed.
    pub(crate) fn look(&self) -> Result<Option<Entry>> {
        self.segments.look()
    }

    /// Learns how far this worker's clock is ahead, as a rotation would. While another worker has
    /// the lock, the last answer stays.
    pub(crate) fn learn_lead(&mut self) -> Result<()> {
        if self.segments.naming().is_by_time() {
            return Ok(());
        }
        let asked = self.segments.coarse_now();
        let guard = match self.segments.take_lock(Duration::ZERO) {
            Err(error) if error.kind() == ErrorKind::LockTimeout => return Ok(()),
            taken => taken?,
        };
        let lead = self.segments.lead(asked, &guard);
        self.segments.release(guard);
        self.active.lead = lead?;
        Ok(())
    }

    /// Opens the file that the log's path names now, or creates it if there is none.
    pub(crate) fn adopt(&mut self, timeout: Duration) -> Result<Switch> {
        let (found, cause) = self.segments.open(Some(&self.active.lease), timeout)?;
        Ok(Switch { left: self.active.switch_to(found), cause })
    }

    /// Ends the active segment and starts the next. If another worker was first, its segment is
    /// adopted. Returns `None` if the segment contains no record, or is not `due` by its present
    /// state. Waits at most `timeout` for the rotation lock.
    ///
    /// On failure the active segment is the same as before, and can be written to.
    pub(crate) fn rotate(
        &mut self,
        timeout: Duration,
        due: impl Fn(&Active) -> bool,
    ) -> Result<Option<Switch>> {
        // Most workers that come late can see it without the lock.
        if self.segments.has_moved(&self.active)? {
            return self.adopt(timeout).map(Some);
        }
        const ATTEMPTS: u32 = 3;
        let mut attempts = 0;
        loop {
            let asked = self.segments.coarse_now();
            let guard = self.segments.take_lock(timeout)?;
            let switch = self.segments.rotate_locked(&mut self.active, &guard, asked, &due);
            self.segments.release(guard);
            attempts += 1;
            match switch {
                Err(error) if error.kind() == ErrorKind::LockLost && attempts < ATTEMPTS => {}
                switch => return switch,
            }
        }
    }
}

/// The steps that need the rotation lock. The caller holds it.
impl Segments {
    /// `asked` is a time before the lock was taken.
    fn rotate_locked(
        &self,
        active: &mut Active,
        guard: &LockGuard<'_>,
        asked: Timestamp,
        due: impl Fn(&Active) -> bool,
    ) -> Result<Option<Switch>> {
        // Invariant: only the file that the path names is renamed. Another worker may have rotated
        // while we waited; without this check we would archive its fresh segment as ours.
        if self.has_moved(active)? {
            return self.adopt_locked(active).map(Some);
        }
        let mut entry = match fs::fstat(&active.lease.file, self.path()) {
            // Another program has just moved it, and a FUSE server looked for it by its name.
            Err(error) if error.is_not_found() && self.has_moved(active)? => {
                return self.adopt_locked(active).map(Some);
            }
            found => found?,
        };
        if entry.links > 1 {
            self.undo_link(active.lease.id())?;
            entry = fs::fstat(&active.lease.file, self.path())?;
        }
        active.learn_size(entry.len, self.counters());
        if active.is_empty() {
            return Ok(None);
        }
        if !self.naming().is_by_time() {
            active.lead = self.lead(asked, guard)?;
        }
        self.learn_start(active)?;
        if !due(active) {
            return Ok(None);
        }
        self.replace(active, &entry, guard).map(Some)
    }

    /// Corrects the start of the active segment by the time in the newest backup's name. The answer
    /// stays true as long as this is the active segment.
    fn learn_start(&self, active: &mut Active) -> Result<()> {
        // The time of a numbered backup comes from the file system, as does that of the active
        // segment: with `lead`, all workers compare with the same clock.
        if self.naming().is_by_time() {
            let newest = self.newest_backup_time(active)?;
            active.newest_backup = NewestBackup::Known(newest);
            active.started = started_by_name(active.started, newest, self.now());
        }
        Ok(())
    }

    fn adopt_locked(&self, active: &mut Active) -> Result<Switch> {
        // Other workers wait for the lock, so the file is tried once.
        if let Some(found) = self.open_existing(Duration::ZERO)? {
            let left = active.switch_to(found);
            self.ensure_header_locked(active);
            return Ok(Switch { left, cause: SwitchCause::Adopted });
        }
        let left = match self.create_if_missing(Some(&active.lease))? {
            Some(created) => active.switch_to(created),
            // Another program has just created it; the next check adopts that.
            None => active.lease.clone(),
        };
        Ok(Switch { left, cause: SwitchCause::Created })
    }

    /// Makes the active segment a backup and puts a new one in its place, with the same access.
    fn replace(&self, active: &mut Active, entry: &Entry, guard: &LockGuard<'_>) -> Result<Switch> {
        let is_crowded = self.location().is_crowded()?;
        let mut next = self.prepare(Some((&active.lease, entry.access)))?;
        let exchanges = self.may_exchange(entry, &mut next.0)?;
        // If the lock file was removed by hand, another worker may have rotated meanwhile.
        guard.verify()?;
        if exchanges {
            match self.exchange(active, entry.links, next, is_crowded)? {
                Exchanged::Switched(switch) => return Ok(switch),
                Exchanged::Refused(refused) => next = refused,
            }
        }
        self.replace_by_renames(active, next, is_crowded)
    }

    /// Renames the active segment to a backup, and then the next one to the log's path, which is
    /// missing in between.
    fn replace_by_renames(
        &self,
        active: &mut Active,
        next: (Temp, u64),
        is_crowded: bool,
    ) -> Result<Switch> {
        let (backup, time) = match self.rename_to_backup(active) {
            // Another program, or the server of a network file system, has removed the name
            // meanwhile.
            Err(error) if error.is_not_found() && self.has_moved(active)? => {
                return self.adopt_locked(active);
            }
            renamed => renamed?,
        };
        if is_crowded {
            self.note_newest(active, &backup, time, &next.0);
        }
        let bytes = active.size;
        let left = self.take_path(active, next, time).inspect_err(|_| self.undo_rename(&backup))?;
        Ok(Switch { left, cause: SwitchCause::Rotated { backup, bytes } })
    }

    /// Gives the next segment the log's path, where no file is, and continues in it. Returns the
    /// lease on the one before, whose backup is of this time.
    fn take_path(&self, active: &mut Active, next: (Temp, u64), time: Timestamp) -> Result<Lease> {
        match self.put_in_place(next, NewestBackup::Known(Some(time))) {
            Ok(fresh) => Ok(active.switch_to(fresh)),
            // Another program was first; its file is the next segment.
            Err(error) if error.io_kind() == AlreadyExists && self.has_moved(active)? => {
                Ok(self.adopt_locked(active)?.left)
            }
            Err(error) => Err(error),
        }
    }

    /// Gives the active segment the log's path again, where readers and other workers look for it.
    /// If that fails too, the path is missing, and the next worker that checks it creates the log.
    fn undo_rename(&self, backup: &Path) {
        match fs::rename_noreplace(backup, self.path()) {
            Err(error) if error.io_kind() == AlreadyExists => {}
            renamed => renamed.unwrap_or_else(|error| self.report(error)),
        }
    }
}
