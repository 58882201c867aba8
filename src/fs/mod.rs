//! Every file operation of this crate, one function each.
//!
//! Each function attaches the verb and the path to the error. It passes the [fault hook](fault)
//! first, so that a test can stop, fail or kill any operation by number. [`append`] alone returns a
//! bare [`io::Result`]: it is the hot path, and its caller answers in `io` terms. Elsewhere a
//! parameter `path` beside an open file serves the message only.

mod append;
pub(crate) mod fault;
mod found;
mod temp;

pub(crate) use crate::sys::{
    APPENDS_SIDE_BY_SIDE, Access, DENIES_WRITERS, EXCHANGES, Entry, EntryKind, FileId, FileLocks,
    LockMode, OpenFor, is_exchange_missing, is_own, keeps_names, open_for, process_name,
};
pub(crate) use append::{AppendMode, append, append_beside, append_offset};
use found::{found, found_at};
pub use temp::Replace;
pub(crate) use temp::{Temp, open_dead_temp, remove_dead_temp, temp_mark, temp_name, temp_target};

use crate::clock::{Deadline, sleep};
use crate::error::{Error, Result, lock_action};
use crate::sys;
use std::collections::HashSet;
use std::fs::{File, FileTimes};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Passes the fault hook, runs `operation`, and names it in the error.
pub(crate) fn attempt<T>(
    verb: &'static str,
    path: &Path,
    operation: impl FnOnce() -> io::Result<T>,
) -> Result<T> {
    fault::step(verb).and_then(|()| operation()).map_err(|source| Error::io(verb, path, source))
}

