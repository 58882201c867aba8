//! The names of a log's files: formatting and parsing are exact inverses.
//!
//! | file | name |
//! |---|---|
//! | active segment | `app.log` |
//! | backup, [`Naming::Timestamp`] | `app.log.2026-11-20T23-57-01.123456Z`, then `.gz` or `.zst` |
//! | backup, [`Naming::TimestampInfix`] | `app.2026-11-20T23-57-01.123456Z.log`, then `.gz` or `.zst` |
//! | backup, [`Naming::Number`] | `app.log.1`, then `.gz` or `.zst` |
//! | lock file | `app.log.lock` |
//!
//! In an archive, the time is always after the log's name, so that the names of both forms by time
//! sort by age: `app.2026-11-20T23-57-01.123456Z.log` is `app.log.2026-11-20T23-57-01.123456Z.log`.
//!
//! A file with any other name is never opened, renamed or removed.

use crate::clock::Timestamp;
use crate::keywords::keywords;
use chrono::{DateTime, NaiveDate, Timelike};
use std::cmp::Ordering;

/// The naming of backups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum Naming {
    /// By the time of their rotation, in UTC with microseconds. The default.
    ///
    /// A name is `app.log.2026-11-20T23-57-01.123456Z`. The names sort by age, and a backup keeps
    /// its name. If the clock is set back, the next name is still later than the newest backup's.
    #[default]
    Timestamp,
    /// As [`Timestamp`](Naming::Timestamp), with the time before the extension.
    ///
    /// A name is `app.2026-11-20T23-57-01.123456Z.log`, for editors, viewers and patterns such as
    /// `*.log` that go by the extension. A program that follows `*.log` must know a file by its
    /// inode or its content, or it reads each backup as a new file.
    ///
    /// Compression adds its ending after the extension: `app.2026-11-20T23-57-01.123456Z.log.gz`.
    /// A log without an extension has the names of [`Timestamp`](Naming::Timestamp). A number, `gz`
    /// and `zst` are no extensions, as in `app.1`, and neither is the name of `.log`.
    ///
    /// Backups of both forms are in one order, and count, age and are compressed together: a log
    /// may change from one form to the other.
    TimestampInfix,
    /// By their position: `app.log.1` is the newest, and each rotation renames all others.
    Number,
}

keywords!(Naming, "naming":
    Timestamp => "timestamp", TimestampInfix => "timestamp_infix", Number => "number",
);

impl Naming {
    /// Whether it is by time, in either form. Backups of both forms have one order.
    pub(crate) fn is_by_time(self) -> bool {
        self != Self::Number
    }
}

/// The compression of a segment's content, and the setting for finished segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum Compression {
    /// No compression. The default.
    #[default]
    None,
    /// gzip, `.gz`, with levels 1 (fast) to 9 (small). The default level is 6.
    Gzip,
    /// Zstandard, `.zst`, with levels 1 (fast) to 22 (small). The default level is 3.
    ///
    /// Needs the feature `zstd`. Without it [`LogBuilder::build`](crate::LogBuilder::build) rejects
    /// the setting, and readers report such a backup as unreadable.
    Zstd,
}

keywords!(Compression, "compression": None => "none", Gzip => "gzip", Zstd => "zstd");

impl Compression {
    pub(crate) const ALL: [Self; 3] = [Self::None, Self::Gzip, Self::Zstd];

    fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => ".gz",
            Self::Zstd => ".zst",
        }
    }
}

/// The place of a time in a backup's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum TimePlace {
    AfterName,
    BeforeExtension,
}

impl TimePlace {
    pub(crate) const ALL: [Self; 2] = [Self::AfterName, Self::BeforeExtension];
}

/// The identity of a backup that is named by time. Ordered by time.
///
/// Workers give no time twice. Another program may, and a backup of each form is a backup then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TimeKey {
    pub(crate) time: Timestamp,
    pub(crate) place: TimePlace,
}

impl TimeKey {
    pub(crate) const MIN: Self = Self { time: Timestamp::MIN, place: TimePlace::AfterName };
    pub(crate) const MAX: Self = Self { time: Timestamp::MAX, place: TimePlace::BeforeExtension };

    /// The key of a backup of the log named `log`. Without an extension both forms are the same.
    pub(crate) fn new(log: &str, naming: Naming, time: Timestamp) -> Self {
        let is_infix = naming == Naming::TimestampInfix && split_extension(log).is_some();
        let place = if is_infix { TimePlace::BeforeExtension } else { TimePlace::AfterName };
        Self { time, place }
    }
}

