//! Problems in a text of settings, and their places: the errors of parsers in words for its author.

use crate::error::{Diagnostic, Error};
use crate::units::redacted;
use serde::de::DeserializeOwned;
use std::ops::Range;

/// How much of a value is repeated in a message.
const LONGEST_VALUE: usize = 60;

/// Returns a text file's content, without the byte order mark that some editors begin it with.
pub(crate) fn text_of(bytes: &[u8]) -> Result<&str, Diagnostic> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
        let why = match bytes {
            [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => "it is UTF-16 text; save it as UTF-8",
            _ => "it is not UTF-8 text",
        };
        Diagnostic { line: Some(line), why: why.to_owned(), ..Diagnostic::default() }
    })?;
    Ok(text.strip_prefix('\u{FEFF}').unwrap_or(text))
}

/// Reads TOML.
pub(crate) fn read_toml<T: DeserializeOwned>(text: &str) -> Result<T, Diagnostic> {
    toml::from_str(text).map_err(|error| {
        let why = error.message();
        match error.span() {
            Some(span) if !is_about_all(why) => at_line(text, &span, why),
            _ => Diagnostic { why: suggestion(why), ..Diagnostic::default() },
        }
    })
}

/// Reads JSON.
pub(crate) fn read_json<T: DeserializeOwned>(text: &str) -> Result<T, Diagnostic> {
    serde_json::from_str(text).map_err(|error| {
        let (message, line) = (error.to_string(), error.line());
        let why = message.rsplit_once(" at line ").map_or(&*message, |(why, _)| why);
        if line == 0 || is_about_all(why) {
            return Diagnostic { why: suggestion(why), ..Diagnostic::default() };
        }
        let content = text.lines().nth(line - 1).unwrap_or_default();
        diagnose(line, content.split_once(':'), why)
    })
}

