//! Changes by other programs while workers write: within `check_interval`, the records go to the
//! right file again.

#[cfg(unix)]
use crate::support::Trace;
use crate::support::{Dir, Job, Verdict, Worker, check, eventually};
use logrotor::__test::Clock;
use logrotor::{ErrorKind, MaintenanceMode, RotatingFileWriter, Stats};
use std::cell::Cell;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

const CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// A log that checks its path only when the test's clock says so.
struct Watched {
    dir: Dir,
    clock: Clock,
    now: Cell<SystemTime>,
    log: RotatingFileWriter,
}

impl Watched {
    fn new() -> Self {
        Self::with(|builder| builder)
    }

    fn with(setup: impl FnOnce(logrotor::LogBuilder) -> logrotor::LogBuilder) -> Self {
        let dir = Dir::new();
        // In a directory of its own, which can be removed.
        std::fs::create_dir(dir.file("logs")).unwrap();
        let now = SystemTime::now();
        let clock = Clock::manual(now);
        let builder = RotatingFileWriter::builder(dir.file("logs/app.log")).clock(clock.clone());
        let builder = builder.check_interval(CHECK_INTERVAL).maintenance(MaintenanceMode::Inline);
        let log = setup(builder).build().unwrap();
        Self { dir, clock, now: Cell::new(now), log }
    }

    fn path(&self) -> PathBuf {
        self.dir.file("logs/app.log")
    }

    fn try_write(&self, line: &str) -> std::io::Result<()> {
        (&self.log).write_all(format!("{line}\n").as_bytes())
    }

    fn write(&self, line: &str) {
        self.try_write(line).unwrap();
    }

    fn pass(&self, span: Duration) {
        self.now.set(self.now.get() + span);
        self.clock.set(self.now.get());
    }

    /// Writes one record before the end of the check interval, and one at the end.
    fn write_before_and_after_check(&self) {
        self.pass(CHECK_INTERVAL - Duration::from_micros(1));
        self.write("unnoticed");
        self.pass(Duration::from_micros(1));
        self.write("noticed");
    }

    fn lines(&self) -> Vec<String> {
        self.dir.lines_of("logs/app.log")
    }

    /// The number of times that the log was created again, adopted, and found truncated, all
    /// without a failure.
    fn counts(&self) -> (u64, u64, u64) {
        let Stats { recreations, follows, truncations, .. } = self.log.stats();
        assert_eq!(self.log.stats().all_failures(), 0, "{:?}", self.log.stats().last_error);
        (recreations, follows, truncations)
    }
}

#[test]
fn deleted_log_is_recreated_within_the_check_interval() {
    let watched = Watched::new();
    watched.write("first");
    std::fs::remove_file(watched.path()).unwrap();
    watched.write_before_and_after_check();
    assert_eq!(watched.lines(), ["noticed"]);
    assert_eq!(watched.counts(), (1, 0, 0));
}

#[test]
fn recreated_log_has_its_header() {
    let watched = Watched::with(|builder| builder.header(b"time,level\n"));
    std::fs::remove_file(watched.path()).unwrap();
    watched.write_before_and_after_check();
    assert_eq!(watched.lines(), ["time,level", "noticed"]);
}

#[test]
fn log_moved_and_recreated_by_logrotate_loses_no_record() {
    let watched = Watched::new();
    watched.write("first");
    std::fs::rename(watched.path(), watched.dir.file("logs/app.log-1")).unwrap();
    std::fs::write(watched.path(), "").unwrap();
    watched.write_before_and_after_check();
    assert_eq!(watched.lines(), ["noticed"]);
    assert_eq!(watched.dir.lines_of("logs/app.log-1"), ["first", "unnoticed"]);
    assert_eq!(watched.counts(), (0, 1, 0));
}

#[test]
fn log_moved_and_not_recreated_is_created_by_the_worker() {
    let watched = Watched::new();
    watched.write("first");
    std::fs::rename(watched.path(), watched.dir.file("logs/app.log-1")).unwrap();
    watched.write_before_and_after_check();
    assert_eq!(watched.lines(), ["noticed"]);
    assert_eq!(watched.dir.lines_of("logs/app.log-1"), ["first", "unnoticed"]);
    assert_eq!(watched.counts(), (1, 0, 0));
}

