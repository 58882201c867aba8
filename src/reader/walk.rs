//! The order of a log's segments, walked one step at a time while workers go on rotating.
//!
//! No lock is taken, and a listing of a directory is not made at one instant; so a step counts only if
//! looks at single files prove it:
//!
//! - A segment is leased first, and its name is checked afterwards. What is leased is neither packed nor
//!   removed, so it can be found again by its identity, wherever rotations have moved it.
//! - A listing can miss a backup that is being packed just then: the plain name goes and the packed one
//!   comes. That happens to a backup once, so of two listings in a row one has it, if it was there before.
//! - [`Naming::Timestamp`]: a backup keeps its name, and later ones have later names. So the successor
//!   is the next later name among those that were there before a listing; the active segment is, if
//!   after it was leased there is no later name.
//! - [`Naming::Number`]: numbers only ever grow. A backup that has its number before and after a look had
//!   it all the time; so if the next lower number, or the active segment, was leased in between, then
//!   it is the successor.
//!
//! A file that has two of these names is one segment, and the backup's name counts: NFS may go on giving it the
//! log's path after the worker was killed that renamed it.
//!
//! If a log has backups with names of both kinds, those of the kind that has the newest backup come last.

use crate::clock::{Deadline, Timestamp, sleep};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{self, Entry, EntryKind, FileId};
use crate::segment::name::{Compression, Key, Name};
use crate::segment::{Location, backup_names, birth_tag, superseded};
use std::collections::{BTreeSet, HashSet};
use std::fs::File;
use std::ops::{Bound, RangeInclusive};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

#[cfg(doc)]
use crate::segment::name::Naming;

/// Where a segment stands in its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Position {
    Backup(Key),
    Active,
}

/// A segment that was found, whether it could be opened or not.
#[derive(Debug, Clone)]
pub(crate) struct SegmentRef {
    pub(crate) position: Position,
    /// Its name when it was last seen.
    pub(crate) path: PathBuf,
    pub(crate) compression: Compression,
    /// Whether another program took it away, so that its place is not known any more.
    pub(crate) is_lost: bool,
    id: FileId,
}

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

/// Where a step leads.
#[derive(Debug)]
pub(crate) enum Reached {
    Segment(OpenSegment),
    /// There is a segment, but it cannot be opened.
    Unreadable(SegmentRef, Error),
    /// There is none, or none yet.
    End,
}

/// What should have been between two segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Missing {
    /// This backup was listed, and was removed before it was opened.
    Removed(PathBuf),
    /// There are no backups with these numbers.
    Numbers(RangeInclusive<u32>),
}

/// A walk along a log's segments. A clone goes on from the same place.
#[derive(Debug, Clone)]
pub(crate) struct Walk {
    location: Location,
    /// How much memory the decompression of a segment may take.
    memory: u64,
    /// Whether numbered backups are older than those named by time.
    numbers_first: bool,
    /// Whether numbered backups are still to come.
    numbers_ahead: bool,
    /// The newest time name that is at or before the place reached.
    passed: Timestamp,
    /// Time names after that, as far as they were listed.
    known: BTreeSet<Timestamp>,
    /// The newest time name listed.
    seen: Timestamp,
    /// Up to here no time name is unknown: this one was seen before the last listing.
    complete: Timestamp,
    /// What has a backup's name but is a directory or a link: not ours.
    strays: HashSet<Name>,
    missing: Vec<Missing>,
}

/// The backups there are, of either naming.
#[derive(Debug, Default)]
struct Groups {
    times: BTreeSet<Timestamp>,
    numbers: BTreeSet<u32>,
}

impl Groups {
    fn is_empty(&self) -> bool {
        self.times.is_empty() && self.numbers.is_empty()
    }
}

/// What came of opening a backup.
enum OpenedBackup {
    Found(Reached),
    /// It is a directory or a link.
    Stray,
    Gone,
}

/// How often a rotation is given the time to close a gap in the numbers, and how long each time.
const GAP_LOOKS: usize = 20;
const GAP_WAIT: Duration = Duration::from_millis(5);

impl Walk {
    pub(crate) fn new(location: Location, memory: u64) -> Result<Self> {
        let mut walk = Self {
            location,
            memory,
            numbers_first: true,
            numbers_ahead: false,
            passed: Timestamp::MIN,
            known: BTreeSet::new(),
            seen: Timestamp::MIN,
            complete: Timestamp::MIN,
            strays: HashSet::new(),
            missing: Vec::new(),
        };
        let groups = walk.groups()?;
        walk.numbers_first = walk.are_numbers_first(&groups)?;
        walk.numbers_ahead = !walk.numbers_first;
        Ok(walk)
    }

