//! The archive: each finished segment becomes one object, whole, before its file may go.

use crate::archive_server::{Manners, Request, Server};
use crate::support::{Dir, Job, eventually, is_long, lines, listen, next_worker, say};
use logrotor::reader::LogReader;
use logrotor::{
    Archive, Archiver, Compression, Config, DeferralReason, ErrorKind, Event, Maintenance,
    MaintenanceMode, Naming, RotatingFileWriter, WhenFull,
};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

/// A directory as a store.
pub struct Bucket(tempfile::TempDir);

impl Bucket {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn url(&self) -> String {
        format!("file://{}", self.0.path().display())
    }

    /// The segments: their content by origin and name.
    fn objects(&self) -> BTreeMap<(String, String), Vec<u8>> {
        let mut objects = BTreeMap::new();
        for origin in names(&self.0.path().join("app.log")) {
            let dir = self.0.path().join("app.log").join(&origin);
            // The store's own unfinished files end in `#` and a number.
            for name in names(&dir).into_iter().filter(|name| !name.starts_with('.')) {
                if !name.contains('#') {
                    let content = std::fs::read(dir.join(&name)).unwrap();
                    objects.insert((origin.clone(), name), content);
                }
            }
        }
        objects
    }

    /// The names of the objects, each of which must be there once.
    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.objects().into_keys().map(|(_, name)| name).collect();
        names.sort();
        names
    }

    pub fn origins(&self) -> Vec<String> {
        names(&self.0.path().join("app.log"))
    }

    pub fn object(&self, origin: &str, name: &str) -> PathBuf {
        self.0.path().join("app.log").join(origin).join(name)
    }
}

