//! The checks of a log's path and of the segment's age, and the rotations that they call for.

use super::appender::{Appender, Shared};
use super::torn::SegmentEnd;
use crate::clock::{Deadline, Stopwatch, Timestamp};
use crate::error::{Error, Result};
use crate::fs::{self, EntryKind};
use crate::rotation::trigger::overflows;
use crate::rotation::{Active, Switch, SwitchCause};
use crate::segment::lease::Lease;
use crate::stats::Event;
use std::path::PathBuf;
use std::time::Duration;

/// How long checks do not try to watch a segment after the system has refused it.
const UNWATCHED: Duration = Duration::from_secs(10);

impl Appender {
    /// Adopts the file at the log's path if it is another one, and rotates if the segment's time is
    /// over.
    ///
    /// The maintainer calls it too while there are no records. So an idle worker neither misses the
    /// end of a period nor holds up the compression of a segment that others have rotated.
    pub(crate) fn check(&mut self) {
        if self.schedule.begin() {
            // The system reports a segment once.
            self.watch = None;
        }
        let is_recent = |since: Stopwatch| since.elapsed() < UNWATCHED;
        if self.watch.is_none() && !self.watch_refused.is_some_and(is_recent) {
            self.watch_segment();
        }
        match self.check_path() {
            Ok(()) if self.retry.is_due() => self.check_time(),
            Err(error) if self.retry.is_due() => self.failed(error),
            // The failure is reported once per step of the delay. The path is checked each time.
            Err(_) => self.check_links(),
            Ok(()) => {}
        }
        self.shared.wakeup.hint();
        self.schedule_check();
    }

    pub(super) fn schedule_check(&mut self) {
        let now = self.shared.clock.coarse();
        let started = self.active().started_here();
        self.size_limit = self.trigger.size_limit(started, Timestamp::from_micros(now));
        let ends = [self.window.until(), self.trigger.interval_end(started)];
        self.schedule.set(now, self.timeouts.check_interval, ends);
    }

    /// Has the next record check the path if others may have filled the segment by then, as far as
    /// its growth since the last query says. No record that is shorter than theirs would find out.
    pub(super) fn check_if_nearly_full(&self, end: u64) {
        let growth = self.size_tracker.growth_to(end);
        if (end + 1..end + growth).contains(&self.size_limit) {
            self.schedule.make_due();
        }
    }

    /// Has the system report when the active segment is renamed, if the log has a thread that waits
    /// for reports. A network file system reports nothing that other machines do.
    fn watch_segment(&mut self) {
        let Some(threads) = self.shared.wakeup.threads() else { return };
        let is_local = matches!(self.rotator.network(), Ok(None));
        self.watch = is_local.then(|| threads.watch(self.path(), self.schedule.next())).flatten();
        self.watch_refused = self.watch.is_none().then(Stopwatch::start);
    }

    /// Watches the segment that has just become active. If others have rotated it already, the next
    /// record checks the path.
    fn watch_next_segment(&mut self) {
        // Given up last, because it may be the same file.
        let _left = self.watch.take();
        self.schedule.begin();
        self.watch_segment();
        if self.watch.is_none() {
            return;
        }
        match self.rotator.look() {
            Ok(Some(there)) if there.id == self.active().lease.id() => return,
            Ok(_) => {}
            Err(error) => self.failed(error),
        }
        self.schedule.make_due();
    }

    /// Rotates whether due or not, unless there is no record in the active segment or another
    /// worker rotates first. Returns the backup if this call made one.
    pub(crate) fn rotate(&mut self) -> Result<Option<PathBuf>> {
        let switch = self.rotator.rotate(self.timeouts.lock_timeout, |_| true)?;
        Ok(switch.and_then(|switch| self.rotated(Some(switch))))
    }

    /// Opens the log's path again.
    pub(crate) fn reopen(&mut self) -> Result<()> {
        let Switch { left, .. } = self.rotator.adopt(self.timeouts.lock_timeout)?;
        self.switched(left, false);
        Ok(())
    }

    /// Adopts the file at the log's path if it is not ours.
    fn check_path(&mut self) -> Result<()> {
        match self.rotator.look()? {
            Some(there) if there.id == self.active().lease.id() => {
                self.is_unlinked = false;
                return Ok(());
            }
            Some(there) if matches!(there.kind, EntryKind::Directory | EntryKind::Other) => {
                return Err(Error::not_a_file("use as a log", self.path(), there.kind));
            }
            _ => {}
        }
        let timeout = self.present_lock_timeout();
        let Switch { left, cause } = self.rotator.adopt(timeout)?;
        let counters = &self.shared.journal.counters;
        match cause {
            SwitchCause::Created => counters.recreations.increment(),
            _ => counters.follows.increment(),
        }
        self.switched(left, false);
        Ok(())
    }

