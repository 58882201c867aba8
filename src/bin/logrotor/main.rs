//! The command `logrotor`: the library for shells.
//!
//! Each verb is a module with its options and a `run`. The library does the work. Exit statuses are
//! in `exit`, messages in `report`, and tables and JSON in `output`.

#[cfg(feature = "archive")]
mod archive;
mod cat;
mod cli;
mod docs;
mod editor;
mod event;
mod exit;
mod interrupt;
mod limits;
#[path = "../../local_zone.rs"]
mod local_zone;
mod ls;
mod maintenance;
mod memory;
mod number;
#[cfg(unix)]
mod options;
mod output;
mod policy;
mod printer;
#[cfg(unix)]
mod program;
mod progress;
#[cfg(unix)]
mod relay;
mod remote;
mod report;
#[cfg(unix)]
mod run;
mod stamp;
mod verify;
mod when;
#[cfg(unix)]
mod write;

use std::process::ExitCode;

fn main() -> ExitCode {
    exit::end(interrupt::prepare().and_then(|()| cli::Cli::run()))
}
