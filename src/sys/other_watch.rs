//! Changes in a directory where `notify` reports them, by a thread of its own.

use crate::sync::{Condvar, Mutex};
use notify::event::{AccessKind, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug)]
pub(crate) struct DirWatch {
    reports: Arc<Reports>,
    _watcher: RecommendedWatcher,
}

#[derive(Debug, Default)]
struct Reports {
    any: Mutex<bool>,
    came: Condvar,
}

impl DirWatch {
    pub(crate) fn new(dir: &Path) -> io::Result<Self> {
        // `notify` panics later if it is refused a thread (kqueue) or starts none and says nothing,
        // so one is asked for first.
        let trial = std::thread::Builder::new().spawn(|| ())?;
        let _ = trial.join();
        let reports = Arc::new(Reports::default());
        let ours = Arc::clone(&reports);
        let report = move |event: notify::Result<notify::Event>| {
            // Opening a file changes nothing, and readers do it themselves. Anything else, or an
            // error, is a reason to look.
            let is_opening = event
                .is_ok_and(|event| matches!(event.kind, EventKind::Access(AccessKind::Open(_))));
            if !is_opening {
                ours.report();
            }
        };
        let watch = || {
            let mut watcher = notify::recommended_watcher(report)?;
            watcher.watch(dir, RecursiveMode::NonRecursive)?;
            notify::Result::Ok(watcher)
        };
        // Another thread may have taken the last one meanwhile.
        let watcher = super::without_signals(|| catch_unwind(AssertUnwindSafe(watch)));
        let watcher = watcher.map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        Ok(Self { reports, _watcher: watcher.map_err(io::Error::other)? })
    }

    pub(crate) fn wait(&self, span: Duration) {
        let mut any = self.reports.any.lock();
        if !*any {
            self.reports.came.wait_for(&mut any, span);
        }
        *any = false;
    }

    pub(crate) fn wake(&self) {
        self.reports.report();
    }
}

impl Reports {
    fn report(&self) {
        *self.any.lock() = true;
        self.came.notify_all();
    }
}
