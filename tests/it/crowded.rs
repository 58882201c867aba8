//! A directory with many files, of which listings are avoided. Counted by the fault hook.

use crate::support::{Dir, Job, Trace, Worker};
use logrotor::{Compression, MaintenanceMode, Naming, RotatingFileWriter};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

const ATTRIBUTE: &str = "user.logrotor";

/// A directory with many files of other programs; `None` if its file system keeps no notes.
fn crowded() -> Option<Dir> {
    let dir = Dir::new();
    for number in 0..1000 {
        std::fs::write(dir.file(&format!("another-program-{number}")), "").unwrap();
    }
    let is_kept = rustix::fs::setxattr(
        dir.file("another-program-0"),
        ATTRIBUTE,
        b"1",
        rustix::fs::XattrFlags::empty(),
    );
    let is_crowded = std::fs::metadata(dir.path()).unwrap().len() > 16 * 1024;
    if is_kept.is_err() || !is_crowded {
        println!("skipped: the file system keeps no notes, or directories have no size");
        return None;
    }
    Some(dir)
}

/// Ends the time in which a change of the directory may not show.
fn age(dir: &Dir) {
    let before = SystemTime::now() - Duration::from_secs(60);
    std::fs::File::open(dir.path()).unwrap().set_modified(before).unwrap();
}

/// Opens the log, writes a record and closes it, in a process. Returns how often it listed the
/// directory.
fn listings_of_one_record(dir: &Dir) -> usize {
    let trace = Trace::new();
    let job = trace.of(&Job::new("write", &dir.log()).with("worker", 1).with("count", 1));
    let mut worker = job.spawn();
    worker.expect("ready");
    worker.ask("go");
    worker.finish();
    trace.count("list")
}

#[test]
fn short_lived_worker_lists_only_what_may_have_changed() {
    let Some(dir) = crowded() else { return };
    let mut log = dir.writer().max_size(10).build().unwrap();
    (0..5).for_each(|n| writeln!(log, "line {n:04}").unwrap());
    log.close().unwrap();
    age(&dir);
    assert!(listings_of_one_record(&dir) > 0, "its settings are others");
    assert_eq!([(); 3].map(|()| listings_of_one_record(&dir)), [0; 3]);

    // A crash has left something.
    let remains = dir.file(".app.log.abcdefghijkl.tmp");
    std::fs::write(&remains, "").unwrap();
    assert!(listings_of_one_record(&dir) > 0);
    assert!(!remains.exists());
    age(&dir);
    assert!(listings_of_one_record(&dir) > 0, "the last look may have been too early");
    assert_eq!(listings_of_one_record(&dir), 0);
}

/// A worker that compresses, and keeps three backups.
fn worker(dir: &Dir, naming: Naming, trace: &Trace) -> Worker {
    let job =
        Job::new("obey", &dir.log()).with("gzip", 1).with("max_backups", 3).with("lock_ms", 60_000);
    let job = match naming {
        Naming::Number => job.with("numbered", 1),
        Naming::TimestampInfix => job.with("infix", 1),
        _ => job,
    };
    let mut worker = trace.of(&job).spawn();
    worker.expect("ready");
    worker
}

#[test]
fn workers_in_a_crowded_directory_seldom_list_it() {
    const WORKERS: usize = 3;
    const ROUNDS: usize = 8;
    for naming in [Naming::Timestamp, Naming::TimestampInfix, Naming::Number] {
        let Some(dir) = crowded() else { return };
        let traces = [(); WORKERS].map(|()| Trace::new());
        let mut workers = traces.each_ref().map(|trace| worker(&dir, naming, trace));
        for n in 0..ROUNDS * WORKERS {
            let worker = &mut workers[n % WORKERS];
            assert_eq!(worker.ask("reopen"), "ok");
            worker.write(&format!("line {n:04}"));
            assert_eq!(worker.ask("rotate"), "ok");
        }
        for worker in &mut workers {
            // It leaves the segment that others have rotated.
            assert_eq!(worker.ask("reopen"), "ok");
            worker.write("last");
        }
        for worker in &mut workers {
            assert_eq!(worker.ask("close"), "ok");
        }
        for worker in workers {
            worker.finish();
        }
        let (last, lines) = (ROUNDS * WORKERS, dir.all_lines());
        let expected: Vec<_> = (last - 3..last).map(|n| format!("line {n:04}")).collect();
        assert_eq!(lines, [expected, vec!["last".to_owned(); WORKERS]].concat(), "{naming:?}");
        assert!(dir.backups().iter().all(|name| name.ends_with(".gz")), "{:?}", dir.backups());
        let listings: usize = traces.iter().map(|trace| trace.count("list")).sum();
        assert!(listings <= 4 * WORKERS, "{naming:?}: {listings} listings");
    }
}

