//! The crate's one error type, and the only place that words messages.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::sys::{EntryKind, LockMode};

/// What this crate's fallible functions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, as a state of the world that a program can act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A setting, alone or with another, has a value that cannot work. Nothing was touched.
    InvalidConfig,
    /// The path names something other than a regular file: a directory, a device, a pipe.
    NotAFile,
    /// Another holder kept the lock past the deadline.
    LockTimeout,
    /// This very handle holds the lock already; waiting for it would never end.
    AlreadyLocked,
    /// Someone removed or replaced the lock file while the lock was held, so others may have held
    /// it at the same time.
    LockLost,
    /// The file system offers no file locks, so several processes cannot be kept apart.
    LockUnsupported,
    /// A policy is not at the version that a change was made for, or an edit was made from.
    PolicyConflict,
    /// A policy file is not what was written: changed, cut short, replaced by an older one, or gone. The
    /// last good version stays in force.
    PolicyCorrupt,
    /// A policy's settings cannot be read, or cannot work. The last good version stays in force.
    PolicyInvalid,
    /// Other workers rotated the log again and again while a call was under way. A retry may succeed.
    Contended,
    /// The log was removed, and it cannot be created again. Records that only its last name would keep
    /// are rejected.
    LogRemoved,
    /// Records in the buffer could not be written before the log was closed, and are lost.
    RecordsLost,
    /// A compressed segment cannot be read by this build: its feature is missing, or it needs a
    /// dictionary or more memory than a reader uses.
    CompressionUnsupported,
    /// An operation of the file system failed. [`Error::io_error`] has the cause.
    Io,
}

impl ErrorKind {
    /// Every kind, in the order in which [`Stats`](crate::Stats) counts them.
    pub(crate) const ALL: [Self; 14] = [
        Self::InvalidConfig,
        Self::NotAFile,
        Self::LockTimeout,
        Self::AlreadyLocked,
        Self::LockLost,
        Self::LockUnsupported,
        Self::PolicyConflict,
        Self::PolicyCorrupt,
        Self::PolicyInvalid,
        Self::Contended,
        Self::LogRemoved,
        Self::RecordsLost,
        Self::CompressionUnsupported,
        Self::Io,
    ];

    fn io_kind(self) -> io::ErrorKind {
        match self {
            Self::InvalidConfig | Self::NotAFile => io::ErrorKind::InvalidInput,
            Self::LockTimeout => io::ErrorKind::TimedOut,
            Self::AlreadyLocked => io::ErrorKind::WouldBlock,
            Self::LockUnsupported | Self::CompressionUnsupported => io::ErrorKind::Unsupported,
            Self::LogRemoved => io::ErrorKind::NotFound,
            Self::PolicyCorrupt | Self::PolicyInvalid => io::ErrorKind::InvalidData,
            Self::PolicyConflict
            | Self::LockLost
            | Self::Contended
            | Self::RecordsLost
            | Self::Io => io::ErrorKind::Other,
        }
    }
}

/// A failure of this crate: its [kind](Error::kind), the [path](Error::path) concerned, and the
/// [error of the operating system](Error::io_error) behind it.
///
/// The message reads ``failed to <verb> <what> `<path>`: <cause>``. It converts into an
/// [`io::Error`] that keeps the operating system's [`io::ErrorKind`] and carries this error inside.
/// Clones are cheap and share one cause.
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
    /// Shared with the same failure told as another step's.
    cause: Arc<Cause>,
}

