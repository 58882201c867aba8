//! Durability: what survives a power cut, and when.
//!
//! With [`Durability::EveryRecord`] commits are made in groups: whoever finds that nobody is syncing does
//! it for all who have written by then; those that come meanwhile wait for the next one.
//!
//! Source: the group commit of database logs, as in David J. DeWitt et al., "Implementation
//! Techniques for Main Memory Database Systems", SIGMOD 1984.

use crate::error::{Error, Result};
use crate::fs;
use crate::segment::Location;
use crate::segment::lease::Lease;
use crate::stats::Journal;
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};

/// What of a log survives a power cut or a crash of the system. (The end of a process alone, also by
/// `kill -9`, never costs a record that was delivered.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(
    feature = "policy",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
pub enum Durability {
    /// What the system has written back by then, usually all but the last half minute; and all that was
    /// written before the last [`sync`](crate::RotatingFileWriter::sync). The default.
    #[default]
    None,
    /// Backups as well: a segment is synced soon after it was rotated away, before it is compressed, and
    /// off the log calls' way. What [`close`](crate::RotatingFileWriter::close) returns `Ok` for is
    /// synced; a failure is counted.
    OnRotate,
    /// Every record whose log call has returned `Ok`. Threads that write at the same time share one
    /// `fdatasync`. If that fails, the records that it was to cover may or may not be on the disk,
    /// and the log call of each fails. Only with [`Delivery::Direct`](crate::Delivery::Direct).
    EveryRecord,
}

/// Takes care that the segments a worker leaves get to the disk, as [`Durability`] says.
pub(crate) struct Custody {
    /// Changed under the write mutex only.
    durability: AtomicU8,
    commit: Commit,
    /// With [`Durability::EveryRecord`]: whether the active segment's name is yet to be made durable.
    is_name_unsynced: AtomicBool,
    /// Left, and yet to be synced; leased until then, so that they are not compressed before.
    unsynced: Mutex<Vec<(Lease, PathBuf)>>,
}

impl Custody {
    pub(crate) fn new(durability: Durability) -> Self {
        let durability = AtomicU8::new(durability as u8);
        Self {
            durability,
            commit: Commit::default(),
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

    /// Goes on with another durability. The caller holds the write mutex; `records` are written so far,
    /// the last of them to `active`, and those that wait to be synced are now.
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
            // The segment that they are in may be left without a sync from now on.
            self.commit.sync(records, || sync(active, dir));
        }
        self.durability.store(durability as u8, Relaxed);
    }

    /// Where records wait to be on the disk, if each does.
    pub(crate) fn commit(&self) -> Option<&Commit> {
        (self.durability() == Durability::EveryRecord).then_some(&self.commit)
    }

    /// Takes over a segment that was left after `records` records. Its successor's name is to be made
    /// durable as well.
    pub(crate) fn leave(&self, left: Lease, records: u64, location: &Location, journal: &Journal) {
        match self.durability() {
            Durability::None => {}
            Durability::OnRotate => self.unsynced.lock().push((left, location.dir().to_owned())),
            // Records are waiting for it, or will as soon as this call lets go of the write mutex.
            Durability::EveryRecord => {
                self.commit.sync(records, || {
                    let synced = fs::sync_data(&left.file, location.path());
                    synced.inspect_err(|error| journal.failed(error.clone()))
                });
                self.is_name_unsynced.store(true, Relaxed);
            }
        }
    }

    /// Syncs records in the active segment, and its name first, if that is new.
    pub(crate) fn sync_active(&self, active: &std::fs::File, location: &Location) -> Result<()> {
        if self.is_name_unsynced.swap(false, Relaxed) {
            if let Err(error) = fs::sync_dir(location.dir()) {
                self.is_name_unsynced.store(true, Relaxed);
                return Err(error);
            }
        }
        fs::sync_data(active, location.path())
    }

