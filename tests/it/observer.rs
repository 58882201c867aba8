//! The counters of a log, and the events that an observer gets.

#[cfg(unix)]
use crate::support::Job;
use crate::support::{Dir, eventually};
use logrotor::__test::Clock;
use logrotor::{
    Buffering, Compression, Delivery, ErrorKind, Event, FileLock, LogBuilder, MaintenanceMode,
    Overflow, RotatingFileWriter, Stats, Wait,
};
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant, SystemTime};

const LONG: Duration = Duration::from_secs(3600);

/// A log that does nothing but what a test has it do.
fn quiet(dir: &Dir) -> LogBuilder {
    dir.writer().check_interval(LONG).maintenance(MaintenanceMode::Inline)
}

fn write(mut log: &RotatingFileWriter, text: &str) {
    log.write_all(text.as_bytes()).unwrap();
}

/// An observer, and the channel for its events.
fn watched(builder: LogBuilder) -> (LogBuilder, Receiver<Event>) {
    let (told, events) = channel();
    let observer = move |event: &Event| told.send(event.clone()).unwrap();
    (builder.observer(observer), events)
}

fn rotate(log: &RotatingFileWriter, text: &str) -> PathBuf {
    write(log, text);
    log.rotate().unwrap().expect("a record was written just now")
}

#[test]
fn records_and_their_bytes_are_counted_without_the_header() {
    let dir = Dir::new();
    let log = quiet(&dir).header(b"# header\n").build().unwrap();
    write(&log, "one\n");
    write(&log, "three\n");
    write(&log, "");
    let stats = log.stats();
    assert_eq!((stats.records, stats.bytes), (2, 10));
}

#[test]
fn log_that_nothing_happened_to_counts_nothing() {
    let dir = Dir::new();
    let Stats {
        records,
        bytes,
        rotations,
        skips,
        follows,
        recreations,
        truncations,
        lock_waits,
        ..
    } = dir.writer().build().unwrap().stats();
    assert_eq!([records, bytes, rotations, skips], [0; 4]);
    assert_eq!([follows, recreations, truncations, lock_waits], [0; 4]);
    let stats = dir.writer().build().unwrap().stats();
    let rest = [stats.compressions, stats.deferrals, stats.pruned, stats.torn, stats.dropped];
    assert_eq!((rest, stats.all_failures()), ([0; 5], 0));
    assert!(stats.last_error.is_none());
}

/// `.ci/nfs` has the test with a network file system.
#[test]
fn log_on_a_local_file_system_causes_no_event() {
    let dir = Dir::new();
    let (builder, events) = watched(quiet(&dir));
    let log = builder.build().unwrap();
    assert_eq!(log.network_file_system(), None);
    rotate(&log, "x\n");
    drop(log);
    let told: Vec<_> = events.iter().collect();
    assert!(matches!(told[..], [Event::Rotated { .. }]), "{told:?}");
}

#[test]
fn clones_share_their_counters_and_other_workers_have_their_own() {
    let dir = Dir::new();
    let (log, other) = (quiet(&dir).build().unwrap(), quiet(&dir).build().unwrap());
    rotate(&log.clone(), "x\n");
    assert_eq!((log.stats().rotations, log.stats().records), (1, 1));
    assert_eq!((other.stats().rotations, other.stats().records), (0, 0));
}

#[test]
fn rotation_by_another_worker_counts_as_skip_or_follow() {
    let (dir, start) = (Dir::new(), SystemTime::now());
    let clock = Clock::manual(start);
    let log = quiet(&dir).build().unwrap();
    let late = quiet(&dir).build().unwrap();
    let idle = quiet(&dir).clock(clock.clone()).build().unwrap();
    rotate(&log, "x\n");
    late.rotate().unwrap();
    clock.set(start + LONG);
    write(&idle, "x\n");
    let figures = |stats: Stats| [stats.rotations, stats.skips, stats.follows];
    assert_eq!(figures(log.stats()), [1, 0, 0]);
    assert_eq!(figures(late.stats()), [0, 1, 0]);
    assert_eq!(figures(idle.stats()), [0, 0, 1]);
}

