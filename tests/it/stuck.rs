//! A worker that is stopped: at every operation of a rotation with its compression and pruning, or
//! just while it holds a lease. The others continue, and no log call waits for it longer than
//! `lock_timeout`.

use crate::support::{Dir, Job, Trace, Worker, eventually, is_long};
use logrotor::{
    Compression, ErrorKind, FileLock, MaintenanceMode, Naming, RotatingFileWriter, Stats, Wait,
};
use std::io::Write;
use std::time::{Duration, Instant};

const LOCK_TIMEOUT: Duration = Duration::from_millis(50);
/// The time that a loaded machine may add to a call. The peer stays stopped until it is resumed, so
/// a call that waits for it does not return at all.
const SLACK: Duration = Duration::from_secs(180);
const MAX_SIZE: usize = 300;
/// Records of the worker that continues while its peer is stopped: about three to a segment.
const COUNT: usize = 12;
/// Backups that are kept: more than those records fill.
const KEPT: usize = 6;

/// A peer that rotates, compresses and prunes within its calls, so that each of these is an
/// operation of a known number.
fn peer(dir: &Dir, numbered: bool) -> Job {
    let job = Job::new("obey", &dir.log()).with("max_size", MAX_SIZE).with("gzip", 1);
    let job = job.with("inline", 1).with("max_backups", KEPT).with("check_ms", 3_600_000);
    if numbered { job.with("numbered", 1) } else { job }
}

/// A log with as many backups as are kept: the next rotation makes one too many, and has one to
/// compress.
fn dir(numbered: bool) -> Dir {
    let dir = Dir::new();
    for at in 1..=KEPT {
        let key = if numbered { at.to_string() } else { format!("2020-01-0{at}T00-00-00.000000Z") };
        if is_newest(at, numbered) {
            std::fs::write(dir.file(&format!("app.log.{key}")), "old\n").unwrap();
            continue;
        }
        let file = std::fs::File::create(dir.file(&format!("app.log.{key}.gz"))).unwrap();
        let mut packer = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
        packer.write_all(b"old\n").unwrap();
        packer.finish().unwrap();
    }
    dir
}

fn is_newest(at: usize, numbered: bool) -> bool {
    at == if numbered { 1 } else { KEPT }
}

/// Starts the peer, with a record of its own in the log.
fn start(peer: &Job) -> Worker {
    let mut peer = peer.spawn();
    peer.expect("ready");
    peer.write("peer 0");
    peer
}

/// The numbers of the first and the last operation of a rotation with all that follows from it.
fn operations(numbered: bool) -> (usize, usize) {
    let (dir, trace) = (dir(numbered), Trace::new());
    let mut peer = start(&trace.of(&peer(&dir, numbered)));
    let _log = worker(&dir, numbered, MaintenanceMode::Inline);
    let before = trace.len();
    assert_eq!(peer.ask("rotate"), "ok");
    // It rotates, compresses and prunes.
    for counter in ["rotations", "compressions", "pruned"] {
        assert_eq!(peer.count(counter), 1, "{counter}");
    }
    (before + 1, trace.len())
}

/// A worker of this process on an existing log. It compresses nothing, so that the peer has work to
/// do. Without a thread, only the peer can be in its way.
fn worker(dir: &Dir, numbered: bool, maintenance: MaintenanceMode) -> RotatingFileWriter {
    let builder = dir.writer().max_size(MAX_SIZE as u64).maintenance(maintenance);
    let builder = builder.check_interval(Duration::ZERO).lock_timeout(LOCK_TIMEOUT);
    builder.naming(if numbered { Naming::Number } else { Naming::Timestamp }).build().unwrap()
}

fn text(seq: usize) -> String {
    format!("{seq:03} {}", "x".repeat(90))
}

/// Writes the worker's records; each is accepted, and none waits long.
fn write_all(mut log: &RotatingFileWriter) {
    for seq in 0..COUNT {
        let start = Instant::now();
        writeln!(log, "{}", text(seq)).unwrap();
        let took = start.elapsed();
        assert!(took < LOCK_TIMEOUT + SLACK, "record {seq} took {took:?}");
    }
}

/// Whether a process holds the rotation lock.
fn is_locked(dir: &Dir) -> bool {
    let lock = FileLock::open(dir.file("app.log.lock")).unwrap();
    lock.exclusive(Wait::Never).is_err()
}

