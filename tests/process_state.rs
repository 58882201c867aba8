//! A log takes no signal and no priority from its process, and no thread that the system refuses.
//! Each test needs a process that has one thread at first, so it forks this one.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]
#![allow(clippy::print_stdout, reason = "a test says why it is skipped")]

use fork::{Fork, fork};
use logrotor::{
    Compression, Delivery, Durability, Event, LogBuilder, MaintenanceMode, RotatingFileWriter,
};
use nix::sys::signal::{SigSet, Signal};
use rustix::process::{self, Pid, Resource, Rlimit, getpid, kill_process, waitpid};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

/// Does `work` in a forked child, which must end with success.
fn in_child(work: impl FnOnce()) {
    match fork().unwrap() {
        // Never return to the test harness, which belongs to the parent.
        Fork::Child => {
            let done = catch_unwind(AssertUnwindSafe(work));
            std::process::exit(i32::from(done.is_err()));
        }
        Fork::Parent(child) => {
            let options = process::WaitOptions::empty();
            let (_, status) = waitpid(Pid::from_raw(child), options).unwrap().unwrap();
            assert_eq!(status.exit_status(), Some(0), "the child failed: {status:?}");
        }
    }
}

fn builder(dir: &Path, name: &str) -> LogBuilder {
    RotatingFileWriter::builder(dir.join(name))
}

/// This log with all the threads that a log may have.
fn with_all_threads(log: LogBuilder, dir: &Path) -> LogBuilder {
    #[cfg(feature = "archive")]
    let log = {
        let store = dir.join("archive");
        std::fs::create_dir_all(&store).unwrap();
        log.archive(logrotor::Archive::to(format!("file://{}", store.display())))
    };
    let _ = dir;
    log.delivery(Delivery::buffered())
}

/// The threads of this process, without its first one: the files of each in /proc.
fn threads() -> Vec<std::path::PathBuf> {
    let main = getpid().as_raw_nonzero().to_string();
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap());
    tasks.filter(|task| *task.file_name() != *main).map(|task| task.path()).collect()
}

/// Field `number` of a thread's `stat`, as proc(5) counts them.
fn stat_field(thread: &Path, number: usize) -> i64 {
    let stat = std::fs::read_to_string(thread.join("stat")).unwrap();
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    rest.split(' ').nth(number - 3).unwrap().parse().unwrap()
}

/// Writes, rotates and waits for maintenance, so that every thread of the log has started.
fn use_log(log: &mut RotatingFileWriter) {
    writeln!(log, "line").unwrap();
    log.rotate().unwrap();
    log.finish().unwrap();
}

#[test]
fn signal_that_the_program_blocks_later_is_left_to_it() {
    in_child(|| {
        let dir = tempfile::tempdir().unwrap();
        let mut direct = builder(dir.path(), "direct.log").build().unwrap();
        let buffered = builder(dir.path(), "buffered.log");
        let mut buffered = with_all_threads(buffered, dir.path()).build().unwrap();
        use_log(&mut direct);
        use_log(&mut buffered);
        #[cfg(feature = "follow")]
        let _reader =
            logrotor::reader::LogReader::builder(dir.path().join("direct.log")).follow().open();
        assert!(!threads().is_empty());
        let signals: SigSet = [Signal::SIGUSR1, Signal::SIGTERM].into_iter().collect();
        signals.thread_block().unwrap();
        for (sent, signal) in
            [(process::Signal::USR1, Signal::SIGUSR1), (process::Signal::TERM, Signal::SIGTERM)]
        {
            // To the process: the kernel gives it to any thread that does not block it.
            kill_process(getpid(), sent).unwrap();
            assert_eq!(signals.wait().unwrap(), signal);
            use_log(&mut direct);
            use_log(&mut buffered);
        }
    });
}

#[test]
fn opening_a_log_leaves_the_signal_mask_as_it_was() {
    in_child(|| {
        let dir = tempfile::tempdir().unwrap();
        let before: SigSet = [Signal::SIGUSR2].into_iter().collect();
        before.thread_set_mask().unwrap();
        let _log = builder(dir.path(), "app.log").build().unwrap();
        assert_eq!(SigSet::thread_get_mask().unwrap(), before);
    });
}

#[test]
fn threads_of_a_log_never_rank_above_the_program() {
    for (own, expected) in [(0, 10), (5, 10), (19, 19)] {
        in_child(|| {
            let dir = tempfile::tempdir().unwrap();
            process::setpriority_process(None, own).unwrap();
            let log = builder(dir.path(), "app.log").compression(Compression::Gzip);
            let mut log = log.build().unwrap();
            use_log(&mut log);
            // Only a thread that has its priority compresses.
            eventually("the backup is compressed", || {
                let mut names = std::fs::read_dir(dir.path()).unwrap();
                names.any(|name| name.unwrap().path().extension().is_some_and(|end| end == "gz"))
            });
            for thread in threads() {
                eventually("it has its priority", || stat_field(&thread, 19) == expected);
            }
        });
    }
}

