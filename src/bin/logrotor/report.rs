//! What the command says on standard error.

use std::fmt::Display;
use std::io::Write;

/// Says one line, after the command's name.
pub(crate) fn say(message: impl Display) {
    let line = format!("logrotor: {message}\n");
    // There is nobody else to tell.
    let _ = std::io::stderr().write_all(line.as_bytes());
}
