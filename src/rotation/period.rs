//! Calendar periods: the end of one and the start of the next, in UTC or local time.
//!
//! The arithmetic is total: every instant has a next boundary, and it is later, whatever a time
//! zone does to its clocks.

use crate::clock::Timestamp;
use crate::keywords::keywords;
use chrono::{
    DateTime, Datelike, Days, Local, MappedLocalTime, Months, NaiveDate, NaiveDateTime, NaiveTime,
    Offset, TimeDelta, TimeZone, Utc,
};
use std::time::Duration;

/// The calendar period of rotation. The first worker to notice the end of a period rotates, once
/// for all.
///
/// Workers on one machine share a clock. If clocks differ, the first one to reach the boundary ends
/// the period. With [`Naming::Timestamp`](crate::Naming::Timestamp) the others learn it from the
/// backup's name, if that clock is at most 10 minutes ahead of theirs. Otherwise the log is rotated
/// once more at the boundary by their own clock. With numbered backups the file system's clock,
/// which is the same for all, ends the period for workers whose clocks are ahead of it.
///
/// If a clock is set back, a segment lasts until the end of its period is reached again. If that is
/// more than one period (and one hour) away, it ends at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
pub enum Period {
    /// Ends at every full minute.
    Minutely,
    /// Ends at every full hour.
    Hourly,
    /// Ends at midnight.
    Daily,
    /// Ends at midnight before Monday.
    Weekly,
    /// Ends at midnight before the first of the month.
    Monthly,
}

keywords!(Period, "period":
    Minutely => "minutely", Hourly => "hourly", Daily => "daily", Weekly => "weekly",
    Monthly => "monthly",
);

impl Period {
    /// The usual length, or that of the longest month. A local day may have an hour more or less.
    pub(crate) fn length(self) -> Duration {
        const MINUTE: u64 = 60;
        Duration::from_secs(match self {
            Self::Minutely => MINUTE,
            Self::Hourly => 60 * MINUTE,
            Self::Daily => 24 * 60 * MINUTE,
            Self::Weekly => 7 * 24 * 60 * MINUTE,
            Self::Monthly => 31 * 24 * 60 * MINUTE,
        })
    }
}

/// The time zone of a [`Period`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
pub enum Zone {
    /// UTC, where all days have 24 hours. This is the default.
    #[default]
    Utc,
    /// The time zone of the process (`TZ`, or the system's setting). All workers should have the
    /// same one.
    Local,
}

keywords!(Zone, "time zone": Utc => "utc", Local => "local");

impl Zone {
    /// Returns the first boundary after `time`.
    pub(crate) fn boundary_after(self, period: Period, time: Timestamp) -> Timestamp {
        match self {
            Self::Utc => boundary_after(&Utc, period, time),
            Self::Local => boundary_after(&Local, period, time),
        }
    }
}

fn boundary_after<Z: TimeZone>(zone: &Z, period: Period, time: Timestamp) -> Timestamp {
    let fallback = time.plus(period.length());
    let Some(utc) = DateTime::from_timestamp_micros(time.micros()) else {
        return fallback;
    };
    let local = utc.with_timezone(zone);
    let next = match period {
        Period::Minutely | Period::Hourly => Some(next_multiple(&local, period.length())),
        Period::Daily | Period::Weekly | Period::Monthly => {
            next_start(period, local.date_naive()).and_then(|day| midnight(zone, day, utc))
        }
    };
    next.map_or(fallback, |next| Timestamp::from_micros(next.timestamp_micros()))
}

/// Returns the first day of the next period, for periods that consist of days.
fn next_start(period: Period, day: NaiveDate) -> Option<NaiveDate> {
    match period {
        Period::Monthly => day.with_day(1)?.checked_add_months(Months::new(1)),
        Period::Weekly => {
            let days = 7 - u64::from(day.weekday().num_days_from_monday());
            day.checked_add_days(Days::new(days))
        }
        _ => day.checked_add_days(Days::new(1)),
    }
}

/// Returns the next instant at which the local clock reads a multiple of `length`, if it is not
/// changed before then. So an hour that is repeated at the end of daylight saving time is a period
/// of its own.
fn next_multiple<Z: TimeZone>(local: &DateTime<Z>, length: Duration) -> DateTime<Utc> {
    let length = i64::try_from(length.as_secs()).unwrap_or(i64::MAX);
    let reading = local.timestamp() + i64::from(local.offset().fix().local_minus_utc());
    let wait = length - reading.rem_euclid(length);
    let second = local.timestamp() + wait;
    DateTime::from_timestamp(second, 0).unwrap_or_default()
}

/// Returns the first instant of a local day that is later than `after`. If the day begins with a
/// gap (clocks go forward at midnight, or a day is left out), that is the end of the gap.
fn midnight<Z: TimeZone>(zone: &Z, day: NaiveDate, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
    const STEP: TimeDelta = TimeDelta::minutes(1);
    const LONGEST_GAP_MINUTES: usize = 25 * 60;
    let midnight = day.and_time(NaiveTime::MIN);
    let readings =
        std::iter::successors(Some(midnight), |reading| reading.checked_add_signed(STEP));
    readings
        .take(LONGEST_GAP_MINUTES)
        .map(|reading| that_read(zone, reading))
        .find(|instants| !instants.is_empty())?
        .into_iter()
        .find(|instant| *instant > after)
}

