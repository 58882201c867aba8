//! A child of a fork uses nothing that it has inherited from its parent's logs.
//!
//! The parent's threads may have been anywhere at the time of the fork, so a lock that the child
//! has inherited may be locked for good. Therefore the child leaks what it has inherited, and makes
//! its own when it first needs it ([`ForkCell`]).
//!
//! It has also inherited the parent's file descriptors, and with them the parent's leases, which
//! would keep backups from being compressed and removed for as long as the child lives. On Linux
//! the child closes them at once, before `fork` returns. The parent's leases stay, because its own
//! descriptors stay open.
//!
//! The C library calls this at each fork, so it works for programs that fork without Python's
//! knowledge, such as uWSGI.

use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::atomic::{
    AtomicPtr, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed},
};

/// The number of forks between the first process and this one.
static GENERATION: AtomicU64 = AtomicU64::new(0);

/// A value that belongs to the process that made it.
pub(crate) struct ForkCell<T> {
    /// Never null.
    tagged: AtomicPtr<Tagged<T>>,
    owns: PhantomData<T>,
}

struct Tagged<T> {
    generation: u64,
    value: T,
}

impl<T> ForkCell<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { tagged: AtomicPtr::new(tagged(value)), owns: PhantomData }
    }

    /// The value, if this process made it.
    pub(crate) fn get(&self) -> Option<&T> {
        let tagged = self.present();
        (tagged.generation == GENERATION.load(Relaxed)).then_some(&tagged.value)
    }

    /// The value of this process. That of another one is leaked.
    #[inline]
    pub(crate) fn get_or(&self, fresh: impl FnOnce() -> T) -> &T {
        match self.get() {
            Some(value) => value,
            None => self.renew(tagged(fresh())),
        }
    }

    #[cold]
    fn renew(&self, fresh: *mut Tagged<T>) -> &T {
        let old = ptr::from_ref(self.present()).cast_mut();
        if let Err(other) = self.tagged.compare_exchange(old, fresh, AcqRel, Acquire) {
            // SAFETY: `fresh` comes from `Box::into_raw`, and nothing else has it.
            drop(unsafe { Box::from_raw(fresh) });
            // SAFETY: as in `present`.
            return unsafe { &(*other).value };
        }
        &self.present().value
    }

    fn present(&self) -> &Tagged<T> {
        // SAFETY: the pointer comes from `Box::into_raw`. It is freed by `drop` alone, which has
        // the cell for itself; a value that is replaced is leaked.
        unsafe { &*self.tagged.load(Acquire) }
    }
}

impl<T> Drop for ForkCell<T> {
    fn drop(&mut self) {
        if self.get().is_some() {
            // SAFETY: as in `present`, and no other reference to the cell exists.
            drop(unsafe { Box::from_raw(*self.tagged.get_mut()) });
        }
    }
}

fn tagged<T>(value: T) -> *mut Tagged<T> {
    let generation = GENERATION.load(Relaxed);
    Box::into_raw(Box::new(Tagged { generation, value }))
}

/// Has a child of a fork close its copies of the descriptors that lock a file of this log, until it
/// is dropped.
pub(crate) struct Registration {
    number: u64,
}

impl Registration {
    /// For the files of the log at this path.
    pub(crate) fn of_log(path: &Path) -> Self {
        Self::new(path, true)
    }

    /// For this file alone.
    pub(crate) fn of_file(path: &Path) -> Self {
        Self::new(path, false)
    }

    fn new(path: &Path, is_log: bool) -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let number = 1 + LAST.fetch_add(1, Relaxed);
        let path = resolved(path).as_os_str().as_encoded_bytes().to_vec();
        registry::with(|entries| entries.push(Entry { number, path, is_log }));
        Self { number }
    }
}

/// The path without links, as the system names an open file. The last part need not exist.
fn resolved(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    absolute.canonicalize().unwrap_or_else(|_| {
        let dir = absolute.parent().and_then(|dir| dir.canonicalize().ok());
        match (dir, absolute.file_name()) {
            (Some(dir), Some(name)) => dir.join(name),
            _ => absolute,
        }
    })
}

