//! One process with a log per tenant: the time to open 1000 logs in one directory, their threads
//! and memory, and the processor time that they take while they are idle.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a benchmark fails by panicking and prints its figures"
)]

use logrotor::RotatingFileWriter;
use std::time::{Duration, Instant};

const LOGS: usize = 1000;
const IDLE: Duration = Duration::from_secs(10);

/// A number of `/proc/self/status`, such as `Threads` or `VmRSS` in KiB; 0 on other systems.
fn status(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

/// The processor time of the threads, to the nanosecond; 0 on other systems. The clock of the
/// process has ticks of 10 ms, and a thread that wakes at a tick seems to take all of it.
fn worked() -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let statistics =
        threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("schedstat")).ok());
    let nanos = |line: String| line.split(' ').next().and_then(|nanos| nanos.parse::<u64>().ok());
    Duration::from_nanos(statistics.filter_map(nanos).sum())
}

/// Waits until the first maintenance of each log is done: until three spans cost about the same.
fn until_quiet() {
    const SPAN: Duration = Duration::from_secs(2);
    let mut like_the_last = 0;
    let mut last = Duration::MAX;
    while like_the_last < 2 {
        let before = worked();
        std::thread::sleep(SPAN);
        let cost = worked().saturating_sub(before);
        like_the_last = if cost.abs_diff(last) < cost / 4 { like_the_last + 1 } else { 0 };
        last = cost;
    }
}

fn main() {
    let dir = tempfile::tempdir().unwrap();
    let (memory, start) = (status("VmRSS"), Instant::now());
    let open = |at| RotatingFileWriter::builder(dir.path().join(format!("{at}.log"))).build();
    let logs: Vec<_> = (0..LOGS).map(|at| open(at).unwrap()).collect();
    let opened = start.elapsed();
    println!("open {LOGS} logs: {} ms", opened.as_millis());
    let (before, start) = (worked(), Instant::now());
    until_quiet();
    println!(
        "first maintenance: {} ms, {} ms of processor time",
        start.elapsed().as_millis(),
        worked().saturating_sub(before).as_millis()
    );
    println!("threads: {}", status("Threads") - 1);
    println!("memory: {} KiB", status("VmRSS") - memory);
    let before = worked();
    std::thread::sleep(IDLE);
    let used = worked().saturating_sub(before);
    println!("idle: {:.2} % of a core", 100.0 * used.as_secs_f64() / IDLE.as_secs_f64());
    let start = Instant::now();
    drop(logs);
    println!("close: {} ms", start.elapsed().as_millis());
}
