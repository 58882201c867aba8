//! The rotation without a gap: the log's path names a segment at every time.
//!
//! The active segment gets the backup's name as a second name. Then the next segment and the log's
//! path are exchanged, and the name of the temporary, which is the old segment's now, is removed.
//! Other programs may move, replace or remove the file at the path between any two steps. So the
//! file that comes back under the temporary's name is looked at, and no file loses its last name.
//!
//! The steps here need the rotation lock; the caller holds it.

use super::segments::Segments;
use super::{Active, NewestBackup, Switch, SwitchCause};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::fs::{self, Entry, EntryKind, FileId, Temp};
use crate::segment::fresh_name::name_newest;
use crate::segment::lease::Lease;
use crate::segment::lookup::backups_that_are;
use crate::segment::name::{Key, Name, Naming};
use crate::segment::note::Note;
use std::cell::Cell;
use std::io::ErrorKind::AlreadyExists;
use std::path::{Path, PathBuf};

/// The outcome of a rotation without a gap.
pub(super) enum Exchanged {
    Switched(Switch),
    /// The file system has no links or no exchange. The segment has its old name only.
    Refused((Temp, u64)),
}

/// A rotation after its first step.
struct Linked {
    /// The name that the active segment has got.
    backup: PathBuf,
    time: Timestamp,
    segment: FileId,
    /// The number of its names before.
    links: u64,
}

/// The file at the log's path when the next segment took it.
enum Displaced {
    /// The active segment.
    Segment,
    /// Another program's file, which is a backup now, between the segment's and the next. The
    /// segment is at `backup`, unless that program has it elsewhere.
    File { backup: Option<PathBuf> },
    /// A directory or a link, which has the path again.
    Other,
}

impl Segments {
    /// Whether the active segment, of which `entry` is the state, may be rotated without a gap.
    pub(super) fn may_exchange(&self, entry: &Entry, next: &mut Temp) -> Result<bool> {
        // In such a directory the second name of another user's file could not be removed again.
        let is_kept =
            || Ok(fs::stat(self.location().dir())?.is_some_and(|dir| fs::keeps_names(dir.access)));
        Ok(self.can_exchange(next) && (fs::is_own(entry.access) || !is_kept()?))
    }

    /// Whether the file system can exchange two files. It is tried once, because on one that cannot
    /// a second name might not be recognized as one of the same file.
    fn can_exchange(&self, next: &mut Temp) -> bool {
        let mut known = self.exchanges.lock();
        if let Some(known) = *known {
            return known;
        }
        let tried = match next.try_exchange(self.path()) {
            Ok(()) => Some(true),
            Err(error) if error.io_error().is_some_and(fs::is_exchange_missing) => Some(false),
            // Another failure says nothing about the next time.
            Err(error) => {
                self.report(error);
                None
            }
        };
        *known = tried;
        tried == Some(true)
    }

    /// Gives the active segment a backup's name, and exchanges it with the next one.
    pub(super) fn exchange(
        &self,
        active: &mut Active,
        links: u64,
        next: (Temp, u64),
        is_crowded: bool,
    ) -> Result<Exchanged> {
        let is_refused = Cell::new(false);
        let named = self.name_backup(active, |backup| {
            fs::link(self.path(), backup).inspect_err(|_| is_refused.set(true))
        });
        let (backup, time) = match named {
            Ok(named) => named,
            Err(error) if error.io_kind() == AlreadyExists => return Err(error),
            // Another program has moved the segment.
            Err(_) if is_refused.get() && self.has_moved(active)? => {
                return self.adopt_locked(active).map(Exchanged::Switched);
            }
            // The file system has no links, or this segment may get no other: renames will do, or
            // say why they do not.
            Err(_) if is_refused.get() => return Ok(Exchanged::Refused(next)),
            Err(error) => return Err(error),
        };
        if is_crowded {
            self.note_newest(active, &backup, time, &next.0);
        }
        let linked = Linked { backup, time, segment: active.lease.id(), links };
        let (temp, header_len) = next;
        match Lease::exchanged(temp, self.location()) {
            Ok((lease, old)) => {
                let next = self.started(lease, header_len, NewestBackup::Known(Some(time)));
                self.exchanged(active, next, linked, &old).map(Exchanged::Switched)
            }
            Err((temp, error)) => self.not_exchanged(active, (temp, header_len), linked, error),
        }
    }

    /// Continues in the next segment, which has the log's path. `old` names the file that had it.
    fn exchanged(
        &self,
        active: &mut Active,
        mut next: Active,
        linked: Linked,
        old: &Path,
    ) -> Result<Switch> {
        let bytes = active.size;
        let displaced = self.settle(&linked, old).unwrap_or_else(|error| {
            // Maintenance tries again.
            self.report(error);
            Displaced::Segment
        });
        let backup = match displaced {
            Displaced::Segment => Some(linked.backup),
            Displaced::File { backup } => {
                next.newest_backup = NewestBackup::Unknown;
                // The note has the time of the backup before that file.
                if let Some(note) = Note::of(self.path()) {
                    let note = Note { newest: NewestBackup::Unknown, ..note };
                    note.put_on(self.path(), next.lease.id());
                }
                backup
            }
            Displaced::Other => return self.adopt_locked(active),
        };
        let cause = match backup {
            Some(backup) => SwitchCause::Rotated { backup, bytes },
            None => SwitchCause::Created,
        };
        Ok(Switch { left: active.switch_to(next), cause })
    }

