//! Rotation by the calendar: a segment per day, backups kept for a week. The days pass at once, by a
//! clock that is set by hand. Give a directory to keep the files.
#![allow(clippy::print_stdout, reason = "an example shows what it did")]

use logrotor::{Clock, Period, RotatingFileWriter};
use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn main() -> Result<(), Box<dyn Error>> {
    let temporary = tempfile::tempdir()?;
    let dir = std::env::args_os().nth(1).map_or(temporary.path().into(), PathBuf::from);

    // A program leaves the clock out, and has the system's.
    let first = SystemTime::now();
    let clock = Clock::manual(first);
    let mut log = RotatingFileWriter::builder(dir.join("app.log"))
        .rotate_every(Period::Daily)
        .max_backup_age(7 * DAY)
        .clock(clock.clone())
        .build()?;
    for day in 0..10 {
        clock.set(first + day * DAY);
        writeln!(log, "day {day}")?;
    }

    log.clone().close()?;
    for segment in log.segments()? {
        let text = std::fs::read_to_string(&segment.path)?;
        println!("{}: {}", segment.path.display(), text.trim_end());
    }
    Ok(())
}