// A truncated segment was detected only after a write to it. If it seemed full, the rotation before
// the write read its size. Then the truncation was not counted, and the length of the lost header
// still was, so that the segment could count as empty.
#[test]
fn regression_truncation_found_by_a_rotation_is_counted() {
    let header = b"0123456789\n".to_vec();
    let watched = Watched::with(|builder| builder.max_size(40).header(header.clone()));
    watched.write("twenty bytes of text");
    std::fs::write(watched.path(), "").unwrap();
    watched.write("seems to lack room");
    assert_eq!((watched.counts(), watched.log.stats().rotations), ((0, 0, 1), 0));
    std::fs::write(watched.path(), "left\n").unwrap();
    assert!(watched.log.rotate().unwrap().is_some());
    assert_eq!(watched.counts(), (0, 0, 2));
}

#[test]
fn log_truncated_by_copytruncate_continues_at_its_start() {
    let watched = Watched::with(|builder| builder.max_size(30));
    watched.write("before the copy");
    std::fs::write(watched.path(), "").unwrap();
    watched.write("after the copy");
    // By the size before, this record would not fit.
    watched.write("and so on");
    assert_eq!(watched.lines(), ["after the copy", "and so on"]);
    assert_eq!(watched.counts(), (0, 0, 1));
    watched.write("this has none");
    assert_eq!(watched.lines(), ["this has none"]);
    assert_eq!(watched.log.stats().rotations, 1);
}

#[test]
fn truncated_log_without_its_header_is_rotated_like_any_other() {
    let watched = Watched::with(|builder| builder.max_size(30).header(b"0123456789\n"));
    watched.write("before");
    std::fs::write(watched.path(), "").unwrap();
    watched.write("short");
    assert!(watched.log.rotate().unwrap().is_some());
    assert_eq!(watched.lines(), ["0123456789"]);
    assert_eq!(watched.counts(), (0, 0, 1));
}

#[test]
fn removed_directory_is_recreated_with_the_log() {
    let watched = Watched::new();
    watched.write("first");
    std::fs::remove_dir_all(watched.dir.file("logs")).unwrap();
    watched.write_before_and_after_check();
    assert_eq!(watched.lines(), ["noticed"]);
    assert_eq!(watched.counts(), (1, 0, 0));
}

#[test]
fn log_is_created_in_a_recreated_directory() {
    let watched = Watched::new();
    watched.write("first");
    std::fs::remove_dir_all(watched.dir.file("logs")).unwrap();
    std::fs::create_dir(watched.dir.file("logs")).unwrap();
    watched.write_before_and_after_check();
    assert_eq!(watched.lines(), ["noticed"]);
    assert_eq!(watched.counts(), (1, 0, 0));
}

#[test]
fn log_whose_directory_was_moved_is_created_at_its_own_path() {
    let watched = Watched::new();
    watched.write("first");
    std::fs::rename(watched.dir.file("logs"), watched.dir.file("old")).unwrap();
    watched.write_before_and_after_check();
    assert_eq!(watched.lines(), ["noticed"]);
    assert_eq!(watched.dir.lines_of("old/app.log"), ["first", "unnoticed"]);
    assert_eq!(watched.counts(), (1, 0, 0));
}

#[cfg(unix)]
#[test]
fn link_in_place_of_the_log_moves_backups_to_its_target() {
    let watched = Watched::new();
    watched.write("first");
    let target = watched.dir.path().canonicalize().unwrap().join("elsewhere/real.log");
    std::fs::create_dir(target.parent().unwrap()).unwrap();
    std::fs::write(&target, "there\n").unwrap();
    std::fs::remove_file(watched.path()).unwrap();
    std::os::unix::fs::symlink(&target, watched.path()).unwrap();
    watched.write_before_and_after_check();
    assert_eq!(watched.dir.lines_of("elsewhere/real.log"), ["there", "noticed"]);
    assert_eq!((watched.counts(), watched.log.path()), ((0, 1, 0), target.clone()));
    let backup = watched.log.rotate().unwrap().unwrap();
    assert_eq!(backup.parent(), target.parent());
    assert!(std::fs::symlink_metadata(watched.path()).unwrap().is_symlink());
    watched.write("next");
    assert_eq!(watched.lines(), ["next"]);
}

