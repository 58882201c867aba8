//! The permissions of a log's files from their creation on, and links that lead elsewhere.

use crate::support::{Dir, Job, Worker};
use logrotor::__test::Clock;
use logrotor::{Compression, ErrorKind, MaintenanceMode, Naming, RotatingFileWriter};
use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// The names and modes of all files of a directory.
fn modes(dir: &Dir) -> Vec<(String, u32)> {
    dir.names().into_iter().map(|name| (name.clone(), mode(&dir.file(&name)))).collect()
}

/// A log that does all its work within its calls.
fn inline(dir: &Dir) -> logrotor::LogBuilder {
    dir.writer().maintenance(MaintenanceMode::Inline)
}

fn write_and_rotate(mut log: &RotatingFileWriter) -> PathBuf {
    log.write_all(b"line\n").unwrap();
    log.rotate().unwrap().unwrap()
}

/// A process with this umask and log mode, which compresses its backups or not.
fn worker(dir: &Dir, umask: &str, mode: &str, gzip: bool) -> Worker {
    let job = Job::new("obey", &dir.log()).with("umask", umask).with("mode", mode);
    let job = job.with("inline", 1);
    let mut worker = if gzip { job.with("gzip", 1) } else { job }.spawn();
    worker.expect("ready");
    worker
}

#[test]
fn configured_mode_of_segments_ignores_the_umask() {
    for umask in ["077", "000"] {
        for gzip in [false, true] {
            let dir = Dir::new();
            let mut worker = worker(&dir, umask, "640", gzip);
            for _ in 0..2 {
                worker.write("line");
                assert_eq!(worker.ask("rotate"), "ok");
            }
            let modes = modes(&dir);
            assert_eq!(modes.len(), 3, "{modes:?}");
            assert_eq!(modes.iter().filter(|(name, _)| name.ends_with(".gz")).count() == 2, gzip);
            assert!(modes.iter().all(|(_, mode)| *mode == 0o640), "umask {umask}: {modes:?}");
        }
    }
}

/// A directory with a log of one line that has this mode.
fn dir_with_log(mode: u32) -> Dir {
    let dir = Dir::new();
    std::fs::write(dir.log(), "line\n").unwrap();
    chmod(&dir.log(), mode);
    dir
}

#[test]
fn configured_mode_holds_for_lock_file_and_new_segment() {
    for umask in ["077", "000"] {
        let dir = dir_with_log(0o640);
        let job = Job::new("obey", &dir.log()).with("umask", umask).with("mode", "640");
        let (job, trace) = (job.with("inline", 1), crate::support::Trace::new());
        let mut worker = trace.of(&job).spawn();
        worker.expect("ready");
        let opened = trace.len();
        assert_eq!(worker.ask("rotate"), "ok");
        // All is written, and nothing has its name yet.
        let has_links = trace.count("link") > 0;
        let at = trace.first(if has_links { "link" } else { "rename" }, opened);
        let dir = dir_with_log(0o640);
        let job = job.with("log", dir.log().display());
        let mut worker = job.env("LOGROTOR_FAULT", format!("{at}:kill")).spawn();
        worker.expect("ready");
        worker.tell("rotate");
        assert_eq!(worker.hear(), None);
        let modes = modes(&dir);
        assert_eq!(modes.len(), 3, "{modes:?}");
        assert!(modes.iter().any(|(name, _)| name == "app.log.lock"));
        assert!(modes.iter().all(|(_, mode)| *mode == 0o640), "umask {umask}: {modes:?}");
    }
}

/// Watches a log's files as long as `on` is set: the log itself has exactly the mode `exact`, and
/// no file ever has more rights. Returns how often the log was seen.
fn watch(dir: &Dir, exact: u32, on: &AtomicBool) -> usize {
    let mut seen = 0;
    while on.load(Ordering::Relaxed) {
        for name in dir.names() {
            let Ok(meta) = std::fs::symlink_metadata(dir.file(&name)) else { continue };
            let mode = meta.mode() & 0o7777;
            assert_eq!(mode & !exact, 0, "{name}: {mode:o}");
            if name == "app.log" {
                assert_eq!(mode, exact);
                seen += 1;
            }
        }
    }
    seen
}

