//! What happens to backups: what a crash left is cleared up, then they are pruned and compressed.
//!
//! All of it is done by any worker for all of them, and can be stopped at every step: a temporary is
//! removed once nobody leases it; of a backup that is there both plain and packed the packed one is
//! whole, for it got its name by `rename`, so the plain one is removed.
//!
//! A backup is touched only while it is held exclusively, which no worker's lease allows; so nobody
//! can append to what is compressed or removed. With [`Naming::Number`] a backup may get another name
//! at any time: its name is looked up by its identity, and used, under the rotation lock.

mod compress;
mod prune;
mod wakeup;

pub(crate) use compress::Encoding;
pub(crate) use prune::Retention;
pub(crate) use wakeup::Wakeup;

use crate::atomic::AtomicFile;
use crate::clock::{Clock, Timestamp};
use crate::error::{Error, Result};
use crate::fs::{self, EntryKind, Unleased};
use crate::lock::Wait;
use crate::retry::Retry;
use crate::segment::name::{Compression, Key, Name, Naming};
use crate::segment::{Backup, Listing, Location, backup_names, rotation_lock, superseded};
use crate::stats::{Event, Journal};
use parking_lot::Mutex;
use prune::{BackupStat, DiskState};
use std::fs::File;
use std::io::ErrorKind::StorageFull;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// When and where maintenance is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(
    feature = "policy",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
pub enum MaintenanceMode {
    /// On a thread of the log's own, so that no log call waits for it. The default.
    #[default]
    Thread,
    /// Within the log call that rotated, for programs that must not have threads. That call takes as
    /// long as compressing the backup does. Backups that another worker still has open are looked at
    /// again at later calls, once per `check_interval`.
    Inline,
}

/// What of a log's settings concerns its backups.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MaintenanceConfig {
    pub(crate) naming: Naming,
    pub(crate) encoding: Option<Encoding>,
    pub(crate) retention: Retention,
    /// What the active segment may grow to.
    pub(crate) max_size: u64,
    pub(crate) lock_mode: Option<u32>,
    pub(crate) lock_timeout: Duration,
}

/// Looks after the backups of one log.
pub(crate) struct Maintainer {
    settings: Mutex<MaintenanceConfig>,
    clock: Clock,
    journal: Arc<Journal>,
    /// Held during a pass, so that the thread and `close` do not both work.
    state: Mutex<PassState>,
}

#[derive(Debug, Default)]
struct PassState {
    /// Whether backups were left for later because someone has them open.
    deferred: bool,
    retry: Retry,
    /// When the oldest backup will be too old.
    next_expiry: Option<Timestamp>,
}

/// What a pass found out.
pub(crate) struct PassOutcome {
    /// The newest backup's time, at the moment of the listing.
    pub(crate) newest: Option<Timestamp>,
}

impl Maintainer {
    pub(crate) fn new(settings: MaintenanceConfig, clock: Clock, journal: Arc<Journal>) -> Self {
        Self { settings: Mutex::new(settings), clock, journal, state: Mutex::default() }
    }

    /// Goes on with other settings, from the next step of a pass that is under way. The naming stays.
    #[cfg(feature = "policy")]
    pub(crate) fn apply(&self, settings: MaintenanceConfig) {
        let mut present = self.settings.lock();
        *present = MaintenanceConfig { naming: present.naming, ..settings };
    }

    fn settings(&self) -> MaintenanceConfig {
        *self.settings.lock()
    }

    /// Whether to make a pass now. `notified` says that there may be new backups; without them, there is
    /// work if some was deferred or has failed, a backup is too old by now, or the disk is too full.
    pub(crate) fn is_due(&self, location: &Location, notified: bool) -> bool {
        let mut state = self.state.lock();
        if !state.retry.is_due() {
            state.deferred |= notified;
            return false;
        }
        let expired = || state.next_expiry.is_some_and(|expiry| expiry <= self.clock.now());
        let lacks_space = || {
            let min = self.settings().retention.min_free_space;
            min.is_some_and(|min| fs::free_space(location.dir()).is_ok_and(|free| free < min))
        };
        notified || state.deferred || state.retry.is_failing() || expired() || lacks_space()
    }

    /// Does all the work that can be done now. `go_on` is asked between steps.
    ///
    /// # Errors
    /// The first failure; what does not depend on it is done all the same.
    pub(crate) fn pass(
        &self,
        location: &Location,
        go_on: &dyn Fn() -> bool,
    ) -> Result<PassOutcome> {
        let mut state = self.state.lock();
        let mut pass = Pass { maintainer: self, location, go_on, deferred: false, failure: None };
        let listing = pass.run();
        let failure = pass.failure.take();
        state.deferred = pass.deferred;
        state.next_expiry = self.next_expiry(listing.as_ref());
        match failure {
            None => {
                state.retry.succeeded();
                Ok(PassOutcome { newest: listing.and_then(|listing| listing.newest()) })
            }
            Some(error) => {
                state.retry.failed();
                Err(error)
            }
        }
    }

