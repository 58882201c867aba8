//! Pauses between attempts to write while lines are dropped.

use std::time::{Duration, Instant};

/// When to attempt the next write after one that failed.
///
/// An attempt may be expensive: at a quota of btrfs it takes longer than a thousand lines on a disk
/// with room. Lines that arrive during the pause are dropped without one.
#[derive(Default)]
pub(super) struct Pause {
    delay: Duration,
    until: Option<Instant>,
    /// The free space after the last failure, if it is known.
    free: Option<u64>,
}

const FIRST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_millis(100);

impl Pause {
    /// Begins a pause after a failure: twice as long as the last one, up to 100 ms.
    pub(super) fn begin(&mut self, now: Instant, free: Option<u64>) {
        self.delay = (2 * self.delay).clamp(FIRST, LONGEST);
        (self.until, self.free) = (now.checked_add(self.delay), free);
    }

    /// Ends all pauses after a success.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    /// Whether to drop lines without an attempt. If there is more free space than at the failure,
    /// the pause is over.
    pub(super) fn holds(&self, now: Instant, free: impl FnOnce() -> Option<u64>) -> bool {
        self.until.is_some_and(|until| now < until)
            && free().zip(self.free).is_none_or(|(free, before)| free <= before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_100_ms_and_end_when_there_is_room() {
        let (mut pause, mut now) = (Pause::default(), Instant::now());
        assert!(!pause.holds(now, || None));
        let (mut attempts, start) = (0, now);
        while now < start + Duration::from_secs(10) {
            if !pause.holds(now, || Some(0)) {
                attempts += 1;
                pause.begin(now, Some(0));
            }
            now += Duration::from_micros(100);
        }
        assert!((100..120).contains(&attempts), "{attempts}");
        pause.begin(now, Some(4096));
        assert!(pause.holds(now + Duration::from_millis(99), || Some(4096)));
        assert!(pause.holds(now, || None) && pause.holds(now, || Some(0)));
        assert!(!pause.holds(now, || Some(8192)));
        assert!(!pause.holds(now + LONGEST, || Some(4096)));
        pause.reset();
        assert!(!pause.holds(now, || Some(0)));
    }
}
