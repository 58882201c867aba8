//! Helpers: a log in a directory of its own, workers as real processes, and the checker that reads
//! everything back.

use crate::support_lock::start;
use logrotor::__test::Clock;
use logrotor::{
    Compression, Durability, ErrorKind, FileLock, LogBuilder, MaintenanceMode, Naming, Period,
    RotatingFileWriter, Stats, Wait,
};
use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

/// A temporary directory with a log `app.log` in it.
pub struct Dir(tempfile::TempDir);

impl Dir {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn log(&self) -> PathBuf {
        self.path().join("app.log")
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub fn writer(&self) -> LogBuilder {
        RotatingFileWriter::builder(self.log())
    }

    /// All names in the directory, sorted.
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// The names of the backups, oldest first.
    pub fn backups(&self) -> Vec<String> {
        let mut names: Vec<_> = self
            .names()
            .into_iter()
            .filter_map(|name| {
                let plain = name.trim_end_matches(".gz").trim_end_matches(".zst");
                let infix = || plain.strip_prefix("app.")?.strip_suffix(".log");
                let key = plain.strip_prefix("app.log.").or_else(infix)?.to_owned();
                key.starts_with(|c: char| c.is_ascii_digit()).then_some((key, name))
            })
            .collect();
        // Numbers count down to the newest.
        names.sort_by_key(|(key, _)| match key.parse::<i64>() {
            Ok(number) => (-number, String::new()),
            Err(_) => (0, key.clone()),
        });
        names.into_iter().map(|(_, name)| name).collect()
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        unpack(&self.file(name))
    }

    /// The records of one file.
    pub fn lines_of(&self, name: &str) -> Vec<String> {
        lines(&self.read(name))
    }

    /// The records of the active segment.
    pub fn active_lines(&self) -> Vec<String> {
        lines(&self.read("app.log"))
    }

    /// All records, oldest segment first.
    pub fn all_lines(&self) -> Vec<String> {
        let names = self.backups().into_iter().chain(["app.log".to_owned()]);
        names.flat_map(|name| lines(&self.read(&name))).collect()
    }
}

/// Waits until `done`, for as long as the slowest machine may need.
#[track_caller]
pub fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < deadline, "not within a minute: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Whether the long forms of the tests are asked for.
pub fn is_long() -> bool {
    std::env::var_os("LOGROTOR_LONG").is_some()
}

/// Whether a case of a long form belongs to this run. `LOGROTOR_PART=2/8` is the second of eight
/// runs that have all cases together.
pub fn is_in_part(case: u32) -> bool {
    let Ok(part) = std::env::var("LOGROTOR_PART") else { return true };
    let (part, parts) = part.split_once('/').expect("LOGROTOR_PART is like 2/8");
    let [part, parts]: [u32; 2] = [part, parts].map(|number| number.parse().unwrap());
    assert!((1..=parts).contains(&part), "LOGROTOR_PART is 1/{parts} to {parts}/{parts}");
    case % parts == part - 1
}

/// A random number that is printed, so that a failure can be repeated with `LOGROTOR_SEED`.
pub fn seed() -> u64 {
    let given = std::env::var("LOGROTOR_SEED").ok().map(|seed| seed.parse().unwrap());
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    println!("LOGROTOR_SEED={seed}");
    seed
}

pub fn lines(bytes: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect()
}

/// The records of a file anywhere.
#[cfg(unix)]
pub fn lines_at(path: &Path) -> Vec<String> {
    lines(&unpack(path))
}

/// A file's content, decompressed as its name says; empty if there is none.
pub fn unpack(path: &Path) -> Vec<u8> {
    let Ok(raw) = std::fs::read(path) else { return Vec::new() };
    let mut plain = Vec::new();
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("gz") => {
            let mut decoder = flate2::read::GzDecoder::new(&raw[..]);
            decoder.read_to_end(&mut plain).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        }
        #[cfg(feature = "zstd")]
        Some("zst") => plain = zstd::decode_all(&raw[..]).unwrap(),
        _ => plain = raw,
    }
    plain
}

/// The record number `seq` of a worker: as text that no other record has, and of a length that
/// varies, so that a torn or mixed one shows.
pub fn record(worker: usize, seq: usize) -> String {
    let len = 20 + (worker * 31 + seq * 17) % 90;
    let letter = char::from(b'a' + u8::try_from((worker + seq) % 26).unwrap());
    let padding: String = std::iter::repeat_n(letter, len).collect();
    format!("w{worker:03} {seq:08} {padding}\n")
}

