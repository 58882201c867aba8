//! How a record is appended: beside others if nothing else is to be done, otherwise alone, after
//! the rotation, check or repair that is due.

use super::append_lock::{Append, Appended, PartialWrite, SegmentSize};
use super::buffered::Batch;
use super::line_run;
use super::schedule::{Schedule, Timeouts};
use super::size::{Query, SizeTracker};
use super::sync_queue::SyncQueue;
use super::torn::{LastByte, SegmentEnd};
use crate::clock::{Clock, Stopwatch};
use crate::error::{Error, ErrorKind, Result};
use crate::fs;
use crate::maintenance::Wakeup;
use crate::pool::SegmentWatch;
use crate::retry::Retry;
use crate::rotation::trigger::{Trigger, Window, overflows};
use crate::rotation::{Active, Rotator};
use crate::segment::Location;
use crate::stats::Journal;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Appends records to the active segment, and rotates it.
pub(crate) struct Appender {
    pub(super) rotator: Rotator,
    pub(super) trigger: Trigger,
    /// The maximum size of the active segment for now.
    pub(super) size_limit: u64,
    /// The time during which the active segment may stay active by its age and the calendar.
    pub(super) window: Window,
    pub(super) schedule: Schedule,
    /// The watch on the active segment, and when one was last refused.
    pub(super) watch: Option<SegmentWatch>,
    pub(super) watch_refused: Option<Stopwatch>,
    pub(super) timeouts: Timeouts,
    /// When a rotation or a check that failed may be tried again.
    pub(super) retry: Retry,
    /// Whether the active segment has lost its last name. A record in it would be lost.
    pub(super) is_unlinked: bool,
    pub(super) end: SegmentEnd,
    /// The size of the active segment when no record was on its way, less all bytes written by
    /// then.
    pub(super) size_before: u64,
    pub(super) size_tracker: SizeTracker,
    pub(super) shared: Shared,
}

/// The parts of a log that its appender shares with others.
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    pub(crate) journal: Arc<Journal>,
    pub(crate) sync_queue: Arc<SyncQueue>,
    /// Wakes maintenance when this worker has made a backup.
    pub(crate) wakeup: Arc<Wakeup>,
}

impl Appender {
    pub(crate) fn new(
        rotator: Rotator,
        trigger: Trigger,
        timeouts: Timeouts,
        shared: Shared,
    ) -> Self {
        let mut appender = Self {
            window: rotator.active().window(&trigger),
            rotator,
            trigger,
            size_limit: trigger.max_size,
            schedule: Schedule::default(),
            watch: None,
            watch_refused: None,
            timeouts,
            retry: Retry::default(),
            is_unlinked: false,
            end: SegmentEnd::Whole,
            size_before: 0,
            size_tracker: SizeTracker::new(),
            shared,
        };
        // The segment that was found may be past its time.
        appender.check_time();
        appender.schedule_check();
        appender
    }

    /// The number of records written so far.
    #[inline]
    pub(crate) fn records(&self) -> u64 {
        self.shared.journal.counters.records.get()
    }

    pub(crate) fn location(&self) -> &Arc<Location> {
        self.rotator.location()
    }

    pub(super) fn path(&self) -> &Path {
        self.location().path()
    }

    #[inline]
    pub(crate) fn active(&self) -> &Active {
        self.rotator.active()
    }

    #[inline]
    pub(crate) fn active_mut(&mut self) -> &mut Active {
        self.rotator.active_mut()
    }

    /// The number of records written so far, and the file that the last of them is in, to sync them
    /// without the append lock.
    pub(crate) fn position(&self) -> (u64, Arc<File>) {
        (self.records(), Arc::clone(&self.active().lease.file))
    }

    /// Takes over other limits. The next record checks the log first.
    ///
    /// # Errors
    /// Those of [`Rotator::set_mode`]; then nothing has changed.
    #[cfg(feature = "policy")]
    pub(crate) fn apply(
        &mut self,
        trigger: Trigger,
        timeouts: Timeouts,
        mode: Option<u32>,
    ) -> Result<()> {
        self.rotator.set_mode(mode)?;
        self.trigger = trigger;
        self.timeouts = timeouts;
        self.window = self.active().window(&trigger);
        self.schedule.make_due();
        self.size_tracker.reset();
        Ok(())
    }
}

