//! Whole-file replacement, with real processes.

use crate::support_lock::{Args, Child, listen, names, rounds, send};
use logrotor::atomic::{self, AtomicFile, SyncLevel};
use logrotor::{ErrorKind, Wait};
use std::fs;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

/// The jobs of child processes.
pub(crate) fn do_job(job: &str, args: &mut Args) -> bool {
    match job {
        "add" => add(args),
        "replace" => replace(args),
        "write-once" => write_once(args),
        "write-at" => write_at(args),
        #[cfg(unix)]
        "give-away" => give_away(args),
        _ => return false,
    }
    true
}

/// A name that [`logrotor::atomic`] gives to the file that a killed process may leave.
fn is_temporary(name: &str, of: &str) -> bool {
    name.strip_prefix(&format!(".{of}.")).is_some_and(|rest| rest.ends_with(".tmp"))
}

// ---------------------------------------------------------------- many writers

/// Adds a line in every round, each time the parent says so.
fn add(args: &mut Args) {
    let (path, process) = (args.path(), args.text());
    while let Some(round) = listen() {
        let line = format!("{process} {round}\n");
        let builder = AtomicFile::builder().sync(SyncLevel::None);
        let new = |old: Option<&[u8]>| [old.unwrap_or_default(), line.as_bytes()].concat();
        builder.update(&path, Wait::Forever, new).unwrap();
        send("added");
    }
}

#[test]
fn updates_of_ten_processes_are_never_lost() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shared");
    let rounds = rounds(100, 1000);
    let start = |process: usize| Child::start("add", &[&path, &process.to_string()]);
    let mut children: Vec<_> = (0..10).map(start).collect();
    for round in 0..rounds {
        children.iter_mut().for_each(|child| child.say(&round.to_string()));
        children.iter_mut().for_each(|child| child.expect("added"));
        let text = fs::read_to_string(&path).unwrap();
        let lines = text.lines().filter(|line| line.ends_with(&format!(" {round}"))).count();
        assert_eq!(lines, 10, "in round {round}");
    }
    children.into_iter().for_each(Child::finish);
    let text = fs::read_to_string(&path).unwrap();
    let mut lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len() as u64, 10 * rounds);
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines.len() as u64, 10 * rounds, "none twice");
    assert_eq!(names(dir.path()), ["shared"]);
}

// ---------------------------------------------------------------- readers and death

/// Content that shows whether it is complete: its length, then as many equal bytes.
fn content(random: &mut fastrand::Rng) -> String {
    let len = random.u64(..100_000) as usize;
    let letter = char::from(b'a' + random.u64(..26) as u8);
    format!("{len}\n{}", letter.to_string().repeat(len))
}

fn check(text: &str) {
    let (len, body) = text.split_once('\n').unwrap_or_else(|| panic!("torn: {} bytes", text.len()));
    assert_eq!(body.len(), len.parse::<usize>().unwrap());
    let first = body.bytes().next();
    assert!(body.bytes().all(|byte| Some(byte) == first), "mixed");
}

fn replace(args: &mut Args) {
    let (path, mut random) = (args.path(), fastrand::Rng::with_seed(args.number()));
    let sync = if args.text() == "sync" { SyncLevel::FileAndDirectory } else { SyncLevel::None };
    let mut started = false;
    loop {
        let text = content(&mut random);
        // In pieces, so that a temporary is torn most of the time.
        let mut file = AtomicFile::builder().sync(sync).open(&path).unwrap();
        for piece in text.as_bytes().chunks(4096) {
            file.write_all(piece).unwrap();
        }
        file.commit().unwrap();
        if !std::mem::replace(&mut started, true) {
            send("started");
        }
    }
}