/// The fate of the records of `expected` workers, each of which wrote records 0 to its number.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub found: usize,
    pub lost: usize,
    pub doubled: usize,
    /// Lines that are no record.
    pub torn: usize,
    /// Records that come after a later one of the same worker.
    pub disordered: usize,
    /// Whole records beyond those expected: written but not acknowledged.
    pub extra: usize,
}

impl Verdict {
    pub fn is_clean(&self) -> bool {
        (self.lost, self.doubled, self.torn, self.disordered) == (0, 0, 0, 0)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// Compares the lines read back with what each worker wrote.
pub fn check(lines: &[String], expected: &BTreeMap<usize, usize>) -> Verdict {
    let mut verdict = Verdict::default();
    let mut seen: BTreeMap<usize, Vec<u8>> =
        expected.iter().map(|(worker, count)| (*worker, vec![0; *count])).collect();
    let mut last: BTreeMap<usize, usize> = BTreeMap::new();
    for line in lines {
        let Some((worker, seq)) = parse(line) else {
            verdict.torn += 1;
            continue;
        };
        if last.get(&worker).is_some_and(|last| *last > seq) {
            verdict.disordered += 1;
        }
        last.insert(worker, seq);
        match seen.get_mut(&worker).and_then(|seen| seen.get_mut(seq)) {
            Some(times) => *times = times.saturating_add(1),
            None => verdict.extra += 1,
        }
    }
    let times = || seen.values().flatten();
    verdict.found = times().filter(|times| **times > 0).count();
    verdict.lost = times().filter(|times| **times == 0).count();
    verdict.doubled = times().filter(|times| **times > 1).count();
    verdict
}

fn parse(line: &str) -> Option<(usize, usize)> {
    let mut parts = line.strip_prefix('w')?.split(' ');
    let worker = parts.next()?.parse().ok()?;
    let seq = parts.next()?.parse().ok()?;
    (record(worker, seq).trim_end() == line).then_some((worker, seq))
}

/// A worker's orders, as they cross the process boundary.
#[derive(Debug, Clone, Default)]
pub struct Job(BTreeMap<String, String>);

impl Job {
    /// `task` is one that [`child`] knows.
    pub fn new(task: &str, log: &Path) -> Self {
        Self::default().with("task", task).with("log", log.display())
    }

    pub fn with(mut self, key: &str, value: impl fmt::Display) -> Self {
        self.0.insert(key.to_owned(), value.to_string());
        self
    }

    pub fn text(&self, key: &str) -> &str {
        self.0.get(key).unwrap_or_else(|| panic!("the job has no `{key}`"))
    }

    pub fn number(&self, key: &str) -> usize {
        self.text(key).parse().unwrap()
    }

    pub fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// Sets an environment variable of the process.
    pub fn env(self, key: &str, value: impl fmt::Display) -> Self {
        self.with(&format!("{ENV}{key}"), value)
    }

    /// Starts a process that does this, by running this test binary again.
    pub fn spawn(&self) -> Worker {
        let mut child = start(self.command().stdin(Stdio::piped()).stdout(Stdio::piped()));
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Worker { child, stdin: Some(stdin), stdout: BufReader::new(stdout) }
    }

    /// The command that starts that process.
    pub fn command(&self) -> Command {
        let orders: String = self.0.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
        let mut command = self.binary();
        command
            .args(["--exact", "support::child", "--nocapture", "--include-ignored"])
            .env(ORDERS, orders);
        for (key, value) in &self.0 {
            if let Some(variable) = key.strip_prefix(ENV) {
                command.env(variable, value);
            }
        }
        if self.has("cwd") {
            command.current_dir(self.text("cwd"));
        }
        #[cfg(unix)]
        if self.has("uid") {
            let id = |key: &str| u32::try_from(self.number(key)).unwrap();
            let group = if self.has("gid") { "gid" } else { "uid" };
            std::os::unix::process::CommandExt::gid(&mut command, id(group));
            std::os::unix::process::CommandExt::uid(&mut command, id("uid"));
        }
        command
    }

    /// This test binary, with files that cannot grow beyond `file_blocks` of 512 bytes if the job
    /// says so.
    fn binary(&self) -> Command {
        let this = std::env::current_exe().unwrap();
        if !self.has("file_blocks") {
            return Command::new(this);
        }
        let mut limited = Command::new("sh");
        let script = "trap '' XFSZ; ulimit -f \"$1\"; shift; exec \"$@\"";
        limited.args(["-c", script, "sh", self.text("file_blocks")]).arg(this);
        limited
    }

    fn received() -> Option<Self> {
        let orders = std::env::var(ORDERS).ok()?;
        let pairs = orders.lines().filter_map(|line| line.split_once('='));
        Some(Self(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()))
    }

    /// The log as this job says it is set up.
    pub fn builder(&self) -> LogBuilder {
        let mut builder = RotatingFileWriter::builder(self.text("log"));
        if self.has("max_size") {
            builder = builder.max_size(self.number("max_size") as u64);
        }
        if self.has("gzip") {
            builder = builder.compression(Compression::Gzip).compression_level(1);
        }
        #[cfg(feature = "zstd")]
        if self.has("zstd") {
            builder = builder.compression(Compression::Zstd);
        }
        if self.has("numbered") {
            builder = builder.naming(Naming::Number);
        }
        if self.has("infix") {
            builder = builder.naming(Naming::TimestampInfix);
        }
        if self.has("inline") {
            builder = builder.maintenance(MaintenanceMode::Inline);
        }
        if self.has("buffered") {
            builder = builder.delivery(crate::scenario::buffered());
        }
        if self.has("mode") {
            builder = builder.mode(u32::from_str_radix(self.text("mode"), 8).unwrap());
        }
        if self.has("max_backups") {
            builder = builder.max_backups(self.number("max_backups"));
        }
        if self.has("min_free") {
            builder = builder.min_free_space(self.number("min_free") as u64);
        }
        if self.has("check_ms") {
            builder = builder.check_interval(millis(self.number("check_ms")));
        }
        if self.has("min_interval_ms") {
            builder = builder.min_interval(millis(self.number("min_interval_ms")));
        }
        if self.has("max_age_ms") {
            builder = builder.max_age(millis(self.number("max_age_ms")));
        }
        if self.has("on_rotate") {
            builder = builder.durability(Durability::OnRotate);
        }
        if self.has("every_record") {
            builder = builder.durability(Durability::EveryRecord);
        }
        #[cfg(feature = "archive")]
        if self.has("archive") {
            builder = builder.archive(logrotor::Archive::to(self.text("archive")));
        }
        if self.has("lock_ms") {
            builder = builder.lock_timeout(millis(self.number("lock_ms")));
        }
        builder
    }
}

/// The file operations that a process made, as the fault hook counts them.
#[cfg(unix)]
pub struct Trace(tempfile::NamedTempFile);

#[cfg(unix)]
impl Trace {
    pub fn new() -> Self {
        Self(tempfile::NamedTempFile::new().unwrap())
    }

    /// This job, traced.
    pub fn of(&self, job: &Job) -> Job {
        job.clone().env("LOGROTOR_FAULT_COUNT", self.0.path().display())
    }

    /// How many operations there were up to now.
    pub fn len(&self) -> usize {
        std::fs::read_to_string(self.0.path()).unwrap().lines().count()
    }

    /// Their verbs, in order.
    pub fn verbs(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.0.path()).unwrap();
        let verb = |line: &str| line.split_once(' ').map(|(_, verb)| verb.to_owned());
        text.lines().filter_map(verb).collect()
    }

    /// The verbs of those that a fault struck.
    #[cfg(target_os = "linux")]
    pub fn struck(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.0.path()).unwrap();
        let struck = |line: &str| Some(line.strip_suffix(" !")?.split_once(' ')?.1.to_owned());
        text.lines().filter_map(struck).collect()
    }