impl Append for Appender {
    #[inline]
    fn is_ready(&self) -> bool {
        fs::APPENDS_SIDE_BY_SIDE && self.needs_nothing()
    }

    #[inline]
    fn has_room(&self, size: u64, len: usize) -> bool {
        !overflows(self.size_limit, size, self.active().header_len, len)
    }

    #[inline]
    fn append_beside(
        &self,
        record: &[u8],
        offset: u64,
        size: &SegmentSize,
    ) -> Result<Appended, PartialWrite> {
        let (file, counters) = (&self.active().lease.file, &self.shared.journal.counters);
        let len = record.len() as u64;
        // With the least length of the file before this record, if its end is asked for.
        let known = || self.size_before.wrapping_add(counters.bytes.get());
        let query = self.size_tracker.due(offset + len).map(|query| (query, known()));
        let taken = loop {
            // The file position is the cheapest way to the end of the file, but only after a write
            // that moves it.
            let taken = if query.is_some() {
                fs::append(file, record)
            } else {
                fs::append_beside(file, record, offset, &self.active().append_mode)
            };
            match taken {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                taken => break taken,
            }
        };
        match taken {
            Ok(taken) if taken == record.len() => {}
            Ok(written) => {
                return Err(PartialWrite { written, error: io::ErrorKind::WriteZero.into() });
            }
            Err(error) => return Err(PartialWrite { written: 0, error }),
        }
        counters.bytes.add(len);
        let number = counters.records.add(1) + 1;
        let is_cut_short =
            query.is_some_and(|(query, known)| self.learn_end(query, known + len, size));
        Ok(Appended { number, is_cut_short })
    }

    fn append_alone(&mut self, record: &[u8]) -> io::Result<u64> {
        self.prepare(record.len());
        let has_records = !self.active().is_empty();
        match self.put(record) {
            Err(partial) if self.ends_segment(has_records, &partial) => self.append_alone(record),
            done => self.count_record(record, done),
        }
    }

    #[cold]
    fn complete(&mut self, record: &[u8], partial: PartialWrite) -> io::Result<u64> {
        let written = partial.written;
        if written == 0 {
            if self.ends_segment(!self.active().is_empty(), &partial) {
                return self.append_alone(record);
            }
            self.note_failure(false);
            return Err(partial.error);
        }
        self.query_len();
        if self.ends_with(&record[..written]) {
            let rest = &record[written..];
            let taken = fs::append(&self.active().lease.file, rest);
            let done = self.put_rest(rest, taken).map_err(|partial| partial.after(written));
            let Err(partial) = done else { return self.count_record(record, done) };
            let ours = self.active().header_len + partial.written as u64;
            return match self.ends_segment(self.active().size > ours, &partial) {
                true => self.append_alone(record),
                false => self.count_record(record, Err(partial)),
            };
        }
        // Another record came between, or a rotation. The whole record follows, on a new line.
        self.shared.journal.counters.torn.increment();
        self.end = self.end.after_failure(self.active().size > self.active().header_len);
        self.append_alone(record)
    }

    #[cold]
    fn note_cut(&mut self) {
        self.query_len();
    }

    fn enter(&mut self, size: u64) {
        self.active_mut().size = size;
    }

    fn leave(&mut self) -> u64 {
        let size = self.active().size;
        self.size_before = size.wrapping_sub(self.shared.journal.counters.bytes.get());
        size
    }
}

impl Appender {
    /// Appends as many of the lines as one call takes, and at least the first. Rotates first if
    /// that is due and possible. Returns the number of bytes taken: whole lines.
    ///
    /// # Errors
    /// The kernel's error for the first line. If it took whole lines before the error, their length
    /// is returned instead.
    pub(crate) fn append_lines(&mut self, lines: &[u8]) -> io::Result<usize> {
        let first = line_run::first(lines);
        self.prepare(first.len());
        let run = line_run::fitting(lines, self.max_write_len()).unwrap_or(first);
        let has_records = !self.active().is_empty();
        let Err(partial) = self.put(run) else {
            self.count(line_run::count(run), run.len());
            return Ok(run.len());
        };
        let taken = line_run::whole(&run[..partial.written]);
        if taken.is_empty() && self.ends_segment(has_records, &partial) {
            return self.append_lines(lines);
        }
        let PartialWrite { written, error } = partial;
        self.count(line_run::count(taken), taken.len());
        self.note_failure(written > taken.len());
        if taken.is_empty() { Err(error) } else { Ok(taken.len()) }
    }

