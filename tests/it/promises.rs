//! The tests that ARCHITECTURE.md names exist. README.md is short and has its two commands.

use crate::source::{read, test_names};

/// The rows of the table below a heading, without its head.
fn rows(page: &str, heading: &str) -> Vec<String> {
    let page = read(page);
    let (_, section) = page.split_once(&format!("\n## {heading}\n")).expect("the heading is there");
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| "));
    rows.skip(1).map(str::to_owned).collect()
}

/// The texts in backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The quoted texts of a row that have the form `module::name`.
fn tests(row: &str) -> Vec<(&str, &str)> {
    let pairs = quoted(row).filter_map(|text| text.split_once("::"));
    pairs.filter(|(module, _)| is_lower(module)).collect()
}

fn is_lower(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

/// Whether `tests/it` has a test of that name in that module.
fn exists((module, name): (&str, &str)) -> bool {
    let source = read(&format!("tests/it/{module}.rs"));
    test_names(&source).iter().any(|(_, known)| *known == name)
}

#[test]
fn each_promise_names_tests_that_exist() {
    let rows = rows("ARCHITECTURE.md", "Promises");
    assert!(rows.len() >= 25, "{} rows", rows.len());
    for row in &rows {
        let tests = tests(row);
        assert!(!tests.is_empty(), "no test is named: {row}");
        for test in tests {
            assert!(exists(test), "there is no test {}::{}", test.0, test.1);
        }
    }
}

/// The words of README.md, by white space, are at most this many.
const README_WORDS: usize = 900;

#[test]
fn readme_is_short_and_has_its_two_commands() {
    let page = read("README.md");
    let words = page.split_whitespace().count();
    assert!(words <= README_WORDS, "{words} words");
    for command in ["cargo run --release --example workers", "cargo test --all-features"] {
        assert!(page.lines().any(|line| line == command), "no line is `{command}`");
    }
}
