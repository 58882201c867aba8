//! Direct delivery: every record is in the kernel when its call returns.

use crate::clock::{Clock, Deadline, Timestamp, micros};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{self, EntryKind};
use crate::maintenance::Signal;
use crate::rotation::trigger::{Trigger, Window};
use crate::rotation::{Active, Outcome, Retry, Rotator};
use crate::segment::Location;
use crate::stats::{Event, Journal};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What stands behind the write mutex: the active segment, and when it is to be looked after.
pub(crate) struct Direct {
    rotator: Rotator,
    active: Active,
    trigger: Trigger,
    /// When the active segment must be rotated for its age or the calendar.
    window: Window,
    /// From when until when nothing but the size of a record calls for anything: microseconds of the
    /// coarse clock. Outside of it, also after the clock was set back, the log is looked after.
    calm: (i64, i64),
    check_interval: Duration,
    lock_timeout: Duration,
    /// When a rotation, or a look at the path, that failed may be tried again.
    retry: Retry,
    /// Whether the active segment has lost its last name, and what is written to it would be lost.
    nameless: bool,
    /// Whether the last record was torn, so that the next must begin a new line.
    mid_line: bool,
    /// Where a record is joined to the line break that goes before it.
    joined: Vec<u8>,
    clock: Clock,
    journal: Arc<Journal>,
    /// Tells maintenance of new backups.
    signal: Arc<Signal>,
}

/// How often and how long the writer looks beyond its own handle.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    pub(crate) check_interval: Duration,
    pub(crate) lock_timeout: Duration,
}

impl Direct {
    pub(crate) fn open(
        mut rotator: Rotator,
        trigger: Trigger,
        patience: Patience,
        clock: Clock,
        journal: Arc<Journal>,
        signal: Arc<Signal>,
    ) -> Result<Self> {
        let (active, _) = rotator.open(None)?;
        Ok(Self {
            rotator,
            window: trigger.window(active.started),
            active,
            trigger,
            // The first record looks first: the segment that was found may be past its time.
            calm: (0, 0),
            check_interval: patience.check_interval,
            lock_timeout: patience.lock_timeout,
            retry: Retry::default(),
            nameless: false,
            mid_line: false,
            joined: Vec::new(),
            clock,
            journal,
            signal,
        })
    }

    pub(crate) fn location(&self) -> &Arc<Location> {
        self.rotator.location()
    }

    pub(crate) fn active(&mut self) -> &mut Active {
        &mut self.active
    }

    /// Appends one record. Rotation goes first where it is due and can be had.
    #[inline]
    pub(crate) fn append(&mut self, record: &[u8]) -> io::Result<()> {
        let now = self.clock.coarse();
        if now < self.calm.0 || now >= self.calm.1 {
            self.look_after();
        }
        if self.trigger.overflows(self.active.size, self.active.header, record.len()) {
            self.make_room(record.len());
        }
        if self.mid_line || self.nameless {
            self.put_after_trouble(record)?;
        } else {
            self.put(record)?;
        }
        self.journal.counters.records.add_alone(1);
        self.journal.counters.bytes.add_alone(record.len() as u64);
        Ok(())
    }

    /// Follows whatever became of the log's path, and rotates if the time for it has come.
    ///
    /// Also called while nobody writes, so that an idle worker neither misses a deadline nor holds
    /// back the compression of a segment that others have rotated away.
    pub(crate) fn look_after(&mut self) {
        if self.retry.is_due() {
            match self.check_path() {
                Ok(()) => self.check_time(),
                Err(error) => self.failed(error),
            }
        }
        self.rest();
    }

    /// Rotates whether due or not, unless there is no record in the active segment or another worker
    /// rotates first. Returns the backup if this call made one.
    pub(crate) fn rotate(&mut self) -> Result<Option<PathBuf>> {
        let outcome = self.rotator.rotate(&mut self.active, self.lock_timeout, |_| true)?;
        Ok(self.settle(outcome))
    }

    /// Opens the log's path anew, whatever it names now.
    pub(crate) fn reopen(&mut self) -> Result<()> {
        self.rotator.follow(&mut self.active)?;
        self.arrived();
        Ok(())
    }

    /// Makes the records so far survive a power cut.
    pub(crate) fn sync(&self) -> Result<()> {
        fs::sync_data(&self.active.lease.file, self.location().path())
    }

    /// Takes up its calm until the next check, or until the segment's time is over.
    fn rest(&mut self) {
        let now = self.clock.coarse();
        let check = now.saturating_add(micros(self.check_interval));
        let end = self.window.until().micros();
        // A segment past its time could not be rotated; it is looked at again at the next check.
        self.calm = (now, if end > now { check.min(end) } else { check });
    }

    /// Goes where the log's path leads now, if that is another file than ours.
    fn check_path(&mut self) -> Result<()> {
        let there = fs::stat(self.location().path())?;
        match there {
            Some(there) if there.id == self.active.lease.id() => {
                self.nameless = false;
                return Ok(());
            }
            Some(there) if matches!(there.kind, EntryKind::Directory | EntryKind::Other) => {
                let path = self.location().path();
                return Err(Error::not_a_file("use as a log", path, there.kind));
            }
            _ => {}
        }
        let counters = &self.journal.counters;
        match self.rotator.follow(&mut self.active)? {
            Outcome::Created => counters.recreations.increment(),
            _ => counters.follows.increment(),
        }
        self.arrived();
        Ok(())
    }

