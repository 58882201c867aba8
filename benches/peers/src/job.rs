//! The messages between the orchestrator and its workers: one line of JSON each way.
//!
//! A worker gets its [`Job`] as an argument, opens the log, prints [`READY`], waits for a line on
//! its input, logs, and prints [`RESULT`] with its [`Report`]. Other output of a contestant is
//! skipped.

use crate::check::Written;
use crate::contestants::Setup;
use crate::measure::Recorded;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

pub const READY: &str = "peers:ready";
pub const RESULT: &str = "peers:result ";

/// The log's share of one worker.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Job {
    pub contestant: String,
    pub setup: Setup,
    /// The number in this worker's records.
    pub worker: u32,
    pub threads: u32,
    /// Records that each thread logs.
    pub records: u64,
    /// Rounds of [`think`](crate::measure::think) before each record.
    pub think: u32,
    /// A thread that has logged for so long stops where it is.
    pub limit: Duration,
}

/// The result of a [`Job`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// By thread.
    pub written: Vec<Written>,
    /// Records logged while the clock ran.
    pub timed: u64,
    /// When the first thread began, by the monotonic clock that all processes share, in ns.
    pub started: u64,
    /// When the last thread's last call returned.
    pub called: u64,
    /// When every record was in the kernel.
    pub drained: u64,
    /// Processor time of the whole process, background threads and closing included.
    pub cpu_secs: f64,
    pub calls: Recorded,
    pub faults: Vec<Fault>,
    /// Whether it was still closing when its time was over, and was abandoned.
    pub unclosed: bool,
}

/// A failure, in the contestant's own words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// A log call, draining or closing returned an error; logging continued.
    Error(String),
    /// It panicked, and logged no more in that thread.
    Panic(String),
}

impl Fault {
    pub fn is_panic(&self) -> bool {
        matches!(self, Self::Panic(_))
    }

    /// The same without `noise`.
    pub fn without(&self, noise: &str) -> Self {
        match self {
            Self::Error(text) => Self::Error(text.replace(noise, "")),
            Self::Panic(text) => Self::Panic(text.replace(noise, "")),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(text) => write!(f, "failed: {text}"),
            Self::Panic(text) => write!(f, "panicked: {text}"),
        }
    }
}
