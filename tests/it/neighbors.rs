//! Programs that take no lease: copies that are still being written, programs that keep a rotated
//! file open, file systems that do not say how much room they have.

use crate::support::{Dir, eventually};
use logrotor::{
    Compression, Config, DeferralReason, Event, LogBuilder, Maintenance, MaintenanceMode, Period,
    RotatingFileWriter,
};
use std::cell::Cell;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

const LONG: Duration = Duration::from_secs(3600);

/// A log that does its work within the calls of a test.
fn inline(dir: &Dir) -> LogBuilder {
    dir.writer().check_interval(LONG).maintenance(MaintenanceMode::Inline)
}

fn rotate(mut log: &RotatingFileWriter, text: &str) {
    writeln!(log, "{text}").unwrap();
    log.rotate().unwrap().expect("a record was written just now");
}

fn append(path: &Path, text: &str) {
    let mut file = File::options().create(true).append(true).open(path).unwrap();
    writeln!(file, "{text}").unwrap();
}

/// Sets the time of the last change to a minute ago.
fn age(path: &Path) {
    let file = File::options().append(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap();
}

/// Compresses the backups of a log by hand. Returns the reasons for those that were left.
fn compress(dir: &Dir, go_on: &dyn Fn() -> bool) -> Vec<DeferralReason> {
    let mut config = Config::default();
    config.compression = Compression::Gzip;
    let left = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&left);
    let note = move |event: &Event| {
        if let Event::Deferred { reason, .. } = event {
            noted.lock().unwrap().push(*reason);
        }
    };
    Maintenance::new(dir.log(), &config, note).unwrap().run(go_on).unwrap();
    let left = left.lock().unwrap();
    left.clone()
}

const RESTORED: &str = "app.log.2020-01-01T00-00-00.000000Z";

// A worker compressed the part of a backup that an operator's `cp` had written so far, and removed
// the file under it. Of 40 000 lines 8 226 were left.
#[test]
fn regression_backup_that_is_copied_back_slowly_loses_nothing() {
    let dir = Dir::new();
    let log = inline(&dir).compression(Compression::Gzip).build().unwrap();
    for part in ["one", "two", "three"] {
        append(&dir.file(RESTORED), part);
        rotate(&log, "a record");
        assert!(dir.file(RESTORED).exists(), "after part {part}");
    }
    age(&dir.file(RESTORED));
    log.close().unwrap();
    eventually("it is compressed", || {
        inline(&dir).compression(Compression::Gzip).build().unwrap().close().unwrap();
        !dir.file(RESTORED).exists()
    });
    assert_eq!(dir.lines_of(&format!("{RESTORED}.gz")), ["one", "two", "three"]);
}

#[cfg(any(target_os = "linux", windows))]
#[test]
fn rotated_log_that_a_foreign_program_writes_stays() {
    let dir = Dir::new();
    let log = inline(&dir).compression(Compression::Gzip).max_backups(1).build().unwrap();
    let mut foreign = File::options().append(true).open(dir.log()).unwrap();
    rotate(&log, "a record");
    writeln!(foreign, "written after the rotation").unwrap();
    rotate(&log, "another record");
    let backups = dir.backups();
    assert_eq!(dir.lines_of(&backups[0]), ["a record", "written after the rotation"]);
    assert!(backups[0].ends_with('Z'), "{backups:?}");
    drop(foreign);
    eventually("it is removed", || {
        inline(&dir).max_backups(1).build().unwrap().close().unwrap();
        dir.backups().len() == 1
    });
}

// On Windows no program can open a file for writing while it is compressed.
#[cfg(unix)]
#[test]
fn backup_that_changes_while_it_is_compressed_stays() {
    let dir = Dir::new();
    inline(&dir).build().unwrap().write_record(b"active\n").unwrap();
    append(&dir.file(RESTORED), "before");
    age(&dir.file(RESTORED));
    let restored = dir.file(RESTORED);
    let is_compressing = || dir.names().iter().any(|name| name.ends_with(".tmp"));
    let is_appended = Cell::new(false);
    let left = compress(&dir, &|| {
        if is_compressing() && !is_appended.replace(true) {
            append(&restored, "meanwhile");
        }
        true
    });
    assert_eq!(left, [DeferralReason::BeingWritten]);
    assert_eq!(dir.lines_of(RESTORED), ["before", "meanwhile"]);
    assert_eq!(dir.backups(), [RESTORED]);
}

