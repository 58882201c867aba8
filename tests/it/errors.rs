//! Invalid settings and paths are rejected at once, with a reason. Later failures are reported, not
//! printed.

use crate::support::{Dir, Job, eventually, say};
use logrotor::{
    Buffering, Compression, Delivery, Durability, Error, ErrorKind, Event, FileLock, LogBuilder,
    MaintenanceMode, Period, RotatingFileWriter, Wait,
};
#[cfg(unix)]
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Opens a log that must be refused, with nothing made; returns the error.
fn refusal(what: &str, dir: &Dir, builder: LogBuilder) -> Error {
    let before = dir.names();
    let Err(error) = builder.build() else { panic!("{what}: not refused") };
    assert_eq!(dir.names(), before, "{what}");
    error
}

/// A log with this setting is refused, and the message says all of `parts`.
fn refused(parts: [&str; 3], setup: impl FnOnce(LogBuilder) -> LogBuilder) {
    let dir = Dir::new();
    let builder = RotatingFileWriter::builder(dir.file("new/app.log"));
    let error = refusal(parts[0], &dir, setup(builder));
    assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
    let message = error.to_string();
    assert!(message.starts_with("invalid `"), "{message}");
    assert!(parts.iter().all(|part| message.contains(part)), "{parts:?}: {message}");
}

fn buffered(capacity: usize) -> Delivery {
    let flush_interval = Duration::from_millis(10);
    Delivery::Buffered(Buffering::new().capacity(capacity).flush_interval(flush_interval))
}

#[test]
fn invalid_setting_is_rejected_with_its_value_and_a_valid_one() {
    refused(["`max_size` = 0", "room for a record", "use 1 or more"], |log| log.max_size(0));
    refused(["`max_age` = 0ns", "use 1 ms or more", "leave it out"], |log| {
        log.max_age(Duration::ZERO)
    });
    refused(["`min_interval` = 0ns", "use 1 ms or more", "leave it out"], |log| {
        log.min_interval(Duration::ZERO)
    });
    for hours in [0, 169] {
        let setting = format!("`rotate_every` = {hours} hours");
        refused([&setting, "use 1 to 168 hours", "or weekly"], |log| {
            log.rotate_every(Period::Hours(hours))
        });
    }
    for at in [Duration::from_secs(24 * 3600), Duration::from_secs(90)] {
        let setting = format!("`rotate_at` = {at:?}");
        refused([&setting, "00:00 to 23:59", "in whole minutes"], |log| {
            log.rotate_every(Period::Daily).rotate_at(at)
        });
    }
    let builders: [fn(LogBuilder) -> LogBuilder; 2] =
        [|log| log, |log| log.rotate_every(Period::Minutely)];
    for builder in builders {
        refused(["`rotate_at` = 03:00", "needs a period", "daily"], |log| {
            builder(log).rotate_at(Duration::from_secs(3 * 3600))
        });
    }
    refused(["`max_backup_age` = 999µs", "use 1 ms or more", "leave it out"], |log| {
        log.max_backup_age(Duration::from_micros(999))
    });
    refused(["`max_total_size` = 99", "`max_size` = 100", "use at least 100"], |log| {
        log.max_size(100).max_total_size(99)
    });
    refused(["`max_total_size` = 399", "4 times, with `min_interval`", "at least 400"], |log| {
        log.max_size(100).min_interval(Duration::from_secs(1)).max_total_size(399)
    });
    refused(["`mode` = 0o1777", "between 0o600", "and 0o777"], |log| log.mode(0o1777));
    refused(["`mode` = 0o440", "the owner must", "read and write"], |log| log.mode(0o440));
    refused(["`capacity` = 0", "room for a record", "use 1 MiB"], |log| log.delivery(buffered(0)));
    refused(["`durability` = EveryRecord", "not even in the kernel", "use direct"], |log| {
        log.delivery(buffered(1024)).durability(Durability::EveryRecord)
    });
    refused(["`max_size` = 5", "the header of 5 bytes fills it", "use more"], |log| {
        log.max_size(5).header(b"12345")
    });
}

#[test]
fn unknown_compression_level_is_rejected_with_the_valid_ones() {
    refused(["`compression_level` = 6", "there is no compression", "choose one"], |log| {
        log.compression_level(6)
    });
    for level in [0, 10] {
        let setting = format!("`compression_level` = {level}");
        refused([&setting, "Gzip", "levels 1 to 9"], |log| {
            log.compression(Compression::Gzip).compression_level(level)
        });
    }
    #[cfg(feature = "zstd")]
    refused(["`compression_level` = 23", "Zstd", "levels 1 to 22"], |log| {
        log.compression(Compression::Zstd).compression_level(23)
    });
}

