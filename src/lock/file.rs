//! The mechanism: a kernel lock on a file that comes and goes.
//!
//! A holder removes the file just before it unlocks. So a process that opened the file earlier may
//! lock a file that has no name any more, while a third process creates and locks a new one. Hence
//! the rule at the end of every acquisition: **the lock counts only if the path names the file that
//! was locked.** While such a file is locked, it cannot lose its name, except to a program that
//! takes no lock. Its holder detects that at release.

use super::backoff::poll;
use super::owner::{self, Owner, RECORD_LEN};
use crate::clock::{Deadline, sleep};
use crate::error::{Error, Result};
use crate::fs::{self, Entry, EntryKind, FileId, LockMode};
use crate::sys;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The path of a lock file, and how it is created and left.
#[derive(Debug, Clone)]
pub(crate) struct LockFile {
    pub(crate) path: PathBuf,
    pub(crate) mode: FileMode,
    /// Whether to create the directories above it.
    pub(crate) make_dirs: bool,
    /// Whether the file stays after a release.
    pub(crate) keep: bool,
}

/// The permissions of a lock file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileMode {
    LessUmask(u32),
    Exact(u32),
}

impl FileMode {
    fn bits(self) -> u32 {
        match self {
            Self::LessUmask(bits) | Self::Exact(bits) => bits,
        }
    }
}

/// A lock held by this process. [`LockFile::release`] releases it; a drop does too, but leaves the
/// file.
#[derive(Debug)]
pub(crate) struct Held {
    file: File,
    id: FileId,
    mode: LockMode,
    /// Whether the file holds our record or nothing. A file with other content is never written or
    /// removed.
    is_ours: bool,
    /// Whether our record was written.
    is_signed: bool,
}

impl LockFile {
    /// Waits for the lock until the deadline; `None` if another holder kept it.
    pub(crate) fn take(&self, mode: LockMode, until: Deadline) -> Result<Option<Held>> {
        if until.is_never() {
            return self.wait(mode).map(Some);
        }
        poll(until, || self.attempt(mode))
    }

    /// Tries to take the lock once; `None` if another holder has it.
    pub(crate) fn attempt(&self, mode: LockMode) -> Result<Option<Held>> {
        loop {
            let Some(file) = self.open()? else { return Ok(None) };
            match fs::try_lock(&file, mode, &self.path) {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                // Its holder has just removed it.
                Err(error) if error.is_not_found() => return Ok(None),
                Err(error) => return Err(error),
            }
            if let Some(held) = self.confirm(file, mode)? {
                return Ok(Some(held));
            }
        }
    }

    /// Waits for the lock in the kernel's queue.
    pub(crate) fn wait(&self, mode: LockMode) -> Result<Held> {
        loop {
            let Some(file) = self.open()? else {
                sleep(MOMENT);
                continue;
            };
            match fs::lock(&file, mode, &self.path) {
                Ok(()) => {}
                Err(error) if error.is_not_found() => {
                    sleep(MOMENT);
                    continue;
                }
                Err(error) => return Err(error),
            }
            if let Some(held) = self.confirm(file, mode)? {
                return Ok(held);
            }
        }
    }

    /// Opens or creates the file; `None` while it is being removed and its name is not free yet.
    fn open(&self) -> Result<Option<File>> {
        let mut looks = 0;
        loop {
            match fs::open_lock(&self.path, self.mode.bits()) {
                Ok(file) => return Ok(Some(file)),
                Err(error) if error.io_error().is_some_and(sys::is_removal_pending) => {
                    return Ok(None);
                }
                Err(error) if error.is_not_found() && looks < LOOKS => {
                    self.await_directory(looks, error)?;
                    looks += 1;
                }
                Err(error) => return Err(explain(&self.path, error)),
            }
        }
    }

    /// Returns if opening the file may succeed now, although it was not found: its directory has
    /// been created, or a FUSE server took its removal by another process for an answer.
    fn await_directory(&self, looks: u32, error: Error) -> Result<()> {
        let dir = fs::parent(&self.path);
        if looks == 0 && self.make_dirs {
            return fs::create_dirs(dir);
        }
        if fs::stat(dir)?.is_none() {
            return Err(explain(&self.path, error));
        }
        sleep(MOMENT);
        Ok(())
    }

    /// Applies the rule to a file just locked; `None` if the lock does not count.
    fn confirm(&self, file: File, mode: LockMode) -> Result<Option<Held>> {
        let Some(locked) = fs::fstat_if_any(&file, &self.path)? else { return Ok(None) };
        if locked.kind != EntryKind::File {
            return Err(Error::not_a_file("open lock file", &self.path, locked.kind));
        }
        if !fs::is_at(&self.path, locked.id)? {
            return Ok(None);
        }
        let is_ours = locked.len == 0 || is_ours(&file, &self.path);
        let mut held = Held { file, id: locked.id, mode, is_ours, is_signed: false };
        match self.mode {
            FileMode::Exact(mode) if is_ours && locked.access.mode != mode => {
                // Another user's file keeps the mode that this user gave it.
                let _ = fs::set_mode(&held.file, mode, &self.path);
            }
            FileMode::Exact(_) | FileMode::LessUmask(_) => {}
        }
        held.sign(&self.path);
        Ok(Some(held))
    }