fn names(dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

pub fn config(url: &str) -> Config {
    let mut config = Config::default();
    config.archive = Some(Archive::to(url).host("web-7"));
    config
}

/// Two compressed backups and two uncompressed ones. Each is made by a process, so that no process
/// that another test is just starting has a copy of its lease.
pub fn finished() -> Dir {
    let dir = Dir::new();
    let job = Job::new("obey", &dir.log());
    for job in [&job.clone().with("gzip", 1), &job] {
        for _ in 0..2 {
            next_worker(job, &dir.names().len().to_string());
        }
    }
    let compressed = dir.backups().iter().map(|name| name.ends_with(".gz")).collect::<Vec<_>>();
    assert_eq!(compressed, [true, true, false, false]);
    dir
}

/// Copies the files of a log, oldest first, so that each is younger than the one before.
fn copy(from: &Dir) -> Dir {
    let to = Dir::new();
    for name in from.names().iter().filter(|name| *name != "app.log") {
        std::fs::copy(from.file(name), to.file(name)).unwrap();
    }
    std::fs::copy(from.log(), to.log()).unwrap();
    to
}

fn contents(dir: &Dir) -> BTreeMap<String, Vec<u8>> {
    let read = |name: String| (name.clone(), std::fs::read(dir.file(&name)).unwrap());
    dir.backups().into_iter().map(read).collect()
}

/// The child: archives what is there, then removes what may be removed.
pub fn child(job: &Job) {
    if job.text("task") == "archive-at" {
        return archive_and_report(job);
    }
    let config = config(job.text("archive"));
    let log = Path::new(job.text("log"));
    let mut tries = 0;
    while archive(log, &config).is_err() || prune(log, &config).is_err() {
        tries += 1;
        assert!(tries < 50, "it never ends");
    }
    say("done");
    listen();
}

pub fn archive(log: &Path, config: &Config) -> logrotor::Result<()> {
    let archiver = Archiver::new(log, config, |_| {})?;
    while !archiver.plan()?.segments.is_empty() {
        archiver.run(&|| true)?;
    }
    Ok(())
}

pub fn prune(log: &Path, config: &Config) -> logrotor::Result<()> {
    let mut config = config.clone();
    config.max_backups = Some(0);
    Maintenance::new(log, &config, |_| {})?.run(&|| true).map(|_| ())
}

/// Archives a copy of the log in a child that a fault strikes; `false` if it ended before that.
fn struck(log: &Dir, fault: &str) -> bool {
    let (dir, bucket) = (copy(log), Bucket::new());
    let before = contents(&dir);
    let job = Job::new("archive", &dir.log())
        .with("archive", bucket.url())
        .env("LOGROTOR_FAULT", fault)
        .spawn();
    let ended_well = job.end();
    let objects: BTreeMap<_, _> =
        bucket.objects().into_iter().map(|((_, name), content)| (name, content)).collect();
    for (name, content) in &before {
        let here = std::fs::read(dir.file(name)).ok();
        assert!(
            here.as_ref() == Some(content) || objects.get(name) == Some(content),
            "{fault}: {name} is lost"
        );
    }
    archive(&dir.log(), &config(&bucket.url())).unwrap();
    let objects = bucket.objects();
    assert_eq!(objects.len(), before.len(), "{fault}: {:?}", objects.keys());
    for ((_, name), content) in &objects {
        assert_eq!(before.get(name), Some(content), "{fault}: {name}");
    }
    !ended_well
}

#[test]
fn worker_killed_at_any_operation_leaves_each_object_once() {
    let log = finished();
    let step = if is_long() { 1 } else { 3 };
    let mut at = 1 + if is_long() { 0 } else { fastrand::usize(..step) };
    println!("killed at every operation {step} from {at} on");
    while struck(&log, &format!("{at}:kill")) {
        at += step;
    }
    assert!(at > 100, "{at}");
}

#[test]
fn operation_that_fails_once_leaves_each_object_once() {
    let log = finished();
    let step = if is_long() { 1 } else { 7 };
    let first = 1 + if is_long() { 0 } else { fastrand::usize(..step) };
    println!("failed at every operation {step} from {first} on");
    for at in (first..150).step_by(step) {
        assert!(!struck(&log, &format!("{at}:errno=5")), "{at}");
    }
}

#[test]
fn request_that_fails_anywhere_leaves_each_object_once() {
    let log = finished();
    for verb in ["send object", "receive answer", "ask for object", "receive object"] {
        for at in 1..=4 {
            assert!(!struck(&log, &format!("{at}/{verb}:errno=104")), "{at} {verb}");
            assert!(struck(&log, &format!("{at}/{verb}:kill")), "{at} {verb}");
        }
    }
    assert!(!struck(&log, "2-4/send object:short"));
}

#[test]
fn worker_archives_its_segments_and_then_removes_them() {
    let (dir, bucket) = (Dir::new(), Bucket::new());
    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&events);
    let mut log = dir
        .writer()
        .compression(Compression::Gzip)
        .max_backups(1)
        .archive(Archive::to(bucket.url()))
        .observer(move |event| {
            if let Event::Archived { object, .. } = event {
                seen.lock().unwrap().push(object.clone());
            }
        })
        .build()
        .unwrap();
    for number in 0..4 {
        writeln!(log, "{number}").unwrap();
        log.rotate().unwrap();
    }
    eventually("all are archived, and one is left", || {
        bucket.names().len() == 4 && dir.backups().len() == 1
    });
    let count = || log.stats().archive.map(|it| (it.archived, it.backlog, it.dropped));
    // An object is there before it is verified, and counted after that.
    eventually("all are counted", || count() == Some((4, 0, 0)));
    log.close().unwrap();
    let mut objects = events.lock().unwrap().clone();
    objects.sort();
    let expected: Vec<_> = bucket
        .objects()
        .into_keys()
        .map(|(origin, name)| format!("{}/app.log/{origin}/{name}", bucket.url()))
        .collect();
    assert_eq!(objects, expected);
    for (number, content) in bucket.objects().values().enumerate() {
        let mut plain = String::new();
        let mut decoder = flate2::read::GzDecoder::new(&content[..]);
        std::io::Read::read_to_string(&mut decoder, &mut plain).unwrap();
        assert_eq!(plain, format!("{number}\n"));
    }
}

#[test]
fn backups_outlive_their_limits_until_the_store_is_there() {
    let (dir, bucket) = (Dir::new(), Bucket::new());
    let store = bucket.0.path().join("mount");
    let mut log = dir
        .writer()
        .max_backups(0)
        .archive(Archive::to(format!("file://{}", store.display())))
        .build()
        .unwrap();
    for number in 0..3 {
        writeln!(log, "{number}").unwrap();
        log.rotate().unwrap();
    }
    eventually("the failure is counted and kept", || {
        let stats = log.stats();
        let error = stats.archive.as_ref().and_then(|archive| archive.last_error.as_ref());
        stats.failures(ErrorKind::ArchiveUnreachable) > 0 && error.is_some()
    });
    log.finish().unwrap();
    assert_eq!(dir.backups().len(), 3);
    assert_eq!(log.stats().archive.unwrap().archived, 0);
    std::fs::create_dir(&store).unwrap();
    eventually("they are archived, and then removed", || dir.backups().is_empty());
    eventually("all are counted", || log.stats().archive.unwrap().archived == 3);
}

