//! Direct delivery: every record is in the kernel when its call returns.

mod lines;

use super::buffered::Batch;
use super::sync_queue::SyncQueue;
use crate::clock::{Clock, Deadline, Timestamp, micros};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{self, EntryKind};
use crate::maintenance::Wakeup;
use crate::retry::Retry;
use crate::rotation::trigger::{Trigger, Window};
use crate::rotation::{Active, Outcome, Rotator};
use crate::segment::Location;
use crate::segment::lease::Lease;
use crate::stats::{Event, Journal};
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What stands behind the write mutex: the active segment, and when it is to be looked after.
pub(crate) struct Appender {
    rotator: Rotator,
    active: Active,
    trigger: Trigger,
    /// When the active segment must be rotated for its age or the calendar.
    window: Window,
    /// From when until when nothing but the size of a record calls for anything: microseconds of the
    /// coarse clock. Outside of it, also after the clock was set back, the log is looked after.
    next_check: (i64, i64),
    timeouts: Timeouts,
    /// When a rotation, or a look at the path, that failed may be tried again.
    retry: Retry,
    /// Whether the active segment has lost its last name, and what is written to it would be lost.
    is_unlinked: bool,
    line: Line,
    /// Records written so far.
    records: u64,
    size_tracker: SizeTracker,
    shared: Shared,
}

/// How often and how long the writer looks beyond its own handle.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeouts {
    pub(crate) check_interval: Duration,
    pub(crate) lock_timeout: Duration,
}

/// What a writer shares with the rest of its log.
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    pub(crate) journal: Arc<Journal>,
    /// Takes care of the segments that are left.
    pub(crate) sync_queue: Arc<SyncQueue>,
    /// Tells maintenance of new backups.
    pub(crate) wakeup: Arc<Wakeup>,
}

impl Appender {
    pub(crate) fn open(
        mut rotator: Rotator,
        trigger: Trigger,
        timeouts: Timeouts,
        shared: Shared,
    ) -> Result<Self> {
        let (active, _) = rotator.open(None, timeouts.lock_timeout)?;
        let mut appender = Self {
            rotator,
            window: trigger.window(active.started),
            active,
            trigger,
            next_check: (0, 0),
            timeouts,
            retry: Retry::default(),
            is_unlinked: false,
            line: Line::Whole,
            records: 0,
            size_tracker: SizeTracker::default(),
            shared,
        };
        // The segment that was found may be past its time.
        appender.check_time();
        appender.schedule_check();
        Ok(appender)
    }

    /// How many records were written so far.
    #[inline]
    pub(crate) fn records(&self) -> u64 {
        self.records
    }

    pub(crate) fn location(&self) -> &Arc<Location> {
        self.rotator.location()
    }

    pub(crate) fn active(&mut self) -> &mut Active {
        &mut self.active
    }

    /// Goes on with other limits: from the next record on, which looks after the log first.
    ///
    /// # Errors
    /// As [`Rotator::apply`]; then nothing has changed.
    #[cfg(feature = "policy")]
    pub(crate) fn apply(
        &mut self,
        trigger: Trigger,
        timeouts: Timeouts,
        mode: Option<u32>,
    ) -> Result<()> {
        self.rotator.apply(mode)?;
        self.trigger = trigger;
        self.timeouts = timeouts;
        self.window = trigger.window(self.active.started);
        self.next_check = (0, 0);
        self.size_tracker.next_query = 0;
        Ok(())
    }

    /// Appends one record. Rotation goes first where it is due and can be had.
    #[inline]
    pub(crate) fn append(&mut self, record: &[u8]) -> io::Result<()> {
        self.prepare(record.len());
        self.put(record).map_err(|stopped| {
            self.note_partial_write(stopped.written > 0);
            stopped.error
        })?;
        self.count(1, record.len());
        Ok(())
    }

    /// Appends many records in few calls, and takes those out of `batch` that were written.
    pub(crate) fn append_batch(&mut self, batch: &mut Batch) -> io::Result<()> {
        let (mut done, mut start) = (0, 0);
        let mut result = Ok(());
        while let Some(&first_end) = batch.ends.get(done) {
            self.prepare(first_end - start);
            let run = self.run_len(&batch.ends[done..], start);
            let end = batch.ends[done + run - 1];
            if let Err(stopped) = self.put(&batch.bytes[start..end]) {
                let stop = start + stopped.written;
                let whole = batch.ends[done..].partition_point(|end| *end <= stop);
                done += whole;
                let whole_end = done.checked_sub(1).map_or(0, |last| batch.ends[last]);
                self.count(whole, whole_end - start);
                self.note_partial_write(stop > whole_end);
                result = Err(stopped.error);
                break;
            }
            self.count(run, end - start);
            (done, start) = (done + run, end);
        }
        batch.forget(done);
        result
    }