#[test]
fn log_found_missing_counts_as_recreation() {
    let (dir, start) = (Dir::new(), SystemTime::now());
    let clock = Clock::manual(start);
    let log = quiet(&dir).clock(clock.clone()).build().unwrap();
    std::fs::remove_file(dir.log()).unwrap();
    clock.set(start + LONG);
    write(&log, "x\n");
    assert_eq!((log.stats().recreations, log.stats().follows), (1, 0));
}

#[test]
fn log_found_cut_short_counts_as_truncation() {
    let dir = Dir::new();
    let log = quiet(&dir).build().unwrap();
    write(&log, "a long record\n");
    std::fs::File::options().write(true).open(dir.log()).unwrap().set_len(0).unwrap();
    // Not every record asks for the end of the file.
    eventually("truncation", || {
        write(&log, "x\n");
        log.stats().truncations == 1
    });
    write(&log, "x\n");
    assert_eq!(log.stats().truncations, 1);
}

#[cfg(unix)]
#[test]
fn record_that_the_kernel_takes_a_part_of_counts_as_torn() {
    let dir = Dir::new();
    let mut worker = Job::new("obey", &dir.log()).with("file_blocks", 8).spawn();
    worker.expect("ready");
    worker.write(&"x".repeat(3000));
    let refused = worker.ask(&format!("write {}", "y".repeat(5000)));
    assert!(refused.starts_with("error"), "{refused}");
    assert_eq!((worker.count("torn"), worker.count("records")), (1, 1));
    worker.finish();
}

#[test]
fn held_rotation_lock_counts_as_wait_and_timeout_as_failure() {
    let dir = Dir::new();
    let log = quiet(&dir).lock_timeout(Duration::from_millis(5)).build().unwrap();
    write(&log, "x\n");
    let lock = FileLock::open(dir.file("app.log.lock")).unwrap();
    let guard = lock.exclusive(Wait::Forever).unwrap();
    assert_eq!(log.rotate().unwrap_err().kind(), ErrorKind::LockTimeout);
    // Its caller got the error.
    assert_eq!((log.stats().lock_waits, log.stats().all_failures()), (1, 0));
    drop(guard);
    assert!(log.rotate().unwrap().is_some());
    assert_eq!(log.stats().lock_waits, 1);
}

#[test]
fn compressed_deferred_and_pruned_backups_are_counted() {
    let dir = Dir::new();
    let holder = quiet(&dir).build().unwrap();
    let builder = quiet(&dir).compression(Compression::Gzip).max_backups(1);
    let log = builder.build().unwrap();
    let figures = || {
        let stats = log.stats();
        [stats.compressions, stats.deferrals, stats.pruned]
    };
    rotate(&log, "held open by the other worker\n");
    assert_eq!(figures(), [0, 1, 0]);
    holder.reopen().unwrap();
    log.finish().unwrap();
    assert_eq!(figures(), [1, 1, 0]);
    holder.reopen().unwrap();
    drop(holder);
    rotate(&log, "makes the other one surplus\n");
    assert_eq!(figures(), [2, 1, 1]);
}

#[test]
fn record_for_which_the_buffer_has_no_room_counts_as_dropped() {
    let dir = Dir::new();
    let (started, is_started) = channel();
    let (finish, may_finish) = channel();
    // Keeps the thread that writes at its first rotation, and with it the append lock.
    let delivery = Delivery::Buffered(
        Buffering::new()
            .capacity(100)
            .flush_interval(Duration::ZERO)
            .overflow(Overflow::DropNewestSilently),
    );
    let log = gated(dir.writer().max_size(50).delivery(delivery), started, may_finish);
    write(&log, &"a".repeat(40));
    log.flush().unwrap();
    write(&log, &"b".repeat(40));
    is_started.recv().unwrap();
    // Taken into the empty buffer; there is no room for the others.
    for _ in 0..3 {
        write(&log, &"c".repeat(60));
    }
    assert_eq!(log.stats().dropped, 2);
    finish.send(()).unwrap();
    log.flush().unwrap();
    assert_eq!((log.stats().dropped, log.stats().records), (2, 3));
}

