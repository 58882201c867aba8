//! `cat` and `tail`: the records of a log on standard output.

use crate::exit::{CommandError, Exit, VerbResult};
use crate::memory::MemoryOptions;
use crate::output::{self, Color, ColorChoice, Out};
use crate::progress::{Progress, ReadProgress};
use crate::{report, when};
use clap::Args;
use grep_matcher::Matcher;
use grep_regex::{RegexMatcher, RegexMatcherBuilder};
use logrotor::inspect::Inspection;
use logrotor::reader::{Damage, LogReader, ReaderBuilder, Record};
use serde::Serialize;
use std::borrow::Cow;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

/// Print a log's records, oldest first, across its backups
///
/// Damage is reported on standard error and skipped; the exit status is then 1.
#[derive(Args)]
pub(crate) struct Cat {
    /// Path of the log
    log: PathBuf,
    /// Print records since this time, e.g. 2026-11-20T23:57:01Z, 2026-11-20 or "2h 30min" (ago)
    ///
    /// Skips segments that were finished before this time, and records that begin with an earlier
    /// RFC 3339 time. Lines without a time belong to the record before them.
    #[arg(long, alias = "from", value_name = "TIME", value_parser = when::since)]
    since: Option<SystemTime>,
    /// Print records up to this time, in the same formats
    #[arg(long, value_name = "TIME", value_parser = when::until)]
    until: Option<SystemTime>,
    /// Print the newest record first
    #[arg(long)]
    reverse: bool,
    #[command(flatten)]
    select: RecordOptions,
}

/// Print a log's last records, and follow it across rotations
///
/// Unlike `tail -F`, it never misses or repeats a record, no matter how fast the log rotates.
#[derive(Args)]
pub(crate) struct Tail {
    /// Path of the log
    log: PathBuf,
    /// Number of records; --grep selects among these
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    lines: u64,
    /// Keep printing records as they are written; the log may not exist yet
    #[arg(short = 'F', short_alias = 'f', long)]
    follow: bool,
    #[command(flatten)]
    select: RecordOptions,
}

/// Which records are printed, and how.
#[derive(Args)]
struct RecordOptions {
    /// Print only records that match this regular expression; exits with status 1 if none does
    #[arg(long, value_name = "REGEX")]
    grep: Option<String>,
    /// Match case-insensitively
    #[arg(short, long, requires = "grep")]
    ignore_case: bool,
    /// Print each record as a line of JSON
    #[arg(long)]
    json: bool,
    /// When to highlight matches of --grep; auto is on a terminal, unless NO_COLOR is set
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = ColorChoice::Auto)]
    color: ColorChoice,
    #[command(flatten)]
    memory: MemoryOptions,
}

impl Cat {
    pub(crate) fn run(self) -> VerbResult {
        if self.since.zip(self.until).is_some_and(|(since, until)| since > until) {
            return Err(CommandError::usage("--since is after --until; use an earlier --since"));
        }
        let mut builder = self.select.memory.apply(LogReader::builder(&self.log));
        builder = self.since.into_iter().fold(builder, ReaderBuilder::since);
        builder = self.until.into_iter().fold(builder, ReaderBuilder::until);
        if self.reverse {
            builder = builder.reverse();
        }
        // Records that scroll by would hide a progress bar.
        let is_watched = io::stderr().is_terminal() && !io::stdout().is_terminal() && !self.reverse;
        let read_progress = is_watched.then(|| Inspection::of(&self.log).ok()).flatten();
        let mut print = Printer::new(&self.select, (self.since, self.until))?;
        print.is_reverse = self.reverse;
        print.progress = read_progress.map(|seen| {
            let read_progress = ReadProgress::of(&seen);
            (Progress::new(read_progress.total), read_progress)
        });
        print.all(&mut builder.open()?)
    }
}

