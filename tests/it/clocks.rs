//! Clocks that are wrong, jump, or differ between workers: at the end of a period, one worker
//! rotates for all, even if workers are idle or have just started.

use crate::support::{Dir, Job, Worker, eventually};
use logrotor::__test::Clock;
use logrotor::{MaintenanceMode, Naming, Period, RotatingFileWriter, Stats};
use std::io::Write;
#[cfg(target_os = "linux")]
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

/// The interval at which a worker checks the log's path.
const CHECK: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// 2027-01-15 was a Friday.
fn friday_noon() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_014_400)
}

/// Several workers of one log that write in turn and rotate by the calendar.
struct Crew {
    dir: Dir,
    clock: Clock,
    naming: Naming,
    period: Period,
    workers: Vec<RotatingFileWriter>,
    /// Rotations of the workers that have ended.
    before: u64,
    records: usize,
}

impl Crew {
    fn new(naming: Naming, period: Period, size: usize) -> Self {
        let (dir, clock) = (Dir::new(), Clock::manual(friday_noon()));
        let mut crew =
            Self { dir, clock, naming, period, workers: Vec::new(), before: 0, records: 0 };
        let clocks = vec![crew.clock.clone(); size];
        crew.workers = clocks.iter().map(|clock| crew.open(clock)).collect();
        crew
    }

    fn open(&self, clock: &Clock) -> RotatingFileWriter {
        let builder = self.dir.writer().clock(clock.clone()).rotate_every(self.period);
        builder.naming(self.naming).maintenance(MaintenanceMode::Inline).build().unwrap()
    }

    /// Replaces a worker by another process.
    fn restart(&mut self, at: usize, clock: &Clock) {
        self.before += self.workers[at].stats().rotations;
        self.workers[at] = self.open(clock);
    }

    /// Makes each worker write a record, starting with worker `first`.
    fn write(&mut self, first: usize) {
        for at in 0..self.workers.len() {
            let mut log = &self.workers[(first + at) % self.workers.len()];
            writeln!(log, "{}", self.records).unwrap();
            self.records += 1;
        }
    }

    /// Makes all workers write once an hour, from this hour after Friday noon on. Another worker is
    /// the first each time.
    fn hourly(&mut self, from: Duration, hours: usize) {
        for hour in 0..hours {
            self.clock.set(friday_noon() + from + HOUR * u32::try_from(hour).unwrap());
            self.write(hour);
        }
    }

    fn rotations(&self) -> u64 {
        self.before + self.workers.iter().map(|log| log.stats().rotations).sum::<u64>()
    }

    /// Checks that the order by name is the order of writing, and that no record is lost or
    /// doubled.
    fn check(&self) {
        let found = self.dir.all_lines();
        let wrong = (0..self.records).find(|seq| found.get(*seq) != Some(&seq.to_string()));
        assert_eq!((wrong, found.len()), (None, self.records));
        assert_eq!(self.dir.backups().len() as u64, self.rotations());
    }
}

#[test]
fn clock_jumps_keep_the_order_and_one_rotation_per_period() {
    for naming in [Naming::Timestamp, Naming::Number] {
        let mut crew = Crew::new(naming, Period::Daily, 3);
        let clock = crew.clock.clone();
        crew.hourly(Duration::ZERO, 24);
        assert_eq!(crew.rotations(), 1, "at midnight");
        // To noon on Friday. Saturday's segment exists already, and lasts until Saturday is finally
        // over.
        crew.restart(0, &clock);
        crew.hourly(Duration::ZERO, 36);
        assert_eq!(crew.rotations(), 1, "the day that is repeated");
        crew.hourly(DAY + DAY / 2, 12);
        assert_eq!(crew.rotations(), 2, "midnight before Sunday");
        crew.restart(1, &clock);
        crew.hourly(365 * DAY, 24);
        assert_eq!(crew.rotations(), 4, "a year ahead, and the next midnight");
        // Back to what it was.
        crew.restart(2, &clock);
        crew.hourly(2 * DAY, 24);
        assert_eq!(crew.rotations(), 6, "a year back, and the next midnight");
        crew.check();
    }
}