    /// How many of them have this verb.
    pub fn count(&self, verb: &str) -> usize {
        let text = std::fs::read_to_string(self.0.path()).unwrap();
        text.lines().filter(|line| line.split(' ').skip(1).collect::<Vec<_>>() == [verb]).count()
    }

    /// The number of the first `verb` after operation `after`.
    pub fn first(&self, verb: &str, after: usize) -> usize {
        let text = std::fs::read_to_string(self.0.path()).unwrap();
        let is_it = |line: &str| line.split_once(' ').is_some_and(|(_, what)| what == verb);
        after + 1 + text.lines().skip(after).position(is_it).expect("it was never made")
    }
}

fn millis(count: usize) -> Duration {
    Duration::from_millis(count as u64)
}

/// The prefix of environment variables.
const ENV: &str = "env.";
const ORDERS: &str = "LOGROTOR_TEST_ORDERS";
/// The prefix of lines from a worker, to distinguish them from those of the test harness.
const SAYS: &str = "@";

/// A worker process, seen from its parent.
pub struct Worker {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Worker {
    /// Sends a line.
    pub fn tell(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Waits for what it says next; `None` once it has ended.
    pub fn hear(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            if self.stdout.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            // The harness may have printed the test's name before it on the same line.
            if let Some((_, said)) = line.split_once(SAYS) {
                return Some(said.trim_end().to_owned());
            }
        }
    }