/// Between the last look at the content and the removal of the plain file.
#[cfg(unix)]
#[test]
fn backup_that_changes_once_it_is_compressed_stays() {
    let (dir, gates) = (Dir::new(), Dir::new());
    inline(&dir).build().unwrap().write_record(b"active\n").unwrap();
    append(&dir.file(RESTORED), "before");
    age(&dir.file(RESTORED));
    let plan = format!("1/sync directory:pause={}", gates.file("gate").display());
    let job = crate::support::Job::new("obey", &dir.log()).with("gzip", 1).with("inline", 1);
    let mut worker = job.env("LOGROTOR_FAULT", plan).spawn();
    eventually("it is stopped", || gates.file("gate.reached").exists());
    append(&dir.file(RESTORED), "meanwhile");
    std::fs::write(gates.file("gate"), "").unwrap();
    worker.expect("ready");
    worker.finish();
    assert_eq!(dir.lines_of(RESTORED), ["before", "meanwhile"]);
    assert_eq!(dir.backups(), [RESTORED]);
}

#[cfg(unix)]
#[test]
fn reasons_for_leaving_a_backup_are_distinct() {
    let dir = Dir::new();
    let log = inline(&dir).build().unwrap();
    rotate(&log, "a record");
    let backup = dir.file(&dir.backups()[0]);
    let mut reader = logrotor::reader::LogReader::open(dir.log()).unwrap();
    reader.records().next().unwrap().unwrap();
    assert_eq!(compress(&dir, &|| true), [DeferralReason::InUse]);
    drop(reader);
    if cfg!(target_os = "linux") {
        let _writer = File::options().append(true).open(&backup).unwrap();
        assert_eq!(compress(&dir, &|| true), [DeferralReason::BeingWritten]);
    }
    let gzip = dir.file(&format!("{}.gz", dir.backups()[0]));
    std::fs::write(&gzip, "partial").unwrap();
    assert_eq!(compress(&dir, &|| true), [DeferralReason::BeingCompressed]);
    std::fs::remove_file(&gzip).unwrap();
    eventually("it is compressed", || compress(&dir, &|| true).is_empty());
    assert!(gzip.exists());
}

#[cfg(unix)]
mod room {
    use super::*;
    use crate::support::Job;
    use std::process::Command;

    /// The operations that ask for room fail as on a FUSE server without `statfs`.
    #[test]
    fn unknown_free_space_keeps_and_compresses_backups() {
        let dir = Dir::new();
        const ENOSYS: i32 = 38;
        let job = Job::new("obey", &dir.log()).with("gzip", 1).with("inline", 1);
        let job = job.with("min_free", u64::MAX / 2);
        let fault = format!("1+/ask the free space of:errno={ENOSYS}");
        let mut worker = job.env("LOGROTOR_FAULT", fault).spawn();
        worker.expect("ready");
        for _ in 0..3 {
            assert_eq!(worker.ask("write a record"), "ok");
            assert_eq!(worker.ask("rotate"), "ok");
        }
        worker.ask("close");
        eventually("each is compressed", || {
            worker.ask("close");
            dir.backups().iter().all(|name| name.ends_with(".gz"))
        });
        assert_eq!(dir.backups().len(), 3);
        worker.finish();
    }

    #[test]
    fn backups_on_a_ramfs_are_kept_and_compressed() {
        let dir = Dir::new();
        let mounted = Command::new("mount").args(["-t", "ramfs", "ramfs"]).arg(dir.path()).output();
        if !mounted.is_ok_and(|mounted| mounted.status.success()) {
            println!("skipped: this user may not mount a file system");
            return;
        }
        let log = inline(&dir).compression(Compression::Gzip).min_free_space(1 << 40);
        let log = log.build().unwrap();
        (0..3).for_each(|_| rotate(&log, "a record"));
        eventually("each is compressed", || {
            log.finish().unwrap();
            dir.backups().iter().all(|name| name.ends_with(".gz"))
        });
        let (backups, pruned) = (dir.backups().len(), log.stats().pruned);
        let free = logrotor::inspect::Inspection::of(dir.log()).unwrap().free_bytes;
        drop(log);
        let unmounted = Command::new("umount").arg("-l").arg(dir.path()).status();
        assert_eq!((backups, pruned, free), (3, 0, None));
        assert!(unmounted.unwrap().success());
    }
}