    /// Appends many records in few calls, and removes those that were written from `batch`.
    pub(crate) fn append_batch(&mut self, batch: &mut Batch) -> io::Result<()> {
        let mut done = 0;
        let mut result = Ok(());
        while done < batch.ends.len() && result.is_ok() {
            let (written, outcome) = self.append_run(batch, done);
            done += written;
            result = outcome;
        }
        batch.forget(done);
        result
    }

    /// Appends the records from number `first` on that fit into one call. Returns how many were
    /// written.
    fn append_run(&mut self, batch: &Batch, first: usize) -> (usize, io::Result<()>) {
        let ends = &batch.ends[first..];
        let start = batch.start_of(first);
        self.prepare(ends[0] - start);
        let len = self.max_write_len();
        let run = ends.partition_point(|end| end - start <= len).max(1);
        let end = ends[run - 1];
        let has_records = !self.active().is_empty();
        let Err(partial) = self.put(&batch.bytes[start..end]) else {
            self.count(run, end - start);
            return (run, Ok(()));
        };
        let is_first_cut = start + partial.written < ends[0];
        if is_first_cut && self.ends_segment(has_records, &partial) {
            return self.append_run(batch, first);
        }
        let PartialWrite { written, error } = partial;
        let stop = start + written;
        let whole = ends.partition_point(|end| *end <= stop);
        let whole_end = batch.start_of(first + whole);
        self.count(whole, whole_end - start);
        self.note_failure(stop > whole_end);
        match error.kind() {
            // The next run ends the segment.
            io::ErrorKind::FileTooLarge if whole > 0 => (whole, Ok(())),
            _ => (whole, Err(error)),
        }
    }

    /// Whether neither a check nor a repair is due.
    #[inline]
    pub(super) fn needs_nothing(&self) -> bool {
        self.end == SegmentEnd::Whole
            && !self.is_unlinked
            && !self.schedule.is_due(self.shared.clock.coarse())
    }

    /// How many bytes of records go into one call.
    fn max_write_len(&self) -> usize {
        // Long enough that the cost of a call does not matter, short enough that the records of
        // other workers do not wait long for the file.
        const MAX: u64 = 128 * 1024;
        let used = self.active().size + self.end.break_len() as u64;
        let room = self.size_limit.saturating_sub(used);
        // Without room, rotation was refused, and the segment takes all records.
        (if room == 0 { MAX } else { room.min(MAX) }) as usize
    }

    /// Prepares for a record of `len` bytes: checks the log if that is due, and rotates if the
    /// record does not fit.
    #[inline]
    fn prepare(&mut self, len: usize) {
        if self.schedule.is_due(self.shared.clock.coarse()) {
            self.check();
        }
        let len = len + self.end.break_len();
        let active = self.active();
        if overflows(self.size_limit, active.size, active.header_len, len) {
            self.make_room(len);
        }
    }

    /// Counts a record that was appended alone, and returns its number.
    #[inline]
    fn count_record(&mut self, record: &[u8], done: Result<(), PartialWrite>) -> io::Result<u64> {
        done.map_err(|partial| {
            self.note_failure(partial.written > 0);
            partial.error
        })?;
        self.count(1, record.len());
        Ok(self.records())
    }

    #[inline]
    fn count(&mut self, records: usize, bytes: usize) {
        self.shared.journal.counters.records.add(records as u64);
        self.shared.journal.counters.bytes.add(bytes as u64);
    }

    /// Notes that the kernel refused a record, or took a part of it.
    fn note_failure(&mut self, is_torn: bool) {
        if is_torn {
            self.shared.journal.counters.torn.increment();
        }
        self.end = self.end.after_failure(is_torn);
    }

    /// Ends a segment whose file may not grow, because of the process's limit for the size of
    /// files or of the file system's. Returns whether another segment is active now.
    ///
    /// A record that does not fit in a segment of its own is an error.
    #[cold]
    fn ends_segment(&mut self, has_records: bool, partial: &PartialWrite) -> bool {
        let is_full = partial.error.kind() == io::ErrorKind::FileTooLarge;
        let ends = is_full && has_records && self.leave_full();
        if ends && partial.written > 0 {
            self.shared.journal.counters.torn.increment();
        }
        ends
    }

