//! The location of a log: its directory, its name and the paths of its files.

use super::name::{self, Key, Name, Naming, TimeKey};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{self, Entry, EntryKind};
use crate::ledger;
use crate::sys;
use std::io;
use std::path::{Path, PathBuf};

/// The location of a log. It is absolute and free of links, so no later change of the working
/// directory matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Location {
    dir: PathBuf,
    name: String,
    path: PathBuf,
}

impl Location {
    /// Resolves the path given by the user, and creates its directory if it is missing.
    ///
    /// A link at `given` is followed, so the backups are placed beside its target.
    pub(crate) fn resolve(given: &Path) -> Result<Self> {
        Self::at(given, |dir| match fs::canonical(dir) {
            // Rarely: a directory that is there is not locked for a creation in vain.
            Err(error) if error.is_not_found() => {
                fs::create_dirs(dir).and_then(|()| fs::canonical(dir))
            }
            found => found,
        })
    }

    /// Like [`resolve`](Self::resolve), but creates nothing.
    pub(crate) fn find(given: &Path) -> Result<Self> {
        Self::at(given, fs::canonical)
    }

    /// The location of an archived log. It has no files; `dir` is for messages.
    #[cfg(feature = "archive")]
    pub(crate) fn of_archived(dir: PathBuf, name: &str) -> Self {
        Self { path: dir.join(name), name: name.to_owned(), dir }
    }

    /// Checks the file name, and resolves the directory with `resolve_dir`.
    ///
    /// # Errors
    /// [`ErrorKind::NotAFile`] if the path has no usable file name: none at all, not Unicode, too
    /// long for the names of backups, that of a compressed backup, or one that Windows does not
    /// allow.
    fn at(given: &Path, resolve_dir: impl FnOnce(&Path) -> Result<PathBuf>) -> Result<Self> {
        let (target, _) = fs::resolve_links("use as a log", given)?;
        let refuse =
            |why: &str| Err(Error::refused(ErrorKind::NotAFile, "use as a log", given, why));
        let ends_in_separator = target.as_os_str().as_encoded_bytes().last();
        if ends_in_separator.is_some_and(|&b| std::path::is_separator(char::from(b))) {
            return refuse("it names a directory; add a file name");
        }
        let Some(name) = target.file_name() else {
            return refuse("it has no file name; use one such as `app.log`");
        };
        let Some(name) = name.to_str() else {
            return refuse("its file name is not Unicode; use one that is");
        };
        if !sys::is_file_name(name) {
            return refuse("Windows gives no file such a name");
        }
        if name.len() > name::MAX_LOG_NAME {
            let why = format!(
                "its file name has {} bytes; use at most {}, so that the names of its backups fit",
                name.len(),
                name::MAX_LOG_NAME
            );
            return refuse(&why);
        }
        // Its bytes would be taken for records, and its damage would go unseen.
        if let Some(log) = Name::log_of_compressed(name) {
            return refuse(&format!(
                "it has the name of a compressed backup; use its log, `{log}`"
            ));
        }
        let parent = match target.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let dir = resolve_dir(parent)?;
        Ok(Self { path: dir.join(name), name: name.to_owned(), dir })
    }

    /// Returns the log's own path, that of the active segment.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the log's file name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the directory of all the log's files.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns the path of the rotation lock.
    pub(crate) fn lock_path(&self) -> PathBuf {
        self.dir.join(name::lock_file(&self.name))
    }

    /// Returns the path of a backup.
    pub(crate) fn backup_path(&self, name: Name) -> PathBuf {
        self.dir.join(self.file_name(name))
    }

    /// Returns the key of a backup that is named by time, with this naming.
    pub(crate) fn time_key(&self, naming: Naming, time: Timestamp) -> Key {
        Key::Time(TimeKey::new(&self.name, naming, time))
    }

    /// Returns the file name of a backup.
    pub(crate) fn file_name(&self, name: Name) -> String {
        name.format(&self.name)
    }

