//! Reads a log back: all of it across its backups, the last lines, and what comes while it grows.
//! Give a directory to keep the files.
#![allow(clippy::print_stdout, reason = "an example shows what it did")]

use logrotor::reader::LogReader;
use logrotor::{Compression, RotatingFileWriter};
use std::error::Error;
use std::io::Write;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let temporary = tempfile::tempdir()?;
    let dir = std::env::args_os().nth(1).map_or(temporary.path().into(), PathBuf::from);
    let path = dir.join("app.log");
    let builder = RotatingFileWriter::builder(&path).max_size(512).compression(Compression::Gzip);
    let mut log = builder.build()?;
    for number in 0..100 {
        writeln!(log, "record {number:3}")?;
    }

    println!("{} records in all", LogReader::open(&path)?.records().count());
    let mut last = LogReader::builder(&path).last(3).open()?;
    for record in last.records() {
        // Damage is an error at its place; the next item is what comes after it.
        let record = record?;
        let at = format!("{}:{}", record.segment().display(), record.offset());
        println!("{}  at {at}", record.into_string_lossy());
    }

    let mut follower = LogReader::builder(&path).last(0).follow().open()?;
    let stopper = follower.stopper();
    let reading = std::thread::spawn(move || follower.records().filter_map(Result::ok).count());
    for number in 0..1000 {
        writeln!(log, "later {number:3}")?;
    }
    stopper.stop();
    println!("{} followed", reading.join().unwrap_or_default());
    Ok(())
}
