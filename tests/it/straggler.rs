//! Workers that a rotation leaves behind: their late records are found, and their segment stays as
//! it is while they may write to it.

use crate::support::{Dir, Job, Worker, eventually};
use logrotor::{Compression, RotatingFileWriter};
use std::io::Write;

/// An hour, in milliseconds: such a worker does not check the path by itself.
const NEVER: usize = 3_600_000;

/// A worker process that writes only on command, and leaves its segment only by a rotation of its
/// own. The log exists already: a log that it created would be leased before it had its name.
fn straggler(dir: &Dir) -> Job {
    std::fs::write(dir.log(), "").unwrap();
    Job::new("obey", &dir.log()).with("inline", 1).with("check_ms", NEVER)
}

fn start(job: &Job) -> Worker {
    let mut worker = job.spawn();
    worker.expect("ready");
    worker
}

/// A worker that rotates and compresses.
fn leader(dir: &Dir) -> RotatingFileWriter {
    dir.writer().compression(Compression::Gzip).build().unwrap()
}

/// Makes `leader` rotate the segment of a worker that is behind, and try to compress it.
fn leave_behind(leader: &RotatingFileWriter) {
    let mut log = leader;
    let before = leader.stats().deferrals;
    log.write_all(b"leader\n").unwrap();
    leader.rotate().unwrap().unwrap();
    eventually("the leased backup is left for later", || leader.stats().deferrals > before);
}

fn packed(dir: &Dir) -> Vec<bool> {
    dir.backups().iter().map(|name| name.ends_with(".gz")).collect()
}

#[test]
fn record_of_a_worker_left_behind_is_readable_at_once() {
    let dir = Dir::new();
    let mut behind = start(&straggler(&dir));
    behind.write("early");
    let log = leader(&dir);
    leave_behind(&log);
    behind.write("late");
    assert_eq!(dir.lines_of(&dir.backups()[0]), ["early", "leader", "late"]);
    assert_eq!(packed(&dir), [false]);
    assert_eq!(log.stats().all_failures(), 0);
}

#[cfg(unix)]
#[test]
fn record_of_a_worker_stopped_during_rotation_is_found() {
    let dir = Dir::new();
    let mut behind = start(&Job::new("obey", &dir.log()));
    behind.write("early");
    behind.stop();
    let log = leader(&dir);
    leave_behind(&log);
    behind.go_on();
    behind.write("late");
    eventually("the worker has moved on", || packed(&dir) == [true]);
    let lines = dir.all_lines();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert_eq!((lines[0].as_str(), lines[1].as_str()), ("early", "leader"));
    assert_eq!(lines[2], "late");
    assert_eq!((behind.count("failures"), log.stats().all_failures()), (0, 0));
}

#[test]
fn idle_straggler_holds_up_its_own_segment_alone() {
    let dir = Dir::new();
    let mut behind = start(&straggler(&dir));
    behind.write("early");
    let log = leader(&dir);
    for _ in 0..3 {
        leave_behind(&log);
    }
    eventually("what nobody has open is packed", || packed(&dir) == [false, true, true]);
    eventually("it is counted", || log.stats().compressions == 2);
    behind.write("late");
    assert_eq!(dir.lines_of(&dir.backups()[0]), ["early", "leader", "late"]);
}

#[test]
fn backup_is_compressed_after_the_straggler_writes_again() {
    let dir = Dir::new();
    // Checks the path with every write, and never in between.
    let mut behind = start(&straggler(&dir).with("check_ms", 0));
    behind.write("early");
    let log = leader(&dir);
    leave_behind(&log);
    assert_eq!(packed(&dir), [false]);
    behind.write("late");
    eventually("the backup is packed", || packed(&dir) == [true]);
    assert_eq!(dir.lines_of(&dir.backups()[0]), ["early", "leader"]);
    assert_eq!(dir.active_lines(), ["late"]);
    assert_eq!(behind.count("follows"), 1);
}

