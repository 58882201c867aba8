//! Who made a version, and how: formatting and parsing are exact inverses.

use super::document::parse_number;
use crate::sys;
use std::fmt;

/// The process that wrote a version, as it named itself. A hint for humans: nothing is decided by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    pid: u32,
    host: String,
    user: String,
}

impl Author {
    /// This process.
    pub(crate) fn this() -> Self {
        Self::new(std::process::id(), &sys::host_name(), &sys::user_name())
    }

    pub(crate) fn new(pid: u32, host: &str, user: &str) -> Self {
        Self { pid, host: word(host), user: word(user) }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The name of its machine.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The name of the user that it ran as, or that user's number.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (pid, rest) = text.strip_prefix("pid ")?.split_once(" on ")?;
        let (host, user) = rest.split_once(" as ")?;
        let author = Self::new(pid.parse().ok()?, host, user);
        (author.to_string() == text).then_some(author)
    }
}

/// A name as one word of the characters that anybody can read in a terminal.
fn word(name: &str) -> String {
    let ok = |c: char| c.is_ascii_graphic() || (!c.is_ascii() && c.is_alphanumeric());
    let word: String = name.chars().map(|c| if ok(c) { c } else { '_' }).collect();
    if word.is_empty() { "unknown".to_owned() } else { word }
}

impl fmt::Display for Author {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {} on {} as {}", self.pid, self.host, self.user)
    }
}

/// How a version came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// The file was made with it.
    Creation,
    /// A program changed the version before.
    Update,
    /// Somebody edited the file by hand; the author is the process that noticed first.
    Edit,
    /// A program put a whole text in its place.
    Import,
    /// An older version was put in force again, with a new number.
    Rollback(u64),
}

impl Origin {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let plain = [Self::Creation, Self::Update, Self::Edit, Self::Import];
        let rollback = || text.strip_prefix("rollback to version ").and_then(parse_number);
        plain.into_iter().find(|o| o.to_string() == text).or_else(|| rollback().map(Self::Rollback))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Creation => f.write_str("creation"),
            Self::Update => f.write_str("update"),
            Self::Edit => f.write_str("an edit by hand"),
            Self::Import => f.write_str("import"),
            Self::Rollback(version) => write!(f, "rollback to version {version}"),
        }
    }
}
