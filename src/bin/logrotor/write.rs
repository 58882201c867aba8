//! `write`: what comes on standard input, to a rotated log.

use crate::exit::{CommandError, VerbResult};
use crate::options::{LineOptions, WriteOptions};
use crate::relay::{Action, Relay, Signals};
use clap::Args;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;

/// Write standard input to a rotated log
///
/// Each line is a record, and is written whole; several writers may share one log. A line longer than 1 MiB is
/// split, and a last line without a line break is given one. SIGTERM and SIGINT end it when the input has ended, or
/// the grace is over, or at the second of them: then it writes what has come, waits at most a second for the rest of
/// a line, and ends. SIGHUP opens the log anew; SIGUSR1 rotates it. Settings that are not given are those of the
/// environment (LOGROTOR_MAX_SIZE and so on), or else the defaults.
///
/// For Apache httpd: CustomLog "|/usr/bin/logrotor write /var/log/apache2/access.log --grace 1day" combined. At a
/// restart it sends SIGTERM to a piped logger at once, but writes to it until all requests in flight are answered;
/// so let the grace be longer than any of them. The next logger shares the log meanwhile.
///
/// Under a supervisor that keeps the pipe for the next logger (runit, s6, daemontools) no line is lost with
/// --grace 0s, which ends it soonest.
#[derive(Args)]
pub(crate) struct Write {
    /// The log
    log: PathBuf,
    #[command(flatten)]
    write_options: WriteOptions,
    #[command(flatten)]
    line_options: LineOptions,
    /// How long to read on after SIGTERM or SIGINT if the input does not end: 1h. It ends at once where the input is a
    /// terminal
    #[arg(long, value_name = "SPAN", default_value = "10s", value_parser = humantime::parse_duration)]
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
