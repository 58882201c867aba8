//! What happens to backups: compressed, kept within limits, and whatever is interrupted is finished.

use crate::support::{Dir, Job, eventually, lines, next_worker};
use logrotor::{
    Builder, Clock, Compression, ErrorKind, Event, Maintenance, Naming, RotatingFileWriter,
};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant, SystemTime};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn noon() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_014_400)
}

/// Writes and rotates away one record per number, with `\n` 10 bytes long.
fn rotate_each(log: &RotatingFileWriter, numbers: std::ops::Range<u32>) {
    for number in numbers {
        writeln!(&mut &*log, "record {number:02}").unwrap();
        log.rotate().unwrap().unwrap();
    }
}

/// What the backups hold, oldest first.
fn history(dir: &Dir) -> Vec<String> {
    dir.backups().iter().flat_map(|name| dir.lines_of(name)).collect()
}

fn records(numbers: std::ops::Range<u32>) -> Vec<String> {
    numbers.map(|number| format!("record {number:02}")).collect()
}

/// Closes a log until nothing is left for later: a process that another test has just started may hold
/// a copy of a lease for a moment.
fn closed(builder: &Builder) {
    eventually("nothing is deferred", || {
        let log = builder.clone().build().unwrap();
        log.clone().close().unwrap();
        log.stats().deferrals == 0
    });
}

#[test]
fn newest_backups_are_kept_up_to_max_backups() {
    for naming in [Naming::Timestamp, Naming::Number] {
        let dir = Dir::new();
        let builder = dir.writer().naming(naming).max_backups(3);
        rotate_each(&builder.clone().build().unwrap(), 0..10);
        closed(&builder);
        assert_eq!(history(&dir), records(7..10), "{naming:?}");
    }
}

#[test]
fn max_backups_0_keeps_none() {
    for naming in [Naming::Timestamp, Naming::Number] {
        let dir = Dir::new();
        let builder = dir.writer().naming(naming).max_backups(0).compression(Compression::Gzip);
        rotate_each(&builder.clone().build().unwrap(), 0..3);
        closed(&builder);
        assert_eq!(dir.names(), ["app.log"], "{naming:?}");
    }
}

// Opening a log raised no signal, so that nothing was done before its first rotation.
#[test]
fn regression_limits_are_applied_at_start_without_a_rotation() {
    let dir = Dir::new();
    rotate_each(&dir.writer().build().unwrap(), 0..5);
    let log = dir.writer().max_backups(2).build().unwrap();
    eventually("the surplus is gone", || history(&dir) == records(3..5));
    assert_eq!((log.stats().pruned, log.stats().rotations), (3, 0));
}

#[test]
fn limits_are_applied_after_every_rotation() {
    let dir = Dir::new();
    let log = dir.writer().max_backups(2).build().unwrap();
    rotate_each(&log, 0..2);
    assert_eq!(history(&dir), records(0..2));
    rotate_each(&log, 2..3);
    eventually("the surplus is gone", || history(&dir) == records(1..3));
}

#[test]
fn total_size_counts_backups_and_what_the_active_segment_may_grow_to() {
    let dir = Dir::new();
    // 10 bytes for the active segment, so 35 for backups of 10.
    let builder = dir.writer().max_size(10).max_total_size(45);
    rotate_each(&builder.clone().build().unwrap(), 0..9);
    closed(&builder);
    assert_eq!(history(&dir), records(6..9));
}

#[test]
fn total_size_is_that_on_disk_so_compressed_backups_count_with_less() {
    let dir = Dir::new();
    let builder = dir.writer().max_size(10_000).max_total_size(10_000 + 10_000);
    let builder = builder.compression(Compression::Gzip);
    let mut log = builder.clone().build().unwrap();
    for _ in 0..10 {
        log.write_all(&[b'x'; 9_000]).unwrap();
        log.rotate().unwrap();
        eventually("it is compressed", || dir.backups().iter().all(|name| name.ends_with(".gz")));
    }
    drop(log);
    closed(&builder);
    assert_eq!(dir.backups().len(), 10);
}

/// A temporary of this log that a live worker holds, as `flock` sees it.
#[cfg(unix)]
fn live_temporary(dir: &Dir, bytes: usize) -> (PathBuf, File) {
    let path = dir.file(".app.log.2027-01-15T12-00-00.000000Z.gz.abcdefghijkl.tmp");
    std::fs::write(&path, vec![b'x'; bytes]).unwrap();
    let file = File::open(&path).unwrap();
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockShared).unwrap();
    (path, file)
}