#[test]
fn worker_without_archive_keeps_what_another_has_not_archived() {
    let (dir, bucket) = (finished(), Bucket::new());
    let first = dir.backups()[0].clone();
    archive(&dir.log(), &config(&bucket.url())).unwrap();
    next_worker(&Job::new("obey", &dir.log()), "a record");
    let last = dir.backups()[4].clone();
    let deferred = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&deferred);
    let mut plain = Config::default();
    plain.max_backups = Some(0);
    let maintenance = Maintenance::new(dir.log(), &plain, move |event| {
        if let Event::Deferred { path, reason, .. } = event {
            noted.lock().unwrap().push((path.clone(), *reason));
        }
    });
    let maintenance = maintenance.unwrap();
    assert!(maintenance.plan().unwrap().prune[0].ends_with(first));
    assert_eq!(maintenance.plan().unwrap().prune.len(), 4);
    maintenance.run(&|| true).unwrap();
    assert_eq!(dir.backups(), std::slice::from_ref(&last));
    let log = std::fs::canonicalize(dir.path()).unwrap();
    assert_eq!(*deferred.lock().unwrap(), [(log.join(last), DeferralReason::NotArchived)]);
}

#[test]
fn full_disk_drops_unarchived_backups_only_on_request() {
    for when_full in [WhenFull::Keep, WhenFull::Drop] {
        let dir = Dir::new();
        let archive = Archive::to("file:///nonexistent").when_full(when_full);
        let mut log = dir.writer().min_free_space(u64::MAX).archive(archive).build().unwrap();
        for number in 0..3 {
            writeln!(log, "{number}").unwrap();
            log.rotate().unwrap();
        }
        log.finish().unwrap();
        let state = || (dir.backups().len(), log.stats().archive.unwrap().dropped);
        match when_full {
            // The archive may be reading one.
            WhenFull::Drop => eventually("all are dropped", || state() == (0, 3)),
            _ => assert_eq!(state(), (3, 0)),
        }
    }
}

#[test]
fn other_object_under_our_key_stays_and_is_reported() {
    let (dir, bucket) = (finished(), Bucket::new());
    let config = config(&bucket.url());
    archive(&dir.log(), &config).unwrap();
    let origin = bucket.origins()[0].clone();
    let name = "app.log.2020-01-01T00-00-00.000000Z";
    let old = SystemTime::now() - Duration::from_secs(60);
    std::fs::write(dir.file(name), "ours\n").unwrap();
    std::fs::File::options().append(true).open(dir.file(name)).unwrap().set_modified(old).unwrap();
    std::fs::write(bucket.object(&origin, name), "another's\n").unwrap();
    let failures = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&failures);
    let archiver = Archiver::new(dir.log(), &config, move |event| {
        if let Event::Failed { error, .. } = event {
            seen.lock().unwrap().push(error.kind());
        }
    });
    let archiver = archiver.unwrap();
    // At once, unless a process that another test is just starting has a copy of the open file.
    let mut stats = Default::default();
    eventually("the conflict is found", || {
        stats = archiver.run(&|| true).unwrap().archive.unwrap();
        stats.conflicts > 0
    });
    assert_eq!((stats.conflicts, stats.archived), (1, 0));
    assert_eq!(*failures.lock().unwrap(), [ErrorKind::ArchiveConflict]);
    eventually("it is archived under another origin", || {
        archiver.run(&|| true).unwrap();
        archiver.plan().unwrap().segments.is_empty()
    });
    assert_eq!(std::fs::read(bucket.object(&origin, name)).unwrap(), b"another's\n");
    let own = bucket.origins().into_iter().find(|it| *it != origin).unwrap();
    assert_eq!(std::fs::read(bucket.object(&own, name)).unwrap(), b"ours\n");
}

#[test]
fn copy_of_a_directory_writes_under_another_origin() {
    let (dir, bucket) = (finished(), Bucket::new());
    let config = config(&bucket.url());
    archive(&dir.log(), &config).unwrap();
    let clone = copy(&dir);
    for log in [&dir, &clone] {
        next_worker(&Job::new("obey", &log.log()), "after the copy");
        archive(&log.log(), &config).unwrap();
    }
    let origins = bucket.origins();
    assert_eq!(origins.len(), 2);
    assert!(origins.iter().all(|origin| origin.starts_with("web-7.")));
    let count = |origin: &String| bucket.objects().keys().filter(|key| key.0 == *origin).count();
    let mut counts: Vec<_> = origins.iter().map(count).collect();
    counts.sort_unstable();
    assert_eq!(counts, [1, 5], "what was archived before the copy is not sent again");
}

