//! Rotation by size: two hundred records in segments of a KiB, the newest five backups compressed
//! and kept. Give a directory to keep the files.
#![allow(clippy::print_stdout, reason = "an example shows what it did")]

use logrotor::{Compression, RotatingFileWriter};
use std::error::Error;
use std::io::Write;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let temporary = tempfile::tempdir()?;
    let dir = std::env::args_os().nth(1).map_or(temporary.path().into(), PathBuf::from);

    let mut log = RotatingFileWriter::builder(dir.join("app.log"))
        .max_size(1024)
        .max_backups(5)
        .compression(Compression::Gzip)
        .build()?;
    for number in 0..200 {
        writeln!(log, "record {number:3}: one call is one record, and is never split")?;
    }

    // Finishes the work on backups that is due; a program that just ends leaves it to the next.
    log.finish()?;
    for segment in log.segments()? {
        println!("{:5} bytes  {}", segment.bytes, segment.path.display());
    }
    let stats = log.stats();
    println!("{} records, {} rotations, {} removed", stats.records, stats.rotations, stats.pruned);
    Ok(())
}
