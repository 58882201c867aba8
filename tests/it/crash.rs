//! Workers that die: at every file operation in turn, at random, inside gzip.

use crate::scenario::{COUNT, Variant, acknowledged, take_over};
use crate::support::{Dir, record};
use std::io::Write;

/// Plays the scenario and strikes the child at operation `at`; `false` if it ended before that.
fn struck_at(at: usize, effect: &str, variant: Variant, with_second: bool) -> bool {
    let dir = Dir::new();
    let acknowledgements = tempfile::NamedTempFile::new().unwrap();
    let second = with_second.then(|| {
        let mut second = variant.open(&dir);
        second.write_all(record(2, 0).as_bytes()).unwrap();
        second
    });
    let job = variant
        .job("play", &dir.log())
        .with("worker", 1)
        .with("acknowledged", acknowledgements.path().display())
        .env("LOGROTOR_FAULT", format!("{at}:{effect}"));
    let ended_well = job.spawn().end();
    let acknowledged = acknowledged(acknowledgements.path());
    let unacknowledged = if variant.buffered { COUNT - acknowledged } else { 1 };
    take_over(&dir, variant, second, acknowledged, unacknowledged);
    !ended_well
}

fn killed_at_every_operation(with_second: bool) {
    for variant in Variant::all() {
        let mut at = 1;
        while struck_at(at, "kill", variant, with_second) {
            at += 1;
        }
        println!("{variant}: killed at operations 1 to {}", at - 1);
        assert!(at > 100, "{at}");
    }
}

#[test]
fn worker_killed_at_any_operation_costs_nothing() {
    killed_at_every_operation(false);
}

#[test]
fn worker_killed_at_any_operation_costs_a_second_worker_nothing() {
    killed_at_every_operation(true);
}
