//! Durability: the rejected settings, and the syncs, as a trace of file operations shows them.

use crate::support::{Dir, check, record};
use logrotor::{Delivery, Durability, ErrorKind};
use std::io::Write;

#[test]
fn every_record_durability_rejects_buffered_delivery() {
    let dir = Dir::new();
    let builder = dir.writer().delivery(Delivery::buffered()).durability(Durability::EveryRecord);
    let error = builder.build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    let message = error.to_string();
    assert!(message.contains("`durability` = EveryRecord"), "{message}");
    assert!(message.contains("use direct delivery"), "{message}");
    assert_eq!(dir.names(), [""; 0]);
}

#[test]
fn buffered_log_may_be_durable_on_rotation() {
    let dir = Dir::new();
    let builder = dir.writer().delivery(Delivery::buffered()).durability(Durability::OnRotate);
    let mut log = builder.build().unwrap();
    log.write_all(b"x\n").unwrap();
    log.rotate().unwrap();
    log.close().unwrap();
    assert_eq!(dir.all_lines(), ["x"]);
}

#[test]
fn threads_that_wait_for_the_disk_lose_nothing_across_rotations() {
    const COUNT: usize = 50;
    let dir = Dir::new();
    let log = dir.writer().max_size(2000).durability(Durability::EveryRecord).build().unwrap();
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let mut log = log.clone();
            scope.spawn(move || {
                for seq in 0..COUNT {
                    log.write_all(record(worker, seq).as_bytes()).unwrap();
                }
            });
        }
    });
    let verdict = check(&dir.all_lines(), &(0..4).map(|worker| (worker, COUNT)).collect());
    assert!(verdict.is_clean(), "{verdict}");
    assert_eq!(log.stats().all_failures(), 0);
}

/// Tests with workers that leave a trace of their file operations.
pub mod traced {
    use crate::support::{Dir, Job, Worker, eventually, listen, say};
    use logrotor::{Compression, MaintenanceMode, Naming};
    use std::io::Write;

    /// A worker that leaves a trace of its file operations and acts only on commands.
    fn traced(dir: &Dir, task: &str) -> Job {
        let job = Job::new(task, &dir.log()).with("inline", 1).with("check_ms", 3_600_000);
        job.env("LOGROTOR_FAULT_COUNT", dir.file("trace").display())
    }

    fn start(job: &Job) -> Worker {
        let mut worker = job.spawn();
        worker.expect("ready");
        worker
    }

    /// The verbs of the operations so far. The first operation has number 1.
    fn trace(dir: &Dir) -> Vec<String> {
        let trace = std::fs::read_to_string(dir.file("trace")).unwrap_or_default();
        let verb = |line: &str| line.split_once(' ').unwrap().1.trim_end_matches(" !").to_owned();
        trace.lines().map(verb).collect()
    }

    /// The verbs of the operations during `work`.
    fn during(dir: &Dir, work: impl FnOnce()) -> Vec<String> {
        let before = trace(dir).len();
        work();
        trace(dir).split_off(before)
    }

    fn count(verbs: &[String], verb: &str) -> usize {
        verbs.iter().filter(|done| *done == verb).count()
    }

    /// The plan in which the first sync of a segment has `effect`.
    fn first_sync(effect: impl std::fmt::Display) -> String {
        format!("1/sync:{effect}")
    }

    #[test]
    fn nothing_is_synced_by_default() {
        let dir = Dir::new();
        let mut worker = start(&traced(&dir, "obey"));
        worker.write("one");
        assert_eq!(worker.ask("rotate"), "ok");
        worker.write("two");
        assert!(!trace(&dir).iter().any(|verb| verb.starts_with("sync")), "{:?}", trace(&dir));
    }

    #[test]
    fn finished_segment_is_synced_before_it_is_compressed() {
        let dir = Dir::new();
        let mut worker = start(&traced(&dir, "obey").with("on_rotate", 1).with("gzip", 1));
        assert_eq!(count(&during(&dir, || worker.write("one")), "sync"), 0);
        let verbs = during(&dir, || assert_eq!(worker.ask("rotate"), "ok"));
        let rotated = verbs.iter().rposition(|verb| verb == "unlock").unwrap();
        let compressing = verbs.iter().position(|verb| verb == "read").unwrap();
        let between = verbs[rotated..compressing].join(", ");
        // The segment, then the directory with its new name and that of its successor.
        assert!(between.contains("sync, sync directory"), "{between}");
        assert_eq!(worker.count("compressions"), 1);
    }

