//! The end of a segment: by size, age, calendar, by hand, and when the log is opened.

use crate::support::{Dir, Job, eventually, record};
use logrotor::__test::Clock;
use logrotor::{MaintenanceMode, Period, RotatingFileWriter, Zone};
use proptest::prelude::*;
use std::io::Write;
use std::time::{Duration, SystemTime};

const HOUR: Duration = Duration::from_secs(3600);

/// 2027-01-15 was a Friday.
fn friday_noon() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_014_400)
}

/// A log that reacts to time only within log calls.
fn timed(dir: &Dir, clock: &Clock) -> logrotor::LogBuilder {
    dir.writer().clock(clock.clone()).maintenance(MaintenanceMode::Inline)
}

fn write(mut log: &RotatingFileWriter, text: &str) {
    log.write_all(text.as_bytes()).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn segment_exceeds_max_size_only_for_one_larger_record(
        max_size in 1_u64..300,
        header in 0_usize..20,
        lengths in prop::collection::vec(1_usize..400, 1..60),
    ) {
        let max_size = max_size + header as u64;
        let dir = Dir::new();
        let log = dir.writer().max_size(max_size).header(vec![b'#'; header]).build().unwrap();
        for (at, len) in lengths.iter().enumerate() {
            let letter = b'a' + u8::try_from(at % 26).unwrap();
            (&log).write_all(&vec![letter; *len]).unwrap();
        }
        let names = dir.backups().into_iter().chain(["app.log".to_owned()]);
        let segments: Vec<_> = names.map(|name| dir.read(&name)[header..].to_owned()).collect();
        let whole: Vec<u8> = segments.concat();
        let expected: Vec<u8> = lengths.iter().enumerate()
            .flat_map(|(at, len)| vec![b'a' + u8::try_from(at % 26).unwrap(); *len]).collect();
        prop_assert_eq!(whole, expected);
        let room = usize::try_from(max_size).unwrap() - header;
        for segment in segments {
            let is_one_record = segment.iter().all(|byte| *byte == segment[0]);
            prop_assert!(segment.len() <= room || is_one_record && lengths.contains(&segment.len()));
        }
    }
}

#[test]
fn record_that_fills_the_segment_exactly_stays_in_it() {
    let dir = Dir::new();
    let log = dir.writer().max_size(10).build().unwrap();
    write(&log, "12345");
    write(&log, "67890");
    assert_eq!((log.stats().rotations, dir.read("app.log")), (0, b"1234567890".to_vec()));
    write(&log, "x");
    assert_eq!((log.stats().rotations, dir.read("app.log")), (1, b"x".to_vec()));
}

#[test]
fn record_larger_than_max_size_gets_a_segment_of_its_own() {
    let dir = Dir::new();
    let log = dir.writer().max_size(10).build().unwrap();
    for text in ["a\n", "0123456789 0123456789\n", "b\n"] {
        write(&log, text);
    }
    let backups: Vec<_> = dir.backups().iter().map(|name| dir.lines_of(name)).collect();
    assert_eq!(backups, [["a"], ["0123456789 0123456789"]]);
    assert_eq!(dir.active_lines(), ["b"]);
}

#[test]
fn record_larger_than_max_size_does_not_rotate_an_empty_segment() {
    let dir = Dir::new();
    let log = dir.writer().max_size(10).build().unwrap();
    write(&log, "0123456789 0123456789\n");
    assert_eq!((log.stats().rotations, dir.backups().len()), (0, 0));
}

#[test]
fn size_found_at_opening_counts() {
    let dir = Dir::new();
    std::fs::write(dir.log(), "12345678\n").unwrap();
    let log = dir.writer().max_size(10).build().unwrap();
    write(&log, "next\n");
    assert_eq!(dir.active_lines(), ["next"]);
}

#[test]
fn segment_is_rotated_at_exactly_its_age() {
    let (dir, clock) = (Dir::new(), Clock::manual(friday_noon()));
    let log = timed(&dir, &clock).max_age(HOUR).build().unwrap();
    write(&log, "first\n");
    clock.set(friday_noon() + HOUR - Duration::from_micros(1));
    write(&log, "in time\n");
    assert_eq!(log.stats().rotations, 0);
    clock.set(friday_noon() + HOUR);
    write(&log, "next\n");
    assert_eq!(log.stats().rotations, 1);
    assert_eq!(dir.active_lines(), ["next"]);
}

