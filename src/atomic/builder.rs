//! The settings of a replacement.

use super::target::{NEW_FILE, PRIVATE};
use super::{AtomicFile, Links, Replace, SyncLevel, Target};
use crate::error::Result;
use crate::fs::{self, Access, Entry, Temp};
use crate::lock::Wait;
use std::convert::Infallible;
use std::io::ErrorKind::PermissionDenied;
use std::path::Path;
use std::time::SystemTime;

/// The settings of a replacement, made by [`AtomicFile::builder`].
/// # Examples
/// ```
/// use logrotor::atomic::{AtomicFile, SyncLevel};
/// # fn main() -> logrotor::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("cache");
/// AtomicFile::builder().mode(0o640).sync(SyncLevel::None).write(&path, "can be made again")?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until it opens, writes or updates a file"]
pub struct AtomicFileBuilder {
    pub(super) mode: Option<u32>,
    pub(super) owner: Option<(u32, u32)>,
    pub(super) like: Option<Access>,
    pub(super) modified: Option<SystemTime>,
    pub(super) replace: Replace,
    pub(super) links: Links,
    pub(super) sync: SyncLevel,
}

impl AtomicFileBuilder {
    pub(super) fn new() -> Self {
        Self {
            mode: None,
            owner: None,
            like: None,
            modified: None,
            replace: Replace::Yes,
            links: Links::default(),
            sync: SyncLevel::default(),
        }
    }

    /// Sets the exact permissions, whatever the umask.
    ///
    /// Default: those of the replaced file, or 0o666 less the umask for a new file. No effect on
    /// Windows.
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = Some(mode);
        self
    }

    /// Sets the owner and group by number. Opening fails later if the process may not give them.
    ///
    /// Default: those of the replaced file, as far as the process may give them. If it may not give
    /// the group, the new group gets the rights of all other users at most. Set-user and set-group
    /// bits are dropped with another user or group. No effect on Windows.
    pub fn owner(mut self, uid: u32, gid: u32) -> Self {
        self.owner = Some((uid, gid));
        self
    }

    /// Sets the time of the last change. Default: that of the last write.
    pub fn modified(mut self, time: SystemTime) -> Self {
        self.modified = Some(time);
        self
    }

    /// Sets whether an existing file may be replaced. Default: [`Replace::Yes`].
    ///
    /// On file systems without an atomic form, [`Replace::No`] checks just before the rename.
    pub fn replace(mut self, replace: Replace) -> Self {
        self.replace = replace;
        self
    }

    /// Sets the file to replace if the path names a symbolic link. Default: [`Links::Follow`].
    pub fn links(mut self, links: Links) -> Self {
        self.links = links;
        self
    }

    /// Sets the data that is synced before success is reported. Default:
    /// [`SyncLevel::FileAndDirectory`].
    pub fn sync(mut self, level: SyncLevel) -> Self {
        self.sync = level;
        self
    }

    /// Takes mode, owner and time from another file; owner and mode as far as the process may.
    pub(crate) fn like(mut self, other: &Entry) -> Self {
        self.like = Some(other.access);
        self.modified(other.modified)
    }

    /// Starts a replacement of the file at `path`, which is not touched before
    /// [`commit`](AtomicFile::commit).
    ///
    /// # Errors
    /// - [`ErrorKind::NotAFile`](crate::ErrorKind::NotAFile) if the path names a directory or a
    ///   device.
    /// - [`ErrorKind::Io`](crate::ErrorKind::Io) if no file can be created in its directory.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<AtomicFile> {
        let target = Target::of(path.as_ref(), self.links)?;
        let access = self.like.or(target.entry.map(|entry| entry.access));
        let is_private = access.is_some() || self.mode.is_some() || self.owner.is_some();
        let mode = if is_private { PRIVATE } else { NEW_FILE };
        let temp = Temp::beside(&target.path, mode).map_err(|error| target.explain(error))?;
        // A file that this process may not read gives nothing but its mode and owner.
        let replaced = match target.entry.map(|_| fs::open_segment(&target.path)) {
            None => None,
            Some(Err(error)) if error.io_kind() == PermissionDenied => None,
            Some(opened) => opened?,
        };
        let builder = self.clone();
        Ok(AtomicFile { temp, target: target.path, access, attributes_of: replaced, builder })
    }

    /// Replaces or creates the file at `path` with `bytes`.
    ///
    /// Equivalent to [`open`](AtomicFileBuilder::open), one write, and
    /// [`commit`](AtomicFile::commit).
    ///
    /// # Errors
    /// As those. The old content stays, unless the sync of the directory failed.
    pub fn write(&self, path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> Result<()> {
        let file = self.open(path)?;
        file.append_all(bytes.as_ref())?;
        file.commit()
    }

    /// Runs [`update`](super::update) with these settings.
    ///
    /// # Errors
    /// As [`update`](super::update).
    pub fn update<B: AsRef<[u8]>>(
        &self,
        path: impl AsRef<Path>,
        wait: Wait,
        change: impl FnOnce(Option<&[u8]>) -> B,
    ) -> Result<()> {
        let done = self.try_update(path, wait, |old| Ok::<_, Infallible>(change(old)))?;
        let Ok(()) = done;
        Ok(())
    }

    /// Runs [`try_update`](super::try_update) with these settings.
    ///
    /// # Errors
    /// As [`try_update`](super::try_update).
    pub fn try_update<B: AsRef<[u8]>, E>(
        &self,
        path: impl AsRef<Path>,
        wait: Wait,
        change: impl FnOnce(Option<&[u8]>) -> Result<B, E>,
    ) -> Result<Result<(), E>> {
        let target = Target::of(path.as_ref(), self.links)?;
        let lock = target.lock()?;
        let guard = lock.exclusive(wait)?;
        let new = match change(fs::read_whole(&target.path)?.as_deref()) {
            Ok(new) => new,
            Err(error) => return Ok(Err(error)),
        };
        let file = self.open(&target.path)?;
        file.append_all(new.as_ref())?;
        // If the lock file was removed by hand, another process may have read the same old content.
        guard.verify()?;
        file.commit()?;
        Ok(Ok(()))
    }
}
