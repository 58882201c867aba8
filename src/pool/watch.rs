//! Watches the active segments of all logs of a process: the system reports when one is renamed.
//!
//! One instance serves all logs, because a user has few (128 by default on Linux). The timekeeper
//! waits for its reports where it waits for its next job. A segment is reported once, and the
//! system then forgets it. The worker that adopts the next segment watches that.

use super::alarm::{Alarm, Bell};
use crate::clock::Stopwatch;
use crate::error::Result;
use crate::fs;
use crate::sys::MoveWatch;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io;
use std::io::ErrorKind::Unsupported;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// A log whose segment is watched.
pub(crate) trait MoveObserver: Send + Sync {
    /// The segment may have another name. Must not wait.
    fn moved(&self);
}

/// The segments that are watched, and the alarm of the thread that waits for reports.
#[derive(Default)]
pub(super) struct Watches {
    system: OnceLock<MoveWatch>,
    /// Wakes the timekeeper while the system watches nothing.
    bell: Bell,
    state: Mutex<WatchedLogs>,
}

/// A log, and the number of its watch in this process.
type WatchedLog = (u64, Arc<dyn MoveObserver>);

#[derive(Default)]
struct WatchedLogs {
    /// By the system's number. Two writers of one process that are on one log share it.
    logs: HashMap<i32, Vec<WatchedLog>>,
    last_id: u64,
    /// The number of watches that are being added, and the reports since the first of them began:
    /// they may be about one of these. `None` is about all.
    adding: usize,
    early: Vec<Option<i32>>,
    /// When the system last had no more instances or watches.
    refused: Option<Stopwatch>,
}

/// The most early reports that are kept apart, in case that a path is on a disk that hangs.
const MAX_EARLY: usize = 1000;

impl WatchedLogs {
    /// Adds a log, unless its segment was reported already. Returns its number.
    fn add(&mut self, number: i32, log: Arc<dyn MoveObserver>) -> u64 {
        self.last_id += 1;
        if self.early.iter().any(|early| early.is_none_or(|early| early == number)) {
            log.moved();
        } else {
            self.logs.entry(number).or_default().push((self.last_id, log));
        }
        self.last_id
    }

    fn note_early(&mut self, number: Option<i32>) {
        if self.early.len() >= MAX_EARLY {
            self.early = vec![None];
        }
        if self.adding > 0 {
            self.early.push(number);
        }
    }
}

/// How long no segment is watched after the system had no more instances or watches.
const REFUSAL: Duration = Duration::from_secs(10);

/// A watch on one segment. Dropping it ends the watch.
pub(crate) struct SegmentWatch {
    watches: Arc<Watches>,
    number: i32,
    id: u64,
    /// The process that has the watch. A process that was forked from it shares the instance, and
    /// must leave it alone.
    process: u32,
}

impl Watches {
    /// Whether a thread must wait for reports.
    pub(super) fn is_watching(&self) -> bool {
        self.system.get().is_some()
    }

    /// Watches the file at `path`, and reports to `log` if it is renamed. Returns `None` if the
    /// system refuses.
    ///
    /// A file that was renamed before this returns may not be reported, so the caller looks
    /// afterwards.
    pub(super) fn watch(
        self: &Arc<Self>,
        path: &Path,
        log: Arc<dyn MoveObserver>,
    ) -> Option<SegmentWatch> {
        let is_refused = |since: Stopwatch| since.elapsed() < REFUSAL;
        {
            let mut state = self.state.lock();
            if state.refused.is_some_and(is_refused) {
                return None;
            }
            state.adding += 1;
        }
        // Without the lock, since the path may be on a disk that does not answer.
        let added = self.add(path);
        let mut state = self.state.lock();
        let process = std::process::id();
        let watch = match added {
            Ok(number) => {
                let id = state.add(number, log);
                Some(SegmentWatch { watches: Arc::clone(self), number, id, process })
            }
            Err(error) => {
                // Others say something about this log alone.
                if error.io_error().is_some_and(MoveWatch::refuses_all) {
                    state.refused = Some(Stopwatch::start());
                }
                None
            }
        };
        state.adding -= 1;
        if state.adding == 0 {
            state.early.clear();
        }
        watch
    }

    fn add(&self, path: &Path) -> Result<i32> {
        fs::attempt("watch", path, || self.system()?.add(path))
    }

