//! How the command ends: its exit status, and what it says if that is not 0.

use crate::report;
use logrotor::{Error, ErrorKind};
use std::io;
use std::process::ExitCode;

/// What a verb comes to.
pub(crate) type VerbResult = Result<Exit, CommandError>;

/// A verb that was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Success,
    /// It was done, and has found what should not be, or not what was looked for: status 1.
    Found,
    /// The exit status of a program that was run.
    #[cfg(unix)]
    Status(u8),
}

impl Exit {
    fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Found => 1,
            #[cfg(unix)]
            Self::Status(status) => status,
        }
    }
}

/// A verb that could not be done.
#[derive(Debug)]
pub(crate) enum CommandError {
    /// The command line cannot be right: status 2.
    Usage(String),
    /// Something failed: status 1.
    Failed(String),
    /// Whoever read our output has gone: nothing to say, and nobody to say it to.
    ClosedPipe,
}

impl CommandError {
    pub(crate) fn usage(why: impl Into<String>) -> Self {
        Self::Usage(why.into())
    }
}

impl From<Error> for CommandError {
    fn from(error: Error) -> Self {
        match error.kind() {
            ErrorKind::InvalidConfig => Self::Usage(error.to_string()),
            _ => Self::Failed(error.to_string()),
        }
    }
}

/// Of standard output; other failures come with the file that they are about.
impl From<io::Error> for CommandError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ClosedPipe,
            _ => Self::Failed(format!("standard output: {error}")),
        }
    }
}

/// Says what there is to say, and returns the exit status.
pub(crate) fn end(ending: VerbResult) -> ExitCode {
    match ending {
        Ok(exit) => exit.code().into(),
        Err(CommandError::Usage(why)) => {
            report::say(why);
            2.into()
        }
        Err(CommandError::Failed(why)) => {
            report::say(why);
            1.into()
        }
        Err(CommandError::ClosedPipe) => {
            die_of_closed_pipe();
            1.into()
        }
    }
}

/// Ends as a program does that leaves `SIGPIPE` to the system, so that a shell sees 141.
#[cfg(unix)]
fn die_of_closed_pipe() {
    use signal_hook::{consts::SIGPIPE, low_level::emulate_default_handler};
    // If it is refused, the exit status says as much.
    let _ = emulate_default_handler(SIGPIPE);
}

#[cfg(not(unix))]
fn die_of_closed_pipe() {}
