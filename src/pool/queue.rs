//! Hands the jobs of the logs out to the threads.

use super::scheduler::{Disks, JobKind, MAX_THREADS, Scheduler, Timing};
use crate::clock::Stopwatch;
use crate::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// The jobs, and the threads that wait for one.
pub(crate) struct JobQueue<C> {
    start: Stopwatch,
    state: Mutex<QueueState<C>>,
    /// Threads wait for jobs.
    work: Condvar,
    /// A log that closes waits for its last jobs.
    rest: Condvar,
}

struct QueueState<C> {
    scheduler: Scheduler<C>,
    /// The number of threads, with those that are being started.
    threads: usize,
    /// The number of threads that wait for a job.
    waiting: usize,
    timekeeper: Option<usize>,
    /// Until then no thread is started, because the system has refused one.
    refused_until: Duration,
    is_over: bool,
}

/// The next step of a thread.
pub(crate) enum NextStep<C> {
    /// A job. If `starts_thread`, it starts another thread first, because none waits.
    Work {
        job: JobKind,
        client: C,
        starts_thread: bool,
    },
    StartThread,
    /// End.
    Leave,
}

/// How a log was removed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Leaving {
    Done,
    /// It was the last one, and the threads end.
    Last,
    /// The calling thread does a job of this log, and removes it afterwards.
    WithinJob,
}

/// For how long no thread is started after the system has refused one.
const REFUSAL: Duration = Duration::from_secs(10);

impl<C: Clone> Default for JobQueue<C> {
    fn default() -> Self {
        Self::with_timing(Timing::default())
    }
}

impl<C: Clone> JobQueue<C> {
    /// A queue with one thread, which the caller starts.
    pub(crate) fn with_timing(timing: Timing) -> Self {
        let state = QueueState {
            scheduler: Scheduler::new(timing),
            threads: 1,
            waiting: 0,
            timekeeper: None,
            refused_until: Duration::ZERO,
            is_over: false,
        };
        Self {
            start: Stopwatch::start(),
            state: Mutex::new(state),
            work: Condvar::new(),
            rest: Condvar::new(),
        }
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Adds a log. Returns `None` if the threads are ending.
    pub(crate) fn add(&self, client: C, disks: Disks) -> Option<u64> {
        let mut state = self.state.lock();
        if state.is_over {
            return None;
        }
        let number = state.scheduler.add(client, disks, self.now());
        self.wake(&state);
        Some(number)
    }

    pub(crate) fn request_maintenance(&self, log: u64) {
        let mut state = self.state.lock();
        if state.scheduler.request_maintenance(log, self.now()) {
            self.wake(&state);
        }
    }

    pub(crate) fn request_check(&self, log: u64) {
        let mut state = self.state.lock();
        if state.scheduler.request_check(log, self.now()) {
            self.wake(&state);
        }
    }

    fn wake(&self, state: &MutexGuard<'_, QueueState<C>>) {
        if state.waiting > 0 {
            self.work.notify_all();
        }
    }

    /// Removes a log after the last of its jobs. `thread` is the number of the calling thread, or
    /// 0.
    pub(crate) fn remove(&self, log: u64, thread: usize) -> Leaving {
        let mut state = self.state.lock();
        state.scheduler.close(log);
        while state.scheduler.is_served_by_others(log, thread) {
            self.rest.wait(&mut state);
        }
        if !state.scheduler.forget(log, thread) {
            return Leaving::WithinJob;
        }
        if self.end_if_idle(&mut state) { Leaving::Last } else { Leaving::Done }
    }

    /// Ends the threads if there is no log.
    fn end_if_idle(&self, state: &mut MutexGuard<'_, QueueState<C>>) -> bool {
        if state.scheduler.has_no_client() {
            state.is_over = true;
            self.work.notify_all();
        }
        state.is_over
    }

    /// Notes that a thread could not be started.
    pub(crate) fn thread_refused(&self) {
        let mut state = self.state.lock();
        state.threads -= 1;
        state.refused_until = self.now() + REFUSAL;
        state.is_over |= state.threads == 0;
    }

    /// Waits for the next job of a thread. `compresses` says whether a log's maintenance does.
    pub(crate) fn next(&self, thread: usize, compresses: impl Fn(&C) -> bool) -> NextStep<C> {
        let waits_since = self.now();
        let mut state = self.state.lock();
        loop {
            let now = self.now();
            if state.is_over || state.is_surplus(thread, now.saturating_sub(waits_since)) {
                state.threads -= 1;
                return NextStep::Leave;
            }
            if let Some(step) = state.step(thread, now, &compresses) {
                return step;
            }
            let until = state.next_time(thread, now);
            state.waiting += 1;
            self.work.wait_for(&mut state, until.saturating_sub(now));
            state.waiting -= 1;
        }
    }

    /// Ends the job of a thread. Returns `true` if the caller must end the log.
    pub(crate) fn done(&self, thread: usize, worked: Duration, more: bool) -> bool {
        let mut state = self.state.lock();
        let now = self.now();
        let ends_log = state.scheduler.done(thread, now, worked, more);
        self.rest.notify_all();
        if ends_log {
            self.end_if_idle(&mut state);
        } else if state.has_waiting_job(now) {
            self.wake(&state);
        }
        ends_log
    }
}

impl<C: Clone> QueueState<C> {
    /// The most threads that there can be now.
    fn limit(&self, now: Duration) -> usize {
        if now < self.refused_until { self.threads } else { MAX_THREADS }
    }

