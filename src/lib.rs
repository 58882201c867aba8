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
//! One call of `write`, `write_all`, `write_vectored` or `writeln!` is one *record*. Once it has
//! returned `Ok`, the record is in the kernel, whole. It stays readable in the log or in one of its
//! backups until your limits remove that backup: through every rotation and compression, whatever
//! the other workers do, and if any of them is killed at any instruction.
//!
//! # Which mode when
//!
//! | you need | use | a call costs | lost if the process is killed | lost in a power cut |
//! |---|---|---|---|---|
//! | no record lost with the process | the default, [`Delivery::Direct`] | one `write(2)` | nothing | about the last 30 seconds |
//! | calls that are several times faster | [`Delivery::Buffered`] | a copy | the records in the buffer, by default 100 ms | those as well |
//! | backups that survive a power cut | [`Durability::OnRotate`] | one `write(2)` | nothing | the end of the active segment |
//! | every record to survive a power cut | [`Durability::EveryRecord`] | an `fdatasync`, shared by threads | nothing | nothing |
//! | no threads started by a library | [`MaintenanceMode::Inline`] | a rotating call compresses as well | nothing | as above |
//!
//! # Where to look
//!
//! | you want | use |
//! |---|---|
//! | files of a certain size | [`max_size`](LogBuilder::max_size), by default 64 MiB |
//! | rotations by size not too soon one after the other | [`min_interval`](LogBuilder::min_interval), for programs that look at the log at intervals |
//! | a file per hour, six hours, day, week or month | [`rotate_every`](LogBuilder::rotate_every) and [`rotate_at`](LogBuilder::rotate_at), with [`zone`](LogBuilder::zone) for local time |
//! | no file open for longer than a time span | [`max_age`](LogBuilder::max_age) |
//! | a fresh file at every start | [`rotate_on_open`](LogBuilder::rotate_on_open) |
//! | to rotate on a signal or a command | [`rotate`](RotatingFileWriter::rotate) |
//! | limits for the backups | [`max_backups`](LogBuilder::max_backups), [`max_total_size`](LogBuilder::max_total_size), [`max_backup_age`](LogBuilder::max_backup_age), [`min_free_space`](LogBuilder::min_free_space), in any combination |
//! | the newest backups uncompressed | [`keep_uncompressed`](LogBuilder::keep_uncompressed), logrotate's `delaycompress` |
//! | `tracing` events | `with_writer(log.clone())`: a `MakeWriter`, with the feature `tracing` |
//! | the `log` crate | a clone as the target of your logger |
//! | a logger that writes an event in pieces | [`lines`](RotatingFileWriter::lines), [`record`](RotatingFileWriter::record); [table](RotatingFileWriter#loggers) |
//! | names that sort by time and never change | [`Naming::Timestamp`], the default |
//! | the same with the extension last, `app.TIME.log` | [`Naming::TimestampInfix`] |
//! | `app.log.1`, `app.log.2`, as `logrotate` names them | [`Naming::Number`] |
//! | to prune or compress by hand, or to see what would be pruned | [`Maintenance`] |
//! | column names at the top of every file | [`header`](LogBuilder::header) |
//! | all records written at the end of `main` | [`flush_guard`](RotatingFileWriter::flush_guard), [`finish`](RotatingFileWriter::finish) |
//! | to learn what happens | [`stats`](RotatingFileWriter::stats), [`observer`](LogBuilder::observer) |
//! | settings as data | [`Config`], [`RotatingFileWriter::from_config`] |
//! | settings in a file or in environment variables | `Config::from_file` and `Config::with_env`, with the feature `serde` |
//! | one settings file for all workers, changed while they run | `policy`, with the feature `policy` |
//! | the same for many machines, in an object store, etcd or PostgreSQL | `policy`, with the feature `archive`, `etcd` or `postgres` |
//!
//! # Modules
//!
//! | module | |
//! |---|---|
//! | the crate's root | the log: [`RotatingFileWriter`], its [`LogBuilder`], and the settings |
//! | [`reader`] | reads a log back, in order, across its backups, and follows it as it grows |
//! | [`inspect`] | shows a log from outside: its segments, who uses them, and leftovers |
//! | `policy` | shares versioned and checked settings between processes, and between machines |
//! | [`lock`] | locks between processes, for anything else |
//! | [`atomic`] | replaces a whole file so that readers see the old bytes or the new ones |
//! | [`units`] | parses and formats sizes and time spans: `64 MiB`, `1 day` |
//!
//! # What to know before
//!
//! - **One machine.** The workers coordinate through file locks of a local file system. NFS or SMB
//!   may grant such a lock twice, or hide it from other machines. A file system without locks is
//!   rejected when the log is opened ([`ErrorKind::LockUnsupported`]).
//! - **The path.** On Linux and macOS the log's path names a segment at every time, if the file
//!   system has links and can exchange two files. Elsewhere a rotation is two renames, and the path
//!   is missing for some microseconds in between.
//! - **Power.** A record survives its process once the call has returned. It survives a power cut
//!   once the kernel has written it back, or after [`sync`](RotatingFileWriter::sync).
//! - **Size.** With one worker, only a record that is itself larger makes a segment larger than its
//!   limit. A worker notices the records of others after they were written. With N workers, a
//!   segment may exceed the limit by about one record of each of the others, and by 4 KiB when a
//!   worker that was silent for long writes again.
//! - **Order.** The records of one thread stay in order. Records of different workers are in the
//!   order in which the kernel took them, except around a rotation: a worker that has not noticed
//!   it yet appends to the finished segment.
//! - **The end.** Dropping the last handle does not wait for compression, and the next worker
//!   resumes it. [`finish`](RotatingFileWriter::finish) and [`close`](RotatingFileWriter::close)
//!   complete the work that is due.
//! - **Threads.** At most three threads serve all logs of a process, however many there are. They
//!   end when the last log is closed. A log with [`Delivery::Buffered`] has one more, and so has
//!   one with an archive, and a policy in an object store. One with [`MaintenanceMode::Inline`] has
//!   none of the three. No signal of another process reaches these threads. Those for maintenance
//!   and the archive run at nice 10, or at the program's own priority if that is lower, and never
//!   in real time. A thread that the system refuses is an error when a log is opened.
//! - **`fork`.** A child that continues without `exec` must open the log again, and a policy that
//!   machines share: it has the parent's open file, and with it the parent's lease, but none of its
//!   threads.
//! - **Same settings.** Give all workers of a log the same settings. [`Config`] has a table of the
//!   effects if they differ.
//!
//! # Features
//!
//! | feature | default | |
//! |---|---|---|
//! | `tracing` | yes | `MakeWriter` for `tracing-subscriber` |
//! | `zstd` | | [`Compression::Zstd`] |
//! | `follow` | | a following [`reader`] gets notifications from the system instead of polling |
//! | `serde` | | [`Config`] as data: TOML, JSON, environment variables |
//! | `policy` | | the module `policy`; implies `serde` |
//! | `archive` | | `Archive`: finished segments are copied to S3, Google Cloud Storage, Azure or a directory before they are removed |
//! | `etcd` | | a `policy` in etcd; implies `policy` |
//! | `postgres` | | a `policy` in PostgreSQL; implies `policy` |
//! | `cli` | | the command `logrotor` |
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "archive")]
mod archive;
pub mod atomic;
mod clock;
mod config;
#[cfg(feature = "serde")]
mod diagnostic;
mod error;
mod fs;
pub mod inspect;
mod keywords;
mod ledger;
mod local_zone;
pub mod lock;
mod maintenance;
#[cfg(feature = "policy")]
#[cfg_attr(docsrs, doc(cfg(feature = "policy")))]
pub mod policy;
mod pool;
pub mod reader;
mod retry;
mod rotation;
mod segment;
mod stats;
#[cfg(feature = "archive")]
mod store;
mod sync;
mod sys;
#[cfg(feature = "tracing")]
mod tracing;
pub mod units;
mod writer;