/// Repeats an operation that a signal interrupts. The standard library does so for most others.
fn uninterrupted<T>(mut operation: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match operation() {
            Err(error) if error.io_kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// When the content of a file was created, if that is known: a copy is younger than its content.
pub(crate) fn created(file: &File, entry: &Entry) -> Option<SystemTime> {
    let is_exact = sys::has_exact_births(file);
    entry.born.filter(|_| is_exact).map(|born| born.min(entry.modified))
}

/// The state of the entry at `path`, without following a link; `None` if it does not exist.
pub(crate) fn stat(path: &Path) -> Result<Option<Entry>> {
    found(attempt("look at", path, || sys::stat(path)))
}

/// The state of the file that `path` leads to, through all links; `None` if there is none.
pub(crate) fn stat_target(path: &Path) -> Result<Option<Entry>> {
    found(attempt("look at", path, || sys::stat_target(path)))
}

/// Whether `path` still names this file. A link is not followed.
pub(crate) fn is_at(path: &Path, id: FileId) -> Result<bool> {
    Ok(stat(path)?.is_some_and(|there| there.id == id))
}

/// The state of an open file. `path` is for the message.
pub(crate) fn fstat(file: &File, path: &Path) -> Result<Entry> {
    attempt("look at", path, || sys::fstat(file))
}

/// The state of an open file; `None` if another process has removed it and the server of a network
/// or FUSE file system has forgotten it. `path` is for the message.
pub(crate) fn fstat_if_any(file: &File, path: &Path) -> Result<Option<Entry>> {
    found(fstat(file, path))
}

/// Opens an existing file for reading and appending; `None` if it does not exist.
pub(crate) fn open_append(path: &Path) -> Result<Option<File>> {
    found_at(path, attempt("open", path, || sys::open_append(path)))
}

/// Opens an existing file to sync it; `None` if it does not exist.
pub(crate) fn open_to_sync(path: &Path) -> Result<Option<File>> {
    found_at(path, attempt("open", path, || sys::open_to_sync(path)))
}

/// Creates a file for reading and appending. Fails if anything exists at `path`.
pub(crate) fn create_new(path: &Path, mode: u32) -> Result<File> {
    attempt("create", path, || sys::create_new(path, mode))
}

/// Opens a lock file, or creates it.
pub(crate) fn open_lock(path: &Path, mode: u32) -> Result<File> {
    attempt("open lock file", path, || sys::open_lock(path, mode))
}

/// Opens an existing lock file, to lock or read it; `None` if it does not exist.
pub(crate) fn open_lock_read(path: &Path) -> Result<Option<File>> {
    found_at(path, attempt("open lock file", path, || sys::open_lock_read(path)))
}

/// Tries to lock a file; `false` if another holder prevents it. The lock belongs to the open file,
/// not to this process: see the [lock module](crate::lock).
pub(crate) fn try_lock(file: &File, mode: LockMode, path: &Path) -> Result<bool> {
    unless_held(attempt_lock(mode, path, || {
        let tried = match mode {
            LockMode::Shared => fs4::FileExt::try_lock_shared(file),
            LockMode::Exclusive => fs4::FileExt::try_lock(file),
        };
        match tried {
            Ok(()) => Ok(true),
            Err(fs4::TryLockError::WouldBlock) => Ok(false),
            Err(fs4::TryLockError::Error(error)) => Err(error),
        }
    }))
}

/// Turns the refusal of a lock that is held elsewhere into `Ok(false)`.
fn unless_held(tried: Result<bool>) -> Result<bool> {
    match tried {
        Err(error) if error.io_error().is_some_and(sys::is_lock_held) => Ok(false),
        done => done,
    }
}

/// Locks a file, waiting in the kernel without limit.
pub(crate) fn lock(file: &File, mode: LockMode, path: &Path) -> Result<()> {
    const RETRY: Duration = Duration::from_millis(20);
    let attempt = || {
        attempt_lock(mode, path, || {
            loop {
                let locked = match mode {
                    LockMode::Shared => fs4::FileExt::lock_shared(file),
                    LockMode::Exclusive => fs4::FileExt::lock(file),
                };
                match locked {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    done => return done,
                }
            }
        })
    };
    while !unless_held(attempt().map(|()| true))? {
        sleep(RETRY);
    }
    Ok(())
}

/// Like [`attempt`], and distinguishes a file system without locks.
fn attempt_lock<T>(
    mode: LockMode,
    path: &Path,
    operation: impl FnOnce() -> io::Result<T>,
) -> Result<T> {
    fault::step(lock_action(mode)).and_then(|()| operation()).map_err(|source| {
        if sys::is_lock_unsupported(&source) {
            return Error::lock_unsupported(mode, path, source);
        }
        Error::io(lock_action(mode), path, source)
    })
}

/// Unlocks a file for every handle on the same open file, copies in forked processes included.
pub(crate) fn unlock(file: &File, path: &Path) -> Result<()> {
    attempt("unlock", path, || fs4::FileExt::unlock(file))
}

/// The result of taking a file that no process may be appending to.
pub(crate) enum Unleased {
    /// No other handle has it. It stays ours until the handle closes.
    Ours(File),
    /// A worker may still append to it, a reader reads it, or another worker has taken it.
    Leased,
    Gone,
}

/// Takes a finished segment for this worker alone, if no worker can append to it any more.
pub(crate) fn open_unleased(path: &Path) -> Result<Unleased> {
    match found_at(path, attempt("open", path, || sys::open_unleased(path)))? {
        Some(Some(file)) => Ok(Unleased::Ours(file)),
        Some(None) => Ok(Unleased::Leased),
        None => Ok(Unleased::Gone),
    }
}

/// Marks a segment's file as in use until the handle closes; `false` if refused, or if another
/// process has removed it and the server of a network or FUSE file system has forgotten it.
pub(crate) fn try_lease(file: &File, path: &Path) -> Result<bool> {
    let tried = unless_held(attempt_lock(LockMode::Shared, path, || sys::try_lease(file)));
    Ok(found(tried)?.unwrap_or(false))
}

/// Opens a segment for reading, if it exists. The result may not be a regular file.
pub(crate) fn open_segment(path: &Path) -> Result<Option<File>> {
    found_at(path, attempt("open", path, || sys::open_segment(path)))
}

/// Releases a lease before the handle closes.
pub(crate) fn end_lease(file: &File, path: &Path) -> Result<()> {
    attempt("unlock", path, || sys::end_lease(file))
}

/// Whether a worker may still append to a finished segment. Releases the lease of our handle.
pub(crate) fn may_grow(file: &File, path: &Path) -> Result<bool> {
    attempt_lock(LockMode::Exclusive, path, || sys::may_grow(file, path))
}

/// Creates a file without a name, for content too large for memory. It is gone once it closes.
pub(crate) fn anonymous_file() -> Result<File> {
    attempt("create a temporary file in", &std::env::temp_dir(), tempfile::tempfile)
}

/// Writes to an unfinished file with one `write` call; may be short. `path` is for the message.
pub(crate) fn write(file: &File, bytes: &[u8], path: &Path) -> Result<usize> {
    let written = fault::write_step("write", bytes.len(), |len| sys::append(file, &bytes[..len]));
    written.map_err(|source| Error::io("write", path, source))
}

/// Writes all of `bytes`, with as many `write` calls as needed.
pub(crate) fn write_all(file: &File, mut bytes: &[u8], path: &Path) -> Result<()> {
    while !bytes.is_empty() {
        match uninterrupted(|| write(file, bytes, path))? {
            0 => return Err(Error::io("write", path, io::ErrorKind::WriteZero.into())),
            taken => bytes = &bytes[taken..],
        }
    }
    Ok(())
}

/// Reads at most a buffer's length; 0 at the end. `path` is for the message.
pub(crate) fn read(mut file: &File, buffer: &mut [u8], path: &Path) -> Result<usize> {
    uninterrupted(|| attempt("read", path, || file.read(buffer)))
}

/// Reads a whole file; `None` if it does not exist. Links are followed.
pub(crate) fn read_whole(path: &Path) -> Result<Option<Vec<u8>>> {
    found(attempt("read", path, || std::fs::read(path)))
}

/// Reads from a file's start, at most a buffer's length. `path` is for the message.
pub(crate) fn read_start(file: &File, buffer: &mut [u8], path: &Path) -> Result<usize> {
    read_at(file, buffer, 0, path)
}

/// Reads from an offset, at most a buffer's length; 0 at the end. `path` is for the message.
pub(crate) fn read_at(file: &File, buffer: &mut [u8], offset: u64, path: &Path) -> Result<usize> {
    uninterrupted(|| attempt("read", path, || sys::read_at(file, buffer, offset)))
}

/// The last byte of a file of `len` bytes; `None` if that is 0. `path` is for the message.
pub(crate) fn read_last(file: &File, len: u64, path: &Path) -> Result<Option<u8>> {
    let Some(at) = len.checked_sub(1) else { return Ok(None) };
    let mut last = [0];
    let read = read_at(file, &mut last, at, path)?;
    Ok((read > 0).then_some(last[0]))
}

/// Overwrites a file's start with one call; may be short. `path` is for the message.
pub(crate) fn write_start(file: &File, bytes: &[u8], path: &Path) -> Result<usize> {
    let write = |len| sys::write_start(file, &bytes[..len]);
    let written = fault::write_step("write", bytes.len(), write);
    written.map_err(|source| Error::io("write", path, source))
}

/// Overwrites the start of an unfinished file. Its own handle cannot: it appends.
pub(crate) fn overwrite_start(path: &Path, bytes: &[u8]) -> Result<()> {
    const PRIVATE: u32 = 0o600;
    let file = attempt("open", path, || sys::open_lock(path, PRIVATE))?;
    // With one call, so no offset has to be kept.
    match write_start(&file, bytes, path)? {
        taken if taken == bytes.len() => Ok(()),
        _ => Err(Error::io("write", path, io::ErrorKind::WriteZero.into())),
    }
}

/// Renames a file, replacing any file at `to`. If the system refuses because that file is open,
/// retries for 1 s: programs that read or scan a file block it for a moment.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<()> {
    let deadline = Deadline::after(Duration::from_secs(1));
    attempt("rename", from, || {
        loop {
            match std::fs::rename(from, to) {
                Err(error) if sys::is_in_use(&error) && deadline.left().is_some() => {
                    sleep(Duration::from_millis(1));
                }
                done => return done,
            }
        }
    })
}

/// Renames a file. Fails if anything exists at `to`.
pub(crate) fn rename_noreplace(from: &Path, to: &Path) -> Result<()> {
    attempt("rename", from, || sys::rename_noreplace(from, to))
}

/// Gives a file a second name. Fails if anything exists at `to`.
pub(crate) fn link(from: &Path, to: &Path) -> Result<()> {
    attempt("link", from, || sys::link(from, to))
}

/// Exchanges the files at two paths in one step. Fails if there is none at either.
pub(crate) fn exchange(from: &Path, to: &Path) -> Result<()> {
    attempt("exchange", from, || sys::exchange(from, to))
}

/// Removes a file; `false` if it did not exist.
pub(crate) fn remove(path: &Path) -> Result<bool> {
    Ok(found(attempt("remove", path, || std::fs::remove_file(path)))?.is_some())
}

/// The names in a directory, in no order. Names that are not Unicode are skipped.
pub(crate) fn names(dir: &Path) -> Result<Vec<String>> {
    match list(dir) {
        // A server has forgotten the handle. Whether the directory exists, a new handle shows.
        Err(error) if error.io_kind() == io::ErrorKind::StaleNetworkFileHandle => list(dir),
        listed => listed,
    }
}

fn list(dir: &Path) -> Result<Vec<String>> {
    attempt("list", dir, || {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    })
}

/// Makes a file's content durable, without the metadata that reading it does not need.
pub(crate) fn sync_data(file: &File, path: &Path) -> Result<()> {
    attempt("sync", path, || file.sync_data())
}

/// Makes a file's content and metadata durable.
pub(crate) fn sync_all(file: &File, path: &Path) -> Result<()> {
    attempt("sync", path, || file.sync_all())
}

/// Makes a directory's names durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<()> {
    attempt("sync directory", dir, || sys::sync_dir(dir))
}