#[test]
fn clock_set_back_a_little_does_not_rotate_each_time() {
    for naming in [Naming::Timestamp, Naming::Number] {
        let mut crew = Crew::new(naming, Period::Hourly, 2);
        for minute in 0..180 {
            let wrong = if minute % 2 == 0 { Duration::ZERO } else { 30 * MINUTE };
            crew.clock.set(friday_noon() + 30 * MINUTE + minute * MINUTE - wrong);
            crew.write(0);
        }
        assert_eq!(crew.rotations(), 3);
        crew.check();
    }
}

// A worker whose clock was ahead ended each period twice with the others, and once more at each
// restart before their clocks reached the boundary.
#[test]
fn regression_workers_minutes_apart_rotate_once_per_period() {
    const HOURS: usize = 24;
    // By names, the first worker to see an hour end is ahead of it. By numbers, the file system's
    // clock decides, and it does not see the last hour end.
    for (naming, rotations) in [(Naming::Timestamp, HOURS), (Naming::Number, HOURS - 1)] {
        let mut random = fastrand::Rng::with_seed(crate::support::seed());
        let mut crew = Crew::new(naming, Period::Hourly, 0);
        let clocks = [0, 5, -7].map(|minutes| crew.clock.ahead(minutes * 60));
        crew.workers = clocks.iter().map(|clock| crew.open(clock)).collect();
        for minute in 0..HOURS * 60 {
            crew.clock.set(friday_noon() + MINUTE * u32::try_from(minute).unwrap());
            if random.usize(..4) == 0 {
                let at = random.usize(..clocks.len());
                crew.restart(at, &clocks[at]);
                // So that it checks the path again before it writes.
                crew.clock.set(friday_noon() + MINUTE * u32::try_from(minute).unwrap() + CHECK);
            }
            let before = crew.rotations();
            crew.write(random.usize(..clocks.len()));
            assert!(crew.rotations() <= before + 1, "{naming:?} minute {minute}");
        }
        assert_eq!(crew.rotations(), rotations as u64, "{naming:?}");
        crew.check();
    }
}

/// The file system's clock begins the segment, and this worker's is two hours ahead of it.
#[test]
fn minimum_interval_of_numbers_is_by_one_clock() {
    let (dir, clock) = (Dir::new(), Clock::manual(friday_noon()));
    let settings = dir.writer().naming(Naming::Number).max_size(64).min_interval(HOUR);
    let mut log = settings.clock(clock.ahead(2 * 3600)).build().unwrap();
    // The second one exceeds the limit.
    for name in ["first", "second"] {
        writeln!(log, "{name:060}").unwrap();
    }
    assert_eq!(log.stats().rotations, 0);
    clock.set(friday_noon() + HOUR + CHECK);
    writeln!(log, "third").unwrap();
    assert_eq!(log.stats().rotations, 1);
}

#[test]
fn time_of_an_empty_numbered_segment_starts_again_by_one_clock() {
    let (dir, clock) = (Dir::new(), Clock::manual(friday_noon()));
    let settings = dir.writer().naming(Naming::Number).rotate_every(Period::Hourly);
    let mut log = settings.clock(clock.ahead(70 * 60)).build().unwrap();
    writeln!(log, "a record").unwrap();
    log.rotate().unwrap().unwrap();
    clock.set(friday_noon() + HOUR + CHECK);
    writeln!(log, "the hour of the empty segment is over").unwrap();
    assert_eq!(log.stats().rotations, 1);
    clock.set(friday_noon() + 2 * HOUR + CHECK);
    writeln!(log, "the next hour is over").unwrap();
    assert_eq!(log.stats().rotations, 2);
}

// A worker learned by how much its clock was ahead only from a segment with a record, so the first
// period of a new log lasted an hour too long.
#[test]
fn regression_first_period_of_a_numbered_log_ends_in_time() {
    let (dir, clock) = (Dir::new(), Clock::manual(friday_noon()));
    let settings = dir.writer().naming(Naming::Number).rotate_every(Period::Hourly);
    let mut log = settings.clock(clock.ahead(70 * 60)).build().unwrap();
    clock.set(friday_noon() + HOUR + CHECK);
    writeln!(log, "the hour of the empty segment is over").unwrap();
    assert_eq!(log.stats().rotations, 0);
    clock.set(friday_noon() + 2 * HOUR + CHECK);
    writeln!(log, "the next hour is over").unwrap();
    assert_eq!(log.stats().rotations, 1);
}

