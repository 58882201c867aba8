//! Which backups of a listing are beyond the limits, and which of them may be removed.

use super::pass::Pass;
use super::prune::{BackupStat, DiskState, Retention};
use crate::error::Result;
use crate::fs;
use crate::ledger::Archived;
use crate::segment::{Backup, DirectorySnapshot};
use crate::stats::{DeferralReason, Event};

impl Pass<'_> {
    /// Returns how many of the oldest files are beyond the limits.
    pub(super) fn excess(&self, snapshot: &DirectorySnapshot) -> Result<usize> {
        self.excess_of(snapshot, self.maintainer.settings().retention)
    }

    /// Returns how many of the oldest files are to be removed because of the free space.
    pub(super) fn excess_for_space(&self, snapshot: &DirectorySnapshot) -> Result<usize> {
        let min_free_space = self.maintainer.settings().retention.min_free_space;
        self.excess_of(snapshot, Retention { min_free_space, ..Retention::default() })
    }

    fn excess_of(&self, snapshot: &DirectorySnapshot, retention: Retention) -> Result<usize> {
        let settings = self.maintainer.settings();
        let active = fs::stat(self.location.path())?.map_or(0, |entry| entry.len);
        let temporaries = snapshot.temporaries.iter().map(|(_, bytes)| *bytes);
        let superseded = snapshot.superseded.iter().map(|backup| backup.entry.len);
        let others = temporaries.chain(superseded).fold(0, u64::saturating_add);
        let free = match retention.min_free_space {
            Some(min) => self.free_soon(min)?,
            None => u64::MAX,
        };
        let now = self.maintainer.clock.now();
        let disk = DiskState {
            now,
            other_bytes: others.saturating_add(active.max(settings.max_size)),
            free,
        };
        let backups = files_per_backup(&snapshot.backups);
        let stats = |forms: &&[Backup]| BackupStat {
            bytes: forms.iter().map(|form| form.entry.len).fold(0, u64::saturating_add),
            finished: forms[0].rotated_at_by(now),
        };
        let stats: Vec<_> = backups.iter().map(stats).collect();
        let excess = retention.excess(&stats, disk);
        Ok(backups[..excess].iter().map(|forms| forms.len()).sum())
    }

    /// The free space of the file system. If it is less than `min`, it includes the removed backups
    /// that processes still have open: their space will be free.
    fn free_soon(&self, min: u64) -> Result<u64> {
        let free = fs::free_space(self.location.dir())?.unwrap_or(u64::MAX);
        if free >= min {
            return Ok(free);
        }
        let removed = fs::removed_and_open(self.location.dir(), |name| self.location.owns(name))?;
        Ok(free.saturating_add(removed))
    }

    /// Whether a backup beyond the limits is archived, or may be removed without: one that is to be
    /// removed because of the free space, of a log that is set up so.
    pub(super) fn may_remove(
        &self,
        archived: &Archived,
        backup: &Backup,
        is_for_space: bool,
    ) -> bool {
        if is_for_space || archived.has(self.location, backup) {
            return true;
        }
        // The archive calls for a pass once it has the backup.
        if self.maintainer.reports_deferrals {
            let (path, reason) = (backup.path.clone(), DeferralReason::NotArchived);
            self.maintainer.journal.note(Event::Deferred { path, reason });
        }
        false
    }

    /// Reads which backups are archived.
    pub(super) fn archived(&self) -> Result<Archived> {
        Archived::of(self.location, self.maintainer.settings().duty)
    }
}

/// Groups listed files by backup. A backup that another worker is compressing may have two.
pub(super) fn files_per_backup(listed: &[Backup]) -> Vec<&[Backup]> {
    listed.chunk_by(|a, b| a.name.key == b.name.key).collect()
}