#[test]
fn no_file_ever_has_more_rights_than_its_mode() {
    for (umask, exact, gzip) in [("077", 0o664, false), ("000", 0o600, true)] {
        let dir = Dir::new();
        let mut worker = worker(&dir, umask, &format!("{exact:o}"), gzip);
        let on = AtomicBool::new(true);
        let seen = std::thread::scope(|scope| {
            let watching = scope.spawn(|| watch(&dir, exact, &on));
            for _ in 0..200 {
                worker.write("line");
                assert_eq!(worker.ask("rotate"), "ok");
            }
            on.store(false, Ordering::Relaxed);
            watching.join().unwrap()
        });
        assert!(seen > 10, "{seen}");
        assert_eq!(worker.count("rotations"), 200);
    }
}

#[test]
fn mode_of_the_segment_before_is_kept_where_none_is_configured() {
    let dir = Dir::new();
    std::fs::write(dir.log(), "line\n").unwrap();
    chmod(&dir.log(), 0o662);
    let log = inline(&dir).compression(Compression::Gzip).build().unwrap();
    write_and_rotate(&log);
    let modes = modes(&dir);
    assert!(modes.len() == 2 && modes.iter().all(|(_, mode)| *mode == 0o662), "{modes:?}");
}

// The next segment got the mode and owner that its predecessor had when it was opened. So a
// rotation undid the changes that an administrator made while the program ran.
#[test]
fn regression_mode_changed_while_open_survives_rotation() {
    let dir = Dir::new();
    let log = inline(&dir).build().unwrap();
    chmod(&dir.log(), 0o662);
    write_and_rotate(&log);
    assert_eq!(mode(&dir.log()), 0o662);
    chmod(&dir.log(), 0o626);
    std::fs::remove_file(dir.log()).unwrap();
    log.reopen().unwrap();
    assert_eq!(mode(&dir.log()), 0o626);
}

/// Whether this process may give files away; prints a note if not.
fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        println!("skipped: only root may give files away");
    }
    is_root
}

fn owners(dir: &Dir) -> Vec<(u32, u32)> {
    let meta = |name: &String| std::fs::symlink_metadata(dir.file(name)).unwrap();
    dir.names().iter().map(meta).map(|meta| (meta.uid(), meta.gid())).collect()
}

#[test]
fn owner_and_group_of_the_log_are_kept_where_the_process_may() {
    if !is_root() {
        return;
    }
    for configured in [None, Some(0o640)] {
        let dir = Dir::new();
        std::fs::write(dir.log(), "line\n").unwrap();
        std::os::unix::fs::chown(dir.log(), Some(1234), Some(2345)).unwrap();
        chmod(&dir.log(), 0o640);
        let builder = inline(&dir).compression(Compression::Gzip);
        let log = configured.map_or(builder.clone(), |mode| builder.mode(mode)).build().unwrap();
        write_and_rotate(&log);
        write_and_rotate(&log);
        assert_eq!(owners(&dir), [(1234, 2345); 3]);
        assert!(modes(&dir).iter().all(|(_, mode)| *mode == 0o640));
        // The same holds for a log that is recreated.
        std::fs::remove_file(dir.log()).unwrap();
        log.reopen().unwrap();
        assert_eq!(owners(&dir), [(1234, 2345); 3]);
    }
}

#[test]
fn setgid_directory_gives_its_group_to_all_files() {
    if !is_root() {
        return;
    }
    let dir = Dir::new();
    std::os::unix::fs::chown(dir.path(), None, Some(4242)).unwrap();
    chmod(dir.path(), 0o2770);
    let log = inline(&dir).mode(0o660).compression(Compression::Gzip).build().unwrap();
    write_and_rotate(&log);
    write_and_rotate(&log);
    assert_eq!(owners(&dir), [(0, 4242); 3]);
    assert!(modes(&dir).iter().all(|(_, mode)| *mode == 0o660));
}

#[test]
fn worker_that_may_not_give_files_away_rotates_all_the_same() {
    if !is_root() {
        return;
    }
    const NOBODY: u32 = 65534;
    let dir = Dir::new();
    chmod(dir.path(), 0o777);
    std::fs::write(dir.log(), "line\n").unwrap();
    chmod(&dir.log(), 0o666);
    let job = Job::new("obey", &dir.log()).with("uid", NOBODY).with("inline", 1);
    let mut worker = job.spawn();
    worker.expect("ready");
    assert_eq!((worker.ask("rotate").as_str(), worker.count("failures")), ("ok", 0));
    assert_eq!(owners(&dir), [(NOBODY, NOBODY), (0, 0)]);
    assert_eq!(mode(&dir.log()), 0o666);
}