#[test]
fn origin_survives_restarts() {
    let (dir, bucket) = (Dir::new(), Bucket::new());
    for number in 0..3 {
        let config = config(&bucket.url());
        next_worker(&Job::new("obey", &dir.log()), &number.to_string());
        archive(&dir.log(), &config).unwrap();
    }
    assert_eq!((bucket.origins().len(), bucket.names().len()), (1, 3));
}

#[test]
fn half_done_rotation_is_not_archived_before_its_end() {
    let (dir, bucket) = (Dir::new(), Bucket::new());
    let config = config(&bucket.url());
    let open = || dir.writer().maintenance(MaintenanceMode::Inline).build().unwrap();
    let mut log = open();
    log.write_all(b"first\n").unwrap();
    log.close().unwrap();
    // The worker was killed after it gave the active segment a backup's name.
    std::fs::hard_link(dir.log(), dir.file("app.log.2026-11-20T23-57-01.123456Z")).unwrap();
    let archiver = Archiver::new(dir.log(), &config, |_| {}).unwrap();
    assert!(archiver.plan().unwrap().segments.is_empty());
    archive(&dir.log(), &config).unwrap();
    assert!(bucket.objects().is_empty());
    // The next worker appends to that segment, and ends it.
    let mut log = open();
    log.write_all(b"second\n").unwrap();
    log.rotate().unwrap().unwrap();
    log.close().unwrap();
    archive(&dir.log(), &config).unwrap();
    assert_eq!(bucket.names(), dir.backups());
    assert!(bucket.objects().into_values().all(|content| content == b"first\nsecond\n"));
}

#[test]
fn objects_have_the_time_after_the_name_and_keep_the_extension() {
    let (dir, bucket) = (Dir::new(), Bucket::new());
    let mut config = config(&bucket.url());
    config.naming = Naming::TimestampInfix;
    let job = Job::new("obey", &dir.log()).with("infix", 1);
    next_worker(&job.clone().with("gzip", 1), "one");
    next_worker(&job, "two");
    let names = dir.backups();
    assert!(names[0].ends_with("Z.log.gz") && names[1].ends_with("Z.log"), "{names:?}");
    prune(&dir.log(), &config).unwrap();
    assert_eq!(dir.backups(), names, "nothing goes before it is archived");
    archive(&dir.log(), &config).unwrap();
    let object = |name: &String| name.replacen("app.", "app.log.", 1);
    assert_eq!(bucket.names(), names.iter().map(object).collect::<Vec<_>>());
    let read = || {
        let builder = LogReader::builder(dir.log()).archive(bucket.url());
        let mut both = builder.open().unwrap();
        let lines = both.records().map(|line| line.unwrap().into_string_lossy());
        lines.collect::<Vec<_>>()
    };
    assert_eq!(read(), ["one", "two"], "each once");
    prune(&dir.log(), &config).unwrap();
    assert_eq!(dir.backups(), [""; 0]);
    assert_eq!(read(), ["one", "two"]);
}

#[test]
fn lost_ledger_is_written_again_and_damaged_one_is_rejected() {
    let (dir, bucket) = (finished(), Bucket::new());
    let config = config(&bucket.url());
    archive(&dir.log(), &config).unwrap();
    let ledger = dir.file("app.log.archive");
    std::fs::write(&ledger, "logrotor archive 1\nrubbish\n").unwrap();
    for result in [archive(&dir.log(), &config), prune(&dir.log(), &config)] {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ArchiveLedger);
        assert!(error.to_string().contains("line 2"), "{error}");
    }
    assert_eq!(dir.backups().len(), 4);
    let before = bucket.objects();
    std::fs::remove_file(&ledger).unwrap();
    assert!(prune(&dir.log(), &config).is_ok() && dir.backups().len() == 4, "nothing is known");
    archive(&dir.log(), &config).unwrap();
    assert_eq!(bucket.objects(), before);
    prune(&dir.log(), &config).unwrap();
    assert!(dir.backups().is_empty());
}

#[test]
fn claim_that_names_another_file_is_a_damaged_line() {
    let (dir, elsewhere, bucket) = (finished(), Dir::new(), Bucket::new());
    let config = config(&bucket.url());
    let victim = elsewhere.file("victim");
    std::fs::write(&victim, "").unwrap();
    let sibling = elsewhere.path().file_name().unwrap().to_str().unwrap();
    let relative = format!("../{sibling}/victim");
    let own = dir.backups()[1].clone();
    for claim in [&victim.display().to_string(), &relative, &own] {
        // The first backup is one that would be sent, if no worker held the claim.
        let line = format!("{}\t1\taa\tintended\t{claim}\ts3://b/x\n", dir.backups()[0]);
        std::fs::write(dir.file("app.log.archive"), format!("logrotor archive 1\n{line}")).unwrap();
        let error = archive(&dir.log(), &config).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ArchiveLedger, "{claim}");
        assert!(victim.exists() && dir.file(&own).exists(), "{claim}");
    }
}

