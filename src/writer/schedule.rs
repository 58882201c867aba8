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
    /// Sets the next check: after `interval`, or at the first of the `ends` if that is earlier: the
    /// end of the segment's time, and that of the time before which size alone does not end it.
    ///
    /// A segment whose time is over could not be rotated; it is checked again after `interval`.
    pub(crate) fn new(now: i64, interval: Duration, ends: [Timestamp; 2]) -> Self {
        let check = now.saturating_add(micros(interval));
        let ends = ends.into_iter().map(Timestamp::micros).filter(|end| *end > now);
        Self { set_at: now, next_check: ends.fold(check, i64::min) }
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
        let never = [Timestamp::MAX, Timestamp::MIN];
        let late = Schedule::new(10, second, never);
        assert!(!late.is_due(10) && !late.is_due(1_000_009) && late.is_due(1_000_010));
        let at = Timestamp::from_micros;
        for ends in [[at(500), at(600)], [at(600), at(500)], [at(10), at(500)]] {
            let early = Schedule::new(10, second, ends);
            assert!(!early.is_due(499) && early.is_due(500));
        }
        let over = Schedule::new(10, second, [at(10), at(9)]);
        assert!(!over.is_due(1_000_009) && over.is_due(1_000_010));
    }

    #[test]
    fn check_is_due_if_the_clock_was_set_back() {
        assert!(Schedule::new(10, Duration::MAX, [Timestamp::MAX; 2]).is_due(9));
        assert!(Schedule::default().is_due(0));
    }
}
