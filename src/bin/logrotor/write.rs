//! `write`: standard input to a rotating log.

use crate::exit::{CommandError, VerbResult};
use crate::options::{LineOptions, WriteOptions};
use crate::relay::{Action, Relay, Signals};
use clap::Args;
use logrotor::units;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;

/// Write standard input to a rotating log
///
/// Each line is one record. Lines are never torn or mixed, and several processes may write to one
/// log. Lines longer than 1 MiB are split. A last line without a line break gets one.
///
/// On SIGTERM or SIGINT it keeps reading until end of input, for at most --grace; a second signal
/// ends the grace. It then writes the lines that are in the pipe, waits up to 1 s for the rest of
/// a line, and exits. SIGHUP reopens the log. SIGUSR1 rotates it.
///
/// Options that are not given take their values from the environment (LOGROTOR_MAX_SIZE and so
/// on), then the defaults. Periods are in UTC, or in local time with LOGROTOR_ZONE=local.
///
/// Apache httpd: CustomLog "|/usr/bin/logrotor write /var/log/apache2/access.log --grace 1day"
/// combined. At a restart, Apache sends SIGTERM to its piped logger at once, but writes to it until
/// all requests in flight are answered. Set a grace that is longer than any request. The next
/// logger shares the log meanwhile.
///
/// Supervisors that keep the pipe for the next logger (runit, s6, daemontools): --grace 0s exits
/// soonest and loses no line.
#[derive(Args)]
pub(crate) struct Write {
    /// Path of the log
    log: PathBuf,
    #[command(flatten)]
    write_options: WriteOptions,
    #[command(flatten)]
    line_options: LineOptions,
    /// How long to keep reading after SIGTERM or SIGINT, e.g. 1h
    ///
    /// If the input is a terminal, the first signal ends it.
    #[arg(long, value_name = "SPAN", default_value = "10s", value_parser = units::parse_duration)]
    grace: Duration,
}

const SIGNALS: [(i32, Action); 4] = [
    (SIGTERM, Action::Finish),
    (SIGINT, Action::Finish),
    (SIGHUP, Action::Reopen),
    (SIGUSR1, Action::Rotate),
];

impl Write {
    pub(crate) fn run(self) -> VerbResult {
        // First of all: opening the log may take long, and a signal would end the process.
        let signals = Signals::listen(&SIGNALS)?;
        let log = self.write_options.open(&self.log)?;
        // Without std's buffer, which `poll` does not see.
        let input = std::io::stdin().as_fd().try_clone_to_owned().map_err(|error| {
            CommandError::Failed(format!("failed to read standard input: {error}"))
        })?;
        Relay::new(log, self.line_options, input, signals).with_grace(self.grace).run()
    }
}
