//! Manual pages and shell completions, and how the command behaves when nobody reads them.

use crate::support::{logrotor, text};

#[test]
fn manual_page_of_a_verb_names_it() {
    let output = logrotor(["man", "completions"]).output().unwrap();
    assert!(output.status.success());
    assert!(text(&output.stdout).contains(".TH logrotor-completions 1"), "{output:?}");
}

#[test]
fn manual_page_of_no_verb_is_refused_with_those_there_are() {
    let output = logrotor(["man", "rotato"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(said.starts_with("logrotor: there is no command `rotato`; use one of "), "{said}");
}

#[test]
fn completions_are_there_for_each_shell() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = logrotor(["completions", shell]).output().unwrap();
        assert!(output.status.success() && text(&output.stdout).contains("completions"), "{shell}");
    }
}

#[cfg(unix)]
#[test]
fn closed_pipe_ends_it_by_the_signal_and_without_a_word() {
    use std::os::fd::OwnedFd;
    use std::os::unix::{net::UnixStream, process::ExitStatusExt};
    let (ours, theirs) = UnixStream::pair().unwrap();
    drop(ours);
    let output = logrotor(["man"]).stdout(OwnedFd::from(theirs)).output().unwrap();
    assert_eq!(output.status.signal(), Some(13), "{output:?}");
    assert!(output.stderr.is_empty());
}
