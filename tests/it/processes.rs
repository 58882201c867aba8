//! Many processes on one log: every record once, whole, in order.

use crate::support::{Dir, Job, Verdict, Worker, check, eventually, is_long, lines, record};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Has `workers` processes write `count` records each; returns the directory and what became of them.
fn run(workers: usize, count: usize, job: impl Fn(Job) -> Job) -> (Dir, Verdict) {
    run_while(workers, count, job, |_| {})
}

/// As [`run`], and does something in the meantime, again and again.
fn run_while(
    workers: usize,
    count: usize,
    job: impl Fn(Job) -> Job,
    mut meanwhile: impl FnMut(&Dir),
) -> (Dir, Verdict) {
    let dir = Dir::new();
    let job = job(Job::new("write", &dir.log()).with("count", count));
    let mut all: Vec<_> = (0..workers).map(|id| job.clone().with("worker", id).spawn()).collect();
    all.iter_mut().for_each(|worker| worker.expect("ready"));
    all.iter_mut().for_each(|worker| worker.tell("go"));
    while !all.iter_mut().all(Worker::has_ended) {
        meanwhile(&dir);
        std::thread::sleep(Duration::from_millis(1));
    }
    all.into_iter().for_each(Worker::finish);
    let expected: BTreeMap<_, _> = (0..workers).map(|id| (id, count)).collect();
    let verdict = check(&dir.all_lines(), &expected);
    (dir, verdict)
}

/// Each of 20,000 records once, by both namings, compressed and not.
///
/// Segments of 200 bytes are thousands, and with [`logrotor::Naming::Number`] each rotation renames all
/// of them; there the count is a twentieth. Without `LOGROTOR_LONG` it is a tenth with either naming.
fn every_record_once(workers: usize, max_size: usize) {
    let sized = |job: Job| job.with("max_size", max_size);
    let variants: [(&str, &dyn Fn(Job) -> Job); 4] = [
        ("timestamp", &|job| sized(job)),
        ("timestamp, gzip", &|job| sized(job).with("gzip", 1)),
        ("number", &|job| sized(job).with("numbered", 1)),
        ("number, gzip", &|job| sized(job).with("numbered", 1).with("gzip", 1)),
    ];
    for (name, variant) in variants {
        let part = match (max_size, is_long(), name.starts_with("number")) {
            (200, _, true) => 20,
            (200, false, false) => 10,
            _ => 1,
        };
        let count = 20_000 / workers / part;
        // Maintenance renames under the rotation lock where backups are numbered, and `close` says so if
        // ten workers that do that at the same time keep it from its turn for too long.
        let (_, verdict) = run(workers, count, |job| variant(job).with("lock_ms", 60_000));
        assert!(verdict.is_clean(), "{workers} x {count}, {max_size} bytes, {name}: {verdict}");
        assert_eq!((verdict.found, verdict.extra), (workers * count, 0));
    }
}

#[test]
fn two_workers_at_1_mib_lose_double_and_tear_nothing() {
    every_record_once(2, 1024 * 1024);
}

#[test]
fn five_workers_at_5_kib_lose_double_and_tear_nothing() {
    every_record_once(5, 5 * 1024);
}

#[test]
fn ten_workers_at_200_bytes_lose_double_and_tear_nothing() {
    every_record_once(10, 200);
}

#[test]
fn every_number_of_workers_at_every_limit_loses_doubles_and_tears_nothing() {
    if !is_long() {
        println!(
            "skipped: set LOGROTOR_LONG=1 for the combinations that have no test of their own"
        );
        return;
    }
    for (workers, max_size) in
        [(2, 200), (2, 5 * 1024), (5, 200), (5, 1024 * 1024), (10, 5 * 1024), (10, 1024 * 1024)]
    {
        every_record_once(workers, max_size);
    }
}

#[test]
fn segment_grows_beyond_max_size_by_about_a_record_per_other_worker_at_most() {
    const MAX_SIZE: usize = 4096;
    const WORKERS: usize = 4;
    // Nobody gives up waiting for the rotation lock, which is another matter.
    let job = |job: Job| job.with("max_size", MAX_SIZE).with("lock_ms", 60_000);
    let (dir, verdict) = run(WORKERS, 3_000, job);
    assert!(verdict.is_clean(), "{verdict}");
    let longest = (0..WORKERS).flat_map(|worker| (0..90).map(move |seq| record(worker, seq).len()));
    // A worker that was alone for a long time asks for the size only so often.
    let unasked = MAX_SIZE / 16;
    let bound = MAX_SIZE + (WORKERS - 1) * (longest.max().unwrap() + unasked);
    for name in dir.backups() {
        let len = dir.read(&name).len();
        assert!(len <= bound, "{name} has {len} bytes, more than {bound}");
    }
}

#[test]
fn one_overflow_is_one_rotation_for_ten_processes_that_arrive_together() {
    const MAX_SIZE: usize = 4096;
    let dir = Dir::new();
    // They look at the path when they are told to, or have no room.
    let job = Job::new("obey", &dir.log()).with("max_size", MAX_SIZE);
    let job = job.with("inline", 1).with("check_ms", 3_600_000).with("lock_ms", 60_000);
    let mut workers: Vec<_> = (0..10).map(|_| job.spawn()).collect();
    workers.iter_mut().for_each(|worker| worker.expect("ready"));
    for round in 1..=10_u64 {
        let size = dir.read("app.log").len();
        workers[0].write(&"x".repeat(MAX_SIZE - size - 10));
        // Now each knows that the segment is full.
        for worker in &mut workers {
            assert_eq!(worker.ask("reopen"), "ok");
        }
        workers.iter_mut().for_each(|worker| worker.tell("write there is no room for this"));
        workers.iter_mut().for_each(|worker| worker.expect("ok"));
        let rotations: u64 = workers.iter_mut().map(|worker| worker.count("rotations")).sum();
        let skips: u64 = workers.iter_mut().map(|worker| worker.count("skips")).sum();
        assert_eq!((rotations, skips), (round, 9 * round));
        assert_eq!(dir.active_lines(), ["there is no room for this"; 10]);
    }
    workers.into_iter().for_each(Worker::finish);
}

