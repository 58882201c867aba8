//! Locks across `fork`: a file of its own, since it forks this very process.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use fork::{Fork, fork, waitpid};
use logrotor::{ErrorKind, FileLock, LockGuard, Wait};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

fn open(path: &Path) -> FileLock {
    FileLock::open(path).unwrap()
}

fn is_held(path: &Path) -> bool {
    open(path).exclusive(Wait::Never).and_then(LockGuard::unlock).is_err()
}

/// The child's end: never back into the test harness, which is the parent's.
fn end(work: impl FnOnce()) -> ! {
    let done = catch_unwind(AssertUnwindSafe(work));
    std::process::exit(i32::from(done.is_err()));
}

fn await_file(path: &Path) {
    let start = Instant::now();
    while !path.exists() {
        assert!(start.elapsed() < Duration::from_secs(60), "no `{}`", path.display());
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn guard_dropped_by_a_forked_child_stays_the_parents() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("it.lock");
    let lock = open(&path);
    let guard = lock.exclusive(Wait::Never).unwrap();
    match fork().unwrap() {
        Fork::Child => end(|| drop(guard)),
        Fork::Parent(child) => assert_eq!(waitpid(child).unwrap(), 0),
    }
    assert!(path.exists());
    assert!(is_held(&path));
    guard.unlock().unwrap();
    assert!(!path.exists());
    assert!(!is_held(&path));
}

#[test]
fn release_by_the_parent_counts_although_a_child_has_a_copy() {
    let dir = tempfile::tempdir().unwrap();
    let (path, go) = (dir.path().join("it.lock"), dir.path().join("go"));
    let lock = open(&path);
    let guard = lock.exclusive(Wait::Never).unwrap();
    match fork().unwrap() {
        Fork::Child => end(|| await_file(&go)),
        Fork::Parent(child) => {
            guard.unlock().unwrap();
            open(&path).exclusive(Wait::Never).unwrap().unlock().unwrap();
            fs::write(&go, "").unwrap();
            assert_eq!(waitpid(child).unwrap(), 0);
        }
    }
}

#[test]
fn forked_child_is_another_holder_once_its_copy_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("it.lock");
    let lock = open(&path);
    let guard = lock.exclusive(Wait::Never).unwrap();
    match fork().unwrap() {
        Fork::Child => end(|| {
            let kind = || lock.exclusive(Wait::Never).map(drop).unwrap_err().kind();
            assert_eq!(kind(), ErrorKind::AlreadyLocked);
            guard.unlock().unwrap();
            assert_eq!(kind(), ErrorKind::LockTimeout);
        }),
        Fork::Parent(child) => assert_eq!(waitpid(child).unwrap(), 0),
    }
    guard.unlock().unwrap();
}

#[test]
fn lock_of_a_dead_parent_is_free_when_the_child_has_gone_too() {
    let dir = tempfile::tempdir().unwrap();
    let (path, go) = (dir.path().join("it.lock"), dir.path().join("go"));
    let forked = dir.path().join("forked");
    let parent = match fork().unwrap() {
        Fork::Child => end(|| {
            let lock = open(&path);
            let _guard = lock.exclusive(Wait::Never).unwrap();
            if fork().unwrap() == Fork::Child {
                end(|| await_file(&go));
            }
            fs::write(&forked, "").unwrap();
            await_file(Path::new("/there/is/no/such/file"));
        }),
        Fork::Parent(pid) => pid,
    };
    await_file(&forked);
    kill_process(Pid::from_raw(parent).unwrap(), Signal::KILL).unwrap();
    waitpid(parent).unwrap();
    assert!(is_held(&path));
    fs::write(&go, "").unwrap();
    open(&path).exclusive(Wait::AtMost(Duration::from_secs(60))).unwrap().unlock().unwrap();
}
