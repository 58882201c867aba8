//! Waiting until a log may have grown: told by the system where it can (feature `follow`), and looking
//! again at intervals in any case.

use parking_lot::{Condvar, Mutex};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Rung when there may be something new, or when it is over.
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

    fn end(&self) {
        self.state.lock().is_over = true;
        self.condvar.notify_all();
    }

    pub(super) fn is_over(&self) -> bool {
        self.state.lock().is_over
    }

    fn wait(&self, span: Duration) {
        let mut state = self.state.lock();
        if !state.is_notified && !state.is_over {
            self.condvar.wait_for(&mut state, span);
        }
        state.is_notified = false;
    }
}

/// Ends a [following](super::ReaderBuilder::follow) reader, from any thread.
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
    /// Has the reader end once it has read what the log holds now.
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
    /// `interval` is how often to look where the system tells nothing.
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

    /// Waits until there may be something new; at most for `limit`.
    pub(super) fn wait(&self, limit: Duration) {
        self.notifier.wait(self.interval.min(limit));
    }
}

/// How often to look when nobody tells.
const POLL: Duration = Duration::from_millis(50);

/// How often to look although the system tells: not all of them tell everything (a write through another
/// machine, or on some systems to a file in a watched directory).
#[cfg(feature = "follow")]
const SAFETY: Duration = Duration::from_millis(250);

/// Has the system ring the bell when something happens in the log's directory; `None` if it will not, for
/// want of watches or descriptors.
#[cfg(feature = "follow")]
fn watch_dir(notifier: &Arc<Notifier>, dir: &Path) -> Option<notify::RecommendedWatcher> {
    use notify::Watcher;
    use notify::event::{AccessKind, EventKind};
    let ours = Arc::clone(notifier);
    let tell = move |event: notify::Result<notify::Event>| {
        // Opening says nothing, and we do it ourselves. Whatever else happened, or if it could not be
        // told: look.
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
