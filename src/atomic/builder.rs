//! How a file is replaced.

use super::target::{NEW_FILE, PRIVATE};
use super::{AtomicFile, Links, Replace, SyncLevel, Target};
use crate::error::Result;
use crate::fs::{self, Access, Entry, Temp};
use crate::lock::Wait;
use std::convert::Infallible;
use std::path::Path;
use std::time::SystemTime;

/// How a file is replaced; [`AtomicFile::builder`] makes one.
///
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

    /// Exact permissions, whatever the umask. Default: those of the file replaced; for a new file
    /// 0o666, less the umask. No effect on Windows.
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = Some(mode);
        self
    }

    /// Owner and group, by number; fails if the process may not give them. No effect on Windows.
    ///
    /// Default: those of the file replaced, as far as the process may. If it may not keep the
    /// group, the new group may do what everybody may, and no more; set-user and set-group bits are
    /// not kept for another user or group.
    pub fn owner(mut self, uid: u32, gid: u32) -> Self {
        self.owner = Some((uid, gid));
        self
    }

    /// The time of the last change. Default: that of the last write.
    pub fn modified(mut self, time: SystemTime) -> Self {
        self.modified = Some(time);
        self
    }

    /// Whether a file of that name may be replaced; default [`Replace::Yes`]. On file systems that
    /// cannot do it in one step, [`Replace::No`] looks just before it renames.
    pub fn replace(mut self, replace: Replace) -> Self {
        self.replace = replace;
        self
    }

    /// What to do where the path names a symbolic link; default [`Links::Follow`].
    pub fn links(mut self, links: Links) -> Self {
        self.links = links;
        self
    }

    /// What is made certain before success is reported; default [`SyncLevel::FileAndDirectory`].
    pub fn sync(mut self, level: SyncLevel) -> Self {
        self.sync = level;
        self
    }

    /// Mode, owner and time as another file has them, owner and mode as far as the process may.
    pub(crate) fn like(mut self, other: &Entry) -> Self {
        self.like = Some(other.access);
        self.modified(other.modified)
    }

    /// Starts a replacement of the file at `path`, which is not touched before
    /// [`commit`](AtomicFile::commit).
    ///
    /// # Errors
    /// [`ErrorKind::NotAFile`](crate::ErrorKind::NotAFile) if the path names a directory or a
    /// device; [`ErrorKind::Io`](crate::ErrorKind::Io) if no file can be made in its directory.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<AtomicFile> {
        let target = Target::of(path.as_ref(), self.links)?;
        let access = self.like.or(target.entry.map(|entry| entry.access));
        let is_private = access.is_some() || self.mode.is_some() || self.owner.is_some();
        let mode = if is_private { PRIVATE } else { NEW_FILE };
        let temp = Temp::beside(&target.path, mode).map_err(|error| target.explain(error))?;
        Ok(AtomicFile { temp, target: target.path, access, builder: self.clone() })
    }

    /// Replaces or creates the file at `path`: [`open`](AtomicFileBuilder::open), one write,
    /// [`commit`](AtomicFile::commit).
    ///
    /// # Errors
    /// As those. The old content stands, unless it was the directory that could not be synced.
    pub fn write(&self, path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> Result<()> {
        let file = self.open(path)?;
        file.append_all(bytes.as_ref())?;
        file.commit()
    }

    /// [`update`] with the choices of this builder.
    ///
    /// # Errors
    /// As [`update`].
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

    /// [`try_update`] with the choices of this builder.
    ///
    /// # Errors
    /// As [`try_update`].
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
        // If the lock file was removed by hand, another process may have read what we have read.
        guard.verify()?;
        file.commit()?;
        Ok(Ok(()))
    }
}
