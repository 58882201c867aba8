//! The name of a new backup. The steps here need the rotation lock; the caller holds it.

use super::segments::Segments;
use super::{Active, NewestBackup};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::fs::{self, Temp};
use crate::segment::backup_names;
use crate::segment::fresh_name::{name_newest, newest_time};
use crate::segment::lookup::{beyond_gap, numbers_up_to};
use crate::segment::name::Naming;
use crate::segment::note::Note;
use std::path::{Path, PathBuf};

impl Segments {
    /// Renames the active segment to a name that no backup has. Returns its path and its time.
    pub(super) fn rename_to_backup(&self, active: &Active) -> Result<(PathBuf, Timestamp)> {
        self.name_backup(active, |backup| fs::rename_noreplace(self.path(), backup))
    }

    /// Has `give` give the active segment a name that no backup has. Returns its path and its time.
    pub(super) fn name_backup(
        &self,
        active: &Active,
        give: impl Fn(&Path) -> Result<()>,
    ) -> Result<(PathBuf, Timestamp)> {
        let (naming, now) = (self.naming(), self.now());
        let newest = match naming.is_by_time() {
            true => self.newest_backup_time(active)?,
            false => None,
        };
        let earliest = newest.map_or(now, |newest| now.max(newest.next()));
        name_newest(self.location(), naming, earliest, give, |error| self.report(error))
    }

    /// Returns the time in the name of the newest backup.
    pub(super) fn newest_backup_time(&self, active: &Active) -> Result<Option<Timestamp>> {
        match active.newest_backup {
            NewestBackup::Known(newest) => Ok(newest),
            NewestBackup::Unknown => self.find_newest_backup(),
        }
    }

    /// Finds the newest backup by the note on the active segment, or else by a listing.
    fn find_newest_backup(&self) -> Result<Option<Timestamp>> {
        if self.location().is_crowded()? {
            if let Some(NewestBackup::Known(newest)) = Note::of(self.path()).map(|note| note.newest)
            {
                return Ok(newest);
            }
        }
        Ok(newest_time(&backup_names(self.location(), Some(self.naming()))?))
    }

    /// Notes on the segment `next` that it follows this backup, for workers that adopt it.
    pub(super) fn note_newest(&self, active: &Active, backup: &Path, time: Timestamp, next: &Temp) {
        let newest = match self.naming() {
            Naming::Timestamp | Naming::TimestampInfix => NewestBackup::Known(Some(time)),
            Naming::Number => NewestBackup::Unknown,
        };
        let before = Note::of(backup).unwrap_or(Note::EMPTY);
        if let Ok(entry) = fs::fstat(next.file(), next.path()) {
            let beyond_gap = self.beyond_gap(before.beyond_gap);
            let note = Note { newest, beyond_gap, looked_at: before.looked_at, done: None };
            note.put_on(next.path(), entry.id);
        }
        // The first segment of a log, or the first one in a crowded directory, has no note.
        if before.newest == NewestBackup::Unknown && active.newest_backup != before.newest {
            let note = Note { newest: active.newest_backup, ..before };
            note.put_on(backup, active.lease.id());
        }
    }

    /// Returns the highest number after a gap, once a rotation has renamed the backups. If it
    /// filled the gap, it may have renamed that backup too.
    fn beyond_gap(&self, before: Option<u32>) -> Option<u32> {
        let highest = before?.saturating_add(1);
        beyond_gap(&numbers_up_to(self.location(), Some(highest)).ok()?)
    }
}
