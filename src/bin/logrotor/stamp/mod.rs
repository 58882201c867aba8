//! Times in records, in the formats that loggers write.

mod scan;

use scan::known;

use crate::local_zone::LocalZone;
use crate::output::utc;
use crate::when;
use chrono::format::{Item, Parsed, StrftimeItems, parse_and_remainder};
use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, TimeZone, Utc};
use clap::Args;
use serde_json::Value;
use std::time::{Duration, SystemTime};

/// How the times of records are found.
#[derive(Args, Debug, Clone, Default)]
pub(crate) struct TimeOptions {
    /// Format of the times in records, in the notation of strftime, e.g. "%d.%m.%Y %H:%M:%S"
    ///
    /// By default these are recognized: RFC 3339, "2026-11-20 23:57:01.123" (also with slashes or a
    /// comma), Unix time in seconds to nanoseconds, syslog, Apache, nginx and glog, in the first 64
    /// bytes after colors; and the fields of `--time-field` in JSON and logfmt. Times without a
    /// zone are local.
    #[arg(long, value_name = "FORMAT", value_parser = checked_format)]
    time_format: Option<String>,
    /// Field of JSON or logfmt records that has the time, e.g. "event.at" [default: timestamp, ts,
    /// time, @timestamp]
    ///
    /// A dot leads into an object. The default fields are also found one level deep.
    #[arg(long, value_name = "FIELD")]
    time_field: Option<String>,
}

/// The fields of [`FIELDS`], for messages.
const FIELD_NAMES: &str =
    "the fields `timestamp`, `ts`, `time` and `@timestamp` of JSON and logfmt";
const FIELDS: [&str; 4] = ["timestamp", "ts", "time", "@timestamp"];

fn checked_format(format: &str) -> Result<String, String> {
    match StrftimeItems::new(format).parse() {
        Ok(_) => Ok(format.to_owned()),
        Err(_) => Err("use strftime's notation, such as \"%Y-%m-%d %H:%M:%S\"".to_owned()),
    }
}

/// The time of a record: the span that its digits stand for. A time in whole seconds is that
/// second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    first: SystemTime,
    last: SystemTime,
}

impl Stamp {
    /// Whether any of it is within the range, whose ends belong to it.
    pub(crate) fn is_within(self, since: Option<SystemTime>, until: Option<SystemTime>) -> bool {
        since.is_none_or(|since| since <= self.last)
            && until.is_none_or(|until| self.first <= until)
    }

    /// `unit` is what the last digit counts, in nanoseconds.
    fn new(first: SystemTime, last: SystemTime, unit: u64) -> Option<Self> {
        let last = last.checked_add(Duration::from_nanos(unit.saturating_sub(1)))?;
        Some(Self { first, last })
    }

    fn at<Z: TimeZone>(time: &DateTime<Z>, unit: u64) -> Option<Self> {
        let time = when::system_time(time)?;
        Self::new(time, time, unit)
    }

    /// A time of the local calendar. Where the clock shows it twice, it is both.
    fn local(reading: NaiveDateTime, unit: u64) -> Option<Self> {
        let first = when::of_reading(reading, Iterator::min)?;
        Self::new(first, when::of_reading(reading, Iterator::max)?, unit)
    }
}

/// Finds the times of records.
#[derive(Debug, Default)]
pub(crate) struct StampFinder {
    options: TimeOptions,
    format: Option<Vec<Item<'static>>>,
}

/// Where in a line a time must begin.
const HEAD: usize = 64;
/// How much of a line is looked at for it.
const LOOK: usize = 512;

impl TimeOptions {
    fn places(&self) -> String {
        let format = match &self.time_format {
            Some(format) => format!("`{format}`"),
            None => {
                "RFC 3339, `2026-11-20 23:57:01.123`, Unix time, syslog, Apache, nginx and glog"
                    .to_owned()
            }
        };
        match &self.time_field {
            Some(field) => format!("{format} in the field `{field}`"),
            None => format!("{format} in the first 64 bytes, and {FIELD_NAMES}"),
        }
    }
}

