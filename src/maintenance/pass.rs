//! One pass: cleans up after crashes, then prunes and compresses.

use super::compress::{self, Encoding, Source, has_changed};
use super::foreign_writers::ForeignWriters;
use super::knowledge::file_names;
use super::maintainer::Maintainer;
use super::remove::{Aside, is_active, move_aside, remove};
use super::settled::{created_after, is_settled};
use crate::atomic::AtomicFile;
use crate::clock::{Clock, Stopwatch};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{self, Entry, EntryKind, FileId, Unleased};
use crate::segment::lookup::{beyond_gap, known_numbers, numbered};
use crate::segment::name::{Compression, Key, Name, Naming};
use crate::segment::note::Note;
use crate::segment::{Backup, DirectorySnapshot, Location, superseded};
use crate::stats::{DeferralReason, Event};
use std::collections::HashSet;
use std::fs::File;
use std::io::ErrorKind::StorageFull;
use std::path::{Path, PathBuf};
use std::slice;
use std::time::{Duration, SystemTime};

/// One pass over a log's backups.
pub(super) struct Pass<'a> {
    pub(super) maintainer: &'a Maintainer,
    pub(super) location: &'a Location,
    /// Whether backups are compressed, rather than left for a later pass.
    pub(super) compresses: bool,
    pub(super) go_on: &'a dyn Fn() -> bool,
    pub(super) deferred: bool,
    pub(super) failure: Option<Error>,
    /// Whether listings are avoided.
    pub(super) is_crowded: bool,
    /// The names of the files to look at; `None` for all.
    pub(super) names: Option<Vec<String>>,
    /// How long the listing of the directory took.
    pub(super) listed_for: Duration,
    /// The temporaries that are written, as of the last listing.
    pub(super) temporaries: Vec<PathBuf>,
    /// The creation of the active segment, as of just before the last listing.
    active_born: Option<SystemTime>,
    writers: ForeignWriters,
    /// Backups with several names, of which none is a temporary's.
    pub(super) single: HashSet<FileId>,
    /// Whether a file that a rotation had left became a backup.
    pub(super) made_backup: bool,
}

/// The outcome of one step on one backup.
pub(super) enum StepOutcome {
    Done,
    /// It is left for a later pass.
    Deferred(DeferralReason),
    /// The caller ended the pass.
    Interrupted,
    /// It has another name by now, or is gone.
    Moved,
}

impl<'a> Pass<'a> {
    pub(super) fn new(
        maintainer: &'a Maintainer,
        location: &'a Location,
        compresses: bool,
        go_on: &'a dyn Fn() -> bool,
    ) -> Self {
        Self {
            maintainer,
            location,
            compresses,
            go_on,
            deferred: false,
            failure: None,
            is_crowded: false,
            names: None,
            listed_for: Duration::ZERO,
            temporaries: Vec::new(),
            active_born: None,
            writers: ForeignWriters::default(),
            single: HashSet::new(),
            made_backup: false,
        }
    }

    /// Returns the last listing made, if there is one.
    pub(super) fn run(&mut self) -> Option<DirectorySnapshot> {
        let mut snapshot = self.prune()?;
        if self.compress(&snapshot) {
            snapshot = self.prune()?;
        }
        Some(snapshot)
    }

    /// Lists the log's files. In a crowded directory, the later listings of a pass look at the
    /// files of the first.
    pub(super) fn list(&mut self) -> Result<DirectorySnapshot> {
        // First: a segment that is active later is younger than a file that is put there meanwhile.
        let active = fs::stat(self.location.path())?;
        self.active_born = active.and_then(|active| active.born);
        let active = active.map(|active| active.id);
        let (location, naming) = (self.location, self.naming());
        if let Some(names) = &self.names {
            let mut names = names.clone();
            if naming == Naming::Number {
                names.extend(file_names(location, known_numbers(location)?.iter()));
            }
            return Ok(DirectorySnapshot::of(location, naming, &names)?.without(active));
        }
        let listing = Stopwatch::start();
        let snapshot = DirectorySnapshot::read(location, naming)?.without(active);
        self.listed_for = listing.elapsed();
        self.names = self.is_crowded.then(|| file_names(location, snapshot.names().iter()));
        Ok(snapshot)
    }

    pub(super) fn naming(&self) -> Naming {
        self.maintainer.settings().naming
    }

