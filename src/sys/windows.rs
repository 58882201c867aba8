//! Windows. Contracts: see the parent module.
//!
//! File locks are mandatory here: a shared lock on the log would stop our own appends. So the lease
//! is the appending handle itself, and `open_unleased` asks for a share mode that denies writing,
//! which the system refuses while any appending handle is open.

use super::{Access, Entry, EntryKind, FileId};
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::windows::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

const FILE_SHARE_READ: u32 = 1;
const FILE_SHARE_DELETE: u32 = 4;
const FILE_FLAG_OPEN_REPARSE_POINT: u32 = 0x0020_0000;
const FILE_FLAG_BACKUP_SEMANTICS: u32 = 0x0200_0000;
const FILE_READ_ATTRIBUTES: u32 = 0x80;
const ERROR_SHARING_VIOLATION: i32 = 32;
const ERROR_HANDLE_EOF: i32 = 38;
const ERROR_INVALID_FUNCTION: i32 = 1;
const ERROR_NOT_SUPPORTED: i32 = 50;

pub(crate) fn stat(path: &Path) -> io::Result<Entry> {
    let file = OpenOptions::new()
        .access_mode(FILE_READ_ATTRIBUTES)
        .custom_flags(FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OPEN_REPARSE_POINT)
        .open(path)?;
    fstat(&file)
}

pub(crate) fn fstat(file: &File) -> io::Result<Entry> {
    let meta = file.metadata()?;
    let info = winapi_util::file::information(file)?;
    Ok(Entry {
        id: FileId { volume: info.volume_serial_number(), index: info.file_index() },
        kind: kind(&meta),
        len: meta.file_size(),
        links: info.number_of_links(),
        modified: meta.modified().unwrap_or(UNIX_EPOCH),
        // A name made again within 15 s gets its predecessor's creation time ("tunnelling"), so the
        // birth of a segment cannot be told from it.
        born: None,
        access: Access { mode: 0, uid: 0, gid: 0 },
    })
}

fn kind(meta: &Metadata) -> EntryKind {
    let kind = meta.file_type();
    if kind.is_symlink() || kind.is_symlink_dir() || kind.is_symlink_file() {
        EntryKind::Link
    } else if kind.is_dir() {
        EntryKind::Directory
    } else if kind.is_file() {
        EntryKind::File
    } else {
        EntryKind::Other
    }
}

pub(crate) fn open_append(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).custom_flags(FILE_FLAG_OPEN_REPARSE_POINT).open(path)
}

pub(crate) fn create_new(path: &Path, _mode: u32) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).create_new(true).open(path)
}

pub(crate) fn open_lock(path: &Path, _mode: u32) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options.custom_flags(FILE_FLAG_OPEN_REPARSE_POINT).open(path)
}

pub(crate) fn open_lock_read(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(FILE_FLAG_OPEN_REPARSE_POINT).open(path)
}

pub(crate) fn is_removal_refused(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
        || error.raw_os_error() == Some(ERROR_SHARING_VIOLATION)
}

pub(crate) fn is_lock_unsupported(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(ERROR_INVALID_FUNCTION | ERROR_NOT_SUPPORTED))
}

pub(crate) fn open_unleased(path: &Path) -> io::Result<Option<File>> {
    let mut options = OpenOptions::new();
    options.read(true).share_mode(FILE_SHARE_READ | FILE_SHARE_DELETE);
    match options.custom_flags(FILE_FLAG_OPEN_REPARSE_POINT).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.raw_os_error() == Some(ERROR_SHARING_VIOLATION) => Ok(None),
        Err(error) => Err(error),
    }
}

pub(crate) fn try_lease(_file: &File) -> io::Result<bool> {
    Ok(true)
}

pub(crate) fn open_segment(path: &Path) -> io::Result<File> {
    open_lock_read(path)
}

pub(crate) fn end_lease(_file: &File) -> io::Result<()> {
    Ok(())
}

pub(crate) fn may_grow(file: &File, path: &Path) -> io::Result<bool> {
    match open_unleased(path) {
        Ok(Some(there)) => Ok(fstat(&there)?.id != fstat(file)?.id),
        Ok(None) => Ok(true),
        // Packed or removed, which needed it to be in nobody's hands.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

pub(crate) fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    match file.seek_read(buffer, offset) {
        // What the system says of an offset beyond the end.
        Err(error) if error.raw_os_error() == Some(ERROR_HANDLE_EOF) => Ok(0),
        done => done,
    }
}

pub(crate) fn write_start(file: &File, bytes: &[u8]) -> io::Result<usize> {
    file.seek_write(bytes, 0)
}

pub(crate) fn append(mut file: &File, bytes: &[u8]) -> io::Result<usize> {
    std::io::Write::write(&mut file, bytes)
}

pub(crate) fn append_offset(file: &File) -> io::Result<u64> {
    Ok(file.metadata()?.len())
}

pub(crate) fn rename_noreplace(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(to) {
        Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => std::fs::rename(from, to),
        Err(error) => Err(error),
    }
}

pub(crate) fn set_mode(_file: &File, _mode: u32) -> io::Result<()> {
    Ok(())
}

pub(crate) fn set_owner(_file: &File, _access: Access) -> io::Result<()> {
    Ok(())
}

pub(crate) fn is_planted(_link: &Path, _dir: &Path) -> io::Result<bool> {
    Ok(false)
}

pub(crate) fn sync_dir(_path: &Path) -> io::Result<()> {
    // NTFS journals its directories; there is no call that syncs one alone.
    Ok(())
}

pub(crate) fn drop_from_cache(_file: &File) {}

pub(crate) fn be_modest() {}

pub(crate) fn coarse_micros() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

pub(crate) fn process_runs(_pid: u32) -> Option<bool> {
    None
}

pub(crate) fn process_start(_pid: u32) -> Option<u64> {
    None
}

/// Whether this process may write into the directory; unknown here until it is tried.
pub(crate) fn is_writable_dir(_path: &Path) -> bool {
    true
}

/// Ends this process at once.
#[cfg(feature = "fault")]
pub(crate) fn kill_self() -> ! {
    std::process::abort();
}

#[cfg(feature = "policy")]
pub(crate) fn host_name() -> String {
    std::env::var("COMPUTERNAME").unwrap_or_default()
}

#[cfg(feature = "policy")]
pub(crate) fn user_name() -> String {
    std::env::var("USERNAME").unwrap_or_default()
}
