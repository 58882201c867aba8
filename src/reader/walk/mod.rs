//! The order of a log's segments, walked one step at a time while workers rotate.
//!
//! No lock is taken, and the listing of a directory does not show one instant. So a step counts
//! only if looks at single files prove it:
//!
//! - A segment is leased first, and its name is checked afterwards. A leased segment is neither
//!   compressed nor removed, so it can be found again by its identity, wherever rotations have
//!   moved it.
//! - A listing can miss a backup that is being compressed: the uncompressed name goes and the
//!   compressed one comes. That happens to a backup once, so it is in one of two listings in a row.
//! - Each [`Naming`] has a proof of its own that a segment is the successor: see `by_time` and
//!   `by_number`.
//!
//! A file that has two of these names is one segment, and the backup's name counts. A rotation
//! gives the active segment a second name first, which stays if its worker is killed. NFS may keep
//! the log's path for a file after the worker that renamed it was killed.
//!
//! If a log has backups with names of both kinds, the kind that has the newest backup comes last.

mod back;
mod by_number;
mod by_time;
mod open;

pub(crate) use open::OpenSegment;

use super::shelf::Shelf;
use crate::error::{Error, Result};
use crate::fs::{self, FileId};
use crate::segment::Location;
use crate::segment::name::{Compression, Key, Name, TimeKey};
use by_time::after;
use open::OpenedBackup;
use std::collections::{BTreeSet, HashSet};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;

#[cfg(doc)]
use crate::segment::name::Naming;

/// The position of a segment in its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Position {
    Backup(Key),
    Active,
}

/// A segment that was found, whether it could be opened or not.
#[derive(Debug, Clone)]
pub(crate) struct SegmentRef {
    pub(crate) position: Position,
    /// Its path when it was last seen.
    pub(crate) path: PathBuf,
    pub(crate) compression: Compression,
    /// Whether another program took it away, so that its position is unknown.
    pub(crate) is_lost: bool,
    id: FileId,
}

/// The result of a step.
#[derive(Debug)]
pub(crate) enum Reached {
    Segment(OpenSegment),
    /// The segment exists but cannot be opened.
    Unreadable(SegmentRef, Error),
    /// No segment, or none yet.
    End,
}

/// Segments that are missing between two others.
#[derive(Debug, Clone)]
pub(crate) enum Missing {
    /// This backup was listed, and was removed before it was opened.
    Removed(PathBuf),
    /// No backups have these numbers.
    Numbers(RangeInclusive<u32>),
    /// The archive could not be listed again, so segments that were archived since may be missing.
    Unlisted(Error),
}

/// A walk along a log's segments. A clone continues from the same position.
#[derive(Debug, Clone)]
pub(crate) struct Walk {
    location: Location,
    /// Where the backups come from.
    shelf: Shelf,
    /// The most memory, in bytes, that the decompression of a segment may take.
    memory: u64,
    /// Whether numbered backups are older than those named by time.
    numbers_first: bool,
    /// Whether numbered backups are still to come.
    numbers_ahead: bool,
    /// The newest time name at or before the present position.
    passed: TimeKey,
    /// The time names after that, as far as they were listed.
    known: BTreeSet<TimeKey>,
    /// The newest time name listed.
    seen: TimeKey,
    /// All time names up to this one are known: it was seen before the last listing.
    complete: TimeKey,
    /// The last listing. No backup with a time name up to `complete` is missing in it.
    listed: Arc<Backups>,
    /// Directories and links that have a backup's name.
    strays: HashSet<Name>,
    missing: Vec<Missing>,
}

/// The backups of either naming.
#[derive(Debug, Default)]
struct Backups {
    times: BTreeSet<TimeKey>,
    numbers: BTreeSet<u32>,
}

impl Backups {
    fn is_empty(&self) -> bool {
        self.times.is_empty() && self.numbers.is_empty()
    }
}

impl Walk {
    /// Starts a walk before the oldest segment, and decides which naming comes first.
    pub(crate) fn new(location: Location, memory: u64) -> Result<Self> {
        Self::along(location, Shelf::beside_log(), memory)
    }

    /// Starts a walk along the backups of a shelf.
    pub(in crate::reader) fn along(location: Location, shelf: Shelf, memory: u64) -> Result<Self> {
        let mut walk = Self {
            location,
            shelf,
            memory,
            numbers_first: true,
            numbers_ahead: false,
            passed: TimeKey::MIN,
            known: BTreeSet::new(),
            seen: TimeKey::MIN,
            complete: TimeKey::MIN,
            listed: Arc::default(),
            strays: HashSet::new(),
            missing: Vec::new(),
        };
        let backups = walk.list()?;
        walk.numbers_first = walk.are_numbers_first(&backups)?;
        walk.numbers_ahead = !walk.numbers_first;
        Ok(walk)
    }

    pub(crate) fn location(&self) -> &Location {
        &self.location
    }

    /// Returns the segments found missing since the last call.
    pub(crate) fn take_missing(&mut self) -> Vec<Missing> {
        std::mem::take(&mut self.missing)
    }

    /// Whether segments were found missing since the last call.
    pub(crate) fn has_missing(&self) -> bool {
        !self.missing.is_empty()
    }

    /// Lists the backups, so that the removal of an unread one is noticed.
    pub(crate) fn look(&mut self) -> Result<()> {
        self.list().map(drop)
    }

    /// Lists the backups. None that existed before the call is left out.
    fn list(&mut self) -> Result<Arc<Backups>> {
        self.list_upto(self.seen)
    }