    /// Fails if the file was removed or replaced while it was held.
    pub(crate) fn verify(&self, held: &Held) -> Result<()> {
        if fs::is_at(&self.path, held.id)? { Ok(()) } else { Err(Error::lock_lost(&self.path)) }
    }

    /// Releases the lock, and removes the file if no other process uses it.
    pub(crate) fn release(&self, held: &Held) -> Result<()> {
        let intact = self.verify(held);
        let tidy = intact.is_ok() && held.is_ours && !self.keep;
        let removed = match held.mode {
            // While it is still locked: afterwards the name may belong to another holder.
            LockMode::Exclusive if tidy => remove(&self.path).map(drop),
            _ => Ok(()),
        };
        let unlocked = unlock(&held.file, &self.path);
        let left = match held.mode {
            LockMode::Shared if tidy => remove_unheld(&held.file, held.id, &self.path).map(drop),
            _ => Ok(()),
        };
        intact.and(removed).and(unlocked).and(left)
    }

    /// The last owner of the lock, if it can be read.
    pub(crate) fn owner(&self) -> Option<Owner> {
        let file = fs::open_lock_read(&self.path).ok()??;
        Owner::parse(&read_record(&file, &self.path)?)
    }
}

impl Held {
    /// Writes this process's record, for the messages of waiting processes. The lock is as good
    /// without one, so a full disk or a read-only file is no failure.
    fn sign(&mut self, path: &Path) {
        if self.is_ours {
            let record = Owner::this().record();
            self.is_signed = fs::write_start(&self.file, record.as_bytes(), path).is_ok();
        }
    }

    /// Returns when the lock was taken, by the clock of the file system; `None` if it is unknown.
    pub(super) fn taken_at(&self, path: &Path) -> Result<Option<SystemTime>> {
        let entry = self.is_signed.then(|| fs::fstat(&self.file, path)).transpose()?;
        Ok(entry.map(|entry| entry.modified))
    }
}

/// Removes a lock file through a handle on it unless another process holds it; returns whether it
/// did.
///
/// The kernel's lock and the rule above decide. The lock is not held afterwards.
pub(crate) fn remove_unheld(file: &File, id: FileId, path: &Path) -> Result<bool> {
    match fs::try_lock(file, LockMode::Exclusive, path) {
        Ok(true) => {}
        Ok(false) => return Ok(false),
        // Another process has just removed it.
        Err(error) if error.is_not_found() => return Ok(false),
        Err(error) => return Err(error),
    }
    let removed = fs::is_at(path, id).and_then(|named| Ok(named && remove(path)?));
    unlock(file, path).and(removed)
}

/// Unlocks a lock file. If it is removed, so is the lock.
pub(super) fn unlock(file: &File, path: &Path) -> Result<()> {
    match fs::unlock(file, path) {
        Err(error) if error.is_not_found() => Ok(()),
        done => done,
    }
}

/// Removes a lock file that we hold; `false` if we lack permission or Windows refuses.
fn remove(path: &Path) -> Result<bool> {
    match fs::remove(path) {
        Err(error) if error.io_error().is_some_and(sys::is_removal_refused) => Ok(false),
        done => done,
    }
}

/// How often a lock file is opened again that was not found in a directory that is there.
const LOOKS: u32 = 20;

/// The interval between two looks at a name that is about to be free.
const MOMENT: Duration = Duration::from_millis(1);

/// Whether a lock file has a record of this crate, as far as it can be read.
pub(crate) fn is_ours(file: &File, path: &Path) -> bool {
    read_record(file, path).is_some_and(|content| owner::is_ours(&content))
}

/// The content of a lock file, and one byte more than a record has. `None` if it cannot be read: on
/// Windows an exclusive lock excludes readers.
fn read_record(file: &File, path: &Path) -> Option<Vec<u8>> {
    let mut content = vec![0; RECORD_LEN + 1];
    let len = fs::read_start(file, &mut content, path).ok()?;
    content.truncate(len);
    Some(content)
}

/// Names the obstacle if the system's own error does not.
fn explain(path: &Path, error: Error) -> Error {
    match fs::stat(path) {
        Ok(Some(Entry { kind, .. })) if kind != EntryKind::File => {
            Error::not_a_file("open lock file", path, kind)
        }
        _ if error.is_not_found() => fs::not_created("open lock file", path),
        _ => error,
    }
}
