//! The relay: lines from a pipe to a log, until the pipe ends or a signal comes.

use crate::exit::{CommandError, Exit};
use crate::interrupt::Ignored;
use crate::options::{LineOptions, OnFull, OpenLog};
use crate::report::say;
use chrono::{SecondsFormat, Utc};
use logrotor::RotatingFileWriter;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::pipe::PIPE_BUF;
use signal_hook::consts::SIGCHLD;
use std::io::{self, IsTerminal, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The longest line that is written as one record, without its line break.
const MAX_LINE: usize = 1 << 20;
/// What the buffer holds: what is left of a line, and one read.
const CAPACITY: usize = 2 * MAX_LINE;
/// How long to wait for the rest of a line, once told to end.
const LINE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long to wait at a time.
const MAX_WAIT: Duration = Duration::from_secs(24 * 3600);
/// Between two attempts to write to a full disk.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// What becomes of lines whose sync has failed.
const UNSYNCED: &str = "lines are in the log, but may not survive a power cut";

/// What a signal asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// To read what has come, and end.
    End,
    /// To read until the input ends, or the grace is over; asked again, to end.
    Finish,
    Reopen,
    Rotate,
    /// That the program whose output this is gets it.
    Forward(i32),
    /// To see whether that program has ended.
    CheckProgram,
}

/// The program whose output is relayed.
pub(crate) trait Supervised {
    fn forward(&mut self, signal: i32);
    fn has_ended(&mut self) -> bool;
}

/// What is still read when a signal has asked for the end; whoever sends more need not stop first.
#[derive(Clone, Copy)]
enum Shutdown {
    /// It has not.
    NotRequested,
    /// All, until then; without a time, as long as it comes.
    Grace { until: Option<Instant> },
    /// What was in the pipe then, that many bytes, and the rest of a line that comes soon.
    Last { there: usize, until: Instant },
}

pub(crate) struct Relay<'a> {
    log: RotatingFileWriter,
    is_buffered: bool,
    line_options: LineOptions,
    /// How long to read on when asked to finish.
    grace: Duration,
    input: OwnedFd,
    source: Option<&'a mut dyn Supervised>,
    /// A byte comes with each signal.
    signals: Vec<(Action, UnixStream)>,
    buffer: Vec<u8>,
    filled: usize,
    shutdown: Shutdown,
    /// Whether all of the input was read.
    is_read: bool,
    /// Whether a signal has asked for the end, so that nobody is waited for any more.
    is_shutting_down: bool,
    /// How many lines were split.
    split: u64,
    /// Whether what is in the buffer goes on with such a line.
    is_mid_line: bool,
    /// Lines that the log has taken, and may not have written.
    buffered: u64,
    dropped: u64,
    /// Written, but perhaps not on the disk, as they were to be.
    unsynced: u64,
    is_failing: bool,
}