/// Workers with threads that have each written a record on Friday.
fn idle_crew(count: usize) -> (Dir, Clock, Vec<RotatingFileWriter>) {
    let (dir, clock) = (Dir::new(), Clock::manual(friday_noon()));
    let open = || dir.writer().clock(clock.clone()).rotate_every(Period::Daily).build().unwrap();
    let crew: Vec<_> = (0..count).map(|_| open()).collect();
    crew.iter().for_each(|mut log| writeln!(log, "friday").unwrap());
    (dir, clock, crew)
}

fn sum(crew: &[RotatingFileWriter], count: impl Fn(&Stats) -> u64) -> u64 {
    crew.iter().map(|log| count(&log.stats())).sum()
}

#[test]
fn idle_workers_rotate_once_at_the_boundary() {
    let (dir, clock, crew) = idle_crew(4);
    clock.set(friday_noon() + DAY / 2);
    // One rotates, and each of the others detects it.
    eventually("all have moved on", || {
        crew.iter().all(|log| {
            let stats = log.stats();
            stats.rotations + stats.follows + stats.skips > 0
        })
    });
    crew.iter().for_each(|mut log| writeln!(log, "saturday").unwrap());
    assert_eq!((sum(&crew, |stats| stats.rotations), dir.backups().len()), (1, 1));
    assert_eq!(dir.lines_of(&dir.backups()[0]), ["friday"; 4]);
    assert_eq!(dir.active_lines(), ["saturday"; 4]);
}

#[test]
fn worker_restarted_after_the_boundary_rotates_at_most_once() {
    for restarted_is_first in [true, false] {
        let mut crew = Crew::new(Naming::Timestamp, Period::Daily, 3);
        let clock = crew.clock.clone();
        crew.write(0);
        crew.clock.set(friday_noon() + DAY / 2 - Duration::from_micros(1));
        crew.write(0);
        crew.clock.set(friday_noon() + DAY / 2);
        if !restarted_is_first {
            crew.write(1);
        }
        crew.restart(0, &clock);
        assert_eq!(crew.rotations(), 1);
        crew.write(0);
        crew.restart(1, &clock);
        crew.write(1);
        assert_eq!(crew.rotations(), 1);
        crew.check();
    }
}

#[test]
fn processes_rotate_once_per_age_together() {
    const AGE: Duration = Duration::from_millis(100);
    let dir = Dir::new();
    let job = Job::new("obey", &dir.log()).with("max_age_ms", AGE.as_millis());
    let start = Instant::now();
    let mut workers: Vec<_> = (0..4).map(|_| job.spawn()).collect();
    workers.iter_mut().for_each(|worker| worker.expect("ready"));
    while dir.backups().len() < 10 {
        workers.iter_mut().for_each(|worker| worker.write("x"));
    }
    let rotations: u64 = workers.iter_mut().map(|worker| worker.count("rotations")).sum();
    let most = start.elapsed().as_millis() / AGE.as_millis();
    assert!(u128::from(rotations) <= most, "{rotations} rotations in the time of {most}");
}

#[test]
fn idle_processes_rotate_once_when_the_age_is_reached() {
    let dir = Dir::new();
    let job = Job::new("obey", &dir.log()).with("max_age_ms", 300);
    let mut workers: Vec<_> = (0..4).map(|_| job.spawn()).collect();
    workers.iter_mut().for_each(|worker| worker.expect("ready"));
    workers[0].write("the only one");
    let has_moved = |worker: &mut Worker| {
        ["rotations", "follows", "skips"].iter().map(|counter| worker.count(counter)).sum::<u64>()
            > 0
    };
    eventually("all have moved on", || workers.iter_mut().all(has_moved));
    let rotations: u64 = workers.iter_mut().map(|worker| worker.count("rotations")).sum();
    assert_eq!((rotations, dir.backups().len()), (1, 1));
    assert_eq!(dir.lines_of(&dir.backups()[0]), ["the only one"]);
}

