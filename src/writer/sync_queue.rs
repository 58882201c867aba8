//! The segments that this worker has left and that wait to be synced.

use super::group_commit::GroupCommit;
use crate::config::Durability;
use crate::error::Result;
use crate::fs;
use crate::segment::Location;
use crate::segment::lease::Lease;
use crate::stats::Journal;
use parking_lot::Mutex;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};

/// Syncs the segments that a worker leaves, as [`Durability`] requires.
pub(crate) struct SyncQueue {
    /// Changes only on the exclusive side of the append lock.
    durability: AtomicU8,
    group_commit: GroupCommit,
    /// Whether the active segment's name is not durable yet, with [`Durability::EveryRecord`].
    is_name_unsynced: AtomicBool,
    /// Segments that wait to be synced. Each is leased until then, so that it is not compressed
    /// before.
    unsynced: Mutex<Vec<(Lease, PathBuf)>>,
}

impl SyncQueue {
    pub(crate) fn new(durability: Durability) -> Self {
        let durability = AtomicU8::new(durability as u8);
        Self {
            durability,
            group_commit: GroupCommit::default(),
            is_name_unsynced: AtomicBool::new(false),
            unsynced: Mutex::default(),
        }
    }

    #[inline]
    fn durability(&self) -> Durability {
        const NONE: u8 = Durability::None as u8;
        const ON_ROTATE: u8 = Durability::OnRotate as u8;
        match self.durability.load(Relaxed) {
            NONE => Durability::None,
            ON_ROTATE => Durability::OnRotate,
            _ => Durability::EveryRecord,
        }
    }

    /// Takes over another durability. `records` were written so far, the last of them to `active`;
    /// those that wait for a sync get one now. The caller holds the append lock alone.
    #[cfg(feature = "policy")]
    pub(crate) fn apply(
        &self,
        durability: Durability,
        records: u64,
        active: &Lease,
        dir: &std::path::Path,
    ) {
        if self.durability() == durability {
            return;
        }
        if self.durability() == Durability::EveryRecord {
            // The segment may be left without a sync from now on.
            self.group_commit.sync(records, || sync(active, dir));
        }
        self.durability.store(durability as u8, Relaxed);
    }

    /// Whether backups are synced, but not each record.
    pub(crate) fn syncs_backups(&self) -> bool {
        self.durability() == Durability::OnRotate
    }

    /// Returns the group commit if each record waits for it.
    pub(crate) fn group_commit(&self) -> Option<&GroupCommit> {
        (self.durability() == Durability::EveryRecord).then_some(&self.group_commit)
    }

    /// Takes over a segment that was left after `records` records. The name of its successor must
    /// become durable as well.
    pub(crate) fn enqueue(
        &self,
        left: Lease,
        records: u64,
        location: &Location,
        journal: &Journal,
    ) {
        match self.durability() {
            Durability::None => {}
            Durability::OnRotate => self.unsynced.lock().push((left, location.dir().to_owned())),
            // Records wait for it, or will as soon as this call releases the append lock.
            Durability::EveryRecord => {
                self.group_commit.sync(records, || {
                    let synced = fs::sync_data(&left.file, location.path());
                    synced.inspect_err(|error| journal.failed(error.clone()))
                });
                self.is_name_unsynced.store(true, Relaxed);
            }
        }
    }

    /// Syncs the records in the active segment, and first its name if that is new.
    pub(crate) fn sync_active(&self, active: &std::fs::File, location: &Location) -> Result<()> {
        if self.is_name_unsynced.swap(false, Relaxed) {
            if let Err(error) = fs::sync_dir(location.dir()) {
                self.is_name_unsynced.store(true, Relaxed);
                return Err(error);
            }
        }
        fs::sync_data(active, location.path())
    }

    /// Whether segments wait to be synced.
    pub(crate) fn has_unsynced(&self) -> bool {
        !self.unsynced.lock().is_empty()
    }

    /// Syncs the segments that were left since the last call.
    ///
    /// # Errors
    /// The first failure. A failed sync is not tried again, because the kernel forgets data that it
    /// could not write.
    pub(crate) fn sync_queued(&self, journal: &Journal) -> Result<()> {
        let unsynced = std::mem::take(&mut *self.unsynced.lock());
        let mut first = Ok(());
        for (left, dir) in unsynced {
            if let Err(error) = sync(&left, &dir) {
                journal.failed(error.clone());
                first = first.and(Err(error));
            }
        }
        first
    }
}

fn sync(left: &Lease, dir: &std::path::Path) -> Result<()> {
    // Its name may have changed, so messages name the directory.
    fs::sync_data(&left.file, dir)?;
    fs::sync_dir(dir)
}