/// The identity of a backup, compressed or not. Ordered by age: the older one is less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    Time(TimeKey),
    /// 1 or more; 1 is the newest.
    Number(u32),
}

impl Key {
    pub(crate) fn naming(self) -> Naming {
        match self {
            Self::Time(TimeKey { place: TimePlace::AfterName, .. }) => Naming::Timestamp,
            Self::Time(TimeKey { place: TimePlace::BeforeExtension, .. }) => Naming::TimestampInfix,
            Self::Number(_) => Naming::Number,
        }
    }

    /// Returns the time in the name.
    pub(crate) fn time(self) -> Option<Timestamp> {
        match self {
            Self::Time(key) => Some(key.time),
            Self::Number(_) => None,
        }
    }

    /// Parses the part of a name after the log's name.
    fn parse(text: &str) -> Option<Self> {
        let at_end = |time| Self::Time(TimeKey { time, place: TimePlace::AfterName });
        parse_number(text).map(Self::Number).or_else(|| parse_time(text).map(at_end))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Time(a), Self::Time(b)) => a.cmp(b),
            (Self::Number(a), Self::Number(b)) => b.cmp(a),
            // Callers keep the two kinds apart; any total order will do.
            (Self::Time(_), Self::Number(_)) => Ordering::Less,
            (Self::Number(_), Self::Time(_)) => Ordering::Greater,
        }
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A backup's name, without the log's name in front.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Name {
    pub(crate) key: Key,
    pub(crate) compression: Compression,
}

impl Name {
    /// The name of the uncompressed form of a backup.
    pub(crate) fn plain(key: Key) -> Self {
        Self { key, compression: Compression::None }
    }

    /// Returns the file name of this backup of the log named `log`.
    pub(crate) fn format(self, log: &str) -> String {
        let suffix = self.compression.suffix();
        match (self.key, split_extension(log)) {
            (Key::Number(number), _) => format!("{log}.{number}{suffix}"),
            (Key::Time(TimeKey { time, place: TimePlace::BeforeExtension }), Some((stem, end))) => {
                format!("{stem}.{}{end}{suffix}", format_time(time))
            }
            (Key::Time(TimeKey { time, .. }), _) => format!("{log}.{}{suffix}", format_time(time)),
        }
    }

    /// Parses the file name `text` of a backup of the log named `log`.
    pub(crate) fn parse(log: &str, text: &str) -> Option<Self> {
        let (plain, compression) = split_compression(text);
        let at_end = || Key::parse(plain.strip_prefix(log)?.strip_prefix('.')?);
        let before_extension = || {
            let (stem, extension) = split_extension(log)?;
            let time = plain.strip_prefix(stem)?.strip_prefix('.')?.strip_suffix(extension)?;
            let (time, place) = (parse_time(time)?, TimePlace::BeforeExtension);
            Some(Key::Time(TimeKey { time, place }))
        };
        let key = at_end().or_else(before_extension)?;
        Some(Self { key, compression })
    }

    /// Returns the name of this backup's object in an archive.
    #[cfg(feature = "archive")]
    pub(crate) fn format_object(self, log: &str) -> String {
        let is_infix = self.key.naming() == Naming::TimestampInfix;
        match (self.key.time(), split_extension(log).filter(|_| is_infix)) {
            (Some(time), Some((_, extension))) => {
                format!("{log}.{}{extension}{}", format_time(time), self.compression.suffix())
            }
            _ => self.format(log),
        }
    }

    /// Parses the name of a backup's object: the inverse of [`format_object`](Self::format_object).
    #[cfg(feature = "archive")]
    pub(crate) fn parse_object(log: &str, text: &str) -> Option<Self> {
        let (plain, compression) = split_compression(text);
        let rest = plain.strip_prefix(log)?.strip_prefix('.')?;
        let after_name = || Some((parse_time(rest)?, TimePlace::AfterName));
        let with_extension = || {
            let time = rest.strip_suffix(split_extension(log)?.1)?;
            Some((parse_time(time)?, TimePlace::BeforeExtension))
        };
        let (time, place) = after_name().or_else(with_extension)?;
        Some(Self { key: Key::Time(TimeKey { time, place }), compression })
    }

    /// Returns the backup that another program has renamed to `text` by adding to its name, as
    /// logrotate does: `app.log.1.1`, `app.log.1-20261130.gz`.
    pub(crate) fn of_renamed(log: &str, text: &str) -> Option<Self> {
        let is_addition = |at: &usize| text[*at..].starts_with(['.', '-', '_', '~']);
        let ends = (log.len() + 1..text.len()).rev();
        let mut ends = ends.filter(|at| text.is_char_boundary(*at)).filter(is_addition);
        let (name, end) = ends.find_map(|end| Some((Self::parse(log, &text[..end])?, end)))?;
        let compression = match name.compression {
            Compression::None => split_compression(&text[end..]).1,
            compression => compression,
        };
        Some(Self { compression, ..name })
    }

