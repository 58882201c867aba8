//! Lets records be appended side by side, and everything else by one thread alone.
//!
//! A record takes the shared side of a read-write lock. It reserves its room beforehand, with one
//! atomic addition to the segment's size, so a segment never exceeds its limit. Rotation, the
//! scheduled check and repairs take the exclusive side: while one of them works, no record is on
//! its way to the kernel.
//!
//! A record that may not pass beside others (it does not fit, a check is due, or the segment's end
//! needs a repair) gives its room back and goes on alone.

use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};
use crate::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::io;
use std::ops::{Deref, DerefMut};

/// The size of the active segment, with the room of the records that are on their way.
#[derive(Debug, Default)]
pub(crate) struct SegmentSize(AtomicU64);

impl SegmentSize {
    #[inline]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    fn set(&self, size: u64) {
        self.0.store(size, Relaxed);
    }

    /// Reserves room for `len` bytes. Returns where it begins, unless other processes have written
    /// since the size was learned.
    #[inline]
    fn reserve(&self, len: usize) -> u64 {
        self.0.fetch_add(len as u64, Relaxed)
    }

    /// Gives back room that was reserved and not used.
    #[inline]
    fn release(&self, len: usize) {
        self.0.fetch_sub(len as u64, Relaxed);
    }

    /// Learns the file's present end. Returns whether all of it was known.
    ///
    /// The records of other threads that are on their way may be in neither number, so an end that
    /// is lower than the size says nothing.
    pub(crate) fn learn(&self, end: u64) -> bool {
        self.0.fetch_max(end, Relaxed) >= end
    }
}

/// A write of which the kernel took a part, or nothing.
#[derive(Debug)]
pub(crate) struct PartialWrite {
    /// Bytes taken.
    pub(crate) written: usize,
    pub(crate) error: io::Error,
}

impl PartialWrite {
    /// As the outcome of a write of which `written` bytes were taken before.
    pub(crate) fn after(self, written: usize) -> Self {
        Self { written: written + self.written, error: self.error }
    }
}

/// The outcome of a record that was appended beside others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Appended {
    /// Its number: no record with a higher number was complete before it.
    pub(crate) number: u64,
    /// Whether the file is shorter than the records written to it.
    pub(crate) is_cut_short: bool,
}

/// The state that an [`AppendLock`] protects.
pub(crate) trait Append {
    /// Whether a record may be appended beside others now.
    fn is_ready(&self) -> bool;

    /// Whether a record of `len` bytes may follow `size` bytes.
    fn has_room(&self, size: u64, len: usize) -> bool;

    /// Appends a record beside others, to the room that begins at `offset`.
    fn append_beside(
        &self,
        record: &[u8],
        offset: u64,
        size: &SegmentSize,
    ) -> Result<Appended, PartialWrite>;

    /// Appends a record alone, and returns its number. Checks and rotates first if that is due.
    fn append_alone(&mut self, record: &[u8]) -> io::Result<u64>;

    /// Appends the rest of a record of which the kernel took a part beside others. Returns its
    /// number.
    fn complete(&mut self, record: &[u8], partial: PartialWrite) -> io::Result<u64>;

    /// Learns that the file is shorter than the records written to it.
    fn note_cut(&mut self);

    /// Takes over the size of the active segment.
    fn enter(&mut self, size: u64);

    /// Returns the size of the active segment, which may be another one by now.
    fn leave(&mut self) -> u64;
}

/// A read-write lock whose shared side appends records.
// On cache lines of its own: each record changes the size and the lock.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct AppendLock<T> {
    size: SegmentSize,
    state: RwLock<T>,
}

impl<T: Append> AppendLock<T> {
    pub(crate) fn new(mut state: T) -> Self {
        let size = SegmentSize::default();
        size.set(state.leave());
        Self { size, state: RwLock::new(state) }
    }

    /// The state, beside records.
    pub(crate) fn shared(&self) -> RwLockReadGuard<'_, T> {
        self.state.read()
    }

    /// The state, with no record on its way to the kernel.
    pub(crate) fn exclusive(&self) -> Exclusive<'_, T> {
        self.enter(self.state.write())
    }

    /// As `exclusive`, unless the call would wait for another thread, or for this one.
    pub(crate) fn try_exclusive(&self) -> Option<Exclusive<'_, T>> {
        Some(self.enter(self.state.try_write()?))
    }

    fn enter<'a>(&'a self, mut state: RwLockWriteGuard<'a, T>) -> Exclusive<'a, T> {
        state.enter(self.size.get());
        Exclusive { size: &self.size, state }
    }

    /// Appends one record, and returns its number.
    #[inline]
    pub(crate) fn append(&self, record: &[u8]) -> io::Result<u64> {
        let state = self.state.read();
        if state.is_ready() {
            let offset = self.size.reserve(record.len());
            if state.has_room(offset, record.len()) {
                return match state.append_beside(record, offset, &self.size) {
                    Ok(Appended { number, is_cut_short: false }) => Ok(number),
                    outcome => self.repair(state, record, outcome),
                };
            }
            self.size.release(record.len());
        }
        drop(state);
        self.exclusive().append_alone(record)
    }

    /// Goes on alone after a record that left something to repair.
    #[cold]
    fn repair(
        &self,
        state: RwLockReadGuard<'_, T>,
        record: &[u8],
        outcome: Result<Appended, PartialWrite>,
    ) -> io::Result<u64> {
        if let Err(partial) = &outcome {
            self.size.release(record.len() - partial.written);
        }
        drop(state);
        match outcome {
            Ok(appended) => {
                self.exclusive().note_cut();
                Ok(appended.number)
            }
            Err(partial) => self.exclusive().complete(record, partial),
        }
    }
}

/// The exclusive side of an [`AppendLock`].
pub(crate) struct Exclusive<'a, T: Append> {
    size: &'a SegmentSize,
    state: RwLockWriteGuard<'a, T>,
}

impl<T: Append> Deref for Exclusive<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.state
    }
}

impl<T: Append> DerefMut for Exclusive<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.state
    }
}

impl<T: Append> Drop for Exclusive<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // Before the lock is released, which happens after this.
        self.size.set(self.state.leave());
    }
}
