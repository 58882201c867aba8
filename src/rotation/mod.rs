//! The rotation protocol: how workers agree on the active segment without talking to each other.
//!
//! A segment is made, and a finished one renamed, only under the rotation lock `<log>.lock`; whoever
//! gets the lock looks again before acting, for another worker may have been first. The steps, each
//! of which may be a worker's last:
//!
//! | step | if the worker dies after it |
//! |---|---|
//! | take the lock | the kernel frees it; the file left behind is harmless |
//! | look again: gone → create; another file → follow; not due → leave | nothing was changed |
//! | make the next segment under a temporary name | maintenance removes it |
//! | rename the active segment to its backup name | the path is missing: the next worker creates it |
//! | give the next segment the log's path | done |
//! | remove the lock file, unlock | done |
//!
//! The next segment is made before the old one is renamed, so that a full disk or a missing right
//! shows while there is nothing to undo; it has its mode, owner and header before anyone sees it.

mod period;
pub(crate) mod trigger;

pub use period::{Period, Zone};
use trigger::{started, started_by_name};

use crate::clock::{Clock, Timestamp};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{self, Access, Temp};
use crate::lock::{FileLock, LockGuard, Wait};
use crate::segment::lease::Lease;
use crate::segment::name::{Key, Name, Naming};
use crate::segment::{Listing, Location, backup_names, rotation_lock, superseded};
use crate::stats::{Counters, Journal};
use std::io::ErrorKind::{AlreadyExists, NotFound};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The active segment as one worker has it open.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) lease: Lease,
    /// Its size when last learned; other workers may have appended since.
    pub(crate) size: u64,
    /// How many of its first bytes are the header.
    pub(crate) header: u64,
    pub(crate) started: Timestamp,
    /// The newest backup's time when this segment became active, if that is known.
    pub(crate) newest_backup: NewestBackup,
}

/// What a worker knows of the newest backup's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NewestBackup {
    Unknown,
    /// There is none, or it is this one.
    Known(Option<Timestamp>),
}

impl Active {
    /// Whether any record was written to it.
    pub(crate) fn is_empty(&self) -> bool {
        self.size <= self.header
    }

    /// Takes note of the file's size. Counts it in `counters` if that is less than it was: cut short by
    /// another program; the header went with the rest.
    pub(crate) fn learn_size(&mut self, size: u64, counters: &Counters) {
        if size < self.size {
            self.header = 0;
            counters.truncations.increment();
        }
        self.size = size;
    }
}

/// What a rotation came to.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// This worker rotated: the backup, and its size.
    Rotated { backup: PathBuf, bytes: u64 },
    /// Another worker was first, and its segment was adopted.
    Adopted,
    /// Nobody rotated, and there is no need to any more.
    NotDue,
    /// The path was gone, and was made again.
    Created,
}

/// A header for every new segment.
pub(crate) type HeaderFn = Arc<dyn Fn() -> Vec<u8> + Send + Sync>;

/// What of a log's settings concerns its segments.
#[derive(Clone)]
pub(crate) struct SegmentSettings {
    pub(crate) naming: Naming,
    /// The mode of new segments and of the lock file; by default that of the segment before.
    pub(crate) mode: Option<u32>,
    pub(crate) header: Option<HeaderFn>,
    /// The length that segments' headers are taken to have that this process has not made.
    pub(crate) header_len: u64,
}

/// Opens, follows and rotates one log.
pub(crate) struct Rotator {
    /// The path as the user gave it, but absolute: links in it are not resolved.
    given: PathBuf,
    location: Arc<Location>,
    lock: FileLock,
    settings: SegmentSettings,
    clock: Clock,
    journal: Arc<Journal>,
}

/// How often other programs may create the log just before this worker does.
const COLLISIONS: u32 = 10;

impl Rotator {
    pub(crate) fn new(
        given: PathBuf,
        settings: SegmentSettings,
        clock: Clock,
        journal: Arc<Journal>,
    ) -> Result<Self> {
        let location = Arc::new(Location::resolve(&given)?);
        if !fs::is_writable_dir(location.dir()) {
            return Err(Error::unwritable_directory(location.path(), location.dir()));
        }
        let lock = rotation_lock::open(&location, settings.mode)?;
        // A link that is put there later is found wherever the process has gone by then.
        let given = std::path::absolute(&given).unwrap_or(given);
        Ok(Self { given, location, lock, settings, clock, journal })
    }

    pub(crate) fn location(&self) -> &Arc<Location> {
        &self.location
    }