#[test]
fn age_is_the_same_for_a_worker_that_has_just_opened_the_log() {
    let (dir, clock) = (Dir::new(), Clock::manual(friday_noon()));
    let first = timed(&dir, &clock).max_age(HOUR).build().unwrap();
    write(&first, "first\n");
    clock.set(friday_noon() + HOUR / 2);
    let second = timed(&dir, &clock).max_age(HOUR).build().unwrap();
    write(&second, "second\n");
    clock.set(friday_noon() + HOUR);
    write(&second, "next\n");
    write(&first, "next\n");
    assert_eq!((second.stats().rotations, first.stats().rotations), (1, 0));
    assert_eq!(dir.active_lines(), ["next", "next"]);
}

/// Waits until the log has this age by the file system.
fn until_it_is(age: Duration, dir: &Dir) {
    eventually("the log is old enough", || {
        let born = std::fs::metadata(dir.log()).unwrap().created().unwrap();
        born.elapsed().is_ok_and(|elapsed| elapsed > age)
    });
}

// A log that was past its time when it was opened kept the old segment for a check interval. So a
// program that was started after midnight wrote its first records to the day before.
#[test]
fn regression_age_survives_a_restart() {
    const AGE: Duration = Duration::from_millis(200);
    let dir = Dir::new();
    let log = dir.writer().max_age(HOUR).build().unwrap();
    write(&log, "first\n");
    if std::fs::metadata(dir.log()).unwrap().created().is_err() {
        println!("skipped: the file system keeps no birth times");
        return;
    }
    drop(log);
    // The clock of log calls may be a few milliseconds behind.
    until_it_is(2 * AGE, &dir);
    // Written to again, so that the time of the last change differs.
    let log = dir.writer().max_age(HOUR).build().unwrap();
    write(&log, "second\n");
    drop(log);
    let log = dir.writer().max_age(AGE).maintenance(MaintenanceMode::Inline).build().unwrap();
    write(&log, "third\n");
    let backups = dir.backups();
    assert_eq!(dir.lines_of(&backups[0]), ["first", "second"]);
}

#[test]
fn idle_log_rotates_at_the_end_of_the_period() {
    let (dir, clock) = (Dir::new(), Clock::manual(friday_noon()));
    let log = dir.writer().clock(clock.clone()).rotate_every(Period::Daily).build().unwrap();
    write(&log, "today\n");
    clock.set(friday_noon() + 12 * HOUR);
    eventually("the idle log is rotated", || log.stats().rotations == 1);
    assert_eq!(dir.lines_of(&dir.backups()[0]), ["today"]);
    assert_eq!(dir.active_lines(), [""; 0]);
}

#[test]
fn idle_log_rotates_at_its_age() {
    let dir = Dir::new();
    let log = dir.writer().max_age(Duration::from_millis(50)).build().unwrap();
    write(&log, "old\n");
    eventually("the idle log is rotated", || dir.backups().len() == 1);
    assert_eq!(dir.lines_of(&dir.backups()[0]), ["old"]);
}

/// The times, in minutes after Friday noon, at which a log rotates that is written to every 10
/// minutes for ten days.
fn rotations_by(period: Period) -> Vec<u64> {
    let (dir, clock) = (Dir::new(), Clock::manual(friday_noon()));
    let log = timed(&dir, &clock).rotate_every(period).max_backups(0).build().unwrap();
    let mut rotations = Vec::new();
    for minutes in (0..10 * 24 * 60).step_by(10) {
        clock.set(friday_noon() + Duration::from_secs(minutes * 60));
        let before = log.stats().rotations;
        write(&log, "x\n");
        if log.stats().rotations > before {
            rotations.push(minutes);
        }
    }
    rotations
}

#[test]
fn hourly_log_rotates_at_full_hours() {
    assert_eq!(rotations_by(Period::Hourly), (1..240).map(|hour| hour * 60).collect::<Vec<_>>());
}

