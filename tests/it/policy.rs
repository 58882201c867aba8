//! The policy file: shared by processes, changed under them, damaged, edited by hand.

use crate::support::{Dir, Job, Worker, eventually, listen, say};
use logrotor::atomic::SyncLevel;
use logrotor::policy::{Origin, PolicyStore, PolicyStoreBuilder};
use logrotor::{ErrorKind, Wait};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
#[cfg(unix)]
use std::time::Instant;

type Entries = BTreeMap<String, u32>;
type Store = PolicyStore<Entries>;

/// Longer than any wait here that is meant to succeed.
const LONG: Duration = Duration::from_secs(60);

/// A policy of entries, none of which may be 13.
fn builder() -> PolicyStoreBuilder<Entries> {
    let options =
        PolicyStore::builder(|entries: &Entries| match entries.values().find(|v| **v == 13) {
            Some(_) => Err("13 brings bad luck".into()),
            None => Ok(()),
        });
    options.lock_timeout(LONG)
}

fn file(dir: &Dir) -> PathBuf {
    dir.file("app.policy.toml")
}

fn store(dir: &Dir) -> Store {
    builder().open_or_create(file(dir), Entries::new).unwrap()
}

fn set(store: &Store, key: &str, value: u32) -> u64 {
    store.update(|entries| add_entry(entries, key, value)).unwrap().version()
}

fn add_entry(entries: &mut Entries, key: impl Into<String>, value: u32) {
    entries.insert(key.into(), value);
}

fn read(dir: &Dir) -> String {
    std::fs::read_to_string(file(dir)).unwrap()
}

/// Puts a text in the file's place, with a time stamp of a while ago, as if no process were writing
/// it.
fn put(dir: &Dir, text: impl AsRef<[u8]>) {
    std::fs::write(file(dir), text).unwrap();
    let then = std::time::SystemTime::now() - Duration::from_millis(500);
    let times = std::fs::FileTimes::new().set_modified(then);
    std::fs::File::options().write(true).open(file(dir)).unwrap().set_times(times).unwrap();
}

/// Ends background work, even if a test fails.
pub struct Ends<'a>(pub &'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The text with the word in place of the checksum that makes it an edit.
fn announced(text: &str) -> String {
    let (before, after) = text.split_once("#: checksum ").unwrap();
    format!("{before}#: checksum edited{}", &after[8..])
}

fn kinds(store: &Store) -> (u64, u64) {
    let stats = store.stats();
    (stats.problems, stats.refused)
}

// ---------------------------------------------------------------- processes

/// The tasks of worker processes.
pub fn child(job: &Job) {
    match job.text("task") {
        "policy-add" => add(job),
        "policy-update" => update_once(job),
        "policy-hold" => hold(job),
        "policy-follow" => follow(job),
        "policy-write" => crate::policy_writer::write(job),
        other => panic!("no such task: {other}"),
    }
}

/// Adds entries of its own, one per update.
fn add(job: &Job) {
    let options = builder().keep(1000).sync(SyncLevel::None);
    let store = options.open(job.text("file")).unwrap();
    say("ready");
    listen();
    for n in 0..job.number("count") {
        let key = format!("{}-{n}", job.text("worker"));
        store.update(|entries| add_entry(entries, key, 1)).unwrap();
    }
    say(store.version());
}

/// Opens the policy, changes it once, and says how that went.
fn update_once(job: &Job) {
    let opened = builder().open(job.text("file"));
    match opened.and_then(|store| store.update(|entries| add_entry(entries, "new", 2))) {
        Ok(policy) => say(format!("ok {}", policy.version())),
        Err(error) => say(format!("{:?} {error}", error.kind())),
    }
}

/// Is in the middle of an update until it hears a line.
fn hold(job: &Job) {
    let store = builder().open(job.text("file")).unwrap();
    let done = store.try_update(|entries| {
        say("ready");
        listen();
        entries.insert("held".into(), 1);
        Ok::<_, ()>(())
    });
    done.unwrap().unwrap();
}

/// Says what is in force, and again after each line.
fn follow(job: &Job) {
    let store = builder().open(job.text("file")).unwrap();
    loop {
        let reloaded = store.reload().map_err(|error| error.kind());
        let current = store.current();
        let problem = store.problem().map(|error| error.to_string());
        let origin = current.metadata().origin();
        say(format!("{:?} {origin} {reloaded:?} {problem:?}", **current));
        if listen().is_none() {
            break;
        }
    }
}

