//! `logrotor`, the command: a shell's way to the library.
//!
//! Each verb is a module with its options and a `run`; the library does the work. What they share:
//! how the command ends (`exit`) and how it speaks (`report`).

mod cat;
mod cli;
mod docs;
mod exit;
mod interrupt;
mod ls;
mod maintenance;
#[cfg(unix)]
mod options;
mod output;
mod policy;
#[cfg(unix)]
mod program;
mod progress;
#[cfg(unix)]
mod relay;
mod report;
#[cfg(unix)]
mod run;
mod verify;
mod when;
#[cfg(unix)]
mod write;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    exit::end(cli::Cli::parse().run())
}