#[cfg(unix)]
#[test]
fn link_to_a_missing_file_creates_that_file() {
    let watched = Watched::new();
    watched.write("first");
    std::fs::remove_file(watched.path()).unwrap();
    std::os::unix::fs::symlink("../elsewhere/real.log", watched.path()).unwrap();
    watched.write_before_and_after_check();
    assert_eq!(watched.dir.lines_of("elsewhere/real.log"), ["noticed"]);
    assert_eq!(watched.counts(), (1, 0, 0));
}

// The link was resolved from the current directory of the process. A daemon that had opened
// `app.log` and changed to `/` continued with a log in `/`.
#[cfg(unix)]
#[test]
fn regression_link_at_relative_path_is_found_everywhere() {
    let dir = Dir::new();
    std::fs::create_dir(dir.file("away")).unwrap();
    let job = Job::new("obey", Path::new("app.log")).with("cwd", dir.path().display());
    let mut worker = job.with("check_ms", 0).with("inline", 1).spawn();
    worker.expect("ready");
    assert_eq!(worker.ask(&format!("cd {}", dir.file("away").display())), "ok");
    std::fs::remove_file(dir.log()).unwrap();
    std::os::unix::fs::symlink("real.log", dir.log()).unwrap();
    worker.write("line");
    assert_eq!(dir.lines_of("real.log"), ["line"]);
    assert_eq!(std::fs::read_dir(dir.file("away")).unwrap().count(), 0);
}

/// Writes for 1000 check intervals to a log whose path is unusable. Returns the number of failures.
fn failures_of_a_long_trouble(watched: &Watched) -> u64 {
    for _ in 0..1000 {
        watched.pass(CHECK_INTERVAL);
        // Rejected or not, the number of reports is counted here.
        let _ = watched.try_write("troubled");
    }
    watched.log.stats().all_failures()
}

#[test]
fn directory_in_place_of_a_deleted_log_rejects_records() {
    let watched = Watched::new();
    watched.write("first");
    std::fs::remove_file(watched.path()).unwrap();
    std::fs::create_dir(watched.path()).unwrap();
    watched.pass(CHECK_INTERVAL);
    let error = watched.try_write("refused").unwrap_err();
    assert!(error.to_string().contains("was removed"), "{error}");
    let stats = watched.log.stats();
    assert_eq!((stats.records, stats.failures(ErrorKind::NotAFile)), (1, 1));
    let message = stats.last_error.unwrap().to_string();
    assert!(message.contains("app.log") && message.ends_with("it is a directory"), "{message}");

    std::fs::remove_dir(watched.path()).unwrap();
    watched.pass(CHECK_INTERVAL);
    watched.write("accepted");
    assert_eq!(watched.lines(), ["accepted"]);
    assert_eq!(watched.log.stats().recreations, 1);
}

#[test]
fn directory_in_place_of_a_moved_log_keeps_the_moved_file() {
    let watched = Watched::new();
    watched.write("first");
    std::fs::rename(watched.path(), watched.dir.file("moved")).unwrap();
    std::fs::create_dir(watched.path()).unwrap();
    watched.pass(CHECK_INTERVAL);
    watched.write("second");
    assert_eq!(watched.dir.lines_of("moved"), ["first", "second"]);
    assert_eq!(watched.log.stats().failures(ErrorKind::NotAFile), 1);

    std::fs::remove_dir(watched.path()).unwrap();
    watched.pass(CHECK_INTERVAL);
    watched.write("third");
    assert_eq!(watched.lines(), ["third"]);
}