/// Sets the exact permission bits, whatever the umask.
pub(crate) fn set_mode(file: &File, mode: u32, path: &Path) -> Result<()> {
    attempt("set the mode of", path, || sys::set_mode(file, mode))
}

/// Sets the owner and group of a file.
pub(crate) fn set_owner(file: &File, access: Access, path: &Path) -> Result<()> {
    attempt("set the owner of", path, || sys::set_owner(file, access))
}

/// Gives a file the access control list, the security label and the users' attributes of another,
/// each as far as this process may; `false` if it lacks the list then.
pub(crate) fn copy_attributes(from: &File, to: &File, with_acl: bool, path: &Path) -> Result<bool> {
    attempt("copy the attributes to", path, || Ok(sys::copy_attributes(from, to, with_acl)))
}

/// Sets the time of the last change.
pub(crate) fn set_modified(file: &File, time: SystemTime, path: &Path) -> Result<()> {
    attempt("set the time of", path, || file.set_times(FileTimes::new().set_modified(time)))
}

/// Reads the note that workers keep on a file. Fails if there is none.
pub(crate) fn note(path: &Path) -> Result<Vec<u8>> {
    attempt("read the note on", path, || sys::note(path))
}

/// Puts a note on a file, beside its content. Changes neither its time nor its content.
pub(crate) fn set_note(path: &Path, note: &[u8]) -> Result<()> {
    attempt("put a note on", path, || sys::set_note(path, note))
}