/// Four processes write just before and just after each end of a period, the clock of each being
/// set while the others write. `first` is the first end, in seconds after noon.
fn assert_one_rotation_per_end(settings: &[(&str, u64)], first: u64, length: u64) {
    const WORKERS: usize = 4;
    let dir = Dir::new();
    let noon = friday_noon().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let start = |clock: u64| {
        let job = Job::new("obey", &dir.log()).with("clock", clock).with("lock_ms", 60_000);
        let job = settings.iter().fold(job, |job, (name, value)| job.with(name, value));
        let mut worker = job.spawn();
        worker.expect("ready");
        worker
    };
    let mut workers: Vec<_> = (0..WORKERS).map(|_| start(noon)).collect();
    let mut all = 0;
    for round in 0..4 {
        let end = noon + first + round * length;
        // A second before the end, and a second or more after it.
        for (clock, when) in [(end - 1, "before"), (end + 1 + round * length / 7, "after")] {
            for (at, worker) in workers.iter_mut().enumerate() {
                worker.tell(&format!("clock {clock}"));
                worker.tell(&format!("write round {round} {when} worker {at}"));
            }
            workers.iter_mut().for_each(|worker| {
                worker.expect("ok");
                worker.expect("ok");
            });
            all += WORKERS;
            assert_eq!(dir.backups().len() as u64, round + u64::from(when == "after"));
        }
        // One dies, and another takes its place in the middle of the period.
        let killed = round as usize % WORKERS;
        workers[killed].kill();
        workers[killed] = start(end + length / 2);
    }
    drop(workers);
    let lines = dir.all_lines();
    assert_eq!(lines.len(), all, "{lines:?}");
    // Records that were written before an end are in a segment before it.
    let backups = dir.backups();
    for (round, backup) in backups.iter().enumerate() {
        let early = format!("round {round} before");
        let late = round.checked_sub(1).map(|round| format!("round {round} after"));
        let belongs = |line: &String| {
            line.starts_with(&early) || late.as_ref().is_some_and(|late| line.starts_with(late))
        };
        let lines = dir.lines_of(backup);
        assert!(lines.iter().all(belongs), "{backup}: {lines:?}");
    }
}

#[test]
fn processes_rotate_once_at_each_end_of_some_hours() {
    assert_one_rotation_per_end(&[("hours", 6)], 6 * 3600, 6 * 3600);
    // A quarter past 00:00, 06:00, 12:00 and 18:00.
    assert_one_rotation_per_end(&[("hours", 6), ("begins_at", 900)], 900, 6 * 3600);
}

#[test]
fn processes_rotate_once_at_each_beginning_of_a_day() {
    let day = 24 * 3600;
    assert_one_rotation_per_end(&[("daily", 1), ("begins_at", 3 * 3600)], 15 * 3600, day);
}

/// The paths of Debian, of Fedora, and of a local build.
#[cfg(target_os = "linux")]
fn libfaketime() -> Option<PathBuf> {
    const NAME: &str = "faketime/libfaketime.so.1";
    let below = |dir: &str| {
        let entries = std::fs::read_dir(dir).into_iter().flatten();
        entries.map(|entry| entry.unwrap().path().join(NAME)).collect::<Vec<_>>()
    };
    let all = ["/usr/lib", "/usr/local/lib", "/usr"].map(below).concat();
    all.into_iter().chain([PathBuf::from("/usr/local/lib").join(NAME)]).find(|path| path.exists())
}

// It replaces the clock for names, but not the times of the file system.
#[cfg(target_os = "linux")]
#[test]
fn processes_with_differing_clocks_keep_the_order_by_name() {
    let Some(library) = libfaketime() else {
        println!("skipped: libfaketime is not installed (Debian: apt install faketime)");
        return;
    };
    let dir = Dir::new();
    let job = Job::new("obey", &dir.log()).with("check_ms", 0);
    let start = |clock: &str| {
        let job = job.clone().env("LD_PRELOAD", library.display()).env("FAKETIME", clock);
        let mut worker = job.spawn();
        worker.expect("ready");
        worker
    };
    const CLOCKS: [&str; 5] = ["-1d", "+0", "+7m", "+365d", "-5m"];
    let mut workers: Vec<_> = CLOCKS.iter().map(|clock| start(clock)).collect();
    let mut written = Vec::new();
    for round in 0..8 {
        for at in 0..workers.len() {
            let line = format!("round {round} clock {}", CLOCKS[at]);
            workers[at].write(&line);
            written.push(line);
            assert_eq!(workers[at].ask("rotate"), "ok");
            if (round + at) % 3 == 0 {
                workers[at] = start(CLOCKS[at]);
            }
        }
    }
    assert_eq!(dir.all_lines(), written);
    let backups = dir.backups();
    assert_eq!(backups.len(), written.len());
    // The first one was behind, and one of the first five was a year ahead.
    let year = |name: &String| name["app.log.".len()..][..4].parse::<u32>().unwrap();
    assert!(year(&backups[0]) < year(&backups[4]), "{backups:?}");
}
