//! One scenario for all faults: open, write, rotate by size and by hand, compress, prune, close. A
//! child process plays it, and a fault strikes it at one file operation; other workers then take
//! over its log.

use crate::support::{Dir, Job, eventually, is_in_part, is_long, listen, record, say, unpack};
use logrotor::{
    Buffering, Compression, Delivery, Event, MaintenanceMode, Naming, RotatingFileWriter,
};
use std::fmt;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Records that the child writes: about four to a segment.
pub const COUNT: usize = 14;
const MAX_SIZE: usize = 400;

/// The settings of the log.
#[derive(Debug, Clone, Copy)]
pub struct Variant {
    pub numbered: bool,
    pub gzip: bool,
    pub buffered: bool,
    pub threaded: bool,
    pub keep: Option<usize>,
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl Variant {
    /// Both namings, both compressions, both deliveries. Maintenance on a thread or inline, and a
    /// limit or none, are spread over these in the short form, and combined with all in the long
    /// one.
    pub fn all() -> Vec<Self> {
        let pick = |bits: u32| {
            let bit = |at: u32| bits & (1 << at) != 0;
            let keep = bit(4).then_some(2);
            // A buffer has a thread in any case.
            let threaded = bit(2) || bit(3);
            Self { numbered: bit(0), gzip: bit(1), buffered: bit(2), threaded, keep }
        };
        if is_long() {
            return (0..32).filter(|bits| is_in_part(*bits)).map(pick).collect();
        }
        // The two extra bits are parities, so that each pair of choices occurs.
        let parity = |bits: u32, mask: u32| (bits & mask).count_ones() % 2;
        (0..8)
            .map(|bits| pick(bits | parity(bits, 0b011) << 3 | parity(bits, 0b101) << 4))
            .collect()
    }

    pub fn job(&self, task: &str, log: &Path) -> Job {
        let mut job = Job::new(task, log).with("max_size", MAX_SIZE);
        for (key, is_set) in [
            ("numbered", self.numbered),
            ("gzip", self.gzip),
            ("buffered", self.buffered),
            ("inline", !self.threaded),
        ] {
            if is_set {
                job = job.with(key, 1);
            }
        }
        match self.keep {
            Some(count) => job.with("max_backups", count),
            None => job,
        }
    }

    /// A worker of this process, which checks the log's path before every record and does its
    /// maintenance within its calls.
    pub fn open(&self, dir: &Dir) -> RotatingFileWriter {
        let mut builder = dir
            .writer()
            .max_size(MAX_SIZE as u64)
            .maintenance(MaintenanceMode::Inline)
            .check_interval(Duration::ZERO);
        if self.numbered {
            builder = builder.naming(Naming::Number);
        }
        if self.gzip {
            builder = builder.compression(Compression::Gzip);
        }
        if let Some(count) = self.keep {
            builder = builder.max_backups(count);
        }
        builder.build().unwrap()
    }
}

/// The delivery of a job with `buffered`: written on request, or when half full.
pub fn buffered() -> Delivery {
    let flush_interval = Duration::from_secs(3600);
    Delivery::Buffered(Buffering::new().capacity(1000).flush_interval(flush_interval))
}

/// The counts of the child.
#[derive(Debug, Default)]
struct Tally {
    /// Records that were refused, and written again.
    refused: u64,
    /// Failures returned by calls other than those for a record.
    returned: u64,
}

/// The child: writes its records, each until it is accepted, and reports its counts. If the fault
/// does not end by itself, the child ends it after a number of refusals.
pub fn play(job: &Job) {
    let acknowledged = std::fs::File::create(job.text("acknowledged")).unwrap();
    let acknowledge = |count: usize| {
        (&acknowledged).seek(SeekFrom::Start(0)).unwrap();
        (&acknowledged).write_all(&(count as u64).to_le_bytes()).unwrap();
    };
    let reported = Arc::new(AtomicU64::new(0));
    let mut tally = Tally::default();
    let mut log = loop {
        let reported = Arc::clone(&reported);
        let builder = job.builder().observer(move |event| {
            if let Event::Failed { .. } = event {
                reported.fetch_add(1, Ordering::SeqCst);
            }
        });
        match builder.build() {
            Ok(log) => break log,
            Err(_) => tally.returned += 1,
        }
        end_fault_after(tally.returned, job);
    };
    let worker = job.number("worker");
    let is_buffered = job.has("buffered");
    for seq in 0..COUNT {
        if seq == COUNT / 2 {
            tally.returned += u64::from(log.rotate().is_err());
        }
        while log.write_all(record(worker, seq).as_bytes()).is_err() {
            tally.refused += 1;
            end_fault_after(tally.refused, job);
        }
        // With a buffer, the flush after a record acknowledges it.
        if !is_buffered {
            acknowledge(seq + 1);
        } else if seq % 3 == 2 {
            while log.flush().is_err() {
                tally.refused += 1;
                end_fault_after(tally.refused, job);
            }
            acknowledge(seq + 1);
        }
    }
    let before = log.stats();
    end_fault_after(u64::MAX, job);
    let mut seq = COUNT;
    // Only for jobs with a fault other than `kill`: the log recovers by itself.
    while job.has("recover")
        && log.stats().rotations + log.stats().skips <= before.rotations + before.skips
    {
        log.write_all(record(worker, seq).as_bytes()).unwrap();
        log.flush().unwrap();
        seq += 1;
    }
    log.flush().unwrap();
    acknowledge(seq);
    let closed = log.finish();
    // Of the failures of one pass over the backups, the first.
    eventually("failures are reported", || {
        (reported.load(Ordering::SeqCst) > 0) == (log.stats().all_failures() > 0)
    });
    assert!(reported.load(Ordering::SeqCst) <= log.stats().all_failures());
    let stats = log.stats();
    say(format!(
        "{} {} {} {} {}",
        tally.refused,
        tally.returned,
        stats.all_failures(),
        stats.torn,
        closed.map_or_else(|error| error.to_string(), |()| "closed".to_owned()),
    ));
    listen();
}

/// The number of refusals after which the fault is ended.
const PATIENCE: u64 = 3;

fn end_fault_after(count: u64, job: &Job) {
    if count >= PATIENCE && job.has("until") {
        std::fs::write(job.text("until"), "").unwrap();
    }
}

/// The number of records that the child reported as written.
pub fn acknowledged(path: &Path) -> usize {
    let bytes = std::fs::read(path).unwrap_or_default();
    bytes.try_into().map_or(0, |bytes| usize::try_from(u64::from_le_bytes(bytes)).unwrap())
}

/// Others take over the log: a worker that was there all the time, if there is one, and a new one,
/// which rotates once. Worker 1 is the child: `acknowledged` of its records must exist, and up to
/// `unacknowledged` more may.
pub fn take_over(
    dir: &Dir,
    variant: Variant,
    second: Option<RotatingFileWriter>,
    acknowledged: usize,
    unacknowledged: usize,
) {
    let put = |mut log: &RotatingFileWriter, worker, seq| {
        log.write_all(record(worker, seq).as_bytes()).unwrap();
    };
    let mut after = Vec::new();
    if let Some(second) = &second {
        put(second, 2, 1);
        put(second, 2, 2);
        after.extend([(2, 1), (2, 2)]);
    }
    let fresh = variant.open(dir);
    put(&fresh, 3, 0);
    let rotated = fresh.rotate().unwrap();
    assert!(rotated.is_some(), "the fresh worker did not rotate");
    put(&fresh, 3, 1);
    after.extend([(3, 0), (3, 1)]);
    if let Some(second) = &second {
        put(second, 2, 3);
        after.push((2, 3));
    }
    fresh.close().unwrap();
    let before: &[_] = if second.is_some() { &[(2, 0)] } else { &[] };
    if let Some(second) = second {
        second.close().unwrap();
    }
    settle_files(dir, variant);
    let found = dir.all_lines();
    let expected = |child: usize| -> Vec<String> {
        let all = before.iter().copied().chain((0..child).map(|seq| (1, seq))).chain(after.clone());
        all.map(|(worker, seq)| record(worker, seq).trim_end().to_owned()).collect()
    };
    let is_right = |child| {
        let all = expected(child);
        match variant.keep {
            None => found == all,
            // Only the oldest are missing, and only if the number of backups is at its limit.
            Some(count) => {
                all.ends_with(&found) && (found.len() == all.len() || dir.backups().len() == count)
            }
        }
    };
    assert!(
        (acknowledged..=acknowledged + unacknowledged).any(is_right),
        "{acknowledged} acknowledged; files {:?}; found {found:#?}",
        dir.names()
    );
}

/// Runs maintenance until all files are as they should be. Once is enough, unless a child that
/// another test is starting has copies of our handles, and so of a lease, until its `exec`.
fn settle_files(dir: &Dir, variant: Variant) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while let Err(why) = check_files(dir, variant) {
        assert!(Instant::now() < deadline, "{why}");
        variant.open(dir).close().unwrap();
    }
}

/// No temporary or lock file is left, no backup exists twice, each can be decompressed, and their
/// number is within the limit.
fn check_files(dir: &Dir, variant: Variant) -> Result<(), String> {
    let (names, backups) = (dir.names(), dir.backups());
    let must = |holds: bool, what: &str| holds.then_some(()).ok_or(format!("{what}: {names:?}"));
    must(names.len() == backups.len() + 1, "nothing but the log and its backups")?;
    must(variant.keep.is_none_or(|count| backups.len() <= count), "no more than may be")?;
    let compressed = backups.iter().filter(|name| name.ends_with(".gz")).count();
    must(compressed == if variant.gzip { backups.len() } else { 0 }, "all compressed or none")?;
    let is_empty = |name: &String| unpack(&dir.file(name)).is_empty();
    must(!backups.iter().any(is_empty), "no empty backup")?;
    let mut keys: Vec<_> = backups.iter().map(|name| name.trim_end_matches(".gz")).collect();
    keys.dedup();
    must(keys.len() == backups.len(), "no backup twice")
}
