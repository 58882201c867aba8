//! A log as it is seen from outside, by a process that does not write to it.
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
//! Nothing is changed by a look. It is not made at one instant: what workers do meanwhile may be seen or not,
//! but no segment is left out because it was rotated or packed just then; unless the log is rotated again and again,
//! for five seconds, before its directory has been listed.

mod collect;
mod holders;

pub(crate) use collect::segments;
pub use holders::{Holder, Role, Usage};

use crate::error::Result;
use crate::fs;
use crate::segment::Location;
use crate::segment::name::{Compression, Naming};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What there is of a log; see the [module](self).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Inspection {
    /// The log's path, links resolved.
    pub path: PathBuf,
    /// Its segments, oldest first, the active one last.
    pub segments: Vec<Segment>,
    /// Who rotates just now; `None` if there is no lock file.
    pub rotating: Option<Usage>,
    /// Temporaries that live processes are writing.
    pub temporaries: Vec<PathBuf>,
    /// What a process has left that was killed. The next worker clears it up.
    pub leftovers: Vec<Leftover>,
    /// What has a name that begins like a backup's and is none, so that it is neither read, counted nor
    /// removed. The files of a policy beside the log, `app.log.policy.toml`, are not among it.
    pub strays: Vec<PathBuf>,
    /// Bytes free to this user on the file system.
    pub free_bytes: u64,
    /// The network file system that it is on, as
    /// [`RotatingFileWriter::network_file_system`](crate::RotatingFileWriter::network_file_system) has it.
    pub network_file_system: Option<String>,
}

/// One file of a log: the active segment or a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Segment {
    /// The path of the file, links resolved.
    pub path: PathBuf,
    /// The size on disk in bytes, compressed or not.
    pub bytes: u64,
    /// The size of the records in bytes, uncompressed.
    ///
    /// A compressed backup of this crate has noted it. One of another program is decompressed to
    /// count it if the file has at most 256 KiB and the records at most 16 MiB. Otherwise `None`.
    pub uncompressed_bytes: Option<u64>,
    /// The compression of the content.
    pub compression: Compression,
    /// The naming of the backup; `None` for the active segment.
    pub naming: Option<Naming>,
    /// The creation time of the segment, which our compressed backups have noted.
    ///
    /// `None` if the file system keeps none. A copy is created when it is made, but never counts as
    /// created after its last change.
    pub created: Option<SystemTime>,
    /// The time of the last write. Compressing a backup does not change it.
    pub modified: SystemTime,
    /// The time of the rotation that made it a backup, by its name; `None` if the name has no time.
    pub rotated_at: Option<SystemTime>,
    /// The processes that have it open.
    pub usage: Usage,
}

impl Segment {
    /// Whether this is the active segment.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.naming.is_none()
    }
}

/// What is left of something half done. It is harmless, and the next worker that opens or rotates the
/// log clears it up.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Leftover {
    /// Where it is.
    pub path: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    /// What it is.
    pub kind: LeftoverKind,
}

/// What a [`Leftover`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeftoverKind {
    /// A file that was being made when its process died.
    Temporary,
    /// A plain backup that was packed, and not removed any more.
    Superseded,
    /// A rotation lock that nobody holds.
    LockFile,
}

impl Inspection {
    /// Looks at the log at `path`.
    ///
    /// # Errors
    /// [`ErrorKind::NotAFile`](crate::ErrorKind::NotAFile) if the path is no file name, or names a directory,
    /// a device or a pipe. [`ErrorKind::Io`](crate::ErrorKind::Io) if there is neither such a file nor a
    /// backup of it, or its directory cannot be read.
    pub fn of(path: impl AsRef<Path>) -> Result<Self> {
        let given = path.as_ref();
        let inspection = collect::inspection(&Location::find(given)?)?;
        if inspection.segments.is_empty() {
            return Err(Location::no_log(given));
        }
        Ok(inspection)
    }

    /// Bytes that the log takes up on disk: its segments, temporaries and leftovers.
    ///
    /// # Errors
    /// If a temporary cannot be looked at.
    pub fn bytes(&self) -> Result<u64> {
        let segments: u64 = self.segments.iter().map(|segment| segment.bytes).sum();
        let leftovers: u64 = self.leftovers.iter().map(|leftover| leftover.bytes).sum();
        let mut bytes = segments + leftovers;
        for path in &self.temporaries {
            bytes += fs::stat(path)?.map_or(0, |entry| entry.len);
        }
        Ok(bytes)
    }

    /// The processes that have a segment open to append to it, each once.
    ///
    /// # Platform
    /// As [`Holder`].
    #[must_use]
    pub fn workers(&self) -> Vec<Holder> {
        let holders = self.segments.iter().flat_map(|segment| segment.usage.holders());
        let workers = holders.filter(|holder| holder.role == Role::Worker);
        let by_pid: BTreeMap<_, _> = workers.map(|worker| (worker.pid, worker.clone())).collect();
        by_pid.into_values().collect()
    }

    /// How the newest backup is named; `None` if there is none.
    #[must_use]
    pub fn naming(&self) -> Option<Naming> {
        self.segments.iter().rev().find_map(|segment| segment.naming)
    }
}