    /// Syncs the segments left since the last time.
    ///
    /// # Errors
    /// The first failure. None is tried again: the kernel forgets what it could not write.
    pub(crate) fn sync_left(&self, journal: &Journal) -> Result<()> {
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
    // Its name may be another by now; the directory is named in its stead.
    fs::sync_data(&left.file, dir)?;
    fs::sync_dir(dir)
}

/// Which records of this process are on the disk. Records are counted from 1.
#[derive(Debug, Default)]
pub(crate) struct Commit {
    state: Mutex<State>,
    settled: Condvar,
    /// Held from the call that syncs until its outcome is noted. The kernel reports a failure to one
    /// call only; nobody may note the success of the next one first.
    disk: Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    /// Records up to this one are on the disk, or are known not to be.
    upto: u64,
    /// Whether somebody is about to sync for all.
    led: bool,
    /// The last records whose sync failed.
    failed: Vec<Failure>,
}

#[derive(Debug, Clone)]
struct Failure {
    after: u64,
    upto: u64,
    error: Error,
}

impl Commit {
    /// Waits until record number `record` is on the disk. `prepare` returns the number of the last record
    /// written so far, and what syncs up to it; it is called without a lock held.
    ///
    /// # Errors
    /// What the sync that was to cover the record failed with. Every record that it was to cover gets
    /// that, and it is not tried again: the kernel forgets what it could not write.
    pub(crate) fn wait_for<S>(&self, record: u64, prepare: impl Fn() -> (u64, S)) -> Result<()>
    where
        S: FnOnce() -> Result<()>,
    {
        let mut state = self.state.lock();
        while state.upto < record {
            if state.led {
                self.settled.wait(&mut state);
                continue;
            }
            state.led = true;
            MutexGuard::unlocked(&mut state, || {
                let (upto, sync) = prepare();
                self.sync(upto, sync);
            });
            state.led = false;
            self.settled.notify_all();
        }
        state.verdict(record)
    }

    /// Syncs all records up to `upto`, and notes whether that has worked.
    pub(crate) fn sync(&self, upto: u64, sync: impl FnOnce() -> Result<()>) {
        let _disk = self.disk.lock();
        let done = sync();
        self.state.lock().settle(upto, done);
        self.settled.notify_all();
    }
}

impl State {
    /// How many failed ranges are told apart. Of older ones, of which nobody should wait any more, only
    /// the last error is known.
    const REMEMBERED: usize = 16;

    fn settle(&mut self, upto: u64, done: Result<()>) {
        if upto <= self.upto {
            return;
        }
        let after = std::mem::replace(&mut self.upto, upto);
        let Err(error) = done else { return };
        if self.failed.len() == Self::REMEMBERED {
            let oldest = self.failed.remove(0);
            self.failed[0].after = oldest.after;
        }
        self.failed.push(Failure { after, upto, error });
    }

    fn verdict(&self, record: u64) -> Result<()> {
        let covers = |failure: &&Failure| failure.after < record && record <= failure.upto;
        match self.failed.iter().find(covers) {
            None => Ok(()),
            Some(failure) => Err(failure.error.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::atomic::{AtomicU64, Ordering};

    fn failure() -> Error {
        Error::io("sync", "a.log", io::Error::from_raw_os_error(5))
    }

    #[test]
    fn one_sync_serves_all_that_were_written_before_it() {
        let (commit, syncs) = (Commit::default(), AtomicU64::new(0));
        let prepare = || {
            let sync = || {
                syncs.fetch_add(1, Ordering::Relaxed);
                Ok(())
            };
            (10, sync)
        };
        for record in 1..=10 {
            commit.wait_for(record, prepare).unwrap();
        }
        assert_eq!(syncs.into_inner(), 1);
    }

    #[test]
    fn waiting_threads_share_syncs() {
        let (commit, written, syncs) = (Commit::default(), AtomicU64::new(0), AtomicU64::new(0));
        let gate = std::sync::Barrier::new(8);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let record = written.fetch_add(1, Ordering::SeqCst) + 1;
                    gate.wait();
                    commit
                        .wait_for(record, || {
                            syncs.fetch_add(1, Ordering::SeqCst);
                            (written.load(Ordering::SeqCst), || Ok(()))
                        })
                        .unwrap();
                });
            }
        });
        assert_eq!(syncs.into_inner(), 1);
    }

    #[test]
    fn failed_sync_is_told_to_every_record_it_was_to_cover_and_to_no_other() {
        let commit = Commit::default();
        commit.sync(3, || Ok(()));
        assert!(commit.wait_for(4, || (6, || Err(failure()))).is_err());
        let no_sync = || -> (u64, fn() -> Result<()>) { unreachable!("it is not tried again") };
        assert!(commit.wait_for(3, no_sync).is_ok());
        assert!(commit.wait_for(5, no_sync).is_err());
        assert!(commit.wait_for(6, no_sync).is_err());
        assert!(commit.wait_for(7, || (9, || Ok(()))).is_ok());
        assert!(commit.wait_for(6, no_sync).is_err());
    }

    #[test]
    fn records_of_forgotten_failures_still_fail() {
        let commit = Commit::default();
        for upto in 1..=40 {
            commit.sync(upto, || Err(failure()));
        }
        for record in 1..=40 {
            assert!(commit.wait_for(record, || (0, || Ok(()))).is_err());
        }
    }
}
