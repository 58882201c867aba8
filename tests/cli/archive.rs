//! `archive`, and `write --archive`, with a directory as the store.

use crate::support::{Dir, eventually, log_of_numbers, text};
use logrotor::Compression;
use std::process::Stdio;

/// The names of the objects.
fn objects(store: &std::path::Path) -> Vec<String> {
    let entries = |dir: &std::path::Path| -> Vec<_> {
        std::fs::read_dir(dir).map_or(Vec::new(), |all| all.map(|it| it.unwrap().path()).collect())
    };
    let origins = entries(&store.join("app.log"));
    let mut names: Vec<_> = origins
        .iter()
        .flat_map(|origin| entries(origin))
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .filter(|name| !name.starts_with('.') && !name.contains('#'))
        .collect();
    names.sort();
    names
}

#[test]
fn archive_sends_what_is_there_and_dry_run_only_lists_it() {
    let (dir, store) = (log_of_numbers(Compression::Gzip), tempfile::tempdir().unwrap());
    let url = format!("file://{}", store.path().display());
    let backups = dir.backups();
    let said = dir.ok("archive", ["--to", &url, "--dry-run"]);
    assert_eq!(said.lines().count(), 3);
    assert!(said.starts_with(&format!("would archive\t{}\t", backups[0])), "{said}");
    assert!(objects(store.path()).is_empty());
    // A process that another test is just starting may have a copy of a lease: it is waited for.
    let said = dir.ok("archive", ["--to", &url, "--wait"]);
    assert!(said.starts_with(&format!("archived\t{url}/app.log/")), "{said}");
    assert_eq!(objects(store.path()), backups);
    assert_eq!(dir.ok("archive", ["--to", &url]), "");
    let seen = dir.json("archive", ["--to", &url, "--rotate", "--wait"]);
    assert_eq!((seen["archived"].as_array().unwrap().len(), &seen["left"]), (1, &0.into()));
    assert!(seen["archived"][0]["object"].as_str().unwrap().ends_with("Z.gz"), "{seen}");
    assert_eq!(objects(store.path()).len(), 4);
    assert_eq!(dir.json("stat", [])["strays"], serde_json::json!([]));
}

#[test]
fn backups_that_are_archived_elsewhere_are_reported() {
    let (dir, store) = (log_of_numbers(Compression::Gzip), tempfile::tempdir().unwrap());
    let other = tempfile::tempdir().unwrap();
    let [url, to] = [&store, &other].map(|dir| format!("file://{}", dir.path().display()));
    dir.ok("archive", ["--to", &url, "--wait"]);
    let archived = objects(store.path());
    let reported = |args: &[&str], code| {
        let mut command = dir.command("archive", []);
        let output = command.args(args).env("LOGROTOR_ARCHIVE", &to).output().unwrap();
        let said = text(&output.stderr);
        let words =
            format!("not sent: 3 backups that are archived elsewhere, such as `{url}/app.log/");
        assert!(said.contains(&words) && said.contains(&archived[0]), "{args:?} {said}");
        assert_eq!(output.status.code(), Some(code), "{args:?} {said}");
        text(&output.stdout)
    };
    assert_eq!(reported(&["--to", &to], 1), "");
    assert_eq!(reported(&["--to", &to, "--dry-run"], 1), "");
    assert_eq!(reported(&["--to", &to, "--wait"], 1), "");
    assert_eq!(reported(&[], 0), "", "no URL was asked for");
    // The active segment goes there.
    let said = reported(&["--to", &to, "--rotate", "--wait", "--json"], 1);
    let seen: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((seen["archived"].as_array().unwrap().len(), &seen["left"]), (1, &0.into()));
    assert_eq!(seen["elsewhere"].as_array().unwrap().len(), 3, "{seen}");
    assert_eq!((objects(store.path()), objects(other.path()).len()), (archived.clone(), 1));
}

#[test]
fn stat_shows_the_backlog_and_the_last_failure() {
    let (dir, store) = (log_of_numbers(Compression::None), tempfile::tempdir().unwrap());
    let missing = format!("file://{}/none", store.path().display());
    let output = dir.run("archive", ["--to", &missing]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("failed to open the archive"), "{output:?}");
    dir.ok("archive", ["--to", &format!("file://{}", store.path().display()), "--wait"]);
    let mut writer = dir.command("write", ["--archive", &missing]);
    let mut writer = writer.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    dir.json("rotate", []);
    eventually("the failure is in the ledger", || {
        !dir.json("stat", [])["archive"]["failure"].is_null()
    });
    let archive = &dir.json("stat", [])["archive"];
    assert_eq!((&archive["archived"], &archive["backlog"]), (&3.into(), &1.into()));
    assert!(dir.ok("stat", []).contains("\nbacklog\t1\n"));
    drop(writer.stdin.take());
    assert!(writer.wait().unwrap().success());
}

#[test]
fn write_archives_its_segments() {
    let (dir, store) = (Dir::new(), tempfile::tempdir().unwrap());
    let url = format!("file://{}", store.path().display());
    let options = ["--archive", &url, "--max-size", "100", "--keep", "0", "--max-rate", "10MiB"];
    let mut writer = dir.command("write", options).stdin(Stdio::piped()).spawn().unwrap();
    for _ in 0..3 {
        let line = [b"x".repeat(80), b"\n".to_vec()].concat();
        std::io::Write::write_all(writer.stdin.as_mut().unwrap(), &line).unwrap();
    }
    eventually("two segments are archived, and gone", || {
        objects(store.path()).len() == 2 && dir.backups().is_empty()
    });
    drop(writer.stdin.take());
    assert!(writer.wait().unwrap().success());
}

#[test]
fn archive_without_a_store_says_what_is_missing() {
    let dir = log_of_numbers(Compression::None);
    let output = dir.run("archive", []);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("use --to URL, such as s3://bucket/prefix"),
        "{output:?}"
    );
    let output = dir.run("archive", ["--to", "ftp://x"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}
