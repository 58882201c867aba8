//! Opens a segment for reading: leases it first, and checks its name afterwards.

use super::{Missing, Position, Reached, SegmentRef, Walk};
use crate::clock::{Deadline, sleep};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{self, Entry, EntryKind, FileId};
use crate::reader::shelf::{BackupPlace, Fetched};
use crate::segment::name::{Compression, Key, Name};
use crate::segment::{birth_tag, superseded};
use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// A segment that is open for reading. It is leased, if possible, until [`let_go`](Self::let_go) is
/// called, or until this and all clones are dropped.
#[derive(Debug, Clone)]
pub(crate) struct OpenSegment {
    pub(crate) file: Arc<File>,
    /// The state of the file when it was opened.
    pub(crate) entry: Entry,
    /// The creation time of the uncompressed file; `None` if it is unknown.
    pub(crate) created: Option<SystemTime>,
    /// The tag of a compressed segment.
    pub(crate) tag: birth_tag::Found,
    /// The most memory, in bytes, that its decompression may take.
    pub(crate) memory: u64,
    /// Whether it comes from an archive. No other process has this file.
    pub(crate) is_fetched: bool,
    pub(crate) segment: SegmentRef,
}

impl OpenSegment {
    /// Whether a worker may still append to it. Releases the lease, so call it only for a backup
    /// whose successor is open.
    pub(crate) fn may_grow(&self) -> Result<bool> {
        if self.is_fetched {
            return Ok(false);
        }
        fs::may_grow(&self.file, &self.segment.path)
    }

    /// Releases the lease.
    pub(crate) fn let_go(&self) -> Result<()> {
        if self.is_fetched {
            return Ok(());
        }
        fs::end_lease(&self.file, &self.segment.path)
    }

    pub(crate) fn is_active(&self) -> bool {
        self.segment.position == Position::Active
    }

    /// Returns the creation time in the tag of a numbered backup. A segment that was created after
    /// its last record is a copy, and its tag says nothing about its position.
    pub(crate) fn noted_creation(&self) -> Option<SystemTime> {
        let Position::Backup(Key::Number(_)) = self.segment.position else { return None };
        let created = SystemTime::from(self.tag.created()?);
        (created <= self.entry.modified).then_some(created)
    }

    /// Returns the time of its rotation or, if its name has none, of its last change; `None` for
    /// the active segment.
    pub(crate) fn rotated_at(&self) -> Option<SystemTime> {
        match self.segment.position {
            Position::Active => None,
            Position::Backup(Key::Time(key)) => Some(key.time.into()),
            Position::Backup(Key::Number(_)) => Some(self.entry.modified),
        }
    }
}

/// The result of opening a backup.
#[allow(clippy::large_enum_variant, reason = "there is one at a time, on the stack")]
pub(super) enum OpenedBackup {
    Found(Reached),
    /// A directory or a link has its name. Or an archive listed it, and it is in none of its places
    /// any more, which is noted; such a name is left out of later listings too.
    Stray,
    Gone,
}

impl Walk {
    /// Opens and leases a backup, compressed or not.
    pub(super) fn open(&mut self, key: Key) -> Result<OpenedBackup> {
        // It may be compressed, once, between the look and the opening.
        const LOOKS: usize = 3;
        let known = |compression| self.strays.contains(&Name { key, compression });
        let is_stray = Compression::ALL.into_iter().any(known);
        let mut result = if is_stray { OpenedBackup::Stray } else { OpenedBackup::Gone };
        for _ in 0..LOOKS {
            // Or it may be removed, because it was archived.
            match self.shelf.find(&self.location, key) {
                Ok(BackupPlace::Here) => {}
                Ok(BackupPlace::Fetched(fetched)) => {
                    return Ok(OpenedBackup::Found(self.open_fetched(key, fetched)));
                }
                Ok(BackupPlace::Nowhere) => {
                    if self.shelf.forget(key) {
                        let path = self.shelf.missing(&self.location, key);
                        self.missing.push(Missing::Removed(path));
                    }
                    return Ok(OpenedBackup::Stray);
                }
                Err(error) => {
                    return Ok(OpenedBackup::Found(Reached::Unreadable(
                        self.unfetched(key),
                        error,
                    )));
                }
            }
            let Some(name) = self.choose(key)? else { continue };
            match self.open_name(name)? {
                OpenedBackup::Gone => {}
                OpenedBackup::Stray => {
                    self.strays.insert(name);
                    result = OpenedBackup::Stray;
                }
                found @ OpenedBackup::Found(_) => return Ok(found),
            }
        }
        Ok(result)
    }

    /// A backup that could not be fetched.
    fn unfetched(&self, key: Key) -> SegmentRef {
        let path = self.shelf.missing(&self.location, key);
        SegmentRef {
            position: Position::Backup(key),
            path,
            compression: Compression::None,
            is_lost: false,
            id: FileId { volume: 0, index: 0 },
        }
    }