    /// Goes on with another mode for new segments.
    ///
    /// # Errors
    /// As [`rotation_lock::open`]; then nothing has changed.
    #[cfg(feature = "policy")]
    pub(crate) fn apply(&mut self, mode: Option<u32>) -> Result<()> {
        self.lock = rotation_lock::open(&self.location, mode)?;
        self.settings.mode = mode;
        Ok(())
    }

    /// Opens the active segment, or creates it, with the owner and mode that `like` says, waiting at most
    /// `timeout` for the rotation lock.
    pub(crate) fn open(
        &mut self,
        like: Option<Access>,
        timeout: Duration,
    ) -> Result<(Active, Outcome)> {
        self.resolve_again()?;
        let mut collisions = 0;
        // If another worker creates the log first, the second round finds it.
        loop {
            if let Some(mut active) = self.open_existing(timeout)? {
                self.ensure_header(&mut active, timeout);
                return Ok((active, Outcome::Adopted));
            }
            self.location.ensure_dir()?;
            let guard = self.take_lock(timeout)?;
            let created = self.create_if_missing(like);
            self.release(guard);
            match created {
                Ok(Some(active)) => return Ok((active, Outcome::Created)),
                Ok(None) => {}
                // Another program does, which takes no lock. What is there but cannot be found is an error.
                Err(error) if error.io_kind() == AlreadyExists && collisions < COLLISIONS => {
                    collisions += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Makes the active segment whatever the log's path names now, creating it if that is nothing.
    pub(crate) fn adopt(&mut self, active: &mut Active, timeout: Duration) -> Result<Outcome> {
        let (found, outcome) =
            self.open(Some(active.lease.present_access(&self.location)), timeout)?;
        *active = found;
        Ok(outcome)
    }

    /// Whether the log's path names another file than the active segment, or none.
    pub(crate) fn has_moved(&self, active: &Active) -> Result<bool> {
        Ok(!fs::is_at(self.location.path(), active.lease.id())?)
    }

    /// Ends the active segment and starts the next, unless another worker has, or `due` says of the
    /// segment as it is now that there is no need. Waits at most `timeout` for the rotation lock.
    ///
    /// On failure the active segment stays what it was, and can be written to.
    pub(crate) fn rotate(
        &mut self,
        active: &mut Active,
        timeout: Duration,
        due: impl Fn(&Active) -> bool,
    ) -> Result<Outcome> {
        // Most workers that come late can see it without the lock.
        if self.has_moved(active)? {
            return self.adopt(active, timeout);
        }
        let guard = self.take_lock(timeout)?;
        let outcome = self.rotate_locked(active, due);
        self.release(guard);
        outcome
    }

    fn rotate_locked(&self, active: &mut Active, due: impl Fn(&Active) -> bool) -> Result<Outcome> {
        // Another worker may have rotated while we waited. Renaming without this second look would
        // archive that worker's fresh segment as ours.
        if self.has_moved(active)? {
            return self.adopt_locked(active);
        }
        let entry = fs::fstat(&active.lease.file, self.location.path())?;
        active.learn_size(entry.len, &self.journal.counters);
        if active.is_empty() {
            return Ok(Outcome::NotDue);
        }
        self.learn_start(active)?;
        if !due(active) {
            return Ok(Outcome::NotDue);
        }
        self.replace(active, entry.access)
    }

    /// Learns from the newest backup's name what it says of when the active segment was started. The caller
    /// holds the lock, so that the answer stays true for as long as this is the active segment.
    fn learn_start(&self, active: &mut Active) -> Result<()> {
        // The time of a numbered backup is the file system's, as that of the active segment is.
        if self.settings.naming == Naming::Timestamp {
            let newest = self.newest_backup_time(active)?;
            active.newest_backup = NewestBackup::Known(newest);
            active.started = started_by_name(active.started, newest, self.clock.now());
        }
        Ok(())
    }

    /// The time in the name of the newest backup.
    fn newest_backup_time(&self, active: &Active) -> Result<Option<Timestamp>> {
        match active.newest_backup {
            NewestBackup::Known(newest) => Ok(newest),
            NewestBackup::Unknown => {
                Ok(newest_time(&backup_names(&self.location, Naming::Timestamp)?))
            }
        }
    }

    fn adopt_locked(&self, active: &mut Active) -> Result<Outcome> {
        // Without patience: others wait for the lock.
        if let Some(found) = self.open_existing(Duration::ZERO)? {
            *active = found;
            self.ensure_header_locked(active);
            return Ok(Outcome::Adopted);
        }
        let like = active.lease.present_access(&self.location);
        if let Some(created) = self.create_if_missing(Some(like))? {
            *active = created;
        }
        Ok(Outcome::Created)
    }

    /// Renames the active segment to a backup and puts a new one in its place, with the same access.
    fn replace(&self, active: &mut Active, access: Access) -> Result<Outcome> {
        let next = self.prepare(Some(access))?;
        let (backup, time) = match self.rename_to_backup(active) {
            // Another program, or the server of a network file system, has taken the name away since we looked.
            Err(error) if error.io_kind() == NotFound && self.has_moved(active)? => {
                return self.adopt_locked(active);
            }
            done => done?,
        };
        let bytes = active.size;
        match self.put_in_place(next, NewestBackup::Known(Some(time))) {
            Ok(fresh) => {
                *active = fresh;
                Ok(Outcome::Rotated { backup, bytes })
            }
            // Another program was first; what it has made is the next segment.
            Err(error) if error.io_kind() == AlreadyExists && self.has_moved(active)? => {
                self.adopt_locked(active)?;
                Ok(Outcome::Rotated { backup, bytes })
            }
            Err(error) => {
                // Undone, so that readers and other workers find the log where it was. If that fails
                // too, the path is missing, and whoever looks next creates it.
                if let Err(undo) = fs::rename_noreplace(&backup, self.location.path()) {
                    self.journal.failed(undo);
                }
                Err(error)
            }
        }
    }

    /// Goes where the path that the user gave leads now, if links on its way have changed, as a worker
    /// that starts now would.
    fn resolve_again(&mut self) -> Result<()> {
        let location = Location::resolve(&self.given)?;
        if location != *self.location {
            self.location = Arc::new(location);
            self.lock = rotation_lock::open(&self.location, self.settings.mode)?;
        }
        Ok(())
    }

    /// Opens the active segment if there is one.
    fn open_existing(&self, timeout: Duration) -> Result<Option<Active>> {
        let Some(lease) = Lease::active(&self.location, timeout)? else {
            return Ok(None);
        };
        let entry = lease.entry;
        let birth = self.clock.birth(entry.id, entry.born);
        let newest = match birth {
            Some(_) => None,
            None => Listing::read(&self.location, self.settings.naming)?.newest(),
        };
        let first = entry.born_at_earliest.unwrap_or(entry.modified);
        Ok(Some(Active {
            size: entry.len,
            header: self.settings.header_len,
            started: started(birth, newest, first.into(), self.clock.now()),
            newest_backup: NewestBackup::Unknown,
            lease,
        }))
    }

    /// Writes the header to a file that another program has made, as `logrotate` does with `create`. Without the
    /// lock in time, or space, the file goes without.
    fn ensure_header(&self, active: &mut Active, timeout: Duration) {
        if !self.lacks_header(active) {
            return;
        }
        match self.take_lock(timeout) {
            Ok(guard) => {
                self.ensure_header_locked(active);
                self.release(guard);
            }
            Err(error) => self.journal.failed(error),
        }
    }

    fn lacks_header(&self, active: &Active) -> bool {
        active.size == 0 && self.settings.header.is_some()
    }

    /// As [`ensure_header`](Self::ensure_header), by who holds the lock: of several workers that find the file one
    /// writes the header.
    fn ensure_header_locked(&self, active: &mut Active) {
        if self.lacks_header(active) {
            self.write_header(active).unwrap_or_else(|error| self.journal.failed(error));
        }
    }

    fn write_header(&self, active: &mut Active) -> Result<()> {
        let (file, path) = (&active.lease.file, self.location.path());
        active.size = fs::fstat(file, path)?.len;
        if active.size == 0 {
            let header = self.header()?;
            fs::write_all(file, &header, path)?;
            active.header = header.len() as u64;
            active.size = active.header;
        }
        Ok(())
    }

    /// Creates the active segment if there is none. The caller holds the lock.
    fn create_if_missing(&self, like: Option<Access>) -> Result<Option<Active>> {
        if fs::stat(self.location.path())?.is_some() {
            return Ok(None);
        }
        self.put_in_place(self.prepare(like)?, NewestBackup::Unknown).map(Some)
    }

    /// Makes a new segment, whole but for its name: owner, mode and header come first.
    fn prepare(&self, like: Option<Access>) -> Result<(Temp, u64)> {
        let mode = self.settings.mode.or(like.map(|access| access.mode));
        let temp = Temp::beside(self.location.path(), mode.unwrap_or(rotation_lock::DEFAULT_MODE))?;
        temp.set_access(like, self.settings.mode)?;
        let header = self.header()?;
        fs::write_all(temp.file(), &header, temp.path())?;
        Ok((temp, header.len() as u64))
    }

    fn put_in_place(&self, (temp, header): (Temp, u64), newest: NewestBackup) -> Result<Active> {
        let lease = Lease::fresh(temp, &self.location)?;
        self.clock.made(lease.id());
        let now = Timestamp::from_micros(self.clock.coarse());
        // A worker whose clock is ahead of the file system's counts from its own: else the boundary
        // that called for this segment would call for another at once.
        let started = self.clock.birth(lease.id(), lease.entry.born).map_or(now, |at| at.max(now));
        Ok(Active { lease, size: header, header, started, newest_backup: newest })
    }

    fn header(&self) -> Result<Vec<u8>> {
        let Some(header) = &self.settings.header else { return Ok(Vec::new()) };
        catch_unwind(AssertUnwindSafe(|| header())).map_err(|_| {
            let (kind, why) = (ErrorKind::InvalidConfig, "the function that makes it has panicked");
            Error::refused(kind, "make the header of", self.location.path(), why)
        })
    }

    /// Renames the active segment to a name that no backup has. Returns that, and its time.
    fn rename_to_backup(&self, active: &Active) -> Result<(PathBuf, Timestamp)> {
        match self.settings.naming {
            Naming::Timestamp => self.rename_to_time(active),
            Naming::Number => {
                self.make_room()?;
                let backup = self.location.backup_path(Name::plain(Key::Number(1)));
                fs::rename_noreplace(self.location.path(), &backup)?;
                Ok((backup, self.clock.now()))
            }
        }
    }

    fn rename_to_time(&self, active: &Active) -> Result<(PathBuf, Timestamp)> {
        let now = self.clock.now();
        let mut time =
            self.newest_backup_time(active)?.map_or(now, |newest| now.max(newest.next()));
        loop {
            let backup = self.location.backup_path(Name::plain(Key::Time(time)));
            match fs::rename_noreplace(self.location.path(), &backup) {
                // A foreign file of that very name; the next microsecond does as well.
                Err(error) if error.io_kind() == AlreadyExists && time < Timestamp::MAX => {
                    time = time.next();
                }
                done => return done.map(|()| (backup, time)),
            }
        }
    }

    /// Frees number 1 by renaming 1 to 2, 2 to 3 and so on, up to the first gap. A crash on the way
    /// leaves a gap, and the next rotation renames only up to that.
    fn make_room(&self) -> Result<()> {
        let names = backup_names(&self.location, Naming::Number)?;
        let names = superseded::remove(&self.location, &names, |error| self.journal.failed(error))?;
        for (from, to) in shifts(&names) {
            let (from, to) = (self.location.backup_path(from), self.location.backup_path(to));
            fs::rename_noreplace(&from, &to)?;
        }
        Ok(())
    }

    /// Takes the rotation lock, waiting at most `timeout`.
    fn take_lock(&self, timeout: Duration) -> Result<LockGuard<'_>> {
        match self.lock.exclusive(Wait::Never) {
            Err(error) if error.kind() == ErrorKind::LockTimeout && !timeout.is_zero() => {
                self.journal.counters.lock_waits.increment();
                self.lock.exclusive(Wait::AtMost(timeout))
            }
            taken => taken,
        }
    }

    /// Gives the rotation lock back. What was done under it stands, whatever comes of that.
    fn release(&self, guard: LockGuard<'_>) {
        if let Err(error) = guard.unlock() {
            self.journal.failed(error);
        }
    }
}

/// The newest of the names, oldest first. After the last name that there can be none could be newer; it
/// is no backup of ours.
fn newest_time(names: &[Name]) -> Option<Timestamp> {
    names.iter().rev().find_map(|name| match name.key {
        Key::Time(time) => (time < Timestamp::MAX).then_some(time),
        Key::Number(_) => None,
    })
}

/// The renames, in order, that free number 1. `names` come oldest first.
fn shifts(names: &[Name]) -> Vec<(Name, Name)> {
    let mut last = 0;
    let chain = names.iter().rev().map_while(|name| match name.key {
        Key::Number(number) if number <= last + 1 && number < u32::MAX => {
            last = number;
            Some((*name, Name { key: Key::Number(number + 1), ..*name }))
        }
        _ => None,
    });
    let mut chain: Vec<_> = chain.collect();
    chain.reverse();
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(names: &[&str]) -> Vec<Name> {
        let mut names: Vec<_> =
            names.iter().map(|name| Name::parse("a", &format!("a.{name}")).unwrap()).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn shifting_renames_from_the_oldest_to_the_newest_up_to_the_first_gap() {
        let names = numbers(&["1", "2.gz", "3.zst", "5"]);
        let shown: Vec<_> = shifts(&names)
            .into_iter()
            .map(|(from, to)| format!("{} {}", from.format("a"), to.format("a")))
            .collect();
        assert_eq!(shown, ["a.3.zst a.4.zst", "a.2.gz a.3.gz", "a.1 a.2"]);
        assert_eq!(shifts(&numbers(&["2", "3"])), []);
    }
}
