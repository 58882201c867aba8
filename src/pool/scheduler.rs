//! Which thread does which job, decided on plain values.
//!
//! A log calls for three kinds of jobs. *Check* and *poll* come at intervals and are short, unless
//! the disk is stuck. *Maintain* comes on request and may take long.
//!
//! One thread, the *timekeeper*, does the checks and polls. If one of them takes longer than
//! [`Timing::patience`], another thread becomes the timekeeper. Two rules keep a disk that does not
//! answer, or a long compression, from holding up other logs:
//!
//! - One compression at a time per disk. Maintenance of other logs then prunes and syncs only, and
//!   compresses later.
//! - The last thread that is free compresses nothing, and does nothing on a disk on which another
//!   thread is at work, compressions aside. So a stuck disk never takes all threads.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The most threads of a pool.
pub(super) const MAX_THREADS: usize = 3;

/// The number of logs whose maintenance begins as soon as they are opened, for the sake of programs
/// that end within a second.
const AT_ONCE: usize = 16;

/// The intervals of the threads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    /// How often an idle log is checked.
    pub(crate) check: Duration,
    /// How often a policy is polled, so that a new version takes effect well within a second.
    pub(crate) poll: Duration,
    /// How long a check or poll may take before another thread does those that follow.
    pub(crate) patience: Duration,
    /// How long a thread without work stays if there are others.
    pub(crate) linger: Duration,
    /// How long the maintenance of a log rests at most after it was done.
    pub(crate) max_rest: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            check: Duration::from_secs(1),
            poll: Duration::from_millis(250),
            patience: Duration::from_millis(500),
            linger: Duration::from_secs(5),
            // A thousand rotations per second must not cause a thousand listings of a large
            // directory.
            max_rest: Duration::from_millis(100),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum JobKind {
    /// Check the path and the age of an idle log, and report its events.
    Check,
    /// Check the policy.
    Poll,
    /// Sync, prune and compress.
    Maintain,
    /// The same without compression.
    Prune,
}

impl JobKind {
    /// Whether it is maintenance, which may take long.
    pub(crate) fn is_long(self) -> bool {
        matches!(self, Self::Maintain | Self::Prune)
    }
}

/// The disks that a log's jobs may wait for, each as the number of its volume.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Disks {
    pub(crate) log: u64,
    /// That of the policy, if there is one.
    pub(crate) policy: Option<u64>,
}

struct Client<C> {
    client: C,
    disks: Disks,
    /// When maintenance may be done again.
    rested_at: Duration,
    /// The time for which maintenance is scheduled.
    maintain_at: Option<Duration>,
    /// Whether it was requested while it was done.
    is_requested_again: bool,
    /// Whether maintenance was done without compression since it was requested.
    is_pruned: bool,
    /// Whether a job itself closed the log.
    is_ending: bool,
}

/// A job that a thread does at present.
struct Running {
    thread: usize,
    log: u64,
    kind: JobKind,
    disk: u64,
    compresses: bool,
    since: Duration,
}

pub(crate) struct Scheduler<C> {
    timing: Timing,
    clients: BTreeMap<u64, Client<C>>,
    last_number: u64,
    /// Checks and polls, by their time.
    short: BTreeSet<(Duration, u64, JobKind)>,
    /// Maintenance, by its time.
    long: BTreeSet<(Duration, u64)>,
    running: Vec<Running>,
}

impl<C: Clone> Scheduler<C> {
    pub(super) fn new(timing: Timing) -> Self {
        Self {
            timing,
            clients: BTreeMap::new(),
            last_number: 0,
            short: BTreeSet::new(),
            long: BTreeSet::new(),
            running: Vec::new(),
        }
    }

    /// Adds a log, whose first maintenance is due: with its first check if it is one of many, so
    /// that the threads do not get in the way while a program opens its logs. Returns its number.
    pub(super) fn add(&mut self, client: C, disks: Disks, now: Duration) -> u64 {
        self.last_number += 1;
        let number = self.last_number;
        let client = Client {
            client,
            disks,
            rested_at: Duration::ZERO,
            maintain_at: None,
            is_requested_again: false,
            is_pruned: false,
            is_ending: false,
        };
        self.clients.insert(number, client);
        self.short.insert((next_tick(now, self.timing.check), number, JobKind::Check));
        if disks.policy.is_some() {
            self.short.insert((next_tick(now, self.timing.poll), number, JobKind::Poll));
        }
        if self.clients.len() <= AT_ONCE {
            self.request_maintenance(number, now);
        }
        number
    }

