//! The names in ARCHITECTURE.md exist. README.md is short and has its two commands.

use std::collections::HashSet;

use crate::source::{SourceFile, at_root, files, is_comment, read, rust_files_in, test_names};

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

/// The places of a row: each path with the names that are quoted after it, up to a semicolon.
fn places(row: &str) -> Vec<(&str, Vec<&str>)> {
    let cell = row.trim_matches(['|', ' ']).split(" | ").nth(2).expect("a row has four cells");
    let parts = cell.split(';').filter_map(|part| part.split_once("`: "));
    parts.map(|(path, names)| (path.rsplit('`').next().unwrap(), quoted(names).collect())).collect()
}

#[test]
fn each_promise_names_functions_where_they_are() {
    for row in &rows("ARCHITECTURE.md", "Promises") {
        for (path, names) in places(row).into_iter().filter(|(path, _)| *path != "Cargo.toml") {
            let files = rust_files_in(&format!("src/{path}"));
            let has = |name: &&str| files.iter().any(|file| file.text.contains(*name));
            let missing: Vec<_> = names.into_iter().filter(|name| !has(name)).collect();
            assert!(missing.is_empty(), "{path} does not have {missing:?}: {row}");
        }
    }
}

/// A quoted path: `writer/buffered.rs` is in `src`, and `tests/model` is at the root.
fn is_path(text: &str) -> bool {
    let is_plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-./".contains(&b));
    let starts = ["src/", "tests/", "benches/", "docs/", ".ci/", "examples/", "fuzz/"];
    is_plain
        && (text.ends_with(".rs")
            || text.ends_with('/')
            || starts.iter().any(|s| text.starts_with(s)))
}

#[test]
fn files_that_the_architecture_names_exist() {
    let page = read("ARCHITECTURE.md");
    let paths: Vec<_> = quoted(&page).filter(|text| is_path(text)).collect();
    assert!(paths.len() > 40, "{} paths", paths.len());
    let files = files();
    // A packaged crate lacks some folders.
    let is_whole = at_root(".ci/run").exists();
    for path in paths.into_iter().filter(|_| is_whole) {
        let is_named = |file: &SourceFile| format!("/{}", file.path).contains(&format!("/{path}"));
        let is_known = at_root(path).exists()
            || at_root(&format!("src/{path}")).exists()
            || files.iter().any(is_named);
        assert!(is_known, "there is no file {path}");
    }
}

/// A quoted name of the code: `maintain`, `Lease::attempt`, `SIZE_CHECK`.
fn names(text: &str) -> impl Iterator<Item = &str> {
    let is_name = |text: &&str| {
        let is_plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':');
        is_plain && text.starts_with(|c: char| c.is_ascii_alphabetic())
    };
    let parts = quoted(text).filter(is_name).flat_map(|text| text.split("::"));
    parts.filter(|part| !part.is_empty())
}

#[test]
fn names_that_the_architecture_has_are_in_the_code() {
    let page = read("ARCHITECTURE.md");
    let files = files();
    let lines = files.iter().filter(|f| f.path.ends_with(".rs")).flat_map(|f| f.text.lines());
    let code: String = lines.filter(|line| !is_comment(line)).map(|l| format!("{l}\n")).collect();
    let words: HashSet<_> = code.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    let is_module = |name: &str| {
        let endings = [format!("/{name}.rs"), format!("/{name}/mod.rs")];
        files.iter().any(|file| endings.iter().any(|end| file.path.ends_with(end)))
    };
    let unknown: Vec<_> = names(&page)
        .filter(|name| !words.contains(name) && !OUTSIDE.contains(name) && !is_module(name))
        .collect();
    assert!(unknown.is_empty(), "the code does not have {unknown:?}");
}

/// Names in ARCHITECTURE.md that are not names in the code.
const OUTSIDE: &[&str] = &["unsafe", "O_NOFOLLOW", "RWF_APPEND"];

/// The words of README.md, by white space, are at most this many.
const README_WORDS: usize = 900;

#[test]
fn readme_is_short_and_has_its_two_commands() {
    let page = read("README.md");
    let words = page.split_whitespace().count();
    assert!(words <= README_WORDS, "{words} words");
    for command in ["cargo run --release --example workers", "cargo test --all-features"] {
        assert!(page.lines().any(|line| line == command), "no line is `{command}`");
        let is_run = !at_root(".ci/run").exists() || read(".ci/run").contains(command);
        assert!(is_run, ".ci/run does not run `{command}`");
    }
}

#[test]
fn readme_counts_the_dependencies() {
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    let table = |value: &toml::Value| value.as_table().unwrap().clone();
    let is_linux = |target: &&String| target.contains("unix") || target.starts_with("cfg(any(");
    let targets = table(&manifest["target"]);
    let of_linux = targets.keys().filter(is_linux).map(|target| &targets[target]);
    let tables = of_linux.filter_map(|target| target.get("dependencies"));
    let all: Vec<_> =
        tables.chain([&manifest["dependencies"]]).flat_map(|it| table(it).into_iter()).collect();
    let is_optional = |of: &toml::Value| of.get("optional").is_some_and(|is| is.as_bool().unwrap());
    // The optional one of the default features is for `tracing`.
    assert_eq!(manifest["features"]["default"].to_string(), "[\"tracing\"]");
    let count = 1 + all.iter().filter(|(_, of)| !is_optional(of)).count();
    assert!(read("README.md").contains(&format!("\n{count} direct ones by default.")), "{count}");
}