#[test]
fn backup_is_compressed_after_the_idle_straggler_checks() {
    let dir = Dir::new();
    let mut behind = start(&Job::new("obey", &dir.log()));
    behind.write("early");
    let log = leader(&dir);
    (&log).write_all(b"leader\n").unwrap();
    log.rotate().unwrap().unwrap();
    eventually("the backup is packed", || packed(&dir) == [true]);
    assert_eq!((behind.count("follows"), behind.count("records")), (1, 1));
    behind.write("next");
    assert_eq!(dir.active_lines(), ["next"]);
}

#[test]
fn backup_is_compressed_once_the_straggler_is_killed() {
    let dir = Dir::new();
    let mut behind = start(&straggler(&dir));
    behind.write("early");
    let log = leader(&dir);
    leave_behind(&log);
    behind.write("late");
    behind.kill();
    eventually("the backup is packed", || packed(&dir) == [true]);
    assert_eq!(dir.lines_of(&dir.backups()[0]), ["early", "leader", "late"]);
}

#[test]
fn backup_of_a_killed_worker_is_compressed_by_another() {
    let dir = Dir::new();
    let job = Job::new("obey", &dir.log()).with("lock_ms", 60_000);
    let mut other = start(&job.clone().with("gzip", 1));
    let mut rotator = start(&job);
    other.write("other");
    rotator.write("rotator");
    assert_eq!(rotator.ask("rotate"), "ok");
    rotator.kill();
    assert_eq!(other.ask("reopen"), "ok");
    eventually("the backup is packed", || packed(&dir) == [true]);
    assert_eq!(dir.lines_of(&dir.backups()[0]), ["other", "rotator"]);
}

#[test]
fn backup_of_a_straggler_is_not_removed_before_it_moves_on() {
    let dir = Dir::new();
    let mut behind = start(&straggler(&dir));
    behind.write("early");
    let log = dir.writer().max_backups(0).build().unwrap();
    leave_behind(&log);
    behind.write("late");
    assert_eq!(dir.lines_of(&dir.backups()[0]), ["early", "leader", "late"]);
    assert_eq!(behind.ask("reopen"), "ok");
    eventually("the backup is removed", || log.stats().pruned == 1);
    assert_eq!(dir.names(), ["app.log"]);
}

/// Returns the numbers of the file operations with this verb that the job makes until it is ready.
fn operations(dir: &Dir, job: &Job, verb: &str) -> Vec<usize> {
    let trace = dir.file("trace");
    start(&job.clone().env("LOGROTOR_FAULT_COUNT", trace.display())).kill();
    let lines = std::fs::read_to_string(&trace).unwrap();
    std::fs::remove_file(trace).unwrap();
    let lines = lines.lines().filter_map(|line| line.split_once(' '));
    lines.filter(|(_, name)| *name == verb).map(|(number, _)| number.parse().unwrap()).collect()
}

// A lease counts only if the path still named the file after it was taken. In each case before
// that, the worker must find the new segment, and not write to a file that is being compressed or
// is gone.
#[test]
fn worker_overtaken_before_leasing_adopts_the_new_segment() {
    let dir = Dir::new();
    std::fs::write(dir.log(), "before\n").unwrap();
    let job = straggler(&dir);
    for verb in ["open", "take shared lock", "look at"] {
        let all = operations(&dir, &job, verb);
        assert!(!all.is_empty(), "{verb}");
        for number in all {
            let gate = dir.file("gate");
            let pause = format!("{number}:pause={}", gate.display());
            let mut behind = job.clone().env("LOGROTOR_FAULT", pause).spawn();
            eventually("it pauses", || dir.file("gate.reached").exists());
            let log = leader(&dir);
            (&log).write_all(b"leader\n").unwrap();
            log.rotate().unwrap().unwrap();
            log.close().unwrap();
            let before = dir.all_lines();
            std::fs::write(&gate, "").unwrap();
            behind.expect("ready");
            behind.write("late");
            behind.finish();
            assert_eq!(dir.all_lines(), [&before[..], &["late".to_owned()]].concat(), "{verb}");
            std::fs::remove_file(gate).unwrap();
            std::fs::remove_file(dir.file("gate.reached")).unwrap();
        }
    }
}
