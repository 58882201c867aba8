//! The crate's one error type, and the words of its messages.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::sys::{EntryKind, LockMode};
use crate::units::shown_path;

/// The result of every fallible function of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The kind of a failure, as a state of the world that a program can act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A setting has an invalid value, alone or with another. Nothing was changed.
    InvalidConfig,
    /// The path names something other than a regular file: a directory, a device, a pipe.
    NotAFile,
    /// Another holder kept the lock past the deadline.
    LockTimeout,
    /// The same handle holds the lock already. Waiting for it would never end.
    AlreadyLocked,
    /// The lock file was removed or replaced while the lock was held, so other processes may have
    /// held the lock at the same time.
    LockLost,
    /// The file system has no file locks, so several processes cannot be kept apart.
    LockUnsupported,
    /// The policy is at another version than the one that a change or an edit was made for.
    PolicyConflict,
    /// A policy file is damaged: changed, cut short, replaced by an older version, or missing. The
    /// last good version stays in force.
    PolicyCorrupt,
    /// A policy's settings are unreadable or invalid. The last good version stays in force.
    PolicyInvalid,
    /// The system that holds a policy for several machines cannot be reached, or does not answer as
    /// it should. The last good version stays in force.
    PolicyUnreachable,
    /// The system that holds a policy for several machines rejects the credentials. The last good
    /// version stays in force.
    PolicyDenied,
    /// The system that holds a policy ignores conditions: it replaces a value that it was asked to
    /// replace only if it had not changed. Nothing is written to it.
    PolicyUnconditional,
    /// A change of a policy was sent, and no answer tells whether it was made. It may still be.
    PolicyUnsettled,
    /// Other workers rotated the log again and again while a call was in progress. A retry may
    /// succeed.
    Contended,
    /// The log was removed and cannot be created again, so a record has no file to go to.
    LogRemoved,
    /// Buffered records could not be written before the log was closed, and are lost.
    RecordsLost,
    /// A compressed segment cannot be read: its feature is missing in this build, or it needs a
    /// dictionary, or more memory than a reader may use.
    CompressionUnsupported,
    /// The archive's store cannot be reached, or does not answer as it should. The archive tries
    /// again for as long as it takes.
    ArchiveUnreachable,
    /// The archive's store refuses the credentials, or the clock of this machine. The archive reads
    /// the credentials again and tries again.
    ArchiveDenied,
    /// The object of a segment has other content. It is never overwritten.
    ArchiveConflict,
    /// The archive's store ignores conditions: it replaces an object that it was asked to create
    /// only if there is none.
    ArchiveUnconditional,
    /// A segment is too large for the archive.
    ArchiveUnsupported,
    /// The archive's ledger beside the log is damaged, or of another version. Nothing is removed,
    /// and nothing is sent.
    ArchiveLedger,
    /// An operation of the file system failed. [`Error::io_error`] has the cause.
    Io,
}

impl ErrorKind {
    /// Every kind, in the order in which [`Stats`](crate::Stats) counts them.
    pub(crate) const ALL: [Self; 24] = [
        Self::InvalidConfig,
        Self::NotAFile,
        Self::LockTimeout,
        Self::AlreadyLocked,
        Self::LockLost,
        Self::LockUnsupported,
        Self::PolicyConflict,
        Self::PolicyCorrupt,
        Self::PolicyInvalid,
        Self::PolicyUnreachable,
        Self::PolicyDenied,
        Self::PolicyUnconditional,
        Self::PolicyUnsettled,
        Self::Contended,
        Self::LogRemoved,
        Self::RecordsLost,
        Self::CompressionUnsupported,
        Self::ArchiveUnreachable,
        Self::ArchiveDenied,
        Self::ArchiveConflict,
        Self::ArchiveUnconditional,
        Self::ArchiveUnsupported,
        Self::ArchiveLedger,
        Self::Io,
    ];

