//! A log across `fork`. This is a file of its own because it forks this very process.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use fork::{Fork, fork};
use logrotor::{Delivery, LogBuilder, MaintenanceMode, RotatingFileWriter};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use std::io::{ErrorKind, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

#[cfg(feature = "archive")]
#[allow(dead_code, unreachable_pub, reason = "it is shared with `it`")]
#[path = "it/archive_server.rs"]
mod archive_server;
#[cfg(feature = "archive")]
#[allow(dead_code, unreachable_pub, reason = "it is shared with `it`")]
#[path = "it/policy_server.rs"]
mod policy_server;

/// Does `work` in a forked child, which must soon end with success, and `meanwhile` in this
/// process.
fn in_child(work: impl FnOnce(), meanwhile: impl FnOnce()) {
    let child = match fork().unwrap() {
        // Never return to the test harness, which belongs to the parent.
        Fork::Child => {
            let done = catch_unwind(AssertUnwindSafe(work));
            std::process::exit(i32::from(done.is_err()));
        }
        Fork::Parent(child) => Pid::from_raw(child).unwrap(),
    };
    meanwhile();
    let start = Instant::now();
    loop {
        if let Some((_, status)) = waitpid(Some(child), WaitOptions::NOHANG).unwrap() {
            return assert_eq!(status.exit_status(), Some(0), "the child failed");
        }
        if start.elapsed() > Duration::from_secs(60) {
            kill_process(child, Signal::KILL).unwrap();
            panic!("the child hangs");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn builder(dir: &Path) -> LogBuilder {
    RotatingFileWriter::builder(dir.join("app.log"))
}

fn write(mut log: &RotatingFileWriter, who: &str, count: usize) {
    for seq in 0..count {
        writeln!(log, "{who} {seq}").unwrap();
    }
}

/// All lines of the log's plain files, in any order.
fn lines(dir: &Path) -> Vec<String> {
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    files
        .flat_map(|file| {
            let text = std::fs::read_to_string(file).unwrap();
            text.lines().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect()
}

fn assert_every_line_once(dir: &Path, writers: &[&str], count: usize) {
    let mut found = lines(dir);
    let mut expected: Vec<_> =
        writers.iter().flat_map(|who| (0..count).map(move |seq| format!("{who} {seq}"))).collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn handle_carried_through_fork_serves_parent_and_child() {
    for maintenance in [MaintenanceMode::Inline, MaintenanceMode::Thread] {
        let dir = tempfile::tempdir().unwrap();
        let log = builder(dir.path()).max_size(500).maintenance(maintenance).build().unwrap();
        write(&log, "before", 20);
        in_child(|| write(&log, "child", 1000), || write(&log, "parent", 1000));
        write(&log, "parent again", 20);
        let count = |who: &str| {
            lines(dir.path()).iter().filter(|line| line.starts_with(&format!("{who} "))).count()
        };
        assert_eq!([count("before"), count("child")], [20, 1000]);
        assert_eq!(lines(dir.path()).len(), 20 + 1000 + 1000 + 20);
    }
}

// A forked child has only the thread that forked, yet dropping its handle waited for the end of the
// log's thread.
#[test]
fn regression_handle_dropped_in_forked_child_does_not_wait() {
    for delivery in [Delivery::Direct, Delivery::buffered()] {
        let dir = tempfile::tempdir().unwrap();
        let mut log = builder(dir.path()).delivery(delivery).build().unwrap();
        writeln!(log, "before 0").unwrap();
        log.flush().unwrap();
        let mut copy = Some(log.clone());
        drop(log);
        in_child(|| drop(copy.take()), || {});
        writeln!(copy.as_mut().unwrap(), "before 1").unwrap();
        drop(copy);
        assert_every_line_once(dir.path(), &["before"], 2);
    }
}

// A forked child has no thread that empties its copy of the buffer. So records went there and were
// lost, and a flush never returned.
#[test]
fn regression_buffer_in_forked_child_rejects_records() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = builder(dir.path()).delivery(Delivery::buffered()).build().unwrap();
    writeln!(log, "before 0").unwrap();
    log.flush().unwrap();
    in_child(
        || {
            let mut log = log.clone();
            // At once, or when half of the buffer is full if the thread was not idle yet.
            let refused = (0..).find_map(|_| writeln!(log, "lost").err()).unwrap();
            assert_eq!(refused.kind(), ErrorKind::Unsupported);
            let refused = log.flush().unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Unsupported);
            log.rotate().unwrap_err();
        },
        || {},
    );
    drop(log);
    assert_every_line_once(dir.path(), &["before"], 1);
}

// A forked child has the memory of its parent's threads, and gives it to its own. Each wait of a
// thread had its place in one table of the process, so those of the child met what was gone.
#[test]
fn regression_threads_of_a_forked_child_wait_for_themselves() {
    const LOGS: usize = 16;
    let dir = tempfile::tempdir().unwrap();
    let open = |who: &str| {
        let builder = |n| RotatingFileWriter::builder(dir.path().join(format!("{who}-{n}.log")));
        // Each has a thread that waits for records.
        let logs = (0..LOGS).map(|n| builder(n).delivery(Delivery::buffered()).build().unwrap());
        let mut logs: Vec<_> = logs.collect();
        for log in &mut logs {
            writeln!(log, "{who} 0").unwrap();
            log.flush().unwrap();
        }
        logs
    };
    let of_parent = open("parent");
    in_child(|| (0..5).for_each(|_| drop(open("child"))), || {});
    drop(of_parent);
    let count = |who: &str| lines(dir.path()).iter().filter(|line| line.starts_with(who)).count();
    assert_eq!([count("parent"), count("child")], [LOGS, 5 * LOGS]);
}

#[test]
fn child_forked_during_a_log_call_opens_the_log_again() {
    let dir = tempfile::tempdir().unwrap();
    let (inside, is_inside) = channel();
    let (go_on, may_go_on) = channel::<()>();
    let (inside, may_go_on) = (std::sync::Mutex::new(inside), std::sync::Mutex::new(may_go_on));
    let armed = std::sync::Arc::new(AtomicBool::new(false));
    let is_armed = std::sync::Arc::clone(&armed);
    // The header function is called within a log call that rotates.
    let log = builder(dir.path())
        .max_size(9)
        .header_with(move || {
            if is_armed.swap(false, Ordering::SeqCst) {
                inside.lock().unwrap().send(()).unwrap();
                may_go_on.lock().unwrap().recv().unwrap();
            }
            Vec::new()
        })
        .build()
        .unwrap();
    write(&log, "parent", 1);
    armed.store(true, Ordering::SeqCst);
    std::thread::scope(|scope| {
        scope.spawn(|| writeln!(&log, "parent 1").unwrap());
        is_inside.recv().unwrap();
        in_child(
            || {
                // The parent holds the rotation lock, so the records go to the present segment.
                let own = builder(dir.path()).lock_timeout(Duration::ZERO).build().unwrap();
                write(&own, "child", 2);
            },
            || {},
        );
        go_on.send(()).unwrap();
    });
    drop(log);
    assert_every_line_once(dir.path(), &["child", "parent"], 2);
}

#[cfg(all(feature = "archive", feature = "policy"))]
mod shared_policy {
    use super::in_child;
    use crate::policy_server::PolicyServer;
    use logrotor::policy::PolicyStore;
    use logrotor::{ErrorKind, Result};
    use std::collections::BTreeMap;
    use std::process::Command;
    use std::time::{Duration, Instant};

    type EntryStore = PolicyStore<BTreeMap<String, u32>>;

    fn open() -> EntryStore {
        let builder = EntryStore::builder(|_| Ok(())).interval(Duration::from_millis(100));
        builder.open_or_create("s3://bucket/app.policy", BTreeMap::new).unwrap()
    }

    fn add(store: &EntryStore, key: &str) -> Result<u64> {
        Ok(store.update(|entries| entries.extend([(key.to_owned(), 1)]))?.version())
    }

    fn await_version(store: &EntryStore, version: u64) {
        let start = Instant::now();
        while store.version() < version {
            assert!(start.elapsed() < Duration::from_secs(50), "version {}", store.version());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The credentials come from the environment, so this runs in a process of its own.
    #[test]
    fn forked_child_opens_a_shared_policy_again() {
        const NAME: &str = "shared_policy::forked_child_opens_a_shared_policy_again";
        if std::env::var_os("LOGROTOR_FORKS").is_some() {
            return fork_with_a_policy();
        }
        let server = PolicyServer::start();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([NAME, "--exact"]).env("LOGROTOR_FORKS", "1");
        command.env("AWS_ENDPOINT", &server.endpoint).env("AWS_ALLOW_HTTP", "true");
        command.env("AWS_ACCESS_KEY_ID", "key").env("AWS_SECRET_ACCESS_KEY", "secret");
        assert!(command.env("AWS_REGION", "us-east-1").status().unwrap().success());
        assert!(server.object("/current").unwrap().contains("\n#: version 5\n"));
    }

    fn fork_with_a_policy() {
        let store = open();
        assert_eq!(add(&store, "parent").unwrap(), 2);
        let of_child = store.clone();
        in_child(
            move || {
                let calls: [&dyn Fn() -> Result<()>; 7] = [
                    &|| of_child.reload().map(drop),
                    &|| add(&of_child, "lost").map(drop),
                    &|| of_child.rollback(1).map(drop),
                    &|| of_child.repair().map(drop),
                    &|| of_child.history().map(drop),
                    &|| of_child.diff(1, 2).map(drop),
                    &|| of_child.verify().map(drop),
                ];
                for call in calls {
                    let error = call().unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::Io);
                    assert!(error.to_string().ends_with("open it again after `fork`"), "{error}");
                }
                let (own, other) = (open(), open());
                assert_eq!(add(&own, "child").unwrap(), 3);
                assert_eq!(add(&other, "another").unwrap(), 4);
                await_version(&own, 4);
                assert_eq!((of_child.version(), of_child.current().len()), (2, 1));
                drop(of_child);
            },
            || {},
        );
        await_version(&store, 4);
        assert_eq!(add(&store, "parent again").unwrap(), 5);
        assert_eq!(store.current().len(), 4);
    }
}
