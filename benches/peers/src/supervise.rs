//! Runs one contestant's share of a case in processes of its own, each with a time limit.
//!
//! A process for each measurement separates processor time and leftovers. A contestant that hangs
//! or aborts becomes a row without figures.

use crate::check::{Tally, check};
use crate::contestants::{Entry, Launch, Setup};
use crate::job::{Fault, Job, READY, RESULT, Report};
use crate::line::Line;
use crate::measure::Calls;
use crate::scenarios::Case;
use anyhow::{Context, Result, anyhow, bail};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The figures of one contestant in one round of one case.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// ns per record until the last call returned, all threads and processes together.
    pub called: f64,
    /// ns per record until all was in the kernel.
    pub drained: f64,
    /// Processor ns per record.
    pub cpu: f64,
    /// ns of a single call: the mean, then quantiles.
    pub mean: f64,
    pub p50: f64,
    pub p99: f64,
    pub p9999: f64,
    pub max: f64,
    /// Records logged while the clock ran.
    pub timed: u64,
    pub tally: Tally,
    pub faults: Vec<Fault>,
    /// Whether a worker was still closing when its time was over.
    pub unclosed: bool,
}

/// The environment that all runs share.
pub struct Ground {
    /// A directory on the case's file system.
    pub dir: PathBuf,
    /// Rounds of thinking that take the case's time.
    pub think: u32,
    /// The interpreter that has the Python contestant, if there is one.
    pub python: Option<PathBuf>,
}

/// Measures `entry` once.
///
/// # Errors
/// A worker that cannot be started, does not open the log, dies, or exceeds its time. The message
/// is the contestant's own where it left one.
pub fn run(entry: &Entry, case: &Case, ground: &Ground) -> Result<Outcome> {
    let scratch = TempDir::with_prefix_in("run-", &ground.dir)?;
    let log_dir = scratch.path().join("log");
    fs::create_dir(&log_dir)?;
    plant(entry, case, &log_dir)?;
    let mut crew = Crew::new(case.limit);
    for worker in 0..case.processes {
        let job = job(entry, case, ground, &log_dir, worker);
        crew.hire(command(entry, ground, &job)?, &scratch.path().join(format!("{worker}.err")))?;
    }
    let reports = crew.work()?;
    let written: Vec<_> = reports.iter().map(|report| report.written.clone()).collect();
    let mut outcome = outcome(&reports, check(&log_dir, &written)?);
    // The log's directory differs from round to round and is of no interest.
    let place = format!("{}/", log_dir.display());
    outcome.faults = outcome.faults.iter().map(|fault| fault.without(&place)).collect();
    Ok(outcome)
}

/// Creates the backups that the case begins with and syncs them, so that their writeback is not
/// measured. Each holds a record that is not checked.
fn plant(entry: &Entry, case: &Case, log_dir: &Path) -> Result<()> {
    let record = Line::new(STRANGER, 0);
    for number in 1..=case.backups {
        fs::write(log_dir.join((entry.backup_name)(number)), record.bytes())?;
    }
    if case.backups > 0 {
        File::open(log_dir)?.sync_all()?;
    }
    Ok(())
}

/// The worker in records that no worker logs.
const STRANGER: u32 = 9999;

fn job(entry: &Entry, case: &Case, ground: &Ground, log_dir: &Path, worker: u32) -> Job {
    Job {
        contestant: entry.name.to_owned(),
        setup: Setup {
            path: log_dir.join("app.log"),
            segment_bytes: case.segment_bytes,
            keep: case.keep(),
            gzip: case.gzip,
        },
        worker,
        threads: case.threads,
        records: case.records_per_thread(),
        think: if case.think.is_zero() { 0 } else { ground.think },
        limit: case.limit,
    }
}

fn command(entry: &Entry, ground: &Ground, job: &Job) -> Result<Command> {
    let mut command = match entry.launch {
        Launch::Native(_) => {
            let mut command = Command::new(std::env::current_exe()?);
            command.arg("worker");
            command
        }
        Launch::Python => {
            let mut command = Command::new(ground.python.as_ref().context("there is no Python")?);
            command.args(["-c", crate::contestants::python::SCRIPT]);
            command
        }
    };
    command.arg(serde_json::to_string(job)?).env("RUST_BACKTRACE", "0");
    Ok(command)
}

/// The workers of one run. Dropping it ends those that still run.
struct Crew {
    members: Vec<Member>,
    said: Receiver<(usize, Option<String>)>,
    sender: Sender<(usize, Option<String>)>,
    limit: Duration,
}

struct Member {
    child: Child,
    input: ChildStdin,
    errors: PathBuf,
}

/// The time for a worker's other work: starting, draining, compressing, reporting.
const GRACE: Duration = Duration::from_secs(10);

impl Crew {
    fn new(limit: Duration) -> Self {
        let (sender, said) = channel();
        Self { members: Vec::new(), said, sender, limit }
    }

