//! GNU tail, which follows a log that four processes write.
#![cfg(target_os = "linux")]

use crate::support::{Dir, eventually, text};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::process::{Child, ChildStdin, Command, Stdio};

/// `tail -F` from the first line on. Its output and its messages are files.
struct Tail {
    process: Child,
    files: Dir,
}

impl Tail {
    fn follow(dir: &Dir) -> Self {
        let files = Dir::new();
        let file = |name| File::create(files.file(name)).unwrap();
        let mut command = Command::new("tail");
        command.args(["-n", "+1", "-F"]).arg(dir.log()).env("LC_ALL", "C").stdin(Stdio::null());
        let process = command.stdout(file("shown")).stderr(file("said")).spawn().unwrap();
        Self { process, files }
    }

    /// The numbers that were shown of each worker, in the order in which they were shown.
    fn shown(&self) -> BTreeMap<usize, Vec<u32>> {
        let mut shown = BTreeMap::<_, Vec<_>>::new();
        let text = fs::read_to_string(self.files.file("shown")).unwrap();
        let (whole, _) = text.rsplit_once('\n').unwrap_or_default();
        for line in whole.lines() {
            let (worker, number) = line.split_once(' ').unwrap();
            shown.entry(worker.parse().unwrap()).or_default().push(number.parse().unwrap());
        }
        shown
    }

    fn shows(&self, worker: usize, least: u32) -> bool {
        self.shown().get(&worker).and_then(|numbers| numbers.last()).is_some_and(|n| *n >= least)
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.process.kill().and_then(|()| self.process.wait()).unwrap();
    }
}

/// Whether `tail` is GNU's and the file system can exchange files; prints why not.
fn is_possible() -> bool {
    let version = Command::new("tail").arg("--version").output();
    if !version.is_ok_and(|output| text(&output.stdout).contains("GNU coreutils")) {
        println!("skipped: `tail` is not GNU's");
        return false;
    }
    let dir = Dir::new();
    let [one, other] = ["one", "other"].map(|name| dir.file(name));
    for file in [&one, &other] {
        fs::write(file, "").unwrap();
    }
    let exchanged = renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE);
    if let Err(error) = exchanged {
        println!("skipped: this file system exchanges no files: {error}");
    }
    exchanged.is_ok()
}

/// A process that writes lines `<name> <number>`.
struct Worker {
    name: usize,
    next: u32,
    input: ChildStdin,
    process: Child,
}

impl Worker {
    fn start(dir: &Dir, name: usize) -> Self {
        let mut command = dir.command("write", ["--max-size", "300"]);
        let mut process = command.stdin(Stdio::piped()).spawn().unwrap();
        Self { name, next: 0, input: process.stdin.take().unwrap(), process }
    }

    fn write(&mut self) {
        writeln!(self.input, "{} {}", self.name, self.next).unwrap();
        self.next += 1;
    }

    /// Returns the lines that it wrote.
    fn finish(mut self) -> impl Iterator<Item = String> {
        drop(self.input);
        assert!(self.process.wait().unwrap().success());
        (0..self.next).map(move |number| format!("{} {number}", self.name))
    }
}

// Between two renames there was no file at the path, and GNU tail said so at every second rotation.
#[test]
fn regression_gnu_tail_finds_a_file_at_each_rotation() {
    if !is_possible() {
        return;
    }
    let dir = Dir::new();
    let mut workers: Vec<_> = (0..4).map(|name| Worker::start(&dir, name)).collect();
    eventually("the log exists", || dir.log().exists());
    let tail = Tail::follow(&dir);
    workers[0].write();
    eventually("tail shows a line", || tail.shows(0, 0));
    for _ in 0..300 {
        workers.iter_mut().for_each(Worker::write);
    }
    // Each worker gets into the segment that tail follows, whichever process rotated last.
    for worker in &mut workers {
        let least = worker.next;
        eventually("tail shows a later line of each worker", || {
            worker.write();
            tail.shows(worker.name, least)
        });
    }
    let mut written: Vec<_> = workers.into_iter().flat_map(Worker::finish).collect();
    let mut kept: Vec<_> = dir.ok("cat", []).lines().map(str::to_owned).collect();
    written.sort();
    kept.sort();
    assert_eq!(kept, written);
    assert!(dir.backups().len() > 1, "{:?}", dir.backups());
    for (worker, numbers) in tail.shown() {
        assert!(numbers.is_sorted_by(|a, b| a < b), "worker {worker}: {numbers:?}");
    }
    let said = fs::read_to_string(tail.files.file("said")).unwrap();
    assert!(!said.contains("inaccessible") && !said.contains("No such file"), "{said}");
}
