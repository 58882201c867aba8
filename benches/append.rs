//! Compares ways in which threads append records to one file, and the crate itself.
//!
//! This does not use criterion, because the tail matters as much as the mean. For each way, number
//! of threads and work between two records, it prints the time per record and the quantiles of
//! single calls: medians of interleaved rounds. Run `cargo bench --bench append -- [DIRECTORY]`. A
//! line of output is `128 B, <threads> threads, <think> ns between: <way> …`.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark's report")]

use logrotor::RotatingFileWriter;
use std::fs::{File, OpenOptions};
use std::hint::{black_box, spin_loop};
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::time::{Duration, Instant};

const RECORD: [u8; 128] = [b'x'; 128];
const RECORDS: usize = 200_000;
const ROUNDS: usize = 5;

/// Writes records for many threads.
trait Shared: Sync {
    fn write(&self);
}

/// Appends with `write(2)`, which waits for the file position.
fn write(mut file: &File) {
    black_box(file.write(&RECORD).unwrap());
}

/// Appends with `pwrite(2)`, where a handle opened for appending does so.
#[cfg(target_os = "linux")]
fn pwrite(file: &File) {
    use std::os::unix::fs::FileExt;
    black_box(file.write_at(&RECORD, 0).unwrap());
}

#[cfg(not(target_os = "linux"))]
fn pwrite(file: &File) {
    write(file);
}

/// Appends with `pwritev2(2)`, which says that it appends.
#[cfg(target_os = "linux")]
fn pwritev2(file: &File) {
    use rustix::io::{ReadWriteFlags, pwritev2};
    let record = [std::io::IoSlice::new(&RECORD)];
    black_box(pwritev2(file, &record, 0, ReadWriteFlags::APPEND).unwrap());
}

#[cfg(not(target_os = "linux"))]
fn pwritev2(file: &File) {
    write(file);
}

/// Appends with `write(2)`, and asks for the file position, which is the end of the file then.
fn write_then_position(mut file: &File) {
    write(file);
    black_box(file.stream_position().unwrap());
}

/// Appends with `pwrite(2)`, and asks for the size.
fn pwrite_then_size(file: &File) {
    pwrite(file);
    black_box(file.metadata().unwrap().len());
}

type Call = fn(&File);

/// No lock of ours: the kernel's lock on the file decides.
struct Bare(File, Call);

impl Shared for Bare {
    fn write(&self) {
        self.1(&self.0);
    }
}

struct StdMutex(std::sync::Mutex<File>, Call);

impl Shared for StdMutex {
    fn write(&self) {
        self.1(&self.0.lock().unwrap());
    }
}

struct Mutex(parking_lot::Mutex<File>, Call);

impl Shared for Mutex {
    fn write(&self) {
        self.1(&self.0.lock());
    }
}

/// The shared side of a read-write lock, as the crate uses it.
struct ReadSide(parking_lot::RwLock<File>, Call);

impl Shared for ReadSide {
    fn write(&self) {
        self.1(&self.0.read());
    }
}

impl Shared for RotatingFileWriter {
    fn write(&self) {
        self.write_record(&RECORD).unwrap();
    }
}

fn open(path: &Path) -> File {
    OpenOptions::new().create(true).append(true).open(path).unwrap()
}

/// The crate without rotation, so that the way to the file alone is measured.
fn logrotor(path: &Path) -> RotatingFileWriter {
    RotatingFileWriter::builder(path).max_size(u64::MAX).build().unwrap()
}

type Make = fn(&Path) -> Box<dyn Shared>;

const WAYS: [(&str, Make); 11] = [
    ("write", |path| Box::new(Bare(open(path), write))),
    ("pwrite", |path| Box::new(Bare(open(path), pwrite))),
    ("pwritev2", |path| Box::new(Bare(open(path), pwritev2))),
    ("write, position", |path| Box::new(Bare(open(path), write_then_position))),
    ("pwrite, size", |path| Box::new(Bare(open(path), pwrite_then_size))),
    ("parking_lot, write", |path| Box::new(Mutex(open(path).into(), write))),
    ("std, write", |path| Box::new(StdMutex(open(path).into(), write))),
    ("std, pwrite", |path| Box::new(StdMutex(open(path).into(), pwrite))),
    ("read side, write", |path| Box::new(ReadSide(open(path).into(), write))),
    ("read side, pwrite", |path| Box::new(ReadSide(open(path).into(), pwrite))),
    ("logrotor", |path| Box::new(logrotor(path))),
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
    let given = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let dir = tempfile::tempdir_in(given.map_or_else(memory, PathBuf::from)).unwrap();
    for think in [Duration::ZERO, Duration::from_micros(1)] {
        for threads in [1, 2, 4, 8] {
            let mut rounds = vec![Vec::new(); WAYS.len()];
            for _ in 0..ROUNDS {
                for (rounds, (_, make)) in rounds.iter_mut().zip(WAYS) {
                    rounds.push(round(&dir.path().join("log"), make, threads, think));
                }
            }
            for (rounds, (name, _)) in rounds.into_iter().zip(WAYS) {
                report(name, threads, think, rounds);
            }
        }
    }
}

/// A file system in memory if there is one, because the way to the file is measured.
fn memory() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory } else { Path::new(".") }.to_owned()
}

fn round(path: &Path, make: Make, threads: usize, think: Duration) -> Round {
    let _ = std::fs::remove_file(path);
    let shared = make(path);
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
        "128 B, {threads} threads, {} ns between: {name:20} {per_record:6.0} ns a record; one call: \
         median {p50}, p99.99 {p9999}, longest {max} ns",
        think.as_nanos(),
    );
}
