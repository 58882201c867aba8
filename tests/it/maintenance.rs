//! Maintenance of backups: compression, limits, and recovery after a crash.

use crate::support::{Dir, Job, Worker, eventually, lines, record, seed};
use logrotor::__test::Clock;
use logrotor::atomic::AtomicFile;
use logrotor::{
    Compression, ErrorKind, FileLock, LogBuilder, MaintenanceMode, Naming, RotatingFileWriter,
    Stats, Wait,
};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, SystemTime};

const LONG: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A log that does its work within the calls of a test, and never looks at the path beyond its
/// handle.
fn inline(dir: &Dir) -> LogBuilder {
    dir.writer().check_interval(LONG).maintenance(MaintenanceMode::Inline)
}

fn rotate(mut log: &RotatingFileWriter, text: &str) {
    log.write_all(text.as_bytes()).unwrap();
    log.rotate().unwrap().expect("a record was written just now");
}

/// The name of the backup of a day in January 2020.
fn of_day(day: u32) -> String {
    format!("app.log.2020-01-{day:02}T00-00-00.000000Z")
}

/// Creates backups of this size, of the first days of January 2020, last changed a minute ago;
/// returns their names.
fn plant(dir: &Dir, days: u32, bytes: usize) -> Vec<String> {
    let names: Vec<_> = (1..=days).map(of_day).collect();
    for name in &names {
        let mut file = std::fs::File::create(dir.file(name)).unwrap();
        file.write_all(&vec![b'x'; bytes]).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap();
    }
    names
}

fn midnight_of_day(day: u32) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_577_836_800) + (day - 1) * DAY
}

/// Bytes that take long to compress and hardly shrink.
fn noise(len: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed());
    (0..len / 8).flat_map(|_| (random.u64(..) & 0x7f7f_3f3f_7f3f_7f7f).to_le_bytes()).collect()
}

fn size(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().len()
}

/// Text that compresses well or less well, depending on the level.
fn text() -> String {
    (0..400).map(|seq| record(seq % 7, seq)).collect()
}

/// Compresses one backup and checks its content; returns its name.
fn compressed(dir: &Dir, compression: Compression, level: Option<u32>) -> String {
    let builder = inline(dir).compression(compression);
    let builder = match level {
        Some(level) => builder.compression_level(level),
        None => builder,
    };
    let log = builder.build().unwrap();
    rotate(&log, &text());
    // A child of another test may hold a copy of the backup's lease for a moment.
    eventually("the backup is compressed", || {
        log.finish().unwrap();
        !dir.backups()[0].ends_with('Z')
    });
    let name = dir.backups().pop().unwrap();
    assert_eq!(lines(&dir.read(&name)), lines(text().as_bytes()), "{name}");
    name
}

/// The sizes of a compressed backup, one for each level.
fn compressed_sizes(compression: Compression, levels: [Option<u32>; 3]) -> [u64; 3] {
    levels.map(|level| {
        let dir = Dir::new();
        size(&dir.file(&compressed(&dir, compression, level)))
    })
}

#[test]
fn gzip_backup_has_the_same_content_and_the_suffix_gz() {
    let dir = Dir::new();
    let name = compressed(&dir, Compression::Gzip, None);
    assert!(name.ends_with("Z.gz"), "{name}");
    assert_eq!(dir.names(), ["app.log".to_owned(), name]);
}

#[test]
fn gzip_tries_as_hard_as_its_level_says() {
    let [low, default, high] = compressed_sizes(Compression::Gzip, [Some(1), None, Some(9)]);
    assert!(low > default && low > high, "{low} {default} {high}");
    let [six, one, _] = compressed_sizes(Compression::Gzip, [Some(6), Some(1), None]);
    assert_eq!((six, one), (default, low));
}

#[cfg(feature = "zstd")]
#[test]
fn zstd_backup_has_the_same_content_and_the_suffix_zst() {
    let dir = Dir::new();
    let name = compressed(&dir, Compression::Zstd, None);
    assert!(name.ends_with("Z.zst"), "{name}");
    assert_eq!(dir.names(), ["app.log".to_owned(), name]);
}

#[cfg(feature = "zstd")]
#[test]
fn zstd_tries_as_hard_as_its_level_says() {
    let [low, default, high] = compressed_sizes(Compression::Zstd, [Some(1), None, Some(19)]);
    assert!(low > high && default >= high, "{low} {default} {high}");
}

