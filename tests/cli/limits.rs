//! Limits of the system: file sizes, threads, times and names.
#![cfg(target_os = "linux")]

use crate::support::{Dir, eventually, logrotor, text};
use rustix::process::{Resource, Rlimit, prlimit};
use std::fs::{File, Permissions};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, UNIX_EPOCH};

/// Runs a script in a shell whose `$L` is the command.
fn shell(dir: &Dir, script: &str) -> Output {
    let mut command = Command::new("sh");
    command.args(["-c", script]).env("L", env!("CARGO_BIN_EXE_logrotor")).env("TZ", "UTC");
    command.current_dir(dir.file(".")).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn file_size_limit_is_an_error_and_no_signal() {
    let dir = Dir::new();
    // One line that is larger than the limit.
    let write = |options: &str| {
        let script = format!(
            "ulimit -c 0; ulimit -f 8
            head -c 20000 /dev/zero | tr '\\0' x | $L write app.log {options}"
        );
        shell(&dir, &script)
    };
    for options in ["--on-full drop", "--grace 0s --max-size 64KiB --on-full drop --gzip"] {
        let output = write(options);
        assert_eq!(output.status.signal(), None, "{output:?}");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = text(&output.stderr);
        assert!(said.contains("File too large"), "{said}");
        assert!(said.contains("1 lines were dropped"), "{said}");
    }
}

#[test]
fn segment_ends_at_the_file_size_limit() {
    let dir = Dir::new();
    let expected: String = (1..=5000).map(|number| format!("{number}\n")).collect();
    for (verb, input) in [("write a.log", "seq 1 5000 |"), ("run b.log", "")] {
        let command = if input.is_empty() { "-- seq 1 5000" } else { "" };
        let script =
            format!("ulimit -c 0; ulimit -f 8; {input} $L {verb} --number {command}; echo $?");
        let output = shell(&dir, &script);
        assert_eq!((text(&output.stdout), text(&output.stderr)), ("0\n".into(), "".into()));
        let log = verb.rsplit(' ').next().unwrap();
        assert!(std::fs::metadata(dir.file(log)).unwrap().len() <= 8192);
        let read = logrotor(["cat", log]).current_dir(dir.file(".")).output().unwrap();
        assert!(text(&read.stdout) == expected, "{read:?}");
    }
}

/// A limit that comes later, as from `prlimit`, is found by the write that it refuses.
#[test]
fn segment_ends_where_the_kernel_refuses_to_grow_it() {
    for options in [&["--number"][..], &["--number", "--buffered"]] {
        let dir = Dir::new();
        let mut command = dir.command("write", []);
        command.args(options);
        let mut writer = crate::write::Writer::spawn(command);
        writer.send("first\n");
        let pid = rustix::process::Pid::from_child(&writer.child);
        eventually("it runs", || text(&dir.run("cat", []).stdout) == "first\n");
        let limit = Rlimit { current: Some(8192), maximum: None };
        prlimit(Some(pid), Resource::Fsize, limit).unwrap();
        let lines: Vec<_> = (0..2000).map(|number| format!("{number:099}")).collect();
        // Some bytes at a time, so that lines meet the limit in the middle.
        lines.chunks(7).for_each(|lines| writer.send(&(lines.join("\n") + "\n")));
        writer.finish();
        let read = dir.ok("cat", []);
        let whole: Vec<_> = read.lines().filter(|line| line.len() == 99).collect();
        assert_eq!(whole, lines, "{options:?}");
        assert!(std::fs::metadata(dir.log()).unwrap().len() <= 8192);
    }
}

/// The library's calls by record, which the hook refuses once each.
#[cfg(feature = "__test")]
#[test]
fn record_that_its_file_may_not_hold_goes_to_the_next() {
    let dir = Dir::new();
    let failing = crate::support::Worker::start_with(&dir.log(), 1, 400, |command| {
        // Each in a segment that has records.
        let faults = ["5/append:errno=27", "9/append:errno=27", "13/append:errno=27"];
        command.env("LOGROTOR_FAULT", faults.join(";"));
    });
    failing.finish();
    let mut read: Vec<_> = dir.ok("cat", []).lines().map(str::to_owned).collect();
    read.sort();
    assert_eq!(read, crate::support::work(1..2, 400));
}

#[test]
fn line_beyond_the_file_size_limit_is_not_waited_for() {
    let dir = Dir::new();
    let script = "ulimit -c 0; ulimit -f 8
        { echo before; head -c 20000 /dev/zero | tr '\\0' x; echo; echo after; } |
        timeout 60 $L write app.log; echo $?";
    let output = shell(&dir, script);
    assert_eq!(text(&output.stdout), "1\n", "{output:?}");
    let said = text(&output.stderr);
    assert!(said.contains("dropping lines that exceed the limit of file sizes"), "{said}");
    assert!(said.ends_with("logrotor: 1 lines were dropped\n"), "{said}");
    let read = dir.ok("cat", []);
    assert!(read.starts_with("before\n") && read.ends_with("\nafter\n"), "{read}");
}

#[test]
fn path_that_is_too_long_is_not_called_unwritable() {
    let dir = Dir::new();
    // Deeper than a path may name, one step after another.
    let script = "n=$(printf 'd%.0s' $(seq 200))
        for i in $(seq 25); do mkdir $n && cd -P $n || exit 9; done
        echo x | $L write app.log; $L ls app.log";
    let output = shell(&dir, script);
    let said = text(&output.stderr);
    assert!(said.contains("File name too long") && !said.contains("not writable"), "{said}");
    // Its removal needs short steps, too.
    assert!(shell(&dir, "rm -rf d*").status.success());
    let output = shell(&dir, "echo x | $L write /proc/app.log");
    let said = text(&output.stderr);
    assert!(said.ends_with(": no file can be created in `/proc`\n"), "{said}");
}

// Variables were checked before the options that complete them, and 440 was taken for decimal.
#[test]
fn regression_variables_and_options_are_checked_together() {
    let dir = Dir::new();
    let script = "export LOGROTOR_MAX_TOTAL_SIZE=10MiB
        echo x | $L write app.log --max-size 1MiB; echo x | $L write app.log";
    let said = text(&shell(&dir, script).stderr);
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("max_total_size") && said.contains("67108864"), "{said}");
    let script = "echo x | LOGROTOR_MODE=440 $L write b.log
        $L policy set c.log mode=440 --create";
    let said = text(&shell(&dir, script).stderr);
    assert_eq!(said.matches("between 0o600 and 0o777").count(), 2, "{said}");
    let script = "echo x | LOGROTOR_MODE=640 $L write d.log
        $L policy set e.log mode=640 --create";
    assert!(shell(&dir, script).stderr.is_empty());
    let mode = std::fs::metadata(dir.file("d.log")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    let shown = shell(&dir, "$L policy show e.log");
    assert!(text(&shown.stdout).contains("0o640"), "{shown:?}");
}

// It was taken for none: limits were not applied, and `policy` advised to create it.
#[test]
fn regression_policy_that_cannot_be_looked_at_is_an_error() {
    let dir = Dir::new();
    dir.writer().write_record(b"a record\n").unwrap();
    let policy = dir.file("app.log.policy.toml");
    std::os::unix::fs::symlink(&policy, &policy).unwrap();
    for verb in ["prune", "compress", "rotate", "policy show", "policy history"] {
        let output = shell(&dir, &format!("$L {verb} app.log"));
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{verb}: {output:?}");
        assert!(said.contains("symbolic links"), "{verb}: {said}");
    }
    let stat = dir.json("stat", []);
    assert_eq!(stat["segments"], 1, "the log is shown all the same");
    assert!(stat["policy"]["problem"].as_str().unwrap().contains("symbolic links"), "{stat}");
    let name = "n".repeat(300);
    let said = text(&shell(&dir, &format!("$L policy show {name}")).stderr);
    assert!(said.contains("File name too long"), "{said}");
}

#[test]
fn program_of_run_keeps_the_file_size_signal() {
    let dir = Dir::new();
    let script = "ulimit -c 0; ulimit -f 8
        $L run app.log -- sh -c 'head -c 20000 /dev/zero > big'; echo $?
        $L run app.log -- sh -c 'exec head -c 20000 /dev/zero > big'; echo $?";
    let output = shell(&dir, script);
    // The shell that the first one is reports the signal of its child, SIGXFSZ.
    assert_eq!(text(&output.stdout), "153\n153\n", "{output:?}");
}

#[test]
fn segment_that_is_older_than_1970_is_listed() {
    let dir = Dir::new();
    let file = File::create(dir.log()).unwrap();
    for (time, expected) in [
        (UNIX_EPOCH.checked_sub(Duration::from_millis(500)), "1969-12-31T23:59:59.500000Z"),
        (UNIX_EPOCH.checked_sub(Duration::from_secs(1 << 31)), "1901-12-13T20:45:52.000000Z"),
        (UNIX_EPOCH.checked_add(Duration::from_secs(1 << 33)), "2242-03-16T12:56:32.000000Z"),
    ] {
        file.set_modified(time.unwrap()).unwrap();
        let listed = dir.ok("ls", []);
        assert!(listed.contains(expected), "{listed}");
        assert!(dir.ok("ls", ["--color", "always"]).contains(&expected[..10]), "{listed}");
        assert!(dir.ok("stat", []).contains(&format!("modified\t{expected}\n")));
        assert_eq!(dir.json("ls", [])[0]["modified"], expected);
        assert_eq!(dir.json("stat", [])["modified"], expected);
        dir.ok("cat", []);
        dir.ok("verify", []);
    }
}

#[test]
fn sizes_that_sum_to_more_than_64_bits_are_listed() {
    let dir = Dir::new();
    // A file system that has files of 2^63 - 1 bytes, such as tmpfs.
    let mount = |args: &[&str]| {
        Command::new("mount")
            .args(args)
            .arg(dir.file(""))
            .output()
            .is_ok_and(|out| out.status.success())
    };
    if !mount(&["-t", "tmpfs", "-o", "size=256k", "tmpfs"]) {
        println!("skipped: this user may not mount a file system");
        return;
    }
    for name in ["app.log", "app.log.1", "app.log.2", "app.log.3"] {
        let file = File::create(dir.file(name)).unwrap();
        file.set_len(i64::MAX as u64 - 4096).unwrap();
    }
    let (list, stat) = (dir.run("ls", []), dir.run("stat", []));
    let plan = dir.run("prune", ["--keep", "9", "--max-total", "1GiB", "--dry-run"]);
    let _ = Command::new("umount").arg("-l").arg(dir.file("")).status();
    for output in [&list, &stat, &plan] {
        assert!(output.status.success(), "{output:?}");
    }
    assert!(text(&stat.stdout).contains("disk use\t18446744073709551615\n"), "{stat:?}");
    assert_eq!(text(&plan.stdout).lines().count(), 3, "{plan:?}");
}

#[test]
fn names_of_any_bytes_are_printed_without_control_characters() {
    let dir = Dir::new();
    let name = std::ffi::OsString::from_vec(b"a\n\x1b[31m\xff\xe2\x80\xae.log".to_vec());
    let path = dir.file(".").join(&name);
    std::fs::write(&path, "one\n").unwrap();
    let mut stray = name.clone();
    stray.push(".old");
    std::fs::write(dir.file(".").join(stray), "").unwrap();
    let missing = dir.file(".").join("b\n\x1b[31m.log");
    for verb in ["ls", "stat", "verify", "cat", "rotate", "compress"] {
        for extra in [&["--json"][..], &[]] {
            let output = logrotor([verb]).arg(&path).args(extra).output().unwrap();
            assert!(output.status.code().is_some_and(|code| code < 2), "{output:?}");
            assert!(!output.stdout.contains(&b'\x1b'), "{output:?}");
            assert!(!output.stderr.contains(&b'\x1b'), "{output:?}");
            let output = logrotor([verb]).arg(&missing).args(extra).output().unwrap();
            assert_eq!(output.status.code(), Some(1), "{output:?}");
            assert_eq!(text(&output.stderr).lines().count(), 1, "{output:?}");
            assert!(!output.stderr.contains(&b'\x1b'), "{output:?}");
        }
    }
}

/// Returns the command for another user who may have this many processes and threads, or `None`
/// with a note if this user may not become another. Root has no such limit.
pub(crate) fn with_threads(dir: &Dir, user: u32, threads: u32) -> Option<Command> {
    let user = format!("--reuid={user}");
    let allowed = Command::new("setpriv").args([&user, "--clear-groups", "true"]).output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        println!("skipped: this user may not become another one");
        return None;
    }
    // Other users may not enter the directory of the build.
    let bin = dir.file("logrotor");
    if !bin.exists() {
        std::fs::set_permissions(dir.file("."), Permissions::from_mode(0o777)).unwrap();
        std::fs::copy(env!("CARGO_BIN_EXE_logrotor"), &bin).unwrap();
    }
    let mut command = Command::new("prlimit");
    command.arg(format!("--nproc={threads}")).args(["setpriv", &user, "--clear-groups"]);
    command.arg(bin).current_dir(dir.file(".")).stdin(Stdio::null());
    Some(command)
}

