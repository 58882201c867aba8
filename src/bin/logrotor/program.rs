//! The program that `run` starts.

use crate::exit::CommandError;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, wait};
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::process::Command;

pub(crate) struct Program {
    pid: Pid,
    /// Its exit status, once it was waited for.
    status: Option<u8>,
}

impl Program {
    /// Starts a command line. Afterwards the program alone has the ends of the pipes.
    pub(crate) fn start(
        command_line: &[OsString],
        stdout: OwnedFd,
        stderr: OwnedFd,
    ) -> io::Result<Self> {
        let mut command = Command::new(&command_line[0]);
        command.args(&command_line[1..]).stdout(stdout).stderr(stderr);
        Ok(Self { pid: Pid::from_child(&command.spawn()?), status: None })
    }

    /// Waits for the program to exit. Returns its exit status, or 128 plus the number of the signal
    /// that ended it.
    pub(crate) fn wait(&mut self) -> Result<u8, CommandError> {
        loop {
            if let Some(status) = self.status {
                return Ok(status);
            }
            self.reap(WaitOptions::empty()).map_err(|error| {
                CommandError::Failed(format!("failed to wait for the program: {error}"))
            })?;
        }
    }

    pub(crate) fn forward(&mut self, signal: i32) {
        // Once the program is waited for, another process may have its pid.
        if self.has_ended() {
            return;
        }
        if let Some(signal) = Signal::from_named_raw(signal) {
            // The program may exit at this moment.
            let _ = kill_process(self.pid, signal);
        }
    }

    /// Whether the program has exited. Waits for all other children that have, too.
    pub(crate) fn has_ended(&mut self) -> bool {
        while self.reap(WaitOptions::NOHANG).is_ok_and(|reaped| reaped) {}
        self.status.is_some()
    }

    /// Waits for one child, and reports whether there was one. As process 1 of a container, this
    /// process is the parent of every process that has lost its own.
    fn reap(&mut self, options: WaitOptions) -> Result<bool, Errno> {
        match wait(options) {
            Ok(Some((pid, status))) => {
                if pid == self.pid {
                    self.status = Some(code_of(status));
                }
                Ok(true)
            }
            Ok(None) => Ok(false),
            Err(Errno::INTR) => Ok(true),
            Err(error) => Err(error),
        }
    }
}

/// An exit status as a shell reports it.
fn code_of(status: WaitStatus) -> u8 {
    let signal = || 128 + status.terminating_signal().unwrap_or(0);
    u8::try_from(status.exit_status().unwrap_or_else(signal)).unwrap_or(u8::MAX)
}
