//! Polling: the delays are a pure sequence, and [`poll`] sleeps them.

use crate::clock::{self, Deadline};
use crate::error::Result;
use std::time::Duration;

const FIRST: Duration = Duration::from_micros(20);
const CAP: Duration = Duration::from_millis(50);

/// Delays that double to a cap, each varied by up to 25 %. Never ends.
///
/// The variation keeps waiters that were refused together from returning together.
///
/// Source: exponential backoff with jitter, as in git's `lockfile.c`.
pub(crate) struct Backoff {
    next: Duration,
    cap: Duration,
    random: fastrand::Rng,
}

impl Backoff {
    /// From 20 µs to a cap of 50 ms. Equal seeds give equal delays.
    ///
    /// A rotation holds its lock for tens of microseconds, so the first delays are of that size.
    /// From the twelfth delay on there are about 20 attempts a second, which cost a waiter almost
    /// nothing.
    pub(crate) fn new(seed: u64) -> Self {
        Self::between(FIRST, CAP, seed)
    }

    /// From a first delay to a cap.
    pub(crate) fn between(first: Duration, cap: Duration, seed: u64) -> Self {
        Self { next: first, cap, random: fastrand::Rng::with_seed(seed) }
    }

    /// Sleeps for the next delay, at most until the deadline; `false` if that has passed.
    #[cfg(feature = "policy")]
    pub(crate) fn pause(&mut self, until: Deadline) -> bool {
        let (Some(left), Some(delay)) = (until.left(), self.next()) else { return false };
        clock::sleep(delay.min(left));
        true
    }

    /// A factor from 0.75 to 1.25.
    fn jitter(&mut self) -> f64 {
        0.75 + self.random.f64() / 2.0
    }
}

impl Iterator for Backoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let delay = self.next;
        self.next = (delay * 2).min(self.cap);
        Some(delay.mul_f64(self.jitter()))
    }
}

/// Calls `ask` until it answers or the deadline has passed; the last time just after the deadline.
pub(crate) fn poll<T>(
    until: Deadline,
    mut ask: impl FnMut() -> Result<Option<T>>,
) -> Result<Option<T>> {
    let mut delays = Backoff::new(fastrand::u64(..));
    loop {
        let left = until.left();
        match (ask()?, left, delays.next()) {
            (None, Some(left), Some(delay)) => clock::sleep(delay.min(left)),
            (answer, ..) => return Ok(answer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_start_at_microseconds_and_end_at_the_cap() {
        for seed in 0..1000 {
            let delays: Vec<_> = Backoff::new(seed).take(100).collect();
            assert!(delays[0] < Duration::from_micros(26), "seed {seed}: {:?}", delays[0]);
            assert!(delays.iter().all(|d| *d <= CAP.mul_f64(1.25)), "seed {seed}");
            assert!(delays[20..].iter().all(|d| *d >= CAP.mul_f64(0.75)), "seed {seed}");
            // A holder of 20 µs costs its waiter tens of microseconds, not the cap.
            assert!(delays[..3].iter().sum::<Duration>() < Duration::from_micros(180));
        }
    }

    #[test]
    fn each_delay_stays_within_a_quarter_of_its_step() {
        let mut step = FIRST;
        for delay in Backoff::new(7).take(50) {
            assert!(delay >= step.mul_f64(0.749) && delay <= step.mul_f64(1.251), "{delay:?}");
            step = (step * 2).min(CAP);
        }
    }

    #[test]
    fn last_question_comes_after_the_deadline() {
        let (mut asked, until) = (Vec::new(), Deadline::after(Duration::from_millis(5)));
        let answer: Option<()> = poll(until, || {
            asked.push(until.left());
            Ok(None)
        })
        .unwrap();
        assert_eq!(answer, None);
        assert_eq!(asked.last(), Some(&None));
        assert_eq!(asked.iter().filter(|left| left.is_none()).count(), 1);
    }

    #[test]
    fn passed_deadline_asks_once() {
        let mut asked = 0;
        let answer: Option<()> = poll(Deadline::after(Duration::ZERO), || {
            asked += 1;
            Ok(None)
        })
        .unwrap();
        assert_eq!((answer, asked), (None, 1));
    }

    #[test]
    fn jitter_depends_on_the_seed_alone_and_spreads() {
        let of = |seed| Backoff::new(seed).take(30).collect::<Vec<_>>();
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
        let steady: Vec<_> = Backoff::new(3).skip(20).take(1000).collect();
        let mean = steady.iter().sum::<Duration>().as_secs_f64() / 1000.0 / CAP.as_secs_f64();
        assert!((0.97..1.03).contains(&mean), "{mean}");
    }
}
