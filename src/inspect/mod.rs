//! Inspects a log from outside, without opening it for writing.
//!
//! ```
//! use logrotor::{RotatingFileWriter, inspect::Inspection};
//! use std::io::Write;
//! # fn main() -> std::io::Result<()> { let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("app.log");
//! let mut log = RotatingFileWriter::builder(&path).build()?;
//! writeln!(log, "a record")?;
//! log.rotate()?;
//! let seen = Inspection::of(&path)?;
//! assert_eq!(seen.segments.len(), 2);
//! assert_eq!(seen.segments[0].uncompressed_bytes, Some(9));
//! assert!(seen.segments[1].is_active());
//! assert!(seen.leftovers.is_empty() && seen.strays.is_empty());
//! # Ok(()) }
//! ```
//!
//! Inspecting changes nothing. It does not show one instant: changes by workers meanwhile may be
//! seen or not. No segment is left out because it is rotated or compressed meanwhile, unless the
//! log is rotated again and again, for 5 s, before its directory is listed.

#[cfg(feature = "archive")]
mod archived;
mod builder;
mod collect;
mod holders;

pub use builder::InspectionBuilder;
pub(crate) use collect::segments;
pub use holders::{Holder, Role, Usage};

use crate::error::Result;
use crate::fs;
use crate::segment::name::{Compression, Naming};
use crate::segment::{Location, newest_naming};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The files of a log and their state; see the [module](self).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Inspection {
    /// The log's path, links resolved, or its URL.
    pub path: PathBuf,
    /// The segments, oldest first, the active one last.
    pub segments: Vec<Segment>,
    /// The use of the rotation lock; `None` if the lock file does not exist.
    pub rotating: Option<Usage>,
    /// The temporary files that live processes are writing.
    pub temporaries: Vec<PathBuf>,
    /// The files that a killed process left. The next worker removes them.
    pub leftovers: Vec<Leftover>,
    /// Files that resemble backups but are none. They are neither read, counted nor removed. The
    /// files of a policy beside the log, `app.log.policy.toml`, are not listed.
    pub strays: Vec<PathBuf>,
    /// The free space of the file system for this user, in bytes; `None` if it does not say.
    pub free_bytes: Option<u64>,
    /// The type of the network file system that the log is on, as in
    /// [`RotatingFileWriter::network_file_system`](crate::RotatingFileWriter::network_file_system).
    pub network_file_system: Option<String>,
    /// The archive of the log, by the ledger beside it; `None` if there is no ledger.
    pub archive: Option<ArchiveState>,
}

/// The archive of a log, as the ledger beside the log shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ArchiveState {
    /// The URL to which segments are archived; `None` before the first one.
    pub url: Option<String>,
    /// The name under which the log's segments are archived; `None` before the first one.
    pub origin: Option<String>,
    /// The number of backups that are here and archived.
    pub archived: usize,
    /// The number of backups that are not archived yet. They stay, whatever the limits.
    pub backlog: usize,
    /// Their size in bytes.
    pub backlog_bytes: u64,
    /// The rotation of the oldest of them.
    pub oldest: Option<SystemTime>,
    /// The last failure, if it was not followed by a success, and its time.
    pub failure: Option<(SystemTime, String)>,
}

/// One file of a log: the active segment or a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Segment {
    /// The path of the file, links resolved. Of an archived segment, the URL of its object.
    pub path: PathBuf,
    /// The origin under which it is archived; `None` for a file.
    pub origin: Option<String>,
    /// The size on disk in bytes, compressed or not.
    pub bytes: u64,
    /// The size of the records in bytes, uncompressed.
    ///
    /// The tag of a backup that this crate compressed has it. A backup of another program is
    /// decompressed to count it, if the file has at most 256 KiB and the records at most 16 MiB,
    /// and at most 64 MiB for all such backups of a log. Otherwise it is `None`, and so it is for a
    /// compressed object of an archive.
    pub uncompressed_bytes: Option<u64>,
    /// The compression of the content.
    pub compression: Compression,
    /// The naming of the backup; `None` for the active segment.
    pub naming: Option<Naming>,
    /// The creation time of the segment; a backup that this crate compressed keeps it in its tag.
    ///
    /// `None` if the file system has no creation times. The creation time of a copy is that of the
    /// copy, but never later than its last change.
    pub created: Option<SystemTime>,
    /// The time of the last write. Compressing a backup does not change it. Of an archived segment,
    /// the time at which it was archived.
    pub modified: SystemTime,
    /// The time of the rotation that made it a backup, by its name; `None` if the name has no time.
    pub rotated_at: Option<SystemTime>,
    /// The processes that have the file open.
    pub usage: Usage,
}

impl Segment {
    /// Whether this is the active segment.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.naming.is_none()
    }
}

/// A file that a killed process left. It is harmless: the next worker that opens or rotates the log
/// removes it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Leftover {
    /// The path of the file.
    pub path: PathBuf,
    /// The size in bytes.
    pub bytes: u64,
    /// The kind of file.
    pub kind: LeftoverKind,
}

/// The kind of a [`Leftover`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeftoverKind {
    /// A temporary file whose process died while writing it.
    Temporary,
    /// An uncompressed backup that was compressed but not removed.
    Superseded,
    /// A rotation lock file that no process has locked.
    LockFile,
}

