//! Writing the buffer when a program ends.

use super::RotatingFileWriter;
use std::sync::Arc;
use std::time::Duration;

impl RotatingFileWriter {
    /// Returns a guard that writes the buffer when it is dropped, at the end of `main`.
    ///
    /// Use it with [`Delivery::Buffered`](crate::Delivery::Buffered) if another handle is in a `static`, such as a global
    /// logger or subscriber: a `static` is never dropped. The guard keeps the log open. With
    /// [`Delivery::Direct`](crate::Delivery::Direct) it does nothing.
    ///
    /// # Examples
    /// ```
    /// use logrotor::{Delivery, RotatingFileWriter};
    /// # fn main() -> std::io::Result<()> { let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("app.log");
    /// let log = RotatingFileWriter::builder(&path).delivery(Delivery::buffered()).build()?;
    /// let guard = log.flush_guard();
    /// std::mem::forget(log.clone()); // As a global logger does.
    /// log.write_record(b"done\n")?;
    /// drop(guard);
    /// assert_eq!(std::fs::read(&path)?, b"done\n");
    /// # Ok(()) }
    /// ```
    pub fn flush_guard(&self) -> FlushGuard {
        FlushGuard { log: self.clone() }
    }

    /// Installs a panic hook that runs the present hook, then waits up to 5 s for the buffer to be
    /// written.
    ///
    /// Use it with [`Delivery::Buffered`](crate::Delivery::Buffered) in programs that abort on panic. Programs that unwind
    /// write the buffer when the last handle is dropped. The hook does not keep the log open.
    pub fn flush_on_panic(&self) {
        const TIMEOUT: Duration = Duration::from_secs(5);
        let log = Arc::downgrade(&self.threads);
        let present_hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            present_hook(panic);
            if let Some(threads) = log.upgrade() {
                // A panic hook cannot return an error. Records that cannot be written are counted.
                let _ = threads.log.drain(Some(TIMEOUT));
            }
        }));
    }
}

/// Writes the buffer of a log when it is dropped.
///
/// Created by [`RotatingFileWriter::flush_guard`]. It waits until the kernel has taken the records,
/// or has refused them once. [`Stats::failures`](crate::Stats::failures) counts refusals, and the
/// observer is notified of them before the guard is gone.
#[derive(Debug)]
#[must_use = "the buffer is written when the guard is dropped"]
pub struct FlushGuard {
    log: RotatingFileWriter,
}

impl Drop for FlushGuard {
    fn drop(&mut self) {
        // `drop` cannot return an error. The log counts it.
        let _ = self.log.flush();
        // The log's own thread may have no time for it: the program may end now.
        self.log.log().tell_observer();
    }
}
