//! Locks between processes, with real ones.

use crate::support_lock::{
    Args, Child, PATIENCE, listen, names, rounds, send, until, until_stopped,
};
use logrotor::{ErrorKind, FileLock, LockGuard, LockMode, Wait};
use std::fs::{self, OpenOptions};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const LONG: Wait = Wait::AtMost(PATIENCE);

/// The time that a busy machine may add to a call. The holder never releases the lock, so a call
/// without a bound would not return at all.
const SLACK: Duration = Duration::from_secs(30);

/// The jobs of child processes.
pub(crate) fn do_job(job: &str, args: &mut Args) -> bool {
    match job {
        "hold" => hold(args),
        "count" => count(args),
        "mix" => mix(args),
        "clean" => clean(args),
        "delete" => delete(args),
        "intervals" => intervals(args),
        "read-on" => read_on(args),
        #[cfg(unix)]
        "lock-twice" => lock_twice(args),
        #[cfg(unix)]
        "hold-and-start" => hold_and_start(args),
        _ => return false,
    }
    true
}

fn open(path: &Path) -> FileLock {
    FileLock::open(path).unwrap()
}

fn is_held(path: &Path) -> bool {
    match open(path).exclusive(Wait::Never) {
        Ok(guard) => guard.unlock().is_err(),
        Err(error) if error.kind() == ErrorKind::LockTimeout => true,
        Err(error) => panic!("{error}"),
    }
}

/// A process that holds the lock by the time this returns.
fn holder(path: &Path, mode: &str) -> Child {
    let mut child = Child::start("hold", &[&path, &mode, &"remove"]);
    child.expect("in");
    child
}

fn hold(args: &mut Args) {
    let lock = open(&args.path());
    let mode = if args.text() == "shared" { LockMode::Shared } else { LockMode::Exclusive };
    let lock = lock.keep_file(args.text() == "keep");
    let guard = lock.lock(mode, LONG).unwrap();
    send("in");
    listen();
    guard.unlock().unwrap();
    send("out");
}

// ---------------------------------------------------------------- exclusion under load

/// Fails if another process is in here at the same time: a marker that must not exist yet, and a
/// counter that loses a step if two processes read it at once.
fn alone(dir: &Path) {
    let (marker, counter) = (dir.join("marker"), dir.join("counter"));
    OpenOptions::new().write(true).create_new(true).open(&marker).unwrap();
    let count: u64 = fs::read_to_string(&counter).unwrap().parse().unwrap();
    std::thread::yield_now();
    fs::write(&counter, (count + 1).to_string()).unwrap();
    fs::remove_file(&marker).unwrap();
}

fn count(args: &mut Args) {
    let (dir, times, keep) = (args.path(), args.number(), args.text() == "keep");
    let lock = open(&dir.join("it.lock")).keep_file(keep);
    for round in 0..times {
        // Both ways of waiting meet each other.
        let wait = if round % 2 == 0 { LONG } else { Wait::Forever };
        let guard = lock.exclusive(wait).unwrap();
        alone(&dir);
        guard.unlock().unwrap();
    }
}

fn eight_processes_count(keep: &str, times: u64, cleaner_seed: Option<u64>) {
    let dir = tempfile::tempdir().unwrap();
    let processes = 8;
    fs::write(dir.path().join("counter"), "0").unwrap();
    let clean = |seed: u64| Child::start("clean", &[&dir.path(), &seed.to_string()]);
    let cleaner = cleaner_seed.map(clean);
    let start = || Child::start("count", &[&dir.path(), &times.to_string(), &keep]);
    let children: Vec<_> = (0..processes).map(|_| start()).collect();
    children.into_iter().for_each(Child::finish);
    if let Some(cleaner) = cleaner {
        cleaner.finish();
    }
    let counted = fs::read_to_string(dir.path().join("counter")).unwrap();
    assert_eq!(counted, (processes * times).to_string());
    FileLock::clean_stale(dir.path()).unwrap();
    assert_eq!(names(dir.path()), ["counter"]);
}