/// Returns a validator's error about settings from `text`, with its place if it names a setting.
pub(crate) fn of_validator(
    text: &str,
    error: &(dyn std::error::Error + Send + Sync + 'static),
) -> Diagnostic {
    let Some((name, value, why)) = error.downcast_ref::<Error>().and_then(Error::setting) else {
        return Diagnostic { why: error.to_string(), ..Diagnostic::default() };
    };
    Diagnostic {
        line: line_of_key(text, name),
        setting: Some(name.to_owned()),
        value: Some(value.to_owned()),
        why: why.to_owned(),
    }
}

/// Whether a message is about the whole text rather than a place in it.
fn is_about_all(message: &str) -> bool {
    message.starts_with("missing field")
}

fn at_line(text: &str, span: &Range<usize>, why: &str) -> Diagnostic {
    let start = boundary(text, span.start);
    let line = text[..start].matches('\n').count() + 1;
    let content = text.lines().nth(line - 1).unwrap_or_default();
    diagnose(line, content.split_once('='), why)
}

fn diagnose(line: usize, setting: Option<(&str, &str)>, why: &str) -> Diagnostic {
    let name = |text: &str| text.trim_matches([' ', '\t', '"', '{', ',']).to_owned();
    let value = |text: &str| {
        let text = text.trim_matches([' ', '\t', ',', '}']);
        let text = if text.contains("://") { redacted(text) } else { text.to_owned() };
        text.chars().take(LONGEST_VALUE).collect::<String>()
    };
    Diagnostic {
        line: Some(line),
        setting: setting.map(|(key, _)| name(key)),
        value: setting.map(|(_, text)| value(text)),
        why: suggestion(why),
    }
}

/// A parser's message; for a name that does not exist, with the one that was probably meant.
pub(crate) fn suggestion(message: &str) -> String {
    let Some(rest) = message.strip_prefix("unknown field ") else {
        // serde names the type of Rust that a value does not fit.
        let right = match message.rsplit_once("expected ").map(|(_, expected)| expected.trim()) {
            Some("usize" | "u64" | "u32") => "use a whole number, 0 or more; ",
            Some("a boolean") => "use true or false; ",
            _ => "",
        };
        return right.to_owned() + &message.lines().collect::<Vec<_>>().join("; ");
    };
    let mut names = rest.split('`').skip(1).step_by(2);
    let given = names.next().unwrap_or_default();
    let known: Vec<_> = names.collect();
    let nearest = known.iter().map(|name| (distance(given, name), name)).min();
    match nearest {
        Some((distance, name)) if distance <= 1 + given.len() / 4 => {
            format!("there is no such setting; did you mean `{name}`?")
        }
        Some(_) => format!("there is no such setting; there are {}", known.join(", ")),
        None => "there is no such setting".to_owned(),
    }
}

/// Returns how many letters must be inserted, removed or replaced to turn `b` into `a`.
///
/// Source: Robert A. Wagner and Michael J. Fischer, "The String-to-String Correction Problem",
/// 1974.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<_> = b.chars().collect();
    let mut row: Vec<_> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let exchanged = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = exchanged.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// The line on which a key of this name is set, whatever table it is in.
fn line_of_key(text: &str, name: &str) -> Option<usize> {
    let is_key = |line: &str| {
        let (key, _) = line.split_once(['=', ':'])?;
        Some(key.trim_matches([' ', '\t', '"', '{', ',']).rsplit('.').next()? == name)
    };
    text.lines().position(|line| is_key(line) == Some(true)).map(|at| at + 1)
}

/// The last place up to `at` that is between two characters.
fn boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "read by the parser only")]
    struct Two {
        first: u32,
        second: Option<String>,
    }

    fn diagnostic(line: usize, setting: &str, value: &str, why: &str) -> Diagnostic {
        Diagnostic {
            line: Some(line),
            setting: Some(setting.into()),
            value: Some(value.into()),
            why: why.into(),
        }
    }

    #[test]
    fn unknown_name_is_reported_with_its_line_and_a_suggestion() {
        let meant = "there is no such setting; did you mean `second`?";
        let toml = read_toml::<Two>("first = 1\n\nsecnd = \"x\"\n").unwrap_err();
        assert_eq!(toml, diagnostic(3, "secnd", "\"x\"", meant));
        let json = read_json::<Two>("{\"first\": 1,\n \"secnd\": \"x\"}").unwrap_err();
        assert_eq!(json, diagnostic(2, "secnd", "\"x\"", meant));
        let far = read_toml::<Two>("elsewhere = 1").unwrap_err();
        assert_eq!(far.why, "there is no such setting; there are first, second");
    }

    #[test]
    fn secret_in_a_url_is_not_repeated() {
        let toml = read_toml::<Two>("first = 1\nsecnd = \"s3://K:SECRET@b\"").unwrap_err();
        assert_eq!(toml.value.as_deref(), Some("\"s3://...@b\""));
    }

    #[test]
    fn wrong_value_is_reported_with_its_line() {
        let toml = read_toml::<Two>("# é\nfirst = -1 # why").unwrap_err();
        assert_eq!((toml.line, toml.setting.as_deref()), (Some(2), Some("first")));
        assert!(toml.why.contains("expected u32"), "{}", toml.why);
        let json = read_json::<Two>("{\n\"first\": true }").unwrap_err();
        assert_eq!((json.line, json.setting.as_deref()), (Some(2), Some("first")));
    }

    #[test]
    fn missing_name_is_about_the_whole() {
        let missing = read_toml::<Two>("second = \"x\"").unwrap_err();
        assert_eq!(missing.line, None);
        assert_eq!(missing.why, "missing field `first`");
    }

    #[test]
    fn key_is_found_in_any_table() {
        let text = "a = 1\n[delivery.buffered]\ncapacity = 0\n";
        assert_eq!(line_of_key(text, "capacity"), Some(3));
        assert_eq!(line_of_key("delivery.buffered.capacity = 0", "capacity"), Some(1));
        assert_eq!(line_of_key("{\"a\": 1,\n\"b\": 2}", "b"), Some(2));
        assert_eq!(line_of_key(text, "absent"), None);
    }

    #[test]
    fn distance_counts_edits() {
        assert_eq!(distance("max_size", "max_size"), 0);
        assert_eq!(distance("maxsize", "max_size"), 1);
        assert_eq!(distance("max_sise", "max_size"), 1);
        assert_eq!(distance("", "abc"), 3);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(?s).{0,80}", keys in "([a-z]{1,6} ?[=:] ?\\PC{0,6}\n){0,4}") {
            for text in [text, keys] {
                let _ = (read_toml::<Two>(&text), read_json::<Two>(&text), line_of_key(&text, "first"));
            }
        }
    }
}
