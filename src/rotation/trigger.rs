//! When a segment is due: decisions on plain values, without effects.

use super::period::{Period, Zone};
use crate::clock::Timestamp;
use std::time::Duration;

/// The limits of a segment. The first one that is reached makes it due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trigger {
    pub(crate) max_size: u64,
    /// How long a segment is not rotated for its size, unless it reaches `hard_max_size`.
    pub(crate) min_interval: Option<Duration>,
    pub(crate) hard_max_size: u64,
    pub(crate) max_age: Option<Duration>,
    pub(crate) rotate_every: Option<Period>,
    /// The time of the day, since midnight, at which periods begin.
    pub(crate) rotate_at: Duration,
    pub(crate) zone: Zone,
}

impl Trigger {
    /// Returns the maximum size, at this time, of a segment that was started at `started`.
    ///
    /// A clock that differs from the start by more than the interval, either way, ends the wait: a
    /// clock that was set back does not prolong it without limit.
    pub(crate) fn size_limit(&self, started: Timestamp, now: Timestamp) -> u64 {
        let is_young =
            |interval: Duration| started.minus(interval) < now && now < started.plus(interval);
        if self.min_interval.is_some_and(is_young) { self.hard_max_size } else { self.max_size }
    }

    /// Returns when the size limit of a segment falls; the earliest time if it does not.
    pub(crate) fn interval_end(&self, started: Timestamp) -> Timestamp {
        self.min_interval.map_or(Timestamp::MIN, |interval| started.plus(interval))
    }

    /// Returns the time during which a segment that was started at `started` may stay active.
    pub(crate) fn window(&self, started: Timestamp) -> Window {
        let by_age = self.max_age.map(|age| Window::new(started, started.plus(age), age));
        let by_period = self.rotate_every.map(|period| {
            let end = self.zone.boundary_after(period, self.rotate_at, started);
            Window::new(started, end, period.length())
        });
        match (by_age, by_period) {
            (None, None) => Window::ALWAYS,
            (Some(window), None) | (None, Some(window)) => window,
            (Some(a), Some(b)) => a.and(b),
        }
    }
}

/// Whether a record of `len` bytes exceeds `limit` in a segment of `size` bytes, of which `header`
/// bytes are the header. A segment without a record takes any record.
#[inline]
pub(crate) fn overflows(limit: u64, size: u64, header: u64, len: usize) -> bool {
    size > header && size.saturating_add(len as u64) > limit
}

/// The time during which a segment may be active. The end is exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    from: Timestamp,
    until: Timestamp,
}

impl Window {
    const ALWAYS: Self = Self { from: Timestamp::MIN, until: Timestamp::MAX };

    /// A clock that reads earlier than `started` was set back, or differs from the clock of the
    /// worker that started the segment. A small difference must not rotate again and again. A
    /// difference of more than the segment's whole span would keep the segment until the clock
    /// catches up.
    fn new(started: Timestamp, until: Timestamp, span: Duration) -> Self {
        const AT_LEAST: Duration = Duration::from_secs(3600);
        Self { from: started.minus(span.max(AT_LEAST)), until }
    }

    fn and(self, other: Self) -> Self {
        Self { from: self.from.max(other.from), until: self.until.min(other.until) }
    }

    /// The same window by a clock that is ahead by `lead`.
    pub(super) fn by_clock_ahead(self, lead: Duration) -> Self {
        Self { from: self.from.plus(lead), until: self.until.plus(lead) }
    }

    pub(crate) fn contains(&self, now: Timestamp) -> bool {
        self.from <= now && now < self.until
    }

    /// Its end, unless the clock is set back first.
    pub(crate) fn until(&self) -> Timestamp {
        self.until
    }
}

/// Returns the start of the active segment, which is the same for all workers and after a restart.
///
/// It is the birth of the file. Without a known birth, it is the time of the newest backup. Without
/// a backup, it is `first`: the earliest possible birth, or the last change. Only these two can be
/// in the future, and then count as `now`.
pub(crate) fn started(
    birth: Option<Timestamp>,
    newest_backup: Option<Timestamp>,
    first: Timestamp,
    now: Timestamp,
) -> Timestamp {
    birth.unwrap_or_else(|| newest_backup.unwrap_or(first).min(now))
}

