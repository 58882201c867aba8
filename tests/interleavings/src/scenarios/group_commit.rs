//! The group commit: threads that write records and wait until these are on the disk.

use crate::error::{Error, Result};
use crate::sync;
use crate::writer::group_commit::GroupCommit;
use shuttle::thread;
use std::sync::{Arc, Mutex, MutexGuard};

/// Threads that write to one log. Each record must be on the disk before the next.
#[derive(Debug, Clone)]
pub struct Committing {
    pub writers: usize,
    /// The number of records of each writer.
    pub records: usize,
    /// The records, counted from 1, before which the log is rotated.
    pub rotations: &'static [u64],
    /// The syncs, counted from 0, that fail.
    pub failing: &'static [usize],
}

struct World {
    scenario: Committing,
    commit: GroupCommit,
    /// The state under the append lock: the number of records written, and the active segment.
    active: sync::Mutex<(u64, usize)>,
    // Held only for moments in which no other thread can run.
    disk: Mutex<Disk>,
}

#[derive(Default)]
struct Disk {
    syncs: usize,
    failures: usize,
    records: Vec<Record>,
}

struct Record {
    segment: usize,
    state: State,
}

#[derive(PartialEq, Clone, Copy)]
enum State {
    /// Only in the kernel.
    Dirty,
    Durable,
    /// The kernel could not write it, has reported that once, and now counts it as written.
    Forgotten,
}

impl Committing {
    /// One run.
    pub fn run(&self) {
        let world = Arc::new(World {
            scenario: self.clone(),
            commit: GroupCommit::default(),
            active: sync::Mutex::default(),
            disk: Mutex::default(),
        });
        let writers: Vec<_> = (0..self.writers)
            .map(|_| {
                let world = Arc::clone(&world);
                thread::spawn(move || (0..world.scenario.records).for_each(|_| world.log()))
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
    }
}

impl World {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap()
    }

    /// A log call.
    fn log(&self) {
        let record = self.append();
        let position = || {
            let (records, segment) = *self.active.lock();
            (records, move || self.fdatasync(segment))
        };
        let done = self.commit.wait_for(record, position);
        let disk = self.disk();
        match done {
            Ok(()) => {
                let index = usize::try_from(record - 1).unwrap();
                assert!(disk.records[index].state == State::Durable, "{record} is not on the disk");
            }
            Err(_) => assert!(disk.failures > 0, "nothing has failed"),
        }
    }

    fn append(&self) -> u64 {
        let mut active = self.active.lock();
        if self.scenario.rotations.contains(&(active.0 + 1)) {
            self.commit.sync(active.0, || self.fdatasync(active.1));
            active.1 += 1;
        }
        active.0 += 1;
        self.disk().records.push(Record { segment: active.1, state: State::Dirty });
        active.0
    }

    /// The records change at one moment between call and return.
    fn fdatasync(&self, segment: usize) -> Result<()> {
        thread::yield_now();
        let done = self.disk().sync(segment, self.scenario.failing);
        thread::yield_now();
        done
    }
}

impl Disk {
    fn sync(&mut self, segment: usize, failing: &[usize]) -> Result<()> {
        let fails = failing.contains(&self.syncs);
        self.syncs += 1;
        self.failures += usize::from(fails);
        let state = if fails { State::Forgotten } else { State::Durable };
        let dirty =
            |record: &&mut Record| record.segment == segment && record.state == State::Dirty;
        self.records.iter_mut().filter(dirty).for_each(|record| record.state = state);
        if fails { Err(Error(self.failures)) } else { Ok(()) }
    }
}
