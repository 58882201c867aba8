//! Rotation by the calendar: a segment per local day, and backups kept for a week. `rotate` ends a
//! day early, as a signal handler or an administrator's command would. Give a directory to keep the
//! files.
#![allow(clippy::print_stdout, reason = "an example shows what it did")]

use logrotor::{Period, RotatingFileWriter, Zone};
use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

fn main() -> Result<(), Box<dyn Error>> {
    let temporary = tempfile::tempdir()?;
    let dir = std::env::args_os().nth(1).map_or(temporary.path().into(), PathBuf::from);

    let mut log = RotatingFileWriter::builder(dir.join("app.log"))
        .rotate_every(Period::Daily)
        .zone(Zone::Local)
        .max_backup_age(Duration::from_secs(7 * 24 * 3600))
        .build()?;
    writeln!(log, "yesterday's last line")?;
    if let Some(backup) = log.rotate()? {
        println!("ended {}", backup.display());
    }
    writeln!(log, "today's first line")?;

    log.finish()?;
    for segment in log.segments()? {
        let text = std::fs::read_to_string(&segment.path)?;
        println!("{}: {}", segment.path.display(), text.trim_end());
    }
    Ok(())
}