/// Returns the backups that another program has renamed, and the names that they had. Readers do
/// not find them.
///
/// `logrotate` with a pattern such as `/var/log/app/*.log*` renames `app.log.1` to `app.log.1.1`,
/// and may put an empty file in its place. Rename them back, and narrow the pattern.
///
/// # Examples
/// ```
/// use logrotor::inspect;
/// # fn main() -> logrotor::Result<()> { let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("app.log");
/// std::fs::write(dir.path().join("app.log.1.1"), "one\n").unwrap();
/// let renamed = inspect::renamed_backups(&path)?;
/// assert!(renamed[0].0.ends_with("app.log.1.1") && renamed[0].1.ends_with("app.log.1"));
/// # Ok(()) }
/// ```
///
/// # Errors
/// As [`Inspection::of`], except that a log without files has none.
pub fn renamed_backups(log: impl AsRef<Path>) -> Result<Vec<(PathBuf, PathBuf)>> {
    let location = Location::find(log.as_ref())?;
    let mut names = fs::names(location.dir())?;
    names.sort_unstable();
    let renamed = |name: String| Some((location.dir().join(&name), location.renamed(&name)?));
    Ok(names.into_iter().filter_map(renamed).collect())
}

/// Returns the naming of the newest backup of a log; `None` if there is no backup.
///
/// The same as [`Inspection::naming`] after one listing of the directory, without a look at each
/// backup.
///
/// # Examples
/// ```
/// use logrotor::{Naming, inspect};
/// # fn main() -> logrotor::Result<()> { let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("app.log");
/// std::fs::write(&path, "two\n").unwrap();
/// assert_eq!(inspect::naming(&path)?, None);
/// std::fs::write(dir.path().join("app.log.1"), "one\n").unwrap();
/// assert_eq!(inspect::naming(&path)?, Some(Naming::Number));
/// # Ok(()) }
/// ```
///
/// # Errors
/// As [`Inspection::of`].
pub fn naming(log: impl AsRef<Path>) -> Result<Option<Naming>> {
    let given = log.as_ref();
    let location = Location::find(given)?;
    let active = location.active()?;
    let naming = newest_naming(&location)?;
    if active.is_none() && naming.is_none() {
        return Err(Location::no_log(given));
    }
    Ok(naming)
}

impl Inspection {
    /// Inspects the log at `path`, which may be the URL of an archived log with the feature
    /// `archive`.
    ///
    /// # Examples
    /// ```
    /// use logrotor::inspect::Inspection;
    /// # fn main() -> logrotor::Result<()> { let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("app.log");
    /// std::fs::write(&path, "one\n").unwrap();
    /// std::fs::write(dir.path().join("app.log.old"), "").unwrap();
    /// let seen = Inspection::of(&path)?;
    /// assert_eq!(seen.bytes()?, 4);
    /// assert_eq!(seen.strays.len(), 1, "`app.log.old` is no backup");
    /// assert_eq!(seen.naming(), None, "no backup yet");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// - [`ErrorKind::NotAFile`](crate::ErrorKind::NotAFile): the path has no file name, or names a
    ///   directory, a device or a pipe.
    /// - [`ErrorKind::Io`](crate::ErrorKind::Io): neither such a file nor a backup of it exists, or
    ///   its directory cannot be read.
    /// - As for the archive of a log, if the path is a URL.
    pub fn of(path: impl AsRef<Path>) -> Result<Self> {
        Self::builder(path.as_ref()).build()
    }

    /// Returns a builder that chooses which segments to list. Nothing is read before
    /// [`InspectionBuilder::build`].
    pub fn builder(path: impl Into<PathBuf>) -> InspectionBuilder {
        InspectionBuilder::new(path.into())
    }

    /// Returns the size of the log on disk in bytes: segments, temporaries and leftovers.
    ///
    /// # Errors
    /// If the system refuses to look at a temporary.
    pub fn bytes(&self) -> Result<u64> {
        let segments = self.segments.iter().map(|segment| segment.bytes);
        let leftovers = self.leftovers.iter().map(|leftover| leftover.bytes);
        // Three sparse files may exceed 64 bits.
        let mut bytes = segments.chain(leftovers).fold(0, u64::saturating_add);
        for path in &self.temporaries {
            bytes = bytes.saturating_add(fs::stat(path)?.map_or(0, |entry| entry.len));
        }
        Ok(bytes)
    }

    /// Returns the processes that may append to a segment, each once.
    ///
    /// # Platform
    /// Empty except on Linux, and without processes that this one may not see; see [`Holder`] and
    /// [`Usage::Unknown`].
    #[must_use]
    pub fn workers(&self) -> Vec<Holder> {
        let holders = self.segments.iter().flat_map(|segment| segment.usage.holders());
        let workers = holders.filter(|holder| holder.role == Role::Worker);
        let by_pid: BTreeMap<_, _> = workers.map(|worker| (worker.pid, worker.clone())).collect();
        by_pid.into_values().collect()
    }

    /// Returns the naming of the newest backup; `None` if there is no backup.
    #[must_use]
    pub fn naming(&self) -> Option<Naming> {
        self.segments.iter().rev().find_map(|segment| segment.naming)
    }
}
