//! A followed log whose path is turned to another target while workers write.

use crate::support::{Dir, Job, Worker, check, eventually, record};
use logrotor::reader::{DamageKind, LogReader, Record};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

/// Turns a link to another target, with one rename.
fn turn(dir: &Dir, link: &str, target: &str) {
    symlink(target, dir.file("turning")).unwrap();
    std::fs::rename(dir.file("turning"), dir.file(link)).unwrap();
}

fn append(path: &Path, line: &str) {
    use std::io::Write;
    let file = std::fs::File::options().create(true).append(true).open(path);
    writeln!(file.unwrap(), "{line}").unwrap();
}

fn text(record: Record) -> String {
    record.into_string_lossy()
}

/// A reader's next record.
fn next(reader: &mut LogReader) -> String {
    text(reader.records().next().unwrap().unwrap())
}

/// The ways in which a log's path may lead to another place: the link, what it points to, the log's
/// path, and the path of its file in the directory `end`.
const PLACES: [fn(&str) -> [String; 4]; 3] = [
    |end| ["app.log".into(), format!("{end}/app.log"), "app.log".into(), format!("{end}/app.log")],
    |end| ["now".into(), end.into(), "now/app.log".into(), format!("{end}/app.log")],
    // As Kubernetes does it.
    |end| ["..data".into(), end.into(), "app.log".into(), format!("{end}/app.log")],
];

#[test]
fn follower_goes_over_to_the_new_target_of_a_link() {
    for place in PLACES {
        let dir = Dir::new();
        let [link, _, log, _] = place("a");
        for end in ["a", "b"] {
            std::fs::create_dir(dir.file(end)).unwrap();
        }
        if link == "..data" {
            symlink("..data/app.log", dir.log()).unwrap();
        }
        let there = |end: &str| dir.file(&place(end)[3]);
        let turn = |end: &str| turn(&dir, &link, &place(end)[1]);
        append(&there("a"), "one");
        turn("a");
        let mut reader = LogReader::builder(dir.file(&log)).follow().open().unwrap();
        assert_eq!(next(&mut reader), "one");
        // Records of the old target come first, rotated or not.
        append(&there("a"), "two");
        std::fs::rename(there("a"), dir.file("a/app.log.1")).unwrap();
        append(&there("a"), "three");
        append(&there("b"), "four");
        turn("b");
        assert_eq!([(); 3].map(|()| next(&mut reader)), ["two", "three", "four"], "{link}");
        // A late worker.
        append(&there("a"), "five");
        assert_eq!(next(&mut reader), "five");
        append(&there("b"), "six");
        turn("a");
        append(&there("a"), "seven");
        let mut both = [(); 2].map(|()| next(&mut reader));
        both.sort();
        assert_eq!(both, ["seven", "six"], "{link}");
        // A target without a log yet, and one that is not there yet.
        turn("c");
        std::fs::create_dir(dir.file("c")).unwrap();
        append(&there("c"), "eight");
        assert_eq!(next(&mut reader), "eight");
    }
}

/// Makes a directory with two backups of an hour ago, and no log.
fn make_old_backups(dir: &Dir, end: &str, numbered: bool) {
    std::fs::create_dir(dir.file(end)).unwrap();
    let hour_ago = SystemTime::now() - Duration::from_secs(3600);
    for (line, number, time) in [("old", 2, "07"), ("older", 1, "08")] {
        let name = match numbered {
            true => format!("{end}/app.log.{number}"),
            false => format!("{end}/app.log.2024-01-{time}T00-00-00.000000Z"),
        };
        append(&dir.file(&name), line);
        let file = std::fs::File::options().append(true).open(dir.file(&name)).unwrap();
        file.set_modified(hour_ago).unwrap();
    }
}

#[test]
fn follower_skips_the_backups_of_a_target_without_a_log() {
    for numbered in [false, true] {
        let dir = Dir::new();
        make_old_backups(&dir, "b", numbered);
        std::fs::create_dir(dir.file("a")).unwrap();
        append(&dir.file("a/app.log"), "one");
        turn(&dir, "now", "a");
        let log = dir.file("now").join("app.log");
        let mut reader = LogReader::builder(&log).follow().open().unwrap();
        assert_eq!(next(&mut reader), "one");
        turn(&dir, "now", "b");
        append(&dir.file("a/app.log"), "two");
        // It goes over before it ends.
        reader.stopper().stop();
        let rest: Vec<_> = reader.records().map(|record| text(record.unwrap())).collect();
        assert_eq!(rest, ["two"], "numbered: {numbered}");
    }
}

