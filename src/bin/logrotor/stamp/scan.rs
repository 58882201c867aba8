//! The known formats of a time at the beginning of a text.

use super::{Stamp, date_without_year};
use chrono::{FixedOffset, NaiveDate, NaiveTime, TimeZone};
use std::time::{Duration, SystemTime};

/// The time at the beginning of a text in one of the known formats. `may_be_number`: whether Unix
/// time is one.
pub(super) fn known(text: &str, may_be_number: bool) -> Option<Stamp> {
    let scan = || Scan(text.as_bytes());
    scan()
        .year_first()
        .or_else(|| scan().apache())
        .or_else(|| scan().month_first())
        .or_else(|| if may_be_number { scan().glog().or_else(|| scan().unix()) } else { None })
}

/// Reads from the beginning of a text; each step gives nothing if something else is there.
#[derive(Clone, Copy)]
struct Scan<'a>(&'a [u8]);

impl Scan<'_> {
    fn byte(&mut self, one_of: &[u8]) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        one_of.contains(&byte).then_some(byte)
    }

    /// A number of exactly so many digits.
    fn digits(&mut self, count: usize) -> Option<u32> {
        let digits = self.0.get(..count).filter(|digits| digits.iter().all(u8::is_ascii_digit))?;
        self.0 = &self.0[count..];
        std::str::from_utf8(digits).ok()?.parse().ok()
    }

    fn skip(&mut self, byte: u8) -> bool {
        let is_there = self.0.first() == Some(&byte);
        if is_there {
            self.0 = &self.0[1..];
        }
        is_there
    }

    fn month(&mut self) -> Option<u32> {
        const MONTHS: &[u8] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
        let name = self.0.get(..3)?;
        let at = MONTHS.chunks(3).position(|month| month == name)?;
        self.0 = &self.0[3..];
        u32::try_from(at + 1).ok()
    }

    /// `23:57:01` and a fraction; also what its last digit counts, in nanoseconds.
    fn clock(&mut self) -> Option<(NaiveTime, u64)> {
        let hour = self.digits(2)?;
        self.byte(b":")?;
        let minute = self.digits(2)?;
        self.byte(b":")?;
        // A leap second is the last one.
        let second = self.digits(2).filter(|second| *second <= 60)?.min(59);
        let (nanos, unit) = self.fraction();
        Some((NaiveTime::from_hms_nano_opt(hour, minute, second, nanos)?, unit))
    }

    fn fraction(&mut self) -> (u32, u64) {
        const NANOS: u64 = 1_000_000_000;
        let is_fraction = matches!(self.0, [b'.' | b',', digit, ..] if digit.is_ascii_digit());
        if !is_fraction {
            return (0, NANOS);
        }
        self.0 = &self.0[1..];
        let len = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = self.0.split_at(len);
        self.0 = rest;
        let (mut nanos, mut unit) = (0, NANOS);
        for digit in digits.iter().take(9) {
            unit /= 10;
            nanos += u64::from(digit - b'0') * unit;
        }
        (u32::try_from(nanos).unwrap_or(0), unit)
    }

    /// `Z`, `UTC`, `+01:00` or `+0100`, after a space or none; `+01` after none.
    fn offset(&self) -> Option<FixedOffset> {
        let mut scan = *self;
        let has_space = scan.skip(b' ');
        let is_end = |rest: &[u8]| !rest.first().is_some_and(u8::is_ascii_alphanumeric);
        for name in [b"Z".as_slice(), b"z", b"UTC"] {
            if scan.0.strip_prefix(name).is_some_and(is_end) {
                return FixedOffset::east_opt(0);
            }
        }
        let sign = if scan.byte(b"+-")? == b'+' { 1 } else { -1 };
        let hours = scan.digits(2)?;
        scan.skip(b':');
        let minutes = match scan.digits(2) {
            None if !has_space => 0,
            minutes => minutes.filter(|minutes| *minutes < 60)?,
        };
        let seconds = i32::try_from(hours * 3600 + minutes * 60).ok()?;
        is_end(scan.0).then(|| FixedOffset::east_opt(sign * seconds))?
    }

    /// Returns the time of a date and a clock, in the zone that comes next or the local one.
    fn stamp(&self, date: NaiveDate, (time, unit): (NaiveTime, u64)) -> Option<Stamp> {
        let reading = date.and_time(time);
        match self.offset() {
            Some(offset) => Stamp::at(&offset.from_local_datetime(&reading).single()?, unit),
            None => Stamp::local(reading, unit),
        }
    }

    /// `2026-11-20T23:57:01.123Z`, `2026-11-20 23:57:01,123 +01:00`, `2026/11/20 23:57:01`.
    fn year_first(mut self) -> Option<Stamp> {
        let year = self.digits(4)?;
        let separator = self.byte(b"-/")?;
        let month = self.digits(2)?;
        self.byte(&[separator])?;
        let day = self.digits(2)?;
        self.byte(b"Tt ")?;
        let clock = self.clock()?;
        self.stamp(NaiveDate::from_ymd_opt(year.try_into().ok()?, month, day)?, clock)
    }

    /// `20/Nov/2026:23:57:01 +0100`.
    fn apache(mut self) -> Option<Stamp> {
        let day = self.digits(2)?;
        self.byte(b"/")?;
        let month = self.month()?;
        self.byte(b"/")?;
        let year = self.digits(4)?;
        self.byte(b":")?;
        let clock = self.clock()?;
        self.stamp(NaiveDate::from_ymd_opt(year.try_into().ok()?, month, day)?, clock)
    }

    /// `Nov 20 23:57:01` of syslog, and `Fri Nov 20 23:57:01.123456 2026` of Apache's error log.
    fn month_first(mut self) -> Option<Stamp> {
        const DAYS: [&[u8]; 7] = [b"Mon ", b"Tue ", b"Wed ", b"Thu ", b"Fri ", b"Sat ", b"Sun "];
        let weekday = DAYS.iter().find_map(|day| self.0.strip_prefix(*day));
        self.0 = weekday.unwrap_or(self.0);
        let month = self.month()?;
        self.byte(b" ")?;
        let day = if self.skip(b' ') { self.digits(1)? } else { self.digits(2)? };
        self.byte(b" ")?;
        let clock = self.clock()?;
        let mut year = self;
        if weekday.is_some() && year.skip(b' ') {
            let year = year.digits(4)?.try_into().ok()?;
            return Stamp::local(
                NaiveDate::from_ymd_opt(year, month, day)?.and_time(clock.0),
                clock.1,
            );
        }
        self.stamp(date_without_year(month, day)?, clock)
    }

    /// `I1120 23:57:01.123456`.
    fn glog(mut self) -> Option<Stamp> {
        self.byte(b"TDIWEF")?;
        let month = self.digits(2)?;
        let day = self.digits(2)?;
        self.byte(b" ")?;
        let clock = self.clock()?;
        self.stamp(date_without_year(month, day)?, clock)
    }

    /// Unix time in seconds, with or without a fraction, or in milli-, micro- or nanoseconds.
    fn unix(mut self) -> Option<Stamp> {
        let len = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let unit: u64 = match len {
            9 | 10 => 1_000_000_000,
            12 | 13 => 1_000_000,
            15 | 16 => 1_000,
            18 | 19 => 1,
            _ => return None,
        };
        let number: u64 = std::str::from_utf8(&self.0[..len]).ok()?.parse().ok()?;
        self.0 = &self.0[len..];
        let (nanos, unit) = if len <= 10 { self.fraction() } else { (0, unit) };
        if self.0.first().is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'-') {
            return None;
        }
        let scale = if len <= 10 { 1_000_000_000 } else { unit };
        let after =
            Duration::from_nanos(number.checked_mul(scale)?) + Duration::from_nanos(nanos.into());
        let time = SystemTime::UNIX_EPOCH.checked_add(after)?;
        Stamp::new(time, time, unit)
    }
}