#[test]
fn unusable_log_path_causes_few_failures_not_one_per_record() {
    let watched = Watched::new();
    watched.write("first");
    std::fs::remove_file(watched.path()).unwrap();
    std::fs::create_dir(watched.path()).unwrap();
    let failures = failures_of_a_long_trouble(&watched);
    assert!((1..=30).contains(&failures), "{failures}");
}

#[test]
fn file_in_place_of_the_directory_causes_few_failures() {
    let watched = Watched::new();
    watched.write("first");
    std::fs::remove_dir_all(watched.dir.file("logs")).unwrap();
    std::fs::write(watched.dir.file("logs"), "in the way").unwrap();
    let failures = failures_of_a_long_trouble(&watched);
    assert!((1..=30).contains(&failures), "{failures}");
    watched.try_write("refused").unwrap_err();

    std::fs::remove_file(watched.dir.file("logs")).unwrap();
    watched.pass(CHECK_INTERVAL);
    watched.write("accepted");
    assert_eq!(watched.lines(), ["accepted"]);
}

#[test]
fn idle_worker_recreates_a_deleted_log() {
    let dir = Dir::new();
    let log = dir.writer().build().unwrap();
    (&log).write_all(b"first\n").unwrap();
    std::fs::remove_file(dir.log()).unwrap();
    eventually("the log is there again", || dir.log().exists());
    eventually("it is counted", || log.stats().recreations == 1);
    assert_eq!((log.stats().records, log.stats().all_failures()), (1, 0));
}

/// Does the same as `logrotate` with `create`.
fn move_and_create(log: &Path, to: &Path) {
    // A worker may have created it in between.
    if std::fs::rename(log, to).is_ok() {
        let _ = std::fs::File::create_new(log);
    }
}

#[test]
fn logrotate_beside_rotating_processes_loses_no_record() {
    const WORKERS: usize = 3;
    const COUNT: usize = 10_000;
    let dir = Dir::new();
    let job = Job::new("write", &dir.log()).with("max_size", 20_000).with("check_ms", 5);
    let job = job.with("count", COUNT);
    let mut workers: Vec<_> =
        (0..WORKERS).map(|id| job.clone().with("worker", id).spawn()).collect();
    workers.iter_mut().for_each(|worker| worker.expect("ready"));
    workers.iter_mut().for_each(|worker| worker.tell("go"));
    let mut moved = 0;
    while !workers.iter_mut().all(Worker::has_ended) {
        move_and_create(&dir.log(), &dir.file(&format!("moved.{moved}")));
        moved += 1;
        std::thread::yield_now();
    }
    workers.into_iter().for_each(Worker::finish);
    let mut lines: Vec<_> =
        (0..moved).flat_map(|at| dir.lines_of(&format!("moved.{at}"))).collect();
    lines.extend(dir.all_lines());
    let expected = (0..WORKERS).map(|id| (id, COUNT)).collect();
    let Verdict { found, doubled, torn, extra, .. } = check(&lines, &expected);
    assert_eq!((found, doubled, torn, extra), (WORKERS * COUNT, 0, 0, 0));
    assert!(moved > 10, "{moved}");
}

/// A worker that stops as `plan` says, and rotates unless that is while it opens the log. Does
/// `meanwhile` then.
fn stopped(plan: &str, opens: bool, dir: &Dir, meanwhile: impl FnOnce()) -> Worker {
    let gates = Dir::new();
    let plan = format!("{plan}:pause={}", gates.file("gate").display());
    let job = Job::new("obey", &dir.log()).with("inline", 1).env("LOGROTOR_FAULT", plan);
    let mut worker = job.spawn();
    if !opens {
        worker.expect("ready");
        worker.write("first");
        worker.tell("rotate");
    }
    eventually("it is stopped", || gates.file("gate.reached").exists());
    meanwhile();
    std::fs::write(gates.file("gate"), "").unwrap();
    worker.expect(if opens { "ready" } else { "ok" });
    worker.write("last");
    assert_eq!(worker.ask("count failures"), "0");
    worker
}

