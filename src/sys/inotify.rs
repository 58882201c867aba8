//! Reports of the system about files, on Linux: an inotify instance, and no thread.

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::inotify::{
    CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init, remove_watch,
};
use rustix::io::{Errno, read, write};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

/// An instance, and a way to wake the thread that waits for its reports.
#[derive(Debug)]
struct Instance {
    reports: OwnedFd,
    woken: OwnedFd,
}

impl Instance {
    fn new() -> io::Result<Self> {
        let reports = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let woken = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { reports, woken })
    }

    /// Waits for a report, for `wake`, or until `span` is over.
    fn wait(&self, span: Duration) {
        let mut descriptors =
            [PollFd::new(&self.reports, PollFlags::IN), PollFd::new(&self.woken, PollFlags::IN)];
        let span = Timespec::try_from(span).ok();
        // A failure, such as a signal, is a reason to look as well.
        let _ = poll(&mut descriptors, span.as_ref());
        if !descriptors[1].revents().is_empty() {
            let _ = read(&self.woken, &mut [0; 8]);
        }
    }

    /// Removes the reports so far from the queue, except those that come faster. `take` gets the
    /// number of the watch and the reason.
    fn take(&self, mut take: impl FnMut(i32, ReadFlags)) {
        let mut buffer = [MaybeUninit::uninit(); 8 * 1024];
        let mut reports = Reader::new(&self.reports, &mut buffer);
        let mut left = 10_000_u32;
        // The buffer is emptied in any case: the kernel no longer has its reports.
        while left > 0 || !reports.is_buffer_empty() {
            let Ok(report) = reports.next() else { return };
            take(report.wd(), report.events());
            left = left.saturating_sub(1);
        }
    }

    fn wake(&self) {
        // It fails only if it was called 2^64 times meanwhile.
        let _ = write(&self.woken, &1u64.to_ne_bytes());
    }
}

#[cfg(feature = "follow")]
#[derive(Debug)]
pub(crate) struct DirWatch(Instance);

#[cfg(feature = "follow")]
impl DirWatch {
    pub(crate) fn new(dir: &Path) -> io::Result<Self> {
        let instance = Instance::new()?;
        // Opening and reading a file changes nothing, and readers do it themselves.
        let wanted = WatchFlags::MODIFY
            | WatchFlags::ATTRIB
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF;
        add_watch(&instance.reports, dir, wanted | WatchFlags::ONLYDIR)?;
        Ok(Self(instance))
    }

    pub(crate) fn wait(&self, span: Duration) {
        self.0.wait(span);
        self.0.take(|_, _| {});
    }

    pub(crate) fn wake(&self) {
        self.0.wake();
    }
}

#[derive(Debug)]
pub(crate) struct MoveWatch(Instance);

impl MoveWatch {
    pub(crate) fn new() -> io::Result<Self> {
        Instance::new().map(Self)
    }

    pub(crate) fn add(&self, file: &Path) -> io::Result<i32> {
        // Not the change of attributes, which the second name of a rotation, its removal and the
        // note on a segment are as well. Not the growth, which would wake the thread per record.
        let wanted = WatchFlags::MOVE_SELF | WatchFlags::ONESHOT | WatchFlags::DONT_FOLLOW;
        Ok(add_watch(&self.0.reports, file, wanted)?)
    }

    /// Whether the system refuses all files with this error.
    pub(crate) fn refuses_all(error: &io::Error) -> bool {
        let all = [Errno::MFILE, Errno::NFILE, Errno::NOSPC, Errno::NOMEM, Errno::NOSYS];
        Errno::from_io_error(error).is_some_and(|errno| all.contains(&errno))
    }

    pub(crate) fn remove(&self, number: i32) {
        // The system has removed it if it has reported something.
        let _ = remove_watch(&self.0.reports, number);
    }

    pub(crate) fn wait(&self, span: Duration, mut moved: impl FnMut(Option<i32>)) {
        self.0.wait(span);
        self.0.take(|number, why| {
            let is_lost = why.contains(ReadFlags::QUEUE_OVERFLOW);
            moved((!is_lost).then_some(number));
        });
    }

    pub(crate) fn wake(&self) {
        self.0.wake();
    }
}
