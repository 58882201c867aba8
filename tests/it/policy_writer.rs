//! Logs that obey a policy: what changes while they are open, and what cannot.

use crate::support::{Dir, Job, Worker, check, eventually, is_long, listen, record, say};
use logrotor::policy::{PolicyStore, path_beside};
use logrotor::{
    Compression, Config, Delivery, Durability, ErrorKind, Event, MaintenanceMode, Naming, Period,
    RotatingFileWriter,
};
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

fn policy(dir: &Dir) -> PolicyStore<Config> {
    Config::policy().open_or_create(path_beside(dir.log()), Config::default).unwrap()
}

/// A log and its events.
struct Log {
    log: RotatingFileWriter,
    told: Arc<Mutex<Vec<Event>>>,
}

impl Log {
    fn open(dir: &Dir, store: &PolicyStore<Config>) -> Self {
        let told: Arc<Mutex<Vec<Event>>> = Arc::default();
        let teller = Arc::clone(&told);
        let builder = dir.writer().policy(store.clone());
        let observer = move |event: &Event| teller.lock().unwrap().push(event.clone());
        Self { log: builder.observer(observer).build().unwrap(), told }
    }

    fn obeys(&self, version: u64) {
        eventually("the policy is obeyed", || self.log.stats().policy.unwrap().version == version);
    }

    fn failures(&self) -> Vec<String> {
        let failure = |event: &Event| match event {
            Event::Failed { error, .. } => Some(format!("{:?} {error}", error.kind())),
            _ => None,
        };
        self.told.lock().unwrap().iter().filter_map(failure).collect()
    }
}

/// Lets a writer be under load, but not so that the disk fills up while the machine is busy
/// elsewhere.
fn rest_at(seq: usize) {
    if seq % 20 == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Writes records, and answers with the version in force, until it gets the word to stop.
pub fn write(job: &Job) {
    let store = Config::policy().open(job.text("file")).unwrap();
    let log = job.builder().policy(store).build().unwrap();
    let (worker, over) = (job.number("worker"), AtomicBool::new(false));
    say("ready");
    let written = std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let mut seq = 0;
            while !over.load(Ordering::Relaxed) {
                (&log).write_all(record(worker, seq).as_bytes()).unwrap();
                seq += 1;
                rest_at(seq);
            }
            seq
        });
        while listen().as_deref() == Some("version") {
            say(log.stats().policy.unwrap().version);
        }
        over.store(true, Ordering::Relaxed);
        writing.join().unwrap()
    });
    let overrides = u8::from(log.stats().policy.is_some_and(|policy| policy.overrides));
    log.close().unwrap();
    say(format!("{written} {overrides}"));
}

#[test]
fn four_workers_under_load_apply_changes_and_lose_nothing() {
    let changes = if is_long() { 100 } else { 40 };
    let dir = Dir::new();
    let store = policy(&dir);
    store
        .update(|config| {
            config.max_size = 100_000;
            config.max_backups = Some(100_000);
        })
        .unwrap();
    let job = Job::new("policy-write", &dir.log()).with("file", store.path().display());
    // One of them has settings of its own.
    let start = |id: usize| {
        let job = job.clone().with("worker", id);
        if id == 3 { job.with("max_size", 12_345).spawn() } else { job.spawn() }
    };
    let mut workers: Vec<_> = (0..4).map(start).collect();
    workers.iter_mut().for_each(|worker| worker.expect("ready"));

    let mut slowest = Duration::ZERO;
    for n in 0..changes {
        let version = store
            .update(|config| {
                config.max_size = 20_000 + 10_000 * (n % 7);
                config.compression = [Compression::None, Compression::Gzip][(n % 2) as usize];
                config.max_backups = Some(100_000 - (n as usize % 5));
            })
            .unwrap()
            .version();
        // Some in quick succession, so that versions are skipped; each tenth is waited for.
        if n % 10 == 9 {
            let changed = Instant::now();
            for worker in &mut workers {
                eventually("the worker obeys", || worker.ask("version") == version.to_string());
            }
            slowest = slowest.max(changed.elapsed());
        }
    }
    println!("slowest of 4 workers to obey: {slowest:?}");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");

    let mut expected = BTreeMap::new();
    for (id, worker) in workers.iter_mut().enumerate() {
        let said = worker.ask("stop");
        let (written, overrides) = said.split_once(' ').unwrap();
        expected.insert(id, written.parse().unwrap());
        assert_eq!(overrides, if id == 3 { "1" } else { "0" });
    }
    workers.into_iter().for_each(Worker::finish);
    let verdict = check(&dir.all_lines(), &expected);
    assert!(verdict.is_clean() && verdict.extra == 0, "{verdict}");
    assert!(verdict.found > 1000, "{verdict}");
    // The last version asks for gzip, and was obeyed.
    assert!(dir.backups().iter().any(|name| name.ends_with(".gz")), "{:?}", dir.names());
}