    pub(crate) fn location(&self) -> &Location {
        &self.location
    }

    fn are_numbers_first(&self, groups: &Groups) -> Result<bool> {
        let (Some(time), Some(number)) = (groups.times.last(), groups.numbers.first()) else {
            return Ok(true);
        };
        for compression in Compression::ALL {
            let name = Name { key: Key::Number(*number), compression };
            if let Some(entry) = fs::stat(&self.location.backup_path(name))? {
                return Ok(Timestamp::from(entry.modified) <= *time);
            }
        }
        Ok(true)
    }

    /// What was found missing since this was last asked.
    pub(crate) fn take_missing(&mut self) -> Vec<Missing> {
        std::mem::take(&mut self.missing)
    }

    /// Takes note of the backups there are now, so that it is known when one is removed unread.
    pub(crate) fn look(&mut self) -> Result<()> {
        self.groups().map(drop)
    }

    /// Lists the backups. None that was there before is left out.
    fn groups(&mut self) -> Result<Groups> {
        const LISTINGS: usize = 2;
        let mut groups = Groups::default();
        for _ in 0..LISTINGS {
            for name in backup_names(&self.location, None)? {
                if self.strays.contains(&name) {
                    continue;
                }
                match name.key {
                    Key::Time(time) => groups.times.insert(time),
                    Key::Number(number) => groups.numbers.insert(number),
                };
            }
        }
        self.known.extend(after(&groups.times, self.passed));
        self.complete = self.seen;
        self.seen = groups.times.last().copied().unwrap_or_default().max(self.seen);
        Ok(groups)
    }

    /// The oldest segment.
    pub(crate) fn oldest(&mut self) -> Result<Reached> {
        loop {
            let groups = self.groups()?;
            let time = groups.times.first().map(|time| Key::Time(*time));
            let number = groups.numbers.last().map(|number| Key::Number(*number));
            let first = if self.numbers_first { number.or(time) } else { time.or(number) };
            let Some(key) = first else {
                let active = self.next_active()?;
                match active.filter(|_| self.groups().is_ok_and(|groups| groups.is_empty())) {
                    Some(reached) => return Ok(reached),
                    None => continue,
                }
            };
            let OpenedBackup::Found(reached) = self.open(key)? else { continue };
            if let Key::Number(number) = key {
                // Still the highest after it was leased.
                let last = self.groups()?.numbers.last().copied();
                if last != Some(number) || !self.is_in_place(&reached)? {
                    continue;
                }
            }
            self.advance_to(Position::Backup(key));
            return Ok(reached);
        }
    }

    /// The newest segment: the active one, if there is one.
    pub(crate) fn newest(&mut self) -> Result<Reached> {
        loop {
            let groups = self.groups()?;
            if let Some(active) = self.open_active()? {
                self.advance_to(Position::Active);
                self.passed = groups.times.last().copied().unwrap_or(Timestamp::MIN);
                return Ok(active);
            }
            let Some(key) = self.newest_backup(&groups) else { return Ok(Reached::End) };
            if let OpenedBackup::Found(reached) = self.open(key)? {
                self.retreat_to(key, &groups);
                return Ok(reached);
            }
        }
    }

    fn newest_backup(&self, groups: &Groups) -> Option<Key> {
        let time = groups.times.last().map(|time| Key::Time(*time));
        let number = groups.numbers.first().map(|number| Key::Number(*number));
        if self.numbers_first { time.or(number) } else { number.or(time) }
    }

    /// The segment after one that is held, which is found again wherever it has been moved.
    pub(crate) fn after(&mut self, segment: &mut SegmentRef) -> Result<Reached> {
        let mut looks = 0;
        loop {
            let is_sure = self.locate(segment)?;
            let reached = match segment.position {
                Position::Active => Some(Reached::End),
                Position::Backup(Key::Time(time)) => self.after_time(time)?,
                Position::Backup(Key::Number(number)) => {
                    self.after_number(is_sure.then_some(&*segment), number, &mut looks)?
                }
            };
            let Some(reached) = reached else { continue };
            match &reached {
                Reached::Segment(found) if found.segment.id == segment.id => {
                    if found.is_active() && segment.is_in_place()? {
                        return Ok(Reached::End);
                    }
                    // It may have been put back, by a rotation that failed half-way.
                    *segment = found.segment.clone();
                    self.advance_to(segment.position);
                    continue;
                }
                Reached::Segment(OpenSegment { segment, .. }) | Reached::Unreadable(segment, _) => {
                    self.advance_to(segment.position)
                }
                Reached::End => {}
            }
            return Ok(reached);
        }
    }

