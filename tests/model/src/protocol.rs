//! The steps of each worker, one system call each. [`world`](crate::world) has their effects.
//!
//! | Job | Steps |
//! |---|---|
//! | open | `OpenLog` `LeaseLog` `CheckLog`; refused or moved: again; no log: lock, `CreateLog`, unlock, again |
//! | write | open if need be; rotate if full; `Append` |
//! | lock | `OpenLock` `TryLock` `CheckLock`; moved: again; refused: wait, or give up |
//! | rotate | lock; `SecondLook`, if it has a second name `UndoLink`; `CreateTemp` `LeaseTemp` `CheckTemp`; `ChooseName` (numbers: `Shift` until 1 is free); `LinkToBackup` `Exchange` `RemoveOld`; unlock |
//! | … without links | the same up to `Shift`; `RenameToBackup` `RenameToLog`; unlock |
//! | … that fails | `UndoLink` or `RenameBack`, `RemoveTemp`; unlock; keep the old segment |
//! | unlock | `RemoveLock` `CloseLock` |
//! | glance | the log's path names another file than ours, or none: open |
//! | compress | `OpenTarget` `TryTarget` `CheckTarget` `LookForGz`; `CreateTemp` `LeaseTemp` `CheckTemp` `WriteGz`; `RenameToGz` `Remove` `Close` |
//! | … numbers | the same up to `WriteGz`; lock; `FindName` `RenameToGz` `Remove`; unlock; `Close` |
//! | prune | `OpenTarget` `TryTarget` `CheckTarget` `LookForGz` `Remove` `Close`; a lone `.gz`: `Remove` |
//! | … numbers | lock; `PickOldest`; if plain `OpenTarget` `TryTarget`; `Remove`; unlock |
//! | clean | a temporary: `OpenTarget` `TryTarget` `CheckTarget` `Remove` `Close` |
//! | … that is a backup too | lock; `Remove`; unlock |
//!
//! A crash, at any step, closes the worker's handles; a fresh worker is in its place at once.

use crate::disk::{Flock, Handle, Name, Records};
use std::hash::{Hash, Hasher};

/// The maximum number of workers; a model may use fewer.
pub const WORKERS: usize = 3;
/// The maximum number of records of a worker, so that a record's number identifies its worker.
pub const PER_WORKER: usize = 4;
/// Records written only to test whether the log still works.
pub const SPARE: std::ops::Range<usize> = WORKERS * PER_WORKER..15;

/// How backups are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// By time: names never change, the highest is the newest.
    Timestamp,
    /// By number: 1 is the newest, and each rotation shifts the others.
    Number,
}

/// A part of the protocol that can be taken out, to show its purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// The shared lock of a worker on its segment.
    Lease,
    /// After leasing: the log's path still names the file.
    OpenIdentity,
    /// After locking: the lock file's path still names the locked file.
    LockIdentity,
    /// Under the lock: the log's path still names our segment.
    SecondLook,
    /// A backup that is the active segment too, after a crash, is neither compressed nor removed.
    ActiveStays,
    /// The active segment loses a backup's name before it is rotated.
    UndoLink,
    /// When the new segment cannot take the log's path: the old one gets it back.
    RenameBack,
    /// After leasing a temporary: its path still names it.
    TempIdentity,
    /// After locking a backup: its path still names it.
    BackupIdentity,
    /// Numbers: a plain backup beside its finished `.gz` is removed before they are shifted.
    PairsFirst,
    /// Numbers: the last step of compression is under the rotation lock.
    CompressLocked,
    /// Numbers: pruning is under the rotation lock.
    PruneLocked,
    /// Numbers: a plain backup beside its `.gz` is removed only under the rotation lock.
    DiscardLocked,
}

/// How large a world to explore, and which protocol.
#[derive(Clone, Copy, Debug)]
pub struct Model {
    /// How backups are named.
    pub naming: Naming,
    /// Whether the file system has links and an exchange.
    pub exchanges: bool,
    /// Records that each worker may write; as many workers as this is long.
    pub writes: &'static [usize],
    /// The first worker that compresses, prunes and cleans; later ones do, too.
    pub maintainers: usize,
    /// Records that fill a segment.
    pub full_at: u32,
    /// Backups that pruning keeps.
    pub keep: usize,
    /// Crashes that may happen.
    pub crashes: u8,
    /// Other faults that may happen: a call fails, or another program creates a file at the log's
    /// path.
    pub faults: u8,
    /// The part that is taken out.
    pub without: Option<Guard>,
}

impl Model {
    pub(crate) fn has(&self, guard: Guard) -> bool {
        self.without != Some(guard)
    }
}

/// The next step of a worker: one system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the table above
pub enum Step {
    Idle,
    OpenLog,
    LeaseLog,
    CheckLog,
    Append,
    OpenLock,
    TryLock,
    CheckLock,
    CreateLog,
    SecondLook,
    CreateTemp,
    LeaseTemp,
    CheckTemp,
    ChooseName,
    Shift,
    UndoLink,
    LinkToBackup,
    Exchange,
    RemoveOld,
    RenameToBackup,
    RenameToLog,
    RenameBack,
    RemoveTemp,
    RemoveLock,
    CloseLock,
    OpenTarget,
    TryTarget,
    CheckTarget,
    LookForGz,
    WriteGz,
    FindName,
    RenameToGz,
    PickOldest,
    Remove,
    Close,
}

