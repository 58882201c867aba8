//! Rotation: its cost with an exchange beside that with two renames, and how long after it another
//! worker's records still go to the finished segment.
//!
//! `cargo bench --features __test --bench rotation -- DIR..` takes the directories to measure in.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a benchmark fails by panicking and prints its figures"
)]

use logrotor::RotatingFileWriter;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// The directory in which a process that is this program run again measures rotations.
const CHILD: &str = "LOGROTOR_BENCH_ROTATION";
const ROUNDS: usize = 9;
const ROTATIONS: usize = 300;
const DELAYS: usize = 1000;

fn main() {
    if let Some(dir) = std::env::var_os(CHILD) {
        println!("{}", rotations(Path::new(&dir)));
        return;
    }
    let named = std::env::args_os().skip(1).map(PathBuf::from);
    let mut dirs: Vec<_> = named.filter(|dir| dir.is_dir()).collect();
    if dirs.is_empty() {
        dirs.push(std::env::temp_dir());
    }
    for dir in dirs {
        cost(&dir);
        delays(&dir);
    }
}

/// Nanoseconds of the median rotation in a directory of its own, with maintenance on a thread. Old
/// backups are removed between, outside of the time, so that the directory stays small.
fn rotations(dir: &Path) -> u128 {
    let dir = tempfile::tempdir_in(dir).unwrap();
    let builder = RotatingFileWriter::builder(dir.path().join("app.log"));
    let log = builder.build().unwrap();
    let mut spent = Vec::new();
    for _ in 0..ROTATIONS {
        log.write_record(b"a record\n").unwrap();
        let start = Instant::now();
        let backup = log.rotate().unwrap().unwrap();
        spent.push(start.elapsed());
        std::fs::remove_file(backup).unwrap();
    }
    spent.sort_unstable();
    spent[ROTATIONS / 2].as_nanos()
}

fn in_child(dir: &Path, plan: &str) -> u128 {
    let mut child = Command::new(std::env::current_exe().unwrap());
    let output = child.env(CHILD, dir).env("LOGROTOR_FAULT", plan).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

/// The medians of interleaved rounds, and that of the ratios within a round.
fn cost(dir: &Path) {
    // ENOSYS, as from a kernel without the call. Both plans count the operations of one verb.
    let (renames, exchange) = ("1+/exchange:errno=38", "1000000+/exchange:errno=38");
    let mut rounds: Vec<_> = (0..ROUNDS)
        .map(|round| {
            let first = in_child(dir, if round % 2 == 0 { renames } else { exchange });
            let second = in_child(dir, if round % 2 == 0 { exchange } else { renames });
            if round % 2 == 0 { (first, second) } else { (second, first) }
        })
        .collect();
    let middle = ROUNDS / 2;
    rounds.sort_by_key(|(renames, _)| *renames);
    let by_renames = rounds[middle].0;
    rounds.sort_by_key(|(_, exchange)| *exchange);
    let by_exchange = rounds[middle].1;
    let mut ratios: Vec<_> =
        rounds.iter().map(|(renames, exchange)| 1000 * exchange / renames).collect();
    ratios.sort_unstable();
    println!(
        "{}: {} ns with two renames, {} ns with an exchange, ratio {}.{:03} ({}.{:03} to {}.{:03})",
        dir.display(),
        by_renames,
        by_exchange,
        ratios[middle] / 1000,
        ratios[middle] % 1000,
        ratios[1] / 1000,
        ratios[1] % 1000,
        ratios[ROUNDS - 2] / 1000,
        ratios[ROUNDS - 2] % 1000,
    );
}

/// How long after the beginning of a rotation another writer's next record adopts the segment, if
/// it writes all the time. Both are writers of this process.
fn delays(dir: &Path) {
    let dir = tempfile::tempdir_in(dir).unwrap();
    let open = || RotatingFileWriter::builder(dir.path().join("app.log")).build().unwrap();
    let (busy, other) = (open(), open());
    other.write_record(b"first\n").unwrap();
    let mut delays = Vec::new();
    for _ in 0..DELAYS {
        busy.write_record(b"a record\n").unwrap();
        let before = other.stats().follows;
        let start = Instant::now();
        let backup = busy.rotate().unwrap().unwrap();
        while other.stats().follows == before {
            other.write_record(b"a record\n").unwrap();
        }
        delays.push(start.elapsed());
        std::fs::remove_file(backup).unwrap();
        std::thread::sleep(Duration::from_millis(2));
    }
    delays.sort_unstable();
    println!(
        "{}: rotated and adopted after {} us (median), {} us (p99), {} us at most",
        dir.path().display(),
        delays[DELAYS / 2].as_micros(),
        delays[DELAYS * 99 / 100].as_micros(),
        delays[DELAYS - 1].as_micros()
    );
}
