//! Several processes, one at a time: `cargo run --example lock` in two terminals.
//!
//! The first works for a few seconds. The second waits for at most two, and names the first.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use logrotor::{ErrorKind, FileLock, Wait};
use std::time::Duration;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The lock file is `<temp>/logrotor-example.txt.lock`, and is removed with its last lock.
    let file = std::env::temp_dir().join("logrotor-example.txt");
    let lock = FileLock::beside(&file)?;

    let guard = match lock.exclusive(Wait::AtMost(Duration::from_secs(2))) {
        Ok(guard) => guard,
        Err(error) if error.kind() == ErrorKind::LockTimeout => {
            println!("try again later: {error}");
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    println!("process {} works on {}", std::process::id(), file.display());
    std::thread::sleep(Duration::from_secs(3));

    // Dropping the guard would do; this way a failure is known.
    guard.unlock()?;
    println!("done");
    Ok(())
}
