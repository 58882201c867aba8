//! `tracing` into a rotating log: four threads, one JSON record per event. Give a directory to keep
//! the files.
#![allow(clippy::print_stdout, reason = "an example shows what it did")]

use logrotor::{Delivery, RotatingFileWriter};
use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let temporary = tempfile::tempdir()?;
    let dir = std::env::args_os().nth(1).map_or(temporary.path().into(), PathBuf::from);

    let builder = RotatingFileWriter::builder(dir.join("app.json")).max_size(4096);
    let log = builder.delivery(Delivery::buffered()).build()?;
    // The subscriber is never dropped; the guard writes the buffer at the end of `main`.
    let _guard = log.flush_guard();
    tracing_subscriber::fmt().json().with_writer(log.clone()).init();

    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                for step in 0..20 {
                    tracing::info!(thread, step, "working");
                }
            });
        }
    });

    log.flush()?;
    for segment in log.segments()? {
        let text = std::fs::read_to_string(&segment.path)?;
        println!("{:3} records in {}", text.lines().count(), segment.path.display());
    }
    Ok(())
}
