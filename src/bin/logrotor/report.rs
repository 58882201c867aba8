//! Messages on standard error.

use std::fmt::Display;
use std::io::Write;

/// Prints one line, after the command's name.
pub(crate) fn say(message: impl Display) {
    let line = format!("logrotor: {message}\n");
    // A failure has nowhere to be reported.
    let _ = std::io::stderr().write_all(line.as_bytes());
}