fn clean(args: &mut Args) {
    let (dir, mut random) = (args.path(), fastrand::Rng::with_seed(args.number()));
    until_stopped(|| {
        FileLock::clean_stale(&dir).unwrap();
        std::thread::sleep(Duration::from_micros(random.u64(..300)));
    });
}

#[test]
fn eight_processes_never_overlap_when_the_file_is_removed() {
    eight_processes_count("remove", rounds(500, 5000), None);
}

#[test]
fn eight_processes_never_overlap_when_the_file_is_kept() {
    eight_processes_count("keep", rounds(500, 5000), None);
}

#[test]
fn eight_processes_never_overlap_despite_stale_lock_cleaning() {
    // Kept files are stale between two holders, so the cleaner removes them under the acquirers.
    let mut random = fastrand::Rng::with_seed(crate::support::seed());
    eight_processes_count("keep", rounds(500, 5000), Some(random.u64(..)));
    eight_processes_count("remove", rounds(200, 5000), Some(random.u64(..)));
}

/// Deletes the lock file now and then, without taking the lock.
fn delete(args: &mut Args) {
    let (path, mut random) = (args.path(), fastrand::Rng::with_seed(args.number()));
    until_stopped(|| {
        for _ in 0..random.u64(..2000) {
            std::hint::spin_loop();
        }
        let _ = fs::remove_file(&path);
    });
}

/// Takes the lock repeatedly, and records the intervals in which it was held and whether the
/// release reported the file as lost.
fn intervals(args: &mut Args) {
    let (path, times, out) = (args.path(), args.number(), args.path());
    let lock = open(&path);
    let mut lines = String::new();
    for _ in 0..times {
        let guard = lock.exclusive(LONG).unwrap();
        let from = monotonic_nanos();
        std::thread::yield_now();
        let to = monotonic_nanos();
        let lost = match guard.unlock() {
            Ok(()) => false,
            Err(error) if error.kind() == ErrorKind::LockLost => true,
            Err(error) => panic!("{error}"),
        };
        lines += &format!("{from} {to} {lost}\n");
    }
    fs::write(out, lines).unwrap();
}

#[cfg(unix)]
fn monotonic_nanos() -> i64 {
    // One clock for all processes, which `Instant` does not promise to be.
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

#[cfg(windows)]
fn monotonic_nanos() -> i64 {
    i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos()).unwrap()
}

#[test]
fn overlap_after_manual_deletion_is_reported_to_one_holder() {
    let dir = tempfile::tempdir().unwrap();
    let seed = fastrand::Rng::with_seed(crate::support::seed()).u64(..).to_string();
    let (lock, times) = (dir.path().join("it.lock"), rounds(500, 5000).to_string());
    let out = |n: usize| dir.path().join(format!("intervals.{n}"));
    let deleter = Child::start("delete", &[&lock, &seed]);
    let start = |n| Child::start("intervals", &[&lock, &times, &out(n)]);
    let children: Vec<_> = (0..8).map(start).collect();
    children.into_iter().for_each(Child::finish);
    deleter.finish();

    let mut held = Vec::new();
    for n in 0..8 {
        for line in fs::read_to_string(out(n)).unwrap().lines() {
            let mut words = line.split(' ');
            let mut number = || words.next().unwrap().parse::<i64>().unwrap();
            let (from, to) = (number(), number());
            held.push((from, to, words.next().unwrap() == "true"));
        }
    }
    held.sort_unstable();
    let (mut overlaps, reported) = (0, held.iter().filter(|held| held.2).count());
    for (at, &(from, to, lost)) in held.iter().enumerate() {
        for &(other_from, _, other_lost) in held[at + 1..].iter().take_while(|o| o.0 < to) {
            overlaps += 1;
            // The measured interval lies within the held one, so they did overlap. The order of the
            // two is known only approximately.
            assert!(lost || other_lost, "silent overlap at {from}, {other_from}");
        }
    }
    eprintln!("{} acquisitions, {reported} reported a lost file, {overlaps} overlaps", held.len());
    assert!(reported > 0, "the deleter never hit, so nothing was tested");
}