    /// Whether backups are packed.
    pub(crate) fn compresses(&self) -> bool {
        self.settings().encoding.is_some()
    }

    /// The backups, oldest first, and how many of the oldest have to go.
    pub(crate) fn plan(&self, location: &Location) -> Result<(Vec<Backup>, usize)> {
        let mut listing = Listing::read(location, self.settings().naming)?;
        // A pass begins by removing what no process is writing.
        let is_dead = |path: &Path| matches!(fs::open_unleased(path), Ok(Unleased::Ours(_)));
        listing.temporaries.retain(|(path, _)| !is_dead(path));
        let pass =
            Pass { maintainer: self, location, go_on: &|| true, deferred: false, failure: None };
        let excess = pass.excess(&listing)?;
        Ok((listing.backups, excess))
    }

    fn next_expiry(&self, listing: Option<&Listing>) -> Option<Timestamp> {
        let age = self.settings().retention.max_backup_age?;
        let now = self.clock.now();
        let expiry = |backup: &Backup| backup.finished_by(now).plus(age);
        // What is too old already and still there is deferred; it needs no alarm.
        listing?.backups.iter().map(expiry).filter(|expiry| *expiry > now).min()
    }

    /// Runs `work` while no backup changes its name: with [`Naming::Number`] under the rotation lock.
    fn with_stable_names<T>(
        &self,
        location: &Location,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let MaintenanceConfig { naming, lock_mode, lock_timeout, .. } = self.settings();
        if naming == Naming::Timestamp {
            return work();
        }
        // A lock object of its own: that of the writer may be in use by a log call of this process.
        let lock = rotation_lock::open(location, lock_mode)?;
        let guard = lock.exclusive(Wait::AtMost(lock_timeout))?;
        let done = work();
        if let Err(error) = guard.unlock() {
            self.journal.failed(error);
        }
        done
    }
}

/// One pass over a log's backups.
struct Pass<'a> {
    maintainer: &'a Maintainer,
    location: &'a Location,
    go_on: &'a dyn Fn() -> bool,
    deferred: bool,
    failure: Option<Error>,
}

/// Whether a backup was dealt with.
enum StepOutcome {
    Done,
    /// Someone has it open.
    Deferred,
    /// It has another name by now, or is gone.
    Moved,
}