#[test]
fn intent_of_another_prefix_does_not_choose_the_object() {
    let (dir, bucket) = (finished(), Bucket::new());
    let name = dir.backups()[0].clone();
    let claim = ".app.log.archive.abcdefghijkl.tmp";
    let old = format!("{}/old/app.log/web-7.aaaaaaaa/{name}", bucket.url());
    let ledger = format!("logrotor archive 1\n{name}\t1\taa\tintended\t{claim}\t{old}\n");
    std::fs::write(dir.file("app.log.archive"), ledger).unwrap();
    archive(&dir.log(), &config(&bucket.url())).unwrap();
    assert_eq!((bucket.names(), names(bucket.0.path()).len()), (dir.backups(), 1));
}

/// The failure to archive in a directory that is there, and empty.
fn refused_at(dir: &Dir, config: &Config, bucket: &Bucket) -> String {
    let error = archive(&dir.log(), config).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ArchiveUnreachable);
    assert_eq!(names(bucket.0.path()), [""; 0], "nothing is written under the mount point");
    error.to_string()
}

#[test]
fn empty_mount_point_is_not_taken_for_the_archive() {
    let (dir, bucket, aside) = (finished(), Bucket::new(), Bucket::new());
    let config = config(&bucket.url());
    archive(&dir.log(), &config).unwrap();
    // No verified segment is left that the ledger could name.
    prune(&dir.log(), &config).unwrap();
    next_worker(&Job::new("obey", &dir.log()), "while it is not mounted");
    let (mounted, unmounted) = (bucket.0.path().join("app.log"), aside.0.path().join("app.log"));
    std::fs::rename(&mounted, &unmounted).unwrap();
    let error = refused_at(&dir, &config, &bucket);
    assert!(error.contains("perhaps because it is not mounted"), "{error}");
    prune(&dir.log(), &config).unwrap();
    assert_eq!(dir.backups().len(), 1);
    std::fs::rename(&unmounted, &mounted).unwrap();
    archive(&dir.log(), &config).unwrap();
    assert_eq!((bucket.origins().len(), bucket.names().len()), (1, 5));

    // An archive that was emptied on purpose is used again after the step that the message names.
    std::fs::remove_dir_all(&mounted).unwrap();
    next_worker(&Job::new("obey", &dir.log()), "after it was emptied");
    let error = refused_at(&dir, &config, &bucket);
    let origin = error.split('`').find(|part| part.contains("app.log/web-7.")).unwrap();
    std::fs::create_dir_all(origin).unwrap();
    archive(&dir.log(), &config).unwrap();
    assert_eq!(bucket.names(), dir.backups()[dir.backups().len() - 1..]);
}

#[test]
fn directory_that_is_unmounted_while_in_use_gets_nothing() {
    let (dir, bucket, aside) = (Dir::new(), Bucket::new(), Bucket::new());
    let (mounted, unmounted) = (bucket.0.path().join("app.log"), aside.0.path().join("app.log"));
    let archive = Archive::to(bucket.url()).host("web-7");
    let mut log = dir.writer().max_backups(0).archive(archive).build().unwrap();
    let mut rotate = |text: &str| {
        writeln!(log, "{text}").unwrap();
        log.rotate().unwrap();
    };
    rotate("first");
    eventually("the first is archived, and gone", || dir.backups().is_empty());
    std::fs::rename(&mounted, &unmounted).unwrap();
    rotate("second");
    eventually("the failure is in the ledger", || {
        String::from_utf8(dir.read("app.log.archive")).unwrap().contains("it is not mounted")
    });
    assert_eq!((names(bucket.0.path()).len(), dir.backups().len()), (0, 1));
    std::fs::rename(&unmounted, &mounted).unwrap();
    eventually("the second is archived, and gone", || dir.backups().is_empty());
    assert_eq!((bucket.origins().len(), bucket.names().len()), (1, 2));
}

#[test]
#[cfg(unix)]
fn log_whose_objects_cannot_have_its_name_is_rejected() {
    let (dir, bucket) = (Dir::new(), Bucket::new());
    let config = config(&bucket.url());
    let log = dir.file("app\t1.log");
    let errors = [
        Archiver::new(&log, &config, |_| {}).map(|_| ()).unwrap_err(),
        RotatingFileWriter::from_config(&log, config).map(|_| ()).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(error.to_string().contains("\"app\\t1.log\""), "{error}");
    }
    assert_eq!(dir.names(), [""; 0]);
}