#[cfg(unix)]
#[test]
fn temporary_in_use_is_left_alone_and_counts_to_the_total_size() {
    let dir = Dir::new();
    let builder = dir.writer().max_size(10).max_total_size(45);
    let (path, held) = live_temporary(&dir, 20);
    rotate_each(&builder.clone().build().unwrap(), 0..9);
    closed(&builder);
    assert!(path.exists());
    assert_eq!(history(&dir), records(8..9));
    drop(held);
    closed(&builder);
    assert!(!path.exists());
}

#[test]
fn temporary_that_was_left_behind_is_removed_and_a_strangers_is_not() {
    let dir = Dir::new();
    let left = [".app.log.abcdefghijkl.tmp", ".app.log.7.gz.abcdefghijkl.tmp"];
    let kept = [
        ".app.log.abcdefghijk.tmp",
        ".other.log.abcdefghijkl.tmp",
        ".app.log.old.abcdefghijkl.tmp",
    ];
    for name in left.iter().chain(&kept) {
        std::fs::write(dir.file(name), "half").unwrap();
    }
    closed(&dir.writer().naming(Naming::Number));
    assert!(left.iter().all(|name| !dir.file(name).exists()));
    assert!(kept.iter().all(|name| dir.file(name).exists()));
}

#[test]
fn backup_is_removed_at_its_age_while_nobody_writes() {
    let (dir, clock) = (Dir::new(), Clock::manual(noon()));
    let log = dir.writer().clock(clock.clone()).max_backup_age(DAY).build().unwrap();
    rotate_each(&log, 0..1);
    clock.set(noon() + DAY / 2);
    rotate_each(&log, 1..2);
    clock.set(noon() + DAY);
    eventually("the first is removed", || history(&dir) == records(1..2));
    clock.set(noon() + DAY + DAY / 2);
    eventually("the second is removed", || history(&dir).is_empty());
}

#[test]
fn age_of_a_numbered_backup_counts_from_its_last_record_also_when_packed() {
    let dir = Dir::new();
    let builder = dir.writer().naming(Naming::Number).compression(Compression::Gzip);
    rotate_each(&builder.clone().build().unwrap(), 0..2);
    closed(&builder);
    let old = File::options().write(true).open(dir.file("app.log.2.gz")).unwrap();
    old.set_modified(SystemTime::now() - 2 * DAY).unwrap();
    closed(&builder.max_backup_age(DAY));
    assert_eq!(dir.backups(), ["app.log.1.gz"]);
}

#[test]
fn backups_make_room_where_space_is_wanting_and_the_active_segment_never_does() {
    let dir = Dir::new();
    let builder = dir.writer().min_free_space(u64::MAX);
    let mut log = builder.clone().build().unwrap();
    rotate_each(&log, 0..4);
    log.write_all(b"active\n").unwrap();
    drop(log);
    closed(&builder);
    assert_eq!(dir.names(), ["app.log"]);
    assert_eq!(dir.active_lines(), ["active"]);
}

#[test]
fn enough_free_space_costs_no_backup() {
    let dir = Dir::new();
    let builder = dir.writer().min_free_space(1);
    rotate_each(&builder.clone().build().unwrap(), 0..4);
    closed(&builder);
    assert_eq!(history(&dir), records(0..4));
}

#[test]
fn strictest_of_several_limits_holds() {
    let kept = |limit: &dyn Fn(Builder) -> Builder| {
        let (dir, clock) = (Dir::new(), Clock::manual(noon()));
        // 9 backups, one a day; by itself each of these limits keeps 7.
        let log = dir.writer().clock(clock.clone()).build().unwrap();
        for number in 0..9 {
            clock.set(noon() + number * DAY);
            rotate_each(&log, number..number + 1);
        }
        drop(log);
        let builder = dir.writer().clock(clock).max_size(10).max_backups(7).max_total_size(80);
        closed(&limit(builder.max_backup_age(7 * DAY - DAY / 2).min_free_space(1)));
        history(&dir)
    };
    assert_eq!(kept(&|builder| builder), records(2..9));
    assert_eq!(kept(&|builder| builder.max_backups(4)), records(5..9));
    assert_eq!(kept(&|builder| builder.max_total_size(40)), records(6..9));
    assert_eq!(kept(&|builder| builder.max_backup_age(DAY + DAY / 2)), records(7..9));
    assert_eq!(kept(&|builder| builder.min_free_space(u64::MAX)), [""; 0]);
}