impl Pass<'_> {
    /// Returns the last listing made, if one could be.
    fn run(&mut self) -> Option<Listing> {
        let mut listing = self.prune()?;
        if self.compress(&listing) {
            listing = self.prune()?;
        }
        Some(listing)
    }

    fn list(&self) -> Result<Listing> {
        Listing::read(self.location, self.naming())
    }

    fn naming(&self) -> Naming {
        self.maintainer.settings().naming
    }

    /// Keeps a failure, and goes on. The observer is told of the first one of a pass: what ails one backup
    /// (a full disk) often ails them all.
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

    /// Lists the log's files, clears up what a crash left, and removes what the limits leave no room for.
    fn prune(&mut self) -> Option<Listing> {
        let listed = self.list();
        let mut listing = self.check(listed)?;
        self.clear_temporaries(&mut listing);
        let excess = self.excess(&listing);
        if self.check(excess)? == 0 && !listing.has_superseded() {
            return Some(listing);
        }
        let (maintainer, location) = (self.maintainer, self.location);
        let pruned = maintainer.with_stable_names(location, || self.prune_stable(listing));
        self.check(pruned)
    }

    fn prune_stable(&mut self, mut listing: Listing) -> Result<Listing> {
        let names = backup_names(self.location, self.naming())?;
        let names = superseded::remove(self.location, &names, |error| {
            self.check(Err::<(), _>(error));
        });
        self.check(names);
        listing.backups = self.list()?.backups;
        let kept = listing.backups.split_off(self.excess(&listing)?);
        listing.backups.retain(|backup| !((self.go_on)() && self.prune_one(backup)));
        listing.backups.extend(kept);
        Ok(listing)
    }

    /// Removes what no live process is writing any more.
    fn clear_temporaries(&mut self, listing: &mut Listing) {
        listing.temporaries.retain(|(path, _)| {
            let removed = fs::remove_dead_temp(path);
            self.check(removed) != Some(true)
        });
    }

    /// How many of the oldest files have to go.
    fn excess(&self, listing: &Listing) -> Result<usize> {
        let settings = self.maintainer.settings();
        let active = fs::stat(self.location.path())?.map_or(0, |entry| entry.len);
        let temporaries: u64 = listing.temporaries.iter().map(|(_, bytes)| bytes).sum();
        let free = match settings.retention.min_free_space {
            Some(_) => fs::free_space(self.location.dir())?,
            None => u64::MAX,
        };
        let now = self.maintainer.clock.now();
        let disk = DiskState {
            now,
            other_bytes: temporaries.saturating_add(active.max(settings.max_size)),
            free,
        };
        // One that another worker is packing right now may be there in both forms; it is one backup.
        let backups: Vec<_> = listing.backups.chunk_by(|a, b| a.name.key == b.name.key).collect();
        let stats = |forms: &&[Backup]| BackupStat {
            bytes: forms.iter().map(|form| form.len).sum(),
            finished: forms[0].finished_by(now),
        };
        let stats: Vec<_> = backups.iter().map(stats).collect();
        let excess = settings.retention.excess(&stats, disk);
        Ok(backups[..excess].iter().map(|forms| forms.len()).sum())
    }

    /// Removes a backup that nobody has open; `true` if it is gone.
    fn prune_one(&mut self, backup: &Backup) -> bool {
        let removed = remove(&backup.path);
        match self.check(removed) {
            Some(StepOutcome::Done) => {
                let (path, bytes) = (backup.path.clone(), backup.len);
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

    /// Packs every plain backup that nobody has open; `true` if there was one.
    fn compress(&mut self, listing: &Listing) -> bool {
        let Some(encoding) = self.maintainer.settings().encoding else { return false };
        let mut any = false;
        for backup in
            listing.backups.iter().filter(|backup| backup.name.compression == Compression::None)
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
        if fs::fstat(&plain, &backup.path)?.id != backup.id {
            return Ok(StepOutcome::Moved);
        }
        let target = self.location.backup_path(packed(backup.name, encoding));
        // Somebody else is packing it; or the disk is so full that log calls would find it full meanwhile.
        let is_being_packed = fs::stat(&target)?.is_some_and(|there| there.kind == EntryKind::File);
        if is_being_packed || fs::free_space(self.location.dir())? < backup.len {
            return Ok(StepOutcome::Deferred);
        }
        let packed = compress::pack(&plain, &backup.path, &target, encoding, self.go_on)?;
        let Some(packed) = packed else { return Ok(StepOutcome::Deferred) };
        self.replace_by(backup, plain, encoding, packed)
    }

    /// Puts a packed backup in the place of the plain one, which is held exclusively.
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
            let to = self.location.backup_path(packed(name, encoding));
            file.place(&to)?;
            Ok(Some(to))
        })?;
        let Some(to) = placed else { return Ok(StepOutcome::Moved) };
        // Not under the lock: it may take long. If the plain backup is renamed meanwhile, it is removed
        // by who does it, as one that is there packed.
        fs::sync_dir(self.location.dir())?;
        let from = self.maintainer.with_stable_names(self.location, || {
            let Some((_, from)) = self.present_name(backup)? else { return Ok(None) };
            let removed = fs::remove(&from)?;
            // While the name is still nobody else's: on Windows it may stay in use until then.
            drop(plain);
            Ok(removed.then_some(from))
        })?;
        let from = from.unwrap_or_else(|| backup.path.clone());
        self.maintainer.journal.counters.compressions.increment();
        self.maintainer.journal.note(Event::Compressed {
            from,
            to,
            bytes_before: backup.len,
            bytes_after: after,
        });
        Ok(StepOutcome::Done)
    }

    /// What the file listed as `backup` is named now; `None` if it is gone. The caller has made sure
    /// that the answer stays true.
    fn present_name(&self, backup: &Backup) -> Result<Option<(Name, PathBuf)>> {
        let is_it = |path: &Path| fs::is_at(path, backup.id);
        if is_it(&backup.path)? {
            return Ok(Some((backup.name, backup.path.clone())));
        }
        let Key::Number(listed) = backup.name.key else { return Ok(None) };
        for name in backup_names(self.location, Naming::Number)? {
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

fn packed(name: Name, encoding: Encoding) -> Name {
    Name { compression: encoding.compression(), ..name }
}

/// Removes a backup that nobody has open. The caller has made sure that it keeps its name.
fn remove(path: &Path) -> Result<StepOutcome> {
    match fs::open_unleased(path)? {
        Unleased::Ours(_held) => {
            Ok(if fs::remove(path)? { StepOutcome::Done } else { StepOutcome::Moved })
        }
        Unleased::Leased => Ok(StepOutcome::Deferred),
        Unleased::Gone => Ok(StepOutcome::Moved),
    }
}
