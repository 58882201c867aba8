//! The knowledge that a worker has of its directory: whether a pass is its own to make and, in a
//! crowded directory, the files between two looks at all of it.
//!
//! The worker that rotated makes the pass. The others make one only later, in case that worker was
//! killed or has other settings.
//!
//! In a directory with many files, its own or others', a listing costs more than all other work of
//! a pass. So a pass there looks at the files that it knows: those of the last pass, and the
//! backups since, to which the [notes](crate::segment::note) on segments lead. The whole directory
//! is looked at
//!
//! - after the log was opened, for what a crash has left, after a delay in which another worker may
//!   do it for all;
//! - once a minute or more rarely, for what other programs have done and no note says;
//! - if a note is missing, or a pass has failed.
//!
//! The last look that left nothing to do is noted as well, with the directory's last change. Until
//! the directory changes again, no worker with the same settings needs to look.

use super::MaintenanceConfig;
use crate::clock::{Deadline, Timestamp};
use crate::error::Result;
use crate::fs::{self, Entry};
use crate::segment::lookup::{beyond_gap, known_numbers, names_back_to};
use crate::segment::name::{Compression, Name, Naming};
use crate::segment::note::{CompleteLook, NewestBackup, Note};
use crate::segment::{DirectorySnapshot, Location};
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::time::{Duration, SystemTime};

/// The reason for a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Occasion {
    /// It was [due](super::Maintainer::is_due).
    Due,
    /// A worker completes the work.
    Finish,
    /// Not by a worker of the log. Always looks at the whole directory.
    ByHand,
}

/// The outcome of the pass before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LastPass {
    /// It left nothing to do, or there was none.
    Complete,
    /// It left backups that a process had open.
    Deferred,
    Failed,
}

/// The extent of a pass.
pub(super) enum Scope {
    /// Nothing is left to do since the last look, nor before this time.
    Nothing(Timestamp),
    /// The files with these names.
    Known(Vec<String>),
    /// The whole directory. The look is noted if the directory is crowded.
    Everything(Option<Look>),
}

/// A look at the whole of a crowded directory.
pub(super) struct Look {
    started: Timestamp,
    /// The directory and the active segment before.
    dir: Option<Entry>,
    active: Option<Entry>,
}

impl Look {
    fn start(location: &Location, now: Timestamp) -> Result<Self> {
        let (active, dir) = (fs::stat(location.path())?, fs::stat(location.dir())?);
        Ok(Self { started: now, dir, active })
    }

    /// Returns the directory's last change if it was long enough before the look, and no other came
    /// since.
    fn unchanged_since(&self, location: &Location) -> Option<SystemTime> {
        let changed = self.dir?.modified;
        // The last record was written later, by the clock of the file system.
        let is_old = self.active?.modified >= changed.checked_add(GRANULARITY)?;
        let is_same = fs::stat(location.dir()).ok()??.modified == changed;
        (is_old && is_same).then_some(changed)
    }
}

/// How long after opening a worker looks at the whole of a crowded directory, in ms. The workers of
/// a program that starts with many should not all look at once.
const FIRST_LOOK: Range<u64> = 1000..4000;

/// How long the worker that rotated may take before the others do its maintenance, in ms. They
/// should not all come at once.
const TAKEOVER: Range<u64> = 3000..6000;

/// The shortest time between two looks at the whole directory, and how many times longer than the
/// look itself it is.
const LOOK_EVERY: Duration = Duration::from_secs(60);
const LOOK_SHARE: u32 = 1000;

/// How long after the last change of a directory another change shows. The coarsest times, on FAT,
/// are those of 2 s.
const GRANULARITY: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Knowledge {
    /// A look after this time also covers what was left before the log was opened.
    opened: Timestamp,
    /// The backups after the last pass.
    names: Vec<Name>,
    /// The time of the newest backup among them.
    newest: Option<Timestamp>,
    interval: Duration,
    /// When to look at the whole directory. `None` if it was not crowded when last seen.
    look_at: Option<Deadline>,
    /// Whether recovery after a crash, to which the first notification calls, is under way or
    /// scheduled.
    recovers: bool,
    /// When to do the maintenance of another worker's rotation.
    takeover: Option<Deadline>,
    /// This worker's rotations up to the last notification.
    rotations: u64,
}

impl Knowledge {
    pub(super) fn new(opened: Timestamp) -> Self {
        Self {
            opened,
            names: Vec::new(),
            newest: None,
            interval: LOOK_EVERY,
            look_at: None,
            recovers: false,
            takeover: None,
            rotations: 0,
        }
    }

