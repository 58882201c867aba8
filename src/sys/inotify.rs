//! Changes in a directory on Linux: an inotify instance, and no thread.

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::inotify::{CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init};
use rustix::io::{read, write};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

#[derive(Debug)]
pub(crate) struct DirWatch {
    changes: OwnedFd,
    woken: OwnedFd,
}

impl DirWatch {
    pub(crate) fn new(dir: &Path) -> io::Result<Self> {
        let changes = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let woken = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        // Opening and reading a file changes nothing, and readers do it themselves.
        let wanted = WatchFlags::MODIFY
            | WatchFlags::ATTRIB
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF;
        add_watch(&changes, dir, wanted | WatchFlags::ONLYDIR)?;
        Ok(Self { changes, woken })
    }

    pub(crate) fn wait(&self, span: Duration) {
        let mut descriptors =
            [PollFd::new(&self.changes, PollFlags::IN), PollFd::new(&self.woken, PollFlags::IN)];
        let span = Timespec::try_from(span).ok();
        // A failure, such as a signal, is a reason to look as well.
        let _ = poll(&mut descriptors, span.as_ref());
        let _ = read(&self.woken, &mut [0; 8]);
        self.forget_changes();
    }

    /// Removes the changes so far from the queue, except those that come faster.
    fn forget_changes(&self) {
        let mut buffer = [MaybeUninit::uninit(); 8 * 1024];
        let mut changes = Reader::new(&self.changes, &mut buffer);
        let mut left = 10_000;
        while left > 0 && changes.next().is_ok_and(|change| change.events() != ReadFlags::IGNORED) {
            left -= 1;
        }
    }

    pub(crate) fn wake(&self) {
        // It fails only if it was called 2^64 times meanwhile.
        let _ = write(&self.woken, &1u64.to_ne_bytes());
    }
}