/// A log whose first rotation stops with the append lock held: it says so through `started`, and
/// goes on after a word from `may_finish`, or once that has no sender.
fn gated(builder: LogBuilder, started: Sender<()>, may_finish: Receiver<()>) -> RotatingFileWriter {
    let (armed, may_finish) = (Arc::new(AtomicBool::new(false)), Mutex::new(may_finish));
    let header = {
        let armed = Arc::clone(&armed);
        move || {
            if armed.swap(false, Ordering::SeqCst) {
                started.send(()).unwrap();
                let _ = may_finish.lock().unwrap().recv();
            }
            Vec::new()
        }
    };
    let log = builder.header_with(header).build().unwrap();
    armed.store(true, Ordering::SeqCst);
    log
}

#[test]
fn stats_are_read_while_a_rotation_holds_the_append_lock() {
    let dir = Dir::new();
    let ((started, is_started), (finish, may_finish)) = (channel(), channel());
    let log = gated(quiet(&dir), started, may_finish);
    write(&log, "before\n");
    std::thread::scope(|scope| {
        let rotation = scope.spawn(|| log.rotate().unwrap());
        is_started.recv().unwrap();
        assert_eq!((log.stats().records, log.stats().rotations), (1, 0));
        finish.send(()).unwrap();
        assert!(rotation.join().unwrap().is_some());
    });
    assert_eq!(log.stats().rotations, 1);
}

#[test]
fn counters_only_grow_while_another_thread_writes() {
    const COUNT: u64 = 20_000;
    let dir = Dir::new();
    let log = quiet(&dir).max_size(50_000).build().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| (0..COUNT).for_each(|_| write(&log, "0123456789\n")));
        let mut last = 0;
        eventually("all records are counted", || {
            let stats = log.stats();
            assert!(stats.records >= last);
            last = stats.records;
            last == COUNT
        });
    });
    assert_eq!(log.stats().bytes, COUNT * 11);
}

#[test]
fn observer_gets_rotations_compressions_and_prunings() {
    let dir = Dir::new();
    let builder = quiet(&dir).compression(Compression::Gzip).max_backups(1);
    let (builder, events) = watched(builder);
    let log = builder.build().unwrap();
    let text = "x".repeat(10_000);
    let first = rotate(&log, &text);
    let packed = PathBuf::from(format!("{}.gz", first.display()));
    let size = std::fs::metadata(&packed).unwrap().len();
    let told: Vec<_> = events.try_iter().collect();
    let [Event::Rotated { backup, bytes, .. }, compressed] = &told[..] else {
        panic!("{told:?}");
    };
    assert_eq!((backup, *bytes), (&first, 10_000));
    let Event::Compressed { from, to, bytes_before, bytes_after, .. } = compressed else {
        panic!("{compressed:?}");
    };
    assert_eq!((from, to, *bytes_before, *bytes_after), (&first, &packed, 10_000, size));
    rotate(&log, "second\n");
    let pruned = events.try_iter().find_map(|event| match event {
        Event::Pruned { path, bytes, .. } => Some((path, bytes)),
        _ => None,
    });
    assert_eq!(pruned, Some((packed, size)));
}

#[test]
fn observer_gets_the_events_of_the_thread() {
    let dir = Dir::new();
    let (builder, events) = watched(dir.writer().compression(Compression::Gzip));
    let log = builder.build().unwrap();
    rotate(&log, "x\n");
    let told = events.recv_timeout(Duration::from_secs(60)).unwrap();
    assert!(matches!(told, Event::Rotated { .. }), "{told:?}");
    let told = events.recv_timeout(Duration::from_secs(60)).unwrap();
    assert!(matches!(told, Event::Compressed { .. }), "{told:?}");
}

#[test]
fn observer_gets_a_failure_that_stats_count_and_keep() {
    let dir = Dir::new();
    let (builder, events) = watched(quiet(&dir).max_size(10));
    let log = builder.build().unwrap();
    write(&log, "12345678\n");
    std::fs::create_dir(dir.file("app.log.lock")).unwrap();
    write(&log, "no room\n");
    let told: Vec<_> = events.try_iter().collect();
    let [Event::Failed { error, .. }] = &told[..] else { panic!("{told:?}") };
    assert!(error.path().unwrap().ends_with("app.log.lock"), "{error}");
    let stats = log.stats();
    assert_eq!((stats.failures(error.kind()), stats.all_failures()), (1, 1));
    assert_eq!(stats.last_error.unwrap().to_string(), error.to_string());
    assert_eq!(dir.active_lines(), ["12345678", "no room"]);
}