    /// Whether a job must wait for this thread: no other waits, and none can be started.
    fn is_alone(&self, now: Duration) -> bool {
        self.scheduler.resident_threads() == 1
            || (self.waiting == 0 && self.threads >= self.limit(now))
    }

    /// Returns the next step of a thread, or `None` if it must wait.
    fn step(
        &mut self,
        thread: usize,
        now: Duration,
        compresses: &impl Fn(&C) -> bool,
    ) -> Option<NextStep<C>> {
        let limit = self.limit(now);
        if self.timekeeper.is_none_or(|keeper| self.scheduler.is_stuck(keeper, now)) {
            self.timekeeper = Some(thread);
        }
        let keeps_time = self.timekeeper == Some(thread);
        if keeps_time {
            if let Some(job) = self.scheduler.take_short(thread, now, limit) {
                return Some(self.work(job, now));
            }
            if !self.is_alone(now) {
                let is_due = self.scheduler.next_long().is_some_and(|at| at <= now);
                // Waiting threads see it by themselves.
                return (is_due && self.waiting == 0).then(|| {
                    self.threads += 1;
                    NextStep::StartThread
                });
            }
        }
        let job = self.scheduler.take_long(thread, now, limit, compresses)?;
        if keeps_time {
            self.timekeeper = None;
        }
        Some(self.work(job, now))
    }

    fn work(&mut self, (job, client): (JobKind, C), now: Duration) -> NextStep<C> {
        // Otherwise no thread would notice that this one is stuck.
        let starts_thread = self.waiting == 0
            && self.scheduler.resident_threads() > 1
            && self.threads < self.limit(now);
        self.threads += usize::from(starts_thread);
        NextStep::Work { job, client, starts_thread }
    }

    /// Whether a thread that has waited for so long may end.
    fn is_surplus(&mut self, thread: usize, waited: Duration) -> bool {
        self.threads > self.scheduler.resident_threads()
            && waited >= self.scheduler.timing().linger
            && self.timekeeper != Some(thread)
            && self.scheduler.is_quiet()
    }

    /// Whether a job is due that no thread has taken.
    fn has_waiting_job(&self, now: Duration) -> bool {
        let next = [self.scheduler.next_short(), self.scheduler.next_long()];
        next.into_iter().flatten().any(|at| at <= now)
    }

    /// When a thread that has nothing to do looks again.
    fn next_time(&self, thread: usize, now: Duration) -> Duration {
        let keeps_time = self.timekeeper == Some(thread);
        let long = self.scheduler.next_long().filter(|_| !keeps_time || self.looks_for_long(now));
        let short = self.scheduler.next_short().filter(|_| keeps_time);
        // Jobs that are due already wait for the end of another, which wakes this thread.
        let next = [long, short].into_iter().flatten().filter(|at| *at > now).min();
        let latest = now + self.scheduler.timing().check;
        next.unwrap_or(latest).min(latest)
    }

    fn looks_for_long(&self, now: Duration) -> bool {
        self.waiting == 0 || self.is_alone(now)
    }
}
