//! The main job: several processes log every file of a directory tree through one rotating log, and
//! then every record is accounted for.
//!
//! ```sh
//! cargo run --release --example workers
//! cargo run --release --example workers -- --workers 8 --size 16KiB --backups 20 /usr/share
//! ```
//!
//! The path of a record: `walk` finds a file, `worker` logs it with `tracing`, the log rotates and
//! compresses by itself, `verify` reads all segments back, `report` prints the
//! verdict. `crew` is the parent's side of the worker processes.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command talks to its terminal")]

mod crew;
mod job;
mod report;
mod verify;
mod walk;
mod worker;

use clap::Parser;
use job::{Job, Options};
use std::error::Error;
use std::process::ExitCode;

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

fn main() -> ExitCode {
    let options = Options::parse();
    let done = match options.worker {
        Some(id) => worker::run(&options, id).map(|()| true),
        None => lead(&options),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Does the whole job; `true` if every record is where it belongs.
fn lead(options: &Options) -> Result<bool> {
    let (job, temporary) = Job::new(options)?;
    let files = walk::count(&job.tree)?;
    println!("{} workers log {files} files of {}", job.workers, job.tree.display());
    let mut tallies = crew::run(&job, files)?;

    // Opened once more, to finish what workers left because others still had it open.
    let log = job.writer().build()?;
    log.finish()?;
    let segments = log.segments()?;
    tallies.push(log.stats().into());

    let written: Vec<_> = tallies[..job.workers].iter().map(|tally| tally.records).collect();
    let findings = verify::verify(&segments, &written, job.backups.is_some())?;
    report::print(&tallies, &findings, &segments);

    let clean = findings.is_clean();
    match temporary {
        Some(dir) if !clean => println!("\nthe log is kept: {}", dir.keep().display()),
        Some(_) => {}
        None => println!("\nthe log: {}", job.log.display()),
    }
    Ok(clean)
}
