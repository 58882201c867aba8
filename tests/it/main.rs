//! Behaviour of the crate as a user sees it. One binary, one file per subject.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    unreachable_pub,
    missing_docs,
    reason = "tests fail by panicking, and say what they drew at random"
)]

mod atomic;
mod buffered;
mod direct;
mod lock;
mod names;
#[cfg(feature = "policy")]
mod policy;
#[cfg(feature = "policy")]
mod policy_writer;
mod processes;
mod support;
mod support_lock;
mod triggers;
