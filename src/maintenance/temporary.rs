//! The temporaries that no process writes any more.

use super::pass::Pass;
use crate::error::{ErrorKind, Result};
use crate::fs::{self, FileId, Unleased};
use crate::lock::Wait;
use crate::segment::fresh_name::{free_number_1, give_time, newest_time};
use crate::segment::name::Naming;
use crate::segment::{DirectorySnapshot, backup_names, rotation_lock, temporary};
use std::path::Path;

impl Pass<'_> {
    /// Removes temporary files that no live process writes.
    pub(super) fn clear_temporaries(&mut self, snapshot: &mut DirectorySnapshot) {
        snapshot.temporaries.retain(|(path, _)| {
            let cleared = match self.is_of_segment(path) {
                true => self.clear_segment(path),
                false => fs::remove_dead_temp(path),
            };
            self.check(cleared) != Some(true)
        });
        self.temporaries = snapshot.temporaries.iter().map(|(path, _)| path.clone()).collect();
    }

    /// Removes the name of a temporary that a backup, this file, has beside its own because its
    /// worker died during the rotation. Once the backup is gone, that name would seem to be another
    /// program's file. Returns `false` if this has to wait for the end of a rotation. `is_locked`
    /// if the caller holds the rotation lock.
    pub(super) fn remove_second_name(&mut self, backup: FileId, is_locked: bool) -> Result<bool> {
        for name in fs::names(self.location.dir())? {
            let path = self.location.dir().join(name);
            if !self.is_of_segment(&path) || !fs::is_at(&path, backup)? {
                continue;
            }
            let is_cleared = match is_locked {
                true => self.clear_segment_locked(&path)?,
                false => self.clear_segment(&path)?,
            };
            if !is_cleared {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn is_of_segment(&self, path: &Path) -> bool {
        let name = path.file_name().and_then(|name| name.to_str());
        let target = self.location.path().file_name().and_then(|name| name.to_str());
        name.and_then(fs::temp_target) == target
    }

    /// Removes what a rotation has left behind; returns `true` if it is gone. It is a new segment,
    /// or the second name of the old one, or a file that another program had put at the log's path
    /// meanwhile: that becomes a backup.
    fn clear_segment(&mut self, path: &Path) -> Result<bool> {
        let Some(there) = fs::stat(path)? else { return Ok(true) };
        if there.links == 1 && matches!(fs::open_dead_temp(path)?, Unleased::Leased) {
            return Ok(false);
        }
        // A rotation that is under way would take the file for its own.
        let lock = rotation_lock::open(self.location, self.maintainer.settings().lock_mode)?;
        let guard = match lock.exclusive(Wait::Never) {
            Err(error) if error.kind() == ErrorKind::LockTimeout => {
                self.deferred = true;
                return Ok(false);
            }
            taken => taken?,
        };
        let cleared = self.clear_segment_locked(path);
        if let Err(error) = guard.unlock() {
            self.maintainer.journal.failed(error);
        }
        cleared
    }

    fn clear_segment_locked(&mut self, path: &Path) -> Result<bool> {
        let Some(there) = fs::stat(path)? else { return Ok(true) };
        if there.links > 1 {
            fs::remove(path)?;
            return Ok(true);
        }
        match fs::open_dead_temp(path)? {
            Unleased::Leased => Ok(false),
            Unleased::Gone => Ok(true),
            Unleased::Ours(held) => {
                let Some(ours) = fs::fstat_if_any(&held, path)? else { return Ok(true) };
                if !fs::is_at(path, ours.id)? {
                    return Ok(true);
                }
                if temporary::may_be_foreign(&held, ours.len, path)? {
                    self.make_backup(path)?;
                } else {
                    fs::remove(path)?;
                }
                Ok(true)
            }
        }
    }

    /// Makes a file the newest backup.
    fn make_backup(&mut self, path: &Path) -> Result<()> {
        let (location, now) = (self.location, self.maintainer.clock.now());
        match self.naming() {
            naming @ (Naming::Timestamp | Naming::TimestampInfix) => {
                let newest = newest_time(&backup_names(location, Some(naming))?);
                let earliest = newest.map_or(now, |newest| now.max(newest.next()));
                give_time(location, naming, earliest, |backup| fs::rename_noreplace(path, backup))?;
            }
            Naming::Number => {
                let failed = |error| self.maintainer.journal.failed(error);
                let backup = free_number_1(location, failed)?;
                fs::rename_noreplace(path, &backup)?;
            }
        }
        Ok(())
    }
}