    fn system(&self) -> io::Result<&MoveWatch> {
        if self.system.get().is_none() {
            let refuse = |_: &io::Error| self.state.lock().refused = Some(Stopwatch::start());
            let new = MoveWatch::new().inspect_err(refuse);
            // If another thread was first, its instance stays.
            let _ = self.system.set(new?);
            // Invariant: no waking is lost. The timekeeper waits for the bell, or it has seen the
            // instance and another thread, which has not, has rung the bell for it.
            self.bell.ring();
            self.system.get().into_iter().for_each(MoveWatch::wake);
        }
        self.system.get().ok_or_else(|| Unsupported.into())
    }

    /// Passes a report of the system on. `None` means that some were lost.
    fn report(&self, number: Option<i32>) {
        let mut state = self.state.lock();
        state.note_early(number);
        let Some(number) = number else {
            for (number, logs) in state.logs.drain() {
                if let Some(system) = self.system.get() {
                    system.remove(number);
                }
                logs.iter().for_each(|(_, log)| log.moved());
            }
            return;
        };
        let logs = state.logs.remove(&number).unwrap_or_default();
        logs.iter().for_each(|(_, log)| log.moved());
    }

    fn forget(&self, number: i32, id: u64) {
        let mut state = self.state.lock();
        let Some(logs) = state.logs.get_mut(&number) else { return };
        logs.retain(|(other, _)| *other != id);
        if logs.is_empty() {
            state.logs.remove(&number);
            if let Some(system) = self.system.get() {
                system.remove(number);
            }
        }
    }
}

impl Alarm for Arc<Watches> {
    fn wait(&self, span: Duration) {
        match self.system.get() {
            Some(system) => system.wait(span, |number| self.report(number)),
            None => self.bell.wait(span),
        }
    }

    fn ring(&self) {
        match self.system.get() {
            Some(system) => system.wake(),
            None => self.bell.ring(),
        }
    }
}

impl Drop for SegmentWatch {
    fn drop(&mut self) {
        if self.process == std::process::id() {
            self.watches.forget(self.number, self.id);
        }
    }
}

#[cfg(test)]
#[cfg(any(target_os = "linux", target_os = "android"))]
mod tests {
    use super::*;
    use parking_lot::Condvar;

    #[derive(Default)]
    struct Log {
        moves: Mutex<usize>,
        moved: Condvar,
    }

    impl MoveObserver for Log {
        fn moved(&self) {
            *self.moves.lock() += 1;
            self.moved.notify_all();
        }
    }

    impl Log {
        /// Waits until it was reported so many times.
        fn until(&self, moves: usize) {
            let mut seen = self.moves.lock();
            let late = |seen: &mut usize| *seen < moves;
            assert!(
                !self.moved.wait_while_for(&mut seen, late, Duration::from_secs(60)).timed_out()
            );
            assert_eq!(*seen, moves);
        }
    }

    /// The instance of a process that has a thread, and a directory with files.
    fn watches(files: &[&str]) -> Option<(Arc<Watches>, tempfile::TempDir)> {
        let dir = tempfile::tempdir().unwrap();
        files.iter().for_each(|name| std::fs::write(dir.path().join(name), name).unwrap());
        let watches = Arc::<Watches>::default();
        let waiting = Arc::downgrade(&watches);
        std::thread::spawn(move || {
            while let Some(watches) = waiting.upgrade() {
                watches.wait(Duration::from_millis(50));
            }
        });
        // Other programs may have used the user's instances up.
        watches.system().ok()?;
        Some((watches, dir))
    }

    fn watch(watches: &Arc<Watches>, path: &Path) -> (Arc<Log>, SegmentWatch) {
        let log = Arc::<Log>::default();
        let watch = watches.watch(path, Arc::<Log>::clone(&log)).unwrap();
        (log, watch)
    }

    fn known(watches: &Watches) -> usize {
        watches.state.lock().logs.len()
    }

