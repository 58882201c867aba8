//! The files of a log: where they are, which there are, in what order.

pub(crate) mod birth_tag;
pub(crate) mod lease;
pub(crate) mod name;
pub(crate) mod rotation_lock;
pub(crate) mod superseded;
pub(crate) mod uncompress;

use crate::clock::{Deadline, Timestamp, sleep};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{self, Entry, EntryKind, FileId};
use crate::sys;
use name::{Compression, Key, Name, Naming};
use std::io::ErrorKind::PermissionDenied;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Where a log is, all links resolved and absolute, so that no later change of the working directory
/// matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Location {
    dir: PathBuf,
    name: String,
    path: PathBuf,
}

impl Location {
    /// Finds where the log named by the user is, and creates its directory if need be.
    ///
    /// A link at `given` is followed, so that the backups live beside its target.
    pub(crate) fn resolve(given: &Path) -> Result<Self> {
        Self::at(given, |dir| fs::create_dirs(dir).and_then(|()| fs::canonical(dir)))
    }

    /// As [`resolve`](Self::resolve), but makes nothing.
    pub(crate) fn find(given: &Path) -> Result<Self> {
        Self::at(given, fs::canonical)
    }

    fn at(given: &Path, resolve_dir: impl FnOnce(&Path) -> Result<PathBuf>) -> Result<Self> {
        let target = follow_links(given)?;
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
        let parent = match target.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let dir = resolve_dir(parent)?;
        Ok(Self { path: dir.join(name), name: name.to_owned(), dir })
    }

    /// The log's own path, that of the active segment.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn lock_path(&self) -> PathBuf {
        self.dir.join(name::lock_file(&self.name))
    }

    pub(crate) fn backup_path(&self, name: Name) -> PathBuf {
        self.dir.join(name.format(&self.name))
    }

    /// What is at the log's path.
    ///
    /// # Errors
    /// [`ErrorKind::NotAFile`] if that is no regular file.
    pub(crate) fn active(&self) -> Result<Option<Entry>> {
        match fs::stat(&self.path)? {
            Some(entry) if entry.kind != EntryKind::File => {
                Err(Error::not_a_file("use as a log", &self.path, entry.kind))
            }
            found => Ok(found),
        }
    }

    /// Whether a file of this name is a temporary of one of the log's files.
    pub(crate) fn is_temporary(&self, file_name: &str) -> bool {
        fs::temp_target(file_name)
            .is_some_and(|of| of == self.name || Name::parse(&self.name, of).is_some())
    }

    /// Whether a file has a name like those of the log's files, and is none: of the log, or of its policy.
    pub(crate) fn is_like_ours(&self, file_name: &str) -> bool {
        const POLICY: &str = "policy.toml";
        let rest = file_name.strip_prefix(&self.name).and_then(|rest| rest.strip_prefix('.'));
        let is_ours = |rest: &str| {
            rest.starts_with(POLICY)
                || file_name == name::lock_file(&self.name)
                || Name::parse(&self.name, file_name).is_some()
        };
        rest.is_some_and(|rest| !is_ours(rest))
    }

    /// Makes the log's directory again, if someone has removed it.
    pub(crate) fn ensure_dir(&self) -> Result<()> {
        fs::create_dirs(&self.dir)
    }

    fn parse(&self, file_name: &str, naming: Naming) -> Option<Name> {
        Name::parse(&self.name, file_name).filter(|name| name.key.naming() == naming)
    }
}

/// As many links as Linux follows in one path.
const MAX_LINKS: usize = 40;

/// The path that a chain of links ends at; what is there need not exist.
fn follow_links(given: &Path) -> Result<PathBuf> {
    let mut path = given.to_owned();
    for _ in 0..MAX_LINKS {
        if !fs::stat(&path)?.is_some_and(|entry| entry.kind == EntryKind::Link) {
            return Ok(path);
        }
        let target = fs::read_link(&path)?;
        path = path.parent().unwrap_or(Path::new("")).join(target);
    }
    let why = "its links lead in a circle or are too many";
    Err(Error::refused(ErrorKind::NotAFile, "use as a log", given, why))
}

