//! Reading a log back: whole, in part, backwards, while it is written, and damaged.

use crate::support::{Dir, Job, check, eventually, lines, record};
use logrotor::reader::{DamageKind, LogReader, Record};
use logrotor::{Compression, ErrorKind, Naming, RotatingFileWriter};
use std::collections::BTreeMap;
use std::io::{BufRead, Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

const NAMINGS: [Naming; 2] = [Naming::Timestamp, Naming::Number];

/// A log of 100 lines in 20 segments, with compressed backups.
fn compressed(dir: &Dir, naming: Naming) {
    write(dir, naming, Compression::Gzip, 0..100);
}

fn write(dir: &Dir, naming: Naming, compression: Compression, numbers: std::ops::Range<u32>) {
    let builder = dir.writer().naming(naming).max_size(50).compression(compression);
    let mut log = builder.build().unwrap();
    for number in numbers {
        writeln!(log, "line {number:04}").unwrap();
    }
    log.close().unwrap();
}

fn numbered(numbers: impl IntoIterator<Item = u32>) -> Vec<String> {
    numbers.into_iter().map(|number| format!("line {number:04}")).collect()
}

fn all(reader: &mut LogReader) -> Vec<String> {
    reader.records().map(|record| record.unwrap().into_string_lossy()).collect()
}

fn read(dir: &Dir) -> Vec<String> {
    all(&mut LogReader::open(dir.log()).unwrap())
}

/// The lines, and the kinds and offsets of damage, in the order in which they come.
fn with_damage(mut reader: LogReader) -> Vec<String> {
    let show = |item: Result<Record, logrotor::reader::Damage>| match item {
        Ok(record) => record.into_string_lossy(),
        Err(damage) => {
            let segment = damage.segment().file_name().unwrap().to_str().unwrap().to_owned();
            format!("{:?} {segment} {}", damage.kind(), damage.offset())
        }
    };
    reader.records().map(show).collect()
}

#[test]
fn log_is_one_stream_across_all_its_segments() {
    for naming in NAMINGS {
        let dir = Dir::new();
        compressed(&dir, naming);
        #[cfg(feature = "zstd")]
        write(&dir, naming, Compression::Zstd, 100..150);
        #[cfg(not(feature = "zstd"))]
        write(&dir, naming, Compression::Gzip, 100..150);
        write(&dir, naming, Compression::None, 150..151);
        {
            let _reader = LogReader::open(dir.log()).unwrap();
            // Uncompressed backups: this writer compresses none.
            write(&dir, naming, Compression::None, 151..200);
        }
        assert_eq!(read(&dir), numbered(0..200), "{naming:?}");
        let mut text = String::new();
        LogReader::open(dir.log()).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(lines(text.as_bytes()), numbered(0..200));
        let by_line = LogReader::open(dir.log()).unwrap().lines();
        assert_eq!(by_line.collect::<Result<Vec<_>, _>>().unwrap(), numbered(0..200));
    }
}

#[test]
fn record_has_its_segment_and_offset() {
    let dir = Dir::new();
    compressed(&dir, Naming::Number);
    let mut reader = LogReader::open(dir.log()).unwrap();
    let records: Vec<_> = reader.records().map(Result::unwrap).collect();
    let place = |at: usize| {
        let record: &Record = &records[at];
        (record.segment().file_name().unwrap().to_str().unwrap(), record.offset())
    };
    assert_eq!([place(0), place(4)], [("app.log.19.gz", 0), ("app.log.19.gz", 40)]);
    assert_eq!([place(95), place(99)], [("app.log", 0), ("app.log", 40)]);
}

#[test]
fn log_that_changed_its_naming_is_read_in_order() {
    let infix = Naming::TimestampInfix;
    let pairs = NAMINGS.into_iter().flat_map(|naming| [(naming, infix), (infix, naming)]);
    for (first, second) in pairs.chain([(NAMINGS[0], NAMINGS[1]), (NAMINGS[1], NAMINGS[0])]) {
        let dir = Dir::new();
        write(&dir, first, Compression::Gzip, 0..30);
        write(&dir, second, Compression::None, 30..60);
        assert_eq!(read(&dir), numbered(0..60), "{first:?}");
        let mut reverse = LogReader::builder(dir.log()).reverse().open().unwrap();
        assert_eq!(all(&mut reverse), numbered((0..60).rev()));
    }
}

#[test]
fn strays_are_not_read() {
    let dir = Dir::new();
    compressed(&dir, Naming::Number);
    for name in ["app.log.old", "app.log.1.txt", "app.error.log.1", "app.log.0", "app.log.lock"] {
        std::fs::write(dir.file(name), "stray\n").unwrap();
    }
    std::fs::create_dir(dir.file("app.log.7")).unwrap();
    std::fs::create_dir(dir.file("app.log.99")).unwrap();
    std::fs::create_dir(dir.file("app.log.2026-11-20T23-57-01.123456Z")).unwrap();
    assert_eq!(read(&dir), numbered(0..100));
}

#[test]
fn superseded_backup_is_read_once() {
    for naming in NAMINGS {
        let dir = Dir::new();
        compressed(&dir, naming);
        let compressed = dir.backups()[7].clone();
        let plain = compressed.trim_end_matches(".gz");
        std::fs::write(dir.file(plain), dir.read(&compressed)).unwrap();
        let modified = std::fs::metadata(dir.file(&compressed)).unwrap().modified().unwrap();
        let file = std::fs::File::options().append(true).open(dir.file(plain)).unwrap();
        file.set_modified(modified).unwrap();
        let record = LogReader::open(dir.log()).unwrap().records().nth(35).unwrap().unwrap();
        assert_eq!(record.segment().file_name(), dir.file(&compressed).file_name());
        assert_eq!(read(&dir), numbered(0..100), "{naming:?}");
    }
}

/// A log whose newest backup still has the log's path too, as on NFS after the worker that renamed
/// it was killed.
fn renamed_by_half(dir: &Dir, naming: Naming) {
    write(dir, naming, Compression::None, 0..20);
    std::fs::remove_file(dir.log()).unwrap();
    std::fs::hard_link(dir.file(dir.backups().last().unwrap()), dir.log()).unwrap();
}

#[test]
fn segment_with_two_names_is_read_once() {
    for naming in NAMINGS {
        let dir = Dir::new();
        renamed_by_half(&dir, naming);
        assert_eq!(read(&dir), numbered(0..15), "{naming:?}");
        let mut reverse = LogReader::builder(dir.log()).reverse().open().unwrap();
        assert_eq!(all(&mut reverse), numbered((0..15).rev()), "{naming:?}");
        let mut last = LogReader::builder(dir.log()).last(8).open().unwrap();
        assert_eq!(all(&mut last), numbered(7..15), "{naming:?}");
    }
}

#[test]
fn follower_of_a_segment_with_two_names_misses_no_record() {
    for naming in NAMINGS {
        let dir = Dir::new();
        renamed_by_half(&dir, naming);
        let mut reader = follow(&dir);
        let mut expect = |numbers| {
            for line in numbered(numbers) {
                // If nothing begins where the backup ends, something may be missing.
                let record = reader.records().find_map(Result::ok).unwrap();
                assert_eq!(record.into_string_lossy(), line, "{naming:?}");
            }
        };
        expect(0..15);
        let mut late = std::fs::File::options().append(true).open(dir.log()).unwrap();
        writeln!(late, "line 0015").unwrap();
        drop(late);
        expect(15..16);
        std::fs::remove_file(dir.log()).unwrap();
        write(&dir, naming, Compression::None, 16..30);
        expect(16..30);
    }
}

#[test]
fn rotation_undone_in_mid_read_duplicates_no_record() {
    let dir = Dir::new();
    write(&dir, Naming::Timestamp, Compression::None, 0..20);
    // A worker does this if it cannot create the next segment then.
    let backup = dir.file("app.log.9999-01-01T00-00-00.000000Z");
    std::fs::rename(dir.log(), &backup).unwrap();
    let backup = backup.canonicalize().unwrap();
    let mut reader = LogReader::open(dir.log()).unwrap();
    let first: Vec<_> = reader.records().take(17).map(Result::unwrap).collect();
    assert_eq!(first[16].segment(), backup);
    std::fs::rename(&backup, dir.log()).unwrap();
    assert_eq!(all(&mut reader), numbered(17..20));
}

#[test]
fn backup_that_another_program_compresses_is_read() {
    for naming in NAMINGS {
        let dir = Dir::new();
        write(&dir, naming, Compression::None, 0..100);
        let name = dir.backups()[7].clone();
        std::fs::write(dir.file(&format!("{name}.gz")), "partial").unwrap();
        assert_eq!(read(&dir), numbered(0..100), "{naming:?}");
    }
}

#[test]
fn missing_log_or_directory_is_named_by_the_error() {
    let dir = Dir::new();
    let error = LogReader::open(dir.log()).unwrap_err();
    assert!(error.to_string().contains("app.log"), "{error}");
    assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::NotFound);
    let nowhere = dir.file("none").join("app.log");
    let error = LogReader::open(&nowhere).unwrap_err();
    assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::NotFound);
    assert!(!dir.file("none").exists());
    assert_eq!(LogReader::open(dir.path()).unwrap_err().kind(), ErrorKind::NotAFile);
}

