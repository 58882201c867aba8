//! Promise 12: a record that is written after a reported rotation is in the new segment, whichever
//! worker writes it. The system reports the rotation, and the next record looks.

use crate::support::{Dir, Job, Trace, Worker, eventually};
use logrotor::{MaintenanceMode, RotatingFileWriter};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(3600);

/// Whether the user has an inotify instance left; prints that the test is skipped if not.
fn can_watch() -> bool {
    let instance = rustix::fs::inotify::init(rustix::fs::inotify::CreateFlags::CLOEXEC);
    if let Err(error) = &instance {
        eprintln!("skipped: no inotify instance: {error}");
    }
    instance.is_ok()
}

/// A worker that compares the path with its file once an hour, unless it is given a reason. Its
/// thread checks it once an hour too.
fn slow(dir: &Dir, job: impl Fn(Job) -> Job) -> Worker {
    checked(dir, |new| job(new).env("LOGROTOR_CHECK_SECONDS", LONG.as_secs().to_string()))
}

/// The same, but its thread checks it once a second.
fn checked(dir: &Dir, job: impl Fn(Job) -> Job) -> Worker {
    let mut worker = job(Job::new("obey", &dir.log()).with("check_ms", LONG.as_millis())).spawn();
    worker.expect("ready");
    worker
}

fn busy(dir: &Dir) -> RotatingFileWriter {
    dir.writer().maintenance(MaintenanceMode::Inline).check_interval(LONG).build().unwrap()
}

fn rotate(log: &mut RotatingFileWriter) {
    log.write_all(b"busy\n").unwrap();
    log.rotate().unwrap().unwrap();
}

/// Has a worker follow rotations. It has no other reason than reports within an hour.
fn assert_follows_at_once(dir: &Dir, worker: &mut Worker) {
    let mut busy = busy(dir);
    worker.write("first");
    let before = worker.count("follows");
    for followed in 1..=5 {
        rotate(&mut busy);
        eventually("a record is in the new segment", || {
            worker.write("slow");
            assert_eq!(worker.ask("flush"), "ok");
            worker.count("follows") == before + followed
        });
    }
}

#[test]
fn slow_worker_follows_each_rotation_at_once() {
    if !can_watch() {
        return;
    }
    for buffered in [false, true] {
        let dir = Dir::new();
        let with = |job: Job| if buffered { job.with("buffered", 1) } else { job };
        let mut worker = slow(&dir, with);
        assert_follows_at_once(&dir, &mut worker);
        worker.finish();
    }
}

#[test]
fn worker_that_has_rotated_or_reopened_follows_at_once() {
    if !can_watch() {
        return;
    }
    let dir = Dir::new();
    let mut worker = slow(&dir, |job| job);
    worker.write("rotates");
    assert_eq!(worker.ask("rotate"), "ok");
    assert_follows_at_once(&dir, &mut worker);
    assert_eq!(worker.ask("reopen"), "ok");
    assert_follows_at_once(&dir, &mut worker);
}

#[test]
fn target_of_a_turned_link_is_followed_at_once() {
    if !can_watch() {
        return;
    }
    let (dir, before, after) = (Dir::new(), Dir::new(), Dir::new());
    std::os::unix::fs::symlink(before.log(), dir.log()).unwrap();
    let mut worker = slow(&dir, |job| job);
    worker.write("before");
    std::os::unix::fs::symlink(after.log(), dir.file("turned")).unwrap();
    std::fs::rename(dir.file("turned"), dir.log()).unwrap();
    assert_eq!(worker.ask("reopen"), "ok");
    assert_follows_at_once(&after, &mut worker);
}

/// The log is followed as without a watch: by the look once a second.
#[test]
fn refused_watch_is_no_failure_and_the_interval_stays() {
    let (dir, trace, start) = (Dir::new(), Trace::new(), Instant::now());
    let refused = |job: Job| trace.of(&job).env("LOGROTOR_FAULT", "1+/watch:errno=24");
    let mut worker = checked(&dir, refused);
    worker.write("first");
    rotate(&mut busy(&dir));
    eventually("the thread has looked", || worker.count("follows") == 1);
    worker.write("second");
    assert_eq!(dir.active_lines(), ["second"]);
    assert_eq!(worker.ask("last"), "");
    let tries = trace.verbs();
    assert!(!tries.is_empty() && tries.iter().all(|verb| verb == "watch !"), "{tries:?}");
    let most = 1 + start.elapsed().as_secs() / 10;
    assert!(tries.len() as u64 <= most, "it is not tried again within 10 s: {tries:?}");
}

/// The switches of a worker's maintenance threads to sleep.
fn sleeps(worker: &Worker) -> u64 {
    let tasks = Path::new("/proc").join(worker.pid().to_string()).join("task");
    let switches = |task: std::io::Result<std::fs::DirEntry>| -> Option<u64> {
        // The thread may have ended.
        let status = std::fs::read_to_string(task.unwrap().path().join("status")).ok()?;
        let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches"))?;
        let is_ours = status.starts_with("Name:\tlogrotor-maint");
        is_ours.then(|| line.split_whitespace().nth(1).unwrap().parse().unwrap())
    };
    std::fs::read_dir(tasks).unwrap().filter_map(switches).sum()
}

#[test]
fn records_wake_no_thread() {
    const RECORDS: u64 = 1000;
    let (dir, start) = (Dir::new(), Instant::now());
    let mut worker = slow(&dir, |job| job);
    let mut others = busy(&dir);
    worker.write("first");
    eventually("the thread sleeps", || sleeps(&worker) > 0);
    let before = sleeps(&worker);
    for _ in 0..RECORDS / 2 {
        worker.write("a record");
        others.write_all(b"another worker's\n").unwrap();
    }
    let woken = sleeps(&worker).saturating_sub(before);
    // It looks once a second, and was still busy with the log's opening at first.
    assert!(woken < RECORDS / 10 + 2 * start.elapsed().as_secs(), "{woken} times");
}

/// Without a watch, as with maintenance in the log call: by its length the next record of the other
/// worker does not fit, so the segment may be finished.
#[test]
fn nearly_full_segment_is_looked_at_before_a_record() {
    let dir = Dir::new();
    let open = || {
        let builder = dir.writer().max_size(100).maintenance(MaintenanceMode::Inline);
        builder.check_interval(LONG).build().unwrap()
    };
    let (mut short, mut long) = (open(), open());
    short.write_all(b"short 1\n").unwrap();
    long.write_all(&[b'l'; 60]).unwrap();
    short.write_all(b"short 2\n").unwrap();
    // 24 bytes are left.
    long.write_all(&[b'L'; 60]).unwrap();
    assert_eq!(long.stats().rotations, 1);
    short.write_all(b"short 3\n").unwrap();
    assert_eq!(short.stats().follows, 1);
    assert_eq!(dir.active_lines().len(), 1);
    assert!(dir.read("app.log").ends_with(b"short 3\n"));
}
