//! The text of a policy file: a header that a human can read, above a body that is plain TOML.
//!
//! ```text
//! #: logrotor policy, format 1
//! #: version 42
//! #: written 2026-11-20T23:57:01.123456Z by pid 4121 on db1 as root
//! #: made by update
//! #: comment smaller segments for the audit
//! #: checksum 1a2b3c4d (changed by hand? write "edited" in place of it)
//!
//! max_size = "64 MiB"
//! ```
//!
//! A policy that machines share has one line more, `#: change` and a random number, which tells its
//! author whether a change was made whose answer was lost.
//!
//! The header is the run of lines at the top that begin with `#:`. Its checksum covers every byte
//! of the file but its own eight digits, so the file is *sealed*. The changed bytes do not show
//! whether an unsealed file is an edit or damage: `7` and `6` differ by one bit. So an edit must
//! declare itself:
//!
//! | the file | is taken for |
//! |---|---|
//! | whole header, checksum right | sealed |
//! | header in which the word after `checksum` is `edited` | an edit of the version that the header names |
//! | no line that begins with `#:`, and at least one setting | an edit that replaces whatever there was |
//! | anything else | damage |
//!
//! Neither form of edit can come from a sealed file by one flipped bit: `edited` has six letters
//! where the digits are eight, and a bit is part of at most two lines of at least five.
//!
//! Formatting and parsing are exact inverses: [`parse`] accepts as sealed only what [`seal`]
//! writes.

use super::author::{Author, Origin};
use crate::clock::Timestamp;
use chrono::{DateTime, NaiveDateTime};
use std::fmt;
use std::time::SystemTime;

/// Every line of the header begins with it.
const MARK: &str = "#:";
const FIRST: &str = "#: logrotor policy, format ";
const FORMAT: &str = "1";
const VERSION: &str = "#: version ";
const WRITTEN: &str = "#: written ";
const MADE_BY: &str = "#: made by ";
const COMMENT: &str = "#: comment ";
const CHANGE: &str = "#: change ";
const CHECKSUM: &str = "#: checksum ";
const REMARK: &str = " (changed by hand? write \"edited\" in place of it)";
const EDITED: &str = "edited";
/// Digits of the checksum.
const DIGITS: usize = 8;
const TIME: &str = "%Y-%m-%dT%H:%M:%S%.6fZ";

/// The number of a version, its author, its time, its origin and its comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// 1 or more.
    pub(crate) version: u64,
    pub(crate) written: Timestamp,
    pub(crate) author: Author,
    pub(crate) origin: Origin,
    /// As [`comment`] returns it.
    pub(crate) comment: Option<String>,
    /// A random number of the change, for a policy that machines share. No two documents of such a
    /// policy are equal.
    pub(crate) change: Option<String>,
}

/// A policy file, classified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Document<'a> {
    Sealed { metadata: Metadata, body: &'a str },
    Edited { base: Base, body: &'a str },
    Damaged(Defect),
}

/// The version that an edit started from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Base {
    Version(u64),
    /// The header does not name it in a readable way.
    Unreadable,
    /// The file has no header: it replaces the current version.
    Any,
}

/// The evidence that a file is damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Defect {
    Empty,
    NotText {
        byte: usize,
    },
    /// A header that is cut off or has a line that is none of its own.
    Header {
        line: usize,
    },
    Format(String),
    Checksum {
        said: String,
        is: String,
    },
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "it holds no setting"),
            Self::NotText { byte } => write!(f, "byte {byte} is not UTF-8 text"),
            Self::Header { line } => write!(f, "its header is not whole, see line {line}"),
            Self::Format(format) => write!(f, "its format is {format}, and only 1 is known"),
            Self::Checksum { said, is } => write!(
                f,
                "its checksum should be {is} and is {said} (an edit by hand has to say so, by the word \
                 `{EDITED}` in place of the checksum)"
            ),
        }
    }
}

/// The text of a file with this header and body.
pub(crate) fn seal(metadata: &Metadata, body: &str) -> String {
    let before = metadata.lines() + CHECKSUM;
    let after = format!("{REMARK}\n\n{}", without_marks(body));
    let checksum = checksum(&before, &after);
    before + &checksum + &after
}

