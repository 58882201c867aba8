//! The programs that `benches/archive.sh` measures: one that archives what is there, and one that
//! logs while its segments are archived. Without it, this does nothing.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark fails by panicking")]

use logrotor::{Archive, Archiver, Config, RotatingFileWriter, Verification};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// The length of a record.
const RECORD: usize = 512;

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).filter(|it| it != "--bench").collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["send", log, url, verify] => send(log, url, verify),
        ["calls", log, url, seconds, rate, max_size, times] => {
            let rate: u32 = rate.parse().unwrap();
            let every = Duration::from_secs(1) / rate;
            let seconds = Duration::from_secs(seconds.parse().unwrap());
            let nanos = calls(log, url, seconds, every, max_size.parse().unwrap());
            std::fs::write(times, nanos).unwrap();
        }
        _ => println!("archive: run by benches/archive.sh, which starts a server"),
    }
    println!("peak_kib={}", peak_kib());
}

/// Archives the log's backups.
fn send(log: &str, url: &str, verify: &str) {
    let mut archive = Archive::to(url);
    archive.verify = verify.parse::<Verification>().unwrap();
    let mut config = Config::default();
    config.archive = Some(archive);
    let archiver = Archiver::new(log, &config, |_| {}).unwrap();
    archiver.run(&|| true).unwrap();
    assert!(archiver.plan().unwrap().segments.is_empty());
}

/// Logs a record at a time, and returns how many nanoseconds each call took, as `u32`s.
fn calls(log: &str, url: &str, time: Duration, every: Duration, max_size: u64) -> Vec<u8> {
    let mut builder = RotatingFileWriter::builder(log).max_size(max_size).max_backups(2);
    if !url.is_empty() {
        let mut archive = Archive::to(url);
        archive.verify = Verification::Checksum;
        builder = builder.archive(archive);
    }
    let mut writer = builder.build().unwrap();
    let mut record = vec![b'x'; RECORD];
    record[RECORD - 1] = b'\n';
    let mut nanos = Vec::with_capacity(64 << 20);
    let (start, mut due) = (Instant::now(), Instant::now());
    while start.elapsed() < time {
        due += every;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let before = Instant::now();
        writer.write_all(&record).unwrap();
        let took = u32::try_from(before.elapsed().as_nanos()).unwrap_or(u32::MAX);
        nanos.extend(took.to_le_bytes());
    }
    let stats = writer.stats().archive;
    println!("archived={}", stats.map_or(0, |archive| archive.archived));
    println!("rotations={}", writer.stats().rotations);
    nanos
}

/// The most memory that this process had, without what the kernel keeps of files.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string(Path::new("/proc/self/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or_default()
}
