//! The log's path names a segment at every time, while workers rotate and die and other programs
//! meddle, and nothing is lost or doubled.

use crate::scenario::acknowledged;
use crate::support::{
    Dir, Job, Trace, Worker, check, eventually, is_long, lines_at, next_worker, record, seed,
};
use logrotor::inspect::Inspection;
use logrotor::reader::LogReader;
use logrotor::{Compression, Config, FileLock, Maintenance, MaintenanceMode, Naming, Wait};
use std::collections::{BTreeMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

/// Whether the file system of the test can exchange files; prints that the test is skipped if not.
fn exchanges() -> bool {
    let (dir, trace) = (Dir::new(), Trace::new());
    next_worker(&trace.of(&Job::new("obey", &dir.log()).with("inline", 1)), "line");
    let links = trace.count("link");
    if links == 0 {
        eprintln!("skipped: this file system exchanges no files");
    }
    links > 0
}

#[test]
fn path_is_never_missing_while_workers_rotate_and_die() {
    if !exchanges() {
        return;
    }
    const WORKERS: usize = 4;
    const ROTATIONS: usize = 1000;
    const DEATHS: usize = 20;
    let mut random = fastrand::Rng::with_seed(seed());
    let (dir, aside) = (Dir::new(), Dir::new());
    let job = Job::new("acknowledge", &dir.log())
        .with("count", usize::MAX)
        .with("max_size", 200)
        .with("check_ms", 20);
    let file = |worker: usize| aside.file(&worker.to_string());
    let start = |worker: usize| {
        let acknowledged = file(worker);
        job.clone().with("worker", worker).with("acknowledged", acknowledged.display()).spawn()
    };
    let mut running: Vec<_> = (0..WORKERS).map(start).collect();
    running.iter_mut().for_each(|worker| worker.expect("ready"));
    let is_over = AtomicBool::new(false);
    let mut started = WORKERS;
    let (looks, misses) = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let (mut looks, mut misses) = (0_usize, 0_usize);
            while !is_over.load(Ordering::Relaxed) {
                looks += 1;
                misses += usize::from(std::fs::symlink_metadata(dir.log()).is_err());
            }
            (looks, misses)
        });
        for death in 1..=DEATHS {
            let enough = death * ROTATIONS / DEATHS;
            eventually("they have rotated", || dir.backups().len() >= enough);
            let victim = random.usize(..WORKERS);
            running[victim].kill();
            running[victim] = start(started);
            started += 1;
        }
        running.iter_mut().for_each(Worker::kill);
        is_over.store(true, Ordering::Relaxed);
        watcher.join().unwrap()
    });
    println!("{looks} looks, {misses} misses, {started} workers");
    assert_eq!(misses, 0, "of {looks} looks");
    // It settles what the last ones left half done.
    next_worker(&job, record(started, 0).trim_end());
    let mut expected: BTreeMap<_, _> =
        (0..started).map(|worker| (worker, acknowledged(&file(worker)))).collect();
    expected.insert(started, 1);
    let verdict = check(&dir.all_lines(), &expected);
    assert!(verdict.is_clean() && verdict.extra <= started, "{verdict}");
}

/// A worker that looks at the path before each record.
pub fn looking(dir: &Dir) -> Job {
    Job::new("obey", &dir.log()).with("inline", 1).with("check_ms", 0)
}

/// A worker that has written "first" and rotates, and dies or waits on the way as `plan` says.
pub fn rotating(dir: &Dir, plan: &str) -> Worker {
    begin_rotation(&looking(dir).env("LOGROTOR_FAULT", plan))
}

/// The same for any job.
pub fn begin_rotation(job: &Job) -> Worker {
    let mut worker = job.spawn();
    worker.expect("ready");
    worker.write("first");
    worker.tell("rotate");
    worker
}

