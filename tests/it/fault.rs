//! Every file operation of a rotation fails or is the worker's last, one after the other.
//!
//! The scenario is run once to count its operations; then operation 1, 2, .. n is made to fail, or to kill
//! the process. Whatever it is: what was acknowledged is found once, and the next worker clears up.

use crate::support::{Dir, Job, check, listen, next_worker, record, say};
use std::collections::BTreeMap;
use std::io::Write;

const RECORDS: usize = 8;

/// The numbers of the operations named `verb` that this job makes until it is ready. Leaves no trace.
pub fn steps_of(dir: &Dir, job: &Job, verb: &str) -> Vec<usize> {
    let trace = dir.file("trace");
    let mut worker = job.clone().env("LOGROTOR_FAULT_COUNT", trace.display()).spawn();
    worker.expect("ready");
    worker.kill();
    let steps = std::fs::read_to_string(&trace).unwrap();
    std::fs::remove_file(trace).unwrap();
    let steps = steps.lines().filter_map(|line| line.split_once(' '));
    steps.filter(|(_, name)| *name == verb).map(|(at, _)| at.parse().unwrap()).collect()
}

/// The task: writes records that make several rotations, with all maintenance in these calls, and tells
/// which were acknowledged.
pub fn scenario(job: &Job) {
    if let Ok(mut log) = job.builder().build() {
        for seq in 0..RECORDS {
            if log.write_all(record(0, seq).as_bytes()).is_ok() {
                say(seq);
            }
        }
        // It may fail; it may not panic.
        let _ = log.close();
    }
    say("end");
    listen();
}

fn job(dir: &Dir, numbered: bool) -> Job {
    let job =
        Job::new("scenario", &dir.log()).with("max_size", 200).with("gzip", 1).with("inline", 1);
    // Every record looks at the path, so that a failure has its effect while the process lives.
    let job = job.with("check_ms", 0).with("lock_ms", 100);
    if numbered { job.with("numbered", 1) } else { job }
}

/// Runs the scenario with a fault, has a worker without one come after it, and checks.
fn survive(fault: &str, numbered: bool) {
    let dir = Dir::new();
    let mut worker = job(&dir, numbered).env("LOGROTOR_FAULT", fault).spawn();
    let mut acknowledged = Vec::new();
    while let Some(line) = worker.hear().filter(|line| line != "end") {
        acknowledged.push(line.parse::<usize>().unwrap());
    }
    if fault.ends_with("kill") {
        drop(worker);
    } else {
        worker.finish();
    }
    next_worker(&job(&dir, numbered), record(1, 0).trim_end());
    let lines = dir.all_lines();
    let context = format!("{fault}, numbered: {numbered}, {:?}, {lines:?}", dir.names());
    for seq in acknowledged {
        let record = record(0, seq);
        let times = lines.iter().filter(|line| **line == record.trim_end()).count();
        assert_eq!(times, 1, "record {seq}: {context}");
    }
    let verdict = check(&lines, &BTreeMap::from([(0, RECORDS), (1, 1)]));
    assert_eq!((verdict.doubled, verdict.disordered), (0, 0), "{context}");
    let torn = usize::from(fault.contains("short") || fault.contains("errno"));
    assert!(verdict.torn <= torn, "{context}");
    for name in dir.names() {
        let is_whole = name == "app.log" || name.ends_with(".gz");
        assert!(is_whole, "{name} is left over: {context}");
    }
}

/// How many file operations the scenario makes.
fn operations(numbered: bool) -> usize {
    let dir = Dir::new();
    let trace = dir.file("trace");
    let mut worker = job(&dir, numbered).env("LOGROTOR_FAULT_COUNT", trace.display()).spawn();
    while worker.hear().is_some_and(|line| line != "end") {}
    worker.finish();
    std::fs::read_to_string(trace).unwrap().lines().count()
}

fn survive_at_every_operation(fault: &str) {
    for numbered in [false, true] {
        let count = operations(numbered);
        assert!(count > 100, "{count} operations are too few for several rotations");
        // A prime, so that over many runs of the short form every operation has its turn.
        let step = if crate::support::is_long() { 1 } else { 3 };
        let first = 1 + crate::support::Random(crate::support::seed()).below(step);
        for at in (first..=count).step_by(step) {
            survive(&fault.replace('N', &at.to_string()), numbered);
        }
    }
}

#[test]
fn worker_killed_at_any_operation_costs_no_acknowledged_record_and_leaves_nothing() {
    survive_at_every_operation("N:kill");
}

#[test]
fn any_operation_may_fail_once_without_costing_an_acknowledged_record() {
    survive_at_every_operation("N:errno=5");
}

#[test]
fn all_operations_may_fail_from_any_one_on_without_costing_an_acknowledged_record() {
    survive_at_every_operation("N+:errno=28");
}

#[test]
fn any_write_may_be_short_without_costing_or_tearing_a_record() {
    survive_at_every_operation("N:short");
}
