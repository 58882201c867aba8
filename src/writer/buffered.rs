//! Buffered delivery: log calls copy into a buffer, and a thread writes it out.
//!
//! Two buffers take turns. Log calls append to one under a mutex that is held for a copy only; the
//! thread swaps it for the other, empty one, and writes it out in few large calls, each of which takes
//! whole records and ends where the segment is full.

use super::line_run;
use crate::clock::Deadline;
use crate::config::{Buffering, Overflow};
use crate::error::{Error, Result};
use crate::sync::{Condvar, Mutex, MutexGuard};
use std::io;
use std::time::Duration;

/// Records one after another.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) bytes: Vec<u8>,
    /// Where each record ends.
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

    /// Where record number `index` starts, or would start.
    pub(crate) fn start_of(&self, index: usize) -> usize {
        index.checked_sub(1).map_or(0, |last| self.ends[last])
    }

    /// Empties it, and gives back what a record far beyond the usual size made it take.
    fn clear(&mut self, capacity: usize) {
        self.bytes.clear();
        self.ends.clear();
        self.bytes.shrink_to(capacity);
    }

    /// Forgets the first `count` records.
    pub(crate) fn forget(&mut self, count: usize) {
        let bytes = self.start_of(count);
        self.bytes.drain(..bytes);
        self.ends.drain(..count);
        self.ends.iter_mut().for_each(|end| *end -= bytes);
    }
}

/// The buffer between log calls and the thread that writes.
#[derive(Debug)]
pub(crate) struct RecordBuffer {
    capacity: usize,
    flush_interval: Duration,
    overflow: Overflow,
    state: Mutex<BufferState>,
    /// The thread waits for records.
    filled: Condvar,
    /// Log calls wait for room, or for all to be written.
    emptied: Condvar,
    /// The process that has the thread; one that was forked from it has not.
    process: u32,
}

#[derive(Debug, Default)]
struct BufferState {
    batch: Batch,
    spare: Batch,
    /// Records taken since the log was opened.
    taken: u64,
    /// Of these, written, or given up at the end.
    written: u64,
    /// Records dropped that no line has told of yet.
    unreported: u64,
    dropped: u64,
    /// Whether the thread sleeps until there is a first record.
    is_idle: bool,
    /// Whether somebody waits for what is there to be written now.
    is_urgent: bool,
    is_closed: bool,
    /// What the kernel refuses records with, until it takes them again; and how often it has.
    failure: Option<Error>,
    failures: u64,
}

impl RecordBuffer {
    pub(crate) fn new(buffering: Buffering) -> Self {
        let Buffering { capacity, flush_interval, overflow } = buffering;
        let batch = || Batch {
            bytes: Vec::with_capacity(capacity),
            // Enough for records of the usual size; it grows once for smaller ones.
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

    /// Takes a record, or does with it what [`Overflow`] says.
    #[inline]
    pub(crate) fn push(&self, record: &[u8]) -> io::Result<()> {
        let mut state = self.state.lock();
        if !self.has_room(&state, record.len()) && !self.make_room(&mut state, record.len())? {
            return Ok(());
        }
        self.take(state, record.len(), 1, |batch| batch.push(record))
    }

    /// Takes as many of these lines as there is room for, each as a record, and the first in any case, or does
    /// with that what [`Overflow`] says. Returns the bytes of those that it has dealt with.
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

    /// Puts `records` records of `len` bytes in all into the buffer, and wakes the thread if need be.
    #[inline]
    fn take(
        &self,
        mut state: MutexGuard<'_, BufferState>,
        len: usize,
        records: usize,
        push: impl FnOnce(&mut Batch),
    ) -> io::Result<()> {
        let held = state.batch.bytes.len();
        // Once per sleep, and once per half a buffer, not once per record.
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

    /// Waits for room; `false` if the record is dropped instead.
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

    /// Waits until all that was taken before is in the kernel, at most for `timeout`.
    ///
    /// # Errors
    /// What the kernel refuses it with; it stays in the buffer, and is tried again.
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

    /// Fails in a forked child, which has a copy of the buffer, but no thread that empties it.
    pub(crate) fn check_process(&self) -> io::Result<()> {
        if self.process == std::process::id() {
            return Ok(());
        }
        let why = "the buffer of this log is its parent process's; after `fork`, open the log anew";
        Err(io::Error::new(io::ErrorKind::Unsupported, why))
    }

    /// How many records were dropped.
    pub(crate) fn dropped(&self) -> u64 {
        self.state.lock().dropped
    }

    /// Has the thread write what there is, once, and end.
    pub(crate) fn close(&self) {
        self.state.lock().is_closed = true;
        self.filled.notify_one();
    }

    /// The thread: passes batches to `write`, which takes out of one what it could write, until
    /// [`close`](Self::close). Returns how many records the kernel refused to the last.
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

    /// Waits before the kernel is asked again, unless the log is being closed.
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

    /// Waits for records, and takes them all; and whether these are the last.
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

    /// Notes that `count` more records are in the kernel, and whether it takes the next.
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

    /// Counts records as dropped that the kernel refuses while the log is being closed.
    fn abandon(&self, count: usize) -> u64 {
        let mut state = self.state.lock();
        let rest = count as u64 + state.batch.ends.len() as u64;
        state.dropped += rest;
        state.written += rest;
        self.emptied.notify_all();
        rest
    }
}

/// How soon the kernel is asked again after it has refused records, at first and at most.
const FIRST_DELAY: Duration = Duration::from_millis(10);
const MAX_DELAY: Duration = Duration::from_secs(1);

/// Longer than anybody waits, and short enough for every clock.
const LONG: Duration = Duration::from_secs(3600);
