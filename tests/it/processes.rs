//! Many processes on one log: every record is there once, whole and in order, even if the lock file
//! is removed, its holder is stopped, or workers are killed.

#[cfg(unix)]
use crate::support::Trace;
use crate::support::{
    Dir, Job, Verdict, Worker, check, eventually, is_long, next_worker, record, seed,
};
use logrotor::MaintenanceMode;
use std::collections::BTreeMap;
#[cfg(unix)]
use std::os::unix::fs::MetadataExt;
use std::path::Path;
#[cfg(unix)]
use std::time::{Duration, Instant};

/// An hour, in milliseconds: such a worker checks the log only to rotate.
const NEVER: usize = 3_600_000;

/// Starts `workers` processes that write `count` records each when they get a command.
fn start(job: &Job, workers: usize, count: usize) -> Vec<Worker> {
    let job = job.clone().with("count", count);
    let mut all: Vec<_> = (0..workers).map(|id| job.clone().with("worker", id).spawn()).collect();
    all.iter_mut().for_each(|worker| worker.expect("ready"));
    all
}

/// Makes `workers` processes write `count` records each at the same time.
fn run(job: &Job, workers: usize, count: usize) {
    let mut all = start(job, workers, count);
    all.iter_mut().for_each(|worker| worker.tell("go"));
    all.into_iter().for_each(Worker::finish);
}

/// Checks the records of `workers` that wrote `count` each.
fn verdict(dir: &Dir, workers: usize, count: usize) -> Verdict {
    check(&dir.all_lines(), &(0..workers).map(|id| (id, count)).collect())
}

/// One cell of the table of workers, limits, compressions and namings.
#[derive(Debug, Clone, Copy)]
struct Cell {
    workers: usize,
    count: usize,
    max_size: usize,
    gzip: bool,
    numbered: bool,
}

impl Cell {
    fn job(&self, log: &Path) -> Job {
        // This test is about the records, not about how soon ten workers that only rotate get the
        // lock.
        let mut job = Job::new("write", log).with("max_size", self.max_size);
        if self.gzip {
            job = job.with("gzip", 1);
        }
        if self.numbered {
            job = job.with("numbered", 1);
        }
        job
    }

    fn check(&self) {
        let dir = Dir::new();
        let job = self.job(&dir.log());
        run(&job, self.workers, self.count);
        let verdict = verdict(&dir, self.workers, self.count);
        assert!(verdict.is_clean() && verdict.extra == 0, "{self:?}: {verdict}");
        assert_eq!(verdict.found, self.workers * self.count);
        assert!(!dir.backups().is_empty() || self.max_size > 1024 * 1024, "{self:?}");
        self.check_packing(&dir, &job);
    }

    /// Makes a new worker finish the work that the others left to each other when they ended.
    fn check_packing(&self, dir: &Dir, job: &Job) {
        job.builder().maintenance(MaintenanceMode::Inline).build().unwrap().close().unwrap();
        let backups = dir.backups();
        assert!(backups.iter().all(|name| name.ends_with(".gz") == self.gzip), "{self:?}");
        assert_eq!(dir.names().len(), backups.len() + 1, "{self:?}: {:?}", dir.names());
    }
}

/// Checks a limit with both compressions and namings. The short form writes a part of the records.
fn every_record_once(max_size: usize, part: usize) {
    for (workers, count) in [(2, 10_000), (5, 4_000), (10, 2_000)] {
        for (gzip, numbered) in [(false, false), (true, false), (false, true), (true, true)] {
            let count = if is_long() { count } else { count / part };
            // With numbers, each rotation renames all backups, so the time grows with the square of
            // their number: 10 000 of them would take hours.
            let count = if numbered && max_size < 1024 { count.min(600 / workers) } else { count };
            Cell { workers, count, max_size, gzip, numbered }.check();
        }
    }
}

#[test]
fn every_record_is_found_once_whole_and_in_order_at_200_bytes() {
    every_record_once(200, 20);
}

#[test]
fn every_record_is_found_once_whole_and_in_order_at_5_kib() {
    every_record_once(5 * 1024, 2);
}

#[test]
fn every_record_is_found_once_whole_and_in_order_at_1_mib() {
    every_record_once(1024 * 1024, 1);
}

