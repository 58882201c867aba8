//! Copies of lines to standard output (`--tee`) and their time stamps.

use super::{RETRY_INTERVAL, Ready, Relay};
use chrono::{SecondsFormat, Utc};
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::pipe::PIPE_BUF;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Mutex;
use std::time::Duration;

impl Relay<'_> {
    /// Writes lines to standard output, and reacts to signals while its reader is slow.
    pub(super) fn copy(&mut self, mut lines: &[u8]) -> io::Result<()> {
        // Keeps lines of the program's two outputs apart.
        static TURN: Mutex<()> = Mutex::new(());
        let _turn = loop {
            match TURN.try_lock() {
                Ok(turn) => break turn,
                Err(_) => self.wait_to_copy(Some(RETRY_INTERVAL), None)?,
            };
        };
        let stdout = io::stdout();
        while !lines.is_empty() {
            let room = Some((stdout.as_fd(), PollFlags::OUT));
            while !self.wait_to_copy(self.copy_timeout(), room)? {}
            // A pipe that is ready takes this many bytes without blocking.
            let piece = &lines[..lines.len().min(PIPE_BUF)];
            match rustix::io::write(&stdout, piece) {
                Ok(taken) => lines = &lines[taken..],
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn copy_timeout(&self) -> Option<Duration> {
        self.shutdown.copy_timeout(self.is_shutting_down)
    }

    /// Waits until standard output has room, and reports whether it has.
    fn wait_to_copy(
        &mut self,
        timeout: Option<Duration>,
        stdout: Option<(BorrowedFd<'_>, PollFlags)>,
    ) -> io::Result<bool> {
        let ready = self.wait(timeout, stdout)?;
        if ready == Ready::Signal {
            self.handle_signals();
        }
        // Signals in quick succession do not delay the end.
        let is_over = self.copy_timeout().is_some_and(|timeout| timeout.is_zero());
        let has_waited = ready == Ready::Nothing || (ready == Ready::Signal && is_over);
        if self.is_shutting_down && has_waited {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "its reader does not read"));
        }
        self.end_grace();
        Ok(ready == Ready::Pipe)
    }
}

/// Returns the lines, each after the current time.
pub(super) fn stamped(lines: &[u8]) -> Vec<u8> {
    let now = Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true);
    let stamp = |line| [now.as_bytes(), b" ", line].concat();
    lines.split_inclusive(|&byte| byte == b'\n').flat_map(stamp).collect()
}
