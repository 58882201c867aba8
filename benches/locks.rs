//! The cost of a lock and of a replaced file, beside the bare system calls.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark fails by panicking")]

use criterion::{Criterion, Throughput};
use logrotor::atomic::{AtomicFile, SyncLevel};
use logrotor::{FileLock, LockMode, Wait};
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The lock file of a contending process, which is this program run again.
const CONTENDER: &str = "LOGROTOR_BENCH_LOCK";
const PROCESSES: u64 = 4;

fn main() {
    if let Some(path) = std::env::var_os(CONTENDER) {
        return contend(Path::new(&path));
    }
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .sample_size(30)
        .configure_from_args();
    uncontended(&mut criterion);
    contended(&mut criterion);
    replace(&mut criterion);
    criterion.final_summary();
}

fn uncontended(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("it.lock");
    let mut group = criterion.benchmark_group("lock and unlock, 1 process, uncontended");
    for (name, mode) in [("exclusive", LockMode::Exclusive), ("shared", LockMode::Shared)] {
        for (file, keep) in [("file removed", false), ("file kept", true)] {
            let lock = FileLock::open(&path).unwrap().keep_file(keep);
            group.bench_function(format!("{name}, {file}"), |bencher| {
                bencher.iter(|| lock.lock(mode, Wait::Never).unwrap().unlock().unwrap());
            });
        }
    }
    group.bench_function("bare open+flock+unlink+close", |bencher| {
        bencher.iter(|| {
            bare_lock(&path);
            fs::remove_file(&path).unwrap();
        });
    });
    group.bench_function("bare open+flock+close, file kept", |bencher| {
        bencher.iter(|| bare_lock(&path));
    });
    group.finish();
}

fn bare_lock(path: &Path) -> fs::File {
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(false).open(path).unwrap();
    fs4::FileExt::try_lock(&file).unwrap();
    file
}

/// Acquires as often as the parent says, each time it says so.
fn contend(path: &Path) {
    let lock = FileLock::open(path).unwrap();
    for times in std::io::stdin().lines() {
        for _ in 0..times.unwrap().parse::<u64>().unwrap() {
            lock.exclusive(Wait::AtMost(Duration::from_secs(60))).unwrap().unlock().unwrap();
        }
        println!("done");
    }
}

fn contended(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let start = |_| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env(CONTENDER, dir.path().join("it.lock"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
    };
    let mut children: Vec<Child> = (0..PROCESSES).map(start).collect();
    let mut group = criterion.benchmark_group("lock and unlock, 4 processes, contended");
    group.bench_function("exclusive, file removed", |bencher| {
        bencher.iter_custom(|times| acquire_all(&mut children, times));
    });
    group.finish();
    for mut child in children {
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}

/// The time of `times` acquisitions, divided among the processes.
fn acquire_all(children: &mut [Child], times: u64) -> Duration {
    let start = Instant::now();
    for (n, child) in (0..).zip(children.iter_mut()) {
        let share = times / PROCESSES + u64::from(n < times % PROCESSES);
        writeln!(child.stdin.as_mut().unwrap(), "{share}").unwrap();
    }
    for child in children {
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    }
    start.elapsed()
}

fn replace(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let (path, temp) = (dir.path().join("state"), dir.path().join("state.new"));
    let bytes = vec![b'x'; 4096];
    let mut group = criterion.benchmark_group("replace a file of 4 KiB, 1 process");
    group.throughput(Throughput::Bytes(4096));
    for (name, level) in [
        ("no sync", SyncLevel::None),
        ("file synced", SyncLevel::File),
        ("file and directory synced", SyncLevel::FileAndDirectory),
    ] {
        let builder = AtomicFile::builder().sync(level);
        group.bench_function(format!("atomic::write, {name}"), |bencher| {
            bencher.iter(|| builder.write(&path, &bytes).unwrap());
        });
    }
    group.bench_function("bare write+rename, no sync", |bencher| {
        bencher.iter(|| {
            fs::write(&temp, &bytes).unwrap();
            fs::rename(&temp, &path).unwrap();
        });
    });
    group.bench_function("bare write+fsync+rename", |bencher| {
        bencher.iter(|| {
            let mut file = fs::File::create(&temp).unwrap();
            file.write_all(&bytes).unwrap();
            file.sync_all().unwrap();
            fs::rename(&temp, &path).unwrap();
        });
    });
    group.finish();
}