#[cfg(not(feature = "zstd"))]
#[test]
fn zstd_without_its_feature_is_rejected_by_build() {
    refused(["`compression` = Zstd", "built without the feature `zstd`", "use `Gzip`"], |log| {
        log.compression(Compression::Zstd)
    });
}

/// A log at this path is refused with these words.
fn path_refused(dir: &Dir, path: impl Into<PathBuf>, why: &str) {
    let path = path.into();
    let error = refusal(why, dir, RotatingFileWriter::builder(&path));
    assert_eq!((error.kind(), error.path()), (ErrorKind::NotAFile, Some(&*path)), "{error}");
    let message = error.to_string();
    assert!(message.starts_with("failed to use as a log `"), "{message}");
    assert!(message.ends_with(why), "{message}");
}

#[test]
fn path_that_is_no_file_name_is_refused() {
    let dir = Dir::new();
    let with_separator = format!("{}/", dir.file("new/app.log").display());
    path_refused(&dir, with_separator, "it names a directory; add a file name");
    for path in ["", "..", "/"] {
        let error = refusal(path, &dir, RotatingFileWriter::builder(path));
        assert_eq!(error.kind(), ErrorKind::NotAFile, "{path}: {error}");
        assert!(error.to_string().contains("file name"), "{path}: {error}");
    }
    let dotted = dir.file("new/..");
    path_refused(&dir, dotted, "it has no file name; use one such as `app.log`");
}

#[test]
fn path_of_a_compressed_backup_is_refused() {
    let dir = Dir::new();
    for name in ["app.log.1.gz", "app.log.2026-11-20T23-57-01.123456Z.zst"] {
        let why = "it has the name of a compressed backup; use its log, `app.log`";
        path_refused(&dir, dir.file(name), why);
    }
    for name in ["app.log.1", "app.gz", "app.log.01.gz", "1.gz", ".1.gz"] {
        RotatingFileWriter::builder(dir.file(name)).build().unwrap();
    }
}

#[test]
fn name_too_long_for_those_of_its_backups_is_refused() {
    let dir = Dir::new();
    let error = refusal("", &dir, RotatingFileWriter::builder(dir.file(&"x".repeat(250))));
    let message = error.to_string();
    assert_eq!(error.kind(), ErrorKind::NotAFile);
    assert!(message.contains("has 250 bytes; use at most "), "{message}");
    let most = message.split("at most ").nth(1).unwrap().split(',').next().unwrap();
    let longest = "x".repeat(most.parse().unwrap());
    let builder = RotatingFileWriter::builder(dir.file(&longest));
    let log = builder.compression(Compression::Gzip).build().unwrap();
    (&log).write_all(b"line\n").unwrap();
    log.rotate().unwrap();
    log.close().unwrap();
}

#[test]
fn directory_as_the_log_is_refused() {
    let dir = Dir::new();
    std::fs::create_dir(dir.log()).unwrap();
    let error = refusal("a directory", &dir, dir.writer());
    assert_eq!(error.kind(), ErrorKind::NotAFile);
    assert!(error.to_string().ends_with("app.log`: it is a directory"), "{error}");
}

#[cfg(unix)]
#[test]
fn pipe_or_device_as_the_log_is_rejected_without_waiting() {
    let dir = Dir::new();
    let made = std::process::Command::new("mkfifo").arg(dir.log()).status().unwrap();
    assert!(made.success());
    for path in [dir.log(), PathBuf::from("/dev/null")] {
        let error = RotatingFileWriter::builder(&path).build().unwrap_err();
        // Without permission to write to `/dev`, that is the error.
        if path.starts_with(dir.path()) || error.kind() != ErrorKind::Io {
            assert_eq!(error.kind(), ErrorKind::NotAFile, "{error}");
            assert!(error.to_string().ends_with("`: it is not a regular file"), "{error}");
        }
    }
    assert_eq!(dir.names(), ["app.log"]);
}

#[cfg(unix)]
#[test]
fn name_that_is_not_unicode_is_refused() {
    use std::os::unix::ffi::OsStringExt;
    let dir = Dir::new();
    let name = OsString::from_vec(b"app\xff.log".to_vec());
    path_refused(&dir, dir.path().join(name), "its file name is not Unicode; use one that is");
}

#[cfg(unix)]
#[test]
fn links_in_a_circle_are_refused() {
    let dir = Dir::new();
    std::os::unix::fs::symlink("other.log", dir.log()).unwrap();
    std::os::unix::fs::symlink("app.log", dir.file("other.log")).unwrap();
    path_refused(&dir, dir.log(), "too many levels of symbolic links");
}