enum Cause {
    Io(io::Error),
    Text(String),
    /// What is wrong with a setting.
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
    /// What went wrong, to be acted on.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The file or directory concerned, if one is.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.0.path.as_deref()
    }

    /// The operating system's own error, if one is behind this.
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

    /// An operation on `path` that this crate refused, and why.
    pub(crate) fn refused(
        kind: ErrorKind,
        action: impl Into<Cow<'static, str>>,
        path: impl Into<PathBuf>,
        why: impl Into<String>,
    ) -> Self {
        Self::with(kind, action, Some(path.into()), Cause::Text(why.into()))
    }

    /// A setting that cannot work: its name, its value, and what would be right.
    pub(crate) fn config(setting: &str, value: impl fmt::Display, why: impl Into<String>) -> Self {
        let (name, value, why) = (setting.to_owned(), value.to_string(), why.into());
        let action = format!("invalid `{name}` = {value}");
        Self::with(ErrorKind::InvalidConfig, action, None, Cause::Setting { name, value, why })
    }

    /// A text that cannot be read as `what`, and what can be.
    pub(crate) fn unreadable(what: &str, text: &str, why: impl Into<String>) -> Self {
        let (name, value, why) = (what.to_owned(), text.to_owned(), why.into());
        let action = format!("invalid {what} `{value}`");
        Self::with(ErrorKind::InvalidConfig, action, None, Cause::Setting { name, value, why })
    }

    /// A word that is none of those known.
    pub(crate) fn unknown_word(what: &str, word: &str, known: &[&str]) -> Self {
        let why = match known {
            [first @ .., last] => format!("use {} or {last}", first.join(", ")),
            [] => String::new(),
        };
        Self::unreadable(what, word, why)
    }

    /// A lock that somebody else kept; `waited` is `None` if there was to be no wait.
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

    /// A lock whose file is not the one at its path any more.
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

    /// A log in whose directory no file can be made or renamed.
    pub(crate) fn unwritable_directory(path: &Path, dir: &Path) -> Self {
        let why = format!(
            "its directory `{}` is not writable for this process, which must create and rename files there",
            dir.display()
        );
        Self::io("use as a log", path, io::Error::new(io::ErrorKind::PermissionDenied, why))
    }

    /// A file that cannot be made because its directory is missing.
    pub(crate) fn no_directory(action: &'static str, path: &Path, dir: &Path) -> Self {
        let why = format!("there is no directory `{}`", dir.display());
        Self::io(action, path, io::Error::new(io::ErrorKind::NotFound, why))
    }

    /// Links that lead in a circle.
    pub(crate) fn too_many_links(action: &'static str, path: &Path) -> Self {
        Self::refused(ErrorKind::NotAFile, action, path, "too many levels of symbolic links")
    }

    /// The same failure, as that of a larger step.
    pub(crate) fn during(self, action: &'static str, path: &Path) -> Self {
        Self::with(self.kind(), action, Some(path.to_owned()), Arc::clone(&self.0.cause))
    }

    /// The setting that this is about, if it is: name, value, and what would be right.
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

    /// The kind that an [`io::Error`] made of this error has.
    pub(crate) fn io_kind(&self) -> io::ErrorKind {
        match (self.kind(), self.io_error()) {
            (ErrorKind::Io, Some(source)) => source.kind(),
            (kind, _) => kind.io_kind(),
        }
    }

    pub(crate) fn is_not_found(&self) -> bool {
        self.io_kind() == io::ErrorKind::NotFound
    }
}

/// What is wrong with a text that holds settings.
#[cfg(feature = "serde")]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Diagnostic {
    /// Counted from 1; `None` where it is about no line in particular.
    pub(crate) line: Option<usize>,
    pub(crate) setting: Option<String>,
    pub(crate) value: Option<String>,
    pub(crate) why: String,
}

#[cfg(feature = "serde")]
impl Error {
    /// A file with a setting that is refused.
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

#[cfg(feature = "policy")]
impl Error {
    /// A policy file that is not what was written.
    pub(crate) fn policy_corrupt(path: &Path, found: impl fmt::Display) -> Self {
        Self::refused(ErrorKind::PolicyCorrupt, "trust policy", path, found.to_string())
    }