/// Readers and writers at random: no process sees a writer, and a writer sees no process.
fn mix(args: &mut Args) {
    let (dir, times, mut random) =
        (args.path(), args.number(), fastrand::Rng::with_seed(args.number()));
    let lock = open(&dir.join("it.lock")).keep_file(random.u64(..2) == 0);
    let mine = dir.join(format!("inside.{}", std::process::id()));
    for _ in 0..times {
        let mode = if random.u64(..4) == 0 { LockMode::Exclusive } else { LockMode::Shared };
        let wait = if random.u64(..2) == 0 { LONG } else { Wait::Forever };
        let guard = lock.lock(mode, wait).unwrap();
        let writers = fs::exists(dir.join("writer")).unwrap();
        assert!(!writers, "{mode:?} beside a writer");
        if mode == LockMode::Exclusive {
            let inside = names(&dir).into_iter().find(|name| name.starts_with("inside."));
            assert_eq!(inside, None, "exclusive beside a reader");
            fs::write(dir.join("writer"), "").unwrap();
            std::thread::yield_now();
            fs::remove_file(dir.join("writer")).unwrap();
        } else {
            fs::write(&mine, "").unwrap();
            std::thread::yield_now();
            fs::remove_file(&mine).unwrap();
        }
        guard.unlock().unwrap();
    }
}

#[test]
fn readers_and_writers_of_eight_processes_exclude_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let (mut random, times) =
        (fastrand::Rng::with_seed(crate::support::seed()), rounds(300, 5000).to_string());
    let mut start = |_| Child::start("mix", &[&dir.path(), &times, &random.u64(..).to_string()]);
    let children: Vec<_> = (0..8).map(&mut start).collect();
    children.into_iter().for_each(Child::finish);
    FileLock::clean_stale(dir.path()).unwrap();
    assert_eq!(names(dir.path()), [""; 0]);
}

#[test]
fn threads_with_a_value_each_never_overlap() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("counter"), "0").unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let lock = open(&dir.path().join("it.lock"));
                for _ in 0..50 {
                    let _guard = lock.exclusive(LONG).unwrap();
                    alone(dir.path());
                }
            });
        }
    });
    assert_eq!(fs::read_to_string(dir.path().join("counter")).unwrap(), "400");
}

#[test]
fn threads_that_share_a_value_get_the_lock_or_an_error_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let lock = open(&dir.path().join("it.lock"));
    let (inside, taken) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..200 {
                    match lock.exclusive(Wait::Forever) {
                        Ok(_guard) => {
                            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                            taken.fetch_add(1, Ordering::SeqCst);
                            inside.fetch_sub(1, Ordering::SeqCst);
                        }
                        Err(error) => assert_eq!(error.kind(), ErrorKind::AlreadyLocked),
                    }
                }
            });
        }
    });
    assert!(taken.into_inner() > 0);
}

// ---------------------------------------------------------------- shared holders and fairness

#[test]
fn readers_share_and_writers_exclude() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("it.lock");
    // Each holds the lock while the others do.
    let readers: Vec<_> = (0..4).map(|_| holder(&path, "shared")).collect();
    let refused = open(&path).exclusive(Wait::Never).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::LockTimeout);
    readers.into_iter().for_each(Child::finish);
    assert_eq!(names(dir.path()), [""; 0], "the last one out removes the file");

    let writer = holder(&path, "exclusive");
    for mode in [LockMode::Shared, LockMode::Exclusive] {
        let refused = open(&path).lock(mode, Wait::Never).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::LockTimeout);
    }
    writer.finish();
    open(&path).shared(Wait::Never).unwrap().unlock().unwrap();
}