/// The task of a process that only opens a log, and says what came of it.
pub fn open(job: &Job) {
    match job.builder().build() {
        Ok(_) => say("opened"),
        Err(error) => {
            let (kind, message) = (error.kind(), error.to_string());
            say(format!("{kind:?}, {:?}: {message}", std::io::Error::from(error).kind()));
        }
    }
}

#[cfg(unix)]
fn opening(job: &Job) -> String {
    let mut worker = job.spawn();
    let said = worker.hear().unwrap();
    worker.finish();
    said
}

#[cfg(unix)]
#[test]
fn directory_that_may_not_be_written_is_refused_by_name() {
    use std::os::unix::fs::PermissionsExt;
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can become another user");
        return;
    }
    let dir = Dir::new();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write(dir.log(), "").unwrap();
    std::fs::set_permissions(dir.log(), std::fs::Permissions::from_mode(0o666)).unwrap();
    let said = opening(&Job::new("open", &dir.log()).with("uid", 65534));
    assert!(said.starts_with("Io, PermissionDenied: failed to use as a log `"), "{said}");
    let directory = dir.path().canonicalize().unwrap();
    let why = format!("its directory `{}` is not writable for this process", directory.display());
    assert!(said.contains(&why), "{said}");
    assert_eq!(dir.names(), ["app.log"]);
}

#[cfg(unix)]
#[test]
fn log_that_appears_during_the_wait_to_create_it_is_opened() {
    let (dir, aside) = (Dir::new(), Dir::new());
    let job = Job::new("open", &dir.log()).with("inline", 1).with("lock_ms", 50);
    let trace = crate::support::Trace::new();
    assert_eq!(opening(&trace.of(&job)), "opened");
    std::fs::remove_file(dir.log()).unwrap();
    let lock = FileLock::open(dir.file("app.log.lock")).unwrap();
    let rotation = lock.exclusive(Wait::Never).unwrap();
    let (at, gate) = (trace.first("take exclusive lock", 0), aside.file("gate"));
    let mut child = job.env("LOGROTOR_FAULT", format!("{at}:pause={}", gate.display())).spawn();
    eventually("it has seen no log", || aside.file("gate.reached").exists());
    std::fs::write(dir.log(), "").unwrap();
    std::fs::write(gate, "").unwrap();
    assert_eq!(child.hear().as_deref(), Some("opened"));
    child.finish();
    rotation.unlock().unwrap();
}

#[cfg(unix)]
#[test]
fn file_system_without_locks_is_rejected_for_new_and_old_logs() {
    const NOT_SUPPORTED: i32 = rustix::io::Errno::OPNOTSUPP.raw_os_error();
    for (verb, is_there) in [("take exclusive lock", false), ("take shared lock", true)] {
        let dir = Dir::new();
        let there = || {
            if is_there {
                std::fs::write(dir.log(), "").unwrap();
            }
        };
        there();
        let job = Job::new("open", &dir.log()).with("inline", 1);
        let trace = crate::support::Trace::new();
        assert_eq!(opening(&trace.of(&job)), "opened");
        let at = trace.first(verb, 0);
        std::fs::remove_file(dir.log()).unwrap();
        there();
        let said = opening(&job.env("LOGROTOR_FAULT", format!("{at}:errno={NOT_SUPPORTED}")));
        let start = format!("LockUnsupported, Unsupported: failed to {verb} `");
        assert!(said.starts_with(&start), "{said}");
        assert_eq!(dir.log().exists(), is_there);
    }
}

#[test]
fn lock_that_is_kept_is_a_timeout_that_names_the_lock_file() {
    let dir = Dir::new();
    let lock = FileLock::open(dir.file("app.log.lock")).unwrap();
    let guard = lock.exclusive(Wait::Never).unwrap();
    let error = dir.writer().lock_timeout(Duration::from_millis(20)).build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LockTimeout);
    let message = error.to_string();
    assert!(message.contains("app.log.lock`: timed out after "), "{message}");
    guard.unlock().unwrap();
    dir.writer().build().unwrap();
}