/// Compresses one backup, and returns its size before and after.
fn compress(builder: &Builder, dir: &Dir) -> (usize, u64) {
    let text: String = (0..3_000).map(|n| format!("{n} {}\n", n * n)).collect();
    let mut log = builder.clone().build().unwrap();
    log.write_all(text.as_bytes()).unwrap();
    log.rotate().unwrap();
    drop(log);
    closed(builder);
    let [name] = dir.backups().try_into().unwrap();
    assert_eq!(lines(text.as_bytes()), dir.lines_of(&name));
    (text.len(), std::fs::metadata(dir.file(&name)).unwrap().len())
}

#[test]
fn backup_is_compressed_with_gzip_as_hard_as_the_level_says() {
    let sizes = [1, 9].map(|level| {
        let dir = Dir::new();
        let builder = dir.writer().compression(Compression::Gzip).compression_level(level);
        let (before, after) = compress(&builder, &dir);
        assert!(dir.backups()[0].ends_with("Z.gz"));
        assert!(after < before as u64);
        after
    });
    assert!(sizes[1] < sizes[0], "{sizes:?}");
}

#[cfg(feature = "zstd")]
#[test]
fn backup_is_compressed_with_zstd_as_hard_as_the_level_says() {
    let sizes = [1, 19].map(|level| {
        let dir = Dir::new();
        let builder = dir.writer().compression(Compression::Zstd).compression_level(level);
        let (before, after) = compress(&builder, &dir);
        assert!(dir.backups()[0].ends_with("Z.zst"));
        assert!(after < before as u64);
        after
    });
    assert!(sizes[1] < sizes[0], "{sizes:?}");
}

#[test]
fn backup_that_was_left_plain_by_another_configuration_is_compressed_at_start() {
    let dir = Dir::new();
    rotate_each(&dir.writer().build().unwrap(), 0..3);
    let log = dir.writer().compression(Compression::Gzip).build().unwrap();
    eventually("all are compressed", || log.stats().compressions == 3);
    assert_eq!(history(&dir), records(0..3));
    assert!(dir.backups().iter().all(|name| name.ends_with(".gz")));
}

#[test]
fn compressed_backup_keeps_the_time_of_its_last_record() {
    let dir = Dir::new();
    std::fs::write(dir.log(), "old\n").unwrap();
    let time = noon() - 900 * DAY;
    File::options().write(true).open(dir.log()).unwrap().set_modified(time).unwrap();
    let builder = dir.writer().compression(Compression::Gzip);
    builder.clone().build().unwrap().rotate().unwrap();
    closed(&builder);
    let packed = std::fs::metadata(dir.file(&dir.backups()[0])).unwrap();
    assert_eq!(packed.modified().unwrap(), time);
}

#[test]
fn inline_maintenance_is_done_when_the_call_that_rotated_returns() {
    let dir = Dir::new();
    let job = Job::new("obey", &dir.log()).with("max_size", 20).with("max_backups", 2);
    let mut worker = job.with("gzip", 1).with("inline", 1).spawn();
    worker.expect("ready");
    for number in 0..5 {
        worker.write(&format!("record {number:02}, and so on"));
    }
    assert_eq!(worker.count("compressions"), 4);
    assert_eq!(worker.count("pruned"), 2);
    let backups = dir.backups();
    assert!(backups.len() == 2 && backups.iter().all(|name| name.ends_with(".gz")), "{backups:?}");
    worker.finish();
}

#[cfg(target_os = "linux")]
#[test]
fn inline_maintenance_has_no_thread_and_the_other_one() {
    let dir = Dir::new();
    let job = Job::new("obey", &dir.log());
    for (job, threads) in [(job.clone().with("inline", 1), 0), (job, 1)] {
        let mut worker = job.spawn();
        worker.expect("ready");
        // A thread gives itself its name once it runs.
        eventually("the threads are those", || worker.ask("threads") == threads.to_string());
        worker.finish();
    }
}