    /// How many of the records that end at `ends` go into one call: as many as the segment has room for.
    fn run_len(&self, ends: &[usize], start: usize) -> usize {
        let len = self.max_write_len();
        ends.partition_point(|end| end - start <= len).max(1)
    }

    /// How many bytes of records go into one call, at most.
    fn max_write_len(&self) -> usize {
        // Long enough that the price of a call does not matter, short enough that other workers'
        // records do not wait long for the file.
        const LONGEST: u64 = 128 * 1024;
        let room =
            self.trigger.max_size.saturating_sub(self.active.size + self.line.break_len() as u64);
        // Without room, rotation was refused, and the segment takes what comes.
        (if room == 0 { LONGEST } else { room.min(LONGEST) }) as usize
    }

    /// Does what is to be done before a record of `len` bytes: looks after the log from time to time, and
    /// rotates if the record has no room.
    #[inline]
    fn prepare(&mut self, len: usize) {
        let now = self.shared.clock.coarse();
        if now < self.next_check.0 || now >= self.next_check.1 {
            self.check();
        }
        let len = len + self.line.break_len();
        if self.trigger.overflows(self.active.size, self.active.header, len) {
            self.make_room(len);
        }
    }

    #[inline]
    fn count(&mut self, records: usize, bytes: usize) {
        self.records += records as u64;
        self.shared.journal.counters.records.add_alone(records as u64);
        self.shared.journal.counters.bytes.add_alone(bytes as u64);
    }

    /// Notes that the kernel did not take a record, or took a part of it.
    fn note_partial_write(&mut self, is_torn: bool) {
        if is_torn {
            self.line = Line::Torn;
            self.shared.journal.counters.torn.increment();
        } else if self.line == Line::Whole {
            self.line = Line::Doubtful;
        }
    }

    /// Follows whatever became of the log's path, and rotates if the time for it has come.
    ///
    /// Also called while nobody writes, so that an idle worker neither misses a deadline nor holds
    /// back the compression of a segment that others have rotated away.
    pub(crate) fn check(&mut self) {
        match self.check_path() {
            Ok(()) if self.retry.is_due() => self.check_time(),
            Err(error) if self.retry.is_due() => self.failed(error),
            // What fails is told once per step of the delay; the path is looked at all the same.
            Err(_) => self.check_links(),
            Ok(()) => {}
        }
        self.shared.wakeup.hint();
        self.schedule_check();
    }

    /// Rotates whether due or not, unless there is no record in the active segment or another worker
    /// rotates first. Returns the backup if this call made one.
    pub(crate) fn rotate(&mut self) -> Result<Option<PathBuf>> {
        let left = self.active.lease.clone();
        let outcome =
            self.rotator.rotate(&mut self.active, self.timeouts.lock_timeout, |_| true)?;
        if matches!(outcome, Outcome::NotDue) {
            return Ok(None);
        }
        Ok(self.record_outcome(outcome, left))
    }

    /// Opens the log's path anew, whatever it names now.
    pub(crate) fn reopen(&mut self) -> Result<()> {
        let left = self.active.lease.clone();
        self.rotator.adopt(&mut self.active, self.timeouts.lock_timeout)?;
        self.segment_changed(left);
        Ok(())
    }

    /// The number of records written so far, and the file that the last of them are in, to be synced
    /// without the write mutex.
    pub(crate) fn position(&self) -> (u64, Arc<File>) {
        (self.records, Arc::clone(&self.active.lease.file))
    }

    /// Schedules the next check: after the interval, or when the segment's time is over.
    fn schedule_check(&mut self) {
        let now = self.shared.clock.coarse();
        let check = now.saturating_add(micros(self.timeouts.check_interval));
        let end = self.window.until().micros();
        // A segment past its time could not be rotated; it is looked at again at the next check.
        self.next_check = (now, if end > now { check.min(end) } else { check });
    }

