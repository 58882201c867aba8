//! Child processes for the tests of locks and atomic files: this test binary, run again with a job.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const JOB: &str = "LOGROTOR_TEST_JOB";
const ARGS: &str = "LOGROTOR_TEST_ARGS";

/// Longer than any step takes on a busy machine; only a failing test reaches it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A process that does a job of [`do_job`]; killed when dropped.
pub(crate) struct Child {
    process: std::process::Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
}

/// Starts a process. Wine sometimes refuses that with `ERROR_INTERNAL_ERROR`, if several are
/// started at a time.
pub(crate) fn start(command: &mut Command) -> std::process::Child {
    const REFUSED: Option<i32> = Some(1359);
    const TRIES: usize = 10;
    for _ in (0..TRIES).filter(|_| cfg!(windows)) {
        match command.spawn() {
            Err(error) if error.raw_os_error() == REFUSED => println!("wine: {error}"),
            started => return started.unwrap(),
        }
    }
    command.spawn().unwrap()
}

impl Child {
    pub(crate) fn start(job: &str, args: &[&dyn AsRef<OsStr>]) -> Self {
        Self::start_with(job, args, |_| {})
    }

    /// Like [`start`](Child::start), with more environment or another user.
    pub(crate) fn start_with(
        job: &str,
        args: &[&dyn AsRef<OsStr>],
        more: impl FnOnce(&mut Command),
    ) -> Self {
        let args: Vec<_> = args.iter().map(AsRef::as_ref).collect();
        // On Linux by a name that works for every user.
        let linux = cfg!(target_os = "linux").then(|| PathBuf::from("/proc/self/exe"));
        let mut command = Command::new(linux.unwrap_or_else(|| std::env::current_exe().unwrap()));
        command.args(["--exact", "support_lock::child", "--ignored", "--nocapture"]);
        command.env(JOB, job).env(ARGS, args.join(OsStr::new("\n")));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        more(&mut command);
        let mut process = start(&mut command);
        let output = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { input: process.stdin.take(), output, process }
    }

    /// The next line of the job; `None` once it has ended.
    pub(crate) fn hear(&mut self) -> Option<String> {
        let mut lines = self.output.by_ref().map(Result::unwrap);
        lines.find_map(|line| line.strip_prefix('@').map(str::to_owned))
    }

    /// Waits for just this line of the job.
    pub(crate) fn expect(&mut self, word: &str) {
        assert_eq!(self.hear().as_deref(), Some(word));
    }

    /// Ends the job's wait in [`listen`].
    pub(crate) fn say(&mut self, line: &str) {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
    }

    #[cfg(unix)]
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// `kill -9`, and waits for the end.
    pub(crate) fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Lets the job run to its end, which must be successful.
    pub(crate) fn finish(self) {
        let status = self.end();
        assert!(status.success(), "{status}");
    }

    /// Lets the job run to its end, successful or not.
    pub(crate) fn end(mut self) -> ExitStatus {
        self.input = None;
        while self.hear().is_some() {}
        self.process.wait().unwrap()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The job's side: sends a line to the parent.
pub(crate) fn send(line: &str) {
    // The harness may have written the start of a line of its own.
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\n@{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// The job's side: waits for a line from the parent; `None` once it is gone.
pub(crate) fn listen() -> Option<String> {
    std::io::stdin().lines().next().map(Result::unwrap)
}

/// The job's side: works until the parent sends a line or is gone.
pub(crate) fn until_stopped(mut work: impl FnMut()) {
    let stopped = std::thread::spawn(listen);
    while !stopped.is_finished() {
        work();
    }
}

/// A job's arguments.
pub(crate) struct Args(std::vec::IntoIter<String>);

impl Args {
    pub(crate) fn text(&mut self) -> String {
        self.0.next().unwrap()
    }

    pub(crate) fn path(&mut self) -> PathBuf {
        self.text().into()
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.text().parse().unwrap()
    }
}

#[test]
#[ignore = "runs in child processes only"]
fn child() {
    let Ok(job) = std::env::var(JOB) else { return };
    let args: Vec<_> = std::env::var(ARGS).unwrap().split('\n').map(str::to_owned).collect();
    let mut args = Args(args.into_iter());
    if !super::lock::do_job(&job, &mut args) && !super::atomic::do_job(&job, &mut args) {
        panic!("no such job: {job}");
    }
}

/// Waits for an effect of another process.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "{what}: still not so");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// `short`, or `long` when `LOGROTOR_LONG` is set.
pub(crate) fn rounds(short: u64, long: u64) -> u64 {
    if std::env::var_os("LOGROTOR_LONG").is_some() { long } else { short }
}

/// The names in a directory, sorted.
pub(crate) fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Runs a child as a user without rights if this process may; otherwise this process most likely is
/// such a user.
#[cfg(unix)]
pub(crate) fn without_rights(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    const NOBODY: u32 = 65534;
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
}

#[cfg(unix)]
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
