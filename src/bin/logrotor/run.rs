//! `run`: a program, with its output to a rotated log.

use crate::exit::{CommandError, Exit, VerbResult};
use crate::options::{LineOptions, WriteOptions};
use crate::relay::{Action, Relay, Supervised, listen};
use crate::report::say;
use clap::Args;
use rustix::io::FdFlags;
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use std::ffi::OsString;
use std::io::{ErrorKind, IsTerminal};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::thread::scope;

/// Run a program, with its output to a rotated log
///
/// Standard output and standard error go to one log, line by line as they come, or to two. Signals are passed on to
/// the program, also when it has closed its output; SIGINT and SIGQUIT only if standard input is no terminal, from
/// where it gets them itself. Those that are ignored from the start, as under nohup, stay so (on Linux). The exit
/// status is the program's, 128 and the number of the signal if one has ended it, 126 if it cannot be run, 127 if
/// there is none such. What other processes write to the pipe after its end is not waited for. WriteOptions that are not
/// given are those of the environment (LOGROTOR_MAX_SIZE and so on), or else the defaults.
#[derive(Args)]
pub(crate) struct Run {
    /// The log
    log: PathBuf,
    /// A log of its own for standard error
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
        let second = self.stderr.as_ref().map(|path| self.write_options.open(path)).transpose()?;
        let mut signals = listen(&signals())?;
        let mut beside_signals = listen(&passed_on())?;
        let (output, to_output) = pipe()?;
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]);
        let errors = if second.is_some() {
            let (errors, to_errors) = pipe()?;
            command.stderr(to_errors);
            Some(errors)
        } else {
            command.stderr(copy(&to_output)?);
            None
        };
        command.stdout(to_output);
        let child = match command.spawn() {
            Ok(child) => child,
            Err(error) => return Ok(self.cannot_run(&error)),
        };
        // Its ends of the pipes are now the program's alone.
        drop(command);
        let mut program = Program { child, status: None };
        let line_options = self.line_options;
        let relayed = scope(|scope| {
            let beside = second.zip(errors).map(|(log, errors)| -> Result<_, CommandError> {
                let (told, tells) = UnixStream::pair().map_err(pipe_failed)?;
                told.set_nonblocking(true).map_err(pipe_failed)?;
                let mut ask = vec![(Action::End, told)];
                ask.append(&mut beside_signals);
                Ok((
                    scope.spawn(move || Relay::new(log, line_options, errors, ask, None).run()),
                    tells,
                ))
            });
            let beside = beside.transpose()?;
            let relayed = Relay::new(
                log,
                line_options,
                output,
                std::mem::take(&mut signals),
                Some(&mut program),
            )
            .run();
            program.wait()?;
            let Some((beside, tells)) = beside else { return relayed };
            // It reads what is there, and ends, if it has not ended already.
            let _ = std::io::Write::write_all(&mut &tells, b"x");
            let second = beside.join().unwrap_or_else(|_| {
                Err(CommandError::Failed("the log of standard error was not finished".to_owned()))
            });
            relayed.and(second)
        });
        if let Err(CommandError::Failed(why) | CommandError::Usage(why)) = relayed {
            say(why);
        }
        program.wait().map(|status| Exit::Status(code(status)))
    }

    fn cannot_run(&self, error: &std::io::Error) -> Exit {
        say(format!("failed to run `{}`: {error}", self.command[0].to_string_lossy()));
        Exit::Status(if error.kind() == ErrorKind::NotFound { 127 } else { 126 })
    }
}

/// Those that are passed on, and that of the program's end.
fn signals() -> Vec<(i32, Action)> {
    let ours = if std::io::stdin().is_terminal() { [SIGINT, SIGQUIT].as_slice() } else { &[] };
    let looks = ours.iter().chain(&[SIGCHLD]).map(|signal| (*signal, Action::CheckProgram));
    passed_on().into_iter().chain(looks).collect()
}

fn passed_on() -> Vec<(i32, Action)> {
    let mut signals = vec![SIGTERM, SIGHUP, SIGUSR1, SIGUSR2];
    // From a terminal they go to all that run there, the program among them.
    if !std::io::stdin().is_terminal() {
        signals.extend([SIGINT, SIGQUIT]);
    }
    signals.into_iter().map(|signal| (signal, Action::Forward(signal))).collect()
}

fn pipe() -> Result<(OwnedFd, OwnedFd), CommandError> {
    let (from, to) = rustix::pipe::pipe().map_err(|error| pipe_failed(error.into()))?;
    for end in [&from, &to] {
        let kept = rustix::io::fcntl_setfd(end, FdFlags::CLOEXEC);
        kept.map_err(|error| pipe_failed(error.into()))?;
    }
    Ok((from, to))
}

fn copy(end: &OwnedFd) -> Result<OwnedFd, CommandError> {
    end.try_clone().map_err(pipe_failed)
}

#[allow(clippy::needless_pass_by_value, reason = "it is a step of `map_err`")]
fn pipe_failed(error: std::io::Error) -> CommandError {
    CommandError::Failed(format!("pipe: {error}"))
}

fn code(status: ExitStatus) -> u8 {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    u8::try_from(code).unwrap_or(u8::MAX)
}

struct Program {
    child: Child,
    status: Option<ExitStatus>,
}

impl Program {
    fn wait(&mut self) -> Result<ExitStatus, CommandError> {
        if let Some(status) = self.status {
            return Ok(status);
        }
        let status = self.child.wait();
        let status =
            status.map_err(|error| CommandError::Failed(format!("the program: {error}")))?;
        self.status = Some(status);
        Ok(status)
    }
}

impl Supervised for Program {
    fn forward(&mut self, signal: i32) {
        // Not to another process that has its number now.
        if self.has_ended() {
            return;
        }
        if let Some(signal) = Signal::from_named_raw(signal) {
            // It may end by itself just now.
            let _ = kill_process(Pid::from_child(&self.child), signal);
        }
    }

    fn has_ended(&mut self) -> bool {
        if self.status.is_none() {
            self.status = self.child.try_wait().unwrap_or_default();
        }
        self.status.is_some()
    }
}