    /// Goes where the log's path leads now, if that is another file than ours.
    fn check_path(&mut self) -> Result<()> {
        let there = fs::stat(self.location().path())?;
        match there {
            Some(there) if there.id == self.active.lease.id() => {
                self.is_unlinked = false;
                return Ok(());
            }
            Some(there) if matches!(there.kind, EntryKind::Directory | EntryKind::Other) => {
                let path = self.location().path();
                return Err(Error::not_a_file("use as a log", path, there.kind));
            }
            _ => {}
        }
        let (left, timeout) = (self.active.lease.clone(), self.present_lock_timeout());
        let counters = &self.shared.journal.counters;
        match self.rotator.adopt(&mut self.active, timeout)? {
            Outcome::Created => counters.recreations.increment(),
            _ => counters.follows.increment(),
        }
        self.segment_changed(left);
        Ok(())
    }

    /// Rotates if the segment is past its time. One without a record is not rotated, but starts
    /// anew: its time counts from now for the workers that have it open.
    fn check_time(&mut self) {
        let now = Timestamp::from_micros(self.shared.clock.coarse());
        if self.window.contains(now) {
            return;
        }
        match fs::fstat(&self.active.lease.file, self.location().path()) {
            Ok(entry) => self.active.learn_size(entry.len, &self.shared.journal.counters),
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
        let longest = self.present_lock_timeout();
        let deadline = Deadline::after(longest);
        loop {
            let timeout = deadline.left().unwrap_or_default().min(longest);
            let left = self.active.lease.clone();
            match self.rotator.rotate(&mut self.active, timeout, &due) {
                Ok(outcome) => {
                    let adopted = matches!(outcome, Outcome::Adopted);
                    self.record_outcome(outcome, left);
                    if !adopted || !self.is_due_again(&due) {
                        return;
                    }
                }
                Err(error) => return self.failed(error),
            }
        }
    }

    /// How long to wait for the rotation lock now. A holder that has let us wait in vain is not waited for
    /// again before it lets go.
    fn present_lock_timeout(&self) -> Duration {
        if self.retry.is_failing() { Duration::ZERO } else { self.timeouts.lock_timeout }
    }

    /// Whether the segment of another worker, just adopted, calls for a rotation of its own.
    fn is_due_again(&self, due: impl Fn(&Active) -> bool) -> bool {
        !self.active.is_empty() && due(&self.active)
    }

    /// Takes note of what a rotation came to.
    fn record_outcome(&mut self, outcome: Outcome, left: Lease) -> Option<PathBuf> {
        let counters = &self.shared.journal.counters;
        self.retry.succeeded();
        match &outcome {
            Outcome::NotDue => {
                counters.skips.increment();
                // It may have turned out to be younger than its file.
                self.window = self.trigger.window(self.active.started);
                return None;
            }
            Outcome::Adopted => counters.skips.increment(),
            Outcome::Created => counters.recreations.increment(),
            Outcome::Rotated { .. } => counters.rotations.increment(),
        }
        self.segment_changed(left);
        let Outcome::Rotated { backup, bytes } = outcome else { return None };
        self.shared.journal.note(Event::Rotated { backup: backup.clone(), bytes });
        Some(backup)
    }

    /// Begins with another active segment, having left the one before.
    fn segment_changed(&mut self, left: Lease) {
        if left.id() != self.active.lease.id() {
            self.line = Line::Whole;
        }
        self.shared.sync_queue.enqueue(left, self.records, self.location(), &self.shared.journal);
        self.size_tracker.next_query = 0;
        self.is_unlinked = false;
        self.retry.succeeded();
        self.window = self.trigger.window(self.active.started);
        self.schedule_check();
        self.shared.wakeup.notify();
    }

    /// Goes on with the segment it has, and tries again later.
    fn failed(&mut self, error: Error) {
        self.retry.failed();
        self.check_links();
        self.shared.journal.failed(error);
    }

    fn check_links(&mut self) {
        let entry = fs::fstat(&self.active.lease.file, self.location().path());
        self.is_unlinked = entry.is_ok_and(|entry| entry.links == 0);
    }

    /// Appends bytes that belong together, in one call if the kernel takes them so.
    #[inline]
    fn put(&mut self, bytes: &[u8]) -> Result<(), PartialWrite> {
        if self.line != Line::Whole || self.is_unlinked {
            return self.put_after_failure(bytes);
        }
        match fs::append(&self.active.lease.file, bytes) {
            Ok(taken) if taken == bytes.len() => {
                self.learn_size(taken);
                Ok(())
            }
            taken => self.complete(bytes, taken),
        }
    }

    /// Writes at once what the kernel has not taken with the first call. If it takes no more, what it took
    /// stands.
    #[cold]
    fn complete(&mut self, bytes: &[u8], first: io::Result<usize>) -> Result<(), PartialWrite> {
        let mut written = 0;
        let mut taken = first;
        loop {
            match taken {
                Ok(more) if more > 0 => written += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                stopped => {
                    let error = stopped.err().unwrap_or_else(|| io::ErrorKind::WriteZero.into());
                    if written > 0 {
                        self.learn_size(written);
                    }
                    return Err(PartialWrite { written, error });
                }
            }
            if written == bytes.len() {
                self.learn_size(written);
                return Ok(());
            }
            taken = fs::append(&self.active.lease.file, &bytes[written..]);
        }
    }

    /// Learns the end of file after `written` bytes of our own, other workers' records included.
    #[inline]
    fn learn_size(&mut self, written: usize) {
        self.active.size += written as u64;
        if self.active.size >= self.size_tracker.next_query {
            self.query_size();
        }
    }

    fn query_size(&mut self) {
        let counted = self.active.size;
        let end = fs::append_offset(&self.active.lease.file).unwrap_or(counted);
        self.active.learn_size(end, &self.shared.journal.counters);
        self.size_tracker.note(end == counted, end, self.trigger.max_size);
    }

    /// Appends after something went wrong: never to a file that has lost its last name, nor to the end
    /// of a torn record.
    #[cold]
    fn put_after_failure(&mut self, bytes: &[u8]) -> Result<(), PartialWrite> {
        if self.is_unlinked {
            let why = "it was removed and cannot be created again";
            let error = Error::refused(ErrorKind::Io, "write to", self.location().path(), why);
            return Err(PartialWrite { written: 0, error: error.into() });
        }
        if !self.needs_break(bytes) {
            self.line = Line::Whole;
            return self.put(bytes);
        }
        self.line = Line::Whole;
        let joined = [b"\n", bytes].concat();
        self.put(&joined).map_err(|stopped| {
            // Without the line break, the next record needs one still.
            self.line = Line::Torn;
            PartialWrite { written: stopped.written.saturating_sub(1), ..stopped }
        })
    }

    /// Whether `bytes` must begin with a line break. If the last byte cannot be read, a torn record
    /// is not trusted, and a doubt is dropped.
    fn needs_break(&self, bytes: &[u8]) -> bool {
        let (file, path) = (&self.active.lease.file, self.location().path());
        let last = || {
            let len = fs::fstat(file, path)?.len;
            Ok::<_, Error>((len, fs::read_last(file, len, path)?))
        };
        match self.line {
            Line::Whole => false,
            Line::Torn => !last().is_ok_and(|(_, last)| last == Some(b'\n')),
            // Only among lines, and only if somebody else has written meanwhile: else all is whole.
            Line::Doubtful if bytes.ends_with(b"\n") => {
                last().is_ok_and(|(len, last)| len > self.active.size && last != Some(b'\n'))
            }
            Line::Doubtful => false,
        }
    }
}

/// How the segment ends, as far as this worker knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// With whole records.
    Whole,
    /// The kernel refused a record (the disk is full), so another worker's may have been torn there.
    Doubtful,
    /// With a part of a record, after which the next must begin a new line.
    Torn,
}

