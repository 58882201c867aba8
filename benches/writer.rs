//! The cost of a record, a rotation and an opening, each beside the system calls that are
//! unavoidable. The difference is the cost of this crate.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark that cannot run must stop")]

use criterion::{BatchSize, Bencher, Criterion, Throughput, criterion_group, criterion_main};
use logrotor::{LogBuilder, MaintenanceMode, RotatingFileWriter};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const LINE: [u8; 128] = {
    let mut line = [b'x'; 128];
    line[127] = b'\n';
    line
};

/// The argument of `write_fmt`: 128 bytes once it is formatted.
macro_rules! write_line {
    ($out:expr, $number:expr) => {
        writeln!($out, "{:>60} {:>66}", $number, "text")
    };
}

fn builder(dir: &TempDir) -> LogBuilder {
    RotatingFileWriter::builder(dir.path().join("app.log"))
}

fn append(path: &Path) -> File {
    OpenOptions::new().create(true).append(true).open(path).unwrap()
}

/// Times `iterations` calls of `work`, spread over threads that start together.
fn on_threads(threads: u64, iterations: u64, work: impl Fn(u64) + Sync) -> Duration {
    let share = iterations.div_ceil(threads);
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| (0..share).for_each(&work));
        }
    });
    start.elapsed()
}

/// Records into a log that does not rotate meanwhile. Every batch starts with an empty segment.
fn into_log(
    bencher: &mut Bencher<'_>,
    threads: u64,
    write: impl Fn(&RotatingFileWriter, u64) + Sync,
) {
    let dir = tempfile::tempdir().unwrap();
    let log = builder(&dir).max_size(u64::MAX).max_backups(0).build().unwrap();
    bencher.iter_custom(|iterations| {
        log.rotate().unwrap();
        on_threads(threads, iterations, |number| write(&log, number))
    });
}

/// The same into a plain file.
fn into_file(bencher: &mut Bencher<'_>, threads: u64, write: impl Fn(&File, u64) + Sync) {
    let dir = tempfile::tempdir().unwrap();
    let file = append(&dir.path().join("app.log"));
    bencher.iter_custom(|iterations| {
        file.set_len(0).unwrap();
        on_threads(threads, iterations, |number| write(&file, number))
    });
}

fn record(criterion: &mut Criterion) {
    for (threads, name) in [(1, "record, 128 B, 1 thread"), (4, "record, 128 B, 4 threads")] {
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Elements(1));
        group.bench_function("direct", |bencher| {
            into_log(bencher, threads, |log, _| log.write_record(&LINE).unwrap());
        });
        #[cfg(feature = "tracing")]
        group.bench_function("direct, event of a MakeWriter", |bencher| {
            use tracing_subscriber::fmt::MakeWriter;
            into_log(bencher, threads, |log, _| log.make_writer().write_all(&LINE).unwrap());
        });
        group.bench_function("raw write(2)", |bencher| {
            into_file(bencher, threads, |mut file, _| file.write_all(&LINE).unwrap());
        });
        group.bench_function("direct, write_fmt", |bencher| {
            into_log(bencher, threads, |mut log, number| write_line!(log, number).unwrap());
        });
        group.bench_function("raw write(2), format first", |bencher| {
            into_file(bencher, threads, |mut file, number| {
                let mut line = Vec::with_capacity(LINE.len());
                write_line!(line, number).unwrap();
                file.write_all(&line).unwrap();
            });
        });
        group.finish();
    }
}

/// A record of 128 B, and the rotation after it.
fn rotation(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("rotation, after one record of 128 B, 1 thread");
    group.bench_function("direct, keeping 3 backups", |bencher| {
        let dir = tempfile::tempdir().unwrap();
        let log = builder(&dir).max_backups(3).build().unwrap();
        bencher.iter(|| {
            log.write_record(&LINE).unwrap();
            log.rotate().unwrap()
        });
    });
    group.bench_function("bare rename and create", |bencher| {
        let dir = tempfile::tempdir().unwrap();
        let (path, backup) = (dir.path().join("app.log"), dir.path().join("app.log.1"));
        // The log removes backups on a thread of its own, so their removal is not timed here
        // either.
        let remove = || drop(std::fs::remove_file(&backup));
        let mut file = append(&path);
        let rotate = |()| {
            file.write_all(&LINE).unwrap();
            std::fs::rename(&path, &backup).unwrap();
            file = append(&path);
        };
        bencher.iter_batched(remove, rotate, BatchSize::PerIteration);
    });
    group.finish();
}

fn opening(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("opening, an existing log, 1 thread");
    for (maintenance, name) in [
        (MaintenanceMode::Thread, "direct, with a maintenance thread"),
        (MaintenanceMode::Inline, "direct, maintenance inline"),
    ] {
        group.bench_function(name, |bencher| {
            let dir = tempfile::tempdir().unwrap();
            builder(&dir).build().unwrap().write_record(&LINE).unwrap();
            let open = |()| builder(&dir).maintenance(maintenance).build().unwrap();
            bencher.iter_batched(|| (), open, BatchSize::PerIteration);
        });
    }
    group.bench_function("bare open(2)", |bencher| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.log");
        bencher.iter_batched(|| (), |()| append(&path), BatchSize::PerIteration);
    });
    group.finish();
}

fn short() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
}

criterion_group! { name = benches; config = short(); targets = record, rotation, opening }
criterion_main!(benches);