#[test]
fn compressed_backups_stay_as_they_are() {
    let dir = Dir::new();
    let name = compressed(&dir, Compression::Gzip, None);
    let before = std::fs::read(dir.file(&name)).unwrap();
    let log = inline(&dir).compression(Compression::Gzip).build().unwrap();
    log.finish().unwrap();
    assert_eq!((std::fs::read(dir.file(&name)).unwrap(), log.stats().compressions), (before, 0));
}

#[test]
fn compressed_backup_keeps_the_time() {
    let dir = Dir::new();
    let name = &plant(&dir, 1, 1000)[0];
    let plain = std::fs::File::options().write(true).open(dir.file(name)).unwrap();
    plain.set_modified(midnight_of_day(1)).unwrap();
    drop(plain);
    inline(&dir).compression(Compression::Gzip).build().unwrap();
    let compressed = std::fs::metadata(dir.file(&format!("{name}.gz"))).unwrap();
    assert_eq!(compressed.modified().unwrap(), midnight_of_day(1));
}

#[cfg(unix)]
#[test]
fn compressed_backup_keeps_mode_and_owner() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
    let dir = Dir::new();
    let name = &plant(&dir, 1, 1000)[0];
    std::fs::set_permissions(dir.file(name), std::fs::Permissions::from_mode(0o640)).unwrap();
    // As far as this process may.
    if chown(dir.file(name), Some(12_345), Some(54_321)).is_err() {
        println!("only the mode is checked: this process may give no file away");
    }
    let access = |name: &str| {
        let meta = std::fs::metadata(dir.file(name)).unwrap();
        (meta.mode() & 0o7777, meta.uid(), meta.gid())
    };
    let plain = access(name);
    inline(&dir).compression(Compression::Gzip).build().unwrap();
    assert_eq!(plain.0, 0o640);
    assert_eq!(access(&format!("{name}.gz")), plain);
}

/// Opens a log in a directory with backups of ten days of 100 bytes each, and rotates it five
/// times. Returns the number of backups at first and after each rotation.
fn kept(limit: impl Fn(LogBuilder) -> LogBuilder) -> Vec<usize> {
    // A child that another test starts has a copy of every lease until its `exec`, and so may defer
    // the removal of a backup. Such a run is repeated.
    let kept = (0..100).find_map(|_| kept_unless_deferred(&limit));
    kept.expect("a run in which no backup is deferred")
}

fn kept_unless_deferred(limit: impl Fn(LogBuilder) -> LogBuilder) -> Option<Vec<usize>> {
    let dir = Dir::new();
    plant(&dir, 10, 100);
    let log = limit(inline(&dir).max_size(100)).build().unwrap();
    let mut kept = vec![dir.backups().len()];
    for round in 0..5 {
        rotate(&log, &format!("{round:099}\n"));
        kept.push(dir.backups().len());
    }
    if log.stats().deferrals > 0 {
        return None;
    }
    // The newest ones are kept.
    let last = dir.backups().pop().map(|name| dir.lines_of(&name)[0].clone());
    assert_eq!(last, (kept[5] > 0).then(|| format!("{:099}", 4)));
    assert_eq!(log.segments().unwrap().pop().unwrap().path, log.path());
    Some(kept)
}

#[test]
fn all_backups_are_kept_without_a_limit() {
    assert_eq!(kept(|log| log), [10, 11, 12, 13, 14, 15]);
}

#[test]
fn max_backups_holds_at_the_start_and_after_every_rotation() {
    assert_eq!(kept(|log| log.max_backups(3)), [3; 6]);
}

#[test]
fn max_backups_of_zero_keeps_none() {
    assert_eq!(kept(|log| log.max_backups(0)), [0; 6]);
}

#[test]
fn max_total_size_counts_the_active_segment_at_its_maximum() {
    assert_eq!(kept(|log| log.max_total_size(499)), [3; 6]);
    assert_eq!(kept(|log| log.max_total_size(500)), [4; 6]);
    assert_eq!(kept(|log| log.max_total_size(100)), [0; 6]);
}

#[test]
fn max_backup_age_holds_at_the_start_and_after_every_rotation() {
    let clock = Clock::manual(midnight_of_day(11));
    // The backups of days 9 and 10.
    let limit = |log: LogBuilder| log.clock(clock.clone()).max_backup_age(3 * DAY - DAY / 2);
    assert_eq!(kept(limit), [2, 3, 4, 5, 6, 7]);
}

