//! The threads that serve all logs: requests, and the end of a log.

use crate::clock::FAR;
use crate::pool::alarm::{Alarm, Bell};
use crate::pool::queue::{JobQueue, Leaving, NextStep};
use crate::pool::scheduler::{Disks, JobKind, Timing};
use shuttle::sync::mpsc::{Sender, channel};
use shuttle::sync::{Barrier, Mutex};
use shuttle::thread;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

/// No thread wakes because time passes: only a request or the end of a job wakes it.
const NEVER: Timing =
    Timing { check: FAR, poll: FAR, patience: FAR, linger: FAR, max_rest: Duration::ZERO };

/// A log: the work that was requested, and the number of threads that are in a job of it.
#[derive(Default)]
struct Client {
    requested: AtomicUsize,
    inside: AtomicUsize,
    ended: AtomicUsize,
}

/// Where the timekeeper waits, and who learns that it does.
#[derive(Default)]
struct Waits {
    bell: Bell,
    begins: Option<Mutex<Sender<()>>>,
}

impl Alarm for Waits {
    fn wait(&self, span: Duration) {
        if let Some(begins) = &self.begins {
            // The scenario may have seen enough.
            let _ = begins.lock().unwrap().send(());
        }
        self.bell.wait(span);
    }

    fn ring(&self) {
        self.bell.ring();
    }
}

type Queue = JobQueue<Arc<Client>, Waits>;

type Job = dyn Fn(&Pool, usize, &Client) + Send + Sync;

struct Pool {
    queue: Queue,
    started: AtomicUsize,
    gone: Sender<()>,
    /// Whether a job takes so long that another thread must wait for reports meanwhile.
    needs_other: bool,
    job: Box<Job>,
}

impl Pool {
    fn start(self: &Arc<Self>) {
        let pool = Arc::clone(self);
        let number = 1 + self.started.fetch_add(1, SeqCst);
        thread::spawn(move || {
            pool.serve(number);
            // The scenario may be over.
            let _ = pool.gone.send(());
        });
    }

    fn serve(self: &Arc<Self>, number: usize) {
        loop {
            match self.queue.next(number, |_| false, |_| self.needs_other) {
                NextStep::Leave => return,
                NextStep::StartThread => self.start(),
                NextStep::Work { job, client, starts_thread } => {
                    if starts_thread {
                        self.start();
                    }
                    assert!(matches!(job, JobKind::Maintain), "only maintenance was requested");
                    client.inside.fetch_add(1, SeqCst);
                    (self.job)(self, number, &client);
                    client.inside.fetch_sub(1, SeqCst);
                    if self.queue.done(number, Duration::ZERO, false) {
                        client.ended.fetch_add(1, SeqCst);
                    }
                }
            }
        }
    }
}

fn disk(log: u64) -> Disks {
    Disks { log, policy: None }
}

/// Threads request maintenance of `logs` logs, each `requests` times. Checks that a job sees each
/// request although no time passes, that a log which was removed has no job, and that all threads
/// end with the last log.
pub fn logs_are_maintained_on_request(logs: usize, requests: usize) {
    let ((tell, done), (gone, ends)) = (channel(), channel());
    let pool = Arc::new(Pool {
        queue: Queue::new(NEVER, Waits::default()),
        started: AtomicUsize::new(0),
        gone,
        needs_other: false,
        job: Box::new(move |_, _, client| {
            // The scenario may have seen enough.
            let _ = tell.send((std::ptr::from_ref(client) as usize, client.requested.load(SeqCst)));
        }),
    });
    let clients: Vec<_> = (0..logs).map(|_| Arc::new(Client::default())).collect();
    let add = |client: &Arc<Client>| pool.queue.add(Arc::clone(client), disk(1)).unwrap();
    let numbers: Vec<_> = clients.iter().map(add).collect();
    pool.start();
    for (client, number) in clients.iter().zip(&numbers) {
        let (pool, client, number) = (Arc::clone(&pool), Arc::clone(client), *number);
        thread::spawn(move || {
            for _ in 0..requests {
                client.requested.fetch_add(1, SeqCst);
                pool.queue.request_maintenance(number);
            }
        });
    }
    let mut unserved: Vec<_> = clients.iter().map(|client| Arc::as_ptr(client) as usize).collect();
    while !unserved.is_empty() {
        let (client, seen) = done.recv().unwrap();
        unserved.retain(|other| *other != client || seen < requests);
    }
    for (at, (client, number)) in clients.iter().zip(&numbers).enumerate() {
        let is_last = at + 1 == logs;
        let expected = if is_last { Leaving::Last } else { Leaving::Done };
        assert_eq!(pool.queue.remove(*number, 0), expected);
        assert_eq!(client.inside.load(SeqCst), 0, "a removed log is being served");
    }
    assert!(pool.queue.add(Arc::clone(&clients[0]), disk(1)).is_none());
    for _ in 0..pool.started.load(SeqCst) {
        ends.recv().unwrap();
    }
}

