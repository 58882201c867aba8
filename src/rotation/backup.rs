//! The name of a new backup. The steps here need the rotation lock; the caller holds it.

use super::segments::Segments;
use super::{Active, NewestBackup};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::fs::{self, Temp};
use crate::segment::lookup::{beyond_gap, numbered, numbers_up_to};
use crate::segment::name::{Key, Name, Naming};
use crate::segment::note::Note;
use crate::segment::{backup_names, superseded};
use std::io::ErrorKind::AlreadyExists;
use std::path::{Path, PathBuf};

impl Segments {
    /// Renames the active segment to a name that no backup has. Returns its path and its time.
    pub(super) fn rename_to_backup(&self, active: &Active) -> Result<(PathBuf, Timestamp)> {
        match self.naming() {
            Naming::Timestamp | Naming::TimestampInfix => self.rename_to_time(active),
            Naming::Number => {
                self.free_number_1()?;
                let backup = self.location().backup_path(Name::plain(Key::Number(1)));
                fs::rename_noreplace(self.path(), &backup)?;
                Ok((backup, self.now()))
            }
        }
    }

    fn rename_to_time(&self, active: &Active) -> Result<(PathBuf, Timestamp)> {
        let now = self.now();
        let newest = self.newest_backup_time(active)?;
        let mut time = newest.map_or(now, |newest| now.max(newest.next()));
        loop {
            let key = self.location().time_key(self.naming(), time);
            let backup = self.location().backup_path(Name::plain(key));
            match fs::rename_noreplace(self.path(), &backup) {
                // A foreign file has that very name; the next microsecond will do.
                Err(error) if error.io_kind() == AlreadyExists && time < Timestamp::MAX => {
                    time = time.next();
                }
                renamed => return renamed.map(|()| (backup, time)),
            }
        }
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

    /// Frees number 1 by renaming 1 to 2, 2 to 3 and so on, up to the first gap. A crash on the way
    /// leaves a gap, and the next rotation renames only up to that.
    fn free_number_1(&self) -> Result<()> {
        let names = numbered(self.location(), self.location().is_crowded()?)?;
        let names = superseded::remove(self.location(), &names, |error| self.report(error))?;
        for (from, to) in shifts(&names) {
            let [from, to] = [from, to].map(|name| self.location().backup_path(name));
            fs::rename_noreplace(&from, &to)?;
        }
        Ok(())
    }
}

/// Returns the newest time in `names`, which come oldest first. A file with the last possible name
/// is no backup of ours, because no later name would be left.
fn newest_time(names: &[Name]) -> Option<Timestamp> {
    names.iter().rev().find_map(|name| name.key.time().filter(|time| *time < Timestamp::MAX))
}

/// Returns the renames that free number 1, in order. `names` come oldest first.
fn shifts(names: &[Name]) -> Vec<(Name, Name)> {
    let mut last = 0;
    let chain = names.iter().rev().map_while(|name| match name.key {
        Key::Number(number) if number <= last + 1 && number < u32::MAX => {
            last = number;
            Some((*name, Name { key: Key::Number(number + 1), ..*name }))
        }
        _ => None,
    });
    let mut chain: Vec<_> = chain.collect();
    chain.reverse();
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(names: &[&str]) -> Vec<Name> {
        let mut names: Vec<_> =
            names.iter().map(|name| Name::parse("a", &format!("a.{name}")).unwrap()).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn shifts_rename_oldest_first_up_to_the_first_gap() {
        let names = numbers(&["1", "2.gz", "3.zst", "5"]);
        let shown: Vec<_> = shifts(&names)
            .into_iter()
            .map(|(from, to)| format!("{} {}", from.format("a"), to.format("a")))
            .collect();
        assert_eq!(shown, ["a.3.zst a.4.zst", "a.2.gz a.3.gz", "a.1 a.2"]);
        assert_eq!(shifts(&numbers(&["2", "3"])), []);
    }
}