#[test]
fn following_in_reverse_or_until_a_time_is_rejected() {
    let dir = Dir::new();
    compressed(&dir, Naming::Timestamp);
    let builder = || LogReader::builder(dir.log()).follow();
    for builder in [
        builder().reverse(),
        builder().until(SystemTime::now()),
        builder().poll_interval(Duration::ZERO),
    ] {
        assert_eq!(builder.open().unwrap_err().kind(), ErrorKind::InvalidConfig);
    }
}

#[test]
fn empty_log_has_no_record() {
    let dir = Dir::new();
    std::fs::write(dir.log(), "").unwrap();
    assert!(read(&dir).is_empty());
    assert!(all(&mut LogReader::builder(dir.log()).reverse().open().unwrap()).is_empty());
    assert!(all(&mut LogReader::builder(dir.log()).last(3).open().unwrap()).is_empty());
}

#[test]
fn unfinished_and_empty_lines_are_records() {
    let dir = Dir::new();
    std::fs::write(dir.file("app.log.2"), "one\n\ntorn").unwrap();
    std::fs::write(dir.file("app.log.1"), "\n").unwrap();
    std::fs::write(dir.log(), "two\nend").unwrap();
    assert_eq!(read(&dir), ["one", "", "torn", "", "two", "end"]);
    let mut text = String::new();
    LogReader::open(dir.log()).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "one\n\ntorn\ntwo\nend");
    let mut reverse = LogReader::builder(dir.log()).reverse().open().unwrap();
    assert_eq!(all(&mut reverse), ["end", "two", "", "torn", "", "one"]);
    for last in 0..8 {
        let mut reader = LogReader::builder(dir.log()).last(last).open().unwrap();
        let expected = ["one", "", "torn", "", "two", "end"];
        let expected = &expected[6 - usize::try_from(last).unwrap().min(6)..];
        assert_eq!(all(&mut reader), expected, "{last}");
    }
}