#[cfg(feature = "archive")]
#[cfg_attr(docsrs, doc(cfg(feature = "archive")))]
pub use archive::{Archive, ArchivePlan, Archiver, Verification, WhenFull};
pub use config::{Buffering, Config, Delivery, Durability, LogBuilder, Overflow};
pub use error::{Error, ErrorKind, Result};
pub use lock::{FileLock, LockGuard, LockMode, Wait};
pub use maintenance::{Maintenance, MaintenanceMode, MaintenancePlan};
pub use rotation::{Period, Zone};
pub use segment::name::{Compression, Naming};
#[cfg(feature = "archive")]
#[cfg_attr(docsrs, doc(cfg(feature = "archive")))]
pub use stats::ArchiveStats;
pub use stats::{DeferralReason, Event, Stats};
#[cfg(feature = "tracing")]
pub use tracing::EventWriter;
pub use writer::{FlushGuard, LineWriter, RecordWriter, RotatingFileWriter};

/// For the crate's own tests; no part of its interface.
#[cfg(feature = "__test")]
#[doc(hidden)]
pub mod __test {
    pub use crate::clock::Clock;
}

/// README.md's program compiles.
#[cfg(all(doctest, feature = "tracing"))]
#[doc = include_str!("../README.md")]
struct ReadmeProgram;
