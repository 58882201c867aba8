//! The files of a policy: the one in force, the versions kept beside it, the lock.

use super::{document, name};
use crate::atomic::{AtomicFile, AtomicFileBuilder, Links, SyncLevel, Target};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{self, Entry};
use crate::lock::{FileLock, LockGuard};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The location of a policy, and how its files are written.
#[derive(Debug)]
pub(crate) struct PolicyFiles {
    /// Absolute, so that no later change of the working directory matters.
    path: PathBuf,
    /// How many versions are kept, the present one included.
    pub(crate) keep: usize,
    pub(crate) sync: SyncLevel,
    pub(crate) mode: Option<u32>,
}

impl PolicyFiles {
    pub(crate) fn new(
        path: &Path,
        keep: usize,
        sync: SyncLevel,
        mode: Option<u32>,
    ) -> Result<Self> {
        let refuse = |why: &str| Err(Error::refused(ErrorKind::NotAFile, "open policy", path, why));
        let Some(file_name) = path.file_name() else {
            return refuse("it has no file name; use one such as `app.log.policy.toml`");
        };
        if file_name.to_str().is_none() {
            return refuse("its file name is not Unicode; use one that is");
        }
        fs::canonical(fs::parent(path))?;
        // Links on the way to it are resolved each time.
        let path = std::path::absolute(path).map_err(|error| Error::io("resolve", path, error))?;
        Ok(Self { path, keep, sync, mode })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the current file. A link is followed every time, so it may be redirected.
    pub(crate) fn resolve(&self) -> Result<ResolvedFile<'_>> {
        let Target { path, entry } = Target::of(&self.path, Links::Follow)?;
        Ok(ResolvedFile { files: self, path, entry })
    }

    /// Returns the lock for changing the policy. Each call returns its own value, so threads wait
    /// for each other as processes do.
    pub(crate) fn lock(&self) -> Result<FileLock> {
        Ok(Target::of(&self.path, Links::Follow)?.lock()?.without_gate())
    }
}

/// A policy's file, links resolved.
#[derive(Debug)]
pub(crate) struct ResolvedFile<'a> {
    files: &'a PolicyFiles,
    path: PathBuf,
    pub(crate) entry: Option<Entry>,
}

/// The content of a policy's directory.
#[derive(Debug, Default)]
pub(crate) struct DirListing {
    /// The versions kept, the oldest first.
    pub(crate) versions: Vec<u64>,
    temporaries: Vec<PathBuf>,
}

impl ResolvedFile<'_> {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn read(&self) -> Result<Option<Vec<u8>>> {
        fs::read_whole(&self.path)
    }

    /// Replaces the text of the file, unless the lock was lost.
    pub(crate) fn replace(&self, text: &[u8], guard: &LockGuard<'_>) -> Result<()> {
        let builder = AtomicFile::builder().sync(self.files.sync);
        let builder = self.files.mode.map_or(builder.clone(), |mode| builder.mode(mode));
        let file = write_all(&builder, &self.path, text)?;
        // If the lock file was removed by hand, another process may have read what we have read.
        guard.verify()?;
        file.commit()
    }

    pub(crate) fn list(&self) -> Result<DirListing> {
        let (dir, policy) = (fs::parent(&self.path), self.name());
        let mut listing = DirListing::default();
        for file_name in fs::names(dir)? {
            if let Some(version) = name::parse_version(&policy, &file_name) {
                listing.versions.push(version);
            } else if fs::temp_target(&file_name).is_some_and(|of| is_ours(&policy, of)) {
                listing.temporaries.push(dir.join(&file_name));
            }
        }
        listing.versions.sort_unstable();
        Ok(listing)
    }

    /// Removes temporary files of killed processes. Files that cannot be removed, such as another
    /// user's, are skipped.
    pub(crate) fn clear_temporaries(&self, listing: &DirListing) {
        for path in &listing.temporaries {
            let _ = fs::remove_dead_temp(path);
        }
    }

    pub(crate) fn version_path(&self, version: u64) -> PathBuf {
        self.path.with_file_name(name::version(&self.name(), version))
    }

    pub(crate) fn read_version(&self, version: u64) -> Result<Option<Vec<u8>>> {
        fs::read_whole(&self.version_path(version))
    }

    /// Keeps the text of a version, with the permissions of the policy.
    pub(crate) fn keep_version(&self, version: u64, text: &[u8]) -> Result<()> {
        let builder = AtomicFile::builder().sync(self.files.sync).links(Links::Replace);
        let builder = match fs::stat(&self.path)? {
            Some(policy) => builder.like(&policy),
            None => builder,
        };
        let file = write_all(&builder, &self.version_path(version), text)?;
        self.with_attributes(file)?.commit()
    }

    /// Removes the oldest versions beyond the number to keep.
    pub(crate) fn prune(&self, listing: &mut DirListing) -> Result<()> {
        let surplus = listing.versions.len().saturating_sub(self.files.keep);
        for version in listing.versions.drain(..surplus) {
            fs::remove(&self.version_path(version))?;
        }
        Ok(())
    }

    /// Keeps the damaged content of the file for inspection.
    pub(crate) fn quarantine(&self, bytes: &[u8]) -> Result<()> {
        let path = self.path.with_file_name(name::damaged(&self.name()));
        let builder = AtomicFile::builder().sync(self.files.sync).links(Links::Replace);
        let builder = match self.entry {
            Some(found) => builder.like(&found),
            None => builder,
        };
        self.with_attributes(write_all(&builder, &path, bytes)?)?.commit()
    }

    /// Gives a file beside the policy the policy's attributes.
    fn with_attributes(&self, file: AtomicFile) -> Result<AtomicFile> {
        match fs::open_segment(&self.path) {
            Ok(Some(policy)) => file.with_attributes_of(&policy),
            // It is gone, or may not be read: then only its mode and owner are known.
            _ => Ok(file),
        }
    }

    fn name(&self) -> String {
        // If a link leads to a name that is not Unicode, no name in the directory parses as ours.
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

fn is_ours(policy: &str, name: &str) -> bool {
    name == policy || name == name::damaged(policy) || name::parse_version(policy, name).is_some()
}

fn write_all(builder: &AtomicFileBuilder, path: &Path, bytes: &[u8]) -> Result<AtomicFile> {
    let mut file = builder.open(path)?;
    file.write_all(bytes).map_err(|error| Error::io("write", path, error))?;
    Ok(file)
}

/// The metadata and text of a sealed file of this very version.
pub(crate) fn sealed(
    bytes: &[u8],
    version: u64,
) -> Result<(document::Metadata, &str), document::Defect> {
    match document::parse(bytes) {
        document::Document::Sealed { metadata, .. } if metadata.version == version => {
            let text = std::str::from_utf8(bytes);
            Ok((metadata, text.unwrap_or_default()))
        }
        document::Document::Damaged(damage) => Err(damage),
        _ => Err(document::Defect::Header { line: 1 }),
    }
}
