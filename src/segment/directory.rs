//! The files in a log's directory: segments, temporaries, superseded copies and strays.

use super::Location;
use super::name::{Compression, Key, Name, Naming};
use super::superseded::supersedes;
use crate::clock::{Deadline, Timestamp, sleep};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{self, Entry, EntryKind, FileId};
use crate::sys;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A backup as it was found in the directory.
#[derive(Debug, Clone)]
pub(crate) struct Backup {
    pub(crate) name: Name,
    pub(crate) path: PathBuf,
    pub(crate) entry: Entry,
}

impl Backup {
    /// Returns the time of its rotation or, with [`Naming::Number`], of its last change.
    pub(crate) fn rotated_at(&self) -> Timestamp {
        match self.name.key {
            Key::Time(key) => key.time,
            Key::Number(_) => self.entry.modified.into(),
        }
    }

    /// Returns [`rotated_at`](Self::rotated_at), or the last change if that is later than `now`.
    ///
    /// A name in the future was given while the clock was wrong, and says nothing about the age.
    pub(crate) fn rotated_at_by(&self, now: Timestamp) -> Timestamp {
        let rotated_at = self.rotated_at();
        if rotated_at > now { self.entry.modified.into() } else { rotated_at }
    }
}

/// The files of a log at one time, as a listing of the directory and a look at each file show them.
#[derive(Debug, Default)]
pub(crate) struct DirectorySnapshot {
    /// The active segment. A file that has a backup's name too is listed as a backup only.
    pub(crate) active: Option<Entry>,
    /// Oldest first, in the order in which they are [read](crate::reader).
    ///
    /// A backup has two entries here, the uncompressed one first, only while a foreign program
    /// compresses it.
    pub(crate) backups: Vec<Backup>,
    /// Uncompressed copies of backups that are also there compressed.
    pub(crate) superseded: Vec<Backup>,
    /// Temporaries of this log's files, with their sizes.
    pub(crate) temporaries: Vec<(PathBuf, u64)>,
    /// Files that resemble the log's and are not, such as `app.log.old`. Directories and links too.
    pub(crate) strays: BTreeSet<PathBuf>,
}

/// The time for which a snapshot is retried because the log was rotated meanwhile.
const PATIENCE: Duration = Duration::from_secs(5);

impl DirectorySnapshot {
    /// Reads the whole directory, with backups of either naming, until no rotation came between.
    ///
    /// A rotation in between would leave a segment out: no backup yet, and not active any more.
    /// After 5 s of one rotation after the other the last listing is returned.
    pub(crate) fn take(location: &Location) -> Result<Self> {
        let deadline = Deadline::after(PATIENCE);
        let mut before = RotationState::of(location)?;
        loop {
            // A backup that is compressed while the directory is read may be missed, but not twice.
            let mut names = [fs::names(location.dir())?, fs::names(location.dir())?].concat();
            names.sort_unstable();
            names.dedup();
            let mut snapshot = Self::of_names(location, None, &names)?;
            let after = RotationState::of(location)?;
            if before == after || deadline.left().is_none() {
                snapshot.active = after.active.filter(|active| !snapshot.has_backup(active));
                return Ok(snapshot);
            }
            before = after;
        }
    }

    /// Reads the backups with names of one kind, and the temporaries, once.
    ///
    /// The caller looks again later, because a backup that is compressed or renamed during the
    /// listing may be missed. [`active`](Self::active) stays `None`.
    pub(crate) fn read(location: &Location, naming: Naming) -> Result<Self> {
        Self::of_names(location, Some(naming), &fs::names(location.dir())?)
    }

    /// Leaves the active segment out of the backups. A worker that died in a rotation may have left
    /// it with a backup's name too.
    pub(crate) fn without(mut self, active: Option<FileId>) -> Self {
        self.backups.retain(|backup| backup.entry.links == 1 || Some(backup.entry.id) != active);
        self
    }

    /// Looks at the files with these names, as [`read`](Self::read) does at all files.
    pub(crate) fn of(location: &Location, naming: Naming, names: &[String]) -> Result<Self> {
        Self::of_names(location, Some(naming), names)
    }

