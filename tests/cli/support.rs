//! Helpers: the command as a process.

use std::process::Command;

/// The command, to be given its arguments.
pub(crate) fn logrotor<const N: usize>(args: [&str; N]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_logrotor"));
    command.args(args).env("COLUMNS", "100").env_remove("NO_COLOR");
    command
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}
