//! Behaviour of the crate as a user sees it. One binary, one file per subject.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, unreachable_pub, missing_docs)]

mod direct;
mod names;
mod processes;
mod support;
mod triggers;
