//! A state file that is always whole: `cargo run --example atomic`, in several terminals.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use logrotor::Wait;
use logrotor::atomic::{self, AtomicFile, SyncLevel, update};
use std::io::{BufWriter, Write};
use std::time::Duration;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::temp_dir().join("logrotor-example");
    std::fs::create_dir_all(&dir)?;

    // All at once; on disk when it returns.
    atomic::write(dir.join("motto.txt"), "the old or the new, never half of it\n")?;

    // Bit by bit; nothing is visible before `commit`, and nothing is left without it.
    let table = AtomicFile::builder().sync(SyncLevel::None).open(dir.join("squares.txt"))?;
    let mut table = BufWriter::new(table);
    for n in 1..=100 {
        writeln!(table, "{n:3} {:5}", n * n)?;
    }
    table.into_inner()?.commit()?;

    // Counting together: no other process's step is lost.
    update(dir.join("runs.txt"), Wait::AtMost(Duration::from_secs(5)), |old| {
        let text = String::from_utf8_lossy(old.unwrap_or(b"0")).into_owned();
        (text.trim().parse::<u64>().unwrap_or(0) + 1).to_string()
    })?;
    let runs = std::fs::read_to_string(dir.join("runs.txt"))?;
    println!("run {runs}, see {}", dir.display());
    Ok(())
}