#[test]
fn daily_log_rotates_at_midnight() {
    let days: Vec<_> = (0..10).map(|day| 12 * 60 + day * 24 * 60).collect();
    assert_eq!(rotations_by(Period::Daily), days);
}

#[test]
fn weekly_log_rotates_at_midnight_before_monday() {
    assert_eq!(rotations_by(Period::Weekly), [60 * 60, (60 + 7 * 24) * 60]);
}

#[test]
fn monthly_log_rotates_at_midnight_before_the_first() {
    let (dir, clock) = (Dir::new(), Clock::manual(friday_noon()));
    let log = timed(&dir, &clock).rotate_every(Period::Monthly).build().unwrap();
    let day = |days: u64| friday_noon() + Duration::from_secs(days * 24 * 3600);
    let noon_to_midnight = Duration::from_secs(12 * 3600);
    for (at, rotations) in [
        (day(0), 0),
        (day(16) + noon_to_midnight - Duration::from_micros(1), 0),
        (day(16) + noon_to_midnight, 1),
        (day(44) + noon_to_midnight - Duration::from_micros(1), 1),
        (day(44) + noon_to_midnight, 2),
    ] {
        clock.set(at);
        write(&log, "x\n");
        assert_eq!(log.stats().rotations, rotations, "{at:?}");
    }
}

#[test]
fn minutely_log_rotates_at_full_minutes() {
    let (dir, clock) = (Dir::new(), Clock::manual(friday_noon() + Duration::from_secs(30)));
    let log = timed(&dir, &clock).rotate_every(Period::Minutely).build().unwrap();
    write(&log, "x\n");
    clock.set(friday_noon() + Duration::from_secs(59));
    write(&log, "x\n");
    assert_eq!(log.stats().rotations, 0);
    clock.set(friday_noon() + Duration::from_secs(60));
    write(&log, "x\n");
    assert_eq!(log.stats().rotations, 1);
}

#[test]
fn idle_periods_make_one_rotation() {
    let (dir, clock) = (Dir::new(), Clock::manual(friday_noon()));
    let log = timed(&dir, &clock).rotate_every(Period::Hourly).build().unwrap();
    write(&log, "before\n");
    clock.set(friday_noon() + 30 * HOUR);
    write(&log, "after\n");
    write(&log, "after\n");
    assert_eq!(log.stats().rotations, 1);
}

#[test]
fn segment_without_a_record_is_never_rotated() {
    let (dir, clock) = (Dir::new(), Clock::manual(friday_noon()));
    let builder = timed(&dir, &clock).max_age(HOUR).rotate_every(Period::Hourly);
    let log = builder.header(b"time,level\n").build().unwrap();
    for hours in 1..5 {
        clock.set(friday_noon() + hours * HOUR);
        assert_eq!(log.rotate().unwrap(), None);
        // The next call of any kind would rotate.
        log.reopen().unwrap();
    }
    write(&log, "first\n");
    assert_eq!((log.stats().rotations, dir.backups().len()), (0, 0));
    assert_eq!(dir.active_lines(), ["time,level", "first"]);
}

#[test]
fn idle_empty_log_restarts_its_time_instead_of_rotating() {
    let (dir, clock) = (Dir::new(), Clock::manual(friday_noon()));
    let log = timed(&dir, &clock).max_age(HOUR).build().unwrap();
    clock.set(friday_noon() + 5 * HOUR);
    write(&log, "first\n");
    clock.set(friday_noon() + 5 * HOUR + HOUR / 2);
    write(&log, "second\n");
    assert_eq!(log.stats().rotations, 0);
}

#[test]
fn size_age_and_period_work_together_whichever_is_first() {
    let (dir, clock) = (Dir::new(), Clock::manual(friday_noon()));
    let builder = timed(&dir, &clock).max_size(10).max_age(2 * HOUR);
    let log = builder.rotate_every(Period::Daily).build().unwrap();
    write(&log, "by size\n");
    write(&log, "by age\n");
    clock.set(friday_noon() + 2 * HOUR);
    write(&log, "by day\n");
    clock.set(friday_noon() + 12 * HOUR - Duration::from_secs(1));
    // The age of a new segment.
    write(&log, "late\n");
    clock.set(friday_noon() + 12 * HOUR);
    write(&log, "next\n");
    let backups: Vec<_> = dir.backups().iter().map(|name| dir.lines_of(name)).collect();
    assert_eq!(backups, [["by size"], ["by age"], ["by day"], ["late"]]);
    assert_eq!(dir.active_lines(), ["next"]);
}

