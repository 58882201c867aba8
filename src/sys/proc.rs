//! The processes that have a file open and locked, from Linux's `/proc`. Contracts: see the parent
//! module.

use super::{FileId, FileLocks, LockMode, OpenFor};
use rustix::fs::{OFlags, makedev};
use rustix::io::Errno;
use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::{File, read_to_string};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

pub(crate) fn file_locks() -> io::Result<FileLocks> {
    let shown = read_to_string("/proc/locks")?.lines().filter_map(parse_lock).collect();
    let namespace = std::fs::read_link("/proc/self/ns/pid");
    let is_complete = namespace.is_ok_and(|link| link.as_os_str() == FIRST_PIDS);
    Ok(FileLocks { shown, is_complete })
}

/// The namespace of pids of the machine itself. In others, as in a container, the kernel leaves out
/// the locks of processes that have no pid there. Source: `PROC_PID_INIT_INO` in
/// `include/linux/proc_ns.h` and `locks_show` in `fs/locks.c` of Linux.
const FIRST_PIDS: &str = "pid:[4026531836]";

/// Parses a line of `/proc/locks`, as in `1: FLOCK  ADVISORY  READ 4121 08:01:1234 0 EOF`. Waiters
/// have an arrow in the second place, and are skipped.
fn parse_lock(line: &str) -> Option<(FileId, LockMode, u32)> {
    let mut words = line.split_ascii_whitespace().skip(1);
    if words.next()? != "FLOCK" {
        return None;
    }
    let kind = match words.nth(1)? {
        "READ" => LockMode::Shared,
        "WRITE" => LockMode::Exclusive,
        _ => return None,
    };
    let pid = words.next()?.parse().ok()?;
    let mut place = words.next()?.split(':');
    let major = u32::from_str_radix(place.next()?, 16).ok()?;
    let minor = u32::from_str_radix(place.next()?, 16).ok()?;
    let index = place.next()?.parse().ok()?;
    Some((FileId { volume: makedev(major, minor), index }, kind, pid))
}

pub(crate) fn shows_files(pid: u32) -> bool {
    match std::fs::read_dir(format!("/proc/{pid}/fd")) {
        Ok(_) => true,
        Err(error) => matches!(Errno::from_io_error(&error), Some(Errno::NOENT | Errno::SRCH)),
    }
}

pub(crate) fn open_for(pid: u32, id: FileId) -> Option<OpenFor> {
    let mut found = None;
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten() {
        let is_it = |meta: std::fs::Metadata| (meta.dev(), meta.ino()) == (id.volume, id.index);
        if !std::fs::metadata(entry.path()).is_ok_and(is_it) {
            continue;
        }
        let info =
            read_to_string(Path::new(&format!("/proc/{pid}/fdinfo")).join(entry.file_name()));
        match info.ok().as_deref().and_then(parse_flags) {
            Some(flags) if flags.contains(OFlags::APPEND) => return Some(OpenFor::Appending),
            Some(_) => found = Some(OpenFor::Reading),
            None => {}
        }
    }
    found
}

pub(crate) fn open_for_writing(files: &[FileId], except: Option<&File>) -> HashSet<FileId> {
    let files: HashSet<_> = files.iter().copied().collect();
    let pid = std::process::id();
    let own = except.map(|file| PathBuf::from(format!("/proc/{pid}/fd/{}", file.as_raw_fd())));
    let others = open_handles().filter(|fd| own.as_ref() != Some(fd));
    others.filter_map(|fd| writes(&fd, &files)).collect()
}

pub(crate) fn removed_and_open(dir: &Path, is_ours: &dyn Fn(&str) -> bool) -> u64 {
    let sizes = open_handles().filter_map(|fd| removed(&fd, dir, is_ours));
    // Several processes may have one file open.
    sizes.collect::<HashMap<_, _>>().into_values().sum()
}