/// Stops a peer at operation `at`, lets another worker write, and resumes the peer. Returns whether
/// the peer was stopped with the rotation lock.
fn stopped_at(at: usize, numbered: bool, maintenance: MaintenanceMode) -> bool {
    let (dir, aside) = (dir(numbered), Dir::new());
    let gate = aside.file("gate");
    let plan = format!("{at}:pause={}", gate.display());
    let mut peer = start(&peer(&dir, numbered).env("LOGROTOR_FAULT", plan));
    let log = worker(&dir, numbered, maintenance);
    peer.tell("rotate");
    eventually("the peer is at the place", || aside.file("gate.reached").exists());
    peer.stop();
    let is_locked = is_locked(&dir);
    let what = format!("operation {at}, numbered {numbered}, {:?}", dir.names());
    write_all(&log);
    if maintenance == MaintenanceMode::Inline {
        check_counters(&log.stats(), is_locked, &what);
    }
    check_opening(&dir, is_locked);

    std::fs::write(gate, "").unwrap();
    peer.go_on();
    assert_eq!(peer.hear().as_deref(), Some("ok"), "{what}");
    peer.write("peer 1");
    peer.finish();
    (&log).write_all(b"last\n").unwrap();
    log.close().unwrap();
    check_files(&dir, &what);
    is_locked
}

fn check_counters(stats: &Stats, is_locked: bool, what: &str) {
    let timeouts = stats.failures(ErrorKind::LockTimeout);
    if is_locked {
        assert_eq!(stats.rotations, 0, "{what}");
        assert!(timeouts >= 1, "{what}: {stats:?}");
        // Only the first call waits: after a wait in vain, later calls do not wait for the same
        // holder.
        assert!(stats.lock_waits <= 1, "{what}: {stats:?}");
    } else {
        assert!(stats.rotations >= 2, "{what}: {stats:?}");
        assert_eq!((stats.lock_waits, timeouts), (0, 0), "{what}");
    }
}

/// An existing log opens at once while the lock is held; one that must be created waits in vain.
fn check_opening(dir: &Dir, is_locked: bool) {
    let is_there = dir.log().exists();
    match dir.writer().lock_timeout(LOCK_TIMEOUT).build() {
        Ok(_) => assert!(is_there || !is_locked),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::LockTimeout, "{error}");
            assert!(is_locked && !is_there);
        }
    }
}

/// All records exist once, each worker's in order, and no other files are left.
fn check_files(dir: &Dir, what: &str) {
    let lines = dir.all_lines();
    let (own, others): (Vec<_>, Vec<_>) = lines.into_iter().partition(|line| line.ends_with('x'));
    assert!(
        own.iter().map(String::as_str).eq(&(0..COUNT).map(text).collect::<Vec<_>>()),
        "{what}: {own:?}"
    );
    let others: Vec<_> = others.iter().map(String::as_str).filter(|line| *line != "old").collect();
    assert_eq!(others, ["peer 0", "peer 1", "last"], "{what}");
    let (names, backups) = (dir.names(), dir.backups());
    assert_eq!(names.len(), backups.len() + 1, "{what}: {names:?}");
}

fn stopped_at_every_operation(numbered: bool) {
    let (first, last) = operations(numbered);
    let locked =
        (first..=last).filter(|at| stopped_at(*at, numbered, MaintenanceMode::Inline)).count();
    let all = last - first + 1;
    println!("stopped at {all} operations, {locked} of them with the lock");
    // A rotation of fewer operations would not be the one described.
    assert!(all > 40 && locked > 10 && locked < all, "{locked} of {all}");
}

#[test]
fn stopped_worker_delays_no_record_of_another() {
    stopped_at_every_operation(false);
}

#[test]
fn stopped_worker_delays_no_record_with_numbered_backups() {
    stopped_at_every_operation(true);
}

#[test]
fn stopped_worker_delays_no_record_of_a_log_with_a_thread() {
    for numbered in [false, true] {
        let (first, last) = operations(numbered);
        let step = if is_long() { 1 } else { 4 };
        for at in (first..=last).step_by(step) {
            stopped_at(at, numbered, MaintenanceMode::Thread);
        }
    }
}

#[test]
fn stopped_lease_holder_delays_only_its_own_segment() {
    let dir = Dir::new();
    let mut peer = start(&Job::new("obey", &dir.log()).with("check_ms", 3_600_000));
    peer.stop();
    let builder = dir.writer().max_size(MAX_SIZE as u64).lock_timeout(LOCK_TIMEOUT);
    let log = builder.compression(Compression::Gzip).max_backups(2).build().unwrap();
    write_all(&log);
    let stats = log.stats();
    assert!(stats.rotations >= 3, "{stats:?}");
    assert_eq!((stats.lock_waits, stats.all_failures()), (0, 0));
    // Its segment, the oldest, is neither compressed nor removed; later ones are.
    eventually("the others are compressed", || {
        let packed = dir.backups().iter().map(|name| name.ends_with(".gz")).collect::<Vec<_>>();
        packed == [false, true, true]
    });
    assert_eq!(dir.lines_of(&dir.backups()[0])[0], "peer 0");
    peer.go_on();
    peer.write("peer 1");
    peer.finish();
    eventually("its segment goes as well", || dir.backups().len() == 2);
    assert!(dir.backups().iter().all(|name| name.ends_with(".gz")));
}