// Later calls looked for new backups alone, and never again at what was left for later.
#[test]
fn regression_inline_maintenance_takes_up_again_what_was_deferred() {
    let dir = Dir::new();
    let mut late =
        Job::new("obey", &dir.log()).with("inline", 1).with("check_ms", 3_600_000).spawn();
    late.expect("ready");
    let builder = dir.writer().compression(Compression::Gzip).maintenance(Maintenance::Inline);
    let mut log = builder.check_interval(Duration::ZERO).build().unwrap();
    log.write_all(b"one\n").unwrap();
    log.rotate().unwrap();
    assert_eq!((log.stats().compressions, log.stats().deferrals), (0, 1));
    late.finish();
    eventually("a later call does it", || {
        log.write_all(b"two\n").unwrap();
        log.stats().compressions == 1
    });
}

#[test]
fn close_finishes_what_is_due_also_while_other_handles_stay_open() {
    let dir = Dir::new();
    let job = Job::new("obey", &dir.log()).with("gzip", 1).with("max_backups", 2);
    let mut worker = job.spawn();
    worker.expect("ready");
    for number in 0..4 {
        worker.write(&format!("record {number:02}"));
        assert_eq!(worker.ask("rotate"), "ok");
    }
    assert_eq!(worker.ask("close"), "ok");
    let backups = dir.backups();
    assert!(backups.len() == 2 && backups.iter().all(|name| name.ends_with(".gz")), "{backups:?}");
    worker.write("still open");
    assert_eq!(dir.active_lines(), ["still open"]);
    worker.finish();
}

#[test]
fn close_returns_what_failed_and_does_the_rest() {
    let dir = Dir::new();
    let clock = Clock::manual(noon());
    let log = dir.writer().clock(clock.clone()).build().unwrap();
    rotate_each(&log, 0..2);
    drop(log);
    let names = dir.backups();
    // Nothing can be put in the place of a directory.
    let packed = format!("{}.gz", names[0]);
    std::fs::create_dir(dir.file(&packed)).unwrap();
    let builder = dir.writer().clock(clock).compression(Compression::Gzip);
    eventually("the other one is compressed", || {
        let log = builder.clone().build().unwrap();
        let error = log.clone().close().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotAFile);
        assert!(error.to_string().contains(&packed), "{error}");
        assert!(log.stats().failures(ErrorKind::NotAFile) >= 1);
        dir.file(&format!("{}.gz", names[1])).exists()
    });
    assert_eq!(dir.lines_of(&names[0]), ["record 00"]);
    assert_eq!(dir.names().iter().filter(|name| name.ends_with(".tmp")).count(), 0);
}

// Each backup's failure was told, in every pass: on a full disk, thousands of events a minute.
#[test]
fn regression_failures_of_many_backups_are_all_counted_and_told_once_per_pass() {
    let dir = Dir::new();
    rotate_each(&dir.writer().build().unwrap(), 0..5);
    for name in dir.backups() {
        std::fs::create_dir(dir.file(&format!("{name}.gz"))).unwrap();
    }
    let told = Arc::new(AtomicU64::new(0));
    let tell = Arc::clone(&told);
    let observer = move |event: &Event| {
        assert!(matches!(event, Event::Failed { .. }), "{event:?}");
        tell.fetch_add(1, SeqCst);
    };
    let log = dir.writer().compression(Compression::Gzip).observer(observer).build().unwrap();
    eventually("two passes have failed, and each was told once", || {
        let failures = log.stats().failures(ErrorKind::NotAFile);
        failures >= 10 && told.load(SeqCst) == failures / 5
    });
    assert!(told.load(SeqCst) < 20, "the delay grows");
}

/// As many bytes as no machine compresses while a test runs. They take no room on the disk.
const ENDLESS: u64 = 1 << 40;

/// A log whose only backup is endless.
fn endless_backup(dir: &Dir) -> PathBuf {
    std::fs::File::create(dir.log()).unwrap().set_len(ENDLESS).unwrap();
    let backup = dir.writer().max_size(u64::MAX).build().unwrap().rotate().unwrap().unwrap();
    assert_eq!(dir.read("app.log"), b"");
    backup
}

/// Whether a worker is compressing something: it has written to its temporary.
fn is_compressing(dir: &Dir) -> bool {
    let has_content =
        |name: &String| std::fs::metadata(dir.file(name)).is_ok_and(|file| file.len() > 0);
    dir.names().iter().any(|name| name.ends_with(".tmp") && has_content(name))
}

