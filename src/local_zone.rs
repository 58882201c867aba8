//! The time zone of the process, without the panics of chrono's `Local`.
//!
//! With some zone files, chrono panics when it is asked for the offset of an instant. It does not
//! panic when it is asked for the instants of a local reading. So the offset of an instant is found
//! by such questions, and an instant without one is in UTC.

use chrono::{
    FixedOffset, Local, MappedLocalTime, NaiveDate, NaiveDateTime, Offset, TimeDelta, TimeZone,
};

/// The time zone of the process: `TZ`, or the system's setting.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LocalZone;

impl TimeZone for LocalZone {
    type Offset = FixedOffset;

    fn from_offset(_: &FixedOffset) -> Self {
        Self
    }

    fn offset_from_local_date(&self, local: &NaiveDate) -> MappedLocalTime<FixedOffset> {
        Local.offset_from_local_date(local)
    }

    fn offset_from_local_datetime(&self, local: &NaiveDateTime) -> MappedLocalTime<FixedOffset> {
        Local.offset_from_local_datetime(local)
    }

    fn offset_from_utc_date(&self, utc: &NaiveDate) -> FixedOffset {
        self.offset_from_utc_datetime(&utc.and_time(chrono::NaiveTime::MIN))
    }

    fn offset_from_utc_datetime(&self, utc: &NaiveDateTime) -> FixedOffset {
        let of_reading = |reading: &NaiveDateTime| Local.offset_from_local_datetime(reading);
        offset_at(utc, of_reading).unwrap_or_else(|| chrono::Utc.fix())
    }
}

/// Returns the offset that the clock has at an instant, by the offsets that it has when it shows a
/// reading.
fn offset_at<O: Offset>(
    utc: &NaiveDateTime,
    of_reading: impl Fn(&NaiveDateTime) -> MappedLocalTime<O>,
) -> Option<FixedOffset> {
    const FURTHEST: i64 = 24;
    let after = |seconds| utc.checked_add_signed(TimeDelta::seconds(seconds));
    let offsets_after = |seconds| {
        let found = after(seconds).map_or(MappedLocalTime::None, |reading| of_reading(&reading));
        [found.clone().earliest(), found.latest()].into_iter().flatten().map(|offset| offset.fix())
    };
    let holds_after = |seconds: i64, offset: FixedOffset| {
        offsets_after(seconds + i64::from(offset.local_minus_utc())).any(|there| there == offset)
    };
    // The clock shows a reading that is at most a day from that of UTC.
    let nearest_first = (0..=FURTHEST).flat_map(|hours| [hours, -hours]);
    let mut candidates = nearest_first
        .flat_map(|hours| offsets_after(hours * 3600))
        .filter(|offset| holds_after(0, *offset));
    // At the very instant of a change chrono returns the offset before it, too.
    let first = candidates.next()?;
    let lasts = |offset: &FixedOffset| holds_after(1, *offset);
    Some(if lasts(&first) { first } else { candidates.find(lasts).unwrap_or(first) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono_tz::{TZ_VARIANTS, Tz};
    use proptest::prelude::*;

    fn reading(seconds: i64) -> NaiveDateTime {
        chrono::DateTime::from_timestamp(seconds, 0).unwrap().naive_utc()
    }

    fn offset_in(zone: Tz, utc: &NaiveDateTime) -> Option<FixedOffset> {
        offset_at(utc, |reading| zone.offset_from_local_datetime(reading))
    }

    proptest! {
        #[test]
        fn offset_is_that_of_the_zone(
            zone in 0..TZ_VARIANTS.len(),
            seconds in 0_i64..4_102_444_800,
        ) {
            let (zone, utc) = (TZ_VARIANTS[zone], reading(seconds));
            prop_assert_eq!(offset_in(zone, &utc), Some(zone.offset_from_utc_datetime(&utc).fix()));
        }
    }

    #[test]
    fn offset_is_that_of_the_zone_around_every_change() {
        const YEAR: i64 = 366 * 24 * 60;
        let start = reading(1_293_840_000);
        // A day left out, a change of 30 minutes, of an hour in both hemispheres, and none.
        for zone in ["Pacific/Apia", "Australia/Lord_Howe", "Europe/Berlin", "America/Santiago"] {
            let zone: Tz = zone.parse().unwrap();
            for minutes in (0..YEAR).step_by(15) {
                let utc = start + TimeDelta::minutes(minutes);
                let expected = zone.offset_from_utc_datetime(&utc).fix();
                assert_eq!(offset_in(zone, &utc), Some(expected), "{zone} {utc}");
            }
        }
    }

    #[test]
    fn clock_without_an_offset_has_none() {
        let none = |_: &NaiveDateTime| MappedLocalTime::<FixedOffset>::None;
        assert_eq!(offset_at(&reading(0), none), None);
        assert_eq!(offset_at(&NaiveDateTime::MAX, none), None);
        assert_eq!(offset_at(&NaiveDateTime::MIN, none), None);
    }

    #[test]
    fn local_zone_agrees_with_chrono_in_the_zone_of_this_machine() {
        const HALF_HOURS: i64 = 2 * 24 * 366;
        for half_hour in 0..HALF_HOURS {
            for second in [-1, 0, 1] {
                let utc = reading(1_767_225_600 + half_hour * 1800 + second);
                let expected = Local.offset_from_utc_datetime(&utc);
                assert_eq!(LocalZone.offset_from_utc_datetime(&utc), expected, "{utc}");
            }
        }
    }
}