// A plain TOML file on a read-only mount, as of a Kubernetes ConfigMap, was refused with a bare
// error of its lock.
#[cfg(unix)]
#[test]
fn regression_plain_file_that_cannot_be_changed_is_in_force() {
    const EROFS: i32 = 30;
    let dir = Dir::new();
    let put = |text: &str| {
        std::fs::write(dir.file("new"), text).unwrap();
        std::fs::rename(dir.file("new"), file(&dir)).unwrap();
    };
    put("one = 1\n");
    let fault = format!("1+/open lock file:errno={EROFS}");
    let mut worker = job("policy-follow", &dir).env("LOGROTOR_FAULT", fault).spawn();
    let first = worker.hear().unwrap();
    assert!(
        first.starts_with(r#"{"one": 1} an edit by hand without a version Ok(false)"#),
        "{first}"
    );
    let problem = "failed to give a version to policy";
    assert!(first.contains(problem) && first.contains("in force without one"), "{first}");
    put("one = 2\n");
    let second = worker.ask("again");
    assert!(
        second.starts_with(r#"{"one": 2} an edit by hand without a version Ok(true)"#),
        "{second}"
    );
    let again = worker.ask("nothing has changed");
    assert_eq!(again, second.replacen("Ok(true)", "Ok(false)", 1));
    put("one = 'two'\n");
    let third = worker.ask("again");
    assert!(third.starts_with(r#"{"one": 2}"#) && third.contains("PolicyInvalid"), "{third}");
    // A process that can change the file gives it a version.
    put("one = 3\n");
    assert_eq!(builder().open(file(&dir)).unwrap().version(), 1);
    let sealed = worker.ask("again");
    assert_eq!(sealed, r#"{"one": 3} an edit by hand Ok(true) None"#);
    worker.finish();
}

fn job(task: &str, dir: &Dir) -> Job {
    Job::new(task, &dir.log()).with("file", file(dir).display())
}

#[test]
fn updates_of_ten_processes_make_versions_without_a_gap() {
    const PROCESSES: usize = 10;
    const UPDATES: usize = 50;
    let dir = Dir::new();
    let store = builder().keep(1000).open_or_create(file(&dir), Entries::new).unwrap();
    let job = job("policy-add", &dir).with("count", UPDATES);
    let mut all: Vec<_> = (0..PROCESSES).map(|id| job.clone().with("worker", id).spawn()).collect();
    all.iter_mut().for_each(|worker| worker.expect("ready"));
    all.iter_mut().for_each(|worker| worker.tell("go"));
    all.into_iter().for_each(Worker::finish);

    assert!(store.reload().unwrap());
    assert_eq!(store.version(), (PROCESSES * UPDATES + 1) as u64);
    assert_eq!(store.current().len(), PROCESSES * UPDATES);
    let history = store.history().unwrap();
    let versions: Vec<_> = history.iter().map(|entry| entry.version).collect();
    assert_eq!(versions, (1..=501).collect::<Vec<_>>());
    for (entry, count) in history.iter().zip(0..) {
        assert_eq!(entry.metadata.as_ref().unwrap().version(), entry.version);
        let text = std::fs::read_to_string(&entry.path).unwrap();
        assert_eq!(text.lines().filter(|line| line.ends_with(" = 1")).count(), count);
    }
    assert_eq!(store.verify().unwrap(), 501);
    let expected = 501 + 1;
    assert_eq!(dir.names().len(), expected, "no temporary and no lock is left");
}

#[test]
fn threads_and_handles_of_one_process_lose_no_update() {
    let dir = Dir::new();
    let stores = [store(&dir), store(&dir)];
    std::thread::scope(|scope| {
        for (thread, store) in [0, 1, 0, 1].map(|at| &stores[at]).into_iter().enumerate() {
            scope.spawn(move || {
                for n in 0..25 {
                    set(store, &format!("{thread}-{n}"), 1);
                }
            });
        }
    });
    stores[0].reload().unwrap();
    assert_eq!((stores[0].version(), stores[0].current().len()), (101, 100));
    assert_eq!(stores[0].stats().updates + stores[1].stats().updates, 100);
}

#[test]
fn snapshots_are_valid_and_monotonic_while_updates_run() {
    let dir = Dir::new();
    let store = builder().sync(SyncLevel::None);
    let store = store.open_or_create(file(&dir), Entries::new).unwrap();
    let over = AtomicBool::new(false);
    let reads: u64 = std::thread::scope(|scope| {
        let ends = Ends(&over);
        let readers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let (mut reads, mut last) = (0, 0);
                    while !over.load(Ordering::Relaxed) {
                        let now = store.current();
                        assert!(now.version() >= last);
                        last = now.version();
                        // Whole: version N has N - 1 entries, and the n-th one is n + 100.
                        assert_eq!(now.len() as u64, last - 1);
                        assert!(now.values().zip(101..).all(|(value, n)| *value == n));
                        reads += 1;
                    }
                    reads
                })
            })
            .collect();
        for n in 1..=200_u32 {
            store.update(|entries| add_entry(entries, format!("{n:03}"), n + 100)).unwrap();
        }
        drop(ends);
        readers.into_iter().map(|reader| reader.join().unwrap()).sum()
    });
    assert_eq!(store.version(), 201);
    assert_eq!(store.stats().reads, reads);
}

#[cfg(unix)]
#[test]
fn lock_of_a_stopped_process_times_out_but_blocks_no_reader() {
    let dir = Dir::new();
    let store = store(&dir);
    let mut holder = job("policy-hold", &dir).spawn();
    holder.expect("ready");
    holder.stop();
    let asked = Instant::now();
    let impatient = store.begin_update().lock_timeout(Duration::from_millis(100));
    let error = impatient.apply(Entries::clear).unwrap_err();
    assert!(asked.elapsed() >= Duration::from_millis(100));
    assert_eq!(error.kind(), ErrorKind::LockTimeout);
    let owner = format!("(last owner: pid {}, running)", holder.pid());
    assert!(error.to_string().ends_with(&owner), "{error}");
    assert_eq!(store.current().version(), 1);
    assert!(!store.reload().unwrap());
    assert_eq!(store.stats().lock_waits, 1);

    // A dead owner's lock is free at once, and what it had in hand was not written.
    holder.kill();
    let quick = store.begin_update().lock_timeout(Duration::ZERO);
    assert_eq!(quick.apply(|entries| add_entry(entries, "a", 1)).unwrap().version(), 2);
    assert!(!store.current().contains_key("held"));
}

#[test]
fn only_the_guard_of_the_owner_releases_the_lock() {
    let dir = Dir::new();
    let store = store(&dir);
    let mut holder = job("policy-hold", &dir).spawn();
    holder.expect("ready");
    // Neither a refused change nor a closed store releases the lock of another process.
    for _ in 0..3 {
        let other = builder().open(file(&dir)).unwrap();
        let change = other.begin_update().lock_timeout(Duration::ZERO);
        assert_eq!(change.apply(Entries::clear).unwrap_err().kind(), ErrorKind::LockTimeout);
    }
    let lock = logrotor::FileLock::beside(file(&dir)).unwrap();
    assert_eq!(lock.exclusive(Wait::Never).unwrap_err().kind(), ErrorKind::LockTimeout);
    holder.tell("go");
    holder.finish();
    store.reload().unwrap();
    assert_eq!(store.current()["held"], 1);
}

// ---------------------------------------------------------------- changes

#[test]
fn what_refuses_a_change_leaves_the_file_as_it_was() {
    let dir = Dir::new();
    let store = store(&dir);
    set(&store, "a", 1);
    let before = read(&dir);

    let closure = store.try_update(|entries| {
        entries.clear();
        Err("not today")
    });
    assert_eq!(closure.unwrap().unwrap_err(), "not today");
    let validator = store.update(|entries| add_entry(entries, "a", 13)).unwrap_err();
    assert_eq!(validator.kind(), ErrorKind::PolicyInvalid);
    assert!(validator.to_string().ends_with("13 brings bad luck"), "{validator}");
    let conflict = store.update_if(1, Entries::clear).unwrap_err();
    assert_eq!(conflict.kind(), ErrorKind::PolicyConflict);
    assert!(conflict.to_string().contains("made for version 1, and the policy is at version 2"));

    assert_eq!(read(&dir), before);
    assert_eq!(dir.names(), ["app.policy.toml", "app.policy.toml.v1", "app.policy.toml.v2"]);
    let stats = store.stats();
    assert_eq!((stats.updates, stats.refused, stats.conflicts), (1, 2, 1));
    assert_eq!(store.update_if(2, |entries| add_entry(entries, "b", 1)).unwrap().version(), 3);
}

#[test]
fn panic_in_a_change_leaves_the_file_and_frees_the_lock() {
    let dir = Dir::new();
    let store = store(&dir);
    let before = read(&dir);
    let change =
        std::panic::AssertUnwindSafe(|| drop(store.update(|_| panic!("expected by this test"))));
    assert!(std::panic::catch_unwind(change).is_err());
    assert_eq!(read(&dir), before);
    assert_eq!(set(&store, "a", 1), 2);
}

#[test]
fn version_tells_who_when_how_and_why() {
    let dir = Dir::new();
    let store = store(&dir);
    let change = store.begin_update().comment("room for\n  one more ");
    let policy = change.apply(|entries| add_entry(entries, "a", 1)).unwrap();
    let header = policy.metadata();
    assert_eq!((header.version(), header.origin()), (2, Origin::Update));
    assert_eq!(header.comment(), Some("room for one more"));
    assert_eq!(header.author().pid(), std::process::id());
    assert!(!header.author().host().is_empty() && !header.author().user().is_empty());
    assert!(header.written().elapsed().unwrap() < LONG);
    assert!(read(&dir).contains("#: comment room for one more\n"));
    assert!(read(&dir).ends_with("\n\na = 1\n"));
    assert_eq!(policy.text(), read(&dir));
}

#[test]
fn history_is_kept_compared_and_put_in_force_again() {
    let dir = Dir::new();
    let store = builder().keep(3).open_or_create(file(&dir), Entries::new).unwrap();
    for n in 1..=5 {
        set(&store, "a", n);
    }
    let versions = |store: &Store| -> Vec<_> {
        store.history().unwrap().iter().map(|entry| entry.version).collect()
    };
    assert_eq!(versions(&store), [4, 5, 6]);
    let differences = store.diff(4, 6).unwrap();
    assert_eq!(differences.len(), 1);
    assert_eq!(differences[0].to_string(), "a: 3 -> 5");
    assert_eq!(store.diff(1, 6).unwrap_err().kind(), ErrorKind::Io);

    let back = store.rollback(4).unwrap();
    assert_eq!((back.version(), back["a"]), (7, 3));
    assert_eq!(back.metadata().origin(), Origin::Rollback(4));
    assert_eq!(versions(&store), [5, 6, 7]);
    assert!(store.rollback(4).is_err());
    // A stray file does not count as a version, and stays.
    std::fs::write(dir.file("app.policy.toml.v08"), "x").unwrap();
    set(&store, "a", 9);
    assert_eq!(versions(&store), [6, 7, 8]);
    assert!(dir.file("app.policy.toml.v08").exists());
}

#[test]
fn text_is_imported_as_it_is_or_refused_with_its_line() {
    let dir = Dir::new();
    let store = store(&dir);
    let text = "# why: see the wiki\na = 1 # one\n";
    let policy = store.begin_update().import(text).unwrap();
    assert_eq!((policy.version(), policy["a"], policy.metadata().origin()), (2, 1, Origin::Import));
    assert!(read(&dir).ends_with(text));
    // As an editor gives it back: with the header.
    let again =
        store.begin_update().if_version(2).import(&read(&dir).replace("= 1", "= 2")).unwrap();
    assert_eq!((again.version(), again["a"]), (3, 2));
    let error = store.begin_update().import("a = \"x\"").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PolicyInvalid);
    assert!(error.to_string().contains("`a` = \"x\""), "{error}");
    assert_eq!(store.version(), 3);
}