    fn io_kind(self) -> io::ErrorKind {
        match self {
            Self::InvalidConfig | Self::NotAFile => io::ErrorKind::InvalidInput,
            Self::LockTimeout => io::ErrorKind::TimedOut,
            Self::AlreadyLocked => io::ErrorKind::WouldBlock,
            Self::LockUnsupported
            | Self::CompressionUnsupported
            | Self::ArchiveUnconditional
            | Self::PolicyUnconditional
            | Self::ArchiveUnsupported => io::ErrorKind::Unsupported,
            Self::LogRemoved => io::ErrorKind::NotFound,
            Self::PolicyCorrupt | Self::PolicyInvalid | Self::ArchiveLedger => {
                io::ErrorKind::InvalidData
            }
            Self::ArchiveDenied | Self::PolicyDenied => io::ErrorKind::PermissionDenied,
            Self::ArchiveConflict => io::ErrorKind::AlreadyExists,
            Self::PolicyConflict
            | Self::PolicyUnreachable
            | Self::PolicyUnsettled
            | Self::LockLost
            | Self::Contended
            | Self::RecordsLost
            | Self::ArchiveUnreachable
            | Self::Io => io::ErrorKind::Other,
        }
    }
}

/// A failure of this crate: its [kind](Error::kind), the [path](Error::path) concerned, and the
/// [error of the operating system](Error::io_error) behind it.
///
/// The message reads ``failed to <verb> <what> `<path>`: <cause>``, or ``invalid `<setting>` =
/// <value>: <reason>``. It includes the cause, and [`source`](std::error::Error::source) returns
/// only the cause of that. An [`Error`] converts into an [`io::Error`] that keeps the
/// [`io::ErrorKind`] of the operating system and carries this error inside. Clones are cheap and
/// share one cause.
///
/// # Examples
/// ```
/// use logrotor::{ErrorKind, RotatingFileWriter};
///
/// let dir = std::env::temp_dir();
/// let error = RotatingFileWriter::builder(&dir).build().unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::NotAFile);
/// assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::InvalidInput);
/// ```
#[derive(Clone)]
pub struct Error(Arc<Failure>);

struct Failure {
    kind: ErrorKind,
    /// Verb and object, as in "rename" or "take exclusive lock".
    action: Cow<'static, str>,
    path: Option<PathBuf>,
    /// Shared by errors that report the same failure for different steps.
    cause: Arc<Cause>,
}

enum Cause {
    Io(io::Error),
    Text(String),
    /// A setting that was rejected.
    #[cfg_attr(
        not(feature = "serde"),
        allow(dead_code, reason = "for files that say on which line")
    )]
    Setting {
        name: String,
        value: String,
        why: String,
    },
}

