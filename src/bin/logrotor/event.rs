//! Events: records of one or more lines.

use crate::stamp::{self, Stamp, StampFinder, TimeOptions};
use logrotor::reader::{DamageKind, ReaderBuilder, Record};
use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// Which lines belong together.
///
/// In a log whose lines begin with times, a line without one belongs to the line with one before
/// it. In others, such as JSON, these do: blank lines, indented lines, lines that begin with a
/// closing bracket, and the causes of an error. A level that is padded, as in ` INFO listening`, is
/// no indentation, and an indented line that is a JSON object of its own is an event.
#[derive(Debug)]
pub(crate) struct Grouping {
    finder: StampFinder,
    is_timed: bool,
}

impl Grouping {
    /// Looks at the last lines of a log to learn whether they begin with times. The last event may
    /// have thousands of lines without one. Of many small segments, the newest are opened: `most`
    /// of them, and the next one.
    pub(crate) fn of(log: ReaderBuilder, options: &TimeOptions, most: usize) -> Self {
        const LINES: usize = 10_000;
        let mut grouping = Self { finder: StampFinder::new(options), is_timed: false };
        // A log that cannot be read is reported when it is read for its records.
        if let Ok(mut reader) = log.reverse().open() {
            let (mut segments, mut segment) = (0, PathBuf::new());
            let is_near = |line: &Record| {
                if segment != line.segment() {
                    line.segment().clone_into(&mut segment);
                    segments += 1;
                }
                segments <= most
            };
            let lines = reader.records().filter_map(Result::ok).take_while(is_near);
            grouping.is_timed = grouping.are_timed(lines.take(LINES));
        }
        grouping
    }

    /// Whether lines begin with times. A time after other words, as in an access log, may also be
    /// in a text that mentions one, so at least half of the lines must have one then.
    fn are_timed(&self, lines: impl Iterator<Item = Record>) -> bool {
        let (mut timed, mut others) = (0, 0);
        for line in lines {
            match line.bytes() {
                line if self.is_timed_text(line) => return true,
                line if self.begins_with_time(line) => timed += 1,
                line => others += u32::from(!continues(line)),
            }
        }
        timed > 0 && timed >= others
    }

    /// Learns from a line of a log that may have had none before.
    pub(crate) fn learn(&mut self, line: &[u8]) {
        self.is_timed = self.is_timed || self.is_timed_text(line);
    }

    /// Whether a line begins with a time at once, but for a level and the like.
    fn is_timed_text(&self, line: &[u8]) -> bool {
        self.begins_with_time(line) && self.finder.begins_at_once(line)
    }

    fn begins_with_time(&self, line: &[u8]) -> bool {
        !is_json(line) && self.finder.begins(line)
    }

    /// Whether a line begins an event.
    pub(crate) fn begins(&self, line: &[u8]) -> bool {
        if self.is_timed { self.finder.begins(line) } else { !continues(line) }
    }

    /// Where times are looked for, for the message that none was found.
    pub(crate) fn places(&self) -> String {
        self.finder.places()
    }

    /// The time of an event.
    pub(crate) fn stamp(&self, event: &LineGroup) -> Option<Stamp> {
        self.finder.find(&event.bytes())
    }

    /// How many lines the last `events` events of a log have.
    pub(crate) fn lines_of_last(&self, log: ReaderBuilder, events: u64) -> logrotor::Result<u64> {
        let mut reader = log.reverse().open()?;
        let path = reader.position().0.to_owned();
        let is_log = |segment: &Path| segment == path;
        let (mut lines, mut found, mut line) = (0, 0, Record::new());
        let mut is_cut = false;
        while found < events {
            match reader.read_record(&mut line) {
                Ok(true) => {
                    is_cut = false;
                    lines += 1;
                    found += u64::from(self.begins(line.bytes()));
                }
                Ok(false) => break,
                // Reported when it is read for its records. A failure to find the segment before
                // has the name of the log, and is the last.
                Err(damage) => {
                    is_cut = damage.kind() == DamageKind::Unreadable && is_log(damage.segment());
                }
            }
        }
        // With fewer events than that, all of the log is asked for, and its damage is reported.
        let is_all = found < events && (lines == 0 || !is_cut);
        Ok(if is_all { u64::MAX } else { lines.max(events) })
    }
}

fn is_json(line: &[u8]) -> bool {
    line.trim_ascii_start().starts_with(b"{")
}