// A log that was restored or copied with its times was not rotated, because its file is new.
#[test]
fn regression_restored_log_of_last_week_is_rotated() {
    type Limit = fn(LogBuilder) -> LogBuilder;
    let limits: [Limit; 2] =
        [|log| log.rotate_every(Period::Daily), |log| log.max_age(Duration::from_secs(3600))];
    for limit in limits {
        let dir = Dir::new();
        append(&dir.log(), "of last week");
        let file = File::options().append(true).open(dir.log()).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(7 * 24 * 3600)).unwrap();
        drop(file);
        let log = limit(inline(&dir)).build().unwrap();
        log.write_record(b"of today\n").unwrap();
        let backups = dir.backups();
        assert_eq!((backups.len(), dir.active_lines()), (1, vec!["of today".to_owned()]));
        assert_eq!(dir.lines_of(&backups[0]), ["of last week"]);
    }
}

// A worker stayed in the old file, while workers that started later used the new one.
#[cfg(unix)]
#[test]
fn regression_link_turned_to_another_target_is_followed() {
    use std::os::unix::fs::symlink;
    // The link is the log itself, or a directory on the way to it.
    for (link, log, there) in
        [("app.log", "app.log", "app.log"), ("current", "current/app.log", "app.log")]
    {
        let dir = Dir::new();
        let ends = ["a", "b"].map(|end| {
            std::fs::create_dir(dir.file(end)).unwrap();
            if link == log { format!("{end}/app.log") } else { end.to_owned() }
        });
        symlink(&ends[0], dir.file(link)).unwrap();
        let builder = RotatingFileWriter::builder(dir.file(log)).check_interval(Duration::ZERO);
        let worker = builder.maintenance(MaintenanceMode::Inline).build().unwrap();
        worker.write_record(b"one\n").unwrap();
        symlink(&ends[1], dir.file("new")).unwrap();
        std::fs::rename(dir.file("new"), dir.file(link)).unwrap();
        worker.write_record(b"two\n").unwrap();
        let later = RotatingFileWriter::builder(dir.file(log)).build().unwrap();
        later.write_record(b"three\n").unwrap();
        let lines = |end: &str| crate::support::lines_at(&dir.file(end).join(there));
        assert_eq!(
            (lines("a"), lines("b")),
            (vec!["one".into()], vec!["two".into(), "three".into()])
        );
    }
}

/// Answers of file systems that are no usual answers.
#[cfg(target_os = "linux")]
pub mod answers {
    use super::*;
    use crate::support::{Job, Trace};

    const ENOENT: i32 = 2;
    const EACCES: i32 = 13;
    const ESTALE: i32 = 116;

    /// A worker rotates three times while the operations with this verb fail at first.
    fn rotates_in_spite_of(verb: &str, errno: i32) {
        let dir = Dir::new();
        let fault = format!("1-3/{verb}:errno={errno}");
        let job = Job::new("obey", &dir.log()).env("LOGROTOR_FAULT", fault);
        let mut worker = job.spawn();
        worker.expect("ready");
        for _ in 0..3 {
            assert_eq!(worker.ask("write a record"), "ok", "{verb} {errno}");
            assert_eq!(worker.ask("rotate"), "ok", "{verb} {errno}");
        }
        assert_eq!((worker.count("failures"), dir.backups().len()), (0, 3), "{verb} {errno}");
        worker.finish();
    }

    // A FUSE server reports the lock file as missing while another process removes it. A writer
    // ended because its directory was missing, which it was not.
    #[test]
    fn regression_lock_file_that_comes_and_goes_holds_up_nothing() {
        for errno in [ENOENT, ESTALE] {
            rotates_in_spite_of("open lock file", errno);
            rotates_in_spite_of("take exclusive lock", errno);
        }
    }

    // CIFS 3.1.1 refuses a lock that is held with EACCES. A second writer ended.
    #[test]
    fn regression_lock_refused_with_eacces_counts_as_held() {
        rotates_in_spite_of("take exclusive lock", EACCES);
    }

    // Another process may remove or move the file of a handle, and the server may look for it by
    // its name. A writer ended, or a rotation failed.
    #[test]
    fn regression_file_that_is_gone_under_its_handle_is_no_failure() {
        for errno in [ENOENT, ESTALE] {
            rotates_in_spite_of("take shared lock", errno);
            rotates_in_spite_of("unlock", errno);
        }
    }