impl Error {
    /// Returns the kind of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns the file or directory concerned, if there is one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.0.path.as_deref()
    }

    /// Returns the cause, if it came from the operating system. Every [`ErrorKind::Io`] has one.
    #[must_use]
    pub fn io_error(&self) -> Option<&io::Error> {
        match &*self.0.cause {
            Cause::Io(source) => Some(source),
            Cause::Text(_) | Cause::Setting { .. } => None,
        }
    }

    /// An operation on `path` that the operating system refused.
    pub(crate) fn io(
        action: impl Into<Cow<'static, str>>,
        path: impl Into<PathBuf>,
        source: io::Error,
    ) -> Self {
        Self::with(ErrorKind::Io, action, Some(path.into()), Cause::Io(source))
    }

    /// An operation on `path` that this crate refused, with the reason.
    pub(crate) fn refused(
        kind: ErrorKind,
        action: impl Into<Cow<'static, str>>,
        path: impl Into<PathBuf>,
        why: impl Into<String>,
    ) -> Self {
        debug_assert!(kind != ErrorKind::Io, "every `Io` has an `io_error`");
        Self::with(kind, action, Some(path.into()), Cause::Text(why.into()))
    }

    /// An invalid setting: its name, its value, and what is valid.
    pub(crate) fn config(setting: &str, value: impl fmt::Display, why: impl Into<String>) -> Self {
        let (name, value, why) = (setting.to_owned(), value.to_string(), why.into());
        let action = format!("invalid `{name}` = {value}");
        Self::with(ErrorKind::InvalidConfig, action, None, Cause::Setting { name, value, why })
    }

    /// A text that is not a valid `what`, and what is valid.
    pub(crate) fn unreadable(what: &str, text: &str, why: impl Into<String>) -> Self {
        let (name, value, why) = (what.to_owned(), text.to_owned(), why.into());
        let action = format!("invalid {what} `{value}`");
        Self::with(ErrorKind::InvalidConfig, action, None, Cause::Setting { name, value, why })
    }

    /// A word that is none of the known ones.
    pub(crate) fn unknown_word(what: &str, word: &str, known: &[&str]) -> Self {
        let why = match known {
            [first @ .., last] => format!("use {} or {last}", first.join(", ")),
            [] => String::new(),
        };
        Self::unreadable(what, word, why)
    }

    /// A lock that is held elsewhere. `waited` is `None` if the call did not wait.
    pub(crate) fn lock_timeout(
        mode: LockMode,
        path: &Path,
        waited: Option<Duration>,
        owner: Option<OwnerHint>,
    ) -> Self {
        let why = waited.map_or_else(
            || "it is held elsewhere".to_owned(),
            |waited| format!("timed out after {}", Seconds(waited)),
        );
        let owner = owner.map_or_else(String::new, |owner| format!(" (last owner: {owner})"));
        Self::refused(ErrorKind::LockTimeout, lock_action(mode), path, why + &owner)
    }

    /// A lock that this very value holds.
    pub(crate) fn already_locked(mode: LockMode, path: &Path) -> Self {
        let why = "the same `FileLock` value holds it, or waits for it in another thread";
        Self::refused(ErrorKind::AlreadyLocked, lock_action(mode), path, why)
    }

    /// A lock whose file is no longer at its path.
    pub(crate) fn lock_lost(path: &Path) -> Self {
        let why = "its file was removed or replaced meanwhile, so others may have held it too";
        Self::refused(ErrorKind::LockLost, "keep lock", path, why)
    }

    /// A file system that cannot lock.
    pub(crate) fn lock_unsupported(mode: LockMode, path: &Path, source: io::Error) -> Self {
        let path = Some(path.to_owned());
        Self::with(ErrorKind::LockUnsupported, lock_action(mode), path, Cause::Io(source))
    }

    /// A path that names something other than a regular file.
    pub(crate) fn not_a_file(action: &'static str, path: &Path, kind: EntryKind) -> Self {
        let why = match kind {
            EntryKind::Directory => "it is a directory",
            EntryKind::Link => "it is a symbolic link",
            EntryKind::File | EntryKind::Other => "it is not a regular file",
        };
        Self::refused(ErrorKind::NotAFile, action, path, why)
    }

    /// A log in whose directory no file can be created or renamed.
    pub(crate) fn unwritable_directory(path: &Path, dir: &Path) -> Self {
        let why = format!(
            "its directory `{}` is not writable for this process, which must create and rename files there",
            dir.display()
        );
        Self::io("use as a log", path, io::Error::new(io::ErrorKind::PermissionDenied, why))
    }

    /// A file that cannot be created because its directory is missing, or because the file system
    /// there, such as that of `/proc`, has no files but its own.
    pub(crate) fn not_created(
        action: &'static str,
        path: &Path,
        dir: &Path,
        has_dir: bool,
    ) -> Self {
        let why = match has_dir {
            true => format!("no file can be created in `{}`", dir.display()),
            false => format!("there is no directory `{}`", dir.display()),
        };
        Self::io(action, path, io::Error::new(io::ErrorKind::NotFound, why))
    }

    /// The settings of a file by hand are in force, but it cannot be given a version.
    #[cfg(feature = "policy")]
    pub(crate) fn policy_unversioned(path: &Path, cause: &Self) -> Self {
        let cause_text = cause.io_error().map_or_else(|| cause.to_string(), ToString::to_string);
        let why = format!("{cause_text}; its settings are in force without one");
        Self::io("give a version to policy", path, io::Error::new(cause.io_kind(), why))
    }

    /// Symbolic links that lead in a circle.
    pub(crate) fn too_many_links(action: &'static str, path: &Path) -> Self {
        Self::refused(ErrorKind::NotAFile, action, path, "too many levels of symbolic links")
    }

    /// The same failure, as that of a larger step.
    pub(crate) fn during(self, action: &'static str, path: &Path) -> Self {
        Self::with(self.kind(), action, Some(path.to_owned()), Arc::clone(&self.0.cause))
    }

    /// The same failure, with more about its cause.
    #[cfg(feature = "policy")]
    pub(crate) fn with_detail(self, detail: &str) -> Self {
        let (action, path) = (self.0.action.clone(), self.0.path.clone());
        Self::with(self.kind(), action, path, Cause::Text(self.cause_text() + detail))
    }

    /// Returns the setting that was rejected: name, value, and what is valid.
    #[cfg(feature = "serde")]
    pub(crate) fn setting(&self) -> Option<(&str, &str, &str)> {
        match &*self.0.cause {
            Cause::Setting { name, value, why } => Some((name, value, why)),
            Cause::Io(_) | Cause::Text(_) => None,
        }
    }

    fn with(
        kind: ErrorKind,
        action: impl Into<Cow<'static, str>>,
        path: Option<PathBuf>,
        cause: impl Into<Arc<Cause>>,
    ) -> Self {
        Self(Arc::new(Failure { kind, action: action.into(), path, cause: cause.into() }))
    }

    /// The kind of the [`io::Error`] that this error converts into.
    pub(crate) fn io_kind(&self) -> io::ErrorKind {
        match (self.kind(), self.io_error()) {
            (ErrorKind::Io, Some(source)) => source.kind(),
            (kind, _) => kind.io_kind(),
        }
    }

    /// Whether there is no such file. FUSE servers and NFS also say so of an open file (`ESTALE`).
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self.io_kind(), io::ErrorKind::NotFound | io::ErrorKind::StaleNetworkFileHandle)
    }
}