#[test]
fn threads_of_a_real_time_program_are_normal_ones() {
    use thread_priority::{
        RealtimeThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
        set_thread_priority_and_policy, thread_native_id,
    };
    const POLICY: usize = 41;
    in_child(|| {
        let fifo = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
        let this = thread_native_id();
        if set_thread_priority_and_policy(this, ThreadPriority::Min, fifo).is_err() {
            return println!("skipped: this user may not run in real time");
        }
        assert_eq!(stat_field(Path::new("/proc/thread-self"), POLICY), 1);
        let dir = tempfile::tempdir().unwrap();
        let mut log = builder(dir.path(), "app.log").build().unwrap();
        use_log(&mut log);
        assert!(!threads().is_empty());
        for thread in threads() {
            eventually("it is a normal thread", || {
                stat_field(&thread, POLICY) == 0 && stat_field(&thread, 19) == 10
            });
        }
        assert_eq!(stat_field(Path::new("/proc/thread-self"), POLICY), 1);
    });
}

#[test]
fn thread_that_the_system_refuses_is_an_error_and_no_panic() {
    if !process::geteuid().is_root() {
        return println!("skipped: only root can be a user that has no thread left");
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o777)).unwrap();
    in_child(|| {
        // The limit does not hold for root.
        let none = Rlimit { current: Some(0), maximum: Some(0) };
        process::setrlimit(Resource::Nproc, none).unwrap();
        nix::unistd::setuid(61_003.into()).unwrap();
        std::panic::set_hook(Box::new(|_| std::process::abort()));
        for delivery in [Delivery::Direct, Delivery::buffered()] {
            let refused = builder(dir.path(), "app.log").delivery(delivery).build().unwrap_err();
            let error = refused.io_error().expect("the system refused it");
            assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
            assert!(refused.to_string().contains("app.log"), "{refused}");
        }
        let inline = builder(dir.path(), "app.log").maintenance(MaintenanceMode::Inline);
        let mut log = inline.build().unwrap();
        // A follower polls if the system cannot report changes.
        let reader = logrotor::reader::LogReader::builder(dir.path().join("app.log")).follow();
        let mut reader = reader.open().unwrap();
        for _ in 0..3 {
            writeln!(log, "line").unwrap();
            log.rotate().unwrap();
            let record = reader.records().next().unwrap().unwrap();
            assert_eq!(record.into_string_lossy(), "line");
        }
    });
}