/// A backup as it was found in the directory.
#[derive(Debug, Clone)]
pub(crate) struct Backup {
    pub(crate) name: Name,
    pub(crate) path: PathBuf,
    pub(crate) id: FileId,
    pub(crate) len: u64,
    pub(crate) modified: SystemTime,
}

impl Backup {
    /// As [`finished`](Self::finished); but a name that was given while the clock was wrong, and lies in
    /// the future, says nothing of age. Then it is the last change.
    pub(crate) fn finished_by(&self, now: Timestamp) -> Timestamp {
        let finished = self.finished();
        if finished > now { self.modified.into() } else { finished }
    }

    /// When it was rotated away; with [`Naming::Number`], when it was last written to.
    pub(crate) fn finished(&self) -> Timestamp {
        match self.name.key {
            Key::Time(time) => time,
            Key::Number(_) => self.modified.into(),
        }
    }
}

/// What a log's directory held at some moment, apart from the active segment.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Oldest first; of one backup in two packings, plain comes first.
    pub(crate) backups: Vec<Backup>,
    /// Temporaries of this log's files, with their sizes.
    pub(crate) temporaries: Vec<(PathBuf, u64)>,
}

impl Listing {
    /// Lists the backups with names of one kind, and the log's temporaries.
    pub(crate) fn read(location: &Location, naming: Naming) -> Result<Self> {
        let mut listing = Self::default();
        for file_name in fs::names(location.dir())? {
            listing.note(location, naming, &file_name)?;
        }
        listing.backups.sort_by_key(|backup| backup.name);
        listing.backups.dedup_by_key(|backup| backup.name);
        Ok(listing)
    }

    fn note(&mut self, location: &Location, naming: Naming, file_name: &str) -> Result<()> {
        let backup = location.parse(file_name, naming);
        let is_temporary = fs::temp_target(file_name)
            .is_some_and(|of| of == location.name || location.parse(of, naming).is_some());
        if backup.is_none() && !is_temporary {
            return Ok(());
        }
        let Some(name) = backup else {
            let path = location.dir().join(file_name);
            self.temporaries.extend(file_at(&path)?.map(|entry| (path, entry.len)));
            return Ok(());
        };
        // One that was listed plain and is gone may have been packed since.
        let forms = match name.compression {
            Compression::None => &Compression::ALL[..],
            _ => &[name.compression],
        };
        for compression in forms {
            let name = Name { compression: *compression, ..name };
            let path = location.backup_path(name);
            if let Some(entry) = file_at(&path)? {
                let Entry { id, len, modified, .. } = entry;
                self.backups.push(Backup { name, path, id, len, modified });
                break;
            }
        }
        Ok(())
    }

    /// Whether a backup is there both plain and packed.
    pub(crate) fn has_superseded(&self) -> bool {
        self.backups.windows(2).any(|pair| pair[0].name.key == pair[1].name.key)
    }

    /// The newest backup's time.
    pub(crate) fn newest(&self) -> Option<Timestamp> {
        self.backups.last().map(Backup::finished)
    }
}

/// The names of the backups, oldest first, without a look at the files.
pub(crate) fn backup_names(location: &Location, naming: Naming) -> Result<Vec<Name>> {
    let names = fs::names(location.dir())?;
    let mut names: Vec<_> = names.iter().filter_map(|name| location.parse(name, naming)).collect();
    names.sort_unstable();
    Ok(names)
}

/// The names of the backups of either naming, each naming's oldest first.
pub(crate) fn all_backup_names(location: &Location) -> Result<Vec<Name>> {
    let names = fs::names(location.dir())?;
    let mut names: Vec<_> =
        names.iter().filter_map(|name| Name::parse(&location.name, name)).collect();
    names.sort_unstable();
    Ok(names)
}

