//! How often the kernel is asked for the size of the active segment.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Counts the size, and asks the kernel after every call until the count has been right for a
/// while.
///
/// Records that are appended side by side may change it at the same time. A change that is lost
/// costs a query too many or too few.
#[derive(Debug, Default)]
pub(crate) struct SizeTracker {
    /// How many times in a row the count was right.
    agreed: AtomicU32,
    /// The counted size at which to ask again. 0 means with the next record.
    next_query: AtomicU64,
    /// The end of the file at the last query; 0 if there was none.
    last_end: AtomicU64,
}

impl SizeTracker {
    /// After so many right counts, no other worker seems to write.
    const TRUSTED_AFTER: u32 = 1024;
    /// How many bytes are then written without a query. A segment may grow beyond its limit by as
    /// much when another worker begins to write.
    const MAX_UNQUERIED: u64 = 4096;

    #[inline]
    pub(crate) fn is_due(&self, size: u64) -> bool {
        size >= self.next_query.load(Relaxed)
    }

    /// Has the next record ask.
    pub(crate) fn reset(&self) {
        self.next_query.store(0, Relaxed);
        self.last_end.store(0, Relaxed);
    }

    /// Notes the end of the file. Returns by how much it has grown since the query before.
    pub(crate) fn growth_to(&self, end: u64) -> u64 {
        let last = self.last_end.load(Relaxed);
        self.last_end.store(end, Relaxed);
        if last == 0 { 0 } else { end.saturating_sub(last) }
    }

    /// Records whether the count agreed with the kernel's `size`.
    pub(crate) fn record(&self, agrees: bool, size: u64, max_size: u64) {
        let agreed = if agrees { self.agreed.load(Relaxed).saturating_add(1) } else { 0 };
        self.agreed.store(agreed, Relaxed);
        let unqueried = Self::MAX_UNQUERIED.min(max_size / 16);
        let is_trusted = agreed >= Self::TRUSTED_AFTER;
        self.next_query.store(if is_trusted { size + unqueried } else { 0 }, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_is_queried_less_often_after_1024_right_counts() {
        let tracker = SizeTracker::default();
        for _ in 1..SizeTracker::TRUSTED_AFTER {
            tracker.record(true, 100, 1 << 20);
            assert!(tracker.is_due(100));
        }
        tracker.record(true, 100, 1 << 20);
        assert!(!tracker.is_due(4195) && tracker.is_due(4196));
        tracker.record(true, 4196, 1600);
        assert!(!tracker.is_due(4295) && tracker.is_due(4296));
        tracker.reset();
        assert!(tracker.is_due(4196));
    }

    #[test]
    fn wrong_count_restores_a_query_per_record() {
        let tracker = SizeTracker::default();
        (0..2000).for_each(|_| tracker.record(true, 100, 1 << 20));
        tracker.record(false, 5000, 1 << 20);
        assert!(tracker.is_due(0));
    }
}