    /// Lists the backups after the active segment was opened.
    fn list_before_active(&mut self) -> Result<Arc<Backups>> {
        self.list_upto(TimeKey::MAX)
    }

    /// Lists the backups. A segment that was archived and removed before one of the time `upto` was
    /// seen is not left out either.
    fn list_upto(&mut self, upto: TimeKey) -> Result<Arc<Backups>> {
        const LISTINGS: usize = 2;
        let mut names = HashSet::new();
        for _ in 0..LISTINGS {
            names.extend(self.shelf.local(&self.location)?);
        }
        // After the directory: a segment that is removed there was archived before.
        if let Err(error) = self.shelf.list_again(upto) {
            self.missing.push(Missing::Unlisted(error));
        }
        let here: HashSet<_> = names.iter().map(|name| name.key).collect();
        let archived = self.shelf.archived().into_iter();
        names.extend(archived.filter(|name| !here.contains(&name.key)));
        let mut backups = Backups::default();
        for name in names.difference(&self.strays) {
            match name.key {
                Key::Time(time) => backups.times.insert(time),
                Key::Number(number) => backups.numbers.insert(number),
            };
        }
        self.known.extend(after(&backups.times, self.passed));
        self.complete = self.seen;
        self.seen = backups.times.last().copied().map_or(self.seen, |newest| newest.max(self.seen));
        self.listed = Arc::new(backups);
        Ok(Arc::clone(&self.listed))
    }

    /// Opens the oldest segment.
    pub(crate) fn oldest(&mut self) -> Result<Reached> {
        loop {
            let backups = self.list()?;
            let time = backups.times.first().map(|time| Key::Time(*time));
            let number = backups.numbers.last().map(|number| Key::Number(*number));
            let first = if self.numbers_first { number.or(time) } else { time.or(number) };
            let Some(key) = first else {
                let active = self.next_active()?;
                match active.filter(|_| self.list().is_ok_and(|backups| backups.is_empty())) {
                    Some(reached) => return Ok(reached),
                    None => continue,
                }
            };
            let OpenedBackup::Found(reached) = self.open(key)? else { continue };
            if let Key::Number(number) = key {
                // Check that it is still the highest number after it was leased.
                let last = self.list()?.numbers.last().copied();
                if last != Some(number) || !self.is_in_place(&reached)? {
                    continue;
                }
            }
            self.advance_to(Position::Backup(key));
            return Ok(reached);
        }
    }

    /// Opens the segment after one that is open, wherever rotations have moved that one.
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
                    // A rotation that failed half-way may have put it back.
                    *segment = found.segment.clone();
                    self.advance_to(segment.position);
                    continue;
                }
                Reached::Segment(OpenSegment { segment, .. }) | Reached::Unreadable(segment, _) => {
                    self.advance_to(segment.position);
                }
                Reached::End => {}
            }
            return Ok(reached);
        }
    }

    /// Notes that the walk has moved forward to this position.
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

    /// Finds the present position of an open segment. Returns `false` if it is unknown.
    fn locate(&mut self, segment: &mut SegmentRef) -> Result<bool> {
        const LOOKS: usize = 3;
        match segment.position {
            Position::Backup(Key::Time(_)) => return Ok(true),
            _ if segment.is_in_place()? => return Ok(true),
            _ => {}
        }
        // A rotation that fails half-way puts the active segment back.
        for _ in 0..LOOKS {
            if self.is_nearby(segment)? {
                return Ok(true);
            }
            let backups = self.list()?;
            let (times, numbers) = match segment.position {
                Position::Active => (after(&backups.times, self.passed).collect(), 1..),
                Position::Backup(Key::Number(number)) => (Vec::new(), number..),
                Position::Backup(Key::Time(_)) => return Ok(true),
            };
            let times = times.into_iter().map(Key::Time);
            let numbers = backups.numbers.range(numbers).map(|number| Key::Number(*number));
            for key in times.chain(numbers) {
                if self.is_now_at(segment, key)? {
                    return Ok(true);
                }
            }
            if segment.is_in_place()? {
                return Ok(true);
            }
        }
        if segment.position == Position::Active {
            // Another program removed or renamed it. Newer backups come after it.
            segment.is_lost = true;
            segment.position = Position::Backup(Key::Time(self.passed));
        }
        Ok(false)
    }

    /// Whether few rotations have moved a numbered backup. Numbers only grow, and more slowly than
    /// they are looked at, so a backup that workers move all the time is found too.
    fn is_nearby(&mut self, segment: &mut SegmentRef) -> Result<bool> {
        const ROTATIONS: u32 = 32;
        let Position::Backup(Key::Number(number)) = segment.position else { return Ok(false) };
        for number in number..=number.saturating_add(ROTATIONS) {
            if self.is_now_at(segment, Key::Number(number))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a backup's name is that of an open segment. Moves the segment there if so.
    fn is_now_at(&mut self, segment: &mut SegmentRef, key: Key) -> Result<bool> {
        let path = self.location.backup_path(Name { key, compression: segment.compression });
        let is_it = fs::is_at(&path, segment.id)?;
        if is_it {
            (segment.position, segment.path) = (Position::Backup(key), path);
            self.advance_to(segment.position);
        }
        Ok(is_it)
    }

    fn is_in_place(&self, reached: &Reached) -> Result<bool> {
        match reached {
            Reached::Segment(open) => open.segment.is_in_place(),
            Reached::Unreadable(segment, _) => segment.is_in_place(),
            Reached::End => Ok(true),
        }
    }
}

impl SegmentRef {
    pub(super) fn is_in_place(&self) -> Result<bool> {
        fs::is_at(&self.path, self.id)
    }
}
