//! Buffered delivery: log calls copy records into a buffer, and a thread writes it out.
//!
//! There are two buffers. Log calls append to one of them under a mutex that is held only for the
//! copy. The thread swaps it for the other, empty one and writes it out in few large calls. Each
//! call takes whole records and ends where the segment is full.

use super::line_run;
use crate::clock::Deadline;
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
    /// Records accepted since the log was opened.
    taken: u64,
    /// The number of these that were written, or abandoned at the end.
    written: u64,
    /// Dropped records that no line in the log states yet.
    unreported: u64,
    dropped: u64,
    /// Whether the flusher sleeps until there is a first record.
    is_idle: bool,
    /// Whether a caller waits for the buffer to be written.
    is_urgent: bool,
    is_closed: bool,
    /// The error with which the kernel refuses records, until it takes them again.
    failure: Option<Error>,
    /// How many times it has refused any.
    failures: u64,
}

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
    pub(crate) fn push(&self, record: &[u8]) -> io::Result<()> {
        let mut state = self.state.lock();
        if !self.has_room(&state, record.len()) && !self.make_room(&mut state, record.len())? {
            return Ok(());
        }
        self.take(state, record.len(), 1, |batch| batch.push(record))
    }

    /// Buffers as many of these lines as there is room for, each as a record. Without room for the
    /// first line, applies the [`Overflow`] policy to that one. Returns the length of the lines
    /// that were dealt with.
    pub(crate) fn push_lines(&self, lines: &[u8]) -> io::Result<usize> {
        let first = line_run::first(lines);
        let mut state = self.state.lock();
        if !self.has_room(&state, first.len()) && !self.make_room(&mut state, first.len())? {
            return Ok(first.len());
        }
        let room = self.capacity.saturating_sub(state.batch.bytes.len());
        let run = line_run::fitting(lines, room).unwrap_or(first);
        self.take(state, run.len(), line_run::count(run), |batch| batch.push_lines(run))?;
        Ok(run.len())
    }

    /// Appends `records` records of `len` bytes in all, and wakes the flusher if that is necessary.
    #[inline]
    fn take(
        &self,
        mut state: MutexGuard<'_, BufferState>,
        len: usize,
        records: usize,
        push: impl FnOnce(&mut Batch),
    ) -> io::Result<()> {
        let held = state.batch.bytes.len();
        // Once per sleep and once per half a buffer, rather than once per record.
        let wake = state.is_idle || (held < self.half() && held + len >= self.half());
        if wake {
            self.check_process()?;
        }
        push(&mut state.batch);
        state.taken += records as u64;
        state.is_idle = false;
        drop(state);
        if wake {
            self.filled.notify_one();
        }
        Ok(())
    }

    fn half(&self) -> usize {
        self.capacity / 2
    }

    #[inline]
    fn has_room(&self, state: &BufferState, len: usize) -> bool {
        state.batch.is_empty() || state.batch.bytes.len() + len <= self.capacity
    }

    /// Waits for room. Returns `false` if the record is dropped instead.
    #[cold]
    fn make_room(&self, state: &mut MutexGuard<'_, BufferState>, len: usize) -> io::Result<bool> {
        self.check_process()?;
        if self.overflow != Overflow::Block {
            state.dropped += 1;
            state.unreported += 1;
            return Ok(false);
        }
        while !self.has_room(state, len) {
            if let Some(failure) = &state.failure {
                return Err(failure.clone().into());
            }
            state.is_urgent = true;
            self.filled.notify_one();
            self.emptied.wait(state);
        }
        Ok(true)
    }

    /// Waits at most `timeout` until the records accepted so far are in the kernel.
    ///
    /// # Errors
    /// The error with which the kernel refuses them. They stay in the buffer and are tried again.
    pub(crate) fn flush(&self, timeout: Option<Duration>) -> Result<()> {
        let deadline = timeout.map_or(Deadline::never(), Deadline::after);
        let mut state = self.state.lock();
        let (all, failures) = (state.taken, state.failures);
        while state.written < all {
            if let Some(failure) = state.failure.as_ref().filter(|_| state.failures > failures) {
                return Err(failure.clone());
            }
            let Some(left) = deadline.left() else { return Ok(()) };
            state.is_urgent = true;
            self.filled.notify_one();
            self.emptied.wait_for(&mut state, left.min(LONG));
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

    /// The flusher: passes batches to `write`, which removes the records that it wrote, until
    /// [`close`](Self::close). Returns the number of records that the kernel refused at the end.
    pub(crate) fn run(&self, mut write: impl FnMut(&mut Batch) -> Result<()>) -> u64 {
        loop {
            let (mut batch, last) = self.next_batch();
            let mut delay = FIRST_DELAY;
            while !batch.is_empty() {
                let is_last_try = self.is_closing();
                let before = batch.ends.len();
                let done = write(&mut batch);
                let refused = done.is_err();
                self.record_result(before - batch.ends.len(), done);
                if refused && is_last_try {
                    return self.abandon(batch.ends.len());
                }
                if refused {
                    self.pause(delay);
                }
                delay = MAX_DELAY.min(2 * delay);
            }
            if last {
                return 0;
            }
            self.return_spare(batch);
        }
    }

    /// Waits before the next attempt, unless the log is being closed.
    fn pause(&self, delay: Duration) {
        let deadline = Deadline::after(delay);
        let mut state = self.state.lock();
        while let Some(left) = deadline.left().filter(|_| !state.is_closed) {
            self.filled.wait_for(&mut state, left);
        }
    }

    fn is_closing(&self) -> bool {
        self.state.lock().is_closed
    }

    /// Waits for records and takes them all. Also returns whether these are the last ones.
    fn next_batch(&self) -> (Batch, bool) {
        let mut state = self.state.lock();
        while state.batch.is_empty() && !state.is_closed {
            state.is_idle = true;
            self.filled.wait(&mut state);
        }
        state.is_idle = false;
        let deadline = Deadline::after(self.flush_interval);
        while !state.is_closed && !state.is_urgent && state.batch.bytes.len() < self.half() {
            let Some(left) = deadline.left() else { break };
            self.filled.wait_for(&mut state, left.min(LONG));
        }
        state.is_urgent = false;
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
        self.emptied.notify_all();
        (batch, state.is_closed)
    }

    /// Records that `count` more records are in the kernel, and whether it takes the next ones.
    fn record_result(&self, count: usize, done: Result<()>) {
        let mut state = self.state.lock();
        state.written += count as u64;
        match done {
            Ok(()) => state.failure = None,
            Err(error) => {
                state.failure = Some(error);
                state.failures += 1;
            }
        }
        self.emptied.notify_all();
    }

    fn return_spare(&self, mut batch: Batch) {
        batch.clear(self.capacity);
        self.state.lock().spare = batch;
    }

    /// Counts the records that the kernel refuses while the log is being closed as dropped.
    fn abandon(&self, count: usize) -> u64 {
        let mut state = self.state.lock();
        let rest = count as u64 + state.batch.ends.len() as u64;
        state.dropped += rest;
        state.written += rest;
        self.emptied.notify_all();
        rest
    }
}

/// The first and the longest delay after the kernel has refused records.
const FIRST_DELAY: Duration = Duration::from_millis(10);
const MAX_DELAY: Duration = Duration::from_secs(1);

/// Longer than any wait, and short enough for every clock.
const LONG: Duration = Duration::from_secs(3600);