impl Drop for Registration {
    fn drop(&mut self) {
        // A child of a fork has an empty list.
        registry::with(|entries| entries.retain(|entry| entry.number != self.number));
    }
}

struct Entry {
    number: u64,
    path: Vec<u8>,
    is_log: bool,
}

impl Entry {
    /// Whether a file is one of the log's: a segment, a temporary, or the lock file.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "descriptors are not listed"))]
    fn covers(&self, file: &[u8]) -> bool {
        if !self.is_log {
            return file == self.path;
        }
        let name_at =
            |path: &[u8]| path.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
        let ((dir, name), (other_dir, other)) =
            (self.path.split_at(name_at(&self.path)), file.split_at(name_at(file)));
        let other = other.strip_prefix(b".").unwrap_or(other);
        if dir != other_dir {
            return false;
        }
        if let Some(rest) = other.strip_prefix(name) {
            // `app.log`, `app.log.lock`, `app.log.1`, `app.log.2026-..`, and their temporaries.
            return rest.is_empty()
                || rest == b".lock"
                || (rest[0] == b'.' && (file.ends_with(b".tmp") || is_digit(rest.get(1))));
        }
        // `app.2026-11-20T23-57-01.123456Z.log`, compressed or not.
        let stem = name.iter().rposition(|byte| *byte == b'.').map_or(name, |at| &name[..at]);
        let Some(rest) = other.strip_prefix(stem).and_then(|rest| rest.strip_prefix(b".")) else {
            return false;
        };
        rest.get(..4).is_some_and(|year| year.iter().all(u8::is_ascii_digit))
            && rest.get(4) == Some(&b'-')
    }
}

#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "descriptors are not listed"))]
fn is_digit(byte: Option<&u8>) -> bool {
    byte.is_some_and(u8::is_ascii_digit)
}

/// The list of what to let go of, behind a lock that a fork takes over in a known state.
mod registry {
    use super::Entry;
    use std::cell::UnsafeCell;
    use std::sync::atomic::{
        AtomicBool,
        Ordering::{Acquire, Release},
    };

    struct Registry {
        is_locked: AtomicBool,
        entries: UnsafeCell<Vec<Entry>>,
    }

    // SAFETY: the entries are used only between `lock` and `unlock`.
    unsafe impl Sync for Registry {}

    static REGISTRY: Registry =
        Registry { is_locked: AtomicBool::new(false), entries: UnsafeCell::new(Vec::new()) };

    /// Locks the list. It is only ever locked for as long as a list of a few entries is changed, or
    /// for the time of a fork.
    pub(super) fn lock() {
        while REGISTRY.is_locked.swap(true, Acquire) {
            std::thread::yield_now();
        }
    }

    pub(super) fn unlock() {
        REGISTRY.is_locked.store(false, Release);
    }

    pub(super) fn with<R>(work: impl FnOnce(&mut Vec<Entry>) -> R) -> R {
        lock();
        // SAFETY: this thread has the lock.
        let done = work(unsafe { &mut *REGISTRY.entries.get() });
        unlock();
        done
    }

    /// The entries, for the only thread of a child, whose parent had the lock at the fork.
    #[cfg(unix)]
    pub(super) fn inherited() -> Vec<Entry> {
        // SAFETY: the lock was taken by the thread that forked, which is this one, and there is no
        // other.
        std::mem::take(unsafe { &mut *REGISTRY.entries.get() })
    }
}

/// Has the C library call this module at each fork.
#[cfg(unix)]
pub(crate) fn install() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        // SAFETY: the functions are there for as long as the process, because Python does not
        // unload modules. None of them waits for anything but the list's lock.
        let _ = unsafe { libc::pthread_atfork(Some(prepare), Some(parent), Some(child)) };
    });
}

#[cfg(not(unix))]
pub(crate) fn install() {}

#[cfg(unix)]
extern "C" fn prepare() {
    registry::lock();
}

#[cfg(unix)]
extern "C" fn parent() {
    registry::unlock();
}

