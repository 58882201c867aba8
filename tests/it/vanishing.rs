//! Files that go while a worker uses them: another program moves or removes them between two
//! operations, and a server forgets the file of a handle (`ENOENT`, `ESTALE`).

use crate::gapless::{begin_rotation, looking, rotating};
use crate::support::{Dir, Job, Trace, eventually, lines_at};
use logrotor::reader::LogReader;
use std::path::Path;
use std::time::{Duration, SystemTime};

const ENOENT: i32 = 2;
const ESTALE: i32 = 116;

/// The operations of a rotation under a plan, and how many there were before it.
fn rotation(plan: &str) -> (Trace, usize) {
    let (dir, trace) = (Dir::new(), Trace::new());
    let mut worker = trace.of(&looking(&dir)).env("LOGROTOR_FAULT", plan).spawn();
    worker.expect("ready");
    worker.write("first");
    let before = trace.len();
    worker.tell("rotate");
    worker.hear();
    worker.finish();
    (trace, before)
}

/// The same without a fault; `None` where the file system exchanges no files.
fn exchange_rotation() -> Option<(Trace, usize)> {
    let (trial, before) = rotation("");
    if trial.count("link") == 0 {
        eprintln!("skipped: this file system exchanges no files");
        return None;
    }
    Some((trial, before))
}

/// Waits until the worker is stopped at a gate, does `meddle`, and lets it go on.
fn meanwhile(gate: &Path, meddle: impl FnOnce()) {
    let reached = gate.with_extension("reached");
    eventually("it is stopped", || reached.exists());
    meddle();
    std::fs::write(gate, "").unwrap();
}

/// Rotates under a plan that stops at `gate`, where another program moves the log.
fn moved_at(gate: &Path, dir: &Dir, plan: &str) {
    let mut worker = rotating(dir, plan);
    meanwhile(gate, || std::fs::rename(dir.log(), dir.file("moved")).unwrap());
    assert_eq!(worker.hear().unwrap(), "ok", "{plan}");
    worker.write("last");
    assert_eq!(worker.count("failures"), 0, "{plan}");
    worker.finish();
    assert_eq!(lines_at(&dir.file("moved")), ["first"], "{plan}");
    assert_eq!(dir.active_lines(), ["last"], "{plan}");
}

/// A rotation by an exchange, and one by two renames.
#[test]
fn log_that_is_moved_just_before_its_rotation_is_no_failure() {
    let Some((trial, before)) = exchange_rotation() else { return };
    let link = trial.first("link", before);
    let without_links = format!("{link}:errno=1");
    let by_renames = rotation(&without_links).0.first("rename", before);
    // The first exchange is a trial with two temporaries.
    let exchange = trial.first("exchange", link);
    for (at, plan) in [(link, ""), (exchange, ""), (by_renames, &without_links)] {
        let (dir, gates) = (Dir::new(), Dir::new());
        let gate = gates.file("gate");
        moved_at(&gate, &dir, &format!("{plan};{at}:pause={}", gate.display()));
    }
}

/// The refusal of a link is that of another program's file, which is no backup.
#[test]
fn file_that_refuses_a_link_in_place_of_the_log_is_adopted() {
    let Some((trial, before)) = exchange_rotation() else { return };
    let link = trial.first("link", before);
    let (dir, gates) = (Dir::new(), Dir::new());
    let gate = gates.file("gate");
    let mut worker =
        rotating(&dir, &format!("{}:pause={};{link}:errno=1", link - 1, gate.display()));
    meanwhile(&gate, || {
        std::fs::rename(dir.log(), dir.file("moved")).unwrap();
        std::fs::write(dir.log(), "another's\n").unwrap();
    });
    assert_eq!(worker.hear().unwrap(), "ok");
    worker.write("last");
    worker.finish();
    assert_eq!(dir.active_lines(), ["another's", "last"]);
}

