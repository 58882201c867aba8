//! The threads that serve all logs of a process: at most [`MAX_THREADS`].
//!
//! The scheduler (`scheduler.rs`) decides which thread does what, on plain values. The queue
//! (`queue.rs`) hands the jobs out. This file starts and ends the threads.

mod alarm;
mod queue;
mod scheduler;
mod watch;

pub(crate) use scheduler::{Disks, JobKind};
pub(crate) use watch::{MoveObserver, SegmentWatch};

use crate::clock::Stopwatch;
use crate::fs;
use parking_lot::Mutex;
use queue::{JobQueue, Leaving, NextStep};
use scheduler::Timing;
use std::cell::Cell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::thread::{Builder, JoinHandle};
use watch::Watches;

/// A log, as the threads see it.
pub(crate) trait PoolClient: Send + Sync {
    /// Does a job. Returns whether maintenance may be due.
    fn run(&self, job: JobKind) -> bool;

    /// Whether maintenance compresses, which may take long.
    fn compresses(&self) -> bool;

    /// Whether maintenance syncs segments, which may take long.
    fn syncs(&self) -> bool;

    /// Does what remains after the last job. Called only if a job itself closed the log.
    fn end(&self);
}

type Queue = JobQueue<Arc<dyn PoolClient>, Arc<Watches>>;

/// The threads of one process.
struct ThreadPool {
    queue: Queue,
    watches: Arc<Watches>,
    handles: Mutex<Vec<JoinHandle<()>>>,
}

/// A log's place among those that the threads serve.
pub(crate) struct Registration {
    pool: Arc<ThreadPool>,
    number: u64,
    /// The process that has the threads. A process that was forked from it has none.
    process: u32,
}

/// Has a log served until [`Registration::leave`]. Starts a thread if there is none.
///
/// # Errors
/// The system refuses the first thread.
pub(crate) fn register(client: &Arc<dyn PoolClient>, disks: Disks) -> io::Result<Registration> {
    let process = std::process::id();
    let place = place_of(process);
    let mut present = place.map(|place| place.pool.lock());
    let known = present.as_ref().and_then(|present| present.upgrade());
    if let Some(pool) = known {
        if let Some(number) = pool.queue.add(Arc::clone(client), disks) {
            return Ok(Registration { pool, number, process });
        }
    }
    let pool = Arc::new(ThreadPool::new());
    // It refuses a log only while its threads are ending, and it has none yet.
    let number = pool.queue.add(Arc::clone(client), disks).unwrap_or_default();
    pool.start_thread()?;
    if let Some(present) = &mut present {
        **present = Arc::downgrade(&pool);
    }
    Ok(Registration { pool, number, process })
}

impl Registration {
    /// Reports that there may be maintenance to do.
    pub(crate) fn request_maintenance(&self) {
        if self.process == std::process::id() {
            self.pool.queue.request_maintenance(self.number);
        }
    }

    /// Has the log looked at as soon as possible.
    pub(crate) fn request_check(&self) {
        if self.process == std::process::id() {
            self.pool.queue.request_check(self.number);
        }
    }

    /// Watches the segment at `path`, and reports to `log` if it is renamed. Returns `None` if that
    /// is not to be had.
    ///
    /// A segment that was renamed before this returns may not be reported, so the caller looks
    /// afterwards.
    pub(crate) fn watch(&self, path: &Path, log: Arc<dyn MoveObserver>) -> Option<SegmentWatch> {
        if self.process != std::process::id() {
            return None;
        }
        let was_watching = self.pool.watches.is_watching();
        let watch = self.pool.watches.watch(path, log);
        if !was_watching {
            self.pool.provide_waiter();
        }
        watch
    }

    /// Ends the service, after the jobs that threads do at present. Ends the threads with the last
    /// log. Returns `false` if this thread does such a job: it then calls [`PoolClient::end`].
    pub(crate) fn leave(&self) -> bool {
        let this = THREAD.get();
        match self.pool.queue.remove(self.number, this) {
            Leaving::WithinJob => return false,
            Leaving::Done => {}
            Leaving::Last => self.pool.join_threads(),
        }
        true
    }
}

thread_local! {
    /// The number of this thread; 0 if it is none of a pool.
    static THREAD: Cell<usize> = const { Cell::new(0) };
}

/// The intervals of the threads. `LOGROTOR_CHECK_SECONDS` sets that of the checks for a test.
fn timing() -> Timing {
    let standard = Timing::default();
    #[cfg(feature = "__test")]
    if let Ok(seconds) = std::env::var("LOGROTOR_CHECK_SECONDS") {
        let check = seconds.parse().map_or(standard.check, std::time::Duration::from_secs);
        return Timing { check, ..standard };
    }
    standard
}

impl ThreadPool {
    /// A pool without threads.
    fn new() -> Self {
        let watches = Arc::<Watches>::default();
        let queue = Queue::new(timing(), Arc::clone(&watches));
        Self { queue, watches, handles: Mutex::default() }
    }

    /// Whether the threads wait for reports, and this log's maintenance would keep one from it.
    fn needs_other(&self, client: &dyn PoolClient) -> bool {
        self.watches.is_watching() && (client.compresses() || client.syncs())
    }

    /// Starts a thread that waits for reports if all are busy with what keeps them from it.
    fn provide_waiter(self: &Arc<Self>) {
        let needs_other = |client: &Arc<dyn PoolClient>| self.needs_other(&**client);
        if self.queue.lacks_waiter(needs_other) {
            // If it is refused, the present threads come to it later.
            let _ = self.start_thread();
        }
    }

