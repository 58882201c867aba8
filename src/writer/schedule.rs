//! When a record checks the log's path and the age of the segment.

use crate::clock::{Timestamp, micros};
use std::time::Duration;

/// The intervals and limits of a writer's own checks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeouts {
    pub(crate) check_interval: Duration,
    pub(crate) lock_timeout: Duration,
}

/// The time of the next check, in microseconds of the coarse clock.
///
/// Until then only a record's size calls for anything. A clock that was set back to before `set_at`
/// makes the check due as well.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Schedule {
    set_at: i64,
    next_check: i64,
}

impl Schedule {
    /// Sets the next check: after `interval`, or at the end of the segment's time if that is
    /// earlier.
    ///
    /// A segment whose time is over could not be rotated; it is checked again after `interval`.
    pub(crate) fn new(now: i64, interval: Duration, end: Timestamp) -> Self {
        let check = now.saturating_add(micros(interval));
        let end = end.micros();
        Self { set_at: now, next_check: if end > now { check.min(end) } else { check } }
    }

    #[inline]
    pub(crate) fn is_due(self, now: i64) -> bool {
        now < self.set_at || now >= self.next_check
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_is_due_after_the_interval_or_at_the_end_of_the_segment() {
        let second = Duration::from_secs(1);
        let late = Schedule::new(10, second, Timestamp::MAX);
        assert!(!late.is_due(10) && !late.is_due(1_000_009) && late.is_due(1_000_010));
        let early = Schedule::new(10, second, Timestamp::from_micros(500));
        assert!(!early.is_due(499) && early.is_due(500));
        let over = Schedule::new(10, second, Timestamp::from_micros(10));
        assert!(!over.is_due(1_000_009) && over.is_due(1_000_010));
    }

    #[test]
    fn check_is_due_if_the_clock_was_set_back() {
        assert!(Schedule::new(10, Duration::MAX, Timestamp::MAX).is_due(9));
        assert!(Schedule::default().is_due(0));
    }
}
