//! Many processes on one log: every record once, whole, in order.

use crate::support::{Dir, Job, Verdict, check, record};
use std::collections::BTreeMap;

/// Has `workers` processes write `count` records each; returns what became of them.
fn run(workers: usize, count: usize, job: impl Fn(Job) -> Job) -> Verdict {
    let dir = Dir::new();
    let job = job(Job::new("write", &dir.log()).with("count", count));
    let mut all: Vec<_> = (0..workers).map(|id| job.clone().with("worker", id).spawn()).collect();
    all.iter_mut().for_each(|worker| worker.expect("ready"));
    all.iter_mut().for_each(|worker| worker.tell("go"));
    all.into_iter().for_each(crate::support::Worker::finish);
    let expected: BTreeMap<_, _> = (0..workers).map(|id| (id, count)).collect();
    check(&dir.all_lines(), &expected)
}

fn every_record_once(workers: usize, count: usize, max_size: usize) {
    let sized = |job: Job| job.with("max_size", max_size);
    let variants: [(&str, &dyn Fn(Job) -> Job); 4] = [
        ("timestamp", &|job| sized(job)),
        ("timestamp, gzip", &|job| sized(job).with("gzip", 1)),
        ("number", &|job| sized(job).with("numbered", 1)),
        ("number, gzip", &|job| sized(job).with("numbered", 1).with("gzip", 1)),
    ];
    for (name, variant) in variants {
        let verdict = run(workers, count, variant);
        assert!(verdict.is_clean(), "{workers} x {count}, {max_size} bytes, {name}: {verdict}");
        assert_eq!(verdict.found, workers * count);
    }
}

#[test]
fn five_workers_at_5_kib_lose_double_and_tear_nothing() {
    every_record_once(5, 4_000, 5 * 1024);
}

#[test]
fn checker_sees_what_is_dropped_doubled_torn_and_disordered() {
    let lines: Vec<_> = (0..1000).map(|seq| record(1, seq).trim_end().to_owned()).collect();
    let expected = BTreeMap::from([(1, 1000)]);
    assert!(check(&lines, &expected).is_clean());
    let kept = lines.iter().enumerate().filter(|(at, _)| at % 20 != 0);
    let kept: Vec<_> = kept.map(|(_, line)| line.clone()).collect();
    assert_eq!(check(&kept, &expected).lost, 50);
}
