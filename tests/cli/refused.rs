//! No verb panics if the system refuses descriptors or threads, in whatever step.
#![cfg(target_os = "linux")]

use crate::limits::with_threads;
use crate::support::{Dir, text};
use std::fs::File;
use std::process::Command;

/// Each verb, as the words of its command line. The order is that in which they run.
const VERBS: &[&str] = &[
    "write app.log --max-size 1KiB --gzip --keep 9",
    "write app.log --max-size 1KiB --zstd --buffered",
    "run app.log --stderr err.log -- sh -c date",
    "cat app.log --json",
    "cat app.log --since 1h --reverse",
    "tail app.log",
    "ls app.log",
    "stat app.log --json",
    "verify app.log",
    "rotate app.log",
    "compress app.log",
    "prune app.log --keep 5",
    "policy set app.log max_backups=7",
    "policy show app.log",
    "policy history app.log",
];

/// Runs each verb under each value of a limit, which has a directory of its own. Some fail with a
/// message, and some succeed.
fn survive(values: &[u32], limited: impl Fn(&Dir, u32) -> Option<Command>) {
    let lines: String = (0..500).map(|number| format!("{number}\n")).collect();
    let (mut failed, mut succeeded) = (0, 0);
    for &value in values {
        let dir = Dir::new();
        for verb in VERBS {
            let Some(mut command) = limited(&dir, value) else { return };
            std::fs::write(dir.file("lines"), &lines).unwrap();
            command.args(verb.split(' ')).current_dir(dir.file(".")).env("RUST_BACKTRACE", "0");
            command.stdin(File::open(dir.file("lines")).unwrap());
            let output = command.output().unwrap();
            let (said, status) = (text(&output.stderr), output.status.code());
            assert!(!said.contains("panicked"), "{value}: {verb}: {said}");
            // The system's loader, which needs a descriptor as well, ends with 127.
            assert!(matches!(status, Some(0..=2 | 126 | 127)), "{value}: {verb}: {output:?}");
            assert!(status == Some(0) || !said.is_empty(), "{value}: {verb}: {output:?}");
            if status == Some(0) { succeeded += 1 } else { failed += 1 }
        }
    }
    assert!(failed > 0 && succeeded > 0, "{failed} failed, {succeeded} succeeded");
}

fn is_long() -> bool {
    std::env::var_os("LOGROTOR_LONG").is_some()
}

#[test]
fn no_verb_panics_without_descriptors() {
    let all: Vec<_> = (3..32).collect();
    survive(if is_long() { &all } else { &[5, 8, 12] }, |_, most| {
        let mut command = Command::new("prlimit");
        command.arg(format!("--nofile={most}")).arg(env!("CARGO_BIN_EXE_logrotor"));
        Some(command)
    });
}

#[test]
fn no_verb_panics_without_threads() {
    let all: Vec<_> = (1..8).collect();
    survive(if is_long() { &all } else { &[1, 3] }, |dir, most| with_threads(dir, 54323, most));
}
