//! A worker process: logs its share of the files, and tells its parent how far it is.

use crate::Result;
use crate::job::{Job, Options};
use crate::walk::{self, Found};
use chrono::{DateTime, SecondsFormat, Utc};
use logrotor::Stats;
use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;
use std::time::Instant;

/// How many records there are between two messages to the parent.
const REPORT_EVERY: u64 = 200;

pub(crate) fn run(options: &Options, worker: usize) -> Result<()> {
    let job = Job::of_worker(options)?;
    let log = job.writer().build()?;
    tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).init();
    wait_for_go()?;

    let start = Instant::now();
    let mut logged = 0;
    walk::walk(&job.tree, 1, &mut |found| {
        // A file may be gone by now: in a tree that lives, that is no mistake.
        if let (true, Ok(entry)) = (found.is_share_of(worker, job.workers), Entry::of(&found)) {
            entry.log(worker, logged);
            logged += 1;
            if logged % REPORT_EVERY == 0 {
                tell(&Tally::from(log.stats()))?;
            }
        }
        Ok(())
    })?;
    let micros = u64::try_from(start.elapsed().as_micros())?;

    log.finish()?;
    let tally = Tally { micros, ..log.stats().into() };
    tell(&tally)?;
    if tally.records != logged {
        return Err(
            format!("worker {worker}: {} of {logged} records written", tally.records).into()
        );
    }
    Ok(())
}

/// The workers begin together, once all have the log open: their parent closes the pipe.
fn wait_for_go() -> io::Result<()> {
    tell(&Tally::default())?;
    io::stdin().read_line(&mut String::new()).map(|_| ())
}

fn tell(tally: &Tally) -> io::Result<()> {
    writeln!(io::stdout(), "{tally}")
}

/// The record of a file.
struct Entry {
    path: String,
    size: u64,
    depth: usize,
    modified: String,
}

impl Entry {
    fn of(found: &Found<'_>) -> io::Result<Self> {
        let metadata = found.metadata()?;
        let modified = DateTime::<Utc>::from(metadata.modified()?);
        Ok(Self {
            path: found.path.to_string_lossy().into_owned(),
            size: metadata.len(),
            depth: found.depth,
            modified: modified.to_rfc3339_opts(SecondsFormat::Secs, true),
        })
    }

    /// Logs it as this worker's record number `seq`, with a checksum of all the fields before it.
    fn log(&self, worker: usize, seq: u64) {
        let Self { path, size, depth, modified } = self;
        let fields = format!(
            "path={path:?} size={size} depth={depth} modified={modified} worker={worker} seq={seq}"
        );
        let check = checksum(&fields);
        tracing::info!(path, size, depth, %modified, worker, seq, check, "file");
    }
}

/// The checksum that ends a record, over the text of the fields before it.
pub(crate) fn checksum(fields: &str) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(fields.as_bytes());
    crc.sum()
}

/// The reported part of the statistics of one process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) records: u64,
    pub(crate) rotations: u64,
    pub(crate) skips: u64,
    pub(crate) deferrals: u64,
    pub(crate) compressions: u64,
    pub(crate) pruned: u64,
    pub(crate) failures: u64,
    /// How long the logging took.
    pub(crate) micros: u64,
}

impl From<Stats> for Tally {
    fn from(stats: Stats) -> Self {
        Self {
            records: stats.records,
            rotations: stats.rotations,
            skips: stats.skips,
            deferrals: stats.deferrals,
            compressions: stats.compressions,
            pruned: stats.pruned,
            failures: stats.all_failures(),
            micros: 0,
        }
    }
}

/// As it crosses the pipe: numbers in a line.
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let &Self { records, rotations, skips, deferrals, compressions, pruned, failures, micros } =
            self;
        write!(f, "{records} {rotations} {skips} {deferrals} ")?;
        write!(f, "{compressions} {pruned} {failures} {micros}")
    }
}

impl FromStr for Tally {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let numbers: Option<Vec<u64>> = line.split(' ').map(|word| word.parse().ok()).collect();
        match numbers.as_deref() {
            Some(
                &[records, rotations, skips, deferrals, compressions, pruned, failures, micros],
            ) => Ok(Self {
                records,
                rotations,
                skips,
                deferrals,
                compressions,
                pruned,
                failures,
                micros,
            }),
            _ => Err(format!("a worker said `{line}`")),
        }
    }
}
