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

/// The processor time of this process, in ticks of 10 ms; 0 on other systems.
fn ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let Some((_, fields)) = stat.rsplit_once(") ") else { return 0 };
    fields.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum()
}

/// Waits until the first maintenance of each log is done.
fn until_quiet() {
    loop {
        let before = ticks();
        std::thread::sleep(Duration::from_secs(2));
        if ticks() - before <= 4 {
            return;
        }
    }
}

fn main() {
    let dir = tempfile::tempdir().unwrap();
    let (memory, start) = (status("VmRSS"), Instant::now());
    let open = |at| RotatingFileWriter::builder(dir.path().join(format!("{at}.log"))).build();
    let logs: Vec<_> = (0..LOGS).map(|at| open(at).unwrap()).collect();
    let opened = start.elapsed();
    println!("open {LOGS} logs: {} ms", opened.as_millis());
    let (before, start) = (ticks(), Instant::now());
    until_quiet();
    println!(
        "first maintenance: {} ms, {} ms of processor time",
        start.elapsed().as_millis(),
        10 * (ticks() - before)
    );
    println!("threads: {}", status("Threads") - 1);
    println!("memory: {} KiB", status("VmRSS") - memory);
    let before = ticks();
    std::thread::sleep(IDLE);
    let used = Duration::from_millis(10 * (ticks() - before));
    println!("idle: {:.2} % of a core", 100.0 * used.as_secs_f64() / IDLE.as_secs_f64());
    let start = Instant::now();
    drop(logs);
    println!("close: {} ms", start.elapsed().as_millis());
}