#[test]
fn log_opens_with_the_policys_settings_and_reports_overrides() {
    let dir = Dir::new();
    let store = policy(&dir);
    store.update(|config| config.max_size = 100).unwrap();
    let overrides = |builder: logrotor::LogBuilder| {
        let mut log = builder.policy(store.clone()).build().unwrap();
        for _ in 0..3 {
            log.write_all(&[b'x'; 60]).unwrap();
        }
        let stats = log.stats();
        assert_eq!((stats.policy.unwrap().version, stats.policy.unwrap().reloads), (2, 0));
        assert!(stats.rotations >= 2, "the limit of the policy holds");
        stats.policy.unwrap().overrides
    };
    assert!(!overrides(dir.writer()));
    assert!(!overrides(dir.writer().max_size(100)));
    assert!(overrides(dir.writer().max_size(1_000_000)));
    assert!(dir.writer().build().unwrap().stats().policy.is_none());
}

#[test]
fn settings_that_name_a_policy_follow_it() {
    let dir = Dir::new();
    let store = policy(&dir);
    let mut config = Config::default();
    config.policy = Some(path_beside(dir.log()));
    let log = RotatingFileWriter::from_config(dir.log(), config.clone()).unwrap();
    assert_eq!(log.stats().policy.unwrap().version, 1);
    store.update(|config| config.max_size = 100).unwrap();
    eventually("it is obeyed", || log.stats().policy.unwrap().version == 2);

    let builder = RotatingFileWriter::builder(dir.log()).config(config.clone());
    let error = builder.policy(store.clone()).build().unwrap_err().to_string();
    assert!(error.contains("the builder follows another policy already"), "{error}");
    let error = store.update(|settings| settings.policy.clone_from(&config.policy)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PolicyInvalid);
    assert!(error.to_string().contains("a policy cannot name another"), "{error}");
    config.policy = Some(dir.path().join("none"));
    let error = RotatingFileWriter::from_config(dir.log(), config).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io, "{error}");
}

#[test]
fn limits_and_compression_change_while_the_log_is_open() {
    let dir = Dir::new();
    let store = policy(&dir);
    let opened = Log::open(&dir, &store);
    let mut log = opened.log.clone();
    let mut write = |count: usize| (0..count).for_each(|_| log.write_all(&[b'x'; 60]).unwrap());
    write(5);
    assert_eq!(opened.log.stats().rotations, 0);

    store.begin_update().comment("small").apply(|config| config.max_size = 100).unwrap();
    opened.obeys(2);
    write(5);
    assert_eq!(opened.log.stats().rotations, 5);

    // Old backups are compressed and removed by the new rules.
    store
        .update(|config| {
            config.compression = Compression::Gzip;
            config.max_backups = Some(2);
        })
        .unwrap();
    eventually("the backups obey", || {
        let backups = dir.backups();
        backups.len() == 2 && backups.iter().all(|name| name.ends_with(".gz"))
    });
    opened.obeys(3);
    let stats = opened.log.stats();
    assert_eq!((stats.policy.unwrap().reloads, stats.all_failures()), (2, 0));
    eventually("both are told", || {
        let told = opened.told.lock().unwrap();
        let changes: Vec<_> = told
            .iter()
            .filter_map(|event| match event {
                Event::PolicyChanged { version, by_hand, comment, .. } => {
                    Some((*version, *by_hand, comment.clone()))
                }
                _ => None,
            })
            .collect();
        changes == [(2, false, Some("small".to_owned())), (3, false, None)]
    });
}