#[test]
fn long_lines_survive_every_way_of_reading() {
    let dir = Dir::new();
    let long = |len: usize| "x".repeat(len);
    let lengths = [10, 200_000, 0, 65_536, 65_535, 131_072, 1, 3_000_000];
    let text: String = lengths.iter().map(|len| long(*len) + "\n").collect();
    std::fs::write(dir.log(), &text).unwrap();
    let read: Vec<_> = read(&dir).iter().map(String::len).collect();
    assert_eq!(read, lengths);
    let mut reverse = LogReader::builder(dir.log()).reverse().open().unwrap();
    let mut read: Vec<_> = all(&mut reverse).iter().map(String::len).collect();
    read.reverse();
    assert_eq!(read, lengths);
}

#[test]
fn last_lines_come_from_several_segments() {
    for naming in NAMINGS {
        let dir = Dir::new();
        compressed(&dir, naming);
        for last in [0, 1, 4, 5, 6, 10, 11, 99, 100, 101] {
            let mut reader = LogReader::builder(dir.log()).last(last).open().unwrap();
            let first = 100 - u32::try_from(last).unwrap().min(100);
            assert_eq!(all(&mut reader), numbered(first..100), "{naming:?} {last}");
            let builder = LogReader::builder(dir.log()).last(last).reverse();
            let reverse = all(&mut builder.open().unwrap());
            assert_eq!(reverse, numbered((first..100).rev()), "{naming:?} {last}");
        }
    }
}

#[test]
fn last_lines_do_not_open_older_segments() {
    let dir = Dir::new();
    compressed(&dir, Naming::Number);
    // Opening these would report it.
    for number in 3..20 {
        std::fs::write(dir.file(&format!("app.log.{number}.gz")), "not gzip").unwrap();
    }
    let reader = LogReader::builder(dir.log()).last(12).open().unwrap();
    assert_eq!(with_damage(reader), numbered(88..100));
}

#[test]
fn times_skip_whole_segments() {
    let dir = Dir::new();
    let hour = |n: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + n * 3600);
    let clock = logrotor::__test::Clock::manual(hour(0));
    let mut log = dir.writer().clock(clock.clone()).build().unwrap();
    for n in 0..6 {
        writeln!(log, "hour {n}").unwrap();
        clock.set(hour(n + 1));
        log.rotate().unwrap();
    }
    // The times of the last writes are those in the names.
    for (n, name) in (1..).zip(dir.backups()) {
        let file = std::fs::File::options().append(true).open(dir.file(&name)).unwrap();
        file.set_modified(hour(n)).unwrap();
    }
    let read = |from: Option<u64>, until: Option<u64>, reverse: bool| {
        let mut builder = LogReader::builder(dir.log());
        let minute = Duration::from_secs(60);
        builder = from.into_iter().fold(builder, |b, n| b.since(hour(n) + minute));
        builder = until.into_iter().fold(builder, |b, n| b.until(hour(n) + minute));
        builder = if reverse { builder.reverse() } else { builder };
        let mut lines = all(&mut builder.open().unwrap());
        if reverse {
            lines.reverse();
        }
        lines.concat().replace("hour ", "")
    };
    for reverse in [false, true] {
        assert_eq!(read(None, None, reverse), "012345");
        assert_eq!(read(Some(2), None, reverse), "2345");
        assert_eq!(read(None, Some(2), reverse), "012");
        assert_eq!(read(Some(1), Some(3), reverse), "123");
        assert_eq!(read(Some(50), None, reverse), "");
    }
    let mut last = LogReader::builder(dir.log()).until(hour(3)).last(2).open().unwrap();
    assert_eq!(all(&mut last).concat(), "hour 2hour 3");
}

/// A log with one line per segment, so that every step of a reader crosses a rotation.
fn one_line_each(dir: &Dir, naming: Naming, compression: Compression) -> RotatingFileWriter {
    dir.writer().naming(naming).max_size(10).compression(compression).build().unwrap()
}

