//! What differs between operating systems: the same functions in [`unix`] and [`windows`].
//!
//! This is the only place with `cfg(unix)` or `cfg(windows)`. The contracts:
//!
//! - `stat(path)` / `fstat(file)`: an [`Entry`]; `stat` does not follow a link in the last component.
//! - `open_append(path)`: opens for reading and appending, does not create, does not follow a link
//!   in the last component, does not wait (a FIFO), is not inherited by child programs.
//! - `create_new(path, mode)`: as `open_append`, but creates, and fails if anything is there. The
//!   mode is subject to the umask.
//! - `open_lock(path, mode)`: opens or creates a lock file, following no link in the last component.
//!   Where this process may only read an existing one, the handle can lock but not write.
//! - `open_lock_read(path)`: as `open_lock`, for reading, without creating.
//! - `is_lock_unsupported(error)`: whether locking failed because the file system has no locks.
//! - `is_removal_refused(error)`: whether a file was not removed because this process may not, or because
//!   another has it open just now.
//! - `is_removal_pending(error)`: whether a lock file was not opened because it is removed already, but for
//!   the handles that others still have.
//! - `is_in_use(error)`: whether a file was not replaced because someone has it open, perhaps for a moment.
//! - `is_lease_refused(error)`: whether `open_append` failed because someone holds the file through
//!   `open_unleased`.
//! - `is_file_name(name)`: whether a file, and not something else, can have this name.
//! - `read_at(file, buffer, offset)`: one read at an offset; appends do not notice.
//! - `write_start(file, bytes)`: one write at offset 0, not on an appending handle.
//! - `append(file, bytes)`: one write at the end of an appending handle's file; may be short.
//! - `append_offset(file)`: the end of the handle's last append, other processes' included.
//! - `open_segment(path)`: opens a segment for reading, follows no link in the last component, does not
//!   wait.
//! - `try_lease(file)`: marks the file behind a segment's handle as in use until the handle closes;
//!   `false` if someone holds it through `open_unleased`. On Windows a handle for reading marks nothing,
//!   and needs not: what it has open can be read to the end, whatever becomes of the name.
//! - `end_lease(file)`: takes the mark back; the handle stays open.
//! - `may_grow(file, path)`: whether a worker may still append to a finished segment. `file` is a handle
//!   for reading, whose lease, if it has one, is given back; `path` is where the segment was last seen.
//! - `open_unleased(path)`: opens for reading and takes the file for this handle alone; `None` if
//!   any appending handle of this crate is open on it, in this process or another. Follows no link.
//!   Where exclusive locks are for writers only (NFS) it is opened for appending.
//! - `rename_noreplace(from, to)`: fails with `AlreadyExists` rather than replace. On file systems
//!   without an atomic form the check comes just before the rename.
//! - `set_mode`, `set_owner`: permissions and ownership of an open file; no-ops where there are none.
//! - `is_untrusted_symlink(link, dir)`: whether a link in a sticky directory that all may write to is neither this
//!   user's nor that of the directory's owner: the rule of Linux's `fs.protected_symlinks`, which holds
//!   for links that the kernel itself follows, if it is on.
//! - `sync_dir(path)`: makes the directory's entries durable, where that is a separate act.
//! - `network_file_system(dir)`: what the system calls the network file system that a directory, whose links
//!   are resolved, is on; `None` if it is on none, or the system does not tell.
//! - `drop_from_cache(file)`: advises that the content need not be kept in memory.
//! - `lower_priority()`: lowers this thread's priority, and with it that of its I/O where the system derives
//!   the one from the other.
//! - `coarse_micros()`: the wall clock in microseconds since 1970, cheap, a few milliseconds stale.
//! - `process_runs(pid)`: whether such a process exists, if that can be known. A hint: pids are reused.
//! - `process_start(pid)`: a number that tells processes of one pid apart, if there is one.
//! - `file_locks()`: the [`FileLocks`] of this machine, as far as this process may see them.
//! - `open_for(pid, id)`: what a process has a file open for; `None` if that cannot be seen.
//! - `process_name(pid)`: its program's name, perhaps cut short, if that can be known.
//! - `host_name()` / `user_name()`: this machine's name, and that of the user this process acts as, or
//!   the user's number. For humans to read.

#[cfg(unix)]
mod unix;
#[cfg(unix)]
pub(crate) use unix::*;

#[cfg(any(target_os = "linux", target_os = "android"))]
mod proc;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) use proc::{file_locks, open_for, process_name};

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod noproc;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) use noproc::{file_locks, open_for, process_name};

#[cfg(windows)]
mod windows;
#[cfg(windows)]
pub(crate) use windows::*;

use std::fs::DirEntry;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Which file it is, whatever its name: equal for two handles or paths of one file while either
/// handle is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FileId {
    pub(crate) volume: u64,
    pub(crate) index: u64,
}

/// Whom a file lock keeps out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LockMode {
    /// Exclusive holders only: any number of shared holders at a time.
    Shared,
    /// Everybody else.
    Exclusive,
}

/// The `flock`s held on this machine; `None` if the system does not tell.
#[derive(Debug, Default)]
pub(crate) struct FileLocks(Option<Vec<(FileId, LockMode, u32)>>);

impl FileLocks {
    /// Who holds a file, and how; `None` if that is not known.
    pub(crate) fn holders(&self, id: FileId) -> Option<Vec<(LockMode, u32)>> {
        let locks = self.0.as_ref()?;
        let of_file = |at: fn(FileId) -> (u64, u64)| {
            let same = locks.iter().filter(move |(locked, ..)| at(*locked) == at(id));
            same.map(|(_, kind, pid)| (*kind, *pid)).collect::<Vec<_>>()
        };
        let exact = of_file(|id| (id.volume, id.index));
        if !exact.is_empty() {
            return Some(exact);
        }
        // File systems of several volumes (btrfs, overlayfs) lock under another one's number; whoever has
        // the file open holds it.
        let mut likely = of_file(|id| (0, id.index));
        likely.retain(|(_, pid)| open_for(*pid, id).is_some());
        Some(likely)
    }
}

/// What a process has a file open for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    not(any(target_os = "linux", target_os = "android")),
    allow(dead_code, reason = "only Linux tells")
)]
pub(crate) enum OpenFor {
    Reading,
    Appending,
}

/// What is known of a file or directory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) id: FileId,
    pub(crate) kind: EntryKind,
    pub(crate) len: u64,
    /// Names that the file has; 0 once it was deleted.
    pub(crate) links: u64,
    pub(crate) modified: SystemTime,
    /// When the file was made, where the file system knows it.
    pub(crate) born: Option<SystemTime>,
    /// As `born`; but on Windows it may be when an earlier file of that name was made.
    pub(crate) born_at_earliest: Option<SystemTime>,
    pub(crate) access: Access,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryKind {
    File,
    Directory,
    Link,
    Other,
}

/// Who may do what with a file. All zero where the system has no such thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Access {
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// The name of a file that was last seen at `path`; `None` if it has none in that directory any more.
fn present_name(id: FileId, path: &Path) -> io::Result<Option<PathBuf>> {
    let is_it = |path: &Path| stat(path).is_ok_and(|there| there.id == id);
    if is_it(path) {
        return Ok(Some(path.to_owned()));
    }
    let dir = path.parent().unwrap_or(Path::new(""));
    let names: io::Result<Vec<_>> = std::fs::read_dir(dir)?.collect();
    Ok(names?.iter().map(DirEntry::path).find(|path| is_it(path)))
}