impl StampFinder {
    pub(crate) fn new(options: &TimeOptions) -> Self {
        let items = |format: &String| StrftimeItems::new(format).parse_to_owned().ok();
        Self { options: options.clone(), format: options.time_format.as_ref().and_then(items) }
    }

    /// Where times are looked for, for the message that none was found.
    pub(crate) fn places(&self) -> String {
        self.options.places()
    }

    /// The time of a record, which may have several lines.
    pub(crate) fn find(&self, record: &[u8]) -> Option<Stamp> {
        if let Some(value) = json(record) {
            return self.in_json(&value);
        }
        let line = record.split(|&byte| byte == b'\n').next()?;
        self.in_line(&without_colors(line))
    }

    /// Whether a line begins with a time: in its head, or at once if the line is indented. A padded
    /// level is no indentation.
    pub(crate) fn begins(&self, line: &[u8]) -> bool {
        if let Some(value) = json(line) {
            return self.in_json(&value).is_some();
        }
        let text = without_colors(line);
        let trimmed = text.trim_start();
        if trimmed.len() == text.len() || is_padded_level(&text) {
            return self.in_line(&text).is_some();
        }
        self.at(trimmed.trim_start_matches('[')).is_some()
    }

    /// Whether a line begins with a time, but for its level and text in brackets.
    pub(crate) fn begins_at_once(&self, line: &[u8]) -> bool {
        let text = without_colors(line);
        let mut rest = text.trim_start();
        loop {
            if self.at(rest).is_some() || self.at(rest.trim_start_matches(['[', '<'])).is_some() {
                return true;
            }
            let skipped = match rest.strip_prefix(['[', '<']) {
                Some(group) => group.find([']', '>']).map(|end| &group[end + 1..]),
                None => LEVELS.iter().find_map(|level| rest.strip_prefix(level)),
            };
            match skipped {
                Some(skipped) => rest = skipped.trim_start(),
                None => return false,
            }
        }
    }

    fn in_json(&self, record: &Value) -> Option<Stamp> {
        if let Some(field) = &self.options.time_field {
            let at = |value: &'_ Value| self.value(value);
            let path = field.split('.').try_fold(record, |value, name| value.get(name));
            return record.get(field).or(path).and_then(at);
        }
        let fields = |object: &Value| FIELDS.iter().find_map(|name| self.value(object.get(name)?));
        fields(record).or_else(|| record.as_object()?.values().find_map(fields))
    }

    /// The time that the value of a field is.
    fn value(&self, value: &Value) -> Option<Stamp> {
        match value {
            Value::String(text) => self.at(text.trim()),
            Value::Number(number) => self.at(&number.to_string()),
            _ => None,
        }
    }

    fn in_line(&self, line: &str) -> Option<Stamp> {
        if let Some(field) = &self.options.time_field {
            return self.at(logfmt(line, field)?);
        }
        let in_fields = || FIELDS.iter().find_map(|field| self.at(logfmt(line, field)?));
        if is_logfmt(line) {
            // A time in its head may be in the text of another field.
            return in_fields().or_else(|| self.in_head(line));
        }
        self.in_head(line).or_else(in_fields)
    }

    /// The first time in the first bytes of a line.
    fn in_head(&self, line: &str) -> Option<Stamp> {
        let starts = line.char_indices().scan(' ', |before, (at, char)| {
            let before = std::mem::replace(before, char);
            Some((at, char, before))
        });
        starts
            .take_while(|(at, ..)| *at < HEAD)
            // The user's format may begin with a bracket.
            .filter(|(_, char, before)| !char.is_alphanumeric() || !before.is_alphanumeric())
            .find_map(|(at, _, before)| match &self.format {
                Some(_) => self.at(&line[at..]),
                // Numbers are times only where a line begins.
                None => known(&line[at..], at == 0 || (at == 1 && before == '[')),
            })
    }

