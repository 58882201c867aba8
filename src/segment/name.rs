//! The names of a log's files: formatting and parsing are exact inverses.
//!
//! | file | name |
//! |---|---|
//! | active segment | `app.log` |
//! | backup, [`Naming::Timestamp`] | `app.log.2026-11-20T23-57-01.123456Z`, then `.gz` or `.zst` |
//! | backup, [`Naming::Number`] | `app.log.1`, then `.gz` or `.zst` |
//! | lock file | `app.log.lock` |
//!
//! A file with any other name is never opened, renamed or removed.

use crate::clock::Timestamp;
use crate::keywords::keywords;
use chrono::{DateTime, NaiveDate, Timelike};
use std::cmp::Ordering;
use std::fmt;

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
    /// By their position: `app.log.1` is the newest, and each rotation renames all others.
    Number,
}

keywords!(Naming, "naming": Timestamp => "timestamp", Number => "number");

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

/// The identity of a backup, compressed or not. Ordered by age: the older one is less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    Time(Timestamp),
    /// 1 or more; 1 is the newest.
    Number(u32),
}

impl Key {
    pub(crate) fn naming(self) -> Naming {
        match self {
            Self::Time(_) => Naming::Timestamp,
            Self::Number(_) => Naming::Number,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        parse_number(text).map(Self::Number).or_else(|| parse_time(text).map(Self::Time))
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

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(time) => f.write_str(&format_time(*time)),
            Self::Number(number) => write!(f, "{number}"),
        }
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
        format!("{log}.{}{}", self.key, self.compression.suffix())
    }

    /// Parses the file name `text` of a backup of the log named `log`.
    pub(crate) fn parse(log: &str, text: &str) -> Option<Self> {
        let rest = text.strip_prefix(log)?.strip_prefix('.')?;
        // No compression comes last: its suffix is empty and fits every name.
        let [plain, compressed @ ..] = Compression::ALL;
        compressed.into_iter().chain([plain]).find_map(|compression| {
            let key = Key::parse(rest.strip_suffix(compression.suffix())?)?;
            Some(Self { key, compression })
        })
    }

    /// Returns the backup that another program has renamed to `text` by adding to its name, as
    /// logrotate does: `app.log.1.1`, `app.log.1-20261130.gz`.
    pub(crate) fn of_renamed(log: &str, text: &str) -> Option<Self> {
        let is_addition = |at: &usize| text[*at..].starts_with(['.', '-', '_', '~']);
        let ends = (log.len() + 1..text.len()).rev();
        let mut ends = ends.filter(|at| text.is_char_boundary(*at)).filter(is_addition);
        let (name, end) = ends.find_map(|end| Some((Self::parse(log, &text[..end])?, end)))?;
        let [plain, compressed @ ..] = Compression::ALL;
        let is_now = |form: &Compression| text[end..].ends_with(form.suffix());
        let compression = match name.compression {
            Compression::None => compressed.into_iter().find(is_now).unwrap_or(plain),
            compression => compression,
        };
        Some(Self { compression, ..name })
    }

    /// Returns the name of the log whose compressed backup has the file name `text`; `None` if no
    /// compressed backup is named so.
    pub(crate) fn log_of_compressed(text: &str) -> Option<&str> {
        let mut logs =
            text.match_indices('.').map(|(at, _)| &text[..at]).filter(|log| !log.is_empty());
        let is_compressed = |log: &&str| {
            Self::parse(log, text).is_some_and(|name| name.compression != Compression::None)
        };
        logs.find(is_compressed)
    }
}

/// Returns the file name of a log's rotation lock.
pub(crate) fn lock_file(log: &str) -> String {
    format!("{log}.lock")
}

/// The longest log name, in bytes. No file of the log then has a name over 255 bytes: a temporary
/// of a backup adds `.` before the name, and `.2026-11-20T23-57-01.123456Z`, `.zst`, `.`, 12
/// characters and `.tmp` after it.
pub(crate) const MAX_LOG_NAME: usize = 255 - (1 + 28 + 4 + 17);

/// Parses a decimal number without sign or leading zero.
fn parse_number(text: &str) -> Option<u32> {
    let canonical = !text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit());
    canonical.then(|| text.parse().ok()).flatten()
}

/// Formats a time in UTC with microseconds, in characters that all file systems allow.
fn format_time(time: Timestamp) -> String {
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
            (0..=Timestamp::MAX.micros()).prop_map(|t| Key::Time(Timestamp::from_micros(t))),
            (1..=u32::MAX).prop_map(Key::Number),
        ]
    }

    fn names() -> impl Strategy<Value = Name> {
        (keys(), prop::sample::select(Compression::ALL.to_vec()))
            .prop_map(|(key, compression)| Name { key, compression })
    }

    proptest! {
        #[test]
        fn parsing_undoes_formatting(log in "[ -~]{1,40}", name in names()) {
            prop_assert_eq!(Name::parse(&log, &name.format(&log)), Some(name));
        }

        #[test]
        fn formatting_undoes_parsing(text in "app\\.log\\.([0-9]{1,11}|[0-9]{4}(-[0-9]{2}){2}T[0-9]{2}(-[0-9]{2}){2}\\.[0-9]{6}Z)(\\.gz|\\.zst)?") {
            if let Some(name) = Name::parse("app.log", &text) {
                prop_assert_eq!(name.format("app.log"), text);
            }
        }

        #[test]
        fn no_text_panics(log in "\\PC{0,8}", text in "\\PC{0,40}") {
            let _ = Name::parse(&log, &text);
        }

        #[test]
        fn time_names_sort_by_age(a in keys(), b in keys()) {
            if let (Key::Time(_), Key::Time(_)) = (a, b) {
                prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
            }
        }

        #[test]
        fn every_file_name_fits(name in names()) {
            let backup = name.format(&"x".repeat(MAX_LOG_NAME));
            let temporary = format!(".{backup}.abcdefghijkl.tmp");
            prop_assert!(temporary.len() <= 255);
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
        ] {
            assert_eq!(Name::parse("app.log", text), None, "{text}");
        }
    }

    #[test]
    fn renamed_backup_is_found_by_its_name() {
        let of = |text| Name::of_renamed("app.log", text).map(|name| name.format("app.log"));
        const DAY: &str = "app.log.2026-11-20T23-57-01.123456Z";
        for (text, original) in [
            ("app.log.1.1", "app.log.1"),
            ("app.log.1.gz.2", "app.log.1.gz"),
            ("app.log.1.gz.2.gz", "app.log.1.gz"),
            ("app.log.12-20261130.gz", "app.log.12.gz"),
            ("app.log.3~", "app.log.3"),
            ("app.log.2026-11-20T23-57-01.123456Z.1", DAY),
            ("app.log.2.zst-20261130", "app.log.2.zst"),
        ] {
            assert_eq!(of(text).as_deref(), Some(original), "{text}");
        }
        for text in ["app.log", "app.log.1", "app.log.old", "app.log.old.1", "app.log.é.1", "x.1.1"]
        {
            assert_eq!(of(text), None, "{text}");
        }
    }

    #[test]
    fn numbers_order_with_the_newest_last() {
        assert!(Key::Number(2) < Key::Number(1));
    }
}