/// A problem in a text of settings.
#[cfg(feature = "serde")]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Diagnostic {
    /// Counted from 1. `None` if the problem is on no line in particular.
    pub(crate) line: Option<usize>,
    pub(crate) setting: Option<String>,
    pub(crate) value: Option<String>,
    pub(crate) why: String,
}

#[cfg(feature = "serde")]
impl Error {
    /// A file with a setting that is rejected.
    pub(crate) fn bad_text(kind: ErrorKind, path: &Path, diagnostic: Diagnostic) -> Self {
        let Diagnostic { line, setting, value, why } = diagnostic;
        let Some(setting) = setting else {
            let line = line.map(|line| format!(" line {line} of")).unwrap_or_default();
            return Self::refused(kind, format!("read{line}"), path, why);
        };
        let place = line.map_or_else(|| "in".to_owned(), |line| format!("on line {line} of"));
        let action = match &value {
            Some(value) => format!("invalid `{setting}` = {value} {place}"),
            None => format!("invalid `{setting}` {place}"),
        };
        let value = value.unwrap_or_default();
        let cause = Cause::Setting { name: setting, value, why };
        Self::with(kind, action, Some(path.to_owned()), cause)
    }
}

#[cfg(feature = "serde")]
impl Error {
    /// The cause alone, without what failed.
    pub(crate) fn cause_text(&self) -> String {
        match &*self.0.cause {
            Cause::Io(source) => source.to_string(),
            Cause::Text(why) | Cause::Setting { why, .. } => why.clone(),
        }
    }
}

/// The verb and object for taking a lock.
pub(crate) fn lock_action(mode: LockMode) -> &'static str {
    match mode {
        LockMode::Shared => "take shared lock",
        LockMode::Exclusive => "take exclusive lock",
    }
}

/// The last owner of a lock, for messages only: pids are reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OwnerHint {
    pub(crate) pid: u32,
    /// Whether it runs, if that is known.
    pub(crate) runs: Option<bool>,
}

impl fmt::Display for OwnerHint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {}", self.pid)?;
        match self.runs {
            _ if self.pid == std::process::id() => write!(f, ", this process"),
            Some(true) => write!(f, ", running"),
            Some(false) => write!(f, ", not running"),
            None => Ok(()),
        }
    }
}