    /// Opens a backup that comes from an archive.
    fn open_fetched(&self, key: Key, fetched: Fetched) -> Reached {
        let Fetched { file, url, compression, finished, number } = fetched;
        let segment = SegmentRef {
            position: Position::Backup(key),
            path: url,
            compression,
            is_lost: false,
            // The system gives the number of a file that is closed to another one.
            id: FileId { volume: 0, index: number },
        };
        let entry = match fs::fstat(&file, &segment.path) {
            Ok(entry) => Entry { id: segment.id, modified: finished, ..entry },
            Err(error) => return Reached::Unreadable(segment, error),
        };
        // A file that cannot be read reports that later.
        let tag = birth_tag::read(&file, entry.len, compression, &segment.path);
        let tag = tag.unwrap_or(birth_tag::Found::Foreign);
        // An uncompressed one was created just now.
        let created = tag.created().map(SystemTime::from);
        let created = created.filter(|_| compression != Compression::None);
        let (memory, is_fetched) = (self.memory, true);
        Reached::Segment(OpenSegment { file, entry, created, tag, memory, is_fetched, segment })
    }

    /// Chooses which form of a backup to read; `None` if it is gone. A compressed one beside the
    /// uncompressed one is whole if this crate made it. Otherwise another program is compressing
    /// the backup.
    fn choose(&self, key: Key) -> Result<Option<Name>> {
        let mut there = Vec::new();
        // Compressed forms last: a backup that is compressed in between is found then.
        for compression in Compression::ALL {
            let name = Name { key, compression };
            if self.strays.contains(&name) {
                continue;
            }
            if let Some(entry) = fs::stat(&self.location.backup_path(name))? {
                there.push((name, entry));
            }
        }
        let Some((first, plain)) = there.first() else { return Ok(None) };
        let is_ours = |(name, compressed): &&(Name, Entry)| {
            let path = self.location.backup_path(*name);
            superseded::supersedes(&path, name.compression, *compressed, *plain)
        };
        Ok(Some(there.iter().skip(1).find(is_ours).map_or(*first, |(name, _)| *name)))
    }

    /// Opens one form of a backup, by its exact name.
    fn open_name(&self, name: Name) -> Result<OpenedBackup> {
        let path = self.location.backup_path(name);
        let Some(there) = fs::stat(&path)? else { return Ok(OpenedBackup::Gone) };
        if there.kind != EntryKind::File {
            return Ok(OpenedBackup::Stray);
        }
        let position = Position::Backup(name.key);
        let segment = SegmentRef {
            position,
            path,
            compression: name.compression,
            is_lost: false,
            id: there.id,
        };
        Ok(self.open_ref(segment)?.map_or(OpenedBackup::Gone, OpenedBackup::Found))
    }

    /// Opens and leases the active segment; `None` if the log's path names nothing.
    ///
    /// # Errors
    /// [`ErrorKind::NotAFile`] if the path names a directory, a link or another special file.
    pub(super) fn open_active(&self) -> Result<Option<Reached>> {
        if !self.shelf.has_local() {
            return Ok(None);
        }
        let path = self.location.path();
        // It was rotated between two looks; the next ones find its successor.
        for _ in 0..MOVES {
            let Some(there) = fs::stat(path)? else { return Ok(None) };
            if there.kind != EntryKind::File {
                return Err(Error::not_a_file("read", path, there.kind));
            }
            let (position, compression) = (Position::Active, Compression::None);
            let path = path.to_owned();
            let segment = SegmentRef { position, path, compression, is_lost: false, id: there.id };
            if let Some(reached) = self.open_ref(segment)? {
                return Ok(Some(reached));
            }
        }
        Ok(None)
    }

    /// Opens and leases a file. Returns `None` if it no longer has the name it was seen with.
    fn open_ref(&self, mut segment: SegmentRef) -> Result<Option<Reached>> {
        let file = match fs::open_segment(&segment.path) {
            Ok(Some(file)) => file,
            Ok(None) => return Ok(None),
            Err(error) => return Ok(Some(Reached::Unreadable(segment, error))),
        };
        let Some(entry) = fs::fstat_if_any(&file, &segment.path)? else { return Ok(None) };
        segment.id = entry.id;
        lease(&file, &segment)?;
        let is_it = entry.kind == EntryKind::File && segment.is_in_place()?;
        if !is_it {
            return Ok(None);
        }
        // A file that cannot be read reports that later.
        let tag = birth_tag::read(&file, entry.len, segment.compression, &segment.path);
        let tag = tag.unwrap_or(birth_tag::Found::Foreign);
        let created = match segment.compression {
            Compression::None => fs::created(&file, &entry),
            _ => tag.created().map(SystemTime::from),
        };
        Ok(Some(Reached::Segment(OpenSegment {
            file: Arc::new(file),
            entry,
            created,
            tag,
            memory: self.memory,
            is_fetched: false,
            segment,
        })))
    }
}

const MOVES: usize = 1000;

/// Leases a segment. Another process may hold it for a moment to test it, or for as long as
/// compressing it takes. No worker appends to it then, and the open file stays readable. But a
/// numbered backup that is compressed loses its identity, and the reader its position, so the
/// compression is waited for, up to 30 s.
fn lease(file: &File, segment: &SegmentRef) -> Result<()> {
    const RETRY: Duration = Duration::from_micros(200);
    const BRIEFLY: Duration = Duration::from_millis(2);
    const AT_MOST: Duration = Duration::from_secs(30);
    let is_numbered = matches!(segment.position, Position::Backup(Key::Number(_)));
    let until = Deadline::after(if is_numbered { AT_MOST } else { BRIEFLY });
    loop {
        match fs::try_lease(file, &segment.path) {
            Ok(true) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::LockUnsupported => return Ok(()),
            Err(error) => return Err(error),
            Ok(false) if until.left().is_none() || !segment.is_in_place()? => return Ok(()),
            Ok(false) => sleep(RETRY),
        }
    }
}
