//! A rotating log file that many threads and many processes share, and that loses no line.
//!
//! ```
//! use logrotor::{Compression, RotatingFileWriter};
//! use std::io::Write;
//! # fn main() -> std::io::Result<()> {
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("app.log");
//! let mut log = RotatingFileWriter::builder(&path)
//!     .max_size(10 * 1024 * 1024)
//!     .max_backups(7)
//!     .compression(Compression::Gzip)
//!     .build()?;
//! writeln!(log, "pid {} is ready", std::process::id())?;
//! // Any thread may use a clone, and any process may do all of this on the same path.
//! writeln!(log.clone(), "so is this thread")?;
//! assert_eq!(std::fs::read_to_string(&path)?.lines().count(), 2);
//! # Ok(()) }
//! ```
//!
//! One call of `write`, `write_all`, `write_vectored` or `writeln!` is one *record*. When it has returned
//! `Ok`, the record is in the kernel, whole, and stays readable in the log or in one of its
//! backups until the limits that you set remove that backup: whatever the other workers do, through every
//! rotation and compression, and if any of them is killed at any instruction.
//!
//! # Which of these do I want?
//!
//! | you want | use |
//! |---|---|
//! | files of a certain size | [`max_size`](LogBuilder::max_size); 64 MiB if you say nothing |
//! | a file per hour, day or week | [`rotate_every`](LogBuilder::rotate_every), with [`zone`](LogBuilder::zone) for local time |
//! | no file open for longer than a span | [`max_age`](LogBuilder::max_age) |
//! | a fresh file at every start | [`rotate_on_open`](LogBuilder::rotate_on_open) |
//! | to rotate when a signal or a command says so | [`rotate`](RotatingFileWriter::rotate) |
//! | to bound what is kept | [`max_backups`](LogBuilder::max_backups), [`max_total_size`](LogBuilder::max_total_size), [`max_backup_age`](LogBuilder::max_backup_age), [`min_free_space`](LogBuilder::min_free_space), in any combination |
//! | `tracing` events | `with_writer(log.clone())`: a `MakeWriter`, with the feature `tracing` |
//! | the `log` crate | give a clone to your logger as its target |
//! | a logger that writes a line in pieces | [`lines`](RotatingFileWriter::lines) |
//! | names that sort by time, and never change | [`Naming::Timestamp`], the default |
//! | `app.log.1`, `app.log.2`, as `logrotate` has them | [`Naming::Number`] |
//! | to prune or compress by hand, or see what would be pruned | [`Maintenance`] |
//! | no threads started by a library | [`MaintenanceMode::Inline`] |
//! | column names at the top of every file | [`header`](LogBuilder::header) |
//! | to know what happens | [`stats`](RotatingFileWriter::stats), [`observer`](LogBuilder::observer) |
//! | settings as data | [`Config`] and [`RotatingFileWriter::from_config`] |
//! | to read a log back, in order, across its backups; or to follow it | [`reader`] |
//! | to see a log from outside: its segments, who uses them, what is left over | [`inspect`] |
//! | a lock between processes for something else | [`lock`] |
//! | to replace a file as a whole | [`atomic`] |
//!
//! # What to know before
//!
//! - **One machine.** The workers agree through file locks of a local file system. Over NFS or SMB these may
//!   be granted twice or not seen by others at all. A file system that has none is refused when the log
//!   is opened ([`ErrorKind::LockUnsupported`]).
//! - **Power.** A record survives its process when the call returns; it survives a power cut when the kernel
//!   has written it back, or after [`sync`](RotatingFileWriter::sync).
//! - **Size.** With one worker a segment keeps its limit, but for a single record that is itself larger.
//!   Another worker's records are noticed only after they are there, so with N workers it may grow beyond by
//!   about one record of each of the others, and by 4 KiB when one that was silent for long begins to write.
//! - **Order.** The records of one thread stay in order. Those of different workers are in the order in
//!   which the kernel took them, except around a rotation: a worker that has not noticed it yet appends to
//!   what is a backup by then.
//! - **The end.** Dropping the last handle does not wait for compression; the next worker resumes it.
//!   [`close`](RotatingFileWriter::close) finishes what is due.
//! - **`fork`.** A child that goes on without `exec` must open the log anew: it has the parent's open file,
//!   and with it the parent's lease, but none of its threads.
//! - **Same settings.** Give all workers of a log the same; [`Config`] has a table of what holds otherwise.
//!
//! # Features
//!
//! | feature | |
//! |---|---|
//! | `tracing` (default) | `MakeWriter` for `tracing-subscriber` |
//! | `zstd` | `Compression::Zstd` |
//! | `follow` | a following [`reader`] is told of changes by the system, rather than look at intervals |
//! | `cli` | the command `logrotor` |
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod atomic;
mod clock;
mod config;
#[cfg(feature = "serde")]
mod diagnostic;
mod error;
mod fs;
pub mod inspect;
mod keywords;
pub mod lock;
mod maintenance;
#[cfg(feature = "policy")]
#[cfg_attr(docsrs, doc(cfg(feature = "policy")))]
pub mod policy;
pub mod reader;
mod retry;
mod rotation;
mod segment;
mod stats;
mod sync;
mod sys;
#[cfg(feature = "tracing")]
mod tracing;
pub mod units;
mod writer;

pub use config::{Buffering, Config, Delivery, Durability, LogBuilder, Overflow};
pub use error::{Error, ErrorKind, Result};
pub use lock::{FileLock, LockGuard, LockMode, Wait};
pub use maintenance::{Maintenance, MaintenanceMode, MaintenancePlan};
pub use rotation::{Period, Zone};
pub use segment::name::{Compression, Naming};
pub use stats::{Event, Stats};
#[cfg(feature = "tracing")]
pub use tracing::EventWriter;
pub use writer::{FlushGuard, LineWriter, RecordWriter, RotatingFileWriter};

/// For the crate's own tests; no part of its interface.
#[cfg(feature = "__test")]
#[doc(hidden)]
pub mod __test {
    pub use crate::clock::Clock;
}
