//! Temporary files: written beside their target, and renamed to it or exchanged with it once they
//! are complete.
//!
//! A temporary file of `T` is named `.T.<12 letters or digits>.tmp`. It is leased from the start,
//! so that a clean-up after a crash can distinguish a file in use from one left behind.

use crate::error::{Error, Result};
use crate::fs::{self, Access, Unleased};
use crate::sys;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use tempfile::TempPath;

const RANDOM: usize = 12;
/// The most letters of a mark.
const MAX_MARK: usize = 9;
const SUFFIX: &str = ".tmp";

/// A temporary file beside its target; removed on drop unless it was [persisted](Temp::persist).
#[derive(Debug)]
pub(crate) struct Temp {
    file: File,
    path: TempPath,
}

impl Temp {
    /// Creates an empty, leased temporary file for `target`, open for reading and appending.
    ///
    /// `mode` has its permissions from the first instant, less the umask.
    pub(crate) fn beside(target: &Path, mode: u32) -> Result<Self> {
        Self::marked(target, mode, "")
    }

    /// Like [`beside`](Self::beside), with a name whose random part begins with `mark`: at most 9
    /// letters or digits.
    pub(crate) fn marked(target: &Path, mode: u32, mark: &str) -> Result<Self> {
        // A clean-up may take a new temporary for a dead one in the instant before it is leased.
        // The next attempt has another name.
        loop {
            let temp = Self::create(target, mode, mark)?;
            if temp.lease()? && temp.is_in_place()? {
                return Ok(temp);
            }
        }
    }

    fn create(target: &Path, mode: u32, mark: &str) -> Result<Self> {
        let bad_name = || Error::io("create", target, io::ErrorKind::InvalidInput.into());
        let (Some(dir), Some(name)) = (target.parent(), target.file_name()) else {
            return Err(bad_name());
        };
        let mut prefix = std::ffi::OsString::from(".");
        prefix.push(name);
        prefix.push(".");
        prefix.push(mark);
        let mut failure = None;
        let made = tempfile::Builder::new()
            .prefix(&prefix)
            .suffix(SUFFIX)
            .rand_bytes(RANDOM - mark.len())
            .make_in(dir, |path| {
                fs::create_new(path, mode).map_err(|error| {
                    let kind = error.io_kind();
                    failure = Some(error);
                    io::Error::from(kind)
                })
            });
        match made {
            Ok(made) => {
                let (file, path) = made.into_parts();
                Ok(Self { file, path })
            }
            Err(error) => Err(failure.unwrap_or_else(|| Error::io("create", target, error))),
        }
    }

    fn lease(&self) -> Result<bool> {
        match fs::try_lease(&self.file, &self.path) {
            // Then no clean-up can lock it either, and it is safe without a lease.
            Err(error) if error.io_error().is_some_and(sys::is_lock_unsupported) => Ok(true),
            leased => leased,
        }
    }