    /// Removes the name `old` of the segment. If it is another file's, that becomes a backup.
    fn settle(&self, linked: &Linked, old: &Path) -> Result<Displaced> {
        let Some(there) = fs::stat(old)? else { return Ok(Displaced::Segment) };
        if there.id == linked.segment && there.links > linked.links {
            fs::remove(old)?;
            return Ok(Displaced::Segment);
        }
        if there.kind != EntryKind::File {
            self.put_back(linked, old)?;
            return Ok(Displaced::Other);
        }
        if fs::is_at(&linked.backup, there.id)? {
            fs::remove(old)?;
            return Ok(Displaced::File { backup: Some(linked.backup.clone()) });
        }
        let is_elsewhere = self.unlink_backup(linked)?;
        let backup = self.make_backup(old, linked.time)?;
        Ok(Displaced::File {
            backup: match there.id == linked.segment {
                true => Some(backup),
                false => (!is_elsewhere).then(|| self.name_before(&linked.backup)),
            },
        })
    }

    /// Returns the path of the segment at `backup` since another file became the next backup.
    fn name_before(&self, backup: &Path) -> PathBuf {
        match self.naming() {
            Naming::Timestamp | Naming::TimestampInfix => backup.to_owned(),
            Naming::Number => self.location().backup_path(Name::plain(Key::Number(2))),
        }
    }

    /// Gives a directory or a link the log's path again, where another program has put it. The next
    /// segment becomes a backup, because others may have written to it meanwhile.
    fn put_back(&self, linked: &Linked, old: &Path) -> Result<()> {
        match fs::exchange(old, self.path()) {
            Err(error) if error.is_not_found() => return fs::rename_noreplace(old, self.path()),
            exchanged => exchanged?,
        }
        self.unlink_backup(linked)?;
        if fs::stat(old)?.is_some_and(|there| there.kind == EntryKind::File) {
            self.make_backup(old, linked.time)?;
        }
        Ok(())
    }

    /// Makes a file that had the log's path the newest backup, after the one named by `time`.
    fn make_backup(&self, old: &Path, time: Timestamp) -> Result<PathBuf> {
        let earliest = self.now().max(time.next());
        let give = |backup: &Path| fs::rename_noreplace(old, backup);
        let failed = |error| self.report(error);
        Ok(name_newest(self.location(), self.naming(), earliest, give, failed)?.0)
    }

    /// The next segment could not take the place of the active one.
    fn not_exchanged(
        &self,
        active: &mut Active,
        next: (Temp, u64),
        linked: Linked,
        error: Error,
    ) -> Result<Exchanged> {
        let is_missing = error.io_error().is_some_and(fs::is_exchange_missing);
        let is_undone = self.unlink_backup(&linked).map_err(|failure| self.report(failure));
        match is_undone {
            Ok(true) if is_missing => {
                *self.exchanges.lock() = Some(false);
                return Ok(Exchanged::Refused(next));
            }
            // Another program has moved the segment.
            Ok(true) if error.is_not_found() => {
                return self.adopt_locked(active).map(Exchanged::Switched);
            }
            Ok(true) | Err(()) => return Err(error),
            // Another program has removed the segment, so it has only the backup's name.
            Ok(false) => {}
        }
        let Linked { backup, time, .. } = linked;
        let bytes = active.size;
        let left = self.take_path(active, next, time).inspect_err(|_| self.undo_rename(&backup))?;
        let cause = SwitchCause::Rotated { backup, bytes };
        Ok(Exchanged::Switched(Switch { left, cause }))
    }

    /// Removes the backup's name of the segment if it has another one. Returns `false` if it has
    /// not.
    fn unlink_backup(&self, linked: &Linked) -> Result<bool> {
        let Some(there) = fs::stat(&linked.backup)? else { return Ok(true) };
        let links = if there.id == linked.segment { linked.links } else { 1 };
        let has_another = there.links > links;
        if has_another {
            fs::remove(&linked.backup)?;
        }
        Ok(has_another)
    }

    /// Undoes the first step of a rotation whose worker died after it: the active segment, this
    /// file, has a backup's name too. That need not be the newest any more, since maintenance may
    /// have made another program's file a backup.
    pub(super) fn undo_link(&self, segment: FileId) -> Result<()> {
        for backup in backups_that_are(self.location(), segment)? {
            let backup = backup?;
            // In this order: it must still have the log's path when it loses the other name.
            if fs::is_at(self.path(), segment)? {
                fs::remove(&backup)?;
            }
        }
        Ok(())
    }
}