#[test]
fn rotation_and_compression_in_mid_read_lose_no_record() {
    for naming in NAMINGS {
        for step in 1..7 {
            let dir = Dir::new();
            let mut log = one_line_each(&dir, naming, Compression::Gzip);
            let mut written = 0..;
            let mut write = |log: &mut RotatingFileWriter, lines| {
                written.by_ref().take(lines).for_each(|n| writeln!(log, "line {n:04}").unwrap());
            };
            write(&mut log, 20);
            let mut reader = LogReader::open(dir.log()).unwrap();
            let mut read = Vec::new();
            while let Some(record) = reader.records().next() {
                read.push(record.unwrap().into_string_lossy());
                if read.len() < 30 && read.len() % step == 0 {
                    write(&mut log, 3);
                    // Compresses all backups that no process has open.
                    log.finish().unwrap();
                }
            }
            let count = u32::try_from(read.len()).unwrap();
            assert!(count >= 20);
            assert_eq!(read, numbered(0..count), "{naming:?} {step}");
        }
    }
}

#[test]
fn reading_backwards_returns_each_record_once() {
    for naming in NAMINGS {
        let dir = Dir::new();
        let mut log = one_line_each(&dir, naming, Compression::Gzip);
        (0..20).for_each(|n| writeln!(log, "line {n:04}").unwrap());
        let mut reader = LogReader::builder(dir.log()).reverse().open().unwrap();
        let mut read = Vec::new();
        while let Some(record) = reader.records().next() {
            read.push(record.unwrap().into_string_lossy());
            writeln!(log, "line later").unwrap();
            log.finish().unwrap();
        }
        assert_eq!(read, numbered((0..20).rev()), "{naming:?}");
    }
}

#[test]
fn reading_backwards_is_exact_during_rotations() {
    const KEPT: usize = 25;
    for naming in NAMINGS {
        let dir = Dir::new();
        let builder = dir.writer().naming(naming).max_size(10).max_backups(KEPT);
        let mut log = builder.compression(Compression::Gzip).build().unwrap();
        // Rotates, compresses and prunes, with one line per segment.
        let written = AtomicUsize::new(0);
        let mut write = |lines: std::ops::Range<usize>| {
            for n in lines {
                writeln!(log, "line {n:04}").unwrap();
                written.store(n, Ordering::SeqCst);
                if n % 3 == 0 {
                    log.finish().unwrap();
                }
            }
        };
        write(0..2 * KEPT);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| write(2 * KEPT..6 * KEPT));
            loop {
                let is_last = writer.is_finished();
                let mut reader = LogReader::builder(dir.log()).reverse().open().unwrap();
                let read: Vec<usize> =
                    all(&mut reader).iter().map(|line| line[5..].parse().unwrap()).collect();
                // Only a backup beyond the limit may be gone before it is read.
                let kept = (written.load(Ordering::SeqCst) + 2).saturating_sub(KEPT);
                let is_exact = |pair: &[usize]| {
                    pair[1] < pair[0] && (pair[1] + 1..pair[0]).all(|missing| missing < kept)
                };
                assert!(read.windows(2).all(is_exact), "{naming:?} {kept} {read:?}");
                assert!(read[read.len() - 1] <= kept, "{naming:?} {kept} {read:?}");
                if is_last {
                    assert!(read.len() > KEPT, "{read:?}");
                    break;
                }
            }
        });
    }
}

#[test]
fn reading_backwards_goes_on_after_the_log_was_moved() {
    for naming in NAMINGS {
        let dir = Dir::new();
        let mut log = one_line_each(&dir, naming, Compression::None);
        (0..5).for_each(|n| writeln!(log, "line {n:04}").unwrap());
        let mut reader = LogReader::builder(dir.log()).reverse().open().unwrap();
        let first = reader.records().next().unwrap().unwrap();
        std::fs::rename(dir.log(), dir.file("moved")).unwrap();
        assert_eq!(first.bytes(), b"line 0004");
        assert_eq!(all(&mut reader), numbered((0..4).rev()), "{naming:?}");
    }
}

#[test]
fn segment_being_read_is_compressed_later() {
    let dir = Dir::new();
    let mut log = one_line_each(&dir, Naming::Timestamp, Compression::Gzip);
    writeln!(log, "line 0000").unwrap();
    let mut reader = LogReader::builder(dir.log()).follow().open().unwrap();
    assert_eq!(reader.records().next().unwrap().unwrap().bytes(), b"line 0000");
    (1..5).for_each(|n| writeln!(log, "line {n:04}").unwrap());
    log.finish().unwrap();
    let is_compressed = |at: usize| dir.backups()[at].ends_with(".gz");
    assert!(!is_compressed(0) && (1..4).all(is_compressed), "{:?}", dir.backups());
    let stats = log.stats();
    assert_eq!((stats.rotations, stats.lock_waits, stats.all_failures()), (4, 0, 0));
    for n in 1..5 {
        let record = reader.records().next().unwrap().unwrap();
        assert_eq!(record.into_string_lossy(), format!("line {n:04}"));
    }
    log.finish().unwrap();
    assert!(is_compressed(0), "{:?}", dir.backups());
}

