//! Unix. Leases are shared `flock`s on the log's own handle, except on SMB shares. Contracts: see
//! the parent module.

#[cfg(any(target_os = "linux", target_os = "android"))]
use super::share_lock;
use super::{Access, Entry, EntryKind, FileId, present_name};
use rustix::fs::{AtFlags, Gid, OFlags, Uid};
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::SystemTime;

/// Follow no link in the last component, and do not wait for the other end of a FIFO.
const OPEN_FLAGS: i32 =
    OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).bits() as i32;

pub(crate) fn stat(path: &Path) -> io::Result<Entry> {
    Ok(entry(&std::fs::symlink_metadata(path)?))
}

pub(crate) fn stat_target(path: &Path) -> io::Result<Entry> {
    Ok(entry(&std::fs::metadata(path)?))
}

pub(crate) fn fstat(file: &File) -> io::Result<Entry> {
    Ok(entry(&file.metadata()?))
}

fn entry(meta: &Metadata) -> Entry {
    Entry {
        id: FileId { volume: meta.dev(), index: meta.ino() },
        kind: kind(meta),
        len: meta.len(),
        links: meta.nlink(),
        modified: meta.modified().unwrap_or(SystemTime::UNIX_EPOCH),
        born: meta.created().ok(),
        born_at_earliest: meta.created().ok(),
        access: Access { mode: meta.mode() & 0o7777, uid: meta.uid(), gid: meta.gid() },
    }
}

/// Samba rounds them to the nearest second.
pub(crate) fn has_exact_births(_file: &File) -> bool {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if share_lock::is_on_share(_file) {
        return false;
    }
    true
}

fn kind(meta: &Metadata) -> EntryKind {
    let kind = meta.file_type();
    if kind.is_file() {
        EntryKind::File
    } else if kind.is_dir() {
        EntryKind::Directory
    } else if kind.is_symlink() {
        EntryKind::Link
    } else {
        debug_assert!(
            kind.is_fifo() || kind.is_socket() || kind.is_char_device() || kind.is_block_device()
        );
        EntryKind::Other
    }
}

pub(crate) fn open_append(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).custom_flags(OPEN_FLAGS).open(path)
}

pub(crate) fn open_to_sync(path: &Path) -> io::Result<File> {
    open_segment(path)
}

pub(crate) fn create_new(path: &Path, mode: u32) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create_new(true).mode(mode).custom_flags(OPEN_FLAGS).open(path)
}

/// How often `open_lock` retries on another user's file that comes and goes.
const LOOKS: usize = 16;

pub(crate) fn open_lock(path: &Path, mode: u32) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(mode).custom_flags(OPEN_FLAGS);
    for _ in 0..LOOKS {
        match options.open(path) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            done => return done,
        }
        match open_others_lock(path) {
            // It has just been removed, or it does not exist and we may not create it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            done => return done,
        }
    }
    options.open(path)
}

/// Opens the lock file of another user. In a sticky directory the kernel may refuse to open it with
/// the *permission* to create it (`fs.protected_regular`), so that permission is not requested.
fn open_others_lock(path: &Path) -> io::Result<File> {
    match OpenOptions::new().read(true).write(true).custom_flags(OPEN_FLAGS).open(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => open_lock_read(path),
        done => done,
    }
}

pub(crate) fn open_lock_read(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(OPEN_FLAGS).open(path)
}

pub(crate) fn is_removal_refused(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

pub(crate) fn is_removal_pending(_error: &io::Error) -> bool {
    false
}

pub(crate) fn is_in_use(_error: &io::Error) -> bool {
    false
}

pub(crate) fn is_lease_refused(_error: &io::Error) -> bool {
    false
}

pub(crate) fn is_file_name(_name: &str) -> bool {
    true
}

pub(crate) fn is_lock_unsupported(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let unsupported = [Errno::NOLCK, Errno::OPNOTSUPP, Errno::NOTSUP, Errno::NOSYS];
    Errno::from_io_error(error).is_some_and(|errno| unsupported.contains(&errno))
}

pub(crate) fn is_lock_held(error: &io::Error) -> bool {
    rustix::io::Errno::from_io_error(error) == Some(rustix::io::Errno::ACCESS)
}

pub(crate) fn open_unleased(path: &Path) -> io::Result<Option<File>> {
    let file = open_lock_read(path)?;
    match try_alone(&file) {
        Err(error) if is_for_writers(&error) => {
            let file = open_append(path)?;
            Ok(try_alone(&file)?.then_some(file))
        }
        taken => Ok(taken?.then_some(file)),
    }
}

/// Takes a file for this handle alone; `false` if another handle has it.
fn try_alone(file: &File) -> io::Result<bool> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if share_lock::is_on_share(file) {
        return share_lock::try_exclusive(file);
    }
    is_granted(fs4::FileExt::try_lock(file))
}

