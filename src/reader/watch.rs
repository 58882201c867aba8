//! Waits until a log may have grown. With the feature `follow` the system reports changes; the log
//! is looked at again at intervals in any case.

use parking_lot::{Condvar, Mutex};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Notifies a waiting reader of changes, or that it is stopped.
#[derive(Debug, Default)]
pub(super) struct Notifier {
    state: Mutex<NotifierState>,
    condvar: Condvar,
}

#[derive(Debug, Default)]
struct NotifierState {
    is_notified: bool,
    is_over: bool,
}

impl Notifier {
    #[cfg(feature = "follow")]
    fn notify(&self) {
        self.state.lock().is_notified = true;
        self.condvar.notify_all();
    }

    /// Wakes the reader for the last time.
    fn end(&self) {
        self.state.lock().is_over = true;
        self.condvar.notify_all();
    }

    /// Whether the reader was stopped.
    pub(super) fn is_over(&self) -> bool {
        self.state.lock().is_over
    }

    /// Waits for a notification, for at most `span`. A notification since the last call counts.
    fn wait(&self, span: Duration) {
        let mut state = self.state.lock();
        if !state.is_notified && !state.is_over {
            self.condvar.wait_for(&mut state, span);
        }
        state.is_notified = false;
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
    interval: Duration,
    #[cfg(feature = "follow")]
    _watcher: Option<notify::RecommendedWatcher>,
}

impl DirWatcher {
    /// Watches a directory. `interval` is the time between two looks, in place of reports by the
    /// system.
    pub(super) fn new(notifier: Arc<Notifier>, dir: &Path, interval: Option<Duration>) -> Self {
        #[cfg(feature = "follow")]
        {
            let watcher = if interval.is_none() { watch_dir(&notifier, dir) } else { None };
            let by_default = if watcher.is_some() { SAFETY } else { POLL };
            Self { notifier, interval: interval.unwrap_or(by_default), _watcher: watcher }
        }
        #[cfg(not(feature = "follow"))]
        {
            let _ = dir;
            Self { notifier, interval: interval.unwrap_or(POLL) }
        }
    }

    pub(super) fn notifier(&self) -> &Arc<Notifier> {
        &self.notifier
    }

    /// Waits until something may be new, for at most `limit`.
    pub(super) fn wait(&self, limit: Duration) {
        self.notifier.wait(self.interval.min(limit));
    }
}

/// The time between two looks if the system reports nothing.
const POLL: Duration = Duration::from_millis(50);

/// The time between two looks although the system reports changes. Not all systems report all of
/// them, such as a write by another machine.
#[cfg(feature = "follow")]
const SAFETY: Duration = Duration::from_millis(250);

/// Makes the system notify the reader of changes in the log's directory. Returns `None` if it
/// cannot, for want of watches or descriptors.
#[cfg(feature = "follow")]
fn watch_dir(notifier: &Arc<Notifier>, dir: &Path) -> Option<notify::RecommendedWatcher> {
    use notify::Watcher;
    use notify::event::{AccessKind, EventKind};
    let ours = Arc::clone(notifier);
    let tell = move |event: notify::Result<notify::Event>| {
        // Opening a file changes nothing, and readers do it themselves. Anything else, or an error,
        // is a reason to look.
        let is_opening =
            event.is_ok_and(|event| matches!(event.kind, EventKind::Access(AccessKind::Open(_))));
        if !is_opening {
            ours.notify();
        }
    };
    let mut watcher = notify::recommended_watcher(tell).ok()?;
    watcher.watch(dir, notify::RecursiveMode::NonRecursive).ok()?;
    Some(watcher)
}