#[test]
fn refused_thread_is_an_error_before_the_program_runs() {
    let dir = Dir::new();
    let mut refused = 0;
    for threads in 1..10 {
        let Some(mut command) = with_threads(&dir, 54321, threads) else { return };
        command.args(["run", "app.log", "--stderr", "err.log", "--", "touch", "started"]);
        let output = command.output().unwrap();
        let said = text(&output.stderr);
        assert!(!said.contains("panicked"), "{said}");
        let has_started = dir.file("started").exists();
        assert_eq!(output.status.success(), has_started, "{threads}: {output:?}");
        assert!(has_started || said.starts_with("logrotor: failed to "), "{output:?}");
        refused += u32::from(!has_started);
        let _ = std::fs::remove_file(dir.file("started"));
    }
    assert!((1..9).contains(&refused), "{refused}");
}

#[test]
fn tail_follows_though_its_threads_are_refused() {
    let dir = Dir::new();
    std::fs::write(dir.log(), "").unwrap();
    std::fs::set_permissions(dir.log(), Permissions::from_mode(0o644)).unwrap();
    let Some(mut command) = with_threads(&dir, 54322, 1) else { return };
    command.args(["tail", "-F", "app.log"]).stderr(Stdio::piped());
    let mut child = command.stdout(File::create(dir.file("out")).unwrap()).spawn().unwrap();
    std::fs::write(dir.log(), "one\n").unwrap();
    eventually("it is printed", || {
        assert!(child.try_wait().unwrap().is_none());
        std::fs::read_to_string(dir.file("out")).unwrap() == "one\n"
    });
    child.kill().unwrap();
    let said = text(&child.wait_with_output().unwrap().stderr);
    assert!(said.contains("failed to start a thread") && !said.contains("panicked"), "{said}");
}

