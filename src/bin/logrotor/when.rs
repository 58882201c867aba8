//! Times on the command line.

use crate::local_zone::LocalZone;
use chrono::{DateTime, MappedLocalTime, NaiveDate, NaiveDateTime, TimeDelta, TimeZone};
use logrotor::units;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Parses the beginning of a range of time: RFC 3339, a local date with or without a time, or a
/// span ago. If the local clock shows a time twice, in autumn, it is the earlier one.
pub(crate) fn since(text: &str) -> Result<SystemTime, String> {
    parse(text, Iterator::min)
}

/// Parses the end of a range of time. If the local clock shows a time twice, it is the later one.
pub(crate) fn until(text: &str) -> Result<SystemTime, String> {
    parse(text, Iterator::max)
}

pub(crate) type Times = std::vec::IntoIter<DateTime<LocalZone>>;
pub(crate) type Choice = fn(Times) -> Option<DateTime<LocalZone>>;

fn parse(text: &str, choice: Choice) -> Result<SystemTime, String> {
    let text = text.trim();
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return system_time(&time).ok_or_else(|| OUT_OF_RANGE.to_owned());
    }
    if let Some(time) = local(text, choice) {
        return Ok(time);
    }
    let span = units::parse_duration(text.trim_end_matches("ago").trim_end()).map_err(|_| {
        "use a time such as 2026-11-20T23:57:01Z, a date such as 2026-11-20 or \"2026-11-20 23:57\", or how \
         long ago, such as \"2h 30min\""
    })?;
    SystemTime::now().checked_sub(span).ok_or_else(|| OUT_OF_RANGE.to_owned())
}

const OUT_OF_RANGE: &str = "the time is too long ago, or too far ahead";

/// Converts a time; `None` if the system has no such time. chrono's own conversion panics then: on
/// Windows before 1601, as for the year 1 that some loggers write for an unset time.
pub(crate) fn system_time<Z: TimeZone>(time: &DateTime<Z>) -> Option<SystemTime> {
    let (seconds, nanos) = (time.timestamp(), time.timestamp_subsec_nanos());
    let span = Duration::from_secs(seconds.unsigned_abs());
    let whole = match seconds {
        0.. => UNIX_EPOCH.checked_add(span)?,
        _ => UNIX_EPOCH.checked_sub(span)?,
    };
    whole.checked_add(Duration::from_nanos(nanos.into()))
}

fn local(text: &str, choice: Choice) -> Option<SystemTime> {
    let day = || NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0);
    let with_time = |form| NaiveDateTime::parse_from_str(text, form).ok();
    let reading = day()
        .or_else(|| with_time("%Y-%m-%d %H:%M"))
        .or_else(|| with_time("%Y-%m-%d %H:%M:%S%.f"))
        .or_else(|| with_time("%Y-%m-%dT%H:%M:%S%.f"))?;
    of_reading(reading, choice)
}

/// Returns the time at which the local clock shows this. A time that the clock skips in spring
/// stands for an hour later. Some zones skipped a day.
pub(crate) fn of_reading(reading: NaiveDateTime, choice: Choice) -> Option<SystemTime> {
    const LONGEST_GAP_HOURS: i64 = 25;
    let shown = (0..LONGEST_GAP_HOURS)
        .find_map(|hours| choice(that_show(reading.checked_add_signed(TimeDelta::hours(hours))?)));
    system_time(&shown?)
}

/// Returns the times at which the local clock shows this.
fn that_show(reading: NaiveDateTime) -> Times {
    let found = match LocalZone.from_local_datetime(&reading) {
        MappedLocalTime::None => vec![],
        MappedLocalTime::Single(time) => vec![time],
        MappedLocalTime::Ambiguous(one, other) => vec![one, other],
    };
    // chrono counts the end of a repeated hour as a part of it.
    let shows = |time: &DateTime<LocalZone>| {
        LocalZone.from_utc_datetime(&time.naive_utc()).naive_local() == reading
    };
    found.into_iter().filter(shows).collect::<Vec<_>>().into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_format_is_parsed() {
        let at = UNIX_EPOCH + Duration::from_secs(1_763_683_021);
        assert_eq!(since("2025-11-20T23:57:01Z"), Ok(at));
        assert_eq!(since("2025-11-21T00:57:01+01:00"), Ok(at));
        let midnight = since("2025-11-20").unwrap();
        assert_eq!(since("2025-11-20 00:01"), Ok(midnight + Duration::from_secs(60)));
        assert_eq!(since("2025-11-20T00:01:00"), until("2025-11-20 00:01"));
        assert_eq!(since("2025-11-20 00:00:01.5"), Ok(midnight + Duration::from_millis(1500)));
        for ago in ["2h", "2 hours ago"] {
            let then = since(ago).unwrap();
            let span = SystemTime::now().duration_since(then).unwrap();
            assert!((7200..7260).contains(&span.as_secs()), "{span:?}");
        }
        for extreme in ["+262142-12-31", "-262143-01-01", "0001-01-01T00:00:00Z", "1500-01-01"] {
            let _ = (since(extreme), until(extreme));
        }
        for wrong in ["", "yesterday", "2025-13-01", "12:00"] {
            assert!(since(wrong).unwrap_err().contains("2026-11-20T23:57:01Z"), "{wrong}");
        }
    }
}
