//! How often a verb lists the log's directory, as the fault hook counts it.

use crate::support::Dir;
use logrotor::{Naming, RotatingFileWriter};
use std::io::Write;

/// A log with one line per segment.
fn log_of(dir: &Dir, naming: Naming, backups: usize) {
    let builder = RotatingFileWriter::builder(dir.log()).naming(naming).max_size(10);
    let mut log = builder.build().unwrap();
    (0..=backups).for_each(|n| writeln!(log, "line {n:04}").unwrap());
}

/// Runs a verb. Returns how many listings and how many file operations it made.
fn cost(dir: &Dir, verb: &[&str]) -> [usize; 2] {
    let trace = dir.file("trace");
    let mut command = dir.command(verb[0], []);
    command.args(&verb[1..]).env("LOGROTOR_FAULT_COUNT", &trace);
    let output = command.output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{verb:?}: {output:?}");
    let text = std::fs::read_to_string(&trace).unwrap();
    std::fs::remove_file(&trace).unwrap();
    let listings = text.lines().filter(|line| line.ends_with(" list")).count();
    [listings, text.lines().count()]
}

/// The last ones change the log.
const VERBS: [&[&str]; 12] = [
    &["cat"],
    &["cat", "--reverse"],
    &["tail", "-n", "1"],
    &["tail", "-n", "1000"],
    &["tail", "--lines=1000"],
    &["ls"],
    &["stat"],
    &["verify"],
    &["compress", "--dry-run"],
    &["prune", "--keep", "1", "--dry-run"],
    &["rotate"],
    &["prune", "--keep", "1"],
];

#[test]
fn verbs_list_the_directory_equally_often_for_more_backups() {
    for naming in [Naming::Timestamp, Naming::Number] {
        let (few, many) = (Dir::new(), Dir::new());
        log_of(&few, naming, 4);
        log_of(&many, naming, 40);
        for verb in VERBS {
            let [few, many] = [&few, &many].map(|dir| cost(dir, verb));
            assert_eq!(few[0], many[0], "{naming:?} {verb:?}");
            assert!(many[1] <= few[1] * 11, "{naming:?} {verb:?}: {few:?} {many:?}");
        }
    }
}

#[test]
fn verbs_look_at_no_more_backups_than_they_need() {
    const MORE: usize = 150;
    // The most listings, and the most looks at each backup of many.
    let cases: [(&[&str], usize, usize); 4] = [
        (&["tail", "-n", "1"], 14, 0),
        (&["compress", "--dry-run"], 2, 1),
        (&["prune", "--keep", "1", "--dry-run"], 2, 1),
        // One pass when the log is opened, and one after the rotation.
        (&["rotate"], 4, 2),
    ];
    let (few, many) = (Dir::new(), Dir::new());
    for (dir, backups) in [(&few, MORE), (&many, 2 * MORE)] {
        for n in 0..backups {
            let name = format!("app.log.2020-01-01T00-00-00.{n:06}Z");
            std::fs::write(dir.file(&name), "line\n").unwrap();
        }
        std::fs::write(dir.log(), "last\n").unwrap();
    }
    for (verb, listings, looks) in cases {
        let [few, many] = [&few, &many].map(|dir| cost(dir, verb));
        assert!(many[0] <= listings, "{verb:?}: {many:?}");
        assert!(many[1] <= few[1] + looks * MORE, "{verb:?}: {few:?} {many:?}");
    }
}