/// Corrects the start of a segment, whose file was born at `started`, by the time in the newest
/// backup's name: the start by the clock of the worker that rotated.
///
/// A worker whose clock is ahead of the file system's ends a period early. Without this correction
/// the other workers would end it once more, and so would that worker after a restart.
pub(crate) fn started_by_name(
    started: Timestamp,
    newest_backup: Option<Timestamp>,
    now: Timestamp,
) -> Timestamp {
    // Names stay ahead after a clock that was far ahead is corrected, and then say nothing about
    // the start.
    const MOST_AHEAD: Duration = Duration::from_secs(600);
    let latest = now.plus(MOST_AHEAD);
    newest_backup.filter(|newest| *newest <= latest).map_or(started, |newest| newest.max(started))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn trigger() -> Trigger {
        Trigger {
            max_size: 100,
            min_interval: None,
            hard_max_size: 400,
            max_age: None,
            rotate_every: None,
            rotate_at: Duration::ZERO,
            zone: Zone::Utc,
        }
    }

    fn hour(n: i64) -> Timestamp {
        Timestamp::from_micros(n * 3_600_000_000)
    }

    #[test]
    fn segment_takes_records_up_to_exactly_its_limit() {
        assert!(!overflows(100, 60, 0, 40));
        assert!(overflows(100, 60, 0, 41));
    }

    #[test]
    fn segment_without_a_record_takes_any() {
        assert!(!overflows(100, 0, 0, 1000));
        assert!(!overflows(100, 10, 10, 1000));
        assert!(overflows(100, 11, 10, 1000));
    }

    #[test]
    fn size_limit_is_the_hard_one_until_the_interval_is_over() {
        assert_eq!(trigger().size_limit(hour(7), hour(7)), 100);
        assert_eq!(trigger().interval_end(hour(7)), Timestamp::MIN);
        let rare = Trigger { min_interval: Some(HOUR), ..trigger() };
        assert_eq!(rare.interval_end(hour(7)), hour(8));
        let last = Timestamp::from_micros(hour(8).micros() - 1);
        for (now, limit) in [(hour(7), 400), (last, 400), (hour(8), 100), (hour(9), 100)] {
            assert_eq!(rare.size_limit(hour(7), now), limit);
        }
        assert_eq!(rare.size_limit(hour(7), hour(6).next()), 400, "a clock that is a little back");
        assert_eq!(rare.size_limit(hour(7), hour(6)), 100, "a clock that is far back");
    }

    #[test]
    fn no_time_limit_means_never_due() {
        let window = trigger().window(hour(7));
        assert!(window.contains(hour(0)) && window.contains(hour(1_000_000)));
    }

    #[test]
    fn earliest_limit_ends_the_window() {
        let by_age = Trigger { max_age: Some(2 * HOUR), ..trigger() };
        assert_eq!(by_age.window(hour(23)).until(), hour(25));
        let both = Trigger { rotate_every: Some(Period::Daily), ..by_age };
        assert_eq!(both.window(hour(23)).until(), hour(24));
        assert!(!both.window(hour(23)).contains(hour(24)));
    }

    #[test]
    fn clock_a_little_back_is_not_due_and_far_back_is() {
        let daily = Trigger { rotate_every: Some(Period::Daily), ..trigger() };
        let window = daily.window(hour(100));
        assert!(window.contains(hour(77)));
        assert!(!window.contains(hour(75)));
        let minutely = Trigger { rotate_every: Some(Period::Minutely), ..trigger() };
        assert!(minutely.window(hour(100)).contains(hour(99)));
    }

    #[test]
    fn name_of_the_newest_backup_counts_if_later_and_plausible() {
        let (birth, now) = (hour(1), hour(3));
        assert_eq!(started_by_name(birth, None, now), birth);
        assert_eq!(started_by_name(birth, Some(hour(0)), now), birth);
        assert_eq!(started_by_name(birth, Some(hour(2)), now), hour(2));
        let ahead = now.plus(Duration::from_secs(600));
        assert_eq!(started_by_name(birth, Some(ahead), now), ahead);
        assert_eq!(started_by_name(birth, Some(ahead.next()), now), birth);
    }

    #[test]
    fn age_counts_from_birth_and_else_from_the_newest_backup() {
        let [birth, backup, modified, now] = [1, 2, 3, 4].map(hour);
        assert_eq!(started(Some(birth), Some(backup), modified, now), birth);
        assert_eq!(started(None, Some(backup), modified, now), backup);
        assert_eq!(started(None, None, modified, now), modified);
        assert_eq!(started(None, Some(now.next()), modified, now), now);
    }
}