    /// Waits until it says exactly this.
    pub fn expect(&mut self, said: &str) {
        assert_eq!(self.hear().as_deref(), Some(said));
    }

    /// Has it write one line.
    pub fn write(&mut self, line: &str) {
        assert_eq!(self.ask(&format!("write {line}")), "ok");
    }

    /// One of its counters, by the name of the field of `Stats`.
    pub fn count(&mut self, counter: &str) -> u64 {
        self.ask(&format!("count {counter}")).parse().unwrap()
    }

    /// Sends a line and waits for the answer.
    pub fn ask(&mut self, line: &str) -> String {
        self.tell(line);
        self.hear().expect("the worker has died")
    }

    #[cfg(unix)]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`, and waits until it is dead.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    #[cfg(unix)]
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.pid().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Closes its input and waits until it ends well.
    pub fn finish(mut self) {
        drop(self.stdin.take());
        while self.hear().is_some() {}
        assert!(self.child.wait().unwrap().success());
    }

    /// Waits until it ends, and says whether it ended well.
    pub fn end(mut self) -> bool {
        drop(self.stdin.take());
        while self.hear().is_some() {}
        self.child.wait().unwrap().success()
    }

    /// Waits until the kernel says that it is stopped.
    #[cfg(unix)]
    pub fn stop(&self) {
        self.signal("-STOP");
        let stat = format!("/proc/{}/stat", self.pid());
        eventually("the process is stopped", || {
            std::fs::read_to_string(&stat).unwrap().contains(") T ")
        });
    }

    #[cfg(unix)]
    pub fn go_on(&self) {
        self.signal("-CONT");
    }