/// A body without lines that would count as header lines if the empty line before them were lost.
pub(crate) fn without_marks(mut body: &str) -> &str {
    loop {
        let line = body.split_inclusive('\n').next().unwrap_or_default();
        if !line.starts_with(MARK) && !line.trim_matches(['\r', '\n']).is_empty() || line.is_empty()
        {
            return body;
        }
        body = &body[line.len()..];
    }
}

/// Classifies a file.
pub(crate) fn parse(bytes: &[u8]) -> Document<'_> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => return Document::Damaged(Defect::NotText { byte: error.valid_up_to() }),
    };
    // Some editors put a byte order mark there, which is no part of the first line.
    let (text, has_mark) = match text.strip_prefix('\u{feff}') {
        Some(text) => (text, true),
        None => (text, false),
    };
    if !text.lines().any(|line| line.starts_with(MARK)) {
        return match text.lines().any(is_content) {
            true => Document::Edited { base: Base::Any, body: text },
            false => Document::Damaged(Defect::Empty),
        };
    }
    let (head, body) = text.split_at(head_len(text));
    if head.lines().any(says_edited) {
        return Document::Edited { base: base(head), body: body.trim_start_matches(['\r', '\n']) };
    }
    match parse_sealed(text, head) {
        Ok(_) if has_mark => Document::Damaged(Defect::Header { line: 1 }),
        Ok((metadata, body)) => Document::Sealed { metadata, body },
        Err(damage) => Document::Damaged(damage),
    }
}

/// A comment on one line, as the header holds it; `None` if it is empty.
pub(crate) fn comment(text: &str) -> Option<String> {
    let words: Vec<_> = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|w| !w.is_empty())
        .collect();
    (!words.is_empty()).then(|| words.join(" "))
}

fn is_content(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with('#')
}

/// The number of bytes in the lines at the top that begin with the mark.
fn head_len(text: &str) -> usize {
    text.split_inclusive('\n').take_while(|line| line.starts_with(MARK)).map(str::len).sum()
}

fn says_edited(line: &str) -> bool {
    let word = line.strip_prefix(CHECKSUM).and_then(|rest| rest.split_whitespace().next());
    word.is_some_and(|word| word.trim_matches('"') == EDITED)
}

fn base(head: &str) -> Base {
    let version =
        head.lines().find_map(|line| parse_number(line.strip_prefix(VERSION)?.trim_end()));
    version.map_or(Base::Unreadable, Base::Version)
}

fn parse_sealed<'a>(text: &'a str, head: &str) -> Result<(Metadata, &'a str), Defect> {
    let broken = |head: &str| Defect::Header { line: head.lines().count().max(1) };
    let start = head.rfind(CHECKSUM).ok_or_else(|| broken(head))? + CHECKSUM.len();
    let said = head.get(start..start + DIGITS).ok_or_else(|| broken(head))?;
    let (before, after) = (&text[..start], &text[start + DIGITS..]);
    let is = checksum(before, after);
    if said != is {
        return Err(Defect::Checksum { said: said.to_owned(), is });
    }
    // The following fails only for files that another program, or a later version of this crate,
    // has sealed.
    if let Some(format) = before.lines().next().and_then(|line| line.strip_prefix(FIRST)) {
        if format != FORMAT {
            return Err(Defect::Format(format.to_owned()));
        }
    }
    let rest = after.strip_prefix(REMARK).and_then(|rest| rest.strip_prefix("\n\n"));
    match (Metadata::parse(before), rest) {
        (Some(metadata), Some(body)) if without_marks(body) == body => Ok((metadata, body)),
        _ => Err(broken(head)),
    }
}

fn checksum(before: &str, after: &str) -> String {
    let sum = crc32c::crc32c_append(crc32c::crc32c(before.as_bytes()), after.as_bytes());
    format!("{sum:08x}")
}

impl Metadata {
    /// Returns the number of the version: 1 or more. Every change adds 1.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Returns the time of writing, by the clock of the author's machine.
    #[must_use]
    pub fn written(&self) -> SystemTime {
        self.written.into()
    }

    /// Returns the author.
    #[must_use]
    pub fn author(&self) -> &Author {
        &self.author
    }

    /// Returns the way in which the version was made.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Returns the comment of the author, on one line.
    #[must_use]
    pub fn comment(&self) -> Option<&str> {
        self.comment.as_deref()
    }

