//! Messages on standard error.

use crate::output::printable;
use std::fmt::Display;
use std::io::Write;

/// Prints one line, after the command's name. A path in the message may contain any characters.
pub(crate) fn say(message: impl Display) {
    let line = format!("logrotor: {}\n", printable(&message.to_string()));
    // A failure has nowhere to be reported.
    let _ = std::io::stderr().write_all(line.as_bytes());
}
