//! logrotor behind the loggers that Rust programs use: each way to plug it in, and a check that one
//! event is one record.

pub mod check;
pub mod event;
pub mod run;
pub mod ways;