fn is_granted(tried: Result<(), fs4::TryLockError>) -> io::Result<bool> {
    match tried {
        Ok(()) => Ok(true),
        Err(fs4::TryLockError::WouldBlock) => Ok(false),
        Err(fs4::TryLockError::Error(error)) if is_lock_held(&error) => Ok(false),
        Err(fs4::TryLockError::Error(error)) => Err(error),
    }
}

/// Whether an exclusive lock was refused because the handle cannot write. NFS turns `flock` into a
/// range lock, which needs write access.
fn is_for_writers(error: &io::Error) -> bool {
    rustix::io::Errno::from_io_error(error) == Some(rustix::io::Errno::BADF)
}

pub(crate) fn try_lease(file: &File) -> io::Result<bool> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if share_lock::is_on_share(file) {
        return share_lock::try_shared(file);
    }
    is_granted(fs4::FileExt::try_lock_shared(file))
}

pub(crate) fn open_segment(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(OPEN_FLAGS).open(path)
}

pub(crate) fn end_lease(file: &File) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if share_lock::is_on_share(file) {
        return share_lock::unlock(file);
    }
    fs4::FileExt::unlock(file)
}

pub(crate) fn may_grow(file: &File, path: &Path) -> io::Result<bool> {
    let grows = match try_alone(file) {
        Ok(true) => false,
        // Another handle holds it. If exclusively, no worker does or ever will: workers lease the
        // active segment only.
        Ok(false) => try_lease(file)?,
        Err(error) if is_for_writers(&error) => {
            end_lease(file)?;
            return is_writable_elsewhere(file, path);
        }
        Err(error) => return Err(error),
    };
    end_lease(file)?;
    Ok(grows)
}

/// Like [`may_grow`], by a handle that can write.
fn is_writable_elsewhere(file: &File, path: &Path) -> io::Result<bool> {
    let id = fstat(file)?.id;
    // A compressed or removed segment was held by no worker.
    let Some(path) = present_name(id, path)? else { return Ok(false) };
    let there = match open_append(&path) {
        // It has been renamed just now.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        opened => opened?,
    };
    Ok(fstat(&there)?.id != id || !try_alone(&there)?)
}

pub(crate) fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    file.read_at(buffer, offset)
}

pub(crate) fn write_start(file: &File, bytes: &[u8]) -> io::Result<usize> {
    file.write_at(bytes, 0)
}

/// Not std's `write`: in a process with threads the C library's turns cancellation on and off
/// around the call, which was measured to cost a fifth of it.
#[inline]
pub(crate) fn append(file: &File, bytes: &[u8]) -> io::Result<usize> {
    Ok(rustix::io::write(file, bytes)?)
}

pub(crate) fn append_offset(file: &File) -> io::Result<u64> {
    Ok(rustix::fs::tell(file)?)
}

#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
pub(crate) fn rename_noreplace(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use rustix::io::Errno;
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // The answers of kernels and file systems without the flag.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => check_then_rename(from, to),
        done => Ok(done?),
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
pub(crate) use check_then_rename as rename_noreplace;

pub(crate) fn check_then_rename(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(to) {
        Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => std::fs::rename(from, to),
        Err(error) => Err(error),
    }
}

pub(crate) fn set_mode(file: &File, mode: u32) -> io::Result<()> {
    file.set_permissions(std::fs::Permissions::from_mode(mode))
}

pub(crate) fn set_owner(file: &File, access: Access) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(access.uid), Gid::from_raw(access.gid));
    Ok(rustix::fs::fchown(file, Some(uid), Some(gid))?)
}

pub(crate) fn is_untrusted_symlink(link: &Path, dir: &Path) -> io::Result<bool> {
    const OPEN_TO_ALL: u32 = 0o1002;
    let (dir, link) = (std::fs::metadata(dir)?, std::fs::symlink_metadata(link)?);
    let is_trusted = [dir.uid(), rustix::process::geteuid().as_raw()].contains(&link.uid());
    Ok(dir.mode() & OPEN_TO_ALL == OPEN_TO_ALL && !is_trusted)
}

pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    match File::open(path)?.sync_all() {
        // Some file systems cannot sync a directory, and say so with EINVAL.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        done => done,
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn network_file_system(dir: &Path) -> io::Result<Option<String>> {
    // The numbers have 32 bits, whatever their type.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "see above")]
    let magic = rustix::fs::statfs(dir)?.f_type as u32;
    Ok(network_name(magic).map(str::to_owned))
}

/// The name used by `mount` for a file system whose files other machines may change.
///
/// FUSE is not included, as it serves local and remote files alike (sshfs has the number of a local
/// one). Neither are file systems on a disk shared by machines, whose locks are made for that
/// (OCFS2, GFS2).
///
/// Source: statfs(2), `linux/magic.h`, and `stat.c` of the GNU coreutils.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn network_name(magic: u32) -> Option<&'static str> {
    Some(match magic {
        0x0000_6969 => "nfs",
        0x0000_517B => "smbfs",
        share_lock::SMB1_MAGIC => "cifs",
        share_lock::SMB2_MAGIC => "smb3",
        0x00C3_6400 => "ceph",
        0x7375_7245 => "coda",
        0x5346_414F | 0x6B41_4653 => "afs",
        0x0102_1997 => "9p",
        0x0BD0_0BD0 => "lustre",
        0x4750_4653 => "gpfs",
        0x1983_0326 => "beegfs",
        0x2003_0528 => "pvfs2",
        0x786F_4256 => "vboxsf",
        0xBACB_ACBC => "vmhgfs",
        _ => return None,
    })
}

#[cfg(any(target_vendor = "apple", target_os = "freebsd"))]
pub(crate) fn network_file_system(dir: &Path) -> io::Result<Option<String>> {
    // The value in `sys/mount.h` of both systems.
    const MNT_LOCAL: u64 = 0x1000;
    let found = rustix::fs::statfs(dir)?;
    #[allow(clippy::useless_conversion, reason = "the flags have 32 bits on macOS")]
    if u64::from(found.f_flags) & MNT_LOCAL != 0 {
        return Ok(None);
    }
    let name = found.f_fstypename.iter().map(|&c| char::from(c as u8));
    Ok(Some(name.take_while(|c| *c != '\0').collect()))
}

#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_vendor = "apple",
    target_os = "freebsd"
)))]
pub(crate) fn network_file_system(_dir: &Path) -> io::Result<Option<String>> {
    Ok(None)
}

pub(crate) fn drop_from_cache(_file: &File) {
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    {
        // The advice may fail without harm.
        let _ = rustix::fs::fadvise(_file, 0, None, rustix::fs::Advice::DontNeed);
    }
}

pub(crate) fn lower_priority() {
    // On Linux this is the priority of the calling thread, and its disk accesses get the matching
    // best-effort level (ioprio_set(2)). Not the idle class: on a busy disk it may starve, and then
    // backups pile up. Elsewhere it would be the priority of the whole process.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        const NICE: i32 = 10;
        let nice = rustix::process::getpriority_process(None).unwrap_or(0).max(NICE);
        leave_real_time(nice);
        // If it may not be lowered, the priority stays as it was.
        let _ = rustix::process::setpriority_process(None, nice);
    }
}

/// Makes this thread a normal one of this niceness, if it is a real-time thread.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn leave_real_time(nice: i32) {
    use thread_priority::{
        NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
        set_thread_priority_and_policy, thread_native_id, thread_schedule_policy,
    };
    let normal = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Other);
    let Ok(ThreadSchedulePolicy::Realtime(_)) = thread_schedule_policy() else { return };
    // The library has a scale of its own; it covers every niceness.
    let mut scale = (0..100u8).filter_map(|level| ThreadPriority::try_from(level).ok());
    if let Some(level) = scale.find(|level| level.to_posix(normal) == Ok(nice)) {
        // Leaving real time needs no right, so this can fail only where the policy is fixed.
        let _ = set_thread_priority_and_policy(thread_native_id(), level, normal);
    }
}