#[test]
fn policy_that_is_not_there_is_refused_or_made_once() {
    let dir = Dir::new();
    let error = builder().open(file(&dir)).unwrap_err();
    assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::NotFound);
    let made = builder().open_or_create(file(&dir), || Entries::from([("a".into(), 1)])).unwrap();
    let found = builder().open_or_create(file(&dir), Entries::new).unwrap();
    assert_eq!((made.version(), found.version(), found.current()["a"]), (1, 1, 1));
    assert_eq!(found.current().metadata().origin(), Origin::Creation);
    let error = builder().open_or_create(dir.file("none/p.toml"), Entries::new).unwrap_err();
    assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::NotFound);
    let refused = || Entries::from([("a".into(), 13)]);
    assert!(builder().open_or_create(dir.file("other.toml"), refused).is_err());
    assert!(!dir.file("other.toml").exists());
}

#[cfg(unix)]
#[test]
fn link_is_followed_and_stays() {
    let dir = Dir::new();
    std::fs::create_dir(dir.file("real")).unwrap();
    std::os::unix::fs::symlink("real/p.toml", file(&dir)).unwrap();
    let store = store(&dir);
    set(&store, "a", 1);
    assert!(std::fs::symlink_metadata(file(&dir)).unwrap().is_symlink());
    assert!(dir.file("real/p.toml.v2").exists());
    assert_eq!(dir.names(), ["app.policy.toml", "real"]);
}