/// The paths `/proc/<pid>/fd/<fd>` of all handles that this process may see. Those of other users'
/// processes are visible to root only.
fn open_handles() -> impl Iterator<Item = PathBuf> {
    let is_process = |name: &OsStr| name.as_encoded_bytes().iter().all(u8::is_ascii_digit);
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = processes.filter(move |entry| is_process(&entry.file_name()));
    let handles = processes.filter_map(|entry| std::fs::read_dir(entry.path().join("fd")).ok());
    handles.flat_map(Iterator::flatten).map(|fd| fd.path())
}

/// Returns the identity and size on disk of the file that `/proc/<pid>/fd/<fd>` leads to, if it was
/// removed from this directory.
fn removed(fd: &Path, dir: &Path, is_ours: &dyn Fn(&str) -> bool) -> Option<(FileId, u64)> {
    const BLOCK: u64 = 512;
    let was = std::fs::read_link(fd).ok()?;
    let name = was.strip_prefix(dir).ok()?.to_str()?.strip_suffix(" (deleted)")?;
    let meta = std::fs::metadata(fd).ok().filter(|meta| is_ours(name) && meta.nlink() == 0)?;
    let id = FileId { volume: meta.dev(), index: meta.ino() };
    Some((id, meta.blocks().saturating_mul(BLOCK)))
}

/// Returns the file that `/proc/<pid>/fd/<fd>` leads to, if it is one of these and is open for
/// writing.
fn writes(fd: &Path, files: &HashSet<FileId>) -> Option<FileId> {
    let meta = std::fs::metadata(fd).ok()?;
    let id = FileId { volume: meta.dev(), index: meta.ino() };
    if !files.contains(&id) {
        return None;
    }
    let info = fd.parent()?.with_file_name("fdinfo").join(fd.file_name()?);
    let flags = parse_flags(&read_to_string(info).ok()?)?;
    (flags & OFlags::RWMODE != OFlags::RDONLY).then_some(id)
}

/// The `flags` of `/proc/<pid>/fdinfo/<fd>`, which are octal.
fn parse_flags(info: &str) -> Option<OFlags> {
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?;
    Some(OFlags::from_bits_retain(u32::from_str_radix(flags.trim(), 8).ok()?))
}

pub(crate) fn process_name(pid: u32) -> Option<String> {
    Some(read_to_string(format!("/proc/{pid}/comm")).ok()?.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lock_lines_are_read_and_waiters_left_out() {
        let line = "12: FLOCK  ADVISORY  READ 4121 fd:0a:1234 0 EOF";
        let id = FileId { volume: makedev(0xfd, 0x0a), index: 1234 };
        assert_eq!(parse_lock(line), Some((id, LockMode::Shared, 4121)));
        for other in [
            "12: -> FLOCK  ADVISORY  WRITE 4121 fd:0a:1234 0 EOF",
            "12: POSIX  ADVISORY  WRITE 4121 fd:0a:1234 0 EOF",
            "12: FLOCK  ADVISORY  WRITE 4121",
            "",
        ] {
            assert_eq!(parse_lock(other), None, "{other}");
        }
    }

    #[test]
    fn own_handle_is_found_with_what_it_is_open_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let pid = std::process::id();
        let file = std::fs::OpenOptions::new().append(true).create(true).open(&path).unwrap();
        let id = crate::sys::fstat(&file).unwrap().id;
        assert_eq!(open_for(pid, id), Some(OpenFor::Appending));
        fs4::FileExt::lock_shared(&file).unwrap();
        assert_eq!(file_locks().unwrap().holders(id), Some(vec![(LockMode::Shared, pid)]));
        drop(file);
        let _file = std::fs::File::open(&path).unwrap();
        assert_eq!(open_for(pid, id), Some(OpenFor::Reading));
        let mut locks = file_locks().unwrap();
        locks.is_complete = true;
        assert_eq!(locks.holders(id), Some(Vec::new()));
        locks.is_complete = false;
        assert_eq!(locks.holders(id), None);
        assert!(open_for_writing(&[id], None).is_empty());
        let _writer = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        assert_eq!(open_for_writing(&[id], None), [id].into());
        assert!(process_name(pid).is_some_and(|name| !name.is_empty()));
    }
}
