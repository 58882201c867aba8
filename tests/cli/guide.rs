//! The examples of `docs/cli.md`: their commands run, and their output is what the page shows.
//!
//! With `LOGROTOR_BLESS=1` the output in the page is replaced by what the commands print now.
#![cfg(target_os = "linux")]

use crate::support::{Dir, text};
use std::path::Path;
use std::process::{Command, Stdio};

/// Printed after each command, where its output ends.
const END: &str = "-- end of output --";
/// The directory in which the page's user is.
const HOME: &str = "/var/log/demo";

/// A command of the page, and the lines that it prints.
struct Example {
    command: String,
    output: Vec<String>,
}

/// The examples in the blocks of a page that are marked `console`.
fn examples(page: &str) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    for block in page.split("```console\n").skip(1) {
        for line in block.split("```").next().unwrap().lines() {
            match line.strip_prefix("$ ") {
                Some(command) => {
                    let command = command.to_owned();
                    examples.push(Example { command, output: Vec::new() });
                }
                None => examples.last_mut().unwrap().output.push(line.to_owned()),
            }
        }
    }
    examples
}

/// Runs the commands one after another, in one shell on a terminal, and returns their output.
fn run(examples: &[Example]) -> Vec<Vec<String>> {
    let (dir, elsewhere) = (Dir::new(), Dir::new());
    let errors = elsewhere.file("errors");
    let errors = errors.display();
    let mut script = String::from("stty -echo\n(exit 0)\n");
    for Example { command, .. } in examples {
        // On a slow machine, standard error on the terminal would show a progress bar.
        script += &format!("s=$?; {{\n(exit $s)\n{command}\n}} 2> '{errors}'\n");
        script += &format!("s=$?; cat '{errors}'; echo '{END}'; (exit $s)\n");
    }
    std::fs::write(elsewhere.file("script.sh"), script).unwrap();
    let bin = Path::new(env!("CARGO_BIN_EXE_logrotor")).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("script");
    let line = format!("sh '{}'", elsewhere.file("script.sh").display());
    command.args(["-qec", &line, "/dev/null"]).current_dir(dir.file("."));
    command.envs([("PATH", &*path), ("TZ", "UTC"), ("TERM", "xterm"), ("NO_COLOR", "1")]);
    let output = command.stdin(Stdio::null()).output().expect("`script`, of util-linux");
    let home = std::fs::canonicalize(dir.file(".")).unwrap();
    let shown = text(&output.stdout).replace("\r\n", "\n").replace(home.to_str().unwrap(), HOME);
    let end = format!("{END}\n");
    shown.split(&end).map(|output| output.lines().map(str::to_owned).collect()).collect()
}

/// A line without the values that differ from run to run: times, sizes, ratios, pids, hosts, users
/// and the width of columns.
fn normalized(line: &str) -> String {
    let mut words: Vec<_> = line.split(' ').filter(|word| !word.is_empty()).collect();
    for at in 0..words.len() {
        let before = if at > 0 { words[at - 1] } else { "" };
        let is_unit = ["B", "KiB", "MiB", "GiB", "TiB"].contains(&words[at]);
        if is_unit && (before == "RATIO" || is_number(before)) {
            (words[at - 1], words[at]) = ("SIZE", "UNIT");
        } else if ["pid", "on", "as"].contains(&before) {
            words[at] = "NAME";
        } else if words[at].len() == 5 && words[at].as_bytes()[2] == b':' {
            words[at] = "TIME";
        } else if words[at].contains('.') && is_number(words[at]) {
            words[at] = "RATIO";
        }
    }
    without_dates(&words.join(" "))
}

fn is_number(word: &str) -> bool {
    word.parse::<f64>().is_ok()
}

/// Replaces what looks like `2026-11-29` and a time after it.
fn without_dates(line: &str) -> String {
    let is_date = |text: &str| {
        let shape = text.bytes().map(|byte| if byte.is_ascii_digit() { b'0' } else { byte });
        shape.eq(*b"0000-00-00")
    };
    let (mut shown, mut rest) = (String::new(), line);
    while let Some(first) = rest.chars().next() {
        if rest.get(..10).is_some_and(is_date) {
            let is_time = |c: char| c.is_ascii_digit() || "-:.TZ".contains(c);
            let end = rest.find(|c| !is_time(c)).unwrap_or(rest.len());
            // The dot before an ending such as `gz` is not of the time.
            let time = rest[..end].trim_end_matches('.');
            shown += "DATE";
            rest = &rest[time.len()..];
        } else {
            shown.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    shown
}

fn normal_lines(lines: &[String]) -> Vec<String> {
    lines.iter().map(|line| normalized(line)).collect()
}

/// The page with other output of its commands.
fn with_outputs(page: &str, outputs: &[Vec<String>]) -> String {
    let mut outputs = outputs.iter();
    let (mut new, mut is_example) = (Vec::new(), false);
    for line in page.lines() {
        if line == "```console" || line == "```" {
            is_example = line == "```console";
            new.push(line.to_owned());
        } else if !is_example {
            new.push(line.to_owned());
        } else if line.starts_with("$ ") {
            new.push(line.to_owned());
            new.extend(outputs.next().unwrap().iter().cloned());
        }
    }
    new.join("\n") + "\n"
}

#[test]
fn examples_of_the_guide_print_what_it_shows() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cli.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let examples = examples(&page);
    assert!(examples.len() > 20);
    let outputs = run(&examples);
    if std::env::var_os("LOGROTOR_BLESS").is_some() {
        std::fs::write(path, with_outputs(&page, &outputs)).unwrap();
        return;
    }
    for (example, output) in examples.iter().zip(&outputs) {
        let (expected, found) = (normal_lines(&example.output), normal_lines(output));
        assert_eq!(found, expected, "$ {}\n{}", example.command, output.join("\n"));
    }
}

#[test]
fn values_that_differ_from_run_to_run_are_normalized() {
    let line = "app.log.2026-11-29T23-54-23.317181Z.gz  gzip  1.8 KiB  11.0  2026-11-29 23:54";
    assert_eq!(normalized(line), "app.log.DATE.gz gzip SIZE UNIT RATIO DATE TIME");
    assert_eq!(normalized("pid 7 on vm as root  update"), "pid NAME on NAME as NAME update");
    assert_eq!(normalized("version 3"), "version 3");
}
