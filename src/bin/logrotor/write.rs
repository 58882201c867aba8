//! `write`: what comes on standard input, to a rotated log.

use crate::exit::{Ending, Failure};
use crate::options::{Manner, Settings};
use crate::pump::{Asked, Pump, listen};
use clap::Args;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use std::os::fd::AsFd;
use std::path::PathBuf;

/// Write standard input to a rotated log
///
/// Each line is a record, and is written whole; several writers may share one log. A line longer than 1 MiB is
/// split, and a last line without a line break is given one. SIGTERM and SIGINT write what has come, wait at most a
/// second for the rest of a line, and end; SIGHUP opens the log anew; SIGUSR1 rotates it. Settings that are not given are those of the environment
/// (LOGROTOR_MAX_SIZE and so on), or else the defaults.
#[derive(Args)]
pub(crate) struct Write {
    /// The log
    log: PathBuf,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    manner: Manner,
}

const SIGNALS: [(i32, Asked); 4] = [
    (SIGTERM, Asked::End),
    (SIGINT, Asked::End),
    (SIGHUP, Asked::Reopen),
    (SIGUSR1, Asked::Rotate),
];

impl Write {
    pub(crate) fn run(self) -> Ending {
        let log = self.settings.open(&self.log)?;
        // Past the buffer of std's, which `poll` would not know of.
        let input = std::io::stdin().as_fd().try_clone_to_owned();
        let input = input.map_err(|error| Failure::Failed(format!("standard input: {error}")))?;
        Pump::new(log, self.manner, input, listen(&SIGNALS)?, None).run()
    }
}