    /// Schedules maintenance. Returns whether that is news.
    pub(super) fn request_maintenance(&mut self, log: u64, now: Duration) -> bool {
        let is_running = self.is_running(log, JobKind::is_long);
        let Some(client) = self.clients.get_mut(&log) else { return false };
        client.is_pruned = false;
        if is_running {
            client.is_requested_again = true;
            return false;
        }
        self.schedule_maintenance(log, now)
    }

    fn schedule_maintenance(&mut self, log: u64, now: Duration) -> bool {
        let Some(client) = self.clients.get_mut(&log) else { return false };
        let is_news = client.maintain_at.is_none() && !client.is_ending;
        if is_news {
            let at = now.max(client.rested_at);
            client.maintain_at = Some(at);
            self.long.insert((at, log));
        }
        is_news
    }

    /// Schedules a check for now.
    pub(super) fn request_check(&mut self, log: u64, now: Duration) -> bool {
        let is_it =
            |(_, of, kind): &&(Duration, u64, JobKind)| (*of, *kind) == (log, JobKind::Check);
        let Some(scheduled) = self.short.iter().find(is_it).copied() else { return false };
        if scheduled.0 <= now {
            return false;
        }
        self.short.remove(&scheduled);
        self.short.insert((now, log, JobKind::Check))
    }

    /// Takes the next check or poll that is due.
    pub(super) fn take_short(
        &mut self,
        thread: usize,
        now: Duration,
        limit: usize,
    ) -> Option<(JobKind, C)> {
        let job = self.due_short(now, limit)?;
        self.short.remove(&job);
        self.start(thread, job.1, job.2, false, now)
    }

    /// Whether there is a check or poll that is due and that a free thread may start.
    pub(super) fn may_take_short(&self, now: Duration, limit: usize) -> bool {
        self.due_short(now, limit).is_some()
    }

    fn due_short(&self, now: Duration, limit: usize) -> Option<(Duration, u64, JobKind)> {
        let due = self.short.iter().take_while(|(at, ..)| *at <= now);
        due.copied().find(|(_, log, kind)| {
            self.disk(*log, *kind).is_some_and(|disk| self.may_start(disk, false, limit))
        })
    }

    /// Takes the next maintenance that is due.
    pub(super) fn take_long(
        &mut self,
        thread: usize,
        now: Duration,
        limit: usize,
        compresses: impl Fn(&C) -> bool,
    ) -> Option<(JobKind, C)> {
        let due = self.long.iter().take_while(|(at, _)| *at <= now);
        let (at, log, kind, compresses) = due.copied().find_map(|(at, log)| {
            let client = self.clients.get(&log)?;
            let compresses = compresses(&client.client);
            if self.may_start(client.disks.log, compresses, limit) {
                return Some((at, log, JobKind::Maintain, compresses));
            }
            let may_prune = !client.is_pruned && self.may_start(client.disks.log, false, limit);
            (compresses && may_prune).then_some((at, log, JobKind::Prune, false))
        })?;
        self.long.remove(&(at, log));
        let client = self.clients.get_mut(&log)?;
        client.maintain_at = None;
        client.is_requested_again = false;
        client.is_pruned = kind == JobKind::Prune;
        self.start(thread, log, kind, compresses, now)
    }

    fn start(
        &mut self,
        thread: usize,
        log: u64,
        kind: JobKind,
        compresses: bool,
        since: Duration,
    ) -> Option<(JobKind, C)> {
        let disk = self.disk(log, kind)?;
        self.running.push(Running { thread, log, kind, disk, compresses, since });
        Some((kind, self.clients.get(&log)?.client.clone()))
    }

    /// Whether a free thread may start a job on a disk. `limit` is the most threads there can be.
    fn may_start(&self, disk: u64, compresses: bool, limit: usize) -> bool {
        let is_last = limit > 1 && self.running.len() + 1 >= limit;
        let mut others = self.running.iter().filter(|other| other.disk == disk);
        if compresses {
            return !is_last && !others.any(|other| other.compresses);
        }
        !is_last || others.all(|other| other.compresses)
    }