#[test]
fn unreachable_min_free_space_removes_backups_only() {
    assert_eq!(kept(|log| log.min_free_space(u64::MAX)), [0; 6]);
}

#[test]
fn sufficient_free_space_removes_no_backup() {
    assert_eq!(kept(|log| log.min_free_space(1)), [10, 11, 12, 13, 14, 15]);
}

#[test]
fn limits_hold_together_whichever_is_stricter() {
    let age =
        |log: LogBuilder| log.clock(Clock::manual(midnight_of_day(11))).max_backup_age(5 * DAY);
    assert_eq!(kept(|log| age(log).max_backups(6).max_total_size(700))[0], 4);
    assert_eq!(kept(|log| age(log).max_backups(3).max_total_size(700))[0], 3);
    assert_eq!(kept(|log| age(log).max_backups(6).max_total_size(300))[0], 2);
    assert_eq!(kept(|log| age(log).max_backups(6).min_free_space(u64::MAX))[0], 0);
}

#[test]
fn oldest_backups_go_first() {
    for limit in [|log: LogBuilder| log.max_backups(2), |log: LogBuilder| log.max_total_size(300)] {
        let dir = Dir::new();
        let names = plant(&dir, 5, 100);
        limit(inline(&dir).max_size(100)).build().unwrap();
        assert_eq!(dir.backups(), names[3..]);
    }
}

#[test]
fn oldest_numbers_go_first() {
    let dir = Dir::new();
    for number in 1..=12 {
        std::fs::write(dir.file(&format!("app.log.{number}")), "x\n").unwrap();
    }
    let log = inline(&dir).naming(Naming::Number).max_backups(2).build().unwrap();
    assert_eq!(dir.backups(), ["app.log.2", "app.log.1"]);
    rotate(&log, "newest\n");
    assert_eq!(dir.backups(), ["app.log.2", "app.log.1"]);
    assert_eq!(dir.lines_of("app.log.1"), ["newest"]);
}

#[test]
fn backup_is_too_old_at_exactly_its_age() {
    let dir = Dir::new();
    let names = plant(&dir, 3, 100);
    let clock = Clock::manual(midnight_of_day(4) - Duration::from_micros(1));
    let open = || inline(&dir).clock(clock.clone()).max_backup_age(2 * DAY).build().unwrap();
    open();
    assert_eq!(dir.backups(), names[1..]);
    clock.set(midnight_of_day(4));
    open();
    assert_eq!(dir.backups(), names[2..]);
}

#[test]
fn idle_log_removes_a_backup_that_becomes_too_old() {
    let dir = Dir::new();
    let names = plant(&dir, 3, 100);
    let clock = Clock::manual(midnight_of_day(3));
    let builder = dir.writer().clock(clock.clone()).max_backup_age(3 * DAY);
    let log = builder.build().unwrap();
    clock.set(midnight_of_day(5));
    eventually("the old ones are gone", || dir.backups() == names[2..]);
    assert_eq!(log.stats().rotations, 0);
}

#[test]
fn strays_are_never_removed() {
    let dir = Dir::new();
    let strangers = ["app.log.bak.gz", "app.log.old", "app.error.log.1", "app.log.1.txt"];
    strangers.iter().for_each(|name| std::fs::write(dir.file(name), "x\n").unwrap());
    let builder = inline(&dir).compression(Compression::Gzip).max_backups(0);
    let log = builder.max_total_size(1 << 30).min_free_space(u64::MAX).build().unwrap();
    rotate(&log, "x\n");
    let mut names: Vec<_> = strangers.into_iter().chain(["app.log"]).collect();
    names.sort_unstable();
    assert_eq!(dir.names(), names);
}

#[test]
fn temporary_that_is_being_written_counts_in_the_total_size() {
    let dir = Dir::new();
    let names = plant(&dir, 4, 100);
    let mut live = AtomicFile::create(dir.file(&format!("{}.gz", of_day(9)))).unwrap();
    live.write_all(&[b'x'; 150]).unwrap();
    inline(&dir).max_size(100).max_total_size(450).build().unwrap();
    assert_eq!(dir.backups(), names[2..]);
}

/// The names of temporaries of a log's files, or names that resemble them.
const TEMPORARIES: [&str; 3] = [
    ".app.log.abcdefGHIJ12.tmp",
    ".app.log.2020-01-01T00-00-00.000000Z.gz.abcdefGHIJ12.tmp",
    ".app.log.2020-01-01T00-00-00.000000Z.zst.abcdefGHIJ12.tmp",
];