    fn is_in_place(&self) -> Result<bool> {
        match fs::fstat_if_any(&self.file, &self.path)? {
            Some(ours) => fs::is_at(&self.path, ours.id),
            None => Ok(false),
        }
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the file the owner and group of `like`, as far as the process may, then the access
    /// control list and other attributes of `source`, then its [mode](Temp::set_mode). If the
    /// process may not give both, it gives the group; if not that, the file keeps its own, which is
    /// no error.
    pub(crate) fn set_access(
        &self,
        like: Option<Access>,
        mode: Option<u32>,
        source: Option<&File>,
    ) -> Result<()> {
        if let Some(wanted) = like {
            self.try_owner(wanted)?;
        }
        // After the owner, whose change clears bits of the mode.
        self.set_mode(mode, like, source)
    }

    /// Gives the file exactly the mode `mode`, or that of `like` without the rights that its
    /// present owner or group must not have, and the attributes of `source`.
    pub(crate) fn set_mode(
        &self,
        mode: Option<u32>,
        like: Option<Access>,
        source: Option<&File>,
    ) -> Result<()> {
        if (mode, like, source.is_none()) == (None, None, true) {
            return Ok(());
        }
        let mut given = fs::fstat(&self.file, &self.path)?.access;
        if let Some(source) = source {
            // The list gives the group rights of its own.
            let is_same_group = like.is_none_or(|like| like.gid == given.gid);
            if !fs::copy_attributes(source, &self.file, is_same_group, &self.path)? {
                // The bits of the group are the most that anyone on the list has.
                given.gid = u32::MAX;
            }
        }
        // Last: setting a list changes the mode.
        let mode = match (mode, like) {
            (Some(mode), _) => mode,
            (None, Some(like)) => kept_mode(like, given),
            (None, None) => return Ok(()),
        };
        fs::set_mode(&self.file, mode, &self.path)
    }

    fn try_owner(&self, wanted: Access) -> Result<()> {
        let made = fs::fstat(&self.file, &self.path)?.access;
        let group_alone = Access { uid: made.uid, ..wanted };
        for wanted in [wanted, group_alone] {
            if (made.uid, made.gid) == (wanted.uid, wanted.gid)
                || fs::set_owner(&self.file, wanted, &self.path).is_ok()
            {
                break;
            }
        }
        Ok(())
    }

    /// Renames the file to `target` in one step, and returns the open handle with its lease.
    ///
    /// With [`Replace::No`] it fails with `AlreadyExists` if anything exists at `target`. On
    /// failure the temporary file is removed.
    pub(crate) fn persist(mut self, target: &Path, replace: Replace) -> Result<File> {
        match replace {
            Replace::Yes => fs::rename(&self.path, target)?,
            Replace::No => fs::rename_noreplace(&self.path, target)?,
        }
        // The name is gone from the directory, so the drop has nothing to remove.
        self.path.disable_cleanup(true);
        Ok(self.file)
    }

    /// Exchanges the name of the file with that of another temporary file for `target`, to see
    /// whether the file system can. The name keeps its mark.
    pub(crate) fn try_exchange(&mut self, target: &Path) -> Result<()> {
        const PRIVATE: u32 = 0o600;
        let name = self.path.file_name().and_then(|name| name.to_str());
        let mark = name.and_then(temp_mark).map_or("", |mark| &mark[..MAX_MARK]);
        let mut other = Self::create(target, PRIVATE, mark)?;
        fs::exchange(&self.path, &other.path)?;
        std::mem::swap(&mut self.path, &mut other.path);
        Ok(())
    }

    /// Exchanges the file with the one at `target` in one step. Returns the open handle with its
    /// lease, and the path that now names the other file: it is the caller's to remove.
    ///
    /// # Errors
    /// Nothing was changed, and the temporary file is returned.
    #[allow(clippy::result_large_err, reason = "the file is not lost")]
    pub(crate) fn exchange(mut self, target: &Path) -> Result<(File, PathBuf), (Self, Error)> {
        if let Err(error) = fs::exchange(&self.path, target) {
            return Err((self, error));
        }
        self.path.disable_cleanup(true);
        Ok((self.file, self.path.to_path_buf()))
    }
}

/// The mode of `wanted` for a file with the owner and group of `given`: no user gets more rights
/// than before.
fn kept_mode(wanted: Access, given: Access) -> u32 {
    let mut mode = wanted.mode;
    if given.uid != wanted.uid {
        mode &= !0o4000;
    }
    if given.gid != wanted.gid {
        let everybody = (mode & 0o007) << 3;
        mode &= !0o2070 | everybody;
    }
    mode
}

/// Whether an existing file may be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Replace {
    /// An existing file is replaced.
    Yes,
    /// An existing file stays, and the attempt fails with [`std::io::ErrorKind::AlreadyExists`].
    No,
}

/// Returns a new name of a temporary file for `target`.
pub(crate) fn temp_name(target: &Path) -> PathBuf {
    let random: String = std::iter::repeat_with(fastrand::alphanumeric).take(RANDOM).collect();
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    target.with_file_name(format!(".{name}.{random}{SUFFIX}"))
}

