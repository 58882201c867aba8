//! `policy`: the verbs on a settings file, beside a worker that reloads it.

use crate::support::{Dir, eventually, logrotor, text};
use logrotor::{Config, RotatingFileWriter, policy};
use serde_json::json;
use std::fs;
use std::io::Write;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

fn verb(dir: &Dir, verb: &str, args: &[&str]) -> Command {
    let mut command = logrotor(["policy", verb, "app.log"]);
    command.args(args).current_dir(dir.file(".")).env_remove("VISUAL").env_remove("EDITOR");
    command
}

fn run(dir: &Dir, name: &str, args: &[&str]) -> Output {
    verb(dir, name, args).output().unwrap()
}

#[track_caller]
fn ok(dir: &Dir, name: &str, args: &[&str]) -> String {
    let output = run(dir, name, args);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    text(&output.stdout)
}

#[track_caller]
fn json(dir: &Dir, name: &str, args: &[&str]) -> serde_json::Value {
    let output = verb(dir, name, args).arg("--json").output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// A policy at version 3.
fn three() -> Dir {
    let dir = Dir::new();
    ok(&dir, "set", &["max_size=1 MiB", "--create"]);
    ok(&dir, "set", &["max_backups=7", "--comment", "the disk is small"]);
    dir
}

#[test]
fn settings_are_set_shown_compared_and_rolled_back() {
    let dir = three();
    let shown = ok(&dir, "show", &[]);
    assert!(shown.starts_with("#: logrotor policy, format 1\n"), "{shown}");
    assert!(shown.contains("\nmax_backups = 7\n"), "{shown}");
    let all = json(&dir, "show", &[]);
    assert_eq!((&all["version"], &all["settings"]["max_size"]), (&json!(3), &json!("1 MiB")));
    assert_eq!(all["comment"], "the disk is small");

    assert_eq!(
        ok(&dir, "diff", &["1", "3"]),
        "max_backups\t-\t7\nmax_size\t\"64 MiB\"\t\"1 MiB\"\n"
    );
    assert_eq!(ok(&dir, "diff", &["2"]), "max_backups\t-\t7\n");
    assert_eq!(json(&dir, "diff", &["2"])[0]["after"], "7");

    assert_eq!(ok(&dir, "rollback", &["2"]), "version 4\nmax_backups: 7 -> (not set)\n");
    let history = json(&dir, "history", &[]);
    let origins: Vec<_> =
        history.as_array().unwrap().iter().map(|entry| &entry["origin"]).collect();
    assert_eq!(origins, ["creation", "update", "update", "rollback to version 2"]);
    let lines = ok(&dir, "history", &[]);
    assert!(lines.lines().nth(2).unwrap().ends_with("\tupdate\tthe disk is small"), "{lines}");
    let gone = run(&dir, "rollback", &["99"]);
    assert_eq!(gone.status.code(), Some(1));
}

#[test]
fn invalid_settings_are_rejected_with_a_suggestion() {
    let dir = Dir::new();
    let output = run(&dir, "show", &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("logrotor policy set app.log SETTING=VALUE --create"),
        "{output:?}"
    );
    assert_eq!(dir.names(), [""; 0]);
    let dir = three();
    for (setting, said) in [
        ("max_sise=1", "did you mean `max_size`?"),
        ("max_size=1 Mub", "use a number and a unit"),
        ("max_size=0", "use 1 or more"),
        ("max_size", "use SETTING=VALUE"),
    ] {
        let output = run(&dir, "set", &[setting]);
        assert!(matches!(output.status.code(), Some(1 | 2)), "{output:?}");
        assert!(text(&output.stderr).contains(said), "{output:?}");
    }
    let output = run(&dir, "set", &["max_backups=8", "--if-version", "2"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(json(&dir, "show", &[])["version"], 3);
}

#[cfg(unix)]
#[test]
fn edit_publishes_valid_text_and_keeps_invalid_text() {
    let dir = three();
    let edit = |editor: &str| verb(&dir, "edit", &[]).env("VISUAL", editor).output().unwrap();
    let output = edit("true");
    assert_eq!(text(&output.stderr), "logrotor: the policy is unchanged\n");
    let output = edit("sed -i s/max_backups.*/max_backups=9/");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(text(&output.stdout), "version 4\nmax_backups: 7 -> 9\n");

    // As some editors save a text, with a byte order mark.
    let output = edit(r"sed -i -e s/max_backups.*/max_backups=7/ -e '1s/^/\xef\xbb\xbf/'");
    assert_eq!(text(&output.stdout), "version 5\nmax_backups: 9 -> 7\n", "{output:?}");
    let path = dir.file("app.log.policy.toml");
    let edited = fs::read_to_string(&path).unwrap();
    let (before, after) = edited.split_once("#: checksum ").unwrap();
    let edited = format!("\u{feff}{before}#: checksum edited{}", &after[8..]);
    fs::write(&path, edited.replace("max_backups=7", "max_backups=9")).unwrap();
    let output = verb(&dir, "set", &["zone=local"]).output().unwrap();
    assert_eq!(text(&output.stdout), "version 7\nzone: \"utc\" -> \"local\"\n", "{output:?}");
    assert!(!fs::read_to_string(&path).unwrap().contains('\u{feff}'));

    let output = edit("sed -i s/max_backups.*/max_backups=few/");
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    let (before, after) = said.split_once("your text is kept in `").unwrap();
    assert!(before.contains("max_backups"), "{said}");
    let kept = after.split_once('`').unwrap().0;
    assert!(fs::read_to_string(kept).unwrap().contains("max_backups=few"));
    fs::remove_file(kept).unwrap();

    // Another process changes the policy first.
    let other = format!(
        "{} policy set app.log max_backups=10; sed -i s/max_size.*/max_size=5/",
        env!("CARGO_BIN_EXE_logrotor")
    );
    let output = edit(&other);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = text(&output.stderr);
    let kept = said.split_once("your text is kept in `").unwrap().1.split_once('`').unwrap().0;
    fs::remove_file(kept).unwrap();

    let output = edit("false");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("set VISUAL or EDITOR"), "{output:?}");
    assert_eq!(json(&dir, "show", &[])["settings"]["max_backups"], 10);
}

#[test]
fn damage_is_found_reported_and_repaired() {
    let dir = three();
    assert_eq!(ok(&dir, "verify", &[]), "version 3: sound\n");
    let path = policy::path_beside(dir.log());
    let good = fs::read_to_string(&path).unwrap();
    fs::write(&path, good.replace("max_backups = 7", "max_backups = 6")).unwrap();
    let output = run(&dir, "verify", &[]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stdout);
    assert!(
        said.starts_with("damage: ") && said.contains("version 3 stays in use; --repair"),
        "{said}"
    );
    assert_eq!(json(&dir, "verify", &[])["version"], 3);
    let output = run(&dir, "show", &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("max_backups = 7"), "{output:?}");
    assert_eq!(ok(&dir, "verify", &["--repair"]), "version 3: repaired\n");
    assert_eq!(fs::read_to_string(&path).unwrap(), good);
    assert_eq!(ok(&dir, "verify", &["--repair"]), "version 3: sound\n");
}

#[test]
fn running_worker_reloads_the_policy() {
    let dir = Dir::new();
    ok(&dir, "set", &["max_size=1 GiB", "--create"]);
    let store = Config::policy().open(policy::path_beside(dir.log())).unwrap();
    let mut log = RotatingFileWriter::builder(dir.log()).policy(store).build().unwrap();
    writeln!(log, "{}", "x".repeat(200)).unwrap();
    ok(&dir, "set", &["max_size=100 B", "compression=gzip"]);
    let deadline = Instant::now() + Duration::from_secs(60);
    while log.stats().policy.unwrap().version < 3 {
        assert!(Instant::now() < deadline, "not obeyed within a minute");
        std::thread::sleep(Duration::from_millis(2));
    }
    writeln!(log, "in the next segment").unwrap();
    log.close().unwrap();
    assert_eq!(fs::read_to_string(dir.log()).unwrap(), "in the next segment\n");
    // A child of another test holds the files of this process until its `exec`.
    eventually("the backup is compressed", || {
        let store = Config::policy().open(policy::path_beside(dir.log())).unwrap();
        RotatingFileWriter::builder(dir.log()).policy(store).build().unwrap().close().unwrap();
        dir.backups()[0].ends_with(".gz")
    });
}