    // Another worker had rotated and synced the backup. This worker then wrote to it before it
    // detected the rotation, and no worker synced these records.
    #[test]
    fn regression_close_syncs_late_records_in_foreign_backup() {
        let dir = Dir::new();
        let mut worker = start(&traced(&dir, "obey").with("on_rotate", 1));
        worker.write("one");
        let other = dir.writer().maintenance(MaintenanceMode::Inline).build().unwrap();
        let backup = other.rotate().unwrap().unwrap();
        worker.write("late");
        assert_eq!(std::fs::read_to_string(backup).unwrap(), "one\nlate\n");
        let verbs = during(&dir, || assert_eq!(worker.ask("close"), "ok"));
        let syncs: Vec<_> = verbs.iter().filter(|verb| verb.starts_with("sync")).collect();
        assert_eq!(syncs, ["sync", "sync directory"]);
    }

    #[test]
    fn finished_segment_is_synced_before_another_worker_compresses() {
        let job = |dir: &Dir| traced(dir, "obey").with("on_rotate", 1);
        let (dir, gates) = (Dir::new(), Dir::new());
        let plan = first_sync(format!("pause={}", gates.file("gate").display()));
        let mut worker = start(&job(&dir).env("LOGROTOR_FAULT", plan));
        worker.write("one");
        worker.tell("rotate");
        eventually("the sync has begun", || gates.file("gate.reached").exists());
        let builder =
            dir.writer().maintenance(MaintenanceMode::Inline).compression(Compression::Gzip);
        let other = builder.build().unwrap();
        assert_eq!((other.stats().deferrals, other.stats().compressions), (1, 0));
        std::fs::write(gates.file("gate"), "").unwrap();
        worker.expect("ok");
        other.finish().unwrap();
        assert_eq!(other.stats().compressions, 1);
        worker.finish();
    }

    #[test]
    fn sync_that_fails_on_rotation_is_counted_and_not_tried_again() {
        let job = |dir: &Dir| traced(dir, "obey").with("on_rotate", 1);
        let act = |worker: &mut Worker| {
            worker.write("one");
            assert_eq!(worker.ask("rotate"), "ok");
        };
        let dir = Dir::new();
        let mut worker = start(&job(&dir).env("LOGROTOR_FAULT", first_sync("errno=5")));
        act(&mut worker);
        assert_eq!(worker.count("failures"), 1);
        let last = worker.ask("last");
        assert!(last.starts_with("failed to sync"), "{last}");
        let verbs = during(&dir, || {
            worker.write("two");
            assert_eq!(worker.ask("close"), "ok");
        });
        assert_eq!(count(&verbs, "sync"), 0);
    }

    #[test]
    fn every_record_is_synced_before_its_call_returns() {
        let dir = Dir::new();
        let mut worker = start(&traced(&dir, "obey").with("every_record", 1));
        for line in ["one", "two", "three"] {
            let verbs = during(&dir, || worker.write(line));
            assert_eq!((count(&verbs, "sync"), verbs.last().unwrap().as_str()), (1, "sync"));
        }
    }

    #[test]
    fn segment_name_is_durable_before_its_first_synced_record() {
        let dir = Dir::new();
        let job = traced(&dir, "obey").with("every_record", 1).with("max_size", 10);
        let mut worker = start(&job);
        assert_eq!(count(&trace(&dir), "sync directory"), 1);
        worker.write("12345678");
        let verbs = during(&dir, || worker.write("rotates"));
        let is_named = |verb: &String| verb == "exchange" || verb == "rename";
        let named = verbs.iter().rposition(is_named).unwrap();
        let syncs = verbs[named..].iter().filter(|verb| verb.starts_with("sync"));
        // The segment that was left, the directory, and the record.
        assert_eq!(syncs.collect::<Vec<_>>(), ["sync", "sync directory", "sync"]);
    }

    #[test]
    fn sync_by_hand_covers_the_active_segment_and_the_plain_backups() {
        let dir = Dir::new();
        let mut worker = start(&traced(&dir, "obey"));
        for line in ["one", "two"] {
            worker.write(line);
            assert_eq!(worker.ask("rotate"), "ok");
        }
        worker.write("three");
        let verbs = during(&dir, || assert_eq!(worker.ask("sync"), "ok"));
        assert_eq!((count(&verbs, "sync"), count(&verbs, "sync directory")), (3, 1));
    }

    /// Makes a worker sync three numbered backups while another one rotates `times` times, each
    /// time at the first of these syncs. Returns the worker's answer and its syncs.
    fn sync_among_rotations(max_backups: usize, rotations: usize) -> (String, usize) {
        let dir = Dir::new();
        let neighbour = dir.writer().naming(Naming::Number).max_backups(max_backups);
        let mut neighbour = neighbour.maintenance(MaintenanceMode::Inline).build().unwrap();
        let mut rotate = || {
            writeln!(neighbour, "a record").unwrap();
            neighbour.rotate().unwrap();
        };
        (0..3).for_each(|_| rotate());
        let gates = Dir::new();
        let gate = |at| gates.file(&format!("gate{at}"));
        // The first sync is that of the active segment. Each time there is one more backup.
        let begins = (3..).scan(2, |at, backups| Some(std::mem::replace(at, *at + backups)));
        let begins: Vec<_> = begins.take(rotations).collect();
        let plan: Vec<_> =
            begins.iter().map(|at| format!("{at}/sync:pause={}", gate(at).display())).collect();
        let job = traced(&dir, "obey").with("numbered", 1).with("max_backups", max_backups);
        let mut worker = start(&job.env("LOGROTOR_FAULT", plan.join(";")));
        worker.tell("sync");
        for at in &begins {
            let reached = gates.file(&format!("gate{at}.reached"));
            eventually("the next sync", || reached.exists());
            rotate();
            std::fs::write(gate(at), "").unwrap();
        }
        (worker.hear().unwrap(), count(&trace(&dir), "sync"))
    }

