//! Damage in a log: its kind, its place and its cause.

use crate::error::{Error, ErrorKind};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The kind of damage at one place of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DamageKind {
    /// A compressed backup is cut off or altered.
    ///
    /// An altered backup that `logrotor` compressed is reported before its first record, because
    /// its records may be altered too. A backup that another program compressed carries its
    /// checksum at its end, so its records come first. The last record before a cut may be
    /// incomplete. Reading resumes with the next segment.
    ///
    /// Or an uncompressed segment in an archive has another SHA-256 than was archived. None of its
    /// records is returned.
    Corrupt,
    /// A compressed backup has the name of another one, or is older than the backup before it. Its
    /// records are whole, but not in their place.
    Misplaced,
    /// 64 or more NUL bytes in a row, which a power cut leaves, or a program that writes to a
    /// truncated file. They are skipped; reading resumes after them.
    Hole,
    /// A backup is missing: it was removed before it was read, or its number does not exist.
    Missing,
    /// The file became shorter while it was read. Reading restarts at its first byte.
    CutShort,
    /// A segment cannot be opened or read; [`Damage::error`] has the cause. Reading resumes with
    /// the next segment.
    Unreadable,
}

/// A place in a log where records are missing or unreadable. Reading resumes after it.
#[derive(Debug, Clone)]
pub struct Damage {
    pub(super) kind: DamageKind,
    pub(super) segment: PathBuf,
    pub(super) offset: u64,
    pub(super) bytes: Option<u64>,
    pub(super) detail: Detail,
}

/// Details beyond the kind.
#[derive(Debug, Clone)]
pub(super) enum Detail {
    Kind,
    Error(Error),
    Text(String),
}

impl Damage {
    /// Damage of a kind that speaks for itself.
    pub(super) fn new(kind: DamageKind, segment: impl Into<PathBuf>, offset: u64) -> Self {
        Self { kind, segment: segment.into(), offset, bytes: None, detail: Detail::Kind }
    }

    /// Damage with the error that made the segment unreadable.
    pub(super) fn unreadable(segment: impl Into<PathBuf>, offset: u64, error: Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::ArchiveConflict => DamageKind::Corrupt,
            _ => DamageKind::Unreadable,
        };
        Self { detail: Detail::Error(error), ..Self::new(kind, segment, offset) }
    }

    /// Adds details that the message shows in place of the kind.
    pub(super) fn with_text(self, text: impl Into<String>) -> Self {
        Self { detail: Detail::Text(text.into()), ..self }
    }

    /// Returns the kind of damage.
    #[must_use]
    pub fn kind(&self) -> DamageKind {
        self.kind
    }

    /// Returns the path of the segment when it was opened, or the path that a missing one should
    /// have.
    #[must_use]
    pub fn segment(&self) -> &Path {
        &self.segment
    }

    /// Returns the offset in bytes, in the uncompressed segment, at which its records end or become
    /// unreadable.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the number of damaged bytes, if it is known.
    #[must_use]
    pub fn bytes(&self) -> Option<u64> {
        self.bytes
    }

    /// Returns the cause of [`DamageKind::Unreadable`], or of damage to an archived segment.
    #[must_use]
    pub fn error(&self) -> Option<&Error> {
        match &self.detail {
            Detail::Error(error) => Some(error),
            Detail::Kind | Detail::Text(_) => None,
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, offset) = (self.segment.display(), self.offset);
        match (&self.detail, self.kind) {
            (Detail::Error(error), _) => return write!(f, "{error}"),
            (Detail::Text(text), DamageKind::Missing | DamageKind::Misplaced) => {
                return write!(f, "`{path}`: {text}");
            }
            (Detail::Text(text), _) => return write!(f, "`{path}` at byte {offset}: {text}"),
            (Detail::Kind, _) => write!(f, "`{path}` at byte {offset}: ")?,
        }
        match self.kind {
            DamageKind::Corrupt => write!(f, "the compressed content is damaged"),
            DamageKind::Hole => {
                write!(f, "{} NUL bytes in place of records", self.bytes.unwrap_or_default())
            }
            DamageKind::Misplaced => write!(f, "it is not in its place"),
            DamageKind::Missing => write!(f, "it is missing"),
            DamageKind::CutShort => write!(f, "the file was cut short; reading it from its start"),
            DamageKind::Unreadable => write!(f, "it cannot be read"),
        }
    }
}

impl std::error::Error for Damage {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error().map(|error| error as _)
    }
}

impl From<Damage> for io::Error {
    /// Returns an error of kind [`io::ErrorKind::InvalidData`] with the damage inside.
    fn from(damage: Damage) -> Self {
        io::Error::new(io::ErrorKind::InvalidData, damage)
    }
}