/// A server looks for the file of a handle by its name, which has just gone.
#[test]
fn log_that_is_forgotten_at_its_rotation_is_no_failure() {
    let (trial, before) = rotation("");
    // The owner's record in the lock file, the look at the path, the look at the file.
    let look = trial.first("write", before) + 2;
    assert_eq!(trial.verbs()[look - 2..look], ["look at", "look at"]);
    for errno in [ENOENT, ESTALE] {
        let (dir, gates) = (Dir::new(), Dir::new());
        let gate = gates.file("gate");
        let plan = format!("{look}:errno={errno};{}:pause={}", look + 1, gate.display());
        moved_at(&gate, &dir, &plan);
    }
}

#[test]
fn directory_gets_its_path_again_after_the_next_segment_went() {
    let Some((trial, before)) = exchange_rotation() else { return };
    let exchange = trial.first("exchange", trial.first("link", before));
    let with_directory = |job: Job, dir: &Dir, gate: &Path| {
        let worker = begin_rotation(&job);
        meanwhile(gate, || {
            std::fs::rename(dir.log(), dir.file("moved")).unwrap();
            std::fs::create_dir(dir.log()).unwrap();
        });
        worker
    };
    let gates = Dir::new();
    let [first, second, third] = ["1", "2", "3"].map(|gate| gates.file(gate));
    // A trial shows when it exchanges the directory back.
    let (dir, trace) = (Dir::new(), Trace::new());
    let plan = format!("{exchange}:pause={}", first.display());
    let job = trace.of(&looking(&dir)).env("LOGROTOR_FAULT", plan);
    with_directory(job, &dir, &first).hear();
    let back = trace.first("exchange", exchange);
    let dir = Dir::new();
    let [at, next] = [second.display(), third.display()];
    let plan = format!("{exchange}:pause={at};{back}:pause={next}");
    let mut worker = with_directory(looking(&dir).env("LOGROTOR_FAULT", plan), &dir, &second);
    meanwhile(&third, || std::fs::rename(dir.log(), dir.file("next")).unwrap());
    worker.hear();
    assert!(dir.log().is_dir(), "{:?}", dir.names());
    drop(worker);
}

/// Plays a scenario with each look at a file that comes directly after `verb` struck by each errno.
fn struck_after(verb: &str, play: impl Fn(&dyn Fn(&Job) -> Job)) {
    let trial = Trace::new();
    play(&|job| trial.of(job));
    let verbs = trial.verbs();
    let is_look = |at: &usize| verbs[at - 1] == verb && verbs[*at] == "look at";
    let looks: Vec<_> = (1..verbs.len()).filter(is_look).collect();
    assert!(!looks.is_empty(), "{verbs:?}");
    for (at, errno) in looks.iter().flat_map(|at| [(at + 1, ENOENT), (at + 1, ESTALE)]) {
        play(&|job| job.clone().env("LOGROTOR_FAULT", format!("{at}:errno={errno}")));
    }
}

/// Maintenance of another process takes the next segment for one left by a killed worker.
#[test]
fn next_segment_that_is_gone_once_it_is_leased_is_made_again() {
    struck_after("take shared lock", |under| {
        let dir = Dir::new();
        let mut worker = under(&looking(&dir)).spawn();
        worker.expect("ready");
        for line in ["one", "two"] {
            worker.write(line);
            assert_eq!(worker.ask("rotate"), "ok");
        }
        assert_eq!((worker.count("rotations"), worker.count("failures")), (2, 0));
        worker.finish();
    });
}

/// A backup, and what killed workers have left: of a compression and of a rotation.
#[test]
fn file_that_is_gone_once_maintenance_took_it_is_no_failure() {
    struck_after("open", |under| {
        let dir = Dir::new();
        let backup = dir.file("app.log.2020-01-01T00-00-00.000000Z");
        for name in ["app.log", ".app.log.abcdefghijkl.tmp"] {
            std::fs::write(dir.file(name), "").unwrap();
        }
        let left = format!(".{}.gz.abcdefghijkl.tmp", "app.log.2019-01-01T00-00-00.000000Z");
        std::fs::write(dir.file(&left), "half").unwrap();
        std::fs::write(&backup, "a record\n").unwrap();
        let file = std::fs::File::options().append(true).open(&backup).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap();
        drop(file);
        let mut worker = under(&looking(&dir).with("gzip", 1)).spawn();
        worker.expect("ready");
        assert_eq!(worker.ask("close"), "ok");
        assert_eq!(worker.count("failures"), 0, "{}", worker.ask("last"));
        worker.finish();
    });
}