impl Line {
    /// How many bytes a line break before the next record takes at most.
    #[inline]
    fn break_len(self) -> usize {
        usize::from(self != Self::Whole)
    }
}

/// A write that the kernel did not take whole.
struct PartialWrite {
    /// Bytes that it took.
    written: usize,
    error: io::Error,
}

/// How often the kernel is asked for the size: after every call, unless our own count has been right for
/// so long that nobody else seems to write.
#[derive(Debug, Default)]
struct SizeTracker {
    /// How often in a row our count was right.
    agreed: u32,
    /// The counted size at which to ask again; 0 is at once.
    next_query: u64,
}

impl SizeTracker {
    /// When nobody else seems to write.
    const TRUSTED_AFTER: u32 = 1024;
    /// How many bytes may then go unqueried. By as much again a segment may grow beyond its limit when
    /// another worker begins to write.
    const MAX_UNQUERIED: u64 = 4096;

    fn note(&mut self, agrees: bool, size: u64, max_size: u64) {
        self.agreed = if agrees { self.agreed.saturating_add(1) } else { 0 };
        let unqueried = Self::MAX_UNQUERIED.min(max_size / 16);
        self.next_query = if self.agreed >= Self::TRUSTED_AFTER { size + unqueried } else { 0 };
    }
}
