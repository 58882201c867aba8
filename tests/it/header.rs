//! The header: the first bytes of every segment.

use crate::support::{Dir, eventually, record};
use logrotor::__test::Clock;
use logrotor::{ErrorKind, FileLock, MaintenanceMode, RotatingFileWriter, Wait};
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

const HEADER: &str = "time,level\n";

fn csv(dir: &Dir) -> logrotor::LogBuilder {
    dir.writer().maintenance(MaintenanceMode::Inline).header(HEADER)
}

fn write(mut log: &RotatingFileWriter, text: &str) {
    log.write_all(text.as_bytes()).unwrap();
}

/// The lines of every segment, oldest first.
fn segments(dir: &Dir) -> Vec<Vec<String>> {
    let names = dir.backups().into_iter().chain(["app.log".to_owned()]);
    names.map(|name| dir.lines_of(&name)).collect()
}

#[test]
fn every_segment_begins_with_the_header() {
    let dir = Dir::new();
    let log = csv(&dir).max_size(20).build().unwrap();
    assert_eq!(dir.read("app.log"), HEADER.as_bytes());
    write(&log, "1,info\n");
    write(&log, "2,info\n");
    log.rotate().unwrap();
    write(&log, "3,info\n");
    let expected = ["1,info", "2,info", "3,info"].map(|line| ["time,level", line]);
    assert_eq!(segments(&dir), expected);
}

#[test]
fn header_is_computed_for_each_segment() {
    let (dir, calls) = (Dir::new(), AtomicUsize::new(0));
    let header = move || format!("# {}\n", calls.fetch_add(1, Ordering::SeqCst)).into_bytes();
    let log = dir.writer().header_with(header).build().unwrap();
    for _ in 0..2 {
        write(&log, "x\n");
        log.rotate().unwrap();
    }
    let mut headers: Vec<_> = segments(&dir).iter().map(|lines| lines[0].clone()).collect();
    headers.dedup();
    assert_eq!(headers.len(), 3);
}

#[test]
fn header_counts_as_part_of_the_size() {
    let dir = Dir::new();
    let log = csv(&dir).max_size(HEADER.len() as u64 + 9).build().unwrap();
    write(&log, "12345678\n");
    assert_eq!(log.stats().rotations, 0);
    write(&log, "x");
    assert_eq!(log.stats().rotations, 1);
    assert_eq!(dir.read(&dir.backups()[0]).len(), HEADER.len() + 9);
}

#[test]
fn segment_with_only_a_header_is_not_rotated() {
    let dir = Dir::new();
    let log = csv(&dir).max_size(20).build().unwrap();
    write(&log, "far more than there is room for\n");
    assert_eq!(log.stats().rotations, 0);
    assert_eq!(segments(&dir), [["time,level", "far more than there is room for"]]);
}

#[test]
fn second_worker_adopts_the_header_and_adds_none() {
    let dir = Dir::new();
    let first = csv(&dir).build().unwrap();
    let second = csv(&dir).build().unwrap();
    assert_eq!(second.rotate().unwrap(), None);
    write(&second, "2,info\n");
    write(&first, "1,info\n");
    assert_eq!(segments(&dir), [["time,level", "2,info", "1,info"]]);
}

#[test]
fn worker_that_adopts_a_segment_counts_its_header() {
    let (dir, start) = (Dir::new(), SystemTime::now());
    let clock = Clock::manual(start);
    let [first, second] =
        [0, 1].map(|_| csv(&dir).clock(clock.clone()).max_size(20).build().unwrap());
    write(&first, "1,info\n");
    first.rotate().unwrap();
    clock.set(start + Duration::from_secs(2));
    write(&second, "2,info\n");
    assert_eq!(second.stats().follows, 1);
    write(&second, "3,info\n");
    assert_eq!(second.stats().rotations, 1);
    let expected = ["1,info", "2,info", "3,info"].map(|line| ["time,level", line]);
    assert_eq!(segments(&dir), expected);
}