    /// Looks at each of the listed files. A name may be listed twice.
    fn of_names(location: &Location, naming: Option<Naming>, names: &[String]) -> Result<Self> {
        let mut snapshot = Self::default();
        for file_name in names {
            snapshot.note(location, naming, file_name)?;
        }
        snapshot.backups.sort_by_key(|backup| backup.name);
        snapshot.backups.dedup_by_key(|backup| backup.name);
        snapshot.temporaries.sort_unstable();
        snapshot.temporaries.dedup_by(|a, b| a.0 == b.0);
        snapshot.take_out_superseded();
        snapshot.order_namings();
        Ok(snapshot)
    }

    /// Classifies a file by its name, and looks at it if it is one of the log's.
    fn note(&mut self, location: &Location, naming: Option<Naming>, name: &str) -> Result<()> {
        if let Some(name) = location.parse(name, naming) {
            return self.note_backup(location, name);
        }
        let path = location.dir().join(name);
        if location.is_temporary(name, naming) {
            // A file with another name takes no more room.
            let bytes = |entry: &Entry| if entry.links > 1 { 0 } else { entry.len };
            self.temporaries.extend(file_at(&path)?.map(|entry| (path, bytes(&entry))));
        } else if location.is_stray(name) {
            self.strays.insert(path);
        }
        Ok(())
    }

    /// Looks at a backup. A directory or a link with a backup's name is a stray.
    fn note_backup(&mut self, location: &Location, name: Name) -> Result<()> {
        // A backup that was listed uncompressed and is gone may have been compressed since.
        let forms = match name.compression {
            Compression::None => &Compression::ALL[..],
            _ => &[name.compression],
        };
        for compression in forms {
            let name = Name { compression: *compression, ..name };
            let path = location.backup_path(name);
            match fs::stat(&path)? {
                Some(entry) if entry.kind == EntryKind::File => {
                    self.backups.push(Backup { name, path, entry });
                    break;
                }
                Some(_) => drop(self.strays.insert(path)),
                None => {}
            }
        }
        Ok(())
    }

    /// Moves the superseded copies out of the backups. The form that is read comes first then.
    fn take_out_superseded(&mut self) {
        let all = std::mem::take(&mut self.backups);
        for forms in all.chunk_by(|a, b| a.name.key == b.name.key) {
            let (first, others) = (&forms[0], &forms[1..]);
            let is_newer = |other: &Backup| {
                first.name.compression == Compression::None
                    && supersedes(&other.path, other.name.compression, other.entry, first.entry)
            };
            match others.iter().position(is_newer) {
                None => self.backups.extend_from_slice(forms),
                Some(at) => {
                    self.superseded.push(first.clone());
                    self.backups.push(others[at].clone());
                    self.backups.extend_from_slice(&others[..at]);
                    self.backups.extend_from_slice(&others[at + 1..]);
                }
            }
        }
    }

    /// Puts the naming that has the newest backup last, if there are backups of both.
    fn order_namings(&mut self) {
        let is_time = |backup: &Backup| matches!(backup.name.key, Key::Time(_));
        let at = self.backups.partition_point(is_time);
        let (times, numbers) = self.backups.split_at(at);
        if let (Some(time), Some(number)) = (times.last(), numbers.last()) {
            if !is_newer(&number.entry, time.rotated_at()) {
                self.backups.rotate_left(at);
            }
        }
    }

    /// Whether the active segment is also listed as a backup, because the file has two names.
    fn has_backup(&self, active: &Entry) -> bool {
        let is_it = |entry: &Entry| (entry.id, entry.born) == (active.id, active.born);
        self.backups.iter().any(|backup| is_it(&backup.entry))
    }

    /// Returns the names of all backups, superseded ones too, oldest first.
    pub(crate) fn names(&self) -> Vec<Name> {
        let backups = self.backups.iter().chain(&self.superseded);
        let mut names: Vec<_> = backups.map(|backup| backup.name).collect();
        names.sort_unstable();
        names
    }

    /// Whether nothing is there that a crash may have left.
    pub(crate) fn has_no_remains(&self) -> bool {
        self.superseded.is_empty() && self.temporaries.is_empty()
    }

    /// Returns the newest backup's time.
    pub(crate) fn newest(&self) -> Option<Timestamp> {
        self.backups.last().map(Backup::rotated_at)
    }
}

/// The state of a log that a rotation changes, to notice one between two looks.
struct RotationState {
    active: Option<Entry>,
    /// Only if there is no active segment: two rotations may have happened meanwhile.
    backups: BTreeSet<Key>,
}

impl RotationState {
    fn of(location: &Location) -> Result<Self> {
        let active = location.active()?;
        let mut backups = BTreeSet::new();
        if active.is_none() {
            backups.extend(backup_names(location, None)?.into_iter().map(|name| name.key));
        }
        Ok(Self { active, backups })
    }