/// Whether a line belongs to the one before it, in a log without times.
fn continues(line: &[u8]) -> bool {
    const CAUSES: [&[u8]; 3] = [b"Caused by:", b"Stack backtrace:", b"stack backtrace:"];
    match line.first() {
        None => true,
        Some(first) if first.is_ascii_whitespace() && stamp::is_json_object(line) => false,
        Some(b' ') => !stamp::begins_with_padded_level(line),
        Some(first) => {
            b"\t\r}])".contains(first) || CAUSES.iter().any(|cause| line.starts_with(cause))
        }
    }
}

/// The lines of one event, in the order in which they were written.
#[derive(Debug, Default)]
pub(crate) struct LineGroup {
    lines: Vec<Record>,
    len: usize,
    /// Records whose memory is used again.
    spare: Vec<Record>,
}

impl LineGroup {
    pub(crate) fn lines(&self) -> &[Record] {
        &self.lines
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Whether it has become so large that it is not one event. Memory stays bounded.
    pub(crate) fn is_full(&self) -> bool {
        const MAX_LEN: usize = 16 << 20;
        self.len > MAX_LEN
    }

    /// The memory that it takes, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.len
    }

    /// Takes a line, and leaves an empty record in its place.
    pub(crate) fn push(&mut self, line: &mut Record) {
        self.len += line.bytes().len() + size_of::<Record>();
        self.lines.push(std::mem::replace(line, self.spare.pop().unwrap_or_default()));
    }

    /// Turns around the lines of an event that was read backwards.
    pub(crate) fn reverse(&mut self) {
        self.lines.reverse();
    }

    pub(crate) fn clear(&mut self) {
        const MAX_SPARE: usize = 16;
        self.len = 0;
        self.spare.append(&mut self.lines);
        self.spare.truncate(MAX_SPARE);
    }

    /// The lines with line breaks between them.
    pub(crate) fn bytes(&self) -> Cow<'_, [u8]> {
        match &self.lines[..] {
            [line] => line.bytes().into(),
            lines => {
                let lines: Vec<_> = lines.iter().map(Record::bytes).collect();
                lines.join(&b"\n"[..]).into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn starts(grouping: &Grouping, lines: &[&str]) -> Vec<bool> {
        lines.iter().map(|line| grouping.begins(line.as_bytes())).collect()
    }

    #[test]
    fn line_without_time_belongs_to_line_with_time() {
        let mut grouping = Grouping { finder: StampFinder::default(), is_timed: false };
        grouping.learn(b"2026-11-20T23:57:01Z ERROR failed:");
        let lines = ["2026-11-20T23:57:01Z ERROR failed:", "not indented", "  indented", "", "}"];
        assert_eq!(starts(&grouping, &lines), [true, false, false, false, false]);
    }

    #[test]
    fn without_times_indentation_and_brackets_decide() {
        let mut grouping = Grouping { finder: StampFinder::default(), is_timed: false };
        grouping.learn(br#"{"time":"2026-11-20T23:57:01Z"}"#);
        let lines = ["{", r#"  "a": 1"#, "}", "ERROR failed", "", "Caused by:", "\t0: x", "next"];
        let expected = [true, false, false, true, false, false, false, true];
        assert_eq!(starts(&grouping, &lines), expected);
    }

    #[test]
    fn indented_line_that_is_a_json_object_is_an_event() {
        let grouping = Grouping { finder: StampFinder::default(), is_timed: false };
        let lines = [r#" {"msg":"one"}"#, "\t{\"msg\":\"two\"}\r", r#"  {"n": {"m": 1}} "#];
        assert_eq!(starts(&grouping, &lines), [true; 3]);
        // Of a pretty-printed object, whose last element may be an empty one.
        let lines = ["  {", r#"  {"a": 1},"#, "  {}", "  },", r#"  "b": {"c": 1}"#];
        assert_eq!(starts(&grouping, &lines), [false; 5]);
    }

    #[test]
    fn padded_level_is_no_indentation() {
        let grouping = Grouping { finder: StampFinder::default(), is_timed: false };
        let lines = [" INFO app: x", "   WARN app: x", "  \x1b[32m INFO\x1b[0m app: x"];
        assert_eq!(starts(&grouping, &lines), [true; 3]);
        let lines = ["    INFO far from the start", " INFORMAL", "  at src/main.rs:1", " error: x"];
        assert_eq!(starts(&grouping, &lines), [false; 4]);
    }
}
