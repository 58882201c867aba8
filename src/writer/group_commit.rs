//! The group commit of [`Durability::EveryRecord`](crate::Durability::EveryRecord).
//!
//! A thread that finds no sync in progress leads: it syncs for all that have written by then.
//! Threads that come meanwhile wait for the next sync.
//!
//! Source: the group commit of database logs, as in David J. DeWitt et al., "Implementation
//! Techniques for Main Memory Database Systems", SIGMOD 1984.

use crate::error::{Error, Result};
use crate::sync::{Condvar, Mutex, MutexGuard};

/// Knows which records of this process are on the disk. Records are counted from 1.
#[derive(Debug, Default)]
pub(crate) struct GroupCommit {
    state: Mutex<CommitState>,
    settled: Condvar,
    /// Held from the sync until its outcome is recorded. The kernel reports a failure to one call
    /// only, and the success of the next call must not be recorded first.
    disk: Mutex<()>,
}

#[derive(Debug, Default)]
struct CommitState {
    /// The sync of all records up to this one has ended, in success or failure.
    up_to: u64,
    /// Whether a thread syncs for all, or is about to.
    has_leader: bool,
    /// A failed sync, which may also have hit records that were written while it was in progress.
    suspect: Option<Error>,
    /// The last ranges of records whose sync failed.
    failed: Vec<FailedRange>,
}

#[derive(Debug, Clone)]
struct FailedRange {
    after: u64,
    up_to: u64,
    error: Error,
}

impl GroupCommit {
    /// Waits until record number `record` is on the disk.
    ///
    /// `prepare` returns the number of the last record written so far, and a function that syncs up
    /// to it. No record may be in the kernel without its number then. It is called without a lock
    /// held.
    ///
    /// # Errors
    /// The failure of the sync that covered the record, or that was in progress when the record was
    /// written. Each such record gets it. The sync is not tried again, because the kernel forgets
    /// data that it could not write.
    pub(crate) fn wait_for<S>(&self, record: u64, prepare: impl Fn() -> (u64, S)) -> Result<()>
    where
        S: FnOnce() -> Result<()>,
    {
        let mut state = self.state.lock();
        while state.up_to < record {
            if state.has_leader {
                self.settled.wait(&mut state);
                continue;
            }
            state.has_leader = true;
            MutexGuard::unlocked(&mut state, || self.lead(&prepare));
            state.has_leader = false;
            self.settled.notify_all();
        }
        state.result_of(record)
    }

    /// Syncs for all. If that fails, the kernel may also have forgotten the records written
    /// meanwhile, so these fail too.
    fn lead<S>(&self, prepare: &impl Fn() -> (u64, S))
    where
        S: FnOnce() -> Result<()>,
    {
        let (up_to, sync) = prepare();
        {
            let _disk = self.disk.lock();
            let done = sync();
            let mut state = self.state.lock();
            state.suspect = done.as_ref().err().cloned();
            state.settle(up_to, done);
            if state.suspect.is_none() {
                return;
            }
        }
        // Not while `disk` is held: `prepare` takes the append lock, which comes first.
        let (up_to, _) = prepare();
        let mut state = self.state.lock();
        if let Some(error) = state.suspect.take() {
            state.settle(up_to, Err(error));
        }
    }

    /// Syncs all records up to `up_to` and records the outcome. There are no later records, because
    /// the caller holds the append lock.
    pub(crate) fn sync(&self, up_to: u64, sync: impl FnOnce() -> Result<()>) {
        let _disk = self.disk.lock();
        let suspect = self.state.lock().suspect.clone();
        let done = suspect.map_or_else(sync, Err);
        self.state.lock().settle(up_to, done);
        self.settled.notify_all();
    }
}

impl CommitState {
    /// How many failed ranges are distinguished. Older ones, for which no call should wait any
    /// more, are joined with the error of the latest.
    const MAX_FAILED: usize = 16;

    fn settle(&mut self, up_to: u64, done: Result<()>) {
        if up_to <= self.up_to {
            return;
        }
        let after = std::mem::replace(&mut self.up_to, up_to);
        let Err(error) = done else { return };
        if self.failed.len() == Self::MAX_FAILED {
            let oldest = self.failed.remove(0);
            self.failed[0].after = oldest.after;
        }
        self.failed.push(FailedRange { after, up_to, error });
    }

    fn result_of(&self, record: u64) -> Result<()> {
        let covers = |failure: &&FailedRange| failure.after < record && record <= failure.up_to;
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
        let (commit, syncs) = (GroupCommit::default(), AtomicU64::new(0));
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
        let (commit, written, syncs) =
            (GroupCommit::default(), AtomicU64::new(0), AtomicU64::new(0));
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
    fn failed_sync_fails_every_record_that_it_covers_and_no_other() {
        let commit = GroupCommit::default();
        commit.sync(3, || Ok(()));
        assert!(commit.wait_for(4, || (6, || Err(failure()))).is_err());
        let no_sync = || -> (u64, fn() -> Result<()>) { unreachable!("it is not tried again") };
        assert!(commit.wait_for(3, no_sync).is_ok());
        assert!(commit.wait_for(5, no_sync).is_err());
        assert!(commit.wait_for(6, no_sync).is_err());
        assert!(commit.wait_for(7, || (9, || Ok(()))).is_ok());
        assert!(commit.wait_for(6, no_sync).is_err());
    }

    // Found by `tests/interleavings`. The record was written after the range of the sync was
    // determined, so it was left to the next sync. But the failed sync had made the kernel count it
    // as written.
    #[test]
    fn regression_record_written_during_failed_sync_is_not_synced() {
        let (commit, written) = (GroupCommit::default(), AtomicU64::new(1));
        let prepare = || {
            let sync = || {
                written.store(2, Ordering::Relaxed);
                Err(failure())
            };
            (written.load(Ordering::Relaxed), sync)
        };
        assert!(commit.wait_for(1, prepare).is_err());
        assert!(commit.wait_for(2, || (2, || Ok(()))).is_err());
        assert!(commit.wait_for(3, || (3, || Ok(()))).is_ok());
    }

    #[test]
    fn records_of_forgotten_failures_still_fail() {
        let commit = GroupCommit::default();
        for up_to in 1..=40 {
            commit.sync(up_to, || Err(failure()));
        }
        for record in 1..=40 {
            assert!(commit.wait_for(record, || (0, || Ok(()))).is_err());
        }
    }
}
