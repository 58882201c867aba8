//! Waits until a log may have grown. With the feature `follow` the system reports changes; the log
//! is looked at again at intervals in any case.

use crate::sync::{Condvar, Mutex};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Tells a waiting reader that it is stopped.
#[derive(Debug, Default)]
pub(super) struct Notifier {
    is_over: Mutex<bool>,
    stopped: Condvar,
    /// Reports of the system, if it makes any. The reader waits for these then.
    #[cfg(feature = "follow")]
    watch: Mutex<Option<Arc<crate::sys::DirWatch>>>,
}

impl Notifier {
    /// Wakes the reader for the last time.
    fn end(&self) {
        *self.is_over.lock() = true;
        self.stopped.notify_all();
        #[cfg(feature = "follow")]
        if let Some(watch) = self.present_watch() {
            watch.wake();
        }
    }

    #[cfg(feature = "follow")]
    fn present_watch(&self) -> Option<Arc<crate::sys::DirWatch>> {
        self.watch.lock().clone()
    }

    /// Whether the reader was stopped.
    pub(super) fn is_over(&self) -> bool {
        *self.is_over.lock()
    }

    /// Waits for a change since the last call or for the end, for at most `span`.
    fn wait(&self, span: Duration) {
        #[cfg(feature = "follow")]
        if let Some(watch) = self.present_watch() {
            // Only the thread that waits replaces the watch. `end` comes before this check, or else
            // it wakes.
            if !self.is_over() {
                watch.wait(span);
            }
            return;
        }
        let mut is_over = self.is_over.lock();
        if !*is_over {
            self.stopped.wait_for(&mut is_over, span);
        }
    }
}

/// Ends a [following](super::ReaderBuilder::follow) reader, from any thread. Clones end the same
/// reader.
///
/// # Examples
/// ```
/// use logrotor::reader::LogReader;
/// use std::io::Read;
/// # fn main() -> std::io::Result<()> { let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("app.log");
/// std::fs::write(&path, "line\n")?;
/// let mut reader = LogReader::builder(&path).follow().open()?;
/// let stopper = reader.stopper();
/// std::thread::spawn(move || stopper.stop());
/// let mut text = String::new();
/// reader.read_to_string(&mut text)?;
/// assert_eq!(text, "line\n");
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Stopper(pub(super) Arc<Notifier>);

impl Stopper {
    /// Makes the reader end once it has read what the log holds now.
    pub fn stop(&self) {
        self.0.end();
    }
}

/// Waits for a log to grow.
#[derive(Debug)]
pub(super) struct DirWatcher {
    notifier: Arc<Notifier>,
    /// The time between two looks in place of reports by the system, if the caller has set one.
    chosen: Option<Duration>,
    interval: Duration,
}

impl DirWatcher {
    /// Watches a directory. `interval` is the time between two looks, in place of reports by the
    /// system.
    pub(super) fn new(notifier: Arc<Notifier>, dir: &Path, chosen: Option<Duration>) -> Self {
        let mut watcher = Self { notifier, chosen, interval: POLL };
        watcher.turn_to(dir);
        watcher
    }

    /// Watches another directory instead.
    pub(super) fn turn_to(&mut self, dir: &Path) {
        self.interval = match self.chosen {
            Some(interval) => interval,
            None if self.notifier.watches(dir) => SAFETY,
            None => POLL,
        };
    }

    pub(super) fn notifier(&self) -> &Arc<Notifier> {
        &self.notifier
    }

    /// Waits until something may be new, for at most `limit`.
    pub(super) fn wait(&self, limit: Duration) {
        self.notifier.wait(self.interval.min(limit));
    }
}

impl Notifier {
    /// Makes the system report changes in the log's directory. Returns `false` if it cannot, for
    /// want of watches, descriptors or threads.
    #[cfg(feature = "follow")]
    fn watches(&self, dir: &Path) -> bool {
        let watch = crate::sys::DirWatch::new(dir).ok().map(Arc::new);
        let is_watching = watch.is_some();
        *self.watch.lock() = watch;
        is_watching
    }

    #[cfg(not(feature = "follow"))]
    fn watches(&self, _: &Path) -> bool {
        false
    }
}

/// The time between two looks if the system reports nothing.
const POLL: Duration = Duration::from_millis(50);

/// The time between two looks although the system reports changes. Not all systems report all of
/// them, such as a write by another machine.
const SAFETY: Duration = Duration::from_millis(250);