impl Tail {
    pub(crate) fn run(self) -> VerbResult {
        let mut builder = self.select.memory.apply(LogReader::builder(&self.log).last(self.lines));
        if self.follow {
            builder = builder.follow();
        }
        let mut print = Printer::new(&self.select, (None, None))?;
        print.is_live = self.follow;
        let mut reader = builder.open()?;
        let is_pipe_closed = Arc::new(AtomicBool::new(false));
        if self.follow {
            let (stopper, closed) = (reader.stopper(), Arc::clone(&is_pipe_closed));
            // The thread ends with the process.
            std::thread::spawn(move || {
                if output::is_pipe_closed() {
                    closed.store(true, Ordering::Relaxed);
                    stopper.stop();
                }
            });
        }
        let ending = print.all(&mut reader);
        if is_pipe_closed.load(Ordering::Relaxed) { Err(CommandError::ClosedPipe) } else { ending }
    }
}

/// A record as JSON. Bytes that are not UTF-8 are replaced.
#[derive(Serialize)]
struct RecordJson<'a> {
    segment: Cow<'a, str>,
    offset: u64,
    record: Cow<'a, str>,
}

/// Prints records.
struct Printer {
    out: Out,
    matcher: Option<RegexMatcher>,
    is_json: bool,
    is_colored: bool,
    since: Option<SystemTime>,
    until: Option<SystemTime>,
    /// Whether the last record with a time was in the range.
    is_within: bool,
    is_reverse: bool,
    /// In reverse order, records without a time. They belong to the next record that has one.
    waiting: Vec<Record>,
    waiting_bytes: usize,
    /// Whether to flush after each record.
    is_live: bool,
    progress: Option<(Progress, ReadProgress)>,
    any: bool,
    any_damage: bool,
}

impl Printer {
    fn new(
        select: &RecordOptions,
        (since, until): (Option<SystemTime>, Option<SystemTime>),
    ) -> Result<Self, CommandError> {
        let matcher = select.grep.as_ref().map(|pattern| {
            let mut builder = RegexMatcherBuilder::new();
            builder.case_insensitive(select.ignore_case).line_terminator(Some(b'\n')).build(pattern)
        });
        let matcher = matcher.transpose().map_err(|error| {
            CommandError::usage(format!(
                "invalid --grep: {error}; escape special characters with `\\`"
            ))
        })?;
        Ok(Self {
            out: output::out(),
            matcher,
            is_json: select.json,
            is_colored: select.color.is_on(),
            since,
            until,
            is_within: true,
            is_reverse: false,
            waiting: Vec::new(),
            waiting_bytes: 0,
            is_live: false,
            progress: None,
            any: false,
            any_damage: false,
        })
    }

    fn all(mut self, reader: &mut LogReader) -> VerbResult {
        let looks_into_records =
            self.matcher.is_some() || self.is_json || self.since.is_some() || self.until.is_some();
        if looks_into_records {
            self.records(reader)?;
        } else {
            self.bytes(reader)?;
        }
        self.out.flush()?;
        let nothing = self.matcher.is_some() && !self.any;
        Ok(if self.any_damage || nothing { Exit::Found } else { Exit::Success })
    }

    /// Prints the log byte for byte. Adds a line break after an unfinished last line of a segment.
    fn bytes(&mut self, reader: &mut LogReader) -> Result<(), CommandError> {
        let (mut segment, mut end, mut is_mid_line) = (PathBuf::new(), 0, false);
        loop {
            match reader.fill_buf() {
                Ok([]) => return Ok(()),
                Ok(_) => {}
                Err(damage) => {
                    self.damaged(damage)?;
                    continue;
                }
            }
            let (there, begin) = reader.position();
            if is_mid_line && (begin != end || there != segment) {
                self.out.write_all(b"\n")?;
            }
            if there != segment {
                there.clone_into(&mut segment);
            }
            // Returns the same bytes as above.
            let bytes = reader.fill_buf().unwrap_or_default();
            self.out.write_all(bytes)?;
            is_mid_line = bytes.last() != Some(&b'\n');
            let len = bytes.len();
            end = begin + len as u64;
            reader.consume(len);
            self.advance(reader)?;
        }
    }

