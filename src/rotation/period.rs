//! Calendar periods: the end of one and the start of the next, in UTC or local time.
//!
//! The arithmetic is total: every instant has a next boundary, and it is later, whatever a time
//! zone does to its clocks.

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::keywords::keywords;
use crate::local_zone::LocalZone;
use crate::units;
use chrono::{
    DateTime, Datelike, Days, MappedLocalTime, Months, NaiveDate, NaiveDateTime, NaiveTime, Offset,
    TimeDelta, TimeZone, Timelike, Utc,
};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The calendar period of rotation. The first worker to notice the end of a period rotates, once
/// for all.
///
/// Midnight and full hours are the default: see [`Config::rotate_at`](crate::Config::rotate_at).
/// If a change of the local clock leaves out the end of a period, the period ends just after the
/// change. An end that the clock shows twice counts once for days, weeks and months, the first
/// time, and twice for hours.
///
/// Workers on one machine share a clock. If clocks differ, the first one to reach the boundary ends
/// the period. If [names](crate::Naming) are by time, the others learn it from the
/// backup's name, if that clock is at most 10 minutes ahead of theirs. Otherwise the log is rotated
/// once more at the boundary by their own clock. With numbered backups the file system's clock,
/// which is the same for all, ends the period for workers whose clocks are ahead of it.
///
/// If a clock is set back, a segment lasts until the end of its period is reached again. If that is
/// more than one period (and one hour) away, it ends at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Period {
    /// Ends at every full minute.
    Minutely,
    /// Ends at every full hour.
    Hourly,
    /// Ends every so many hours, 1 to 168.
    ///
    /// The hours are counted on the clock of the [`Zone`], so all workers agree. If 24 is a
    /// multiple of their number, the period ends at the same hours each day: with 6, at 00:00,
    /// 06:00, 12:00 and 18:00. Any other number is counted on from 1970-01-01 00:00, as in
    /// `rotatelogs`, so that all periods are equally long.
    Hours(u32),
    /// Ends at midnight.
    Daily,
    /// Ends at midnight before Monday.
    Weekly,
    /// Ends at midnight before the first of the month.
    Monthly,
}

/// The most hours of [`Period::Hours`]: a week.
pub(crate) const MAX_HOURS: u32 = 168;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

impl Period {
    const WORDS: [(Self, &str); 5] = [
        (Self::Minutely, "minutely"),
        (Self::Hourly, "hourly"),
        (Self::Daily, "daily"),
        (Self::Weekly, "weekly"),
        (Self::Monthly, "monthly"),
    ];

    /// The usual length, or that of the longest month. A local day may have an hour more or less.
    pub(crate) fn length(self) -> Duration {
        Duration::from_secs(match self {
            Self::Minutely => MINUTE,
            Self::Hourly => HOUR,
            Self::Hours(hours) => u64::from(hours) * HOUR,
            Self::Daily => 24 * HOUR,
            Self::Weekly => 7 * 24 * HOUR,
            Self::Monthly => 31 * 24 * HOUR,
        })
    }
}

/// The word for it in a settings file, or a number of hours: `6 hours`.
impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, Self::WORDS.iter().find(|(period, _)| period == self)) {
            (Self::Hours(hours), _) => f.pad(&format!("{hours} hours")),
            (_, word) => f.pad(word.map_or("", |(_, word)| word)),
        }
    }
}

/// Reads the text that `Display` writes, and other numbers of hours: `6h`, `1 day`.
impl FromStr for Period {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Some((period, _)) = Self::WORDS.iter().find(|(_, word)| *word == text) {
            return Ok(*period);
        }
        let seconds = units::read_duration(text).ok().filter(|span| span.subsec_nanos() == 0);
        let hours = seconds.map(|span| span.as_secs()).filter(|seconds| seconds % HOUR == 0);
        let hours = hours.and_then(|seconds| u32::try_from(seconds / HOUR).ok());
        hours.map(Self::Hours).ok_or_else(|| {
            let words = Self::WORDS.map(|(_, word)| word);
            let known = [&words[..], &["a number of hours, such as \"6h\""]].concat();
            Error::unknown_word("period", text, &known)
        })
    }
}

