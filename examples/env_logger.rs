//! The `log` crate, through `env_logger`, into a rotating log. Give a directory to keep the files.
#![allow(clippy::print_stdout, reason = "an example shows what it did")]

use env_logger::{Builder, Target};
use logrotor::RotatingFileWriter;
use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let temporary = tempfile::tempdir()?;
    let dir = std::env::args_os().nth(1).map_or(temporary.path().into(), PathBuf::from);

    let log = RotatingFileWriter::builder(dir.join("app.log")).max_size(1024).build()?;
    // `env_logger` hands over each record with one call; for a logger that writes in pieces, give
    // it `log.lines()`, which puts lines together first.
    Builder::new()
        .filter_level(log::LevelFilter::Info)
        .target(Target::Pipe(Box::new(log.clone())))
        .init();

    for request in 0..40 {
        log::info!("request {request} answered");
        log::debug!("not of the level that is logged");
    }

    for segment in log.segments()? {
        let text = std::fs::read_to_string(&segment.path)?;
        println!("{:3} records in {}", text.lines().count(), segment.path.display());
    }
    Ok(())
}
