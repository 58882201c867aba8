//! `cat` and `tail`: the records of a log on standard output.

use crate::event::Grouping;
use crate::exit::{CommandError, VerbResult};
use crate::number::number;
use crate::output;
use crate::printer::{Mode, Printer, RecordOptions};
use crate::progress::{Progress, ReadProgress};
#[cfg(feature = "archive")]
use crate::remote::ArchiveOption;
use crate::remote::{LOG, is_remote};
use crate::report;
use crate::stamp::TimeOptions;
use crate::when;
use clap::Args;
use logrotor::Error;
use logrotor::inspect::{self, Inspection};
use logrotor::reader::{ReaderBuilder, Stopper};
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

/// Print a log's records, oldest first, across its backups
///
/// Damage is reported on standard error and skipped; the exit status is then 1.
#[derive(Args)]
pub(crate) struct Cat {
    #[arg(help = LOG)]
    log: PathBuf,
    /// Print records since this time, e.g. 2026-11-20T23:57:01Z, 2026-11-20 or "2h 30min" (ago)
    ///
    /// Skips segments that were finished before this time, and records with an earlier time. A
    /// record without a time has that of the record before it. See --time-format.
    #[arg(long, alias = "from", value_name = "TIME", value_parser = when::since)]
    since: Option<SystemTime>,
    /// Print records up to this time, in the same formats
    #[arg(long, value_name = "TIME", value_parser = when::until)]
    until: Option<SystemTime>,
    /// Print the newest record first
    ///
    /// The lines of a record keep their order. See --lines.
    #[arg(long)]
    reverse: bool,
    /// Treat each line as a record
    ///
    /// By default a record may have several lines. In a log whose lines begin with times, a line
    /// without one belongs to the record before it. In other logs, indented and blank lines do,
    /// but not those that begin with a padded level, such as " INFO".
    #[arg(long)]
    lines: bool,
    #[cfg(feature = "archive")]
    #[command(flatten)]
    archived: ArchiveOption,
    #[command(flatten)]
    times: TimeOptions,
    #[command(flatten)]
    select: RecordOptions,
}

/// Print a log's last records, and follow it across rotations
///
/// Unlike `tail -F`, it never misses or repeats a record, no matter how fast the log rotates.
#[derive(Args)]
pub(crate) struct Tail {
    #[arg(help = LOG)]
    log: PathBuf,
    /// Number of records; --grep selects among these
    ///
    /// A record may have several lines: see --lines of `logrotor cat`.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10, value_parser = number::<u64>)]
    records: u64,
    /// Treat each line as a record; with a number, print this many lines
    #[arg(
        long, value_name = "N", num_args = 0..=1, require_equals = true, value_parser = number::<u64>
    )]
    lines: Option<Option<u64>>,
    /// Keep printing records as they are written; the log and its directory may not exist yet
    #[arg(short = 'F', short_alias = 'f', long)]
    follow: bool,
    #[command(flatten)]
    select: RecordOptions,
}

impl Cat {
    pub(crate) fn run(self) -> VerbResult {
        if self.since.zip(self.until).is_some_and(|(since, until)| since > until) {
            return Err(CommandError::usage("--since is after --until; use an earlier --since"));
        }
        let log = self.select.builder(&self.log);
        #[cfg(feature = "archive")]
        let log = self.archived.apply(log, &self.log)?;
        #[cfg(feature = "archive")]
        let is_archived = is_remote(&self.log) || self.archived.is_given();
        #[cfg(not(feature = "archive"))]
        let is_archived = false;
        let mut builder = log.clone();
        builder = self.since.into_iter().fold(builder, ReaderBuilder::since);
        builder = self.until.into_iter().fold(builder, ReaderBuilder::until);
        if self.reverse {
            builder = builder.reverse();
        }
        // Records that scroll by would hide a progress bar.
        let is_watched = io::stderr().is_terminal() && !io::stdout().is_terminal() && !self.reverse;
        // A second listing of an archive costs requests.
        let is_watched = is_watched && !is_archived;
        let seen = is_watched.then(|| Inspection::of(&self.log).ok()).flatten();
        let progress = seen.map(|seen| {
            let read_progress = ReadProgress::of(&seen);
            (Progress::new(read_progress.total), read_progress)
        });
        let mode = if self.reverse { Mode::Reverse } else { Mode::Forward };
        // Of an archive, only the segments that are printed anyway are looked at.
        let sample = if is_archived { builder.clone() } else { log };
        let grouping = Grouping::of(sample, &self.times, sample_size(is_archived));
        let printer = Printer::new(&self.select, grouping, mode)?;
        let printer = printer.by_line(self.lines).within(self.since, self.until);
        let done = printer.with_progress(progress).all(&mut builder.open()?);
        if done.is_ok() {
            report_renamed(&self.log);
        }
        done
    }
}