#[test]
fn rotate_on_open_rotates_an_existing_log() {
    let dir = Dir::new();
    for run in 0..3 {
        let log = dir.writer().rotate_on_open(true).build().unwrap();
        write(&log, &format!("run {run}\n"));
    }
    let backups: Vec<_> = dir.backups().iter().map(|name| dir.lines_of(name)).collect();
    assert_eq!(backups, [["run 0"], ["run 1"]]);
    assert_eq!(dir.active_lines(), ["run 2"]);
}

#[test]
fn rotate_on_open_does_not_rotate_an_empty_log() {
    let dir = Dir::new();
    for _ in 0..3 {
        dir.writer().rotate_on_open(true).header(b"#\n").build().unwrap();
    }
    assert_eq!(dir.names(), ["app.log"]);
}

#[test]
fn opening_does_not_rotate_by_default() {
    let dir = Dir::new();
    for _ in 0..3 {
        write(&dir.writer().build().unwrap(), "x\n");
    }
    assert_eq!(dir.active_lines().len(), 3);
}

/// Returns the times of the rotations, in minutes after `start`, as a process in a time zone of its
/// own reports them. There, three workers write to a log every 10 minutes for two days.
#[cfg(unix)]
fn rotations_in(zone: &str, period: &str, start: u64) -> Vec<u64> {
    rotations_at(zone, period, 0, start)
}

/// The same, with periods that begin so many minutes after midnight.
#[cfg(unix)]
fn rotations_at(zone: &str, period: &str, at: u64, start: u64) -> Vec<u64> {
    let dir = Dir::new();
    let job = Job::new("calendar", &dir.log()).env("TZ", zone).with("at", at);
    let mut worker = job.with("period", period).with("start", start).spawn();
    let rotations = worker.hear().unwrap();
    worker.finish();
    let backups = dir.backups();
    assert!(backups.is_sorted() && backups.len() == rotations.split_whitespace().count());
    rotations.split_whitespace().map(|minutes| minutes.parse().unwrap()).collect()
}

/// The task behind [`rotations_in`].
pub fn calendar(job: &Job) {
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(job.number("start") as u64);
    let clock = Clock::manual(start);
    let period: Period = job.text("period").parse().unwrap();
    let builder = job.builder().clock(clock.clone()).maintenance(MaintenanceMode::Inline);
    let at = Duration::from_secs(job.number("at") as u64 * 60);
    let builder = builder.rotate_every(period).rotate_at(at).zone(Zone::Local);
    let workers = [0, 1, 2].map(|_| builder.clone().build().unwrap());
    let count = || workers.iter().map(|log| log.stats().rotations).sum::<u64>();
    let mut rotations = String::new();
    for (seq, minutes) in (0..48 * 60).step_by(10).enumerate() {
        clock.set(start + Duration::from_secs(minutes * 60));
        let before = count();
        for (worker, log) in workers.iter().enumerate() {
            write(log, &record(worker, seq));
        }
        // More than one at the same time would be reported as often.
        for _ in before..count() {
            rotations.push_str(&format!("{minutes} "));
        }
    }
    crate::support::say(rotations);
}

/// 2026-10-24 12:00 UTC; on the 25th, at 01:00 UTC, clocks in Berlin go from 3 back to 2.
#[cfg(unix)]
const BEFORE_END_OF_DST: u64 = 1_792_843_200;

#[cfg(unix)]
#[test]
fn local_day_of_25_hours_ends_at_local_midnight() {
    // 22:00 UTC is midnight on the 25th, 23:00 UTC on the 26th.
    let rotations = rotations_in("Europe/Berlin", "daily", BEFORE_END_OF_DST);
    assert_eq!(rotations, [10 * 60, 35 * 60]);
}

