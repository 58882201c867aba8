//! The cost of reading a log back, compared with reading the same files one after the other: 64 MiB
//! in lines of 128 bytes, in 8 segments.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark that cannot run must stop")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use logrotor::reader::{LogReader, Record};
use logrotor::{Compression, RotatingFileWriter};
use std::fs::File;
use std::hint::black_box;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

const SEGMENTS: u64 = 8;
const SEGMENT: u64 = 8 * 1024 * 1024;

/// Creates the log. Returns its segments, oldest first.
fn log(dir: &TempDir, compression: Compression) -> (PathBuf, Vec<PathBuf>) {
    let path = dir.path().join("app.log");
    let builder = RotatingFileWriter::builder(&path).max_size(SEGMENT).compression(compression);
    let log = builder.build().unwrap();
    for number in 0..SEGMENTS * SEGMENT / 128 {
        let line = format!("{number:012} {:x<114}\n", number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        log.write_record(line.as_bytes()).unwrap();
    }
    let segments = || log.segments().unwrap().into_iter().map(|segment| segment.path);
    log.finish().unwrap();
    let segments = segments().collect();
    (path, segments)
}

fn open(path: &Path) -> Box<dyn Read> {
    let file = File::open(path).unwrap();
    match path.extension().is_some_and(|extension| extension == "gz") {
        true => Box::new(flate2::bufread::MultiGzDecoder::new(BufReader::new(file))),
        false => Box::new(file),
    }
}

fn reading(criterion: &mut Criterion) {
    for compression in [Compression::None, Compression::Gzip] {
        let dir = tempfile::tempdir().unwrap();
        let (log, segments) = log(&dir, compression);
        let mut group = criterion.benchmark_group(format!("read 64 MiB, {compression:?}"));
        group.throughput(Throughput::Bytes(SEGMENTS * SEGMENT));
        group.bench_function(BenchmarkId::new("bytes", "io::copy of each file"), |bencher| {
            let copy = |path: &PathBuf| io::copy(&mut open(path), &mut io::sink()).unwrap();
            bencher.iter(|| segments.iter().map(copy).sum::<u64>());
        });
        group.bench_function(BenchmarkId::new("bytes", "LogReader"), |bencher| {
            bencher.iter(|| {
                let mut reader = LogReader::open(&log).unwrap();
                io::copy(&mut reader, &mut io::sink()).unwrap()
            });
        });
        group.bench_function(BenchmarkId::new("lines", "BufReader of each file"), |bencher| {
            let mut line = Vec::new();
            bencher.iter(|| {
                for path in &segments {
                    let mut file = BufReader::with_capacity(64 * 1024, open(path));
                    while file.read_until(b'\n', &mut line).unwrap() > 0 {
                        black_box(&line);
                        line.clear();
                    }
                }
            });
        });
        group.bench_function(BenchmarkId::new("lines", "LogReader"), |bencher| {
            let mut record = Record::new();
            bencher.iter(|| {
                let mut reader = LogReader::open(&log).unwrap();
                while reader.read_record(&mut record).unwrap() {
                    black_box(record.bytes());
                }
            });
        });
        group.bench_function("last 10 lines", |bencher| {
            bencher.iter(|| {
                let mut reader = LogReader::builder(&log).last(10).open().unwrap();
                io::copy(&mut reader, &mut io::sink()).unwrap()
            });
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .sample_size(10);
    targets = reading
}
criterion_main!(benches);
