//! Prints the records of a log that are asked for.

use crate::event::{Grouping, LineGroup};
use crate::exit::{CommandError, Exit, VerbResult};
use crate::memory::MemoryOptions;
use crate::output::{self, Color, ColorChoice, Out};
use crate::progress::{Progress, ReadProgress};
use crate::remote::OriginOptions;
use crate::report;
use clap::Args;
use grep_matcher::Matcher;
use grep_regex::{RegexMatcher, RegexMatcherBuilder};
use logrotor::reader::{Damage, LogReader, ReaderBuilder, Record};
use serde::Serialize;
use std::borrow::Cow;
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, SystemTime};

/// Which records are printed, and how.
#[derive(Args)]
pub(crate) struct RecordOptions {
    /// Print only records that match this regular expression; exits with status 1 if none does
    ///
    /// A record of several lines is printed whole if one of its lines matches.
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
    pub(crate) origin: OriginOptions,
    #[command(flatten)]
    pub(crate) memory: MemoryOptions,
}

impl RecordOptions {
    /// Begins to read a log.
    pub(crate) fn builder(&self, log: &Path) -> ReaderBuilder {
        self.memory.apply(self.origin.apply(LogReader::builder(log)))
    }
}

/// A record as JSON. Bytes that are not UTF-8 are replaced.
#[derive(Serialize)]
struct RecordJson<'a> {
    segment: Cow<'a, str>,
    offset: u64,
    record: Cow<'a, str>,
}

/// The order and the moment in which records come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Forward,
    Reverse,
    /// As they are written: each line is printed at once.
    Live,
}

/// Prints records.
pub(crate) struct Printer {
    out: Out,
    matcher: Option<RegexMatcher>,
    is_json: bool,
    is_colored: bool,
    grouping: Grouping,
    /// Whether each line is a record.
    by_line: bool,
    /// Whether to skip the rest of a record at the beginning.
    skips_rest: bool,
    mode: Mode,
    since: Option<SystemTime>,
    until: Option<SystemTime>,
    /// Whether the last event with a time was in the range.
    is_within: bool,
    /// In reverse order, events without a time, which is that of the next one with a time.
    waiting: Vec<LineGroup>,
    waiting_bytes: usize,
    /// How many events had no time, and whether any had one.
    timeless: u64,
    any_time: bool,
    progress: Option<(Progress, ReadProgress)>,
    any: bool,
    any_damage: bool,
}

