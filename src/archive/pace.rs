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

#[cfg(test)]
mod tests {
    use super::*;

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
