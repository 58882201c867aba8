//! One worker's side of a measurement: open the log, wait for the start, log, report.

use crate::check::Written;
use crate::contestants::{self, Contestant, Handle, Launch};
use crate::job::{Fault, Job, READY, RESULT, Report};
use crate::line::Line;
use crate::measure::{Calls, cpu_time, monotonic_nanos, think};
use anyhow::{Context, Result, bail};
use std::fs;
use std::io::{self, stdin};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Barrier;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

/// Does the job in `json`, as a process of its own.
pub fn main(json: &str) -> Result<()> {
    let job: Job = serde_json::from_str(json).context("a worker's job is not understood")?;
    let report = work(&job)?;
    println!("\n{RESULT}{}", serde_json::to_string(&report)?);
    Ok(())
}

fn work(job: &Job) -> Result<Report> {
    let mut contestant = open(job)?;
    await_start()?;
    let cpu_before = cpu_time();
    let threads = log(job, &*contestant);
    let drained = caught(|| contestant.drain());
    let mut report = report(threads, Instant::now());
    report.faults.extend(drained.err());
    match close(contestant, job.limit) {
        Some(closed) => report.faults.extend(closed.err()),
        None => report.unclosed = true,
    }
    if job.setup.gzip {
        settle(job.setup.dir());
    }
    report.cpu_secs = (cpu_time() - cpu_before).as_secs_f64();
    Ok(report)
}

/// Closes it, unless that takes longer than `limit`: some rivals then have minutes of work left.
fn close(contestant: Box<dyn Contestant>, limit: Duration) -> Option<Result<(), Fault>> {
    let (done, closed) = channel();
    thread::spawn(move || {
        // The receiver is gone if it took too long.
        let _ = done.send(caught(|| contestant.close()));
    });
    closed.recv_timeout(limit).ok()
}

/// The threads' part of the report; the processor's time and the closing come later.
fn report(threads: Vec<Thread>, drained: Instant) -> Report {
    let start = threads.iter().map(|thread| thread.started).min().unwrap_or(drained);
    let end = threads.iter().map(|thread| thread.ended).max().unwrap_or(drained);
    let mut calls = Calls::new();
    threads.iter().for_each(|thread| calls.add(&thread.calls.recorded()));
    Report {
        timed: threads.iter().map(|thread| thread.timed).sum(),
        started: monotonic_nanos(start),
        called: monotonic_nanos(end),
        drained: monotonic_nanos(drained),
        cpu_secs: 0.0,
        calls: calls.recorded(),
        faults: threads.iter().filter_map(|thread| thread.fault.clone()).collect(),
        unclosed: false,
        written: threads.into_iter().map(|thread| thread.written).collect(),
    }
}

fn open(job: &Job) -> Result<Box<dyn Contestant>> {
    let entries = contestants::all();
    let entry = entries.iter().find(|entry| entry.name == job.contestant);
    match entry.context("no such contestant")?.launch {
        Launch::Native(open) => open(&job.setup).context("it did not open"),
        Launch::Python => bail!("it is no part of this program"),
    }
}

fn await_start() -> Result<()> {
    println!("\n{READY}");
    stdin().read_line(&mut String::new()).context("nobody said to start")?;
    Ok(())
}

/// Logs in all threads at once.
fn log(job: &Job, contestant: &dyn Contestant) -> Vec<Thread> {
    let barrier = Barrier::new(job.threads as usize);
    let run = &|number: u32| {
        let mut thread = Thread::new(job, number);
        let mut handle = contestant.handle();
        barrier.wait();
        thread.run(&mut *handle, job.think);
        thread
    };
    thread::scope(|scope| {
        let running: Vec<_> =
            (0..job.threads).map(|number| scope.spawn(move || run(number))).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, Thread>| {
            thread.join().expect("BUG: a logging thread panicked outside its log calls")
        };
        running.into_iter().map(join).collect()
    })
}

/// The work of one thread, and its result.
struct Thread {
    line: Line,
    records: u64,
    limit: Duration,
    calls: Calls,
    started: Instant,
    ended: Instant,
    timed: u64,
    written: Written,
    fault: Option<Fault>,
}

impl Thread {
    fn new(job: &Job, number: u32) -> Self {
        Self {
            line: Line::new(job.worker, number),
            written: Written::default(),
            records: job.records,
            limit: job.limit,
            calls: Calls::new(),
            started: Instant::now(),
            ended: Instant::now(),
            timed: 0,
            fault: None,
        }
    }

    /// Logs until all is logged, the limit is reached or the contestant panics.
    fn run(&mut self, handle: &mut dyn Handle, think_rounds: u32) {
        self.started = Instant::now();
        let caught = catch_unwind(AssertUnwindSafe(|| self.log_all(handle, think_rounds)));
        self.ended = Instant::now();
        if let Err(payload) = caught {
            self.fault = Some(panic(&*payload));
        }
    }

    fn log_all(&mut self, handle: &mut dyn Handle, think_rounds: u32) {
        for seq in 0..self.records {
            think(think_rounds);
            let before = Instant::now();
            let result = handle.log(&self.line);
            let after = Instant::now();
            self.calls.record(after - before);
            self.note(seq, result);
            self.line.advance();
            if after - self.started > self.limit {
                break;
            }
        }
    }

    fn note(&mut self, seq: u64, result: io::Result<()>) {
        self.timed += 1;
        self.written.count = seq + 1;
        if let Err(error) = result {
            self.written.refused.push(seq);
            self.fault.get_or_insert_with(|| Fault::Error(error.to_string()));
        }
    }
}

/// `work`'s error or panic.
fn caught(work: impl FnOnce() -> io::Result<()>) -> Result<(), Fault> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|error| Fault::Error(error.to_string())),
        Err(payload) => Err(panic(&*payload)),
    }
}

fn panic(payload: &(dyn std::any::Any + Send)) -> Fault {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    Fault::Panic(text.unwrap_or("no message").to_owned())
}

/// Waits until `dir` no longer changes: some rivals compress after they are closed, and ending the
/// process would abort that.
fn settle(dir: &Path) {
    const STILL: Duration = Duration::from_millis(150);
    const AT_MOST: Duration = Duration::from_secs(5);
    let start = Instant::now();
    let mut before = listing(dir);
    while start.elapsed() < AT_MOST {
        thread::sleep(STILL);
        let now = listing(dir);
        if now == before {
            break;
        }
        before = now;
    }
}

/// Names and sizes of the files in `dir`.
fn listing(dir: &Path) -> Vec<(std::ffi::OsString, u64)> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let sized = entries.map(|e| (e.file_name(), e.metadata().map_or(0, |m| m.len())));
    let mut listing: Vec<_> = sized.collect();
    listing.sort();
    listing
}