#[test]
fn reader_that_comes_after_a_waiting_writer_goes_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("it.lock");
    let mut first = holder(&path, "shared");
    let mut writer = Child::start("hold", &[&path, &"exclusive", &"remove"]);
    // Only a reader holds the lock, and still a new reader is refused: the writer is next.
    until("the writer closes the gate", || match open(&path).shared(Wait::Never) {
        Ok(guard) => guard.unlock().is_err(),
        Err(error) => error.kind() == ErrorKind::LockTimeout,
    });
    let mut second = Child::start("hold", &[&path, &"shared", &"remove"]);
    first.say("leave");
    first.expect("out");
    writer.expect("in");
    writer.say("leave");
    writer.expect("out");
    second.expect("in");
    second.finish();
    assert_eq!(names(dir.path()), [""; 0], "the gate is removed as well");
}

#[test]
fn gate_of_a_killed_writer_is_open() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("it.lock");
    let reader = holder(&path, "shared");
    let writer = Child::start("hold", &[&path, &"exclusive", &"remove"]);
    let shared = || open(&path).shared(Wait::Never).and_then(LockGuard::unlock);
    until("the writer closes the gate", || shared().is_err());
    until("and signs it", || fs::metadata(dir.path().join("it.lock.gate")).unwrap().len() > 0);
    writer.kill();
    shared().unwrap();
    reader.finish();
    assert_eq!(names(dir.path()), ["it.lock.gate"]);
    assert_eq!(FileLock::clean_stale(dir.path()).unwrap(), 1);
}

#[test]
fn writer_gets_a_free_lock_though_another_keeps_the_gate_closed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("it.lock");
    let reader = holder(&path, "shared");
    // As by a writer that was stopped while it waited.
    let gate = fs::File::create(dir.path().join("it.lock.gate")).unwrap();
    fs4::FileExt::lock(&gate).unwrap();
    let mut writer = Child::start("hold", &[&path, &"exclusive", &"remove"]);
    // Usually long enough for the writer to reach the gate; it must get the lock either way.
    std::thread::sleep(Duration::from_millis(50));
    reader.finish();
    writer.expect("in");
    writer.finish();
}

/// Holds the lock shared most of the time.
fn read_on(args: &mut Args) {
    let lock = open(&args.path());
    let mut reported = false;
    until_stopped(|| {
        let guard = lock.shared(LONG).unwrap();
        if !std::mem::replace(&mut reported, true) {
            send("in");
        }
        std::thread::sleep(Duration::from_millis(5));
        guard.unlock().unwrap();
    });
}

#[test]
fn writer_is_not_starved_by_readers_that_come_and_go() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("it.lock");
    let mut readers: Vec<_> = (0..4).map(|_| Child::start("read-on", &[&path])).collect();
    readers.iter_mut().for_each(|reader| reader.expect("in"));
    let writer = open(&path);
    for wait in [LONG, Wait::Forever] {
        for _ in 0..10 {
            until("readers are in again", || is_held(&path));
            writer.exclusive(wait).unwrap().unlock().unwrap();
        }
    }
    readers.into_iter().for_each(Child::finish);
}

// ---------------------------------------------------------------- waiting and dying

#[test]
fn timeout_holds_against_a_permanent_holder() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("it.lock");
    let child = holder(&path, "exclusive");
    for mode in [LockMode::Shared, LockMode::Exclusive] {
        for span in [0, 1, 5, 60, 300].map(Duration::from_millis) {
            let start = Instant::now();
            let error = open(&path).lock(mode, Wait::AtMost(span)).unwrap_err();
            let took = start.elapsed();
            assert_eq!(error.kind(), ErrorKind::LockTimeout);
            assert!(took >= span && took < span + SLACK, "{took:?} for {span:?}");
        }
        let start = Instant::now();
        assert!(open(&path).lock(mode, Wait::Never).is_err());
        assert!(start.elapsed() < SLACK);
    }
    let error = open(&path).exclusive(Wait::AtMost(Duration::from_millis(20))).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("timed out after "), "{text}");
    #[cfg(unix)]
    assert!(text.ends_with(&format!("(last owner: pid {}, running)", child.pid())), "{text}");
    let io = std::io::Error::from(error);
    assert_eq!(io.kind(), std::io::ErrorKind::TimedOut);
    child.finish();
}