    /// The time that a text begins with.
    fn at(&self, text: &str) -> Option<Stamp> {
        match &self.format {
            Some(items) => by_format(text, items),
            None => known(text, true),
        }
    }
}

/// The object of JSON that a record is, or that its first lines are.
fn json(record: &[u8]) -> Option<Value> {
    if !record.trim_ascii_start().starts_with(b"{") {
        return None;
    }
    let mut values = serde_json::Deserializer::from_slice(record).into_iter();
    let value = values.next()?.ok()?;
    let rest = &record[values.byte_offset()..];
    matches!(rest.first(), None | Some(b'\n' | b'\r')).then_some(value)
}

/// Whether a line is a JSON object that is not empty.
pub(crate) fn is_json_object(line: &[u8]) -> bool {
    json(line.trim_ascii_end())
        .is_some_and(|value| value.as_object().is_some_and(|it| !it.is_empty()))
}

/// The beginning of a line as text, without the sequences that color it on a terminal.
fn without_colors(line: &[u8]) -> String {
    let mut text = String::new();
    let line = String::from_utf8_lossy(&line[..line.len().min(2 * LOOK)]);
    let mut chars = line.chars();
    while let Some(char) = chars.next() {
        if char == '\x1b' {
            // `ESC [ 1 ; 31 m`: the last byte is a letter.
            chars.by_ref().skip(1).find(|char| ('@'..='~').contains(char));
        } else {
            text.push(char);
        }
    }
    text
}

const LEVELS: [&str; 8] = ["ERROR", "WARNING", "WARN", "INFO", "DEBUG", "TRACE", "NOTICE", "FATAL"];

/// Whether a line that may be indented begins with its level: `{:>5}` writes ` INFO`.
pub(crate) fn begins_with_padded_level(line: &[u8]) -> bool {
    is_padded_level(&without_colors(line))
}

fn is_padded_level(text: &str) -> bool {
    // Tracing's pretty format has two more than the padding.
    const MAX_PADDING: usize = 3;
    let trimmed = text.trim_start_matches(' ');
    let is_end = |rest: &str| !rest.starts_with(char::is_alphanumeric);
    text.len() - trimmed.len() <= MAX_PADDING
        && LEVELS.iter().any(|level| trimmed.strip_prefix(level).is_some_and(is_end))
}

/// Whether a line begins with `key=`.
fn is_logfmt(line: &str) -> bool {
    let is_key = |char: char| char.is_alphanumeric() || "_-.@".contains(char);
    line.trim_start_matches(is_key).starts_with('=')
}

/// The value of a field in `key=value key="value"`.
fn logfmt<'a>(line: &'a str, field: &str) -> Option<&'a str> {
    let (mut before, mut is_quoted) = (' ', false);
    let value = line.char_indices().find_map(|(at, char)| {
        let is_start = !is_quoted && matches!(before, ' ' | '\t' | '[' | '{');
        is_quoted = match char {
            '"' if is_quoted => before == '\\',
            '"' => before == '=',
            _ => is_quoted,
        };
        before = char;
        is_start.then(|| line[at..].strip_prefix(field)?.strip_prefix('='))?
    })?;
    match value.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next(),
        None => value.split([' ', '\t']).next(),
    }
}

/// The latest such day that is not after tomorrow.
fn date_without_year(month: u32, day: u32) -> Option<NaiveDate> {
    const LEAP_YEARS: i32 = 8;
    // Not `Local::now`, which panics if the clock is before 1970.
    let now = LocalZone.from_utc_datetime(&utc(SystemTime::now())?.naive_utc());
    let tomorrow = now.date_naive().succ_opt()?;
    let year = tomorrow.year();
    (year - LEAP_YEARS..=year)
        .rev()
        .filter_map(|year| NaiveDate::from_ymd_opt(year, month, day))
        .find(|date| *date <= tomorrow)
}

/// Returns the unit of the last digit of a fraction, in nanoseconds. Without a fraction, it is a
/// second.
fn last_digit(nanos: u32) -> u64 {
    const UNITS: [u32; 4] = [1_000_000_000, 1_000_000, 1_000, 1];
    UNITS.into_iter().find(|unit| nanos % unit == 0).unwrap_or(1).into()
}

