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

use crate::clock::{Deadline, Timestamp, sleep};
use crate::error::Result;
use crate::fs::{self, Entry, EntryKind, FileId, FileLocks, LockMode, OpenFor, Unleased};
use crate::segment::name::{Compression, Key, Name, Naming};
use crate::segment::{Location, PATIENCE, all_backup_names, birth_tag, superseded, uncompress};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// What there is of a log; see the [module](self).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Inspection {
    /// The log's path, links resolved.
    pub path: PathBuf,
    /// Its segments, oldest first, the active one last.
    pub segments: Vec<SegmentInfo>,
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

/// One segment.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SegmentInfo {
    /// Where it is.
    pub path: PathBuf,
    /// What its content is packed with.
    pub compression: Compression,
    /// How the file is named; `None` for the active segment.
    pub naming: Option<Naming>,
    /// Its size on disk in bytes.
    pub bytes: u64,
    /// The size of its content, as the file itself says without being unpacked: gzip in its trailer, where
    /// 4 GiB count as 0; Zstandard in its header, if the packer has put it there, as this crate does.
    pub uncompressed_bytes: Option<u64>,
    /// When it was begun: the birth of its file, which our packed backups have noted. `None` if that is not
    /// known. A copy is born when it is made, but never counts as begun after its last change.
    pub created: Option<SystemTime>,
    /// When it was last written to; packing does not change it.
    pub modified: SystemTime,
    /// When it was rotated away, by its name; `None` if that does not tell.
    pub rotated_at: Option<SystemTime>,
    /// Who has it open.
    pub usage: Usage,
}

impl SegmentInfo {
    /// Whether it is the one that is written to.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.naming.is_none()
    }
}

/// Whether a file is in use.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Usage {
    /// By nobody.
    Free,
    /// By these; none of them is known if the system does not say.
    InUse(Vec<Holder>),
    /// It cannot be told without disturbing somebody.
    Unknown,
}

impl Usage {
    /// Those who are known to have it.
    #[must_use]
    pub fn holders(&self) -> &[Holder] {
        match self {
            Self::InUse(holders) => holders,
            Self::Free | Self::Unknown => &[],
        }
    }
}

/// A process that has a file in use.
///
/// # Platform
/// Linux tells who it is, of processes that this one may see. Elsewhere there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// Its process id.
    pub pid: u32,
    /// The name of its program, perhaps cut short.
    pub program: Option<String>,
    /// What it does with the file, as far as can be seen.
    pub role: Role,
}

/// What a process has a segment in use for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Role {
    /// It may append to it.
    Worker,
    /// It reads it.
    Reader,
    /// It has it for itself, to pack or to remove it; or, of the lock file, to rotate.
    Maintenance,
    /// It belongs to another user, so that this cannot be seen.
    Unknown,
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
        let location = Location::find(given)?;
        let deadline = Deadline::after(PATIENCE);
        loop {
            let before = Newest::of(&location)?;
            let seen = Look::new(&location)?;
            let after = Newest::of(&location)?;
            // A rotation in between would leave a segment out: neither a backup yet nor active any more.
            if before == after || deadline.left().is_none() {
                return seen.assemble(given, after.entry);
            }
        }
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

/// How far a log has come.
struct Newest {
    /// The active segment.
    entry: Option<Entry>,
    /// Where there is none: it may be about to be made, for the second time since.
    backups: Vec<Key>,
}

impl Newest {
    fn of(location: &Location) -> Result<Self> {
        let entry = location.active()?;
        let mut backups = Vec::new();
        if entry.is_none() {
            backups.extend(all_backup_names(location)?.into_iter().map(|name| name.key));
            backups.sort_unstable();
            backups.dedup();
        }
        Ok(Self { entry, backups })
    }

    /// Tells segments apart even if a later one has an earlier one's inode number.
    fn which(&self) -> Option<(FileId, Option<SystemTime>)> {
        self.entry.map(|entry| (entry.id, entry.born))
    }
}

impl PartialEq for Newest {
    fn eq(&self, other: &Self) -> bool {
        self.which() == other.which() && self.backups == other.backups
    }
}

/// What a log's directory holds.
struct Look<'a> {
    location: &'a Location,
    locks: FileLocks,
    backups: Vec<(Name, Entry)>,
    temporaries: Vec<(PathBuf, u64)>,
    strays: BTreeSet<PathBuf>,
}