/// Cuts the endless backup short, and checks that the next worker compresses what is left.
fn next_worker_finishes(dir: &Dir, backup: &Path) {
    File::options().write(true).open(backup).unwrap().set_len(5).unwrap();
    next_worker(&Job::new("obey", &dir.log()).with("gzip", 1), "after");
    assert!(!backup.exists());
    let backups = dir.backups();
    assert!(backups.len() == 2 && backups.iter().all(|name| name.ends_with(".gz")), "{backups:?}");
    assert_eq!(dir.read(&backups[0]), [0; 5]);
    assert_eq!(dir.names(), [&["app.log".to_owned()], &backups[..]].concat());
}

#[test]
fn dropping_the_last_handle_does_not_wait_for_a_long_compression() {
    let dir = Dir::new();
    let backup = endless_backup(&dir);
    let log = dir.writer().compression(Compression::Gzip).build().unwrap();
    eventually("it is being compressed", || is_compressing(&dir));
    let began = Instant::now();
    drop(log);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert_eq!(dir.backups().len(), 1);
    assert!(backup.exists() && dir.names().len() == 2, "{:?}", dir.names());
    next_worker_finishes(&dir, &backup);
}

#[test]
fn log_calls_do_not_wait_for_a_long_compression() {
    let dir = Dir::new();
    endless_backup(&dir);
    let mut log = dir.writer().compression(Compression::Gzip).build().unwrap();
    eventually("it is being compressed", || is_compressing(&dir));
    // Rotations too; they make work for the thread, but do not wait for it.
    for _ in 0..100 {
        log.write_all(b"record\n").unwrap();
        log.rotate().unwrap().unwrap();
    }
    assert!(is_compressing(&dir), "it was over too soon to prove anything");
    assert_eq!(log.stats().compressions, 0);
}

#[test]
fn compression_that_was_killed_is_cleared_up_and_done_again_by_the_next_worker() {
    let dir = Dir::new();
    let backup = endless_backup(&dir);
    let mut worker = Job::new("obey", &dir.log()).with("gzip", 1).spawn();
    worker.expect("ready");
    eventually("it is being compressed", || is_compressing(&dir));
    worker.kill();
    assert!(is_compressing(&dir), "a killed worker leaves its temporary");
    assert!(!dir.names().iter().any(|name| name.ends_with(".gz")), "no part under the final name");
    next_worker_finishes(&dir, &backup);
}

#[test]
fn plain_backup_beside_its_finished_packed_form_is_removed_and_its_records_counted_once() {
    for naming in [Naming::Timestamp, Naming::Number] {
        let dir = Dir::new();
        let builder = dir.writer().naming(naming).compression(Compression::Gzip);
        rotate_each(&builder.clone().build().unwrap(), 0..2);
        closed(&builder);
        // As after a kill between the last two steps: the packed form has its name, the plain one still.
        let packed = dir.backups()[0].clone();
        let plain = packed.strip_suffix(".gz").unwrap();
        std::fs::write(dir.file(plain), dir.read(&packed)).unwrap();
        let log = dir.writer().naming(naming).build().unwrap();
        let segments = log.segments().unwrap();
        assert_eq!(segments.len(), 3, "{naming:?}: {segments:?}");
        drop(log);
        closed(&builder);
        assert!(!dir.file(plain).exists(), "{naming:?}");
        assert_eq!(history(&dir), records(0..2), "{naming:?}");
    }
}

#[test]
fn two_workers_that_compress_at_the_same_time_do_it_once() {
    let dir = Dir::new();
    rotate_each(&dir.writer().build().unwrap(), 0..40);
    let job = Job::new("obey", &dir.log()).with("gzip", 1);
    let mut workers = [job.spawn(), job.spawn()];
    workers.iter_mut().for_each(|worker| worker.expect("ready"));
    workers.iter_mut().for_each(|worker| worker.tell("close"));
    workers.iter_mut().for_each(|worker| worker.expect("ok"));
    eventually("all are compressed", || dir.backups().iter().all(|name| name.ends_with(".gz")));
    let done: u64 = workers.iter_mut().map(|worker| worker.count("compressions")).sum();
    assert_eq!(done, 40);
    assert_eq!(history(&dir), records(0..40));
}

#[test]
fn empty_backup_of_a_foreign_hand_is_compressed_like_any() {
    let dir = Dir::new();
    std::fs::write(dir.file("app.log.2027-01-15T12-00-00.000000Z"), "").unwrap();
    closed(&dir.writer().compression(Compression::Gzip));
    assert_eq!(dir.backups(), ["app.log.2027-01-15T12-00-00.000000Z.gz"]);
    assert_eq!(history(&dir), [""; 0]);
}