#[test]
fn killed_holder_frees_the_lock_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("it.lock");
    for mode in ["shared", "exclusive"] {
        let child = holder(&path, mode);
        assert!(is_held(&path));
        let mut waiting = Child::start("hold", &[&path, &"exclusive", &"remove"]);
        child.kill();
        waiting.expect("in");
        waiting.finish();
        assert!(!is_held(&path));
        assert_eq!(names(dir.path()), [""; 0]);
    }
}

#[cfg(unix)]
#[test]
fn program_started_by_a_holder_does_not_inherit_the_lock() {
    use rustix::process::{Pid, Signal, kill_process};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("it.lock");
    let mut child = Child::start("hold-and-start", &[&path]);
    let program: i32 = child.hear().unwrap().parse().unwrap();
    child.kill();
    assert!(!is_held(&path));
    kill_process(Pid::from_raw(program).unwrap(), Signal::KILL).unwrap();
}

/// Holds the lock, and starts a program that outlives this process.
#[cfg(unix)]
fn hold_and_start(args: &mut Args) {
    use std::process::{Command, Stdio};
    let lock = open(&args.path());
    let _guard = lock.exclusive(Wait::Never).unwrap();
    let mut sleep = Command::new("sleep").arg("60").stdout(Stdio::null()).spawn().unwrap();
    send(&sleep.id().to_string());
    sleep.wait().unwrap();
}

#[cfg(unix)]
#[test]
fn timeout_says_when_the_last_owner_does_not_run() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("it.lock");
    let child = holder(&path, "exclusive");
    let pid = child.pid();
    child.kill();
    // A program that locks and leaves no record.
    let file = fs::File::open(&path).unwrap();
    fs4::FileExt::lock(&file).unwrap();
    let error = open(&path).exclusive(Wait::Never).unwrap_err().to_string();
    let expected = format!(
        "failed to take exclusive lock `{}`: it is held elsewhere (last owner: pid {pid}, not running)",
        path.display()
    );
    assert_eq!(error, expected);
}

#[test]
fn closures_get_the_lock_and_keep_their_results() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("it");
    let lock = dir.path().join("it.lock");
    let value: Result<u32, &str> = FileLock::with_exclusive(&path, || {
        assert!(open(&lock).shared(Wait::Never).is_err());
        Err("mine")
    })
    .unwrap();
    assert_eq!(value, Err("mine"));
    let value = FileLock::with_shared(&path, || {
        open(&lock).shared(Wait::Never).unwrap().unlock().unwrap();
        assert!(open(&lock).exclusive(Wait::Never).is_err());
        7
    });
    assert_eq!(value.unwrap(), 7);
    assert_eq!(names(dir.path()), [""; 0]);
    let nowhere = dir.path().join("none").join("it");
    let never: logrotor::Result<()> =
        FileLock::with_exclusive(nowhere, || panic!("called without the lock"));
    let error = never.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
}

// ---------------------------------------------------------------- stale locks

#[test]
fn stale_locks_are_removed_and_held_and_foreign_ones_stay() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let held = [holder(&at("held.lock"), "exclusive"), holder(&at("read.lock"), "shared")];
    for name in ["killed.lock", "killed too.lock", "notes.txt"] {
        holder(&at(name), "exclusive").kill();
    }
    open(&at("kept.lock")).keep_file(true).shared(Wait::Never).unwrap().unlock().unwrap();
    fs::write(at("Cargo.lock"), "version = 4\n").unwrap();
    fs::write(at("index.lock"), "").unwrap();
    fs::write(at("pid.lock"), "4121\n").unwrap();
    fs::create_dir(at("dir.lock")).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(at("notes.txt"), at("link.lock")).unwrap();

    assert_eq!(FileLock::clean_stale(dir.path()).unwrap(), 3);
    let mut left = vec!["Cargo.lock", "dir.lock", "held.lock", "index.lock"];
    left.extend(cfg!(unix).then_some("link.lock"));
    left.extend(["notes.txt", "pid.lock", "read.lock"]);
    assert_eq!(names(dir.path()), left);
    assert!(is_held(&at("held.lock")) && is_held(&at("read.lock")));
    held.into_iter().for_each(Child::finish);

    let error = FileLock::clean_stale(at("none")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
}