#[cfg(feature = "serde")]
mod text {
    use super::Period;
    use serde::de::{Deserialize, Deserializer, Error, Visitor};
    use serde::ser::{Serialize, Serializer};
    use std::fmt;

    impl Serialize for Period {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            to.collect_str(self)
        }
    }

    impl<'de> Deserialize<'de> for Period {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            from.deserialize_str(PeriodVisitor)
        }
    }

    struct PeriodVisitor;

    impl Visitor<'_> for PeriodVisitor {
        type Value = Period;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a period such as \"daily\" or \"6 hours\"")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Period, E> {
            text.parse().map_err(|error: crate::Error| E::custom(error.cause_text()))
        }
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
    /// Returns the first boundary after `time`, of periods that begin `at` this time of the day.
    pub(crate) fn boundary_after(self, period: Period, at: Duration, time: Timestamp) -> Timestamp {
        match self {
            Self::Utc => boundary_after(&Utc, period, at, time),
            Self::Local => boundary_after(&LocalZone, period, at, time),
        }
    }
}

/// Returns the first boundary after `time`.
///
/// Invariant: the boundaries are a set of instants that depends on the zone, the period and `at`
/// alone. So workers that start at different times, on both sides of a change of the clock, agree.
fn boundary_after<Z: TimeZone>(
    zone: &Z,
    period: Period,
    at: Duration,
    time: Timestamp,
) -> Timestamp {
    let fallback = time.plus(period.length());
    let Some(utc) = DateTime::from_timestamp_micros(time.micros()) else {
        return fallback;
    };
    let local = utc.with_timezone(zone);
    let at = TimeDelta::from_std(at).unwrap_or_default();
    let next = match period {
        Period::Minutely => Some(next_multiple(&local, period.length(), TimeDelta::zero())),
        Period::Hourly | Period::Hours(_) => next_hour(zone, &local, period.length(), at),
        Period::Daily | Period::Weekly | Period::Monthly => next_day(zone, &local, period, at),
    };
    next.map_or(fallback, |next| Timestamp::from_micros(next.timestamp_micros()))
}

/// The most by which a clock is set forward or back: a day, and then some.
const LONGEST_CHANGE: TimeDelta = TimeDelta::hours(25);

/// Returns the next boundary of periods that consist of days. Each is the first instant at which
/// the clock reads its day and time.
fn next_day<Z: TimeZone>(
    zone: &Z,
    local: &DateTime<Z>,
    period: Period,
    at: TimeDelta,
) -> Option<DateTime<Utc>> {
    // Enough days, weeks or months for one before `local` and one after it, in every zone.
    const CANDIDATES: usize = 6;
    let earliest = local.date_naive().checked_sub_days(Days::new(2))?;
    let days = std::iter::successors(start_of(period, earliest), |day| next_start(period, *day));
    let readings = days.map(|day| day.and_time(NaiveTime::MIN).checked_add_signed(at));
    let boundaries = readings
        .take(CANDIDATES)
        .filter_map(|reading| that_read_or_follow(zone, reading?).into_iter().next());
    boundaries.filter(|boundary| *boundary > *local).min()
}

/// Returns the first day of the period that `day` is in.
fn start_of(period: Period, day: NaiveDate) -> Option<NaiveDate> {
    match period {
        Period::Monthly => day.with_day(1),
        Period::Weekly => {
            let days = u64::from(day.weekday().num_days_from_monday());
            day.checked_sub_days(Days::new(days))
        }
        _ => Some(day),
    }
}

/// Returns the first day of the next period. `day` is that of one.
fn next_start(period: Period, day: NaiveDate) -> Option<NaiveDate> {
    match period {
        Period::Monthly => day.checked_add_months(Months::new(1)),
        Period::Weekly => day.checked_add_days(Days::new(7)),
        _ => day.checked_add_days(Days::new(1)),
    }
}

