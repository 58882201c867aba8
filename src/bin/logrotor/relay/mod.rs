//! Relays lines from a pipe to a log, until end of input or until a signal ends it.

mod append;
mod buffer;
mod copy;
mod pause;
mod shutdown;
mod signals;

pub(crate) use signals::{Action, Signals};

use crate::exit::{CommandError, Exit};
use crate::options::{LineOptions, OpenLog};
use crate::program::Program;
use crate::report::say;
use append::LineCounts;
use buffer::{LineBuffer, MAX_LINE};
use copy::stamped;
use logrotor::{RotatingFileWriter, units};
use pause::Pause;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use shutdown::Shutdown;
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// The time between two attempts to write to a full disk.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

pub(crate) struct Relay<'a> {
    log: RotatingFileWriter,
    is_buffered: bool,
    line_options: LineOptions,
    /// How long to read on after a request to finish.
    grace: Duration,
    input: OwnedFd,
    program: Option<&'a mut Program>,
    signals: Signals,
    buffer: LineBuffer,
    shutdown: Shutdown,
    /// Whether the input has ended.
    is_read: bool,
    /// Whether a signal has asked for the end, so that no reader is waited for.
    is_shutting_down: bool,
    counts: LineCounts,
    /// Whether the last attempt to write failed.
    is_failing: bool,
    pause: Pause,
}

/// The reason why a wait ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ready {
    Pipe,
    Signal,
    Nothing,
}

impl<'a> Relay<'a> {
    pub(crate) fn new(
        OpenLog { log, is_buffered }: OpenLog,
        line_options: LineOptions,
        input: OwnedFd,
        signals: Signals,
    ) -> Self {
        // A larger pipe is only faster; the system may refuse it.
        #[cfg(target_os = "linux")]
        let _ = rustix::pipe::fcntl_setpipe_size(&input, MAX_LINE);
        Self {
            log,
            is_buffered,
            line_options,
            grace: Duration::ZERO,
            input,
            program: None,
            signals,
            buffer: LineBuffer::new(),
            shutdown: Shutdown::NotRequested,
            is_read: false,
            is_shutting_down: false,
            counts: LineCounts::default(),
            is_failing: false,
            pause: Pause::default(),
        }
    }

    pub(crate) fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Passes signals to the program whose output is the input.
    pub(crate) fn with_program(mut self, program: &'a mut Program) -> Self {
        self.program = Some(program);
        self
    }

    /// Relays until end of input or until a signal asks for the end. Fails or returns
    /// [`Exit::Found`] unless all lines are in the log.
    pub(crate) fn run(mut self) -> Result<Exit, CommandError> {
        let done = self.relay();
        self.is_read = true;
        self.write_rest();
        self.empty_buffer();
        if done.is_ok() {
            self.forward_until_exit();
        }
        let ended = self.end();
        done.and(ended)
    }

    /// Passes signals to a program that has closed its output and still runs.
    fn forward_until_exit(&mut self) {
        while self.program.as_mut().is_some_and(|program| !program.has_ended()) {
            match self.wait(None, None) {
                Ok(_) => self.handle_signals(),
                Err(_) => return,
            }
        }
    }

    fn relay(&mut self) -> Result<(), CommandError> {
        while self.wants_more() {
            let input = Some((self.input.as_fd(), PollFlags::IN));
            let ready = self.wait(self.shutdown.read_timeout(), input);
            match ready.map_err(|error| input_failed(&error))? {
                Ready::Signal => self.handle_signals(),
                Ready::Pipe if self.read()? => self.write_lines(),
                Ready::Nothing if self.shutdown.is_grace() => {}
                Ready::Pipe | Ready::Nothing => return Ok(()),
            }
        }
        Ok(())
    }

    fn wants_more(&mut self) -> bool {
        self.end_grace();
        self.shutdown.wants_more(!self.buffer.is_empty())
    }

    /// Ends the grace if it is over.
    fn end_grace(&mut self) {
        if self.shutdown.is_grace_over() {
            if !self.is_read {
                let grace = units::format_duration(self.grace);
                say(format!("standard input has not ended within {grace}; the rest is not read"));
            }
            self.stop_waiting();
        }
    }

