//! Replaces the crate's `clock`: time that passes only where a thread waits for it.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

shuttle::lazy_static! {
    /// Nanoseconds, from 0 in each schedule. This is not the scheduler's atomic: reading it is no
    /// point of choice.
    static ref NOW: AtomicU64 = AtomicU64::new(0);
}

/// A time so far away that no thread reaches it.
pub const FAR: Duration = Duration::from_secs(3600);

fn now() -> Duration {
    Duration::from_nanos(NOW.load(SeqCst))
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopwatch(Duration);

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self(now())
    }

    pub(crate) fn elapsed(self) -> Duration {
        now() - self.0
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline(Option<Duration>);

impl Deadline {
    pub(crate) fn after(span: Duration) -> Self {
        Self((span < FAR).then(|| now() + span))
    }

    pub(crate) fn never() -> Self {
        Self(None)
    }

    pub(crate) fn left(self) -> Option<Duration> {
        match self.0 {
            None => Some(Duration::MAX),
            Some(at) => at.checked_sub(now()).filter(|left| !left.is_zero()),
        }
    }

    /// Advances the time to the deadline, unless that has passed.
    pub(crate) fn reach(self) {
        if let Some(at) = self.0 {
            NOW.fetch_max(u64::try_from(at.as_nanos()).unwrap(), SeqCst);
        }
    }
}

/// Lets `span` pass.
pub(crate) fn pass(span: Duration) {
    Deadline::after(span).reach();
}
