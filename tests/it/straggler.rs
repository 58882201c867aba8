//! Workers that are left behind by a rotation: what they write is found, and nobody waits for them.

use crate::support::{Dir, Job, Worker, eventually};
use logrotor::{Compression, RotatingFileWriter};
use std::io::Write;

/// Opens the log in a process that looks at nothing before it is told to write.
fn straggler(dir: &Dir) -> Worker {
    let job = Job::new("obey", &dir.log()).with("inline", 1).with("check_ms", 3_600_000);
    let mut worker = job.spawn();
    worker.expect("ready");
    worker
}

/// The log of a worker that compresses, with one record in it.
fn other(dir: &Dir) -> RotatingFileWriter {
    let mut log = dir.writer().compression(Compression::Gzip).build().unwrap();
    log.write_all(b"before\n").unwrap();
    log
}

fn is_packed(dir: &Dir) -> bool {
    dir.backups().iter().all(|name| name.ends_with(".gz"))
}

#[test]
fn record_written_to_a_backup_by_a_straggler_is_found_in_it() {
    let dir = Dir::new();
    let mut late = straggler(&dir);
    let log = other(&dir);
    log.rotate().unwrap().unwrap();
    eventually("compression has been tried", || log.stats().deferrals > 0);
    late.write("late");
    assert_eq!(dir.lines_of(&dir.backups()[0]), ["before", "late"]);
    assert_eq!(late.ask("reopen"), "ok");
    eventually("it is compressed once nobody can write to it", || is_packed(&dir));
    assert_eq!(dir.lines_of(&dir.backups()[0]), ["before", "late"]);
    late.finish();
}

#[test]
fn closing_does_not_wait_for_a_straggler() {
    let dir = Dir::new();
    let mut late = straggler(&dir);
    let log = other(&dir);
    log.rotate().unwrap().unwrap();
    log.close().unwrap();
    assert!(!is_packed(&dir));
    late.write("late");
    assert_eq!(dir.all_lines(), ["before", "late"]);
}

#[cfg(unix)]
#[test]
fn stopped_straggler_defers_compression_but_not_rotation_until_it_is_killed() {
    let dir = Dir::new();
    let mut late = straggler(&dir);
    late.stop();
    let mut log = other(&dir);
    let held = log.rotate().unwrap().unwrap();
    for text in ["one", "two", "three"] {
        writeln!(log, "{text}").unwrap();
        log.rotate().unwrap().unwrap();
    }
    eventually("the others are compressed", || log.stats().compressions == 3);
    eventually("its segment is left for later", || log.stats().deferrals > 0);
    assert!(held.exists());
    late.kill();
    eventually("its segment is compressed as well", || is_packed(&dir));
    assert_eq!(dir.all_lines(), ["before", "one", "two", "three"]);
    assert_eq!(log.stats().all_failures(), 0);
}

#[cfg(unix)]
#[test]
fn straggler_that_is_woken_moves_on_though_it_writes_nothing() {
    let dir = Dir::new();
    let mut late = Job::new("obey", &dir.log()).spawn();
    late.expect("ready");
    late.stop();
    let log = other(&dir);
    let held = log.rotate().unwrap().unwrap();
    eventually("its segment is left for later", || log.stats().deferrals > 0);
    assert!(held.exists());
    late.go_on();
    eventually("its segment is compressed", || is_packed(&dir));
    assert_eq!(late.count("follows"), 1);
    late.finish();
}

#[test]
fn straggler_defers_pruning_too() {
    let dir = Dir::new();
    let mut late = straggler(&dir);
    let mut log = dir.writer().max_backups(0).build().unwrap();
    log.write_all(b"before\n").unwrap();
    let held = log.rotate().unwrap().unwrap();
    eventually("pruning has been tried", || log.stats().deferrals > 0);
    late.write("late");
    assert_eq!(std::fs::read(&held).unwrap(), b"before\nlate\n");
    late.finish();
    eventually("it is removed once nobody can write to it", || !held.exists());
}

// The moments between opening a segment and leasing it: another worker rotates and compresses there.
#[cfg(feature = "fault")]
#[test]
fn straggler_between_opening_and_leasing_goes_to_the_new_segment() {
    for verb in ["open", "take shared lock", "look at"] {
        let dir = Dir::new();
        std::fs::write(dir.log(), "before\n").unwrap();
        let job = Job::new("obey", &dir.log()).with("inline", 1);
        for at in crate::fault::steps_of(&dir, &job, verb) {
            let gate = dir.file("gate");
            let mut late =
                job.clone().env("LOGROTOR_FAULT", format!("{at}:pause={}", gate.display())).spawn();
            eventually("it pauses", || dir.file("gate.reached").exists());
            let log = other(&dir);
            log.rotate().unwrap();
            log.close().unwrap();
            let count = dir.all_lines().len();
            std::fs::write(&gate, "").unwrap();
            late.expect("ready");
            late.write("late");
            late.finish();
            let all = dir.all_lines();
            assert_eq!(
                (all.len(), all.last().unwrap().as_str()),
                (count + 1, "late"),
                "{verb} {at}"
            );
            for name in ["gate", "gate.reached"] {
                std::fs::remove_file(dir.file(name)).unwrap();
            }
        }
    }
}