#[cfg(unix)]
#[test]
fn permissions_are_kept_by_the_file_and_its_copies() {
    use std::os::unix::fs::PermissionsExt;
    let dir = Dir::new();
    let mode = |name: &str| std::fs::metadata(dir.file(name)).unwrap().permissions().mode() & 0o777;
    let store = builder().mode(0o640).open_or_create(file(&dir), Entries::new).unwrap();
    set(&store, "a", 1);
    assert_eq!((mode("app.policy.toml"), mode("app.policy.toml.v2")), (0o640, 0o640));
    let plain = builder().open(file(&dir)).unwrap();
    set(&plain, "a", 2);
    assert_eq!((mode("app.policy.toml"), mode("app.policy.toml.v3")), (0o640, 0o640));
}

// ---------------------------------------------------------------- edits by hand

#[test]
fn announced_edit_gets_a_version_and_keeps_its_comments() {
    let dir = Dir::new();
    let (store, other) = (store(&dir), store(&dir));
    set(&store, "a", 1);
    other.reload().unwrap();
    put(&dir, announced(&read(&dir)).replace("a = 1", "a = 7 # seven"));
    assert!(store.reload().unwrap());
    let policy = store.current();
    assert_eq!((policy.version(), policy["a"], policy.metadata().origin()), (3, 7, Origin::Edit));
    assert!(read(&dir).ends_with("a = 7 # seven\n"));
    assert_eq!(store.stats().edits, 1);
    // Sealed again, it is a version like any other.
    assert!(other.reload().unwrap());
    assert_eq!((other.version(), other.stats().edits, other.stats().reloads), (3, 0, 2));
    assert_eq!(store.verify().unwrap(), 3);
    assert_eq!(store.rollback(2).unwrap()["a"], 1);
}