/// Runs a reader on a thread during `work`. Returns its lines.
fn while_following(
    reader: LogReader,
    work: impl FnOnce(),
) -> (Vec<String>, Vec<logrotor::reader::Damage>) {
    let stopper = reader.stopper();
    let thread = std::thread::spawn(move || {
        let mut reader = reader;
        let (mut lines, mut damages) = (Vec::new(), Vec::new());
        for item in reader.records() {
            match item {
                Ok(record) => lines.push(record.into_string_lossy()),
                Err(damage) => damages.push(damage),
            }
        }
        (lines, damages)
    });
    work();
    stopper.stop();
    thread.join().unwrap()
}

fn follow(dir: &Dir) -> LogReader {
    LogReader::builder(dir.log()).follow().open().unwrap()
}

#[test]
fn follower_waits_for_a_missing_log() {
    let dir = Dir::new();
    let (lines, damages) = while_following(follow(&dir), || compressed(&dir, Naming::Timestamp));
    assert_eq!(lines, numbered(0..100));
    assert!(damages.is_empty(), "{damages:?}");
}

#[test]
fn follower_is_notified_of_a_line_at_once() {
    let dir = Dir::new();
    let mut log = dir.writer().build().unwrap();
    let mut reader = follow(&dir);
    let (sender, lines) = std::sync::mpsc::channel();
    let stopper = reader.stopper();
    let thread = std::thread::spawn(move || {
        reader.records().for_each(|record| sender.send(record.unwrap()).unwrap());
    });
    for n in 0..50 {
        writeln!(log, "line {n:04}").unwrap();
        assert_eq!(lines.recv().unwrap().into_string_lossy(), format!("line {n:04}"));
        if n % 10 == 0 {
            log.rotate().unwrap();
        }
    }
    stopper.stop();
    thread.join().unwrap();
}

#[test]
fn follower_with_last_begins_at_the_last_lines() {
    for naming in NAMINGS {
        let dir = Dir::new();
        write(&dir, naming, Compression::Gzip, 0..43);
        let reader = LogReader::builder(dir.log()).follow().last(7).open().unwrap();
        let work = || write(&dir, naming, Compression::Gzip, 43..90);
        let (lines, damages) = while_following(reader, work);
        assert_eq!(lines, numbered(36..90), "{naming:?} {damages:?}");
    }
}

#[test]
fn unfinished_line_waits_until_it_is_whole() {
    let dir = Dir::new();
    let mut log = dir.writer().build().unwrap();
    let mut reader = follow(&dir);
    write!(log, "begin of ").unwrap();
    writeln!(log, "the line").unwrap();
    let record = reader.records().next().unwrap().unwrap();
    assert_eq!(record.bytes(), b"begin of the line");
    write!(log, "torn").unwrap();
    log.rotate().unwrap();
    writeln!(log, "next").unwrap();
    let record = reader.records().next().unwrap().unwrap();
    assert_eq!(record.bytes(), b"torn");
    assert_eq!(reader.records().next().unwrap().unwrap().bytes(), b"next");
}

#[test]
fn late_records_are_read_in_the_order_of_their_worker() {
    let dir = Dir::new();
    // It checks the path once an hour, so it stays with its segment until that is full.
    let mut late =
        Job::new("obey", &dir.log()).with("check_ms", 3_600_000).with("inline", 1).spawn();
    late.expect("ready");
    let mut log = dir.writer().build().unwrap();
    let mut reader = follow(&dir);
    let mut next = || {
        let record = reader.records().next().unwrap().unwrap();
        record.into_string_lossy()
    };
    late.write("late 1");
    assert_eq!(next(), "late 1");
    for round in 0..5 {
        log.rotate().unwrap();
        writeln!(log, "early {round}").unwrap();
        // Not held up by the late worker.
        assert_eq!(next(), format!("early {round}"));
        late.write(&format!("late {round}"));
        assert_eq!(next(), format!("late {round}"));
    }
    late.write("before");
    assert_eq!(late.ask("reopen"), "ok");
    late.write("after");
    assert_eq!([next(), next()], ["before", "after"]);
    late.finish();
}

#[test]
fn late_records_are_read_by_a_follower_that_starts_later() {
    let dir = Dir::new();
    let mut late =
        Job::new("obey", &dir.log()).with("check_ms", 3_600_000).with("inline", 1).spawn();
    late.expect("ready");
    late.write("old");
    let mut log = dir.writer().build().unwrap();
    log.rotate().unwrap();
    writeln!(log, "old as well").unwrap();
    let mut reader = LogReader::builder(dir.log()).follow().last(0).open().unwrap();
    late.write("late");
    assert_eq!(reader.records().next().unwrap().unwrap().bytes(), b"late");
    late.finish();
}

#[test]
fn followers_block_neither_maintenance_nor_each_other() {
    let dir = Dir::new();
    let log = one_line_each(&dir, Naming::Timestamp, Compression::Gzip);
    let readers = [follow(&dir), follow(&dir)];
    let stoppers = readers.each_ref().map(LogReader::stopper);
    let threads = readers.map(|mut reader| std::thread::spawn(move || all(&mut reader)));
    (0..20).for_each(|n| writeln!(&log, "line {n:04}").unwrap());
    eventually("all backups are compressed while followers run", || {
        log.finish().unwrap();
        dir.backups().iter().all(|name| name.ends_with(".gz"))
    });
    stoppers.iter().for_each(logrotor::reader::Stopper::stop);
    for thread in threads {
        assert_eq!(thread.join().unwrap(), numbered(0..20));
    }
}