/// 2026-03-28 12:00 UTC; on the 29th, at 01:00 UTC, clocks in Berlin go from 2 to 3.
#[cfg(unix)]
const BEFORE_START_OF_DST: u64 = 1_774_699_200;

#[cfg(unix)]
#[test]
fn local_day_of_23_hours_ends_at_local_midnight() {
    // 23:00 UTC is midnight on the 29th, 22:00 UTC on the 30th.
    let rotations = rotations_in("Europe/Berlin", "daily", BEFORE_START_OF_DST);
    assert_eq!(rotations, [11 * 60, 34 * 60]);
}

#[cfg(unix)]
#[test]
fn local_day_begins_at_the_first_of_two_midnights() {
    const WEEK: u64 = 7 * 24 * 3600;
    // At 05:00 UTC on 1 November, clocks in Havana go from 1 back to midnight, which was at 04:00
    // UTC.
    let rotations = rotations_in("America/Havana", "daily", BEFORE_END_OF_DST + WEEK);
    assert_eq!(rotations, [16 * 60, 41 * 60]);
    // At 03:00 UTC on 5 April, clocks in Santiago go back to 23:00 when it would be midnight, which
    // is at 04:00 UTC.
    let rotations = rotations_in("America/Santiago", "daily", BEFORE_START_OF_DST + WEEK);
    assert_eq!(rotations, [16 * 60, 40 * 60]);
}

#[cfg(unix)]
#[test]
fn day_begins_once_at_a_time_left_out_or_repeated() {
    const HALF_PAST_TWO: u64 = 150;
    let rotations_after = |start| rotations_at("Europe/Berlin", "daily", HALF_PAST_TWO, start);
    // 01:00 UTC, the end of the gap, and 00:30 UTC.
    assert_eq!(rotations_after(BEFORE_START_OF_DST), [13 * 60, 36 * 60 + 30]);
    // 00:30 UTC, the first of the two, and 01:30 UTC.
    assert_eq!(rotations_after(BEFORE_END_OF_DST), [12 * 60 + 30, 37 * 60 + 30]);
}

#[cfg(unix)]
#[test]
fn six_hours_end_at_the_same_local_hours_each_day() {
    let rotations = rotations_in("Europe/Berlin", "6 hours", BEFORE_END_OF_DST);
    // The second period of the 25th has 7 hours.
    assert_eq!(rotations, [4, 10, 17, 23, 29, 35, 41, 47].map(|hour| hour * 60));
}

#[test]
fn daily_log_rotates_at_another_time_of_the_day() {
    let (dir, clock) = (Dir::new(), Clock::manual(friday_noon()));
    let builder = timed(&dir, &clock).rotate_every(Period::Daily).rotate_at(3 * HOUR);
    let log = builder.build().unwrap();
    write(&log, "x\n");
    let mut rotations = Vec::new();
    for hour in 0..72_u32 {
        clock.set(friday_noon() + hour * HOUR);
        let before = log.stats().rotations;
        write(&log, "x\n");
        rotations.extend((log.stats().rotations > before).then_some(hour));
    }
    assert_eq!(rotations, [15, 39, 63]);
}

#[cfg(unix)]
#[test]
fn hour_skipped_by_daylight_saving_time_is_no_period() {
    let rotations = rotations_in("Europe/Berlin", "hourly", BEFORE_START_OF_DST);
    assert_eq!(rotations, (1..48).map(|hour| hour * 60).collect::<Vec<_>>());
}

#[cfg(unix)]
#[test]
fn hour_repeated_by_daylight_saving_time_is_its_own_period() {
    let rotations = rotations_in("Europe/Berlin", "hourly", BEFORE_END_OF_DST);
    assert_eq!(rotations, (1..48).map(|hour| hour * 60).collect::<Vec<_>>());
}

#[cfg(unix)]
#[test]
fn local_hours_follow_a_zone_that_is_off_by_half_an_hour() {
    let rotations = rotations_in("Asia/Kolkata", "hourly", BEFORE_END_OF_DST);
    assert_eq!(rotations, (0..48).map(|hour| 30 + hour * 60).collect::<Vec<_>>());
}