    /// Waits for a signal, and for a pipe to have data or room. Signals come first.
    fn wait(
        &self,
        timeout: Option<Duration>,
        pipe: Option<(BorrowedFd<'_>, PollFlags)>,
    ) -> io::Result<Ready> {
        let mut ready: Vec<_> = self.signals.poll_fds().collect();
        ready.extend(pipe.map(|(pipe, what)| PollFd::from_borrowed_fd(pipe, what)));
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        match poll(&mut ready, timeout.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Ready::Signal),
            Err(error) => return Err(error.into()),
        }
        let is_ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
        Ok(match ready.iter().position(is_ready) {
            Some(at) if at < self.signals.len() => Ready::Signal,
            Some(_) => Ready::Pipe,
            None => Ready::Nothing,
        })
    }

    fn handle_signals(&mut self) {
        for action in self.signals.pending() {
            if let Err(error) = self.handle(action) {
                say(error);
            }
        }
    }

    fn handle(&mut self, action: Action) -> logrotor::Result<()> {
        match action {
            Action::End => self.end_soon(),
            Action::Finish => self.finish(),
            Action::Forward(signal) => self.forward(signal),
            Action::CheckProgram => {
                let has_ended = |program: &mut &mut Program| program.has_ended();
                if self.program.as_mut().is_some_and(has_ended) && !self.shutdown.is_last() {
                    self.end_soon();
                }
            }
            Action::Reopen => self.log.reopen()?,
            Action::Rotate => self.log.rotate().map(drop)?,
        }
        Ok(())
    }

    fn forward(&mut self, signal: i32) {
        let Some(program) = &mut self.program else {
            // This relay has the program's standard error; the other one forwards.
            self.is_shutting_down = self.shutdown.is_last();
            return;
        };
        self.is_shutting_down = program.has_ended();
        program.forward(signal);
    }

    fn finish(&mut self) {
        // A user who types the lines expects the end at once.
        let may_read_on = !self.grace.is_zero() && !self.input.is_terminal();
        match self.shutdown {
            Shutdown::NotRequested if may_read_on => self.shutdown = Shutdown::grace(self.grace),
            Shutdown::NotRequested | Shutdown::Grace { .. } => self.stop_waiting(),
            Shutdown::Last { .. } => {}
        }
    }

    fn stop_waiting(&mut self) {
        self.is_shutting_down = true;
        self.end_soon();
    }

    fn end_soon(&mut self) {
        let bytes = rustix::io::ioctl_fionread(&self.input).unwrap_or(0);
        self.shutdown = Shutdown::last(usize::try_from(bytes).unwrap_or(usize::MAX));
    }

    /// Reads once; `false` at the end of the input.
    fn read(&mut self) -> Result<bool, CommandError> {
        match rustix::io::read(&self.input, self.buffer.room()) {
            Ok(0) => Ok(false),
            Ok(read) => {
                self.buffer.add(read);
                self.shutdown.count(read);
                Ok(true)
            }
            Err(Errno::INTR | Errno::AGAIN) => Ok(true),
            Err(error) => Err(input_failed(&error.into())),
        }
    }

    /// Writes the complete lines of the buffer.
    fn write_lines(&mut self) {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.write_lines(|lines| self.write(lines));
        self.buffer = buffer;
    }

    /// Writes a last line that has no line break.
    fn write_rest(&mut self) {
        if let Some(rest) = self.buffer.take_rest() {
            self.write(&rest);
        }
    }

    fn write(&mut self, lines: &[u8]) {
        let stamped = self.line_options.timestamp.then(|| stamped(lines));
        let lines = stamped.as_deref().unwrap_or(lines);
        self.append(lines);
        if self.line_options.tee {
            if let Err(error) = self.copy(lines) {
                say(format!("failed to write to standard output: {error}; the copy ends here"));
                self.line_options.tee = false;
            }
        }
    }
}

fn input_failed(error: &io::Error) -> CommandError {
    CommandError::Failed(format!("failed to read standard input: {error}"))
}