    fn records(&mut self, reader: &mut LogReader) -> Result<(), CommandError> {
        let mut record = Record::new();
        loop {
            match reader.read_record(&mut record) {
                Ok(false) => return self.free_waiting(true),
                Ok(true) if self.since.is_some() || self.until.is_some() => {
                    self.in_range(&mut record)?;
                }
                Ok(true) => self.record(&record)?,
                Err(damage) => self.damaged(damage)?,
            }
            self.advance(reader)?;
        }
    }

    /// Prints a record if its time, or that of the record it belongs to, is in the range.
    fn in_range(&mut self, record: &mut Record) -> Result<(), CommandError> {
        if let Some(time) = when::of_record(record.bytes()) {
            self.is_within = self.since.is_none_or(|since| since <= time)
                && self.until.is_none_or(|until| time <= until);
            self.free_waiting(self.is_within)?;
        } else if self.is_reverse {
            return self.wait(std::mem::take(record));
        }
        if self.is_within { self.record(record) } else { Ok(()) }
    }

    fn wait(&mut self, record: Record) -> Result<(), CommandError> {
        const MOST: usize = 16 << 20;
        self.waiting_bytes += record.bytes().len() + size_of::<Record>();
        self.waiting.push(record);
        // Hardly any record is that long, so this is a log without times.
        if self.waiting_bytes > MOST { self.free_waiting(true) } else { Ok(()) }
    }

    fn free_waiting(&mut self, is_within: bool) -> Result<(), CommandError> {
        self.waiting_bytes = 0;
        for record in std::mem::take(&mut self.waiting) {
            if is_within {
                self.record(&record)?;
            }
        }
        Ok(())
    }

    /// Prints a record if it matches.
    fn record(&mut self, record: &Record) -> Result<(), CommandError> {
        if let Some(matcher) = &self.matcher {
            let is_match = matcher.is_match(record.bytes());
            if !is_match.map_err(|error| CommandError::Failed(error.to_string()))? {
                return Ok(());
            }
        }
        self.any = true;
        if self.is_json {
            let place = RecordJson {
                segment: record.segment().to_string_lossy(),
                offset: record.offset(),
                record: String::from_utf8_lossy(record.bytes()),
            };
            serde_json::to_writer(&mut self.out, &place).map_err(io::Error::from)?;
            self.out.write_all(b"\n")?;
            return Ok(());
        }
        match &self.matcher {
            Some(matcher) if self.is_colored => highlight(&mut self.out, matcher, record.bytes())?,
            _ => self.out.write_all(record.bytes())?,
        }
        Ok(self.out.write_all(b"\n")?)
    }

    fn advance(&mut self, reader: &LogReader) -> Result<(), CommandError> {
        if self.is_live {
            self.out.flush()?;
        }
        if let Some((progress, read_progress)) = &mut self.progress {
            let (segment, offset) = reader.position();
            let (done, name) = read_progress.done(segment, offset);
            progress.at(done, &name);
        }
        Ok(())
    }

    /// Reports damage, after the records that were read before it.
    fn damaged(&mut self, damage: impl Into<io::Error>) -> Result<(), CommandError> {
        self.out.flush()?;
        self.any_damage = true;
        let error = damage.into();
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Damage>()) {
            Some(damage) => report::say(damage),
            None => return Err(CommandError::Failed(error.to_string())),
        }
        Ok(())
    }
}

/// Writes a record with its matches in color.
fn highlight(out: &mut Out, matcher: &RegexMatcher, record: &[u8]) -> Result<(), CommandError> {
    let mut spans = Vec::new();
    let found = matcher.find_iter(record, |span| {
        spans.push(span);
        true
    });
    found.map_err(|error| CommandError::Failed(error.to_string()))?;
    let mut done = 0;
    for span in spans.into_iter().filter(|span| !span.is_empty()) {
        out.write_all(&record[done..span.start()])?;
        let [before, after] = Color::Red.around();
        out.write_all(before.as_bytes())?;
        out.write_all(&record[span])?;
        out.write_all(after.as_bytes())?;
        done = span.end();
    }
    Ok(out.write_all(&record[done..])?)
}
