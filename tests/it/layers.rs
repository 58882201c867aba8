//! Modules import only from their own layer and from lower ones, by the table in ARCHITECTURE.md.

use crate::source::{is_comment, read, rust_files_in, without_tests};

/// The modules of each layer, the highest first.
fn layers() -> Vec<Vec<String>> {
    let page = read("ARCHITECTURE.md");
    let (_, section) = page.split_once("\n## Layers\n").expect("the heading is there");
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| modules_of(row.split('|').nth(1).unwrap())).collect()
}

fn modules_of(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The number of the layer that has the module; 0 is the highest.
fn layer_of(module: &str, layers: &[Vec<String>]) -> usize {
    let found = layers.iter().position(|layer| layer.iter().any(|name| name == module));
    found.unwrap_or_else(|| panic!("ARCHITECTURE.md has no layer for module `{module}`"))
}

/// The top-level module that a file of `src` belongs to; none for lib.rs and the command.
fn module_of(path: &str) -> Option<&str> {
    let path = path.strip_prefix("src/").unwrap();
    let name = path.split('/').next().unwrap().trim_end_matches(".rs");
    (name != "lib" && name != "bin").then_some(name)
}

/// The modules whose items lib.rs exports at the root: `("FileLock", "lock")`.
fn exports() -> Vec<(String, String)> {
    let code = code_of(&read("src/lib.rs"));
    let mut found = Vec::new();
    for statement in code.split(';').filter_map(|part| part.split_once("pub use ")) {
        let (module, _) = statement.1.split_once("::").expect("an export names its module");
        let names = statement.1.split(|c: char| !c.is_alphanumeric() && c != '_');
        let is_type = |name: &&str| name.starts_with(char::is_uppercase);
        found.extend(names.filter(is_type).map(|name| (name.to_owned(), module.to_owned())));
    }
    found
}

/// A file without its comments and its tests.
fn code_of(text: &str) -> String {
    let lines = without_tests(text).lines().filter(|line| !is_comment(line));
    lines.map(|line| format!("{line}\n")).collect()
}

/// The names that follow `crate::`, each of a module or of an item that the root exports.
fn references(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => found.extend(names_of_group(group)),
            None => found.push(name(rest)),
        }
    }
    found.retain(|name| !name.is_empty());
    found
}

fn name(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The first name of each member of `{a::X, b::{Y, Z}}`, whose first brace is gone.
fn names_of_group(group: &str) -> Vec<String> {
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '}' if depth == 0 => {
                found.push(name(group[start..at].trim_start()));
                break;
            }
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                found.push(name(group[start..at].trim_start()));
                start = at + 1;
            }
            _ => {}
        }
    }
    found
}

#[test]
fn modules_import_only_from_their_own_and_lower_layers() {
    let (layers, exports) = (layers(), exports());
    let mut broken = Vec::new();
    for file in rust_files_in("src/") {
        let Some(module) = module_of(&file.path) else { continue };
        for name in references(&code_of(&file.text)) {
            let export = exports.iter().find(|(export, _)| *export == name);
            let target = export.map_or(name.as_str(), |(_, module)| module);
            let is_upward = layer_of(target, &layers) < layer_of(module, &layers);
            if target != "error" && is_upward {
                broken.push(format!("{}: `{module}` imports from `{target}`", file.path));
            }
        }
    }
    broken.dedup();
    assert!(broken.is_empty(), "imports from a higher layer:\n{}", broken.join("\n"));
}

#[test]
fn table_of_layers_names_each_module_once() {
    let mut named: Vec<_> = layers().into_iter().flatten().collect();
    named.sort();
    let files = rust_files_in("src/");
    let mut modules: Vec<_> = files.iter().filter_map(|file| module_of(&file.path)).collect();
    modules.sort_unstable();
    modules.dedup();
    assert_eq!(named, modules, "left: ARCHITECTURE.md, right: src");
}

#[test]
fn references_of_code_are_found_in_every_form() {
    let code =
        "use crate::fs; use crate::{lock::Wait, error::{Error, Result}, sys}; crate::clock::now()";
    assert_eq!(references(code), ["fs", "lock", "error", "sys", "clock"]);
}
