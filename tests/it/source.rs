//! Reads the repository's own files, for the tests about code and prose.

use std::path::{Path, PathBuf};

/// A text file of the repository. The path is relative to its root and has forward slashes.
pub struct SourceFile {
    pub path: String,
    pub text: String,
}

/// The path of a file in the repository.
pub fn at_root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

pub fn read(path: &str) -> String {
    std::fs::read_to_string(at_root(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// All Rust files, pages, help snapshots and scripts, sorted by path. A packaged crate lacks some.
pub fn files() -> Vec<SourceFile> {
    let mut found = Vec::new();
    collect("", &mut found);
    found.sort_by(|a: &SourceFile, b| a.path.cmp(&b.path));
    found
}

pub fn rust_files_in(dir: &str) -> Vec<SourceFile> {
    let is_wanted = |file: &SourceFile| file.path.starts_with(dir) && file.path.ends_with(".rs");
    files().into_iter().filter(is_wanted).collect()
}

fn collect(dir: &str, found: &mut Vec<SourceFile>) {
    for entry in std::fs::read_dir(at_root(dir)).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let path = if dir.is_empty() { name.clone() } else { format!("{dir}/{name}") };
        let kind = entry.file_type().unwrap();
        if kind.is_dir() && is_ours(&name) {
            collect(&path, found);
        } else if kind.is_file() && is_text(&path) {
            let text = read(&path);
            found.push(SourceFile { path, text });
        }
    }
}

/// Build directories and the inputs that fuzzing finds are not part of the repository.
fn is_ours(dir: &str) -> bool {
    dir == ".ci" || !(dir.starts_with('.') || ["target", "corpus", "artifacts"].contains(&dir))
}

fn is_text(path: &str) -> bool {
    let is_help = path.starts_with("tests/cli/") && path.ends_with(".txt");
    [".rs", ".md", ".sh", ".toml"].iter().any(|end| path.ends_with(end))
        || path.starts_with(".ci/")
        || is_help
}

/// The part of a Rust file before its unit tests.
pub fn without_tests(text: &str) -> &str {
    let is_end = |line: &str| line.starts_with("mod tests") || line.starts_with("mod model_tests");
    let mut len = 0;
    for line in text.split_inclusive('\n') {
        if is_end(line) && line.trim_end().ends_with('{') {
            break;
        }
        len += line.len();
    }
    &text[..len]
}

/// Whether a line of a Rust file is nothing but a comment.
pub fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

/// The names of the tests in a Rust file, with their line numbers.
pub fn test_names(text: &str) -> Vec<(usize, &str)> {
    let mut is_test = false;
    let mut names = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line == "#[test]" {
            is_test = true;
        } else if let Some(rest) = line.strip_prefix("fn ") {
            if std::mem::take(&mut is_test) {
                names.push((index + 1, rest.split(['(', '<']).next().unwrap()));
            }
        }
    }
    names
}