/// Returns the next instant at which the clock reads a multiple of `length`, counted from `at`. A
/// reading that is left out counts at the end of the gap. One that is repeated counts twice: so an
/// hour that is repeated at the end of daylight saving time is a period of its own.
fn next_hour<Z: TimeZone>(
    zone: &Z,
    local: &DateTime<Z>,
    length: Duration,
    at: TimeDelta,
) -> Option<DateTime<Utc>> {
    let offset = |time: &DateTime<Z>| time.offset().fix().local_minus_utc();
    let simple = next_multiple(local, length, at);
    // No clock is changed forth and back within a week.
    if offset(&simple.with_timezone(zone)) == offset(local) {
        return Some(simple);
    }
    let length = TimeDelta::from_std(length).ok()?;
    let reading = local.naive_local();
    let readings = |from, to| {
        let next = move |reading: &NaiveDateTime| reading.checked_add_signed(length);
        std::iter::successors(from, next).take_while(move |reading| *reading <= to)
    };
    let since_multiple = (reading - at).and_utc().timestamp().rem_euclid(length.num_seconds());
    let before = reading.with_nanosecond(0)? - TimeDelta::seconds(since_multiple);
    let steps_back = LONGEST_CHANGE.num_seconds() / length.num_seconds() + 1;
    let from = before.checked_sub_signed(length * i32::try_from(steps_back).ok()?);
    let to = reading.checked_add_signed(length + LONGEST_CHANGE)?;
    let boundaries = readings(from, to).flat_map(|reading| that_read_or_follow(zone, reading));
    boundaries.filter(|boundary| *boundary > *local).min()
}

/// Returns the next instant at which the clock reads a multiple of `length`, counted from `at`, if
/// it is not changed before then.
fn next_multiple<Z: TimeZone>(
    local: &DateTime<Z>,
    length: Duration,
    at: TimeDelta,
) -> DateTime<Utc> {
    let length = i64::try_from(length.as_secs()).unwrap_or(i64::MAX).max(1);
    let reading = local.timestamp() + i64::from(local.offset().fix().local_minus_utc());
    let wait = length - (reading - at.num_seconds()).rem_euclid(length);
    let second = local.timestamp() + wait;
    DateTime::from_timestamp(second, 0).unwrap_or_default()
}

