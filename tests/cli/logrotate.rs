//! logrotate, the program, beside a log of this crate.

use crate::support::{Dir, log_of_numbers, text};
use logrotor::Compression;
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs logrotate with this configuration, in which `DIR` is the log's directory. `false`, with a
/// printed note, if it is not installed.
fn logrotate(dir: &Dir, config: &str) -> bool {
    let elsewhere = Dir::new();
    let log = std::fs::canonicalize(dir.log()).unwrap();
    let config = config.replace("DIR", log.parent().unwrap().to_str().unwrap());
    std::fs::write(elsewhere.file("conf"), config).unwrap();
    let state = elsewhere.file("state");
    let mut command = Command::new("logrotate");
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").arg("-s").arg(state);
    match command.arg(elsewhere.file("conf")).stdin(Stdio::null()).output() {
        Ok(output) => {
            assert!(output.status.success(), "{output:?}");
            true
        }
        Err(error) => {
            println!("skipped: logrotate cannot be run: {error}");
            false
        }
    }
}

const CARELESS: &str = "DIR/*.log* {\n    size 1\n    rotate 5\n    create\n}\n";

// logrotate made empty files that were named like backups, and `cat` showed a sixth of the lines.
#[test]
fn regression_backups_that_logrotate_renames_are_reported() {
    let dir = log_of_numbers(Compression::None);
    let (lines, backups) = (dir.ok("cat", []), dir.backups());
    if !logrotate(&dir, CARELESS) {
        return;
    }
    let said = text(&dir.run("cat", []).stderr);
    let found = text(&dir.run("verify", []).stdout);
    for name in &backups {
        let (renamed, original) = (format!("{name}.1`"), format!("{name}`"));
        let names = |line: &str| line.contains(&renamed) && line.ends_with(&original);
        assert!(said.lines().any(names), "{said}");
        assert!(found.lines().any(names), "{found}");
        std::fs::rename(dir.file(&format!("{name}.1")), dir.file(name)).unwrap();
    }
    // The log itself is now a backup by number, with the newest records.
    assert_eq!(dir.ok("cat", []), lines);
}

#[test]
fn logrotate_leaves_alone_what_the_guide_excludes() {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cli.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    let (_, config) = guide.split_once("```text\n/var/log/demo/app.log* {").unwrap();
    let (config, _) = config.split_once("```").unwrap();
    let dir = log_of_numbers(Compression::None);
    std::fs::write(dir.file("other.log"), "of another program\n").unwrap();
    let (lines, mut names) = (dir.ok("cat", []), dir.names());
    if !logrotate(&dir, &format!("DIR/app.log* {{{config}{CARELESS}")) {
        return;
    }
    assert_eq!(dir.ok("cat", []), lines);
    names.push("other.log.1".to_owned());
    assert_eq!(dir.names(), names);
}
