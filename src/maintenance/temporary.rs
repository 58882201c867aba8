//! The temporaries that no process writes any more.

use super::pass::Pass;
use crate::error::{ErrorKind, Result};
use crate::fs::{self, Entry, FileId, Unleased};
use crate::lock::Wait;
use crate::segment::fresh_name::{name_newest, newest_time};
use crate::segment::lookup::backups_that_are;
use crate::segment::{Backup, DirectorySnapshot, backup_names, temporary};
use std::collections::HashSet;
use std::path::Path;

impl Pass<'_> {
    /// Removes temporary files that no live process writes. Returns the listing after that.
    pub(super) fn clear_temporaries(
        &mut self,
        mut snapshot: DirectorySnapshot,
    ) -> Option<DirectorySnapshot> {
        self.made_backup = false;
        snapshot.temporaries.retain(|(path, _)| {
            let cleared = match self.is_of_segment(path) {
                true => self.clear_segment(path),
                false => fs::remove_dead_temp(path),
            };
            self.check(cleared) != Some(true)
        });
        self.temporaries = snapshot.temporaries.iter().map(|(path, _)| path.clone()).collect();
        if self.made_backup {
            // There is one more, and numbered ones have other names.
            self.names = None;
            let listed = self.list();
            let temporaries = std::mem::take(&mut snapshot.temporaries);
            snapshot = DirectorySnapshot { temporaries, ..self.check(listed)? };
        }
        Some(snapshot)
    }

    /// Removes the names of temporaries that backups have beside their own because a worker died
    /// during the rotation. Once such a backup is gone, that name would seem to be another
    /// program's file. It stays while a rotation is under way.
    pub(super) fn remove_second_names(&mut self, backups: &[Backup]) -> Result<()> {
        let with_more = backups.iter().filter(|backup| backup.entry.links > 1);
        let mut single: HashSet<_> = with_more.map(|backup| backup.entry.id).collect();
        if single.is_empty() {
            return Ok(());
        }
        for name in fs::names(self.location.dir())? {
            let path = self.location.dir().join(name);
            if !self.is_of_segment(&path) {
                continue;
            }
            let Some(there) = fs::stat(&path)? else { continue };
            if single.contains(&there.id) && !self.clear_segment(&path)? {
                single.remove(&there.id);
            }
        }
        self.single.extend(single);
        Ok(())
    }

    /// Whether a backup may have the name of a temporary too.
    pub(super) fn has_second_name(&self, entry: &Entry) -> bool {
        entry.links > 1 && !self.single.contains(&entry.id)
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
        let (maintainer, location) = (self.maintainer, self.location);
        let work = || self.clear_segment_locked(path);
        match maintainer.with_rotation_lock(location, Wait::Never, work) {
            Err(error) if error.kind() == ErrorKind::LockTimeout => {
                self.deferred = true;
                Ok(false)
            }
            cleared => cleared,
        }
    }

    fn clear_segment_locked(&mut self, path: &Path) -> Result<bool> {
        let Some(there) = fs::stat(path)? else { return Ok(true) };
        // Another program's file may have its other name elsewhere.
        if there.links > 1 && self.is_named(there.id)? {
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

    /// Whether a file has the log's path or a backup's name.
    fn is_named(&self, file: FileId) -> Result<bool> {
        if fs::is_at(self.location.path(), file)? {
            return Ok(true);
        }
        let backup = backups_that_are(self.location, file)?.next().transpose()?;
        Ok(backup.is_some())
    }

    /// Makes a file the newest backup.
    fn make_backup(&mut self, path: &Path) -> Result<()> {
        self.made_backup = true;
        let (location, naming) = (self.location, self.naming());
        let newest = match naming.is_by_time() {
            true => newest_time(&backup_names(location, Some(naming))?),
            false => None,
        };
        let now = self.maintainer.clock.now();
        let earliest = newest.map_or(now, |newest| now.max(newest.next()));
        let give = |backup: &Path| fs::rename_noreplace(path, backup);
        let failed = |error| self.maintainer.journal.failed(error);
        name_newest(location, naming, earliest, give, failed)?;
        Ok(())
    }
}