#[test]
#[cfg(unix)]
fn object_of_a_killed_worker_is_synced_and_unfinished_ones_go() {
    let (dir, bucket) = (finished(), Bucket::new());
    let config = config(&bucket.url());
    archive(&dir.log(), &config).unwrap();
    // Such as if the worker had been killed before it removed the other names.
    std::fs::remove_file(dir.file("app.log.archive")).unwrap();
    let origin = bucket.origins()[0].clone();
    let objects: Vec<_> = dir.backups().iter().map(|it| bucket.object(&origin, it)).collect();
    for (object, number) in objects.iter().flat_map(|object| [(object, 1), (object, 2)]) {
        std::fs::write(format!("{}#{number}", object.display()), "half").unwrap();
    }
    let trace = crate::support::Trace::new();
    let job = Job::new("archive", &dir.log()).with("archive", bucket.url());
    assert!(trace.of(&job).spawn().end());
    let left = names(objects[0].parent().unwrap());
    assert_eq!(left.len(), 5, "the objects and `.origin`: {left:?}");
    // The directories of the origin, of the log, and of the archive, for each object.
    let synced = trace.verbs().iter().filter(|verb| *verb == "sync directory").count();
    assert!(synced >= 3 * 5, "{synced}");
}

#[test]
#[cfg(unix)]
fn ledger_changes_once_for_each_window_of_segments() {
    let (dir, bucket) = (Dir::new(), Bucket::new());
    let long_ago = SystemTime::now() - Duration::from_secs(60);
    for number in 0..100 {
        let path = dir.file(&format!("app.log.2026-01-01T00-00-00.{number:06}Z.gz"));
        std::fs::write(&path, "compressed").unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(long_ago).unwrap();
    }
    let trace = crate::support::Trace::new();
    let job = Job::new("archive", &dir.log()).with("archive", bucket.url());
    assert!(trace.of(&job).spawn().end());
    assert_eq!(bucket.names().len(), 100);
    // Two for the origin. The intents of 64, of 32 and of 4, each with those that are done, and the
    // last ones. Each change takes the lock once.
    let changes = trace.count("rename");
    assert!((4..=6).contains(&changes), "{changes}");
}

#[test]
fn four_workers_share_the_work_without_doubles() {
    let (dir, bucket) = (Dir::new(), Bucket::new());
    let job = Job::new("obey", &dir.log()).with("gzip", 1).with("archive", bucket.url());
    let mut workers: Vec<_> = (0..4).map(|_| job.spawn()).collect();
    let mut written = Vec::new();
    for round in 0..5 {
        for (at, worker) in workers.iter_mut().enumerate() {
            if round == 0 {
                worker.expect("ready");
            }
            worker.write(&format!("{round} {at}"));
            written.push(format!("{round} {at}"));
            assert_eq!(worker.ask("rotate"), "ok");
        }
    }
    eventually("everything is archived", || {
        let backups = dir.backups();
        backups.iter().all(|name| name.ends_with(".gz")) && bucket.names() == backups
    });
    workers.into_iter().for_each(crate::support::Worker::finish);
    assert_eq!(bucket.origins().len(), 1);
    let mut found = dir.active_lines();
    for content in bucket.objects().values() {
        let mut plain = Vec::new();
        let mut decoder = flate2::read::GzDecoder::new(&content[..]);
        std::io::Read::read_to_end(&mut decoder, &mut plain).unwrap();
        found.extend(lines(&plain));
    }
    found.sort();
    written.sort();
    assert_eq!(found, written);
}

#[test]
fn store_that_never_answers_delays_neither_records_nor_close() {
    let dir = Dir::new();
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut worker = Job::new("obey", &dir.log())
        .with("archive", "s3://bucket/prefix")
        .with("max_backups", 0)
        .env("AWS_ENDPOINT", format!("http://{}", server.local_addr().unwrap()))
        .env("AWS_ALLOW_HTTP", true)
        .env("AWS_ACCESS_KEY_ID", "key")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .spawn();
    worker.expect("ready");
    worker.write("one");
    assert_eq!(worker.ask("rotate"), "ok");
    // The request is under way from here on.
    let (_connection, _) = server.accept().unwrap();
    worker.write("two");
    assert_eq!(worker.ask("rotate"), "ok");
    assert_eq!(worker.ask("close"), "ok");
    worker.finish();
    assert_eq!(dir.backups().len(), 2);
}