    /// Records a failure and continues. The observer gets the first failure of a pass only: a cause
    /// such as a full disk often affects every backup.
    pub(super) fn check<T>(&mut self, result: Result<T>) -> Option<T> {
        let journal = &self.maintainer.journal;
        match result {
            Ok(value) => return Some(value),
            // Rotations are busy with the names. The work is left for the next pass.
            Err(error) if error.kind() == ErrorKind::LockTimeout => {
                self.deferred = true;
                journal.counters.deferrals.increment();
            }
            Err(error) if self.failure.is_some() => journal.counters.failed(&error),
            Err(error) => {
                journal.failed(error.clone());
                self.failure = Some(error);
            }
        }
        None
    }

    /// Leaves a backup for a later pass; without a reason if the caller ended this one.
    fn defer(&mut self, backup: &Backup, reason: Option<DeferralReason>) {
        self.deferred = true;
        let journal = &self.maintainer.journal;
        journal.counters.deferrals.increment();
        if let Some(reason) = reason.filter(|_| self.maintainer.reports_deferrals) {
            journal.note(Event::Deferred { path: backup.path.clone(), reason });
        }
    }

    /// Lists the log's files, cleans up after crashes, and removes the backups beyond the limits.
    fn prune(&mut self) -> Option<DirectorySnapshot> {
        self.writers = ForeignWriters::default();
        let listed = self.list();
        let snapshot = self.check(listed)?;
        let snapshot = self.clear_temporaries(snapshot)?;
        let excess = self.excess(&snapshot);
        let excess = self.check(excess)?;
        if excess == 0 && snapshot.superseded.is_empty() {
            return Some(snapshot);
        }
        // Not under the lock: the answer takes long on a machine with many open files, and a
        // listing of a large directory does too.
        let writers = ForeignWriters::of(&snapshot.backups, None);
        self.writers = self.check(writers)?;
        let removed = self.remove_second_names(&snapshot.backups[..excess]);
        self.check(removed);
        let (maintainer, location) = (self.maintainer, self.location);
        let pruned = maintainer.with_stable_names(location, || self.prune_stable(snapshot));
        let (snapshot, aside) = self.check(pruned)?;
        // Not under the lock: the system may take long to free a large file.
        for Aside { backup, path, .. } in aside {
            let removed = fs::remove(&path);
            if self.check(removed).is_some() {
                self.note_pruned(&backup);
            }
        }
        Some(snapshot)
    }

    /// Takes the backups beyond the limits out of the log. Returns those that are still to be
    /// removed.
    fn prune_stable(
        &mut self,
        mut snapshot: DirectorySnapshot,
    ) -> Result<(DirectorySnapshot, Vec<Aside>)> {
        let names = self.list()?.names();
        let names = superseded::remove(self.location, &names, |error| {
            self.check(Err::<(), _>(error));
        });
        self.check(names);
        let listed = self.list()?;
        (snapshot.backups, snapshot.superseded) = (listed.backups, listed.superseded);
        let excess = self.excess(&snapshot)?;
        let archived = self.archived()?;
        let for_space = match archived.drops_when_full() {
            true => self.excess_for_space(&snapshot)?,
            false => 0,
        };
        let (mut kept, mut aside) = (Vec::new(), Vec::new());
        for (at, backup) in snapshot.backups.iter().enumerate() {
            let may_go = || self.may_remove(&archived, backup, at < for_space);
            let is_excess = at < excess && (self.go_on)() && may_go();
            if !is_excess || !self.prune_one(backup, &snapshot.backups, &mut aside) {
                kept.push(backup.clone());
            } else if !archived.has(self.location, backup) {
                self.maintainer.journal.counters.dropped_unarchived();
            }
        }
        snapshot.backups = kept;
        self.note_gap(&snapshot)?;
        Ok((snapshot, aside))
    }

    /// Notes a numbered backup that is left after a gap, for the other workers. The caller holds
    /// the rotation lock.
    fn note_gap(&self, snapshot: &DirectorySnapshot) -> Result<()> {
        if !self.is_crowded || self.naming() != Naming::Number {
            return Ok(());
        }
        let path = self.location.path();
        let (Some(active), Some(note)) = (fs::stat(path)?, Note::of(path)) else { return Ok(()) };
        let beyond_gap = beyond_gap(&snapshot.names());
        if note.beyond_gap != beyond_gap {
            Note { beyond_gap, ..note }.put_on(path, active.id);
        }
        Ok(())
    }

