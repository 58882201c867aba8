//! Buffered delivery: log calls copy records into a buffer, which is written out in large pieces.
//!
//! There are two buffers. Log calls append to one of them under a mutex that is held only for the
//! copy. A thread that writes swaps it for the other, empty one. Only one thread writes at a time.
//!
//! The log call that fills a chunk writes it, so that it wakes no thread and its records stay in
//! the cache of its processor. The flusher, a thread of the log, writes if no log call should:
//!
//! | situation | where |
//! |---|---|
//! | the oldest record is `flush_interval` old | [`RecordBuffer::is_due`] |
//! | half of the buffer is full, and the kernel was slow lately | [`RecordBuffer::is_too_much`] |
//! | the kernel refused records, or they need a rotation or another thread's lock | `handed` |
//! | the log is being closed | [`RecordBuffer::close`] |

use super::line_run;
use crate::clock::{Deadline, Stopwatch};
use crate::config::{Buffering, Overflow};
use crate::error::{Error, Result};
use crate::sync::{Condvar, Mutex, MutexGuard};
use std::io;
use std::time::Duration;

/// Consecutive records.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) bytes: Vec<u8>,
    /// The end of each record.
    pub(crate) ends: Vec<usize>,
}

impl Batch {
    #[inline]
    fn push(&mut self, record: &[u8]) {
        self.bytes.extend_from_slice(record);
        self.ends.push(self.bytes.len());
    }