    /// Whether a notification calls for a pass now. The maintenance of a rotation is left to the
    /// worker that rotated and, in a crowded directory, recovery to the first look.
    pub(super) fn is_for_us(&mut self, location: &Location, rotations: u64) -> Result<bool> {
        let is_ours = std::mem::replace(&mut self.rotations, rotations) != rotations;
        let recovers = std::mem::replace(&mut self.recovers, true);
        if self.look_at.is_none() && location.is_crowded()? {
            self.look_at = Some(after_some(FIRST_LOOK));
            return Ok(is_ours);
        }
        if !is_ours && recovers {
            self.takeover.get_or_insert_with(|| after_some(TAKEOVER));
        }
        Ok(is_ours || !recovers)
    }

    /// Whether a delay has passed.
    pub(super) fn is_due(&self) -> bool {
        has_passed(self.look_at) || has_passed(self.takeover)
    }

    /// Decides what a pass looks at.
    pub(super) fn scope(
        &mut self,
        location: &Location,
        settings: &MaintenanceConfig,
        now: Timestamp,
        occasion: Occasion,
        last: LastPass,
    ) -> Result<Scope> {
        self.takeover = None;
        if !location.is_crowded()? {
            // It may have been crowded before.
            self.look_at = None;
            return Ok(Scope::Everything(None));
        }
        let everything = || Ok(Scope::Everything(Some(Look::start(location, now)?)));
        let Some(note) = Note::of(location.path()).filter(|_| last != LastPass::Failed) else {
            return everything();
        };
        if last == LastPass::Complete && is_complete(location, note.done, settings, now)? {
            self.opened = Timestamp::MIN;
            self.look_at = Some(Deadline::after(self.interval));
            return Ok(Scope::Nothing(note.done.map_or(Timestamp::MAX, |done| done.until)));
        }
        let until = note.looked_at.plus(self.interval);
        let is_covered = (note.looked_at..until).contains(&now) && self.opened < note.looked_at;
        if is_covered {
            self.look_at = Some(Deadline::after(until.since(now)));
        } else if occasion == Occasion::Finish || has_passed(self.look_at) {
            return everything();
        }
        match self.names_now(location, settings.naming, note.newest)? {
            Some(names) => Ok(Scope::Known(names)),
            None => everything(),
        }
    }

    /// Returns the names of the log's files as far as they are known without a listing, or `None`.
    fn names_now(
        &self,
        location: &Location,
        naming: Naming,
        newest: NewestBackup,
    ) -> Result<Option<Vec<String>>> {
        let since = match (naming, newest) {
            (Naming::Number, _) => Some(known_numbers(location)?),
            (_, NewestBackup::Known(newest)) => names_back_to(location, newest, self.newest)?,
            (_, NewestBackup::Unknown) => None,
        };
        Ok(since.map(|since| file_names(location, since.iter().chain(&self.names))))
    }

    /// Takes over what a pass has found and left.
    pub(super) fn learn(&mut self, snapshot: &DirectorySnapshot) {
        let names = snapshot.names();
        self.newest = names.iter().rev().find_map(|name| name.key.time());
        self.names = names;
    }

    /// Notes a look at the whole directory, of which the listing took `listed_for`. After a
    /// `complete` pass nothing is left to do before `until`.
    pub(super) fn end_look(
        &mut self,
        look: &Look,
        location: &Location,
        listed_for: Duration,
        complete: Option<(&MaintenanceConfig, Timestamp)>,
    ) -> Result<()> {
        self.interval = LOOK_EVERY.max(LOOK_SHARE * listed_for);
        self.look_at = Some(Deadline::after(self.interval));
        let Some(active) = fs::stat(location.path())? else { return Ok(()) };
        let mut note = Note::of(location.path()).unwrap_or(Note::EMPTY);
        note.looked_at = look.started;
        note.beyond_gap = note.beyond_gap.max(beyond_gap(&self.names));
        note.done = None;
        if look.active.is_some_and(|before| before.id == active.id) {
            if note.newest == NewestBackup::Unknown {
                note.newest = NewestBackup::Known(self.newest);
            }
            let changed = look.unchanged_since(location);
            note.done = complete.zip(changed).map(|((settings, until), changed)| CompleteLook {
                changed,
                settings: fingerprint(settings),
                until,
            });
        }
        note.put_on(location.path(), active.id);
        Ok(())
    }
}

/// A time that is so many milliseconds from now, at random.
fn after_some(milliseconds: Range<u64>) -> Deadline {
    Deadline::after(Duration::from_millis(fastrand::u64(milliseconds)))
}

fn has_passed(deadline: Option<Deadline>) -> bool {
    deadline.is_some_and(|at| at.left().is_none())
}