// ---------------------------------------------------------------- what may be at the path

#[cfg(unix)]
mod unix {
    use super::*;
    use crate::support_lock::{is_root, without_rights};
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn links_and_pipes_are_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (target, link) = (dir.path().join("target"), dir.path().join("link.lock"));
        fs::write(&target, "").unwrap();
        symlink(&target, &link).unwrap();
        symlink(dir.path().join("none"), dir.path().join("dangling.lock")).unwrap();
        let pipe = dir.path().join("pipe.lock");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let before = names(dir.path());
        for name in ["link.lock", "dangling.lock", "pipe.lock"] {
            let error = open(&dir.path().join(name)).exclusive(Wait::Never).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotAFile, "{error}");
        }
        assert_eq!(names(dir.path()), before);
        assert_eq!(fs::read(&target).unwrap(), b"");
    }

    #[test]
    fn lock_file_has_the_mode_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("it.lock");
        let mode = |lock: FileLock| {
            let _guard = lock.exclusive(Wait::Never).unwrap();
            fs::metadata(&path).unwrap().mode() & 0o777
        };
        assert_eq!(mode(open(&path)), 0o600);
        assert_eq!(mode(open(&path).mode(0o400)), 0o400);
    }

    #[test]
    fn lock_file_that_may_only_be_read_can_be_locked() {
        // As of another user, in that user's directory: a user without rights, or this process
        // itself.
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("it.lock");
        open(&path).keep_file(true).exclusive(Wait::Never).unwrap().unlock().unwrap();
        let before = fs::read(&path).unwrap();
        chmod(&path, 0o444);
        chmod(dir.path(), 0o555);
        for mode in ["shared", "exclusive"] {
            let mut child = Child::start_with("hold", &[&path, &mode, &"remove"], without_rights);
            child.expect("in");
            assert!(is_held_without_opening_for_write(&path));
            child.finish();
        }
        assert_eq!(fs::read(&path).unwrap(), before);
        assert_eq!(names(dir.path()), ["it.lock"]);

        // That user may not create a gate to wait behind either, and waits without.
        let file = fs::File::open(&path).unwrap();
        fs4::FileExt::lock(&file).unwrap();
        let args: [&dyn AsRef<std::ffi::OsStr>; 3] = [&path, &"exclusive", &"remove"];
        let mut child = Child::start_with("hold", &args, without_rights);
        // Usually long enough to reach the point where it would be created.
        std::thread::sleep(Duration::from_millis(50));
        drop(file);
        child.expect("in");
        child.finish();
        chmod(dir.path(), 0o755);
    }

    fn is_held_without_opening_for_write(path: &Path) -> bool {
        fs4::FileExt::try_lock(&fs::File::open(path).unwrap()).is_err()
    }

    #[test]
    fn error_names_the_unwritable_directory_of_a_lock() {
        let dir = tempfile::tempdir().unwrap();
        chmod(dir.path(), 0o555);
        let path = dir.path().join("it.lock");
        let mut child = Child::start_with("lock-twice", &[&path, &"exclusive"], without_rights);
        let said = child.hear().unwrap();
        assert!(said.starts_with("Io failed to open lock file"), "{said}");
        assert!(
            said.contains(path.to_str().unwrap()) && said.contains("ermission denied"),
            "{said}"
        );
        chmod(dir.path(), 0o755);
    }

    #[test]
    fn two_users_share_a_lock_in_a_sticky_directory() {
        if !is_root() {
            return; // Only root can be two users.
        }
        let dir = tempfile::tempdir().unwrap();
        chmod(dir.path(), 0o1777);
        let path = dir.path().join("it.lock");
        let ours = FileLock::open(&path).unwrap().mode(0o644).keep_file(true);
        ours.exclusive(Wait::Never).unwrap().unlock().unwrap();
        let args: [&dyn AsRef<std::ffi::OsStr>; 3] = [&path, &"exclusive", &"remove"];
        let mut theirs = Child::start_with("hold", &args, without_rights);
        theirs.expect("in");
        assert!(is_held(&path));
        // The user may not remove our file, which is no failure of the release.
        theirs.finish();
        assert_eq!(names(dir.path()), ["it.lock"]);

        fs::remove_file(&path).unwrap();
        let mut theirs = Child::start_with("hold", &args, without_rights);
        theirs.expect("in");
        assert_eq!(fs::metadata(&path).unwrap().uid(), 65534);
        assert!(is_held(&path));
        theirs.finish();
        assert_eq!(names(dir.path()), [""; 0]);
    }

    #[test]
    fn file_system_without_locks_is_reported() {
        const ENOLCK: i32 = 37;
        const EOPNOTSUPP: i32 = 95;
        const ENOSYS: i32 = 38;
        let dir = tempfile::tempdir().unwrap();
        for errno in [ENOLCK, EOPNOTSUPP, ENOSYS] {
            let path = dir.path().join("it.lock");
            // Operation 1 opens the file, operation 2 locks it.
            let mut child = with_fault(&path, "exclusive", &format!("2:errno={errno}"));
            let said = child.hear().unwrap();
            assert!(said.starts_with("LockUnsupported failed to take exclusive lock"), "{said}");
        }
    }

    fn with_fault(path: &Path, mode: &str, plan: &str) -> Child {
        Child::start_with("lock-twice", &[&path, &mode], |command| {
            command.env("LOGROTOR_FAULT", plan);
        })
    }

    #[test]
    fn failure_of_any_step_leaves_the_value_usable() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("it.lock");
        for (mode, steps) in STEPS {
            for step in 1..=steps {
                for fault in ["errno=5", "errno=28", "short"] {
                    let mut child = with_fault(&path, mode, &format!("{step}:{fault}"));
                    let first = child.hear().unwrap();
                    assert!(fault != "short" || first == "ok", "{first}");
                    child.expect("ok");
                    child.finish();
                    assert_eq!(names(dir.path()), [""; 0], "{mode}, {fault} at step {step}");
                }
            }
        }
    }

    #[test]
    fn death_at_any_step_leaves_the_lock_free() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("it.lock");
        for (mode, steps) in STEPS {
            for step in 1..=steps {
                let child = with_fault(&path, mode, &format!("{step}:kill"));
                assert!(!child.end().success(), "step {step} was never reached");
                open(&path).exclusive(Wait::Never).unwrap().unlock().unwrap();
                assert_eq!(names(dir.path()), [""; 0], "{mode}, after death at step {step}");
            }
        }
    }

    /// Operations of one acquisition and release.
    const STEPS: [(&str, usize); 2] = [
        // Open, lock, look, look, sign; look, remove, unlock.
        ("exclusive", 8),
        // Open the gate, open, lock, look, look, sign; look, unlock, lock, look, remove, unlock.
        ("shared", 12),
    ];
}

/// Takes and releases the lock twice with one value, and reports both results.
#[cfg(unix)]
fn lock_twice(args: &mut Args) {
    let lock = open(&args.path());
    let mode = if args.text() == "shared" { LockMode::Shared } else { LockMode::Exclusive };
    for _ in 0..2 {
        match lock.lock(mode, Wait::Never).and_then(LockGuard::unlock) {
            Ok(()) => send("ok"),
            Err(error) => send(&format!("{:?} {error}", error.kind())),
        }
    }
}
