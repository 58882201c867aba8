//! Manual pages and shell completions, also into a closed pipe.

use crate::support::{logrotor, text};

fn page(verbs: &[&str]) -> String {
    let output = logrotor(["man"]).args(verbs).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    text(&output.stdout)
}

/// The pages that a page names in its list of commands.
fn listed(page: &str) -> Vec<String> {
    let names = page.lines().filter_map(|line| line.strip_suffix("(1)"));
    names.map(|name| name.replace('\\', "")).collect()
}

#[test]
fn every_manual_page_that_a_page_names_exists() {
    let mut pages = vec![vec![]];
    let mut names = Vec::new();
    while let Some(verbs) = pages.pop() {
        let page = page(&verbs.iter().map(String::as_str).collect::<Vec<_>>());
        let name = [&["logrotor".to_owned()], &verbs[..]].concat().join("-");
        assert!(page.contains(&format!(".TH {name} 1")), "{page}");
        assert!(page.contains(&format!("\\fB{}\\fR", name.replace('-', " "))), "{page}");
        for listed in listed(&page) {
            let verb = listed.strip_prefix(&format!("{name}-")).unwrap().to_owned();
            pages.push([&verbs[..], &[verb]].concat());
        }
        names.push(name);
    }
    for name in
        ["logrotor-prune", "logrotor-policy", "logrotor-policy-set", "logrotor-policy-verify"]
    {
        assert!(names.contains(&name.to_owned()), "{names:?}");
    }
    assert!(page(&["policy", "set"]).contains("SETTING=VALUE"));
}

#[test]
fn manual_page_of_an_unknown_verb_is_an_error() {
    for (verbs, right) in [
        (&["rotato"][..], "`logrotor` has no command `rotato`; use one of "),
        (&["policy", "sat"], "`logrotor policy` has no command `sat`; use one of show, set, "),
        (&["ls", "sat"], "`logrotor ls` has no command `sat`; it has none"),
    ] {
        let output = logrotor(["man"]).args(verbs).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let said = text(&output.stderr);
        assert!(said.starts_with(&format!("logrotor: {right}")), "{said}");
    }
}

#[test]
fn completions_exist_for_each_shell() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = logrotor(["completions", shell]).output().unwrap();
        assert!(output.status.success() && text(&output.stdout).contains("completions"), "{shell}");
    }
}

#[cfg(unix)]
#[test]
fn closed_pipe_ends_man_by_the_signal() {
    use std::os::fd::OwnedFd;
    use std::os::unix::{net::UnixStream, process::ExitStatusExt};
    let (ours, theirs) = UnixStream::pair().unwrap();
    drop(ours);
    let output = logrotor(["man"]).stdout(OwnedFd::from(theirs)).output().unwrap();
    assert_eq!(output.status.signal(), Some(13), "{output:?}");
    assert!(output.stderr.is_empty());
}

#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_written_fails_every_verb() {
    use std::fs::File;
    let dir = crate::support::log_of_numbers(logrotor::Compression::None);
    let run = |line: &str, stdout: File| {
        let mut command = logrotor([]);
        command.args(line.split(' ')).current_dir(dir.file("")).stdout(stdout).output().unwrap()
    };
    for change in ["max_backups=3 --create", "max_backups=2"] {
        let null = File::options().write(true).open("/dev/null").unwrap();
        assert!(run(&format!("policy set app.log {change}"), null).status.success());
    }
    let lines = [
        "--help",
        "--version",
        "help policy set",
        "write --help",
        "policy --help",
        "man policy set",
        "completions bash",
        "cat app.log",
        "cat app.log --json",
        "tail app.log",
        "tail -F app.log",
        "ls app.log",
        "ls app.log --json",
        "stat app.log",
        "stat app.log --json",
        "verify app.log",
        "verify app.log --json",
        "policy show app.log",
        "policy show app.log --json",
        "policy history app.log",
        "policy history app.log --json",
        "policy diff app.log 1",
        "policy diff app.log 1 --json",
        "policy verify app.log",
        "policy verify app.log --json",
        "policy rollback app.log 1",
        "policy set app.log max_backups=9",
        "prune app.log --keep 2 --dry-run",
        "prune app.log --keep 2 --json",
        "rotate app.log",
        "rotate app.log --json",
        "compress app.log",
    ];
    for line in lines {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = run(line, full);
        assert_eq!(output.status.code(), Some(1), "{line}: {output:?}");
        let said = text(&output.stderr);
        assert!(said.contains("logrotor: failed to write to standard output: "), "{line}: {said}");
    }
}
