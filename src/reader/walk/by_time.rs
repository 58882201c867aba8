//! The steps from a backup that is named by time.
//!
//! A backup keeps its name, and later ones have later names. So the successor is the next later
//! name among those that were there before a listing. It is the active segment if no later name is
//! there after the active segment was leased.

use super::open::OpenedBackup;
use super::{Missing, Reached, Walk};
use crate::error::Result;
use crate::segment::name::{Key, TimeKey};
use std::collections::BTreeSet;
use std::ops::Bound;

impl Walk {
    /// Steps to the next later name. Returns `None` if segments have moved meanwhile.
    pub(super) fn after_time(&mut self, time: TimeKey) -> Result<Option<Reached>> {
        let mut next = after(&self.known, time).next();
        if next.is_none_or(|next| next > self.complete) {
            self.list()?;
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
        let backups = self.list()?;
        let Some(number) = backups.numbers.last().copied() else {
            self.numbers_ahead = false;
            return Ok(None);
        };
        let OpenedBackup::Found(reached) = self.open(Key::Number(number))? else { return Ok(None) };
        let is_last = self.list()?.numbers.last() == Some(&number);
        Ok((is_last && self.is_in_place(&reached)?).then_some(reached))
    }

    /// Opens the backup of this time, once. If it is gone, it was removed before it was read.
    pub(super) fn open_time(&mut self, time: TimeKey) -> Result<Option<Reached>> {
        let key = Key::Time(time);
        let opened = self.open(key)?;
        self.known.remove(&time);
        match opened {
            OpenedBackup::Found(reached) => Ok(Some(reached)),
            OpenedBackup::Stray => Ok(None),
            OpenedBackup::Gone => {
                let path = self.shelf.missing(&self.location, key);
                self.missing.push(Missing::Removed(path));
                Ok(None)
            }
        }
    }

    /// Opens the active segment. Returns `None` if a backup comes before it.
    pub(super) fn next_active(&mut self) -> Result<Option<Reached>> {
        let reached = self.open_active()?;
        let backups = self.list_before_active()?;
        let is_next = after(&backups.times, self.passed).next().is_none() && !self.numbers_ahead;
        Ok(is_next.then(|| reached.unwrap_or(Reached::End)))
    }
}

/// Returns the times after `time`, in order.
pub(super) fn after(
    times: &BTreeSet<TimeKey>,
    time: TimeKey,
) -> impl Iterator<Item = TimeKey> + '_ {
    times.range((Bound::Excluded(time), Bound::Unbounded)).copied()
}