impl<'a> Look<'a> {
    fn new(location: &'a Location) -> Result<Self> {
        // One that is packed while the directory is read may be missed, but not twice.
        let mut names: Vec<_> = all_backup_names(location)?;
        names.extend(all_backup_names(location)?);
        let (mut backups, mut strays) = (Vec::new(), BTreeSet::new());
        for name in names {
            // One that was listed plain and is gone may have been packed since.
            let forms = match name.compression {
                Compression::None => &Compression::ALL[..],
                _ => &[name.compression],
            };
            for compression in forms {
                let name = Name { compression: *compression, ..name };
                let path = location.backup_path(name);
                match fs::stat(&path)? {
                    Some(entry) if entry.kind == EntryKind::File => backups.push((name, entry)),
                    Some(_) => drop(strays.insert(path)),
                    None => continue,
                }
                break;
            }
        }
        backups.sort_by_key(|(name, _)| *name);
        backups.dedup_by_key(|(name, _)| *name);
        let mut temporaries = Vec::new();
        for name in fs::names(location.dir())? {
            let path = location.dir().join(&name);
            if location.is_temporary(&name) {
                temporaries.extend(fs::stat(&path)?.map(|entry| (path, entry.len)));
            } else if location.is_like_ours(&name) {
                strays.insert(path);
            }
        }
        Ok(Self { location, locks: fs::file_locks(), backups, temporaries, strays })
    }

    fn assemble(mut self, given: &Path, active: Option<Entry>) -> Result<Inspection> {
        let mut leftovers = self.take_superseded()?;
        self.order();
        let mut segments = Vec::new();
        for (name, entry) in &self.backups {
            let path = self.location.backup_path(*name);
            segments.push(self.segment(path, Some(*name), *entry)?);
        }
        // A file that has a backup's name too is one, as for a reader.
        let is_backup = |active: &Entry| {
            let is_it = |entry: &Entry| (entry.id, entry.born) == (active.id, active.born);
            self.backups.iter().any(|(_, backup)| is_it(backup))
        };
        if let Some(entry) = active.filter(|active| !is_backup(active)) {
            segments.push(self.segment(self.location.path().to_owned(), None, entry)?);
        }
        if segments.is_empty() {
            return Err(crate::reader::no_log(given));
        }
        let mut temporaries = Vec::new();
        for (path, bytes) in std::mem::take(&mut self.temporaries) {
            match probe(&path)? {
                Usage::Free => {
                    leftovers.push(Leftover { path, bytes, kind: LeftoverKind::Temporary });
                }
                _ => temporaries.push(path),
            }
        }
        let rotating = self.rotating()?;
        if let Some((Usage::Free, bytes)) = &rotating {
            let (path, bytes) = (self.location.lock_path(), *bytes);
            leftovers.push(Leftover { path, bytes, kind: LeftoverKind::LockFile });
        }
        Ok(Inspection {
            path: self.location.path().to_owned(),
            segments,
            rotating: rotating.map(|(usage, _)| usage),
            temporaries,
            leftovers,
            strays: self.strays.into_iter().collect(),
            free_bytes: fs::free_space(self.location.dir())?,
            network_file_system: fs::network_file_system(self.location.dir())?,
        })
    }

    /// Of a backup that is there in two forms, takes out the one that does not count.
    fn take_superseded(&mut self) -> Result<Vec<Leftover>> {
        let mut leftovers = Vec::new();
        let mut kept: Vec<(Name, Entry)> = Vec::new();
        for (name, entry) in std::mem::take(&mut self.backups) {
            let Some((plain, older)) =
                kept.last().copied().filter(|(last, _)| last.key == name.key)
            else {
                kept.push((name, entry));
                continue;
            };
            let path = self.location.backup_path(name);
            let is_superseded = plain.compression == Compression::None
                && superseded::supersedes(&path, name.compression, entry, older);
            if !is_superseded {
                // Somebody else is packing it there.
                self.strays.insert(path);
                continue;
            }
            kept.pop();
            kept.push((name, entry));
            let path = self.location.backup_path(plain);
            if self.usage(&path, older.id, true)? == Usage::Free && fs::stat(&path)?.is_some() {
                leftovers.push(Leftover { path, bytes: older.len, kind: LeftoverKind::Superseded });
            }
        }
        self.backups = kept;
        Ok(leftovers)
    }