#[test]
fn reader_never_sees_a_torn_file_while_writers_are_killed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let mut random = fastrand::Rng::with_seed(crate::support::seed());
    atomic::write(&path, content(&mut random)).unwrap();
    let done = AtomicBool::new(false);
    let reads = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut reads = 0_u64;
            while !done.load(Ordering::Relaxed) {
                check(&fs::read_to_string(&path).unwrap());
                reads += 1;
            }
            reads
        });
        for kill in 0..rounds(40, 2000) {
            let sync = if kill % 4 == 0 { "sync" } else { "no sync" };
            let seed = random.u64(..).to_string();
            let mut writer = Child::start("replace", &[&path, &seed, &sync]);
            writer.expect("started");
            // Any instant will do; each next one comes a little later.
            std::thread::sleep(std::time::Duration::from_micros(random.u64(..5000)));
            writer.kill();
        }
        done.store(true, Ordering::Relaxed);
        reader.join().unwrap()
    });
    let left = names(dir.path());
    assert!(left.iter().all(|name| name == "state" || is_temporary(name, "state")), "{left:?}");
    eprintln!("{reads} whole reads, {} temporaries left by the dead", left.len() - 1);
}

/// Replaces a file by `new`, and reports the result.
fn write_once(args: &mut Args) {
    match atomic::write(args.path(), "new") {
        Ok(()) => send("ok"),
        Err(error) => send(&format!("{:?} {error}", error.kind())),
    }
}

/// Replaces a file with a level of durability.
fn write_at(args: &mut Args) {
    let path = args.path();
    let level = match &*args.text() {
        "none" => SyncLevel::None,
        "file" => SyncLevel::File,
        _ => SyncLevel::FileAndDirectory,
    };
    AtomicFile::builder().sync(level).write(path, "new").unwrap();
}

mod fault {
    use super::*;

    /// Operations of a replacement: look; create, lease, look, look; open the old file; write;
    /// look, look, copy attributes, set mode; sync, rename, sync directory.
    const STEPS: usize = 14;
    const RENAME: usize = 13;

    fn scenario(plan: &str) -> (tempfile::TempDir, Child) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, "old").unwrap();
        let plan = |command: &mut std::process::Command| {
            command.env("LOGROTOR_FAULT", plan);
        };
        let child = Child::start_with("write-once", &[&path], plan);
        (dir, child)
    }

    #[test]
    fn failing_disk_leaves_the_old_content_and_no_temporary() {
        for errno in [28, 5] {
            for step in 1..=STEPS {
                // On Windows 5 is a refusal: the old file may not be read, and gives nothing.
                if cfg!(windows) && (step, errno) == (6, 5) {
                    continue;
                }
                let (dir, mut child) = scenario(&format!("{step}:errno={errno}"));
                let said = child.hear().unwrap();
                assert!(said.starts_with("Io failed to "), "step {step}: {said}");
                let dir_or_file = dir.path().to_str().unwrap();
                assert!(said.contains(dir_or_file), "step {step} names no path: {said}");
                child.finish();
                let expected = if step <= RENAME { "old" } else { "new" };
                assert_eq!(fs::read_to_string(dir.path().join("a")).unwrap(), expected);
                assert_eq!(names(dir.path()), ["a"], "step {step}");
            }
        }
    }

    /// The operations on the file and its name, in order, at a level of durability.
    fn order(level: &str) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let (path, trace) = (dir.path().join("a"), dir.path().join("trace"));
        let child = Child::start_with("write-at", &[&path, &level], |command| {
            command.env("LOGROTOR_FAULT_COUNT", &trace);
        });
        child.finish();
        let text = fs::read_to_string(trace).unwrap();
        let verbs = text.lines().map(|line| line.split_once(' ').unwrap().1.to_owned());
        verbs
            .filter(|verb| ["write", "rename"].contains(&&**verb) || verb.contains("sync"))
            .collect()
    }

    #[test]
    fn content_is_synced_before_rename_and_directory_after() {
        assert_eq!(order("none"), ["write", "rename"]);
        assert_eq!(order("file"), ["write", "sync", "rename"]);
        assert_eq!(order("both"), ["write", "sync", "rename", "sync directory"]);
    }

    #[test]
    fn file_system_without_locks_is_good_enough() {
        // Operation 3 leases the temporary. The errors are ENOLCK and EOPNOTSUPP, or their
        // counterparts on Windows.
        let numbers = if cfg!(windows) { [1, 50] } else { [37, 95] };
        for errno in numbers {
            let (dir, mut child) = scenario(&format!("3:errno={errno}"));
            child.expect("ok");
            assert_eq!(names(dir.path()), ["a"]);
        }
    }

    #[test]
    fn half_a_write_is_completed() {
        for step in 1..=STEPS {
            let (dir, mut child) = scenario(&format!("{step}:short"));
            child.expect("ok");
            assert_eq!(fs::read_to_string(dir.path().join("a")).unwrap(), "new");
        }
    }

    #[test]
    fn death_at_any_step_leaves_the_old_content_or_the_new() {
        for step in 1..=STEPS {
            let (dir, child) = scenario(&format!("{step}:kill"));
            assert!(!child.end().success(), "step {step} was never reached");
            let expected = if step <= RENAME { "old" } else { "new" };
            assert_eq!(fs::read_to_string(dir.path().join("a")).unwrap(), expected);
            let left = names(dir.path());
            assert!(left.iter().all(|name| name == "a" || is_temporary(name, "a")), "{left:?}");
        }
    }
}