    /// A server answers ENOENT or ESTALE for the file of a handle that another program has removed.
    /// The log was not created again.
    #[test]
    fn regression_log_after_a_forgotten_one_has_its_mode() {
        use std::os::unix::fs::PermissionsExt;
        // Opens, writes and removes the log, and writes again under this plan of faults.
        let play = |trace: &Trace, plan: Option<String>| {
            let dir = Dir::new();
            append(&dir.log(), "before");
            std::fs::set_permissions(dir.log(), PermissionsExt::from_mode(0o640)).unwrap();
            let mut job = trace.of(&Job::new("obey", &dir.log()).with("inline", 1));
            if let Some(plan) = plan {
                job = job.env("LOGROTOR_FAULT", plan);
            }
            let mut worker = job.with("check_ms", 0).spawn();
            worker.expect("ready");
            worker.write("one");
            std::fs::remove_file(dir.log()).unwrap();
            let before = trace.len();
            worker.write("two");
            let mode = std::fs::metadata(dir.log()).unwrap().permissions().mode();
            assert_eq!((dir.active_lines(), mode & 0o777), (vec!["two".to_owned()], 0o640));
            assert_eq!(worker.count("failures"), 0);
            worker.finish();
            before
        };
        let trial = Trace::new();
        let before = play(&trial, None);
        // The last look before the next file is the one at the removed file.
        let look = trial.first("create", before) - 1;
        assert_eq!(trial.verbs()[look - 1], "look at");
        for errno in [ENOENT, ESTALE] {
            let trace = Trace::new();
            play(&trace, Some(format!("{look}:errno={errno}")));
            assert_eq!(trace.struck(), ["look at"]);
        }
    }

    /// A log with a lock file that a killed process has left, and the job to examine both.
    fn abandoned() -> (Dir, Job) {
        let dir = Dir::new();
        append(&dir.log(), "a record");
        let lock = logrotor::FileLock::open(dir.file("other.lock")).unwrap();
        let held = lock.exclusive(logrotor::Wait::Never).unwrap();
        std::fs::copy(dir.file("other.lock"), dir.file("app.log.lock")).unwrap();
        held.unlock().unwrap();
        let job = Job::new("examine", &dir.log());
        (dir, job)
    }

    /// Others examine the lock file while it is removed.
    #[test]
    fn regression_lock_file_removed_while_it_is_examined_is_none() {
        let verbs = ["take exclusive lock", "take shared lock", "unlock", "look at"];
        for (verb, errno) in verbs.into_iter().flat_map(|verb| [(verb, ENOENT), (verb, ESTALE)]) {
            for at in 1..=3 {
                let (_dir, job) = abandoned();
                let fault = format!("{at}/{verb}:errno={errno}");
                let mut worker = job.env("LOGROTOR_FAULT", fault).spawn();
                worker.expect("ok");
                worker.finish();
            }
        }
        gone_once_it_is_open(abandoned, "ok", &["open", "take", "read"]);
    }

    /// Another process has removed or renamed a file since one of these operations on it, so the
    /// next one fails. The job says the same as without.
    fn gone_once_it_is_open(make: impl Fn() -> (Dir, Job), said: &str, after: &[&str]) {
        let run = |job: Job| {
            let mut worker = job.spawn();
            worker.expect(said);
            worker.finish();
        };
        let trial = Trace::new();
        let (_dir, job) = make();
        run(trial.of(&job));
        let verbs = trial.verbs();
        let is = |at: usize, some: &[&str]| some.iter().any(|verb| verbs[at].starts_with(verb));
        let is_next = |at: &usize| is(at - 1, after) && is(*at, &["look at", "take", "unlock"]);
        let struck: Vec<_> = (1..verbs.len()).filter(is_next).collect();
        assert!(struck.len() >= 2, "{verbs:?}");
        for (at, errno) in struck.into_iter().flat_map(|at| [(at, ENOENT), (at, ESTALE)]) {
            let (_dir, job) = make();
            run(job.env("LOGROTOR_FAULT", format!("{}:errno={errno}", at + 1)));
        }
    }

    /// The child: examines a log and its lock files.
    pub fn examine(job: &Job) {
        let log = Path::new(job.text("log"));
        logrotor::inspect::Inspection::of(log).unwrap();
        logrotor::FileLock::clean_stale(log.parent().unwrap()).unwrap();
        crate::support::say("ok");
    }

    /// The child: waits for the writers of a lock, and reads the log.
    pub fn read(job: &Job) {
        let lock = logrotor::FileLock::open(job.text("lock")).unwrap();
        for wait in [logrotor::Wait::AtMost(LONG), logrotor::Wait::Forever] {
            lock.shared(wait).unwrap().unlock().unwrap();
        }
        let mut reader = logrotor::reader::LogReader::open(job.text("log")).unwrap();
        crate::support::say(reader.records().map(Result::unwrap).count());
    }

    #[test]
    fn file_that_is_gone_once_it_is_open_is_looked_for_again() {
        let make = || {
            let dir = Dir::new();
            let log = inline(&dir).build().unwrap();
            (0..3).for_each(|_| rotate(&log, "a record"));
            let job = Job::new("read", &dir.log()).with("lock", dir.file("other.lock").display());
            (dir, job)
        };
        gone_once_it_is_open(make, "3", &["open", "take"]);
    }

