//! Workers of one log with different settings: no record is lost, and no worker undoes the work of
//! another again and again.

use crate::support::{Dir, Job, Verdict, Worker, check, eventually, record};
use logrotor::__test::Clock;
use logrotor::{MaintenanceMode, Period, RotatingFileWriter};
use std::io::Write;
use std::time::{Duration, SystemTime};

const COUNT: usize = 2_000;

fn job(dir: &Dir) -> Job {
    Job::new("write", &dir.log()).with("count", COUNT)
}

/// Makes the workers of all jobs write their records at the same time. Returns the rotations of
/// each.
fn run(jobs: &[Job]) -> Vec<usize> {
    let start = |(id, job): (usize, &Job)| job.clone().with("worker", id).spawn();
    let mut workers: Vec<Worker> = jobs.iter().enumerate().map(start).collect();
    workers.iter_mut().for_each(|worker| worker.expect("ready"));
    workers.iter_mut().for_each(|worker| worker.tell("go"));
    let rotations = |worker: &mut Worker| {
        let said = worker.hear().unwrap();
        said.split(' ').next().unwrap().parse().unwrap()
    };
    let rotations = workers.iter_mut().map(rotations).collect();
    workers.into_iter().for_each(Worker::finish);
    rotations
}

fn verdict(dir: &Dir, workers: usize) -> Verdict {
    check(&dir.all_lines(), &(0..workers).map(|id| (id, COUNT)).collect())
}

fn bytes_written(workers: usize) -> usize {
    let of = |id| (0..COUNT).map(|seq| record(id, seq).len()).sum::<usize>();
    (0..workers).map(of).sum()
}

#[test]
fn segments_end_at_the_smaller_of_two_sizes() {
    const SIZES: [usize; 2] = [1_000, 20_000];
    let longest =
        (0..COUNT).map(|seq| record(0, seq).len().max(record(1, seq).len())).max().unwrap();
    for numbered in [false, true] {
        let dir = Dir::new();
        let jobs = SIZES.map(|size| job(&dir).with("max_size", size));
        let jobs = jobs.map(|job| if numbered { job.with("numbered", 1) } else { job });
        let rotations = run(&jobs);
        let verdict = verdict(&dir, 2);
        assert!(verdict.is_clean() && verdict.extra == 0, "{verdict}");
        assert_eq!(dir.backups().len(), rotations.iter().sum::<usize>());
        // A worker rotates only a segment that has no room for its record by its own limit.
        for (rotations, size) in rotations.iter().zip(SIZES) {
            let most = bytes_written(2) / (size - longest);
            assert!(*rotations <= most, "{rotations} rotations at {size} bytes, more than {most}");
        }
        // The worker with the smaller limit keeps to it as long as it writes.
        let own: usize = (0..COUNT).map(|seq| record(0, seq).len()).sum();
        assert!(dir.backups().len() + 1 >= own / SIZES[0]);
    }
}

fn write(mut log: &RotatingFileWriter, text: &str) {
    log.write_all(text.as_bytes()).unwrap();
}

#[test]
fn each_worker_s_period_ends_a_segment_for_all() {
    const HOURS: u64 = 48;
    let noon = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_014_400);
    let (dir, clock) = (Dir::new(), Clock::manual(noon));
    let open = |period| {
        let builder = dir.writer().clock(clock.clone()).rotate_every(period);
        builder.maintenance(MaintenanceMode::Inline).build().unwrap()
    };
    let workers = [open(Period::Daily), open(Period::Hourly), open(Period::Weekly)];
    for minutes in (0..HOURS * 60).step_by(10) {
        clock.set(noon + Duration::from_secs(minutes * 60));
        workers.iter().for_each(|log| write(log, "x\n"));
    }
    let rotations = workers.each_ref().map(|log| log.stats().rotations);
    // Once at each full hour, midnight included.
    assert_eq!(rotations.iter().sum::<u64>(), HOURS - 1, "{rotations:?}");
    assert_eq!(dir.all_lines().len() as u64, 3 * 6 * HOURS);
}