/// What there was to wait for.
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
        signals: Vec<(Action, UnixStream)>,
        source: Option<&'a mut dyn Supervised>,
    ) -> Self {
        // What the system refuses is for speed only.
        #[cfg(target_os = "linux")]
        let _ = rustix::pipe::fcntl_setpipe_size(&input, MAX_LINE);
        let buffer = vec![0; CAPACITY];
        let (grace, filled, is_read, is_shutting_down, split, is_mid_line) = Default::default();
        let (buffered, dropped, unsynced, is_failing) = Default::default();
        Self {
            log,
            is_buffered,
            line_options,
            grace,
            input,
            source,
            signals,
            buffer,
            filled,
            shutdown: Shutdown::NotRequested,
            is_read,
            is_shutting_down,
            split,
            is_mid_line,
            buffered,
            dropped,
            unsynced,
            is_failing,
        }
    }

    pub(crate) fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Relays until the input ends or a signal has asked for it. Whether all lines are in the log.
    pub(crate) fn run(mut self) -> Result<Exit, CommandError> {
        let done = self.relay();
        self.is_read = true;
        self.finish_lines();
        if done.is_ok() {
            self.forward_until_exit();
        }
        let ended = self.end();
        done.and(ended)
    }

    /// Passes signals on to a program that goes on without its output.
    fn forward_until_exit(&mut self) {
        while self.source.as_mut().is_some_and(|source| !source.has_ended()) {
            match self.wait(None, None) {
                Ok(_) => self.handle_signals(),
                Err(_) => return,
            }
        }
    }

    /// Until the input ends, or a signal has asked for it.
    fn relay(&mut self) -> Result<(), CommandError> {
        while self.wants_more() {
            let ready = self.wait(self.timeout(), Some((self.input.as_fd(), PollFlags::IN)));
            match ready.map_err(input_failed)? {
                Ready::Signal => self.handle_signals(),
                Ready::Pipe if self.read()? => self.write_lines(),
                Ready::Nothing if self.is_in_grace() => {}
                Ready::Pipe | Ready::Nothing => return Ok(()),
            }
        }
        Ok(())
    }

    fn wants_more(&mut self) -> bool {
        self.end_grace();
        match self.shutdown {
            Shutdown::NotRequested | Shutdown::Grace { .. } => true,
            Shutdown::Last { there, until } => {
                there > 0 || (self.filled > 0 && !left(until).is_zero())
            }
        }
    }

    fn timeout(&self) -> Option<Duration> {
        match self.shutdown {
            Shutdown::NotRequested => None,
            Shutdown::Last { there: 1.., .. } => Some(Duration::ZERO),
            Shutdown::Last { until, .. } => Some(left(until)),
            // Not every system takes any time; it looks again after this one.
            Shutdown::Grace { until } => until.map(|until| left(until).min(MAX_WAIT)),
        }
    }

    fn is_in_grace(&self) -> bool {
        matches!(self.shutdown, Shutdown::Grace { .. })
    }

    /// Ends the grace if it is over.
    fn end_grace(&mut self) {
        if matches!(self.shutdown, Shutdown::Grace { until: Some(until) } if left(until).is_zero())
        {
            if !self.is_read {
                let grace = humantime::format_duration(self.grace);
                say(format!(
                    "standard input has not ended within {grace}; what comes now is not read"
                ));
            }
            self.stop_waiting();
        }
    }

    /// Waits for a signal, and for what comes from a pipe or goes into it; signals go first.
    fn wait(
        &self,
        timeout: Option<Duration>,
        pipe: Option<(BorrowedFd<'_>, PollFlags)>,
    ) -> io::Result<Ready> {
        let mut ready: Vec<_> =
            self.signals.iter().map(|(_, signal)| PollFd::new(signal, PollFlags::IN)).collect();
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

    /// Does what the signals that have come ask for.
    fn handle_signals(&mut self) {
        for action in self.pending_actions() {
            let done = match action {
                Action::End => {
                    self.end_soon();
                    Ok(())
                }
                Action::Finish => {
                    self.finish();
                    Ok(())
                }
                Action::Forward(signal) => {
                    self.forward(signal);
                    Ok(())
                }
                Action::CheckProgram => {
                    let is_ending = matches!(self.shutdown, Shutdown::Last { .. });
                    if !is_ending && self.source.as_mut().is_some_and(|source| source.has_ended()) {
                        self.end_soon();
                    }
                    Ok(())
                }
                Action::Reopen => self.log.reopen(),
                Action::Rotate => self.log.rotate().map(drop),
            };
            if let Err(error) = done {
                say(error);
            }
        }
    }

    fn forward(&mut self, signal: i32) {
        let Some(source) = &mut self.source else {
            // The other of two outputs of the program.
            self.is_shutting_down = matches!(self.shutdown, Shutdown::Last { .. });
            return;
        };
        self.is_shutting_down = source.has_ended();
        source.forward(signal);
    }

    fn finish(&mut self) {
        // Who types the lines waits for the end.
        let may_read_on = !self.grace.is_zero() && !self.input.is_terminal();
        match self.shutdown {
            Shutdown::NotRequested if may_read_on => {
                self.shutdown = Shutdown::Grace { until: Instant::now().checked_add(self.grace) };
            }
            Shutdown::NotRequested | Shutdown::Grace { .. } => self.stop_waiting(),
            Shutdown::Last { .. } => {}
        }
    }

    fn stop_waiting(&mut self) {
        self.is_shutting_down = true;
        self.end_soon();
    }

    fn end_soon(&mut self) {
        let there = rustix::io::ioctl_fionread(&self.input).unwrap_or(0);
        let there = usize::try_from(there).unwrap_or(usize::MAX);
        self.shutdown = Shutdown::Last { there, until: Instant::now() + LINE_TIMEOUT };
    }

    fn pending_actions(&self) -> Vec<Action> {
        let has_come = |signal: &UnixStream| {
            let mut signal = signal;
            // Several of one kind that come together are one.
            matches!(signal.read(&mut [0; 64]), Ok(read) if read > 0)
        };
        let come = self.signals.iter().filter(|(_, signal)| has_come(signal));
        come.map(|(action, _)| *action).collect()
    }

    /// Reads once; `false` at the end of the input.
    fn read(&mut self) -> Result<bool, CommandError> {
        match rustix::io::read(&self.input, &mut self.buffer[self.filled..self.filled + MAX_LINE]) {
            Ok(0) => Ok(false),
            Ok(read) => {
                self.filled += read;
                if let Shutdown::Last { there, .. } = &mut self.shutdown {
                    *there = there.saturating_sub(read);
                }
                Ok(true)
            }
            Err(Errno::INTR | Errno::AGAIN) => Ok(true),
            Err(error) => Err(input_failed(error.into())),
        }
    }

    /// Writes all lines that are whole. At most one read goes into the buffer after what was left there, which is
    /// no longer than a longest line; so only the first line can be too long, and no more than twice.
    fn write_lines(&mut self) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut rest = &buffer[..self.filled];
        if content_of(first_line(rest)).len() > MAX_LINE {
            let (part, after) = rest.split_at(MAX_LINE);
            self.write_part(part);
            self.split += u64::from(!self.is_mid_line);
            self.is_mid_line = true;
            rest = after;
        }
        let whole = rest.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
        self.is_mid_line &= whole == 0;
        let (lines, rest) = rest.split_at(whole);
        self.write(lines);
        let left = rest.len();
        buffer.copy_within(self.filled - left..self.filled, 0);
        (self.buffer, self.filled) = (buffer, left);
    }

    /// Writes what has no line break with one, so that nobody's next line is glued to it.
    fn write_part(&mut self, part: &[u8]) {
        self.write(&[part, b"\n"].concat());
    }

    fn write(&mut self, lines: &[u8]) {
        let stamped = self.line_options.timestamp.then(|| stamped(lines));
        let lines = stamped.as_deref().unwrap_or(lines);
        self.append(lines);
        if self.line_options.tee {
            if let Err(error) = self.copy(lines) {
                say(format!("standard output: {error}; copying no more"));
                self.line_options.tee = false;
            }
        }
    }

    /// Writes lines to standard output, and heeds signals while that takes none.
    fn copy(&mut self, mut lines: &[u8]) -> io::Result<()> {
        // The lines of two outputs are not mixed up.
        static TURN: Mutex<()> = Mutex::new(());
        let _turn = loop {
            match TURN.try_lock() {
                Ok(turn) => break turn,
                Err(_) => self.wait_to_copy(Some(RETRY_INTERVAL), None)?,
            };
        };
        let stdout = io::stdout();
        while !lines.is_empty() {
            let goes_into = Some((stdout.as_fd(), PollFlags::OUT));
            while !self.wait_to_copy(self.copy_timeout(), goes_into)? {}
            // So much it takes at once.
            let piece = &lines[..lines.len().min(PIPE_BUF)];
            match rustix::io::write(&stdout, piece) {
                Ok(taken) => lines = &lines[taken..],
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// How long to wait for whoever reads the copy: as long as it takes, unless it is time to end.
    fn copy_timeout(&self) -> Option<Duration> {
        match self.shutdown {
            Shutdown::Last { until, .. } if self.is_shutting_down => Some(left(until)),
            Shutdown::Grace { until } => until.map(|until| left(until).min(MAX_WAIT)),
            _ => None,
        }
    }

    /// Waits until there is room in standard output, or something else has to be seen to.
    fn wait_to_copy(
        &mut self,
        timeout: Option<Duration>,
        stdout: Option<(BorrowedFd<'_>, PollFlags)>,
    ) -> io::Result<bool> {
        let ready = self.wait(timeout, stdout)?;
        if ready == Ready::Signal {
            self.handle_signals();
        }
        // Signals that come one after the other do not hold it up.
        let is_over = self.copy_timeout().is_some_and(|timeout| timeout.is_zero());
        if self.is_shutting_down && (ready == Ready::Nothing || (ready == Ready::Signal && is_over))
        {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "it takes no more"));
        }
        self.end_grace();
        Ok(ready == Ready::Pipe)
    }

    fn append(&mut self, mut lines: &[u8]) {
        while !lines.is_empty() {
            let before = self.log.stats().records;
            match self.log.write_lines(lines) {
                Ok(taken) => {
                    self.is_failing = false;
                    let (taken, rest) = lines.split_at(taken);
                    if self.is_buffered {
                        self.buffered +=
                            taken.split_inclusive(|&byte| byte == b'\n').count() as u64;
                    }
                    lines = rest;
                }
                Err(error) => {
                    let written = self.log.stats().records - before;
                    // What the buffer held before may have been written meanwhile.
                    let written = if self.is_buffered { 0 } else { written };
                    lines = self.after_failure(lines, written, &error);
                }
            }
        }
    }

    /// Once for failures that follow each other.
    fn report_once(&mut self, error: &io::Error, what: &str) {
        if !self.is_failing {
            say(format!("{error}; {what}"));
        }
        self.is_failing = true;
    }

    fn may_wait(&self) -> bool {
        self.line_options.on_full == OnFull::Block
            && !matches!(self.shutdown, Shutdown::Last { .. })
    }

    /// What is to be tried next, when so many lines were written before it failed.
    fn after_failure<'b>(&mut self, lines: &'b [u8], written: u64, error: &io::Error) -> &'b [u8] {
        if written > 0 {
            self.report_once(error, UNSYNCED);
            self.unsynced += written;
            return (0..written).fold(lines, |lines, _| &lines[first_line(lines).len()..]);
        }
        if !self.may_wait() {
            self.report_once(error, "dropping lines until it can be written");
            self.dropped += 1;
            return &lines[first_line(lines).len()..];
        }
        self.wait_for_room(error);
        lines
    }

    /// Waits before it is tried again.
    fn wait_for_room(&mut self, error: &io::Error) {
        self.report_once(error, "waiting until it can be written");
        if self.wait(Some(RETRY_INTERVAL), None).is_ok_and(|ready| ready == Ready::Signal) {
            self.handle_signals();
        }
        self.end_grace();
    }

    /// Writes what is in the buffer, if need be when there is room again.
    fn empty_buffer(&mut self) {
        while let Err(error) = self.log.flush() {
            if !self.may_wait() {
                return;
            }
            self.wait_for_room(&error.into());
        }
    }

    /// Writes what is left.
    fn finish_lines(&mut self) {
        if self.filled > 0 {
            let rest = self.buffer[..std::mem::take(&mut self.filled)].to_vec();
            self.write_part(&rest);
        }
        self.empty_buffer();
    }

    /// Closes the log, and says what was not as it should be.
    fn end(mut self) -> Result<Exit, CommandError> {
        let closed = self.log.clone().close();
        if self.is_buffered {
            self.dropped += self.buffered.saturating_sub(self.log.stats().records);
        }
        if self.split > 0 {
            say(format!("{} lines were longer than {MAX_LINE} bytes, and were split", self.split));
        }
        if self.dropped > 0 {
            say(format!("{} lines were dropped", self.dropped));
        }
        if self.unsynced > 0 {
            say(format!("{} {UNSYNCED}", self.unsynced));
        }
        closed?;
        Ok(if self.dropped + self.unsynced > 0 { Exit::Found } else { Exit::Success })
    }
}