/// Returns the instants at which the local clock shows `reading`, the earlier one first.
fn that_read<Z: TimeZone>(zone: &Z, reading: NaiveDateTime) -> Vec<DateTime<Utc>> {
    let found = match zone.from_local_datetime(&reading) {
        MappedLocalTime::None => Vec::new(),
        MappedLocalTime::Single(instant) => vec![instant],
        MappedLocalTime::Ambiguous(first, second) => vec![first, second],
    };
    // chrono's `Local` returns the later one first, and counts the end of a repeated hour as a part
    // of it.
    let reads = |instant: &DateTime<Utc>| instant.with_timezone(zone).naive_local() == reading;
    let mut instants: Vec<_> =
        found.into_iter().map(|instant| instant.with_timezone(&Utc)).filter(reads).collect();
    instants.sort_unstable();
    instants
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono_tz::Tz;
    use proptest::prelude::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::from_micros(text.parse::<DateTime<Utc>>().unwrap().timestamp_micros())
    }

    fn after(zone: Tz, period: Period, time: &str) -> String {
        let next = boundary_after(&zone, period, at(time));
        DateTime::from_timestamp_micros(next.micros()).unwrap().to_rfc3339()
    }

    #[test]
    fn utc_boundaries() {
        let time = "2026-11-20T23:57:01.5Z";
        for (period, next) in [
            (Period::Minutely, "2026-11-20T23:58:00+00:00"),
            (Period::Hourly, "2026-11-21T00:00:00+00:00"),
            (Period::Daily, "2026-11-21T00:00:00+00:00"),
            (Period::Weekly, "2026-11-23T00:00:00+00:00"),
            (Period::Monthly, "2026-12-01T00:00:00+00:00"),
        ] {
            assert_eq!(after(Tz::UTC, period, time), next);
        }
        assert_eq!(
            after(Tz::UTC, Period::Daily, "2026-11-21T00:00:00Z"),
            "2026-11-22T00:00:00+00:00"
        );
    }

    #[test]
    fn month_ends_at_midnight_before_the_first() {
        for (time, next) in [
            ("2026-01-31T23:59:59.999999Z", "2026-02-01T00:00:00+00:00"),
            ("2026-02-01T00:00:00Z", "2026-03-01T00:00:00+00:00"),
            ("2026-02-28T12:00:00Z", "2026-03-01T00:00:00+00:00"),
            ("2028-02-28T12:00:00Z", "2028-03-01T00:00:00+00:00"),
            ("2028-02-29T12:00:00Z", "2028-03-01T00:00:00+00:00"),
            ("2026-04-30T12:00:00Z", "2026-05-01T00:00:00+00:00"),
            ("2026-12-31T23:59:59Z", "2027-01-01T00:00:00+00:00"),
        ] {
            assert_eq!(after(Tz::UTC, Period::Monthly, time), next, "{time}");
        }
    }

    #[test]
    fn local_month_ends_at_local_midnight() {
        // Winter time at the one end of the month, daylight time at the other.
        let zone = Tz::Europe__Berlin;
        for (time, next) in [
            ("2026-02-28T22:59:59Z", "2026-02-28T23:00:00+00:00"),
            ("2026-02-28T23:00:00Z", "2026-03-31T22:00:00+00:00"),
            ("2026-10-15T12:00:00Z", "2026-10-31T23:00:00+00:00"),
        ] {
            assert_eq!(after(zone, Period::Monthly, time), next, "{time}");
        }
        // Jordan's clocks went forward at midnight before 1 April 2016, to 01:00 (22:00 UTC).
        let next = after(Tz::Asia__Amman, Period::Monthly, "2016-03-15T12:00:00Z");
        assert_eq!(next, "2016-03-31T22:00:00+00:00");
    }

    #[test]
    fn repeated_hour_is_a_period_of_its_own() {
        let zone = Tz::America__New_York;
        // 01:30 daylight time; the clock goes back to 01:00 at 06:00 UTC.
        assert_eq!(
            after(zone, Period::Hourly, "2026-11-01T05:30:00Z"),
            "2026-11-01T06:00:00+00:00"
        );
        assert_eq!(
            after(zone, Period::Hourly, "2026-11-01T06:00:00Z"),
            "2026-11-01T07:00:00+00:00"
        );
        assert_eq!(after(zone, Period::Daily, "2026-11-01T05:30:00Z"), "2026-11-02T05:00:00+00:00");
    }

    #[test]
    fn day_that_begins_with_a_gap_begins_after_it() {
        // Beirut goes from 00:00 to 01:00; the first instant of the day is 22:00 UTC of the day
        // before.
        let next = after(Tz::Asia__Beirut, Period::Daily, "2026-03-28T12:00:00Z");
        assert_eq!(next, "2026-03-28T22:00:00+00:00");
        // Samoa had no 30 December 2011.
        let next = after(Tz::Pacific__Apia, Period::Daily, "2011-12-30T09:00:00Z");
        assert_eq!(next, "2011-12-30T10:00:00+00:00");
    }

    proptest! {
        #[test]
        fn boundary_is_later_and_near_in_every_zone(
            zone in prop::sample::select(chrono_tz::TZ_VARIANTS.to_vec()),
            period in prop::sample::select(vec![
                Period::Minutely, Period::Hourly, Period::Daily, Period::Weekly, Period::Monthly,
            ]),
            micros in 0..=Timestamp::MAX.micros() - 40 * 24 * 3600 * 1_000_000,
        ) {
            let time = Timestamp::from_micros(micros);
            let next = boundary_after(&zone, period, time);
            prop_assert!(next > time);
            // A day may be 24 h longer if a zone changes sides of the date line.
            prop_assert!(next <= time.plus(period.length() + Duration::from_secs(25 * 3600)));
        }
    }
}
