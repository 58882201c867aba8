//! The mechanism: a kernel lock on a file that comes and goes.
//!
//! A holder removes the file just before it unlocks, so whoever opened it earlier may get the lock
//! of a file that has no name any more, while a third makes and locks a new one. Hence the rule
//! that every acquisition here ends with: **the lock counts only if the path names the file that
//! was locked.** A file that passed cannot lose its name while it is locked, except by the hand of
//! someone who takes no lock; its holder finds that out at release.

use super::backoff::poll;
use super::owner::{self, Owner, RECORD_LEN};
use crate::clock::{Deadline, sleep};
use crate::error::{Error, Result};
use crate::fs::{self, Entry, EntryKind, FileId, LockMode};
use crate::sys;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where a lock file is and how it is made and left.
#[derive(Debug, Clone)]
pub(crate) struct LockFile {
    pub(crate) path: PathBuf,
    pub(crate) mode: FileMode,
    /// Whether the directories above it are made as well.
    pub(crate) make_dirs: bool,
    /// Whether it stays after a release.
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

/// A lock that this process has; given back by [`LockFile::release`], or by dropping it, which leaves
/// the file.
#[derive(Debug)]
pub(crate) struct Held {
    file: File,
    id: FileId,
    mode: LockMode,
    /// It holds our record or nothing. A file with anything else in it is never written or removed.
    is_ours: bool,
}

impl LockFile {
    /// Waits for the lock until the deadline; `None` if somebody else kept it.
    pub(crate) fn take(&self, mode: LockMode, until: Deadline) -> Result<Option<Held>> {
        if until.is_never() {
            return self.wait(mode).map(Some);
        }
        poll(until, || self.attempt(mode))
    }

    /// Asks for the lock once; `None` if somebody else has it.
    pub(crate) fn attempt(&self, mode: LockMode) -> Result<Option<Held>> {
        loop {
            let Some(file) = self.open()? else { return Ok(None) };
            if !fs::try_lock(&file, mode, &self.path)? {
                return Ok(None);
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
            fs::lock(&file, mode, &self.path)?;
            if let Some(held) = self.confirm(file, mode)? {
                return Ok(held);
            }
        }
    }

    /// Opens or makes the file; `None` while it is being removed and its name is not free yet.
    fn open(&self) -> Result<Option<File>> {
        let open = || fs::open_lock(&self.path, self.mode.bits());
        let opened = match open() {
            Err(error) if error.is_not_found() && self.make_dirs => {
                fs::create_dirs(fs::parent(&self.path))?;
                open()
            }
            opened => opened,
        };
        match opened {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.io_error().is_some_and(sys::is_removal_pending) => Ok(None),
            Err(error) => Err(explain(&self.path, error)),
        }
    }

    /// Applies the rule to a file just locked; `None` if the lock does not count.
    fn confirm(&self, file: File, mode: LockMode) -> Result<Option<Held>> {
        let locked = fs::fstat(&file, &self.path)?;
        if locked.kind != EntryKind::File {
            return Err(Error::not_a_file("open lock file", &self.path, locked.kind));
        }
        if !fs::is_at(&self.path, locked.id)? {
            return Ok(None);
        }
        let is_ours = locked.len == 0 || is_ours(&file, &self.path);
        let held = Held { file, id: locked.id, mode, is_ours };
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

    /// Fails if someone took the file away from under its holder.
    pub(crate) fn verify(&self, held: &Held) -> Result<()> {
        if fs::is_at(&self.path, held.id)? { Ok(()) } else { Err(Error::lock_lost(&self.path)) }
    }

    /// Gives the lock back, and removes the file if nobody else uses it.
    pub(crate) fn release(&self, held: &Held) -> Result<()> {
        let intact = self.verify(held);
        let tidy = intact.is_ok() && held.is_ours && !self.keep;
        let removed = match held.mode {
            // While it is still locked: afterwards it may be somebody else's.
            LockMode::Exclusive if tidy => remove(&self.path).map(drop),
            _ => Ok(()),
        };
        let unlocked = fs::unlock(&held.file, &self.path);
        let left = match held.mode {
            LockMode::Shared if tidy => remove_unheld(&held.file, held.id, &self.path).map(drop),
            _ => Ok(()),
        };
        intact.and(removed).and(unlocked).and(left)
    }

    /// Who took the lock last, if that can be read.
    pub(crate) fn owner(&self) -> Option<Owner> {
        let file = fs::open_lock_read(&self.path).ok()??;
        Owner::parse(&read_record(&file, &self.path)?)
    }
}

impl Held {
    /// Leaves this process's record. It helps whoever waits to say for whom; a lock is as good
    /// without one, so a full disk or a file that we may only read is no failure.
    fn sign(&self, path: &Path) {
        if self.is_ours {
            let _ = fs::write_start(&self.file, Owner::this().record().as_bytes(), path);
        }
    }
}

/// Removes a lock file through a handle on it, if nobody holds it; `false` if somebody does.
///
/// Decided by the kernel's lock and the rule above. The lock is not held afterwards.
pub(crate) fn remove_unheld(file: &File, id: FileId, path: &Path) -> Result<bool> {
    if !fs::try_lock(file, LockMode::Exclusive, path)? {
        return Ok(false);
    }
    let removed = fs::is_at(path, id).and_then(|named| Ok(named && remove(path)?));
    fs::unlock(file, path).and(removed)
}

/// Removes a lock file that we hold; `false` if we may not, or Windows will not just now.
fn remove(path: &Path) -> Result<bool> {
    match fs::remove(path) {
        Err(error) if error.io_error().is_some_and(sys::is_removal_refused) => Ok(false),
        done => done,
    }
}

/// Between two looks at a name that is about to be free.
const MOMENT: Duration = Duration::from_millis(1);

/// Whether a lock file has a record of ours, as far as it can be read.
pub(crate) fn is_ours(file: &File, path: &Path) -> bool {
    read_record(file, path).is_some_and(|content| owner::is_ours(&content))
}

/// The content of a lock file, and a byte more than a record has; `None` if it cannot be read (on
/// Windows an exclusive lock keeps readers out).
fn read_record(file: &File, path: &Path) -> Option<Vec<u8>> {
    let mut content = vec![0; RECORD_LEN + 1];
    let len = fs::read_start(file, &mut content, path).ok()?;
    content.truncate(len);
    Some(content)
}

/// Says what stands in the way, where the system's own error does not.
fn explain(path: &Path, error: Error) -> Error {
    match fs::stat(path) {
        Ok(Some(Entry { kind, .. })) if kind != EntryKind::File => {
            Error::not_a_file("open lock file", path, kind)
        }
        _ if error.is_not_found() => Error::no_directory("open lock file", path, fs::parent(path)),
        _ => error,
    }
}