#[test]
fn checker_detects_lost_doubled_torn_and_disordered_records() {
    let lines: Vec<_> = (0..1000).map(|seq| record(1, seq).trim_end().to_owned()).collect();
    let expected = BTreeMap::from([(1, 1000)]);
    let clean = check(&lines, &expected);
    assert!(clean.is_clean() && clean.found == 1000);

    let (every_20th, others): (Vec<_>, Vec<_>) =
        lines.iter().cloned().enumerate().partition(|(at, _)| at % 20 == 0);
    let dropped: Vec<_> = others.into_iter().map(|(_, line)| line).collect();
    assert_eq!(check(&dropped, &expected), Verdict { found: 950, lost: 50, ..Verdict::default() });

    let doubled = lines.iter().enumerate();
    let doubled: Vec<_> =
        doubled.flat_map(|(at, line)| vec![line.clone(); 1 + usize::from(at % 20 == 0)]).collect();
    assert_eq!(
        check(&doubled, &expected),
        Verdict { found: 1000, doubled: every_20th.len(), ..Verdict::default() }
    );

    let mut torn = lines.clone();
    let tail = torn[500].split_off(30);
    torn.insert(501, tail);
    let verdict = check(&torn, &expected);
    assert_eq!((verdict.lost, verdict.torn, verdict.is_clean()), (1, 2, false));

    let mut disordered = lines;
    disordered.swap(10, 11);
    let verdict = check(&disordered, &expected);
    assert_eq!((verdict.disordered, verdict.found, verdict.is_clean()), (1, 1000, false));
}

#[test]
fn one_overflow_is_one_rotation_for_ten_processes() {
    const WORKERS: usize = 10;
    let dir = Dir::new();
    let job = Job::new("obey", &dir.log()).with("max_size", 4096).with("inline", 1);
    let job = job.with("check_ms", NEVER).with("lock_ms", 60_000);
    let mut workers: Vec<_> = (0..WORKERS).map(|_| job.spawn()).collect();
    workers.iter_mut().for_each(|worker| worker.expect("ready"));
    for round in 1..=10 {
        // Each detects that the segment is full, and its record does not fit.
        workers[0].write(&"x".repeat(4090 - dir.read("app.log").len()));
        for worker in &mut workers {
            assert_eq!(worker.ask("reopen"), "ok");
        }
        workers.iter_mut().for_each(|worker| worker.tell("write no room"));
        workers.iter_mut().for_each(|worker| worker.expect("ok"));
        let mut sum = |counter| workers.iter_mut().map(|worker| worker.count(counter)).sum::<u64>();
        assert_eq!((sum("rotations"), sum("skips")), (round, round * (WORKERS as u64 - 1)));
        assert_eq!(dir.active_lines(), ["no room"; WORKERS]);
    }
    assert_eq!(dir.backups().len(), 10);
}

/// With inline maintenance each call makes the pass that is due.
#[cfg(unix)]
#[test]
fn rotation_is_maintained_by_the_worker_that_made_it() {
    const ROTATIONS: usize = 12;
    let dir = Dir::new();
    let traces = [(); 3].map(|()| Trace::new());
    let job = Job::new("obey", &dir.log()).with("inline", 1).with("lock_ms", 60_000);
    let mut workers = traces.each_ref().map(|trace| trace.of(&job).spawn());
    let passes = |traces: &[Trace]| -> Vec<_> { traces.iter().map(|t| t.count("list")).collect() };
    workers.iter_mut().for_each(|worker| worker.expect("ready"));
    let (started, before) = (Instant::now(), passes(&traces));
    for n in 0..ROTATIONS {
        workers[0].write(&format!("line {n}"));
        assert_eq!(workers[0].ask("rotate"), "ok");
        for worker in &mut workers[1..] {
            assert_eq!(worker.ask("reopen"), "ok");
        }
    }
    let after = passes(&traces);
    let made: Vec<_> = after.iter().zip(before).map(|(after, before)| after - before).collect();
    // A worker that sees only rotations of others looks 3 to 6 s later at what they have left.
    let taken_over = started.elapsed().as_secs() as usize / 3;
    assert_eq!(made[0], ROTATIONS);
    assert!(made[1..].iter().all(|made| *made <= taken_over), "{made:?}, {taken_over}");
    workers.into_iter().for_each(Worker::finish);
}

#[test]
fn segment_exceeds_max_size_by_one_record_per_worker_at_most() {
    const WORKERS: usize = 10;
    const MAX_SIZE: usize = 5 * 1024;
    let longest = (0..90).map(|seq| record(0, seq).len()).max().unwrap();
    // The number of bytes that a worker which was alone for long may write before it asks for the
    // size again.
    let unasked = 4096.min(MAX_SIZE / 16);
    let dir = Dir::new();
    let job = Job::new("write", &dir.log()).with("max_size", MAX_SIZE);
    run(&job, WORKERS, 2_000);
    let most = dir.backups().iter().map(|name| dir.read(name).len()).max().unwrap();
    assert!(most <= MAX_SIZE + WORKERS * (longest + unasked), "{most}");
}