#[test]
fn temporaries_of_dead_workers_are_removed() {
    let dir = Dir::new();
    let numbered = ".app.log.7.gz.abcdefGHIJ12.tmp";
    for name in TEMPORARIES.into_iter().chain([numbered]) {
        std::fs::write(dir.file(name), "half").unwrap();
    }
    inline(&dir).build().unwrap();
    // Temporaries of the other naming are strays, as its backups are.
    assert_eq!(dir.names(), [numbered, "app.log"]);
    inline(&dir).naming(Naming::Number).build().unwrap();
    assert_eq!(dir.names(), ["app.log"]);
}

#[test]
fn temporaries_of_others_are_not_touched() {
    let dir = Dir::new();
    let others = [
        ".app.error.log.abcdefGHIJ12.tmp",
        ".app.log.abcdefGHIJ1.tmp",
        ".app.log.old.abcdefGHIJ12.tmp",
        ".app.log.tmp",
        "app.log.abcdefGHIJ12.tmp",
    ];
    others.iter().for_each(|name| std::fs::write(dir.file(name), "half").unwrap());
    let log = inline(&dir).build().unwrap();
    rotate(&log, "x\n");
    let names = dir.names();
    assert!(others.iter().all(|name| names.iter().any(|there| there == name)), "{names:?}");
}

#[test]
fn temporary_in_use_is_kept() {
    let dir = Dir::new();
    let mut live = AtomicFile::create(dir.file("app.log.2020-01-01T00-00-00.000000Z.gz")).unwrap();
    live.write_all(b"half").unwrap();
    let names = dir.names();
    let log = inline(&dir).build().unwrap();
    rotate(&log, "x\n");
    assert!(names.iter().all(|name| dir.names().contains(name)), "{names:?}");
    drop(live);
}

#[test]
fn uncompressed_backup_is_removed_once_superseded() {
    let dir = Dir::new();
    plant(&dir, 1, 100);
    let compressed = format!("{}.gz", of_day(1));
    plant_compressed(&dir, &of_day(1), b"whole\n");
    let log = inline(&dir).build().unwrap();
    assert_eq!(dir.backups(), [compressed.as_str()]);
    assert_eq!(dir.lines_of(&compressed), ["whole"]);
    assert_eq!(log.stats().pruned, 0);
}

#[test]
fn superseded_backup_counts_once() {
    let dir = Dir::new();
    let names = plant(&dir, 3, 100);
    plant_compressed(&dir, &names[1], b"whole\n");
    inline(&dir).max_backups(3).build().unwrap();
    assert_eq!(
        dir.backups(),
        [&names[0], &format!("{}.gz", names[1]), &names[2]].map(String::clone)
    );
}

// A backup that another worker was compressing counted twice, and the oldest one was removed.
#[test]
fn regression_backup_under_compression_counts_once() {
    let listings = |dir: &Dir| {
        plant(dir, 4, 100);
        let job = Job::new("obey", &dir.log()).with("inline", 1).with("max_backups", 3);
        job.env("LOGROTOR_FAULT_COUNT", dir.file("trace").display())
    };
    let dry = Dir::new();
    start(&listings(&dry)).finish();
    let trace = std::fs::read_to_string(dry.file("trace")).unwrap();
    // One listing finds too many backups; the next two belong to their removal.
    let third = trace.lines().filter(|line| line.ends_with(" list")).nth(2).unwrap();
    let third = third.split(' ').next().unwrap();
    let (dir, gates) = (Dir::new(), Dir::new());
    let plan = format!("{third}:pause={}", gates.file("gate").display());
    let mut worker = listings(&dir).env("LOGROTOR_FAULT", plan).spawn();
    eventually("the listing is reached", || gates.file("gate.reached").exists());
    plant_compressed(&dir, &of_day(4), b"whole\n");
    std::fs::write(gates.file("gate"), "").unwrap();
    worker.expect("ready");
    assert_eq!(dir.backups()[..2], [of_day(2), of_day(3)]);
    worker.finish();
}

/// Creates the compressed form of a backup as a worker does that is then killed: with the time of
/// the uncompressed one.
fn plant_compressed(dir: &Dir, name: &str, content: &[u8]) {
    let file = std::fs::File::create(dir.file(&format!("{name}.gz"))).unwrap();
    let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    let modified = std::fs::metadata(dir.file(name)).unwrap().modified().unwrap();
    encoder.finish().unwrap().set_modified(modified).unwrap();
}

