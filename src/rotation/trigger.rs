//! When a segment has had its time: decisions on plain values, no effects.

use super::period::{Period, Zone};
use crate::clock::Timestamp;
use std::time::Duration;

/// What makes a segment due. Whichever limit is reached first does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trigger {
    pub(crate) max_size: u64,
    pub(crate) max_age: Option<Duration>,
    pub(crate) rotate_every: Option<Period>,
    pub(crate) zone: Zone,
}

impl Trigger {
    /// Whether a record of `len` bytes has no room in a segment that holds `size`, of which `header`
    /// bytes are no record. A segment without a record takes any, however large.
    #[inline]
    pub(crate) fn overflows(&self, size: u64, header: u64, len: usize) -> bool {
        size > header && size.saturating_add(len as u64) > self.max_size
    }

    /// The time during which a segment that was started at `started` may stay the active one.
    pub(crate) fn window(&self, started: Timestamp) -> Window {
        let by_age = self.max_age.map(|age| Window::new(started, started.plus(age), age));
        let by_period = self.rotate_every.map(|period| {
            let end = self.zone.boundary_after(period, started);
            Window::new(started, end, period.length())
        });
        match (by_age, by_period) {
            (None, None) => Window::ALWAYS,
            (Some(window), None) | (None, Some(window)) => window,
            (Some(a), Some(b)) => a.and(b),
        }
    }
}

/// From when to when (exclusive) a segment may be active.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    from: Timestamp,
    until: Timestamp,
}

impl Window {
    const ALWAYS: Self = Self { from: Timestamp::MIN, until: Timestamp::MAX };

    /// A clock that reads earlier than `started` was set back, or differs from the one that started
    /// the segment. By a little, that must not rotate again and again; by more than the segment's
    /// whole span, waiting for the clock to catch up would keep it for ever.
    fn new(started: Timestamp, until: Timestamp, span: Duration) -> Self {
        const AT_LEAST: Duration = Duration::from_secs(3600);
        Self { from: started.minus(span.max(AT_LEAST)), until }
    }

    fn and(self, other: Self) -> Self {
        Self { from: self.from.max(other.from), until: self.until.min(other.until) }
    }

    pub(crate) fn contains(&self, now: Timestamp) -> bool {
        self.from <= now && now < self.until
    }

    /// When it ends, unless the clock is set back first.
    pub(crate) fn until(&self) -> Timestamp {
        self.until
    }
}

/// When the active segment was started, so that all workers agree and a restart changes nothing: at
/// its file's birth; where that cannot be told, when the newest backup was finished; without one, when
/// `first` says: the birth as far as it can be told (nothing of that name came before), or the last
/// change. Only those stand-ins can lie in the future, and then count as `now`.
pub(crate) fn started(
    birth: Option<Timestamp>,
    newest_backup: Option<Timestamp>,
    first: Timestamp,
    now: Timestamp,
) -> Timestamp {
    birth.unwrap_or_else(|| newest_backup.unwrap_or(first).min(now))
}

/// When a segment was started that has `started` for its birth, by the clock of the worker that did it, if that
/// is in the name of the newest backup. A worker whose clock is ahead of the file system's ends a period early;
/// without this the others, and itself after a restart, would end it once more.
pub(crate) fn started_by_name(
    started: Timestamp,
    newest_backup: Option<Timestamp>,
    now: Timestamp,
) -> Timestamp {
    // Names do not go back with a clock that was far ahead and then set right; they say nothing of this then.
    const MOST_AHEAD: Duration = Duration::from_secs(600);
    let latest = now.plus(MOST_AHEAD);
    newest_backup.filter(|newest| *newest <= latest).map_or(started, |newest| newest.max(started))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn trigger() -> Trigger {
        Trigger { max_size: 100, max_age: None, rotate_every: None, zone: Zone::Utc }
    }

    fn hour(n: i64) -> Timestamp {
        Timestamp::from_micros(n * 3_600_000_000)
    }

    #[test]
    fn segment_takes_records_up_to_exactly_its_limit() {
        assert!(!trigger().overflows(60, 0, 40));
        assert!(trigger().overflows(60, 0, 41));
    }

    #[test]
    fn segment_without_a_record_takes_any() {
        assert!(!trigger().overflows(0, 0, 1000));
        assert!(!trigger().overflows(10, 10, 1000));
        assert!(trigger().overflows(11, 10, 1000));
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
    fn name_of_the_newest_backup_counts_if_it_is_later_and_not_far_ahead() {
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
