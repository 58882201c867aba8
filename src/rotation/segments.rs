//! Opening and creating the active segment of a log.

use super::trigger::started;
use super::{Active, NewestBackup, SwitchCause};
use crate::clock::{Clock, Timestamp};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{self, Access, AppendMode, Entry, Temp};
use crate::lock::{FileLock, LockGuard, Wait};
use crate::segment::lease::Lease;
use crate::segment::name::Naming;
use crate::segment::rotation_lock::{self, DEFAULT_MODE};
use crate::segment::{DirectorySnapshot, Location, temporary};
use crate::stats::{Counters, Journal};
use parking_lot::Mutex;
use std::io::ErrorKind::AlreadyExists;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Returns the header of a new segment.
pub(crate) type HeaderFn = Arc<dyn Fn() -> Vec<u8> + Send + Sync>;

/// The settings of a log that concern its segments.
#[derive(Clone)]
pub(crate) struct SegmentSettings {
    pub(crate) naming: Naming,
    /// The mode of new segments and of the lock file. By default a new segment has that of the one
    /// before.
    pub(crate) mode: Option<u32>,
    pub(crate) header: Option<HeaderFn>,
    /// The length that is assumed for the header of a segment that another process created.
    pub(crate) header_len: u64,
    /// Whether the age of a segment may matter. Where the file system keeps no creation time, the
    /// directory is listed to learn it.
    pub(crate) has_time_limit: bool,
}

/// The place of one log's segments, and the lock to change it.
pub(super) struct Segments {
    /// The path that the user gave, made absolute; links in it are not resolved.
    given: PathBuf,
    location: Arc<Location>,
    /// The network file system that the log is on. `None` for a local one.
    network: Result<Option<String>>,
    lock: FileLock,
    settings: SegmentSettings,
    clock: Clock,
    journal: Arc<Journal>,
    /// Whether the file system can exchange two files; `None` if that was not tried yet.
    pub(super) exchanges: Mutex<Option<bool>>,
}

/// How often other programs may create the log just before this worker does.
const MAX_COLLISIONS: u32 = 10;

impl Segments {
    pub(super) fn new(
        log: &Path,
        settings: SegmentSettings,
        clock: Clock,
        journal: Arc<Journal>,
    ) -> Result<Self> {
        let location = Arc::new(Location::resolve(log)?);
        if !fs::is_writable_dir(location.dir()) {
            // A path that is too long is not one without permissions.
            fs::stat(location.dir())?;
            return Err(Error::unwritable_directory(location.path(), location.dir()));
        }
        let lock = rotation_lock::open(&location, settings.mode)?;
        // A link that is put there later is found even if the process has changed its directory by
        // then.
        let given = std::path::absolute(log).unwrap_or_else(|_| log.to_owned());
        let network = fs::network_file_system(location.dir());
        let exchanges = Mutex::new(can_exchange(&network));
        Ok(Self { given, location, network, lock, settings, clock, journal, exchanges })
    }

    pub(super) fn location(&self) -> &Arc<Location> {
        &self.location
    }

    pub(super) fn network(&self) -> &Result<Option<String>> {
        &self.network
    }

    fn append_mode(&self) -> AppendMode {
        // A file system of which nothing is known may be one of a network.
        AppendMode::new(matches!(self.network, Ok(None)))
    }

    pub(super) fn path(&self) -> &Path {
        self.location.path()
    }

    pub(super) fn naming(&self) -> Naming {
        self.settings.naming
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) fn coarse_now(&self) -> Timestamp {
        self.clock.coarse_now()
    }

    /// How far this worker's clock, which read `asked` before the lock was taken, is ahead of the
    /// file system's.
    pub(super) fn lead(&self, asked: Timestamp, guard: &LockGuard<'_>) -> Result<Duration> {
        let taken_at = guard.taken_at()?;
        Ok(taken_at.map_or(Duration::ZERO, |there| self.clock.lead(asked, there)))
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.journal.counters
    }

    /// Counts a failure and notes it for the observer.
    pub(super) fn report(&self, error: Error) {
        self.journal.failed(error);
    }

    #[cfg(feature = "policy")]
    pub(super) fn set_mode(&mut self, mode: Option<u32>) -> Result<()> {
        self.lock = rotation_lock::open(&self.location, mode)?;
        self.settings.mode = mode;
        Ok(())
    }

    fn exists(&self) -> Result<bool> {
        Ok(fs::stat(self.path())?.is_some())
    }

