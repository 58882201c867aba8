//! Windows. Contracts: see the parent module.
//!
//! File locks are mandatory here: a shared lock on the log would stop our own appends. So the lease
//! is the appending handle itself, and `open_unleased` asks for a share mode that denies writing,
//! which the system refuses while any appending handle is open.
//!
//! std opens files so that other processes may rename and remove them. On NTFS since Windows 10
//! 1903, the name of a removed file is free at once, even while the file is open. On older systems,
//! FAT and network drives it stays until the last handle closes, and every access to it is refused
//! (*deletion pending*).

use super::{Access, Entry, EntryKind, FileId, present_name};
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::windows::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, Prefix};
use std::time::{SystemTime, UNIX_EPOCH};

const FILE_WRITE_DATA: u32 = 2;
const FILE_READ_ATTRIBUTES: u32 = 0x80;
const FILE_SHARE_READ: u32 = 1;
const FILE_SHARE_DELETE: u32 = 4;
const FILE_FLAG_OPEN_REPARSE_POINT: u32 = 0x0020_0000;
const FILE_FLAG_BACKUP_SEMANTICS: u32 = 0x0200_0000;
const FILE_ATTRIBUTE_REPARSE_POINT: u32 = 0x400;
const ERROR_INVALID_FUNCTION: i32 = 1;
const ERROR_ACCESS_DENIED: i32 = 5;
const ERROR_SHARING_VIOLATION: i32 = 32;
const ERROR_HANDLE_EOF: i32 = 38;
const ERROR_NOT_SUPPORTED: i32 = 50;
const ERROR_DELETE_PENDING: i32 = 303;
const ERROR_STOPPED_ON_SYMLINK: i32 = 681;

fn is(error: &io::Error, codes: &[i32]) -> bool {
    error.raw_os_error().is_some_and(|code| codes.contains(&code))
}

pub(crate) fn stat(path: &Path) -> io::Result<Entry> {
    look(path, FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OPEN_REPARSE_POINT)
}

pub(crate) fn stat_target(path: &Path) -> io::Result<Entry> {
    look(path, FILE_FLAG_BACKUP_SEMANTICS)
}

fn look(path: &Path, flags: u32) -> io::Result<Entry> {
    match OpenOptions::new().access_mode(FILE_READ_ATTRIBUTES).custom_flags(flags).open(path) {
        Ok(file) => fstat(&file),
        // A process that may list a directory may query every file in it, except one whose deletion
        // is pending.
        Err(error) if is(&error, &[ERROR_ACCESS_DENIED, ERROR_DELETE_PENDING]) => {
            Err(io::ErrorKind::NotFound.into())
        }
        Err(error) => Err(error),
    }
}

pub(crate) fn has_exact_births(_file: &File) -> bool {
    true
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
        // A name that is recreated within 15 s gets its predecessor's creation time ("tunnelling"),
        // so it is not the birth of the segment.
        born: None,
        born_at_earliest: meta.created().ok(),
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

/// Opens the entry with this name without following links. Files kept in a cloud, and deduplicated
/// ones, are reparse points like links; their own driver opens them.
fn open_itself(path: &Path, options: &OpenOptions) -> io::Result<File> {
    let file = options.clone().custom_flags(FILE_FLAG_OPEN_REPARSE_POINT).open(path)?;
    let meta = file.metadata()?;
    if kind(&meta) == EntryKind::Link {
        return Err(io::Error::from_raw_os_error(ERROR_STOPPED_ON_SYMLINK));
    }
    if meta.file_attributes() & FILE_ATTRIBUTE_REPARSE_POINT == 0 {
        return Ok(file);
    }
    drop(file);
    options.open(path)
}

pub(crate) fn open_append(path: &Path) -> io::Result<File> {
    open_itself(path, OpenOptions::new().read(true).append(true))
}

pub(crate) fn open_to_sync(path: &Path) -> io::Result<File> {
    match open_append(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => open_segment(path),
        opened => opened,
    }
}

pub(crate) fn create_new(path: &Path, _mode: u32) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).create_new(true).open(path)
}

pub(crate) fn open_lock(path: &Path, _mode: u32) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let opened = open_itself(path, options.read(true).write(true).create(true).truncate(false));
    opened.map_err(|error| distinguish_pending(path, error))
}