/// Makes the plain backups durable, and the names of all.
pub(crate) fn sync_backups(location: &Location, naming: Naming) -> Result<()> {
    let mut backups = Listing::read(location, naming)?.backups;
    for _ in 0..ROUNDS {
        for backup in backups.iter().filter(|backup| backup.name.compression == Compression::None) {
            sync_backup(&backup.path)?;
        }
        fs::sync_dir(location.dir())?;
        // A rotation gives numbered backups other names, so one may have been passed over. Others keep theirs.
        if naming == Naming::Timestamp {
            return Ok(());
        }
        let before = std::mem::replace(&mut backups, Listing::read(location, naming)?.backups);
        // Numbers only go up, so what is where it was has been there all the time.
        let files = |backups: &[Backup]| -> Vec<_> {
            backups.iter().map(|backup| (backup.name, backup.id)).collect()
        };
        if files(&before) == files(&backups) {
            return Ok(());
        }
    }
    let why = "rotations gave its backups other names meanwhile, again and again";
    Err(Error::refused(ErrorKind::Io, "sync", location.path(), why))
}

/// How often backups are synced again because the log was rotated meanwhile.
const ROUNDS: usize = 8;

/// For how long a look at a log is repeated because it was rotated meanwhile.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// How long to wait for a backup to be packed or let go before it is called a failure to sync it.
const PACKING: Duration = Duration::from_secs(10);

fn sync_backup(path: &Path) -> Result<()> {
    if file_at(path)?.is_none() {
        return Ok(());
    }
    // On Windows it cannot be opened while it is packed.
    let deadline = Deadline::after(PACKING);
    let is_refused = |error: &Error| error.io_error().is_some_and(sys::is_lease_refused);
    let mut opened = fs::open_append(path);
    while opened.as_ref().is_err_and(is_refused) && deadline.left().is_some() {
        sleep(Duration::from_millis(1));
        opened = fs::open_append(path);
    }
    let opened = match opened {
        // On Unix a file need not be writable to be synced.
        Err(error) if error.io_kind() == PermissionDenied => fs::open_segment(path)?,
        opened => opened?,
    };
    // Gone if it was packed meanwhile, which has synced it.
    opened.map_or(Ok(()), |file| fs::sync_data(&file, path))
}

/// The regular file at `path`; `None` if it is gone, or if someone put a link or a directory there, which
/// is not ours.
fn file_at(path: &Path) -> Result<Option<Entry>> {
    Ok(fs::stat(path)?.filter(|entry| entry.kind == EntryKind::File))
}

/// One file of a log, as [`RotatingFileWriter::segments`](crate::RotatingFileWriter::segments)
/// reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Segment {
    /// Where it is.
    pub path: PathBuf,
    /// Its size on disk in bytes, packed or not.
    pub bytes: u64,
    /// When it was rotated away (with [`Naming::Number`]: last written to); `None` for the active
    /// segment.
    pub finished: Option<SystemTime>,
    /// What its content is packed with.
    pub compression: Compression,
}

impl Segment {
    /// All segments of a log, oldest first, the active one last.
    ///
    /// A backup that is found both plain and packed, as a crash may leave it, is listed once: packed.
    pub(crate) fn list(location: &Location, naming: Naming) -> Result<Vec<Self>> {
        let active = || fs::stat(location.path());
        let mut before = active()?;
        let deadline = Deadline::after(PATIENCE);
        loop {
            let backups = Listing::read(location, naming)?.backups;
            let after = active()?;
            // A rotation in between would leave a segment out: neither a backup yet nor active any more.
            let is_same = before.map(|entry| entry.id) == after.map(|entry| entry.id);
            if is_same || deadline.left().is_none() {
                return Ok(Self::assemble(location, backups, after));
            }
            before = after;
        }
    }

    fn assemble(location: &Location, backups: Vec<Backup>, active: Option<Entry>) -> Vec<Self> {
        let mut segments: Vec<Self> = Vec::new();
        let mut last = None;
        for backup in backups {
            if last.replace(backup.name.key) == Some(backup.name.key) {
                segments.pop();
            }
            segments.push(backup.into());
        }
        segments.extend(active.map(|active| Self {
            path: location.path().to_owned(),
            bytes: active.len,
            finished: None,
            compression: Compression::None,
        }));
        segments
    }
}

impl From<Backup> for Segment {
    fn from(backup: Backup) -> Self {
        Self {
            bytes: backup.len,
            finished: Some(backup.finished().into()),
            compression: backup.name.compression,
            path: backup.path,
        }
    }
}
