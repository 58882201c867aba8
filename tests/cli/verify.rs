//! `verify`: each kind of damage is found, and an intact log is reported as sound.

use crate::support::{Dir, log_of_numbers, text};
use logrotor::{Compression, Naming, RotatingFileWriter};
use serde_json::{Value, json};
use std::fs;
use std::io::Write;

/// The findings as JSON. The exit status must be 1.
#[track_caller]
fn findings(dir: &Dir) -> Value {
    let output = dir.run("verify", []);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stderr.is_empty() && !text(&output.stdout).contains("sound"), "{output:?}");
    dir.json("verify", [])
}

#[track_caller]
fn damage(dir: &Dir) -> (String, Value) {
    let found = findings(dir);
    assert_eq!(found["damage"].as_array().unwrap().len(), 1, "{found}");
    let damage = &found["damage"][0];
    (damage["kind"].as_str().unwrap().to_owned(), damage["offset"].clone())
}

#[test]
fn intact_log_is_reported_as_sound() {
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let dir = log_of_numbers(compression);
        assert_eq!(dir.ok("verify", []), "4 segments, 13.6 KiB of records; sound\n");
        let found = dir.json("verify", []);
        assert_eq!((&found["damage"], &found["bytes"]), (&json!([]), &json!(13_915)));
    }
}

#[test]
fn truncated_backup_is_found_with_its_position() {
    for compression in [Compression::Gzip, Compression::Zstd] {
        let dir = log_of_numbers(compression);
        let backup = dir.file(&dir.backups()[1]);
        let compressed = fs::read(&backup).unwrap();
        fs::write(&backup, &compressed[..compressed.len() - 9]).unwrap();
        assert_eq!(damage(&dir).0, "corrupt");
        let found = &findings(&dir)["damage"][0];
        assert!(found["segment"].as_str().unwrap().ends_with(&dir.backups()[1]), "{found}");
        let shown = text(&dir.run("verify", []).stdout);
        assert!(shown.starts_with("damage: `") && shown.contains("; damage: 1\n"), "{shown}");
    }
}

#[test]
fn flipped_bit_is_found() {
    let dir = log_of_numbers(Compression::Gzip);
    let backup = dir.file(&dir.backups()[2]);
    let mut compressed = fs::read(&backup).unwrap();
    let middle = compressed.len() / 2;
    compressed[middle] ^= 1;
    fs::write(&backup, compressed).unwrap();
    assert_eq!(damage(&dir).0, "corrupt");
}

/// A sample; `tests/it/formats.rs` has every bit.
#[test]
fn flipped_bit_is_reported_by_every_verb_that_reads() {
    const VERBS: [(&str, &[&str]); 4] =
        [("verify", &[]), ("cat", &[]), ("cat", &["--reverse"]), ("tail", &["-n", "1000"])];
    for compression in [Compression::Gzip, Compression::Zstd] {
        let dir = log_of_numbers(compression);
        let backup = dir.file(&dir.backups()[2]);
        let whole = fs::read(&backup).unwrap();
        for part in 0..8 {
            let mut flipped = whole.clone();
            flipped[part * whole.len() / 8 + 3] ^= 1 << part;
            fs::write(&backup, flipped).unwrap();
            for (verb, args) in VERBS {
                let mut command = dir.command(verb, []);
                let output = command.args(args).output().unwrap();
                let status = output.status.code();
                assert_eq!(status, Some(1), "{compression:?} {verb} {part}: {output:?}");
            }
        }
    }
}

#[test]
fn exchanged_backups_are_found() {
    let dir = log_of_numbers(Compression::Gzip);
    let names = dir.backups();
    let aside = dir.file("aside");
    fs::rename(dir.file(&names[0]), &aside).unwrap();
    fs::rename(dir.file(&names[1]), dir.file(&names[0])).unwrap();
    fs::rename(&aside, dir.file(&names[1])).unwrap();
    let found = findings(&dir);
    assert_eq!(found["damage"][0]["kind"], "misplaced", "{found}");
}

#[test]
fn backup_of_another_format_is_unreadable_and_no_damage() {
    let dir = log_of_numbers(Compression::Gzip);
    fs::write(dir.file(&dir.backups()[2]), b"\xFD7zXZ\0\0\x04").unwrap();
    assert_eq!(damage(&dir).0, "unreadable");
    let shown = text(&dir.run("verify", []).stdout);
    assert!(shown.starts_with("unreadable: ") && shown.contains("it is xz, not gzip"), "{shown}");
    assert!(shown.ends_with("; unreadable: 1\n"), "{shown}");
}

#[test]
fn memory_option_reads_a_large_window() {
    let dir = Dir::new();
    fs::write(dir.log(), "active\n").unwrap();
    // One raw block in a frame with a window of 256 MiB.
    let frame = b"\x28\xb5\x2f\xfd\x00\x90\x21\0\0one\n";
    fs::write(dir.file("app.log.1.zst"), frame).unwrap();
    for verb in ["cat", "tail", "verify"] {
        let output = dir.run(verb, []);
        let said = text(&output.stdout) + &text(&output.stderr);
        assert!(said.contains("it needs a window of 256 MiB"), "{verb}: {said}");
        assert_eq!(output.status.code(), Some(1));
        dir.ok(verb, ["--memory=256MiB"]);
    }
    assert_eq!(dir.ok("cat", ["--memory=256MiB"]), "one\nactive\n");
}