    /// Whether it has ended already, however it did.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // A stopped or a waiting worker must not outlive a failed test.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Has a worker write one record, rotate, and do what maintenance is due. It is a process: those
/// that the tests beside this one start would hold its handles for a moment, and so leases, if it
/// were not.
pub fn next_worker(job: &Job, text: &str) {
    let mut worker = job.clone().with("task", "obey").spawn();
    worker.expect("ready");
    worker.write(text);
    for order in ["rotate", "close"] {
        assert_eq!(worker.ask(order), "ok", "{order}");
    }
    worker.finish();
}

/// Sends a message of the worker to its parent.
pub fn say(line: impl fmt::Display) {
    println!("{SAYS}{line}");
}

/// The next line from the parent; `None` once it has closed the pipe.
pub fn listen() -> Option<String> {
    let mut line = String::new();
    let len = std::io::stdin().read_line(&mut line).unwrap();
    (len > 0).then(|| line.trim_end().to_owned())
}

/// Not a test: what worker processes run.
#[test]
#[ignore = "run by worker processes only"]
fn child() {
    let Some(job) = Job::received() else { return };
    #[cfg(unix)]
    if job.has("umask") {
        let mask = rustix::fs::RawMode::from_str_radix(job.text("umask"), 8).unwrap();
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(mask));
    }
    match job.text("task") {
        #[cfg(all(feature = "archive", unix))]
        "archive" | "archive-at" => crate::archive::child(&job),
        #[cfg(all(feature = "archive", unix))]
        "archive-read" => crate::archive_google::child(&job),
        "hold" => hold(&job),
        "acknowledge" => acknowledge(&job),
        "calendar" => crate::triggers::calendar(&job),
        "commit" => crate::durability::traced::commit(&job),
        "write" => write_on_command(&job),
        "obey" => obey(&job),
        #[cfg(target_os = "linux")]
        "examine" => crate::neighbors::answers::examine(&job),
        #[cfg(target_os = "linux")]
        "read" => crate::neighbors::answers::read(&job),
        #[cfg(target_os = "linux")]
        "follow" => crate::vanishing::follow(&job),
        #[cfg(feature = "policy")]
        task if task.starts_with("policy-") => crate::policy::child(&job),
        #[cfg(all(feature = "archive", feature = "policy", unix))]
        task if task.starts_with("shared-") => crate::policy_shared::child(&job),
        "play" => crate::scenario::play(&job),
        "open" => crate::errors::open(&job),
        "suffer" => crate::errors::suffer(&job),
        other => panic!("no such task: {other}"),
    }
}

/// Opens the log, says `ready`, waits for a line, writes `count` records, and closes. However busy
/// the machine, it waits for the others' rotations to end.
fn write_on_command(job: &Job) {
    let mut log = job.builder().lock_timeout(Duration::from_secs(60)).build().unwrap();
    say("ready");
    listen();
    let worker = job.number("worker");
    let records = (0..job.number("count")).map(|seq| record(worker, seq));
    if job.has("lines") {
        crate::lines::write_all(&log, records.collect::<String>().as_bytes());
    } else {
        records.for_each(|record| log.write_all(record.as_bytes()).unwrap());
    }
    let stats = log.stats();
    log.close().unwrap();
    say(format!("{} {}", stats.rotations, stats.skips));
}

/// Holds the lock at the path `lock` from `ready` on until it hears a line.
fn hold(job: &Job) {
    let lock = FileLock::open(job.text("lock")).unwrap();
    let guard = lock.exclusive(Wait::Forever).unwrap();
    say("ready");
    listen();
    // The lock file may have been taken away.
    let _ = guard.unlock();
}

/// Writes records until it is killed or has written `count`; puts the number of those that are
/// written into the file `acknowledged`, after each. However busy the machine, it waits for the
/// others' rotations to end.
fn acknowledge(job: &Job) {
    use std::io::{Seek, SeekFrom};
    let mut acknowledged = std::fs::File::create(job.text("acknowledged")).unwrap();
    let mut log = job.builder().lock_timeout(Duration::from_secs(60)).build().unwrap();
    let worker = job.number("worker");
    say("ready");
    for seq in 0..job.number("count") {
        log.write_all(record(worker, seq).as_bytes()).unwrap();
        acknowledged.seek(SeekFrom::Start(0)).unwrap();
        acknowledged.write_all(&(seq as u64 + 1).to_le_bytes()).unwrap();
    }
    log.close().unwrap();
}

/// Does what each line says, and answers with one.
fn obey(job: &Job) {
    let clock = Clock::manual(SystemTime::UNIX_EPOCH);
    let mut builder = job.builder();
    if job.has("clock") {
        clock.set(seconds(job.text("clock")));
        builder = builder.clock(clock.clone()).rotate_every(Period::Hourly);
    }
    if job.has("hours") {
        builder = builder.rotate_every(Period::Hours(job.number("hours").try_into().unwrap()));
    }
    if job.has("daily") {
        builder = builder.rotate_every(Period::Daily);
    }
    if job.has("begins_at") {
        builder = builder.rotate_at(Duration::from_secs(job.number("begins_at") as u64));
    }
    let mut log = builder.build().unwrap();
    say("ready");
    while let Some(line) = listen() {
        let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
        match verb {
            "write" => say(answer(log.write_all(format!("{rest}\n").as_bytes()))),
            "lines" => say(answer(log.write_lines(rest.replace('|', "\n").as_bytes()))),
            "rotate" => say(answer(log.rotate())),
            "flush" => say(answer(log.flush())),
            "sync" => say(answer(log.sync())),
            "reopen" => say(answer(log.reopen())),
            "clock" => {
                clock.set(seconds(rest));
                say("ok");
            }
            "count" => say(counter(&log.stats(), rest)),
            "last" => say(log.stats().last_error.map(|e| e.to_string()).unwrap_or_default()),
            "cd" => say(answer(std::env::set_current_dir(rest))),
            "close" => say(answer(log.finish())),
            "threads" => say(threads()),
            other => panic!("no such verb: {other}"),
        }
    }
}

fn seconds(text: &str) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(text.parse().unwrap())
}

/// How many threads of this process are a log's own.
fn threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names =
        tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).unwrap());
    names.filter(|name| name.starts_with("logrotor")).count()
}

fn counter(stats: &Stats, name: &str) -> u64 {
    match name {
        "records" => stats.records,
        "rotations" => stats.rotations,
        "skips" => stats.skips,
        "follows" => stats.follows,
        "recreations" => stats.recreations,
        "truncations" => stats.truncations,
        "lock_waits" => stats.lock_waits,
        "compressions" => stats.compressions,
        "deferrals" => stats.deferrals,
        "pruned" => stats.pruned,
        "torn" => stats.torn,
        "timeouts" => stats.failures(ErrorKind::LockTimeout),
        "failures" => stats.all_failures(),
        other => panic!("no such counter: {other}"),
    }
}

fn answer<T: fmt::Debug, E: fmt::Display>(result: Result<T, E>) -> String {
    match result {
        Ok(_) => "ok".to_owned(),
        Err(error) => format!("error: {error}"),
    }
}