    fn push_lines(&mut self, lines: &[u8]) {
        let held = self.bytes.len();
        self.bytes.extend_from_slice(lines);
        let mut end = held;
        for line in lines.split_inclusive(|&byte| byte == b'\n') {
            end += line.len();
            self.ends.push(end);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The start of record number `index`, which may be the next one.
    pub(crate) fn start_of(&self, index: usize) -> usize {
        index.checked_sub(1).map_or(0, |last| self.ends[last])
    }

    /// Removes all records, and frees the memory that a very large record took.
    fn clear(&mut self, capacity: usize) {
        self.bytes.clear();
        self.ends.clear();
        self.bytes.shrink_to(capacity);
    }

    /// Removes the first `count` records.
    pub(crate) fn forget(&mut self, count: usize) {
        let bytes = self.start_of(count);
        self.bytes.drain(..bytes);
        self.ends.drain(..count);
        self.ends.iter_mut().for_each(|end| *end -= bytes);
    }
}

/// The buffer between log calls and the flusher.
#[derive(Debug)]
pub(crate) struct RecordBuffer {
    capacity: usize,
    /// How many bytes a log call writes out itself.
    chunk: usize,
    flush_interval: Duration,
    overflow: Overflow,
    state: Mutex<BufferState>,
    /// The flusher waits for records.
    filled: Condvar,
    /// Log calls wait for room, or for the buffer to be written.
    emptied: Condvar,
    /// The process that has the flusher. A process that was forked from it has none.
    process: u32,
}

#[derive(Debug, Default)]
struct BufferState {
    batch: Batch,
    spare: Batch,
    /// Older records than those in `batch`, which a thread could not write. Only the flusher takes
    /// them.
    handed: Batch,
    /// Records accepted since the log was opened.
    taken: u64,
    /// The number of these that were written, or abandoned at the end.
    written: u64,
    /// Dropped records that no line in the log states yet.
    unreported: u64,
    dropped: u64,
    /// Whether a thread writes, or has handed records to the flusher. No other one may write then:
    /// records stay in order.
    is_writing: bool,
    /// Whether the flusher sleeps until there is a record.
    is_idle: bool,
    /// Whether the flusher waits for the thread that writes.
    is_awaited: bool,
    /// Whether a caller waits for the buffer to be written.
    is_urgent: bool,
    is_closed: bool,
    /// Until when log calls leave the writing to the flusher, because the kernel was slow.
    slow_until: Option<Deadline>,
    /// The error with which the kernel refuses records, until it takes them again.
    failure: Option<Error>,
    /// How many times it has refused any.
    failures: u64,
}

/// Writes a batch on the thread of a log call and removes the records that it wrote. Returns `None`
/// if it would have to wait or to rotate. The flusher then writes the batch.
pub(crate) type TryWrite<'a> = &'a dyn Fn(&mut Batch) -> Option<Result<()>>;

/// Log calls.
impl RecordBuffer {
    pub(crate) fn new(buffering: Buffering) -> Self {
        let Buffering { capacity, flush_interval, overflow } = buffering;
        let batch = || Batch {
            bytes: Vec::with_capacity(capacity),
            // Enough for records of the usual size. It grows once for smaller ones.
            ends: Vec::with_capacity(capacity / 64),
        };
        let state = BufferState { batch: batch(), spare: batch(), ..BufferState::default() };
        Self {
            capacity,
            chunk: MAX_CHUNK.min(capacity / 2),
            flush_interval,
            overflow,
            state: Mutex::new(state),
            filled: Condvar::new(),
            emptied: Condvar::new(),
            process: std::process::id(),
        }
    }

    /// Buffers a record, or applies the [`Overflow`] policy if the buffer is full.
    #[inline]
    pub(crate) fn push(&self, record: &[u8], write: TryWrite<'_>) -> io::Result<()> {
        let mut state = self.state.lock();
        if !self.gives_room(&mut state, record.len(), write)? {
            return Ok(());
        }
        self.take(state, record.len(), 1, |batch| batch.push(record), write)
    }

    /// Buffers as many of these lines as there is room for, each as a record. Without room for the
    /// first line, applies the [`Overflow`] policy to that one. Returns the length of the lines
    /// that were dealt with.
    pub(crate) fn push_lines(&self, lines: &[u8], write: TryWrite<'_>) -> io::Result<usize> {
        let first = line_run::first(lines);
        let mut state = self.state.lock();
        if !self.gives_room(&mut state, first.len(), write)? {
            return Ok(first.len());
        }
        let room = self.capacity.saturating_sub(state.batch.bytes.len());
        let run = line_run::fitting(lines, room).unwrap_or(first);
        self.take(state, run.len(), line_run::count(run), |batch| batch.push_lines(run), write)?;
        Ok(run.len())
    }

    /// Appends `records` records of `len` bytes in all.
    #[inline]
    fn take(
        &self,
        mut state: MutexGuard<'_, BufferState>,
        len: usize,
        records: usize,
        push: impl FnOnce(&mut Batch),
        write: TryWrite<'_>,
    ) -> io::Result<()> {
        if state.is_idle || state.batch.bytes.len() + len >= self.chunk {
            return self.take_and_pass_on(state, len, records, push, write);
        }
        push(&mut state.batch);
        state.taken += records as u64;
        Ok(())
    }

    /// Appends records. Then writes the buffer or wakes the flusher, if that is necessary.
    #[cold]
    fn take_and_pass_on(
        &self,
        mut state: MutexGuard<'_, BufferState>,
        len: usize,
        records: usize,
        push: impl FnOnce(&mut Batch),
        write: TryWrite<'_>,
    ) -> io::Result<()> {
        let held = state.batch.bytes.len();
        let writes = held + len >= self.chunk && self.may_write(&state);
        // Once per sleep and once per half a buffer, rather than once per record.
        let fills = held < self.half() && held + len >= self.half();
        if writes || fills || state.is_idle {
            self.check_process()?;
        }
        push(&mut state.batch);
        state.taken += records as u64;
        if writes {
            self.write_out(&mut state, write);
            return Ok(());
        }
        // A thread that writes looks itself how much there is when it has finished.
        let wakes = state.is_idle || (fills && !state.is_writing);
        state.is_idle = false;
        drop(state);
        if wakes {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Whether a log call may write the buffer.
    fn may_write(&self, state: &BufferState) -> bool {
        !state.is_writing && state.slow_until.is_none()
    }

    /// Whether the flusher is to write because there are many records, which log calls leave to it.
    fn is_too_much(&self, state: &BufferState) -> bool {
        state.slow_until.is_some() && state.batch.bytes.len() >= self.half()
    }

    fn half(&self) -> usize {
        self.capacity / 2
    }

    #[inline]
    fn has_room(&self, state: &BufferState, len: usize) -> bool {
        state.batch.is_empty() || state.batch.bytes.len() + len <= self.capacity
    }

    /// Whether there is room for a record, perhaps after a wait. If not, it is dropped.
    #[inline]
    fn gives_room(
        &self,
        state: &mut MutexGuard<'_, BufferState>,
        len: usize,
        write: TryWrite<'_>,
    ) -> io::Result<bool> {
        Ok(self.has_room(state, len) || self.make_room(state, len, write)?)
    }

    /// Waits for room. Returns `false` if the record is dropped instead.
    #[cold]
    fn make_room(
        &self,
        state: &mut MutexGuard<'_, BufferState>,
        len: usize,
        write: TryWrite<'_>,
    ) -> io::Result<bool> {
        self.check_process()?;
        while !self.has_room(state, len) {
            if self.may_write(state) {
                self.write_out(state, write);
            } else if self.overflow != Overflow::Block {
                state.dropped += 1;
                state.unreported += 1;
                return Ok(false);
            } else if let Some(failure) = &state.failure {
                return Err(failure.clone().into());
            } else {
                self.wait_for_writer(state, LONG);
            }
        }
        Ok(true)
    }

    /// Waits until a thread takes the records, or has written some, for at most `time`.
    fn wait_for_writer(&self, state: &mut MutexGuard<'_, BufferState>, time: Duration) {
        // A thread that writes wakes this one when it has finished.
        if !state.is_writing {
            state.is_urgent = true;
            self.filled.notify_one();
        }
        self.emptied.wait_for(state, time);
    }

    /// Waits at most `timeout` until the records accepted so far are in the kernel. Without a limit
    /// it writes them, unless another thread does.
    ///
    /// # Errors
    /// The error with which the kernel refuses them. They stay in the buffer and are tried again.
    pub(crate) fn flush(&self, timeout: Option<Duration>, write: TryWrite<'_>) -> Result<()> {
        let deadline = timeout.map_or(Deadline::never(), Deadline::after);
        let mut state = self.state.lock();
        let (all, failures) = (state.taken, state.failures);
        while state.written < all {
            if let Some(failure) = state.failure.as_ref().filter(|_| state.failures > failures) {
                return Err(failure.clone());
            }
            if timeout.is_none() && !state.is_writing {
                self.write_out(&mut state, write);
                continue;
            }
            let Some(left) = deadline.left() else { return Ok(()) };
            self.wait_for_writer(&mut state, left.min(LONG));
        }
        Ok(())
    }

    /// Fails in a forked child, which has a copy of the buffer, but no flusher.
    pub(crate) fn check_process(&self) -> io::Result<()> {
        if self.process == std::process::id() {
            return Ok(());
        }
        let why = "the buffer belongs to the parent process; open the log again after `fork`";
        Err(io::Error::new(io::ErrorKind::Unsupported, why))
    }

    /// The number of dropped records.
    pub(crate) fn dropped(&self) -> u64 {
        self.state.lock().dropped
    }

    /// Makes the flusher write the buffer once more and end.
    pub(crate) fn close(&self) {
        self.state.lock().is_closed = true;
        self.filled.notify_one();
    }
}

/// Writing.
impl RecordBuffer {
    /// Passes the records to `write` without the mutex, and notes what became of them.
    fn write_out(&self, state: &mut MutexGuard<'_, BufferState>, write: TryWrite<'_>) {
        let mut batch = self.next_batch(state);
        let before = batch.ends.len();
        state.is_writing = true;
        let (done, time) = MutexGuard::unlocked(state, || {
            let time = Stopwatch::start();
            (write(&mut batch), time.elapsed())
        });
        state.written += (before - batch.ends.len()) as u64;
        let is_over = |until: &Deadline| until.left().is_none();
        if time > SLOW {
            state.slow_until = Some(Deadline::after(SLOW_PERIOD));
        } else if state.slow_until.as_ref().is_some_and(is_over) {
            state.slow_until = None;
        }
        match done {
            Some(Ok(())) => state.failure = None,
            Some(Err(error)) => {
                state.failure = Some(error);
                state.failures += 1;
            }
            None => {}
        }
        state.is_writing = !batch.is_empty();
        if state.is_writing {
            state.handed = batch;
        } else {
            batch.clear(self.capacity);
            state.spare = batch;
        }
        if state.is_writing || state.is_awaited || self.is_too_much(state) {
            self.filled.notify_one();
        }
        self.emptied.notify_all();
    }

    /// Takes the oldest records: those that were handed to the flusher, or else all. In place of
    /// dropped records, a line states their number.
    fn next_batch(&self, state: &mut BufferState) -> Batch {
        if !state.handed.is_empty() {
            return std::mem::take(&mut state.handed);
        }
        let spare = std::mem::take(&mut state.spare);
        let mut batch = std::mem::replace(&mut state.batch, spare);
        let unreported = std::mem::take(&mut state.unreported);
        if unreported > 0 && self.overflow == Overflow::DropNewest {
            batch.push(
                format!("[logrotor] {unreported} records dropped here: the buffer was full\n")
                    .as_bytes(),
            );
            state.taken += 1;
        }
        state.is_urgent = false;
        self.emptied.notify_all();
        batch
    }
}

/// The flusher.
impl RecordBuffer {
    /// Passes batches to `write`, which removes the records that it wrote, until
    /// [`close`](Self::close). Returns the number of records that the kernel refused at the end.
    pub(crate) fn run(&self, write: impl Fn(&mut Batch) -> Result<()>) -> u64 {
        let mut delay = FIRST_DELAY;
        let mut state = self.state.lock();
        while self.wait_for_records(&mut state) {
            if state.failure.is_some() {
                self.pause(&mut state, delay);
                delay = MAX_DELAY.min(2 * delay);
            } else {
                delay = FIRST_DELAY;
            }
            let is_last_try = state.is_closed;
            self.write_out(&mut state, &|batch| Some(write(batch)));
            if is_last_try && state.failure.is_some() {
                return self.abandon(&mut state);
            }
        }
        0
    }

    /// Waits until the flusher is to write. Returns `false` once the log is closed and nothing is
    /// left.
    ///
    /// It sleeps for a whole `flush_interval`, also if the buffer is empty: the next records need
    /// not wake it then.
    fn wait_for_records(&self, state: &mut MutexGuard<'_, BufferState>) -> bool {
        let mut deadline = Deadline::after(self.flush_interval);
        while !self.is_due(state, deadline) {
            let is_empty = state.batch.is_empty() && !state.is_writing;
            if is_empty && state.is_closed {
                return false;
            }
            let left = deadline.left();
            let is_idle = left.is_none() && state.batch.is_empty();
            state.is_idle = is_idle;
            // It cannot do now what is due.
            state.is_awaited = state.is_writing && (left.is_none() || state.is_closed);
            self.filled.wait_for(state, left.unwrap_or(LONG).min(LONG));
            state.is_awaited = false;
            state.is_idle = false;
            if is_idle {
                deadline = Deadline::after(self.flush_interval);
            }
        }
        true
    }

    /// Whether the flusher is to write. `deadline` is that of the oldest record.
    fn is_due(&self, state: &BufferState, deadline: Deadline) -> bool {
        let is_wanted = || state.is_closed || state.is_urgent || self.is_too_much(state);
        let is_late = || deadline.left().is_none();
        let has_records = !state.is_writing && !state.batch.is_empty();
        !state.handed.is_empty() || (has_records && (is_wanted() || is_late()))
    }

    /// Waits before the next attempt, unless the log is being closed.
    fn pause(&self, state: &mut MutexGuard<'_, BufferState>, delay: Duration) {
        let deadline = Deadline::after(delay);
        while let Some(left) = deadline.left().filter(|_| !state.is_closed) {
            self.filled.wait_for(state, left);
        }
    }

    /// Counts the records that the kernel refuses while the log is being closed as dropped.
    fn abandon(&self, state: &mut BufferState) -> u64 {
        let rest = (state.handed.ends.len() + state.batch.ends.len()) as u64;
        state.dropped += rest;
        state.written += rest;
        self.emptied.notify_all();
        rest
    }
}

/// The largest chunk that a log call writes out: long enough that the cost of a call does not
/// matter, short enough to stay in the processor's cache and to delay no log call much.
const MAX_CHUNK: usize = 32 * 1024;

/// A write that takes longer means that the kernel is slow, as when it throttles writers to the
/// speed of the disk. Longer than a thread usually waits for a processor.
const SLOW: Duration = Duration::from_millis(20);

/// How long log calls leave the writing to the flusher after a slow write.
const SLOW_PERIOD: Duration = Duration::from_secs(10);

/// The first and the longest delay after the kernel has refused records.
const FIRST_DELAY: Duration = Duration::from_millis(10);
const MAX_DELAY: Duration = Duration::from_secs(1);

/// Longer than any wait, and short enough for every clock.
const LONG: Duration = Duration::from_secs(3600);