    /// Starts a thread for which the queue has a place.
    fn start_thread(self: &Arc<Self>) -> io::Result<()> {
        static LAST: AtomicUsize = AtomicUsize::new(0);
        let number = 1 + LAST.fetch_add(1, Relaxed);
        let pool = Arc::clone(self);
        let thread = fs::without_signals(|| {
            Builder::new().name("logrotor-maint".to_owned()).spawn(move || pool.serve(number))
        });
        let thread = thread.inspect_err(|_| self.queue.thread_refused())?;
        let mut handles = self.handles.lock();
        handles.retain(|handle| !handle.is_finished());
        handles.push(thread);
        Ok(())
    }

    /// One thread.
    fn serve(self: &Arc<Self>, number: usize) {
        THREAD.set(number);
        fs::lower_priority();
        loop {
            let compresses = |client: &Arc<dyn PoolClient>| client.compresses();
            let needs_other = |client: &Arc<dyn PoolClient>| self.needs_other(&**client);
            match self.queue.next(number, compresses, needs_other) {
                NextStep::Leave => return,
                // If one is refused, here or below, the present threads do the work one after
                // another.
                NextStep::StartThread => drop(self.start_thread()),
                NextStep::Work { job, client, starts_thread } => {
                    if starts_thread {
                        let _ = self.start_thread();
                    }
                    let worked = Stopwatch::start();
                    // The panics of observers and headers are caught before. Should there be
                    // another, the other logs are served nevertheless.
                    let done = catch_unwind(AssertUnwindSafe(|| client.run(job)));
                    let more = done.unwrap_or_default();
                    if self.queue.done(number, worked.elapsed(), more) {
                        client.end();
                    }
                }
            }
        }
    }

    fn join_threads(&self) {
        let this = std::thread::current().id();
        // Not in the head of a loop, which would hold the lock for its whole length: a thread that
        // is joined may have started another, and takes the lock to note it.
        let mut handles = std::mem::take(&mut *self.handles.lock());
        while let Some(thread) = handles.pop() {
            if thread.thread().id() != this {
                // It has no panic to pass on.
                let _ = thread.join();
            }
            handles.append(&mut self.handles.lock());
        }
    }
}

/// A process's pool.
struct Place {
    /// The process, or 0.
    process: AtomicU32,
    pool: Mutex<Weak<ThreadPool>>,
}

/// Returns the place of this process's pool.
///
/// A process that was forked from another must not touch the other's place, which a thread of the
/// other may have locked during the fork. It takes the next one. After as many generations of
/// processes as there are places, each with a log, there is none: then each log has a pool of its
/// own.
fn place_of(process: u32) -> Option<&'static Place> {
    static PLACES: [Place; 16] =
        [const { Place { process: AtomicU32::new(0), pool: Mutex::new(Weak::new()) } }; 16];
    PLACES.iter().find(|place| {
        let taken = place.process.compare_exchange(0, process, Relaxed, Relaxed);
        taken.is_ok() || taken == Err(process)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    /// A thread that is joined may have started another one, and notes that.
    #[test]
    fn regression_thread_that_is_joined_can_note_another() {
        let pool = Arc::new(ThreadPool::new());
        let noting = Arc::clone(&pool);
        // The thread must not look before its own handle is there.
        let mut handles = pool.handles.lock();
        handles.push(std::thread::spawn(move || {
            // Until it is being joined.
            while !noting.handles.lock().is_empty() {
                std::thread::yield_now();
            }
            noting.handles.lock().push(std::thread::spawn(|| {}));
        }));
        drop(handles);
        let (done, joined) = channel();
        let joining = Arc::clone(&pool);
        std::thread::spawn(move || {
            joining.join_threads();
            done.send(()).unwrap();
        });
        // Without end if the lock is held during the join.
        joined.recv_timeout(Duration::from_secs(60)).unwrap();
        assert!(pool.handles.lock().is_empty());
    }
}

#[cfg(test)]
#[cfg(any(target_os = "linux", target_os = "android"))]
mod watch_tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Duration;

    /// A log whose compression takes until the gate opens.
    struct Gated {
        begins: Sender<()>,
        gate: Mutex<Receiver<()>>,
    }

    impl PoolClient for Gated {
        fn run(&self, job: JobKind) -> bool {
            if job.is_long() {
                // The test may have failed.
                let _ = self.begins.send(());
                let _ = self.gate.lock().recv();
            }
            false
        }

        fn compresses(&self) -> bool {
            true
        }

        fn syncs(&self) -> bool {
            false
        }

        fn end(&self) {}
    }

    struct Reported(Sender<()>);

    impl MoveObserver for Reported {
        fn moved(&self) {
            let _ = self.0.send(());
        }
    }

    /// The first record comes while the only thread compresses backups that it found.
    #[test]
    fn regression_first_watch_during_a_compression_is_waited_for() {
        // Other programs may have used the user's instances up.
        if crate::sys::MoveWatch::new().is_err() {
            return;
        }
        let pool = Arc::new(ThreadPool::new());
        let ((begins, begun), (open, gate)) = (channel(), channel());
        let client: Arc<dyn PoolClient> = Arc::new(Gated { begins, gate: Mutex::new(gate) });
        let number = pool.queue.add(client, Disks { log: 1, policy: None }).unwrap();
        pool.start_thread().unwrap();
        let patience = Duration::from_secs(60);
        begun.recv_timeout(patience).unwrap();
        let log = Registration { pool, number, process: std::process::id() };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.log");
        std::fs::write(&path, "").unwrap();
        let (report, reports) = channel();
        let watch = log.watch(&path, Arc::new(Reported(report)));
        assert!(watch.is_some());
        std::fs::rename(&path, dir.path().join("backup")).unwrap();
        reports.recv_timeout(patience).unwrap();
        open.send(()).unwrap();
        assert!(log.leave());
    }
}
