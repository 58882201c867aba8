//! The program that `run` starts.

use crate::exit::CommandError;
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};

pub(crate) struct Program {
    child: Child,
    status: Option<ExitStatus>,
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
        Ok(Self { child: command.spawn()?, status: None })
    }

    /// Waits for the program to exit. Returns its exit status, or 128 plus the number of the signal
    /// that ended it.
    pub(crate) fn wait(&mut self) -> Result<u8, CommandError> {
        let status = match self.status {
            Some(status) => status,
            None => self.child.wait().map_err(|error| {
                CommandError::Failed(format!("failed to wait for the program: {error}"))
            })?,
        };
        self.status = Some(status);
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        Ok(u8::try_from(code).unwrap_or(u8::MAX))
    }

    pub(crate) fn forward(&mut self, signal: i32) {
        // Once the program is waited for, another process may have its pid.
        if self.has_ended() {
            return;
        }
        if let Some(signal) = Signal::from_named_raw(signal) {
            // The program may exit at this moment.
            let _ = kill_process(Pid::from_child(&self.child), signal);
        }
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        if self.status.is_none() {
            self.status = self.child.try_wait().unwrap_or_default();
        }
        self.status.is_some()
    }
}