    /// Rotates if the segment's time is over. A segment without a record is not rotated: its time
    /// starts again now for the workers that have it open.
    pub(super) fn check_time(&mut self) {
        let now = self.shared.clock.coarse_now();
        if self.window.contains(now) {
            return;
        }
        match fs::fstat(&self.active().lease.file, self.path()) {
            Ok(entry) => {
                self.rotator.active_mut().learn_size(entry.len, &self.shared.journal.counters);
            }
            Err(error) => return self.failed(error),
        }
        if self.active().is_empty() {
            self.rotator.learn_lead().unwrap_or_else(|error| self.shared.journal.failed(error));
            if !self.active().window(&self.trigger).contains(now) {
                self.active_mut().restart(now);
            }
            self.window = self.active().window(&self.trigger);
        } else {
            let trigger = self.trigger;
            self.rotate_for(|active| !active.window(&trigger).contains(now));
        }
    }

    #[cold]
    pub(super) fn make_room(&mut self, len: usize) {
        if self.retry.is_due() {
            let trigger = self.trigger;
            let now = self.shared.clock.coarse_now();
            self.rotate_for(|active| {
                let limit = trigger.size_limit(active.started_here(), now);
                overflows(limit, active.size, active.header_len, len)
            });
        }
    }

    /// Rotates a segment that takes no more. Returns whether another one is active now.
    pub(super) fn leave_full(&mut self) -> bool {
        let left = self.active().lease.id();
        if self.retry.is_due() {
            self.rotate_for(|active| active.lease.id() == left);
        }
        self.active().lease.id() != left
    }

    /// Rotates while `due`. If another worker was first, its segment may be full as well.
    fn rotate_for(&mut self, due: impl Fn(&Active) -> bool) {
        let lock_timeout = self.present_lock_timeout();
        let deadline = Deadline::after(lock_timeout);
        loop {
            let timeout = deadline.left().unwrap_or_default().min(lock_timeout);
            match self.rotator.rotate(timeout, &due) {
                Ok(switch) => {
                    let is_adopted =
                        matches!(switch, Some(Switch { cause: SwitchCause::Adopted, .. }));
                    self.rotated(switch);
                    if !is_adopted || self.active().is_empty() || !due(self.active()) {
                        return;
                    }
                }
                Err(error) => return self.failed(error),
            }
        }
    }

    /// How long to wait for the rotation lock now. After a wait in vain, the lock is only tried
    /// until its holder releases it.
    fn present_lock_timeout(&self) -> Duration {
        if self.retry.is_failing() { Duration::ZERO } else { self.timeouts.lock_timeout }
    }

    /// Counts the outcome of a rotation. Returns the backup if there is one.
    fn rotated(&mut self, switch: Option<Switch>) -> Option<PathBuf> {
        let counters = &self.shared.journal.counters;
        self.retry.succeeded();
        let Some(Switch { left, cause }) = switch else {
            counters.skips.increment();
            // The segment may have turned out to be younger than its file.
            self.learn_times();
            return None;
        };
        match cause {
            SwitchCause::Adopted => counters.skips.increment(),
            SwitchCause::Created => counters.recreations.increment(),
            SwitchCause::Rotated { .. } => counters.rotations.increment(),
        }
        self.switched(left, matches!(cause, SwitchCause::Rotated { .. }));
        let SwitchCause::Rotated { backup, bytes } = cause else { return None };
        self.shared.journal.note(Event::Rotated { backup: backup.clone(), bytes });
        Some(backup)
    }

    /// Starts with another active segment. The maintenance of a rotation is for the worker that
    /// rotated.
    fn switched(&mut self, left: Lease, has_rotated: bool) {
        if left.id() != self.active().lease.id() {
            self.end = SegmentEnd::Whole;
        }
        let Shared { sync_queue, journal, wakeup, .. } = &self.shared;
        sync_queue.enqueue(left, self.records(), self.rotator.location(), journal);
        if has_rotated || sync_queue.has_unsynced() {
            wakeup.notify();
        } else {
            wakeup.note();
        }
        self.size_tracker.reset();
        self.is_unlinked = false;
        self.retry.succeeded();
        self.watch_next_segment();
        self.learn_times();
    }

    /// Learns the times at which the active segment is due.
    fn learn_times(&mut self) {
        self.window = self.active().window(&self.trigger);
        self.schedule_check();
    }

    /// Keeps the present segment, and tries again later.
    fn failed(&mut self, error: Error) {
        self.retry.failed();
        self.check_links();
        self.shared.journal.failed(error);
    }

    fn check_links(&mut self) {
        let entry = fs::fstat(&self.active().lease.file, self.path());
        self.is_unlinked = entry.is_ok_and(|entry| entry.links == 0);
    }
}