/// Returns the instants at which the clock shows `reading`, the earlier one first. If it is left
/// out (clocks go forward, or a day is left out), that is the end of the gap.
fn that_read_or_follow<Z: TimeZone>(zone: &Z, reading: NaiveDateTime) -> Vec<DateTime<Utc>> {
    const STEP: TimeDelta = TimeDelta::minutes(1);
    let steps = usize::try_from(LONGEST_CHANGE.num_minutes()).unwrap_or_default();
    let readings = std::iter::successors(Some(reading), |reading| reading.checked_add_signed(STEP));
    let mut found = readings.take(steps).map(|reading| that_read(zone, reading));
    found.find(|instants| !instants.is_empty()).unwrap_or_default()
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
        after_at(zone, period, Duration::ZERO, time)
    }

    fn after_at(zone: Tz, period: Period, time_of_day: Duration, time: &str) -> String {
        let next = boundary_after(&zone, period, time_of_day, at(time));
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

    fn periods() -> impl Strategy<Value = Period> {
        use Period::{Daily, Hourly, Minutely, Monthly, Weekly};
        let words = prop::sample::select(vec![Minutely, Hourly, Daily, Weekly, Monthly]);
        prop_oneof![words, (1..=MAX_HOURS).prop_map(Period::Hours)]
    }

    const HALF_PAST_TWO: Duration = Duration::from_secs(150 * MINUTE);

    #[test]
    fn day_begins_at_another_time() {
        for (time, next) in [
            ("2026-11-20T02:29:59.9Z", "2026-11-20T02:30:00+00:00"),
            ("2026-11-20T02:30:00Z", "2026-11-21T02:30:00+00:00"),
            ("2026-11-20T23:00:00Z", "2026-11-21T02:30:00+00:00"),
        ] {
            assert_eq!(after_at(Tz::UTC, Period::Daily, HALF_PAST_TWO, time), next);
        }
        let week = after_at(Tz::UTC, Period::Weekly, HALF_PAST_TWO, "2026-11-23T01:00:00Z");
        assert_eq!(week, "2026-11-23T02:30:00+00:00", "a Monday");
        let month = after_at(Tz::UTC, Period::Monthly, HALF_PAST_TWO, "2026-12-01T01:00:00Z");
        assert_eq!(month, "2026-12-01T02:30:00+00:00");
        let hour = after_at(Tz::UTC, Period::Hourly, HALF_PAST_TWO, "2026-12-01T01:00:00Z");
        assert_eq!(hour, "2026-12-01T01:30:00+00:00");
    }

    #[test]
    fn time_of_day_that_is_left_out_or_repeated_counts_once() {
        // New York: 02:00 to 03:00 on 8 March 2026 at 07:00 UTC, 02:00 to 01:00 on 1 November.
        let next = |at, time| after_at(Tz::America__New_York, Period::Daily, at, time);
        let half_past_one = Duration::from_secs(90 * MINUTE);
        for (at, time, next_at) in [
            (HALF_PAST_TWO, "2026-03-07T12:00:00Z", "2026-03-08T07:00:00+00:00"),
            (HALF_PAST_TWO, "2026-03-08T07:00:00Z", "2026-03-09T06:30:00+00:00"),
            (half_past_one, "2026-10-31T12:00:00Z", "2026-11-01T05:30:00+00:00"),
            (half_past_one, "2026-11-01T05:30:00Z", "2026-11-02T06:30:00+00:00"),
            (half_past_one, "2026-11-01T06:10:00Z", "2026-11-02T06:30:00+00:00"),
        ] {
            assert_eq!(next(at, time), next_at, "{time}");
        }
    }

    #[test]
    fn hours_that_divide_a_day_are_the_same_each_day() {
        let next = |at, time| after_at(Tz::Europe__Berlin, Period::Hours(6), at, time);
        for (time, next_at) in [
            // 02:00 to 03:00 on 29 March: the second quarter of the day ends at 06:00 all the same.
            ("2026-03-28T22:30:00Z", "2026-03-28T23:00:00+00:00"),
            ("2026-03-28T23:30:00Z", "2026-03-29T04:00:00+00:00"),
            ("2026-03-29T01:30:00Z", "2026-03-29T04:00:00+00:00"),
            // 03:00 to 02:00 on 25 October.
            ("2026-10-24T22:30:00Z", "2026-10-25T05:00:00+00:00"),
        ] {
            assert_eq!(next(Duration::ZERO, time), next_at, "{time}");
        }
        assert_eq!(next(HALF_PAST_TWO, "2026-06-01T12:00:00Z"), "2026-06-01T12:30:00+00:00");
    }

    #[test]
    fn hours_that_divide_no_day_are_counted_from_1970() {
        for (hours, next) in [(7, "1970-01-02T04:00:00+00:00"), (36, "1970-01-02T12:00:00+00:00")] {
            let first = after(Tz::UTC, Period::Hours(hours), "1970-01-01T22:00:00Z");
            assert_eq!(first, next);
        }
    }

    /// Zones with changes by an hour and by half an hour, over midnight and over a day.
    const ZONES: [Tz; 9] = [
        Tz::America__New_York,
        Tz::Australia__Lord_Howe,
        Tz::Asia__Beirut,
        Tz::Pacific__Apia,
        Tz::Atlantic__Azores,
        Tz::America__Sao_Paulo,
        Tz::Africa__Casablanca,
        Tz::America__Havana,
        Tz::Asia__Pyongyang,
    ];

    #[test]
    fn every_local_day_of_three_years_begins_once() {
        for zone in ZONES {
            for minutes in [0, 30, 150, 23 * 60 + 45] {
                let mut time = at("2010-01-01T00:00:00Z");
                let (end, mut days) = (at("2013-01-01T00:00:00Z"), Vec::new());
                while time < end {
                    let at = Duration::from_secs(minutes * MINUTE);
                    time = boundary_after(&zone, Period::Daily, at, time);
                    let local = DateTime::from_timestamp_micros(time.micros()).unwrap();
                    // A gap at the end of a day ends in the next one.
                    let since = local.with_timezone(&zone).naive_local()
                        - TimeDelta::minutes(i64::try_from(minutes).unwrap());
                    days.push(since.date());
                }
                let next = |pair: &&[NaiveDate]| pair[1] - pair[0] != TimeDelta::days(1);
                let odd: Vec<_> = days.windows(2).filter(next).collect();
                // Samoa had no 30 December 2011. That day's boundary is the end of the gap, at
                // midnight before the 31st.
                let expected = usize::from(zone == Tz::Pacific__Apia && minutes == 0);
                assert_eq!(odd.len(), expected, "{zone} {minutes}: {odd:?}");
            }
        }
    }

    #[test]
    fn text_of_hours_is_read_in_any_unit() {
        for (text, period) in [
            ("6 hours", Period::Hours(6)),
            ("6h", Period::Hours(6)),
            ("1 day", Period::Hours(24)),
            ("0", Period::Hours(0)),
            ("daily", Period::Daily),
        ] {
            assert_eq!(text.parse::<Period>().ok(), Some(period), "{text}");
        }
        for wrong in ["", "6", "90min", "6h 1s", "dayly", "-1h", "99999999999h"] {
            let error = wrong.parse::<Period>().unwrap_err().to_string();
            let why = "use minutely, hourly, daily, weekly, monthly or a number of hours, such as";
            assert!(error.starts_with(&format!("invalid period `{wrong}`: {why}")), "{error}");
        }
    }

    proptest! {
        #[test]
        fn workers_agree_on_the_boundaries_whenever_they_start(
            zone in prop_oneof![
                prop::sample::select(ZONES.to_vec()),
                prop::sample::select(chrono_tz::TZ_VARIANTS.to_vec()),
            ],
            period in periods(),
            minute in 0_u64..24 * 60,
            second in 0_i64..2_000_000_000,
            starts in prop::collection::vec(0.0..1.0_f64, 20),
        ) {
            let at = Duration::from_secs(minute * MINUTE);
            let first = Timestamp::from_micros(second * 1_000_000);
            let next = |time| boundary_after(&zone, period, at, time);
            let all: Vec<_> = std::iter::successors(Some(first), |time| Some(next(*time))).take(30).collect();
            let span = all[all.len() - 1].since(first);
            for part in starts {
                let start = first.plus(span.mul_f64(part));
                let expected = all.iter().find(|boundary| **boundary > start);
                prop_assert_eq!(expected.copied().unwrap_or(next(start)), next(start), "{} {:?}", zone, start);
            }
        }

        #[test]
        fn boundary_is_later_and_near_in_every_zone(
            zone in prop::sample::select(chrono_tz::TZ_VARIANTS.to_vec()),
            period in periods(),
            minute in 0_u64..24 * 60,
            micros in 0..=Timestamp::MAX.micros() - 40 * 24 * 3600 * 1_000_000,
        ) {
            let time = Timestamp::from_micros(micros);
            let next = boundary_after(&zone, period, Duration::from_secs(minute * 60), time);
            prop_assert!(next > time);
            // A day may be 24 h longer if a zone changes sides of the date line.
            prop_assert!(next <= time.plus(period.length() + Duration::from_secs(25 * 3600)));
        }
    }
}
