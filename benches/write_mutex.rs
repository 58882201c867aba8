//! Compares locks for threads that write records to one file. One record is one `write(2)`.
//!
//! This does not use criterion, because the tail matters as much as the mean. For each lock, number
//! of threads and work between two records, it prints the time per record and the quantiles of
//! single calls: medians of interleaved rounds. Run `cargo bench --bench write_mutex`. A line of
//! output is `128 B, <threads> threads, <think> ns between: <lock> …`.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark's report")]

use std::fs::{File, OpenOptions};
use std::hint::{black_box, spin_loop};
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Barrier, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

const RECORD: [u8; 128] = [b'x'; 128];
const RECORDS: usize = 200_000;
const ROUNDS: usize = 5;

/// Writes records for many threads.
trait Shared: Sync {
    fn write(&self);
}

/// No lock of ours: the kernel's lock on the file decides.
struct Raw(File);

impl Shared for Raw {
    fn write(&self) {
        black_box((&self.0).write(&RECORD).unwrap());
    }
}

struct Std(std::sync::Mutex<File>);

impl Shared for Std {
    fn write(&self) {
        black_box(self.0.lock().unwrap().write(&RECORD).unwrap());
    }
}

struct ParkingLot(parking_lot::Mutex<File>);

impl Shared for ParkingLot {
    fn write(&self) {
        black_box(self.0.lock().write(&RECORD).unwrap());
    }
}

struct ParkingLotFair(parking_lot::Mutex<File>);

impl Shared for ParkingLotFair {
    fn write(&self) {
        let mut file = self.0.lock();
        black_box(file.write(&RECORD).unwrap());
        parking_lot::MutexGuard::unlock_fair(file);
    }
}

/// Tries a hundred times before it sleeps.
struct StdAfterSpinning(std::sync::Mutex<File>);

impl Shared for StdAfterSpinning {
    fn write(&self) {
        for _ in 0..100 {
            if let Ok(mut file) = self.0.try_lock() {
                black_box(file.write(&RECORD).unwrap());
                return;
            }
            spin_loop();
        }
        black_box(self.0.lock().unwrap().write(&RECORD).unwrap());
    }
}

/// Of `BoundedBarging`: how many threads may pass the first in line. A record is written in less
/// than a microsecond, and waking a thread takes tens of them.
const PASSES: u32 = 256;
/// About the time of a short record.
const PAUSES: u32 = 8;
const YIELDS: u32 = 10;
const MOST_EASE: u32 = 32;
const ENOUGH_EASE: u32 = 5;

/// A thread that finds the lock free takes it although others wait. Waiting threads stand in line,
/// and only so many may pass the first one.
struct BoundedBarging<T> {
    value: Mutex<T>,
    line: parking_lot::Mutex<()>,
    in_line: AtomicU32,
    /// How many threads took it since one in line did, while there was a line.
    passed: AtomicU32,
    /// Whether it is worth trying again soon. High if threads do other work between their records,
    /// because the lock is free most of the time then. Low in a tight loop, where trying again only
    /// takes the processor from the others.
    ease: AtomicU32,
}

impl<T> BoundedBarging<T> {
    fn new(value: T) -> Self {
        let (line, in_line, passed, ease) = Default::default();
        Self { value: Mutex::new(value), line, in_line, passed, ease }
    }

