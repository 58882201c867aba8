//! Listing and comparing the versions that are kept.

use super::Settings;
use super::diff::{Difference, differences};
use super::document::Metadata;
use super::files::sealed;
use super::store::{PolicySource, PolicyStore};
use crate::clock::Deadline;
use crate::error::{Error, Result};
use std::path::PathBuf;

/// A version that is kept.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HistoryEntry {
    /// Its number.
    pub version: u64,
    /// Its file, or its URL.
    pub path: PathBuf,
    /// Its metadata, or the damage.
    pub metadata: Result<Metadata>,
}

impl<T: Settings> PolicyStore<T> {
    /// Returns the versions that are kept, oldest first and the current one last. Damaged ones have
    /// an error.
    ///
    /// # Errors
    /// If the directory cannot be read. For a policy that machines share,
    /// [`ErrorKind::PolicyUnreachable`](crate::ErrorKind::PolicyUnreachable) if a version is not
    /// answered within the [timeout](super::PolicyStoreBuilder::lock_timeout).
    pub fn history(&self) -> Result<Vec<HistoryEntry>> {
        let (versions, present) = match &self.0.source {
            PolicySource::File(file) => {
                let file = file.engine.files.resolve()?;
                (file.list()?.versions, file.path().to_owned())
            }
            PolicySource::Shared(shared) => (shared.kept_versions()?, self.path().to_owned()),
        };
        let mut entries = Vec::new();
        for version in versions {
            // Missing if it was pruned meanwhile.
            let until = Deadline::after(self.timeout());
            if let (path, Some(bytes)) = self.read_version(version, until)? {
                let metadata = sealed(&bytes, version).map(|(metadata, _)| metadata);
                let metadata = metadata.map_err(|damage| Error::policy_corrupt(&path, damage));
                entries.push(HistoryEntry { version, path, metadata });
            }
        }
        let current = self.0.current.load();
        if entries.last().is_none_or(|last| last.version < current.version()) {
            let (version, path) = (current.version(), present);
            entries.push(HistoryEntry { version, path, metadata: Ok(current.metadata.clone()) });
        }
        Ok(entries)
    }

    /// The copy of a version, and its name.
    fn read_version(&self, version: u64, until: Deadline) -> Result<(PathBuf, Option<Vec<u8>>)> {
        match &self.0.source {
            PolicySource::File(file) => {
                let file = file.engine.files.resolve()?;
                Ok((file.version_path(version), file.read_version(version)?))
            }
            PolicySource::Shared(shared) => {
                Ok((shared.version_path(version), shared.kept(version, until)?))
            }
        }
    }

    /// Returns the settings that differ between two versions.
    ///
    /// # Errors
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) (not found) if a version is not kept,
    /// [`ErrorKind::PolicyCorrupt`](crate::ErrorKind::PolicyCorrupt) if its copy is damaged.
    /// Otherwise as [`history`](Self::history).
    ///
    /// # Examples
    /// ```
    /// # use logrotor::Config;
    /// # fn main() -> logrotor::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = Config::policy().open_or_create(dir.path().join("p.toml"), Config::default)?;
    /// store.update(|config| config.max_size = 1024 * 1024)?;
    /// let differences = store.diff(1, 2)?;
    /// assert_eq!(differences[0].to_string(), r#"max_size: "64 MiB" -> "1 MiB""#);
    /// # Ok(()) }
    /// ```
    pub fn diff(&self, before: u64, after: u64) -> Result<Vec<Difference>> {
        let table = |version| -> Result<toml::Table> {
            let text = self.text_of(version, Deadline::after(self.timeout()))?;
            text.parse().map_err(|error| Error::policy_invalid(self.path(), error))
        };
        Ok(differences(&table(before)?, &table(after)?))
    }

    /// The whole text of a version.
    pub(super) fn text_of(&self, version: u64, until: Deadline) -> Result<String> {
        let current = self.0.current.load();
        if current.version() == version {
            return Ok(current.text.clone());
        }
        let (path, bytes) = self.read_version(version, until)?;
        let bytes = bytes.ok_or_else(|| Error::policy_no_version(self.path(), version))?;
        match sealed(&bytes, version) {
            Ok((_, text)) => Ok(text.to_owned()),
            Err(damage) => Err(Error::policy_corrupt(&path, damage)),
        }
    }
}
