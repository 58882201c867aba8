//! Helpers: the command and workers as processes.

use logrotor::{Compression, RotatingFileWriter};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Returns the command with these arguments.
pub(crate) fn logrotor<const N: usize>(args: [&str; N]) -> Command {
    #[cfg(unix)]
    crate::surroundings::prepare();
    let mut command = Command::new(env!("CARGO_BIN_EXE_logrotor"));
    command.args(args).env("COLUMNS", "100").env("TZ", "UTC").env_remove("NO_COLOR");
    command
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Polls until a condition holds.
#[track_caller]
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(60), "never: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A temporary directory with a log `app.log` in it.
pub(crate) struct Dir(tempfile::TempDir);

impl Dir {
    pub(crate) fn new() -> Self {
        #[cfg(unix)]
        crate::surroundings::prepare();
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.file("app.log")
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn writer(&self) -> RotatingFileWriter {
        RotatingFileWriter::builder(self.log()).build().unwrap()
    }

    /// Returns the command with a verb and this log, in this directory.
    pub(crate) fn command<const N: usize>(&self, verb: &str, args: [&str; N]) -> Command {
        let mut command = logrotor([verb, "app.log"]);
        command.args(args).current_dir(self.0.path());
        command
    }

    /// Runs a verb on this log.
    pub(crate) fn run<const N: usize>(&self, verb: &str, args: [&str; N]) -> Output {
        self.command(verb, args).output().unwrap()
    }

    /// Runs a verb that must succeed without messages. Returns its output.
    #[track_caller]
    pub(crate) fn ok<const N: usize>(&self, verb: &str, args: [&str; N]) -> String {
        let output = self.run(verb, args);
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        text(&output.stdout)
    }

    /// Runs a verb with `--json` and parses its output.
    #[track_caller]
    pub(crate) fn json<const N: usize>(&self, verb: &str, args: [&str; N]) -> serde_json::Value {
        let output = self.command(verb, args).arg("--json").output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    }

    /// All names in the directory, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// The names of the timestamped backups, oldest first.
    pub(crate) fn backups(&self) -> Vec<String> {
        let names = self.names().into_iter();
        names.filter(|name| name.starts_with("app.log.2")).collect()
    }
}

/// A log with three backups of 1000 lines and an active segment of five. The lines count from 0.
pub(crate) fn log_of_numbers(compression: Compression) -> Dir {
    let dir = Dir::new();
    let mut log = RotatingFileWriter::builder(dir.log()).compression(compression).build().unwrap();
    for number in 0..3005 {
        writeln!(log, "{number}").unwrap();
        if number % 1000 == 999 {
            log.rotate().unwrap();
        }
    }
    log.close().unwrap();
    assert_eq!(dir.backups().len(), 3);
    // A child of another test holds the files of this process until its `exec`.
    eventually("the backups are compressed", || {
        let is_compressed = dir.backups().iter().all(|name| !name.ends_with('Z'));
        if compression == Compression::None || is_compressed {
            return true;
        }
        let log = RotatingFileWriter::builder(dir.log()).compression(compression).build().unwrap();
        log.close().unwrap();
        false
    });
    dir
}

/// A process that appends `count` lines `<name> <number>` to a log in small compressed segments.
pub(crate) struct Worker(Child);

impl Worker {
    pub(crate) fn start(log: &Path, name: u32, count: u32) -> Self {
        Self::start_with(log, name, count, |_| {})
    }

    pub(crate) fn start_with(
        log: &Path,
        name: u32,
        count: u32,
        prepare: impl FnOnce(&mut Command),
    ) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["support::worker_process", "--exact", "--ignored"]);
        command.env("LOGROTOR_TEST_LOG", log);
        command.env("LOGROTOR_TEST_WORK", format!("{name} {count}"));
        prepare(&mut command);
        Self(command.stdout(Stdio::null()).spawn().unwrap())
    }

    pub(crate) fn finish(mut self) {
        assert!(self.0.wait().unwrap().success());
    }
}

/// The lines of workers, sorted.
pub(crate) fn work(names: std::ops::Range<u32>, count: u32) -> Vec<String> {
    let lines = names.flat_map(|name| (0..count).map(move |number| format!("{name} {number}")));
    let mut lines: Vec<_> = lines.collect();
    lines.sort();
    lines
}

#[test]
#[ignore = "the process of a `Worker`"]
fn worker_process() {
    let work = std::env::var("LOGROTOR_TEST_WORK").unwrap();
    let (name, count) = work.split_once(' ').unwrap();
    let log = RotatingFileWriter::builder(std::env::var_os("LOGROTOR_TEST_LOG").unwrap());
    let mut log = log.max_size(100).compression(Compression::Gzip).build().unwrap();
    for number in 0..count.parse::<u32>().unwrap() {
        writeln!(log, "{name} {number}").unwrap();
    }
}
