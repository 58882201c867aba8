//! One pass: cleans up after crashes, then prunes and compresses.

use super::compress::{self, Encoding};
use super::maintainer::Maintainer;
use super::prune::{BackupStat, DiskState};
use crate::atomic::AtomicFile;
use crate::error::{Error, Result};
use crate::fs::{self, EntryKind, Unleased};
use crate::segment::name::{Compression, Key, Name, Naming};
use crate::segment::{Backup, DirectorySnapshot, Location, backup_names, superseded};
use crate::stats::Event;
use std::fs::File;
use std::io::ErrorKind::StorageFull;
use std::path::{Path, PathBuf};

/// One pass over a log's backups.
pub(super) struct Pass<'a> {
    pub(super) maintainer: &'a Maintainer,
    pub(super) location: &'a Location,
    pub(super) go_on: &'a dyn Fn() -> bool,
    pub(super) deferred: bool,
    pub(super) failure: Option<Error>,
}

/// The outcome of one step on one backup.
enum StepOutcome {
    Done,
    /// A process has it open.
    Deferred,
    /// It has another name by now, or is gone.
    Moved,
}

impl Pass<'_> {
    /// Returns the last listing made, if there is one.
    pub(super) fn run(&mut self) -> Option<DirectorySnapshot> {
        let mut snapshot = self.prune()?;
        if self.compress(&snapshot) {
            snapshot = self.prune()?;
        }
        Some(snapshot)
    }

    fn list(&self) -> Result<DirectorySnapshot> {
        DirectorySnapshot::read(self.location, self.naming())
    }

    fn naming(&self) -> Naming {
        self.maintainer.settings().naming
    }

    /// Records a failure and continues. The observer gets the first failure of a pass only: a cause
    /// such as a full disk often affects every backup.
    fn check<T>(&mut self, result: Result<T>) -> Option<T> {
        let journal = &self.maintainer.journal;
        match result {
            Ok(value) => return Some(value),
            Err(error) if self.failure.is_some() => journal.counters.failed(&error),
            Err(error) => {
                journal.failed(error.clone());
                self.failure = Some(error);
            }
        }
        None
    }

    fn defer(&mut self) {
        self.deferred = true;
        self.maintainer.journal.counters.deferrals.increment();
    }

    /// Lists the log's files, cleans up after crashes, and removes the backups beyond the limits.
    fn prune(&mut self) -> Option<DirectorySnapshot> {
        let listed = self.list();
        let mut snapshot = self.check(listed)?;
        self.clear_temporaries(&mut snapshot);
        let excess = self.excess(&snapshot);
        if self.check(excess)? == 0 && snapshot.superseded.is_empty() {
            return Some(snapshot);
        }
        let (maintainer, location) = (self.maintainer, self.location);
        let pruned = maintainer.with_stable_names(location, || self.prune_stable(snapshot));
        self.check(pruned)
    }

    fn prune_stable(&mut self, mut snapshot: DirectorySnapshot) -> Result<DirectorySnapshot> {
        let names = backup_names(self.location, Some(self.naming()))?;
        let names = superseded::remove(self.location, &names, |error| {
            self.check(Err::<(), _>(error));
        });
        self.check(names);
        let listed = self.list()?;
        (snapshot.backups, snapshot.superseded) = (listed.backups, listed.superseded);
        let kept = snapshot.backups.split_off(self.excess(&snapshot)?);
        snapshot.backups.retain(|backup| !((self.go_on)() && self.prune_one(backup)));
        snapshot.backups.extend(kept);
        Ok(snapshot)
    }

    /// Removes temporary files that no live process writes.
    fn clear_temporaries(&mut self, snapshot: &mut DirectorySnapshot) {
        snapshot.temporaries.retain(|(path, _)| {
            let removed = fs::remove_dead_temp(path);
            self.check(removed) != Some(true)
        });
    }

    /// Returns how many of the oldest files are beyond the limits.
    pub(super) fn excess(&self, snapshot: &DirectorySnapshot) -> Result<usize> {
        let settings = self.maintainer.settings();
        let active = fs::stat(self.location.path())?.map_or(0, |entry| entry.len);
        let temporaries: u64 = snapshot.temporaries.iter().map(|(_, bytes)| bytes).sum();
        let superseded: u64 = snapshot.superseded.iter().map(|backup| backup.entry.len).sum();
        let others = temporaries.saturating_add(superseded);
        let free = match settings.retention.min_free_space {
            Some(_) => fs::free_space(self.location.dir())?,
            None => u64::MAX,
        };
        let now = self.maintainer.clock.now();
        let disk = DiskState {
            now,
            other_bytes: others.saturating_add(active.max(settings.max_size)),
            free,
        };
        // A backup that another worker is compressing may exist in both forms; it counts once.
        let backups: Vec<_> = snapshot.backups.chunk_by(|a, b| a.name.key == b.name.key).collect();
        let stats = |forms: &&[Backup]| BackupStat {
            bytes: forms.iter().map(|form| form.entry.len).sum(),
            finished: forms[0].rotated_at_by(now),
        };
        let stats: Vec<_> = backups.iter().map(stats).collect();
        let excess = settings.retention.excess(&stats, disk);
        Ok(backups[..excess].iter().map(|forms| forms.len()).sum())
    }

    /// Removes a backup that no process has open; returns `true` if it is gone.
    fn prune_one(&mut self, backup: &Backup) -> bool {
        let removed = remove(&backup.path);
        match self.check(removed) {
            Some(StepOutcome::Done) => {
                let (path, bytes) = (backup.path.clone(), backup.entry.len);
                self.maintainer.journal.counters.pruned.increment();
                self.maintainer.journal.note(Event::Pruned { path, bytes });
                true
            }
            Some(StepOutcome::Moved) => true,
            Some(StepOutcome::Deferred) => {
                self.defer();
                false
            }
            None => false,
        }
    }

    /// Compresses every backup that no process has open; returns `true` if there was one.
    fn compress(&mut self, snapshot: &DirectorySnapshot) -> bool {
        let Some(encoding) = self.maintainer.settings().encoding else { return false };
        let mut any = false;
        for backup in
            snapshot.backups.iter().filter(|backup| backup.name.compression == Compression::None)
        {
            if !(self.go_on)() {
                break;
            }
            let step = self.compress_one(backup, encoding);
            let is_full = step.as_ref().is_err_and(|error| error.io_kind() == StorageFull);
            match self.check(step) {
                Some(StepOutcome::Done) => any = true,
                Some(StepOutcome::Deferred) => self.defer(),
                Some(StepOutcome::Moved) | None => {}
            }
            if is_full {
                break;
            }
        }
        any
    }

    fn compress_one(&self, backup: &Backup, encoding: Encoding) -> Result<StepOutcome> {
        let plain = match fs::open_unleased(&backup.path)? {
            Unleased::Ours(file) => file,
            Unleased::Leased => return Ok(StepOutcome::Deferred),
            Unleased::Gone => return Ok(StepOutcome::Moved),
        };
        if fs::fstat(&plain, &backup.path)?.id != backup.entry.id {
            return Ok(StepOutcome::Moved);
        }
        let target = self.location.backup_path(compressed_name(backup.name, encoding));
        // Another worker is compressing it, or compression could fill the disk under the writers.
        let is_being_compressed =
            fs::stat(&target)?.is_some_and(|there| there.kind == EntryKind::File);
        if is_being_compressed || fs::free_space(self.location.dir())? < backup.entry.len {
            return Ok(StepOutcome::Deferred);
        }
        let rotated_at = match backup.name.key {
            Key::Time(time) => Some(time),
            Key::Number(_) => None,
        };
        let compressed =
            compress::compress(&plain, &backup.path, &target, rotated_at, encoding, self.go_on)?;
        let Some(compressed) = compressed else { return Ok(StepOutcome::Deferred) };
        self.replace_by(backup, plain, encoding, compressed)
    }

    /// Replaces an exclusively held backup by its compressed form.
    fn replace_by(
        &self,
        backup: &Backup,
        plain: File,
        encoding: Encoding,
        file: AtomicFile,
    ) -> Result<StepOutcome> {
        let after = fs::fstat(file.file(), file.path())?.len;
        let placed = self.maintainer.with_stable_names(self.location, || {
            let Some((name, _)) = self.present_name(backup)? else { return Ok(None) };
            let to = self.location.backup_path(compressed_name(name, encoding));
            file.place(&to)?;
            Ok(Some(to))
        })?;
        let Some(to) = placed else { return Ok(StepOutcome::Moved) };
        // Not under the lock: a sync may take long. If a rotation renames the uncompressed backup
        // meanwhile, that rotation removes it as superseded.
        fs::sync_dir(self.location.dir())?;
        let from = self.maintainer.with_stable_names(self.location, || {
            let Some((_, from)) = self.present_name(backup)? else { return Ok(None) };
            let removed = fs::remove(&from)?;
            // While no other file has the name: on Windows it may stay in use until then.
            drop(plain);
            Ok(removed.then_some(from))
        })?;
        let from = from.unwrap_or_else(|| backup.path.clone());
        self.maintainer.journal.counters.compressions.increment();
        self.maintainer.journal.note(Event::Compressed {
            from,
            to,
            bytes_before: backup.entry.len,
            bytes_after: after,
        });
        Ok(StepOutcome::Done)
    }

    /// Returns the present name of the file listed as `backup`; `None` if it is gone. The caller
    /// ensures that the answer stays true.
    fn present_name(&self, backup: &Backup) -> Result<Option<(Name, PathBuf)>> {
        let is_it = |path: &Path| fs::is_at(path, backup.entry.id);
        if is_it(&backup.path)? {
            return Ok(Some((backup.name, backup.path.clone())));
        }
        let Key::Number(listed) = backup.name.key else { return Ok(None) };
        for name in backup_names(self.location, Some(Naming::Number))? {
            let path = self.location.backup_path(name);
            // Rotations only ever move a backup to higher numbers.
            let is_candidate =
                name.compression == backup.name.compression && name.key < Key::Number(listed);
            if is_candidate && is_it(&path)? {
                return Ok(Some((name, path)));
            }
        }
        Ok(None)
    }
}

fn compressed_name(name: Name, encoding: Encoding) -> Name {
    Name { compression: encoding.compression(), ..name }
}

/// Removes a backup that no process has open. The caller ensures that it keeps its name.
fn remove(path: &Path) -> Result<StepOutcome> {
    match fs::open_unleased(path)? {
        Unleased::Ours(_held) => {
            Ok(if fs::remove(path)? { StepOutcome::Done } else { StepOutcome::Moved })
        }
        Unleased::Leased => Ok(StepOutcome::Deferred),
        Unleased::Gone => Ok(StepOutcome::Moved),
    }
}
