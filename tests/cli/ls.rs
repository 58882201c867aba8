//! `ls` and `stat`: tables for people, columns for scripts, JSON for programs.

use crate::help::compare;
use crate::support::{Dir, Worker, log_of_numbers, logrotor, text};
use logrotor::Compression;
use serde_json::{Value, json};
use std::fs::File;
use std::io::Write;
use std::time::{Duration, UNIX_EPOCH};

/// A log with fixed segments, sizes and times.
fn fixed() -> Dir {
    let dir = Dir::new();
    let text = b"a line\n".repeat(1000);
    let stored = flate2::Compression::none();
    let mut compressed = flate2::write::GzEncoder::new(Vec::new(), stored);
    compressed.write_all(&text).unwrap();
    let compressed = compressed.finish().unwrap();
    for (hour, name, content) in [
        (1, "app.log.2025-11-20T11-00-00.000000Z.gz", &compressed),
        (2, "app.log.2025-11-20T12-00-00.000000Z", &text),
        (3, "app.log", &b"a line\n".to_vec()),
    ] {
        let mut file = File::create(dir.file(name)).unwrap();
        file.write_all(content).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_secs(1_763_632_799 + hour * 3600)).unwrap();
    }
    dir
}

#[cfg(target_os = "linux")]
#[test]
fn table_for_people_equals_its_snapshot() {
    let dir = fixed();
    compare("ls-table.txt", &dir.ok("ls", ["--color", "always"]));
}

#[cfg(target_os = "linux")]
#[test]
fn lines_for_scripts_equal_their_snapshot() {
    let dir = fixed();
    compare("ls-lines.txt", &dir.ok("ls", []));
}

/// Most file systems keep times before 1970, and tmpfs those of billions of years.
#[cfg(target_os = "linux")]
#[test]
fn regression_times_of_any_century_are_shown() {
    let dir = Dir::new();
    let shm = tempfile::tempdir_in("/dev/shm").unwrap_or_else(|error| {
        println!("skipped: /dev/shm: {error}");
        tempfile::tempdir().unwrap()
    });
    let far = UNIX_EPOCH + Duration::from_secs(i64::MAX.unsigned_abs());
    let before = UNIX_EPOCH - Duration::from_millis(365 * 24 * 3_600_000 + 1);
    for (log, time) in [(dir.log(), before), (shm.path().join("app.log"), far)] {
        std::fs::write(&log, "a line\n").unwrap();
        File::options().append(true).open(&log).unwrap().set_modified(time).unwrap();
        let shown = |arguments: &[&str]| {
            let output = logrotor([]).args(arguments).arg(&log).output().unwrap();
            assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
            text(&output.stdout)
        };
        for arguments in [["ls", "--color=always"], ["stat", "--color=always"], ["stat", "--json"]]
        {
            shown(&arguments);
        }
        assert_eq!(shown(&["cat", "--since", "1960-01-01"]), "a line\n");
        let modified = if time == before { "\"1968-12-31T23:59:59.999000Z\"" } else { "null" };
        if time == before || shm.path().starts_with("/dev/shm") {
            let json = shown(&["ls", "--json"]);
            assert!(json.contains(&format!("\"modified\": {modified}")), "{json}");
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn json_for_programs_has_all_of_a_segment() {
    let dir = fixed();
    let found = dir.json("ls", []);
    let path = std::fs::canonicalize(dir.log()).unwrap();
    let expected = json!({
        "path": path, "state": "active", "bytes": 7, "uncompressed_bytes": 7, "ratio": null, "usage": "free",
        "origin": null, "created": null, "modified": "2025-11-20T12:59:59.000000Z", "rotated_at": null,
    });
    let mut active = found[2].clone();
    // A birth time of the file system counts as no later than the last change.
    assert!(active["created"].is_null() || active["created"] == active["modified"]);
    active["created"] = Value::Null;
    assert_eq!(active, expected);
    assert_eq!(
        (&found[0]["state"], &found[0]["uncompressed_bytes"]),
        (&json!("gzip"), &json!(7000))
    );
}

/// Runs the command on its own terminal and returns its output.
#[cfg(target_os = "linux")]
fn on_terminal(dir: &Dir, line: &str, no_color: bool) -> String {
    let mut command = std::process::Command::new("script");
    let line = format!("{} {line}", env!("CARGO_BIN_EXE_logrotor"));
    command.args(["-qec", &line, "/dev/null"]).current_dir(dir.file(".")).env("TZ", "UTC");
    command.env("TERM", "xterm").env_remove("NO_COLOR").stdin(std::process::Stdio::null());
    if no_color {
        command.env("NO_COLOR", "1");
    }
    let output = command.output().expect("`script`, of util-linux, makes the terminal");
    text(&output.stdout).replace("\r\n", "\n")
}

#[cfg(target_os = "linux")]
#[test]
fn terminal_gets_a_table_and_colors_unless_declined() {
    let dir = fixed();
    let coloured = dir.ok("ls", ["--color", "always"]);
    assert!(coloured.contains('\x1b'));
    assert_eq!(on_terminal(&dir, "ls app.log", false), coloured);
    let plain = on_terminal(&dir, "ls app.log", true);
    assert!(plain.starts_with("SEGMENT  ") && !plain.contains('\x1b'), "{plain}");
    assert_eq!(on_terminal(&dir, "ls app.log --color never", false), plain);
    assert!(on_terminal(&dir, "ls app.log --json", false).starts_with("[\n"));
}

#[cfg(target_os = "linux")]
#[test]
fn processes_that_have_the_log_open_are_listed() {
    let dir = Dir::new();
    let log = dir.writer();
    let me = std::process::id();
    let found = dir.json("stat", []);
    assert_eq!(found["workers"][0]["pid"], me);
    assert_eq!(found["workers"][0]["role"], "worker");
    let shown = dir.ok("ls", []);
    assert!(shown.trim_end().ends_with(&format!("[{me}]")), "{shown}");
    log.close().unwrap();
    let worker = Worker::start(&dir.log(), 1, 100);
    worker.finish();
    assert_eq!(dir.json("stat", [])["workers"], json!([]));
}

#[test]
fn stat_shows_the_log_and_its_policy() {
    use logrotor::{Config, policy};
    let dir = log_of_numbers(Compression::Gzip);
    std::fs::write(dir.file("app.log.old"), "").unwrap();
    let found = dir.json("stat", []);
    assert_eq!((&found["segments"], &found["compressed"]), (&json!(4), &json!(3)));
    assert_eq!((&found["uncompressed_bytes"], &found["policy"]), (&json!(13_915), &Value::Null));
    assert_eq!(found["strays"].as_array().unwrap().len(), 1);
    assert_eq!(found["network_file_system"], Value::Null);
    assert!(dir.ok("stat", []).contains("\nnetwork\t-\n"));
    let path = policy::path_beside(dir.log());
    let store = Config::policy().open_or_create(&path, Config::default).unwrap();
    store.update(|config| config.max_backups = Some(7)).unwrap();
    let shown = dir.ok("stat", []);
    assert!(shown.contains("\npolicy\t2\n") && shown.contains("\nmax_backups\t7\n"), "{shown}");
    let mut damaged = std::fs::read_to_string(&path).unwrap();
    damaged = damaged.replace("max_backups = 7", "max_backups = 8");
    std::fs::write(&path, damaged).unwrap();
    let found = dir.json("stat", []);
    assert!(found["policy"]["problem"].as_str().unwrap().contains("checksum"), "{found}");
}
