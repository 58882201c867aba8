//! Sizes and time spans as people write them: `64 MiB`, `1 day`.
//!
//! Settings files and the command use these functions, so that a program's own options and
//! configuration can accept the same text. A formatted value parses to the same value.
//!
//! # Examples
//! ```
//! use logrotor::units;
//! use std::time::Duration;
//!
//! # fn main() -> logrotor::Result<()> {
//! assert_eq!(units::parse_size("64 MiB")?, 64 * 1024 * 1024);
//! assert_eq!(units::parse_duration("1h 30min")?, Duration::from_secs(5_400));
//! assert_eq!(units::format_size(1_500_000), "1500 kB");
//! # Ok(()) }
//! ```

use crate::error::{Error, Result};
use std::borrow::Cow;
use std::path::Path;
use std::time::Duration;

/// Parses a size in bytes: a number and an optional unit, as in `64 MiB`, `1.5GB` or `4096`.
///
/// The units are `B`, `kB`, `KiB`, `MB`, `MiB` and so on up to `EiB`, in upper or lower case. `k`,
/// `M` and `G` are powers of 1000, and `Ki`, `Mi` and `Gi` are powers of 1024. A number without a
/// unit counts bytes.
///
/// # Errors
/// [`ErrorKind::InvalidConfig`](crate::ErrorKind::InvalidConfig) if the text is no size, or a size of
/// more than [`u64::MAX`] bytes.
pub fn parse_size(text: &str) -> Result<u64> {
    read_size(text).map_err(|why| Error::unreadable("size", text, why))
}

/// Formats a number of bytes in the unit that leaves the shortest whole number: `64 MiB`.
#[must_use]
pub fn format_size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 13] = [
        ("B", 1),
        ("kB", 1_000),
        ("KiB", 1 << 10),
        ("MB", 1_000_000),
        ("MiB", 1 << 20),
        ("GB", 1_000_000_000),
        ("GiB", 1 << 30),
        ("TB", 1_000_000_000_000),
        ("TiB", 1 << 40),
        ("PB", 1_000_000_000_000_000),
        ("PiB", 1 << 50),
        ("EB", 1_000_000_000_000_000_000),
        ("EiB", 1 << 60),
    ];
    let whole = UNITS.iter().filter(|(_, unit)| bytes % unit == 0 && (bytes > 0 || *unit == 1));
    let shortest = whole.min_by_key(|(_, unit)| bytes / unit);
    shortest.map_or_else(String::new, |(name, unit)| format!("{} {name}", bytes / unit))
}

/// Parses a time span: numbers with units, as in `1 day`, `1h 30min` or `250 ms`.
///
/// The units reach from `ns` to `years`, spelled as the crate `humantime` reads them. A number
/// without a unit is rejected, except `0`.
///
/// # Errors
/// [`ErrorKind::InvalidConfig`](crate::ErrorKind::InvalidConfig) if the text is no time span.
pub fn parse_duration(text: &str) -> Result<Duration> {
    read_duration(text).map_err(|why| Error::unreadable("time span", text, why))
}

/// Formats a time span with units: `1h 30m`.
#[must_use]
pub fn format_duration(span: Duration) -> String {
    humantime::format_duration(span).to_string()
}

/// As [`parse_size`], with the reason alone.
pub(crate) fn read_size(text: &str) -> std::result::Result<u64, &'static str> {
    let size: bytesize::ByteSize = text
        .trim()
        .parse()
        .map_err(|_| "use a number and a unit: B, kB, KiB, MB, MiB, GB, GiB, TB, TiB")?;
    // `ByteSize` turns a larger number into the largest without an error.
    match size.as_u64() {
        u64::MAX if !text.contains("18446744073709551615") => Err("it is too large"),
        bytes => Ok(bytes),
    }
}

/// As [`parse_duration`], with the reason alone.
pub(crate) fn read_duration(text: &str) -> std::result::Result<Duration, &'static str> {
    if text.trim() == "0" {
        return Ok(Duration::ZERO);
    }
    humantime::parse_duration(text.trim())
        .map_err(|_| "use numbers with units: ms, s, min, h, days, weeks, such as \"1h 30min\"")
}

/// Formats a time of the day, given since midnight: `03:00`.
pub(crate) fn format_time_of_day(at: Duration) -> String {
    let minutes = at.as_secs() / 60;
    format!("{:02}:{:02}", minutes / 60, minutes % 60)
}

/// Parses a time of the day, `03:00` or `3:00`, into the time since midnight.
#[cfg(feature = "serde")]
pub(crate) fn read_time_of_day(text: &str) -> std::result::Result<Duration, &'static str> {
    const WHY: &str = "use hours and minutes, 00:00 to 23:59, such as \"03:00\"";
    let number = |text: &str, digits: std::ops::RangeInclusive<usize>, most: u64| -> Option<u64> {
        let is_number = digits.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        is_number.then(|| text.parse().ok()).flatten().filter(|number| *number <= most)
    };
    let (hours, minutes) = text.trim().split_once(':').ok_or(WHY)?;
    let (hours, minutes) = (number(hours, 1..=2, 23), number(minutes, 2..=2, 59));
    let minutes = hours.zip(minutes).map(|(hours, minutes)| hours * 60 + minutes).ok_or(WHY)?;
    Ok(Duration::from_secs(minutes * 60))
}

/// A path for messages. It may be a URL that was given instead of one, with credentials.
pub(crate) fn shown_path(path: &Path) -> Cow<'_, str> {
    let text = path.to_string_lossy();
    let url = text.split_once("://").filter(|(start, _)| !start.ends_with("file"));
    let root = url.and_then(|(_, rest)| rest.split('/').next()).unwrap_or_default();
    let has_credentials = root.contains(['@', ':']) || (url.is_some() && text.contains("sig="));
    if has_credentials { redacted(&text).into() } else { text }
}