impl Printer {
    pub(crate) fn new(
        select: &RecordOptions,
        grouping: Grouping,
        mode: Mode,
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
            grouping,
            by_line: false,
            skips_rest: false,
            mode,
            since: None,
            until: None,
            is_within: true,
            waiting: Vec::new(),
            waiting_bytes: 0,
            timeless: 0,
            any_time: false,
            progress: None,
            any: false,
            any_damage: false,
        })
    }

    /// Takes each line for a record.
    pub(crate) fn by_line(self, by_line: bool) -> Self {
        Self { by_line, ..self }
    }

    /// Prints only records within this range of time.
    pub(crate) fn within(self, since: Option<SystemTime>, until: Option<SystemTime>) -> Self {
        Self { since, until, ..self }
    }

    /// Skips the rest of a record that begins before what is read.
    pub(crate) fn starting_at_whole_record(self) -> Self {
        Self { skips_rest: !self.by_line, ..self }
    }

    pub(crate) fn with_progress(self, progress: Option<(Progress, ReadProgress)>) -> Self {
        Self { progress, ..self }
    }

    pub(crate) fn all(mut self, reader: &mut LogReader) -> VerbResult {
        let has_range = self.since.is_some() || self.until.is_some();
        if self.skips_rest {
            self.skip_rest(reader)?;
        }
        let turns_events = self.mode == Mode::Reverse && !self.by_line;
        if self.mode == Mode::Live && self.is_json && !self.by_line {
            self.live_events(reader)?;
        } else if self.mode == Mode::Live && (self.matcher.is_some() || self.is_json) {
            self.live(reader)?;
        } else if self.matcher.is_some() || self.is_json || has_range || turns_events {
            self.events(reader)?;
        } else {
            self.bytes(reader)?;
        }
        self.out.flush()?;
        if has_range && self.timeless > 0 && !self.any_time {
            report::say(format!(
                "no time was found in {} records, so --since and --until skipped whole segments only; looked for \
                 {}; use --time-format or --time-field",
                self.timeless,
                self.grouping.places()
            ));
        }
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

    /// Skips lines that belong to a record before them. The log may have grown since its records
    /// were counted.
    fn skip_rest(&mut self, reader: &mut LogReader) -> Result<(), CommandError> {
        loop {
            let rest = match reader.fill_buf() {
                Ok(ready) => match ready.iter().position(|&byte| byte == b'\n') {
                    Some(end) if !self.grouping.begins(&ready[..end]) => end + 1,
                    _ => return Ok(()),
                },
                Err(damage) => {
                    self.damaged(damage)?;
                    continue;
                }
            };
            reader.consume(rest);
        }
    }

    /// Prints the events that are asked for, each when it is complete.
    fn events(&mut self, reader: &mut LogReader) -> Result<(), CommandError> {
        let (mut line, mut event) = (Record::new(), LineGroup::default());
        loop {
            match reader.read_record(&mut line) {
                Ok(false) => break,
                Ok(true) => {
                    let begins = self.grouping.begins(line.bytes());
                    let is_forward = self.mode != Mode::Reverse;
                    if is_forward && (begins || event.is_full()) {
                        self.event(&mut event)?;
                    }
                    event.push(&mut line);
                    if !is_forward && (begins || event.is_full()) {
                        self.event(&mut event)?;
                    }
                }
                Err(damage) => self.damaged(damage)?,
            }
            self.advance(reader)?;
        }
        self.event(&mut event)?;
        self.print_waiting(true)
    }

    /// Prints an event if its time is in the range, and empties it.
    fn event(&mut self, event: &mut LineGroup) -> Result<(), CommandError> {
        if event.is_empty() {
            return Ok(());
        }
        if self.mode == Mode::Reverse {
            event.reverse();
        }
        if self.since.is_some() || self.until.is_some() {
            match self.grouping.stamp(event) {
                Some(stamp) => {
                    self.any_time = true;
                    self.is_within = stamp.is_within(self.since, self.until);
                    self.print_waiting(self.is_within)?;
                }
                None => {
                    self.timeless += 1;
                    if self.mode == Mode::Reverse {
                        return self.wait(std::mem::take(event));
                    }
                }
            }
        }
        if self.is_within {
            self.matching(event)?;
        }
        event.clear();
        Ok(())
    }

    /// Keeps an event without a time until one with a time is read.
    fn wait(&mut self, event: LineGroup) -> Result<(), CommandError> {
        const MOST: usize = 10_000;
        const MOST_BYTES: usize = 32 << 20;
        self.waiting_bytes += event.size();
        self.waiting.push(event);
        // So many are no continuation of an event: it is a log without times.
        let is_full = self.waiting.len() > MOST || self.waiting_bytes > MOST_BYTES;
        if is_full { self.print_waiting(true) } else { Ok(()) }
    }

    fn print_waiting(&mut self, is_within: bool) -> Result<(), CommandError> {
        self.waiting_bytes = 0;
        for event in std::mem::take(&mut self.waiting) {
            if is_within {
                self.matching(&event)?;
            }
        }
        Ok(())
    }

    /// Prints an event if it matches; by lines, those of its lines that match.
    fn matching(&mut self, event: &LineGroup) -> Result<(), CommandError> {
        if self.by_line {
            let lines = event.lines();
            let (forward, reverse) = match self.mode {
                Mode::Reverse => (&lines[..0], lines),
                Mode::Forward | Mode::Live => (lines, &lines[..0]),
            };
            for line in forward.iter().chain(reverse.iter().rev()) {
                if self.is_match(line)? {
                    self.print(std::slice::from_ref(line), line.bytes())?;
                }
            }
            return Ok(());
        }
        for line in event.lines() {
            if self.is_match(line)? {
                return self.print(event.lines(), &event.bytes());
            }
        }
        Ok(())
    }

    /// Prints lines as they are written. A line of an event that has matched is printed at once,
    /// and one that matches brings those before it.
    fn live(&mut self, reader: &mut LogReader) -> Result<(), CommandError> {
        let (mut line, mut event, mut has_matched) = (Record::new(), LineGroup::default(), false);
        loop {
            match reader.read_record(&mut line) {
                Ok(false) => return Ok(()),
                Ok(true) => {
                    self.grouping.learn(line.bytes());
                    if self.by_line || event.is_full() || self.grouping.begins(line.bytes()) {
                        event.clear();
                        has_matched = false;
                    }
                    has_matched = has_matched || self.is_match(&line)?;
                    event.push(&mut line);
                    if has_matched {
                        self.print(event.lines(), &event.bytes())?;
                        event.clear();
                    }
                }
                Err(damage) => self.damaged(damage)?,
            }
            self.advance(reader)?;
        }
    }

    /// Prints events as objects of JSON while they are written.
    fn live_events(&mut self, reader: &mut LogReader) -> Result<(), CommandError> {
        let stopper = reader.stopper();
        let (sender, lines) = sync_channel(64);
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("logrotor-tail".to_owned());
            let started = thread.spawn_scoped(scope, move || read_lines(reader, &sender));
            started.map_err(|error| {
                CommandError::Failed(format!("failed to start a thread: {error}"))
            })?;
            let printed = self.live_lines(&lines);
            // The thread waits for a line, or for room for one.
            drop(lines);
            stopper.stop();
            printed
        })
    }

    /// Prints an event when the next one begins, or when no line of it has come for a moment.
    fn live_lines(&mut self, lines: &Receiver<io::Result<Record>>) -> Result<(), CommandError> {
        const MOMENT: Duration = Duration::from_millis(500);
        let mut event = LineGroup::default();
        loop {
            self.out.flush()?;
            let next = match event.is_empty() {
                true => lines.recv().map_err(|_| RecvTimeoutError::Disconnected),
                false => lines.recv_timeout(MOMENT),
            };
            match next {
                Ok(Ok(mut line)) => {
                    self.grouping.learn(line.bytes());
                    if event.is_full() || self.grouping.begins(line.bytes()) {
                        self.event(&mut event)?;
                    }
                    event.push(&mut line);
                }
                Ok(Err(damage)) => self.damaged(damage)?,
                Err(RecvTimeoutError::Timeout) => self.event(&mut event)?,
                Err(RecvTimeoutError::Disconnected) => {
                    self.event(&mut event)?;
                    return Ok(self.out.flush()?);
                }
            }
        }
    }

    fn is_match(&self, line: &Record) -> Result<bool, CommandError> {
        let Some(matcher) = &self.matcher else { return Ok(true) };
        matcher.is_match(line.bytes()).map_err(|error| CommandError::Failed(error.to_string()))
    }

    /// Prints one record, which has these lines; `bytes` are all of them.
    fn print(&mut self, lines: &[Record], bytes: &[u8]) -> Result<(), CommandError> {
        self.any = true;
        if self.is_json {
            let first = &lines[0];
            let place = RecordJson {
                segment: first.segment().to_string_lossy(),
                offset: first.offset(),
                record: String::from_utf8_lossy(bytes),
            };
            serde_json::to_writer(&mut self.out, &place).map_err(io::Error::from)?;
            self.out.write_all(b"\n")?;
            return Ok(());
        }
        for line in lines {
            match &self.matcher {
                Some(matcher) if self.is_colored => {
                    highlight(&mut self.out, matcher, line.bytes())?;
                }
                _ => self.out.write_all(line.bytes())?,
            }
            self.out.write_all(b"\n")?;
        }
        Ok(())
    }

    fn advance(&mut self, reader: &LogReader) -> Result<(), CommandError> {
        if self.mode == Mode::Live {
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

/// Passes on the lines of a log until its end, or until they are not received.
fn read_lines(reader: &mut LogReader, sender: &SyncSender<io::Result<Record>>) {
    loop {
        let mut line = Record::new();
        let read = match reader.read_record(&mut line) {
            Ok(false) => return,
            Ok(true) => Ok(line),
            Err(damage) => Err(damage.into()),
        };
        if sender.send(read).is_err() {
            return;
        }
    }
}

/// Writes a line with its matches in color.
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
