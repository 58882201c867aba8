//! A temporary file that replaces another file once it is complete.

use super::{AtomicFileBuilder, SyncLevel};
use crate::error::{Error, Result};
use crate::fs::{self, Access, Temp};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A temporary file that replaces another file once it is complete.
///
/// Write to it, then call [`commit`](AtomicFile::commit). It is not buffered: wrap small writes in
/// a [`std::io::BufWriter`]. If it is dropped without a commit, nothing changes and nothing is
/// left.
/// # Examples
/// ```
/// use logrotor::atomic::AtomicFile;
/// use std::io::{BufWriter, Write};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("primes.txt");
/// let mut out = BufWriter::new(AtomicFile::create(&path)?);
/// for prime in [2, 3, 5, 7] {
///     writeln!(out, "{prime}")?;
/// }
/// out.into_inner()?.commit()?;
/// assert_eq!(std::fs::read(&path)?, b"2\n3\n5\n7\n");
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "nothing is replaced before `commit`"]
pub struct AtomicFile {
    pub(super) temp: Temp,
    pub(super) target: PathBuf,
    /// Mode and owner of the replaced file, or of the file that this one is to be like.
    pub(super) access: Option<Access>,
    /// The file whose access control list and other attributes this one gets.
    pub(super) attributes_of: Option<File>,
    pub(super) builder: AtomicFileBuilder,
}

impl AtomicFile {
    /// Starts a replacement with the default settings.
    ///
    /// # Errors
    /// As [`AtomicFileBuilder::open`].
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        AtomicFileBuilder::new().open(path)
    }

    /// Returns a builder with the default settings.
    pub fn builder() -> AtomicFileBuilder {
        AtomicFileBuilder::new()
    }

    /// The path of the file to replace, with links resolved.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.target
    }

    /// Replaces the file.
    ///
    /// # Errors
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) if a step fails: owner, mode, time, sync, rename.
    /// The old content stays and the temporary file is removed. If only the final sync of the
    /// directory fails, the new content is in place.
    pub fn commit(self) -> Result<()> {
        self.seal()?;
        let target = self.target.clone();
        self.place(&target)
    }

    /// Completes the file except for its name: owner, mode, time, and its content on the device.
    pub(crate) fn seal(&self) -> Result<()> {
        let (file, path) = (self.temp.file(), &self.target);
        let source = self.attributes_of.as_ref();
        match self.builder.owner {
            Some((uid, gid)) => {
                fs::set_owner(file, Access { mode: 0, uid, gid }, path)?;
                self.temp.set_mode(self.builder.mode, self.access, source)?;
            }
            None => self.temp.set_access(self.access, self.builder.mode, source)?,
        }
        if let Some(time) = self.builder.modified {
            fs::set_modified(file, time, path)?;
        }
        match self.builder.sync {
            SyncLevel::None => Ok(()),
            SyncLevel::File | SyncLevel::FileAndDirectory => fs::sync_all(file, path),
        }
    }

    /// Renames a sealed file to `target`, which may differ from the path it was opened for.
    pub(crate) fn place(self, target: &Path) -> Result<()> {
        let Self { temp, attributes_of, builder, .. } = self;
        // Windows replaces no file that is open.
        drop(attributes_of);
        let persisted = temp.persist(target, builder.replace);
        persisted.map_err(|error| error.during("replace", target))?;
        match builder.sync {
            SyncLevel::FileAndDirectory => fs::sync_dir(fs::parent(target)),
            SyncLevel::None | SyncLevel::File => Ok(()),
        }
    }

    /// Takes the access control list and other attributes of this open file.
    ///
    /// # Errors
    /// The process has no handle left. The bits of the group alone would give it the rights of all
    /// on the list.
    pub(crate) fn with_attributes_of(mut self, file: &File) -> Result<Self> {
        let opened = file.try_clone().map_err(|error| Error::io("replace", &self.target, error));
        self.attributes_of = Some(opened?);
        Ok(self)
    }

    /// The temporary file.
    pub(crate) fn file(&self) -> &File {
        self.temp.file()
    }

    /// Appends bytes with one call; may be short.
    pub(crate) fn append(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(fs::write(self.temp.file(), bytes, &self.target)?)
    }

    /// Overwrites the start of the appended bytes.
    pub(crate) fn overwrite_start(&self, bytes: &[u8]) -> Result<()> {
        fs::overwrite_start(self.temp.path(), bytes)
    }

    pub(super) fn append_all(&self, bytes: &[u8]) -> Result<()> {
        fs::write_all(self.temp.file(), bytes, &self.target)
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.append(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
