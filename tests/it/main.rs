//! Behaviour of the crate, one module by subject.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests fail by panicking, and say what they drew at random"
)]

mod atomic;
mod lock;
mod support_lock;