    #[test]
    fn log_that_is_gone_once_it_is_open_is_opened_again() {
        let make = || {
            let dir = Dir::new();
            append(&dir.log(), "a record");
            let job = Job::new("obey", &dir.log()).with("inline", 1);
            (dir, job)
        };
        gone_once_it_is_open(make, "ready", &["open", "take"]);
    }

    #[test]
    fn lock_file_without_a_directory_is_an_error_at_once() {
        let dir = Dir::new();
        let lock = logrotor::FileLock::open(dir.file("none/app.lock")).unwrap();
        let error = lock.exclusive(logrotor::Wait::Forever).unwrap_err().to_string();
        assert!(error.contains("there is no directory"), "{error}");
    }
}

#[cfg(target_os = "linux")]
mod attributes {
    use super::*;
    use rustix::fs::{XattrFlags, getxattr, setxattr};

    const ACL: &str = "system.posix_acl_access";
    const OWN: &str = "user.origin";

    /// A list that lets the owner read and write, and user 65534 read.
    fn acl() -> Vec<u8> {
        let entry = |tag: u16, bits: u16, id: u32| {
            [&tag.to_le_bytes()[..], &bits.to_le_bytes(), &id.to_le_bytes()].concat()
        };
        const NONE: u32 = u32::MAX;
        let entries =
            [(0x01, 6, NONE), (0x02, 4, 65534), (0x04, 0, NONE), (0x10, 4, NONE), (0x20, 0, NONE)];
        let entries = entries.map(|(tag, bits, id)| entry(tag, bits, id)).concat();
        [&2_u32.to_le_bytes()[..], &entries].concat()
    }

    /// `None`, with a printed note, where the file system has no such attributes.
    fn mark(path: &Path) -> Option<()> {
        let set = |name, value: &[u8]| setxattr(path, name, value, XattrFlags::empty());
        let marked = set(ACL, &acl()).and_then(|()| set(OWN, b"kept"));
        marked.inspect_err(|error| println!("skipped: no extended attributes here: {error}")).ok()
    }

    #[track_caller]
    fn is_marked(path: &Path) {
        let get = |name| {
            let mut value = [0; 256];
            getxattr(path, name, &mut value[..]).map(|len| value[..len].to_vec())
        };
        assert_eq!((get(ACL), get(OWN)), (Ok(acl()), Ok(b"kept".to_vec())), "{}", path.display());
    }

    #[test]
    fn log_and_backups_keep_the_acl_and_attributes() {
        for mode in [None, Some(0o640)] {
            let dir = Dir::new();
            let log = inline(&dir).compression(Compression::Gzip);
            let log = mode.map_or(log.clone(), |mode| log.mode(mode)).build().unwrap();
            if mark(&dir.log()).is_none() {
                return;
            }
            (0..2).for_each(|_| rotate(&log, "a record"));
            is_marked(&dir.log());
            eventually("both are compressed", || {
                log.finish().unwrap();
                dir.backups().iter().all(|name| name.ends_with(".gz"))
            });
            dir.backups().iter().for_each(|name| is_marked(&dir.file(name)));
            std::fs::remove_file(dir.log()).unwrap();
            log.reopen().unwrap();
            is_marked(&dir.log());
        }
    }

    // Root may set a label where no security module is in force, and the file system keeps it.
    #[test]
    fn log_and_backups_keep_the_security_label() {
        const LABEL: (&str, &[u8]) = ("security.selinux", b"system_u:object_r:var_log_t:s0\0");
        let dir = Dir::new();
        let log = inline(&dir).compression(Compression::Gzip).build().unwrap();
        if let Err(error) = setxattr(dir.log(), LABEL.0, LABEL.1, XattrFlags::empty()) {
            println!("skipped: no security label may be set here: {error}");
            return;
        }
        rotate(&log, "a record");
        eventually("it is compressed", || {
            log.finish().unwrap();
            dir.backups()[0].ends_with(".gz")
        });
        for name in dir.names() {
            let mut value = [0; 256];
            let len = getxattr(dir.file(&name), LABEL.0, &mut value[..]);
            assert_eq!(len.map(|len| &value[..len]), Ok(LABEL.1), "{name}");
        }
    }

    #[test]
    fn replaced_file_keeps_the_acl_and_attributes() {
        let dir = Dir::new();
        append(&dir.file("state"), "old");
        if mark(&dir.file("state")).is_none() {
            return;
        }
        logrotor::atomic::write(dir.file("state"), "new").unwrap();
        is_marked(&dir.file("state"));
    }
}