/// Removes the lock file again and again until all workers have ended.
fn remove_while_they_run(lock: &Path, workers: &mut [Worker]) -> usize {
    let mut removed = 0;
    while !workers.iter_mut().all(Worker::has_ended) {
        removed += (0..50).filter(|_| std::fs::remove_file(lock).is_ok()).count();
    }
    removed
}

#[test]
fn lock_file_removed_during_rotations_loses_no_record() {
    const WORKERS: usize = 4;
    const COUNT: usize = 1_000;
    for (gzip, numbered) in [(false, false), (true, false), (false, true)] {
        let dir = Dir::new();
        let cell = Cell { workers: WORKERS, count: COUNT, max_size: 1024, gzip, numbered };
        let mut workers = start(&cell.job(&dir.log()), WORKERS, COUNT);
        workers.iter_mut().for_each(|worker| worker.tell("go"));
        let removed = remove_while_they_run(&dir.file("app.log.lock"), &mut workers);
        assert!(removed > 0);
        workers.into_iter().for_each(Worker::finish);
        let Verdict { found, doubled, torn, extra, .. } = verdict(&dir, WORKERS, COUNT);
        // Two workers that rotate at the same time, as they then may, can name their backups in the
        // wrong order. So the order of segments is not checked.
        assert_eq!((found, doubled, torn, extra), (WORKERS * COUNT, 0, 0, 0), "{cell:?}");
    }
}

/// Removes the lock file as often as no worker holds it, until all workers have ended. A worker
/// that waits has it open, and then locks a file without a name.
#[cfg(unix)]
fn remove_between_operations(lock: &Path, workers: &mut [Worker]) -> usize {
    let deadline = Instant::now() + Duration::from_secs(600);
    let mut removed = 0;
    while !workers.iter_mut().all(Worker::has_ended) {
        assert!(Instant::now() < deadline, "the workers did not end in 600 s");
        // The workers need the processor too.
        std::thread::yield_now();
        let Ok(file) = std::fs::File::open(lock) else { continue };
        let is_it = |there: std::fs::Metadata| there.ino() == file.metadata().unwrap().ino();
        if fs4::FileExt::try_lock(&file).is_ok() && std::fs::metadata(lock).is_ok_and(is_it) {
            removed += usize::from(std::fs::remove_file(lock).is_ok());
        }
    }
    removed
}

#[cfg(unix)]
#[test]
fn lock_file_removed_between_rotations_keeps_the_order() {
    const WORKERS: usize = 4;
    const COUNT: usize = 500;
    for numbered in [false, true] {
        let dir = Dir::new();
        let cell = Cell { workers: WORKERS, count: COUNT, max_size: 1024, gzip: false, numbered };
        let mut workers = start(&cell.job(&dir.log()), WORKERS, COUNT);
        workers.iter_mut().for_each(|worker| worker.tell("go"));
        let removed = remove_between_operations(&dir.file("app.log.lock"), &mut workers);
        println!("the lock file was removed {removed} times");
        workers.into_iter().for_each(Worker::finish);
        let verdict = verdict(&dir, WORKERS, COUNT);
        assert!(verdict.is_clean() && verdict.extra == 0, "{cell:?}: {verdict}");
        assert_eq!(verdict.found, WORKERS * COUNT);
    }
}

// It rotated the next worker's fresh segment as its own.
#[cfg(unix)]
#[test]
fn regression_worker_that_lost_the_lock_does_not_rotate() {
    let (dir, gates, trial) = (Dir::new(), Dir::new(), Dir::new());
    let job = |dir: &Dir| Job::new("obey", &dir.log()).with("inline", 1).with("check_ms", NEVER);
    let start = |job: Job| {
        let mut worker = job.spawn();
        worker.expect("ready");
        worker.write("one");
        worker
    };
    // The number of the operation that creates the next segment.
    let trace = Trace::new();
    let mut worker = start(trace.of(&job(&trial)));
    let before = trace.len();
    assert_eq!(worker.ask("rotate"), "ok");
    let creation = trace.first("create", before);
    worker.finish();

    let gate = gates.file("gate");
    let plan = format!("{creation}:pause={}", gate.display());
    let mut worker = start(job(&dir).env("LOGROTOR_FAULT", plan));
    worker.tell("rotate");
    eventually("it has the lock", || gates.file("gate.reached").exists());
    std::fs::remove_file(dir.file("app.log.lock")).unwrap();
    let other = dir.writer().maintenance(MaintenanceMode::Inline).build().unwrap();
    assert!(other.rotate().unwrap().is_some());
    other.write_record(b"two\n").unwrap();
    std::fs::write(&gate, "").unwrap();
    worker.expect("ok");
    worker.write("three");
    assert_eq!((dir.backups().len(), dir.active_lines()), (1, vec!["two".into(), "three".into()]));
}

