//! The differences between operating systems: the same functions in [`unix`] and [`windows`].
//!
//! This is the only place with `cfg(unix)` or `cfg(windows)`. The contracts:
//!
//! - `stat(path)` / `fstat(file)`: an [`Entry`]. `stat` does not follow a link in the last
//!   component.
//! - `stat_target(path)`: like `stat`, of the file that a link leads to.
//! - `open_append(path)`: opens for reading and appending. Does not create, does not follow a link
//!   in the last component, and does not wait (a FIFO). Child programs do not inherit the handle.
//! - `open_to_sync(path)`: opens a file to sync it; for reading, except on Windows, which requires
//!   write access for that.
//! - `create_new(path, mode)`: like `open_append`, but creates, and fails if anything exists. The
//!   mode is subject to the umask.
//! - `open_lock(path, mode)`: opens or creates a lock file, without following a link in the last
//!   component. If this process may only read an existing one, the handle can lock but not write.
//! - `open_lock_read(path)`: like `open_lock`, for reading, without creating.
//! - `is_lock_unsupported(error)`: whether locking failed because the file system has no locks.
//! - `is_lock_held(error)`: whether locking failed because the lock is held elsewhere, by an error
//!   that is no usual answer: CIFS gives `EACCES`. The file is open, so it is no lack of rights.
//! - `has_exact_births(file)`: whether `born` of a file is never later than it was created.
//! - `is_removal_refused(error)`: whether a file was not removed because this process may not, or
//!   because another process has it open.
//! - `is_removal_pending(error)`: whether a lock file could not be opened because it is already
//!   removed and only open handles keep it.
//! - `is_in_use(error)`: whether a file was not replaced because a process has it open, perhaps for
//!   a moment.
//! - `is_lease_refused(error)`: whether `open_append` failed because a handle of `open_unleased`
//!   holds the file.
//! - `is_file_name(name)`: whether a regular file can have this name.
//! - `read_at(file, buffer, offset)`: one read at an offset, without effect on appends.
//! - `write_start(file, bytes)`: one write at offset 0, not on an appending handle.
//! - `append(file, bytes)`: one write at the end of an appending handle's file; may be short.
//! - `append_explicitly(file, bytes)`: like `append`, leaves the file position alone, and tells the
//!   system so; `None` if it has no such call.
//! - `append_positioned(file, bytes, offset)`: the same without telling, for a handle that
//!   `append_explicitly` has written to. `offset` is where the file is expected to end.
//! - `append_offset(file)`: the end of the handle's last append, other processes' included.
//! - `open_segment(path)`: opens a segment for reading. Does not follow a link in the last
//!   component, and does not wait.
//! - `try_lease(file)`: marks the file of a segment's handle as in use until the handle closes;
//!   `false` if a handle of `open_unleased` holds it. On Windows a handle for reading marks nothing
//!   and need not: it can be read to the end, whatever becomes of the name.
//! - `end_lease(file)`: removes the mark; the handle stays open.
//! - `may_grow(file, path)`: whether a worker may still append to a finished segment. `file` is a
//!   handle for reading, whose lease, if any, is released. `path` is where the segment was last
//!   seen.
//! - `open_unleased(path)`: opens for reading and takes the file for this handle alone; `None` if
//!   an appending handle of this crate is open on it, in this process or another. Follows no link.
//!   Where exclusive locks need write access (NFS), it opens for appending.
//! - `rename_noreplace(from, to)`: fails with `AlreadyExists` rather than replace. On file systems
//!   without an atomic form the check comes just before the rename.
//! - `link(from, to)`: gives a file a second name. Fails with `AlreadyExists` rather than replace.
//!   Does not follow a link in the last component.
//! - `exchange(from, to)`: exchanges the files of two names in one step; both exist at every time.
//!   `EXCHANGES` says whether the system has such a call.
//! - `is_exchange_missing(error)`: whether `exchange` failed because the kernel or the file system
//!   has no such call.
//! - `is_own(access)`: whether a file belongs to the user this process acts as.
//! - `keeps_names(dir)`: whether only the owner of a file, or of this directory, may remove a name
//!   of the file there. It is the directory's sticky bit.
//! - `set_mode`, `set_owner`: permissions and ownership of an open file; no-ops on systems without
//!   them.
//! - `copy_attributes(from, to, with_acl)`: gives an open file the access control list, the label
//!   and the users' attributes of another, each as far as this process may. `false` if `from` has a
//!   list and `to` has not got it. On Linux only.
//! - `is_untrusted_symlink(link, dir)`: whether a link in a sticky, world-writable directory
//!   belongs neither to this user nor to the directory's owner. It is the rule of Linux's
//!   `fs.protected_symlinks`, which holds for links that the kernel itself follows, if it is on.
//! - `sync_dir(path)`: makes the directory's entries durable, where that is a separate act.
//! - `network_file_system(dir)`: the system's name for the network file system that holds a
//!   directory, whose links are resolved. `None` if it is on none, or the system does not say.
//! - `note(path)` / `set_note(path, note)`: an extended attribute of the file, which is no link. A
//!   missing one is an error of any kind. Fails where files have none.
//! - `drop_from_cache(file)`: advises that the content need not stay in memory.
//! - `lower_priority()`: lowers this thread's priority, and that of its I/O on systems that derive
//!   one from the other. Never raises it. A real-time thread becomes a normal one.
//! - `without_signals(work)`: does `work` while this thread accepts no signal of another process.
//!   Threads that `work` starts accept none for their whole life. Signals that report a fault of
//!   the thread itself still arrive.
//! - `DirWatch`: reports changes in a directory. `new(dir)` fails if the system refuses watches,
//!   descriptors or a thread. `wait(span)` returns after a change since the last call, after
//!   `wake()`, or after `span`; sometimes without a reason.
//! - `MoveWatch`: reports that a file was renamed. `new()` fails if the system has no such reports,
//!   or no more descriptors or instances for this user. `add(file)` watches the file, which is not
//!   a link, until the first report, and returns a number. A file that is watched already has the
//!   same number. `refuses_all(error)` says whether `add` fails for other files too.
//!   `remove(number)` ends it. `wait(span, moved)` returns after a report, after `wake()`, or after
//!   `span`; sometimes without a reason. `moved` gets each number, or `None` if reports were lost,
//!   and numbers that were removed.
//! - `coarse_micros()`: the wall clock in microseconds since 1970; cheap, and a few milliseconds
//!   stale.
//! - `process_runs(pid)`: whether such a process exists, if that can be known. A hint: pids are
//!   reused.
//! - `process_start(pid)`: a number that distinguishes processes with the same pid, if known.
//! - `file_locks()`: the [`FileLocks`] of this machine, as far as this process may see them.
//! - `shows_files(pid)`: whether this process may see which files a process has open, or it exited.
//! - `file_size_limit()`: the size in bytes beyond which this process may not write to a file.
//! - `open_for(pid, id)`: the access that a process has to a file; `None` if that cannot be seen.
//! - `open_for_writing(files, except)`: which of the files a process has open for writing, by a
//!   handle other than `except`, as far as that can be seen. On Windows `open_unleased` refuses
//!   such files.
//! - `removed_and_open(dir, is_ours)`: the bytes on disk of the files that were removed from a
//!   directory and that a process has open. `is_ours` takes the name that a file had.
//! - `process_name(pid)`: its program's name, perhaps truncated, if that can be known.
//! - `host_name()` / `user_name()`: the name of this machine, and the name or number of the user
//!   this process acts as. For humans to read.

