//! `--help` of the command and of each verb, compared with the files in `tests/cli/help`.
//!
//! `LOGROTOR_BLESS=1` rewrites these files. Check the difference before you commit it.

use crate::support::{logrotor, text};
use std::path::Path;

pub(crate) fn compare(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/help").join(name);
    if std::env::var_os("LOGROTOR_BLESS").is_some() {
        std::fs::write(&path, found).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(found, expected, "{}", path.display());
}

fn help(args: &[&str]) -> String {
    let output = logrotor([]).args(args).arg("--help").output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    text(&output.stdout)
}

/// The verbs that the help of the command lists.
fn verbs(help: &str) -> Vec<String> {
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let first_word = |line: &str| line.split_whitespace().next().map(str::to_owned);
    listed.take_while(|line| !line.is_empty()).filter_map(first_word).collect()
}

// On other systems, and without the archive, the command has fewer verbs.
#[cfg(all(unix, feature = "archive"))]
#[test]
fn help_equals_its_snapshots() {
    let whole = help(&[]);
    compare("logrotor.txt", &whole);
    let verbs = verbs(&whole);
    assert!(verbs.contains(&"help".to_owned()), "{whole}");
    for verb in verbs.iter().filter(|verb| *verb != "help") {
        compare(&format!("{verb}.txt"), &help(&[verb]));
    }
    for verb in ["show", "set", "edit", "history", "diff", "rollback", "verify"] {
        compare(&format!("policy-{verb}.txt"), &help(&["policy", verb]));
    }
}

#[test]
fn help_has_100_columns_and_no_color_off_a_terminal() {
    let whole = help(&[]);
    assert!(!whole.contains('\x1b'));
    assert!(whole.lines().all(|line| line.chars().count() <= 100), "{whole}");
}

#[test]
fn unknown_option_exits_with_2_and_shows_the_usage() {
    let output = logrotor(["man", "--verbos"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    assert!(text(&output.stderr).contains("Usage: logrotor man"), "{output:?}");
}
