//! When a record checks the log's path and the age of the segment.

use super::next_check::NextCheck;
use crate::clock::{Timestamp, micros};
use crate::pool::MoveObserver;
use std::sync::Arc;
use std::time::Duration;

/// The intervals and limits of a writer's own checks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeouts {
    pub(crate) check_interval: Duration,
    pub(crate) lock_timeout: Duration,
}

/// The time of the next check, and the time from which it is counted.
///
/// Until then only a record's size calls for anything. A clock that was set back to before `set_at`
/// makes the check due as well.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    set_at: i64,
    /// The time that was last set here.
    last: i64,
    next: Arc<NextCheck>,
}

impl Schedule {
    /// Sets the next check: after `interval`, or at the first of the `ends` if that is earlier: the
    /// end of the segment's time, and that of the time before which size alone does not end it.
    ///
    /// A segment whose time is over could not be rotated; it is checked again after `interval`.
    pub(crate) fn set(&mut self, now: i64, interval: Duration, ends: [Timestamp; 2]) {
        let check = now.saturating_add(micros(interval));
        let ends = ends.into_iter().map(Timestamp::micros).filter(|end| *end > now);
        self.last = self.next.set(self.last, ends.fold(check, i64::min));
        self.set_at = now;
    }

    /// Begins a check. Returns whether the segment was reported to be renamed.
    pub(crate) fn begin(&mut self) -> bool {
        let (is_moved, last) = self.next.begin();
        self.last = last;
        is_moved
    }

    /// Has the next record check.
    pub(crate) fn make_due(&self) {
        self.next.make_due();
    }

    #[inline]
    pub(crate) fn is_due(&self, now: i64) -> bool {
        now < self.set_at || self.next.is_due(now)
    }

    /// The time of the next check, for those who may make it earlier.
    pub(crate) fn next(&self) -> Arc<NextCheck> {
        Arc::clone(&self.next)
    }
}

impl MoveObserver for NextCheck {
    fn moved(&self) {
        self.note_move();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(now: i64, ends: [Timestamp; 2]) -> Schedule {
        let mut schedule = Schedule::default();
        schedule.set(now, Duration::from_secs(1), ends);
        schedule
    }

    #[test]
    fn check_is_due_after_the_interval_or_at_the_end_of_the_segment() {
        let late = at(10, [Timestamp::MAX, Timestamp::MIN]);
        assert!(!late.is_due(10) && !late.is_due(1_000_009) && late.is_due(1_000_010));
        let end = Timestamp::from_micros;
        for ends in [[end(500), end(600)], [end(600), end(500)], [end(10), end(500)]] {
            let early = at(10, ends);
            assert!(!early.is_due(499) && early.is_due(500));
        }
        let over = at(10, [end(10), end(9)]);
        assert!(!over.is_due(1_000_009) && over.is_due(1_000_010));
    }

    #[test]
    fn check_is_due_if_the_clock_was_set_back() {
        assert!(at(10, [Timestamp::MAX; 2]).is_due(9));
        assert!(Schedule::default().is_due(0));
    }

    #[test]
    fn report_during_a_check_makes_the_next_one_due() {
        let never = [Timestamp::MAX; 2];
        let mut schedule = at(10, never);
        schedule.make_due();
        schedule.next().moved();
        schedule.make_due();
        assert!(schedule.is_due(10) && schedule.begin(), "it was renamed");
        schedule.set(20, Duration::from_secs(1), never);
        assert!(!schedule.is_due(20));
        assert!(!schedule.begin());
        schedule.next().moved();
        schedule.set(30, Duration::from_secs(1), never);
        schedule.set(40, Duration::from_secs(1), never);
        assert!(schedule.is_due(40) && schedule.begin());
    }
}
