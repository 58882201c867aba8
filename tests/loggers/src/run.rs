//! Runs of several processes that log through one way.

use crate::check::{Verdict, check};
use crate::event::{Event, Shape};
use crate::ways::WAYS;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// How much is written.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    pub processes: usize,
    pub threads: usize,
    pub events: usize,
    /// The size of a segment in bytes.
    pub max_size: u64,
}

impl Size {
    pub fn events_in_all(self) -> usize {
        self.processes * self.threads * self.events
    }
}

/// Writes events through the way with the index `way` of [`WAYS`], and checks them. `program` is
/// this package's.
pub fn run(program: &Path, way: usize, shape: Shape, size: Size) -> Verdict {
    let alone = Size { processes: 1, threads: 1, events: 1, max_size: u64::MAX };
    let sample = segments(program, way, shape, alone).0.concat();
    assert!(!sample.is_empty(), "{} writes nothing", WAYS[way].title());
    let (segments, records) = segments(program, way, shape, size);
    let ids = (0..size.processes).flat_map(|worker| {
        (0..size.threads).flat_map(move |thread| {
            (0..size.events).map(move |number| Event::new(shape, worker, thread, number).id)
        })
    });
    let mut verdict = check(&segments, &sample, ids);
    verdict.surplus = records as i64 - size.events_in_all() as i64;
    verdict
}

/// Runs the processes. Returns the segments, oldest first, and how many records were counted.
fn segments(program: &Path, way: usize, shape: Shape, size: Size) -> (Vec<Vec<u8>>, usize) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let log = dir.path().join("app.log");
    let mut children: Vec<Child> = (0..size.processes)
        .map(|worker| {
            Command::new(program)
                .args([&way.to_string(), shape.name()])
                .arg(&log)
                .args([worker, size.threads, size.events].map(|number| number.to_string()))
                .arg(size.max_size.to_string())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("the program of this package")
        })
        .collect();
    // They begin when this pipe is closed.
    children.iter_mut().for_each(|child| drop(child.stdin.take()));
    let records = children.into_iter().map(|child| {
        let output = child.wait_with_output().expect("its output");
        assert!(output.status.success(), "{}: {output:?}", WAYS[way].title());
        let printed = String::from_utf8_lossy(&output.stdout);
        printed.lines().last().and_then(|line| line.parse::<usize>().ok()).expect("a number")
    });
    let records = records.sum();
    let mut names: Vec<PathBuf> = std::fs::read_dir(dir.path())
        .expect("the directory")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path != &log)
        .collect();
    names.sort();
    names.push(log);
    (names.iter().map(|path| std::fs::read(path).expect("a segment")).collect(), records)
}