/// The number of segments that are opened to learn how a log's records begin. Those of an archive
/// are fetched.
fn sample_size(is_archived: bool) -> usize {
    if is_archived { 1 } else { 100 }
}

/// Reports the backups whose records were not printed because another program has renamed them.
fn report_renamed(log: &Path) {
    // The log was listed before; a failure now is none of this verb.
    for (path, original) in inspect::renamed_backups(log).unwrap_or_default() {
        let why = "another program has renamed this backup, so it is not read";
        let (path, original) = (path.display(), original.display());
        report::say(format!("`{path}`: {why}; rename it back to `{original}`"));
    }
}

impl Tail {
    pub(crate) fn run(self) -> VerbResult {
        let log = self.select.builder(&self.log);
        if self.follow {
            self.wait_for_directory(&log)?;
        }
        let sample_size = sample_size(is_remote(&self.log));
        let grouping = Grouping::of(log.clone(), &TimeOptions::default(), sample_size);
        let lines = self.lines_wanted(&grouping, log.clone());
        let mut builder = log.last(lines);
        if self.follow {
            builder = builder.follow();
        }
        let mode = if self.follow { Mode::Live } else { Mode::Forward };
        let printer = Printer::new(&self.select, grouping, mode)?.by_line(self.lines.is_some());
        // The beginning of the log is no rest of a record, even if its lines are indented.
        let printer = if lines == u64::MAX { printer } else { printer.starting_at_whole_record() };
        let mut reader = builder.open()?;
        let is_pipe_closed = Arc::new(AtomicBool::new(false));
        if self.follow {
            stop_at_closed_pipe(reader.stopper(), Arc::clone(&is_pipe_closed));
        }
        let ending = printer.all(&mut reader);
        if is_pipe_closed.load(Ordering::Relaxed) { Err(CommandError::ClosedPipe) } else { ending }
    }

    /// Waits until the log can be opened to follow it: until its directory exists.
    fn wait_for_directory(&self, log: &ReaderBuilder) -> Result<(), CommandError> {
        const INTERVAL: Duration = Duration::from_millis(200);
        let is_missing = |error: &Error| {
            error.io_error().is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
        };
        let mut has_said = false;
        while let Err(error) = log.clone().last(0).follow().open() {
            if !is_missing(&error) {
                return Err(error.into());
            }
            if !std::mem::replace(&mut has_said, true) {
                report::say(format!("{error}; waiting for it"));
            }
            if output::is_pipe_closed(Some(INTERVAL)) {
                return Err(CommandError::ClosedPipe);
            }
        }
        Ok(())
    }

    /// How many lines the records have that are asked for.
    fn lines_wanted(&self, grouping: &Grouping, log: ReaderBuilder) -> u64 {
        match self.lines {
            Some(lines) => lines.unwrap_or(self.records),
            // A log that cannot be read is reported when it is opened.
            None => grouping.lines_of_last(log, self.records).unwrap_or(self.records),
        }
    }
}

/// Starts a thread that stops the reader when the reader of standard output has closed it. The
/// thread ends with the process.
fn stop_at_closed_pipe(stopper: Stopper, is_pipe_closed: Arc<AtomicBool>) {
    let watch = move || {
        if output::is_pipe_closed(None) {
            is_pipe_closed.store(true, Ordering::Relaxed);
            stopper.stop();
        }
    };
    if let Err(error) = std::thread::Builder::new().name("logrotor-pipe".to_owned()).spawn(watch) {
        report::say(format!(
            "warning: failed to start a thread: {error}; a closed pipe is noticed at the next record"
        ));
    }
}
