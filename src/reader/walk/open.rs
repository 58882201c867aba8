//! Opens a segment for reading: leases it first, and checks its name afterwards.

use super::{Position, Reached, SegmentRef, Walk};
use crate::clock::{Deadline, sleep};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{self, Entry, EntryKind};
use crate::segment::name::{Compression, Key, Name};
use crate::segment::{birth_tag, superseded};
use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// A segment open for reading. It is leased, if that could be had, until [`Held::let_go`], or until
/// this and all clones are dropped.
#[derive(Debug, Clone)]
pub(crate) struct OpenSegment {
    pub(crate) file: Arc<File>,
    /// As it was when it was opened.
    pub(crate) entry: Entry,
    /// When its file was made, before it was packed; `None` if that is not known.
    pub(crate) created: Option<SystemTime>,
    /// What a compressed one notes.
    pub(crate) tag: birth_tag::Found,
    /// How much memory its decompression may take.
    pub(crate) memory: u64,
    pub(crate) segment: SegmentRef,
}

impl OpenSegment {
    /// Whether a worker may still append to it. Gives the lease back: only for what is not the active
    /// segment any more, and whose successor is held.
    pub(crate) fn may_grow(&self) -> Result<bool> {
        fs::may_grow(&self.file, &self.segment.path)
    }

    /// Gives the lease back.
    pub(crate) fn let_go(&self) -> Result<()> {
        fs::end_lease(&self.file, &self.segment.path)
    }

    pub(crate) fn is_active(&self) -> bool {
        self.segment.position == Position::Active
    }

    /// When a compressed backup with a number was created, by its tag. A segment that was created after
    /// its last record is a copy, and its tag says nothing of its position.
    pub(crate) fn noted_creation(&self) -> Option<SystemTime> {
        let Position::Backup(Key::Number(_)) = self.segment.position else { return None };
        let created = SystemTime::from(self.tag.created()?);
        (created <= self.entry.modified).then_some(created)
    }

    /// When it was rotated away, or if its name does not tell, last written to; `None` for the active
    /// segment.
    pub(crate) fn rotated_at(&self) -> Option<SystemTime> {
        match self.segment.position {
            Position::Active => None,
            Position::Backup(Key::Time(time)) => Some(time.into()),
            Position::Backup(Key::Number(_)) => Some(self.entry.modified),
        }
    }
}

/// What came of opening a backup.
pub(super) enum OpenedBackup {
    Found(Reached),
    /// It is a directory or a link.
    Stray,
    Gone,
}

impl Walk {
    /// Opens and leases a backup, in whatever packing it is.
    pub(super) fn open(&mut self, key: Key) -> Result<OpenedBackup> {
        // It may be packed, once, between the look and the opening.
        const LOOKS: usize = 3;
        let known = |compression| self.strays.contains(&Name { key, compression });
        let is_stray = Compression::ALL.into_iter().any(known);
        let mut result = if is_stray { OpenedBackup::Stray } else { OpenedBackup::Gone };
        for _ in 0..LOOKS {
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

    /// Which of a backup's packings is to be read; `None` if there is none. A packed one beside the plain one
    /// is whole if we made it of that; else somebody else is packing it there.
    fn choose(&self, key: Key) -> Result<Option<Name>> {
        let mut there = Vec::new();
        // The packed ones last: what is packed in between is found then.
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
        let is_ours = |(name, packed): &&(Name, Entry)| {
            let path = self.location.backup_path(*name);
            superseded::supersedes(&path, name.compression, *packed, *plain)
        };
        Ok(Some(there.iter().skip(1).find(is_ours).map_or(*first, |(name, _)| *name)))
    }

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

    pub(super) fn open_active(&self) -> Result<Option<Reached>> {
        let path = self.location.path();
        // Rotated away between two looks; the next ones find its successor.
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

    /// Opens and leases a file; `None` if it has not, or not any more, the name it was seen with.
    fn open_ref(&self, mut segment: SegmentRef) -> Result<Option<Reached>> {
        let file = match fs::open_segment(&segment.path) {
            Ok(Some(file)) => file,
            Ok(None) => return Ok(None),
            Err(error) => return Ok(Some(Reached::Unreadable(segment, error))),
        };
        let entry = fs::fstat(&file, &segment.path)?;
        segment.id = entry.id;
        lease(&file, &segment)?;
        let is_it = entry.kind == EntryKind::File && segment.is_in_place()?;
        if !is_it {
            return Ok(None);
        }
        // A file that cannot be read will tell so later.
        let tag = birth_tag::read(&file, entry.len, segment.compression, &segment.path);
        let tag = tag.unwrap_or(birth_tag::Found::Foreign);
        let created = match segment.compression {
            Compression::None => entry.born,
            _ => tag.created().map(SystemTime::from),
        };
        Ok(Some(Reached::Segment(OpenSegment {
            file: Arc::new(file),
            entry,
            created,
            tag,
            memory: self.memory,
            segment,
        })))
    }
}

const MOVES: usize = 1000;

/// Leases a segment. Somebody may hold it for a moment to see whether it can, or for as long as packing
/// it takes; then nobody appends to it any more, and what we have open stays readable. But a numbered
/// backup that is packed loses its identity, and with it we our place, so its packing is waited for.
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
