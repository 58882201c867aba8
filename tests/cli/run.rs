//! `logrotor run`: real programs, real signals.
#![cfg(unix)]

use crate::support::{Dir, eventually, text};
use rustix::process::{Pid, Signal, kill_process};
use std::process::{Child, Command, Output, Stdio};

fn shell(dir: &Dir, options: &[&str], script: &str) -> Command {
    let mut command = dir.command("run", []);
    command.args(options).args(["--", "sh", "-c", script]).stdin(Stdio::null());
    command
}

fn run(dir: &Dir, options: &[&str], script: &str) -> Output {
    shell(dir, options, script).output().unwrap()
}

fn read(dir: &Dir, name: &str) -> String {
    std::fs::read_to_string(dir.file(name)).unwrap_or_default()
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[test]
fn both_outputs_go_to_one_log_in_order() {
    let dir = Dir::new();
    let output = run(&dir, &[], "echo one; echo two >&2; printf three");
    assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
    assert_eq!(read(&dir, "app.log"), "one\ntwo\nthree\n");
}

#[test]
fn standard_error_goes_to_a_log_of_its_own_on_request() {
    let dir = Dir::new();
    let output = run(&dir, &["--stderr", "err.log"], "echo one; echo two >&2; echo three; exit 3");
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    assert_eq!(read(&dir, "app.log"), "one\nthree\n");
    assert_eq!(read(&dir, "err.log"), "two\n");
}

#[test]
fn exit_status_is_that_of_the_program() {
    let dir = Dir::new();
    assert_eq!(run(&dir, &[], "exit 7").status.code(), Some(7));
    assert_eq!(run(&dir, &[], "kill -9 $$").status.code(), Some(128 + 9));
    let missing = dir.run("run", ["--", "./no-such-program"]);
    assert_eq!(missing.status.code(), Some(127));
    assert!(text(&missing.stderr).contains("no-such-program"), "{missing:?}");
    let missing = dir.run("run", ["--stderr", "err.log", "--", "./no-such-program"]);
    assert_eq!(missing.status.code(), Some(127));
    std::fs::write(dir.file("plain"), "no program").unwrap();
    assert_eq!(dir.run("run", ["--", "./plain"]).status.code(), Some(126));
}

#[test]
fn signals_are_forwarded() {
    for (signal_sent, name) in
        [(Signal::TERM, "TERM"), (Signal::INT, "INT"), (Signal::HUP, "HUP"), (Signal::USR1, "USR1")]
    {
        let dir = Dir::new();
        let script = format!(
            "trap 'echo got {name}; exit 5' {name}; echo ready; while :; do sleep 0.01; done"
        );
        let mut child = shell(&dir, &[], &script).spawn().unwrap();
        eventually("it is ready", || read(&dir, "app.log") == "ready\n");
        signal(&child, signal_sent);
        assert_eq!(child.wait().unwrap().code(), Some(5));
        assert_eq!(read(&dir, "app.log"), format!("ready\ngot {name}\n"));
    }
}

#[test]
fn other_processes_with_the_pipe_are_not_waited_for() {
    let dir = Dir::new();
    let script = "sleep 600 & echo $!; echo last";
    let output = run(&dir, &[], script);
    assert!(output.status.success(), "{output:?}");
    let log = read(&dir, "app.log");
    let (left, rest) = log.split_once('\n').unwrap();
    assert_eq!(rest, "last\n");
    kill_process(Pid::from_raw(left.parse().unwrap()).unwrap(), Signal::KILL).unwrap();
}

#[test]
fn copies_of_two_outputs_do_not_mix_their_lines() {
    let dir = Dir::new();
    let long = "x".repeat(10_000);
    let script = format!("for i in 1 2 3 4 5 6 7 8 9; do echo o{long}; echo e{long} >&2; done");
    let output = run(&dir, &["--tee", "--stderr", "err.log"], &script);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let copied = text(&output.stdout);
    for (name, line) in [("app.log", format!("o{long}")), ("err.log", format!("e{long}"))] {
        assert!(read(&dir, name).lines().all(|found| found == line));
        assert_eq!(copied.lines().filter(|found| *found == line).count(), 9);
    }
}

#[test]
fn signals_are_forwarded_while_the_copy_is_not_read() {
    for options in [&["--tee"][..], &["--tee", "--stderr", "err.log"]] {
        let dir = Dir::new();
        let script = "trap 'echo > told; exit 5' TERM; seq 1 20000; seq 1 20000 >&2; echo > ready
            while :; do sleep 0.01; done";
        let mut command = shell(&dir, options, script);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        eventually("it is ready", || dir.file("ready").exists());
        signal(&child, Signal::TERM);
        eventually("the program has the signal", || dir.file("told").exists());
        // A second signal ends the wait for the reader of the copy.
        eventually("it ends", || {
            signal(&child, Signal::TERM);
            child.try_wait().unwrap().is_some()
        });
        assert_eq!(child.wait().unwrap().code(), Some(5));
        let numbers: String = (1..=20_000).map(|number| format!("{number}\n")).collect();
        let log = read(&dir, "app.log") + &read(&dir, "err.log");
        assert!(log == numbers.repeat(2), "{}", log.len());
    }
}

#[test]
fn output_of_a_fast_program_is_complete() {
    let dir = Dir::new();
    let output = run(&dir, &["--max-size", "100kB", "--number"], "seq 1 200000");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let all = dir.ok("cat", []);
    let expected: String = (1..=200_000).map(|number| format!("{number}\n")).collect();
    assert!(all == expected);
}

#[test]
fn signals_are_forwarded_after_the_output_is_closed() {
    for options in [&[][..], &["--stderr", "err.log"]] {
        let dir = Dir::new();
        let script =
            "trap 'echo got TERM > told; exit 5' TERM; echo last; exec >&- 2>&-; echo > ready
            while :; do sleep 0.01; done";
        let mut child = shell(&dir, options, script).spawn().unwrap();
        eventually("it is ready", || dir.file("ready").exists());
        signal(&child, Signal::TERM);
        eventually("it ends", || child.try_wait().unwrap().is_some());
        assert_eq!(child.wait().unwrap().code(), Some(5));
        assert_eq!(
            (read(&dir, "told"), read(&dir, "app.log")),
            ("got TERM\n".into(), "last\n".into())
        );
    }
}

#[test]
fn standard_error_may_be_closed_before_the_program_exits() {
    let dir = Dir::new();
    let output =
        run(&dir, &["--stderr", "err.log"], "echo one >&2; exec 2>&-; sleep 0.2; echo two");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    assert_eq!((read(&dir, "app.log"), read(&dir, "err.log")), ("two\n".into(), "one\n".into()));
}

#[cfg(target_os = "linux")]
#[test]
fn signals_ignored_at_the_start_stay_ignored() {
    let dir = Dir::new();
    let script =
        "echo ready; until test -e over; do sleep 0.01; done; grep SigIgn /proc/self/status";
    let command = format!(
        "trap '' HUP INT; exec {} run app.log -- sh -c '{script}'",
        env!("CARGO_BIN_EXE_logrotor")
    );
    let mut nohup = Command::new("sh");
    nohup.args(["-c", &command]).current_dir(dir.file(".")).stdin(Stdio::null());
    let mut child = nohup.spawn().unwrap();
    eventually("it is ready", || read(&dir, "app.log") == "ready\n");
    signal(&child, Signal::HUP);
    signal(&child, Signal::INT);
    std::fs::write(dir.file("over"), "").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let log = read(&dir, "app.log");
    let mask = u64::from_str_radix(log.trim_end().rsplit('\t').next().unwrap(), 16).unwrap();
    assert_eq!(mask & 3, 3, "HUP is 1 and INT is 2: {log}");
}