#[test]
fn settings_that_an_archive_cannot_work_with_are_rejected() {
    let open = |change: &dyn Fn(&mut Config)| {
        let mut config = config("s3://bucket");
        change(&mut config);
        RotatingFileWriter::from_config(Dir::new().log(), config).unwrap_err().to_string()
    };
    let numbered = open(&|config| config.naming = logrotor::Naming::Number);
    assert!(numbered.contains("`naming` = number") && numbered.contains("use timestamp"));
    assert!(open(&|config| config.max_size = 2 << 30).contains("use 1073741824 or less"));
    let inline = open(&|config| config.maintenance = MaintenanceMode::Inline);
    assert!(inline.contains("`logrotor archive`"), "{inline}");
}

/// A child that archives the log, or reads it.
pub fn archive_job(task: &str, dir: &Dir, url: &str) -> Job {
    Job::new(task, &dir.log()).with("archive", url)
}

/// Archives the log in a child until everything is archived, or only once. Returns its report.
fn archive_at(server: &Server, dir: &Dir, once: bool) -> String {
    archive_by("auto", server, dir, once)
}

/// Does so with this verification.
fn archive_by(verify: &str, server: &Server, dir: &Dir, once: bool) -> String {
    let mut job = archive_job("archive-at", dir, "s3://bucket/a/prefix")
        .env("AWS_ENDPOINT", &server.endpoint)
        .env("AWS_ALLOW_HTTP", true)
        .env("AWS_ACCESS_KEY_ID", "key")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .with("verify", verify);
    if once {
        job = job.with("once", 1).with("paced", 1);
    }
    let mut child = job.spawn();
    let report = child.hear().unwrap();
    // It waits for the end of its input.
    assert!(child.end());
    report
}

/// The child: reports the kinds of failures, and counters.
fn archive_and_report(job: &Job) {
    let failures = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&failures);
    let mut config = config(job.text("archive"));
    if job.has("verify") {
        config.archive.as_mut().unwrap().verify = job.text("verify").parse().unwrap();
    }
    // One by one.
    config.archive.as_mut().unwrap().max_rate = job.has("paced").then_some(u64::MAX);
    let archiver = Archiver::new(job.text("log"), &config, move |event| {
        if let Event::Failed { error, .. } = event {
            seen.lock().unwrap().push(format!("{:?}", error.kind()));
        }
    });
    let archiver = archiver.unwrap();
    loop {
        if let Err(error) = archiver.run(&|| true) {
            failures.lock().unwrap().push(format!("{:?}: {error}", error.kind()));
        }
        if job.has("once") || archiver.plan().unwrap().segments.is_empty() {
            break;
        }
    }
    let left = archiver.plan().unwrap().segments.len();
    failures.lock().unwrap().insert(0, format!("{left} left"));
    say(failures.lock().unwrap().join(", "));
    listen();
}

/// The objects of the server must be the backups, each once, under one origin.
fn assert_archived(server: &Server, dir: &Dir) {
    let objects = server.objects().into_iter().filter(|(path, _)| !path.ends_with(".origin"));
    let found: BTreeMap<_, _> = objects
        .map(|(path, body)| {
            let path = path.strip_prefix("/bucket/a/prefix/app.log/web-7.").unwrap().to_owned();
            (path.split_once('/').unwrap().1.to_owned(), body)
        })
        .collect();
    assert_eq!(found, contents(dir));
    assert_eq!(server.objects().len(), 5);
}

#[test]
fn lost_answers_make_neither_doubles_nor_conflicts() {
    let (dir, server) =
        (finished(), Server::start(Manners { lost_answers: 3, ..Manners::default() }));
    assert_eq!(archive_at(&server, &dir, false), "0 left");
    assert_archived(&server, &dir);
}

#[test]
fn store_that_ignores_conditions_is_named_and_used() {
    let manners = Manners { ignores_conditions: true, lost_answers: 1, ..Manners::default() };
    let (dir, server) = (finished(), Server::start(manners));
    assert_eq!(archive_at(&server, &dir, false), "0 left, ArchiveUnconditional");
    assert_archived(&server, &dir);
}

#[test]
fn store_that_damages_objects_is_found_out() {
    let manners = Manners { corrupts: true, ..Manners::default() };
    let (dir, server) = (finished(), Server::start(manners));
    let report = archive_at(&server, &dir, true);
    assert_eq!(report, "4 left, ".to_owned() + &["ArchiveConflict"; 4].join(", "));
    assert_eq!(dir.backups().len(), 4);
}

