//! The documented ways of the loggers, beside the table of `whole.rs`.

use std::path::Path;
use std::process::Command;

fn events_of(args: &[&str]) -> usize {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("app.log");
    let mut program = Command::new(env!("CARGO_BIN_EXE_end_of_main"));
    assert!(program.arg(&log).args(args).status().unwrap().success());
    std::fs::read_to_string(log).unwrap().lines().count()
}

#[test]
fn guard_writes_buffer_at_the_end_of_main() {
    assert_eq!(events_of(&["guard"]), 100);
    // Without it they are lost: the handle in the global subscriber is never dropped.
    assert_eq!(events_of(&[]), 0);
}

/// The code of each table whose head is this, without white space.
fn code_of_table(page: &str, head: &str) -> Vec<String> {
    let page =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(page));
    let page = page.unwrap();
    let rows = page.lines().map(|line| line.trim_start().trim_start_matches("///").trim());
    let rows = rows.skip_while(|line| !line.starts_with(head)).skip(2);
    let rows = rows.take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let code = row.split('`').rev().nth(1).unwrap_or_else(|| panic!("no code: {row}"));
        code.split_whitespace().collect()
    })
    .collect()
}

#[test]
fn code_in_the_documentation_is_compiled_here() {
    let sources = [
        include_str!("../src/ways/tracing_crate.rs"),
        include_str!("../src/ways/log_crate.rs"),
        include_str!("../src/ways/slog_crate.rs"),
        include_str!("../src/ways/values.rs"),
    ];
    let compiled: String = sources.concat().split_whitespace().collect();
    let compiled = compiled.replace("self.", "");
    let lines = code_of_table("src/writer/mod.rs", "| logger | pass |");
    assert!(lines.len() > 15, "{lines:?}");
    for line in lines {
        assert!(compiled.contains(&line), "{line} is in no way of src/ways");
    }
}