// While `gzip app.log.1` ran by hand, a worker removed the uncompressed backup as superseded. When
// gzip then failed for lack of space, it removed its own output as well.
#[test]
fn regression_backup_that_gzip_is_compressing_stays() {
    let dir = Dir::new();
    let name = &plant(&dir, 1, 100)[0];
    let plain = std::fs::File::options().write(true).open(dir.file(name)).unwrap();
    plain.set_modified(midnight_of_day(1)).unwrap();
    drop(plain);
    std::fs::write(dir.file(&format!("{name}.gz")), "partial").unwrap();
    let log = inline(&dir).compression(Compression::Gzip).build().unwrap();
    assert_eq!(dir.names(), ["app.log", name, &format!("{name}.gz")]);
    assert_eq!((log.stats().all_failures(), log.stats().deferrals), (0, 1));
    std::fs::remove_file(dir.file(&format!("{name}.gz"))).unwrap();
    log.close().unwrap();
    assert_eq!(dir.read(&format!("{name}.gz")), [b'x'; 100]);
}

#[test]
fn inline_work_is_done_when_the_call_returns() {
    let dir = Dir::new();
    // A process of its own: a child that another test starts from this one has its files open for a
    // moment.
    let job = Job::new("obey", &dir.log()).with("inline", 1).with("gzip", 1).with("max_size", 30);
    let mut worker = start(&job.with("max_backups", 2));
    for seq in 0..10 {
        worker.write(&format!("record number {seq:010}"));
        let backups = dir.backups();
        assert!(
            backups.len() <= 2 && backups.iter().all(|name| name.ends_with(".gz")),
            "{backups:?}"
        );
    }
    assert_eq!((worker.count("compressions"), worker.count("pruned")), (9, 7));
}

/// Waits until the threads of a worker that compresses a backup have just these names. The first
/// one uses the log; a new thread has its parent's name at first.
#[cfg(target_os = "linux")]
fn until_threads_are(expected: &[&str], job: impl Fn(Job) -> Job) {
    let dir = Dir::new();
    let mut worker = start(&job(Job::new("obey", &dir.log()).with("gzip", 1)));
    worker.write("x");
    assert_eq!(worker.ask("rotate"), "ok");
    let tasks = Path::new("/proc").join(worker.pid().to_string()).join("task");
    let main = worker.pid().to_string();
    eventually("the threads are those", || {
        let ids = std::fs::read_dir(&tasks).unwrap().map(|task| task.unwrap().file_name());
        let ids = ids.filter(|id| *id != *main);
        let names = ids.map(|id| std::fs::read_to_string(tasks.join(id).join("comm")).unwrap());
        let mut names: Vec<_> = names.map(|name| name.trim_end().to_owned()).collect();
        names.sort_unstable_by(|a, b| b.cmp(a));
        names == expected
    });
}

#[cfg(target_os = "linux")]
#[test]
fn inline_log_has_no_thread_and_other_logs_have_one() {
    until_threads_are(&["support::child"], |job| job.with("inline", 1));
    until_threads_are(&["support::child", "logrotor-maint"], |job| job);
}

#[test]
fn log_calls_do_not_wait_for_compression() {
    let dir = Dir::new();
    let mut log = dir.writer().compression(Compression::Gzip).compression_level(9).build().unwrap();
    rotate(&log, &String::from_utf8(noise(4 << 20)).unwrap());
    writeln!(log, "next").unwrap();
    rotate(&log, "after next\n");
    assert_eq!(log.stats().compressions, 0);
    assert_eq!(dir.backups().len(), 2);
}

/// A directory with a backup that takes seconds to compress.
fn with_large_backup() -> (Dir, String, Vec<u8>) {
    let (dir, content) = (Dir::new(), noise(4 << 20));
    std::fs::write(dir.file(&of_day(1)), &content).unwrap();
    (dir, of_day(1), content)
}

fn temporaries(dir: &Dir) -> Vec<String> {
    dir.names().into_iter().filter(|name| name.ends_with(".tmp")).collect()
}

/// Waits until a backup is being compressed, and is not finished.
fn until_compressing(dir: &Dir) {
    eventually("the backup is being compressed", || {
        temporaries(dir).first().is_some_and(|name| {
            std::fs::metadata(dir.file(name)).is_ok_and(|temporary| temporary.len() > 0)
        })
    });
}