    /// Whether listing the directory takes long: it has some hundreds of files or more.
    ///
    /// # Platform
    /// Always `false` on Windows, where a directory has no size.
    pub(crate) fn is_crowded(&self) -> Result<bool> {
        const BYTES: u64 = 16 * 1024;
        Ok(fs::stat(&self.dir)?.is_some_and(|dir| dir.len > BYTES))
    }

    /// Looks at the log's path; `None` if it names nothing.
    ///
    /// # Errors
    /// [`ErrorKind::NotAFile`] if it names a directory, a link or another special file.
    pub(crate) fn active(&self) -> Result<Option<Entry>> {
        match fs::stat(&self.path)? {
            Some(entry) if entry.kind != EntryKind::File => {
                Err(Error::not_a_file("use as a log", &self.path, entry.kind))
            }
            found => Ok(found),
        }
    }

    /// Whether a file name is that of a temporary of the log, or of a backup with this naming
    /// (`None`: any).
    pub(crate) fn is_temporary(&self, file_name: &str, naming: Option<Naming>) -> bool {
        fs::temp_target(file_name).is_some_and(|of| {
            of == self.name || self.parse(of, naming).is_some() || self.is_ledger(of)
        })
    }

    /// Whether a file name is that of a backup or a temporary.
    pub(crate) fn owns(&self, file_name: &str) -> bool {
        self.parse(file_name, None).is_some() || self.is_temporary(file_name, None)
    }

    /// Whether a file name resembles those of the log's files but is none of them.
    pub(crate) fn is_stray(&self, file_name: &str) -> bool {
        let resembles = || {
            self.suffix(file_name).is_some()
                || self.is_dated(file_name)
                || Name::of_renamed(&self.name, file_name).is_some()
        };
        resembles()
            && file_name != name::lock_file(&self.name)
            && !self.is_ledger(file_name)
            && Name::parse(&self.name, file_name).is_none()
    }

    /// Whether a file name is that of the archive's ledger or of its lock.
    fn is_ledger(&self, file_name: &str) -> bool {
        self.suffix(file_name).is_some_and(ledger::is_file_of)
    }

    /// Whether a file name is that of the log with a date, as in `app.log-20261130`.
    fn is_dated(&self, file_name: &str) -> bool {
        let date = file_name.strip_prefix(&self.name).and_then(|rest| rest.strip_prefix('-'));
        date.is_some_and(|date| date.starts_with(|first: char| first.is_ascii_digit()))
    }

    /// Returns the path of the backup that another program has renamed to a file name.
    pub(crate) fn renamed(&self, file_name: &str) -> Option<PathBuf> {
        let is_ours = Name::parse(&self.name, file_name).is_some();
        let name = Name::of_renamed(&self.name, file_name).filter(|_| !is_ours)?;
        // Beside the log `app`, `app.TIME.log` is a backup of `app.log`.
        let is_of_neighbor = Name::log_of_infix(file_name).is_some_and(|log| {
            log != self.name && fs::stat(&self.dir.join(log)).is_ok_and(|found| found.is_some())
        });
        (!is_of_neighbor).then(|| self.backup_path(name))
    }

    /// Returns the part of a file name after the log's name and a dot, if it begins so.
    pub(crate) fn suffix<'a>(&self, file_name: &'a str) -> Option<&'a str> {
        file_name.strip_prefix(&self.name)?.strip_prefix('.')
    }

    /// Recreates the log's directory if it was removed.
    pub(crate) fn ensure_dir(&self) -> Result<()> {
        fs::create_dirs(&self.dir)
    }

    /// Parses the file name of a backup with this naming (`None`: any). Both forms by time count as
    /// one.
    pub(super) fn parse(&self, file_name: &str, naming: Option<Naming>) -> Option<Name> {
        let is_wanted = |name: &Name| {
            naming.is_none_or(|naming| naming.is_by_time() == name.key.naming().is_by_time())
        };
        Name::parse(&self.name, file_name).filter(is_wanted)
    }

    /// The error for a log without an active segment and without a backup.
    pub(crate) fn no_log(given: &Path) -> Error {
        let why = "there is neither such a file nor a backup of it";
        Error::io("read", given, io::Error::new(io::ErrorKind::NotFound, why))
    }
}