#[test]
fn file_without_a_header_overrides_whatever_there_was() {
    let dir = Dir::new();
    put(&dir, "a = 1\n");
    // As a deployment puts it there before the first start.
    let store = builder().open(file(&dir)).unwrap();
    assert_eq!((store.version(), store.current()["a"]), (1, 1));
    put(&dir, "a = 2\n");
    assert!(store.reload().unwrap());
    assert_eq!((store.version(), store.current()["a"]), (2, 2));
    // Met by an update, it is accepted first, as a version of its own.
    put(&dir, "a = 3\n");
    assert_eq!(set(&store, "b", 1), 4);
    assert_eq!((store.current()["a"], store.current()["b"]), (3, 1));
    let origins: Vec<_> =
        store.history().unwrap().iter().map(|e| e.metadata.as_ref().unwrap().origin()).collect();
    assert_eq!(origins, [Origin::Edit, Origin::Edit, Origin::Edit, Origin::Update]);
}

#[test]
fn invalid_edit_is_rejected_with_its_line_and_not_overwritten() {
    let dir = Dir::new();
    let store = store(&dir);
    set(&store, "a", 1);
    let edited = announced(&read(&dir));
    for (wrong, line, why) in [
        ("a = x", Some(7), ""),
        ("a = \"1\"", Some(7), "expected u32"),
        ("b = 2\na = 13", None, "13 brings bad luck"),
    ] {
        let text = edited.replace("a = 1", wrong);
        put(&dir, &text);
        let error = store.reload().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PolicyInvalid);
        let message = error.to_string();
        assert!(message.contains(why), "{message}");
        if let Some(line) = line {
            assert!(message.contains(&format!("line {line} of")), "{message}");
        }
        // It is reported once, the last good version stays in force, and no edit is lost.
        assert!(!store.reload().unwrap());
        assert_eq!(store.problem().unwrap().to_string(), message);
        let update = store.update(Entries::clear).unwrap_err();
        assert_eq!(update.kind(), ErrorKind::PolicyInvalid);
        assert_eq!((store.version(), store.current()["a"]), (2, 1));
        assert_eq!(read(&dir), text);
        // So it is for a process that starts now.
        let late = builder().open(file(&dir)).unwrap();
        assert_eq!((late.version(), late.problem().unwrap().kind()), (2, ErrorKind::PolicyInvalid));
    }
    // Mended, it is accepted.
    put(&dir, edited.replace("a = 1", "a = 2"));
    assert!(store.reload().unwrap());
    assert_eq!((store.version(), store.current()["a"], store.problem().is_none()), (3, 2, true));
}