/// The lines of all files in the directory, sorted. A file with two names counts twice, unless a
/// worker `died` after another program had moved it.
fn all_lines(dir: &Dir, died: bool) -> Vec<String> {
    let mut seen = HashSet::new();
    let files = dir.names().into_iter().map(|name| dir.file(&name));
    let counts = |path: &PathBuf| seen.insert(std::fs::metadata(path).unwrap().ino()) || !died;
    let mut lines: Vec<_> = files.filter(counts).flat_map(|path| lines_at(&path)).collect();
    lines.sort_unstable();
    lines
}

/// A change of the path by another program, and the lines that it puts there or destroys.
type Meddling = (&'static str, fn(&Dir), &'static [&'static str], &'static [&'static str]);

const MEDDLINGS: [Meddling; 6] = [
    ("moves", |dir| drop(std::fs::rename(dir.log(), dir.file("moved"))), &[], &[]),
    (
        "moves and creates",
        |dir| {
            std::fs::rename(dir.log(), dir.file("moved")).unwrap();
            std::fs::write(dir.log(), "another's\n").unwrap();
        },
        &["another's"],
        &[],
    ),
    (
        "replaces",
        |dir| {
            std::fs::write(dir.file("other"), "another's\n").unwrap();
            std::fs::rename(dir.file("other"), dir.log()).unwrap();
        },
        &["another's"],
        &["first"],
    ),
    ("removes", |dir| std::fs::remove_file(dir.log()).unwrap(), &[], &["first"]),
    (
        "truncates",
        |dir| std::fs::File::options().write(true).open(dir.log()).unwrap().set_len(0).unwrap(),
        &[],
        &["first"],
    ),
    (
        "appends",
        |dir| {
            use std::io::Write;
            let mut file = std::fs::File::options().append(true).open(dir.log()).unwrap();
            file.write_all(b"another's\n").unwrap();
        },
        &["another's"],
        &[],
    ),
];

/// The numbers of the operations of one rotation, from its first change on, without those of the
/// lock file.
fn operations_of_a_rotation() -> std::ops::RangeInclusive<usize> {
    let (dir, trace) = (Dir::new(), Trace::new());
    let mut worker = trace.of(&looking(&dir)).spawn();
    worker.expect("ready");
    worker.write("first");
    let before = trace.len();
    assert_eq!(worker.ask("rotate"), "ok");
    let linked = trace.first("link", before);
    linked..=trace.first("remove", linked) + 1
}

#[test]
fn meddling_at_any_step_of_a_rotation_loses_and_doubles_nothing() {
    if !exchanges() {
        return;
    }
    let operations = operations_of_a_rotation();
    let first = *operations.start();
    for (at, meddling) in operations.flat_map(|at| MEDDLINGS.map(|meddling| (at, meddling))) {
        for deaths in 0..if is_long() { 6 } else { 2 } {
            meddled_with(at, meddling, at == first, deaths);
        }
    }
}

/// Rotates while another program does `meddling` just before operation `at`. The worker dies
/// `deaths` operations later, if at all.
fn meddled_with(at: usize, meddling: Meddling, is_whole: bool, deaths: usize) {
    let (what, meddle, added, destroyed) = meddling;
    let dies = deaths > 0;
    let (dir, gates) = (Dir::new(), Dir::new());
    let pause = format!("{at}:pause={}", gates.file("gate").display());
    let plan = if dies { format!("{pause};{}:kill", at + deaths) } else { pause };
    let mut worker = rotating(&dir, &plan);
    eventually("it is stopped", || gates.file("gate.reached").exists());
    meddle(&dir);
    std::fs::write(gates.file("gate"), "").unwrap();
    let context = format!("{what} at {at}, dies: {dies}");
    if worker.hear().is_some() {
        worker.write("last");
        worker.finish();
    } else {
        drop(worker);
        next_worker(&looking(&dir), "last");
    }
    assert!(dir.log().exists(), "{context}");
    // Both settle what is left.
    next_worker(&looking(&dir), "end");
    next_worker(&looking(&dir), "end of all");
    let found = all_lines(&dir, dies);
    let mut expected: Vec<_> =
        ["end", "end of all", "first", "last"].iter().chain(added).copied().collect();
    expected.sort_unstable();
    // A segment that has a backup's name already is lost by truncation only.
    let may_lose = is_whole || what == "truncates";
    let is_found = |line: &&str| found.iter().any(|there| there == line);
    expected.retain(|line| !may_lose || !destroyed.contains(line) || is_found(line));
    assert_eq!(found, expected, "{context}: {:?}", dir.names());
    assert!(!dir.names().iter().any(|name| name.contains(".tmp")), "{context}");
}

#[test]
fn file_that_has_a_name_elsewhere_stays_in_the_log() {
    if !exchanges() {
        return;
    }
    for at in operations_of_a_rotation() {
        let (dir, aside) = (Dir::new(), Dir::new());
        let gate = aside.file("gate");
        let mut worker = rotating(&dir, &format!("{at}:pause={};{}:kill", gate.display(), at + 1));
        eventually("it is stopped", || aside.file("gate.reached").exists());
        std::fs::write(aside.file("staged"), "another's\n").unwrap();
        std::fs::hard_link(aside.file("staged"), aside.file("second name")).unwrap();
        std::fs::rename(aside.file("second name"), dir.log()).unwrap();
        std::fs::write(gate, "").unwrap();
        worker.hear();
        drop(worker);
        next_worker(&looking(&dir), "end");
        next_worker(&looking(&dir), "end of all");
        let found = all_lines(&dir, true);
        assert!(found.iter().any(|line| line == "another's"), "{at}: {:?}", dir.names());
    }
}

#[test]
fn directory_at_the_path_during_a_rotation_stays() {
    if !exchanges() {
        return;
    }
    for step in ["1/link", "2/exchange"] {
        let (dir, gates) = (Dir::new(), Dir::new());
        let gate = gates.file("gate");
        let mut worker = rotating(&dir, &format!("{step}:pause={}", gate.display()));
        eventually("it is stopped", || gates.file("gate.reached").exists());
        std::fs::rename(dir.log(), dir.file("moved")).unwrap();
        std::fs::create_dir(dir.log()).unwrap();
        std::fs::write(gate, "").unwrap();
        assert!(worker.hear().unwrap().contains("directory"), "{step}");
        assert!(dir.log().is_dir(), "{step}: {:?}", dir.names());
        std::fs::remove_dir(dir.log()).unwrap();
        eventually("it writes again", || worker.ask("write last") == "ok" && dir.log().exists());
        worker.finish();
        assert_eq!(dir.read("moved"), b"first\n");
    }
}

#[test]
fn without_links_or_exchange_a_rotation_renames_twice() {
    for plan in ["1+/link:errno=1", "1+/exchange:errno=22", "2+/exchange:errno=22"] {
        for naming in [Naming::Timestamp, Naming::Number] {
            let dir = Dir::new();
            let mut job = Job::new("obey", &dir.log()).with("inline", 1);
            if naming == Naming::Number {
                job = job.with("numbered", 1);
            }
            let mut worker = job.env("LOGROTOR_FAULT", plan).spawn();
            worker.expect("ready");
            for line in ["one", "two", "three"] {
                worker.write(line);
                assert_eq!(worker.ask("rotate"), "ok", "{plan}");
            }
            worker.write("four");
            assert_eq!([worker.count("rotations"), worker.count("failures")], [3, 0], "{plan}");
            worker.finish();
            assert_eq!(dir.all_lines(), ["one", "two", "three", "four"], "{plan}");
            assert_eq!(dir.names().len(), 4, "{plan}: {:?}", dir.names());
        }
    }
}

#[test]
fn missing_exchange_is_found_out_once() {
    let (dir, trace) = (Dir::new(), Trace::new());
    let job = trace.of(&Job::new("obey", &dir.log()).with("inline", 1));
    let mut worker = job.env("LOGROTOR_FAULT", "1+/exchange:errno=22").spawn();
    worker.expect("ready");
    for _ in 0..3 {
        worker.write("line");
        assert_eq!(worker.ask("rotate"), "ok");
    }
    worker.finish();
    // The trace has the operations that the plan counts.
    assert!(trace.len() <= 1, "{}", trace.len());
}

/// A log whose worker was killed between the link and the exchange.
fn half_rotated(naming: Naming) -> Dir {
    let dir = Dir::new();
    let mut job = Job::new("obey", &dir.log()).with("inline", 1);
    if naming == Naming::Number {
        job = job.with("numbered", 1);
    }
    let mut worker = job.env("LOGROTOR_FAULT", "2/exchange:kill").spawn();
    worker.expect("ready");
    worker.write("first");
    worker.tell("rotate");
    assert_eq!(worker.hear(), None);
    drop(worker);
    let ids: HashSet<_> = dir
        .backups()
        .iter()
        .map(|name| dir.file(name))
        .chain([dir.log()])
        .map(|path| std::fs::metadata(path).unwrap().ino())
        .collect();
    assert_eq!((dir.backups().len(), ids.len()), (1, 1));
    dir
}

fn read(log: &Path) -> Vec<String> {
    let mut reader = LogReader::open(log).unwrap();
    let text = |record: &[u8]| String::from_utf8_lossy(record).into_owned();
    reader.records().map(|record| text(&record.unwrap().into_bytes())).collect()
}

#[test]
fn half_done_rotation_is_read_once_and_undone_by_the_next() {
    if !exchanges() {
        return;
    }
    for naming in [Naming::Timestamp, Naming::Number] {
        let dir = half_rotated(naming);
        assert_eq!(read(&dir.log()), ["first"]);
        assert_eq!(Inspection::of(dir.log()).unwrap().segments.len(), 1);
        // Maintenance leaves the active segment alone, whatever its other name.
        let mut config = Config::default();
        (config.naming, config.compression) = (naming, Compression::Gzip);
        config.max_backups = Some(0);
        let maintenance = Maintenance::new(dir.log(), &config, |_| {}).unwrap();
        assert!(maintenance.plan().unwrap().prune.is_empty());
        maintenance.run(&|| true).unwrap();
        assert_eq!(read(&dir.log()), ["first"]);
        let builder = dir.writer().naming(naming).maintenance(MaintenanceMode::Inline);
        let log = builder.build().unwrap();
        assert_eq!(dir.backups(), [""; 0], "the second name is gone");
        use std::io::Write;
        (&log).write_all(b"second\n").unwrap();
        log.rotate().unwrap().unwrap();
        log.close().unwrap();
        assert_eq!(dir.names().len(), 2, "{:?}", dir.names());
        assert_eq!(dir.all_lines(), ["first", "second"]);
    }
}

#[test]
fn name_left_in_a_rotation_does_not_double_its_segment() {
    use std::io::Write;
    for max_backups in [None, Some(0)] {
        let dir = Dir::new();
        let mut log = dir.writer().maintenance(MaintenanceMode::Inline).build().unwrap();
        log.write_all(b"first\n").unwrap();
        let backup = log.rotate().unwrap().unwrap();
        log.write_all(b"second\n").unwrap();
        log.close().unwrap();
        // No program writes it any more.
        let before = SystemTime::now() - Duration::from_secs(60);
        std::fs::File::open(&backup).unwrap().set_modified(before).unwrap();
        // The worker was killed before it removed the temporary's name.
        let left = dir.file(".app.log.new000000abc.tmp");
        std::fs::hard_link(&backup, &left).unwrap();
        let mut config = Config::default();
        (config.compression, config.max_backups) = (Compression::Gzip, max_backups);
        let maintenance = Maintenance::new(dir.log(), &config, |_| {}).unwrap();
        let lock = FileLock::open(dir.file("app.log.lock")).unwrap();
        let rotation = lock.exclusive(Wait::Never).unwrap();
        maintenance.run(&|| true).unwrap();
        assert!(backup.exists() && left.exists(), "it is looked at under the lock");
        rotation.unlock().unwrap();
        // At once, unless a process that another test is just starting has a copy of a lease.
        eventually("both names are gone", || {
            maintenance.run(&|| true).unwrap();
            !backup.exists() && !left.exists()
        });
        let kept: &[_] = if max_backups.is_none() { &["first", "second"] } else { &["second"] };
        assert_eq!(dir.all_lines(), kept);
    }
}