#[test]
fn follower_resumes_after_its_log_or_directory_was_replaced() {
    let dir = Dir::new();
    let sub = dir.file("logs");
    let path = sub.join("app.log");
    let write = |n: u32| {
        std::fs::create_dir_all(&sub).unwrap();
        let mut file = std::fs::File::options().create(true).append(true).open(&path).unwrap();
        writeln!(file, "line {n:04}").unwrap();
    };
    write(0);
    let mut reader = LogReader::builder(&path).follow().open().unwrap();
    let mut next = || reader.records().next().unwrap().unwrap().into_string_lossy();
    assert_eq!(next(), "line 0000");
    std::fs::rename(&path, sub.join("app.log.1")).unwrap();
    write(1);
    assert_eq!(next(), "line 0001");
    std::fs::rename(&path, sub.join("elsewhere")).unwrap();
    write(2);
    assert_eq!(next(), "line 0002");
    std::fs::remove_file(&path).unwrap();
    write(3);
    assert_eq!(next(), "line 0003");
    std::fs::remove_dir_all(&sub).unwrap();
    write(4);
    assert_eq!(next(), "line 0004");
}

#[test]
fn backup_pruned_before_it_is_read_is_reported() {
    let dir = Dir::new();
    let mut log = one_line_each(&dir, Naming::Timestamp, Compression::None);
    writeln!(log, "line 0000").unwrap();
    let mut reader = follow(&dir);
    assert_eq!(reader.records().next().unwrap().unwrap().bytes(), b"line 0000");
    (1..10).for_each(|n| writeln!(log, "line {n:04}").unwrap());
    // The reader has read on, so it knows the names of all later backups.
    assert_eq!(reader.records().next().unwrap().unwrap().bytes(), b"line 0001");
    log.close().unwrap();
    let names = dir.backups();
    drop(dir.writer().max_size(10).max_backups(3).build().unwrap().close());
    let left = dir.backups();
    assert!(left.len() <= 4, "{left:?}");
    let stopper = reader.stopper();
    stopper.stop();
    let mut expected: Vec<_> = names.iter().skip(2).collect();
    expected.retain(|name| !left.contains(name));
    let items = with_damage(reader);
    let gaps: Vec<_> = items.iter().filter_map(|item| item.strip_prefix("Missing ")).collect();
    let gaps: Vec<_> = gaps.iter().map(|gap| gap.trim_end_matches(" 0")).collect();
    assert_eq!(gaps, expected);
    assert_eq!(items[gaps.len()..], numbered(10 - (items.len() - gaps.len()) as u32..10));
}

#[test]
fn backup_pruned_before_it_is_listed_is_reported() {
    for compression in [Compression::None, Compression::Gzip] {
        let dir = Dir::new();
        let builder = dir.writer().max_size(10).compression(compression).max_backups(2);
        let log = builder.check_interval(Duration::ZERO).build().unwrap();
        let line = |n: u32| {
            writeln!(&log, "line {n:04}").unwrap();
            // Longer than the resolution of file times.
            std::thread::sleep(Duration::from_millis(20));
        };
        line(0);
        let mut reader = follow(&dir);
        assert_eq!(reader.records().next().unwrap().unwrap().bytes(), b"line 0000");
        (1..9).for_each(line);
        eventually("surplus backups are pruned", || {
            log.finish().unwrap();
            dir.backups().len() <= 3
        });
        reader.stopper().stop();
        let items = with_damage(reader);
        assert!(items[0].starts_with("Missing "), "{compression:?} {items:?}");
        assert_eq!(items[1..], numbered(10 - items.len() as u32..9), "{compression:?}");
    }
}