    /// Rotates if the segment is past its time. One without a record is not rotated, but starts
    /// anew: its time counts from now for the workers that have it open.
    fn check_time(&mut self) {
        let now = Timestamp::from_micros(self.clock.coarse());
        if self.window.contains(now) {
            return;
        }
        match fs::fstat(&self.active.lease.file, self.location().path()) {
            Ok(entry) => self.active.size = entry.len,
            Err(error) => return self.failed(error),
        }
        if self.active.is_empty() {
            self.active.started = now;
            self.window = self.trigger.window(now);
        } else {
            let trigger = self.trigger;
            self.rotate_for(|active| !trigger.window(active.started).contains(now));
        }
    }

    #[cold]
    fn make_room(&mut self, len: usize) {
        if self.retry.is_due() {
            let trigger = self.trigger;
            self.rotate_for(|active| trigger.overflows(active.size, active.header, len));
        }
    }

    /// Rotates while `due`: the segment of a worker that was first may be full again.
    fn rotate_for(&mut self, due: impl Fn(&Active) -> bool) {
        // A holder that has let us wait in vain is not waited for again before it lets go.
        let patience = if self.retry.is_failing() { Duration::ZERO } else { self.lock_timeout };
        let deadline = Deadline::after(patience);
        loop {
            let left = deadline.left().unwrap_or_default();
            match self.rotator.rotate(&mut self.active, left.min(patience), &due) {
                Ok(outcome) => {
                    let followed = matches!(outcome, Outcome::Followed);
                    self.settle(outcome);
                    if !followed || !self.is_due_again(&due) {
                        return;
                    }
                }
                Err(error) => return self.failed(error),
            }
        }
    }

    /// Whether the segment of another worker, just adopted, calls for a rotation of its own.
    fn is_due_again(&self, due: impl Fn(&Active) -> bool) -> bool {
        !self.active.is_empty() && due(&self.active)
    }

    /// Takes note of what a rotation came to.
    fn settle(&mut self, outcome: Outcome) -> Option<PathBuf> {
        let counters = &self.journal.counters;
        self.retry.succeeded();
        match &outcome {
            Outcome::NotDue => {
                counters.skips.increment();
                return None;
            }
            Outcome::Followed => counters.skips.increment(),
            Outcome::Created => counters.recreations.increment(),
            Outcome::Rotated { .. } => counters.rotations.increment(),
        }
        self.arrived();
        let Outcome::Rotated { backup, bytes } = outcome else { return None };
        self.journal.note(Event::Rotated { backup: backup.clone(), bytes });
        Some(backup)
    }

    /// Begins with another active segment.
    fn arrived(&mut self) {
        self.nameless = false;
        self.mid_line = false;
        self.retry.succeeded();
        self.window = self.trigger.window(self.active.started);
        self.rest();
        self.signal.raise();
    }

    /// Goes on with the segment it has, and tries again later.
    fn failed(&mut self, error: Error) {
        self.retry.failed();
        let entry = fs::fstat(&self.active.lease.file, self.location().path());
        self.nameless = entry.is_ok_and(|entry| entry.links == 0);
        self.journal.failed(error);
    }

    #[inline]
    fn put(&mut self, record: &[u8]) -> io::Result<()> {
        let file = &self.active.lease.file;
        let mut taken = fs::append(file, record);
        if !matches!(taken, Ok(taken) if taken == record.len()) {
            taken = self.complete(record, taken);
        }
        let taken = taken?;
        self.learn_size(taken);
        Ok(())
    }

    /// Writes the rest of a record that the kernel took only a part of, at once. If that cannot be,
    /// the record is torn: its part stands, and the caller has the error.
    #[cold]
    fn complete(&mut self, record: &[u8], first: io::Result<usize>) -> io::Result<usize> {
        let mut done = 0;
        let mut taken = first;
        loop {
            match taken {
                Ok(more) if more > 0 => done += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                stopped => {
                    if done > 0 {
                        self.mid_line = true;
                        self.journal.counters.torn.increment();
                        self.learn_size(done);
                    }
                    return Err(stopped.err().unwrap_or_else(|| io::ErrorKind::WriteZero.into()));
                }
            }
            if done == record.len() {
                return Ok(done);
            }
            taken = fs::append(&self.active.lease.file, &record[done..]);
        }
    }

    /// Learns the end of file after `written` bytes of our own, other workers' records included.
    #[inline]
    fn learn_size(&mut self, written: usize) {
        let at_least = self.active.size + written as u64;
        let end = fs::append_offset(&self.active.lease.file).unwrap_or(at_least);
        if end < at_least {
            // Cut short by another program; the header went with the rest.
            self.active.header = 0;
            self.journal.counters.truncations.increment();
        }
        self.active.size = end;
    }

    /// Appends a record after something went wrong: never to a file that has lost its last name, nor
    /// to the end of a torn record.
    #[cold]
    fn put_after_trouble(&mut self, record: &[u8]) -> io::Result<()> {
        if self.nameless {
            self.look_after();
        }
        if self.nameless {
            let why = "it was removed and cannot be created again";
            let path = self.location().path();
            return Err(Error::refused(ErrorKind::Io, "write to", path, why).into());
        }
        if !self.mid_line {
            return self.put(record);
        }
        let mut joined = std::mem::take(&mut self.joined);
        joined.clear();
        joined.push(b'\n');
        joined.extend_from_slice(record);
        let done = self.put(&joined);
        self.mid_line = done.is_err();
        self.joined = joined;
        done
    }
}