    /// Removes a backup that no process has open, or moves it `aside` to be removed; returns `true`
    /// if it is gone.
    fn prune_one(&mut self, backup: &Backup, listed: &[Backup], aside: &mut Vec<Aside>) -> bool {
        let removed = self.take_out(backup, listed, aside);
        match self.check(removed) {
            Some(StepOutcome::Done) => {
                if self.naming() != Naming::Number {
                    self.note_pruned(backup);
                }
                true
            }
            Some(StepOutcome::Moved) => true,
            Some(StepOutcome::Deferred(reason)) => {
                self.defer(backup, Some(reason));
                false
            }
            Some(StepOutcome::Interrupted) | None => false,
        }
    }

    fn take_out(
        &mut self,
        backup: &Backup,
        listed: &[Backup],
        aside: &mut Vec<Aside>,
    ) -> Result<StepOutcome> {
        if self.writers.has(backup, listed, None)? {
            return Ok(StepOutcome::Deferred(DeferralReason::BeingWritten));
        }
        if self.has_second_name(&backup.entry) {
            return Ok(StepOutcome::Deferred(DeferralReason::InUse));
        }
        match self.naming() {
            Naming::Number => move_aside(self.location, backup, aside),
            Naming::Timestamp | Naming::TimestampInfix => remove(self.location, backup),
        }
    }

    fn note_pruned(&self, backup: &Backup) {
        let (path, bytes) = (backup.path.clone(), backup.entry.len);
        self.maintainer.journal.counters.pruned.increment();
        self.maintainer.journal.note(Event::Pruned { path, bytes });
    }

    /// Compresses every backup that no process has open, except the newest that are kept; returns
    /// `true` if there was one.
    fn compress(&mut self, snapshot: &DirectorySnapshot) -> bool {
        let Some(encoding) = self.maintainer.settings().encoding else { return false };
        let compressible = self.maintainer.compressible(&snapshot.backups);
        let mut any = false;
        for (at, backup) in snapshot.backups[..compressible].iter().enumerate() {
            if backup.name.compression != Compression::None {
                continue;
            }
            if !self.compresses {
                self.deferred = true;
                break;
            }
            if !(self.go_on)() {
                break;
            }
            let step = self.compress_one(at, &snapshot.backups, encoding);
            let is_full = step.as_ref().is_err_and(|error| error.io_kind() == StorageFull);
            match self.check(step) {
                Some(StepOutcome::Done) => any = true,
                Some(StepOutcome::Deferred(reason)) => self.defer(backup, Some(reason)),
                Some(StepOutcome::Interrupted) => self.defer(backup, None),
                Some(StepOutcome::Moved) | None => {}
            }
            if is_full {
                break;
            }
        }
        any
    }

    fn compress_one(
        &mut self,
        at: usize,
        listed: &[Backup],
        encoding: Encoding,
    ) -> Result<StepOutcome> {
        let backup = &listed[at];
        let plain = match fs::open_unleased(&backup.path)? {
            Unleased::Ours(file) => file,
            Unleased::Leased => return self.leased(backup, encoding),
            Unleased::Gone => return Ok(StepOutcome::Moved),
        };
        if is_active(self.location, backup)? {
            return Ok(StepOutcome::Deferred(DeferralReason::InUse));
        }
        let is_it = |entry: &Entry| entry.id == backup.entry.id;
        let Some(entry) = fs::fstat_if_any(&plain, &backup.path)?.filter(is_it) else {
            return Ok(StepOutcome::Moved);
        };
        self.remove_second_names(slice::from_ref(backup))?;
        if self.has_second_name(&entry) {
            return Ok(StepOutcome::Deferred(DeferralReason::InUse));
        }
        if !self.is_complete(at, listed, &entry, &plain)? {
            return Ok(StepOutcome::Deferred(DeferralReason::BeingWritten));
        }
        let archived = self.archived()?;
        if archived.keeps_form(&self.location.file_name(backup.name)) {
            // Its object has this form.
            return Ok(StepOutcome::Moved);
        }
        let name = compressed_name(backup.name, encoding);
        if self.is_taken(name, &entry)? {
            return Ok(StepOutcome::Deferred(DeferralReason::BeingCompressed));
        }
        // Otherwise compression could fill the disk under the writers.
        if fs::free_space(self.location.dir())?.is_some_and(|free| free < entry.len) {
            return Ok(StepOutcome::Deferred(DeferralReason::NoSpace));
        }
        let rotated_at = backup.name.key.time();
        let source = Source { file: &plain, path: &backup.path, entry, go_on: self.go_on };
        let target = self.location.backup_path(name);
        let compressed = compress::compress(&source, &target, rotated_at, encoding);
        if source.has_changed()? {
            return Ok(StepOutcome::Deferred(DeferralReason::BeingWritten));
        }
        let Some(compressed) = compressed? else { return Ok(StepOutcome::Interrupted) };
        self.replace_by(backup, entry, plain, encoding, compressed)
    }