/// Has a log do the work that is due until just these backups are left: at once, unless a process
/// that another test is just starting has a copy of a lease. Ends before the log looks at the whole
/// directory again, as each does once a minute.
fn leaves(log: &RotatingFileWriter, dir: &Dir, expected: &[&str]) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        log.finish().unwrap();
        let backups = dir.backups();
        if backups == expected {
            return;
        }
        assert!(Instant::now() < deadline, "{backups:?}, and not {expected:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn backup_left_beyond_a_gap_is_known_to_every_worker() {
    let Some(dir) = crowded() else { return };
    // No worker does anything that this test does not tell it to.
    let keep_all = dir
        .writer()
        .naming(Naming::Number)
        .maintenance(MaintenanceMode::Inline)
        .check_interval(Duration::from_secs(3600));
    let keep_two = keep_all.clone().max_backups(2);
    let rotate = |log: &mut RotatingFileWriter, number: usize| {
        // Another one may have rotated.
        log.reopen().unwrap();
        writeln!(log, "line {number}").unwrap();
        log.rotate().unwrap();
        log.finish().unwrap();
    };
    let [mut first, mut second] = [(); 2].map(|()| keep_two.clone().build().unwrap());
    let idle = keep_all.clone().build().unwrap();
    let mut log = keep_all.build().unwrap();
    // It looks at the whole directory once for all.
    (0..6).for_each(|number| rotate(&mut log, number));
    second.reopen().unwrap();
    rotate(&mut first, 6);
    second.reopen().unwrap();
    let backups = ["app.log.7", "app.log.2", "app.log.1"];
    // The idle worker has one of them open.
    leaves(&first, &dir, &backups);
    rotate(&mut log, 7);
    let backups = ["app.log.7", "app.log.3", "app.log.2", "app.log.1"];
    assert_eq!(dir.backups(), backups);
    idle.reopen().unwrap();
    rotate(&mut second, 8);
    leaves(&second, &dir, &["app.log.2", "app.log.1"]);
    assert_eq!(dir.all_lines(), ["line 7", "line 8"]);
}

#[test]
fn backup_that_another_program_removes_does_not_count() {
    for naming in [Naming::Timestamp, Naming::Number] {
        let Some(dir) = crowded() else { return };
        let builder = dir.writer().naming(naming).compression(Compression::Gzip).max_backups(4);
        let mut log = builder.build().unwrap();
        let mut rotate = |number: usize| {
            writeln!(log, "line {number}").unwrap();
            log.rotate().unwrap();
            log.finish().unwrap();
        };
        (0..4).for_each(&mut rotate);
        std::fs::remove_file(dir.file(&dir.backups()[1])).unwrap();
        rotate(4);
        let expected = ["line 0", "line 2", "line 3", "line 4"];
        assert_eq!(dir.all_lines(), expected, "{naming:?}");
        rotate(5);
        assert_eq!(dir.all_lines()[0], "line 2", "{naming:?}");
    }
}

/// Copies a file with its note, as `cp -a` does.
fn copy(from: &Path, to: &Path) {
    std::fs::copy(from, to).unwrap();
    let mut note = [0; 256];
    let len = rustix::fs::getxattr(from, ATTRIBUTE, &mut note[..]).unwrap();
    rustix::fs::setxattr(to, ATTRIBUTE, &note[..len], rustix::fs::XattrFlags::empty()).unwrap();
}

#[test]
fn copy_of_a_segment_does_not_mislead_the_next_rotation() {
    let Some(dir) = crowded() else { return };
    let open = || -> RotatingFileWriter { dir.writer().build().unwrap() };
    let mut log = open();
    for number in 0..2 {
        writeln!(log, "line {number}").unwrap();
        log.rotate().unwrap();
    }
    copy(&dir.log(), &dir.file("copy"));
    drop(log);
    // The clock was far ahead once, after the copy was made.
    let ahead = "app.log.2999-01-01T00-00-00.000000Z";
    std::fs::write(dir.file(ahead), "ahead\n").unwrap();
    std::fs::rename(dir.file("copy"), dir.log()).unwrap();
    let mut log = open();
    writeln!(log, "line 2").unwrap();
    let backup = log.rotate().unwrap().unwrap();
    assert!(backup.ends_with("app.log.2999-01-01T00-00-00.000001Z"), "{backup:?}");
}