    /// `None` if things have moved meanwhile.
    fn after_time(&mut self, time: Timestamp) -> Result<Option<Reached>> {
        let mut next = after(&self.known, time).next();
        if next.is_none_or(|next| next > self.complete) {
            self.groups()?;
            next = after(&self.known, time).next();
        }
        match next {
            Some(next) if next <= self.complete => return self.open_time(next),
            Some(_) => return Ok(None),
            None => {}
        }
        if !self.numbers_ahead {
            return self.next_active();
        }
        let groups = self.groups()?;
        let Some(number) = groups.numbers.last().copied() else {
            self.numbers_ahead = false;
            return Ok(None);
        };
        let OpenedBackup::Found(reached) = self.open(Key::Number(number))? else { return Ok(None) };
        let is_last = self.groups()?.numbers.last() == Some(&number);
        Ok((is_last && self.is_in_place(&reached)?).then_some(reached))
    }

    fn open_time(&mut self, time: Timestamp) -> Result<Option<Reached>> {
        let key = Key::Time(time);
        let opened = self.open(key)?;
        self.known.remove(&time);
        match opened {
            OpenedBackup::Found(reached) => Ok(Some(reached)),
            OpenedBackup::Stray => Ok(None),
            OpenedBackup::Gone => {
                let path = self.location.backup_path(Name::plain(key));
                self.missing.push(Missing::Removed(path));
                Ok(None)
            }
        }
    }

    /// `from` is where we are, if that can be proven.
    fn after_number(
        &mut self,
        from: Option<&SegmentRef>,
        number: u32,
        looks: &mut usize,
    ) -> Result<Option<Reached>> {
        let is_there = |from: Option<&SegmentRef>| from.map_or(Ok(true), SegmentRef::is_in_place);
        if number > 1 {
            let next = Key::Number(number - 1);
            if let OpenedBackup::Found(reached) = self.open(next)? {
                return Ok(is_there(from)?.then_some(reached));
            }
        }
        let lower = below(&self.groups()?.numbers, number);
        let reached = match lower {
            Some(lower) => match self.open(Key::Number(lower))? {
                OpenedBackup::Found(reached) => Some(reached),
                OpenedBackup::Stray | OpenedBackup::Gone => None,
            },
            None => {
                let next = after(&self.known, self.passed).next();
                match next {
                    Some(time) if time <= self.complete => self.open_time(time)?,
                    Some(_) => None,
                    None => self.next_active()?,
                }
            }
        };
        let is_same = below(&self.groups()?.numbers, number) == lower && is_there(from)?;
        let Some(reached) = reached.filter(|_| is_same) else { return Ok(None) };
        let gap = lower.unwrap_or(0) + 1..=number - 1;
        if !gap.is_empty() {
            // A rotation renames one after the other, so there may be a gap for a moment.
            *looks += 1;
            if *looks < GAP_LOOKS {
                sleep(GAP_WAIT);
                return Ok(None);
            }
            self.missing.push(Missing::Numbers(gap));
        }
        Ok(Some(reached))
    }

    /// The segment before one that is held.
    pub(crate) fn before(&mut self, segment: &mut SegmentRef) -> Result<Reached> {
        loop {
            let is_sure = self.locate(segment)?;
            let can_move = is_sure && !matches!(segment.position, Position::Backup(Key::Time(_)));
            let groups = self.groups()?;
            let newest_time = || groups.times.last().map(|time| Key::Time(*time));
            let newest_number = || groups.numbers.first().map(|number| Key::Number(*number));
            let key = match segment.position {
                Position::Active => self.newest_backup(&groups),
                Position::Backup(Key::Time(time)) => {
                    let earlier = groups.times.range(..time).next_back();
                    let earlier = earlier.map(|time| Key::Time(*time));
                    earlier.or_else(|| newest_number().filter(|_| self.numbers_first))
                }
                Position::Backup(Key::Number(number)) => {
                    let higher = (Bound::Excluded(number), Bound::Unbounded);
                    let higher = groups.numbers.range(higher).next();
                    let higher = higher.map(|number| Key::Number(*number));
                    higher.or_else(|| newest_time().filter(|_| !self.numbers_first))
                }
            };
            let opened = match key {
                Some(key) => self.open(key)?,
                None => OpenedBackup::Found(Reached::End),
            };
            let OpenedBackup::Found(reached) = opened else { continue };
            if can_move && !segment.is_in_place()? {
                continue;
            }
            let Some(key) = key else { return Ok(reached) };
            self.retreat_to(key, &groups);
            match reached {
                Reached::Segment(found) if found.segment.id == segment.id => {
                    *segment = found.segment
                }
                reached => return Ok(reached),
            }
        }
    }