    /// Returns the name of the log whose compressed backup has the file name `text`; `None` if no
    /// compressed backup is named so.
    pub(crate) fn log_of_compressed(text: &str) -> Option<String> {
        let logs = text.match_indices('.').map(|(at, _)| text[..at].to_owned());
        let mut logs = logs.filter(|log| !log.is_empty()).chain(Self::log_of_infix(text));
        let is_compressed = |log: &String| {
            Self::parse(log, text).is_some_and(|name| name.compression != Compression::None)
        };
        logs.find(is_compressed)
    }

    /// Returns the name of the log whose backup, with the time before the extension, has the file
    /// name `text`.
    pub(crate) fn log_of_infix(text: &str) -> Option<String> {
        let (before, extension) = split_extension(split_compression(text).0)?;
        let at = before.len().checked_sub(TIME_LEN + 1).filter(|at| *at > 0)?;
        let time = before.get(at..)?.strip_prefix('.')?;
        parse_time(time).map(|_| format!("{}{extension}", &before[..at]))
    }
}

/// Splits the ending of a compression off a file name.
pub(crate) fn split_compression(text: &str) -> (&str, Compression) {
    let [plain, compressed @ ..] = Compression::ALL;
    let split = |form: Compression| Some((text.strip_suffix(form.suffix())?, form));
    compressed.into_iter().find_map(split).unwrap_or((text, plain))
}

/// Splits a log's name before the dot of its extension. `None` if it has none.
///
/// A number and the ending of a compression are no extension: with a time before it, the name would
/// be that of another log's numbered or compressed backup.
fn split_extension(log: &str) -> Option<(&str, &str)> {
    let (stem, extension) = log.split_at(log.rfind('.').filter(|at| *at > 0)?);
    let is_compression = split_compression(extension).1 != Compression::None;
    let is_taken = is_compression || extension == "." || parse_number(&extension[1..]).is_some();
    (!is_taken).then_some((stem, extension))
}

/// Returns the file name of a log's rotation lock.
pub(crate) fn lock_file(log: &str) -> String {
    format!("{log}.lock")
}

/// The longest log name, in bytes. No file of the log then has a name over 255 bytes: a temporary
/// of a backup adds `.` before the name, and `.2026-11-20T23-57-01.123456Z`, `.zst`, `.`, 12
/// characters and `.tmp` after it.
pub(crate) const MAX_LOG_NAME: usize = 255 - (1 + 28 + 4 + 17);

/// The length of a time in a name, in bytes.
const TIME_LEN: usize = 27;

/// Parses a decimal number without sign or leading zero.
fn parse_number(text: &str) -> Option<u32> {
    let canonical = !text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit());
    canonical.then(|| text.parse().ok()).flatten()
}

/// Formats a time in UTC with microseconds, in characters that all file systems allow.
pub(crate) fn format_time(time: Timestamp) -> String {
    let time = DateTime::from_timestamp_micros(time.micros()).unwrap_or_default();
    time.format("%Y-%m-%dT%H-%M-%S.%6fZ").to_string()
}