/// Maintenance of two logs is requested at the same time. Checks that one job begins while the
/// other one is done: no request is left to the thread that serves the other.
pub fn two_requests_are_served_beside_each_other() {
    const LOGS: usize = 2;
    let ((tell, done), (gone, ends)) = (channel(), channel());
    let both = Barrier::new(LOGS);
    let pool = Arc::new(Pool {
        // A third thread leaves at once, so that one waits for maintenance.
        queue: Queue::new(Timing { linger: Duration::ZERO, ..NEVER }, Waits::default()),
        started: AtomicUsize::new(0),
        gone,
        needs_other: false,
        job: Box::new(move |_, _, client| {
            if client.requested.swap(0, SeqCst) == 1 {
                both.wait();
            }
            // The scenario may have seen enough.
            let _ = tell.send(());
        }),
    });
    let clients: Vec<_> = (0..LOGS).map(|_| Arc::new(Client::default())).collect();
    let add = |client: &Arc<Client>| pool.queue.add(Arc::clone(client), disk(1)).unwrap();
    let numbers: Vec<_> = clients.iter().map(add).collect();
    pool.start();
    // The first maintenance of each, for which one thread is enough.
    clients.iter().for_each(|_| done.recv().unwrap());
    for (client, number) in clients.iter().zip(&numbers) {
        client.requested.store(1, SeqCst);
        pool.queue.request_maintenance(*number);
    }
    clients.iter().for_each(|_| done.recv().unwrap());
    numbers.iter().for_each(|number| {
        let _ = pool.queue.remove(*number, 0);
    });
    for _ in 0..pool.started.load(SeqCst) {
        ends.recv().unwrap();
    }
}

/// A job removes its own log, beside `logs - 1` others. Checks that this log is ended once, after
/// the job.
pub fn job_closes_its_own_log(logs: usize) {
    let (tell, removed) = channel();
    let (gone, ends) = channel();
    let pool = Arc::new(Pool {
        queue: Queue::new(NEVER, Waits::default()),
        started: AtomicUsize::new(0),
        gone,
        needs_other: false,
        job: Box::new(move |pool, thread, client| {
            if client.requested.swap(0, SeqCst) == 1 {
                assert_eq!(pool.queue.remove(1, thread), Leaving::WithinJob);
                assert_eq!(client.ended.load(SeqCst), 0);
                tell.send(()).unwrap();
            }
        }),
    });
    let clients: Vec<_> = (0..logs).map(|_| Arc::new(Client::default())).collect();
    clients[0].requested.store(1, SeqCst);
    for client in &clients {
        pool.queue.add(Arc::clone(client), disk(1)).unwrap();
    }
    pool.start();
    removed.recv().unwrap();
    for number in 2..=logs as u64 {
        pool.queue.remove(number, 0);
    }
    for _ in 0..pool.started.load(SeqCst) {
        ends.recv().unwrap();
    }
    assert_eq!(clients[0].ended.load(SeqCst), 1);
}

/// The job of a log alone takes until another thread waits for reports of the system.
pub fn another_thread_waits_during_a_job() {
    let ((begins, waits), (gone, ends)) = (channel(), channel());
    let (tell, done) = channel();
    let waits = Mutex::new(waits);
    let pool = Arc::new(Pool {
        queue: Queue::new(NEVER, Waits { bell: Bell::default(), begins: Some(Mutex::new(begins)) }),
        started: AtomicUsize::new(0),
        gone,
        needs_other: true,
        job: Box::new(move |_, _, _| {
            waits.lock().unwrap().recv().unwrap();
            tell.send(()).unwrap();
        }),
    });
    let number = pool.queue.add(Arc::new(Client::default()), disk(1)).unwrap();
    pool.start();
    done.recv().unwrap();
    assert_eq!(pool.queue.remove(number, 0), Leaving::Last);
    for _ in 0..pool.started.load(SeqCst) {
        ends.recv().unwrap();
    }
}