/// Checks that a new worker finishes the compression that another one started.
fn assert_finished_by_the_next(dir: &Dir, name: &str, content: &[u8]) {
    let log = dir.writer().compression(Compression::Gzip).compression_level(1).build().unwrap();
    log.close().unwrap();
    let compressed = format!("{name}.gz");
    assert_eq!(dir.names(), ["app.log", &compressed]);
    assert!(dir.read(&compressed) == content, "the backup holds something else");
}

#[test]
fn next_worker_finishes_the_compression_that_a_drop_aborted() {
    let (dir, name, content) = with_large_backup();
    let log = dir.writer().compression(Compression::Gzip).compression_level(9).build().unwrap();
    until_compressing(&dir);
    drop(log);
    // Neither finished nor left half done.
    assert_eq!(dir.names(), ["app.log", &name]);
    assert!(std::fs::read(dir.file(&name)).unwrap() == content);
    assert_finished_by_the_next(&dir, &name, &content);
}

#[test]
fn next_worker_finishes_the_compression_of_a_killed_one() {
    let (dir, name, content) = with_large_backup();
    let mut worker = start(&Job::new("obey", &dir.log()).with("gzip", 1));
    until_compressing(&dir);
    worker.kill();
    assert_eq!(temporaries(&dir).len(), 1);
    assert_finished_by_the_next(&dir, &name, &content);
}

fn start(job: &Job) -> Worker {
    let mut worker = job.spawn();
    worker.expect("ready");
    worker
}

#[test]
fn close_finishes_the_work_that_is_due() {
    let (dir, name, content) = with_large_backup();
    let log = dir.writer().compression(Compression::Gzip).compression_level(1).build().unwrap();
    rotate(&log, "x\n");
    log.close().unwrap();
    assert!(dir.backups().iter().all(|name| name.ends_with(".gz")), "{:?}", dir.names());
    assert!(dir.read(&format!("{name}.gz")) == content);
}

#[test]
fn close_returns_the_failure_of_maintenance() {
    let dir = Dir::new();
    let name = &plant(&dir, 2, 100)[0];
    let compressed = format!("{name}.gz");
    std::fs::create_dir(dir.file(&compressed)).unwrap();
    let log = inline(&dir).compression(Compression::Gzip).build().unwrap();
    let error = log.finish().unwrap_err();
    assert_eq!(
        (error.kind(), error.path().unwrap()),
        (ErrorKind::NotAFile, &*log.path().with_file_name(&compressed))
    );
    // The work that does not depend on it was done.
    assert_eq!(dir.names(), ["app.log", name, &compressed, &format!("{}.gz", of_day(2))]);
    assert_eq!(std::fs::read(dir.file(name)).unwrap(), [b'x'; 100]);
    std::fs::remove_dir(dir.file(&compressed)).unwrap();
    log.close().unwrap();
    assert_eq!(dir.read(&compressed), [b'x'; 100]);
}

#[test]
fn leased_backup_is_compressed_once_its_worker_moves_on() {
    let dir = Dir::new();
    let mut other = inline(&dir).build().unwrap();
    let log = dir.writer().compression(Compression::Gzip).build().unwrap();
    rotate(&log, "first\n");
    eventually("it is deferred", || log.stats().deferrals > 0);
    writeln!(other, "from a worker that knows of no rotation").unwrap();
    assert_eq!(log.stats().compressions, 0);
    other.reopen().unwrap();
    eventually("it is compressed", || log.stats().compressions == 1);
    let backup = &dir.backups()[0];
    assert_eq!(dir.lines_of(backup), ["first", "from a worker that knows of no rotation"]);
}

#[test]
fn leased_backup_is_compressed_once_its_worker_is_killed() {
    let dir = Dir::new();
    let idle = Job::new("obey", &dir.log()).with("inline", 1).with("check_ms", 3_600_000);
    let mut other = start(&idle);
    other.write("first");
    let log = dir.writer().compression(Compression::Gzip).build().unwrap();
    log.rotate().unwrap();
    eventually("it is deferred", || log.stats().deferrals > 0);
    assert_eq!(log.stats().compressions, 0);
    other.kill();
    eventually("it is compressed", || log.stats().compressions == 1);
    assert_eq!(dir.lines_of(&dir.backups()[0]), ["first"]);
}

#[test]
fn leased_backup_is_removed_once_its_worker_moves_on() {
    let dir = Dir::new();
    let other = inline(&dir).build().unwrap();
    let log = inline(&dir).max_backups(0).build().unwrap();
    rotate(&log, "first\n");
    assert_eq!((dir.backups().len(), log.stats().pruned), (1, 0));
    other.reopen().unwrap();
    log.close().unwrap();
    // A child that another test starts has a copy of every lease until its `exec`.
    eventually("it is removed", || {
        inline(&dir).max_backups(0).build().unwrap().close().unwrap();
        dir.names() == ["app.log"]
    });
}

