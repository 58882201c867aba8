//! When to send, and when to try again.

use crate::clock::Stopwatch;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A delay that doubles with every failure to its longest, and varies, so that many machines do not
/// come back to a store at the same time.
#[derive(Debug)]
pub(super) struct RetryDelay {
    longest: Duration,
    last: Option<Duration>,
    /// All delays since the last success.
    total: Duration,
}

impl RetryDelay {
    const FIRST: Duration = Duration::from_secs(1);

    pub(super) fn up_to(longest: Duration) -> Self {
        Self { longest, last: None, total: Duration::ZERO }
    }

    /// Returns how long to wait after another failure: the delay, less up to a quarter.
    pub(super) fn failed(&mut self) -> Duration {
        let delay = self.last.map_or(Self::FIRST, |last| self.longest.min(2 * last));
        self.last = Some(delay);
        let delay = delay.mul_f64(1.0 - 0.25 * fastrand::f64());
        self.total += delay;
        delay
    }

    pub(super) fn succeeded(&mut self) {
        *self = Self::up_to(self.longest);
    }

    /// Returns how long it has failed, without the attempts themselves.
    pub(super) fn total(&self) -> Duration {
        self.total
    }
}

/// Says which segments may be tried now. One that failed has a delay of its own, and its turn is
/// after those that failed less often. So none holds up the others.
#[derive(Debug)]
pub(super) struct Attempts {
    since: Stopwatch,
    /// By the file name of the segment.
    failed: BTreeMap<String, FailedAttempts>,
}

#[derive(Debug)]
struct FailedAttempts {
    count: usize,
    delay: RetryDelay,
    /// When, after the start, it may be tried again.
    not_before: Duration,
}

impl Attempts {
    /// The longest delay after a failure.
    pub(super) const LONGEST: Duration = Duration::from_secs(300);

    pub(super) fn new() -> Self {
        Self { since: Stopwatch::start(), failed: BTreeMap::new() }
    }

    /// Puts segments in the order in which they are tried, and forgets those that are gone.
    pub(super) fn arrange<T>(&mut self, pending: &mut [T], name_of: impl Fn(&T) -> String) {
        if self.failed.is_empty() {
            return;
        }
        let names: BTreeSet<_> = pending.iter().map(&name_of).collect();
        self.failed.retain(|name, _| names.contains(name));
        pending.sort_by_key(|segment| {
            self.failed.get(&name_of(segment)).map_or(0, |failed| failed.count)
        });
    }

    /// Whether a segment failed that is still there.
    pub(super) fn has_failures(&self) -> bool {
        !self.failed.is_empty()
    }

    /// Returns how long a segment is left alone: zero if it may be tried now, and
    /// [`Duration::MAX`] if it is never tried again.
    pub(super) fn wait_for(&self, name: &str) -> Duration {
        let not_before = self.failed.get(name).map_or(Duration::ZERO, |it| it.not_before);
        match not_before {
            Duration::MAX => Duration::MAX,
            _ => not_before.saturating_sub(self.since.elapsed()),
        }
    }

    /// Returns how long the segment is left alone after this failure.
    pub(super) fn failed(&mut self, name: &str) -> Duration {
        let failed = self.failed.entry(name.to_owned()).or_insert_with(|| {
            let delay = RetryDelay::up_to(Self::LONGEST);
            FailedAttempts { count: 0, delay, not_before: Duration::ZERO }
        });
        let delay = failed.delay.failed();
        failed.count += 1;
        failed.not_before = self.since.elapsed() + delay;
        delay
    }

    /// Never tries a segment again.
    pub(super) fn give_up(&mut self, name: &str) {
        let (count, not_before) = (usize::MAX, Duration::MAX);
        let delay = RetryDelay::up_to(Self::LONGEST);
        self.failed.insert(name.to_owned(), FailedAttempts { count, delay, not_before });
    }

    pub(super) fn succeeded(&mut self, name: &str) {
        self.failed.remove(name);
    }
}

/// Keeps the bytes sent below a rate, on average since the last pause. Only the last segment is
/// kept in mind, in bytes, so that another rate holds at once.
#[derive(Debug)]
pub(super) struct Pace {
    since: Stopwatch,
    /// When, after the start, the last segment was sent, and its size.
    last: (Duration, u64),
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { since: Stopwatch::start(), last: (Duration::ZERO, 0) }
    }

    /// Returns how long to wait before the next segment is sent at `rate` bytes per second.
    pub(super) fn wait(&self, rate: Option<u64>) -> Duration {
        self.wait_at(self.since.elapsed(), rate)
    }

    /// Notes that `bytes` are sent from now on.
    pub(super) fn sends(&mut self, bytes: u64) {
        self.last = (self.since.elapsed(), bytes);
    }

    fn wait_at(&self, now: Duration, rate: Option<u64>) -> Duration {
        let (Some(rate), (at, bytes)) = (rate, self.last) else { return Duration::ZERO };
        // A rate of 0 is rejected with the settings.
        let micros = u128::from(bytes) * 1_000_000 / u128::from(rate.max(1));
        let span = Duration::from_micros(micros.try_into().unwrap_or(u64::MAX));
        at.saturating_add(span).saturating_sub(now)
    }
}