#[test]
fn edit_of_an_old_version_is_refused_so_that_no_update_is_lost() {
    let dir = Dir::new();
    let store = store(&dir);
    set(&store, "a", 1);
    let opened_in_the_editor = read(&dir);
    set(&store, "b", 2);
    put(&dir, announced(&opened_in_the_editor).replace("a = 1", "a = 9"));
    let error = store.reload().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PolicyConflict);
    assert!(error.to_string().contains("from version 2, and version 3 was in force"), "{error}");
    assert_eq!(store.current()["b"], 2);
    assert_eq!(store.stats().conflicts, 1);
    // Its author has merged, and says so.
    put(&dir, read(&dir).replace("version 2", "version 3").replace("a = 9", "a = 9\nb = 2"));
    assert!(store.reload().unwrap());
    assert_eq!((store.version(), store.current()["a"], store.current()["b"]), (4, 9, 2));
}

#[test]
fn edit_in_the_middle_of_being_saved_is_not_taken() {
    let dir = Dir::new();
    let store = store(&dir);
    set(&store, "a", 1);
    let whole = announced(&read(&dir)) + "b = 2\nc = 3\n";
    let half = whole.replace("c = 3\n", "");
    std::thread::scope(|scope| {
        // An editor that truncates and writes in two pieces.
        std::fs::write(file(&dir), "").unwrap();
        let reload = scope.spawn(|| store.reload());
        std::thread::sleep(Duration::from_millis(30));
        std::fs::write(file(&dir), half).unwrap();
        std::thread::sleep(Duration::from_millis(30));
        std::fs::write(file(&dir), whole).unwrap();
        assert!(reload.join().unwrap().unwrap());
    });
    assert_eq!((store.version(), store.current().len()), (3, 3));
    assert_eq!(kinds(&store), (0, 0));
}

// ---------------------------------------------------------------- damage

#[test]
fn one_flipped_bit_at_each_byte_is_detected_each_time() {
    let dir = Dir::new();
    let store = store(&dir);
    let change = store.begin_update().comment("a comment");
    change.apply(|entries| entries.extend([("a".into(), 6), ("b".into(), 7)])).unwrap();
    let whole = std::fs::read(file(&dir)).unwrap();
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        put(&dir, &flipped);
        let error = store.verify().expect_err(&format!("byte {at}"));
        assert_eq!(error.kind(), ErrorKind::PolicyCorrupt, "byte {at}: {error}");
        // Now and then by the other ways that a file is met.
        if at % 40 == 0 {
            assert_eq!(store.reload().unwrap_err().kind(), ErrorKind::PolicyCorrupt);
            assert_eq!(store.update(Entries::clear).unwrap_err().kind(), ErrorKind::PolicyCorrupt);
            let late = builder().open(file(&dir)).unwrap();
            assert_eq!((late.version(), late.current()["b"]), (2, 7));
            assert_eq!(late.problem().unwrap().kind(), ErrorKind::PolicyCorrupt);
        }
        assert_eq!((store.version(), store.current()["a"]), (2, 6));
    }
    put(&dir, &whole);
    assert_eq!(store.verify().unwrap(), 2);
}