// Inline, a deferred backup was tried again with the next rotation only.
#[test]
fn regression_inline_log_retries_deferred_backups() {
    let (dir, start) = (Dir::new(), SystemTime::now());
    let clock = Clock::manual(start);
    let other = inline(&dir).build().unwrap();
    let builder = inline(&dir).clock(clock.clone()).compression(Compression::Gzip);
    let mut log = builder.build().unwrap();
    rotate(&log, "first\n");
    other.reopen().unwrap();
    writeln!(log, "before the interval is over").unwrap();
    assert_eq!((log.stats().deferrals, log.stats().compressions), (1, 0));
    clock.set(start + LONG);
    writeln!(log, "after").unwrap();
    assert_eq!((log.stats().deferrals, log.stats().compressions), (1, 1));
}

// A log maintained its backups at the first rotation only. A program that writes little left the
// work of a crashed worker undone, and kept more than its limits, as long as it ran.
#[test]
fn regression_opening_a_log_maintains_its_backups() {
    for maintenance in [MaintenanceMode::Inline, MaintenanceMode::Thread] {
        let dir = Dir::new();
        plant(&dir, 3, 100);
        let builder = dir.writer().maintenance(maintenance).compression(Compression::Gzip);
        let log = builder.max_backups(2).build().unwrap();
        let is_done = |stats: Stats| (stats.pruned, stats.compressions) == (1, 2);
        match maintenance {
            MaintenanceMode::Inline => assert!(is_done(log.stats())),
            _ => eventually("the work is done", || is_done(log.stats())),
        }
    }
}

#[test]
fn two_workers_that_keep_three_backups_leave_exactly_three() {
    for numbered in [false, true] {
        let dir = Dir::new();
        let job = Job::new("write", &dir.log()).with("count", 1500).with("max_size", 4096);
        let job = job.with("gzip", 1).with("max_backups", 3);
        let job = if numbered { job.with("numbered", 1) } else { job };
        let mut workers = [0, 1].map(|id| start(&job.clone().with("worker", id)));
        workers.iter_mut().for_each(|worker| worker.tell("go"));
        workers.into_iter().for_each(Worker::finish);
        // Backups that one of them left to the other when it closed.
        job.builder().build().unwrap().close().unwrap();
        let backups = dir.backups();
        assert!(
            backups.len() == 3 && backups.iter().all(|name| name.ends_with(".gz")),
            "{backups:?}"
        );
        assert_eq!(dir.names().len(), 4);
        // They hold the end of the log, without a gap.
        for worker in 0..2 {
            let own = format!("w{worker:03}");
            let lines = dir.all_lines();
            let own: Vec<_> = lines.iter().filter(|line| line.starts_with(&own)).collect();
            let expected: Vec<_> =
                (1500 - own.len()..1500).map(|seq| record(worker, seq)).collect();
            assert!(own.iter().zip(&expected).all(|(line, record)| *line == record.trim_end()));
        }
    }
}

#[test]
fn numbered_backups_keep_their_order_during_compression() {
    for maintenance in [MaintenanceMode::Inline, MaintenanceMode::Thread] {
        let dir = Dir::new();
        let builder = dir.writer().naming(Naming::Number).compression(Compression::Gzip);
        let log = builder.max_size(400).maintenance(maintenance).build().unwrap();
        for seq in 0..300 {
            (&log).write_all(record(0, seq).as_bytes()).unwrap();
        }
        assert!(log.stats().rotations > 20);
        log.close().unwrap();
        // A child that another test is starting has a copy of the lease until its `exec`.
        eventually("all is compressed", || {
            dir.writer()
                .naming(Naming::Number)
                .compression(Compression::Gzip)
                .build()
                .unwrap()
                .close()
                .unwrap();
            dir.backups().iter().all(|name| name.ends_with(".gz"))
        });
        let expected: Vec<_> = (0..300).map(|seq| record(0, seq).trim_end().to_owned()).collect();
        assert_eq!(dir.all_lines(), expected);
        let count = dir.backups().len();
        let expected: Vec<_> =
            (1..=count).rev().map(|number| format!("app.log.{number}.gz")).collect();
        assert_eq!(dir.backups(), expected);
    }
}