    fn disk(&self, log: u64, kind: JobKind) -> Option<u64> {
        let disks = self.clients.get(&log)?.disks;
        if kind == JobKind::Poll { disks.policy } else { Some(disks.log) }
    }

    /// Ends the job of a thread, which took the time `worked`. `more` says that maintenance may be
    /// due. Returns `true` if the log is closed and that was the last job.
    pub(super) fn done(
        &mut self,
        thread: usize,
        now: Duration,
        worked: Duration,
        more: bool,
    ) -> bool {
        let Some(at) = self.running.iter().position(|job| job.thread == thread) else {
            return false;
        };
        let Running { log, kind, .. } = self.running.swap_remove(at);
        let maintains = self.is_running(log, JobKind::is_long);
        let Timing { check, poll, max_rest, .. } = self.timing;
        let Some(client) = self.clients.get_mut(&log) else { return false };
        if client.is_ending {
            self.clients.remove(&log);
            return true;
        }
        match kind {
            JobKind::Check => drop(self.short.insert((next_tick(now, check), log, kind))),
            JobKind::Poll => drop(self.short.insert((next_tick(now, poll), log, kind))),
            JobKind::Maintain | JobKind::Prune => {
                client.rested_at = now + max_rest.min(3 * worked);
                let again = client.is_requested_again || kind == JobKind::Prune;
                if again {
                    self.schedule_maintenance(log, now);
                }
            }
        }
        if more && !maintains {
            self.schedule_maintenance(log, now);
        }
        false
    }

    /// Starts no more jobs of a log.
    pub(super) fn close(&mut self, log: u64) {
        self.short.retain(|(_, of, _)| *of != log);
        let Some(client) = self.clients.get_mut(&log) else { return };
        client.is_ending = true;
        if let Some(at) = client.maintain_at.take() {
            self.long.remove(&(at, log));
        }
    }

    /// Whether another thread than this does a job of the log.
    pub(super) fn is_served_by_others(&self, log: u64, thread: usize) -> bool {
        self.running.iter().any(|job| job.log == log && job.thread != thread)
    }

    /// Forgets a closed log. Returns `false` if this thread does a job of it, which ends it.
    pub(super) fn forget(&mut self, log: u64, thread: usize) -> bool {
        let is_within = self.running.iter().any(|job| (job.log, job.thread) == (log, thread));
        if !is_within {
            self.clients.remove(&log);
        }
        !is_within
    }

    fn is_running(&self, log: u64, is_it: impl Fn(JobKind) -> bool) -> bool {
        self.running.iter().any(|job| job.log == log && is_it(job.kind))
    }

    /// The number of threads that do maintenance of logs that `are_it`.
    pub(super) fn maintaining(&self, are_it: impl Fn(&C) -> bool) -> usize {
        let maintained = self.running.iter().filter(|job| job.kind.is_long());
        let logs = maintained.filter_map(|job| self.clients.get(&job.log));
        logs.filter(|log| are_it(&log.client)).count()
    }

    pub(super) fn has_no_client(&self) -> bool {
        self.clients.is_empty()
    }

    /// The number of threads that always stay. One log alone has one, and a second one with a
    /// policy. Otherwise there are two, so that one can stand in for the other.
    pub(super) fn resident_threads(&self) -> usize {
        // Asked for each job: with many logs it must not look at each of them.
        let polls = || self.clients.values().any(|client| client.disks.policy.is_some());
        if self.clients.len() > 1 || polls() { 2 } else { 1 }
    }

    /// Whether no thread does a job.
    pub(super) fn is_quiet(&self) -> bool {
        self.running.is_empty()
    }

    /// Whether this thread does one job for too long, and others wait.
    pub(super) fn is_stuck(&self, thread: usize, now: Duration) -> bool {
        let job = self.running.iter().find(|job| job.thread == thread);
        job.is_some_and(|job| now.saturating_sub(job.since) >= self.timing.patience)
    }

    /// The time of the next check or poll.
    pub(super) fn next_short(&self) -> Option<Duration> {
        self.short.first().map(|(at, ..)| *at)
    }

    /// The time of the next maintenance.
    pub(super) fn next_long(&self) -> Option<Duration> {
        self.long.first().map(|(at, _)| *at)
    }

    /// Whether maintenance is due, whether or not it may start.
    pub(super) fn has_due_long(&self, now: Duration) -> bool {
        self.next_long().is_some_and(|at| at <= now)
    }

