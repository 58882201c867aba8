//! Wakes the timekeeper.

use crate::sync::{Condvar, Mutex};
use std::time::Duration;

/// Where the timekeeper waits for its next job.
pub(crate) trait Alarm {
    /// Waits until it rings, for at most `span`. Returns at once if it has rung since the last
    /// wait; sometimes without a reason.
    fn wait(&self, span: Duration);

    /// Wakes the thread that waits, or the next one that comes to wait.
    fn ring(&self);
}

/// An alarm that nothing but a call rings.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    has_rung: Mutex<bool>,
    rings: Condvar,
}

impl Alarm for Bell {
    fn wait(&self, span: Duration) {
        let mut has_rung = self.has_rung.lock();
        if !*has_rung {
            self.rings.wait_for(&mut has_rung, span);
        }
        *has_rung = false;
    }

    fn ring(&self) {
        *self.has_rung.lock() = true;
        self.rings.notify_one();
    }
}