#[test]
fn numbered_backup_removed_before_it_is_pruned_is_no_failure() {
    let (dir, gates) = (Dir::new(), Dir::new());
    let gate = gates.file("gate");
    // The new log is renamed first. The second rotation renames a backup, which is pruned then.
    let plan = format!("3/rename:pause={}", gate.display());
    let job = looking(&dir).with("numbered", 1).with("max_backups", 1);
    let mut worker = job.env("LOGROTOR_FAULT", plan).spawn();
    worker.expect("ready");
    worker.write("one");
    assert_eq!(worker.ask("rotate"), "ok");
    worker.write("two");
    worker.tell("rotate");
    meanwhile(&gate, || std::fs::remove_file(dir.file("app.log.2")).unwrap());
    assert_eq!(worker.hear().unwrap(), "ok");
    assert_eq!(worker.count("failures"), 0, "{}", worker.ask("last"));
    worker.finish();
    assert_eq!(dir.backups(), ["app.log.1"]);
}

#[test]
fn follower_of_a_link_that_is_gone_reports_nothing() {
    let dir = Dir::new();
    std::fs::create_dir(dir.file("there")).unwrap();
    std::fs::write(dir.file("there/app.log"), "a record\n").unwrap();
    std::os::unix::fs::symlink("there", dir.file("current")).unwrap();
    let builder = LogReader::builder(dir.file("current/app.log"));
    let mut reader = builder.follow().open().unwrap();
    let stopper = reader.stopper();
    std::fs::remove_file(dir.file("current")).unwrap();
    // The last look at the path comes after this.
    stopper.stop();
    let records: Vec<_> = reader.records().map(Result::unwrap).collect();
    assert_eq!(records.len(), 1);
}

/// A server forgets the handle of a directory, which is still there.
#[test]
fn listing_that_is_stale_once_is_made_again() {
    for which in ["1", "2", "3", "4"] {
        let dir = Dir::new();
        let mut worker = looking(&dir).spawn();
        worker.expect("ready");
        for line in ["one", "two", "three"] {
            worker.write(line);
            assert_eq!(worker.ask("rotate"), "ok");
        }
        worker.finish();
        let trace = Trace::new();
        let job = Job::new("read", &dir.log()).with("lock", dir.file("other.lock").display());
        let plan = format!("{which}/list:errno={ESTALE}");
        let mut reader = trace.of(&job).env("LOGROTOR_FAULT", plan).spawn();
        reader.expect("3");
        reader.finish();
        if which == "1" {
            assert_eq!(trace.struck(), ["list"]);
        }
    }
}

/// The child: follows the log, and says each record.
pub fn follow(job: &Job) {
    let mut reader = LogReader::builder(job.text("log")).follow().open().unwrap();
    for record in reader.records() {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        crate::support::say(record.map_or_else(|e| e.to_string(), |record| text(record.bytes())));
    }
}

#[test]
fn follower_waits_for_a_directory_that_is_made_again() {
    let (dir, trace) = (Dir::new(), Trace::new());
    let log = dir.file("logs/app.log");
    let create = |line: &str| {
        std::fs::create_dir(dir.file("logs")).unwrap();
        std::fs::write(&log, format!("{line}\n")).unwrap();
    };
    create("before");
    let mut reader = trace.of(&Job::new("follow", &log)).spawn();
    reader.expect("before");
    std::fs::remove_dir_all(dir.file("logs")).unwrap();
    let before = trace.count("list");
    eventually("it has looked for the directory", || trace.count("list") >= before + 3);
    create("after");
    reader.expect("after");
    reader.kill();
}
