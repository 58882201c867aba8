//! The time of a log's next check, which the log's thread makes earlier.
//!
//! A record compares one number with the clock. A report that the segment was renamed makes this
//! number small, so that the next record checks the path, and costs no record anything.

use crate::sync::atomic::{
    AtomicI64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

/// The time of the next check, in microseconds of the coarse clock.
// On cache lines of its own: each record reads it, and its neighbors may change.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct NextCheck(AtomicI64);

/// The segment was renamed: the check is due.
const MOVED: i64 = i64::MIN;

/// The check is due for another reason.
const DUE: i64 = MOVED + 1;

/// A check is on its way.
const CHECKING: i64 = i64::MAX;

impl NextCheck {
    #[inline]
    pub(crate) fn is_due(&self, now: i64) -> bool {
        now >= self.0.load(Relaxed)
    }

    /// Notes that the segment was renamed, and makes the check due.
    pub(crate) fn note_move(&self) {
        self.0.store(MOVED, Release);
    }

    /// Makes the check due.
    pub(crate) fn make_due(&self) {
        self.0.fetch_min(DUE, Release);
    }

    /// Begins a check, which will see all that was reported before. Returns whether the segment
    /// was reported to be renamed, and what to pass to [`set`](Self::set).
    pub(crate) fn begin(&self) -> (bool, i64) {
        (self.0.swap(CHECKING, AcqRel) == MOVED, CHECKING)
    }

    /// Sets the next check. `last` is the time that was set last, by the only thread that may. If
    /// another was reported meanwhile, that stays. Returns what to pass next time.
    pub(crate) fn set(&self, last: i64, next: i64) -> i64 {
        // Invariant: what came after the last check began is looked at by the next one.
        match self.0.compare_exchange(last, next, AcqRel, Acquire) {
            Ok(_) => next,
            Err(_) => last,
        }
    }
}
