//! The steps back, from the newest segment to the oldest.
//!
//! The directory is not listed at each step:
//!
//! - Names by time never go back. So a complete listing shows all backups before one that it shows.
//! - Numbers only grow. So the backup with the next higher number comes before a segment that has
//!   the same number before and after that backup was leased.

use super::by_time::after;
use super::open::OpenedBackup;
use super::{Backups, Position, Reached, SegmentRef, Walk};
use crate::error::Result;
use crate::segment::name::{Key, TimeKey};
use std::ops::Bound;
use std::sync::Arc;

/// A place that a walk can return to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    passed: TimeKey,
    numbers_ahead: bool,
}

/// The backup that a step back has opened; `None` before the oldest one.
type StepBack = Option<(Key, Reached)>;

impl Walk {
    /// Opens the newest segment: the active one, if it exists.
    pub(crate) fn newest(&mut self) -> Result<Reached> {
        loop {
            let backups = self.list()?;
            if let Some(active) = self.open_active()? {
                self.advance_to(Position::Active);
                self.passed = backups.times.last().copied().unwrap_or(TimeKey::MIN);
                return Ok(active);
            }
            let Some(key) = self.newest_backup(&backups, TimeKey::MAX) else {
                return Ok(Reached::End);
            };
            if let OpenedBackup::Found(reached) = self.open(key)? {
                self.retreat_to(key);
                return Ok(reached);
            }
        }
    }

    /// Opens the segment before one that is open.
    pub(crate) fn before(&mut self, segment: &mut SegmentRef) -> Result<Reached> {
        loop {
            let is_sure = self.locate(segment)?;
            let can_move = is_sure && !matches!(segment.position, Position::Backup(Key::Time(_)));
            let Some(step) = self.open_before(segment)? else { continue };
            if can_move && !segment.is_in_place()? {
                continue;
            }
            let Some((key, reached)) = step else { return Ok(Reached::End) };
            self.retreat_to(key);
            match reached {
                Reached::Segment(found) if found.segment.id == segment.id => {
                    *segment = found.segment;
                }
                reached => return Ok(reached),
            }
        }
    }

    /// Returns the present place, to [return](Self::return_to) to after steps back.
    pub(crate) fn mark(&self) -> Mark {
        Mark { passed: self.passed, numbers_ahead: self.numbers_ahead }
    }

    /// Takes back the steps back since a mark.
    pub(crate) fn return_to(&mut self, mark: Mark) {
        (self.passed, self.numbers_ahead) = (mark.passed, mark.numbers_ahead);
        self.known = self.known.split_off(&mark.passed);
        self.known.remove(&mark.passed);
    }

    /// Opens the backup before a position. Lists the directory only if nothing else proves which
    /// one that is. Returns `None` if segments have moved meanwhile.
    fn open_before(&mut self, segment: &SegmentRef) -> Result<Option<StepBack>> {
        let found = match segment.position {
            Position::Active => None,
            _ if segment.is_lost => None,
            Position::Backup(Key::Time(time)) => self.open_earlier(time)?,
            Position::Backup(Key::Number(number)) => self.open_higher(number)?,
        };
        if found.is_some() {
            return Ok(Some(found));
        }
        let backups = match segment.position {
            Position::Active => self.list_before_active()?,
            Position::Backup(_) => self.list()?,
        };
        let Some(key) = self.key_before(segment, &backups) else { return Ok(Some(None)) };
        match self.open(key)? {
            OpenedBackup::Found(reached) => Ok(Some(Some((key, reached)))),
            OpenedBackup::Stray | OpenedBackup::Gone => Ok(None),
        }
    }

    /// Opens the next earlier backup of the last listing, if that is complete.
    fn open_earlier(&mut self, time: TimeKey) -> Result<StepBack> {
        if time > self.complete {
            return Ok(None);
        }
        let backups = Arc::clone(&self.listed);
        for earlier in backups.times.range(..time).rev() {
            let key = Key::Time(*earlier);
            match self.open(key)? {
                OpenedBackup::Found(reached) => return Ok(Some((key, reached))),
                OpenedBackup::Stray => {}
                // It was removed. A new listing shows which others were too.
                OpenedBackup::Gone => break,
            }
        }
        Ok(None)
    }

    /// Opens the backup with the next higher number. A stray is renumbered with the backups.
    fn open_higher(&mut self, number: u32) -> Result<StepBack> {
        let mut number = number;
        while let Some(higher) = number.checked_add(1) {
            let key = Key::Number(higher);
            match self.open(key)? {
                OpenedBackup::Found(reached) => return Ok(Some((key, reached))),
                OpenedBackup::Stray => number = higher,
                OpenedBackup::Gone => break,
            }
        }
        Ok(None)
    }

    /// Returns the backup before a segment, as a listing shows it.
    fn key_before(&self, segment: &SegmentRef, backups: &Backups) -> Option<Key> {
        let newest_time = || backups.times.last().map(|time| Key::Time(*time));
        let newest_number = || backups.numbers.first().map(|number| Key::Number(*number));
        match segment.position {
            Position::Active => self.newest_backup(backups, TimeKey::MAX),
            // It was the active segment. Later backups come after it.
            Position::Backup(Key::Time(time)) if segment.is_lost => {
                self.newest_backup(backups, time)
            }
            Position::Backup(Key::Time(time)) => {
                let earlier = backups.times.range(..time).next_back();
                let earlier = earlier.map(|time| Key::Time(*time));
                earlier.or_else(|| newest_number().filter(|_| self.numbers_first))
            }
            Position::Backup(Key::Number(number)) => {
                let higher = (Bound::Excluded(number), Bound::Unbounded);
                let higher = backups.numbers.range(higher).next();
                let higher = higher.map(|number| Key::Number(*number));
                higher.or_else(|| newest_time().filter(|_| !self.numbers_first))
            }
        }
    }

    /// Returns the newest backup, of the naming that comes last. Later times than `limit` are left
    /// out.
    fn newest_backup(&self, backups: &Backups, limit: TimeKey) -> Option<Key> {
        let time = backups.times.range(..=limit).next_back().map(|time| Key::Time(*time));
        let number = backups.numbers.first().map(|number| Key::Number(*number));
        if self.numbers_first { time.or(number) } else { number.or(time) }
    }

    /// Notes that the walk has moved back to this backup. The backups after it are to come again.
    fn retreat_to(&mut self, key: Key) {
        let from = self.passed;
        let backups = Arc::clone(&self.listed);
        self.passed = match key {
            Key::Time(time) => time,
            Key::Number(_) if self.numbers_first => TimeKey::MIN,
            Key::Number(_) => backups.times.last().copied().unwrap_or(TimeKey::MIN),
        };
        self.numbers_ahead = !self.numbers_first && matches!(key, Key::Time(_));
        let left = after(&backups.times, self.passed).take_while(|time| *time <= from);
        self.known.extend(left);
    }
}
