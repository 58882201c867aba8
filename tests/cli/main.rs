//! The command `logrotor`: real processes, real pipes, real signals.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod docs;
mod help;
mod ls;
mod policy;
mod read;
mod support;
mod upkeep;
mod verify;