    #[test]
    fn segment_is_reported_when_it_is_renamed_and_once() {
        let Some((watches, dir)) = watches(&["a", "b", "next"]) else { return };
        let path = |name| dir.path().join(name);
        let (a, _watch) = watch(&watches, &path("a"));
        let (b, _watch) = watch(&watches, &path("b"));
        // No record wakes the thread, and neither does a second name.
        std::fs::write(path("a"), "more").unwrap();
        std::fs::hard_link(path("a"), path("backup")).unwrap();
        if fs::exchange(&path("next"), &path("a")).is_err() {
            return;
        }
        a.until(1);
        std::fs::remove_file(path("next")).unwrap();
        std::fs::rename(path("backup"), path("elsewhere")).unwrap();
        std::fs::rename(path("b"), path("c")).unwrap();
        b.until(1);
        a.until(1);
        assert_eq!(known(&watches), 0);
    }

    #[test]
    fn writers_on_one_segment_are_all_notified() {
        let Some((watches, dir)) = watches(&["a"]) else { return };
        let path = dir.path().join("a");
        let (first, _watch) = watch(&watches, &path);
        let (second, gone) = watch(&watches, &path);
        let (third, _watch) = watch(&watches, &path);
        drop(gone);
        std::fs::rename(&path, dir.path().join("b")).unwrap();
        first.until(1);
        third.until(1);
        second.until(0);
    }

    #[test]
    fn watch_of_a_closed_log_is_removed() {
        let Some((watches, dir)) = watches(&["a", "b"]) else { return };
        let (_, closed) = watch(&watches, &dir.path().join("a"));
        let (_, _open) = watch(&watches, &dir.path().join("b"));
        drop(closed);
        assert_eq!(known(&watches), 1);
        // The system numbers watches from 1 on and lists those that it has.
        let shown = |descriptor: std::fs::DirEntry| {
            let link = std::fs::read_link(descriptor.path()).unwrap_or_default();
            let is_it = link.to_string_lossy().contains("inotify");
            let info = Path::new("/proc/self/fdinfo").join(descriptor.file_name());
            is_it.then(|| std::fs::read_to_string(info).unwrap_or_default())
        };
        let mark_of = |name| {
            let entry = dir.path().join(name).metadata().unwrap();
            format!(" ino:{:x} ", std::os::unix::fs::MetadataExt::ino(&entry))
        };
        let descriptors = std::fs::read_dir("/proc/self/fd").unwrap();
        let all: String = descriptors.filter_map(|descriptor| shown(descriptor.unwrap())).collect();
        if !all.contains(&mark_of("b")) {
            // The system does not show watches by the number that `stat` gives.
            return;
        }
        assert!(!all.contains(&mark_of("a")), "{all}");
    }

    /// A thread reads the report before the one that added the watch has noted it.
    #[test]
    fn early_report_counts_for_a_watch_that_is_being_added() {
        let Some((watches, dir)) = watches(&["a"]) else { return };
        let (first, _watch) = watch(&watches, &dir.path().join("a"));
        watches.state.lock().adding += 1;
        watches.report(Some(7));
        let (seven, eight) = (Arc::<Log>::default(), Arc::<Log>::default());
        {
            let mut state = watches.state.lock();
            state.add(7, Arc::<Log>::clone(&seven));
            state.add(8, Arc::<Log>::clone(&eight));
        }
        seven.until(1);
        eight.until(0);
        first.until(0);
        // The overflow of the queue may have been about it.
        watches.report(None);
        watches.state.lock().add(9, Arc::<Log>::clone(&seven));
        seven.until(2);
        assert_eq!(known(&watches), 0);
        watches.state.lock().adding -= 1;
        watch(&watches, &dir.path().join("a"));
        assert!(watches.state.lock().early.is_empty());
    }

    #[test]
    fn lost_reports_count_as_one_of_each_segment() {
        let Some((watches, dir)) = watches(&["a", "b"]) else { return };
        let (a, _watch) = watch(&watches, &dir.path().join("a"));
        let (b, _watch) = watch(&watches, &dir.path().join("b"));
        watches.report(None);
        a.until(1);
        b.until(1);
        assert_eq!(known(&watches), 0);
    }

    #[test]
    fn refused_log_keeps_no_other_from_being_watched() {
        let Some((watches, dir)) = watches(&["a"]) else { return };
        let too_long = "a".repeat(300);
        for impossible in ["missing", "a/below", &too_long] {
            let path = dir.path().join(impossible);
            assert!(watches.watch(&path, Arc::<Log>::default()).is_none());
        }
        watch(&watches, &dir.path().join("a"));
    }
}