#[test]
fn tail_waits_for_the_directory_of_its_log() {
    let dir = Dir::new();
    let mut command = logrotor(["tail", "-F", "later/deeper/app.log"]);
    command.current_dir(dir.file(".")).stdin(Stdio::null());
    command.stdout(File::create(dir.file("out")).unwrap());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut said = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut said, &mut line).unwrap();
    assert!(line.contains("later/deeper") && line.ends_with("; waiting for it\n"), "{line}");
    std::fs::create_dir_all(dir.file("later/deeper")).unwrap();
    std::fs::write(dir.file("later/deeper/app.log"), "one\n").unwrap();
    eventually("it is printed", || {
        assert!(child.try_wait().unwrap().is_none());
        std::fs::read_to_string(dir.file("out")).unwrap() == "one\n"
    });
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn closed_pipe_ends_the_wait_for_a_directory() {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut command = logrotor(["tail", "-F", "/nonexistent/app.log"]);
    command.stdout(std::os::fd::OwnedFd::from(theirs)).stderr(Stdio::null());
    let mut child = command.stdin(Stdio::null()).spawn().unwrap();
    drop(command);
    drop(ours);
    let mut status = None;
    eventually("it ends", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.unwrap().signal(), Some(13));
}

/// Counts attempts to write by the fault hook.
#[cfg(feature = "__test")]
#[test]
fn dropped_lines_cost_few_attempts_and_are_counted_exactly() {
    const LINES: usize = 100_000;
    let dir = Dir::new();
    let mut command = dir.command("write", ["--on-full", "drop"]);
    command.env("LOGROTOR_FAULT", "2+/append:errno=122");
    command.env("LOGROTOR_FAULT_COUNT", dir.file("attempts"));
    command.env("LOGROTOR_FAULT_UNTIL", dir.file("room"));
    let mut writer = crate::write::Writer::spawn(command);
    writer.send("first\n");
    let read = || text(&dir.run("cat", []).stdout);
    eventually("it is written", || read() == "first\n");
    let lines: String = (0..LINES).map(|number| format!("{number:09}\n")).collect();
    writer.send(&lines);
    let attempts = || std::fs::read_to_string(dir.file("attempts")).unwrap_or_default();
    eventually("one has failed", || attempts().lines().any(|line| line.ends_with('!')));
    std::fs::write(dir.file("room"), "").unwrap();
    // At the longest pause, ten lines a second are attempts.
    let mut later = 0;
    eventually("it writes again", || {
        writer.send("later\n");
        later += 1;
        read().contains("later\n")
    });
    drop(writer.input.take());
    let (status, _, said) = writer.wait();
    let kept = read().lines().count();
    assert_eq!(status, Some(1), "{said}");
    let dropped = 1 + LINES + later - kept;
    assert!(said.ends_with(&format!("logrotor: {dropped} lines were dropped\n")), "{said}");
    let failed = attempts().lines().filter(|line| line.ends_with('!')).count();
    assert!(failed < LINES / 20, "{failed} attempts");
}