#[test]
fn slow_follower_reports_the_records_that_it_lost() {
    let dir = Dir::new();
    let job = Job::new("write", &dir.log()).with("count", 3_000).with("max_size", 8_000);
    let job = job.with("gzip", 1).with("max_backups", 2);
    let mut all: Vec<_> = (0..4).map(|id| job.clone().with("worker", id).spawn()).collect();
    all.iter_mut().for_each(|worker| worker.expect("ready"));
    let reader = follow(&dir);
    let stopper = reader.stopper();
    let thread = std::thread::spawn(move || {
        let mut reader = reader;
        let (mut lines, mut gaps) = (Vec::new(), 0);
        for item in reader.records() {
            match item {
                Ok(record) => lines.push(record.into_string_lossy()),
                Err(damage) => {
                    assert_eq!(damage.kind(), DamageKind::Missing, "{damage}");
                    gaps += 1;
                }
            }
            if lines.len() % 50 == 0 {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        (lines, gaps)
    });
    all.iter_mut().for_each(|worker| worker.tell("go"));
    all.into_iter().for_each(crate::support::Worker::finish);
    stopper.stop();
    let (lines, gaps) = thread.join().unwrap();
    let expected: BTreeMap<_, _> = (0..4).map(|id| (id, 3_000)).collect();
    let verdict = check(&lines, &expected);
    assert_eq!((verdict.doubled, verdict.torn, verdict.disordered), (0, 0, 0), "{verdict}");
    assert!(verdict.lost == 0 || gaps > 0, "{verdict}, no gap reported");
    println!("{verdict}, {gaps} gaps");
}

/// Follows a log while processes write and rotate. Checks that every record came once.
fn follow_many(workers: usize, count: usize, max_size: usize, numbered: bool) {
    let dir = Dir::new();
    let mut job = Job::new("write", &dir.log()).with("count", count).with("max_size", max_size);
    job = job.with("gzip", 1);
    if numbered {
        job = job.with("numbered", 1);
    }
    let mut all: Vec<_> = (0..workers).map(|id| job.clone().with("worker", id).spawn()).collect();
    let mut rotations = 0;
    let (lines, damages) = while_following(follow(&dir), || {
        all.iter_mut().for_each(|worker| worker.expect("ready"));
        all.iter_mut().for_each(|worker| worker.tell("go"));
        for worker in &mut all {
            let said = worker.hear().unwrap();
            rotations += said.split(' ').next().unwrap().parse::<usize>().unwrap();
        }
    });
    all.into_iter().for_each(crate::support::Worker::finish);
    let expected: BTreeMap<_, _> = (0..workers).map(|id| (id, count)).collect();
    let verdict = check(&lines, &expected);
    assert!(verdict.is_clean(), "{rotations} rotations: {verdict}");
    assert!(damages.is_empty(), "{damages:?}");
    assert!(rotations * max_size > workers * count * 60, "{rotations} rotations only");
}

#[test]
fn follower_is_exact_across_1000_rotations_by_4_processes() {
    follow_many(4, 8_000, 2_500, false);
}

#[test]
fn follower_is_exact_with_numbered_backups_too() {
    follow_many(4, 1_500, 2_500, true);
}

/// Checks one reading of a log that was being written: each worker's records have no gap.
fn is_beginning(lines: &[String]) -> BTreeMap<usize, usize> {
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    for line in lines {
        let worker = line[1..4].parse().unwrap();
        let next = counts.entry(worker).or_default();
        assert_eq!(*line, record(worker, *next).trim_end(), "after {next} records");
        *next += 1;
    }
    counts
}

#[test]
fn reading_during_writing_has_no_gap_in_any_worker() {
    for numbered in [false, true] {
        let dir = Dir::new();
        let mut job = Job::new("write", &dir.log()).with("count", 3_000).with("max_size", 4_000);
        job = job.with("gzip", 1);
        if numbered {
            job = job.with("numbered", 1);
        }
        let mut all: Vec<_> = (0..4).map(|id| job.clone().with("worker", id).spawn()).collect();
        all.iter_mut().for_each(|worker| worker.expect("ready"));
        all.iter_mut().for_each(|worker| worker.tell("go"));
        let (mut before, mut readings) = (BTreeMap::new(), 0);
        let mut heard = 0;
        let done = std::thread::spawn(move || {
            for worker in &mut all {
                worker.hear().unwrap();
                heard += 1;
            }
            all.into_iter().for_each(crate::support::Worker::finish);
            heard
        });
        loop {
            let is_over = done.is_finished();
            let counts = is_beginning(&read(&dir));
            for (worker, count) in &before {
                assert!(counts[worker] >= *count, "worker {worker} had {count} before");
            }
            before = counts;
            readings += 1;
            if is_over {
                break;
            }
        }
        assert_eq!(done.join().unwrap(), 4);
        let expected: BTreeMap<_, _> = (0..4).map(|id| (id, 3_000)).collect();
        assert_eq!(before, expected);
        println!("numbered: {numbered}, readings: {readings}");
    }
}

fn damage_file(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn truncated_gzip_is_reported_and_skipped() {
    let dir = Dir::new();
    compressed(&dir, Naming::Number);
    damage_file(&dir.file("app.log.3.gz"), |bytes| bytes.truncate(bytes.len() - 6));
    let items = with_damage(LogReader::open(dir.log()).unwrap());
    let mut expected = numbered(0..85);
    expected.push("Corrupt app.log.3.gz 50".to_owned());
    expected.extend(numbered(85..100));
    assert_eq!(items, expected);
}

#[test]
fn corrupt_gzip_is_reported_and_skipped() {
    let dir = Dir::new();
    compressed(&dir, Naming::Timestamp);
    let name = dir.backups()[10].clone();
    // The checksum, the content, the header, and nothing at all.
    let changes: [fn(&mut Vec<u8>); 4] = [
        |bytes| {
            let at = bytes.len() - 8;
            bytes[at] ^= 1;
        },
        |bytes| {
            let at = bytes.len() - 20;
            bytes[at] ^= 0xff;
        },
        |bytes| bytes[0] = 0,
        Vec::clear,
    ];
    let whole = std::fs::read(dir.file(&name)).unwrap();
    for (number, change) in changes.into_iter().enumerate() {
        damage_file(&dir.file(&name), change);
        for reverse in [false, true] {
            let builder = LogReader::builder(dir.log());
            let builder = if reverse { builder.reverse() } else { builder };
            let items = with_damage(builder.open().unwrap());
            let (damages, lines): (Vec<_>, Vec<_>) =
                items.into_iter().partition(|item| item.starts_with("Corrupt"));
            assert_eq!(damages.len(), 1, "change {number}, reverse {reverse}: {damages:?}");
            assert!(damages[0].contains(&name));
            let outside = lines
                .iter()
                .filter(|line| numbered(0..50).contains(line) || numbered(55..100).contains(line));
            assert_eq!(outside.count(), 95, "change {number}, reverse {reverse}");
        }
        std::fs::write(dir.file(&name), &whole).unwrap();
    }
}

#[cfg(feature = "zstd")]
#[test]
fn damaged_zstd_is_reported_and_skipped() {
    let dir = Dir::new();
    write(&dir, Naming::Number, Compression::Zstd, 0..30);
    damage_file(&dir.file("app.log.2.zst"), |bytes| bytes.truncate(bytes.len() - 3));
    damage_file(&dir.file("app.log.4.zst"), |bytes| {
        let frame = bytes.windows(4).position(|four| four == [0x28, 0xB5, 0x2F, 0xFD]).unwrap();
        bytes[frame] ^= 1;
    });
    let items = with_damage(LogReader::open(dir.log()).unwrap());
    let damaged: Vec<_> = items.iter().filter(|item| item.starts_with("Corrupt")).collect();
    assert_eq!(damaged.len(), 2, "{items:?}");
    assert!(items.ends_with(&numbered(20..30)), "{items:?}");
}

#[test]
fn hole_of_nul_bytes_is_reported_with_its_length() {
    let dir = Dir::new();
    let hole = vec![0; 100_000];
    let active = [b"one\ntw".as_slice(), &hole, b"o\nthree\n"].concat();
    std::fs::write(dir.log(), active).unwrap();
    let mut reader = LogReader::open(dir.log()).unwrap();
    let items: Vec<_> = reader.records().collect();
    let damage = items[2].as_ref().unwrap_err();
    assert_eq!((damage.kind(), damage.offset()), (DamageKind::Hole, 6));
    assert_eq!(damage.bytes(), Some(100_000));
    let text = |at: usize| items[at].as_ref().unwrap().clone().into_string_lossy();
    assert_eq!([text(0), text(1), text(3), text(4)], ["one", "tw", "o", "three"]);
    let reverse = LogReader::builder(dir.log()).reverse().open().unwrap();
    assert_eq!(with_damage(reverse), ["three", "o", "Hole app.log 6", "tw", "one"]);
}

#[test]
fn missing_number_is_reported() {
    let dir = Dir::new();
    compressed(&dir, Naming::Number);
    for number in [3, 7, 8] {
        std::fs::remove_file(dir.file(&format!("app.log.{number}.gz"))).unwrap();
    }
    let items = with_damage(LogReader::open(dir.log()).unwrap());
    let mut expected = numbered(0..55);
    expected.push("Missing app.log.8 0".to_owned());
    expected.extend(numbered(65..80));
    expected.push("Missing app.log.3 0".to_owned());
    expected.extend(numbered(85..100));
    assert_eq!(items, expected);
}

#[test]
fn log_cut_short_under_a_follower_is_read_from_its_start() {
    let dir = Dir::new();
    std::fs::write(dir.log(), "one\ntwo\n").unwrap();
    let mut reader = follow(&dir);
    let mut next = || reader.records().next().unwrap();
    assert_eq!(next().unwrap().bytes(), b"one");
    assert_eq!(next().unwrap().bytes(), b"two");
    std::fs::write(dir.log(), "new\n").unwrap();
    assert_eq!(next().unwrap_err().kind(), DamageKind::CutShort);
    assert_eq!(next().unwrap().bytes(), b"new");
}

#[test]
fn read_error_has_the_damage_and_the_next_read_resumes() {
    let dir = Dir::new();
    compressed(&dir, Naming::Number);
    damage_file(&dir.file("app.log.19.gz"), Vec::clear);
    let mut reader = LogReader::open(dir.log()).unwrap();
    let mut text = String::new();
    let error = reader.read_to_string(&mut text).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    let damage = error.get_ref().unwrap().downcast_ref::<logrotor::reader::Damage>().unwrap();
    assert_eq!(damage.kind(), DamageKind::Corrupt);
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(lines(text.as_bytes()), numbered(5..100));
}

#[cfg(not(feature = "zstd"))]
#[test]
fn compression_that_was_not_built_in_is_reported() {
    let dir = Dir::new();
    compressed(&dir, Naming::Number);
    std::fs::rename(dir.file("app.log.2.gz"), dir.file("app.log.2.zst")).unwrap();
    let items = with_damage(LogReader::open(dir.log()).unwrap());
    assert!(items.contains(&"Unreadable app.log.2.zst 0".to_owned()), "{items:?}");
    assert_eq!(items.len(), 96);
}