#[test]
fn io_error_of_an_error_keeps_its_kind_and_the_original() {
    let dir = Dir::new();
    let in_the_way = dir.file("file");
    std::fs::write(&in_the_way, "").unwrap();
    let error = RotatingFileWriter::builder(in_the_way.join("app.log")).build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    let source = error.io_error().unwrap();
    let (kind, code) = (source.kind(), source.raw_os_error());
    assert!(code.is_some() && std::error::Error::source(&error).is_none());

    let io = std::io::Error::from(error.clone());
    assert_eq!((io.kind(), io.to_string()), (kind, error.to_string()));
    let inner = io.get_ref().unwrap().downcast_ref::<Error>().unwrap();
    assert_eq!((inner.kind(), inner.path()), (error.kind(), error.path()));
    assert_eq!(inner.io_error().unwrap().raw_os_error(), code);

    let refused = dir.writer().max_size(0).build().unwrap_err();
    assert!(refused.io_error().is_none());
    assert_eq!(std::io::Error::from(refused).kind(), std::io::ErrorKind::InvalidInput);
}

#[test]
fn failure_after_opening_is_reported_once_per_step_of_the_delay() {
    let dir = Dir::new();
    let told = Arc::new(Mutex::new(Vec::new()));
    let observer = {
        let told = Arc::clone(&told);
        move |event: &Event| {
            if let Event::Failed { error, .. } = event {
                told.lock().unwrap().push(error.to_string());
            }
        }
    };
    let builder = dir.writer().max_size(10).lock_timeout(Duration::ZERO).observer(observer);
    let log = builder.maintenance(MaintenanceMode::Inline).build().unwrap();
    let lock = FileLock::open(dir.file("app.log.lock")).unwrap();
    let guard = lock.exclusive(Wait::Never).unwrap();
    let started = std::time::Instant::now();
    for _ in 0..1000 {
        (&log).write_all(b"0123456789\n").unwrap();
    }
    // 10 ms, 20 ms, 40 ms, and so on.
    let steps = (started.elapsed().as_millis() / 10 + 1).ilog2() + 1;
    let (stats, told) = (log.stats(), told.lock().unwrap().clone());
    assert!((1..=steps as usize).contains(&told.len()), "{steps}: {told:?}");
    assert_eq!(stats.failures(ErrorKind::LockTimeout), told.len() as u64);
    assert_eq!(stats.last_error.unwrap().to_string(), *told.last().unwrap());
    assert_eq!((stats.records, stats.rotations), (1000, 0));
    guard.unlock().unwrap();
}

/// The task of a process whose log fails in every way that it can.
pub fn suffer(job: &Job) {
    say("begin");
    if let Ok(log) = job.builder().compression(Compression::Gzip).build() {
        let all = |log: &RotatingFileWriter| {
            for _ in 0..3 {
                let _ = writeln!(&*log, "{}", "x".repeat(job.number("max_size") / 2));
            }
            let _ = (log.rotate(), log.reopen(), log.sync(), log.segments(), log.stats());
            let _ = log.flush();
        };
        all(&log);
        let dir = log.path().parent().unwrap().to_owned();
        // The log's thread may be making a file there, or the directory again.
        eventually("a file is in the way of the directory", || {
            let _ = std::fs::remove_dir_all(&dir);
            std::fs::write(&dir, "in the way").is_ok()
        });
        all(&log);
        let _ = log.finish();
    }
    say("end");
}

/// Has a process suffer, and checks that it came through without a word and without a panic.
fn suffers_in_silence(setup: impl FnOnce(Job) -> Job) {
    let dir = Dir::new();
    let job = Job::new("suffer", &dir.file("logs/app.log")).with("max_size", 100);
    let job = setup(job.with("check_ms", 0).with("lock_ms", 10));
    let output = job.command().output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{job:?}: {stderr}");
    let said = stdout.split_once("@begin\n").and_then(|(_, rest)| rest.split_once("@end\n"));
    assert_eq!((said.map(|(between, _)| between), stderr.as_str()), (Some(""), ""), "{job:?}");
}

#[test]
fn failures_are_neither_printed_nor_do_they_panic() {
    suffers_in_silence(|job| job);
    suffers_in_silence(|job| job.with("inline", 1).with("numbered", 1));
}

#[cfg(unix)]
#[test]
fn disk_that_refuses_everything_is_neither_a_word_nor_a_panic() {
    // From the first operation on, or from one somewhere in the life of the log.
    for at in [1, 3, 6, 10, 15, 20, 25, 30, 40, 50, 70, 100] {
        for errno in [rustix::io::Errno::NOSPC, rustix::io::Errno::IO] {
            let fault = format!("{at}+:errno={}", errno.raw_os_error());
            suffers_in_silence(|job| job.env("LOGROTOR_FAULT", &fault));
            suffers_in_silence(|job| job.env("LOGROTOR_FAULT", &fault).with("inline", 1));
        }
    }
}