/// The lock file is taken away again and again, so that two workers rotate at the same time. Their backups
/// may then be named in another order than they were written in.
fn lock_file_is_removed_by_hand(job: impl Fn(Job) -> Job) {
    let mut removed = 0;
    let take_away = |dir: &Dir| {
        removed += usize::from(std::fs::remove_file(dir.file("app.log.lock")).is_ok());
    };
    let (dir, verdict) = run_while(4, 2_000, |j| job(j.with("max_size", 1024)), take_away);
    println!("removed {removed} times");
    assert!(dir.backups().len() > 100);
    assert_eq!((verdict.lost, verdict.doubled, verdict.torn), (0, 0, 0), "{verdict}");
}

#[test]
fn lock_file_removed_by_hand_while_workers_rotate_costs_no_record() {
    lock_file_is_removed_by_hand(|job| job.with("gzip", 1));
}

#[test]
fn lock_file_removed_by_hand_while_workers_rotate_by_number_costs_no_record() {
    lock_file_is_removed_by_hand(|job| job.with("numbered", 1));
}

#[cfg(unix)]
#[test]
fn stopped_lock_holder_delays_one_write_by_the_timeout_and_postpones_rotation() {
    const PATIENCE: Duration = Duration::from_millis(300);
    let dir = Dir::new();
    let job = Job::new("obey", &dir.log()).with("max_size", 100);
    let job = job.with("lock_ms", PATIENCE.as_millis());
    let mut workers = [job.spawn(), job.spawn()];
    workers.iter_mut().for_each(|worker| worker.expect("ready"));
    let mut holder =
        Job::new("hold", &dir.log()).with("lock", dir.file("app.log.lock").display()).spawn();
    holder.expect("ready");
    holder.stop();
    let began = Instant::now();
    for seq in 0..50 {
        workers.iter_mut().for_each(|worker| worker.write(&format!("record {seq}")));
    }
    // If every write waited, it would be 30 s. A few try again meanwhile, but wait no more.
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert!(began.elapsed() >= PATIENCE);
    for worker in &mut workers {
        assert!(worker.count("timeouts") >= 1);
        assert!(worker.count("timeouts") < 15, "once per step of the delay");
        assert_eq!(worker.count("rotations"), 0);
    }
    let last = workers[0].ask("last");
    assert!(
        last.contains("app.log.lock") && last.contains(&format!("pid {}", holder.pid())),
        "{last}"
    );
    holder.go_on();
    holder.finish();
    eventually("the rotation is made up for", || {
        workers.iter_mut().for_each(|worker| worker.write("again"));
        workers.iter_mut().map(|worker| worker.count("rotations")).sum::<u64>() > 0
    });
    let all = dir.all_lines();
    assert_eq!(all.iter().filter(|line| line.starts_with("record ")).count(), 100);
    let written: u64 = workers.iter_mut().map(|worker| worker.count("records")).sum();
    assert_eq!(all.len() as u64, written);
}

#[test]
fn checker_sees_what_is_dropped_doubled_torn_and_disordered() {
    const COUNT: usize = 1000;
    let expected = BTreeMap::from([(1, COUNT), (2, COUNT)]);
    let whole: Vec<_> = (0..COUNT)
        .flat_map(|seq| [record(1, seq), record(2, seq)])
        .map(|line| line.trim_end().to_owned())
        .collect();
    let clean = check(&whole, &expected);
    assert!(clean.is_clean() && clean.found == 2 * COUNT);

    let dropped: Vec<_> = whole
        .iter()
        .enumerate()
        .filter(|(at, _)| at % 20 != 7)
        .map(|(_, line)| line.clone())
        .collect();
    let verdict = check(&dropped, &expected);
    assert_eq!((verdict.lost, verdict.is_clean()), (COUNT / 10, false), "5 % dropped");

    let doubled: Vec<_> = whole
        .iter()
        .enumerate()
        .flat_map(|(at, line)| std::iter::repeat_n(line.clone(), if at % 20 == 7 { 2 } else { 1 }))
        .collect();
    let verdict = check(&doubled, &expected);
    assert_eq!((verdict.doubled, verdict.is_clean()), (COUNT / 10, false), "5 % doubled");

    let mut torn = whole.clone();
    let tail = torn[100].split_off(30);
    torn.insert(150, tail);
    let verdict = check(&torn, &expected);
    assert_eq!((verdict.torn, verdict.lost, verdict.is_clean()), (2, 1, false), "torn");

    let mut mixed = whole.clone();
    mixed[100] = lines(format!("{}{}", &whole[100][..30], whole[101]).as_bytes()).concat();
    let verdict = check(&mixed, &expected);
    assert_eq!((verdict.torn, verdict.lost, verdict.is_clean()), (1, 1, false), "mixed");

    let mut disordered = whole.clone();
    disordered.swap(100, 102);
    let verdict = check(&disordered, &expected);
    assert_eq!((verdict.disordered, verdict.is_clean()), (1, false), "disordered");

    let mut altered = whole;
    altered[100] = altered[100].replace('a', "b").replace("00000050 ", "00000051 ");
    assert!(!check(&altered, &expected).is_clean(), "altered");
}