#[test]
fn checksum_in_the_answer_saves_a_request() {
    for (confirms, method) in [(None, Some("HEAD")), (Some(true), None), (Some(false), Some("GET"))]
    {
        let (dir, server) = (finished(), Server::start(Manners { confirms, ..Manners::default() }));
        assert_eq!(archive_by("checksum", &server, &dir, false), "0 left");
        assert_archived(&server, &dir);
        let is_look = |it: &Request| it.method != "PUT" && !it.path.ends_with(".origin");
        let looks = server.requests().into_iter().filter(is_look);
        let looks: Vec<_> = looks.map(|request| request.method).collect();
        assert_eq!(looks, vec![method.unwrap_or_default(); method.map_or(0, |_| 4)]);
    }
}

#[test]
fn store_that_confirms_another_checksum_is_not_believed() {
    let manners = Manners { corrupts: true, confirms: Some(false), ..Manners::default() };
    let (dir, server) = (finished(), Server::start(manners));
    let report = archive_by("checksum", &server, &dir, true);
    assert_eq!(report, "4 left, ".to_owned() + &["ArchiveConflict"; 4].join(", "));
    assert_eq!(dir.backups().len(), 4);
}

#[test]
fn refusal_is_reported_as_what_it_is_and_tried_again() {
    for (status, code, words) in [
        (403, "AccessDenied", "ArchiveDenied: failed to archive as `s3://bucket/a/prefix/"),
        (403, "RequestTimeTooSkewed", "the clock of this machine differs"),
        (401, "Unauthorized", "ArchiveDenied"),
        (400, "NoSuchUpload", "ArchiveUnreachable"),
    ] {
        let manners = Manners { refusals: (1, status, code), ..Manners::default() };
        let (dir, server) = (finished(), Server::start(manners));
        let report = archive_at(&server, &dir, false);
        assert!(report.starts_with("0 left, ") && report.contains(words), "{report}");
        assert_archived(&server, &dir);
    }
}

#[test]
fn segments_that_the_store_refuses_hold_up_no_other() {
    for count in [1, 2] {
        let dir = finished();
        // The oldest, or the two oldest.
        let too_large = if count == 1 { dir.backups()[0].clone() } else { ".gz".to_owned() };
        let server = Server::start(Manners { too_large, ..Manners::default() });
        let report = archive_at(&server, &dir, true);
        let expected = format!("{count} left, ArchiveUnreachable: failed to archive");
        assert!(report.starts_with(&expected), "{report}");
        assert_eq!(server.objects().len(), 5 - count, "with the origin");
    }
}

#[test]
fn objects_have_a_type_a_checksum_and_no_encoding() {
    let (dir, server) = (finished(), Server::start(Manners::default()));
    archive_at(&server, &dir, false);
    let mut types = Vec::new();
    for Request { path, headers, .. } in server.requests() {
        assert!(!headers.contains_key("content-encoding"));
        let Some(digest) = headers.get("x-amz-meta-sha256") else { continue };
        if !path.ends_with(".origin") {
            types.push(headers["content-type"].clone());
        }
        assert_eq!(digest.len(), 64);
        assert_eq!(headers["x-amz-checksum-sha256"].len(), 44, "in base64");
        assert_eq!(headers["if-none-match"], "*");
    }
    types.sort();
    let (gzip, text) = ("application/gzip", "text/plain; charset=utf-8");
    assert_eq!(types, [gzip, gzip, text, text]);
}

#[test]
#[cfg(feature = "policy")]
fn policy_changes_an_archive_but_does_not_switch_it_on() {
    use logrotor::policy;
    let (dir, first, second) = (Dir::new(), Bucket::new(), Bucket::new());
    let path = policy::path_beside(dir.log());
    let store = Config::policy().open_or_create(path, || config(&first.url())).unwrap();
    let mut log = dir.writer().policy(store.clone()).build().unwrap();
    let mut rotate = || {
        writeln!(log, "a record").unwrap();
        log.rotate().unwrap();
    };
    rotate();
    eventually("it is in the first store", || first.names().len() == 1);
    store.update(|config| config.archive = Some(Archive::to(second.url()).host("web-7"))).unwrap();
    rotate();
    eventually("the next is in one of them", || first.names().len() + second.names().len() == 2);
    rotate();
    eventually("and then in the second", || !second.names().is_empty());
    drop(log);

    store.update(|config| config.archive = None).unwrap();
    let log = dir.writer().policy(store.clone()).build().unwrap();
    store.update(|config| config.archive = Some(Archive::to(second.url()))).unwrap();
    eventually("that is reported", || log.stats().last_error.is_some());
    let error = log.stats().last_error.unwrap().to_string();
    assert!(error.contains("archive"), "{error}");
}