/// How often something can be tried in this time: at once, and after each delay of 10, 20, 40 ..
/// ms.
fn attempts_within(span: Duration) -> u64 {
    let is_over = |delays: &u32| 10 * ((1_u128 << delays) - 1) <= span.as_millis();
    1 + (1..).take_while(is_over).count() as u64
}

/// Has records overflow for a while when no rotation can be made; every one is written. Returns how
/// often one can have been tried.
fn overflow_in_vain(log: &RotatingFileWriter) -> u64 {
    let start = Instant::now();
    (0..2000).for_each(|_| write(log, "no room\n"));
    eventually("some more attempts are made", || {
        write(log, "no room\n");
        log.stats().all_failures() >= 3
    });
    attempts_within(start.elapsed())
}

#[test]
fn held_lock_is_reported_per_step_of_the_delay_not_per_record() {
    let dir = Dir::new();
    let builder = quiet(&dir).max_size(10).lock_timeout(Duration::from_millis(1));
    let (builder, events) = watched(builder);
    let log = builder.build().unwrap();
    write(&log, "12345678\n");
    let lock = FileLock::open(dir.file("app.log.lock")).unwrap();
    let guard = lock.exclusive(Wait::Forever).unwrap();
    let most = overflow_in_vain(&log);
    let stats = log.stats();
    let timeouts = stats.failures(ErrorKind::LockTimeout);
    assert_eq!((timeouts, stats.rotations), (stats.all_failures(), 0));
    assert!(timeouts <= most, "{timeouts} failures, at most {most} attempts");
    let told: Vec<_> = events.try_iter().collect();
    assert_eq!(told.len() as u64, timeouts);
    assert!(told.iter().all(|event| matches!(event, Event::Failed { .. })), "{told:?}");
    assert_eq!(dir.active_lines().len() as u64, stats.records);
    guard.unlock().unwrap();
    eventually("rotation is tried again", || {
        write(&log, "no room\n");
        log.stats().rotations > 0
    });
}

#[test]
fn failed_rotation_is_reported_per_step_of_the_delay() {
    let dir = Dir::new();
    let log = quiet(&dir).max_size(10).build().unwrap();
    write(&log, "12345678\n");
    std::fs::create_dir(dir.file("app.log.lock")).unwrap();
    let most = overflow_in_vain(&log);
    let failures = log.stats().all_failures();
    assert!(failures <= most, "{failures} failures, at most {most} attempts");
    std::fs::remove_dir(dir.file("app.log.lock")).unwrap();
    eventually("rotation is tried again", || {
        write(&log, "no room\n");
        log.stats().rotations > 0
    });
}

#[test]
fn failed_maintenance_is_reported_per_step_of_the_delay() {
    let dir = Dir::new();
    let backup = "app.log.2020-01-01T00-00-00.000000Z";
    std::fs::write(dir.file(backup), "planted\n").unwrap();
    std::fs::create_dir(dir.file(&format!("{backup}.gz"))).unwrap();
    let start = Instant::now();
    let log = quiet(&dir).compression(Compression::Gzip).build().unwrap();
    for _ in 0..100 {
        rotate(&log, "x\n");
    }
    let (failures, most) = (log.stats().all_failures(), attempts_within(start.elapsed()));
    assert!((1..=most).contains(&failures), "{failures} failures, at most {most} attempts");
}

// Each backup's failure was reported in every pass: on a full disk, an event per backup and step of
// the delay.
#[test]
fn regression_failures_of_many_backups_are_reported_per_pass() {
    let dir = Dir::new();
    for second in 0..5 {
        let backup = format!("app.log.2020-01-01T00-00-0{second}.000000Z");
        std::fs::write(dir.file(&backup), "planted\n").unwrap();
        std::fs::create_dir(dir.file(&format!("{backup}.gz"))).unwrap();
    }
    let (builder, events) = watched(dir.writer().compression(Compression::Gzip));
    let log = builder.build().unwrap();
    let mut told = 0;
    eventually("two passes have failed, and each was told once", || {
        told += events.try_iter().count() as u64;
        let failures = log.stats().all_failures();
        failures >= 10 && told == failures / 5
    });
}