/// The purpose of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Task {
    /// Get a handle on the active segment.
    Open,
    /// End the active segment.
    Rotate,
    /// It is ended: adopt the new one.
    Adopt,
    /// It could not be ended: keep the old one.
    GiveUp,
    /// Make a backup's `.gz`.
    Compress,
    /// Remove a backup that is one too many.
    Prune,
    /// Remove an uncompressed backup that has its `.gz`.
    Discard,
    /// Remove a temporary that no worker leases.
    Clean,
}

/// The jobs that an idle worker may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Job {
    /// Write a record.
    Write,
    /// Notice that the log's path names another file.
    Glance,
    /// Compress a backup.
    Compress(u8),
    /// Prune a backup.
    Prune(u8),
    /// Remove a temporary.
    Clean(u8),
}

/// One worker: where it is, and its handles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Worker {
    /// The next step.
    pub step: Step,
    /// The job it is part of.
    pub task: Task,
    /// Whether a record waits to be written.
    pub(crate) writing: bool,
    /// Whether the segment was full when its end was last checked.
    pub(crate) full: bool,
    /// The segment to append to.
    pub segment: Option<Handle>,
    /// A file that is not usable yet: the log just opened, or a temporary.
    pub(crate) new: Option<Handle>,
    /// The lock file.
    pub(crate) lock: Option<Handle>,
    /// A backup or stray temporary under maintenance.
    pub(crate) held: Option<Handle>,
    /// The name of our temporary.
    pub(crate) temp: Option<u8>,
    /// The name of the backup being made or of the file under maintenance.
    pub target: Option<Name>,
}

impl Hash for Worker {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let handle = |handle: Option<Handle>| handle.map_or(0xff, |h| h.file << 2 | h.flock as u8);
        let target = match self.target {
            None => 0,
            Some(Name::Plain(n)) => n,
            Some(Name::Gz(n)) => n | 0x20,
            Some(Name::Temp(k)) => k | 0x40,
            Some(Name::Log | Name::Lock) => unreachable!("BUG: not under maintenance"),
        };
        let flags = u8::from(self.writing) | u8::from(self.full) << 1;
        let [segment, new, lock, held] = [self.segment, self.new, self.lock, self.held].map(handle);
        let (task, temp) = (self.task as u8 | flags << 6, self.temp.unwrap_or(0xff));
        let all = [self.step as u8, task, temp, target, segment, new, lock, held];
        hasher.write_u64(u64::from_le_bytes(all));
    }
}

impl Worker {
    pub(crate) const FRESH: Worker = Worker {
        step: Step::Idle,
        task: Task::Open,
        writing: false,
        full: false,
        segment: None,
        new: None,
        lock: None,
        held: None,
        temp: None,
        target: None,
    };

    /// All open files.
    pub fn handles(&self) -> impl Iterator<Item = &Handle> {
        [&self.segment, &self.new, &self.lock, &self.held].into_iter().flatten()
    }

    pub(crate) fn handles_mut(&mut self) -> impl Iterator<Item = &mut Handle> {
        [&mut self.segment, &mut self.new, &mut self.lock, &mut self.held].into_iter().flatten()
    }

    /// Whether it may act as the holder of the rotation lock.
    pub fn is_inside(&self) -> bool {
        let is_locked = self.lock.is_some_and(|lock| lock.flock == Flock::Exclusive);
        is_locked && !matches!(self.step, Step::CheckLock | Step::CloseLock)
    }

    /// The name of its temporary, if it has one.
    pub fn temp_name(&self) -> Option<Name> {
        self.temp.map(Name::Temp)
    }

    pub(crate) fn own_temp(&self) -> Name {
        self.temp_name().expect("BUG: no temporary")
    }

    pub(crate) fn backup(&self) -> u8 {
        match self.target {
            Some(Name::Plain(n) | Name::Gz(n)) => n,
            _ => unreachable!("BUG: no backup"),
        }
    }

    pub(crate) fn goes(&mut self, step: Step, outcome: &'static str) -> &'static str {
        self.step = step;
        outcome
    }

    /// To the rotation lock.
    pub(crate) fn locks(&mut self, task: Task) {
        (self.task, self.step) = (task, Step::OpenLock);
    }

    /// To a file under maintenance.
    pub(crate) fn maintains(&mut self, task: Task, target: Name) {
        (self.task, self.step, self.target) = (task, Step::OpenTarget, Some(target));
    }

    /// From an adopted segment to the record that waits, if any.
    pub(crate) fn proceeds(&mut self) {
        match (self.writing, self.segment, self.full) {
            (false, ..) => self.ends(),
            (true, None, _) => (self.task, self.step) = (Task::Open, Step::OpenLog),
            (true, Some(_), true) => self.locks(Task::Rotate),
            (true, Some(_), false) => (self.task, self.step) = (Task::Open, Step::Append),
        }
    }

    /// To the segment that has got the log's path.
    pub(crate) fn adopts(&mut self) {
        (self.task, self.temp, self.target) = (Task::Adopt, None, None);
    }

    /// After a failed job: the record goes to the present segment, if there is one.
    pub(crate) fn makes_do(&mut self) {
        (self.new, self.temp, self.target) = (None, None, None);
        match (self.writing, self.segment) {
            (true, Some(_)) => (self.task, self.step) = (Task::Open, Step::Append),
            _ => self.ends(),
        }
    }

    /// Closes all handles but the segment's.
    pub(crate) fn ends(&mut self) {
        *self = Worker { segment: self.segment, full: self.full, ..Worker::FRESH };
    }
}

/// The records that are worker `w`'s.
pub fn of_worker(w: usize) -> Records {
    ((1 << PER_WORKER) - 1) << (w * PER_WORKER)
}