    /// Distinguishes segments even if a later one has an earlier one's inode number.
    fn identity(&self) -> Option<(FileId, Option<SystemTime>)> {
        self.active.map(|entry| (entry.id, entry.born))
    }
}

impl PartialEq for RotationState {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity() && self.backups == other.backups
    }
}

/// Lists the names of the backups, oldest first, without a look at the files.
///
/// If names of both kinds exist, each kind is in order by itself.
pub(crate) fn backup_names(location: &Location, naming: Option<Naming>) -> Result<Vec<Name>> {
    let names = fs::names(location.dir())?;
    let mut names: Vec<_> = names.iter().filter_map(|name| location.parse(name, naming)).collect();
    names.sort_unstable();
    Ok(names)
}

/// Whether a backup named by number is newer than one named by this time.
fn is_newer(number: &Entry, time: Timestamp) -> bool {
    Timestamp::from(number.modified) > time
}

/// Returns the naming of the newest backup, by one listing; `None` without a backup.
pub(crate) fn newest_naming(location: &Location) -> Result<Option<Naming>> {
    let names = backup_names(location, None)?;
    let newest = |names: &[Name]| -> Result<Option<(Key, Entry)>> {
        for name in names.iter().rev() {
            if let Some(entry) = file_at(&location.backup_path(*name))? {
                return Ok(Some((name.key, entry)));
            }
        }
        Ok(None)
    };
    let (times, numbers) =
        names.split_at(names.partition_point(|name| matches!(name.key, Key::Time(_))));
    let newest = match (newest(times)?, newest(numbers)?) {
        (Some((time, _)), Some((number, entry))) => {
            let is_newer = time.time().is_none_or(|time| is_newer(&entry, time));
            Some(if is_newer { number } else { time })
        }
        (time, number) => time.or(number).map(|(key, _)| key),
    };
    Ok(newest.map(Key::naming))
}

/// Syncs the uncompressed backups and the names of all backups.
pub(crate) fn sync_backups(location: &Location, naming: Naming) -> Result<()> {
    let mut backups = DirectorySnapshot::read(location, naming)?.backups;
    for _ in 0..SYNC_ROUNDS {
        let is_plain = |backup: &&Backup| backup.name.compression == Compression::None;
        for backup in backups.iter().filter(is_plain) {
            sync_backup(&backup.path)?;
        }
        fs::sync_dir(location.dir())?;
        // A rotation renames numbered backups, so one may have been missed. Other names stay.
        if naming.is_by_time() {
            return Ok(());
        }
        let before =
            std::mem::replace(&mut backups, DirectorySnapshot::read(location, naming)?.backups);
        // Numbers only grow, so a backup at the same place has been there all the time.
        let files = |backups: &[Backup]| -> Vec<_> {
            backups.iter().map(|backup| (backup.name, backup.entry.id)).collect()
        };
        if files(&before) == files(&backups) {
            return Ok(());
        }
    }
    let why = "rotations renamed its backups meanwhile, again and again";
    Err(Error::refused(ErrorKind::Contended, "sync", location.path(), why))
}

/// The number of rounds of syncing, if rotations come between.
const SYNC_ROUNDS: usize = 8;

/// The time to wait for a backup that another process is compressing.
const SYNC_PATIENCE: Duration = Duration::from_secs(10);

/// Syncs one backup. A file that is gone needs no sync.
fn sync_backup(path: &Path) -> Result<()> {
    if file_at(path)?.is_none() {
        return Ok(());
    }
    // On Windows it cannot be opened while it is compressed.
    let deadline = Deadline::after(SYNC_PATIENCE);
    let is_refused = |error: &Error| error.io_error().is_some_and(sys::is_lease_refused);
    let mut opened = fs::open_to_sync(path);
    while opened.as_ref().is_err_and(is_refused) && deadline.left().is_some() {
        sleep(Duration::from_millis(1));
        opened = fs::open_to_sync(path);
    }
    // It is gone if it was compressed meanwhile, and then the compressed file was synced.
    opened?.map_or(Ok(()), |file| fs::sync_data(&file, path))
}

/// Returns the regular file at `path`; `None` if it is gone, or if it is a link or a directory.
fn file_at(path: &Path) -> Result<Option<Entry>> {
    Ok(fs::stat(path)?.filter(|entry| entry.kind == EntryKind::File))
}
