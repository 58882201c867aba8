//! In the place of the crate's `clock`: time that passes only where somebody waits for it.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

shuttle::lazy_static! {
    /// Nanoseconds; begins anew with each schedule. Not the scheduler's: to read it is no point of choice.
    static ref NOW: AtomicU64 = AtomicU64::new(0);
}

/// Nobody sees a time that is this far away.
pub const FAR: Duration = Duration::from_secs(3600);

fn now() -> Duration {
    Duration::from_nanos(NOW.load(SeqCst))
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

    /// Lets time pass until then, unless it has.
    pub(crate) fn reach(self) {
        if let Some(at) = self.0 {
            NOW.fetch_max(u64::try_from(at.as_nanos()).unwrap(), SeqCst);
        }
    }
}