/// A URL for messages: without anything that may be a secret, such as keys before an `@` and the
/// signature of a query.
pub(crate) fn redacted(text: &str) -> String {
    const LEFT_OUT: &str = "...";
    let end = text.find(['?', '#']).map_or(text.len(), |at| at + 1);
    let (shown, query) = text.split_at(end);
    let query = if query.is_empty() { "" } else { LEFT_OUT };
    let (start, rest) = match shown.find("://") {
        Some(at) => shown.split_at(at + "://".len()),
        None => ("", shown),
    };
    // In a path, these are letters like others.
    if start.ends_with("file://") {
        return format!("{shown}{query}");
    }
    // A secret may contain a slash.
    if let Some(at) = rest.rfind('@') {
        return format!("{start}{LEFT_OUT}{}{query}", &rest[at..]);
    }
    let authority = rest.find('/').unwrap_or(rest.len());
    match rest[..authority].find(':') {
        Some(at) => {
            let (first, second) = (&rest[..=at], &rest[authority..]);
            format!("{start}{first}{LEFT_OUT}{second}{query}")
        }
        None => format!("{shown}{query}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_without_secrets_stays_as_it_is() {
        for text in ["file:///srv/a@b:c", "s3://b/p:1", "s3://b", "b", ""] {
            assert_eq!(redacted(text), text);
        }
        assert_eq!(redacted("\"s3://K:S/T@b\", max_rate = 1"), "\"s3://...@b\", max_rate = 1");
        assert_eq!(redacted("az://c?sig=S"), "az://c?...");
    }

    #[test]
    fn path_is_shown_whole_unless_it_is_a_url_with_credentials() {
        for text in ["/var/log/a@b:c.log", "file:///srv/a@b:c", "s3://b/p/a@b#1.log/h.1/x", ""] {
            assert_eq!(shown_path(Path::new(text)), text);
        }
        for (text, shown) in [
            ("s3://K:S@b/x", "s3://...@b/x"),
            ("/srv/s3://K:S@b/x", "/srv/s3://...@b/x"),
            ("s3://...@b/x", "s3://...@b/x"),
            ("az://c/x?sv=1&sig=S", "az://c/x?..."),
        ] {
            assert_eq!(shown_path(Path::new(text)), shown);
        }
    }

    #[test]
    fn size_is_formatted_in_the_unit_that_fits() {
        for (bytes, text) in [
            (0, "0 B"),
            (1, "1 B"),
            (64 << 20, "64 MiB"),
            (10_000_000, "10 MB"),
            (1536, "1536 B"),
            (u64::MAX, "18446744073709551615 B"),
        ] {
            assert_eq!(format_size(bytes), text);
            assert_eq!(read_size(text), Ok(bytes));
        }
    }

    #[test]
    fn size_is_parsed_with_and_without_unit_space_and_fraction() {
        assert_eq!(read_size("1.5 GiB"), Ok(3 << 29));
        assert_eq!(read_size("64MiB"), Ok(64 << 20));
        assert_eq!(read_size(" 64 mib "), Ok(64 << 20));
        assert_eq!(read_size("4096"), Ok(4096));
        for wrong in ["", "MiB", "64 Mub", "-1 B", "17 EiB", "99999999999999999999", "1e3"] {
            assert!(read_size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn span_without_a_unit_is_rejected() {
        assert_eq!(read_duration("1 day"), Ok(Duration::from_secs(86_400)));
        assert_eq!(read_duration("1h 30min"), Ok(Duration::from_secs(5_400)));
        assert_eq!(read_duration("250 ms"), Ok(Duration::from_millis(250)));
        assert_eq!(read_duration("0"), Ok(Duration::ZERO));
        for wrong in ["", "90", "1 fortnight", "-1 s", "day"] {
            assert!(read_duration(wrong).is_err(), "{wrong}");
        }
    }

    #[cfg(feature = "serde")]
    #[test]
    fn time_of_day_is_hours_and_minutes() {
        for minutes in 0..24 * 60 {
            let at = Duration::from_secs(minutes * 60);
            assert_eq!(read_time_of_day(&format_time_of_day(at)), Ok(at));
        }
        assert_eq!(read_time_of_day(" 3:05 "), Ok(Duration::from_secs(3 * 3600 + 5 * 60)));
        for wrong in ["", "3", "03", "24:00", "03:60", "3:5", "03:00:00", "-1:00", "+3:00", "3h"] {
            assert!(read_time_of_day(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn errors_name_the_text_and_a_valid_form() {
        let error = parse_size("64 Mub").unwrap_err().to_string();
        assert!(error.starts_with("invalid size `64 Mub`: use a number and a unit"), "{error}");
        let error = parse_duration("90").unwrap_err().to_string();
        assert!(error.starts_with("invalid time span `90`: use numbers with units"), "{error}");
    }

    proptest! {
        #[test]
        fn formatted_text_parses_to_the_same_value(
            bytes in any::<u64>(), secs in any::<u64>(), nanos in 0_u32..1_000_000_000,
        ) {
            prop_assert_eq!(read_size(&format_size(bytes)), Ok(bytes));
            let span = Duration::new(secs, nanos);
            prop_assert_eq!(read_duration(&format_duration(span)), Ok(span));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,20}", number in "[0-9.]{1,22} ?[a-zA-Z]{0,4}") {
            for text in [text, number] {
                let _ = (read_size(&text), read_duration(&text));
            }
        }
    }
}