#[test]
#[cfg(feature = "archive")]
fn archive_without_threads_is_an_error_and_no_panic() {
    use logrotor::{Archive, Archiver, Config};
    if !process::geteuid().is_root() {
        return println!("skipped: only root can be a user that has no thread left");
    }
    let (dir, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for each in [&dir, &store] {
        std::fs::set_permissions(each.path(), PermissionsExt::from_mode(0o777)).unwrap();
    }
    in_child(|| {
        let none = Rlimit { current: Some(0), maximum: Some(0) };
        process::setrlimit(Resource::Nproc, none).unwrap();
        nix::unistd::setuid(61_004.into()).unwrap();
        std::panic::set_hook(Box::new(|why| {
            println!("{why}");
            std::process::abort()
        }));
        let inline = builder(dir.path(), "app.log").maintenance(MaintenanceMode::Inline);
        let mut log = inline.build().unwrap();
        writeln!(log, "line").unwrap();
        let backup = log.rotate().unwrap().unwrap();
        drop(log);
        let mut config = Config::default();
        config.archive = Some(Archive::to(format!("file://{}", store.path().display())));
        let archiver = Archiver::new(dir.path().join("app.log"), &config, |_| {}).unwrap();
        let refused = archiver.run(&|| true).unwrap_err();
        assert_eq!(refused.io_error().unwrap().kind(), std::io::ErrorKind::WouldBlock);
        let url = format!("file://{}/app.log", store.path().display());
        let refused = logrotor::reader::LogReader::builder(url).open().unwrap_err();
        assert_eq!(refused.io_error().unwrap().kind(), std::io::ErrorKind::WouldBlock);
        assert!(backup.exists());
    });
}

/// The library for gzip panics if it gets no memory.
#[test]
fn memory_that_the_system_refuses_is_an_error_and_no_panic() {
    let dir = tempfile::tempdir().unwrap();
    in_child(|| {
        let failures = std::sync::Arc::new(Mutex::new(Vec::new()));
        let noted = std::sync::Arc::clone(&failures);
        let note = move |event: &Event| {
            if let Event::Failed { error, .. } = event {
                noted.lock().unwrap().push(error.to_string());
            }
        };
        let log = builder(dir.path(), "app.log").maintenance(MaintenanceMode::Inline);
        let mut log = log.compression(Compression::Gzip).observer(note).build().unwrap();
        // Small amounts are there: memory that was freed stays with the process.
        let other = builder(dir.path(), "other.log").maintenance(MaintenanceMode::Inline);
        use_log(&mut other.build().unwrap());
        writeln!(log, "line").unwrap();
        let limit = process::getrlimit(Resource::Data);
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let size = status.lines().find_map(|line| line.strip_prefix("VmData:")).unwrap();
        let kib: u64 = size.trim().trim_end_matches(" kB").parse().unwrap();
        let none = Rlimit { current: Some(kib * 1024), ..limit };
        // A backtrace would ask for memory.
        std::panic::set_hook(Box::new(|_| std::process::abort()));
        process::setrlimit(Resource::Data, none).unwrap();
        let rotated = log.rotate();
        process::setrlimit(Resource::Data, limit).unwrap();
        drop(std::panic::take_hook());
        let backup = rotated.unwrap().unwrap();
        let failures = failures.lock().unwrap();
        assert!(failures.iter().any(|why| why.contains("out of memory")), "{failures:?}");
        assert!(backup.exists());
        log.finish().unwrap();
        assert!(!backup.exists(), "it is compressed later");
    });
}

/// Waits until something is so, for at most a minute.
fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !is_so() {
        assert!(start.elapsed().as_secs() < 60, "{what}: it never is");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn many_logs_share_three_threads_that_end_with_the_last_log() {
    in_child(|| {
        let dir = tempfile::tempdir().unwrap();
        let open = |at: usize| {
            let log = builder(dir.path(), &format!("{at}.log")).compression(Compression::Gzip);
            log.max_backups(1).build().unwrap()
        };
        let mut logs: Vec<_> = (0..40).map(open).collect();
        for log in &mut logs {
            writeln!(log, "line").unwrap();
            log.rotate().unwrap();
            assert!(threads().len() <= 3, "{} threads", threads().len());
        }
        eventually("each log is compressed", || {
            assert!(threads().len() <= 3, "{} threads", threads().len());
            logs.iter().all(|log| log.stats().compressions == 1)
        });
        let last = logs.pop();
        drop(logs);
        assert!(!threads().is_empty());
        drop(last);
        // The system may list a thread for a moment after its end.
        eventually("the threads have ended", || threads().is_empty());
        // Again, with threads of its own.
        use_log(&mut open(0));
        eventually("the threads have ended", || threads().is_empty());
    });
}

/// An observer that stops the thread which reports an event, until the gate opens.
fn stops_at(is_it: fn(&Event) -> bool) -> (impl Fn(&Event) + Send + Sync, Gate) {
    let ((enter, entered), (go_on, may_go_on)) = (channel(), channel::<()>());
    let may_go_on = Mutex::new(may_go_on);
    let observer = move |event: &Event| {
        if is_it(event) {
            let _ = enter.send(());
            let _ = may_go_on.lock().unwrap().recv();
        }
    };
    (observer, Gate { entered, _go_on: go_on })
}

struct Gate {
    entered: Receiver<()>,
    /// The thread goes on when this is dropped.
    _go_on: Sender<()>,
}

/// Checks that an idle log rotates by time, prunes and syncs.
fn assert_served(log: &mut RotatingFileWriter) {
    for _ in 0..2 {
        writeln!(log, "line").unwrap();
        let before = log.stats().rotations;
        eventually("the idle log rotates", || log.stats().rotations > before);
    }
    eventually("the log is pruned", || log.stats().pruned > 0);
}

#[test]
fn compression_that_takes_long_holds_up_no_other_log() {
    in_child(|| {
        let dir = tempfile::tempdir().unwrap();
        let mut other = builder(dir.path(), "other.log")
            .compression(Compression::Gzip)
            .max_backups(1)
            .max_age(Duration::from_millis(50))
            .durability(Durability::OnRotate)
            .build()
            .unwrap();
        // The job goes on until the observer has returned.
        let (observer, gate) = stops_at(|event| matches!(event, Event::Compressed { .. }));
        let mut slow = builder(dir.path(), "slow.log").compression(Compression::Gzip);
        slow = slow.observer(observer);
        let mut slow = slow.build().unwrap();
        writeln!(slow, "line").unwrap();
        slow.rotate().unwrap();
        gate.entered.recv().unwrap();
        assert_served(&mut other);
        drop(gate);
        eventually("the other log is compressed", || other.stats().compressions > 0);
    });
}

#[test]
fn check_that_is_stuck_holds_up_no_other_log() {
    in_child(|| {
        let dir = tempfile::tempdir().unwrap();
        let mut other = builder(dir.path(), "other.log")
            .max_backups(1)
            .max_age(Duration::from_millis(50))
            .build()
            .unwrap();
        let (observer, gate) = stops_at(|event| matches!(event, Event::Rotated { .. }));
        let stuck = builder(dir.path(), "stuck.log").max_age(Duration::from_millis(50));
        let mut stuck = stuck.observer(observer).build().unwrap();
        writeln!(stuck, "line").unwrap();
        // A thread rotates the idle log and reports it.
        gate.entered.recv().unwrap();
        assert_served(&mut other);
        drop(gate);
    });
}
