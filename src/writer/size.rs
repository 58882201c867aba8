//! How often the kernel is asked for the size of the active segment.

use crate::clock::Stopwatch;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Counts the size, and asks the kernel when other workers may have filled the segment since it was
/// asked last.
///
/// Records that are appended side by side may change it at the same time. A change that is lost
/// costs a query too many or too few.
#[derive(Debug)]
pub(crate) struct SizeTracker {
    /// How many times in a row the count was right.
    agreed: AtomicU32,
    /// The counted size at which to ask again. 0 means with the next record.
    next_size: AtomicU64,
    /// The time at which to ask again, in nanoseconds of `age`.
    next_time: AtomicU64,
    /// The end of the file at the last query; 0 if there was none.
    last_end: AtomicU64,
    age: Stopwatch,
}

/// A query that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Query {
    /// A time before the kernel is asked.
    time: u64,
}

impl SizeTracker {
    /// After so many right counts, no other worker seems to write.
    const TRUSTED_AFTER: u32 = 1024;
    /// How many bytes are then written without a query. A segment may grow beyond its limit by as
    /// much when another worker begins to write.
    const MAX_UNQUERIED: u64 = 4096;
    /// The bytes that all workers together append to one file in a nanosecond, at most. The kernel
    /// takes appends to a file one after the other, and no processor copies faster into memory
    /// that it has just been given.
    const FASTEST: u64 = 16;
    /// The longest time without a query, in nanoseconds: others may shorten the file as well.
    const MAX_TIME: u64 = 1_000_000;

    pub(crate) fn new() -> Self {
        Self {
            agreed: AtomicU32::new(0),
            next_size: AtomicU64::new(0),
            next_time: AtomicU64::new(0),
            last_end: AtomicU64::new(0),
            age: Stopwatch::start(),
        }
    }

    /// Whether the record that ends at the counted `size` asks.
    #[inline]
    pub(crate) fn due(&self, size: u64) -> Option<Query> {
        if size < self.next_size.load(Relaxed) {
            return None;
        }
        let time = nanos(self.age.elapsed());
        (time >= self.next_time.load(Relaxed)).then_some(Query { time })
    }

    /// Has the next record ask.
    pub(crate) fn reset(&self) {
        self.next_size.store(0, Relaxed);
        self.next_time.store(0, Relaxed);
        self.last_end.store(0, Relaxed);
    }

    /// Notes the end of the file. Returns by how much it has grown since the query before.
    pub(crate) fn growth_to(&self, end: u64) -> u64 {
        let last = self.last_end.load(Relaxed);
        self.last_end.store(end, Relaxed);
        if last == 0 { 0 } else { end.saturating_sub(last) }
    }

    /// Records whether the count agreed with the kernel's `size`, and when to ask again before the
    /// segment exceeds `limit`.
    pub(crate) fn record(&self, query: Query, agrees: bool, size: u64, limit: u64) {
        let agreed = if agrees { self.agreed.load(Relaxed).saturating_add(1) } else { 0 };
        self.agreed.store(agreed, Relaxed);
        let unqueried = Self::MAX_UNQUERIED.min(limit / 16);
        let is_trusted = agreed >= Self::TRUSTED_AFTER;
        self.next_size.store(if is_trusted { size + unqueried } else { 0 }, Relaxed);
        let time_to_fill = limit.saturating_sub(size) / Self::FASTEST;
        self.next_time.store(query.time + time_to_fill.min(Self::MAX_TIME), Relaxed);
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Query = Query { time: 0 };

    fn is_due(tracker: &SizeTracker, size: u64) -> bool {
        tracker.due(size).is_some()
    }

    #[test]
    fn size_is_queried_less_often_after_1024_right_counts() {
        let tracker = SizeTracker::new();
        for _ in 1..SizeTracker::TRUSTED_AFTER {
            tracker.record(NOW, true, 1 << 20, 1 << 20);
            assert!(is_due(&tracker, 100));
        }
        tracker.record(NOW, true, 100, 1 << 20);
        tracker.next_time.store(0, Relaxed);
        assert!(!is_due(&tracker, 4195) && is_due(&tracker, 4196));
        tracker.record(NOW, true, 4196, 1600);
        assert!(!is_due(&tracker, 4295) && is_due(&tracker, 4296));
        tracker.reset();
        assert!(is_due(&tracker, 4196));
    }

    #[test]
    fn wrong_count_restores_a_query_per_record() {
        let tracker = SizeTracker::new();
        (0..2000).for_each(|_| tracker.record(NOW, true, 100, 1 << 20));
        tracker.record(NOW, false, 1 << 20, 1 << 20);
        assert!(is_due(&tracker, 0));
    }

    #[test]
    fn size_is_not_queried_before_others_can_have_filled_it() {
        let tracker = SizeTracker::new();
        let query = tracker.due(0).unwrap();
        let time_for = |room: u64| {
            tracker.record(query, false, 100, 100 + room);
            tracker.next_time.load(Relaxed) - query.time
        };
        assert_eq!([0, 1 << 20, 1 << 40].map(time_for), [0, (1 << 20) / 16, 1_000_000]);
        tracker.next_time.store(u64::MAX, Relaxed);
        assert!(!is_due(&tracker, 1 << 40));
        tracker.record(query, false, 100, 100);
        assert!(is_due(&tracker, 0), "a full segment");
    }
}