    pub(super) fn timing(&self) -> Timing {
        self.timing
    }
}

/// The next multiple of `interval`, so that one waking serves many logs.
fn next_tick(now: Duration, interval: Duration) -> Duration {
    let interval = interval.as_millis().max(1);
    let next = (now.as_millis() / interval + 1) * interval;
    Duration::from_millis(u64::try_from(next).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log that compresses has a name with `c` first.
    type Log = &'static str;

    const DEAD: u64 = 13;
    const FINE: u64 = 1;

    fn compresses(log: &Log) -> bool {
        log.starts_with('c')
    }

    fn on(disk: u64) -> Disks {
        Disks { log: disk, policy: None }
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    /// Ends the job of a thread at once.
    fn end(scheduler: &mut Scheduler<Log>, thread: usize, now: Duration) {
        assert!(!scheduler.done(thread, now, Duration::ZERO, false));
    }

    fn with_logs(logs: &[(Log, u64)]) -> Scheduler<Log> {
        let mut scheduler = Scheduler::new(Timing::default());
        for (log, disk) in logs {
            scheduler.add(*log, on(*disk), Duration::ZERO);
        }
        scheduler
    }

    /// No job of the dead disk ends. The last thread does all jobs of the other disk but
    /// compression, in whichever order jobs are taken.
    #[test]
    fn disk_that_does_not_answer_leaves_a_thread_for_the_others() {
        let orders: [&[bool]; 4] = [
            &[true, true, false],
            &[false, true, true],
            &[true, false, true],
            &[false, false, true],
        ];
        for order in orders {
            let mut scheduler =
                with_logs(&[("c dead", DEAD), ("dead", DEAD), ("c fine", FINE), ("fine", FINE)]);
            let now = seconds(1);
            let mut stuck = 0;
            // Threads 1 to 3 take what they can; those on the other disk end at once.
            for (at, is_short) in order.iter().cycle().take(40).enumerate() {
                let thread = 1 + stuck;
                let job = if *is_short {
                    scheduler.take_short(thread, now + seconds(at as u64), MAX_THREADS)
                } else {
                    scheduler.take_long(thread, now + seconds(at as u64), MAX_THREADS, compresses)
                };
                match job {
                    Some((_, log)) if log.ends_with("dead") => stuck += 1,
                    Some(_) => end(&mut scheduler, thread, now + seconds(at as u64)),
                    None => {}
                }
                assert!(stuck < MAX_THREADS, "{order:?}: no thread is left");
            }
            let later = seconds(100);
            scheduler.request_maintenance(4, later);
            let mut served = Vec::new();
            while let Some((kind, log)) = scheduler.take_short(9, later, MAX_THREADS) {
                assert!(stuck < 2 || log.ends_with("fine"));
                served.push((kind, log));
                if log.ends_with("fine") {
                    end(&mut scheduler, 9, later);
                } else {
                    break;
                }
            }
            assert!(stuck < 2 || served.len() == 2, "{order:?}: {served:?}");
            if stuck == 2 {
                let job = scheduler.take_long(9, later, MAX_THREADS, compresses);
                assert!(job.is_some_and(|(_, log)| log.ends_with("fine")), "{order:?}");
            }
        }
    }

    #[test]
    fn log_is_pruned_while_another_one_is_compressed() {
        let mut scheduler = with_logs(&[("c one", FINE), ("c two", FINE)]);
        let take = |scheduler: &mut Scheduler<Log>, thread, now| {
            scheduler.take_long(thread, now, MAX_THREADS, compresses)
        };
        let now = Duration::ZERO;
        assert_eq!(take(&mut scheduler, 1, now), Some((JobKind::Maintain, "c one")));
        assert_eq!(take(&mut scheduler, 2, now), Some((JobKind::Prune, "c two")));
        end(&mut scheduler, 2, now);
        // Once, until there is something new.
        assert_eq!(take(&mut scheduler, 2, seconds(1)), None);
        scheduler.request_maintenance(2, seconds(1));
        assert_eq!(take(&mut scheduler, 2, seconds(1)), Some((JobKind::Prune, "c two")));
        end(&mut scheduler, 2, seconds(1));
        end(&mut scheduler, 1, seconds(1));
        assert_eq!(take(&mut scheduler, 1, seconds(2)), Some((JobKind::Maintain, "c two")));
    }

    #[test]
    fn logs_on_two_disks_are_compressed_side_by_side() {
        let mut scheduler = with_logs(&[("c one", 1), ("c two", 2), ("c three", 3)]);
        let mut take = |thread| scheduler.take_long(thread, seconds(0), MAX_THREADS, compresses);
        assert_eq!(take(1), Some((JobKind::Maintain, "c one")));
        assert_eq!(take(2), Some((JobKind::Maintain, "c two")));
        // The last thread compresses nothing.
        assert_eq!(take(3), Some((JobKind::Prune, "c three")));
    }

    #[test]
    fn check_on_a_stuck_disk_does_not_count_as_one_to_start() {
        let mut scheduler = with_logs(&[("dead", DEAD), ("dead", DEAD), ("dead", DEAD)]);
        let now = seconds(1);
        for thread in 1..=2 {
            assert!(scheduler.may_take_short(now, MAX_THREADS));
            assert!(scheduler.take_short(thread, now, MAX_THREADS).is_some());
        }
        // One is due, but the last thread stays free for other disks.
        assert!(!scheduler.may_take_short(now, MAX_THREADS));
        assert!(scheduler.next_short().is_some_and(|at| at <= now));
        scheduler.add("fine", on(FINE), now);
        assert!(!scheduler.may_take_short(now, MAX_THREADS), "it is not due yet");
        assert!(scheduler.may_take_short(seconds(2), MAX_THREADS));
    }

    #[test]
    fn checks_of_all_logs_come_in_one_waking() {
        let mut scheduler = Scheduler::new(Timing::default());
        for at in [0, 1, 250, 999] {
            scheduler.add("log", on(FINE), Duration::from_millis(at));
        }
        let take = |scheduler: &mut Scheduler<Log>, now| scheduler.take_short(1, now, MAX_THREADS);
        assert_eq!(take(&mut scheduler, Duration::from_millis(999)), None);
        for _ in 0..4 {
            assert!(take(&mut scheduler, seconds(1)).is_some());
            end(&mut scheduler, 1, seconds(1) + Duration::from_millis(3));
        }
        assert_eq!(take(&mut scheduler, Duration::from_millis(1999)), None);
        assert_eq!(scheduler.next_short(), Some(seconds(2)));
    }

    #[test]
    fn one_of_many_logs_is_first_maintained_after_its_check() {
        let mut scheduler = with_logs(&[("log", FINE); AT_ONCE + 1]);
        let take = |scheduler: &mut Scheduler<Log>, now| {
            scheduler.take_long(1, now, MAX_THREADS, compresses)
        };
        for _ in 0..AT_ONCE {
            assert!(take(&mut scheduler, seconds(0)).is_some());
            end(&mut scheduler, 1, seconds(0));
        }
        assert_eq!(take(&mut scheduler, seconds(1)), None);
        // Its check finds that it was not maintained yet.
        while let Some((JobKind::Check, _)) = scheduler.take_short(1, seconds(1), MAX_THREADS) {
            assert!(!scheduler.done(1, seconds(1), Duration::ZERO, true));
        }
        assert_eq!(scheduler.next_long(), Some(seconds(1)));
    }

    #[test]
    fn maintenance_rests_after_its_work() {
        let mut scheduler = with_logs(&[("log", FINE)]);
        let mut run = |now: Duration, worked: Duration| {
            scheduler.request_maintenance(1, now);
            scheduler.take_long(1, now, MAX_THREADS, compresses)?;
            // A request meanwhile is not lost.
            scheduler.request_maintenance(1, now);
            scheduler.done(1, now, worked, false);
            scheduler.next_long()
        };
        let millis = Duration::from_millis;
        assert_eq!(run(millis(0), millis(10)), Some(millis(30)));
        assert_eq!(run(millis(30), millis(900)), Some(millis(130)));
    }

    #[test]
    fn thread_that_is_the_only_one_does_everything() {
        let mut scheduler = with_logs(&[("c one", FINE), ("c two", FINE)]);
        for log in ["c one", "c two"] {
            let job = scheduler.take_long(1, seconds(0), 1, compresses);
            assert_eq!(job, Some((JobKind::Maintain, log)));
            end(&mut scheduler, 1, seconds(0));
        }
    }
}
