//! The tables of promises in README.md and ARCHITECTURE.md name tests that there are.

use std::path::Path;

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The rows of the tables below a heading.
fn rows(page: &str, heading: &str) -> Vec<String> {
    let page = read(page);
    let (_, section) = page.split_once(&format!("\n## {heading}\n")).expect("the heading is there");
    let section = section.split("\n## ").next().unwrap();
    let is_row = |line: &&str| line.starts_with("| ") && !line.starts_with("| promise ");
    section
        .lines()
        .filter(is_row)
        .filter(|line| !line.contains("| promise |"))
        .map(str::to_owned)
        .collect()
}

/// What a row has in backquotes that is `module::name`.
fn tests(row: &str) -> Vec<(&str, &str)> {
    let quoted = row.split('`').skip(1).step_by(2);
    quoted.filter_map(|text| text.split_once("::")).filter(|(module, _)| is_lower(module)).collect()
}

fn is_lower(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

/// Whether there is a function of that name with the attribute that makes it a test.
fn exists((module, name): (&str, &str)) -> bool {
    let source = read(&format!("tests/it/{module}.rs"));
    let lines: Vec<_> = source.lines().map(str::trim).collect();
    let at = lines.iter().position(|line| line.starts_with(&format!("fn {name}(")));
    let attributes = |at: usize| lines[..at].iter().rev().take_while(|line| line.starts_with("#["));
    at.is_some_and(|at| attributes(at).any(|line| *line == "#[test]"))
}

fn check(page: &str, heading: &str, at_least: usize) {
    let rows = rows(page, heading);
    assert!(rows.len() >= at_least, "{page}: {} rows", rows.len());
    for row in &rows {
        let tests = tests(row);
        assert!(!tests.is_empty(), "{page} names no test: {row}");
        for test in tests {
            assert!(exists(test), "{page}: there is no test {}::{}", test.0, test.1);
        }
    }
}

#[test]
fn each_promise_of_the_readme_names_tests_that_exist() {
    check("README.md", "Promises", 14);
}

#[test]
fn each_promise_of_the_architecture_names_tests_that_exist() {
    check("ARCHITECTURE.md", "Promise → mechanism → test", 25);
}