#[test]
fn recreated_log_gets_its_header() {
    let dir = Dir::new();
    let log = csv(&dir).build().unwrap();
    write(&log, "1,info\n");
    std::fs::remove_file(dir.log()).unwrap();
    log.reopen().unwrap();
    write(&log, "2,info\n");
    assert_eq!(segments(&dir), [["time,level", "2,info"]]);
}

#[test]
fn log_is_never_seen_without_its_header() {
    let dir = Dir::new();
    let workers: [_; 3] = std::array::from_fn(|_| csv(&dir).max_size(200).build().unwrap());
    let done = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for (worker, mut log) in workers.iter().enumerate() {
            let done = &done;
            scope.spawn(move || {
                for seq in 0..100 {
                    log.write_all(record(worker, seq).as_bytes()).unwrap();
                }
                done.fetch_add(1, Ordering::SeqCst);
            });
        }
        eventually("the workers are done", || {
            if let Ok(active) = std::fs::read_to_string(dir.log()) {
                assert!(active.starts_with(HEADER), "{active}");
            }
            done.load(Ordering::SeqCst) == workers.len()
        });
    });
    for lines in segments(&dir) {
        let headers = lines.iter().filter(|line| **line == HEADER.trim_end());
        assert_eq!((lines[0].as_str(), headers.count()), (HEADER.trim_end(), 1));
    }
}

#[test]
fn header_that_leaves_no_room_is_rejected() {
    let dir = Dir::new();
    let error = csv(&dir).max_size(HEADER.len() as u64).build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    assert!(error.to_string().contains("the header of 11 bytes fills it"), "{error}");
}

// As `logrotor rotate` rotates.
#[test]
fn segment_of_a_worker_without_a_header_gets_one() {
    let dir = Dir::new();
    let log = csv(&dir).check_interval(Duration::ZERO).build().unwrap();
    log.write_record(b"one\n").unwrap();
    dir.writer().build().unwrap().rotate().unwrap().expect("there was a record");
    log.write_record(b"two\n").unwrap();
    assert_eq!(dir.active_lines(), [HEADER.trim_end(), "two"]);
}

// `logrotate` with `create` made an empty file, and the log continued in it without a header.
#[test]
fn regression_empty_file_of_another_program_gets_one_header() {
    let dir = Dir::new();
    let open = || {
        let builder = dir.writer().header(b"#\n").check_interval(Duration::ZERO);
        builder.maintenance(MaintenanceMode::Inline).build().unwrap()
    };
    let workers = [open(), open(), open()];
    let write = |text: &str| workers.iter().for_each(|mut log| writeln!(log, "{text}").unwrap());
    write("before");
    std::fs::rename(dir.log(), dir.file("app.log.old")).unwrap();
    std::fs::write(dir.log(), "").unwrap();
    write("after");
    assert_eq!(dir.active_lines(), ["#", "after", "after", "after"]);
    // The same for a file that exists when the log is opened.
    let dir = Dir::new();
    std::fs::write(dir.log(), "").unwrap();
    let log = dir.writer().header(b"#\n").build().unwrap();
    assert_eq!((log.stats().records, dir.active_lines()), (0, vec!["#".to_owned()]));
    assert_eq!(log.rotate().unwrap(), None);
}

#[test]
fn foreign_file_gets_no_header_while_the_lock_is_held() {
    let dir = Dir::new();
    let builder = dir.writer().header(b"#\n").check_interval(Duration::ZERO);
    let builder = builder.maintenance(MaintenanceMode::Inline);
    let log = builder.lock_timeout(Duration::from_millis(10)).build().unwrap();
    let lock = FileLock::open(dir.file("app.log.lock")).unwrap();
    let guard = lock.exclusive(Wait::Forever).unwrap();
    std::fs::rename(dir.log(), dir.file("app.log.old")).unwrap();
    std::fs::write(dir.log(), "").unwrap();
    writeln!(&log, "record").unwrap();
    assert_eq!(dir.active_lines(), ["record"]);
    assert_eq!(log.stats().failures(ErrorKind::LockTimeout), 1);
    guard.unlock().unwrap();
}