/// Distinguishes a refusal because of a pending deletion from one for lack of rights.
fn distinguish_pending(path: &Path, error: io::Error) -> io::Error {
    let is_gone = || stat(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    if is(&error, &[ERROR_ACCESS_DENIED]) && is_gone() {
        return io::Error::from_raw_os_error(ERROR_DELETE_PENDING);
    }
    error
}

pub(crate) fn open_lock_read(path: &Path) -> io::Result<File> {
    open_itself(path, OpenOptions::new().read(true))
}

pub(crate) fn is_removal_refused(error: &io::Error) -> bool {
    is(error, &[ERROR_ACCESS_DENIED, ERROR_SHARING_VIOLATION, ERROR_DELETE_PENDING])
}

pub(crate) fn is_removal_pending(error: &io::Error) -> bool {
    is(error, &[ERROR_DELETE_PENDING])
}

pub(crate) fn is_lock_unsupported(error: &io::Error) -> bool {
    is(error, &[ERROR_INVALID_FUNCTION, ERROR_NOT_SUPPORTED])
}

pub(crate) fn is_lock_held(_error: &io::Error) -> bool {
    false
}

pub(crate) fn is_in_use(error: &io::Error) -> bool {
    is(error, &[ERROR_ACCESS_DENIED, ERROR_SHARING_VIOLATION])
}

pub(crate) fn is_lease_refused(error: &io::Error) -> bool {
    is(error, &[ERROR_SHARING_VIOLATION])
}

pub(crate) fn open_unleased(path: &Path) -> io::Result<Option<File>> {
    // Opened for appending, without use, so that two such handles exclude each other.
    match open_denying_writes(path, OpenOptions::new().read(true).append(true)) {
        Err(error) if is(&error, &[ERROR_ACCESS_DENIED]) => {
            open_denying_writes(path, OpenOptions::new().read(true))
        }
        done => done,
    }
}

/// `None` if a process has the file open for writing.
fn open_denying_writes(path: &Path, options: &mut OpenOptions) -> io::Result<Option<File>> {
    match open_itself(path, options.share_mode(FILE_SHARE_READ | FILE_SHARE_DELETE)) {
        Ok(file) => Ok(Some(file)),
        Err(error) if is(&error, &[ERROR_SHARING_VIOLATION]) => Ok(None),
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
    // A compressed or removed segment was held by no worker.
    let Some(path) = present_name(fstat(file)?.id, path)? else { return Ok(false) };
    // For reading only, as a reader may have no more rights.
    match open_denying_writes(&path, OpenOptions::new().read(true)) {
        // Unless it was renamed just now.
        Ok(Some(there)) => Ok(fstat(&there)?.id != fstat(file)?.id),
        Ok(None) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

pub(crate) fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    match file.seek_read(buffer, offset) {
        // The system's answer to an offset beyond the end.
        Err(error) if is(&error, &[ERROR_HANDLE_EOF]) => Ok(0),
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

/// Rotating workers hold the lock, and a compressed backup has the name of the uncompressed one. So
/// only another program can come in between, and no safe call would refuse that.
pub(crate) fn rename_noreplace(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(to) {
        Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => std::fs::rename(from, to),
        Err(error) => Err(error),
    }
}

/// Whether [`exchange`] is there.
pub(crate) const EXCHANGES: bool = false;

pub(crate) fn exchange(_from: &Path, _to: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn is_exchange_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Unsupported
}

pub(crate) fn link(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::hard_link(from, to)
}

pub(crate) fn is_own(_access: Access) -> bool {
    true
}

pub(crate) fn keeps_names(_dir: Access) -> bool {
    false
}

pub(crate) fn set_mode(_file: &File, _mode: u32) -> io::Result<()> {
    Ok(())
}

pub(crate) fn set_owner(_file: &File, _access: Access) -> io::Result<()> {
    Ok(())
}

pub(crate) fn is_untrusted_symlink(_link: &Path, _dir: &Path) -> io::Result<bool> {
    Ok(false)
}

pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.access_mode(FILE_WRITE_DATA).custom_flags(FILE_FLAG_BACKUP_SEMANTICS);
    match options.open(path).and_then(|dir| dir.sync_all()) {
        // Not every file system supports it. NTFS keeps the order of renames in any case, so a
        // power loss loses only the last of them.
        Err(error)
            if is(&error, &[ERROR_ACCESS_DENIED, ERROR_INVALID_FUNCTION, ERROR_NOT_SUPPORTED]) =>
        {
            Ok(())
        }
        done => done,
    }
}

/// Decided by the path alone. With its links resolved, the path of a drive letter that stands for a
/// share names the share.
pub(crate) fn network_file_system(dir: &Path) -> io::Result<Option<String>> {
    let is_share = matches!(
        dir.components().next(),
        Some(Component::Prefix(of)) if matches!(of.kind(), Prefix::UNC(..) | Prefix::VerbatimUNC(..))
    );
    Ok(is_share.then(|| "unc".to_owned()))
}

/// Names without the characters that Windows reserves and those with a meaning of their own: `a:b`
/// is a stream of the file `a`.
pub(crate) fn is_file_name(name: &str) -> bool {
    let is_reserved = |c: char| c.is_control() || "<>:\"/\\|?*".contains(c);
    !name.contains(is_reserved) && !name.ends_with(['.', ' '])
}

pub(crate) fn drop_from_cache(_file: &File) {}

pub(crate) fn lower_priority() {}

/// There are no signals here.
pub(crate) fn without_signals<T>(work: impl FnOnce() -> T) -> T {
    work()
}

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

pub(crate) fn file_size_limit() -> u64 {
    u64::MAX
}

/// Whether this process may write into the directory; unknown here until it is tried.
pub(crate) fn is_writable_dir(_path: &Path) -> bool {
    true
}

/// Ends this process at once.
#[cfg(feature = "__test")]
pub(crate) fn kill_self() -> ! {
    std::process::abort();
}

#[cfg(any(feature = "archive", feature = "policy"))]
pub(crate) fn host_name() -> String {
    std::env::var("COMPUTERNAME").unwrap_or_default()
}

#[cfg(feature = "policy")]
pub(crate) fn user_name() -> String {
    std::env::var("USERNAME").unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn dir_with(name: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, "x").unwrap();
        (dir, path)
    }

    #[test]
    fn finished_segment_is_asked_by_the_name_that_it_has_now() {
        let (dir, path) = dir_with("a");
        let (worker, reader) = (open_append(&path).unwrap(), open_segment(&path).unwrap());
        std::fs::rename(&path, dir.path().join("a.1")).unwrap();
        std::fs::write(&path, "the next").unwrap();
        assert!(may_grow(&reader, &path).unwrap());
        drop(worker);
        let next_worker = open_append(&path).unwrap();
        assert!(!may_grow(&reader, &path).unwrap());
        drop(next_worker);
    }

    #[test]
    fn worker_is_refused_as_by_a_lock_while_the_file_is_taken() {
        let (_dir, path) = dir_with("a");
        let taken = open_unleased(&path).unwrap().unwrap();
        assert!(is_lease_refused(&open_append(&path).unwrap_err()));
        // A reader is not refused.
        open_segment(&path).unwrap();
        drop(taken);
        open_append(&path).unwrap();
    }

    #[test]
    fn read_only_file_is_taken_all_the_same() {
        let (_dir, path) = dir_with("a");
        let set = |is_read_only| {
            let mut permissions = std::fs::metadata(&path).unwrap().permissions();
            permissions.set_readonly(is_read_only);
            std::fs::set_permissions(&path, permissions).unwrap();
        };
        set(true);
        assert!(open_unleased(&path).unwrap().is_some());
        set(false);
    }

    #[test]
    fn directory_is_synced() {
        let (dir, path) = dir_with("a");
        sync_dir(dir.path()).unwrap();
        assert_eq!(sync_dir(&path.join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn network_share_is_recognized_by_its_path() {
        let told = |dir: &str| network_file_system(Path::new(dir)).unwrap();
        for share in [r"\\?\UNC\server\share\logs", r"\\server\share"] {
            assert_eq!(told(share).as_deref(), Some("unc"), "{share}");
        }
        for local in [r"\\?\C:\logs", r"C:\logs", r"\\?\Volume{0}\logs", "logs"] {
            assert_eq!(told(local), None, "{local}");
        }
    }

    #[test]
    fn names_that_windows_reserves_are_no_files() {
        for name in ["a.log", "a b.log", "\u{e4}.log", ".a"] {
            assert!(is_file_name(name), "{name}");
        }
        for name in ["a:b", "a?", "a.", "a ", "a\u{1}", "a|b", "\"a\"", "<a>", "a*"] {
            assert!(!is_file_name(name), "{name}");
        }
    }
}