#[cfg(unix)]
#[test]
fn stopped_lock_holder_delays_rotation_but_no_record() {
    const PATIENCE: Duration = Duration::from_millis(200);
    let dir = Dir::new();
    let job =
        Job::new("obey", &dir.log()).with("max_size", 10).with("lock_ms", PATIENCE.as_millis());
    let mut worker = job.spawn();
    worker.expect("ready");
    worker.write("first");
    let mut holder =
        Job::new("hold", &dir.log()).with("lock", dir.file("app.log.lock").display()).spawn();
    holder.expect("ready");
    holder.stop();
    for seq in 0..5 {
        let asked = Instant::now();
        worker.write(&format!("postponed {seq}"));
        assert!(asked.elapsed() < PATIENCE + Duration::from_secs(5));
    }
    assert_eq!((worker.count("rotations"), dir.active_lines().len()), (0, 6));
    assert!(worker.count("timeouts") >= 1 && worker.count("lock_waits") >= 1);
    assert!(worker.ask("last").contains(&format!("last owner: pid {}, running", holder.pid())));
    holder.go_on();
    holder.tell("let go");
    eventually("the rotation is made", || {
        worker.write("later");
        worker.count("rotations") >= 1
    });
    assert_eq!(dir.all_lines()[0], "first");
}

/// A worker that will be killed, and the file in which it notes how many of its records are
/// written.
struct Victim {
    id: usize,
    process: Worker,
    note: std::path::PathBuf,
}

impl Victim {
    fn start(job: &Job, notes: &Dir, id: usize) -> Self {
        let note = notes.file(&id.to_string());
        let job = job.clone().with("worker", id).with("count", 1_000_000);
        let mut process = job.with("acknowledged", note.display()).with("check_ms", 10).spawn();
        process.expect("ready");
        Self { id, process, note }
    }

    fn acknowledged(&self) -> usize {
        let bytes = std::fs::read(&self.note).unwrap_or_default();
        bytes.try_into().map_or(0, |bytes| usize::try_from(u64::from_le_bytes(bytes)).unwrap())
    }
}

/// Kills workers at random moments, in rounds, and checks the records afterwards.
fn every_acknowledged_record_survives(rounds: usize, job: impl Fn(Job) -> Job) {
    const WORKERS: usize = 3;
    let mut random = fastrand::Rng::with_seed(seed());
    let (dir, notes) = (Dir::new(), Dir::new());
    let job = job(Job::new("acknowledge", &dir.log()).with("max_size", 2048).with("gzip", 1));
    let mut expected = BTreeMap::new();
    for round in 0..rounds {
        let start = |worker| Victim::start(&job, &notes, round * WORKERS + worker);
        let mut victims: Vec<_> = (0..WORKERS).map(start).collect();
        while !victims.is_empty() {
            let mut victim = victims.swap_remove(random.usize(..victims.len()));
            let enough = victim.acknowledged() + 1 + random.usize(..200);
            eventually("it has written some more", || victim.acknowledged() >= enough);
            victim.process.kill();
            expected.insert(victim.id, victim.acknowledged());
        }
    }
    next_worker(&job, record(999, 0).trim_end());
    expected.insert(999, 1);

    let verdict = check(&dir.all_lines(), &expected);
    assert!(verdict.is_clean(), "{verdict}");
    // Each may have been killed between its last write and its note.
    assert!(verdict.extra <= rounds * WORKERS, "{verdict}");
    let names = dir.names();
    assert!(names.iter().all(|name| name == "app.log" || name.ends_with(".gz")), "{names:?}");
}

#[test]
fn every_acknowledged_record_survives_kill_9() {
    every_acknowledged_record_survives(if is_long() { 200 } else { 8 }, |job| job);
}

#[test]
fn every_acknowledged_record_survives_kill_9_with_numbers() {
    every_acknowledged_record_survives(if is_long() { 20 } else { 3 }, |job| {
        job.with("numbered", 1)
    });
}