    fn lock(&self) -> MutexGuard<'_, T> {
        self.pass().or_else(|| self.pass_soon()).unwrap_or_else(|| self.stand_in_line())
    }

    fn pass(&self) -> Option<MutexGuard<'_, T>> {
        if self.in_line.load(Relaxed) == 0 {
            return self.try_lock();
        }
        if self.passed.load(Relaxed) >= PASSES {
            return None;
        }
        let value = self.try_lock()?;
        self.passed.fetch_add(1, Relaxed);
        Some(value)
    }

    fn pass_soon(&self) -> Option<MutexGuard<'_, T>> {
        (0..PAUSES).for_each(|_| spin_loop());
        let value = self.pass();
        let ease = self.ease.load(Relaxed);
        // A lost update does no harm.
        let next = if value.is_some() { (ease + 1).min(MOST_EASE) } else { ease.saturating_sub(1) };
        if next != ease {
            self.ease.store(next, Relaxed);
        }
        if value.is_some() || ease < ENOUGH_EASE {
            return value;
        }
        (0..YIELDS).find_map(|_| {
            std::thread::yield_now();
            self.pass()
        })
    }

    fn stand_in_line(&self) -> MutexGuard<'_, T> {
        self.in_line.fetch_add(1, Relaxed);
        let first = self.line.lock();
        let value = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        self.in_line.fetch_sub(1, Relaxed);
        self.passed.store(0, Relaxed);
        parking_lot::MutexGuard::unlock_fair(first);
        value
    }

    /// A panic of one thread must not keep the others from writing.
    fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.value.try_lock() {
            Ok(value) => Some(value),
            Err(TryLockError::Poisoned(value)) => Some(value.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

impl Shared for BoundedBarging<File> {
    fn write(&self) {
        black_box(self.lock().write(&RECORD).unwrap());
    }
}

/// The records of waiting threads are written by the holder's next call.
struct Riding {
    file: File,
    queue: std::sync::Mutex<Queue>,
    written: std::sync::Condvar,
}

#[derive(Default)]
struct Queue {
    bytes: Vec<u8>,
    spare: Vec<u8>,
    taken: u64,
    written: u64,
    led: bool,
}

impl Shared for Riding {
    fn write(&self) {
        let mut queue = self.queue.lock().unwrap();
        queue.bytes.extend_from_slice(&RECORD);
        queue.taken += 1;
        let ours = queue.taken;
        while queue.written < ours {
            if queue.led {
                queue = self.written.wait(queue).unwrap();
                continue;
            }
            queue.led = true;
            let spare = std::mem::take(&mut queue.spare);
            let mut batch = std::mem::replace(&mut queue.bytes, spare);
            let upto = queue.taken;
            drop(queue);
            (&self.file).write_all(&batch).unwrap();
            batch.clear();
            queue = self.queue.lock().unwrap();
            (queue.spare, queue.written, queue.led) = (batch, upto, false);
            self.written.notify_all();
        }
    }
}

type Make = fn(File) -> Box<dyn Shared>;

const LOCKS: [(&str, Make); 7] = [
    ("none", |file| Box::new(Raw(file))),
    ("bounded barging", |file| Box::new(BoundedBarging::new(file))),
    ("std", |file| Box::new(Std(file.into()))),
    ("std after spinning", |file| Box::new(StdAfterSpinning(file.into()))),
    ("parking_lot", |file| Box::new(ParkingLot(file.into()))),
    ("parking_lot, fair", |file| Box::new(ParkingLotFair(file.into()))),
    ("riding", |file| {
        let (queue, written) = Default::default();
        Box::new(Riding { file, queue, written })
    }),
];

/// The results of one round, in nanoseconds.
#[derive(Clone, Copy)]
struct Round {
    per_record: f64,
    p50: u32,
    p9999: u32,
    max: u32,
}

fn main() {
    let dir = tempfile::tempdir_in(memory()).unwrap();
    for think in [Duration::ZERO, Duration::from_micros(1)] {
        for threads in [1, 2, 4, 8] {
            let mut rounds = vec![Vec::new(); LOCKS.len()];
            for _ in 0..ROUNDS {
                for (rounds, (_, make)) in rounds.iter_mut().zip(LOCKS) {
                    rounds.push(round(&dir.path().join("log"), make, threads, think));
                }
            }
            for (rounds, (name, _)) in rounds.into_iter().zip(LOCKS) {
                report(name, threads, think, rounds);
            }
        }
    }
}

/// A file system in memory if there is one, because the lock is measured.
fn memory() -> &'static Path {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory } else { Path::new(".") }
}

fn round(path: &Path, make: Make, threads: usize, think: Duration) -> Round {
    let _ = std::fs::remove_file(path);
    let shared = make(OpenOptions::new().create(true).append(true).open(path).unwrap());
    let barrier = Barrier::new(threads + 1);
    let (calls, took) = std::thread::scope(|scope| {
        let work = || {
            barrier.wait();
            calls(&*shared, RECORDS / threads, think)
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        barrier.wait();
        let start = Instant::now();
        let calls: Vec<_> = workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect();
        (calls, start.elapsed())
    });
    summary(calls, took)
}

/// Writes records, and returns the duration of each call.
fn calls(shared: &dyn Shared, count: usize, think: Duration) -> Vec<u32> {
    let call = |_| {
        let start = Instant::now();
        shared.write();
        let end = Instant::now();
        while end.elapsed() < think {
            spin_loop();
        }
        u32::try_from((end - start).as_nanos()).unwrap_or(u32::MAX)
    };
    (0..count).map(call).collect()
}

fn summary(mut calls: Vec<u32>, took: Duration) -> Round {
    calls.sort_unstable();
    let quantile = |per_10_000: usize| calls[(calls.len() - 1) * per_10_000 / 10_000];
    Round {
        per_record: took.as_nanos() as f64 / calls.len() as f64,
        p50: quantile(5_000),
        p9999: quantile(9_999),
        max: quantile(10_000),
    }
}

fn report(name: &str, threads: usize, think: Duration, mut rounds: Vec<Round>) {
    rounds.sort_by(|a, b| a.per_record.total_cmp(&b.per_record));
    let Round { per_record, p50, p9999, max } = rounds[rounds.len() / 2];
    println!(
        "128 B, {threads} threads, {} ns between: {name:18} {per_record:6.0} ns a record; one call: \
         median {p50}, p99.99 {p9999}, longest {max} ns",
        think.as_nanos(),
    );
}