/// Bounds what is in memory and on its way: a few small segments, or two large ones.
#[derive(Debug, Clone, Copy)]
pub(super) struct SendWindow {
    /// With a rate, segments are sent one by one.
    is_paced: bool,
    parcels: usize,
    bytes: u64,
}

impl SendWindow {
    const MAX_PARCELS: usize = 64;
    /// The most bytes of small segments.
    const SMALL: u64 = 16 * 1024 * 1024;
    /// The largest segment that is read together with others.
    pub(super) const SMALL_ONE: u64 = Self::SMALL / 4;

    pub(super) fn new(is_paced: bool) -> Self {
        Self { is_paced, parcels: 0, bytes: 0 }
    }

    /// Whether a segment of `bytes` may be read now.
    pub(super) fn fits(&self, bytes: u64) -> bool {
        match self.parcels {
            0 => true,
            _ if self.is_paced => false,
            1 => true,
            parcels => parcels < Self::MAX_PARCELS && self.bytes + bytes <= Self::SMALL,
        }
    }

    pub(super) fn enter(&mut self, bytes: u64) {
        self.parcels += 1;
        self.bytes += bytes;
    }

    pub(super) fn leave(&mut self, bytes: u64) {
        self.parcels -= 1;
        self.bytes -= bytes;
    }

    /// Whether it is time for more. Each time costs a synced change of the ledger, so small
    /// segments wait until half of them are done.
    pub(super) fn has_room(&self) -> bool {
        let is_half_empty = self.parcels <= Self::MAX_PARCELS / 2 && self.bytes <= Self::SMALL / 2;
        self.fits(0) && (self.parcels < 2 || is_half_empty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(mut window: SendWindow, bytes: u64) -> SendWindow {
        while window.fits(bytes) {
            window.enter(bytes);
        }
        window
    }

    #[test]
    fn window_has_two_large_segments_or_some_small_ones() {
        const MIB: u64 = 1024 * 1024;
        for (bytes, count) in [(64 * MIB, 2), (8 * MIB, 2), (4 * MIB, 4), (MIB, 16), (0, 64)] {
            let window = filled(SendWindow::new(false), bytes);
            assert_eq!(window.parcels, count, "{bytes}");
            assert_eq!(filled(SendWindow::new(true), bytes).parcels, 1, "paced");
        }
    }

    #[test]
    fn window_fills_again_once_half_of_it_is_done() {
        for (bytes, left) in [(64 << 20, 1), (1 << 20, 8), (1 << 16, 32)] {
            let mut window = filled(SendWindow::new(false), bytes);
            while !window.has_room() {
                window.leave(bytes);
            }
            assert_eq!(window.parcels, left, "{bytes}");
        }
    }

    #[test]
    fn delay_grows_to_five_minutes_and_varies_by_a_quarter() {
        let mut backoff = RetryDelay::up_to(Attempts::LONGEST);
        let delays: Vec<_> = (0..12).map(|_| backoff.failed().as_secs_f64()).collect();
        for (delay, whole) in delays.iter().zip([1.0, 2.0, 4.0, 8.0]) {
            assert!((0.75 * whole..=whole).contains(delay), "{delay}");
        }
        assert!((225.0..=300.0).contains(&delays[11]));
        backoff.succeeded();
        assert!(backoff.failed() <= Duration::from_secs(1));
    }

    #[test]
    fn each_segment_waits_for_the_one_before_it() {
        let mut pace = Pace::new();
        let second = Duration::from_secs(1);
        assert_eq!(pace.wait_at(second, Some(50)), Duration::ZERO);
        pace.last = (second, 100);
        assert_eq!(pace.wait_at(second, Some(50)), 2 * second);
        assert_eq!(pace.wait_at(2 * second, Some(50)), second);
        assert_eq!(pace.wait_at(9 * second, Some(50)), Duration::ZERO, "a pause");
        assert_eq!(pace.wait_at(second, Some(200)), second / 2, "another rate");
        assert_eq!(pace.wait_at(second, None), Duration::ZERO);
    }

    #[test]
    fn segment_that_failed_comes_last_and_after_a_delay() {
        let mut attempts = Attempts::new();
        let arrange = |attempts: &mut Attempts, names: &[&'static str]| {
            let mut names = names.to_vec();
            attempts.arrange(&mut names, |name| (*name).to_owned());
            names
        };
        for name in ["a", "b", "a"] {
            assert!(attempts.failed(name) > Duration::from_millis(700));
        }
        assert_eq!(arrange(&mut attempts, &["a", "b", "c", "d"]), ["c", "d", "b", "a"]);
        assert!(attempts.failed["a"].not_before > Duration::from_secs(1));
        assert_eq!(attempts.wait_for("c"), Duration::ZERO);
        attempts.give_up("c");
        attempts.succeeded("a");
        assert_eq!(attempts.wait_for("c"), Duration::MAX);
        assert_eq!(arrange(&mut attempts, &["a", "b", "c"]), ["a", "b", "c"]);
        arrange(&mut attempts, &["a"]);
        assert_eq!(attempts.wait_for("b"), Duration::ZERO, "it was gone");
    }
}