    /// Brings backups with names of both kinds into the order in which they are [read](crate::reader).
    fn order(&mut self) {
        let at = self.backups.partition_point(|(name, _)| matches!(name.key, Key::Time(_)));
        let newest_time = at.checked_sub(1).map(|last| self.backups[last].0.key);
        let newest_number = self.backups.last().filter(|_| at < self.backups.len());
        let (Some(Key::Time(time)), Some((_, entry))) = (newest_time, newest_number) else {
            return;
        };
        if Timestamp::from(entry.modified) <= time {
            self.backups.rotate_left(at);
        }
    }

    fn segment(&self, path: PathBuf, name: Option<Name>, entry: Entry) -> Result<SegmentInfo> {
        let compression = name.map_or(Compression::None, |name| name.compression);
        let (created, uncompressed_bytes) = match compression {
            Compression::None => (entry.born, Some(entry.len)),
            _ => said(&path, compression, entry),
        };
        Ok(SegmentInfo {
            compression,
            naming: name.map(|name| name.key.naming()),
            bytes: entry.len,
            uncompressed_bytes,
            created: created.map(|created| created.min(entry.modified)),
            modified: entry.modified,
            rotated_at: match name.map(|name| name.key) {
                Some(Key::Time(time)) => Some(time.into()),
                _ => None,
            },
            usage: self.usage(&path, entry.id, name.is_some())?,
            path,
        })
    }

    /// Who has a segment open. One that is still written to is not tried: that might make a worker wait.
    fn usage(&self, path: &Path, id: FileId, is_backup: bool) -> Result<Usage> {
        match self.locks.holders(id) {
            Some(holders) if !holders.is_empty() => Ok(in_use(id, holders)),
            _ if is_backup => probe(path),
            Some(_) => Ok(Usage::Free),
            None => Ok(Usage::Unknown),
        }
    }

    /// Who holds the rotation lock, and the lock file's size; `None` if there is none.
    fn rotating(&self) -> Result<Option<(Usage, u64)>> {
        // Whoever makes it locks it next. One that is nobody's is so at a second look.
        const MOMENT: Duration = Duration::from_millis(20);
        let path = self.location.lock_path();
        let Some(entry) = fs::stat(&path)? else { return Ok(None) };
        if let Some(holders) = self.locks.holders(entry.id).filter(|holders| !holders.is_empty()) {
            return Ok(Some((in_use(entry.id, holders), entry.len)));
        }
        sleep(MOMENT);
        let Some(later) = fs::stat(&path)? else { return Ok(None) };
        let Some(file) = fs::open_lock_read(&path)? else { return Ok(None) };
        let is_free = later.id == entry.id && fs::try_lock(&file, LockMode::Shared, &path)?;
        let usage = if is_free { Usage::Free } else { Usage::InUse(Vec::new()) };
        Ok(Some((usage, entry.len)))
    }
}

/// When a compressed segment was created, and the length of its records.
fn said(path: &Path, compression: Compression, entry: Entry) -> (Option<SystemTime>, Option<u64>) {
    // A file that cannot be read says nothing.
    let Ok(Some(file)) = fs::open_segment(path) else { return (None, None) };
    let Ok(tag) = birth_tag::read(&file, entry.len, compression, path) else {
        return (None, None);
    };
    let noted = tag.uncompressed_bytes(entry.len, compression);
    let bytes = noted.or_else(|| uncompress::count(&Arc::new(file), path, compression, entry.len));
    (tag.created().map(SystemTime::from), bytes)
}

/// Whether somebody has a file in use, by an attempt to take it, which is given up at once.
fn probe(path: &Path) -> Result<Usage> {
    match fs::open_unleased(path) {
        Ok(Unleased::Leased) => Ok(Usage::InUse(Vec::new())),
        Ok(Unleased::Ours(_) | Unleased::Gone) => Ok(Usage::Free),
        Err(error) if error.kind() == crate::ErrorKind::Io => Ok(Usage::Unknown),
        Err(error) => Err(error),
    }
}

fn in_use(id: FileId, holders: Vec<(LockMode, u32)>) -> Usage {
    let holder = |(kind, pid)| Holder {
        pid,
        program: fs::process_name(pid),
        role: match (kind, fs::open_for(pid, id)) {
            (LockMode::Exclusive, _) => Role::Maintenance,
            (LockMode::Shared, Some(OpenFor::Appending)) => Role::Worker,
            (LockMode::Shared, Some(OpenFor::Reading)) => Role::Reader,
            (LockMode::Shared, None) => Role::Unknown,
        },
    };
    let mut holders: Vec<_> = holders.into_iter().map(holder).collect();
    holders.sort_by_key(|holder| holder.pid);
    holders.dedup();
    Usage::InUse(holders)
}
