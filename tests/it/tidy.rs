//! The rules for prose, names and sizes hold in the whole repository.

use crate::source::{SourceFile, files, is_comment, rust_files_in, test_names, without_tests};
use std::collections::BTreeMap;

/// The most columns that a line of a page or of a comment has.
const COLUMNS: usize = 100;
/// The most characters that the name of a test has.
const TEST_NAME: usize = 60;
/// The most lines that a file of `src` has before its tests.
const FILE_LINES: usize = 500;
/// The most lines that a function of `src` has.
const FUNCTION_LINES: usize = 50;

/// Words and phrases that prose and names of tests avoid. A trailing `*` stands for any ending.
const PHRASES: &[&str] = &[
    // A verb of the field is clearer: report, detect, distinguish, notify, resume, recreate.
    "told",
    "gone on with",
    "go on with",
    "goes on with",
    "going on with",
    "made anew",
    "make anew",
    "anew",
    "looked after",
    "looks after",
    "is warned of",
    // The agent has a name: a process, the writer, the caller.
    "somebody",
    "nobody",
    "anybody",
    "someone",
    "whoever",
    // Not English word order.
    "for ever",
    "that there is",
    "that there are",
    "that there was",
    "that there were",
    "that which",
    "how-manieth",
    "of one's own",
    "as far as may be",
    "as you like",
    "does with it what",
    "so it is when",
    // One word per thing: compressed, stray, superseded, maintenance, created.
    "pack",
    "packs",
    "packed",
    "packing",
    "unpack*",
    "stranger*",
    "twin",
    "twins",
    "upkeep",
    "keeper",
    "begun",
    // American spelling.
    "behaviour*",
    "colour*",
    "favour*",
    "honour*",
    "neighbour*",
    "licence*",
    "centre",
    "grey",
    "organis*",
    "recognis*",
    "synchronis*",
    "initialis*",
    "normalis*",
];

/// Words that do not begin a sentence, unless it is a question: a noun comes first.
const OPENINGS: &[&str] = &["What", "Who", "Whatever", "Whose"];

/// Whether a file is checked: all are, unless `LOGROTOR_TIDY=src/reader,README.md` names some.
fn is_checked(path: &str) -> bool {
    let chosen = std::env::var("LOGROTOR_TIDY");
    chosen.map_or(true, |paths| paths.split(',').any(|start| path.starts_with(start)))
}

/// A line of prose, without the signs that make it a comment.
struct Prose {
    line: usize,
    text: String,
    is_in_code_block: bool,
}

fn prose_of(file: &SourceFile) -> Vec<Prose> {
    let is_rust = file.path.ends_with(".rs");
    let is_script = is_script(&file.path);
    let mut is_in_code_block = false;
    let mut found = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        let line_is_prose = match () {
            () if is_rust => is_comment(line),
            () if is_script => line.trim_start().starts_with('#') && !line.starts_with("#!"),
            () => true,
        };
        let text = if line_is_prose { without_sign(line, is_rust, is_script) } else { "" };
        if text.trim_start().starts_with("```") {
            is_in_code_block = !is_in_code_block;
        } else {
            found.push(Prose { line: index + 1, text: text.to_owned(), is_in_code_block });
        }
        is_in_code_block &= line_is_prose;
    }
    found
}

fn is_script(path: &str) -> bool {
    path.starts_with(".ci/") || path.ends_with(".sh") || path.ends_with(".toml")
}

fn without_sign(line: &str, is_rust: bool, is_script: bool) -> &str {
    let line = line.trim();
    match () {
        () if is_rust => line.trim_start_matches(['/', '!']),
        () if is_script => line.trim_start_matches('#'),
        () => line,
    }
}

/// A line as a reader sees it: without the targets of its links.
fn without_links(line: &str) -> String {
    let mut shown = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("](") {
        shown.push_str(before);
        shown.push(']');
        rest = after.split_once(')').map_or("", |(_, after)| after);
    }
    shown.push_str(rest);
    let is_address = |word: &&str| word.contains("https://");
    shown.split(' ').filter(|word| !is_address(word)).collect::<Vec<_>>().join(" ")
}

fn is_too_wide(line: &str) -> bool {
    let text = line.trim_start_matches([' ', '/', '!', '#']);
    let is_table = text.starts_with('|') || text.starts_with("<sup>");
    let is_link = text.starts_with('[') && text.contains("]: ");
    !is_table && !is_link && without_links(line).chars().count() > COLUMNS
}

/// Lower case, with one space before, between and after the words.
fn normalized(text: &str) -> String {
    let is_part = |c: char| c.is_alphanumeric() || "'-_".contains(c);
    let words = text.split(|c: char| !is_part(c)).filter(|word| !word.is_empty());
    format!(" {} ", words.collect::<Vec<_>>().join(" ").to_lowercase())
}