    /// Appends bytes that belong together, in one call if the kernel takes them all.
    #[inline]
    fn put(&mut self, bytes: &[u8]) -> Result<(), PartialWrite> {
        if self.end != SegmentEnd::Whole || self.is_unlinked {
            return self.put_after_failure(bytes);
        }
        match fs::append(&self.active().lease.file, bytes) {
            Ok(taken) if taken == bytes.len() => {
                self.learn_size(taken);
                Ok(())
            }
            taken => self.put_rest(bytes, taken),
        }
    }

    /// Writes the rest of a record at once. If the kernel takes no more, the part that it took
    /// stays.
    #[cold]
    fn put_rest(&mut self, bytes: &[u8], first: io::Result<usize>) -> Result<(), PartialWrite> {
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
            taken = fs::append(&self.active().lease.file, &bytes[written..]);
        }
    }

    /// Learns the end of the file after `written` bytes of our own. It includes the records of
    /// other workers.
    #[inline]
    fn learn_size(&mut self, written: usize) {
        self.active_mut().size += written as u64;
        if let Some(query) = self.size_tracker.due(self.active().size) {
            self.query_size(query);
        }
    }

    /// Learns the end of the file after an append beside others. Returns whether it is shorter than
    /// `at_least`.
    fn learn_end(&self, query: Query, at_least: u64, size: &SegmentSize) -> bool {
        let Ok(end) = fs::append_offset(&self.active().lease.file) else { return false };
        self.check_if_nearly_full(end);
        let agrees = size.learn(end);
        self.size_tracker.record(query, agrees, size.get(), self.trigger.max_size);
        end < at_least
    }

    /// Learns the length of the file, wherever its position is.
    fn query_len(&mut self) {
        if let Ok(entry) = fs::fstat(&self.active().lease.file, self.path()) {
            self.rotator.active_mut().learn_size(entry.len, &self.shared.journal.counters);
        }
    }

    /// Asks the file position, which the append before has moved to the end.
    fn query_size(&mut self, query: Query) {
        let counted = self.active().size;
        let end = fs::append_offset(&self.active().lease.file).unwrap_or(counted);
        self.check_if_nearly_full(end);
        self.rotator.active_mut().learn_size(end, &self.shared.journal.counters);
        self.size_tracker.record(query, end == counted, end, self.trigger.max_size);
    }

    /// Appends after a failure: never to a file that has lost its last name, nor to the end of a
    /// torn record.
    #[cold]
    fn put_after_failure(&mut self, bytes: &[u8]) -> Result<(), PartialWrite> {
        if self.is_unlinked {
            let why = "it was removed and cannot be created again";
            let error = Error::refused(ErrorKind::LogRemoved, "write to", self.path(), why);
            return Err(PartialWrite { written: 0, error: error.into() });
        }
        let is_line = bytes.ends_with(b"\n");
        let needs_break =
            self.end.needs_break(is_line, self.active().size, || self.last_byte().ok());
        self.end = SegmentEnd::Whole;
        if !needs_break {
            return self.put(bytes);
        }
        self.put(&[b"\n", bytes].concat()).map_err(|partial| {
            // Without the line break, the next record still needs one.
            self.end = SegmentEnd::Torn;
            PartialWrite { written: partial.written.saturating_sub(1), ..partial }
        })
    }

    /// Whether the file ends with these bytes. Of many bytes, the last ones are compared.
    fn ends_with(&self, bytes: &[u8]) -> bool {
        const MAX: usize = 4096;
        let tail = &bytes[bytes.len().saturating_sub(MAX)..];
        let Some(start) = self.active().size.checked_sub(tail.len() as u64) else { return false };
        let mut found = vec![0; tail.len()];
        let read = fs::read_at(&self.active().lease.file, &mut found, start, self.path());
        read.is_ok_and(|read| read == tail.len()) && found == tail
    }

    fn last_byte(&self) -> Result<LastByte> {
        let (file, path) = (&self.active().lease.file, self.path());
        let len = fs::fstat(file, path)?.len;
        Ok(LastByte { len, byte: fs::read_last(file, len, path)? })
    }
}