/// A log whose observer does `react` with the log itself, for every event.
fn with_reaction(
    builder: LogBuilder,
    react: impl Fn(&RotatingFileWriter, &Event) + Send + Sync + 'static,
) -> RotatingFileWriter {
    let cell: Arc<OnceLock<RotatingFileWriter>> = Arc::default();
    let observer = {
        let cell = Arc::clone(&cell);
        move |event: &Event| cell.get().into_iter().for_each(|log| react(log, event))
    };
    let log = builder.observer(observer).build().unwrap();
    cell.get_or_init(|| log.clone());
    log
}

/// Has a log whose observer uses it in every way rotate, compress, prune and fail.
fn observer_uses_the_log(maintenance: MaintenanceMode) {
    let dir = Dir::new();
    let builder = dir.writer().maintenance(maintenance).compression(Compression::Gzip);
    let seen = Arc::new([const { AtomicU64::new(0) }; 4]);
    let react = {
        let seen = Arc::clone(&seen);
        move |log: &RotatingFileWriter, event: &Event| {
            let kind = match event {
                Event::Rotated { .. } => 0,
                Event::Compressed { .. } => 1,
                Event::Pruned { .. } => 2,
                _ => 3,
            };
            write(log, &format!("event {kind}\n"));
            log.reopen().unwrap();
            log.segments().unwrap();
            log.sync().unwrap();
            (&mut &*log).flush().unwrap();
            assert!(log.stats().records > 0 && log.path().is_absolute());
            seen[kind].fetch_add(1, Ordering::SeqCst);
        }
    };
    let log = with_reaction(builder.max_size(100).max_backups(1), react);
    rotate(&log, "first\n");
    rotate(&log, "second\n");
    std::fs::create_dir(dir.file("app.log.lock")).unwrap();
    write(&log, &"x".repeat(90));
    write(&log, &"y".repeat(90));
    eventually("every event was told", || {
        seen.iter().all(|count| count.load(Ordering::SeqCst) > 0)
    });
}

#[test]
fn observer_may_use_the_log_within_the_log_call() {
    observer_uses_the_log(MaintenanceMode::Inline);
}

#[test]
fn observer_may_use_the_log_on_its_thread() {
    observer_uses_the_log(MaintenanceMode::Thread);
}

#[test]
fn observer_may_drop_the_last_handle() {
    let dir = Dir::new();
    let only: Arc<Mutex<Option<RotatingFileWriter>>> = Arc::default();
    let (dropped, is_dropped) = channel();
    let observer = {
        let only = Arc::clone(&only);
        move |event: &Event| {
            if matches!(event, Event::Compressed { .. }) {
                drop(only.lock().unwrap().take());
                dropped.send(()).unwrap();
            }
        }
    };
    let log = dir.writer().compression(Compression::Gzip).observer(observer).build().unwrap();
    let mut guard = only.lock().unwrap();
    rotate(&log, "x\n");
    *guard = Some(log);
    drop(guard);
    is_dropped.recv_timeout(Duration::from_secs(60)).unwrap();
    assert!(only.lock().unwrap().is_none());
}

#[test]
fn panicking_observer_harms_neither_log_calls_nor_maintenance() {
    for maintenance in [MaintenanceMode::Inline, MaintenanceMode::Thread] {
        let dir = Dir::new();
        let told = Arc::new(AtomicU64::new(0));
        let observer = {
            let told = Arc::clone(&told);
            move |_: &Event| {
                told.fetch_add(1, Ordering::SeqCst);
                panic!("meant to: an observer that panics");
            }
        };
        let builder = dir.writer().maintenance(maintenance).compression(Compression::Gzip);
        let log = builder.max_backups(1).observer(observer).build().unwrap();
        for text in ["first\n", "second\n", "third\n"] {
            rotate(&log, text);
        }
        write(&log, "last\n");
        eventually("the backups are looked after", || log.stats().pruned == 2);
        log.finish().unwrap();
        // By the thread, shortly after it is counted.
        eventually("every event was told", || {
            let stats = log.stats();
            told.load(Ordering::SeqCst) == stats.rotations + stats.compressions + stats.pruned
        });
        assert_eq!(dir.all_lines(), ["third", "last"]);
    }
}

#[test]
fn log_without_an_observer_counts_but_keeps_no_events() {
    let dir = Dir::new();
    let log = quiet(&dir).compression(Compression::Gzip).build().unwrap();
    rotate(&log, "x\n");
    assert_eq!((log.stats().rotations, log.stats().compressions), (1, 1));
}