/// Whether `open_unleased` is refused while any program has the file open for writing.
pub(crate) const DENIES_WRITERS: bool = cfg!(windows);

mod append;
pub(crate) use append::{APPENDS_SIDE_BY_SIDE, append_explicitly, append_positioned};

#[cfg(unix)]
mod unix;
#[cfg(unix)]
pub(crate) use unix::*;

#[cfg(any(target_os = "linux", target_os = "android"))]
mod share_lock;

#[cfg(unix)]
mod exchange;
#[cfg(unix)]
pub(crate) use exchange::*;

#[cfg(any(target_os = "linux", target_os = "android"))]
mod proc;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) use proc::{
    file_locks, open_for, open_for_writing, process_name, removed_and_open, shows_files,
};

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod noproc;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) use noproc::{
    file_locks, open_for, open_for_writing, process_name, removed_and_open, shows_files,
};

#[cfg(any(target_os = "linux", target_os = "android"))]
mod inotify;
#[cfg(all(feature = "follow", any(target_os = "linux", target_os = "android")))]
pub(crate) use inotify::DirWatch;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) use inotify::MoveWatch;

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod no_move_watch;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) use no_move_watch::MoveWatch;

#[cfg(all(feature = "follow", not(any(target_os = "linux", target_os = "android"))))]
mod other_watch;
#[cfg(all(feature = "follow", not(any(target_os = "linux", target_os = "android"))))]
pub(crate) use other_watch::DirWatch;