/// A log whose segments end at 10 bytes, but not sooner than an hour after the last, up to 40.
fn hourly_at_most(dir: &Dir, clock: &Clock) -> logrotor::LogBuilder {
    timed(dir, clock).max_size(10).min_interval(HOUR)
}

#[test]
fn size_ends_a_segment_only_after_the_minimum_interval() {
    let (dir, clock) = (Dir::new(), Clock::manual(friday_noon()));
    let log = hourly_at_most(&dir, &clock).build().unwrap();
    (0..3).for_each(|_| write(&log, "12345678\n"));
    clock.set(friday_noon() + HOUR - Duration::from_micros(1));
    write(&log, "in time\n");
    assert_eq!(log.stats().rotations, 0);
    clock.set(friday_noon() + HOUR);
    write(&log, "12345678\n");
    write(&log, "12345678\n");
    assert_eq!(log.stats().rotations, 1, "the next segment has an hour of its own");
    assert_eq!(dir.active_lines(), ["12345678"; 2]);
}

#[test]
fn segment_of_four_times_max_size_does_not_wait() {
    let (dir, clock) = (Dir::new(), Clock::manual(friday_noon()));
    let log = hourly_at_most(&dir, &clock).build().unwrap();
    for _ in 0..9 {
        write(&log, "123456789\n");
    }
    assert_eq!(log.stats().rotations, 2);
    assert!(dir.backups().iter().all(|name| dir.read(name).len() == 40));
    let lines = "123456789\n".repeat(6);
    let taken = log.write_lines(lines.as_bytes()).unwrap();
    assert_eq!(log.write_lines(&lines.as_bytes()[taken..]).unwrap(), 30);
    assert_eq!((log.stats().rotations, dir.active_lines().len()), (3, 3), "lines in one call too");
}

#[test]
fn minimum_interval_holds_up_no_other_rotation() {
    let (dir, clock) = (Dir::new(), Clock::manual(friday_noon() + HOUR / 2));
    let builder = || hourly_at_most(&dir, &clock).rotate_every(Period::Hourly).rotate_on_open(true);
    let log = builder().build().unwrap();
    write(&log, "by hand\n");
    log.rotate().unwrap().unwrap();
    write(&log, "at the end of the period\n");
    clock.set(friday_noon() + HOUR);
    write(&log, "at the next start\n");
    assert_eq!(log.stats().rotations, 2);
    drop(log);
    let log = builder().build().unwrap();
    assert_eq!((log.stats().rotations, dir.backups().len()), (1, 3));
    let log = (log, hourly_at_most(&dir, &clock).max_age(HOUR / 2).build().unwrap()).1;
    write(&log, "old\n");
    // A name may be some microseconds later than the clock.
    clock.set(friday_noon() + HOUR + HOUR / 2 + Duration::from_secs(1));
    write(&log, "by age\n");
    assert_eq!((log.stats().rotations, dir.active_lines()), (1, vec!["by age".to_owned()]));
}

#[test]
fn minimum_interval_counts_for_a_worker_that_starts_later() {
    let (dir, clock) = (Dir::new(), Clock::manual(friday_noon()));
    let first = hourly_at_most(&dir, &clock).build().unwrap();
    write(&first, "12345678\n");
    clock.set(friday_noon() + HOUR / 2);
    let second = hourly_at_most(&dir, &clock).build().unwrap();
    write(&second, "12345678\n");
    assert_eq!(second.stats().rotations, 0);
    clock.set(friday_noon() + HOUR);
    write(&second, "12345678\n");
    write(&first, "a\n");
    assert_eq!((second.stats().rotations, first.stats().rotations), (1, 0));
    assert_eq!(dir.active_lines(), ["12345678", "a"]);
}

#[test]
fn clock_set_back_does_not_prolong_the_minimum_interval() {
    let (dir, clock) = (Dir::new(), Clock::manual(friday_noon()));
    let log = hourly_at_most(&dir, &clock).build().unwrap();
    write(&log, "12345678\n");
    clock.set(friday_noon() - 2 * HOUR);
    write(&log, "12345678\n");
    assert_eq!(log.stats().rotations, 1);
}
