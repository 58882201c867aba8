//! Python's concurrent-log-handler: the widely used writer that does allow several processes.

use super::{Entry, Launch, NO_SYNC, Standing, numbered};
use crate::scenarios::Scenario;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The program of a worker, with the protocol of [`crate::job`].
pub const SCRIPT: &str = include_str!("python.py");

/// The package and version that is measured.
pub const PACKAGE: &str = "concurrent-log-handler";
pub const VERSION: &str = "0.9.31";

pub fn entry() -> Entry {
    Entry {
        name: "concurrent-log-handler (Python)",
        package: None,
        standing: Standing::Rival,
        launch: Launch::Python,
        backup_name: numbered,
        scenarios: &[Scenario::Processes],
        cannot: &[NO_SYNC],
        note: None,
    }
}

/// Installs the package into an environment of its own below `dir`; returns its interpreter.
///
/// # Errors
/// The reason that it cannot be installed: no python3, no venv, no network, or a timeout.
pub fn install(dir: &Path) -> Result<PathBuf> {
    let environment = dir.join("venv");
    run(Command::new("python3").args(["-m", "venv"]).arg(&environment))?;
    let python = environment.join("bin/python");
    let package = format!("{PACKAGE}=={VERSION}");
    run(Command::new(&python).args(["-m", "pip", "install", "--quiet"]).arg(package))?;
    Ok(python)
}

const PATIENCE: Duration = Duration::from_secs(120);

fn run(command: &mut Command) -> Result<()> {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child =
        quiet.spawn().with_context(|| format!("cannot run {:?}", command.get_program()))?;
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if let Some(status) = child.try_wait()? {
            return if status.success() { Ok(()) } else { bail!("{command:?}: {status}") };
        }
        sleep(Duration::from_millis(50));
    }
    end(child);
    bail!("{command:?}: no end after {PATIENCE:?}")
}

fn end(mut child: Child) {
    let _ = child.kill();
    let _ = child.wait();
}
