//! When to send, and when to try again.

use crate::clock::Stopwatch;
use std::time::Duration;

/// A delay that doubles with every failure to its longest, and varies, so that many machines do not
/// come back to a store at the same time.
#[derive(Debug, Default)]
pub(super) struct RetryDelay {
    last: Option<Duration>,
}

impl RetryDelay {
    const FIRST: Duration = Duration::from_secs(1);
    const LONGEST: Duration = Duration::from_secs(300);

    /// Returns how long to wait after another failure: the delay, less up to a quarter.
    pub(super) fn failed(&mut self) -> Duration {
        let delay = self.last.map_or(Self::FIRST, |last| Self::LONGEST.min(2 * last));
        self.last = Some(delay);
        delay.mul_f64(1.0 - 0.25 * fastrand::f64())
    }

    pub(super) fn succeeded(&mut self) {
        self.last = None;
    }
}

/// Keeps the bytes sent below a rate, on average since the last pause.
#[derive(Debug)]
pub(super) struct Pace {
    since: Stopwatch,
    /// When, after the start, the next bytes may be sent.
    next: Duration,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { since: Stopwatch::start(), next: Duration::ZERO }
    }

    /// Returns how long to wait before `bytes` more are sent at `rate` bytes per second.
    pub(super) fn wait_for(&mut self, bytes: u64, rate: Option<u64>) -> Duration {
        self.wait_at(self.since.elapsed(), bytes, rate)
    }

    fn wait_at(&mut self, now: Duration, bytes: u64, rate: Option<u64>) -> Duration {
        let Some(rate) = rate else { return Duration::ZERO };
        let start = self.next.max(now);
        // A rate of 0 is rejected with the settings.
        let micros = u128::from(bytes) * 1_000_000 / u128::from(rate.max(1));
        self.next = start + Duration::from_micros(micros.try_into().unwrap_or(u64::MAX));
        start - now
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
    const MAX_PARCELS: usize = 16;
    /// The most bytes of small segments.
    const SMALL: u64 = 16 * 1024 * 1024;

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
        for (bytes, count) in [(64 * MIB, 2), (8 * MIB, 2), (4 * MIB, 4), (MIB, 16), (0, 16)] {
            let window = filled(SendWindow::new(false), bytes);
            assert_eq!(window.parcels, count, "{bytes}");
            assert_eq!(filled(SendWindow::new(true), bytes).parcels, 1, "paced");
        }
    }

    #[test]
    fn window_fills_again_once_half_of_it_is_done() {
        for (bytes, left) in [(64 << 20, 1), (1 << 20, 8)] {
            let mut window = filled(SendWindow::new(false), bytes);
            while !window.has_room() {
                window.leave(bytes);
            }
            assert_eq!(window.parcels, left, "{bytes}");
        }
    }

    #[test]
    fn delay_grows_to_five_minutes_and_varies_by_a_quarter() {
        let mut backoff = RetryDelay::default();
        let delays: Vec<_> = (0..12).map(|_| backoff.failed().as_secs_f64()).collect();
        for (delay, whole) in delays.iter().zip([1.0, 2.0, 4.0, 8.0]) {
            assert!((0.75 * whole..=whole).contains(delay), "{delay}");
        }
        assert!((225.0..=300.0).contains(&delays[11]));
        backoff.succeeded();
        assert!(backoff.failed() <= Duration::from_secs(1));
    }

    #[test]
    fn each_segment_waits_for_those_before_it() {
        let mut pace = Pace::new();
        let second = Duration::from_secs(1);
        assert_eq!(pace.wait_at(second, 100, Some(50)), Duration::ZERO);
        assert_eq!(pace.wait_at(second, 100, Some(50)), 2 * second);
        assert_eq!(pace.wait_at(4 * second, 50, Some(50)), second);
        assert_eq!(pace.wait_at(9 * second, 50, Some(50)), Duration::ZERO, "a pause");
        assert_eq!(pace.wait_at(9 * second, 50, None), Duration::ZERO);
    }
}