#[test]
fn interval_and_kept_form_change_while_the_log_is_open() {
    let dir = Dir::new();
    let store = policy(&dir);
    let text = "max_size = \"100 B\"\nmin_interval = \"1h\"\ncompression = \"gzip\"\n\
                keep_uncompressed = 2\n";
    std::fs::write(store.path(), text).unwrap();
    assert!(store.reload().unwrap());
    let opened = Log::open(&dir, &store);
    let mut log = opened.log.clone();
    let mut write = |count: usize| (0..count).for_each(|_| log.write_all(&[b'x'; 60]).unwrap());
    write(6);
    assert_eq!(opened.log.stats().rotations, 0, "360 of 400 bytes");
    write(1);
    assert_eq!(opened.log.stats().rotations, 1);

    let version = store.update(|config| config.min_interval = None).unwrap().version();
    opened.obeys(version);
    write(2);
    assert_eq!(opened.log.stats().rotations, 3, "each record goes to a segment of its own");

    let compressed = || dir.backups().iter().filter(|name| name.ends_with(".gz")).count();
    eventually("the oldest is compressed", || compressed() == 1);
    store.update(|config| config.keep_uncompressed = 0).unwrap();
    eventually("all are compressed", || compressed() == 3);
    assert_eq!(opened.failures(), Vec::<String>::new());
}

#[test]
fn edit_by_hand_reaches_an_open_log_and_is_reported() {
    let dir = Dir::new();
    let store = policy(&dir);
    let opened = Log::open(&dir, &store);
    std::fs::write(store.path(), "max_size = \"1 kB\"\n").unwrap();
    opened.obeys(2);
    eventually("it is told", || {
        let told = opened.told.lock().unwrap();
        told.iter()
            .any(|event| matches!(event, Event::PolicyChanged { version: 2, by_hand: true, .. }))
    });
    // A mistake is reported once, with its line, and the version in force stays.
    std::fs::write(store.path(), "max_backups = 7\nmax_size = \"1 Mub\"\n").unwrap();
    eventually("the mistake is told", || !opened.failures().is_empty());
    std::thread::sleep(Duration::from_millis(700));
    let failures = opened.failures();
    assert_eq!(failures.len(), 1, "{failures:?}");
    assert!(failures[0].contains("PolicyInvalid invalid `max_size` = \"1 Mub\" on line 2 of"));
    assert_eq!(opened.log.stats().failures(ErrorKind::PolicyInvalid), 1);
    assert_eq!(opened.log.stats().policy.unwrap().version, 2);
    // So is damage.
    std::fs::write(store.path(), "#: nonsense").unwrap();
    eventually("the damage is told", || opened.log.stats().failures(ErrorKind::PolicyCorrupt) == 1);
    assert!(store.repair().unwrap());
    store.update(|config| config.max_size = 2000).unwrap();
    opened.obeys(3);
}

#[test]
fn fixed_setting_is_rejected_and_the_rest_of_a_version_holds() {
    let dir = Dir::new();
    let store = policy(&dir);
    let opened = Log::open(&dir, &store);
    store
        .update(|config| {
            config.naming = Naming::Number;
            config.delivery = Delivery::buffered();
            config.max_size = 100;
        })
        .unwrap();
    opened.obeys(2);
    let is_told = |version: u64, setting: &str| {
        let expected = format!("version {version} has another `{setting}`, which cannot change");
        opened.failures().iter().any(|told| told.contains(&expected))
    };
    eventually("both are told", || is_told(2, "naming") && is_told(2, "delivery"));
    let mut log = opened.log.clone();
    (0..2).for_each(|_| log.write_all(&[b'x'; 60]).unwrap());
    let backups = dir.backups();
    assert!(backups.len() == 1 && backups[0].contains('T'), "named as before: {backups:?}");

    // Reported once, not with every later version.
    store.update(|config| config.max_size = 200).unwrap();
    opened.obeys(3);
    assert_eq!(opened.failures().len(), 2);
    store
        .update(|config| {
            config.delivery = Delivery::Direct;
            config.maintenance = MaintenanceMode::Inline;
        })
        .unwrap();
    opened.obeys(4);
    eventually("it is told", || is_told(4, "maintenance"));
    assert!(!is_told(4, "naming"));
    let late = Log::open(&dir, &store);
    assert_eq!(late.log.stats().policy.unwrap().version, 4);
}

