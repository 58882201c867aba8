//! `policy`, `write --policy` and `stat` with a policy that machines share.

use crate::policy_server::PolicyServer;
use crate::support::{Dir, logrotor, text};
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::process::{Command, Output, Stdio};

const URL: &str = "s3://bucket/fleet/app.policy";

fn command(server: &PolicyServer, dir: &Dir, words: &[&str]) -> Command {
    let mut command = logrotor([]);
    command.args(words).current_dir(dir.file(".")).stdin(Stdio::null());
    command.env("AWS_ENDPOINT", &server.endpoint).env("AWS_ALLOW_HTTP", "true");
    command.env("AWS_ACCESS_KEY_ID", "key").env("AWS_SECRET_ACCESS_KEY", "secret");
    command.env("AWS_REGION", "us-east-1");
    command
}

fn run(server: &PolicyServer, dir: &Dir, words: &[&str]) -> Output {
    command(server, dir, words).output().unwrap()
}

#[track_caller]
fn ok(server: &PolicyServer, dir: &Dir, words: &[&str]) -> String {
    let output = run(server, dir, words);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    text(&output.stdout)
}

#[test]
fn verbs_of_policy_take_the_url_of_one_that_machines_share() {
    let (server, dir) = (PolicyServer::start(), Dir::new());
    let output = run(&server, &dir, &["policy", "show", URL]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("does not exist; create it with"), "{output:?}");

    let policy = |verb, words: &[&str]| {
        let words: Vec<_> = ["policy", verb, URL].iter().chain(words).copied().collect();
        ok(&server, &dir, &words)
    };
    let set = policy("set", &["max_backups=7", "--create", "--comment", "a small disk"]);
    assert_eq!(set, "version 2\nmax_backups: (not set) -> 7\n");
    assert!(policy("show", &[]).contains("\n#: comment a small disk\n"));
    assert_eq!(policy("diff", &["1"]), "max_backups\t-\t7\n");
    assert_eq!(policy("rollback", &["1"]), "version 3\nmax_backups: 7 -> (not set)\n");
    assert_eq!(policy("history", &[]).lines().count(), 3);
    assert_eq!(policy("verify", &[]), "version 3: sound\n");
    let mut edit = command(&server, &dir, &["policy", "edit", URL]);
    let edit = edit.env("VISUAL", "sed -i s/64/32/").output().unwrap();
    assert_eq!(text(&edit.stdout), "version 4\nmax_size: \"64 MiB\" -> \"32 MiB\"\n", "{edit:?}");
    assert!(!dir.file("s3:").exists(), "nothing of it is on this machine");
}

#[test]
fn writer_starts_without_network_and_stat_shows_the_age() {
    let (server, dir) = (PolicyServer::start(), Dir::new());
    ok(&server, &dir, &["policy", "set", URL, "max_backups=7", "--create"]);
    for line in ["one\n", "two\n"] {
        let mut writer = command(&server, &dir, &["write", "app.log", "--policy", URL]);
        let mut writer = writer.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        writer.stdin.take().unwrap().write_all(line.as_bytes()).unwrap();
        assert!(writer.wait_with_output().unwrap().status.success());
        // The second one finds no network.
        server.cut_off(true);
    }
    assert_eq!(fs::read_to_string(dir.log()).unwrap(), "one\ntwo\n");
    let found: Value =
        serde_json::from_str(&ok(&server, &dir, &["stat", "app.log", "--json"])).unwrap();
    let policy = &found["policy"];
    assert_eq!((&policy["url"], &policy["version"]), (&json!(URL), &json!(2)));
    assert_eq!((&policy["settings"]["max_backups"], &found["strays"]), (&json!(7), &json!([])));
    let shown = ok(&server, &dir, &["stat", "app.log", "--color", "always"]);
    assert!(shown.contains("version 2, ") && shown.contains(" old"), "{shown}");

    let words = ["policy", "set", URL, "max_backups=8", "--timeout", "1ms"];
    let output = run(&server, &dir, &words);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("failed to read policy `s3://bucket/"), "{output:?}");
}

#[test]
fn missing_answer_is_not_taken_for_damage() {
    let (server, dir) = (PolicyServer::start(), Dir::new());
    ok(&server, &dir, &["policy", "set", URL, "max_backups=7", "--create"]);
    // It is opened with one request.
    server.answer_only(1);
    let output = run(&server, &dir, &["policy", "verify", URL, "--timeout", "1ms"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty() && text(&output.stderr).contains("failed to "), "{output:?}");
}

#[test]
fn verbs_of_policy_ask_again_while_answers_are_lost() {
    let (server, dir) = (PolicyServer::start(), Dir::new());
    ok(&server, &dir, &["policy", "set", URL, "max_backups=7", "--create"]);
    for words in [
        &["policy", "show", URL][..],
        &["policy", "history", URL],
        &["policy", "diff", URL, "1"],
        &["policy", "verify", URL],
        &["policy", "rollback", URL, "1"],
        &["policy", "set", URL, "max_backups=8"],
    ] {
        // More than a client repeats by itself.
        server.lose(5);
        ok(&server, &dir, words);
    }
}

#[test]
fn variable_names_the_policy_of_a_writer() {
    let (server, dir) = (PolicyServer::start(), Dir::new());
    ok(&server, &dir, &["policy", "set", URL, "max_size=10", "--create"]);
    let write = |words: &[&str]| {
        let words = [&["write", "app.log"], words].concat();
        let mut writer = command(&server, &dir, &words);
        writer.env("LOGROTOR_POLICY", URL).stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut writer = writer.spawn().unwrap();
        // A writer that is refused does not read.
        let _ = writer.stdin.take().unwrap().write_all(b"a line\nanother\n");
        writer.wait_with_output().unwrap()
    };
    let output = write(&["--max-size", "1MiB"]);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(said.contains("LOGROTOR_POLICY names a policy, so --max-size has no effect"), "{said}");
    assert!(!dir.log().exists());
    assert!(write(&[]).status.success());
    assert_eq!(fs::read_to_string(dir.log()).unwrap(), "another\n", "it has rotated");
}