pub(crate) fn without_signals<T>(work: impl FnOnce() -> T) -> T {
    use nix::sys::signal::{SigSet, SigmaskHow, Signal};
    let mut blocked = SigSet::all();
    // The kernel sends these to the thread that caused them, and ends the process if they are
    // blocked. `abort` sends the last one to its own thread.
    let of_the_thread = [
        Signal::SIGSEGV,
        Signal::SIGBUS,
        Signal::SIGFPE,
        Signal::SIGILL,
        Signal::SIGTRAP,
        Signal::SIGSYS,
        Signal::SIGABRT,
    ];
    of_the_thread.into_iter().for_each(|signal| blocked.remove(signal));
    // Both calls can fail only for a wrong first argument.
    let before = blocked.thread_swap_mask(SigmaskHow::SIG_BLOCK).ok();
    let restore = Restore(before);
    let done = work();
    drop(restore);
    return done;

    /// Restores the mask of this thread, even after a panic.
    struct Restore(Option<SigSet>);

    impl Drop for Restore {
        fn drop(&mut self) {
            if let Some(before) = &self.0 {
                let _ = before.thread_set_mask();
            }
        }
    }
}

pub(crate) fn coarse_micros() -> i64 {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    const CLOCK: rustix::time::ClockId = rustix::time::ClockId::RealtimeCoarse;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    const CLOCK: rustix::time::ClockId = rustix::time::ClockId::Realtime;
    let now = rustix::time::clock_gettime(CLOCK);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1_000
}

pub(crate) fn process_runs(pid: u32) -> Option<bool> {
    use rustix::io::Errno;
    use rustix::process::{Pid, test_kill_process};
    let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
    match test_kill_process(pid) {
        Ok(()) | Err(Errno::PERM) => Some(true),
        Err(Errno::SRCH) => Some(false),
        Err(_) => None,
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn process_start(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Field 22, in clock ticks since boot. Field 2 is the program's name in parentheses, and may
    // itself hold spaces and parentheses, so count from its end.
    stat.rsplit_once(") ")?.1.split(' ').nth(19)?.parse().ok()
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn process_start(_pid: u32) -> Option<u64> {
    None
}

#[cfg(any(feature = "archive", feature = "policy"))]
pub(crate) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(feature = "policy")]
pub(crate) fn user_name() -> String {
    let uid = rustix::process::geteuid().as_raw();
    // Users of a directory service are not in it, and are named by number.
    let known = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = known.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    named.unwrap_or_else(|| uid.to_string())
}

pub(crate) fn file_size_limit() -> u64 {
    use rustix::process::{Resource, getrlimit};
    getrlimit(Resource::Fsize).current.unwrap_or(u64::MAX)
}

/// Whether this process may write into the directory, by the kernel's own check.
pub(crate) fn is_writable_dir(path: &Path) -> bool {
    use rustix::fs::{Access as May, CWD, accessat};
    accessat(CWD, path, May::WRITE_OK | May::EXEC_OK, AtFlags::EACCESS).is_ok()
}

/// Ends this process at once, as `kill -9` does.
#[cfg(feature = "__test")]
pub(crate) fn kill_self() -> ! {
    use rustix::process::{Signal, getpid, kill_process};
    let _ = kill_process(getpid(), Signal::KILL);
    std::process::abort();
}

#[cfg(all(test, any(target_os = "linux", target_os = "android")))]
mod tests {
    use super::*;

    #[test]
    fn refusal_of_a_lock_with_eacces_means_that_it_is_held() {
        let refused = |code| is_granted(Err(io::Error::from_raw_os_error(code).into()));
        assert!(!refused(rustix::io::Errno::ACCESS.raw_os_error()).unwrap());
        assert!(refused(rustix::io::Errno::NOLCK.raw_os_error()).is_err());
    }

    #[test]
    fn network_file_systems_are_recognized_by_number() {
        use rustix::fs::NFS_SUPER_MAGIC;
        let nfs = u32::try_from(NFS_SUPER_MAGIC).unwrap();
        assert_eq!(network_name(nfs), Some("nfs"));
        assert_eq!(network_name(0xFF53_4D42), Some("cifs"));
        assert_eq!(network_name(0x0102_1997), Some("9p"));
        let (ext4, xfs, btrfs) = (0xEF53, 0x5846_5342, 0x9123_683E);
        let (tmpfs, overlayfs, fuse) = (0x0102_1994, 0x794C_7630, 0x6573_5546);
        for local in [ext4, xfs, btrfs, tmpfs, overlayfs, fuse] {
            assert_eq!(network_name(local), None, "{local:#x}");
        }
    }

    #[test]
    fn directory_on_a_local_file_system_is_on_no_network() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(network_file_system(dir.path()).unwrap(), None);
        let gone = network_file_system(&dir.path().join("none")).unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::NotFound);
    }
}