    /// Opens the active segment, or creates it with the owner, mode and attributes of `like`. Waits
    /// at most `timeout` for the rotation lock.
    pub(super) fn open(
        &mut self,
        like: Option<&Lease>,
        timeout: Duration,
    ) -> Result<(Active, SwitchCause)> {
        // The first time, it has just been resolved.
        if like.is_some() {
            self.resolve_again()?;
        }
        let mut collisions = 0;
        // If another worker creates the log first, the second round finds it.
        loop {
            if let Some(mut active) = self.open_existing(timeout)? {
                if active.lease.entry.links > 1 {
                    self.undo_half(&active);
                }
                self.ensure_header(&mut active, timeout);
                return Ok((active, SwitchCause::Adopted));
            }
            self.location.ensure_dir()?;
            let guard = match self.take_lock(timeout) {
                // Another worker has created the log meanwhile; its rotations kept the lock busy.
                Err(error) if error.kind() == ErrorKind::LockTimeout && self.exists()? => continue,
                taken => taken?,
            };
            let created = self.create_if_missing(like);
            self.release(guard);
            match created {
                Ok(Some(active)) => return Ok((active, SwitchCause::Created)),
                Ok(None) => {}
                // Another program created it without the lock. A file that exists and cannot be
                // found is an error.
                Err(error) if error.io_kind() == AlreadyExists && collisions < MAX_COLLISIONS => {
                    collisions += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Undoes a rotation whose worker died in the middle. One that is under way has the lock.
    fn undo_half(&self, active: &Active) {
        let undone = self.take_lock(Duration::ZERO).map(|guard| {
            let undone = self.undo_link(active.lease.id());
            self.release(guard);
            undone
        });
        match undone {
            Err(error) if error.kind() == ErrorKind::LockTimeout => {}
            Err(error) | Ok(Err(error)) => self.report(error),
            Ok(Ok(())) => {}
        }
    }

    /// Resolves the user's path again. If links in it have changed, the log moves to their new
    /// target, where a worker that starts now would be.
    fn resolve_again(&mut self) -> Result<()> {
        let location = Location::resolve(&self.given)?;
        if location != *self.location {
            self.network = fs::network_file_system(location.dir());
            *self.exchanges.lock() = can_exchange(&self.network);
            self.location = Arc::new(location);
            self.lock = rotation_lock::open(&self.location, self.settings.mode)?;
        }
        Ok(())
    }

    /// Looks at the file that the user's path leads to now, through all links in it. A worker that
    /// starts now would open that one.
    pub(super) fn look(&self) -> Result<Option<Entry>> {
        fs::stat_target(&self.given)
    }

    /// Whether the log's path names another file than the active segment, or none.
    pub(super) fn has_moved(&self, active: &Active) -> Result<bool> {
        Ok(!fs::is_at(self.path(), active.lease.id())?)
    }

    /// Opens the active segment if there is one.
    pub(super) fn open_existing(&self, timeout: Duration) -> Result<Option<Active>> {
        let Some(lease) = Lease::active(&self.location, timeout)? else {
            return Ok(None);
        };
        let entry = lease.entry;
        let birth = self.clock.birth(&entry);
        let newest = match birth {
            None if self.settings.has_time_limit => {
                DirectorySnapshot::read(&self.location, self.naming())?.newest()
            }
            _ => None,
        };
        let first = entry.born_at_earliest.map_or(entry.modified, |at| at.min(entry.modified));
        Ok(Some(Active {
            append_mode: self.append_mode(),
            size: entry.len,
            header_len: self.settings.header_len,
            started: started(birth, newest, first.into(), self.now()),
            lead: Duration::ZERO,
            newest_backup: NewestBackup::Unknown,
            lease,
        }))
    }

    /// Writes the header to an empty file that another program has created, as `logrotate` does
    /// with `create`. The file goes without a header if the lock or disk space cannot be had.
    fn ensure_header(&self, active: &mut Active, timeout: Duration) {
        if !self.lacks_header(active) {
            return;
        }
        match self.take_lock(timeout) {
            Ok(guard) => {
                self.ensure_header_locked(active);
                self.release(guard);
            }
            Err(error) => self.report(error),
        }
    }

    fn lacks_header(&self, active: &Active) -> bool {
        active.size == 0 && self.settings.header.is_some()
    }

    /// As [`ensure_header`](Self::ensure_header), for the holder of the lock. Of several workers that find the
    /// file, one writes the header.
    pub(super) fn ensure_header_locked(&self, active: &mut Active) {
        if self.lacks_header(active) {
            self.write_header(active).unwrap_or_else(|error| self.report(error));
        }
    }

    fn write_header(&self, active: &mut Active) -> Result<()> {
        let (file, path) = (&active.lease.file, self.path());
        active.size = fs::fstat(file, path)?.len;
        if active.size == 0 {
            let header = self.header()?;
            fs::write_all(file, &header, path)?;
            active.header_len = header.len() as u64;
            active.size = active.header_len;
        }
        Ok(())
    }

    /// Creates the active segment if there is none. The caller holds the lock.
    pub(super) fn create_if_missing(&self, like: Option<&Lease>) -> Result<Option<Active>> {
        if fs::stat(self.path())?.is_some() {
            return Ok(None);
        }
        let present = |lease: &Lease| lease.present_access(&self.location);
        let like = like.map(|lease| Ok((lease, present(lease)?))).transpose()?;
        self.put_in_place(self.prepare(like)?, NewestBackup::Unknown).map(Some)
    }

    /// Creates a segment under a temporary name, complete with the owner, mode and attributes of
    /// `like`, and with its header. Returns the length of the header as well.
    pub(super) fn prepare(&self, like: Option<(&Lease, Access)>) -> Result<(Temp, u64)> {
        const OWNER: u32 = 0o700;
        let (like, access) = like.unzip();
        let mode = self.settings.mode.or(access.map(|access| access.mode & OWNER));
        let header = self.header()?;
        let mark = temporary::mark(&header);
        let temp = Temp::marked(self.path(), mode.unwrap_or(DEFAULT_MODE), &mark)?;
        temp.set_access(access, self.settings.mode, like.map(|lease| &*lease.file))?;
        fs::write_all(temp.file(), &header, temp.path())?;
        Ok((temp, header.len() as u64))
    }

    /// Gives a prepared segment the log's path, where no file may be.
    pub(super) fn put_in_place(
        &self,
        (temp, header_len): (Temp, u64),
        newest_backup: NewestBackup,
    ) -> Result<Active> {
        let lease = Lease::fresh(temp, &self.location)?;
        Ok(self.started(lease, header_len, newest_backup))
    }

    /// A new segment that has got the log's path.
    pub(super) fn started(
        &self,
        lease: Lease,
        header_len: u64,
        newest_backup: NewestBackup,
    ) -> Active {
        self.clock.made(lease.id());
        let now = self.coarse_now();
        // A worker whose clock is ahead of the file system's counts from its own clock. Otherwise
        // the boundary that called for this segment would at once call for another. With numbers it
        // was the file system's clock that called for it.
        let started = match self.clock.birth(&lease.entry) {
            Some(birth) if self.naming().is_by_time() => birth.max(now),
            Some(birth) => birth,
            None if self.naming().is_by_time() => now,
            None => lease.entry.modified.into(),
        };
        let (size, lead) = (header_len, Duration::ZERO);
        let append_mode = self.append_mode();
        Active { lease, append_mode, size, header_len, started, lead, newest_backup }
    }

    fn header(&self) -> Result<Vec<u8>> {
        let Some(header) = &self.settings.header else { return Ok(Vec::new()) };
        catch_unwind(AssertUnwindSafe(|| header())).map_err(|_| {
            let (kind, why) = (ErrorKind::InvalidConfig, "the header function panicked");
            Error::refused(kind, "create the header of", self.path(), why)
        })
    }

    /// Takes the rotation lock. Waits at most `timeout` for it.
    pub(super) fn take_lock(&self, timeout: Duration) -> Result<LockGuard<'_>> {
        match self.lock.exclusive(Wait::Never) {
            Err(error) if error.kind() == ErrorKind::LockTimeout && !timeout.is_zero() => {
                self.counters().lock_waits.increment();
                self.lock.exclusive(Wait::AtMost(timeout))
            }
            taken => taken,
        }
    }

    /// Releases the rotation lock. The work under it stands even if that fails.
    pub(super) fn release(&self, guard: LockGuard<'_>) {
        if let Err(error) = guard.unlock() {
            self.report(error);
        }
    }
}

/// Whether a file system can exchange files, as far as it is known beforehand: that of a network
/// cannot.
fn can_exchange(network: &Result<Option<String>>) -> Option<bool> {
    (!fs::EXCHANGES || matches!(network, Ok(Some(_)))).then_some(false)
}