#[cfg(unix)]
extern "C" fn child() {
    GENERATION.fetch_add(1, Relaxed);
    let entries = registry::inherited();
    registry::unlock();
    #[cfg(target_os = "linux")]
    if !entries.is_empty() {
        descriptors::close(&entries);
    }
    // A child need not free what it has inherited, and so does not use the allocator.
    std::mem::forget(entries);
}

/// The descriptors of this process that lock a file of a log. Nothing here allocates.
#[cfg(target_os = "linux")]
mod descriptors {
    use super::Entry;
    use rustix::fd::{AsFd, BorrowedFd};
    use rustix::fs::{Mode, OFlags, RawDir, open, openat, readlinkat_raw};
    use rustix::io::read;
    use std::ffi::CStr;
    use std::mem::MaybeUninit;

    pub(super) fn close(entries: &[Entry]) {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = |path: &CStr| open(path, flags, Mode::empty());
        // Without `/proc` they stay until the child exits, or calls `exec`.
        let (Ok(fds), Ok(infos)) = (folder(c"/proc/self/fd"), folder(c"/proc/self/fdinfo")) else {
            return;
        };
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut list = RawDir::new(fds.as_fd(), &mut buffer);
        while let Some(Ok(found)) = list.next() {
            let name = found.file_name();
            let Some(number) = number(name) else { continue };
            if is_of(entries, fds.as_fd(), name) && is_locked(infos.as_fd(), name) {
                // SAFETY: the descriptor is that of a writer, a reader, a guard or a thread of the
                // parent. The child leaks its copies of them, so nothing uses or closes it again.
                unsafe { libc::close(number) };
            }
        }
    }

    fn number(name: &CStr) -> Option<i32> {
        name.to_str().ok()?.parse().ok()
    }

    fn is_of(entries: &[Entry], fds: BorrowedFd<'_>, name: &CStr) -> bool {
        let mut buffer = [MaybeUninit::<u8>::uninit(); 4096];
        let Ok((path, _)) = readlinkat_raw(fds, name, &mut buffer) else { return false };
        let path: &[u8] = path;
        let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
        entries.iter().any(|entry| entry.covers(path))
    }

    /// Whether the open file holds a lock, as a lease is. A file that the program has opened for
    /// other purposes holds none.
    fn is_locked(infos: BorrowedFd<'_>, name: &CStr) -> bool {
        let Ok(info) = openat(infos, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) else {
            return false;
        };
        let mut buffer = [0; 2048];
        let len = read(&info, &mut buffer).unwrap_or(0);
        buffer[..len].windows(5).any(|word| word == b"FLOCK")
    }
}

#[cfg(test)]
mod tests {
    use super::Entry;

    fn log() -> Entry {
        Entry { number: 1, path: b"/var/log/app.log".to_vec(), is_log: true }
    }

    #[test]
    fn files_of_a_log_are_covered() {
        for name in [
            "app.log",
            "app.log.lock",
            "app.log.1",
            "app.log.2026-11-20T23-57-01.123456Z.gz",
            "app.2026-11-20T23-57-01.123456Z.log",
            ".app.log.newabc123xyz.tmp",
            ".app.log.2026-11-20T23-57-01.123456Z.gz.abc.tmp",
        ] {
            assert!(log().covers(format!("/var/log/{name}").as_bytes()), "{name}");
        }
    }

    #[test]
    fn other_files_are_not_covered() {
        for path in [
            "/var/log/app.log.pid",
            "/var/log/app.pid",
            "/var/log/app.logs",
            "/var/log/apps.log",
            "/var/app.log",
            "/var/log/other/app.log",
            "/var/log/.app.lock",
            "socket:[1]",
        ] {
            assert!(!log().covers(path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn file_alone_covers_no_other() {
        let lock = Entry { number: 1, path: b"/run/a.lock".to_vec(), is_log: false };
        assert!(lock.covers(b"/run/a.lock"));
        assert!(!lock.covers(b"/run/a.lock.1"));
    }
}