/// The target's file name, if `name` is that of a temporary file: the inverse of the names that
/// `Temp` builds.
pub(crate) fn temp_target(name: &str) -> Option<&str> {
    let inner = name.strip_prefix('.')?.strip_suffix(SUFFIX)?;
    let (target, random) = inner.rsplit_once('.')?;
    let is_random = random.len() == RANDOM && random.bytes().all(|b| b.is_ascii_alphanumeric());
    (is_random && !target.is_empty()).then_some(target)
}

/// The random part of the name of a temporary file, with its mark.
pub(crate) fn temp_mark(name: &str) -> Option<&str> {
    temp_target(name)?;
    name.strip_suffix(SUFFIX)?.rsplit_once('.').map(|(_, mark)| mark)
}

/// Removes a temporary file unless a process is writing it; `true` if it is gone.
pub(crate) fn remove_dead_temp(path: &Path) -> Result<bool> {
    match open_dead_temp(path)? {
        Unleased::Ours(held) => {
            // Since it was opened it may have been finished, and have its final name.
            if let Some(ours) = fs::fstat_if_any(&held, path)? {
                if fs::is_at(path, ours.id)? {
                    fs::remove(path)?;
                }
            }
            Ok(true)
        }
        Unleased::Leased => Ok(false),
        Unleased::Gone => Ok(true),
    }
}

/// Takes a temporary file, unless a process is writing it. One that belongs to another user is left
/// to that user's processes.
pub(crate) fn open_dead_temp(path: &Path) -> Result<Unleased> {
    match fs::open_unleased(path) {
        Err(error) if error.io_kind() == io::ErrorKind::PermissionDenied => Ok(Unleased::Leased),
        opened => opened,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temporary_is_named_after_its_target_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let temp = Temp::beside(&dir.path().join("a.log"), 0o600).unwrap();
        let name = temp.path().file_name().unwrap().to_str().unwrap().to_owned();
        assert_eq!(temp_target(&name), Some("a.log"));
        let other = temp_name(&dir.path().join("b.log.1"));
        assert_eq!(temp_target(other.file_name().unwrap().to_str().unwrap()), Some("b.log.1"));
        drop(temp);
        assert_eq!(fs::names(dir.path()).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn only_our_form_is_a_temporary() {
        for name in ["a.log", ".a.log.tmp", "a.log.abcdefghijkl.tmp", ".a.log.abcdefghijk.tmp"] {
            assert_eq!(temp_target(name), None, "{name}");
        }
        assert_eq!(temp_target("..abcdefghijkl.tmp"), None);
        assert_eq!(temp_target(".a.log.abcdefghijkl.tmp"), Some("a.log"));
    }

    #[test]
    fn live_temporary_is_leased_until_it_closes() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a.log");
        let temp = Temp::beside(&target, 0o600).unwrap();
        let open = || sys::open_unleased(temp.path()).unwrap();
        assert!(open().is_none());
        let path = temp.path().to_owned();
        let file = temp.persist(&target, Replace::No).unwrap();
        assert!(!path.exists());
        assert!(sys::open_unleased(&target).unwrap().is_none());
        drop(file);
        assert!(sys::open_unleased(&target).unwrap().is_some());
    }

    #[test]
    fn refusal_to_replace_removes_the_temporary() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a.log");
        std::fs::write(&target, "old").unwrap();
        let error = Temp::beside(&target, 0o600).unwrap().persist(&target, Replace::No);
        assert_eq!(error.unwrap_err().io_kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::names(dir.path()).unwrap(), ["a.log"]);
    }

    #[test]
    fn kept_mode_never_gives_more_rights() {
        let of = |mode, uid, gid| Access { mode, uid, gid };
        assert_eq!(kept_mode(of(0o6750, 1, 1), of(0, 1, 1)), 0o6750);
        assert_eq!(kept_mode(of(0o6750, 1, 1), of(0, 2, 1)), 0o2750);
        assert_eq!(kept_mode(of(0o6754, 1, 1), of(0, 1, 2)), 0o4744);
        assert_eq!(kept_mode(of(0o0660, 1, 1), of(0, 2, 2)), 0o0600);
        assert_eq!(kept_mode(of(0o0644, 1, 1), of(0, 2, 2)), 0o0644);
        assert_eq!(kept_mode(of(0o0606, 1, 1), of(0, 1, 2)), 0o0606);
    }
}
