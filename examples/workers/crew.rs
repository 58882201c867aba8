//! The worker processes as their parent sees them: started, listened to, waited for.

use crate::Result;
use crate::job::Job;
use crate::worker::Tally;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{BufRead, BufReader, IsTerminal};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// A message of a worker: its number, and the words.
type Said = (usize, String);

/// Has the workers do the job, and returns what each did. Shows how far they are meanwhile.
pub(crate) fn run(job: &Job, files: u64) -> Result<Vec<Tally>> {
    let mut children = spawn(job)?;
    let (sender, said) = channel();
    for (id, child) in children.iter_mut().enumerate() {
        if let Some(stdout) = child.stdout.take() {
            listen(id, stdout, sender.clone());
        }
    }
    drop(sender);
    let tallies = follow(&mut children, &said, files);
    for (id, child) in children.iter_mut().enumerate() {
        let status = child.wait()?;
        if !status.success() {
            return Err(format!("worker {id} failed: {status}").into());
        }
    }
    tallies
}

fn spawn(job: &Job) -> Result<Vec<Child>> {
    let program = std::env::current_exe()?;
    let start = |id| {
        let mut command = Command::new(&program);
        command.args(job.args(id)).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()
    };
    Ok((0..job.workers).map(start).collect::<std::io::Result<_>>()?)
}

/// Passes on what a worker says, until it has ended.
fn listen(id: usize, stdout: ChildStdout, sender: Sender<Said>) {
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if sender.send((id, line)).is_err() {
                break;
            }
        }
    });
}

/// Lets the workers go once each has said that it is ready, and takes down what they say.
fn follow(children: &mut [Child], said: &Receiver<Said>, files: u64) -> Result<Vec<Tally>> {
    let mut tallies = vec![Tally::default(); children.len()];
    for _ in 0..children.len() {
        said.recv().map_err(|_| "no worker could begin")?;
    }
    for child in children {
        drop(child.stdin.take());
    }
    let mut progress = Progress::new(files);
    loop {
        match said.recv_timeout(Duration::from_millis(100)) {
            Ok((id, line)) => tallies[id] = line.parse()?,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        progress.show(&tallies);
    }
    progress.end();
    Ok(tallies)
}

/// A bar on a terminal, elsewhere a line a second.
struct Progress {
    bar: Option<ProgressBar>,
    files: u64,
    last: Instant,
}

impl Progress {
    fn new(files: u64) -> Self {
        let style = "{bar:30} {pos}/{len} records, {msg}";
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template(style);
            ProgressBar::new(files)
                .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Self { bar, files, last: Instant::now() }
    }

    fn show(&mut self, tallies: &[Tally]) {
        let sum = |part: fn(&Tally) -> u64| tallies.iter().map(part).sum::<u64>();
        let (records, rotations) = (sum(|tally| tally.records), sum(|tally| tally.rotations));
        let backups = rotations.saturating_sub(sum(|tally| tally.pruned));
        let rest = format!("{rotations} rotations, {backups} backups");
        if let Some(bar) = &self.bar {
            bar.set_position(records);
            bar.set_message(rest);
        } else if self.last.elapsed() >= Duration::from_secs(1) {
            self.last = Instant::now();
            eprintln!("{records}/{} records, {rest}", self.files);
        }
    }

    fn end(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
