//! Locks between processes, for state files of your own as well as for the log.
//!
//! # Which of these do I need?
//!
//! | you want to | use |
//! |---|---|
//! | replace a file that others only read | [`atomic::write`](crate::atomic::write), no lock at all |
//! | change a file that others change too | [`atomic::update`](crate::atomic::update), which locks for you |
//! | do something on a path alone, or while nobody else changes it | [`FileLock::with_exclusive`], [`FileLock::with_shared`] |
//! | the same, but wait only so long, or keep the lock in a struct's method | [`FileLock::beside`] |
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
//! - While a guard is exclusive there is no other guard on that lock file, in any process; while it
//!   is shared, there are only shared ones. Two [`FileLock`] values exclude each other in the same
//!   way when they are in one process.
//! - A lock is free as soon as its holder drops the guard, panics, exits, or is killed. Pids and
//!   ages of files decide nothing.
//! - A shared acquirer never waits for a shared holder, except behind a waiting exclusive one.
//! - An exclusive acquirer that waits longer than 10 ms is not overtaken by shared ones that come
//!   later, so readers that come and go cannot starve it: it waits for those that were in before.
//!   Hence a thread that holds a shared lock and asks for another on the same path may wait for
//!   itself, once a writer stands between; and a writer that is *stopped* while it waits keeps
//!   readers waiting, as a stopped holder does. Exclusive acquirers among themselves, and readers
//!   against a stream of writers, are served in no promised order.
//!
//! # The lock file
//!
//! It is made by the first holder, empty or with one line naming the last owner, and removed by the
//! last one to leave, unless [`FileLock::keep_file`] says otherwise. It stays when a process is
//! killed (unlocked, harmless, used again by the next), when this process may not remove it
//! (another user's in a sticky directory), or when Windows refuses just then. A file with other
//! content is locked as any other, but never written or removed. While an exclusive acquirer waits
//! long there is also `<lock file>.gate`.
//!
//! Do not remove it by hand while programs run. No lock on a removable file survives that: the next
//! acquirer makes a new file and gets in beside the holder. It is noticed, though: of any two that
//! overlap the earlier gets [`ErrorKind::LockLost`] from
//! [`LockGuard::unlock`]. [`FileLock::clean_stale`] removes without that danger, at any time.
//!
//! # Limits
//!
//! - **Advisory**: programs that do not ask are not kept out (on Windows, of the lock file only).
//! - **One machine**: use local file systems. Over NFS and SMB a lock may be granted twice after a
//!   network failure, and often is not seen by other clients at all. A file system that has no
//!   locks gives [`ErrorKind::LockUnsupported`].
//! - **One name**: two lock files are two locks. [`FileLock::beside`] does not follow links to the
//!   file it protects; [`atomic::update`](crate::atomic::update) does.
//! - **Not recursive**: a value that holds the lock answers
//!   [`ErrorKind::AlreadyLocked`]; a second value waits for the first.
//! - **fork**: the lock stays with the process that took it. A forked child's copy of the guard
//!   unlocks and removes nothing, and the child may not act on it; its [`FileLock`] can be used
//!   once that copy is dropped. But if the parent *dies* holding the lock, it is not free until the
//!   child has dropped or closed its copy. Programs started with `exec` (`std::process::Command`)
//!   inherit nothing.

mod backoff;
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
    /// Ask once. Somebody who is just leaving, or cleaning up stale locks, counts as a holder.
    Never,
    /// Ask at growing intervals, from 20 µs to 50 ms (62 ms with the random variation), and a last
    /// time at the end of this span. The call returns as soon after that as the system lets the
    /// thread run.
    AtMost(Duration),
    /// Wait in the kernel's queue, using no time. Exclusive acquirers ask at intervals for their
    /// first 10 ms.
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