/// Advises the system that a file's content need not stay in memory. Cannot fail.
pub(crate) fn drop_from_cache(file: &File) {
    sys::drop_from_cache(file);
}

/// Gives all other threads precedence for processors and disk, where the system can.
pub(crate) fn lower_priority() {
    sys::lower_priority();
}

/// Does `work`, which starts a thread that accepts no signal of another process.
pub(crate) fn without_signals<T>(work: impl FnOnce() -> T) -> T {
    sys::without_signals(work)
}

/// Bytes free to this user on the file system that holds `dir`; `None` if it does not say. File
/// systems in memory and FUSE servers without `statfs` report a size of zero.
pub(crate) fn free_space(dir: &Path) -> Result<Option<u64>> {
    match attempt("ask the free space of", dir, || fs4::statvfs(dir)) {
        Ok(disk) => Ok((disk.total_space() > 0).then(|| disk.available_space())),
        Err(error) if error.io_kind() == io::ErrorKind::Unsupported => Ok(None),
        Err(error) => Err(error),
    }
}

/// The bytes of the files that were removed from a directory and that a process still has open, as
/// far as this process may see. `is_ours` takes the name that a file had.
pub(crate) fn removed_and_open(dir: &Path, is_ours: impl Fn(&str) -> bool) -> Result<u64> {
    attempt("read", Path::new("/proc"), || Ok(sys::removed_and_open(dir, &is_ours)))
}

