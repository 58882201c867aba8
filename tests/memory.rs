//! Memory does not grow with the number of records. This is a file of its own because it measures
//! the whole process.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, missing_docs)]

use logrotor::{Compression, Delivery, RotatingFileWriter};

/// The resident memory of this process, in kilobytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn memory_does_not_grow_with_records_and_rotations() {
    let records = if std::env::var_os("LOGROTOR_LONG").is_some() { 100_000_000 } else { 500_000 };
    let dir = tempfile::tempdir().unwrap();
    for delivery in [Delivery::Direct, Delivery::buffered()] {
        let builder = RotatingFileWriter::builder(dir.path().join("app.log"));
        let log = builder
            .max_size(64 * 1024)
            .max_backups(3)
            .compression(Compression::Gzip)
            .compression_level(1)
            .delivery(delivery)
            .build()
            .unwrap();
        let write = |count| (0..count).for_each(|_| log.write_record(&[b'x'; 128]).unwrap());
        // Everything that is allocated once, by the threads too.
        write(records / 5);
        let before = resident();
        write(records);
        let grown = resident().saturating_sub(before);
        assert!(grown < 4 * 1024, "{delivery:?}: {grown} KiB more after {records} records");
        log.close().unwrap();
    }
}