/// A plan that refuses links, and the number of the third renaming then.
#[cfg(unix)]
fn third_renaming() -> String {
    let refused = |at: usize| format!("{at}:errno=1");
    let (dir, trace) = (Dir::new(), Trace::new());
    let rotate = |job: &Job| {
        let mut worker = job.spawn();
        worker.expect("ready");
        worker.write("first");
        assert_eq!(worker.ask("rotate"), "ok");
        worker.finish();
    };
    let job = Job::new("obey", &dir.log()).with("inline", 1);
    rotate(&trace.of(&job));
    if trace.count("link") == 0 {
        return "3/rename".to_owned();
    }
    let link = trace.first("link", 0);
    let (dir, trace) = (Dir::new(), Trace::new());
    let job = Job::new("obey", &dir.log()).with("inline", 1);
    rotate(&trace.of(&job.env("LOGROTOR_FAULT", refused(link))));
    let second = trace.first("rename", link);
    format!("{};{}", refused(link), trace.first("rename", second))
}

#[cfg(not(unix))]
fn third_renaming() -> String {
    "3/rename".to_owned()
}

#[test]
fn log_created_just_before_a_worker_creates_it_is_adopted() {
    let dir = Dir::new();
    let make = || std::fs::write(dir.log(), "another's\n").unwrap();
    stopped("1/rename", true, &dir, make).finish();
    assert_eq!(dir.names(), ["app.log"]);
    assert_eq!(dir.active_lines(), ["another's", "last"]);
}

#[test]
fn log_removed_just_before_its_rotation_is_created_again() {
    let dir = Dir::new();
    let take = || std::fs::rename(dir.log(), dir.file("taken")).unwrap();
    let mut worker = stopped("2/create", false, &dir, take);
    assert_eq!([worker.ask("count rotations"), worker.ask("count recreations")], ["0", "1"]);
    worker.finish();
    assert_eq!(dir.names(), ["app.log", "taken"]);
    assert_eq!(
        (dir.active_lines(), dir.read("taken")),
        (vec!["last".to_owned()], b"first\n".into())
    );
}

#[test]
fn log_created_during_a_rotation_by_renames_is_the_next_segment() {
    let dir = Dir::new();
    let make = || std::fs::write(dir.log(), "another's\n").unwrap();
    let mut worker = stopped(&third_renaming(), false, &dir, make);
    assert_eq!([worker.ask("count rotations"), worker.ask("count recreations")], ["1", "0"]);
    worker.finish();
    let [backup] = &dir.backups()[..] else { panic!("{:?}", dir.names()) };
    assert_eq!(dir.read(backup), b"first\n");
    assert_eq!(dir.active_lines(), ["another's", "last"]);
}

#[test]
fn record_torn_before_one_of_another_worker_follows_whole() {
    let job = |dir: &Dir| Job::new("obey", &dir.log()).with("inline", 1);
    let write_one = |mut worker: Worker, meanwhile: &dyn Fn()| {
        worker.expect("ready");
        worker.tell("write first");
        meanwhile();
        worker.expect("ok");
        assert_eq!(worker.ask("count failures"), "0");
        worker.finish();
    };
    // The number of the operation that appends the record.
    let (dir, gates) = (Dir::new(), Dir::new());
    let trace = gates.file("trace");
    write_one(job(&dir).env("LOGROTOR_FAULT_COUNT", trace.display()).spawn(), &|| {});
    let operations = std::fs::read_to_string(&trace).unwrap();
    let append = operations.lines().position(|line| line.ends_with(" append")).unwrap() + 1;

    let dir = Dir::new();
    let gate = gates.file("gate");
    let plan = format!("{append}:short;{}:pause={}", append + 1, gate.display());
    write_one(job(&dir).env("LOGROTOR_FAULT", plan).spawn(), &|| {
        eventually("a part of it is written", || gates.file("gate.reached").exists());
        let other = dir.writer().build().unwrap();
        other.write_record(b"other\n").unwrap();
        std::fs::write(&gate, "").unwrap();
    });
    assert_eq!(dir.active_lines(), ["firother", "first"]);
}