/// What to do on which signals. Those that would end it or go to a program, and were ignored when the command was
/// started, as under `nohup` or in the background of a script, stay so: for the program as well.
pub(crate) fn listen(signals: &[(i32, Action)]) -> Result<Vec<(Action, UnixStream)>, CommandError> {
    let ignored = Ignored::read();
    let heeded = signals.iter().filter(|(signal, action)| {
        matches!(action, Action::Reopen | Action::Rotate)
            || *signal == SIGCHLD
            || !ignored.has(*signal)
    });
    let told = heeded.map(|(signal, action)| Ok((*action, notifier(*signal)?)));
    let told = told.collect::<io::Result<_>>();
    told.map_err(|error| CommandError::Failed(format!("signals: {error}")))
}

fn notifier(signal: i32) -> io::Result<UnixStream> {
    let (told, tells) = UnixStream::pair()?;
    told.set_nonblocking(true)?;
    signal_hook::low_level::pipe::register(signal, tells)?;
    Ok(told)
}

#[allow(clippy::needless_pass_by_value, reason = "it is a step of `map_err`")]
fn input_failed(error: io::Error) -> CommandError {
    CommandError::Failed(format!("standard input: {error}"))
}

/// How long it is until then.
fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}

/// The first line, its line break included.
fn first_line(lines: &[u8]) -> &[u8] {
    lines.split_inclusive(|&byte| byte == b'\n').next().unwrap_or_default()
}

/// A line without its line break.
fn content_of(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\n").unwrap_or(line)
}

/// The lines, each after the time.
fn stamped(lines: &[u8]) -> Vec<u8> {
    let now = Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true);
    let stamp = |line| [now.as_bytes(), b" ", line].concat();
    lines.split_inclusive(|&byte| byte == b'\n').flat_map(stamp).collect()
}