/// A duration with a unit that suits it.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_millis() {
            millis @ 0..1000 => write!(f, "{millis} ms"),
            _ => write!(f, "{:.1} s", self.0.as_secs_f64()),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !matches!(&*self.0.cause, Cause::Setting { .. }) {
            f.write_str("failed to ")?;
        }
        f.write_str(&self.0.action)?;
        if let Some(path) = &self.0.path {
            write!(f, " `{}`", shown_path(path))?;
        }
        match &*self.0.cause {
            Cause::Io(source) => write!(f, ": {source}"),
            Cause::Text(why) | Cause::Setting { why, .. } => write!(f, ": {why}"),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({:?}, \"{self}\")", self.kind())
    }
}

impl std::error::Error for Error {
    /// The cause of [`io_error`](Error::io_error), if it has one. The message shows `io_error` itself,
    /// as that of an [`io::Error`] shows the error inside.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.io_error().and_then(std::error::Error::source)
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        io::Error::new(error.io_kind(), error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_names_verb_path_and_cause() {
        let error = Error::io("rename", "a.log", io::Error::from(io::ErrorKind::NotFound));
        assert_eq!(error.to_string(), "failed to rename `a.log`: entity not found");
        assert_eq!(error.path(), Some(Path::new("a.log")));
    }

    /// `anyhow` prints a message and then every source, so a cause in both would be there twice.
    #[test]
    fn cause_is_shown_once() {
        let inner = io::Error::new(io::ErrorKind::PermissionDenied, "a reason");
        let error = Error::io("open", "a.log", inner);
        assert_eq!(error.to_string(), "failed to open `a.log`: a reason");
        assert!(std::error::Error::source(&error).is_none());
        assert_eq!(error.io_error().unwrap().kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn io_error_keeps_kind_and_carries_the_original() {
        let error = Error::io("open", "a.log", io::Error::from(io::ErrorKind::PermissionDenied));
        let io = io::Error::from(error);
        assert_eq!(io.kind(), io::ErrorKind::PermissionDenied);
        let inner = io.get_ref().and_then(|e| e.downcast_ref::<Error>()).unwrap();
        assert_eq!(inner.kind(), ErrorKind::Io);
    }

    #[test]
    fn timeout_says_how_long_and_who_as_a_hint() {
        let (path, mode) = (Path::new("app.log.lock"), LockMode::Exclusive);
        let owner = |runs| Some(OwnerHint { pid: u32::MAX, runs });
        let say = |waited, owner| Error::lock_timeout(mode, path, waited, owner).to_string();
        assert_eq!(
            say(Some(Duration::from_secs(2)), owner(Some(false))),
            "failed to take exclusive lock `app.log.lock`: timed out after 2.0 s \
             (last owner: pid 4294967295, not running)"
        );
        assert_eq!(
            say(Some(Duration::from_millis(15)), owner(None)),
            "failed to take exclusive lock `app.log.lock`: timed out after 15 ms \
             (last owner: pid 4294967295)"
        );
        assert_eq!(
            say(None, None),
            "failed to take exclusive lock `app.log.lock`: it is held elsewhere"
        );
    }

    #[test]
    fn lock_errors_have_fitting_io_kinds() {
        let path = Path::new("a.lock");
        let source = io::Error::from_raw_os_error(37);
        let unsupported = Error::lock_unsupported(LockMode::Shared, path, source);
        assert_eq!(io::Error::from(unsupported).kind(), io::ErrorKind::Unsupported);
        let held = Error::already_locked(LockMode::Shared, path);
        assert_eq!(io::Error::from(held).kind(), io::ErrorKind::WouldBlock);
        let timeout = Error::lock_timeout(LockMode::Shared, path, None, None);
        assert_eq!(io::Error::from(timeout).kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn refused_setting_says_value_and_what_would_be_right() {
        let error = Error::config("max_size", 0, "use at least 1 byte");
        assert_eq!(error.to_string(), "invalid `max_size` = 0: use at least 1 byte");
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    }
}