    /// Whether no program writes a listed backup any more.
    fn is_complete(
        &mut self,
        at: usize,
        listed: &[Backup],
        entry: &Entry,
        plain: &File,
    ) -> Result<bool> {
        let (backup, next_created) = (&listed[at], created_after(&listed[at..], self.active_born));
        let now = Clock::system().now().into();
        Ok(fs::DENIES_WRITERS
            || (is_settled(entry, backup.name.key, next_created, now)
                && !self.writers.has(backup, listed, Some(plain))?))
    }

    /// Why a backup that another handle holds is left.
    fn leased(&self, backup: &Backup, encoding: Encoding) -> Result<StepOutcome> {
        if !self.maintainer.reports_deferrals {
            return Ok(StepOutcome::Deferred(DeferralReason::InUse));
        }
        let target = self.location.file_name(compressed_name(backup.name, encoding));
        let is_for_it = |temporary: &PathBuf| {
            let name = temporary.file_name().and_then(|name| name.to_str());
            name.and_then(fs::temp_target) == Some(&target)
        };
        let is_compressing = self.temporaries.iter().any(is_for_it);
        Ok(StepOutcome::Deferred(match is_compressing {
            true => DeferralReason::BeingCompressed,
            false => DeferralReason::InUse,
        }))
    }

    /// Whether another process has put a file at the compressed name of a backup. One that this
    /// crate made before another program changed the backup is removed.
    fn is_taken(&self, name: Name, plain: &Entry) -> Result<bool> {
        let path = self.location.backup_path(name);
        let Some(there) = fs::stat(&path)?.filter(|there| there.kind == EntryKind::File) else {
            return Ok(false);
        };
        let is_outdated = superseded::is_outdated(&path, name.compression, there, *plain);
        Ok(!(is_outdated && fs::remove(&path)?))
    }

    /// Replaces an exclusively held backup by its compressed form.
    fn replace_by(
        &self,
        backup: &Backup,
        before: Entry,
        plain: File,
        encoding: Encoding,
        file: AtomicFile,
    ) -> Result<StepOutcome> {
        let after = fs::fstat(file.file(), file.path())?;
        let note = self.is_crowded.then(|| Note::of(&backup.path)).flatten();
        let placed = self.maintainer.with_stable_names(self.location, || {
            let Some((name, _)) = self.present_name(backup)? else { return Ok(None) };
            let to = self.location.backup_path(compressed_name(name, encoding));
            file.place(&to)?;
            Ok(Some(to))
        })?;
        let Some(to) = placed else { return Ok(StepOutcome::Moved) };
        if let Some(note) = note {
            note.put_on(&to, after.id);
        }
        // Not under the lock: a sync may take long. If a rotation renames the uncompressed backup
        // meanwhile, that rotation removes it as superseded.
        fs::sync_dir(self.location.dir())?;
        let from = self.maintainer.with_stable_names(self.location, || {
            let Some((name, from)) = self.present_name(backup)? else { return Ok(Some(None)) };
            if has_changed(&before, &fs::fstat(&plain, &from)?) {
                fs::remove(&self.location.backup_path(compressed_name(name, encoding)))?;
                return Ok(None);
            }
            let removed = fs::remove(&from)?;
            // While no other file has the name: on Windows it may stay in use until then.
            drop(plain);
            Ok(Some(removed.then_some(from)))
        })?;
        let Some(from) = from else {
            return Ok(StepOutcome::Deferred(DeferralReason::BeingWritten));
        };
        let from = from.unwrap_or_else(|| backup.path.clone());
        self.maintainer.journal.counters.compressions.increment();
        self.maintainer.journal.note(Event::Compressed {
            from,
            to,
            bytes_before: before.len,
            bytes_after: after.len,
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
        for name in numbered(self.location, self.is_crowded)? {
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