/// Damages the file in some way. Checks that this is detected, reported once, and repaired.
fn check_damage(name: &str, says: &str, damage: impl Fn(&Dir, &Store)) {
    let dir = Dir::new();
    let store = store(&dir);
    set(&store, "a", 1);
    set(&store, "a", 2);
    let whole = read(&dir);
    damage(&dir, &store);
    let error = store.reload().expect_err(name);
    assert_eq!(error.kind(), ErrorKind::PolicyCorrupt, "{name}");
    assert!(error.to_string().contains(says), "{name}: {error}");
    assert!(!store.reload().unwrap(), "{name}: told once");
    assert_eq!(store.stats().problems, 1, "{name}");
    assert_eq!((store.version(), store.current()["a"]), (3, 2), "{name}");
    assert_eq!(store.update(Entries::clear).unwrap_err().kind(), ErrorKind::PolicyCorrupt);

    // By a process that has only the copies: the same.
    let late = builder().open(file(&dir)).unwrap();
    assert_eq!((late.version(), late.current()["a"]), (3, 2), "{name}");
    let found = std::fs::read(file(&dir)).unwrap_or_default();
    assert!(late.repair().unwrap(), "{name}");
    assert_eq!(read(&dir), whole, "{name}");
    assert!(!late.repair().unwrap(), "{name}: nothing left to do");
    assert_eq!((late.stats().repairs, late.problem().is_none()), (1, true));
    let aside = std::fs::read(dir.file("app.policy.toml.damaged")).unwrap_or_default();
    assert_eq!(aside, found, "{name}: what was found is kept");
    // The one that reported it sees that it is well again.
    assert!(!store.reload().unwrap());
    assert!(store.problem().is_none(), "{name}");
    assert_eq!(set(&store, "a", 3), 4, "{name}");
}

#[test]
fn every_kind_of_damage_is_reported_once_and_repaired() {
    check_damage("truncated", "its checksum should be", |dir, _| {
        put(dir, &read(dir)[..read(dir).len() - 3]);
    });
    check_damage("truncated header", "its header is not whole", |dir, _| {
        put(dir, &read(dir)[..40]);
    });
    check_damage("empty", "it holds no setting", |dir, _| put(dir, ""));
    check_damage("missing", "it is missing", |dir, _| std::fs::remove_file(file(dir)).unwrap());
    check_damage("zeros", "it holds no setting", |dir, _| put(dir, "\n\n\n"));
    check_damage("not text", "byte 0 is not UTF-8", |dir, _| put(dir, [0xff; 600]));
    check_damage("a change that does not say so", "`edited`", |dir, _| {
        put(dir, read(dir).replace("a = 2", "a = 3"));
    });
    check_damage("gone back", "it went back from version 3 to 2", |dir, _| {
        put(dir, std::fs::read(dir.file("app.policy.toml.v2")).unwrap());
    });
}

#[test]
fn another_file_with_the_same_version_is_noticed() {
    let (dir, other) = (Dir::new(), Dir::new());
    let (store, foreign) = (store(&dir), store(&other));
    set(&store, "a", 1);
    set(&foreign, "a", 2);
    put(&dir, read(&other));
    let error = store.reload().unwrap_err();
    assert!(
        error.to_string().contains("its version 2 is not the one that was read before"),
        "{error}"
    );
    assert_eq!(store.current()["a"], 1);
}

#[test]
fn repair_takes_what_is_in_memory_when_the_copies_are_gone_too() {
    let dir = Dir::new();
    let store = store(&dir);
    set(&store, "a", 1);
    let whole = read(&dir);
    for name in dir.names() {
        std::fs::write(dir.file(&name), "#: rubbish").unwrap();
    }
    assert!(builder().open(file(&dir)).is_err());
    assert!(store.repair().unwrap());
    assert_eq!(read(&dir), whole);
    assert_eq!(builder().open(file(&dir)).unwrap().current()["a"], 1);
    // A damaged copy is reported as such, and skipped.
    let history = store.history().unwrap();
    assert_eq!(history[0].metadata.as_ref().unwrap_err().kind(), ErrorKind::PolicyCorrupt);
    assert_eq!(store.diff(1, 2).unwrap_err().kind(), ErrorKind::PolicyCorrupt);
}

#[test]
fn nothing_good_left_is_said_and_touches_nothing() {
    let dir = Dir::new();
    put(&dir, "#: rubbish\n");
    let error = builder().open(file(&dir)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PolicyCorrupt);
    let error = builder().open_or_create(file(&dir), Entries::new).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PolicyCorrupt);
    assert_eq!(read(&dir), "#: rubbish\n");
}