/// Which of these files a process has open for writing, as far as this process may see.
pub(crate) fn open_for_writing(files: &[FileId], except: Option<&File>) -> Result<HashSet<FileId>> {
    attempt("read", Path::new("/proc"), || Ok(sys::open_for_writing(files, except)))
}

/// The system's name for the network file system that holds `dir`; `None` if it is on none, or the
/// system does not say.
pub(crate) fn network_file_system(dir: &Path) -> Result<Option<String>> {
    attempt("ask the file system of", dir, || sys::network_file_system(dir))
}

/// Creates a directory and its parents.
pub(crate) fn create_dirs(dir: &Path) -> Result<()> {
    attempt("create directory", dir, || std::fs::create_dir_all(dir))
}

/// The failure to create a file, of which the system says that something was not found.
pub(crate) fn not_created(action: &'static str, path: &Path) -> Error {
    let dir = parent(path);
    Error::not_created(action, path, dir, matches!(stat(dir), Ok(Some(_))))
}

/// The directory part of a path.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if dir != Path::new("") => dir,
        _ => Path::new("."),
    }
}

/// The absolute path of a directory, free of links.
pub(crate) fn canonical(dir: &Path) -> Result<PathBuf> {
    attempt("resolve", dir, || std::fs::canonicalize(dir))
}

/// The target of a link. A link that another user has put into a directory open to all is rejected.
pub(crate) fn read_link(link: &Path) -> Result<PathBuf> {
    attempt("read link", link, || {
        if sys::is_untrusted_symlink(link, parent(link))? {
            let why = "another user has put it into a directory that is open to all";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        }
        std::fs::read_link(link)
    })
}

/// The number of links that Linux follows in one path.
const MAX_LINKS: usize = 40;

/// Follows the links at `path`. Returns where they end, and what is there, if anything is.
///
/// # Errors
/// [`ErrorKind::NotAFile`](crate::ErrorKind::NotAFile) for more than 40 links, or a circle of them.
pub(crate) fn resolve_links(action: &'static str, path: &Path) -> Result<(PathBuf, Option<Entry>)> {
    let mut target = path.to_owned();
    for _ in 0..MAX_LINKS {
        match stat(&target)? {
            Some(entry) if entry.kind == EntryKind::Link => {
                target = parent(&target).join(read_link(&target)?);
            }
            found => return Ok((target, found)),
        }
    }
    Err(Error::too_many_links(action, path))
}

/// Whether this process may create and rename files in a directory.
pub(crate) fn is_writable_dir(dir: &Path) -> bool {
    sys::is_writable_dir(dir)
}

/// The size in bytes beyond which this process may not write to a file: `ulimit -f`.
pub(crate) fn file_size_limit() -> u64 {
    sys::file_size_limit()
}

/// The locks held on this machine; unknown where the system does not show them.
pub(crate) fn file_locks() -> FileLocks {
    attempt("read", Path::new("/proc/locks"), sys::file_locks).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copy_is_as_old_as_its_content() {
        let file = anonymous_file().unwrap();
        let yesterday = SystemTime::now() - Duration::from_secs(86_400);
        file.set_modified(yesterday).unwrap();
        let entry = fstat(&file, Path::new("copy")).unwrap();
        // Not every file system knows births.
        if let Some(created) = created(&file, &entry) {
            assert_eq!(created, entry.modified);
        }
        assert!(entry.modified <= yesterday);
    }
}
