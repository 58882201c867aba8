//! `logrotor write --durability`: syncs in the trace of file operations, and syncs that fail.
#![cfg(all(unix, feature = "__test"))]

use crate::support::{Dir, eventually, text};
use crate::write::Writer;
use rustix::process::Signal;

/// Starts a writer with a trace of its file operations and a fault.
fn start<const N: usize>(dir: &Dir, args: [&str; N], fault: &str) -> Writer {
    let mut command = dir.command("write", args);
    command.env("LOGROTOR_FAULT_COUNT", dir.file("trace")).env("LOGROTOR_FAULT", fault);
    Writer::spawn(command)
}

/// The writes and syncs of files so far, in order.
fn trace(dir: &Dir) -> Vec<String> {
    let trace = std::fs::read_to_string(dir.file("trace")).unwrap_or_default();
    let verbs = trace.lines().map(|line| line.split(' ').nth(1).unwrap().to_owned());
    let lines = trace.lines().zip(verbs).filter(|(line, _)| !line.contains("directory"));
    lines.map(|(_, verb)| verb).filter(|verb| matches!(verb.as_str(), "append" | "sync")).collect()
}

fn active(dir: &Dir) -> String {
    std::fs::read_to_string(dir.log()).unwrap_or_default()
}

/// Sends lines one by one, so that each is a separate write call.
fn send(writer: &mut Writer, dir: &Dir, lines: &[&str]) {
    for line in lines {
        writer.send(&format!("{line}\n"));
        eventually("the line is written", || active(dir).ends_with(&format!("{line}\n")));
    }
}

#[test]
fn lines_are_synced_as_the_option_says() {
    for (durability, expected) in [
        ("none", "append append append"),
        ("on-rotate", "append append append sync"),
        ("every-record", "append sync append sync append sync sync"),
    ] {
        let dir = Dir::new();
        let mut writer = start(&dir, ["--durability", durability], "");
        send(&mut writer, &dir, &["one", "two", "three"]);
        // The rotated segment is synced before the writer exits.
        writer.signal(Signal::USR1);
        eventually("it is rotated", || dir.backups().len() == 1);
        writer.finish();
        assert_eq!(trace(&dir).join(" "), expected, "{durability}");
    }
}

#[test]
fn failed_sync_is_reported_and_loses_and_doubles_no_line() {
    for args in [["--durability", "every-record"], ["--durability=every-record", "--on-full=drop"]]
    {
        let dir = Dir::new();
        let mut writer = start(&dir, args, "2-3/sync:errno=5");
        send(&mut writer, &dir, &["one", "two", "three", "four"]);
        drop(writer.input.take());
        let (status, _, said) = writer.wait();
        assert_eq!((status, active(&dir).as_str()), (Some(1), "one\ntwo\nthree\nfour\n"), "{said}");
        let said: Vec<_> = said.lines().collect();
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said[0].contains("failed to sync") && said[0].contains("may not survive"));
        let sum = "logrotor: 2 lines are in the log, but may not survive a power cut";
        assert_eq!(said[1], sum);
    }
}

#[test]
fn run_takes_the_option_too() {
    let dir = Dir::new();
    let mut command = dir.command("run", ["--durability", "every-record", "--", "echo", "one"]);
    let output = command.env("LOGROTOR_FAULT_COUNT", dir.file("trace")).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    assert_eq!(trace(&dir), ["append", "sync"]);
}

#[test]
fn durability_of_every_line_is_rejected_with_a_buffer() {
    let dir = Dir::new();
    let refused = dir.run("write", ["--durability", "every-record", "--buffered"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("use direct delivery"), "{refused:?}");
    assert!(!dir.log().exists());
}