/// The phrases that are in a text, if one of them begins before `len` of its bytes.
fn phrases_in(text: &str, len: usize) -> Vec<&'static str> {
    let is_in = |phrase: &&&str| {
        let wanted = match phrase.strip_suffix('*') {
            Some(start) => format!(" {start}"),
            None => format!(" {phrase} "),
        };
        text.find(&wanted).is_some_and(|at| at < len)
    };
    PHRASES.iter().filter(is_in).copied().collect()
}

/// The forbidden phrases of a line, which may end in the next one.
fn phrases_of(prose: &[Prose], index: usize) -> Vec<&'static str> {
    let line = normalized(&prose[index].text);
    let next = prose.get(index + 1).map(|next| normalized(&next.text)).unwrap_or_default();
    phrases_in(&format!("{}{next}", line.trim_end()), line.len() - 1)
}

/// The word that wrongly begins a sentence in a line.
fn opening_of(prose: &[Prose], index: usize) -> Option<&'static str> {
    let line = prose[index].text.trim_start_matches([' ', '-', '*', '>']);
    let is_first = index == 0 || ends_sentence(&prose[index - 1].text);
    let rest: String =
        prose[index..].iter().take(4).map(|line| format!("{} ", line.text)).collect();
    OPENINGS.iter().copied().find(|word| {
        let first = is_first && line.starts_with(&format!("{word} "));
        let inner = line.find(&format!(". {word} "));
        let start = if first { Some(0) } else { inner };
        start.is_some_and(|at| !is_question(&rest, line, at)) && !prose[index].text.starts_with('#')
    })
}

/// Whether a line is the last of a sentence, or is no text.
fn ends_sentence(line: &str) -> bool {
    let line = line.trim_end();
    line.is_empty() || line.ends_with(['.', ':', '|', '?'])
}

/// Whether the sentence that begins at `at` of a line, and ends in `rest`, is a question.
fn is_question(rest: &str, line: &str, at: usize) -> bool {
    let start = rest.find(line).unwrap_or(0) + at + 2;
    let end = rest.get(start..).and_then(|rest| rest.find(['.', '?', ':']).map(|end| start + end));
    end.is_some_and(|end| rest[end..].starts_with('?'))
}

fn assert_none(what: &str, broken: &[String]) {
    assert!(broken.is_empty(), "{} {what}:\n{}", broken.len(), broken.join("\n"));
}

fn checked_files() -> Vec<SourceFile> {
    files().into_iter().filter(|file| is_checked(&file.path)).collect()
}

#[test]
fn lines_of_pages_and_comments_have_at_most_100_columns() {
    let mut broken = Vec::new();
    for SourceFile { path, text } in checked_files() {
        let is_prose = |line: &str| match () {
            () if path.ends_with(".rs") => is_comment(line),
            () if is_script(&path) => line.trim_start().starts_with('#'),
            () => path.ends_with(".md"),
        };
        for (index, line) in text.lines().enumerate() {
            if is_prose(line) && is_too_wide(line) {
                broken.push(format!("{path}:{}: {} columns", index + 1, line.chars().count()));
            }
        }
    }
    assert_none("lines are too wide", &broken);
}

#[test]
fn prose_has_no_phrase_that_the_rules_forbid() {
    let mut broken = Vec::new();
    for file in checked_files() {
        let prose = prose_of(&file);
        for (index, line) in prose.iter().enumerate() {
            for phrase in phrases_of(&prose, index) {
                broken.push(format!("{}:{}: {phrase}", file.path, line.line));
            }
            if let Some(word) = opening_of(&prose, index).filter(|_| !line.is_in_code_block) {
                broken.push(format!("{}:{}: \"{word} ..\" begins it", file.path, line.line));
            }
        }
    }
    assert_none("phrases are in the text", &broken);
}

#[test]
fn test_names_are_short_and_plain() {
    let mut broken = Vec::new();
    for file in checked_files().into_iter().filter(|file| file.path.ends_with(".rs")) {
        for (line, name) in test_names(&file.text) {
            if name.len() > TEST_NAME {
                broken.push(format!("{}:{line}: {} characters: {name}", file.path, name.len()));
            }
            let words = normalized(&name.replace('_', " "));
            for phrase in phrases_in(&words, words.len()) {
                broken.push(format!("{}:{line}: {phrase}: {name}", file.path));
            }
        }
    }
    assert_none("names of tests", &broken);
}