/// Whether nothing is left to do: no file came or went since the look that is noted, no backup has
/// become too old, and the other limits hold.
fn is_complete(
    location: &Location,
    done: Option<CompleteLook>,
    settings: &MaintenanceConfig,
    now: Timestamp,
) -> Result<bool> {
    let is_same = |done: &CompleteLook| done.settings == fingerprint(settings);
    let Some(done) = done.filter(|done| is_same(done) && now < done.until) else {
        return Ok(false);
    };
    let is_unchanged = |dir: Entry| dir.modified == done.changed;
    // A single record may be larger than a segment, and counts for the total size.
    let is_small = |active: Entry| active.len <= settings.max_size;
    let has_space = match settings.retention.min_free_space {
        Some(min) => fs::free_space(location.dir())?.is_none_or(|free| free >= min),
        None => true,
    };
    Ok(has_space
        && fs::stat(location.dir())?.is_some_and(is_unchanged)
        && fs::stat(location.path())?.is_some_and(is_small))
}

/// Distinguishes settings under which different work is due.
fn fingerprint(settings: &MaintenanceConfig) -> u64 {
    let MaintenanceConfig {
        naming, encoding, keep_uncompressed, retention, duty, max_size, ..
    } = settings;
    let mut hasher = DefaultHasher::new();
    format!("{naming:?} {encoding:?} {keep_uncompressed} {retention:?} {duty:?} {max_size}")
        .hash(&mut hasher);
    hasher.finish()
}

/// Returns the file names of backups. One that may be compressed meanwhile has all its forms.
pub(super) fn file_names<'a>(
    location: &Location,
    names: impl Iterator<Item = &'a Name>,
) -> Vec<String> {
    let forms = |name: &Name| match name.compression {
        Compression::None => Compression::ALL.to_vec(),
        compression => vec![compression],
    };
    let names: BTreeSet<_> = names
        .flat_map(|name| forms(name).into_iter().map(|compression| Name { compression, ..*name }))
        .collect();
    names.into_iter().map(|name| location.file_name(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `None` if directories have no size.
    fn crowded() -> Option<(tempfile::TempDir, Location)> {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..1000 {
            let name = format!("a file of another program, number {number}");
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let location = Location::resolve(&dir.path().join("app.log")).unwrap();
        if location.is_crowded().unwrap() {
            return Some((dir, location));
        }
        None
    }

    fn empty() -> (tempfile::TempDir, Location) {
        let dir = tempfile::tempdir().unwrap();
        let location = Location::resolve(&dir.path().join("app.log")).unwrap();
        (dir, location)
    }

    #[test]
    fn later_notifications_are_for_the_worker_that_rotated() {
        let (_dir, location) = empty();
        let mut knowledge = Knowledge::new(Timestamp::MIN);
        let mut is_for_us = |rotations| knowledge.is_for_us(&location, rotations).unwrap();
        assert_eq!([0, 0, 1, 1, 2].map(&mut is_for_us), [true, false, true, false, true]);
    }

    #[test]
    fn rotation_of_another_worker_is_taken_over_after_the_delay() {
        let (_dir, location) = empty();
        takes_over(&location);
        let Some((_dir, location)) = crowded() else { return };
        takes_over(&location);
    }

    /// The delay itself is replaced by one that has passed.
    fn takes_over(location: &Location) {
        let mut knowledge = Knowledge::new(Timestamp::MIN);
        let is_crowded = location.is_crowded().unwrap();
        assert_eq!(knowledge.is_for_us(location, 0).unwrap(), !is_crowded);
        assert!(knowledge.takeover.is_none(), "the first look is for what came before");
        knowledge.look_at = is_crowded.then(Deadline::never);
        assert!(knowledge.is_for_us(location, 1).unwrap());
        assert!(knowledge.takeover.is_none(), "it was our own rotation");

        assert!(!knowledge.is_for_us(location, 1).unwrap());
        assert!(knowledge.takeover.is_some_and(|at| !at.is_never()));
        knowledge.takeover = Some(Deadline::after(Duration::ZERO));
        // Another rotation does not put it off.
        assert!(!knowledge.is_for_us(location, 1).unwrap());
        assert!(knowledge.is_due());

        // A pass does it once.
        assert!(!matches!(scope_of(&mut knowledge, location), Scope::Nothing(_)));
        assert!(!knowledge.is_due());
    }

    fn scope_of(knowledge: &mut Knowledge, location: &Location) -> Scope {
        let settings = MaintenanceConfig {
            naming: Naming::Number,
            encoding: None,
            keep_uncompressed: 0,
            duty: crate::ledger::Duty::default(),
            retention: crate::maintenance::Retention::default(),
            max_size: 1,
            lock_mode: None,
            lock_timeout: Duration::ZERO,
        };
        let (now, due) = (Timestamp::MIN, Occasion::Due);
        knowledge.scope(location, &settings, now, due, LastPass::Complete).unwrap()
    }

    #[test]
    fn directory_that_is_crowded_no_more_is_not_looked_at_again() {
        let (_dir, location) = empty();
        let mut knowledge = Knowledge::new(Timestamp::MIN);
        knowledge.look_at = Some(Deadline::after(Duration::ZERO));
        assert!(knowledge.is_due());
        scope_of(&mut knowledge, &location);
        assert!(!knowledge.is_due());
    }
}