#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
mod xattr;
#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
pub(crate) use xattr::{note, set_note};

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
mod noxattr;
#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
pub(crate) use noxattr::{note, set_note};

#[cfg(any(target_os = "linux", target_os = "android"))]
mod attributes;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) use attributes::copy_attributes;

/// Other systems have other means for them, which this crate does not know.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn copy_attributes(_from: &std::fs::File, _to: &std::fs::File, _with_acl: bool) -> bool {
    true
}

#[cfg(windows)]
mod windows;
#[cfg(windows)]
pub(crate) use windows::*;

use std::fs::DirEntry;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The identity of a file, whatever its name: equal for two handles or paths of one file while
/// either handle is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FileId {
    pub(crate) volume: u64,
    pub(crate) index: u64,
}

/// The holders that a file lock excludes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LockMode {
    /// Excludes exclusive holders only: any number of shared holders at a time.
    Shared,
    /// Excludes all other holders.
    Exclusive,
}

/// The `flock`s held on this machine, as far as the system shows them.
#[derive(Debug, Default)]
pub(crate) struct FileLocks {
    pub(crate) shown: Vec<(FileId, LockMode, u32)>,
    /// Whether there are no others.
    pub(crate) is_complete: bool,
}

impl FileLocks {
    /// The holders of a file and their lock modes; `None` if there are none but those that the
    /// system does not show.
    pub(crate) fn holders(&self, id: FileId) -> Option<Vec<(LockMode, u32)>> {
        let of_file = |at: fn(FileId) -> (u64, u64)| {
            let same = self.shown.iter().filter(move |(locked, ..)| at(*locked) == at(id));
            same.map(|(_, kind, pid)| (*kind, *pid)).collect::<Vec<_>>()
        };
        let exact = of_file(|id| (id.volume, id.index));
        if !exact.is_empty() {
            return Some(exact);
        }
        // File systems of several volumes (btrfs, overlayfs) lock under another volume's number.
        // There, a process with a matching lock holds the file if it has the file open.
        let (mut likely, mut is_complete) = (of_file(|id| (0, id.index)), self.is_complete);
        likely.retain(|(_, pid)| {
            let is_open = open_for(*pid, id).is_some();
            is_complete &= is_open || shows_files(*pid);
            is_open
        });
        (is_complete || !likely.is_empty()).then_some(likely)
    }
}

/// The access that a process has to an open file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    not(any(target_os = "linux", target_os = "android")),
    allow(dead_code, reason = "only Linux tells")
)]
pub(crate) enum OpenFor {
    Reading,
    Appending,
}

/// The state of a file or directory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) id: FileId,
    pub(crate) kind: EntryKind,
    pub(crate) len: u64,
    /// The number of names of the file; 0 once it was deleted.
    pub(crate) links: u64,
    pub(crate) modified: SystemTime,
    /// The creation time, if the file system knows it.
    pub(crate) born: Option<SystemTime>,
    /// Like `born`, but on Windows it may be the creation time of an earlier file of that name.
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

/// Permissions and owner of a file. All zero on systems without them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Access {
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// The name of a file last seen at `path`; `None` if it has no name in that directory any more.
fn present_name(id: FileId, path: &Path) -> io::Result<Option<PathBuf>> {
    let is_it = |path: &Path| stat(path).is_ok_and(|there| there.id == id);
    if is_it(path) {
        return Ok(Some(path.to_owned()));
    }
    let dir = path.parent().unwrap_or(Path::new(""));
    let names: io::Result<Vec<_>> = std::fs::read_dir(dir)?.collect();
    Ok(names?.iter().map(DirEntry::path).find(|path| is_it(path)))
}