    /// The lines before that of the checksum.
    fn lines(&self) -> String {
        let mut lines = format!(
            "{FIRST}{FORMAT}\n{VERSION}{}\n{WRITTEN}{} by {}\n{MADE_BY}{}\n",
            self.version,
            format_time(self.written),
            self.author,
            self.origin
        );
        if let Some(comment) = &self.comment {
            lines += &format!("{COMMENT}{comment}\n");
        }
        if let Some(change) = &self.change {
            lines += &format!("{CHANGE}{change}\n");
        }
        lines
    }

    /// The inverse of [`lines`](Self::lines), with the beginning of the checksum's line after them.
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines().skip(1);
        let version = parse_number(lines.next()?.strip_prefix(VERSION)?)?;
        let (written, author) = lines.next()?.strip_prefix(WRITTEN)?.split_once(" by ")?;
        let origin = Origin::parse(lines.next()?.strip_prefix(MADE_BY)?)?;
        let mut rest = lines.peekable();
        let mut optional = |mark| {
            let line = rest.peek()?.strip_prefix(mark)?.to_owned();
            rest.next();
            Some(line)
        };
        let (comment, change) = (optional(COMMENT), optional(CHANGE));
        let (written, author) = (parse_time(written)?, Author::parse(author)?);
        let metadata = Self { version, written, author, origin, comment, change };
        (metadata.lines() + CHECKSUM == text).then_some(metadata)
    }
}

/// A number of 1 or more, as it is written: no sign, no zeros in front.
pub(crate) fn parse_number(text: &str) -> Option<u64> {
    let canonical = !text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit());
    canonical.then(|| text.parse().ok()).flatten()
}

fn format_time(time: Timestamp) -> String {
    DateTime::from_timestamp_micros(time.micros()).unwrap_or_default().format(TIME).to_string()
}

