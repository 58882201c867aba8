//! `kill -9` while workers write, rotate and compress: every acknowledged record is found once.

use crate::support::{Dir, Job, Random, Worker, is_long, next_worker, parse, record, seed};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Workers at one time.
const WORKERS: usize = 4;

/// Lives and dies: one process after the other, each with a number of its own.
struct Herd<'a> {
    dir: &'a Dir,
    job: Job,
    /// How many there have been.
    born: usize,
    alive: Vec<Worker>,
}

impl Herd<'_> {
    fn acknowledged(&self, id: usize) -> PathBuf {
        self.dir.path().parent().unwrap().join(format!(
            "{}.{id}.acknowledged",
            self.dir.path().file_name().unwrap().to_str().unwrap()
        ))
    }

    fn add(&mut self) {
        let id = self.born;
        self.born += 1;
        let job = self.job.clone().with("worker", id).with("count", usize::MAX);
        let mut worker = job.with("acknowledged", self.acknowledged(id).display()).spawn();
        worker.expect("ready");
        self.alive.push(worker);
    }

    fn kill_one(&mut self, at: usize) {
        self.alive.swap_remove(at).kill();
    }

    /// How many records each worker had acknowledged.
    fn collect(&self) -> BTreeMap<usize, usize> {
        let read = |id| {
            let path = self.acknowledged(id);
            let bytes = std::fs::read(&path).unwrap();
            std::fs::remove_file(path).unwrap();
            // Nothing is in it if the worker was killed before its first record.
            bytes.try_into().map_or(0, u64::from_le_bytes)
        };
        (0..self.born).map(|id| (id, usize::try_from(read(id)).unwrap())).collect()
    }
}

/// The records in these lines. A record whose worker was killed within the call may be there in part, and
/// was not acknowledged; the next one follows it on the same line.
fn records(lines: &[String], torn: &mut usize) -> Vec<(usize, usize)> {
    lines
        .iter()
        .filter_map(|line| {
            parse(line).or_else(|| {
                *torn += 1;
                line.match_indices('w').find_map(|(at, _)| parse(&line[at..]))
            })
        })
        .collect()
}

fn survive(kills: usize, job: impl Fn(Job) -> Job) {
    let mut random = Random(seed());
    let dir = Dir::new();
    let job = job(Job::new("acknowledge", &dir.log())).with("max_size", 20_000).with("gzip", 1);
    let mut herd = Herd { dir: &dir, job: job.clone(), born: 0, alive: Vec::new() };
    (0..WORKERS).for_each(|_| herd.add());
    for _ in 0..kills {
        // When the blow falls is the point of the test, not what it waits for.
        std::thread::sleep(Duration::from_micros(random.next() % 30_000));
        herd.kill_one(random.below(WORKERS));
        herd.add();
    }
    while !herd.alive.is_empty() {
        herd.kill_one(0);
    }
    let acknowledged = herd.collect();
    assert!(acknowledged.values().sum::<usize>() > kills, "hardly anything was written");

    // The next worker clears up.
    next_worker(&job, "after");
    for name in dir.names() {
        assert!(name == "app.log" || name.ends_with(".gz"), "{name} is left over");
    }

    let mut lines = dir.all_lines();
    assert_eq!(lines.iter().filter(|line| line.ends_with("after")).count(), 1);
    lines.retain(|line| line != "after");
    let mut torn = 0;
    let mut found: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    for key in records(&lines, &mut torn) {
        *found.entry(key).or_default() += 1;
    }
    println!("{acknowledged:?} {torn} torn");
    assert!(torn <= herd.born, "each is torn by a kill of its own");
    for ((worker, seq), times) in &found {
        assert_eq!(*times, 1, "worker {worker}, record {seq}");
    }
    for (worker, count) in acknowledged {
        for seq in 0..count {
            assert!(
                found.contains_key(&(worker, seq)),
                "worker {worker}: lost {:?}",
                record(worker, seq)
            );
        }
    }
}

fn kills() -> usize {
    if is_long() { 500 } else { 30 }
}

#[test]
fn no_acknowledged_record_is_lost_or_doubled_by_kills_and_nothing_is_left_over() {
    survive(kills(), |job| job);
}

#[test]
fn no_acknowledged_record_is_lost_or_doubled_by_kills_with_numbered_backups() {
    survive(kills() / 2, |job| job.with("numbered", 1));
}
