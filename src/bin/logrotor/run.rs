//! `run`: the output of a program to a rotating log.

use crate::exit::{CommandError, Exit, VerbResult};
use crate::options::{LineOptions, WriteOptions};
use crate::program::Program;
use crate::relay::{Action, Relay, Signals};
use crate::report::say;
use clap::Args;
use rustix::io::FdFlags;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use std::ffi::OsString;
use std::io::{ErrorKind, IsTerminal, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread::{Builder, Scope, ScopedJoinHandle, scope};

/// Run a program and write its output to a rotating log
///
/// Standard output and standard error go to one log, or to two with --stderr, line by line as they
/// arrive. The exit status is the program's: 128 plus the number of the signal if a signal ended
/// it, 126 if it cannot be run, 127 if it is not found. Output that other processes write after it
/// exits is not waited for.
///
/// Signals are forwarded to the program, even after it has closed its output. SIGINT and SIGQUIT
/// are forwarded unless standard input is a terminal, which sends them to the program itself. On
/// Linux, signals that are ignored at the start, e.g. under nohup, stay ignored. As process 1 of a
/// container, it reaps the processes whose parents have exited.
///
/// Options that are not given take their values from the environment (LOGROTOR_MAX_SIZE and so
/// on), then the defaults. Periods are in UTC, or in local time with LOGROTOR_ZONE=local.
#[derive(Args)]
pub(crate) struct Run {
    /// Path of the log
    log: PathBuf,
    /// Write standard error to this log instead
    #[arg(long, value_name = "LOG")]
    stderr: Option<PathBuf>,
    #[command(flatten)]
    write_options: WriteOptions,
    #[command(flatten)]
    line_options: LineOptions,
    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl Run {
    pub(crate) fn run(self) -> VerbResult {
        let log = self.write_options.open(&self.log)?;
        let errors = self.stderr.as_ref().map(|path| self.relay_errors(path)).transpose()?;
        let signals = Signals::listen(&signals())?;
        let (output, to_output) = pipe()?;
        let relay = Relay::new(log, self.line_options, output, signals);
        let (errors, to_errors) = match errors {
            Some((errors, to_errors)) => (Some(errors), to_errors),
            None => (None, to_output.try_clone().map_err(|error| pipe_failed(&error))?),
        };
        scope(|scope| {
            // The last thing that the system may refuse, before there is a program to look after.
            let errors = errors.map(|errors| errors.start(scope)).transpose()?;
            let mut program = match Program::start(&self.command, to_output, to_errors) {
                Ok(program) => program,
                Err(error) => {
                    errors.map_or(Ok(Exit::Success), RunningRelay::finish)?;
                    return Ok(self.cannot_run(&error));
                }
            };
            let relayed = relay.with_program(&mut program).run();
            let status = program.wait();
            let relayed = relayed.and(errors.map_or(Ok(Exit::Success), RunningRelay::finish));
            if let Err(CommandError::Failed(why) | CommandError::Usage(why)) = relayed {
                say(why);
            }
            status.map(Exit::Status)
        })
    }

    /// Opens the log of standard error. Returns its relay, and the end of the pipe for the program.
    fn relay_errors(&self, path: &Path) -> Result<(ErrorsRelay, OwnedFd), CommandError> {
        let log = self.write_options.open(path)?;
        let mut signals = Signals::listen(&forwarded_signals())?;
        let (is_over, end) = UnixStream::pair().map_err(|error| pipe_failed(&error))?;
        is_over.set_nonblocking(true).map_err(|error| pipe_failed(&error))?;
        signals.add(Action::End, is_over);
        let (errors, to_errors) = pipe()?;
        let relay = Relay::new(log, self.line_options, errors, signals);
        Ok((ErrorsRelay { relay, end }, to_errors))
    }

    fn cannot_run(&self, error: &std::io::Error) -> Exit {
        say(format!("failed to run `{}`: {error}", self.command[0].to_string_lossy()));
        Exit::Status(if error.kind() == ErrorKind::NotFound { 127 } else { 126 })
    }
}

/// The relay of standard error to a log of its own.
struct ErrorsRelay {
    relay: Relay<'static>,
    /// A byte here ends the relay.
    end: UnixStream,
}

impl ErrorsRelay {
    /// Starts its thread.
    fn start<'scope>(
        self,
        scope: &'scope Scope<'scope, '_>,
    ) -> Result<RunningRelay<'scope>, CommandError> {
        let Self { relay, end } = self;
        let thread = Builder::new().name("logrotor-stderr".to_owned());
        match thread.spawn_scoped(scope, || relay.run()) {
            Ok(thread) => Ok(RunningRelay { thread, end }),
            Err(error) => Err(CommandError::Failed(format!("failed to start a thread: {error}"))),
        }
    }
}

struct RunningRelay<'scope> {
    thread: ScopedJoinHandle<'scope, Result<Exit, CommandError>>,
    end: UnixStream,
}

impl RunningRelay<'_> {
    /// Has the relay read what is in its pipe and end, if it has not ended already.
    fn finish(self) -> Result<Exit, CommandError> {
        let _ = (&self.end).write_all(b"x");
        self.thread.join().unwrap_or_else(|_| {
            Err(CommandError::Failed("failed to finish the log of standard error".to_owned()))
        })
    }
}

/// The forwarded signals, and those after which the program may have exited.
fn signals() -> Vec<(i32, Action)> {
    let ours = if std::io::stdin().is_terminal() { [SIGINT, SIGQUIT].as_slice() } else { &[] };
    let looks = ours.iter().chain(&[SIGCHLD]).map(|signal| (*signal, Action::CheckProgram));
    forwarded_signals().into_iter().chain(looks).collect()
}

fn forwarded_signals() -> Vec<(i32, Action)> {
    let mut signals = vec![SIGTERM, SIGHUP, SIGUSR1, SIGUSR2];
    // A terminal sends these two to the program itself.
    if !std::io::stdin().is_terminal() {
        signals.extend([SIGINT, SIGQUIT]);
    }
    signals.into_iter().map(|signal| (signal, Action::Forward(signal))).collect()
}

fn pipe() -> Result<(OwnedFd, OwnedFd), CommandError> {
    let (from, to) = rustix::pipe::pipe().map_err(|error| pipe_failed(&error.into()))?;
    for end in [&from, &to] {
        let kept = rustix::io::fcntl_setfd(end, FdFlags::CLOEXEC);
        kept.map_err(|error| pipe_failed(&error.into()))?;
    }
    Ok((from, to))
}

fn pipe_failed(error: &std::io::Error) -> CommandError {
    CommandError::Failed(format!("failed to create a pipe: {error}"))
}