#[test]
fn version_that_cannot_work_with_what_is_fixed_is_refused_whole() {
    let dir = Dir::new();
    let store = policy(&dir);
    store.update(|config| config.delivery = Delivery::buffered()).unwrap();
    let opened = Log::open(&dir, &store);
    store
        .update(|config| {
            config.delivery = Delivery::Direct;
            config.durability = Durability::EveryRecord;
            config.max_size = 100;
        })
        .unwrap();
    eventually("it is told", || opened.log.stats().failures(ErrorKind::PolicyInvalid) >= 1);
    assert_eq!(opened.log.stats().policy.unwrap().version, 2);
    let mut log = opened.log.clone();
    (0..3).for_each(|_| log.write_all(&[b'x'; 60]).unwrap());
    log.flush().unwrap();
    assert_eq!(log.stats().rotations, 0);

    let header = || vec![b'-'; 50];
    let log = RotatingFileWriter::builder(dir.file("other.log")).policy(store.clone());
    let log = log.header_with(header).build().unwrap();
    store.update(|config| config.max_size = 50).unwrap();
    eventually("a header that fills a segment", || {
        log.stats().failures(ErrorKind::PolicyInvalid) == 1
    });
    assert_eq!(log.stats().policy.unwrap().version, 3);
}

#[test]
fn inline_maintenance_obeys_within_log_calls() {
    let dir = Dir::new();
    let store = policy(&dir);
    store.update(|config| config.maintenance = MaintenanceMode::Inline).unwrap();
    let opened = Log::open(&dir, &store);
    let mut log = opened.log.clone();
    log.write_all(&[b'x'; 60]).unwrap();
    store.update(|config| config.max_size = 100).unwrap();
    eventually("a log call obeys", || {
        log.write_all(b"x\n").unwrap();
        log.stats().policy.unwrap().version == 3
    });
    (0..3).for_each(|_| log.write_all(&[b'x'; 60]).unwrap());
    assert!(log.stats().rotations >= 2);
}

#[test]
fn shorter_age_ends_a_segment_without_new_records() {
    let dir = Dir::new();
    let store = policy(&dir);
    let opened = Log::open(&dir, &store);
    (&opened.log).write_all(b"the only one\n").unwrap();
    store
        .update(|config| {
            config.max_age = Some(Duration::from_millis(10));
            config.check_interval = Duration::from_millis(10);
            config.rotate_every = Some(Period::Weekly);
        })
        .unwrap();
    eventually("it is rotated", || opened.log.stats().rotations == 1);
}

#[test]
fn durability_changes_in_both_directions_under_load() {
    let dir = Dir::new();
    let store = policy(&dir);
    store.update(|config| config.max_size = 20_000).unwrap();
    let opened = Log::open(&dir, &store);
    let over = AtomicBool::new(false);
    let written: BTreeMap<_, _> = std::thread::scope(|scope| {
        let ends = crate::policy::Ends(&over);
        let writers: Vec<_> = (0..3)
            .map(|worker| {
                let (over, log) = (&over, &opened.log);
                scope.spawn(move || {
                    let mut seq = 0;
                    while !over.load(Ordering::Relaxed) {
                        let mut log = log;
                        log.write_all(record(worker, seq).as_bytes()).unwrap();
                        seq += 1;
                        rest_at(seq);
                    }
                    (worker, seq)
                })
            })
            .collect();
        let all = [Durability::EveryRecord, Durability::OnRotate, Durability::None];
        for durability in all.into_iter().cycle().take(7) {
            let version = store.update(|config| config.durability = durability).unwrap().version();
            opened.obeys(version);
        }
        drop(ends);
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    opened.log.finish().unwrap();
    let verdict = check(&dir.all_lines(), &written);
    assert!(verdict.is_clean(), "{verdict}");
    assert_eq!(opened.log.stats().all_failures(), 0, "{:?}", opened.failures());
}

#[test]
fn two_logs_of_one_process_obey_one_store() {
    let dir = Dir::new();
    let store = policy(&dir);
    let logs = ["a.log", "b.log"].map(|name| {
        RotatingFileWriter::builder(dir.file(name)).policy(store.clone()).build().unwrap()
    });
    store.update(|config| config.max_size = 100).unwrap();
    for log in &logs {
        eventually("both obey", || log.stats().policy.unwrap().version == 2);
    }
    std::fs::write(store.path(), "#: nonsense").unwrap();
    for log in &logs {
        eventually("both tell", || log.stats().failures(ErrorKind::PolicyCorrupt) == 1);
    }
}