#[test]
fn compressed_backup_is_rejected_as_a_log() {
    let dir = log_of_numbers(Compression::Gzip);
    let backup = dir.file(&dir.backups()[2]);
    for verb in ["verify", "cat", "tail", "ls", "stat"] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_logrotor"));
        let output = command.arg(verb).arg(&backup).output().unwrap();
        assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(1), ""), "{verb}");
        let said = text(&output.stderr);
        assert!(said.contains("name of a compressed backup; use its log, `"), "{verb}: {said}");
    }
}

#[test]
fn hole_of_nul_bytes_is_found() {
    let dir = log_of_numbers(Compression::None);
    let mut active = fs::File::options().append(true).open(dir.log()).unwrap();
    active.write_all(&[0; 4096]).unwrap();
    active.write_all(b"after it\n").unwrap();
    assert_eq!(damage(&dir), ("hole".to_owned(), json!(25)));
}

#[test]
fn missing_number_is_found() {
    let dir = Dir::new();
    let log = RotatingFileWriter::builder(dir.log()).naming(Naming::Number);
    let mut log = log.build().unwrap();
    for number in 0..3 {
        writeln!(log, "{number}").unwrap();
        log.rotate().unwrap();
    }
    assert!(dir.ok("verify", []).ends_with("sound\n"));
    fs::remove_file(dir.file("app.log.2")).unwrap();
    assert_eq!(damage(&dir).0, "missing");
}

#[test]
fn stray_and_leftover_are_found_and_kept() {
    let dir = log_of_numbers(Compression::Gzip);
    fs::write(dir.file("app.log.old"), "").unwrap();
    let found = findings(&dir);
    assert_eq!(found["strays"].as_array().unwrap().len(), 1);
    assert_eq!(found["leftovers"], json!([]));
    fs::remove_file(dir.file("app.log.old")).unwrap();

    let temporary = dir.file(".app.log.abcdefghijkl.tmp");
    fs::write(&temporary, "half").unwrap();
    let found = findings(&dir);
    assert_eq!(found["leftovers"][0]["kind"], "temporary");
    assert_eq!(found["leftovers"][0]["bytes"], 4);
    assert!(temporary.exists());
    let shown = text(&dir.run("verify", []).stdout);
    assert!(shown.contains("tmp`: temporary\n") && shown.contains("leftovers: 1\n"), "{shown}");
    // The next writer removes it.
    dir.writer().close().unwrap();
    assert!(dir.ok("verify", []).ends_with("sound\n"));
}

#[test]
fn backup_that_ends_without_line_break_is_found() {
    let dir = log_of_numbers(Compression::Gzip);
    let first = dir.file(&dir.backups()[0]);
    let unfinished = dir.file("app.log.2020-01-01T00-00-00.000000Z");
    fs::write(&unfinished, "one\nhalf a rec").unwrap();
    let found = findings(&dir);
    let path = fs::canonicalize(&unfinished).unwrap();
    assert_eq!(found["unfinished"], json!([{ "segment": path, "offset": 14 }]), "{found}");
    let shown = text(&dir.run("verify", []).stdout);
    assert!(shown.contains("ends without a line break at byte 14\n"), "{shown}");
    assert!(shown.ends_with("; unfinished lines: 1\n"), "{shown}");
    // The active segment may be in the middle of a record, and damage is reported once.
    fs::remove_file(&unfinished).unwrap();
    let mut active = fs::File::options().append(true).open(dir.log()).unwrap();
    active.write_all(b"half a rec").unwrap();
    assert!(dir.ok("verify", []).ends_with("sound\n"));
    let packed = fs::read(&first).unwrap();
    fs::write(&first, &packed[..packed.len() / 2]).unwrap();
    assert_eq!(findings(&dir)["unfinished"], json!([]));
}

#[cfg(unix)]
#[test]
fn control_characters_in_names_are_replaced() {
    let dir = log_of_numbers(Compression::None);
    fs::write(dir.file("app.log.\x1b]0;x\x07\n"), "").unwrap();
    let shown = text(&dir.run("verify", []).stdout);
    assert!(shown.contains("app.log.?]0;x? `\n"), "{shown:?}");
}

#[cfg(unix)]
#[test]
fn backup_without_permission_to_read_is_found() {
    use std::os::unix::fs::PermissionsExt;
    let dir = log_of_numbers(Compression::Gzip);
    let backup = dir.file(&dir.backups()[0]);
    fs::set_permissions(&backup, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::File::open(&backup).is_ok() {
        return println!("nothing is forbidden to root");
    }
    assert_eq!(damage(&dir).0, "unreadable");
}

/// The disk fails one read after another, also for root.
#[cfg(feature = "__test")]
#[test]
fn unreadable_backup_is_found_and_the_rest_is_read() {
    let dir = log_of_numbers(Compression::None);
    let mut unreadable = 0;
    // A verify has fewer reads than this; the first is of `/proc/locks`.
    for number in 1..20 {
        let mut command = dir.command("verify", ["--json"]);
        let output = command.env("LOGROTOR_FAULT", format!("{number}/read:errno=5")).output();
        let output = output.unwrap();
        if output.status.success() {
            continue;
        }
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(found["damage"][0]["kind"], "unreadable", "{found}");
        assert!(found["bytes"].as_u64().unwrap() > 9000, "{found}");
        unreadable += 1;
    }
    assert!(unreadable > 3, "{unreadable}");
}
