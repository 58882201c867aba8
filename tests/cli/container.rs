//! The command as process 1 of a container, whose default actions of signals the kernel ignores.
#![cfg(target_os = "linux")]

use crate::support::{Dir, eventually, log_of_numbers, text};
use logrotor::Compression;
use rustix::process::{Pid, Signal, kill_process};
use std::process::{Child, Command, Stdio};

/// Returns the command as process 1 of a new namespace of pids, or `None` with a note if this user
/// may not make one. The child of `unshare` is that process.
fn process_1(dir: &Dir, args: &[&str]) -> Option<Command> {
    let unshare = ["--pid", "--fork", "--mount-proc", "--kill-child"];
    let allowed = Command::new("unshare").args(unshare).arg("true").output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        println!("skipped: this user may not make a namespace of pids");
        return None;
    }
    let mut command = Command::new("unshare");
    command.args(unshare).arg(env!("CARGO_BIN_EXE_logrotor")).args(args);
    command.current_dir(dir.file(".")).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    Some(command)
}

/// The process 1 that `unshare` started, by its pid outside.
fn first_child(unshare: &Child) -> Option<Pid> {
    let pid = unshare.id();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    Pid::from_raw(children.split_whitespace().next()?.parse().ok()?)
}

/// Whether a process has a handler for a signal.
fn catches(pid: Pid, signal: Signal) -> bool {
    let status = format!("/proc/{}/status", pid.as_raw_nonzero());
    let status = std::fs::read_to_string(status).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap_or("0");
    let mask = u64::from_str_radix(mask.trim(), 16).unwrap();
    mask >> (signal.as_raw() - 1) & 1 == 1
}

fn exit_status(child: Child) -> (Option<i32>, String) {
    let output = child.wait_with_output().unwrap();
    (output.status.code(), text(&output.stderr))
}

#[test]
fn run_as_process_1_reaps_orphans_and_exits_as_the_program() {
    let dir = Dir::new();
    // A process whose parent exits at once; then the program waits until it is reaped.
    let script = "(sh -c 'echo $$ > orphan' &)
        until test -s orphan; do sleep 0.01; done
        while kill -0 $(cat orphan) 2>/dev/null; do sleep 0.01; done
        echo reaped; kill -KILL $$";
    let args = ["run", "app.log", "--", "sh", "-c", script];
    let Some(mut command) = process_1(&dir, &args) else { return };
    let mut child = command.spawn().unwrap();
    eventually("the orphan is reaped", || child.try_wait().unwrap().is_some());
    assert_eq!(exit_status(child), (Some(128 + 9), String::new()));
    assert_eq!(std::fs::read_to_string(dir.log()).unwrap(), "reaped\n");
}

#[test]
fn run_as_process_1_forwards_signals() {
    let dir = Dir::new();
    let script = "trap 'exit 5' TERM; echo > ready; while :; do sleep 0.01; done";
    let args = ["run", "app.log", "--", "sh", "-c", script];
    let Some(mut command) = process_1(&dir, &args) else { return };
    let child = command.spawn().unwrap();
    eventually("it is ready", || dir.file("ready").exists());
    kill_process(first_child(&child).unwrap(), Signal::TERM).unwrap();
    assert_eq!(exit_status(child), (Some(5), String::new()));
}

#[test]
fn signal_ends_a_reading_verb_that_is_process_1() {
    let dir = Dir::new();
    dir.writer();
    for (signal, status) in [(Signal::TERM, 143), (Signal::INT, 130), (Signal::HUP, 129)] {
        let Some(mut command) = process_1(&dir, &["tail", "-F", "app.log"]) else { return };
        let child = command.spawn().unwrap();
        eventually("it runs", || first_child(&child).is_some_and(|pid| catches(pid, signal)));
        kill_process(first_child(&child).unwrap(), signal).unwrap();
        assert_eq!(exit_status(child), (Some(status), String::new()));
    }
}

#[test]
fn closed_pipe_ends_process_1_with_status_141() {
    let dir = log_of_numbers(Compression::None);
    let Some(mut command) = process_1(&dir, &["cat", "app.log"]) else { return };
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    drop(ours);
    let child = command.stdout(std::os::fd::OwnedFd::from(theirs)).spawn().unwrap();
    assert_eq!(exit_status(child), (Some(141), String::new()));
}

#[cfg(feature = "__test")]
#[test]
fn signal_ends_compress_that_is_process_1() {
    for signals in [1, 2] {
        let dir = log_of_numbers(Compression::None);
        let Some(mut command) = process_1(&dir, &["compress", "app.log"]) else { return };
        // It waits at its first operation on a temporary.
        let gate = dir.file("gate");
        command.env("LOGROTOR_FAULT", format!("1/write:pause={}", gate.display()));
        let child = command.spawn().unwrap();
        eventually("it compresses", || dir.file("gate.reached").exists());
        let pid = first_child(&child).unwrap();
        for _ in 0..signals {
            // Two at once may count as one; the second ends it at the gate.
            eventually("it is sent", || {
                let _ = kill_process(pid, Signal::TERM);
                signals == 1 || first_child(&child).is_none()
            });
        }
        std::fs::write(gate, "").unwrap();
        assert_eq!(exit_status(child), (Some(143), String::new()));
    }
}

#[test]
fn workers_outside_of_the_container_are_unknown_and_not_absent() {
    let dir = Dir::new();
    let _log = dir.writer();
    let args = |verb| [verb, "app.log", "--json"];
    let Some(mut list) = process_1(&dir, &args("ls")) else { return };
    let inside = |command: &mut Command| -> serde_json::Value {
        let output = command.output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    };
    assert_eq!(inside(&mut list)[0]["usage"], "unknown");
    let stat = inside(&mut process_1(&dir, &args("stat")).unwrap());
    assert_eq!(stat["workers"], serde_json::Value::Null);
    let shown = process_1(&dir, &["stat", "app.log"]).unwrap().output().unwrap();
    assert!(text(&shown.stdout).contains("workers\t?\n"), "{shown:?}");
}