    #[test]
    fn sync_starts_again_if_numbered_backups_have_moved() {
        assert_eq!(sync_among_rotations(3, 0), ("ok".to_owned(), 4));
        // The second backup is the third one by then, and the names are the same as before.
        assert_eq!(sync_among_rotations(3, 1), ("ok".to_owned(), 7));
        let (said, syncs) = sync_among_rotations(100, 8);
        assert!(said.contains("again and again") && syncs == 1 + (3..=10).sum::<usize>(), "{said}");
    }

    /// A worker that writes each line of its input on a thread of its own and reports the outcomes.
    pub fn commit(job: &Job) {
        let log = job.builder().build().unwrap();
        say("ready");
        std::thread::scope(|scope| {
            while let Some(line) = listen() {
                let mut log = log.clone();
                scope.spawn(move || match log.write_all(format!("{line}\n").as_bytes()) {
                    Ok(()) => say(format!("{line} ok")),
                    Err(error) => say(format!("{line} {error}")),
                });
            }
        });
    }

    fn committing(dir: &Dir) -> Job {
        traced(dir, "commit").with("every_record", 1)
    }

    #[test]
    fn threads_that_write_during_a_sync_share_the_next_one() {
        const OTHERS: usize = 7;
        let (dir, gates) = (Dir::new(), Dir::new());
        let gate = gates.file("gate");
        let plan = first_sync(format!("pause={}", gate.display()));
        let mut worker = start(&committing(&dir).env("LOGROTOR_FAULT", plan));
        worker.tell("first");
        eventually("the first sync has begun", || gates.file("gate.reached").exists());
        (0..OTHERS).for_each(|other| worker.tell(&format!("other{other}")));
        eventually("the others have written", || dir.active_lines().len() == 1 + OTHERS);
        std::fs::write(&gate, "").unwrap();
        let mut said: Vec<_> = (0..=OTHERS).map(|_| worker.hear().unwrap()).collect();
        said.sort();
        assert!(said.iter().all(|said| said.ends_with(" ok")), "{said:?}");
        assert_eq!(count(&trace(&dir), "sync"), 2);
        worker.finish();
    }

    #[test]
    fn failed_sync_fails_its_record_alone_and_is_not_retried() {
        let dir = Dir::new();
        let mut worker = start(&committing(&dir).env("LOGROTOR_FAULT", first_sync("errno=5")));
        let verbs = during(&dir, || {
            let said = worker.ask("first");
            assert!(said.starts_with("first failed to sync"), "{said}");
        });
        assert_eq!(count(&verbs, "sync"), 1);
        let verbs = during(&dir, || assert_eq!(worker.ask("second"), "second ok"));
        assert_eq!(count(&verbs, "sync"), 1);
        assert_eq!(dir.active_lines(), ["first", "second"]);
    }

    #[test]
    fn failed_sync_fails_exactly_the_records_that_it_covers() {
        const OTHERS: usize = 7;
        let (dir, gates) = (Dir::new(), Dir::new());
        let gate = gates.file("gate");
        let plans = format!("{};2/sync:errno=5", first_sync(format!("pause={}", gate.display())));
        let mut worker = start(&committing(&dir).env("LOGROTOR_FAULT", plans));
        worker.tell("first");
        eventually("the first sync has begun", || gates.file("gate.reached").exists());
        (0..OTHERS).for_each(|other| worker.tell(&format!("other{other}")));
        eventually("the others have written", || dir.active_lines().len() == 1 + OTHERS);
        std::fs::write(&gate, "").unwrap();
        let said: Vec<_> = (0..=OTHERS).map(|_| worker.hear().unwrap()).collect();
        let (fine, failed): (Vec<_>, Vec<_>) = said.iter().partition(|said| said.ends_with(" ok"));
        assert_eq!(fine, ["first ok"]);
        assert!(failed.iter().all(|said| said.contains("failed to sync")), "{failed:?}");
        // One call has failed for all seven, and none of them has retried it.
        assert_eq!(count(&trace(&dir), "sync"), 2);
        assert_eq!(worker.ask("later"), "later ok");
        assert_eq!(dir.active_lines().len(), OTHERS + 2);
        worker.finish();
    }
}
