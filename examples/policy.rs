//! Settings that all workers share and that change while they run: `cargo run --features policy
//! --example policy`, in several terminals. Then edit the file that it names.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use logrotor::{Config, Event, RotatingFileWriter, policy};
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let path = dir.join("logrotor-policy.log");
    let store = Config::policy().open_or_create(policy::path_beside(&path), Config::default)?;

    let mut log = RotatingFileWriter::builder(&path)
        .policy(store.clone())
        .observer(|event| match event {
            Event::PolicyChanged { version, made_by, .. } => {
                println!("version {version}, {made_by}");
            }
            Event::Failed { error, .. } => println!("{error}"),
            _ => (),
        })
        .build()?;

    // Changes by other processes are kept, and no process sees half of one.
    let comment = format!("process {} says so", std::process::id());
    let policy = store.begin_update().comment(&comment).apply(|config| {
        config.max_size = 10 * 1024 * 1024;
        config.max_backups = Some(7);
    })?;
    println!("{}:\n\n{}", store.path().display(), policy.text());

    for n in 0..20 {
        writeln!(log, "record {n}, under version {}", store.version())?;
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(log.close()?)
}