/// Parses the exact output of [`format_time`].
fn parse_time(text: &str) -> Option<Timestamp> {
    let digits = |range: std::ops::Range<usize>| {
        let part = text.get(range)?;
        part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse::<u32>().ok()).flatten()
    };
    let date =
        NaiveDate::from_ymd_opt(digits(0..4)?.try_into().ok()?, digits(5..7)?, digits(8..10)?)?;
    let time = date
        .and_hms_opt(digits(11..13)?, digits(14..16)?, digits(17..19)?)?
        .with_nanosecond(digits(20..26)? * 1_000)?;
    let time = Timestamp::from_micros(time.and_utc().timestamp_micros());
    // Formatting it again checks the separators and rejects years before 1970.
    (format_time(time) == text).then_some(time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keys() -> impl Strategy<Value = Key> {
        prop_oneof![
            ((0..=Timestamp::MAX.micros()), prop::sample::select(TimePlace::ALL.to_vec()))
                .prop_map(|(t, place)| Key::Time(TimeKey {
                    time: Timestamp::from_micros(t),
                    place
                })),
            (1..=u32::MAX).prop_map(Key::Number),
        ]
    }

    fn names() -> impl Strategy<Value = Name> {
        (keys(), prop::sample::select(Compression::ALL.to_vec()))
            .prop_map(|(key, compression)| Name { key, compression })
    }

    /// Names of logs that resemble names of backups, in parts or as a whole.
    fn logs() -> impl Strategy<Value = String> {
        const PARTS: [&str; 15] = [
            "app",
            "log",
            "2026",
            "1",
            "01",
            "gz",
            "zst",
            "lock",
            "tmp",
            "app-1",
            "",
            "2026-11-20T23-57-01",
            "123456Z",
            "2026-11-20T23-57-01.123456Z",
            "T",
        ];
        let part = prop::sample::select(PARTS.to_vec());
        let parts = prop::collection::vec(part, 1..5).prop_map(|parts| parts.join("."));
        parts.prop_filter("a name", |log| !log.is_empty())
    }

    /// A name as the log's workers give it: without an extension, there is one form.
    fn canonical(log: &str, name: Name) -> Name {
        let key = match name.key {
            Key::Time(key) => Key::Time(TimeKey::new(log, name.key.naming(), key.time)),
            number => number,
        };
        Name { key, ..name }
    }

    proptest! {
        #[test]
        fn parsing_undoes_formatting(log in prop_oneof!["[ -~]{1,40}", logs()], name in names()) {
            let name = canonical(&log, name);
            prop_assert_eq!(Name::parse(&log, &name.format(&log)), Some(name));
        }

        #[test]
        #[cfg(feature = "archive")]
        fn names_of_objects_sort_by_age_and_are_parsed(
            log in logs(), a in names(), b in names(),
        ) {
            let [a, b] = [a, b].map(|name| canonical(&log, name));
            if let (Key::Time(key), Key::Time(other)) = (a.key, b.key) {
                let (name, next) = (a.format_object(&log), b.format_object(&log));
                prop_assert_eq!(Name::parse_object(&log, &name), Some(a));
                if key.time != other.time {
                    prop_assert_eq!(key.time.cmp(&other.time), name.cmp(&next));
                }
            }
        }

        #[test]
        fn no_file_is_a_backup_of_two_logs(
            log in logs(), others in prop::collection::vec(logs(), 20), name in names(),
        ) {
            let text = canonical(&log, name).format(&log);
            let ends = text.match_indices('.').map(|(at, _)| text[..at].to_owned());
            let starts = text.match_indices('.').map(|(at, _)| text[at + 1..].to_owned());
            let cut = text.match_indices('.').flat_map(|(from, _)| {
                let text = &text;
                text[from + 1..].match_indices('.').map(move |(len, _)| {
                    format!("{}{}", &text[..from], &text[from + 1 + len..])
                })
            });
            for other in others.into_iter().chain(ends).chain(starts).chain(cut) {
                if other != log && !other.is_empty() {
                    prop_assert_eq!(Name::parse(&other, &text), None, "{} of {:?}", &text, &other);
                }
            }
        }

        #[test]
        fn log_of_a_backup_is_found(log in logs(), name in names()) {
            let name = canonical(&log, name);
            let text = name.format(&log);
            let is_compressed = name.compression != Compression::None;
            prop_assert_eq!(Name::log_of_compressed(&text), is_compressed.then(|| log.clone()));
            let is_infix = name.key.naming() == Naming::TimestampInfix;
            prop_assert_eq!(Name::log_of_infix(&text), is_infix.then_some(log));
        }

        #[test]
        fn formatting_undoes_parsing(text in "app\\.log\\.([0-9]{1,11}|[0-9]{4}(-[0-9]{2}){2}T[0-9]{2}(-[0-9]{2}){2}\\.[0-9]{6}Z)(\\.gz|\\.zst)?") {
            if let Some(name) = Name::parse("app.log", &text) {
                prop_assert_eq!(name.format("app.log"), text);
            }
        }

        #[test]
        fn no_text_panics(log in "\\PC{0,8}(\\.\\PC{0,3})?", text in "\\PC{0,40}") {
            let _ = Name::parse(&log, &text);
            let _ = Name::of_renamed(&log, &text);
            let _ = (Name::log_of_infix(&text), Name::log_of_compressed(&text));
        }

        #[test]
        fn time_names_sort_by_age(a in keys(), b in keys()) {
            if let (Key::Time(_), Key::Time(_)) = (a, b) {
                let text = |key| canonical("app.log", Name::plain(key)).format("app.log");
                if a.naming() == b.naming() {
                    prop_assert_eq!(a.cmp(&b), text(a).cmp(&text(b)));
                }
                prop_assert!(a.time() >= b.time() || a < b);
            }
        }

        #[test]
        fn every_file_name_fits(name in names()) {
            let plain = "x".repeat(MAX_LOG_NAME);
            let with_extension = "x".repeat(MAX_LOG_NAME - 4) + ".log";
            for log in [plain, with_extension] {
                let temporary = format!(".{}.abcdefghijkl.tmp", name.format(&log));
                prop_assert!(temporary.len() <= 255);
            }
        }
    }

    #[test]
    fn strays_do_not_parse() {
        for text in [
            "app.log",
            "app.log.",
            "app.log.old",
            "app.log.bak.gz",
            "app.log.1.txt",
            "app.error.log.1",
            "app.log.0",
            "app.log.01",
            "app.log.+1",
            "app.log.1.gz.gz",
            "app.log.4294967296",
            "app.log.gz",
            "app.log.lock",
            "app.log.2026-11-20",
            "app.log.2026-11-20T23-57-01Z",
            "app.log.2026-02-30T23-57-01.123456Z",
            "app.log.2026-11-20T24-57-01.123456Z",
            "app.log.2026-11-20T23-57-60.123456Z",
            "app.log.2026-11-20T23:57:01.123456Z",
            "app.log.1969-11-20T23-57-01.123456Z",
            "app.log.2026-11-20T23-57-01.123456Z.bz2",
            "xapp.log.1",
            "app.2026-11-20T23-57-01.123456Z",
            "app.2026-11-20T23-57-01.123456Z.log.log",
            "app.2026-11-20T23-57-01.123456Z.txt",
            "app.log.2026-11-20T23-57-01.123456Z.log",
            "app.2026-11-20T23-57-01.123456Z.1.log",
            "app.2026-02-30T23-57-01.123456Z.log",
            "app.2026-11-20T23-57-01Z.log",
            "app2026-11-20T23-57-01.123456Z.log",
            "app.1.log",
            "app.log.gz",
        ] {
            assert_eq!(Name::parse("app.log", text), None, "{text}");
        }
    }

    #[test]
    fn renamed_backup_is_found_by_its_name() {
        let of = |text| Name::of_renamed("app.log", text).map(|name| name.format("app.log"));
        const INFIX: &str = "app.2026-11-20T23-57-01.123456Z.log";
        const DAY: &str = "app.log.2026-11-20T23-57-01.123456Z";
        for (text, original) in [
            ("app.log.1.1", "app.log.1"),
            ("app.log.1.gz.2", "app.log.1.gz"),
            ("app.log.1.gz.2.gz", "app.log.1.gz"),
            ("app.log.12-20261130.gz", "app.log.12.gz"),
            ("app.log.3~", "app.log.3"),
            ("app.log.2026-11-20T23-57-01.123456Z.1", DAY),
            ("app.log.2.zst-20261130", "app.log.2.zst"),
            ("app.2026-11-20T23-57-01.123456Z.log.1", INFIX),
            ("app.2026-11-20T23-57-01.123456Z.log~", INFIX),
        ] {
            assert_eq!(of(text).as_deref(), Some(original), "{text}");
        }
        for text in ["app.log", "app.log.1", "app.log.old", "app.log.old.1", "app.log.é.1", "x.1.1"]
        {
            assert_eq!(of(text), None, "{text}");
        }
    }

    #[test]
    fn time_is_before_the_extension_if_there_is_one() {
        let infix = |log: &str| {
            let key = TimeKey::new(log, Naming::TimestampInfix, Timestamp::MIN);
            let name = Name { key: Key::Time(key), compression: Compression::Gzip }.format(log);
            assert!(Name::parse(log, &name).is_some(), "{name}");
            name.replace("1970-01-01T00-00-00.000000Z", "T")
        };
        for (log, name) in [
            ("app.log", "app.T.log.gz"),
            ("app.2026.log", "app.2026.T.log.gz"),
            ("app.log.log", "app.log.T.log.gz"),
            ("app.é", "app.T.é.gz"),
            (".app.log", ".app.T.log.gz"),
            ("app.log.1x", "app.log.T.1x.gz"),
            ("app", "app.T.gz"),
            (".log", ".log.T.gz"),
            ("app.", "app..T.gz"),
            ("app.1", "app.1.T.gz"),
            ("app.gz", "app.gz.T.gz"),
            ("app.zst", "app.zst.T.gz"),
        ] {
            assert_eq!(infix(log), name);
        }
    }

    #[test]
    fn numbers_order_with_the_newest_last() {
        assert!(Key::Number(2) < Key::Number(1));
    }
}