// ---------------------------------------------------------------- what is at the path

#[test]
fn directory_as_the_target_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("d");
    fs::create_dir(&path).unwrap();
    let error = atomic::write(&path, "x").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotAFile);
    assert_eq!(
        error.to_string(),
        format!("failed to replace `{}`: it is a directory", path.display())
    );
    assert_eq!(names(dir.path()), ["d"]);

    // A directory created while the file is written is detected as well.
    let path = dir.path().join("late");
    let file = AtomicFile::create(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let error = file.commit().unwrap_err();
    assert_eq!((error.kind(), error.path()), (ErrorKind::Io, Some(path.as_path())));
    assert_eq!(names(dir.path()), ["d", "late"]);
}

#[cfg(unix)]
mod unix {
    use super::*;
    use crate::support_lock::{is_root, without_rights};
    use logrotor::atomic::{Links, update};
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
    use std::path::Path;
    use std::time::{Duration, UNIX_EPOCH};

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn link_is_followed_by_default() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("sub")).unwrap();
        fs::write(at("sub/target"), "old").unwrap();
        symlink("sub/second", at("first")).unwrap();
        symlink("target", at("sub/second")).unwrap();
        atomic::write(at("first"), "new").unwrap();
        update(at("first"), Wait::Never, |old| [old.unwrap(), b"er"].concat()).unwrap();
        assert_eq!(fs::read_to_string(at("sub/target")).unwrap(), "newer");
        assert!(at("first").is_symlink() && at("sub/second").is_symlink());

        symlink("sub/made", at("dangling")).unwrap();
        atomic::write(at("dangling"), "made").unwrap();
        assert_eq!(fs::read_to_string(at("sub/made")).unwrap(), "made");

        AtomicFile::builder().links(Links::Replace).write(at("first"), "file").unwrap();
        assert!(!at("first").is_symlink());
        assert_eq!(fs::read_to_string(at("first")).unwrap(), "file");
        assert_eq!(fs::read_to_string(at("sub/target")).unwrap(), "newer");
        assert_eq!(names(&at("sub")), ["made", "second", "target"]);

        symlink("circle", at("circle")).unwrap();
        let error = atomic::write(at("circle"), "x").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotAFile);
    }

    #[test]
    fn pipe_is_refused_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        for error in [
            atomic::write(&path, "x").unwrap_err(),
            update(&path, Wait::Never, |_| "x").unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::NotAFile);
        }
        assert_eq!(names(dir.path()), ["pipe"]);
    }

    #[test]
    fn mode_and_time_are_kept_or_given_exactly() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, "").unwrap();
        for kept in [0o600, 0o640, 0o666, 0o755] {
            chmod(&path, kept);
            atomic::write(&path, "x").unwrap();
            assert_eq!(mode(&path), kept);
        }
        // 0o666 is more than any usual umask lets through.
        let time = UNIX_EPOCH + Duration::from_secs(1_234_567_890);
        AtomicFile::builder().mode(0o666).modified(time).write(&path, "y").unwrap();
        let meta = fs::metadata(&path).unwrap();
        assert_eq!((meta.mode() & 0o7777, meta.modified().unwrap()), (0o666, time));
    }

    #[test]
    fn new_file_has_the_mode_that_any_new_file_has() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("usual"), "").unwrap();
        atomic::write(dir.path().join("a"), "x").unwrap();
        assert_eq!(mode(&dir.path().join("a")), mode(&dir.path().join("usual")));
    }

    #[test]
    fn private_file_is_never_readable_by_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        let new = AtomicFile::builder().mode(0o640).open(&path).unwrap();
        let temporary = |n: usize| dir.path().join(&names(dir.path())[n]);
        assert_eq!(mode(&temporary(0)), 0o600);
        new.commit().unwrap();
        let _second = AtomicFile::create(&path).unwrap();
        assert_eq!(mode(&temporary(0)), 0o600);
    }

    #[test]
    fn directory_that_may_not_be_written_is_a_clear_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, "old").unwrap();
        chmod(dir.path(), 0o555);
        let mut child = Child::start_with("write-once", &[&path], without_rights);
        let said = child.hear().unwrap();
        let start = format!("Io failed to create a temporary file beside `{}`: ", path.display());
        assert!(said.starts_with(&start) && said.contains("ermission denied"), "{said}");
        chmod(dir.path(), 0o755);
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(names(dir.path()), ["a"]);
    }

    #[test]
    fn owner_and_group_are_kept_where_the_process_may() {
        if !is_root() {
            return; // Only root may give files away.
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, "").unwrap();
        chown(&path, Some(12), Some(34)).unwrap();
        chmod(&path, 0o6750);
        atomic::write(&path, "x").unwrap();
        let meta = fs::metadata(&path).unwrap();
        assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o7777), (12, 34, 0o6750));
        AtomicFile::builder().owner(56, 78).write(&path, "y").unwrap();
        let meta = fs::metadata(&path).unwrap();
        assert_eq!((meta.uid(), meta.gid()), (56, 78));
    }

    #[test]
    fn group_that_cannot_be_kept_gives_no_more_rights() {
        if !is_root() {
            return; // Only root can be two users.
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        chmod(dir.path(), 0o777);
        fs::write(&path, "old").unwrap();
        chmod(&path, 0o4664);
        let mut child = Child::start_with("write-once", &[&path], without_rights);
        child.expect("ok");
        let meta = fs::metadata(&path).unwrap();
        assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o7777), (65534, 65534, 0o644));
    }

    #[test]
    fn owner_that_may_not_be_given_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        chmod(dir.path(), 0o777);
        let path = dir.path().join("a");
        let mut child = Child::start_with("give-away", &[&path], without_rights);
        let said = child.hear().unwrap();
        assert!(said.starts_with("failed to set the owner of"), "{said}");
        assert_eq!(names(dir.path()), [""; 0]);
    }

    #[test]
    fn directory_that_gives_its_group_gives_it_to_the_new_file() {
        if !is_root() {
            return; // Needs a second group.
        }
        let dir = tempfile::tempdir().unwrap();
        chown(dir.path(), None, Some(34)).unwrap();
        chmod(dir.path(), 0o2775);
        let path = dir.path().join("a");
        for _ in 0..2 {
            atomic::write(&path, "x").unwrap();
            assert_eq!(fs::metadata(&path).unwrap().gid(), 34);
        }
    }

    #[test]
    fn lock_of_an_update_is_open_to_those_who_may_open_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, "").unwrap();
        chmod(&path, 0o644);
        update(&path, Wait::Never, |_| {
            assert_eq!(mode(&dir.path().join("a.lock")), 0o644);
            "x"
        })
        .unwrap();
        assert_eq!(names(dir.path()), ["a"]);
    }
}

/// Replaces a file by one that belongs to root.
#[cfg(unix)]
fn give_away(args: &mut Args) {
    let given = AtomicFile::builder().owner(0, 0).write(args.path(), "x");
    send(&given.map_or_else(|error| error.to_string(), |()| "ok".to_owned()));
}
