//! The backups that a program without leases has open for writing.

use crate::error::Result;
use crate::fs::{self, FileId};
use crate::segment::Backup;
use std::collections::HashSet;
use std::fs::File;

/// The answer of the system for some backups. It is asked about many at once, since each question
/// looks at all open files of the machine.
#[derive(Debug, Default)]
pub(super) struct ForeignWriters {
    asked: HashSet<FileId>,
    written: HashSet<FileId>,
}

impl ForeignWriters {
    /// Asks about the listed backups. `taken` is a handle of our own, which on NFS is one for
    /// writing.
    pub(super) fn of(listed: &[Backup], taken: Option<&File>) -> Result<Self> {
        let asked: Vec<_> = listed.iter().map(|backup| backup.entry.id).collect();
        let written = fs::open_for_writing(&asked, taken)?;
        Ok(Self { asked: asked.into_iter().collect(), written })
    }

    /// Whether one of the listed backups is open for writing. A program has had it open since it
    /// was the active segment, or has opened it by its present name.
    pub(super) fn has(
        &mut self,
        backup: &Backup,
        listed: &[Backup],
        taken: Option<&File>,
    ) -> Result<bool> {
        if !self.asked.contains(&backup.entry.id) {
            *self = Self::of(listed, taken)?;
        }
        Ok(self.written.contains(&backup.entry.id))
    }
}