/// A file elsewhere that must not change.
struct Victim {
    dir: Dir,
}

impl Victim {
    fn new() -> Self {
        let dir = Dir::new();
        std::fs::write(dir.file("victim"), "precious\n").unwrap();
        chmod(&dir.file("victim"), 0o604);
        Self { dir }
    }

    fn lure(&self, link: &Path) {
        symlink(self.dir.file("victim"), link).unwrap();
    }

    fn check(&self) {
        assert_eq!(self.dir.names(), ["victim"]);
        assert_eq!(self.dir.lines_of("victim"), ["precious"]);
        assert_eq!(mode(&self.dir.file("victim")), 0o604);
    }
}

#[test]
fn link_at_the_lock_path_is_not_followed() {
    let (dir, victim) = (Dir::new(), Victim::new());
    victim.lure(&dir.file("app.log.lock"));
    std::fs::write(dir.log(), "before\n").unwrap();
    let log = inline(&dir).mode(0o640).max_size(10).build().unwrap();
    (&log).write_all(b"after\n").unwrap();
    assert_eq!(log.rotate().unwrap_err().kind(), ErrorKind::NotAFile);
    let stats = log.stats();
    assert_eq!((stats.failures(ErrorKind::NotAFile), stats.rotations), (1, 0));
    assert_eq!(dir.active_lines(), ["before", "after"]);
    victim.check();
    std::fs::remove_file(dir.file("app.log.lock")).unwrap();
    assert!(log.rotate().unwrap().is_some());
}

#[test]
fn log_is_not_created_under_a_lock_file_that_is_a_link() {
    let (dir, victim) = (Dir::new(), Victim::new());
    for target in ["victim", "missing"] {
        symlink(victim.dir.file(target), dir.file("app.log.lock")).unwrap();
        let error = dir.writer().build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotAFile);
        assert!(error.to_string().contains("app.log.lock"), "{error}");
        std::fs::remove_file(dir.file("app.log.lock")).unwrap();
    }
    assert_eq!(dir.names(), [""; 0]);
    victim.check();
}

#[test]
fn link_with_the_name_of_a_temporary_is_not_touched() {
    let (dir, victim) = (Dir::new(), Victim::new());
    let link = ".app.log.abcdefghijkl.tmp";
    victim.lure(&dir.file(link));
    let log = inline(&dir).mode(0o640).compression(Compression::Gzip).build().unwrap();
    write_and_rotate(&log);
    log.close().unwrap();
    victim.check();
    assert!(dir.file(link).is_symlink());
}

#[test]
fn links_with_names_of_backups_are_not_followed() {
    let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_800_014_400);
    let times = ["app.log.2027-01-15T12-00-00.000000Z", "app.log.2027-01-15T12-00-00.000001Z.gz"];
    for (naming, links) in
        [(Naming::Number, ["app.log.1", "app.log.2.gz"]), (Naming::Timestamp, times)]
    {
        let (dir, victim) = (Dir::new(), Victim::new());
        links.iter().for_each(|link| victim.lure(&dir.file(link)));
        let builder = inline(&dir).naming(naming).clock(Clock::manual(now)).mode(0o640);
        let log = builder.compression(Compression::Gzip).max_backups(1).build().unwrap();
        for _ in 0..3 {
            write_and_rotate(&log);
        }
        (&log).write_all(b"last\n").unwrap();
        log.close().unwrap();
        victim.check();
        let kept = dir.names().iter().filter(|name| dir.file(name).is_symlink()).count();
        assert_eq!(kept, 2, "{:?}", dir.names());
    }
}

#[test]
fn link_at_the_log_path_stays_and_files_go_to_its_target() {
    let (dir, elsewhere) = (Dir::new(), Dir::new());
    symlink(elsewhere.file("real.log"), dir.log()).unwrap();
    let log = inline(&dir).mode(0o640).build().unwrap();
    let backup = write_and_rotate(&log);
    (&log).write_all(b"next\n").unwrap();
    assert_eq!(dir.names(), ["app.log"]);
    assert!(dir.log().is_symlink());
    assert_eq!(dir.active_lines(), ["next"]);
    let name = backup.file_name().unwrap().to_str().unwrap();
    assert_eq!(elsewhere.names(), ["real.log", name]);
    assert_eq!(elsewhere.lines_of(name), ["line"]);
    assert_eq!(log.path(), elsewhere.path().canonicalize().unwrap().join("real.log"));
}
