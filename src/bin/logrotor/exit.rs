//! Exit statuses, and the messages of failures.

#[cfg(unix)]
use crate::interrupt::end_by;
use crate::report;
use logrotor::{Error, ErrorKind};
use std::io;
use std::process::ExitCode;

/// The result of a verb.
pub(crate) type VerbResult = Result<Exit, CommandError>;

/// The exit status of a verb that did its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Success,
    /// Status 1: the verb found damage, or did not find what it searched for.
    Found,
    /// The exit status of the program that `run` started.
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

/// A verb that failed.
#[derive(Debug)]
pub(crate) enum CommandError {
    /// Status 2: the command line is invalid.
    Usage(String),
    /// Status 1.
    Failed(String),
    /// The reader of standard output has closed it. No message is printed.
    ClosedPipe,
    /// A signal has interrupted the verb. No message is printed.
    #[cfg(unix)]
    Signal(i32),
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

/// Failures of standard output. Other failures name their file.
impl From<io::Error> for CommandError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ClosedPipe,
            _ => Self::Failed(format!("failed to write to standard output: {error}")),
        }
    }
}

/// Prints the message of a failure and returns the exit status.
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
        // As most programs; a shell sees status 141.
        #[cfg(unix)]
        Err(CommandError::ClosedPipe) => end_by(signal_hook::consts::SIGPIPE),
        #[cfg(not(unix))]
        Err(CommandError::ClosedPipe) => 1.into(),
        #[cfg(unix)]
        Err(CommandError::Signal(signal)) => end_by(signal),
    }
}