#[test]
fn follower_continues_after_the_backups_it_has_skipped() {
    for (numbered, last) in [(false, None), (true, None), (false, Some(9)), (true, Some(9))] {
        let dir = Dir::new();
        make_old_backups(&dir, "a", numbered);
        let log = dir.file("a/app.log");
        let since = SystemTime::now() - Duration::from_secs(60);
        let mut builder = LogReader::builder(&log).since(since).follow();
        if let Some(lines) = last {
            builder = builder.last(lines);
        }
        let mut reader = builder.open().unwrap();
        append(&log, "new");
        assert_eq!(next(&mut reader), "new", "numbered: {numbered}, last: {last:?}");
    }
}

#[test]
fn follower_reports_a_target_it_cannot_use_once() {
    let dir = Dir::new();
    for end in ["a/app.log", "b/app.log.1.gz"] {
        std::fs::create_dir_all(dir.file(end).parent().unwrap()).unwrap();
        append(&dir.file(end), end);
    }
    turn(&dir, "app.log", "a/app.log");
    let mut reader = LogReader::builder(dir.log()).follow().open().unwrap();
    assert_eq!(next(&mut reader), "a/app.log");
    turn(&dir, "app.log", "b/app.log.1.gz");
    let damage = reader.records().next().unwrap().unwrap_err();
    assert_eq!((damage.kind(), damage.segment()), (DamageKind::Unreadable, &*dir.log()));
    append(&dir.file("a/app.log"), "more");
    assert_eq!(next(&mut reader), "more");
}

/// The lines that a reader on a thread has returned so far, and their directories.
type Read = Arc<Mutex<Vec<(PathBuf, String)>>>;

/// Reads on a thread until the reader is stopped.
fn read_beside(mut reader: LogReader) -> (Read, JoinHandle<()>) {
    let read = Read::default();
    let ours = Arc::clone(&read);
    let thread = std::thread::spawn(move || {
        for record in reader.records() {
            let line = match record {
                Ok(record) => (record.segment().parent().unwrap().to_owned(), text(record)),
                Err(damage) => (PathBuf::new(), damage.to_string()),
            };
            ours.lock().unwrap().push(line);
        }
    });
    (read, thread)
}

#[test]
fn follower_is_exact_while_a_link_turns_and_workers_rotate() {
    const WORKERS: usize = 3;
    const AT_ONCE: usize = 10;
    for (key, targets) in [("gzip", ["b", "c", "a"]), ("numbered", ["b", "a", "b"])] {
        let dir = Dir::new();
        ["a", "b", "c"].iter().for_each(|end| std::fs::create_dir(dir.file(end)).unwrap());
        turn(&dir, "now", "a");
        let log = dir.file("now").join("app.log");
        let job = Job::new("obey", &log).with("max_size", 1024).with("check_ms", 10).with(key, 1);
        let mut workers: Vec<_> = (0..WORKERS).map(|_| job.spawn()).collect();
        workers.iter_mut().for_each(|worker| worker.expect("ready"));
        let reader = LogReader::builder(&log).follow().open().unwrap();
        let stopper = reader.stopper();
        let (read, thread) = read_beside(reader);
        let mut written = 0;
        for target in targets {
            turn(&dir, "now", target);
            let there = dir.file(target).canonicalize().unwrap();
            let from = read.lock().unwrap().len();
            eventually("the reader has read each worker's records there", || {
                write_beside(&mut workers, written..written + AT_ONCE);
                written += AT_ONCE;
                let read = read.lock().unwrap();
                let is_from = |id: usize| {
                    let begin = record(id, 0).split(' ').next().unwrap().to_owned() + " ";
                    read[from..].iter().any(|(dir, line)| *dir == there && line.starts_with(&begin))
                };
                (0..WORKERS).all(is_from)
            });
        }
        workers.into_iter().for_each(Worker::finish);
        stopper.stop();
        thread.join().unwrap();
        let lines: Vec<_> = read.lock().unwrap().drain(..).map(|(_, line)| line).collect();
        let verdict = check(&lines, &(0..WORKERS).map(|id| (id, written)).collect());
        assert!(verdict.is_clean() && verdict.extra == 0, "{key}: {verdict}");
        assert_eq!(lines.len(), WORKERS * written);
    }
}

/// Makes each worker write these of its records, all at the same time.
fn write_beside(workers: &mut [Worker], seqs: std::ops::Range<usize>) {
    for seq in seqs.clone() {
        for (id, worker) in workers.iter_mut().enumerate() {
            worker.tell(&format!("write {}", record(id, seq).trim_end()));
        }
    }
    for worker in workers {
        seqs.clone().for_each(|_| worker.expect("ok"));
    }
}