/// The time at the beginning of a text in the format that the user gives.
fn by_format(text: &str, items: &[Item<'_>]) -> Option<Stamp> {
    let mut parsed = Parsed::new();
    parse_and_remainder(&mut parsed, text, items.iter()).ok()?;
    let unit = match (parsed.nanosecond(), parsed.second(), parsed.hour_mod_12()) {
        (Some(nanos), ..) => last_digit(nanos),
        (None, Some(_), _) => 1_000_000_000,
        (None, None, Some(_)) => 60 * 1_000_000_000,
        (None, None, None) => 24 * 3600 * 1_000_000_000,
    };
    if let Some(seconds) = parsed.timestamp() {
        let time = DateTime::<Utc>::from_timestamp(seconds, parsed.nanosecond().unwrap_or(0))?;
        return Stamp::at(&time, unit.min(1_000_000_000));
    }
    if parsed.year().is_none() && parsed.year_mod_100().is_none() {
        let date = date_without_year(parsed.month()?, parsed.day()?)?;
        parsed.set_year(date.year().into()).ok()?;
    }
    if parsed.offset().is_some() {
        return Stamp::at(&parsed.to_datetime().ok()?, unit);
    }
    let reading = parsed.to_naive_datetime_with_offset(0).ok();
    let midnight = || parsed.to_naive_date().ok()?.and_hms_opt(0, 0, 0);
    Stamp::local(reading.or_else(midnight)?, unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;

    /// 2025-11-20T23:57:01Z.
    const SECOND: u64 = 1_763_683_021;

    fn nanos(finder: &StampFinder, record: &str) -> Option<u128> {
        let stamp = finder.find(record.as_bytes())?;
        Some(stamp.first.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos())
    }

    #[track_caller]
    fn assert_found(record: &str, millis: u64) {
        let expected = u128::from(SECOND) * 1_000_000_000 + u128::from(millis) * 1_000_000;
        assert_eq!(nanos(&StampFinder::default(), record), Some(expected), "{record}");
    }

    /// The same, written in the local zone by the same calendar that reads it.
    fn local(format: &str) -> String {
        let time =
            DateTime::<Utc>::from_timestamp(i64::try_from(SECOND).unwrap(), 123_000_000).unwrap();
        time.with_timezone(&LocalZone).format(format).to_string()
    }

    #[test]
    fn times_of_loggers_are_found() {
        for record in [
            // tracing-subscriber: full, with colors, pretty, JSON; logfmt; bunyan, stackdriver
            "2025-11-20T23:57:01.123000Z  INFO app: listening",
            "\x1b[2m2025-11-20T23:57:01.123000Z\x1b[0m \x1b[32m INFO\x1b[0m \x1b[2mapp\x1b[0m: listening",
            "  \x1b[2m2025-11-20T23:57:01.123000Z\x1b[0m \x1b[32m INFO\x1b[0m app: listening\n    at src/main.rs:1\n",
            r#"{"timestamp":"2025-11-20T23:57:01.123000Z","level":"INFO","fields":{"message":"listening"}}"#,
            "ts=2025-11-20T23:57:01.123Z level=info target=app msg=listening",
            r#"level=info msg="since 2020-01-01T00:00:00Z ts=1 \" ts=1577836800 " ts=2025-11-20T23:57:01.123Z"#,
            r#"level=info target=app message="a text of which the length is more than a line" ts="2025-11-20T23:57:01.123Z""#,
            r#"{"v":0,"name":"app","msg":"[INFO]","level":30,"time":"2025-11-20T23:57:01.123Z","pid":1}"#,
            // env_logger, pretty_env_logger, fern, fast_log, flexi_logger, log4rs
            "[2025-11-20T23:57:01.123Z INFO  app] listening",
            " 2025-11-20T23:57:01.123Z INFO  app > listening",
            "[2025-11-21 00:57:01.123000 +01:00] INFO [src/main.rs:1] listening",
            "2025-11-21 00:57:01.123+01 0ms INFO main [src/main.rs:1] listening",
            "[INFO app] 2025-11-20T23:57:01.123Z listening",
            r#"{"time":"2025-11-20T23:57:01.123+00:00","message":"listening","level":"INFO"}"#,
            // slog-json, structured-logger
            r#"{"msg":"listening","level":"INFO","ts":"2025-11-20T23:57:01.123Z"}"#,
            r#"{"level":"INFO","message":"listening","timestamp":1763683021123}"#,
            // nested one level, as of Elastic; pretty-printed
            r#"{"log":{"level":"info"},"meta":{"@timestamp":"2025-11-20T23:57:01.123Z"}}"#,
            "{\n  \"time\": \"2025-11-20T23:57:01.123Z\",\n  \"n\": [\n    1\n  ]\n}",
            // of several lines, the first of which is JSON
            "{\"text\":\"a text of which the length is more than the head of a line\",\"ts\":1763683021123}\n  at x",
            // Unix time
            "1763683021.123 listening",
            "1763683021123 listening",
            "[1763683021123000] listening",
            "level=info ts=1763683021.123 msg=listening",
            r#"{"ts":1763683021.123,"msg":"listening"}"#,
            // syslog of RFC 5424
            "<34>1 2025-11-20T23:57:01.123Z host app - - listening",
        ] {
            assert_found(record, 123);
        }
        assert_found(
            r#"127.0.0.1 - frank [21/Nov/2025:00:57:01 +0100] "GET / HTTP/1.0" 200 2326"#,
            0,
        );
    }

    #[test]
    fn times_without_zone_are_local() {
        for format in [
            "%Y-%m-%d %H:%M:%S%.3f listening",
            "%Y-%m-%d %H:%M:%S,123 - app - INFO - listening",
            "%Y/%m/%d %H:%M:%S%.3f [error] 1#1: *2 listening",
            "[%a %b %d %H:%M:%S%.3f %Y] [core:error] listening",
            "INFO %Y-%m-%d %H:%M:%S%.3f listening",
        ] {
            assert_found(&local(format), 123);
        }
    }

    #[test]
    fn times_without_year_are_the_latest_possible() {
        let now = chrono::Local::now();
        let earlier = now - TimeDelta::days(40);
        for (format, time) in [
            ("%b %e %H:%M:%S host app[1]: listening", earlier),
            ("<13>%b %e %H:%M:%S host app[1]: listening", now),
            ("%b %d %H:%M:%S.000 INFO listening", earlier),
            ("I%m%d %H:%M:%S.000000 1 main app.rs:1] listening", now),
        ] {
            let record = time.format(format).to_string();
            let seconds = u128::try_from(time.timestamp()).unwrap();
            let found = nanos(&StampFinder::default(), &record).map(|nanos| nanos / 1_000_000_000);
            assert_eq!(found, Some(seconds), "{record}");
        }
    }

    #[test]
    fn other_numbers_are_no_times() {
        for record in [
            "",
            "listening",
            "2025 was a year",
            "12345 listening",
            "17636830211 listening",
            "1763683021-2 listening",
            "order 1763683021 is done",
            "2025-13-01T00:00:00Z",
            "23:57:01 [INFO] listening",
            r#"{"n":1763683021}"#,
            "{",
            "\u{ff}\u{ff}",
            "a line with a time that is far from its start, after more than sixty-four bytes 2025-11-20T23:57:01Z",
        ] {
            assert_eq!(StampFinder::default().find(record.as_bytes()), None, "{record}");
        }
    }

    #[test]
    fn stamp_in_whole_seconds_includes_that_second() {
        let at = |millis| SystemTime::UNIX_EPOCH + Duration::from_millis(SECOND * 1000 + millis);
        let finder = StampFinder::default();
        let whole = finder.find(b"2025-11-20T23:57:01Z x").unwrap();
        assert!(whole.is_within(Some(at(999)), None) && !whole.is_within(Some(at(1000)), None));
        assert!(whole.is_within(None, Some(at(0))));
        let format = TimeOptions { time_format: Some("%FT%T%.f%#z".to_owned()), time_field: None };
        let by_format = StampFinder::new(&format);
        for record in ["2025-11-20T23:57:01Z x", "2025-11-20T23:57:01.5Z x"] {
            let later = Some(at(500) + Duration::from_micros(100));
            let stamp = by_format.find(record.as_bytes()).unwrap();
            assert!(stamp.is_within(later, later), "{record}");
        }
        let millis = finder.find(b"2025-11-20T23:57:01.500Z x").unwrap();
        assert!(millis.is_within(Some(at(500)), Some(at(500))));
        assert!(!millis.is_within(Some(at(501)), None) && !millis.is_within(None, Some(at(499))));
    }

    #[test]
    fn format_and_field_of_the_user_come_first() {
        let finder = |format: Option<&str>, field: Option<&str>| {
            StampFinder::new(&TimeOptions {
                time_format: format.map(str::to_owned),
                time_field: field.map(str::to_owned),
            })
        };
        let second = Some(u128::from(SECOND) * 1_000_000_000);
        let german = finder(Some("%d.%m.%Y %H:%M:%S"), None);
        assert_eq!(nanos(&german, &local("INFO %d.%m.%Y %H:%M:%S x")), second);
        assert_eq!(nanos(&german, "2025-11-20T23:57:01Z x"), None);
        let brackets = finder(Some("[%d.%m.%Y %H:%M:%S]"), None);
        assert_eq!(nanos(&brackets, &local("[%d.%m.%Y %H:%M:%S] x")), second);
        let zoned = finder(Some("%d %b %Y %H:%M:%S %z"), Some("at"));
        assert_eq!(nanos(&zoned, r#"level=info at="21 Nov 2025 00:57:01 +0100""#), second);
        assert_eq!(nanos(&zoned, r#"{"at":"21 Nov 2025 00:57:01 +0100"}"#), second);
        assert_eq!(
            nanos(&finder(None, Some("event.at")), r#"{"event":{"at":1763683021}}"#),
            second
        );
        assert_eq!(nanos(&finder(None, Some("event.at")), r#"{"event.at":1763683021}"#), second);
        assert_eq!(nanos(&finder(None, Some("at")), r#"{"timestamp":1763683021}"#), None);
        assert_eq!(nanos(&finder(Some("%s"), None), "1763683021 x"), second);
        assert!(checked_format("%Q").is_err() && checked_format("%F %T").is_ok());
    }

    #[test]
    fn time_after_words_is_not_at_once() {
        let finder = StampFinder::default();
        for line in [
            "2025-11-20T23:57:01Z x",
            "[INFO app] 2025-11-20T23:57:01Z x",
            " INFO 2025-11-20T23:57:01Z x",
            "  \x1b[2m2025-11-20T23:57:01Z\x1b[0m x",
        ] {
            assert!(finder.begins_at_once(line.as_bytes()), "{line}");
        }
        for line in ["backup of 2025-11-20 23:57:01", "", "[x", "INFO", "<>[] x"] {
            assert!(!finder.begins_at_once(line.as_bytes()), "{line}");
        }
    }

    #[test]
    fn line_begins_a_record_by_its_time() {
        let finder = StampFinder::default();
        for line in [
            "2025-11-20T23:57:01Z x",
            "INFO 2025-11-20T23:57:01Z x",
            " INFO 2025-11-20T23:57:01Z x",
            "  \x1b[2m2025-11-20T23:57:01Z\x1b[0m x",
        ] {
            assert!(finder.begins(line.as_bytes()), "{line}");
        }
        for line in ["x", "", "  at src/main.rs:10", "  started 2025-11-20T23:57:01Z", "}"] {
            assert!(!finder.begins(line.as_bytes()), "{line}");
        }
    }
}
