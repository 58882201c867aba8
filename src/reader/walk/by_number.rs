//! The steps from a backup that is named by number.
//!
//! Numbers only ever grow. A backup that has its number before and after a look had it all the
//! time. So if the next lower number, or the active segment, was leased in between, it is the
//! successor.

use super::by_time::after;
use super::open::OpenedBackup;
use super::{Backups, Missing, Reached, SegmentRef, Walk};
use crate::clock::{Timestamp, sleep};
use crate::error::Result;
use crate::fs;
use crate::segment::name::{Compression, Key, Name};
use std::collections::BTreeSet;
use std::time::Duration;

/// The number of looks at a gap in the numbers before it counts as final, and the time between
/// them. A rotation that is under way closes it.
const GAP_LOOKS: usize = 20;
const GAP_WAIT: Duration = Duration::from_millis(5);

impl Walk {
    /// Steps to the next lower number. `from` is the present segment, if its position is certain.
    /// Returns `None` if segments have moved meanwhile.
    pub(super) fn after_number(
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
        let lower = below(&self.list()?.numbers, number);
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
        let is_same = below(&self.list()?.numbers, number) == lower && is_there(from)?;
        let Some(reached) = reached.filter(|_| is_same) else { return Ok(None) };
        let gap = lower.unwrap_or(0) + 1..=number - 1;
        if !gap.is_empty() {
            // A rotation renames one backup after the other, so a gap may last for a moment.
            *looks += 1;
            if *looks < GAP_LOOKS {
                sleep(GAP_WAIT);
                return Ok(None);
            }
            self.missing.push(Missing::Numbers(gap));
        }
        Ok(Some(reached))
    }

    /// Whether the numbered backups are older than those named by time, by the newest of each.
    pub(super) fn are_numbers_first(&self, backups: &Backups) -> Result<bool> {
        let (Some(time), Some(number)) = (backups.times.last(), backups.numbers.first()) else {
            return Ok(true);
        };
        for compression in Compression::ALL {
            let name = Name { key: Key::Number(*number), compression };
            if let Some(entry) = fs::stat(&self.location.backup_path(name))? {
                return Ok(Timestamp::from(entry.modified) <= time.time);
            }
        }
        Ok(true)
    }
}

/// Returns the highest number below `number`: the next newer backup.
fn below(numbers: &BTreeSet<u32>, number: u32) -> Option<u32> {
    numbers.range(..number).next_back().copied()
}