// `close` and `finish` failed if rotations kept the lock busy.
#[test]
fn busy_rotation_lock_defers_pruning_and_is_no_failure() {
    let dir = Dir::new();
    let builder = inline(&dir).naming(Naming::Number).max_backups(1);
    let log = builder.lock_timeout(Duration::from_millis(1)).build().unwrap();
    for number in 1..=3 {
        std::fs::write(dir.file(&format!("app.log.{number}")), "a backup\n").unwrap();
    }
    let lock = FileLock::open(dir.file("app.log.lock")).unwrap();
    let guard = lock.exclusive(Wait::Forever).unwrap();
    log.finish().unwrap();
    assert_eq!((dir.backups().len(), log.stats().pruned), (3, 0));
    assert!(log.stats().deferrals > 0);
    drop(guard);
    log.finish().unwrap();
    assert_eq!((dir.backups().len(), log.stats().pruned), (1, 2));
}

#[test]
fn newest_backups_stay_uncompressed_until_newer_ones_come() {
    for naming in [Naming::Timestamp, Naming::Number] {
        let dir = Dir::new();
        let builder = inline(&dir).naming(naming).compression(Compression::Gzip);
        let log = builder.keep_uncompressed(2).build().unwrap();
        for seq in 0..5_usize {
            rotate(&log, &format!("{seq}\n"));
            let expected: Vec<_> = (0..=seq).map(|at| at + 2 <= seq).collect();
            // At once, unless a process that another test is just starting has a copy of a lease.
            eventually("all but the newest two are compressed", || {
                log.finish().unwrap();
                let is_compressed = |name: &String| name.ends_with(".gz");
                dir.backups().iter().map(is_compressed).collect::<Vec<_>>() == expected
            });
        }
        log.close().unwrap();
        assert_eq!(dir.all_lines(), ["0", "1", "2", "3", "4"]);
    }
}

/// A log with this many numbered backups.
fn numbered(dir: &Dir, backups: usize) {
    let log = dir.writer().naming(Naming::Number).build().unwrap();
    for number in 0..backups {
        writeln!(&log, "{number}").unwrap();
        log.rotate().unwrap();
    }
    log.close().unwrap();
}

// It returned `LockTimeout` while other workers rotated all the time.
#[test]
fn close_does_not_fail_because_others_rotate() {
    let dir = Dir::new();
    numbered(&dir, 3);
    let limited = || {
        let builder = dir.writer().naming(Naming::Number).max_backups(1);
        builder.lock_timeout(Duration::from_millis(1)).maintenance(MaintenanceMode::Inline)
    };
    let lock = logrotor::FileLock::open(dir.file("app.log.lock")).unwrap();
    let rotating = lock.exclusive(logrotor::Wait::Never).unwrap();
    limited().build().unwrap().close().unwrap();
    assert_eq!(dir.backups().len(), 3);
    rotating.unlock().unwrap();
    // At once, unless a process that another test is just starting has a copy of a lock.
    eventually("the older ones are removed", || {
        limited().build().unwrap().close().unwrap();
        dir.backups() == ["app.log.1"]
    });
}

// Freeing a large file takes the system long, and no worker could rotate meanwhile.
#[cfg(unix)]
#[test]
fn numbered_backups_are_not_removed_under_the_lock() {
    let dir = Dir::new();
    let job = Job::new("obey", &dir.log()).with("numbered", 1).with("inline", 1);
    // In a process of its own: a child that another test starts from this one would have copies of
    // its leases for a moment.
    let mut worker = start(&job);
    for number in 0..4 {
        worker.write(&number.to_string());
        assert_eq!(worker.ask("rotate"), "ok");
    }
    assert_eq!(worker.ask("close"), "ok");
    worker.finish();
    let trace = crate::support::Trace::new();
    start(&trace.of(&job.with("max_backups", 1))).finish();
    assert_eq!(dir.backups(), ["app.log.1"]);
    let verbs = trace.verbs();
    let at = |verb: &str| verbs.iter().position(|at| at == verb).unwrap();
    let (locked, unlocked) = (at("take exclusive lock"), at("unlock"));
    let is_removal = |verb: &&String| *verb == "remove";
    // Only the lock file itself.
    assert_eq!(verbs[locked..unlocked].iter().filter(is_removal).count(), 1, "{verbs:?}");
    assert_eq!(verbs[unlocked..].iter().filter(is_removal).count(), 3, "{verbs:?}");
}
