//! Watching a log: events as they happen, and the statistics while threads write. The observer only
//! looks on. Give a directory to keep the files.
#![allow(clippy::print_stdout, reason = "an example shows what it did")]

use logrotor::{Compression, Event, RotatingFileWriter};
use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let temporary = tempfile::tempdir()?;
    let dir = std::env::args_os().nth(1).map_or(temporary.path().into(), PathBuf::from);

    let log = RotatingFileWriter::builder(dir.join("app.log"))
        .max_size(16 * 1024)
        .max_backups(2)
        .compression(Compression::Gzip)
        .observer(show)
        .build()?;
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| (0..500).try_for_each(|_| log.write_record(&[b'.'; 100])));
        }
        println!("meanwhile: {} records", log.stats().records);
    });
    log.finish()?;
    println!("{:#?}", log.stats());
    Ok(())
}

fn show(event: &Event) {
    match event {
        Event::Rotated { backup, bytes, .. } => println!("{bytes} bytes: {}", backup.display()),
        Event::Compressed { to, bytes_after, .. } => println!("{bytes_after}: {}", to.display()),
        Event::Failed { error, .. } => println!("{error}"),
        other => println!("{other:?}"),
    }
}
