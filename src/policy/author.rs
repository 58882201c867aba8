//! The author and the origin of a version. Formatting and parsing are exact inverses.

use super::document::parse_number;
use crate::sys;
use std::fmt;

/// The process that wrote a version, by its own account. A hint for humans: no decision depends on
/// it.
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

    /// Returns its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Returns the name of its machine.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the name of its user, or the number of that user.
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

/// A name as one word of characters that every terminal shows.
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

/// The way in which a version was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// The file was created with it.
    Creation,
    /// A program changed the version before.
    Update,
    /// The file was edited by hand. The author is the process that noticed the edit first.
    Edit,
    /// The file was edited by hand, and this process can change neither it nor its directory, as on
    /// a read-only mount. The version is not in the file; its number counts in this process
    /// alone.
    Unversioned,
    /// A program replaced the whole text.
    Import,
    /// An older version is in force again, under a new number.
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
            Self::Unversioned => f.write_str("an edit by hand without a version"),
            Self::Import => f.write_str("import"),
            Self::Rollback(version) => write!(f, "rollback to version {version}"),
        }
    }
}
