//! Hands the jobs of the logs out to the threads.

use super::alarm::Alarm;
use super::scheduler::{Disks, JobKind, MAX_THREADS, Scheduler, Timing};
use crate::clock::Stopwatch;
use crate::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// The jobs, and the threads that wait for one.
pub(crate) struct JobQueue<C, A> {
    start: Stopwatch,
    state: Mutex<QueueState<C>>,
    /// The timekeeper waits for a job. No other thread waits there.
    time: A,
    /// The other threads wait for maintenance.
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
    /// Whether one of these is the timekeeper.
    keeper_waits: bool,
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

impl<C: Clone, A: Alarm> JobQueue<C, A> {
    /// A queue with one thread, which the caller starts. `time` wakes the timekeeper.
    pub(crate) fn new(timing: Timing, time: A) -> Self {
        let state = QueueState {
            scheduler: Scheduler::new(timing),
            threads: 1,
            waiting: 0,
            keeper_waits: false,
            timekeeper: None,
            refused_until: Duration::ZERO,
            is_over: false,
        };
        Self {
            start: Stopwatch::start(),
            state: Mutex::new(state),
            time,
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
        let next = |state: &QueueState<C>| {
            let jobs = [state.scheduler.next_short(), state.scheduler.next_long()];
            jobs.map(|at| at.unwrap_or(Duration::MAX))
        };
        let [short, long] = next(&state);
        let number = state.scheduler.add(client, disks, self.now());
        let [shorter, longer] = next(&state);
        // Threads sleep until the next job. One that is no earlier needs no waking.
        if longer < long {
            self.wake_for_long(&state);
        }
        if shorter < short {
            self.wake_for_short(&state);
        }
        Some(number)
    }

    pub(crate) fn request_maintenance(&self, log: u64) {
        let mut state = self.state.lock();
        if state.scheduler.request_maintenance(log, self.now()) {
            self.wake_for_long(&state);
        }
    }

    pub(crate) fn request_check(&self, log: u64) {
        let mut state = self.state.lock();
        if state.scheduler.request_check(log, self.now()) {
            self.wake_for_short(&state);
        }
    }

    /// Wakes one thread for maintenance. The timekeeper does it, or starts a thread that does, if
    /// no other waits.
    fn wake_for_long(&self, state: &MutexGuard<'_, QueueState<C>>) {
        if state.helpers() > 0 {
            self.work.notify_one();
        } else if state.keeper_waits {
            self.time.ring();
        }
    }

    /// Wakes the thread for a check or poll. A timekeeper that is at work comes to it by itself.
    fn wake_for_short(&self, state: &MutexGuard<'_, QueueState<C>>) {
        if state.keeper_waits {
            self.time.ring();
        } else if state.timekeeper.is_none() {
            self.work.notify_one();
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
            self.time.ring();
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

    /// Whether the caller must start a thread because all are busy with maintenance that
    /// `needs_other`.
    pub(crate) fn lacks_waiter(&self, needs_other: impl Fn(&C) -> bool) -> bool {
        let mut state = self.state.lock();
        let may_start = !state.is_over && state.threads < state.limit(self.now());
        let lacks = may_start && state.scheduler.maintaining(needs_other) >= state.threads;
        state.threads += usize::from(lacks);
        lacks
    }

    /// Waits for the next job of a thread. `compresses` says whether a log's maintenance does, and
    /// `needs_other` whether another thread must wait for reports of the system meanwhile.
    pub(crate) fn next(
        &self,
        thread: usize,
        compresses: impl Fn(&C) -> bool,
        needs_other: impl Fn(&C) -> bool,
    ) -> NextStep<C> {
        let waits_since = self.now();
        let mut state = self.state.lock();
        loop {
            let now = self.now();
            // A thread that was woken for a job must not leave it undone.
            let step = if state.is_over { None } else { state.step(thread, now, &compresses) };
            if let Some(mut step) = step {
                state.provide_other(&mut step, now, &needs_other);
                if matches!(step, NextStep::Work { job, .. } if job.is_long()) {
                    self.wake_for_more(&state, now);
                }
                return step;
            }
            if state.is_over || state.is_surplus(thread, now.saturating_sub(waits_since)) {
                state.threads -= 1;
                return NextStep::Leave;
            }
            let span = state.next_time(thread, now).saturating_sub(now);
            state.waiting += 1;
            if state.timekeeper == Some(thread) {
                state.keeper_waits = true;
                MutexGuard::unlocked(&mut state, || self.time.wait(span));
                state.keeper_waits = false;
            } else {
                self.work.wait_for(&mut state, span);
            }
            state.waiting -= 1;
        }
    }

    /// Ends the job of a thread. Returns `true` if the caller must end the log.
    pub(crate) fn done(&self, thread: usize, worked: Duration, more: bool) -> bool {
        let mut state = self.state.lock();
        let now = self.now();
        let ends_log = state.scheduler.done(thread, now, worked, more);
        self.rest.notify_all();
        if !(ends_log && self.end_if_idle(&mut state)) {
            self.pass_on(&state, thread, now);
        }
        ends_log
    }

    /// Wakes a thread for a job that is due and that this thread will not take next: it may have
    /// waited for the end of this thread's job.
    fn pass_on(&self, state: &MutexGuard<'_, QueueState<C>>, thread: usize, now: Duration) {
        let has_short = state.scheduler.may_take_short(now, state.limit(now));
        let keeps_time = state.timekeeper == Some(thread);
        if has_short && !keeps_time {
            self.wake_for_short(state);
        }
        // The timekeeper does all checks first. One waking after them, rather than one after each.
        if !(has_short && keeps_time) {
            self.wake_for_more(state, now);
        }
    }

    /// Wakes a thread for further maintenance that is due. Of two requests in a row, both may have
    /// woken the same thread.
    fn wake_for_more(&self, state: &MutexGuard<'_, QueueState<C>>, now: Duration) {
        if state.scheduler.has_due_long(now) {
            self.wake_for_long(state);
        }
    }
}

impl<C: Clone> QueueState<C> {
    /// The number of threads that wait, without the timekeeper.
    fn helpers(&self) -> usize {
        self.waiting - usize::from(self.keeper_waits)
    }

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
                let is_due = self.scheduler.has_due_long(now);
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

    /// Has a thread that leaves none to wait, for a job that may take long, start one.
    fn provide_other(
        &mut self,
        step: &mut NextStep<C>,
        now: Duration,
        needs_other: &impl Fn(&C) -> bool,
    ) {
        let NextStep::Work { job, client, starts_thread } = step else { return };
        let is_last = self.waiting == 0 && !*starts_thread && self.threads < self.limit(now);
        if job.is_long() && is_last && needs_other(client) {
            self.threads += 1;
            *starts_thread = true;
        }
    }

    /// Whether a thread that has waited for so long may end.
    fn is_surplus(&mut self, thread: usize, waited: Duration) -> bool {
        self.threads > self.scheduler.resident_threads()
            && waited >= self.scheduler.timing().linger
            && self.timekeeper != Some(thread)
            && self.scheduler.is_quiet()
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