#[test]
fn reload_finds_a_new_version_and_costs_nothing_without_one() {
    let dir = Dir::new();
    let (store, other) = (store(&dir), store(&dir));
    for n in 1..=50 {
        set(&store, "a", n % 13);
        assert!(other.reload().unwrap(), "version {}", store.version());
        assert_eq!(other.version(), store.version());
    }
    let validations = || other.stats().validations;
    eventually("the file is old enough to be told by its time stamp", || {
        let before = validations();
        other.reload().unwrap();
        validations() == before
    });
    assert!(!other.reload().unwrap());
}

// ---------------------------------------------------------------- death and failing disks

mod faults {
    use super::*;

    /// How many file operations `update_once` makes.
    fn operations() -> usize {
        let dir = Dir::new();
        set(&store(&dir), "old", 1);
        let trace = dir.file("trace");
        let mut worker =
            job("policy-update", &dir).env("LOGROTOR_FAULT_COUNT", trace.display()).spawn();
        worker.expect("ok 3");
        worker.finish();
        std::fs::read_to_string(trace).unwrap().lines().count()
    }

    fn check_after(dir: &Dir, step: &str, before: &str) {
        let text = read(dir);
        let is_old = text == before;
        let store = builder().open(file(dir)).unwrap();
        assert!(store.problem().is_none(), "{step}: {:?}", store.problem());
        assert_eq!(store.version(), if is_old { 2 } else { 3 }, "{step}");
        assert_eq!(store.current().contains_key("new"), !is_old, "{step}");
        assert_eq!(store.verify().unwrap(), store.version(), "{step}");
        // The next update goes on, and tidies up.
        let next = set(&store, "next", 1);
        assert_eq!(next, if is_old { 3 } else { 4 }, "{step}");
        let versions: Vec<_> = store.history().unwrap().iter().map(|e| e.version).collect();
        assert_eq!(versions, (1..=next).collect::<Vec<_>>(), "{step}");
        let expected = 1 + usize::try_from(next).unwrap();
        assert_eq!(dir.names().len(), expected, "{step}: {:?}", dir.names());
    }

    #[test]
    fn death_at_any_operation_leaves_the_old_or_the_new_version() {
        let (mut old, mut new) = (0, 0);
        for step in 1..=operations() {
            let dir = Dir::new();
            set(&store(&dir), "old", 1);
            let before = read(&dir);
            let mut worker =
                job("policy-update", &dir).env("LOGROTOR_FAULT", format!("{step}:kill")).spawn();
            assert_eq!(worker.hear(), None, "step {step} was not reached");
            if read(&dir) == before {
                old += 1;
            } else {
                new += 1;
            }
            check_after(&dir, &format!("killed at step {step}"), &before);
        }
        assert!(old > 10 && new > 3, "{old} old, {new} new");
    }

    /// Has every operation of an update fail in turn, or each from one on.
    fn fail_each(errno: i32, from_then_on: &str) {
        let mut refused = 0;
        for step in 1..=operations() {
            let dir = Dir::new();
            set(&store(&dir), "old", 1);
            let before = read(&dir);
            let plan = format!("{step}{from_then_on}:errno={errno}");
            let mut worker = job("policy-update", &dir).env("LOGROTOR_FAULT", &plan).spawn();
            let said = worker.hear().unwrap();
            worker.finish();
            if said.starts_with("ok") {
                assert_ne!(read(&dir), before, "{plan}: {said}");
            } else {
                refused += 1;
                // Only the sync of the directory comes after the rename.
                let in_place = said.contains("sync directory");
                assert!(
                    in_place || read(&dir) == before || said.contains("read"),
                    "{plan}: {said}"
                );
            }
            check_after(&dir, &plan, &before);
        }
        assert!(refused > 10, "{refused} of {}", operations());
    }

    #[test]
    fn full_disk_at_any_operation_leaves_old_or_new_and_says_why() {
        fail_each(28, "");
        fail_each(28, "+");
    }

    #[test]
    fn io_error_at_any_operation_leaves_the_old_or_the_new_version() {
        fail_each(5, "");
    }

    #[test]
    fn write_that_falls_short_is_completed() {
        for step in 1..=operations() {
            let dir = Dir::new();
            set(&store(&dir), "old", 1);
            let plan = format!("{step}:short");
            let mut worker = job("policy-update", &dir).env("LOGROTOR_FAULT", &plan).spawn();
            worker.expect("ok 3");
            worker.finish();
            check_after(&dir, &plan, "");
        }
    }
}
