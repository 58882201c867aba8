//! The cost of a run: the time of each call, the time of all, and the processor's.

use hdrhistogram::Histogram;
use nix::sys::resource::{UsageWho, getrusage};
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// How long single calls took.
///
/// All its memory is taken and touched at once: recording neither allocates nor faults.
#[derive(Debug, Clone)]
pub struct Calls {
    histogram: Histogram<u64>,
}

/// [`Calls`] as plain data, for the way from one process to another: durations in ns, how often.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Recorded(Vec<(u64, u64)>);

const LONGEST: Duration = Duration::from_secs(100);
const SIGNIFICANT_DIGITS: u8 = 3;

impl Calls {
    pub fn new() -> Self {
        let mut histogram =
            Histogram::new_with_bounds(1, LONGEST.as_nanos() as u64, SIGNIFICANT_DIGITS)
                .expect("BUG: the histogram's bounds are constant and valid");
        histogram.clear();
        Self { histogram }
    }

    pub fn record(&mut self, call: Duration) {
        self.histogram.saturating_record(call.as_nanos() as u64);
    }

    pub fn add(&mut self, recorded: &Recorded) {
        for &(nanos, times) in &recorded.0 {
            self.histogram.saturating_record_n(nanos, times);
        }
    }

    pub fn recorded(&self) -> Recorded {
        let each = self.histogram.iter_recorded();
        Recorded(each.map(|v| (v.value_iterated_to(), v.count_at_value())).collect())
    }

    /// The mean in ns.
    pub fn mean(&self) -> f64 {
        self.histogram.mean()
    }

    /// The time in ns that a share of `quantile` calls did not exceed; 1.0 asks for the longest.
    pub fn quantile(&self, quantile: f64) -> f64 {
        self.histogram.value_at_quantile(quantile) as f64
    }
}

/// The processor time this process has used so far, in user and kernel mode, by all its threads.
pub fn cpu_time() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("BUG: getrusage of this process failed");
    let micros = |time: nix::sys::time::TimeVal| {
        Duration::from_secs(time.tv_sec() as u64) + Duration::from_micros(time.tv_usec() as u64)
    };
    micros(usage.user_time()) + micros(usage.system_time())
}

/// `instant` in ns of the monotonic clock, which is the same in all processes.
pub fn monotonic_nanos(instant: Instant) -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("BUG: there is no monotonic clock");
    (Duration::from(now) - instant.elapsed()).as_nanos() as u64
}

/// Work between two records: `rounds` of arithmetic that cannot be left out.
pub fn think(rounds: u32) {
    let mut state = u64::from(rounds);
    for _ in 0..rounds {
        state = std::hint::black_box(state.wrapping_mul(6_364_136_223_846_793_005) ^ (state >> 7));
    }
}

/// How many rounds of [`think`] take `time` here, now.
pub fn calibrate(time: Duration) -> u32 {
    const PROBE: u32 = 200_000;
    let fastest = (0..5).map(|_| timed(|| think(PROBE))).min().unwrap_or(Duration::MAX);
    (time.as_secs_f64() / fastest.as_secs_f64() * f64::from(PROBE)) as u32
}

fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// The middle value; with an even number of them, the mean of the two in the middle.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    let (low, high) = ((sorted.len().max(1) - 1) / 2, sorted.len() / 2);
    match (sorted.get(low), sorted.get(high)) {
        (Some(a), Some(b)) => f64::midpoint(*a, *b),
        _ => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_odd_even_and_no_values() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median([]).is_nan());
    }

    #[test]
    fn calls_survive_the_way_to_another_process() {
        let mut calls = Calls::new();
        for nanos in [100, 200, 300, 5_000_000] {
            calls.record(Duration::from_nanos(nanos));
        }
        let mut copy = Calls::new();
        copy.add(&calls.recorded());
        assert_eq!(copy.quantile(0.5), calls.quantile(0.5));
        assert_eq!(copy.quantile(1.0), calls.quantile(1.0));
        assert!((copy.mean() - calls.mean()).abs() / calls.mean() < 0.001);
    }

    #[test]
    fn thinking_costs_processor_time() {
        let before = cpu_time();
        think(calibrate(Duration::from_millis(30)));
        assert!(cpu_time() - before > Duration::from_millis(10));
    }
}