#[test]
fn smallest_max_backups_of_all_workers_holds() {
    let dir = Dir::new();
    let log = |count: usize| {
        let builder = dir.writer().max_backups(count).maintenance(MaintenanceMode::Inline);
        builder.check_interval(Duration::ZERO).build().unwrap()
    };
    let (many, few) = (log(5), log(2));
    for seq in 0..8 {
        write(&many, &format!("{seq}\n"));
        many.rotate().unwrap().unwrap();
    }
    write(&few, "few\n");
    many.close().unwrap();
    few.close().unwrap();
    // Once, unless a process that another test is just starting has a copy of one of our leases.
    eventually("two are kept", || {
        log(2).close().unwrap();
        dir.backups().len() == 2
    });
    assert_eq!(dir.all_lines(), ["6", "7", "few"]);
}

#[test]
fn backups_are_compressed_once_if_any_worker_compresses() {
    let dir = Dir::new();
    let job = job(&dir).with("max_size", 2_000);
    let (plain, gzip) = (job.clone(), job.clone().with("gzip", 1));
    let jobs = [plain, gzip.clone(), gzip.clone()];
    // One with another compression, if it is built in.
    #[cfg(feature = "zstd")]
    let jobs = [&jobs[..], &[job.with("zstd", 1)]].concat();
    run(&jobs);
    let verdict = verdict(&dir, jobs.len());
    assert!(verdict.is_clean() && verdict.extra == 0, "{verdict}");
    gzip.builder().maintenance(MaintenanceMode::Inline).build().unwrap().close().unwrap();
    let backups = dir.backups();
    assert!(backups.iter().all(|name| name.ends_with(".gz") || name.ends_with(".zst")));
    let mut keys: Vec<_> =
        backups.iter().map(|name| name.trim_end_matches(".gz").trim_end_matches(".zst")).collect();
    keys.dedup();
    assert_eq!(keys.len(), backups.len());
    assert_eq!(dir.names().len(), backups.len() + 1, "{:?}", dir.names());
}

#[test]
fn workers_with_different_namings_maintain_their_own_backups() {
    let dir = Dir::new();
    let by_time = job(&dir).with("max_size", 4_000).with("gzip", 1);
    let by_number = job(&dir).with("max_size", 4_000).with("numbered", 1);
    let rotations = run(&[by_time.clone(), by_number.clone()]);
    let Verdict { lost, doubled, torn, extra, .. } = verdict(&dir, 2);
    assert_eq!((lost, doubled, torn, extra), (0, 0, 0, 0));
    let is_number = |name: &String| name["app.log.".len()..].trim_end_matches(".gz").len() < 10;
    let of = |number: bool| dir.backups().into_iter().filter(move |name| is_number(name) == number);
    assert_eq!([false, true].map(|number| of(number).count()), rotations[..]);
    // Neither compresses nor prunes the backups of the other naming.
    let close = |job: &Job, keep: usize| {
        let builder = job.builder().maintenance(MaintenanceMode::Inline).max_backups(keep);
        builder.build().unwrap().close().unwrap();
    };
    close(&by_time, 1);
    assert_eq!([of(false).count(), of(true).count()], [1, rotations[1]]);
    assert!(of(true).all(|name| !name.ends_with(".gz")));
    close(&by_number, 2);
    assert_eq!([of(false).count(), of(true).count()], [1, 2]);
    // Lists both, and the active segment.
    let log = by_time.builder().max_backups(1).build().unwrap();
    assert_eq!(log.segments().unwrap().len(), 4);
}

