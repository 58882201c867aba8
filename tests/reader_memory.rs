//! Reading takes the same memory whatever the size of the log. A binary of its own: it replaces the
//! global allocator, which then counts the most that each thread has.
#![allow(clippy::unwrap_used, missing_docs)]

use logrotor::reader::{LogReader, Record};
use logrotor::{Compression, RotatingFileWriter};
use std::io::{self, Write};
use std::path::Path;

/// Creates a log of 4 segments. Returns its size.
fn log(path: &Path, segment: u64, compression: Compression) -> u64 {
    let builder = RotatingFileWriter::builder(path).max_size(segment).compression(compression);
    let mut log = builder.compression_level(1).build().unwrap();
    let mut written = 0;
    while written < 4 * segment {
        let line = format!("{written} {}\n", "some more text ".repeat(20));
        log.write_all(line.as_bytes()).unwrap();
        written += line.len() as u64;
    }
    log.close().unwrap();
    written
}

fn peak(work: impl FnOnce()) -> u64 {
    allocation_counter::measure(work).bytes_max
}

const ENOUGH: u64 = 640 * 1024;

#[test]
fn memory_is_bounded_whatever_the_size_of_segments() {
    for size in [128 * 1024, 4 * 1024 * 1024] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.log");
        let written = log(&path, size, Compression::Gzip);
        let bytes = peak(|| {
            let mut reader = LogReader::open(&path).unwrap();
            assert_eq!(io::copy(&mut reader, &mut io::sink()).unwrap(), written);
        });
        let records = |reader: &mut LogReader| {
            let mut record = Record::new();
            while reader.read_record(&mut record).unwrap() {}
        };
        let forward = peak(|| records(&mut LogReader::open(&path).unwrap()));
        let last = LogReader::builder(&path).last(20_000);
        let last = peak(|| records(&mut last.open().unwrap()));
        let reverse = LogReader::builder(&path).reverse();
        let reverse = peak(|| records(&mut reverse.open().unwrap()));
        for (name, peak) in
            [("bytes", bytes), ("records", forward), ("last", last), ("reverse", reverse)]
        {
            assert!(peak < ENOUGH, "{name} of segments of {size} bytes: {peak} bytes");
        }
    }
}

#[test]
fn giant_hole_costs_no_memory() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.log");
    let file = std::fs::File::create(&path).unwrap();
    file.set_len(1 << 26).unwrap();
    drop(file);
    let mut file = std::fs::File::options().append(true).open(&path).unwrap();
    file.write_all(b"after\n").unwrap();
    let peak = peak(|| {
        let mut reader = LogReader::open(&path).unwrap();
        let damage = reader.records().next().unwrap().unwrap_err();
        assert_eq!(damage.bytes(), Some(1 << 26));
        assert_eq!(reader.records().next().unwrap().unwrap().bytes(), b"after");
    });
    assert!(peak < ENOUGH, "{peak} bytes");
}