/// The types that a file defines.
fn types_in(text: &str) -> impl Iterator<Item = &str> {
    without_tests(text).lines().filter_map(|line| {
        let is_item = !line.starts_with(' ');
        let line = line.trim_start().trim_start_matches("pub").trim_start();
        let line = line.strip_prefix('(').and_then(|l| l.split_once(") ")).map_or(line, |l| l.1);
        let (word, rest) = line.split_once(' ')?;
        let is_type = ["struct", "enum", "trait"].contains(&word) || (word == "type" && is_item);
        is_type.then(|| rest.split(|c: char| !c.is_alphanumeric()).next().unwrap())
    })
}

/// A type may have several definitions in a file, each for a system or a feature, and in `sys`.
#[test]
fn no_type_name_is_defined_twice() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in rust_files_in("src/") {
        let place = if file.path.starts_with("src/sys/") { "src/sys/" } else { &file.path };
        for name in types_in(&file.text) {
            let places = places.entry(name.to_owned()).or_default();
            if !places.iter().any(|known| known == place) {
                places.push(place.to_owned());
            }
        }
    }
    let is_broken =
        |places: &[String]| places.len() > 1 && places.iter().all(|path| is_checked(path));
    places.retain(|_, places| is_broken(places));
    let broken: Vec<_> =
        places.iter().map(|(name, places)| format!("{name}: {}", places.join(", "))).collect();
    assert_none("names of types are taken twice", &broken);
}

#[test]
fn no_file_of_the_crate_is_long() {
    let mut broken = Vec::new();
    for file in rust_files_in("src/").into_iter().filter(|file| is_checked(&file.path)) {
        let lines = without_tests(&file.text).lines().count();
        if lines > FILE_LINES {
            broken.push(format!("{}: {lines} lines", file.path));
        }
    }
    assert_none("files are long", &broken);
}

/// The functions of a formatted file: name and number of lines.
fn functions_in(text: &str) -> Vec<(&str, usize)> {
    let lines: Vec<_> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let Some((before, rest)) = line.split_once("fn ") else { continue };
        let is_head = before.split_whitespace().all(|word| {
            word.starts_with("pub") || word.ends_with(')') || ["const", "async"].contains(&word)
        });
        let indent = &line[..line.len() - line.trim_start().len()];
        let head = lines[start..].iter().position(|line| line.ends_with(['{', ';', '}']));
        if !is_head || head.is_none_or(|head| !lines[start + head].ends_with('{')) {
            continue;
        }
        let end = format!("{indent}}}");
        let len = lines[start..].iter().position(|line| *line == end).unwrap_or(0) + 1;
        found.push((rest.split(['(', '<']).next().unwrap(), len));
    }
    found
}

#[test]
fn no_function_of_the_crate_is_long() {
    let mut broken = Vec::new();
    for file in rust_files_in("src/").into_iter().filter(|file| is_checked(&file.path)) {
        for (name, lines) in functions_in(without_tests(&file.text)) {
            if lines > FUNCTION_LINES {
                broken.push(format!("{}: {name}: {lines} lines", file.path));
            }
        }
    }
    assert_none("functions are long", &broken);
}

mod checks_themselves {
    use super::*;

    fn page(text: &str) -> Vec<Prose> {
        prose_of(&SourceFile { path: "page.md".to_owned(), text: text.to_owned() })
    }

    #[test]
    fn phrases_are_found_across_lines_and_as_whole_words() {
        let prose = page("kept for\never, and untold\nBehaviours");
        assert_eq!(phrases_of(&prose, 0), ["for ever"]);
        assert!(phrases_of(&prose, 1).is_empty());
        assert_eq!(phrases_of(&prose, 2), ["behaviour*"]);
    }

    #[test]
    fn openings_are_found_unless_they_ask() {
        let prose = page("# What you get\n\nIt is. What is damaged\nis skipped.\nWhat is it?\n");
        let found: Vec<_> = (0..prose.len()).filter_map(|at| opening_of(&prose, at)).collect();
        assert_eq!(found, ["What"]);
    }

    #[test]
    fn links_and_tables_may_be_wide() {
        let long = "x".repeat(90);
        assert!(!is_too_wide(&format!("| {long} | {long} |")));
        assert!(!is_too_wide(&format!("See [it]({long}) and more.")));
        assert!(is_too_wide(&format!("/// {long} and more than that")));
    }

    #[test]
    fn types_and_functions_are_measured() {
        let text = "pub(crate) struct A;\nenum B {}\nimpl A {\n    type Item = u8;\n    fn a(\n    ) {\n        1;\n    }\n}\n";
        assert_eq!(types_in(text).collect::<Vec<_>>(), ["A", "B"]);
        assert_eq!(functions_in(text), [("a", 4)]);
    }
}