#[test]
fn workers_with_both_forms_of_time_keep_one_series() {
    let dir = Dir::new();
    let plain = job(&dir).with("max_size", 4_000).with("gzip", 1);
    let infix = plain.clone().with("infix", 1);
    let rotations = run(&[plain.clone(), infix.clone(), plain, infix.clone()]);
    let verdict = verdict(&dir, 4);
    assert!(verdict.is_clean() && verdict.extra == 0, "{verdict}");
    let backups = dir.backups();
    let after_name = backups.iter().filter(|name| name.starts_with("app.log.")).count();
    assert_eq!(after_name, rotations[0] + rotations[2]);
    assert_eq!(backups.len(), rotations.iter().sum::<usize>());
    // Each prunes and compresses those of the other form too.
    let newest = backups[backups.len() - 5..].iter().map(|name| name.trim_end_matches(".gz"));
    let expected: Vec<_> = newest.map(|name| format!("{name}.gz")).collect();
    eventually("five are kept", || {
        let last = infix.builder().maintenance(MaintenanceMode::Inline).max_backups(5);
        last.build().unwrap().close().unwrap();
        dir.backups() == expected
    });
}

#[test]
fn header_of_one_worker_heads_its_own_segments() {
    let dir = Dir::new();
    let open = |builder: logrotor::LogBuilder| {
        let builder = builder.max_size(100).check_interval(Duration::ZERO);
        builder.maintenance(MaintenanceMode::Inline).build().unwrap()
    };
    let with = open(dir.writer().header(b"time,level\n"));
    let without = open(dir.writer());
    for seq in 0..50 {
        let log = if seq % 3 == 0 { &without } else { &with };
        write(log, &format!("record {seq}\n"));
    }
    let lines = dir.all_lines();
    let records: Vec<_> = lines.iter().filter(|line| line.starts_with("record")).collect();
    let expected: Vec<_> = (0..50).map(|seq| format!("record {seq}")).collect();
    assert_eq!(records, expected.iter().collect::<Vec<_>>());
    let headers = lines.len() - records.len();
    // The first segment is its own as well.
    assert_eq!(headers as u64, with.stats().rotations + 1);
}

#[test]
fn processes_agree_on_the_minimum_interval() {
    const WORKERS: usize = 4;
    const SIZE: usize = 10_000;
    let longest = (0..COUNT).map(|seq| record(0, seq).len()).max().unwrap();
    let dir = Dir::new();
    // An hour: each segment reaches the hard limit, whichever worker fills it.
    let rare = job(&dir).with("max_size", SIZE).with("min_interval_ms", 3_600_000);
    let rotations = run(&vec![rare.clone(); WORKERS]);
    let backups = dir.backups();
    assert_eq!(backups.len(), rotations.iter().sum::<usize>());
    assert!(!backups.is_empty());
    for name in &backups {
        let bytes = dir.read(name).len();
        assert!(bytes + longest > 4 * SIZE, "{name} ended at {bytes} bytes");
        // A worker that fills the segment asks for the others' records each 625 bytes.
        assert!(bytes < 5 * SIZE, "{name} has {bytes} bytes");
    }
    // Workers that start later count from the start of the segment, not from their own.
    let active = dir.read("app.log").len();
    let late = rare.with("count", (4 * SIZE).saturating_sub(active + longest) / longest);
    assert_eq!(run(&[late]), [0]);
    let verdict = verdict(&dir, WORKERS);
    assert!(verdict.lost == 0 && verdict.torn == 0, "{verdict}");
}

#[cfg(unix)]
#[test]
fn minimum_interval_holds_up_no_segment_that_may_not_grow() {
    const BLOCKS: usize = 8;
    let dir = Dir::new();
    let limited = job(&dir).with("max_size", 3_000).with("min_interval_ms", 3_600_000);
    run(&[limited.with("file_blocks", BLOCKS)]);
    let verdict = verdict(&dir, 1);
    assert!(verdict.is_clean() && verdict.extra == 0, "{verdict}");
    let largest = dir.backups().iter().map(|name| dir.read(name).len()).max().unwrap();
    assert!((3_000..=BLOCKS * 512).contains(&largest), "{largest}");
}
