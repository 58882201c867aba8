//! Workers that are left behind by a rotation: what they write late is found, and their segment is left
//! alone for as long as they may write to it.

use crate::support::{Dir, Job, Worker, eventually};
use logrotor::{Compression, RotatingFileWriter};
use std::io::Write;

/// An hour, in milliseconds: a worker that does not look at the path by itself.
const NEVER: usize = 3_600_000;

/// A worker process that writes only when told to, and moves on only by a rotation of its own.
fn straggler(dir: &Dir) -> Job {
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

/// Has `leader` rotate away the segment of a worker that is behind, and try to compress it.
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
fn record_of_a_worker_that_was_stopped_during_the_rotation_is_found_and_nobody_hangs() {
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
fn rotation_and_compression_of_what_is_free_go_on_beside_an_idle_straggler() {
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
fn backup_is_compressed_once_the_straggler_moves_on_by_its_next_write() {
    let dir = Dir::new();
    // Looks at the path with every write, and never in between.
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
fn backup_is_compressed_once_an_idle_straggler_moves_on_by_its_own_tick() {
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