    fn advance_to(&mut self, position: Position) {
        match position {
            Position::Backup(Key::Time(time)) => {
                self.passed = time;
                self.known = self.known.split_off(&time);
                self.known.remove(&time);
            }
            Position::Backup(Key::Number(_)) | Position::Active => self.numbers_ahead = false,
        }
    }

    fn retreat_to(&mut self, key: Key, groups: &Groups) {
        self.passed = match key {
            Key::Time(time) => time,
            Key::Number(_) if self.numbers_first => Timestamp::MIN,
            Key::Number(_) => groups.times.last().copied().unwrap_or(Timestamp::MIN),
        };
        self.numbers_ahead = !self.numbers_first && matches!(key, Key::Time(_));
        self.known = after(&groups.times, self.passed).collect();
    }

    /// The active segment, if there is no backup after those passed: `None` if there is.
    fn next_active(&mut self) -> Result<Option<Reached>> {
        let reached = self.open_active()?;
        let times = self.groups()?.times;
        let is_next = after(&times, self.passed).next().is_none() && !self.numbers_ahead;
        Ok(is_next.then(|| reached.unwrap_or(Reached::End)))
    }

    /// Finds out where a held segment is now. `false` if it cannot be told.
    fn locate(&mut self, segment: &mut SegmentRef) -> Result<bool> {
        const LOOKS: usize = 3;
        match segment.position {
            Position::Backup(Key::Time(_)) => return Ok(true),
            _ if segment.is_in_place()? => return Ok(true),
            _ => {}
        }
        // A rotation that fails half-way puts the active segment back.
        for _ in 0..LOOKS {
            let groups = self.groups()?;
            let (times, numbers) = match segment.position {
                Position::Active => (after(&groups.times, self.passed).collect(), 1..),
                Position::Backup(Key::Number(number)) => (Vec::new(), number..),
                Position::Backup(Key::Time(_)) => return Ok(true),
            };
            let times = times.into_iter().map(Key::Time);
            let numbers = groups.numbers.range(numbers).map(|number| Key::Number(*number));
            for key in times.chain(numbers) {
                let path =
                    self.location.backup_path(Name { key, compression: segment.compression });
                if fs::is_at(&path, segment.id)? {
                    (segment.position, segment.path) = (Position::Backup(key), path);
                    self.advance_to(segment.position);
                    return Ok(true);
                }
            }
            if segment.is_in_place()? {
                return Ok(true);
            }
        }
        if segment.position == Position::Active {
            // Removed or taken elsewhere by another program. What came since is after it.
            segment.is_lost = true;
            segment.position = Position::Backup(Key::Time(self.passed));
        }
        Ok(false)
    }

    fn is_in_place(&self, reached: &Reached) -> Result<bool> {
        match reached {
            Reached::Segment(open) => open.segment.is_in_place(),
            Reached::Unreadable(segment, _) => segment.is_in_place(),
            Reached::End => Ok(true),
        }
    }

    /// Opens and leases a backup, in whatever packing it is.
    fn open(&mut self, key: Key) -> Result<OpenedBackup> {
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

    fn open_active(&self) -> Result<Option<Reached>> {
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

impl SegmentRef {
    fn is_in_place(&self) -> Result<bool> {
        fs::is_at(&self.path, self.id)
    }
}

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

fn after(times: &BTreeSet<Timestamp>, time: Timestamp) -> impl Iterator<Item = Timestamp> + '_ {
    times.range((Bound::Excluded(time), Bound::Unbounded)).copied()
}

fn below(numbers: &BTreeSet<u32>, number: u32) -> Option<u32> {
    numbers.range(..number).next_back().copied()
}