    /// A policy file that names an older version than is known, or the same with other content.
    pub(crate) fn policy_went_back(path: &Path, from: u64, to: u64) -> Self {
        match from == to {
            true => Self::policy_corrupt(
                path,
                format!("its version {to} is not the one that was read before"),
            ),
            false => {
                Self::policy_corrupt(path, format!("it went back from version {from} to {to}"))
            }
        }
    }

    /// A change made for another version than is in force.
    pub(crate) fn policy_conflict(path: &Path, expected: u64, is: u64) -> Self {
        let why = format!("it was made for version {expected}, and the policy is at version {is}");
        Self::refused(ErrorKind::PolicyConflict, "change policy", path, why)
    }

    /// An edit by hand of a version that is not the last one.
    pub(crate) fn policy_edit_conflict(path: &Path, base: u64, is: u64) -> Self {
        let why = format!(
            "it was made from version {base}, and version {is} was in force already; take over what is \
             new in that and name version {is} in the header, or remove the whole header to override it"
        );
        Self::refused(ErrorKind::PolicyConflict, "accept the edit of policy", path, why)
    }

    /// An edit by hand whose header does not say what it was made from.
    pub(crate) fn policy_edit_baseless(path: &Path) -> Self {
        let why = "its header does not say which version it was made from; restore the line `#: version`, \
                   or remove the whole header to override whatever there was";
        Self::refused(ErrorKind::PolicyInvalid, "accept the edit of policy", path, why)
    }

    /// An edit by hand that nobody has given a version yet.
    pub(crate) fn policy_edit_waits(path: &Path) -> Self {
        let why = "it holds an edit by hand that has no version yet";
        Self::refused(ErrorKind::PolicyConflict, "verify policy", path, why)
    }

    /// A value that the policy's text cannot hold, or that its validator refuses.
    pub(crate) fn policy_invalid(path: &Path, why: impl fmt::Display) -> Self {
        Self::refused(ErrorKind::PolicyInvalid, "accept a change of policy", path, why.to_string())
    }

    /// A version that is not kept any more, or never was.
    pub(crate) fn policy_no_version(path: &Path, version: u64) -> Self {
        let why = format!("version {version} is not among those kept beside it");
        let source = io::Error::new(io::ErrorKind::NotFound, why);
        Self::io("look up a version of policy", path, source)
    }

    /// A policy that was never made.
    pub(crate) fn policy_missing(path: &Path) -> Self {
        let why = "there is no such file, and no version of it is kept beside it";
        Self::io("open policy", path, io::Error::new(io::ErrorKind::NotFound, why))
    }

    /// A policy of which nothing good is left.
    pub(crate) fn policy_lost(self, path: &Path) -> Self {
        let why = format!(
            "no good version of it is known or kept beside it; found: {}",
            self.cause_text()
        );
        Self::refused(ErrorKind::PolicyCorrupt, "restore policy", path, why)
    }

    /// A version of a policy that cannot work with what is fixed while a log is open.
    pub(crate) fn policy_refused(path: &Path, version: u64, error: &Self) -> Self {
        let why = format!("version {version} cannot hold for this log as it is open: {error}");
        Self::refused(ErrorKind::PolicyInvalid, "follow policy", path, why)
    }

    /// A setting of a policy that cannot change while a log is open.
    pub(crate) fn policy_setting_fixed(path: &Path, version: u64, setting: &str) -> Self {
        let why = format!(
            "version {version} has another `{setting}`, which cannot change while the log is open; it \
             holds for workers that start from now on, so restart them all"
        );
        Self::refused(ErrorKind::PolicyInvalid, "follow policy", path, why)
    }

    fn cause_text(&self) -> String {
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

/// Who held a lock last, as far as can be told. Pids are reused: for messages only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OwnerHint {
    pub(crate) pid: u32,
    /// Whether it runs, if that can be known.
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
            write!(f, " `{}`", path.display())?;
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
            "failed to take exclusive lock `app.log.lock`: somebody else holds it"
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
