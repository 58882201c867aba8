//! Locks between processes, for your own state files as well as for the log.
//!
//! # Which of these do I need?
//!
//! | you want to | use |
//! |---|---|
//! | replace a file that others only read | [`atomic::write`](crate::atomic::write), no lock at all |
//! | change a file that others change too | [`atomic::update`](crate::atomic::update), which locks for you |
//! | run a closure while no other process uses or changes a file | [`FileLock::with_exclusive`], [`FileLock::with_shared`] |
//! | the same with a limited wait, or with a lock kept in a struct | [`FileLock::beside`] |
//! | lock something that is not a file, or whose directory you may not write | [`FileLock::open`], [`FileLock::in_dir`] |
//! | be the only running instance of a program | [`FileLock::open`] in the runtime directory, [`Wait::Never`], guard kept in `main` |
//! | tidy a lock directory after crashes | [`FileLock::clean_stale`] |
//! | keep threads of one process apart and nothing else | a `Mutex` |
//!
//! ```
//! use logrotor::{FileLock, Wait};
//! use std::time::Duration;
//! # fn main() -> logrotor::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! let lock = FileLock::beside(dir.path().join("jobs.db"))?;
//! {
//!     let _guard = lock.exclusive(Wait::AtMost(Duration::from_secs(2)))?;
//!     // No other process has `jobs.db` in hand.
//! }
//! let guard = lock.shared(Wait::Forever)?;
//! guard.unlock()?;
//! # Ok(()) }
//! ```
//!
//! # What is promised
//!
//! - While a guard is exclusive, no other guard exists on that lock file in any process; while it
//!   is shared, only shared ones do. Two [`FileLock`] values in one process exclude each other in
//!   the same way.
//! - A lock is free as soon as its holder drops the guard, panics, exits, or is killed. Pids and
//!   ages of files decide nothing.
//! - A shared acquirer never waits for a shared holder, except behind a waiting exclusive one.
//! - An exclusive acquirer that waits longer than 10 ms is not overtaken by later shared ones, so
//!   readers that come and go cannot starve it. It waits for the readers that came before.
//! - Hence a thread that holds a shared lock and asks for another on the same path may wait for
//!   itself, if a writer waits in between. A writer that is *stopped* while it waits blocks
//!   readers, as a stopped holder does.
//! - No order is promised among exclusive acquirers, nor for readers against a stream of writers.
//!
//! # The lock file
//!
//! The first holder creates the file, empty or with one line that names the last owner. The last
//! holder removes it, unless [`FileLock::keep_file`] is set. The file stays when a process is
//! killed (unlocked, harmless, reused by the next holder), when this process may not remove it
//! (another user's file in a sticky directory), or when Windows refuses. A file with other content
//! is locked like any other, but never written or removed. While an exclusive acquirer waits longer
//! than 10 ms, `<lock file>.gate` exists as well.
//!
//! Do not remove a lock file by hand while programs run. The next acquirer then creates a new file
//! and gets the lock beside the holder. The earlier of the two gets
//! [`ErrorKind::LockLost`](crate::ErrorKind::LockLost) from [`LockGuard::unlock`].
//! [`FileLock::clean_stale`] removes lock files without that danger, at any time.
//!
//! # Limits
//!
//! - **Advisory**: programs that do not ask are not excluded (on Windows only from the lock file).
//! - **One machine**: use local file systems. NFS and SMB may grant a lock twice after a network
//!   failure, and often do not show it to other clients at all. A file system without locks causes
//!   [`ErrorKind::LockUnsupported`](crate::ErrorKind::LockUnsupported).
//! - **One name**: two lock files are two locks. [`FileLock::beside`] does not follow links to the
//!   file it protects; [`atomic::update`](crate::atomic::update) does.
//! - **Not recursive**: a value that holds the lock answers
//!   [`ErrorKind::AlreadyLocked`](crate::ErrorKind::AlreadyLocked); a second value waits for the
//!   first.
//! - **fork**: the lock stays with the process that took it. A forked child's copy of the guard
//!   unlocks and removes nothing, and the child may not act on it. Its [`FileLock`] can be used
//!   once that copy is dropped. If the parent *dies* while it holds the lock, the lock is free once
//!   the child has dropped or closed its copy. Programs started with `exec`
//!   (`std::process::Command`) inherit nothing.

pub(crate) mod backoff;
mod file;
mod gate;
mod guard;
mod handle;
mod owner;
mod stale;

pub use crate::sys::LockMode;
pub use guard::LockGuard;
pub use handle::FileLock;

use crate::clock::Deadline;
use std::time::Duration;

/// How long to wait for a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wait {
    /// Try once. A process that is releasing the lock or removing stale locks counts as a holder.
    Never,
    /// Wait at most this long. The lock is polled after 20 µs at first, then at growing intervals
    /// of at most 50 ms (62 ms with the random variation), and a last time at the deadline.
    AtMost(Duration),
    /// Wait in the kernel's queue, without polling. Exclusive acquirers poll for their first 10 ms.
    Forever,
}

impl Wait {
    pub(super) fn deadline(self) -> Deadline {
        match self {
            Self::Never => Deadline::after(Duration::ZERO),
            Self::AtMost(span) => Deadline::after(span),
            Self::Forever => Deadline::never(),
        }
    }
}