fn parse_time(text: &str) -> Option<Timestamp> {
    let time = NaiveDateTime::parse_from_str(text, TIME).ok()?;
    Some(Timestamp::from_micros(time.and_utc().timestamp_micros()))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_metadata() -> impl Strategy<Value = Metadata> {
        let origin = prop_oneof![
            Just(Origin::Creation),
            Just(Origin::Update),
            Just(Origin::Edit),
            Just(Origin::Import),
            (1_u64..).prop_map(Origin::Rollback),
        ];
        let author = (any::<u32>(), "\\PC{0,20}", "\\PC{0,20}")
            .prop_map(|(pid, host, user)| Author::new(pid, &host, &user));
        let written = (0..=Timestamp::MAX.micros()).prop_map(Timestamp::from_micros);
        let comment = "(?s).{0,60}".prop_map(|text| comment(&text));
        let change = prop::option::of("[0-9a-f]{32}");
        (1_u64.., written, author, origin, comment, change).prop_map(
            |(version, written, author, origin, comment, change)| Metadata {
                version,
                written,
                author,
                origin,
                comment,
                change,
            },
        )
    }

    fn example() -> Metadata {
        Metadata {
            version: 42,
            written: Timestamp::from_micros(1_795_046_221_123_456),
            author: Author::new(4121, "db1", "root"),
            origin: Origin::Update,
            comment: comment("smaller segments\nfor the audit"),
            change: None,
        }
    }

    const BODY: &str = "max_size = \"64 MiB\"\n# kept\nmax_backups = 7\n";

    #[test]
    fn file_reads_as_documented() {
        let text = seal(&example(), BODY);
        let (head, body) = text.split_once("\n\n").unwrap();
        let lines: Vec<_> = head.lines().collect();
        assert_eq!(lines[0], "#: logrotor policy, format 1");
        assert_eq!(lines[1], "#: version 42");
        assert_eq!(lines[2], "#: written 2026-11-18T23:57:01.123456Z by pid 4121 on db1 as root");
        assert_eq!(lines[3], "#: made by update");
        assert_eq!(lines[4], "#: comment smaller segments for the audit");
        assert!(lines[5].starts_with("#: checksum "));
        assert_eq!(body, BODY);
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_is_damage() {
        let shared = Metadata { change: Some("0123456789abcdef".to_owned()), ..example() };
        for metadata in [example(), Metadata { comment: None, ..example() }, shared] {
            let tricky =
                format!("#: checksum edited\n\n#: checksum edited\n{BODY}#: checksum edited\n");
            for body in [BODY, "", &tricky] {
                let whole = seal(&metadata, body).into_bytes();
                assert!(matches!(parse(&whole), Document::Sealed { .. }));
                for at in 0..whole.len() {
                    assert!(matches!(parse(&whole[..at]), Document::Damaged(_)), "cut at {at}");
                    for bit in 0..8 {
                        let mut flipped = whole.clone();
                        flipped[at] ^= 1 << bit;
                        let is = parse(&flipped);
                        assert!(matches!(is, Document::Damaged(_)), "byte {at}, bit {bit}: {is:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn edits_say_that_they_are() {
        let sealed = seal(&example(), BODY);
        let start = sealed.find(CHECKSUM).unwrap() + CHECKSUM.len();
        let digits = &sealed[start..start + DIGITS];
        let body = BODY.replace('7', "6");
        let edited = Document::Edited { base: Base::Version(42), body: &body };
        for word in ["edited", "\"edited\"", "edited\n#: note"] {
            let text = sealed.replace(digits, word).replace(BODY, &body);
            assert_eq!(parse(text.as_bytes()), edited, "{word}");
        }
        // Nothing but the word is needed of that line, and a Windows editor may have ended it.
        let short = sealed.replace(digits, "edited").replace(REMARK, "\r").replace(BODY, &body);
        assert_eq!(parse(short.as_bytes()), edited);
        assert_eq!(parse(body.as_bytes()), Document::Edited { base: Base::Any, body: &body });
        let lost = format!("#: version -3\n#: checksum edited\n\n{body}");
        assert_eq!(
            parse(lost.as_bytes()),
            Document::Edited { base: Base::Unreadable, body: &body }
        );
    }

    #[test]
    fn changes_that_do_not_say_so_are_damage() {
        let sealed = seal(&example(), BODY);
        let changed = sealed.replace('7', "6");
        assert!(matches!(parse(changed.as_bytes()), Document::Damaged(Defect::Checksum { .. })));
        let without: String =
            sealed.lines().filter(|l| !l.starts_with(CHECKSUM)).map(|l| format!("{l}\n")).collect();
        assert_eq!(parse(without.as_bytes()), Document::Damaged(Defect::Header { line: 5 }));
        for empty in ["", "\n \n", "# a note\n", "\u{feff}"] {
            assert_eq!(parse(empty.as_bytes()), Document::Damaged(Defect::Empty));
        }
        assert_eq!(parse(b"a = 1\n\xff"), Document::Damaged(Defect::NotText { byte: 6 }));
    }

    #[test]
    fn later_format_is_recognized() {
        let before = format!("{FIRST}2\n#: anything\n{CHECKSUM}");
        let text = format!("{before}{}\n", checksum(&before, "\n"));
        assert_eq!(parse(text.as_bytes()), Document::Damaged(Defect::Format("2".to_owned())));
    }

    proptest! {
        #[test]
        fn parsing_undoes_sealing(metadata in any_metadata(), body in "([a-z]{1,5} = [0-9]{1,3}\n){0,5}") {
            let text = seal(&metadata, &body);
            prop_assert_eq!(parse(text.as_bytes()), Document::Sealed { metadata, body: &body });

        }

        #[test]
        fn sealing_undoes_parsing(metadata in any_metadata(), body in "\\PC{0,30}", at in any::<usize>(), to in any::<u8>()) {
            // Bytes that pass as sealed, even after a change, are those that would be written.
            let mut bytes = seal(&metadata, &body).into_bytes();
            let at = at % bytes.len();
            bytes[at] = to;
            if let Document::Sealed { metadata, body } = parse(&bytes) {
                prop_assert_eq!(seal(&metadata, body).into_bytes(), bytes.clone());
            }
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn no_text_panics(lines in prop::collection::vec("(#: (version|checksum|comment|written|made by) )?\\PC{0,20}\n", 0..8)) {
            let _ = parse(lines.concat().as_bytes());
        }

        #[test]
        fn comments_are_one_line(text in "(?s).{0,80}") {
            if let Some(once) = comment(&text) {
                prop_assert_eq!(once.lines().count(), 1);
                prop_assert_eq!(comment(&once), Some(once.clone()));
            }
        }
    }
}