    /// Starts a worker and waits until it has opened the log. Workers start one after the other,
    /// for rivals that cannot open a log twice at once.
    fn hire(&mut self, mut command: Command, errors: &Path) -> Result<()> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(File::create(errors)?);
        let mut child = command.spawn().context("no worker could be started")?;
        let input = child.stdin.take().context("BUG: the worker has no input")?;
        let output = child.stdout.take().context("BUG: the worker has no output")?;
        let (number, sender) = (self.members.len(), self.sender.clone());
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = sender.send((number, Some(line)));
            }
            let _ = sender.send((number, None));
        });
        self.members.push(Member { child, input, errors: errors.to_owned() });
        let deadline = self.deadline();
        while self.hear(deadline)?.1 != READY {}
        Ok(())
    }

    /// Lets all workers log at once, collects their reports, and waits for their end. Afterwards
    /// the log's directory no longer changes.
    fn work(&mut self) -> Result<Vec<Report>> {
        for member in &mut self.members {
            member.input.write_all(b"start\n")?;
        }
        let deadline = self.deadline();
        let mut reports: Vec<Option<Report>> = vec![None; self.members.len()];
        while reports.iter().any(Option::is_none) {
            let (worker, line) = self.hear(deadline)?;
            if let Some(json) = line.strip_prefix(RESULT) {
                reports[worker] = Some(serde_json::from_str(json)?);
                self.members[worker].farewell()?;
            }
        }
        Ok(reports.into_iter().flatten().collect())
    }

    fn deadline(&self) -> Instant {
        Instant::now() + 2 * self.limit + GRACE
    }

    /// The next line that a worker prints.
    fn hear(&mut self, deadline: Instant) -> Result<(usize, String)> {
        loop {
            let patience = deadline.saturating_duration_since(Instant::now());
            match self.said.recv_timeout(patience) {
                Ok((worker, Some(line))) => return Ok((worker, line)),
                Ok((worker, None)) => self.members[worker].farewell()?,
                Err(_) => bail!("timed out after {:.0?}", 2 * self.limit + GRACE),
            }
        }
    }
}

impl Member {
    /// An error unless the worker ended well.
    fn farewell(&mut self) -> Result<()> {
        let status = self.child.wait()?;
        if status.success() { Ok(()) } else { Err(anyhow!(self.last_words(&status.to_string()))) }
    }

    /// The worker's last line on standard error, or `otherwise`.
    fn last_words(&self, otherwise: &str) -> String {
        let text = fs::read(&self.errors).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        let tail = &lines[lines.len().saturating_sub(4)..];
        if tail.is_empty() { otherwise.to_owned() } else { tail.join("; ") }
    }
}

/// Processes that keep a processor busy each, as other programs on the machine do. Dropping this
/// ends them.
pub struct Neighbors(Vec<Child>);

impl Neighbors {
    pub fn start(count: u32) -> Result<Self> {
        let mut neighbors = Self(Vec::new());
        for _ in 0..count {
            // It ends with its input, even if this process is killed.
            let mut command = Command::new(std::env::current_exe()?);
            command.arg("neighbor").stdin(Stdio::piped());
            neighbors.0.push(command.spawn().context("no neighbor could be started")?);
        }
        Ok(neighbors)
    }
}

impl Drop for Neighbors {
    fn drop(&mut self) {
        for neighbor in &mut self.0 {
            let _ = neighbor.kill();
            let _ = neighbor.wait();
        }
    }
}

/// The work of a neighbor, until its input ends.
pub fn keep_busy() -> Result<()> {
    thread::spawn(|| {
        loop {
            std::hint::spin_loop();
        }
    });
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    Ok(())
}

impl Drop for Crew {
    fn drop(&mut self) {
        for member in &mut self.members {
            let _ = member.child.kill();
            let _ = member.child.wait();
        }
    }
}

fn outcome(reports: &[Report], tally: Tally) -> Outcome {
    let mut calls = Calls::new();
    reports.iter().for_each(|report| calls.add(&report.calls));
    let timed: u64 = reports.iter().map(|report| report.timed).sum();
    let per_record = |nanos: f64| nanos / timed as f64;
    let start = reports.iter().map(|report| report.started).min().unwrap_or(0);
    let until = |of: fn(&Report) -> u64| {
        let last = reports.iter().map(of).max().unwrap_or(start);
        (last - start) as f64
    };
    Outcome {
        called: per_record(until(|report| report.called)),
        drained: per_record(until(|report| report.drained)),
        cpu: per_record(reports.iter().map(|report| report.cpu_secs * 1e9).sum()),
        mean: calls.mean(),
        p50: calls.quantile(0.5),
        p99: calls.quantile(0.99),
        p9999: calls.quantile(0.9999),
        max: calls.quantile(1.0),
        timed,
        tally,
        unclosed: reports.iter().any(|report| report.unclosed),
        faults: reports.iter().flat_map(|report| report.faults.clone()).collect(),
    }
}
